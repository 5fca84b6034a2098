//! TCP: listeners, connections, and framing between them and the worker.
//!
//! All connections live on one thread: that of the worker where there is one, else one of their own. A peer that never
//! reads, or sends a byte an hour, costs its own connection and nothing else: each has a bounded queue, deadlines, and a
//! place among a counted number. Messages pass to a worker through a bounded channel; the core sees [`proxy::Flow`]s with a
//! connection's number.
//!
//! A connection is a value (`line.rs`) that may be read and written at any time without waiting, and a task
//! (`connection.rs`) that waits for what is not tried anyway. So a worker at a high rate reads the busy ones by its clock,
//! and writes what a turn has for each of them in one call.

mod accept;
mod connection;
mod hub;
mod line;
mod outbound;
mod unanswered;
mod ways;

pub use hub::Hub;
pub use ways::Ways;

use crate::udp::Interfaces;
use arc_swap::ArcSwap;
use bytes::Bytes;
use proxy::{Flow, ListenerId, Settings};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use telemetry::Counters;
use tokio::sync::mpsc;

/// Connections in all; one more is closed at once. Those that we open ourselves always find a place.
pub const CONNECTIONS: usize = 4_096;
/// Connections from one address; one more is closed at once.
pub const CONNECTIONS_PER_SOURCE: usize = 256;
/// Connections that are read by the clock at one time; the others are told of what comes, at each look.
pub const CONNECTIONS_GATHERED: usize = 16;
/// Messages that wait on one connection for a peer that does not read; what comes on top is dropped and counted.
pub const QUEUE: usize = 256;
/// Requests of one connection that are told as undelivered when the peer resets it: the last that the kernel took. As many
/// as the kernel may take at once.
pub const WRITTEN: usize = QUEUE;
/// Messages that wait for the worker, or from the worker for their connections.
pub const MESSAGES: usize = 4_096;
/// How long a connect may take.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// How long a connect may take to a peer of transport `auto`, which gets everything by datagram after that.
pub const CONNECT_OR_DATAGRAM_WITHIN: Duration = Duration::from_millis(500);
/// How long one message may take from its first byte to its last.
pub const MESSAGE_WITHIN: Duration = Duration::from_secs(10);
/// How long a peer may take to read one message of ours.
pub const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// How long the kernel waits for a peer to acknowledge what was sent, or to have room again, before it gives the connection
/// up. A NAT that forgot the connection answers nothing: without this every new call would wait there for a quarter of an
/// hour.
pub const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection may be silent in both directions.
pub const IDLE: Duration = Duration::from_secs(900);

/// What the TCP side is made from.
#[derive(Debug)]
pub struct Parts {
    /// The listening sockets, each with its listener.
    pub listeners: Vec<(ListenerId, std::net::TcpListener)>,
    /// Who may connect, and the local addresses. Read for each new connection.
    pub settings: Arc<ArcSwap<Settings>>,
    /// The kernel's numbers of the interfaces that peers are tied to.
    pub interfaces: Arc<ArcSwap<Interfaces>>,
    /// Connections in all: [`CONNECTIONS`].
    pub connections_max: usize,
    /// Where connections are counted.
    pub counters: Arc<Counters>,
}

/// What a worker is told by the TCP side, and by other workers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Arrived {
    /// One message, cut from its stream.
    Message(Flow, Bytes),
    /// A datagram that arrived at another worker's socket.
    Datagram(Flow, Bytes),
    /// A message of ours that could not be delivered: refused, broken off, or no room.
    Undelivered(Flow, Bytes),
}

/// Binds `address` for listening, even before an interface has it.
pub fn open(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    accept::open(address, None)
}

/// Serves connections on the calling thread, that of the only worker, within a [`tokio::task::LocalSet`]: where messages
/// are sent, and what arrives.
pub fn serve_here(parts: Parts) -> (Rc<Hub>, mpsc::Receiver<Arrived>) {
    let (arriving, arrived) = mpsc::channel(MESSAGES);
    (Hub::begin(parts, Ways::to_one(arriving)), arrived)
}

/// Starts the TCP side on a thread of its own, for workers that have these ways to them. What they send goes where the
/// sender leads that it gives. It ends when that is dropped, after it has sent what it has.
pub fn start(parts: Parts, arriving: Ways) -> io::Result<mpsc::Sender<(Flow, Bytes)>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (outgoing, orders) = mpsc::channel(MESSAGES);
    std::thread::Builder::new().name("streams".to_owned()).spawn(move || {
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, hub::serve(parts, arriving, orders));
    })?;
    Ok(outgoing)
}

/// A stream socket of ours, not yet bound: the tunnel's address may come later.
fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv4() {
        socket.set_freebind_v4(true)?;
    } else {
        socket.set_only_v6(true)?;
        socket.set_freebind_v6(true)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests;
