//! What the callee is shown on an outbound call, and why: the whole identity policy, as one pure function.
//!
//! First it is found out who calls, then five rules are tried in order; the first that yields an active, assigned DID of
//! the caller's own organisation wins. The last rule, the trunk's fallback, always yields: so no number that is not ours
//! reaches the carrier. Live traffic, `explain`, the lint and tests call the same [`present`].

mod told;

use crate::flow::PartyId;
use crate::limits::IDENTITY_STEPS;
use crate::refusal::Refusal;
use crate::settings::{OnForeign, Party, Profile, Role, Settings};
use directory::{Did, Directory, Organisation, OrganisationId, OrganisationStatus, Service, User};
use sip::Number;

/// What the request says of its caller. Claims, all of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Claims<'a> {
    /// The value of the header that the PBX sets (`caller_id.endpoint_header`).
    pub endpoint: Option<&'a [u8]>,
    /// The user parts of P-Asserted-Identity's values, `%`-escapes not resolved: at most one `sip:` and one `tel:`.
    pub asserted: [Option<&'a [u8]>; 2],
    /// The user part of From.
    pub from_user: Option<&'a [u8]>,
    /// The user part of the first Diversion, else the last History-Info: the call came in, and goes out again.
    pub diverted_by: Option<&'a [u8]>,
    /// Privacy asks for it, or From is anonymous.
    pub anonymous: bool,
    /// An emergency or short number is called: whatever is claimed, the call goes out.
    pub emergency: bool,
}

/// What the carrier is shown, with the rules that led there.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'d> {
    /// The answer.
    pub shown: Shown,
    /// The trunk that takes the call: the one that the DID came by, else the first.
    pub trunk: Option<PartyId>,
    /// Whose call it is.
    pub organisation: Option<OrganisationId>,
    /// The user who calls, where one is known and the call is its organisation's.
    pub user: Option<User<'d>>,
    /// Whose call it was said to be, whether the environment may call for that organisation or not.
    pub claimed: Option<OrganisationId>,
    /// The number of another organisation that was claimed: a breach of isolation between tenants.
    pub foreign: Option<Number>,
    /// Whether it is such a breach; the number may be unknown, where the organisation itself may not be called for.
    pub breach: bool,
    /// Every rule tried.
    pub trace: IdentityTrace,
}

/// The answer of [`present`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shown {
    /// This DID of ours.
    Did(Number, Rule),
    /// A forwarded call shows its first caller in From; this DID of ours stands in P-Asserted-Identity and Diversion.
    Forwarded {
        /// The first caller.
        caller: Number,
        /// Our DID.
        did: Number,
        /// How it was found.
        rule: Rule,
    },
    /// An emergency call for which no rule yields a DID goes out all the same, without a number.
    Nobody,
    /// The trunk leaves identity alone.
    Pass,
    /// The call does not go out.
    Refuse(Refusal),
}

/// The five rules of the chain.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Rule {
    /// The number that the PBX sent with this call.
    PerCall,
    /// The calling user's own DID.
    User,
    /// The organisation's default DID.
    Default,
    /// The organisation's first assigned DID, by number.
    First,
    /// The trunk's fallback DID.
    Fallback,
}

/// How the caller was found.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum By {
    /// The header that the PBX sets.
    Header,
    /// P-Asserted-Identity's user.
    Asserted,
    /// From's user.
    From,
    /// The owner of the DID in P-Asserted-Identity.
    AssertedDid,
    /// The owner of the DID in From.
    FromDid,
}

/// One step on the way, and what it found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IdentityStep {
    /// The trunk leaves identity alone.
    Pass,
    /// The caller's organisation, and how it was found; the user too, where one is known.
    Caller(OrganisationId, By, bool),
    /// This claim leads to nobody.
    Nobody(By),
    /// Several organisations have this extension: it identifies none.
    Ambiguous(By),
    /// The environment may not call for this organisation.
    NotAllowed(OrganisationId),
    /// The organisation is not active.
    NotActive(OrganisationId),
    /// The claimed number belongs to another organisation.
    Foreign(Number),
    /// This rule's number is not usable, and why.
    Lost(Rule, Number, Unusable),
    /// This rule has no number.
    Empty(Rule),
    /// This rule won.
    Won(Rule, Number),
    /// The call came in and goes out again: the first caller is shown.
    Forwarded(Number),
    /// The trunk has no fallback DID.
    NoFallback,
}

