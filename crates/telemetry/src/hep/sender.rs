//! The thread that sends captures: by datagram those of one length together, by stream a whole batch in one write.

use super::packet::call_of;
use super::{Batch, Collector, Shared};
use crate::Paced;
use crate::join::{GROUP, Leaving, Plan, Refused, refuses_joined, takes_joined};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, sendmmsg};
use proxy::Transport;
use std::io::{self, IoSlice, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// How often captures are looked for while they come: a worker wakes nobody, and each one has the time at which it was taken.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long a connect, or one write, may take. The queue fills meanwhile, and what finds no room is lost.
const PATIENCE: Duration = Duration::from_secs(2);
/// The first wait after a failure, and the longest: each one is twice as long as the one before.
const BACKOFF: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Sends until the last tap is gone.
pub(super) fn run(shared: &Shared, batches: &Receiver<Batch>) {
    let mut line = Line::new();
    let mut paced = Paced::new(batches, LOOK_EVERY);
    while let Some(batch) = paced.take() {
        let (messages, bytes) = batch.size();
        shared.taken(messages, bytes);
        let sent = batch.collector.as_ref().map_or(0, |collector| line.send(collector, &batch.bytes, &batch.ends));
        shared.sent.fetch_add(sent, Ordering::Relaxed);
        shared.lost.fetch_add(messages - sent, Ordering::Relaxed);
        shared.give_back(batch);
    }
}

/// The way to the collector.
struct Line {
    open: Option<(Transport, SocketAddr, Socket)>,
    /// Not before then is it tried again, and the wait after the next failure.
    try_at: Option<Instant>,
    wait: Duration,
    /// The collector of the last try: another one is tried at once.
    tried: Option<(Transport, SocketAddr)>,
}

enum Socket {
    Udp(Datagrams),
    Tcp(TcpStream),
}

/// A connected socket.
struct Datagrams {
    socket: UdpSocket,
    /// Datagrams may leave together.
    joins: bool,
    /// Where they may not, for a while.
    refused: Refused,
    /// What a system call needs beside the datagrams, kept for the next one; of a message of several with room for their length.
    headers: MultiHeaders<()>,
    joined: MultiHeaders<()>,
}

impl Line {
    fn new() -> Line {
        Line { open: None, try_at: None, wait: BACKOFF, tried: None }
    }

    /// Sends encoded packets, each of which ends where `ends` says. Returns how many left.
    fn send(&mut self, collector: &Collector, bytes: &[u8], ends: &[usize]) -> u64 {
        let wanted = (collector.transport, collector.address);
        if self.tried != Some(wanted) {
            *self = Line { tried: Some(wanted), ..Line::new() };
        }
        if self.open.is_none() && self.try_at.is_none_or(|at| at <= Instant::now()) {
            match open(collector) {
                Ok(socket) => self.open = Some((wanted.0, wanted.1, socket)),
                Err(_) => self.failed(),
            }
        }
        let Some((_, _, socket)) = &mut self.open else { return 0 };
        match socket {
            Socket::Udp(datagrams) => datagrams.send(wanted.1, bytes, ends),
            Socket::Tcp(stream) => match stream.write_all(bytes) {
                Ok(()) => {
                    self.wait = BACKOFF;
                    u64::try_from(ends.len()).unwrap_or(u64::MAX)
                }
                Err(_) => {
                    // Part of a packet may have left: only a new connection is in step again.
                    self.failed();
                    0
                }
            },
        }
    }

    fn failed(&mut self) {
        self.open = None;
        self.try_at = Some(Instant::now() + self.wait);
        self.wait = (self.wait * 2).min(BACKOFF_MAX);
    }
}

impl Datagrams {
    fn new(socket: UdpSocket) -> Datagrams {
        Datagrams {
            joins: takes_joined(&socket),
            socket,
            refused: Refused::default(),
            headers: MultiHeaders::preallocate(GROUP, None),
            joined: MultiHeaders::preallocate(1, Some(cmsg_space!(u16))),
        }
    }

    /// Sends packets, each of which ends where `ends` says, those of one length together. Returns how many left.
    fn send(&mut self, to: SocketAddr, bytes: &[u8], ends: &[usize]) -> u64 {
        let (mut group, mut ordered, mut start, mut left) = (Vec::with_capacity(GROUP), Vec::new(), 0, 0);
        for some in ends.chunks(GROUP) {
            group.clear();
            for end in some {
                group.push((to, bytes.get(start..*end).unwrap_or_default()));
                start = *end;
            }
            let now = Instant::now();
            let longest = if self.joins { self.refused.longest(to.ip(), now) } else { 0 };
            let plan = Plan::of(&group, |_| longest, call_of);
            left += self.send_group(plan.leaving(&group, &mut ordered), now);
        }
        u64::try_from(left).unwrap_or(u64::MAX)
    }

    fn send_group(&mut self, group: Leaving<'_, '_>, now: Instant) -> usize {
        let (mut rest, mut left) = (group, 0);
        while let Some((to, first)) = rest.datagrams.first() {
            let together = rest.first();
            match self.offer(rest) {
                Ok(count) => {
                    left += count;
                    rest = rest.after(count);
                }
                Err(Errno::EINTR) => {}
                Err(errno) if together > 1 => {
                    // Nothing of it left.
                    if refuses_joined(errno) {
                        self.refused.note(to.ip(), first.len().saturating_sub(1), now);
                    }
                    rest = rest.parted();
                }
                // A collector that is away is told by ICMP on the next send, which is lost; the socket serves on.
                Err(_) => rest = rest.after(1),
            }
        }
        left
    }

    /// Offers the kernel the first message, or as many of the first as have one datagram. The socket is connected.
    fn offer(&mut self, leaving: Leaving<'_, '_>) -> Result<usize, Errno> {
        const NOBODY: [Option<()>; GROUP] = [None; GROUP];
        let (socket, flags) = (self.socket.as_raw_fd(), MsgFlags::MSG_NOSIGNAL);
        let singles = leaving.singles();
        let message = leaving.until(if singles == 0 { leaving.first() } else { singles }).datagrams;
        let mut slices = [[IoSlice::new(&[])]; GROUP];
        for (slice, (_, bytes)) in slices.iter_mut().zip(message) {
            *slice = [IoSlice::new(bytes)];
        }
        let slices = slices.get(..message.len()).unwrap_or_default();
        if singles > 0 {
            return sendmmsg(socket, &mut self.headers, slices, NOBODY, [], flags).map(Iterator::count);
        }
        let length = message.first().map_or(0, |(_, bytes)| bytes.len());
        let segment_bytes = u16::try_from(length).map_err(|_too_large| Errno::EMSGSIZE)?;
        let control = [ControlMessage::UdpGsoSegments(&segment_bytes)];
        sendmmsg(socket, &mut self.joined, [&slices.as_flattened()], [None::<()>], control, flags)?;
        Ok(message.len())
    }
}

fn open(collector: &Collector) -> io::Result<Socket> {
    match collector.transport {
        Transport::Udp => {
            let any = match collector.address {
                SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
                SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
            };
            let socket = UdpSocket::bind(any)?;
            socket.connect(collector.address)?;
            Ok(Socket::Udp(Datagrams::new(socket)))
        }
        Transport::Tcp => {
            let stream = TcpStream::connect_timeout(&collector.address, PATIENCE)?;
            stream.set_write_timeout(Some(PATIENCE))?;
            stream.set_nodelay(true)?;
            Ok(Socket::Tcp(stream))
        }
    }
}
