//! The life of a call, beside that of its messages: it begins when an INVITE is let in, stands from its 2xx, and ends once.

use super::{Arrival, Engine, Turn};
use crate::caller_id::{Presented, Shown};
use crate::calls::{Call, CallKey, EndedBy, Opening, Permit, RestoredCall, between, hash_of, micros};
use crate::deadline::Deadline;
use crate::dialog_token::{Side, Verified};
use crate::dispatch::{self, Decision, Direction, Step};
use crate::flow::{PartyId, Time};
use crate::outbox::Event;
use crate::settings::{Peer, Role};
use crate::timers::TimerId;
use crate::transaction::Context;
use directory::{Directory, OrganisationId};
use sip::{Message, Method, Name, NameAddr, Number, Request, Response, Uri};
use std::net::SocketAddr;
use std::time::Duration;

impl Engine {
    /// The calls in progress, those in setup included, in no order.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter()
    }

    /// The call of a key, while it is in progress.
    pub fn call(&self, key: CallKey) -> Option<&Call> {
        self.calls.find(key)
    }

    /// How many calls are in progress, those in setup included.
    pub fn call_count(&self) -> usize {
        self.calls.len()
    }

    /// Takes back a call that was in progress before a restart: whoever sees its BYE ends it. One in setup is given up
    /// when no response can come any more.
    pub fn restore(&mut self, now: Time, restored: &RestoredCall) {
        if self.calls.find(restored.key).is_some() {
            return;
        }
        let ago = |ago: Duration| micros(now).saturating_sub(i64::try_from(ago.as_micros()).unwrap_or(i64::MAX));
        let setup = self.settings.timers.timer_c + self.settings.timers.b();
        let age = match restored.answered_ago {
            Some(_) => self.call_age().saturating_sub(restored.began_ago),
            None => setup.saturating_sub(restored.began_ago),
        };
        // A refresh that came while nobody listened is sent again for as long.
        let expires = restored.expires_in.map(|left| now + left.max(self.settings.timers.b()));
        let permit = self.seats_of_restored(restored, now);
        let texts = [&*restored.call_id, &*restored.called, &*restored.caller, &*restored.organisation];
        self.calls.insert(texts, |texts| Call {
            key: restored.key,
            direction: restored.direction,
            from: restored.from,
            toward: restored.toward,
            did: restored.did,
            texts,
            began_us: ago(restored.began_ago),
            answered_us: restored.answered_ago.map(ago),
            expires,
            ages: now + age,
            dialog: restored.dialog,
            setups: 0,
            permit,
            gateway: restored.gateway,
            is_free: true,
            armed: Deadline::NONE,
        });
        self.calls.arm(now, restored.key, &mut self.timers);
    }

    /// The key of the call that a request begins, or belongs to without a token of ours.
    pub(super) fn call_key(&self, direction: Direction, request: &Message<'_>) -> CallKey {
        let tag = request.from_tag().unwrap_or_default();
        CallKey::of(&self.keys, None, direction, request.call_id(), tag).unwrap_or_default()
    }

    /// The key of the call that a request inside a dialog belongs to: by the key that signed its token, so that a change
    /// of keys changes no call's key.
    pub(super) fn call_in_dialog(&self, request: &Request<'_>, party: PartyId, verified: Option<&Verified>) -> CallKey {
        let Some(verified) = verified else { return self.call_key(self.direction_from(party), request) };
        let tag = match verified.side {
            Side::Caller => request.from_tag(),
            Side::Callee => request.to_tag(),
        };
        let (direction, tag) = (verified.token.direction, tag.unwrap_or_default());
        CallKey::of(&self.keys, Some(verified.key_id), direction, request.call_id(), tag).unwrap_or_default()
    }

    /// A call that dispatch lets in begins. True when the request sets up a call: it is an INVITE.
    pub(super) fn begin_call(&mut self, turn: &Turn<'_>, arrival: &Arrival<'_>, begins: Begins<'_>) -> bool {
        let request = arrival.request;
        if request.method() != Method::Invite {
            return false;
        }
        let opening = Opening {
            key: begins.key,
            direction: begins.direction,
            from: arrival.party,
            toward: begins.toward,
            did: begins.party.did,
            call_id: request.call_id(),
            called: dispatch::called_user(&arrival.way.uri),
            caller: from_user(request),
            organisation: begins.party.uuid.as_bytes(),
            gateway: begins.gateway.or_else(|| self.gateway_of(arrival)),
            is_free: begins.is_free,
            permit: begins.permit,
        };
        let age = self.call_age();
        self.calls.open(turn.now, opening, age);
        self.calls.arm(turn.now, begins.key, &mut self.timers);
        true
    }

    /// A 2xx to an INVITE was passed on: the call stands from the first on; one to a re-INVITE refreshes its session.
    pub(super) fn note_success(&mut self, turn: &mut Turn<'_>, context: &mut Context, response: &Response<'_>) {
        if !context.sets_up {
            return self.note_refreshed(turn, context, response);
        }
        context.sets_up = false;
        let toward = context.toward;
        self.note_answered(turn.now, context.call, toward, response);
    }

    /// The 2xx of a call in setup has passed.
    pub(super) fn note_answered(&mut self, now: Time, key: CallKey, by: PartyId, response: &Response<'_>) {
        let (lasts, age) = (self.session_lasts(response), self.call_age());
        let Some(call) = self.calls.find_mut(key) else { return };
        call.setups = call.setups.saturating_sub(1);
        if call.answered_us.is_some() {
            return;
        }
        // One in setup that came back after a restart was to be given up with the last timer of its setup.
        let so_far = Duration::from_micros(between(call.began_us, micros(now)));
        call.ages = call.ages.max(now + age.saturating_sub(so_far));
        call.answered_us = Some(micros(now));
        call.dialog = response.to_tag().map(hash_of);
        call.expires = lasts.map(|lasts| now + lasts);
        call.toward = by;
        self.calls.arm(now, key, &mut self.timers);
    }

    /// A 2xx to a re-INVITE or UPDATE says until when the session lasts now; one that says nothing ends the timer (RFC
    /// 4028 10).
    pub(super) fn note_refreshed(&mut self, turn: &mut Turn<'_>, context: &Context, response: &Response<'_>) {
        if !context.in_dialog || !matches!(context.method, Method::Invite | Method::Update) {
            return;
        }
        let (now, key, lasts) = (turn.now, context.call, self.session_lasts(response));
        let Some(call) = self.calls.find_mut(key).filter(|call| call.answered_us.is_some()) else { return };
        if call.expires.is_none() && lasts.is_none() {
            return;
        }
        call.expires = lasts.map(|lasts| now + lasts);
        self.calls.arm(now, key, &mut self.timers);
        turn.outbox.event(Event::Refreshed { key, lasts });
    }

    /// A request that set up a call has had its last final above 2xx: a call that no other one answered is over.
    pub(super) fn note_failed(&mut self, context: &mut Context) {
        if std::mem::take(&mut context.sets_up) {
            self.end_setup(context.call);
        }
    }

    /// One setup of a call has failed.
    pub(super) fn end_setup(&mut self, key: CallKey) {
        let Some(call) = self.calls.find_mut(key) else { return };
        call.setups = call.setups.saturating_sub(1);
        if call.setups == 0
            && call.answered_us.is_none()
            && let Some((slot, call)) = self.calls.remove(key)
        {
            self.calls.recycle(slot, call);
        }
    }

    /// A BYE is passed on: the call of its dialog is over. One of another fork, or before the answer, ends no call.
    pub(super) fn note_bye(
        &mut self,
        turn: &mut Turn<'_>,
        arrival: &Arrival<'_>,
        (key, toward): (CallKey, PartyId),
        verified: &Verified,
    ) {
        let (request, side) = (arrival.request, verified.side);
        let (by, tag) = match side {
            Side::Caller => (EndedBy::Caller, request.to_tag()),
            Side::Callee => (EndedBy::Callee, request.from_tag()),
        };
        let Some(call) = self.calls.find(key) else {
            return tell_unseen(turn, arrival, (key, toward), verified, by);
        };
        let of_another_fork = call.dialog.is_some_and(|dialog| tag.map(hash_of) != Some(dialog));
        if call.answered_us.is_none() || of_another_fork {
            return;
        }
        self.end_call(turn, key, by);
    }

    /// A call is over, and everybody who counts it is told.
    fn end_call(&mut self, turn: &mut Turn<'_>, key: CallKey, by: EndedBy) {
        let Some((slot, call)) = self.calls.remove(key) else { return };
        let now = micros(turn.now);
        let call_id = turn.outbox.keep(call.call_id());
        let after_us = between(call.began_us, now);
        let talked_us = call.answered_us.map_or(0, |answered| between(answered, now));
        turn.outbox.event(Event::Ended { call_id, key, by, after_us, talked_us });
        self.calls.recycle(slot, call);
    }

    /// The wheel looks at a call.
    pub(super) fn on_call_time(&mut self, turn: &mut Turn<'_>, id: TimerId) {
        let Some(call) = self.calls.due(id) else { return };
        call.armed = Deadline::NONE;
        let (key, due) = (call.key, call.deadline() <= turn.now);
        let is_expired = call.expires.is_some_and(|expires| expires <= turn.now);
        match (due, call.answered_us) {
            (false, _) => self.calls.arm(turn.now, key, &mut self.timers),
            (true, Some(_)) => self.end_call(turn, key, if is_expired { EndedBy::Expired } else { EndedBy::Aged }),
            // In setup for longer than any transaction lives: its end was missed.
            (true, None) => {
                if let Some((slot, call)) = self.calls.remove(key) {
                    self.calls.recycle(slot, call);
                }
            }
        }
    }

    /// Calls keep their parties by name when the configuration is read again.
    pub(super) fn carry_calls_over(&mut self, moved: impl Fn(PartyId) -> PartyId) {
        for call in self.calls.iter_mut() {
            call.from = moved(call.from);
            call.toward = moved(call.toward);
        }
    }

    /// A response to INVITE that passes without a transaction, after a restart: the call that was in setup stands, or is
    /// over. `key_id` is that of its branch.
    pub(super) fn note_stateless(
        &mut self,
        turn: &mut Turn<'_>,
        from: Option<PartyId>,
        response: &Response<'_>,
        key_id: u8,
    ) {
        let direction = match from.map(|party| self.direction_from(party)) {
            Some(Direction::Inbound) => Direction::Outbound,
            _ => Direction::Inbound,
        };
        let tag = response.from_tag().unwrap_or_default();
        let key = CallKey::of(&self.keys, Some(key_id), direction, response.call_id(), tag).unwrap_or_default();
        let (now, status) = (turn.now, response.status());
        let restored = |call: &&mut Call| call.answered_us.is_none() && call.setups == 0;
        let Some(call) = self.calls.find_mut(key).filter(restored).filter(|_| status >= 200) else { return };
        call.toward = from.unwrap_or(call.toward);
        let call_id = turn.outbox.keep(call.call_id());
        let (from, toward, after_us) = (call.from, call.toward, between(call.began_us, micros(now)));
        turn.outbox.event(Event::Final { call_id, key, from, toward, in_dialog: false, status, after_us });
        match status {
            ..300 => self.note_answered(now, key, toward, response),
            _ => self.end_setup(key),
        }
    }

    /// How long a session lasts from a 2xx on: its Session-Expires, and the time in which a refresh that left at the last
    /// moment is still answered. `None` where there is no session timer.
    fn session_lasts(&self, response: &Response<'_>) -> Option<Duration> {
        let value = response.value(response.first(Name::SessionExpires)?);
        let digits = value.split(|c| !c.is_ascii_digit()).next()?;
        let seconds: u32 = std::str::from_utf8(digits).ok()?.parse().ok()?;
        Some(Duration::from_secs(seconds.into()) + self.settings.timers.b())
    }

    /// The gateway that an inbound call came by.
    fn gateway_of(&self, arrival: &Arrival<'_>) -> Option<SocketAddr> {
        let peer = self.settings.party(arrival.party)?.peer_at(arrival.flow.remote)?;
        Some(peer.address)
    }

    fn call_age(&self) -> Duration {
        Duration::from_secs(self.settings.limits.call_age_secs.into())
    }

    /// Which way a new request of this party's goes.
    fn direction_from(&self, party: PartyId) -> Direction {
        match self.settings.party(party).map(|party| party.role) {
            Some(Role::Trunk) => Direction::Inbound,
            _ => Direction::Outbound,
        }
    }
}

