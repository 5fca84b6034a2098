//! What a call needs of the limits, as a list: whom it is counted for, and how many each may have. Admission takes what
//! stands here, and `explain` looks at it: no limit is known in two places.

use super::calls::Customer;
use crate::caller_id::Presented;
use crate::calls::{Counts, Limit, Seat, Subject};
use crate::dispatch::{Decision, Direction, Step};
use crate::flow::{PartyId, Time};
use crate::refusal::Refusal;
use crate::settings::{LimitSettings, Party, Quota, Role, Settings};
use directory::{Directory, Environment};
use std::net::SocketAddr;

/// The two sides of a call, and whose it is.
pub(super) struct Sides<'a> {
    pub(super) trunk: &'a Party,
    pub(super) environment: &'a Party,
    pub(super) customer: Customer<'a>,
    pub(super) did_limit: Option<u32>,
    pub(super) organisation_limit: Option<u32>,
    /// Nothing is refused, and everything is counted: an emergency call, or one that is up already.
    pub(super) is_free: bool,
}

/// One seat that a call takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask<'a> {
    pub(super) seat: Seat,
    pub(super) subject: Subject<'a>,
    /// How many of them there are; `None` for no limit.
    pub(super) most: Option<u32>,
    pub(super) limit: Limit,
}

/// One limit on the way of a call, and what there is of it now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Which one.
    pub limit: Limit,
    /// Whose: a number, an organisation's id, the name of a trunk or environment, a gateway's address.
    pub of: String,
    /// Calls in progress, of this second or of this day.
    pub used: u32,
    /// How many there may be; `None` for no limit.
    pub most: Option<u32>,
    /// There is no room for this call.
    pub is_full: bool,
}

/// What the limits would say to a call, and do not: nothing is taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Room {
    /// Every limit on the call's way, in the order in which they are asked.
    pub standings: Vec<Standing>,
    /// The refusal of the first one without room.
    pub refusal: Option<Refusal>,
    /// An emergency call: it passes them all.
    pub is_free: bool,
}

/// A call that is looked at: how it was decided, who sent it and from where, who gets it, and who is shown.
#[derive(Clone, Copy, Debug)]
pub struct Looked<'a, 'd> {
    /// The decision.
    pub decision: &'a Decision,
    /// The party that sent it.
    pub from: PartyId,
    /// Where it came from: one of a trunk's gateways.
    pub remote: SocketAddr,
    /// The party that it goes to.
    pub toward: PartyId,
    /// What the identity policy says, for an outbound call whose caller is known.
    pub presented: Option<&'a Presented<'d>>,
}

/// What there is of each limit on a call's way at `now`. `None` for what is no call between a trunk and an environment.
pub fn room_of(
    settings: &Settings,
    directory: &Directory,
    counts: &Counts,
    now: Time,
    looked: &Looked<'_, '_>,
) -> Option<Room> {
    let decision = looked.decision;
    let customer = Customer::of(directory, decision, looked.presented);
    let sides = Sides::of(settings, directory, decision, (looked.from, looked.toward), customer)?;
    let mut standings: Vec<Standing> = sides.seats().map(|ask| sides.standing(counts, ask)).collect();
    let gateways = sides.gateways(decision.direction, looked.remote);
    let at_gateways: Vec<Standing> = gateways.map(|ask| sides.standing(counts, ask)).collect();
    let has_gateway = at_gateways.is_empty() || at_gateways.iter().any(|standing| !standing.is_full);
    standings.extend(at_gateways);
    for (seat, per_second, limit) in sides.rates(&settings.limits) {
        let (Some(per_second), Some(ask)) = (per_second, sides.seats().find(|ask| ask.seat == seat)) else { continue };
        let (used, has_room) = counts.rate(ask.subject, per_second, now);
        standings.push(Standing { limit, used, most: Some(per_second), ..sides.named(ask, !has_room) });
    }
    let budget = sides.daily_calls(decision.direction);
    if let (Some(most), Some(ask)) = (budget, sides.seats().find(|ask| ask.seat == Seat::Environment)) {
        let (used, has_room) = counts.budget(ask.subject, most, now);
        standings.push(Standing { limit: Limit::DailyCalls, used, most: Some(most), ..sides.named(ask, !has_room) });
    }
    let refuses = |standing: &&Standing| standing.is_full && (standing.limit != Limit::Gateway || !has_gateway);
    let refusal = standings.iter().find(refuses).map(|standing| refusal_of(&settings.limits, standing.limit));
    Some(Room { standings, refusal, is_free: sides.is_free })
}

/// The refusal of a limit, with the status that is configured for it.
pub(super) fn refusal_of(limits: &LimitSettings, limit: Limit) -> Refusal {
    Refusal::Limit(limit, if limit.is_rate() { limits.rate_status } else { limits.busy_status })
}

/// How many calls one gateway may have.
pub(super) fn gateway_channels(trunk: &Party, address: SocketAddr) -> Option<u32> {
    let at = trunk.peers.iter().position(|peer| peer.address == address)?;
    trunk.quota.gateway_channels.get(at).copied().filter(|most| *most > 0)
}

