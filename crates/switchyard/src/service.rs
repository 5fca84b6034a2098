//! The running proxy as one value: sockets, the workers on their threads, the directory's writer, the status socket.
//! `run` keeps one alive between signals, `demo` puts one between simulated neighbours.

mod admin_listener;
mod api;
mod drain;
mod in_force;
mod instruments;
mod limits;
mod readings;
mod records;
mod workers;

pub(crate) use in_force::InForce;

use crate::call_journal::CallJournal;
use crate::clock::Clock;
use crate::config::Configuration;
use crate::names::{self, Names};
use crate::probe::{self, Peers};
use crate::udp::{Interfaces, OpenFault};
use crate::worker::{Command, Crew, InProgress, Seen};
use admin::{BindFault, Count, DirectoryStatus, ListenerStatus, PartyStatus, Status};
use admin_listener::AdminListener;
use arc_swap::{ArcSwap, ArcSwapOption};
use instruments::Captures;
use proxy::{Counts, KeyRing, Listener, Party, Peer, Role, Settings};
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
use telemetry::{Exporter, catalogue};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use workers::{Arrivals, Endings, Own, Shared, Sockets, Tally};

/// How often interface names are looked up again: a tunnel may come, go and come back with another number.
const INTERFACES_EVERY: Duration = Duration::from_secs(3);
/// How often the histograms' buffers are emptied.
const KEEP_UP_EVERY: Duration = Duration::from_secs(5);
/// How long workers have to obey when they are to drain, before it is said that they do.
const DRAINS_WITHIN: Duration = Duration::from_secs(1);

/// The proxy, running.
pub struct Service {
    told: Arc<Told>,
    crew: Crew,
    endings: Endings,
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
    tally: Tally,
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
        let workers = configuration.workers;
        let remembered = names::remember(configuration);
        let Configuration { core, state_dir, database, metrics_listen, admin: people, probe, records, capture, .. } =
            remembered.configuration.clone();
        let (settings, keys) = (Arc::new(core), Arc::new(keys));
        let exporter = Arc::new(Exporter::new().map_err(|fault| StartFault::Metrics(io::Error::other(fault)))?);
        let metrics = bind_metrics(metrics_listen).await?;
        let people = people.map(|people| AdminListener::bind(people, &state_dir)).transpose()?;
        let spread = workers::spread(workers).map_err(StartFault::Worker)?;
        let Sockets { udp: sockets, tcp: listeners } = workers::open_listeners(&settings.listeners, spread.as_deref())?;
        let socket = admin::bind(&state_dir).await?;
        let watcher = sync::start(database.clone()).await?;
        let access = DirectoryAccess { watcher: watcher.clone(), writes: Arc::new(Writes::new(&database, watcher)?) };
        let captures = Captures::start(capture).map_err(StartFault::Worker)?;
        let told = Arc::new(Told::new(&settings, database, Tally::new(&exporter, workers), captures));
        let (journal, mut calls) =
            InProgress::open(&state_dir, told.tally.first(), &told.counts, &settings).map_err(StartFault::Worker)?;
        let interfaces = Arc::new(ArcSwap::from_pointee(Interfaces::resolve(&settings.interfaces)));
        let arrivals = Arrivals::start(listeners, &told, &interfaces, spread.as_ref()).map_err(StartFault::Worker)?;
        let ((crew, orders), (hears, heard)) = (workers::orders(workers), mpsc::channel(probe::HEARD));
        let names = Names::new(remembered, Arc::clone(&keys), InForce::new(&told, &crew));
        let probing = probe::Parts {
            settings: Arc::clone(&told.settings),
            probe,
            commands: crew.clone(),
            heard,
            clock: told.clock,
            names: Arc::clone(names.published()),
        };
        let (peers, probing) = probe::start(probing, &state_dir);
        let (taps, recorder) = records::start(records, &told, &mut calls, workers).map_err(StartFault::Worker)?;
        let own = Own { sockets, arrivals, taps, orders, spread };
        let shared = Shared {
            directory: access.watcher.published().clone(),
            interfaces: Arc::clone(&interfaces),
            heard: hears,
            states: peers.begins(),
            watch,
            settings,
            keys,
        };
        let endings = workers::spawn(own, calls, &shared, &told).map_err(StartFault::Worker)?;
        let calls = (recorder.calls(), journal.live());
        let shown = Arc::new(api::of(&told, &access, &peers, &crew, &state_dir, calls));
        let answer = admin::serve(socket, Arc::clone(&shown), std::future::pending());
        let admin = people.map(|people| people.start(shown)).transpose()?;
        let observed = (recorder.calls(), &names, readings::Queues::new(&crew, &journal));
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
        Ok(Service { told, names, peers, crew, endings, access, tasks, recorder, journal, socket, admin })
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

    /// Asks every worker for a sign of life. Waits for it without end.
    pub async fn is_alive(&self) -> bool {
        self.crew.answers().await
    }

    /// Refuses new calls from now on: every worker does when this resolves, but one that stands still. The workers end with
    /// their last transaction.
    pub async fn drain(&self) {
        self.told.ending.store(true, Ordering::Relaxed);
        self.told.draining.store(true, Ordering::Relaxed);
        self.told.drain.store(None);
        if !self.crew.tell(&Command::Drain).await {
            tracing::error!("a worker has ended and takes no command");
        }
        // Commands are obeyed in order: who answers now refuses. One with nothing open may have ended.
        let _answered = tokio::time::timeout(DRAINS_WITHIN, self.crew.answers()).await;
    }

    /// Resolves when all workers have ended, after [`Service::drain`], or one has failed. Cancel-safe.
    pub async fn ended(&mut self) -> io::Result<()> {
        self.endings.all().await
    }

    /// Ends at once, or clears up after the workers have ended.
    pub async fn stop(mut self) -> Ended {
        // With its answer a worker has counted what its last turn opened.
        let _has_ended = !self.is_alive().await;
        let open = self.open_transactions();
        // A worker that has ended takes no command, and there is nothing left to wait for.
        let _have_ended = !self.crew.tell(&Command::Stop).await;
        self.endings.whatever().await;
        for task in &self.tasks {
            task.abort();
        }
        drop(self.admin.take());
        self.access.watcher.stop().await;
        let recorder = self.recorder;
        // It waits for its sinks; the runtime has others to serve.
        let _ended = tokio::task::spawn_blocking(move || recorder.end()).await;
        let journal = self.journal;
        // The workers have ended, and with them the last pen.
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

    /// Transactions that are open now.
    pub fn open_transactions(&self) -> u64 {
        self.told.tally.value(&catalogue::OPEN_TRANSACTIONS, "")
    }
}

impl Told {
    fn new(settings: &Arc<Settings>, database: sync::Settings, tally: Tally, captures: Captures) -> Told {
        Told {
            captures,
            clock: Clock::start(),
            settings: Arc::new(ArcSwap::new(Arc::clone(settings))),
            database: ArcSwap::from_pointee(database),
            listeners: settings.listeners.clone(),
            tally,
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
            open_transactions: self.tally.value(&catalogue::OPEN_TRANSACTIONS, ""),
            directory,
            listeners: listeners.collect(),
            parties: settings.parties.iter().map(party_status).collect(),
            peers: peers.list(),
            counters: self.tally.samples().iter().map(Count::from).collect(),
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
