//! Bearer tokens: `GET /tokens`, `POST /tokens`, `DELETE /tokens/{id}`. For admins alone.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{delete, get};
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sync::changes::By;

use super::Api;
use super::request::{Body, Path, Query, Reason};
use super::routes::Routes;
use super::times::now_ms;
use crate::access::{Caller, Role};
use crate::auth::{NewToken, Token, TokensFault};
use crate::problem::{Kind, Problem};

/// Every token, in the order in which they were made.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct TokenList {
    /// Them.
    pub tokens: Vec<TokenEntry>,
}

/// What may be told of a token: never the token.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct TokenEntry {
    /// Its id, by which it is revoked.
    pub id: String,
    /// Whose it is.
    pub who: String,
    /// What it lets them do.
    pub role: Role,
    /// When it was made, in milliseconds since 1970.
    pub made_at_ms: u64,
    /// When it ends, in milliseconds since 1970; absent for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at_ms: Option<u64>,
    /// Whether it has ended.
    pub has_ended: bool,
}

/// A token to be made.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenWanted {
    /// Whose it is: the name that is recorded with every change.
    pub who: String,
    /// What it lets them do.
    pub role: Role,
    /// Seconds until it ends; absent for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_s: Option<u64>,
    /// Why.
    pub reason: String,
}

/// A token that was made.
#[derive(Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct TokenMade {
    /// What may be told of it.
    #[serde(flatten)]
    pub entry: TokenEntry,
    /// The token. It is shown this once.
    pub token: String,
}

impl From<&Token> for TokenEntry {
    fn from(token: &Token) -> TokenEntry {
        let Token { id, who, role, made_s, ends_s, .. } = token;
        TokenEntry {
            id: id.clone(),
            who: who.clone(),
            role: *role,
            made_at_ms: made_s.saturating_mul(1_000),
            ends_at_ms: ends_s.map(|ends_s| ends_s.saturating_mul(1_000)),
            has_ended: !token.is_good(now_s()),
        }
    }
}

impl From<TokensFault> for Problem {
    fn from(fault: TokensFault) -> Problem {
        let kind = match fault {
            TokensFault::Name(_) | TokensFault::Full(_) => Kind::Invalid,
            TokensFault::Unknown { .. } => Kind::NotFound,
            TokensFault::Busy(_) => Kind::Changed,
            TokensFault::Io { .. } | TokensFault::Line { .. } => Kind::Internal,
        };
        Problem::new(kind, fault.to_string())
    }
}

pub(super) fn router() -> Routes {
    Routes::new().route("/tokens", get(list).post(add)).route("/tokens/{id}", delete(revoke))
}

async fn list(State(api): State<Arc<Api>>, Extension(caller): Extension<Caller>) -> Result<Json<TokenList>, Problem> {
    caller.may(Role::Admin)?;
    let tokens = api.tokens.list()?;
    Ok(Json(TokenList { tokens: tokens.iter().map(TokenEntry::from).collect() }))
}

async fn add(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Body(wanted): Body<TokenWanted>,
) -> Result<(StatusCode, Json<TokenMade>), Problem> {
    let TokenWanted { who, role, for_s, reason } = wanted;
    let by = api.by(&caller, Role::Admin, reason)?;
    let now_s = now_s();
    let new = NewToken { who, role, ends_s: for_s.map(|for_s| now_s.saturating_add(for_s)) };
    let (made, token) = api.tokens.add(new, now_s)?;
    record(&api, "add_token", &made, &by).await;
    Ok((StatusCode::CREATED, Json(TokenMade { entry: TokenEntry::from(&made), token })))
}

async fn revoke(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Query(Reason { reason }): Query<Reason>,
) -> Result<Json<TokenEntry>, Problem> {
    let by = api.by(&caller, Role::Admin, reason)?;
    let revoked = api.tokens.revoke(&id)?;
    record(&api, "revoke_token", &revoked, &by).await;
    Ok(Json(TokenEntry::from(&revoked)))
}

/// A token that has leaked must not wait for the database: without one the log has the record.
async fn record(api: &Api, action: &'static str, token: &Token, by: &By) {
    let By { who, reason, .. } = by;
    let Token { id, who: whose, role, .. } = token;
    tracing::warn!(%who, %reason, %id, %whose, %role, "tokens: {action}");
    let after = format!("{whose}, {} {role}", role.article());
    if let Err(fault) = api.writes.record(action, &format!("token {id}"), &after, by).await {
        tracing::error!(%fault, %who, %reason, "tokens: {action} could not be written to the audit");
    }
}

fn now_s() -> u64 {
    now_ms() / 1_000
}
