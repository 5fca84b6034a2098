//! One turn of the core: called, guarded, flushed, counted.

use super::capture::Capture;
use super::log::Log;
use super::transports::{Transports, Undelivered};
use crate::call_journal::{Entry, Pen};
use directory::Directory;
use proxy::targets::States;
use proxy::{Decision, DropReason, Engine, Event, Flow, KeyRing, Outbox, Peer, Settings, Time};
use sip::Method;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use telemetry::calls::Tap;
use telemetry::hep;
use telemetry::{Counters, Fact};
use tokio::sync::mpsc;

/// A failure of a send is told to the core, which may send elsewhere, which may fail too. So often in one flush.
const FAILURE_ROUNDS: usize = 4;

/// What one who watches sees of a call.
#[derive(Clone, Debug)]
pub enum Seen {
    /// A request out of a dialog was dispatched.
    Decided {
        /// The Call-ID, as it arrived.
        call_id: Box<[u8]>,
        /// The request-URI's user part, as it arrived.
        called: Box<[u8]>,
        /// The request's method.
        method: Method,
        /// Where it goes, and why.
        decision: Box<Decision>,
    },
    /// An INVITE ended.
    Final {
        /// The Call-ID, as it arrived.
        call_id: Box<[u8]>,
        /// The final status.
        status: u16,
        /// Microseconds from the INVITE to this response.
        after_us: u64,
    },
}

/// What one who measures peers is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard {
    /// A probe was answered, from this address and with this status.
    Answered {
        /// The probe's branch.
        branch: Box<[u8]>,
        /// Who answered.
        remote: SocketAddr,
        /// With what.
        status: u16,
    },
    /// A probe could not be delivered.
    Refused {
        /// The probe's branch.
        branch: Box<[u8]>,
    },
    /// A call failed at a peer, as the so-many-th in a row.
    CallFailed {
        /// The peer.
        peer: Peer,
        /// Failures in a row.
        in_row: u32,
    },
}

/// The engine with all that a turn needs beside the sockets.
#[derive(Debug)]
pub(super) struct Turns {
    engine: Engine,
    settings: Arc<Settings>,
    outbox: Outbox,
    failed: Vec<Undelivered>,
    counters: Arc<Counters>,
    watch: Option<SyncSender<Seen>>,
    heard: Option<mpsc::Sender<Heard>>,
    tap: Option<Tap>,
    pen: Option<Pen>,
    log: Log,
    capture: Capture,
}

/// How much of the outbox is good.
#[derive(Clone, Copy)]
struct Good {
    transmits: usize,
    events: usize,
}

const ALL: Good = Good { transmits: usize::MAX, events: usize::MAX };

impl Turns {
    /// Turns of this engine.
    pub(super) fn new(
        engine: Engine,
        settings: Arc<Settings>,
        counters: Arc<Counters>,
        watch: Option<SyncSender<Seen>>,
    ) -> Turns {
        counters.set_parties(&settings.parties);
        let (outbox, failed, log) = (Outbox::new(), Vec::new(), Log::default());
        let capture = Capture::new(None, &settings);
        Turns { engine, settings, outbox, failed, counters, watch, heard: None, tap: None, pen: None, log, capture }
    }

    /// The same, with one who measures the peers.
    pub(super) fn told(self, heard: Option<mpsc::Sender<Heard>>) -> Turns {
        Turns { heard, ..self }
    }

    /// The same, with records of what happens.
    pub(super) fn kept(self, tap: Option<Tap>) -> Turns {
        Turns { tap, ..self }
    }

    /// A message arrived: [`Turns::take`] is next.
    pub(super) fn arrived(&mut self, now: Time, flow: &Flow, bytes: &[u8]) {
        if let Some(tap) = &mut self.tap {
            tap.arrived(now, flow, bytes);
        }
    }

    /// The same, with a tap for what passes.
    pub(super) fn wired(self, wire: Option<hep::Tap>) -> Turns {
        Turns { capture: Capture::new(wire, &self.settings), ..self }
    }

    /// Where what passes is told to.
    pub(super) fn capture(&mut self) -> &mut Capture {
        &mut self.capture
    }

    /// The same, with the journal of calls.
    pub(super) fn noted(self, pen: Option<Pen>) -> Turns {
        Turns { pen, ..self }
    }

    /// The engine, to ask.
    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What time of day it was at the clock's zero: somebody may have set the time since the turn before.
    pub(super) fn tell_time(&self, zero_unix_us: u64) {
        self.engine.counts().set_zero(zero_unix_us);
    }

    /// What the core is told.
    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether the worker is behind with what arrives, from the next message on.
    pub(super) fn set_behind(&mut self, is_behind: bool) {
        self.engine.set_behind(is_behind);
    }

    pub(super) fn log(&mut self) -> &mut Log {
        &mut self.log
    }

    /// New settings and keys from the next turn on.
    pub(super) fn apply(&mut self, settings: Arc<Settings>, keys: Arc<KeyRing>) {
        self.counters.set_parties(&settings.parties);
        self.settings = Arc::clone(&settings);
        self.engine.apply(settings, keys);
    }

    /// What is known of the peers, from the next turn on.
    pub(super) fn set_states(&mut self, states: Arc<States>) {
        self.engine.set_states(states);
    }

