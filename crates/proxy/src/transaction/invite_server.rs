//! The INVITE server transaction: RFC 3261 17.2.1 (figure 7) as RFC 6026 (figure 7 there) corrects it.

use crate::deadline::{Deadline, Interval};
use crate::flow::Time;
use crate::settings::TimerSettings;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Proceeding,
    Completed,
    Confirmed,
    Accepted,
    Terminated,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct InviteServer {
    pub(crate) state: State,
    reliable: bool,
    /// Timer G.
    again_at: Deadline,
    interval: Interval,
    /// Timer H, I or L, by state.
    end_at: Deadline,
}

/// What a received INVITE or ACK asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Heard {
    /// Send the last response again.
    Resend,
    /// Nothing: it was expected, or is too late to matter.
    Absorb,
    /// An ACK that belongs to a 2xx: it is routed like any in-dialog request.
    PassUp,
}

/// What time asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Due {
    Nothing,
    Resend,
    Ended,
}

impl InviteServer {
    pub(crate) fn new(reliable: bool) -> InviteServer {
        InviteServer {
            state: State::Proceeding,
            reliable,
            again_at: Deadline::NONE,
            interval: Interval::ZERO,
            end_at: Deadline::NONE,
        }
    }

    /// The INVITE arrived again.
    pub(crate) fn on_invite(&self) -> Heard {
        match self.state {
            State::Proceeding | State::Completed => Heard::Resend,
            State::Confirmed | State::Accepted | State::Terminated => Heard::Absorb,
        }
    }

    /// A 2xx passes: Accepted, Timer L. Every further 2xx passes as well.
    pub(crate) fn on_success(&mut self, now: Time, timers: &TimerSettings) {
        if self.state == State::Proceeding {
            self.state = State::Accepted;
            self.end_at = Deadline::at(now + timers.b());
        }
    }

    /// A 2xx passed after a failure had been sent: whoever heard the 2xx must not hear the failure again. True when there
    /// was one to stop.
    pub(crate) fn on_late_success(&mut self) -> bool {
        let stops = matches!(self.state, State::Completed | State::Confirmed);
        if stops {
            self.again_at = Deadline::NONE;
        }
        stops
    }

    /// A final above 2xx is sent: Completed, Timers G and H.
    pub(crate) fn on_failure(&mut self, now: Time, timers: &TimerSettings) {
        if self.state == State::Proceeding {
            self.state = State::Completed;
            self.interval = Interval::of(timers.t1);
            self.again_at = Deadline::when(!self.reliable, now + timers.t1);
            self.end_at = Deadline::at(now + timers.b());
        }
    }

    /// An ACK that matches the INVITE's branch.
    pub(crate) fn on_ack(&mut self, now: Time, timers: &TimerSettings) -> Heard {
        match self.state {
            State::Completed => {
                self.again_at = Deadline::NONE;
                self.state = if self.reliable { State::Terminated } else { State::Confirmed };
                self.end_at = Deadline::when(!self.reliable, now + timers.t4);
                Heard::Absorb
            }
            State::Accepted => Heard::PassUp,
            State::Proceeding | State::Confirmed | State::Terminated => Heard::Absorb,
        }
    }

    pub(crate) fn on_time(&mut self, now: Time, timers: &TimerSettings) -> Due {
        if self.end_at.is_due(now) {
            self.state = State::Terminated;
            self.end_at = Deadline::NONE;
            self.again_at = Deadline::NONE;
            return Due::Ended;
        }
        if self.again_at.is_due(now) {
            self.interval = self.interval.doubled().min(Interval::of(timers.t2));
            self.again_at = self.interval.after(now);
            return Due::Resend;
        }
        Due::Nothing
    }

    pub(crate) fn deadline(&self) -> Deadline {
        self.again_at.min(self.end_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const T: TimerSettings = TimerSettings {
        t1: Duration::from_millis(500),
        t2: Duration::from_secs(4),
        t4: Duration::from_secs(5),
        timer_c: Duration::from_secs(181),
        hop_timeout: Duration::from_secs(4),
    };

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    /// Rows of timers G and H: resent at T1 doubling to T2, given up after 64*T1.
    #[test]
    fn timer_g_doubles_to_t2_and_h_ends() {
        let mut server = InviteServer::new(false);
        server.on_failure(at(0), &T);
        let mut resent = Vec::new();
        while let Some(next) = server.deadline().time() {
            match server.on_time(next, &T) {
                Due::Resend => resent.push(next.as_millis()),
                Due::Ended => assert_eq!(next.as_millis(), 32_000),
                Due::Nothing => unreachable!(),
            }
        }
        assert_eq!(resent, [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
    }

    /// Row of timer I: the ACK stops G, further ACKs are absorbed for T4; a stream ends at once.
    #[test]
    fn timer_i_is_t4_on_udp_and_nothing_on_tcp() {
        let mut udp = InviteServer::new(false);
        udp.on_failure(at(0), &T);
        assert_eq!(udp.on_ack(at(100), &T), Heard::Absorb);
        assert_eq!((udp.state, udp.deadline().time()), (State::Confirmed, Some(at(5_100))));
        let mut tcp = InviteServer::new(true);
        tcp.on_failure(at(0), &T);
        assert_eq!(tcp.deadline().time(), Some(at(32_000)));
        tcp.on_ack(at(100), &T);
        assert_eq!((tcp.state, tcp.deadline().time()), (State::Terminated, None));
    }

    /// Row of timer L, and A6: an ACK in Accepted is passed up.
    #[test]
    fn accepted_absorbs_invites_and_passes_acks_for_64_t1() {
        let mut server = InviteServer::new(false);
        server.on_success(at(10), &T);
        assert_eq!(server.on_invite(), Heard::Absorb);
        assert_eq!(server.on_ack(at(20), &T), Heard::PassUp);
        assert_eq!(server.deadline().time(), Some(at(32_010)));
        assert_eq!(server.on_time(at(32_010), &T), Due::Ended);
    }
}
