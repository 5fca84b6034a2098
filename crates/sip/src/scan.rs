//! One pass over a message: its lines, and of each header what routing needs.

use crate::bytes::{count, find, is_token, trim, visited};
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
    /// CRLFs that were passed.
    line_ends: usize,
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
        Scan { bytes, headers, found: Found::default(), line_ends: 0, vias: 0, routes: 0, record_routes: 0 }
    }

    /// Ends the pass.
    pub(crate) const fn found(self) -> Found {
        self.found
    }

    /// Keeps the first fault.
    pub(crate) fn note(&mut self, fault: Fault) {
        self.found.note(fault);
    }

    /// Where the line that begins at `at` ends, just after its CRLF. A CR without LF ends nothing.
    pub(crate) fn line_end(&mut self, mut at: usize) -> Option<usize> {
        loop {
            let cr = find(b'\r', self.bytes, at)?;
            if self.bytes.get(cr + 1) == Some(&b'\n') {
                self.line_ends += 1;
                return Some(cr + 2);
            }
            self.note(Fault::LineEnd);
            at = cr + 1;
        }
    }

    /// Scans the headers that begin at `at`; returns where the body begins. Where the headers do not end, or are too
    /// many, that is a fault, and the place is where scanning stopped.
    pub(crate) fn headers(&mut self, mut at: usize) -> usize {
        loop {
            if self.bytes.get(at..at + 2) == Some(b"\r\n") {
                self.line_ends += 1;
                self.check_line_ends(at + 2);
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
    fn header_end(&mut self, at: usize) -> Option<usize> {
        let mut end = self.line_end(at)?;
        while matches!(self.bytes.get(end), Some(b' ' | b'\t')) {
            end = self.line_end(end)?;
        }
        Some(end)
    }

    /// No LF stands outside a CRLF before `end`, and no NUL but as the second half of an escape.
    fn check_line_ends(&mut self, end: usize) {
        let section = self.bytes.get(..end).unwrap_or_default();
        if count(b'\n', section) != self.line_ends {
            self.note(Fault::LineEnd);
        }
        let mut at = 0;
        while let Some(nul) = find(0, section, at) {
            let before = section.get(at..nul).unwrap_or_default();
            let backslashes = before.iter().rev().take_while(|&&byte| byte == b'\\').count();
            visited(backslashes);
            if backslashes % 2 == 0 {
                return self.note(Fault::LineEnd);
            }
            at = nul + 1;
        }
    }

    /// Takes in the header that stands at `at..end`.
    fn header(&mut self, at: usize, end: usize) {
        let line = self.bytes.get(..end).unwrap_or_default();
        let Some(colon) = find(b':', line, at) else {
            return self.note(Fault::HeaderName);
        };
        let name_len = line
            .get(at..colon)
            .unwrap_or_default()
            .iter()
            .rposition(|byte| !matches!(byte, b' ' | b'\t'))
            .map_or(0, |last| last + 1);
        let name_span = Span::new(at, at + name_len);
        let name_bytes = name_span.of(line);
        let name = Name::from_bytes(name_bytes);
        if name == Name::Other {
            visited(name_len);
            if name_len == 0 || !name_bytes.iter().copied().all(is_token) {
                return self.note(Fault::HeaderName);
            }
        }
        let (value_start, value_end) = trim(line, colon + 1, end);
        let value = Span::new(value_start, value_end);
        self.headers.push(Header { name, name_span, value, line: Span::new(at, end) });
        self.found.present |= name.bit();
        self.look_into(name, value);
    }

    /// Keeps the values that routing needs, and counts lists.
    fn look_into(&mut self, name: Name, value: Span) {
        let slot = match name {
            Name::From => &mut self.found.from,
            Name::To => &mut self.found.to,
            Name::CallId => &mut self.found.call_id,
            Name::CSeq => &mut self.found.cseq,
            Name::MaxForwards => &mut self.found.max_forwards,
            Name::ContentLength => &mut self.found.content_length,
            Name::Via | Name::Route | Name::RecordRoute => return self.count_entries(name, value),
            _ => return,
        };
        if slot.is_some() {
            return self.note(Fault::Repeated(name));
        }
        *slot = Some(value);
    }

    fn count_entries(&mut self, name: Name, value: Span) {
        let entries = list::count(self.bytes, value);
        if name == Name::Via {
            self.found.via.get_or_insert(value);
        }
        let Some(entries) = entries else {
            return self.note(Fault::Malformed(name));
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
    }
}
