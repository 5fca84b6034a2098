//! Properties of the caller ID over chosen messages and profiles. Rows I5 and SX7: each side sees constant From and To,
//! restored byte for byte, and no number but the organisation's own, or the fallback, leaves in an identity header.
#![expect(clippy::unwrap_used, reason = "the lint's leave for tests does not reach the functions they share")]

use directory::{DidRow, Directory, Environment, Generation, OrganisationRow, Policy, Rows, UserRow, build};
use proptest::prelude::*;
use proxy::settings::{
    Availability, AvailabilitySettings, CallerIdSettings, DispatchSettings, DisplayRule, HeaderRule, HostRule,
    IdentitySettings, LimitSettings, OnForeign, Profile, TimerSettings, UnknownDid,
};
use proxy::{
    Engine, Flow, InterfaceId, Key, KeyRing, Listener, ListenerId, Outbox, Party, Peer, Role, Settings, Source, Time,
    Transport,
};
use sip::{Form, Number, Numbering};
use std::net::SocketAddr;
use std::sync::Arc;

const US: &str = "10.10.10.1:5060";
const PBX: &str = "10.10.10.1:5070";
const GATEWAY: &str = "10.10.10.2:5060";
const FALLBACK: u64 = 918_065_080_729;
/// Aurora's, by number; Borealis has 918065978003 and 918065978026.
const OWN: [u64; 2] = [918_065_978_001, 918_065_978_002];
/// The headers that name a caller.
const IDENTITIES: [&str; 7] = [
    "From",
    "P-Asserted-Identity",
    "P-Preferred-Identity",
    "Remote-Party-ID",
    "Diversion",
    "History-Info",
    "Referred-By",
];

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn flow(from: &str) -> Flow {
    Flow { listener: ListenerId(0), remote: address(from), connection: 0, interface: InterfaceId::OTHER }
}

fn party(name: &str, role: Role, at: &str, identity: IdentitySettings) -> Party {
    let source = match role {
        Role::Trunk => Source { ip: address(at).ip(), port: None, interface: None },
        Role::Environment(_) => Source { ip: address(at).ip(), port: Some(5070), interface: None },
    };
    let peers = vec![Peer { transport: Transport::Udp, address: address(at), listener: ListenerId(0), by_size: None }];
    Party {
        name: name.into(),
        role,
        sources: vec![source],
        peers,
        called_number: None,
        identity,
        availability: Availability::default(),
        media: Vec::new(),
        quota: proxy::settings::Quota::default(),
    }
}

fn settings(identity: IdentitySettings) -> Settings {
    Settings {
        environment: Environment::Prod,
        listeners: vec![Listener { transport: Transport::Udp, address: address(US) }],
        own_names: Vec::new(),
        interfaces: Vec::new(),
        parties: vec![
            party("tata", Role::Trunk, GATEWAY, identity),
            party("prod", Role::Environment(Environment::Prod), PBX, IdentitySettings::default()),
        ],
        numbering: Numbering::default(),
        dispatch: DispatchSettings { unknown_did: UnknownDid::Refuse(404), not_in_service_status: 404 },
        caller_id: CallerIdSettings {
            endpoint_header: Some("X-Endpoint".into()),
            on_foreign: OnForeign::Replace,
            emergency: vec!["112".into()],
        },
        adopt_until: None,
        availability: AvailabilitySettings::default(),
        timers: TimerSettings::default(),
        limits: LimitSettings::default(),
    }
}

fn directory() -> Directory {
    let did = |number: &str, org| DidRow::assigned(number, org, number, Environment::Prod);
    let rows = Rows {
        dids: vec![
            did("918065978001", "aurora"),
            did("08065978002", "aurora"),
            did("+918065978003", "borealis"),
            did("918065978026", "borealis"),
        ],
        users: vec![
            UserRow::active("1", "aurora", "1001", "org_aurora_1001"),
            UserRow::active("2", "borealis", "2001", "org_borealis_2001"),
        ],
        organisations: vec![
            OrganisationRow::active("aurora", "Aurora", "org_aurora_"),
            OrganisationRow::active("borealis", "Borealis", "org_borealis_"),
        ],
        ..Rows::default()
    };
    build(Generation(1), rows, &Policy::default(), None)
}

