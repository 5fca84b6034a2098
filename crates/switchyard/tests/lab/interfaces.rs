//! Interfaces, addresses and who speaks on them.

use crate::site::{PROD_DID, PROXY, STAGING_DID, Site, sip};
use lab::process::until;
use lab::program::CONFIGURATION;
use lab::sipp::Calls;
use lab::{Impairment, Node};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

/// Gives the strangers' side the gateway's address, and a way to the proxy past the tunnel.
pub(crate) fn claim_the_gateways_address(site: &Site) {
    let wan = site.lab.wan();
    let ip = |arguments: &[&str]| {
        let status = std::process::Command::new("ip").args(["-n", &wan]).args(arguments).status().unwrap();
        assert!(status.success(), "ip {arguments:?}");
    };
    ip(&["address", "add", "10.10.10.2/32", "dev", "lo"]);
    ip(&["route", "add", "10.10.10.1/32", "via", &Node::Prod.outer_address().to_string(), "src", "10.10.10.2"]);
}

/// A message of a call that a test writes by hand.
fn request(method: &str, uri: &str, from: SocketAddrV4, more: &str) -> String {
    let number = if method == "BYE" { 2 } else { 1 };
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {from};rport;branch=z9hG4bK-lab-{method}-{number}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:+447700900123@{from}>;tag=caller\r\nCall-ID: by-hand@{from}\r\n\
         CSeq: {number} {method}\r\nContact: <sip:party@{from}>\r\n{more}Content-Length: 0\r\n\r\n"
    )
}

/// A packet from the outer interface that claims to be the gateway. Only its interface tells: the kernel is told to
/// let it in, and the node's packet filter is taken away.
#[test]
fn a_packet_from_outside_that_claims_to_be_the_gateway_gets_silence() {
    let site = Site::up(30);
    site.lab.ran(Node::Prod, "nft", &["delete", "table", "inet", "switchyard"]).unwrap();
    for interface in ["all", "eth0", "wg0"] {
        site.lab.ran(Node::Prod, "sysctl", &["-q", "-w", &format!("net.ipv4.conf.{interface}.rp_filter=0")]).unwrap();
    }
    let pbx = site.silence(Node::Prod);
    let gateway = site.silence(Node::Nuc);
    claim_the_gateways_address(&site);
    let tap = site.capture(Node::Prod, "eth0");
    let claimed = SocketAddrV4::new(Node::Nuc.address(), 5060);
    let impostor = site.lab.inside(None, move || UdpSocket::bind(claimed)).unwrap().unwrap();
    impostor.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let uri = format!("sip:{PROD_DID}@{PROXY}");
    let to = format!("To: <{uri}>\r\n");
    for method in ["INVITE", "OPTIONS", "BYE"] {
        impostor.send_to(request(method, &uri, claimed, &to).as_bytes(), PROXY).unwrap();
    }
    until(
        || "three packets from outside".to_owned(),
        Duration::from_secs(10),
        || tap.so_far().packets.iter().filter(|p| p.from == claimed && p.to == PROXY).count() == 3,
    );
    until(
        || "the program to count three strangers".to_owned(),
        Duration::from_secs(10),
        || site.program.count("dropped: stranger") == 3,
    );
    assert!(impostor.recv_from(&mut [0; 2_048]).is_err(), "the impostor was answered");
    pbx.held();
    gateway.held();

    // The gateway itself, by the tunnel, is served.
    drop((pbx, gateway));
    let callee = site.callee("call", Node::Prod, 1);
    site.caller("call", Node::Nuc, Calls::one(PROD_DID)).succeeded();
    callee.succeeded();
}

/// The files of `deploy/wireguard` let each key bring one address only: no other even leaves the hub's tunnel.
#[test]
fn a_packet_from_the_tunnel_is_only_who_its_key_says() {
    let site = Site::up(31);
    // staging claims to be the gateway: the hub's AllowedIPs do not let it.
    site.lab.ran(Node::Staging, "ip", &["address", "add", "10.10.10.2/32", "dev", "lo"]).unwrap();
    let claimed = SocketAddrV4::new(Node::Nuc.address(), 5060);
    let tap = site.capture(Node::Staging, "wg0");
    let arrived = site.capture(Node::Prod, "wg0");
    let impostor = site.socket(Node::Staging, claimed);
    let uri = format!("sip:{PROD_DID}@{PROXY}");
    let to = format!("To: <{uri}>\r\n");
    impostor.send_to(request("OPTIONS", &uri, claimed, &to).as_bytes(), PROXY).unwrap();
    until(
        || "the packet to leave staging".to_owned(),
        Duration::from_secs(10),
        || tap.so_far().packets.iter().any(|p| p.from == claimed && p.to == PROXY),
    );
    // What comes later from staging itself has arrived: then the other would have, too.
    let own = site.socket(Node::Staging, sip(Node::Staging));
    own.send_to(request("OPTIONS", &format!("sip:{PROXY}"), sip(Node::Staging), &to).as_bytes(), PROXY).unwrap();
    let mut slot = [0; 2_048];
    let (size, _) = own.recv_from(&mut slot).unwrap();
    assert!(slot[..size].starts_with(b"SIP/2.0 200 "));
    until(
        || "staging's own packet in the capture".to_owned(),
        Duration::from_secs(10),
        || arrived.so_far().packets.iter().any(|p| p.from == sip(Node::Staging) && p.to == PROXY),
    );
    let packets = arrived.so_far().packets;
    assert!(packets.iter().all(|p| p.from.ip() != claimed.ip()), "{packets:?}");
}

