//! Why we say no: each refusal, its status, and the words beside it.

use crate::calls::Limit;
use sip::Fault;

/// A status that we send of our own, and whose fault it is. Not an error of ours: those are events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The request is malformed (RFC 3261 16.3 item 1).
    Malformed(Fault),
    /// The request-URI is `sips:`, which is never downgraded; there is no TLS in this release.
    SecureScheme,
    /// The request-URI's scheme is none that we route (16.3 item 2).
    UnknownScheme,
    /// Max-Forwards was 0 (16.3 item 3).
    TooManyHops,
    /// The request came back to us unchanged (16.3 item 4).
    Loop,
    /// Proxy-Require names an extension that we do not have (16.3 item 5).
    BadExtension,
    /// The request-URI's host is neither ours nor a configured peer's.
    ForeignTarget,
    /// A Route that is not ours would take the request elsewhere.
    ForeignRoute,
    /// Inside a dialog, without a token of ours that verifies.
    NoToken,
    /// REGISTER, SUBSCRIBE and PUBLISH belong to the PBX.
    NotHere,
    /// The called number cannot be read as a number.
    NotANumber,
    /// The called number is in no row; the status is configured.
    UnknownDid(u16),
    /// The called number's row is not in service; the status is configured.
    NotInService(u16),
    /// The environment or trunk has nowhere to send to.
    NoTarget,
    /// The environment or trunk has peers, and none of them is usable now.
    NoneUsable,
    /// The same, where the configuration names a status for it.
    WhenDown(u16),
    /// CANCEL or other requests for a transaction that we do not have and cannot place.
    NoTransaction,
    /// No directory has been loaded yet: this proxy as a whole cannot serve.
    NoTable,
    /// A table of ours is full: this proxy as a whole cannot serve.
    Full,
    /// The source sends more requests in a second than it may.
    OverRate,
    /// We are draining: new calls go elsewhere.
    Draining,
    /// The call claims a number of another organisation.
    ForeignCallerId,
    /// No rule yields a caller ID, and the trunk has no fallback.
    NoCallerId,
    /// The environment is forbidden emergency and short numbers.
    EmergencyForbidden,
    /// An environment may not call this destination.
    DestinationForbidden,
    /// A call is one too many, or came too fast; the status is configured.
    Limit(Limit, u16),
    /// The target's own message would not fit what carries it.
    TooLarge,
}

impl Refusal {
    /// The status that is sent.
    pub const fn status(self) -> u16 {
        match self {
            Refusal::Malformed(fault) => fault.status(),
            Refusal::SecureScheme | Refusal::UnknownScheme => 416,
            Refusal::TooManyHops => 483,
            Refusal::Loop => 482,
            Refusal::BadExtension => 420,
            Refusal::ForeignTarget | Refusal::ForeignRoute | Refusal::NoToken | Refusal::NotHere => 403,
            Refusal::ForeignCallerId | Refusal::NoCallerId | Refusal::EmergencyForbidden => 403,
            Refusal::DestinationForbidden => 403,
            Refusal::Limit(_, status) => status,
            Refusal::NotANumber => 404,
            Refusal::UnknownDid(status) | Refusal::NotInService(status) | Refusal::WhenDown(status) => status,
            Refusal::NoTarget | Refusal::NoneUsable | Refusal::OverRate => 480,
            Refusal::NoTransaction => 481,
            Refusal::NoTable | Refusal::Full | Refusal::Draining => 503,
            Refusal::TooLarge => 513,
        }
    }

