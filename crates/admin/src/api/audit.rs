//! Who changed what: `GET /audit`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{HeaderValue, LINK};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sync::changes::AuditPlace;

use super::leases::MadeBy;
use super::request::Query;
use super::routes::Routes;
use super::times;
use super::{Api, PAGE, PAGE_MAX, csv};
use crate::access::{Caller, Role};
use crate::problem::{Kind, Problem};

/// A page of the changes, newest first.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Audit {
    /// Them.
    pub changes: Vec<AuditEntry>,
    /// What `before` is on the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One change.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct AuditEntry {
    /// What was done: `set_environment`, `lease`, `end_lease`, `set_tester`, `end_tester`, `panic`, `release_panic`,
    /// `accept`, `reject`, `set_peer`, `drain`, `add_token`, `revoke_token`.
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
#[derive(Clone, PartialEq, Eq, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditQuestion {
    /// Those before this place: what `next` of the page before says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// How many, at most [`PAGE_MAX`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// How they are answered; JSON unless it says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
}

/// How a list is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// JSON.
    Json,
    /// A table for spreadsheets (RFC 4180).
    Csv,
}

/// The columns of the table.
pub const COLUMNS: [&str; 10] = ["id", "at", "who", "role", "origin", "action", "subject", "before", "after", "reason"];

pub(super) fn router() -> Routes {
    Routes::new().route("/audit", get(answer))
}

async fn answer(
    state: State<Arc<Api>>,
    caller: Extension<Caller>,
    Query(question): Query<AuditQuestion>,
) -> Result<Response, Problem> {
    let (format, limit) = (question.format, question.limit);
    let audit = list(state, caller, Query(question)).await?;
    Ok(if format == Some(Format::Csv) { table(&audit.0, limit) } else { audit.into_response() })
}

pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Query(question): Query<AuditQuestion>,
) -> Result<Json<Audit>, Problem> {
    caller.may(Role::Viewer)?;
    let place = question.before.as_deref().map(place).transpose()?;
    let limit = question.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let mut notes = api.writes.audit_before(place.as_ref(), limit + 1).await?;
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = notes.len() > wanted;
    notes.truncate(wanted);
    let last = notes.last().filter(|_| has_more);
    let next = last.map(|note| format!("{}~{}", note.made.at_ms, note.made.id));
    let changes = notes.into_iter().map(|note| AuditEntry {
        action: note.action,
        subject: note.subject,
        before: note.before,
        after: note.after,
        role: note.role,
        origin: note.origin,
        made: note.made.into(),
    });
    Ok(Json(Audit { changes: changes.collect(), next }))
}

/// Reads what `next` says.
fn place(text: &str) -> Result<AuditPlace, Problem> {
    let is_id = |id: &str| (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    let parts = text.split_once('~').filter(|(_, id)| is_id(id));
    // A signed column holds it.
    let read = parts.and_then(|(at_ms, id)| Some((i64::try_from(at_ms.parse::<u64>().ok()?).ok()?, id)));
    let (at_ms, id) = read
        .ok_or_else(|| Problem::new(Kind::Invalid, format!("before: found {text:?}, expected the next of a page")))?;
    Ok(AuditPlace { at_ms: at_ms.unsigned_abs(), id: id.to_owned() })
}

/// A change's row, in the order of [`COLUMNS`].
pub fn cells(change: &AuditEntry) -> [String; 10] {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_default();
    let MadeBy { id, made_by, made_at_ms, reason } = change.made.clone();
    let (role, origin) = (or_none(&change.role), or_none(&change.origin));
    let (before, after) = (or_none(&change.before), or_none(&change.after));
    let (action, subject) = (change.action.clone(), change.subject.clone());
    [id, times::shown(made_at_ms), made_by, role, origin, action, subject, before, after, reason]
}

/// A page as a table; where there is another, `Link` leads to it (RFC 8288).
fn table(audit: &Audit, limit: Option<u32>) -> Response {
    let mut text = csv::line(COLUMNS.into_iter());
    for change in &audit.changes {
        text.push_str(&csv::line(cells(change).iter().map(String::as_str)));
    }
    let mut response = csv::file("audit.csv", Body::from(text));
    let limit = limit.map(|limit| format!("&limit={limit}")).unwrap_or_default();
    let link = audit.next.as_ref().map(|next| format!("</api/v1/audit?format=csv&before={next}{limit}>; rel=\"next\""));
    if let Some(Ok(link)) = link.map(HeaderValue::try_from) {
        response.headers_mut().insert(LINK, link);
    }
    response
}
