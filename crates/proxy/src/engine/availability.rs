//! Which peers a new call tries, and what the calls tell of them.

use super::{Engine, Turn};
use crate::dispatch::{self, Decision, Question, Step};
use crate::flow::{PartyId, Time};
use crate::outbox::{Event, FailoverReason};
use crate::settings::{Peer, Role};
use crate::targets::States;
use crate::transaction::Context;
use directory::Directory;
use std::net::SocketAddr;
use std::sync::Arc;

impl Engine {
    /// Takes what is known of the peers from now on. Calls that are under way stay where they are.
    pub fn set_states(&mut self, states: Arc<States>) {
        self.states = states;
    }

    /// Where a request out of a dialog goes, the states of the targets considered.
    pub(super) fn decide(&self, directory: &Directory, question: &Question<'_>) -> Decision {
        let mut decision = dispatch::decide(&self.settings, directory, question);
        dispatch::fall_back(&self.settings, &self.states, &mut decision);
        decision
    }

    /// The peers of a party that a new call tries, best first; those that asked for a pause come after the others.
    /// `chance` is the call's transaction key: a retransmission after a restart finds the same order.
    pub(super) fn peers_in_order(&self, party: PartyId, now: Time, chance: u128, is_emergency: bool) -> Vec<Peer> {
        let Some(party) = self.settings.party(party) else { return Vec::new() };
        if self.states.is_empty() && self.paused.is_empty() && party.availability.weights.is_empty() {
            return party.peers.clone();
        }
        self.states.order(party, |peer| self.is_paused(peer.address, now), chance, is_emergency)
    }

    /// Who takes a call of `toward` that none of its peers took. Only where the called number is written the same way
    /// for both, since a next attempt is the request as it was written for the first.
    pub(super) fn fallback_for(&self, toward: PartyId, decision: &Decision) -> Option<PartyId> {
        let party = self.settings.party(toward).filter(|party| party.role != Role::Trunk)?;
        if decision.trace.has(|step| matches!(step, Step::FallsBack(_))) {
            return None;
        }
        let other = dispatch::stand_in(&self.settings, &self.states, decision.number, toward)?;
        let is_written_alike = self.settings.party(other)?.called_number == party.called_number;
        is_written_alike.then_some(other)
    }

    /// Somebody else's peers, for a call that its own party's peers did not take: the next attempt's peer.
    pub(super) fn stand_in(&mut self, turn: &mut Turn<'_>, context: &mut Context) -> Option<Peer> {
        let id = context.fallback.take()?;
        let mut peers = self.peers_in_order(id, turn.now, context.key, false);
        peers.truncate(crate::limits::ATTEMPTS.saturating_sub(context.attempts.len()));
        let next = *peers.first()?;
        context.toward = id;
        context.untried.extend(peers.iter().skip(1).rev());
        turn.outbox.event(Event::FellBack(id));
        Some(next)
    }

    /// A call failed at a peer in a way that speaks against the peer. Calls in a row are told together: any answer of
    /// the peer's begins a new row.
    pub(super) fn note_strain(&mut self, turn: &mut Turn<'_>, peer: Peer, reason: FailoverReason) {
        match self.strains.fail(peer) {
            Some(in_row) => turn.outbox.event(Event::PeerFailed { peer, reason, in_row }),
            None => turn.outbox.event(Event::LimitReached("strained_peers")),
        }
    }

    /// A peer answered a call.
    pub(super) fn note_heard(&mut self, peer: &Peer) {
        self.strains.hear(peer);
    }

    pub(super) fn is_paused(&self, address: SocketAddr, now: Time) -> bool {
        self.paused.iter().any(|(paused, until)| *paused == address && now < *until)
    }
}
