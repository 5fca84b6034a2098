//! What we change in a message that we pass on: RFC 3261 16.6 for requests, 16.7 for responses. All of it by splices
//! over the original bytes; what is not named here leaves as it came.

mod lines;

use crate::dialog_token::{Dialog, Names, Token};
use crate::flow::Transport;
use crate::identity::{IdentityEdits, Line, Seen};
use crate::keys::KeyRing;
use crate::settings::{Listener, Peer};
use crate::transaction::key::Branch;
use lines::Lines;
use sip::{Header, Message, Method, Name, Request, Response, Scheme, Span, Splice, Uri};
use std::io::Write;
use std::net::IpAddr;

/// Where our own parts stand in a request that was forwarded: what changes when the next peer is tried.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stamp {
    pub(crate) key_id: u8,
    pub(crate) loop_part: u64,
    /// Our Via line, with its line end.
    pub(crate) via: Span,
    /// Our Record-Route lines, with their line ends; empty when there are none.
    pub(crate) records: Span,
    /// Host, port and transport of the request-URI, where they are the peer's.
    pub(crate) hostport: Option<Span>,
    /// The Call-ID of an INVITE, without white space.
    pub(crate) call_id: Span,
    /// The end of the lines that our own CANCEL, ACK and answers are made of; 0 where all of the request is needed for
    /// them, or it is no INVITE.
    pub(crate) lines_end: u32,
    /// So many bytes at its end are as they arrived.
    pub(crate) tail: u32,
}

/// What becomes of the request-URI (16.6 item 2).
#[derive(Clone, Copy, Debug)]
pub(crate) enum UriOut<'a> {
    /// It stays, less what may not stand in a request-URI.
    Keep(Uri<'a>),
    /// It becomes the peer's, with this user part.
    Peer { uri: Uri<'a>, user: &'a [u8] },
    /// It becomes the first Route, for a strict router (item 6).
    Whole(&'a [u8]),
}

/// What becomes of the Route header fields (16.4, 16.6 item 6).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Routes<'a> {
    /// Values taken from the top: our own, and a strict router's.
    pub(crate) skip_first: usize,
    /// Values taken from the end: what became the request-URI.
    pub(crate) skip_last: usize,
    /// A value put at the end: the request-URI, for a strict router.
    pub(crate) append: Option<&'a [u8]>,
}

/// What our Record-Route carries.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Record<'a> {
    /// Nothing: the request makes no dialog, or we do not stay on its path.
    None,
    /// A new token, bound to the dialog; with the caller's two names where we changed the caller ID.
    Mint(&'a Token, Option<&'a Names>, &'a KeyRing),
    /// The dialog's token as it came.
    Copy(&'a [u8]),
}

/// A request on its way out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forward<'a> {
    pub(crate) request: &'a Request<'a>,
    pub(crate) uri: UriOut<'a>,
    pub(crate) routes: Routes<'a>,
    pub(crate) record: Record<'a>,
    pub(crate) identity: IdentityEdits<'a>,
    /// Where it came from: our socket, and the neighbour's address.
    pub(crate) arrived: Listener,
    pub(crate) source: (IpAddr, u16),
    pub(crate) leaves: Listener,
    pub(crate) peer: Peer,
    pub(crate) branch: Branch,
}

