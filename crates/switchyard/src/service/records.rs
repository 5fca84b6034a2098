//! What is kept of calls: the workers' taps, and the thread and the sinks behind it.

use super::Told;
use crate::call_journal::{Entry, Pen};
use crate::config::Records;
use crate::worker::InProgress;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};
use sync::{CallRow, CallTable};
use telemetry::calls::{CallRecord, Files, Recorder, RecorderParts, Sink, Standing, Tap, Webhook, lane};

/// Starts the records of a service with so many workers: a tap for each, or none where nobody wants them.
pub(super) fn start(
    records: Records,
    told: &Arc<Told>,
    calls: &mut InProgress,
    workers: u16,
) -> io::Result<(Vec<Tap>, Recorder)> {
    let lost = Arc::new(AtomicU64::new(0));
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    if let Some(files) = records.files {
        sinks.push(Box::new(Files::new(files)));
    }
    if records.database {
        sinks.push(Box::new(Table::new(&told.database.load())?));
    }
    if let Some(webhook) = records.webhook {
        sinks.push(Box::new(Webhook::open(webhook)?));
    }
    let is_wanted = records.journal.calls > 0 || !sinks.is_empty();
    let lanes = (0..if is_wanted { workers.max(1) } else { 0 }).map(|_| lane(Arc::clone(&lost)));
    let (taps, lanes) = lanes.unzip();
    let clock = told.clock;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let unix_us = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
    let parts = RecorderParts {
        settings: Arc::clone(&told.settings),
        zero_us: unix_us.saturating_sub(clock.now().0),
        now: Box::new(move || clock.now()),
        lanes,
        journal: records.journal,
        sinks,
        lost,
        restored: std::mem::take(&mut calls.records),
        standing: calls.pen.clone().map(standing),
    };
    Ok((taps, Recorder::start(parts)?))
}

/// Leaves the record of a call that is up for the process after this one.
fn standing(pen: Pen) -> Standing {
    Box::new(move |key, record| pen.write(Entry::Known(key, Arc::clone(record))))
}

/// Records as rows of `switchyard_calls`. The sink's thread waits for the database, and nobody else does.
struct Table {
    table: CallTable,
    runtime: tokio::runtime::Runtime,
}

impl Table {
    fn new(database: &sync::Settings) -> io::Result<Table> {
        let table = CallTable::new(database).map_err(io::Error::other)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Table { table, runtime })
    }
}

impl Sink for Table {
    fn name(&self) -> &'static str {
        "database"
    }

    fn write(&mut self, records: &[Arc<CallRecord>]) -> Result<(), String> {
        let rows: Vec<CallRow> = records.iter().map(|record| row_of(record)).collect::<Result<_, _>>()?;
        self.runtime.block_on(self.table.insert(&rows)).map_err(|fault| fault.to_string())
    }
}

fn row_of(record: &CallRecord) -> Result<CallRow, String> {
    Ok(CallRow {
        id: record.id.to_string(),
        call_id: record.call_id.to_string(),
        began_at_ms: record.began_at_ms,
        ended_at_ms: record.ended_at_ms,
        direction: record.direction.to_string(),
        called: record.called.as_ref().unwrap_or(&record.called_received).to_string(),
        caller: record.caller_sent.as_ref().unwrap_or(&record.caller_received).to_string(),
        organisation: record.organisation.as_ref().map(ToString::to_string),
        outcome: record.outcome.to_string(),
        status: record.status,
        record: serde_json::to_string(record).map_err(|error| error.to_string())?,
    })
}
