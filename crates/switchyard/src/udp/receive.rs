//! What comes in: batches of datagrams, and ICMP errors with the destination they are about.

use super::{BATCH, SLOT_BYTES, UdpSocket};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage, recvmmsg, recvmsg};
use proxy::{Flow, InterfaceId};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::Interest;

/// Errors that one call reads from the error queue; the rest waits for the next.
const ERRORS: usize = 64;
/// Bytes of the failed datagram that are kept of an ICMP error. A Linux host returns about 500, other hosts up to what
/// fits an Ethernet frame, some only 8: enough or not for the branch in the top Via.
const ERROR_BYTES: usize = 1_500;
/// Bytes of the receive buffer that the kernel may take for one datagram beside twice its length.
const ROOM_OF_ONE_BYTES: usize = 4_096;
/// RFC 792 and RFC 4443, as far as RFC 3261 18.4 asks.
const ICMP_UNREACHABLE: u8 = 3;
const ICMP_FRAGMENTATION_NEEDED: u8 = 4;
const ICMP_PARAMETER_PROBLEM: u8 = 12;
const ICMP6_UNREACHABLE: u8 = 1;
const ICMP6_PARAMETER_PROBLEM: u8 = 4;

/// From one slot to the next. Slots that lie a power of two apart have their beginnings, where messages are, in the same few
/// lines of the processor's caches.
const STRIDE_BYTES: usize = SLOT_BYTES + 1_024;
/// Datagrams that are asked for where few came last: what is prepared for more is prepared for nothing.
pub(super) const ASKS_LEAST: usize = 16;

/// A batch of datagrams in fixed slots. One per worker, reused for every batch.
#[derive(Debug)]
pub struct Batch {
    /// Pages that no datagram has reached are none of the process's memory.
    slots: Box<[u8]>,
    arrivals: Vec<Arrival>,
    /// There may be more: as many came as were asked for.
    is_full: bool,
    /// There may be more: the socket gave an error in its place.
    has_failed: bool,
    /// When the first one reached the socket, in microseconds since 1970 (SO_TIMESTAMPNS).
    came_unix_us: Option<u64>,
    /// Datagrams that the kernel dropped for want of room, since the batch before (SO_RXQ_OVFL; row H8).
    pub overflowed: u32,
    /// Strangers' datagrams that the filter dropped, since the batch before (row SX1).
    pub filtered: u32,
}

#[derive(Clone, Copy, Debug)]
struct Arrival {
    slot: usize,
    len: usize,
    flow: Flow,
}

/// The kernel's number of the loopback interface, in every network namespace.
const LOOPBACK_INTERFACE: u32 = 1;

/// The kernel's numbers of the interfaces that peers are tied to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Interfaces {
    known: Vec<(u32, InterfaceId)>,
}

/// An address that our datagrams do not reach, by ICMP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unreachable {
    /// The destination of the datagram that failed.
    pub remote: SocketAddr,
    /// The beginning of that datagram, as much as came back.
    pub returned: Vec<u8>,
}

impl Batch {
    /// An empty batch with its slots.
    pub fn new() -> Batch {
        let slots = vec![0; STRIDE_BYTES * BATCH].into_boxed_slice();
        Batch {
            slots,
            arrivals: Vec::with_capacity(BATCH),
            is_full: false,
            has_failed: false,
            came_unix_us: None,
            overflowed: 0,
            filtered: 0,
        }
    }

    /// The datagrams, in order of arrival.
    pub fn datagrams(&self) -> impl Iterator<Item = (Flow, &[u8])> {
        self.arrivals.iter().filter_map(|arrival| {
            let bytes = self.slots.get(arrival.slot * STRIDE_BYTES..)?.get(..arrival.len)?;
            Some((arrival.flow, bytes))
        })
    }

    /// True when the socket may have more.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// How long the first one had waited in the socket's buffer, by the time of day that it is now. Somebody who sets the time
    /// changes it for what waits at that moment.
    pub fn waited(&self, now_unix_us: u64) -> Duration {
        let since = self.came_unix_us.map(|came| now_unix_us.saturating_sub(came));
        Duration::from_micros(since.unwrap_or_default())
    }

