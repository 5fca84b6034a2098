use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::row_key::RowKey;

fn number(digits: u64) -> Number {
    Number::from_digits(digits).unwrap()
}

fn table(rows: impl IntoIterator<Item = (Number, DidRecord)>) -> DidTable {
    DidTable::from_ascending(&rows.into_iter().collect::<Vec<_>>())
}

fn record(seed: u64) -> DidRecord {
    let seed = u32::try_from(seed % 1_000).unwrap();
    DidRecord {
        updated_at_s: seed,
        fields: DidFields { call_limit: seed, ..DidFields::default() },
        ..DidRecord::default()
    }
}

#[test]
fn what_was_put_in_is_found_and_nothing_else() {
    for (count, gap) in [(0, 3), (1, 3), (2, 3), (255, 3), (256, 1), (257, 1), (1_000, 1), (70_000, 2)] {
        let numbers = (0..count).map(|at| 918_065_970_000 + at * gap);
        let made = table(numbers.clone().map(|digits| (number(digits), record(digits))));
        assert_eq!(made.len() as u64, count);
        assert!(made.rows().map(|(number, _)| number.digits()).eq(numbers));
        for digits in 918_065_969_990..918_065_970_000 + count * gap + 10 {
            let above = digits.checked_sub(918_065_970_000);
            let is_there = above.is_some_and(|above| above % gap == 0 && above / gap < count);
            assert_eq!(made.record(number(digits)), is_there.then(|| record(digits)), "{digits}");
            assert_eq!(made.find(number(digits)), is_there.then(|| record(digits).fields), "{digits}");
        }
    }
}

#[test]
fn every_width_of_every_column_is_read_back() {
    for bits in 0..=32 {
        let most = u32::try_from((1_u64 << bits) - 1).unwrap();
        let fields = |value: u32, other: u32| DidFields {
            organisation: value,
            call_limit: other,
            provider: u16::try_from(value & 0xffff).unwrap(),
            marks: Marks(u8::try_from(other & 0xff).unwrap()),
        };
        let rows = [(1_000, 0, most), (1_001, most, 0), (999_999_999_999_999, most / 3, most / 2)];
        let rows = rows.map(|(digits, value, other)| {
            let key = RowKey::from_bits(u128::from(value) << 96 | u128::from(other));
            (number(digits), DidRecord { key, updated_at_s: other, fields: fields(value, other) })
        });
        let made = table(rows);
        assert!(made.rows().eq(rows), "{bits}");
    }
}

/// Numbers that lie as unevenly as can be: the search within a page must not rely on an even spread.
#[test]
fn an_uneven_spread_is_searched_as_well() {
    let doubling = (0..39).map(|bit| 1_000 + (1_u64 << bit));
    let made = table(doubling.clone().map(|digits| (number(digits), record(digits))));
    for digits in doubling {
        assert_eq!(made.record(number(digits)), Some(record(digits)));
        assert_eq!(made.record(number(digits + 1)).is_some(), digits == 1_001, "{digits}");
    }
    let clusters = (0..200).map(|at| 910_000_000_000 + at).chain((0..56).map(|at| 919_999_999_000 + at * 7));
    let made = table(clusters.clone().map(|digits| (number(digits), record(digits))));
    for digits in clusters {
        assert_eq!(made.record(number(digits)), Some(record(digits)));
    }
    assert_eq!(made.find(number(915_000_000_000)), None);
    assert_eq!(made.find(number(919_999_999_001)), None);
}

#[test]
fn the_rows_of_an_organisation_are_found_from_any_number_on() {
    let rows = (0..100_000_u64).map(|at| {
        let organisation = u32::try_from(at / 1_000).unwrap();
        (
            number(918_000_000_000 + at),
            DidRecord { fields: DidFields { organisation, ..DidFields::default() }, ..record(at) },
        )
    });
    let made = table(rows);
    let naming = |organisation: u32, from: u64| made.fields_naming(organisation, 918_000_000_000 + from);
    assert_eq!(naming(50, 0).next().map(|(number, _)| number.digits()), Some(918_000_050_000));
    assert_eq!(naming(50, 50_999).count(), 1);
    assert_eq!(naming(50, 51_000).count(), 0);
    assert_eq!((naming(7, 0).count(), naming(1_000, 0).count()), (1_000, 0));
}

