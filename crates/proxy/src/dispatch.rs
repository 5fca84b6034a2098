//! Where a request out of a dialog goes, and why: the whole routing policy, as one pure function.
//!
//! Live traffic, `explain`, replay and tests call the same [`decide`]. It returns the decision and its trace: every
//! rule tried, in order, with what it found.

mod fallback;

pub use fallback::{fall_back, stand_in};

use crate::calls::Limit;
use crate::flow::PartyId;
use crate::limits::TRACE_STEPS;
use crate::refusal::Refusal;
use crate::settings::{NumberPrefix, Role, Settings, UnknownDid};
use directory::{Directory, Environment, Generation, RoutedBy, Service};
use sip::{Form, Number, NumberFault};
use sip::{Method, Scheme, Uri};
use std::fmt;

/// What is asked: who sent which method to which number.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The party that the request came from. A party, never a claim in the message.
    pub from: PartyId,
    /// The request's method.
    pub method: Method,
    /// The request-URI's user part as it stands on the wire; the number of a `tel:` URI.
    pub user: &'a [u8],
    /// Who calls, by [`crate::identity::caller_of`]: testers are known by it, and nothing else depends on it.
    pub caller: Option<Number>,
}

/// Where a request goes, with the rules that led there.
#[derive(Clone, Copy, Debug)]
pub struct Decision {
    /// The answer.
    pub outcome: Outcome,
    /// Which way the call goes; by who sent it.
    pub direction: Direction,
    /// The called number, where it could be read as one.
    pub number: Option<Number>,
    /// The version of the directory that was asked.
    pub generation: Generation,
    /// Every rule tried.
    pub trace: Trace,
}

/// The answer of [`decide`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Forward to this party's peers, in their order.
    Forward(PartyId),
    /// Answer with this status.
    Refuse(Refusal),
}

/// Which way a call goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// From a trunk to an environment.
    Inbound,
    /// From an environment to a trunk.
    Outbound,
}

/// One rule, and what it found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The sender decides the direction.
    Sender(PartyId, Direction),
    /// No directory has been loaded.
    NoTable,
    /// The method is not served here.
    NotServed(Method),
    /// The called number, in its one spelling.
    Called(Number),
    /// The called user part is no number, with the reason.
    NotANumber(NumberFault),
    /// An outbound destination goes as it was dialled: short and service numbers.
    AsDialled,
    /// No row has the number.
    NoRow,
    /// Panic: everything goes to prod, whatever testers, leases and rows say.
    Panic,
    /// The caller is a tester of the number, whose calls go to this environment.
    Tester(Environment),
    /// A lease sends the number to this environment.
    Lease(Environment),
    /// The number's row, and the environment it names; an overlay before it has overruled it.
    Row(Environment),
    /// The row has turned bad; this is its last good value.
    LastGood,
    /// The row is not in service, and why.
    OutOfService(Service),
    /// Configuration sends unknown numbers to an environment.
    UnknownTo(Environment),
    /// The DID belongs elsewhere, but an instance that is not prod never sends onward: it would loop.
    StaysHere {
        /// Where the row says.
        wanted: Environment,
        /// What this instance is.
        mine: Environment,
    },
    /// A PBX calls one of our own DIDs: it goes out by the trunk like any number.
    Hairpin,
    /// The trunk that takes the call.
    Trunk(PartyId),
    /// The environment that takes the call.
    Target(PartyId),
    /// An emergency or short number of the configured list: carried before any other rule.
    Emergency,
    /// The environment is forbidden emergency and short numbers.
    EmergencyForbidden,
    /// Nothing is configured to take the call.
    NoTarget,
    /// None of the party's peers is usable now.
    NoneUsable(PartyId),
    /// This party takes the call instead.
    FallsBack(PartyId),
    /// The configuration has this status for it.
    RefusedDown(u16),
    /// The environment may not call this destination.
    DestinationForbidden,
    /// A limit refuses the call.
    Limit(Limit),
    /// Nobody stands in: that is so by configuration, or this instance would send onward, and loop.
    NoFallback,
}

/// The steps of one decision, in the order in which they were tried. Fixed in size: a decision allocates nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trace {
    steps: [Option<Step>; TRACE_STEPS],
}

