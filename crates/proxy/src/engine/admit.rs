//! Whether there is room for a call: its seats at the DID, the organisation, the environment, the trunk and the gateway,
//! from the narrowest to the widest, so that who has too many takes nothing from the others.

use super::calls::Customer;
use super::{Arrival, Engine, Turn};
use crate::calls::{CallKey, Counts, Limit, NoSeat, Permit, RestoredCall, Seat, Spent, Subject};
use crate::dispatch::{Decision, Direction, Step};
use crate::flow::{PartyId, Time};
use crate::outbox::Event;
use crate::refusal::Refusal;
use crate::settings::{Party, Peer, Role};
use crate::transaction::Context;
use directory::Environment;
use sip::Method;
use std::net::SocketAddr;
use std::sync::Arc;

/// The two sides of a call, and whose it is.
struct Sides<'a> {
    trunk: &'a Party,
    environment: &'a Party,
    customer: Customer<'a>,
    did_limit: Option<u32>,
    organisation_limit: Option<u32>,
    /// Nothing is refused, and everything is counted: an emergency call, or one that is up already.
    is_free: bool,
}

impl Engine {
    /// Counts with others from now on: all workers of one process have the same counts. To be called before any call.
    pub fn share_counts(&mut self, counts: Arc<Counts>) {
        self.counts = counts;
    }

    /// How many calls everybody has.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// The seats of a request out of a dialog: a request other than INVITE needs none, and an INVITE of a call that is
    /// in progress has its call's.
    pub(super) fn room_for(
        &self,
        turn: &mut Turn<'_>,
        arrival: &Arrival<'_>,
        (call, decision, toward): (CallKey, &Decision, PartyId),
        customer: Customer<'_>,
        peers: &mut Vec<Peer>,
    ) -> Result<Permit, Refusal> {
        if arrival.request.method() != Method::Invite || self.calls.find(call).is_some() {
            return Ok(Permit::new(Arc::clone(&self.counts)));
        }
        self.admit(turn, arrival, (decision, toward), customer, peers)
    }

    /// Takes the seats of a new call. Gateways that are full are taken off the `peers` of an outbound one.
    fn admit(
        &self,
        turn: &mut Turn<'_>,
        arrival: &Arrival<'_>,
        (decision, toward): (&Decision, PartyId),
        customer: Customer<'_>,
        peers: &mut Vec<Peer>,
    ) -> Result<Permit, Refusal> {
        let (now, directory) = (turn.now, turn.directory);
        let mut permit = Permit::new(Arc::clone(&self.counts));
        let parties = (self.settings.party(arrival.party), self.settings.party(toward));
        let (trunk, environment) = match (decision.direction, parties) {
            (Direction::Inbound, (Some(trunk), Some(environment))) => (trunk, environment),
            (Direction::Outbound, (Some(environment), Some(trunk))) => (trunk, environment),
            _ => return Ok(permit),
        };
        let did = customer.did.and_then(|number| directory.did(number));
        let sides = Sides {
            trunk,
            environment,
            customer,
            did_limit: did.map(|did| did.call_limit).filter(|limit| *limit > 0),
            organisation_limit: customer.organisation.and_then(|id| directory.organisation(id).limits.concurrent_calls),
            is_free: decision.trace.has(|step| step == Step::Emergency),
        };
        let seated = self.seat(&mut permit, &sides, now).and_then(|all_counted| {
            let at_gateway = match decision.direction {
                Direction::Inbound => {
                    let gateway = trunk.peer_at(arrival.flow.remote).map(|peer| peer.address);
                    gateway.map_or(Ok(true), |address| seat_at_gateway(&mut permit, &sides, address, now))
                }
                Direction::Outbound => first_with_room(&mut permit, &sides, peers, now),
            };
            at_gateway.map(|counted| counted && all_counted)
        });
        let limits = &self.settings.limits;
        let status = |limit: Limit| if limit.is_rate() { limits.rate_status } else { limits.busy_status };
        let refuse = |limit| Refusal::Limit(limit, status(limit));
        if !seated.map_err(refuse)? {
            turn.outbox.event(Event::LimitReached("counted_subjects"));
        }
        let is_outbound = decision.direction == Direction::Outbound;
        if let Some(spent) = self.keep_pace(&permit, &sides, is_outbound, now).map_err(refuse)? {
            turn.outbox.event(Event::Spent { environment: arrival.party, spent });
        }
        Ok(permit)
    }

    /// The seats that do not depend on the gateway. `Ok(false)`: not all are counted, for want of room.
    fn seat(&self, permit: &mut Permit, sides: &Sides<'_>, now: Time) -> Result<bool, Limit> {
        let quota = &sides.trunk.quota;
        let is_prod = sides.environment.role == Role::Environment(Environment::Prod);
        let not_reserved = quota.max_channels.map(|most| most.saturating_sub(quota.prod_reserve));
        let organisation = Some(sides.customer.uuid).filter(|uuid| !uuid.is_empty());
        let mut all_counted = true;
        let seats = [
            (Seat::Did, sides.customer.did.map(Subject::Did), sides.did_limit, Limit::Did),
            (
                Seat::Organisation,
                organisation.map(|uuid| Subject::Organisation(uuid.as_bytes())),
                sides.organisation_limit,
                Limit::Organisation,
            ),
            (
                Seat::Environment,
                Some(Subject::Environment(&sides.environment.name)),
                sides.environment.quota.max_channels,
                Limit::Environment,
            ),
            (
                Seat::NotProd,
                (!is_prod).then_some(Subject::NotProd(&sides.trunk.name)),
                not_reserved.filter(|_| quota.prod_reserve > 0),
                Limit::Reserve,
            ),
            (Seat::Trunk, Some(Subject::Trunk(&sides.trunk.name)), quota.max_channels, Limit::Trunk),
        ];
        for (seat, subject, most, limit) in seats {
            let Some(subject) = subject else { continue };
            let most = most.filter(|_| !sides.is_free);
            all_counted &= permit.take(seat, subject, most, now).map_err(|NoSeat::Taken| limit)?;
        }
        Ok(all_counted)
    }

