//! Draining: `GET /drain`, `PUT /drain`, `DELETE /drain`. New calls are refused with 503 so that the gateway takes its other
//! way; whatever has begun goes on. The process stays.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::routing::get;
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::request::{Body, Query, Reason};
use super::routes::Routes;
use super::{Api, Done};
use crate::access::{Caller, Role};
use crate::problem::{Kind, Problem};
use crate::status::DrainStatus;
use sync::changes::By;

/// The longest limit of a drain.
pub const LIMIT_MAX: Duration = Duration::from_secs(86_400);

/// Whether the process drains.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct DrainState {
    /// Whether new calls are refused at present.
    pub draining: bool,
    /// Transactions that are open still.
    pub open_transactions: u64,
    /// Who asked for it; absent when nobody did, or when the process is to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainStatus>,
    /// Why the audit table does not have this change; the log has it always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_recorded: Option<String>,
}

/// A drain that is asked for.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewDrain {
    /// After so many seconds new calls are taken again; absent: when somebody says so, or after a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_s: Option<u64>,
    /// Why.
    pub reason: String,
}

/// One order, on its way to whoever drains.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DrainOrder {
    /// Refuse new calls, for this time at most.
    On {
        /// The longest time; `None`: until [`DrainOrder::Off`].
        limit: Option<Duration>,
        /// Who, and why.
        by: By,
    },
    /// Take new calls again.
    Off {
        /// Who, and why.
        by: By,
    },
}

/// Carries an order out: it is in force when this resolves.
pub type Drain = dyn Fn(DrainOrder) -> Done<Result<(), Problem>> + Send + Sync;

pub(super) fn router() -> Routes {
    Routes::new().route("/drain", get(show).put(begin).delete(end))
}

async fn show(State(api): State<Arc<Api>>, Extension(caller): Extension<Caller>) -> Result<Json<DrainState>, Problem> {
    caller.may(Role::Viewer)?;
    Ok(Json(state(&api)))
}

async fn begin(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Body(new): Body<NewDrain>,
) -> Result<Json<DrainState>, Problem> {
    let by = api.by(&caller, Role::Admin, new.reason)?;
    let limit = new.limit_s.map(Duration::from_secs);
    if let Some(limit) = limit.filter(|limit| limit.is_zero() || *limit > LIMIT_MAX) {
        let detail = format!("limit_s: found {}, expected 1 to {}", limit.as_secs(), LIMIT_MAX.as_secs());
        return Err(Problem::new(Kind::Invalid, detail));
    }
    (api.drain)(DrainOrder::On { limit, by: by.clone() }).await?;
    let after = limit.map_or("on".to_owned(), |limit| format!("on for {} s", limit.as_secs()));
    let not_recorded = api.record("drain", "new calls", &after, &by).await;
    Ok(Json(DrainState { not_recorded, ..state(&api) }))
}

async fn end(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Query(Reason { reason }): Query<Reason>,
) -> Result<Json<DrainState>, Problem> {
    let by = api.by(&caller, Role::Admin, reason)?;
    (api.drain)(DrainOrder::Off { by: by.clone() }).await?;
    let not_recorded = api.record("drain", "new calls", "off", &by).await;
    Ok(Json(DrainState { not_recorded, ..state(&api) }))
}

fn state(api: &Api) -> DrainState {
    let status = (api.status)();
    DrainState {
        draining: status.draining,
        open_transactions: status.open_transactions,
        drain: status.drain,
        not_recorded: None,
    }
}
