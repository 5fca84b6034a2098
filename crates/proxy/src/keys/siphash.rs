//! SipHash with 128 bits (Aumasson and Bernstein, 2012): a keyed hash that costs little where little is hashed.

/// The hash of `bytes`, with `EACH` rounds for a word and `LAST` at the end of either half.
pub(super) fn hash<const EACH: usize, const LAST: usize>(key: [u64; 2], bytes: &[u8]) -> u128 {
    let [low, high] = key;
    let mut state = State([
        low ^ 0x736f_6d65_7073_6575,
        high ^ 0x646f_7261_6e64_6f6d ^ 0xee,
        low ^ 0x6c79_6765_6e65_7261,
        high ^ 0x7465_6462_7974_6573,
    ]);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state.add::<EACH>(u64::from_le_bytes(*word));
    }
    let [len, ..] = bytes.len().to_le_bytes();
    let mut word = [0, 0, 0, 0, 0, 0, 0, len];
    for (place, byte) in word.iter_mut().zip(rest) {
        *place = *byte;
    }
    state.add::<EACH>(u64::from_le_bytes(word));
    let low = state.end::<LAST>(2, 0xee);
    let high = state.end::<LAST>(1, 0xdd);
    u128::from(high) << 64 | u128::from(low)
}

struct State([u64; 4]);

impl State {
    #[inline(always)]
    fn add<const EACH: usize>(&mut self, word: u64) {
        let State([_, _, _, last]) = self;
        *last ^= word;
        for _ in 0..EACH {
            self.round();
        }
        let State([first, ..]) = self;
        *first ^= word;
    }

    #[inline(always)]
    fn end<const LAST: usize>(&mut self, at: usize, mark: u64) -> u64 {
        if let Some(part) = self.0.get_mut(at) {
            *part ^= mark;
        }
        for _ in 0..LAST {
            self.round();
        }
        self.0.iter().fold(0, |all, part| all ^ part)
    }

    #[inline(always)]
    fn round(&mut self) {
        let State([a, b, c, d]) = self;
        *a = a.wrapping_add(*b);
        *c = c.wrapping_add(*d);
        *b = b.rotate_left(13) ^ *a;
        *d = d.rotate_left(16) ^ *c;
        *a = a.rotate_left(32);
        *c = c.wrapping_add(*b);
        *a = a.wrapping_add(*d);
        *b = b.rotate_left(17) ^ *c;
        *d = d.rotate_left(21) ^ *a;
        *c = c.rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The authors' own vectors, for two rounds and four: byte n of key and input is n.
    #[test]
    fn the_vectors_of_its_authors_hold() {
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let input: Vec<u8> = (0..64).collect();
        for (len, hash_of_it) in [
            (0, "a3817f04ba25a8e66df67214c7550293"),
            (1, "da87c1d86b99af44347659119b22fc45"),
            (8, "3b62a9ba6258f5610f83e264f31497b4"),
        ] {
            let hash = hash::<2, 4>(key, input.get(..len).unwrap());
            let hex: String = hash.to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, hash_of_it, "{len}");
        }
    }
}
