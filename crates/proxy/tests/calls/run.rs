//! A text against the engine: the clock steps through the engine's own timeouts, and nothing leaves unasked.

use crate::draft::Desk;
use crate::expect::Judge;
use crate::invariants::Invariants;
use crate::ladder::Ladder;
use crate::pattern::Captures;
use crate::scene::{Endpoint, Scene};
use crate::text::{Message, Step, Text, What};
use crate::wire::{Wire, latin1};
use directory::Directory;
use proxy::calls::RestoredCall;
use proxy::{Engine, Event, Flow, InterfaceId, Key, KeyRing, Listener, ListenerId, Outbox, Time, Transport};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The clock may run this long to find out that nothing more comes.
const REST_MAX: Duration = Duration::from_secs(3_600);
/// Timeouts at one instant before the engine is said to spin.
const SPINS_MAX: usize = 1_000;

/// Something that left and that no step has asked for yet.
#[derive(Debug)]
struct Left {
    time: Time,
    flow: Flow,
    bytes: Vec<u8>,
}

/// One text being run.
struct Run {
    scene: Scene,
    folder: PathBuf,
    keys: Arc<KeyRing>,
    directory: Directory,
    engine: Engine,
    outbox: Outbox,
    now: Time,
    call: String,
    captures: Captures,
    ladder: Ladder,
    invariants: Invariants,
    waiting: VecDeque<Left>,
    /// The way that the last message to an address took.
    last_to: BTreeMap<SocketAddr, Flow>,
    events: Vec<String>,
    skips_again: bool,
}

/// Runs one file; an error tells the line, the differences and the ladder so far.
pub(crate) fn run_file(file: &Path) -> Result<(), String> {
    let bytes = std::fs::read(file).map_err(|fault| format!("{}: {fault}", file.display()))?;
    let text = Text::parse(&latin1(&bytes))?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let mut run = Run::new(&text, folder)?;
    for step in &text.steps {
        run.step(step).map_err(|fault| run.told(step.line, &fault))?;
    }
    let last = text.steps.last().map_or(0, |step| step.line);
    run.settled().and_then(|()| run.invariants.at_end(&run.ladder)).map_err(|fault| run.told(last, &fault))
}

/// The ids that a file says it holds.
pub(crate) fn rows_held(file: &Path) -> Result<Vec<String>, String> {
    let bytes = std::fs::read(file).map_err(|fault| format!("{}: {fault}", file.display()))?;
    let text = Text::parse(&latin1(&bytes))?;
    let rows = text.head.iter().filter(|setting| setting.key == "rows");
    Ok(rows.flat_map(|setting| setting.value.split_whitespace().map(str::to_owned)).collect())
}

impl Run {
    fn new(text: &Text, folder: &Path) -> Result<Run, String> {
        let scene = Scene::new(&text.head, folder)?;
        let keys = Arc::new(KeyRing::new(&Key { id: 1, secret: [7; 32] }, &[]));
        let directory = scene.rows.as_ref().map_or_else(Directory::empty, |rows| rows.build(None));
        Ok(Run {
            engine: Engine::new(Arc::new(scene.settings.clone()), Arc::clone(&keys)),
            scene,
            folder: folder.into(),
            keys,
            directory,
            outbox: Outbox::new(),
            now: Time(0),
            call: "1".into(),
            captures: Captures::new(),
            ladder: Ladder::default(),
            invariants: Invariants::default(),
            waiting: VecDeque::new(),
            last_to: BTreeMap::new(),
            events: Vec::new(),
            skips_again: false,
        })
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match &step.what {
            What::At(since_start) => self.clock_to(Time(0) + *since_start),
            What::After(more) => self.clock_to(self.now + *more),
            What::Arrives { from, at, message } => self.arrives(from, at, message),
            What::Leaves { from, to, within, message } => self.leaves(from, to, *within, message),
            What::Call(name) => {
                self.call.clone_from(name);
                Ok(())
            }
            What::Dropped(reason) => self.counted(&format!("dropped {reason}")),
            What::Event(told) => self.counted(told),
            What::SkipAgain(on) => {
                self.settled()?;
                self.skips_again = *on;
                Ok(())
            }
            What::Restart { with_calls } => self.restart(*with_calls),
            What::Calls(expected) => match self.engine.call_count() {
                count if count == *expected => Ok(()),
                count => Err(format!("{count} calls are in progress, expected {expected}")),
            },
            What::Peer(name, word) => {
                self.settled()?;
                self.scene.set_state(name, word)?;
                self.engine.set_states(Arc::new(self.scene.states.clone()));
                Ok(())
            }
            What::Unreachable(party) => self.unreachable(party),
            What::Table(row) => {
                self.settled()?;
                self.scene.rows.get_or_insert_default().line(row)?;
                self.directory = self.scene.rows.get_or_insert_default().build(Some(&self.directory));
                Ok(())
            }
            What::Overlay(line) => {
                self.settled()?;
                self.scene.rows.get_or_insert_default().overlay(line)?;
                self.directory = self.scene.rows.get_or_insert_default().build(Some(&self.directory));
                Ok(())
            }
            What::Set(setting) => {
                self.settled()?;
                self.scene.apply(&setting.key, &setting.value, &self.folder)?;
                self.engine.apply(Arc::new(self.scene.settings.clone()), Arc::clone(&self.keys));
                Ok(())
            }
            What::Drain(on) => {
                self.settled()?;
                self.engine.set_draining(*on);
                Ok(())
            }
            What::NothingMore => self.nothing_more(),
        }
    }

