//! All open transactions: slots, an index by key, and the contexts of ended ones for use again.

use super::Context;
use super::key::{BuildAsIs, Key};
use crate::timers::TimerId;
use std::collections::HashMap;

/// Ended contexts that are kept for use again, with the room of their buffers.
const POOL: usize = 4_096;
/// A buffer with more room than this is not kept.
const KEPT_BYTES: usize = 4_096;

#[derive(Debug)]
#[expect(
    clippy::vec_box,
    reason = "a context keeps its box between the pool and its slot: it is large, and never moved"
)]
pub(crate) struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
    index: HashMap<Key, u32, BuildAsIs>,
    pool: Vec<Box<Context>>,
    buffers: Vec<Vec<u8>>,
    /// What the contexts in their slots hold.
    held_bytes: usize,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    context: Option<Box<Context>>,
}

impl Table {
    pub(crate) fn new() -> Table {
        Table {
            slots: Vec::new(),
            free: Vec::new(),
            index: HashMap::default(),
            pool: Vec::new(),
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
        self.index.get(&key).copied()
    }

    pub(crate) fn generation(&self, slot: u32) -> u32 {
        self.slots.get(slot as usize).map_or(0, |s| s.generation)
    }

    /// Takes a context out to work on it; [`Table::put_back`] or [`Table::remove`] follows in the same call.
    pub(crate) fn take(&mut self, slot: u32) -> Option<Box<Context>> {
        let context = self.slots.get_mut(slot as usize)?.context.take()?;
        self.held_bytes = self.held_bytes.saturating_sub(context.held_bytes());
        Some(context)
    }

    /// The same for an entry of the wheel; `None` when the slot has been given to another since.
    pub(crate) fn take_due(&mut self, id: TimerId) -> Option<Box<Context>> {
        if self.slots.get(id.slot as usize)?.generation == id.generation { self.take(id.slot) } else { None }
    }

    pub(crate) fn put_back(&mut self, slot: u32, context: Box<Context>) {
        if let Some(place) = self.slots.get_mut(slot as usize) {
            self.held_bytes += context.held_bytes();
            place.context = Some(context);
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
                self.slots.push(Slot { generation: 0, context: None });
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.index.insert(key, slot);
        slot
    }

    /// Indexes a further attempt's key.
    pub(crate) fn add_key(&mut self, key: Key, slot: u32) {
        self.index.insert(key, slot);
    }

    /// Ends a context that was taken out.
    pub(crate) fn remove(&mut self, slot: u32, mut context: Box<Context>) {
        self.unindex(context.key, slot);
        for attempt in &context.attempts {
            self.unindex(attempt.key, slot);
        }
        if let Some(place) = self.slots.get_mut(slot as usize) {
            place.generation = place.generation.wrapping_add(1);
            place.context = None;
            self.free.push(slot);
        }
        self.forget_bytes(&mut context);
        if self.pool.len() < POOL {
            context.attempts.clear();
            context.untried.clear();
            context.cancel_reason.clear();
            context.came_from.clear();
            context.came_to.clear();
            self.pool.push(context);
        }
    }

    /// An empty buffer, with room where there is one to use again.
    pub(crate) fn buffer(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_default()
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
        if taken.capacity() > 0 && taken.capacity() <= KEPT_BYTES && self.buffers.len() < POOL {
            taken.clear();
            self.buffers.push(taken);
        }
    }

    /// All open contexts.
    pub(crate) fn open_mut(&mut self) -> impl Iterator<Item = &mut Context> {
        self.slots.iter_mut().filter_map(|slot| slot.context.as_deref_mut())
    }

    fn unindex(&mut self, key: Key, slot: u32) {
        if self.index.get(&key) == Some(&slot) {
            self.index.remove(&key);
        }
    }
}
