//! Messages: what the scanner found, as places in the bytes that arrived.

use crate::cseq::CSeq;
use crate::error::{Fault, Hopeless};
use crate::header::{Header, Name, Places, SecondVia};
use crate::limits;
use crate::list::{Item, List};
use crate::method::Method;
use crate::span::Span;
use crate::uri::Uri;
use crate::via::Via;
use core::net::IpAddr;
use core::ops::Deref;

/// The headers' places: a table that its owner keeps from message to message, so that scanning allocates nothing.
#[derive(Debug)]
pub struct Index {
    /// Room for [`limits::HEADERS`] headers, of which a message has the first ones.
    pub(crate) headers: Vec<Header>,
    /// In a box, for an owner moves its table out and in with every message.
    pub(crate) places: Box<Places>,
}

impl Index {
    /// A table with room for [`limits::HEADERS`] headers; it never grows.
    pub fn new() -> Index {
        Index { headers: vec![Header::NONE; limits::HEADERS], places: Box::new(Places::NONE) }
    }
}

impl Default for Index {
    fn default() -> Index {
        Index::new()
    }
}

/// The three answers to bytes that arrived.
#[derive(Clone, Copy, Debug)]
pub enum Parsed<'a> {
    /// A request that can be worked on.
    Request(Request<'a>),
    /// A response that can be worked on.
    Response(Response<'a>),
    /// A request with a fault that its sender can be told.
    Answerable(Answerable<'a>),
    /// Noise: counted and dropped.
    Hopeless(Hopeless),
}

/// A malformed request, never an ACK, with a Via that shows the way back.
#[derive(Clone, Copy, Debug)]
pub struct Answerable<'a> {
    /// What was found: enough for [`crate::Reply`], and nothing to forward. Missing parts are empty.
    pub message: Message<'a>,
    /// The method of the request line.
    pub method: Method,
    /// What to tell the sender.
    pub fault: Fault,
}

/// What requests and responses have in common.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) headers: &'a [Header],
    pub(crate) places: &'a Places,
    pub(crate) headers_start: u32,
    pub(crate) via: Via<'a>,
    pub(crate) from: Span,
    pub(crate) to: Span,
    pub(crate) call_id: Span,
    pub(crate) from_tag: Option<Span>,
    pub(crate) to_tag: Option<Span>,
    pub(crate) cseq: CSeq<'a>,
    pub(crate) body: Span,
}

