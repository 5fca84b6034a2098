//! One cell becomes one value, or a fault that says what was found and what was expected.

use sip::{Number, Numbering};

use crate::fault::{CellFault, Reason, shown};
use crate::limits::{ID_BYTES_MAX, JSON_BYTES_MAX, TEXT_BYTES_MAX};
use crate::rows::Cell;
use crate::words::Words;

/// A cell with its column's name.
#[derive(Clone, Copy)]
pub(crate) struct Named<'c> {
    column: &'static str,
    bytes: Option<&'c [u8]>,
}

/// Puts a column's name to its cell.
pub(crate) fn named<'c>(column: &'static str, cell: &'c Cell) -> Named<'c> {
    Named { column, bytes: cell.as_deref() }
}

impl<'c> Named<'c> {
    /// The fault of this cell.
    pub(crate) fn fault(self, reason: Reason, expected: impl Into<String>) -> CellFault {
        CellFault { column: self.column, found: shown(self.bytes), expected: expected.into(), reason }
    }

    /// The row's id.
    pub(crate) fn id(self) -> Result<&'c str, CellFault> {
        let id = self.text_of_at_most(ID_BYTES_MAX)?;
        id.filter(|id| !id.is_empty()).ok_or_else(|| self.fault(Reason::Null, "the row's id"))
    }

    /// The id of a row of another table; NULL and empty text are none.
    pub(crate) fn reference(self) -> Result<Option<&'c str>, CellFault> {
        Ok(self.text_of_at_most(ID_BYTES_MAX)?.filter(|id| !id.is_empty()))
    }

    /// Text; NULL is empty text.
    pub(crate) fn text(self) -> Result<&'c str, CellFault> {
        Ok(self.text_of_at_most(TEXT_BYTES_MAX)?.unwrap_or_default())
    }

    /// JSON text; NULL is none.
    pub(crate) fn json(self) -> Result<Option<&'c str>, CellFault> {
        self.text_of_at_most(JSON_BYTES_MAX)
    }

    fn text_of_at_most(self, bytes_max: usize) -> Result<Option<&'c str>, CellFault> {
        let Some(bytes) = self.bytes else { return Ok(None) };
        if bytes.len() > bytes_max {
            return Err(self.fault(Reason::TooLong, format!("at most {bytes_max} bytes")));
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(self.fault(Reason::NotUtf8, "UTF-8 text")),
        }
    }

    /// A word of a set.
    pub(crate) fn word<W: Words>(self) -> Result<W, CellFault> {
        let text = self.text_of_at_most(TEXT_BYTES_MAX)?;
        let text = text.ok_or_else(|| self.fault(Reason::Null, W::EXPECTED))?;
        W::read(text).ok_or_else(|| self.fault(Reason::UnknownWord, W::EXPECTED))
    }

    /// A telephone number; NULL is a fault.
    pub(crate) fn number(self, numbering: &Numbering) -> Result<Number, CellFault> {
        let raw = self.bytes.ok_or_else(|| self.fault(Reason::Null, "a telephone number"))?;
        numbering.canonical(raw).map_err(|fault| {
            let text = fault.to_string();
            let expected = text.split_once("expected ").map_or("a telephone number", |(_, expected)| expected);
            self.fault(Reason::BadNumber, expected)
        })
    }

    /// A telephone number; NULL and blank text are none.
    pub(crate) fn optional_number(self, numbering: &Numbering) -> Result<Option<Number>, CellFault> {
        match self.bytes {
            None => Ok(None),
            Some(bytes) if bytes.trim_ascii().is_empty() => Ok(None),
            Some(_) => self.number(numbering).map(Some),
        }
    }

    /// Yes or no; NULL is no.
    pub(crate) fn boolean(self) -> Result<bool, CellFault> {
        match self.bytes {
            None | Some(b"0" | b"\0" | b"f" | b"false" | b"FALSE") => Ok(false),
            Some(b"1" | b"\x01" | b"t" | b"true" | b"TRUE") => Ok(true),
            Some(_) => Err(self.fault(Reason::BadBoolean, "0, 1, false or true")),
        }
    }

    /// A whole number from `least` to `most`; NULL is none.
    pub(crate) fn integer(self, least: u32, most: u32) -> Result<Option<u32>, CellFault> {
        let Some(bytes) = self.bytes else { return Ok(None) };
        let value = std::str::from_utf8(bytes).ok().and_then(|text| text.trim().parse().ok());
        match value.filter(|value| (least..=most).contains(value)) {
            Some(value) => Ok(Some(value)),
            None => Err(self.fault(Reason::BadInteger, format!("a whole number from {least} to {most}"))),
        }
    }

    /// A time in seconds since 1970, taken as UTC; NULL is 0, the oldest. Fractions of a second are cut off.
    pub(crate) fn time_s(self) -> Result<u32, CellFault> {
        let Some(bytes) = self.bytes else { return Ok(0) };
        time_s(bytes).ok_or_else(|| self.fault(Reason::BadTime, "a time such as 2026-05-16 10:00:00"))
    }
}

