//! A page of the table: up to [`PAGE_RECORDS`] rows in order of their numbers, each column in the fewest bits that tell
//! its values apart within the page.
//!
//! It has two parts. The lookup part is cache lines of whole rows; a lookup reads one of them. The identity part says
//! which row of the database each is; only changes, reports and snapshots read it.

use std::sync::Arc;

pub(crate) use super::layout::PAGE_RECORDS;
use super::layout::{LINE_BYTES, LINES_MAX, Layout, Line, begin_of};
use super::record::{DidFields, DidRecord};
use crate::row_key::RowKey;

/// Zeros behind the last identity, so that every one can be read with one load of 16 bytes.
const PADDING: usize = 16;
/// Bytes of the counts of holders that stand before shared bytes.
const COUNTS: usize = 2 * size_of::<usize>();

/// Rows of neighbouring numbers. Its first number is kept by whoever has the page.
#[derive(Clone)]
pub(crate) struct Page {
    head: Head,
    layout: Layout,
    identity: Arc<[u8]>,
}

/// What leads from a number to its line: one cache line itself.
#[derive(Clone)]
#[repr(align(64))]
struct Head {
    /// Where each line begins, in units; those that are not there begin behind all numbers. Unused in a page whose
    /// numbers have no gaps.
    starts: [u16; LINES_MAX],
    lines: Arc<[Line]>,
}

/// Where a row is in a page.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    line: usize,
    row: usize,
}

impl Page {
    /// A page of these rows: at least one, at most [`PAGE_RECORDS`], by number, strictly ascending; `None` when they lie
    /// too far apart for one page, which of 64 rows and fewer is never so. Which row each of them is,
    /// [`Page::identify`] says.
    pub(crate) fn new(rows: &[(u64, DidRecord)]) -> Option<Page> {
        let layout = Layout::of(rows)?;
        let first = rows.first().map_or(0, |row| row.0);
        let unit_bits = u32::from(layout.unit_bits);
        let mut starts = [u16::MAX; LINES_MAX];
        let mut lines = vec![Line::EMPTY; layout.lines()];
        for (at, (rows, line)) in rows.chunks(usize::from(layout.line_rows)).zip(&mut lines).enumerate() {
            let distance = rows.first().map_or(0, |row| row.0 - first);
            let begin = begin_of(distance, unit_bits);
            if let Some(start) = starts.get_mut(at) {
                *start = u16::try_from(distance >> unit_bits).unwrap_or(u16::MAX);
            }
            for (row, (number, record)) in rows.iter().enumerate() {
                layout.write(line, row, number - first - begin, &record.fields);
            }
        }
        Some(Page { head: Head { starts, lines: lines.into() }, layout, identity: Arc::default() })
    }

    /// The same page with the identities of its rows.
    pub(crate) fn identify(&mut self, rows: &[(u64, DidRecord)]) {
        self.identity = identity_of(rows);
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.layout.len)
    }

    /// Bytes of the lookup part and of the identity part, each with the two counts before it.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        // The counts before lines take a line of their own.
        ((self.head.lines.len() + 1) * LINE_BYTES, self.identity.len() + COUNTS)
    }

    /// Whether both are one page in memory.
    pub(crate) fn is_same(&self, other: &Page) -> bool {
        Arc::ptr_eq(&self.head.lines, &other.head.lines) && Arc::ptr_eq(&self.identity, &other.identity)
    }

    /// Whether a row of this page may name this organisation; the value is a place plus one.
    pub(crate) fn may_name(&self, organisation: u32) -> bool {
        self.layout.may_name(organisation)
    }

    /// Where the row is whose number has this distance from the first.
    ///
    /// No branch depends on how a comparison of numbers comes out, so that the processor never guesses wrongly: what a
    /// lookup in a large table waits for is memory, this page's head and then one line.
    pub(crate) fn find(&self, distance: u64) -> Option<Slot> {
        let layout = &self.layout;
        if distance > layout.span {
            return None;
        }
        if !layout.has_gaps {
            let place = usize::try_from(distance).ok()?;
            return Some(self.slot(place));
        }
        let [u0, u1, ..] = distance.wrapping_shr(u32::from(layout.unit_bits)).to_le_bytes();
        let unit = u16::from_le_bytes([u0, u1]);
        let not_above = |count: u16, start: &u16| count.wrapping_add(u16::from(*start <= unit));
        let mut line = usize::from(self.head.starts.iter().fold(0, not_above)).checked_sub(1)?;
        loop {
            let start = *self.head.starts.get(line)?;
            let begin = u64::from(start).wrapping_shl(u32::from(layout.unit_bits));
            if let Some(row) = layout.find(self.head.lines.get(line)?, distance.wrapping_sub(begin)) {
                let is_there = layout.place_of(line).wrapping_add(row) < self.len();
                return is_there.then_some(Slot { line, row });
            }
            // Of several lines that begin within one unit any may have it.
            if start != unit {
                return None;
            }
            line = line.checked_sub(1)?;
        }
    }

    /// What a lookup needs of a row.
    pub(crate) fn fields(&self, slot: Slot) -> DidFields {
        let line = self.head.lines.get(slot.line);
        line.map_or_else(DidFields::default, |line| self.layout.fields(line, slot.row))
    }

    /// A whole row.
    pub(crate) fn record(&self, slot: Slot) -> DidRecord {
        let (key, updated_at_s) = identity_at(&self.identity, self.layout.place_of(slot.line) + slot.row);
        DidRecord { key, updated_at_s, fields: self.fields(slot) }
    }

    /// Every number and row; `first` is the page's first number.
    pub(crate) fn rows(&self, first: u64) -> impl Iterator<Item = (u64, DidRecord)> + '_ {
        self.slots().map(move |slot| (first + self.distance(slot), self.record(slot)))
    }

    /// Every number and what a lookup needs of its row.
    pub(crate) fn fields_of_all(&self, first: u64) -> impl Iterator<Item = (u64, DidFields)> + '_ {
        self.slots().map(move |slot| (first + self.distance(slot), self.fields(slot)))
    }

    fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        (0..self.len()).map(|place| self.slot(place))
    }

    fn slot(&self, place: usize) -> Slot {
        let line = self.layout.line_of(place);
        Slot { line, row: place.wrapping_sub(self.layout.place_of(line)) }
    }

    /// The distance of a row's number from the first.
    fn distance(&self, slot: Slot) -> u64 {
        if !self.layout.has_gaps {
            return (self.layout.place_of(slot.line) + slot.row) as u64;
        }
        let start = self.head.starts.get(slot.line).copied().unwrap_or_default();
        let begin = u64::from(start) << self.layout.unit_bits;
        self.head.lines.get(slot.line).map_or(begin, |line| begin + self.layout.distance(line, slot.row))
    }
}

