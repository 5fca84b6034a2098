//! Whole calls through the real core, the tap, the recorder's threads and a real file; and every field of a record in the
//! reference.
#![expect(clippy::unwrap_used, reason = "a stage that cannot be built fails the test")]

use arc_swap::ArcSwap;
use directory::{DidRow, Directory, Environment, Generation, OrganisationRow, Policy, Rows, UserRow};
use proxy::settings::{DispatchSettings, LimitSettings, Profile, TimerSettings, UnknownDid};
use proxy::{
    Engine, Flow, Key, KeyRing, Listener, ListenerId, Outbox, Party, Peer, Role, Settings, Source, Time, Transport,
};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use telemetry::calls::{
    CURRENT, CallDetail, CallFilter, CallRecord, Calls, FileSettings, Files, JournalBounds, Recorder, RecorderParts,
    StrayMedia, Tap, lane,
};

const TATA: &str = "10.10.10.2:5060";
const PROD: &str = "10.10.10.1:5070";
/// The zero of the test's clock.
const ZERO_US: u64 = 1_800_000_000_000_000;

struct Stage {
    engine: Engine,
    directory: Directory,
    outbox: Outbox,
    tap: Tap,
    recorder: Recorder,
    folder: tempfile::TempDir,
    /// What the core was called with last.
    arrived: String,
    /// Messages of which the core told how much of their end is as it arrived.
    hinted: usize,
}

impl Stage {
    fn new() -> Stage {
        Stage::of(settings())
    }

    fn of(settings: Settings) -> Stage {
        let settings = Arc::new(settings);
        let lost = Arc::new(AtomicU64::new(0));
        let (tap, lane) = lane(Arc::clone(&lost));
        let folder = tempfile::tempdir().unwrap();
        let files = FileSettings {
            folder: folder.path().to_owned(),
            bytes_max: 1 << 20,
            age_max: Duration::from_secs(3_600),
            kept: 3,
        };
        let recorder = Recorder::start(RecorderParts {
            settings: Arc::new(ArcSwap::new(Arc::clone(&settings))),
            zero_us: ZERO_US,
            now: Box::new(|| Time::from_millis(1_000_000)),
            lanes: vec![lane],
            journal: JournalBounds { calls: 100, bytes: 4 << 20 },
            sinks: vec![Box::new(Files::new(files))],
            lost,
            restored: Vec::new(),
            standing: None,
        });
        let keys = KeyRing::new(&Key { id: 1, secret: [1; 32] }, &[]);
        let engine = Engine::new(settings, Arc::new(keys));
        let (outbox, recorder) = (Outbox::new(), recorder.unwrap());
        Stage { engine, directory: directory(), outbox, tap, recorder, folder, arrived: String::new(), hinted: 0 }
    }

    /// One turn of a worker with one datagram. What left.
    fn arrives(&mut self, at_ms: u64, from: &str, text: &str) -> Vec<String> {
        let (now, flow) = (Time::from_millis(at_ms), Flow::to(ListenerId(0), from.parse().unwrap()));
        text.clone_into(&mut self.arrived);
        self.tap.arrived(now, &flow, text.as_bytes());
        self.engine.handle_datagram(now, flow, text.as_bytes(), &self.directory, &mut self.outbox);
        self.end_turn(now)
    }

    fn times_out(&mut self, at_ms: u64) -> Vec<String> {
        let now = Time::from_millis(at_ms);
        self.arrived.clear();
        self.engine.handle_timeout(now, &self.directory, &mut self.outbox);
        self.end_turn(now)
    }

