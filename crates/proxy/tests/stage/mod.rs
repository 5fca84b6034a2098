//! The standard topology around one engine, for tests that a call text is not the form for: many calls, much time, odd
//! sizes, or counting what the engine does.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "the lint's leave for tests does not reach the functions they share")]

use directory::{DidRow, Directory, Environment, Generation, OrganisationRow, Policy, Rows};
use proxy::settings::{DispatchSettings, LimitSettings, TimerSettings, UnknownDid};
use proxy::{
    Engine, Event, Flow, Key, KeyRing, Listener, ListenerId, Outbox, Party, Peer, Role, Settings, Source, Time,
    Transport,
};
use std::net::SocketAddr;
use std::sync::Arc;

pub(crate) const TATA: &str = "10.10.10.2:5060";
pub(crate) const PROD: &str = "10.10.10.1:5070";
pub(crate) const STRANGER: &str = "203.0.113.9:5060";

/// One engine with its table and its outbox.
pub(crate) struct Stage {
    pub(crate) settings: Arc<Settings>,
    pub(crate) engine: Engine,
    pub(crate) directory: Directory,
    pub(crate) outbox: Outbox,
}

/// A message that left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) to: SocketAddr,
    pub(crate) text: String,
}

impl Stage {
    pub(crate) fn new() -> Stage {
        Stage::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> Stage {
        let mut settings = settings();
        change(&mut settings);
        let settings = Arc::new(settings);
        let engine = Engine::new(Arc::clone(&settings), Arc::new(ring(1)));
        Stage { settings, engine, directory: directory(), outbox: Outbox::new() }
    }

    /// Gives the engine a datagram, and nothing else: for tests that count.
    pub(crate) fn give(&mut self, at_ms: u64, from: SocketAddr, bytes: &[u8]) {
        let flow = Flow::to(ListenerId(0), from);
        self.engine.handle_datagram(Time::from_millis(at_ms), flow, bytes, &self.directory, &mut self.outbox);
    }

    /// What leaves when this arrives.
    pub(crate) fn arrives(&mut self, at_ms: u64, from: &str, bytes: impl AsRef<[u8]>) -> Vec<Left> {
        self.give(at_ms, from.parse().unwrap(), bytes.as_ref());
        self.taken()
    }

    /// Runs the engine's own timeouts up to a time, and gives what left with the time in milliseconds.
    pub(crate) fn runs_to(&mut self, until_ms: u64) -> Vec<(u64, Left)> {
        let mut all = Vec::new();
        while let Some(next) = self.engine.poll_timeout().filter(|next| *next <= Time::from_millis(until_ms)) {
            self.engine.handle_timeout(next, &self.directory, &mut self.outbox);
            all.extend(self.taken().into_iter().map(|left| (next.as_millis(), left)));
        }
        all
    }

    /// Runs until nothing is open.
    pub(crate) fn comes_to_rest(&mut self) -> Vec<(u64, Left)> {
        let all = self.runs_to(100_000_000);
        assert_eq!((self.engine.open_transactions(), self.engine.poll_timeout()), (0, None));
        all
    }

    pub(crate) fn taken(&mut self) -> Vec<Left> {
        let impossible = self.outbox.events().iter().find(|event| matches!(event, Event::Impossible(_)));
        assert!(impossible.is_none(), "{impossible:?}");
        let left = |(flow, bytes): (&Flow, &[u8])| Left { to: flow.remote, text: latin1(bytes) };
        let all = self.outbox.transmits().map(left).collect();
        self.outbox.clear();
        all
    }
}

impl Left {
    pub(crate) fn starts(&self, with: &str) -> bool {
        self.text.starts_with(with)
    }

    /// The first header of a name, as it is written.
    pub(crate) fn header(&self, name: &str) -> &str {
        let line =
            self.text.split("\r\n").find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(':')));
        line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim())
    }

    /// The branch of the top Via.
    pub(crate) fn branch(&self) -> &str {
        self.header("Via").split("branch=").nth(1).and_then(|rest| rest.split(';').next()).unwrap_or_default()
    }
}

