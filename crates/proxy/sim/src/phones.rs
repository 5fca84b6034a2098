//! The ends: what a call is to them, and what they both do: ask until they are answered, and speak inside a dialog.

use crate::invariants::Broken;
use crate::stage::{LISTENERS, NUMBERS, ORGANISATIONS, TRUNK, organisation_of};
use crate::weather::CALLS_WITHIN_MS;
use crate::wire::Wire;
use crate::world::{Due, World};
use proxy::Transport;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// What an end does when its time comes.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    /// A caller dials.
    Dials(usize),
    /// A caller gives up before the answer.
    GivesUp(usize),
    /// One end hangs up.
    HangsUp { call: usize, by_caller: bool },
    /// One end asks for something inside the dialog.
    Asks { call: usize, by_caller: bool, method: &'static str },
    /// A callee goes on with a call.
    GoesOn { site: usize, branch: String, act: crate::callee::Act },
}

/// All ends.
#[derive(Debug, Default)]
pub(crate) struct Phones {
    pub(crate) calls: Vec<Call>,
    pub(crate) by_call_id: HashMap<String, usize>,
    /// Calls as they are at a callee: by site and the branch that brought them.
    pub(crate) legs: BTreeMap<(usize, String), crate::callee::Leg>,
    /// What is sent again until it is answered.
    pub(crate) asks: HashMap<String, Ask>,
    /// Answers to requests other than INVITE, for their repetitions.
    pub(crate) answers: HashMap<(usize, String), Rc<str>>,
    serial: u64,
}

/// A message that is sent again until it is answered.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) site: usize,
    pub(crate) text: Rc<str>,
    pub(crate) port: Option<u16>,
    pub(crate) connection: u64,
}

/// A call, as its caller sees it, with the callee's dialogs beside it.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) call_id: String,
    pub(crate) caller: usize,
    pub(crate) is_outbound: bool,
    pub(crate) invite: Rc<str>,
    pub(crate) branch: String,
    pub(crate) tag: String,
    /// As the caller writes From and To.
    pub(crate) names: (String, String),
    pub(crate) is_ringing: bool,
    pub(crate) status: u16,
    pub(crate) is_cancelled: bool,
    pub(crate) has_answered: bool,
    pub(crate) is_hung_up: bool,
    /// The end that was hung up on has heard it.
    pub(crate) is_ended: bool,
    /// The caller never acknowledges.
    pub(crate) is_mute: bool,
    pub(crate) early: Option<Dialog>,
    pub(crate) at_caller: Vec<Dialog>,
    pub(crate) at_callee: Vec<Dialog>,
    /// ACKs by To tag, as they are sent again.
    pub(crate) acks: BTreeMap<String, Rc<str>>,
}

/// A dialog as one end keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Dialog {
    pub(crate) call_id: String,
    pub(crate) site: usize,
    pub(crate) local: String,
    pub(crate) local_tag: String,
    pub(crate) remote: String,
    pub(crate) remote_tag: String,
    pub(crate) route: Vec<String>,
    pub(crate) target: String,
    pub(crate) number: u32,
}

/// Sends of one request: at 0, 0.5, 1.5, 3.5 s and every 4 s until 32 s.
const SENDS: u32 = 11;
const BODY: &str = "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n";

impl World {
    pub(crate) fn plan_calls(&mut self) {
        for at in 0..self.weather.calls {
            let at_ms = self.chance.below(CALLS_WITHIN_MS);
            self.makes_call(at);
            self.at(at_ms, Due::Phone(Deed::Dials(usize::try_from(at).unwrap_or(0))));
        }
    }

