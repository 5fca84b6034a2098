//! One line for each call's end, and every step of a call that is watched.

use crate::logging::{self, WATCHED};
use proxy::dispatch::Direction;
use proxy::{CallKey, Decision, Engine, Event, Outbox, Outcome, PartyId, Refusal, Settings};
use sip::{Method, Number, Span};
use std::collections::{HashMap, HashSet};
use std::time::Instant;
use telemetry::calls::BuildAsItIs;

/// Calls whose decision is kept until their end: twice as many at most. The end of one that fell out is told without it.
pub(super) const KEPT: usize = 65_536;
/// Watched calls at one time.
pub(super) const WATCHED_CALLS: usize = 4_096;

/// What a call's last line says of its decision. Nothing in it is owned: keeping it allocates nothing.
#[derive(Clone, Copy, Debug)]
struct Kept {
    rule: &'static str,
    overlay: Option<&'static str>,
    /// Its digits; 0 for none.
    number: u64,
    generation: u64,
    toward: Option<PartyId>,
    direction: Direction,
}

#[derive(Debug, Default)]
pub(super) struct Calls {
    /// The younger half, and the older one: a call whose end never comes leaves with the older half. Both by the half of a
    /// key, which is a MAC: two that are alike would cost no more than words of a line.
    young: HashMap<u64, Kept, BuildAsItIs>,
    old: HashMap<u64, Kept, BuildAsItIs>,
    /// The call of the last decision, while the message that it is about is worked on.
    last: Option<(CallKey, Span)>,
    watched: HashSet<CallKey>,
}

impl Calls {
    /// Tells what this event says of a call.
    pub(super) fn tell(&mut self, event: &Event, outbox: &Outbox, settings: &Settings, engine: &Engine) {
        let text = |span: Span| outbox.text(span).escape_ascii();
        match event {
            Event::Request(..) => self.last = None,
            Event::Decided { call_id, key, from, called, method: Method::Invite, decision } => {
                self.decided((*key, *call_id), decision);
                self.watch(*key, decision, engine);
                if self.watched.contains(key) {
                    let rules: Vec<&str> = decision.trace.steps().map(|step| step.rule()).collect();
                    tracing::debug!(
                        target: WATCHED, call_id = %text(*call_id), party = super::name(settings, *from),
                        called = %text(*called), rules = rules.join(" "), generation = decision.generation.0,
                        "watched: decided"
                    );
                }
                if let Outcome::Refuse(refusal) = decision.outcome {
                    self.over(*key, *call_id, (refusal.status(), refusal.name()), 0, 0, (outbox, settings));
                }
            }
            // After its decision only what the caller may show, or that no peer is usable, refuses a call.
            Event::Refused(_, refusal) if !matches!(refusal, Refusal::Malformed(_)) => {
                if let Some((key, call_id)) = self.last {
                    self.over(key, call_id, (refusal.status(), refusal.name()), 0, 0, (outbox, settings));
                }
            }
            Event::Ringing { call_id, status, after_us, .. } if !self.watched.is_empty() => {
                tracing::debug!(
                    target: WATCHED, call_id = %text(*call_id), status, after_ms = after_us / 1_000, "watched: rings"
                );
            }
            Event::Final { call_id, key, in_dialog: false, status, after_us, .. } => {
                if self.watched.contains(key) {
                    let after_ms = after_us / 1_000;
                    tracing::debug!(target: WATCHED, call_id = %text(*call_id), status, after_ms, "watched: answered");
                }
                if *status >= 300 {
                    self.over(*key, *call_id, (*status, "setup"), after_us / 1_000, 0, (outbox, settings));
                }
            }
            Event::Ended { call_id, key, by, after_us, talked_us } => {
                let times = (after_us / 1_000, talked_us / 1_000);
                self.over(*key, *call_id, (200, by.name()), times.0, times.1, (outbox, settings));
            }
            _ => {}
        }
    }

