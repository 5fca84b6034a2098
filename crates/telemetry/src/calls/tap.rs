//! The worker's side: copies what happened into a batch, and hands the batch over at the end of a turn. It never waits.
//!
//! While the records have not taken the batch before, turns share one: a busy worker hands over as often as they look, not
//! as often as something arrives.

use super::batch::{Batch, Entry};
use crate::limits::{BATCHES, HELD_BYTES, HELD_FOR_MS, SPARE_BATCHES, WAITING_BYTES};
use proxy::{Event, Flow, Outbox, Time};
use sip::{Method, Span};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

/// How long the turns of a worker share a batch.
const HELD_FOR: Duration = Duration::from_millis(HELD_FOR_MS);

/// A worker's way to the records.
#[derive(Debug)]
pub struct Tap {
    batch: Batch,
    /// How much the batch had before what arrived last.
    before: [usize; 3],
    /// How much it had at the end of the last turn.
    ended: [usize; 3],
    /// Where what arrived last stands among the entries, until the core has taken it.
    arrived: Option<usize>,
    /// How many messages are to leave after each call of the core, and where what it was called with stands.
    sent: Vec<(usize, Option<usize>)>,
    /// How many of them have left, and which of these calls the last one was of.
    left: usize,
    sender: usize,
    /// When what it holds goes to the records, whether or not they have taken what went before.
    due: Option<Time>,
    out: SyncSender<Batch>,
    spare: Receiver<Batch>,
    /// Bytes of what waits, and how many batches that are.
    waiting: Arc<AtomicUsize>,
    batches: Arc<AtomicUsize>,
    lost: Arc<AtomicU64>,
}

/// The other end of a tap.
#[derive(Debug)]
pub struct Lane {
    left: Receiver<Batch>,
    spare: SyncSender<Batch>,
    waiting: Arc<AtomicUsize>,
    batches: Arc<AtomicUsize>,
}

impl Lane {
    /// How many batches wait.
    pub(super) fn waiting_batches(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.batches)
    }

    /// What the worker left next, if it has left anything.
    pub(super) fn next(&self) -> Option<Batch> {
        let batch = self.left.try_recv().ok()?;
        self.waiting.fetch_sub(batch.bytes.len(), Ordering::Relaxed);
        self.batches.fetch_sub(1, Ordering::Relaxed);
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
    let (out, left) = sync_channel(BATCHES);
    let (give_back, spare) = sync_channel(SPARE_BATCHES);
    let (waiting, batches) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let lane = Lane { left, spare: give_back, waiting: Arc::clone(&waiting), batches: Arc::clone(&batches) };
    (
        Tap {
            batch: Batch::default(),
            before: [0; 3],
            ended: [0; 3],
            arrived: None,
            sent: Vec::new(),
            left: 0,
            sender: 0,
            due: None,
            out,
            spare,
            waiting,
            batches,
            lost,
        },
        lane,
    )
}

impl Tap {
    /// A message arrived, and the core is called with it next.
    pub fn arrived(&mut self, now: Time, flow: &Flow, bytes: &[u8]) {
        self.before = self.batch.mark();
        let frame = self.batch.frame(flow, bytes);
        self.arrived = Some(self.batch.entries.len());
        self.batch.entries.push((now, Entry::Arrived(frame)));
    }

    /// What arrived last is nobody's call: a stranger's, or a panic's.
    pub fn forget(&mut self) {
        self.batch.cut(self.before);
        self.arrived = None;
    }

    /// The core has been called, with what arrived last if anything has since the call before: it found the Call-ID there, and
    /// so many messages are to leave now.
    pub fn called(&mut self, call_id: Option<Span>, transmits: usize) {
        self.begin_again();
        if let (Some(at), Some(call_id)) = (self.arrived, call_id) {
            self.batch.read(at, call_id);
        }
        self.sent.push((transmits, self.arrived.take()));
    }

    /// What was to leave has left: what is to leave from now on is counted anew.
    fn begin_again(&mut self) {
        if self.left > 0 {
            self.sent.clear();
            (self.left, self.sender) = (0, 0);
        }
    }

    /// Where the message stands that made the core send the next one that leaves.
    fn sender_of_next(&mut self) -> Option<usize> {
        self.left += 1;
        loop {
            let (transmits, arrived) = *self.sent.get(self.sender)?;
            if self.left <= transmits {
                return arrived;
            }
            self.sender += 1;
        }
    }

