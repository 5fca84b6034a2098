//! The running proxy as one value: sockets, one worker on its thread, the directory's writer, the status socket.
//! `run` keeps one alive between signals, `demo` puts one between simulated neighbours.

mod admin_listener;
mod api;
mod drain;
mod in_force;
mod instruments;
mod limits;
mod readings;
mod records;

pub(crate) use in_force::InForce;

use crate::call_journal::CallJournal;
use crate::clock::Clock;
use crate::config::Configuration;
use crate::names::{self, Names};
use crate::probe::{self, Peers};
use crate::tcp::{self, Streams};
use crate::udp::{self, Interfaces, OpenFault};
use crate::worker::{self, Command, InProgress, Parts, Seen};
use admin::{BindFault, Count, DirectoryStatus, ListenerStatus, PartyStatus, Status};
use admin_listener::AdminListener;
use arc_swap::{ArcSwap, ArcSwapOption};
use instruments::Captures;
use proxy::{Counts, KeyRing, Listener, ListenerId, Party, Peer, Role, Settings, Transport};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Duration;
use sync::changes::Writes;
use sync::{SyncFault, Watcher};
use telemetry::calls::Recorder;
use telemetry::{Counters, Exporter, catalogue};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// How often interface names are looked up again: a tunnel may come, go and come back with another number.
const INTERFACES_EVERY: Duration = Duration::from_secs(3);
/// How often the histograms' buffers are emptied.
const KEEP_UP_EVERY: Duration = Duration::from_secs(5);
/// Commands that may wait for a worker.
const COMMANDS: usize = 16;

/// The proxy, running.
pub struct Service {
    told: Arc<Told>,
    commands: mpsc::Sender<Command>,
    ended: oneshot::Receiver<io::Result<()>>,
    access: DirectoryAccess,
    peers: Peers,
    names: Arc<Names>,
    tasks: Vec<JoinHandle<()>>,
    recorder: Recorder,
    journal: CallJournal,
    socket: Option<PathBuf>,
    admin: Option<admin_listener::Serving>,
}

/// The two ways to the directory, for all who show it or change it. Clones lead to the same.
#[derive(Clone)]
pub struct DirectoryAccess {
    /// What is published, how the writer fares, the guard and the generations.
    pub watcher: Watcher,
    /// Environments, leases, tester overrides, panic and the audit: writes to the database.
    pub writes: Arc<Writes>,
}

/// What the status is told from; shared with the tasks.
#[derive(Debug)]
struct Told {
    clock: Clock,
    settings: Arc<ArcSwap<Settings>>,
    database: ArcSwap<sync::Settings>,
    listeners: Vec<Listener>,
    counters: Arc<Counters>,
    counts: Arc<Counts>,
    draining: AtomicBool,
    /// True from [`Service::drain`] on: nothing takes new calls again.
    ending: AtomicBool,
    drain: ArcSwapOption<drain::Ordered>,
    captures: Captures,
}

