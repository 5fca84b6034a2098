//! Replies, built from the request's own bytes (RFC 3261 section 8.2.6), and the Via that says where they go.

use std::net::IpAddr;

use crate::bytes::find_by;
use crate::uri::host_ip;
use crate::written::{write_ip, write_number};
use crate::{Message, Name, Rport, Span, Via};

/// An answer to one request.
///
/// It takes from the request: every Via in order, From, To, Call-ID and CSeq; a 100 takes Timestamp as well and never
/// gets a To tag (RFC 3261 section 8.2.6.1). It has no body.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'r> {
    /// The status, 100 to 699.
    pub status: u16,
    /// The reason phrase; [`reason_phrase`] has the usual ones.
    pub reason: &'r str,
    /// The tag for To, used when the request's To has none and the status is not 100.
    pub to_tag: Option<&'r [u8]>,
    /// Where the request came from: goes into the top Via as [`write_via_with_source`] does it.
    pub source: Option<(IpAddr, u16)>,
    /// Further headers, name and value, in front of Content-Length.
    pub extra: &'r [(&'r str, &'r [u8])],
}

impl Reply<'_> {
    /// Appends the answer to `request`. Headers that the request lacks are left out of the answer too.
    pub fn write(&self, request: &Message<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"SIP/2.0 ");
        write_number(self.status.into(), out);
        out.push(b' ');
        out.extend_from_slice(self.reason.as_bytes());
        out.extend_from_slice(b"\r\n");
        self.write_vias(request, out);
        copy_header(request, Name::From, "From", out);
        self.write_to(request, out);
        copy_header(request, Name::CallId, "Call-ID", out);
        copy_header(request, Name::CSeq, "CSeq", out);
        if self.status == 100 {
            copy_header(request, Name::Timestamp, "Timestamp", out);
        }
        for (name, value) in self.extra {
            write_header(name, value, out);
        }
        out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    }

    fn write_vias(&self, request: &Message<'_>, out: &mut Vec<u8>) {
        let bytes = request.bytes();
        let top = self.source.map(|source| (source, request.via()));
        for header in request.all(Name::Via) {
            let Span { start, end } = header.value;
            let value_start = out.len() + b"Via: ".len();
            match &top {
                Some((source, via)) if start <= via.span.start && via.span.end <= end => {
                    out.extend_from_slice(b"Via: ");
                    out.extend_from_slice(Span { start, end: via.span.start }.of(bytes));
                    write_via_with_source(via, bytes, *source, out);
                    out.extend_from_slice(Span { start: via.span.end, end }.of(bytes));
                    end_header(value_start, out);
                }
                _ => write_header("Via", header.value.of(bytes), out),
            }
        }
    }

    fn write_to(&self, request: &Message<'_>, out: &mut Vec<u8>) {
        let Some(to) = request.first(Name::To) else { return };
        out.extend_from_slice(b"To: ");
        let start = out.len();
        out.extend_from_slice(request.value(to));
        if let Some(tag) = self.to_tag
            && self.status != 100
            && request.to_tag().is_none()
        {
            out.extend_from_slice(b";tag=");
            out.extend_from_slice(tag);
        }
        end_header(start, out);
    }
}

