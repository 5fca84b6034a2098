//! One connection: a task that reads and frames, and a task that writes.

use super::hub::Hub;
use super::{Arrived, IDLE, MESSAGE_WITHIN, WRITE_WITHIN, WRITTEN};
use bytes::{Bytes, BytesMut};
use proxy::Flow;
use sip::{Fault, Frame, Framer, FramingLimits, Index, Method, Parsed, Reply};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

/// Bytes that one read takes in.
const READ_BYTES: usize = 16_384;
/// The answer to a keepalive (RFC 5626 4.4.1).
const PONG: &[u8] = b"\r\n";
/// How long what a refused peer still sends is read away.
const DRAIN_WITHIN: Duration = Duration::from_secs(1);
/// Why a connection ended that sent a message with no clear end.
const REFUSED: &str = "refused";
/// Why a connection ended that the peer reset.
const BROKEN: &str = "broken";
/// Why a connection ended that we had no more use for.
const ENDED: &str = "ended";
/// The To tag of a refusal before any transaction: a stream that is refused has no dialog to tell apart.
const REFUSAL_TAG: &[u8] = b"refused";

/// What the two tasks of a connection share.
struct Shared {
    hub: Rc<Hub>,
    flow: Flow,
    /// When something last passed, in either direction.
    last: Cell<Instant>,
    /// Requests that the kernel took last and nobody has answered: the peer may never have read them.
    written: RefCell<VecDeque<Bytes>>,
}

/// Opens a connection from `local` and serves it. Until it is open, messages wait in their queue.
pub(super) async fn dial(
    hub: Rc<Hub>,
    flow: Flow,
    local: Option<IpAddr>,
    within: Duration,
    mut orders: mpsc::Receiver<Bytes>,
) {
    match timeout(within, connect(flow.remote, local)).await {
        Ok(Ok(stream)) => serve(hub, flow, stream, orders).await,
        failed => {
            hub.leave_out(flow.connection, if failed.is_err() { "connect_timeout" } else { "connect_refused" });
            give_back(&hub, flow, &mut orders);
        }
    }
}

async fn connect(remote: SocketAddr, local: Option<IpAddr>) -> std::io::Result<TcpStream> {
    let socket = super::socket(remote)?;
    if let Some(local) = local {
        // A port of the kernel's choice: the listener's own port belongs to what comes in.
        socket.bind(&SocketAddr::new(local, 0).into())?;
    }
    TcpSocket::from_std_stream(socket.into()).connect(remote).await
}

/// Serves an open connection until one side ends it.
pub(super) async fn serve(hub: Rc<Hub>, flow: Flow, stream: TcpStream, orders: mpsc::Receiver<Bytes>) {
    // A failure leaves the kernel's delay on, nothing else.
    let _set = stream.set_nodelay(true);
    let (mut read, write) = stream.into_split();
    let last = Cell::new(Instant::now());
    let shared = Rc::new(Shared { hub: Rc::clone(&hub), flow, last, written: RefCell::default() });
    let (pongs, waiting) = mpsc::channel(1);
    let mut writing = tokio::task::spawn_local(writer(Rc::clone(&shared), write, orders, waiting));
    let reason = tokio::select! {
        reason = reader(&shared, &mut read, pongs) => {
            hub.leave_out(flow.connection, reason);
            // With its entry gone, the queue has no sender: the writer ends when it is empty.
            let _ended = writing.await;
            if reason == REFUSED {
                // Closed with bytes that nobody read, the kernel would send a reset, and the answer might be lost.
                let _drained = timeout(DRAIN_WITHIN, drain(&mut read)).await;
            }
            reason
        }
        ended = &mut writing => ended.unwrap_or(BROKEN),
    };
    if reason != ENDED {
        // Whether the peer read them nobody knows; no answer comes by this connection any more (RFC 3261 18.4).
        let written = shared.written.take();
        written.into_iter().for_each(|bytes| hub.undelivered(flow, bytes, "broken"));
    }
}

/// Reads until there is nothing more to read, and tells why.
async fn reader(shared: &Shared, read: &mut OwnedReadHalf, replies: mpsc::Sender<Bytes>) -> &'static str {
    let mut framer = Framer::new(FramingLimits::default());
    let mut chunk = BytesMut::with_capacity(READ_BYTES);
    let mut begun: Option<Instant> = None;
    loop {
        chunk.clear();
        chunk.reserve(READ_BYTES);
        let until = begun.map_or_else(|| shared.last.get() + IDLE, |begun| begun + MESSAGE_WITHIN);
        match timeout_at(until, read.read_buf(&mut chunk)).await {
            Ok(Ok(0)) => return "ended_by_peer",
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return BROKEN,
            Err(_) if begun.is_some() => return "message_timeout",
            // What we sent meanwhile counts as life too.
            Err(_) if shared.last.get() + IDLE > Instant::now() => continue,
            Err(_) => return "idle",
        }
        shared.last.set(Instant::now());
        shared.hub.count_received(chunk.len());
        framer.push(&chunk);
        let was_completed = match take_frames(shared, &mut framer, &replies).await {
            Ok(frames) => frames > 0,
            Err(reason) => return reason,
        };
        // The clock of a message begins with its first byte; only its last byte stops it.
        begun = match begun {
            _ if framer.pending() == 0 => None,
            Some(begun) if !was_completed => Some(begun),
            _ => Some(Instant::now()),
        };
    }
}