    /// The reason phrase: it says whose fault it is.
    pub const fn phrase(self) -> &'static str {
        match self {
            Refusal::Malformed(fault) => fault.reason(),
            Refusal::SecureScheme => "SIPS Is Not Served Here",
            Refusal::UnknownScheme => "Unsupported URI Scheme",
            Refusal::TooManyHops => "Too Many Hops",
            Refusal::Loop => "Loop Detected",
            Refusal::BadExtension => "Bad Extension",
            Refusal::ForeignTarget => "Not Our Domain",
            Refusal::ForeignRoute => "Foreign Route",
            Refusal::NoToken => "Unknown Dialog",
            Refusal::NotHere => "Not Served Here",
            Refusal::NotANumber => "Not A Number",
            Refusal::UnknownDid(_) => "Unknown Number",
            Refusal::NotInService(_) => "Number Not In Service",
            Refusal::NoTarget => "No Target",
            Refusal::NoneUsable | Refusal::WhenDown(_) => "No Target Usable",
            Refusal::NoTransaction => "Call/Transaction Does Not Exist",
            Refusal::NoTable => "No Directory Yet",
            Refusal::Full => "Overloaded",
            Refusal::OverRate => "Too Many Requests",
            Refusal::Draining => "Draining",
            Refusal::ForeignCallerId => "Caller ID Of Another Organisation",
            Refusal::NoCallerId => "No Caller ID",
            Refusal::EmergencyForbidden => "Emergency Numbers Forbidden Here",
            Refusal::DestinationForbidden => "Destination Not Allowed Here",
            Refusal::Limit(limit, _) => limit.phrase(),
            Refusal::TooLarge => "Message Too Large",
        }
    }

    /// The Reason (RFC 3326) that goes with it, so that a PBX can log why; none where the phrase says all.
    pub const fn reason(self) -> Option<&'static str> {
        match self {
            Refusal::ForeignCallerId => Some("SIP;cause=403;text=\"the caller ID belongs to another organisation\""),
            Refusal::NoneUsable | Refusal::WhenDown(_) => {
                Some("SIP;cause=480;text=\"every server that could take the call is down or closed\"")
            }
            Refusal::NoCallerId => {
                Some("SIP;cause=403;text=\"no rule yields a caller ID and the trunk has no fallback\"")
            }
            Refusal::EmergencyForbidden => {
                Some("SIP;cause=403;text=\"this environment may not call emergency numbers\"")
            }
            Refusal::DestinationForbidden => {
                Some("SIP;cause=403;text=\"destinations of the environment do not allow this number\"")
            }
            Refusal::Limit(limit, _) => Some(limit.reason()),
            _ => None,
        }
    }

    /// The counter's label.
    pub const fn name(self) -> &'static str {
        match self {
            Refusal::Malformed(_) => "malformed",
            Refusal::SecureScheme => "secure_scheme",
            Refusal::UnknownScheme => "unknown_scheme",
            Refusal::TooManyHops => "too_many_hops",
            Refusal::Loop => "loop",
            Refusal::BadExtension => "bad_extension",
            Refusal::ForeignTarget => "foreign_target",
            Refusal::ForeignRoute => "foreign_route",
            Refusal::NoToken => "no_token",
            Refusal::NotHere => "not_here",
            Refusal::NotANumber => "not_a_number",
            Refusal::UnknownDid(_) => "unknown_did",
            Refusal::NotInService(_) => "not_in_service",
            Refusal::NoTarget => "no_target",
            Refusal::NoneUsable => "none_usable",
            Refusal::WhenDown(_) => "when_down",
            Refusal::NoTransaction => "no_transaction",
            Refusal::NoTable => "no_table",
            Refusal::Full => "full",
            Refusal::OverRate => "over_rate",
            Refusal::Draining => "draining",
            Refusal::ForeignCallerId => "foreign_caller_id",
            Refusal::NoCallerId => "no_caller_id",
            Refusal::EmergencyForbidden => "emergency_forbidden",
            Refusal::DestinationForbidden => "destination_forbidden",
            Refusal::Limit(limit, _) => limit.name(),
            Refusal::TooLarge => "too_large",
        }
    }

    /// True where the answer carries Retry-After: only when this proxy as a whole cannot serve.
    pub const fn has_retry_after(self) -> bool {
        matches!(self, Refusal::NoTable | Refusal::Full | Refusal::Draining)
    }
}
