//! The INVITE client transaction: RFC 3261 17.1.1 (figure 5) as RFC 6026 (figure 8 there) corrects it, with Timer C of a
//! proxy (16.6 item 11).

use crate::deadline::{Deadline, Interval};
use crate::flow::Time;
use crate::settings::TimerSettings;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Calling,
    Proceeding,
    Completed,
    Accepted,
    Terminated,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct InviteClient {
    pub(crate) state: State,
    reliable: bool,
    /// Timer A.
    again_at: Deadline,
    interval: Interval,
    /// Timer B, D or M, by state.
    end_at: Deadline,
    /// Timer C, in Proceeding.
    c_at: Deadline,
}

/// What a response asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Heard {
    /// 100: it goes no further.
    Trying,
    /// 101 to 199.
    Provisional,
    /// 2xx, the first or a further one.
    Success,
    /// The first final above 2xx: it wants an ACK, and counts.
    Failure,
    /// The same final again: it wants an ACK again, and nothing else.
    FailureAgain,
    /// The state has no use for it.
    Useless,
}

/// What time asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Due {
    Nothing,
    /// Timer A.
    Resend,
    /// Timer B: no response at all.
    TimedOut,
    /// Timer C: provisional responses, and no final.
    RangTooLong,
    /// Timers D and M.
    Ended,
}

impl InviteClient {
    /// Calling: the INVITE is sent now.
    pub(crate) fn new(now: Time, timers: &TimerSettings, reliable: bool) -> InviteClient {
        InviteClient {
            state: State::Calling,
            reliable,
            again_at: Deadline::when(!reliable, now + timers.t1),
            interval: Interval::of(timers.t1),
            end_at: Deadline::at(now + timers.b()),
            c_at: Deadline::at(now + timers.timer_c),
        }
    }

    pub(crate) fn on_response(&mut self, status: u16, now: Time, timers: &TimerSettings) -> Heard {
        match self.state {
            State::Calling | State::Proceeding => self.on_awaited(status, now, timers),
            State::Completed if status >= 300 => Heard::FailureAgain,
            State::Completed if status >= 200 => Heard::Success,
            State::Accepted if (200..300).contains(&status) => Heard::Success,
            State::Completed | State::Accepted | State::Terminated => Heard::Useless,
        }
    }

    fn on_awaited(&mut self, status: u16, now: Time, timers: &TimerSettings) -> Heard {
        self.again_at = Deadline::NONE;
        if status < 200 {
            self.state = State::Proceeding;
            self.end_at = Deadline::NONE;
            if status == 100 {
                return Heard::Trying;
            }
            self.c_at = Deadline::at(now + timers.timer_c);
            return Heard::Provisional;
        }
        self.c_at = Deadline::NONE;
        if status < 300 {
            self.state = State::Accepted;
            self.end_at = Deadline::at(now + timers.b());
            return Heard::Success;
        }
        self.state = if self.reliable { State::Terminated } else { State::Completed };
        self.end_at = Deadline::when(!self.reliable, now + timers.b());
        Heard::Failure
    }

    pub(crate) fn on_time(&mut self, now: Time) -> Due {
        if self.end_at.is_due(now) {
            let timed_out = self.state == State::Calling;
            self.end();
            return if timed_out { Due::TimedOut } else { Due::Ended };
        }
        if self.c_at.is_due(now) {
            self.c_at = Deadline::NONE;
            return Due::RangTooLong;
        }
        if self.again_at.is_due(now) {
            self.interval = self.interval.doubled();
            self.again_at = self.interval.after(now);
            return Due::Resend;
        }
        Due::Nothing
    }

    /// It has heard a provisional response and no final: a CANCEL may be sent (9.1).
    pub(crate) fn is_proceeding(&self) -> bool {
        self.state == State::Proceeding
    }

    /// It has had no final response.
    pub(crate) fn is_pending(&self) -> bool {
        matches!(self.state, State::Calling | State::Proceeding)
    }

