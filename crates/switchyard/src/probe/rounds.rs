//! The rounds of probes as a value: who is due, what is waited for, and what follows from what was heard. No socket and no
//! clock of its own.

use super::admins::Decided;
use super::message::{self, BRANCH_BYTES};
use crate::config::Probe;
use crate::worker::Heard;
use proxy::targets::{Admin, Evidence, Health, Monitor, Signal, State, States, Transition};
use proxy::{Flow, Peer, Settings, Time};
use std::time::Duration;

/// What one of a party's peers is known by, and what is known of it.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) party: Box<str>,
    pub(crate) peer: Peer,
    /// As the configuration writes it.
    pub(crate) name: String,
    pub(crate) decided: Decided,
    pub(crate) evidence: Option<Evidence>,
    pub(crate) since: Time,
    /// When the first of the probes left that it has not answered; none while it answers.
    pub(crate) silent_since: Option<Time>,
    /// How long the last probe took to its answer; none while it does not answer.
    pub(crate) round_trip: Option<Duration>,
    monitor: Monitor,
    due: Time,
    asked: Option<Asked>,
}

/// A probe that is under way.
#[derive(Debug)]
struct Asked {
    branch: [u8; BRANCH_BYTES],
    at: Time,
    until: Time,
}

/// A change of one peer's health.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Changed {
    pub(crate) party: Box<str>,
    pub(crate) peer: Peer,
    pub(crate) transition: Transition,
}

/// All peers, and when each is asked next.
#[derive(Debug)]
pub(crate) struct Rounds {
    probe: Probe,
    watched: Vec<Watched>,
}

impl Rounds {
    pub(crate) fn new(probe: Probe) -> Rounds {
        Rounds { probe, watched: Vec::new() }
    }

    /// Takes the peers of a configuration: new ones come, old ones go, and those that stay keep what is known of them.
    pub(crate) fn follow(&mut self, now: Time, settings: &Settings, mut kept: impl FnMut(&Peer) -> (String, Decided)) {
        let mut old = std::mem::take(&mut self.watched);
        for party in &settings.parties {
            for peer in &party.peers {
                if self.watched.iter().any(|known| known.peer == *peer) {
                    continue;
                }
                let known = old.iter().position(|known| known.peer == *peer).map(|at| old.swap_remove(at));
                self.watched.push(known.unwrap_or_else(|| {
                    let (name, decided) = kept(peer);
                    Watched {
                        party: party.name.clone(),
                        peer: *peer,
                        name,
                        decided,
                        evidence: None,
                        since: now,
                        silent_since: None,
                        round_trip: None,
                        monitor: Monitor::default(),
                        due: now,
                        asked: None,
                    }
                }));
            }
        }
    }

    /// Takes other rules.
    pub(crate) fn set_probe(&mut self, probe: Probe) {
        self.probe = probe;
    }

    /// When [`Rounds::on_time`] has something to do.
    pub(crate) fn next(&self) -> Option<Time> {
        let is_on = self.probe.interval.is_some();
        let due = |watched: &Watched| match &watched.asked {
            Some(asked) => Some(asked.until),
            None => (is_on && watched.decided.admin() != Admin::Disabled).then_some(watched.due),
        };
        self.watched.iter().filter_map(due).min()
    }

    /// Gives up what was not answered in time, and writes the probes that are due. `random` is fresh chance.
    pub(crate) fn on_time(
        &mut self,
        now: Time,
        settings: &Settings,
        mut random: impl FnMut() -> [u8; 16],
        changed: &mut Vec<Changed>,
    ) -> Vec<(Flow, Vec<u8>)> {
        let mut out = Vec::new();
        for watched in &mut self.watched {
            if watched.asked.as_ref().is_some_and(|asked| asked.until <= now) {
                watched.asked = None;
                watched.take(now, Signal::Missed, &self.probe, changed);
            }
            let Some(interval) = self.probe.interval.filter(|_| watched.decided.admin() != Admin::Disabled) else {
                continue;
            };
            let Some(listener) = settings.listener(watched.peer.listener) else { continue };
            if watched.due <= now && watched.asked.is_none() {
                let chance = random();
                let branch = message::branch(&chance);
                out.push((
                    Flow::to(watched.peer.listener, watched.peer.address),
                    message::options(&watched.peer, listener.address, &branch),
                ));
                watched.asked = Some(Asked { branch, at: now, until: now + self.probe.timeout });
                watched.due = now + jittered(interval, chance);
            }
        }
        out
    }

