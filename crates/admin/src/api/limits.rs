//! Limits on calls, with what is used of them: `GET /limits`.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Extension, Json};
use directory::Directory;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Api;
use super::dids::OrganisationName;
use super::request::Query;
use super::routes::Routes;
use crate::access::{Caller, Role};
use crate::limits::LIMITS_LISTED_MAX;
use crate::problem::{Kind, Problem};

/// Limits that are configured or stand in rows.
#[derive(Clone, PartialEq, Eq, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub struct LimitList {
    /// By kind; within a kind those that are used most come first. DIDs and organisations only while they have calls.
    pub limits: Vec<LimitInUse>,
    /// DIDs and organisations with calls that found no room in the list.
    pub left_out: u64,
}

/// One limit.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct LimitInUse {
    /// What is limited.
    pub kind: LimitKind,
    /// Whose: a trunk, an environment, a gateway's address, a number, an organisation's id; absent for the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The organisation, where it is one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organisation: Option<OrganisationName>,
    /// How much is used now; absent of a rate or of what is counted by the day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
    /// How much may be; absent where it is counted without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<u64>,
}

/// What is limited.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// Calls of a trunk at one time.
    TrunkChannels,
    /// Calls of a trunk at one time that are not prod's.
    NotProdChannels,
    /// Calls of a gateway at one time.
    GatewayChannels,
    /// Calls of an environment at one time.
    EnvironmentChannels,
    /// Calls of an organisation at one time.
    OrganisationCalls,
    /// Calls of a DID at one time.
    DidCalls,
    /// New calls of a trunk in a second.
    TrunkCallsPerSecond,
    /// New calls of an environment in a second.
    EnvironmentCallsPerSecond,
    /// New calls of any one DID in a second.
    DidCallsPerSecond,
    /// New calls of any one organisation in a second.
    OrganisationCallsPerSecond,
    /// Outbound calls of an environment in 24 hours.
    EnvironmentDailyCalls,
    /// Requests out of a dialog of any one address in a second.
    RequestsPerSecond,
    /// Open transactions.
    Transactions,
    /// Bytes that open transactions hold.
    TransactionBytes,
}

/// Which limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsQuestion {
    /// Those of this kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<LimitKind>,
}

/// Reads every limit: of the process and its parties all, of DIDs and organisations those that have calls.
pub type Read = dyn Fn(&Directory) -> Vec<LimitInUse> + Send + Sync;

pub(super) fn router() -> Routes {
    Routes::new().route("/limits", get(list))
}

async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Query(question): Query<LimitsQuestion>,
) -> Result<Json<LimitList>, Problem> {
    caller.may(Role::Viewer)?;
    let directory = api.directory();
    // A look at each row of a large table takes its time, and the runtime has other things to do.
    let read = tokio::task::spawn_blocking(move || bounded((api.limits)(&directory), question.kind));
    read.await.map(Json).map_err(|error| Problem::new(Kind::Internal, error.to_string()))
}

fn bounded(mut limits: Vec<LimitInUse>, kind: Option<LimitKind>) -> LimitList {
    limits.retain(|limit| kind.is_none_or(|kind| kind == limit.kind));
    // What is used of a thousand: without a limit nothing.
    let share = |limit: &LimitInUse| match (limit.used, limit.allowed) {
        (Some(used), Some(allowed)) => used.saturating_mul(1_000) / allowed.max(1),
        _ => 0,
    };
    limits.sort_by(|a, b| a.kind.cmp(&b.kind).then(share(b).cmp(&share(a))).then(a.subject.cmp(&b.subject)));
    let (mut left_out, mut listed) = (0, 0);
    limits.retain(|limit| {
        if !matches!(limit.kind, LimitKind::DidCalls | LimitKind::OrganisationCalls) {
            return true;
        }
        listed += 1;
        let has_room = listed <= LIMITS_LISTED_MAX;
        left_out += u64::from(!has_room);
        has_room
    });
    LimitList { limits, left_out }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(kind: LimitKind, subject: &str, used: u64, allowed: u64) -> LimitInUse {
        let subject = Some(subject.to_owned());
        LimitInUse { kind, subject, organisation: None, used: Some(used), allowed: Some(allowed) }
    }

    #[test]
    fn the_fullest_come_first_and_rows_have_their_bound() {
        let mut limits =
            vec![limit(LimitKind::TrunkChannels, "tata", 1, 30), limit(LimitKind::TrunkChannels, "b", 9, 10)];
        limits.extend((0..300).map(|number| limit(LimitKind::DidCalls, &format!("{number:03}"), 1 + number % 2, 2)));
        let list = bounded(limits.clone(), None);
        let subjects: Vec<&str> = list.limits.iter().filter_map(|limit| limit.subject.as_deref()).collect();
        assert_eq!(subjects[..4], ["b", "tata", "001", "003"]);
        assert_eq!((list.limits.len(), list.left_out), (LIMITS_LISTED_MAX + 2, 100));
        let of_trunks = bounded(limits, Some(LimitKind::TrunkChannels));
        assert_eq!((of_trunks.limits.len(), of_trunks.left_out), (2, 0));
    }
}
