//! Which row of the database each row of a page is, and when that was changed last: what only changes, reports and
//! snapshots read.

use std::sync::Arc;

use super::record::DidRecord;
use crate::row_key::RowKey;

/// Bytes before the columns: the least key, the earliest time, how many rows there are, the bytes of a key's distance
/// from the least, and the bits of a time's from the earliest.
const HEAD: usize = 16 + 4 + 2 + 1 + 1;
/// Zeros behind the columns, so that every value can be read with one load of 16 bytes.
const PADDING: usize = 16;
/// Bytes before shared ones: two counts of holders, and where the bytes are.
const COUNTS: usize = 4 * size_of::<usize>();

/// The keys and the times of a page's rows, each in the fewest bytes and bits that tell them apart. One pointer, as the
/// head of a page has room for no more.
#[derive(Clone, Default)]
pub(super) struct Identity(Arc<Box<[u8]>>);

impl Identity {
    pub(super) fn of(rows: &[(u64, DidRecord)]) -> Identity {
        let keys = rows.iter().map(|row| row.1.key.bits());
        let times = rows.iter().map(|row| row.1.updated_at_s);
        let key_base = keys.clone().min().unwrap_or_default();
        let time_base = times.clone().min().unwrap_or_default();
        let key_span = keys.clone().max().unwrap_or_default() - key_base;
        let time_span = times.clone().max().unwrap_or_default() - time_base;
        let key_bytes = u8::try_from((u128::BITS - key_span.leading_zeros()).div_ceil(8)).unwrap_or_default();
        let time_bits = u8::try_from(u32::BITS - time_span.leading_zeros()).unwrap_or_default();
        let len = u16::try_from(rows.len()).unwrap_or(u16::MAX);
        let mut bytes = Vec::with_capacity(HEAD + rows.len() * (usize::from(key_bytes) + 4) + PADDING);
        bytes.extend_from_slice(&key_base.to_le_bytes());
        bytes.extend_from_slice(&time_base.to_le_bytes());
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(&[key_bytes, time_bits]);
        for key in keys {
            let distance = (key - key_base).to_le_bytes();
            bytes.extend_from_slice(distance.get(..usize::from(key_bytes)).unwrap_or_default());
        }
        let (mut waiting, mut waiting_bits) = (0_u64, 0);
        for time in times {
            waiting |= u64::from(time - time_base) << waiting_bits;
            waiting_bits += u32::from(time_bits);
            while waiting_bits >= 8 {
                let [byte, ..] = waiting.to_le_bytes();
                bytes.push(byte);
                waiting >>= 8;
                waiting_bits -= 8;
            }
        }
        bytes.extend(waiting.to_le_bytes().first().filter(|_| waiting_bits > 0));
        bytes.extend_from_slice(&[0; PADDING]);
        Identity(Arc::new(bytes.into()))
    }

    /// The key and the time of the row at `place`.
    pub(super) fn at(&self, place: usize) -> (RowKey, u32) {
        let [t0, t1, t2, t3, n0, n1, key_bytes, time_bits, ..] = load_u128(&self.0, 16).to_le_bytes();
        let key_bytes = usize::from(key_bytes);
        let key = low_bits(load_u128(&self.0, HEAD + place * key_bytes), key_bytes * 8);
        let times_at = HEAD + usize::from(u16::from_le_bytes([n0, n1])) * key_bytes;
        let bit = place * usize::from(time_bits);
        let time = low_bits(load_u128(&self.0, times_at + bit / 8) >> (bit % 8), usize::from(time_bits));
        let time_base = u32::from_le_bytes([t0, t1, t2, t3]);
        let key = load_u128(&self.0, 0).wrapping_add(key);
        (RowKey::from_bits(key), time_base.wrapping_add(u32::try_from(time).unwrap_or_default()))
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.len() + COUNTS
    }

    /// Whether both are one in memory.
    pub(super) fn is_same(&self, other: &Identity) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

fn low_bits(value: u128, bits: usize) -> u128 {
    let unused = u128::BITS - u32::try_from(bits).unwrap_or(u128::BITS).min(u128::BITS);
    value & u128::MAX.checked_shr(unused).unwrap_or_default()
}

fn load_u128(bytes: &[u8], at: usize) -> u128 {
    let loaded = bytes.get(at..).and_then(|rest| rest.first_chunk());
    loaded.map_or(0, |chunk| u128::from_le_bytes(*chunk))
}
