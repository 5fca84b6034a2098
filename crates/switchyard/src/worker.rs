//! One worker: an OS thread that owns an engine and its sockets, and sleeps until one of them has something to do. Where there
//! are several, each has the calls whose Call-IDs are its own (`udp/spread.rs`), and hands on what is another's.
//!
//! A turn is a straight line: receive a batch, one `now` and one directory for all of it, the engine, one flush, the
//! facts to telemetry. Nothing in it waits and nothing is locked. Between two turns the worker sleeps until it is told of
//! something, or at a high rate for a moment in which datagrams and messages of streams gather (`gather.rs`).

mod backlog;
mod capture;
mod crew;
mod door;
mod gather;
mod in_progress;
mod log;
mod readiness;
mod security;
mod transports;
mod turn;

pub use crew::{Crew, Fellows, Restoring};
pub use in_progress::InProgress;
pub use turn::{Heard, Seen};

use crate::clock::Clock;
use crate::tcp::{self, Arrived};
use crate::udp::{BATCH, Batch, Interfaces, Unreachable, ready};
use arc_swap::ArcSwap;
use backlog::{Backlog, Taken};
use bytes::Bytes;
use crew::LOOKS_AGAIN;
use door::Door;
use gather::Gather;
use proxy::targets::States;
use proxy::{Engine, Flow, KeyRing, ListenerId, Settings};
use readiness::Readiness;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};
use sync::{Published, Reader};
use telemetry::calls::Tap;
use telemetry::hep;
use telemetry::{Counters, Fact};
use tokio::io::Ready;
use tokio::sync::mpsc;
use transports::Transports;
use turn::Turns;

/// How soon a full socket is offered again what waits for it.
const OFFER_AGAIN: Duration = Duration::from_millis(2);
/// Batches that are taken untold, one after the other, before the runtime has its look at sockets and commands.
const UNTOLD: usize = 16;
/// How long the worker sleeps when nothing at all is due.
const IDLE: Duration = Duration::from_secs(3_600);

/// What a worker is made from.
pub struct Parts {
    /// What the core is told.
    pub settings: Arc<Settings>,
    /// The keys behind branches and tokens.
    pub keys: Arc<KeyRing>,
    /// The table of numbers; a new one is picked up between two batches.
    pub directory: Published,
    /// The kernel's numbers of the interfaces that peers are tied to, kept fresh by somebody else.
    pub interfaces: Arc<ArcSwap<Interfaces>>,
    /// The sockets, each with its listener.
    pub sockets: Vec<(ListenerId, std::net::UdpSocket)>,
    /// The TCP side, where this worker has it on its own thread: nothing else arrives then.
    pub streams: Option<tcp::Parts>,
    /// What arrives on streams and from other workers, where there are some.
    pub arriving: Option<mpsc::Receiver<Arrived>>,
    /// Where messages for streams go that another thread has.
    pub outgoing: Option<mpsc::Sender<(Flow, Bytes)>>,
    /// The other workers, where there are some.
    pub fellows: Option<Fellows>,
    /// The process's clock.
    pub clock: Clock,
    /// What is known of the peers at its begin.
    pub states: Arc<States>,
    /// Where this worker counts.
    pub counters: Arc<Counters>,
    /// The calls that it counts, with all other workers, and those that it begins with.
    pub calls: InProgress,
    /// Who watches each call, if anybody; one who does not keep up misses some.
    pub watch: Option<SyncSender<Seen>>,
    /// Who measures the peers; one who does not keep up misses some.
    pub heard: Option<mpsc::Sender<Heard>>,
    /// Where what passes is told to, while somebody wants it.
    pub wire: Option<hep::Tap>,
    /// Where the records of calls come from.
    pub tap: Option<Tap>,
}

/// What a worker is told while it runs.
#[derive(Clone, Debug)]
pub enum Command {
    /// New settings and keys. The listeners stay: they are the sockets.
    Apply(Arc<Settings>, Arc<KeyRing>),
    /// Answer, to show that turns are taken.
    Answer(mpsc::Sender<()>),
    /// What is known of the peers from now on.
    States(Arc<States>),
    /// Messages of the program's own, to send as they are.
    Send(Vec<(Flow, Vec<u8>)>),
    /// Refuse new calls, or take them again; the worker stays.
    Refuse(bool),
    /// No new calls; end when no transaction is open, with all other workers.
    Drain,
    /// End now.
    Stop,
}

/// The worker's end of what arrives on streams and from other workers; none where there are neither.
type Arriving = Option<mpsc::Receiver<Arrived>>;