/// Seconds since 1970 of `YYYY-MM-DD HH:MM:SS` with anything behind it, or of whole seconds in decimal.
fn time_s(text: &[u8]) -> Option<u32> {
    if !text.is_empty() && text.len() <= 10 && text.iter().all(u8::is_ascii_digit) {
        return std::str::from_utf8(text).ok()?.parse().ok();
    }
    let part = |at: usize, len: usize, most: u32| -> Option<u32> {
        let digits = text.get(at..at + len).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
        std::str::from_utf8(digits).ok()?.parse().ok().filter(|&value| value <= most)
    };
    let is_at = |at: usize, bytes: &[u8]| text.get(at).is_some_and(|byte| bytes.contains(byte));
    if !(is_at(4, b"-") && is_at(7, b"-") && is_at(10, b" T") && is_at(13, b":") && is_at(16, b":")) {
        return None;
    }
    let (year, month, day) = (part(0, 4, 9_999)?, part(5, 2, 12)?, part(8, 2, 31)?);
    let (hour, minute, second) = (part(11, 2, 23)?, part(14, 2, 59)?, part(17, 2, 60)?);
    let seconds = u64::from(days_since_1970(year, month, day)?) * 86_400;
    u32::try_from(seconds + u64::from(hour) * 3_600 + u64::from(minute) * 60 + u64::from(second)).ok()
}

/// Days from 1970-01-01 to a day of the Gregorian calendar, counted in years that begin in March.
fn days_since_1970(year: u32, month: u32, day: u32) -> Option<u32> {
    let year = if month > 2 { year } else { year.checked_sub(1)? };
    let month = (month + 9) % 12;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day.checked_sub(1)?;
    days.checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_the_engines_print_them() {
        let cases: [(&str, Option<u32>); 9] = [
            ("1970-01-01 00:00:00", Some(0)),
            ("2026-05-16 10:00:00", Some(1_778_925_600)),
            ("2026-05-16T10:00:00.123Z", Some(1_778_925_600)),
            ("2000-02-29 00:00:01", Some(951_782_401)),
            ("1778925600", Some(1_778_925_600)),
            ("1969-12-31 23:59:59", None),
            ("0000-00-00 00:00:00", None),
            ("yesterday", None),
            ("9999-12-31 23:59:59", None),
        ];
        for (text, expected) in cases {
            assert_eq!(time_s(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn integers_have_limits() {
        let read =
            |text: &str| named("call_limit", &Some(text.into())).integer(0, 1_000).map_err(|fault| fault.expected);
        assert_eq!(read(" 12 "), Ok(Some(12)));
        assert_eq!(read("1000"), Ok(Some(1_000)));
        for text in ["-1", "1001", "", "1.5", "99999999999999999999"] {
            assert_eq!(read(text), Err("a whole number from 0 to 1000".to_owned()), "{text}");
        }
    }

    #[test]
    fn a_number_fault_says_what_was_expected() {
        let fault = named("number", &Some(b"0806".to_vec())).number(&Numbering::default()).err().unwrap();
        assert_eq!((fault.found.as_str(), fault.expected.as_str()), ("\"0806\"", "a national number"));
    }
}
