//! Sizes, times and numbers at their ends: what a text would have to say a thousand times.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the lint's leave for tests does not reach the functions they share"
)]

mod stage;

use proxy::calls::RestoredCall;
use proxy::dispatch::Direction;
use proxy::{CallKey, DropReason, Event, Key, KeyRing, PartyId, Time};
use stage::{Left, PROD, STRANGER, Stage, TATA, hop_ack, in_dialog, invite, invite_with, response, ring};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

fn forwarded(left: &[Left]) -> Left {
    let to_prod = left.iter().find(|left| left.to == PROD.parse().unwrap());
    to_prod.unwrap_or_else(|| panic!("nothing left for prod: {left:?}")).clone()
}

/// Row TP2: a datagram of any size that UDP carries is taken, and goes on while it still fits.
#[test]
fn tp2_datagrams_up_to_the_last_byte_pass() {
    let mut stage = Stage::new();
    let body = "x".repeat(64_000);
    let left = stage.arrives(0, TATA, invite_with("big", "Content-Type: text/plain\r\n", &body));
    assert!(forwarded(&left).text.ends_with(&body));
    // What arrives fits a datagram, and what would leave does not: the sender is told.
    let body = "x".repeat(65_507 - invite_with("full", "", "").len() - 4);
    let left = stage.arrives(0, TATA, invite_with("full", "", &body));
    assert_eq!(left.len(), 2, "{:?}", left.iter().map(|l| l.text.len()).collect::<Vec<_>>());
    assert!(left.iter().any(|left| left.starts("SIP/2.0 513")));
}

/// Row SX8: bombs of headers, Vias, Routes, commas and one long line are refused or dropped, and go nowhere.
#[test]
fn sx8_header_bombs_go_nowhere() {
    let vias = "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx\r\n".repeat(1_000);
    let bombs = [
        ("headers", "X: y\r\n".repeat(10_000)),
        ("vias", vias),
        ("routes", "Route: <sip:10.10.10.1:5060;lr>\r\n".repeat(1_000)),
        ("commas", format!("Route: {}\r\n", ",".repeat(60_000))),
        ("line", format!("X: {}\r\n", "y".repeat(60_000))),
        ("quotes", format!("Subject: {}\r\n", "\"\\".repeat(30_000))),
        ("params", format!("Route: <sip:10.10.10.1{}>\r\n", ";a".repeat(30_000))),
        ("folds", format!("X: {}y\r\n", "\r\n ".repeat(20_000))),
    ];
    for (name, bomb) in bombs {
        let mut stage = Stage::new();
        let left = stage.arrives(0, TATA, invite_with(name, &bomb, ""));
        let statuses: Vec<&str> = left.iter().map(|left| left.text.get(..11).unwrap_or_default()).collect();
        let refused = matches!(statuses.as_slice(), [] | ["SIP/2.0 400" | "SIP/2.0 413" | "SIP/2.0 513"]);
        assert!(refused, "{name}: {statuses:?}");
    }
}

/// Row I6 of the faults and SX18: a stranger gets no byte, whatever it sends.
#[test]
fn sx18_strangers_get_no_byte() {
    let mut stage = Stage::new();
    for number in 0..1_000 {
        assert_eq!(stage.arrives(0, STRANGER, invite(&format!("flood{number}"))), []);
    }
    stage.give(0, STRANGER.parse().unwrap(), b"OPTIONS sip:10.10.10.1 SIP/2.0\r\n\r\n");
    assert!(matches!(stage.outbox.events(), [Event::Dropped(DropReason::Stranger)]));
    assert_eq!((stage.engine.open_transactions(), stage.engine.poll_timeout()), (0, None));
}

/// Rows F8 and I3: a branch for each request; the same one for the same request, also in another process.
#[test]
fn f8_branches_are_unique_and_derived() {
    let mut first = Stage::new();
    let mut second = Stage::new();
    let mut other_key = Stage::new();
    let settings = Arc::clone(&other_key.settings);
    other_key.engine.apply(settings, Arc::new(ring(2)));
    let mut seen = BTreeSet::new();
    for number in 0..10_000 {
        let call = invite(&format!("unique{number}"));
        let branch = forwarded(&first.arrives(0, TATA, &call)).branch().to_owned();
        assert!(branch.starts_with("z9hG4bK") && branch.len() >= 7 + 22, "{branch}: less than 128 bits");
        assert!(seen.insert(branch.clone()), "{branch} again");
        if number % 100 == 0 {
            assert_eq!(forwarded(&second.arrives(0, TATA, &call)).branch(), branch);
            assert_ne!(forwarded(&other_key.arrives(0, TATA, &call)).branch(), branch);
        }
    }
}

