//! The core's way in: one message or one moment at a time, from bytes to outbox. The only file that calls the steps
//! (parse, admission, transaction, dispatch, rewrite, outbox), in that order.
//!
//! `response` is the way back, `attempt` what happens at a peer, `by_size` what carries a large request there, `answer` what we say ourselves, `stateless` what
//! passes without a transaction.

mod admit;
mod answer;
mod attempt;
mod availability;
mod by_size;
mod calls;
mod load;
mod media;
mod names;
mod reload;
mod response;
mod room;
mod stateless;
mod time;

pub use room::{Looked, Room, Standing, room_of};

use crate::admission;
use crate::caller_id::Shown;
use crate::calls::{CallKey, Calls, Counts};
use crate::dialog_token::{Hop, Token, Verified};
use crate::dispatch::{self, Decision, Direction, Outcome, Question, Step};
use crate::flow::{Flow, PartyId, Time};
use crate::keys::KeyRing;
use crate::limits::FORMER_KEYS;
use crate::outbox::{Absorbed, DropReason, Event, Outbox, Warning};
use crate::refusal::Refusal;
use crate::rewrite::{Record, Routes, UriOut};
use crate::route::{self, Way};
use crate::settings::Settings;
use crate::targets::{States, Strains};
use crate::timers::{TimerId, Timers};
use crate::transaction::Context;
use crate::transaction::key::{Identity, Key};
use crate::transaction::table::Table;
use attempt::Plan;
use calls::{Begins, Customer};
use directory::Directory;
use sip::{Index, Method, Parsed, Request};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

/// The proxy's core. One for each worker; it shares nothing.
#[derive(Debug)]
pub struct Engine {
    settings: Arc<Settings>,
    keys: Arc<KeyRing>,
    /// The keys that signed before the changes of the ring, newest first, each until its transactions are over.
    former_keys: Vec<FormerKey>,
    former_peers: Vec<reload::FormerPeer>,
    /// Changes of the addresses that may speak, other than by [`Engine::apply`].
    neighbours_changed: u64,
    /// What each source has sent of late.
    rates: load::Rates,
    /// The worker is behind with what has arrived.
    is_behind: bool,
    table: Table,
    calls: Calls,
    counts: Arc<Counts>,
    timers: Timers,
    /// Peers that asked for a pause (503 with Retry-After), and until when.
    paused: Vec<(SocketAddr, Time)>,
    /// What people and probes say of the peers.
    states: Arc<States>,
    /// Peers that failed their last calls.
    strains: Strains,
    /// Peers of transport `auto` that take no stream, and until when that is believed.
    streamless: Vec<(SocketAddr, Time)>,
    draining: bool,
    /// Lent while a message is read; a new one would be an allocation for each message.
    index: Option<Index>,
    /// A second index, for a message of ours that is read while one from outside is.
    own_index: Option<Index>,
    scratch: Vec<u8>,
    due: VecDeque<TimerId>,
}

#[derive(Clone, Copy, Debug)]
struct FormerKey {
    id: u8,
    until: Option<Time>,
}

/// What one call of the engine works with.
#[derive(Debug)]
struct Turn<'t> {
    now: Time,
    directory: &'t Directory,
    outbox: &'t mut Outbox,
}

/// A request that no transaction knows, on its way in.
#[derive(Clone, Copy, Debug)]
struct Arrival<'a> {
    flow: Flow,
    party: PartyId,
    request: &'a Request<'a>,
    key: Key,
    way: Way<'a>,
    loop_part: u64,
}

/// Where a request inside a dialog goes.
#[derive(Clone, Debug)]
struct InDialog {
    hop: Hop,
    /// What its token says; `None` where it passes without one.
    verified: Option<Verified>,
}

/// A request that gets an answer of ours: as much of it as an answer needs.
#[derive(Clone, Copy, Debug)]
struct Asked<'a> {
    flow: Flow,
    party: PartyId,
    message: &'a sip::Message<'a>,
    key: Key,
}

impl<'a> Arrival<'a> {
    fn asked(&self) -> Asked<'a> {
        Asked { flow: self.flow, party: self.party, message: self.request, key: self.key }
    }
}

