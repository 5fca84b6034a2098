//! Sixteen short numbers looked at together: where lines begin in a page, and the tags of the rows of a line.
//!
//! Compilers make many single looks of a loop that asks how many are above another, so it is spelled out for the
//! processors that we know; the others take the plain way.

#[cfg(not(target_arch = "x86_64"))]
use plain::above;
#[cfg(target_arch = "x86_64")]
use x86::above;

/// How many units are looked at together.
pub(super) const UNITS: usize = 16;
/// Their bytes.
pub(super) const UNITS_BYTES: usize = UNITS * size_of::<Unit>();
/// The greatest unit in use. What is looked for farther away is looked for one unit behind it, where nothing is, and what
/// is not there stands one unit behind that.
const UNIT_MAX: u64 = (u16::MAX - 2) as u64;

/// A distance in units of a power of two, so written that units compare as signed numbers do: those are what processors
/// compare several of at once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Unit(i16);

impl Unit {
    /// Behind all that is looked for.
    pub(super) const ABSENT: Unit = Unit(i16::MAX);

    /// The unit of a distance in units of two to the power of `bits`, or one where nothing is.
    #[inline(always)]
    pub(super) fn of(distance: u64, bits: u8) -> Unit {
        Unit::cut(distance.wrapping_shr(u32::from(bits)).min(UNIT_MAX + 1), 0)
    }

    /// The same without the look whether the distance is too great: then it is any unit.
    #[inline(always)]
    pub(super) fn cut(distance: u64, bits: u8) -> Unit {
        let [low, high, ..] = distance.wrapping_shr(u32::from(bits)).to_le_bytes();
        Unit(i16::from_le_bytes([low, high]) ^ i16::MIN)
    }

    /// The distance at which the unit begins.
    #[inline(always)]
    pub(super) fn begin(self, bits: u8) -> u64 {
        u64::from((self.0 ^ i16::MIN).cast_unsigned()).wrapping_shl(u32::from(bits))
    }

    /// In units of two to the power of this no distance up to this one is too great.
    pub(super) fn bits_for(distance: u64) -> u8 {
        let bits = (u64::BITS - distance.leading_zeros()).saturating_sub(u16::BITS);
        u8::try_from(bits + u32::from(distance >> bits > UNIT_MAX)).unwrap_or_default()
    }

    /// As it stands among [`UNITS`].
    pub(super) fn to_bytes(self) -> [u8; 2] {
        self.0.to_le_bytes()
    }

    #[inline(always)]
    pub(super) fn from_bytes(bytes: [u8; 2]) -> Unit {
        Unit(i16::from_le_bytes(bytes))
    }

    /// The last of these ascending units that is not above this one; the first, where all are above.
    #[inline(always)]
    pub(super) fn last_begun(self, units: &[u8; UNITS_BYTES]) -> usize {
        (above(units, self.0) >> 1 | 1 << (UNITS - 1)).trailing_zeros() as usize
    }

    /// The same of twice as many.
    #[inline(always)]
    pub(super) fn last_begun_of_two(self, units: &[[u8; UNITS_BYTES]; 2]) -> usize {
        let [lower, upper] = units;
        let above = above(lower, self.0) | above(upper, self.0) << UNITS;
        (above >> 1 | 1 << (2 * UNITS - 1)).trailing_zeros() as usize
    }
}

/// SSE2 is part of every x86-64.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use safe_arch::{
        cmp_gt_mask_i16_m128i, load_unaligned_m128i, move_mask_i8_m128i, pack_i16_to_i8_m128i, set_splat_i16_m128i,
    };

    use super::UNITS_BYTES;

    /// Which units are above this one, as bits, the first unit's lowest.
    #[inline(always)]
    pub(super) fn above(units: &[u8; UNITS_BYTES], wanted: i16) -> u32 {
        let (Some(lower), Some(upper)) = (units.first_chunk(), units.last_chunk()) else { return 0 };
        let wanted = set_splat_i16_m128i(wanted);
        let [lower, upper] = [lower, upper].map(|units| cmp_gt_mask_i16_m128i(load_unaligned_m128i(units), wanted));
        move_mask_i8_m128i(pack_i16_to_i8_m128i(lower, upper)).cast_unsigned()
    }
}

#[cfg(any(test, not(target_arch = "x86_64")))]
mod plain {
    use super::UNITS_BYTES;

    pub(super) fn above(units: &[u8; UNITS_BYTES], wanted: i16) -> u32 {
        let bits = units.as_chunks().0.iter().map(|unit| u32::from(i16::from_le_bytes(*unit) > wanted));
        bits.rev().fold(0, |bits, bit| bits << 1 | bit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_ways_count_alike() {
        for step in [0, 1, 7, 4_095] {
            let mut units = [0; UNITS_BYTES];
            for (unit, at) in units.as_chunks_mut().0.iter_mut().zip(0..) {
                *unit = if at < 13 { Unit::of(at * step, 0) } else { Unit::ABSENT }.to_bytes();
            }
            for wanted in
                (0..13).flat_map(|at| [at * step, at * step + 1, (at * step).saturating_sub(1), 65_533, 1 << 40])
            {
                let unit = Unit::of(wanted, 0);
                let begun = (1..13).filter(|at| at * step <= wanted).count();
                assert_eq!((unit.last_begun(&units), plain::above(&units, unit.0)), (begun, above(&units, unit.0)));
                assert_eq!(unit.last_begun_of_two(&[units, [0xff; UNITS_BYTES].map(|byte| byte & 0x7f)]), begun);
            }
        }
    }

    #[test]
    fn a_unit_begins_at_or_before_its_distances() {
        for distance in [0, 1, 65_533, 65_534, 65_535, 65_536, 123_456_789, (1 << 50) - 1] {
            let bits = Unit::bits_for(distance);
            let begin = Unit::of(distance, bits).begin(bits);
            assert!(begin <= distance && distance - begin < 1 << bits, "{distance}");
            assert_eq!(Unit::from_bytes(Unit::of(distance, bits).to_bytes()), Unit::cut(distance, bits));
            assert!(Unit::of(distance, bits) < Unit::of(u64::MAX, bits) && Unit::of(u64::MAX, bits) < Unit::ABSENT);
        }
    }
}