/// Decides where a request out of a dialog goes.
///
/// The way depends on who sent it and, inbound, on the DID's row and what lies over it: panic, then the caller's tester
/// override, then the DID's lease, then the row. No overlay puts a number into service.
pub fn decide(settings: &Settings, directory: &Directory, question: &Question<'_>) -> Decision {
    let inbound = settings.party(question.from).is_some_and(|party| party.role == Role::Trunk);
    let direction = if inbound { Direction::Inbound } else { Direction::Outbound };
    let mut decision = Decision {
        outcome: Outcome::Refuse(Refusal::NoTarget),
        direction,
        number: None,
        generation: directory.generation(),
        trace: Trace::new(),
    };
    decision.trace.add(Step::Sender(question.from, direction));
    decision.outcome = if matches!(question.method, Method::Register | Method::Subscribe | Method::Publish) {
        decision.trace.add(Step::NotServed(question.method));
        Outcome::Refuse(Refusal::NotHere)
    } else if !directory.is_loaded() && (inbound || !is_emergency(settings, question.user)) {
        decision.trace.add(Step::NoTable);
        Outcome::Refuse(Refusal::NoTable)
    } else if inbound {
        decide_inbound(settings, directory, question, &mut decision)
    } else {
        decide_outbound(settings, directory, question, &mut decision)
    };
    decision
}

/// The called user part of a request-URI: the number of `tel:`, the user of `sip:`; empty when there is none.
pub fn called_user<'a>(uri: &Uri<'a>) -> &'a [u8] {
    match uri.scheme {
        Scheme::Sip | Scheme::Tel | Scheme::Sips => uri.user_bytes().unwrap_or_default(),
        Scheme::Other => &[],
    }
}

/// How the called number is written toward the party that a decision chose; `None` leaves it as received.
pub fn called_form(settings: &Settings, decision: &Decision) -> Option<(Number, Form)> {
    let Outcome::Forward(party) = decision.outcome else { return None };
    Some((decision.number?, settings.party(party)?.called_number?))
}

fn decide_inbound(
    settings: &Settings,
    directory: &Directory,
    question: &Question<'_>,
    decision: &mut Decision,
) -> Outcome {
    let number = match settings.numbering.canonical_user(question.user) {
        Ok(number) => number,
        Err(fault) => {
            decision.trace.add(Step::NotANumber(fault));
            return unknown(settings, decision, Refusal::NotANumber);
        }
    };
    decision.number = Some(number);
    decision.trace.add(Step::Called(number));
    let Some(routed) = directory.route(number, question.caller) else {
        decision.trace.add(Step::NoRow);
        return unknown(settings, decision, Refusal::NotANumber);
    };
    let did = routed.did;
    match routed.by {
        RoutedBy::Panic => decision.trace.add(Step::Panic),
        RoutedBy::Tester => decision.trace.add(Step::Tester(routed.environment)),
        RoutedBy::Lease => decision.trace.add(Step::Lease(routed.environment)),
        RoutedBy::Row => {}
    }
    decision.trace.add(Step::Row(did.environment));
    if did.kept_last_good {
        decision.trace.add(Step::LastGood);
    }
    if did.service != Service::InService {
        decision.trace.add(Step::OutOfService(did.service));
        return Outcome::Refuse(Refusal::NotInService(settings.dispatch.not_in_service_status));
    }
    to_environment(settings, decision, routed.environment)
}

/// A number that no row has. One that is no number at all is refused as such, unless an environment takes all.
fn unknown(settings: &Settings, decision: &mut Decision, no_number: Refusal) -> Outcome {
    match settings.dispatch.unknown_did {
        UnknownDid::Environment(environment) if settings.environment == Environment::Prod => {
            decision.trace.add(Step::UnknownTo(environment));
            to_environment(settings, decision, environment)
        }
        _ if decision.number.is_none() => Outcome::Refuse(no_number),
        UnknownDid::Refuse(status) => Outcome::Refuse(Refusal::UnknownDid(status)),
        // Only prod may hand unknown numbers to an environment (domain: Dispatch).
        UnknownDid::Environment(_) => Outcome::Refuse(Refusal::UnknownDid(404)),
    }
}

/// Only prod sends onward; every other instance keeps what reaches it, and says so.
fn to_environment(settings: &Settings, decision: &mut Decision, wanted: Environment) -> Outcome {
    let mine = settings.environment;
    let taken = if wanted == mine || mine == Environment::Prod {
        wanted
    } else {
        decision.trace.add(Step::StaysHere { wanted, mine });
        mine
    };
    match settings.environment_party(taken) {
        Some(party) if settings.party(party).is_some_and(|p| !p.peers.is_empty()) => {
            decision.trace.add(Step::Target(party));
            Outcome::Forward(party)
        }
        _ => {
            decision.trace.add(Step::NoTarget);
            Outcome::Refuse(Refusal::NoTarget)
        }
    }
}

