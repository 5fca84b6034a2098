//! More than can be carried: what is refused, at what price, and that the rest is carried to its end.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the lint's leave for tests does not reach the functions they share"
)]

mod stage;

use proxy::{DropReason, Event, Refusal, Suspicion};
use stage::{Left, PROD, STRANGER, Stage, TATA, hop_ack, in_dialog, invite, invite_with, response};

/// What became of the calls that were offered.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    completed: usize,
    refused: usize,
}

/// Offers calls at an even pace, each to its end: ringing, answer, ACK, BYE. A refused one is acknowledged and gone.
fn offer(stage: &mut Stage, name: &str, from_ms: u64, per_second: u64, seconds: u64) -> Outcome {
    let mut outcome = Outcome::default();
    for number in 0..per_second * seconds {
        let (at, name) = (from_ms + number * 1_000 / per_second, format!("{name}{number}"));
        stage.runs_to(at);
        let left = stage.arrives(at, TATA, invite(&name));
        if let Some(refusal) = left.iter().find(|left| left.starts("SIP/2.0 4") || left.starts("SIP/2.0 5")) {
            assert_eq!(left.len(), 1, "nothing beside the refusal");
            assert_eq!(stage.arrives(at, TATA, hop_ack(&name, refusal)), [], "its ACK is absorbed");
            outcome.refused += 1;
            continue;
        }
        let forwarded = left.iter().find(|left| left.starts("INVITE")).unwrap();
        let success = one(stage.arrives(at, PROD, response(forwarded, "200 OK")), "SIP/2.0 200");
        one(stage.arrives(at, TATA, in_dialog(&name, "ACK", 1, &success)), "ACK");
        let bye = one(stage.arrives(at, TATA, in_dialog(&name, "BYE", 2, &success)), "BYE");
        one(stage.arrives(at, PROD, response(&bye, "200 OK")), "SIP/2.0 200");
        outcome.completed += 1;
    }
    outcome
}

fn one(left: Vec<Left>, start: &str) -> Left {
    left.into_iter().find(|left| left.starts(start)).unwrap_or_else(|| panic!("no {start} left"))
}

/// An INVITE of a PBX to somewhere in the telephone network.
fn outbound(name: &str, number: &str) -> String {
    invite(name).replace("918065978001@", &format!("{number}@")).replace(TATA, PROD)
}

/// Row SX2: twice the rate for ten seconds. At least nine tenths of the rate are completed, nobody else notices.
#[test]
fn sx2_at_twice_its_rate_a_source_gets_its_rate_and_others_notice_nothing() {
    let mut stage = Stage::with(|settings| settings.limits.requests_per_second = 100);
    let outcome = offer(&mut stage, "twice", 10_000, 200, 10);
    assert_eq!(outcome.completed + outcome.refused, 2_000);
    // The rate, and the burst of one second.
    assert!((900..=1_100).contains(&outcome.completed), "{outcome:?}");
    one(stage.arrives(20_000, PROD, outbound("other", "+447700900123")), "INVITE");
    // At its rate none is refused.
    assert_eq!(offer(&mut stage, "after", 40_000, 100, 3), Outcome { completed: 300, refused: 0 });
    stage.comes_to_rest();
}

/// Row SX2: what belongs to calls, OPTIONS and emergency calls pass a source that has had its rate.
#[test]
fn sx2_what_belongs_to_calls_passes_above_the_rate() {
    let mut stage = Stage::with(|settings| {
        settings.limits.requests_per_second = 2;
        settings.caller_id.emergency = vec!["112".into()];
    });
    let forwarded = one(stage.arrives(1_000, TATA, invite("up")), "INVITE");
    let success = one(stage.arrives(1_000, PROD, response(&forwarded, "200 OK")), "SIP/2.0 200");
    let ringing = one(stage.arrives(1_000, TATA, invite("rings")), "INVITE");
    stage.arrives(1_000, PROD, response(&ringing, "180 Ringing"));
    let refused = one(stage.arrives(1_000, TATA, invite("above")), "SIP/2.0 480 Too Many Requests");
    assert!(refused.header("Reason").starts_with("SIP;cause=480"), "{}", refused.text);
    assert_eq!(refused.header("Retry-After"), "");

    one(stage.arrives(1_000, TATA, in_dialog("up", "ACK", 1, &success)), "ACK");
    one(stage.arrives(1_000, TATA, in_dialog("up", "INVITE", 2, &success)), "INVITE");
    one(stage.arrives(1_000, TATA, in_dialog("up", "BYE", 3, &success)), "BYE");
    one(stage.arrives(1_000, TATA, invite("rings").replace("INVITE", "CANCEL")), "SIP/2.0 200");
    one(
        stage.arrives(1_000, TATA, invite("ping").replace("918065978001@", "").replace("INVITE", "OPTIONS")),
        "SIP/2.0 200",
    );
    for name in ["p1", "p2"] {
        one(stage.arrives(1_000, PROD, outbound(name, "+447700900123")), "INVITE");
    }
    one(stage.arrives(1_000, PROD, outbound("p3", "+447700900123")), "SIP/2.0 480");
    one(stage.arrives(1_000, PROD, outbound("p4", "112")), "INVITE");
}