    fn clear(&mut self) {
        self.arrivals.clear();
        (self.is_full, self.has_failed, self.came_unix_us) = (false, false, None);
        (self.overflowed, self.filtered) = (0, 0);
    }

    /// Notes how the last attempt to fill it ended: only a socket that would wait is known to be empty.
    pub(super) fn ended(&mut self, done: io::Result<()>) -> io::Result<()> {
        self.has_failed = done.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock);
        done
    }

    /// True when the socket gave an error in place of datagrams, also one of which [`UdpSocket::receive`] says nothing.
    pub fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// How many datagrams it holds.
    pub fn len(&self) -> usize {
        self.arrivals.len()
    }

    /// True when nothing came.
    pub fn is_empty(&self) -> bool {
        self.arrivals.is_empty()
    }
}

impl Default for Batch {
    fn default() -> Self {
        Batch::new()
    }
}

impl Interfaces {
    /// Asks the kernel for the numbers of `names`; a name that is not there yet is left out until the next time.
    pub fn resolve(names: &[Box<str>]) -> Interfaces {
        let ids = (1..=u16::MAX).map(InterfaceId);
        let known = ids.zip(names).filter_map(|(id, name)| Some((if_nametoindex(&**name).ok()?, id))).collect();
        Interfaces { known }
    }

    /// The interface of a kernel's number.
    pub fn id(&self, index: u32) -> InterfaceId {
        self.known.iter().find(|(known, _)| *known == index).map_or(InterfaceId::OTHER, |(_, id)| *id)
    }

    /// The interface that something came by, where the kernel says `told`. What this machine sends to itself goes over the
    /// loopback interface, and the kernel names the interface that has the address instead: a PBX beside the proxy would seem
    /// to come out of the tunnel. From outside no such source comes in over IPv4: the kernel drops it as martian. Over IPv6 it
    /// drops the loopback address alone, so there an own address proves nothing.
    pub fn of_arrival(&self, told: u32, source: IpAddr, destination: IpAddr) -> InterfaceId {
        let is_own = source.is_loopback() || (source == destination && source.is_ipv4());
        self.id(if is_own { LOOPBACK_INTERFACE } else { told })
    }

    /// The kernel's number of an interface; `None` while it is not there.
    pub fn index(&self, id: InterfaceId) -> Option<u32> {
        self.known.iter().find(|(_, known)| *known == id).map(|(index, _)| *index)
    }

    /// How many of the names are there.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// True when none is there.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

impl UdpSocket {
    /// Takes in what has arrived, at most [`BATCH`] datagrams, without waiting, once the runtime has told that something has.
    /// The batch is empty when nothing is there.
    pub fn receive(&mut self, batch: &mut Batch, interfaces: &Interfaces) -> io::Result<()> {
        batch.clear();
        let socket = Rc::clone(&self.socket);
        let done = socket.try_io(Interest::READABLE, |_| {
            self.take(batch, interfaces)?;
            // A batch that is not full has emptied the buffer: to say so spares the call that would find nothing. What
            // arrives from now on makes the socket ready anew.
            if batch.is_full { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
        });
        quiet(done)
    }

    /// The same without having been told: the runtime is not asked, and is told nothing. What it knows stays true: whatever
    /// came since it looked last, it will be told of.
    pub fn receive_untold(&mut self, batch: &mut Batch, interfaces: &Interfaces) -> io::Result<()> {
        batch.clear();
        quiet(self.take(batch, interfaces))
    }

    /// An ICMP error about one of our datagrams comes in place of what has arrived, once: behind it is what was asked for.
    /// Else a dead target would make every other batch look as if the buffer were empty.
    fn take(&mut self, batch: &mut Batch, interfaces: &Interfaces) -> io::Result<()> {
        match self.take_once(batch, interfaces) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                self.may_have_errors = true;
                let done = self.take_once(batch, interfaces);
                batch.ended(done)
            }
            done => done,
        }
    }

