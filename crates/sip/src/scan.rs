//! One pass over a message: its lines, and of each header what routing needs.

use crate::bytes::{MARKED_BYTES, find, marks_up_to_cr, token_end, trim, visited};
use crate::error::Fault;
use crate::header::{Header, Name, Places, SecondVia};
use crate::limits;
use crate::list;
use crate::message::Index;
use crate::span::Span;
use crate::via::Via;

/// A pass over one message.
pub(crate) struct Scan<'a, 'i> {
    bytes: &'a [u8],
    headers: &'i mut [Header],
    places: &'i mut Places,
    via: &'i mut Option<Via<'a>>,
    found: Found,
    stops: Stops,
    vias: usize,
    routes: usize,
    record_routes: usize,
}

/// The names that may occur once, of those that routing needs.
const ONCE: u64 = Name::From.bit()
    | Name::To.bit()
    | Name::CallId.bit()
    | Name::CSeq.bit()
    | Name::MaxForwards.bit()
    | Name::ContentLength.bit();

/// What a pass found beside the headers.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Found {
    /// The first fault.
    pub(crate) fault: Option<Fault>,
    /// The count of headers.
    pub(crate) headers: usize,
}

impl Found {
    /// Keeps the first fault.
    pub(crate) fn note(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }
}

/// Where bytes up to CR stand, which NUL, TAB and LF are among, one after the other. They are looked for many at a time.
#[derive(Clone, Copy)]
struct Stops {
    /// Where the bytes begin that the marks stand for.
    block: u32,
    /// Those that were not given yet.
    marks: u64,
}

impl Stops {
    #[inline(always)]
    fn next(&mut self, bytes: &[u8]) -> Option<u32> {
        while self.marks == 0 {
            self.block = self.block.wrapping_add(MARKED_BYTES);
            self.marks = marks_up_to_cr(bytes, self.block as usize)?;
        }
        let at = self.block.wrapping_add(self.marks.trailing_zeros());
        self.marks &= self.marks.wrapping_sub(1);
        Some(at)
    }

    /// Passes over the next one, a LF.
    #[inline(always)]
    fn skip(self, bytes: &[u8]) -> Stops {
        match self.marks {
            0 => self.skip_far(bytes),
            marks => Stops { marks: marks & marks.wrapping_sub(1), ..self },
        }
    }

    #[cold]
    fn skip_far(mut self, bytes: &[u8]) -> Stops {
        let _line_feed = self.next(bytes);
        self
    }
}

impl<'a, 'i> Scan<'a, 'i> {
    /// A pass over `bytes`, which begin with the start line. The headers go into the table in place of the ones before, and
    /// the first Via, where it is spelled as it is as a rule, into `via`, which is empty.
    #[inline(always)]
    pub(crate) fn new(bytes: &'a [u8], index: &'i mut Index, via: &'i mut Option<Via<'a>>) -> Scan<'a, 'i> {
        let Index { headers, places } = index;
        places.clear();
        let stops = Stops { block: 0, marks: marks_up_to_cr(bytes, 0).unwrap_or_default() };
        Scan { bytes, headers, places, via, found: Found::default(), stops, vias: 0, routes: 0, record_routes: 0 }
    }

    /// Ends the pass.
    pub(crate) const fn found(&self) -> Found {
        self.found
    }

    /// Keeps the first fault.
    pub(crate) fn note(&mut self, fault: Fault) {
        self.found.note(fault);
    }

    /// Where the start line ends, just after its CRLF.
    #[inline(always)]
    pub(crate) fn start_line_end(&mut self) -> Option<u32> {
        let (end, stops) = self.line_end(self.stops)?;
        self.stops = stops;
        Some(end)
    }

    /// Where the next line ends, just after its CRLF, and what stops after it. Nothing else ends a line.
    #[inline(always)]
    fn line_end(&mut self, mut stops: Stops) -> Option<(u32, Stops)> {
        let bytes = self.bytes;
        let stop = stops.next(bytes)?;
        if bytes.get(stop as usize..)?.first_chunk() != Some(b"\r\n") {
            return self.odd_line_end(stop, stops);
        }
        Some((stop.wrapping_add(2), stops.skip(bytes)))
    }

    /// Goes on from a byte at `at` that is no CRLF. A CR or an LF of its own is a fault, and so is a NUL that no `\`
    /// escapes; other control characters are none.
    #[cold]
    fn odd_line_end(&mut self, mut at: u32, mut stops: Stops) -> Option<(u32, Stops)> {
        loop {
            match self.bytes.get(at as usize..).unwrap_or_default() {
                [b'\r', b'\n', ..] => {
                    return Some((at.wrapping_add(2), stops.skip(self.bytes)));
                }
                [b'\r'] => return None,
                [b'\r' | b'\n', ..] => self.note(Fault::LineEnd),
                [0, ..] if !is_escaped(self.bytes, at as usize) => self.note(Fault::LineEnd),
                _ => {}
            }
            at = stops.next(self.bytes)?;
        }
    }

