//! What holds for each dialog: the names that both sides know, and that it stays alive.

use super::{Broken, Cause, Invariants, Left, Parties, Step, is_ours};
use crate::stage::{FALLBACK, ORGANISATIONS, TRUNK, organisation_of};
use crate::wire::Wire;

/// Headers that name a caller.
const IDENTITIES: [&str; 6] =
    ["From", "P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID", "Diversion", "History-Info"];
/// Digits of a number without its country.
const NATIONAL: usize = 10;

impl Invariants {
    /// I5: toward each side From and To have the names and tags that this side knows, byte for byte.
    pub(super) fn i5_each_side_keeps_its_names(&mut self, step: &Step, left: &Left, wire: &Wire) -> Result<(), Broken> {
        if self.is_tainted(wire) {
            return Ok(());
        }
        let incarnation = self.incarnation;
        let Some(site) = self.site_at(left.flow.remote) else { return Ok(()) };
        let parties: Vec<_> = self.sites.iter().map(|site| site.party).collect();
        let Some(call) = self.calls.get_mut(wire.call_id()) else { return Ok(()) };
        let by_caller = wire.tag("From") == call.caller_tag;
        let (caller, callee) = if by_caller { ("From", "To") } else { ("To", "From") };
        if !is_tag_known(call, wire.tag("From")) || !(is_ours(wire) || is_tag_known(call, wire.tag("To"))) {
            return Err(format!("I5: a tag that nobody gave: {:?}", wire.text));
        }
        if wire.name(callee) != call.caller.1 {
            return Err(format!("I5: the callee was {:?}: {:?}", call.caller.1, wire.text));
        }
        let shown = wire.name(caller);
        if parties[site] == parties[call.caller_site] {
            // A final above 2xx that passes after a restart carries no Record-Route, and with it no names.
            let nameless = step.stateless && wire.status() >= 300 && wire.first("Record-Route").is_empty();
            let fits = shown == call.caller.0 || nameless;
            return if fits {
                Ok(())
            } else {
                Err(format!("I5: the caller wrote {:?}: {:?}", call.caller.0, wire.text))
            };
        }
        let opens = wire.method() == "INVITE" && !wire.is_response() && wire.tag("To").is_empty();
        if opens && !call.shown.iter().any(|(known, _)| *known == incarnation) {
            call.shown.push((incarnation, shown.to_owned()));
        }
        // A CANCEL or an ACK that passes without its INVITE is dressed anew: what it claims is less than what that claimed.
        let anew = step.stateless && !wire.is_response() && matches!(wire.method(), "CANCEL" | "ACK");
        let fits = anew || call.shown.iter().any(|(_, name)| name == shown);
        if fits { Ok(()) } else { Err(format!("I5: the callee was shown {:?}: {:?}", call.shown, wire.text)) }
    }

    /// I5, SX7: toward the carrier no identity header holds a number but the organisation's own, or the fallback.
    pub(super) fn i5_no_foreign_number_leaves(&self, left: &Left, wire: &Wire) -> Result<(), Broken> {
        let to_trunk = self.site_at(left.flow.remote).is_some_and(|site| self.sites[site].party == TRUNK);
        let outbound = self.calls.get(wire.call_id()).is_some_and(|call| self.sites[call.caller_site].party != TRUNK);
        if !self.rewrites || !to_trunk || !outbound || self.is_tainted(wire) {
            return Ok(());
        }
        // The ends put the organisation into the Call-ID.
        let organisation = ORGANISATIONS.into_iter().find(|name| wire.call_id().starts_with(name));
        let own = self.numbers.rows.iter().enumerate();
        let own = own.filter(|(at, _)| organisation == Some(organisation_of(*at))).map(|(_, row)| row.number.as_str());
        let allowed: Vec<&str> = own.chain([FALLBACK]).collect();
        // In a request of the callee's side, From is the callee.
        let by_caller = self.calls.get(wire.call_id()).is_some_and(|call| call.caller_tag == wire.tag("From"));
        for header in IDENTITIES.into_iter().filter(|header| by_caller || *header != "From") {
            for value in wire.all(header) {
                let runs = value.split(|c: char| !c.is_ascii_digit()).filter(|run| run.len() >= NATIONAL);
                for run in runs {
                    let national = &run[run.len() - NATIONAL..];
                    if !allowed.iter().any(|own| own.ends_with(national)) {
                        return Err(format!("I5: {header} tells a foreign number {run}: {:?}", wire.text));
                    }
                }
            }
        }
        Ok(())
    }

    /// Established calls stay live, through kills, new keys and new tables: a request inside a dialog reaches the other
    /// end within the step, once.
    pub(super) fn calls_stay_live(&self, step: &Step, fresh: bool) -> Result<(), Broken> {
        let Cause::Arrived(arrival) = &step.cause else { return Ok(()) };
        let Some((wire, site)) = arrival.wire.as_ref().zip(arrival.site).filter(|_| arrival.whole) else {
            return Ok(());
        };
        let inside = !wire.is_response() && !wire.tag("To").is_empty() && !wire.first("Route").is_empty();
        if !inside || self.is_tainted(wire) || !(fresh || wire.method() == "ACK") {
            return Ok(());
        }
        let home = self.calls.get(wire.call_id()).and_then(|call| {
            let home = call.homes.iter().find(|(tag, _)| tag == wire.tag("To"));
            home.map(|(_, site)| self.sites[*site].address)
        });
        let Some(home) = home else { return Ok(()) };
        let passed = step.left.iter().filter(|left| {
            let same = |left: &Wire| left.cseq() == wire.cseq() && left.call_id() == wire.call_id();
            left.wire.as_ref().is_some_and(|left| !left.is_response() && same(left)) && left.flow.remote == home
        });
        match passed.count() {
            1 => Ok(()),
            count => Err(format!(
                "live: {count} of 1 reached {home} from {}: {:?}, left: {:?}",
                self.sites[site].address, wire.text, step.left
            )),
        }
    }
}

fn is_tag_known(call: &Parties, tag: &str) -> bool {
    tag.is_empty() || call.homes.iter().any(|(known, _)| known == tag)
}
