//! The sockets of all ends: batches in and out, datagrams or connections, and nothing that waits but one poll.

use crate::plan::{Plan, Transport};
use crate::read;
use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg, sendmmsg};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

const BATCH: usize = 32;
const SLOT_BYTES: usize = 8_192;
const BUFFER_BYTES: usize = 4 << 20;

/// Which end, and which of its connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Place {
    pub(crate) end: usize,
    pub(crate) stream: usize,
}

/// The sockets.
pub(crate) struct Wire {
    ends: Vec<End>,
    arriving: MultiHeaders<()>,
    leaving: MultiHeaders<()>,
    /// Datagrams that the kernel did not take.
    pub(crate) unsent: u64,
}

struct End {
    socket: Kind,
    /// What waits for the flush.
    bytes: Vec<u8>,
    messages: Vec<(Range<usize>, usize)>,
}

enum Kind {
    Datagrams(UdpSocket),
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
            let opened = match plan.transport {
                Transport::Udp => datagrams(address, plan.proxy),
                Transport::Tcp if place == plan.caller() => connected(address, plan.proxy),
                Transport::Tcp => listening(address),
            };
            let socket = opened.with_context(|| format!("{address} cannot be opened toward {}", plan.proxy))?;
            ends.push(End { socket, bytes: Vec::new(), messages: Vec::new() });
        }
        let (arriving, leaving) = (MultiHeaders::preallocate(BATCH, None), MultiHeaders::preallocate(BATCH, None));
        Ok(Wire { ends, arriving, leaving, unsent: 0 })
    }

    /// Where the ends are bound.
    pub(crate) fn addresses(&self) -> Vec<SocketAddrV4> {
        let of = |end: &End| match &end.socket {
            Kind::Datagrams(socket) => socket.local_addr().ok(),
            Kind::Streams { listener: Some(listener), .. } => listener.local_addr().ok(),
            Kind::Streams { streams, .. } => streams.first().and_then(|stream| stream.socket.local_addr().ok()),
        };
        let v4 = |address| match address {
            Some(SocketAddr::V4(address)) => address,
            _ => SocketAddrV4::new([0; 4].into(), 0),
        };
        self.ends.iter().map(|end| v4(of(end))).collect()
    }

    /// Lets `write` put one message in the queue of a place.
    pub(crate) fn queue(&mut self, place: Place, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(end) = self.ends.get_mut(place.end) {
            let start = end.bytes.len();
            write(&mut end.bytes);
            end.messages.push((start..end.bytes.len(), place.stream));
        }
    }

    /// Sends what is queued.
    pub(crate) fn flush(&mut self) {
        for end in &mut self.ends {
            if let Kind::Datagrams(socket) = &end.socket {
                let fd = socket.as_raw_fd();
                for some in end.messages.chunks(BATCH) {
                    self.unsent += send(fd, &mut self.leaving, &end.bytes, some);
                }
            } else if let Kind::Streams { streams, .. } = &mut end.socket {
                for (range, stream) in &end.messages {
                    if let Some(stream) = streams.get_mut(*stream) {
                        stream.leaving.extend_from_slice(end.bytes.get(range.clone()).unwrap_or_default());
                    }
                }
                streams.iter_mut().for_each(Stream::write);
            }
            end.bytes.clear();
            end.messages.clear();
        }
    }

    /// Takes in what has arrived at one end, a batch at most.
    pub(crate) fn receive(&mut self, end: usize, inbox: &mut Inbox) {
        inbox.messages.clear();
        match self.ends.get_mut(end).map(|end| &mut end.socket) {
            Some(Kind::Datagrams(socket)) => {
                let fd = socket.as_raw_fd();
                let mut slots = inbox.slots.iter_mut();
                let mut slices: [[IoSliceMut<'_>; 1]; BATCH] =
                    std::array::from_fn(|_| [IoSliceMut::new(slots.next().map_or(&mut [], Vec::as_mut_slice))]);
                // An error is an ICMP message about something sent before, or nothing to read.
                if let Ok(received) = recvmmsg(fd, &mut self.arriving, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)
                {
                    inbox.messages.extend(received.map(|message| (message.bytes, 0)));
                }
            }
            Some(Kind::Streams { listener, streams }) => {
                if let Some(Ok((socket, _))) = listener.as_ref().map(TcpListener::accept) {
                    streams.extend(Stream::new(socket).ok());
                }
                for (place, stream) in streams.iter_mut().enumerate() {
                    stream.read(place, inbox);
                }
            }
            None => {}
        }
    }

    /// Waits until something arrives, or for so long.
    pub(crate) fn wait(&self, time: Duration) {
        let flags = |stream: &Stream| match stream.leaving.is_empty() {
            true => PollFlags::POLLIN,
            false => PollFlags::POLLIN | PollFlags::POLLOUT,
        };
        let mut all: Vec<PollFd<'_>> = Vec::with_capacity(16);
        let mut add = |fd, flags| all.push(PollFd::new(fd, flags));
        for end in &self.ends {
            match &end.socket {
                Kind::Datagrams(socket) => add(fd_of(socket), PollFlags::POLLIN),
                Kind::Streams { listener, streams } => {
                    listener.iter().for_each(|listener| add(fd_of(listener), PollFlags::POLLIN));
                    streams.iter().for_each(|stream| add(fd_of(&stream.socket), flags(stream)));
                }
            }
        }
        // A wait that a signal cuts short is only shorter.
        let _woken = ppoll(&mut all, Some(TimeSpec::from_duration(time)), None);
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

fn fd_of(socket: &impl AsFd) -> BorrowedFd<'_> {
    socket.as_fd()
}

/// Sends one group; returns how many were not taken.
fn send(fd: i32, headers: &mut MultiHeaders<()>, bytes: &[u8], messages: &[(Range<usize>, usize)]) -> u64 {
    let mut rest = messages;
    while !rest.is_empty() {
        let slices: Vec<_> =
            rest.iter().map(|(range, _)| [IoSlice::new(bytes.get(range.clone()).unwrap_or_default())]).collect();
        let to = [None; BATCH];
        match sendmmsg(fd, headers, slices.iter(), to, [], MsgFlags::MSG_DONTWAIT) {
            Ok(sent) => rest = rest.get(sent.count().max(1)..).unwrap_or_default(),
            // About something sent before: the next try tells of this one.
            Err(nix::Error::ECONNREFUSED) => {}
            Err(_) => return rest.len() as u64,
        }
    }
    0
}

fn datagrams(address: SocketAddrV4, proxy: SocketAddrV4) -> io::Result<Kind> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(BUFFER_BYTES)?;
    socket.set_send_buffer_size(BUFFER_BYTES)?;
    socket.bind(&address.into())?;
    socket.connect(&proxy.into())?;
    socket.set_nonblocking(true)?;
    Ok(Kind::Datagrams(socket.into()))
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
