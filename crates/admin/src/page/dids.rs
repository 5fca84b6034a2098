//! `/admin/dids`: every number, where its calls land and why, and the way to move it.

use std::collections::BTreeMap;

use askama::Template;
use axum::response::Response;
use serde::Deserialize;

use super::frame::{Frame, Looker, Moment};
use super::{page, shown_problem};
use crate::api::dids::calls::LastCall;
use crate::api::dids::{self, Did, DidsQuestion};
use crate::api::request::Query;
use crate::api::times;

/// Rows of one page.
const ROWS: u32 = 100;

const ENVIRONMENTS: [&str; 3] = ["prod", "staging", "oss"];

const SERVICES: [(&str, &str); 4] = [
    ("in_service", "in service"),
    ("not_active", "not active"),
    ("not_assigned", "not assigned"),
    ("organisation_not_active", "organisation not active"),
];

/// What the page's form asks. An empty field asks nothing, so this is not the API's own question.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Form {
    search: String,
    environment: String,
    service: String,
    leased: Option<String>,
    after: Option<String>,
    /// The place of the page's first row, for people.
    skipped: Option<u64>,
}

impl Form {
    fn question(&self) -> DidsQuestion {
        let asked = |text: &str| (!text.trim().is_empty()).then(|| text.trim().to_owned());
        DidsQuestion {
            search: asked(&self.search),
            environment: asked(&self.environment),
            organisation: None,
            service: asked(&self.service),
            leased: self.leased.is_some().then_some(true),
            after: self.after.clone(),
            limit: Some(ROWS),
            format: None,
        }
    }

    /// This form as the query of another page of it.
    fn at(&self, after: Option<&str>, skipped: u64) -> String {
        let mut pairs = vec![("search", self.search.clone()), ("environment", self.environment.clone())];
        pairs.push(("service", self.service.clone()));
        pairs.extend(self.leased.iter().map(|leased| ("leased", leased.clone())));
        if let Some(after) = after {
            pairs.extend([("after", after.to_owned()), ("skipped", skipped.to_string())]);
        }
        pairs.retain(|(_, value)| !value.is_empty());
        serde_urlencoded::to_string(pairs).unwrap_or_default()
    }
}

#[derive(Template)]
#[template(path = "dids.html")]
struct DidsPage {
    frame: Frame,
    search: String,
    environment: String,
    service: String,
    leased: bool,
    environments: [&'static str; 3],
    services: [(&'static str, &'static str); 4],
    total: u64,
    page_from: u64,
    page_to: u64,
    rows: Vec<Row>,
    first_page: Option<String>,
    next_page: Option<String>,
}

struct Row {
    number: String,
    shown: String,
    version: String,
    environment: String,
    row_environment: String,
    by: String,
    has_lease: bool,
    ends: Option<Moment>,
    organisation: String,
    service: String,
    is_default: bool,
    kept_last_good: bool,
    calls: CallCells,
}

/// What calls a number has: two cells of its row, which are sent again when they change.
#[derive(Template)]
#[template(path = "did_calls.html")]
pub(super) struct CallCells {
    /// `2 in prod, 1 in oss`; `none`.
    live: String,
    is_live: bool,
    last: Option<Last>,
}

struct Last {
    id: u64,
    began: String,
    verdict: String,
}

impl CallCells {
    pub(super) fn of(live: &BTreeMap<String, u32>, last: Option<&LastCall>) -> CallCells {
        let words: Vec<String> = live.iter().map(|(environment, count)| format!("{count} in {environment}")).collect();
        CallCells {
            is_live: !words.is_empty(),
            live: if words.is_empty() { "none".to_owned() } else { words.join(", ") },
            last: last.map(|last| Last {
                id: last.call,
                began: times::shown(last.began_at_ms),
                verdict: last.verdict(),
            }),
        }
    }
}

pub(super) async fn show(looker: Looker, Query(form): Query<Form>) -> Response {
    let (state, caller) = (looker.state(), looker.extension());
    let found = match dids::list(state, caller, Query(form.question())).await {
        Ok(found) => found.0,
        Err(problem) => return shown_problem(&looker, &problem),
    };
    let frame = looker.frame("Numbers");
    let skipped = form.after.as_ref().and(form.skipped).unwrap_or(0);
    let page_to = skipped + u64::try_from(found.dids.len()).unwrap_or(0);
    let rows: Vec<Row> = found.dids.into_iter().map(|did| row(&frame, did)).collect();
    page(&DidsPage {
        search: form.search.clone(),
        environment: form.environment.clone(),
        service: form.service.clone(),
        leased: form.leased.is_some(),
        environments: ENVIRONMENTS,
        services: SERVICES,
        total: found.total,
        page_from: if rows.is_empty() { 0 } else { skipped + 1 },
        page_to,
        rows,
        first_page: form.after.as_ref().map(|_| form.at(None, 0)),
        next_page: found.next.map(|next| form.at(Some(&next), page_to)),
        frame,
    })
}

fn row(frame: &Frame, did: Did) -> Row {
    let service = SERVICES.iter().find(|(word, _)| *word == did.service).map_or("", |(_, told)| told);
    Row {
        calls: CallCells::of(&did.live_calls, did.last_call.as_ref()),
        shown: frame.number(&did.number),
        // Who may not see it does not move it either.
        number: if frame.is_operator { did.number } else { String::new() },
        version: did.version,
        environment: did.environment,
        row_environment: did.row_environment,
        by: did.by,
        has_lease: did.lease.is_some(),
        ends: did.lease.map(|lease| Moment { ms: lease.ends_at_ms }),
        organisation: did.organisation.map_or_else(|| "none".to_owned(), |own| own.name),
        service: did.state.map_or_else(|| service.to_owned(), |state| format!("{service}: {state}")),
        is_default: did.is_default,
        kept_last_good: did.kept_last_good,
    }
}
