//! The steps that the scanner takes over bytes, each of which says in tests how many bytes it visited.

/// The kinds of bytes, a bit each.
const TOKEN: u8 = 1;
const LWS: u8 = 2;
const VALUE: u8 = 4;
const HOST: u8 = 8;

/// The kinds of every byte.
static KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0_u8;
    let mut rest: &mut [u8] = &mut kinds;
    while let Some((first, others)) = rest.split_first_mut() {
        *first = kinds_of(byte);
        byte = byte.wrapping_add(1);
        rest = others;
    }
    kinds
};

const fn kinds_of(byte: u8) -> u8 {
    let is_mark = matches!(byte, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~');
    let token = if is_mark || byte.is_ascii_alphanumeric() { TOKEN } else { 0 };
    let lws = if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') { LWS } else { 0 };
    let value = if matches!(byte, 0..=b' ' | b';' | b',' | b'"' | b'<' | b'>') { 0 } else { VALUE };
    let host = if matches!(byte, b'-' | b'.' | b'_') || byte.is_ascii_alphanumeric() { HOST } else { 0 };
    token | lws | value | host
}

fn is(byte: u8, kind: u8) -> bool {
    KINDS.get(usize::from(byte)).is_some_and(|kinds| kinds & kind != 0)
}

/// True for a byte of a token (RFC 3261 25.1).
pub(crate) fn is_token(byte: u8) -> bool {
    is(byte, TOKEN)
}

/// True for white space, and for the line ends of folds: inside a header value every CRLF is one.
pub(crate) fn is_lws(byte: u8) -> bool {
    is(byte, LWS)
}

/// True for what a bare value of a parameter is made of: more than the grammar's tokens and hosts, but nothing that ends
/// a parameter.
pub(crate) fn is_value(byte: u8) -> bool {
    is(byte, VALUE)
}

/// True for a byte of a host name or an IPv4 address, and for the `_` that private networks use.
pub(crate) fn is_host_name(byte: u8) -> bool {
    is(byte, HOST)
}

/// True for what stands in no URI: control characters, space, quotes and angle brackets.
pub(crate) const fn is_outside_uri(byte: u8) -> bool {
    (byte <= b' ') | (byte == b'"') | (byte == b'<') | (byte == b'>') | (byte == 0x7f)
}

/// The first offset from `at` on that is not white space.
pub(crate) fn skip_lws(bytes: &[u8], at: usize) -> usize {
    run_end(bytes, at, is_lws)
}

/// The end of the token that begins at `at`; `at` itself when there is none.
pub(crate) fn token_end(bytes: &[u8], at: usize) -> usize {
    run_end(bytes, at, is_token)
}

/// The first offset from `at` on whose byte is not `of` the kind.
pub(crate) fn run_end(bytes: &[u8], at: usize, of: impl Fn(u8) -> bool) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    let len = rest.iter().position(|&byte| !of(byte)).unwrap_or(rest.len());
    visited(len + 1);
    at + len
}

/// `start..end` without the white space at both ends.
pub(crate) fn trim(bytes: &[u8], mut start: usize, mut end: usize) -> (usize, usize) {
    while start < end && bytes.get(start).copied().is_some_and(is_lws) {
        start += 1;
        visited(1);
    }
    while start < end && bytes.get(end - 1).copied().is_some_and(is_lws) {
        end -= 1;
        visited(1);
    }
    (start, end)
}

/// The first offset from `at` on whose byte is wanted, sixteen at a time; good where `wanted` is a few comparisons.
#[inline]
pub(crate) fn find_by(bytes: &[u8], at: usize, wanted: impl Fn(u8) -> bool) -> Option<usize> {
    let mut rest = bytes.get(at..)?;
    while let Some((chunk, others)) = rest.split_first_chunk::<16>() {
        visited(chunk.len());
        if chunk.iter().fold(false, |any, &byte| any | wanted(byte)) {
            break;
        }
        rest = others;
    }
    visited(rest.len().min(16) + 1);
    rest.iter().position(|&byte| wanted(byte)).map(|len| bytes.len() - rest.len() + len)
}

/// Where `byte` stands first, from `at` on.
#[inline]
pub(crate) fn find(byte: u8, bytes: &[u8], at: usize) -> Option<usize> {
    let wanted = LOW * u64::from(byte);
    find_in_chunks(bytes, at, |found| found == byte, |word| bytes_below(word ^ wanted, 1))
}

/// Where the first byte up to CR stands, which NUL, TAB and LF are among, from `at` on.
#[inline]
pub(crate) fn find_up_to_cr(bytes: &[u8], at: usize) -> Option<usize> {
    find_in_chunks(bytes, at, |found| found <= b'\r', |word| bytes_below(word, b'\r' + 1))
}

/// The lowest bit, and the highest bit, of each byte of a word.
const LOW: u64 = u64::from_le_bytes([1; 8]);
const HIGH: u64 = u64::from_le_bytes([0x80; 8]);

/// Where `byte`, which is ASCII, stands first among sixteen.
#[inline]
pub(crate) const fn find_in_16(byte: u8, chunk: u128) -> Option<usize> {
    let wanted = LOW * byte as u64;
    let offset = match (bytes_below(low_half(chunk) ^ wanted, 1), bytes_below(low_half(chunk >> 64) ^ wanted, 1)) {
        (0, 0) => return None,
        (0, high) => 8 + high.trailing_zeros() / 8,
        (low, _) => low.trailing_zeros() / 8,
    };
    Some(offset as usize)
}

/// The highest bits of the bytes below `limit`, 128 at most. Above the first of them, others may be marked as well.
const fn bytes_below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(LOW * limit as u64) & !word & HIGH
}

