//! How the rows of a page are written: which columns take how many bits, and how many rows share a cache line.

use super::record::{DidFields, DidRecord, Marks};
use super::row::Row;
use super::units::{UNITS, UNITS_BYTES, Unit, tagged};

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
/// Bits of a number in a tag.
const TAG_BITS: u8 = 16;
/// The most bits of a number behind its tag that a lookup compares at once.
const HIGH_BITS_MAX: u8 = 32;
/// The most bits of a provider's distance from the page's least in pages that a lookup reads at once.
const PROVIDER_BITS_MAX: u8 = 8;

/// What a page writes of its rows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Tags and entries.
    Tagged,
    /// Fields alone, as the numbers have no gaps.
    Consecutive,
    /// Fields alone, but not so that one load and short masks read them.
    WideConsecutive,
    /// Tags and entries, but not so that one load and short masks read an entry.
    WideTagged,
}

/// How the rows of one page are written.
///
/// A line of a page with gaps has an entry for each of its rows, from the first bit on, and behind all of them a tag for
/// each, which end with the line. A tag is the lowest 16 bits of the number; an entry begins with as many of the bits
/// above them as tell the line's numbers apart from all others between where the line begins and where the next one does,
/// and the fields follow. A line of a page without gaps has entries with fields alone.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    organisation_base: u32,
    organisation_mask: u32,
    call_limit_base: u32,
    /// Of as many ones as an entry has bits of its number.
    high_mask: u32,
    provider_base: u16,
    /// A number that is as many units from the first, or more, is behind all of the page.
    pub(super) units: u16,
    pub(super) kind: Kind,
    provider_mask: u8,
    marks_base: u8,
    marks_mask: u8,
    /// Where fields begin, counted from the first of them, the marks.
    provider_at: u8,
    organisation_at: u8,
    call_limit_bits: u8,
    high_bits: u8,
    entry_bits: u8,
    /// Rows in each line but the last.
    line_rows: u8,
    last_line_rows: u8,
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
        let (line_rows, high_bits) = match has_gaps {
            false => ((LINE_BYTES * 8).checked_div(usize::from(fields_bits)).unwrap_or(LINE_ROWS_MAX), 0),
            true => rows_of_line(rows, unit_bits, fields_bits),
        };
        let line_rows = line_rows.min(LINE_ROWS_MAX);
        let is_wide =
            high_bits + fields_bits > LOADED_BITS || high_bits > HIGH_BITS_MAX || provider.bits > PROVIDER_BITS_MAX;
        Layout {
            organisation_base: organisation.base,
            organisation_mask: organisation.mask(),
            call_limit_base: call_limit.base,
            high_mask: mask_of(high_bits.min(HIGH_BITS_MAX)),
            provider_base: narrow(provider.base),
            units: Unit::of(span, unit_bits).count() + 1,
            kind: match (has_gaps, is_wide) {
                (true, false) => Kind::Tagged,
                (false, false) => Kind::Consecutive,
                (true, true) => Kind::WideTagged,
                (false, true) => Kind::WideConsecutive,
            },
            provider_mask: narrow(mask_of(provider.bits.min(PROVIDER_BITS_MAX))),
            marks_base: narrow(marks.base),
            marks_mask: narrow(marks.mask()),
            provider_at: marks.bits,
            organisation_at: marks.bits + provider.bits + call_limit.bits,
            call_limit_bits: call_limit.bits,
            high_bits,
            entry_bits: high_bits + fields_bits,
            line_rows: u8::try_from(line_rows).unwrap_or(u8::MAX),
            last_line_rows: rows.chunks(line_rows).last().map_or(0, |rows| u8::try_from(rows.len()).unwrap_or(u8::MAX)),
            unit_bits,
        }
    }

    pub(super) fn has_gaps(&self) -> bool {
        matches!(self.kind, Kind::Tagged | Kind::WideTagged)
    }

    /// Rows in each line but the last.
    pub(super) fn line_rows(&self) -> usize {
        usize::from(self.line_rows)
    }

    /// Rows in the last line.
    pub(super) fn last_line_rows(&self) -> usize {
        usize::from(self.last_line_rows)
    }

    /// How many of these rows, which it is the layout of, a page can have: those with gaps have to share few lines.
    pub(super) fn fitting(&self, rows: &[(u64, DidRecord)]) -> usize {
        let most = if self.has_gaps() { LINES_MAX * self.line_rows() } else { PAGE_RECORDS };
        most.min(rows.len())
    }

    /// Whether a row of this page may name this organisation; the value is a place plus one.
    pub(super) fn may_name(&self, organisation: u32) -> bool {
        organisation.checked_sub(self.organisation_base).is_some_and(|above| above <= self.organisation_mask)
    }

    /// A line of these rows, of which there are at least one and at most [`Layout::line_rows`].
    pub(super) fn line(&self, rows: &[(u64, DidRecord)]) -> Line {
        let mut line = Line([0; LINE_BYTES]);
        for (row, (number, record)) in rows.iter().enumerate() {
            self.write(&mut line, row, *number, &record.fields);
        }
        if self.has_gaps() {
            // Where there is no row, the tag of the first is found there first.
            let first = rows.first().map_or(0, |row| row.0);
            let numbers = rows.iter().map(|row| row.0).chain(std::iter::repeat(first));
            (self.skipped_tags()..UNITS).zip(numbers).for_each(|(at, number)| line.put_tag(at, number));
        }
        line
    }

    fn write(&self, line: &mut Line, row: usize, number: u64, fields: &DidFields) {
        let mut at = self.entry_at(row);
        let mut put = |value: u64, bits: u8| {
            line.put(at, value);
            at += usize::from(bits);
        };
        put(number >> TAG_BITS & !u64::MAX.wrapping_shl(u32::from(self.high_bits)), self.high_bits);
        put(u64::from(fields.marks.0 - self.marks_base), self.provider_at);
        put(u64::from(fields.provider - self.provider_base), self.provider_bits());
        put(u64::from(fields.call_limit - self.call_limit_base), self.call_limit_bits);
        put(u64::from(fields.organisation - self.organisation_base), 0);
    }

    fn provider_bits(&self) -> u8 {
        self.organisation_at.wrapping_sub(self.call_limit_bits).wrapping_sub(self.provider_at)
    }

    /// Of the last [`UNITS`] tags that a line has room for, those that stand where entries are.
    fn skipped_tags(&self) -> usize {
        UNITS.saturating_sub(self.line_rows())
    }

    /// The row of a line that has this number, for pages of [`Kind::Tagged`]; `None` also for some rows that
    /// look like another until here. The number is not below where the line begins, and below where the next one does.
    #[inline(always)]
    pub(super) fn find_soon(&self, line: &Line, number: u64) -> Option<Row<'_>> {
        // The tags of the line's rows are the last.
        let rows = line.tagged(number).wrapping_shl(u32::from(self.line_rows)) >> UNITS;
        if rows == 0 {
            return None;
        }
        let entry = line.entry(rows.trailing_zeros().wrapping_mul(u32::from(self.entry_bits)) as usize)?;
        let is_it = low_half((number >> TAG_BITS) ^ entry) & self.high_mask == 0;
        is_it.then_some(Row::Packed(entry, self))
    }

    /// A row of a line, for pages of [`Kind::Consecutive`].
    #[inline(always)]
    pub(super) fn consecutive(&self, line: &Line, row: usize) -> Row<'_> {
        Row::Packed(line.bits(self.entry_at(row)), self)
    }

    /// The fields of an entry that [`Row::Packed`] has.
    #[inline]
    pub(super) fn fields_of(&self, entry: u64) -> DidFields {
        self.unpacked(entry.wrapping_shr(u32::from(self.high_bits)))
    }

    /// The number of a row of a line in a page with gaps; `begin` is where the line begins.
    pub(super) fn number(&self, line: &Line, row: usize, begin: u64) -> u64 {
        let high = line.bits(self.entry_at(row));
        let number = high << TAG_BITS | u64::from(line.tag(row + self.skipped_tags()));
        // All numbers of a line are as near to where it begins as these bits can tell.
        let mask = !u64::MAX.wrapping_shl(u32::from(self.high_bits + TAG_BITS));
        begin + (number.wrapping_sub(begin) & mask)
    }

    /// What a lookup needs of a row of a line.
    #[inline]
    pub(super) fn fields(&self, line: &Line, row: usize) -> DidFields {
        let at = self.entry_at(row).wrapping_add(usize::from(self.high_bits));
        let fields = self.unpacked(line.bits(at));
        if matches!(self.kind, Kind::Tagged | Kind::Consecutive) {
            return fields;
        }
        let column = |from: u8, bits: u8| low_half(line.bits(at + usize::from(from))) & mask_of(bits);
        let provider: u16 = narrow(column(self.provider_at, self.provider_bits()));
        let organisation = column(self.organisation_at, 32) & self.organisation_mask;
        DidFields {
            organisation: self.organisation_base.wrapping_add(organisation),
            provider: self.provider_base.wrapping_add(provider),
            ..fields
        }
    }

    /// The fields whose bits these are. All but the organisation's are 56 at most, so that one load holds them.
    #[inline]
    fn unpacked(&self, packed: u64) -> DidFields {
        // Unchecked, as every lookup does this: no width is above what it is a width of.
        let [marks, ..] = packed.to_le_bytes();
        let [provider, ..] = packed.wrapping_shr(u32::from(self.provider_at)).to_le_bytes();
        let mut call_limit = self.call_limit_base;
        if self.call_limit_bits > 0 {
            let above = packed.wrapping_shr(u32::from(self.organisation_at.wrapping_sub(self.call_limit_bits)));
            call_limit = call_limit.wrapping_add(low_half(above) & mask_of(self.call_limit_bits));
        }
        let organisation = low_half(packed.wrapping_shr(u32::from(self.organisation_at)));
        DidFields {
            organisation: self.organisation_base.wrapping_add(organisation & self.organisation_mask),
            call_limit,
            provider: self.provider_base.wrapping_add(u16::from(provider & self.provider_mask)),
            marks: Marks(self.marks_base.wrapping_add(marks & self.marks_mask)),
        }
    }

    /// The bit of a line at which a row's entry begins.
    #[inline]
    fn entry_at(&self, row: usize) -> usize {
        row.wrapping_mul(usize::from(self.entry_bits))
    }
}

