//! One connection as a value: what has come and what waits to leave. Nothing here waits.

use super::hub::Hub;
use super::outbound::Outbound;
use super::unanswered::Unanswered;
use super::{ACKNOWLEDGE_WITHIN, Arrived, IDLE, MESSAGE_WITHIN, WRITE_WITHIN};
use bytes::Bytes;
use nix::sys::socket::{MsgFlags, recv};
use proxy::Flow;
use sip::{Fault, Frame, Framer, FramingLimits, Index, Method, Parsed, Reply};
use socket2::SockRef;
use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;

/// Why a connection ended that sent a message with no clear end.
pub(super) const REFUSED: &str = "refused";
/// Why a connection ended that the peer reset.
pub(super) const BROKEN: &str = "broken";
/// Why a connection ended that we had no more use for.
pub(super) const ENDED: &str = "ended";
/// The To tag of a refusal before any transaction: a stream that is refused has no dialog to tell apart.
const REFUSAL_TAG: &[u8] = b"refused";

/// One connection. Whoever has it may read and write it at any time; its task waits for what it tells of.
pub(super) struct Line {
    pub(super) flow: Flow,
    /// None until a connection that we open is there.
    stream: OnceCell<TcpStream>,
    framer: RefCell<Framer>,
    outbound: RefCell<Outbound>,
    unanswered: RefCell<Unanswered>,
    /// A message that the worker had no room for; nothing is read until it has.
    held: RefCell<Option<Arrived>>,
    /// When something last passed, in either direction.
    last: Cell<Instant>,
    /// Since when a message is in the making: its clock begins with its first byte, and only its last byte stops it.
    begun: Cell<Option<Instant>>,
    /// Since when the peer takes nothing of the message that is leaving.
    blocked: Cell<Option<Instant>>,
    /// Why it ends.
    ended: Cell<Option<&'static str>>,
    /// Nothing can be written any more.
    is_cut: Cell<bool>,
    /// It is read by the clock: nobody waits to be told.
    is_gathered: Cell<bool>,
    /// It has something to write when the turn ends.
    is_due: Cell<bool>,
    /// What its task waits for has changed.
    news: Notify,
    /// It has been opened, or never will be.
    opened: Notify,
}

impl Line {
    pub(super) fn new(flow: Flow) -> Line {
        Line {
            flow,
            stream: OnceCell::new(),
            framer: RefCell::new(Framer::new(FramingLimits::default())),
            outbound: RefCell::default(),
            unanswered: RefCell::default(),
            held: RefCell::default(),
            last: Cell::new(Instant::now()),
            begun: Cell::default(),
            blocked: Cell::default(),
            ended: Cell::default(),
            is_cut: Cell::default(),
            is_gathered: Cell::default(),
            is_due: Cell::default(),
            news: Notify::new(),
            opened: Notify::new(),
        }
    }

    /// The connection is there.
    pub(super) fn open(&self, stream: TcpStream) -> &TcpStream {
        // A failure leaves the kernel's delay on, nothing else.
        let _set = stream.set_nodelay(true);
        // A failure leaves the kernel's own patience. Given up, the connection is one that the peer reset.
        let _set = SockRef::from(&stream).set_tcp_user_timeout(Some(ACKNOWLEDGE_WITHIN));
        self.last.set(Instant::now());
        let stream = self.stream.get_or_init(|| stream);
        self.opened.notify_one();
        stream
    }

    /// It will not be.
    pub(super) fn cut(&self) {
        self.is_cut.set(true);
        self.opened.notify_one();
    }

    /// Resolves when [`Line::interest`], [`Line::ended`] or [`Line::deadline`] have changed.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    /// What is to be waited for; none while it is read by the clock, or not at all, and nothing is left to write.
    pub(super) fn interest(&self) -> Option<Interest> {
        let reads = !self.is_gathered.get() && self.held.borrow().is_none();
        match (reads, self.blocked.get().is_some()) {
            (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
            (true, false) => Some(Interest::READABLE),
            (false, true) => Some(Interest::WRITABLE),
            (false, false) => None,
        }
    }

    /// Why it is over; none while it is not.
    pub(super) fn ended(&self) -> Option<&'static str> {
        self.ended.get()
    }

    /// It ends, for this reason unless there is one already.
    pub(super) fn end(&self, reason: &'static str) {
        if self.ended.get().is_none() {
            self.ended.set(Some(reason));
        }
        self.news.notify_one();
    }

