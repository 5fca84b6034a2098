//! When something is due, or never, in the room of a time: a transaction has half a dozen of these.

use crate::flow::Time;

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
}
