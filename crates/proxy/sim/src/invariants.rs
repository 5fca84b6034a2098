//! What holds after every step, whatever happened: the invariants I1 to I12, each a function named for it, and one more:
//! calls that stand stay live.
//!
//! The memory here is a shadow of each call, made from nothing but what passed the proxy's door. It asks the proxy
//! nothing, so a proxy that is wrong is wrong against it.

mod dialogs;
mod doors;
mod messages;
mod seats;
mod transactions;

use crate::quotas::Quotas;
use crate::stage::{Numbers, Site, TRUNK};
use crate::wire::Wire;
use proxy::{Flow, PartyId, Time, Transport};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

/// One call of the engine: what came, and what left.
#[derive(Debug)]
pub(crate) struct Step {
    /// When.
    pub(crate) now_ms: u64,
    /// What came.
    pub(crate) cause: Cause,
    /// What left, in order.
    pub(crate) left: Vec<Left>,
    /// The proxy said that it passed something without a transaction.
    pub(crate) stateless: bool,
    /// The Call-IDs of calls that the proxy said are over.
    pub(crate) ended: Vec<String>,
    /// Transactions that are open afterwards.
    pub(crate) open: usize,
    /// When the engine wants to be woken.
    pub(crate) next: Option<Time>,
}

/// Why the engine was called.
#[derive(Debug)]
pub(crate) enum Cause {
    /// A message arrived.
    Arrived(Arrival),
    /// Time passed, or the network gave something back.
    Time,
}

/// A message that reached the proxy.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// The source address.
    pub(crate) from: SocketAddr,
    /// The site that it belongs to; `None`: a stranger.
    pub(crate) site: Option<usize>,
    /// As it arrived.
    pub(crate) text: Rc<str>,
    /// As far as it can be read.
    pub(crate) wire: Option<Wire>,
    /// As its sender made it: neither changed on the way nor forged.
    pub(crate) whole: bool,
    /// The Call-ID of what it was before it was changed on the way.
    pub(crate) meant: Option<String>,
}

/// A message that left the proxy.
#[derive(Clone, Debug)]
pub(crate) struct Left {
    /// The way it takes.
    pub(crate) flow: Flow,
    /// What left.
    pub(crate) text: Rc<str>,
    /// The same, read.
    pub(crate) wire: Option<Wire>,
}

/// A fault: which invariant, and what was seen.
pub(crate) type Broken = String;

/// A deadline that is far off comes due so much later at most, together with others.
const LATE_MS: u64 = 3;
/// The longest that an INVITE may wait: Timer C and 64*T1.
pub(crate) const INVITE_MS: u64 = 181_000 + 32_000 + 2 * LATE_MS;
/// 64*T1.
pub(crate) const B_MS: u64 = 32_000;
/// T4.
const T4_MS: u64 = 5_000;

/// A request that arrived, by its branch and method.
#[derive(Debug)]
struct Asked {
    wire: Wire,
    from: SocketAddr,
    incarnation: u32,
    /// Where the table says that it goes; the inner `None`: nowhere. The outer: it is not dispatched by number.
    expected: Option<Option<PartyId>>,
    /// Responses that went up, each once.
    replies: Vec<Rc<str>>,
    /// The final above 2xx that went up, and until when its transaction may last.
    failure: Option<(u16, u64)>,
    success: bool,
}

/// One branch of the proxy's.
#[derive(Debug)]
struct Branch {
    remote: SocketAddr,
    party: PartyId,
    /// Whoever was asked on it: after a kill and a change of the table it may be another one.
    parties: Vec<PartyId>,
    call_id: String,
    number: u32,
    method: String,
    text: Rc<str>,
    vias: usize,
    /// The request that it carries on.
    asked: String,
    incarnation: u32,
    generation: u64,
    /// A 1xx has arrived on it since the proxy's last start.
    progressed: bool,
    cancels: u32,
    cancel: Option<Rc<str>>,
}

/// What both ends of a call know of each other.
#[derive(Debug)]
struct Parties {
    caller_tag: String,
    caller_site: usize,
    /// As the caller wrote From and To.
    caller: (String, String),
    /// As the callee's side was shown the caller: one for each start of the proxy.
    shown: Vec<(u32, String)>,
    /// The site of each tag.
    homes: Vec<(String, usize)>,
}

/// The shadow of all calls.
#[derive(Debug)]
pub(crate) struct Invariants {
    sites: Vec<Site>,
    numbers: Numbers,
    rewrites: bool,
    incarnation: u32,
    asked: HashMap<String, Asked>,
    branches: HashMap<String, Branch>,
    calls: HashMap<String, Parties>,
    /// INVITEs without a final, and until when they may be.
    waiting: HashMap<String, u64>,
    /// Calls in which a message was changed on the way: nothing is expected of them.
    tainted: HashSet<String>,
    /// Bytes from and to addresses that nobody configured.
    unverified: HashMap<IpAddr, (usize, usize)>,
    last_cause_ms: u64,
    seats: seats::Seats,
}

