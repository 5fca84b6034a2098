//! A page of the table: up to [`PAGE_RECORDS`] rows in order of their numbers, each column in the fewest bytes or bits
//! that tell its values apart within the page.
//!
//! The bytes are two parts. The lookup part has one entry for each row, its number's distance from the first and then
//! its fields in as many bits as they need; a lookup touches one or two cache lines of it. The identity part says which
//! row of the database each is; only changes, reports and snapshots read it.

use std::hint::select_unpredictable;
use std::sync::Arc;

use super::record::{DidFields, DidRecord, Marks};
use crate::row_key::RowKey;

/// The most rows in a page.
pub(crate) const PAGE_RECORDS: usize = 256;

/// Rows in a segment of a page: those that a lookup searches.
const SEGMENT_RECORDS: usize = 16;
/// Segments of a page but for the first.
const LATER_SEGMENTS: usize = PAGE_RECORDS / SEGMENT_RECORDS - 1;
/// Zeros behind the last entry, so that every field can be read with one load of 16 bytes.
const PADDING: usize = 16;

/// Bytes of the counts of holders that stand before shared bytes.
const COUNTS: usize = 2 * size_of::<usize>();

/// Rows of neighbouring numbers. Its first number is kept by whoever has the page.
#[derive(Clone)]
pub(crate) struct Page {
    /// Distance from the first number to the last.
    span: u64,
    len: u16,
    /// Bytes of a distance; 0 when the numbers have no gap.
    distance_bytes: u8,
    /// Bytes of the fields of one row.
    fields_bytes: u8,
    marks: Field,
    provider: Field,
    call_limit: Field,
    organisation: Field,
    /// The distance with which each later segment begins; a segment that is not there begins behind all numbers.
    segments: [i32; LATER_SEGMENTS],
    lookup: Arc<[u8]>,
    identity: Arc<[u8]>,
}

/// How a value is written: its distance from `base`, in `bits`.
#[derive(Clone, Copy)]
struct Field {
    base: u32,
    /// As many ones as there are bits.
    mask: u32,
    bits: u8,
}

impl Page {
    /// A page of these rows: at least one, at most [`PAGE_RECORDS`], by number, strictly ascending. Which row each of
    /// them is, [`Page::identify`] says.
    pub(crate) fn new(rows: &[(u64, DidRecord)]) -> Page {
        let first = rows.first().map_or(0, |row| row.0);
        let span = rows.last().map_or(0, |row| row.0).saturating_sub(first);
        let len = u16::try_from(rows.len()).unwrap_or(u16::MAX);
        let has_gaps = span + 1 != u64::from(len);
        let fields = |field: fn(&DidFields) -> u32| Field::of(rows.iter().map(|row| field(&row.1.fields)));
        let mut page = Page {
            span,
            len,
            distance_bytes: if has_gaps { bytes_of(u128::from(span)) } else { 0 },
            fields_bytes: 0,
            marks: fields(|fields| u32::from(fields.marks.0)),
            provider: fields(|fields| u32::from(fields.provider)),
            call_limit: fields(|fields| fields.call_limit),
            organisation: fields(|fields| fields.organisation),
            segments: [i32::MAX; LATER_SEGMENTS],
            lookup: Arc::default(),
            identity: Arc::default(),
        };
        let later_rows = rows.iter().step_by(SEGMENT_RECORDS).skip(1);
        for (segment, row) in page.segments.iter_mut().zip(later_rows) {
            *segment = i32::try_from(row.0 - first).unwrap_or(i32::MAX);
        }
        let bits = page.marks.bits + page.provider.bits + page.call_limit.bits + page.organisation.bits;
        page.fields_bytes = bits.div_ceil(8);
        let mut lookup = Vec::with_capacity(rows.len() * page.stride() + PADDING);
        for (number, record) in rows {
            append(&mut lookup, u128::from(number - first), page.distance_bytes);
            append(&mut lookup, page.packed(&record.fields), page.fields_bytes);
        }
        if has_gaps {
            // The last segment is as long as the others; what is not there is as far away as can be told.
            let missing = rows.len().next_multiple_of(SEGMENT_RECORDS) - rows.len();
            lookup.resize(lookup.len() + missing * page.stride(), u8::MAX);
        }
        lookup.extend_from_slice(&[0; PADDING]);
        page.lookup = lookup.into();
        page
    }

    /// The same page with the identities of its rows.
    pub(crate) fn identify(&mut self, rows: &[(u64, DidRecord)]) {
        self.identity = identity_of(rows);
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Bytes of the lookup part and of the identity part, each with the two counts before it.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        (self.lookup.len() + COUNTS, self.identity.len() + COUNTS)
    }

    /// Whether both are one page in memory.
    pub(crate) fn is_same(&self, other: &Page) -> bool {
        Arc::ptr_eq(&self.lookup, &other.lookup) && Arc::ptr_eq(&self.identity, &other.identity)
    }

    /// Whether a row of this page may name this organisation; the value is a place plus one.
    pub(crate) fn may_name(&self, organisation: u32) -> bool {
        let above = organisation.checked_sub(self.organisation.base);
        above.is_some_and(|above| u64::from(above) < 1 << self.organisation.bits)
    }