/// Rows RC10 and F10: it rings for an hour, with a 180 each minute; Timer C counts from the last.
#[test]
fn rc10_an_hour_of_ringing() {
    let mut stage = Stage::new();
    let left = stage.arrives(0, TATA, invite("patient"));
    let request = forwarded(&left);
    for minute in 0..60 {
        let at_ms = minute * 60_000 + 100;
        assert_eq!(stage.runs_to(at_ms), [], "minute {minute}");
        let left = stage.arrives(at_ms, PROD, response(&request, "180 Ringing"));
        assert!(matches!(left.as_slice(), [ringing] if ringing.starts("SIP/2.0 180")), "minute {minute}: {left:?}");
    }
    let last_ms = 59 * 60_000 + 100;
    let later = stage.runs_to(last_ms + 181_000);
    assert!(
        matches!(later.as_slice(), [(at, cancel)] if *at == last_ms + 181_000 && cancel.starts("CANCEL")),
        "{later:?}"
    );
}

/// Row H7: a panic at a deadline costs the transaction that it is of. What is due at the same moment has its turn.
#[test]
fn h7_a_panic_at_a_deadline_strands_no_other() {
    let mut stage = Stage::new();
    for name in ["first", "second", "third"] {
        forwarded(&stage.arrives(0, TATA, invite(name)));
    }
    stage.runs_to(31_999);
    // No duration holds 64*T1 of this: whoever asks for it panics, as each call does that nobody has answered.
    let mut broken = proxy::Settings::clone(&stage.settings);
    broken.timers.t1 = Duration::MAX;
    stage.engine.apply(Arc::new(broken), Arc::new(ring(1)));
    let at = Time::from_millis(32_000);
    let Stage { engine, directory, outbox, .. } = &mut stage;
    let told = catch_unwind(AssertUnwindSafe(|| engine.handle_timeout(at, directory, outbox)));
    assert!(told.is_err(), "it panicked");
    stage.outbox.clear();
    assert_eq!(stage.engine.poll_timeout(), Some(at), "two are left of those that are due");

    let sound = Arc::clone(&stage.settings);
    stage.engine.apply(sound, Arc::new(ring(1)));
    let left = stage.runs_to(32_000);
    let told: Vec<&str> =
        left.iter().filter(|(_, left)| left.starts("SIP/2.0 408")).map(|(_, left)| left.header("Call-ID")).collect();
    assert_eq!(told, ["second", "third"]);
}

/// Row I9: whatever was open ends by its timers, and nothing is kept.
#[test]
fn i9_ten_thousand_calls_leave_nothing_behind() {
    let mut stage = Stage::new();
    for number in 0..10_000_u64 {
        let name = format!("call{number}");
        let at_ms = number * 2;
        stage.runs_to(at_ms);
        let request = forwarded(&stage.arrives(at_ms, TATA, invite(&name)));
        let status = match number % 5 {
            0 => "200 OK",
            1 => "486 Busy Here",
            2 => "180 Ringing",
            3 => "503 Service Unavailable",
            _ => "",
        };
        if status.is_empty() {
            continue;
        }
        let left = stage.arrives(at_ms, PROD, response(&request, status));
        let answer = left.iter().find(|left| left.to == TATA.parse().unwrap()).unwrap();
        match status {
            "200 OK" => {
                let ack = stage.arrives(at_ms, TATA, in_dialog(&name, "ACK", 1, answer));
                assert!(forwarded(&ack).starts("ACK"));
            }
            "180 Ringing" => {}
            _ => assert_eq!(stage.arrives(at_ms, TATA, hop_ack(&name, answer)), []),
        }
    }
    assert!(stage.engine.open_transactions() > 5_000);
    stage.comes_to_rest();
}

/// The ring turns in the middle of a call: its retransmissions, responses and dialog are still known.
#[test]
fn an_old_key_still_serves_its_calls() {
    let mut stage = Stage::new();
    let call = invite("keyed");
    let request = forwarded(&stage.arrives(0, TATA, &call));
    let settings = Arc::clone(&stage.settings);
    let turned = KeyRing::new(&Key { id: 2, secret: [2; 32] }, &[Key { id: 1, secret: [1; 32] }]);
    stage.engine.apply(settings, Arc::new(turned));

    let left = stage.arrives(100, TATA, &call);
    assert!(matches!(left.as_slice(), [trying] if trying.starts("SIP/2.0 100")), "forwarded twice: {left:?}");
    let left = stage.arrives(200, PROD, response(&request, "200 OK"));
    let [success] = left.as_slice() else { panic!("{left:?}") };
    let left = stage.arrives(300, TATA, in_dialog("keyed", "ACK", 1, success));
    assert!(forwarded(&left).starts("ACK"));
    let left = stage.arrives(60_000, TATA, in_dialog("keyed", "BYE", 2, success));
    assert!(forwarded(&left).starts("BYE"));
}

