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

/// The line with every number's last digits hidden. Digits within a longer word (an id, a hash) are no number, and a bare
/// value of JSON stays one.
fn redacted(line: &[u8]) -> Vec<u8> {
    let mut out = line.to_vec();
    let mut at = 0;
    while let Some(begin) = line.get(at..).and_then(|rest| rest.iter().position(u8::is_ascii_digit)).map(|n| at + n) {
        let rest = line.get(begin..).unwrap_or_default();
        let end = begin + rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        let before = line.get(..begin).unwrap_or_default();
        let in_word = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        let is_word = in_word(before.last()) || before.ends_with(b"-") || in_word(line.get(end));
        let is_number = DIGITS.contains(&(end - begin)) && !is_word && !before.ends_with(b"\":");
        if is_number && let Some(last) = out.get_mut(end - HIDDEN..end) {
            last.fill(b'*');
        }
        at = end;
    }
    out
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
            ("extension 1001, port 51820", "extension 1001, port 51820"),
            ("12345678901234567890", "12345678901234567890"),
            ("2026-11-27T23:30:30.123456Z", "2026-11-27T23:30:30.123456Z"),
        ] {
            assert_eq!(String::from_utf8(redacted(line.as_bytes())).unwrap(), shown);
        }
    }
}
