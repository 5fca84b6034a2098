//! One pass over a message: its lines, and of each header what routing needs.

use crate::bytes::{find, find_up_to_cr, token_end, trim, visited};
use crate::error::Fault;
use crate::header::{Header, Name};
use crate::limits;
use crate::list;
use crate::span::Span;

/// A pass over one message.
pub(crate) struct Scan<'a, 'i> {
    bytes: &'a [u8],
    headers: &'i mut Vec<Header>,
    found: Found,
    vias: usize,
    routes: usize,
    record_routes: usize,
}

/// What a pass found: values, not yet read.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Found {
    /// The first fault.
    pub(crate) fault: Option<Fault>,
    /// The set of the names that occur, a [`Name::bit`] each.
    pub(crate) present: u64,
    /// The value of the first Via header.
    pub(crate) via: Option<Span>,
    pub(crate) from: Option<Span>,
    pub(crate) to: Option<Span>,
    pub(crate) call_id: Option<Span>,
    pub(crate) cseq: Option<Span>,
    pub(crate) max_forwards: Option<Span>,
    pub(crate) content_length: Option<Span>,
}

impl Found {
    /// Keeps the first fault.
    pub(crate) fn note(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }
}

impl<'a, 'i> Scan<'a, 'i> {
    /// A pass over `bytes`, which begin with the start line. The headers go into the table, which is emptied first.
    pub(crate) fn new(bytes: &'a [u8], headers: &'i mut Vec<Header>) -> Scan<'a, 'i> {
        headers.clear();
        Scan { bytes, headers, found: Found::default(), vias: 0, routes: 0, record_routes: 0 }
    }

    /// Ends the pass.
    pub(crate) const fn found(self) -> Found {
        self.found
    }

    /// Keeps the first fault.
    pub(crate) fn note(&mut self, fault: Fault) {
        self.found.note(fault);
    }

    /// Where the line that begins at `at` ends, just after its CRLF. Nothing else ends a line.
    #[inline(always)]
    pub(crate) fn line_end(&mut self, at: usize) -> Option<usize> {
        let stop = find_up_to_cr(self.bytes, at)?;
        if self.bytes.get(stop..stop + 2) == Some(b"\r\n") { Some(stop + 2) } else { self.odd_line_end(stop) }
    }

    /// Goes on from a byte at `at` that is no CRLF. A CR or an LF of its own is a fault, and so is a NUL that no `\`
    /// escapes; other control characters are none.
    #[cold]
    fn odd_line_end(&mut self, mut at: usize) -> Option<usize> {
        loop {
            match (self.bytes.get(at), self.bytes.get(at + 1)) {
                (Some(b'\r'), Some(b'\n')) => return Some(at + 2),
                (Some(b'\r'), None) => return None,
                (Some(b'\r' | b'\n'), _) => self.note(Fault::LineEnd),
                (Some(0), _) if !is_escaped(self.bytes, at) => self.note(Fault::LineEnd),
                _ => {}
            }
            at = find_up_to_cr(self.bytes, at + 1)?;
        }
    }

    /// Scans the headers that begin at `at`; returns where the body begins. Where the headers do not end, or are too
    /// many, that is a fault, and the place is where scanning stopped.
    #[inline(never)]
    pub(crate) fn headers(&mut self, mut at: usize) -> usize {
        loop {
            if self.bytes.get(at..at + 2) == Some(b"\r\n") {
                return at + 2;
            }
            let Some(end) = self.header_end(at) else {
                self.note(Fault::HeadersUnended);
                return at;
            };
            if end - at > limits::LINE_BYTES {
                self.note(Fault::HeaderTooLong);
            } else if self.headers.len() == limits::HEADERS {
                self.note(Fault::TooManyHeaders);
                return at;
            } else {
                self.header(at, end);
            }
            at = end;
        }
    }

    /// Where the header that begins at `at` ends, past its folds (RFC 3261 7.3.1).
    #[inline]
    fn header_end(&mut self, at: usize) -> Option<usize> {
        let mut end = at;
        loop {
            end = self.line_end(end)?;
            if !matches!(self.bytes.get(end), Some(b' ' | b'\t')) {
                return Some(end);
            }
        }
    }

