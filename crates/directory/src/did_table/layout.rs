//! How the rows of a page are written: which columns take how many bits, and how many rows fill a cache line.

use super::record::{DidFields, DidRecord, Marks};

/// Bytes of a cache line.
pub(super) const LINE_BYTES: usize = 64;
/// The most rows in a page.
pub(crate) const PAGE_RECORDS: usize = 256;
/// The most lines of a page whose numbers have gaps: a lookup compares where all of them begin.
pub(super) const LINES_MAX: usize = 24;
/// The most rows in a line of such a page: a lookup compares a byte of each.
pub(super) const LINE_TAGS_MAX: usize = 16;
/// Bits of that byte.
pub(super) const TAG_BITS: u32 = 8;

/// How the rows of one page are written.
///
/// A line of a page with gaps has a tag for each of its rows, the low byte of its number's distance from where the line
/// begins, and behind the tags an entry for each, with the rest of the distance and the fields. A line of a page without
/// gaps has entries with fields alone.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// Distance from the first number to the last.
    pub(super) span: u64,
    organisation: Field<u32>,
    call_limit: Field<u32>,
    provider: Field<u16>,
    marks: Field<u8>,
    provider_bits: u8,
    call_limit_bits: u8,
    marks_bits: u8,
    /// Bits of the fields before the organisation, and of all.
    smaller_bits: u8,
    fields_bits: u8,
    entry_bits: u8,
    /// Bits of an entry that are of the distance.
    distance_bits: u8,
    /// Lines begin at distances that are multiples of two to the power of this.
    pub(super) unit_bits: u8,
    pub(super) has_gaps: bool,
    pub(super) len: u16,
    /// Rows in each line but the last.
    pub(super) line_rows: u16,
    /// 65,536 divided by the rows in a line, and a little more, so that a product tells the line of a row.
    line_rows_inverse: u16,
    /// Bit of a line at which its entries begin.
    entries_at: u16,
}

/// How a value is written: its distance from `base`, in as many bits as `mask` has ones.
#[derive(Clone, Copy)]
struct Field<T> {
    base: T,
    mask: T,
}

/// A cache line of rows.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Line([u8; LINE_BYTES]);

impl Layout {
    /// The layout of these rows: at least one, at most [`PAGE_RECORDS`], by number, strictly ascending. `None` when they
    /// lie so far apart that they would take too many lines; of 64 rows and fewer that is never so.
    pub(super) fn of(rows: &[(u64, DidRecord)]) -> Option<Layout> {
        let first = rows.first().map_or(0, |row| row.0);
        let span = rows.last().map_or(0, |row| row.0).saturating_sub(first);
        let has_gaps = span + 1 != rows.len() as u64;
        let field = |value: fn(&DidFields) -> u32| Field::of(rows.iter().map(|row| value(&row.1.fields)));
        let marks = field(|fields| u32::from(fields.marks.0));
        let provider = field(|fields| u32::from(fields.provider));
        let call_limit = field(|fields| fields.call_limit);
        let organisation = field(|fields| fields.organisation);
        let smaller_bits = marks.bits() + provider.bits() + call_limit.bits();
        let fields_bits = smaller_bits + organisation.bits();
        let unit_bits = unit_bits_of(span);
        let (line_rows, distance_bits) = match has_gaps {
            false => (LINE_BITS.checked_div(fields_bits).map_or(PAGE_RECORDS, usize_of).min(PAGE_RECORDS), 0),
            true => rows_of_line(rows, unit_bits, fields_bits),
        };
        if has_gaps && rows.len().div_ceil(line_rows) > LINES_MAX {
            return None;
        }
        let small = |bits: u32| u8::try_from(bits).unwrap_or(u8::MAX);
        let medium = |value: usize| u16::try_from(value).unwrap_or(u16::MAX);
        Some(Layout {
            span,
            organisation,
            call_limit,
            provider: Field { base: narrow(provider.base), mask: narrow(provider.mask) },
            marks: Field { base: narrow(marks.base), mask: narrow(marks.mask) },
            provider_bits: small(provider.bits()),
            call_limit_bits: small(call_limit.bits()),
            marks_bits: small(marks.bits()),
            smaller_bits: small(smaller_bits),
            fields_bits: small(fields_bits),
            entry_bits: small(distance_bits + fields_bits),
            distance_bits: small(distance_bits),
            unit_bits: small(unit_bits),
            has_gaps,
            len: medium(rows.len()),
            line_rows: medium(line_rows),
            line_rows_inverse: medium(65_536 / line_rows + 1),
            entries_at: if has_gaps { medium(line_rows * usize_of(TAG_BITS)) } else { 0 },
        })
    }