    fn end_turn(&mut self, now: Time) -> Vec<String> {
        self.outbox.events().iter().for_each(|event| self.tap.fact(now, event, &self.outbox));
        let call_id = self.outbox.take_call_id();
        let told = call_id.map(|span| String::from_utf8_lossy(span.of(self.arrived.as_bytes())).into_owned());
        assert_eq!(told.as_deref().unwrap_or_default(), header(&self.arrived, "Call-ID"));
        for (_, bytes, tail) in self.outbox.transmits_with_tails() {
            let end = self.arrived.as_bytes().get(self.arrived.len() - tail..).unwrap();
            assert!(bytes.ends_with(end), "{tail}");
            self.hinted += usize::from(tail > 0);
        }
        self.tap.called(call_id, self.outbox.transmits().count());
        self.outbox.transmits_with_tails().for_each(|(flow, bytes, tail)| self.tap.left(now, flow, (bytes, tail)));
        self.tap.hand_over();
        let left = self.outbox.transmits().map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned()).collect();
        self.outbox.clear();
        left
    }

    /// Ends the recorder: the records in the file, and the journal.
    fn records(self) -> (Vec<CallRecord>, Calls) {
        let calls = self.recorder.calls().clone();
        self.recorder.end();
        assert_eq!(calls.lost(), 0);
        (read(&self.folder.path().join(CURRENT)), calls)
    }
}

fn read(path: &Path) -> Vec<CallRecord> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn settings() -> Settings {
    let party = |name: &str, role, addresses: &[&str]| {
        let addresses: Vec<SocketAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let peer = |address: &SocketAddr| Peer {
            transport: Transport::Udp,
            address: *address,
            listener: ListenerId(0),
            by_size: None,
        };
        Party {
            name: name.into(),
            role,
            sources: addresses.iter().map(|a| Source { ip: a.ip(), port: None, interface: None }).collect(),
            peers: addresses.iter().map(peer).collect(),
            called_number: None,
            identity: proxy::settings::IdentitySettings::default(),
            availability: proxy::settings::Availability::default(),
            media: vec![proxy::settings::Network { ip: "10.10.10.0".parse().unwrap(), bits: 24 }],
            quota: proxy::settings::Quota::default(),
        }
    };
    Settings {
        environment: Environment::Prod,
        listeners: vec![Listener { transport: Transport::Udp, address: "10.10.10.1:5060".parse().unwrap() }],
        own_names: Vec::new(),
        interfaces: Vec::new(),
        parties: vec![
            party("tata", Role::Trunk, &[TATA]),
            party("prod", Role::Environment(Environment::Prod), &[PROD, "10.10.10.7:5070"]),
        ],
        numbering: sip::Numbering::default(),
        caller_id: proxy::settings::CallerIdSettings::default(),
        dispatch: DispatchSettings { unknown_did: UnknownDid::Refuse(404), not_in_service_status: 404 },
        adopt_until: None,
        availability: proxy::settings::AvailabilitySettings::default(),
        timers: TimerSettings::default(),
        limits: LimitSettings::default(),
    }
}

fn directory() -> Directory {
    let rows = Rows {
        organisations: vec![OrganisationRow::active("aurora", "Aurora", "org_aurora_")],
        dids: vec![DidRow::assigned("one", "aurora", "918065978001", Environment::Prod)],
        users: vec![UserRow::active("asha", "aurora", "1001", "org_aurora_1001")],
        ..Rows::default()
    };
    directory::build(Generation(7), rows, &Policy::default(), None)
}

fn invite(name: &str, called: &str) -> String {
    format!(
        "INVITE sip:{called}@10.10.10.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP {TATA};branch=z9hG4bK{name}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:+447700900123@10.10.10.2>;tag={name}\r\nTo: <sip:{called}@10.10.10.1>\r\n\
         Call-ID: {name}\r\nCSeq: 1 INVITE\r\nContact: <sip:tata@{TATA}>\r\nContent-Length: 0\r\n\r\n"
    )
}

