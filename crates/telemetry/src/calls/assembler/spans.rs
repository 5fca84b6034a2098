//! Calls that span a restart: whoever sees the BYE closes the record, with what it was told of the call.

use super::super::RestoredRecord;
use super::super::batch::{Batch, Entry};
use super::super::journal::{Journal, Place};
use super::super::record::CallRecord;
use super::{Assembler, e164, name, note_side, text};
use crate::limits::OPEN_RECORDS;
use proxy::Settings;
use proxy::dispatch::Direction;
use sip::Number;
use smol_str::format_smolstr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

impl Assembler {
    /// Takes over the calls of the process before this one: whoever sees their end closes them.
    pub(in crate::calls) fn restore(&mut self, restored: Vec<RestoredRecord>) {
        let journal = Arc::clone(&self.journal);
        let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
        for RestoredRecord { key, record, given_up_at_ms } in restored {
            if journal.open_count() >= OPEN_RECORDS {
                self.lost.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let (is_answered, did) = (record.answered_at_ms.is_some(), did_of(&record));
            let place = journal.open_call(Some(key), record);
            did.into_iter().for_each(|did| journal.belongs(place, did));
            if !is_answered {
                self.in_setup.push((given_up_at_ms, place));
            }
        }
    }

    /// Closes the calls of the process before this one that were in setup, and of which nobody has heard since.
    pub(super) fn give_up(&mut self, journal: &mut Journal, now_ms: u64) {
        if self.in_setup.is_empty() {
            return;
        }
        let due = |(at_ms, _): &mut (u64, Place)| *at_ms <= now_ms;
        for (_, place) in self.in_setup.extract_if(.., due).collect::<Vec<_>>() {
            let Some(call) = journal.call_mut(place).filter(|call| call.record.status.is_none()) else { continue };
            call.record_mut().outcome = "failed".into();
            self.close(journal, place, "aged", now_ms.saturating_mul(1_000));
        }
    }

    /// Tells the process after this one of the calls that have been up for a while, or at the end of all.
    pub(super) fn tell_standing(&mut self, journal: &Journal, now_ms: u64, is_last: bool) {
        while let Some((_, place)) = self.answered.front().copied().filter(|(at_ms, _)| is_last || *at_ms <= now_ms) {
            self.answered.pop_front();
            let open = journal.at(place).filter(|call| call.record.ended_at_ms.is_none());
            if let (Some(standing), Some((key, record))) =
                (&self.standing, open.and_then(|call| Some((call.key?, &call.record))))
            {
                standing(key, record);
            }
        }
    }

    /// A BYE of a call of which this process was told nothing. A call that another BYE has ended is in the journal still.
    pub(super) fn ended_unseen(
        &mut self,
        journal: &mut Journal,
        settings: &Settings,
        batch: &Batch,
        entry: &Entry,
        now_us: u64,
    ) {
        let Entry::EndedUnseen { key, call_id, direction, parties, users, by } = entry else { return };
        let call_id = call_id.of(&batch.bytes);
        if journal.by_call_id(call_id).is_some() {
            return;
        }
        let [from, to] = *parties;
        let [caller, called] = users.map(|user| text(user.of(&batch.bytes)));
        let mut record = CallRecord {
            id: format_smolstr!("{key}-{now_us:x}"),
            call_id: text(call_id),
            began_at_ms: now_us / 1_000,
            direction: match direction {
                Direction::Inbound => "inbound".into(),
                Direction::Outbound => "outbound".into(),
            },
            from: name(settings, from),
            to: Some(name(settings, to)),
            called: e164(settings, &called),
            caller: e164(settings, &caller),
            called_received: called,
            caller_received: caller,
            outcome: "answered".into(),
            status: Some(200),
            restarted: true,
            ..CallRecord::default()
        };
        note_side(settings, &mut record, from);
        note_side(settings, &mut record, to);
        let place = journal.open_call(None, record);
        self.close(journal, place, by.name(), now_us);
    }
}

/// The number of ours that a call is to, or that it showed.
fn did_of(record: &CallRecord) -> Option<Number> {
    let number = match &*record.direction {
        "outbound" => record.caller_did.as_ref().or(record.caller_sent.as_ref()),
        _ => record.called.as_ref(),
    };
    Number::from_digits(number?.strip_prefix('+')?.parse().ok()?)
}
