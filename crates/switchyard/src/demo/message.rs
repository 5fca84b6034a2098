//! What a simulated party reads of a message, owned, and how it writes one. Plain text, nothing clever: this is the
//! other side of the wire.

use sip::{Index, Message, Method, Name, NameAddr, Parsed};
use std::fmt::Write;
use std::net::SocketAddr;

/// A message, as far as a party needs it.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub(super) start: Start,
    pub(super) call_id: String,
    pub(super) cseq_number: u32,
    pub(super) cseq_method: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) to_tag: Option<String>,
    /// The values of all Via lines, in order.
    pub(super) vias: Vec<String>,
    pub(super) branch: String,
    pub(super) record_routes: Vec<String>,
    /// The URI in Contact.
    pub(super) contact: Option<String>,
}

/// The start line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Start {
    Request { method: Method, uri: String },
    Response { status: u16, reason: String },
}

impl Read {
    /// Reads a datagram; `None` when it is no SIP message.
    pub(super) fn of(bytes: &[u8]) -> Option<Read> {
        let mut index = Index::new();
        match sip::parse(bytes, &mut index) {
            Parsed::Request(request) => {
                let uri = text(request.uri().of(request.bytes()));
                Some(Read::of_message(Start::Request { method: request.method(), uri }, &request))
            }
            Parsed::Response(response) => {
                let reason = text(response.reason().of(response.bytes()));
                Some(Read::of_message(Start::Response { status: response.status(), reason }, &response))
            }
            _ => None,
        }
    }

    fn of_message(start: Start, message: &Message<'_>) -> Read {
        let lists = |name| message.list(name).map(|item| text(item.span.of(message.bytes()))).collect();
        let contact = message.first(Name::Contact).and_then(|header| {
            let address = NameAddr::parse(message.value(header)).ok()?;
            Some(text(address.uri_bytes()))
        });
        Read {
            start,
            call_id: text(message.call_id()),
            cseq_number: message.cseq().number,
            cseq_method: text(message.cseq().method_bytes),
            from: text(message.from().of(message.bytes())),
            to: text(message.to().of(message.bytes())),
            to_tag: message.to_tag().map(text),
            vias: lists(Name::Via),
            branch: message.via().branch.map(text).unwrap_or_default(),
            record_routes: lists(Name::RecordRoute),
            contact,
        }
    }

    /// The status; `None` for a request.
    pub(super) fn status(&self) -> Option<u16> {
        match self.start {
            Start::Response { status, .. } => Some(status),
            Start::Request { .. } => None,
        }
    }

    /// The message in a few words: `INVITE`, `180 Ringing`, `200 OK (BYE)`.
    pub(super) fn summary(&self) -> String {
        match &self.start {
            Start::Request { method, .. } => method.as_str().to_owned(),
            Start::Response { status, reason } if self.cseq_method == Method::Invite.as_str() => {
                format!("{status} {reason}")
            }
            Start::Response { status, reason } => format!("{status} {reason} ({})", self.cseq_method),
        }
    }
}

/// A request to write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing<'a> {
    pub(super) method: &'a str,
    pub(super) uri: &'a str,
    pub(super) local: SocketAddr,
    pub(super) branch: &'a str,
    pub(super) from: &'a str,
    pub(super) to: &'a str,
    pub(super) call_id: &'a str,
    pub(super) cseq_number: u32,
    pub(super) routes: &'a [String],
    pub(super) with_offer: bool,
}

impl Outgoing<'_> {
    /// The datagram.
    pub(super) fn write(&self) -> String {
        let Outgoing { method, uri, local, branch, from, to, call_id, cseq_number, routes, with_offer } = self;
        let mut head = format!("{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch={branch};rport\r\n");
        for route in *routes {
            let _infallible = write!(head, "Route: {route}\r\n");
        }
        let _infallible = write!(
            head,
            "Max-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq_number} {method}\r\n"
        );
        if *with_offer {
            let _infallible = write!(head, "Contact: <sip:{local}>\r\n");
        }
        finish(head, with_offer.then(|| session(*local)))
    }
}

/// The answer to `request`, with the address that this side wants further requests at and, where asked, its media.
pub(super) fn answer(request: &Read, status: u16, tag: Option<&str>, local: SocketAddr, with_media: bool) -> String {
    let mut head = format!("SIP/2.0 {status} {}\r\n", sip::reason_phrase(status));
    for via in &request.vias {
        let _infallible = write!(head, "Via: {via}\r\n");
    }
    for route in &request.record_routes {
        let _infallible = write!(head, "Record-Route: {route}\r\n");
    }
    let tag = tag.filter(|_| request.to_tag.is_none()).map(|tag| format!(";tag={tag}")).unwrap_or_default();
    let Read { from, to, call_id, cseq_number, cseq_method, .. } = request;
    let _infallible =
        write!(head, "From: {from}\r\nTo: {to}{tag}\r\nCall-ID: {call_id}\r\nCSeq: {cseq_number} {cseq_method}\r\n");
    if cseq_method == Method::Invite.as_str() && (101..300).contains(&status) {
        let _infallible = write!(head, "Contact: <sip:{local}>\r\n");
    }
    finish(head, with_media.then(|| session(local)))
}

fn finish(mut head: String, body: Option<String>) -> String {
    let body = body.unwrap_or_default();
    if !body.is_empty() {
        head.push_str("Content-Type: application/sdp\r\n");
    }
    let _infallible = write!(head, "Content-Length: {}\r\n\r\n{body}", body.len());
    head
}

/// A session description. No media flows in the demonstration, as none passes the proxy in the field.
fn session(local: SocketAddr) -> String {
    let ip = local.ip();
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 10000 RTP/AVP 8 101\r\n\
         a=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
    )
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
