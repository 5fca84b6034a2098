//! `/admin/calls`: the last calls and those in progress; and one of them, with every rule of its decision and its ladder.

use askama::Template;
use axum::response::Response;
use serde::Deserialize;
use telemetry::calls::{CallDetail, CallRecord};

use super::frame::{Frame, Looker};
use super::{page, shown_problem};
use crate::access::Numbers;
use crate::api::calls::{self, CallsQuestion};
use crate::api::request::{Path, Query};
use crate::api::times;

/// Rows of one page.
const ROWS: u32 = 100;

const OUTCOMES: [&str; 8] =
    ["in_progress", "answered", "refused", "busy", "cancelled", "not_found", "unavailable", "failed"];

/// What the page's form asks. An empty field asks nothing, so this is not the API's own question.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Form {
    number: String,
    peer: String,
    outcome: String,
    in_progress: Option<String>,
    before: Option<u64>,
}

impl Form {
    /// What calls must be, as the API's filter.
    pub(super) fn filter(&self) -> String {
        let conditions = [("number", &self.number), ("peer", &self.peer), ("outcome", &self.outcome)];
        let asked = conditions.iter().filter(|(_, value)| !value.trim().is_empty());
        asked.map(|(key, value)| format!("{key}={}", value.trim())).collect::<Vec<_>>().join(",")
    }

    /// Whether calls must be in progress.
    pub(super) fn is_in_progress(&self) -> bool {
        self.in_progress.is_some()
    }

    /// This form as a query, from a call on or from the newest.
    fn at(&self, before: Option<u64>) -> String {
        let mut pairs = vec![("number", self.number.clone()), ("peer", self.peer.clone())];
        pairs.push(("outcome", self.outcome.clone()));
        pairs.extend(self.in_progress.iter().map(|word| ("in_progress", word.clone())));
        pairs.extend(before.map(|before| ("before", before.to_string())));
        pairs.retain(|(_, value)| !value.is_empty());
        serde_urlencoded::to_string(pairs).unwrap_or_default()
    }
}

#[derive(Template)]
#[template(path = "calls.html")]
struct CallsPage {
    frame: Frame,
    number: String,
    peer: String,
    outcome: String,
    outcomes: [&'static str; 8],
    in_progress: bool,
    fault: Option<String>,
    rows: Vec<Row>,
    next_page: Option<String>,
    /// Where the page hears of calls; only the newest page does.
    events: Option<String>,
    most: u32,
}

/// One row, as it is sent when it changes.
#[derive(Template)]
#[template(path = "call_row.html")]
pub(super) struct CallRow<'a> {
    pub(super) row: &'a Row,
}

pub(super) struct Row {
    id: u64,
    began: String,
    direction: String,
    called: String,
    calling: String,
    from: String,
    to: String,
    rule: String,
    state: &'static str,
    outcome: String,
    talked: String,
}

pub(super) async fn list(looker: Looker, Query(form): Query<Form>) -> Response {
    let question = CallsQuestion {
        filter: Some(form.filter()).filter(|filter| !filter.is_empty()),
        in_progress: form.in_progress.is_some().then_some(true),
        until_ms: None,
        before: form.before,
        limit: Some(ROWS),
    };
    let asked = calls::list(looker.state(), looker.extension(), Query(question)).await;
    let frame = looker.frame("Calls");
    let (entries, next, fault) = match asked {
        Ok(found) => (found.0.calls, found.0.next, None),
        Err(problem) => (Vec::new(), None, Some(problem.detail)),
    };
    page(&CallsPage {
        rows: entries.iter().map(|entry| row(frame.numbers(), entry.number, &entry.record)).collect(),
        next_page: next.map(|next| form.at(Some(next))),
        events: form.before.is_none().then(|| form.at(None)),
        most: ROWS,
        outcomes: OUTCOMES,
        in_progress: form.in_progress.is_some(),
        number: form.number,
        peer: form.peer,
        outcome: form.outcome,
        fault,
        frame,
    })
}

