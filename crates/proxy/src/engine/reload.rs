//! What is open when the configuration is read again: parties are counted anew, peers may be gone.

use super::Engine;
use crate::dialog_token::Hop;
use crate::flow::{Flow, ListenerId, PartyId, Time, Transport};
use crate::settings::{Listener, Peer, Settings};

/// Peers that left the configuration and may still answer.
const FORMER_PEERS: usize = 64;
/// The party of what no configuration names any more.
const NOBODY: PartyId = PartyId(u16::MAX);

/// A peer that left the configuration, until its last transaction is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct FormerPeer {
    peer: Peer,
    until: Option<Time>,
}

impl Engine {
    /// Open transactions keep their party by its name, wherever it stands now, and their peers may answer.
    pub(super) fn carry_over(&mut self, new: &Settings) {
        let old = std::sync::Arc::clone(&self.settings);
        for peer in old.parties.iter().flat_map(|party| &party.peers) {
            if new.peer_of(peer.transport, peer.address).is_none() {
                self.keep_former(*peer, None);
            }
        }
        let place = |party: &crate::settings::Party| {
            let same = |other: &crate::settings::Party| other.name == party.name && other.role == party.role;
            new.parties.iter().position(same).and_then(|at| u16::try_from(at).ok()).map_or(NOBODY, PartyId)
        };
        let places: Vec<PartyId> = old.parties.iter().map(place).collect();
        if places.iter().zip(0..).all(|(place, at)| *place == PartyId(at)) {
            return;
        }
        let moved = |id: PartyId| places.get(usize::from(id.0)).copied().unwrap_or(NOBODY);
        self.table.parties_mut().flatten().for_each(|party| *party = moved(*party));
        self.carry_calls_over(moved);
    }

    /// The peer that a token's hop names; one that is not configured any more is reached from the first listener of
    /// its transport.
    pub(super) fn peer_at(&mut self, now: Time, hop: Hop) -> Option<(Peer, PartyId)> {
        if let Some(found) = self.settings.peer_of(hop.transport, hop.address) {
            return Some(found);
        }
        let same = |l: &Listener| l.transport == hop.transport && l.address.is_ipv4() == hop.address.is_ipv4();
        let at = self.settings.listeners.iter().position(same)?;
        let listener = ListenerId(u16::try_from(at).ok()?);
        let peer = Peer { transport: hop.transport, address: hop.address, listener, by_size: None };
        self.keep_former(peer, Some(now));
        Some((peer, NOBODY))
    }

    /// A peer that is not configured may answer what goes there at `now`; with no time, from its next message on.
    pub(super) fn keep_former(&mut self, peer: Peer, now: Option<Time>) {
        let until = now.map(|now| now + self.answer_time());
        if !self.former_peers.iter().any(|former| former.peer.address.ip() == peer.address.ip()) {
            self.neighbours_changed += 1;
        }
        self.former_peers.retain(|former| former.peer.address != peer.address);
        if self.former_peers.len() == FORMER_PEERS {
            self.former_peers.remove(0);
        }
        self.former_peers.push(FormerPeer { peer, until });
    }

    /// The addresses of peers that left the configuration, also those whose time is over.
    pub(super) fn former_addresses(&self) -> impl Iterator<Item = std::net::IpAddr> {
        self.former_peers.iter().map(|former| former.peer.address.ip())
    }

    /// True while a peer that left the configuration may still answer.
    pub(super) fn is_former_peer(&mut self, now: Time, flow: &Flow) -> bool {
        if self.former_peers.is_empty() {
            return false;
        }
        let time = self.answer_time();
        self.former_peers.retain_mut(|former| now <= *former.until.get_or_insert(now + time));
        let transport = self.settings.transport(flow.listener);
        self.former_peers.iter().any(|former| {
            let address = former.peer.address;
            address.ip() == flow.remote.ip() && (transport == Transport::Tcp || address.port() == flow.remote.port())
        })
    }

    /// The longest life of a transaction.
    fn answer_time(&self) -> std::time::Duration {
        self.settings.timers.timer_c + self.settings.timers.b()
    }
}
