//! Measures the peers: an OPTIONS to each from the socket that serves it, what calls told of it beside, and the states
//! that follow, handed to the worker as a value. What people decide about a peer is kept in a file of the state folder.
//! docs/reference/peer-states.md says what it means.

mod admins;
mod message;
mod questions;
mod rounds;
mod tunnel;

use crate::clock::Clock;
use crate::config::{Named, Probe};
use crate::names::in_words;
use crate::worker::{Command, Crew, Heard};
use admin::api::dids::readiness::{Asked, Replies};
use admin::api::peers::AdminOrder;
use admin::{Kind, PeerStatus, Problem};
use admins::{Admins, Decided};
use arc_swap::ArcSwap;
pub(crate) use message::probe_of_bytes;
use proxy::targets::{Admin, Evidence, Health, Signal, States};
use proxy::{Settings, Time};
use questions::Questions;
use rounds::{Changed, Rounds, Watched};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use sync::changes::By;
use tokio::sync::{mpsc, oneshot};
pub(crate) use tunnel::{Handshake, Handshakes};
use tunnel::{Tunnels, Verdict};

/// Facts that may wait to be looked at; more are left out, and measured again.
pub const HEARD: usize = 1_024;
/// Orders that may wait.
const ORDERS: usize = 16;
/// How long it sleeps when nobody is to be asked: a new configuration is looked at this often.
const IDLE: Duration = Duration::from_secs(1);

/// What the measuring is made from.
pub struct Parts {
    /// The configuration, as it is now.
    pub settings: Arc<ArcSwap<Settings>>,
    /// How peers are measured.
    pub probe: Probe,
    /// The workers whose sockets serve the peers.
    pub commands: Crew,
    /// What those workers hear of them.
    pub heard: mpsc::Receiver<Heard>,
    /// The process's clock.
    pub clock: Clock,
    /// The peers that are given by a host name.
    pub names: Arc<ArcSwap<Vec<Named>>>,
}

/// What is known of the peers, and the way to decide about them.
#[derive(Clone, Debug)]
pub struct Peers {
    orders: mpsc::Sender<Order>,
    known: Arc<ArcSwap<Vec<PeerStatus>>>,
    measured: Arc<ArcSwap<Vec<Measured>>>,
    tunnels_down: Arc<AtomicU64>,
    begins: Arc<States>,
}

/// What measuring found of one peer, where it found anything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Measured {
    pub(crate) party: Box<str>,
    /// As the configuration writes it.
    pub(crate) peer: String,
    /// Whether it is there.
    pub(crate) is_up: Option<bool>,
    /// How long the last probe took to its answer; none while it does not answer.
    pub(crate) round_trip: Option<Duration>,
}

/// Why nothing was decided.
#[derive(Debug, thiserror::Error)]
pub enum SetFault {
    /// No such peer.
    #[error("found {0:?}, expected a peer of the configuration, as udp:10.10.10.1:5070, or a trunk or environment")]
    Unknown(String),
    /// It holds until the next restart only.
    #[error("it is so now, and will not be so after a restart: {0}")]
    NotKept(#[from] io::Error),
    /// The process is ending.
    #[error("the process is ending")]
    Ending,
}

/// The peers that a decision was about.
type Answer = oneshot::Sender<Result<Vec<PeerStatus>, SetFault>>;

#[derive(Debug)]
enum Order {
    Set { peer: String, decided: Decided, answer: Answer },
    Probe(Probe),
    Ask(Asked, questions::Answer),
}

struct Prober {
    parts: Parts,
    orders: mpsc::Receiver<Order>,
    known: Arc<ArcSwap<Vec<PeerStatus>>>,
    measured: Arc<ArcSwap<Vec<Measured>>>,
    settings: Arc<Settings>,
    rounds: Rounds,
    questions: Questions,
    admins: Admins,
    told: States,
    /// Decisions that are answered once the worker is told.
    decided: Vec<(String, Answer)>,
    /// The interfaces that are looked at, and what was seen.
    interfaces: Arc<ArcSwap<Vec<String>>>,
    tunnels: Arc<ArcSwap<Tunnels>>,
    /// What is down, of the peers that are, as far as it can be told.
    verdicts: BTreeMap<String, Verdict>,
    tunnels_down: Arc<AtomicU64>,
}

/// Begins to measure. Decisions are read from and kept in `state_dir`. The future ends with the worker.
pub fn start(parts: Parts, state_dir: &Path) -> (Peers, impl Future<Output = ()> + use<>) {
    let (orders, ordered) = mpsc::channel(ORDERS);
    let (known, measured) = (Arc::new(ArcSwap::default()), Arc::new(ArcSwap::default()));
    let (tunnels, tunnels_down, clock) = (Arc::default(), Arc::<AtomicU64>::default(), parts.clock);
    let interfaces = Arc::new(ArcSwap::from_pointee(interfaces_of(&parts.probe)));
    let mut prober = Prober {
        rounds: Rounds::new(parts.probe.clone()),
        questions: Questions::default(),
        settings: parts.settings.load_full(),
        parts,
        orders: ordered,
        known: Arc::clone(&known),
        measured: Arc::clone(&measured),
        admins: Admins::read(state_dir),
        told: States::default(),
        decided: Vec::new(),
        interfaces: Arc::clone(&interfaces),
        tunnels: Arc::clone(&tunnels),
        verdicts: BTreeMap::new(),
        tunnels_down: Arc::clone(&tunnels_down),
    };
    prober.follow();
    let begins = Arc::new(prober.rounds.states());
    let looking = tunnel::follow(move || interfaces.load().to_vec(), move || clock.now(), tunnels);
    let running = async move {
        tokio::select! {
            () = prober.run() => {}
            () = looking => {}
        }
    };
    (Peers { orders, known, measured, tunnels_down, begins }, running)
}

impl Peers {
    /// What workers begin with: people's decisions hold for the first call already.
    pub(crate) fn begins(&self) -> Arc<States> {
        Arc::clone(&self.begins)
    }

