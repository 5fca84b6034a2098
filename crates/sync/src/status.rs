//! How the writer fares, for people to see.

use std::time::{Duration, Instant};

use directory::{Directory, Generation};

use crate::fault::SyncFault;

/// How the writer fares at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The database, without secrets.
    pub source: String,
    /// The generation that is published; 0 before the first.
    pub generation: Generation,
    /// Whether a directory was ever read.
    pub is_loaded: bool,
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
}

/// What the writer keeps for [`Status`].
#[derive(Default)]
pub(crate) struct Looks {
    /// When the database last confirmed what is published.
    pub(crate) confirmed_at: Option<Instant>,
    /// Why the last look failed.
    pub(crate) fault: Option<SyncFault>,
}

impl Looks {
    /// The status, with what is published.
    pub(crate) fn status(&self, source: &str, directory: &Directory) -> Status {
        Status {
            source: source.to_owned(),
            generation: directory.generation(),
            is_loaded: directory.is_loaded(),
            did_count: directory.did_count(),
            user_count: directory.user_count(),
            organisation_count: directory.organisation_count(),
            fault_count: directory.fault_count(),
            age: self.confirmed_at.map(|at| at.elapsed()),
            fault: self.fault.clone(),
        }
    }
}
