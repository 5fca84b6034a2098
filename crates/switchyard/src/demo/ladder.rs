//! What the parties saw, message by message, and the picture of it.

use super::message::Read;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Messages that are remembered. A call has about 14: only the newest calls matter.
const SIGHTINGS_MAX: usize = 4_096;
/// Columns between two life lines.
const WIDTH: usize = 34;

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
        let half = WIDTH / 2;
        let callee = self.callee.unwrap_or_default();
        writeln!(f, "{:^WIDTH$}{:^WIDTH$}{:^WIDTH$}", self.caller, "switchyard", callee)?;
        let Some(first) = self.sightings.first().map(|sighting| sighting.at) else { return Ok(()) };
        for Sighting { at, party, is_sent, summary, .. } in &self.sightings {
            let is_left = *party == self.caller;
            let is_rightward = is_left == *is_sent;
            let arrow = arrow(summary, is_rightward);
            let far = if callee.is_empty() { ' ' } else { '|' };
            let after_ms = at.duration_since(first).as_secs_f64() * 1_000.0;
            let (left, right) = if is_left { (arrow.as_str(), "") } else { ("", arrow.as_str()) };
            let gap = WIDTH - 1;
            writeln!(f, "{:half$}|{left:gap$}|{right:gap$}{far}  {after_ms:7.1} ms", "")?;
        }
        Ok(())
    }
}

fn arrow(text: &str, is_rightward: bool) -> String {
    let width = WIDTH - 4;
    let text: String = text.chars().take(width - 3).collect();
    let line = format!("- {text} ");
    if is_rightward { format!(" {line:-<width$}> ") } else { format!(" <{line:-<width$} ") }
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
