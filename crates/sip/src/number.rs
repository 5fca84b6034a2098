//! Numbers: every spelling of one telephone number becomes one key.
//!
//! The key is the E.164 number without `+`. National numbers have one fixed length, so a bare number of that length is
//! national even when it begins with the country code.

use std::fmt;

use crate::escape::Unescaped;

/// The least digits of an E.164 number that we take for one.
const DIGITS_MIN: usize = 4;
/// The most digits of an E.164 number (ITU-T E.164 section 6.2.1).
const DIGITS_MAX: usize = 15;
/// The most digits of a country code, a trunk prefix or an international prefix.
const PREFIX_DIGITS_MAX: usize = 4;
/// The most digits read from one spelling: an E.164 number behind a prefix.
const SPELLED_DIGITS_MAX: usize = DIGITS_MAX + PREFIX_DIGITS_MAX;
/// The longest raw spelling read, separators included. A `VARCHAR(20)` column and every sane URI are far below.
const SPELLING_BYTES_MAX: usize = 128;

/// An E.164 number: 4 to 15 digits, never with a leading zero. Displays as its digits without `+`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Number(u64);

impl Number {
    /// The number whose digits are those of `digits` in decimal, when there are 4 to 15 of them.
    pub const fn from_digits(digits: u64) -> Option<Number> {
        if digits >= 1_000 && digits <= 999_999_999_999_999 { Some(Number(digits)) } else { None }
    }

    /// The E.164 digits, read as one decimal.
    pub const fn digits(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// How a number is spelled on its way out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Form {
    /// `+918065978002`
    PlusE164,
    /// `918065978002`
    E164,
    /// `08065978002`; a number of another country is spelled as [`Form::ZeroZeroE164`].
    National,
    /// `00918065978002`: the international prefix, then E.164.
    ZeroZeroE164,
}

/// The country's numbering: what a number without `+` means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Numbering {
    country_code: Prefix,
    trunk_prefix: Prefix,
    international_prefix: Prefix,
    /// Digits of a national number, the trunk prefix not counted.
    national_length: u8,
}

impl Default for Numbering {
    /// India: country code 91, trunk prefix 0, national numbers of 10 digits.
    fn default() -> Self {
        Numbering {
            country_code: Prefix { digits: [b'9', b'1', 0, 0], len: 2 },
            trunk_prefix: Prefix { digits: [b'0', 0, 0, 0], len: 1 },
            international_prefix: Prefix { digits: [b'0', b'0', 0, 0], len: 2 },
            national_length: 10,
        }
    }
}

impl Numbering {
    /// A numbering with the international prefix `00`. The error says what was found and what was expected.
    ///
    /// `country_code` has 1 to 3 digits and no leading zero, `trunk_prefix` 0 to 4 digits, `national_length` counts the
    /// digits of a national number without its trunk prefix.
    pub fn new(country_code: &str, trunk_prefix: &str, national_length: u8) -> Result<Numbering, String> {
        let code =
            Prefix::new(country_code).filter(|code| (1..=3).contains(&code.len) && !country_code.starts_with('0'));
        let code =
            code.ok_or_else(|| format!("country code {country_code:?}: expected 1 to 3 digits, the first not 0"))?;
        let trunk = Prefix::new(trunk_prefix)
            .ok_or_else(|| format!("trunk prefix {trunk_prefix:?}: expected up to {PREFIX_DIGITS_MAX} digits"))?;
        let longest = DIGITS_MAX - usize::from(code.len);
        if !(DIGITS_MIN..=longest).contains(&usize::from(national_length)) {
            return Err(format!("national length {national_length}: expected {DIGITS_MIN} to {longest}"));
        }
        Ok(Numbering { country_code: code, trunk_prefix: trunk, national_length, ..Numbering::default() })
    }

    /// The number that `raw` spells: a column of a row, or the user part of a URI with its escapes resolved.
    ///
    /// The separators `-`, `.`, `(`, `)` and space count for nothing. With `+` or the international prefix the rest is
    /// E.164; the trunk prefix and a national number, or a bare national number, get the country code; anything longer
    /// is E.164 without its `+`.
    pub fn canonical(&self, raw: &[u8]) -> Result<Number, NumberFault> {
        if raw.len() > SPELLING_BYTES_MAX {
            return Err(NumberFault::TooLong);
        }
        self.number(&Spelling::read(raw.iter().map(|&byte| Some(byte)))?)
    }

