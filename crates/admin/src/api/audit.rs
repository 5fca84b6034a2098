//! Who changed what: `GET /audit`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};

use super::leases::MadeBy;
use super::request::Query;
use super::times;
use super::{Api, PAGE, PAGE_MAX};
use crate::access::{Caller, Role};
use crate::problem::Problem;

/// The last changes, newest first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Audit {
    /// Them.
    pub changes: Vec<AuditEntry>,
}

/// One change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AuditEntry {
    /// What was done: `set_environment`, `lease`, `end_lease`, `set_tester`, `end_tester`, `panic`, `release_panic`,
    /// `accept`, `reject`.
    pub action: String,
    /// To what.
    pub subject: String,
    /// What was before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What was after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// What who did it was here: `viewer`, `operator` or `admin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// From where they asked, and by what they were known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Who did it.
    #[serde(flatten)]
    pub made: MadeBy,
}

/// Which changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditQuestion {
    /// How many, at most [`PAGE_MAX`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// How they are answered; JSON unless it says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
}

/// How a list is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// JSON.
    Json,
    /// A table for spreadsheets (RFC 4180).
    Csv,
}

/// The columns of the table.
const COLUMNS: [&str; 10] = ["id", "at", "who", "role", "origin", "action", "subject", "before", "after", "reason"];

pub(super) fn router() -> Router<Arc<Api>> {
    Router::new().route("/audit", get(answer))
}

async fn answer(
    state: State<Arc<Api>>,
    caller: Extension<Caller>,
    Query(question): Query<AuditQuestion>,
) -> Result<Response, Problem> {
    let audit = list(state, caller, Query(question)).await?;
    Ok(if question.format == Some(Format::Csv) { csv(&audit.0) } else { audit.into_response() })
}

pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Query(question): Query<AuditQuestion>,
) -> Result<Json<Audit>, Problem> {
    caller.may(Role::Viewer)?;
    let notes = api.writes.audit(question.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX)).await?;
    let changes = notes.into_iter().map(|note| AuditEntry {
        action: note.action,
        subject: note.subject,
        before: note.before,
        after: note.after,
        role: note.role,
        origin: note.origin,
        made: note.made.into(),
    });
    Ok(Json(Audit { changes: changes.collect() }))
}

fn csv(audit: &Audit) -> Response {
    let rows = audit.changes.iter().map(|change| {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_default();
        let MadeBy { id, made_by, made_at_ms, reason } = change.made.clone();
        let (role, origin) = (or_none(&change.role), or_none(&change.origin));
        let (before, after) = (or_none(&change.before), or_none(&change.after));
        let (action, subject) = (change.action.clone(), change.subject.clone());
        [id, times::shown(made_at_ms), made_by, role, origin, action, subject, before, after, reason]
    });
    super::csv::answer("audit.csv", &COLUMNS, rows)
}
