//! What the ways to the peers say: the last handshake of their tunnels, and the largest datagram that passes.

use super::Finding;
use crate::cli::pages::page;
use crate::config::Configuration;
use crate::probe::{Handshake, Handshakes, probe_of_bytes};
use nix::sys::socket::{getsockopt, sockopt};
use proxy::{Peer, Transport};
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover};
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

/// What a tunnel carries in one packet: WireGuard's usual MTU.
const TUNNEL_MTU: usize = 1_420;
/// Bytes of a datagram that every path carries, and that our smaller probe needs.
const SMALL_BYTES: usize = 500;
/// How long an answer is waited for; a datagram is sent so often.
const WAIT: Duration = Duration::from_millis(500);
const TRIES: usize = 2;
/// A handshake that is older is no session any more (WireGuard's REJECT_AFTER_TIME).
const SESSION: Duration = Duration::from_secs(180);
/// An INVITE with SDP and what PBXs add is this large: a path that carries less cuts it into fragments.
const INVITE_BYTES: usize = 1_300;

/// Each peer that stands behind a WireGuard interface: whether that has a session with what leads there.
pub(super) fn handshakes(configuration: &Configuration) -> Vec<Finding> {
    let mut interfaces: BTreeMap<&str, Vec<SocketAddr>> = BTreeMap::new();
    for (party, interface) in &configuration.probe.tunnels {
        let parties = configuration.core.parties.iter().filter(|found| found.name == *party);
        let peers = parties.flat_map(|found| found.peers.iter().map(|peer| peer.address));
        interfaces.entry(interface).or_default().extend(peers);
    }
    let mut findings = Vec::new();
    for (interface, peers) in interfaces {
        match Handshakes::of(interface) {
            Ok(seen) => findings.extend(peers.into_iter().map(|peer| handshake(interface, peer, seen.with(peer.ip())))),
            Err(why) => findings.push(Finding::warning(
                "handshake",
                format!("{interface}: {why}"),
                "run this as root: only who may administer the network is shown tunnels",
            )),
        }
    }
    findings
}

fn handshake(interface: &str, peer: SocketAddr, found: Handshake) -> Finding {
    let page = page("how-to/lose-the-tunnel.md");
    let mend = format!("is the other end up? its endpoint, port 51820/udp, both public keys: {page}");
    match found {
        Handshake::NoWay => Finding::bad(
            "handshake",
            format!("{interface} has no peer whose AllowedIPs hold {}", peer.ip()),
            format!("add it to AllowedIPs of the peer that leads there, in /etc/wireguard/{interface}.conf"),
        ),
        Handshake::Never => Finding::bad("handshake", format!("{interface} never had one on the way to {peer}"), mend),
        Handshake::Ago(age) if age > SESSION => {
            let told = format!("{interface}: the last on the way to {peer} was {} s ago", age.as_secs());
            Finding::bad("handshake", told, mend)
        }
        Handshake::Ago(age) => {
            Finding::good("handshake", format!("{interface}: {} s ago on the way to {peer}", age.as_secs()))
        }
    }
}

/// What became of the datagrams to one peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Passage {
    /// The peer, or its machine, answered to one of this size.
    Passes,
    /// The kernel, or a machine on the way, takes at most so many bytes of a datagram.
    TooLarge(usize),
    /// Small ones are answered, large ones are not.
    LargeVanish,
    /// Nothing is answered.
    Silent,
}

/// Sends each peer that takes datagrams an OPTIONS that fills a tunnel's packet and may not be cut, each from the
/// address that its calls come from. All at once: it takes two seconds where nothing answers.
pub(super) fn sizes(configuration: &Configuration) -> Vec<Finding> {
    let core = &configuration.core;
    let mut ways: BTreeMap<(SocketAddr, SocketAddr), Peer> = BTreeMap::new();
    for peer in core.parties.iter().flat_map(|party| &party.peers).filter(|peer| peer.transport == Transport::Udp) {
        if let Some(listener) = core.listeners.get(usize::from(peer.listener.0)) {
            ways.insert((peer.address, listener.address), *peer);
        }
    }
    let asking: Vec<_> = ways
        .into_iter()
        .map(|((address, own), peer)| (address, std::thread::spawn(move || passage(&peer, own))))
        .collect();
    asking
        .into_iter()
        .map(|(address, asked)| size(address, asked.join().map_err(|_| io::ErrorKind::Other.into())))
        .collect()
}

