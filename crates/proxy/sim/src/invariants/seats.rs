//! Calls at one time, as the wire shows them: one that was answered, and that nobody has ended, is up.

use super::{Arrival, Broken, Cause, Invariants, Step, key_of};
use crate::quotas::Quotas;
use crate::stage::{NUMBERS, TRUNK};
use crate::wire::Wire;
use std::collections::{HashMap, HashSet};

/// The calls that are up for certain: there may be more, never fewer.
#[derive(Debug)]
pub(super) struct Seats {
    quotas: Quotas,
    /// By Call-ID: the environment's party, and the called DID of an inbound one.
    up: HashMap<String, (u16, Option<String>)>,
    /// Calls that ended, or may have: one that comes up again is no new one.
    over: HashSet<String>,
    /// What was asked before this start of the proxy is not counted: it was forgotten.
    since: u32,
}

impl Seats {
    pub(super) fn new(quotas: Quotas) -> Seats {
        Seats { quotas, up: HashMap::new(), over: HashSet::new(), since: 0 }
    }

    pub(super) fn restarted(&mut self, incarnation: u32, is_kept: bool) {
        if !is_kept {
            self.up.clear();
            self.since = incarnation;
        }
    }

    /// Any BYE that is passed on may be the end.
    pub(super) fn note_bye(&mut self, wire: &Wire) {
        if wire.method() == "BYE" {
            self.note_ended(&[wire.call_id().to_owned()]);
        }
    }

    pub(super) fn note_ended(&mut self, calls: &[String]) {
        for call in calls {
            self.up.remove(call);
            self.over.insert(call.clone());
        }
    }

    /// No more are up than anybody may have.
    fn check(&self) -> Result<(), Broken> {
        let most = |count: usize, most: Option<u32>, whose: &str| match most {
            Some(most) if count > most as usize => Err(format!("limits: {count} calls of {whose} are up: {self:?}")),
            _ => Ok(()),
        };
        most(self.up.len(), self.quotas.trunk, "the trunk")?;
        for party in TRUNK.0 + 1..=3 {
            let count = self.up.values().filter(|(its, _)| *its == party).count();
            most(count, self.quotas.of_party(party), "one environment")?;
        }
        for at in 0..NUMBERS {
            let number = format!("91806597800{at}");
            let count = self.up.values().filter(|(_, did)| did.as_deref() == Some(&number)).count();
            most(count, self.quotas.did, &number)?;
        }
        let not_prod = self.up.values().filter(|(party, _)| *party != TRUNK.0 + 1).count();
        most(not_prod, self.quotas.not_prod(), "others than prod")
    }
}

impl Invariants {
    /// A 2xx to a new call is passed on: with it no more calls are up than its number, its environment, and the trunk may
    /// have.
    pub(super) fn limits_hold_for_calls_that_are_up(&mut self, step: &Step, wire: &Wire) -> Result<(), Broken> {
        let Cause::Arrived(Arrival { site: Some(site), .. }) = &step.cause else { return Ok(()) };
        let Some(asked) = self.asked.get(&key_of(wire.branch(), "INVITE")) else { return Ok(()) };
        let is_counted = asked.failure.is_none() && asked.incarnation >= self.seats.since;
        let is_new = asked.wire.tag("To").is_empty() && is_counted;
        let is_success = wire.method() == "INVITE" && (200..300).contains(&wire.status());
        let call = wire.call_id();
        if !is_new || !is_success || self.is_tainted(wire) || self.seats.over.contains(call) {
            return Ok(());
        }
        let Some(caller) = self.site_at(asked.from) else { return Ok(()) };
        let is_inbound = self.sites[caller].party == TRUNK;
        let environment = self.sites[if is_inbound { *site } else { caller }].party.0;
        let uri = asked.wire.start().split(' ').nth(1).unwrap_or_default();
        let user = uri.split('@').next().unwrap_or_default().trim_start_matches("sip:");
        let did = is_inbound.then(|| user.to_owned());
        self.seats.up.insert(call.to_owned(), (environment, did));
        self.seats.check()
    }
}