    /// How many lines there are.
    pub(super) fn lines(&self) -> usize {
        usize::from(self.len).div_ceil(usize::from(self.line_rows))
    }

    /// The line of a row, by its place in the page.
    pub(super) fn line_of(&self, place: usize) -> usize {
        // Exact for places below 256. Unchecked, as every lookup of a page without gaps does this.
        place.wrapping_mul(usize::from(self.line_rows_inverse)).wrapping_shr(16)
    }

    /// The place in the page of the first row of a line.
    pub(super) fn place_of(&self, line: usize) -> usize {
        line.wrapping_mul(usize::from(self.line_rows))
    }

    /// Whether a row of this page may name this organisation; the value is a place plus one.
    pub(super) fn may_name(&self, organisation: u32) -> bool {
        organisation.checked_sub(self.organisation.base).is_some_and(|above| above <= self.organisation.mask)
    }

    /// Writes the row of a line; `distance` is from where the line begins.
    pub(super) fn write(&self, line: &mut Line, row: usize, distance: u64, fields: &DidFields) {
        if self.has_gaps
            && let Some(tag) = line.0.get_mut(row)
        {
            [*tag, ..] = distance.to_le_bytes();
        }
        let at = self.entry_at(row);
        if self.distance_bits > 0 {
            line.put(at, distance >> TAG_BITS);
        }
        let mut smaller = u64::from(fields.call_limit - self.call_limit.base);
        smaller = smaller << self.provider_bits | u64::from(fields.provider - self.provider.base);
        smaller = smaller << self.marks_bits | u64::from(fields.marks.0 - self.marks.base);
        let at = at + usize::from(self.distance_bits);
        line.put(at, smaller);
        line.put(at + usize::from(self.smaller_bits), u64::from(fields.organisation - self.organisation.base));
    }

    /// The row of a line whose number has this distance from where the line begins.
    pub(super) fn find(&self, line: &Line, distance: u64) -> Option<usize> {
        let [tag, ..] = distance.to_le_bytes();
        let mut rows = line.rows_tagged(tag);
        while rows != 0 {
            let row = usize_of(rows.trailing_zeros());
            if row >= usize::from(self.line_rows) {
                // No tag, but an entry that looks like one.
                return None;
            }
            if self.distance(line, row) == distance {
                return Some(row);
            }
            rows &= rows.wrapping_sub(1);
        }
        None
    }

    /// The distance of a row from where its line begins.
    pub(super) fn distance(&self, line: &Line, row: usize) -> u64 {
        let rest = line.bits(self.entry_at(row)) & !u64::MAX.wrapping_shl(u32::from(self.distance_bits));
        rest.wrapping_shl(TAG_BITS) | u64::from(line.0.get(row).copied().unwrap_or_default())
    }

    /// What a lookup needs of a row of a line.
    pub(super) fn fields(&self, line: &Line, row: usize) -> DidFields {
        let at = self.entry_at(row).wrapping_add(usize::from(self.distance_bits));
        let mut packed = line.bits(at);
        let low = |packed: u64| {
            let [b0, b1, b2, b3, ..] = packed.to_le_bytes();
            u32::from_le_bytes([b0, b1, b2, b3])
        };
        // Unchecked, as every lookup does this; all but the organisation have at most 56 bits.
        let [marks, ..] = packed.to_le_bytes();
        packed = packed.wrapping_shr(u32::from(self.marks_bits));
        let [p0, p1, ..] = packed.to_le_bytes();
        packed = packed.wrapping_shr(u32::from(self.provider_bits));
        let call_limit = low(packed);
        packed = packed.wrapping_shr(u32::from(self.call_limit_bits));
        if self.fields_bits > 56 {
            packed = line.bits(at.wrapping_add(usize::from(self.smaller_bits)));
        }
        DidFields {
            organisation: self.organisation.base.wrapping_add(low(packed) & self.organisation.mask),
            call_limit: self.call_limit.base.wrapping_add(call_limit & self.call_limit.mask),
            provider: self.provider.base.wrapping_add(u16::from_le_bytes([p0, p1]) & self.provider.mask),
            marks: Marks(self.marks.base.wrapping_add(marks & self.marks.mask)),
        }
    }

    fn entry_at(&self, row: usize) -> usize {
        usize::from(self.entries_at).wrapping_add(row.wrapping_mul(usize::from(self.entry_bits)))
    }
}

