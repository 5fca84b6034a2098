//! What leaves the core: bytes to send, and facts to count. The caller owns one [`Outbox`] and reuses it.

use crate::caller_id::Rule;
use crate::calls::{CallKey, EndedBy, Spent};
use crate::dispatch::{Decision, Direction};
use crate::flow::{Flow, PartyId};
use crate::refusal::Refusal;
use crate::settings::Peer;
use sip::{Hopeless, Method, Number, Parsed, Span};
use std::net::IpAddr;
use std::time::Duration;

/// One byte buffer, a list of datagrams or stream messages in it, and a list of facts. Complete when the call returns.
#[derive(Debug, Default)]
pub struct Outbox {
    pub(crate) bytes: Vec<u8>,
    transmits: Vec<Transmit>,
    events: Vec<Event>,
    /// Where the Call-ID stands in what the core was called with last.
    call_id: Option<Span>,
}

/// One message to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// The way it takes.
    pub flow: Flow,
    /// Where it stands in the outbox's bytes.
    pub span: Span,
    /// So many bytes at its end should be those at the end of what arrived and made it leave: a hint, for who keeps both and
    /// compares. 0 where nothing is known; not true where a length was put in for a stream, or something stood behind the message.
    pub tail: u32,
}

/// A fact. Counting, keeping and showing it happens elsewhere.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a decision is kept in place: a box would be an allocation for each call"
)]
pub enum Event {
    /// A request arrived from a configured peer and parsed.
    Request(PartyId, Method),
    /// A response arrived from a configured peer and parsed.
    Response(PartyId, u16),
    /// Something that arrived goes no further, and nobody is answered.
    Dropped(DropReason),
    /// Whoever sent this is worth a line of the security log. A drop is told beside it.
    Suspected(Flow, Suspicion),
    /// We answered with a status of our own.
    Refused(PartyId, Refusal),
    /// A request out of a dialog was dispatched. The texts are spans of [`Outbox::text`].
    Decided {
        /// The Call-ID, as it arrived.
        call_id: Span,
        /// The call, from here to its end.
        key: CallKey,
        /// Who sent it.
        from: PartyId,
        /// The request-URI's user part, as it arrived.
        called: Span,
        /// INVITE, or another method out of a dialog.
        method: Method,
        /// Where it goes, and why.
        decision: Decision,
    },
    /// The call that was dispatched last is this organisation's; a span of [`Outbox::text`], its row's id.
    Owned(Span),
    /// The caller ID of an outbound call was chosen by this rule: this DID of ours, whichever header carries it.
    Shown(PartyId, Rule, Number),
    /// A call claimed a number of another organisation; it was never sent. The texts are spans of [`Outbox::text`].
    Foreign {
        /// The Call-ID, as it arrived.
        call_id: Span,
        /// The organisation whose call it is; empty when it is not known.
        organisation: Span,
        /// The claimed number.
        number: Option<Number>,
    },
    /// A final response to an INVITE that was forwarded or made by us: the attempt is over.
    Final {
        /// The Call-ID, as it arrived.
        call_id: Span,
        /// The call.
        key: CallKey,
        /// Who sent the INVITE.
        from: PartyId,
        /// Where it went.
        toward: PartyId,
        /// A re-INVITE, not the call's first.
        in_dialog: bool,
        /// The final status.
        status: u16,
        /// Microseconds from the INVITE to this response.
        after_us: u64,
    },
    /// A call that was answered is over. Once for each; a call that was not answered is over with its [`Event::Final`].
    Ended {
        /// The Call-ID, as it arrived.
        call_id: Span,
        /// The call.
        key: CallKey,
        /// Who or what ended it.
        by: EndedBy,
        /// Microseconds from its INVITE to its end.
        after_us: u64,
        /// Microseconds from its answer to its end.
        talked_us: u64,
    },
    /// A BYE was passed on of a call that is not in progress here: it began before this process did and nobody told of it,
    /// or another BYE has ended it.
    EndedUnseen {
        /// The Call-ID, as it arrived.
        call_id: Span,
        /// The call.
        key: CallKey,
        /// Which way it was set up.
        direction: Direction,
        /// The caller's party, and the callee's.
        parties: [PartyId; 2],
        /// The user part of the caller's URI in this BYE, and of the callee's.
        users: [Span; 2],
        /// Who sent it.
        by: EndedBy,
    },
    /// The session of a call that is up was refreshed (RFC 4028), or has no timer any more.
    Refreshed {
        /// The call.
        key: CallKey,
        /// How long it lasts from now on without another refresh.
        lasts: Option<Duration>,
    },
    /// A call was let in that an environment has a number of for each day.
    Spent {
        /// The environment.
        environment: PartyId,
        /// What it has used with this call.
        spent: Spent,
    },
    /// The first response from 180 to 189 of a call was passed on.
    Ringing {
        /// The Call-ID, as it arrived.
        call_id: Span,
        /// Who sent the INVITE.
        from: PartyId,
        /// The status.
        status: u16,
        /// Microseconds from the INVITE to this response.
        after_us: u64,
    },
    /// SDP that passed names a media address outside the networks of who sent it: calls with one-way audio begin so.
    StrayMedia {
        /// The Call-ID, as it arrived.
        call_id: Span,
        /// The call; the default one where a message passes without a transaction.
        key: CallKey,
        /// Who sent it.
        from: PartyId,
        /// The first such address.
        address: IpAddr,
    },
    /// A request was forwarded inside a dialog.
    InDialog(PartyId, Method),
    /// A retransmission of a neighbour's was absorbed.
    Absorbed(Absorbed),
    /// We sent something again.
    Retransmitted(Method),
    /// The INVITE of a new call went to a peer: the first one, or the next after an [`Event::Failover`].
    Attempt {
        /// The call.
        key: CallKey,
        /// Whose peer it is.
        toward: PartyId,
        /// The peer.
        peer: Peer,
    },
    /// The next target is tried, because the one before did not take the call.
    Failover(PartyId, FailoverReason),
    /// None of an environment's targets took the call, and this party stands in for it.
    FellBack(PartyId),
    /// A call failed at a peer in a way that speaks against the peer, as the so-many-th in a row.
    PeerFailed {
        /// The peer.
        peer: Peer,
        /// How.
        reason: FailoverReason,
        /// Failures with no answer of the peer's between them, this one included.
        in_row: u32,
    },
    /// A peer answered a probe. The branch is a span of [`Outbox::text`].
    ProbeAnswered {
        /// Where the answer came from.
        flow: Flow,
        /// The probe's branch.
        branch: Span,
        /// The answer's status.
        status: u16,
    },
    /// A probe could not be delivered. The branch is a span of [`Outbox::text`].
    ProbeRefused {
        /// Where it should have gone.
        flow: Flow,
        /// The probe's branch.
        branch: Span,
    },
    /// Served, with something that the operator should know.
    Warned(Warning),
    /// A table or list reached its number.
    LimitReached(&'static str),
    /// Something that cannot be: counted, dropped, never a panic.
    Impossible(&'static str),
}

/// Why something that arrived goes no further.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DropReason {
    /// Not from a configured peer: not even parsed.
    Stranger,
    /// A request out of a dialog that a peer lets through from a tool for scanning.
    Scanner,
    /// No message, or one that nobody can be answered about.
    Hopeless(Hopeless),
    /// A response whose top Via is not ours (RFC 3261 18.1.2).
    NotOurVia,
    /// A response that matches no transaction (RFC 6026 8).
    NoTransaction,
    /// A response from somebody that the request was not sent to, or a CANCEL, ACK or repeated request from somebody who
    /// did not send it.
    WrongSource,
    /// A response that had only our own Via: it was for us.
    ForUs,
    /// A response whose next Via names an address that no response goes to (RFC 4475 3.3.10).
    BadVia,
    /// A response that the state of its transaction has no use for: a second final, a late 1xx, a 100.
    Useless,
    /// An ACK that belongs to nothing, or that may not pass: ACK is never answered.
    Ack,
    /// A response without a live server transaction (RFC 4320).
    Late,
}

/// Why a sender is worth a line of the security log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Suspicion {
    /// It is no peer.
    Stranger,
    /// It names itself as a tool for scanning does.
    Scanner,
    /// A peer sends what is no message.
    Malformed,
}

