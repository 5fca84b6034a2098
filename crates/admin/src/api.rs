//! The API under `/api/v1`: a file for each resource, with the types that server and client share.
//!
//! [`router`] asks for no socket: whatever serves it puts a [`Caller`] into each request's extensions first.

pub mod audit;
pub mod calls;
pub mod capture;
pub mod csv;
pub mod dids;
pub mod drain;
pub mod explain;
pub mod faults;
pub mod generations;
pub mod guard;
pub mod health;
pub mod leases;
pub mod limits;
pub mod log;
mod openapi;
pub mod panic;
pub mod peers;
pub(crate) mod request;
mod routes;
pub mod session;
pub mod sheet;
pub mod testers;
pub mod times;
pub mod tokens;
mod written;

use std::pin::Pin;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::routing::get;
use axum::{Extension, Json, Router};
use directory::Directory;
use sip::Number;
use sync::Watcher;
use sync::changes::{By, Writes};

use crate::access::{Caller, Role};
use crate::auth::Tokens;
use crate::instruments::Instruments;
use crate::problem::{Kind, Problem};
use crate::status::Status;
use routes::Routes;

pub use written::Live;

/// The longest body of a request, in bytes.
pub const BODY_BYTES_MAX: usize = 64 << 10;
/// The most entries that one answer lists.
pub const PAGE_MAX: u32 = 1_000;
/// How many an answer lists unless it is asked for another number.
pub const PAGE: u32 = 100;

/// Asks the decision function; the error says what is wrong with the question.
pub type Explain = dyn Fn(&Directory, &explain::Question) -> Result<serde_json::Value, String> + Send + Sync;

/// What somebody waits for.
pub type Done<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What the API is about: the running process.
pub struct Api {
    /// The directory's writer.
    pub watcher: Watcher,
    /// The way to write.
    pub writes: Arc<Writes>,
    /// Who may log in over the listener.
    pub tokens: Arc<Tokens>,
    /// What the process says of itself.
    pub status: Box<dyn Fn() -> Status + Send + Sync>,
    /// The last calls.
    pub calls: telemetry::calls::Calls,
    /// Where a call would go.
    pub explain: Box<Explain>,
    /// What is used of each limit on calls.
    pub limits: Box<limits::Read>,
    /// Decides about a peer.
    pub set_peer: Box<peers::SetPeer>,
    /// The calls of a number, now.
    pub live_calls: Box<dids::calls::LiveCalls>,
    /// Asks an environment's targets for a number.
    pub ask_targets: Box<dids::readiness::AskTargets>,
    /// Refuses new calls, and takes them again.
    pub drain: Box<drain::Drain>,
    /// The log and the captures.
    pub instruments: Box<dyn Instruments>,
}

impl Api {
    pub(crate) fn directory(&self) -> Arc<Directory> {
        self.watcher.published().load()
    }

    /// A number in any spelling.
    fn number(&self, directory: &Directory, spelled: &str) -> Result<Number, Problem> {
        let number = directory.numbering().canonical(spelled.as_bytes());
        number.map_err(|fault| Problem::new(Kind::Invalid, format!("found {spelled:?}, expected a number ({fault})")))
    }

    /// Who changes something, and why; a fault unless they may.
    fn by(&self, caller: &Caller, needed: Role, reason: String) -> Result<By, Problem> {
        caller.may(needed)?;
        let (role, origin) = (caller.role.to_string(), caller.origin.clone());
        let by = By { who: caller.who.clone(), reason, role, origin };
        Writes::check(&by)?;
        Ok(by)
    }

    /// Records in the database what was done without it; why not, where that is not to be had. What was done stays done.
    async fn record(&self, action: &'static str, subject: &str, after: &str, by: &By) -> Option<String> {
        let fault = self.writes.record(action, subject, after, by).await.err()?;
        tracing::warn!(action, subject, after, who = by.who, reason = by.reason, %fault, "not in the audit table");
        Some(fault.to_string())
    }
}

/// Every route, and a problem for every other path. A request without a [`Caller`] in its extensions is refused.
pub fn router(api: Arc<Api>) -> Router {
    routes(api).fallback(|| async { Problem::new(Kind::NotFound, "found no such resource, expected one of /api/v1") })
}

/// Every route.
pub(crate) fn routes(api: Arc<Api>) -> Router {
    Router::new()
        .nest("/api/v1", v1().into_router())
        .method_not_allowed_fallback(|| async {
            Problem::new(Kind::Method, "found a method that this resource does not have")
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(api)
}

fn v1() -> Routes {
    Routes::new()
        .route("/status", get(status))
        .merge(health::router())
        .merge(limits::router())
        .merge(dids::router())
        .merge(sheet::router())
        .merge(leases::router())
        .merge(testers::router())
        .merge(panic::router())
        .merge(peers::router())
        .merge(drain::router())
        .merge(faults::router())
        .merge(generations::router())
        .merge(guard::router())
        .merge(audit::router())
        .merge(tokens::router())
        .merge(calls::router())
        .merge(explain::router())
        .merge(log::router())
        .merge(capture::router())
        .merge(openapi::router())
}

/// Every path behind `/api/v1`, as it is routed: `/dids/{number}`. The session's stands on the listener alone.
pub fn paths() -> Vec<&'static str> {
    let session = session::PATH.strip_prefix("/api/v1");
    v1().into_paths().into_iter().chain(session).collect()
}

async fn status(State(api): State<Arc<Api>>, Extension(caller): Extension<Caller>) -> Result<Json<Status>, Problem> {
    caller.may(Role::Viewer)?;
    Ok(Json((api.status)()))
}