    /// Every peer with its state, trunks first.
    pub fn list(&self) -> Vec<PeerStatus> {
        self.known.load().to_vec()
    }

    /// What measuring found of each peer that has an address.
    pub(crate) fn measured(&self) -> Arc<Vec<Measured>> {
        self.measured.load_full()
    }

    /// Peers whose tunnel is down.
    pub(crate) fn tunnels_down(&self) -> u64 {
        self.tunnels_down.load(Ordering::Relaxed)
    }

    /// Decides about a peer, as the configuration writes it, or about all of a trunk's or an environment's. It holds from
    /// now on and after a restart. The peers that it was about, as they are then.
    pub async fn set(&self, peer: &str, admin: Admin, by: &By) -> Result<Vec<PeerStatus>, SetFault> {
        let (answer, answered) = oneshot::channel();
        let decided = Decided::new(admin, &by.who, &by.reason);
        let order = Order::Set { peer: peer.to_owned(), decided, answer };
        self.orders.send(order).await.map_err(|_| SetFault::Ending)?;
        answered.await.map_err(|_| SetFault::Ending)?
    }

    /// The same for an order that came over the API.
    pub(crate) async fn obey(&self, order: AdminOrder) -> Result<Vec<PeerStatus>, Problem> {
        let admin = Admin::from_word(&order.admin).ok_or_else(|| {
            let detail =
                format!("admin: found {:?}, expected {}", order.admin, Admin::ALL.map(Admin::as_str).join(", "));
            Problem::new(Kind::Invalid, detail)
        })?;
        self.set(&order.peer, admin, &order.by).await.map_err(|fault| {
            let kind = match fault {
                SetFault::Unknown(_) => Kind::NotFound,
                SetFault::NotKept(_) | SetFault::Ending => Kind::Internal,
            };
            Problem::new(kind, fault.to_string())
        })
    }

    /// Asks every target of an environment for a number, from the sockets that serve them. Answers within
    /// [`admin::limits::READINESS_TIME_MAX`], and changes nothing of what is known of them.
    pub(crate) async fn ask(&self, asked: Asked) -> Result<Vec<Replies>, Problem> {
        let ending = || Problem::new(Kind::Internal, SetFault::Ending.to_string());
        let (answer, answered) = oneshot::channel();
        self.orders.send(Order::Ask(asked, answer)).await.map_err(|_| ending())?;
        let replies = answered.await.map_err(|_| ending())?;
        replies.map_err(|_| {
            let (at_once, per_second) = (admin::limits::READINESS_AT_ONCE, admin::limits::READINESS_PER_SECOND);
            let detail = format!("found {at_once} questions under way or {per_second} in this second, expected fewer");
            Problem::new(Kind::TooMany, detail)
        })
    }

    /// Takes other rules of measuring.
    pub async fn apply(&self, probe: Probe) {
        // A prober that has ended measures nothing any more.
        let _sent = self.orders.send(Order::Probe(probe)).await;
    }
}

impl Prober {
    async fn run(mut self) {
        loop {
            if !self.turn().await {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(self.wake_up().into()) => {}
                heard = self.parts.heard.recv() => match heard {
                    Some(heard) => self.hear(&heard),
                    None => return,
                },
                order = self.orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => return,
                },
            }
        }
    }