/// Which retransmission was absorbed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Absorbed {
    /// A request that is already being served.
    Request,
    /// A response that was already forwarded.
    Response,
    /// An ACK to a final response of ours.
    Ack,
}

/// Why the next target is tried.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FailoverReason {
    /// No response in time.
    Timeout,
    /// The target could not be reached: ICMP, or a refused or broken connection.
    Unreachable,
    /// The target answered 503.
    Unavailable,
    /// The target answered with a status that is configured to lead on.
    Status,
}

/// Served, with something that the operator should know.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Warning {
    /// A DID of another environment stayed here.
    StaysHere,
    /// A bad row's last good value was used.
    LastGood,
    /// An unknown number went to an environment by configuration.
    UnknownTo,
    /// An in-dialog request of a call that is older than this proxy went to the local PBX.
    Adopted,
    /// An in-dialog request without our token passed, because both its source and its target are configured peers.
    Untokened,
    /// A response or request passed without a transaction, on a branch of ours that verifies.
    Stateless,
    /// A dialog token of ours did not verify.
    TokenRefused,
    /// A transaction ended by time alone.
    TimedOut,
    /// A request that is too large for a datagram found no stream, and left by datagram all the same.
    Streamless,
    /// A caller's name is too long for the dialog token: in requests from the callee it is not restored.
    LongName,
}

