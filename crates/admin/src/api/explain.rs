//! Where a call would go now, in the running process: `GET /explain`. The answer is `switchyard explain -o json`'s.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Api;
use super::request::Query;
use super::routes::Routes;
use crate::access::{Caller, Role};
use crate::problem::{Kind, Problem};

/// What is asked; the words of `switchyard explain`.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Who sends the request: `IP` or `IP:PORT`.
    pub from: String,
    /// The called number in any spelling, or a whole request-URI.
    pub called: String,
    /// Who calls, as From has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// The request's method; INVITE unless it says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// What carries it: `udp`, unless it says `tcp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    /// The interface that it arrives on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

pub(super) fn router() -> Routes {
    Routes::new().route("/explain", get(explain))
}

async fn explain(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Query(question): Query<Question>,
) -> Result<Json<serde_json::Value>, Problem> {
    caller.may(Role::Viewer)?;
    let directory = api.directory();
    (api.explain)(&directory, &question).map(Json).map_err(|fault| Problem::new(Kind::Invalid, fault))
}
