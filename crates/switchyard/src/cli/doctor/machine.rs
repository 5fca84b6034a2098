//! What the machine says: folders, keys, addresses, the kernel's limits, routes.

use super::Finding;
use crate::cli::pages::example;
use crate::config::Configuration;
use crate::{keys_file, udp};
use directory::Environment;
use proxy::Transport;
use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The state folder, and the keys in it.
pub(super) fn state(configuration: &Configuration) -> Vec<Finding> {
    let folder = &configuration.state_dir;
    let shown = folder.display();
    if !folder.is_dir() {
        let todo = format!("install -d -o switchyard -g switchyard -m 0750 {shown}");
        return vec![Finding::bad("state folder", format!("{shown}: there is no such folder"), todo)];
    }
    let writable = match tempfile_in(folder) {
        Ok(()) => Finding::good("state folder", format!("{shown} can be written")),
        Err(error) => {
            let todo = "run this as the user that runs the proxy, or chown the folder to that user";
            Finding::bad("state folder", format!("{shown}: {error}"), todo)
        }
    };
    vec![writable, keys(folder)]
}

/// Makes a file and takes it away again.
fn tempfile_in(folder: &Path) -> io::Result<()> {
    let path = folder.join(format!(".doctor-{}", std::process::id()));
    std::fs::OpenOptions::new().write(true).create_new(true).open(&path)?;
    std::fs::remove_file(path)
}

fn keys(folder: &Path) -> Finding {
    let path = folder.join(keys_file::FILE_NAME);
    let is_first_start = !path.exists() && !folder.join(keys_file::MARKER_NAME).exists();
    if is_first_start {
        return Finding::good("token keys", "none yet: the first start makes them");
    }
    let mode = std::fs::metadata(&path).map(|metadata| metadata.permissions().mode() & 0o777);
    match (keys_file::list(folder), mode) {
        (_, Ok(mode)) if mode & 0o177 != 0 => Finding::bad(
            "token keys",
            format!("{} has mode {mode:04o}: others can read the keys", path.display()),
            format!("chmod 0600 {}; then switchyard keys rotate, as they may have been read", path.display()),
        ),
        (Ok(ring), _) => Finding::good("token keys", format!("{} in the ring, for its owner alone", ring.len())),
        (Err(fault), _) => Finding::bad("token keys", fault.to_string(), "put the ring back from a copy"),
    }
}

/// Whether we can listen where the configuration says; a running process does so already.
pub(super) fn listeners(configuration: &Configuration, is_running: bool) -> Vec<Finding> {
    let listeners = &configuration.core.listeners;
    let findings = listeners.iter().map(|listener| {
        let (address, transport) = (listener.address, listener.transport);
        let tried = match transport {
            Transport::Udp => UdpSocket::bind(address).map(drop),
            Transport::Tcp => TcpListener::bind(address).map(drop),
        };
        let word = if transport == Transport::Udp { "udp" } else { "tcp" };
        match tried.map_err(|error| (error.kind(), error)) {
            Ok(()) if is_running => Finding::bad(
                "listener",
                format!("{word}:{address} is free, though the proxy runs"),
                "switchyard status shows where it listens: was the configuration changed since its start?",
            ),
            Ok(()) => Finding::good("listener", format!("{word}:{address} is free")),
            Err((io::ErrorKind::AddrInUse, _)) if is_running => {
                Finding::good("listener", format!("{word}:{address} is taken, by the running proxy as it seems"))
            }
            Err((io::ErrorKind::AddrInUse, _)) => Finding::bad(
                "listener",
                format!("{word}:{address} is taken, and no proxy of this state folder runs"),
                format!("ss -lnp 'sport = :{}' says by whom; a PBX gives this address up first", address.port()),
            ),
            Err((io::ErrorKind::AddrNotAvailable, _)) => Finding::warning(
                "listener",
                format!("{word}:{address}: no interface has this address now"),
                "is the tunnel up? wg show; ip address",
            ),
            Err((_, error)) => {
                Finding::bad("listener", format!("{word}:{address}: {error}"), "choose another in sip.listen")
            }
        }
    });
    findings.collect()
}

/// The kernel's limits, interfaces that the configuration names, forwarding for media. `root` is what the kernel's own file
/// systems stand in.
pub(super) fn kernel(configuration: &Configuration, root: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, key) in [("rmem_max", "net.core.rmem_max"), ("wmem_max", "net.core.wmem_max")] {
        let path = root.join("proc/sys/net/core").join(name);
        let wanted = udp::BUFFER_BYTES as u64;
        let todo = format!("{}, into /etc/sysctl.d; then sysctl --system", example("sysctl/60-switchyard.conf"));
        findings.push(match number_in(&path) {
            Some(found) if found >= wanted => Finding::good("socket buffers", format!("{key} = {found}")),
            Some(found) => Finding::warning(
                "socket buffers",
                format!("{key} = {found}, {wanted} are asked for: a burst is lost in silence"),
                todo,
            ),
            None => Finding::warning(
                "socket buffers",
                format!("{} cannot be read", path.display()),
                format!("sysctl {key}"),
            ),
        });
    }
    for name in &configuration.core.interfaces {
        findings.push(match root.join("sys/class/net").join(&**name).exists() {
            true => Finding::good("interface", format!("{name} is there")),
            false => Finding::warning(
                "interface",
                format!("{name} is not there: what the configuration ties to it is a stranger's"),
                format!("systemctl status wg-quick@{name}"),
            ),
        });
    }
    if configuration.core.environment == Environment::Prod {
        findings.push(match number_in(&root.join("proc/sys/net/ipv4/ip_forward")) {
            Some(1) => Finding::good("forwarding", "net.ipv4.ip_forward = 1: media of other environments can pass"),
            _ => Finding::warning(
                "forwarding",
                "net.ipv4.ip_forward is not 1: media between the gateway and other environments does not pass",
                "sysctl -w net.ipv4.ip_forward=1, unless media goes another way",
            ),
        });
    }
    findings
}

