//! What identifies a transaction, and the branch that we derive from it.
//!
//! Both are one keyed MAC over the received top Via's branch and sent-by, the Call-ID, the CSeq number and the kind of
//! method. So the same request always gives the same branch: a restarted process recognises a response to it, and
//! derives the branch again for the CANCEL or ACK of that transaction (RFC 3261 16.11).

use crate::keys::{KeyRing, Use};
use sip::{CSeq, Method, Via};
use std::hash::{BuildHasherDefault, Hasher};

/// Bytes of a branch that we make.
pub(crate) const BRANCH_BYTES: usize = COOKIE.len() + 4 + MAC_CHARS + LOOP_CHARS;

const COOKIE: &[u8; 7] = b"z9hG4bK";
const MAC_CHARS: usize = 26;
const LOOP_CHARS: usize = 13;
/// What every branch of ours begins with: the cookie, and the format's version.
const BEGINNING: [u8; COOKIE.len() + 1] = *b"z9hG4bKa";
/// Letters of sixty bits, which fit into a word.
const SIXTY_BITS: usize = 12;
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// A received branch up to this length is compared without regard to case (RFC 3261 7.3.1).
const FOLDED_BYTES: usize = 128;

/// Identifies a transaction, or one attempt of it: the MAC itself.
pub(crate) type Key = u128;

/// The half of a key that an index goes by: any bits of a MAC are as good as any others, and whoever finds something by the half
/// compares the whole.
pub(crate) fn half(key: Key) -> u64 {
    u64::try_from(key & u128::from(u64::MAX)).unwrap_or(0)
}

/// The hash of a value that is a keyed MAC already: itself.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

pub(crate) type BuildAsIs = BuildHasherDefault<AsIs>;

/// What a request's transaction is told apart by (RFC 3261 17.2.3), with Call-ID and CSeq number beside the branch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity<'a> {
    pub(crate) via: &'a Via<'a>,
    /// The sent-by of `via`, as it stands on the wire.
    pub(crate) sent_by: &'a [u8],
    pub(crate) call_id: &'a [u8],
    pub(crate) cseq: CSeq<'a>,
    /// What RFC 2543 elements are matched by as well: the whole Via, the From tag, the request-URI.
    pub(crate) legacy: [&'a [u8]; 3],
}

impl Identity<'_> {
    /// The MAC of one attempt by the key of `key_id`, or by the active key. Attempt 0 is the server transaction's key.
    pub(crate) fn key(&self, keys: &KeyRing, key_id: Option<u8>, attempt: u8) -> Option<Key> {
        let number = self.cseq.number.to_le_bytes();
        let kind: &[u8] = match self.cseq.method {
            Method::Invite | Method::Ack | Method::Cancel => b"INVITE",
            _ => self.cseq.method_bytes,
        };
        let branch = self.via.branch.unwrap_or_default();
        let mut folded = [0; FOLDED_BYTES];
        let branch = fold(branch, &mut folded);
        let modern = [branch, self.sent_by, self.call_id, &number, kind, &[attempt]];
        let [via, from_tag, uri] = self.legacy;
        let old = [b"2543", via, from_tag, uri, self.call_id, &number, kind, &[attempt]];
        let parts: &[&[u8]] = if self.via.has_cookie() { &modern } else { &old };
        let mac = match key_id {
            Some(id) => keys.sign_with(id, Use::Branch, parts)?,
            None => keys.sign(Use::Branch, parts),
        };
        Some(u128::from_le_bytes(mac))
    }
}

fn fold<'f>(raw: &'f [u8], into: &'f mut [u8; FOLDED_BYTES]) -> &'f [u8] {
    let Some(space) = into.get_mut(..raw.len()) else { return raw };
    space.copy_from_slice(raw);
    // Whole chunks at once: what stands behind the branch is no letter.
    if let Some(chunks) = into.get_mut(..raw.len().next_multiple_of(16)) {
        chunks.make_ascii_lowercase();
    }
    into.get(..raw.len()).unwrap_or_default()
}

/// A branch of ours: which key made it, for which attempt, and what the request looked like when it came (loop check).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Branch {
    pub(crate) key_id: u8,
    pub(crate) attempt: u8,
    pub(crate) key: Key,
    pub(crate) loop_part: u64,
}