/// Why a rule's number is not usable.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Unusable {
    /// No row has it: it is not ours.
    NotOurs,
    /// It is another organisation's.
    Foreign,
    /// Its row is not in service.
    NotInService,
}

/// The steps of one decision on identity, in order. Fixed in size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IdentityTrace {
    steps: [Option<IdentityStep>; IDENTITY_STEPS],
}

/// Decides what the carrier is shown of a call that `from` sends out by `trunk` (domain: Caller ID).
pub fn present<'d>(
    settings: &Settings,
    directory: &'d Directory,
    from: PartyId,
    trunk: PartyId,
    claims: &Claims<'_>,
) -> Presented<'d> {
    let mut presented = Presented {
        shown: Shown::Pass,
        trunk: Some(trunk),
        organisation: None,
        user: None,
        claimed: None,
        foreign: None,
        breach: false,
        trace: IdentityTrace::new(),
    };
    if profile_of(settings, trunk).is_none() {
        presented.trace.add(IdentityStep::Pass);
        return presented;
    }
    let caller = identify(settings, directory, from, claims, &mut presented);
    let refuses = settings.caller_id.on_foreign == OnForeign::Reject;
    if presented.foreign.is_none() {
        presented.foreign = foreign_claim(settings, directory, caller.organisation, claims, &mut presented.trace);
    }
    presented.breach = presented.foreign.is_some() || caller.breach;
    presented.organisation = caller.organisation;
    presented.user = caller.user;
    if presented.breach && refuses && !claims.emergency {
        presented.shown = Shown::Refuse(Refusal::ForeignCallerId);
        return presented;
    }
    let found = presented
        .organisation
        .and_then(|id| chain(settings, directory, id, caller.user.as_ref(), claims, &mut presented.trace));
    presented.shown = match found {
        Some((number, rule)) => {
            let by = trunk_of(settings, directory, number).unwrap_or(trunk);
            presented.trunk = Some(by);
            if profile_of(settings, by).is_none() {
                presented.trace.add(IdentityStep::Pass);
                Shown::Pass
            } else {
                Shown::Did(number, rule)
            }
        }
        None => fall_back(settings, trunk, claims.emergency, &mut presented.trace),
    };
    forward_caller(settings, directory, claims, &mut presented);
    presented
}

/// The profile of a trunk; `None` where identity is left alone.
pub fn profile_of(settings: &Settings, trunk: PartyId) -> Option<&Profile> {
    settings.party(trunk)?.identity.profile.as_ref()
}

struct Caller<'d> {
    organisation: Option<OrganisationId>,
    user: Option<User<'d>>,
    /// The environment claimed to be an organisation that it may not call for.
    breach: bool,
}

/// Who calls: the PBX's header, then the identities that are names, then the owner of a number.
fn identify<'d>(
    settings: &Settings,
    directory: &'d Directory,
    from: PartyId,
    claims: &Claims<'_>,
    presented: &mut Presented<'_>,
) -> Caller<'d> {
    let [first, second] = claims.asserted;
    let names =
        [(claims.endpoint, By::Header), (first, By::Asserted), (second, By::Asserted), (claims.from_user, By::From)];
    let numbers = [(first, By::AssertedDid), (second, By::AssertedDid), (claims.from_user, By::FromDid)];
    let by_name = names.into_iter().find_map(|(claim, by)| {
        let claim = claim.filter(|claim| !claim.is_empty())?;
        named(directory, claim, by, &mut presented.trace)
    });
    let found = by_name.or_else(|| {
        numbers.into_iter().find_map(|(claim, by)| {
            let did = did_of(settings, directory, claim?)?;
            Some((did.organisation().filter(|_| did.service == Service::InService)?, None, by))
        })
    });
    let Some((organisation, user, by)) = found else {
        presented.trace.add(IdentityStep::Nobody(By::FromDid));
        return Caller { organisation: None, user: None, breach: false };
    };
    presented.trace.add(IdentityStep::Caller(organisation, by, user.is_some()));
    presented.claimed = Some(organisation);
    let facts = directory.organisation(organisation);
    if !may_call_for(settings, from, &facts) {
        presented.trace.add(IdentityStep::NotAllowed(organisation));
        return Caller { organisation: None, user: None, breach: true };
    }
    if facts.status != OrganisationStatus::Active {
        presented.trace.add(IdentityStep::NotActive(organisation));
        return Caller { organisation: None, user: None, breach: false };
    }
    Caller { organisation: Some(organisation), user, breach: false }
}

