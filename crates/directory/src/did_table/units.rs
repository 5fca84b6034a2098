//! Sixteen short numbers looked at together: where lines begin in a page, and the tags of the rows of a line.
//!
//! Compilers make many single looks of a loop that compares many with one, so it is spelled out for the processors that
//! we know; the others take the plain way.

#[cfg(not(target_arch = "x86_64"))]
use plain::{above, equal};
#[cfg(target_arch = "x86_64")]
use x86::{above, equal};

/// How many units, or tags, are looked at together.
pub(super) const UNITS: usize = 16;
/// Their bytes.
pub(super) const UNITS_BYTES: usize = UNITS * size_of::<Unit>();
/// The greatest unit in use. What is not there stands behind it.
const UNIT_MAX: u64 = (u16::MAX - 2) as u64;

/// A distance in units of a power of two, so written that units compare as signed numbers do: those are what processors
/// compare several of at once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Unit(i16);

impl Unit {
    /// Behind all that is looked for.
    pub(super) const ABSENT: Unit = Unit(i16::MAX);

    /// The unit of a distance in units of two to the power of `bits`, which [`Unit::bits_for`] says.
    #[inline(always)]
    pub(super) fn of(distance: u64, bits: u8) -> Unit {
        Unit::cut(distance.wrapping_shr(u32::from(bits)))
    }

    /// This many units.
    #[inline(always)]
    pub(super) fn cut(units: u64) -> Unit {
        let [low, high, ..] = units.to_le_bytes();
        Unit(i16::from_le_bytes([low, high]) ^ i16::MIN)
    }

    /// How many units it is.
    pub(super) fn count(self) -> u16 {
        (self.0 ^ i16::MIN).cast_unsigned()
    }

    /// The distance at which the unit begins.
    pub(super) fn begin(self, bits: u8) -> u64 {
        u64::from(self.count()).wrapping_shl(u32::from(bits))
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

    pub(super) fn from_bytes(bytes: [u8; 2]) -> Unit {
        Unit(i16::from_le_bytes(bytes))
    }

    /// How many of these ascending units, the last of which is absent, are not above this one.
    #[inline(always)]
    pub(super) fn begun(self, units: &[[u8; UNITS_BYTES]; 2]) -> usize {
        let [lower, upper] = units;
        let above = above(lower, self.0) | above(upper, self.0) << UNITS;
        (above | 1 << (2 * UNITS - 1)).trailing_zeros() as usize
    }
}

/// Which of sixteen tags are this one, as bits, the first tag's lowest.
#[inline(always)]
pub(super) fn tagged(tags: &[u8; UNITS_BYTES], wanted: u16) -> u32 {
    equal(tags, wanted.cast_signed())
}

/// SSE2 is part of every x86-64.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use safe_arch::{
        cmp_eq_mask_i16_m128i, cmp_gt_mask_i16_m128i, load_unaligned_m128i, m128i, move_mask_i8_m128i,
        pack_i16_to_i8_m128i, set_splat_i16_m128i,
    };

    use super::UNITS_BYTES;

    /// Which units are above this one, as bits, the first unit's lowest.
    #[inline(always)]
    pub(super) fn above(units: &[u8; UNITS_BYTES], wanted: i16) -> u32 {
        compared(units, wanted, cmp_gt_mask_i16_m128i)
    }

    /// Which units are this one, as bits, the first unit's lowest.
    #[inline(always)]
    pub(super) fn equal(units: &[u8; UNITS_BYTES], wanted: i16) -> u32 {
        compared(units, wanted, cmp_eq_mask_i16_m128i)
    }

    #[inline(always)]
    fn compared(units: &[u8; UNITS_BYTES], wanted: i16, compare: impl Fn(m128i, m128i) -> m128i) -> u32 {
        let (Some(lower), Some(upper)) = (units.first_chunk(), units.last_chunk()) else { return 0 };
        let wanted = set_splat_i16_m128i(wanted);
        let [lower, upper] = [lower, upper].map(|units| compare(load_unaligned_m128i(units), wanted));
        move_mask_i8_m128i(pack_i16_to_i8_m128i(lower, upper)).cast_unsigned()
    }
}

#[cfg(any(test, not(target_arch = "x86_64")))]
mod plain {
    use super::UNITS_BYTES;

    pub(super) fn above(units: &[u8; UNITS_BYTES], wanted: i16) -> u32 {
        compared(units, |unit| unit > wanted)
    }

    pub(super) fn equal(units: &[u8; UNITS_BYTES], wanted: i16) -> u32 {
        compared(units, |unit| unit == wanted)
    }

    fn compared(units: &[u8; UNITS_BYTES], is_so: impl Fn(i16) -> bool) -> u32 {
        let bits = units.as_chunks().0.iter().map(|unit| u32::from(is_so(i16::from_le_bytes(*unit))));
        bits.rev().fold(0, |bits, bit| bits << 1 | bit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_ways_compare_alike() {
        for step in [0, 1, 7, 4_095] {
            let mut units = [0; UNITS_BYTES];
            for (unit, at) in units.as_chunks_mut().0.iter_mut().zip(0..) {
                *unit = if at < 13 { Unit::of(at * step, 0) } else { Unit::ABSENT }.to_bytes();
            }
            for wanted in (0..13).flat_map(|at| [at * step, at * step + 1, (at * step).saturating_sub(1), 65_533]) {
                let unit = Unit::of(wanted, 0);
                let begun = (0..13).filter(|at| at * step <= wanted).count();
                assert_eq!(unit.begun(&[units, [0xff; UNITS_BYTES].map(|byte| byte & 0x7f)]), begun);
                assert_eq!(plain::above(&units, unit.0), above(&units, unit.0));
                let are_it = (0..13).map(|at| u32::from(at * step == wanted) << at).sum();
                assert_eq!((plain::equal(&units, unit.0), equal(&units, unit.0)), (are_it, are_it));
            }
        }
    }

    #[test]
    fn a_unit_begins_at_or_before_its_distances() {
        for distance in [0, 1, 65_533, 65_534, 65_535, 65_536, 123_456_789, (1 << 50) - 1] {
            let bits = Unit::bits_for(distance);
            let unit = Unit::of(distance, bits);
            let begin = unit.begin(bits);
            assert!(begin <= distance && distance - begin < 1 << bits, "{distance}");
            assert_eq!((Unit::from_bytes(unit.to_bytes()), u64::from(unit.count()) << bits), (unit, begin));
            assert!(unit < Unit::ABSENT && u64::from(unit.count()) == distance >> bits);
        }
    }
}
