//! The start line (RFC 3261 7.1, 7.2).

use crate::bytes::{digits, find, token_end, visited};
use crate::error::{Fault, Hopeless};
use crate::limits;
use crate::method::Method;
use crate::span::Span;
use crate::uri::Uri;

/// What a start line said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Start<'a> {
    Request(RequestLine<'a>),
    Status(StatusLine),
}

/// `Method SP Request-URI SP SIP-Version`. The method can always be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RequestLine<'a> {
    pub(crate) method: Method,
    pub(crate) method_span: Span,
    pub(crate) uri: Span,
    /// The request-URI, read; a fault of the line stands in its place.
    pub(crate) target: Result<Uri<'a>, Fault>,
}

/// `SIP-Version SP Status-Code SP Reason-Phrase`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct StatusLine {
    pub(crate) status: u16,
    pub(crate) status_span: Span,
    pub(crate) reason: Span,
}

/// Bytes of the longest method that is known.
const LONGEST_METHOD: usize = "SUBSCRIBE".len();

impl<'a> Start<'a> {
    /// Reads the start line, which stands at the beginning of `line` and ends where it ends, without its CRLF.
    #[inline(always)]
    pub(crate) fn read(line: &'a [u8]) -> Result<Start<'a>, Hopeless> {
        if let Some(start) = Start::usual(line) {
            return Ok(start);
        }
        Start::odd(line)
    }

    /// A sound line of a known method, or of a response, spelled as it is as a rule; `None` leaves it to [`Start::odd`].
    #[inline(always)]
    fn usual(line: &'a [u8]) -> Option<Start<'a>> {
        if line.len() + 2 > limits::LINE_BYTES {
            return None;
        }
        visited(8);
        if let Some(rest) = line.strip_prefix(b"SIP/2.0 ") {
            let ([hundreds @ b'1'..=b'6', tens @ b'0'..=b'9', ones @ b'0'..=b'9', b' '], _) =
                rest.split_first_chunk()?
            else {
                return None;
            };
            let digit = |byte: &u8| u16::from(byte & 15);
            let status = digit(hundreds) * 100 + digit(tens) * 10 + digit(ones);
            let reason = Span::new(12, line.len());
            return Some(Start::Status(StatusLine { status, status_span: Span { start: 8, end: 11 }, reason }));
        }
        let method_end = find(b' ', line, 0).filter(|end| *end <= LONGEST_METHOD)?;
        let method = Method::from_bytes(line.get(..method_end)?);
        let uri_end = line.strip_suffix(b" SIP/2.0")?.len();
        let uri = line.get(method_end + 1..uri_end)?;
        if method == Method::Other {
            return None;
        }
        // A URI with a space in it is none: it makes the whole line a fault.
        let target = Ok(Uri::parse(uri).ok()?);
        let (method_span, uri) = (Span::new(0, method_end), Span::new(method_end + 1, uri_end));
        Some(Start::Request(RequestLine { method, method_span, uri, target }))
    }

    #[inline(never)]
    fn odd(line: &'a [u8]) -> Result<Start<'a>, Hopeless> {
        if line.get(..4).is_some_and(|version| version.eq_ignore_ascii_case(b"SIP/")) {
            return StatusLine::read(line).map(Start::Status).ok_or(Hopeless::MalformedResponse);
        }
        RequestLine::read(line).map(Start::Request).ok_or(Hopeless::NotSip)
    }
}

impl<'a> RequestLine<'a> {
    /// `None` when this is no request of SIP at all, whatever its version.
    fn read(line: &'a [u8]) -> Option<RequestLine<'a>> {
        let method_end = token_end(line, 0);
        if method_end == 0 || line.get(method_end) != Some(&b' ') {
            return None;
        }
        let text_end = line.iter().rposition(|byte| !matches!(byte, b' ' | b'\t'))? + 1;
        let uri_end = memchr::memrchr(b' ', line.get(..text_end)?)?;
        let version = line.get(uri_end + 1..text_end)?;
        if !version.get(..4)?.eq_ignore_ascii_case(b"SIP/") || uri_end <= method_end {
            return None;
        }
        let method_span = Span::new(0, method_end);
        let uri = Span::new(method_end + 1, uri_end);
        let target = if line.len() + 2 > limits::LINE_BYTES {
            Err(Fault::RequestUriTooLong)
        } else if !version.eq_ignore_ascii_case(b"SIP/2.0") {
            Err(Fault::Version)
        } else if text_end != line.len() || find(b' ', uri.of(line), 0).is_some() {
            Err(Fault::RequestLine)
        } else {
            // A scheme that we do not route passes here: it is a 416, which comes later (RFC 3261 16.3).
            Uri::parse(uri.of(line)).map_err(|_| Fault::RequestUri)
        };
        Some(RequestLine { method: Method::from_bytes(method_span.of(line)), method_span, uri, target })
    }
}

impl StatusLine {
    /// `None` for anything but SIP/2.0 and a status of 100 to 699. A missing SP before an empty reason passes.
    fn read(line: &[u8]) -> Option<StatusLine> {
        let (version, rest) = line.split_at_checked(8)?;
        let (status, rest) = rest.split_at_checked(3)?;
        if !version.eq_ignore_ascii_case(b"SIP/2.0 ") || !matches!(rest.first(), None | Some(b' ')) {
            return None;
        }
        let status = digits(status).and_then(|status| u16::try_from(status).ok())?;
        if !(100..=699).contains(&status) || line.len() + 2 > limits::LINE_BYTES {
            return None;
        }
        let reason = Span::new(line.len().min(12), line.len());
        Some(StatusLine { status, status_span: Span::new(8, 11), reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(line: &str) -> Option<Fault> {
        match Start::read(line.as_bytes()) {
            Ok(Start::Request(request)) => request.target.err(),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn request_lines() {
        let line = "INVITE sip:+918065978002@10.10.10.1;user=phone sip/2.0";
        let Ok(Start::Request(request)) = Start::read(line.as_bytes()) else { panic!("{line}") };
        assert_eq!((request.method, request.target.err()), (Method::Invite, None));
        assert_eq!(&line[request.uri.range()], "sip:+918065978002@10.10.10.1;user=phone");
        for line in ["NEW tel:+918065978002 SIP/2.0", "OPTIONS soap.beep://192.0.2.103:3002 SIP/2.0"] {
            assert_eq!(fault(line), None, "{line}");
        }
    }

    /// RFC 4475 3.1.2.7 to 3.1.2.10, 3.1.2.16: faults of the request line are told, never mended.
    #[test]
    fn malformed_request_lines() {
        for (line, expected) in [
            ("INVITE <sip:user@example.com> SIP/2.0", Fault::RequestUri),
            ("INVITE sip:user@example.com; lr SIP/2.0", Fault::RequestLine),
            ("INVITE  sip:user@example.com  SIP/2.0", Fault::RequestLine),
            ("INVITE sip:user@example.com SIP/2.0  ", Fault::RequestLine),
            ("INVITE  SIP/2.0", Fault::RequestUri),
            ("INVITE sip:a\t@example.com SIP/2.0", Fault::RequestUri),
            ("INVITE x-y:<a> SIP/2.0", Fault::RequestUri),
            ("INVITE user SIP/2.0", Fault::RequestUri),
            ("INVITE sip:user@example.com SIP/7.0", Fault::Version),
            ("INVITE sip:user@example.com SIP/2.00", Fault::Version),
            ("INVITE sip:user@example.com SIP/", Fault::Version),
        ] {
            assert_eq!(fault(line), Some(expected), "{line}");
        }
    }

    /// Both ways of reading a line say the same.
    #[test]
    fn what_is_usual_is_read_as_what_is_odd() {
        let methods = ["INVITE", "ACK", "SUBSCRIBE", "invite", "NEW", "MUCHLONGERTHANANY", ""];
        let uris = [
            "sip:a@10.10.10.1:5060;lr",
            "tel:+918065978002",
            "sips:b@example.com",
            "sip:a b@c",
            "",
            "sip:",
            " sip:a@b",
        ];
        let ends = [" SIP/2.0", " sip/2.0", " SIP/7.0", "  SIP/2.0", " SIP/2.0 ", "SIP/2.0", ""];
        let statuses = ["100 Trying", "699 ", "200", "099 x", "700 x", "1a0 x", "200\tOK", "1000 x", ""];
        let mut lines: Vec<String> = Vec::new();
        for method in methods {
            for uri in uris {
                lines.extend(ends.map(|end| format!("{method} {uri}{end}")));
            }
        }
        for status in statuses {
            lines.extend(["SIP/2.0", "sip/2.0"].map(|version| format!("{version} {status}")));
        }
        for line in lines {
            let odd = Start::odd(line.as_bytes());
            if let Some(usual) = Start::usual(line.as_bytes()) {
                assert_eq!(Ok(usual), odd, "{line}");
            }
            assert_eq!(Start::read(line.as_bytes()), odd, "{line}");
        }
    }

    #[test]
    fn lines_of_other_protocols() {
        for line in
            ["", "GET / HTTP/1.1", "INVITE", "INVITE sip:a@b", "IN\u{e9}VITE sip:a@b SIP/2.0", " INVITE a:b SIP/2.0"]
        {
            assert_eq!(Start::read(line.as_bytes()), Err(Hopeless::NotSip), "{line}");
        }
    }

    #[test]
    fn status_lines() {
        for (line, status, reason) in [
            ("SIP/2.0 200 OK", 200, "OK"),
            ("sip/2.0 100 ", 100, ""),
            ("SIP/2.0 699", 699, ""),
            ("SIP/2.0 486  Busy  Here", 486, " Busy  Here"),
        ] {
            let Ok(Start::Status(found)) = Start::read(line.as_bytes()) else { panic!("{line}") };
            assert_eq!((found.status, &line[found.reason.range()]), (status, reason));
        }
        for line in [
            "SIP/2.0 99 x",
            "SIP/2.0 099 x",
            "SIP/2.0 700 x",
            "SIP/2.0 4294967301 better not break the receiver",
            "SIP/2.0 +20 x",
            "SIP/2.0  200 OK",
            "SIP/3.0 200 OK",
            "SIP/2.0 2000",
            "SIP/2.0 200\tOK",
            "SIP/2.0",
        ] {
            assert_eq!(Start::read(line.as_bytes()), Err(Hopeless::MalformedResponse), "{line}");
        }
    }
}
