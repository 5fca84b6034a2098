//! What there is of a rate or a budget now, with nothing taken of it.

use super::counts::{Counts, Subject};
use crate::flow::Time;

impl Counts {
    /// Calls of the second that this is, and whether there may be one more.
    pub(crate) fn rate(&self, subject: Subject<'_>, per_second: u32, now: Time) -> (u32, bool) {
        let bucket = self.bucket(subject);
        (bucket.used(now, per_second), bucket.take(now, per_second).is_some())
    }

    /// Calls of the day that this is, and whether there may be one more.
    pub(crate) fn budget(&self, subject: Subject<'_>, most: u32, now: Time) -> (u32, bool) {
        let has_room = self.budget_of(subject).take(self.today(now), most).is_some();
        (self.used_today(subject, now), has_room)
    }
}