impl Spread {
    fn of(values: impl Iterator<Item = u32> + Clone) -> Spread {
        let base = values.clone().min().unwrap_or_default();
        let most = values.max().unwrap_or_default();
        Spread { base, bits: u8::try_from(u32::BITS - (most - base).leading_zeros()).unwrap_or_default() }
    }

    fn mask(&self) -> u32 {
        mask_of(self.bits)
    }
}

impl Line {
    fn put_tag(&mut self, at: usize, number: u64) {
        if let Some(bytes) = self.0.as_chunks_mut().0.get_mut(UNITS + at) {
            let [b0, b1, ..] = number.to_le_bytes();
            *bytes = [b0, b1];
        }
    }

    fn tag(&self, at: usize) -> u16 {
        self.0.as_chunks().0.get(UNITS + at).map_or(0, |bytes| u16::from_le_bytes(*bytes))
    }

    /// Which of the last [`UNITS`] tags that a line has room for are this number's, as bits.
    #[inline(always)]
    fn tagged(&self, number: u64) -> u32 {
        let [b0, b1, ..] = number.to_le_bytes();
        self.0.last_chunk::<UNITS_BYTES>().map_or(0, |tags| tagged(tags, u16::from_le_bytes([b0, b1])))
    }

    /// At least [`LOADED_BITS`] from one on, for entries with tags behind them.
    #[inline(always)]
    fn entry(&self, at: usize) -> Option<u64> {
        let chunk = self.0.get(at / 8..)?.first_chunk()?;
        Some(u64::from_le_bytes(*chunk).wrapping_shr(u32::try_from(at % 8).unwrap_or(0)))
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

/// How many rows share a line, and how many bits of a number above its tag an entry needs.
fn rows_of_line(rows: &[(u64, DidRecord)], unit_bits: u8, fields_bits: u8) -> (usize, u8) {
    let first = rows.first().map_or(0, |row| row.0);
    let begin = |line: &[(u64, DidRecord)]| line.first().map_or(0, |row| (row.0 - first) >> unit_bits << unit_bits);
    let end = |line: &[(u64, DidRecord)]| line.last().map_or(0, |row| row.0 - first) + 1;
    let units_end = (span_of(rows) >> unit_bits).wrapping_add(1) << unit_bits;
    let fitting = (1..=UNITS).rev().find_map(|line_rows| {
        let lines = || rows.chunks(line_rows);
        // What is looked for in a line is below where the next one begins; its own rows may be above that.
        let nexts = lines().skip(1).map(begin).chain(std::iter::once(units_end));
        let extents = lines().zip(nexts).map(|(line, next)| next.max(end(line)) - begin(line));
        let bits = extents.max().map_or(0, |extent| u64::BITS - (extent - 1).leading_zeros());
        let high_bits = u8::try_from(bits).unwrap_or(u8::MAX).saturating_sub(TAG_BITS);
        let row_bits = usize::from(TAG_BITS) + usize::from(high_bits) + usize::from(fields_bits);
        (line_rows * row_bits <= LINE_BYTES * 8).then_some((line_rows, high_bits))
    });
    // An entry takes 122 bits at most, and its tag 16, so that three always fit.
    fitting.unwrap_or((1, 0))
}

/// Distance from the first number to the last.
fn span_of(rows: &[(u64, DidRecord)]) -> u64 {
    rows.last().map_or(0, |row| row.0) - rows.first().map_or(0, |row| row.0)
}

/// As many ones, at most 32.
#[inline]
fn mask_of(bits: u8) -> u32 {
    low_half(!u64::MAX.wrapping_shl(u32::from(bits)))
}

#[inline(always)]
fn low_half(value: u64) -> u32 {
    let [b0, b1, b2, b3, ..] = value.to_le_bytes();
    u32::from_le_bytes([b0, b1, b2, b3])
}

fn narrow<T: TryFrom<u32> + Default>(value: u32) -> T {
    T::try_from(value).unwrap_or_default()
}
