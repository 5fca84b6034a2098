//! What the worker says of calls: refusals and warnings at INFO, never more than a few lines a second; each call at DEBUG.
//! What came off the wire is escaped.

use proxy::{Event, Outbox, Outcome, PartyId, Settings, Time};
use std::io;

/// Lines in one second; those above it are counted and told in one line when the next second begins.
const LINES_PER_SECOND: u32 = 20;

/// The worker's voice, with its breath.
#[derive(Debug, Default)]
pub(super) struct Log {
    second: u64,
    lines: u32,
    unsaid: u64,
    has_panicked: bool,
}

impl Log {
    /// Tells one event, if it is worth a line.
    pub(super) fn tell(&mut self, now: Time, event: &Event, outbox: &Outbox, settings: &Settings) {
        let text = |span| outbox.text(span).escape_ascii();
        match event {
            Event::Decided { call_id, called, method, decision } => {
                if tracing::enabled!(tracing::Level::DEBUG) {
                    let to = match decision.outcome {
                        Outcome::Forward(party) => name(settings, party).to_owned(),
                        Outcome::Refuse(refusal) => format!("refused with {}", refusal.status()),
                    };
                    let rule = decision.trace.deciding().map_or("none", |step| step.rule());
                    tracing::debug!(
                        call_id = %text(*call_id), called = %text(*called), method = method.as_str(),
                        direction = %decision.direction, %to, rule, "dispatched"
                    );
                }
            }
            Event::Final { call_id, status, after_us } => {
                tracing::debug!(call_id = %text(*call_id), status, after_us, "ended");
            }
            Event::Refused(party, refusal) if self.has_breath(now) => {
                let (status, reason) = (refusal.status(), refusal.name());
                tracing::info!(party = name(settings, *party), status, reason, "refused: {}", refusal.phrase());
            }
            Event::Failover(party, reason) if self.has_breath(now) => {
                tracing::warn!(party = name(settings, *party), reason = reason.name(), "the next target is tried");
            }
            Event::Warned(warning) if self.has_breath(now) => {
                tracing::warn!(warning = warning.name(), "served, with a warning");
            }
            Event::LimitReached(limit) if self.has_breath(now) => {
                tracing::error!(limit, "a limit is reached");
            }
            Event::Impossible(what) if self.has_breath(now) => {
                tracing::error!(what, "this cannot be: please report it");
            }
            _ => {}
        }
    }

    /// The core panicked. Said in full once: the panic itself has been told where it happened.
    pub(super) fn panicked(&mut self) {
        if !self.has_panicked {
            self.has_panicked = true;
            tracing::error!(
                "the core panicked on a message: the message is dropped and the service goes on, with a state that may \
                 be wrong; please report it, and restart when calls allow"
            );
        }
    }

    pub(super) fn warn_socket(&mut self, what: &'static str, error: &io::Error) {
        tracing::warn!(what, %error, "a socket reports an error");
    }

    fn has_breath(&mut self, now: Time) -> bool {
        let second = now.as_millis() / 1_000;
        if second != self.second {
            if self.unsaid > 0 {
                tracing::warn!(
                    lines = self.unsaid,
                    "lines were left out to keep the log readable; every one is counted"
                );
            }
            *self = Log { second, lines: 0, unsaid: 0, has_panicked: self.has_panicked };
        }
        let has_breath = self.lines < LINES_PER_SECOND;
        if has_breath {
            self.lines += 1;
        } else {
            self.unsaid += 1;
        }
        has_breath
    }
}

fn name(settings: &Settings, party: PartyId) -> &str {
    settings.party(party).map_or("(gone)", |party| &party.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_is_a_few_lines_a_second() {
        let mut log = Log::default();
        let said = (0..1_000).filter(|_| log.has_breath(Time::from_millis(1_500))).count();
        assert_eq!((said, log.unsaid), (20, 980));
        assert!(log.has_breath(Time::from_millis(2_000)));
        assert_eq!(log.unsaid, 0);
    }
}
