//! DIDs as a table for spreadsheets (RFC 4180): `GET /dids?format=csv` writes one, `POST /dids/csv` reads one and moves
//! the DIDs whose `row_environment` was changed in it.

mod import;

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::DefaultBodyLimit;
use axum::response::Response;
use axum::routing::post;
use directory::Directory;
use futures_util::stream;

use super::dids::{After, Did, DidsQuestion, Wanted, shown};
use super::routes::Routes;
use super::{csv, times};
use crate::limits::SHEET_BYTES_MAX;
use crate::problem::{Kind, Problem};

pub use import::{ImportQuestion, Imported, ImportedRow, Outcome};

/// The columns of a table of DIDs.
pub const COLUMNS: [&str; 14] = [
    "number",
    "row_environment",
    "environment",
    "by",
    "lease_environment",
    "lease_ends_at",
    "service",
    "state",
    "organisation_id",
    "organisation",
    "is_default",
    "call_limit",
    "provider",
    "version",
];
/// DIDs of one part of a table that is on its way.
const PART: usize = 1_000;

pub(super) fn router() -> Routes {
    Routes::new().route("/dids/csv", post(import::take).layer(DefaultBodyLimit::max(SHEET_BYTES_MAX)))
}

/// A DID's row, in the order of [`COLUMNS`].
pub fn cells(did: &Did) -> [String; 14] {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_default();
    let (lease_environment, lease_ends_at) = did
        .lease
        .as_ref()
        .map_or_else(Default::default, |lease| (lease.environment.clone(), times::shown(lease.ends_at_ms)));
    let own = did.organisation.as_ref();
    let (id, name) = own.map_or_else(Default::default, |own| (own.id.clone(), own.name.clone()));
    [
        did.number.clone(),
        did.row_environment.clone(),
        did.environment.clone(),
        did.by.clone(),
        lease_environment,
        lease_ends_at,
        did.service.clone(),
        or_none(&did.state),
        id,
        name,
        did.is_default.to_string(),
        did.call_limit.to_string(),
        or_none(&did.provider),
        did.version.clone(),
    ]
}

/// A table on its way: where it is in the directory, and how many rows may follow.
struct Export {
    directory: Arc<Directory>,
    wanted: Wanted,
    after: After,
    place: usize,
    left: usize,
}

/// Everything that fits the question, a part after the other, from one generation.
pub(super) fn export(directory: Arc<Directory>, question: &DidsQuestion) -> Result<Response, Problem> {
    let wanted = Wanted::of(&directory, question)?;
    let after = After::of(&directory, question.after.as_deref())?;
    if matches!(after, After::Count(_)) {
        return Err(Problem::new(Kind::Invalid, "after: found the place on a page, expected a number"));
    }
    let left = question.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let head = Bytes::from(csv::line(COLUMNS.iter().copied()));
    let export = Export { directory, wanted, after, place: 0, left };
    let parts = stream::unfold((Some(head), Some(export)), async |(head, export)| {
        if let Some(head) = head {
            return Some((Ok::<Bytes, Infallible>(head), (None, export)));
        }
        // A look through a large table takes its time, and the runtime has other things to do.
        let (part, export) = tokio::task::spawn_blocking(move || export?.part()).await.ok()??;
        Some((Ok(Bytes::from(part)), (None, export)))
    });
    Ok(csv::file("dids.csv", Body::from_stream(parts)))
}

impl Export {
    /// The next rows, and what follows them. A part never ends within a row.
    fn part(mut self) -> Option<(String, Option<Export>)> {
        let mut text = String::new();
        let mut seen = 0;
        let directory = Arc::clone(&self.directory);
        for did in directory.dids().skip(self.place).take(PART) {
            seen += 1;
            let is_before = matches!(self.after, After::Number(after) if did.number <= after);
            if is_before || self.left == 0 || !self.wanted.fits(&directory, &did) {
                continue;
            }
            if let Some(did) = shown(&directory, did.number) {
                text.push_str(&csv::line(cells(&did).iter().map(String::as_str)));
                self.left -= 1;
            }
        }
        self.place += seen;
        let has_ended = seen < PART || self.left == 0;
        (seen > 0).then_some((text, (!has_ended).then_some(self)))
    }
}
