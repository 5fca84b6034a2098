//! What is wrong with a message: a fault that its sender can be told, or one that nobody can be told.

use crate::header::Name;
use core::fmt;

/// The sender's fault, told to him as a status and a reason phrase that names it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fault {
    /// The request line is not `Method SP Request-URI SP SIP-Version` (RFC 3261 25.1).
    RequestLine,
    /// The request-URI cannot be read.
    RequestUri,
    /// The request line is longer than [`crate::limits::LINE_BYTES`].
    RequestUriTooLong,
    /// The SIP version is not 2.0.
    Version,
    /// A bare CR, a bare LF or a NUL before the body: another element might see other headers than we do.
    LineEnd,
    /// A header line has no name that can be read.
    HeaderName,
    /// The message ends before the empty line that ends its headers.
    HeadersUnended,
    /// A header that every request needs is missing.
    Missing(Name),
    /// A header of which there is one stands there twice.
    Repeated(Name),
    /// A header that a proxy must understand cannot be read.
    Malformed(Name),
    /// The CSeq number is 2^31 or more.
    CSeqTooLarge,
    /// The CSeq method is not the method of the request.
    MethodMismatch,
    /// The body is shorter than Content-Length says.
    ShortBody,
    /// More than [`crate::limits::HEADERS`] header lines.
    TooManyHeaders,
    /// A header longer than [`crate::limits::LINE_BYTES`].
    HeaderTooLong,
    /// More than [`crate::limits::VIAS`] Via entries.
    TooManyVias,
    /// More than [`crate::limits::ROUTES`] Route, or Record-Route, entries.
    TooManyRoutes,
    /// More than [`crate::limits::MESSAGE_BYTES`] bytes.
    TooLarge,
}

impl Fault {
    /// The status of the answer.
    pub const fn status(self) -> u16 {
        match self {
            Fault::RequestUriTooLong => 414,
            Fault::Version => 505,
            Fault::TooManyHeaders | Fault::HeaderTooLong | Fault::TooLarge => 513,
            _ => 400,
        }
    }

    /// The reason phrase of the answer: what was found.
    pub const fn reason(self) -> &'static str {
        match self {
            Fault::RequestLine => "Bad Request Line",
            Fault::RequestUri => "Bad Request-URI",
            Fault::RequestUriTooLong => "Request-URI Too Long",
            Fault::Version => "Version Not Supported",
            Fault::LineEnd => "Bare CR, LF Or NUL In Headers",
            Fault::HeaderName => "Bad Header Name",
            Fault::HeadersUnended => "No End Of Headers",
            Fault::Missing(name) => missing(name),
            Fault::Repeated(name) => repeated(name),
            Fault::Malformed(name) => malformed(name),
            Fault::CSeqTooLarge => "CSeq Number Too Large",
            Fault::MethodMismatch => "CSeq Method Differs",
            Fault::ShortBody => "Body Shorter Than Content-Length",
            Fault::TooManyHeaders => "Too Many Headers",
            Fault::HeaderTooLong => "Header Too Long",
            Fault::TooManyVias => "Too Many Via Entries",
            Fault::TooManyRoutes => "Too Many Route Entries",
            Fault::TooLarge => "Message Too Large",
        }
    }

    /// True for what is too much rather than wrong.
    pub const fn is_size(self) -> bool {
        matches!(
            self,
            Fault::RequestUriTooLong
                | Fault::TooManyHeaders
                | Fault::HeaderTooLong
                | Fault::TooManyVias
                | Fault::TooManyRoutes
                | Fault::TooLarge
        )
    }
}

const fn missing(name: Name) -> &'static str {
    match name {
        Name::From => "Missing From",
        Name::To => "Missing To",
        Name::CallId => "Missing Call-ID",
        Name::CSeq => "Missing CSeq",
        Name::ContentLength => "Missing Content-Length",
        _ => "Missing Header",
    }
}

const fn repeated(name: Name) -> &'static str {
    match name {
        Name::From => "Repeated From",
        Name::To => "Repeated To",
        Name::CallId => "Repeated Call-ID",
        Name::CSeq => "Repeated CSeq",
        Name::MaxForwards => "Repeated Max-Forwards",
        Name::ContentLength => "Repeated Content-Length",
        _ => "Repeated Header",
    }
}

const fn malformed(name: Name) -> &'static str {
    match name {
        Name::Via => "Bad Via",
        Name::From => "Bad From",
        Name::To => "Bad To",
        Name::CallId => "Bad Call-ID",
        Name::CSeq => "Bad CSeq",
        Name::MaxForwards => "Bad Max-Forwards",
        Name::ContentLength => "Bad Content-Length",
        Name::Route => "Bad Route",
        Name::RecordRoute => "Bad Record-Route",
        _ => "Bad Header",
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for Fault {}

/// What nobody can be told: counted and dropped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Hopeless {
    /// No byte at all, or CRLFs and NULs alone: a keepalive (RFC 5626 3.5.1).
    Empty,
    /// The first line is no SIP start line.
    NotSip,
    /// No Via says where an answer would go, or where a response goes on to.
    NoVia,
    /// A response that cannot be read (RFC 3261 18.1.2, 18.3).
    MalformedResponse,
    /// An ACK that cannot be read: no ACK is ever answered (RFC 3261 17.1).
    MalformedAck,
    /// A response, or an ACK, beyond a limit.
    TooLarge,
}

impl Hopeless {
    /// Every reason, in order.
    pub const ALL: [Hopeless; 6] = [
        Hopeless::Empty,
        Hopeless::NotSip,
        Hopeless::NoVia,
        Hopeless::MalformedResponse,
        Hopeless::MalformedAck,
        Hopeless::TooLarge,
    ];

    /// The counter's label.
    pub const fn name(self) -> &'static str {
        match self {
            Hopeless::Empty => "empty",
            Hopeless::NotSip => "not_sip",
            Hopeless::NoVia => "no_via",
            Hopeless::MalformedResponse => "malformed_response",
            Hopeless::MalformedAck => "malformed_ack",
            Hopeless::TooLarge => "too_large",
        }
    }
}

impl fmt::Display for Hopeless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_name_their_status_and_what_was_found() {
        assert_eq!((Fault::Version.status(), Fault::Version.reason()), (505, "Version Not Supported"));
        assert_eq!((Fault::Missing(Name::To).status(), Fault::Missing(Name::To).reason()), (400, "Missing To"));
        assert_eq!((Fault::TooLarge.status(), Fault::RequestUriTooLong.status()), (513, 414));
        assert!(Fault::TooManyVias.is_size() && !Fault::RequestUri.is_size());
    }

    #[test]
    fn labels_of_what_is_dropped_differ() {
        let mut labels = Hopeless::ALL.map(Hopeless::name).to_vec();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Hopeless::ALL.len());
    }
}
