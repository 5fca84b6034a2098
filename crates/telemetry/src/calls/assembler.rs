//! From batches to records: opens one with each INVITE, and closes it with what ends the call.

mod addresses;
mod message;
mod owners;
mod spans;

use super::Standing;
use super::batch::{Batch, Entry, Frame};
use super::journal::{Journal, Place, joined};
use super::json;
use super::queue::Queue;
use super::record::{AttemptRecord, CallRecord, StrayMedia, Word, outcome};
use super::rules::RuleLists;
use crate::limits::{OPEN_RECORDS, SINK_QUEUE, STRAY_MEDIA};
use addresses::Addresses;
use arc_swap::ArcSwap;
use message::Reader;
use owners::{Facts, Owner, facts_of};
use proxy::dispatch::Step;
use proxy::outbox::FailoverReason;
use proxy::{CallKey, Decision, EndedBy, PartyId, Refusal, Role, Settings, Time};
use sip::Number;
use smol_str::format_smolstr;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How long after its answer a call is told of to the process after this one: many are over by then.
const STANDS_AFTER_MS: u64 = 1_000;
/// How long a record waits after its call's end for the answer to the BYE, in milliseconds.
const LINGER_MS: u64 = 500;

/// Where records come together.
pub(super) struct Assembler {
    pub(super) settings: Arc<ArcSwap<Settings>>,
    /// The zero of the workers' clock, in microseconds since 1970.
    pub(super) zero_us: u64,
    pub(super) journal: Arc<Mutex<Journal>>,
    pub(super) sinks: Vec<Arc<Queue>>,
    pub(super) lost: Arc<AtomicU64>,
    reader: Reader,
    addresses: Addresses,
    rules: RuleLists,
    closing: VecDeque<(u64, Place)>,
    standing: Option<Standing>,
    /// Calls that were answered, with the time at which the next process is to know of each.
    answered: VecDeque<(u64, Place)>,
    /// Calls of the process before this one that were in setup, with the time at which each is given up.
    in_setup: Vec<(u64, Place)>,
    /// Whose each message of the batch is that arrived, by its place among the entries.
    owners: Vec<Option<Owner>>,
    scratch: Vec<u8>,
    /// Records that are handed on together.
    whole: Vec<Arc<CallRecord>>,
}

/// What the entries before tell about the next one.
#[derive(Default)]
struct Thread {
    /// With its place among the entries.
    arrived: Option<(Frame, usize)>,
    current: Option<Place>,
    failed: Option<FailoverReason>,
}

impl Assembler {
    pub(super) fn new(
        settings: Arc<ArcSwap<Settings>>,
        zero_us: u64,
        journal: Arc<Mutex<Journal>>,
        sinks: Vec<Arc<Queue>>,
        lost: Arc<AtomicU64>,
    ) -> Assembler {
        Assembler {
            settings,
            zero_us,
            journal,
            sinks,
            lost,
            reader: Reader::new(),
            addresses: Addresses::default(),
            rules: RuleLists::default(),
            closing: VecDeque::new(),
            standing: None,
            answered: VecDeque::new(),
            in_setup: Vec::new(),
            owners: Vec::new(),
            scratch: Vec::new(),
            whole: Vec::new(),
        }
    }

    /// Tells this one of each call that has been answered.
    pub(super) fn tell(&mut self, standing: Option<Standing>) {
        self.standing = standing;
    }