/// How many of a trunk's channels calls may have that are not prod's, where some are kept for those.
pub(super) fn not_reserved(trunk: &Quota) -> Option<u32> {
    trunk.max_channels.map(|most| most.saturating_sub(trunk.prod_reserve)).filter(|_| trunk.prod_reserve > 0)
}

impl<'a> Sides<'a> {
    /// `None` where the two parties are not a trunk and an environment, each on its side.
    pub(super) fn of(
        settings: &'a Settings,
        directory: &'a Directory,
        decision: &Decision,
        (from, toward): (PartyId, PartyId),
        customer: Customer<'a>,
    ) -> Option<Sides<'a>> {
        let (from, toward) = (settings.party(from)?, settings.party(toward)?);
        let (trunk, environment) = match decision.direction {
            Direction::Inbound => (from, toward),
            Direction::Outbound => (toward, from),
        };
        let did = customer.did.and_then(|number| directory.did(number));
        Some(Sides {
            trunk,
            environment,
            customer,
            did_limit: did.map(|did| did.call_limit()).filter(|limit| *limit > 0),
            organisation_limit: customer.organisation.and_then(|id| directory.organisation(id).limits.concurrent_calls),
            is_free: decision.trace.has(|step| step == Step::Emergency),
        })
    }

    /// The seats that do not depend on the gateway, the narrowest first.
    pub(super) fn seats(&self) -> impl Iterator<Item = Ask<'a>> + use<'a> {
        let quota = &self.trunk.quota;
        let is_prod = self.environment.role == Role::Environment(Environment::Prod);
        let organisation = Some(self.customer.uuid).filter(|uuid| !uuid.is_empty());
        let is_free = self.is_free;
        let seats = [
            (Seat::Did, self.customer.did.map(Subject::Did), self.did_limit, Limit::Did),
            (
                Seat::Organisation,
                organisation.map(|uuid| Subject::Organisation(uuid.as_bytes())),
                self.organisation_limit,
                Limit::Organisation,
            ),
            (
                Seat::Environment,
                Some(Subject::Environment(&self.environment.name)),
                self.environment.quota.max_channels,
                Limit::Environment,
            ),
            (
                Seat::NotProd,
                (!is_prod).then_some(Subject::NotProd(&self.trunk.name)),
                not_reserved(quota),
                Limit::Reserve,
            ),
            (Seat::Trunk, Some(Subject::Trunk(&self.trunk.name)), quota.max_channels, Limit::Trunk),
        ];
        seats.into_iter().filter_map(move |(seat, subject, most, limit)| {
            Some(Ask { seat, subject: subject?, most: most.filter(|_| !is_free), limit })
        })
    }

    /// The seat at one gateway.
    pub(super) fn seat_at(&self, address: SocketAddr) -> Ask<'a> {
        let most = gateway_channels(self.trunk, address).filter(|_| !self.is_free);
        Ask { seat: Seat::Gateway, subject: Subject::Gateway(&self.trunk.name, address), most, limit: Limit::Gateway }
    }

    /// The rates, the narrowest first: who is too fast takes nothing from the wider ones.
    pub(super) fn rates(&self, limits: &LimitSettings) -> [(Seat, Option<u32>, Limit); 4] {
        let rate = |per_second: Option<u32>| per_second.filter(|_| !self.is_free);
        [
            (Seat::Did, rate(limits.did_calls_per_second), Limit::DidRate),
            (Seat::Organisation, rate(limits.organisation_calls_per_second), Limit::OrganisationRate),
            (Seat::Environment, rate(self.environment.quota.calls_per_second), Limit::EnvironmentRate),
            (Seat::Trunk, rate(self.trunk.quota.calls_per_second), Limit::TrunkRate),
        ]
    }

    /// The environment's budget of a day: of outbound calls.
    pub(super) fn daily_calls(&self, direction: Direction) -> Option<u32> {
        self.environment.quota.daily_calls.filter(|_| direction == Direction::Outbound && !self.is_free)
    }

    /// The gateways that the call may go by: inbound the one that it came by, where it is one.
    fn gateways(&self, direction: Direction, remote: SocketAddr) -> impl Iterator<Item = Ask<'a>> {
        let came_by = self.trunk.peer_at(remote).map(|peer| peer.address);
        let addresses = self.trunk.peers.iter().map(|peer| peer.address);
        addresses
            .filter(move |address| direction == Direction::Outbound || Some(*address) == came_by)
            .map(|at| self.seat_at(at))
    }

    fn standing(&self, counts: &Counts, ask: Ask<'_>) -> Standing {
        let used = counts.used(ask.subject);
        let is_full = ask.most.is_some_and(|most| used >= most);
        Standing { used, ..self.named(ask, is_full) }
    }

    fn named(&self, ask: Ask<'_>, is_full: bool) -> Standing {
        let of = match ask.subject {
            Subject::Did(number) => format!("+{number}"),
            Subject::Organisation(id) => String::from_utf8_lossy(id).into_owned(),
            Subject::Environment(name) | Subject::Trunk(name) | Subject::NotProd(name) => name.to_owned(),
            Subject::Gateway(_, address) => address.to_string(),
        };
        Standing { limit: ask.limit, of, used: 0, most: ask.most, is_full }
    }
}