    /// When [`Line::expire`] is to be called.
    pub(super) fn deadline(&self) -> Instant {
        let silent = match (self.begun.get(), self.held.borrow().is_some()) {
            (Some(begun), _) => begun + MESSAGE_WITHIN,
            // A peer that we let wait is not silent.
            (None, true) => Instant::now() + IDLE,
            (None, false) => self.last.get() + IDLE,
        };
        self.written_by().map_or(silent, |written_by| written_by.min(silent))
    }

    /// Until when the peer must have read the message that is leaving; none while it reads.
    pub(super) fn written_by(&self) -> Option<Instant> {
        self.blocked.get().map(|since| since + WRITE_WITHIN)
    }

    /// Ends it when its time is over.
    pub(super) fn expire(&self) {
        let now = Instant::now();
        if self.written_by().is_some_and(|by| by <= now) {
            self.cut();
            self.end("write_timeout");
        } else if self.begun.get().is_some_and(|begun| begun + MESSAGE_WITHIN <= now) {
            self.end("message_timeout");
        } else if self.deadline() <= now {
            self.end("idle");
        }
    }

    /// Takes in what has come, once the runtime has told that something has. True when there may be more.
    pub(super) fn read_told(self: &Rc<Self>, hub: &Hub) -> bool {
        let Some(stream) = self.stream.get() else { return false };
        let mut buffer = hub.buffer();
        let mut taken = None;
        let done = stream.try_io(Interest::READABLE, || {
            let bytes = receive(stream, &mut buffer)?;
            taken = Some(bytes);
            // What does not fill the buffer was all: to say so spares the call that would find nothing.
            if bytes == buffer.len() { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
        });
        match (taken, done) {
            (Some(bytes), _) => {
                self.take_in(hub, buffer.get(..bytes).unwrap_or_default());
                hub.offer_to_gather(self);
            }
            (None, Err(error)) if error.kind() != io::ErrorKind::WouldBlock => self.end(BROKEN),
            (None, _) => {}
        }
        taken == Some(buffer.len())
    }

    /// The same without having been told. What the runtime knows stays true.
    pub(super) fn read_untold(&self, hub: &Hub) {
        let Some(stream) = self.stream.get() else { return };
        if self.ended.get().is_some() || self.held.borrow().is_some() {
            return;
        }
        let mut buffer = hub.buffer();
        match receive(stream, &mut buffer) {
            Ok(bytes) => self.take_in(hub, buffer.get(..bytes).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.end(BROKEN),
        }
    }

    fn take_in(&self, hub: &Hub, bytes: &[u8]) {
        if bytes.is_empty() {
            return self.end("ended_by_peer");
        }
        self.last.set(Instant::now());
        hub.count_received(bytes.len());
        self.framer.borrow_mut().push(bytes);
        self.pass_frames(hub);
    }

    /// Passes on what is complete, as long as the worker has room, and writes what the framing answers.
    pub(super) fn pass_frames(&self, hub: &Hub) {
        let mut framer = self.framer.borrow_mut();
        let mut was_completed = false;
        while self.held.borrow().is_none()
            && let Some(frame) = framer.next()
        {
            was_completed = true;
            match frame {
                Frame::Message(message) => self.pass(hub, message),
                Frame::Ping => self.outbound.borrow_mut().pong(),
                Frame::Refuse { head, fault } => {
                    if let Some(refusal) = refusal(self.flow.remote, head, fault) {
                        self.outbound.borrow_mut().reply(refusal);
                    }
                    self.end(REFUSED);
                }
                Frame::Close(reason) => self.end(reason.name()),
            }
        }
        let is_in_the_making = framer.pending() > 0 && self.held.borrow().is_none();
        self.begun.set(match self.begun.get() {
            _ if !is_in_the_making => None,
            Some(begun) if !was_completed => Some(begun),
            _ => Some(Instant::now()),
        });
        drop(framer);
        if !self.outbound.borrow().is_empty() {
            self.write(hub);
        }
    }

    fn pass(&self, hub: &Hub, message: &[u8]) {
        self.unanswered.borrow_mut().note_answer(message);
        let arrived = Arrived::Message(self.flow, Bytes::copy_from_slice(message));
        match hub.arrived.of(message).try_send(arrived) {
            Ok(()) => {}
            // A worker that is behind makes this peer wait, as its own kernel would.
            Err(TrySendError::Full(arrived)) => {
                self.held.replace(Some(arrived));
                self.news.notify_one();
            }
            Err(TrySendError::Closed(_)) => self.end(ENDED),
        }
    }

    /// Waits until the worker that has the held message has room, passes it on, and goes on with what came behind it. For
    /// ever while none is held.
    pub(super) async fn pass_held(&self, hub: &Hub) {
        let way = match &*self.held.borrow() {
            Some(Arrived::Message(_, bytes)) => Some(hub.arrived.of(bytes).clone()),
            _ => None,
        };
        let Some(way) = way else { return std::future::pending().await };
        match way.reserve().await {
            Ok(room) => {
                if let Some(held) = self.held.take() {
                    room.send(held);
                }
                self.pass_frames(hub);
            }
            Err(_) => self.end(ENDED),
        }
    }

    /// Queues a message; gives it back where there is no room. [`Hub::flush`] writes it.
    pub(super) fn queue(&self, hub: &Hub, bytes: Bytes) -> Result<(), Bytes> {
        if self.outbound.borrow().is_full() {
            self.write(hub);
        }
        let mut outbound = self.outbound.borrow_mut();
        if outbound.is_full() {
            return Err(bytes);
        }
        outbound.push(bytes);
        Ok(())
    }

    /// True the first time, until [`Line::write`].
    pub(super) fn becomes_due(&self) -> bool {
        !self.is_due.replace(true)
    }

    /// Writes all that waits, as far as the kernel takes it: many messages in one call.
    pub(super) fn write(&self, hub: &Hub) {
        self.is_due.set(false);
        let Some(stream) = self.stream.get() else { return };
        let mut outbound = self.outbound.borrow_mut();
        while !outbound.is_empty() && !self.is_cut.get() {
            let (slices, filled) = outbound.slices();
            match stream.try_write_vectored(slices.get(..filled).unwrap_or_default()) {
                Ok(bytes) => {
                    self.last.set(Instant::now());
                    hub.count_sent(bytes);
                    let mut unanswered = self.unanswered.borrow_mut();
                    if outbound.left(bytes, |message| unanswered.keep(message)) {
                        self.blocked.set(None);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.blocked.get().is_none() {
                        self.blocked.set(Some(Instant::now()));
                    }
                    return self.news.notify_one();
                }
                Err(_) => {
                    self.cut();
                    return self.end(BROKEN);
                }
            }
        }
        self.blocked.set(None);
    }

    /// Writes until nothing waits any more, or nothing can be written.
    pub(super) async fn write_all(&self, hub: &Hub) {
        loop {
            self.write(hub);
            if self.outbound.borrow().is_empty() || self.is_cut.get() {
                return;
            }
            match self.stream.get() {
                Some(stream) => {
                    // An error is found by the write.
                    let _ready = stream.writable().await;
                }
                None => self.opened.notified().await,
            }
        }
    }

    /// Gives back what has not left, and then what has left and may never have been read: whether it was nobody knows, and no
    /// answer comes by this connection any more (RFC 3261 18.4).
    pub(super) fn give_back(&self, hub: &Hub) {
        let waited = self.outbound.borrow_mut().take();
        waited.for_each(|bytes| hub.undelivered(self.flow, bytes, "no_stream"));
        if self.ended.get() != Some(ENDED) {
            let written = self.unanswered.borrow_mut().take();
            written.for_each(|bytes| hub.undelivered(self.flow, bytes, BROKEN));
        }
    }

    /// From now on it is read by the clock.
    pub(super) fn gather(&self) {
        self.is_gathered.set(true);
    }

    /// From now on its task is told again. Whatever has come meanwhile, the runtime tells.
    pub(super) fn release(&self) {
        self.is_gathered.set(false);
        self.news.notify_one();
    }

    pub(super) fn is_gathered(&self) -> bool {
        self.is_gathered.get()
    }
}

/// Reads without waiting, whatever the runtime knows.
fn receive(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(recv(stream.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT)?)
}

/// The answer to a message whose length cannot be believed.
fn refusal(remote: SocketAddr, head: &[u8], fault: Fault) -> Option<Bytes> {
    let mut index = Index::new();
    let mut out = Vec::new();
    let source = Some((remote.ip(), remote.port()));
    let reply = Reply { status: fault.status(), reason: fault.reason(), to_tag: Some(REFUSAL_TAG), source, extra: &[] };
    match sip::parse_framed(head, &mut index) {
        Parsed::Request(request) if request.method() != Method::Ack => reply.write(&request, &mut out),
        Parsed::Answerable(bad) => reply.write(&bad.message, &mut out),
        _ => return None,
    }
    Some(out.into())
}