impl Forward<'_> {
    /// Appends the request as it leaves. `None` only when its own spans contradict each other.
    pub(crate) fn write(&self, out: &mut Vec<u8>) -> Option<Stamp> {
        let request = self.request;
        let base = out.len();
        let mut stamp = Stamp { key_id: self.branch.key_id, loop_part: self.branch.loop_part, ..Stamp::default() };
        let mut splice = Splice::new(request.bytes(), out);
        let uri = request.uri();
        stamp.hostport = write_uri(splice.with(uri.start, uri.end), base, &self.uri, &self.peer);
        let start = request.headers_start();
        self.write_own_headers(splice.with(start, start), base, &mut stamp);
        let via = request.via();
        let mut seen_via = false;
        let mut seen_route = false;
        let mut seen = Seen::default();
        // Of any other request nothing of ours is made.
        let is_invite = request.method() == Method::Invite;
        let mut lines = Lines::new(self.adds_length());
        for header in request.headers() {
            match header.name {
                Name::Via if !seen_via => {
                    seen_via = true;
                    let into = splice.with(via.span.start, via.span.end);
                    sip::write_via_with_source(via, request.bytes(), self.source, into);
                }
                Name::MaxForwards => {
                    let left = request.max_forwards().unwrap_or(70).saturating_sub(1);
                    sip::write_number(left, splice.with(header.value.start, header.value.end));
                }
                Name::Route if self.routes.changes() => {
                    let into = splice.with(header.line.start, header.line.end);
                    if !seen_route {
                        self.write_routes(into);
                    }
                    seen_route = true;
                }
                _ if self.identity.is_empty() => {}
                _ => write_identity(&mut splice, request, header, &self.identity, &mut seen),
            }
            if is_invite {
                lines.pass(header, &splice, base);
            }
        }
        let tail = splice.left();
        splice.finish().ok()?;
        stamp.tail = u32::try_from(tail).unwrap_or_default();
        (stamp.call_id, stamp.lines_end) = (lines.call_id, lines.end());
        Some(stamp)
    }

    /// A stream needs a length.
    fn adds_length(&self) -> bool {
        self.leaves.transport == Transport::Tcp && self.request.first(Name::ContentLength).is_none()
    }

    fn write_own_headers(&self, out: &mut Vec<u8>, base: usize, stamp: &mut Stamp) {
        let from = out.len() - base;
        write_own_via(out, &self.leaves, &self.branch);
        stamp.via = Span::new(from, out.len() - base);
        self.write_records(out);
        stamp.records = Span::new(stamp.via.end as usize, out.len() - base);
        self.identity.write_missing(self.request, out);
        if self.request.max_forwards().is_none() {
            out.extend_from_slice(b"Max-Forwards: 70\r\n");
        }
        if self.adds_length() {
            let _ = write!(out, "Content-Length: {}\r\n", self.request.body().len());
        }
        if let (Some(_), None) = (self.routes.append, self.request.first(Name::Route)) {
            self.write_routes(out);
        }
    }

    /// One Record-Route; two where the request leaves by another of our addresses than it came by (RFC 5658 5). The
    /// token stands in the one that the callee sees on top; both come back in every request of the dialog.
    fn write_records(&self, out: &mut Vec<u8>) {
        if matches!(self.record, Record::None) {
            return;
        }
        write_record(out, &self.leaves, |out| match self.record {
            Record::Mint(token, names, keys) => {
                token.write(names, keys, dialog_of(self.request), out);
                out.push(b'@');
            }
            Record::Copy(text) => {
                out.extend_from_slice(text);
                out.push(b'@');
            }
            Record::None => {}
        });
        if self.arrived != self.leaves {
            write_record(out, &self.arrived, |_| {});
        }
    }

    /// The Route values that stay, on one line.
    fn write_routes(&self, out: &mut Vec<u8>) {
        let bytes = self.request.bytes();
        let total = self.request.list(Name::Route).count();
        let kept = total.saturating_sub(self.routes.skip_first + self.routes.skip_last);
        let values = self.request.list(Name::Route).skip(self.routes.skip_first).take(kept);
        let mut separator: &[u8] = b"Route: ";
        for value in values.map(|item| item.span.of(bytes)) {
            out.extend_from_slice(separator);
            out.extend_from_slice(value);
            separator = b", ";
        }
        if let Some(uri) = self.routes.append {
            out.extend_from_slice(separator);
            out.push(b'<');
            out.extend_from_slice(uri);
            out.push(b'>');
            separator = b", ";
        }
        if separator == b", " {
            out.extend_from_slice(b"\r\n");
        }
    }
}

impl Routes<'_> {
    fn changes(&self) -> bool {
        self.skip_first > 0 || self.skip_last > 0 || self.append.is_some()
    }
}

/// One Record-Route line; `user` writes what stands in front of the address, with its `@`.
fn write_record(out: &mut Vec<u8>, listener: &Listener, user: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b"Record-Route: <sip:");
    user(out);
    sip::write_address(listener.address, out);
    if listener.transport == Transport::Tcp {
        out.extend_from_slice(b";transport=tcp");
    }
    out.extend_from_slice(b";lr>\r\n");
}

/// Appends our Via line (16.6 item 8).
pub(crate) fn write_own_via(out: &mut Vec<u8>, listener: &Listener, branch: &Branch) {
    out.extend_from_slice(b"Via: SIP/2.0/");
    out.extend_from_slice(listener.transport.via_token().as_bytes());
    out.push(b' ');
    sip::write_address(listener.address, out);
    out.extend_from_slice(b";branch=");
    branch.write(out);
    out.extend_from_slice(b"\r\n");
}

/// Host and port of a peer, with the transport where it is not UDP.
fn write_hostport(out: &mut Vec<u8>, peer: &Peer) {
    sip::write_address(peer.address, out);
    if peer.named_transport() == Transport::Tcp {
        out.extend_from_slice(b";transport=tcp");
    }
}

