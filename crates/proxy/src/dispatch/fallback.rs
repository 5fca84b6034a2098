//! What the calls of an environment get while none of its targets is usable. Before the answer only, once, and never
//! in a circle.

use super::{Decision, Outcome, Step};
use crate::flow::PartyId;
use crate::refusal::Refusal;
use crate::settings::{Role, Settings, WhenDown};
use crate::targets::States;
use directory::Environment;
use sip::Number;

/// Completes a decision by what is known of the targets: a call to an environment without a usable one gets what
/// `when_down` says, of the DID or else of the environment. Every rule tried stands in the trace.
pub fn fall_back(settings: &Settings, states: &States, decision: &mut Decision) {
    let Outcome::Forward(first) = decision.outcome else { return };
    let Some(party) = settings.party(first) else { return };
    if party.role == Role::Trunk || states.has_usable(party) {
        return;
    }
    decision.trace.add(Step::NoneUsable(first));
    let step = fallback_of(settings, states, decision.number, first);
    decision.trace.add(step);
    decision.outcome = match step {
        Step::FallsBack(party) => Outcome::Forward(party),
        Step::RefusedDown(status) => Outcome::Refuse(Refusal::WhenDown(status)),
        _ => Outcome::Refuse(Refusal::NoneUsable),
    };
}

/// Who takes the calls of `first` when none of its targets did, before any answer; `None` where they are refused.
pub fn stand_in(settings: &Settings, states: &States, number: Option<Number>, first: PartyId) -> Option<PartyId> {
    match fallback_of(settings, states, number, first) {
        Step::FallsBack(party) => Some(party),
        _ => None,
    }
}

/// The rule that holds: [`Step::FallsBack`], [`Step::RefusedDown`], [`Step::NoFallback`], or [`Step::NoneUsable`] of the
/// one that should stand in.
fn fallback_of(settings: &Settings, states: &States, number: Option<Number>, first: PartyId) -> Step {
    let own = number.and_then(|number| settings.availability.of(number));
    let party = settings.party(first);
    let of_party = party.map(|party| party.availability.when_down).unwrap_or_default();
    let stands_in = match own.unwrap_or(of_party) {
        WhenDown::Reject => return Step::NoFallback,
        WhenDown::Refuse(status) => return Step::RefusedDown(status),
        WhenDown::Environment(_) if settings.environment != Environment::Prod => return Step::NoFallback,
        WhenDown::Environment(environment) => settings.environment_party(environment),
        WhenDown::Announcement(party) => Some(party),
    };
    match stands_in.filter(|other| *other != first).and_then(|id| Some((id, settings.party(id)?))) {
        Some((id, party)) if states.has_usable(party) => Step::FallsBack(id),
        Some((id, _)) => Step::NoneUsable(id),
        None => Step::NoFallback,
    }
}
