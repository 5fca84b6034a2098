//! What one call costs inside the engine: `cargo run --release -p proxy --example engine_cost`.
//!
//! With `inbound`, `pass` or `rewrite` and a count, that road alone and as many repeats: for `valgrind --tool=callgrind`,
//! whose counts hold on a busy machine (the difference of 2 repeats and 1 is 2,000 calls).
//!
//! With `over-rate`, `behind`, `stranger` or `again`, what refusing costs: as many INVITEs as a repeat has calls, each
//! refused with 480, refused with 503, dropped, or answered with the 100 that it had before.
//!
//! With `memory` and a count of calls, the bytes of the heap that the engine keeps for each of them: while it rings, while it
//! is talked, once it is over and its transactions linger, and when these are over too.
//!
//! A call is INVITE, 100, 180, 200, ACK, BYE, 200: six messages arrive, looked up among 10,000 DIDs. Prints ns per call
//! and per message that arrives, the least, the median and the most of its repeats. The messages are made beforehand; sockets are not part of it.

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a measurement reads the clock and prints")]

use directory::{DidRow, Directory, Environment, Generation, OrganisationRow, Policy, Rows};
use proxy::settings::{
    Availability, AvailabilitySettings, CallerIdSettings, DispatchSettings, IdentitySettings, LimitSettings, Profile,
    TimerSettings, UnknownDid,
};
use proxy::{Engine, Flow, InterfaceId, Key, KeyRing, Listener, ListenerId, Outbox, Party, Peer, Role, Settings};
use proxy::{Source, Time, Transport};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const REPEATS: usize = 31;
const CALLS_PER_REPEAT: usize = 2_000;
const GATEWAY: &str = "10.10.10.2:5060";
const PBX: &str = "10.10.10.1:5070";

fn main() {
    let wanted = std::env::args().nth(1);
    let repeats = std::env::args().nth(2).and_then(|count| count.parse().ok()).unwrap_or(REPEATS);
    if let Some(kind) = wanted.as_deref().filter(|wanted| ["over-rate", "behind", "stranger", "again"].contains(wanted))
    {
        return refuse(kind, repeats);
    }
    if wanted.as_deref() == Some("memory") {
        return roads().into_iter().for_each(|(name, _, profile)| memory(name, profile, repeats));
    }
    for (name, label, profile) in roads() {
        if wanted.as_deref().is_some_and(|wanted| wanted != name) {
            continue;
        }
        let outbound = name != "inbound";
        let directory = directory();
        let mut engine = Engine::new(Arc::new(settings(profile)), ring());
        let mut outbox = Outbox::new();
        let mut figures: Vec<f64> = Vec::new();
        for repeat in 0..repeats {
            // Past the linger of the repeat before, so that every repeat meets the same table.
            let now = Time::from_millis(repeat as u64 * 40_000);
            outbox.clear();
            engine.handle_timeout(now, &directory, &mut outbox);
            let mut calls = Vec::with_capacity(CALLS_PER_REPEAT);
            let mut spent = 0.0;
            for at in 0..CALLS_PER_REPEAT {
                let mut call = Call::new(repeat * CALLS_PER_REPEAT + at, outbound);
                spent += call.set_up(&mut engine, now, &directory, &mut outbox);
                calls.push(call);
            }
            for call in &calls {
                spent += call.hang_up(&mut engine, now, &directory, &mut outbox);
            }
            figures.push(spent / CALLS_PER_REPEAT as f64);
        }
        figures.sort_by(f64::total_cmp);
        let at = |index: usize| figures.get(index).copied().unwrap_or_default();
        let (least, median, most) = (at(0), at(figures.len() / 2), at(figures.len() - 1));
        println!("{label}: ns per call: min {least:.0}, median {median:.0}, max {most:.0}");
        println!("{label}: ns per message that arrives (6 a call): median {:.0}", median / 6.0);
    }
}

fn roads() -> [(&'static str, &'static str, Option<Profile>); 3] {
    [
        ("inbound", "inbound", None),
        ("pass", "outbound, caller ID left alone", None),
        ("rewrite", "outbound, caller ID rewritten", Some(Profile::default())),
    ]
}

