//! CSeq (RFC 3261 20.16): a number and a method.

use crate::bytes::{digits, skip_lws, token_end, visited};
use crate::error::Fault;
use crate::header::Name;
use crate::limits;
use crate::method::Method;

/// The CSeq of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CSeq<'a> {
    /// Below 2^31.
    pub number: u32,
    /// The method.
    pub method: Method,
    /// The method as it was written.
    pub method_bytes: &'a [u8],
}

impl<'a> CSeq<'a> {
    /// Reads a header value: `1*DIGIT LWS Method`, folds allowed.
    pub fn parse(value: &'a [u8]) -> Result<CSeq<'a>, Fault> {
        CSeq::usual(value).map_or_else(|| CSeq::odd(value), Ok)
    }

    /// Up to nine digits, one space and a known method; `None` leaves it to [`CSeq::odd`].
    #[inline(always)]
    fn usual(value: &'a [u8]) -> Option<CSeq<'a>> {
        const NEVER_TOO_LARGE: usize = 9;
        let (mut number, mut len) = (0_u32, 0);
        for byte in value.iter().take(NEVER_TOO_LARGE) {
            let digit = u32::from(byte.wrapping_sub(b'0'));
            if digit > 9 {
                break;
            }
            number = number.wrapping_mul(10).wrapping_add(digit);
            len += 1;
        }
        visited(len);
        let method_bytes = value.get(len..)?.strip_prefix(b" ")?;
        let method = Method::from_bytes(method_bytes);
        (len > 0 && method != Method::Other).then_some(CSeq { number, method, method_bytes })
    }

    #[inline(never)]
    fn odd(value: &'a [u8]) -> Result<CSeq<'a>, Fault> {
        let malformed = Fault::Malformed(Name::CSeq);
        let digits_end = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let method_start = skip_lws(value, digits_end);
        let method_end = token_end(value, method_start);
        if digits_end == 0 || method_start == digits_end || method_end == method_start || method_end != value.len() {
            return Err(malformed);
        }
        let number = digits(value.get(..digits_end).unwrap_or_default()).ok_or(Fault::CSeqTooLarge)?;
        let method_bytes = value.get(method_start..).unwrap_or_default();
        if number >= limits::CSEQ_NUMBER {
            return Err(Fault::CSeqTooLarge);
        }
        Ok(CSeq { number, method: Method::from_bytes(method_bytes), method_bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_a_method() {
        let cseq = CSeq::parse(b"0009\r\n  INVITE").unwrap();
        assert_eq!((cseq.number, cseq.method, cseq.method_bytes), (9, Method::Invite, b"INVITE".as_slice()));
        let cseq = CSeq::parse(b"1 invite").unwrap();
        assert_eq!((cseq.method, cseq.method_bytes), (Method::Other, b"invite".as_slice()));
    }

    /// Both ways of reading one say the same.
    #[test]
    fn what_is_usual_is_read_as_what_is_odd() {
        for number in ["", "0", "7", "0009", "999999999", "1000000000", "2147483647", "4294967296", "a", "1a"] {
            for method in [" INVITE", " BYE", "\tACK", "  ACK", " NEW", " invite", "BYE", " BYE ", " ", ""] {
                let value = format!("{number}{method}");
                let odd = CSeq::odd(value.as_bytes());
                if let Some(usual) = CSeq::usual(value.as_bytes()) {
                    assert_eq!(Ok(usual), odd, "{value}");
                }
                assert_eq!(CSeq::parse(value.as_bytes()), odd, "{value}");
            }
        }
    }

    /// Row V9: below 2^31, and nothing else than that.
    #[test]
    fn v9_the_number_ends_at_2_to_the_31() {
        assert_eq!(CSeq::parse(b"2147483647 BYE").map(|cseq| cseq.number), Ok(2_147_483_647));
        for number in ["2147483648", "4294967296", "36893488147419103232"] {
            assert_eq!(CSeq::parse(format!("{number} BYE").as_bytes()), Err(Fault::CSeqTooLarge), "{number}");
        }
        for value in ["", "1", "1 ", "INVITE", "-1 BYE", "+1 BYE", "1BYE", "1 BYE x", "1 BYE;x", "1, BYE", "1 \"BYE"] {
            assert_eq!(CSeq::parse(value.as_bytes()), Err(Fault::Malformed(Name::CSeq)), "{value}");
        }
    }
}
