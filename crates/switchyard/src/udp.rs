//! UDP: one socket per listener, batches in, batches out.
//!
//! A batch comes in with one `recvmmsg` into slots that hold any datagram whole; what the core answers leaves with few
//! system calls per drain, datagrams of one length to one destination together ([`telemetry::join`]). ICMP errors are read from the socket's error queue, because only there stands which
//! destination they are about (RFC 3261 18.4).

pub mod filter;
mod heard;
mod open;
mod receive;
mod send;
pub mod spread;

pub use open::{Notice, OpenFault, open, open_shared};
pub use receive::{Batch, Interfaces, Unreachable};
pub use send::{Failed, SendFault, Sent};

use filter::Network;
use proxy::ListenerId;
use send::{Envelopes, Outgoing};
use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use telemetry::join::takes_joined;
use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, Ready};

/// Datagrams that one system call takes in at most: what gathers for a moment at the highest rates, twice.
pub const BATCH: usize = 64;
/// Bytes of one slot: any UDP datagram fits whole.
pub const SLOT_BYTES: usize = 65_536;
/// Datagrams that wait when the kernel takes no more; what comes on top is dropped and counted.
pub const BACKLOG: usize = 1_024;
/// Of these, datagrams to one destination: one that is held up leaves room for the others.
pub const BACKLOG_PER_DESTINATION: usize = 256;
/// The socket buffers that are asked for: about 3,600 datagrams of 1 kB in a burst.
pub const BUFFER_BYTES: usize = 4 << 20;

/// A socket that the runtime tells of what arrives, and of errors. It is not told of room to send: that comes with each
/// datagram that leaves the kernel, and would wake the worker as often.
pub type Waiting = AsyncFd<std::net::UdpSocket>;

/// The socket of one UDP listener, in the runtime of the worker that owns it.
#[derive(Debug)]
pub struct UdpSocket {
    listener: ListenerId,
    socket: Rc<Waiting>,
    outgoing: Outgoing,
    envelopes: Envelopes,
    /// How many datagrams the next batch asks for.
    asks: usize,
    /// The kernel's own count of what it dropped, as last seen: it wraps.
    dropped_seen: u32,
    /// What may reach the socket is filtered, and its receive buffer has room for so many bytes.
    filtered_room_bytes: Option<usize>,
    /// The last batch left open whether the buffer had been full.
    was_tight: bool,
    /// A call failed as one does when ICMP has told of an earlier datagram.
    may_have_errors: bool,
}

impl UdpSocket {
    /// Takes an opened socket into the current runtime.
    pub fn new(listener: ListenerId, socket: std::net::UdpSocket) -> io::Result<UdpSocket> {
        let joins = takes_joined(&socket);
        let socket = Rc::new(waiting(socket)?);
        Ok(UdpSocket {
            listener,
            socket,
            outgoing: Outgoing::new(joins),
            envelopes: Envelopes::new(),
            asks: receive::ASKS_LEAST,
            dropped_seen: 0,
            filtered_room_bytes: None,
            was_tight: false,
            may_have_errors: false,
        })
    }

    /// The listener whose socket this is.
    pub fn listener(&self) -> ListenerId {
        self.listener
    }

    /// The address that the socket is bound to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().local_addr()
    }

    /// Lets in what comes from these networks and nothing else, from now on. The old filter goes first: no peer is shut
    /// out, whatever fails. An error leaves the socket open to all.
    pub fn admit(&mut self, networks: &[Network]) -> io::Result<()> {
        self.admit_all()?;
        let steps = filter::program(networks, self.local_addr()?.is_ipv4());
        let Some(steps) = steps else {
            return Err(io::Error::other("the peers' addresses need more instructions than a filter has"));
        };
        let socket = SockRef::from(&*self.socket);
        socket.attach_filter(&filter::as_filter(&steps))?;
        self.filtered_room_bytes = Some(socket.recv_buffer_size()?);
        Ok(())
    }

    /// Lets in whatever comes.
    pub fn admit_all(&mut self) -> io::Result<()> {
        self.filtered_room_bytes = None;
        match SockRef::from(&*self.socket).detach_filter() {
            // There was none.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    /// The socket to wait on, beside the one that sends.
    pub fn waiting(&self) -> Rc<Waiting> {
        Rc::clone(&self.socket)
    }
}

#[expect(
    deprecated,
    reason = "what took its place is unsafe, for types that may close their descriptor; this one does not"
)]
fn waiting(socket: std::net::UdpSocket) -> io::Result<Waiting> {
    AsyncFd::with_interest(socket, Interest::READABLE | Interest::ERROR)
}

/// Resolves when there is something to receive, or an error to read.
pub async fn ready(socket: Rc<Waiting>) -> io::Result<Ready> {
    socket.ready(Interest::READABLE | Interest::ERROR).await.map(|told| told.ready())
}

#[cfg(test)]
mod tests;