    /// Scans the headers that begin at `at`, where the start line ends; returns where the body begins. Where the headers
    /// do not end, or are too many, that is a fault, and the place is where scanning stopped.
    #[inline(never)]
    pub(crate) fn headers(&mut self, mut at: u32) -> u32 {
        let bytes = self.bytes;
        let all_fit = bytes.len() <= limits::LINE_BYTES;
        let mut stops = self.stops;
        loop {
            let Some((mut end, mut after)) = self.line_end(stops) else {
                self.note(Fault::HeadersUnended);
                return at;
            };
            if end == at.wrapping_add(2) {
                return end;
            }
            // A line that begins with a blank goes on with the header (RFC 3261 7.3.1).
            while bytes.get(end as usize).is_some_and(|byte| *byte <= b' ' && matches!(byte, b' ' | b'\t')) {
                let Some(further) = self.line_end(after) else {
                    self.note(Fault::HeadersUnended);
                    return at;
                };
                (end, after) = further;
            }
            if !all_fit && end.wrapping_sub(at) as usize > limits::LINE_BYTES {
                self.note(Fault::HeaderTooLong);
            } else if self.found.headers >= self.headers.len() {
                self.note(Fault::TooManyHeaders);
                return at;
            } else {
                self.header(bytes, at, end);
            }
            (at, stops) = (end, after);
        }
    }

    /// Takes in the header that stands at `at..end`, where `end` is just after its CRLF.
    #[inline(always)]
    fn header(&mut self, bytes: &'a [u8], at: u32, end: u32) {
        let stop = end.wrapping_sub(2);
        let Some((name, name_end, colon)) = name(bytes, at, stop) else {
            return self.note(Fault::HeaderName);
        };
        let value = value(bytes, colon, stop);
        let is_single = match name {
            Name::Via => self.is_usual_via(value) || self.count_entries(name, value) == Some(1),
            Name::Route | Name::RecordRoute => self.count_entries(name, value) == Some(1),
            _ => false,
        };
        let place = self.found.headers;
        let (name_span, line) = (Span { start: at, end: name_end }, Span { start: at, end });
        if let Some(room) = self.headers.get_mut(place) {
            *room = Header { name, name_span, value, line, is_single };
            self.found.headers = place.wrapping_add(1);
        }
        if self.places.add(name, place) && ONCE & name.bit() != 0 {
            self.note(Fault::Repeated(name));
        }
    }

    /// Reads a Via that is the first, or the second behind one that was read here: every message is asked for the one, every
    /// response for the other. True when it is one entry, spelled as it is as a rule.
    #[inline(never)]
    fn is_usual_via(&mut self, value: Span) -> bool {
        let is_usual = match self.vias {
            0 => {
                *self.via = Via::usual(self.bytes, value);
                self.via.is_some()
            }
            1 if self.via.is_some() => match Via::usual(self.bytes, value) {
                Some(via) => {
                    self.places.second_via = SecondVia::Usual(via.received_ip);
                    true
                }
                None => false,
            },
            _ => false,
        };
        self.vias += usize::from(is_usual);
        is_usual
    }

    /// The count of entries, empty ones included; `None` where it cannot be told, which is a fault.
    fn count_entries(&mut self, name: Name, value: Span) -> Option<usize> {
        let entries = list::count(self.bytes, value);
        let Some(entries) = entries else {
            self.note(Fault::Malformed(name));
            // However many it has, a Via behind it is not the first.
            self.vias += usize::from(name == Name::Via);
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

/// The name of the header that begins at `at` of the message, whose line ends at `stop`; where the name ends, and where its
/// colon stands.
#[inline(always)]
fn name(message: &[u8], at: u32, stop: u32) -> Option<(Name, u32, u32)> {
    if let Some((name, len)) = message.get(at as usize..)?.first_chunk().and_then(Name::at_start) {
        visited(len as usize);
        let end = at.wrapping_add(len);
        return Some((name, end, end));
    }
    odd_name(message.get(..stop as usize)?, at)
}

/// The same for a name that is not known, or not spelled as it is as a rule.
#[inline(never)]
fn odd_name(line: &[u8], at: u32) -> Option<(Name, u32, u32)> {
    let start = at as usize;
    let colon = find(b':', line, start)?;
    let end = without_blanks(line, start, colon);
    let name = Name::from_bytes(line.get(start..end)?);
    let is_name = name != Name::Other || (end > start && token_end(line, start) >= end);
    let Span { start: end, end: colon } = Span::new(end, colon);
    is_name.then_some((name, end, colon))
}

/// Where the value of a header stands, whose colon is at `colon` and whose line ends at `stop`. As a rule one blank stands
/// before it, and nothing behind it.
#[inline(always)]
fn value(message: &[u8], colon: u32, stop: u32) -> Span {
    let line = message.get(colon as usize..stop as usize).unwrap_or_default();
    if let ([_, b' ', first, ..], [.., last]) = (line, line)
        && *first > b' '
        && *last > b' '
    {
        visited(3);
        return Span { start: colon.wrapping_add(2), end: stop };
    }
    odd_value(message, colon, stop)
}

/// The same for a value with other blanks around it, or with none.
#[inline(never)]
fn odd_value(message: &[u8], colon: u32, stop: u32) -> Span {
    let (start, end) = trim(message, (colon as usize).saturating_add(1), stop as usize);
    Span::new(start, end)
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
