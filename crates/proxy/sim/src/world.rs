//! One world: a clock, a queue of what is due, the proxy in the middle, and everything around it.

use crate::chance::Chance;
use crate::invariants::{Arrival, Broken, Cause, Invariants, Left, Step};
use crate::ledger::Ledger;
use crate::links::Links;
use crate::phones::Phones;
use crate::quotas::Quotas;
use crate::sabotage::Sabotage;
use crate::stage::{self, Numbers, STRANGER, Site};
use crate::told::Told;
use crate::weather::{CALLS_WITHIN_MS, Weather};
use crate::wire::{Wire, latin1};
use directory::Directory;
use proxy::{EndedBy, Engine, Event, Flow, ListenerId, Outbox, Refusal, Settings, Time, Transport, Warning};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

/// What will happen.
#[derive(Clone, Debug)]
pub(crate) enum Due {
    /// A message reaches the proxy: from a site, or from a stranger.
    ToProxy { site: Option<usize>, flow: Flow, text: Rc<str>, whole: bool },
    /// A message reaches a site; on a stream, by this connection.
    ToSite { site: usize, connection: u64, text: Rc<str> },
    /// The proxy learns that what it sent did not arrive.
    Undelivered { flow: Flow, text: Rc<str> },
    /// An end sends again what it has no answer to.
    Again { key: String, times: u32 },
    /// An end does what it had planned.
    Phone(crate::phones::Deed),
    /// The process is killed and started.
    Restart,
    /// A new key signs.
    Rotate,
    /// The table changes.
    Change,
    /// A site goes, or comes back.
    Outage { site: usize, is_out: bool, is_told: bool },
    /// A stranger or a forger sends what he has seen.
    Forge,
    /// A site asks whether the proxy is there.
    Ping { site: usize },
}

/// The proxy, its table and its keys.
struct Middle {
    engine: Engine,
    settings: Arc<Settings>,
    newest_key: u8,
    numbers: Numbers,
    directory: Directory,
    outbox: Outbox,
}

/// What a trace tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// There is none.
    Nothing,
    /// One line for a message.
    Lines,
    /// Every byte.
    Bytes,
}

/// Why a seed failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// When, in its own time.
    pub at_ms: u64,
    /// The invariant, and what was seen.
    pub what: Broken,
}

/// One seed's world.
pub struct World {
    seed: u64,
    pub(crate) chance: Chance,
    pub(crate) weather: Weather,
    pub(crate) sites: Vec<Site>,
    pub(crate) now_ms: u64,
    queue: BTreeMap<(u64, u64), Due>,
    serial: u64,
    middle: Middle,
    pub(crate) links: Links,
    pub(crate) phones: Phones,
    invariants: Invariants,
    ledger: Ledger,
    pub(crate) told: Told,
    /// What passed lately, for forgers.
    seen: VecDeque<Rc<str>>,
    sabotage: Option<Sabotage>,
    trace: Option<Vec<String>>,
    /// What the trace tells of a message.
    depth: Depth,
    /// Turns of the engine's timers with nothing else between them.
    turns: usize,
    /// A fault that an end found.
    pub(crate) fault: Option<Broken>,
}

/// Messages that a forger remembers.
const SEEN: usize = 24;
/// Turns of the engine's timers with nothing else between them: more are a loop.
const TURNS: usize = 10_000;

impl World {
    /// The world of a seed, before anything has happened.
    pub fn new(seed: u64, sabotage: Option<Sabotage>, depth: Depth) -> World {
        let mut chance = Chance::new(seed);
        let weather = Weather::of(&mut chance).with_sessions(seed);
        let sites = stage::sites(&mut chance, weather.tcp);
        let quotas = Quotas::of(seed);
        let allowed = if sabotage == Some(Sabotage::Limits) { quotas.exceeded() } else { quotas.clone() };
        let settings = Arc::new(stage::settings(&mut chance, &sites, weather.rewrites, &allowed));
        let numbers = Numbers::new(&mut chance, allowed);
        let middle = Middle {
            engine: Engine::new(Arc::clone(&settings), Arc::new(stage::ring(1))),
            settings,
            newest_key: 1,
            directory: numbers.directory(),
            numbers: numbers.clone(),
            outbox: Outbox::new(),
        };
        let mut world = World {
            seed,
            chance,
            invariants: Invariants::new(sites.clone(), numbers, weather.rewrites, quotas.clone()),
            ledger: Ledger::new(&sites, quotas),
            links: Links::new(sites.len()),
            sites,
            weather,
            now_ms: 0,
            queue: BTreeMap::new(),
            serial: 0,
            middle,
            phones: Phones::default(),
            told: Told::default(),
            seen: VecDeque::new(),
            sabotage,
            trace: (depth != Depth::Nothing).then(Vec::new),
            depth,
            turns: 0,
            fault: None,
        };
        world.plan();
        world
    }

