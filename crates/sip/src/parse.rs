//! From bytes to one of three answers: the scan, then what a proxy must understand (RFC 3261 16.3 item 1, 18.3).

use crate::address;
use crate::bytes::{digits, find_of_3, is_lws, run_end, visited};
use crate::cseq::CSeq;
use crate::error::{Fault, Hopeless};
use crate::header::{Header, Name, Places};
use crate::limits;
use crate::message::{Answerable, Index, Message, Parsed, Request, Response};
use crate::method::Method;
use crate::scan::Scan;
use crate::span::Span;
use crate::start::{RequestLine, Start, StatusLine};
use crate::via::Via;

/// Reads a datagram, which holds one message (RFC 3261 18.3). CRLFs before it are skipped, bytes after Content-Length
/// cut off; without Content-Length the body goes to the end.
pub fn parse<'a>(bytes: &'a [u8], index: &'a mut Index) -> Parsed<'a> {
    read(bytes, index, Carrier::Datagram)
}

/// Reads one message that framing has cut out of a stream, where Content-Length must not be missing.
pub fn parse_framed<'a>(bytes: &'a [u8], index: &'a mut Index) -> Parsed<'a> {
    read(bytes, index, Carrier::Stream)
}

/// What the bytes came in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Carrier {
    Datagram,
    Stream,
}

fn read<'a>(bytes: &'a [u8], index: &'a mut Index, carrier: Carrier) -> Parsed<'a> {
    let bytes = without_leading_line_ends(bytes);
    if is_keepalive(bytes) {
        return Parsed::Hopeless(Hopeless::Empty);
    }
    let is_too_large = bytes.len() > limits::MESSAGE_BYTES;
    let bytes = bytes.get(..limits::MESSAGE_BYTES).unwrap_or(bytes);
    let mut via = None;
    let mut scan = Scan::new(bytes, index, &mut via);
    let Some(headers_start) = scan.start_line_end() else {
        return Parsed::Hopeless(Hopeless::NotSip);
    };
    let start = match Start::read(bytes.get(..headers_start as usize - 2).unwrap_or_default()) {
        Ok(start) => start,
        Err(hopeless) => return Parsed::Hopeless(hopeless),
    };
    if is_too_large {
        scan.note(Fault::TooLarge);
    }
    if let Start::Request(RequestLine { target: Err(fault), .. }) = start {
        scan.note(fault);
    }
    let body_start = scan.headers(headers_start) as usize;
    let found = scan.found();
    let Index { headers, places } = index;
    let headers = headers.get(..found.headers).unwrap_or_default();
    let fault = found.fault;
    let reading = Reading { bytes, headers, places, via: &mut via, headers_start, body_start, carrier, fault };
    match start {
        Start::Request(line) => reading.request(line),
        Start::Status(line) => reading.response(line),
    }
}

fn without_leading_line_ends(mut bytes: &[u8]) -> &[u8] {
    while let Some(rest) = bytes.strip_prefix(b"\r\n") {
        visited(2);
        bytes = rest;
    }
    bytes
}

/// True for nothing at all, and for the line ends, blanks and NULs that keep a NAT's mapping.
fn is_keepalive(bytes: &[u8]) -> bool {
    bytes.first().is_none_or(|first| *first <= b' ')
        && run_end(bytes, 0, |byte| byte == 0 || is_lws(byte)) == bytes.len()
}

/// A message whose headers were found, and whose values are being read.
struct Reading<'a, 'r> {
    bytes: &'a [u8],
    headers: &'a [Header],
    places: &'a Places,
    /// The first Via, where the scan has read it.
    via: &'r mut Option<Via<'a>>,
    headers_start: u32,
    body_start: usize,
    carrier: Carrier,
    /// The first fault.
    fault: Option<Fault>,
}

/// What requests and responses have in common beside the Via, in small pieces: the message is put together where it stays.
#[derive(Clone, Copy)]
struct Parts<'a> {
    from: Span,
    to: Span,
    call_id: Span,
    from_tag: Option<Span>,
    to_tag: Option<Span>,
    cseq: CSeq<'a>,
}