    fn take_once(&mut self, batch: &mut Batch, interfaces: &Interfaces) -> io::Result<()> {
        // The kernel writes lengths into the headers and the wrapper does not reset them: they are good for one use.
        let space = cmsg_space!(libc::in6_pktinfo, libc::in_pktinfo, libc::timespec, u32);
        let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(self.asks, Some(space));
        let slots = batch.slots.chunks_exact_mut(STRIDE_BYTES).take(self.asks);
        let slots = slots.filter_map(|slot| slot.get_mut(..SLOT_BYTES));
        let mut slices: Vec<_> = slots.map(|slot| [IoSliceMut::new(slot)]).collect();
        let mut taken = 0;
        let (mut overflow, mut came_unix_us) = (None, None);
        let flags = MsgFlags::MSG_DONTWAIT;
        let now = Instant::now();
        let done = recvmmsg(self.socket.as_raw_fd(), &mut headers, slices.iter_mut(), flags, None).map(|received| {
            for (slot, message) in received.enumerate() {
                taken += 1;
                let Some(remote) = message.address.as_ref().and_then(socket_addr) else { continue };
                self.outgoing.heard.note(remote.ip(), now);
                let Told { interface, dropped, came_unix_us: came } = told(&message, remote, interfaces);
                (overflow, came_unix_us) = (dropped.or(overflow), came_unix_us.or(came));
                let flow = Flow { listener: self.listener, remote, connection: 0, interface };
                batch.arrivals.push(Arrival { slot, len: message.bytes, flow });
            }
        });
        if let Err(error) = done
            && error != Errno::EAGAIN
        {
            return Err(error.into());
        }
        (batch.is_full, batch.came_unix_us) = (taken == self.asks, came_unix_us);
        self.asks = (2 * taken).clamp(ASKS_LEAST, BATCH);
        self.attribute(overflow, batch);
        done.map_err(io::Error::from)
    }

    /// Says of what the kernel dropped whether the filter did it or a full buffer: the kernel has one count for both.
    ///
    /// We alone take from the buffer, so between two batches it only fills, and a batch that is not full has emptied it.
    /// So two batches in a row that were not full, of datagrams for which there was room several times, show that it
    /// was never full since. In doubt it was.
    fn attribute(&mut self, dropped_in_all: Option<u32>, batch: &mut Batch) {
        let taken_bytes: usize = batch.arrivals.iter().map(|arrival| 2 * arrival.len + ROOM_OF_ONE_BYTES).sum();
        let has_room = self.filtered_room_bytes.is_some_and(|room_bytes| taken_bytes < room_bytes / 2);
        let is_tight = batch.is_full || !has_room;
        if let Some(total) = dropped_in_all {
            let dropped = total.wrapping_sub(self.dropped_seen);
            self.dropped_seen = total;
            match is_tight || self.was_tight {
                true => batch.overflowed = dropped,
                false => batch.filtered = dropped,
            }
        }
        self.was_tight = is_tight;
    }

    /// Reads the error queue: the destinations that ICMP says cannot be reached (RFC 3261 18.4).
    ///
    /// Source quench, time exceeded and "fragmentation needed" are no failures and are skipped.
    pub fn unreachable(&mut self, found: &mut Vec<Unreachable>) -> io::Result<()> {
        let socket = Rc::clone(&self.socket);
        self.read_errors(found, || socket.try_io(Interest::ERROR, |_| read_error(socket.as_raw_fd())))
    }

    /// The same without having been told, where a call failed in a way that says there may be something.
    pub fn unreachable_untold(&mut self, found: &mut Vec<Unreachable>) -> io::Result<()> {
        if !std::mem::take(&mut self.may_have_errors) {
            return Ok(());
        }
        let fd = self.socket.as_raw_fd();
        self.read_errors(found, || read_error(fd))
    }