fn rule() -> impl Strategy<Value = HeaderRule> {
    prop_oneof![Just(HeaderRule::Keep), Just(HeaderRule::Rewrite), Just(HeaderRule::Remove)]
}

prop_compose! {
    fn profile()(
        number in prop_oneof![Just(Form::PlusE164), Just(Form::E164), Just(Form::National), Just(Form::ZeroZeroE164)],
        (in_from, in_asserted, user_phone) in any::<(bool, bool, bool)>(),
        (preferred, remote_party, diversion, history) in (rule(), rule(), rule(), rule()),
        host in prop_oneof![
            Just(HostRule::AsIs), Just(HostRule::Ours), Just(HostRule::Domain("ims.example.net".into()))
        ],
        display in prop_oneof![Just(DisplayRule::Keep), Just(DisplayRule::Remove), Just(DisplayRule::Organisation)],
    ) -> Profile {
        Profile {
            number, in_from, in_asserted, preferred, remote_party, diversion, history, host, display, user_phone,
            pass_forwarded_caller: false,
        }
    }
}

/// A number of anybody, in some spelling; or a name.
fn user() -> impl Strategy<Value = String> {
    const NUMBERS: [&str; 6] =
        ["918065978001", "918065978002", "918065978003", "918065978026", "447700900555", "918065080799"];
    let spelled = (prop::sample::select(&NUMBERS[..]), 0..4u8).prop_map(|(number, spelling)| match spelling {
        0 => format!("+{number}"),
        1 => number.to_owned(),
        2 => format!("00{number}"),
        _ => number.strip_prefix("91").map_or(format!("+{number}"), |national| format!("0{national}")),
    });
    let names = prop::sample::select(&["org_aurora_1001", "org_aurora_77", "1001", "anonymous", "nobody"][..]);
    prop_oneof![3 => spelled, 1 => names.prop_map(str::to_owned)]
}

/// A name-addr with or without a display name, which may hold a number too; or an addr-spec.
fn name_addr() -> impl Strategy<Value = String> {
    let display = prop_oneof![
        Just(String::new()),
        Just("\"Asha, Desk\" ".to_owned()),
        Just("Asha ".to_owned()),
        Just("\"+44 7700 900555\" ".to_owned()),
        Just(format!("\"{}\" ", "x".repeat(90))),
    ];
    let host = prop::sample::select(&["10.10.10.1:5070", "pbx.example.net", "anonymous.invalid"][..]);
    (display, user(), host).prop_map(|(display, user, host)| format!("{display}<sip:{user}@{host}>"))
}

/// A whole From: the tag in front of, between or behind parameters that may hold numbers, in some spelling.
fn from() -> impl Strategy<Value = String> {
    const PARAMS: [&str; 5] = ["", ";x=1", ";x=447700900555", ";y=\"+44 7700 900555;tag=z\"", " ; z = 08065978003"];
    let params = || prop::sample::select(&PARAMS[..]);
    let tag = prop::sample::select(&[";tag=caller", "; Tag = caller"][..]);
    (name_addr(), params(), tag, params()).prop_map(|(name_addr, before, tag, after)| {
        let after = if before == after { "" } else { after };
        format!("{name_addr}{before}{tag}{after}")
    })
}

/// Lines of identity headers, with parameters that may hold numbers.
fn lines() -> impl Strategy<Value = String> {
    let params = prop::sample::select(
        &["", ";reason=unconditional", ";party=calling;screen=yes", ";x=447700900555", ";x=\"a;447700900555\""][..],
    );
    let line = (prop::sample::select(&IDENTITIES[1..]), name_addr(), params);
    let lines = prop::collection::vec(line, 0..5);
    const PRIVACY: [&str; 4] = ["", "Privacy: id\r\n", "Privacy: none\r\n", "Privacy: history\r\n"];
    (lines, prop::sample::select(&PRIVACY[..])).prop_map(|(lines, privacy)| {
        let line = |(name, value, params): &(&str, String, &str)| match *name {
            "P-Asserted-Identity" | "P-Preferred-Identity" => format!("{name}: {value}\r\n"),
            _ => format!("{name}: {value}{params}\r\n"),
        };
        lines.iter().map(line).collect::<String>() + privacy
    })
}

struct Call {
    engine: Engine,
    directory: Directory,
    outbox: Outbox,
}

