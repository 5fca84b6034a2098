//! Whether there is room for a call: its seats at the DID, the organisation, the environment, the trunk and the gateway,
//! from the narrowest to the widest, so that who has too many takes nothing from the others.

use super::calls::Customer;
use super::room::{Ask, Sides, gateway_channels, not_reserved, refusal_of};
use super::{Arrival, Engine, Turn};
use crate::calls::{Call, CallKey, Counts, Limit, NoSeat, Permit, RestoredCall, Seat, Spent, Subject};
use crate::dispatch::{Decision, Direction};
use crate::flow::{PartyId, Time};
use crate::outbox::Event;
use crate::refusal::Refusal;
use crate::settings::{Party, Peer, Role};
use crate::transaction::Context;
use directory::Environment;
use sip::Method;
use std::net::SocketAddr;
use std::sync::Arc;

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
        let parties = (arrival.party, toward);
        let Some(sides) = Sides::of(&self.settings, directory, decision, parties, customer) else { return Ok(permit) };
        let seated = self.seat(&mut permit, &sides, now).and_then(|all_counted| {
            let at_gateway = match decision.direction {
                Direction::Inbound => {
                    let gateway = sides.trunk.peer_at(arrival.flow.remote).map(|peer| peer.address);
                    gateway.map_or(Ok(true), |address| seat_at_gateway(&mut permit, &sides, address, now))
                }
                Direction::Outbound => first_with_room(&mut permit, &sides, peers, now),
            };
            at_gateway.map(|counted| counted && all_counted)
        });
        let refuse = |limit| refusal_of(&self.settings.limits, limit);
        if !seated.map_err(refuse)? {
            turn.outbox.event(Event::LimitReached("counted_subjects"));
        }
        if let Some(spent) = self.keep_pace(&permit, &sides, decision.direction, now).map_err(refuse)? {
            turn.outbox.event(Event::Spent { environment: arrival.party, spent });
        }
        Ok(permit)
    }

    /// The seats that do not depend on the gateway. `Ok(false)`: not all are counted, for want of room.
    fn seat(&self, permit: &mut Permit, sides: &Sides<'_>, now: Time) -> Result<bool, Limit> {
        let mut all_counted = true;
        for Ask { seat, subject, most, limit } in sides.seats() {
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
        direction: Direction,
        now: Time,
    ) -> Result<Option<Spent>, Limit> {
        for (seat, per_second, limit) in sides.rates(&self.settings.limits) {
            if !permit.take_rate(seat, per_second, now) {
                return Err(limit);
            }
        }
        match sides.daily_calls(direction) {
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
            Role::Environment(_) => move_to(call, self.settings.party(call.from), party, now),
        };
        if taken.is_ok() {
            call.toward = context.toward;
        }
        taken.is_ok()
    }
}

/// The seats of an inbound call go along to another environment: its channel there and, on the trunk, one of those that are
/// not kept for prod. With a refusal it has what it had.
fn move_to(call: &mut Call, trunk: Option<&Party>, environment: &Party, now: Time) -> Result<bool, NoSeat> {
    let is_free = call.is_free;
    let (seat, was_not_prod) = (Subject::Environment(&environment.name), call.permit.has(Seat::NotProd));
    let is_prod = environment.role == Role::Environment(Environment::Prod);
    if let Some(trunk) = trunk.filter(|_| !is_prod && !was_not_prod) {
        let most = not_reserved(&trunk.quota).filter(|_| !is_free);
        call.permit.take(Seat::NotProd, Subject::NotProd(&trunk.name), most, now)?;
    }
    let taken = call.permit.take(Seat::Environment, seat, environment.quota.max_channels.filter(|_| !is_free), now);
    let is_not_prod = if taken.is_ok() { !is_prod } else { was_not_prod };
    if !is_not_prod {
        call.permit.give_back(Seat::NotProd);
    }
    taken
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
    let Ask { seat, subject, most, limit } = sides.seat_at(address);
    permit.take(seat, subject, most, now).map_err(|NoSeat::Taken| limit)
}
