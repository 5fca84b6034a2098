//! What carries a request to a peer of transport `auto`: a datagram up to a size, a stream above it, and a datagram again
//! where there is no stream to be had (RFC 3261 18.1.1).
//!
//! It is the transport of one and the same attempt that changes, not the attempt: branch and sent-by stay, so a peer that
//! got the request before its stream broke takes the datagram for a retransmission, and no call rings twice.

use super::attempt::DATAGRAM_BYTES;
use super::{Engine, Turn};
use crate::flow::{Flow, Transport};
use crate::limits::{STREAMLESS, STREAMLESS_SECS};
use crate::outbox::{Event, FailoverReason, Warning};
use crate::rewrite::write_by;
use crate::settings::Peer;
use crate::transaction::Context;
use sip::{Method, Parsed};
use std::time::Duration;

impl Engine {
    /// The peer as the request reaches it that stands in the outbox since `start`: where it is too large for the peer's
    /// datagrams, the request is rewritten for a stream.
    pub(super) fn fit_to_size(&mut self, turn: &mut Turn<'_>, peer: Peer, start: usize) -> Peer {
        let bytes = turn.outbox.bytes.len().saturating_sub(start);
        let Some(by_size) = peer.by_size.filter(|by_size| bytes > by_size.datagram_bytes_max) else { return peer };
        if self.streamless.iter().any(|(address, until)| *address == peer.address && turn.now < *until) {
            return peer;
        }
        debug_assert_eq!(
            self.settings.listener(by_size.stream).map(|listener| listener.address),
            self.settings.listener(by_size.datagram).map(|listener| listener.address),
            "one sent-by for both"
        );
        let plain = turn.outbox.bytes.split_off(start);
        if self.write_anew(turn, Transport::Tcp, &plain) {
            return peer.reached_by(Transport::Tcp);
        }
        turn.outbox.bytes.extend_from_slice(&plain);
        peer
    }

    /// The news that a message found no stream: where its peer is one of transport `auto`, that is remembered, and the
    /// peer is given.
    pub(super) fn note_streamless(&mut self, turn: &mut Turn<'_>, flow: Flow, transport: Transport) -> Option<Peer> {
        let (peer, _) = self.settings.peer_by_size(flow.remote).filter(|_| transport == Transport::Tcp)?;
        let (peer, now) = (*peer, turn.now);
        self.streamless.retain(|(address, until)| *address != peer.address && now < *until);
        if self.streamless.len() < STREAMLESS {
            self.streamless.push((peer.address, now + Duration::from_secs(STREAMLESS_SECS)));
        } else {
            turn.outbox.event(Event::LimitReached("streamless_peers"));
        }
        Some(peer)
    }

    /// The stream did not take an attempt's request, and nothing was heard of it: it leaves by datagram.
    pub(super) fn turn_to_datagrams(&mut self, turn: &mut Turn<'_>, context: &mut Context, at: usize) {
        let timers = self.settings.timers;
        let Some(attempt) = context.attempts.get_mut(at).filter(|attempt| !attempt.given_up) else { return };
        let start = turn.outbox.bytes.len();
        let is_written = self.write_anew(turn, Transport::Udp, &context.sent);
        let bytes = turn.outbox.bytes.len() - start;
        if !is_written || bytes > DATAGRAM_BYTES {
            turn.outbox.bytes.truncate(start);
            return self.on_attempt_failed(turn, context, at, FailoverReason::Unreachable);
        }
        attempt.turn_to_datagrams(turn.now, &timers);
        let span = turn.outbox.transmit_since(Flow::to(attempt.peer.listener, attempt.peer.address), start);
        context.sent.clear();
        context.sent.extend_from_slice(span.of(&turn.outbox.bytes));
        turn.outbox.event(Event::Warned(Warning::Streamless));
    }

    /// An ACK or CANCEL that found no stream leaves by datagram; any other request has a transaction that sees to it.
    pub(super) fn send_by_datagram(&mut self, turn: &mut Turn<'_>, peer: Option<Peer>, returned: &[u8]) {
        let Some(peer) = peer.map(|peer| peer.reached_by(Transport::Udp)) else { return };
        let mut index = self.own_index.take().unwrap_or_default();
        let passes = match sip::parse(returned, &mut index) {
            Parsed::Request(request) => matches!(request.method(), Method::Ack | Method::Cancel),
            _ => false,
        };
        self.own_index = Some(index);
        let start = turn.outbox.bytes.len();
        if passes && self.write_anew(turn, Transport::Udp, returned) {
            turn.outbox.transmit_since(Flow::to(peer.listener, peer.address), start);
            turn.outbox.event(Event::Warned(Warning::Streamless));
        }
    }

    /// Appends a request of ours to the outbox, as it goes by this transport. False: nothing was appended.
    fn write_anew(&mut self, turn: &mut Turn<'_>, transport: Transport, sent: &[u8]) -> bool {
        let start = turn.outbox.bytes.len();
        let mut index = self.own_index.take().unwrap_or_default();
        let written = match sip::parse(sent, &mut index) {
            Parsed::Request(request) => write_by(transport, &request, &mut turn.outbox.bytes),
            _ => None,
        };
        self.own_index = Some(index);
        if written.is_none() {
            turn.outbox.bytes.truncate(start);
            turn.outbox.event(Event::Impossible("a request of ours does not parse"));
        }
        written.is_some()
    }
}
