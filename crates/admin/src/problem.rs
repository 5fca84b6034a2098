//! Why a request is not answered as asked: problem details (RFC 9457).

use std::fmt;

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sync::SyncFault;
use sync::changes::WriteFault;

/// The body of every answer that is no success, as `application/problem+json`.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Problem {
    /// The kind; the same words for ever.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was found and what was expected.
    pub detail: String,
    /// The id of what is there already, where that is the problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The version that is there now, where another was expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// The kinds of problem.
#[derive(Clone, Copy, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub enum Kind {
    /// The request cannot be.
    #[serde(rename = "urn:switchyard:invalid")]
    Invalid,
    /// Nobody knows who asks.
    #[serde(rename = "urn:switchyard:unauthenticated")]
    Unauthenticated,
    /// The caller may not.
    #[serde(rename = "urn:switchyard:forbidden")]
    Forbidden,
    /// The request is for a host that we are not.
    #[serde(rename = "urn:switchyard:host")]
    Host,
    /// There is no more room for such requests now.
    #[serde(rename = "urn:switchyard:too-many")]
    TooMany,
    /// The request took too long to arrive or to be answered.
    #[serde(rename = "urn:switchyard:slow")]
    Slow,
    /// There is no such thing.
    #[serde(rename = "urn:switchyard:not-found")]
    NotFound,
    /// The method is not for this resource.
    #[serde(rename = "urn:switchyard:method")]
    Method,
    /// Someone else has changed it since it was looked at.
    #[serde(rename = "urn:switchyard:changed")]
    Changed,
    /// There is one already.
    #[serde(rename = "urn:switchyard:exists")]
    Exists,
    /// A write did not say what it expects to find.
    #[serde(rename = "urn:switchyard:version-needed")]
    VersionNeeded,
    /// The tables that it takes are not there.
    #[serde(rename = "urn:switchyard:not-migrated")]
    NotMigrated,
    /// The database does not do it.
    #[serde(rename = "urn:switchyard:database")]
    Database,
    /// An error of ours.
    #[serde(rename = "urn:switchyard:internal")]
    Internal,
}

impl Kind {
    /// The HTTP status.
    pub const fn status(self) -> StatusCode {
        match self {
            Kind::Invalid => StatusCode::BAD_REQUEST,
            Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            Kind::Host => StatusCode::MISDIRECTED_REQUEST,
            Kind::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Kind::Slow => StatusCode::REQUEST_TIMEOUT,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Method => StatusCode::METHOD_NOT_ALLOWED,
            Kind::Changed | Kind::Exists => StatusCode::CONFLICT,
            Kind::VersionNeeded => StatusCode::PRECONDITION_REQUIRED,
            Kind::NotMigrated | Kind::Database => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Kind::Invalid => "The request cannot be",
            Kind::Unauthenticated => "Nobody knows who asks",
            Kind::Forbidden => "Not allowed",
            Kind::Host => "The request is for another host",
            Kind::TooMany => "Too many",
            Kind::Slow => "It took too long",
            Kind::NotFound => "Not found",
            Kind::Method => "The method is not for this resource",
            Kind::Changed => "It has changed meanwhile",
            Kind::Exists => "There is one already",
            Kind::VersionNeeded => "If-Match is needed",
            Kind::NotMigrated => "A table of ours is not there",
            Kind::Database => "The database does not do it",
            Kind::Internal => "An error of ours",
        }
    }
}

impl Problem {
    /// A problem of this kind.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Problem {
        Problem {
            kind,
            title: kind.title().to_owned(),
            status: kind.status().as_u16(),
            detail: detail.into(),
            id: None,
            version: None,
        }
    }

    /// The same, with the version that is there now.
    pub(crate) fn at_version(self, version: impl Into<String>) -> Problem {
        Problem { version: Some(version.into()), ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Problem {}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let content = [(header::CONTENT_TYPE, "application/problem+json")];
        let more = match self.kind {
            Kind::Unauthenticated => Some((header::WWW_AUTHENTICATE, "Bearer realm=\"switchyard\"")),
            Kind::TooMany => Some((header::RETRY_AFTER, "10")),
            _ => None,
        };
        let more = more.map(|more| [more]);
        match more {
            Some(more) => (self.kind.status(), content, more, Json(self)).into_response(),
            None => (self.kind.status(), content, Json(self)).into_response(),
        }
    }
}

impl From<WriteFault> for Problem {
    fn from(fault: WriteFault) -> Problem {
        let kind = match &fault {
            WriteFault::NotMigrated { .. } => Kind::NotMigrated,
            WriteFault::NoSuchDid { .. } | WriteFault::NoSuchOrganisation { .. } => Kind::NotFound,
            WriteFault::Changed { .. } | WriteFault::Ended { .. } => Kind::Changed,
            WriteFault::Exists { .. } => Kind::Exists,
            WriteFault::Invalid { .. } => Kind::Invalid,
            _ => Kind::Database,
        };
        let problem = Problem::new(kind, fault.to_string());
        match fault {
            WriteFault::Exists { id, .. } => Problem { id: Some(id), ..problem },
            _ => problem,
        }
    }
}

impl From<SyncFault> for Problem {
    fn from(fault: SyncFault) -> Problem {
        let kind = match fault {
            SyncFault::NothingHeld => Kind::NotFound,
            SyncFault::HeldChanged => Kind::Changed,
            _ => Kind::Database,
        };
        Problem::new(kind, fault.to_string())
    }
}
