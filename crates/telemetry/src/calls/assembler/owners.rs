//! Whose each message is, and that it is kept with its call.

use super::super::batch::{Batch, Entry, Frame};
use super::super::journal::{Journal, KeptMessage, Place, Shared, Text};
use super::message::Reader;
use super::{Assembler, Thread, joined, text};
use crate::calls::Word;
use proxy::{CallKey, Listener, Settings, Transport};
use sip::Span;
use std::borrow::Cow;

/// Whose a message is that arrived.
#[derive(Clone, Copy)]
pub(super) struct Owner {
    place: Place,
    /// How many messages of the call are kept before it, if it is kept.
    kept: Option<u32>,
    /// Where its From stands in it, if it opened the call.
    pub(super) named: Option<usize>,
}

/// What the facts of a message say of whose it is.
pub(super) enum Facts<'b> {
    /// It is an INVITE that was dispatched: the call comes with the fact.
    Opens,
    /// It is of the newest call with this Call-ID.
    CallId(&'b [u8]),
    Others,
}

/// What is told of the message at a place among the entries: by the core, which has read it, or else by its facts.
pub(super) fn facts_of<'b>(batch: &'b Batch, at: usize, frame: &Frame) -> Facts<'b> {
    if frame.opens {
        return Facts::Opens;
    }
    let call_id = frame.call_id.of(frame.span.of(&batch.bytes));
    if !call_id.is_empty() {
        return Facts::CallId(call_id);
    }
    let facts = batch.entries.iter().skip(at + 1).map(|(_, entry)| entry);
    let own = facts.take_while(|entry| !matches!(entry, Entry::Arrived(_) | Entry::Left(..) | Entry::TurnOver));
    let mut found = Facts::Others;
    for entry in own {
        match entry {
            Entry::Opened { .. } => return Facts::Opens,
            Entry::Ringing { call_id } | Entry::Final { call_id, .. } | Entry::Ended { call_id, .. } => {
                found = Facts::CallId(call_id.of(&batch.bytes));
            }
            _ => {}
        }
    }
    found
}

impl Assembler {
    /// A message belongs to the newest call with its Call-ID.
    pub(super) fn call_of(&mut self, journal: &Journal, bytes: &[u8]) -> Option<Place> {
        journal.by_call_id(self.reader.call_id(bytes)?)
    }

    /// Whether a message has the Call-ID of this call, if it found room.
    fn is_of(&mut self, journal: &Journal, call: Place, bytes: &[u8]) -> bool {
        let Some(call) = journal.at(call).filter(|_| !bytes.is_empty()) else { return true };
        self.reader.call_id(bytes).is_some_and(|call_id| text(call_id) == call.record.call_id)
    }

    /// Whose the message is that arrived last.
    pub(super) fn owner(&self, thread: &Thread) -> Option<Place> {
        let (_, at) = thread.arrived?;
        self.owners.get(at).copied().flatten().map(|owner| owner.place)
    }

    /// The call in progress with this key: as a rule the one whose message arrived last.
    pub(super) fn place_of(&self, journal: &Journal, thread: &Thread, key: CallKey) -> Option<Place> {
        let near = self.owner(thread).filter(|place| journal.is_open_as(*place, key));
        near.or_else(|| journal.by_key(key))
    }

    /// Keeps a BYE with the record that was opened of it: when it arrived there was none.
    pub(super) fn keep_late(
        &mut self,
        journal: &mut Journal,
        settings: &Settings,
        batch: &Batch,
        (arrived, entry): (Option<(Frame, usize)>, &Entry),
        now_us: u64,
    ) {
        let (Entry::Ended { call_id, .. } | Entry::EndedUnseen { call_id, .. }) = entry else { return };
        let Some((frame, at)) = arrived.filter(|(_, at)| self.owners.get(*at).is_some_and(Option::is_none)) else {
            return;
        };
        let place = journal.by_call_id(call_id.of(&batch.bytes));
        self.keep_arrived(journal, settings, place, (&frame, at), (frame.span.of(&batch.bytes), now_us));
    }

