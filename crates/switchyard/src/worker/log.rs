//! What the worker says of calls: one line for each call's end at INFO, each decision at DEBUG; refusals and warnings never
//! more than a few lines a second.
//! What came off the wire is escaped.

mod calls;

use super::security::Security;
use calls::Calls;
use proxy::{Engine, Event, Outbox, Outcome, PartyId, Settings, Time};
use std::io;

/// Lines in one second; those above it are counted and told in one line when the next second begins.
const LINES_PER_SECOND: usize = 20;
/// Lines of one and the same word among them.
const LINES_PER_WORD: usize = 3;

/// The worker's voice, with its breath.
#[derive(Debug, Default)]
pub(super) struct Log {
    second: u64,
    /// The words of this second's lines.
    said: Vec<&'static str>,
    unsaid: u64,
    has_panicked: bool,
    security: Security,
    calls: Calls,
}

impl Log {
    /// Tells one event, if it is worth a line.
    pub(super) fn tell(&mut self, now: Time, event: &Event, outbox: &Outbox, settings: &Settings, engine: &Engine) {
        self.calls.tell(event, outbox, settings, engine);
        let text = |span| outbox.text(span).escape_ascii();
        match event {
            Event::Decided { call_id, called, method, decision, .. } => {
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
            Event::Refused(party, refusal) if self.has_breath(now, refusal.name()) => {
                let (status, reason) = (refusal.status(), refusal.name());
                tracing::info!(party = name(settings, *party), status, reason, "refused: {}", refusal.phrase());
            }
            Event::Suspected(flow, suspicion) => self.security.tell(now, flow, *suspicion, settings),
            Event::Failover(party, reason) if self.has_breath(now, reason.name()) => {
                tracing::warn!(party = name(settings, *party), reason = reason.name(), "the next target is tried");
            }
            Event::Warned(warning) if self.has_breath(now, warning.name()) => {
                tracing::warn!(warning = warning.name(), "served, with a warning");
            }
            Event::StrayMedia { call_id, from, address, .. } if self.has_breath(now, "stray_media") => {
                tracing::warn!(
                    call_id = %text(*call_id), party = name(settings, *from), %address,
                    "media outside the party's networks: one-way audio is likely"
                );
            }
            Event::LimitReached(limit) if self.has_breath(now, limit) => {
                tracing::error!(limit, "a limit is reached");
            }
            Event::Impossible(what) if self.has_breath(now, what) => {
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

    pub(super) fn warn_socket(&mut self, now: Time, what: &'static str, error: &io::Error) {
        if self.has_breath(now, what) {
            tracing::warn!(what, %error, "a socket reports an error");
        }
    }

    fn has_breath(&mut self, now: Time, word: &'static str) -> bool {
        let second = now.as_millis() / 1_000;
        if second != self.second {
            if self.unsaid > 0 {
                tracing::warn!(
                    lines = self.unsaid,
                    "lines were left out to keep the log readable; every one is counted"
                );
            }
            self.second = second;
            self.said.clear();
            self.unsaid = 0;
        }
        let of_word = self.said.iter().filter(|said| **said == word).count();
        let has_breath = self.said.len() < LINES_PER_SECOND && of_word < LINES_PER_WORD;
        if has_breath {
            self.said.push(word);
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
    fn a_flood_is_a_few_lines_a_second_and_hides_no_other_word() {
        const WORDS: [&str; 9] = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
        let mut log = Log::default();
        let now = Time::from_millis(1_500);
        let said = (0..1_000).filter(|_| log.has_breath(now, "flood")).count();
        assert_eq!((said, log.unsaid), (LINES_PER_WORD, 997));
        assert!(log.has_breath(now, "rare"));
        let said = (0..100).flat_map(|_| WORDS).filter(|word| log.has_breath(now, word)).count();
        assert_eq!(said, LINES_PER_SECOND - LINES_PER_WORD - 1);
        assert!(log.has_breath(Time::from_millis(2_000), "flood"));
        assert_eq!(log.unsaid, 0);
    }
}