    fn decided(&mut self, call: (CallKey, Span), decision: &Decision) {
        if self.young.len() >= KEPT {
            self.old = std::mem::take(&mut self.young);
        }
        let toward = match decision.outcome {
            Outcome::Forward(party) => Some(party),
            Outcome::Refuse(_) => None,
        };
        let rule = decision.trace.deciding().map_or("none", |step| step.rule());
        let overlay = decision.trace.overlay();
        let (direction, generation) = (decision.direction, decision.generation.0);
        let number = decision.number.map_or(0, Number::digits);
        self.young.insert(half(call.0), Kept { rule, overlay, number, generation, toward, direction });
        self.last = Some(call);
    }

    /// Remembers a call that somebody watches.
    fn watch(&mut self, key: CallKey, decision: &Decision, engine: &Engine) {
        let Some(watches) = logging::present().and_then(|log| log.watches.any()) else { return };
        let call = engine.call(key);
        let organisation = call.map_or(&[][..], |call| call.organisation());
        let did = call.and_then(|call| call.did());
        let now = Instant::now();
        let sees = |number| watches.iter().any(|watch| watch.sees(now, number, organisation));
        if self.watched.len() < WATCHED_CALLS && (sees(decision.number) || sees(did)) {
            self.watched.insert(key);
        }
    }

    fn forget(&mut self, key: CallKey) -> Option<Kept> {
        self.young.remove(&half(key)).or_else(|| self.old.remove(&half(key)))
    }

    /// The call's last line: by what or whom it ended, with the times in milliseconds.
    fn over(
        &mut self,
        key: CallKey,
        call_id: Span,
        (status, by): (u16, &'static str),
        after_ms: u64,
        talked_ms: u64,
        (outbox, settings): (&Outbox, &Settings),
    ) {
        self.watched.remove(&key);
        self.last = None;
        let call_id = outbox.text(call_id).escape_ascii();
        let Some(kept) = self.forget(key) else {
            tracing::info!(%call_id, status, by, after_ms, talked_ms, "call ended");
            return;
        };
        let called = if kept.number == 0 { "-".to_owned() } else { format!("+{}", kept.number) };
        let to = kept.toward.map_or("-", |party| super::name(settings, party));
        let (direction, rule, overlay, generation) = (kept.direction, kept.rule, kept.overlay, kept.generation);
        tracing::info!(
            %call_id, %direction, called, to, rule, overlay, generation, status, by, after_ms, talked_ms, "call ended"
        );
    }
}

fn half(key: CallKey) -> u64 {
    u64::try_from(key.0 & u128::from(u64::MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use directory::{Builder, Generation, Policy};
    use proxy::{Question, decide};

    /// Limits KEPT and WATCHED_CALLS.
    #[test]
    fn a_call_whose_decision_fell_out_is_told_without_it() {
        let settings = crate::config::read("test", "", &|_| None).unwrap().core;
        let directory = Builder::new(&Policy::default(), None).finish(Generation(7));
        let question = Question { from: PartyId(0), method: Method::Invite, user: b"918065978000", caller: None };
        let decision = decide(&settings, &directory, &question);
        let mut calls = Calls::default();
        let keys = |range: std::ops::Range<usize>| range.map(|key| CallKey(key as u128));
        for key in keys(0..2 * KEPT + 1) {
            calls.decided((key, Span::default()), &decision);
        }
        assert_eq!((calls.young.len(), calls.old.len()), (1, KEPT));
        assert!(calls.forget(CallKey(0)).is_none());
        for key in keys(KEPT..2 * KEPT + 1) {
            assert_eq!(calls.forget(key).unwrap().generation, 7);
        }
        assert!(calls.young.is_empty() && calls.old.is_empty());
        // Without a watch none is watched, however many there are.
        let keys_of = proxy::KeyRing::new(&proxy::Key { id: 1, secret: [7; 32] }, &[]);
        let engine = Engine::new(std::sync::Arc::new(settings), std::sync::Arc::new(keys_of));
        calls.watch(CallKey(1), &decision, &engine);
        assert!(calls.watched.is_empty());
        calls.watched.extend(keys(0..WATCHED_CALLS));
        calls.watch(CallKey(WATCHED_CALLS as u128), &decision, &engine);
        assert_eq!(calls.watched.len(), WATCHED_CALLS);
    }
}