    /// Takes turns of one worker.
    pub(super) fn take(&mut self, batch: &Batch) {
        let (settings, journal) = (self.settings.load_full(), Arc::clone(&self.journal));
        let journal = &mut *journal.lock().unwrap_or_else(PoisonError::into_inner);
        let mut thread = Thread::default();
        self.owners.clear();
        self.owners.resize(batch.entries.len(), None);
        for (at, (time, entry)) in batch.entries.iter().enumerate() {
            let now_us = self.zero_us.saturating_add(time.0);
            match entry {
                Entry::Arrived(frame) => {
                    thread = Thread { arrived: Some((*frame, at)), ..Thread::default() };
                    let bytes = frame.span.of(&batch.bytes);
                    let call = match facts_of(batch, at, frame) {
                        Facts::Opens => continue,
                        Facts::CallId(call_id) => journal.by_call_id(call_id),
                        Facts::Others => self.call_of(journal, bytes),
                    };
                    self.keep_arrived(journal, &settings, call, (frame, at), (bytes, now_us));
                }
                Entry::Left(frame, of) => self.keep_left(journal, &settings, batch, (frame, *of), now_us),
                Entry::TurnOver => thread = Thread::default(),
                Entry::Opened { key, call_id, called, from, decision } => {
                    let Some(decision) = batch.decisions.get(*decision) else { continue };
                    let texts = (call_id.of(&batch.bytes), called.of(&batch.bytes));
                    let begins = Begins { key: *key, texts, from: *from, decision, now_us };
                    thread.current = self.open(journal, &settings, batch, thread.arrived, &begins);
                }
                Entry::Refused(party, refusal) => {
                    self.refused(journal, &settings, batch, &thread, (*party, *refusal, now_us));
                }
                Entry::Failover(reason) => thread.failed = Some(*reason),
                Entry::Attempt { key, toward, peer } => {
                    let failed = thread.failed.take();
                    let target = self.addresses.of_peer(peer);
                    let place = self.place_of(journal, &thread, *key);
                    attempt(journal, &settings, (place, *toward, target), failed, now_us / 1_000);
                }
                Entry::StrayMedia { key, call_id, from, address } => {
                    let stray = StrayMedia { from: name(&settings, *from), address: format_smolstr!("{address}") };
                    note_stray(journal, (*key, call_id.of(&batch.bytes)), stray);
                }
                Entry::EndedUnseen { .. } => self.ended_unseen(journal, &settings, batch, entry, now_us),
                _ => self.progress(journal, batch, &thread, entry, now_us),
            }
            self.keep_late(journal, &settings, batch, (thread.arrived, entry), now_us);
        }
    }

    /// Hands on every record whose call has been over for a while, or all of them at the end.
    pub(super) fn hand_on(&mut self, now: Time, is_last: bool) {
        let now_ms = self.zero_us.saturating_add(now.0) / 1_000;
        let journal = Arc::clone(&self.journal);
        let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
        self.give_up(&mut journal, now_ms);
        self.whole.clear();
        self.tell_standing(&journal, now_ms, is_last);
        while let Some((over_ms, place)) = self.closing.front().copied() {
            let lingers = over_ms + LINGER_MS > now_ms && self.closing.len() <= SINK_QUEUE;
            if !is_last && lingers {
                break;
            }
            self.closing.pop_front();
            let Some(call) = journal.call_mut(place) else { continue };
            self.whole.push(Arc::clone(&call.record));
            journal.publish(place);
        }
        drop(journal);
        if !self.whole.is_empty() {
            self.sinks.iter().for_each(|sink| sink.put(&self.whole));
        }
        self.whole.clear();
    }