struct Worker {
    turns: Turns,
    transports: Transports,
    batch: Batch,
    /// What arrived on streams and from other workers, together with what arrived until it was looked at.
    arrived: Vec<Arrived>,
    unreachable: Vec<Unreachable>,
    directory: Reader,
    interfaces: Arc<ArcSwap<Interfaces>>,
    clock: Clock,
    counters: Arc<Counters>,
    backlog: Backlog,
    gather: Gather,
    door: Door,
    fellows: Option<Fellows>,
    draining: bool,
}

/// Whether the runtime has told that a socket has something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum News {
    Told,
    Untold,
}

/// Runs a worker on the calling thread until it has drained or is told to stop.
pub fn run(parts: Parts, commands: mpsc::Receiver<Command>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if parts.streams.is_none() {
        return runtime.block_on(serve(parts, commands));
    }
    // A task among those of the connections: what a look at the sockets tells is read before the worker has its turn.
    let local = tokio::task::LocalSet::new();
    let worker = local.spawn_local(serve(parts, commands));
    let ended = local.block_on(&runtime, worker);
    ended.unwrap_or_else(|failed| match failed.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(cancelled) => Err(io::Error::other(cancelled)),
    })
}

async fn serve(parts: Parts, commands: mpsc::Receiver<Command>) -> io::Result<()> {
    let (mut worker, arriving) = Worker::new(parts)?;
    worker.serve(commands, arriving).await;
    worker.transports.leave_streams().await;
    Ok(())
}

impl Worker {
    fn new(parts: Parts) -> io::Result<(Worker, Arriving)> {
        let Parts {
            settings,
            keys,
            directory,
            interfaces,
            sockets,
            streams,
            arriving,
            outgoing,
            fellows,
            clock,
            states,
            counters,
            calls,
            watch,
            heard,
            wire,
            tap,
        } = parts;
        let settings = fellows.as_ref().map_or_else(|| Arc::clone(&settings), |fellows| fellows.share_of(&settings));
        let (own_streams, own_arriving) = streams.map(tcp::serve_here).unzip();
        let transports = Transports::new(sockets, outgoing, Arc::clone(&counters))?.with_streams(own_streams);
        let mut engine = Engine::new(Arc::clone(&settings), keys);
        calls.counts.set_zero(clock.zero_unix_us(clock.now()));
        engine.set_states(states);
        engine.share_counts(calls.counts);
        calls.restored.iter().for_each(|call| engine.restore(clock.now(), call));
        calls.restoring.end();
        let turns = Turns::new(engine, settings, Arc::clone(&counters), watch)
            .told(heard)
            .kept(tap)
            .noted(calls.pen)
            .wired(wire);
        let mut worker = Worker {
            turns,
            transports,
            batch: Batch::new(),
            arrived: Vec::with_capacity(BATCH),
            unreachable: Vec::new(),
            directory: directory.reader(),
            interfaces,
            clock,
            counters,
            backlog: Backlog::default(),
            gather: Gather::new(fellows.is_some()),
            door: Door::default(),
            fellows,
            draining: false,
        };
        worker.door.renew(&mut worker.turns, &mut worker.transports);
        Ok((worker, own_arriving.or(arriving)))
    }

    async fn serve(&mut self, mut commands: mpsc::Receiver<Command>, mut arriving: Arriving) {
        let mut sockets = Readiness::new(self.transports.waiting(), ready);
        let mut armed = Instant::now() + IDLE;
        let timer = tokio::time::sleep_until(armed.into());
        tokio::pin!(timer);
        while !self.is_drained() {
            let due = self.wake_up();
            // A timer that is set anew costs system calls, one that comes too early a look: so it is only set earlier.
            if due < armed || timer.is_elapsed() {
                timer.as_mut().reset(due.into());
                armed = due;
            }
            tokio::select! {
                command = commands.recv() => match command {
                    None | Some(Command::Stop) => return,
                    Some(command) => self.obey(command),
                },
                () = &mut timer => {}
                (position, readiness) = sockets.next() => self.serve_socket(position, readiness),
                count = next_of(&mut arriving, &mut self.arrived) => match count {
                    // The TCP side is gone: it ends by itself only with its process.
                    0 => arriving = None,
                    count => _ = self.serve_arrived(count == BATCH),
                },
            }
            self.end_turn();
            self.give_way().await;
            self.serve_gathered(&commands, &mut arriving).await;
        }
    }

    /// A UDP socket that has more is ready at once, and its wait lets no other task of the thread run: so the streams have
    /// their turn after each full batch.
    async fn give_way(&self) {
        if self.batch.is_full() && self.transports.has_own_streams() {
            tokio::task::yield_now().await;
        }
    }