/// Appends the Via element of `bytes`, the message, with what a server adds to the top Via of a request
/// (RFC 3261 section 18.2.1, RFC 3581 section 4).
///
/// `received` is set when sent-by is a name, or another address than the source's, or `rport` is there; `rport` is
/// filled when it is there. Values that came from outside are replaced in any case.
pub fn write_via_with_source(via: &Via<'_>, bytes: &[u8], source: (IpAddr, u16), out: &mut Vec<u8>) {
    let ip = source.0.to_canonical();
    let rport = match via.rport {
        Rport::Absent => None,
        Rport::Requested(word) => Some((word, &b"rport="[..])),
        Rport::Filled { value, .. } => Some((value, &b""[..])),
    };
    let write_rport = |(span, prefix): (Span, &[u8]), at: &mut u32, out: &mut Vec<u8>| {
        copy_up_to(span, bytes, at, out);
        out.extend_from_slice(prefix);
        write_number(source.1.into(), out);
    };
    let is_rport_first = rport.zip(via.received).is_none_or(|((rport, _), received)| rport.start < received.start);
    let mut at = via.span.start;
    if let Some(rport) = rport.filter(|_| is_rport_first) {
        write_rport(rport, &mut at, out);
    }
    if let Some(received) = via.received {
        copy_up_to(received, bytes, &mut at, out);
        write_ip(ip, out);
    }
    if let Some(rport) = rport.filter(|_| !is_rport_first) {
        write_rport(rport, &mut at, out);
    }
    out.extend_from_slice(Span { start: at, end: via.span.end }.of(bytes));
    if via.received.is_none() && (rport.is_some() || sent_by_ip(via) != Some(ip)) {
        out.extend_from_slice(b";received=");
        write_ip(ip, out);
    }
}

/// Appends what stands between `at` and `span`, and moves `at` behind `span`.
fn copy_up_to(span: Span, bytes: &[u8], at: &mut u32, out: &mut Vec<u8>) {
    out.extend_from_slice(Span { start: *at, end: span.start }.of(bytes));
    *at = span.end;
}

/// The address in sent-by, when it is one and not a name.
fn sent_by_ip(via: &Via<'_>) -> Option<IpAddr> {
    host_ip(via.host).map(|ip| ip.to_canonical())
}

fn copy_header(request: &Message<'_>, name: Name, spelled: &str, out: &mut Vec<u8>) {
    if let Some(header) = request.first(name) {
        write_header(spelled, request.value(header), out);
    }
}

fn write_header(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    let start = out.len();
    out.extend_from_slice(value);
    end_header(start, out);
}

/// Ends the header whose value begins at `start` of `out`. A bare CR or LF in it, which a malformed request may hold,
/// becomes a space: nothing in a value ends its header.
fn end_header(start: usize, out: &mut Vec<u8>) {
    let mut at = start;
    while let Some(line_end) = find_by(out, at, |lanes| lanes.are(b'\r').or(lanes.are(b'\n'))) {
        match out.get_mut(line_end..) {
            Some([b'\r', b'\n', b' ' | b'\t', ..]) => at = line_end + 2,
            Some([stray, ..]) => {
                *stray = b' ';
                at = line_end + 1;
            }
            _ => break,
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// The usual phrase of a status (RFC 3261 section 21 and its extensions); for one not known, that of its class.
pub const fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        200 => "OK",
        202 => "Accepted",
        204 => "No Notification",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        305 => "Use Proxy",
        380 => "Alternative Service",
        400..=499 => client_failure(status),
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        580 => "Precondition Failure",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        607 => "Unwanted",
        608 => "Rejected",
        _ => class_phrase(status),
    }
}

const fn client_failure(status: u16) -> &'static str {
    match status {
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        412 => "Conditional Request Failed",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        417 => "Unknown Resource-Priority",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        424 => "Bad Location Information",
        428 => "Use Identity Header",
        429 => "Provide Referrer Identity",
        433 => "Anonymity Disallowed",
        436 => "Bad Identity Info",
        437 => "Unsupported Credential",
        438 => "Invalid Identity Header",
        440 => "Max-Breadth Exceeded",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        493 => "Undecipherable",
        494 => "Security Agreement Required",
        _ => "Bad Request",
    }
}

const fn class_phrase(status: u16) -> &'static str {
    match status {
        0..=199 => "Session Progress",
        200..=299 => "OK",
        300..=399 => "Redirection",
        400..=499 => "Bad Request",
        500..=599 => "Server Failure",
        _ => "Global Failure",
    }
}

#[cfg(test)]
mod tests;
