//! What goes out: few system calls per drain, and a short list for what the kernel does not take at once.

use super::heard::Heard;
use super::spread::call_id_in;
use super::{BACKLOG, BACKLOG_PER_DESTINATION, UdpSocket};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg, sendto};
use std::collections::HashMap;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Instant;
use telemetry::join::{GROUP, Leaving, Plan, Refused, refuses_joined};

/// Fewer datagrams of a drain leave one by one: little is saved, and a capture on this machine shows each.
pub(super) const WORTH: usize = 8;

/// How often one datagram is offered again after an error: the first error may be another datagram's, left pending on
/// the socket by ICMP, and reading it clears it.
const TRIES: u32 = 3;

/// What waits for room in the kernel, in order, and what leaves together.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    backlog: Vec<(SocketAddr, Vec<u8>)>,
    /// How many of them each destination has.
    of_destination: HashMap<SocketAddr, usize>,
    /// Datagrams may leave together.
    pub(super) joins: bool,
    /// Where they may not, for a while.
    pub(super) refused: Refused,
    /// Where they may.
    pub(super) heard: Heard,
}

/// What a system call needs beside the datagrams, kept for the next one.
#[derive(Debug)]
pub(super) struct Envelopes {
    headers: MultiHeaders<SockaddrStorage>,
    /// The header of a message of several datagrams, with room for their length.
    joined: MultiHeaders<SockaddrStorage>,
    to: Vec<Option<SockaddrStorage>>,
}

/// Who has no room in this drain. ENOBUFS and ENOMEM are about the way of one datagram (the queue of its device): other
/// destinations may lie behind another one. EAGAIN is about the socket's own buffer, and so about everybody.
#[derive(Default)]
struct Held {
    everything: bool,
    destinations: Vec<SocketAddr>,
}

/// What became of one drain.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sent {
    /// Datagrams that the kernel took.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of these, datagrams that left together with others.
    pub joined: u64,
    /// Datagrams that wait for room.
    pub waiting: u64,
    /// Datagrams that it refused.
    pub failed: Vec<Failed>,
}

/// A datagram that did not leave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failed {
    /// Where it should have gone.
    pub to: SocketAddr,
    /// Why it did not.
    pub fault: SendFault,
    /// The datagram.
    pub bytes: Vec<u8>,
}

/// Why a datagram did not leave.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SendFault {
    /// No way to the destination: no route, the tunnel or our own address is down. A failure of the transport (P12).
    NoWay,
    /// The firewall of this host says no. A failure of the transport too.
    Forbidden,
    /// More bytes than a datagram holds.
    TooLarge,
    /// The kernel has no room, and the list of what waits is full.
    NoRoom,
    /// Something else.
    Other,
}

impl SendFault {
    /// The counter's label.
    pub const fn name(self) -> &'static str {
        match self {
            SendFault::NoWay => "no_way",
            SendFault::Forbidden => "forbidden",
            SendFault::TooLarge => "too_large",
            SendFault::NoRoom => "no_room",
            SendFault::Other => "other",
        }
    }

    /// True where the next target should be tried at once rather than at a timer.
    pub const fn is_unreachable(self) -> bool {
        matches!(self, SendFault::NoWay | SendFault::Forbidden)
    }

    fn of(errno: Errno) -> SendFault {
        match errno {
            // EINVAL: the address that we are bound to is gone from the host.
            Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::ENETDOWN | Errno::EHOSTDOWN | Errno::EINVAL => {
                SendFault::NoWay
            }
            Errno::EADDRNOTAVAIL | Errno::ECONNREFUSED | Errno::ENOKEY | Errno::EDESTADDRREQ => SendFault::NoWay,
            Errno::EPERM | Errno::EACCES => SendFault::Forbidden,
            Errno::EMSGSIZE => SendFault::TooLarge,
            _ => SendFault::Other,
        }
    }
}

impl Outgoing {
    /// Nothing waits. `joins` says whether datagrams may leave together.
    pub(super) fn new(joins: bool) -> Outgoing {
        Outgoing { joins, ..Outgoing::default() }
    }