    /// The number that the user part of a URI spells, taken as it stands in the URI.
    ///
    /// User parameters (`;isub=..`, RFC 3966 section 3) are cut off, then escapes are resolved exactly once: `%2B` is a
    /// plus, `%252B` is not (RFC 3261 section 19.1.4).
    pub fn canonical_user(&self, raw_user: &[u8]) -> Result<Number, NumberFault> {
        let user = raw_user.split(|&byte| byte == b';').next().unwrap_or_default();
        if user.len() > SPELLING_BYTES_MAX {
            return Err(NumberFault::TooLong);
        }
        self.number(&Spelling::read(Unescaped::new(user))?)
    }

    /// Appends `number` in the given form.
    pub fn write(&self, number: Number, form: Form, out: &mut Vec<u8>) {
        let mut digits = [0; 20];
        let digits = decimal(number.0, &mut digits);
        match form {
            Form::PlusE164 => out.push(b'+'),
            Form::E164 => {}
            Form::ZeroZeroE164 => out.extend_from_slice(self.international_prefix.digits()),
            Form::National => match self.national(digits) {
                Some(national) => {
                    out.extend_from_slice(self.trunk_prefix.digits());
                    out.extend_from_slice(national);
                    return;
                }
                None => out.extend_from_slice(self.international_prefix.digits()),
            },
        }
        out.extend_from_slice(digits);
    }

    /// A number as long as this one that nobody can have: zeros behind the country code. Of another country its first
    /// three digits stand for the code.
    pub fn impossible(&self, number: Number) -> Number {
        let mut digits = [0; 20];
        let digits = decimal(number.0, &mut digits);
        let code = self.country_code.digits();
        let kept = if digits.starts_with(code) { code.len() } else { digits.len().min(3) };
        let zeros = u32::try_from(digits.len().saturating_sub(kept)).unwrap_or(0);
        let power = 10_u64.pow(zeros);
        Number(number.0 / power * power)
    }

    /// The national part of E.164 digits of this country, when its national spelling is read back as the same number.
    fn national<'d>(&self, digits: &'d [u8]) -> Option<&'d [u8]> {
        let national = digits.strip_prefix(self.country_code.digits())?;
        let is_national = national.len() == usize::from(self.national_length) && national.first() != Some(&b'0');
        (is_national && !self.is_trunk_prefixed(national)).then_some(national)
    }

    fn number(&self, spelling: &Spelling) -> Result<Number, NumberFault> {
        let digits = spelling.digits();
        if spelling.plus {
            return e164(b"", digits);
        }
        if let Some(rest) = digits.strip_prefix(self.international_prefix.digits()) {
            return e164(b"", rest);
        }
        let national_length = usize::from(self.national_length);
        if self.is_trunk_prefixed(digits) {
            let national = digits.get(usize::from(self.trunk_prefix.len)..).unwrap_or_default();
            return match national.len() == national_length {
                true => e164(self.country_code.digits(), national),
                false => Err(NumberFault::NotNational),
            };
        }
        match digits.len().cmp(&national_length) {
            std::cmp::Ordering::Less => Err(NumberFault::TooShort),
            std::cmp::Ordering::Equal => e164(self.country_code.digits(), digits),
            std::cmp::Ordering::Greater => e164(b"", digits),
        }
    }

    fn is_trunk_prefixed(&self, digits: &[u8]) -> bool {
        self.trunk_prefix.len > 0 && digits.starts_with(self.trunk_prefix.digits())
    }
}

/// Why a spelling is no number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum NumberFault {
    /// No digit at all.
    Empty,
    /// A byte that is neither a digit nor a separator, a `+` behind a digit, or a broken escape.
    NotDigits,
    /// Fewer digits than a number can have without `+`: an extension or a short code.
    TooShort,
    /// More digits than E.164 has, or a spelling without end.
    TooLong,
    /// An international number that begins with 0.
    LeadingZero,
    /// The trunk prefix, followed by more or fewer digits than a national number has.
    NotNational,
}

impl NumberFault {
    /// A short name for counters and reports.
    pub const fn name(self) -> &'static str {
        match self {
            NumberFault::Empty => "empty",
            NumberFault::NotDigits => "not_digits",
            NumberFault::TooShort => "too_short",
            NumberFault::TooLong => "too_long",
            NumberFault::LeadingZero => "leading_zero",
            NumberFault::NotNational => "not_national",
        }
    }
}

