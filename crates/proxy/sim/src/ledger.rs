//! What the proxy says of calls, held against itself: a call that was answered ends once, everybody has as many calls as
//! there are calls of his, and never more than he may have, and at rest none is left (I9).

use crate::invariants::Broken;
use crate::quotas::Quotas;
use crate::stage::{NUMBERS, ORGANISATIONS, Site, TRUNK};
use proxy::calls::{RestoredCall, Subject};
use proxy::dispatch::Direction;
use proxy::{Call, CallKey, Engine, Event, PartyId, Time};
use sip::Number;
use std::collections::HashSet;
use std::net::SocketAddr;

/// The calls that stand, by the proxy's own events.
#[derive(Debug)]
pub(crate) struct Ledger {
    stands: HashSet<CallKey>,
    gateways: Vec<SocketAddr>,
    quotas: Quotas,
}

/// The parties' names, in their order.
const PARTIES: [&str; 4] = ["tata", "prod", "staging", "oss"];

impl Ledger {
    /// A ledger without an entry.
    pub(crate) fn new(sites: &[Site], quotas: Quotas) -> Ledger {
        let gateways = sites.iter().filter(|site| site.party == TRUNK).map(|site| site.address);
        Ledger { stands: HashSet::new(), gateways: gateways.collect(), quotas }
    }

    /// The counts are the calls that live, each where it is, and nobody has more than he may have. `lost`: so many more
    /// the trunk is said to have.
    pub(crate) fn check(&self, engine: &Engine, lost: u32) -> Result<(), Broken> {
        let [tata, ..] = PARTIES;
        let all: Vec<&Call> = engine.calls().collect();
        let of = |subject: Subject<'_>, most: Option<u32>, is_its: &dyn Fn(&Call) -> bool| {
            let lost = if matches!(subject, Subject::Trunk(_)) { lost } else { 0 };
            let (used, live) = (engine.counts().used(subject) + lost, all.iter().filter(|call| is_its(call)).count());
            if used as usize != live {
                return Err(format!("I9: {used} calls of {subject:?} are counted, {live} live: {all:?}"));
            }
            match most {
                Some(most) if used > most => Err(format!("limits: {used} calls of {subject:?}, {most} are allowed")),
                _ => Ok(()),
            }
        };
        of(Subject::Trunk(tata), self.quotas.trunk, &|_| true)?;
        let prod = PartyId(TRUNK.0 + 1);
        of(Subject::NotProd(tata), self.quotas.not_prod(), &|call| environment_of(call) != prod)?;
        for (name, party) in PARTIES.into_iter().zip(0..).skip(1) {
            let is_its = |call: &Call| environment_of(call) == PartyId(party);
            of(Subject::Environment(name), self.quotas.of_party(party), &is_its)?;
        }
        for gateway in &self.gateways {
            of(Subject::Gateway(tata, *gateway), self.quotas.gateway, &|call| call.gateway() == Some(*gateway))?;
        }
        for number in (918_065_978_000..).take(NUMBERS).filter_map(Number::from_digits) {
            of(Subject::Did(number), self.quotas.did, &|call| call.did() == Some(number))?;
        }
        for name in ORGANISATIONS {
            let is_its = |call: &Call| call.organisation() == name.as_bytes();
            of(Subject::Organisation(name.as_bytes()), self.quotas.organisation, &is_its)?;
        }
        Ok(())
    }

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
            new.restore(now, &RestoredCall::of(call, now));
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

/// The party on the PBX's side.
fn environment_of(call: &Call) -> PartyId {
    match call.direction() {
        Direction::Inbound => call.toward(),
        Direction::Outbound => call.from(),
    }
}
