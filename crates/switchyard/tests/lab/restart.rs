//! kill -9 in the middle of calls.

use crate::site::{PROXY, STAGING_DID, Site, sip};
use lab::Node;
use lab::phones::{self, Callees, Plan};
use lab::process::{PATIENCE, until};
use lab::sipp::{Calls, Party};
use std::time::Duration;

/// Ten calls are up for 5 seconds; in between the program is killed and started again.
fn killed_in_the_middle(seed: u64, scenario: &str) -> (Site, String) {
    let mut site = Site::up(seed);
    let lasting = ["-d", "5000"];
    let calls = Calls { number: STAGING_DID, count: 10, per_second: 20, more: &lasting };
    let place = site.place(Node::Staging);
    let callee = Party::callee_with(&place, scenario, sip(Node::Staging), calls.count, &lasting);
    let caller = site.caller(scenario, Node::Nuc, calls);
    until(
        || "ten calls to be up".to_owned(),
        PATIENCE,
        || callee.messages().matches("\nACK sip:").count() == 10 && !callee.messages().contains("\nBYE sip:"),
    );
    site.program.kill_and_restart();
    caller.succeeded();
    let messages = callee.succeeded();
    assert_eq!(site.program.count("in dialog: BYE"), 10, "every BYE went by way of the new process");
    (site, messages)
}

/// Row H1, for calls that are up.
#[test]
fn h1_calls_outlive_kill_9_and_are_ended_by_the_caller() {
    let (_site, messages) = killed_in_the_middle(20, "call");
    assert_eq!(messages.matches("\nBYE sip:party@10.10.10.3:5080 ").count(), 10, "{messages}");
}

/// Row H1, for calls that are up.
#[test]
fn h1_calls_outlive_kill_9_and_are_ended_by_the_callee() {
    killed_in_the_middle(21, "callee-ends");
}

/// Rows H1 and RC12, for calls in setup: they ring when the program is killed, and are answered while it is away or after. The
/// new process knows none of them; finals, ACKs and BYEs pass it all the same.
#[test]
fn h1_rc12_calls_that_ring_outlive_kill_9() {
    let mut site = Site::up(22);
    let callees = Callees::ringing(site.socket(Node::Staging, sip(Node::Staging)), Duration::from_secs(6));
    let (phones, seen) = (site.socket(Node::Nuc, sip(Node::Nuc)), site.capture(Node::Nuc, "wg0"));
    let plan = Plan { number: STAGING_DID, count: 10, per_second: 50, hold: Duration::from_secs(1) };
    let calling = std::thread::spawn(move || phones::call(&phones, PROXY, plan));
    let came =
        |status: &str| seen.so_far().packets.iter().filter(|it| it.payload.starts_with(status.as_bytes())).count();
    until(|| "ten calls to ring".to_owned(), PATIENCE, || came("SIP/2.0 180 ") >= plan.count);
    assert_eq!(came("SIP/2.0 200 "), 0, "answered before the program was killed");
    site.program.kill_and_restart();
    let called = calling.join().unwrap();
    let answered = callees.end();
    assert_eq!((called.completed, called.answered_twice), (plan.count, 0), "{:#?}", called.failed);
    assert!(answered.branches.len() == plan.count && answered.branches.values().all(|branches| branches.len() == 1));
    assert_eq!(answered.ended.len(), plan.count);
    assert_eq!(site.program.count("in dialog: BYE"), 10, "every BYE went by way of the new process");
}
