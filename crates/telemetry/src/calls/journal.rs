//! The last calls with their messages, within a bound of memory. Whoever asks locks it for a moment; no worker ever does.
//!
//! Each call has a slot, and what a slot has of room its next call uses again; the messages of all calls stand in blocks that
//! they share. Calls come and go without a word to the allocator, and one is found, closed and forgotten in the same few steps
//! however many there are.

mod hashes;
mod kept;
mod messages;

use super::record::CallRecord;
use crate::limits::{CALL_BYTES, CALL_MESSAGES};
pub use hashes::BuildAsItIs;
use hashes::{Seeded, hash_of};
pub use kept::{KeptCall, KeptMessage, ToldRule};
use messages::{Chain, Messages};
pub(super) use messages::{Shared, Text, joined};
use proxy::dispatch::Step;
use proxy::{CallKey, Decision, Settings};
use sip::Number;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// What is added for each message and each call to the bytes of its messages.
const MESSAGE_OVERHEAD: usize = 32;
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

/// Where a call stands in the journal. Its slot may have become another call's: the number tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    slot: u32,
    pub(super) number: u64,
}

/// The last calls.
#[derive(Debug)]
pub struct Journal {
    bounds: JournalBounds,
    next: u64,
    /// One call in each, but for those in `free`.
    slots: Vec<Slot>,
    free: Vec<u32>,
    messages: Messages,
    /// All calls, the oldest first. One that is forgotten stays for a while.
    order: VecDeque<Place>,
    /// Those whose records are whole: the first was over first.
    over: VecDeque<u32>,
    /// By a key that is a hash already.
    open: HashMap<CallKey, u32, BuildAsItIs>,
    by_call_id: HashMap<u64, u32, BuildAsItIs>,
    /// The newest call of each number of ours that has one here.
    by_did: HashMap<Number, Place, Seeded>,
    /// What Call-IDs are hashed with: nobody outside knows it.
    seed: u64,
    /// Every call before this one that is not over has given its messages.
    bare_before: u64,
    /// Calls in the order in which they were over; the last so many.
    ended: VecDeque<(u64, Place)>,
    ended_count: u64,
    /// The calls of which something changed, in the order of the changes; the last so many.
    changes: VecDeque<u64>,
    change_count: u64,
    bytes: usize,
}

/// Where a call is kept.
#[derive(Debug)]
pub(super) struct Slot {
    /// 0 when it is forgotten: what is here is room for the next one.
    number: u64,
    /// Of its Call-ID.
    hash: u64,
    pub(super) key: Option<CallKey>,
    did: Option<Number>,
    pub(super) record: Arc<CallRecord>,
    /// Every rule of its decision, and the configuration that has their words.
    steps: Vec<Step>,
    settings: Option<Arc<Settings>>,
    messages: Chain,
    left_out: u32,
    is_closed: bool,
    /// Its messages made room for others, and further ones are not kept.
    is_bare: bool,
}

impl Journal {
    /// An empty journal.
    pub fn new(bounds: JournalBounds) -> Journal {
        let seed = RandomState::new().hash_one(0);
        Journal {
            bounds,
            next: 1,
            slots: Vec::new(),
            free: Vec::new(),
            messages: Messages::default(),
            order: VecDeque::new(),
            over: VecDeque::new(),
            open: HashMap::default(),
            by_call_id: HashMap::default(),
            by_did: HashMap::with_hasher(Seeded(seed)),
            seed,
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
        (self.count(), self.bytes)
    }

    fn count(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Calls that have not ended.
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    /// The call of this number.
    pub fn call(&self, number: CallNumber) -> Option<KeptCall<'_>> {
        let at = self.order.binary_search_by_key(&number.0, |place| place.number).ok()?;
        self.kept(*self.order.get(at)?)
    }

    /// All calls, newest first.
    pub fn newest(&self) -> impl Iterator<Item = (CallNumber, KeptCall<'_>)> {
        self.order.iter().rev().filter_map(|place| Some((CallNumber(place.number), self.kept(*place)?)))
    }

    /// The call at a place with its messages, unless it is forgotten.
    pub(super) fn kept(&self, place: Place) -> Option<KeptCall<'_>> {
        let slot = self.at(place)?;
        Some(KeptCall { record: &slot.record, left_out: slot.left_out, slot, messages: &self.messages })
    }