/// Why it does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartFault {
    /// A listener.
    #[error(transparent)]
    Open(#[from] OpenFault),
    /// The directory's writer.
    #[error(transparent)]
    Sync(#[from] SyncFault),
    /// The status socket.
    #[error(transparent)]
    Bind(#[from] BindFault),
    /// The listener of `/metrics`.
    #[error("metrics cannot be served: {0}")]
    Metrics(io::Error),
    /// The listener of the API and the page.
    #[error("admin.listen: {0}")]
    Admin(io::Error),
    /// A thread of ours.
    #[error("a thread cannot be started: {0}")]
    Worker(io::Error),
}

/// How the service ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// Every open transaction came to its end.
    Drained,
    /// This many transactions were cut off.
    CutOff(u64),
}

impl Service {
    /// Starts everything that `configuration` says. `keys` come from the state folder; `watch` sees each call.
    pub async fn start(
        configuration: Configuration,
        keys: KeyRing,
        watch: Option<SyncSender<Seen>>,
    ) -> Result<Service, StartFault> {
        let remembered = names::remember(configuration);
        let Configuration { core, state_dir, database, metrics_listen, admin: people, probe, records, capture, .. } =
            remembered.configuration.clone();
        let (settings, keys) = (Arc::new(core), Arc::new(keys));
        let exporter = Arc::new(Exporter::new().map_err(|fault| StartFault::Metrics(io::Error::other(fault)))?);
        let metrics = bind_metrics(metrics_listen).await?;
        let people = people.map(|people| AdminListener::bind(people, &state_dir)).transpose()?;
        let Sockets { udp, tcp } = open_listeners(&settings.listeners)?;
        let socket = admin::bind(&state_dir).await?;
        let watcher = sync::start(database.clone()).await?;
        let access = DirectoryAccess { watcher: watcher.clone(), writes: Arc::new(Writes::new(&database, watcher)?) };
        let captures = Captures::start(capture).map_err(StartFault::Worker)?;
        let told = Arc::new(Told::new(&settings, database, exporter.counters(), captures));
        let (journal, mut calls) =
            InProgress::open(&state_dir, &told.counters, &told.counts, &settings).map_err(StartFault::Worker)?;
        let interfaces = Arc::new(ArcSwap::from_pointee(Interfaces::resolve(&settings.interfaces)));
        let streams = start_streams(tcp, &told, &interfaces).map_err(StartFault::Worker)?;
        let ((commands, orders), (hears, heard)) = (mpsc::channel(COMMANDS), mpsc::channel(probe::HEARD));
        let names = Names::new(remembered, Arc::clone(&keys), InForce::new(&told, &commands));
        let probing = probe::Parts {
            settings: Arc::clone(&told.settings),
            probe,
            commands: commands.clone(),
            heard,
            clock: told.clock,
            names: Arc::clone(names.published()),
        };
        let (peers, probing) = probe::start(probing, &state_dir);
        let (tap, recorder) = records::start(records, &told, &mut calls).map_err(StartFault::Worker)?;
        let parts = Parts {
            keys: Arc::clone(&keys),
            directory: access.watcher.published().clone(),
            interfaces: Arc::clone(&interfaces),
            sockets: udp,
            streams,
            clock: told.clock,
            counters: Arc::clone(&told.counters),
            calls,
            watch,
            heard: Some(hears),
            wire: Some(told.captures.tap.clone()),
            tap,
            settings,
        };
        let ended = spawn_worker(parts, orders).map_err(StartFault::Worker)?;
        let calls = (recorder.calls(), journal.live());
        let shown = Arc::new(api::of(&told, &access, &peers, &commands, &state_dir, calls));
        let answer = admin::serve(socket, Arc::clone(&shown), std::future::pending());
        let admin = people.map(|people| people.start(shown)).transpose()?;
        let observed = (recorder.calls(), &names, readings::Queues::new(&commands, &journal));
        let observed = Arc::new(readings::Observed::new(&told, &access.watcher, &exporter, &peers, observed));
        let mut tasks = vec![
            tokio::spawn(until_closed("the status socket", answer)),
            tokio::spawn(follow_interfaces(Arc::clone(&told), interfaces)),
            tokio::spawn(keep_up(exporter, access.watcher.clone())),
            tokio::spawn(probing),
            tokio::spawn(Arc::clone(&names).follow()),
        ];
        if let Some(listener) = metrics {
            let serving = admin::serve_observed(listener, observed, std::future::pending());
            tasks.push(tokio::spawn(until_closed("the listener of /metrics", serving)));
        }
        let socket = Some(state_dir.join(admin::SOCKET_NAME));
        Ok(Service { told, names, peers, commands, ended, access, tasks, recorder, journal, socket, admin })
    }

    /// Takes a configuration that has been read again. Listeners are sockets: they stay as they are until a restart.
    pub async fn apply(&self, configuration: Configuration, keys: KeyRing) {
        self.told.captures.tap.set_collector(configuration.capture.collector.clone());
        let (database, probe) = (configuration.database.clone(), configuration.probe.clone());
        if configuration.core.listeners != self.told.listeners {
            tracing::warn!("sip.listen has changed: listeners change with a restart only, the old ones stay");
        }
        self.names.apply(configuration, Arc::new(keys)).await;
        self.peers.apply(probe).await;
        if **self.told.database.load() != database {
            self.told.database.store(Arc::new(database.clone()));
            let watcher = self.access.watcher.clone();
            // A database that hangs must not hold up what else is new.
            tokio::spawn(async move {
                if let Err(fault) = watcher.set_settings(database).await {
                    tracing::warn!(%fault, "[database] has changed, and the directory could not be read by it yet");
                }
            });
        }
    }

    /// Asks the worker for a sign of life. Waits for it without end.
    pub async fn is_alive(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::Answer(answer)).await.is_ok() && answered.await.is_ok()
    }

    /// Refuses new calls from now on; the worker ends with its last transaction.
    pub async fn drain(&self) {
        self.told.ending.store(true, Ordering::Relaxed);
        self.told.draining.store(true, Ordering::Relaxed);
        self.told.drain.store(None);
        self.command(Command::Drain).await;
    }

    /// Resolves when the worker has ended: after [`Service::drain`], or because it failed. Cancel-safe.
    pub async fn ended(&mut self) -> io::Result<()> {
        match (&mut self.ended).await {
            Ok(result) => result,
            Err(_) => Err(io::Error::other("the worker's thread is gone")),
        }
    }

    /// Ends at once, or clears up after the worker has ended.
    pub async fn stop(mut self) -> Ended {
        // With its answer the worker has counted what its last turn opened.
        let _has_ended = !self.is_alive().await;
        let open = self.told.counters.value(&catalogue::OPEN_TRANSACTIONS, "");
        // A worker that has ended takes no command, and has nothing left to wait for.
        if self.commands.send(Command::Stop).await.is_ok() && !self.ended.is_terminated() {
            let _ended = (&mut self.ended).await;
        }
        for task in &self.tasks {
            task.abort();
        }
        drop(self.admin.take());
        self.access.watcher.stop().await;
        let recorder = self.recorder;
        // It waits for its sinks; the runtime has others to serve.
        let _ended = tokio::task::spawn_blocking(move || recorder.end()).await;
        let journal = self.journal;
        // The worker has ended, and with it the last pen.
        let _closed = tokio::task::spawn_blocking(|| journal.close()).await;
        if let Some(Err(error)) = self.socket.take().map(std::fs::remove_file) {
            tracing::warn!(%error, "the status socket could not be removed");
        }
        if open == 0 { Ended::Drained } else { Ended::CutOff(open) }
    }

    /// What `switchyard status` shows.
    pub fn status(&self) -> Status {
        self.told.status(&self.access.watcher, &self.peers)
    }

    /// The directory's writer.
    pub fn watcher(&self) -> &Watcher {
        &self.access.watcher
    }

    /// The ways to read and to change the directory.
    pub fn directory(&self) -> &DirectoryAccess {
        &self.access
    }

    /// What is known of the peers, and the way to decide about them.
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// What is counted.
    pub fn counters(&self) -> &Counters {
        &self.told.counters
    }

    /// Transactions that are open now.
    pub fn open_transactions(&self) -> u64 {
        self.told.counters.value(&catalogue::OPEN_TRANSACTIONS, "")
    }

    async fn command(&self, command: Command) {
        if self.commands.send(command).await.is_err() {
            tracing::error!("the worker has ended and takes no command");
        }
    }
}