/// What so many calls at one time keep.
fn memory(name: &str, profile: Option<Profile>, count: usize) {
    let directory = directory();
    let mut outbox = Outbox::new();
    let mut calls: Vec<Call> = (0..count).map(|at| Call::new(at, name != "inbound")).collect();
    let mut engine = Engine::new(Arc::new(settings(profile)), ring());
    let now = Time::from_millis(1_000);
    take(&mut engine, now, GATEWAY, &"no message ".repeat(1_000), &directory, &mut outbox);
    let before = held() - calls.iter().map(Call::held).sum::<isize>();
    let mut told = Vec::with_capacity(4);
    let mut tell = |word: &str, calls: &[Call]| {
        let bytes = held() - before - calls.iter().map(Call::held).sum::<isize>();
        told.push(format!("{word} {:.0}", bytes as f64 / count as f64));
    };
    for call in &mut calls {
        call.ring(&mut engine, now, &directory, &mut outbox);
    }
    tell("ringing", &calls);
    for call in &mut calls {
        call.answer(&mut engine, now, &directory, &mut outbox);
    }
    tell("talking", &calls);
    for call in &calls {
        call.hang_up(&mut engine, now, &directory, &mut outbox);
    }
    tell("lingering", &calls);
    outbox.clear();
    engine.handle_timeout(Time::from_millis(80_000), &directory, &mut outbox);
    tell("over", &calls);
    println!("{name}: bytes per call of {count}: {}", told.join(", "));
}

/// Bytes of the heap that are in use.
fn held() -> isize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated.cast_signed() - stats.bytes_deallocated.cast_signed()
}

/// INVITEs that go no further. They are made beforehand, and each repeat gives the same ones: nothing is kept of them.
fn refuse(kind: &str, repeats: usize) {
    let directory = directory();
    let mut settings = settings(None);
    settings.limits.requests_per_second = u32::from(kind == "over-rate");
    let mut engine = Engine::new(Arc::new(settings), ring());
    engine.set_behind(kind == "behind");
    let mut outbox = Outbox::new();
    let from = if kind == "stranger" { "203.0.113.9:5060" } else { GATEWAY };
    let invite = |at: usize| {
        let call = Call::new(at, false);
        call.request(
            "INVITE",
            &format!("sip:{}@10.10.10.1:5060", call.did()),
            GATEWAY,
            "<sip:+447700900123@10.10.10.2>",
            "",
        )
    };
    let different = if kind == "again" { 1 } else { CALLS_PER_REPEAT };
    let invites: Vec<String> = (0..different).map(invite).collect();
    let now = Time::from_millis(1_000);
    take(&mut engine, now, from, &invite(CALLS_PER_REPEAT), &directory, &mut outbox);
    if kind == "again" {
        for invite in &invites {
            take(&mut engine, now, from, invite, &directory, &mut outbox);
        }
    }
    let mut figures: Vec<f64> = Vec::new();
    for _ in 0..repeats {
        let given = invites.iter().cycle().take(CALLS_PER_REPEAT);
        let spent: f64 = given.map(|invite| take(&mut engine, now, from, invite, &directory, &mut outbox)).sum();
        figures.push(spent / CALLS_PER_REPEAT as f64);
    }
    let last: Vec<String> = outbox.events().iter().map(|event| format!("{event:?}")).collect();
    figures.sort_by(f64::total_cmp);
    println!(
        "{kind}: ns per INVITE: median {:.0}; the last one: {last:?}",
        figures.get(figures.len() / 2).copied().unwrap_or_default()
    );
}

/// One call, with the messages that both ends send.
struct Call {
    name: String,
    outbound: bool,
    forwarded: String,
    success: String,
}

impl Call {
    fn new(at: usize, outbound: bool) -> Call {
        Call { name: format!("c{at:08}"), outbound, forwarded: String::new(), success: String::new() }
    }

    fn ends(&self) -> (&'static str, &'static str) {
        if self.outbound { (PBX, GATEWAY) } else { (GATEWAY, PBX) }
    }