impl Engine {
    /// An engine with nothing open.
    pub fn new(settings: Arc<Settings>, keys: Arc<KeyRing>) -> Engine {
        Engine {
            rates: load::Rates::of(&settings),
            settings,
            keys,
            former_keys: Vec::new(),
            former_peers: Vec::new(),
            neighbours_changed: 0,
            is_behind: false,
            table: Table::new(),
            calls: Calls::default(),
            counts: Arc::new(Counts::sized(ALONE)),
            timers: Timers::new(),
            paused: Vec::new(),
            states: Arc::default(),
            strains: Strains::default(),
            streamless: Vec::new(),
            draining: false,
            index: None,
            own_index: None,
            scratch: Vec::new(),
            due: VecDeque::new(),
        }
    }

    /// Takes one datagram. `flow` says where it came from, and on which of our sockets.
    pub fn handle_datagram(&mut self, now: Time, flow: Flow, bytes: &[u8], directory: &Directory, outbox: &mut Outbox) {
        self.receive(Turn { now, directory, outbox }, flow, bytes, sip::parse);
    }

    /// Takes one message that framing has cut from a stream.
    pub fn handle_message(&mut self, now: Time, flow: Flow, bytes: &[u8], directory: &Directory, outbox: &mut Outbox) {
        self.receive(Turn { now, directory, outbox }, flow, bytes, sip::parse_framed);
    }

    /// Takes new settings and keys. Open transactions keep the peers and the keys that they began with.
    pub fn apply(&mut self, settings: Arc<Settings>, keys: Arc<KeyRing>) {
        if keys.active_id() != self.keys.active_id() {
            let id = self.keys.active_id();
            self.former_keys.retain(|former| former.id != id && former.id != keys.active_id());
            self.former_keys.truncate(FORMER_KEYS - 1);
            self.former_keys.insert(0, FormerKey { id, until: None });
        }
        self.carry_over(&settings);
        self.rates = self.rates.carried_over(&settings);
        self.settings = settings;
        self.keys = keys;
    }

    /// Transactions that are open.
    pub fn open_transactions(&self) -> usize {
        self.table.len()
    }

    fn receive(&mut self, mut turn: Turn<'_>, flow: Flow, bytes: &[u8], parse: Parse) {
        let party = self.settings.party_of(&flow);
        if party.is_none() && !self.settings.is_peer_address(&flow) && !self.is_former_peer(turn.now, &flow) {
            return self.on_stranger(&mut turn, flow, bytes);
        }
        let mut index = self.index.take().unwrap_or_default();
        // A message is large and stays where it was read.
        match (turn.outbox.read(bytes, &parse(bytes, &mut index)), party) {
            (Parsed::Request(request), Some(party)) => self.on_request(&mut turn, flow, party, request),
            (Parsed::Response(response), party) => self.on_response(&mut turn, (flow, party), response),
            (Parsed::Answerable(bad), Some(party)) => self.answer_malformed(&mut turn, flow, party, bad),
            (Parsed::Hopeless(noise), _) => load::on_noise(&mut turn, flow, *noise),
            (_, None) => turn.outbox.event(Event::Dropped(DropReason::Stranger)),
        }
        self.index = Some(index);
    }

    fn on_request(&mut self, turn: &mut Turn<'_>, flow: Flow, party: PartyId, request: &Request<'_>) {
        turn.outbox.event(Event::Request(party, request.method()));
        let Some((key, slot)) = self.find(turn.now, request) else { return };
        if let Some(slot) = slot {
            return self.on_known(turn, slot, flow, party, request);
        }
        let asked = Asked { flow, party, message: request, key };
        let Some(way) = route::read(&self.settings, request) else {
            return self.on_unreadable_way(turn, &asked);
        };
        if request.method() == Method::Ack && self.is_ack_to_us(request, key) {
            return turn.outbox.event(Event::Absorbed(Absorbed::Ack));
        }
        if self.sheds(turn, &asked, &way) {
            return;
        }
        let loop_part = admission::loop_part(&self.keys, None, request, &way);
        let arrival = Arrival { flow, party, request, key, way, loop_part };
        match request.method() {
            Method::Ack => self.pass_ack(turn, &arrival),
            Method::Cancel => self.on_stray_cancel(turn, &arrival),
            _ => match admission::check(&self.settings, request, &way, loop_part) {
                Err(refusal) => self.answer_without_state(turn, &arrival.asked(), refusal),
                Ok(()) if request.to_tag().is_some() || way.has_token() => self.on_in_dialog(turn, &arrival),
                Ok(()) => self.on_new(turn, &arrival),
            },
        }
    }

