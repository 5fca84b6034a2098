//! Numbers lose their last two digits on the way out: whatever wrote the line, and whatever field they stand in.

use super::sink::Flow;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing_appender::non_blocking::NonBlocking;
use tracing_subscriber::fmt::MakeWriter;

/// Digits of a telephone number with its area: fewer are an extension, a port or a status, more are no number (E.164).
const DIGITS: std::ops::RangeInclusive<usize> = 10..=15;
/// How many of them are hidden.
const HIDDEN: usize = 2;

/// Hides numbers while it is told to.
#[derive(Clone, Debug)]
pub(super) struct Redacting {
    sink: NonBlocking,
    flow: Flow,
    is_on: Arc<AtomicBool>,
}

impl Redacting {
    pub(super) fn new(sink: NonBlocking, flow: Flow, is_on: Arc<AtomicBool>) -> Redacting {
        Redacting { sink, flow, is_on }
    }
}

impl<'w> MakeWriter<'w> for Redacting {
    type Writer = Redacting;

    fn make_writer(&'w self) -> Redacting {
        self.clone()
    }
}

impl Write for Redacting {
    /// Takes one whole line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.flow.leave();
        if self.is_on.load(Ordering::Relaxed) {
            self.sink.write_all(&redacted(line))?;
            return Ok(line.len());
        }
        self.sink.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// The line with every number's last digits hidden, with separators or without. Digits within a longer word (an id, a hash) are no number, and a bare
/// value of JSON stays one.
fn redacted(line: &[u8]) -> Vec<u8> {
    let mut out = line.to_vec();
    let mut at = 0;
    while let Some(begin) = line.get(at..).and_then(|rest| rest.iter().position(u8::is_ascii_digit)).map(|n| at + n) {
        let rest = line.get(begin..).unwrap_or_default();
        let before = line.get(..begin).unwrap_or_default();
        let digits = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        let spread = spread(rest);
        let in_word = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        let stands_free = |length: usize| {
            !in_word(before.last())
                && !before.ends_with(b"-")
                && !before.ends_with(b"\":")
                && !in_word(rest.get(length))
        };
        let length = spread.filter(|length| stands_free(*length)).unwrap_or(digits);
        let is_number = spread == Some(length) || DIGITS.contains(&digits);
        if is_number && stands_free(length) {
            let last = out.iter_mut().take(begin + length).rev().filter(|byte| byte.is_ascii_digit());
            last.take(HIDDEN).for_each(|byte| *byte = b'*');
        }
        at = begin + length;
    }
    out
}

/// The length of a number with visual separators (RFC 3966) that begins here: groups of digits, between which stand single
/// hyphens or dots. An address of IPv4 is none.
fn spread(rest: &[u8]) -> Option<usize> {
    let is_separator = |byte: &u8| matches!(byte, b'-' | b'.');
    let length = rest.iter().position(|byte| !byte.is_ascii_digit() && !is_separator(byte)).unwrap_or(rest.len());
    let text = rest.get(..length)?;
    let length = length - text.iter().rev().take_while(|byte| is_separator(byte)).count();
    let groups: Vec<&[u8]> = rest.get(..length)?.split(is_separator).collect();
    let digits: usize = groups.iter().map(|group| group.len()).sum();
    let is_address = groups.len() == 4 && groups.iter().all(|group| group.len() <= 3);
    let is_number = groups.len() > 1 && groups.iter().all(|group| !group.is_empty()) && !is_address;
    (is_number && DIGITS.contains(&digits)).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lose_their_last_two_digits_and_nothing_else_changes() {
        for (line, shown) in [
            ("called=+918065978002 status=200", "called=+9180659780** status=200"),
            ("sip:08065978002@10.10.10.1:5060", "sip:080659780**@10.10.10.1:5060"),
            (
                "{\"called\":\"+447700900123\",\"after_us\":12345678901}",
                "{\"called\":\"+4477009001**\",\"after_us\":12345678901}",
            ),
            ("from 8065978002", "from 80659780**"),
            ("id 00000721-0000-4000-8000-000000000001", "id 00000721-0000-4000-8000-000000000001"),
            (
                "call_id=a1234567890b key 0123456789ab org_1234567890",
                "call_id=a1234567890b key 0123456789ab org_1234567890",
            ),
            ("called=080-6597-8001 rule=row", "called=080-6597-80** rule=row"),
            ("\"called\":\"+91.80.6597.8001;npdi\"", "\"called\":\"+91.80.6597.80**;npdi\""),
            ("called=91-80-65978001.", "called=91-80-659780**."),
            ("called=806-597-8-0-0-1", "called=806-597-8-0-*-*"),
            ("192.168.100.200:51820 and 255.255.255.255", "192.168.100.200:51820 and 255.255.255.255"),
            ("\"seconds\":1234567.890123", "\"seconds\":1234567.890123"),
            ("2026-11-27 a1b2-0000-4000-8000-0000", "2026-11-27 a1b2-0000-4000-8000-0000"),
            ("1--2345678901", "1--2345678901"),
            ("extension 1001, port 51820", "extension 1001, port 51820"),
            ("12345678901234567890", "12345678901234567890"),
            ("2026-11-27T23:30:30.123456Z", "2026-11-27T23:30:30.123456Z"),
        ] {
            assert_eq!(String::from_utf8(redacted(line.as_bytes())).unwrap(), shown);
        }
    }
}
