//! A clean machine becomes the node `prod` of the lab: the tunnel, the filter and the package by the pages, from `init` to a
//! call with sound.

use std::fs;
use std::net::{SocketAddrV4, UdpSocket};

use lab::phone::Phone;
use lab::process::{PATIENCE, until};
use lab::{Lab, Node};

use crate::machine::{Machine, System, codename, until_it_says};
use crate::{CONFIGURATION, PROXY, examples, install, packages};

/// A number of staging in the package's examples.
const STAGING_DID: &str = "+918065978021";
const EXAMPLES: &str = "/usr/share/doc/switchyard/examples";

/// A lab without its own tunnel and filter on prod, and a clean machine in their place. In the order in which they go.
struct Site {
    machine: Machine,
    lab: Lab,
}

fn site() -> Site {
    let lab = Lab::up(72).unwrap();
    let tunnel = lab.path("prod/wg0.conf");
    lab.ran(Node::Prod, "wg-quick", &["down", tunnel.to_str().unwrap()]).unwrap();
    lab.ran(Node::Prod, "nft", &["delete", "table", "inet", "switchyard"]).unwrap();
    let machine = Machine::boot_on(&System { release: &codename(), packages: "" }, &lab, Node::Prod);
    Site { machine, lab }
}

/// What docs/how-to/tunnel.md says for prod. The keys are the lab's, whose other nodes know them.
fn joined(site: &Site) {
    let Site { machine, lab } = site;
    let needed = "iproute2 nftables procps wireguard-go wireguard-tools";
    machine.online(&format!("apt-get --quiet install --yes --no-install-recommends {needed}"));
    fs::copy(lab.path("prod/wg0.conf"), machine.file("/etc/wireguard/wg0.conf")).unwrap();
    machine.says("chmod 0600 /etc/wireguard/wg0.conf && systemctl enable --now wg-quick@wg0");
    // A spoke that had a session with the hub of before finds out 15 s after it sent data that nothing answers. A keep-alive
    // is no data: without any it finds out when its key is two minutes old.
    let hub = SocketAddrV4::new(Node::Prod.address(), 9);
    for spoke in Node::SPOKES {
        let sent = lab.inside(Some(spoke), move || UdpSocket::bind("0.0.0.0:0")?.send_to(b"anybody there?", hub));
        sent.unwrap().unwrap();
    }
    machine.says(&format!(
        "mkdir -p /etc/nftables.d && cp {EXAMPLES}/wireguard/prod.nft /etc/nftables.d/switchyard.nft && \
         echo 'include \"/etc/nftables.d/*.nft\"' >>/etc/nftables.conf && systemctl enable --now nftables"
    ));
    until_it_says(machine, "wg show wg0 latest-handshakes | grep -cv '\t0$'", "3");
}

#[test]
fn from_init_to_a_call_with_sound_through_the_tunnel() {
    let site = site();
    site.machine.online("apt-get --quiet update");
    install(&site.machine, &packages().debs[0]);
    joined(&site);
    let Site { machine, lab } = &site;

    machine.says("switchyard init");
    // Whoever has a tunnel says so: what comes by another way is not believed, and a cut is told from a silent PBX.
    let behind = "interface = \"wg0\"\\nwireguard = \"wg0\"";
    machine.says(&format!("sed -i -e '/^gateways = /a {behind}' -e '/10.10.10.3:5080/a {behind}' {CONFIGURATION}"));
    machine.says("switchyard check");
    examples(machine);
    let callee = Phone::start(&lab.place(Node::Staging).unwrap(), sip(Node::Staging, 5080), STAGING_DID, 880, None);
    let report = machine.says("switchyard doctor");
    for node in [Node::Nuc, Node::Staging] {
        assert!(report.contains(&format!("on the way to {}", node.address())), "{node:?}: {report}");
    }
    assert!(report.contains(&format!("1392 bytes reach {} uncut", sip(Node::Staging, 5080))), "{report}");
    machine.says("systemctl enable --now switchyard");
    until_it_says(machine, "switchyard status", "55 DIDs");

    let dial = format!("sip:{STAGING_DID}@{PROXY}");
    let place = lab.place(Node::Nuc).unwrap();
    let mut caller = Phone::start(&place, sip(Node::Nuc, 5060), "+447700900123", 440, Some(&dial));
    let heard = (callee.heard_hz(), caller.heard_hz());
    assert!((435..=445).contains(&heard.0), "the callee heard {} Hz instead of 440\n{}", heard.0, callee.log());
    assert!((875..=885).contains(&heard.1), "the caller heard {} Hz instead of 880\n{}", heard.1, caller.log());
    caller.hang_up();
    until(
        || format!("the callee to see the end of the call\n{}", callee.log()),
        PATIENCE,
        || callee.log().contains("session closed"),
    );
    until_it_says(machine, "switchyard calls", STAGING_DID.trim_start_matches('+'));
    let log = machine.says("journalctl --unit switchyard --output cat --grep 'call ended'");
    assert!(log.contains("staging"), "{log}");
    assert_eq!(machine.says("systemctl show --property NRestarts --value switchyard").trim(), "0");
}

fn sip(node: Node, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(node.address(), port)
}