type Found<'d> = (OrganisationId, Option<User<'d>>, By);

/// The user that a name means: an endpoint, a user name, an organisation's prefix with an extension, or an extension
/// that one organisation alone has.
fn named<'d>(directory: &'d Directory, name: &[u8], by: By, trace: &mut IdentityTrace) -> Option<Found<'d>> {
    let whole = directory.user_by_endpoint(name).or_else(|| directory.user_by_username(name));
    if let Some(user) = whole.filter(|user| user.is_active) {
        return Some((user.organisation, Some(user), by));
    }
    if let Some(at) = name.iter().rposition(|c| *c == b'_')
        && let Some((prefix, extension)) = name.split_at_checked(at + 1)
        && let Some(organisation) = directory.organisation_by_context_prefix(prefix)
    {
        let user = directory.user_by_extension(organisation.id, extension).filter(|user| user.is_active);
        return Some((organisation.id, user, by));
    }
    let mut having = directory.organisations_with_extension(name);
    match (having.next(), having.next()) {
        (Some(organisation), None) => {
            let user = directory.user_by_extension(organisation, name).filter(|user| user.is_active)?;
            Some((organisation, Some(user), by))
        }
        (Some(_), Some(_)) => {
            trace.add(IdentityStep::Ambiguous(by));
            None
        }
        (None, _) => {
            trace.add(IdentityStep::Nobody(by));
            None
        }
    }
}

fn may_call_for(settings: &Settings, from: PartyId, organisation: &Organisation<'_>) -> bool {
    let Some(party) = settings.party(from) else { return false };
    let allowed = match party.role {
        Role::Environment(_) => party.identity.organisations.as_deref(),
        Role::Trunk => None,
    };
    allowed.is_none_or(|names| names.iter().any(|name| **name == *organisation.uuid || **name == *organisation.name))
}

/// A number of another organisation in P-Asserted-Identity or From: never sent, and told.
fn foreign_claim(
    settings: &Settings,
    directory: &Directory,
    own: Option<OrganisationId>,
    claims: &Claims<'_>,
    trace: &mut IdentityTrace,
) -> Option<Number> {
    let [first, second] = claims.asserted;
    let foreign = [first, second, claims.from_user].into_iter().flatten().find_map(|claim| {
        let did = did_of(settings, directory, claim)?;
        (did.organisation().is_some() && did.organisation() != own && own.is_some()).then_some(did.number)
    })?;
    trace.add(IdentityStep::Foreign(foreign));
    Some(foreign)
}

/// Rules 1 to 4.
fn chain(
    settings: &Settings,
    directory: &Directory,
    id: OrganisationId,
    user: Option<&User<'_>>,
    claims: &Claims<'_>,
    trace: &mut IdentityTrace,
) -> Option<(Number, Rule)> {
    let organisation = directory.organisation(id);
    let [first, second] = claims.asserted;
    let per_call = [first, second, claims.from_user];
    let mut sent = per_call.into_iter().flatten().filter_map(|claim| number_of(settings, claim)).peekable();
    if sent.peek().is_none() {
        trace.add(IdentityStep::Empty(Rule::PerCall));
    }
    let mut try_rule = |rule: Rule, number: Option<Number>| {
        let Some(number) = number else {
            trace.add(IdentityStep::Empty(rule));
            return None;
        };
        match usable(directory, id, number) {
            Ok(()) => {
                trace.add(IdentityStep::Won(rule, number));
                Some((number, rule))
            }
            Err(why) => {
                trace.add(IdentityStep::Lost(rule, number, why));
                None
            }
        }
    };
    sent.find_map(|number| try_rule(Rule::PerCall, Some(number)))
        .or_else(|| try_rule(Rule::User, user.and_then(|user| user.outbound_did)))
        .or_else(|| try_rule(Rule::Default, organisation.default_did))
        .or_else(|| try_rule(Rule::First, organisation.first_assigned_did))
}

/// Rule 5: whatever is left gets the trunk's own number.
fn fall_back(settings: &Settings, trunk: PartyId, emergency: bool, trace: &mut IdentityTrace) -> Shown {
    match settings.party(trunk).and_then(|party| party.identity.fallback_did) {
        Some(number) => {
            trace.add(IdentityStep::Won(Rule::Fallback, number));
            Shown::Did(number, Rule::Fallback)
        }
        None => {
            trace.add(IdentityStep::NoFallback);
            if emergency {
                return Shown::Nobody;
            }
            Shown::Refuse(Refusal::NoCallerId)
        }
    }
}