    /// Puts everything into the queue that does not depend on anything else.
    fn plan(&mut self) {
        let weather = self.weather.clone();
        weather.restarts_ms.iter().for_each(|at_ms| self.at(*at_ms, Due::Restart));
        weather.rotations_ms.iter().for_each(|at_ms| self.at(*at_ms, Due::Rotate));
        weather.changes_ms.iter().for_each(|at_ms| self.at(*at_ms, Due::Change));
        for outage in &weather.outages {
            let (site, is_told) = (outage.site % self.sites.len(), outage.is_told);
            self.at(outage.at_ms, Due::Outage { site, is_out: true, is_told });
            self.at(outage.until_ms, Due::Outage { site, is_out: false, is_told });
        }
        for _ in 0..weather.forgeries {
            let at_ms = self.chance.below(CALLS_WITHIN_MS * 2);
            self.at(at_ms, Due::Forge);
        }
        for site in 0..self.sites.len() {
            let at_ms = self.chance.below(CALLS_WITHIN_MS);
            self.at(at_ms, Due::Ping { site });
        }
        self.plan_calls();
    }

    /// Runs to the end.
    pub fn run(&mut self) -> Result<Told, Failure> {
        let ran = self.run_queue().and_then(|()| self.come_to_rest());
        match ran.and_then(|()| self.check_outcomes()) {
            Ok(()) => Ok(self.told),
            Err(what) => Err(Failure { seed: self.seed, at_ms: self.now_ms, what }),
        }
    }

    /// The ladder so far, line by line; empty unless it was asked for.
    pub fn trace(&self) -> &[String] {
        self.trace.as_deref().unwrap_or_default()
    }

    /// What this seed is like.
    pub fn weather(&self) -> String {
        format!("{:?}\n{:?}\n{:?}", self.weather, self.sites, self.middle.numbers.quotas)
    }

    fn run_queue(&mut self) -> Result<(), Broken> {
        while let Some(at_ms) = self.queue.first_key_value().map(|((at_ms, _), _)| *at_ms) {
            // What the engine sends by itself may be the next thing that happens.
            if self.run_timer(at_ms)? {
                continue;
            }
            let Some((_, due)) = self.queue.pop_first() else { return Ok(()) };
            self.now_ms = at_ms;
            self.turns = 0;
            self.happens(due)?;
            if let Some(fault) = self.fault.take() {
                return Err(fault);
            }
        }
        Ok(())
    }

    /// Does what the engine has due at its next deadline, if that is not later than this. False when it is.
    fn run_timer(&mut self, until_ms: u64) -> Result<bool, Broken> {
        let next = self.middle.engine.poll_timeout().filter(|next| *next <= Time::from_millis(until_ms));
        let Some(next) = next else { return Ok(false) };
        self.turns += 1;
        if self.turns > TURNS {
            return Err(format!("I9: {TURNS} turns of the timers at {} ms", self.now_ms));
        }
        self.now_ms = self.now_ms.max(next.as_millis());
        let now = next.max(Time::from_millis(self.now_ms));
        self.step(Cause::Time, |middle| {
            middle.engine.handle_timeout(now, &middle.directory, &mut middle.outbox);
        })?;
        Ok(true)
    }

    /// Nobody sends anything any more but the engine, and what that causes.
    fn come_to_rest(&mut self) -> Result<(), Broken> {
        while self.middle.engine.open_transactions() > 0 && self.run_timer(u64::MAX / 2_000)? {
            self.run_queue()?;
        }
        // Calls that stand with nobody at their ends age: that may take its time, and sends nothing.
        let rest_ms = self.now_ms;
        while self.run_timer(u64::MAX / 2_000)? {
            self.run_queue()?;
        }
        self.ledger.check_rest(&self.middle.engine)?;
        let (open, next) = (self.middle.engine.open_transactions(), self.middle.engine.poll_timeout());
        let open = open + self.sabotage.map_or(0, Sabotage::left_open);
        self.invariants.check_rest(rest_ms, open, next)
    }

