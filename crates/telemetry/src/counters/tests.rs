use super::*;
use crate::Kind;
use crate::catalogue::FAMILIES;
use directory::{Directory, Environment};
use proxy::outbox::{Absorbed, FailoverReason};
use proxy::{DropReason, PartyId, Refusal, Settings, Warning, decide};
use proxy::{Party, Peer, Question, Role, Source, Transport};
use std::collections::HashSet;

pub(crate) fn party(name: &str, role: Role) -> Party {
    Party {
        name: name.into(),
        role,
        sources: vec![Source { ip: "127.0.0.2".parse().unwrap(), port: None, interface: None }],
        peers: vec![Peer {
            transport: Transport::Udp,
            address: "127.0.0.2:5060".parse().unwrap(),
            listener: proxy::ListenerId(0),
            by_size: None,
        }],
        called_number: None,
        identity: proxy::settings::IdentitySettings::default(),
        availability: proxy::settings::Availability::default(),
        media: Vec::new(),
        quota: proxy::settings::Quota::default(),
    }
}

fn every_family() -> impl Iterator<Item = &'static Family> {
    FAMILIES.iter().chain(&catalogue::HISTOGRAMS).chain(&catalogue::READINGS).copied()
}

#[test]
fn every_family_is_read_once_and_none_is_forgotten() {
    let counters = Counters::new();
    counters.set_parties(&[party("tata", Role::Trunk)]);
    let mut read: Vec<&str> = counters.samples().iter().map(|sample| sample.family.name).collect();
    read.dedup();
    let listed: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
    assert_eq!(read, listed);
    assert_eq!(read.iter().collect::<HashSet<_>>().len(), FAMILY_COUNT);
}

/// docs/reference/metrics.md says what the catalogue says, and no more.
#[test]
fn the_page_of_metrics_is_the_catalogue() {
    let rows = every_family().map(|family| {
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let names = [
            family.by_party.then(|| "`party`: a name of the configuration".to_owned()),
            family.by_peer.then(|| "`peer`: as the configuration writes it".to_owned()),
        ];
        let words = [(family.label, family.values), (family.second.name, family.second.values)];
        let words = words.into_iter().filter(|(name, _)| !name.is_empty());
        let values = |values: &[&str]| match values {
            [env!("CARGO_PKG_VERSION")] => "the version".to_owned(),
            values => values.join(", "),
        };
        let words = words.map(|(name, listed)| format!("`{name}`: {}", values(listed)));
        let labels: Vec<String> = names.into_iter().flatten().chain(words).collect();
        format!("| `{}` | {kind} | {} | {} |", family.name, labels.join("; "), family.help)
    });
    let rows: Vec<String> = rows.collect();
    let page = include_str!("../../../../docs/reference/metrics.md");
    let listed: Vec<&str> = page.lines().filter(|line| line.starts_with("| `switchyard_")).collect();
    assert_eq!(listed, rows, "\nexpected:\n{}", rows.join("\n"));
}

#[test]
fn names_and_helps_are_as_an_exporter_wants_them() {
    for family in every_family() {
        assert!(family.name.starts_with("switchyard_"), "{}", family.name);
        assert!(family.name.bytes().all(|c| c.is_ascii_lowercase() || c == b'_'), "{}", family.name);
        assert_eq!(family.name.ends_with("_total"), family.kind == Kind::Counter, "{}", family.name);
        assert!(family.help.ends_with('.'), "{}", family.help);
        assert_eq!(family.label.is_empty(), family.values.is_empty(), "{}", family.name);
        assert!(!family.values.contains(&OTHER), "{}", family.name);
    }
}

