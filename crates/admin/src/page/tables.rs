//! The pages that are one table each: peers, generations, faults, testers, audit.

use std::time::Duration;

use askama::Template;
use axum::response::Response;
use serde::Deserialize;

use super::frame::{Frame, Looker, Moment};
use super::overview::told;
use super::{page, shown_problem};
use crate::api::audit::{self, AuditQuestion};
use crate::api::faults::{self, FaultsQuestion, ReasonCount, RowFault};
use crate::api::generations::{self, DidRow, Diff, DiffQuestion};
use crate::api::request::Query;
use crate::api::testers::{self, TesterInEffect};
use crate::api::times;
use crate::status::PeerStatus;

/// Rows of one page.
const ROWS: u32 = 100;

#[derive(Template)]
#[template(path = "peers.html")]
struct PeersPage {
    frame: Frame,
    words: [&'static str; 3],
    peers: Vec<PeerLine>,
}

struct PeerLine {
    party: String,
    peer: String,
    health: String,
    since: String,
    evidence: String,
    admin: String,
    reason: String,
    standing: String,
}

pub(super) async fn peers(looker: Looker) -> Response {
    let status = (looker.api.status)();
    let frame = looker.frame_of("Peers", &status);
    let line = |peer: PeerStatus| PeerLine {
        since: told(Duration::from_secs(peer.since_s)),
        party: peer.party,
        peer: peer.peer,
        health: peer.health,
        evidence: peer.evidence,
        admin: peer.admin,
        reason: peer.reason,
        standing: peer.standing,
    };
    let peers = status.peers.into_iter().map(line).collect();
    page(&PeersPage { frame, words: ["enabled", "drain", "disabled"], peers })
}

/// Which two generations; empty fields ask nothing.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Between {
    from: String,
    to: String,
}

#[derive(Template)]
#[template(path = "generations.html")]
struct GenerationsPage {
    frame: Frame,
    from: String,
    to: String,
    fault: Option<String>,
    told: Option<String>,
    rows: Vec<DiffLine>,
    entries: Vec<EntryLine>,
}

struct EntryLine {
    generation: u64,
    before: u64,
    published: String,
    cause: String,
    told: String,
}

/// One DID before and after.
pub(super) struct DiffLine {
    pub(super) number: String,
    pub(super) before: String,
    pub(super) after: String,
}

pub(super) async fn generations(looker: Looker, Query(between): Query<Between>) -> Response {
    let (state, caller) = (looker.state(), looker.extension());
    let listed = match generations::list(state.clone(), caller.clone()).await {
        Ok(listed) => listed.0.generations,
        Err(problem) => return shown_problem(&looker, &problem),
    };
    let frame = looker.frame("Generations");
    let Between { from, to } = between;
    let (mut fault, mut lies_between, mut rows) = (None, None, Vec::new());
    if !from.is_empty() || !to.is_empty() {
        let asked = match (from.trim().parse(), to.trim().parse()) {
            (Ok(from), Ok(to)) => generations::diff(state, caller, Query(DiffQuestion { from, to }))
                .await
                .map_err(|problem| problem.detail),
            _ => Err(format!("found {from:?} and {to:?}, expected two generations")),
        };
        match asked {
            Ok(diff) => {
                rows = diff_lines(&frame, &diff.0).collect();
                lies_between = Some(diff.0.told);
            }
            Err(detail) => fault = Some(detail),
        }
    }
    let entries = listed.into_iter().map(|entry| EntryLine {
        generation: entry.generation,
        before: entry.generation.saturating_sub(1),
        published: times::shown(entry.published_at_ms),
        cause: entry.cause,
        told: entry.told,
    });
    page(&GenerationsPage { frame, from, to, fault, told: lies_between, rows, entries: entries.collect() })
}

/// The DIDs of a difference, in words.
pub(super) fn diff_lines<'a>(frame: &'a Frame, diff: &'a Diff) -> impl Iterator<Item = DiffLine> + 'a {
    let words = |row: Option<&DidRow>| match row {
        None => "not there".to_owned(),
        Some(row) => format!("{}, {}, {}", row.environment, row.status, row.pool_status),
    };
    diff.listed.iter().map(move |did| DiffLine {
        number: frame.number(&did.number),
        before: words(did.before.as_ref()),
        after: words(did.after.as_ref()),
    })
}

