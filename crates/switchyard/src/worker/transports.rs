//! The way out: each message to the socket of its listener.

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
    /// Where messages for streams go; none without a TCP listener.
    streams: Option<mpsc::Sender<(Flow, Bytes)>>,
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
        Ok(Transports { udp: udp.collect::<io::Result<_>>()?, streams, sent: Sent::default(), counters })
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
            let queued = self.streams.as_ref().map(|streams| streams.try_send((*flow, Bytes::copy_from_slice(bytes))));
            let reason = match queued {
                Some(Ok(())) => continue,
                Some(Err(mpsc::error::TrySendError::Full(_))) => "no_room",
                Some(Err(mpsc::error::TrySendError::Closed(_))) | None => "no_stream",
            };
            self.counters.note(Fact::SendFailed(reason));
            failed.push(Undelivered { flow: *flow, bytes: bytes.to_vec() });
        }
    }
}
