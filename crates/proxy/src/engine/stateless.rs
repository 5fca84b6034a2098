//! What passes without a transaction: ACKs to 2xx, and after a restart the responses, CANCELs and ACKs of calls in setup
//! (decisions on P1 and F6 in docs/reference/conformance.md; RFC 3261 16.11).

use super::answer::looks_local;
use super::attempt::Plan;
use super::response::check_next_via;
use super::{Arrival, Engine, Turn, in_dialog_uri, names};
use crate::caller_id::{self, Shown};
use crate::dialog_token::Verified;
use crate::dispatch::{self, Outcome, Question};
use crate::flow::{Flow, ListenerId, PartyId, Transport};
use crate::identity::{self, Dressed};
use crate::outbox::{Absorbed, DropReason, Event, Warning};
use crate::refusal::Refusal;
use crate::rewrite::{Forward, Record, Routes, Stamp, UriOut, write_response};
use crate::settings::{Peer, Role};
use crate::transaction::key::{Branch, Identity, Key};
use crate::transaction::{Context, Server, invite_server};
use sip::{Method, Request, Response, Rport, Via};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

impl Engine {
    /// An ACK on the branch of an INVITE that is open: it ends our final's retransmissions, or it belongs to a 2xx and
    /// goes on (RFC 6026 6).
    pub(super) fn on_ack(
        &mut self,
        turn: &mut Turn<'_>,
        context: &mut Context,
        flow: Flow,
        party: PartyId,
        request: &Request<'_>,
    ) {
        let Server::Invite(server) = &mut context.server else {
            return turn.outbox.event(Event::Dropped(DropReason::Ack));
        };
        if server.on_ack(turn.now, &self.settings.timers) != invite_server::Heard::PassUp {
            return turn.outbox.event(Event::Absorbed(Absorbed::Ack));
        }
        let Some(way) = crate::route::read(&self.settings, request) else {
            return turn.outbox.event(Event::Dropped(DropReason::Ack));
        };
        let loop_part = crate::admission::loop_part(&self.keys, None, request, &way);
        let arrival = Arrival { flow, party, request, key: context.key, way, loop_part };
        self.pass_ack(turn, &arrival);
    }

    /// True for an ACK to a final of ours that nothing was kept of: its To tag is the one that we derive.
    pub(super) fn is_ack_to_us(&self, request: &Request<'_>, key: Key) -> bool {
        request.to_tag().is_some_and(|tag| looks_local(tag) && tag == self.local_tag(key))
    }

    /// An ACK that no transaction knows is never answered. It goes where its token says; without one, as the decision on F6 has it, and else to where dispatch sends
    /// that number: it may belong to a final above 2xx that passed before a restart.
    pub(super) fn pass_ack(&mut self, turn: &mut Turn<'_>, arrival: &Arrival<'_>) {
        let request = arrival.request;
        if request.max_forwards() == Some(0) {
            return turn.outbox.event(Event::Dropped(DropReason::Ack));
        }
        if request.to_tag().is_some()
            && let Some(way) = self.hop_of(turn, arrival)
        {
            let Some((peer, toward)) = self.peer_at(turn.now, way.hop) else { return };
            let (uri, routes) = in_dialog_uri(&arrival.way);
            turn.outbox.event(Event::InDialog(arrival.party, Method::Ack));
            let settings = Arc::clone(&self.settings);
            let shown = names::shown_in_dialog(&settings, arrival, toward, way.verified.as_ref());
            let identity = names::edits_in_dialog(&settings, arrival, toward, way.verified.as_ref(), shown.as_ref());
            let record = Record::None;
            return self.pass(
                turn,
                arrival,
                &Plan { uri, routes, record, identity, ..Plan::to(toward, peer, arrival) },
            );
        }
        let is_for_us = arrival.way.token.is_none() && arrival.way.next.is_none();
        match self.peer_for_number(turn, arrival).filter(|_| is_for_us) {
            Some((peer, toward)) if self.pass_to_number(turn, arrival, peer, toward) => {}
            _ => turn.outbox.event(Event::Dropped(DropReason::Ack)),
        }
    }

    /// A CANCEL that no transaction knows (16.10): from a configured peer it goes where dispatch sends that number, on
    /// the branch derived again.
    pub(super) fn on_stray_cancel(&mut self, turn: &mut Turn<'_>, arrival: &Arrival<'_>) {
        let is_new = arrival.request.to_tag().is_none() && arrival.way.next.is_none();
        if arrival.request.max_forwards() == Some(0) {
            return self.answer_without_state(turn, &arrival.asked(), Refusal::TooManyHops);
        }
        match self.peer_for_number(turn, arrival).filter(|_| is_new) {
            Some((peer, toward)) if self.pass_to_number(turn, arrival, peer, toward) => {}
            _ => self.answer_without_state(turn, &arrival.asked(), Refusal::NoTransaction),
        }
    }

