//! The last calls with their messages, within a bound of memory. Whoever asks locks it for a moment; no worker ever does.

use super::record::{CallRecord, Word};
use crate::limits::{CALL_BYTES, CALL_MESSAGES};
use proxy::{CallKey, Decision, Listener, Settings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sip::Number;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;

/// What is added for each message and each call to the bytes of its messages.
const MESSAGE_OVERHEAD: usize = 64;
const CALL_OVERHEAD: usize = 2_048;

/// How much is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JournalBounds {
    /// Calls, those in progress among them.
    pub calls: usize,
    /// Bytes of their messages and records.
    pub bytes: usize,
}

/// A call in the journal. Later calls have larger numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CallNumber(pub u64);

/// The last calls.
#[derive(Debug)]
pub struct Journal {
    bounds: JournalBounds,
    next: u64,
    /// In boxes: the table moves its values about, and they are large.
    calls: HashMap<u64, Box<KeptCall>, BuildHasherDefault<Spread>>,
    /// Their numbers, the oldest first.
    order: VecDeque<u64>,
    /// By a key that is a hash already.
    open: HashMap<CallKey, u64, BuildHasherDefault<AsItIs>>,
    by_call_id: HashMap<u64, u64, BuildHasherDefault<AsItIs>>,
    /// The newest call of each number of ours that has one here.
    by_did: HashMap<Number, u64>,
    /// What Call-IDs are hashed with: nobody outside knows it.
    seed: u64,
    /// Every call before this one that is not over has given its messages.
    bare_before: u64,
    /// Calls in the order in which they were over; the last so many.
    ended: VecDeque<(u64, u64)>,
    ended_count: u64,
    /// The calls of which something changed, in the order of the changes; the last so many.
    changes: VecDeque<u64>,
    change_count: u64,
    bytes: usize,
}

/// One call with its messages.
#[derive(Debug)]
pub struct KeptCall {
    pub(super) key: Option<CallKey>,
    did: Option<Number>,
    /// What is written down of it. The sinks have the same once it is over.
    pub record: Arc<CallRecord>,
    pub(super) decision: Option<(Decision, Arc<Settings>)>,
    messages: Vec<KeptMessage>,
    pub(super) bytes: Vec<u8>,
    /// Messages that found no room.
    pub left_out: u32,
    is_closed: bool,
    /// Its messages made room for others, and further ones are not kept.
    is_bare: bool,
    /// Its record is whole, and has been handed on: it may be forgotten.
    is_over: bool,
}

/// One message of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeptMessage {
    /// When, in microseconds since 1970.
    pub at_us: u64,
    /// It left; else it arrived.
    pub is_sent: bool,
    /// The other end.
    pub remote: SocketAddr,
    /// Our end.
    pub local: Listener,
    start: usize,
    length: usize,
}

/// One rule of a past decision, and what it found.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct ToldRule {
    /// Its name.
    pub rule: Word,
    /// What it found, in words.
    pub told: String,
}

impl Journal {
    /// An empty journal.
    pub fn new(bounds: JournalBounds) -> Journal {
        Journal {
            bounds,
            next: 1,
            calls: HashMap::default(),
            order: VecDeque::new(),
            open: HashMap::default(),
            by_call_id: HashMap::default(),
            by_did: HashMap::new(),
            seed: RandomState::new().hash_one(0),
            bare_before: 0,
            ended: VecDeque::new(),
            ended_count: 0,
            changes: VecDeque::new(),
            change_count: 0,
            bytes: 0,
        }
    }

    /// Calls that it holds, and bytes that they take.
    pub fn size(&self) -> (usize, usize) {
        (self.calls.len(), self.bytes)
    }

    /// Calls that have not ended.
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    /// The call of this number.
    pub fn call(&self, number: CallNumber) -> Option<&KeptCall> {
        self.calls.get(&number.0).map(|call| &**call)
    }

    /// All calls, newest first.
    pub fn newest(&self) -> impl Iterator<Item = (CallNumber, &KeptCall)> {
        self.order.iter().rev().filter_map(|number| Some((CallNumber(*number), &**self.calls.get(number)?)))
    }

    /// How many calls were over so far: a place to go on from with [`Journal::ended_after`].
    pub fn ended_count(&self) -> u64 {
        self.ended_count
    }

