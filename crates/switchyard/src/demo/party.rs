//! A simulated neighbour of the proxy: one SIP element on an address of its own, which takes calls and places them.

use super::ladder::Sightings;
use super::message::{Outgoing, Read, Start, answer};
use sip::Method;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

/// RFC 3261's estimate of a round trip, and the longest time that anything is repeated.
pub(super) const T1: Duration = Duration::from_millis(500);
pub(super) const PATIENCE: Duration = Duration::from_secs(32);
/// Repeating anything but an INVITE: the interval doubles up to this (RFC 3261 17.1.2.2).
const T2: Duration = Duration::from_secs(4);
/// How long a phone rings before somebody takes it.
const RINGS_FOR: Duration = Duration::from_millis(60);
/// How long a party that plays an announcement does so.
const ANNOUNCES_FOR: Duration = Duration::from_millis(100);
/// Messages that may wait for a call that is under way.
const WAITING: usize = 32;

/// One simulated SIP element.
#[derive(Debug)]
pub(super) struct Party {
    pub(super) name: &'static str,
    pub(super) local: SocketAddr,
    /// Where everything goes.
    pub(super) proxy: SocketAddr,
    pub(super) sightings: Arc<Sightings>,
    /// True for a party that plays an announcement to every caller and hangs up.
    announces: bool,
    socket: UdpSocket,
    chance: RandomState,
    made: AtomicU64,
    /// Calls that this party placed: who waits for their messages.
    placed: Mutex<HashMap<String, mpsc::Sender<Read>>>,
    /// Calls that this party was offered.
    offered: Mutex<HashMap<String, Arc<Offered>>>,
}

/// A call that came in, until its INVITE is over.
#[derive(Debug)]
struct Offered {
    invite: Read,
    tag: String,
    /// The last answer to the INVITE, for a retransmission of it.
    last: Mutex<String>,
    cancelled: Notify,
    acknowledged: Notify,
}

/// The party's ears; it is deaf when this is dropped.
#[derive(Debug)]
pub(super) struct Ears(JoinHandle<()>);

impl Drop for Ears {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Party {
    /// A party on `socket` that takes every call until its ears are dropped.
    pub(super) fn new(
        name: &'static str,
        announces: bool,
        socket: std::net::UdpSocket,
        proxy: SocketAddr,
        sightings: Arc<Sightings>,
    ) -> io::Result<(Arc<Party>, Ears)> {
        socket.set_nonblocking(true)?;
        let party = Arc::new(Party {
            name,
            local: socket.local_addr()?,
            proxy,
            sightings,
            announces,
            socket: UdpSocket::from_std(socket)?,
            chance: RandomState::new(),
            made: AtomicU64::new(0),
            placed: Mutex::default(),
            offered: Mutex::default(),
        });
        let ears = Ears(tokio::spawn(Arc::clone(&party).listen()));
        Ok((party, ears))
    }

    /// A word that nobody else has: for branches, tags and Call-IDs.
    pub(super) fn word(&self) -> String {
        let made = self.made.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}", self.chance.hash_one(made))
    }

    /// The messages of a call of this party's own, until the returned guard is dropped.
    pub(super) fn follow(self: &Arc<Self>, call_id: &str) -> Followed {
        let (sender, messages) = mpsc::channel(WAITING);
        lock(&self.placed).insert(call_id.to_owned(), sender);
        Followed { party: Arc::clone(self), call_id: call_id.to_owned(), messages }
    }

    /// Sends to `to`, and remembers that.
    pub(super) async fn send(&self, message: &str, to: SocketAddr) {
        if let Some(read) = Read::of(message.as_bytes()) {
            self.sightings.note(self.name, true, &read);
        }
        if let Err(error) = self.socket.send_to(message.as_bytes(), to).await {
            tracing::warn!(party = self.name, %error, "a simulated party cannot send");
        }
    }

    async fn listen(self: Arc<Self>) {
        let mut slot = vec![0; sip::limits::MESSAGE_BYTES];
        loop {
            // An ICMP error about an earlier datagram is no end: the next one may come.
            let Ok((len, from)) = self.socket.recv_from(&mut slot).await else { continue };
            if let Some(read) = Read::of(slot.get(..len).unwrap_or_default()) {
                self.sightings.note(self.name, false, &read);
                self.take(read, from).await;
            }
        }
    }

    async fn take(self: &Arc<Self>, message: Read, from: SocketAddr) {
        let follower = lock(&self.placed).get(&message.call_id).cloned();
        match (&message.start, follower) {
            (Start::Response { .. }, Some(follower)) => {
                // A call that does not keep up with its messages asks again.
                let _sent = follower.try_send(message);
            }
            (Start::Request { method: Method::Bye, .. }, Some(follower)) => {
                self.send(&answer(&message, 200, None, self.local, false), from).await;
                let _sent = follower.try_send(message);
            }
            (Start::Request { method, .. }, _) => self.take_request(*method, message.clone(), from).await,
            (Start::Response { .. }, None) => {}
        }
    }