fn number_in(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Whether the kernel knows a way from our listener to every peer. Nothing is sent.
pub(super) fn routes(configuration: &Configuration) -> Vec<Finding> {
    let core = &configuration.core;
    let listener_of = |peer: &proxy::Peer| core.listeners.get(usize::from(peer.listener.0)).map(|found| found.address);
    let peers = core.parties.iter().flat_map(|party| &party.peers);
    let ways: BTreeSet<(SocketAddr, SocketAddr)> =
        peers.filter_map(|peer| Some((peer.address, listener_of(peer)?))).collect();
    let findings = ways.into_iter().map(|(peer, listener)| {
        let local = SocketAddr::new(listener.ip(), 0);
        match UdpSocket::bind(local).and_then(|socket| socket.connect(peer)) {
            Ok(()) => Finding::good("route", format!("{} reaches for {peer}", listener.ip())),
            Err(error) => Finding::warning(
                "route",
                format!("from {} to {peer}: {error}", listener.ip()),
                format!("ip route get {} from {}", peer.ip(), listener.ip()),
            ),
        }
    });
    findings.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::{Verdict, configured};
    use std::fs;

    /// What was found of one thing.
    fn of(findings: &[Finding], what: &str) -> Vec<(Verdict, String)> {
        let about = findings.iter().filter(|finding| finding.what == what);
        about.map(|finding| (finding.verdict, finding.found.clone())).collect()
    }

    #[test]
    fn small_buffers_missing_interfaces_and_media_that_cannot_pass_are_named() {
        let root = tempfile::tempdir().unwrap();
        let configuration =
            configured("[[trunk]]\nname = \"tata\"\ngateways = [\"udp:10.10.10.2:5060\"]\ninterface = \"wg7\"\n");
        let looked = || kernel(&configuration, root.path());
        // Nothing can be read: that is no good news either.
        assert!(looked().iter().all(|finding| finding.verdict == Verdict::Warning), "{:?}", looked());
        for folder in ["proc/sys/net/core", "proc/sys/net/ipv4", "sys/class/net"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let write = |path: &str, text: &str| fs::write(root.path().join("proc/sys/net").join(path), text).unwrap();
        write("core/rmem_max", "212992\n");
        write("core/wmem_max", "4194304\n");
        write("ipv4/ip_forward", "0\n");
        let found = looked();
        let buffers = of(&found, "socket buffers");
        let small = (
            Verdict::Warning,
            "net.core.rmem_max = 212992, 4194304 are asked for: a burst is lost in silence".to_owned(),
        );
        assert_eq!(buffers, [small, (Verdict::Good, "net.core.wmem_max = 4194304".to_owned())]);
        assert_eq!(of(&found, "interface")[0].0, Verdict::Warning);
        assert!(of(&found, "forwarding")[0].1.starts_with("net.ipv4.ip_forward is not 1"), "{found:?}");
        write("core/rmem_max", "8388608\n");
        write("ipv4/ip_forward", "1\n");
        fs::create_dir(root.path().join("sys/class/net/wg7")).unwrap();
        assert!(looked().iter().all(|finding| finding.verdict == Verdict::Good), "{:?}", looked());
    }

    #[test]
    fn a_peer_without_a_way_and_a_folder_that_is_not_there_are_named() {
        let configuration = configured(
            "state_dir = \"/nowhere/switchyard\"\n[sip]\nlisten = [\"udp:127.0.0.1:5060\"]\n[[trunk]]\nname = \"tata\"\n\
             gateways = [\"udp:10.10.10.2:5060\", \"udp:127.0.0.2:5060\"]\n",
        );
        let ways = routes(&configuration);
        let to = |peer: &str| ways.iter().find(|way| way.found.contains(peer)).map(|way| way.verdict);
        // Nothing leaves this machine from its loopback's address.
        assert_eq!(
            [to("10.10.10.2:5060"), to("127.0.0.2:5060")],
            [Some(Verdict::Warning), Some(Verdict::Good)],
            "{ways:?}"
        );
        let folder = state(&configuration);
        assert!(folder.len() == 1 && folder[0].verdict == Verdict::Bad, "{folder:?}");
    }

    #[test]
    fn an_address_that_is_not_ours_yet_is_no_fault_and_one_that_is_taken_is() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let of_listen = |listen: &str, is_running| {
            let configuration = configured(&format!("[sip]\nlisten = [\"{listen}\"]\n"));
            listeners(&configuration, is_running).remove(0).verdict
        };
        assert_eq!(of_listen(&format!("udp:{address}"), false), Verdict::Bad);
        assert_eq!(of_listen(&format!("udp:{address}"), true), Verdict::Good);
        assert_eq!(of_listen("udp:192.0.2.7:5060", false), Verdict::Warning);
        drop(taken);
        assert_eq!(of_listen(&format!("udp:{address}"), true), Verdict::Bad, "the process listens elsewhere");
    }
}
