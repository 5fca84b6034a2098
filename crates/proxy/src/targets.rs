//! Which peers take new calls: what people decided about each (admin), what was measured of it (health), and the order
//! that follows. Values only: the program measures, the engine reads. docs/reference/peer-states.md says the same.

mod health;
mod strain;

pub use health::{Evidence, HealthRules, Monitor, Signal, Transition};
pub(crate) use strain::Strains;

use crate::flow::{ListenerId, Transport};
use crate::settings::{Party, Peer};
use std::net::SocketAddr;

/// What the branch of a probe begins with. The core makes no such branch: a response to one is told as an event and goes
/// no further.
pub const PROBE_BRANCH: &str = "z9hG4bK-probe-";

/// What people decided about a peer. It outlives restarts, and no measurement changes it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Admin {
    /// It takes calls when it is healthy.
    #[default]
    Enabled,
    /// No new calls; it is still probed, and what is up goes on.
    Drain,
    /// No new calls and no probes; what is up goes on.
    Disabled,
}

/// What was measured of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Health {
    /// Nothing was measured yet: it counts as up.
    #[default]
    Unknown,
    /// It answers.
    Up,
    /// It answers probes and fails calls, or answers that it wants none: the others are tried first.
    Degraded,
    /// It does not answer.
    Down,
}

/// Both fields of one peer. What counts is [`State::standing`], a function of both.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct State {
    /// What people decided.
    pub admin: Admin,
    /// What was measured.
    pub health: Health,
}

/// Whether a peer takes a new call.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Standing {
    /// In its turn.
    Usable,
    /// After all that are usable.
    LastResort,
    /// It is down. Only an emergency call tries it, when nothing better is left.
    Down,
    /// People closed it. Only an emergency call tries it, last of all.
    Closed,
}

/// The states of all peers that have one other than the beginning's; a value, handed to the engine between two turns.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct States {
    known: Vec<(Key, State)>,
}

/// What tells peers apart: the same address over another transport, or from another socket of ours, is another one.
type Key = (Transport, SocketAddr, ListenerId);

impl States {
    /// The state of a peer.
    pub fn of(&self, peer: &Peer) -> State {
        let key = key_of(peer);
        self.known.iter().find(|(known, _)| *known == key).map(|(_, state)| *state).unwrap_or_default()
    }

    /// True while every peer is enabled and nothing is known against or for any.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Sets the state of a peer.
    pub fn set(&mut self, peer: &Peer, state: State) {
        let key = key_of(peer);
        self.known.retain(|(known, _)| *known != key);
        if state != State::default() {
            self.known.push((key, state));
        }
    }

    /// True when a new call has somewhere to go at this party.
    pub fn has_usable(&self, party: &Party) -> bool {
        party.peers.iter().any(|peer| self.of(peer).standing() <= Standing::LastResort)
    }

    /// The peers of a party that a new call tries, best first. `is_paused` peers come after those that are not.
    /// `chance` spreads calls by weight: the same value gives the same order. An emergency call tries every peer.
    pub fn order(
        &self,
        party: &Party,
        is_paused: impl Fn(&Peer) -> bool,
        chance: u128,
        is_emergency: bool,
    ) -> Vec<Peer> {
        let last = if is_emergency { Standing::Closed } else { Standing::LastResort };
        let mut drawn = Draw { chance, party, left: (0..party.peers.len()).collect() };
        let mut ranked: Vec<(Standing, Peer)> = Vec::with_capacity(party.peers.len());
        while let Some(peer) = drawn.next_peer() {
            let standing = match self.of(&peer).standing() {
                Standing::Usable if is_paused(&peer) => Standing::LastResort,
                standing => standing,
            };
            if standing <= last {
                ranked.push((standing, peer));
            }
        }
        ranked.sort_by_key(|(standing, _)| *standing);
        ranked.into_iter().map(|(_, peer)| peer).collect()
    }
}

impl FromIterator<(Peer, State)> for States {
    fn from_iter<I: IntoIterator<Item = (Peer, State)>>(all: I) -> States {
        let mut states = States::default();
        for (peer, state) in all {
            states.set(&peer, state);
        }
        states
    }
}

impl State {
    /// What counts for a new call.
    pub const fn standing(self) -> Standing {
        match (self.admin, self.health) {
            (Admin::Drain | Admin::Disabled, _) => Standing::Closed,
            (Admin::Enabled, Health::Unknown | Health::Up) => Standing::Usable,
            (Admin::Enabled, Health::Degraded) => Standing::LastResort,
            (Admin::Enabled, Health::Down) => Standing::Down,
        }
    }
}

impl Admin {
    /// Every word, for those who must offer them.
    pub const ALL: [Admin; 3] = [Admin::Enabled, Admin::Drain, Admin::Disabled];

    /// The word of configuration, commands and status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Admin::Enabled => "enabled",
            Admin::Drain => "drain",
            Admin::Disabled => "disabled",
        }
    }

    /// Reads the word.
    pub fn from_word(word: &str) -> Option<Admin> {
        Admin::ALL.into_iter().find(|admin| admin.as_str() == word)
    }
}

impl Health {
    /// The word of status, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Health::Unknown => "unknown",
            Health::Up => "up",
            Health::Degraded => "degraded",
            Health::Down => "down",
        }
    }
}

impl Standing {
    /// The word of status and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Standing::Usable => "usable",
            Standing::LastResort => "last_resort",
            Standing::Down => "down",
            Standing::Closed => "closed",
        }
    }
}

/// Draws peers one after the other: by weight where there are weights, in their order where there are none or only
/// zeros are left.
struct Draw<'p> {
    chance: u128,
    party: &'p Party,
    left: Vec<usize>,
}

impl Draw<'_> {
    fn next_peer(&mut self) -> Option<Peer> {
        let weight = |at: &usize| u128::from(self.party.availability.weights.get(*at).copied().unwrap_or(0));
        let total: u128 = self.left.iter().map(weight).sum();
        let mut place = 0;
        if total > 0 {
            let mut ticket = self.chance % total;
            self.chance /= total;
            for (here, at) in self.left.iter().enumerate() {
                place = here;
                match ticket.checked_sub(weight(at)) {
                    Some(rest) => ticket = rest,
                    None => break,
                }
            }
        }
        let at = (place < self.left.len()).then(|| self.left.remove(place))?;
        self.party.peers.get(at).copied()
    }
}

fn key_of(peer: &Peer) -> Key {
    let peer = peer.as_configured();
    (peer.transport, peer.address, peer.listener)
}

#[cfg(test)]
mod tests;