    /// Bytes of its own texts.
    fn held(&self) -> isize {
        (self.name.capacity() + self.forwarded.capacity() + self.success.capacity()).cast_signed()
    }

    /// INVITE, 180, 200, ACK: the nanoseconds that the engine took.
    fn set_up(&mut self, engine: &mut Engine, now: Time, directory: &Directory, outbox: &mut Outbox) -> f64 {
        self.ring(engine, now, directory, outbox) + self.answer(engine, now, directory, outbox)
    }

    /// INVITE, 180.
    fn ring(&mut self, engine: &mut Engine, now: Time, directory: &Directory, outbox: &mut Outbox) -> f64 {
        let (caller, callee) = self.ends();
        let number = if self.outbound { "+447700900123".to_owned() } else { self.did() };
        let from = if self.outbound {
            format!("\"Asha\" <sip:{}@10.10.10.1>", self.did())
        } else {
            "<sip:+447700900123@10.10.10.2>".to_owned()
        };
        let invite = self.request("INVITE", &format!("sip:{number}@10.10.10.1:5060"), caller, &from, "");
        let spent = take(engine, now, caller, &invite, directory, outbox);
        self.forwarded = sent_to(outbox, callee, "INVITE ");
        spent + take(engine, now, callee, &response(&self.forwarded, "180 Ringing"), directory, outbox)
    }

    /// 200, ACK.
    fn answer(&mut self, engine: &mut Engine, now: Time, directory: &Directory, outbox: &mut Outbox) -> f64 {
        let (caller, callee) = self.ends();
        let success = response(&self.forwarded, "200 OK");
        let spent = take(engine, now, callee, &success, directory, outbox);
        self.success = sent_to(outbox, caller, "SIP/2.0 200");
        let ack = self.in_dialog("ACK", 1);
        spent + take(engine, now, caller, &ack, directory, outbox)
    }

    /// BYE, 200.
    fn hang_up(&self, engine: &mut Engine, now: Time, directory: &Directory, outbox: &mut Outbox) -> f64 {
        let (caller, callee) = self.ends();
        let bye = self.in_dialog("BYE", 2);
        let spent = take(engine, now, caller, &bye, directory, outbox);
        let answer = response(&sent_to(outbox, callee, "BYE "), "200 OK");
        spent + take(engine, now, callee, &answer, directory, outbox)
    }

    /// One of the 10,000 numbers, in one of the three spellings.
    fn did(&self) -> String {
        let at: u64 = self.name.trim_start_matches('c').parse().unwrap_or(0);
        let national = 8_065_900_000 + (at * 7_919) % 10_000;
        match at % 3 {
            0 => format!("+91{national}"),
            1 => format!("91{national}"),
            _ => format!("0{national}"),
        }
    }

    fn request(&self, method: &str, uri: &str, caller: &str, from: &str, more: &str) -> String {
        let name = &self.name;
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {caller};rport;branch=z9hG4bK{name}{method}\r\nMax-Forwards: 70\r\n\
             {more}From: {from};tag={name}\r\nCall-ID: {name}@example.com\r\nContact: <sip:ua@{caller}>\r\n\
             User-Agent: Example Gateway 4.2\r\nAllow: INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO\r\n\
             Supported: 100rel, timer, replaces\r\n{}CSeq: 1 {method}\r\nContent-Type: application/sdp\r\n\
             Content-Length: {}\r\n\r\n{SDP}",
            if more.is_empty() { format!("To: <{uri}>\r\n") } else { String::new() },
            SDP.len()
        )
    }

    fn in_dialog(&self, method: &str, number: u32) -> String {
        let name = &self.name;
        let (caller, callee) = self.ends();
        format!(
            "{method} sip:ua@{callee} SIP/2.0\r\nVia: SIP/2.0/UDP {caller};rport;branch=z9hG4bK{name}{method}\r\n\
             Max-Forwards: 70\r\nRoute: {}\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {name}@example.com\r\n\
             CSeq: {number} {method}\r\nContent-Length: 0\r\n\r\n",
            header(&self.success, "Record-Route"),
            header(&self.success, "From"),
            header(&self.success, "To"),
        )
    }
}