/// Row W8: the tunnel's address goes, then the whole interface, then the default route; each comes back, and calls go
/// through within 5 seconds of that.
#[test]
fn w8_calls_go_through_again_when_address_interface_and_route_come_back() {
    let site = Site::up(32);
    let tunnel = ["address", "show", "dev", "wg0"];
    let on_prod = |arguments: &[&str]| site.lab.ran(Node::Prod, "ip", arguments).unwrap();
    let call_goes_through = |what: &str| {
        let back = Instant::now();
        let callee = site.callee("call", Node::Staging, 1);
        site.caller("call", Node::Nuc, Calls::one(STAGING_DID)).succeeded();
        callee.succeeded();
        let took = back.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?} after {what}");
    };
    call_goes_through("the start");
    on_prod(&["address", "del", "10.10.10.1/24", "dev", "wg0"]);
    assert!(!on_prod(&tunnel).contains("10.10.10.1"));
    on_prod(&["address", "add", "10.10.10.1/24", "dev", "wg0"]);
    call_goes_through("the address came back");
    on_prod(&["link", "set", "wg0", "down"]);
    on_prod(&["link", "set", "wg0", "up"]);
    call_goes_through("the interface came back");
    let default = Node::Prod.wan_address().to_string();
    on_prod(&["route", "del", "default"]);
    on_prod(&["route", "add", "default", "via", &default]);
    call_goes_through("the route came back");
}

/// Row W4: two PBXs do not answer, one behind a tunnel that is cut, the other behind one that lives: each is told for what it is.
#[test]
#[ignore = "full set: a tunnel is silent for 30 s before it counts as down"]
fn w4_a_silent_pbx_is_told_from_a_tunnel_that_is_cut() {
    let behind = CONFIGURATION.replace("interface = \"wg0\"\n", "interface = \"wg0\"\nwireguard = \"wg0\"\n");
    let site = Site::with(34, &behind.replace("interval = \"0s\"", "interval = \"1s\"\ntimeout = \"500ms\""));
    site.lab.relay().impair_path(Node::Staging, Impairment::CUT);
    let is_told = |node: Node, verdict: &str| {
        let (peer, log) = (sip(node).to_string(), site.program.log());
        log.lines().any(|line| line.contains("why a peer is down") && line.contains(&peer) && line.contains(verdict))
    };
    until(
        || format!("both verdicts\n{}", site.program.log()),
        Duration::from_secs(90),
        || is_told(Node::Staging, "tunnel down") && is_told(Node::Oss, "PBX down"),
    );
    assert!(!is_told(Node::Staging, "PBX down") && !is_told(Node::Oss, "tunnel down"), "{}", site.program.log());
}

/// Row W12: the caller's port changes in the middle of the dialog, as behind a NAT: the answer follows rport, the
/// dialog its route.
#[test]
fn w12_a_bye_from_another_port_finds_its_dialog_and_its_answer_the_port() {
    let site = Site::up(33);
    let callee = site.callee("call", Node::Staging, 1);
    let (before, after) = (sip(Node::Nuc), SocketAddrV4::new(Node::Nuc.address(), 40_123));
    let first = site.socket(Node::Nuc, before);
    let uri = format!("sip:{STAGING_DID}@{PROXY}");
    first.send_to(request("INVITE", &uri, before, &format!("To: <{uri}>\r\n")).as_bytes(), PROXY).unwrap();
    let answer = loop {
        let answer = message(&first);
        if answer.starts_with("SIP/2.0 200 ") {
            break answer;
        }
        assert!(answer.starts_with("SIP/2.0 1"), "{answer}");
    };
    let line = |name: &str| answer.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    let more = format!("To: {}\r\nRoute: {}\r\n", line("To:"), line("Record-Route:"));
    let target = line("Contact:").trim_matches(['<', '>']).to_owned();
    first.send_to(request("ACK", &target, before, &more).as_bytes(), PROXY).unwrap();
    let second = site.socket(Node::Nuc, after);
    // The Via names the old port still.
    second.send_to(request("BYE", &target, before, &more).as_bytes(), PROXY).unwrap();
    let answer = message(&second);
    assert!(answer.starts_with("SIP/2.0 200 ") && answer.contains("CSeq: 2 BYE"), "{answer}");
    callee.succeeded();
}

fn message(socket: &UdpSocket) -> String {
    let mut slot = [0; 65_536];
    let (size, _) = socket.recv_from(&mut slot).unwrap();
    String::from_utf8_lossy(slot.get(..size).unwrap()).into_owned()
}

#[test]
fn addresses_are_those_of_the_topology() {
    assert_eq!(PROXY.ip(), &Ipv4Addr::new(10, 10, 10, 1));
    assert_eq!(sip(Node::Staging).to_string(), "10.10.10.3:5080");
}