    /// Offers what waits and then `datagrams`, those of a call to one destination in their order, to `offer`: so many of the
    /// first are taken, whole messages, or the first one is not. Destinations do not wait for each other, but where the
    /// socket itself is full.
    pub(super) fn send<'o>(
        &mut self,
        datagrams: impl Iterator<Item = (SocketAddr, &'o [u8])>,
        sent: &mut Sent,
        mut offer: impl FnMut(Leaving<'_, '_>) -> Result<usize, Errno>,
    ) {
        let mut held = Held::default();
        let waiting = std::mem::take(&mut self.backlog);
        self.of_destination.clear();
        for some in waiting.chunks(GROUP) {
            // What found no room together may find it one by one.
            let group: Vec<(SocketAddr, &[u8])> = some.iter().map(|(to, bytes)| (*to, bytes.as_slice())).collect();
            self.send_group(Leaving::singly(&group), &mut held, sent, &mut offer);
        }
        let mut datagrams = datagrams.peekable();
        let mut group: Vec<(SocketAddr, &[u8])> = Vec::with_capacity(GROUP);
        let mut ordered: Vec<(SocketAddr, &[u8])> = Vec::new();
        while datagrams.peek().is_some() {
            group.clear();
            group.extend(datagrams.by_ref().take(GROUP));
            let leaving = self.plan(&group).map(|plan| plan.leaving(&group, &mut ordered));
            self.send_group(leaving.unwrap_or(Leaving::singly(&group)), &mut held, sent, &mut offer);
        }
        sent.waiting = sent.waiting.saturating_add(u64::try_from(self.backlog.len()).unwrap_or(u64::MAX));
    }

    /// What leaves together, where that is worth looking.
    fn plan(&self, group: &[(SocketAddr, &[u8])]) -> Option<Plan> {
        if !self.joins || group.len() < WORTH {
            return None;
        }
        let now = Instant::now();
        let longest = |to: SocketAddr| match self.heard.is_lately(to.ip(), now) {
            true => self.refused.longest(to.ip(), now),
            false => 0,
        };
        Some(Plan::of(group, longest, |bytes| call_id_in(bytes).unwrap_or_default()))
    }

    /// Offers one group, and keeps of it what finds no room.
    fn send_group(
        &mut self,
        group: Leaving<'_, '_>,
        held: &mut Held,
        sent: &mut Sent,
        offer: &mut impl FnMut(Leaving<'_, '_>) -> Result<usize, Errno>,
    ) {
        let mut rest = group;
        let mut tries = 0;
        while let Some(&(to, bytes)) = rest.datagrams.first() {
            let first = rest.first();
            if held.holds(to) {
                self.keep(rest.until(first), sent);
                rest = rest.after(first);
                continue;
            }
            // All of a message go to one destination: it is held whole or not at all.
            let run = rest.datagrams.iter().take_while(|(to, _)| !held.holds(*to)).count();
            match offer(rest.until(run)) {
                Ok(count) => {
                    let bytes = rest.datagrams.iter().take(count).map(|(_, bytes)| bytes.len()).sum::<usize>();
                    sent.datagrams += u64::try_from(count).unwrap_or(u64::MAX);
                    sent.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
                    sent.joined += u64::try_from(rest.until(count).joined()).unwrap_or(u64::MAX);
                    rest = rest.after(count);
                    tries = 0;
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => held.everything = true,
                Err(Errno::ENOBUFS | Errno::ENOMEM) => held.destinations.push(to),
                Err(errno) => {
                    tries += 1;
                    let is_refused = first > 1 && refuses_joined(errno);
                    if tries < TRIES && !is_refused {
                        continue;
                    }
                    tries = 0;
                    if is_refused {
                        self.refused.note(to.ip(), bytes.len().saturating_sub(1), Instant::now());
                    }
                    if first > 1 {
                        // Nothing of it left; now each has its own answer.
                        rest = rest.parted();
                    } else {
                        sent.failed.push(Failed { to, fault: SendFault::of(errno), bytes: bytes.to_vec() });
                        rest = rest.after(1);
                    }
                }
            }
        }
    }

    /// Has these wait for room.
    fn keep(&mut self, held_up: Leaving<'_, '_>, sent: &mut Sent) {
        for (to, bytes) in held_up.datagrams {
            if let Err(fault) = self.wait(*to, bytes) {
                sent.failed.push(Failed { to: *to, fault, bytes: bytes.to_vec() });
            }
        }
    }

    pub(super) fn wait(&mut self, to: SocketAddr, bytes: &[u8]) -> Result<(), SendFault> {
        let of_destination = self.of_destination.entry(to).or_default();
        if self.backlog.len() == BACKLOG || *of_destination == BACKLOG_PER_DESTINATION {
            return Err(SendFault::NoRoom);
        }
        *of_destination += 1;
        self.backlog.push((to, bytes.to_vec()));
        Ok(())
    }
}

impl Held {
    fn holds(&self, to: SocketAddr) -> bool {
        self.everything || self.destinations.contains(&to)
    }
}

impl UdpSocket {
    /// Sends `datagrams`, those of a call to one destination in order. What the kernel has no room for waits, up to
    /// [`BACKLOG`] datagrams in all and [`BACKLOG_PER_DESTINATION`] of one destination.
    pub fn send<'o>(&mut self, datagrams: impl Iterator<Item = (SocketAddr, &'o [u8])>, sent: &mut Sent) {
        let UdpSocket { socket, outgoing, envelopes, may_have_errors, .. } = self;
        outgoing.send(datagrams, sent, |leaving| {
            let taken = envelopes.offer(socket.as_raw_fd(), leaving);
            // An error behind others only cuts the call short.
            *may_have_errors |= match taken {
                Ok(count) => count < leaving.singles(),
                Err(errno) => !matches!(errno, Errno::EAGAIN | Errno::EINTR),
            };
            taken
        });
    }

    /// True when datagrams wait: call [`UdpSocket::send`] again soon, if with nothing new.
    pub fn is_waiting(&self) -> bool {
        !self.outgoing.backlog.is_empty()
    }
}