const SDP: &str = "v=0\r\no=- 4711 4711 IN IP4 10.10.10.2\r\ns=-\r\nc=IN IP4 10.10.10.2\r\nt=0 0\r\n\
    m=audio 16384 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\n";

fn take(engine: &mut Engine, now: Time, from: &str, text: &str, directory: &Directory, outbox: &mut Outbox) -> f64 {
    outbox.clear();
    let flow = Flow { listener: ListenerId(0), remote: address(from), connection: 0, interface: InterfaceId::OTHER };
    let begun = Instant::now();
    engine.handle_datagram(now, flow, text.as_bytes(), directory, outbox);
    begun.elapsed().as_nanos() as f64
}

fn sent_to(outbox: &Outbox, peer: &str, start: &str) -> String {
    let wanted = address(peer);
    let mut texts = outbox.transmits().filter(|(flow, _)| flow.remote == wanted).map(|(_, bytes)| bytes);
    let found = texts.find(|bytes| bytes.starts_with(start.as_bytes())).unwrap_or_default();
    assert!(!found.is_empty(), "no {start} to {peer}: {:?}", outbox.events());
    String::from_utf8_lossy(found).into_owned()
}

fn header<'t>(text: &'t str, name: &str) -> &'t str {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
}

fn response(request: &str, status: &str) -> String {
    let kept = ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"];
    let mut out = format!("SIP/2.0 {status}\r\n");
    for line in request.lines().take_while(|line| !line.is_empty()) {
        let name = line.split(':').next().unwrap_or_default();
        if kept.contains(&name) {
            out.push_str(line);
            if name == "To" && !line.contains("tag=") {
                out.push_str(";tag=callee");
            }
            out.push_str("\r\n");
        }
    }
    out + "Contact: <sip:ua@10.10.10.1:5070>\r\nServer: Example PBX 20\r\nContent-Length: 0\r\n\r\n"
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 0)))
}

fn ring() -> Arc<KeyRing> {
    Arc::new(KeyRing::new(&Key { id: 1, secret: [7; 32] }, &[]))
}

fn settings(profile: Option<Profile>) -> Settings {
    let party = |name: &str, role: Role, at: &str, identity: IdentitySettings| Party {
        name: name.into(),
        role,
        sources: vec![Source { ip: address(at).ip(), port: None, interface: None }],
        peers: vec![Peer { transport: Transport::Udp, address: address(at), listener: ListenerId(0), by_size: None }],
        called_number: None,
        identity,
        availability: Availability::default(),
        media: Vec::new(),
        quota: proxy::settings::Quota::default(),
    };
    let trunk = IdentitySettings { profile, ..IdentitySettings::default() };
    let prod = Role::Environment(Environment::Prod);
    Settings {
        environment: Environment::Prod,
        listeners: vec![Listener { transport: Transport::Udp, address: address("10.10.10.1:5060") }],
        own_names: Vec::new(),
        interfaces: Vec::new(),
        parties: vec![
            party("tata", Role::Trunk, GATEWAY, trunk),
            party("prod", prod, PBX, IdentitySettings::default()),
        ],
        numbering: sip::Numbering::default(),
        caller_id: CallerIdSettings::default(),
        dispatch: DispatchSettings { unknown_did: UnknownDid::Refuse(404), not_in_service_status: 404 },
        adopt_until: None,
        availability: AvailabilitySettings::default(),
        timers: TimerSettings::default(),
        limits: LimitSettings::default(),
    }
}

fn directory() -> Directory {
    let did = |at: u64| {
        DidRow::assigned(&format!("id-{at}"), "aurora", &(918_065_900_000 + at).to_string(), Environment::Prod)
    };
    let rows = Rows {
        organisations: vec![OrganisationRow::active("aurora", "Aurora", "org_aurora_")],
        dids: (0..10_000).map(did).collect(),
        ..Rows::default()
    };
    directory::build(Generation(1), rows, &Policy::default(), None)
}