/// The answer of a PBX to a request that left.
fn response(request: &str, status: &str) -> String {
    let mut out = format!("SIP/2.0 {status}\r\n");
    for line in request.split("\r\n").skip(1).take_while(|line| !line.is_empty()) {
        match line.split(':').next().unwrap_or_default() {
            "To" if !line.contains("tag=") => out.push_str(&format!("{line};tag=pbx\r\n")),
            "Via" | "From" | "To" | "Call-ID" | "CSeq" | "Record-Route" => out.push_str(&format!("{line}\r\n")),
            _ => {}
        }
    }
    out + &format!("Contact: <sip:prod@{PROD}>\r\nContent-Length: 0\r\n\r\n")
}

fn header<'t>(text: &'t str, name: &str) -> &'t str {
    let line = text.split("\r\n").find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(':')));
    line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim())
}

fn sent<'t>(left: &'t [String], start: &str) -> &'t str {
    left.iter().find(|text| text.starts_with(start)).unwrap()
}

/// A call from its INVITE to the answer to its BYE, `before` standing before each message.
fn answered_call(before: &str) -> Stage {
    let mut stage = Stage::new();
    let mut arrives = |at_ms, from, text: &str| stage.arrives(at_ms, from, &format!("{before}{text}"));
    let left = arrives(1_000, TATA, &invite("answered", "08065978001"));
    let forwarded = sent(&left, "INVITE").to_owned();
    arrives(1_200, PROD, &response(&forwarded, "180 Ringing"));
    let success = sent(&arrives(3_000, PROD, &response(&forwarded, "200 OK")), "SIP/2.0 200").to_owned();
    let in_dialog = |method: &str, number: u32| {
        format!(
            "{method} sip:prod@{PROD} SIP/2.0\r\nVia: SIP/2.0/UDP {TATA};branch=z9hG4bK{method}\r\nMax-Forwards: 70\r\n\
             Route: {}\r\nFrom: {}\r\nTo: {}\r\nCall-ID: answered\r\nCSeq: {number} {method}\r\nContent-Length: 0\r\n\r\n",
            header(&success, "Record-Route"),
            header(&success, "From"),
            header(&success, "To")
        )
    };
    arrives(3_010, TATA, &in_dialog("ACK", 1));
    let bye = sent(&arrives(63_000, TATA, &in_dialog("BYE", 2)), "BYE").to_owned();
    arrives(63_010, PROD, &response(&bye, "200 OK"));
    stage
}

/// Line ends before a start line are to be ignored (RFC 3261 7.5): the call has the same messages and facts.
#[test]
fn line_ends_before_a_message_leave_it_with_its_call() {
    let seen = |before: &str| {
        let stage = answered_call(before);
        // All but the 100, which is our own.
        assert_eq!(stage.hinted, 6);
        let (mut records, calls) = stage.records();
        let detail =
            calls.journal(|journal| journal.newest().next().map(|(number, call)| CallDetail::of(number, call)));
        let arrived = records[0].messages - 7;
        records[0].bytes_in -= u64::from(arrived) * u64::try_from(before.len()).unwrap();
        let summaries = detail.unwrap().messages.into_iter().map(|message| (message.sent, message.summary));
        (records, summaries.collect::<Vec<_>>())
    };
    let plain = seen("");
    assert_eq!((plain.0[0].messages, plain.1.len()), (13, 13));
    for before in ["\r\n", "\r\n\r\n\r\n"] {
        assert_eq!(seen(before), plain);
    }
}

