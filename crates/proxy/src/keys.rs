//! The keys behind branches, tags and dialog tokens: a ring, so that a key can be changed with no call lost.

mod folded;
mod siphash;

use std::fmt;

/// One secret with its id. Old keys verify, the active one signs.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// Stands in every branch and token that this key made.
    pub id: u8,
    /// 256 bits from the system's generator.
    pub secret: [u8; 32],
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key {{ id: {}, secret: (masked) }}", self.id)
    }
}

/// The active key and those that still verify.
#[derive(Clone, Debug)]
pub struct KeyRing {
    active: Derived,
    retired: Vec<Derived>,
}

/// What one secret gives: a key for each use, so that no MAC of one kind is ever valid as another.
#[derive(Clone)]
struct Derived {
    id: u8,
    branch: Secret,
    token: Secret,
    tag: Secret,
    call: Secret,
    r#loop: [u64; 2],
}

/// The key of one use.
#[derive(Clone)]
struct Secret {
    /// For BLAKE3: tokens, and whatever is long.
    long: [u8; 32],
    /// For SipHash: what is short and made for each message.
    short: [u64; 2],
}

impl fmt::Debug for Derived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {}", self.id)
    }
}

/// What a MAC is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Use {
    Branch,
    Token,
    Tag,
    Call,
}

impl KeyRing {
    /// A ring that signs with `active` and also verifies with `retired`.
    pub fn new(active: &Key, retired: &[Key]) -> KeyRing {
        KeyRing { active: Derived::of(active), retired: retired.iter().map(Derived::of).collect() }
    }

    /// The id of the key that signs.
    pub fn active_id(&self) -> u8 {
        self.active.id
    }

