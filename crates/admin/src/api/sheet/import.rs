//! A table of DIDs that was changed, and comes back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::{Extension, Json};
use directory::{Directory, Environment, RoutedBy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sip::Number;
use sync::changes::{Move, WriteFault};

use super::super::dids::{environment, shown, why_not};
use super::super::request::Query;
use super::super::written::rounded_ms;
use super::super::{Api, csv};
use super::{COLUMNS, cells};
use crate::access::{Caller, Role};
use crate::limits::SHEET_MOVES_MAX;
use crate::problem::{Kind, Problem};

/// How a table is taken.
#[derive(Clone, PartialEq, Eq, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImportQuestion {
    /// Nothing is changed, and the answer says what would be.
    pub dry_run: bool,
    /// Why; needed unless nothing is changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What became of a table, or would.
#[derive(Clone, PartialEq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Imported {
    /// Whether it was only looked at.
    pub dry_run: bool,
    /// The generation in which what was changed is live; of what was only looked at the one that it was held to. Absent
    /// while it is not live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Milliseconds from the request until then.
    pub took_ms: f64,
    /// Why what was committed is not live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<String>,
    /// Rows that were changed, or would be.
    pub changed: u64,
    /// Rows that say what is there already; they are not listed.
    pub unchanged: u64,
    /// Rows that were refused, or would be.
    pub refused: u64,
    /// Rows that were not tried any more.
    pub not_tried: u64,
    /// Every row that does not say what is there already, in the table's order.
    pub rows: Vec<ImportedRow>,
}

/// What became of a row, or would.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct ImportedRow {
    /// Its line in the table, from 1.
    pub line: u64,
    /// The DID in E.164 with `+`; what stood there, where that is no number.
    pub number: String,
    /// Where its row sent its calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Where the table wants them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
    /// Why it was refused or not tried, or is not live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What overrules it at present: `panic` or `lease`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overruled_by: Option<String>,
}

/// What became of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It would be changed.
    WouldChange,
    /// It is changed, and live.
    Changed,
    /// It is changed, and not live yet.
    Pending,
    /// It cannot be changed, and is as it was.
    Refused,
    /// It was not tried any more, and is as it was.
    NotTried,
}

/// A row that is to be changed, and its place in the answer.
struct Wish {
    place: usize,
    number: Number,
    environment: Environment,
    before: Option<String>,
}

/// What a table comes to before anything is written.
struct Plan {
    rows: Vec<ImportedRow>,
    wishes: Vec<Wish>,
    unchanged: u64,
}

pub(super) async fn take(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Query(question): Query<ImportQuestion>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Imported>, Problem> {
    let begun = Instant::now();
    caller.may(Role::Operator)?;
    let ImportQuestion { dry_run, reason } = question;
    let by = match reason {
        None if dry_run => None,
        reason => Some(api.by(&caller, Role::Operator, reason.unwrap_or_default())?),
    };
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/csv") {
        return Err(Problem::new(Kind::Invalid, format!("Content-Type: found {kind:?}, expected text/csv")));
    }
    let body = body.map_err(|rejection| Problem::new(Kind::Invalid, rejection.body_text()))?;
    let directory = api.directory();
    // A large table takes its time, and the runtime has other things to do.
    let looked_at = Arc::clone(&directory);
    let plan = tokio::task::spawn_blocking(move || Plan::of(&looked_at, &body)).await;
    let mut plan = plan.map_err(|error| Problem::new(Kind::Internal, error.to_string()))??;
    let (mut generation, mut pending) = (Some(directory.generation().0), None);
    if let Some(by) = by.filter(|_| !dry_run && !plan.wishes.is_empty()) {
        let moves: Vec<Move> = plan.wishes.iter().map(Wish::as_move).collect();
        let written = api.writes.set_environments(&moves, &by).await?;
        (generation, pending) = match written.live {
            Ok(generation) => (Some(generation.0), None),
            Err(fault) => (None, Some(format!("committed, and not read back yet: {fault}"))),
        };
        plan.tell(&api, written.moves, pending.as_deref());
    }
    Ok(Json(plan.told(dry_run, generation, pending, rounded_ms(begun.elapsed()))))
}

impl Wish {
    fn as_move(&self) -> Move {
        let Wish { number, environment, before, .. } = self;
        Move { number: *number, environment: *environment, before: before.clone() }
    }
}

impl Plan {
    fn of(directory: &Directory, table: &[u8]) -> Result<Plan, Problem> {
        let invalid = |detail: String| Problem::new(Kind::Invalid, detail);
        let table = csv::read(table, &COLUMNS, &["number", "row_environment"]).map_err(invalid)?;
        let mut plan = Plan { rows: Vec::new(), wishes: Vec::new(), unchanged: 0 };
        let mut lines = HashMap::new();
        for row in &table {
            plan.take(directory, row, &mut lines);
        }
        if plan.wishes.len() > SHEET_MOVES_MAX {
            let found = plan.wishes.len();
            return Err(invalid(format!(
                "found {found} DIDs to move, expected at most {SHEET_MOVES_MAX}: divide the table"
            )));
        }
        Ok(plan)
    }

