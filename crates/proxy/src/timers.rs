//! Deadlines of many transactions, O(1) each: a hashed hierarchical wheel of six levels with 64 slots, one tick a
//! millisecond. Nothing is ever scanned and nothing is taken out: an entry that came due and no longer counts is told
//! apart by its generation, or by the transaction's own clock.

use crate::flow::Time;
use std::collections::VecDeque;

const LEVELS: usize = 6;
const SLOTS: u64 = 64;
const SLOTS_OF_LEVEL: usize = 64;
const SLOT_BITS: u32 = 6;
/// The farthest deadline that the wheel can hold, in ticks: about two years.
const MAX_TICKS: u64 = 1 << (SLOT_BITS * 6);
/// A deadline farther off than this, in ticks, comes due with others of its time: what lingers or is given up after 5 s to
/// minutes, or is sent again after 8 s, may be so a moment later. Each one alone would wake somebody.
const FAR_TICKS: u64 = 4_500;
/// From one of these times to the next, in ticks: so much later it is at most.
const FAR_STEP_TICKS: u64 = 4;

/// What comes due: a table slot and the generation it had when the deadline was set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TimerId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// One deadline, in the list of its slot or among the free ones.
#[derive(Clone, Copy, Debug)]
struct Entry {
    at_tick: u64,
    id: TimerId,
    next: u32,
}

/// The entries of one slot, in the order in which they came: the places of the first and of the last.
#[derive(Clone, Copy, Debug)]
struct List {
    first: u32,
    last: u32,
}

#[derive(Debug)]
struct Level {
    occupied: u64,
    slots: [List; SLOTS_OF_LEVEL],
}

/// The wheel. Its slots share one store of entries: they take the room of as many deadlines as there were at one time.
#[derive(Debug)]
pub(crate) struct Timers {
    now_tick: u64,
    levels: [Level; LEVELS],
    entries: Vec<Entry>,
    free: u32,
}

/// No entry.
const NONE: u32 = u32::MAX;

impl Timers {
    pub(crate) fn new() -> Timers {
        let level = || Level { occupied: 0, slots: [List { first: NONE, last: NONE }; SLOTS_OF_LEVEL] };
        Timers { now_tick: 0, levels: std::array::from_fn(|_| level()), entries: Vec::new(), free: NONE }
    }

    /// Sets a deadline. One that has passed comes due at the next call of [`Timers::expire`], one that is far off up to
    /// [`FAR_STEP_TICKS`] later.
    pub(crate) fn arm(&mut self, at: Time, id: TimerId) {
        let at_tick = at.0.div_ceil(1_000).max(self.now_tick + 1);
        let is_far = at_tick - self.now_tick > FAR_TICKS;
        let at_tick = if is_far { at_tick.next_multiple_of(FAR_STEP_TICKS) } else { at_tick };
        let at_tick = at_tick.min(self.now_tick + MAX_TICKS - 1);
        let entry = Entry { at_tick, id, next: NONE };
        let at = self.free;
        if let Some(place) = self.entries.get_mut(at as usize) {
            self.free = place.next;
            *place = entry;
            return self.link(at, at_tick);
        }
        let at = u32::try_from(self.entries.len()).unwrap_or(NONE);
        self.entries.push(entry);
        self.link(at, at_tick);
    }

    /// When to call [`Timers::expire`] next. Never later than the earliest deadline; it may be earlier, when entries of
    /// a coarse level have to be sorted into a finer one.
    pub(crate) fn next(&self) -> Option<Time> {
        self.next_slot().map(|(_, _, tick)| Time::from_millis(tick))
    }

    /// Where the wheel stands: what [`Timers::expire`] gave was due by then.
    pub(crate) const fn now(&self) -> Time {
        Time::from_millis(self.now_tick)
    }

    /// Moves the wheel to `now` and appends what has come due, earliest first.
    pub(crate) fn expire(&mut self, now: Time, due: &mut VecDeque<TimerId>) {
        let target = now.0 / 1_000;
        while let Some((level, slot, tick)) = self.next_slot() {
            if tick > target {
                break;
            }
            self.now_tick = self.now_tick.max(tick);
            let mut at = self.unlink(level, slot);
            while let Some(entry) = self.entries.get_mut(at as usize) {
                let (here, at_tick) = (at, entry.at_tick);
                at = std::mem::replace(&mut entry.next, NONE);
                if at_tick <= self.now_tick {
                    due.push_back(entry.id);
                    entry.next = std::mem::replace(&mut self.free, here);
                } else {
                    self.link(here, at_tick);
                }
            }
        }
        self.now_tick = self.now_tick.max(target);
    }

    /// Puts an entry behind the others of the slot that its tick belongs to now.
    fn link(&mut self, at: u32, at_tick: u64) {
        let differing = (self.now_tick ^ at_tick) | (SLOTS - 1);
        let level = ((63 - differing.leading_zeros()) / SLOT_BITS).min(5);
        let slot = (at_tick >> (level * SLOT_BITS)) % SLOTS;
        let Some(level) = self.levels.get_mut(level as usize) else { return };
        level.occupied |= 1 << slot;
        let Some(list) = level.slots.get_mut(usize::try_from(slot).unwrap_or(0)) else { return };
        match self.entries.get_mut(list.last as usize) {
            Some(last) => last.next = at,
            None => list.first = at,
        }
        list.last = at;
    }

