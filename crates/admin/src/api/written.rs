//! The answer to a write.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sync::changes::Written;

use super::dids::calls::still_up;

/// Why an overlay that was committed may not be in the directory that was published after it.
pub(crate) const ENDED_OR_REPLACED: &str = "committed, and ended or replaced by someone else since";

/// What was written, and since when it counts.
#[derive(Clone, PartialEq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Live {
    /// The id of the lease, the override or the panic; of a DID's row for a move.
    pub id: String,
    /// The generation in which it is live: the next call is decided by it. Absent while it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Milliseconds from the request until then.
    pub took_ms: f64,
    /// Why it was committed and is not live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<String>,
    /// What overrules it at present: `panic` or `lease`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overruled_by: Option<String>,
    /// Of a move: the DID's calls that stay where they are, by environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub still_up: BTreeMap<String, u32>,
}

impl Live {
    /// Live in this generation, so long after it was asked for.
    pub(crate) fn at(id: String, generation: u64, took_ms: f64) -> Live {
        let (generation, still_up) = (Some(generation), BTreeMap::new());
        Live { id, generation, took_ms, pending: None, overruled_by: None, still_up }
    }

    pub(crate) fn of(written: Written) -> Live {
        let (generation, pending) = match written.live {
            Ok(generation) => (Some(generation.0), None),
            Err(fault) => (None, Some(format!("committed, and not read back yet: {fault}"))),
        };
        let took_ms = rounded_ms(written.took);
        Live { id: written.id, generation, took_ms, pending, overruled_by: None, still_up: BTreeMap::new() }
    }

    /// The same; where the directory that was published after it does not have it, it is not live, for this reason.
    pub(crate) fn if_in(self, is_in: bool, why_not: &str) -> Live {
        if is_in || self.pending.is_some() {
            return self;
        }
        Live { generation: None, pending: Some(why_not.to_owned()), ..self }
    }
}

/// Milliseconds, to a tenth.
pub(crate) fn rounded_ms(took: Duration) -> f64 {
    (took.as_secs_f64() * 10_000.0).round() / 10.0
}

impl fmt::Display for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.generation, &self.pending) {
            (Some(generation), _) => write!(f, "live in generation {generation}, {} ms", self.took_ms)?,
            (None, pending) => write!(f, "NOT live: {}", pending.as_deref().unwrap_or("no generation has it"))?,
        }
        if let Some(by) = &self.overruled_by {
            write!(f, "; overruled at present by a {by}")?;
        }
        match still_up(&self.still_up) {
            Some(calls) => write!(f, "; {calls}"),
            None => Ok(()),
        }
    }
}
