//! The workers of a service: their sockets, their shares of the calls, their threads, and what they count together.

use super::Told;
use crate::tcp::{self, Arrived, Ways};
use crate::udp::spread::Spread;
use crate::udp::{self, Interfaces, OpenFault};
use crate::worker::{self, Command, Crew, Fellows, Heard, InProgress, Parts, Seen};
use arc_swap::ArcSwap;
use proxy::calls::RestoredCall;
use proxy::targets::States;
use proxy::{KeyRing, Listener, ListenerId, Settings, Transport};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::task::{Context, Poll};
use sync::Published;
use telemetry::calls::Tap;
use telemetry::{Counters, Exporter, Family, Sample, total};
use tokio::sync::{mpsc, oneshot};

/// Commands that may wait for a worker.
const COMMANDS: usize = 16;

/// The sockets of all listeners.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// Those of each worker.
    pub(super) udp: Vec<Vec<(ListenerId, std::net::UdpSocket)>>,
    pub(super) tcp: Vec<(ListenerId, std::net::TcpListener)>,
}

/// How the calls are spread; `None` where one worker has all.
pub(super) fn spread(workers: u16) -> io::Result<Option<Arc<Spread>>> {
    if workers < 2 {
        return Ok(None);
    }
    Ok(Some(Arc::new(Spread::new(workers)?)))
}

pub(super) fn open_listeners(listeners: &[Listener], spread: Option<&Spread>) -> Result<Sockets, OpenFault> {
    let workers = spread.map_or(1, Spread::workers);
    let mut sockets = Sockets { udp: (0..workers).map(|_| Vec::new()).collect(), tcp: Vec::new() };
    for (id, Listener { transport, address }) in (0..=u16::MAX).map(ListenerId).zip(listeners.iter().copied()) {
        match transport {
            Transport::Udp => {
                let (opened, notices) = match spread {
                    Some(spread) => udp::open_shared(address, spread)?,
                    None => udp::open(address).map(|(socket, notices)| (vec![socket], notices))?,
                };
                for notice in notices {
                    tracing::warn!(%address, "{notice}");
                }
                sockets.udp.iter_mut().zip(opened).for_each(|(of_worker, socket)| of_worker.push((id, socket)));
            }
            Transport::Tcp => {
                let fault = |source| OpenFault { transport, address, step: "bind and listen", source };
                sockets.tcp.push((id, tcp::open(address).map_err(fault)?));
            }
        }
        tracing::info!(%transport, %address, "listening");
    }
    Ok(sockets)
}

/// What reaches the workers beside their sockets.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// The TCP side, where the only worker has it on its own thread.
    streams: Option<tcp::Parts>,
    /// Of each worker; none where nothing can.
    arriving: Vec<Option<mpsc::Receiver<Arrived>>>,
    fellows: Vec<Option<Fellows>>,
    outgoing: Option<mpsc::Sender<(proxy::Flow, bytes::Bytes)>>,
}

impl Arrivals {
    /// Makes the TCP side, where there is a TCP listener: for the only worker, or on a thread of its own with the ways
    /// between the workers, where there are several.
    pub(super) fn start(
        listeners: Vec<(ListenerId, std::net::TcpListener)>,
        told: &Told,
        interfaces: &Arc<ArcSwap<Interfaces>>,
        spread: Option<&Arc<Spread>>,
    ) -> io::Result<Arrivals> {
        let has_streams = !listeners.is_empty();
        let (settings, counters) = (Arc::clone(&told.settings), Arc::clone(told.tally.first()));
        let (interfaces, connections_max) = (Arc::clone(interfaces), tcp::CONNECTIONS);
        let streams = tcp::Parts { listeners, settings, interfaces, connections_max, counters };
        let Some(spread) = spread else {
            return Ok(Arrivals { streams: has_streams.then_some(streams), ..Arrivals::default() });
        };
        let channels = (0..spread.workers()).map(|_| mpsc::channel(tcp::MESSAGES));
        let (to, arriving): (Vec<_>, Vec<_>) = channels.unzip();
        let Some(ways) = Ways::to_all(to, Arc::clone(spread)) else { return Ok(Arrivals::default()) };
        let fellows = Fellows::of(&ways).into_iter().map(Some).collect();
        let outgoing = has_streams.then(|| tcp::start(streams, ways)).transpose()?;
        Ok(Arrivals { streams: None, arriving: arriving.into_iter().map(Some).collect(), fellows, outgoing })
    }

    fn of(&mut self, worker: usize) -> (Option<mpsc::Receiver<Arrived>>, Option<Fellows>) {
        let arriving = self.arriving.get_mut(worker).and_then(Option::take);
        (arriving, self.fellows.get_mut(worker).and_then(Option::take))
    }
}

/// What each worker has for itself.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) sockets: Vec<Vec<(ListenerId, std::net::UdpSocket)>>,
    pub(super) arrivals: Arrivals,
    pub(super) taps: Vec<Tap>,
    pub(super) orders: Vec<mpsc::Receiver<Command>>,
    pub(super) spread: Option<Arc<Spread>>,
}

/// What all of them are made from.
pub(super) struct Shared {
    pub(super) settings: Arc<Settings>,
    pub(super) keys: Arc<KeyRing>,
    pub(super) directory: Published,
    pub(super) interfaces: Arc<ArcSwap<Interfaces>>,
    pub(super) watch: Option<SyncSender<Seen>>,
    pub(super) heard: mpsc::Sender<Heard>,
    pub(super) states: Arc<States>,
}

