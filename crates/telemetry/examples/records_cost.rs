//! What is kept and told of one call costs, by thread: `valgrind --tool=callgrind --separate-threads=yes records_cost KIND N`,
//! with `cargo build --release -p telemetry --example records_cost`. Counts hold on a busy machine; the difference of the
//! counts of 2 N and N is N calls.
//!
//! With `nothing` the engine alone works, with `records` a tap copies what happens, records come together and are written
//! to a file, and the journal keeps 1,000 calls; with `captures` each message is wrapped and sent to a UDP port of this host.
//! Each message is a turn of its own, as at a rate that one core carries easily; turns come 40 us after each other.
//! A call is INVITE, 100, 180, 200, ACK, BYE, 200: six messages arrive and seven leave.

#![expect(clippy::print_stdout, reason = "a measurement prints")]

use arc_swap::ArcSwap;
use directory::{DidRow, Directory, Environment, Generation, OrganisationRow, Policy, Rows};
use proxy::settings::{
    Availability, AvailabilitySettings, CallerIdSettings, DispatchSettings, IdentitySettings, LimitSettings, Quota,
    TimerSettings, UnknownDid,
};
use proxy::{Engine, Flow, Key, KeyRing, Listener, ListenerId, Outbox, Party, Peer, Role, Settings, Source, Time};
use std::error::Error;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use telemetry::calls::{FileSettings, Files, JournalBounds, Recorder, RecorderParts, Tap, lane};
use telemetry::hep::{self, AuthKey, Collector, Feed, Filter, Way};

const GATEWAY: &str = "10.10.10.2:5060";
const PBX: &str = "10.10.10.1:5070";
const OWN: &str = "10.10.10.1:5060";

fn main() -> Result<(), Box<dyn Error>> {
    let (kind, count) = (std::env::args().nth(1).unwrap_or_default(), std::env::args().nth(2).unwrap_or_default());
    let count: usize = count.parse()?;
    let folder = std::env::temp_dir().join(format!("records-cost-{}", std::process::id()));
    let settings = Arc::new(settings()?);
    let mut stage = Stage {
        engine: Engine::new(Arc::clone(&settings), Arc::new(KeyRing::new(&Key { id: 1, secret: [7; 32] }, &[]))),
        directory: directory(),
        outbox: Outbox::new(),
        tap: None,
        feed: None,
        own: OWN.parse()?,
        now: Time::from_millis(1_000),
    };
    let mut recorder = None;
    let receiver = UdpSocket::bind("127.0.0.1:0")?;
    match &*kind {
        "records" => {
            let (tap, parts) = parts(settings, &folder);
            stage.tap = Some(tap);
            recorder = Some(Recorder::start(parts)?);
        }
        "captures" => {
            let (transport, address) = (proxy::Transport::Udp, receiver.local_addr()?);
            let tap = hep::Tap::start(Some(Collector { transport, address, node: 1, key: AuthKey::new("") }))?;
            tap.switch(Some(Filter::default()));
            stage.feed = Some(tap.feed());
        }
        "nothing" => {}
        other => return Err(format!("found {other:?}, expected nothing, records or captures").into()),
    }
    (0..count).try_for_each(|at| stage.call(at))?;
    drop(stage);
    recorder.into_iter().for_each(Recorder::end);
    let lines = std::fs::read_to_string(folder.join(telemetry::calls::CURRENT)).map_or(0, |text| text.lines().count());
    println!("{count} calls, {lines} records");
    if kind == "records" {
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(())
}

fn parts(settings: Arc<Settings>, folder: &std::path::Path) -> (Tap, RecorderParts) {
    let lost = Arc::new(AtomicU64::new(0));
    let (tap, lane) = lane(Arc::clone(&lost));
    let files =
        FileSettings { folder: folder.to_owned(), bytes_max: 1 << 30, age_max: Duration::from_secs(3_600), kept: 1 };
    let parts = RecorderParts {
        settings: Arc::new(ArcSwap::new(settings)),
        zero_us: 1_800_000_000_000_000,
        now: Box::new(|| Time::from_millis(1_000_000_000)),
        lanes: vec![lane],
        journal: JournalBounds { calls: 1_000, bytes: 128 << 20 },
        sinks: vec![Box::new(Files::new(files))],
        lost,
        restored: Vec::new(),
        standing: None,
    };
    (tap, parts)
}

/// A worker without its sockets.
struct Stage {
    engine: Engine,
    directory: Directory,
    outbox: Outbox,
    tap: Option<Tap>,
    feed: Option<Feed>,
    own: SocketAddr,
    now: Time,
}

impl Stage {
    fn call(&mut self, at: usize) -> Result<(), Box<dyn Error>> {
        let name = format!("c{at:08}");
        let did = 918_065_978_000 + at % 30;
        let invite = format!(
            "INVITE sip:{did}@{OWN} SIP/2.0\r\nVia: SIP/2.0/UDP {GATEWAY};rport;branch=z9hG4bK{name}\r\nMax-Forwards: 70\r\n\
             From: <sip:+447700900123@10.10.10.2>;tag={name}\r\nTo: <sip:{did}@{OWN}>\r\nCall-ID: {name}@example.com\r\n\
             Contact: <sip:ua@{GATEWAY}>\r\nUser-Agent: Example Gateway 4.2\r\nCSeq: 1 INVITE\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SDP}",
            SDP.len()
        );
        self.turn(GATEWAY, &invite)?;
        let forwarded = self.sent_to(PBX, "INVITE ")?;
        self.turn(PBX, &response(&forwarded, "180 Ringing"))?;
        self.turn(PBX, &response(&forwarded, "200 OK"))?;
        let success = self.sent_to(GATEWAY, "SIP/2.0 200")?;
        let in_dialog = |method: &str, number: u32| {
            let [route, from, to] = ["Record-Route", "From", "To"].map(|name| header(&success, name));
            format!(
                "{method} sip:ua@{PBX} SIP/2.0\r\nVia: SIP/2.0/UDP {GATEWAY};rport;branch=z9hG4bK{name}{method}\r\n\
                 Max-Forwards: 70\r\nRoute: {route}\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {name}@example.com\r\n\
                 CSeq: {number} {method}\r\nContent-Length: 0\r\n\r\n"
            )
        };
        self.turn(GATEWAY, &in_dialog("ACK", 1))?;
        self.turn(GATEWAY, &in_dialog("BYE", 2))?;
        let bye = self.sent_to(PBX, "BYE ")?;
        self.turn(PBX, &response(&bye, "200 OK"))
    }

    /// One message, as a worker takes it.
    fn turn(&mut self, from: &str, text: &str) -> Result<(), Box<dyn Error>> {
        self.now = self.now + Duration::from_micros(40);
        let (now, flow) = (self.now, Flow::to(ListenerId(0), from.parse()?));
        self.outbox.clear();
        if self.engine.poll_timeout().is_some_and(|due| due <= now) {
            self.engine.handle_timeout(now, &self.directory, &mut self.outbox);
            self.outbox.clear();
        }
        if let Some(tap) = &mut self.tap {
            tap.arrived(now, &flow, text.as_bytes());
        }
        if let Some(feed) = &mut self.feed {
            feed.take(Way::In, proxy::Transport::Udp, self.own, flow.remote, text.as_bytes());
        }
        self.engine.handle_datagram(now, flow, text.as_bytes(), &self.directory, &mut self.outbox);
        if let Some(tap) = &mut self.tap {
            self.outbox.events().iter().for_each(|event| tap.fact(now, event, &self.outbox));
            tap.called(self.outbox.take_call_id(), self.outbox.transmits().size_hint().0);
            self.outbox.transmits_with_tails().for_each(|(flow, bytes, tail)| tap.left(now, flow, (bytes, tail)));
            tap.end_turn(now);
        }
        if let Some(feed) = &mut self.feed {
            let taken = self.outbox.transmits();
            taken.for_each(|(to, bytes)| feed.take(Way::Out, proxy::Transport::Udp, self.own, to.remote, bytes));
            feed.end_turn(now);
        }
        Ok(())
    }

    fn sent_to(&self, peer: &str, start: &str) -> Result<String, Box<dyn Error>> {
        let wanted: SocketAddr = peer.parse()?;
        let mut texts = self.outbox.transmits().filter(|(flow, _)| flow.remote == wanted).map(|(_, bytes)| bytes);
        let found = texts.find(|bytes| bytes.starts_with(start.as_bytes()));
        Ok(String::from_utf8_lossy(found.ok_or(format!("no {start} to {peer}"))?).into_owned())
    }
}

const SDP: &str = "v=0\r\no=- 4711 4711 IN IP4 10.10.10.2\r\ns=-\r\nc=IN IP4 10.10.10.2\r\nt=0 0\r\n\
    m=audio 16384 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\n";

fn header<'t>(text: &'t str, name: &str) -> &'t str {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
}

