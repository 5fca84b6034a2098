//! A page of the table: rows in order of their numbers, each column in the fewest bits that tell its values apart within
//! the page.
//!
//! The head says where each line of rows begins and how rows are written, in two cache lines; each row is in one line, so
//! that is all that a lookup touches. Which row of the database each is stands apart.

use std::sync::Arc;

use super::identity::Identity;
use super::layout::{Kind, LINE_BYTES, LINES_MAX, Layout, Line, PAGE_RECORDS};
use super::record::{DidFields, DidRecord};
use super::row::Row;
use super::units::{UNITS_BYTES, Unit};

/// A page of so few rows is not cut to make lookups faster.
const CUT_RECORDS: usize = 64;
/// A run of consecutive numbers from which on it gets a page of its own.
const RUN_RECORDS: usize = 64;

/// Rows of neighbouring numbers.
#[derive(Clone)]
#[repr(align(64))]
pub(crate) struct Page {
    /// The unit in which each line but the first begins, where numbers have gaps; a line that is not there begins behind all
    /// units.
    starts: [[u8; UNITS_BYTES]; 2],
    first: u64,
    lines: Arc<[Line]>,
    identity: Identity,
    layout: Layout,
}

/// A larger head would take a third cache line for each page, and a lookup may have to wait for each.
const _: () = assert!(size_of::<Page>() == 2 * LINE_BYTES);

/// Where a row is within its page.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    line: usize,
    row: usize,
}

/// The first of these rows, as many as are to be one page, at least one, and their layout.
///
/// Where a page would begin with a long run of consecutive numbers and go on with others, it ends with the run, as a
/// page without gaps keeps no numbers. Where lines would begin so close to each other, compared with the whole, that a
/// lookup could not tell them apart, it ends before its widest gap.
pub(super) fn first_page(rows: &[(u64, DidRecord)]) -> (&[(u64, DidRecord)], Layout) {
    let rows = rows.get(..PAGE_RECORDS).unwrap_or(rows);
    let run = rows.chunk_by(|a, b| a.0 + 1 == b.0).next().unwrap_or_default();
    if run.len() >= RUN_RECORDS { (run, Layout::of(run)) } else { first_mixed_page(rows) }
}

/// The same, whether the rows begin with a run or not.
pub(super) fn first_mixed_page(rows: &[(u64, DidRecord)]) -> (&[(u64, DidRecord)], Layout) {
    let mut rows = rows.get(..PAGE_RECORDS).unwrap_or(rows);
    loop {
        let layout = Layout::of(rows);
        let fitting = layout.fitting(rows);
        if fitting < rows.len() {
            rows = rows.get(..fitting).unwrap_or(rows);
        } else if rows.len() <= CUT_RECORDS || !layout.has_gaps() || are_told_apart(rows, &layout) {
            return (rows, layout);
        } else {
            rows = rows.get(..widest_gap(rows)).unwrap_or(rows);
        }
    }
}

/// Whether no two lines of these rows begin in one unit.
fn are_told_apart(rows: &[(u64, DidRecord)], layout: &Layout) -> bool {
    let first = rows.first().map_or(0, |row| row.0);
    let starts = rows.iter().step_by(layout.line_rows()).map(|row| Unit::of(row.0 - first, layout.unit_bits));
    starts.is_sorted_by(|a, b| a < b)
}

/// How many rows are before the widest gap.
fn widest_gap(rows: &[(u64, DidRecord)]) -> usize {
    let gaps = rows.iter().zip(rows.iter().skip(1)).map(|(row, next)| next.0 - row.0);
    (1..).zip(gaps).max_by_key(|(_, gap)| *gap).map_or(rows.len(), |(len, _)| len)
}

impl Page {
    /// A page of these rows, by number, strictly ascending, as [`first_mixed_page`] lays them out. Which row each of them
    /// is, [`Page::identify`] says.
    pub(super) fn new(rows: &[(u64, DidRecord)], layout: Layout) -> Page {
        let first = rows.first().map_or(0, |row| row.0);
        let mut starts = [[0; UNITS_BYTES]; 2];
        let (slots, _) = starts.as_flattened_mut().as_chunks_mut();
        slots.fill(Unit::ABSENT.to_bytes());
        let lines = || rows.chunks(layout.line_rows());
        // The last slot stays absent: there are no more lines than slots.
        for (slot, line) in slots.iter_mut().take(LINES_MAX - 1).zip(lines().skip(1)) {
            *slot = Unit::of(line.first().map_or(0, |row| row.0 - first), layout.unit_bits).to_bytes();
        }
        let lines = lines().map(|rows| layout.line(rows)).collect();
        Page { starts, first, lines, identity: Identity::default(), layout }
    }

    /// The same page with the identities of its rows.
    pub(crate) fn identify(&mut self, rows: &[(u64, DidRecord)]) {
        self.identity = Identity::of(rows);
    }

    /// Its first number.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// Its last number.
    pub(crate) fn last(&self) -> u64 {
        self.len().checked_sub(1).map_or(self.first, |place| self.number(self.slot(place)))
    }