    /// The request's transaction key and, where it is open, its slot. A transaction that an earlier key of the ring
    /// opened is found by that key.
    fn find(&mut self, now: Time, request: &Request<'_>) -> Option<(Key, Option<u32>)> {
        let via = request.via();
        let identity = identity_of(request, via);
        let key = identity.key(&self.keys, None, 0)?;
        if let Some(slot) = self.table.find(key) {
            return Some((key, Some(slot)));
        }
        if self.former_keys.is_empty() {
            return Some((key, None));
        }
        let time = self.settings.timers.timer_c + self.settings.timers.b();
        self.former_keys.retain_mut(|former| now <= *former.until.get_or_insert(now + time));
        let by_former = |former: &FormerKey| {
            identity.key(&self.keys, Some(former.id), 0).and_then(|key| self.table.find(key)).map(|slot| (key, slot))
        };
        if let Some((key, slot)) = self.former_keys.iter().find_map(by_former) {
            return Some((key, Some(slot)));
        }
        Some((key, None))
    }

    fn on_unreadable_way(&mut self, turn: &mut Turn<'_>, asked: &Asked<'_>) {
        if asked.message.cseq().method == Method::Ack {
            return turn.outbox.event(Event::Dropped(DropReason::Ack));
        }
        self.answer_without_state(turn, asked, Refusal::Malformed(sip::Fault::RequestUri));
    }

    /// A request of an open transaction: its retransmission, its CANCEL, or its ACK.
    fn on_known(&mut self, turn: &mut Turn<'_>, slot: u32, flow: Flow, party: PartyId, request: &Request<'_>) {
        let Some(mut context) = self.table.take(slot) else { return };
        if flow.remote != context.upstream.remote && party != context.party {
            turn.outbox.event(Event::Dropped(DropReason::WrongSource));
            return self.settle(slot, context);
        }
        match request.method() {
            Method::Ack => self.on_ack(turn, &mut context, flow, party, request),
            Method::Cancel => self.on_cancel(turn, &mut context, flow, request),
            _ => {
                turn.outbox.event(Event::Absorbed(Absorbed::Request));
                context.upstream = self.upstream_of(flow, request);
                if context.wants_reply_again() {
                    turn.outbox.transmit(context.upstream, &context.reply);
                }
            }
        }
        self.settle(slot, context);
    }

    /// A request inside a dialog: our token names the peer, and the directory is not asked.
    fn on_in_dialog(&mut self, turn: &mut Turn<'_>, arrival: &Arrival<'_>) {
        let Some(way) = self.hop_of(turn, arrival) else { return self.refuse(turn, arrival, Refusal::NoToken) };
        turn.outbox.event(Event::InDialog(arrival.party, arrival.request.method()));
        let Some((peer, toward)) = self.peer_at(turn.now, way.hop) else {
            return self.refuse(turn, arrival, Refusal::NoTarget);
        };
        let record = match arrival.way.token {
            Some(text) if way.verified.is_some() && makes_dialog(arrival.request.method()) => Record::Copy(text),
            _ => Record::None,
        };
        let call = self.call_in_dialog(arrival.request, arrival.party, way.verified.as_ref());
        if let Some(verified) = way.verified.as_ref().filter(|_| arrival.request.method() == Method::Bye) {
            self.note_bye(turn, arrival, (call, toward), verified);
        }
        let (uri, routes) = in_dialog_uri(&arrival.way);
        let settings = Arc::clone(&self.settings);
        let shown = names::shown_in_dialog(&settings, arrival, toward, way.verified.as_ref());
        let identity = names::edits_in_dialog(&settings, arrival, toward, way.verified.as_ref(), shown.as_ref());
        self.open(turn, arrival, Plan { call, uri, routes, record, identity, ..Plan::to(toward, peer, arrival) });
    }

