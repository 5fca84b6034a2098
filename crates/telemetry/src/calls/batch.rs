//! What the turns of a worker leave for the records: their messages and the facts about calls, in order, in one buffer.

use crate::limits::BATCH_BYTES;
use proxy::dispatch::Direction;
use proxy::outbox::FailoverReason;
use proxy::{CallKey, Decision, EndedBy, Flow, ListenerId, PartyId, Peer, Refusal, Rule, Time};
use sip::Span;
use std::net::{IpAddr, SocketAddr};

/// Messages and facts. Its room is used again.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) entries: Vec<(Time, Entry)>,
    /// Of the INVITEs that were dispatched, in order.
    pub(super) decisions: Vec<Decision>,
}

/// One message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// The other end.
    pub(super) remote: SocketAddr,
    /// Which socket of ours.
    pub(super) listener: ListenerId,
    /// Where it stands in the batch's bytes; empty when it found no room.
    pub(super) span: Span,
    /// Its length, also when it found no room.
    pub(super) length: usize,
}

/// One thing that happened. Texts are spans of the batch's bytes. It is small: what is large stands beside.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entry {
    /// A message arrived.
    Arrived(Frame),
    /// A message left. It is of the same call as the one that arrived at this place among the entries, where it is of one
    /// that arrived: what the core sends for a message has the Call-ID of that.
    Left(Frame, Option<usize>),
    /// A turn is over: what follows is of another one.
    TurnOver,
    /// The message that arrived last is an INVITE that was dispatched: `decision` is a place among the batch's.
    Opened { key: CallKey, call_id: Span, called: Span, from: PartyId, decision: usize },
    /// The organisation of the call that was opened last.
    Owned(Span),
    /// A message of this call named a media address outside the networks of its sender.
    StrayMedia { key: CallKey, call_id: Span, from: PartyId, address: IpAddr },
    /// The caller ID of the call that was opened last.
    Shown(Rule),
    /// The call that was opened last claimed another organisation's number.
    Foreign,
    /// The message that arrived last was refused.
    Refused(PartyId, Refusal),
    /// The attempt before the next one failed.
    Failover(FailoverReason),
    /// The INVITE went to a peer.
    Attempt { key: CallKey, toward: PartyId, peer: Peer },
    /// It rings.
    Ringing { call_id: Span },
    /// It was answered, or is over.
    Final { key: CallKey, call_id: Span, status: u16 },
    /// An answered call is over.
    Ended { key: CallKey, call_id: Span, by: EndedBy, after_us: u64, talked_us: u64 },
    /// A BYE of a call that is not in progress: the caller's side first.
    EndedUnseen {
        key: CallKey,
        call_id: Span,
        direction: Direction,
        parties: [PartyId; 2],
        users: [Span; 2],
        by: EndedBy,
    },
}

impl Batch {
    /// True when there is nothing to hand over.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.decisions.clear();
    }

    /// How much there is: bytes, entries and decisions.
    pub(super) fn mark(&self) -> [usize; 3] {
        [self.bytes.len(), self.entries.len(), self.decisions.len()]
    }

    /// Drops what came after a mark.
    pub(super) fn cut(&mut self, [bytes, entries, decisions]: [usize; 3]) {
        self.bytes.truncate(bytes);
        self.entries.truncate(entries);
        self.decisions.truncate(decisions);
    }

    pub(super) fn keep(&mut self, text: &[u8]) -> Span {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(text);
        Span::new(start, self.bytes.len())
    }

    pub(super) fn frame(&mut self, flow: &Flow, bytes: &[u8]) -> Frame {
        let fits = self.bytes.len() + bytes.len() <= BATCH_BYTES;
        let span = self.keep(if fits { bytes } else { b"" });
        Frame { remote: flow.remote, listener: flow.listener, span, length: bytes.len() }
    }
}
