//! Which number a row of `did_numbers` has, by the row's key: two to eight bytes for each row, six where the numbers are
//! those of one country.
//!
//! An entry holds the number and 14 bits of the key's hash; the bits above them choose the page, which writes numbers as
//! distances from its least. Whoever asks knows the table, and tells a true entry from one of another key: one look in
//! about 80 is in vain.

use std::sync::Arc;

use sip::Number;

use crate::place_list::PlaceList;
use crate::row_key::RowKey;

/// Entries in a page, on average, at most, when the index is made.
const PAGE_ENTRIES: usize = 192;
/// Entries in a page, on average, at which the index is to be made anew with more pages.
const PAGE_ENTRIES_CROWDED: usize = 1_024;
/// An E.164 number has at most 15 digits, so 50 bits hold it.
const NUMBER_BITS: u32 = 50;
/// Bits of the hash in an entry.
const TAG_BITS: u32 = u64::BITS - NUMBER_BITS;
/// Bytes of a page before its entries: the least number, and the bits of a distance from it.
const HEAD: usize = 8 + 1;
/// Zeros behind the entries, so that each can be read with one load of eight bytes.
const PADDING: usize = 8;
/// Bytes before shared ones: two counts of holders.
const COUNTS: usize = 2 * size_of::<usize>();

#[derive(Clone, Debug)]
pub(crate) struct KeyIndex {
    pages: PlaceList<KeyPage>,
    /// The pages are 2 to the power of this.
    page_bits: u32,
    len: usize,
    bytes: usize,
}

/// The entries of the keys that have the highest bits of their hash in common.
#[derive(Clone, Debug)]
struct KeyPage(Arc<[u8]>);

impl Default for KeyIndex {
    fn default() -> Self {
        KeyIndex::new(std::iter::empty(), 0)
    }
}

impl KeyIndex {
    /// The index of these rows; `count` says about how many they are.
    pub(crate) fn new(rows: impl Iterator<Item = (RowKey, Number)>, count: usize) -> KeyIndex {
        let page_bits = count.div_ceil(PAGE_ENTRIES).max(1).next_power_of_two().trailing_zeros();
        let mut entries: Vec<(usize, u64)> = Vec::with_capacity(count);
        entries.extend(rows.map(|(key, number)| place_and_entry(page_bits, key, number)));
        entries.sort_unstable();
        let mut rest = entries.as_slice();
        let mut page_entries = Vec::new();
        let pages = (0..1_usize << page_bits).map(|page| {
            let (ours, others) = rest.split_at(rest.partition_point(|entry| entry.0 == page));
            rest = others;
            page_entries.clear();
            page_entries.extend(ours.iter().map(|entry| entry.1));
            KeyPage::of(&page_entries)
        });
        let pages: PlaceList<KeyPage> = pages.collect();
        let bytes = pages.iter().map(KeyPage::bytes).sum();
        KeyIndex { pages, page_bits, len: entries.len(), bytes }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of the entries and of what leads to them.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the index has many more rows than it was made for.
    pub(crate) fn is_crowded(&self) -> bool {
        self.len > PAGE_ENTRIES_CROWDED << self.page_bits
    }

    /// The numbers that the row of this key may have.
    pub(crate) fn candidates(&self, key: RowKey) -> impl Iterator<Item = Number> + '_ {
        let (page, wanted) = place_and_entry(self.page_bits, key, None);
        let entries = self.pages.at(page).into_iter().flat_map(KeyPage::entries);
        entries.filter_map(move |entry| {
            (entry >> NUMBER_BITS == wanted >> NUMBER_BITS).then_some(())?;
            Number::from_digits(number_of(entry))
        })
    }

    pub(crate) fn insert(&mut self, key: RowKey, number: Number) {
        let (page, entry) = place_and_entry(self.page_bits, key, number);
        self.change(page, |entries| entries.push(entry));
    }

    pub(crate) fn remove(&mut self, key: RowKey, number: Number) {
        let (page, entry) = place_and_entry(self.page_bits, key, number);
        self.change(page, |entries| {
            if let Some(place) = entries.iter().position(|&other| other == entry) {
                entries.remove(place);
            }
        });
    }