    fn happens(&mut self, due: Due) -> Result<(), Broken> {
        match due {
            Due::ToProxy { site, flow, text, whole } => self.reaches_proxy(site, flow, &text, whole)?,
            Due::ToSite { site, connection, text } => self.reaches_site(site, connection, text),
            Due::Undelivered { flow, text } => {
                self.note(|| format!("    network: undelivered to {}: {}", flow.remote, first_line(&text)));
                let now = Time::from_millis(self.now_ms);
                self.step(Cause::Time, |middle| {
                    let bytes = bytes_of(&text);
                    middle.engine.handle_failure(now, flow, &bytes, &middle.directory, &mut middle.outbox);
                })?;
            }
            Due::Again { key, times } => self.sends_again(key, times),
            Due::Phone(deed) => self.does(deed),
            Due::Restart => self.restarts(),
            Due::Rotate => self.rotates(),
            Due::Change => {
                self.middle.numbers.change(&mut self.chance);
                self.middle.directory = self.middle.numbers.directory();
                self.invariants.table_changed(&self.middle.numbers);
                let generation = self.middle.numbers.generation;
                self.note(|| format!("    table: generation {generation}"));
            }
            Due::Outage { site, is_out, is_told } => {
                self.links.out[site] = is_out.then_some(is_told);
                let address = self.sites[site].address;
                self.note(|| format!("    network: {address} {}", if is_out { "is gone" } else { "is back" }));
                if is_out {
                    self.breaks_connections_of(site);
                }
            }
            Due::Forge => self.forges(),
            Due::Ping { site } => self.pings(site),
        }
        Ok(())
    }

    fn restarts(&mut self) {
        let ring = Arc::new(stage::ring(self.middle.newest_key));
        let mut engine = Engine::new(Arc::clone(&self.middle.settings), ring);
        let is_kept = self.chance.percent(75);
        self.ledger.hand_over(Time::from_millis(self.now_ms), &self.middle.engine, &mut engine, is_kept);
        self.middle.engine = engine;
        self.links.connections.clear();
        self.invariants.restarted(is_kept);
        self.told.restarts += 1;
        self.note(|| "    proxy: killed and started".into());
    }

    fn rotates(&mut self) {
        self.middle.newest_key += 1;
        let ring = Arc::new(stage::ring(self.middle.newest_key));
        let settings = Arc::clone(&self.middle.settings);
        self.middle.engine.apply(settings, ring);
        self.note(|| "    proxy: a new key signs".into());
    }

    fn reaches_proxy(&mut self, site: Option<usize>, flow: Flow, text: &Rc<str>, whole: bool) -> Result<(), Broken> {
        let stream = self.middle.settings.transport(flow.listener) == Transport::Tcp;
        if stream && !self.links.connections.contains_key(&flow.connection) {
            return Ok(());
        }
        if self.seen.len() == SEEN {
            self.seen.pop_front();
        }
        if whole {
            self.seen.push_back(Rc::clone(text));
        }
        let (mut arrived, mut meant) = (Rc::clone(text), None);
        let mut is_whole = whole;
        if whole && !stream && self.chance.below(1_000) < self.weather.corrupt_of_1000 {
            meant = Wire::parse(Rc::clone(text)).map(|wire| wire.call_id().to_owned());
            arrived = self.corrupt(text).into();
            is_whole = false;
        }
        let mark = if whole && !is_whole { "changed on the way: " } else { "" };
        let told = self.told_of(&arrived);
        self.note(|| format!("{} -> proxy: {mark}{told}", flow.remote));
        let bytes = bytes_of(&arrived);
        let wire = Wire::parse(Rc::clone(&arrived));
        let cause = Cause::Arrived(Arrival { from: flow.remote, site, text: arrived, wire, whole: is_whole, meant });
        let now = Time::from_millis(self.now_ms);
        self.step(cause, |middle| match stream {
            true => middle.engine.handle_message(now, flow, &bytes, &middle.directory, &mut middle.outbox),
            false => middle.engine.handle_datagram(now, flow, &bytes, &middle.directory, &mut middle.outbox),
        })
    }

    /// Some bits turned, or the end cut off.
    fn corrupt(&mut self, text: &str) -> String {
        let mut bytes = bytes_of(text);
        if self.chance.percent(20) {
            bytes.truncate(self.chance.place(bytes.len()));
        } else {
            for _ in 0..=self.chance.below(3) {
                let at = self.chance.place(bytes.len());
                bytes[at] ^= 1 << self.chance.below(8);
            }
        }
        latin1(&bytes)
    }

