//! What happens when a peer or a whole environment does not answer.

use crate::flow::PartyId;
use directory::Environment;
use sip::Number;

/// How one party's peers stand in for each other.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Availability {
    /// How new calls are spread, one number for each peer; empty: always in the order of the configuration. 0 is a
    /// spare: it is tried when the others failed.
    pub weights: Vec<u16>,
    /// Final statuses after which the next peer is tried, beside 503.
    pub failover_statuses: Vec<u16>,
    /// An environment: what its calls get while none of its targets is usable.
    pub when_down: WhenDown,
}

/// What the calls of an environment get while none of its targets is usable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WhenDown {
    /// 480: never 503, which would tell the gateway to send nothing here at all.
    #[default]
    Reject,
    /// This status.
    Refuse(u16),
    /// Another environment takes them. Only prod does that: any other instance would loop.
    Environment(Environment),
    /// A server that plays an announcement takes them: a party without calls of its own.
    Announcement(PartyId),
}

/// What holds for all parties.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AvailabilitySettings {
    /// DIDs whose calls get something else than their environment's [`Availability::when_down`], by number ascending.
    pub when_down_of: Vec<(Number, WhenDown)>,
}

impl AvailabilitySettings {
    /// What a DID has of its own.
    pub fn of(&self, number: Number) -> Option<WhenDown> {
        let at = self.when_down_of.binary_search_by(|(known, _)| known.cmp(&number)).ok()?;
        self.when_down_of.get(at).map(|(_, when_down)| *when_down)
    }
}