    /// Makes a page anew.
    fn change(&mut self, page: usize, change: impl FnOnce(&mut Vec<u64>)) {
        let Some(page) = self.pages.at_mut(page) else { return };
        let mut entries: Vec<u64> = page.entries().collect();
        (self.len, self.bytes) = (self.len - entries.len(), self.bytes - page.bytes());
        change(&mut entries);
        *page = KeyPage::of(&entries);
        (self.len, self.bytes) = (self.len + entries.len(), self.bytes + page.bytes());
    }
}

impl KeyPage {
    fn of(entries: &[u64]) -> KeyPage {
        let numbers = entries.iter().map(|&entry| number_of(entry));
        let least = numbers.clone().min().unwrap_or_default();
        let distance_bits = u64::BITS - (numbers.max().unwrap_or_default() - least).leading_zeros();
        let stride = stride_of(distance_bits);
        let mut bytes = Vec::with_capacity(HEAD + entries.len() * stride + PADDING);
        bytes.extend_from_slice(&least.to_le_bytes());
        bytes.extend(u8::try_from(distance_bits));
        for entry in entries {
            let packed = (entry >> NUMBER_BITS) << distance_bits | (number_of(*entry) - least);
            bytes.extend_from_slice(packed.to_le_bytes().get(..stride).unwrap_or_default());
        }
        bytes.extend_from_slice(&[0; PADDING]);
        KeyPage(bytes.into())
    }

    fn entries(&self) -> impl Iterator<Item = u64> + '_ {
        let load = |at: usize| {
            let loaded = self.0.get(at..).and_then(|rest| rest.first_chunk());
            loaded.map_or(0, |chunk| u64::from_le_bytes(*chunk))
        };
        let (least, distance_bits) = (load(0), u32::from(self.0.get(HEAD - 1).copied().unwrap_or_default()));
        let stride = stride_of(distance_bits);
        (HEAD..self.0.len() - PADDING).step_by(stride).map(move |at| {
            let packed = load(at);
            let tag = packed >> distance_bits & ((1 << TAG_BITS) - 1);
            tag << NUMBER_BITS | (least + (packed & ((1 << distance_bits) - 1)))
        })
    }

    fn bytes(&self) -> usize {
        size_of::<KeyPage>() + COUNTS + self.0.len()
    }
}

/// Bytes of an entry.
fn stride_of(distance_bits: u32) -> usize {
    usize::try_from((distance_bits + TAG_BITS).div_ceil(8)).unwrap_or(PADDING)
}

fn number_of(entry: u64) -> u64 {
    entry & ((1 << NUMBER_BITS) - 1)
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
        for at in 0..1_100 {
            index.insert(row(at).0, row(at).1);
        }
        assert!(index.is_crowded());
        assert!(!KeyIndex::new((0..1_100).map(row), 1_100).is_crowded());
    }

    #[test]
    fn numbers_of_any_length_are_read_back() {
        let of_digits =
            |at: u32| (RowKey::from_bits(u128::from(at) << 64), Number::from_digits(10_u64.pow(at)).unwrap());
        let rows: Vec<(RowKey, Number)> = (3..15).map(of_digits).collect();
        let mut index = KeyIndex::new(rows.iter().take(4).copied(), 4);
        let bytes = index.bytes();
        rows.iter().skip(4).for_each(|(key, number)| index.insert(*key, *number));
        for (key, number) in &rows {
            assert!(index.candidates(*key).any(|found| found == *number), "{number}");
        }
        rows.iter().skip(4).for_each(|(key, number)| index.remove(*key, *number));
        assert_eq!((index.len(), index.bytes()), (4, bytes));
    }

    #[test]
    fn an_entry_of_one_country_takes_six_bytes() {
        let rows = (0..100_000).map(|at| (row(at).0, Number::from_digits(910_000_000_000 + at * 99_991).unwrap()));
        let index = KeyIndex::new(rows, 100_000);
        assert!(index.bytes() < 100_000 * 20 / 3, "{}", index.bytes());
    }
}
