//! kill -9 in the middle of calls.

use crate::site::{STAGING_DID, Site};
use lab::Node;
use lab::process::{PATIENCE, until};
use lab::sipp::{Calls, Party};

/// Ten calls are up for 5 seconds; in between the program is killed and started again.
fn killed_in_the_middle(seed: u64, scenario: &str) -> (Site, String) {
    let mut site = Site::up(seed);
    let lasting = ["-d", "5000"];
    let calls = Calls { number: STAGING_DID, count: 10, per_second: 20, more: &lasting };
    let place = site.place(Node::Staging);
    let callee = Party::callee_with(&place, scenario, crate::site::sip(Node::Staging), calls.count, &lasting);
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