impl Field<u32> {
    fn of(values: impl Iterator<Item = u32> + Clone) -> Field<u32> {
        let base = values.clone().min().unwrap_or_default();
        let most = values.max().unwrap_or_default();
        let bits = u32::BITS - (most - base).leading_zeros();
        Field { base, mask: u32::MAX.checked_shr(u32::BITS - bits).unwrap_or_default() }
    }

    fn bits(self) -> u32 {
        self.mask.count_ones()
    }
}

impl Line {
    pub(super) const EMPTY: Line = Line([0; LINE_BYTES]);

    /// The bits from one on: at least 57, or all to the line's end; what is behind them is whatever follows.
    fn bits(&self, at: usize) -> u64 {
        let byte = window(at);
        let loaded = self.0.get(byte..).and_then(|rest| rest.first_chunk());
        let [shift, ..] = at.wrapping_sub(byte.wrapping_mul(8)).to_le_bytes();
        loaded.map_or(0, |chunk| u64::from_le_bytes(*chunk)).wrapping_shr(u32::from(shift))
    }

    /// Puts a value of at most 57 bits, none of which are set yet, where it ends within the line.
    fn put(&mut self, at: usize, value: u64) {
        if value == 0 {
            // It may have no bits, and stand behind the last of the line.
            return;
        }
        let byte = window(at);
        let Some(chunk) = self.0.get_mut(byte..).and_then(|rest| rest.first_chunk_mut()) else { return };
        *chunk = (u64::from_le_bytes(*chunk) | value << (at - byte * 8)).to_le_bytes();
    }

    /// A bit for each of the first 16 bytes: whether it is this one. One behind a byte that is may be set wrongly.
    fn rows_tagged(&self, tag: u8) -> u32 {
        const ONES: u64 = 0x0101_0101_0101_0101;
        /// Moves the lowest bit of each byte to its place in the highest byte.
        const GATHER: u64 = 0x0102_0408_1020_4080;
        let wanted = u64::from(tag).wrapping_mul(ONES);
        let tagged = |at: usize| {
            let loaded = self.0.get(at..).and_then(|rest| rest.first_chunk());
            let other = loaded.map_or(0, |chunk| u64::from_le_bytes(*chunk)) ^ wanted;
            let zeros = other.wrapping_sub(ONES) & !other & (ONES << 7);
            let [.., gathered] = (zeros >> 7).wrapping_mul(GATHER).to_le_bytes();
            u32::from(gathered)
        };
        tagged(0) | tagged(8) << 8
    }
}

const LINE_BITS: u32 = 512;

/// The byte from which on eight hold a bit of a line.
fn window(bit: usize) -> usize {
    (bit / 8).min(LINE_BYTES - 8)
}

/// How many rows fill a line, and how many bits an entry needs for the rest of a distance.
fn rows_of_line(rows: &[(u64, DidRecord)], unit_bits: u32, fields_bits: u32) -> (usize, u32) {
    let first = rows.first().map_or(0, |row| row.0);
    let widest = |line: &[(u64, DidRecord)]| {
        let [start, end] = [line.first(), line.last()].map(|row| row.map_or(0, |row| row.0 - first));
        end - begin_of(start, unit_bits)
    };
    let fitting = (1..=LINE_TAGS_MAX).rev().map(|line_rows| {
        let span = rows.chunks(line_rows).map(widest).max().unwrap_or_default();
        (line_rows, (u64::BITS - span.leading_zeros()).saturating_sub(TAG_BITS))
    });
    let is_fitting = |line_rows: usize, bits: u32| line_rows as u64 * u64::from(TAG_BITS + bits + fields_bits) <= 512;
    // An entry takes 130 bits at most, so that three always fit.
    fitting.into_iter().find(|(line_rows, bits)| is_fitting(*line_rows, *bits)).unwrap_or((1, 0))
}

/// Where a line begins whose first number has this distance.
pub(super) fn begin_of(distance: u64, unit_bits: u32) -> u64 {
    distance >> unit_bits << unit_bits
}

/// In units of two to the power of this every distance of a page is below the greatest of 16 bits.
fn unit_bits_of(span: u64) -> u32 {
    let bits = (u64::BITS - span.leading_zeros()).saturating_sub(u16::BITS);
    if span >> bits == u64::from(u16::MAX) { bits + 1 } else { bits }
}

fn narrow<T: TryFrom<u32> + Default>(value: u32) -> T {
    T::try_from(value).unwrap_or_default()
}

fn usize_of(value: u32) -> usize {
    value as usize
}
