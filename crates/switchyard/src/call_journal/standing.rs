//! What a journal's lines come to: the calls in progress, and what was used of each day's calls.

use super::entry::{Answered, Began, Entry};
use proxy::CallKey;
use proxy::calls::{Counts, Spent, Subject};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use telemetry::calls::{BuildAsItIs, CallRecord, Word};

/// What stands after all lines so far.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// The calls in progress.
    pub calls: HashMap<CallKey, Line, BuildAsItIs>,
    /// What each environment has used of its calls for a day.
    pub days: BTreeMap<Word, Day>,
}

/// A call in progress.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// What was known when it began.
    pub began: Box<Began>,
    /// When its INVITE arrived, in milliseconds since 1970.
    pub began_ms: u64,
    /// What its answer said, once it is up. A call that rings has no room for it.
    pub up: Option<Box<Up>>,
    /// Its record, once it is up.
    pub known: Option<Arc<CallRecord>>,
}

/// What is known of a call that is up. Times are milliseconds since 1970.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Up {
    /// When its 2xx was passed on.
    pub answered_ms: u64,
    /// When its session timer runs out.
    pub expires_ms: Option<u64>,
    /// The dialog that answered it.
    pub dialog: Option<u64>,
    /// Who answered.
    pub toward: Word,
}

/// Calls of one day: its number since 1970-01-01, UTC.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Day {
    /// The day.
    pub day: u32,
    /// How many.
    pub calls: u32,
}

impl Standing {
    /// How many lines say the same, about.
    pub(super) fn size(&self) -> usize {
        self.calls.len() + self.days.len()
    }

    /// The entries that say the same, each with its time. `now_ms` is the time of those that have none of their own.
    pub(super) fn entries(&self, now_ms: u64) -> impl Iterator<Item = (Entry, u64)> {
        let calls = self.calls.iter().flat_map(|(key, line)| line.entries(*key));
        let days = self.days.iter().map(move |(environment, day)| (Entry::Day(environment.clone(), *day), now_ms));
        days.chain(calls)
    }

    /// Goes on with what was used of each day's calls.
    pub fn resume(&self, counts: &Counts) {
        for (environment, Day { day, calls }) in &self.days {
            counts.set_spent(Subject::Environment(environment), Spent { day: *day, calls: *calls });
        }
    }
}

impl Line {
    /// Who answered, or where it went.
    pub fn toward(&self) -> &Word {
        self.up.as_ref().map_or(&self.began.toward, |up| &up.toward)
    }

    fn entries(&self, key: CallKey) -> impl Iterator<Item = (Entry, u64)> {
        let began = (Entry::Began(key, self.began.clone()), self.began_ms);
        let answered = self.up.as_deref().map(|up| {
            let by = up.toward.clone();
            // The last refresh is in it.
            let lasts_ms = up.expires_ms.map(|expires_ms| expires_ms.saturating_sub(up.answered_ms));
            (Entry::Answered(key, Answered { by, gateway: None, lasts_ms, dialog: up.dialog }), up.answered_ms)
        });
        let known = self.known.clone().map(|record| (Entry::Known(key, record), self.began_ms));
        std::iter::once(began).chain(answered).chain(known)
    }
}
