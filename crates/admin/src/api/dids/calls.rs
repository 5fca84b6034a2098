//! What calls a DID has: how many now and where, and what became of the last one.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sip::Number;
use telemetry::calls::{CallNumber, KeptCall};

use super::{Api, Did};

/// How many calls of a number are in setup or up, by the environment on the PBX's side.
pub type LiveCalls = dyn Fn(Number) -> BTreeMap<String, u32> + Send + Sync;

/// The last call of a DID that the journal holds: one to it, or one that showed it.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct LastCall {
    /// Its number in the journal.
    pub call: u64,
    /// When it began, in milliseconds since 1970.
    pub began_at_ms: u64,
    /// `in_progress` and then how it ended, as its record says.
    pub outcome: String,
    /// The final status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why we refused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl LastCall {
    fn of((CallNumber(call), kept): (CallNumber, KeptCall<'_>)) -> LastCall {
        let record = &kept.record;
        LastCall {
            call,
            began_at_ms: record.began_at_ms,
            outcome: record.outcome.to_string(),
            status: record.status,
            reason: record.reason.as_ref().map(ToString::to_string),
        }
    }

    /// Its verdict in words: `busy (486)`.
    pub fn verdict(&self) -> String {
        let status = self.status.map(|status| format!(" ({status})")).unwrap_or_default();
        let reason = self.reason.as_deref().map(|reason| format!(", {reason}")).unwrap_or_default();
        format!("{}{status}{reason}", self.outcome.replace('_', " "))
    }
}

/// What calls these numbers have. One look into the journal for all of them, and each is found by its number there.
pub(crate) fn calls_of(api: &Api, numbers: &[Number]) -> Vec<(BTreeMap<String, u32>, Option<LastCall>)> {
    let last: Vec<Option<LastCall>> =
        api.calls.journal(|journal| numbers.iter().map(|number| journal.last_of(*number).map(LastCall::of)).collect());
    numbers.iter().map(|number| (api.live_calls)(*number)).zip(last).collect()
}

/// Adds to DIDs what calls they have.
pub(super) fn add(api: &Api, dids: &mut [Did]) {
    let number = |did: &Did| did.number.trim_start_matches('+').parse().ok().and_then(Number::from_digits);
    let known: Vec<(usize, Number)> =
        dids.iter().enumerate().filter_map(|(at, did)| Some((at, number(did)?))).collect();
    let numbers: Vec<Number> = known.iter().map(|(_, number)| *number).collect();
    for ((at, _), (live, last_call)) in known.iter().zip(calls_of(api, &numbers)) {
        if let Some(did) = dids.get_mut(*at) {
            (did.live_calls, did.last_call) = (live, last_call);
        }
    }
}

/// The calls of a number that are up anywhere but there: a move leaves them where they are.
pub(super) fn elsewhere(api: &Api, number: Number, environment: &str) -> BTreeMap<String, u32> {
    let mut live = (api.live_calls)(number);
    live.remove(environment);
    live
}

/// Calls by environment in words: `2 calls still up in prod, 1 in oss`.
pub(crate) fn still_up(live: &BTreeMap<String, u32>) -> Option<String> {
    let mut words = Vec::new();
    for (environment, count) in live {
        let what = match (words.is_empty(), count) {
            (true, 1) => " call still up",
            (true, _) => " calls still up",
            (false, _) => "",
        };
        words.push(format!("{count}{what} in {environment}"));
    }
    (!words.is_empty()).then(|| words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_a_move_leaves_are_told_in_words() {
        let live = |all: &[(&str, u32)]| all.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        assert_eq!(still_up(&live(&[])), None);
        assert_eq!(still_up(&live(&[("prod", 1)])).unwrap(), "1 call still up in prod");
        assert_eq!(still_up(&live(&[("prod", 2), ("oss", 1)])).unwrap(), "1 call still up in oss, 2 in prod");
    }
}
