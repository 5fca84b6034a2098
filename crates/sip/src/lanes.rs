//! Sixteen bytes looked at together. Compilers make sixteen single looks of a loop that asks where something stands, so it is
//! spelled out for the processors that we know; the others take the plain way.

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::Lanes;

#[cfg(not(target_arch = "x86_64"))]
pub(crate) use plain::Lanes;

/// SSE2 is part of every x86-64.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use safe_arch::{
        bitor_m128i, cmp_eq_mask_i8_m128i, load_unaligned_m128i, m128i, min_u8_m128i, move_mask_i8_m128i,
        set_splat_i8_m128i, sub_i8_m128i,
    };

    /// Sixteen bytes, or sixteen answers.
    #[derive(Clone, Copy)]
    pub(crate) struct Lanes(m128i);

    impl Lanes {
        #[inline(always)]
        pub(crate) fn of(chunk: &[u8; 16]) -> Lanes {
            Lanes(load_unaligned_m128i(chunk))
        }

        /// Which bytes are this one.
        #[inline(always)]
        pub(crate) fn are(self, byte: u8) -> Lanes {
            Lanes(cmp_eq_mask_i8_m128i(self.0, set_splat_i8_m128i(byte.cast_signed())))
        }

        /// Which bytes are this one or below.
        #[inline(always)]
        pub(crate) fn up_to(self, byte: u8) -> Lanes {
            Lanes(cmp_eq_mask_i8_m128i(self.0, min_u8_m128i(self.0, set_splat_i8_m128i(byte.cast_signed()))))
        }

        /// Which bytes are from `first` to `last`, both included.
        #[inline(always)]
        pub(crate) fn between(self, first: u8, last: u8) -> Lanes {
            let from_first = Lanes(sub_i8_m128i(self.0, set_splat_i8_m128i(first.cast_signed())));
            from_first.up_to(last.wrapping_sub(first))
        }

        /// The bytes with the bit set that capital letters lack.
        #[inline(always)]
        pub(crate) fn folded(self) -> Lanes {
            Lanes(bitor_m128i(self.0, set_splat_i8_m128i(0x20)))
        }

        /// The other answer.
        #[inline(always)]
        pub(crate) fn not(self) -> Lanes {
            self.are(0)
        }

        /// Either answer.
        #[inline(always)]
        pub(crate) fn or(self, other: Lanes) -> Lanes {
            Lanes(bitor_m128i(self.0, other.0))
        }

        /// The answers as bits, the first byte's lowest.
        #[inline(always)]
        pub(crate) fn bits(self) -> u32 {
            move_mask_i8_m128i(self.0).cast_unsigned()
        }
    }
}

#[cfg(any(test, not(target_arch = "x86_64")))]
mod plain {
    /// Sixteen bytes, or sixteen answers.
    #[derive(Clone, Copy)]
    pub(crate) struct Lanes([u8; 16]);

    impl Lanes {
        pub(crate) fn of(chunk: &[u8; 16]) -> Lanes {
            Lanes(*chunk)
        }

        pub(crate) fn are(self, byte: u8) -> Lanes {
            self.answers(|found| found == byte)
        }

        pub(crate) fn up_to(self, byte: u8) -> Lanes {
            self.answers(|found| found <= byte)
        }

        pub(crate) fn between(self, first: u8, last: u8) -> Lanes {
            self.answers(|found| (first..=last).contains(&found))
        }

        pub(crate) fn folded(self) -> Lanes {
            Lanes(self.0.map(|byte| byte | 0x20))
        }

        pub(crate) fn not(self) -> Lanes {
            self.are(0)
        }

        pub(crate) fn or(self, other: Lanes) -> Lanes {
            let mut lanes = self.0;
            lanes.iter_mut().zip(other.0).for_each(|(lane, other)| *lane |= other);
            Lanes(lanes)
        }

        pub(crate) fn bits(self) -> u32 {
            self.0.iter().rev().fold(0, |bits, lane| bits << 1 | u32::from(lane >> 7))
        }

        fn answers(self, is: impl Fn(u8) -> bool) -> Lanes {
            Lanes(self.0.map(|byte| if is(byte) { u8::MAX } else { 0 }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Lanes, plain};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_ways_give_the_same_answers(chunk: [u8; 16], byte: u8, other in 0_u8..=255) {
            let (lanes, expected) = (Lanes::of(&chunk), plain::Lanes::of(&chunk));
            for byte in chunk.into_iter().chain([byte]) {
                prop_assert_eq!(lanes.are(byte).bits(), expected.are(byte).bits());
                prop_assert_eq!(lanes.up_to(byte).bits(), expected.up_to(byte).bits());
                let either = (lanes.are(byte).or(lanes.up_to(other)), expected.are(byte).or(expected.up_to(other)));
                prop_assert_eq!(either.0.bits(), either.1.bits());
                let (first, last) = (byte.min(other), byte.max(other));
                let within = (lanes.folded().between(first, last), expected.folded().between(first, last));
                prop_assert_eq!(within.0.bits(), within.1.bits());
                prop_assert_eq!(within.0.not().bits(), within.1.not().bits());
            }
        }
    }

    #[test]
    fn the_first_byte_has_the_lowest_bit() {
        let chunk = b"a,bcdefghijklmn,";
        assert_eq!(Lanes::of(chunk).are(b',').bits(), 0x8002);
        assert_eq!(plain::Lanes::of(chunk).are(b',').bits(), 0x8002);
        assert_eq!(Lanes::of(chunk).up_to(b'b').bits(), 0x8007);
    }
}
