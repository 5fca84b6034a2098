//! Whole calls through the real program, with real SIPp at both ends.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the lint's leave for tests does not reach the functions they share"
)]

mod capture;
mod logging;
mod metrics;
mod outbound;
mod stage;

use lab::process::{PATIENCE, until};
use lab::silence::Silence;
use lab::sipp::{Calls, Party};
use stage::Stage;
use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

/// Nothing may arrive at this environment's PBX.
fn silence(stage: &Stage, environment: &str) -> Silence {
    Silence::at(UdpSocket::bind(stage.pbx(environment)).unwrap())
}

/// One call by the scenario pair of this name, from the gateway to a DID of prod; what the PBX sent and received.
fn one_call(network: u8, scenario: &str) -> String {
    let stage = Stage::start(network);
    let elsewhere = [silence(&stage, "staging"), silence(&stage, "oss")];
    let callee = Party::callee(&stage, scenario, stage.pbx("prod"), 1);
    let caller = Party::caller(&stage, scenario, stage.gateway(), stage.proxy(), Calls::one("+918065978000"));
    caller.succeeded();
    let messages = callee.succeeded();
    elsewhere.iter().for_each(Silence::held);
    messages
}

/// One call to a number in each of its three spellings; each must come to this environment and to no other.
fn spellings(network: u8, environment: &str, spellings: [&str; 3]) {
    let stage = Stage::start(network);
    let others = ["prod", "staging", "oss"].into_iter().filter(|other| *other != environment);
    let elsewhere: Vec<Silence> = others.map(|other| silence(&stage, other)).collect();
    let callee = Party::callee(&stage, "call", stage.pbx(environment), 3);
    for number in spellings {
        Party::caller(&stage, "call", stage.gateway(), stage.proxy(), Calls::one(number)).succeeded();
    }
    let messages = callee.succeeded();
    for number in spellings {
        let line = format!("INVITE sip:{number}@{} SIP/2.0", stage.pbx(environment));
        assert!(messages.contains(&line), "{line:?} did not arrive at {environment}:\n{messages}");
    }
    elsewhere.iter().for_each(Silence::held);
}

#[test]
fn calls_to_prod_in_each_spelling() {
    spellings(60, "prod", ["+918065978000", "918065978000", "08065978000"]);
}

#[test]
fn calls_to_staging_in_each_spelling() {
    spellings(61, "staging", ["+918065978021", "918065978021", "08065978021"]);
}

#[test]
fn calls_to_oss_in_each_spelling() {
    spellings(62, "oss", ["+918065978025", "918065978025", "08065978025"]);
}

#[test]
fn an_unknown_did_is_not_found_and_rings_nowhere() {
    let stage = Stage::start(63);
    let nowhere = ["prod", "staging", "oss"].map(|environment| silence(&stage, environment));
    let calls = Calls::one("+918065979999");
    Party::caller(&stage, "not-found", stage.gateway(), stage.proxy(), calls).succeeded();
    nowhere.iter().for_each(Silence::held);
}

#[test]
fn a_busy_party_is_busy() {
    one_call(64, "busy");
}

#[test]
fn nobody_answers_and_the_caller_gives_up() {
    one_call(65, "no-answer");
}

#[test]
fn a_redirection_passes() {
    one_call(66, "redirect");
}

#[test]
fn a_fax_changes_its_call_to_t38() {
    one_call(67, "t38");
}

#[test]
fn prack_passes() {
    one_call(68, "prack");
}

#[test]
fn update_passes_from_either_side() {
    one_call(69, "update");
}

#[test]
fn info_passes_from_either_side() {
    one_call(70, "info");
}

#[test]
fn refer_and_its_notify_pass() {
    one_call(71, "refer");
}

#[test]
fn the_caller_ends_the_call() {
    let messages = one_call(72, "call");
    assert!(messages.contains("\nBYE sip:party@"), "{messages}");
}

#[test]
fn the_callee_ends_the_call() {
    one_call(73, "callee-ends");
}

#[test]
fn a_pbx_calls_out_by_the_gateway() {
    let stage = Stage::start(74);
    let callee = Party::callee(&stage, "call", stage.gateway(), 1);
    let calls = Calls::one("+447700900456");
    Party::caller(&stage, "call", stage.pbx("prod"), stage.proxy(), calls).succeeded();
    callee.succeeded();
}