/// Appends the request-URI; gives where the peer's host stands in it, counted from `base`.
fn write_uri(out: &mut Vec<u8>, base: usize, how: &UriOut<'_>, peer: &Peer) -> Option<Span> {
    match how {
        UriOut::Keep(uri) => {
            write_without(out, uri, &[b"method"]);
            None
        }
        UriOut::Whole(uri) => {
            out.extend_from_slice(uri);
            None
        }
        UriOut::Peer { uri, user } => {
            out.extend_from_slice(b"sip:");
            if !user.is_empty() {
                out.extend_from_slice(user);
                out.push(b'@');
            }
            let from = out.len() - base;
            write_hostport(out, peer);
            let span = Span::new(from, out.len() - base);
            if uri.scheme == Scheme::Tel {
                out.extend_from_slice(b";user=phone");
            } else {
                write_params(out, uri, &[b"transport", b"maddr", b"ttl", b"method", b"lr"]);
            }
            Some(span)
        }
    }
}

/// A URI less `?headers` and less these parameters (19.1.1, table 1).
fn write_without(out: &mut Vec<u8>, uri: &Uri<'_>, unwanted: &[&[u8]]) {
    let head = Span::new(0, uri.params.start as usize);
    if uri.params.is_empty() && uri.headers.is_none() {
        out.extend_from_slice(uri.bytes);
        return;
    }
    out.extend_from_slice(head.of(uri.bytes));
    write_params(out, uri, unwanted);
}

fn write_params(out: &mut Vec<u8>, uri: &Uri<'_>, unwanted: &[&[u8]]) {
    for param in uri.params() {
        if !unwanted.iter().any(|name| param.name.eq_ignore_ascii_case(name)) {
            out.extend_from_slice(param.span.of(uri.bytes));
        }
    }
}

/// What a new dialog's token is bound to.
fn dialog_of<'a>(request: &Message<'a>) -> Dialog<'a> {
    Dialog { call_id: request.call_id(), from_tag: request.from_tag().unwrap_or_default() }
}

fn write_identity(
    splice: &mut Splice<'_, '_>,
    message: &Message<'_>,
    header: &Header,
    identity: &IdentityEdits<'_>,
    seen: &mut Seen,
) {
    match identity.line(message, header, seen) {
        Line::Keep => {}
        Line::Remove => splice.delete(header.line),
        Line::Value(value) => splice.replace(header.value, value),
        Line::Name(name) => {
            let tag = if header.name == Name::From { message.from_tag() } else { message.to_tag() };
            name.write(tag, splice.with(header.value.start, header.value.end));
        }
    }
}

/// Appends a message with other names in its From and To.
pub(crate) fn write_renamed(message: &Message<'_>, identity: &IdentityEdits<'_>, out: &mut Vec<u8>) -> Option<()> {
    let mut splice = Splice::new(message.bytes(), out);
    let mut seen = Seen::default();
    for header in message.headers() {
        write_identity(&mut splice, message, header, identity, &mut seen);
    }
    splice.finish().ok()
}

/// Appends a response as it leaves: our Via taken off (16.7 item 3), the names that its sender was shown turned back
/// into those that the receiver knows, nothing else (item 9). Gives how many bytes at its end are as they arrived.
pub(crate) fn write_response(
    response: &Response<'_>,
    leaves: Transport,
    identity: &IdentityEdits<'_>,
    out: &mut Vec<u8>,
) -> Option<usize> {
    let ours = response.list(Name::Via).next()?;
    let mut splice = Splice::new(response.bytes(), out);
    if leaves == Transport::Tcp && response.first(Name::ContentLength).is_none() {
        let start = response.headers_start();
        let _ = write!(splice.with(start, start), "Content-Length: {}\r\n", response.body().len());
    }
    let removal = response.removal(&ours);
    if identity.is_empty() {
        splice.delete(removal);
        let tail = splice.left();
        return splice.finish().ok().map(|()| tail);
    }
    let mut seen = Seen::default();
    for header in response.headers() {
        if header.line.start == ours.header.line.start {
            splice.delete(removal);
        } else {
            write_identity(&mut splice, response, header, identity, &mut seen);
        }
    }
    let tail = splice.left();
    splice.finish().ok().map(|()| tail)
}

/// Appends the request as it goes to the next peer: our Via, our Record-Route and the request-URI's host change.
pub(crate) fn write_next_attempt(
    sent: &Request<'_>,
    stamp: &Stamp,
    leaves: &Listener,
    arrived: &Listener,
    next: &NextAttempt<'_>,
    out: &mut Vec<u8>,
) -> Option<Stamp> {
    let base = out.len();
    let mut splice = Splice::new(sent.bytes(), out);
    let mut fresh = Stamp { lines_end: 0, tail: 0, ..*stamp };
    if let Some(span) = stamp.hostport {
        let into = splice.with(span.start, span.end);
        let from = into.len() - base;
        write_hostport(into, next.peer);
        fresh.hostport = Some(Span::new(from, into.len() - base));
    }
    let into = splice.with(stamp.via.start, stamp.records.end);
    let from = into.len() - base;
    write_own_via(into, leaves, &next.branch);
    fresh.via = Span::new(from, into.len() - base);
    if !stamp.records.is_empty() {
        write_record(into, leaves, |out| next.write_token(sent, out));
        if arrived != leaves {
            write_record(into, arrived, |_| {});
        }
    }
    fresh.records = Span::new(fresh.via.end as usize, into.len() - base);
    if leaves.transport == Transport::Tcp && sent.first(Name::ContentLength).is_none() {
        let _ = write!(into, "Content-Length: {}\r\n", sent.body().len());
    }
    splice.finish().ok()?;
    // All that changed stands before the headers of others.
    let moved = |at: u32| (at as usize + out.len() - base).saturating_sub(sent.bytes().len());
    fresh.call_id = Span::new(moved(stamp.call_id.start), moved(stamp.call_id.end));
    Some(fresh)
}

