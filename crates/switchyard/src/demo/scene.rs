//! The calls of the demonstration, and what must become of each.

use super::call::Wish;

/// One call: who places it, to whom, and what must come of it.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    /// What it shows, in a few words.
    pub shows: &'static str,
    /// The party that places it.
    pub caller: &'static str,
    /// The user part in From.
    pub from: &'static str,
    /// The user part of the request-URI, in whatever spelling.
    pub called: &'static str,
    /// What must come of it.
    pub expected: Expected,
}

/// What must come of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// This party takes it, they talk, they hang up.
    Answered(&'static str),
    /// This party takes it, plays an announcement and hangs up.
    HeardOut(&'static str),
    /// It rings at this party, and the caller gives up: 487.
    GivenUp(&'static str),
    /// It reaches nobody: this status.
    Refused(u16),
}

impl Scene {
    pub(super) fn wish(&self) -> Wish {
        match self.expected {
            Expected::GivenUp(_) => Wish::GiveUp,
            Expected::HeardOut(_) => Wish::HearOut,
            _ => Wish::Talk,
        }
    }
}

impl Expected {
    /// The party that the call must reach, and the final status.
    pub fn facts(self) -> (Option<&'static str>, u16) {
        match self {
            Expected::Answered(party) | Expected::HeardOut(party) => (Some(party), 200),
            Expected::GivenUp(party) => (Some(party), 487),
            Expected::Refused(status) => (None, status),
        }
    }
}

/// A call from the public network, in the spellings that carriers use.
const fn inbound(shows: &'static str, called: &'static str, expected: Expected) -> Scene {
    Scene { shows, caller: "gateway", from: "+447700900123", called, expected }
}

const fn outbound(shows: &'static str, caller: &'static str, from: &'static str, called: &'static str) -> Scene {
    Scene { shows, caller, from, called, expected: Expected::Answered("gateway") }
}

/// The first round: every way that a call can take, once.
pub const ROUND: [Scene; 10] = [
    inbound("a DID of prod, as +E.164", "+918065978000", Expected::Answered("prod")),
    inbound("a DID of staging, as the network writes it nationally", "08065978021", Expected::Answered("staging")),
    inbound("a DID of oss, as E.164 without +; oss hangs up", "918065978025", Expected::HeardOut("oss")),
    inbound("a number that no row has", "+918065080729", Expected::Refused(404)),
    inbound("a DID that is suspended", "+918065978017", Expected::Refused(404)),
    inbound("a DID whose organisation is suspended", "+918065978020", Expected::Refused(404)),
    inbound("a caller who gives up while it rings", "+918065978001", Expected::GivenUp("prod")),
    outbound("a call out of prod", "prod", "+918065978003", "+447700900456"),
    outbound("a call out of staging", "staging", "+918065978021", "00447700900457"),
    outbound("a call out of oss", "oss", "+918065978025", "+447700900458"),
];

/// The party that plays an announcement to every caller and hangs up.
pub(super) const ANNOUNCING: &str = "oss";

/// The DID that moves between environments while the flow runs.
pub(super) const MOVING: &str = "+918065978022";

/// Where it moves to, one after the other, with the statement that moves it. It begins in staging.
pub(super) const MOVES: [(&str, &str); 3] = [
    ("oss", "UPDATE did_numbers SET routing_environment = 'oss' WHERE number LIKE '%8065978022'"),
    ("prod", "UPDATE did_numbers SET routing_environment = 'prod' WHERE number LIKE '%8065978022'"),
    ("staging", "UPDATE did_numbers SET routing_environment = 'staging' WHERE number LIKE '%8065978022'"),
];

/// A call to the moving DID when it is in `environment`.
pub(super) fn to_moving(environment: &'static str) -> Scene {
    let expected =
        if environment == ANNOUNCING { Expected::HeardOut(environment) } else { Expected::Answered(environment) };
    inbound("the DID that has just moved", MOVING, expected)
}