    pub(crate) fn len(&self) -> usize {
        self.lines.len().saturating_sub(1) * self.layout.line_rows() + self.layout.last_line_rows()
    }

    /// Bytes of the lines and of the identities, each with the counts of holders before it.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        // Lines begin at a multiple of their size, and the counts take one before.
        ((self.lines.len() + 1) * LINE_BYTES, self.identity.bytes())
    }

    /// Whether both are one page in memory.
    pub(crate) fn is_same(&self, other: &Page) -> bool {
        Arc::ptr_eq(&self.lines, &other.lines) && self.identity.is_same(&other.identity)
    }

    /// Whether a row of this page may name this organisation; the value is a place plus one.
    pub(crate) fn may_name(&self, organisation: u32) -> bool {
        self.layout.may_name(organisation)
    }

    /// The row of this number; `None` also for some rows that [`Page::find`] has to look for.
    ///
    /// No branch depends on how a comparison of numbers comes out, so that the processor never guesses wrongly.
    #[inline(always)]
    pub(crate) fn find_soon(&self, number: u64) -> Option<Row<'_>> {
        // What is below the first is farther away than any unit.
        let distance = number.wrapping_sub(self.first);
        let units = distance.wrapping_shr(u32::from(self.layout.unit_bits));
        if units >= u64::from(self.layout.units) {
            return None;
        }
        if self.layout.kind == Kind::Tagged {
            let line = Unit::cut(units).begun(&self.starts);
            self.layout.find_soon(self.lines.get(line)?, number)
        } else if self.layout.kind == Kind::Consecutive {
            let slot = self.slot(usize::from(u16::try_from(distance).ok()?));
            Some(self.layout.consecutive(self.lines.get(slot.line)?, slot.row))
        } else {
            None
        }
    }

    /// Where the row of this number is.
    pub(crate) fn find(&self, number: u64) -> Option<Slot> {
        let distance = number.checked_sub(self.first)?;
        if !self.layout.has_gaps() {
            let place = usize::try_from(distance).ok().filter(|place| *place < self.len())?;
            return Some(self.slot(place));
        }
        let units = distance >> self.layout.unit_bits;
        if units >= u64::from(self.layout.units) {
            return None;
        }
        let mut line = Unit::cut(units).begun(&self.starts);
        // Of several lines that begin within one unit any may have it.
        loop {
            let slots = (0..self.rows_of(line)).map(|row| Slot { line, row });
            if let Some(slot) = slots.into_iter().find(|slot| self.number(*slot) == number) {
                return Some(slot);
            }
            if self.begin(line) >> self.layout.unit_bits != units {
                return None;
            }
            line = line.checked_sub(1)?;
        }
    }

    /// Rows of a line.
    fn rows_of(&self, line: usize) -> usize {
        let is_last = line + 1 >= self.lines.len();
        if is_last { self.layout.last_line_rows() } else { self.layout.line_rows() }
    }

    /// The distance from the first number at which a line begins, in a page with gaps.
    fn begin(&self, line: usize) -> u64 {
        let starts = self.starts.as_flattened().as_chunks().0;
        let start = line.checked_sub(1).and_then(|before| starts.get(before));
        start.map_or(0, |bytes| Unit::from_bytes(*bytes).begin(self.layout.unit_bits))
    }

    /// What a lookup needs of a row.
    #[inline]
    pub(crate) fn fields(&self, slot: Slot) -> DidFields {
        self.lines.get(slot.line).map_or_else(DidFields::default, |line| self.layout.fields(line, slot.row))
    }

    /// A whole row.
    pub(crate) fn record(&self, slot: Slot) -> DidRecord {
        let (key, updated_at_s) = self.identity.at(slot.line * self.layout.line_rows() + slot.row);
        DidRecord { key, updated_at_s, fields: self.fields(slot) }
    }

    /// Every number and row.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (u64, DidRecord)> + '_ {
        self.slots().map(|slot| (self.number(slot), self.record(slot)))
    }

    /// Every number and what a lookup needs of its row.
    pub(crate) fn fields_of_all(&self) -> impl Iterator<Item = (u64, DidFields)> + '_ {
        self.slots().map(|slot| (self.number(slot), self.fields(slot)))
    }

    fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        (0..self.len()).map(|place| self.slot(place))
    }

    #[inline]
    fn slot(&self, place: usize) -> Slot {
        let line = place.checked_div(self.layout.line_rows()).unwrap_or(0);
        Slot { line, row: place.wrapping_sub(line.wrapping_mul(self.layout.line_rows())) }
    }

    fn number(&self, slot: Slot) -> u64 {
        if !self.layout.has_gaps() {
            return self.first + (slot.line * self.layout.line_rows() + slot.row) as u64;
        }
        let begin = self.first + self.begin(slot.line);
        self.lines.get(slot.line).map_or(begin, |line| self.layout.number(line, slot.row, begin))
    }
}
