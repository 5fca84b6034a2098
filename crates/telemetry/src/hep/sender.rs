//! The thread that sends captures: by datagram many in one system call, by stream a whole batch in one write.

use super::{Batch, Collector, Shared};
use crate::Paced;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, sendmmsg};
use proxy::Transport;
use std::io::{self, IoSlice, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// Datagrams of one system call.
const GROUP: usize = 64;
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
    /// What a system call needs beside the datagrams, kept for the next one.
    headers: MultiHeaders<()>,
    open: Option<(Transport, SocketAddr, Socket)>,
    /// Not before then is it tried again, and the wait after the next failure.
    try_at: Option<Instant>,
    wait: Duration,
    /// The collector of the last try: another one is tried at once.
    tried: Option<(Transport, SocketAddr)>,
}

enum Socket {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Line {
    fn new() -> Line {
        Line { headers: MultiHeaders::preallocate(GROUP, None), open: None, try_at: None, wait: BACKOFF, tried: None }
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
            Socket::Udp(socket) => send_all(socket, &mut self.headers, bytes, ends),
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

/// Sends datagrams, each of which ends where `ends` says, as many as a system call takes at a time. Returns how many left.
fn send_all(socket: &UdpSocket, headers: &mut MultiHeaders<()>, bytes: &[u8], ends: &[usize]) -> u64 {
    // The socket is connected.
    const NOBODY: [Option<()>; GROUP] = [None; GROUP];
    let (mut start, mut rest, mut left) = (0, ends, 0);
    while !rest.is_empty() {
        let group = rest.get(..GROUP).unwrap_or(rest);
        let starts = std::iter::once(&start).chain(group);
        let mut slices = [[IoSlice::new(&[])]; GROUP];
        for (slice, (start, end)) in slices.iter_mut().zip(starts.zip(group)) {
            *slice = [IoSlice::new(bytes.get(*start..*end).unwrap_or_default())];
        }
        let slices = slices.get(..group.len()).unwrap_or_default();
        let done = match sendmmsg(socket.as_raw_fd(), headers, slices, NOBODY, [], MsgFlags::MSG_NOSIGNAL) {
            Ok(taken) => {
                let count = taken.count();
                left += count;
                count
            }
            Err(Errno::EINTR) => 0,
            // A collector that is away is told by ICMP on the next send, which is lost; the socket serves on.
            Err(_) => 1,
        };
        start = done.checked_sub(1).and_then(|last| rest.get(last)).copied().unwrap_or(start);
        rest = rest.get(done..).unwrap_or_default();
    }
    u64::try_from(left).unwrap_or(u64::MAX)
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
            Ok(Socket::Udp(socket))
        }
        Transport::Tcp => {
            let stream = TcpStream::connect_timeout(&collector.address, PATIENCE)?;
            stream.set_write_timeout(Some(PATIENCE))?;
            stream.set_nodelay(true)?;
            Ok(Socket::Tcp(stream))
        }
    }
}
