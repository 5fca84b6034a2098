//! Calls in the open loop: each begins at its own time, whatever became of the others.

use crate::check::{self, Fault, Sent};
use crate::plan::{Plan, Road};
use crate::read::Read;
use crate::spent;
use crate::tally::Tally;
use crate::text::{self, Id, Texts};
use crate::wire::{Inbox, Place, Wire};
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

const MS: u64 = 1_000_000;
/// RFC 3261: T1, and 64 times T1.
const T1_NS: u64 = 500 * MS;
const GIVE_UP_NS: u64 = 64 * T1_NS;
/// T2, as the power of two that T1 is multiplied with.
const T2_POWER: usize = 3;
/// Calls that begin between two looks at the sockets.
const BEGIN_AT_ONCE: u64 = 8;
/// Received batches between two looks at the clock and what is due.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

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
    origin: Instant,
    now_ns: u64,
    next_did: u64,
    /// Where the generations of this run's slots begin.
    first_generation: u32,
    /// Calls that ring are not answered before they are told to.
    holds: bool,
}

#[derive(Debug, Default)]
struct Call {
    generation: u32,
    number: usize,
    callee: Place,
    began_ns: u64,
    caller: Caller,
    called: Called,
    /// What is sent again: the caller's last request, and the callee's last response.
    request: Vec<u8>,
    ack: Vec<u8>,
    response: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Caller {
    #[default]
    Unused,
    Calling,
    Proceeding,
    Up,
    Ending,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Called {
    #[default]
    Idle,
    Ringing,
    Answered,
    Confirmed,
    Ended,
}

/// What is due, in one queue for each length of time: so each is in order by itself.
#[derive(Default)]
struct Queues {
    again: [VecDeque<Due>; 7],
    ring: VecDeque<Due>,
    talk: VecDeque<Due>,
}

#[derive(Clone, Copy)]
struct Due {
    at_ns: u64,
    slot: usize,
    generation: u32,
    what: What,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Invite,
    Bye,
    Answer,
    Ring,
    Talk,
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
            origin: Instant::now(),
            now_ns: 0,
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
        let gap_ns = 1e9 / rate as f64;
        let mut inbox = Inbox::new();
        let mut last_ns = begun_ns;
        while self.is_busy(count, last_ns) {
            self.look();
            let due = |nth: u64| begun_ns + (nth as f64 * gap_ns) as u64;
            for _ in 0..BEGIN_AT_ONCE {
                if self.tally.begun < count && due(self.tally.begun) <= self.now_ns {
                    let lag_us = (self.now_ns - due(self.tally.begun)) / 1_000;
                    self.tally.lag_us = self.tally.lag_us.max(lag_us);
                    self.begin();
                    last_ns = self.now_ns;
                }
            }
            self.fire();
            self.wire.flush();
            if !self.receive(&mut inbox) {
                let next = if self.tally.begun < count { due(self.tally.begun) } else { u64::MAX };
                self.sleep(next);
            }
        }
        self.tally.elapsed_us = (last_ns - begun_ns) / 1_000 + (gap_ns / 1_000.0) as u64;
        self.tally.failed = self.tally.begun - self.tally.completed - self.tally.refused;
        self.tally.unsent = self.wire.unsent;
        self.tally.overflowed = spent::overflowed(&self.wire.addresses()).saturating_sub(overflowed);
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
                while self.receive(&mut inbox) {}
            }
        }
        let count = self.tally.begun;
        let last_ns = self.now_ns;
        while self.is_busy(count, last_ns) {
            self.look();
            self.fire();
            self.wire.flush();
            if !self.receive(&mut inbox) {
                self.sleep(u64::MAX);
            }
        }
        self.tally.failed = self.tally.begun - self.tally.completed - self.tally.refused;
    }

    fn is_busy(&self, count: u64, last_ns: u64) -> bool {
        let settled_ns = last_ns + self.plan.settle_seconds * 1_000 * MS + (self.plan.ring_ms + self.plan.talk_ms) * MS;
        let is_open = self.tally.completed + self.tally.refused < self.tally.begun;
        let waits = if self.holds { self.tally.rang < self.tally.begun } else { is_open };
        self.tally.begun < count || (waits && self.now_ns < settled_ns)
    }

    fn look(&mut self) {
        self.now_ns = self.origin.elapsed().as_nanos() as u64;
    }

    fn sleep(&self, next_ns: u64) {
        let due_ns = next_ns.min(self.queues.next_ns());
        let most_ns = LOOK_AGAIN.as_nanos() as u64;
        let time_ns = due_ns.saturating_sub(self.origin.elapsed().as_nanos() as u64).min(most_ns);
        if time_ns > 0 {
            self.wire.wait(Duration::from_nanos(time_ns));
        }
    }

    /// True when something came.
    fn receive(&mut self, inbox: &mut Inbox) -> bool {
        let mut came = false;
        for end in 0..4 {
            self.wire.receive(end, inbox);
            for (bytes, stream) in inbox.iter() {
                came = true;
                self.tally.messages += 1;
                if let Err(fault) = self.on_message(Place { end, stream }, bytes) {
                    self.tell(fault, bytes);
                }
            }
        }
        if came {
            self.wire.flush();
        }
        came
    }

    /// Counts a fault; the first of each kind is shown.
    fn tell(&mut self, fault: Fault, bytes: &[u8]) {
        let before = self.tally.faults;
        self.tally.fault(fault);
        if before.iter().zip(self.tally.faults).any(|(before, now)| *before == 0 && now == 1) {
            eprintln!("first fault of its kind, {fault:?}:\n{}", String::from_utf8_lossy(bytes));
        }
    }

    fn begin(&mut self) {
        let slot = self.unused.pop_front().unwrap_or_else(|| {
            self.calls.push(Call { generation: self.first_generation, ..Call::default() });
            self.calls.len() - 1
        });
        let place = self.next_did;
        self.next_did = (self.next_did + 1) % self.plan.dids;
        let (Some(call), Some(number)) = (self.calls.get_mut(slot), self.texts.number(place as usize)) else { return };
        call.generation = call.generation.wrapping_add(1);
        call.number = place as usize;
        call.callee = Place { end: self.plan.callee(place), stream: 0 };
        (call.caller, call.called, call.began_ns) = (Caller::Calling, Called::Idle, self.now_ns);
        call.request.clear();
        self.texts.invite(&mut call.request, number, &text::id(slot, call.generation));
        self.wire.queue(Place { end: self.plan.caller(), stream: 0 }, |out| out.extend_from_slice(&call.request));
        self.queues.again(self.now_ns, slot, call.generation, What::Invite, 0);
        self.tally.begun += 1;
    }

    fn on_message(&mut self, place: Place, bytes: &[u8]) -> Result<(), Fault> {
        let read = Read::of(bytes).ok_or(Fault::Unreadable)?;
        if read.method() == b"OPTIONS" && read.status().is_none() {
            self.tally.probes += 1;
            self.wire.queue(place, |out| self.texts.response(out, "200 OK", &read, place.end));
            return Ok(());
        }
        let (slot, generation) = read.call().ok_or(Fault::Unreadable)?;
        let call = self.calls.get(slot).ok_or(Fault::Unreadable)?;
        if call.generation != generation || call.caller == Caller::Unused {
            self.tally.late += 1;
            if read.status().is_none() && read.method() == b"BYE" {
                self.wire.queue(place, |out| self.texts.response(out, "200 OK", &read, place.end));
            }
            return Ok(());
        }
        let id = text::id(slot, generation);
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
                if self.plan.road == Road::Bare {
                    self.wire.queue(place, |out| self.texts.response(out, "100 Trying", read, place.end));
                }
                self.wire.queue(place, |out| self.texts.response(out, "180 Ringing", read, place.end));
                match self.plan.ring_ms {
                    _ if self.holds => {}
                    0 => self.answer(slot),
                    ring_ms => self.queues.ring.push_back(self.due(slot, ring_ms, What::Ring)),
                }
            }
            (b"INVITE", Called::Ringing) => {
                self.tally.came_again += 1;
                self.wire.queue(place, |out| self.texts.response(out, "180 Ringing", read, place.end));
            }
            (b"INVITE", _) => {
                self.tally.came_again += 1;
                self.wire.queue(place, |out| out.extend_from_slice(&call.response));
            }
            (b"ACK", Called::Answered) => call.called = Called::Confirmed,
            (b"ACK", Called::Confirmed | Called::Ended) => self.tally.came_again += 1,
            (b"BYE", Called::Answered | Called::Confirmed | Called::Ended) => {
                if call.called == Called::Confirmed {
                    call.called = Called::Ended;
                } else {
                    self.tally.came_again += 1;
                }
                self.wire.queue(place, |out| self.texts.response(out, "200 OK", read, place.end));
            }
            _ => return Err(Fault::Unexpected),
        }
        Ok(())
    }

    fn answer(&mut self, slot: usize) {
        let Some(call) = self.calls.get_mut(slot) else { return };
        call.called = Called::Answered;
        self.wire.queue(call.callee, |out| out.extend_from_slice(&call.response));
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
                    self.tally.rang += 1;
                }
            }
            (b"INVITE", 200, Caller::Calling | Caller::Proceeding) => {
                check::response(&self.plan, &sent, read)?;
                self.tally.answered.add(self.now_ns.saturating_sub(call.began_ns));
                call.caller = Caller::Up;
                call.ack.clear();
                self.texts.in_dialog(&mut call.ack, "ACK", read, callee, id);
                call.request.clear();
                self.texts.in_dialog(&mut call.request, "BYE", read, callee, id);
                self.wire.queue(caller, |out| out.extend_from_slice(&call.ack));
                match self.plan.talk_ms {
                    0 => self.hang_up(slot),
                    talk_ms => self.queues.talk.push_back(self.due(slot, talk_ms, What::Talk)),
                }
            }
            (b"INVITE", 200, _) => {
                self.tally.came_again += 1;
                self.wire.queue(caller, |out| out.extend_from_slice(&call.ack));
            }
            (b"INVITE", 300.., Caller::Calling | Caller::Proceeding) => {
                self.wire.queue(caller, |out| self.texts.ack_refusal(out, number, read, id));
                self.tally.refused += 1;
                self.tally.refused_503 += u64::from(status == 503);
                self.end(slot);
            }
            (b"BYE", 200, Caller::Ending) => {
                check::response(&self.plan, &sent, read)?;
                let is_whole = call.called == Called::Ended;
                self.tally.completed += 1;
                self.end(slot);
                if !is_whole {
                    return Err(Fault::LeftOver);
                }
            }
            _ => return Err(Fault::Unexpected),
        }
        Ok(())
    }

    fn hang_up(&mut self, slot: usize) {
        let Some(call) = self.calls.get_mut(slot) else { return };
        call.caller = Caller::Ending;
        let caller = Place { end: self.plan.caller(), stream: 0 };
        self.wire.queue(caller, |out| out.extend_from_slice(&call.request));
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
            let Some(call) = self.calls.get(due.slot) else { continue };
            if call.generation != due.generation {
                continue;
            }
            let (place, bytes) = match (due.what, call.caller, call.called) {
                (What::Ring, _, Called::Ringing) => {
                    self.answer(due.slot);
                    continue;
                }
                (What::Talk, Caller::Up, _) => {
                    self.hang_up(due.slot);
                    continue;
                }
                (What::Invite, Caller::Calling, _) | (What::Bye, Caller::Ending, _) => {
                    (Place { end: self.plan.caller(), stream: 0 }, &call.request)
                }
                (What::Answer, _, Called::Answered) => (call.callee, &call.response),
                _ => continue,
            };
            if self.now_ns.saturating_sub(call.began_ns) > GIVE_UP_NS {
                continue;
            }
            self.tally.sent_again += 1;
            self.wire.queue(place, |out| out.extend_from_slice(bytes));
            let next = if due.what == What::Invite { power + 1 } else { (power + 1).min(T2_POWER) };
            self.queues.again(self.now_ns, due.slot, due.generation, due.what, next);
        }
    }
}