fn decide_outbound(
    settings: &Settings,
    directory: &Directory,
    question: &Question<'_>,
    decision: &mut Decision,
) -> Outcome {
    if is_emergency(settings, question.user) {
        decision.trace.add(Step::Emergency);
        if settings.party(question.from).is_some_and(|party| party.identity.refuses_emergency) {
            decision.trace.add(Step::EmergencyForbidden);
            return Outcome::Refuse(Refusal::EmergencyForbidden);
        }
        return to_trunk(settings, decision);
    }
    match settings.numbering.canonical_user(question.user) {
        Ok(number) => {
            decision.number = Some(number);
            decision.trace.add(Step::Called(number));
            if directory.did(number).is_some() {
                decision.trace.add(Step::Hairpin);
            }
        }
        Err(_) if is_service_number(question.user) => decision.trace.add(Step::AsDialled),
        Err(fault) => {
            decision.trace.add(Step::NotANumber(fault));
            return Outcome::Refuse(Refusal::NotANumber);
        }
    }
    let allowed = settings.party(question.from).and_then(|party| party.quota.destinations.as_deref());
    let goes_to = |prefix: &NumberPrefix| decision.number.is_some_and(|number| prefix.covers(number));
    if allowed.is_some_and(|allowed| !allowed.iter().any(goes_to)) {
        decision.trace.add(Step::DestinationForbidden);
        return Outcome::Refuse(Refusal::DestinationForbidden);
    }
    to_trunk(settings, decision)
}

/// True for the emergency and short numbers of the configuration, as they were dialled: parameters of the user part
/// (`112;phone-context=+91`) and escapes make no difference.
pub fn is_emergency(settings: &Settings, user: &[u8]) -> bool {
    let dialled = user.split(|c| *c == b';').next().unwrap_or_default();
    settings.caller_id.emergency.iter().any(|number| is_dialled(number.as_bytes(), dialled))
}

/// Whether a user part is this number, `%`-escapes resolved as they are met.
fn is_dialled(number: &[u8], mut user: &[u8]) -> bool {
    for wanted in number {
        let (found, rest) = match user {
            [b'%', high, low, rest @ ..] => {
                let digit = |c: u8| char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                let (Some(high), Some(low)) = (digit(*high), digit(*low)) else { return false };
                ((high << 4) | low, rest)
            }
            [plain, rest @ ..] => (*plain, rest),
            [] => return false,
        };
        if found != *wanted {
            return false;
        }
        user = rest;
    }
    user.is_empty()
}

fn to_trunk(settings: &Settings, decision: &mut Decision) -> Outcome {
    match settings.first_trunk() {
        Some(party) if settings.party(party).is_some_and(|p| !p.peers.is_empty()) => {
            decision.trace.add(Step::Trunk(party));
            Outcome::Forward(party)
        }
        _ => {
            decision.trace.add(Step::NoTarget);
            Outcome::Refuse(Refusal::NoTarget)
        }
    }
}

/// Short and service numbers (`112`, `*21`, `1800...`) have no E.164 form and go as they were dialled.
fn is_service_number(user: &[u8]) -> bool {
    !user.is_empty() && user.len() <= 32 && user.iter().all(|c| c.is_ascii_digit() || matches!(c, b'*' | b'#' | b'+'))
}

impl Trace {
    fn new() -> Trace {
        Trace { steps: [None; TRACE_STEPS] }
    }

    pub(crate) fn add(&mut self, step: Step) {
        let free = self.steps.iter_mut().find(|slot| slot.is_none());
        debug_assert!(free.is_some(), "a decision has at most {TRACE_STEPS} steps");
        if let Some(slot) = free {
            *slot = Some(step);
        }
    }

    /// The steps, in the order in which they were tried.
    pub fn steps(&self) -> impl Iterator<Item = Step> + Clone + '_ {
        self.steps.iter().map_while(|step| *step)
    }

    /// The step that decided: the last one.
    pub fn deciding(&self) -> Option<Step> {
        self.steps().last()
    }

    /// What lay over the row: `panic`, `tester` or `lease`.
    pub fn overlay(&self) -> Option<&'static str> {
        let lies_over = |step: &Step| matches!(step, Step::Panic | Step::Tester(_) | Step::Lease(_));
        self.steps().find(lies_over).map(Step::rule)
    }

    /// True when the trace has this kind of step.
    pub fn has(&self, wanted: impl Fn(Step) -> bool) -> bool {
        self.steps().any(wanted)
    }
}

