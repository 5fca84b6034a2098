//! Which page a key is in: a slot of the span says it at once, or with one comparison.

use std::hint::select_unpredictable;
use std::sync::Arc;

/// Slots for each page. Where numbers lie evenly, hardly two pages begin in one slot.
const SLOTS: usize = 2;
/// Pages in a branch, at most: what the lower part of a [`PageAt`] tells apart.
pub(super) const BRANCH_PAGES: usize = 1 << PAGE_BITS;
const PAGE_BITS: u32 = 8;

/// Where a page is: its branch, and its place there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PageAt(u32);

/// Leads from a key to a page of a table. Shared by the tables whose pages begin alike.
#[derive(Clone)]
pub(super) struct Guide {
    first: u64,
    /// Slots for a distance of two to the power of 64 from the first.
    slots_per_span: u64,
    slots: Arc<[Slot]>,
    /// The pages that begin in one of the slots in which several do, each group behind the page before it.
    crowds: Arc<[(u64, PageAt)]>,
}

/// One of equal parts of the span: which page its keys are in.
#[derive(Clone, Copy)]
#[repr(align(16))]
struct Slot {
    /// From this key on it is `after`, below it `before`.
    begins: u64,
    before: PageAt,
    /// Where several pages begin in the slot, a place among the crowds that is the place of no page; `before` is then how
    /// many they are, with the one before them.
    after: PageAt,
}

impl PageAt {
    /// Set where there is no page, but a crowd of them.
    const CROWD: u32 = 1 << 31;

    pub(super) fn new(branch: usize, page: usize) -> PageAt {
        let place = branch << PAGE_BITS | page.min(BRANCH_PAGES - 1);
        PageAt(u32::try_from(place).map_or(PageAt::CROWD, |place| place & !PageAt::CROWD))
    }

    /// Its branch; more than there are for a crowd.
    #[inline(always)]
    pub(super) fn branch(self) -> usize {
        (self.0 >> PAGE_BITS) as usize
    }

    #[inline(always)]
    pub(super) fn page(self) -> usize {
        self.0 as usize % BRANCH_PAGES
    }
}

impl Default for Guide {
    fn default() -> Self {
        Guide::of(&[], 0)
    }
}

impl Guide {
    /// The guide to the pages that begin with these keys, strictly ascending, for keys up to about `last`.
    pub(super) fn of(pages: &[(u64, PageAt)], last: u64) -> Guide {
        let (first, mut before) = pages.first().copied().unwrap_or((0, PageAt(0)));
        let count = pages.len() * SLOTS;
        let span = last.saturating_sub(first);
        // A little more, so that numbers which follow the last one need no other guide.
        let span = u128::from(span) + u128::from(span) / 128 + 1;
        let slots_per_span = u64::try_from(((count as u128) << u64::BITS) / span).unwrap_or(u64::MAX);
        let mut crowds = Vec::new();
        let mut rest = pages;
        let slots = (0..count).map(|slot| {
            let is_begun = |page: &&(u64, PageAt)| slot_of(page.0 - first, slots_per_span) <= slot;
            let (begun, later) = rest.split_at(rest.iter().take_while(is_begun).count());
            rest = later;
            let slot = match begun {
                [] => Slot { begins: u64::MAX, before, after: before },
                [(begins, after)] => Slot { begins: *begins, before, after: *after },
                several => crowded_slot(&mut crowds, before, several),
            };
            before = begun.last().map_or(before, |page| page.1);
            slot
        });
        Guide { first, slots_per_span, slots: slots.collect(), crowds: crowds.into() }
    }

