//! What is wrong with the data: `GET /directory/faults`.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Extension, Json};
use directory::Reason;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::request::Query;
use super::routes::Routes;
use super::{Api, PAGE, PAGE_MAX};
use crate::access::{Caller, Role};
use crate::problem::{Kind, Problem};

/// A page of the faults.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Faults {
    /// The directory's version.
    pub generation: u64,
    /// How many there are.
    pub total: u64,
    /// How many of each kind, those that there are.
    pub by_reason: Vec<ReasonCount>,
    /// Those asked for; at most what a directory lists.
    pub faults: Vec<RowFault>,
}

/// How many faults of a kind there are.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct ReasonCount {
    /// The kind.
    pub reason: String,
    /// How many.
    pub count: u32,
}

/// One fault of one row.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct RowFault {
    /// The table.
    pub table: String,
    /// The row's `id`.
    pub key: String,
    /// The column.
    pub column: String,
    /// What stood there, shortened and escaped.
    pub found: String,
    /// What would have been good.
    pub expected: String,
    /// The kind.
    pub reason: String,
    /// What was done about it.
    pub effect: String,
}

/// Which faults.
#[derive(Clone, PartialEq, Eq, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultsQuestion {
    /// Of this kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many to leave out before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip: Option<u32>,
    /// How many, at most [`PAGE_MAX`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

pub(super) fn router() -> Routes {
    Routes::new().route("/directory/faults", get(list))
}

pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Query(question): Query<FaultsQuestion>,
) -> Result<Json<Faults>, Problem> {
    caller.may(Role::Viewer)?;
    let kind = |name: &str| Reason::ALL.iter().copied().find(|reason| reason.name() == name);
    let reason = question.reason.as_deref().map(|name| {
        let names: Vec<&str> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        let detail = || format!("found reason {name:?}, expected one of {}", names.join(", "));
        kind(name).ok_or_else(|| Problem::new(Kind::Invalid, detail()))
    });
    let reason = reason.transpose()?;
    let directory = api.directory();
    let skip = usize::try_from(question.skip.unwrap_or(0)).unwrap_or(usize::MAX);
    let limit = usize::try_from(question.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX)).unwrap_or(usize::MAX);
    let faults = directory.faults().iter().filter(|fault| reason.is_none_or(|reason| fault.reason == reason));
    let faults = faults.skip(skip).take(limit).map(|fault| RowFault {
        table: fault.table.to_string(),
        key: fault.key.clone(),
        column: fault.column.to_owned(),
        found: fault.found.clone(),
        expected: fault.expected.clone(),
        reason: fault.reason.to_string(),
        effect: fault.effect.to_string(),
    });
    let faults = faults.collect();
    let counts = Reason::ALL.iter().map(|reason| (reason, directory.faults_of(*reason)));
    let by_reason = counts.filter(|(_, count)| *count > 0);
    let by_reason = by_reason.map(|(reason, count)| ReasonCount { reason: reason.to_string(), count }).collect();
    Ok(Json(Faults { generation: directory.generation().0, total: directory.fault_count(), by_reason, faults }))
}