    fn read_errors(
        &mut self,
        found: &mut Vec<Unreachable>,
        read: impl Fn() -> io::Result<Option<Unreachable>>,
    ) -> io::Result<()> {
        for _ in 0..ERRORS {
            match read() {
                Ok(Some(unreachable)) => {
                    self.outgoing.refused.note(unreachable.remote.ip(), 0, Instant::now());
                    found.push(unreachable);
                }
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if is_quiet(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// One entry of the error queue; `None` where it is no failure.
fn read_error(socket: RawFd) -> io::Result<Option<Unreachable>> {
    let mut bytes = [0; ERROR_BYTES];
    let mut space = cmsg_space!(libc::sock_extended_err, libc::sockaddr_in6, libc::in6_pktinfo, libc::timespec, u32);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<SockaddrStorage>(socket, &mut slices, Some(&mut space), flags)?;
    let remote = message.address.as_ref().and_then(socket_addr);
    let remote = remote.filter(|_| is_failure(&message));
    let len = message.bytes;
    Ok(remote.map(|remote| Unreachable { remote, returned: bytes.get(..len).unwrap_or_default().to_vec() }))
}

/// What the control messages tell of a datagram.
struct Told {
    /// Where it arrived.
    interface: InterfaceId,
    /// The socket's running count of dropped datagrams.
    dropped: Option<u32>,
    /// When it reached the socket, in microseconds since 1970.
    came_unix_us: Option<u64>,
}

fn told(message: &RecvMsg<'_, '_, SockaddrStorage>, remote: SocketAddr, interfaces: &Interfaces) -> Told {
    let mut interface = InterfaceId::OTHER;
    let (mut dropped, mut came_unix_us) = (None, None);
    for control in message.cmsgs().into_iter().flatten() {
        match control {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                let destination = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr));
                let index = u32::try_from(info.ipi_ifindex).unwrap_or_default();
                interface = interfaces.of_arrival(index, remote.ip(), destination.into());
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                let destination = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                interface = interfaces.of_arrival(info.ipi6_ifindex, remote.ip(), destination.into());
            }
            ControlMessageOwned::RxqOvfl(total) => dropped = Some(total),
            ControlMessageOwned::ScmTimestampns(came) => {
                came_unix_us = u64::try_from(Duration::from(came).as_micros()).ok();
            }
            _ => {}
        }
    }
    Told { interface, dropped, came_unix_us }
}

fn is_failure(message: &RecvMsg<'_, '_, SockaddrStorage>) -> bool {
    message.cmsgs().into_iter().flatten().any(|control| match control {
        ControlMessageOwned::Ipv4RecvErr(error, _) => {
            error.ee_origin == libc::SO_EE_ORIGIN_ICMP
                && match error.ee_type {
                    ICMP_UNREACHABLE => error.ee_code != ICMP_FRAGMENTATION_NEEDED,
                    kind => kind == ICMP_PARAMETER_PROBLEM,
                }
        }
        ControlMessageOwned::Ipv6RecvErr(error, _) => {
            error.ee_origin == libc::SO_EE_ORIGIN_ICMP6
                && matches!(error.ee_type, ICMP6_UNREACHABLE | ICMP6_PARAMETER_PROBLEM)
        }
        _ => false,
    })
}

fn socket_addr(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|a| SocketAddr::V4(SocketAddrV4::from(*a)));
    v4.or_else(|| address.as_sockaddr_in6().map(|a| SocketAddr::V6(SocketAddrV6::from(*a))))
}

/// An ICMP error that is pending on the socket surfaces where datagrams are received as well; the error queue tells whose it
/// is.
fn quiet(received: io::Result<()>) -> io::Result<()> {
    match received {
        Err(error) if !is_quiet(&error) => Err(error),
        _ => Ok(()),
    }
}

/// True for what a datagram socket reports about an earlier datagram, or about nothing at all.
fn is_quiet(error: &io::Error) -> bool {
    use Errno::{
        EAGAIN, ECONNREFUSED, EHOSTDOWN, EHOSTUNREACH, EINTR, EMSGSIZE, ENETDOWN, ENETUNREACH, ENOPROTOOPT, EOPNOTSUPP,
        EPROTO,
    };
    let known = [
        EAGAIN,
        EINTR,
        ECONNREFUSED,
        EHOSTUNREACH,
        ENETUNREACH,
        EHOSTDOWN,
        ENETDOWN,
        EMSGSIZE,
        EPROTO,
        ENOPROTOOPT,
        EOPNOTSUPP,
    ];
    error.raw_os_error().is_some_and(|raw| known.contains(&Errno::from_raw(raw)))
        || error.kind() == io::ErrorKind::WouldBlock
}
