//! Opening a listener's socket, with every option that the packet path relies on.

use super::BUFFER_BYTES;
use super::spread::Spread;
use nix::sys::socket::{setsockopt, sockopt};
use proxy::Transport;
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};

/// Why a listener cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("{transport}:{address} cannot be opened ({step}): {source}")]
pub struct OpenFault {
    /// The listener's transport.
    pub transport: Transport,
    /// The listener's address.
    pub address: SocketAddr,
    /// What was being done.
    pub step: &'static str,
    /// What the system said.
    pub source: io::Error,
}

/// The socket works, but not as asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Notice {
    /// Which buffer: `receive` or `send`.
    pub buffer: &'static str,
    /// Bytes that were asked for.
    pub asked_bytes: usize,
    /// Bytes that the kernel gives.
    pub given_bytes: usize,
    /// The kernel's setting that caps it.
    pub sysctl: &'static str,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Notice { buffer, asked_bytes, given_bytes, sysctl } = self;
        write!(
            f,
            "the {buffer} buffer holds {given_bytes} bytes, {asked_bytes} were asked for: \
             bursts will be lost sooner; raise {sysctl}"
        )
    }
}

/// Binds `address`, even before an interface has it (a tunnel may come up later).
///
/// Path MTU discovery is off: a large INVITE leaves in fragments rather than not at all, also where ICMP is filtered.
pub fn open(address: SocketAddr) -> Result<(UdpSocket, Vec<Notice>), OpenFault> {
    open_one(address, false)
}

/// Binds one address as often as there are workers, and has the kernel spread what arrives there. The sockets are in the
/// workers' order.
///
/// The first takes the address for itself, so another process that has it is found; only then it is shared.
pub fn open_shared(address: SocketAddr, spread: &Spread) -> Result<(Vec<UdpSocket>, Vec<Notice>), OpenFault> {
    let fault = |step| move |source| OpenFault { transport: Transport::Udp, address, step, source };
    let (first, notices) = open(address)?;
    SockRef::from(&first).set_reuse_port(true).map_err(fault("SO_REUSEPORT"))?;
    let bound = first.local_addr().map_err(fault("address"))?;
    let mut sockets = vec![first];
    for _ in 1..spread.workers() {
        sockets.push(open_one(bound, true)?.0);
    }
    if let Some(Err(error)) = sockets.last().map(|socket| spread.attach(socket)) {
        tracing::warn!(
            %address, %error,
            "the kernel takes no program that spreads calls over the workers: they hand them over to each other"
        );
    }
    Ok((sockets, notices))
}

fn open_one(address: SocketAddr, is_shared: bool) -> Result<(UdpSocket, Vec<Notice>), OpenFault> {
    let fault = |step| move |source| OpenFault { transport: Transport::Udp, address, step, source };
    let errno =
        |step| move |errno: nix::Error| OpenFault { transport: Transport::Udp, address, step, source: errno.into() };
    let rustix = |step| {
        move |errno: rustix::io::Errno| OpenFault { transport: Transport::Udp, address, step, source: errno.into() }
    };

    let socket =
        Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP)).map_err(fault("socket"))?;
    socket.set_nonblocking(true).map_err(fault("non-blocking"))?;
    setsockopt(&socket, sockopt::RxqOvfl, &1).map_err(errno("SO_RXQ_OVFL"))?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true).map_err(errno("SO_TIMESTAMPNS"))?;
    if address.is_ipv4() {
        socket.set_freebind_v4(true).map_err(fault("IP_FREEBIND"))?;
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true).map_err(errno("IP_PKTINFO"))?;
        setsockopt(&socket, sockopt::Ipv4RecvErr, &true).map_err(errno("IP_RECVERR"))?;
        set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::DONT).map_err(rustix("IP_MTU_DISCOVER"))?;
    } else {
        socket.set_only_v6(true).map_err(fault("IPV6_V6ONLY"))?;
        socket.set_freebind_v6(true).map_err(fault("IPV6_FREEBIND"))?;
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true).map_err(errno("IPV6_RECVPKTINFO"))?;
        setsockopt(&socket, sockopt::Ipv6RecvErr, &true).map_err(errno("IPV6_RECVERR"))?;
        set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::DONT).map_err(rustix("IPV6_MTU_DISCOVER"))?;
    }
    let notices = buffers(&socket).map_err(fault("buffers"))?;
    if is_shared {
        socket.set_reuse_port(true).map_err(fault("SO_REUSEPORT"))?;
    }
    socket.bind(&address.into()).map_err(fault("bind"))?;
    Ok((socket.into(), notices))
}

/// Asks for large buffers. The kernel caps in silence, so what it gave is read back; it counts its own overhead in and
/// reports twice what was asked for.
fn buffers(socket: &Socket) -> io::Result<Vec<Notice>> {
    socket.set_recv_buffer_size(BUFFER_BYTES)?;
    socket.set_send_buffer_size(BUFFER_BYTES)?;
    let given = [
        ("receive", socket.recv_buffer_size()? / 2, "net.core.rmem_max"),
        ("send", socket.send_buffer_size()? / 2, "net.core.wmem_max"),
    ];
    let short = given.into_iter().filter(|(_, given_bytes, _)| *given_bytes < BUFFER_BYTES);
    Ok(short
        .map(|(buffer, given_bytes, sysctl)| Notice { buffer, asked_bytes: BUFFER_BYTES, given_bytes, sysctl })
        .collect())
}