impl<'a> Message<'a> {
    /// The message, from its start line to the end of its body. Every span is a place in these bytes.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The headers in order of arrival.
    pub const fn headers(&self) -> &'a [Header] {
        self.headers
    }

    /// The value of a header, without the white space around it. Folds inside it stay.
    pub fn value(&self, header: &Header) -> &'a [u8] {
        header.value.of(self.bytes)
    }

    /// The first header of that name.
    pub fn first(&self, name: Name) -> Option<&'a Header> {
        self.places.first(name, self.headers)
    }

    /// Every header of that name, in order of arrival.
    pub fn all(&self, name: Name) -> impl Iterator<Item = &'a Header> + use<'a> {
        self.headers_for(name).iter().filter(move |header| header.name == name)
    }

    /// The entries of a comma-separated list, over every header of that name.
    pub fn list(&self, name: Name) -> List<'a> {
        List::new(self.bytes, self.headers_for(name), name)
    }

    /// What to delete to remove a list entry: its whole header when it is alone there, else the entry and what parts it
    /// from its neighbour.
    pub fn removal(&self, item: &Item<'_>) -> Span {
        item.removal(self.bytes)
    }

    /// Just after the start line's CRLF: where a header that is added goes.
    pub const fn headers_start(&self) -> u32 {
        self.headers_start
    }

    /// The first Via entry.
    pub const fn via(&self) -> &Via<'a> {
        &self.via
    }

    /// The Via entry after the first, in the same header or in another one.
    pub fn second_via(&self) -> Result<Option<Via<'a>>, Fault> {
        self.list(Name::Via).nth(1).map(|item| Via::parse(self.bytes, item.span)).transpose()
    }

    /// What a proxy asks of the second Via entry before it passes a response on: whether it is there and can be read, and the
    /// address in its `received`. The same as [`Message::second_via`] says, and cheaper.
    pub fn second_received(&self) -> Result<Option<Option<IpAddr>>, Fault> {
        match self.places.second_via {
            SecondVia::Usual(received) => Ok(Some(received)),
            SecondVia::Unread => Ok(self.second_via()?.map(|via| via.received_ip)),
        }
    }

    /// Where the Call-ID stands.
    pub const fn call_id_span(&self) -> Span {
        self.call_id
    }

    /// The Call-ID, whole.
    pub fn call_id(&self) -> &'a [u8] {
        self.call_id.of(self.bytes)
    }

    /// The value of From.
    pub const fn from(&self) -> Span {
        self.from
    }

    /// The value of To.
    pub const fn to(&self) -> Span {
        self.to
    }

    /// The tag of From.
    pub fn from_tag(&self) -> Option<&'a [u8]> {
        self.from_tag.map(|tag| tag.of(self.bytes))
    }

    /// The tag of To; a request with one is inside a dialog.
    pub fn to_tag(&self) -> Option<&'a [u8]> {
        self.to_tag.map(|tag| tag.of(self.bytes))
    }

    /// The CSeq.
    pub const fn cseq(&self) -> CSeq<'a> {
        self.cseq
    }

    /// The body, as long as Content-Length says.
    pub const fn body(&self) -> Span {
        self.body
    }

    /// Headers that all of that name are among; none when none has it.
    fn headers_for(&self, name: Name) -> &'a [Header] {
        self.places.of(name, self.headers)
    }
}

/// A request that is well-formed wherever a proxy looks (RFC 3261 16.3 item 1).
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub(crate) message: Message<'a>,
    pub(crate) method: Method,
    pub(crate) method_span: Span,
    pub(crate) uri: Span,
    pub(crate) target: Uri<'a>,
    pub(crate) max_forwards: Option<u32>,
}

impl<'a> Request<'a> {
    /// The method.
    pub const fn method(&self) -> Method {
        self.method
    }

    /// The method as it was written.
    pub fn method_bytes(&self) -> &'a [u8] {
        self.method_span.of(self.message.bytes)
    }

    /// Where the request-URI stands.
    pub const fn uri(&self) -> Span {
        self.uri
    }

    /// The request-URI, taken apart; the spans in it are places in itself.
    pub const fn target(&self) -> Uri<'a> {
        self.target
    }

    /// Max-Forwards, 0 to 255; `None` when the request has none.
    pub const fn max_forwards(&self) -> Option<u32> {
        self.max_forwards
    }

    /// What requests and responses have in common.
    pub const fn message(&self) -> &Message<'a> {
        &self.message
    }
}

impl<'a> Deref for Request<'a> {
    type Target = Message<'a>;

    fn deref(&self) -> &Message<'a> {
        &self.message
    }
}

/// A response that is well-formed wherever a proxy looks.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    pub(crate) message: Message<'a>,
    pub(crate) status: u16,
    pub(crate) status_span: Span,
    pub(crate) reason: Span,
}

impl<'a> Response<'a> {
    /// The status, 100 to 699.
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The three digits.
    pub const fn status_span(&self) -> Span {
        self.status_span
    }

    /// The reason phrase, possibly empty.
    pub const fn reason(&self) -> Span {
        self.reason
    }

    /// What requests and responses have in common.
    pub const fn message(&self) -> &Message<'a> {
        &self.message
    }
}

impl<'a> Deref for Response<'a> {
    type Target = Message<'a>;

    fn deref(&self) -> &Message<'a> {
        &self.message
    }
}
