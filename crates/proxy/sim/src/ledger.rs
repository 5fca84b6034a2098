//! What the proxy says of calls, held against itself: a call that was answered ends once, and at rest none is left (I9).

use crate::invariants::Broken;
use proxy::calls::RestoredCall;
use proxy::{Call, CallKey, Engine, Event, Time};
use std::collections::HashSet;
use std::time::Duration;

/// The calls that stand, by the proxy's own events.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    stands: HashSet<CallKey>,
}

impl Ledger {
    /// Books one event.
    pub(crate) fn book(&mut self, event: &Event) -> Result<(), Broken> {
        match event {
            Event::Final { key, in_dialog: false, status: 200..300, .. } => {
                self.stands.insert(*key);
                Ok(())
            }
            Event::Ended { key, by, .. } if !self.stands.remove(key) => {
                Err(format!("I9: call {key} ended by {}, and was not answered or had ended before", by.name()))
            }
            _ => Ok(()),
        }
    }

    /// A new process gets back what its journal has kept: every call in progress, or nothing.
    pub(crate) fn hand_over(&mut self, now: Time, old: &Engine, new: &mut Engine, is_kept: bool) {
        if !is_kept {
            return self.stands.clear();
        }
        for call in old.calls() {
            new.restore(now, &restored(call, now));
        }
    }

    /// Nothing is counted any more.
    pub(crate) fn check_rest(&self, engine: &Engine) -> Result<(), Broken> {
        if !engine.counts().is_zero() {
            return Err(format!("I9: somebody still has calls at rest: {} by number of calls", engine.call_count()));
        }
        match (engine.call_count(), self.stands.len()) {
            (0, 0) => Ok(()),
            (calls, told) => Err(format!("I9: {calls} calls are in progress at rest, {told} never ended by events")),
        }
    }
}

fn restored(call: &Call, now: Time) -> RestoredCall {
    let ago = |then: i64| Duration::from_micros(now.0.saturating_add_signed(-then));
    RestoredCall {
        key: call.key(),
        direction: call.direction(),
        from: call.from(),
        toward: call.toward(),
        did: call.did(),
        call_id: call.call_id().into(),
        called: call.called().into(),
        caller: call.caller().into(),
        organisation: call.organisation().into(),
        gateway: call.gateway(),
        began_ago: ago(call.began_us()),
        answered_ago: call.answered_us().map(ago),
    }
}