impl<'a> Reading<'a, '_> {
    #[inline(always)]
    fn request(mut self, line: RequestLine<'a>) -> Parsed<'a> {
        let method_bytes = line.method_span.of(self.bytes);
        let Some(parts) = self.parts(CSeq { number: 0, method: line.method, method_bytes }) else {
            return Parsed::Hopeless(Hopeless::NoVia);
        };
        if parts.cseq.method_bytes != method_bytes {
            self.note(Fault::MethodMismatch);
        }
        let max_forwards = self.max_forwards();
        let body = self.body();
        let Some(via) = &*self.via else { return Parsed::Hopeless(Hopeless::NoVia) };
        let method = line.method;
        let RequestLine { method_span, uri, target, .. } = line;
        match (self.fault, target) {
            (None, Ok(target)) => {
                let message = self.message(via, &parts, body);
                Parsed::Request(Request { message, method, method_span, uri, target, max_forwards })
            }
            (Some(fault), _) | (None, Err(fault)) if method != Method::Ack => {
                let message = self.message(via, &parts, body);
                Parsed::Answerable(Answerable { message, method, fault })
            }
            (Some(fault), _) if fault.is_size() => Parsed::Hopeless(Hopeless::TooLarge),
            _ => Parsed::Hopeless(Hopeless::MalformedAck),
        }
    }

    #[inline(always)]
    fn response(mut self, line: StatusLine) -> Parsed<'a> {
        let Some(parts) = self.parts(CSeq { number: 0, method: Method::Other, method_bytes: &[] }) else {
            return Parsed::Hopeless(Hopeless::NoVia);
        };
        let body = self.body();
        let Some(via) = &*self.via else { return Parsed::Hopeless(Hopeless::NoVia) };
        let StatusLine { status, status_span, reason } = line;
        match self.fault {
            None => {
                let message = self.message(via, &parts, body);
                Parsed::Response(Response { message, status, status_span, reason })
            }
            Some(fault) if fault.is_size() => Parsed::Hopeless(Hopeless::TooLarge),
            Some(_) => Parsed::Hopeless(Hopeless::MalformedResponse),
        }
    }

    /// Keeps the first fault.
    fn note(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }

    /// Reads what requests and responses have in common, all but the body; `cseq` stands in for one that cannot be
    /// read. `None` without a Via that shows a way back.
    #[inline(always)]
    fn parts(&mut self, cseq: CSeq<'a>) -> Option<Parts<'a>> {
        if self.via.is_none() {
            self.read_via()?;
        }
        let (to, to_tag) = self.address(self.value(Name::To), Name::To);
        let (from, from_tag) = self.address(self.value(Name::From), Name::From);
        let call_id = self.call_id();
        Some(Parts { from, to, call_id, from_tag, to_tag, cseq: self.cseq().unwrap_or(cseq) })
    }

    /// Reads a first Via that the scan has left.
    #[inline(never)]
    fn read_via(&mut self) -> Option<()> {
        let read = Via::read(self.bytes, self.value(Name::Via)?)?;
        if !read.is_sound {
            self.note(Fault::Malformed(Name::Via));
        }
        *self.via = Some(read.via);
        Some(())
    }

    #[inline(always)]
    fn message(&self, via: &Via<'a>, parts: &Parts<'a>, body: Span) -> Message<'a> {
        let Parts { from, to, call_id, from_tag, to_tag, cseq } = *parts;
        Message {
            bytes: self.bytes.get(..body.range().end).unwrap_or_default(),
            headers: self.headers,
            places: self.places,
            headers_start: self.headers_start,
            via: *via,
            from,
            to,
            call_id,
            from_tag,
            to_tag,
            cseq,
            body,
        }
    }

    /// The value of the first header of that name.
    #[inline(always)]
    fn value(&self, name: Name) -> Option<Span> {
        self.places.first(name, self.headers).map(|header| header.value)
    }

    /// The value of a header that must be there; an empty one when it is not.
    fn required(&mut self, value: Option<Span>, name: Name) -> Span {
        if value.is_none() {
            self.note(Fault::Missing(name));
        }
        value.unwrap_or_default()
    }

    /// The value of From or To, and its tag.
    fn address(&mut self, value: Option<Span>, name: Name) -> (Span, Option<Span>) {
        let value = self.required(value, name);
        let tag = address::tag(self.bytes, value);
        if tag.is_err() {
            self.note(Fault::Malformed(name));
        }
        (value, tag.unwrap_or_default())
    }

    fn call_id(&mut self) -> Span {
        let value = self.required(self.value(Name::CallId), Name::CallId);
        let bytes = value.of(self.bytes);
        if bytes.is_empty() || find_of_3(*b" \t\r", bytes, 0).is_some() {
            self.note(Fault::Malformed(Name::CallId));
        }
        value
    }

    fn cseq(&mut self) -> Option<CSeq<'a>> {
        let value = self.required(self.value(Name::CSeq), Name::CSeq);
        CSeq::parse(value.of(self.bytes)).map_err(|fault| self.note(fault)).ok()
    }

    fn max_forwards(&mut self) -> Option<u32> {
        let hops = digits(self.value(Name::MaxForwards)?.of(self.bytes)).filter(|hops| *hops <= limits::MAX_FORWARDS);
        if hops.is_none() {
            self.note(Fault::Malformed(Name::MaxForwards));
        }
        hops
    }

    /// The body (RFC 3261 18.3). With any fault there is none: it may not be where it seems to be.
    fn body(&mut self) -> Span {
        let here = self.bytes.len() - self.body_start;
        let announced = self.value(Name::ContentLength).map(|value| digits(value.of(self.bytes)));
        let len = match (announced, self.carrier) {
            (Some(Some(len)), _) if len as usize <= here => len as usize,
            (Some(len), _) => {
                self.note(len.map_or(Fault::Malformed(Name::ContentLength), |_| Fault::ShortBody));
                0
            }
            (None, Carrier::Datagram) => here,
            (None, Carrier::Stream) => {
                self.note(Fault::Missing(Name::ContentLength));
                0
            }
        };
        let len = if self.fault.is_some() { 0 } else { len };
        Span::new(self.body_start, self.body_start + len)
    }
}

#[cfg(test)]
mod tests;
