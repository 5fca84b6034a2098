//! What happens at a peer: a request goes there, goes to the next one when that fails, and is cancelled.

use super::{Arrival, Engine, Turn};
use crate::calls::CallKey;
use crate::deadline::Deadline;
use crate::dialog_token::{Names, Token};
use crate::dispatch::Direction;
use crate::flow::{Flow, PartyId, Time, Transport};
use crate::identity::IdentityEdits;
use crate::limits::ATTEMPTS;
use crate::outbox::{Event, FailoverReason};
use crate::rewrite::{Forward, HopByHop, NextAttempt, Record, Routes, Stamp, UriOut, write_next_attempt};
use crate::settings::{Listener, Peer, Role};
use crate::transaction::invite_client::InviteClient;
use crate::transaction::invite_server::InviteServer;
use crate::transaction::key::{Branch, Identity, Key};
use crate::transaction::plain_client::PlainClient;
use crate::transaction::plain_server::PlainServer;
use crate::transaction::{Attempt, Cancel, Client, Context, Server, Why};
use crate::untagged::Untagged;
use sip::{Method, Name, Parsed, Request};

/// The largest payload of an IPv4 datagram.
pub(super) const DATAGRAM_BYTES: usize = 65_507;
/// The Reason of a CANCEL that another attempt's 2xx makes needless (RFC 3326).
const ELSEWHERE: &[u8] = b"Reason: SIP;cause=200;text=\"Call completed elsewhere\"\r\n";

/// How a request goes out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan<'a> {
    /// The call that the request belongs to.
    pub(super) call: CallKey,
    /// Its final response says whether that call stands.
    pub(super) sets_up: bool,
    pub(super) toward: PartyId,
    pub(super) peer: Peer,
    /// Who is tried when `peer` fails, in order.
    pub(super) untried: &'a [Peer],
    /// Whose peers are tried when none of these took the call.
    pub(super) fallback: Option<PartyId>,
    pub(super) uri: UriOut<'a>,
    pub(super) routes: Routes<'a>,
    pub(super) record: Record<'a>,
    pub(super) identity: IdentityEdits<'a>,
}

impl<'a> Plan<'a> {
    /// Straight to one peer, and nobody else is tried.
    pub(super) fn to(toward: PartyId, peer: Peer, arrival: &Arrival<'a>) -> Plan<'a> {
        Plan {
            call: CallKey::default(),
            sets_up: false,
            toward,
            peer,
            untried: &[],
            fallback: None,
            uri: UriOut::Keep(arrival.way.uri),
            routes: Routes { skip_first: 0, skip_last: 0, append: None },
            record: Record::None,
            identity: IdentityEdits::default(),
        }
    }
}

impl Engine {
    /// Opens a transaction and sends the request to its first peer; an INVITE's sender gets 100 first.
    pub(super) fn open(&mut self, turn: &mut Turn<'_>, arrival: &Arrival<'_>, plan: Plan<'_>) {
        let listeners = (self.settings.listener(plan.peer.listener), self.settings.listener(arrival.flow.listener));
        let (Some(leaves), Some(arrived)) = listeners else {
            return turn.outbox.event(Event::Impossible("a flow without a listener"));
        };
        let (leaves, arrived) = (*leaves, *arrived);
        let upstream = self.upstream_of(arrival.flow, arrival.request);
        let (slot, mut context) = self.open_context(turn.now, arrival, upstream, plan.toward);
        context.remember_names(arrival.request, &plan.identity);
        context.untried.extend(plan.untried.iter().take(ATTEMPTS - 1).rev());
        context.fallback = plan.fallback;
        context.call = plan.call;
        context.sets_up = plan.sets_up;
        if arrival.request.method() == Method::Invite {
            self.answer_trying(turn, &mut context, arrival.flow, arrival.request);
        }
        let branch = self.branch(
            &Stamp { key_id: self.keys.active_id(), loop_part: arrival.loop_part, ..Stamp::default() },
            0,
            arrival.key,
        );
        let forward = Forward {
            request: arrival.request,
            uri: plan.uri,
            routes: plan.routes,
            record: plan.record,
            identity: plan.identity,
            arrived,
            source: (arrival.flow.remote.ip(), arrival.flow.remote.port()),
            leaves,
            peer: plan.peer,
            branch,
        };
        let start = turn.outbox.bytes.len();
        let Some(stamp) = forward.write(&mut turn.outbox.bytes) else {
            turn.outbox.event(Event::Impossible("a request's spans contradict each other"));
            self.note_failed(&mut context);
            return self.table.remove(slot, context);
        };
        context.stamp = stamp;
        let peer = self.fit_to_size(turn, plan.peer, start);
        context.sent.extend_from_slice(turn.outbox.bytes.get(start..).unwrap_or_default());
        if peer.transport == Transport::Udp && context.sent.len() > DATAGRAM_BYTES {
            turn.outbox.bytes.truncate(start);
            self.answer_final(turn, &mut context, 513);
            return self.settle(slot, context);
        }
        let tail = context.stamp.tail as usize;
        turn.outbox.transmit_like(Flow::to(peer.listener, peer.address), start, tail);
        tell_attempt(turn, &context, peer);
        self.note_media(turn, arrival.party, plan.call, arrival.request);
        self.push_attempt(turn.now, &mut context, 0, arrival.key, peer);
        self.settle(slot, context);
    }