impl Told {
    fn new(settings: &Arc<Settings>, database: sync::Settings, counters: Counters, captures: Captures) -> Told {
        Told {
            captures,
            clock: Clock::start(),
            settings: Arc::new(ArcSwap::new(Arc::clone(settings))),
            database: ArcSwap::from_pointee(database),
            listeners: settings.listeners.clone(),
            counters: Arc::new(counters),
            counts: Arc::default(),
            draining: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            drain: ArcSwapOption::empty(),
        }
    }

    /// Time since the start.
    fn uptime(&self) -> Duration {
        Duration::from_millis(self.clock.now().as_millis())
    }

    fn status(&self, watcher: &Watcher, peers: &Peers) -> Status {
        let settings = self.settings.load();
        let sync = watcher.status();
        let degraded = sync.is_degraded();
        let directory = DirectoryStatus {
            loaded: sync.is_loaded,
            generation: sync.generation.0,
            dids: u64::try_from(sync.did_count).unwrap_or(u64::MAX),
            faults: sync.fault_count,
            table_age_s: sync.age.map(|age| age.as_secs_f64()),
            trouble: sync.fault.map(|fault| fault.to_string()),
            degraded,
            from_snapshot: sync.is_from_snapshot,
            source: sync.source,
            detection: sync.detection.to_owned(),
            held: sync.held.iter().flat_map(|held| &held.reasons).map(ToString::to_string).collect(),
            snapshot_trouble: sync.snapshot_fault,
        };
        let listeners = self.listeners.iter().map(|listener| ListenerStatus {
            transport: listener.transport.to_string(),
            address: listener.address.to_string(),
        });
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            environment: settings.environment.to_string(),
            uptime_s: self.clock.now().as_millis() / 1_000,
            draining: self.draining.load(Ordering::Relaxed),
            drain: self.drain.load().as_ref().map(|ordered| ordered.status(self.uptime())),
            open_transactions: self.counters.value(&catalogue::OPEN_TRANSACTIONS, ""),
            directory,
            listeners: listeners.collect(),
            parties: settings.parties.iter().map(party_status).collect(),
            peers: peers.list(),
            counters: self.counters.samples().iter().map(Count::from).collect(),
        }
    }
}

