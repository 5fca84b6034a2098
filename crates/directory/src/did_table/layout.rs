//! How the rows of a page are written: which columns take how many bits, and how many rows share a cache line.

use super::record::{DidFields, DidRecord, Marks};
use super::units::{UNITS, UNITS_BYTES, Unit};

/// Bytes of a cache line.
pub(super) const LINE_BYTES: usize = 64;
/// The most rows in a page.
pub(super) const PAGE_RECORDS: usize = 512;
/// The most lines of a page whose numbers have gaps: a lookup compares where all of them begin.
pub(super) const LINES_MAX: usize = 2 * UNITS;
/// The most rows in a line of a page without gaps.
const LINE_ROWS_MAX: usize = 64;
/// The most bits that one load of 8 bytes holds, wherever they begin.
const LOADED_BITS: u8 = 57;
/// What a page writes of its rows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Fields alone, as the numbers have no gaps.
    Consecutive,
    /// Tags and entries.
    Tagged,
    /// Either, but with entries that one load may not hold.
    Wide,
}

/// How the rows of one page are written.
///
/// A line of a page with gaps has a tag for each of its rows, its number's distance from where the line begins in units
/// of two to the power of `low_bits`, and an entry for each, with the rest of the distance and the fields. A line of a page
/// without gaps has entries with fields alone. The first entry ends with the line, and the others stand before it.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    organisation_base: u32,
    organisation_mask: u32,
    call_limit_base: u32,
    provider_base: u16,
    provider_mask: u16,
    len: u16,
    pub(super) has_gaps: bool,
    pub(super) kind: Kind,
    marks_base: u8,
    marks_mask: u8,
    marks_bits: u8,
    provider_bits: u8,
    call_limit_bits: u8,
    low_bits: u8,
    entry_bits: u8,
    /// Rows in each line but the last.
    line_rows: u8,
    /// Lines begin at distances that are multiples of two to the power of this.
    pub(super) unit_bits: u8,
}

/// A cache line of rows.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Line([u8; LINE_BYTES]);

/// The least of some values, and the bits of a distance from it.
struct Spread {
    base: u32,
    bits: u8,
}

impl Layout {
    /// The layout of these rows: at least one, at most [`PAGE_RECORDS`], by number, strictly ascending.
    pub(super) fn of(rows: &[(u64, DidRecord)]) -> Layout {
        let span = span_of(rows);
        let has_gaps = span + 1 != rows.len() as u64;
        let spread = |value: fn(&DidFields) -> u32| Spread::of(rows.iter().map(|row| value(&row.1.fields)));
        let marks = spread(|fields| u32::from(fields.marks.0));
        let provider = spread(|fields| u32::from(fields.provider));
        let call_limit = spread(|fields| fields.call_limit);
        let organisation = spread(|fields| fields.organisation);
        let fields_bits = marks.bits + provider.bits + call_limit.bits + organisation.bits;
        let unit_bits = Unit::bits_for(span);
        let (line_rows, low_bits) = match has_gaps {
            false => ((LINE_BYTES * 8).checked_div(usize::from(fields_bits)).unwrap_or(LINE_ROWS_MAX), 0),
            true => rows_of_line(rows, unit_bits, fields_bits),
        };
        Layout {
            organisation_base: organisation.base,
            organisation_mask: organisation.mask(),
            call_limit_base: call_limit.base,
            provider_base: narrow(provider.base),
            provider_mask: narrow(provider.mask()),
            len: u16::try_from(rows.len()).unwrap_or(u16::MAX),
            has_gaps,
            kind: match has_gaps {
                _ if low_bits + fields_bits > LOADED_BITS => Kind::Wide,
                true => Kind::Tagged,
                false => Kind::Consecutive,
            },
            marks_base: narrow(marks.base),
            marks_mask: narrow(marks.mask()),
            marks_bits: marks.bits,
            provider_bits: provider.bits,
            call_limit_bits: call_limit.bits,
            low_bits,
            entry_bits: low_bits + fields_bits,
            line_rows: u8::try_from(line_rows.min(LINE_ROWS_MAX)).unwrap_or(u8::MAX),
            unit_bits,
        }
    }

    /// Rows in each line but the last.
    pub(super) fn line_rows(&self) -> usize {
        usize::from(self.line_rows)
    }

    /// How many rows it is the layout of.
    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// How many of the rows that it is the layout of a page can have: those of a page with gaps have to share few lines.
    pub(super) fn fitting(&self) -> usize {
        let most = if self.has_gaps { LINES_MAX * self.line_rows() } else { PAGE_RECORDS };
        most.min(self.len())
    }

    /// Whether a row of this page may name this organisation; the value is a place plus one.
    pub(super) fn may_name(&self, organisation: u32) -> bool {
        organisation.checked_sub(self.organisation_base).is_some_and(|above| above <= self.organisation_mask)
    }

