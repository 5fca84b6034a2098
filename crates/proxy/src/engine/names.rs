//! Who is shown to whom, on every road through the engine: the policy is asked once, for a new outbound call; after that
//! the dialog's token tells, by value.

use super::calls::Customer;
use super::{Arrival, Engine, Turn};
use crate::caller_id::{self, Claims, Presented, Shown};
use crate::dialog_token::{Names, Side, Token, Verified};
use crate::dispatch;
use crate::flow::PartyId;
use crate::identity::{self, Dressed, IdentityEdits, Sender, ShownHeaders};
use crate::outbox::{Event, Warning};
use crate::rewrite::write_renamed;
use crate::settings::{Peer, Role, Settings};
use crate::transaction::Context;
use crate::untagged::Untagged;
use sip::{Message, Method, Name, NameAddr, Number, Parsed, Response, Uri};
use std::net::IpAddr;

/// A trunk is shown none of these headers unless the policy says so.
static NOTHING: ShownHeaders = ShownHeaders { asserted: None, kept: Vec::new() };

impl Engine {
    /// Asks the identity policy about a new outbound call.
    pub(super) fn present<'t>(
        &self,
        turn: &Turn<'t>,
        arrival: &Arrival<'_>,
        trunk: PartyId,
        sender: Option<&Sender<'_>>,
    ) -> Presented<'t> {
        let claims = claims_of(&self.settings, arrival, sender);
        caller_id::present(&self.settings, turn.directory, arrival.party, trunk, &claims)
    }

    /// Tells whose call it is, and what the identity policy chose.
    pub(super) fn tell_presented(
        &self,
        turn: &mut Turn<'_>,
        arrival: &Arrival<'_>,
        trunk: PartyId,
        presented: Option<&Presented<'_>>,
        customer: Customer<'_>,
    ) {
        if arrival.request.method() == Method::Invite && !customer.uuid.is_empty() {
            let organisation = turn.outbox.keep(customer.uuid.as_bytes());
            turn.outbox.event(Event::Owned(organisation));
        }
        let Some(presented) = presented else { return };
        if presented.breach {
            let call_id = turn.outbox.keep(arrival.request.call_id());
            let name = presented.claimed.map(|id| turn.directory.organisation(id).name).unwrap_or_default();
            let organisation = turn.outbox.keep(name.as_bytes());
            turn.outbox.event(Event::Foreign { call_id, organisation, number: presented.foreign });
        }
        if let Shown::Did(did, rule) | Shown::Forwarded { did, rule, .. } = presented.shown {
            turn.outbox.event(Event::Shown(trunk, rule, did));
        }
    }

    /// The edits of a response: From and To as the request's sender wrote them.
    pub(super) fn edits_back<'e>(&'e self, context: &'e Context) -> IdentityEdits<'e> {
        IdentityEdits {
            endpoint_header: identity::endpoint_header(&self.settings),
            from: kept(&context.came_from),
            to: kept(&context.came_to),
            shown: caller_id::profile_of(&self.settings, context.party).map(|_| &NOTHING),
            hides_asserted: identity::is_untrusted(&self.settings, context.toward),
            hides_history: false,
        }
    }

    /// Turns the names in a copy of a forwarded request back into those of its sender.
    pub(super) fn rename_back(&mut self, context: &Context, copy: &mut Vec<u8>) {
        if context.came_from.is_empty() && context.came_to.is_empty() {
            return;
        }
        let mut index = self.own_index.take().unwrap_or_default();
        let mut renamed = Vec::with_capacity(copy.len());
        if let Parsed::Request(request) = sip::parse(copy, &mut index)
            && write_renamed(&request, &self.edits_back(context), &mut renamed).is_some()
        {
            *copy = renamed;
        }
        self.own_index = Some(index);
    }

    /// The names that a response without a transaction carries back, from our token in its Record-Route: the sender of
    /// the request knows the other one.
    pub(super) fn names_in_response(&self, response: &Response<'_>) -> Option<Verified> {
        let bytes = response.bytes();
        let (from, to) = (response.from_tag().unwrap_or_default(), response.to_tag().unwrap_or_default());
        response.list(Name::RecordRoute).find_map(|item| {
            let value = item.span.of(bytes);
            let uri = NameAddr::parse(value).ok()?.uri.of(value);
            let uri = Uri::parse(uri).ok().filter(|uri| self.settings.is_us(uri))?;
            Token::verify(uri.user_bytes()?, &self.keys, response.call_id(), from, to)
        })
    }

    /// The edits of a response without a transaction.
    pub(super) fn edits_by_token<'e>(
        &'e self,
        verified: Option<&'e Verified>,
        to_trunk: bool,
        hides_asserted: bool,
    ) -> IdentityEdits<'e> {
        let names = verified.and_then(|verified| Some((verified.side, verified.names.as_ref()?)));
        let (from, to) = match names {
            Some((Side::Caller, names)) => (kept(&names.original), None),
            Some((Side::Callee, names)) => (None, Some(&names.shown)),
            None => (None, None),
        };
        let endpoint_header = identity::endpoint_header(&self.settings);
        let shown = to_trunk.then_some(&NOTHING);
        IdentityEdits { endpoint_header, from, to, shown, hides_asserted, hides_history: false }
    }

    /// True when an address belongs to a trunk that is shown callers by a profile.
    pub(super) fn is_profiled(&self, ip: IpAddr) -> bool {
        let trunks = self.settings.parties.iter().filter(|party| party.role == Role::Trunk);
        let mut profiled = trunks.filter(|party| party.identity.profile.is_some());
        profiled.any(|party| party.sources.iter().any(|source| source.ip == ip))
    }
}

