//! The steps that the scanner takes over bytes, each of which says in tests how many bytes it visited.

use crate::lanes::Lanes;

/// The kinds of bytes, a bit each.
const TOKEN: u8 = 1;
const LWS: u8 = 2;
const HOST: u8 = 4;

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
    let host = if matches!(byte, b'-' | b'.' | b'_') || byte.is_ascii_alphanumeric() { HOST } else { 0 };
    token | lws | host
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

/// The end of the bare value that begins at `at`, of a parameter or of an address: more than the grammar's tokens and
/// hosts pass, but nothing that ends a parameter.
#[inline(always)]
pub(crate) fn value_end(bytes: &[u8], at: usize) -> usize {
    let ends = |lanes: Lanes| {
        let quoting = lanes.are(b'"').or(lanes.are(b'<')).or(lanes.are(b'>'));
        lanes.up_to(b' ').or(lanes.are(b';')).or(lanes.are(b',')).or(quoting)
    };
    find_by(bytes, at, ends).unwrap_or(bytes.len().max(at))
}

/// The end of the bare value that begins at `at`, where nothing stands in it that is rare: letters, digits and most marks go on,
/// and `=` ends it as well as [`value_end`]'s do. Whoever does not find there what he expects looks closer.
#[inline(always)]
pub(crate) fn plain_value_end(bytes: &[u8], at: usize) -> usize {
    find_by(bytes, at, |lanes| lanes.up_to(b',').or(lanes.between(b';', b'>'))).unwrap_or(bytes.len().max(at))
}

/// The end of the bytes of a host name or an IPv4 address that stand at `at`.
#[inline(always)]
pub(crate) fn host_name_end(bytes: &[u8], at: usize) -> usize {
    let outside = |lanes: Lanes| {
        let letters = lanes.folded().between(b'a', b'z');
        letters.or(lanes.between(b'0', b'9')).or(lanes.between(b'-', b'.')).or(lanes.are(b'_')).not()
    };
    find_by(bytes, at, outside).unwrap_or(bytes.len().max(at))
}

/// True for a byte of a host name or an IPv4 address, and for the `_` that private networks use.
pub(crate) fn is_host_name(byte: u8) -> bool {
    is(byte, HOST)
}

/// What stands in no URI: control characters, space, quotes and angle brackets.
#[inline(always)]
pub(crate) fn are_outside_uri(lanes: Lanes) -> Lanes {
    lanes.up_to(b' ').or(lanes.are(b'"')).or(lanes.are(b'<')).or(lanes.are(b'>')).or(lanes.are(0x7f))
}

/// True when `name` is this one, which is in lower case, in any case.
#[inline(always)]
pub(crate) fn is_named<const LEN: usize>(name: &[u8], wanted: &[u8; LEN]) -> bool {
    name == wanted || (name.len() == LEN && name.eq_ignore_ascii_case(wanted))
}

