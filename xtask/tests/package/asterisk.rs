//! The files of `deploy/asterisk` in Asterisk 22, on the gateway and on the PBX of staging: it takes them without a word, and
//! calls go both ways through the tunnels.

use std::fs;
use std::net::SocketAddrV4;
use std::path::Path;

use lab::phone::Phone;
use lab::process::{PATIENCE, until};
use lab::program::{CONFIGURATION, Program};
use lab::sipp::Party;
use lab::{Lab, Node};

use crate::machine::{Machine, System, text, until_it_says};
use crate::program;

/// Debian's releases have no Asterisk; where the next one grows, 22 is to be had.
const SYSTEM: System = System { release: "sid", packages: "asterisk" };

const STAGING_DID: &str = "+918065978021";
/// Somebody in the public network.
const PSTN: &str = "+447700900200";
/// The number that the user org_a1b2c3d4_1001 of the made-up rows shows outside.
const SHOWN: &str = "918065978003";

/// The carrier, on a port of the gateway's own node.
const CARRIER: SocketAddrV4 = SocketAddrV4::new(Node::Nuc.address(), 5064);
/// Where the gateway speaks with the carrier.
const TO_CARRIER: SocketAddrV4 = SocketAddrV4::new(Node::Nuc.address(), 5062);
/// Where the PBX of staging speaks with the proxy and with phones, and a phone of its own.
const PBX: SocketAddrV4 = SocketAddrV4::new(Node::Staging.address(), 5080);
const TO_PHONES: SocketAddrV4 = SocketAddrV4::new(Node::Staging.address(), 5060);
const PHONE: SocketAddrV4 = SocketAddrV4::new(Node::Staging.address(), 5066);

/// A party that is known by its address, `carrier` or a phone, and where it is spoken with.
fn party(name: &str, address: SocketAddrV4, context: &str, at: SocketAddrV4) -> String {
    format!(
        "[transport-{name}]\ntype = transport\nprotocol = udp\nbind = {at}\n\
         [{name}]\ntype = endpoint\ntransport = transport-{name}\ncontext = {context}\ndisallow = all\nallow = alaw\n\
         aors = {name}\n[{name}]\ntype = aor\ncontact = sip:{address}\n\
         [{name}]\ntype = identify\nendpoint = {name}\nmatch = {address}\n"
    )
}

/// Asterisk on a node, as it was before us.
fn asterisk(lab: &Lab, node: Node, pjsip: &str, dialplan: &str) -> Machine {
    let machine = Machine::boot_on(&SYSTEM, lab, node);
    let etc = machine.file("/etc/asterisk");
    fs::write(etc.join("pjsip.conf"), pjsip).unwrap();
    fs::write(etc.join("extensions.conf"), dialplan).unwrap();
    machine.says("systemctl restart asterisk && asterisk -rx 'core waitfullybooted'");
    machine
}

/// Gives it our files of a side, and puts them into force as docs/how-to/switch-over.md says.
fn given(machine: &Machine, side: &str, into_force: &[&str]) {
    let (of, etc) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/asterisk"), machine.file("/etc/asterisk"));
    for (file, of_theirs) in
        [("pjsip_switchyard.conf", "pjsip.conf"), ("extensions_switchyard.conf", "extensions.conf")]
    {
        let ours = fs::read_to_string(of.join(side).join(file)).unwrap();
        let ours = ours.replace("ADDRESS", &PBX.ip().to_string()).replace("PORT", &PBX.port().to_string());
        fs::write(etc.join(file), ours).unwrap();
        let theirs = fs::read_to_string(etc.join(of_theirs)).unwrap();
        fs::write(etc.join(of_theirs), format!("{theirs}\n#include {file}\n")).unwrap();
    }
    if side == "pbx" {
        fs::copy(of.join("pbx/rtp.conf"), etc.join("rtp.conf")).unwrap();
    }
    let page = fs::read_to_string(of.join("../../docs/how-to/switch-over.md")).unwrap();
    for command in into_force {
        assert!(page.contains(&format!("`asterisk -rx \"{command}\"`")), "the page does not say {command:?}");
        // One that restarts takes the line of who asked with it.
        machine.run(&format!("asterisk -rx '{command}'"));
    }
}

