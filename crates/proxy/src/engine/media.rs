//! What passes says where its media is: outside the party's networks it is a fact worth telling (one-way audio).

use super::{Engine, Turn};
use crate::calls::CallKey;
use crate::flow::PartyId;
use crate::media::stray_address;
use crate::outbox::Event;
use sip::Message;

impl Engine {
    /// Tells a media address of the message of `from` that lies outside its configured networks.
    pub(super) fn note_media(&self, turn: &mut Turn<'_>, from: PartyId, key: CallKey, message: &Message<'_>) {
        let Some(party) = self.settings.party(from) else { return };
        if let Some(address) = stray_address(message, &party.media) {
            let call_id = turn.outbox.keep(message.call_id());
            turn.outbox.event(Event::StrayMedia { call_id, key, from, address });
        }
    }
}