#[test]
fn an_answered_call_is_recorded_from_its_invite_to_its_bye() {
    let stage = answered_call("");
    let (records, calls) = stage.records();
    let [record] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!((&*record.call_id, &*record.direction, &*record.outcome), ("answered", "inbound", "answered"));
    assert_eq!(record.began_at_ms, ZERO_US / 1_000 + 1_000);
    assert_eq!((record.ringing_at_ms, record.setup_ms), (Some(ZERO_US / 1_000 + 1_200), Some(2_000)));
    assert_eq!((record.talked_ms, record.ended_by.as_deref()), (Some(60_000), Some("caller")));
    assert_eq!((&*record.from, record.to.as_deref()), ("tata", Some("prod")));
    assert_eq!((record.trunk.as_deref(), record.environment.as_deref()), (Some("tata"), Some("prod")));
    assert_eq!((record.target.as_deref(), record.attempts.len()), (Some("udp:10.10.10.1:5070"), 1));
    assert_eq!((&*record.called_received, record.called.as_deref()), ("08065978001", Some("+918065978001")));
    assert_eq!((&*record.caller_received, record.caller_sent.as_deref()), ("+447700900123", Some("+447700900123")));
    assert_eq!((record.environment_chosen.as_deref(), record.generation), (Some("prod"), 7));
    assert_eq!((record.organisation.as_deref(), record.stray_media.len()), (Some("aurora"), 0));
    assert_eq!((record.status, record.failovers, record.messages), (Some(200), 0, 13));
    assert!(record.bytes_in > 1_500 && record.bytes_out > record.bytes_in, "{record:?}");
    let detail =
        calls.journal(|journal| journal.newest().next().map(|(number, call)| CallDetail::of(number, call))).unwrap();
    assert_eq!(detail.record, *record);
    assert_eq!(detail.told.iter().map(|rule| rule.rule.clone()).collect::<Vec<_>>(), record.rules);
    let drawn = detail.ladder().to_string();
    assert_eq!(drawn.lines().count(), 14, "{drawn}");
    for (at, part) in [(1, "- INVITE -"), (2, "- 100 Trying -"), (13, "- 200 OK (BYE) -")] {
        assert!(drawn.lines().nth(at).unwrap().contains(part), "{drawn}");
    }
}

/// A PBX that hides its caller names it in P-Asserted-Identity, and there the carrier is shown our DID: the record and whoever
/// looks for the number know both, though From has neither.
#[test]
fn a_caller_that_from_does_not_name_is_recorded_and_found() {
    let invite = |name: &str, from: &str, more: &str| {
        format!(
            "INVITE sip:+447700900123@10.10.10.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP {PROD};branch=z9hG4bK{name}\r\n\
             Max-Forwards: 70\r\nFrom: {from};tag={name}\r\nTo: <sip:+447700900123@10.10.10.1>\r\nCall-ID: {name}\r\n\
             CSeq: 1 INVITE\r\n{more}Contact: <sip:prod@{PROD}>\r\nContent-Length: 0\r\n\r\n"
        )
    };
    let anonymous = "\"Anonymous\" <sip:anonymous@anonymous.invalid>";
    let asserted = "P-Asserted-Identity: <sip:org_aurora_1001@10.10.10.1>\r\n";
    let lower = "Privacy: id\r\np-asserted-identity: \"Asha\" <sip:org_aurora_1001@10.10.10.1>, <tel:1001>\r\n";
    for (in_from, from, more, caller, is_asserted) in [
        (true, anonymous, format!("Privacy: id\r\n{asserted}"), "anonymous", true),
        (true, anonymous, lower.to_owned(), "anonymous", true),
        (false, "<sip:org_aurora_1001@10.10.10.1>", String::new(), "org_aurora_1001", false),
    ] {
        let mut settings = settings();
        settings.parties[0].identity.profile = Some(Profile { in_from, ..Profile::default() });
        let mut stage = Stage::of(settings);
        let left = stage.arrives(1_000, PROD, &invite("hidden", from, &more));
        let sent = sent(&left, "INVITE").to_owned();
        assert!(sent.to_lowercase().contains("p-asserted-identity: <sip:+918065978001@"), "{sent}");
        stage.arrives(2_000, TATA, &response(&sent, "486 Busy Here"));
        let (records, calls) = stage.records();
        let [record] = records.as_slice() else { panic!("{records:?}") };
        assert_eq!((&*record.caller_received, record.caller_did.as_deref()), (caller, Some("+918065978001")));
        assert_eq!(record.caller_asserted.as_deref(), is_asserted.then_some("org_aurora_1001"));
        assert_ne!(record.caller_sent.as_deref(), Some("+918065978001"), "{sent}");
        let filter: CallFilter = "did=08065978001".parse().unwrap();
        assert!(filter.matches(record), "{record:?}");
        let did = sip::Number::from_digits(918_065_978_001).unwrap();
        assert!(calls.journal(|journal| journal.last_of(did).is_some()));
    }
}

