//! Calls in the open loop: each begins at its own time, whatever became of the others.

mod glance;

use crate::call::{Call, Called, Caller, first_generation};
use crate::check::{self, Fault, Sent};
use crate::due::{Due, Queues, T1_NS, What};
use crate::lanes::Turn;
use crate::plan::Plan;
use crate::read::{Finder, Read};
use crate::spent;
use crate::tally::Tally;
use crate::text::{self, Dialog, Id, Texts};
use crate::wire::{Inbox, Place, Readable, Wire};
use std::collections::VecDeque;
use std::thread;
use std::time::{Duration, Instant};

const MS: u64 = 1_000_000;
/// RFC 3261: 64 times T1.
const GIVE_UP_NS: u64 = 64 * T1_NS;
/// Calls that begin between two looks at the sockets.
const BEGIN_AT_ONCE: u64 = 8;
/// The longest sleep while it is told of what arrives.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Where a call or more begins in this time, it is not told of what arrives: it looks each time this has passed.
const LOOK_NS: u64 = MS / 5;
/// Full batches that are taken from one end in a row.
const IN_A_ROW: usize = 4;

/// The generator: all calls, and the time of its clock.
pub(crate) struct Run {
    plan: Plan,
    texts: Texts,
    wire: Wire,
    calls: Vec<Call>,
    /// Slots without a call, the longest unused first.
    unused: VecDeque<usize>,
    queues: Queues,
    pub(crate) tally: Tally,
    finder: Finder,
    origin: Instant,
    now_ns: u64,
    /// When this run's first call was due.
    begun_ns: u64,
    /// When it looked at the sockets last.
    looked_ns: u64,
    /// Calls that have ended at their callers, while their callees still wait for an ACK.
    unconfirmed: u64,
    next_did: u64,
    /// Where the generations of this run's slots begin.
    first_generation: u32,
    /// Calls that ring are not answered before they are told to.
    holds: bool,
}

impl Run {
    pub(crate) fn new(plan: Plan) -> anyhow::Result<Run> {
        let wire = Wire::open(&plan)?;
        let texts = Texts::new(&plan, &wire.addresses());
        Ok(Run {
            holds: plan.hold.is_some(),
            plan,
            texts,
            wire,
            calls: Vec::new(),
            unused: VecDeque::new(),
            queues: Queues::default(),
            tally: Tally::default(),
            finder: Finder::new(),
            origin: Instant::now(),
            now_ns: 0,
            begun_ns: 0,
            looked_ns: 0,
            unconfirmed: 0,
            next_did: 0,
            first_generation: first_generation(),
        })
    }

    /// Begins `count` calls at `rate` a second, and goes on until all are over or have had their time to settle. With
    /// calls held, until all ring.
    pub(crate) fn calls(&mut self, rate: u64, count: u64) {
        self.tally = Tally::default();
        self.forget();
        self.wire.unsent = 0;
        let overflowed = spent::overflowed(&self.wire.addresses());
        self.look();
        let begun_ns = self.now_ns;
        self.begun_ns = begun_ns;
        let gap_ns = 1e9 / rate as f64;
        let by_clock = gap_ns <= LOOK_NS as f64;
        let mut inbox = Inbox::new();
        let mut last_ns = begun_ns;
        while self.is_busy(count, last_ns) {
            self.look();
            let due = |nth: u64| begun_ns + (nth as f64 * gap_ns) as u64;
            for _ in 0..BEGIN_AT_ONCE {
                let due_ns = due(self.tally.begun);
                if self.tally.begun < count && due_ns <= self.now_ns {
                    self.tally.lag_us = self.tally.lag_us.max((self.now_ns - due_ns) / 1_000);
                    self.begin(due_ns);
                    last_ns = self.now_ns;
                }
            }
            self.fire();
            self.wire.flush();
            let next = if self.tally.begun < count { due(self.tally.begun) } else { u64::MAX };
            let readable = self.wait(next, by_clock);
            self.receive(readable, by_clock, &mut inbox);
        }
        self.leave();
        self.tally.elapsed_us = (last_ns - begun_ns) / 1_000 + (gap_ns / 1_000.0) as u64;
        self.tally.failed = self.tally.begun - self.tally.completed - self.tally.refused;
        self.tally.unsent = self.wire.unsent;
        self.tally.overflowed = spent::overflowed(&self.wire.addresses()).saturating_sub(overflowed);
    }