    /// The calls that were over after this many, oldest first, with the count at each.
    pub fn ended_after(&self, count: u64) -> impl Iterator<Item = (u64, CallNumber, &KeptCall)> {
        let later = self.ended.iter().filter(move |(at, _)| *at > count);
        later.filter_map(|(at, number)| Some((*at, CallNumber(*number), &**self.calls.get(number)?)))
    }

    /// The newest call of a number of ours: one to it, or one that showed it.
    pub fn last_of(&self, did: Number) -> Option<(CallNumber, &KeptCall)> {
        let number = *self.by_did.get(&did)?;
        self.calls.get(&number).map(|call| (CallNumber(number), &**call))
    }

    /// How many changes there were so far: a place to go on from with [`Journal::changed_after`].
    pub fn change_count(&self) -> u64 {
        self.change_count
    }

    /// The calls that began, rang, were answered, went on to another peer or were over after so many changes: each once,
    /// by its last change. `None` when some of these changes are forgotten.
    pub fn changed_after(&self, count: u64) -> Option<Vec<CallNumber>> {
        let fresh = usize::try_from(self.change_count.saturating_sub(count)).ok()?;
        let first = self.changes.len().checked_sub(fresh)?;
        let mut seen = HashSet::new();
        let newest_first = self.changes.range(first..).rev().filter(|number| seen.insert(**number));
        let mut numbers: Vec<CallNumber> = newest_first.map(|number| CallNumber(*number)).collect();
        numbers.reverse();
        Some(numbers)
    }

    /// The call is one of this number of ours.
    pub(super) fn belongs(&mut self, number: u64, did: Number) {
        let Some(call) = self.calls.get_mut(&number) else { return };
        call.did = Some(did);
        let newest = self.by_did.entry(did).or_insert(number);
        *newest = number.max(*newest);
    }

    /// Something changed of the call that people look at.
    pub(super) fn note_change(&mut self, number: u64) {
        self.change_count += 1;
        self.changes.push_back(number);
        if self.changes.len() > CHANGES_KEPT {
            self.changes.pop_front();
        }
    }

    pub(super) fn open_call(&mut self, key: Option<CallKey>, record: CallRecord) -> u64 {
        let number = self.next;
        self.next += 1;
        let hash = hash_of(self.seed, record.call_id.as_bytes());
        self.by_call_id.insert(hash, number);
        if let Some(key) = key {
            self.open.insert(key, number);
        }
        self.bytes += CALL_OVERHEAD;
        let (messages, bytes) = self.make_room();
        let call = KeptCall {
            key,
            did: None,
            record: Arc::new(record),
            decision: None,
            messages,
            bytes,
            left_out: 0,
            is_closed: false,
            is_bare: self.bounds.calls == 0,
            is_over: false,
        };
        self.calls.insert(number, Box::new(call));
        self.order.push_back(number);
        self.note_change(number);
        number
    }

    pub(super) fn by_key(&self, key: CallKey) -> Option<u64> {
        self.open.get(&key).copied()
    }

    pub(super) fn by_call_id(&self, call_id: &[u8]) -> Option<u64> {
        let number = *self.by_call_id.get(&hash_of(self.seed, call_id))?;
        self.calls.get(&number).filter(|call| call.record.call_id.as_bytes() == call_id).map(|_| number)
    }

    pub(super) fn call_mut(&mut self, number: u64) -> Option<&mut KeptCall> {
        self.calls.get_mut(&number).map(|call| &mut **call)
    }

    /// The call is over; false when it was already.
    pub(super) fn close(&mut self, number: u64) -> bool {
        let Some(call) = self.calls.get_mut(&number).filter(|call| !call.is_closed) else { return false };
        call.is_closed = true;
        if let Some(key) = call.key.filter(|key| self.open.get(key) == Some(&number)) {
            self.open.remove(&key);
        }
        self.note_change(number);
        true
    }

    /// The record of a call that is over is whole.
    pub(super) fn publish(&mut self, number: u64) {
        if let Some(call) = self.calls.get_mut(&number) {
            call.is_over = true;
        }
        self.ended_count += 1;
        self.ended.push_back((self.ended_count, number));
        if self.ended.len() > self.bounds.calls {
            self.ended.pop_front();
        }
    }