prop_compose! {
    fn edit()(is_set in any::<bool>(), at in 0_u64..3_000, seed in any::<u64>()) -> (u64, Option<u64>) {
        (at, is_set.then_some(seed))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    /// Whatever rows are put in and taken away, the table says what a plain map says, older copies stay as they were,
    /// and the comparison of both finds every difference and nothing else.
    #[test]
    fn a_table_is_a_map(start in 0_u64..2_000, gap in 1_u64..4, edits in proptest::collection::vec(edit(), 0..1_500)) {
        let mut plain: BTreeMap<u64, DidRecord> = (0..start).map(|at| (10_000 + at * gap, record(at))).collect();
        let before_plain = plain.clone();
        let mut made = table(plain.iter().map(|(&digits, &row)| (number(digits), row)));
        let before = made.clone();
        for (at, seed) in edits {
            let row = seed.map(record);
            match row {
                Some(row) => plain.insert(10_000 + at, row),
                None => plain.remove(&(10_000 + at)),
            };
            made.set(number(10_000 + at), row);
            prop_assert_eq!(made.record(number(10_000 + at)), row);
            prop_assert_eq!(made.len(), plain.len());
        }
        prop_assert!(made.rows().map(|(number, row)| (number.digits(), row)).eq(plain.iter().map(|(&k, &v)| (k, v))));
        prop_assert!(before.rows().map(|(number, row)| (number.digits(), row)).eq(before_plain.iter().map(|(&k, &v)| (k, v))));
        let mut found = BTreeMap::new();
        before.compare(&made, |number, old, new| {
            if old != new {
                found.insert(number.digits(), (old, new));
            }
        });
        let keys: std::collections::BTreeSet<u64> = plain.keys().chain(before_plain.keys()).copied().collect();
        for key in keys {
            let (old, new) = (before_plain.get(&key).copied(), plain.get(&key).copied());
            prop_assert_eq!(found.remove(&key), (old != new).then_some((old, new)));
        }
        prop_assert!(found.is_empty());
    }
}

/// Rows so far apart, and with fields so far apart, that every kind of page and of line is met.
fn wide_record(seed: u64) -> DidRecord {
    let value = |bits: u64| u32::try_from(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - 1 - bits % 32)).unwrap();
    let fields = DidFields {
        organisation: value(seed >> 8),
        call_limit: value(seed >> 16),
        provider: u16::try_from(value(seed >> 24) & 0xffff).unwrap(),
        marks: Marks(u8::try_from(value(seed >> 32) & 0xff).unwrap()),
    };
    let key = RowKey::from_bits(u128::from(seed) << (seed % 65));
    DidRecord { key, updated_at_s: value(seed >> 40), fields }
}

prop_compose! {
    fn spread_number()(power in 3_u32..15, at in 0_u64..300, stride in proptest::sample::select(vec![1_u64, 2, 97])) -> u64 {
        10_u64.pow(power) + at * stride
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 48, ..ProptestConfig::default() })]

    /// The same for numbers of all lengths, some in runs and some alone, with fields of every width.
    #[test]
    fn a_table_of_any_spread_is_a_map(
        start in proptest::collection::btree_map(spread_number(), any::<u64>(), 0..1_200),
        edits in proptest::collection::vec((spread_number(), proptest::option::of(any::<u64>())), 0..200),
        is_narrow in any::<bool>(),
    ) {
        let row = |seed: u64| if is_narrow { record(seed) } else { wide_record(seed) };
        let mut plain: BTreeMap<u64, DidRecord> = start.into_iter().map(|(digits, seed)| (digits, row(seed))).collect();
        let mut made = table(plain.iter().map(|(&digits, &row)| (number(digits), row)));
        for (digits, seed) in edits {
            match seed.map(row) {
                Some(row) => plain.insert(digits, row),
                None => plain.remove(&digits),
            };
            made.set(number(digits), seed.map(row));
            let place = made.find(number(digits));
            prop_assert_eq!(place, plain.get(&digits).map(|row| row.fields));
        }
        prop_assert!(made.rows().map(|(number, row)| (number.digits(), row)).eq(plain.iter().map(|(&k, &v)| (k, v))));
        for (&digits, row) in &plain {
            prop_assert_eq!(made.record(number(digits)), Some(*row));
            prop_assert_eq!(made.find(number(digits)), Some(row.fields));
            let next = made.record(number(digits + 1));
            prop_assert_eq!(next, plain.get(&(digits + 1)).copied());
        }
    }
}

