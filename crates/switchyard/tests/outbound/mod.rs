//! Calls out with the caller ID rewritten, through the real program, with real SIPp at both ends, over UDP and TCP: each
//! side sees its own From and To throughout (rows O2 and SX7).

use crate::stage::Stage;
use crate::stage::caller::{Caller, KNOWN, NUMBER, TRUNK};
use lab::sipp::Party;

const FORWARDING: &str = "fallback_did = \"+918065080729\"\nidentity.pass_forwarded_caller = true\n";

const ANONYMOUS: Caller = Caller {
    from: "\"Asha\" <sip:org_a1b2c3d4_1001@pbx.example.net>",
    privacy: "Privacy: id",
    shown: "\"Anonymous\" <sip:anonymous@anonymous.invalid>",
    ..KNOWN
};

/// Somebody calls a number of ours, and is sent on: the first caller is not shown unless the trunk allows it.
const FORWARDED: Caller = Caller {
    from: "\"First\" <sip:+447700900555@pbx.example.net>",
    diversion: "Diversion: <sip:08065978001@pbx.example.net>;reason=unconditional",
    diverted: Some("<sip:+918065978001@pbx.example.net>;reason=unconditional"),
    ..KNOWN
};

const FORWARDED_SHOWN: Caller = Caller { shown: "<sip:+447700900555@pbx.example.net>", ..FORWARDED };

fn one_call(network: u8, transport: &str, trunk: &str, scenario: &str, caller: &Caller) {
    let stage = Stage::start_with(network, transport, trunk);
    let callee = Party::callee_over(&stage, transport, scenario, stage.gateway());
    let ways = (stage.pbx("prod"), stage.proxy());
    let party = Party::pbx_over(&stage, transport, scenario, ways, NUMBER, &caller.keys());
    let (sent, arrived) = (party.succeeded(), callee.succeeded());
    caller.is_seen(&sent, &arrived);
}

#[test]
fn o2_a_call_out_is_changed_from_both_sides_over_udp() {
    one_call(90, "udp", TRUNK, "out-reinvite", &KNOWN);
}

#[test]
fn o2_a_call_out_is_changed_from_both_sides_over_tcp() {
    one_call(91, "tcp", TRUNK, "out-reinvite", &KNOWN);
}

#[test]
fn o2_an_early_bye_over_udp() {
    one_call(92, "udp", TRUNK, "out-early-bye", &KNOWN);
}

#[test]
fn o2_an_early_bye_over_tcp() {
    one_call(93, "tcp", TRUNK, "out-early-bye", &KNOWN);
}

#[test]
fn o2_a_cancel_over_udp() {
    one_call(94, "udp", TRUNK, "out-cancel", &KNOWN);
}

#[test]
fn o2_a_cancel_over_tcp() {
    one_call(95, "tcp", TRUNK, "out-cancel", &KNOWN);
}

#[test]
fn o2_an_anonymous_caller_over_udp() {
    one_call(96, "udp", TRUNK, "out-reinvite", &ANONYMOUS);
}

#[test]
fn o2_an_anonymous_caller_over_tcp() {
    one_call(97, "tcp", TRUNK, "out-reinvite", &ANONYMOUS);
}

#[test]
fn o2_sx7_a_forwarded_call_over_udp() {
    one_call(98, "udp", TRUNK, "out-reinvite", &FORWARDED);
    one_call(100, "udp", FORWARDING, "out-reinvite", &FORWARDED_SHOWN);
}

#[test]
fn o2_sx7_a_forwarded_call_over_tcp() {
    one_call(99, "tcp", TRUNK, "out-reinvite", &FORWARDED);
    one_call(101, "tcp", FORWARDING, "out-reinvite", &FORWARDED_SHOWN);
}
