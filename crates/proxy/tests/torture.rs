//! The torture messages of RFC 4475 and RFC 5118 through the engine: the `outcome` of `fixtures/torture/outcomes.toml`.
//! Rows V1 to V4, V7, V9, V10, V11, RT5 and TP5 of docs/reference/conformance.md are among what they hold.

#![expect(clippy::unwrap_used, reason = "the lint's leave for tests does not reach the functions they share")]

use directory::{Directory, Environment, Generation, Policy, Rows};
use proxy::settings::{DispatchSettings, LimitSettings, TimerSettings, UnknownDid};
use proxy::{
    Engine, Event, Flow, Key, KeyRing, Listener, ListenerId, Outbox, Party, Peer, Role, Settings, Source, Time,
    Transport,
};
use serde::Deserialize;
use sip::{Fault, Frame, Framer, FramingLimits, Index, Method, Parsed, Reply};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const GATEWAY: &str = "10.10.10.2:5060";
const PROD: &str = "10.10.10.1:5070";

#[derive(Deserialize)]
struct Outcomes {
    message: Vec<Message>,
}

/// What this test reads of an entry; the scanner's torture test reads the rest.
#[derive(Deserialize)]
struct Message {
    name: String,
    file: String,
    outcome: Outcome,
    status: Option<u16>,
    #[serde(default)]
    own_hosts: Vec<String>,
    #[serde(default)]
    adopt: bool,
    #[serde(default)]
    contains: Vec<String>,
    #[serde(default)]
    lacks: Vec<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Forward,
    Reply,
    Local,
    Drop,
}

/// What one message led to.
struct Led {
    left: Vec<(SocketAddr, Vec<u8>)>,
    events: Vec<String>,
    impossible: bool,
}

#[test]
fn every_torture_message_leads_where_its_section_says() {
    let messages = messages();
    assert!(messages.len() >= 61, "found {}, expected the 49 of RFC 4475 and the 12 of RFC 5118", messages.len());
    let faults: Vec<String> = messages.iter().filter_map(|message| fault(message, &feed(message))).collect();
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), messages.len(), faults.join("\n"));
}

/// Row V10 and I12: nothing is ever answered to a response, however it is bent.
#[test]
fn no_response_among_them_is_answered() {
    for message in messages().iter().filter(|message| bytes_of(message).starts_with(b"SIP/")) {
        assert!(feed(message).left.is_empty(), "{}", message.name);
    }
}

/// Every message cut at every length, and with each byte changed: no panic, and nothing goes to a stranger.
#[test]
fn bent_torture_messages_reach_nobody_else() {
    for message in messages() {
        let whole = bytes_of(&message);
        let mut engine = engine(&message);
        let mut outbox = Outbox::new();
        for at in 0..whole.len() {
            let cut = whole.get(..at).unwrap();
            give(&mut engine, cut, &mut outbox);
            let mut bent = whole.clone();
            if let Some(byte) = bent.get_mut(at) {
                *byte ^= 0x15;
            }
            give(&mut engine, &bent, &mut outbox);
            for (flow, _) in outbox.transmits() {
                let ip = flow.remote.ip();
                assert!(ip == ip_of(GATEWAY) || flow.remote == PROD.parse().unwrap(), "{} at {at}: {ip}", message.name);
            }
            assert!(!outbox.events().iter().any(|e| matches!(e, Event::Impossible(_))), "{} at {at}", message.name);
            outbox.clear();
        }
    }
}