    /// The slot at a place, unless its call is forgotten.
    pub(super) fn at(&self, place: Place) -> Option<&Slot> {
        self.slots.get(index_of(place.slot)).filter(|call| call.number == place.number)
    }

    /// Whether the call at a place has this key and is not over.
    pub(super) fn is_open_as(&self, place: Place, key: CallKey) -> bool {
        self.at(place).is_some_and(|call| call.key == Some(key) && !call.is_closed)
    }

    /// How many calls were over so far: a place to go on from with [`Journal::ended_after`].
    pub fn ended_count(&self) -> u64 {
        self.ended_count
    }

    /// The calls that were over after this many, oldest first, with the count at each.
    pub fn ended_after(&self, count: u64) -> impl Iterator<Item = (u64, CallNumber, KeptCall<'_>)> {
        let later = self.ended.iter().filter(move |(at, _)| *at > count);
        later.filter_map(|(at, place)| Some((*at, CallNumber(place.number), self.kept(*place)?)))
    }

    /// The newest call of a number of ours: one to it, or one that showed it.
    pub fn last_of(&self, did: Number) -> Option<(CallNumber, KeptCall<'_>)> {
        let place = *self.by_did.get(&did)?;
        self.kept(place).map(|call| (CallNumber(place.number), call))
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
    pub(super) fn belongs(&mut self, place: Place, did: Number) {
        let Some(call) = self.call_mut(place) else { return };
        call.did = Some(did);
        let newest = self.by_did.entry(did).or_insert(place);
        if newest.number < place.number {
            *newest = place;
        }
    }

    /// Something changed of the call that people look at.
    pub(super) fn note_change(&mut self, number: u64) {
        self.change_count += 1;
        self.changes.push_back(number);
        if self.changes.len() > CHANGES_KEPT {
            self.changes.pop_front();
        }
    }

    /// A call begins. Lists that its record has not, it takes over empty from the call that had its slot.
    pub(super) fn open_call(&mut self, key: Option<CallKey>, record: CallRecord) -> Place {
        let number = self.next;
        self.next += 1;
        self.make_room();
        let hash = hash_of(self.seed, record.call_id.as_bytes());
        let is_bare = self.bounds.calls == 0;
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(Slot::nobodys());
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        if let Some(call) = self.slots.get_mut(index_of(slot)) {
            call.begin(record);
            (call.number, call.hash, call.key, call.is_bare) = (number, hash, key, is_bare);
        }
        self.by_call_id.insert(hash, slot);
        if let Some(key) = key {
            self.open.insert(key, slot);
        }
        self.bytes += CALL_OVERHEAD;
        let place = Place { slot, number };
        self.order.push_back(place);
        self.note_change(number);
        place
    }

    fn place(&self, slot: u32) -> Option<Place> {
        self.slots.get(index_of(slot)).map(|call| Place { slot, number: call.number })
    }

    pub(super) fn by_key(&self, key: CallKey) -> Option<Place> {
        self.place(*self.open.get(&key)?)
    }

    pub(super) fn by_call_id(&self, call_id: &[u8]) -> Option<Place> {
        let slot = *self.by_call_id.get(&hash_of(self.seed, call_id))?;
        let call = self.slots.get(index_of(slot))?;
        (call.record.call_id.as_bytes() == call_id).then_some(Place { slot, number: call.number })
    }

    pub(super) fn call_mut(&mut self, place: Place) -> Option<&mut Slot> {
        self.slots.get_mut(index_of(place.slot)).filter(|call| call.number == place.number)
    }

    /// The call is over; false when it was already.
    pub(super) fn close(&mut self, place: Place) -> bool {
        let Some(call) = self.call_mut(place).filter(|call| !call.is_closed) else { return false };
        call.is_closed = true;
        if let Some(key) = call.key.filter(|key| self.open.get(key) == Some(&place.slot)) {
            self.open.remove(&key);
        }
        self.note_change(place.number);
        true
    }

    /// The record of a call that is over is whole, and has been handed on: it may be forgotten.
    pub(super) fn publish(&mut self, place: Place) {
        if self.call_mut(place).is_none() {
            return;
        }
        self.over.push_back(place.slot);
        self.ended_count += 1;
        self.ended.push_back((self.ended_count, place));
        if self.ended.len() > self.bounds.calls {
            self.ended.pop_front();
        }
    }

    /// Keeps a message of a call, as far as there is room for it, and lets `note` write down what its record says of it.
    /// Returns how many of the call are kept before it, if it is kept.
    pub(super) fn keep(
        &mut self,
        place: Place,
        bytes: &[u8],
        message: KeptMessage,
        note: impl FnOnce(&mut CallRecord),
    ) -> Option<u32> {
        self.keep_text(place, &Text { own: bytes, shared: None }, message, note)
    }

    /// The same of a message of which a part stands in an earlier one.
    pub(super) fn keep_text(
        &mut self,
        place: Place,
        text: &Text<'_>,
        message: KeptMessage,
        note: impl FnOnce(&mut CallRecord),
    ) -> Option<u32> {
        let is_alone = self.count() < 2;
        let (bytes_max, cost) = (self.bounds.bytes, text.own.len() + MESSAGE_OVERHEAD);
        let has_room = !is_alone || self.bytes + cost <= bytes_max;
        if self.messages.is_full(text.own.len()) {
            self.tidy();
        }
        let (all, call) = (&mut self.messages, self.slots.get_mut(index_of(place.slot)));
        let call = call.filter(|call| call.number == place.number)?;
        note(call.record_mut());
        let messages = &mut call.messages;
        let fits = messages.count() < CALL_MESSAGES && messages.text_bytes() + text.own.len() <= CALL_BYTES;
        let is_empty = text.own.is_empty() && text.shared.is_none();
        let before = u32::try_from(messages.count()).unwrap_or(u32::MAX);
        if call.is_bare || !fits || is_empty || !has_room || !all.push(messages, place.slot, &message, text) {
            call.left_out += 1;
            return None;
        }
        self.bytes += cost;
        if self.bytes > bytes_max {
            self.evict();
        }
        Some(before)
    }

    /// Gives up blocks that nobody needs, and moves the calls up that hold up the oldest ones: so many at a time as are begun.
    fn tidy(&mut self) {
        for _ in 0..BLOCKS_TIDIED {
            let Some((block, slots)) = self.messages.tidy() else { return };
            for slot in slots {
                let call = self.slots.get_mut(index_of(slot)).filter(|call| call.number != 0);
                if let Some(call) = call
                    && !self.messages.move_up(&mut call.messages, slot, block)
                {
                    return;
                }
            }
        }
    }

    /// Makes room for one more call. Calls in progress stay, however many they are.
    fn make_room(&mut self) {
        while self.count() >= self.bounds.calls.max(1) && self.forget_oldest() {}
        while self.bytes > self.bounds.bytes && self.evict() {}
    }

    /// Forgets the call that was over first; where none is over, the oldest one gives its messages. False when there is
    /// nothing that could go.
    fn evict(&mut self) -> bool {
        self.forget_oldest() || self.strip_oldest()
    }

    fn forget_oldest(&mut self) -> bool {
        let Some(slot) = self.over.pop_front() else { return false };
        let Some(call) = self.slots.get_mut(index_of(slot)) else { return false };
        let (number, hash, did) = (call.number, call.hash, call.did);
        self.bytes = self.bytes.saturating_sub(call.cost() + CALL_OVERHEAD);
        self.messages.release(&mut call.messages);
        call.forget();
        if self.by_call_id.get(&hash) == Some(&slot) {
            self.by_call_id.remove(&hash);
        }
        if let Some(did) = did.filter(|did| self.by_did.get(did).is_some_and(|place| place.number == number)) {
            self.by_did.remove(&did);
        }
        self.free.push(slot);
        self.forget_order();
        true
    }

    /// Takes calls that are forgotten out of the order: those at its beginning, and all of them when they are the most.
    fn forget_order(&mut self) {
        while let Some(place) = self.order.front().copied()
            && self.at(place).is_none()
        {
            self.order.pop_front();
        }
        if self.order.len() > 2 * self.count() + ORDER_SLACK {
            let slots = &self.slots;
            let is_here =
                |place: &Place| slots.get(index_of(place.slot)).is_some_and(|call| call.number == place.number);
            self.order.retain(is_here);
        }
    }

    /// Takes the messages of the oldest call that has any. Each call is looked at once: it has none from then on.
    fn strip_oldest(&mut self) -> bool {
        let first = self.order.partition_point(|place| place.number < self.bare_before);
        for place in self.order.range(first..) {
            self.bare_before = place.number + 1;
            let found = self.slots.get_mut(index_of(place.slot)).filter(|call| call.number == place.number);
            let Some(call) = found else { continue };
            call.is_bare = true;
            if !call.messages.is_empty() {
                self.bytes = self.bytes.saturating_sub(call.cost());
                call.left_out += u32::try_from(call.messages.count()).unwrap_or(u32::MAX);
                self.messages.release(&mut call.messages);
                return true;
            }
        }
        false
    }
}

/// So many changes can be asked for again; who is further behind looks at everything.
const CHANGES_KEPT: usize = 8_192;
/// So many places of calls that are forgotten may stand in the order beside as many as there are calls.
const ORDER_SLACK: usize = 1_024;
/// With each block that is begun, so many old ones are looked at: where a third of all room is nobody's, that sets one free.
const BLOCKS_TIDIED: usize = 3;

fn index_of(slot: u32) -> usize {
    usize::try_from(slot).unwrap_or(usize::MAX)
}

impl Slot {
    fn nobodys() -> Slot {
        Slot {
            number: 0,
            hash: 0,
            key: None,
            did: None,
            record: Arc::default(),
            steps: Vec::new(),
            settings: None,
            messages: Chain::default(),
            left_out: 0,
            is_closed: false,
            is_bare: false,
        }
    }

