//! The non-INVITE server transaction: RFC 3261 17.2.2 (figure 8), with RFC 4320's rule on 100.

use crate::deadline::Deadline;
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
pub(crate) struct PlainServer {
    pub(crate) state: State,
    reliable: bool,
    /// When a 100 is owed, if nothing was answered by then.
    trying_at: Deadline,
    /// Timer J.
    end_at: Deadline,
}

/// What time asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Due {
    Nothing,
    /// The 100 of RFC 4320 4.1.
    Trying,
    Ended,
}

impl PlainServer {
    /// Over UDP a 100 is owed when the client's Timer E reaches T2, and not before (RFC 4320 4.1): at T1*7, 3.5 s.
    pub(crate) fn new(now: Time, timers: &TimerSettings, reliable: bool) -> PlainServer {
        PlainServer {
            state: State::Trying,
            reliable,
            trying_at: Deadline::at(now + timers.t1 * 7),
            end_at: Deadline::NONE,
        }
    }

    /// The request arrived again: true when there is a response to send again.
    pub(crate) fn on_request(&self) -> bool {
        matches!(self.state, State::Proceeding | State::Completed)
    }

    /// A final response is sent: Completed, Timer J. False when one was sent before.
    pub(crate) fn on_final(&mut self, now: Time, timers: &TimerSettings) -> bool {
        if !self.is_open() {
            return false;
        }
        self.trying_at = Deadline::NONE;
        self.state = if self.reliable { State::Terminated } else { State::Completed };
        self.end_at = Deadline::when(!self.reliable, now + timers.b());
        true
    }

    /// No final has been sent.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Trying | State::Proceeding)
    }

    pub(crate) fn on_time(&mut self, now: Time) -> Due {
        if self.end_at.is_due(now) {
            self.end();
            return Due::Ended;
        }
        if self.trying_at.is_due(now) {
            self.trying_at = Deadline::NONE;
            self.state = State::Proceeding;
            return Due::Trying;
        }
        Due::Nothing
    }

    pub(crate) fn end(&mut self) {
        self.state = State::Terminated;
        self.trying_at = Deadline::NONE;
        self.end_at = Deadline::NONE;
    }

    pub(crate) fn deadline(&self) -> Deadline {
        self.trying_at.min(self.end_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    /// Row NI2: no 100 before Timer E would reach T2, one then.
    #[test]
    fn a_100_is_owed_after_3500_ms_and_not_before() {
        let timers = TimerSettings::default();
        let mut server = PlainServer::new(at(0), &timers, false);
        assert_eq!(server.deadline().time(), Some(at(3_500)));
        assert_eq!(server.on_time(at(3_499)), Due::Nothing);
        assert_eq!(server.on_time(at(3_500)), Due::Trying);
        assert!(server.on_request());
    }

    /// Row of timer J, and P4: one final, absorbed for 32 s.
    #[test]
    fn one_final_then_timer_j() {
        let timers = TimerSettings::default();
        let mut server = PlainServer::new(at(0), &timers, false);
        assert!(server.on_final(at(100), &timers));
        assert!(!server.on_final(at(200), &timers));
        assert_eq!(server.on_time(at(32_100)), Due::Ended);
        let mut stream = PlainServer::new(at(0), &timers, true);
        assert!(stream.on_final(at(100), &timers));
        assert_eq!((stream.state, stream.deadline().time()), (State::Terminated, None));
    }
}