/// Bytes of SIP that fill a tunnel's packet to `peer`.
fn full_bytes(peer: SocketAddr) -> usize {
    TUNNEL_MTU - headers(peer)
}

/// What IP and UDP put before them.
fn headers(peer: SocketAddr) -> usize {
    if peer.is_ipv4() { 28 } else { 48 }
}

fn size(peer: SocketAddr, found: Result<io::Result<Passage>, io::Error>) -> Finding {
    let full = full_bytes(peer);
    let widen = "MTU = 1420 at both ends of the tunnel, and 1480 or more below it; until then transport = \"auto\" \
                 for this peer keeps what is larger off UDP";
    match found.and_then(|passage| passage) {
        Ok(Passage::Passes) => Finding::good("datagrams", format!("{full} bytes reach {peer} uncut")),
        Ok(Passage::TooLarge(most)) if most < INVITE_BYTES => {
            Finding::bad("datagrams", format!("to {peer} at most {most} bytes pass uncut: INVITEs are larger"), widen)
        }
        Ok(Passage::TooLarge(most)) => {
            Finding::warning("datagrams", format!("to {peer} at most {most} bytes pass uncut, {full} are usual"), widen)
        }
        Ok(Passage::LargeVanish) => Finding::bad(
            "datagrams",
            format!(
                "{peer} answers small datagrams and none of {full} bytes: something on the way drops them in silence"
            ),
            widen,
        ),
        Ok(Passage::Silent) => Finding::warning(
            "datagrams",
            format!("{peer} answers none of any size, so how large they may be cannot be told"),
            "switchyard peer list says whether it is up; a PBX should answer OPTIONS",
        ),
        Err(error) => Finding::warning("datagrams", format!("to {peer}: {error}"), "see the route above"),
    }
}

fn passage(peer: &Peer, own: SocketAddr) -> io::Result<Passage> {
    let socket = UdpSocket::bind(SocketAddr::new(own.ip(), 0))?;
    let may_not_be_cut = match own {
        SocketAddr::V4(_) => set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::DO),
        SocketAddr::V6(_) => set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::DO),
    };
    may_not_be_cut?;
    socket.set_read_timeout(Some(WAIT))?;
    socket.connect(peer.address)?;
    if let Some(found) = answer(&socket, peer, full_bytes(peer.address))? {
        return Ok(found);
    }
    Ok(match answer(&socket, peer, SMALL_BYTES)? {
        Some(Passage::Passes) => Passage::LargeVanish,
        Some(other) => other,
        None => Passage::Silent,
    })
}

/// `None` when nothing came back.
fn answer(socket: &UdpSocket, peer: &Peer, bytes: usize) -> io::Result<Option<Passage>> {
    let mut slot = [0; 2_048];
    for _ in 0..TRIES {
        let mut chance = [0; 16];
        getrandom::fill(&mut chance).map_err(|_| io::Error::other("no chance is to be had from the kernel"))?;
        let sent = socket.send(&probe_of_bytes(peer, socket.local_addr()?, &chance, bytes));
        // Errors that a router reported come with the next call, whichever that is.
        let heard = sent.and_then(|_| socket.recv(&mut slot));
        match heard {
            Ok(_) => return Ok(Some(Passage::Passes)),
            Err(error) => match error.kind() {
                // The machine says that nobody listens: so the datagram has reached it.
                io::ErrorKind::ConnectionRefused => return Ok(Some(Passage::Passes)),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => {}
                _ if error.raw_os_error() == Some(nix::errno::Errno::EMSGSIZE as i32) => {
                    return Ok(Some(Passage::TooLarge(most(socket, peer.address)?)));
                }
                _ => return Err(error),
            },
        }
    }
    Ok(None)
}

