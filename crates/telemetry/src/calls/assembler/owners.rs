//! Whose each message is, and that it is kept with its call.

use super::super::batch::{Batch, Entry, Frame};
use super::super::journal::{Journal, KeptMessage, Place};
use super::message::Reader;
use super::{Assembler, text};
use proxy::{Listener, Settings, Transport};
use sip::Span;

/// What the facts of a message say of whose it is.
pub(super) enum Facts {
    /// It is an INVITE that was dispatched: the call comes with the fact.
    Opens,
    /// It is of the newest call with this Call-ID.
    CallId(Span),
    Others,
}

/// What the facts say of the message at a place among the entries.
pub(super) fn facts_of(batch: &Batch, at: usize) -> Facts {
    let facts = batch.entries.iter().skip(at + 1).map(|(_, entry)| entry);
    let own = facts.take_while(|entry| !matches!(entry, Entry::Arrived(_) | Entry::Left(..) | Entry::TurnOver));
    let mut found = Facts::Others;
    for entry in own {
        match entry {
            Entry::Opened { .. } => return Facts::Opens,
            Entry::Ringing { call_id } | Entry::Final { call_id, .. } | Entry::Ended { call_id, .. } => {
                found = Facts::CallId(*call_id);
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

    /// Whether a message has the Call-ID of this call, if it is one's and found room.
    pub(super) fn is_of(&mut self, journal: &Journal, call: Option<Place>, bytes: &[u8]) -> bool {
        let Some(call) = call.and_then(|place| journal.at(place)).filter(|_| !bytes.is_empty()) else { return true };
        self.reader.call_id(bytes).is_some_and(|call_id| text(call_id) == call.record.call_id)
    }

    /// What leaves because of the message at this place is this call's.
    pub(super) fn owns(&mut self, at: usize, call: Option<Place>) {
        if let Some(owner) = self.owners.get_mut(at) {
            *owner = call;
        }
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
        self.owns(at, place);
        self.keep(journal, settings, place, (&frame, false), (frame.span.of(&batch.bytes), now_us));
    }

    /// Keeps a message of a call, if it is one's.
    pub(super) fn keep(
        &mut self,
        journal: &mut Journal,
        settings: &Settings,
        call: Option<Place>,
        (frame, is_sent): (&Frame, bool),
        (bytes, now_us): (&[u8], u64),
    ) {
        let Some(place) = call else { return };
        let nowhere = Listener { transport: Transport::Udp, address: frame.remote };
        let local = settings.listener(frame.listener).copied().unwrap_or(nowhere);
        let length = u64::try_from(frame.length).unwrap_or(u64::MAX);
        let (reader, mut shown) = (&mut self.reader, None);
        journal.keep(place, bytes, KeptMessage::new(now_us, is_sent, frame.remote, local), |record| {
            record.messages += 1;
            *(if is_sent { &mut record.bytes_out } else { &mut record.bytes_in }) += length;
            if is_sent
                && record.caller_sent.is_none()
                && let Some(called) = Reader::called(bytes)
            {
                let caller = reader.caller(bytes);
                if record.direction == "outbound" {
                    shown =
                        caller.as_ref().and_then(|caller| settings.numbering.canonical_user(caller.as_bytes()).ok());
                }
                record.caller_sent = caller;
                record.called_sent = Some(called);
            }
        });
        if let Some(did) = shown {
            journal.belongs(place, did);
        }
    }
}
