//! The calls in progress by number, for those who show them. The journal's thread keeps it, also the calls that outlived the
//! process before; no worker ever waits for it.

use super::Line;
use sip::Number;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// How many calls of each number are in setup or up, by the environment on the PBX's side. Clones lead to the same.
#[derive(Clone, Debug, Default)]
pub struct LiveCalls(pub(super) Arc<Mutex<HashMap<u64, BTreeMap<Box<str>, u32>>>>);

/// Where one call counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place {
    did: u64,
    environment: Box<str>,
}

impl LiveCalls {
    /// The calls of these lines.
    pub(super) fn of_lines<'l>(lines: impl Iterator<Item = &'l Line>) -> LiveCalls {
        let live = LiveCalls::default();
        lines.for_each(|line| live.book(None, Place::of(line)));
        live
    }

    /// The calls of a number.
    pub fn of(&self, number: Number) -> BTreeMap<String, u32> {
        let live = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = live.get(&number.digits()).into_iter().flatten();
        found.map(|(environment, count)| (environment.to_string(), *count)).collect()
    }

    /// A call counted at the one place, and counts at the other now.
    pub(super) fn book(&self, before: Option<Place>, after: Option<Place>) {
        if before == after {
            return;
        }
        let mut live = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Place { did, environment }) = before
            && let Some(of_did) = live.get_mut(&did)
        {
            if let Some(count) = of_did.get_mut(&environment) {
                *count = count.saturating_sub(1);
            }
            of_did.retain(|_, count| *count > 0);
            if of_did.is_empty() {
                live.remove(&did);
            }
        }
        if let Some(Place { did, environment }) = after {
            *live.entry(did).or_default().entry(environment).or_default() += 1;
        }
    }
}

impl Place {
    /// None for a call that is of no number of ours.
    pub(super) fn of(line: &Line) -> Option<Place> {
        let began = &line.began;
        // Who answered may be another environment than the one that was asked first.
        let inbound = || line.times.toward.clone().unwrap_or_else(|| began.toward.clone());
        let environment = if began.outbound { began.from.clone() } else { inbound() };
        Some(Place { did: began.did?, environment })
    }
}