    /// A context with its key in the table, taken out to work on.
    pub(super) fn open_context(
        &mut self,
        now: Time,
        arrival: &Arrival<'_>,
        upstream: Flow,
        toward: PartyId,
    ) -> (u32, Box<Context>) {
        let reliable = self.settings.transport(upstream.listener).is_reliable();
        let server = match arrival.request.method() {
            Method::Invite => Server::Invite(InviteServer::new(reliable)),
            _ => Server::Plain(PlainServer::new(now, &self.settings.timers, reliable)),
        };
        let slot = self.table.open(arrival.key);
        let recycled = self.table.recycled();
        let fresh = Context {
            slot,
            key: arrival.key,
            method: arrival.request.method(),
            number: arrival.request.cseq().number,
            party: arrival.party,
            upstream,
            opened: now,
            server,
            sent: self.table.buffer(),
            stamp: Stamp::default(),
            came_from: Untagged::default(),
            came_to: Untagged::default(),
            reply: self.table.buffer(),
            attempts: Vec::new(),
            untried: Vec::new(),
            fallback: None,
            best: Vec::new(),
            best_status: None,
            toward,
            call: CallKey::default(),
            sets_up: false,
            in_dialog: arrival.request.to_tag().is_some(),
            has_rung: false,
            cancelled: false,
            cancel_reason: Vec::new(),
            leftover: None,
            armed: Deadline::NONE,
        };
        let context = match recycled {
            Some(mut used) => {
                let lists = (std::mem::take(&mut used.attempts), std::mem::take(&mut used.untried));
                let cancel_reason = std::mem::take(&mut used.cancel_reason);
                let (came_from, came_to) = (std::mem::take(&mut used.came_from), std::mem::take(&mut used.came_to));
                let (attempts, untried) = lists;
                *used = Context { attempts, untried, cancel_reason, came_from, came_to, ..fresh };
                used
            }
            None => Box::new(fresh),
        };
        (slot, context)
    }

    fn push_attempt(&self, now: Time, context: &mut Context, number: u8, key: Key, peer: Peer) {
        let timers = &self.settings.timers;
        let reliable = peer.transport.is_reliable();
        let client = match context.method {
            Method::Invite => Client::Invite(InviteClient::new(now, timers, reliable)),
            _ => Client::Plain(PlainClient::new(now, timers, reliable)),
        };
        let has_next = !context.untried.is_empty() || context.fallback.is_some();
        let hop_at = Deadline::when(has_next, now + timers.hop_timeout);
        let attempt = Attempt { number, key, peer, client, hop_at, given_up: false, cancel: Cancel::None };
        // As a rule it is the only one: room for more would be most of what a call keeps.
        context.attempts.reserve_exact(1);
        context.attempts.push(attempt);
    }