    /// The next hop of an in-dialog request (decision on F6): the token's peer; without a token, the local PBX for calls
    /// that are older than we, or a configured peer that the request-URI names.
    fn hop_of(&self, turn: &mut Turn<'_>, arrival: &Arrival<'_>) -> Option<InDialog> {
        let request = arrival.request;
        if let Some(text) = arrival.way.token {
            let (from, to) = (request.from_tag().unwrap_or_default(), request.to_tag().unwrap_or_default());
            if let Some(verified) = Token::verify(text, &self.keys, request.call_id(), from, to) {
                return Some(InDialog { hop: verified.token.next_hop(verified.side), verified: Some(verified) });
            }
            turn.outbox.event(Event::Warned(Warning::TokenRefused));
        }
        if arrival.way.next.is_some() {
            return None;
        }
        let adopts = arrival.way.skip_first == 0 && self.settings.adopt_until.is_some_and(|until| turn.now < until);
        if self.settings.is_us(&arrival.way.uri) {
            let local = self.settings.environment_party(self.settings.environment)?;
            let peer = self.settings.party(local)?.peers.first()?;
            if !adopts || local == arrival.party {
                return None;
            }
            turn.outbox.event(Event::Warned(Warning::Adopted));
            return Some(InDialog { hop: peer.hop(), verified: None });
        }
        let peer = self.settings.peer_named(&arrival.way.uri)?;
        turn.outbox.event(Event::Warned(Warning::Untokened));
        Some(InDialog { hop: peer.hop(), verified: None })
    }

    /// A request out of a dialog: dispatch decides.
    fn on_new(&mut self, turn: &mut Turn<'_>, arrival: &Arrival<'_>) {
        let request = arrival.request;
        let uri = &arrival.way.uri;
        if arrival.way.next.is_some() {
            return self.refuse(turn, arrival, Refusal::ForeignRoute);
        }
        if uri.scheme != sip::Scheme::Tel && !self.settings.is_us(uri) && self.settings.peer_named(uri).is_none() {
            return self.refuse(turn, arrival, Refusal::ForeignTarget);
        }
        if request.method() == Method::Options {
            return self.answer_options(turn, arrival);
        }
        let user = dispatch::called_user(uri);
        let outranks = dispatch::is_emergency(&self.settings, user);
        if request.method() == Method::Invite && self.draining && !outranks {
            return self.answer_without_state(turn, &arrival.asked(), Refusal::Draining);
        }
        let caller = names::tester_of(&self.settings, turn, arrival);
        let question = Question { from: arrival.party, method: request.method(), user, caller };
        let decision = self.decide(turn.directory, &question);
        let call = self.call_key(decision.direction, request);
        match decision.outcome {
            Outcome::Refuse(refusal) => {
                self.tell(turn, arrival, user, call, &decision);
                self.refuse(turn, arrival, refusal);
            }
            Outcome::Forward(toward) => self.dispatch(turn, arrival, toward, (user, call), decision),
        }
    }

    /// Sends a new request to the party that dispatch chose: its first peer now, the others if that one fails. An
    /// outbound call is shown as the identity policy says, and takes the trunk of the DID that it shows. A call that there
    /// is no room for is refused.
    fn dispatch(
        &mut self,
        turn: &mut Turn<'_>,
        arrival: &Arrival<'_>,
        toward: PartyId,
        (user, call): (&[u8], CallKey),
        mut decision: Decision,
    ) {
        let settings = Arc::clone(&self.settings);
        let sender = names::sender_of(&settings, arrival, toward);
        let is_outbound = decision.direction == Direction::Outbound;
        let presented = is_outbound.then(|| self.present(turn, arrival, toward, sender.as_ref()));
        let toward = presented.and_then(|presented| presented.trunk).unwrap_or(toward);
        let is_emergency = decision.trace.has(|step| step == Step::Emergency);
        let mut order = self.peers_in_order(toward, turn.now, arrival.key, is_emergency);
        let customer = Customer::of(turn.directory, &decision, presented.as_ref());
        let admitted = match presented.map(|presented| presented.shown) {
            Some(Shown::Refuse(refusal)) => Err(refusal),
            _ if order.is_empty() => Err(Refusal::NoneUsable),
            _ => self.room_for(turn, arrival, (call, &decision, toward), customer, &mut order),
        };
        if let Err(refusal) = admitted {
            decision.outcome = Outcome::Refuse(refusal);
            if let Refusal::Limit(limit, _) = refusal {
                decision.trace.add(Step::Limit(limit));
            }
        }
        self.tell(turn, arrival, user, call, &decision);
        self.tell_presented(turn, arrival, toward, presented.as_ref(), customer);
        let permit = match admitted {
            Ok(permit) => permit,
            Err(refusal) => return self.refuse(turn, arrival, refusal),
        };
        let Some((peer, untried)) = order.split_first() else { return };
        let mut formatted = Vec::new();
        let form = settings.party(toward).and_then(|party| party.called_number);
        let user = match decision.number.zip(form) {
            Some((number, form)) => {
                settings.numbering.write(number, form, &mut formatted);
                formatted.as_slice()
            }
            None => user,
        };
        let dressed = names::dress(&settings, turn, arrival, sender.as_ref(), presented.as_ref(), peer);
        let identity = names::edits_of(&settings, arrival, toward, dressed.as_ref());
        let token = self.token_for(arrival.party, arrival.flow, toward, peer);
        let keys = Arc::clone(&self.keys);
        let record = match token {
            Some(ref token) if makes_dialog(arrival.request.method()) => {
                Record::Mint(token, dressed.as_ref().map(|dressed| &dressed.names), &keys)
            }
            _ => Record::None,
        };
        let uri = UriOut::Peer { uri: arrival.way.uri, user };
        let routes = Routes { skip_first: arrival.way.skip_first, skip_last: arrival.way.skip_last, append: None };
        let fallback = self.fallback_for(toward, &decision);
        let begins = Begins::new((call, &decision, toward), customer, peer, permit);
        let sets_up = self.begin_call(turn, arrival, begins);
        let plan = Plan { call, sets_up, untried, fallback, uri, routes, record, identity, toward, peer: *peer };
        self.open(turn, arrival, plan);
    }

