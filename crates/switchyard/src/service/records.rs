//! What is kept of calls: the worker's tap, and the thread and the sinks behind it.

use super::Told;
use crate::config::Records;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};
use telemetry::calls::{Files, Recorder, RecorderParts, Sink, Tap, lane};

/// Starts the records of a service with one worker.
pub(super) fn start(records: Records, told: &Arc<Told>) -> io::Result<(Tap, Recorder)> {
    let lost = Arc::new(AtomicU64::new(0));
    let (tap, lane) = lane(Arc::clone(&lost));
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    if let Some(files) = records.files {
        sinks.push(Box::new(Files::new(files)));
    }
    let clock = told.clock;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let unix_us = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
    let parts = RecorderParts {
        settings: Arc::clone(&told.settings),
        zero_us: unix_us.saturating_sub(clock.now().0),
        now: Box::new(move || clock.now()),
        lanes: vec![lane],
        journal: records.journal,
        sinks,
        lost,
    };
    Ok((tap, Recorder::start(parts)?))
}
