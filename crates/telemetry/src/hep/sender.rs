//! The thread that sends captures: by datagram one by one, by stream as many as wait in one write.

use super::packet::{Packet, encode};
use super::{Collector, Shared};
use crate::Paced;
use proxy::Transport;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// Bytes that one write to a stream may have.
const BATCH_BYTES: usize = 64 << 10;
/// How often captures are looked for while they come: a worker wakes nobody, and each one has the time at which it was taken.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long a connect, or one write, may take. The queue fills meanwhile, and what finds no room is lost.
const PATIENCE: Duration = Duration::from_secs(2);
/// The first wait after a failure, and the longest: each one is twice as long as the one before.
const BACKOFF: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Sends until the last tap is gone.
pub(super) fn run(shared: &Shared, packets: &Receiver<Packet>) {
    let mut line = Line::new();
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    let mut paced = Paced::new(packets, LOOK_EVERY);
    while let Some(first) = paced.take() {
        let collector = shared.collector.load_full();
        let mut count = 0;
        let mut next = Some(first);
        bytes.clear();
        ends.clear();
        while let Some(packet) = next {
            shared.taken(packet.bytes.len());
            count += 1;
            if let Some(collector) = &collector
                && encode(&packet, collector, &mut bytes).is_some()
            {
                ends.push(bytes.len());
            }
            next = if bytes.len() < BATCH_BYTES { packets.try_recv().ok() } else { None };
        }
        let sent = collector.map_or(0, |collector| line.send(&collector, &bytes, &ends));
        shared.sent.fetch_add(sent, Ordering::Relaxed);
        shared.lost.fetch_add(count - sent, Ordering::Relaxed);
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
    Udp(UdpSocket),
    Tcp(TcpStream),
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
            Socket::Udp(socket) => {
                let starts = std::iter::once(0).chain(ends.iter().copied());
                let pieces = starts.zip(ends).filter_map(|(start, end)| bytes.get(start..*end));
                // A collector that is away is told by ICMP on the next send; the socket serves on.
                let left = pieces.filter(|piece| socket.send(piece).is_ok()).count();
                u64::try_from(left).unwrap_or(u64::MAX)
            }
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
