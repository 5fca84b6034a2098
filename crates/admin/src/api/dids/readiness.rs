//! `POST /dids/{number}/readiness?environment=`: would an environment's PBX take this number's calls?
//!
//! Each of its targets gets two OPTIONS from the socket that serves it: one for the number, and one for a number that nobody
//! can have. The second one tells what the answer to the first is worth: a PBX that says 200 to everything says nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::{Extension, Json};
use directory::Environment;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sip::Number;

use super::super::request::{Path, Query};
use super::super::written::rounded_ms;
use super::super::{Api, Done};
use super::{did_of, environment};
use crate::access::{Caller, Role};
use crate::problem::Problem;

/// Which environment is asked.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadinessQuestion {
    /// `prod`, `staging` or `oss`.
    pub environment: String,
}

/// Whether an environment would take a number's calls.
#[derive(Clone, PartialEq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Readiness {
    /// The number, E.164 with `+`.
    pub number: String,
    /// The environment that was asked.
    pub environment: String,
    /// What all targets have in common, `mixed` where they differ, `nobody` where there is none to ask.
    pub outcome: Outcome,
    /// The same in words.
    pub told: String,
    /// The number that nobody can have.
    pub impossible: String,
    /// Milliseconds until everything was answered or given up.
    pub took_ms: f64,
    /// Each target that was asked.
    pub targets: Vec<TargetReadiness>,
    /// The number's calls in setup or up now, by environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub live_calls: BTreeMap<String, u32>,
}

/// What one target answered.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct TargetReadiness {
    /// The target, as the configuration writes it.
    pub peer: String,
    /// What that means.
    pub outcome: Outcome,
    /// The status for the number; absent without an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The status for the number that nobody can have; absent without an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impossible_status: Option<u16>,
}

/// What the two answers mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ReadinessOutcome")]
pub enum Outcome {
    /// It answers 2xx for the number and not for the impossible one: it knows the number.
    Ready,
    /// It answers, and does not know the number: 404, 410, 484 or 604.
    UnknownNumber,
    /// It answers, and its answer says nothing about the number: 2xx for both, or a status that speaks of neither.
    TellsNothing,
    /// It wants no calls now: 5xx.
    Unwilling,
    /// One of the two had no answer in time.
    HalfAnswered,
    /// Neither had an answer in time.
    Silent,
    /// Its address refuses what is sent, or there is no way there.
    Unreachable,
    /// Targets differ.
    Mixed,
    /// No target can be asked: the environment has none, or none has an address, or all are disabled.
    Nobody,
}

/// What became of one OPTIONS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply {
    /// Answered with this status.
    Status(u16),
    /// It could not be delivered.
    Refused,
    /// No answer in time.
    None,
}

/// What became of both at one target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replies {
    /// The target, as the configuration writes it.
    pub peer: String,
    /// For the number.
    pub number: Reply,
    /// For the number that nobody can have.
    pub impossible: Reply,
}

/// One question, on its way to whoever has the sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asked {
    /// Whose targets.
    pub environment: Environment,
    /// The number.
    pub number: Number,
    /// The number that nobody can have.
    pub impossible: Number,
}

/// Asks every target of an environment, and answers within [`crate::limits::READINESS_TIME_MAX`].
pub type AskTargets = dyn Fn(Asked) -> Done<Result<Vec<Replies>, Problem>> + Send + Sync;

pub(super) async fn ask(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(number): Path<String>,
    Query(question): Query<ReadinessQuestion>,
) -> Result<Json<Readiness>, Problem> {
    caller.may(Role::Operator)?;
    let environment = environment(&question.environment)?;
    let directory = api.directory();
    let number = api.number(&directory, &number)?;
    did_of(&directory, number)?;
    let impossible = directory.numbering().impossible(number);
    let begun = Instant::now();
    let replies = (api.ask_targets)(Asked { environment, number, impossible }).await?;
    let took = begun.elapsed();
    let targets: Vec<TargetReadiness> = replies.into_iter().map(TargetReadiness::of).collect();
    let outcome = Outcome::of_all(&targets);
    Ok(Json(Readiness {
        number: format!("+{number}"),
        environment: environment.to_string(),
        outcome,
        told: outcome.told(environment.as_str()),
        impossible: format!("+{impossible}"),
        took_ms: rounded_ms(took),
        targets,
        live_calls: (api.live_calls)(number),
    }))
}

