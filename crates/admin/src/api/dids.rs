//! DIDs: `GET /dids`, `GET /dids/{number}`, `PUT /dids/{number}/environment`, `POST /dids/{number}/readiness`.

pub mod calls;
pub mod readiness;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Extension, Json};
use calls::LastCall;
use directory::{Directory, Environment, Lease, RoutedBy, Service};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sip::Number;
use sync::changes::By;

use super::audit::Format;
use super::request::{Body, Path, Query, check_version};
use super::routes::Routes;
use super::times::End;
use super::written::ENDED_OR_REPLACED;
use super::{Api, Live, PAGE, PAGE_MAX, sheet};
use crate::access::{Caller, Numbers, Role};
use crate::problem::{Kind, Problem};

/// One DID, with what is in effect for it.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Did {
    /// E.164 with `+`.
    pub number: String,
    /// Where its calls land, testers' calls aside.
    pub environment: String,
    /// What decided that: `panic`, `lease` or `row`.
    pub by: String,
    /// Where its row says that its calls land.
    pub row_environment: String,
    /// Its lease; in effect unless `by` says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<DidLease>,
    /// `in_service`, `not_active`, `not_assigned` or `organisation_not_active`.
    pub service: String,
    /// Its status or pool state, where that takes it out of service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The organisation that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organisation: Option<OrganisationName>,
    /// Whether it is its organisation's default caller ID.
    pub is_default: bool,
    /// Calls at one time; 0 for no limit.
    pub call_limit: u32,
    /// Who delivers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Whether its row turned bad and this is its last good value.
    pub kept_last_good: bool,
    /// What a write names in `If-Match`: it changes with the row's environment and the lease.
    pub version: String,
    /// Its calls in setup or up now, by the environment on the PBX's side.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub live_calls: BTreeMap<String, u32>,
    /// The last call of it that the journal holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_call: Option<LastCall>,
}

/// A DID's lease.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct DidLease {
    /// Where it sends the DID's calls.
    pub environment: String,
    /// When it ends, in milliseconds since 1970.
    pub ends_at_ms: u64,
}

/// An organisation.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct OrganisationName {
    /// The `id` of its row.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// A page of DIDs, by number.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Dids {
    /// The directory's version.
    pub generation: u64,
    /// How many fit the question, on all pages.
    pub total: u64,
    /// This page.
    pub dids: Vec<Did>,
    /// What `after` is on the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Which DIDs.
#[derive(Clone, PartialEq, Eq, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DidsQuestion {
    /// A number in any spelling, some of its digits, or a part of an organisation's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
    /// Those whose calls land here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Those of the organisation of this id or name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organisation: Option<String>,
    /// Those whose `service` is this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Those that have a lease, or have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leased: Option<bool>,
    /// Those behind this number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// How many, at most [`PAGE_MAX`]; of a table for spreadsheets as many as there are, unless it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// How they are answered; JSON unless it says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
}

/// Where a DID's calls are to land: for good in its row, or as a lease until an end.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentChange {
    /// `prod`, `staging` or `oss`.
    pub environment: String,
    /// When it ends; neither field for good.
    #[serde(flatten)]
    pub end: End,
    /// Why.
    pub reason: String,
}

pub(super) fn router() -> Routes {
    Routes::new()
        .route("/dids", get(answer))
        .route("/dids/{number}", get(show))
        .route("/dids/{number}/environment", put(change))
        .route("/dids/{number}/readiness", post(readiness::ask))
}

async fn answer(
    state: State<Arc<Api>>,
    caller: Extension<Caller>,
    Query(question): Query<DidsQuestion>,
) -> Result<Response, Problem> {
    match question.format {
        Some(Format::Csv) => {
            caller.may(Role::Viewer)?;
            sheet::export(state.directory(), &question)
        }
        None | Some(Format::Json) => Ok(list(state, caller, Query(question)).await?.into_response()),
    }
}

pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Query(question): Query<DidsQuestion>,
) -> Result<Json<Dids>, Problem> {
    caller.may(Role::Viewer)?;
    let directory = api.directory();
    // A look through a large table takes its time, and the runtime has other things to do.
    let numbers = caller.numbers;
    let found = tokio::task::spawn_blocking(move || {
        let mut found = found(&directory, &question, numbers)?;
        calls::add(&api, &mut found.dids);
        Ok(Json(found))
    });
    found.await.map_err(|error| Problem::new(Kind::Internal, error.to_string()))?
}

async fn show(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(number): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    caller.may(Role::Viewer)?;
    let directory = api.directory();
    let mut did = did_of(&directory, api.number(&directory, &number)?)?;
    calls::add(&api, std::slice::from_mut(&mut did));
    Ok(([(header::ETAG, format!("\"{}\"", did.version))], Json(did)))
}