/// What a call begins with, beside its INVITE.
#[derive(Debug)]
pub(super) struct Begins<'a> {
    pub(super) key: CallKey,
    pub(super) direction: Direction,
    pub(super) toward: PartyId,
    pub(super) party: Customer<'a>,
    pub(super) gateway: Option<SocketAddr>,
    /// No limit refuses it.
    pub(super) is_free: bool,
    pub(super) permit: Permit,
}

impl<'a> Begins<'a> {
    pub(super) fn new(
        (key, decision, toward): (CallKey, &Decision, PartyId),
        party: Customer<'a>,
        peer: &Peer,
        permit: Permit,
    ) -> Begins<'a> {
        let direction = decision.direction;
        let gateway = (direction == Direction::Outbound).then_some(peer.address);
        let is_free = decision.trace.has(|step| step == Step::Emergency);
        Begins { key, direction, toward, party, gateway, is_free, permit }
    }
}

/// Whose call it is: the DID of ours on its side, and the organisation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Customer<'a> {
    pub(super) did: Option<Number>,
    pub(super) organisation: Option<OrganisationId>,
    pub(super) uuid: &'a str,
}

impl<'d> Customer<'d> {
    /// Inbound the called DID and who owns it; outbound the DID that is shown, and whose call it is.
    pub(super) fn of(directory: &'d Directory, decision: &Decision, presented: Option<&Presented<'d>>) -> Customer<'d> {
        let (did, organisation) = match (decision.direction, presented) {
            (Direction::Inbound, _) => {
                let did = decision.number.and_then(|number| directory.did(number));
                (did.map(|did| did.number), did.and_then(|did| did.organisation()))
            }
            (Direction::Outbound, Some(presented)) => (shown_did(presented.shown), presented.organisation),
            (Direction::Outbound, None) => (None, None),
        };
        Customer { did, organisation, uuid: organisation.map_or("", |id| directory.organisation(id).uuid) }
    }
}