    /// Callees that had no ACK in all the time are left over.
    fn leave(&mut self) {
        for slot in 0..self.calls.len() {
            if self.calls.get(slot).is_some_and(|call| call.caller == Caller::Over) {
                self.unconfirmed -= 1;
                self.end(slot);
                self.tally.fault(Fault::LeftOver);
            }
        }
    }

    /// Calls that did not end in the run before: what still comes of them is late, and counts for no call of this run.
    fn forget(&mut self) {
        for slot in 0..self.calls.len() {
            if let Some(call) = self.calls.get_mut(slot).filter(|call| call.caller != Caller::Unused) {
                call.called = Called::Idle;
                self.end(slot);
            }
        }
    }

    /// Answers all calls that ring, and waits for their end.
    pub(crate) fn answer_all(&mut self) {
        self.holds = false;
        self.look();
        let mut inbox = Inbox::new();
        for slot in 0..self.calls.len() {
            if self.calls.get(slot).is_some_and(|call| call.called == Called::Ringing) {
                self.answer(slot);
            }
            if slot % 32 == 0 {
                self.look();
                self.wire.flush();
                let readable = self.wire.wait(Duration::ZERO);
                self.receive(readable, true, &mut inbox);
            }
        }
        let count = self.tally.begun;
        let last_ns = self.now_ns;
        while self.is_busy(count, last_ns) {
            self.look();
            self.fire();
            self.wire.flush();
            let readable = self.wait(u64::MAX, false);
            self.receive(readable, false, &mut inbox);
        }
        self.leave();
        self.tally.failed = self.tally.begun - self.tally.completed - self.tally.refused;
    }

    fn is_busy(&self, count: u64, last_ns: u64) -> bool {
        let settled_ns = last_ns + self.plan.settle_seconds * 1_000 * MS + (self.plan.ring_ms + self.plan.talk_ms) * MS;
        let is_open = self.tally.completed + self.tally.refused < self.tally.begun || self.unconfirmed > 0;
        let waits = if self.holds { self.tally.rang < self.tally.begun } else { is_open };
        self.tally.begun < count || (waits && self.now_ns < settled_ns)
    }

    fn look(&mut self) {
        self.now_ns = self.origin.elapsed().as_nanos() as u64;
    }