    /// The stream did not take the INVITE: it is sent by datagram now, and so again. Timer B goes on.
    pub(crate) fn turn_to_datagrams(&mut self, now: Time, timers: &TimerSettings) {
        self.reliable = false;
        self.interval = Interval::of(timers.t1);
        self.again_at = Deadline::when(self.state == State::Calling, now + timers.t1);
    }

    /// The next target is tried: nothing is sent again, but a late response still finds this transaction.
    pub(crate) fn stop_resending(&mut self) {
        self.again_at = Deadline::NONE;
    }

    pub(crate) fn end(&mut self) {
        self.state = State::Terminated;
        self.again_at = Deadline::NONE;
        self.end_at = Deadline::NONE;
        self.c_at = Deadline::NONE;
    }

    pub(crate) fn deadline(&self) -> Deadline {
        self.again_at.min(self.end_at).min(self.c_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    fn client() -> (InviteClient, TimerSettings) {
        let timers = TimerSettings::default();
        (InviteClient::new(at(0), &timers, false), timers)
    }

    /// Rows of timers A and B: seven sends in 32 s, then the end.
    #[test]
    fn timer_a_doubles_without_a_cap_and_b_times_out() {
        let (mut client, _) = client();
        let mut sent = Vec::new();
        loop {
            let next = client.deadline().time().unwrap();
            match client.on_time(next) {
                Due::Resend => sent.push(next.as_millis()),
                Due::TimedOut => break assert_eq!(next.as_millis(), 32_000),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(sent, [500, 1_500, 3_500, 7_500, 15_500, 31_500]);
    }

    /// Rows F10 and P11: Timer C runs from the INVITE, 101 to 199 set it again, 100 does not.
    #[test]
    fn timer_c_is_set_again_by_101_to_199_only() {
        let (mut client, timers) = client();
        assert_eq!(client.on_response(100, at(1_000), &timers), Heard::Trying);
        assert_eq!(client.deadline().time(), Some(at(181_000)));
        assert_eq!(client.on_response(180, at(2_000), &timers), Heard::Provisional);
        assert_eq!(client.deadline().time(), Some(at(183_000)));
        assert_eq!(client.on_response(100, at(3_000), &timers), Heard::Trying);
        assert_eq!(client.on_time(at(183_000)), Due::RangTooLong);
    }

    /// Row of timer D: finals above 2xx are absorbed and wanted an ACK each for 32 s.
    #[test]
    fn completed_asks_for_an_ack_each_time_until_d() {
        let (mut client, timers) = client();
        assert_eq!(client.on_response(486, at(100), &timers), Heard::Failure);
        assert_eq!(client.on_response(486, at(600), &timers), Heard::FailureAgain);
        assert_eq!(client.on_response(180, at(700), &timers), Heard::Useless);
        assert_eq!(client.on_time(at(32_100)), Due::Ended);
    }

    /// Row of timer M, and RC4: every 2xx passes for 64*T1, nothing else does.
    #[test]
    fn accepted_passes_every_success_until_m() {
        let (mut client, timers) = client();
        assert_eq!(client.on_response(200, at(100), &timers), Heard::Success);
        assert_eq!(client.on_response(200, at(600), &timers), Heard::Success);
        assert_eq!(client.on_response(180, at(700), &timers), Heard::Useless);
        assert_eq!(client.on_response(486, at(800), &timers), Heard::Useless);
        assert_eq!(client.on_time(at(32_100)), Due::Ended);
        assert_eq!(client.on_response(200, at(32_200), &timers), Heard::Useless);
    }

    /// Timer D is 0 on a stream.
    #[test]
    fn a_stream_has_no_timer_a_and_no_timer_d() {
        let timers = TimerSettings::default();
        let mut client = InviteClient::new(at(0), &timers, true);
        assert_eq!(client.deadline().time(), Some(at(32_000)));
        client.on_response(486, at(100), &timers);
        assert_eq!((client.state, client.deadline().time()), (State::Terminated, None));
    }
}