pub(crate) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// A ring that signs with this key.
pub(crate) fn ring(id: u8) -> KeyRing {
    KeyRing::new(&Key { id, secret: [id; 32] }, &[])
}

/// An INVITE from the gateway to a DID of prod; `name` makes its branch, tags and Call-ID.
pub(crate) fn invite(name: &str) -> String {
    invite_with(name, "", "")
}

/// The same with further headers and a body.
pub(crate) fn invite_with(name: &str, headers: &str, body: &str) -> String {
    format!(
        "INVITE sip:918065978001@10.10.10.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP {TATA};branch=z9hG4bK{name}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:+447700900123@10.10.10.2>;tag={name}\r\nTo: <sip:918065978001@10.10.10.1>\r\n\
         Call-ID: {name}\r\nCSeq: 1 INVITE\r\nContact: <sip:tata@{TATA}>\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A response to a request that left, as the PBX makes it.
pub(crate) fn response(request: &Left, status: &str) -> String {
    let mut out = format!("SIP/2.0 {status}\r\n");
    for line in request.text.split("\r\n").skip(1).take_while(|line| !line.is_empty()) {
        match line.split(':').next().unwrap_or_default() {
            "To" if !line.contains("tag=") && !status.starts_with("100") => {
                out.push_str(&format!("{line};tag=pbx\r\n"));
            }
            "Via" | "From" | "To" | "Call-ID" | "CSeq" | "Record-Route" => out.push_str(&format!("{line}\r\n")),
            _ => {}
        }
    }
    out.push_str(&format!("Contact: <sip:prod@{PROD}>\r\nContent-Length: 0\r\n\r\n"));
    out
}

/// The ACK of the caller to a response of ours or of the callee, on the INVITE's branch.
pub(crate) fn hop_ack(name: &str, response: &Left) -> String {
    format!(
        "ACK sip:918065978001@10.10.10.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP {TATA};branch=z9hG4bK{name}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:+447700900123@10.10.10.2>;tag={name}\r\nTo: {}\r\nCall-ID: {name}\r\n\
         CSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n",
        response.header("To")
    )
}

/// A request of the caller inside the dialog that a 2xx made.
pub(crate) fn in_dialog(name: &str, method: &str, number: u32, success: &Left) -> String {
    format!(
        "{method} sip:prod@{PROD} SIP/2.0\r\nVia: SIP/2.0/UDP {TATA};branch=z9hG4bK{name}{method}{number}\r\n\
         Max-Forwards: 70\r\nRoute: {}\r\nFrom: <sip:+447700900123@10.10.10.2>;tag={name}\r\nTo: {}\r\n\
         Call-ID: {name}\r\nCSeq: {number} {method}\r\nContent-Length: 0\r\n\r\n",
        success.header("Record-Route"),
        success.header("To")
    )
}

fn settings() -> Settings {
    Settings {
        environment: Environment::Prod,
        listeners: vec![Listener { transport: Transport::Udp, address: "10.10.10.1:5060".parse().unwrap() }],
        own_names: Vec::new(),
        interfaces: Vec::new(),
        parties: vec![party("tata", Role::Trunk, TATA), party("prod", Role::Environment(Environment::Prod), PROD)],
        numbering: sip::Numbering::default(),
        caller_id: proxy::settings::CallerIdSettings::default(),
        dispatch: DispatchSettings { unknown_did: UnknownDid::Refuse(404), not_in_service_status: 404 },
        adopt_until: None,
        availability: proxy::settings::AvailabilitySettings::default(),
        timers: TimerSettings::default(),
        limits: LimitSettings::default(),
    }
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

fn directory() -> Directory {
    let rows = Rows {
        organisations: vec![OrganisationRow::active("aurora", "Aurora", "org_aurora_")],
        dids: vec![DidRow::assigned("one", "aurora", "918065978001", Environment::Prod)],
        ..Rows::default()
    };
    directory::build(Generation(1), rows, &Policy::default(), None)
}
