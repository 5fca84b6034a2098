//! All open transactions: slots, an index by key, and the contexts of ended ones for use again. A context that has nothing
//! to do is kept as its [`Rest`].

use super::Context;
use super::key::{BuildAsIs, Key, half};
use super::rest::Rest;
use crate::flow::{PartyId, Time};
use crate::timers::TimerId;
use std::collections::HashMap;

/// Ended contexts that are kept for use again, and their buffers.
const POOL: usize = 4_096;
/// The room of a buffer that is made for messages: a pooled one has as much at least. One with more than this is not kept.
const BUFFER_BYTES: usize = 1_024;
const KEPT_BYTES: usize = 4_096;
/// A context at rest has its bytes in a buffer with no more spare room than this.
const SPARE_BYTES: usize = 128;
/// Rests that are kept for use again: the same transaction wakes and rests once more, as a rule.
const RESTS: usize = 64;

#[derive(Debug)]
#[expect(
    clippy::vec_box,
    reason = "a context keeps its box between the pool and its slot: it is large, and never moved"
)]
pub(crate) struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// By the half of a key. What is found by it has the whole key, or is another's.
    index: HashMap<u64, u32, BuildAsIs>,
    pool: Vec<Box<Context>>,
    rests: Vec<Box<Rest>>,
    buffers: Vec<Vec<u8>>,
    /// What the contexts in their slots hold.
    held_bytes: usize,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    held: Held,
}

#[derive(Debug)]
enum Held {
    /// It is free.
    Nothing,
    /// Its context has been taken out. It stays so where a panic took the context with it: as after a restart, the request that
    /// comes again opens the transaction anew, on the same branch, and what its peer says passes without state.
    Out,
    Context(Box<Context>),
    Rest(Box<Rest>),
}

impl Table {
    pub(crate) fn new() -> Table {
        Table {
            slots: Vec::new(),
            free: Vec::new(),
            index: HashMap::default(),
            pool: Vec::new(),
            rests: Vec::new(),
            buffers: Vec::new(),
            held_bytes: 0,
        }
    }

    /// Contexts that are open.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Bytes that the open contexts hold, about: their own and those of their buffers.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// The slot that a key belongs to: a transaction's own, or one of its attempts'.
    pub(crate) fn find(&self, key: Key) -> Option<u32> {
        let slot = *self.index.get(&half(key))?;
        let is_its = match &self.slots.get(slot as usize)?.held {
            Held::Nothing | Held::Out => false,
            Held::Context(context) => context.key == key || context.attempts.iter().any(|attempt| attempt.key == key),
            Held::Rest(rest) => rest.key == key,
        };
        is_its.then_some(slot)
    }

    pub(crate) fn generation(&self, slot: u32) -> u32 {
        self.slots.get(slot as usize).map_or(0, |s| s.generation)
    }

    /// Takes a context out to work on it; [`Table::put_back`] or [`Table::remove`] follows in the same call.
    pub(crate) fn take(&mut self, slot: u32) -> Option<Box<Context>> {
        let place = self.slots.get_mut(slot as usize)?;
        match std::mem::replace(&mut place.held, Held::Out) {
            Held::Nothing => {
                place.held = Held::Nothing;
                None
            }
            Held::Out => None,
            Held::Context(context) => {
                self.held_bytes = self.held_bytes.saturating_sub(context.held_bytes());
                Some(context)
            }
            Held::Rest(mut rest) => {
                self.held_bytes = self.held_bytes.saturating_sub(rest.held_bytes());
                let context = rest.wake(slot, self.pool.pop());
                if self.rests.len() < RESTS {
                    self.rests.push(rest);
                }
                Some(context)
            }
        }
    }

    /// The same for an entry of the wheel; `None` when the slot has been given to another since.
    pub(crate) fn take_due(&mut self, id: TimerId) -> Option<Box<Context>> {
        if self.slots.get(id.slot as usize)?.generation == id.generation { self.take(id.slot) } else { None }
    }

    /// When an entry of the wheel is to come again, because it is of a context that rests and has nothing due at `now`.
    pub(crate) fn rests_until(&mut self, id: TimerId, now: Time) -> Option<Time> {
        let place = self.slots.get_mut(id.slot as usize).filter(|place| place.generation == id.generation)?;
        match &mut place.held {
            Held::Rest(rest) => rest.rests_until(now),
            Held::Nothing | Held::Out | Held::Context(_) => None,
        }
    }

    pub(crate) fn put_back(&mut self, slot: u32, context: Box<Context>) {
        let held = if Rest::suits(&context) { self.lay_down(context) } else { Held::Context(context) };
        self.held_bytes += match &held {
            Held::Nothing | Held::Out => 0,
            Held::Context(context) => context.held_bytes(),
            Held::Rest(rest) => rest.held_bytes(),
        };
        if let Some(place) = self.slots.get_mut(slot as usize) {
            place.held = held;
        }
    }