    fn elapsed_ns(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    /// Until something arrives or is due; or by the clock, until its next look.
    fn wait(&mut self, next_ns: u64, by_clock: bool) -> Readable {
        let due_ns = next_ns.min(self.queues.next_ns());
        if !by_clock {
            let time = Duration::from_nanos(due_ns.saturating_sub(self.elapsed_ns()));
            return self.wire.wait(time.min(LOOK_AGAIN));
        }
        // What is due already does not wait for more.
        if due_ns > self.now_ns {
            let left_ns = (self.looked_ns + LOOK_NS).saturating_sub(self.elapsed_ns());
            if left_ns > 0 {
                thread::sleep(Duration::from_nanos(left_ns));
            }
        }
        self.looked_ns = self.elapsed_ns();
        self.wire.wait(Duration::ZERO)
    }

    fn receive(&mut self, readable: Readable, by_clock: bool, inbox: &mut Inbox) {
        let mut came = false;
        for end in readable.iter() {
            for _ in 0..IN_A_ROW {
                let is_full = self.wire.receive(end, by_clock, inbox);
                for (bytes, stream) in inbox.iter() {
                    came = true;
                    self.tally.messages += 1;
                    if let Err(fault) = self.on_message(Place { end, stream }, bytes) {
                        self.tell(fault, bytes);
                    }
                }
                if !is_full {
                    break;
                }
            }
        }
        if came {
            self.wire.flush();
        }
    }

    /// Counts a fault; the first of each kind is shown.
    fn tell(&mut self, fault: Fault, bytes: &[u8]) {
        let before = self.tally.faults;
        self.tally.fault(fault);
        if before.iter().zip(self.tally.faults).any(|(before, now)| *before == 0 && now == 1) {
            eprintln!("first fault of its kind, {fault:?}:\n{}", String::from_utf8_lossy(bytes));
        }
    }

    fn begin(&mut self, due_ns: u64) {
        let slot = self.unused.pop_front().unwrap_or_else(|| {
            self.calls.push(Call::new(self.first_generation));
            self.calls.len() - 1
        });
        let place = self.next_did;
        self.next_did = (self.next_did + 1) % self.plan.dids;
        let (Some(call), Some(number)) = (self.calls.get_mut(slot), self.texts.number(place as usize)) else { return };
        call.generation = call.generation.wrapping_add(1);
        call.number = place as usize;
        call.callee = Place { end: self.plan.callee(place), stream: 0 };
        (call.caller, call.called, call.began_ns) = (Caller::Calling, Called::Idle, due_ns);
        call.has_rung = false;
        call.request.clear();
        self.texts.invite(&mut call.request, number, &text::id(slot, call.generation));
        let place = Place { end: self.plan.caller(), stream: 0 };
        self.wire.queue(place, &mut call.caller_turn, |out| out.extend_from_slice(&call.request));
        self.queues.again(self.now_ns, slot, call.generation, What::Invite, 0);
        self.tally.begun += 1;
    }

    fn on_message(&mut self, place: Place, bytes: &[u8]) -> Result<(), Fault> {
        if self.is_as_expected(place, bytes) {
            return Ok(());
        }
        let read = Read::of(bytes).ok_or(Fault::Unreadable)?;
        if read.method() == b"OPTIONS" && read.status().is_none() {
            self.tally.probes += 1;
            let write = |out: &mut Vec<u8>| self.texts.response(out, "200 OK", &read, place.end);
            self.wire.queue(place, &mut Turn::default(), write);
            return Ok(());
        }
        let (slot, generation) = read.call().ok_or(Fault::Unreadable)?;
        let call = self.calls.get(slot).ok_or(Fault::Unreadable)?;
        if call.generation != generation || call.caller == Caller::Unused {
            self.tally.late += 1;
            if read.status().is_none() && read.method() == b"BYE" {
                let write = |out: &mut Vec<u8>| self.texts.response(out, "200 OK", &read, place.end);
                self.wire.queue(place, &mut Turn::default(), write);
            }
            return Ok(());
        }
        let id = *read.id().ok_or(Fault::Unreadable)?;
        match read.status() {
            Some(_) if place.end != self.plan.caller() => Err(Fault::Unexpected),
            Some(status) => self.on_response(slot, &id, status, &read),
            None => self.on_request(slot, &id, place, &read),
        }
    }

    fn on_request(&mut self, slot: usize, id: &Id, place: Place, read: &Read<'_>) -> Result<(), Fault> {
        let Some(call) = self.calls.get_mut(slot) else { return Err(Fault::Unreadable) };
        let Some(number) = self.texts.number(call.number) else { return Err(Fault::Unreadable) };
        if place.end != call.callee.end {
            return Err(Fault::Environment);
        }
        check::request(&self.plan, &Sent { texts: &self.texts, number, id, callee: place.end }, read)?;
        match (read.method(), call.called) {
            (b"INVITE", Called::Idle) => {
                call.callee = place;
                call.called = Called::Ringing;
                call.response.clear();
                self.texts.response(&mut call.response, "200 OK", read, place.end);
                self.texts.write_dialog(call, &Dialog::of_invite(read, id), id);
                if self.plan.is_bare() {
                    let write = |out: &mut Vec<u8>| self.texts.response(out, "100 Trying", read, place.end);
                    self.wire.queue(place, &mut call.called_turn, write);
                }
                let write = |out: &mut Vec<u8>| self.texts.ringing(out, &call.response);
                self.wire.queue(place, &mut call.called_turn, write);
                match self.plan.ring_ms {
                    _ if self.holds => {}
                    0 => self.answer(slot),
                    ring_ms => self.queues.ring.push_back(self.due(slot, ring_ms, What::Ring)),
                }
            }
            (b"INVITE", Called::Ringing) => {
                self.tally.came_again += 1;
                let write = |out: &mut Vec<u8>| self.texts.ringing(out, &call.response);
                self.wire.queue(place, &mut call.called_turn, write);
            }
            (b"INVITE", _) => {
                self.tally.came_again += 1;
                self.wire.queue(place, &mut call.called_turn, |out| out.extend_from_slice(&call.response));
            }
            (b"ACK", Called::Answered | Called::Confirmed | Called::Unconfirmed | Called::Ended) => self.on_ack(slot),
            (b"BYE", Called::Answered | Called::Confirmed | Called::Unconfirmed | Called::Ended) => {
                self.tally.came_again += u64::from(call.is_bye_again());
                call.goodbye.clear();
                self.texts.response(&mut call.goodbye, "200 OK", read, place.end);
                self.wire.queue(place, &mut call.called_turn, |out| out.extend_from_slice(&call.goodbye));
            }
            _ => return Err(Fault::Unexpected),
        }
        Ok(())
    }

    fn on_ack(&mut self, slot: usize) {
        let Some(call) = self.calls.get_mut(slot) else { return };
        match call.called {
            Called::Answered => call.called = Called::Confirmed,
            Called::Unconfirmed => {
                call.called = Called::Ended;
                if call.caller == Caller::Over {
                    self.unconfirmed -= 1;
                    self.end(slot);
                }
            }
            _ => self.tally.came_again += 1,
        }
    }

    /// The caller's BYE was answered.
    fn on_end(&mut self, slot: usize) -> Result<(), Fault> {
        let Some(call) = self.calls.get_mut(slot) else { return Ok(()) };
        self.tally.completed += 1;
        if call.called == Called::Unconfirmed {
            call.caller = Caller::Over;
            self.unconfirmed += 1;
            return Ok(());
        }
        let is_whole = call.called == Called::Ended;
        self.end(slot);
        if is_whole { Ok(()) } else { Err(Fault::LeftOver) }
    }

    fn answer(&mut self, slot: usize) {
        let Some(call) = self.calls.get_mut(slot) else { return };
        call.called = Called::Answered;
        self.wire.queue(call.callee, &mut call.called_turn, |out| out.extend_from_slice(&call.response));
        self.queues.again(self.now_ns, slot, call.generation, What::Answer, 0);
    }

    fn on_response(&mut self, slot: usize, id: &Id, status: u16, read: &Read<'_>) -> Result<(), Fault> {
        let Some(call) = self.calls.get_mut(slot) else { return Err(Fault::Unreadable) };
        let Some(number) = self.texts.number(call.number) else { return Err(Fault::Unreadable) };
        let callee = call.callee.end;
        let caller = Place { end: self.plan.caller(), stream: 0 };
        let sent = Sent { texts: &self.texts, number, id, callee };
        match (read.method(), status, call.caller) {
            (b"INVITE", 100, _) => {
                if call.caller == Caller::Calling {
                    call.caller = Caller::Proceeding;
                }
            }
            (b"INVITE", 180, _) => {
                check::response(&self.plan, &sent, read)?;
                if matches!(call.caller, Caller::Calling | Caller::Proceeding) {
                    call.caller = Caller::Proceeding;
                    self.tally.rang += u64::from(!call.has_rung);
                    call.has_rung = true;
                }
            }
            (b"INVITE", 200, Caller::Calling | Caller::Proceeding) => {
                check::response(&self.plan, &sent, read)?;
                self.texts.write_dialog(call, &Dialog::of_success(read), id);
                self.acknowledge(slot);
            }
            (b"INVITE", 200, _) => {
                self.tally.came_again += 1;
                self.wire.queue(caller, &mut call.caller_turn, |out| out.extend_from_slice(&call.ack));
            }
            (b"INVITE", 300.., Caller::Calling | Caller::Proceeding) => {
                let write = |out: &mut Vec<u8>| self.texts.ack_refusal(out, number, read, id);
                self.wire.queue(caller, &mut call.caller_turn, write);
                self.tally.refused += 1;
                self.tally.refused_503 += u64::from(status == 503);
                self.end(slot);
            }
            (b"BYE", 200, Caller::Ending) => {
                check::response(&self.plan, &sent, read)?;
                self.on_end(slot)?;
            }
            (b"BYE", 200, Caller::Over) => self.tally.came_again += 1,
            // Of one that has waited for long a proxy says so (RFC 4320).
            (b"BYE", 100, _) => {}
            _ => return Err(Fault::Unexpected),
        }
        Ok(())
    }

    /// The caller's ACK to the 200 that it waited for.
    fn acknowledge(&mut self, slot: usize) {
        let Some(call) = self.calls.get_mut(slot) else { return };
        let time_ns = self.now_ns.saturating_sub(call.began_ns);
        self.tally.answered(call.began_ns.saturating_sub(self.begun_ns), time_ns);
        call.caller = Caller::Up;
        let caller = Place { end: self.plan.caller(), stream: 0 };
        self.wire.queue(caller, &mut call.caller_turn, |out| out.extend_from_slice(&call.ack));
        match self.plan.talk_ms {
            0 => self.hang_up(slot),
            talk_ms => self.queues.talk.push_back(self.due(slot, talk_ms, What::Talk)),
        }
    }

    fn hang_up(&mut self, slot: usize) {
        let Some(call) = self.calls.get_mut(slot) else { return };
        call.caller = Caller::Ending;
        let caller = Place { end: self.plan.caller(), stream: 0 };
        self.wire.queue(caller, &mut call.caller_turn, |out| out.extend_from_slice(&call.bye));
        self.queues.again(self.now_ns, slot, call.generation, What::Bye, 0);
    }

    fn end(&mut self, slot: usize) {
        if let Some(call) = self.calls.get_mut(slot) {
            call.caller = Caller::Unused;
            self.unused.push_back(slot);
        }
    }

    fn due(&self, slot: usize, after_ms: u64, what: What) -> Due {
        let generation = self.calls.get(slot).map_or(0, |call| call.generation);
        Due { at_ns: self.now_ns + after_ms * MS, slot, generation, what }
    }

    fn fire(&mut self) {
        while let Some((due, power)) = self.queues.pop(self.now_ns) {
            let Some(call) = self.calls.get_mut(due.slot) else { continue };
            if call.generation != due.generation {
                continue;
            }
            let caller = Place { end: self.plan.caller(), stream: 0 };
            let (place, turn, bytes) = match (due.what, call.caller, call.called) {
                (What::Ring, _, Called::Ringing) => {
                    self.answer(due.slot);
                    continue;
                }
                (What::Talk, Caller::Up, _) => {
                    self.hang_up(due.slot);
                    continue;
                }
                (What::Invite, Caller::Calling, _) => (caller, &mut call.caller_turn, &call.request),
                (What::Bye, Caller::Ending, _) => (caller, &mut call.caller_turn, &call.bye),
                (What::Answer, _, Called::Answered | Called::Unconfirmed) => {
                    (call.callee, &mut call.called_turn, &call.response)
                }
                _ => continue,
            };
            if self.now_ns.saturating_sub(call.began_ns) > GIVE_UP_NS {
                continue;
            }
            self.tally.sent_again += 1;
            self.wire.queue(place, turn, |out| out.extend_from_slice(bytes));
            self.queues.again(self.now_ns, due.slot, due.generation, due.what, due.what.next(power));
        }
    }
}
