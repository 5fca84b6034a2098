//! Calls in progress and the last ones: `GET /calls`, one with its messages: `GET /calls/{id}`, its ladder as a picture
//! and its capture file beside it, and `GET /calls/follow`, which sends each call that is over as an event.
//!
//! `{id}` is the Call-ID, of which the newest call is meant, or the call's number in the journal.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::get;
use axum::{Extension, Json};
use futures_util::stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telemetry::calls::{CallDetail, CallFilter, CallNumber, CallRecord, Follower, KeptCall, pcap};

use super::request::{Path, Query};
use super::routes::Routes;
use super::{Api, PAGE, PAGE_MAX};
use crate::access::{Caller, Role};
use crate::problem::{Kind, Problem};

/// How often a follower looks for calls that are over.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Calls, newest first.
#[derive(Clone, PartialEq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct CallList {
    /// Them.
    pub calls: Vec<CallEntry>,
    /// `before` of the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// One call without its messages.
#[derive(Clone, PartialEq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct CallEntry {
    /// Its number in the journal.
    pub number: u64,
    /// What is written down of it.
    #[serde(flatten)]
    pub record: CallRecord,
}

/// Which calls.
#[derive(Clone, PartialEq, Eq, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallsQuestion {
    /// Those that let this pass: `did=918065978000,outcome=failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Those in progress, or those that are over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_progress: Option<bool>,
    /// Those that began at this time or before it, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
    /// Those with a smaller number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// How many, at most [`PAGE_MAX`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Which calls are sent on.
#[derive(Clone, PartialEq, Eq, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FollowQuestion {
    /// Those that let this pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
}

/// Calls that were over since somebody asked before.
#[derive(Clone, PartialEq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct EndedCalls {
    /// Them, in the order in which they were over.
    pub calls: Vec<CallEntry>,
    /// `after` of the next question.
    pub after: u64,
}

/// Since when.
#[derive(Clone, PartialEq, Eq, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EndedQuestion {
    /// Those that let this pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// What the answer before said; none, and only the place to go on from is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

pub(super) fn router() -> Routes {
    Routes::new()
        .route("/calls", get(list))
        .route("/calls/ended", get(ended))
        .route("/calls/follow", get(follow))
        .route("/calls/{id}", get(show))
        .route("/calls/{id}/ladder.svg", get(ladder))
        .route("/calls/{id}/pcap", get(capture))
}

pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Query(question): Query<CallsQuestion>,
) -> Result<Json<CallList>, Problem> {
    caller.may(Role::Viewer)?;
    let filter = filter_of(question.filter.as_deref())?;
    // A look through a large journal takes its time, and the runtime has other things to do.
    let calls = api.calls.clone();
    let found = tokio::task::spawn_blocking(move || {
        let limit = usize::try_from(question.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX)).unwrap_or(1);
        calls.journal(|journal| {
            let asked = journal.newest().filter(|(number, call)| is_asked(&question, &filter, *number, call));
            let entry = |(number, call): (CallNumber, KeptCall<'_>)| CallEntry {
                number: number.0,
                record: CallRecord::clone(call.record),
            };
            let mut found: Vec<CallEntry> = asked.take(limit + 1).map(entry).collect();
            let has_more = found.len() > limit;
            found.truncate(limit);
            let next = found.last().filter(|_| has_more).map(|last| last.number);
            CallList { calls: found, next }
        })
    });
    found.await.map(Json).map_err(|error| Problem::new(Kind::Internal, error.to_string()))
}

fn is_asked(question: &CallsQuestion, filter: &CallFilter, number: CallNumber, call: &KeptCall<'_>) -> bool {
    question.before.is_none_or(|before| number.0 < before)
        && question.in_progress.is_none_or(|asked| asked == call.record.ended_at_ms.is_none())
        && question.until_ms.is_none_or(|until_ms| call.record.began_at_ms <= until_ms)
        && filter.matches(call.record)
}