    /// Probes that are due, and what follows from what was seen. False when the worker is gone.
    async fn turn(&mut self) -> bool {
        if !Arc::ptr_eq(&self.settings, &self.parts.settings.load()) {
            self.follow();
        }
        let now = self.parts.clock.now();
        let mut changed = Vec::new();
        let mut out = self.rounds.on_time(now, &self.settings, chance, &mut changed);
        out.extend(self.questions.on_time(now));
        self.tell(&changed);
        if !out.is_empty() && !self.parts.commands.tell_one(Command::Send(out)).await {
            return false;
        }
        self.publish(now).await
    }

    fn wake_up(&self) -> Instant {
        let idle = Instant::now() + IDLE;
        let next = self.rounds.next().into_iter().chain(self.questions.next()).min();
        next.map_or(idle, |at| self.parts.clock.instant(at).min(idle))
    }

    fn hear(&mut self, heard: &Heard) {
        let (now, mut changed) = (self.parts.clock.now(), Vec::new());
        if self.questions.on_heard(now, heard) {
            return;
        }
        self.rounds.on_heard(now, heard, &mut changed);
        self.tell(&changed);
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Probe(probe) => {
                self.interfaces.store(Arc::new(interfaces_of(&probe)));
                self.parts.probe = probe.clone();
                self.rounds.set_probe(probe);
            }
            Order::Ask(asked, answer) => {
                let now = self.parts.clock.now();
                self.questions.begin(now, &self.settings, self.rounds.watched(), asked, chance, answer);
            }
            Order::Set { peer, decided, answer } => match self.decide(&peer, &decided) {
                Ok(()) => self.decided.push((peer, answer)),
                // Who asked may be gone; it is done all the same.
                Err(fault) => drop(answer.send(Err(fault))),
            },
        }
    }

    fn decide(&mut self, peer: &str, decided: &Decided) -> Result<(), SetFault> {
        let mut places = self.rounds.set_admin(peer, decided);
        places.extend(self.without_address().filter(|named| named.is_called(peer)).map(|named| named.text));
        if places.is_empty() {
            return Err(SetFault::Unknown(peer.to_owned()));
        }
        let Decided { admin, by, reason } = decided;
        for place in &places {
            tracing::warn!(peer = place, admin, who = by, reason, "a peer was set");
        }
        Ok(self.admins.set(&places, decided)?)
    }

    fn follow(&mut self) {
        self.settings = self.parts.settings.load_full();
        let (admins, names) = (&self.admins, self.parts.names.load());
        self.rounds.follow(self.parts.clock.now(), &self.settings, |peer| {
            let named = names.iter().find(|named| named.peer == Some(*peer));
            let name = named.map_or_else(|| peer.to_string(), |named| named.text.clone());
            let decided = admins.of(&name);
            (name, decided)
        });
    }

    /// Says of each peer that is silent whether its tunnel or its PBX is down.
    fn judge(&mut self, now: Time) {
        let (tunnels, mut verdicts) = (self.tunnels.load(), BTreeMap::new());
        for watched in self.rounds.watched() {
            let of_party = self.parts.probe.tunnels.iter().find(|(party, _)| *party == watched.party);
            let (Some((party, interface)), Some(since)) = (of_party, watched.silent_since) else { continue };
            if watched.health() != Health::Down {
                continue;
            }
            let ip = watched.peer.address.ip();
            let Some(verdict) = tunnel::verdict(&tunnels, interface, ip, (now, tunnel::now_s()), since) else {
                continue;
            };
            if self.verdicts.get(&watched.name) != Some(&verdict) {
                tracing::error!(%party, peer = watched.name, interface, verdict = verdict.as_str(), "why a peer is down");
            }
            verdicts.insert(watched.name.clone(), verdict);
        }
        let down = verdicts.values().filter(|verdict| **verdict == Verdict::Tunnel).count();
        self.tunnels_down.store(u64::try_from(down).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.verdicts = verdicts;
    }

    /// Peers whose name has no address yet.
    fn without_address(&self) -> impl Iterator<Item = Named> + use<> {
        let names = self.parts.names.load_full();
        (0..names.len()).filter_map(move |at| names.get(at).filter(|named| named.peer.is_none()).cloned())
    }

    fn unplaced(&self, named: &Named) -> PeerStatus {
        let decided = self.admins.of(&named.text);
        PeerStatus {
            party: named.party.to_string(),
            peer: named.text.clone(),
            admin: decided.admin().as_str().to_owned(),
            health: Health::Unknown.as_str().to_owned(),
            standing: "no_address".to_owned(),
            reason: decided.reason,
            set_by: decided.by,
            evidence: "its name has no address yet".to_owned(),
            ..PeerStatus::default()
        }
    }

    fn tell(&self, changed: &[Changed]) {
        for Changed { party, peer, transition } in changed {
            let (peer, from, to) = (peer.to_string(), transition.from.as_str(), transition.to.as_str());
            let evidence = told(transition.evidence);
            match transition.to {
                Health::Up | Health::Unknown => tracing::info!(%party, peer, from, to, evidence, "a peer is up"),
                Health::Degraded => tracing::warn!(%party, peer, from, to, evidence, "a peer is degraded"),
                Health::Down => tracing::error!(%party, peer, from, to, evidence, "a peer is down"),
            }
        }
    }

    /// Tells the worker and whoever asks what is known now. False when the worker is gone.
    async fn publish(&mut self, now: Time) -> bool {
        self.judge(now);
        let verdict = |peer: &str| self.verdicts.get(peer).copied();
        let names = self.parts.names.load();
        let placed = self.rounds.watched().iter().map(|watched| PeerStatus {
            evidence: with_age(seen(watched, verdict(&watched.name)), &watched.name, &names),
            ..status(watched, now)
        });
        let peers = placed.chain(self.without_address().map(|named| self.unplaced(&named))).collect();
        self.known.store(Arc::new(peers));
        self.measured.store(Arc::new(self.rounds.watched().iter().map(Measured::of).collect()));
        let states = self.rounds.states();
        if states != self.told {
            self.told = states.clone();
            if !self.parts.commands.tell(&Command::States(Arc::new(states))).await {
                return false;
            }
        }
        for (name, answer) in self.decided.drain(..) {
            let is_it = |peer: &&PeerStatus| peer.party == name || peer.peer == name;
            // Who asked may be gone; it is done all the same.
            drop(answer.send(Ok(self.known.load().iter().filter(is_it).cloned().collect())));
        }
        true
    }
}