fn response(request: &str, status: &str) -> String {
    let kept = ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"];
    let mut out = format!("SIP/2.0 {status}\r\n");
    for line in request.lines().take_while(|line| !line.is_empty()) {
        let name = line.split(':').next().unwrap_or_default();
        if kept.contains(&name) {
            let tag = if name == "To" && !line.contains("tag=") { ";tag=callee" } else { "" };
            out += &format!("{line}{tag}\r\n");
        }
    }
    out + "Contact: <sip:ua@10.10.10.1:5070>\r\nServer: Example PBX 20\r\nContent-Length: 0\r\n\r\n"
}

fn settings() -> Result<Settings, Box<dyn Error>> {
    let party = |name: &str, role: Role, at: &str| -> Result<Party, Box<dyn Error>> {
        let (address, listener): (SocketAddr, _) = (at.parse()?, ListenerId(0));
        Ok(Party {
            name: name.into(),
            role,
            sources: vec![Source { ip: address.ip(), port: None, interface: None }],
            peers: vec![Peer { transport: proxy::Transport::Udp, address, listener, by_size: None }],
            called_number: None,
            identity: IdentitySettings::default(),
            availability: Availability::default(),
            media: Vec::new(),
            quota: Quota::default(),
        })
    };
    Ok(Settings {
        environment: Environment::Prod,
        listeners: vec![Listener { transport: proxy::Transport::Udp, address: OWN.parse()? }],
        own_names: Vec::new(),
        interfaces: Vec::new(),
        parties: vec![party("tata", Role::Trunk, GATEWAY)?, party("prod", Role::Environment(Environment::Prod), PBX)?],
        numbering: sip::Numbering::default(),
        caller_id: CallerIdSettings::default(),
        dispatch: DispatchSettings { unknown_did: UnknownDid::Refuse(404), not_in_service_status: 404 },
        adopt_until: None,
        availability: AvailabilitySettings::default(),
        timers: TimerSettings::default(),
        limits: LimitSettings::default(),
    })
}

fn directory() -> Directory {
    let did = |at: u64| {
        DidRow::assigned(&format!("id-{at}"), "aurora", &(918_065_978_000 + at).to_string(), Environment::Prod)
    };
    let rows = Rows {
        organisations: vec![OrganisationRow::active("aurora", "Aurora", "org_aurora_")],
        dids: (0..30).map(did).collect(),
        ..Rows::default()
    };
    directory::build(Generation(1), rows, &Policy::default(), None)
}