impl TargetReadiness {
    fn of(replies: Replies) -> TargetReadiness {
        let status = |reply| match reply {
            Reply::Status(status) => Some(status),
            Reply::Refused | Reply::None => None,
        };
        TargetReadiness {
            outcome: Outcome::of(replies.number, replies.impossible),
            status: status(replies.number),
            impossible_status: status(replies.impossible),
            peer: replies.peer,
        }
    }
}

impl Outcome {
    /// What two answers mean.
    fn of(number: Reply, impossible: Reply) -> Outcome {
        match (number, impossible) {
            (Reply::Refused, _) | (_, Reply::Refused) => Outcome::Unreachable,
            (Reply::None, Reply::None) => Outcome::Silent,
            (Reply::None, _) | (_, Reply::None) => Outcome::HalfAnswered,
            (Reply::Status(200..300), Reply::Status(other)) if !(200..300).contains(&other) => Outcome::Ready,
            (Reply::Status(404 | 410 | 484 | 604), _) => Outcome::UnknownNumber,
            // 501 and 505 say that OPTIONS is not understood, not that no call is wanted.
            (Reply::Status(500 | 502..=504 | 506..600), _) => Outcome::Unwilling,
            (Reply::Status(_), Reply::Status(_)) => Outcome::TellsNothing,
        }
    }

    fn of_all(targets: &[TargetReadiness]) -> Outcome {
        let Some(first) = targets.first() else { return Outcome::Nobody };
        let is_common = targets.iter().all(|target| target.outcome == first.outcome);
        if is_common { first.outcome } else { Outcome::Mixed }
    }

    /// The outcome at an environment or a target, in a sentence.
    pub fn told(self, of: &str) -> String {
        match self {
            Outcome::Ready => format!("{of} knows the number, and tells it from one that nobody can have"),
            Outcome::UnknownNumber => format!("{of} is alive and does not know the number"),
            Outcome::TellsNothing => {
                format!("{of} is alive, and answers alike for a number that nobody can have: it tells nothing")
            }
            Outcome::Unwilling => format!("{of} is alive and wants no calls now"),
            Outcome::HalfAnswered => format!("{of} answered one of two questions: ask again"),
            Outcome::Silent => format!("{of} does not answer"),
            Outcome::Unreachable => format!("{of} cannot be reached"),
            Outcome::Mixed => format!("the targets of {of} differ"),
            Outcome::Nobody => format!("{of} has no target that can be asked"),
        }
    }

    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Ready => "ready",
            Outcome::UnknownNumber => "unknown_number",
            Outcome::TellsNothing => "tells_nothing",
            Outcome::Unwilling => "unwilling",
            Outcome::HalfAnswered => "half_answered",
            Outcome::Silent => "silent",
            Outcome::Unreachable => "unreachable",
            Outcome::Mixed => "mixed",
            Outcome::Nobody => "nobody",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_impossible_number_tells_what_the_answer_is_worth() {
        let status = Reply::Status;
        for (number, impossible, outcome) in [
            (status(200), status(404), Outcome::Ready),
            (status(204), status(480), Outcome::Ready),
            (status(200), status(200), Outcome::TellsNothing),
            (status(404), status(404), Outcome::UnknownNumber),
            (status(404), status(200), Outcome::UnknownNumber),
            (status(405), status(405), Outcome::TellsNothing),
            (status(401), status(404), Outcome::TellsNothing),
            (status(501), status(501), Outcome::TellsNothing),
            (status(503), status(503), Outcome::Unwilling),
            (status(503), status(404), Outcome::Unwilling),
            (status(200), Reply::None, Outcome::HalfAnswered),
            (Reply::None, status(404), Outcome::HalfAnswered),
            (Reply::None, Reply::None, Outcome::Silent),
            (Reply::Refused, Reply::None, Outcome::Unreachable),
            (status(200), Reply::Refused, Outcome::Unreachable),
        ] {
            assert_eq!(Outcome::of(number, impossible), outcome, "{number:?}, {impossible:?}");
        }
    }

    #[test]
    fn targets_that_differ_are_mixed_and_none_is_nobody() {
        let of = |number, impossible| TargetReadiness::of(Replies { peer: "udp:x".into(), number, impossible });
        let ready = of(Reply::Status(200), Reply::Status(404));
        assert_eq!(Outcome::of_all(&[]), Outcome::Nobody);
        assert_eq!(Outcome::of_all(&[ready.clone(), ready.clone()]), Outcome::Ready);
        assert_eq!(Outcome::of_all(&[ready, of(Reply::None, Reply::None)]), Outcome::Mixed);
        assert_eq!(serde_json::to_value(Outcome::UnknownNumber).unwrap(), Outcome::UnknownNumber.as_str());
    }
}