    async fn take_request(self: &Arc<Self>, method: Method, request: Read, from: SocketAddr) {
        let offered = lock(&self.offered).get(&request.call_id).cloned();
        match (method, offered) {
            (Method::Invite, Some(offered)) if offered.invite.branch == request.branch => {
                let last = lock(&offered.last).clone();
                self.send(&last, from).await;
            }
            (Method::Invite, None) => {
                let last = answer(&request, 100, None, self.local, false);
                self.send(&last, from).await;
                let (call_id, tag) = (request.call_id.clone(), self.word());
                let offered = Arc::new(Offered {
                    invite: request,
                    tag,
                    last: Mutex::new(last),
                    cancelled: Notify::new(),
                    acknowledged: Notify::new(),
                });
                lock(&self.offered).insert(call_id, Arc::clone(&offered));
                tokio::spawn(Arc::clone(self).ring(offered, from));
            }
            (Method::Cancel, Some(offered)) => {
                self.send(&answer(&request, 200, Some(&offered.tag), self.local, false), from).await;
                offered.cancelled.notify_one();
            }
            (Method::Ack, Some(offered)) => offered.acknowledged.notify_one(),
            (Method::Ack, None) => {}
            (Method::Bye, Some(_)) => {
                lock(&self.offered).remove(&request.call_id);
                self.send(&answer(&request, 200, None, self.local, false), from).await;
            }
            (Method::Bye | Method::Cancel, None) => {
                self.send(&answer(&request, 481, Some("none"), self.local, false), from).await;
            }
            (Method::Options, _) => self.send(&answer(&request, 200, Some("options"), self.local, false), from).await,
            _ => self.send(&answer(&request, 501, Some("unserved"), self.local, false), from).await,
        }
    }

    /// Rings, then takes the call, unless the caller gives up before.
    async fn ring(self: Arc<Self>, offered: Arc<Offered>, from: SocketAddr) {
        self.reply(&offered, 180, from).await;
        let status = tokio::select! {
            () = offered.cancelled.notified() => 487,
            () = tokio::time::sleep(RINGS_FOR) => 200,
        };
        // Repeated until the ACK: for a 200 that is this side's duty alone (RFC 3261 13.3.1.4).
        let mut interval = T1;
        let give_up = tokio::time::sleep(PATIENCE);
        tokio::pin!(give_up);
        loop {
            self.reply(&offered, status, from).await;
            tokio::select! {
                () = offered.acknowledged.notified() => break,
                () = &mut give_up => break,
                () = tokio::time::sleep(interval) => interval = (interval * 2).min(T2),
            }
        }
        if status != 200 {
            lock(&self.offered).remove(&offered.invite.call_id);
        } else if self.announces {
            tokio::time::sleep(ANNOUNCES_FOR).await;
            self.hang_up(&offered).await;
        }
    }

    /// BYE from the side that was called, unless the caller has hung up already: the recorded route as it arrived, From
    /// and To the other way round (12.2.1.1).
    async fn hang_up(self: &Arc<Self>, offered: &Offered) {
        let Offered { invite, tag, .. } = offered;
        if lock(&self.offered).remove(&invite.call_id).is_none() {
            return;
        }
        let branch = format!("z9hG4bK{}", self.word());
        let from = format!("{};tag={tag}", invite.to);
        let bye = Outgoing {
            method: "BYE",
            uri: invite.contact.as_deref().unwrap_or_default(),
            local: self.local,
            branch: &branch,
            from: &from,
            to: &invite.from,
            call_id: &invite.call_id,
            cseq_number: 1,
            routes: &invite.record_routes,
            with_offer: false,
        };
        let mut followed = self.follow(&invite.call_id);
        // A caller that does not answer its BYE is shown as such: the ladder ends without the 200.
        let _status = followed.until_answered(&bye.write(), "BYE").await;
    }

    async fn reply(&self, offered: &Offered, status: u16, to: SocketAddr) {
        let reply = answer(&offered.invite, status, Some(&offered.tag), self.local, status == 200);
        lock(&offered.last).clone_from(&reply);
        self.send(&reply, to).await;
    }
}

/// The messages of one call that this side placed.
#[derive(Debug)]
pub(super) struct Followed {
    party: Arc<Party>,
    call_id: String,
    pub(super) messages: mpsc::Receiver<Read>,
}

impl Followed {
    /// Sends a request that is no INVITE until it has its final response.
    pub(super) async fn until_answered(&mut self, request: &str, method: &str) -> Option<u16> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut interval = T1;
        self.party.send(request, self.party.proxy).await;
        let mut repeat = tokio::time::Instant::now() + interval;
        loop {
            match tokio::time::timeout_at(deadline.min(repeat), self.messages.recv()).await {
                Ok(message) => {
                    let message = message?;
                    if let (true, Some(status @ 200..)) = (message.cseq_method == method, message.status()) {
                        return Some(status);
                    }
                }
                Err(_) if tokio::time::Instant::now() >= deadline => return None,
                Err(_) => {
                    self.party.send(request, self.party.proxy).await;
                    interval = (interval * 2).min(T2);
                    repeat = tokio::time::Instant::now() + interval;
                }
            }
        }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        lock(&self.party.placed).remove(&self.call_id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