    /// Keeps a message of a call, as far as there is room for it, and lets `note` write down what its record says of it.
    pub(super) fn keep(&mut self, number: u64, bytes: &[u8], message: KeptMessage, note: impl FnOnce(&mut CallRecord)) {
        let is_alone = self.calls.len() < 2;
        let Some(call) = self.calls.get_mut(&number) else { return };
        note(call.record_mut());
        let fits = !call.is_bare && call.messages.len() < CALL_MESSAGES && call.bytes.len() + bytes.len() <= CALL_BYTES;
        let cost = bytes.len() + MESSAGE_OVERHEAD;
        if !fits || bytes.is_empty() || (is_alone && self.bytes + cost > self.bounds.bytes) {
            call.left_out += 1;
            return;
        }
        let start = call.bytes.len();
        call.bytes.extend_from_slice(bytes);
        call.messages.push(KeptMessage { start, length: bytes.len(), ..message });
        self.bytes += cost;
        if self.bytes > self.bounds.bytes {
            self.evict();
        }
    }

    /// Makes room for one more call; what the oldest one used is used again. Calls in progress stay, however many they are.
    fn make_room(&mut self) -> Room {
        let mut room = Room::default();
        while self.calls.len() >= self.bounds.calls.max(1) {
            match self.forget_oldest() {
                Some(used) => room = used,
                None => break,
            }
        }
        while self.bytes > self.bounds.bytes {
            match self.evict() {
                Some(used) => room = used,
                None => break,
            }
        }
        room
    }

    /// Forgets the oldest call, one that is over before one that is not; of the latter only the messages go.
    fn evict(&mut self) -> Option<Room> {
        self.forget_oldest().or_else(|| self.strip_oldest())
    }

    fn forget_oldest(&mut self) -> Option<Room> {
        let mut oldest = self.order.iter().take(EVICTION_LOOKS);
        let at = oldest.position(|number| self.calls.get(number).is_some_and(|call| call.is_over))?;
        let over = self.order.remove(at)?;
        let mut call = self.calls.remove(&over)?;
        let hash = hash_of(self.seed, call.record.call_id.as_bytes());
        if self.by_call_id.get(&hash) == Some(&over) {
            self.by_call_id.remove(&hash);
        }
        if let Some(did) = call.did.filter(|did| self.by_did.get(did) == Some(&over)) {
            self.by_did.remove(&did);
        }
        self.bytes = self.bytes.saturating_sub(call.cost() + CALL_OVERHEAD);
        Some(call.take_room())
    }

    /// Takes the messages of the oldest call that has any. Each call is looked at once: it has none from then on.
    fn strip_oldest(&mut self) -> Option<Room> {
        let first = self.order.partition_point(|number| *number < self.bare_before);
        for number in self.order.range(first..) {
            self.bare_before = number + 1;
            let Some(call) = self.calls.get_mut(number) else { continue };
            call.is_bare = true;
            if !call.messages.is_empty() {
                self.bytes = self.bytes.saturating_sub(call.cost());
                call.left_out += u32::try_from(call.messages.len()).unwrap_or(u32::MAX);
                return Some(call.take_room());
            }
        }
        None
    }
}

/// So many changes can be asked for again; who is further behind looks at everything.
const CHANGES_KEPT: usize = 8_192;
/// What messages are kept in.
type Room = (Vec<KeptMessage>, Vec<u8>);

/// 2^64 over the golden ratio: it spreads what is near.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// A hash of a Call-ID: every message has one. Two that hash alike cost no more than that the older one is not found.
fn hash_of(seed: u64, call_id: &[u8]) -> u64 {
    let mixed = |hash: u64, word: u64| (hash ^ word).wrapping_mul(FACTOR).rotate_left(29);
    let (words, rest) = call_id.as_chunks::<8>();
    let hash = words.iter().fold(seed, |hash, word| mixed(hash, u64::from_le_bytes(*word)));
    let last = rest.iter().fold(0, |last: u64, byte| (last << 8) | u64::from(*byte));
    let hash = mixed(mixed(hash, last), u64::try_from(call_id.len()).unwrap_or(u64::MAX));
    (hash ^ (hash >> 32)).wrapping_mul(FACTOR)
}

/// The hash of what is a hash already.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash_of(self.0, bytes);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// The hash of a number that we gave ourselves.
#[derive(Debug, Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash_of(self.0, bytes);
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number.wrapping_mul(FACTOR);
    }
}

/// So many of the oldest calls are looked at for one that is over.
const EVICTION_LOOKS: usize = 64;