/// Bytes of the head of an identity part: the least key, the earliest time, and the bytes of a distance from either.
const IDENTITY_HEAD: usize = 16 + 4 + 1 + 1;

fn identity_of(rows: &[(u64, DidRecord)]) -> Arc<[u8]> {
    let keys = rows.iter().map(|row| row.1.key.bits());
    let times = rows.iter().map(|row| row.1.updated_at_s);
    let key_base = keys.clone().min().unwrap_or_default();
    let time_base = times.clone().min().unwrap_or_default();
    let key_bytes = bytes_of(keys.clone().max().unwrap_or_default() - key_base);
    let time_bytes = bytes_of(u128::from(times.clone().max().unwrap_or_default() - time_base));
    let stride = usize::from(key_bytes) + usize::from(time_bytes);
    let mut bytes = Vec::with_capacity(IDENTITY_HEAD + rows.len() * stride + PADDING);
    bytes.extend_from_slice(&key_base.to_le_bytes());
    bytes.extend_from_slice(&time_base.to_le_bytes());
    bytes.extend_from_slice(&[key_bytes, time_bytes]);
    for (key, time) in keys.zip(times) {
        append(&mut bytes, key - key_base, key_bytes);
        append(&mut bytes, u128::from(time - time_base), time_bytes);
    }
    bytes.extend_from_slice(&[0; PADDING]);
    bytes.into()
}

fn identity_at(bytes: &[u8], place: usize) -> (RowKey, u32) {
    let key_base = load_u128(bytes, 0);
    let head = load_u64(bytes, 16).to_le_bytes();
    let [t0, t1, t2, t3, key_bytes, time_bytes, ..] = head;
    let time_base = u32::from_le_bytes([t0, t1, t2, t3]);
    let stride = usize::from(key_bytes) + usize::from(time_bytes);
    let at = IDENTITY_HEAD + place * stride;
    let key = load_u128(bytes, at) & low_bytes(key_bytes);
    let time = load_u128(bytes, at + usize::from(key_bytes)) & low_bytes(time_bytes);
    (RowKey::from_bits(key_base.wrapping_add(key)), time_base.wrapping_add(u32::try_from(time).unwrap_or_default()))
}

fn low_bytes(bytes: u8) -> u128 {
    u128::MAX.checked_shr(128 - u32::from(bytes) * 8).unwrap_or_default()
}

fn bytes_of(value: u128) -> u8 {
    let bits = u128::BITS - value.leading_zeros();
    u8::try_from(bits.div_ceil(8)).unwrap_or_default()
}

fn append(out: &mut Vec<u8>, value: u128, bytes: u8) {
    out.extend_from_slice(value.to_le_bytes().get(..usize::from(bytes)).unwrap_or_default());
}

fn load_u64(bytes: &[u8], at: usize) -> u64 {
    let loaded = bytes.get(at..).and_then(|rest| rest.first_chunk());
    loaded.map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

fn load_u128(bytes: &[u8], at: usize) -> u128 {
    let loaded = bytes.get(at..).and_then(|rest| rest.first_chunk());
    loaded.map_or(0, |chunk| u128::from_le_bytes(*chunk))
}
