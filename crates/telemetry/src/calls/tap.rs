//! The worker's side: copies what happened into a batch, and hands the batch over once a turn. It never waits.

use super::batch::{Batch, Entry};
use crate::limits::{BATCHES, SPARE_BATCHES, WAITING_BYTES};
use proxy::{Event, Flow, Outbox, Time};
use sip::Method;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

/// A worker's way to the records.
#[derive(Debug)]
pub struct Tap {
    batch: Batch,
    /// Where the batch was before what arrived last.
    before: (usize, usize),
    out: SyncSender<Batch>,
    spare: Receiver<Batch>,
    /// Bytes of what waits, and how many turns that are.
    waiting: Arc<AtomicUsize>,
    turns: Arc<AtomicUsize>,
    lost: Arc<AtomicU64>,
}

/// The other end of a tap.
#[derive(Debug)]
pub struct Lane {
    batches: Receiver<Batch>,
    spare: SyncSender<Batch>,
    waiting: Arc<AtomicUsize>,
    turns: Arc<AtomicUsize>,
}

impl Lane {
    /// How many turns wait.
    pub(super) fn turns(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.turns)
    }

    /// What the worker left next, if it has left anything.
    pub(super) fn next(&self) -> Option<Batch> {
        let batch = self.batches.try_recv().ok()?;
        self.waiting.fetch_sub(batch.bytes.len(), Ordering::Relaxed);
        self.turns.fetch_sub(1, Ordering::Relaxed);
        Some(batch)
    }

    /// Its room is used again; more than a few wait for nobody.
    pub(super) fn give_back(&self, mut batch: Batch) {
        batch.clear();
        let _full = self.spare.try_send(batch);
    }
}

/// A tap and its other end. `lost` counts the facts that found the way full.
pub fn lane(lost: Arc<AtomicU64>) -> (Tap, Lane) {
    let (out, batches) = sync_channel(BATCHES);
    let (give_back, spare) = sync_channel(SPARE_BATCHES);
    let (waiting, turns) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let lane = Lane { batches, spare: give_back, waiting: Arc::clone(&waiting), turns: Arc::clone(&turns) };
    (Tap { batch: Batch::default(), before: (0, 0), out, spare, waiting, turns, lost }, lane)
}

impl Tap {
    /// A message arrived, and the core is called with it next.
    pub fn arrived(&mut self, now: Time, flow: &Flow, bytes: &[u8]) {
        self.before = (self.batch.bytes.len(), self.batch.entries.len());
        let frame = self.batch.frame(flow, bytes);
        self.batch.entries.push((now, Entry::Arrived(frame)));
    }

    /// What arrived last is nobody's call: a stranger's, or a panic's.
    pub fn forget(&mut self) {
        let (bytes, entries) = self.before;
        self.batch.bytes.truncate(bytes);
        self.batch.entries.truncate(entries);
    }

    /// A message leaves.
    pub fn left(&mut self, now: Time, flow: &Flow, bytes: &[u8]) {
        let frame = self.batch.frame(flow, bytes);
        self.batch.entries.push((now, Entry::Left(frame)));
    }

    /// A fact of the core, if it is one about a call.
    pub fn fact(&mut self, now: Time, event: &Event, outbox: &Outbox) {
        let batch = &mut self.batch;
        let entry = match event {
            Event::Decided { call_id, key, from, called, method: Method::Invite, decision } => {
                let (call_id, called) = (batch.keep(outbox.text(*call_id)), batch.keep(outbox.text(*called)));
                Entry::Opened { key: *key, call_id, called, from: *from, decision: *decision }
            }
            Event::Owned(organisation) => Entry::Owned(batch.keep(outbox.text(*organisation))),
            Event::StrayMedia { call_id, key, from, address } => {
                let call_id = batch.keep(outbox.text(*call_id));
                Entry::StrayMedia { key: *key, call_id, from: *from, address: *address }
            }
            Event::Shown(_, rule) => Entry::Shown(*rule),
            Event::Foreign { .. } => Entry::Foreign,
            Event::Refused(party, refusal) => Entry::Refused(*party, *refusal),
            Event::Failover(_, reason) => Entry::Failover(*reason),
            Event::Attempt { key, toward, peer } => Entry::Attempt { key: *key, toward: *toward, peer: *peer },
            Event::Ringing { call_id, .. } => Entry::Ringing { call_id: batch.keep(outbox.text(*call_id)) },
            Event::Final { key, in_dialog: false, status, .. } => Entry::Final { key: *key, status: *status },
            Event::Ended { key, call_id, by, after_us, talked_us } => {
                let call_id = batch.keep(outbox.text(*call_id));
                Entry::Ended { key: *key, call_id, by: *by, after_us: *after_us, talked_us: *talked_us }
            }
            Event::EndedUnseen { call_id, key, direction, parties, users, by } => Entry::EndedUnseen {
                key: *key,
                call_id: batch.keep(outbox.text(*call_id)),
                direction: *direction,
                parties: *parties,
                users: users.map(|user| batch.keep(outbox.text(user))),
                by: *by,
            },
            _ => return,
        };
        batch.entries.push((now, entry));
    }

    /// The turn is over: what it left goes to the records, or is counted as lost.
    pub fn hand_over(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        self.before = (0, 0);
        let bytes = self.batch.bytes.len();
        // The worker alone adds: what it sees can only have become less.
        if self.waiting.load(Ordering::Relaxed) + bytes > WAITING_BYTES {
            return self.lose();
        }
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
        self.turns.fetch_add(1, Ordering::Relaxed);
        let next = self.spare.try_recv().unwrap_or_default();
        let full = std::mem::replace(&mut self.batch, next);
        if let Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) = self.out.try_send(full) {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.turns.fetch_sub(1, Ordering::Relaxed);
            self.batch = batch;
            self.lose();
        }
    }

    fn lose(&mut self) {
        self.lost.fetch_add(u64::try_from(self.batch.entries.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.batch.clear();
    }
}