impl Measured {
    fn of(watched: &Watched) -> Measured {
        let is_up = match watched.health() {
            Health::Up | Health::Degraded => Some(true),
            Health::Down => Some(false),
            Health::Unknown => None,
        };
        let (party, peer) = (watched.party.clone(), watched.place());
        Measured { party, peer, is_up, round_trip: watched.round_trip }
    }
}

fn interfaces_of(probe: &Probe) -> Vec<String> {
    let mut interfaces: Vec<String> = probe.tunnels.iter().map(|(_, interface)| interface.clone()).collect();
    interfaces.sort();
    interfaces.dedup();
    interfaces
}

/// What was measured, and what is down where that can be told.
fn seen(watched: &Watched, verdict: Option<Verdict>) -> String {
    let seen = watched.evidence.map(told).unwrap_or_default();
    verdict.map_or(seen.clone(), |verdict| format!("{seen}: {}", verdict.as_str()))
}

/// The same, and how old the address of a name is that DNS does not confirm now.
fn with_age(seen: String, peer: &str, names: &[Named]) -> String {
    let stale_since = names.iter().find(|named| named.text == peer).and_then(|named| named.stale_since);
    let Some(stale_since) = stale_since else { return seen };
    let age = in_words(stale_since.elapsed().unwrap_or_default());
    let joint = if seen.is_empty() { "" } else { "; " };
    format!("{seen}{joint}its address is stale, DNS confirmed it {age} ago")
}

fn status(watched: &Watched, now: Time) -> PeerStatus {
    PeerStatus {
        party: watched.party.to_string(),
        peer: watched.place(),
        admin: watched.decided.admin().as_str().to_owned(),
        health: watched.health().as_str().to_owned(),
        standing: watched.state().standing().as_str().to_owned(),
        reason: watched.decided.reason.clone(),
        set_by: watched.decided.by.clone(),
        evidence: String::new(),
        since_s: now.since(watched.since).as_secs(),
        address: watched.peer.address.to_string(),
    }
}

/// The evidence in words.
fn told(evidence: Evidence) -> String {
    let in_row = evidence.in_row;
    match evidence.signal {
        Signal::Answered(status) => format!("{in_row} probes answered in a row, with {status}"),
        Signal::Unwilling(status) => format!("a probe answered with {status}"),
        Signal::Missed => format!("{in_row} probes missed in a row"),
        Signal::Refused => format!("{in_row} probes refused or missed in a row"),
        Signal::CallFailed { .. } => format!("{in_row} calls failed in a row"),
    }
}

/// 128 bits of chance. Without any from the system there are no probes worth sending: zeros match no answer twice.
fn chance() -> [u8; 16] {
    let mut bytes = [0; 16];
    if let Err(error) = getrandom::fill(&mut bytes) {
        tracing::error!(%error, "no random numbers: probes can be forged");
    }
    bytes
}

#[cfg(test)]
mod tests;