fn party_status(party: &Party) -> PartyStatus {
    let role = match party.role {
        Role::Trunk => "trunk",
        Role::Environment(_) => "environment",
    };
    let sources = party.sources.iter().map(|source| match source.port {
        Some(port) => format!("{}:{port}", source.ip),
        None => source.ip.to_string(),
    });
    PartyStatus {
        name: party.name.to_string(),
        role: role.to_owned(),
        peers: party.peers.iter().map(Peer::to_string).collect(),
        sources: sources.collect(),
    }
}

/// The sockets of all listeners.
#[derive(Debug, Default)]
struct Sockets {
    udp: Vec<(ListenerId, std::net::UdpSocket)>,
    tcp: Vec<(ListenerId, std::net::TcpListener)>,
}

fn open_listeners(listeners: &[Listener]) -> Result<Sockets, OpenFault> {
    let mut sockets = Sockets::default();
    for (id, Listener { transport, address }) in (0..=u16::MAX).map(ListenerId).zip(listeners.iter().copied()) {
        match transport {
            Transport::Udp => {
                let (socket, notices) = udp::open(address)?;
                for notice in notices {
                    tracing::warn!(%address, "{notice}");
                }
                sockets.udp.push((id, socket));
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

/// The TCP side, where there is a TCP listener.
fn start_streams(
    listeners: Vec<(ListenerId, std::net::TcpListener)>,
    told: &Told,
    interfaces: &Arc<ArcSwap<Interfaces>>,
) -> io::Result<Option<Streams>> {
    if listeners.is_empty() {
        return Ok(None);
    }
    let settings = Arc::clone(&told.settings);
    let (interfaces, counters) = (Arc::clone(interfaces), Arc::clone(&told.counters));
    let connections_max = tcp::CONNECTIONS;
    tcp::start(tcp::Parts { listeners, settings, interfaces, connections_max, counters }).map(Some)
}

fn spawn_worker(parts: Parts, orders: mpsc::Receiver<Command>) -> io::Result<oneshot::Receiver<io::Result<()>>> {
    let (ending, ended) = oneshot::channel();
    std::thread::Builder::new().name("worker".to_owned()).spawn(move || {
        // Nobody waits any more when the service has been dropped.
        let _told = ending.send(worker::run(parts, orders));
    })?;
    Ok(ended)
}

async fn bind_metrics(address: Option<SocketAddr>) -> Result<Option<TcpListener>, StartFault> {
    let Some(address) = address else { return Ok(None) };
    match TcpListener::bind(address).await {
        Ok(listener) => {
            tracing::info!(%address, "metrics are served");
            Ok(Some(listener))
        }
        Err(error) => Err(StartFault::Metrics(io::Error::new(error.kind(), format!("{address}: {error}")))),
    }
}

async fn until_closed(what: &str, serving: impl Future<Output = io::Result<()>>) {
    if let Err(error) = serving.await {
        tracing::error!(%error, "{what} is closed");
    }
}

/// Empties the histograms' buffers, also when nobody scrapes.
async fn keep_up(exporter: Arc<Exporter>, watcher: Watcher) {
    let mut every = tokio::time::interval(KEEP_UP_EVERY);
    loop {
        every.tick().await;
        readings::note_applied(&watcher, &exporter);
        exporter.upkeep();
    }
}

async fn follow_interfaces(told: Arc<Told>, interfaces: Arc<ArcSwap<Interfaces>>) {
    let mut every = tokio::time::interval(INTERFACES_EVERY);
    loop {
        every.tick().await;
        let settings = told.settings.load_full();
        let found = Interfaces::resolve(&settings.interfaces);
        if **interfaces.load() != found {
            let (there, named) = (found.len(), settings.interfaces.len());
            tracing::info!(there, named, "the interfaces that peers are tied to have changed");
            interfaces.store(Arc::new(found));
        }
    }
}
