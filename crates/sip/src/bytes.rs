//! The steps that the scanner takes over bytes, each of which says in tests how many bytes it visited.

/// True for a byte of a token (RFC 3261 25.1).
pub(crate) const fn is_token(byte: u8) -> bool {
    matches!(
        byte,
        b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'-'
            | b'.'
            | b'!'
            | b'%'
            | b'*'
            | b'_'
            | b'+'
            | b'`'
            | b'\''
            | b'~'
    )
}

/// White space, and the line ends of folds: inside a header value every CRLF is one.
pub(crate) const fn is_lws(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
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

/// Where `byte` stands first, from `at` on.
pub(crate) fn find(byte: u8, bytes: &[u8], at: usize) -> Option<usize> {
    let rest = bytes.get(at..)?;
    let found = memchr::memchr(byte, rest);
    visited(found.unwrap_or(rest.len()) + 1);
    found.map(|len| at + len)
}

/// Where one of three bytes stands first, from `at` on.
pub(crate) fn find_of_3(set: [u8; 3], bytes: &[u8], at: usize) -> Option<usize> {
    let rest = bytes.get(at..)?;
    let [a, b, c] = set;
    let found = memchr::memchr3(a, b, c, rest);
    visited(found.unwrap_or(rest.len()) + 1);
    found.map(|len| at + len)
}

/// How often `byte` stands in `bytes`.
pub(crate) fn count(byte: u8, bytes: &[u8]) -> usize {
    visited(bytes.len());
    memchr::memchr_iter(byte, bytes).count()
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