    /// Sends a CANCEL or an ACK where its INVITE went. False when that INVITE would have been refused: then nothing
    /// leaves.
    fn pass_to_number(&mut self, turn: &mut Turn<'_>, arrival: &Arrival<'_>, peer: Peer, toward: PartyId) -> bool {
        let user = dispatch::called_user(&arrival.way.uri);
        let settings = Arc::clone(&self.settings);
        let outbound = settings.party(toward).is_some_and(|party| party.role == Role::Trunk);
        let sender = names::sender_of(&settings, arrival, toward);
        let presented = outbound.then(|| {
            let claims = names::claims_of(&settings, arrival, sender.as_ref());
            caller_id::present(&settings, turn.directory, arrival.party, toward, &claims)
        });
        if presented.is_some_and(|presented| matches!(presented.shown, Shown::Refuse(_))) {
            return false;
        }
        let chosen = presented.and_then(|presented| presented.trunk).filter(|trunk| *trunk != toward);
        let first_of = |trunk| self.peers_in_order(trunk, turn.now, arrival.key, true).first().copied();
        let (peer, toward) = match chosen.and_then(|trunk| Some((first_of(trunk)?, trunk))) {
            Some((first, trunk)) => (first, trunk),
            None => (peer, toward),
        };
        turn.outbox.event(Event::Warned(Warning::Stateless));
        // What its INVITE claimed is not known any more, and what it claims itself may be another's number: it goes
        // unnamed.
        let dressed =
            names::dress(&settings, turn, arrival, sender.as_ref(), presented.as_ref(), &peer).map(Dressed::unnamed);
        let identity = names::edits_of(&settings, arrival, toward, dressed.as_ref());
        let mut formatted = Vec::new();
        let form = settings.party(toward).and_then(|party| party.called_number);
        let user = match (settings.numbering.canonical_user(user), form) {
            (Ok(number), Some(form)) => {
                settings.numbering.write(number, form, &mut formatted);
                formatted.as_slice()
            }
            _ => user,
        };
        let uri = UriOut::Peer { uri: arrival.way.uri, user };
        let routes = Routes { skip_first: arrival.way.skip_first, skip_last: arrival.way.skip_last, append: None };
        let record = Record::None;
        self.pass(turn, arrival, &Plan { uri, routes, record, identity, ..Plan::to(toward, peer, arrival) });
        true
    }

    /// Where dispatch sends the INVITE of this number: the first peer.
    fn peer_for_number(&self, turn: &Turn<'_>, arrival: &Arrival<'_>) -> Option<(Peer, PartyId)> {
        let uri = &arrival.way.uri;
        if !self.settings.is_us(uri) && self.settings.peer_named(uri).is_none() {
            return None;
        }
        let (user, caller) = (dispatch::called_user(uri), names::tester_of(&self.settings, turn, arrival));
        let question = Question { from: arrival.party, method: Method::Invite, user, caller };
        match self.decide(turn.directory, &question).outcome {
            Outcome::Forward(toward) => {
                Some((*self.peers_in_order(toward, turn.now, arrival.key, true).first()?, toward))
            }
            Outcome::Refuse(_) => None,
        }
    }

    /// Sends a request on without a transaction, on the branch that its transaction would have.
    fn pass(&mut self, turn: &mut Turn<'_>, arrival: &Arrival<'_>, plan: &Plan<'_>) {
        let (Some(leaves), Some(arrived)) =
            (self.listener_of(&plan.peer), self.settings.listener(arrival.flow.listener).copied())
        else {
            return turn.outbox.event(Event::Impossible("a flow without a listener"));
        };
        let stamp = Stamp { key_id: self.keys.active_id(), loop_part: arrival.loop_part, ..Stamp::default() };
        let forward = Forward {
            request: arrival.request,
            uri: plan.uri,
            routes: plan.routes,
            record: Record::None,
            identity: plan.identity,
            arrived,
            source: (arrival.flow.remote.ip(), arrival.flow.remote.port()),
            leaves,
            peer: plan.peer,
            branch: self.branch(&stamp, 0, arrival.key),
        };
        let start = turn.outbox.bytes.len();
        match forward.write(&mut turn.outbox.bytes) {
            Some(stamp) => {
                let peer = self.fit_to_size(turn, plan.peer, start);
                let tail = stamp.tail as usize;
                turn.outbox.transmit_like(Flow::to(peer.listener, peer.address), start, tail);
                self.note_media(turn, arrival.party, plan.call, arrival.request);
            }
            None => turn.outbox.event(Event::Impossible("a request's spans contradict each other")),
        }
    }