    /// An attempt has failed: the next peer is tried, or the caller is told when there is none.
    pub(super) fn on_attempt_failed(
        &mut self,
        turn: &mut Turn<'_>,
        context: &mut Context,
        at: usize,
        reason: FailoverReason,
    ) {
        let Some(attempt) = context.attempts.get_mut(at) else { return };
        if attempt.given_up {
            return;
        }
        attempt.given_up = true;
        attempt.stop_resending();
        let status = if reason == FailoverReason::Timeout { 408 } else { 500 };
        context.leftover = Some(context.leftover.map_or(status, |best| best.min(status)));
        if !context.is_open() {
            return;
        }
        if context.cancelled {
            return self.conclude(turn, context);
        }
        let left = context.toward;
        if let Some(next) = self.next_peer(turn, context) {
            turn.outbox.event(Event::Failover(left, reason));
            if self.send_next(turn, context, next).is_none() {
                turn.outbox.event(Event::Impossible("a next attempt could not be made"));
                self.conclude(turn, context);
            }
        } else {
            self.conclude(turn, context);
        }
    }

    /// The next peer of a call that has a channel for it.
    fn next_peer(&mut self, turn: &mut Turn<'_>, context: &mut Context) -> Option<Peer> {
        loop {
            let next = context.untried.pop().or_else(|| self.stand_in(turn, context))?;
            if self.reseat(turn.now, context, &next) {
                return Some(next);
            }
        }
    }

    /// No attempt is left: the best of what they left is answered. A request other than INVITE that nobody answered
    /// is left to its sender's own timer (RFC 4320 4.2).
    pub(super) fn conclude(&mut self, turn: &mut Turn<'_>, context: &mut Context) {
        if !context.is_open() {
            return;
        }
        let status = context.leftover.unwrap_or(408);
        if !context.cancelled && context.best_status.is_some_and(|best| best / 100 <= status / 100) {
            return self.pass_best(turn, context);
        }
        match &mut context.server {
            Server::Invite(_) => {
                let status = if context.cancelled { 487 } else { status };
                self.answer_final(turn, context, status);
            }
            Server::Plain(server) if status == 408 => {
                server.end();
                turn.outbox.event(Event::Warned(crate::Warning::TimedOut));
            }
            Server::Plain(_) => self.answer_final(turn, context, status),
        }
    }

    /// A final response of our own for an open request.
    pub(super) fn answer_final(&mut self, turn: &mut Turn<'_>, context: &mut Context, status: u16) {
        self.answer_open(turn, context, status, sip::reason_phrase(status));
        self.note_final(turn, context, status);
    }

    /// A final response has been sent upstream: the server transaction goes on, and whatever rings elsewhere stops.
    pub(super) fn note_final(&mut self, turn: &mut Turn<'_>, context: &mut Context, status: u16) {
        let timers = self.settings.timers;
        let was_open = context.is_open();
        match &mut context.server {
            Server::Invite(server) if status < 300 => server.on_success(turn.now, &timers),
            Server::Invite(server) => server.on_failure(turn.now, &timers),
            Server::Plain(server) => {
                server.on_final(turn.now, &timers);
            }
        }
        if !was_open {
            return;
        }
        if context.method == Method::Invite {
            Engine::tell_final(turn, context, status);
        }
        if status >= 300 {
            self.note_failed(context);
        }
        context.untried.clear();
        context.fallback = None;
        if context.method != Method::Invite {
            context.attempts.iter_mut().for_each(Attempt::stop_resending);
            self.table.forget_sent(context);
        }
        let why = if status < 300 { Why::Elsewhere } else { Why::GivenUp };
        for at in 0..context.attempts.len() {
            self.cancel_attempt(turn, context, at, why);
        }
    }

