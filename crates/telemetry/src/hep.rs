//! What passes on the wire, told to a capture server (Homer, sngrep) in HEP version 3.
//!
//! [`Feed`] is the worker's end: one relaxed load while nothing is captured; else each message is wrapped into a batch, and
//! batches go into a bounded queue, without ever a wait. A thread of its own sends them; what finds no room, no collector
//! or no way is counted as lost.

mod feed;
mod packet;
mod sender;

pub use feed::Feed;
pub use packet::{Packet, encode};

use arc_swap::{ArcSwap, ArcSwapOption};
use feed::Batch;
use memchr::memmem::Finder;
use proxy::Transport;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::{fmt, io};

/// Messages that wait for the sender.
pub const QUEUE: usize = 16_384;
/// Bytes of the messages that wait for the sender, as they will be sent.
pub const QUEUE_BYTES: usize = 32 << 20;
/// Batches that wait to be filled again.
const SPARE_BATCHES: usize = 16;
/// Digits of a number that a filter looks for: those that every spelling of it has in common.
const SHARED_DIGITS: usize = 10;

/// Where captures go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Collector {
    /// By datagram or by stream.
    pub transport: Transport,
    /// The capture server.
    pub address: SocketAddr,
    /// Who captures, among those that send there.
    pub node: u32,
    /// What the capture server wants to be told, if anything.
    pub key: AuthKey,
}

/// A secret: it prints as `(masked)`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct AuthKey(String);

impl AuthKey {
    /// Takes a secret into custody; empty for none.
    pub fn new(text: impl Into<String>) -> AuthKey {
        AuthKey(text.into())
    }
}

impl fmt::Debug for AuthKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(masked)")
    }
}

/// Which messages are captured; everything by default.
#[derive(Debug, Default)]
pub struct Filter {
    number: Option<Finder<'static>>,
    addresses: Option<Vec<IpAddr>>,
}

impl Filter {
    /// Messages that have this number somewhere, in any of its spellings, and that come from or go to one of these
    /// addresses. What is `None` is not looked at.
    pub fn new(number: Option<&str>, addresses: Option<Vec<IpAddr>>) -> Filter {
        let number = number.map(|number| {
            let digits: String = number.chars().filter(char::is_ascii_digit).collect();
            let shared = digits.get(digits.len().saturating_sub(SHARED_DIGITS)..).unwrap_or(&digits);
            Finder::new(shared.as_bytes()).into_owned()
        });
        Filter { number, addresses }
    }

    fn passes(&self, remote: IpAddr, bytes: &[u8]) -> bool {
        self.addresses.as_ref().is_none_or(|addresses| addresses.contains(&remote))
            && self.number.as_ref().is_none_or(|number| number.find(bytes).is_some())
    }
}

/// How captures fare.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Messages that were handed to the kernel.
    pub sent: u64,
    /// Messages that were lost: no room in the queue, no way to the collector, or too large for it.
    pub lost: u64,
    /// Messages that wait.
    pub queued: u64,
}

/// Which way a message went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// It arrived.
    In,
    /// It left.
    Out,
}

/// The end of whoever switches; workers have a [`Feed`] of it. Clones lead to the same sender, which ends with the last of them.
#[derive(Clone)]
pub struct Tap {
    shared: Arc<Shared>,
    queue: SyncSender<Batch>,
}

#[derive(Debug, Default)]
struct Shared {
    is_on: AtomicBool,
    filter: ArcSwap<Filter>,
    collector: ArcSwapOption<Collector>,
    queued: AtomicU64,
    queued_bytes: AtomicUsize,
    sent: AtomicU64,
    lost: AtomicU64,
    /// Batches that were sent. Who does not get the lock at once does without.
    spare: Mutex<Vec<Batch>>,
}

impl Tap {
    /// A tap that is off, and its sender on a thread.
    pub fn start(collector: Option<Collector>) -> io::Result<Tap> {
        let (queue, batches) = sync_channel(QUEUE);
        let shared = Arc::new(Shared::default());
        shared.collector.store(collector.map(Arc::new));
        let sending = Arc::clone(&shared);
        std::thread::Builder::new().name("hep".to_owned()).spawn(move || sender::run(&sending, &batches))?;
        Ok(Tap { shared, queue })
    }

    /// Another collector, or none, from the next message on.
    pub fn set_collector(&self, collector: Option<Collector>) {
        self.shared.collector.store(collector.map(Arc::new));
    }

    /// Where captures go.
    pub fn collector(&self) -> Option<Arc<Collector>> {
        self.shared.collector.load_full()
    }

    /// Captures what passes the filter, or nothing.
    pub fn switch(&self, filter: Option<Filter>) {
        let is_on = filter.is_some();
        self.shared.filter.store(Arc::new(filter.unwrap_or_default()));
        self.shared.is_on.store(is_on, Ordering::Relaxed);
    }

    /// Whether anything is captured.
    pub fn is_on(&self) -> bool {
        self.shared.is_on.load(Ordering::Relaxed)
    }

    /// How captures fare since the start.
    pub fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts { sent: read(&self.shared.sent), lost: read(&self.shared.lost), queued: read(&self.shared.queued) }
    }

    /// A worker's end.
    pub fn feed(&self) -> Feed {
        Feed::new(self.clone())
    }
}

impl Shared {
    /// So many messages wait no longer.
    fn taken(&self, messages: u64, bytes: usize) {
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.queued.fetch_sub(messages, Ordering::Relaxed);
    }

    fn spare(&self) -> Batch {
        self.spare.try_lock().ok().and_then(|mut spare| spare.pop()).unwrap_or_default()
    }

    /// Its room is used again; more than a few wait for nobody.
    fn give_back(&self, mut batch: Batch) {
        batch.clear();
        if let Ok(mut spare) = self.spare.try_lock()
            && spare.len() < SPARE_BATCHES
        {
            spare.push(batch);
        }
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

#[cfg(test)]
mod tests;