impl Outbox {
    /// An empty outbox.
    pub fn new() -> Outbox {
        Outbox::default()
    }

    /// Makes it empty again and keeps its room.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.transmits.clear();
        self.events.clear();
        self.call_id = None;
    }

    /// What to send, in order.
    pub fn transmits(&self) -> impl Iterator<Item = (&Flow, &[u8])> {
        self.transmits.iter().map(|t| (&t.flow, t.span.of(&self.bytes)))
    }

    /// The same, each with [`Transmit::tail`].
    pub fn transmits_with_tails(&self) -> impl Iterator<Item = (&Flow, &[u8], usize)> {
        self.transmits.iter().map(|t| (&t.flow, t.span.of(&self.bytes), t.tail as usize))
    }

    /// Where the Call-ID stands in what the core was called with since this was asked last, if it could be read.
    pub fn take_call_id(&mut self) -> Option<Span> {
        self.call_id.take()
    }

    /// The facts, in order.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The text that an event's span names.
    pub fn text(&self, span: Span) -> &[u8] {
        span.of(&self.bytes)
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    /// What the core was called with has been read as this, which it gives back. Line ends may stand before a message (RFC 3261
    /// 7.5).
    pub(crate) fn read<'p, 'a>(&mut self, arrived: &[u8], parsed: &'p Parsed<'a>) -> &'p Parsed<'a> {
        let message = match parsed {
            Parsed::Request(request) => request.message(),
            Parsed::Response(response) => response.message(),
            _ => return parsed,
        };
        let skipped = message.bytes().as_ptr().addr().saturating_sub(arrived.as_ptr().addr());
        let Span { start, end } = message.call_id_span();
        self.call_id = Some(Span::new(skipped + start as usize, skipped + end as usize));
        parsed
    }

    /// Keeps a text for an event.
    pub(crate) fn keep(&mut self, text: &[u8]) -> Span {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(text);
        Span::new(start, self.bytes.len())
    }

    /// Queues what was written since `start`.
    pub(crate) fn transmit_since(&mut self, flow: Flow, start: usize) -> Span {
        self.transmit_like(flow, start, 0)
    }

    /// The same with [`Transmit::tail`].
    pub(crate) fn transmit_like(&mut self, flow: Flow, start: usize, tail: usize) -> Span {
        let span = Span::new(start, self.bytes.len());
        self.transmits.push(Transmit { flow, span, tail: u32::try_from(tail).unwrap_or_default() });
        span
    }

    /// Copies `bytes` and queues them.
    pub(crate) fn transmit(&mut self, flow: Flow, bytes: &[u8]) {
        let span = self.keep(bytes);
        self.transmits.push(Transmit { flow, span, tail: 0 });
    }
}

impl DropReason {
    /// The counter's label.
    pub const fn name(self) -> &'static str {
        match self {
            DropReason::Stranger => "stranger",
            DropReason::Scanner => "scanner",
            DropReason::Hopeless(hopeless) => hopeless.name(),
            DropReason::NotOurVia => "not_our_via",
            DropReason::NoTransaction => "no_transaction",
            DropReason::WrongSource => "wrong_source",
            DropReason::ForUs => "for_us",
            DropReason::BadVia => "bad_via",
            DropReason::Useless => "useless",
            DropReason::Ack => "ack",
            DropReason::Late => "late",
        }
    }
}

impl Suspicion {
    /// The word of the security log.
    pub const fn name(self) -> &'static str {
        match self {
            Suspicion::Stranger => "stranger",
            Suspicion::Scanner => "scanner",
            Suspicion::Malformed => "malformed",
        }
    }
}

impl Absorbed {
    /// The counter's label.
    pub const fn name(self) -> &'static str {
        match self {
            Absorbed::Request => "request",
            Absorbed::Response => "response",
            Absorbed::Ack => "ack",
        }
    }
}

impl FailoverReason {
    /// The counter's label.
    pub const fn name(self) -> &'static str {
        match self {
            FailoverReason::Timeout => "timeout",
            FailoverReason::Unreachable => "unreachable",
            FailoverReason::Unavailable => "unavailable",
            FailoverReason::Status => "status",
        }
    }
}

impl Warning {
    /// The counter's label.
    pub const fn name(self) -> &'static str {
        match self {
            Warning::StaysHere => "stays_here",
            Warning::LastGood => "last_good",
            Warning::UnknownTo => "unknown_to",
            Warning::Adopted => "adopted",
            Warning::Untokened => "untokened",
            Warning::Stateless => "stateless",
            Warning::TokenRefused => "token_refused",
            Warning::TimedOut => "timed_out",
            Warning::Streamless => "streamless",
            Warning::LongName => "long_name",
        }
    }
}
