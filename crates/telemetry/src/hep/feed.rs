//! A worker's end: it wraps messages into a batch of its own, and hands the batch over at the end of a turn. While the
//! sender has not taken the batch before, turns share one.

use super::packet::{Packet, encode};
use super::{Collector, QUEUE, QUEUE_BYTES, Tap, Way};
use proxy::{Time, Transport};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

/// Bytes with which a batch goes to the sender at once: one write to a stream.
const HELD_BYTES: usize = 64 << 10;
/// How long turns share a smaller batch, while the one before waits.
const HELD_FOR: Duration = Duration::from_millis(5);

/// Messages for one collector, wrapped, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Who gets them.
    pub(super) collector: Option<Arc<Collector>>,
    pub(super) bytes: Vec<u8>,
    /// Where each ends.
    pub(super) ends: Vec<usize>,
}

/// A worker's end of a [`Tap`].
#[derive(Debug)]
pub struct Feed {
    tap: Tap,
    batch: Batch,
    /// When the batch goes to the sender, whether or not it has taken the one before.
    due: Option<Time>,
}

impl Batch {
    /// How many messages, and their bytes.
    pub(super) fn size(&self) -> (u64, usize) {
        (u64::try_from(self.ends.len()).unwrap_or(u64::MAX), self.bytes.len())
    }

    pub(super) fn clear(&mut self) {
        self.collector = None;
        self.bytes.clear();
        self.ends.clear();
    }
}

impl Feed {
    pub(super) fn new(tap: Tap) -> Feed {
        Feed { tap, batch: Batch::default(), due: None }
    }

    /// Whether anything is captured.
    pub fn is_on(&self) -> bool {
        self.tap.is_on()
    }

    /// Takes a message on its way between an address of ours and a remote one. Never waits.
    pub fn take(&mut self, way: Way, transport: Transport, local: SocketAddr, remote: SocketAddr, bytes: &[u8]) {
        let shared = Arc::clone(&self.tap.shared);
        if !self.is_on() || !shared.filter.load().passes(remote.ip(), bytes) {
            return;
        }
        let (from, to) = match way {
            Way::In => (remote, local),
            Way::Out => (local, remote),
        };
        let packet = Packet { at: SystemTime::now(), transport, from, to, bytes };
        let collector = shared.collector.load();
        let encoded = collector.as_ref().and_then(|collector| {
            if self.batch.collector.as_ref().is_none_or(|own| !Arc::ptr_eq(own, collector)) {
                self.hand_over();
                self.batch.collector = Some(Arc::clone(collector));
            }
            encode(&packet, collector, &mut self.batch.bytes)
        });
        match encoded {
            Some(()) => self.batch.ends.push(self.batch.bytes.len()),
            None => {
                shared.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The turn is over: what was taken goes to the sender, unless it has not taken what went before. Then it waits for
    /// what comes next, for a few milliseconds at most.
    pub fn end_turn(&mut self, now: Time) {
        if self.batch.ends.is_empty() {
            return;
        }
        let due = *self.due.get_or_insert(now + HELD_FOR);
        let is_taken = self.tap.shared.queued.load(Ordering::Relaxed) == 0;
        if is_taken || due <= now || self.batch.bytes.len() >= HELD_BYTES {
            self.hand_over();
        }
    }

    /// When [`Feed::end_turn`] is to be called even if nothing happens; `None` while nothing waits here.
    pub fn due(&self) -> Option<Time> {
        self.due
    }

    /// What waits here goes to the sender now, or is counted as lost.
    pub fn hand_over(&mut self) {
        self.due = None;
        let (messages, bytes) = self.batch.size();
        if messages == 0 {
            return;
        }
        let shared = &self.tap.shared;
        // Every worker adds: each takes its room before it knows whether there is any.
        let queued = shared.queued.fetch_add(messages, Ordering::Relaxed) + messages;
        let queued_bytes = shared.queued_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let has_room = queued <= u64::try_from(QUEUE).unwrap_or(u64::MAX) && queued_bytes <= QUEUE_BYTES;
        let is_lost = if has_room {
            let full = std::mem::replace(&mut self.batch, shared.spare());
            self.tap.queue.try_send(full).is_err()
        } else {
            self.batch.clear();
            true
        };
        if is_lost {
            shared.taken(messages, bytes);
            shared.lost.fetch_add(messages, Ordering::Relaxed);
        }
    }
}

/// What the last turns left goes to the sender with the worker's end.
impl Drop for Feed {
    fn drop(&mut self) {
        self.hand_over();
    }
}