/// Which faults; empty fields ask nothing.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct FaultsForm {
    reason: Option<String>,
    skip: u32,
}

#[derive(Template)]
#[template(path = "faults.html")]
struct FaultsPage {
    frame: Frame,
    total: u64,
    kinds: Vec<ReasonCount>,
    faults: Vec<RowFault>,
    next_page: Option<String>,
}

pub(super) async fn faults(looker: Looker, Query(form): Query<FaultsForm>) -> Response {
    let question = FaultsQuestion { reason: form.reason.clone(), skip: Some(form.skip), limit: Some(ROWS) };
    let asked = faults::list(looker.state(), looker.extension(), Query(question)).await;
    let found = match asked {
        Ok(found) => found.0,
        Err(problem) => return shown_problem(&looker, &problem),
    };
    let is_full = found.faults.len() >= usize::try_from(ROWS).unwrap_or(usize::MAX);
    let next_page = is_full.then(|| {
        let reason = form.reason.map(|reason| format!("reason={reason}&")).unwrap_or_default();
        format!("{reason}skip={}", form.skip.saturating_add(ROWS))
    });
    let frame = looker.frame("Faults");
    page(&FaultsPage { frame, total: found.total, kinds: found.by_reason, faults: found.faults, next_page })
}

#[derive(Template)]
#[template(path = "testers.html")]
struct TestersPage {
    frame: Frame,
    environments: [&'static str; 3],
    trouble: Option<String>,
    testers: Vec<TesterLine>,
}

struct TesterLine {
    id: String,
    caller: String,
    subject: String,
    environment: String,
    ends: Moment,
    made_by: String,
    reason: String,
}

pub(super) async fn testers(looker: Looker) -> Response {
    let asked = testers::list(looker.state(), looker.extension()).await;
    let frame = looker.frame("Testers");
    let (testers, trouble) = match asked {
        Ok(found) => (found.0.testers, None),
        Err(problem) => (Vec::new(), Some(problem.detail)),
    };
    let testers = testers.into_iter().map(|tester| tester_line(&frame, tester)).collect();
    page(&TestersPage { environments: ["prod", "staging", "oss"], trouble, testers, frame })
}

fn tester_line(frame: &Frame, tester: TesterInEffect) -> TesterLine {
    let TesterInEffect { caller, did, organisation, environment, ends_at_ms, made } = tester;
    let of = organisation.map(|own| format!("every number of {}", if own.name.is_empty() { own.id } else { own.name }));
    TesterLine {
        id: made.id,
        caller: frame.number(&caller),
        subject: did.map(|did| frame.number(&did)).or(of).unwrap_or_default(),
        environment,
        ends: Moment { ms: ends_at_ms },
        made_by: made.made_by,
        reason: made.reason,
    }
}

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    frame: Frame,
    trouble: Option<String>,
    changes: Vec<ChangeLine>,
}

struct ChangeLine {
    at: String,
    who: String,
    role: String,
    origin: String,
    what: String,
    before: String,
    after: String,
    reason: String,
}

pub(super) async fn audit(looker: Looker) -> Response {
    let question = AuditQuestion { limit: Some(ROWS), ..AuditQuestion::default() };
    let asked = audit::list(looker.state(), looker.extension(), Query(question)).await;
    let (changes, trouble) = match asked {
        Ok(found) => (found.0.changes, None),
        Err(problem) => (Vec::new(), Some(problem.detail)),
    };
    let changes = changes.into_iter().map(|change| ChangeLine {
        at: times::shown(change.made.made_at_ms),
        who: change.made.made_by,
        role: change.role.unwrap_or_default(),
        origin: change.origin.unwrap_or_default(),
        what: format!("{} {}", change.action, change.subject),
        before: change.before.unwrap_or_default(),
        after: change.after.unwrap_or_default(),
        reason: change.made.reason,
    });
    page(&AuditPage { frame: looker.frame("Audit"), trouble, changes: changes.collect() })
}