#[test]
fn a_thousand_calls_at_200_a_second_and_none_fails() {
    let stage = Stage::start(75);
    let calls = Calls { number: "+918065978000", count: 1_000, per_second: 200, more: &[] };
    let callee = Party::callee(&stage, "call", stage.pbx("prod"), calls.count);
    let caller = Party::caller(&stage, "call", stage.gateway(), stage.proxy(), calls);
    caller.succeeded();
    callee.succeeded();
}

/// The Call-IDs of one side's messages of this kind: `ACK sip:`, say.
fn calls_of(messages: &str, holds: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let of_kind = messages.split("\n-----").filter(|message| holds(message));
    of_kind.filter_map(|message| Some(message.split_once("Call-ID: ")?.1.lines().next()?.to_owned())).collect()
}

/// Rows H1 and RC12: kill -9 under load, 75 calls a second in each direction: from a trunk to the PBX of prod, ended by
/// their caller, and from the PBX of oss to the other trunk, ended by their callee. Each is held for three seconds, so some
/// hundreds are up when the program is killed and others are in setup. All of them end with their BYE, as do those that
/// begin while nobody serves: SIPp counts not one that failed.
#[test]
fn h1_rc12_kill_9_under_load_fails_no_call() {
    const CALLS: u32 = 450;
    const SECOND_TRUNK: &str = "caller_id = \"pass\"\n[[trunk]]\nname = \"second\"\n\
        gateways = [\"udp:127.0.76.7:5060\"]\ncaller_id = \"pass\"\n";
    let mut stage = Stage::start_with(76, "udp", SECOND_TRUNK);
    // A 200 that comes twice, because its ACK was lost with the program, is no reason for SIPp to give up a call.
    const PATIENT: [&str; 2] = ["-default_behaviors", "all,-abortunexp"];
    let calls = |number| Calls { number, count: CALLS, per_second: 75, more: &PATIENT };
    let (second, oss) = (stage.at(7), stage.pbx("oss"));
    let callees = [
        Party::callee_with(&stage, "held", stage.pbx("prod"), CALLS, &PATIENT),
        Party::callee_with(&stage, "held-callee-ends", stage.gateway(), CALLS, &PATIENT),
    ];
    let callers = [
        Party::caller(&stage, "held", second, stage.proxy(), calls("+918065978000")),
        Party::caller(&stage, "held-callee-ends", oss, stage.proxy(), calls("+447700900456")),
    ];
    let is_up = |message: &str| message.contains("\nACK sip:");
    let is_ended = |message: &str| message.contains("\nSIP/2.0 200 ") && message.contains(" BYE\r");
    let up = || callers.each_ref().map(|caller| calls_of(&caller.messages(), is_up));
    let are_up = || {
        std::thread::park_timeout(Duration::from_millis(100));
        callers.iter().all(|caller| caller.messages().matches("\nACK sip:").count() >= 190)
    };
    until(|| "calls that are up".to_owned(), PATIENCE, are_up);
    let ended = callers.each_ref().map(|caller| calls_of(&caller.messages(), is_ended));
    let up = up();
    let asked =
        callers.each_ref().map(|caller| calls_of(&caller.messages(), |message| message.contains("\nINVITE sip:")));
    let killed = Instant::now();
    stage.kill_and_restart();
    let away = killed.elapsed();
    let callers = callers.map(Party::succeeded);
    callees.into_iter().for_each(|callee| {
        callee.succeeded();
    });
    for (at, messages) in callers.iter().enumerate() {
        let (asked, up, ended) = (asked.get(at).unwrap(), up.get(at).unwrap(), ended.get(at).unwrap());
        let (setup, held) = (asked.difference(up).count(), up.difference(ended).count());
        assert!(asked.len() < 450 && setup >= 10 && held >= 100, "killed in the midst of it: {setup} and {held}");
        assert!(up.is_subset(&calls_of(messages, is_ended)), "a call that was up did not end with its BYE");
        println!("of {CALLS} calls {held} were up and {setup} in setup when the program was killed; away for {away:?}");
    }
}
