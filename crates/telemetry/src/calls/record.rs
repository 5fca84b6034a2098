//! One call attempt, as it is written down. docs/reference/call-records.md describes every field, and a test compares.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A word out of a list that the program holds.
pub type Word = Cow<'static, str>;

/// One call attempt: answered, failed or refused. Field names are stable; a field without a value is left out.
#[derive(Clone, PartialEq, Eq, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(default)]
pub struct CallRecord {
    /// Names this record: the same when a sink gets it twice.
    pub id: String,
    /// The Call-ID, as it arrived.
    pub call_id: String,
    /// When the INVITE arrived. Times are milliseconds since 1970.
    pub began_at_ms: u64,
    /// When it first rang.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ringing_at_ms: Option<u64>,
    /// When it was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_at_ms: Option<u64>,
    /// When it was over; not there while it is in progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at_ms: Option<u64>,
    /// From the INVITE to its final response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setup_ms: Option<u64>,
    /// From the answer to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub talked_ms: Option<u64>,
    /// `inbound` or `outbound`; empty where it was refused before anybody asked.
    pub direction: Word,
    /// The party that sent it.
    pub from: String,
    /// The address that it came from.
    pub source: String,
    /// The party that took it, or was tried last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The peer that it went to last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The environment that dispatch chose: by the row, or what lies over it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment_chosen: Option<Word>,
    /// The environment that the call came from or went to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// The trunk that the call came from or went to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trunk: Option<String>,
    /// The id of the organisation whose call it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organisation: Option<String>,
    /// The called user part, as received.
    pub called_received: String,
    /// The called number in E.164 with `+`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub called: Option<String>,
    /// The called user part, as it was sent on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub called_sent: Option<String>,
    /// The user part of From, as received.
    pub caller_received: String,
    /// The same in E.164 with `+`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// The user part of From, as it was sent on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller_sent: Option<String>,
    /// Which rule chose the caller ID of an outbound call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller_rule: Option<Word>,
    /// The call claimed a number of another organisation.
    #[serde(skip_serializing_if = "is_false")]
    pub caller_foreign: bool,
    /// The rule that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Word>,
    /// Every rule tried, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Word>,
    /// What lay over the row: `panic`, `tester` or `lease`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlay: Option<Word>,
    /// The version of the directory that was asked.
    pub generation: u64,
    /// Where it was tried, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<AttemptRecord>,
    /// How often the next peer was tried.
    pub failovers: u32,
    /// `answered`, `refused`, `busy`, `cancelled`, `not_found`, `unavailable`, `failed`; `in_progress` until then.
    pub outcome: Word,
    /// The final status that the caller got.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why we refused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Word>,
    /// Who or what ended it: `caller`, `callee`, `expired`, `aged`; `proxy` where we refused it, `cancel` where the
    /// caller gave up, `final` where the callee did not take it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<Word>,
    /// Media addresses in its SDP outside the networks of who sent them: calls with one-way audio begin so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stray_media: Vec<StrayMedia>,
    /// Messages that arrived and left.
    pub messages: u32,
    /// Bytes that arrived.
    pub bytes_in: u64,
    /// Bytes that left.
    pub bytes_out: u64,
    /// It began before this process did, which was told of it by the one before.
    #[serde(skip_serializing_if = "is_false")]
    pub restarted: bool,
}

/// One media address outside its sender's networks.
#[derive(Clone, PartialEq, Eq, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(default)]
pub struct StrayMedia {
    /// The party whose SDP named it.
    pub from: String,
    /// The address.
    pub address: String,
}

/// One peer that was tried.
#[derive(Clone, PartialEq, Eq, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(default)]
pub struct AttemptRecord {
    /// Its party.
    pub to: String,
    /// Its address.
    pub target: String,
    /// When.
    pub at_ms: u64,
    /// Why the next one was tried: `timeout`, `unreachable`, `unavailable`, `status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Word>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// How the setup of a call ended, by the status that the caller got (RFC 3261 21).
pub(crate) fn outcome(status: u16) -> &'static str {
    match status {
        ..300 => "answered",
        486 | 600 | 603 => "busy",
        487 => "cancelled",
        404 | 410 | 484 | 604 => "not_found",
        408 | 480 | 503 | 504 => "unavailable",
        _ => "failed",
    }
}