/// The PBX offers its public address in 183 and 200, and so does the gateway: each is named once.
#[test]
fn stray_media_is_named_in_the_record() {
    let mut stage = Stage::new();
    let with_sdp = |text: &str, address: &str| {
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\nm=audio 10000 RTP/AVP 8\r\n"
        );
        let body = format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}", sdp.len());
        text.replace("Content-Length: 0\r\n\r\n", &body)
    };
    let left = stage.arrives(0, TATA, &with_sdp(&invite("stray", "918065978001"), "10.10.10.2"));
    let forwarded = sent(&left, "INVITE").to_owned();
    for (at_ms, status) in [(100, "183 Session Progress"), (200, "200 OK")] {
        stage.arrives(at_ms, PROD, &with_sdp(&response(&forwarded, status), "192.168.1.5"));
    }
    let calls = stage.recorder.calls().clone();
    stage.recorder.end();
    let detail = calls.journal(|journal| journal.newest().next().map(|(number, call)| CallDetail::of(number, call)));
    let stray = StrayMedia { from: "prod".into(), address: "192.168.1.5".into() };
    assert_eq!(detail.unwrap().record.stray_media, [stray]);
}

#[test]
fn refused_failed_and_failed_over_calls_are_recorded() {
    let mut stage = Stage::new();
    stage.arrives(0, TATA, &invite("unknown", "918065080700"));
    stage.arrives(10, TATA, &invite("loop", "918065978001").replace("Max-Forwards: 70", "Max-Forwards: 0"));
    let left = stage.arrives(20, TATA, &invite("busy", "918065978001"));
    stage.arrives(30, PROD, &response(sent(&left, "INVITE"), "486 Busy Here"));
    let left = stage.arrives(40, TATA, &invite("over", "918065978001"));
    let next = stage.arrives(50, PROD, &response(sent(&left, "INVITE"), "503 Service Unavailable"));
    stage.arrives(60, "10.10.10.7:5070", &response(sent(&next, "INVITE"), "404 Not Found"));
    stage.times_out(70);
    let (records, calls) = stage.records();
    let of = |call_id: &str| records.iter().find(|record| record.call_id == call_id).unwrap();
    let unknown = of("unknown");
    assert_eq!(
        (&*unknown.outcome, unknown.status, unknown.reason.as_deref()),
        ("refused", Some(404), Some("unknown_did"))
    );
    assert_eq!((unknown.ended_by.as_deref(), unknown.to.as_deref()), (Some("proxy"), None));
    let looped = of("loop");
    assert_eq!((&*looped.outcome, looped.status, &*looped.direction), ("refused", Some(483), ""));
    assert_eq!((looped.trunk.as_deref(), looped.environment.as_deref()), (Some("tata"), None));
    let busy = of("busy");
    assert_eq!((&*busy.outcome, busy.status, busy.ended_by.as_deref()), ("busy", Some(486), Some("final")));
    let over = of("over");
    assert_eq!((over.failovers, over.status, over.attempts.len()), (1, Some(404), 2));
    assert_eq!(over.attempts.first().unwrap().failure.as_deref(), Some("unavailable"));
    assert_eq!(over.target.as_deref(), Some("udp:10.10.10.7:5070"));
    // Each target is another end in the ladder, the party's only one is the party.
    let ladder = |call_id: &str| {
        let found = calls.journal(|journal| {
            let (number, call) = journal.newest().find(|(_, call)| call.record.call_id == call_id)?;
            Some(CallDetail::of(number, call).ladder())
        });
        found.unwrap().lanes
    };
    assert_eq!(ladder("over"), ["tata", "switchyard", "prod 10.10.10.1:5070", "prod 10.10.10.7:5070"]);
    assert_eq!(ladder("busy"), ["tata", "switchyard", "prod"]);
    let failed: CallFilter = "outcome=failed,did=918065978001".parse().unwrap();
    let found = calls.journal(|journal| journal.newest().filter(|(_, call)| failed.matches(call.record)).count());
    assert_eq!((records.len(), found), (4, 3));
}

