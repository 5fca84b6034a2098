//! The sockets of all ends: batches in and out, datagrams or connections, and nothing that waits but one poll.

use crate::lanes::{Lanes, Turn};
use crate::plan::{ENDS, Plan, Transport};
use crate::read;
use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, IoSliceMut, Read as _, Write as _};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

/// Datagrams taken at once at most: while it is told of each, and while it looks by the clock.
const BATCH_TOLD: usize = 8;
const BATCH: usize = 64;
const SLOT_BYTES: usize = 8_192;
const BUFFER_BYTES: usize = 4 << 20;

/// Which end, and which of its connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Place {
    pub(crate) end: usize,
    pub(crate) stream: usize,
}

/// The ends at which something has arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Readable([bool; ENDS]);

impl Readable {
    const ALL: Readable = Readable([true; ENDS]);

    pub(crate) fn iter(self) -> impl Iterator<Item = usize> {
        self.0.into_iter().enumerate().filter_map(|(end, is_readable)| is_readable.then_some(end))
    }
}

/// The sockets.
pub(crate) struct Wire {
    ends: Vec<Kind>,
    arriving: MultiHeaders<()>,
    /// Datagrams that the kernel did not take.
    pub(crate) unsent: u64,
}

enum Kind {
    Datagrams { socket: UdpSocket, lanes: Lanes },
    Streams { listener: Option<TcpListener>, streams: Vec<Stream> },
}

struct Stream {
    socket: TcpStream,
    arrived: Vec<u8>,
    leaving: Vec<u8>,
}

/// What one end has received.
pub(crate) struct Inbox {
    slots: Vec<Vec<u8>>,
    /// How long each is, and on which connection it came.
    pub(crate) messages: Vec<(usize, usize)>,
}

impl Inbox {
    pub(crate) fn new() -> Inbox {
        Inbox { slots: vec![vec![0; SLOT_BYTES]; BATCH], messages: Vec::with_capacity(BATCH) }
    }

    /// The messages, each with its connection.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], usize)> {
        let all = self.slots.iter().zip(&self.messages);
        all.map(|(slot, (len, stream))| (slot.get(..*len).unwrap_or_default(), *stream))
    }

    fn push(&mut self, bytes: &[u8], stream: usize) {
        if self.slots.len() == self.messages.len() {
            self.slots.push(vec![0; SLOT_BYTES]);
        }
        if let Some(slot) = self.slots.get_mut(self.messages.len()) {
            let len = bytes.len().min(slot.len());
            if let (Some(room), Some(bytes)) = (slot.get_mut(..len), bytes.get(..len)) {
                room.copy_from_slice(bytes);
            }
            self.messages.push((len, stream));
        }
    }
}

impl Wire {
    /// Opens all ends. With TCP the caller connects, and the callees wait for the proxy.
    pub(crate) fn open(plan: &Plan) -> Result<Wire> {
        let mut ends = Vec::new();
        for (place, address) in plan.ends().into_iter().enumerate() {
            let to = plan.sends_to(place);
            let opened = match plan.transport {
                Transport::Udp => datagrams(address, to, plan.singly),
                Transport::Tcp if place == plan.caller() => connected(address, to),
                Transport::Tcp => listening(address),
            };
            ends.push(opened.with_context(|| format!("{address} cannot be opened toward {to}"))?);
        }
        Ok(Wire { ends, arriving: MultiHeaders::preallocate(BATCH, None), unsent: 0 })
    }

    /// Where the ends are bound.
    pub(crate) fn addresses(&self) -> Vec<SocketAddrV4> {
        let of = |end: &Kind| match end {
            Kind::Datagrams { socket, .. } => socket.local_addr().ok(),
            Kind::Streams { listener: Some(listener), .. } => listener.local_addr().ok(),
            Kind::Streams { streams, .. } => streams.first().and_then(|stream| stream.socket.local_addr().ok()),
        };
        let v4 = |address| match address {
            Some(SocketAddr::V4(address)) => address,
            _ => SocketAddrV4::new([0; 4].into(), 0),
        };
        self.ends.iter().map(|end| v4(of(end))).collect()
    }

    /// Lets `write` put one message in the queue of a place, behind the last one of its call there.
    pub(crate) fn queue(&mut self, place: Place, turn: &mut Turn, write: impl FnOnce(&mut Vec<u8>)) {
        match self.ends.get_mut(place.end) {
            Some(Kind::Datagrams { lanes, .. }) => lanes.put(turn, write),
            Some(Kind::Streams { streams, .. }) => {
                if let Some(stream) = streams.get_mut(place.stream) {
                    write(&mut stream.leaving);
                }
            }
            None => {}
        }
    }

    /// Sends what is queued.
    pub(crate) fn flush(&mut self) {
        for end in &mut self.ends {
            match end {
                Kind::Datagrams { socket, lanes } => self.unsent += lanes.flush(socket.as_raw_fd()),
                Kind::Streams { streams, .. } => streams.iter_mut().for_each(Stream::write),
            }
        }
    }