impl Branch {
    /// Appends the branch: the cookie, a version, then lower-case letters and digits only.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let low = |value: u128| u64::try_from(value & ((1 << 60) - 1)).unwrap_or(0);
        let mut text = [0; BRANCH_BYTES];
        let mut rest = text.as_mut_slice();
        put(&mut rest, &BEGINNING);
        put(&mut rest, &letters::<2>(self.key_id.into()));
        put(&mut rest, &letters::<1>(self.attempt.into()));
        put(&mut rest, &letters::<{ MAC_CHARS - 2 * SIXTY_BITS }>(low(self.key >> 120)));
        put(&mut rest, &letters::<SIXTY_BITS>(low(self.key >> 60)));
        put(&mut rest, &letters::<SIXTY_BITS>(low(self.key)));
        put(&mut rest, &letters::<{ LOOP_CHARS - SIXTY_BITS }>(self.loop_part >> 60));
        put(&mut rest, &letters::<SIXTY_BITS>(self.loop_part));
        out.extend_from_slice(&text);
    }

    /// Reads a branch; `None` when it is not one that we could have made. Case is no matter.
    pub(crate) fn parse(raw: &[u8]) -> Option<Branch> {
        let raw: &[u8; BRANCH_BYTES] = raw.try_into().ok()?;
        let (cookie, rest) = raw.split_first_chunk::<{ COOKIE.len() + 1 }>()?;
        if !cookie.eq_ignore_ascii_case(&BEGINNING) {
            return None;
        }
        let mut wrong = 0;
        let (key_id, rest) = number::<2>(rest, &mut wrong)?;
        let (attempt, rest) = number::<1>(rest, &mut wrong)?;
        let (high, rest) = number::<{ MAC_CHARS - 2 * SIXTY_BITS }>(rest, &mut wrong)?;
        let (middle, rest) = number::<SIXTY_BITS>(rest, &mut wrong)?;
        let (low, rest) = number::<SIXTY_BITS>(rest, &mut wrong)?;
        let (loop_high, rest) = number::<{ LOOP_CHARS - SIXTY_BITS }>(rest, &mut wrong)?;
        let (loop_low, _) = number::<SIXTY_BITS>(rest, &mut wrong)?;
        let is_one = wrong <= FIVE_ONES && high < 1 << 8 && loop_high < 1 << 4;
        let branch = Branch {
            key_id: u8::try_from(key_id).ok()?,
            attempt: u8::try_from(attempt).ok()?,
            key: (u128::from(high) << 120) | (u128::from(middle) << 60) | u128::from(low),
            loop_part: (loop_high << 60) | loop_low,
        };
        is_one.then_some(branch)
    }
}

/// Puts bytes at the beginning of what is left.
#[inline(always)]
fn put(rest: &mut &mut [u8], bytes: &[u8]) {
    if let Some((place, others)) = std::mem::take(rest).split_at_mut_checked(bytes.len()) {
        place.copy_from_slice(bytes);
        *rest = others;
    }
}

/// The lowest bits of a value, five in each letter, the highest first.
#[inline(always)]
fn letters<const COUNT: usize>(mut value: u64) -> [u8; COUNT] {
    let mut text = [0; COUNT];
    let (one, pairs) = text.as_rchunks_mut::<2>();
    for place in pairs.iter_mut().rev() {
        *place = PAIRS.get(usize::try_from(value & 1_023).unwrap_or(0)).copied().unwrap_or_default();
        value >>= 10;
    }
    if let [place] = one {
        *place = letter(value.into());
    }
    text
}

/// The two letters of each ten bits.
static PAIRS: [[u8; 2]; 1_024] = {
    let mut pairs = [[0; 2]; 1_024];
    let mut rest: &mut [[u8; 2]] = &mut pairs;
    let (mut highs, mut lows): (&[u8], &[u8]) = (ALPHABET, ALPHABET);
    while let ([high, more @ ..], [low, others @ ..], Some((first, places))) = (highs, lows, rest.split_first_mut()) {
        *first = [*high, *low];
        rest = places;
        (highs, lows) = if others.is_empty() { (more, ALPHABET.as_slice()) } else { (highs, others) };
    }
    pairs
};

/// The letter of a value's lowest five bits.
pub(crate) fn letter(value: u128) -> u8 {
    ALPHABET.get(usize::try_from(value & 31).unwrap_or(0)).copied().unwrap_or(b'a')
}

/// The value of up to twelve letters; makes `wrong` more than [`FIVE_ONES`] where one is none of ours.
#[inline(always)]
fn number<'r, const COUNT: usize>(raw: &'r [u8], wrong: &mut u8) -> Option<(u64, &'r [u8])> {
    let (letters, rest) = raw.split_first_chunk::<COUNT>()?;
    let value = letters.iter().fold(0, |value, letter| {
        let five = FIVE_BITS.get(usize::from(*letter)).copied().unwrap_or(NO_LETTER);
        *wrong |= five;
        (value << 5) | u64::from(five)
    });
    Some((value, rest))
}

const NO_LETTER: u8 = 0xFF;
const FIVE_ONES: u8 = 31;

/// The five bits of each letter, in either case.
static FIVE_BITS: [u8; 256] = {
    let mut table = [NO_LETTER; 256];
    let mut rest: &mut [u8] = &mut table;
    let mut byte = 0_u8;
    while let Some((first, others)) = rest.split_first_mut() {
        *first = match byte.to_ascii_lowercase() {
            letter @ b'a'..=b'z' => letter - b'a',
            figure @ b'2'..=b'7' => figure - b'2' + 26,
            _ => NO_LETTER,
        };
        byte = byte.wrapping_add(1);
        rest = others;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_branch_reads_back_in_any_case(key_id: u8, attempt in 0_u8..32, key: u128, loop_part: u64) {
            let branch = Branch { key_id, attempt, key, loop_part };
            let mut text = Vec::new();
            branch.write(&mut text);
            prop_assert_eq!(text.len(), BRANCH_BYTES);
            prop_assert_eq!(Branch::parse(&text), Some(branch));
            prop_assert_eq!(Branch::parse(&text.to_ascii_uppercase()), Some(branch));
        }

        #[test]
        fn a_strange_branch_is_never_read(raw in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Branch::parse(&raw);
        }
    }

    #[test]
    fn a_value_beyond_128_bits_is_refused() {
        let mut text = b"z9hG4bKaaaa".to_vec();
        text.extend(std::iter::repeat_n(b'7', MAC_CHARS + LOOP_CHARS));
        assert_eq!(Branch::parse(&text), None);
    }
}