    /// A message leaves. If so many of its bytes at its end are those of the message that it is sent for, that is told with them.
    pub fn left(&mut self, now: Time, flow: &Flow, (bytes, tail): (&[u8], usize)) {
        let of = self.sender_of_next();
        let frame = match of {
            Some(at) => self.batch.frame_like(at, flow, bytes, tail),
            None => self.batch.frame(flow, bytes),
        };
        self.batch.entries.push((now, Entry::Left(frame, of)));
    }

    /// A fact of the core, if it is one about a call.
    #[inline]
    pub fn fact(&mut self, now: Time, event: &Event, outbox: &Outbox) {
        // Every message has one of these, and no record has any.
        if !matches!(event, Event::Request(..) | Event::Response(..) | Event::InDialog(..) | Event::Warned(_)) {
            self.keep_fact(now, event, outbox);
        }
    }

    fn keep_fact(&mut self, now: Time, event: &Event, outbox: &Outbox) {
        let batch = &mut self.batch;
        let entry = match event {
            Event::Decided { call_id, key, from, called, method: Method::Invite, decision } => {
                let (call_id, called) = (batch.keep(outbox.text(*call_id)), batch.keep(outbox.text(*called)));
                batch.decisions.push(*decision);
                self.arrived.into_iter().for_each(|at| batch.opens(at));
                Entry::Opened { key: *key, call_id, called, from: *from, decision: batch.decisions.len() - 1 }
            }
            Event::Owned(organisation) => Entry::Owned(batch.keep(outbox.text(*organisation))),
            Event::StrayMedia { call_id, key, from, address } => {
                let call_id = batch.keep(outbox.text(*call_id));
                Entry::StrayMedia { key: *key, call_id, from: *from, address: *address }
            }
            Event::Shown(_, rule, did) => Entry::Shown(*rule, *did),
            Event::Foreign { .. } => Entry::Foreign,
            Event::Refused(party, refusal) => Entry::Refused(*party, *refusal),
            Event::Failover(_, reason) => Entry::Failover(*reason),
            Event::Attempt { key, toward, peer } => Entry::Attempt { key: *key, toward: *toward, peer: *peer },
            Event::Ringing { call_id, .. } => Entry::Ringing { call_id: batch.keep(outbox.text(*call_id)) },
            Event::Final { key, call_id, in_dialog: false, status, .. } => {
                let call_id = batch.keep(outbox.text(*call_id));
                Entry::Final { key: *key, call_id, status: *status }
            }
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

    /// The turn is over: what it left goes to the records, unless they have not taken what went before. Then it waits for
    /// what comes next, for a few milliseconds at most.
    pub fn end_turn(&mut self, now: Time) {
        self.sent.clear();
        (self.arrived, self.left, self.sender) = (None, 0, 0);
        if self.batch.is_empty() {
            return;
        }
        let due = *self.due.get_or_insert(now + HELD_FOR);
        if due <= now || self.batch.bytes.len() >= HELD_BYTES || self.batches.load(Ordering::Relaxed) == 0 {
            return self.hand_over();
        }
        if self.batch.mark() != self.ended {
            self.batch.entries.push((now, Entry::TurnOver));
            self.ended = self.batch.mark();
            self.before = self.ended;
        }
    }

    /// When [`Tap::end_turn`] is to be called even if nothing happens; `None` while nothing waits here.
    pub fn due(&self) -> Option<Time> {
        self.due
    }

    /// What waits here goes to the records now, or is counted as lost.
    pub fn hand_over(&mut self) {
        self.due = None;
        (self.before, self.ended) = ([0; 3], [0; 3]);
        if self.batch.is_empty() {
            return;
        }
        let bytes = self.batch.bytes.len();
        // The worker alone adds: what it sees can only have become less.
        if self.waiting.load(Ordering::Relaxed) + bytes > WAITING_BYTES {
            return self.lose();
        }
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
        self.batches.fetch_add(1, Ordering::Relaxed);
        let next = self.spare.try_recv().unwrap_or_default();
        let full = std::mem::replace(&mut self.batch, next);
        if let Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) = self.out.try_send(full) {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.batches.fetch_sub(1, Ordering::Relaxed);
            self.batch = batch;
            self.lose();
        }
    }

    fn lose(&mut self) {
        let facts = self.batch.entries.iter().filter(|(_, entry)| !matches!(entry, Entry::TurnOver)).count();
        self.lost.fetch_add(u64::try_from(facts).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.batch.clear();
    }
}

/// What the last turns left goes to the records with the worker's end.
impl Drop for Tap {
    fn drop(&mut self) {
        self.hand_over();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proxy::ListenerId;

    const MESSAGE: &[u8] = b"INVITE sip:918065978000@10.10.10.1 SIP/2.0\r\n";

    fn turn(tap: &mut Tap, at_ms: u64) {
        let now = Time::from_millis(at_ms);
        tap.arrived(now, &Flow::to(ListenerId(0), "10.10.10.2:5060".parse().unwrap()), MESSAGE);
        tap.end_turn(now);
    }

    /// What leaves is tied to what arrived before it in the same turn, however many calls of the core a flush is for; what the
    /// core sent by itself, and what was dropped, to nothing.
    #[test]
    fn what_leaves_is_tied_to_what_arrived() {
        let (mut tap, lane) = lane(Arc::new(AtomicU64::new(0)));
        let flow = Flow::to(ListenerId(0), "10.10.10.2:5060".parse().unwrap());
        let now = Time::from_millis(1);
        for round in 0..2 {
            // One that makes two messages leave, one that makes none, a timer with one, and one that the core panicked on.
            tap.arrived(now, &flow, MESSAGE);
            tap.called(None, 2);
            tap.arrived(now, &flow, MESSAGE);
            tap.called(None, 2);
            tap.called(None, 3);
            tap.arrived(now, &flow, MESSAGE);
            tap.forget();
            (0..3).for_each(|_| tap.left(now, &flow, (MESSAGE, 0)));
            tap.called(None, 0);
            tap.arrived(now, &flow, MESSAGE);
            tap.called(None, 1);
            tap.left(now, &flow, (MESSAGE, 0));
            tap.end_turn(now);
            let batch = lane.next().unwrap();
            let tied: Vec<Option<usize>> = batch
                .entries
                .iter()
                .filter_map(|(_, entry)| if let Entry::Left(_, of) = entry { Some(*of) } else { None })
                .collect();
            assert_eq!(tied, [Some(0), Some(0), None, Some(5)], "{round}");
            lane.give_back(batch);
        }
    }

    fn messages(batch: &Batch) -> usize {
        batch.entries.iter().filter(|(_, entry)| matches!(entry, Entry::Arrived(_))).count()
    }

    /// Limits HELD_BYTES and HELD_FOR_MS: turns share a batch while the records have one, for so long and up to so much; and
    /// the last ones are handed over with the end.
    #[test]
    fn turns_share_a_batch_while_the_records_have_one() {
        let lost = Arc::new(AtomicU64::new(0));
        let (mut tap, lane) = lane(Arc::clone(&lost));
        turn(&mut tap, 1_000);
        assert_eq!(tap.due(), None, "nothing waited: it is handed over at once");
        (1_001..1_005).for_each(|at_ms| turn(&mut tap, at_ms));
        assert_eq!(tap.due(), Some(Time::from_millis(1_001 + HELD_FOR_MS)));
        tap.end_turn(Time::from_millis(1_000 + HELD_FOR_MS));
        assert_eq!(lane.waiting_batches().load(Ordering::Relaxed), 1);
        tap.end_turn(Time::from_millis(1_001 + HELD_FOR_MS));
        assert_eq!((lane.waiting_batches().load(Ordering::Relaxed), tap.due()), (2, None));
        assert_eq!([(); 2].map(|()| messages(&lane.next().unwrap())), [1, 4]);
        // While the records keep up there is nothing to wait for.
        (1_020..1_025).for_each(|at_ms| {
            turn(&mut tap, at_ms);
            assert_eq!(messages(&lane.next().unwrap()), 1);
        });
        turn(&mut tap, 1_030);
        let mut turns = 0;
        while lane.waiting_batches().load(Ordering::Relaxed) == 1 {
            turn(&mut tap, 1_030);
            turns += 1;
        }
        assert_eq!(turns, HELD_BYTES.div_ceil(MESSAGE.len()));
        turn(&mut tap, 1_030);
        // What is dropped is the last message alone, whatever is held of the turns before.
        tap.arrived(Time::from_millis(1_031), &Flow::to(ListenerId(0), "10.10.10.9:5060".parse().unwrap()), MESSAGE);
        tap.forget();
        tap.end_turn(Time::from_millis(1_031));
        drop(tap);
        assert_eq!([(); 3].map(|()| messages(&lane.next().unwrap())), [1, turns, 1]);
        assert_eq!(lost.load(Ordering::Relaxed), 0);
    }
}
