//! `host [":" port]`, as it stands in a Via and in a URI.

use crate::bytes::{digits, is_host_name, run_end, visited};

/// The end of the host that begins at `at`: a name, an IPv4 address, or an IPv6 reference with its brackets. `None`
/// when there is none. Names are not checked beyond their bytes; RFC 5118's extra colon passes.
pub(crate) fn host_end(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at) == Some(&b'[') {
        let end = run_end(bytes, at + 1, |byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
        return (end > at + 1 && bytes.get(end) == Some(&b']')).then_some(end + 1);
    }
    let end = run_end(bytes, at, is_host_name);
    (end > at).then_some(end)
}

/// A port of 1 to 65,535; leading zeros pass, as they do in the grammar.
pub(crate) fn port(bytes: &[u8]) -> Option<u16> {
    digits(bytes).and_then(|value| u16::try_from(value).ok()).filter(|port| *port != 0)
}

/// The port of up to five digits that `bytes` begin with, and their count; `None` where there is none, or more of it.
#[inline(always)]
pub(crate) fn short_port(bytes: &[u8]) -> Option<(u16, usize)> {
    if let Some((digits, rest)) = bytes.split_first_chunk::<4>()
        && !rest.first().is_some_and(u8::is_ascii_digit)
        && let Some(port) = four_digits(*digits)
    {
        visited(digits.len());
        return (port != 0).then_some((port, digits.len()));
    }
    odd_port(bytes)
}

/// The value of four digits, all at once.
#[inline(always)]
fn four_digits(digits: [u8; 4]) -> Option<u16> {
    let values = u32::from_le_bytes(digits) ^ 0x3030_3030;
    // The highest bit of a byte says that it was no digit; what a carry out of such a byte does beside it is no matter.
    if (values.wrapping_add(0x7676_7676) | values) & 0x8080_8080 != 0 {
        return None;
    }
    let pairs = values.wrapping_mul(10).wrapping_add(values >> 8);
    let [high, _, low, _] = pairs.to_le_bytes();
    Some(u16::from(high).wrapping_mul(100).wrapping_add(low.into()))
}

/// The same as [`short_port`] for any count of digits.
#[inline(never)]
fn odd_port(bytes: &[u8]) -> Option<(u16, usize)> {
    const LONGEST: usize = 5;
    let (mut port, mut len) = (0_u32, 0_usize);
    for byte in bytes.iter().take(LONGEST) {
        let digit = u32::from(byte.wrapping_sub(b'0'));
        if digit > 9 {
            break;
        }
        port = port.wrapping_mul(10).wrapping_add(digit);
        len = len.wrapping_add(1);
    }
    visited(len);
    let is_whole = len < LONGEST || !bytes.get(LONGEST).is_some_and(u8::is_ascii_digit);
    let port = u16::try_from(port).ok().filter(|port| *port != 0 && is_whole)?;
    Some((port, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_end_where_they_end() {
        let cases: [(&str, Option<usize>); 9] = [
            ("pbx.example.com:5060", Some(15)),
            ("192.0.2.1;branch=x", Some(9)),
            ("[2001:db8::9:1]:5070", Some(15)),
            ("[2001:db8:::192.0.2.1]", Some(22)),
            ("[]", None),
            ("[2001:db8::1", None),
            ("[host]", None),
            (":5060", None),
            ("", None),
        ];
        for (host, end) in cases {
            assert_eq!(host_end(host.as_bytes(), 0), end, "{host}");
        }
    }

    /// Both ways of reading one say the same.
    #[test]
    fn four_digits_are_read_as_any_others() {
        for port in 0..=10_000 {
            for text in [format!("{port}"), format!("{port:04}"), format!("{port:04};"), format!("{port:04}1")] {
                assert_eq!(short_port(text.as_bytes()), odd_port(text.as_bytes()), "{text}");
            }
        }
        for at in 0..4 {
            for byte in 0..=u8::MAX {
                let mut bytes = *b"5960;";
                bytes[at] = byte;
                assert_eq!(short_port(&bytes), odd_port(&bytes), "{bytes:?}");
            }
        }
    }

    #[test]
    fn ports_have_bounds() {
        assert_eq!((port(b"1"), port(b"65535"), port(b"05060")), (Some(1), Some(65_535), Some(5060)));
        assert_eq!(
            (short_port(b"5060;x"), short_port(b"65535"), short_port(b"00001")),
            (Some((5060, 4)), Some((65_535, 5)), Some((1, 5)))
        );
        for bytes in ["0", "65536", "", "a", "123456", "00000"] {
            assert_eq!(short_port(bytes.as_bytes()), None, "{bytes}");
        }
        assert_eq!((port(b"0"), port(b"65536"), port(b""), port(b"5060a")), (None, None, None, None));
    }
}
