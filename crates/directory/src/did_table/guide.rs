//! Which of ascending numbers is the last that is not above a key: a slot of the span leads to the few it can be.

use std::hint::select_unpredictable;

/// Slots for each number. Where numbers lie evenly, hardly two of them begin in one slot.
const SLOTS: usize = 2;

/// Ascending numbers, and for each slot, one of equal parts of what they lead to, the last number that begins before it.
#[derive(Clone, Default)]
pub(super) struct Guide {
    first: u64,
    /// Slots for a distance of two to the power of 64 from the first.
    slots_per_span: u64,
    /// The first step of the search behind what a slot says, a power of two; 0 where nothing is left to search.
    step: usize,
    slots: Box<[u16]>,
    /// The numbers, and behind them as many that no key reaches as a search may look at.
    numbers: Box<[u64]>,
    len: usize,
    last: u64,
}

impl Guide {
    /// The guide to these numbers, strictly ascending, for keys up to `last`, which is none of them or the last one.
    pub(super) fn of(numbers: impl Iterator<Item = u64>, last: u64) -> Guide {
        let mut numbers: Vec<u64> = numbers.collect();
        let (first, len) = (numbers.first().copied().unwrap_or_default(), numbers.len());
        let count = len * SLOTS;
        let slots_per_span = ((count as u128) << u64::BITS) / (u128::from(last.saturating_sub(first)) + 1);
        let slots_per_span = u64::try_from(slots_per_span).unwrap_or(u64::MAX);
        let (mut begun, mut most) = (0, 0);
        let slots = (0..count).map(|slot| {
            let before = begun;
            let is_begun = |number: &u64| slot_of(number - first, slots_per_span) <= slot;
            begun += numbers.get(begun..).unwrap_or_default().iter().take_while(|number| is_begun(number)).count();
            let place = u16::try_from(before.saturating_sub(1)).unwrap_or(u16::MAX);
            most = most.max(begun.saturating_sub(1) - usize::from(place));
            place
        });
        let slots = slots.collect();
        let step = most.checked_ilog2().map_or(0, |bit| 1 << bit);
        numbers.resize(len + 2 * step, u64::MAX);
        Guide { first, slots_per_span, step, slots, numbers: numbers.into(), len, last }
    }

    /// Bytes of it but for itself.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.slots) + size_of_val(&*self.numbers)
    }

    /// The place of the last number that is not above `key`; `None` before the first of them and behind the last key.
    ///
    /// No branch depends on how a comparison comes out, so that the processor never guesses wrongly.
    #[inline(always)]
    pub(super) fn find(&self, key: u64) -> Option<usize> {
        let distance = key.checked_sub(self.first)?;
        let mut place = usize::from(*self.slots.get(slot_of(distance, self.slots_per_span))?);
        let mut step = self.step;
        while step > 0 {
            let next = place.wrapping_add(step);
            place = select_unpredictable(*self.numbers.get(next)? <= key, next, place);
            step /= 2;
        }
        Some(place)
    }

    /// The place where a key is to be put that is before the first number or behind the last key too.
    pub(super) fn nearest(&self, key: u64) -> usize {
        let behind = if key < self.first { 0 } else { self.len.saturating_sub(1) };
        self.find(key).unwrap_or(behind)
    }

    /// Whether it leads to these numbers, and for keys up to `last`.
    pub(super) fn is_of(&self, numbers: impl Iterator<Item = u64>, last: u64) -> bool {
        last <= self.last && self.numbers.iter().take(self.len).copied().eq(numbers)
    }
}

/// The slot of a distance: never before that of a lesser one.
#[inline]
fn slot_of(distance: u64, slots_per_span: u64) -> usize {
    // The upper half of the product, which no multiplication of two numbers of 64 bits can exceed.
    let [.., s0, s1, s2, s3, s4, s5, s6, s7] =
        u128::from(distance).wrapping_mul(u128::from(slots_per_span)).to_le_bytes();
    usize::try_from(u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7])).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_finds_as_a_search_does(numbers: &[u64]) {
        let last = numbers.last().map_or(0, |number| number + 1_000);
        let guide = Guide::of(numbers.iter().copied(), last);
        let around = numbers.iter().flat_map(|number| [number.saturating_sub(1), *number, number + 1]);
        for key in around.chain([0, 1, 1 << 50]).chain(last.saturating_sub(1)..last + 3) {
            let place = numbers.partition_point(|number| *number <= key).checked_sub(1);
            assert_eq!(guide.nearest(key), place.unwrap_or(0), "{key} of {numbers:?}");
            if key <= last {
                assert_eq!(guide.find(key), place, "{key} of {numbers:?}");
            }
        }
    }

    #[test]
    fn any_spread_is_found() {
        assert_finds_as_a_search_does(&[]);
        assert_finds_as_a_search_does(&[0]);
        assert_finds_as_a_search_does(&[7, 8, 9]);
        let even: Vec<u64> = (0..256).map(|at| 910_000_000_000 + at * 4_160_000).collect();
        assert_finds_as_a_search_does(&even);
        let doubling: Vec<u64> = (0..50).map(|bit| 1_000 + (1 << bit)).collect();
        assert_finds_as_a_search_does(&doubling);
        let clusters = (0..200).map(|at| 1_000 + at).chain((0..200).map(|at| 999_999_000_000_000 + at * 3));
        assert_finds_as_a_search_does(&clusters.collect::<Vec<u64>>());
        let one_apart = std::iter::once(5).chain((0..255).map(|at| 910_000_000_000 + at));
        assert_finds_as_a_search_does(&one_apart.collect::<Vec<u64>>());
    }

    #[test]
    fn an_even_spread_needs_one_step() {
        let guide =
            Guide::of((0..256).map(|at| 910_000_000_000 + at * 4_160_000 + at * at % 97 * 1_000), 911_064_960_000);
        assert_eq!(guide.step, 1);
    }
}