    /// A 128-bit MAC by the active key over `parts`, each with its length, so that parts cannot run into each other.
    pub(crate) fn sign(&self, r#use: Use, parts: &[&[u8]]) -> [u8; 16] {
        mac(self.active.key(r#use), r#use, parts)
    }

    /// The same by the key of `id`; `None` when the ring has no such key.
    pub(crate) fn sign_with(&self, id: u8, r#use: Use, parts: &[&[u8]]) -> Option<[u8; 16]> {
        Some(mac(self.find(id)?.key(r#use), r#use, parts))
    }

    /// A hash over `parts`, each with its length, that tells whether a request of ours has come back: by the key of `id`,
    /// or by the active one. Whoever foresees it can have his own request refused as a loop, and nothing else.
    pub(crate) fn loop_hash(&self, id: Option<u8>, parts: &[&[u8]]) -> Option<u64> {
        let key = match id {
            Some(id) => self.find(id)?,
            None => &self.active,
        };
        Some(folded::hash(key.r#loop, parts))
    }

    fn find(&self, id: u8) -> Option<&Derived> {
        std::iter::once(&self.active).chain(&self.retired).find(|key| key.id == id)
    }
}

impl Derived {
    fn of(key: &Key) -> Derived {
        Derived {
            id: key.id,
            branch: Secret::of("switchyard 2026 via branch", key),
            token: Secret::of("switchyard 2026 dialog token", key),
            tag: Secret::of("switchyard 2026 local tag", key),
            call: Secret::of("switchyard 2026 call", key),
            r#loop: Secret::of("switchyard 2026 loop", key).short,
        }
    }

    fn key(&self, r#use: Use) -> &Secret {
        match r#use {
            Use::Branch => &self.branch,
            Use::Token => &self.token,
            Use::Tag => &self.tag,
            Use::Call => &self.call,
        }
    }
}

impl Secret {
    fn of(context: &str, key: &Key) -> Secret {
        let long = blake3::derive_key(context, &key.secret);
        let short = blake3::derive_key("switchyard 2026 short", &long);
        let (words, _) = short.as_chunks::<8>();
        let word = |at: usize| words.get(at).copied().map_or(0, u64::from_le_bytes);
        Secret { long, short: [word(0), word(1)] }
    }
}

/// What is signed is short as a rule, and hashed at one go.
const SHORT_BYTES: usize = 512;
/// As a rule it is shorter still: less is filled with zeros first.
const USUAL_BYTES: usize = 192;

/// Tokens go through many hands, for as long as a call lasts, and say where it goes: theirs is BLAKE3. The others name what one
/// process keeps for a while: SipHash, which nobody without the key can foresee, costs half of that.
fn mac(secret: &Secret, r#use: Use, parts: &[&[u8]]) -> [u8; 16] {
    let mut space = [0; USUAL_BYTES];
    match joined(parts, &mut space) {
        Some(bytes) => mac_of_short(secret, r#use, bytes),
        None => mac_of_long(secret, r#use, parts),
    }
}

fn mac_of_short(secret: &Secret, r#use: Use, bytes: &[u8]) -> [u8; 16] {
    match r#use {
        Use::Token => first_half(blake3::keyed_hash(&secret.long, bytes)),
        Use::Branch | Use::Tag | Use::Call => siphash::hash::<1, 3>(secret.short, bytes).to_le_bytes(),
    }
}

#[inline(never)]
fn mac_of_long(secret: &Secret, r#use: Use, parts: &[&[u8]]) -> [u8; 16] {
    let mut space = [0; SHORT_BYTES];
    if let Some(bytes) = joined(parts, &mut space) {
        return mac_of_short(secret, r#use, bytes);
    }
    let mut hasher = blake3::Hasher::new_keyed(&secret.long);
    for part in parts {
        hasher.update(&len_of(part));
        hasher.update(part);
    }
    first_half(hasher.finalize())
}

fn first_half(whole: blake3::Hash) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(whole.as_bytes().first_chunk::<16>().unwrap_or(&[0; 16]));
    half
}

/// The parts, each behind its length; `None` when they do not fit.
fn joined<'s>(parts: &[&[u8]], space: &'s mut [u8]) -> Option<&'s [u8]> {
    let mut len = 0;
    for part in parts {
        let end = len + 4 + part.len();
        let (head, tail) = space.get_mut(len..end)?.split_first_chunk_mut::<4>()?;
        *head = len_of(part);
        tail.copy_from_slice(part);
        len = end;
    }
    space.get(..len)
}

fn len_of(part: &[u8]) -> [u8; 4] {
    u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes()
}

/// Compares without telling by time where two MACs part.
pub(crate) fn same_mac(left: &[u8; 16], right: &[u8; 16]) -> bool {
    left.iter().zip(right).fold(0_u8, |seen, (a, b)| seen | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u8) -> Key {
        Key { id, secret: [id; 32] }
    }

    #[test]
    fn an_old_key_verifies_and_an_unknown_one_does_not() {
        let old = KeyRing::new(&key(1), &[]);
        let new = KeyRing::new(&key(2), &[key(1)]);
        let signed = old.sign(Use::Token, &[b"a", b"b"]);
        assert_eq!(new.sign_with(1, Use::Token, &[b"a", b"b"]), Some(signed));
        assert_ne!(new.sign(Use::Token, &[b"a", b"b"]), signed);
        assert_eq!(new.sign_with(3, Use::Token, &[b"a", b"b"]), None);
    }

    #[test]
    fn what_tells_a_loop_depends_on_its_key_and_its_parts() {
        let (old, new) = (KeyRing::new(&key(1), &[]), KeyRing::new(&key(2), &[key(1)]));
        let value = old.loop_hash(None, &[b"a", b"bc"]);
        assert_eq!(new.loop_hash(Some(1), &[b"a", b"bc"]), value);
        for other in
            [new.loop_hash(None, &[b"a", b"bc"]), old.loop_hash(None, &[b"ab", b"c"]), old.loop_hash(None, &[])]
        {
            assert!(other.is_some() && other != value);
        }
        assert_eq!(new.loop_hash(Some(3), &[b"a"]), None);
    }

    #[test]
    fn parts_do_not_run_into_each_other_and_uses_do_not_mix() {
        let ring = KeyRing::new(&key(1), &[]);
        assert_ne!(ring.sign(Use::Token, &[b"ab", b"c"]), ring.sign(Use::Token, &[b"a", b"bc"]));
        assert_ne!(ring.sign(Use::Token, &[b"a"]), ring.sign(Use::Branch, &[b"a"]));
    }

    /// What is short is hashed at one go, to the same value.
    #[test]
    fn a_tokens_mac_is_the_same_however_long_its_parts() {
        let secret = Secret::of("a test", &key(9));
        let long = vec![b'x'; 3 * SHORT_BYTES];
        for len in [0, 1, 500, SHORT_BYTES - 8, SHORT_BYTES - 7, SHORT_BYTES, 3 * SHORT_BYTES] {
            let part = long.get(..len).unwrap();
            let mut hasher = blake3::Hasher::new_keyed(&secret.long);
            for part in [part, b""] {
                hasher.update(&u32::try_from(part.len()).unwrap().to_le_bytes()).update(part);
            }
            assert_eq!(mac(&secret, Use::Token, &[part, b""]), hasher.finalize().as_bytes()[..16], "{len}");
        }
    }

    #[test]
    fn long_parts_give_a_mac_too() {
        let (ring, other) = (KeyRing::new(&key(1), &[]), KeyRing::new(&key(2), &[]));
        let long = vec![b'x'; 3 * SHORT_BYTES];
        let longer = vec![b'x'; 3 * SHORT_BYTES + 1];
        for part in [b"x".as_slice(), &long] {
            assert_eq!(ring.sign(Use::Branch, &[part]), ring.sign(Use::Branch, &[part]));
            assert_ne!(ring.sign(Use::Branch, &[part]), other.sign(Use::Branch, &[part]));
            assert_ne!(ring.sign(Use::Branch, &[part]), ring.sign(Use::Call, &[part]));
            assert_ne!(ring.sign(Use::Branch, &[part]), ring.sign(Use::Branch, &[&longer]));
        }
    }

    #[test]
    fn a_key_never_shows_its_secret() {
        assert!(!format!("{:?} {:?}", key(7), KeyRing::new(&key(7), &[])).contains("7, 7"));
    }
}
