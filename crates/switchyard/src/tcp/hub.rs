//! Where connections are known: by their number, and by the address that they lead to.

use super::line::Line;
use super::{
    Arrived, CONNECT_OR_DATAGRAM_WITHIN, CONNECT_WITHIN, CONNECTIONS_GATHERED, CONNECTIONS_PER_SOURCE, Parts, Ways,
};
use super::{accept, connection};
use crate::udp::Interfaces;
use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;
use proxy::{Flow, InterfaceId, ListenerId, Settings};
use sip::{Index, Parsed};
use std::cell::{Cell, RefCell, RefMut};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use telemetry::{Counters, Fact};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// How long the last messages may take to leave at the end.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);
/// The port of a Via that names none (RFC 3261 18.2.2).
const SIP_PORT: u16 = 5_060;
/// Bytes that one read takes in: many messages, where a peer has many to say.
const READ_BYTES: usize = 65_536;
/// Messages that are taken from the workers before they are written.
const ORDERS: usize = 64;

/// All connections. It lives on one thread and is lent to the tasks there; no borrow is held over an await.
pub struct Hub {
    settings: Arc<ArcSwap<Settings>>,
    interfaces: Arc<ArcSwap<Interfaces>>,
    connections_max: usize,
    counters: Arc<Counters>,
    pub(super) arrived: Ways,
    connections: RefCell<Connections>,
    next: Cell<u64>,
    /// What a read takes in is cut into messages before the next read.
    buffer: RefCell<Box<[u8]>>,
    /// Those with something to write when the turn ends.
    due: RefCell<Vec<Rc<Line>>>,
    /// Those that are read by the clock.
    gathered: RefCell<Vec<Rc<Line>>>,
    /// Whether those that are told of something are read by the clock from then on.
    gathers: Cell<bool>,
}

#[derive(Default)]
struct Connections {
    by_number: HashMap<u64, Rc<Line>>,
    /// One that leads there, where there are several.
    by_address: HashMap<(ListenerId, SocketAddr), Rc<Line>>,
}

/// Serves workers that have threads of their own, until they have dropped their ends; then sends what is left.
pub(super) async fn serve(parts: Parts, arrived: Ways, mut orders: mpsc::Receiver<(Flow, Bytes)>) {
    let hub = Hub::begin(parts, arrived);
    let mut taken = Vec::with_capacity(ORDERS);
    while orders.recv_many(&mut taken, ORDERS).await > 0 {
        taken.drain(..).for_each(|(flow, bytes)| hub.send(flow, bytes));
        hub.flush();
    }
    hub.leave().await;
}

