//! JSON objects, written member by member into a buffer that is used again. What is written for every call is written with
//! this: the names are ours and need no escaping, and most texts need none either.

/// The beginning of a member of an [`Object`], up to its value: `,"name":`.
#[macro_export]
#[doc(hidden)]
macro_rules! json_member {
    ($name:literal) => {
        $crate::calls::json::Member::new(concat!(",\"", $name, "\":"))
    };
}

#[doc(inline)]
pub use crate::json_member as member;

/// A member's name with what stands around it.
#[derive(Clone, Copy, Debug)]
pub struct Member(&'static str);

impl Member {
    /// For the macro alone.
    #[doc(hidden)]
    pub const fn new(text: &'static str) -> Member {
        Member(text)
    }
}

/// An object that is being written.
#[derive(Debug)]
pub struct Object<'o> {
    out: &'o mut Vec<u8>,
    is_empty: bool,
}

impl Object<'_> {
    /// Begins an object behind what `out` has.
    #[inline]
    pub fn begin(out: &mut Vec<u8>) -> Object<'_> {
        out.push(b'{');
        Object { out, is_empty: true }
    }

    /// A member with a text.
    #[inline]
    pub fn text(&mut self, name: Member, value: &str) -> &mut Self {
        if is_plain(value.as_bytes()) {
            // Nearly every member is one of these: it asks for room once.
            let Member(name) = name;
            let name = self.lead(name).as_bytes();
            self.out.reserve(name.len() + value.len() + 2);
            self.out.extend_from_slice(name);
            self.out.push(b'"');
            self.out.extend_from_slice(value.as_bytes());
            self.out.push(b'"');
        } else {
            escaped(self.member(name), value);
        }
        self
    }

    /// The same, or no member.
    #[inline]
    pub fn word(&mut self, name: Member, value: Option<&str>) -> &mut Self {
        if let Some(value) = value {
            self.text(name, value);
        }
        self
    }

    /// A member with a number, or none.
    #[inline]
    pub fn number(&mut self, name: Member, value: impl Into<Option<u64>>) -> &mut Self {
        if let Some(value) = value.into() {
            digits(self.member(name), value);
        }
        self
    }

    /// A member that is true, or none.
    #[inline]
    pub fn truth(&mut self, name: Member, is_true: bool) -> &mut Self {
        if is_true {
            self.member(name).extend_from_slice(b"true");
        }
        self
    }

    /// A member with a list, each item written by `write`; none without items.
    #[inline]
    pub fn list<T>(&mut self, name: Member, items: &[T], write: impl Fn(&mut Vec<u8>, &T)) -> &mut Self {
        if items.is_empty() {
            return self;
        }
        let out = self.member(name);
        let mut mark = b'[';
        for item in items {
            out.push(mark);
            write(out, item);
            mark = b',';
        }
        out.push(b']');
        self
    }

    /// A member whose value is written to what this returns.
    #[inline]
    pub fn member(&mut self, Member(name): Member) -> &mut Vec<u8> {
        let name = self.lead(name).as_bytes();
        self.out.extend_from_slice(name);
        self.out
    }

    /// A member's name with what stands around it: the first one has no comma before it.
    #[inline]
    fn lead(&mut self, name: &'static str) -> &'static str {
        let is_first = std::mem::replace(&mut self.is_empty, false);
        if is_first { name.get(1..).unwrap_or_default() } else { name }
    }

    /// Ends it.
    #[inline]
    pub fn end(self) {
        self.out.push(b'}');
    }
}

/// A text as JSON.
pub fn text(out: &mut Vec<u8>, text: &str) {
    if !is_plain(text.as_bytes()) {
        return escaped(out, text);
    }
    out.reserve(text.len() + 2);
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// Bytes as hexadecimal digits, with nothing around them.
pub fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    out.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
}

/// A number in decimal.
pub fn digits(out: &mut Vec<u8>, number: u64) {
    let mut written = [0; DIGITS];
    let start = decimal(&mut written, number);
    out.extend_from_slice(written.get(start..).unwrap_or_default());
}

/// The digits of the largest number.
pub(super) const DIGITS: usize = 20;

/// Writes a number in decimal to the end of these bytes, and returns where it begins: two digits at a time, for a record has
/// a dozen of numbers.
pub(super) fn decimal(written: &mut [u8; DIGITS], number: u64) -> usize {
    let (mut rest, mut start) = (number, DIGITS);
    for place in written.as_chunks_mut::<2>().0.iter_mut().rev() {
        let pair = u8::try_from(rest % 100).unwrap_or_default();
        *place = [b'0' + pair / 10, b'0' + pair % 10];
        start -= if rest < 10 { 1 } else { 2 };
        rest /= 100;
        if rest == 0 {
            break;
        }
    }
    start
}

/// Texts and numbers always have a JSON form, and memory takes what is written.
fn escaped<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let _written = serde_json::to_writer(out, value);
}

/// True when no byte of a text needs escaping: eight are looked at together.
fn is_plain(text: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const TOPS: u64 = u64::from_ne_bytes([0x80; 8]);
    let odd = |word: u64| {
        // A byte's top bit is set where it is below the second one, as long as its own is not.
        let is_control = word.wrapping_sub(ONES * 0x20) & !word;
        let (quote, slash) = (word ^ (ONES * 0x22), word ^ (ONES * 0x5c));
        let is_quote = quote.wrapping_sub(ONES) & !quote;
        let is_slash = slash.wrapping_sub(ONES) & !slash;
        (is_control | is_quote | is_slash) & TOPS
    };
    let (words, rest) = text.as_chunks::<8>();
    let last = match text.last_chunk::<8>() {
        Some(last) => u64::from_ne_bytes(*last),
        None => rest.iter().fold(u64::from_ne_bytes([b' '; 8]), |word, byte| (word << 8) | u64::from(*byte)),
    };
    words.iter().fold(odd(last), |found, word| found | odd(u64::from_ne_bytes(*word))) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_everybody_writes_them() {
        let edges = (0..20).flat_map(|power| [10_u64.pow(power) - 1, 10_u64.pow(power)]);
        for number in edges.chain([u64::MAX, 1_800_000_000_123]) {
            let mut out = b"before".to_vec();
            digits(&mut out, number);
            assert_eq!(out, format!("before{number}").as_bytes());
        }
    }

    /// Every byte that JSON escapes is seen at every place, and no other one.
    #[test]
    fn what_needs_escaping_is_found_wherever_it_stands() {
        for length in 0..40 {
            for at in 0..length {
                for byte in 0..=255_u8 {
                    let mut bytes = vec![b'a'; length];
                    bytes[at] = byte;
                    let is_odd = byte < b' ' || byte == b'"' || byte == b'\\';
                    assert_eq!(is_plain(&bytes), !is_odd, "{byte} at {at} of {length}");
                }
            }
            assert!(is_plain(&vec![0xff; length]) && is_plain(&vec![b'!'; length]));
        }
    }
}