    fn open(
        &mut self,
        journal: &mut Journal,
        settings: &Arc<Settings>,
        batch: &Batch,
        arrived: Option<(Frame, usize)>,
        begins: &Begins<'_>,
    ) -> Option<Place> {
        if let Some(known) = journal.by_key(begins.key) {
            // An upstream that forks sends the call's INVITE more than once: it is one call.
            if let Some((frame, at)) = &arrived {
                let bytes = frame.span.of(&batch.bytes);
                self.keep_arrived(journal, settings, Some(known), (frame, *at), (bytes, begins.now_us));
            }
            return Some(known);
        }
        if journal.open_count() >= OPEN_RECORDS {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let (frame, at) = arrived?;
        let bytes = frame.span.of(&batch.bytes);
        let mut record = record_of(settings, begins);
        record.rules = self.rules.of(begins.decision.trace.steps().map(|step| step.rule()));
        record.id = self.id_of(begins.key, begins.now_us);
        record.source = self.addresses.of(frame.remote);
        let mut named = None;
        if let Some((caller, place)) = self.reader.caller(bytes) {
            record.caller = e164(settings, &caller);
            record.caller_received = caller;
            named = place;
        }
        if begins.decision.direction == proxy::dispatch::Direction::Outbound {
            record.caller_asserted = self.reader.asserted(bytes);
        }
        let place = journal.open_call(Some(begins.key), record);
        if let Some(call) = journal.call_mut(place) {
            call.explain(begins.decision, settings);
        }
        if let (proxy::dispatch::Direction::Inbound, Some(did)) = (begins.decision.direction, begins.decision.number) {
            journal.belongs(place, did);
        }
        self.keep_arrived(journal, settings, Some(place), (&frame, at), (bytes, begins.now_us));
        if let Some(owner) = self.owners.get_mut(at).and_then(Option::as_mut) {
            owner.named = named;
        }
        Some(place)
    }

    /// A refusal after dispatch closes the call's record; one before it makes a record of its own.
    fn refused(
        &mut self,
        journal: &mut Journal,
        settings: &Arc<Settings>,
        batch: &Batch,
        thread: &Thread,
        (party, refusal, now_us): (PartyId, Refusal, u64),
    ) {
        let place = match (thread.current, thread.arrived) {
            (Some(place), _) => place,
            (None, Some((frame, at))) => {
                let bytes = frame.span.of(&batch.bytes);
                let Some(invite) = self.reader.invite(bytes).filter(|invite| !invite.in_dialog) else {
                    return;
                };
                let mut record = CallRecord {
                    id: format_smolstr!("{now_us:x}-{}", invite.call_id),
                    call_id: invite.call_id,
                    began_at_ms: now_us / 1_000,
                    from: name(settings, party),
                    source: self.addresses.of(frame.remote),
                    called: e164(settings, &invite.called),
                    caller: e164(settings, &invite.caller),
                    called_received: invite.called,
                    caller_received: invite.caller,
                    ..CallRecord::default()
                };
                note_side(settings, &mut record, party);
                let place = journal.open_call(None, record);
                self.keep_arrived(journal, settings, Some(place), (&frame, at), (bytes, now_us));
                place
            }
            _ => return,
        };
        let Some(call) = journal.call_mut(place) else { return };
        let record = call.record_mut();
        record.status = Some(refusal.status());
        record.reason = Some(refusal.name().into());
        record.outcome = "refused".into();
        record.setup_ms = Some((now_us / 1_000).saturating_sub(record.began_at_ms));
        self.close(journal, place, "proxy", now_us);
    }

    fn progress(&mut self, journal: &mut Journal, batch: &Batch, thread: &Thread, entry: &Entry, now_us: u64) {
        let now_ms = now_us / 1_000;
        let current = thread.current;
        match entry {
            Entry::Shown(rule, did) => {
                let Some(place) = current else { return };
                if let Some(call) = journal.call_mut(place) {
                    let record = call.record_mut();
                    (record.caller_rule, record.caller_did) = (Some(rule.name().into()), Some(plus(*did)));
                }
                journal.belongs(place, *did);
            }
            Entry::Owned(organisation) => {
                if let Some(call) = current.and_then(|place| journal.call_mut(place)) {
                    call.record_mut().organisation = Some(text(organisation.of(&batch.bytes)));
                }
            }
            Entry::Foreign => {
                if let Some(call) = current.and_then(|place| journal.call_mut(place)) {
                    call.record_mut().caller_foreign = true;
                }
            }
            Entry::Ringing { call_id } => {
                let place = self.owner(thread).or_else(|| journal.by_call_id(call_id.of(&batch.bytes)));
                if let Some(call) = place.and_then(|place| journal.call_mut(place)) {
                    call.record_mut().ringing_at_ms.get_or_insert(now_ms);
                }
                place.into_iter().for_each(|place| journal.note_change(place.number));
            }
            Entry::Final { key, status, .. } => {
                let place = self.place_of(journal, thread, *key);
                self.answered(journal, place, *status, now_us);
            }
            Entry::Ended { key, call_id, by, after_us, talked_us } => {
                let times = (now_us, *after_us, *talked_us);
                let place = self.place_of(journal, thread, *key);
                self.ended(journal, (*key, place), call_id.of(&batch.bytes), *by, times);
            }
            _ => {}
        }
    }

    /// A final response: with a 2xx the call is up, with any other it is over.
    fn answered(&mut self, journal: &mut Journal, place: Option<Place>, status: u16, now_us: u64) {
        let Some(place) = place else { return };
        let Some(call) = journal.call_mut(place) else { return };
        if call.record.answered_at_ms.is_some() {
            return;
        }
        let record = call.record_mut();
        record.status = Some(status);
        record.outcome = outcome(status).into();
        record.setup_ms = Some((now_us / 1_000).saturating_sub(record.began_at_ms));
        if status < 300 {
            record.answered_at_ms = Some(now_us / 1_000);
            if self.standing.is_some() {
                self.answered.push_back((now_us / 1_000 + STANDS_AFTER_MS, place));
            }
            journal.note_change(place.number);
        } else {
            self.close(journal, place, if status == 487 { "cancel" } else { "final" }, now_us);
        }
    }

    /// An answered call is over. One that nobody here has opened began before this process did.
    fn ended(
        &mut self,
        journal: &mut Journal,
        (key, place): (CallKey, Option<Place>),
        call_id: &[u8],
        by: EndedBy,
        (now_us, after_us, talked_us): (u64, u64, u64),
    ) {
        let place = place.unwrap_or_else(|| {
            let began_us = now_us.saturating_sub(after_us);
            let record = CallRecord {
                id: format_smolstr!("{key}-{began_us:x}"),
                call_id: text(call_id),
                began_at_ms: began_us / 1_000,
                answered_at_ms: Some(now_us.saturating_sub(talked_us) / 1_000),
                outcome: "answered".into(),
                restarted: true,
                ..CallRecord::default()
            };
            journal.open_call(Some(key), record)
        });
        if let Some(call) = journal.call_mut(place) {
            call.record_mut().talked_ms = Some(talked_us / 1_000);
        }
        self.close(journal, place, by.name(), now_us);
    }

    fn close(&mut self, journal: &mut Journal, place: Place, by: &'static str, now_us: u64) {
        if !journal.close(place) {
            return;
        }
        if let Some(call) = journal.call_mut(place) {
            let record = call.record_mut();
            record.ended_at_ms = Some(now_us / 1_000);
            record.ended_by = Some(by.into());
        }
        self.closing.push_back((now_us / 1_000, place));
    }

    /// What the record of a dispatched call is named by.
    fn id_of(&mut self, key: CallKey, at_us: u64) -> Word {
        self.scratch.clear();
        json::hex(&mut self.scratch, &key.0.to_be_bytes());
        self.scratch.push(b'-');
        let start = self.scratch.len();
        json::hex(&mut self.scratch, &at_us.to_be_bytes());
        let zeros = usize::try_from(at_us.leading_zeros() / 4).unwrap_or_default();
        self.scratch.drain(start..start + zeros.min(15));
        text(&self.scratch)
    }
}

/// What a dispatched INVITE tells.
struct Begins<'a> {
    key: CallKey,
    texts: (&'a [u8], &'a [u8]),
    from: PartyId,
    decision: &'a Decision,
    now_us: u64,
}

