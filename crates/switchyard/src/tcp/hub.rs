//! Where connections are known: by their number, and by the address that they lead to.

use super::{Arrived, CONNECT_OR_DATAGRAM_WITHIN, CONNECT_WITHIN, CONNECTIONS_PER_SOURCE, Parts, QUEUE, Ways};
use super::{accept, connection};
use crate::udp::Interfaces;
use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;
use proxy::{Flow, InterfaceId, ListenerId, Settings};
use sip::{Index, Parsed};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use telemetry::{Counters, Fact};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// How long the last messages may take to leave at the end.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);
/// The port of a Via that names none (RFC 3261 18.2.2).
const SIP_PORT: u16 = 5_060;

/// All connections. It lives on one thread and is lent to the tasks there; no borrow is held over an await.
pub(super) struct Hub {
    settings: Arc<ArcSwap<Settings>>,
    interfaces: Arc<ArcSwap<Interfaces>>,
    connections_max: usize,
    counters: Arc<Counters>,
    pub(super) arrived: Ways,
    connections: RefCell<HashMap<u64, Known>>,
    next: Cell<u64>,
}

/// One connection as others see it.
struct Known {
    listener: ListenerId,
    remote: SocketAddr,
    queue: mpsc::Sender<Bytes>,
}

/// Serves until the worker drops its end; then sends what is left.
pub(super) async fn serve(parts: Parts, arrived: Ways, mut orders: mpsc::Receiver<(Flow, Bytes)>) {
    let Parts { listeners, settings, interfaces, connections_max, counters } = parts;
    let hub = Rc::new(Hub {
        settings,
        interfaces,
        connections_max,
        counters,
        arrived,
        connections: RefCell::default(),
        next: Cell::new(1),
    });
    let addresses = listeners.iter().filter_map(|(id, listener)| Some((*id, listener.local_addr().ok()?))).collect();
    for (id, listener) in listeners {
        if let Err(error) = accept::share_port(&listener) {
            tracing::warn!(%error, "peers that are tied to an interface cannot be told apart on TCP");
        }
        tokio::task::spawn_local(accept::accept(Rc::clone(&hub), id, InterfaceId::OTHER, listener));
    }
    tokio::task::spawn_local(accept::follow_interfaces(Rc::clone(&hub), addresses));
    while let Some((flow, bytes)) = orders.recv().await {
        hub.send(flow, bytes);
    }
    hub.leave().await;
}

impl Hub {
    pub(super) fn settings(&self) -> Guard<Arc<Settings>> {
        self.settings.load()
    }

    pub(super) fn interfaces(&self) -> Guard<Arc<Interfaces>> {
        self.interfaces.load()
    }

    /// Counts a connection that was closed, or refused, by the reason.
    pub(super) fn closed(&self, reason: &'static str) {
        self.counters.note(Fact::StreamClosed(reason));
    }

    /// A connection that somebody opened to us. Strangers are closed at once and get no byte (SX1, SX9, SX16).
    pub(super) fn accepted(
        self: &Rc<Self>,
        listener: ListenerId,
        interface: InterfaceId,
        remote: SocketAddr,
        stream: TcpStream,
    ) {
        if !self.settings().is_peer_ip(remote.ip()) {
            return self.closed("stranger");
        }
        let (in_all, of_source) = {
            let connections = self.connections.borrow();
            let of_source = connections.values().filter(|known| known.remote.ip() == remote.ip()).count();
            (connections.len(), of_source)
        };
        if of_source >= CONNECTIONS_PER_SOURCE {
            return self.closed("too_many_of_source");
        }
        if in_all >= self.connections_max {
            return self.closed("too_many");
        }
        let (flow, orders) = self.enter(listener, interface, remote);
        self.counters.note(Fact::StreamOpened("accepted"));
        tokio::task::spawn_local(connection::serve(Rc::clone(self), flow, stream, orders));
    }