    /// A response that no transaction knows. One to INVITE above 100 from a configured peer, on a branch of ours that
    /// verifies, belongs to a call that was in setup when we restarted: it goes by its next Via, to a configured peer
    /// only. Any other is dropped (RFC 6026 8).
    pub(super) fn pass_response(&mut self, turn: &mut Turn<'_>, flow: Flow, response: &Response<'_>, branch: &Branch) {
        let nothing = Event::Dropped(DropReason::NoTransaction);
        let (Ok(()), Ok(Some(next))) = (check_next_via(response), response.second_via()) else {
            return turn.outbox.event(nothing);
        };
        let is_call = response.cseq().method == Method::Invite && response.status() > 100;
        if !is_call || !self.verifies(response, &next, branch) {
            return turn.outbox.event(nothing);
        }
        let Some(upstream) = self.upstream_by_via(flow, &next) else {
            return turn.outbox.event(Event::Dropped(DropReason::BadVia));
        };
        let verified = self.names_in_response(response);
        if self.is_of_somebody_else(&flow, &upstream, verified.as_ref()) {
            return turn.outbox.event(Event::Dropped(DropReason::WrongSource));
        }
        let start = turn.outbox.bytes.len();
        let transport = self.settings.transport(upstream.listener);
        let unbelieved =
            self.settings.party_of(&flow).is_some_and(|party| identity::is_untrusted(&self.settings, party));
        let edits = self.edits_by_token(verified.as_ref(), self.is_profiled(upstream.remote.ip()), unbelieved);
        match write_response(response, transport, &edits, &mut turn.outbox.bytes) {
            Some(tail) => {
                turn.outbox.transmit_like(upstream, start, tail);
                turn.outbox.event(Event::Warned(Warning::Stateless));
                self.note_stateless(turn, self.settings.party_of(&flow), response, branch.key_id);
            }
            None => turn.outbox.event(Event::Impossible("a response's spans contradict each other")),
        }
    }

    /// True when a response comes from the party that it goes to, or from another than its token says was asked.
    fn is_of_somebody_else(&self, flow: &Flow, upstream: &Flow, verified: Option<&Verified>) -> bool {
        let source = self.settings.party_of(flow);
        let asked = verified.map(|verified| verified.token.next_hop(verified.side));
        let asked = asked.and_then(|hop| self.settings.peer_of(hop.transport, hop.address));
        let is_reflected = source.is_some() && source == self.settings.party_of(upstream);
        is_reflected || asked.is_some_and(|(_, party)| source.is_some_and(|source| source != party))
    }

    /// True when the branch is the one that we derive from the Via below it.
    fn verifies(&self, response: &Response<'_>, next: &Via<'_>, branch: &Branch) -> bool {
        let bytes = response.bytes();
        let legacy = [b"".as_slice(); 3];
        let identity = Identity {
            via: next,
            sent_by: next.sent_by.of(bytes),
            call_id: response.call_id(),
            cseq: response.cseq(),
            legacy,
        };
        next.has_cookie() && identity.key(&self.keys, Some(branch.key_id), branch.attempt) == Some(branch.key)
    }

    /// Where a response goes by its Via alone (18.2.2): a configured peer, or nowhere.
    fn upstream_by_via(&self, flow: Flow, via: &Via<'_>) -> Option<Flow> {
        let ip: IpAddr = via.received_ip.or_else(|| sip::host_ip(via.host))?;
        let port = match via.rport {
            Rport::Filled { port, .. } => port,
            _ => via.port.unwrap_or(5060),
        };
        let stream = via.transport.eq_ignore_ascii_case(b"TCP");
        let transport = if stream { Transport::Tcp } else { Transport::Udp };
        if !self.settings.is_peer_ip(ip) {
            return None;
        }
        let remote = SocketAddr::new(ip, port);
        let known = self.settings.parties.iter().flat_map(|party| &party.peers);
        let configured = known.clone().find(|peer| peer.address.ip() == ip && peer.transport == transport);
        let same = |id: &ListenerId| self.settings.transport(*id) == transport;
        let listener = match configured.map(|peer| peer.listener) {
            Some(listener) => listener,
            None => Some(flow.listener).filter(same).or_else(|| {
                (0..u16::try_from(self.settings.listeners.len()).unwrap_or(0)).map(ListenerId).find(same)
            })?,
        };
        Some(Flow::to(listener, remote))
    }
}