/// What the core can say has a label value of its own: a new variant without one fails here.
#[test]
fn every_reason_of_the_core_is_listed() {
    let drops = [
        DropReason::Stranger,
        DropReason::NotOurVia,
        DropReason::NoTransaction,
        DropReason::WrongSource,
        DropReason::ForUs,
        DropReason::BadVia,
        DropReason::Useless,
        DropReason::Ack,
        DropReason::Late,
    ];
    assert!(drops.iter().all(|reason| catalogue::DROPPED.values.contains(&reason.name())));
    assert!(sip::Hopeless::ALL.iter().all(|noise| catalogue::DROPPED.values.contains(&noise.name())));
    let refusals = [
        Refusal::DestinationForbidden,
        Refusal::SecureScheme,
        Refusal::UnknownScheme,
        Refusal::TooManyHops,
        Refusal::Loop,
        Refusal::BadExtension,
        Refusal::ForeignTarget,
        Refusal::ForeignRoute,
        Refusal::NoToken,
        Refusal::NotHere,
        Refusal::NotANumber,
        Refusal::UnknownDid(404),
        Refusal::NotInService(404),
        Refusal::NoTarget,
        Refusal::NoneUsable,
        Refusal::WhenDown(486),
        Refusal::NoTransaction,
        Refusal::NoTable,
        Refusal::Full,
        Refusal::Draining,
        Refusal::TooLarge,
    ];
    let limits = proxy::Limit::ALL.map(|limit| Refusal::Limit(limit, 486));
    assert!(refusals.iter().chain(&limits).all(|refusal| catalogue::REFUSED.values.contains(&refusal.name())));
    let warnings = [
        Warning::StaysHere,
        Warning::LastGood,
        Warning::UnknownTo,
        Warning::Adopted,
        Warning::Untokened,
        Warning::Stateless,
        Warning::TokenRefused,
        Warning::TimedOut,
        Warning::Streamless,
        Warning::LongName,
    ];
    assert!(warnings.iter().all(|warning| catalogue::WARNINGS.values.contains(&warning.name())));
    for absorbed in [Absorbed::Request, Absorbed::Response, Absorbed::Ack] {
        assert!(catalogue::ABSORBED.values.contains(&absorbed.name()));
    }
    let of_peers = [FailoverReason::Timeout, FailoverReason::Unreachable, FailoverReason::Unavailable];
    for reason in of_peers.into_iter().chain([FailoverReason::Status]) {
        assert!(catalogue::FAILOVERS.values.contains(&reason.name()));
    }
    assert!(of_peers.iter().all(|reason| catalogue::PEER_FAILURES.values.contains(&reason.name())));
}

#[test]
fn an_event_counts_in_its_family_and_nowhere_else() {
    let counters = Counters::new();
    counters.set_parties(&[party("tata", Role::Trunk), party("prod", Role::Environment(Environment::Prod))]);
    counters.record(&Event::Request(PartyId(0), Method::Invite));
    counters.record(&Event::Request(PartyId(1), Method::Invite));
    counters.record(&Event::Request(PartyId(1), Method::Other));
    counters.record(&Event::Response(PartyId(1), 486));
    counters.record(&Event::Refused(PartyId(0), Refusal::NoTable));
    counters.record(&Event::Refused(PartyId(1), Refusal::NoTable));
    counters.record(&Event::Dropped(DropReason::Stranger));
    counters.record(&Event::LimitReached("a limit of tomorrow"));
    counters.record(&Event::Impossible("nothing of the kind"));
    assert_eq!(counters.value(&catalogue::REQUESTS, "INVITE"), 2);
    assert_eq!(counters.value(&catalogue::REQUESTS, OTHER), 1);
    assert_eq!(counters.value(&catalogue::RESPONSES, "4xx"), 1);
    assert_eq!(counters.value(&catalogue::DROPPED, "stranger"), 1);
    assert_eq!(counters.value(&catalogue::LIMITS, OTHER), 1);
    assert_eq!(counters.value(&catalogue::IMPOSSIBLE, ""), 1);
    assert_eq!(counters.value(&catalogue::REFUSED, "no_table"), 2);
    assert_eq!(counters.samples().iter().map(|sample| sample.value).sum::<u64>(), 9);
}

