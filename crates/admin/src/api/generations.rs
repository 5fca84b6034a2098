//! Generations: `GET /generations`, `GET /generations/diff?from=&to=`.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Extension, Json};
use directory::{DidFacts, Difference, Generation, Tally};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Api;
use super::request::Query;
use super::routes::Routes;
use crate::access::{Caller, Role};
use crate::problem::{Kind, Problem};

/// The last generations, newest first.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Generations {
    /// Them.
    pub generations: Vec<GenerationEntry>,
}

/// One generation.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct GenerationEntry {
    /// Its number.
    pub generation: u64,
    /// When it was published, in milliseconds since 1970.
    pub published_at_ms: u64,
    /// Why: `rows`, `overlays`, `snapshot`, `policy`, or `accepted: ` and the reason.
    pub cause: String,
    /// What it changed in the rows, in one line.
    pub told: String,
    /// The same, counted.
    #[serde(flatten)]
    pub counted: Counted,
}

/// How many rows of each table differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Counted {
    /// DIDs.
    pub dids: Changed,
    /// Users.
    pub users: Changed,
    /// Organisations.
    pub organisations: Changed,
}

/// How many rows came, went and changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Changed {
    /// In the newer only.
    pub added: u32,
    /// In the older only.
    pub removed: u32,
    /// With another environment; only of DIDs.
    pub moved: u32,
    /// Otherwise changed.
    pub changed: u32,
}

/// What lies between two generations.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Diff {
    /// In one line.
    pub told: String,
    /// Counted.
    #[serde(flatten)]
    pub counted: Counted,
    /// The changed DIDs by number; the first thousand.
    pub listed: Vec<DidDiff>,
}

/// A DID before and after.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct DidDiff {
    /// The number, in E.164 with `+`.
    pub number: String,
    /// What its row said; absent when it was not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<DidRow>,
    /// What it says; absent when it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<DidRow>,
}

/// What a DID's row says.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct DidRow {
    /// Where its calls land.
    pub environment: String,
    /// Its status.
    pub status: String,
    /// Its pool state.
    pub pool_status: String,
    /// The `id` of its organisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organisation: Option<String>,
    /// Whether it is marked as its organisation's default.
    pub is_default: bool,
    /// Calls at one time; 0 for no limit.
    pub call_limit: u32,
    /// Whether the row turned bad and this is its last good value.
    pub kept_last_good: bool,
    /// Who delivers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
}

/// Which two.
#[derive(Clone, Copy, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiffQuestion {
    /// The older.
    pub from: u64,
    /// The newer.
    pub to: u64,
}

impl From<Tally> for Changed {
    fn from(tally: Tally) -> Changed {
        let Tally { added, removed, moved, changed } = tally;
        Changed { added, removed, moved, changed }
    }
}

impl From<&Difference> for Counted {
    fn from(difference: &Difference) -> Counted {
        let Difference { dids, users, organisations, .. } = difference;
        Counted { dids: (*dids).into(), users: (*users).into(), organisations: (*organisations).into() }
    }
}

impl From<&Difference> for Diff {
    fn from(difference: &Difference) -> Diff {
        let listed = difference.listed.iter().map(|change| DidDiff {
            number: format!("+{}", change.number),
            before: change.before.as_ref().map(row),
            after: change.after.as_ref().map(row),
        });
        Diff { told: difference.to_string(), counted: difference.into(), listed: listed.collect() }
    }
}

fn row(facts: &DidFacts) -> DidRow {
    DidRow {
        environment: facts.environment.to_string(),
        status: facts.status.to_string(),
        pool_status: facts.pool_status.to_string(),
        organisation: facts.organisation.clone(),
        is_default: facts.is_default,
        call_limit: facts.call_limit,
        kept_last_good: facts.kept_last_good,
        provider: facts.provider.clone(),
    }
}

pub(super) fn router() -> Routes {
    Routes::new().route("/generations", get(list)).route("/generations/diff", get(diff))
}

pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Generations>, Problem> {
    caller.may(Role::Viewer)?;
    let entries = api.watcher.generations().into_iter().rev().map(|note| GenerationEntry {
        generation: note.generation.0,
        published_at_ms: note.published_at_ms,
        cause: note.cause.to_string(),
        told: note.difference.to_string(),
        counted: (&*note.difference).into(),
    });
    Ok(Json(Generations { generations: entries.collect() }))
}

pub(crate) async fn diff(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Query(DiffQuestion { from, to }): Query<DiffQuestion>,
) -> Result<Json<Diff>, Problem> {
    caller.may(Role::Viewer)?;
    if from > to {
        return Err(Problem::new(Kind::Invalid, format!("found {from} and {to}, expected the older one first")));
    }
    let difference = api.watcher.difference(Generation(from), Generation(to)).ok_or_else(|| {
        let kept = api.watcher.generations();
        let oldest = kept.first().map_or(0, |note| note.generation.0);
        let newest = kept.last().map_or(0, |note| note.generation.0);
        let detail = format!(
            "found no whole way from {from} to {to}, expected generations from {} to {newest}",
            oldest.saturating_sub(1)
        );
        Problem::new(Kind::NotFound, detail)
    })?;
    Ok(Json((&difference).into()))
}