fn shown_did(shown: Shown) -> Option<Number> {
    match shown {
        Shown::Did(did, _) | Shown::Forwarded { did, .. } => Some(did),
        _ => None,
    }
}

/// A BYE of a call that nobody here saw begin: what it says of it.
fn tell_unseen(
    turn: &mut Turn<'_>,
    arrival: &Arrival<'_>,
    (key, toward): (CallKey, PartyId),
    verified: &Verified,
    by: EndedBy,
) {
    let request = arrival.request;
    let mut parties = [arrival.party, toward];
    let mut users = [from_user(request), user_of(request.to().of(request.bytes()))].map(|user| turn.outbox.keep(user));
    if verified.side == Side::Callee {
        parties.reverse();
        users.reverse();
    }
    let (call_id, direction) = (turn.outbox.keep(request.call_id()), verified.token.direction);
    turn.outbox.event(Event::EndedUnseen { call_id, key, direction, parties, users, by });
}

/// The user part of From, as it arrived; empty where it cannot be read.
fn from_user<'a>(request: &Request<'a>) -> &'a [u8] {
    user_of(request.from().of(request.bytes()))
}

fn user_of(value: &[u8]) -> &[u8] {
    let uri = NameAddr::parse(value).ok().and_then(|name_addr| Uri::parse(name_addr.uri.of(value)).ok());
    uri.map(|uri| dispatch::called_user(&uri)).unwrap_or_default()
}
