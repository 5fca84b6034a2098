//! All calls in progress: slots, and an index by key. Every step is O(1).

use super::{Call, CallKey, Opening, Texts, micros};
use crate::flow::Time;
use crate::timers::{TimerId, Timers};
use crate::transaction::key::BuildAsIs;
use std::collections::HashMap;
use std::time::Duration;

/// The bit of a timer's slot that tells a call from a transaction.
pub(crate) const CALL_TIMER: u32 = 1 << 31;
/// A call is looked at so often, whatever its deadline is: the wheel takes nothing out, and a call that ended long
/// before its deadline would leave its entry there for hours.
const LOOK: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(crate) struct Calls {
    slots: Vec<Slot>,
    free: Vec<u32>,
    index: HashMap<CallKey, u32, BuildAsIs>,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    call: Option<Call>,
    /// The room of an ended call's texts.
    room: Texts,
}

impl Calls {
    /// Calls in progress, those in setup included.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Call> {
        self.slots.iter().filter_map(|slot| slot.call.as_ref())
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Call> {
        self.slots.iter_mut().filter_map(|slot| slot.call.as_mut())
    }

    pub(crate) fn find(&self, key: CallKey) -> Option<&Call> {
        let slot = *self.index.get(&key)?;
        self.slots.get(slot as usize)?.call.as_ref()
    }

    pub(crate) fn find_mut(&mut self, key: CallKey) -> Option<&mut Call> {
        let slot = *self.index.get(&key)?;
        self.slots.get_mut(slot as usize)?.call.as_mut()
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
            armed: None,
        });
    }

    /// Puts a new call into a free slot.
    pub(crate) fn insert(&mut self, texts: [&[u8]; 4], call: impl FnOnce(Texts) -> Call) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let Some(place) = self.slots.get_mut(slot as usize) else { return };
        let mut room = std::mem::take(&mut place.room);
        room.take(texts);
        let call = call(room);
        self.index.insert(call.key, slot);
        place.call = Some(call);
    }

    /// A call is over. Its texts can be read as long as what is returned lives; give it back with [`Calls::recycle`].
    pub(crate) fn remove(&mut self, key: CallKey) -> Option<(u32, Call)> {
        let slot = self.index.remove(&key)?;
        let place = self.slots.get_mut(slot as usize)?;
        place.generation = place.generation.wrapping_add(1);
        Some((slot, place.call.take()?))
    }

    /// Frees the slot of a call that was removed, and keeps the room of its texts.
    pub(crate) fn recycle(&mut self, slot: u32, call: Call) {
        if let Some(place) = self.slots.get_mut(slot as usize) {
            place.room = call.texts;
            self.free.push(slot);
        }
    }

    /// Sets the wheel for a call: to its deadline, or to the next look at it.
    pub(crate) fn arm(&mut self, now: Time, key: CallKey, timers: &mut Timers) {
        let Some(slot) = self.index.get(&key).copied() else { return };
        let Some(place) = self.slots.get_mut(slot as usize) else { return };
        let Some(call) = place.call.as_mut() else { return };
        let at = call.deadline().min(now + LOOK);
        if call.armed.is_none_or(|armed| at < armed) {
            call.armed = Some(at);
            timers.arm(at, TimerId { slot: slot | CALL_TIMER, generation: place.generation });
        }
    }

    /// The call that an entry of the wheel belongs to; `None` when it has ended since.
    pub(crate) fn due(&mut self, id: TimerId) -> Option<&mut Call> {
        let place = self.slots.get_mut((id.slot & !CALL_TIMER) as usize)?;
        if place.generation == id.generation { place.call.as_mut() } else { None }
    }
}
