//! What must cost nothing costs nothing: a retransmission, a drop and a refusal allocate no memory (architecture: "The
//! boundary, as a contract"). Everything stands in one test, since the counter counts the whole process.

mod stage;

use stage::{PROD, STRANGER, Stage, TATA, hop_ack, invite, response};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::net::SocketAddr;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Allocations and reallocations while the engine takes these bytes. The outbox has room from earlier calls.
fn allocations(stage: &mut Stage, at_ms: u64, from: SocketAddr, bytes: &[u8]) -> usize {
    stage.outbox.clear();
    let region = Region::new(ALLOCATOR);
    stage.give(at_ms, from, bytes);
    let change = region.change();
    change.allocations + change.reallocations
}

/// When the stage is warm: every slot of the timer wheel, pool and buffer has had its use.
const WARM_MS: u64 = 400_000;

/// More than the warming offers.
const RATE: u32 = 40;

/// Refuses calls for longer than the wheel's first levels take to turn, then waits until they are over.
fn warm(stage: &mut Stage) {
    for number in 0..(WARM_MS - 10_000) / 50 {
        stage.runs_to(number * 50);
        let call = invite(&format!("warm{number}")).replace("978001", "978009");
        let left = stage.arrives(number * 50, TATA, &call);
        for refused in left {
            stage.arrives(number * 50, TATA, hop_ack(&format!("warm{number}"), &refused));
        }
    }
    stage.runs_to(WARM_MS);
}

/// Row X2, and rule 14 of what refusing costs.
#[test]
fn retransmissions_drops_and_refusals_allocate_nothing() {
    let (tata, prod, stranger): (SocketAddr, SocketAddr, SocketAddr) =
        (TATA.parse().unwrap(), PROD.parse().unwrap(), STRANGER.parse().unwrap());
    let mut stage = Stage::with(|settings| settings.limits.requests_per_second = RATE);
    warm(&mut stage);
    let now = WARM_MS + 100;

    let call = invite("call");
    let left = stage.arrives(WARM_MS, TATA, &call);
    let forwarded = left.iter().find(|left| left.starts("INVITE")).unwrap().clone();
    let busy = response(&forwarded, "486 Busy Here");
    let guessed = busy.replace(forwarded.branch(), "z9hG4bKguessed");

    assert_eq!(allocations(&mut stage, now, tata, call.as_bytes()), 0, "a retransmitted INVITE in Proceeding");
    assert_eq!(stage.taken().len(), 1, "its 100 again");
    assert_eq!(allocations(&mut stage, now, stranger, call.as_bytes()), 0, "a stranger's INVITE");
    assert_eq!(allocations(&mut stage, now, stranger, &[0xFF; 60_000]), 0, "a stranger's noise");
    assert_eq!(allocations(&mut stage, now, prod, guessed.as_bytes()), 0, "a response on a guessed branch");
    assert_eq!(allocations(&mut stage, now, tata, b"\r\n\r\n"), 0, "a keepalive");

    stage.arrives(now, PROD, &busy);
    assert_eq!(allocations(&mut stage, now, tata, call.as_bytes()), 0, "a retransmitted INVITE in Completed");
    assert_eq!(stage.taken().len(), 1, "its 486 again");
    assert_eq!(allocations(&mut stage, now, prod, busy.as_bytes()), 0, "a retransmitted 486");
    assert_eq!(stage.taken().len(), 1, "its ACK again");

    let unknown = invite("unknown").replace("978001", "978009");
    assert_eq!(allocations(&mut stage, now, tata, unknown.as_bytes()), 0, "an unknown number: 404");
    assert_eq!(stage.taken().len(), 1);
    let foreign = invite("foreign").replace("@10.10.10.1:5060", "@198.51.100.7");
    assert_eq!(allocations(&mut stage, now, tata, foreign.as_bytes()), 0, "a foreign target: 403");
    assert_eq!(stage.taken().len(), 1);
    let hops = invite("hops").replace("Max-Forwards: 70", "Max-Forwards: 0");
    assert_eq!(allocations(&mut stage, now, tata, hops.as_bytes()), 0, "no hops left: 483");
    assert_eq!(stage.taken().len(), 1);
    let bad = invite("bad").replace("CSeq: 1 INVITE", "CSeq: one INVITE");
    assert_eq!(allocations(&mut stage, now, tata, bad.as_bytes()), 0, "malformed: 400");
    assert_eq!(stage.taken().len(), 1);

    stage.engine.set_behind(true);
    assert_eq!(allocations(&mut stage, now, tata, invite("behind").as_bytes()), 0, "behind: 503");
    assert!(stage.taken()[0].starts("SIP/2.0 503"));
    stage.engine.set_behind(false);
    let scan = stage::invite_with("scan", "User-Agent: friendly-scanner\r\n", "");
    assert_eq!(allocations(&mut stage, now, tata, scan.as_bytes()), 0, "a scanner");
    assert_eq!(stage.taken(), []);
    for number in 0..RATE {
        stage.give(now, tata, invite(&format!("rate{number}")).replace("978001", "978009").as_bytes());
    }
    stage.taken();
    let above = invite("above");
    assert_eq!(allocations(&mut stage, now, tata, above.as_bytes()), 0, "above its rate: 480");
    let refused = stage.taken();
    assert!(refused[0].starts("SIP/2.0 480"));
    assert_eq!(allocations(&mut stage, now, tata, hop_ack("above", &refused[0]).as_bytes()), 0, "its ACK");
    assert_eq!(stage.taken(), []);
}