/// Passes on what is complete, and tells how much that was; the error is why the stream ends here.
async fn take_frames(
    shared: &Shared,
    framer: &mut Framer,
    replies: &mpsc::Sender<Bytes>,
) -> Result<usize, &'static str> {
    let mut frames = 0;
    while let Some(frame) = framer.next() {
        frames += 1;
        match frame {
            Frame::Message(message) => {
                shared.forget_answered(message);
                let arrived = Arrived::Message(shared.flow, Bytes::copy_from_slice(message));
                // A worker that is behind makes this peer wait, as its own kernel would.
                if shared.hub.arrived.of(message).send(arrived).await.is_err() {
                    return Err(ENDED);
                }
            }
            // A peer that sends pings and reads no pong gets one when it reads.
            Frame::Ping => {
                let _queued = replies.try_send(Bytes::from_static(PONG));
            }
            Frame::Refuse { head, fault } => {
                if let Some(refusal) = refusal(shared.flow.remote, head, fault) {
                    let _queued = replies.send(refusal).await;
                }
                return Err(REFUSED);
            }
            Frame::Close(reason) => return Err(reason.name()),
        }
    }
    Ok(frames)
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

/// Reads and forgets, until the peer has ended its side.
async fn drain(read: &mut OwnedReadHalf) {
    let mut chunk = BytesMut::with_capacity(READ_BYTES);
    while read.read_buf(&mut chunk).await.is_ok_and(|len| len > 0) {
        chunk.clear();
    }
}

impl Shared {
    /// A response: its request has reached the peer, whatever becomes of the connection.
    fn forget_answered(&self, message: &[u8]) {
        let mut written = self.written.borrow_mut();
        if written.is_empty() || !message.starts_with(b"SIP/2.0 ") {
            return;
        }
        let mut index = Index::new();
        let Parsed::Response(response) = sip::parse_framed(message, &mut index) else { return };
        let Some(branch) = response.via().branch.filter(|branch| !branch.is_empty()) else { return };
        let method = response.cseq().method_bytes;
        written.retain(|request| {
            let is_of_method = request.strip_prefix(method).is_some_and(|rest| rest.starts_with(b" "));
            !(is_of_method && first_branch(request).is_some_and(|rest| rest.starts_with(branch)))
        });
    }

    /// Keeps a request that the kernel took.
    fn keep_written(&self, bytes: Bytes) {
        if bytes.starts_with(b"SIP/2.0 ") || bytes.starts_with(b"ACK ") {
            return;
        }
        let mut written = self.written.borrow_mut();
        if written.len() == WRITTEN {
            written.pop_front();
        }
        written.push_back(bytes);
    }
}

/// What a request of ours holds from the branch of its first Via on.
fn first_branch(request: &[u8]) -> Option<&[u8]> {
    const MARK: &[u8] = b";branch=";
    let at = request.windows(MARK.len()).position(|window| window == MARK)?;
    request.get(at + MARK.len()..)
}

/// Writes until the queue has no sender any more, or the peer does not read, and tells why it ended.
async fn writer(
    shared: Rc<Shared>,
    mut write: OwnedWriteHalf,
    mut orders: mpsc::Receiver<Bytes>,
    mut replies: mpsc::Receiver<Bytes>,
) -> &'static str {
    loop {
        let (bytes, is_ours) = tokio::select! {
            biased;
            Some(reply) = replies.recv() => (reply, false),
            Some(bytes) = orders.recv() => (bytes, true),
            else => return ENDED,
        };
        let reason = match timeout(WRITE_WITHIN, write.write_all(&bytes)).await {
            Ok(Ok(())) => {
                shared.last.set(Instant::now());
                shared.hub.count_sent(bytes.len());
                shared.keep_written(bytes);
                continue;
            }
            Ok(Err(_)) => BROKEN,
            Err(_) => "write_timeout",
        };
        shared.hub.leave_out(shared.flow.connection, reason);
        if is_ours {
            shared.hub.undelivered(shared.flow, bytes, "no_stream");
        }
        give_back(&shared.hub, shared.flow, &mut orders);
        return reason;
    }
}

/// What waited for a connection that does not come, or is gone.
fn give_back(hub: &Hub, flow: Flow, orders: &mut mpsc::Receiver<Bytes>) {
    orders.close();
    while let Ok(bytes) = orders.try_recv() {
        hub.undelivered(flow, bytes, "no_stream");
    }
}