async fn change(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(number): Path<String>,
    headers: HeaderMap,
    Body(change): Body<EnvironmentChange>,
) -> Result<Json<Live>, Problem> {
    let by = api.by(&caller, Role::Operator, change.reason)?;
    let environment = environment(&change.environment)?;
    let ends_at_ms = change.end.at_ms()?;
    let directory = api.directory();
    let number = api.number(&directory, &number)?;
    if ends_at_ms.is_none() && directory.did(number).is_none() {
        // Its row may say an environment that nobody knows, and have been good never: there is no version to look at.
        return mend(&api, number, environment, &by).await;
    }
    let before = did_of(&directory, number)?;
    check_version(&headers, &before.version)?;
    match ends_at_ms {
        Some(ends_at_ms) => {
            let replaces = present_lease(&api, number, before.lease.as_ref()).await?;
            let lease = Lease { number, environment, ends_at_ms };
            let live = Live::of(api.writes.lease(lease, replaces.as_deref(), &by).await?);
            let live = live.if_in(api.directory().overlays().leases.contains(&lease), ENDED_OR_REPLACED);
            Ok(Json(told(&api, (number, environment), live, RoutedBy::Lease)))
        }
        None => {
            // A row that turned bad does not say what is in effect.
            let expected = (!before.kept_last_good).then_some(before.row_environment.as_str());
            let live = Live::of(api.writes.set_environment(number, environment, expected, &by).await?);
            Ok(Json(moved(&api, number, environment, live)))
        }
    }
}

/// Gives a row that is not in the directory an environment.
async fn mend(api: &Api, number: Number, environment: Environment, by: &By) -> Result<Json<Live>, Problem> {
    let live = Live::of(api.writes.set_environment(number, environment, None, by).await?);
    Ok(Json(moved(api, number, environment, live)))
}

fn moved(api: &Api, number: Number, environment: Environment, live: Live) -> Live {
    let is_in = api.directory().did(number).is_some_and(|did| did.environment == environment);
    told(api, (number, environment), live.if_in(is_in, why_not(api)), RoutedBy::Row)
}

/// Names what overrules what was written, and the calls that stay where they are.
fn told(api: &Api, (number, environment): (Number, Environment), live: Live, written: RoutedBy) -> Live {
    let by = api.directory().route(number, None).map(|routed| routed.by);
    let overruled_by = by.filter(|by| *by < written).map(|by| by.to_string());
    Live { overruled_by, still_up: calls::elsewhere(api, number, environment.as_str()), ..live }
}

/// Why what was committed is not in the directory that was published after it.
pub(super) fn why_not(api: &Api) -> &'static str {
    match api.watcher.held() {
        Some(_) => "committed, and kept out with all that the guard holds back (switchyard directory held)",
        None => "committed, and changed again by someone else",
    }
}

/// The id of the lease that someone looked at; `None` when there was none.
async fn present_lease(api: &Api, number: Number, seen: Option<&DidLease>) -> Result<Option<String>, Problem> {
    let Some(seen) = seen else { return Ok(None) };
    let leases = api.writes.leases().await?;
    let is_seen = |lease: &&sync::changes::LeaseNote| {
        lease.number == number && lease.ends_at_ms == seen.ends_at_ms && lease.environment.as_str() == seen.environment
    };
    match leases.iter().find(is_seen) {
        Some(lease) => Ok(Some(lease.made.id.clone())),
        None => Err(Problem::new(Kind::Changed, format!("the lease of +{number} has changed meanwhile"))),
    }
}

/// Reads an environment.
pub(super) fn environment(word: &str) -> Result<Environment, Problem> {
    let unknown = |_| Problem::new(Kind::Invalid, format!("found environment {word:?}, expected prod, staging or oss"));
    word.parse().map_err(unknown)
}

fn did_of(directory: &Directory, number: Number) -> Result<Did, Problem> {
    shown(directory, number)
        .ok_or_else(|| Problem::new(Kind::NotFound, format!("found no DID +{number} in the directory")))
}

/// A DID as it is shown; `None` when no row has the number.
pub(super) fn shown(directory: &Directory, number: Number) -> Option<Did> {
    let routed = directory.route(number, None)?;
    let did = routed.did;
    let lease = lease_of(directory, number);
    let version = match &lease {
        Some(lease) => format!("row={};lease={}@{}", did.environment, lease.environment, lease.ends_at_ms),
        None => format!("row={}", did.environment),
    };
    let (service, state) = service_of(did.service);
    let organisation = did.organisation().map(|id| directory.organisation(id));
    Some(Did {
        number: format!("+{number}"),
        environment: routed.environment.to_string(),
        by: routed.by.to_string(),
        row_environment: did.environment.to_string(),
        lease,
        service: service.to_owned(),
        state,
        organisation: organisation.map(|own| OrganisationName { id: own.uuid.to_owned(), name: own.name.to_owned() }),
        is_default: did.is_default,
        call_limit: did.call_limit(),
        provider: did.provider().map(str::to_owned),
        kept_last_good: did.kept_last_good,
        version,
        live_calls: BTreeMap::new(),
        last_call: None,
    })
}