#[test]
fn a_decision_counts_by_its_deciding_rule_and_an_invite_as_a_call() {
    let settings = Settings {
        environment: Environment::Prod,
        listeners: Vec::new(),
        own_names: Vec::new(),
        interfaces: Vec::new(),
        parties: vec![party("tata", Role::Trunk)],
        numbering: sip::Numbering::default(),
        caller_id: proxy::settings::CallerIdSettings::default(),
        dispatch: proxy::settings::DispatchSettings {
            unknown_did: proxy::settings::UnknownDid::Refuse(404),
            not_in_service_status: 404,
        },
        adopt_until: None,
        availability: proxy::settings::AvailabilitySettings::default(),
        timers: proxy::settings::TimerSettings::default(),
        limits: proxy::settings::LimitSettings::default(),
    };
    let question = Question { from: PartyId(0), method: Method::Invite, user: b"918065978000", caller: None };
    let decision = decide(&settings, &Directory::empty(), &question);
    let span = sip::Span::default();
    let key = proxy::CallKey::default();
    let counters = Counters::new();
    counters.set_parties(&settings.parties);
    for method in [Method::Invite, Method::Message] {
        counters.record(&Event::Decided { call_id: span, key, from: PartyId(0), called: span, method, decision });
    }
    assert_eq!(counters.value(&catalogue::DECISIONS, "no_table"), 2);
    assert_eq!(counters.value(&catalogue::CALLS, "inbound"), 1);
    assert_eq!(setups(&counters), [("tata".to_owned(), "inbound", "refused", 1)]);
}

/// What is not zero, of the calls whose setup has ended.
fn setups(counters: &Counters) -> Vec<(String, &'static str, &'static str, u64)> {
    let ended = counters.samples().into_iter().filter(|s| s.family.name == catalogue::SETUPS.name && s.value > 0);
    ended.map(|s| (s.party.unwrap().to_string(), s.label_value, s.second_value, s.value)).collect()
}

#[test]
fn a_setup_counts_under_its_environment_and_a_reload_keeps_what_was_counted() {
    let counters = Counters::new();
    let (tata, staging) = (party("tata", Role::Trunk), party("staging", Role::Environment(Environment::Staging)));
    counters.set_parties(&[tata.clone(), staging.clone()]);
    let call_id = sip::Span::default();
    let ended = |from, toward, in_dialog, status| Event::Final {
        call_id,
        key: proxy::CallKey::default(),
        from: PartyId(from),
        toward: PartyId(toward),
        in_dialog,
        status,
        after_us: 1_500,
    };
    counters.record(&ended(0, 1, false, 200));
    counters.record(&ended(0, 1, true, 200));
    counters.set_parties(&[staging, tata]);
    counters.record(&ended(0, 1, false, 486));
    counters.record(&ended(1, 0, false, 487));
    let staging = |direction, outcome| ("staging".to_owned(), direction, outcome, 1);
    let expected = [staging("inbound", "answered"), staging("inbound", "cancelled"), staging("outbound", "busy")];
    assert_eq!(setups(&counters), expected);
    assert_eq!(counters.value(&catalogue::FINALS, "2xx"), 2);
}

#[test]
fn facts_of_the_transport_add_up_and_the_gauge_is_set() {
    let counters = Counters::new();
    counters.note(Fact::Received { datagrams: 3, bytes: 900 });
    counters.note(Fact::Received { datagrams: 1, bytes: 100 });
    counters.note(Fact::SendFailed("no_way"));
    counters.note(Fact::OpenTransactions(7));
    counters.note(Fact::OpenTransactions(5));
    assert_eq!(counters.value(&catalogue::RECEIVED, ""), 4);
    assert_eq!(counters.value(&catalogue::RECEIVED_BYTES, ""), 1_000);
    assert_eq!(counters.value(&catalogue::SEND_FAILED, "no_way"), 1);
    assert_eq!(counters.value(&catalogue::OPEN_TRANSACTIONS, ""), 5);
}

#[test]
fn the_total_of_two_workers_is_their_sum() {
    let (left, right) = (Counters::new(), Counters::new());
    left.note(Fact::Overflowed(2));
    right.note(Fact::Overflowed(3));
    right.note(Fact::SendFailed("surprise"));
    let sum = total([left.samples(), right.samples()]);
    let value =
        |name: &str, label: &str| sum.iter().find(|s| s.family.name == name && s.label_value == label).map(|s| s.value);
    assert_eq!(value("switchyard_udp_overflowed_total", ""), Some(5));
    assert_eq!(value("switchyard_send_failed_total", OTHER), Some(1));
    assert_eq!(value("switchyard_panics_total", ""), Some(0));
}