/// Another one for each run: a proxy remembers the branches of the run before for 32 s, and takes an INVITE that repeats
/// one for what it says, a request that it has answered.
fn first_generation() -> u32 {
    RandomState::new().hash_one("load") as u32
}

impl Queues {
    fn again(&mut self, now_ns: u64, slot: usize, generation: u32, what: What, power: usize) {
        if let Some(queue) = self.again.get_mut(power) {
            queue.push_back(Due { at_ns: now_ns + (T1_NS << power), slot, generation, what });
        }
    }

    /// Something that is due, and the power of its time.
    fn pop(&mut self, now_ns: u64) -> Option<(Due, usize)> {
        let others = [&mut self.ring, &mut self.talk].into_iter().map(|queue| (queue, 0));
        let all = self.again.iter_mut().enumerate().map(|(power, queue)| (queue, power)).chain(others);
        for (queue, power) in all {
            if queue.front().is_some_and(|due| due.at_ns <= now_ns) {
                return queue.pop_front().map(|due| (due, power));
            }
        }
        None
    }

    fn next_ns(&self) -> u64 {
        let all = self.again.iter().chain([&self.ring, &self.talk]);
        all.filter_map(|queue| queue.front()).map(|due| due.at_ns).min().unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// The calls of two runs against one proxy have nothing in common.
    #[test]
    fn no_run_begins_where_another_did() {
        let firsts: HashSet<u32> = (0..8).map(|_| first_generation()).collect();
        assert!(firsts.len() >= 7, "{firsts:?}");
        let ids: HashSet<Id> = firsts.iter().map(|first| text::id(0, *first)).collect();
        assert_eq!(ids.len(), firsts.len());
    }
}
