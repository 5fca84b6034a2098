//! When something is due, or never, in the room of a time: a transaction has half a dozen of these.

use crate::flow::Time;
use std::time::Duration;

/// A time at which there is something to do, or [`Deadline::NONE`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Deadline(Time);

impl Deadline {
    /// Never.
    pub(crate) const NONE: Deadline = Deadline(Time(u64::MAX));

    pub(crate) const fn at(time: Time) -> Deadline {
        Deadline(time)
    }

    /// At `time` where `applies`, else never.
    pub(crate) const fn when(applies: bool, time: Time) -> Deadline {
        if applies { Deadline(time) } else { Deadline::NONE }
    }

    pub(crate) fn is_due(self, now: Time) -> bool {
        self.0 <= now && self != Deadline::NONE
    }

    /// `None`: never.
    pub(crate) fn time(self) -> Option<Time> {
        Some(self.0).filter(|_| self != Deadline::NONE)
    }
}

/// How long until a message is sent again: it doubles each time. In microseconds, and over an hour at most.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Interval(u32);

impl Interval {
    pub(crate) const ZERO: Interval = Interval(0);

    pub(crate) fn of(time: Duration) -> Interval {
        Interval(u32::try_from(time.as_micros()).unwrap_or(u32::MAX))
    }

    pub(crate) fn doubled(self) -> Interval {
        Interval(self.0.saturating_mul(2))
    }

    pub(crate) fn after(self, now: Time) -> Deadline {
        Deadline(now + Duration::from_micros(self.0.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_is_later_than_any_time_and_never_due() {
        let soon = Deadline::at(Time(5));
        assert!(soon < Deadline::NONE && soon.is_due(Time(5)) && !soon.is_due(Time(4)));
        assert!(!Deadline::NONE.is_due(Time(u64::MAX)));
        assert_eq!((soon.time(), Deadline::NONE.time()), (Some(Time(5)), None));
        assert_eq!(Deadline::when(false, Time(5)), Deadline::NONE);
    }

    #[test]
    fn an_interval_doubles_and_never_overflows() {
        let second = Interval::of(Duration::from_secs(1));
        assert_eq!(second.doubled().after(Time(7)).time(), Some(Time(2_000_007)));
        let longest = Interval::of(Duration::from_secs(1 << 40));
        assert!(longest > second && longest.doubled() == longest && Interval::ZERO.doubled() == Interval::ZERO);
    }
}