    /// Keeps a message that arrived, at this place among the entries, if it is a call's.
    pub(super) fn keep_arrived(
        &mut self,
        journal: &mut Journal,
        settings: &Settings,
        call: Option<Place>,
        (frame, at): (&Frame, usize),
        (bytes, now_us): (&[u8], u64),
    ) {
        let Some(place) = call else { return };
        let kept = journal.keep(place, bytes, message_of(settings, frame, false, now_us), |record| {
            record.messages += 1;
            record.bytes_in += length_of(frame);
        });
        if let Some(owner) = self.owners.get_mut(at) {
            *owner = Some(Owner { place, kept, named: None });
        }
    }

    /// Keeps a message that left, for the one at this place among the entries if for any, if it is a call's.
    pub(super) fn keep_left(
        &mut self,
        journal: &mut Journal,
        settings: &Settings,
        batch: &Batch,
        (frame, of): (&Frame, Option<usize>),
        now_us: u64,
    ) {
        let own = frame.span.of(&batch.bytes);
        let owner = of.and_then(|at| self.owners.get(at).copied().flatten());
        let place = match of {
            Some(_) => owner.map(|owner| owner.place),
            None => self.call_of(journal, own),
        };
        let Some(place) = place else { return };
        let (before, after) = frame.shared;
        let arrived = of.and_then(|at| batch.arrived(at)).map_or(&[][..], |frame| frame.span.of(&batch.bytes));
        let start = Span { start: 0, end: before }.of(arrived);
        let whole = || joined(arrived, before, own, after);
        debug_assert!(
            of.is_none() || self.is_of(journal, place, &whole()),
            "a message was sent for one of another call"
        );
        let message = message_of(settings, frame, true, now_us);
        let (mut ends, mut shown) = (None, None);
        if let Some(call) = journal.at(place).filter(|call| call.record.caller_sent.is_none())
            && begin_as([start, own], INVITE)
        {
            // Its From is as it came where all is from there on, and then all that is read is the line before it.
            let from = owner.and_then(|owner| owner.named);
            let is_named_so = from.is_some_and(|from| from >= arrived.len().saturating_sub(number_of(after)));
            let bytes = if is_named_so && before == 0 { Cow::Borrowed(own) } else { Cow::Owned(whole()) };
            if let Some(called) = Reader::called_like(&bytes, &call.record.called_received) {
                let caller = if is_named_so {
                    Some(call.record.caller_received.clone())
                } else {
                    self.reader.caller_like(&bytes, &call.record.caller_received)
                };
                // Where the caller ID was chosen, it is known which number of ours the call shows.
                if call.record.direction == "outbound" && call.record.caller_did.is_none() {
                    shown = caller
                        .as_ref()
                        .and_then(|caller: &Word| settings.numbering.canonical_user(caller.as_bytes()).ok());
                }
                ends = Some((caller, called));
            }
        }
        let note = |record: &mut super::CallRecord| {
            record.messages += 1;
            record.bytes_out += length_of(frame);
            if let Some((caller, called)) = ends {
                record.caller_sent = caller;
                record.called_sent = Some(called);
            }
        };
        match (frame.shared, owner.and_then(|owner| owner.kept)) {
            ((0, 0), _) => journal.keep(place, own, message, note),
            ((before, after), Some(with)) => {
                let shared = Some(Shared { with, before, after });
                journal.keep_text(place, &Text { own, shared }, message, note)
            }
            // What it is like found no room: it stands for itself.
            (_, None) => journal.keep(place, &whole(), message, note),
        };
        if let Some(did) = shown {
            journal.belongs(place, did);
        }
    }
}

/// Whether two parts of a text, one behind the other, begin with this.
fn begin_as([first, second]: [&[u8]; 2], text: &[u8]) -> bool {
    if first.is_empty() { second.starts_with(text) } else { first.iter().chain(second).take(text.len()).eq(text) }
}

fn number_of(bytes: u32) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

const INVITE: &[u8] = b"INVITE ";

fn message_of(settings: &Settings, frame: &Frame, is_sent: bool, now_us: u64) -> KeptMessage {
    let nowhere = Listener { transport: Transport::Udp, address: frame.remote };
    let local = settings.listener(frame.listener).copied().unwrap_or(nowhere);
    KeptMessage::new(now_us, is_sent, frame.remote, local)
}

fn length_of(frame: &Frame) -> u64 {
    u64::try_from(frame.length).unwrap_or(u64::MAX)
}