/// The From of an outbound call, where it makes a difference: a trunk that leaves identity alone asks nobody.
pub(super) fn sender_of<'a>(settings: &Settings, arrival: &Arrival<'a>, trunk: PartyId) -> Option<Sender<'a>> {
    caller_id::profile_of(settings, trunk).map(|_| Sender::read(arrival.request))
}

/// What a new outbound call says of its caller; nothing where nobody asks.
pub(super) fn claims_of<'a>(settings: &'a Settings, arrival: &Arrival<'a>, sender: Option<&Sender<'a>>) -> Claims<'a> {
    let Some(sender) = sender else { return Claims::default() };
    let emergency = dispatch::is_emergency(settings, dispatch::called_user(&arrival.way.uri));
    Claims { emergency, ..identity::claims_from(settings, arrival.request, sender) }
}

/// Who calls in, where it makes a difference: who has no testers reads no caller.
pub(super) fn tester_of(settings: &Settings, turn: &Turn<'_>, arrival: &Arrival<'_>) -> Option<Number> {
    let is_inbound = settings.party(arrival.party).is_some_and(|party| party.role == Role::Trunk);
    let has_testers = !turn.directory.overlays().testers.is_empty();
    (is_inbound && has_testers).then(|| identity::caller_of(settings, arrival.party, arrival.request)).flatten()
}

/// What an outbound call's identity headers become at this peer.
pub(super) fn dress(
    settings: &Settings,
    turn: &mut Turn<'_>,
    arrival: &Arrival<'_>,
    sender: Option<&Sender<'_>>,
    presented: Option<&Presented<'_>>,
    peer: &Peer,
) -> Option<Dressed> {
    let leaves = settings.listener(peer.listener)?;
    let dressed = identity::dress(settings, turn.directory, arrival.request, sender?, presented?, leaves)?;
    if arrival.request.method() == Method::Invite && !dressed.names.original.fits_token() {
        turn.outbox.event(Event::Warned(Warning::LongName));
    }
    Some(dressed)
}

/// The edits of a new request: what dressing chose, or else only what never passes.
pub(super) fn edits_of<'e>(
    settings: &'e Settings,
    arrival: &Arrival<'_>,
    toward: PartyId,
    dressed: Option<&'e Dressed>,
) -> IdentityEdits<'e> {
    let (hides_asserted, hides_history) = withheld(settings, arrival, toward);
    IdentityEdits {
        endpoint_header: identity::endpoint_header(settings),
        from: dressed.map(|dressed| &dressed.names.shown),
        to: None,
        shown: dressed.map(|dressed| &dressed.headers),
        hides_asserted,
        hides_history,
    }
}

/// Whether the headers that name a caller go, and whether History-Info does: a sender that is not believed may name
/// nobody, and a receiver that is not trusted is not told what Privacy withholds.
fn withheld(settings: &Settings, arrival: &Arrival<'_>, toward: PartyId) -> (bool, bool) {
    let is_told = !identity::is_untrusted(settings, toward);
    let asks = |for_it: fn(&Message<'_>) -> bool| !is_told && for_it(arrival.request);
    let unbelieved = identity::is_untrusted(settings, arrival.party);
    (unbelieved || asks(identity::wants_privacy), asks(identity::withholds_history))
}

/// The headers that a trunk is shown of a request inside a dialog; `None` toward anyone else.
pub(super) fn shown_in_dialog(
    settings: &Settings,
    arrival: &Arrival<'_>,
    toward: PartyId,
    verified: Option<&Verified>,
) -> Option<ShownHeaders> {
    caller_id::profile_of(settings, toward)?;
    let shown = verified.filter(|v| v.side == Side::Caller).and_then(|v| v.names.as_ref());
    Some(shown.map_or_else(ShownHeaders::default, |names| {
        identity::dress_in_dialog(settings, toward, arrival.request, &names.shown.text)
    }))
}

/// A name, where there is one: a token leaves out an original that is too long.
fn kept(name: &Untagged) -> Option<&Untagged> {
    Some(name).filter(|name| !name.is_empty())
}

/// The edits of a request inside a dialog: each side keeps seeing the caller's name that it knows.
pub(super) fn edits_in_dialog<'e>(
    settings: &'e Settings,
    arrival: &Arrival<'_>,
    toward: PartyId,
    verified: Option<&'e Verified>,
    shown: Option<&'e ShownHeaders>,
) -> IdentityEdits<'e> {
    let names = verified.and_then(|verified| Some((verified.side, verified.names.as_ref()?)));
    let (from, to) = match names {
        Some((Side::Caller, Names { shown, .. })) => (Some(shown), None),
        Some((Side::Callee, Names { original, .. })) => (None, kept(original)),
        None => (None, None),
    };
    let endpoint_header = identity::endpoint_header(settings);
    let (hides_asserted, hides_history) = withheld(settings, arrival, toward);
    IdentityEdits { endpoint_header, from, to, shown, hides_asserted, hides_history }
}