impl KeptCall {
    /// The number of ours that it is to, or that it showed.
    pub fn did(&self) -> Option<Number> {
        self.did
    }

    /// Its messages in order, with their bytes.
    pub fn messages(&self) -> impl Iterator<Item = (&KeptMessage, &[u8])> {
        self.messages.iter().map(|message| {
            let range = message.start..message.start + message.length;
            (message, self.bytes.get(range).unwrap_or_default())
        })
    }

    /// Every rule of its decision, with what it found; empty for a call that was never dispatched here.
    pub fn told(&self) -> Vec<ToldRule> {
        let Some((decision, settings)) = &self.decision else { return Vec::new() };
        let told = |step: proxy::dispatch::Step| step.told(settings).to_string();
        let steps = decision.trace.steps();
        steps.map(|step| ToldRule { rule: step.rule().into(), told: told(step) }).collect()
    }

    /// What is written down of it, to write on: a copy of its own if somebody else still reads it.
    pub(super) fn record_mut(&mut self) -> &mut CallRecord {
        Arc::make_mut(&mut self.record)
    }

    fn cost(&self) -> usize {
        self.bytes.len() + self.messages.len() * MESSAGE_OVERHEAD
    }

    /// Its room, empty: others use it again.
    fn take_room(&mut self) -> Room {
        let (mut messages, mut bytes) = (std::mem::take(&mut self.messages), std::mem::take(&mut self.bytes));
        messages.clear();
        bytes.clear();
        (messages, bytes)
    }
}

impl KeptMessage {
    /// A message without its bytes.
    pub(super) fn new(at_us: u64, is_sent: bool, remote: SocketAddr, local: Listener) -> KeptMessage {
        KeptMessage { at_us, is_sent, remote, local, start: 0, length: 0 }
    }

