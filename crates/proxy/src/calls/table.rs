//! All calls in progress: slots, and an index by key. Every step is O(1).

use super::{Call, CallKey, Opening, Texts, micros};
use crate::deadline::Deadline;
use crate::flow::Time;
use crate::timers::{TimerId, Timers};
use crate::transaction::key::{BuildAsIs, half};
use std::collections::HashMap;
use std::time::Duration;

/// The bit of a timer's slot that tells a call from a transaction.
pub(crate) const CALL_TIMER: u32 = 1 << 31;
/// A call is looked at so often, whatever its deadline is: the wheel takes nothing out, and a call that ended long
/// before its deadline would leave its entry there for hours.
const LOOK: Duration = Duration::from_secs(60);

/// Slots that are made at a time: the table grows without a copy, and never to twice its size.
const CHUNK: usize = 256;
/// Rooms of ended calls' texts that are kept for use again.
const ROOMS: usize = 4_096;

#[derive(Debug, Default)]
pub(crate) struct Calls {
    /// [`CHUNK`] in each.
    slots: Vec<Vec<Slot>>,
    free: Vec<u32>,
    /// By the half of a key. What is found by it has the whole key, or is another's.
    index: HashMap<u64, u32, BuildAsIs>,
    rooms: Vec<Texts>,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    call: Option<Call>,
}

impl Calls {
    /// Calls in progress, those in setup included.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Call> {
        self.slots.iter().flatten().filter_map(|slot| slot.call.as_ref())
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Call> {
        self.slots.iter_mut().flatten().filter_map(|slot| slot.call.as_mut())
    }

    pub(crate) fn find(&self, key: CallKey) -> Option<&Call> {
        let slot = *self.index.get(&half(key.0))? as usize;
        let call = self.slots.get(slot / CHUNK)?.get(slot % CHUNK)?.call.as_ref();
        call.filter(|call| call.key == key)
    }

    pub(crate) fn find_mut(&mut self, key: CallKey) -> Option<&mut Call> {
        let slot = *self.index.get(&half(key.0))?;
        self.slot_mut(slot)?.call.as_mut().filter(|call| call.key == key)
    }

    fn slot_mut(&mut self, slot: u32) -> Option<&mut Slot> {
        self.slots.get_mut(slot as usize / CHUNK)?.get_mut(slot as usize % CHUNK)
    }

    /// A slot that has no call.
    fn free_slot(&mut self) -> u32 {
        if let Some(slot) = self.free.pop() {
            return slot;
        }
        if self.slots.last().is_none_or(|last| last.len() == CHUNK) {
            self.slots.push(Vec::with_capacity(CHUNK));
        }
        let full = (self.slots.len() - 1) * CHUNK;
        let Some(last) = self.slots.last_mut() else { return u32::MAX };
        last.push(Slot::default());
        u32::try_from(full + last.len() - 1).unwrap_or(u32::MAX)
    }

    /// A call begins. One with this key that is up or in setup already goes on, with one more setup.
    pub(crate) fn open(&mut self, now: Time, opening: Opening<'_>, age: Duration) {
        if let Some(call) = self.find_mut(opening.key) {
            call.setups = call.setups.saturating_add(1);
            return;
        }
        let texts = [opening.call_id, opening.called, opening.caller, opening.organisation];
        self.insert(texts, |texts| Call {
            key: opening.key,
            direction: opening.direction,
            from: opening.from,
            toward: opening.toward,
            did: opening.did,
            texts,
            began_us: micros(now),
            answered_us: None,
            expires: None,
            ages: now + age,
            dialog: None,
            setups: 1,
            permit: opening.permit,
            gateway: opening.gateway,
            is_free: opening.is_free,
            armed: Deadline::NONE,
        });
    }

    /// Puts a new call into a free slot.
    pub(crate) fn insert(&mut self, texts: [&[u8]; 4], call: impl FnOnce(Texts) -> Call) {
        let slot = self.free_slot();
        let mut room = self.rooms.pop().unwrap_or_default();
        room.take(texts);
        let call = call(room);
        self.index.insert(half(call.key.0), slot);
        if let Some(place) = self.slot_mut(slot) {
            place.call = Some(call);
        }
    }

    /// A call is over. Its texts can be read as long as what is returned lives; give it back with [`Calls::recycle`].
    pub(crate) fn remove(&mut self, key: CallKey) -> Option<(u32, Call)> {
        self.find(key)?;
        let slot = self.index.remove(&half(key.0))?;
        let place = self.slot_mut(slot)?;
        place.generation = place.generation.wrapping_add(1);
        Some((slot, place.call.take()?))
    }

    /// Frees the slot of a call that was removed, and keeps the room of its texts.
    pub(crate) fn recycle(&mut self, slot: u32, call: Call) {
        self.free.push(slot);
        if self.rooms.len() < ROOMS {
            self.rooms.push(call.texts);
        }
    }

    /// Sets the wheel for a call: to its deadline, or to the next look at it.
    pub(crate) fn arm(&mut self, now: Time, key: CallKey, timers: &mut Timers) {
        let Some(slot) = self.index.get(&half(key.0)).copied() else { return };
        let Some(place) = self.slot_mut(slot) else { return };
        let Some(call) = place.call.as_mut().filter(|call| call.key == key) else { return };
        let at = call.deadline().min(now + LOOK);
        if Deadline::at(at) < call.armed {
            call.armed = Deadline::at(at);
            timers.arm(at, TimerId { slot: slot | CALL_TIMER, generation: place.generation });
        }
    }

    /// The call that an entry of the wheel belongs to; `None` when it has ended since.
    pub(crate) fn due(&mut self, id: TimerId) -> Option<&mut Call> {
        let place = self.slot_mut(id.slot & !CALL_TIMER)?;
        if place.generation == id.generation { place.call.as_mut() } else { None }
    }
}
