//! What the parties saw, message by message, and the picture of it.

use super::message::Read;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Messages that are remembered. A call has about 14: only the newest calls matter.
const SIGHTINGS_MAX: usize = 4_096;

/// One message, seen by one party as it sent or received it.
#[derive(Clone, Debug)]
pub(super) struct Sighting {
    pub(super) at: Instant,
    pub(super) party: &'static str,
    pub(super) is_sent: bool,
    pub(super) call_id: String,
    pub(super) summary: String,
}

/// Everything that the parties see, in the order in which it happened.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    seen: Mutex<Vec<Sighting>>,
}

/// One call between its two ends, drawn as it went.
#[derive(Clone, Debug)]
pub(super) struct Ladder {
    pub(super) caller: &'static str,
    pub(super) callee: Option<&'static str>,
    pub(super) sightings: Vec<Sighting>,
}

impl Sightings {
    pub(super) fn note(&self, party: &'static str, is_sent: bool, message: &Read) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() == SIGHTINGS_MAX {
            seen.drain(..SIGHTINGS_MAX / 2);
        }
        let (call_id, summary) = (message.call_id.clone(), message.summary());
        seen.push(Sighting { at: Instant::now(), party, is_sent, call_id, summary });
    }

    /// The call of this Call-ID, as `caller` and whoever else saw it.
    pub(super) fn ladder(&self, caller: &'static str, call_id: &str) -> Ladder {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let sightings: Vec<Sighting> = seen.iter().filter(|sighting| sighting.call_id == call_id).cloned().collect();
        let callee = sightings.iter().map(|sighting| sighting.party).find(|party| *party != caller);
        Ladder { caller, callee, sightings }
    }
}

impl Ladder {
    /// Every party that saw the call, beside the caller.
    pub(super) fn reached(&self) -> Vec<&'static str> {
        let mut reached: Vec<&'static str> = Vec::new();
        for sighting in &self.sightings {
            if sighting.party != self.caller && !reached.contains(&sighting.party) {
                reached.push(sighting.party);
            }
        }
        reached
    }
}

impl fmt::Display for Ladder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lanes = [self.caller, "switchyard", self.callee.unwrap_or_default()].map(str::to_owned);
        let first = self.sightings.first().map(|sighting| sighting.at);
        let steps = self.sightings.iter().map(|Sighting { at, party, is_sent, summary, .. }| {
            let lane = if *party == self.caller { 0 } else { 2 };
            let (from, to) = if *is_sent { (lane, 1) } else { (1, lane) };
            let after = first.map(|first| at.duration_since(first)).unwrap_or_default();
            let after_us = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
            telemetry::calls::Step { after_us, from, to, text: summary.clone() }
        });
        telemetry::calls::Ladder { lanes: lanes.to_vec(), steps: steps.collect() }.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_ladder_shows_each_message_between_the_right_life_lines() {
        let start = Instant::now();
        let seen = |after_ms, party, is_sent, summary: &str| Sighting {
            at: start + Duration::from_millis(after_ms),
            party,
            is_sent,
            call_id: "1".into(),
            summary: summary.into(),
        };
        let sightings = vec![
            seen(0, "gateway", true, "INVITE"),
            seen(1, "prod", false, "INVITE"),
            seen(2, "prod", true, "200 OK"),
            seen(12, "gateway", false, "200 OK"),
        ];
        let ladder = Ladder { caller: "gateway", callee: Some("prod"), sightings };
        let expected = [
            "             gateway                          switchyard                           prod               ",
            "                 | - INVITE ---------------------> |                                 |      0.0 ms",
            "                 |                                 | - INVITE ---------------------> |      1.0 ms",
            "                 |                                 | <- 200 OK --------------------- |      2.0 ms",
            "                 | <- 200 OK --------------------- |                                 |     12.0 ms",
        ];
        assert_eq!(ladder.to_string().lines().collect::<Vec<_>>(), expected, "\n{ladder}");
        assert_eq!(ladder.reached(), ["prod"]);
    }
}