/// Of several the one that ends last.
fn lease_of(directory: &Directory, number: Number) -> Option<DidLease> {
    let leases = directory.overlays().leases.iter().filter(|lease| lease.number == number);
    let lease = leases.max_by_key(|lease| lease.ends_at_ms)?;
    Some(DidLease { environment: lease.environment.to_string(), ends_at_ms: lease.ends_at_ms })
}

fn service_of(service: Service) -> (&'static str, Option<String>) {
    match service {
        Service::InService => ("in_service", None),
        Service::NotActive(status) => ("not_active", Some(status.to_string())),
        Service::NotAssigned(state) => ("not_assigned", Some(state.to_string())),
        Service::OrganisationNotActive => ("organisation_not_active", None),
    }
}

/// What a search is for.
struct Search {
    number: Option<Number>,
    digits: String,
    name: String,
}

impl Search {
    fn of(directory: &Directory, text: &str) -> Search {
        let is_number = |c: char| c.is_ascii_digit() || "+- ().".contains(c);
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        // A national number begins with a trunk prefix that no key has.
        let digits =
            if text.chars().all(is_number) { digits.trim_start_matches('0').to_owned() } else { String::new() };
        Search { number: directory.numbering().canonical(text.as_bytes()).ok(), digits, name: text.to_lowercase() }
    }

    fn fits(&self, number: Number, organisation: &str) -> bool {
        self.number == Some(number)
            || (!self.digits.is_empty() && number.to_string().contains(&self.digits))
            || organisation.to_lowercase().contains(&self.name)
    }
}

/// Behind what a page begins.
pub(super) enum After {
    Start,
    Number(Number),
    /// Behind so many: for those who are shown no whole number.
    Count(u64),
}

impl After {
    pub(super) fn of(directory: &Directory, after: Option<&str>) -> Result<After, Problem> {
        let Some(after) = after else { return Ok(After::Start) };
        if let Some(count) = after.strip_prefix('~') {
            let wrong = || Problem::new(Kind::Invalid, format!("after: found {after:?}, expected the next of a page"));
            return count.parse().map(After::Count).map_err(|_| wrong());
        }
        let number = directory.numbering().canonical(after.as_bytes());
        number.map(After::Number).map_err(|fault| Problem::new(Kind::Invalid, format!("after: {fault}")))
    }
}

/// What a question lets pass.
pub(super) struct Wanted {
    question: DidsQuestion,
    environment: Option<Environment>,
    search: Option<Search>,
    leased: HashSet<Number>,
}

impl Wanted {
    pub(super) fn of(directory: &Directory, question: &DidsQuestion) -> Result<Wanted, Problem> {
        let services = ["in_service", "not_active", "not_assigned", "organisation_not_active"];
        if let Some(service) = question.service.as_deref().filter(|service| !services.contains(service)) {
            let detail = format!("found service {service:?}, expected one of {}", services.join(", "));
            return Err(Problem::new(Kind::Invalid, detail));
        }
        let search = question.search.as_deref().filter(|text| !text.trim().is_empty());
        Ok(Wanted {
            environment: question.environment.as_deref().map(environment).transpose()?,
            search: search.map(|text| Search::of(directory, text.trim())),
            leased: directory.overlays().leases.iter().map(|lease| lease.number).collect(),
            question: question.clone(),
        })
    }

    pub(super) fn fits(&self, directory: &Directory, did: &directory::Did<'_>) -> bool {
        let question = &self.question;
        let own = did.organisation().map(|id| directory.organisation(id));
        let (id, name) = own.map_or(("", ""), |own| (own.uuid, own.name));
        question.leased.is_none_or(|is| is == self.leased.contains(&did.number))
            && question.service.as_deref().is_none_or(|service| service == service_of(did.service).0)
            && question.organisation.as_deref().is_none_or(|own| own == id || own.eq_ignore_ascii_case(name))
            && self.environment.is_none_or(|wanted| {
                directory.route(did.number, None).is_some_and(|routed| routed.environment == wanted)
            })
            && self.search.as_ref().is_none_or(|search| search.fits(did.number, name))
    }
}

fn found(directory: &Directory, question: &DidsQuestion, numbers: Numbers) -> Result<Dids, Problem> {
    let limit = question.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let after = After::of(directory, question.after.as_deref())?;
    let wanted = Wanted::of(directory, question)?;
    let (mut total, mut page, mut has_more, mut behind) = (0_u64, Vec::new(), false, 0);
    for did in directory.dids().filter(|did| wanted.fits(directory, did)) {
        total += 1;
        let is_before = match after {
            After::Start => false,
            After::Number(after) => did.number <= after,
            After::Count(count) => total <= count,
        };
        if is_before {
            behind = total;
            continue;
        }
        if page.len() < usize::try_from(limit).unwrap_or(usize::MAX) {
            page.extend(shown(directory, did.number));
        } else {
            has_more = true;
        }
    }
    let next = page.last().filter(|_| has_more).map(|did: &Did| match numbers {
        Numbers::Whole => did.number.clone(),
        Numbers::Part => format!("~{}", behind + page.len() as u64),
    });
    Ok(Dids { generation: directory.generation().0, total, dids: page, next })
}
