//! The non-INVITE client transaction: RFC 3261 17.1.2 (figure 6). CANCEL uses it too.

use crate::deadline::{Deadline, Interval};
use crate::flow::Time;
use crate::settings::TimerSettings;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Trying,
    Proceeding,
    Completed,
    Terminated,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct PlainClient {
    pub(crate) state: State,
    reliable: bool,
    /// Timer E.
    again_at: Deadline,
    interval: Interval,
    /// Timer F, then K.
    end_at: Deadline,
}

/// What a response asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Heard {
    Provisional,
    Final,
    Useless,
}

/// What time asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Due {
    Nothing,
    /// Timer E.
    Resend,
    /// Timer F.
    TimedOut,
    /// Timer K.
    Ended,
}

impl PlainClient {
    /// Trying: the request is sent now.
    pub(crate) fn new(now: Time, timers: &TimerSettings, reliable: bool) -> PlainClient {
        PlainClient {
            state: State::Trying,
            reliable,
            again_at: Deadline::when(!reliable, now + timers.t1),
            interval: Interval::of(timers.t1),
            end_at: Deadline::at(now + timers.b()),
        }
    }

    pub(crate) fn on_response(&mut self, status: u16, now: Time, timers: &TimerSettings) -> Heard {
        if !self.is_pending() {
            return Heard::Useless;
        }
        if status < 200 {
            self.state = State::Proceeding;
            return Heard::Provisional;
        }
        self.again_at = Deadline::NONE;
        self.state = if self.reliable { State::Terminated } else { State::Completed };
        self.end_at = Deadline::when(!self.reliable, now + timers.t4);
        Heard::Final
    }

    /// Timer E doubles to T2, and is T2 in Proceeding.
    pub(crate) fn on_time(&mut self, now: Time, timers: &TimerSettings) -> Due {
        if self.end_at.is_due(now) {
            let timed_out = self.is_pending();
            self.end();
            return if timed_out { Due::TimedOut } else { Due::Ended };
        }
        if self.again_at.is_due(now) {
            let proceeding = self.state == State::Proceeding;
            let t2 = Interval::of(timers.t2);
            self.interval = if proceeding { t2 } else { self.interval.doubled().min(t2) };
            self.again_at = self.interval.after(now);
            return Due::Resend;
        }
        Due::Nothing
    }

    /// It has had no final response.
    pub(crate) fn is_pending(&self) -> bool {
        matches!(self.state, State::Trying | State::Proceeding)
    }

    /// The stream did not take the request: it is sent by datagram now, and so again. Timer F goes on.
    pub(crate) fn turn_to_datagrams(&mut self, now: Time, timers: &TimerSettings) {
        self.reliable = false;
        self.interval = Interval::of(timers.t1);
        self.again_at = Deadline::when(self.is_pending(), now + timers.t1);
    }

    /// The next target is tried, or nobody waits any more: nothing is sent again.
    pub(crate) fn stop_resending(&mut self) {
        self.again_at = Deadline::NONE;
    }

    pub(crate) fn end(&mut self) {
        self.state = State::Terminated;
        self.again_at = Deadline::NONE;
        self.end_at = Deadline::NONE;
    }

    pub(crate) fn deadline(&self) -> Deadline {
        self.again_at.min(self.end_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    /// Rows of timers E and F: eleven sends in 32 s.
    #[test]
    fn timer_e_doubles_to_t2_and_f_times_out() {
        let timers = TimerSettings::default();
        let mut client = PlainClient::new(at(0), &timers, false);
        let mut sent = Vec::new();
        loop {
            let next = client.deadline().time().unwrap();
            match client.on_time(next, &timers) {
                Due::Resend => sent.push(next.as_millis()),
                Due::TimedOut => break assert_eq!(next.as_millis(), 32_000),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(sent, [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
    }

    /// Row of timer E: T2 in Proceeding.
    #[test]
    fn proceeding_resends_each_t2() {
        let timers = TimerSettings::default();
        let mut client = PlainClient::new(at(0), &timers, false);
        assert_eq!(client.on_response(100, at(100), &timers), Heard::Provisional);
        assert_eq!(client.on_time(at(500), &timers), Due::Resend);
        assert_eq!(client.deadline().time(), Some(at(4_500)));
    }

    /// Row of timer K: responses are absorbed for T4; a stream ends at once.
    #[test]
    fn timer_k_absorbs_for_t4() {
        let timers = TimerSettings::default();
        let mut client = PlainClient::new(at(0), &timers, false);
        assert_eq!(client.on_response(200, at(100), &timers), Heard::Final);
        assert_eq!(client.on_response(200, at(200), &timers), Heard::Useless);
        assert_eq!(client.on_time(at(5_100), &timers), Due::Ended);
        let mut stream = PlainClient::new(at(0), &timers, true);
        stream.on_response(200, at(100), &timers);
        assert_eq!(stream.state, State::Terminated);
    }
}