    fn tell_final(turn: &mut Turn<'_>, context: &Context, status: u16) {
        if context.sent.is_empty() {
            return;
        }
        let call_id = turn.outbox.keep(context.stamp.call_id.of(&context.sent));
        let after_us = turn.now.0.saturating_sub(context.opened.0);
        let (from, toward, in_dialog) = (context.party, context.toward, context.in_dialog);
        let key = context.call;
        turn.outbox.event(Event::Final { call_id, key, from, toward, in_dialog, status, after_us });
    }

    fn send_next(&mut self, turn: &mut Turn<'_>, context: &mut Context, peer: Peer) -> Option<()> {
        let leaves = *self.settings.listener(peer.listener)?;
        let arrived = *self.settings.listener(context.upstream.listener)?;
        let number = u8::try_from(context.attempts.len()).ok()?;
        let token = self.token_for(context.party, context.upstream, context.toward, &peer)?;
        let mut index = self.own_index.take().unwrap_or_default();
        let start = turn.outbox.bytes.len();
        let made = match sip::parse(&context.sent, &mut index) {
            Parsed::Request(sent) => self.attempt_key(&sent, &context.stamp, number).and_then(|key| {
                let branch = self.branch(&context.stamp, number, key);
                let names = names_of(context, &sent);
                let next = NextAttempt { peer: &peer, branch, token: &token, names: names.as_ref(), keys: &self.keys };
                let out = &mut turn.outbox.bytes;
                Some((key, write_next_attempt(&sent, &context.stamp, &leaves, &arrived, &next, out)?))
            }),
            _ => None,
        };
        self.own_index = Some(index);
        let (key, stamp) = made?;
        let peer = self.fit_to_size(turn, peer, start);
        let span = turn.outbox.transmit_since(Flow::to(peer.listener, peer.address), start);
        context.sent.clear();
        context.sent.extend_from_slice(span.of(&turn.outbox.bytes));
        context.stamp = stamp;
        self.table.add_key(key, context.slot);
        tell_attempt(turn, context, peer);
        self.push_attempt(turn.now, context, number, key, peer);
        Some(())
    }

    /// The token of a new dialog: its two peers, as they are configured.
    pub(super) fn token_for(&self, from: PartyId, flow: Flow, toward: PartyId, peer: &Peer) -> Option<Token> {
        let caller = self.settings.party(from)?.peer_at(flow.remote)?;
        let roles = [self.settings.party(from)?.role, self.settings.party(toward)?.role];
        let environment = roles.into_iter().find_map(|role| match role {
            Role::Environment(environment) => Some(environment),
            Role::Trunk => None,
        });
        let direction = match roles {
            [Role::Trunk, _] => Direction::Inbound,
            _ => Direction::Outbound,
        };
        Some(Token { direction, environment, caller: caller.hop(), callee: peer.hop() })
    }

    /// The key of a further attempt, from the sender's own Via in the request as we forwarded it.
    fn attempt_key(&self, sent: &Request<'_>, stamp: &Stamp, number: u8) -> Option<Key> {
        let via = sent.second_via().ok()??;
        let bytes = sent.bytes();
        let legacy = [via.span.of(bytes), sent.from_tag().unwrap_or_default(), b"".as_slice()];
        let identity =
            Identity { via: &via, sent_by: via.sent_by.of(bytes), call_id: sent.call_id(), cseq: sent.cseq(), legacy };
        identity.key(&self.keys, Some(stamp.key_id), number)
    }

    pub(super) fn branch(&self, stamp: &Stamp, attempt: u8, key: Key) -> Branch {
        Branch { key_id: stamp.key_id, attempt, key, loop_part: stamp.loop_part }
    }