fn record_of(settings: &Settings, begins: &Begins<'_>) -> CallRecord {
    let Decision { number, generation, trace, direction, .. } = begins.decision;
    let mut record = CallRecord {
        call_id: text(begins.texts.0),
        began_at_ms: begins.now_us / 1_000,
        direction: match direction {
            proxy::dispatch::Direction::Inbound => Word::new_static("inbound"),
            proxy::dispatch::Direction::Outbound => Word::new_static("outbound"),
        },
        from: name(settings, begins.from),
        called_received: text(begins.texts.1),
        called: number.map(plus),
        rule: trace.deciding().map(|step| step.rule().into()),
        generation: generation.0,
        outcome: "in_progress".into(),
        ..CallRecord::default()
    };
    record.overlay = trace.overlay().map(Into::into);
    let chosen = trace.steps().find_map(|step| match step {
        Step::Panic => Some(directory::Environment::Prod),
        Step::Tester(environment)
        | Step::Lease(environment)
        | Step::Row(environment)
        | Step::UnknownTo(environment) => Some(environment),
        _ => None,
    });
    record.environment_chosen = chosen.map(|environment| environment.as_str().into());
    note_side(settings, &mut record, begins.from);
    record
}

/// A party is the call's trunk or its environment.
fn note_side(settings: &Settings, record: &mut CallRecord, party: PartyId) {
    let side = match settings.party(party).map(|party| party.role) {
        Some(Role::Trunk) => &mut record.trunk,
        Some(Role::Environment(_)) => &mut record.environment,
        None => return,
    };
    *side = Some(name(settings, party));
}