    /// Takes in what has arrived at one end, a batch at most. True when there may be more.
    pub(crate) fn receive(&mut self, end: usize, by_clock: bool, inbox: &mut Inbox) -> bool {
        inbox.messages.clear();
        let batch = if by_clock { BATCH } else { BATCH_TOLD };
        match self.ends.get_mut(end) {
            Some(Kind::Datagrams { socket, .. }) => {
                let slots = inbox.slots.iter_mut().take(batch);
                let mut slices: Vec<_> = slots.map(|slot| [IoSliceMut::new(slot)]).collect();
                let (fd, flags) = (socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
                // An error is an ICMP message about something sent before, or nothing to read.
                if let Ok(received) = recvmmsg(fd, &mut self.arriving, slices.iter_mut(), flags, None) {
                    inbox.messages.extend(received.map(|message| (message.bytes, 0)));
                }
                inbox.messages.len() == batch
            }
            Some(Kind::Streams { listener, streams }) => {
                if let Some(Ok((socket, _))) = listener.as_ref().map(TcpListener::accept) {
                    streams.extend(Stream::new(socket).ok());
                }
                for (place, stream) in streams.iter_mut().enumerate() {
                    stream.read(place, inbox);
                }
                false
            }
            None => false,
        }
    }

    /// Waits until something arrives, or for so long; says where something has arrived.
    pub(crate) fn wait(&self, time: Duration) -> Readable {
        let time = Some(TimeSpec::from_duration(time));
        let mut fds: [Option<BorrowedFd<'_>>; ENDS] = [None; ENDS];
        for (fd, end) in fds.iter_mut().zip(&self.ends) {
            if let Kind::Datagrams { socket, .. } = end {
                *fd = Some(socket.as_fd());
            }
        }
        let [Some(one), Some(two), Some(three), Some(four)] = fds else { return self.wait_for_streams(time) };
        let mut all = [one, two, three, four].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        // A wait that a signal cuts short is only shorter.
        let _woken = ppoll(&mut all, time, None);
        Readable(all.map(|fd| fd.any().unwrap_or(false)))
    }

    fn wait_for_streams(&self, time: Option<TimeSpec>) -> Readable {
        let flags = |stream: &Stream| match stream.leaving.is_empty() {
            true => PollFlags::POLLIN,
            false => PollFlags::POLLIN | PollFlags::POLLOUT,
        };
        let mut all: Vec<PollFd<'_>> = Vec::with_capacity(16);
        for end in &self.ends {
            if let Kind::Streams { listener, streams } = end {
                all.extend(listener.iter().map(|listener| PollFd::new(listener.as_fd(), PollFlags::POLLIN)));
                all.extend(streams.iter().map(|stream| PollFd::new(stream.socket.as_fd(), flags(stream))));
            }
        }
        match ppoll(&mut all, time, None) {
            Ok(0) => Readable::default(),
            _ => Readable::ALL,
        }
    }
}

impl Stream {
    fn new(socket: TcpStream) -> io::Result<Stream> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        Ok(Stream { socket, arrived: Vec::new(), leaving: Vec::new() })
    }

    fn write(&mut self) {
        while !self.leaving.is_empty() {
            match self.socket.write(&self.leaving) {
                Ok(taken) if taken > 0 => drop(self.leaving.drain(..taken)),
                _ => return,
            }
        }
    }

    fn read(&mut self, place: usize, inbox: &mut Inbox) {
        let mut some = [0; 65_536];
        let len = self.socket.read(&mut some).unwrap_or(0);
        self.arrived.extend_from_slice(some.get(..len).unwrap_or_default());
        let mut done = 0;
        while let Some(rest) = self.arrived.get(done..)
            && let Some(len) = read::framed(rest)
        {
            inbox.push(rest.get(..len).unwrap_or_default(), place);
            done += len;
        }
        self.arrived.drain(..done);
    }
}

fn datagrams(address: SocketAddrV4, to: SocketAddrV4, singly: bool) -> io::Result<Kind> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(BUFFER_BYTES)?;
    socket.set_send_buffer_size(BUFFER_BYTES)?;
    socket.bind(&address.into())?;
    socket.connect(&to.into())?;
    socket.set_nonblocking(true)?;
    Ok(Kind::Datagrams { socket: socket.into(), lanes: Lanes::new(singly) })
}

fn connected(address: SocketAddrV4, proxy: SocketAddrV4) -> io::Result<Kind> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&SocketAddrV4::new(*address.ip(), 0).into())?;
    socket.connect(&proxy.into())?;
    Ok(Kind::Streams { listener: None, streams: vec![Stream::new(socket.into())?] })
}

fn listening(address: SocketAddrV4) -> io::Result<Kind> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(64)?;
    socket.set_nonblocking(true)?;
    Ok(Kind::Streams { listener: Some(socket.into()), streams: Vec::new() })
}