    /// Its length in bytes.
    pub fn length(&self) -> usize {
        self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proxy::Transport;

    fn record(call_id: &str) -> CallRecord {
        CallRecord { call_id: call_id.to_owned(), ..CallRecord::default() }
    }

    fn message(at_us: u64) -> KeptMessage {
        let address = "10.10.10.2:5060".parse().unwrap();
        KeptMessage::new(at_us, false, address, Listener { transport: Transport::Udp, address })
    }

    #[test]
    fn the_oldest_call_that_is_over_makes_room_and_its_bytes_are_given_back() {
        let mut journal = Journal::new(JournalBounds { calls: 3, bytes: 1 << 20 });
        let first = journal.open_call(Some(CallKey(1)), record("in progress"));
        for number in 2..=10 {
            let call = journal.open_call(Some(CallKey(number)), record(&number.to_string()));
            journal.keep(call, b"INVITE", message(0), |_| {});
            assert!(journal.close(call) && !journal.close(call), "it is over once");
            journal.publish(call);
        }
        assert_eq!(journal.size().0, 3);
        assert_eq!(journal.by_key(CallKey(1)), Some(first), "a call in progress stays");
        assert_eq!((journal.by_call_id(b"10"), journal.by_call_id(b"2")), (Some(10), None));
        assert_eq!(
            journal.ended_after(7).map(|(count, number, _)| (count, number.0)).collect::<Vec<_>>(),
            [(8, 9), (9, 10)]
        );
    }

    #[test]
    fn the_newest_call_of_a_number_is_found_until_it_is_forgotten() {
        let did = |last: u64| Number::from_digits(918_065_978_000 + last).unwrap();
        let mut journal = Journal::new(JournalBounds { calls: 3, bytes: 1 << 20 });
        let last = |journal: &Journal, number| journal.last_of(did(number)).map(|(call, _)| call.0);
        for (number, own) in [(1, 0), (2, 0), (3, 1)] {
            let call = journal.open_call(Some(CallKey(number)), record(&number.to_string()));
            journal.belongs(call, did(own));
            journal.close(call);
            journal.publish(call);
        }
        assert_eq!((last(&journal, 0), last(&journal, 1), last(&journal, 2)), (Some(2), Some(3), None));
        for number in 4..=5 {
            journal.open_call(Some(CallKey(number)), record(&number.to_string()));
        }
        assert_eq!((last(&journal, 0), last(&journal, 1)), (None, Some(3)), "both calls of the first are forgotten");
        assert_eq!(journal.by_did.len(), 1);
    }

    #[test]
    fn who_follows_changes_is_told_each_call_once_and_when_he_is_too_far_behind() {
        let mut journal = Journal::new(JournalBounds { calls: 10, bytes: 1 << 20 });
        let calls: Vec<u64> =
            (1..=3).map(|key| journal.open_call(Some(CallKey(key)), record(&key.to_string()))).collect();
        let numbers = |found: Option<Vec<CallNumber>>| found.map(|all| all.iter().map(|one| one.0).collect::<Vec<_>>());
        assert_eq!(numbers(journal.changed_after(0)), Some(vec![1, 2, 3]));
        let seen = journal.change_count();
        assert_eq!(numbers(journal.changed_after(seen)), Some(vec![]));
        journal.note_change(calls[0]);
        journal.close(calls[2]);
        journal.close(calls[0]);
        assert_eq!(numbers(journal.changed_after(seen)), Some(vec![3, 1]));
        (0..CHANGES_KEPT).for_each(|_| journal.note_change(calls[1]));
        assert_eq!(numbers(journal.changed_after(seen)), None);
        assert_eq!(numbers(journal.changed_after(journal.change_count() - 1)), Some(vec![2]));
        assert!(journal.changes.len() <= CHANGES_KEPT);
    }

    #[test]
    fn its_bytes_never_pass_the_bound_even_when_no_call_is_over() {
        let bounds = JournalBounds { calls: 1_000, bytes: 100_000 };
        let mut journal = Journal::new(bounds);
        for number in 0..40 {
            let call = journal.open_call(Some(CallKey(number)), record(&number.to_string()));
            for at in 0..10 {
                journal.keep(call, &[b'x'; 1_000], message(at), |_| {});
                assert!(journal.size().1 <= bounds.bytes + CALL_OVERHEAD, "{}", journal.size().1);
            }
        }
        assert_eq!(journal.size().0, 40, "the records stay, the messages of the oldest go");
        assert!(journal.call(CallNumber(1)).unwrap().left_out > 0);
        assert_eq!(journal.call(CallNumber(40)).unwrap().messages().count(), 10);
    }

    /// More calls in progress than the journal has calls: nobody's messages go while there are bytes for them.
    #[test]
    fn calls_in_progress_above_the_bound_keep_their_messages() {
        let mut journal = Journal::new(JournalBounds { calls: 10, bytes: 1 << 20 });
        for number in 1..=50 {
            let call = journal.open_call(Some(CallKey(number)), record(&number.to_string()));
            journal.keep(call, b"INVITE", message(0), |_| {});
        }
        assert!(journal.newest().all(|(_, call)| call.messages().count() == 1));
        for number in 1..=50 {
            journal.close(number);
            journal.publish(number);
        }
        journal.open_call(Some(CallKey(51)), record("51"));
        assert_eq!(journal.size().0, 10, "they are forgotten once they are over");
    }

    /// Without a journal, records come together all the same, and no message is kept.
    #[test]
    fn a_journal_of_no_calls_keeps_no_messages() {
        let mut journal = Journal::new(JournalBounds { calls: 0, bytes: 1 << 20 });
        for number in 1..=5_u64 {
            let call = journal.open_call(Some(CallKey(u128::from(number))), record(&number.to_string()));
            journal.keep(call, b"INVITE", message(0), |_| {});
            assert_eq!(journal.by_key(CallKey(u128::from(number))), Some(call));
        }
        assert!(journal.newest().all(|(_, call)| call.messages().count() == 0 && call.left_out == 1));
        for number in 1..=5 {
            journal.close(number);
            journal.publish(number);
        }
        journal.open_call(None, record("6"));
        assert_eq!((journal.size().0, journal.ended_after(0).count()), (1, 0));
    }

    #[test]
    fn one_call_keeps_so_many_messages_and_bytes() {
        let mut journal = Journal::new(JournalBounds { calls: 10, bytes: 64 << 20 });
        let call = journal.open_call(None, record("long"));
        for at in 0..u64::try_from(CALL_MESSAGES).unwrap() + 5 {
            journal.keep(call, b"OPTIONS", message(at), |_| {});
        }
        let large = journal.open_call(None, record("large"));
        for at in 0..6 {
            journal.keep(large, &vec![b'x'; CALL_BYTES / 4], message(at), |_| {});
        }
        let left_out = |number| journal.call(CallNumber(number)).unwrap().left_out;
        assert_eq!((left_out(call), left_out(large)), (5, 2));
    }
}
