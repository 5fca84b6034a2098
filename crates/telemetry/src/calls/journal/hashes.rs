//! Hashes of what the journal's calls are found by.

use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

/// 2^64 over the golden ratio: it spreads what is near.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// A hash of a Call-ID: every message has one. Two that hash alike cost no more than that the older one is not found.
pub(super) fn hash_of(seed: u64, call_id: &[u8]) -> u64 {
    let mixed = |hash: u64, word: u64| (hash ^ word).wrapping_mul(FACTOR).rotate_left(29);
    let (words, rest) = call_id.as_chunks::<8>();
    let hash = words.iter().fold(seed, |hash, word| mixed(hash, u64::from_le_bytes(*word)));
    let last = rest.iter().fold(0, |last: u64, byte| (last << 8) | u64::from(*byte));
    let hash = mixed(mixed(hash, last), u64::try_from(call_id.len()).unwrap_or(u64::MAX));
    (hash ^ (hash >> 32)).wrapping_mul(FACTOR)
}

/// Makes the hashes of what is a hash already.
pub type BuildAsItIs = BuildHasherDefault<AsItIs>;

/// The hash of what is a hash already, as a call's key is.
#[derive(Debug, Default)]
pub struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash_of(self.0, bytes);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = u64::try_from((hash ^ (hash >> 64)) & u128::from(u64::MAX)).unwrap_or_default();
    }
}

/// Makes the hashes of numbers: nobody outside knows what with.
#[derive(Debug)]
pub(super) struct Seeded(pub(super) u64);

impl BuildHasher for Seeded {
    type Hasher = Spread;

    fn build_hasher(&self) -> Spread {
        Spread(self.0)
    }
}

/// The hash of a number.
#[derive(Debug)]
pub(super) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash_of(self.0, bytes);
    }

    fn write_u64(&mut self, number: u64) {
        let spread = (number ^ self.0).wrapping_mul(FACTOR);
        self.0 = spread ^ (spread >> 32);
    }
}