    /// The rates and budgets, the narrowest first: who is too fast takes nothing from the wider ones. What is used of the
    /// environment's budget, where it has one.
    fn keep_pace(
        &self,
        permit: &Permit,
        sides: &Sides<'_>,
        is_outbound: bool,
        now: Time,
    ) -> Result<Option<Spent>, Limit> {
        if sides.is_free {
            return Ok(None);
        }
        let limits = &self.settings.limits;
        let environment = &sides.environment.quota;
        let rates = [
            (Seat::Did, limits.did_calls_per_second, Limit::DidRate),
            (Seat::Organisation, limits.organisation_calls_per_second, Limit::OrganisationRate),
            (Seat::Environment, environment.calls_per_second, Limit::EnvironmentRate),
            (Seat::Trunk, sides.trunk.quota.calls_per_second, Limit::TrunkRate),
        ];
        for (seat, per_second, limit) in rates {
            if !permit.take_rate(seat, per_second, now) {
                return Err(limit);
            }
        }
        match environment.daily_calls.filter(|_| is_outbound) {
            Some(most) => permit.take_budget(Seat::Environment, most, now).map_err(|NoSeat::Taken| Limit::DailyCalls),
            None => Ok(None),
        }
    }

    /// The seats of a call that is up already: everything is counted, nothing refused.
    pub(super) fn seats_of_restored(&self, call: &RestoredCall, now: Time) -> Permit {
        let mut permit = Permit::new(Arc::clone(&self.counts));
        let (from, toward) = (self.settings.party(call.from), self.settings.party(call.toward));
        let (Some(from), Some(toward)) = (from, toward) else { return permit };
        let (trunk, environment) = match call.direction {
            Direction::Inbound => (from, toward),
            Direction::Outbound => (toward, from),
        };
        let uuid = std::str::from_utf8(&call.organisation).unwrap_or_default();
        let customer = Customer { did: call.did, organisation: None, uuid };
        let (did_limit, organisation_limit) = (None, None);
        let sides = Sides { trunk, environment, customer, did_limit, organisation_limit, is_free: true };
        // Nothing refuses a call that is free.
        let _counted = self.seat(&mut permit, &sides, now);
        if let Some(address) = call.gateway {
            let _counted = seat_at_gateway(&mut permit, &sides, address, now);
        }
        permit
    }

    /// The next attempt of a call goes to another peer: its seats at the gateway and the environment go with it. False
    /// when there is none for it there.
    pub(super) fn reseat(&mut self, now: Time, context: &Context, peer: &Peer) -> bool {
        if !context.sets_up {
            return true;
        }
        let Some(party) = self.settings.party(context.toward) else { return true };
        let Some(call) = self.calls.find_mut(context.call) else { return true };
        let taken = match party.role {
            Role::Trunk => {
                let most = gateway_channels(party, peer.address).filter(|_| !call.is_free);
                let taken = call.permit.take(Seat::Gateway, Subject::Gateway(&party.name, peer.address), most, now);
                if taken.is_ok() {
                    call.gateway = Some(peer.address);
                }
                taken
            }
            Role::Environment(_) if call.toward == context.toward => Ok(true),
            Role::Environment(_) => {
                let most = party.quota.max_channels.filter(|_| !call.is_free);
                call.permit.take(Seat::Environment, Subject::Environment(&party.name), most, now)
            }
        };
        if taken.is_ok() {
            call.toward = context.toward;
        }
        taken.is_ok()
    }
}

/// Takes the first peer with a free channel, and takes those before it off the list.
fn first_with_room(permit: &mut Permit, sides: &Sides<'_>, peers: &mut Vec<Peer>, now: Time) -> Result<bool, Limit> {
    while let Some(peer) = peers.first() {
        match seat_at_gateway(permit, sides, peer.address, now) {
            Ok(counted) => return Ok(counted),
            Err(_) => peers.remove(0),
        };
    }
    Err(Limit::Gateway)
}

fn seat_at_gateway(permit: &mut Permit, sides: &Sides<'_>, address: SocketAddr, now: Time) -> Result<bool, Limit> {
    let most = gateway_channels(sides.trunk, address).filter(|_| !sides.is_free);
    let subject = Subject::Gateway(&sides.trunk.name, address);
    permit.take(Seat::Gateway, subject, most, now).map_err(|NoSeat::Taken| Limit::Gateway)
}

/// How many calls one gateway may have.
fn gateway_channels(trunk: &Party, address: SocketAddr) -> Option<u32> {
    let at = trunk.peers.iter().position(|peer| peer.address == address)?;
    trunk.quota.gateway_channels.get(at).copied().filter(|most| *most > 0)
}