    /// A context goes to rest, and what it was in to the pool.
    fn lay_down(&mut self, mut context: Box<Context>) -> Held {
        let Some(attempt) = context.attempts.pop() else { return Held::Context(context) };
        Rest::shorten(&mut context);
        self.fit(&mut context.reply);
        self.fit(&mut context.sent);
        let rest = match self.rests.pop() {
            Some(mut room) => {
                *room = Rest::of(&mut context, attempt, Some(&mut *room));
                room
            }
            None => Box::new(Rest::of(&mut context, attempt, None)),
        };
        self.recycle(context);
        Held::Rest(rest)
    }

    /// Bytes that are kept for long take the room that they need.
    fn fit(&mut self, bytes: &mut Vec<u8>) {
        if bytes.capacity() > bytes.len() + SPARE_BYTES {
            let mut large = std::mem::take(bytes);
            bytes.reserve_exact(large.len());
            bytes.append(&mut large);
            self.take_back(&mut large);
        }
    }

    /// An ended context for use again, if there is one.
    pub(crate) fn recycled(&mut self) -> Option<Box<Context>> {
        self.pool.pop()
    }

    /// Reserves a slot for a context that will be put back, and indexes its key.
    pub(crate) fn open(&mut self, key: Key) -> u32 {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(Slot { generation: 0, held: Held::Nothing });
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        if let Some(place) = self.slots.get_mut(slot as usize) {
            place.held = Held::Out;
        }
        if let Some(lost) = self.index.insert(half(key), slot) {
            self.free_lost(lost);
        }
        slot
    }

    /// Frees the slot of a context that a panic took; its transaction has another one now.
    fn free_lost(&mut self, slot: u32) {
        if let Some(place) = self.slots.get_mut(slot as usize)
            && matches!(place.held, Held::Out)
        {
            place.generation = place.generation.wrapping_add(1);
            place.held = Held::Nothing;
            self.free.push(slot);
        }
    }

    /// Indexes a further attempt's key.
    pub(crate) fn add_key(&mut self, key: Key, slot: u32) {
        self.index.insert(half(key), slot);
    }

    /// Ends a context that was taken out.
    pub(crate) fn remove(&mut self, slot: u32, mut context: Box<Context>) {
        self.unindex(context.key, slot);
        for attempt in &context.attempts {
            self.unindex(attempt.key, slot);
        }
        if let Some(place) = self.slots.get_mut(slot as usize) {
            place.generation = place.generation.wrapping_add(1);
            place.held = Held::Nothing;
            self.free.push(slot);
        }
        self.forget_bytes(&mut context);
        self.recycle(context);
    }

    fn recycle(&mut self, mut context: Box<Context>) {
        if self.pool.len() < POOL {
            context.attempts.clear();
            context.untried.clear();
            context.cancel_reason.clear();
            context.came_from.clear();
            context.came_to.clear();
            self.pool.push(context);
        }
    }

    /// An empty buffer with room for a message.
    pub(crate) fn buffer(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES))
    }

    /// Gives back the room of a context's owned copies: nothing can ask for them any more.
    pub(crate) fn forget_bytes(&mut self, context: &mut Context) {
        for buffer in [&mut context.sent, &mut context.reply, &mut context.best] {
            self.take_back(buffer);
        }
    }

    /// The same for the request alone: it is answered, and nothing of it is sent again.
    pub(crate) fn forget_sent(&mut self, context: &mut Context) {
        self.take_back(&mut context.sent);
    }

    fn take_back(&mut self, buffer: &mut Vec<u8>) {
        let mut taken = std::mem::take(buffer);
        if (BUFFER_BYTES..=KEPT_BYTES).contains(&taken.capacity()) && self.buffers.len() < POOL {
            taken.clear();
            self.buffers.push(taken);
        }
    }

    /// Who sent each open request, and where it went.
    pub(crate) fn parties_mut(&mut self) -> impl Iterator<Item = [&mut PartyId; 2]> {
        self.slots.iter_mut().filter_map(|slot| match &mut slot.held {
            Held::Nothing | Held::Out => None,
            Held::Context(context) => Some([&mut context.party, &mut context.toward]),
            Held::Rest(rest) => Some([&mut rest.party, &mut rest.toward]),
        })
    }

    fn unindex(&mut self, key: Key, slot: u32) {
        if self.index.get(&half(key)) == Some(&slot) {
            self.index.remove(&half(key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A context that is never put back went with a panic: its transaction begins anew when its request comes again, and its
    /// slot is another's then.
    #[test]
    fn a_transaction_that_a_panic_took_takes_no_room_once_it_is_opened_again() {
        let mut table = Table::new();
        let (lost, other) = (table.open(7), table.open(8));
        let generation = table.generation(lost);
        assert!(table.find(7).is_none() && table.take(lost).is_none());
        let again = table.open(7);
        assert!(again != lost && again != other && table.len() == 2);
        assert!(table.generation(lost) != generation, "an entry of the wheel that it left behind is nobody's");
        assert_eq!((table.open(9), table.len()), (lost, 3));
        assert_eq!((table.open(10), table.len()), (3, 4), "a slot is free once");
    }
}