async fn ended(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Query(question): Query<EndedQuestion>,
) -> Result<Json<EndedCalls>, Problem> {
    caller.may(Role::Viewer)?;
    let filter = filter_of(question.filter.as_deref())?;
    let limit = usize::try_from(PAGE_MAX).unwrap_or(usize::MAX);
    Ok(Json(api.calls.journal(|journal| {
        let Some(mut after) = question.after else {
            return EndedCalls { calls: Vec::new(), after: journal.ended_count() };
        };
        let mut calls = Vec::new();
        for (count, number, call) in journal.ended_after(after) {
            if calls.len() == limit {
                break;
            }
            after = count;
            if filter.matches(call.record) {
                calls.push(CallEntry { number: number.0, record: CallRecord::clone(call.record) });
            }
        }
        EndedCalls { calls, after }
    })))
}

pub(crate) async fn show(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<CallDetail>, Problem> {
    caller.may(Role::Viewer)?;
    find(&api, &id, CallDetail::of).map(Json)
}

async fn ladder(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    caller.may(Role::Viewer)?;
    let mut ladder = find(&api, &id, CallDetail::of)?.ladder();
    // A picture is no JSON, whose texts are shown in part on the way out.
    ladder.lanes.iter_mut().for_each(|lane| *lane = caller.numbers.shown(lane));
    ladder.steps.iter_mut().for_each(|step| step.text = caller.numbers.shown(&step.text));
    let svg = ladder.svg();
    Ok(([(header::CONTENT_TYPE, "image/svg+xml")], svg))
}

async fn capture(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    // Whole messages hold more than their summaries: who called whom with which credentials, for one.
    caller.may(Role::Operator)?;
    let file = find(&api, &id, |_, call| pcap::of_call(call))?;
    Ok(([(header::CONTENT_TYPE, "application/vnd.tcpdump.pcap")], file))
}

/// The call of this Call-ID or number.
fn find<T>(api: &Api, id: &str, shown: impl FnOnce(CallNumber, KeptCall<'_>) -> T) -> Result<T, Problem> {
    api.calls.journal(|journal| {
        let by_call_id = journal.newest().find(|(_, call)| call.record.call_id == id);
        let numbered = || {
            let number = CallNumber(id.parse().ok()?);
            Some((number, journal.call(number)?))
        };
        let found = by_call_id.or_else(numbered).map(|(number, call)| shown(number, call));
        found.ok_or_else(|| {
            let detail =
                format!("found no call {id:?}, expected one of the last {} that the journal holds", journal.size().0);
            Problem::new(Kind::NotFound, detail)
        })
    })
}

fn filter_of(text: Option<&str>) -> Result<CallFilter, Problem> {
    let filter = text.unwrap_or_default().parse();
    filter.map_err(|fault| Problem::new(Kind::Invalid, format!("filter: {fault}")))
}

async fn follow(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Query(question): Query<FollowQuestion>,
) -> Result<impl IntoResponse, Problem> {
    caller.may(Role::Viewer)?;
    let filter = filter_of(question.filter.as_deref())?;
    let follower = api.calls.follow().ok_or_else(|| {
        let followers = telemetry::limits::FOLLOWERS;
        Problem::new(Kind::Invalid, format!("found {followers} followers already, expected fewer"))
    })?;
    let events = stream::unfold((follower, filter, VecDeque::new()), async |(mut follower, filter, mut waiting)| {
        let next = next_of(&mut follower, &filter, &mut waiting).await;
        Some((Ok::<Event, Infallible>(next), (follower, filter, waiting)))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

async fn next_of(follower: &mut Follower, filter: &CallFilter, waiting: &mut VecDeque<CallEntry>) -> Event {
    loop {
        if let Some(entry) = waiting.pop_front() {
            let event = Event::default().event("call").id(entry.number.to_string());
            let json = serde_json::to_string(&entry).unwrap_or_default();
            return event.data(json);
        }
        let found = follower.look(filter);
        waiting.extend(found.into_iter().map(|(number, record)| CallEntry { number: number.0, record }));
        if waiting.is_empty() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