    fn makes_call(&mut self, at: u64) {
        let is_outbound = self.chance.percent(50);
        let callers: Vec<usize> =
            (0..self.sites.len()).filter(|site| (self.sites[*site].party != TRUNK) == is_outbound).collect();
        let caller = self.chance.pick(&callers);
        let organisation = self.chance.pick(&ORGANISATIONS);
        let call_id = format!("{organisation}-{}-{at}", self.seed());
        let (branch, tag) = (self.branch(), format!("c{}x{at}", self.seed()));
        let proxy = LISTENERS[usize::from(self.sites[caller].listener.0)].1;
        let (user, from, identity) = match is_outbound {
            true => self.outbound_names(organisation),
            false => {
                let user = if self.chance.percent(5) {
                    "918065978999".into()
                } else {
                    {
                        let at = self.chance.place(NUMBERS);
                        self.numbers().rows[at].number.clone()
                    }
                };
                (user, format!("\"A Caller\" <sip:+44770090010{at}@10.10.10.2>"), String::new())
            }
        };
        let to = format!("<sip:{user}@{proxy}>");
        let site = &self.sites[caller];
        let via = format!("SIP/2.0/{} {};branch={branch}", site.transport.via_token(), site.address);
        let contact = contact_of(site);
        let rport = if self.chance.percent(50) { ";rport" } else { "" };
        let odd = if self.chance.percent(30) { "X-Odd:  a;b=\"c, d\" \r\nx-odd: 2\r\n" } else { "" };
        let (v, f, c) = if self.chance.percent(15) { ("v", "f", "l") } else { ("Via", "From", "Content-Length") };
        let head = format!(
            "INVITE sip:{user}@{proxy} SIP/2.0\r\n{v}: {via}{rport}\r\nMax-Forwards: 70\r\n{f}: {from};tag={tag}\r\n\
             To: {to}\r\nCall-ID: {call_id}\r\nCSeq: 1 INVITE\r\nContact: <{contact}>\r\n{identity}{odd}\
             Supported: 100rel, timer\r\nContent-Type: application/sdp\r\n{c}: {}\r\n\r\n",
            BODY.len()
        );
        let call = Call {
            caller,
            is_outbound,
            invite: format!("{head}{BODY}").into(),
            branch,
            tag,
            names: (from, to),
            is_ringing: false,
            status: 0,
            is_cancelled: false,
            has_answered: false,
            is_hung_up: false,
            is_ended: false,
            is_mute: self.chance.percent(self.weather.mischief / 4),
            early: None,
            at_caller: Vec::new(),
            at_callee: Vec::new(),
            acks: BTreeMap::new(),
            call_id: call_id.clone(),
        };
        self.phones.by_call_id.insert(call_id, self.phones.calls.len());
        self.phones.calls.push(call);
    }

    /// Whom a PBX calls, and what it says of its caller: names, own numbers, and numbers that are not its own.
    fn outbound_names(&mut self, organisation: &str) -> (String, String, String) {
        let own = |at: usize| organisation_of(at) == organisation;
        let pool: Vec<String> = self.numbers().rows.iter().map(|row| row.number.clone()).collect();
        let some = |chance: &mut crate::chance::Chance, wanted: bool| {
            let fitting: Vec<&String> =
                pool.iter().enumerate().filter(|(at, _)| own(*at) == wanted).map(|(_, number)| number).collect();
            fitting[chance.place(fitting.len())].clone()
        };
        let extension = if organisation == ORGANISATIONS[0] { "1001" } else { "2001" };
        let endpoint = format!("org_{organisation}_{extension}");
        let claim = |chance: &mut crate::chance::Chance| match chance.below(5) {
            0 => some(chance, true),
            1 => format!("+{}", some(chance, true)),
            2 => some(chance, false),
            3 => "+447700900777".to_owned(),
            _ => extension.to_owned(),
        };
        let chance = &mut self.chance;
        let user = if chance.percent(40) { endpoint.clone() } else { claim(chance) };
        let display = chance.pick(&["", "\"Asha\" ", "\"+447700900666\" ", "Two Words "]);
        let from = format!("{display}<sip:{user}@10.10.10.1>");
        let mut identity = format!("X-Endpoint: {endpoint}\r\n");
        for header in ["P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID", "Diversion"] {
            if chance.percent(25) {
                identity.push_str(&format!("{header}: <sip:{}@10.10.10.1>\r\n", claim(chance)));
            }
        }
        if chance.percent(10) {
            identity.push_str("Privacy: id\r\n");
        }
        (format!("+4477009005{:02}", chance.below(100)), from, identity)
    }

    pub(crate) fn branch(&mut self) -> String {
        self.phones.serial += 1;
        format!("z9hG4bKs{}n{}", self.seed(), self.phones.serial)
    }

    /// Sends until answered: timers A, E and G of the ends. A stream sends once.
    pub(crate) fn asks(&mut self, key: String, ask: Ask) {
        if self.phones.asks.insert(key.clone(), ask).is_none() {
            self.sends_again(key, 0);
        }
    }

    pub(crate) fn sends_again(&mut self, key: String, times: u32) {
        let Some(ask) = self.phones.asks.get(&key).cloned() else { return };
        // A 2xx is resent over a stream as well (13.3.1.4).
        let once = self.sites[ask.site].transport == Transport::Tcp && !ask.text.starts_with("SIP/2.0 2");
        if times >= SENDS || (once && times > 0) {
            self.phones.asks.remove(&key);
            return;
        }
        self.sends(ask.site, ask.connection, ask.port, &ask.text);
        let wait_ms = (500 << times.min(3)).min(4_000);
        self.at(self.now_ms + wait_ms, Due::Again { key, times: times + 1 });
    }

