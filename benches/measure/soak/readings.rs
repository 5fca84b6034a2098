//! Gauges, read every second.

use super::verdict::Turn;
use crate::chart::{self, Line};
use crate::gauges::page;
use crate::generator::figure;
use anyhow::Result;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(1);

/// One look at the gauges.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading {
    /// Since the first turn began.
    pub(crate) at_s: f64,
    pub(crate) memory_bytes: f64,
    pub(crate) files: f64,
    pub(crate) transactions: f64,
    pub(crate) calls: f64,
    pub(crate) directory_trouble: f64,
    /// What the journal of calls takes: it fills once, and is full from then on.
    pub(crate) journal_bytes: f64,
}

/// Reads until it is ended.
pub(crate) struct Reader {
    begun: Instant,
    end: Arc<AtomicBool>,
    readings: Arc<Mutex<Vec<Reading>>>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    pub(crate) fn start() -> Reader {
        let (begun, end) = (Instant::now(), Arc::new(AtomicBool::new(false)));
        let readings = Arc::new(Mutex::new(Vec::new()));
        let (ends, kept) = (Arc::clone(&end), Arc::clone(&readings));
        let thread = thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                // A process that stands still, or that has been killed, says nothing: there is a gap.
                if let Ok(reading) = read(begun) {
                    kept.lock().unwrap_or_else(PoisonError::into_inner).push(reading);
                }
                thread::sleep(EVERY);
            }
        });
        Reader { begun, end, readings, thread: Some(thread) }
    }

    pub(crate) fn now_s(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    pub(crate) fn end(mut self) -> Vec<Reading> {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
        self.readings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn read(begun: Instant) -> Result<Reading> {
    let text = page()?;
    Ok(Reading {
        at_s: begun.elapsed().as_secs_f64(),
        memory_bytes: figure(&text, "switchyard_resident_memory_bytes")?,
        files: figure(&text, "switchyard_open_files")?,
        transactions: figure(&text, "switchyard_open_transactions")?,
        calls: figure(&text, "switchyard_calls_in_progress")?,
        directory_trouble: figure(&text, "switchyard_directory_trouble")?,
        journal_bytes: figure(&text, "switchyard_journal_bytes")?,
    })
}

/// All readings, each with the fault of its turn.
pub(crate) fn csv(readings: &[Reading], turns: &[Turn]) -> String {
    let mut out = String::from(
        "second,trouble,memory_bytes,open_files,open_transactions,calls,directory_trouble,journal_bytes\n",
    );
    for Reading { at_s, memory_bytes, files, transactions, calls, directory_trouble, journal_bytes } in readings {
        let turn = turns.iter().find(|turn| turn.begun_s <= *at_s && *at_s < turn.ended_s);
        let trouble = turn.map_or("quiet", |turn| turn.trouble.name());
        let _ = writeln!(
            out,
            "{at_s:.1},{trouble},{memory_bytes},{files},{transactions},{calls},{directory_trouble},{journal_bytes}"
        );
    }
    out
}

/// A line for each gauge, and the beginning of each turn.
pub(crate) fn chart(readings: &[Reading], turns: &[Turn]) -> String {
    let column = |title, of: fn(&Reading) -> f64| Line { title, points: readings.iter().map(of).collect() };
    let lines = [
        column("resident memory, bytes", |r| r.memory_bytes),
        column("open files", |r| r.files),
        column("open transactions", |r| r.transactions),
        column("calls in progress", |r| r.calls),
        column("database not read", |r| r.directory_trouble),
        column("journal of calls, bytes", |r| r.journal_bytes),
    ];
    // Readings are a second apart but for gaps: the place of a time is the place of its first reading.
    let place = |at_s: f64| readings.iter().position(|reading| reading.at_s >= at_s).unwrap_or(readings.len());
    let last = readings.len().saturating_sub(1).max(1) as f64;
    // Words of many turns would lie upon each other.
    let every = turns.len().div_ceil(12).max(1);
    let marks =
        turns.iter().step_by(every).map(|turn| (place(turn.begun_s) as f64 / last, turn.trouble.name().to_owned()));
    chart::lines(&lines, &marks.collect::<Vec<_>>())
}