impl fmt::Display for NumberFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NumberFault::Empty => "found no digit, expected a telephone number",
            NumberFault::NotDigits => "found something else than digits and - . ( ) space, expected a telephone number",
            NumberFault::TooShort => "found too few digits, expected a whole national or international number",
            NumberFault::TooLong => "found too many digits, expected a number of at most 15 (E.164)",
            NumberFault::LeadingZero => "found an international number that begins with 0, expected a country code",
            NumberFault::NotNational => {
                "found the trunk prefix before a wrong count of digits, expected a national number"
            }
        })
    }
}

impl std::error::Error for NumberFault {}

/// Up to four digits in ASCII.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Prefix {
    digits: [u8; PREFIX_DIGITS_MAX],
    len: u8,
}

impl Prefix {
    fn new(text: &str) -> Option<Prefix> {
        let mut digits = [0; PREFIX_DIGITS_MAX];
        digits.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        let len = u8::try_from(text.len()).ok()?;
        text.bytes().all(|byte| byte.is_ascii_digit()).then_some(Prefix { digits, len })
    }

    fn digits(&self) -> &[u8] {
        self.digits.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// The digits of a spelling, and whether a `+` stood before them.
struct Spelling {
    plus: bool,
    digits: [u8; SPELLED_DIGITS_MAX],
    len: usize,
}

impl Spelling {
    /// Reads bytes; `None` is a byte that could not be read.
    fn read(bytes: impl Iterator<Item = Option<u8>>) -> Result<Spelling, NumberFault> {
        let mut spelling = Spelling { plus: false, digits: [0; SPELLED_DIGITS_MAX], len: 0 };
        for byte in bytes {
            match byte {
                Some(digit @ b'0'..=b'9') => {
                    *spelling.digits.get_mut(spelling.len).ok_or(NumberFault::TooLong)? = digit;
                    spelling.len += 1;
                }
                Some(b'-' | b'.' | b'(' | b')' | b' ') => {}
                Some(b'+') if spelling.len == 0 && !spelling.plus => spelling.plus = true,
                _ => return Err(NumberFault::NotDigits),
            }
        }
        if spelling.len == 0 { Err(NumberFault::Empty) } else { Ok(spelling) }
    }

    fn digits(&self) -> &[u8] {
        self.digits.get(..self.len).unwrap_or_default()
    }
}

/// The E.164 number of a country code (or nothing) and the digits behind it, all ASCII digits.
fn e164(country_code: &[u8], digits: &[u8]) -> Result<Number, NumberFault> {
    let len = country_code.len() + digits.len();
    if len > DIGITS_MAX {
        return Err(NumberFault::TooLong);
    }
    if digits.first() == Some(&b'0') {
        return Err(NumberFault::LeadingZero);
    }
    let all = country_code.iter().chain(digits);
    let value = all.fold(0_u64, |value, &digit| value * 10 + u64::from(digit.wrapping_sub(b'0')));
    Number::from_digits(value).ok_or(NumberFault::TooShort)
}

/// `value` in decimal, written into the end of `buffer`.
fn decimal(mut value: u64, buffer: &mut [u8; 20]) -> &[u8] {
    let mut start = buffer.len();
    for slot in buffer.iter_mut().rev() {
        *slot = b'0' + u8::try_from(value % 10).unwrap_or_default();
        value /= 10;
        start -= 1;
        if value == 0 {
            break;
        }
    }
    buffer.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(raw: &str) -> Result<u64, NumberFault> {
        Numbering::default().canonical(raw.as_bytes()).map(Number::digits)
    }

    #[test]
    fn every_spelling_of_one_number_is_one_key() {
        let spellings =
            "+918065978002 918065978002 08065978002 8065978002 00918065978002 080-6597-8002 +91(80)6597.8002";
        for spelling in spellings.split(' ') {
            assert_eq!(canonical(spelling), Ok(918_065_978_002), "{spelling}");
        }
        assert_eq!(canonical(" +91 80 6597 8002 "), Ok(918_065_978_002));
    }

    #[test]
    fn a_bare_national_number_that_begins_with_the_country_code_is_national() {
        assert_eq!(canonical("9123456789"), Ok(919_123_456_789));
        assert_eq!(canonical("919123456789"), Ok(919_123_456_789));
    }

    #[test]
    fn the_impossible_number_is_as_long_and_of_the_same_country() {
        for (number, impossible) in
            [(918_065_978_002, 910_000_000_000), (447_700_900_123, 447_000_000_000), (4_412, 4_410)]
        {
            let number = Number::from_digits(number).unwrap();
            assert_eq!(Numbering::default().impossible(number).digits(), impossible);
        }
    }

    #[test]
    fn numbers_of_other_countries() {
        for spelling in ["+447700900123", "447700900123", "00447700900123"] {
            assert_eq!(canonical(spelling), Ok(447_700_900_123), "{spelling}");
        }
        assert_eq!(canonical("+4412"), Ok(4412));
    }

    #[test]
    fn what_is_no_number_says_why() {
        let cases: [(&str, NumberFault); 15] = [
            ("", NumberFault::Empty),
            ("+", NumberFault::Empty),
            (" - ", NumberFault::Empty),
            ("alice", NumberFault::NotDigits),
            ("++918065978002", NumberFault::NotDigits),
            ("91+8065978002", NumberFault::NotDigits),
            ("+91806597800\u{0662}", NumberFault::NotDigits),
            ("1001", NumberFault::TooShort),
            ("112", NumberFault::TooShort),
            ("+123", NumberFault::TooShort),
            ("+9180659780021234", NumberFault::TooLong),
            ("99999999999999999999", NumberFault::TooLong),
            ("+0918065978002", NumberFault::LeadingZero),
            ("0806597800", NumberFault::NotNational),
            ("0918065978002", NumberFault::NotNational),
        ];
        for (spelling, fault) in cases {
            assert_eq!(canonical(spelling), Err(fault), "{spelling}");
        }
        assert_eq!(canonical(&"1".repeat(1_000_000)), Err(NumberFault::TooLong));
    }

    /// Row RT6: `%`-decoding once only, `;user=phone` and the other user parameters cut off.
    #[test]
    fn rt6_escapes_are_resolved_once() {
        let canonical = |raw: &str| Numbering::default().canonical_user(raw.as_bytes()).map(Number::digits);
        for user in
            ["%2B918065978002", "%2b91%38065978002", "918065978002;isub=1411", "+91-80-6597-8002;phone-context=x"]
        {
            assert_eq!(canonical(user), Ok(918_065_978_002), "{user}");
        }
        for user in ["%252B918065978002", "%2538065978002", "%", "91806597800%3", "91806597800%zz", "91806597800%00"] {
            assert_eq!(canonical(user), Err(NumberFault::NotDigits), "{user}");
        }
    }

    #[test]
    fn every_form_is_read_back() {
        let numbering = Numbering::default();
        let written = |digits: u64, form: Form| {
            let mut out = Vec::new();
            numbering.write(Number::from_digits(digits).unwrap(), form, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(918_065_978_002, Form::PlusE164), "+918065978002");
        assert_eq!(written(918_065_978_002, Form::E164), "918065978002");
        assert_eq!(written(918_065_978_002, Form::National), "08065978002");
        assert_eq!(written(918_065_978_002, Form::ZeroZeroE164), "00918065978002");
        assert_eq!(written(447_700_900_123, Form::National), "00447700900123");
        assert_eq!(written(910_065_978_002, Form::National), "00910065978002", "00.. would be read as international");
        assert_eq!(written(9180, Form::National), "009180");
    }

    #[test]
    fn a_numbering_without_a_trunk_prefix() {
        let numbering = Numbering::new("45", "", 8).unwrap();
        assert_eq!(numbering.canonical(b"32123456").map(Number::digits), Ok(4_532_123_456));
        let mut out = Vec::new();
        numbering.write(Number::from_digits(4_532_123_456).unwrap(), Form::National, &mut out);
        assert_eq!(out, b"32123456");
        out.clear();
        numbering.write(Number::from_digits(4_502_123_456).unwrap(), Form::National, &mut out);
        assert_eq!(out, b"004502123456", "a national number that begins with 0 would not be read back");
    }

    #[test]
    fn a_wrong_numbering_says_what_was_expected() {
        assert!(Numbering::new("", "0", 10).unwrap_err().contains("1 to 3 digits"));
        assert!(Numbering::new("091", "0", 10).unwrap_err().contains("\"091\""));
        assert!(Numbering::new("91", "00000", 10).unwrap_err().contains("trunk prefix"));
        assert!(Numbering::new("91", "0", 14).unwrap_err().contains("4 to 13"));
    }
}
