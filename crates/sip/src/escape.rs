//! Escapes in URIs (RFC 3261 section 19.1.4): `%2531` is `%31` and never `1`.

/// The bytes of a text with every `%XX` resolved exactly once; a broken escape is `None`.
pub(crate) struct Unescaped<'a> {
    rest: &'a [u8],
}

impl<'a> Unescaped<'a> {
    pub(crate) fn new(raw: &'a [u8]) -> Unescaped<'a> {
        Unescaped { rest: raw }
    }
}

impl Iterator for Unescaped<'_> {
    type Item = Option<u8>;

    fn next(&mut self) -> Option<Option<u8>> {
        match *self.rest {
            [] => None,
            [b'%', high, low, ref rest @ ..] => {
                self.rest = rest;
                Some(hexadecimal(high).zip(hexadecimal(low)).map(|(high, low)| high << 4 | low))
            }
            [b'%', ..] => {
                self.rest = b"";
                Some(None)
            }
            [byte, ref rest @ ..] => {
                self.rest = rest;
                Some(Some(byte))
            }
        }
    }
}

const fn hexadecimal(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