impl Invariants {
    /// A shadow of nothing.
    pub(crate) fn new(sites: Vec<Site>, numbers: Numbers, rewrites: bool, quotas: Quotas) -> Invariants {
        Invariants {
            sites,
            numbers,
            rewrites,
            incarnation: 0,
            asked: HashMap::new(),
            branches: HashMap::new(),
            calls: HashMap::new(),
            waiting: HashMap::new(),
            tainted: HashSet::new(),
            unverified: HashMap::new(),
            last_cause_ms: 0,
            seats: seats::Seats::new(quotas),
        }
    }

    /// The table changed.
    pub(crate) fn table_changed(&mut self, numbers: &Numbers) {
        self.numbers = numbers.clone();
    }

    /// The proxy was killed and started again: it remembers nothing, but for the calls that stood if `is_kept`.
    pub(crate) fn restarted(&mut self, is_kept: bool) {
        self.incarnation += 1;
        self.seats.restarted(self.incarnation, is_kept);
        self.waiting.clear();
        self.branches.values_mut().for_each(|branch| branch.progressed = false);
    }

    /// Checks one step against all that came before.
    pub(crate) fn check(&mut self, step: &Step) -> Result<(), Broken> {
        let fresh = self.note_arrival(step);
        self.i12_no_response_or_ack_is_answered(step)?;
        for left in &step.left {
            self.i6_no_more_out_than_in(left)?;
            self.i2_nothing_goes_to_nobody(left)?;
            let Some(wire) = &left.wire else {
                // What came was cut: so is the answer that is made from it.
                let excused = matches!(&step.cause, Cause::Arrived(arrival) if !arrival.whole);
                if excused {
                    continue;
                }
                return Err(format!("I3: unreadable: {:?}", left.text));
            };
            if wire.is_response() {
                self.i7_no_100_is_forwarded(wire)?;
                self.i4_a_response_stays_as_it_was(step, wire)?;
                self.i5_each_side_keeps_its_names(step, left, wire)?;
                self.limits_hold_for_calls_that_are_up(step, wire)?;
                self.i1_one_final_for_each_invite(step, wire)?;
                self.note_reply(wire);
            } else {
                self.i3_a_branch_is_one_attempt(step, left, wire)?;
                self.i4_a_request_stays_as_it_was(wire)?;
                self.i11_one_table_for_each_transaction(left, wire)?;
                self.i8_cancel_after_a_1xx_once(step, left, wire)?;
                self.i5_each_side_keeps_its_names(step, left, wire)?;
                self.i5_no_foreign_number_leaves(left, wire)?;
                self.seats.note_bye(wire);
            }
        }
        self.seats.note_ended(&step.ended);
        self.i10_options_are_answered_at_once(step)?;
        self.i1_no_invite_waits_too_long(step)?;
        self.i9_nothing_outlives_its_timers(step)?;
        self.calls_stay_live(step, fresh)
    }

    /// At the end, when the engine has come to rest.
    pub(crate) fn check_rest(&self, now_ms: u64, open: usize, next: Option<Time>) -> Result<(), Broken> {
        if open != 0 || next.is_some() {
            return Err(format!("I9: {open} transactions are open at rest, the next deadline is {next:?}"));
        }
        let latest_ms = self.last_cause_ms + INVITE_MS + 4 * (B_MS + LATE_MS);
        if now_ms > latest_ms {
            return Err(format!("I9: the last deadline was at {now_ms} ms, nothing came after {}", self.last_cause_ms));
        }
        let is_tainted = |key: &str| self.asked.get(key).is_some_and(|asked| self.is_tainted(&asked.wire));
        match self.waiting.keys().find(|key| !is_tainted(key)) {
            Some(key) => Err(format!("I1: {key} never got a final response")),
            None => Ok(()),
        }
    }

    /// Remembers what arrived. True for a request that this start of the proxy sees for the first time.
    fn note_arrival(&mut self, step: &Step) -> bool {
        let Cause::Arrived(arrival) = &step.cause else { return false };
        self.last_cause_ms = step.now_ms;
        let Some(site) = arrival.site else {
            self.unverified.entry(arrival.from.ip()).or_default().0 += arrival.text.len();
            return false;
        };
        if !arrival.whole {
            self.tainted.extend(arrival.meant.clone());
            self.tainted.extend(arrival.wire.as_ref().map(|wire| wire.call_id().to_owned()));
        }
        let Some(wire) = &arrival.wire else { return false };
        if wire.is_response() {
            self.note_response(step, arrival, wire, site);
            return false;
        }
        self.note_request(step, arrival, wire, site)
    }