    /// At a high rate, batches one after the other without being told of them, each after a moment in which datagrams and
    /// messages of streams gather; until nothing came, or something else may wait.
    async fn serve_gathered(&mut self, commands: &mpsc::Receiver<Command>, arriving: &mut Arriving) {
        for _ in 0..UNTOLD {
            let Some(pause) = self.gather.pause(self.clock.now()) else { break };
            if self.draining || !commands.is_empty() {
                break;
            }
            if !pause.is_zero() {
                std::thread::sleep(pause);
            }
            self.transports.gather_streams(arriving.as_ref()).await;
            let sockets = 0..self.transports.sockets();
            let mut datagrams = 0;
            for position in sockets {
                datagrams += self.serve_batch(position, News::Untold);
                self.serve_errors(position, News::Untold);
            }
            let messages = self.take_arrived(arriving);
            self.end_turn();
            if datagrams + messages == 0 {
                break;
            }
        }
        self.transports.release_streams();
    }

    /// The same of streams and other workers. Returns how many messages of streams there were.
    fn take_arrived(&mut self, arriving: &mut Arriving) -> usize {
        let Some(arriving) = arriving else { return 0 };
        while self.arrived.len() < BATCH
            && let Ok(arrived) = arriving.try_recv()
        {
            self.arrived.push(arrived);
        }
        if self.arrived.is_empty() {
            return 0;
        }
        let has_more = !arriving.is_empty();
        self.serve_arrived(has_more)
    }

    fn end_turn(&mut self) {
        self.serve_timers();
        self.door.follow(&mut self.turns, &mut self.transports);
    }

    fn is_drained(&self) -> bool {
        let open = self.turns.engine().open_transactions();
        self.draining && self.fellows.as_ref().map_or(open == 0, |fellows| fellows.are_drained(open))
    }

