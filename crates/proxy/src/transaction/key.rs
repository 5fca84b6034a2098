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

const COOKIE: &[u8] = b"z9hG4bK";
/// The branch format's version: the first character after the cookie.
const VERSION: u8 = b'a';
const MAC_CHARS: usize = 26;
const LOOP_CHARS: usize = 13;
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// A received branch up to this length is compared without regard to case (RFC 3261 7.3.1).
const FOLDED_BYTES: usize = 128;

/// Identifies a transaction, or one attempt of it: the MAC itself.
pub(crate) type Key = u128;

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
    fn write_u128(&mut self, value: u128) {
        self.0 = u64::try_from(value & u128::from(u64::MAX)).unwrap_or(0);
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
    match into.get_mut(..raw.len()) {
        Some(space) => {
            space.copy_from_slice(raw);
            space.make_ascii_lowercase();
            space
        }
        None => raw,
    }
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
        out.extend_from_slice(COOKIE);
        out.push(VERSION);
        letters::<2>(u128::from(self.key_id), out);
        letters::<1>(u128::from(self.attempt), out);
        letters::<MAC_CHARS>(self.key, out);
        letters::<LOOP_CHARS>(u128::from(self.loop_part), out);
    }

    /// Reads a branch; `None` when it is not one that we could have made. Case is no matter.
    pub(crate) fn parse(raw: &[u8]) -> Option<Branch> {
        if raw.len() != BRANCH_BYTES || !raw.get(..COOKIE.len())?.eq_ignore_ascii_case(COOKIE) {
            return None;
        }
        let rest = raw.get(COOKIE.len()..)?;
        let (version, rest) = rest.split_first()?;
        if version.to_ascii_lowercase() != VERSION {
            return None;
        }
        let (key_id, rest) = number(rest, 2)?;
        let (attempt, rest) = number(rest, 1)?;
        let (key, rest) = number(rest, MAC_CHARS)?;
        let (loop_part, _) = number(rest, LOOP_CHARS)?;
        Some(Branch {
            key_id: u8::try_from(key_id).ok()?,
            attempt: u8::try_from(attempt).ok()?,
            key,
            loop_part: u64::try_from(loop_part).ok()?,
        })
    }
}

/// Appends letters of five bits each, the highest first.
fn letters<const COUNT: usize>(mut value: u128, out: &mut Vec<u8>) {
    let mut text = [0; COUNT];
    for place in text.iter_mut().rev() {
        *place = letter(value);
        value >>= 5;
    }
    out.extend_from_slice(&text);
}

/// The letter of a value's lowest five bits.
pub(crate) fn letter(value: u128) -> u8 {
    ALPHABET.get(usize::try_from(value & 31).unwrap_or(0)).copied().unwrap_or(b'a')
}

fn number(raw: &[u8], count: usize) -> Option<(u128, &[u8])> {
    let (digits, rest) = raw.split_at_checked(count)?;
    let mut value: u128 = 0;
    for digit in digits {
        let five = match digit.to_ascii_lowercase() {
            letter @ b'a'..=b'z' => letter - b'a',
            figure @ b'2'..=b'7' => figure - b'2' + 26,
            _ => return None,
        };
        if value >> 123 != 0 {
            return None;
        }
        value = (value << 5) | u128::from(five);
    }
    Some((value, rest))
}

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