    /// One call of the engine: done, checked, and what left is on its way.
    fn step(&mut self, cause: Cause, act: impl FnOnce(&mut Middle)) -> Result<(), Broken> {
        act(&mut self.middle);
        self.told.steps += 1;
        let middle = &mut self.middle;
        let (mut stateless, mut ended) = (false, Vec::new());
        for event in middle.outbox.events() {
            self.ledger.book(event)?;
            match event {
                Event::Ended { call_id, by, .. } => {
                    self.told.expired += u64::from(*by == EndedBy::Expired);
                    ended.push(latin1(middle.outbox.text(*call_id)));
                }
                Event::Refused(_, Refusal::Limit(..)) => self.told.limited += 1,
                Event::Impossible(what) => return Err(format!("impossible: {what}")),
                Event::Warned(Warning::Stateless) => stateless = true,
                Event::Failover(..) => self.told.failovers += 1,
                _ => {}
            }
        }
        self.told.stateless += u64::from(stateless);
        let lost = self.sabotage.map_or(0, Sabotage::seats_lost);
        self.ledger.check(&middle.engine, lost)?;
        let left = middle.outbox.transmits().map(|(flow, bytes)| {
            let text: Rc<str> = latin1(bytes).into();
            Left { flow: *flow, wire: Wire::parse(Rc::clone(&text)), text }
        });
        let left = left.collect();
        middle.outbox.clear();
        let (open, next) = (middle.engine.open_transactions(), middle.engine.poll_timeout());
        let mut step = Step { now_ms: self.now_ms, cause, left, stateless, ended, open, next };
        if let Some(sabotage) = self.sabotage {
            sabotage.spoil(&mut step, &self.sites);
        }
        for left in &step.left {
            let told = self.told_of(&left.text);
            self.note(|| format!("    proxy -> {}: {told}", left.flow.remote));
        }
        self.invariants.check(&step)?;
        for left in step.left {
            self.leaves_proxy(left);
        }
        Ok(())
    }

    /// A stranger repeats what he has seen; or a configured peer sends another's response.
    fn forges(&mut self) {
        if self.seen.is_empty() {
            return;
        }
        let text = Rc::clone(&self.seen[self.chance.place(self.seen.len())]);
        let stranger: SocketAddr = STRANGER.parse().unwrap();
        let garbage: Rc<str> = match self.chance.below(4) {
            0 => "\0\u{ff}\r\n\r\n".into(),
            1 => text.replace("SIP/2.0", "SIP/9.9").into(),
            _ => Rc::clone(&text),
        };
        let flow = Flow::to(ListenerId(0), stranger);
        self.at(self.now_ms, Due::ToProxy { site: None, flow, text: garbage, whole: false });
        let is_response = text.starts_with("SIP/2.0 ");
        let forger =
            self.sites.iter().position(|site| site.party != self.party_at(&text) && site.transport == Transport::Udp);
        if let Some(site) = forger.filter(|_| is_response) {
            // Not tainted: it must change nothing.
            let flow = Flow::to(self.sites[site].listener, self.sites[site].address);
            self.at(self.now_ms, Due::ToProxy { site: Some(site), flow, text, whole: true });
        }
    }

    /// The party that signed a message of an end.
    fn party_at(&self, text: &str) -> proxy::PartyId {
        let signed = text.split("Server: ").nth(1).and_then(|rest| rest.split("\r\n").next()).unwrap_or_default();
        let site = self.sites.iter().find(|site| site.address.to_string() == signed);
        site.map_or(proxy::PartyId(u16::MAX), |site| site.party)
    }

    /// Something is due at a time.
    pub(crate) fn at(&mut self, at_ms: u64, due: Due) {
        self.serial += 1;
        self.queue.insert((at_ms.max(self.now_ms), self.serial), due);
    }

    pub(crate) fn numbers(&self) -> &Numbers {
        &self.middle.numbers
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// A message as the trace tells it.
    fn told_of(&self, text: &Rc<str>) -> String {
        match self.depth {
            Depth::Nothing => String::new(),
            Depth::Lines => outline(text),
            Depth::Bytes => format!(
                "{}\n{}",
                outline(text),
                text.replace("\r\n", "\n").escape_debug().to_string().replace("\\n", "\n")
            ),
        }
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>9} {}", self.now_ms, line()));
        }
    }
}

/// Characters back into the bytes that they stand for.
pub(crate) fn bytes_of(text: &str) -> Vec<u8> {
    if text.is_ascii() {
        return text.as_bytes().to_vec();
    }
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
}

fn first_line(text: &str) -> &str {
    text.split("\r\n").next().unwrap_or_default()
}

/// One line for a message: what it is, its CSeq, its call and its branch.
fn outline(text: &Rc<str>) -> String {
    match Wire::parse(Rc::clone(text)) {
        Some(wire) => {
            format!("{}  [{} {} {}]", wire.start(), wire.first("CSeq"), wire.call_id(), wire.branch())
        }
        None => format!("{:?}", &text.chars().take(60).collect::<String>()),
    }
}