/// Row W11: over a stream, whole and one byte at a time, every message leads to the same; and to the same as in a datagram,
/// but for those whose framing a datagram forgives (18.3).
#[test]
fn w11_torture_over_a_stream_whole_and_byte_by_byte() {
    let mut faults = Vec::new();
    for message in messages() {
        let whole = stream(&message, usize::MAX);
        let bytewise = stream(&message, 1);
        if (&whole.left, &whole.events) != (&bytewise.left, &bytewise.events) {
            faults.push(format!("{}: whole {:?}, byte by byte {:?}", message.name, whole.events, bytewise.events));
        }
        let expected = OVER_A_STREAM.iter().find(|(name, _, _)| *name == message.name);
        match (expected, fault(&message, &whole)) {
            (None, None) => {}
            (None, Some(fault)) => faults.push(fault),
            (Some((name, expected, why)), _) => {
                let left = shown(&whole.left);
                if left.len() != expected.len() || left.iter().zip(*expected).any(|(one, part)| !one.contains(part)) {
                    faults.push(format!("{name}: found {left:?}, expected {expected:?}: {why}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Where a stream differs: the message, what leaves, and why.
const OVER_A_STREAM: [(&str, &[&str], &str); 7] = [
    ("dblreq", &["SIP/2.0 403", "SIP/2.0 100", "INVITE "], "what follows a body is the next message, not noise"),
    ("clerr", &[], "the body is shorter than its Content-Length: the stream waits for the rest"),
    ("baddn", &[], "the published bytes end without an empty line: the stream waits for it"),
    ("inv2543", &["SIP/2.0 400"], "without Content-Length nobody knows where the next message begins (18.3)"),
    ("ipv6-in-sdp", &[], "the published Content-Length is longer than the body with CRLF: the stream waits"),
    ("ipv6-bug-abnf-3-colons", &[], "the published bytes end without an empty line"),
    ("ipv6-correct-abnf-2-colons", &[], "the published bytes end without an empty line"),
];

/// What a message leads to that arrives on a stream in pieces of so many bytes.
fn stream(message: &Message, piece_bytes: usize) -> Led {
    let bytes = bytes_of(message);
    let (mut engine, mut outbox) = (engine(message), Outbox::new());
    let mut framer = Framer::new(FramingLimits::default());
    let directory = directory::build(Generation(1), Rows::default(), &Policy::default(), None);
    let gateway: SocketAddr = GATEWAY.parse().unwrap();
    let flow = Flow { connection: 1, ..Flow::to(ListenerId(0), gateway) };
    let mut refusals = Vec::new();
    for piece in bytes.chunks(piece_bytes.min(bytes.len()).max(1)) {
        framer.push(piece);
        while let Some(frame) = framer.next() {
            match frame {
                Frame::Message(one) => engine.handle_message(Time(0), flow, one, &directory, &mut outbox),
                Frame::Refuse { head, fault } => refusals.extend(refusal(head, fault)),
                Frame::Ping | Frame::Close(_) => {}
            }
        }
    }
    let sent = outbox.transmits().map(|(flow, bytes)| (flow.remote, bytes.to_vec()));
    Led {
        left: sent.chain(refusals.into_iter().map(|bytes| (gateway, bytes))).collect(),
        events: outbox.events().iter().map(|event| format!("{event:?}")).collect(),
        impossible: outbox.events().iter().any(|event| matches!(event, Event::Impossible(_))),
    }
}

/// The answer that a stream gives before it is closed.
fn refusal(head: &[u8], fault: Fault) -> Option<Vec<u8>> {
    let (mut index, mut out) = (Index::new(), Vec::new());
    let reply = Reply { status: fault.status(), reason: fault.reason(), to_tag: Some(b"x"), source: None, extra: &[] };
    match sip::parse_framed(head, &mut index) {
        Parsed::Request(request) if request.method() != Method::Ack => reply.write(&request, &mut out),
        Parsed::Answerable(bad) => reply.write(&bad.message, &mut out),
        _ => return None,
    }
    Some(out)
}

/// What differs from the entry; `None` when all is as it says.
fn fault(message: &Message, led: &Led) -> Option<String> {
    let told = |text: String| Some(format!("{}: {text}; events {:?}", message.name, led.events));
    if led.impossible {
        return told("the engine says that it cannot be".into());
    }
    let starts = |prefix: &str| led.left.iter().filter(|(_, bytes)| bytes.starts_with(prefix.as_bytes())).count();
    let finals =
        led.left.iter().filter(|(_, bytes)| bytes.starts_with(b"SIP/2.0") && !bytes.starts_with(b"SIP/2.0 100"));
    let finals: Vec<&(SocketAddr, Vec<u8>)> = finals.collect();
    let requests: Vec<&(SocketAddr, Vec<u8>)> =
        led.left.iter().filter(|(_, bytes)| !bytes.starts_with(b"SIP/2.0 ")).collect();
    let chosen = match message.outcome {
        Outcome::Drop if led.left.is_empty() => return None,
        Outcome::Forward if finals.is_empty() => requests.as_slice(),
        Outcome::Reply | Outcome::Local if requests.is_empty() && starts("SIP/2.0 100") == 0 => finals.as_slice(),
        _ => return told(format!("found {:?}, expected {:?}", shown(&led.left), message.outcome)),
    };
    let [(to, bytes)] = chosen else {
        return told(format!("found {:?}, expected {:?}", shown(&led.left), message.outcome));
    };
    let wanted_ip = if message.outcome == Outcome::Forward { ip_of(PROD) } else { ip_of(GATEWAY) };
    if to.ip() != wanted_ip {
        return told(format!("it went to {to}, expected {wanted_ip}"));
    }
    let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    if let Some(status) = message.status
        && !text.starts_with(&format!("SIP/2.0 {status} "))
    {
        return told(format!("found {:?}, expected {status}", text.lines().next()));
    }
    let holds = |part: &String| bytes.windows(part.len().max(1)).any(|window| window == part.as_bytes());
    if let Some(part) = message.contains.iter().find(|part| !holds(part)) {
        return told(format!("found no {part:?} in {text:?}"));
    }
    let surplus = message.lacks.iter().find(|part| holds(part));
    surplus.and_then(|part| told(format!("found {part:?} in {text:?}, expected none")))
}

fn shown(left: &[(SocketAddr, Vec<u8>)]) -> Vec<String> {
    let line = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().next().unwrap_or_default().to_owned();
    left.iter().map(|(to, bytes)| format!("{to}: {}", line(bytes))).collect()
}

fn feed(message: &Message) -> Led {
    let mut outbox = Outbox::new();
    give(&mut engine(message), &bytes_of(message), &mut outbox);
    Led {
        left: outbox.transmits().map(|(flow, bytes)| (flow.remote, bytes.to_vec())).collect(),
        events: outbox.events().iter().map(|event| format!("{event:?}")).collect(),
        impossible: outbox.events().iter().any(|event| matches!(event, Event::Impossible(_))),
    }
}

fn give(engine: &mut Engine, bytes: &[u8], outbox: &mut Outbox) {
    let directory = directory::build(Generation(1), Rows::default(), &Policy::default(), None);
    let directory: &Directory = &directory;
    engine.handle_datagram(Time(0), Flow::to(ListenerId(0), GATEWAY.parse().unwrap()), bytes, directory, outbox);
}

/// The set-up that the head of outcomes.toml describes.
fn engine(message: &Message) -> Engine {
    let udp = |address: SocketAddr| Listener { transport: Transport::Udp, address };
    let mut listeners = vec![udp("10.10.10.1:5060".parse().unwrap())];
    let mut own_names = Vec::new();
    for host in &message.own_hosts {
        match own_address(host) {
            Some(address) => listeners.push(udp(address)),
            None => own_names.push(host.to_ascii_lowercase().into()),
        }
    }
    let settings = Settings {
        environment: Environment::Prod,
        listeners,
        own_names,
        interfaces: Vec::new(),
        parties: vec![party("tata", Role::Trunk, GATEWAY), party("prod", Role::Environment(Environment::Prod), PROD)],
        numbering: sip::Numbering::default(),
        caller_id: proxy::settings::CallerIdSettings::default(),
        dispatch: DispatchSettings {
            unknown_did: UnknownDid::Environment(Environment::Prod),
            not_in_service_status: 404,
        },
        availability: proxy::settings::AvailabilitySettings::default(),
        adopt_until: message.adopt.then_some(Time(0) + Duration::from_secs(3_600)),
        timers: TimerSettings::default(),
        limits: LimitSettings::default(),
    };
    Engine::new(Arc::new(settings), Arc::new(KeyRing::new(&Key { id: 1, secret: [9; 32] }, &[])))
}

/// `127.0.0.1:5080`, `[2001:db8::10]:5070`, `[2001:db8::10]`: an address of ours; a name is `None`.
fn own_address(host: &str) -> Option<SocketAddr> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host.parse().ok().or_else(|| bare.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 5060)))
}

fn party(name: &str, role: Role, address: &str) -> Party {
    let address: SocketAddr = address.parse().unwrap();
    Party {
        name: name.into(),
        role,
        sources: vec![Source { ip: address.ip(), port: None, interface: None }],
        peers: vec![Peer { transport: Transport::Udp, address, listener: ListenerId(0), by_size: None }],
        called_number: None,
        identity: proxy::settings::IdentitySettings::default(),
        availability: proxy::settings::Availability::default(),
        media: Vec::new(),
        quota: proxy::settings::Quota::default(),
    }
}

fn ip_of(address: &str) -> IpAddr {
    address.parse::<SocketAddr>().unwrap().ip()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/torture")
}

fn messages() -> Vec<Message> {
    let text = std::fs::read_to_string(folder().join("outcomes.toml")).unwrap();
    toml::from_str::<Outcomes>(&text).unwrap().message
}

fn bytes_of(message: &Message) -> Vec<u8> {
    std::fs::read(folder().join(&message.file)).unwrap()
}