    /// A message has reached an end.
    pub(crate) fn hears(&mut self, site: usize, connection: u64, wire: Wire) {
        if wire.is_response() { self.hears_response(site, &wire) } else { self.hears_request(site, connection, wire) }
    }

    pub(crate) fn does(&mut self, deed: Deed) {
        match deed {
            Deed::Dials(call) => self.dials(call),
            Deed::GivesUp(call) => self.gives_up(call),
            Deed::HangsUp { call, by_caller } => self.hangs_up(call, by_caller),
            Deed::Asks { call, by_caller, method } => self.asks_inside(call, by_caller, method),
            Deed::GoesOn { site, branch, act } => self.goes_on(site, &branch, act),
        }
    }

    /// A request inside a dialog, until it is answered.
    pub(crate) fn asks_in(&mut self, dialog: &mut Dialog, method: &str) {
        dialog.number += 1;
        let branch = self.branch();
        let text: Rc<str> = self.inside(dialog, method, dialog.number, &branch).into();
        // Behind an address translator the source port changes now and then (W12).
        let port = self.chance.percent(5).then_some(40_000);
        let site = dialog.site;
        self.asks(format!("{branch} {method}"), Ask { site, text, port, connection: 0 });
    }

    /// The text of a request inside a dialog.
    pub(crate) fn inside(&self, dialog: &Dialog, method: &str, number: u32, branch: &str) -> String {
        let site = &self.sites[dialog.site];
        let body = if method == "INVITE" { BODY } else { "" };
        let route: String = dialog.route.iter().map(|value| format!("Route: {value}\r\n")).collect();
        let remote_tag =
            if dialog.remote_tag.is_empty() { String::new() } else { format!(";tag={}", dialog.remote_tag) };
        format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/{} {};branch={branch};rport\r\nMax-Forwards: 70\r\n{route}\
             From: {};tag={}\r\nTo: {}{remote_tag}\r\nCall-ID: {}\r\nCSeq: {number} {method}\r\nContact: <{}>\r\n\
             X-Odd: inside\r\nContent-Length: {}\r\n\r\n{body}",
            dialog.target,
            site.transport.via_token(),
            site.address,
            dialog.local,
            dialog.local_tag,
            dialog.remote,
            dialog.call_id,
            contact_of(site),
            body.len()
        )
    }

    /// A site asks whether the proxy is there.
    pub(crate) fn pings(&mut self, site: usize) {
        let branch = self.branch();
        let place = &self.sites[site];
        let proxy = LISTENERS[usize::from(place.listener.0)].1;
        let text = format!(
            "OPTIONS sip:{proxy} SIP/2.0\r\nVia: SIP/2.0/{} {};branch={branch};rport\r\nMax-Forwards: 0\r\n\
             From: <sip:ping@{}>;tag=p\r\nTo: <sip:{proxy}>\r\nCall-ID: {branch}\r\nCSeq: 7 OPTIONS\r\n\
             Content-Length: 0\r\n\r\n",
            place.transport.via_token(),
            place.address,
            place.address
        );
        self.sends(site, 0, None, &text.into());
    }

    /// Where nothing goes wrong, every call ends as its ends planned.
    pub(crate) fn check_outcomes(&self) -> Result<(), Broken> {
        if !self.weather.calm {
            return Ok(());
        }
        for call in &self.phones.calls {
            let told = format!("{call:?}");
            if call.status < 200 {
                return Err(format!("calm: a call without an end: {told}"));
            }
            if call.has_answered && !call.is_cancelled && call.status >= 300 {
                return Err(format!("calm: answered, and the caller does not know: {told}"));
            }
            if call.is_hung_up && !call.is_ended {
                return Err(format!("calm: hung up, and the other end does not know: {told}"));
            }
        }
        Ok(())
    }
}

/// The URI in a Contact of this site.
pub(crate) fn contact_of(site: &crate::stage::Site) -> String {
    let transport = if site.transport == Transport::Tcp { ";transport=tcp" } else { "" };
    format!("sip:end@{}{transport}", site.address)
}

/// The URI of a Contact.
pub(crate) fn target_of(wire: &Wire) -> String {
    let contact = wire.first("Contact");
    contact.split(['<', '>']).nth(1).unwrap_or("sip:nobody@10.10.10.1").to_owned()
}
