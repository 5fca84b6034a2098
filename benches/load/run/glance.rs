//! Messages that come as they were sent, but for what every proxy changes: they are held against what was sent, and not read.
//! What is not so is read and checked part by part, and told by its fault there.

use super::Run;
use crate::call::{Call, Called, Caller};
use crate::check::{InDialog, Sent, is_as_sent};
use crate::plan::Road;
use crate::read::{call_of, status_of};
use crate::text::{self, Id};
use crate::wire::Place;

impl Run {
    /// True for a message that was taken in, with all that it brings about.
    pub(super) fn is_as_expected(&mut self, place: Place, bytes: &[u8]) -> bool {
        // Where From is changed and restored, it must not be as it was sent.
        if self.plan.road == Road::Outbound || !matches!(bytes, [b'S' | b'A' | b'B', ..]) {
            return false;
        }
        let Some((id, behind)) = self.finder.id(bytes) else { return false };
        let Some((slot, generation)) = call_of(id) else { return false };
        let is_open = |call: &&mut Call| call.generation == generation && call.caller != Caller::Unused;
        let Some(call) = self.calls.get_mut(slot).filter(is_open) else { return false };
        match status_of(bytes) {
            Some(status) if place.end == self.plan.caller() => self.is_response(slot, status, behind, bytes),
            None if place == call.callee => self.is_request(slot, id, bytes),
            _ => false,
        }
    }

    /// A response without its topmost Via. What it answers was checked, and so would hold whatever is checked of a response.
    /// `behind` is what follows the Call-ID.
    fn is_response(&mut self, slot: usize, status: u16, behind: &[u8], bytes: &[u8]) -> bool {
        let Some(call) = self.calls.get_mut(slot) else { return false };
        let vias = usize::from(!self.plan.is_bare());
        match (status, call.caller) {
            (100, Caller::Calling | Caller::Proceeding) if behind.starts_with(b"CSeq: 1 INVITE\r\n") => {
                call.caller = Caller::Proceeding;
                true
            }
            (180, Caller::Calling | Caller::Proceeding) => {
                let shared = call.response.len().saturating_sub(self.texts.tail_bytes());
                let sent = call.response.get(..shared).unwrap_or_default();
                if !is_as_sent(bytes, text::RINGING, sent, text::NO_BODY, vias) {
                    return false;
                }
                call.caller = Caller::Proceeding;
                self.tally.rang += u64::from(!call.has_rung);
                call.has_rung = true;
                true
            }
            (200, Caller::Calling | Caller::Proceeding) => {
                let is_same = is_as_sent(bytes, text::OK, &call.response, b"", vias);
                if is_same {
                    self.acknowledge(slot);
                }
                is_same
            }
            (200, Caller::Ending) if matches!(call.called, Called::Ended | Called::Unconfirmed) => {
                // Nothing is wrong with a call that is over at its callee.
                is_as_sent(bytes, text::OK, &call.goodbye, b"", vias) && self.on_end(slot).is_ok()
            }
            _ => false,
        }
    }

    /// An ACK or a BYE with a Via more, a hop less, and without the Route.
    fn is_request(&mut self, slot: usize, id: &Id, bytes: &[u8]) -> bool {
        let Some(call) = self.calls.get_mut(slot) else { return false };
        let Some(number) = self.texts.number(call.number) else { return false };
        let sent = Sent { texts: &self.texts, number, id, callee: call.callee.end };
        let vias = usize::from(!self.plan.is_bare());
        let is_answered = matches!(call.called, Called::Answered | Called::Confirmed);
        match bytes.first() {
            Some(b'A') if is_answered => {
                let is_same = InDialog::of(bytes, &call.ack, call.from_on, vias, &sent).is_some();
                if is_same {
                    self.on_ack(slot);
                }
                is_same
            }
            Some(b'B') if is_answered => {
                let Some(bye) = InDialog::of(bytes, &call.bye, call.from_on, vias, &sent) else { return false };
                call.goodbye.clear();
                [text::OK, bye.vias, bye.rest].iter().for_each(|part| call.goodbye.extend_from_slice(part));
                self.tally.came_again += u64::from(call.is_bye_again());
                self.wire.queue(call.callee, &mut call.called_turn, |out| out.extend_from_slice(&call.goodbye));
                true
            }
            _ => false,
        }
    }
}