/// A call that came in and goes out again may show its first caller, where the trunk allows it and one of the
/// organisation's own DIDs diverted it.
fn forward_caller(settings: &Settings, directory: &Directory, claims: &Claims<'_>, presented: &mut Presented<'_>) {
    let Shown::Did(did, rule) = presented.shown else { return };
    let allowed =
        presented.trunk.and_then(|trunk| profile_of(settings, trunk)).is_some_and(|p| p.pass_forwarded_caller);
    let diverted = claims.diverted_by.and_then(|claim| number_of(settings, claim));
    let own = |number| presented.organisation.is_some_and(|id| usable(directory, id, number).is_ok());
    if !allowed || claims.anonymous || !diverted.is_some_and(own) {
        return;
    }
    let caller = claims.from_user.and_then(|claim| number_of(settings, claim));
    if let Some(caller) = caller.filter(|number| directory.did(*number).is_none()) {
        presented.trace.add(IdentityStep::Forwarded(caller));
        presented.shown = Shown::Forwarded { caller, did, rule };
    }
}

/// Whether an organisation may show a number: an active, assigned DID of its own, in any environment.
pub fn usable(directory: &Directory, organisation: OrganisationId, number: Number) -> Result<(), Unusable> {
    let did = directory.did(number).ok_or(Unusable::NotOurs)?;
    if did.organisation().is_some_and(|owner| owner != organisation) {
        return Err(Unusable::Foreign);
    }
    if did.service == Service::InService && did.organisation().is_some() { Ok(()) } else { Err(Unusable::NotInService) }
}

/// The number that a user part is; `None` for names, extensions and short numbers.
pub fn number_of(settings: &Settings, user: &[u8]) -> Option<Number> {
    settings.numbering.canonical_user(user).ok()
}

fn did_of<'d>(settings: &Settings, directory: &'d Directory, user: &[u8]) -> Option<Did<'d>> {
    directory.did(number_of(settings, user)?)
}

/// The trunk that a DID came by: the first whose configuration names the row.
fn trunk_of(settings: &Settings, directory: &Directory, number: Number) -> Option<PartyId> {
    let did = directory.did(number)?;
    let parties = || (0..=u16::MAX).map(PartyId).zip(&settings.parties);
    let of = |names: fn(&Party, &Did<'_>) -> bool| parties().find(|(_, party)| names(party, &did)).map(|(id, _)| id);
    of(has_trunk_id).or_else(|| of(has_provider))
}

/// True for a trunk whose configuration names the `trunk_id` or the `provider` of a DID's row.
pub fn serves(party: &Party, did: &Did<'_>) -> bool {
    has_trunk_id(party, did) || has_provider(party, did)
}

/// An id is one in either case of its letters.
fn has_trunk_id(party: &Party, did: &Did<'_>) -> bool {
    let names = |wanted: &str| party.identity.trunk_ids.iter().any(|id| id.eq_ignore_ascii_case(wanted));
    party.role == Role::Trunk && did.trunk_id().is_some_and(names)
}

fn has_provider(party: &Party, did: &Did<'_>) -> bool {
    let names = |wanted: &str| party.identity.providers.iter().any(|name| **name == *wanted);
    party.role == Role::Trunk && did.provider().is_some_and(names)
}

impl IdentityTrace {
    fn new() -> IdentityTrace {
        IdentityTrace { steps: [None; IDENTITY_STEPS] }
    }

    /// Keeps a step; the last place is for the step that decides.
    fn add(&mut self, step: IdentityStep) {
        match self.steps.iter_mut().find(|slot| slot.is_none()) {
            Some(slot) => *slot = Some(step),
            None => {
                if let Some(last) = self.steps.last_mut() {
                    *last = Some(step);
                }
            }
        }
    }

    /// The steps, in the order in which they were tried.
    pub fn steps(&self) -> impl Iterator<Item = IdentityStep> + '_ {
        self.steps.iter().map_while(|step| *step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However long the way was, the step that decided is the last that is told.
    #[test]
    fn the_longest_identity_trace_keeps_its_last_step() {
        let mut trace = IdentityTrace::new();
        for _ in 0..IDENTITY_STEPS * 2 {
            trace.add(IdentityStep::Nobody(By::From));
        }
        trace.add(IdentityStep::NoFallback);
        assert_eq!(trace.steps().count(), IDENTITY_STEPS);
        assert_eq!(trace.steps().last(), Some(IdentityStep::NoFallback));
    }
}
