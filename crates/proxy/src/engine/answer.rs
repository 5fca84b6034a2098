//! What we say ourselves: refusals, OPTIONS, 100, and the finals that no peer gave.

use super::{Arrival, Asked, Engine, Turn};
use crate::admission;
use crate::flow::{Flow, PartyId, Transport};
use crate::keys::Use;
use crate::outbox::Event;
use crate::refusal::Refusal;
use crate::settings::LimitSettings;
use crate::transaction::invite_server::InviteServer;
use crate::transaction::key::{Identity, Key, letter};
use crate::transaction::{Context, Server};
use sip::{Answerable, Method, Parsed, Reply, Request, Rport};

/// The methods that we answer or pass, for an OPTIONS' Allow.
const ALLOW: &[u8] = b"INVITE, ACK, BYE, CANCEL, OPTIONS, PRACK, UPDATE, INFO, REFER, NOTIFY, MESSAGE";

impl Engine {
    /// Refuses a request that no transaction was opened for. An INVITE's refusal is kept and sent again until its ACK;
    /// any other is made again when asked again.
    pub(super) fn refuse(&mut self, turn: &mut Turn<'_>, arrival: &Arrival<'_>, refusal: Refusal) {
        let is_full = self.is_full().is_some();
        if arrival.request.method() != Method::Invite || refusal.has_retry_after() || is_full {
            return self.answer_without_state(turn, &arrival.asked(), refusal);
        }
        turn.outbox.event(Event::Refused(arrival.party, refusal));
        let upstream = self.upstream_of(arrival.flow, arrival.request);
        let reliable = self.settings.transport(upstream.listener).is_reliable();
        let (slot, mut context) = self.open_context(turn.now, arrival, upstream, arrival.party);
        let mut server = InviteServer::new(reliable);
        server.on_failure(turn.now, &self.settings.timers);
        context.server = Server::Invite(server);
        let start = turn.outbox.bytes.len();
        let tag = self.local_tag(arrival.key);
        let source = (arrival.flow.remote.ip(), arrival.flow.remote.port());
        let told = refusal.reason().map(|text| [("Reason", text.as_bytes())]);
        let extra: &[(&str, &[u8])] = told.as_ref().map_or(&[], |told| told);
        let (status, reason) = (refusal.status(), refusal.phrase());
        let reply = Reply { status, reason, to_tag: Some(&tag), source: Some(source), extra };
        reply.write(arrival.request, &mut turn.outbox.bytes);
        let span = turn.outbox.transmit_since(upstream, start);
        context.reply.extend_from_slice(span.of(&turn.outbox.bytes));
        self.settle(slot, context);
    }

    /// Answers and keeps nothing: the same request gets the same answer, and its ACK is known by our To tag (8.2.7).
    pub(super) fn answer_without_state(&self, turn: &mut Turn<'_>, asked: &Asked<'_>, refusal: Refusal) {
        turn.outbox.event(Event::Refused(asked.party, refusal));
        let retry_after = RetryAfter::of(&self.settings.limits);
        let unsupported = match refusal {
            Refusal::BadExtension => admission::unsupported(asked.message),
            _ => Vec::new(),
        };
        let extra: &[(&str, &[u8])] = match refusal {
            Refusal::BadExtension => &[("Unsupported", &unsupported)],
            Refusal::OverRate => &[("Reason", OVER_RATE_REASON)],
            _ if refusal.has_retry_after() => &[("Retry-After", retry_after.text())],
            _ => &[],
        };
        self.answer(turn, asked, (refusal.status(), refusal.phrase()), extra);
    }

    /// OPTIONS out of a dialog is for us: 200 when we can serve, 503 while draining or without a table.
    pub(super) fn answer_options(&self, turn: &mut Turn<'_>, arrival: &Arrival<'_>) {
        let refusal = match (self.draining, turn.directory.is_loaded()) {
            (true, _) => Refusal::Draining,
            (false, false) => Refusal::NoTable,
            (false, true) => {
                let allow: &[(&str, &[u8])] = &[("Allow", ALLOW)];
                return self.answer(turn, &arrival.asked(), (200, "OK"), allow);
            }
        };
        self.answer_without_state(turn, &arrival.asked(), refusal);
    }

    /// Answers a request that was cut or malformed, from what could be read of it.
    pub(super) fn answer_malformed(&self, turn: &mut Turn<'_>, flow: Flow, party: PartyId, bad: &Answerable<'_>) {
        let message = &bad.message;
        let via = message.via();
        let bytes = message.bytes();
        let legacy = [via.span.of(bytes), message.from_tag().unwrap_or_default(), b"".as_slice()];
        let identity =
            Identity { via, sent_by: via.sent_by.of(bytes), call_id: message.call_id(), cseq: message.cseq(), legacy };
        let key = identity.key(&self.keys, None, 0).unwrap_or_default();
        self.answer_without_state(turn, &Asked { flow, party, message, key }, Refusal::Malformed(bad.fault));
    }

