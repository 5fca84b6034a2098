//! The calls in progress by number, for those who show them. The journal's thread keeps it, also the calls that outlived the
//! process before; no worker ever waits for it.

use super::Line;
use sip::Number;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use telemetry::calls::Word;

/// How many calls of each number are in setup or up, by the environment on the PBX's side. Clones lead to the same.
#[derive(Clone, Debug, Default)]
pub struct LiveCalls(pub(super) Arc<Mutex<Vec<OfEnvironment>>>);

/// The calls of one environment. There are a handful of these.
#[derive(Debug)]
pub(super) struct OfEnvironment {
    environment: Word,
    /// By a number's digits. What has no call is not there.
    pub(super) by_number: HashMap<u64, u32>,
}

/// Where one call counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place {
    did: u64,
    environment: Word,
}

/// A call counted at the one place, and counts at the other now.
#[derive(Debug, Default)]
pub(super) struct Moved {
    pub(super) before: Option<Place>,
    pub(super) after: Option<Place>,
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
        let of_one = |of: &OfEnvironment| Some((of.environment.to_string(), *of.by_number.get(&number.digits())?));
        live.iter().filter_map(of_one).collect()
    }

    /// A call counted at the one place, and counts at the other now.
    pub(super) fn book(&self, before: Option<Place>, after: Option<Place>) {
        if before == after {
            return;
        }
        let mut live = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Place { did, environment }) = before
            && let Some(of) = live.iter_mut().find(|of| of.environment == environment)
            && let Some(count) = of.by_number.get_mut(&did)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                of.by_number.remove(&did);
            }
        }
        if let Some(Place { did, environment }) = after {
            let at = live.iter().position(|of| of.environment == environment).unwrap_or_else(|| {
                live.push(OfEnvironment { environment, by_number: HashMap::new() });
                live.len() - 1
            });
            if let Some(of) = live.get_mut(at) {
                *of.by_number.entry(did).or_default() += 1;
            }
        }
    }
}

impl Place {
    /// None for a call that is of no number of ours.
    pub(super) fn of(line: &Line) -> Option<Place> {
        let began = &line.began;
        // Who answered may be another environment than the one that was asked first.
        let environment = if began.outbound { &began.from } else { line.toward() };
        Some(Place { did: began.did?, environment: environment.clone() })
    }
}