#[test]
fn a_full_way_to_the_records_counts_what_it_loses_and_never_waits() {
    let lost = Arc::new(AtomicU64::new(0));
    let (mut tap, lane) = lane(Arc::clone(&lost));
    let flow = Flow::to(ListenerId(0), TATA.parse().unwrap());
    for _ in 0..telemetry::limits::BATCHES + 10 {
        tap.arrived(Time::from_millis(0), &flow, b"INVITE");
        tap.hand_over();
    }
    assert_eq!(lost.load(Ordering::Relaxed), 10);
    drop(lane);
    tap.arrived(Time::from_millis(0), &flow, b"INVITE");
    tap.hand_over();
    assert_eq!(lost.load(Ordering::Relaxed), 11);
}

/// Limits WAITING_BYTES and SPARE_BATCHES: large messages do not fill the memory while the records are behind.
#[test]
fn what_waits_for_the_records_has_a_size_in_bytes() {
    let lost = Arc::new(AtomicU64::new(0));
    let (mut tap, _lane) = lane(Arc::clone(&lost));
    let flow = Flow::to(ListenerId(0), TATA.parse().unwrap());
    let message = vec![b'x'; 60_000];
    let fit = u64::try_from(telemetry::limits::WAITING_BYTES / message.len()).unwrap();
    for _ in 0..fit + 7 {
        tap.arrived(Time::from_millis(0), &flow, &message);
        tap.hand_over();
    }
    assert_eq!(lost.load(Ordering::Relaxed), 7);
}

/// The table of the reference names every field of a record, and no other.
#[test]
fn every_field_of_a_record_is_in_the_reference() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/call-records.md")).unwrap();
    let described: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let word = || Some("word".into());
    let text = || Some("text".into());
    let attempt = telemetry::calls::AttemptRecord { failure: word(), ..Default::default() };
    let full = CallRecord {
        ringing_at_ms: Some(1),
        answered_at_ms: Some(1),
        ended_at_ms: Some(1),
        setup_ms: Some(1),
        talked_ms: Some(1),
        to: text(),
        target: text(),
        environment_chosen: word(),
        environment: text(),
        trunk: text(),
        called: text(),
        called_sent: text(),
        caller: text(),
        caller_asserted: text(),
        caller_sent: text(),
        caller_did: text(),
        caller_rule: word(),
        caller_foreign: true,
        rule: word(),
        rules: vec!["word".into()].into(),
        overlay: word(),
        attempts: vec![attempt.clone()],
        status: Some(200),
        reason: word(),
        organisation: text(),
        stray_media: vec![StrayMedia::default()],
        ended_by: word(),
        restarted: true,
        ..CallRecord::default()
    };
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let mut fields = keys(&serde_json::to_value(&full).unwrap());
    let of_attempt = keys(&serde_json::to_value(&attempt).unwrap());
    fields.extend(of_attempt.iter().map(|field| format!("attempts[].{field}")));
    let of_stray = keys(&serde_json::to_value(StrayMedia::default()).unwrap());
    fields.extend(of_stray.iter().map(|field| format!("stray_media[].{field}")));
    fields.sort();
    let mut described: Vec<String> = described.into_iter().map(str::to_owned).collect();
    described.sort();
    assert_eq!(described, fields);
}