fn attempt(
    journal: &mut Journal,
    settings: &Settings,
    (place, toward, target): (Option<Place>, PartyId, Word),
    failed: Option<FailoverReason>,
    at_ms: u64,
) {
    let Some(place) = place else { return };
    journal.note_change(place.number);
    let Some(call) = journal.call_mut(place) else { return };
    let record = call.record_mut();
    if let Some(reason) = failed {
        record.failovers += 1;
        if let Some(last) = record.attempts.last_mut() {
            last.failure = Some(reason.name().into());
        }
    }
    let to = name(settings, toward);
    note_side(settings, record, toward);
    record.to = Some(to.clone());
    record.target = Some(target.clone());
    // As a rule it is the only one.
    record.attempts.reserve_exact(1);
    record.attempts.push(AttemptRecord { to, target, at_ms, failure: None });
}

/// Each address once, and so many.
fn note_stray(journal: &mut Journal, (key, call_id): (CallKey, &[u8]), stray: StrayMedia) {
    let place = journal.by_key(key).or_else(|| journal.by_call_id(call_id));
    let Some(call) = place.and_then(|place| journal.call_mut(place)) else { return };
    let known = &mut call.record_mut().stray_media;
    if known.len() < STRAY_MEDIA && !known.contains(&stray) {
        known.push(stray);
    }
}

fn name(settings: &Settings, party: PartyId) -> Word {
    settings.party(party).map_or(Word::new_static("(gone)"), |party| Word::new(&party.name))
}

/// The number that a user part spells.
fn e164(settings: &Settings, user: &str) -> Option<Word> {
    settings.numbering.canonical_user(user.as_bytes()).ok().map(plus)
}

/// A number in E.164 with `+`. Each call has two: they are written without the formatter.
fn plus(number: Number) -> Word {
    let mut written = [b'+'; json::DIGITS];
    // No number has as many digits as there is room for: one `+` stays before it.
    let start = json::decimal(&mut written, number.digits()).saturating_sub(1);
    if let Some(before) = written.get_mut(start) {
        *before = b'+';
    }
    text(written.get(start..).unwrap_or_default())
}

/// A text off the wire; bytes that are no UTF-8 are replaced.
fn text(bytes: &[u8]) -> Word {
    // Nearly all is ASCII, and told to be so much faster than it is searched for what to replace.
    str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes).into(), Word::new)
}

#[cfg(test)]
mod tests;