impl Call {
    /// What leaves for `to` when `text` comes from `from`: the last such message.
    fn pass(&mut self, from: &str, text: &str, to: &str) -> String {
        self.outbox.clear();
        self.engine.handle_datagram(Time(0), flow(from), text.as_bytes(), &self.directory, &mut self.outbox);
        let left = self.outbox.transmits().filter(|(flow, _)| flow.remote == address(to)).last();
        left.map(|(_, bytes)| String::from_utf8(bytes.to_vec()).unwrap()).unwrap_or_default()
    }
}

fn values<'m>(message: &'m str, name: &str) -> Vec<&'m str> {
    let head = message.split("\r\n\r\n").next().unwrap_or_default();
    let lines = head.split("\r\n").filter_map(|line| line.split_once(": "));
    lines.filter(|(found, _)| *found == name).map(|(_, value)| value).collect()
}

fn value<'m>(message: &'m str, name: &str) -> &'m str {
    values(message, name).first().copied().unwrap_or_default()
}

/// Seven digits and more on end are a number: it must be ours to show.
fn holds_only(message: &str, allowed: &[u64]) -> Result<(), TestCaseError> {
    let national = |digits: &str| digits.strip_prefix('0').map(|rest| format!("91{rest}"));
    for name in IDENTITIES {
        for value in values(message, name) {
            let plain: String = value.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
            for run in plain.split(|c: char| !c.is_ascii_digit()).filter(|run| run.len() >= 7) {
                let e164 = run.strip_prefix("00").map(str::to_owned).or_else(|| national(run));
                let number: u64 = e164.unwrap_or_else(|| run.to_owned()).parse().unwrap();
                prop_assert!(allowed.contains(&number), "{name}: {value}\n{message}");
            }
        }
    }
    Ok(())
}

fn request(method: &str, number: u32, route: &str, from: &str, to: &str, more: &str, sender: &str) -> String {
    format!(
        "{method} sip:+447700900001@{US} SIP/2.0\r\nVia: SIP/2.0/UDP {sender};branch=z9hG4bK-{method}{number};rport\r\n\
         {route}Max-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: one\r\nCSeq: {number} {method}\r\n{more}\
         Contact: <sip:x@{sender}>\r\nContent-Length: 0\r\n\r\n"
    )
}

/// The 200 that a peer gives to a request.
fn ok(request: &str) -> String {
    let mut out = "SIP/2.0 200 OK\r\n".to_owned();
    for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"] {
        for value in values(request, name) {
            let tag = if name == "To" && !value.to_lowercase().contains("tag") { ";tag=callee" } else { "" };
            out += &format!("{name}: {value}{tag}\r\n");
        }
    }
    out + "Contact: <sip:y@10.10.10.9>\r\nContent-Length: 0\r\n\r\n"
}