impl Step {
    /// The rule's name: one word for `explain`, metrics and records.
    pub const fn rule(self) -> &'static str {
        match self {
            Step::Sender(..) => "sender",
            Step::NoTable => "no_table",
            Step::NotServed(_) => "not_served",
            Step::Called(_) => "called",
            Step::NotANumber(_) => "not_a_number",
            Step::AsDialled => "as_dialled",
            Step::NoRow => "no_row",
            Step::Panic => "panic",
            Step::Tester(_) => "tester",
            Step::Lease(_) => "lease",
            Step::Row(_) => "row",
            Step::LastGood => "last_good",
            Step::OutOfService(_) => "out_of_service",
            Step::UnknownTo(_) => "unknown_to",
            Step::StaysHere { .. } => "stays_here",
            Step::Hairpin => "hairpin",
            Step::Trunk(_) => "trunk",
            Step::Target(_) => "target",
            Step::Emergency => "emergency",
            Step::EmergencyForbidden => "emergency_forbidden",
            Step::NoTarget => "no_target",
            Step::NoneUsable(_) => "none_usable",
            Step::FallsBack(_) => "falls_back",
            Step::RefusedDown(_) => "refused_down",
            Step::DestinationForbidden => "destination_forbidden",
            Step::Limit(_) => "limit",
            Step::NoFallback => "no_fallback",
        }
    }

    /// The step in words, with the configuration's names.
    pub fn told<'s>(&'s self, settings: &'s Settings) -> impl fmt::Display + 's {
        Told { step: self, settings }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Inbound => "inbound",
            Direction::Outbound => "outbound",
        })
    }
}

struct Told<'s> {
    step: &'s Step,
    settings: &'s Settings,
}

impl Told<'_> {
    fn name(&self, id: PartyId) -> &str {
        self.settings.party(id).map_or("(gone)", |party| &party.name)
    }
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self.step {
            Step::Sender(id, direction) => write!(f, "sent by {}, so the call is {direction}", self.name(id)),
            Step::NoTable => f.write_str("no directory has been loaded yet"),
            Step::NotServed(method) => write!(f, "{} belongs to the PBX, not here", method.as_str()),
            Step::Called(number) => write!(f, "the called number is +{number}"),
            Step::NotANumber(fault) => write!(f, "the called user part is no number: {fault}"),
            Step::AsDialled => f.write_str("a short or service number goes as it was dialled"),
            Step::NoRow => f.write_str("no row has this number"),
            Step::Panic => f.write_str("panic: everything goes to prod, testers, leases and rows are overruled"),
            Step::Tester(environment) => write!(f, "the caller is a tester of this number: to {environment}"),
            Step::Lease(environment) => write!(f, "the number has a lease: to {environment} until it ends"),
            Step::Row(environment) => write!(f, "the number's row says {environment}"),
            Step::LastGood => f.write_str("the row has turned bad: this is its last good value"),
            Step::OutOfService(service) => write!(f, "the number is not in service: {}", Why(service)),
            Step::UnknownTo(environment) => write!(f, "unknown numbers go to {environment} by configuration"),
            Step::StaysHere { wanted, mine } => {
                write!(f, "{wanted} is not here: this instance is {mine} and never sends onward, it would loop")
            }
            Step::Hairpin => f.write_str("one of our own DIDs is called: it goes out by the trunk like any number"),
            Step::Trunk(id) => write!(f, "trunk {} takes the call", self.name(id)),
            Step::Target(id) => write!(f, "environment {} takes the call", self.name(id)),
            Step::Emergency => f.write_str("an emergency or short number: carried before any other rule"),
            Step::EmergencyForbidden => f.write_str("this environment may not call emergency and short numbers"),
            Step::NoTarget => f.write_str("nothing is configured to take the call"),
            Step::NoneUsable(id) => write!(f, "no target of {} is usable now", self.name(id)),
            Step::FallsBack(id) => write!(f, "{} stands in and takes the call", self.name(id)),
            Step::RefusedDown(status) => write!(f, "calls get {status} while no target is usable"),
            Step::DestinationForbidden => f.write_str("the environment may not call this destination"),
            Step::Limit(limit) => write!(f, "{limit}"),
            Step::NoFallback => f.write_str("nobody stands in for it here"),
        }
    }
}

/// Why a number is not in service, in words.
struct Why(Service);

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Service::InService => f.write_str("in service"),
            Service::NotActive(status) => write!(f, "its status is {status}"),
            Service::NotAssigned(state) => write!(f, "its pool state is {state}"),
            Service::OrganisationNotActive => f.write_str("its organisation is not active"),
        }
    }
}
