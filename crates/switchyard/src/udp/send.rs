//! What goes out: one `sendmmsg` per drain, and a short list for what the kernel does not take at once.

use super::{BACKLOG, UdpSocket};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

/// Datagrams of one system call.
const GROUP: usize = 32;
/// How often one datagram is offered again after an error: the first error may be another datagram's, left pending on
/// the socket by ICMP, and reading it clears it.
const TRIES: u32 = 3;

/// What waits for room in the kernel, in order.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    backlog: VecDeque<(SocketAddr, Vec<u8>)>,
}

/// What became of one drain.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sent {
    /// Datagrams that the kernel took.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
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
    pub(super) fn wait(&mut self, to: SocketAddr, bytes: &[u8]) -> Result<(), SendFault> {
        if self.backlog.len() == BACKLOG {
            return Err(SendFault::NoRoom);
        }
        self.backlog.push_back((to, bytes.to_vec()));
        Ok(())
    }
}

impl UdpSocket {
    /// Sends `datagrams` in order. What the kernel has no room for waits, up to [`BACKLOG`] datagrams.
    pub fn send<'o>(&mut self, datagrams: impl Iterator<Item = (SocketAddr, &'o [u8])>, sent: &mut Sent) {
        let mut datagrams = datagrams.peekable();
        self.send_waiting(sent);
        let mut group: Vec<(SocketAddr, &[u8])> = Vec::new();
        while datagrams.peek().is_some() {
            group.clear();
            group.extend(datagrams.by_ref().take(GROUP));
            let taken = if self.outgoing.backlog.is_empty() { self.send_group(&group, sent) } else { 0 };
            for (to, bytes) in group.iter().skip(taken) {
                if let Err(fault) = self.outgoing.wait(*to, bytes) {
                    sent.failed.push(Failed { to: *to, fault, bytes: bytes.to_vec() });
                }
            }
        }
        sent.waiting = sent.waiting.saturating_add(u64::try_from(self.outgoing.backlog.len()).unwrap_or(u64::MAX));
    }

    /// True when datagrams wait: call [`UdpSocket::send`] again soon, if with nothing new.
    pub fn is_waiting(&self) -> bool {
        !self.outgoing.backlog.is_empty()
    }

    fn send_waiting(&mut self, sent: &mut Sent) {
        while !self.outgoing.backlog.is_empty() {
            let backlog = std::mem::take(&mut self.outgoing.backlog);
            let group: Vec<(SocketAddr, &[u8])> =
                backlog.iter().take(GROUP).map(|(to, b)| (*to, b.as_slice())).collect();
            let offered = group.len();
            let taken = self.send_group(&group, sent);
            self.outgoing.backlog = backlog;
            self.outgoing.backlog.drain(..taken);
            if taken < offered {
                return;
            }
        }
    }

    /// Offers one group; tells how many are done with, sent or failed. Fewer than all: the kernel has no room.
    fn send_group(&self, group: &[(SocketAddr, &[u8])], sent: &mut Sent) -> usize {
        let mut done = 0;
        let mut tries = 0;
        while let Some(rest) = group.get(done..).filter(|rest| !rest.is_empty()) {
            match self.offer(rest) {
                Ok(count) => {
                    let bytes = rest.iter().take(count).map(|(_, bytes)| bytes.len()).sum::<usize>();
                    sent.datagrams += u64::try_from(count).unwrap_or(u64::MAX);
                    sent.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
                    done += count;
                    tries = 0;
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM) => break,
                Err(errno) => {
                    tries += 1;
                    if tries == TRIES {
                        let fault = SendFault::of(errno);
                        sent.failed.extend(rest.first().map(|(to, bytes)| Failed {
                            to: *to,
                            fault,
                            bytes: bytes.to_vec(),
                        }));
                        done += 1;
                        tries = 0;
                    }
                }
            }
        }
        done
    }

    fn offer(&self, group: &[(SocketAddr, &[u8])]) -> Result<usize, Errno> {
        let slices: Vec<[IoSlice<'_>; 1]> = group.iter().map(|(_, bytes)| [IoSlice::new(bytes)]).collect();
        let to: Vec<Option<SockaddrStorage>> = group.iter().map(|(to, _)| Some(SockaddrStorage::from(*to))).collect();
        let mut headers = MultiHeaders::preallocate(group.len(), None);
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let taken = sendmmsg(self.socket.as_raw_fd(), &mut headers, &slices, &to, [], flags)?;
        Ok(taken.count())
    }
}
