//! How the writer fares, for people to see.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use directory::{Difference, Directory, Generation, HoldReason};

use crate::fault::SyncFault;
use crate::generations::Generations;
use crate::limits::APPLY_TIMES_WAITING;

/// How the writer fares at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The database, without secrets.
    pub source: String,
    /// How changes are found: `compare`, `change_log` or `notify`; empty before the first reading.
    pub detection: &'static str,
    /// The generation that is published; 0 before the first.
    pub generation: Generation,
    /// Whether there is a directory, from the database or the snapshot.
    pub is_loaded: bool,
    /// Whether it came from the snapshot, and the database has not been read since the start.
    pub is_from_snapshot: bool,
    /// How many DIDs there are.
    pub did_count: usize,
    /// How many users there are.
    pub user_count: usize,
    /// How many organisations there are.
    pub organisation_count: usize,
    /// How many faults the data has.
    pub fault_count: u64,
    /// The time since the database last confirmed what is published; `None` before the first time.
    pub age: Option<Duration>,
    /// Why the last look failed; `None` when it did not.
    pub fault: Option<SyncFault>,
    /// What the guard holds back.
    pub held: Option<Held>,
    /// Why the last snapshot was not written or read; `None` when it was, and when none is kept.
    pub snapshot_fault: Option<String>,
    /// How many snapshots could not be written since the start.
    pub snapshots_failed: u64,
}

impl Status {
    /// Whether calls are served from a directory that may not be what the database says.
    pub fn is_degraded(&self) -> bool {
        self.is_loaded && (self.fault.is_some() || self.is_from_snapshot || self.held.is_some())
    }
}

/// A directory that the guard holds back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Counts what was held back since the start: each reading that differs has its own.
    pub version: u64,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// Every limit that is exceeded.
    pub reasons: Vec<HoldReason>,
    /// What lies between what is published and what is held back.
    pub difference: Difference,
    /// Whether an operator has rejected it: then it stays out until the data change again.
    pub is_rejected: bool,
}

/// What the writer keeps for [`Status`].
#[derive(Default)]
pub(crate) struct Looks {
    /// When the database last confirmed what is published, and how old that was by then.
    pub(crate) confirmed: Option<(Instant, Duration)>,
    /// Whether the database was read since the start.
    pub(crate) is_read: bool,
    /// How changes are found.
    pub(crate) detection: &'static str,
    /// Why the last look failed.
    pub(crate) fault: Option<SyncFault>,
    /// What the guard holds back.
    pub(crate) held: Option<Held>,
    /// How much was held back since the start.
    pub(crate) held_count: u64,
    /// Why the last snapshot was not written.
    pub(crate) snapshot_fault: Option<String>,
    /// How many were not.
    pub(crate) snapshots_failed: u64,
    /// The last generations.
    pub(crate) generations: Generations,
    /// How long they took.
    pub(crate) applied: Applied,
}

/// How long each generation took, until somebody takes that.
#[derive(Default)]
pub(crate) struct Applied {
    times: VecDeque<Duration>,
}

impl Applied {
    /// One more; with [`APPLY_TIMES_WAITING`] that nobody took, the oldest is forgotten.
    pub(crate) fn push(&mut self, took: Duration) {
        if self.times.len() >= APPLY_TIMES_WAITING {
            self.times.pop_front();
        }
        self.times.push_back(took);
    }

    /// Those since it was asked last.
    pub(crate) fn take(&mut self) -> VecDeque<Duration> {
        std::mem::take(&mut self.times)
    }
}

impl Looks {
    /// The status, with what is published.
    pub(crate) fn status(&self, source: &str, directory: &Directory) -> Status {
        Status {
            source: source.to_owned(),
            detection: self.detection,
            generation: directory.generation(),
            is_loaded: directory.is_loaded(),
            is_from_snapshot: directory.is_loaded() && !self.is_read,
            did_count: directory.did_count(),
            user_count: directory.user_count(),
            organisation_count: directory.organisation_count(),
            fault_count: directory.fault_count(),
            age: self.confirmed.map(|(at, age)| at.elapsed() + age),
            fault: self.fault.clone(),
            held: self.held.clone(),
            snapshot_fault: self.snapshot_fault.clone(),
            snapshots_failed: self.snapshots_failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_times_wait_for_whoever_takes_them() {
        let mut applied = Applied::default();
        let count = u64::try_from(APPLY_TIMES_WAITING).unwrap();
        (0..count + 3).for_each(|ms| applied.push(Duration::from_millis(ms)));
        let times = applied.take();
        assert_eq!((times.len(), times.front()), (APPLY_TIMES_WAITING, Some(&Duration::from_millis(3))));
        assert!(applied.take().is_empty());
    }
}
