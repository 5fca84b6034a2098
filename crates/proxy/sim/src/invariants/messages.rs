//! What may change in a message on its way, and what must not.

use super::{Branch, Broken, Cause, Invariants, Left, Step, is_ours, key_of};
use crate::stage::LISTENERS;
use crate::wire::Wire;
use proxy::PartyId;
use std::rc::Rc;

/// Headers that the proxy may change; all others pass, in their order.
const OURS_TO_CHANGE: [&str; 13] = [
    "Via",
    "Route",
    "Record-Route",
    "Max-Forwards",
    "Content-Length",
    "From",
    "To",
    "P-Asserted-Identity",
    "P-Preferred-Identity",
    "Remote-Party-ID",
    "Diversion",
    "History-Info",
    "X-Endpoint",
];

impl Invariants {
    /// I3: our Via stands on top of every request, and a branch serves one attempt of one transaction.
    pub(super) fn i3_a_branch_is_one_attempt(&mut self, step: &Step, left: &Left, wire: &Wire) -> Result<(), Broken> {
        let (transport, address) = LISTENERS[usize::from(left.flow.listener.0)];
        let own = format!("SIP/2.0/{} {address};branch=z9hG4bK", transport.via_token());
        if !wire.first("Via").starts_with(&own) {
            return Err(format!("I3: expected {own} on top: {:?}", wire.text));
        }
        let (incarnation, generation) = (self.incarnation, self.numbers.generation);
        let party = self.site_at(left.flow.remote).map(|site| self.sites[site].party).unwrap_or(crate::stage::TRUNK);
        let tainted = self.is_tainted(wire);
        // A CANCEL that reached the proxy before its INVITE did passed without it; the attempt begins with the INVITE.
        let began =
            self.branches.get(wire.branch()).filter(|known| !(known.method == "CANCEL" && wire.method() == "INVITE"));
        let Some(known) = began.map(|_| wire.branch()).and_then(|branch| self.branches.get_mut(branch)) else {
            self.begin_branch(step, left, wire, party);
            return Ok(());
        };
        if tainted {
            return Ok(());
        }
        if !known.parties.contains(&party) {
            known.parties.push(party);
        }
        if known.call_id != wire.call_id() || known.number != wire.number() {
            return Err(format!("I3: the branch of {:?} serves {:?}", known.text, wire.text));
        }
        // A process that was killed may have known that a peer pauses, or an older table.
        let forgot = known.incarnation != incarnation && (known.party == party || known.generation != generation);
        // What passes without its INVITE is dispatched anew each time.
        let anew = step.stateless && matches!(wire.method(), "CANCEL" | "ACK");
        let excused = forgot || (anew && known.generation != generation);
        if known.remote != left.flow.remote && !excused {
            return Err(format!("I3: one branch at {} and at {}: {:?}", known.remote, left.flow.remote, wire.text));
        }
        if known.method == wire.method() {
            // A CANCEL that overtook its INVITE passed without it, under two Vias; the one after it is ours.
            let overtook = wire.method() == "CANCEL" && known.vias != wire.all("Via").count();
            let same = without_ports(&known.text) == without_ports(&wire.text);
            if !same && !overtook && !anew && !forgot {
                return Err(format!("I3: {:?} and {:?} on one branch", known.text, wire.text));
            }
            if known.incarnation != incarnation {
                (known.incarnation, known.generation) = (incarnation, generation);
                (known.remote, known.party, known.text) = (left.flow.remote, party, Rc::clone(&wire.text));
            }
            return Ok(());
        }
        let belongs = [known.method.as_str(), wire.method()];
        match belongs {
            ["INVITE", "CANCEL" | "ACK"] | ["CANCEL", "ACK"] | ["ACK", "CANCEL"] => Ok(()),
            _ => Err(format!("I3: the branch of {} serves {:?}", known.method, wire.text)),
        }
    }