/// The largest datagram that the kernel knows to pass on a connected socket.
fn most(socket: &UdpSocket, peer: SocketAddr) -> io::Result<usize> {
    let mtu = match peer {
        SocketAddr::V4(_) => getsockopt(socket, sockopt::IpMtu)?,
        // Every path carries as much as IPv6 asks of it.
        SocketAddr::V6(_) => 1_280,
    };
    Ok(usize::try_from(mtu).unwrap_or(0).saturating_sub(headers(peer)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Verdict;
    use proxy::ListenerId;

    fn verdict(finding: &Finding) -> (Verdict, &str) {
        (finding.verdict, &finding.found)
    }

    fn peer(address: SocketAddr) -> Peer {
        Peer { transport: Transport::Udp, address, listener: ListenerId(0), by_size: None }
    }

    #[test]
    fn a_handshake_is_judged_by_its_age() {
        let to: SocketAddr = "10.10.10.3:5080".parse().unwrap();
        let judged = |found| handshake("wg0", to, found);
        let fresh = judged(Handshake::Ago(Duration::from_secs(43)));
        assert_eq!(verdict(&fresh), (Verdict::Good, "wg0: 43 s ago on the way to 10.10.10.3:5080"));
        assert_eq!(judged(Handshake::Ago(Duration::from_secs(181))).verdict, Verdict::Bad);
        assert_eq!(judged(Handshake::Never).verdict, Verdict::Bad);
        let no_way = judged(Handshake::NoWay);
        assert_eq!(verdict(&no_way), (Verdict::Bad, "wg0 has no peer whose AllowedIPs hold 10.10.10.3"));
        assert!(no_way.todo.is_some_and(|todo| todo.contains("/etc/wireguard/wg0.conf")));
    }

    #[test]
    fn a_path_is_judged_by_what_it_carries() {
        let to: SocketAddr = "10.10.10.3:5080".parse().unwrap();
        let judged = |found| size(to, Ok(Ok(found)));
        assert_eq!(verdict(&judged(Passage::Passes)), (Verdict::Good, "1392 bytes reach 10.10.10.3:5080 uncut"));
        assert_eq!(judged(Passage::TooLarge(1_340)).verdict, Verdict::Warning);
        let narrow = judged(Passage::TooLarge(1_252));
        assert_eq!(
            verdict(&narrow),
            (Verdict::Bad, "to 10.10.10.3:5080 at most 1252 bytes pass uncut: INVITEs are larger")
        );
        assert_eq!(judged(Passage::LargeVanish).verdict, Verdict::Bad);
        assert_eq!(judged(Passage::Silent).verdict, Verdict::Warning);
        assert_eq!(full_bytes("[fd00:10::3]:5080".parse().unwrap()), 1_372);
    }

    #[test]
    fn an_answer_of_any_kind_says_that_the_datagram_arrived() {
        let own: SocketAddr = "127.0.0.1:5060".parse().unwrap();
        let pbx = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = pbx.local_addr().unwrap();
        let answering = std::thread::spawn(move || {
            let mut slot = [0; 2_048];
            let (len, from) = pbx.recv_from(&mut slot).unwrap();
            pbx.send_to(b"SIP/2.0 404 Not Found\r\n\r\n", from).unwrap();
            slot.get(..len).map(<[u8]>::to_vec).unwrap_or_default()
        });
        assert_eq!(passage(&peer(address), own).unwrap(), Passage::Passes);
        let asked = answering.join().unwrap();
        assert_eq!(asked.len(), 1_392);
        let mut index = sip::Index::default();
        assert!(matches!(sip::parse(&asked, &mut index), sip::Parsed::Request(_)), "it is a whole OPTIONS");
        // Nobody listens there any more, and the kernel says so.
        assert_eq!(passage(&peer(address), own).unwrap(), Passage::Passes);
    }

    /// What a path does that has a smaller MTU and tells nobody.
    #[test]
    fn a_path_that_drops_large_datagrams_in_silence_is_told_from_a_peer_that_is_away() {
        let own: SocketAddr = "127.0.0.1:5060".parse().unwrap();
        let path = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = path.local_addr().unwrap();
        let dropping = std::thread::spawn(move || {
            let mut slot = [0; 2_048];
            loop {
                let (len, from) = path.recv_from(&mut slot).unwrap();
                if len <= SMALL_BYTES {
                    path.send_to(b"SIP/2.0 200 OK\r\n\r\n", from).unwrap();
                    return;
                }
            }
        });
        assert_eq!(passage(&peer(address), own).unwrap(), Passage::LargeVanish);
        dropping.join().unwrap();
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(passage(&peer(silent.local_addr().unwrap()), own).unwrap(), Passage::Silent);
    }
}
