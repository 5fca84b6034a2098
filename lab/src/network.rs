//! Namespaces, cables and tunnels.

use crate::Node;
use crate::namespace::{command, entry};
use crate::relay::Relay;
use crate::run::Run;
use crate::wireguard::{Keys, PORT};
use anyhow::{Context, Result, bail};
use std::net::SocketAddrV4;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long the first handshake of each tunnel may take; WireGuard tries again every 5 seconds.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// Makes the namespaces: one per node, and `wan`, to which the outer interface of each node leads. Nothing is forwarded
/// there; only the relay joins what comes.
pub(crate) fn cable(run: &Run) -> Result<()> {
    let wan = run.namespace("wan");
    for namespace in Node::ALL.map(Node::name).into_iter().chain(["wan"]) {
        ip(&["netns", "add", &run.namespace(namespace)])?;
        ip(&["-n", &run.namespace(namespace), "link", "set", "lo", "up"])?;
    }
    for node in Node::ALL {
        let (namespace, cable) = (run.namespace(node.name()), node.name());
        let cidr = |address| format!("{address}/30");
        ip(&["link", "add", "eth0", "netns", &namespace, "type", "veth", "peer", "name", cable, "netns", &wan])?;
        ip(&["-n", &namespace, "address", "add", &cidr(node.outer_address()), "dev", "eth0"])?;
        ip(&["-n", &wan, "address", "add", &cidr(node.wan_address()), "dev", cable])?;
        ip(&["-n", &namespace, "link", "set", "eth0", "up"])?;
        ip(&["-n", &wan, "link", "set", cable, "up"])?;
        ip(&["-n", &namespace, "route", "add", "default", "via", &node.wan_address().to_string()])?;
    }
    Ok(())
}

/// Brings `wg0` up on every node with `wg-quick` and the files of `deploy/wireguard`, its packet filter among them, and
/// waits until each spoke has shaken hands with the hub.
pub(crate) fn tunnel(run: &Run) -> Result<()> {
    let keys = Keys::generate()?;
    for node in Node::ALL {
        let endpoint = match node {
            Node::Prod => SocketAddrV4::new(Node::Prod.outer_address(), PORT),
            _ => Relay::endpoint(node),
        };
        let folder = folder(run, node)?;
        let path = folder.join("wg0.conf");
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&path);
        std::io::Write::write_all(&mut file?, keys.configuration(node, endpoint)?.as_bytes())?;
        let mut up = command(&entry_of(run, node)?, "wg-quick");
        succeeds(up.arg("up").arg(&path)).context("wg-quick and wireguard-go come with the packages of these names")?;
        let rules = folder.join("switchyard.nft");
        std::fs::write(&rules, rules_of(node))?;
        let mut load = command(&entry_of(run, node)?, "nft");
        succeeds(load.arg("-f").arg(&rules)).context("nft comes with the package nftables")?;
    }
    handshakes(run)
}

/// What may reach the node's address in the tunnel.
fn rules_of(node: Node) -> &'static str {
    match node {
        Node::Prod => include_str!("../../deploy/wireguard/prod.nft"),
        Node::Nuc | Node::Staging | Node::Oss => include_str!("../../deploy/wireguard/spoke.nft"),
    }
}

/// The words before a program that runs on `node`.
pub(crate) fn entry_of(run: &Run, node: Node) -> Result<Vec<String>> {
    Ok(entry(&run.namespace(node.name()), &folder(run, node)?))
}

/// The folder that is the node's `/run`.
fn folder(run: &Run, node: Node) -> Result<PathBuf> {
    let folder = run.folder().join(node.name());
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    Ok(folder)
}

fn handshakes(run: &Run) -> Result<()> {
    let begun = Instant::now();
    loop {
        let mut show = command(&entry_of(run, Node::Prod)?, "wg");
        let shown = succeeds(show.args(["show", "wg0", "latest-handshakes"]))?;
        let shaken = shown.lines().filter(|line| !line.ends_with("\t0")).count();
        if shaken == Node::SPOKES.len() {
            return Ok(());
        }
        if begun.elapsed() > HANDSHAKE {
            bail!("after {HANDSHAKE:?} only {shaken} of the spokes have shaken hands:\n{shown}");
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

pub(crate) fn ip(arguments: &[&str]) -> Result<()> {
    succeeds(Command::new("ip").args(arguments)).map(drop)
}

/// Runs to the end; what it printed, or a fault with what it complained of.
pub(crate) fn succeeds(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("{command:?} ended with {}: {complaint}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