    /// Writes the row of a line; `distance` is from where the line begins.
    pub(super) fn write(&self, line: &mut Line, row: usize, distance: u64, fields: &DidFields) {
        let mut at = self.entry_at(row);
        if self.has_gaps {
            line.put_tag(row, Unit::of(distance, self.low_bits));
            line.put(at, distance & self.low_mask());
            at += usize::from(self.low_bits);
        }
        line.put(at, u64::from(fields.marks.0 - self.marks_base));
        at += usize::from(self.marks_bits);
        line.put(at, u64::from(fields.provider - self.provider_base));
        at += usize::from(self.provider_bits);
        line.put(at, u64::from(fields.call_limit - self.call_limit_base));
        at += usize::from(self.call_limit_bits);
        line.put(at, u64::from(fields.organisation - self.organisation_base));
    }

    /// The fields of the row of a line whose number has this distance from where the line begins, for pages of
    /// [`Kind::Tagged`]; `None` also where the row that it seems to be is another.
    #[inline(always)]
    pub(super) fn find_soon(&self, line: &Line, distance: u64) -> Option<DidFields> {
        let wanted = Unit::of(distance, self.low_bits);
        let row = line.last_begun(wanted);
        let packed = line.ending(row.wrapping_mul(usize::from(self.entry_bits)), self.entry_bits)?;
        let is_it = line.tag(row)? == wanted && (packed ^ distance) & self.low_mask() == 0;
        is_it.then(|| self.unpacked(packed.wrapping_shr(u32::from(self.low_bits))))
    }

    /// The fields of a row of a line, for pages of [`Kind::Consecutive`].
    #[inline(always)]
    pub(super) fn consecutive(&self, line: &Line, row: usize) -> DidFields {
        self.unpacked(line.bits(self.entry_at(row)))
    }

    /// The row of a line, in a page with gaps, whose number has this distance from where the line begins.
    pub(super) fn find(&self, line: &Line, distance: u64) -> Option<usize> {
        let wanted = Unit::of(distance, self.low_bits);
        let mut row = line.last_begun(wanted);
        // Rows within one unit look alike until here.
        while line.tag(row) == Some(wanted) {
            if (line.bits(self.entry_at(row)) ^ distance) & self.low_mask() == 0 {
                return Some(row);
            }
            row = row.checked_sub(1)?;
        }
        None
    }

    /// The distance of a row from where its line begins, in a page with gaps.
    pub(super) fn distance(&self, line: &Line, row: usize) -> u64 {
        let low = line.bits(self.entry_at(row)) & self.low_mask();
        line.tag(row).map_or(0, |tag| tag.begin(self.low_bits)) | low
    }

    /// What a lookup needs of a row of a line.
    #[inline]
    pub(super) fn fields(&self, line: &Line, row: usize) -> DidFields {
        let at = self.entry_at(row).wrapping_add(usize::from(self.low_bits));
        let fields = self.unpacked(line.bits(at));
        if self.kind != Kind::Wide {
            return fields;
        }
        let before = usize::from(self.marks_bits) + usize::from(self.provider_bits) + usize::from(self.call_limit_bits);
        let organisation = low_half(line.bits(at + before)) & self.organisation_mask;
        DidFields { organisation: self.organisation_base.wrapping_add(organisation), ..fields }
    }

    /// The fields whose bits these are. All but the organisation's are 56 at most, so that one load holds them.
    #[inline(always)]
    fn unpacked(&self, packed: u64) -> DidFields {
        // Unchecked, as every lookup does this: no width is above what it is a width of.
        let [marks, ..] = packed.to_le_bytes();
        let packed = packed.wrapping_shr(u32::from(self.marks_bits));
        let [p0, p1, ..] = packed.to_le_bytes();
        let mut packed = packed.wrapping_shr(u32::from(self.provider_bits));
        let mut call_limit = self.call_limit_base;
        if self.call_limit_bits > 0 {
            let mask = !u64::MAX.wrapping_shl(u32::from(self.call_limit_bits));
            call_limit = call_limit.wrapping_add(low_half(packed & mask));
            packed = packed.wrapping_shr(u32::from(self.call_limit_bits));
        }
        DidFields {
            organisation: self.organisation_base.wrapping_add(low_half(packed) & self.organisation_mask),
            call_limit,
            provider: self.provider_base.wrapping_add(u16::from_le_bytes([p0, p1]) & self.provider_mask),
            marks: Marks(self.marks_base.wrapping_add(marks & self.marks_mask)),
        }
    }

    #[inline(always)]
    fn low_mask(&self) -> u64 {
        !u64::MAX.wrapping_shl(u32::from(self.low_bits))
    }

    /// The bit of a line at which a row's entry begins.
    #[inline]
    fn entry_at(&self, row: usize) -> usize {
        let end = (LINE_BYTES * 8).wrapping_sub(row.wrapping_mul(usize::from(self.entry_bits)));
        end.wrapping_sub(usize::from(self.entry_bits))
    }
}