    /// The caller's CANCEL (16.10): answered at once, and again when it comes again; passed on once.
    pub(super) fn on_cancel(&mut self, turn: &mut Turn<'_>, context: &mut Context, flow: Flow, request: &Request<'_>) {
        let asked = super::Asked { flow, party: context.party, message: request, key: context.key };
        self.answer(turn, &asked, (200, "OK"), &[]);
        if context.cancelled || !context.is_open() || context.method != Method::Invite {
            return;
        }
        context.cancelled = true;
        context.untried.clear();
        context.fallback = None;
        let bytes = request.bytes();
        for header in request.all(Name::Reason) {
            context.cancel_reason.extend_from_slice(header.line.of(bytes));
        }
        for at in 0..context.attempts.len() {
            self.cancel_attempt(turn, context, at, Why::Caller);
        }
    }

    /// Cancels one attempt: now if it has heard a provisional response, else with the first one (9.1). Once.
    pub(super) fn cancel_attempt(&mut self, turn: &mut Turn<'_>, context: &mut Context, at: usize, why: Why) {
        let Some(attempt) = context.attempts.get_mut(at) else { return };
        let Client::Invite(client) = &attempt.client else { return };
        if !client.is_pending() || matches!(attempt.cancel, Cancel::Sent { .. }) {
            return;
        }
        if !client.is_proceeding() {
            if !matches!(attempt.cancel, Cancel::Wanted(_)) {
                attempt.cancel = Cancel::Wanted(why);
            }
            return;
        }
        let timers = &self.settings.timers;
        let client = PlainClient::new(turn.now, timers, attempt.peer.transport.is_reliable());
        attempt.cancel = Cancel::Sent { client, over_at: turn.now + timers.b(), why };
        self.send_cancel(turn, context, at, why);
    }

    /// Sends an attempt's CANCEL, the first time or again.
    pub(super) fn send_cancel(&mut self, turn: &mut Turn<'_>, context: &Context, at: usize, why: Why) {
        let reason = match why {
            Why::GivenUp => &[],
            Why::Caller => context.cancel_reason.as_slice(),
            Why::Elsewhere => ELSEWHERE,
        };
        self.send_hop_by_hop(turn, context, at, |message, out| message.write_cancel(reason, out));
    }

    /// Sends a CANCEL or ACK of ours to one attempt's peer.
    pub(super) fn send_hop_by_hop(
        &mut self,
        turn: &mut Turn<'_>,
        context: &Context,
        at: usize,
        write: impl FnOnce(&HopByHop<'_>, &mut Vec<u8>),
    ) {
        let Some(attempt) = context.attempts.get(at) else { return };
        let Some(leaves) = self.settings.listener(attempt.peer.listener).copied() else { return };
        let mut index = self.own_index.take().unwrap_or_default();
        match sip::parse(&context.sent, &mut index) {
            Parsed::Request(sent) => {
                let start = turn.outbox.bytes.len();
                let branch = self.branch(&context.stamp, attempt.number, attempt.key);
                let message = HopByHop { sent: &sent, stamp: &context.stamp, leaves, branch, peer: &attempt.peer };
                write(&message, &mut turn.outbox.bytes);
                turn.outbox.transmit_since(Flow::to(attempt.peer.listener, attempt.peer.address), start);
            }
            _ => turn.outbox.event(Event::Impossible("a request of ours does not parse")),
        }
        self.own_index = Some(index);
    }

    pub(super) fn listener_of(&self, peer: &Peer) -> Option<Listener> {
        self.settings.listener(peer.listener).copied()
    }
}

/// The caller's two names, where they differ: as the request came, and as it was sent.
fn names_of(context: &Context, sent: &Request<'_>) -> Option<Names> {
    let shown = || Untagged::of(sent.from().of(sent.bytes()), sent.from_tag());
    (!context.came_from.is_empty()).then(|| Names { original: context.came_from.clone(), shown: shown() })
}

/// Tells where the INVITE of a new call went.
fn tell_attempt(turn: &mut Turn<'_>, context: &Context, peer: Peer) {
    if context.method == Method::Invite && !context.in_dialog {
        turn.outbox.event(Event::Attempt { key: context.call, toward: context.toward, peer });
    }
}