    /// Empties a slot, and gives the first of its entries.
    fn unlink(&mut self, level: usize, slot: usize) -> u32 {
        let Some(level) = self.levels.get_mut(level) else { return NONE };
        level.occupied &= !(1 << slot);
        let empty = List { first: NONE, last: NONE };
        level.slots.get_mut(slot).map_or(NONE, |list| std::mem::replace(list, empty).first)
    }

    /// The occupied slot that comes first: level, slot, and the tick at which it opens.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        let (level, cell) = self.levels.iter().enumerate().find(|(_, cell)| cell.occupied != 0)?;
        let shift = u32::try_from(level).unwrap_or(0) * SLOT_BITS;
        let here = (self.now_tick >> shift) % SLOTS;
        let ahead = u64::from(cell.occupied.rotate_right(u32::try_from(here).unwrap_or(0)).trailing_zeros());
        let slot = (here + ahead) % SLOTS;
        let round = SLOTS << shift;
        let opens = (self.now_tick & !(round - 1)) + (slot << shift);
        let opens = if slot < here { opens + round } else { opens };
        Some((level, usize::try_from(slot).unwrap_or(0), opens))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(slot: u32) -> TimerId {
        TimerId { slot, generation: 0 }
    }

    /// Runs the wheel by its own word, and gives (time of expiry, id).
    fn run(timers: &mut Timers, until: Time) -> Vec<(u64, u32)> {
        let mut seen = Vec::new();
        while let Some(at) = timers.next().filter(|at| *at <= until) {
            let mut due = VecDeque::new();
            timers.expire(at, &mut due);
            seen.extend(due.iter().map(|d| (at.as_millis(), d.slot)));
        }
        seen
    }

    #[test]
    fn deadlines_come_in_order_at_their_millisecond() {
        let mut timers = Timers::new();
        for (at, slot) in [(32_000, 1), (500, 2), (181_000, 3), (64, 4), (63, 5), (4_096, 6)] {
            timers.arm(Time::from_millis(at), id(slot));
        }
        let seen = run(&mut timers, Time::from_millis(1_000_000));
        assert_eq!(seen, [(63, 5), (64, 4), (500, 2), (4_096, 6), (32_000, 1), (181_000, 3)]);
        assert_eq!(timers.next(), None);
    }

    /// What is sent again is sent to the millisecond; what lingers ends together with others.
    #[test]
    fn far_deadlines_come_due_together_and_near_ones_alone() {
        let mut timers = Timers::new();
        let far = (0..1_000).map(|at| 32_000 + at);
        let near = [500, 1_500, 3_501, 4_499];
        far.chain(near).zip(0..).for_each(|(at, slot)| timers.arm(Time::from_millis(at), id(slot)));
        let mut times: Vec<u64> = run(&mut timers, Time::from_millis(40_000)).into_iter().map(|(at, _)| at).collect();
        times.dedup();
        let together = (0..=250).map(|at| 32_000 + at * FAR_STEP_TICKS);
        assert_eq!(times, near.into_iter().chain(together).collect::<Vec<_>>());
    }

    #[test]
    fn a_deadline_in_the_past_comes_due_at_the_next_tick() {
        let mut timers = Timers::new();
        timers.expire(Time::from_millis(1_000), &mut VecDeque::new());
        timers.arm(Time::from_millis(10), id(1));
        assert_eq!(run(&mut timers, Time::from_millis(1_001)), [(1_001, 1)]);
    }

    /// However long it turns, it has room for the deadlines of one time.
    #[test]
    fn it_takes_the_room_of_the_deadlines_that_there_are() {
        let mut timers = Timers::new();
        for second in 0..1_000 {
            for slot in 0..100 {
                timers.arm(Time::from_millis(second * 1_000 + 32_000), id(slot));
            }
            let due = run(&mut timers, Time::from_millis(second * 1_000));
            assert_eq!(due.len(), if second < 32 { 0 } else { 100 }, "{second}");
        }
        assert_eq!(timers.entries.len(), 33 * 100);
    }

    proptest! {
        #[test]
        fn never_early_never_lost(steps in proptest::collection::vec((0_u64..400_000, 0_u64..5_000), 1..200)) {
            let mut timers = Timers::new();
            let mut now = 0;
            let mut wanted = Vec::new();
            let mut seen = Vec::new();
            for (slot, (after, pause)) in steps.iter().enumerate() {
                let at = now + after;
                timers.arm(Time::from_millis(at), id(u32::try_from(slot).unwrap()));
                let wait = at.max(now + 1) - now;
                wanted.push(if wait > FAR_TICKS { at.next_multiple_of(FAR_STEP_TICKS) } else { at.max(now + 1) });
                now += pause;
                seen.extend(run(&mut timers, Time::from_millis(now)));
                timers.expire(Time::from_millis(now), &mut VecDeque::new());
            }
            seen.extend(run(&mut timers, Time::from_millis(now + 1_000_000)));
            prop_assert_eq!(seen.len(), wanted.len());
            for (at, slot) in seen {
                prop_assert_eq!(at, wanted[slot as usize]);
            }
        }
    }
}
