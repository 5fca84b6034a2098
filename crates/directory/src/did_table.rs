//! The table of DIDs: sorted pages of a fixed size, each shared between the directories that hold it.
//!
//! A lookup is two binary searches, one among the first keys of the pages and one within a page. A page is 10 KiB, so
//! a directory of a million DIDs has 3,900 of them, and a change of one row has to copy one.

use std::sync::Arc;

use sip::Number;

use crate::row_key::RowKey;
use crate::words::{Environment, PoolStatus, Status, Words};

/// Records in a page.
const PAGE_RECORDS: usize = 256;

/// What the table holds about one DID, beside its number: 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct DidRecord {
    pub(crate) key: RowKey,
    /// The organisation's place plus one; 0 for none.
    pub(crate) organisation: u32,
    /// 0 for no limit.
    pub(crate) call_limit: u32,
    pub(crate) updated_at_s: u32,
    /// The provider's place plus one; 0 for none.
    pub(crate) provider: u16,
    pub(crate) marks: Marks,
}

impl DidRecord {
    /// Whether both say the same, the time of the last change not counted.
    pub(crate) fn says_the_same(&self, other: &DidRecord) -> bool {
        DidRecord { updated_at_s: 0, ..*self } == DidRecord { updated_at_s: 0, ..*other }
    }
}

/// The words and the flags of a record in one byte: two bits each for environment, status and pool status, then
/// `is_default` and `kept_last_good`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Marks(u8);

impl Marks {
    const IS_DEFAULT: u8 = 1 << 6;
    const KEPT_LAST_GOOD: u8 = 1 << 7;

    pub(crate) fn new(environment: Environment, status: Status, pool_status: PoolStatus, is_default: bool) -> Marks {
        let words = environment as u8 | (status as u8) << 2 | (pool_status as u8) << 4;
        Marks(words | if is_default { Marks::IS_DEFAULT } else { 0 })
    }

    pub(crate) fn kept(self) -> Marks {
        Marks(self.0 | Marks::KEPT_LAST_GOOD)
    }

    pub(crate) fn environment(self) -> Environment {
        Environment::from_bits(self.0 & 3).unwrap_or(Environment::Prod)
    }

    pub(crate) fn status(self) -> Status {
        Status::from_bits(self.0 >> 2 & 3).unwrap_or(Status::Inactive)
    }

    pub(crate) fn pool_status(self) -> PoolStatus {
        PoolStatus::from_bits(self.0 >> 4 & 3).unwrap_or(PoolStatus::Available)
    }

    pub(crate) fn is_default(self) -> bool {
        self.0 & Marks::IS_DEFAULT != 0
    }

    pub(crate) fn is_kept(self) -> bool {
        self.0 & Marks::KEPT_LAST_GOOD != 0
    }
}

/// DIDs by number.
#[derive(Clone, Default)]
pub(crate) struct DidTable {
    /// The first number of every page.
    first_numbers: Vec<u64>,
    pages: Vec<Arc<Page>>,
    len: usize,
}

/// Up to [`PAGE_RECORDS`] numbers, ascending, and their records at the same places.
struct Page {
    len: usize,
    numbers: [u64; PAGE_RECORDS],
    records: [DidRecord; PAGE_RECORDS],
}

impl DidTable {
    /// The table of these records, which come by number, strictly ascending.
    pub(crate) fn from_ascending(records: impl Iterator<Item = (Number, DidRecord)>) -> DidTable {
        let mut table = DidTable::default();
        let mut records = records.peekable();
        while let Some((first, _)) = records.peek() {
            table.first_numbers.push(first.digits());
            let mut page = Page { len: 0, numbers: [0; PAGE_RECORDS], records: [DidRecord::default(); PAGE_RECORDS] };
            let slots = page.numbers.iter_mut().zip(page.records.iter_mut());
            for ((number_slot, record_slot), (number, record)) in slots.zip(records.by_ref()) {
                (*number_slot, *record_slot) = (number.digits(), record);
                page.len += 1;
            }
            table.len += page.len;
            table.pages.push(Arc::new(page));
        }
        table
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn find(&self, number: Number) -> Option<&DidRecord> {
        let key = number.digits();
        let after = self.first_numbers.partition_point(|&first| first <= key);
        let page = self.pages.get(after.checked_sub(1)?)?;
        let place = page.numbers.get(..page.len)?.binary_search(&key).ok()?;
        page.records.get(place)
    }

    /// Every DID, by number ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Number, &DidRecord)> {
        self.pages.iter().flat_map(|page| {
            let all = page.numbers.iter().zip(&page.records).take(page.len);
            all.filter_map(|(&digits, record)| Some((Number::from_digits(digits)?, record)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u64) -> (Number, DidRecord) {
        let record = DidRecord { call_limit: u32::try_from(number % 1_000).unwrap(), ..DidRecord::default() };
        (Number::from_digits(number).unwrap(), record)
    }

    #[test]
    fn what_was_put_in_is_found_and_nothing_else() {
        for count in [0, 1, 2, 255, 256, 257, 1_000] {
            let numbers = (0..count).map(|at| 918_065_970_000 + at * 3);
            let table = DidTable::from_ascending(numbers.clone().map(record));
            assert_eq!(table.len() as u64, count);
            assert_eq!(
                table.iter().map(|(number, _)| number.digits()).collect::<Vec<_>>(),
                numbers.collect::<Vec<_>>()
            );
            for number in 918_065_969_990..918_065_970_000 + count * 3 + 10 {
                let found = table.find(Number::from_digits(number).unwrap());
                let expected = number >= 918_065_970_000 && number % 3 == 0 && (number - 918_065_970_000) / 3 < count;
                assert_eq!(
                    found.map(|found| u64::from(found.call_limit)),
                    expected.then_some(number % 1_000),
                    "{number}"
                );
            }
        }
    }

    #[test]
    fn marks_hold_every_combination() {
        for &environment in Environment::ALL {
            for &status in Status::ALL {
                for &pool_status in PoolStatus::ALL {
                    let marks = Marks::new(environment, status, pool_status, false);
                    assert_eq!(
                        (marks.environment(), marks.status(), marks.pool_status()),
                        (environment, status, pool_status)
                    );
                    assert!(!marks.is_default() && !marks.is_kept() && marks.kept().is_kept());
                    assert!(Marks::new(environment, status, pool_status, true).is_default());
                }
            }
        }
    }

    #[test]
    fn a_did_takes_40_bytes() {
        assert_eq!(size_of::<DidRecord>() + size_of::<u64>(), 40);
    }
}