    /// A new process, which gets back from its journal the calls that the old one had in progress, or nothing.
    fn restart(&mut self, with_calls: bool) -> Result<(), String> {
        self.settled()?;
        let before: Vec<RestoredCall> = self.engine.calls().map(|call| RestoredCall::of(call, self.now)).collect();
        self.engine = Engine::new(Arc::new(self.scene.settings.clone()), Arc::clone(&self.keys));
        for call in before.iter().filter(|_| with_calls) {
            self.engine.restore(self.now, call);
        }
        Ok(())
    }

    /// Steps through the engine's timeouts up to a time. What leaves on the way must be asked for at its own time.
    fn clock_to(&mut self, time: Time) -> Result<(), String> {
        self.settled()?;
        if time < self.now {
            return Err(format!("the clock stands at {} ms and does not go back", self.now.as_millis()));
        }
        while let Some(next) = self.engine.poll_timeout().filter(|next| *next <= time) {
            if next > self.now {
                self.settled()?;
            }
            self.tick(next)?;
        }
        if time > self.now {
            self.settled()?;
            self.events.clear();
        }
        self.now = time;
        Ok(())
    }

    /// Runs the engine's timeouts of one instant.
    fn tick(&mut self, at: Time) -> Result<(), String> {
        if at > self.now {
            self.events.clear();
        }
        self.now = self.now.max(at);
        for _ in 0..SPINS_MAX {
            self.engine.handle_timeout(self.now, &self.directory, &mut self.outbox);
            self.collect()?;
            if self.engine.poll_timeout().is_none_or(|next| next > self.now) {
                return Ok(());
            }
        }
        Err(format!("the engine asks for {} ms again and again", self.now.as_millis()))
    }

    fn arrives(&mut self, from: &str, at: &str, message: &Message) -> Result<(), String> {
        self.settled()?;
        self.events.clear();
        let endpoint = self.scene.endpoint_of(from)?;
        let name = self.scene.name_of(endpoint.address);
        let listener = *self.scene.listeners.get(at).ok_or_else(|| format!("found {at}, expected a listener"))?;
        let mut message = message.clone();
        let speaks_as = take_as(&mut message.words).unwrap_or_else(|| name.clone());
        let address = self.scene.endpoint_of(&speaks_as)?.address;
        let Listener { transport, address: us } = self.own(listener)?;
        let (ladder, captures, call) = (&self.ladder, &self.captures, self.call.as_str());
        let desk = Desk { ladder, captures, call, party: &speaks_as, address, us };
        let bytes = desk.write(&message)?;
        self.ladder.add(self.now, &name, endpoint, true, &bytes);
        let flow = Flow { listener, remote: endpoint.address, connection: 0, interface: endpoint.interface };
        match transport {
            Transport::Udp => self.engine.handle_datagram(self.now, flow, &bytes, &self.directory, &mut self.outbox),
            Transport::Tcp => self.engine.handle_message(self.now, flow, &bytes, &self.directory, &mut self.outbox),
        }
        self.collect()
    }