impl Spread {
    fn of(values: impl Iterator<Item = u32> + Clone) -> Spread {
        let base = values.clone().min().unwrap_or_default();
        let most = values.max().unwrap_or_default();
        Spread { base, bits: u8::try_from(u32::BITS - (most - base).leading_zeros()).unwrap_or_default() }
    }

    fn mask(&self) -> u32 {
        u32::MAX.checked_shr(u32::BITS - u32::from(self.bits)).unwrap_or_default()
    }
}

impl Line {
    /// A line without rows of a page with gaps or of one without.
    pub(super) fn new(has_gaps: bool) -> Line {
        let mut line = Line([0; LINE_BYTES]);
        if has_gaps {
            (0..UNITS).for_each(|row| line.put_tag(row, Unit::ABSENT));
        }
        line
    }

    fn put_tag(&mut self, row: usize, tag: Unit) {
        if let Some(bytes) = self.0.as_chunks_mut().0.get_mut(row) {
            *bytes = tag.to_bytes();
        }
    }

    #[inline(always)]
    fn tag(&self, row: usize) -> Option<Unit> {
        let bytes = self.0.as_chunks().0.get(row)?;
        Some(Unit::from_bytes(*bytes))
    }

    /// The last row whose tag is not above this one; the first row, where all are above.
    #[inline(always)]
    fn last_begun(&self, wanted: Unit) -> usize {
        self.0.first_chunk().map_or(0, |tags| wanted.last_begun(tags))
    }

    /// The bits that end so many bits before the line does, of which there are at most [`LOADED_BITS`].
    #[inline(always)]
    fn ending(&self, before: usize, bits: u8) -> Option<u64> {
        let chunk = self.0.get((LINE_BYTES - 8).wrapping_sub(before / 8)..)?.first_chunk()?;
        let (skipped, unused) = (u32::try_from(before % 8).unwrap_or(0), 64_u8.wrapping_sub(bits));
        Some(u64::from_le_bytes(*chunk).wrapping_shl(skipped).wrapping_shr(u32::from(unused)))
    }

    /// The bits from one on: at least [`LOADED_BITS`], or all to the line's end.
    #[inline]
    fn bits(&self, at: usize) -> u64 {
        let byte = window(at);
        let loaded = self.0.get(byte..).and_then(|rest| rest.first_chunk());
        let shift = u32::try_from(at.wrapping_sub(byte.wrapping_mul(8)) & 63).unwrap_or(0);
        loaded.map_or(0, |chunk| u64::from_le_bytes(*chunk)).wrapping_shr(shift)
    }

    /// Puts a value of at most [`LOADED_BITS`], none of which are set yet, where it ends within the line.
    fn put(&mut self, at: usize, value: u64) {
        if value == 0 {
            // It may have no bits, and stand behind the last of the line.
            return;
        }
        let byte = window(at);
        let Some(chunk) = self.0.get_mut(byte..).and_then(|rest| rest.first_chunk_mut()) else { return };
        *chunk = (u64::from_le_bytes(*chunk) | value << (at - byte * 8)).to_le_bytes();
    }
}

/// The byte from which on eight hold a bit of a line.
#[inline]
fn window(bit: usize) -> usize {
    (bit / 8).min(LINE_BYTES - 8)
}

/// How many rows share a line, and how many bits an entry needs for the rest of a distance.
fn rows_of_line(rows: &[(u64, DidRecord)], unit_bits: u8, fields_bits: u8) -> (usize, u8) {
    let first = rows.first().map_or(0, |row| row.0);
    let extent = |line: &[(u64, DidRecord)]| {
        let [start, end] = [line.first(), line.last()].map(|row| row.map_or(0, |row| row.0 - first));
        end - (start >> unit_bits << unit_bits)
    };
    let fitting = (1..=UNITS).rev().find_map(|line_rows| {
        let low_bits = Unit::bits_for(rows.chunks(line_rows).map(extent).max().unwrap_or_default());
        let bits = line_rows * (usize::from(low_bits) + usize::from(fields_bits));
        (bits <= (LINE_BYTES - UNITS_BYTES) * 8).then_some((line_rows, low_bits))
    });
    // An entry takes 123 bits at most, so that two always fit.
    fitting.unwrap_or((1, 0))
}

/// Distance from the first number to the last.
fn span_of(rows: &[(u64, DidRecord)]) -> u64 {
    rows.last().map_or(0, |row| row.0) - rows.first().map_or(0, |row| row.0)
}

fn low_half(value: u64) -> u32 {
    let [b0, b1, b2, b3, ..] = value.to_le_bytes();
    u32::from_le_bytes([b0, b1, b2, b3])
}

fn narrow<T: TryFrom<u32> + Default>(value: u32) -> T {
    T::try_from(value).unwrap_or_default()
}