/// Row H4: above the bytes that open transactions may hold, new calls are shed; what is open goes on, and what ends
/// makes room.
#[test]
fn h4_above_its_memory_it_sheds_and_recovers() {
    const BYTES: usize = 1 << 20;
    let mut stage = Stage::with(|settings| settings.limits.transaction_bytes = BYTES);
    let body = "x".repeat(10_000);
    let mut carried = 0;
    for number in 0..1_000 {
        let left = stage.arrives(0, TATA, invite_with(&format!("large{number}"), "", &body));
        match left.iter().find(|left| left.starts("SIP/2.0 503")) {
            Some(refusal) => assert_eq!(refusal.header("Retry-After"), "5"),
            None => carried += 1,
        }
    }
    // A call holds its request and little beside it.
    assert!((BYTES / 16_000..=BYTES / 10_000).contains(&carried), "{carried} carried");
    assert_eq!(stage.engine.open_transactions(), carried);
    stage.comes_to_rest();
    one(stage.arrives(200_000_000, TATA, invite("after")), "INVITE");
}

/// Row O5: offered twice what the tables hold, what they hold is completed.
#[test]
fn o5_at_twice_what_the_tables_hold_nine_tenths_are_completed() {
    // A call's transactions stay for 64*T1 after its end: 100 calls a second hold about 2 * 3,200 of them.
    const HELD: usize = 6_400;
    let mut stage = Stage::with(|settings| settings.limits.transactions = HELD);
    // Until the table has turned over once.
    offer(&mut stage, "before", 0, 100, 40);
    let outcome = offer(&mut stage, "twice", 40_000, 200, 40);
    let at_most = 100 * 40;
    assert!(outcome.completed * 10 >= at_most * 9, "{outcome:?}");
    assert!(outcome.refused > 0, "{outcome:?}");
    stage.comes_to_rest();
}

/// A worker that is behind refuses new calls and carries on with those that are there.
#[test]
fn behind_with_what_arrives_it_refuses_new_calls_alone() {
    let mut stage = Stage::with(|settings| settings.caller_id.emergency = vec!["112".into()]);
    let forwarded = one(stage.arrives(0, TATA, invite("up")), "INVITE");
    let success = one(stage.arrives(0, PROD, response(&forwarded, "200 OK")), "SIP/2.0 200");
    stage.engine.set_behind(true);
    let refusal = one(stage.arrives(0, TATA, invite("new")), "SIP/2.0 503 Overloaded");
    assert_eq!(refusal.header("Retry-After"), "5");
    assert_eq!(stage.arrives(0, TATA, hop_ack("new", &refusal)), []);
    one(stage.arrives(0, TATA, in_dialog("up", "ACK", 1, &success)), "ACK");
    one(stage.arrives(0, TATA, in_dialog("up", "BYE", 2, &success)), "BYE");
    one(stage.arrives(0, PROD, outbound("emergency", "112")), "INVITE");
    stage.engine.set_behind(false);
    one(stage.arrives(0, TATA, invite("later")), "INVITE");
}

/// Row SX16: a tool for scanning that a peer lets through is met with silence; who sent it is told.
#[test]
fn sx16_a_scanner_behind_a_peer_gets_silence() {
    let mut stage = Stage::new();
    let scan = invite_with("scan", "User-Agent: friendly-scanner\r\n", "");
    stage.give(0, TATA.parse().unwrap(), scan.as_bytes());
    let events = format!("{:?}", stage.outbox.events());
    assert!(events.contains("Dropped(Scanner)") && events.contains("Scanner)"), "{events}");
    assert!(stage.outbox.events().iter().any(|event| matches!(event, Event::Suspected(_, Suspicion::Scanner))));
    assert_eq!(stage.taken(), []);
}

/// Row SX16: without a filter in the kernel strangers are told apart, and still get silence.
#[test]
fn sx16_strangers_are_told_where_they_are_seen() {
    let suspicion = |strangers, text: &str| {
        let mut stage = Stage::with(|settings| settings.limits.strangers = strangers);
        stage.give(0, STRANGER.parse().unwrap(), text.as_bytes());
        let told = stage.outbox.events().iter().find_map(|event| match event {
            Event::Suspected(_, suspicion) => Some(*suspicion),
            _ => None,
        });
        assert!(stage.outbox.events().iter().any(|event| matches!(event, Event::Dropped(DropReason::Stranger))));
        assert_eq!(stage.taken(), []);
        told
    };
    use proxy::settings::Strangers::{Kernel, Log};
    let scan = invite_with("scan", "User-Agent: friendly-scanner\r\n", "");
    assert_eq!(suspicion(Log, &scan), Some(Suspicion::Scanner));
    assert_eq!(suspicion(Log, &invite("plain")), Some(Suspicion::Stranger));
    assert_eq!(suspicion(Kernel, &scan), None);
}

/// The addresses that the kernel's filter is made from: sources, peers, and peers of former settings.
#[test]
fn neighbours_are_all_who_may_speak() {
    let mut stage = Stage::new();
    let addresses = |stage: &Stage| {
        let mut all: Vec<String> = stage.engine.neighbours().map(|ip| ip.to_string()).collect();
        all.sort_unstable();
        all.dedup();
        all
    };
    assert_eq!(addresses(&stage), ["10.10.10.1", "10.10.10.2"]);
    let mut settings = proxy::Settings::clone(&stage.settings);
    settings.parties[1].peers[0].address = "10.10.10.9:5070".parse().unwrap();
    settings.parties[1].sources[0].ip = "10.10.10.9".parse().unwrap();
    stage.engine.apply(settings.into(), stage::ring(1).into());
    assert_eq!(addresses(&stage), ["10.10.10.1", "10.10.10.2", "10.10.10.9"], "the former peer may still answer");
}

#[test]
fn the_new_refusal_says_whose_fault_it_is() {
    assert_eq!((Refusal::OverRate.status(), Refusal::OverRate.has_retry_after()), (480, false));
}
