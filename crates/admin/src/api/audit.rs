//! Who changed what: `GET /audit`.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};

use super::leases::MadeBy;
use super::request::Query;
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
}

pub(super) fn router() -> Router<Arc<Api>> {
    Router::new().route("/audit", get(list))
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
        made: note.made.into(),
    });
    Ok(Json(Audit { changes: changes.collect() }))
}
