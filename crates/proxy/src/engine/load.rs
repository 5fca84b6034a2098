//! Work that is refused before it is done, in order of cost: strangers before anything is parsed; then, of what opens
//! something new, what a source sends above its rate, what comes while the worker is behind, and what would not fit the
//! tables. What belongs to calls passes, and emergency calls do (rows SX1, SX2, H4, O5).

use super::{Asked, Engine, Turn};
use crate::dispatch;
use crate::flow::{Flow, Time};
use crate::outbox::{DropReason, Event, Suspicion};
use crate::refusal::Refusal;
use crate::route::Way;
use crate::scanners;
use crate::settings::{Settings, Strangers};
use sip::{Hopeless, Message, Method, Name};
use std::net::IpAddr;
use std::time::Duration;

/// What each source has sent of late: one place for each address of the configuration, so that counting allocates
/// nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Rates {
    /// By address ascending, with the time at which its next request would be due at an even pace.
    due: Vec<(IpAddr, Time)>,
}

impl Rates {
    pub(super) fn of(settings: &Settings) -> Rates {
        Rates::default().carried_over(settings)
    }

    /// The sources of new settings; those that stay have sent what they have sent.
    pub(super) fn carried_over(&self, settings: &Settings) -> Rates {
        if settings.limits.requests_per_second == 0 {
            return Rates::default();
        }
        let sources = settings.parties.iter().flat_map(|party| &party.sources);
        let mut due: Vec<(IpAddr, Time)> =
            sources.map(|source| (source.ip, self.due_of(source.ip).unwrap_or_default())).collect();
        due.sort_unstable();
        due.dedup();
        Rates { due }
    }

    fn due_of(&self, source: IpAddr) -> Option<Time> {
        let at = self.due.binary_search_by_key(&source, |(ip, _)| *ip).ok()?;
        self.due.get(at).map(|(_, due)| *due)
    }

    /// Counts one request of a source; false, and not counted, when it is one too many.
    fn admit(&mut self, source: IpAddr, now: Time, per_second: u32, burst: Duration) -> bool {
        if per_second == 0 {
            return true;
        }
        let Ok(at) = self.due.binary_search_by_key(&source, |(ip, _)| *ip) else { return true };
        let Some((_, due)) = self.due.get_mut(at) else { return true };
        let interval = Duration::from_secs(1) / per_second;
        let next = (*due).max(now) + interval;
        if next > now + burst {
            return false;
        }
        *due = next;
        true
    }
}

/// Something new that no call waits for. OPTIONS is answered for what a refusal costs.
fn is_new(request: &Message<'_>, way: &Way<'_>) -> bool {
    let opens = !matches!(request.cseq().method, Method::Ack | Method::Cancel | Method::Bye | Method::Options);
    opens && request.to_tag().is_none() && !way.has_token()
}

/// What is no message: dropped. From a peer that is worth a line; a keepalive is not.
pub(super) fn on_noise(turn: &mut Turn<'_>, flow: Flow, noise: Hopeless) {
    turn.outbox.event(Event::Dropped(DropReason::Hopeless(noise)));
    if noise != Hopeless::Empty {
        turn.outbox.event(Event::Suspected(flow, Suspicion::Malformed));
    }
}

impl Engine {
    /// While draining, new calls get 503 and everything else goes on.
    pub fn set_draining(&mut self, draining: bool) {
        self.draining = draining;
    }

    /// Tells the core whether its worker is behind with what has arrived. While it is, new calls get 503: carrying a part
    /// of what is offered to its end is worth more than losing a part of everything.
    pub fn set_behind(&mut self, is_behind: bool) {
        self.is_behind = is_behind;
    }

    /// Every address that may speak now, some of them twice: sources, peers, and peers that left the configuration and
    /// may still answer.
    pub fn neighbours(&self) -> impl Iterator<Item = IpAddr> {
        let parties = self.settings.parties.iter();
        let configured = parties.flat_map(|party| {
            let peers = party.peers.iter().map(|peer| peer.address.ip());
            party.sources.iter().map(|source| source.ip).chain(peers)
        });
        configured.chain(self.former_addresses())
    }

