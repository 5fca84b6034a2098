//! Tester overrides: `GET /testers`, `POST /testers`, `DELETE /testers/{id}`. A caller number can be forged: an
//! override is a convenience, no wall.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{delete, get};
use axum::{Extension, Json};
use directory::{Directory, Subject, Tester};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sync::changes::TesterNote;

use super::dids::{OrganisationName, environment};
use super::leases::MadeBy;
use super::request::{Body, Path, Query, Reason};
use super::routes::Routes;
use super::times::End;
use super::written::ENDED_OR_REPLACED;
use super::{Api, Live};
use crate::access::{Caller, Role};
use crate::problem::{Kind, Problem};

/// Every tester override in effect, by caller.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Testers {
    /// Them.
    pub testers: Vec<TesterInEffect>,
}

/// A tester override in effect.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct TesterInEffect {
    /// The number that calls, in E.164 with `+`.
    pub caller: String,
    /// The DID that it is about, in E.164 with `+`; absent where it is about an organisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub did: Option<String>,
    /// The organisation whose DIDs it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organisation: Option<OrganisationName>,
    /// Where the calls land.
    pub environment: String,
    /// When it ends, in milliseconds since 1970.
    pub ends_at_ms: u64,
    /// Who made it.
    #[serde(flatten)]
    pub made: MadeBy,
}

/// A tester override to be made: for one DID, or for every DID of an organisation.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTester {
    /// The number that calls, in any spelling.
    pub caller: String,
    /// The DID, in any spelling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub did: Option<String>,
    /// The organisation's id, or its name where only one has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organisation: Option<String>,
    /// `prod`, `staging` or `oss`.
    pub environment: String,
    /// When it ends: always.
    #[serde(flatten)]
    pub end: End,
    /// The id of the override that it takes the place of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// Why.
    pub reason: String,
}

pub(super) fn router() -> Routes {
    Routes::new().route("/testers", get(list).post(add)).route("/testers/{id}", delete(end))
}

pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Testers>, Problem> {
    caller.may(Role::Viewer)?;
    let notes = api.writes.testers().await?;
    let directory = api.directory();
    let testers = notes.into_iter().map(|note| {
        let TesterNote { made, caller, subject, environment, ends_at_ms } = note;
        let (did, organisation) = match subject {
            Subject::Did(number) => (Some(format!("+{number}")), None),
            Subject::Organisation(id) => {
                let name = directory.organisation_by_uuid(&id).map_or(String::new(), |own| own.name.to_owned());
                (None, Some(OrganisationName { id, name }))
            }
        };
        let (caller, environment) = (format!("+{caller}"), environment.to_string());
        TesterInEffect { caller, did, organisation, environment, ends_at_ms, made: made.into() }
    });
    Ok(Json(Testers { testers: testers.collect() }))
}

async fn add(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Body(new): Body<NewTester>,
) -> Result<(StatusCode, Json<Live>), Problem> {
    let by = api.by(&caller, Role::Operator, new.reason)?;
    let directory = api.directory();
    let subject = match (&new.did, &new.organisation) {
        (Some(did), None) => Subject::Did(api.number(&directory, did)?),
        (None, Some(organisation)) => Subject::Organisation(organisation_id(&directory, organisation)?),
        _ => return Err(Problem::new(Kind::Invalid, "expected did or organisation, and not both")),
    };
    let tester = Tester {
        caller: api.number(&directory, &new.caller)?,
        subject,
        environment: environment(&new.environment)?,
        ends_at_ms: new.end.needed("a tester override always")?,
    };
    let live = Live::of(api.writes.set_tester(tester.clone(), new.replaces.as_deref(), &by).await?);
    let directory = api.directory();
    let live = live.if_in(directory.overlays().testers.contains(&tester), ENDED_OR_REPLACED);
    let overruled_by = directory.overlays().panic.map(|_| "panic".to_owned());
    Ok((StatusCode::CREATED, Json(Live { overruled_by, ..live })))
}

async fn end(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Query(Reason { reason }): Query<Reason>,
) -> Result<Json<Live>, Problem> {
    let by = api.by(&caller, Role::Operator, reason)?;
    Ok(Json(Live::of(api.writes.end_tester(&id, &by).await?)))
}

/// The id of the organisation of this id or name.
fn organisation_id(directory: &Directory, named: &str) -> Result<String, Problem> {
    if let Some(own) = directory.organisation_by_uuid(named) {
        return Ok(own.uuid.to_owned());
    }
    let mut same = directory.organisations().filter(|own| own.name.eq_ignore_ascii_case(named));
    match (same.next(), same.next()) {
        (Some(own), None) => Ok(own.uuid.to_owned()),
        (None, _) => {
            Err(Problem::new(Kind::NotFound, format!("found no organisation {named:?}, expected its id or its name")))
        }
        (Some(_), Some(_)) => {
            Err(Problem::new(Kind::Invalid, format!("found several organisations {named:?}, expected an id")))
        }
    }
}
