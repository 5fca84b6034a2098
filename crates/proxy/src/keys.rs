//! The keys behind branches, tags and dialog tokens: a ring, so that a key can be changed with no call lost.

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
    branch: [u8; 32],
    token: [u8; 32],
    tag: [u8; 32],
    call: [u8; 32],
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
        mac(self.active.key(r#use), parts)
    }

    /// The same by the key of `id`; `None` when the ring has no such key.
    pub(crate) fn sign_with(&self, id: u8, r#use: Use, parts: &[&[u8]]) -> Option<[u8; 16]> {
        let key = std::iter::once(&self.active).chain(&self.retired).find(|key| key.id == id)?;
        Some(mac(key.key(r#use), parts))
    }
}

impl Derived {
    fn of(key: &Key) -> Derived {
        Derived {
            id: key.id,
            branch: blake3::derive_key("switchyard 2026 via branch", &key.secret),
            token: blake3::derive_key("switchyard 2026 dialog token", &key.secret),
            tag: blake3::derive_key("switchyard 2026 local tag", &key.secret),
            call: blake3::derive_key("switchyard 2026 call", &key.secret),
        }
    }

    fn key(&self, r#use: Use) -> &[u8; 32] {
        match r#use {
            Use::Branch => &self.branch,
            Use::Token => &self.token,
            Use::Tag => &self.tag,
            Use::Call => &self.call,
        }
    }
}

/// What is signed is short as a rule, and hashed at one go.
const SHORT_BYTES: usize = 1_024;

fn mac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 16] {
    let len_of = |part: &[u8]| u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut space = [0; SHORT_BYTES];
    let mut len = 0;
    let fits = parts.iter().all(|part| {
        let end = len + 4 + part.len();
        let Some((head, tail)) = space.get_mut(len..end).and_then(|room| room.split_first_chunk_mut::<4>()) else {
            return false;
        };
        *head = len_of(part);
        tail.copy_from_slice(part);
        len = end;
        true
    });
    let whole = match space.get(..len).filter(|_| fits) {
        Some(bytes) => blake3::keyed_hash(key, bytes),
        None => {
            let mut hasher = blake3::Hasher::new_keyed(key);
            for part in parts {
                hasher.update(&len_of(part));
                hasher.update(part);
            }
            hasher.finalize()
        }
    };
    let mut short = [0; 16];
    short.copy_from_slice(whole.as_bytes().first_chunk::<16>().unwrap_or(&[0; 16]));
    short
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
    fn parts_do_not_run_into_each_other_and_uses_do_not_mix() {
        let ring = KeyRing::new(&key(1), &[]);
        assert_ne!(ring.sign(Use::Token, &[b"ab", b"c"]), ring.sign(Use::Token, &[b"a", b"bc"]));
        assert_ne!(ring.sign(Use::Token, &[b"a"]), ring.sign(Use::Branch, &[b"a"]));
    }

    /// What is short is hashed at one go, to the same value.
    #[test]
    fn a_mac_is_the_same_however_long_its_parts() {
        let key = [9; 32];
        let long = vec![b'x'; 3 * SHORT_BYTES];
        for len in [0, 1, 500, SHORT_BYTES - 8, SHORT_BYTES - 7, SHORT_BYTES, 3 * SHORT_BYTES] {
            let part = long.get(..len).unwrap();
            let mut hasher = blake3::Hasher::new_keyed(&key);
            for part in [part, b""] {
                hasher.update(&u32::try_from(part.len()).unwrap().to_le_bytes()).update(part);
            }
            assert_eq!(mac(&key, &[part, b""]), hasher.finalize().as_bytes()[..16], "{len}");
        }
    }

    #[test]
    fn a_key_never_shows_its_secret() {
        assert!(!format!("{:?} {:?}", key(7), KeyRing::new(&key(7), &[])).contains("7, 7"));
    }
}