/// The orders of so many workers: who gives them, and where each takes them.
pub(super) fn orders(workers: u16) -> (Crew, Vec<mpsc::Receiver<Command>>) {
    let (commands, orders) = (0..workers.max(1)).map(|_| mpsc::channel(COMMANDS)).unzip();
    (Crew::of(commands), orders)
}

/// Starts every worker on its thread, each with its share of the calls of the process before.
pub(super) fn spawn(own: Own, mut calls: InProgress, shared: &Shared, told: &Told) -> io::Result<Endings> {
    let Own { sockets, mut arrivals, taps, orders, spread } = own;
    let mut taps = taps.into_iter();
    let restored = std::mem::take(&mut calls.restored);
    let mut shares = shares(restored, orders.len(), spread.as_deref()).into_iter();
    let mut endings = Endings::default();
    for (number, (orders, sockets)) in orders.into_iter().zip(sockets).enumerate() {
        let (arriving, fellows) = arrivals.of(number);
        let calls = InProgress {
            counts: Arc::clone(&calls.counts),
            pen: calls.pen.clone(),
            restored: shares.next().unwrap_or_default(),
            restoring: calls.restoring.clone(),
            ..InProgress::default()
        };
        let parts = Parts {
            settings: Arc::clone(&shared.settings),
            keys: Arc::clone(&shared.keys),
            directory: shared.directory.clone(),
            interfaces: Arc::clone(&shared.interfaces),
            sockets,
            streams: arrivals.streams.take(),
            arriving,
            fellows,
            outgoing: arrivals.outgoing.clone(),
            clock: told.clock,
            states: Arc::clone(&shared.states),
            counters: Arc::clone(told.tally.of(number)),
            calls,
            watch: shared.watch.clone(),
            heard: Some(shared.heard.clone()),
            wire: Some(told.captures.tap.clone()),
            tap: taps.next(),
        };
        let (ending, ended) = oneshot::channel();
        let name = if number == 0 { "worker".to_owned() } else { format!("worker-{}", number + 1) };
        std::thread::Builder::new().name(name).spawn(move || {
            // Nobody waits any more when the service has been dropped.
            let _told = ending.send(worker::run(parts, orders));
        })?;
        endings.awaited.push(ended);
    }
    Ok(endings)
}

/// The calls of the process before this one, to each worker its own: by the hash of this process, and by how many workers
/// it has.
fn shares(restored: Vec<RestoredCall>, workers: usize, spread: Option<&Spread>) -> Vec<Vec<RestoredCall>> {
    let mut shares: Vec<Vec<RestoredCall>> = (0..workers).map(|_| Vec::new()).collect();
    for call in restored {
        let owner = spread.map_or(0, |spread| spread.owner(&call.call_id));
        if let Some(share) = shares.get_mut(usize::from(owner)) {
            share.push(call);
        }
    }
    shares
}

/// How the workers end.
#[derive(Debug, Default)]
pub(super) struct Endings {
    awaited: Vec<oneshot::Receiver<io::Result<()>>>,
}

impl Endings {
    /// Resolves when all have ended, or one has failed. Cancel-safe.
    pub(super) async fn all(&mut self) -> io::Result<()> {
        poll_fn(|context| self.poll(context)).await
    }

    /// Resolves when all have ended, however.
    pub(super) async fn whatever(&mut self) {
        while !self.awaited.is_empty() {
            // A failure has been told by who waited for it, or is none any more: the service ends.
            let _failed = self.all().await;
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut failed = None;
        self.awaited.retain_mut(|ended| match Pin::new(ended).poll(context) {
            Poll::Pending => true,
            Poll::Ready(ended) => {
                let ended = ended.unwrap_or_else(|_| Err(io::Error::other("a worker's thread is gone")));
                failed = failed.take().or(ended.err());
                false
            }
        });
        match failed {
            Some(error) => Poll::Ready(Err(error)),
            None if self.awaited.is_empty() => Poll::Ready(Ok(())),
            None => Poll::Pending,
        }
    }
}

/// What the workers count, each for itself. What belongs to none of them is counted with the first.
#[derive(Debug)]
pub(super) struct Tally {
    first: Arc<Counters>,
    others: Vec<Arc<Counters>>,
}

impl Tally {
    pub(super) fn new(exporter: &Exporter, workers: u16) -> Tally {
        let fresh = || Arc::new(exporter.counters());
        Tally { first: fresh(), others: (1..workers).map(|_| fresh()).collect() }
    }

    pub(super) fn first(&self) -> &Arc<Counters> {
        &self.first
    }

    fn of(&self, worker: usize) -> &Arc<Counters> {
        worker.checked_sub(1).and_then(|other| self.others.get(other)).unwrap_or(&self.first)
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Counters>> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Every value, over all workers.
    pub(super) fn samples(&self) -> Vec<Sample> {
        if self.others.is_empty() {
            return self.first.samples();
        }
        total(self.all().map(|counters| counters.samples()))
    }

    /// One value, over all workers and parties.
    pub(super) fn value(&self, family: &Family, label_value: &str) -> u64 {
        self.all().map(|counters| counters.value(family, label_value)).sum()
    }
}
