//! Which number a row of `did_numbers` has, by the row's key: 8 bytes for each row.
//!
//! An entry holds the number and 14 bits of the key's hash; the bits above them choose the page. Whoever asks knows the
//! table, and tells a true entry from one of another key: one look in about 130 is in vain.

use std::sync::Arc;

use sip::Number;

use crate::place_list::PlaceList;
use crate::row_key::RowKey;

/// Entries in a page, on average, when the index is made.
const PAGE_ENTRIES: usize = 96;
/// Entries in a page, on average, at which the index is to be made anew with more pages.
const PAGE_ENTRIES_CROWDED: usize = 512;
/// An E.164 number has at most 15 digits, so 50 bits hold it.
const NUMBER_BITS: u32 = 50;

#[derive(Clone, Debug)]
pub(crate) struct KeyIndex {
    pages: PlaceList<Arc<[u64]>>,
    /// The pages are 2 to the power of this.
    page_bits: u32,
    len: usize,
}

impl Default for KeyIndex {
    fn default() -> Self {
        KeyIndex::new(std::iter::empty(), 0)
    }
}

impl KeyIndex {
    /// The index of these rows; `count` says about how many they are.
    pub(crate) fn new(rows: impl Iterator<Item = (RowKey, Number)>, count: usize) -> KeyIndex {
        let page_bits = (count / PAGE_ENTRIES).max(1).next_power_of_two().trailing_zeros();
        let mut entries: Vec<(usize, u64)> = Vec::with_capacity(count);
        entries.extend(rows.map(|(key, number)| place_and_entry(page_bits, key, number)));
        entries.sort_unstable();
        let mut rest = entries.as_slice();
        let pages = (0..1_usize << page_bits).map(|page| {
            let (ours, others) = rest.split_at(rest.partition_point(|entry| entry.0 == page));
            rest = others;
            ours.iter().map(|entry| entry.1).collect()
        });
        let pages = pages.collect();
        KeyIndex { pages, page_bits, len: entries.len() }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of the entries and of what leads to them.
    pub(crate) fn bytes(&self) -> usize {
        // A page is a pointer with a length, two counts of holders, and its entries.
        self.len * size_of::<u64>() + self.pages.len() * 4 * size_of::<usize>()
    }

    /// Whether the index has many more rows than it was made for.
    pub(crate) fn is_crowded(&self) -> bool {
        self.len > PAGE_ENTRIES_CROWDED << self.page_bits
    }

    /// The numbers that the row of this key may have.
    pub(crate) fn candidates(&self, key: RowKey) -> impl Iterator<Item = Number> + '_ {
        let (page, wanted) = place_and_entry(self.page_bits, key, None);
        let entries = self.pages.at(page).map(|page| &**page).unwrap_or_default();
        entries.iter().filter_map(move |entry| {
            (entry >> NUMBER_BITS == wanted >> NUMBER_BITS).then_some(())?;
            Number::from_digits(entry & ((1 << NUMBER_BITS) - 1))
        })
    }

    pub(crate) fn insert(&mut self, key: RowKey, number: Number) {
        let (page, entry) = place_and_entry(self.page_bits, key, number);
        if let Some(page) = self.pages.at_mut(page) {
            *page = page.iter().copied().chain([entry]).collect();
            self.len += 1;
        }
    }

    pub(crate) fn remove(&mut self, key: RowKey, number: Number) {
        let (page, entry) = place_and_entry(self.page_bits, key, number);
        let Some(page) = self.pages.at_mut(page) else { return };
        if let Some(place) = page.iter().position(|&other| other == entry) {
            let others = page.iter().enumerate().filter(|(other, _)| *other != place);
            *page = others.map(|(_, &entry)| entry).collect();
            self.len -= 1;
        }
    }
}

/// The page of a key, and its entry with this number.
fn place_and_entry(page_bits: u32, key: RowKey, number: impl Into<Option<Number>>) -> (usize, u64) {
    let hash = hash(key);
    let page = hash.checked_shr(u64::BITS - page_bits).unwrap_or(0);
    let number = number.into().map_or(0, Number::digits);
    (usize::try_from(page).unwrap_or(0), hash << NUMBER_BITS | number)
}

/// Mixes the bits of a key, so that ids that were counted up fall into all pages alike.
fn hash(key: RowKey) -> u64 {
    let bytes = key.bits().to_le_bytes();
    let [a, b] = [0, 8]
        .map(|at| bytes.get(at..).and_then(|half| half.first_chunk()).map_or(0, |half| u64::from_le_bytes(*half)));
    let mut mixed = a ^ b.rotate_left(32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for factor in [0xff51_afd7_ed55_8ccd_u64, 0xc4ce_b9fe_1a85_ec53] {
        mixed = (mixed ^ mixed >> 33).wrapping_mul(factor);
    }
    mixed ^ mixed >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(at: u64) -> (RowKey, Number) {
        (RowKey::from_bits(u128::from(at) << 64), Number::from_digits(918_000_000_000 + at).unwrap())
    }

    #[test]
    fn rows_are_found_by_their_keys() {
        let mut index = KeyIndex::new((0..10_000).map(row), 10_000);
        let before = index.clone();
        index.insert(row(10_000).0, row(10_000).1);
        index.remove(row(5).0, row(5).1);
        index.remove(row(20_000).0, row(20_000).1);
        assert_eq!((index.len(), before.len()), (10_000, 10_000));
        for at in 0..=10_000 {
            let (key, number) = row(at);
            assert_eq!(index.candidates(key).any(|found| found == number), at != 5, "{at}");
            assert_eq!(before.candidates(key).any(|found| found == number), at != 10_000, "{at}");
        }
        let in_vain: usize = (20_000..30_000).map(|at| index.candidates(row(at).0).count()).sum();
        assert!(in_vain < 300, "{in_vain}");
    }

    #[test]
    fn an_index_that_grew_says_so() {
        let mut index = KeyIndex::default();
        for at in 0..600 {
            index.insert(row(at).0, row(at).1);
        }
        assert!(index.is_crowded());
        assert!(!KeyIndex::new((0..600).map(row), 600).is_crowded());
    }
}