    /// Takes what the worker heard. An answer counts when its branch is the one that is waited for, and it comes from
    /// the peer's own address.
    pub(crate) fn on_heard(&mut self, now: Time, heard: &Heard, changed: &mut Vec<Changed>) {
        let (at, signal) = match heard {
            Heard::Answered { branch, remote, status } => {
                let at = self
                    .asked(branch)
                    .filter(|at| self.watched.get(*at).is_some_and(|watched| watched.peer.address.ip() == remote.ip()));
                let unwilling = self.probe.unwilling.contains(status);
                (at, if unwilling { Signal::Unwilling(*status) } else { Signal::Answered(*status) })
            }
            Heard::Refused { branch } => (self.asked(branch), Signal::Refused),
            Heard::CallFailed { peer, in_row } => {
                let at = self.watched.iter().position(|watched| is_at(&watched.peer, peer));
                (at, Signal::CallFailed { in_row: *in_row })
            }
        };
        let Some(watched) = at.and_then(|at| self.watched.get_mut(at)) else { return };
        if !matches!(signal, Signal::CallFailed { .. })
            && let Some(asked) = watched.asked.take()
        {
            watched.round_trip = Some(now.since(asked.at));
        }
        watched.take(now, signal, &self.probe, changed);
    }

    /// Sets what people decided about the peers of this name; which ones, as the configuration writes them.
    pub(crate) fn set_admin(&mut self, name: &str, decided: &Decided) -> Vec<String> {
        let named = self.watched.iter_mut().filter(|watched| watched.is_named(name));
        let set = named.map(|watched| {
            watched.decided = decided.clone();
            if decided.admin() == Admin::Disabled {
                watched.asked = None;
                watched.round_trip = None;
            }
            watched.place()
        });
        set.collect()
    }

    /// What the engine is told.
    pub(crate) fn states(&self) -> States {
        self.watched.iter().map(|watched| (watched.peer, watched.state())).collect()
    }

    pub(crate) fn watched(&self) -> &[Watched] {
        &self.watched
    }

    fn asked(&self, branch: &[u8]) -> Option<usize> {
        self.watched.iter().position(|watched| watched.asked.as_ref().is_some_and(|asked| asked.branch == *branch))
    }
}

impl Watched {
    /// `udp:10.10.10.1:5070`, as the configuration writes it.
    pub(crate) fn place(&self) -> String {
        self.name.clone()
    }

    /// True for the peer's own name, and for its party's.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        *self.party == *name || self.name == name
    }

    pub(crate) fn state(&self) -> State {
        State { admin: self.decided.admin(), health: self.health() }
    }

    pub(crate) fn health(&self) -> Health {
        self.monitor.health()
    }

    fn take(&mut self, now: Time, signal: Signal, probe: &Probe, changed: &mut Vec<Changed>) {
        match signal {
            Signal::Answered(_) | Signal::Unwilling(_) => self.silent_since = None,
            Signal::Missed | Signal::Refused => {
                self.round_trip = None;
                let left_ms =
                    now.as_millis().saturating_sub(u64::try_from(probe.timeout.as_millis()).unwrap_or(u64::MAX));
                self.silent_since.get_or_insert(Time::from_millis(left_ms));
            }
            Signal::CallFailed { .. } => {}
        }
        if let Some(transition) = self.monitor.on(now, signal, &probe.rules) {
            self.since = now;
            self.evidence = Some(transition.evidence);
            changed.push(Changed { party: self.party.clone(), peer: self.peer, transition });
        }
    }
}

/// True for the same peer, by whichever of its transports the call went there.
fn is_at(watched: &Peer, called: &Peer) -> bool {
    watched.address == called.address && (watched.transport == called.transport || watched.by_size.is_some())
}

/// The interval, a tenth shorter to a tenth longer.
fn jittered(interval: Duration, chance: [u8; 16]) -> Duration {
    let [first, second, ..] = chance;
    let share = u32::from(u16::from_be_bytes([first, second]));
    interval.mul_f64(0.9 + 0.2 * f64::from(share) / f64::from(u16::MAX))
}

#[cfg(test)]
mod tests;