    /// Sends messages of the program's own. A flush follows.
    pub(super) fn emit(&mut self, messages: &[(Flow, Vec<u8>)], transports: &mut Transports) {
        for (flow, bytes) in messages {
            self.capture.note(hep::Way::Out, flow, bytes);
        }
        transports.send(|| messages.iter().map(|(flow, bytes)| (flow, bytes.as_slice())), &mut self.failed);
    }

    /// From the next turn on, new calls are refused, or taken again.
    pub(super) fn set_draining(&mut self, is_on: bool) {
        self.engine.set_draining(is_on);
    }

    /// Calls the core with one message. A panic costs this message and no more (row H7): what it wrote is dropped, what
    /// was in the outbox before leaves at once.
    pub(super) fn take(&mut self, now: Time, transports: &mut Transports, call: impl FnOnce(&mut Engine, &mut Outbox)) {
        let good = Good { transmits: self.outbox.transmits().size_hint().0, events: self.outbox.events().len() };
        let (engine, outbox) = (&mut self.engine, &mut self.outbox);
        if catch_unwind(AssertUnwindSafe(|| call(engine, outbox))).is_err() {
            self.counters.note(Fact::Panicked);
            self.log.panicked();
            if let Some(tap) = &mut self.tap {
                tap.forget();
            }
            self.send(now, transports, good);
        }
        if let Some(tap) = &mut self.tap {
            let facts = self.outbox.events().get(good.events..).unwrap_or_default();
            if let [Event::Dropped(DropReason::Stranger)] = facts {
                tap.forget();
            }
            facts.iter().for_each(|event| tap.fact(now, event, &self.outbox));
            tap.called(self.outbox.take_call_id(), self.outbox.transmits().size_hint().0);
        }
    }

    /// Sends what the turns before it left in the outbox, counts the facts, and tells the core what found no way out.
    pub(super) fn flush(&mut self, now: Time, directory: &Directory, transports: &mut Transports) {
        for _ in 0..FAILURE_ROUNDS {
            self.send(now, transports, ALL);
            if self.failed.is_empty() {
                break;
            }
            for Undelivered { flow, bytes } in std::mem::take(&mut self.failed) {
                self.take(now, transports, |engine, outbox| {
                    engine.handle_failure(now, flow, &bytes, directory, outbox);
                });
            }
        }
        self.failed.clear();
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        self.counters.note(Fact::OpenTransactions(count(self.engine.open_transactions())));
        self.counters.note(Fact::CallsInProgress(count(self.engine.call_count())));
        self.end(now);
    }

    /// Hands on what is kept and told of the turns so far, as soon as it is looked for or due.
    pub(super) fn end(&mut self, now: Time) {
        if let Some(tap) = &mut self.tap {
            tap.end_turn(now);
        }
        self.capture.end_turn(now);
    }

    /// When [`Turns::end`] is to be called even if nothing happens.
    pub(super) fn ends_by(&self) -> Option<Time> {
        let of_records = self.tap.as_ref().and_then(Tap::due);
        of_records.into_iter().chain(self.capture.due()).min()
    }

    fn send(&mut self, now: Time, transports: &mut Transports, good: Good) {
        for (flow, bytes) in self.outbox.transmits().take(good.transmits) {
            self.capture.note(hep::Way::Out, flow, bytes);
        }
        transports.send(|| self.outbox.transmits().take(good.transmits), &mut self.failed);
        if let Some(tap) = &mut self.tap {
            let leave = self.outbox.transmits_with_tails().take(good.transmits);
            leave.for_each(|(flow, bytes, tail)| tap.left(now, flow, (bytes, tail)));
        }
        for event in self.outbox.events().iter().take(good.events) {
            self.counters.record(event);
            self.log.tell(now, event, &self.outbox, &self.settings, &self.engine);
            if let Some(pen) = &self.pen
                && let Some(entry) = Entry::of(event, &self.settings, |key| self.engine.call(key))
            {
                pen.write(entry);
            }
            if let Some(heard) = &self.heard
                && let Some(told) = Heard::of(event, &self.outbox)
            {
                // A measurement that is missed is made again: calls come first.
                let _sent = heard.try_send(told);
            }
            if let Some(watch) = &self.watch
                && let Some(seen) = Seen::of(event, &self.outbox)
            {
                // One who watches and does not keep up misses this one: calls come first.
                let _sent = watch.try_send(seen);
            }
        }
        self.outbox.clear();
    }
}

impl Heard {
    fn of(event: &Event, outbox: &Outbox) -> Option<Heard> {
        match event {
            Event::ProbeAnswered { flow, branch, status } => {
                Some(Heard::Answered { branch: outbox.text(*branch).into(), remote: flow.remote, status: *status })
            }
            Event::ProbeRefused { branch, .. } => Some(Heard::Refused { branch: outbox.text(*branch).into() }),
            Event::PeerFailed { peer, in_row, .. } => Some(Heard::CallFailed { peer: *peer, in_row: *in_row }),
            _ => None,
        }
    }
}

impl Seen {
    fn of(event: &Event, outbox: &Outbox) -> Option<Seen> {
        match event {
            Event::Decided { call_id, called, method, decision, .. } => Some(Seen::Decided {
                call_id: outbox.text(*call_id).into(),
                called: outbox.text(*called).into(),
                method: *method,
                decision: Box::new(*decision),
            }),
            Event::Final { call_id, status, after_us, .. } => {
                Some(Seen::Final { call_id: outbox.text(*call_id).into(), status: *status, after_us: *after_us })
            }
            _ => None,
        }
    }
}