    /// Bytes of it but for itself.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.slots) + size_of_val(&*self.crowds)
    }

    /// The page in which `key` is, if any has it; a crowd for [`Guide::within`], where several pages begin near it.
    ///
    /// No branch depends on how a comparison comes out, so that the processor never guesses wrongly.
    #[inline(always)]
    pub(super) fn find(&self, key: u64) -> Option<PageAt> {
        // What is below the first is farther away than any slot.
        let slot = self.slots.get(slot_of(key.wrapping_sub(self.first), self.slots_per_span))?;
        Some(select_unpredictable(key < slot.begins, slot.before, slot.after))
    }

    /// The page in which `key` is, if any has it, for what [`Guide::find`] says of it.
    pub(super) fn within(&self, key: u64, found: PageAt) -> Option<PageAt> {
        if found.0 & PageAt::CROWD == 0 {
            return Some(found);
        }
        let slot = self.slots.get(slot_of(key.wrapping_sub(self.first), self.slots_per_span))?;
        let group = self.crowds.get((found.0 & !PageAt::CROWD) as usize..)?.get(..slot.before.0 as usize)?;
        let begun = group.partition_point(|page| page.0 <= key);
        group.get(begun.checked_sub(1)?).map(|page| page.1)
    }
}

/// The slot in which several pages begin.
fn crowded_slot(crowds: &mut Vec<(u64, PageAt)>, before: PageAt, several: &[(u64, PageAt)]) -> Slot {
    let place = u32::try_from(crowds.len()).unwrap_or(!0) | PageAt::CROWD;
    crowds.push((0, before));
    crowds.extend_from_slice(several);
    let count = u32::try_from(several.len() + 1).unwrap_or(u32::MAX);
    Slot { begins: 0, before: PageAt(count), after: PageAt(place) }
}

/// The slot of a distance: never before that of a lesser one.
#[inline(always)]
fn slot_of(distance: u64, slots_per_span: u64) -> usize {
    // The upper half of the product, which no multiplication of two numbers of 64 bits can exceed.
    let [.., s0, s1, s2, s3, s4, s5, s6, s7] =
        u128::from(distance).wrapping_mul(u128::from(slots_per_span)).to_le_bytes();
    usize::try_from(u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7])).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns how many of the keys are in a crowd.
    fn assert_finds_as_a_search_does(begins: &[u64]) -> usize {
        let last = begins.last().map_or(0, |begin| begin + 1_000);
        let pages: Vec<(u64, PageAt)> =
            begins.iter().enumerate().map(|(at, begin)| (*begin, PageAt::new(at / 7, at % 7))).collect();
        let guide = Guide::of(&pages, last);
        let around = begins.iter().flat_map(|begin| [begin.saturating_sub(1), *begin, begin + 1]);
        let mut crowded = 0;
        for key in around.chain([0, 1, 1 << 50]).chain(last.saturating_sub(1)..last + 3) {
            let place = begins.partition_point(|begin| *begin <= key).checked_sub(1);
            let found = guide.find(key);
            crowded += usize::from(found.is_some_and(|found| found.0 & PageAt::CROWD != 0));
            let found = found.and_then(|found| guide.within(key, found));
            let expected = place.and_then(|place| pages.get(place)).map(|page| page.1);
            assert!(found == expected || (found.is_none() && key > last), "{key} of {begins:?}");
        }
        crowded
    }

    #[test]
    fn any_spread_is_found() {
        assert_finds_as_a_search_does(&[]);
        assert_finds_as_a_search_does(&[0]);
        assert_finds_as_a_search_does(&[7, 8, 9]);
        let doubling: Vec<u64> = (0..50).map(|bit| 1_000 + (1 << bit)).collect();
        assert_finds_as_a_search_does(&doubling);
        let clusters = (0..200).map(|at| 1_000 + at).chain((0..200).map(|at| 999_999_000_000_000 + at * 3));
        assert!(assert_finds_as_a_search_does(&clusters.collect::<Vec<u64>>()) > 400);
        let one_apart = std::iter::once(5).chain((0..255).map(|at| 910_000_000_000 + at));
        assert_finds_as_a_search_does(&one_apart.collect::<Vec<u64>>());
    }

    #[test]
    fn an_even_spread_is_found_at_once() {
        let even: Vec<u64> = (0..2_048).map(|at| 910_000_000_000 + at * 4_160_000 + at * at % 97 * 1_000).collect();
        assert_eq!(assert_finds_as_a_search_does(&even), 0);
    }
}