    /// Becomes the call of this record. Who reads the record of the call before has it to himself from now on.
    fn begin(&mut self, mut record: CallRecord) {
        (self.left_out, self.is_closed) = (0, false);
        match Arc::get_mut(&mut self.record) {
            Some(kept) => {
                take_over(&mut record.attempts, &mut kept.attempts);
                *kept = record;
            }
            None => self.record = Arc::new(record),
        }
    }

    /// Is nobody's from now on.
    fn forget(&mut self) {
        (self.number, self.key, self.did, self.settings) = (0, None, None, None);
        self.steps.clear();
    }

    /// Keeps why it went where it went.
    pub(super) fn explain(&mut self, decision: &Decision, settings: &Arc<Settings>) {
        self.steps.clear();
        self.steps.reserve_exact(decision.trace.steps().count());
        self.steps.extend(decision.trace.steps());
        self.settings = Some(Arc::clone(settings));
    }

    /// What is written down of it, to write on: a copy of its own if somebody else still reads it.
    pub(super) fn record_mut(&mut self) -> &mut CallRecord {
        Arc::make_mut(&mut self.record)
    }

    fn cost(&self) -> usize {
        self.messages.text_bytes() + self.messages.count() * MESSAGE_OVERHEAD
    }
}

/// A list without items takes over the room of one that is not needed any more.
fn take_over<T>(list: &mut Vec<T>, used: &mut Vec<T>) {
    if list.is_empty() {
        used.clear();
        std::mem::swap(list, used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proxy::{Listener, Transport};

    fn record(call_id: &str) -> CallRecord {
        CallRecord { call_id: call_id.into(), ..CallRecord::default() }
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
        let found = |journal: &Journal, call_id: &[u8]| journal.by_call_id(call_id).map(|place| place.number);
        assert_eq!((found(&journal, b"10"), found(&journal, b"2")), (Some(10), None));
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
        let calls: Vec<Place> =
            (1..=3).map(|key| journal.open_call(Some(CallKey(key)), record(&key.to_string()))).collect();
        let numbers = |found: Option<Vec<CallNumber>>| found.map(|all| all.iter().map(|one| one.0).collect::<Vec<_>>());
        assert_eq!(numbers(journal.changed_after(0)), Some(vec![1, 2, 3]));
        let seen = journal.change_count();
        assert_eq!(numbers(journal.changed_after(seen)), Some(vec![]));
        journal.note_change(calls[0].number);
        journal.close(calls[2]);
        journal.close(calls[0]);
        assert_eq!(numbers(journal.changed_after(seen)), Some(vec![3, 1]));
        (0..CHANGES_KEPT).for_each(|_| journal.note_change(calls[1].number));
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

    /// However many calls are in progress that began before: those that are over behind them are forgotten all the same.
    #[test]
    fn long_calls_do_not_hold_up_those_that_are_over() {
        let mut journal = Journal::new(JournalBounds { calls: 100, bytes: 64 << 20 });
        for number in 1..=90 {
            journal.open_call(Some(CallKey(number)), record(&number.to_string()));
        }
        for number in 91..=20_000_u64 {
            let call = journal.open_call(Some(CallKey(number.into())), record(&number.to_string()));
            journal.keep(call, b"INVITE", message(0), |_| {});
            journal.close(call);
            journal.publish(call);
            assert!(journal.size().0 <= 100 && journal.order.len() <= 2 * 100 + ORDER_SLACK + 1, "{number}");
        }
        assert_eq!((journal.slots.len(), journal.open_count()), (100, 90));
        assert_eq!(journal.newest().count(), 100);
        assert_eq!(journal.newest().map(|(number, _)| number.0).take(11).collect::<Vec<_>>(), {
            let over = (19_991..=20_000).rev();
            over.chain([90]).collect::<Vec<_>>()
        });
    }

    /// Who remembers where a forgotten call stood does not find the one that has its slot, nor anything of the former's.
    #[test]
    fn a_slot_tells_its_calls_apart_and_keeps_nothing_of_the_one_before() {
        let mut journal = Journal::new(JournalBounds { calls: 1, bytes: 1 << 20 });
        let first = journal.open_call(Some(CallKey(1)), record("first"));
        journal.keep(first, b"INVITE", message(0), |record| record.rules.push("row".into()));
        journal.belongs(first, Number::from_digits(918_065_978_000).unwrap());
        let read = Arc::clone(journal.call(CallNumber(1)).unwrap().record);
        journal.close(first);
        journal.publish(first);
        let second = journal.open_call(Some(CallKey(2)), record("second"));
        assert_eq!((first.slot, journal.slots.len()), (second.slot, 1));
        assert!(journal.call_mut(first).is_none() && journal.call(CallNumber(1)).is_none() && !journal.close(first));
        journal.keep(first, b"late", message(0), |record| record.messages += 1);
        assert_eq!((journal.by_call_id(b"first"), journal.by_call_id(b"second")), (None, Some(second)));
        let call = journal.call(CallNumber(2)).unwrap();
        assert_eq!((&**call.record, call.messages().count(), call.did()), (&record("second"), 0, None));
        assert_eq!(journal.size().1, CALL_OVERHEAD);
        assert_eq!((&*read.call_id, read.rules.len()), ("first", 1), "who reads a record keeps it as it was");
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
            let call = journal.by_key(CallKey(number)).unwrap();
            journal.close(call);
            journal.publish(call);
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
            let call = journal.by_key(CallKey(number)).unwrap();
            journal.close(call);
            journal.publish(call);
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
        let left_out = |call: Place| journal.call(CallNumber(call.number)).unwrap().left_out;
        assert_eq!((left_out(call), left_out(large)), (5, 2));
    }
}