    /// Takes in the header that stands at `at..end`, where `end` is just after its CRLF.
    fn header(&mut self, at: usize, end: usize) {
        let line = self.bytes.get(..end - 2).unwrap_or_default();
        let Some((name, name_end, colon)) = name(self.bytes, line, at) else {
            return self.note(Fault::HeaderName);
        };
        let (value_start, value_end) = value(line, colon + 1);
        let value = Span::new(value_start, value_end);
        let name_span = Span::new(at, name_end);
        self.found.present |= name.bit();
        let is_single = match name {
            Name::Via | Name::Route | Name::RecordRoute => self.count_entries(name, value) == Some(1),
            _ => false,
        };
        self.headers.push(Header { name, name_span, value, line: Span::new(at, end), is_single });
        self.look_into(name, value);
    }

    /// Keeps the values that routing needs.
    fn look_into(&mut self, name: Name, value: Span) {
        let slot = match name {
            Name::From => &mut self.found.from,
            Name::To => &mut self.found.to,
            Name::CallId => &mut self.found.call_id,
            Name::CSeq => &mut self.found.cseq,
            Name::MaxForwards => &mut self.found.max_forwards,
            Name::ContentLength => &mut self.found.content_length,
            _ => return,
        };
        if slot.is_some() {
            return self.note(Fault::Repeated(name));
        }
        *slot = Some(value);
    }

    /// The count of entries, empty ones included; `None` where it cannot be told, which is a fault.
    fn count_entries(&mut self, name: Name, value: Span) -> Option<usize> {
        let entries = list::count(self.bytes, value);
        if name == Name::Via {
            self.found.via.get_or_insert(value);
        }
        let Some(entries) = entries else {
            self.note(Fault::Malformed(name));
            return None;
        };
        let (total, max, fault) = match name {
            Name::Via => (&mut self.vias, limits::VIAS, Fault::TooManyVias),
            Name::Route => (&mut self.routes, limits::ROUTES, Fault::TooManyRoutes),
            _ => (&mut self.record_routes, limits::ROUTES, Fault::TooManyRoutes),
        };
        *total += entries;
        if *total > max {
            self.note(fault);
        }
        Some(entries)
    }
}

/// The name of the header that begins at `at` of `line`, which the message begins with; where the name ends, and where its
/// colon stands.
#[inline]
fn name(message: &[u8], line: &[u8], at: usize) -> Option<(Name, usize, usize)> {
    if let Some((name, len)) = message.get(at..)?.first_chunk().and_then(Name::at_start) {
        visited(len);
        return Some((name, at + len, at + len));
    }
    let colon = find(b':', line, at)?;
    let end = without_blanks(line, at, colon);
    let name = Name::from_bytes(line.get(at..end)?);
    (name != Name::Other || (end > at && token_end(line, at) >= end)).then_some((name, end, colon))
}

/// Where the value of a header line that goes on at `start` begins and ends. As a rule one blank stands before it, and
/// nothing behind it.
#[inline]
fn value(line: &[u8], start: usize) -> (usize, usize) {
    match line.get(start..) {
        Some([b' ', first, .., last]) if *first > b' ' && *last > b' ' => {
            visited(3);
            (start + 1, line.len())
        }
        _ => trim(line, start, line.len()),
    }
}

/// The end of `start..end` without the blanks before it.
fn without_blanks(bytes: &[u8], start: usize, mut end: usize) -> usize {
    while end > start && matches!(bytes.get(end - 1), Some(b' ' | b'\t')) {
        end -= 1;
        visited(1);
    }
    end
}

/// True when an odd count of `\` stands before `at`: `\` escapes any byte but CR and LF (RFC 3261 25.1).
fn is_escaped(bytes: &[u8], at: usize) -> bool {
    let before = bytes.get(..at).unwrap_or_default();
    let backslashes = before.iter().rev().take_while(|&&byte| byte == b'\\').count();
    visited(backslashes);
    backslashes % 2 == 1
}
