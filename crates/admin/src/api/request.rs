//! What is taken from a request, with every refusal as a [`Problem`].

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts};
use axum::http::HeaderMap;
use axum::http::header::IF_MATCH;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::problem::{Kind, Problem};

/// A JSON body.
#[derive(FromRequest)]
#[from_request(via(axum::Json), rejection(Problem))]
pub(crate) struct Body<T>(pub(crate) T);

/// The parameters behind `?`.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(Problem))]
pub(crate) struct Query<T>(pub(crate) T);

/// What the path names.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(Problem))]
pub(crate) struct Path<T>(pub(crate) T);

/// Why something is ended.
#[derive(Debug, JsonSchema, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reason {
    pub(crate) reason: String,
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Problem {
        Problem::new(Kind::Invalid, rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Problem {
        Problem::new(Kind::Invalid, rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Problem {
        Problem::new(Kind::Invalid, rejection.body_text())
    }
}

/// Holds a write to what its `If-Match` expects: a version in quotes, or `*` for whatever is there.
pub(crate) fn check_version(headers: &HeaderMap, version: &str) -> Result<(), Problem> {
    let Some(expected) = headers.get(IF_MATCH) else {
        let detail = format!("found no If-Match, expected the version that was looked at: \"{version}\", or * for any");
        return Err(Problem::new(Kind::VersionNeeded, detail).at_version(version));
    };
    let expected = expected.to_str().unwrap_or_default().trim();
    let is_met = expected == "*" || expected.split(',').any(|one| one.trim().trim_matches('"') == version);
    if is_met {
        return Ok(());
    }
    let detail = format!("found version \"{version}\", expected {expected}: someone else has changed it");
    Err(Problem::new(Kind::Changed, detail).at_version(version))
}
