//! What a worker begins with of the calls in progress.

use super::Restoring;
use crate::call_journal::{CallJournal, Pen};
use proxy::calls::RestoredCall;
use proxy::{Counts, Settings};
use std::io;
use std::path::Path;
use std::sync::Arc;
use telemetry::Counters;
use telemetry::calls::RestoredRecord;

/// What a worker has to do with calls in progress, beside its own.
#[derive(Default)]
pub struct InProgress {
    /// How many calls everybody has: one for all workers.
    pub counts: Arc<Counts>,
    /// Calls of the process before this one.
    pub restored: Vec<RestoredCall>,
    /// Held until they are counted.
    pub restoring: Restoring,
    /// Their records.
    pub records: Vec<RestoredRecord>,
    /// The journal of calls.
    pub pen: Option<Pen>,
}

impl InProgress {
    /// The journal of calls, and what the process before this one left in it.
    pub fn open(
        state_dir: &Path,
        counters: &Arc<Counters>,
        counts: &Arc<Counts>,
        settings: &Settings,
    ) -> io::Result<(CallJournal, InProgress)> {
        let (journal, pen, found) = CallJournal::open(state_dir, counters)?;
        let (restored, records) = (found.restored(settings), found.records(settings));
        found.standing.resume(counts);
        let (counts, pen, restoring) = (Arc::clone(counts), Some(pen), Restoring::default());
        Ok((journal, InProgress { counts, restored, restoring, records, pen }))
    }
}