    /// A number that changes whenever [`Engine::neighbours`] has one more, other than by [`Engine::apply`].
    pub fn neighbours_changed(&self) -> u64 {
        self.neighbours_changed
    }

    pub(super) fn on_stranger(&self, turn: &mut Turn<'_>, flow: Flow, bytes: &[u8]) {
        turn.outbox.event(Event::Dropped(DropReason::Stranger));
        if self.settings.limits.strangers == Strangers::Log {
            let is_scanner = scanners::is_one_raw(bytes);
            let suspicion = if is_scanner { Suspicion::Scanner } else { Suspicion::Stranger };
            turn.outbox.event(Event::Suspected(flow, suspicion));
        }
    }

    /// Refuses something new, for what it costs to say so and with nothing kept. False where it may go on.
    pub(super) fn sheds(&mut self, turn: &mut Turn<'_>, asked: &Asked<'_>, way: &Way<'_>) -> bool {
        if !is_new(asked.message, way) {
            return false;
        }
        if asked
            .message
            .first(Name::UserAgent)
            .is_some_and(|agent| scanners::is_one(agent.value.of(asked.message.bytes())))
        {
            turn.outbox.event(Event::Dropped(DropReason::Scanner));
            turn.outbox.event(Event::Suspected(asked.flow, Suspicion::Scanner));
            return true;
        }
        let per_second = self.settings.limits.requests_per_second;
        let burst = Duration::from_secs(self.settings.limits.requests_burst_secs.into());
        let (limit, refusal) = if !self.rates.admit(asked.flow.remote.ip(), turn.now, per_second, burst) {
            ("requests_per_second", Refusal::OverRate)
        } else if self.is_behind && asked.message.cseq().method == Method::Invite {
            ("backlog", Refusal::Full)
        } else if let Some(limit) = self.is_full() {
            (limit, Refusal::Full)
        } else {
            return false;
        };
        if dispatch::is_emergency(&self.settings, dispatch::called_user(&way.uri)) {
            return false;
        }
        turn.outbox.event(Event::LimitReached(limit));
        self.answer_without_state(turn, asked, refusal);
        true
    }

    /// The limit that the open transactions have reached.
    pub(super) fn is_full(&self) -> Option<&'static str> {
        let limits = &self.settings.limits;
        if self.table.len() >= limits.transactions {
            Some("transactions")
        } else if self.table.held_bytes() >= limits.transaction_bytes {
            Some("transaction_bytes")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_source_has_its_rate_its_burst_and_nothing_of_anothers() {
        let (ours, other): (IpAddr, IpAddr) = ("10.10.10.2".parse().unwrap(), "10.10.10.3".parse().unwrap());
        let mut rates = Rates { due: vec![(ours, Time(0)), (other, Time(0))] };
        let mut admitted = |source, at_ms, count| {
            (0..count).filter(|_| rates.admit(source, Time::from_millis(at_ms), 100, SECOND)).count()
        };
        assert_eq!(admitted(ours, 10_000, 1_000), 100);
        assert_eq!(admitted(other, 10_000, 1_000), 100);
        assert_eq!(admitted(ours, 10_500, 1_000), 50);
        assert_eq!(admitted(ours, 60_000, 1_000), 100);
        let over_ten_seconds: usize = (0..1_000).map(|at| admitted(ours, 60_000 + at * 10, 2)).sum();
        assert!((995..=1_000).contains(&over_ten_seconds), "{over_ten_seconds}");
    }

    #[test]
    fn without_a_rate_nothing_is_counted() {
        let mut rates = Rates::default();
        assert!((0..1_000).all(|_| rates.admit("10.10.10.2".parse().unwrap(), Time(0), 0, SECOND)));
    }
}