fn holds(profile: Profile, untrusted: bool, endpoint: &str, from: &str, more: &str) -> Result<(), TestCaseError> {
    let identity = IdentitySettings {
        profile: Some(profile),
        fallback_did: Number::from_digits(FALLBACK),
        is_untrusted: untrusted,
        ..IdentitySettings::default()
    };
    let keys = || Arc::new(KeyRing::new(&Key { id: 1, secret: [7; 32] }, &[]));
    let settings = Arc::new(settings(identity));
    let mut call =
        Call { engine: Engine::new(Arc::clone(&settings), keys()), directory: directory(), outbox: Outbox::new() };
    let to = format!("<sip:+447700900001@{US}>");
    let allowed: &[u64] = if endpoint.is_empty() { &[] } else { &OWN };
    let everybody = [&OWN[..], &[FALLBACK, 918_065_978_003, 918_065_978_026]].concat();
    let allowed = if allowed.is_empty() { everybody } else { [allowed, &[FALLBACK]].concat() };
    let header = if endpoint.is_empty() { String::new() } else { format!("X-Endpoint: {endpoint}\r\n") };
    let invite = request("INVITE", 1, "", from, &to, &format!("{header}{more}"), PBX);
    let sent = call.pass(PBX, &invite, GATEWAY);
    prop_assert!(!sent.is_empty(), "{invite}");
    prop_assert!(values(&sent, "X-Endpoint").is_empty());
    holds_only(&sent, &allowed)?;
    prop_assert!(!(untrusted && more.contains("Privacy: history")) || values(&sent, "History-Info").is_empty());
    let shown = value(&sent, "From").to_owned();
    prop_assert!(shown.ends_with(">;tag=caller"), "{shown}");
    let answer = call.pass(GATEWAY, &ok(&sent), PBX);
    prop_assert_eq!(value(&answer, "From"), from);
    // A new process with the same keys has only the token.
    call.engine = Engine::new(settings, keys());
    let to = value(&answer, "To").to_owned();
    let route = format!("Route: {}\r\n", value(&sent, "Record-Route"));
    let sent = call.pass(PBX, &request("UPDATE", 2, &route, from, &to, more, PBX), GATEWAY);
    prop_assert_eq!(value(&sent, "From"), &shown);
    prop_assert_eq!(value(&sent, "To"), &to);
    holds_only(&sent, &allowed)?;
    let answer = call.pass(GATEWAY, &ok(&sent), PBX);
    prop_assert_eq!(value(&answer, "From"), from);
    let sent = call.pass(GATEWAY, &request("BYE", 9, &route, &to, &shown, "", GATEWAY), PBX);
    prop_assert_eq!((value(&sent, "From"), value(&sent, "To")), (to.as_str(), from));
    let answer = call.pass(PBX, &ok(&sent), GATEWAY);
    prop_assert_eq!((value(&answer, "From"), value(&answer, "To")), (to.as_str(), shown.as_str()));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Rows I5 and SX7, where the PBX says who calls: no number but the caller's own organisation's leaves.
    #[test]
    fn i5_sx7_a_known_caller(
        profile in profile(), untrusted: bool, from in from(), more in lines()
    ) {
        holds(profile, untrusted, "org_aurora_1001", &from, &more)?;
    }

    /// The same where the message alone says who calls: no number that is not ours leaves.
    #[test]
    fn i5_sx7_any_caller(profile in profile(), untrusted: bool, from in from(), more in lines()) {
        holds(profile, untrusted, "", &from, &more)?;
    }
}

/// Our Record-Routes of a call from `from`, as a trunk sees them: how many, and their bytes with their line ends.
fn record_routes(profile: Option<Profile>, from: &str, by_another_listener: bool) -> (usize, usize) {
    let identity =
        IdentitySettings { profile, fallback_did: Number::from_digits(FALLBACK), ..IdentitySettings::default() };
    let keys = Arc::new(KeyRing::new(&Key { id: 1, secret: [7; 32] }, &[]));
    let mut settings = settings(identity);
    if by_another_listener {
        settings.listeners.push(Listener { transport: Transport::Udp, address: address("10.10.20.1:5060") });
        settings.parties.first_mut().unwrap().peers.first_mut().unwrap().listener = ListenerId(1);
    }
    let engine = Engine::new(Arc::new(settings), keys);
    let mut call = Call { engine, directory: directory(), outbox: Outbox::new() };
    let from = format!("{from};tag=caller");
    let more = "X-Endpoint: org_aurora_1001\r\n";
    let invite = request("INVITE", 1, "", &from, &format!("<sip:+447700900001@{US}>"), more, PBX);
    let sent = call.pass(PBX, &invite, GATEWAY);
    let routes = values(&sent, "Record-Route");
    (routes.len(), routes.iter().map(|value| "Record-Route: \r\n".len() + value.len()).sum())
}

/// Where a call leaves by another listener, the second Record-Route carries no token: 40 bytes more, not as much again.
#[test]
fn two_record_routes_of_an_ordinary_call_are_under_300_bytes() {
    let usual = "\"Asha Rao\" <sip:org_aurora_1001@10.10.10.1:5070>";
    assert_eq!(record_routes(Some(Profile::default()), usual, true), (2, 239));
}

/// The token grows by 4 bytes for each 3 of both names and their lengths, and ordinary names keep it under 300 in all.
#[test]
fn the_record_route_of_an_ordinary_call_is_under_300_bytes() {
    let rewritten = |from: &str| record_routes(Some(Profile::default()), from, false).1;
    let usual = "\"Asha Rao\" <sip:org_aurora_1001@10.10.10.1:5070>";
    assert_eq!((record_routes(None, usual, false).1, rewritten(usual)), (85, 199));
    let long = "\"Asha Rao, Reception Desk North\" <sip:org_aurora_1001@pbx.staging.clinics.example.net:5070>";
    assert!(rewritten(long) < 300, "{}", rewritten(long));
}