/// The first offset from `at` on that is not white space.
#[inline(always)]
pub(crate) fn skip_lws(bytes: &[u8], at: usize) -> usize {
    match bytes.get(at) {
        Some(&byte) if byte <= b' ' => run_end(bytes, at, is_lws),
        _ => {
            visited(1);
            at
        }
    }
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

/// The first offset from `at` on whose byte is wanted, sixteen at a time. Lines and names are short: this costs less than the
/// set-up of a longer vector search.
#[inline(always)]
pub(crate) fn find_by(bytes: &[u8], at: usize, wanted: impl Fn(Lanes) -> Lanes) -> Option<usize> {
    let mut rest = bytes.get(at..)?;
    while let Some((chunk, others)) = rest.split_first_chunk::<16>() {
        let found = wanted(Lanes::of(chunk)).bits();
        if found != 0 {
            let len = found.trailing_zeros() as usize;
            visited(len + 1);
            return Some(bytes.len() - rest.len() + len);
        }
        visited(chunk.len());
        rest = others;
    }
    visited(rest.len() + 1);
    let found = match bytes.last_chunk::<16>() {
        // The rest, with as many bytes before it as make sixteen; their answers are shifted out.
        Some(chunk) => wanted(Lanes::of(chunk)).bits() >> (16 - rest.len()),
        None => {
            let mut chunk = [0; 16];
            chunk.iter_mut().zip(rest).for_each(|(place, byte)| *place = *byte);
            wanted(Lanes::of(&chunk)).bits() & ((1 << rest.len()) - 1)
        }
    };
    (found != 0).then(|| bytes.len() - rest.len() + found.trailing_zeros() as usize)
}

/// Where `byte` stands first, from `at` on.
#[inline]
pub(crate) fn find(byte: u8, bytes: &[u8], at: usize) -> Option<usize> {
    find_by(bytes, at, |lanes| lanes.are(byte))
}

/// Bytes that one mark stands for.
pub(crate) const MARKED_BYTES: u32 = 64;
const MARKED: usize = MARKED_BYTES as usize;

/// Which of up to sixty-four bytes are of each kind, a bit for each byte, the first one's lowest; `None` for more bytes.
#[inline(always)]
pub(crate) fn marks<const KINDS: usize>(bytes: &[u8], kinds: impl Fn(Lanes) -> [Lanes; KINDS]) -> Option<[u64; KINDS]> {
    if bytes.len() > MARKED {
        return None;
    }
    visited(bytes.len());
    let mut marks = [0; KINDS];
    let mut add = |chunk: &[u8; 16], at: usize| {
        for (mark, lanes) in marks.iter_mut().zip(kinds(Lanes::of(chunk))) {
            *mark |= u64::from(lanes.bits()) << (at % MARKED);
        }
    };
    let (chunks, rest) = bytes.as_chunks::<16>();
    for (number, chunk) in chunks.iter().enumerate() {
        add(chunk, 16 * number);
    }
    match bytes.last_chunk::<16>() {
        Some(chunk) if !rest.is_empty() => add(chunk, bytes.len() - chunk.len()),
        Some(_) => {}
        None => {
            let mut chunk = [0; 16];
            chunk.iter_mut().zip(rest).for_each(|(place, byte)| *place = *byte);
            add(&chunk, 0);
            marks.iter_mut().for_each(|mark| *mark &= (1 << rest.len()) - 1);
        }
    }
    Some(marks)
}

/// Which of the sixty-four bytes from `at` on are up to CR, a bit for each, the first one's lowest; `None` at the end.
#[inline(always)]
pub(crate) fn marks_up_to_cr(bytes: &[u8], at: usize) -> Option<u64> {
    let rest = bytes.get(at..)?;
    if let Some(whole) = rest.first_chunk::<MARKED>()
        && let ([first, second, third, fourth], []) = whole.as_chunks::<16>()
    {
        visited(MARKED);
        let bits = |chunk| u64::from(Lanes::of(chunk).up_to(b'\r').bits());
        return Some(bits(first) | bits(second) << 16 | bits(third) << 32 | bits(fourth) << 48);
    }
    marks_of_the_last(rest)
}

/// The same for fewer bytes, which are the last ones.
#[inline(never)]
fn marks_of_the_last(rest: &[u8]) -> Option<u64> {
    let [marks] = marks(rest, |lanes| [lanes.up_to(b'\r')])?;
    (!rest.is_empty()).then_some(marks)
}

/// Where one of three bytes stands first, from `at` on.
pub(crate) fn find_of_3(set: [u8; 3], bytes: &[u8], at: usize) -> Option<usize> {
    let [a, b, c] = set;
    find_by(bytes, at, |lanes| lanes.are(a).or(lanes.are(b)).or(lanes.are(c)))
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
    // With more digits than these a number may be too large.
    const NEVER_TOO_LARGE: usize = 9;
    if bytes.is_empty() {
        return None;
    }
    if bytes.len() > NEVER_TOO_LARGE {
        return bytes.iter().try_fold(0_u32, |value, byte| {
            let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
            value.checked_mul(10)?.checked_add(u32::from(digit))
        });
    }
    let mut value = 0_u32;
    for byte in bytes {
        let digit = u32::from(byte.wrapping_sub(b'0'));
        if digit > 9 {
            return None;
        }
        value = value.wrapping_mul(10).wrapping_add(digit);
    }
    Some(value)
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
                let (head, tail) = (marks_up_to_cr(&bytes, 0).unwrap(), marks_up_to_cr(&bytes, at).unwrap());
                assert_eq!(
                    head.checked_ilog2().map(|_| head.trailing_zeros() as usize),
                    first(&|found| found <= b'\r')
                );
                assert_eq!(head >> at, tail, "{byte} at {at}");
                assert_eq!(find(byte, &bytes, at), Some(at));
            }
            bytes = [0x80; 40];
        }
        assert_eq!((find(b'a', b"a", 1), find(b'a', b"a", 2)), (None, None));
    }

    #[test]
    fn hosts_and_plain_values_end_like_bytes() {
        for byte in 0..=u8::MAX {
            for at in 0..20 {
                let mut bytes = [b'x'; 20];
                bytes[at] = byte;
                let host_end = if is_host_name(byte) { 20 } else { at };
                assert_eq!(host_name_end(&bytes, 0), host_end, "{byte} at {at}");
                let end = plain_value_end(&bytes, 0);
                assert!(
                    end <= value_end(&bytes, 0)
                        && end == if b"x-.~_!@".contains(&byte) && byte != b'!' { 20 } else { end }
                );
                assert!(end == 20 || end == at, "{byte} at {at}");
            }
        }
        assert_eq!((host_name_end(b"a", 5), plain_value_end(b"a", 5)), (5, 5));
    }

    #[test]
    fn marks_say_which_bytes_are_of_a_kind() {
        for len in 0..=MARKED {
            for at in 0..len {
                let mut bytes = vec![b'x'; len];
                bytes[at] = b';';
                let wanted =
                    [1 << at, u64::MAX.checked_shr(64 - u32::try_from(len).unwrap()).unwrap_or(0) & !(1 << at)];
                assert_eq!(marks(&bytes, |lanes| [lanes.are(b';'), lanes.are(b'x')]), Some(wanted), "{at} of {len}");
            }
            assert_eq!(marks(&vec![0; len], |lanes| [lanes.are(b';')]), Some([0]));
        }
        assert_eq!(marks(&[0; MARKED + 1], |lanes| [lanes.are(0)]), None);
        let text = [b"a".repeat(MARKED), b"\r\n".to_vec()].concat();
        assert_eq!((marks_up_to_cr(&text, 0), marks_up_to_cr(&text, MARKED)), (Some(0), Some(3)));
        assert_eq!((marks_up_to_cr(&text, text.len()), marks_up_to_cr(&text, text.len() + 1)), (None, None));
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
