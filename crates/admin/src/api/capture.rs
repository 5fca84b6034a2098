//! Captures: `GET /capture`, `PUT /capture`.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Api;
use super::request::{Body, Query, ReasonQuestion};
use super::routes::Routes;
use crate::access::{Caller, Role};
use crate::problem::{Kind, Problem};

/// What is captured, where it goes, and how that fares.
#[derive(Clone, PartialEq, Eq, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub struct CaptureState {
    /// What is captured.
    #[serde(flatten)]
    pub what: CaptureChange,
    /// The capture server, as the configuration writes it; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hep: Option<String>,
    /// Messages that were sent there since the start.
    pub sent: u64,
    /// Messages that were lost: no room, no way, or too large.
    pub lost: u64,
    /// Messages that wait.
    pub queued: u64,
}

/// What is to be captured.
#[derive(Clone, PartialEq, Eq, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub struct CaptureChange {
    /// Whether anything is.
    pub is_on: bool,
    /// Only messages that name this number; to be given in any spelling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// Only messages of this trunk or environment, or of one of their addresses (10.10.10.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
}

pub(super) fn router() -> Routes {
    Routes::new().route("/capture", get(show).put(change))
}

async fn show(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<CaptureState>, Problem> {
    caller.may(Role::Viewer)?;
    Ok(Json(api.instruments.capture()))
}

async fn change(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Query(ReasonQuestion { reason }): Query<ReasonQuestion>,
    Body(change): Body<CaptureChange>,
) -> Result<Json<CaptureState>, Problem> {
    let by = api.by_whoever(&caller, Role::Operator, reason)?;
    let directory = api.directory();
    let number = change.number.as_deref().map(|spelled| api.number(&directory, spelled)).transpose()?;
    let change = CaptureChange { number: number.map(|number| format!("+{number}")), ..change };
    api.instruments.change_capture(&change).map_err(|detail| Problem::new(Kind::Invalid, detail))?;
    tracing::info!(by = caller.who, is_on = change.is_on, peer = change.peer, "captures are switched");
    api.record("set_capture", "captures", &told(&change), &by).await;
    Ok(Json(api.instruments.capture()))
}

fn told(change: &CaptureChange) -> String {
    let CaptureChange { is_on, number, peer } = change;
    let only = [("number", number), ("peer", peer)];
    let only = only.iter().filter_map(|(word, value)| Some(format!(", only {word} {}", value.as_ref()?)));
    let is = if *is_on { "on" } else { "off" };
    format!("{is}{}", only.collect::<String>())
}