/// A lookup that takes the long way is right, but several times as long: hardly any row may need it.
#[test]
fn rows_of_likely_spreads_are_found_soon() {
    let even = (0..50_000).map(|at| 910_000_000_000 + at * 9_973 + at * at % 7_919);
    let made = table(even.clone().map(|digits| (number(digits), record(digits))));
    let late = even.clone().filter(|digits| made.row_soon(number(*digits)).is_none()).count();
    assert!(late < 50, "{late} of 50000");
    let countries = (0..3_000).map(|at| 447_700_900_000 + at * 7).chain((0..3_000).map(|at| 918_065_970_000 + at * 3));
    let blocks = (0..50_000).map(|at| 910_000_000_000 + at / 1_000 * 7_654_321 + at % 1_000);
    let spreads: [Vec<u64>; 3] = [even.collect(), countries.collect(), blocks.collect()];
    for numbers in spreads {
        let made = table(numbers.iter().map(|&digits| (number(digits), record(digits))));
        let late = numbers.iter().filter(|digits| made.row_within(**digits).is_none()).count();
        assert!(late * 1_000 < numbers.len(), "{late} of {}", numbers.len());
    }
}

/// The same when rows have come and gone: pages that begin later than they did, new ones between them, and numbers behind
/// the last.
#[test]
fn rows_are_found_soon_after_changes() {
    let numbers = || (0..20_000).map(|at| 910_000_000_000 + at * 9_973);
    let mut made = table(numbers().map(|digits| (number(digits), record(digits))));
    let firsts = made.pages(0).map(Page::first).collect::<Vec<_>>();
    for first in firsts {
        for at in 0..3 {
            made.set(number(first + at * 9_973), None);
        }
        made.set(number(first + 9_973), Some(record(first)));
        made.set(number(first + 2), Some(record(first)));
    }
    let last = 910_000_000_000 + 20_000 * 9_973;
    for at in 0..3_000 {
        made.set(number(last + at * 5_000), Some(record(at)));
        made.set(number(910_001_000_000 + at * 7), Some(record(at)));
    }
    let late = made.rows().filter(|(number, _)| made.row_within(number.digits()).is_none()).count();
    assert!(late * 1_000 < made.len(), "{late} of {}", made.len());
    assert!(made.rows().all(|(number, row)| made.find(number) == Some(row.fields)));
}

/// Small blocks that lie far apart have small pages: a change of one row is one of a few pages all the same.
#[test]
fn a_change_among_small_pages_stays_where_it_is() {
    let numbers = (0..2_500).flat_map(|block| (0..40).map(move |at| 100_000_000_000 + block * 100_000_000 + at));
    let made = table(numbers.map(|digits| (number(digits), record(digits))));
    for block in [0, 1_000, 2_400] {
        let mut changed = made.clone();
        changed.set(number(100_000_000_007 + block * 100_000_000), Some(record(999)));
        let mut visited = 0;
        changed.compare(&made, |_, _, _| visited += 1);
        assert!((1..=1_200).contains(&visited), "{visited} rows for one in block {block}");
    }
}

/// A table that was split and emptied in many places still has pages and branches of sound sizes.
#[test]
fn branches_are_split_and_go_away() {
    // Fields of 80 bits, so that few rows fill a page.
    let row = |at: u64| {
        let most = if at.is_multiple_of(2) { u32::MAX } else { 0 };
        let provider = u16::try_from(most >> 16).unwrap();
        let fields = DidFields { organisation: most, call_limit: most, provider, ..DidFields::default() };
        DidRecord { fields, ..record(at) }
    };
    let mut made = table((0..24_000).map(|at| (number(10_000 + at * 6), row(at / 2))));
    for at in 0..24_000 {
        made.set(number(10_003 + at * 6), Some(row(at / 3)));
    }
    assert_eq!(made.len(), 48_000);
    assert!(made.branches.len() >= 2 && made.branches.iter().all(|branch| branch.pages.len() <= BRANCH_PAGES));
    assert!(made.branches.iter().flat_map(|branch| &branch.pages).all(|page| page.len() >= PAGE_SPARSE));
    for at in 0..48_000 {
        made.set(number(10_000 + at * 3), None);
    }
    assert_eq!((made.len(), made.branches.len(), made.rows().count()), (0, 0, 0));
    made.set(number(5_000), Some(row(1)));
    assert_eq!(made.rows().count(), 1);
}
