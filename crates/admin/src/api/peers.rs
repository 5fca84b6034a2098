//! Peers: `GET /peers`, `PUT /peers/{peer}`. What people decide about a gateway or a target, beside what was measured of
//! it. The decision is in force and on the disk before it is answered; the database is only told of it.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, put};
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::request::{Body, Path};
use super::routes::Routes;
use super::{Api, Done};
use crate::access::{Caller, Role};
use crate::problem::Problem;
use crate::status::PeerStatus;
use sync::changes::By;

/// Every peer.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Peers {
    /// Trunks' gateways, then environments' targets.
    pub peers: Vec<PeerStatus>,
}

/// What is decided about a peer.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewAdmin {
    /// `enabled`, `drain` or `disabled`.
    pub admin: String,
    /// Why.
    pub reason: String,
}

/// What became of a decision.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Decided {
    /// The peers that it is about, as they are now.
    pub peers: Vec<PeerStatus>,
    /// Why the audit table does not have it; the log has it always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_recorded: Option<String>,
}

/// One decision, on its way to whoever keeps the peers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AdminOrder {
    /// A peer as the configuration writes it, or a trunk or environment: then all of its peers.
    pub peer: String,
    /// `enabled`, `drain` or `disabled`.
    pub admin: String,
    /// Who decides, and why.
    pub by: By,
}

/// Carries a decision out: it is in force and kept when this resolves, with the peers that it was about.
pub type SetPeer = dyn Fn(AdminOrder) -> Done<Result<Vec<PeerStatus>, Problem>> + Send + Sync;

pub(super) fn router() -> Routes {
    Routes::new().route("/peers", get(list)).route("/peers/{peer}", put(set))
}

async fn list(State(api): State<Arc<Api>>, Extension(caller): Extension<Caller>) -> Result<Json<Peers>, Problem> {
    caller.may(Role::Viewer)?;
    Ok(Json(Peers { peers: (api.status)().peers }))
}

async fn set(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(peer): Path<String>,
    Body(new): Body<NewAdmin>,
) -> Result<Json<Decided>, Problem> {
    let NewAdmin { admin, reason } = new;
    let by = api.by(&caller, Role::Operator, reason)?;
    let peers = (api.set_peer)(AdminOrder { peer: peer.clone(), admin: admin.clone(), by: by.clone() }).await?;
    let not_recorded = api.record("set_peer", &peer, &admin, &by).await;
    Ok(Json(Decided { peers, not_recorded }))
}