    fn tell(&self, turn: &mut Turn<'_>, arrival: &Arrival<'_>, user: &[u8], key: CallKey, decision: &Decision) {
        let trace = &decision.trace;
        let told = [
            (trace.has(|step| matches!(step, Step::StaysHere { .. })), Warning::StaysHere),
            (trace.has(|step| step == Step::LastGood), Warning::LastGood),
            (trace.has(|step| matches!(step, Step::UnknownTo(_))), Warning::UnknownTo),
        ];
        for (_, warning) in told.into_iter().filter(|(applies, _)| *applies) {
            turn.outbox.event(Event::Warned(warning));
        }
        if let Some(Step::FallsBack(party)) = trace.deciding() {
            turn.outbox.event(Event::FellBack(party));
        }
        let call_id = turn.outbox.keep(arrival.request.call_id());
        let called = turn.outbox.keep(user);
        let method = arrival.request.method();
        let from = arrival.party;
        turn.outbox.event(Event::Decided { call_id, key, from, called, method, decision: *decision });
    }

    /// Puts a context back and sets its next deadline, or ends it.
    fn settle(&mut self, slot: u32, mut context: Box<Context>) {
        if context.is_over() {
            return self.table.remove(slot, context);
        }
        let due = context.deadline();
        if let Some(at) = due.time()
            && due < context.armed
        {
            context.armed = due;
            self.timers.arm(at, TimerId { slot, generation: self.table.generation(slot) });
        }
        self.table.put_back(slot, context);
    }
}

/// Cells of the counts of an engine that shares them with nobody.
const ALONE: usize = 1_024;

type Parse = for<'p> fn(&'p [u8], &'p mut Index) -> Parsed<'p>;

/// What tells a request's transaction apart.
fn identity_of<'a>(request: &Request<'a>, via: &'a sip::Via<'a>) -> Identity<'a> {
    let bytes = request.bytes();
    let legacy = [via.span.of(bytes), request.from_tag().unwrap_or_default(), request.uri().of(bytes)];
    Identity { via, sent_by: via.sent_by.of(bytes), call_id: request.call_id(), cseq: request.cseq(), legacy }
}

/// Methods whose dialog we stay in: those that make one, and those that may set its route anew.
fn makes_dialog(method: Method) -> bool {
    matches!(
        method,
        Method::Invite | Method::Subscribe | Method::Notify | Method::Refer | Method::Update | Method::Other
    )
}

/// In a dialog the request-URI is the remote target and stays, unless the next hop is a strict router (16.6 item 6).
fn in_dialog_uri<'a>(way: &Way<'a>) -> (UriOut<'a>, Routes<'a>) {
    let mut routes = Routes { skip_first: way.skip_first, skip_last: way.skip_last, append: None };
    match way.next {
        Some(next) if way.next_is_strict => {
            routes.skip_first += 1;
            routes.append = Some(way.uri.bytes);
            (UriOut::Whole(next), routes)
        }
        _ => (UriOut::Keep(way.uri), routes),
    }
}