/// The ring turns more than once in the life of an INVITE: it stays one call, and its CANCEL is its own.
#[test]
fn every_key_of_a_call_in_setup_is_remembered() {
    let mut stage = Stage::new();
    let call = invite("turning");
    let request = forwarded(&stage.arrives(0, TATA, &call));
    for id in 2..=8 {
        let retired: Vec<Key> = (1..id).map(|id| Key { id, secret: [id; 32] }).collect();
        let turned = KeyRing::new(&Key { id, secret: [id; 32] }, &retired);
        let settings = Arc::clone(&stage.settings);
        stage.engine.apply(settings, Arc::new(turned));
        let left = stage.arrives(u64::from(id), TATA, &call);
        assert!(matches!(left.as_slice(), [trying] if trying.starts("SIP/2.0 100")), "forwarded twice: {left:?}");
    }
    stage.arrives(100, PROD, response(&request, "180 Ringing"));
    let cancel = call.replace("INVITE", "CANCEL");
    let left = stage.arrives(200, TATA, cancel);
    assert!(left.iter().any(|left| left.starts("SIP/2.0 200")), "{left:?}");
    assert_eq!(forwarded(&left).branch(), request.branch());
}

/// The ring turns and forgets: a token of a key that is gone routes nothing.
#[test]
fn sx17_a_forgotten_key_makes_no_dialog() {
    let mut stage = Stage::new();
    let request = forwarded(&stage.arrives(0, TATA, invite("forgotten")));
    let left = stage.arrives(0, PROD, response(&request, "200 OK"));
    let success = left.first().unwrap().clone();
    stage.comes_to_rest();
    let settings = Arc::clone(&stage.settings);
    stage.engine.apply(settings, Arc::new(ring(2)));
    let bye = in_dialog("forgotten", "BYE", 2, &success).replace("sip:prod@10.10.10.1:5070", "sip:x@198.51.100.7");
    let left = stage.arrives(200_000_000, TATA, bye);
    assert!(matches!(left.as_slice(), [refused] if refused.starts("SIP/2.0 403")), "{left:?}");
}

/// Row O5: at the limit new requests are shed, one more or a thousand more; what ends makes room.
#[test]
fn o5_a_full_table_sheds_and_recovers() {
    let mut stage = Stage::with(|settings| settings.limits.transactions = 100);
    for number in 0..1_100 {
        let left = stage.arrives(0, TATA, invite(&format!("full{number}")));
        let shed = left.iter().any(|left| left.starts("SIP/2.0 503"));
        assert_eq!(shed, number >= 100, "call {number}");
        assert!(!shed || left.iter().all(|left| left.header("Retry-After") == "5"));
    }
    assert_eq!(stage.engine.open_transactions(), 100);
    stage.comes_to_rest();
    assert!(forwarded(&stage.arrives(200_000_000, TATA, invite("after"))).starts("INVITE"));
}

/// Row H1: what a journal says of calls that came back holds: their timers, with 64*T1 for one that ran out while nobody
/// listened, because a refresh is sent again for so long; and their age.
#[test]
fn h1_a_timer_that_ran_out_while_nobody_listened_waits_for_its_refresh() {
    let mut stage = Stage::new();
    let now = Time::from_millis(5_000);
    let secs = Duration::from_secs;
    for (key, expires_in) in [(1, Some(0)), (2, Some(10)), (3, Some(100)), (4, None)] {
        let call = RestoredCall {
            key: CallKey(key),
            direction: Direction::Inbound,
            from: PartyId(0),
            toward: PartyId(1),
            did: None,
            call_id: Box::from(&b"call"[..]),
            called: Box::from(&b"918065978001"[..]),
            caller: Box::from(&b"+447700900123"[..]),
            organisation: Box::default(),
            gateway: None,
            began_ago: secs(100),
            answered_ago: Some(secs(90)),
            expires_in: expires_in.map(secs),
            dialog: None,
        };
        stage.engine.restore(now, &call);
    }
    let expires = |key| stage.engine.call(CallKey(key)).unwrap().expires().map(Time::as_millis);
    assert_eq!([1, 2, 3, 4].map(expires), [Some(37_000), Some(37_000), Some(105_000), None]);
    let aged_ms = 5_000 + (u64::from(proxy::limits::CALL_AGE_SECS) - 100) * 1_000;
    for (at_ms, left) in [(36_999, 4), (37_000, 2), (105_000, 1), (aged_ms - 1, 1), (aged_ms, 0)] {
        stage.runs_to(at_ms);
        assert_eq!(stage.engine.call_count(), left, "at {at_ms} ms");
    }
    assert!(stage.engine.counts().is_zero());
}