    fn take(&mut self, directory: &Directory, row: &csv::Row, lines: &mut HashMap<Number, u64>) {
        let cell = |column: &str| row.cells.get(column).map_or("", String::as_str);
        let mut told = ImportedRow {
            line: row.line,
            number: cell("number").to_owned(),
            before: None,
            after: None,
            outcome: Outcome::Refused,
            why: None,
            overruled_by: None,
        };
        match wish(directory, row, lines, &mut told) {
            Ok(None) => self.unchanged += 1,
            Ok(Some((number, environment, before))) => {
                told.outcome = Outcome::WouldChange;
                self.wishes.push(Wish { place: self.rows.len(), number, environment, before });
                self.rows.push(told);
            }
            Err(why) => self.rows.push(ImportedRow { why: Some(why), ..told }),
        }
    }

    /// Says of each row what became of it.
    fn tell(&mut self, api: &Api, moves: Vec<Result<String, WriteFault>>, pending: Option<&str>) {
        let directory = api.directory();
        for (wish, written) in self.wishes.iter().zip(moves) {
            let Some(row) = self.rows.get_mut(wish.place) else { continue };
            let is_in = directory.did(wish.number).is_some_and(|did| did.environment == wish.environment);
            (row.outcome, row.why) = match written {
                Ok(_) if is_in => (Outcome::Changed, None),
                Ok(_) => (Outcome::Pending, Some(pending.unwrap_or_else(|| why_not(api)).to_owned())),
                Err(fault @ WriteFault::NotTried) => (Outcome::NotTried, Some(fault.to_string())),
                Err(fault) => (Outcome::Refused, Some(fault.to_string())),
            };
            if matches!(row.outcome, Outcome::Changed | Outcome::Pending) {
                let by = directory.route(wish.number, None).map(|routed| routed.by);
                row.overruled_by = by.filter(|by| *by < RoutedBy::Row).map(|by| by.to_string());
            }
        }
    }

    fn told(self, dry_run: bool, generation: Option<u64>, pending: Option<String>, took_ms: f64) -> Imported {
        let of = |outcomes: &[Outcome]| {
            let rows = self.rows.iter().filter(|row| outcomes.contains(&row.outcome)).count();
            u64::try_from(rows).unwrap_or(u64::MAX)
        };
        Imported {
            dry_run,
            generation,
            took_ms,
            pending,
            changed: of(&[Outcome::WouldChange, Outcome::Changed, Outcome::Pending]),
            unchanged: self.unchanged,
            refused: of(&[Outcome::Refused]),
            not_tried: of(&[Outcome::NotTried]),
            rows: self.rows,
        }
    }
}

/// What a row wants: the DID, where to, and what its row is to say until then; `None` where it says that already. The
/// error says why it cannot be.
fn wish(
    directory: &Directory,
    row: &csv::Row,
    lines: &mut HashMap<Number, u64>,
    told: &mut ImportedRow,
) -> Result<Option<(Number, Environment, Option<String>)>, String> {
    let written = told.number.clone();
    let number = directory.numbering().canonical(written.as_bytes()).map_err(|fault| match is_rounded(&written) {
        true => format!("found {written:?}: a spreadsheet has rounded it; take the column as text"),
        false => format!("found {written:?}, expected a number ({fault})"),
    })?;
    told.number = format!("+{number}");
    if let Some(line) = lines.insert(number, row.line) {
        return Err(format!("line {line} has the same number"));
    }
    let did = shown(directory, number).ok_or("found no such DID in the directory")?;
    told.before = Some(did.row_environment.clone());
    let wanted = row.cells.get("row_environment").map_or("", String::as_str);
    let wanted = environment(&wanted.to_ascii_lowercase()).map_err(|problem| problem.detail)?;
    told.after = Some(wanted.to_string());
    let present = cells(&did);
    let present = |column: &str| COLUMNS.iter().zip(&present).find(|(name, _)| **name == column).map(|(_, cell)| cell);
    if let Some(version) = row.cells.get("version").filter(|version| !version.is_empty() && **version != did.version) {
        return Err(format!("found the version {version}, and it is {} now: it has changed meanwhile", did.version));
    }
    for (column, cell) in row.cells.iter().filter(|(column, _)| !["number", "row_environment"].contains(*column)) {
        let is = present(column).map_or("", String::as_str);
        if !cell.is_empty() && !cell.eq_ignore_ascii_case(is.trim()) {
            return Err(format!("{column}: found {cell:?}, and it is {is:?}: a table changes row_environment alone"));
        }
    }
    if did.row_environment == wanted.as_str() {
        return Ok(None);
    }
    // A row that turned bad does not say what is in effect.
    let before = (!did.kept_last_good).then_some(did.row_environment);
    Ok(Some((number, wanted, before)))
}

/// `9.18066E+11`
fn is_rounded(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_digit() || ".,+eE".contains(c);
    text.contains(['e', 'E']) && text.chars().all(is_part) && text.starts_with(|c: char| c.is_ascii_digit())
}