    fn leaves(&mut self, from: &str, to: &str, within: Duration, message: &Message) -> Result<(), String> {
        let address = self.scene.endpoint_of(to)?.address;
        let deadline = self.now + within;
        while !self.waiting.iter().any(|left| left.flow.remote == address) {
            match self.engine.poll_timeout().filter(|next| *next <= deadline && within > Duration::ZERO) {
                Some(next) => self.tick(next)?,
                None => return Err(self.nothing_to(to, message, within)),
            }
        }
        let at = self.waiting.iter().position(|left| left.flow.remote == address);
        let Some(left) = at.and_then(|at| self.waiting.remove(at)) else { return Err("lost a message".into()) };
        let listener = *self.scene.listeners.get(from).ok_or_else(|| format!("found {from}, expected a listener"))?;
        let us = self.own(listener)?;
        let ours: Vec<SocketAddr> = self.scene.settings.listeners.iter().map(|listener| listener.address).collect();
        let party = self.scene.name_of(address);
        let judge =
            Judge { ladder: &self.ladder, us, ours: &ours, party: &party, to: address, message, got: &left.bytes };
        let mut differences = judge.differences(&mut self.captures)?;
        if left.flow.listener != listener {
            differences.push(format!("it left from listener {}, expected {from}", left.flow.listener.0));
        }
        let told = told_message(&left.bytes);
        self.keep(&left);
        if differences.is_empty() {
            return Ok(());
        }
        Err(format!("us -> {to} is not as expected:\n      {}\n    it was:\n{told}", differences.join("\n      ")))
    }

    fn unreachable(&mut self, party: &str) -> Result<(), String> {
        self.settled()?;
        self.events.clear();
        let address = self.scene.endpoint_of(party)?.address;
        let sent = self.ladder.last(&self.scene.name_of(address), false, |_| true);
        let nothing = || format!("nothing was sent to {party} yet");
        let returned = &sent.ok_or_else(nothing)?.bytes;
        let flow = *self.last_to.get(&address).ok_or_else(nothing)?;
        self.engine.handle_failure(self.now, flow, returned, &self.directory, &mut self.outbox);
        self.collect()
    }

    /// The engine comes to rest with nothing sent and nothing kept.
    fn nothing_more(&mut self) -> Result<(), String> {
        self.settled()?;
        let end = self.now + REST_MAX;
        // A call that is up is still looked at, and that sends nothing.
        while let Some(next) = self.engine.poll_timeout().filter(|_| self.engine.open_transactions() > 0) {
            if next > end {
                return Err(format!("a timeout stands at {} ms, expected rest within an hour", next.as_millis()));
            }
            self.tick(next)?;
            self.settled()?;
        }
        match self.engine.open_transactions() {
            0 => Ok(()),
            open => Err(format!("{open} transactions are open with no timeout, expected none")),
        }
    }

    /// A fact since the last arrival or clock step.
    fn counted(&mut self, told: &str) -> Result<(), String> {
        match self.events.iter().position(|event| event.contains(told)) {
            Some(at) => {
                self.events.remove(at);
                Ok(())
            }
            None => Err(format!("found no event {told:?}, only {:?}", self.events)),
        }
    }

    /// Nothing waits that no step asked for, and no silence is unexplained.
    fn settled(&mut self) -> Result<(), String> {
        while let Some(left) = self.waiting.pop_front() {
            if self.skips_again && self.is_again(&left) {
                self.keep(&left);
                continue;
            }
            let to = self.scene.name_of(left.flow.remote);
            let (time, told) = (left.time.as_millis(), told_message(&left.bytes));
            self.keep(&left);
            return Err(format!("at {time} ms something left for {to} that no step asks for:\n{told}"));
        }
        match self.events.iter().find(|event| event.starts_with("dropped ")) {
            Some(event) => Err(format!("found {event:?}, expected a step that says so")),
            None => Ok(()),
        }
    }

    fn is_again(&self, left: &Left) -> bool {
        self.ladder.all.iter().any(|p| !p.arrived && p.address == left.flow.remote && p.bytes == left.bytes)
    }

    /// Takes over what the engine's last step gave.
    fn collect(&mut self) -> Result<(), String> {
        for (flow, bytes) in self.outbox.transmits() {
            self.invariants.at_each(&self.scene.settings, &self.ladder, flow, bytes)?;
            self.waiting.push_back(Left { time: self.now, flow: *flow, bytes: bytes.to_vec() });
        }
        for event in self.outbox.events() {
            if let Event::Impossible(what) = event {
                return Err(format!("the engine says that it cannot be: {what}"));
            }
            self.events.push(told_event(&self.scene, event));
        }
        self.outbox.clear();
        Ok(())
    }

    fn keep(&mut self, left: &Left) {
        let party = self.scene.name_of(left.flow.remote);
        self.last_to.insert(left.flow.remote, left.flow);
        let endpoint = Endpoint { address: left.flow.remote, interface: InterfaceId::OTHER };
        self.ladder.add(left.time, &party, endpoint, false, &left.bytes);
    }

