//! What is in effect, and who made it so.

use directory::{Environment, Subject};
use sip::Number;

/// Who made something, when and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its id.
    pub id: String,
    /// Who.
    pub by: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Why.
    pub reason: String,
}

/// A lease in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseNote {
    /// Who made it.
    pub made: Made,
    /// The DID.
    pub number: Number,
    /// Where its calls land.
    pub environment: Environment,
    /// When it ends, in milliseconds since 1970.
    pub ends_at_ms: u64,
}

/// A tester override in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TesterNote {
    /// Who made it.
    pub made: Made,
    /// The number that calls.
    pub caller: Number,
    /// The DIDs that it is about.
    pub subject: Subject,
    /// Where the calls land.
    pub environment: Environment,
    /// When it ends, in milliseconds since 1970.
    pub ends_at_ms: u64,
}

/// The panic in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PanicNote {
    /// Who made it.
    pub made: Made,
    /// When it ends by itself, in milliseconds since 1970.
    pub ends_at_ms: Option<u64>,
}

/// One change, as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditNote {
    /// Who made it.
    pub made: Made,
    /// What was done.
    pub action: String,
    /// To what.
    pub subject: String,
    /// What was before.
    pub before: Option<String>,
    /// What was after.
    pub after: Option<String>,
    /// What who made it was here: a role.
    pub role: Option<String>,
    /// From where they asked, and by what they were known.
    pub origin: Option<String>,
}

/// A place in the audit: that of one change, by which those before it are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditPlace {
    /// When it was made, in milliseconds since 1970.
    pub at_ms: u64,
    /// Its id.
    pub id: String,
}