impl Envelopes {
    pub(super) fn new() -> Envelopes {
        Envelopes {
            headers: MultiHeaders::preallocate(GROUP, None),
            joined: MultiHeaders::preallocate(1, Some(cmsg_space!(u16))),
            to: Vec::with_capacity(GROUP),
        }
    }

    /// Offers the kernel the first message, or as many of the first as have one datagram.
    fn offer(&mut self, socket: RawFd, leaving: Leaving<'_, '_>) -> Result<usize, Errno> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let singles = leaving.singles();
        if singles == 0 {
            return self.offer_joined(socket, leaving.until(leaving.first()).datagrams, flags);
        }
        let group = leaving.until(singles).datagrams;
        if let [(to, bytes)] = group {
            // At a low rate most turns have one: it needs no headers.
            return sendto(socket, bytes, &SockaddrStorage::from(*to), flags).map(|_| 1);
        }
        self.to.clear();
        self.to.extend(group.iter().take(GROUP).map(|(to, _)| Some(SockaddrStorage::from(*to))));
        let mut slices = [[IoSlice::new(&[])]; GROUP];
        for (slice, (_, bytes)) in slices.iter_mut().zip(group) {
            *slice = [IoSlice::new(bytes)];
        }
        // Each header is written anew by the call, as far as the kernel reads it.
        let taken = sendmmsg(socket, &mut self.headers, &slices, &self.to, [], flags)?;
        Ok(taken.count())
    }

    /// Offers one message of several datagrams: all leave, or none.
    fn offer_joined(
        &mut self,
        socket: RawFd,
        message: &[(SocketAddr, &[u8])],
        flags: MsgFlags,
    ) -> Result<usize, Errno> {
        let Some((to, first)) = message.first() else { return Ok(0) };
        let to = [Some(SockaddrStorage::from(*to))];
        let segment_bytes = u16::try_from(first.len()).map_err(|_too_large| Errno::EMSGSIZE)?;
        let mut slices = [IoSlice::new(&[]); GROUP];
        for (slice, (_, bytes)) in slices.iter_mut().zip(message) {
            *slice = IoSlice::new(bytes);
        }
        let slices = slices.get(..message.len()).unwrap_or_default();
        let control = [ControlMessage::UdpGsoSegments(&segment_bytes)];
        sendmmsg(socket, &mut self.joined, [&slices], to, control, flags)?;
        Ok(message.len())
    }
}
