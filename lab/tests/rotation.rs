//! docs/how-to/rotate-keys.md, the part about WireGuard, with its own commands: a node gets a new key, and the other tunnels
//! stand meanwhile.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the lint's leave for tests does not reach the functions they share"
)]

use lab::process::{PATIENCE, until};
use lab::{Lab, Node};
use std::net::{SocketAddrV4, UdpSocket};
use std::time::Duration;

/// A command that the page has in its prose, for the files of a node of the lab in place of a machine's.
fn documented(beginning: &str) -> String {
    let page = include_str!("../../docs/how-to/rotate-keys.md");
    let mut spans = page.split('`').skip(1).step_by(2);
    let span =
        spans.find(|span| span.starts_with(beginning)).unwrap_or_else(|| panic!("no command is {beginning:?} .."));
    span.replace("/etc/wireguard", "/run").replace("strip wg0", "strip /run/wg0.conf")
}

fn bash(lab: &Lab, node: Node, command: &str) -> String {
    lab.ran(node, "bash", &["-o", "pipefail", "-ec", command]).unwrap()
}

/// Whether a datagram comes from a node to prod, within a second.
fn passes(lab: &Lab, to: &UdpSocket, from: Node) -> bool {
    let own = SocketAddrV4::new(from.address(), 0);
    let socket = lab.inside(Some(from), move || UdpSocket::bind(own)).unwrap().unwrap();
    socket.send_to(from.name().as_bytes(), to.local_addr().unwrap()).unwrap();
    let mut slot = [0; 64];
    // What was sent before its tunnel stood may come late.
    std::iter::from_fn(|| to.recv_from(&mut slot).ok().map(|(_, who)| who)).any(|who| who.ip() == *own.ip())
}

/// Replaces the line of a file that begins with this, below the line `after`.
fn replaced(lab: &Lab, node: Node, after: &str, key: &str, value: &str) {
    let path = lab.path(&format!("{}/wg0.conf", node.name()));
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(after).unwrap_or_else(|| panic!("{after:?} is not in {text}"));
    let line = rest.lines().find(|line| line.starts_with(key)).unwrap();
    std::fs::write(&path, format!("{before}{after}{}", rest.replacen(line, &format!("{key} = {value}"), 1))).unwrap();
}

#[test]
fn a_node_gets_a_new_key_while_the_other_tunnels_stand() {
    let lab = Lab::up(74).unwrap();
    let at = SocketAddrV4::new(Node::Prod.address(), 5060);
    let prod = lab.inside(Some(Node::Prod), move || UdpSocket::bind(at)).unwrap().unwrap();
    prod.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    assert!(passes(&lab, &prod, Node::Staging) && passes(&lab, &prod, Node::Nuc));
    let keys = |of: &str| bash(&lab, Node::Prod, &format!("wg show wg0 {of}"));
    let allowed = keys("allowed-ips");
    let line = allowed.lines().find(|line| line.contains(&Node::Staging.address().to_string())).unwrap();
    let old = line.split('\t').next().unwrap();

    let public = bash(&lab, Node::Staging, &documented("umask 077; wg genkey"));
    let private = bash(&lab, Node::Staging, "stat --format %a /run/new.key && cat /run/new.key");
    let private = private.strip_prefix("600\n").unwrap_or_else(|| panic!("others may read the new key: {private}"));
    let into_force = documented("wg syncconf");
    replaced(&lab, Node::Prod, "# staging.", "PublicKey", public.trim());
    bash(&lab, Node::Prod, &into_force);
    assert!(passes(&lab, &prod, Node::Nuc), "the gateway's tunnel did not stand");
    assert!(!passes(&lab, &prod, Node::Staging), "the old key is still believed");
    replaced(&lab, Node::Staging, "[Interface]", "PrivateKey", private.trim());
    bash(&lab, Node::Staging, &into_force);

    until(|| "a datagram by the new key".to_owned(), 2 * PATIENCE, || passes(&lab, &prod, Node::Staging));
    assert!(passes(&lab, &prod, Node::Nuc) && passes(&lab, &prod, Node::Oss));
    let shaken = keys("latest-handshakes");
    assert!(!shaken.contains(old), "the old key is still a peer: {shaken}");
    let new = shaken.lines().find(|line| line.starts_with(public.trim())).unwrap_or_else(|| panic!("{shaken}"));
    assert!(!new.ends_with("\t0"), "{shaken}");
}