/// What it says of the proxy, and nothing of a fault in our files.
fn took_our_files(machine: &Machine, endpoints: &[&str]) {
    let shown = machine.says("asterisk -rx 'pjsip show endpoints'");
    for endpoint in endpoints {
        assert!(shown.contains(&format!(" Endpoint:  {endpoint} ")), "{endpoint}: {shown}");
    }
    let transports = machine.says("asterisk -rx 'pjsip show transports'");
    assert!(transports.contains("transport-tunnel ") && transports.contains("transport-tunnel-tcp"), "{transports}");
    let log = machine.says("cat /var/log/asterisk/messages*");
    // These two modules of its own want to be set up.
    let is_theirs = |line: &str| line.contains("res_pjsip_publish_asterisk") || line.contains("res_hep");
    let is_fault = |line: &&str| line.contains("ERROR[") || line.contains("WARNING[");
    let of_ours = |line: &&str| ["_switchyard.conf", "sorcery", "pjsip"].iter().any(|word| line.contains(word));
    let faults: Vec<&str> = log.lines().filter(is_fault).filter(of_ours).filter(|line| !is_theirs(line)).collect();
    assert_eq!(faults, [""; 0]);
    let settings = machine.says("asterisk -rx 'rtp show settings'");
    assert!(settings.contains("10000") && settings.contains("20000"), "{settings}");
}

#[test]
#[ignore = "full set: it fetches another release of Debian, for its Asterisk"]
fn asterisk_takes_the_files_and_carries_calls_both_ways() {
    let lab = Lab::up(73).unwrap();
    let caller_id = "[caller_id]\nendpoint_header = \"X-Astradial-Endpoint\"\n";
    let proxy = Program::start(&lab.place(Node::Prod).unwrap(), &program(), &format!("{CONFIGURATION}\n{caller_id}"));
    let carrier = party("carrier", CARRIER, "from-carrier", TO_CARRIER);
    let gateway = asterisk(&lab, Node::Nuc, &carrier, "");
    given(&gateway, "nuc", &["module reload res_pjsip.so", "dialplan reload"]);
    let phone = party("org_a1b2c3d4_1001", PHONE, "outbound", TO_PHONES);
    // What it hears it says, so that whoever calls hears himself.
    let dialplan = "[tata-inbound]\nexten => _[+0-9]!,1,Answer()\n same => n,Echo()\n\
                    [outbound]\nexten => _[+0-9]!,1,Gosub(to-switchyard,s,1(${EXTEN}))\n same => n,Hangup()\n";
    let pbx = asterisk(&lab, Node::Staging, &phone, dialplan);
    given(&pbx, "pbx", &["core restart when convenient"]);
    for (machine, node) in [(&gateway, "gateway"), (&pbx, "PBX")] {
        let available = "asterisk -rx 'pjsip show contacts' | grep 'switchyard/sip:10.10.10.1:5060' || echo none";
        until_it_says(machine, available, "Avail");
        assert!(!machine.says("asterisk -rx 'dialplan show from-switchyard'").contains("no existence"), "{node}");
    }
    took_our_files(&gateway, &["carrier", "switchyard", "prod-pbx"]);
    took_our_files(&pbx, &["switchyard"]);

    // From the carrier by the gateway and the proxy to staging, and the sound all the way back.
    let place = lab.place(Node::Nuc).unwrap();
    let dial = format!("sip:{STAGING_DID}@{TO_CARRIER}");
    let mut caller = Phone::start(&place, CARRIER, PSTN, 440, Some(&dial));
    let heard = caller.heard_hz();
    assert!((435..=445).contains(&heard), "the caller heard {heard} Hz instead of 440\n{}", caller.log());
    caller.hang_up();
    let is_over = || text(&pbx.run("asterisk -rx 'core show channels count'").stdout);
    until(|| format!("the end of the call: {}", is_over()), PATIENCE, || is_over().contains("0 active calls"));

    // And out: the header names the phone's endpoint, so that the carrier sees the user's own number; the header is gone.
    let callee = Party::callee(&place, "call", CARRIER, 1);
    let out = format!("sip:{PSTN}@{TO_PHONES}");
    let mut phone = Phone::start(&lab.place(Node::Staging).unwrap(), PHONE, "1001", 880, Some(&out));
    until(
        || format!("the call to be up\n{}\n{}", callee.messages(), proxy.log()),
        PATIENCE,
        || callee.messages().contains("ACK sip:"),
    );
    phone.hang_up();
    let messages = callee.succeeded();
    let from = messages.lines().find(|line| line.starts_with("From:")).unwrap();
    assert!(from.contains(SHOWN) && !messages.contains("X-Astradial-Endpoint"), "{messages}");
}