/// Whether a call is in progress.
pub(super) fn is_in_progress(record: &CallRecord) -> bool {
    record.ended_at_ms.is_none()
}

/// What of it: it rings, it is up, it is over.
fn state(record: &CallRecord) -> &'static str {
    match (record.ended_at_ms, record.answered_at_ms, record.ringing_at_ms) {
        (Some(_), ..) => "over",
        (None, Some(_), _) => "up",
        (None, None, Some(_)) => "rings",
        (None, None, None) => "in setup",
    }
}

pub(super) fn row(numbers: Numbers, id: u64, record: &CallRecord) -> Row {
    let status = record.status.map(|status| format!(" ({status})")).unwrap_or_default();
    let reason = record.reason.as_deref().map(|reason| format!(", {reason}")).unwrap_or_default();
    Row {
        id,
        began: times::shown(record.began_at_ms),
        direction: record.direction.to_string(),
        called: numbers.shown(record.called.as_deref().unwrap_or(&record.called_received)),
        calling: numbers.shown(&record.caller_received),
        state: state(record),
        from: record.from.to_string(),
        to: record.to.as_deref().unwrap_or("nobody").to_owned(),
        rule: record.rule.as_deref().unwrap_or("none").to_owned(),
        outcome: format!("{}{status}{reason}", record.outcome.replace('_', " ")),
        talked: record.talked_ms.map(|ms| format!("{}.{} s", ms / 1_000, ms / 100 % 10)).unwrap_or_default(),
    }
}

#[derive(Template)]
#[template(path = "call.html")]
struct CallPage {
    frame: Frame,
    row: Row,
    generation: u64,
    overlay: String,
    call_id: String,
    rules: Vec<Told>,
    attempts: Vec<String>,
    stray: String,
    messages: Vec<Message>,
    left_out: u32,
}

struct Told {
    rule: String,
    told: String,
    won: bool,
}

struct Message {
    after_ms: String,
    way: String,
    summary: String,
    cseq: String,
    bytes: usize,
}

pub(super) async fn show(looker: Looker, Path(id): Path<String>) -> Response {
    let asked = calls::show(looker.state(), looker.extension(), Path(id)).await;
    let detail = match asked {
        Ok(detail) => detail.0,
        Err(problem) => return shown_problem(&looker, &problem),
    };
    let frame = looker.frame("Calls");
    let CallDetail { number, record, told, .. } = &detail;
    let rules = told.iter().map(|told| Told {
        rule: told.rule.to_string(),
        told: frame.number(&told.told),
        won: record.rule.as_ref() == Some(&told.rule),
    });
    let attempts = record.attempts.iter().map(|attempt| {
        let failure = attempt.failure.as_deref().map(|failure| format!(", failed: {failure}"));
        format!("{} at {}{}", attempt.to, attempt.target, failure.unwrap_or_default())
    });
    let stray = record.stray_media.iter().map(|stray| format!("{} of {}", stray.address, stray.from));
    page(&CallPage {
        row: row(frame.numbers(), *number, record),
        generation: record.generation,
        overlay: record.overlay.as_deref().unwrap_or_default().to_owned(),
        call_id: frame.number(&record.call_id),
        rules: rules.collect(),
        attempts: attempts.collect(),
        stray: stray.collect::<Vec<_>>().join(", "),
        messages: messages(&frame, &detail),
        left_out: detail.left_out,
        frame,
    })
}

fn messages(frame: &Frame, detail: &CallDetail) -> Vec<Message> {
    let first_us = detail.messages.first().map_or(0, |message| message.at_us);
    let shown = detail.messages.iter().map(|message| {
        let after_us = message.at_us.saturating_sub(first_us);
        Message {
            after_ms: format!("{}.{:03}", after_us / 1_000, after_us % 1_000),
            way: if message.sent { format!("to {}", message.peer) } else { format!("from {}", message.peer) },
            summary: frame.number(&message.summary),
            cseq: message.cseq.clone(),
            bytes: message.bytes,
        }
    });
    shown.collect()
}
