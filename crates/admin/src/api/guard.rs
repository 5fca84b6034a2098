//! What the guard holds back: `GET /guard`, `POST /guard/accept`, `POST /guard/reject`.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sync::Held;
use sync::changes::By;

use super::generations::Diff;
use super::request::{Body, check_version};
use super::routes::Routes;
use super::written::rounded_ms;
use super::{Api, Live};
use crate::access::{Caller, Role};
use crate::problem::{Kind, Problem};

/// What the guard holds back.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct GuardState {
    /// The generation that calls are decided by meanwhile.
    pub generation: u64,
    /// What is held back; absent when nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<HeldBack>,
}

/// A directory that is held back.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct HeldBack {
    /// What accept and reject name in `If-Match`: it changes with the data.
    pub version: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// Every limit that is exceeded.
    pub reasons: Vec<String>,
    /// Whether it was rejected: then it stays out until the data change again.
    pub is_rejected: bool,
    /// What lies between what is published and what is held back.
    pub diff: Diff,
}

/// Why it is accepted or rejected.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judgement {
    /// Why.
    pub reason: String,
}

pub(super) fn router() -> Routes {
    Routes::new().route("/guard", get(show)).route("/guard/accept", post(accept)).route("/guard/reject", post(reject))
}

async fn show(State(api): State<Arc<Api>>, Extension(caller): Extension<Caller>) -> Result<Response, Problem> {
    caller.may(Role::Viewer)?;
    let held = api.watcher.held().map(|held| HeldBack {
        version: held.version.to_string(),
        since_ms: held.since_ms,
        reasons: held.reasons.iter().map(ToString::to_string).collect(),
        is_rejected: held.is_rejected,
        diff: (&held.difference).into(),
    });
    let tag = held.as_ref().map(|held| [(header::ETAG, format!("\"{}\"", held.version))]);
    let state = Json(GuardState { generation: api.directory().generation().0, held });
    Ok(tag.map_or_else(|| state.clone().into_response(), |tag| (tag, state.clone()).into_response()))
}

async fn accept(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Body(Judgement { reason }): Body<Judgement>,
) -> Result<Json<Live>, Problem> {
    let begun = Instant::now();
    let by = api.by(&caller, Role::Admin, reason)?;
    let held = held(&api, &headers)?;
    let generation = api.watcher.accept_version(&by.reason, held.version).await?;
    record(&api, "accept", &held, &format!("generation {generation}", generation = generation.0), &by).await;
    let (id, took_ms) = (held.version.to_string(), rounded_ms(begun.elapsed()));
    Ok(Json(Live::at(id, generation.0, took_ms)))
}

async fn reject(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Body(Judgement { reason }): Body<Judgement>,
) -> Result<Json<Live>, Problem> {
    let begun = Instant::now();
    let by = api.by(&caller, Role::Admin, reason)?;
    let held = held(&api, &headers)?;
    let generation = api.watcher.reject_version(held.version).await?;
    record(&api, "reject", &held, &format!("generation {} stays", generation.0), &by).await;
    let (id, took_ms) = (held.version.to_string(), rounded_ms(begun.elapsed()));
    Ok(Json(Live::at(id, generation.0, took_ms)))
}

/// What is held back, if it is what was looked at.
fn held(api: &Api, headers: &HeaderMap) -> Result<Held, Problem> {
    let none = || Problem::new(Kind::NotFound, "found nothing held back, expected a directory to judge");
    let held = api.watcher.held().ok_or_else(none)?;
    check_version(headers, &held.version.to_string())?;
    Ok(held)
}

/// A table that has to be let in must not wait for the record of it: without one the log has it.
async fn record(api: &Api, action: &'static str, held: &Held, after: &str, by: &By) {
    let By { who, reason, .. } = by;
    tracing::warn!(%who, %reason, difference = %held.difference, "guard: {action}");
    if let Err(fault) = api.writes.record(action, "directory", &format!("{after}: {}", held.difference), by).await {
        tracing::error!(%fault, %who, %reason, "guard: {action} could not be written to the audit");
    }
}