    /// The place of the row whose number has this distance from the first.
    ///
    /// No branch depends on how a comparison comes out, so that the processor never guesses wrongly: what a lookup in a
    /// large table waits for is memory, and mostly once.
    pub(crate) fn find(&self, distance: u64) -> Option<usize> {
        if distance > self.span {
            return None;
        }
        if self.distance_bytes == 0 {
            return usize::try_from(distance).ok();
        }
        let last = usize::from(self.len.checked_sub(1)?);
        let place = match (i32::try_from(self.span), i32::try_from(distance)) {
            (Ok(span), Ok(wanted)) if span < i32::MAX => {
                let earlier = |count: i32, start: &i32| count.wrapping_add(i32::from(*start <= wanted));
                let segment = usize::try_from(self.segments.iter().fold(0, earlier)).unwrap_or(0);
                let start = segment.wrapping_mul(SEGMENT_RECORDS);
                let is_past = |step: usize| usize::from(self.distance(start.wrapping_add(step)) <= distance);
                // Looked at together, so that all of the segment's memory is waited for at once.
                let quarter = is_past(4).wrapping_add(is_past(8)).wrapping_add(is_past(12));
                let halve = |place: usize, step: usize| {
                    let next = place.wrapping_add(step);
                    select_unpredictable(self.distance(next) <= distance, next, place)
                };
                let place = halve(halve(start.wrapping_add(quarter.wrapping_mul(4)), 2), 1);
                // What is not there may be told as the greatest distance of all, and be met where that is looked for.
                place.min(last)
            }
            _ => self.search(distance),
        };
        (self.distance(place) == distance).then_some(place)
    }

    /// The last place whose number has at most this distance: for pages too wide for [`Page::segments`].
    fn search(&self, distance: u64) -> usize {
        let (mut low, mut high) = (0, self.len());
        while high - low > 1 {
            let middle = low.midpoint(high);
            if self.distance(middle) <= distance {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The distance of the number at `place` from the first.
    fn distance(&self, place: usize) -> u64 {
        if self.distance_bytes == 0 {
            return place as u64;
        }
        // Nothing overflows: places are below 256 and strides below 20. Unchecked, as every lookup does this often.
        let unused_bits = 64_u32.wrapping_sub(u32::from(self.distance_bytes).wrapping_mul(8));
        load_u64(&self.lookup, place.wrapping_mul(self.stride())) & u64::MAX.wrapping_shr(unused_bits)
    }

    /// What a lookup needs of the row at `place`.
    pub(crate) fn fields(&self, place: usize) -> DidFields {
        let at = place.wrapping_mul(self.stride()).wrapping_add(usize::from(self.distance_bytes));
        // All but the organisation have at most 56 bits.
        let mut packed = load_u64(&self.lookup, at);
        let marks = self.marks.take(&mut packed);
        let provider = self.provider.take(&mut packed);
        let call_limit = self.call_limit.take(&mut packed);
        if self.fields_bytes > 8 {
            let before = self.marks.bits + self.provider.bits + self.call_limit.bits;
            let [.., l0, l1, l2, l3, l4, l5, l6, l7] = (load_u128(&self.lookup, at) << (64 - before)).to_le_bytes();
            packed = u64::from_le_bytes([l0, l1, l2, l3, l4, l5, l6, l7]);
        }
        let organisation = self.organisation.take(&mut packed);
        DidFields {
            organisation,
            call_limit,
            provider: u16::try_from(provider).unwrap_or_default(),
            marks: Marks(u8::try_from(marks).unwrap_or_default()),
        }
    }

    /// The whole row at `place`.
    pub(crate) fn record(&self, place: usize) -> DidRecord {
        let (key, updated_at_s) = identity_at(&self.identity, place);
        DidRecord { key, updated_at_s, fields: self.fields(place) }
    }

    /// Every number and row; `first` is the page's first number.
    pub(crate) fn rows(&self, first: u64) -> impl Iterator<Item = (u64, DidRecord)> + '_ {
        (0..self.len()).map(move |place| (first + self.distance(place), self.record(place)))
    }

    /// Every number and what a lookup needs of its row.
    pub(crate) fn fields_of_all(&self, first: u64) -> impl Iterator<Item = (u64, DidFields)> + '_ {
        (0..self.len()).map(move |place| (first + self.distance(place), self.fields(place)))
    }

    fn stride(&self) -> usize {
        usize::from(self.distance_bytes).wrapping_add(usize::from(self.fields_bytes))
    }

    fn packed(&self, fields: &DidFields) -> u128 {
        let mut packed = 0;
        let mut shift = 0;
        let values = [
            (self.marks, u32::from(fields.marks.0)),
            (self.provider, u32::from(fields.provider)),
            (self.call_limit, fields.call_limit),
            (self.organisation, fields.organisation),
        ];
        for (field, value) in values {
            packed |= u128::from(value - field.base) << shift;
            shift += field.bits;
        }
        packed
    }
}

impl Field {
    fn of(values: impl Iterator<Item = u32> + Clone) -> Field {
        let base = values.clone().min().unwrap_or_default();
        let most = values.max().unwrap_or_default();
        let bits = u32::BITS - (most - base).leading_zeros();
        let mask = u32::MAX.checked_shr(u32::BITS - bits).unwrap_or_default();
        Field { base, mask, bits: u8::try_from(bits).unwrap_or_default() }
    }

    /// Takes this field off the low end of `packed`.
    fn take(self, packed: &mut u64) -> u32 {
        let [b0, b1, b2, b3, ..] = packed.to_le_bytes();
        // Unchecked, as every lookup does this four times: no field has more than 32 bits.
        *packed = packed.wrapping_shr(u32::from(self.bits));
        self.base.wrapping_add(u32::from_le_bytes([b0, b1, b2, b3]) & self.mask)
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
