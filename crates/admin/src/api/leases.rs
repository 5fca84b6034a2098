//! Leases: `GET /leases`, `DELETE /leases/{id}`. One is made by `PUT /dids/{number}/environment` with an end.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{delete, get};
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sync::changes::{LeaseNote, Made};

use super::request::{Path, Query, Reason};
use super::routes::Routes;
use super::{Api, Live};
use crate::access::{Caller, Role};
use crate::problem::Problem;

/// Every lease in effect, by number.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Leases {
    /// Them.
    pub leases: Vec<LeaseInEffect>,
}

/// A lease in effect.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct LeaseInEffect {
    /// The DID, in E.164 with `+`.
    pub number: String,
    /// Where its calls land.
    pub environment: String,
    /// When it ends, in milliseconds since 1970.
    pub ends_at_ms: u64,
    /// Who made it.
    #[serde(flatten)]
    pub made: MadeBy,
}

/// Who made something, when and why.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct MadeBy {
    /// Its id. It never says anything else, so that it is its own version.
    pub id: String,
    /// Who.
    pub made_by: String,
    /// When, in milliseconds since 1970.
    pub made_at_ms: u64,
    /// Why.
    pub reason: String,
}

impl From<Made> for MadeBy {
    fn from(made: Made) -> MadeBy {
        let Made { id, by, at_ms, reason } = made;
        MadeBy { id, made_by: by, made_at_ms: at_ms, reason }
    }
}

pub(super) fn router() -> Routes {
    Routes::new().route("/leases", get(list)).route("/leases/{id}", delete(end))
}

async fn list(State(api): State<Arc<Api>>, Extension(caller): Extension<Caller>) -> Result<Json<Leases>, Problem> {
    caller.may(Role::Viewer)?;
    let leases = api.writes.leases().await?.into_iter().map(|lease| {
        let LeaseNote { made, number, environment, ends_at_ms } = lease;
        let (number, environment) = (format!("+{number}"), environment.to_string());
        LeaseInEffect { number, environment, ends_at_ms, made: made.into() }
    });
    Ok(Json(Leases { leases: leases.collect() }))
}

async fn end(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Query(Reason { reason }): Query<Reason>,
) -> Result<Json<Live>, Problem> {
    let by = api.by(&caller, Role::Operator, reason)?;
    Ok(Json(Live::of(api.writes.end_lease(&id, &by).await?)))
}
