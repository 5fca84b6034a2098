//! The way out: each message to the socket of its listener.

use crate::tcp::{Arrived, Hub};
use crate::udp::filter::Network;
use crate::udp::{Failed, Sent, UdpSocket, Waiting};
use bytes::Bytes;
use proxy::{Flow, ListenerId};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use telemetry::{Counters, Fact};
use tokio::sync::mpsc;

/// A message that found no way out.
#[derive(Debug)]
pub(super) struct Undelivered {
    pub(super) flow: Flow,
    pub(super) bytes: Vec<u8>,
}

/// The sockets of one worker.
pub(super) struct Transports {
    udp: Vec<UdpSocket>,
    /// Where messages for streams go that another thread has; none without a TCP listener.
    streams: Option<mpsc::Sender<(Flow, Bytes)>>,
    /// The streams, where this thread has them.
    own_streams: Option<Rc<Hub>>,
    sent: Sent,
    counters: Arc<Counters>,
}

impl Transports {
    pub(super) fn new(
        sockets: Vec<(ListenerId, std::net::UdpSocket)>,
        streams: Option<mpsc::Sender<(Flow, Bytes)>>,
        counters: Arc<Counters>,
    ) -> io::Result<Transports> {
        let udp = sockets.into_iter().map(|(listener, socket)| UdpSocket::new(listener, socket));
        let (udp, sent) = (udp.collect::<io::Result<_>>()?, Sent::default());
        Ok(Transports { udp, streams, own_streams: None, sent, counters })
    }

    /// The same, with streams on this thread.
    pub(super) fn with_streams(self, own_streams: Option<Rc<Hub>>) -> Transports {
        Transports { own_streams, ..self }
    }

    /// Takes in what has come on the streams of this thread, told or untold, while nothing of what came before waits.
    pub(super) async fn gather_streams(&self, arriving: Option<&mpsc::Receiver<Arrived>>) {
        let Some(hub) = &self.own_streams else { return };
        if arriving.is_some_and(mpsc::Receiver::is_empty) {
            hub.gather();
        }
        // The runtime looks at those that are told, and their tasks come before this one.
        tokio::task::yield_now().await;
    }

    /// Whether there are streams on this thread.
    pub(super) fn has_own_streams(&self) -> bool {
        self.own_streams.is_some()
    }

    /// From now on all streams are told of what comes.
    pub(super) fn release_streams(&self) {
        if let Some(hub) = &self.own_streams {
            hub.release();
        }
    }

    /// Writes what the streams of this thread have left, within a time.
    pub(super) async fn leave_streams(&self) {
        if let Some(hub) = &self.own_streams {
            hub.leave().await;
        }
    }

    /// The sockets to wait on, in the order in which [`Transports::socket`] counts.
    pub(super) fn waiting(&self) -> Vec<Rc<Waiting>> {
        self.udp.iter().map(UdpSocket::waiting).collect()
    }

    /// How many sockets there are.
    pub(super) fn sockets(&self) -> usize {
        self.udp.len()
    }

    pub(super) fn socket(&mut self, position: usize) -> Option<&mut UdpSocket> {
        self.udp.get_mut(position)
    }

    /// Lets in what comes from these networks and nothing else, or all without them. Gives the sockets that stay open to
    /// all because their filter failed.
    pub(super) fn admit(&mut self, networks: Option<&[Network]>) -> Vec<(SocketAddr, io::Error)> {
        let mut failed = Vec::new();
        for socket in &mut self.udp {
            let done = match networks {
                Some(networks) => socket.admit(networks),
                None => socket.admit_all(),
            };
            if let (Err(error), Ok(address)) = (done, socket.local_addr()) {
                failed.push((address, error));
            }
        }
        failed
    }

    /// True when a socket had no room for everything: flush again soon.
    pub(super) fn is_waiting(&self) -> bool {
        self.udp.iter().any(UdpSocket::is_waiting)
    }

    /// Sends `messages`, for each socket in their order, and adds what found no way out to `failed`.
    pub(super) fn send<'o, M>(&mut self, messages: impl Fn() -> M, failed: &mut Vec<Undelivered>)
    where
        M: Iterator<Item = (&'o Flow, &'o [u8])>,
    {
        for socket in &mut self.udp {
            let listener = socket.listener();
            let own = messages().filter(|(flow, _)| flow.listener == listener);
            socket.send(own.map(|(flow, bytes)| (flow.remote, bytes)), &mut self.sent);
            for Failed { to, fault, bytes } in self.sent.failed.drain(..) {
                self.counters.note(Fact::SendFailed(fault.name()));
                if fault.is_unreachable() {
                    failed.push(Undelivered { flow: Flow::to(listener, to), bytes });
                }
            }
        }
        let Sent { datagrams, bytes, joined, .. } = self.sent;
        if datagrams > 0 {
            self.counters.note(Fact::Sent { datagrams, bytes, joined });
        }
        self.sent = Sent { failed: std::mem::take(&mut self.sent.failed), ..Sent::default() };
        for (flow, bytes) in messages() {
            if self.udp.iter().any(|socket| socket.listener() == flow.listener) {
                continue;
            }
            if let Some(hub) = &self.own_streams {
                // What does not arrive, the hub tells.
                hub.send(*flow, Bytes::copy_from_slice(bytes));
                continue;
            }
            let queued = self.streams.as_ref().map(|streams| streams.try_send((*flow, Bytes::copy_from_slice(bytes))));
            let reason = match queued {
                Some(Ok(())) => continue,
                Some(Err(mpsc::error::TrySendError::Full(_))) => "no_room",
                Some(Err(mpsc::error::TrySendError::Closed(_))) | None => "no_stream",
            };
            self.counters.note(Fact::SendFailed(reason));
            failed.push(Undelivered { flow: *flow, bytes: bytes.to_vec() });
        }
        if let Some(hub) = &self.own_streams {
            hub.flush();
        }
    }
}