/// Appends a request of ours as it goes by another transport (18.1.1): the Via's transport changes, its branch and
/// sent-by stay. So a peer that has it already takes it for what it is, a retransmission.
pub(crate) fn write_by(transport: Transport, sent: &Request<'_>, out: &mut Vec<u8>) -> Option<()> {
    const BEFORE: &[u8] = b"SIP/2.0/";
    let bytes = sent.bytes();
    let start = sent.first(Name::Via)?.value.start + u32::try_from(BEFORE.len()).ok()?;
    let end = start + u32::try_from(sent.via().transport.len()).ok()?;
    let last = sent.headers().last()?.line.end;
    let mut splice = Splice::new(bytes, out);
    splice.replace(Span { start, end }, transport.via_token().as_bytes());
    if transport == Transport::Tcp && sent.first(Name::ContentLength).is_none() {
        let _ = write!(splice.with(last, last), "Content-Length: {}\r\n", sent.body().len());
    }
    splice.finish().ok()
}

/// What differs at the next peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NextAttempt<'a> {
    pub(crate) peer: &'a Peer,
    pub(crate) branch: Branch,
    pub(crate) token: &'a Token,
    pub(crate) names: Option<&'a Names>,
    pub(crate) keys: &'a KeyRing,
}

impl NextAttempt<'_> {
    fn write_token(&self, sent: &Request<'_>, out: &mut Vec<u8>) {
        self.token.write(self.names, self.keys, dialog_of(sent), out);
        out.push(b'@');
    }
}

/// A CANCEL or ACK that we make ourselves for one attempt of a request (9.1, 17.1.1.3).
#[derive(Clone, Copy, Debug)]
pub(crate) struct HopByHop<'a> {
    /// The INVITE as it was last forwarded.
    pub(crate) sent: &'a Request<'a>,
    pub(crate) stamp: &'a Stamp,
    /// The attempt's own Via and peer.
    pub(crate) leaves: Listener,
    pub(crate) branch: Branch,
    pub(crate) peer: &'a Peer,
}

impl HopByHop<'_> {
    /// The ACK to a final response above 2xx: To comes from that response.
    pub(crate) fn write_ack(&self, to: &[u8], out: &mut Vec<u8>) {
        self.write(b"ACK", Some(to), &[], out);
    }

    /// The CANCEL, with the received CANCEL's Reason values (RFC 3326).
    pub(crate) fn write_cancel(&self, reason: &[u8], out: &mut Vec<u8>) {
        self.write(b"CANCEL", None, reason, out);
    }

    fn write(&self, method: &[u8], to: Option<&[u8]>, extra: &[u8], out: &mut Vec<u8>) {
        let sent = self.sent;
        let bytes = sent.bytes();
        out.extend_from_slice(method);
        out.push(b' ');
        let uri = sent.uri();
        match self.stamp.hostport {
            Some(host) => {
                out.extend_from_slice(Span { start: uri.start, end: host.start }.of(bytes));
                write_hostport(out, self.peer);
                out.extend_from_slice(Span { start: host.end, end: uri.end }.of(bytes));
            }
            None => out.extend_from_slice(uri.of(bytes)),
        }
        out.extend_from_slice(b" SIP/2.0\r\n");
        write_own_via(out, &self.leaves, &self.branch);
        out.extend_from_slice(b"Max-Forwards: 70\r\n");
        for header in sent.headers() {
            match header.name {
                Name::From | Name::CallId | Name::Route => out.extend_from_slice(header.line.of(bytes)),
                Name::To => match to {
                    Some(value) => {
                        out.extend_from_slice(b"To: ");
                        out.extend_from_slice(value);
                        out.extend_from_slice(b"\r\n");
                    }
                    None => out.extend_from_slice(header.line.of(bytes)),
                },
                _ => {}
            }
        }
        let _ = write!(out, "CSeq: {} ", sent.cseq().number);
        out.extend_from_slice(method);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(extra);
        out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    }
}