    /// The first request on a branch.
    fn begin_branch(&mut self, step: &Step, left: &Left, wire: &Wire, party: PartyId) {
        let asked = key_of(wire.lower_branch(), wire.method());
        let (incarnation, generation) = (self.incarnation, self.numbers.generation);
        if wire.method() == "INVITE"
            && let Some(until) = self.waiting.get_mut(&asked)
        {
            *until = step.now_ms + super::INVITE_MS;
        }
        let branch = Branch {
            remote: left.flow.remote,
            party,
            parties: vec![party],
            call_id: wire.call_id().to_owned(),
            number: wire.number(),
            method: wire.method().to_owned(),
            text: Rc::clone(&wire.text),
            vias: wire.all("Via").count(),
            asked,
            incarnation,
            generation,
            progressed: false,
            cancels: 0,
            cancel: None,
        };
        self.branches.insert(wire.branch().to_owned(), branch);
    }

    /// I4: body and unknown headers of a request leave as they came, in their order; the Vias below ours too.
    pub(super) fn i4_a_request_stays_as_it_was(&self, wire: &Wire) -> Result<(), Broken> {
        if wire.all("Via").nth(1).is_none() || self.is_tainted(wire) {
            return Ok(());
        }
        let Some(asked) = self.asked.get(&key_of(wire.lower_branch(), wire.method())) else {
            return Err(format!("I4: nobody sent this: {:?}", wire.text));
        };
        if !asked.wire.all("Via").skip(1).eq(wire.all("Via").skip(2)) {
            return Err(format!("I4: other Vias: {:?} became {:?}", asked.wire.text, wire.text));
        }
        same_but_for_ours(&asked.wire, wire)
    }

    /// I4 for responses: one of the callee's passes as it came; any other is ours, or was sent before.
    pub(super) fn i4_a_response_stays_as_it_was(&self, step: &Step, wire: &Wire) -> Result<(), Broken> {
        if is_ours(wire) || self.is_tainted(wire) {
            return Ok(());
        }
        if let Cause::Arrived(arrival) = &step.cause
            && let Some(came) = arrival.wire.as_ref().filter(|came| came.is_response())
        {
            let believed = self.branches.get(came.branch()).is_some_and(|branch| {
                arrival.whole && arrival.site.is_some_and(|site| branch.parties.contains(&self.sites[site].party))
            });
            // Without a Record-Route nothing says who was asked, once a process has forgotten it (decision on P1).
            if !believed && step.stateless && came.first("Record-Route").is_empty() {
                return Ok(());
            }
            if !believed {
                return Err(format!("I4: a response of somebody else passed: {:?}", came.text));
            }
            if came.start() != wire.start() || !came.all("Via").skip(1).eq(wire.all("Via")) {
                return Err(format!("I4: {:?} became {:?}", came.text, wire.text));
            }
            return same_but_for_ours(came, wire);
        }
        let asked = self.asked.get(&key_of(wire.branch(), wire.method()));
        match asked.is_some_and(|asked| asked.replies.contains(&wire.text)) {
            true => Ok(()),
            false => Err(format!("I4: nobody sent this: {:?}", wire.text)),
        }
    }

    /// I7: a 100 is the proxy's own, and adds no To tag.
    pub(super) fn i7_no_100_is_forwarded(&self, wire: &Wire) -> Result<(), Broken> {
        if wire.status() != 100 || self.is_tainted(wire) {
            return Ok(());
        }
        let asked = self.asked.get(&key_of(wire.branch(), wire.method()));
        let had_tag = asked.is_some_and(|asked| !asked.wire.tag("To").is_empty());
        if !is_ours(wire) || (!had_tag && !wire.tag("To").is_empty()) {
            return Err(format!("I7: {:?}", wire.text));
        }
        Ok(())
    }
}

/// A message less the source ports that we note in it: a repetition may come over another connection.
fn without_ports(text: &str) -> String {
    let mut pieces = text.split(";rport=");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |all, piece| all + piece.trim_start_matches(|c: char| c.is_ascii_digit()))
}

fn same_but_for_ours(came: &Wire, left: &Wire) -> Result<(), Broken> {
    fn kept(wire: &Wire) -> impl Iterator<Item = (&str, &str)> {
        wire.headers().filter(|(name, _)| !OURS_TO_CHANGE.iter().any(|ours| ours.eq_ignore_ascii_case(name)))
    }
    if came.body() != left.body() || !kept(came).eq(kept(left)) {
        return Err(format!("I4: {:?} became {:?}", came.text, left.text));
    }
    Ok(())
}
