//! Who asks, and browser sessions: `GET /session`, `POST /session`, `DELETE /session`. Over the listener alone.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, State};
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::request::Body;
use crate::access::{Caller, Numbers, Role};
use crate::auth::{Auth, Shown};
use crate::problem::Problem;

/// Where they are.
pub(crate) const PATH: &str = "/api/v1/session";

/// Who asks.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Session {
    /// The name that is recorded with every change.
    pub who: String,
    /// What they may.
    pub role: Role,
    /// From where they ask, and by what they are known.
    pub origin: String,
    /// Whether numbers are shown in part.
    pub sees_part: bool,
    /// What a write must say in `X-Csrf-Token`; absent where it need not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csrf: Option<String>,
}

/// A login.
#[derive(Clone, JsonSchema, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The token.
    pub token: String,
}

impl From<Caller> for Session {
    fn from(caller: Caller) -> Session {
        let Caller { who, role, origin, numbers, csrf } = caller;
        Session { who, role, origin, sees_part: numbers == Numbers::Part, csrf }
    }
}

/// The routes; `POST` is for whoever is not known yet.
pub(crate) fn router(auth: Arc<Auth>) -> Router {
    Router::new().route(PATH, get(show).post(log_in).delete(log_out)).with_state(auth)
}

async fn show(caller: Caller) -> Json<Session> {
    Json(caller.into())
}

async fn log_in(
    State(auth): State<Arc<Auth>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    method: Method,
    headers: HeaderMap,
    Body(Login { token }): Body<Login>,
) -> Result<impl IntoResponse, Problem> {
    let shown = Shown { method: &method, headers: &headers, remote: remote.ip() };
    let (caller, cookie) = auth.log_in(&token, shown)?;
    Ok((StatusCode::CREATED, [(SET_COOKIE, cookie)], Json(Session::from(caller))))
}

async fn log_out(State(auth): State<Arc<Auth>>, _known: Caller, headers: HeaderMap) -> impl IntoResponse {
    (StatusCode::NO_CONTENT, [(SET_COOKIE, auth.log_out(&headers))])
}
