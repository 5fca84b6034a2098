//! Calls with programs that are not ours beside us: Kamailio before and behind, baresip at both ends.
#![expect(clippy::unwrap_used, reason = "the lint's leave for tests does not reach the functions they share")]

mod stage;

use lab::phone::Phone;
use lab::process::{PATIENCE, Process, until};
use lab::sipp::{Calls, Party};
use stage::{Stage, caller};
use std::net::SocketAddrV4;
use std::process::Command;

/// A Kamailio that stays in the route of every call and sends new ones to `next`.
fn kamailio(stage: &Stage, address: SocketAddrV4, next: SocketAddrV4) -> Process {
    let folder = stage.as_ref().path(&format!("kamailio-{}", address.ip()));
    std::fs::create_dir(&folder).unwrap();
    let script = KAMAILIO.replace("ADDRESS", &address.to_string()).replace("NEXT", &next.to_string());
    std::fs::write(folder.join("kamailio.cfg"), script).unwrap();
    let mut command = Command::new("kamailio");
    command.current_dir(&folder).arg("-f").arg(folder.join("kamailio.cfg")).args(["-DD", "-E", "-m", "32", "-M", "4"]);
    command.arg("-w").arg(&folder).arg("-Y").arg(&folder);
    let mut process = Process::start(&mut command, &folder.join("log"), "kamailio");
    process.bound(address);
    process
}

const KAMAILIO: &str = r#"#!KAMAILIO
children=1
disable_tcp=yes
auto_aliases=no
listen=udp:ADDRESS
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
request_route {
    if (!mf_process_maxfwd_header("70")) { sl_send_reply("483", "Too Many Hops"); exit; }
    if (is_method("CANCEL")) { if (t_check_trans()) t_relay(); exit; }
    if (has_totag()) {
        if (loose_route()) { t_relay(); exit; }
        if (is_method("ACK") && t_check_trans()) { t_relay(); exit; }
        sl_send_reply("404", "Not in a route of mine");
        exit;
    }
    t_check_trans();
    if (is_method("INVITE")) record_route();
    $ru = "sip:" + $rU + "@NEXT";
    t_relay();
}
"#;

/// Gateway's side, Kamailio, switchyard, Kamailio, PBX's side. Returns what each end sent and received.
fn through_three(network: u8, scenario: &str) -> (Stage, String, String) {
    let stage = Stage::start(network);
    let (caller, callee) = (stage.at(6), stage.at(7));
    let _before = kamailio(&stage, stage.gateway(), stage.proxy());
    let _behind = kamailio(&stage, stage.pbx("prod"), callee);
    let party = Party::callee(&stage, scenario, callee, 1);
    let calls = Calls::one("+918065978000");
    let called = Party::caller(&stage, scenario, caller, stage.gateway(), calls).succeeded();
    (stage, called, party.succeeded())
}

/// Every request of `method` that is in `messages` came by all three: it has their Vias.
fn came_by_all(stage: &Stage, messages: &str, method: &str) {
    let line = format!("{method} sip:");
    let received = messages.split("\n-----").filter(|text| text.contains("UDP message received"));
    let requests: Vec<&str> = received.filter(|text| text.contains(&format!("\n{line}"))).collect();
    assert!(!requests.is_empty(), "no {method} arrived:\n{messages}");
    for request in requests {
        for hop in [stage.gateway(), stage.proxy(), stage.pbx("prod")] {
            let ours = format!("SIP/2.0/UDP {};", hop.ip());
            let with_port = format!("SIP/2.0/UDP {hop};");
            assert!(request.contains(&ours) || request.contains(&with_port), "not by way of {hop}:\n{request}");
        }
    }
}

#[test]
fn a_dialog_through_kamailio_on_both_sides_is_ended_by_its_caller() {
    let (stage, _, callee) = through_three(80, "call");
    ["INVITE", "ACK", "BYE"].iter().for_each(|method| came_by_all(&stage, &callee, method));
}

#[test]
fn a_dialog_through_kamailio_on_both_sides_is_changed_and_ended_by_its_callee() {
    let (stage, caller, callee) = through_three(81, "reinvite");
    ["INVITE", "ACK"].iter().for_each(|method| came_by_all(&stage, &callee, method));
    ["INVITE", "ACK", "BYE"].iter().for_each(|method| came_by_all(&stage, &caller, method));
}

/// Row O2: the same way out, with the caller ID rewritten between the two; both ends change the call, and the callee
/// ends it.
#[test]
fn o2_a_rewritten_dialog_through_kamailio_on_both_sides_is_changed_by_each_end() {
    let stage = Stage::start_with(83, "udp", caller::TRUNK);
    let (ours, theirs) = (stage.at(6), stage.at(7));
    let _before = kamailio(&stage, stage.pbx("prod"), stage.proxy());
    let _behind = kamailio(&stage, stage.gateway(), theirs);
    let callee = Party::callee_over(&stage, "udp", "out-reinvite", theirs);
    let ways = (ours, stage.pbx("prod"));
    let party = Party::pbx_over(&stage, "udp", "out-reinvite", ways, caller::NUMBER, &caller::KNOWN.keys());
    let (sent, arrived) = (party.succeeded(), callee.succeeded());
    caller::KNOWN.is_seen(&sent, &arrived);
    ["INVITE", "ACK"].iter().for_each(|method| came_by_all(&stage, &arrived, method));
    ["INVITE", "ACK", "BYE"].iter().for_each(|method| came_by_all(&stage, &sent, method));
}

#[test]
fn two_phones_hear_each_other() {
    let stage = Stage::start(82);
    let callee = Phone::start(&stage, stage.pbx("prod"), "+918065978000", 880, None);
    let number = format!("sip:+918065978000@{}", stage.proxy());
    let mut caller = Phone::start(&stage, stage.gateway(), "+447700900123", 440, Some(&number));
    let heard = (callee.heard_hz(), caller.heard_hz());
    assert!((435..=445).contains(&heard.0), "the callee heard {} Hz instead of 440\n{}", heard.0, callee.log());
    assert!((875..=885).contains(&heard.1), "the caller heard {} Hz instead of 880\n{}", heard.1, caller.log());
    caller.hang_up();
    until(
        || format!("the callee to see the end of the call\n{}", callee.log()),
        PATIENCE,
        || callee.log().contains("session closed"),
    );
}
