//! Panic: `GET /panic`, `PUT /panic`, `DELETE /panic`. Everything goes to prod until an end, or until it is released.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::leases::MadeBy;
use super::request::{Body, Query, Reason};
use super::routes::Routes;
use super::times::End;
use super::written::ENDED_OR_REPLACED;
use super::{Api, Live};
use crate::access::{Caller, Role};
use crate::problem::{Kind, Problem};

/// Whether everything goes to prod.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct PanicState {
    /// Whether calls are decided so at present.
    pub is_on: bool,
    /// The panic; absent when there is none, or when it could not be read who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub panic: Option<PanicInEffect>,
}

/// The panic in effect.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct PanicInEffect {
    /// When it ends by itself, in milliseconds since 1970; absent: when it is released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at_ms: Option<u64>,
    /// Who made it.
    #[serde(flatten)]
    pub made: MadeBy,
}

/// A panic to be declared.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPanic {
    /// When it ends by itself; neither field: when it is released.
    #[serde(flatten)]
    pub end: End,
    /// Why.
    pub reason: String,
}

pub(super) fn router() -> Routes {
    Routes::new().route("/panic", get(show).put(declare).delete(release))
}

pub(crate) async fn show(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<PanicState>, Problem> {
    caller.may(Role::Viewer)?;
    let is_on = api.directory().overlays().panic.is_some();
    let panic = match api.writes.present_panic().await {
        Ok(panic) => panic.map(|panic| PanicInEffect { ends_at_ms: panic.ends_at_ms, made: panic.made.into() }),
        // Calls are decided by the directory: whether it is on is known without the database.
        Err(_) if is_on => None,
        Err(fault) => return Err(fault.into()),
    };
    Ok(Json(PanicState { is_on, panic }))
}

async fn declare(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Body(new): Body<NewPanic>,
) -> Result<Json<Live>, Problem> {
    let by = api.by(&caller, Role::Admin, new.reason)?;
    let live = Live::of(api.writes.panic(new.end.at_ms()?, &by).await?);
    Ok(Json(live.if_in(api.directory().overlays().panic.is_some(), ENDED_OR_REPLACED)))
}

async fn release(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Query(Reason { reason }): Query<Reason>,
) -> Result<Json<Live>, Problem> {
    let by = api.by(&caller, Role::Admin, reason)?;
    let panic = api.writes.present_panic().await?;
    let panic = panic.ok_or_else(|| Problem::new(Kind::NotFound, "found no panic, expected one to release"))?;
    Ok(Json(Live::of(api.writes.release_panic(&panic.made.id, &by).await?)))
}
