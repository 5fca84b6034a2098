//! The log: `GET /log`, `PUT /log`, `POST /log/watches`, `DELETE /log/watches`.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Api;
use super::request::Body;
use super::routes::Routes;
use crate::access::{Caller, Role};
use crate::problem::{Kind, Problem};

/// The longest watch, in seconds: a day.
pub const WATCH_SECS_MAX: u64 = 86_400;

/// How the log is written.
#[derive(Clone, PartialEq, Eq, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub struct LogState {
    /// The least that is told.
    pub level: String,
    /// Whether the last two digits of numbers are hidden.
    pub redact: bool,
    /// Lines that were lost since the start, because nobody read what was written before them.
    pub lost_lines: u64,
    /// Whose calls are told in detail.
    pub watches: Vec<WatchInEffect>,
}

/// Whose calls are told in detail, and for how long yet.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct WatchInEffect {
    /// The DID, in E.164 with `+`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// The organisation's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organisation: Option<String>,
    /// Seconds until its end.
    pub ends_in_s: u64,
}

/// What is to be written otherwise. What is absent stays.
#[derive(Clone, PartialEq, Eq, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogChange {
    /// The least that is told: `error`, `warn`, `info`, `debug` or `trace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// Whether the last two digits of numbers are hidden.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redact: Option<bool>,
}

/// Whose calls are to be told in detail: a DID's or an organisation's.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewWatch {
    /// The DID, in any spelling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// The organisation's id or name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organisation: Option<String>,
    /// For how long, in seconds.
    pub for_s: u64,
}

pub(super) fn router() -> Routes {
    Routes::new().route("/log", get(show).put(change)).route("/log/watches", post(watch).delete(end))
}

async fn show(State(api): State<Arc<Api>>, Extension(caller): Extension<Caller>) -> Result<Json<LogState>, Problem> {
    caller.may(Role::Viewer)?;
    Ok(Json(api.instruments.log()))
}

async fn change(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Body(change): Body<LogChange>,
) -> Result<Json<LogState>, Problem> {
    caller.may(Role::Operator)?;
    api.instruments.change_log(&change).map_err(invalid)?;
    tracing::info!(by = caller.who, level = ?change.level, redact = ?change.redact, "the log is changed");
    Ok(Json(api.instruments.log()))
}

async fn watch(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Body(new): Body<NewWatch>,
) -> Result<Json<LogState>, Problem> {
    caller.may(Role::Operator)?;
    let for_s = new.for_s;
    if !(1..=WATCH_SECS_MAX).contains(&for_s) {
        return Err(invalid(format!("found for_s {for_s}, expected 1 to {WATCH_SECS_MAX}")));
    }
    let directory = api.directory();
    let (number, organisation) = match (&new.number, &new.organisation) {
        (Some(spelled), None) => (Some(api.number(&directory, spelled)?.to_string()), None),
        (None, Some(wanted)) => {
            let mut all = directory.organisations();
            let known = all.find(|known| known.uuid == wanted || known.name == wanted);
            let known = known.ok_or_else(|| {
                Problem::new(Kind::NotFound, format!("found no organisation {wanted:?}, expected its id or name"))
            })?;
            (None, Some(known.uuid.to_owned()))
        }
        _ => return Err(invalid("expected a number or an organisation, and not both".to_owned())),
    };
    api.instruments.watch(&NewWatch { number, organisation, for_s }).map_err(invalid)?;
    tracing::info!(by = caller.who, for_s, "calls are watched");
    Ok(Json(api.instruments.log()))
}

async fn end(State(api): State<Arc<Api>>, Extension(caller): Extension<Caller>) -> Result<Json<LogState>, Problem> {
    caller.may(Role::Operator)?;
    api.instruments.end_watches();
    tracing::info!(by = caller.who, "no calls are watched any more");
    Ok(Json(api.instruments.log()))
}

fn invalid(detail: String) -> Problem {
    Problem::new(Kind::Invalid, detail)
}