    pub(super) fn answer(
        &self,
        turn: &mut Turn<'_>,
        asked: &Asked<'_>,
        (status, reason): (u16, &str),
        extra: &[(&str, &[u8])],
    ) {
        let upstream = self.upstream_of(asked.flow, asked.message);
        let tag = self.local_tag(asked.key);
        let source = Some((asked.flow.remote.ip(), asked.flow.remote.port()));
        let start = turn.outbox.bytes.len();
        Reply { status, reason, to_tag: Some(&tag), source, extra }.write(asked.message, &mut turn.outbox.bytes);
        turn.outbox.transmit_since(upstream, start);
    }

    /// Answers an open request from its own copy: what we forwarded, less what we put on top of it.
    pub(super) fn answer_open(&mut self, turn: &mut Turn<'_>, context: &mut Context, status: u16, reason: &str) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let (head, tail) = (context.stamp.via.start as usize, context.stamp.records.end as usize);
        scratch.extend_from_slice(context.sent.get(..head).unwrap_or_default());
        scratch.extend_from_slice(context.sent.get(tail..).unwrap_or_default());
        self.rename_back(context, &mut scratch);
        let tag = self.local_tag(context.key);
        match sip::parse(&scratch, self.own_index.get_or_insert_default()) {
            Parsed::Request(request) => {
                let start = turn.outbox.bytes.len();
                let to_tag = (status > 100).then_some(tag.as_slice());
                Reply { status, reason, to_tag, source: None, extra: &[] }.write(&request, &mut turn.outbox.bytes);
                let span = turn.outbox.transmit_since(context.upstream, start);
                context.reply.clear();
                context.reply.extend_from_slice(span.of(&turn.outbox.bytes));
            }
            _ => turn.outbox.event(Event::Impossible("a request of ours does not parse")),
        }
        self.scratch = scratch;
    }

    /// The 100 of an INVITE that goes on (17.2.1): no To tag is added.
    pub(super) fn answer_trying(&self, turn: &mut Turn<'_>, context: &mut Context, flow: Flow, request: &Request<'_>) {
        let start = turn.outbox.bytes.len();
        let source = Some((flow.remote.ip(), flow.remote.port()));
        let reply = Reply { status: 100, reason: "Trying", to_tag: None, source, extra: &[] };
        reply.write(request, &mut turn.outbox.bytes);
        let span = turn.outbox.transmit_since(context.upstream, start);
        context.reply.extend_from_slice(span.of(&turn.outbox.bytes));
    }

    /// Where the responses to a request go: on a stream the connection; on UDP the source address, at the source port
    /// where rport asks for it, else at the sent-by port (18.2.2, RFC 3581 4). A `maddr` is not followed.
    pub(super) fn upstream_of(&self, flow: Flow, request: &sip::Message<'_>) -> Flow {
        let via = request.via();
        let mut upstream = Flow { interface: crate::InterfaceId::OTHER, ..flow };
        if self.settings.transport(flow.listener) == Transport::Udp && matches!(via.rport, Rport::Absent) {
            upstream.remote.set_port(via.port.unwrap_or(5060));
        }
        upstream
    }

    /// The To tag of our own answers: derived, so that a retransmission and an ACK find the same one with no memory.
    pub(super) fn local_tag(&self, key: Key) -> [u8; TAG_BYTES] {
        let mac = u128::from_le_bytes(self.keys.sign(Use::Tag, &[&key.to_le_bytes()]));
        let mut text = [TAG_INITIAL; TAG_BYTES];
        for (at, place) in text.iter_mut().enumerate().skip(1) {
            *place = letter(mac >> (5 * at));
        }
        text
    }
}

/// The Reason (RFC 3326) of a source that sends more than it may.
const OVER_RATE_REASON: &[u8] = b"SIP;cause=480;text=\"this server sends more requests in a second than it may\"";

/// Bytes of a To tag that we make: more than RFC 3261 19.3's 32 bits of chance.
pub(super) const TAG_BYTES: usize = 20;
const TAG_INITIAL: u8 = b's';

/// False for a To tag that we never make.
pub(super) fn looks_local(tag: &[u8]) -> bool {
    tag.len() == TAG_BYTES && tag.first() == Some(&TAG_INITIAL)
}

/// Retry-After in decimal, without an allocation.
struct RetryAfter {
    digits: [u8; 10],
    from: usize,
}

impl RetryAfter {
    fn of(limits: &LimitSettings) -> RetryAfter {
        let mut digits = [b'0'; 10];
        let mut left = limits.retry_after_secs;
        let mut from = digits.len();
        for (at, place) in digits.iter_mut().enumerate().rev() {
            *place = b'0' + u8::try_from(left % 10).unwrap_or(0);
            left /= 10;
            from = at;
            if left == 0 {
                break;
            }
        }
        RetryAfter { digits, from }
    }

    fn text(&self) -> &[u8] {
        self.digits.get(self.from..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_plain_decimal() {
        for (secs, text) in [(0, "0"), (5, "5"), (3_600, "3600"), (u32::MAX, "4294967295")] {
            let limits = LimitSettings { retry_after_secs: secs, ..LimitSettings::default() };
            assert_eq!(RetryAfter::of(&limits).text(), text.as_bytes());
        }
    }
}
