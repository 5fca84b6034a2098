//! The key of a row: its `id` column in 16 bytes.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::rows::Cell;

/// A row's `id`: the UUID itself, or a hash of 128 bits of any other text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(crate) struct RowKey(u128);

impl RowKey {
    /// The key of an id. A UUID is one key in either case, as the database compares it.
    pub(crate) fn new(id: &str) -> RowKey {
        RowKey(uuid(id.as_bytes()).unwrap_or_else(|| hash(id)))
    }

    /// The key of whatever stands in an `id` column: what cannot be read as an id has a key all the same, so that a
    /// later change or deletion of its row is known to be of that row.
    pub(crate) fn of_cell(cell: &Cell) -> RowKey {
        let text = cell.as_deref().map(std::str::from_utf8);
        match text {
            Some(Ok(id)) if !id.is_empty() => RowKey::new(id),
            _ => RowKey(hash(&("no id", cell))),
        }
    }

    pub(crate) const fn bits(self) -> u128 {
        self.0
    }

    pub(crate) const fn from_bits(bits: u128) -> RowKey {
        RowKey(bits)
    }

    /// The id that this key was made of, when it was a UUID; in lower case.
    pub(crate) fn as_uuid(self) -> String {
        let mut text = format!("{:032x}", self.0);
        for at in [8, 13, 18, 23] {
            text.insert(at, '-');
        }
        text
    }

    /// Whether the id is a UUID: then the key is all that has to be kept of it.
    pub(crate) fn is_uuid(id: &str) -> bool {
        uuid(id.as_bytes()).is_some()
    }
}

/// The value of a UUID in its form of 36 characters (RFC 9562 section 4).
fn uuid(text: &[u8]) -> Option<u128> {
    if text.len() != 36 {
        return None;
    }
    text.iter().enumerate().try_fold(0_u128, |value, (at, &byte)| match (at, byte) {
        (8 | 13 | 18 | 23, b'-') => Some(value),
        (8 | 13 | 18 | 23, _) => None,
        _ => Some(value << 4 | u128::from(char::from(byte).to_digit(16)?)),
    })
}

fn hash(text: &(impl Hash + ?Sized)) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, text).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_its_own_key_in_either_case() {
        let key = RowKey::new("0a1b2c3d-0000-4000-8000-00000000002f");
        assert_eq!(key, RowKey(0x0a1b_2c3d_0000_4000_8000_0000_0000_002f));
        assert_eq!(key, RowKey::new("0A1B2C3D-0000-4000-8000-00000000002F"));
        assert_eq!(key.as_uuid(), "0a1b2c3d-0000-4000-8000-00000000002f");
    }

    #[test]
    fn other_texts_have_keys_of_their_own() {
        let texts = ["", "1", "2", "0a1b2c3d-0000-4000-8000-00000000002g", "0a1b2c3d000040008000-00000000002f-1-"];
        for (at, text) in texts.iter().enumerate() {
            for other in &texts[..at] {
                assert_ne!(RowKey::new(text), RowKey::new(other), "{text} {other}");
            }
        }
    }
}