/// The first offset from `at` on whose byte is wanted; `marks` marks the highest bit of the first such byte of a word.
/// Lines and names are short: sixteen bytes at a time cost less than the set-up of a longer vector search.
#[inline(always)]
fn find_in_chunks(bytes: &[u8], at: usize, wanted: impl Fn(u8) -> bool, marks: impl Fn(u64) -> u64) -> Option<usize> {
    let mut rest = bytes.get(at..)?;
    while let Some((chunk, others)) = rest.split_first_chunk::<16>() {
        if chunk.iter().fold(false, |any, &byte| any | wanted(byte)) {
            let word = u128::from_le_bytes(*chunk);
            let len = match (marks(low_half(word)), marks(low_half(word >> 64))) {
                (0, high) => 8 + high.trailing_zeros() / 8,
                (low, _) => low.trailing_zeros() / 8,
            };
            visited(len as usize + 1);
            return Some(bytes.len() - rest.len() + len as usize);
        }
        visited(chunk.len());
        rest = others;
    }
    visited(rest.len() + 1);
    rest.iter().position(|&byte| wanted(byte)).map(|len| bytes.len() - rest.len() + len)
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is what is asked for")]
const fn low_half(word: u128) -> u64 {
    word as u64
}

/// Where one of three bytes stands first, from `at` on.
pub(crate) fn find_of_3(set: [u8; 3], bytes: &[u8], at: usize) -> Option<usize> {
    let rest = bytes.get(at..)?;
    let [a, b, c] = set;
    let found = memchr::memchr3(a, b, c, rest);
    visited(found.unwrap_or(rest.len()) + 1);
    found.map(|len| at + len)
}

/// The offset just after the quoted string that begins at `at` with its `"`; `None` when it does not end.
pub(crate) fn quoted_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        let rest = bytes.get(at..)?;
        let found = memchr::memchr2(b'"', b'\\', rest);
        visited(found.unwrap_or(rest.len()) + 1);
        at += found?;
        if bytes.get(at) == Some(&b'"') {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// The value of decimal digits alone; `None` for none at all, for anything else and beyond `u32`.
pub(crate) fn digits(bytes: &[u8]) -> Option<u32> {
    visited(bytes.len());
    if bytes.is_empty() {
        return None;
    }
    bytes.iter().try_fold(0_u32, |value, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        value.checked_mul(10)?.checked_add(u32::from(digit))
    })
}

#[cfg(not(test))]
#[inline]
pub(crate) const fn visited(_bytes: usize) {}

#[cfg(test)]
pub(crate) use work::visited;

/// The work that was done, in bytes visited: what the tests of linear time count.
#[cfg(test)]
pub(crate) mod work {
    use core::cell::Cell;

    std::thread_local! {
        static VISITED: Cell<u64> = const { Cell::new(0) };
    }

    pub(crate) fn visited(bytes: usize) {
        VISITED.with(|total| total.set(total.get() + bytes as u64));
    }

    /// The bytes visited by `job` on this thread.
    pub(crate) fn of(job: impl FnOnce()) -> u64 {
        let before = VISITED.with(Cell::get);
        job();
        VISITED.with(Cell::get) - before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_those_of_the_grammar() {
        for byte in 0..=u8::MAX {
            let expected = byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte);
            assert_eq!(is_token(byte), expected, "{byte}");
        }
        assert_eq!(token_end(b"ab c", 0), 2);
        assert_eq!(token_end(b"ab c", 9), 9);
    }

    #[test]
    fn words_are_searched_like_bytes() {
        let mut bytes = [0x80_u8; 40];
        for at in 0..bytes.len() {
            for byte in 0..=u8::MAX {
                // The byte after it differs from it by one: what a borrow would mark.
                bytes[at] = byte;
                if let Some(next) = bytes.get_mut(at + 1) {
                    *next = byte ^ 1;
                }
                let first = |wanted: &dyn Fn(u8) -> bool| bytes.iter().position(|&byte| wanted(byte));
                assert_eq!(find(byte, &bytes, 0), first(&|found| found == byte), "{byte} at {at}");
                assert_eq!(find_up_to_cr(&bytes, 0), first(&|found| found <= b'\r'), "{byte} at {at}");
                assert_eq!(find(byte, &bytes, at), Some(at));
            }
            bytes = [0x80; 40];
        }
        assert_eq!((find(b'a', b"a", 1), find(b'a', b"a", 2), find_up_to_cr(b"", 0)), (None, None, None));
    }

    #[test]
    fn quoted_strings_end_at_their_own_quote() {
        assert_eq!(quoted_end(br#""a\"b" c"#, 0), Some(6));
        assert_eq!(quoted_end(br#""a\\" c"#, 0), Some(5));
        for open in [r#"""#, r#""a"#, r#""a\""#, r#""a\"#] {
            assert_eq!(quoted_end(open.as_bytes(), 0), None, "{open}");
        }
    }

    #[test]
    fn digits_are_digits_alone() {
        assert_eq!(digits(b"0068"), Some(68));
        assert_eq!(digits(b"4294967295"), Some(u32::MAX));
        for bytes in ["", "4294967296", "-1", "+1", "1 ", "1a", "99999999999999999999"] {
            assert_eq!(digits(bytes.as_bytes()), None, "{bytes}");
        }
    }

    #[test]
    fn trimming_stops_at_the_other_end() {
        assert_eq!(trim(b" \t a b\r\n ", 0, 9), (3, 6));
        assert_eq!(trim(b"   ", 0, 3), (3, 3));
    }
}