    fn note_response(&mut self, step: &Step, arrival: &Arrival, wire: &Wire, site: usize) {
        let Some(branch) = self.branches.get_mut(wire.branch()) else { return };
        if !arrival.whole || !branch.parties.contains(&self.sites[site].party) || wire.method() != "INVITE" {
            return;
        }
        match wire.status() {
            100 => branch.progressed = true,
            101..=199 => {
                branch.progressed = true;
                if let Some(until) = self.waiting.get_mut(&branch.asked) {
                    *until = step.now_ms + INVITE_MS;
                }
            }
            _ => {}
        }
        if let Some(call) = self.calls.get_mut(wire.call_id()) {
            let tag = wire.tag("To");
            if !tag.is_empty() && !call.homes.iter().any(|(known, _)| known == tag) {
                call.homes.push((tag.to_owned(), site));
            }
        }
    }

    fn note_request(&mut self, step: &Step, arrival: &Arrival, wire: &Wire, site: usize) -> bool {
        let key = key_of(wire.branch(), wire.method());
        let is_new = wire.tag("To").is_empty();
        if wire.method() == "ACK" {
            let linger_ms = if self.sites[site].transport == Transport::Tcp { 0 } else { T4_MS };
            let invite = self.asked.get_mut(&key_of(wire.branch(), "INVITE"));
            if let Some((_, over_ms)) = invite.and_then(|invite| invite.failure.as_mut()) {
                *over_ms = (*over_ms).min(step.now_ms + linger_ms);
            }
        }
        if !is_new
            && let Some(call) = self.calls.get_mut(wire.call_id())
            && !call.homes.iter().any(|(tag, _)| tag == wire.tag("From"))
        {
            // An end whose own answer never arrived.
            call.homes.push((wire.tag("From").to_owned(), site));
        }
        if let Some(other) = self.asked.get(&key).map(|known| known.wire.call_id()).filter(|id| *id != wire.call_id()) {
            // A bit that turned made one branch into another's.
            let both = [other.to_owned(), wire.call_id().to_owned()];
            self.tainted.extend(both);
        }
        if let Some(known) = self.asked.get_mut(&key)
            && known.incarnation == self.incarnation
        {
            known.from = arrival.from;
            return false;
        }
        let expected = (wire.method() == "INVITE" && is_new && arrival.whole).then(|| self.expected(wire, site));
        if wire.method() == "INVITE" && arrival.whole {
            self.waiting.insert(key.clone(), step.now_ms + INVITE_MS);
            if is_new {
                let names = (wire.name("From").to_owned(), wire.name("To").to_owned());
                let tag = wire.tag("From").to_owned();
                self.calls.entry(wire.call_id().to_owned()).or_insert_with(|| Parties {
                    homes: vec![(tag.clone(), site)],
                    caller_tag: tag,
                    caller_site: site,
                    caller: names,
                    shown: Vec::new(),
                });
            }
        }
        let asked = Asked {
            wire: wire.clone(),
            from: arrival.from,
            incarnation: self.incarnation,
            expected,
            replies: Vec::new(),
            failure: None,
            success: false,
        };
        self.asked.insert(key, asked);
        true
    }

    /// Where the table sends this INVITE.
    fn expected(&self, wire: &Wire, site: usize) -> Option<PartyId> {
        if self.sites[site].party != TRUNK {
            return Some(TRUNK);
        }
        let uri = wire.start().split(' ').nth(1).unwrap_or_default();
        let user = uri.split('@').next().unwrap_or_default().trim_start_matches("sip:");
        self.numbers.party_for(user)
    }

    fn note_reply(&mut self, wire: &Wire) {
        if let Some(asked) = self.asked.get_mut(&key_of(wire.branch(), wire.method()))
            && !asked.replies.contains(&wire.text)
        {
            asked.replies.push(Rc::clone(&wire.text));
        }
    }

    fn site_at(&self, address: SocketAddr) -> Option<usize> {
        self.sites.iter().position(|site| site.address.ip() == address.ip())
    }

    fn is_tainted(&self, wire: &Wire) -> bool {
        self.tainted.contains(wire.call_id())
    }
}

/// Branch and method: what tells a transaction apart for its sender.
fn key_of(branch: &str, method: &str) -> String {
    format!("{branch} {method}")
}

/// True for an answer that the proxy made: the ends sign theirs.
fn is_ours(wire: &Wire) -> bool {
    wire.first("Server").is_empty() && wire.body().is_empty()
}

/// The port of a Via's sent-by.
fn via_port(via: &str) -> u16 {
    let sent_by = via.split(';').next().unwrap_or_default().trim();
    sent_by.rsplit(':').next().and_then(|port| port.trim().parse().ok()).unwrap_or(5060)
}
