//! The packet filters of `deploy/wireguard`, which every lab loads: what they stop, and what they must let through.

use crate::interfaces::claim_the_gateways_address;
use crate::site::{PROXY, Site, sip};
use lab::Node;
use lab::process::until;
use std::net::{SocketAddrV4, UdpSocket};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

/// Packets that a counter of the node's filter has seen.
fn counted(site: &Site, node: Node, counter: &str) -> u64 {
    let shown = site.lab.ran(node, "nft", &["list", "counter", "inet", "switchyard", counter]).unwrap();
    let mut words = shown.split_whitespace().skip_while(|word| *word != "packets");
    words.nth(1).and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no count in {shown}"))
}

/// Sends from a new socket on `from` (the strangers' side with `None`).
fn send(site: &Site, from: Option<Node>, bind: SocketAddrV4, to: SocketAddrV4) {
    let socket = site.lab.inside(from, move || UdpSocket::bind(bind)).unwrap().unwrap();
    socket.send_to(b"x", to).unwrap();
}

/// One datagram arrives at a socket of `node`.
fn arrives(site: &Site, node: Node, at: SocketAddrV4, send: impl FnOnce()) {
    let socket = site.socket(node, at);
    send();
    let mut slot = [0; 16];
    assert_eq!(socket.recv_from(&mut slot).unwrap().0, 1, "{node:?} {at}");
}

#[test]
fn nobody_outside_claims_a_tunnel_address_even_without_the_reverse_path_check() {
    let site = Site::up(40);
    for interface in ["all", "eth0", "wg0"] {
        site.lab.ran(Node::Prod, "sysctl", &["-q", "-w", &format!("net.ipv4.conf.{interface}.rp_filter=0")]).unwrap();
    }
    claim_the_gateways_address(&site);
    send(&site, None, SocketAddrV4::new(Node::Nuc.address(), 5060), PROXY);
    until(|| "the claim to be counted".to_owned(), SOON, || counted(&site, Node::Prod, "claimed") == 1);
    // Under an address of its own a stranger does not reach the tunnel's address either.
    send(&site, None, SocketAddrV4::new(Node::Prod.wan_address(), 5060), PROXY);
    until(|| "the aim to be counted".to_owned(), SOON, || counted(&site, Node::Prod, "aimed") == 1);
    // The gateway's own is the first that the proxy receives.
    send(&site, Some(Node::Nuc), sip(Node::Nuc), PROXY);
    until(|| "the gateway's datagram".to_owned(), SOON, || site.program.count("udp received") > 0);
    assert_eq!(site.program.count("udp received"), 1, "a datagram from outside reached the proxy");
}

#[test]
fn phones_reach_the_public_port_and_nodes_only_what_is_theirs() {
    let site = Site::up(41);
    let any = |node: Node| SocketAddrV4::new(node.address(), 0);
    // A phone at the PBX's public port, which the filter does not touch.
    let public = SocketAddrV4::new(Node::Prod.outer_address(), 5060);
    let stranger = SocketAddrV4::new(Node::Prod.wan_address(), 0);
    arrives(&site, Node::Prod, public, || send(&site, None, stranger, public));
    // The gateway's way to the PBX itself, for the time without the proxy.
    arrives(&site, Node::Prod, sip(Node::Prod), || send(&site, Some(Node::Nuc), any(Node::Nuc), sip(Node::Prod)));
    // Media between two nodes by way of the hub; SIP between them does not pass it.
    let media = SocketAddrV4::new(Node::Staging.address(), 12_000);
    arrives(&site, Node::Staging, media, || send(&site, Some(Node::Nuc), any(Node::Nuc), media));
    send(&site, Some(Node::Nuc), any(Node::Nuc), sip(Node::Staging));
    until(|| "SIP between nodes to be counted".to_owned(), SOON, || counted(&site, Node::Prod, "forwarded") == 1);
    // The database's port, from a node.
    send(&site, Some(Node::Staging), any(Node::Staging), SocketAddrV4::new(Node::Prod.address(), 3_306));
    until(|| "the database's port to be counted".to_owned(), SOON, || counted(&site, Node::Prod, "refused") == 1);
    // On a node, only the hub speaks SIP.
    arrives(&site, Node::Staging, sip(Node::Staging), || {
        send(&site, Some(Node::Prod), any(Node::Prod), sip(Node::Staging));
    });
}