    /// When there is something to do even if nothing arrives.
    fn wake_up(&self) -> Instant {
        let due = self.turns.engine().poll_timeout().into_iter().chain(self.turns.ends_by()).min();
        let due = due.map(|time| self.clock.instant(time));
        let offer = self.transports.is_waiting().then_some(OFFER_AGAIN);
        let look = (self.draining && self.fellows.is_some()).then_some(LOOKS_AGAIN);
        let soon = offer.into_iter().chain(look).min().map(|wait| Instant::now() + wait);
        due.into_iter().chain(soon).min().unwrap_or_else(|| Instant::now() + IDLE)
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Apply(settings, keys) => {
                let own = self.fellows.as_ref().map(|fellows| fellows.share_of(&settings));
                self.turns.apply(own.unwrap_or(settings), keys);
                self.door.renew(&mut self.turns, &mut self.transports);
            }
            Command::Answer(asker) => {
                // Whoever asked may have given up.
                let _gone = asker.try_send(());
            }
            Command::States(states) => self.turns.set_states(states),
            Command::Send(messages) => {
                let (now, directory) = (self.clock.now(), Arc::clone(self.directory.latest()));
                self.turns.emit(&messages, &mut self.transports);
                self.turns.flush(now, &directory, &mut self.transports);
            }
            Command::Refuse(is_on) => self.turns.set_draining(is_on),
            Command::Drain => {
                self.draining = true;
                self.turns.set_draining(true);
            }
            Command::Stop => {}
        }
    }

    fn serve_socket(&mut self, position: usize, readiness: Ready) {
        if readiness.is_error() {
            self.serve_errors(position, News::Told);
        }
        if readiness.is_readable() {
            self.serve_batch(position, News::Told);
        }
    }

    /// Returns how many datagrams there were.
    fn serve_batch(&mut self, position: usize, news: News) -> usize {
        let Some(socket) = self.transports.socket(position) else { return 0 };
        let received = match news {
            News::Told => socket.receive(&mut self.batch, &self.interfaces.load()),
            News::Untold => socket.receive_untold(&mut self.batch, &self.interfaces.load()),
        };
        if let Err(error) = received {
            self.turns.log().warn_socket(self.clock.now(), "receive", &error);
        }
        if self.batch.overflowed > 0 {
            self.counters.note(Fact::Overflowed(self.batch.overflowed.into()));
        }
        if self.batch.filtered > 0 {
            self.counters.note(Fact::Filtered(self.batch.filtered.into()));
        }
        let (now, directory) = (self.clock.now(), Arc::clone(self.directory.latest()));
        let zero_unix_us = self.clock.zero_unix_us(now);
        self.turns.tell_time(zero_unix_us);
        let taken = Taken {
            now,
            waited: self.batch.waited(zero_unix_us.saturating_add(now.0)),
            has_lost: self.batch.overflowed > 0,
            is_full: self.batch.is_full(),
            has_failed: self.batch.has_failed(),
        };
        self.turns.set_behind(self.backlog.is_behind(position, &taken));
        if self.batch.is_empty() {
            return 0;
        }
        self.gather.took(now, self.batch.len(), self.batch.is_full());
        let mut bytes_total: usize = 0;
        for (flow, bytes) in self.batch.datagrams() {
            bytes_total += bytes.len();
            let engine = self.turns.engine();
            let may_speak = || engine.neighbours().any(|neighbour| neighbour == flow.remote.ip());
            if self.fellows.as_ref().is_some_and(|fellows| fellows.take(&flow, bytes, &self.counters, may_speak)) {
                continue;
            }
            self.turns.arrived(now, &flow, bytes);
            self.turns.capture().note(hep::Way::In, &flow, bytes);
            self.turns.take(now, &mut self.transports, |engine, outbox| {
                engine.handle_datagram(now, flow, bytes, &directory, outbox);
            });
        }
        self.counters.note(Fact::Received { datagrams: count(self.batch.len()), bytes: count(bytes_total) });
        self.turns.flush(now, &directory, &mut self.transports);
        self.batch.len()
    }

    /// Messages of streams and of other workers, and those of ours that found no way. Returns how many were of streams: they
    /// gather as datagrams do.
    fn serve_arrived(&mut self, has_more: bool) -> usize {
        let (now, directory) = (self.clock.now(), Arc::clone(self.directory.latest()));
        self.turns.tell_time(self.clock.zero_unix_us(now));
        let messages = self.arrived.iter().filter(|arrived| matches!(arrived, Arrived::Message(..))).count();
        if messages > 0 {
            self.gather.took(now, messages, has_more);
        }
        for arrived in self.arrived.drain(..) {
            if let Arrived::Message(flow, bytes) | Arrived::Datagram(flow, bytes) = &arrived {
                self.turns.arrived(now, flow, bytes);
                self.turns.capture().note(hep::Way::In, flow, bytes);
            }
            self.turns.take(now, &mut self.transports, |engine, outbox| match &arrived {
                Arrived::Message(flow, bytes) => engine.handle_message(now, *flow, bytes, &directory, outbox),
                Arrived::Datagram(flow, bytes) => engine.handle_datagram(now, *flow, bytes, &directory, outbox),
                Arrived::Undelivered(flow, bytes) => engine.handle_failure(now, *flow, bytes, &directory, outbox),
            });
        }
        self.turns.flush(now, &directory, &mut self.transports);
        messages
    }

    /// ICMP: whom our datagrams do not reach (RFC 3261 18.4).
    fn serve_errors(&mut self, position: usize, news: News) {
        self.unreachable.clear();
        let Some(socket) = self.transports.socket(position) else { return };
        let listener = socket.listener();
        let read = match news {
            News::Told => socket.unreachable(&mut self.unreachable),
            News::Untold => socket.unreachable_untold(&mut self.unreachable),
        };
        if let Err(error) = read {
            self.turns.log().warn_socket(self.clock.now(), "error queue", &error);
        }
        if self.unreachable.is_empty() {
            return;
        }
        let (now, directory) = (self.clock.now(), Arc::clone(self.directory.latest()));
        for Unreachable { remote, returned } in &self.unreachable {
            self.counters.note(Fact::Unreachable);
            let flow = Flow::to(listener, *remote);
            if self.fellows.as_ref().is_some_and(|fellows| fellows.take_failure(&flow, returned)) {
                continue;
            }
            self.turns.take(now, &mut self.transports, |engine, outbox| {
                engine.handle_failure(now, flow, returned, &directory, outbox);
            });
        }
        self.turns.flush(now, &directory, &mut self.transports);
    }

    /// Timers that are due, and what waits for room in a socket.
    fn serve_timers(&mut self) {
        let now = self.clock.now();
        if self.turns.engine().poll_timeout().is_some_and(|due| due <= now) {
            let directory = Arc::clone(self.directory.latest());
            self.turns.take(now, &mut self.transports, |engine, outbox| {
                engine.handle_timeout(now, &directory, outbox);
            });
            self.turns.flush(now, &directory, &mut self.transports);
        } else if self.transports.is_waiting() {
            let directory = Arc::clone(self.directory.latest());
            self.turns.flush(now, &directory, &mut self.transports);
        } else {
            self.turns.end(now);
        }
    }
}

/// Waits for what arrives on streams and from other workers; for ever where there is none.
async fn next_of(arriving: &mut Arriving, arrived: &mut Vec<Arrived>) -> usize {
    match arriving {
        Some(arriving) => arriving.recv_many(arrived, BATCH).await,
        None => std::future::pending().await,
    }
}

fn count(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