    /// Puts a message on its connection; opens one where there is none.
    ///
    /// A request goes over any connection to the same address and port (18.1.1). A response goes over the connection that
    /// its request came by; when that is gone, to the source address at the port in the Via (18.2.2).
    fn send(self: &Rc<Self>, flow: Flow, bytes: Bytes) {
        let (id, remote) = match self.known(&flow) {
            Some(id) => (id, flow.remote),
            None => {
                let remote = SocketAddr::new(flow.remote.ip(), answer_port(&bytes).unwrap_or(flow.remote.port()));
                let there = Flow { connection: 0, remote, ..flow };
                (self.known(&there).unwrap_or_else(|| self.dial(flow.listener, remote)), remote)
            }
        };
        let queue = self.connections.borrow().get(&id).map(|known| known.queue.clone());
        let Some(queue) = queue else { return self.undelivered(Flow { remote, ..flow }, bytes, "no_stream") };
        if let Err(error) = queue.try_send(bytes) {
            let (reason, bytes) = match error {
                mpsc::error::TrySendError::Full(bytes) => ("no_room", bytes),
                mpsc::error::TrySendError::Closed(bytes) => ("no_stream", bytes),
            };
            self.undelivered(Flow { remote, ..flow }, bytes, reason);
        }
    }

    fn known(&self, flow: &Flow) -> Option<u64> {
        let connections = self.connections.borrow();
        if connections.contains_key(&flow.connection) {
            return Some(flow.connection);
        }
        let leads_there = |known: &Known| known.listener == flow.listener && known.remote == flow.remote;
        connections.iter().find(|(_, known)| leads_there(known)).map(|(id, _)| *id)
    }

    fn dial(self: &Rc<Self>, listener: ListenerId, remote: SocketAddr) -> u64 {
        let (flow, orders) = self.enter(listener, InterfaceId::OTHER, remote);
        let settings = self.settings();
        let local = settings.listener(listener).map(|listener| listener.address.ip());
        let within = match settings.peer_by_size(remote) {
            Some(_) => CONNECT_OR_DATAGRAM_WITHIN,
            None => CONNECT_WITHIN,
        };
        self.counters.note(Fact::StreamOpened("dialled"));
        tokio::task::spawn_local(connection::dial(Rc::clone(self), flow, local, within, orders));
        flow.connection
    }

    fn enter(&self, listener: ListenerId, interface: InterfaceId, remote: SocketAddr) -> (Flow, mpsc::Receiver<Bytes>) {
        let id = self.next.get();
        self.next.set(id + 1);
        let (queue, orders) = mpsc::channel(QUEUE);
        self.connections.borrow_mut().insert(id, Known { listener, remote, queue });
        self.count();
        (Flow { listener, remote, connection: id, interface }, orders)
    }

    /// A connection is over: its number leads nowhere from now on.
    pub(super) fn leave_out(&self, connection: u64, reason: &'static str) {
        if self.connections.borrow_mut().remove(&connection).is_some() {
            self.closed(reason);
            self.count();
        }
    }

    pub(super) fn undelivered(&self, flow: Flow, bytes: Bytes, reason: &'static str) {
        self.counters.note(Fact::SendFailed(reason));
        // A worker that is this far behind finds out by its timers.
        let _told = self.arrived.of(&bytes).try_send(Arrived::Undelivered(flow, bytes));
    }

    pub(super) fn count_received(&self, bytes: usize) {
        self.counters.note(Fact::StreamReceived { bytes: u64::try_from(bytes).unwrap_or(u64::MAX) });
    }

    pub(super) fn count_sent(&self, bytes: usize) {
        self.counters.note(Fact::StreamSent { bytes: u64::try_from(bytes).unwrap_or(u64::MAX) });
    }

    fn count(&self) {
        let open = self.connections.borrow().len();
        self.counters.note(Fact::OpenStreams(u64::try_from(open).unwrap_or(u64::MAX)));
    }

    /// Closes every queue; connections end when theirs is empty.
    async fn leave(&self) {
        let queues: Vec<mpsc::Sender<Bytes>> =
            self.connections.borrow_mut().drain().map(|(_, known)| known.queue).collect();
        let until = tokio::time::Instant::now() + LEAVE_WITHIN;
        for queue in queues {
            // Room for every order means that every order has been taken.
            let emptied = queue.reserve_many(QUEUE);
            let _waited = tokio::time::timeout_at(until, emptied).await;
        }
    }
}

/// The port at which the sender of the request behind this response takes connections; `None` for a request.
fn answer_port(bytes: &[u8]) -> Option<u16> {
    let mut index = Index::new();
    match sip::parse_framed(bytes, &mut index) {
        Parsed::Response(response) => Some(response.via().port.unwrap_or(SIP_PORT)),
        _ => None,
    }
}