    fn own(&self, listener: ListenerId) -> Result<Listener, String> {
        self.scene.settings.listener(listener).copied().ok_or_else(|| "found no such listener".into())
    }

    fn nothing_to(&self, to: &str, message: &Message, within: Duration) -> String {
        let wanted = message.words.join(" ");
        let next = self.engine.poll_timeout().map(|time| format!("{} ms", time.0 / 1_000));
        format!(
            "nothing left for {to} within {} ms, expected {wanted}; the next timeout is {next:?}, events {:?}",
            within.as_millis(),
            self.events
        )
    }

    fn told(&self, line: usize, fault: &str) -> String {
        let waiting: String = self
            .waiting
            .iter()
            .map(|left| {
                format!(
                    "    waiting for {}: {}\n",
                    self.scene.name_of(left.flow.remote),
                    Wire::parse(&left.bytes).summary()
                )
            })
            .collect();
        format!("line {line}: {fault}\n  the ladder:\n{}{waiting}  events: {:?}", self.ladder.drawn(), self.events)
    }
}

/// `... as tata`: who a message pretends to be from.
fn take_as(words: &mut Vec<String>) -> Option<String> {
    let at = words.len().checked_sub(2)?;
    if words.get(at).is_some_and(|word| word == "as") {
        let name = words.pop();
        words.pop();
        return name;
    }
    None
}

fn told_message(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).split("\r\n").map(|line| format!("      | {}\n", line.escape_debug())).collect()
}

/// Events in words, as the texts name them.
fn told_event(scene: &Scene, event: &Event) -> String {
    let party = |id| scene.settings.party(id).map_or("(gone)", |party| &*party.name).to_owned();
    match event {
        Event::Request(from, method) => format!("request {} {}", party(*from), method.as_str()),
        Event::Response(from, status) => format!("response {} {status}", party(*from)),
        Event::Dropped(reason) => format!("dropped {}", reason.name()),
        Event::Suspected(_, suspicion) => format!("suspected {}", suspicion.name()),
        Event::Refused(from, refusal) => format!("refused {} {}", party(*from), refusal.name()),
        Event::Decided { decision, .. } => {
            let rules: Vec<&str> = decision.trace.steps().map(|step| step.rule()).collect();
            format!("decided {}", rules.join(" "))
        }
        Event::Final { status, after_us, .. } => format!("final {status} after {} ms", after_us / 1_000),
        Event::Ended { by, after_us, talked_us, .. } => {
            format!("ended by {} after {} ms, talked {} ms", by.name(), after_us / 1_000, talked_us / 1_000)
        }
        Event::EndedUnseen { direction, parties: [from, to], by, .. } => {
            format!("ended_unseen {direction} from {} to {} by {}", party(*from), party(*to), by.name())
        }
        Event::Refreshed { lasts, .. } => match lasts {
            Some(lasts) => format!("refreshed for {} s", lasts.as_secs()),
            None => "refreshed without a timer".to_owned(),
        },
        Event::Spent { environment, spent } => {
            format!("spent {} {} of day {}", party(*environment), spent.calls, spent.day)
        }
        Event::Ringing { status, after_us, .. } => format!("ringing {status} after {} ms", after_us / 1_000),
        Event::StrayMedia { from, address, .. } => format!("stray_media {} {address}", party(*from)),
        Event::InDialog(from, method) => format!("in_dialog {} {}", party(*from), method.as_str()),
        Event::Absorbed(what) => format!("absorbed {}", what.name()),
        Event::Retransmitted(method) => format!("retransmitted {}", method.as_str()),
        Event::Failover(from, reason) => format!("failover {} {}", party(*from), reason.name()),
        Event::Attempt { toward, peer, .. } => format!("attempt {} {peer}", party(*toward)),
        Event::FellBack(to) => format!("fell_back {}", party(*to)),
        Event::PeerFailed { peer, reason, in_row } => {
            format!("peer_failed {} {} {in_row}", scene.name_of(peer.address), reason.name())
        }
        Event::ProbeAnswered { status, .. } => format!("probe_answered {status}"),
        Event::ProbeRefused { .. } => "probe_refused".to_owned(),
        Event::Warned(warning) => format!("warned {}", warning.name()),
        Event::LimitReached(what) => format!("limit {what}"),
        Event::Owned(_) => "owned".to_owned(),
        Event::Shown(trunk, rule, _) => format!("shown {} {}", party(*trunk), rule.name()),
        Event::Foreign { number, .. } => {
            format!("foreign {}", number.map_or_else(|| "-".to_owned(), |number| number.to_string()))
        }
        Event::Impossible(what) => format!("impossible {what}"),
    }
}