impl Hub {
    /// Listens, and serves every connection by tasks on the calling thread: within a [`tokio::task::LocalSet`].
    pub(super) fn begin(parts: Parts, arrived: Ways) -> Rc<Hub> {
        let Parts { listeners, settings, interfaces, connections_max, counters } = parts;
        let hub = Rc::new(Hub {
            settings,
            interfaces,
            connections_max,
            counters,
            arrived,
            connections: RefCell::default(),
            next: Cell::new(1),
            buffer: RefCell::new(vec![0; READ_BYTES].into_boxed_slice()),
            due: RefCell::default(),
            gathered: RefCell::default(),
            gathers: Cell::default(),
        });
        let addresses =
            listeners.iter().filter_map(|(id, listener)| Some((*id, listener.local_addr().ok()?))).collect();
        for (id, listener) in listeners {
            if let Err(error) = accept::share_port(&listener) {
                tracing::warn!(%error, "peers that are tied to an interface cannot be told apart on TCP");
            }
            tokio::task::spawn_local(accept::accept(Rc::clone(&hub), id, InterfaceId::OTHER, listener));
        }
        tokio::task::spawn_local(accept::follow_interfaces(Rc::clone(&hub), addresses));
        hub
    }

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
            let of_source = connections.by_number.values().filter(|line| line.flow.remote.ip() == remote.ip()).count();
            (connections.by_number.len(), of_source)
        };
        if of_source >= CONNECTIONS_PER_SOURCE {
            return self.closed("too_many_of_source");
        }
        if in_all >= self.connections_max {
            return self.closed("too_many");
        }
        let line = self.enter(listener, interface, remote);
        self.counters.note(Fact::StreamOpened("accepted"));
        tokio::task::spawn_local(connection::serve(Rc::clone(self), line, stream));
    }

    /// Puts a message on its connection; opens one where there is none. [`Hub::flush`] writes it.
    ///
    /// A request goes over any connection to the same address and port (18.1.1). A response goes over the connection that
    /// its request came by; when that is gone, to the source address at the port in the Via (18.2.2).
    pub fn send(self: &Rc<Self>, flow: Flow, bytes: Bytes) {
        let (line, remote) = match self.known(&flow) {
            Some(line) => (line, flow.remote),
            None => {
                let remote = SocketAddr::new(flow.remote.ip(), answer_port(&bytes).unwrap_or(flow.remote.port()));
                let there = Flow { connection: 0, remote, ..flow };
                (self.known(&there).unwrap_or_else(|| self.dial(flow.listener, remote)), remote)
            }
        };
        if let Err(bytes) = line.queue(self, bytes) {
            self.undelivered(Flow { remote, ..flow }, bytes, "no_room");
        } else if line.becomes_due() {
            self.due.borrow_mut().push(line);
        }
    }

    /// Writes what was sent since the last time: for each connection in one call, as far as its peer has room.
    pub fn flush(&self) {
        loop {
            let Some(line) = self.due.borrow_mut().pop() else { return };
            line.write(self);
        }
    }

    /// Takes in what has come on the connections that are read by the clock. One that is told of something from now on is
    /// one of them, [`CONNECTIONS_GATHERED`] at one time, until [`Hub::release`].
    pub fn gather(&self) {
        self.gathers.set(true);
        let mut place = 0;
        loop {
            let Some(line) = self.gathered.borrow().get(place).map(Rc::clone) else { return };
            line.read_untold(self);
            place += 1;
        }
    }

    /// From now on every connection is told again of what comes.
    pub fn release(&self) {
        self.gathers.set(false);
        self.gathered.borrow_mut().drain(..).for_each(|line| line.release());
    }

    /// A connection was told of something.
    pub(super) fn offer_to_gather(&self, line: &Rc<Line>) {
        let mut gathered = self.gathered.borrow_mut();
        if self.gathers.get() && !line.is_gathered() && line.ended().is_none() && gathered.len() < CONNECTIONS_GATHERED
        {
            line.gather();
            gathered.push(Rc::clone(line));
        }
    }

    /// Where a read puts what it takes in.
    pub(super) fn buffer(&self) -> RefMut<'_, Box<[u8]>> {
        self.buffer.borrow_mut()
    }

    fn known(&self, flow: &Flow) -> Option<Rc<Line>> {
        let connections = self.connections.borrow();
        let by_address = || connections.by_address.get(&(flow.listener, flow.remote));
        connections.by_number.get(&flow.connection).or_else(by_address).map(Rc::clone)
    }

    fn dial(self: &Rc<Self>, listener: ListenerId, remote: SocketAddr) -> Rc<Line> {
        let line = self.enter(listener, InterfaceId::OTHER, remote);
        let settings = self.settings();
        let local = settings.listener(listener).map(|listener| listener.address.ip());
        let within = match settings.peer_by_size(remote) {
            Some(_) => CONNECT_OR_DATAGRAM_WITHIN,
            None => CONNECT_WITHIN,
        };
        self.counters.note(Fact::StreamOpened("dialled"));
        tokio::task::spawn_local(connection::dial(Rc::clone(self), Rc::clone(&line), local, within));
        line
    }

    fn enter(&self, listener: ListenerId, interface: InterfaceId, remote: SocketAddr) -> Rc<Line> {
        let connection = self.next.get();
        self.next.set(connection + 1);
        let line = Rc::new(Line::new(Flow { listener, remote, connection, interface }));
        let mut connections = self.connections.borrow_mut();
        connections.by_number.insert(connection, Rc::clone(&line));
        connections.by_address.entry((listener, remote)).or_insert_with(|| Rc::clone(&line));
        drop(connections);
        self.count();
        line
    }

    /// A connection is read no more: no request goes there.
    pub(super) fn lead_past(&self, line: &Rc<Line>) {
        self.connections.borrow_mut().lead_past(line);
    }

    /// A connection is over: its number leads nowhere from now on.
    pub(super) fn leave_out(&self, line: &Rc<Line>, reason: &'static str) {
        self.gathered.borrow_mut().retain(|one| !Rc::ptr_eq(one, line));
        let was_known = self.connections.borrow_mut().remove(line);
        if was_known {
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
        let open = self.connections.borrow().by_number.len();
        self.counters.note(Fact::OpenStreams(u64::try_from(open).unwrap_or(u64::MAX)));
    }

    /// Writes what is left, within a time.
    pub async fn leave(&self) {
        self.flush();
        let lines: Vec<Rc<Line>> = self.connections.take().by_number.into_values().collect();
        let until = Instant::now() + LEAVE_WITHIN;
        for line in lines {
            let _waited = timeout_at(until, line.write_all(self)).await;
        }
    }
}

impl Connections {
    fn remove(&mut self, line: &Rc<Line>) -> bool {
        self.lead_past(line);
        self.by_number.remove(&line.flow.connection).is_some()
    }

    fn lead_past(&mut self, line: &Rc<Line>) {
        let address = (line.flow.listener, line.flow.remote);
        if self.by_address.get(&address).is_some_and(|known| Rc::ptr_eq(known, line)) {
            self.by_address.remove(&address);
            // What we have opened to an address and what was opened from there may be two.
            let leads_there = |other: &&Rc<Line>| {
                (other.flow.listener, other.flow.remote) == address
                    && !Rc::ptr_eq(other, line)
                    && other.ended().is_none()
            };
            if let Some(other) = self.by_number.values().find(leads_there) {
                self.by_address.insert(address, Rc::clone(other));
            }
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
