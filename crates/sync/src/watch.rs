//! The writer's start, and its other end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use directory::{Difference, Directory, Environment, Generation, OwnMove, Policy};
use sip::Number;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::clock::now_ms;
use crate::fault::SyncFault;
use crate::generations::GenerationNote;
use crate::limits::{OWN_MOVES_MAX, REQUESTS_WAITING_MAX};
use crate::published::{Published, Publisher};
use crate::settings::{Settings, masked_url};
use crate::source::Source;
use crate::status::{Held, Looks, Status};
use crate::writer::Writer;

/// How long a start waits for the first look when there may be a snapshot to serve from.
const FIRST_LOOK_WAIT: Duration = Duration::from_millis(500);

/// Starts the writer on a thread of its own. With [`Settings::snapshot_dir`] the last snapshot is in effect when this
/// returns, and the first look is waited for no longer than half a second. Without, the first look is waited for, but
/// no longer than [`Settings::query_timeout`]. It may well fail: a database that is not there, or cannot be read, is looked for again and again, and meanwhile the
/// directory is empty and not loaded.
///
/// Fails only on settings that can never work.
pub async fn start(settings: Settings) -> Result<Watcher, SyncFault> {
    let bell = Arc::new(Notify::new());
    let stopping = Arc::new(Notify::new());
    let source = Source::new(&settings, Arc::clone(&bell))?;
    let not_running = |detail: String| SyncFault::NotRunning { detail };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| not_running(error.to_string()))?;
    let publisher = Publisher::new(Directory::empty());
    let published = publisher.published();
    let looks = Arc::new(Mutex::new(Looks::default()));
    let own_moves = Arc::new(Mutex::new(VecDeque::new()));
    let (requests, waiting) = mpsc::channel(REQUESTS_WAITING_MAX);
    let (loaded, snapshot_loaded) = oneshot::channel();
    let (looked, first_look) = oneshot::channel();
    let shown_url = masked_url(&settings.url);
    let first_look_wait = if settings.snapshot_dir.is_some() { FIRST_LOOK_WAIT } else { settings.query_timeout };
    let bells = (bell, Arc::clone(&stopping));
    let shared = (Arc::clone(&looks), Arc::clone(&own_moves));
    let run = move || {
        runtime.block_on(async {
            let writer = Writer::new(settings, bells, publisher, shared);
            let _ = loaded.send(());
            writer.run(source, waiting, looked).await;
        });
        // A reading or a snapshot that hangs must not hold up the end.
        runtime.shutdown_background();
    };
    let thread = std::thread::Builder::new().name("sync".to_owned()).spawn(run);
    thread.map_err(|error| not_running(error.to_string()))?;
    // A writer that is gone before its first look shows as such with the first request.
    let _ = snapshot_loaded.await;
    let _ = tokio::time::timeout(first_look_wait, first_look).await;
    Ok(Watcher { published, looks, own_moves, requests, stopping, source: shown_url.into() })
}

/// The writer's other end. Clones lead to the same writer; when the last is dropped, it stops.
#[derive(Clone)]
pub struct Watcher {
    published: Published,
    looks: Arc<Mutex<Looks>>,
    own_moves: OwnMoves,
    requests: mpsc::Sender<Request>,
    stopping: Arc<Notify>,
    source: Arc<str>,
}

/// What we wrote ourselves, with the time in milliseconds since 1970, oldest first.
pub(crate) type OwnMoves = Arc<Mutex<VecDeque<(u64, OwnMove)>>>;

/// What the writer can be asked for.
pub(crate) enum Request {
    /// Look now, whether or not anything seems to have changed.
    Refresh(Answer),
    /// Read rows by other rules from now on.
    Policy(Policy, Answer),
    /// Work by these settings from now on.
    Settings(Box<Settings>, Answer),
    /// Publish what the guard holds back, for this reason. Only this version of it, where one is given.
    Accept(String, Option<u64>, Answer),
    /// Keep what the guard holds back out until the data change again. Only this version of it, where one is given.
    Reject(Option<u64>, Answer),
    /// Stop.
    Stop(oneshot::Sender<()>),
}

/// Where the generation that holds the outcome goes, or why there is none.
pub(crate) type Answer = oneshot::Sender<Result<Generation, SyncFault>>;

impl Watcher {
    /// Where the directory is taken from.
    pub fn published(&self) -> &Published {
        &self.published
    }

    /// How the writer fares.
    pub fn status(&self) -> Status {
        lock(&self.looks).status(&self.source, &self.published.load())
    }

    /// The last generations, oldest first.
    pub fn generations(&self) -> Vec<GenerationNote> {
        lock(&self.looks).generations.notes()
    }

    /// How long each generation took since this was asked last: from the beginning of the look that found it until it was
    /// published.
    pub fn take_apply_times(&self) -> VecDeque<Duration> {
        lock(&self.looks).applied.take()
    }

    /// What lies between two generations; `None` when one of those after `from` is not kept any more.
    pub fn difference(&self, from: Generation, to: Generation) -> Option<Difference> {
        lock(&self.looks).generations.difference(from, to)
    }

    /// What the guard holds back.
    pub fn held(&self) -> Option<Held> {
        lock(&self.looks).held.clone()
    }

    /// Reads now, and answers with the generation that holds what was in the database when this was called. Requests
    /// that come while a reading is under way share the next one.
    pub async fn refresh(&self) -> Result<Generation, SyncFault> {
        self.ask(Request::Refresh).await
    }

    /// Reads rows by these rules from now on, and answers with the first generation that is built so.
    pub async fn set_policy(&self, policy: Policy) -> Result<Generation, SyncFault> {
        self.ask(|answer| Request::Policy(policy, answer)).await
    }

    /// Works by these settings from now on, and answers with the first generation that is read so. The URL, the mapping
    /// and the folder of snapshots stay what they were: those take a new writer. Another guard begins with an empty
    /// window, and weighs anew what the last one held back.
    pub async fn set_settings(&self, settings: Settings) -> Result<Generation, SyncFault> {
        self.ask(|answer| Request::Settings(Box::new(settings), answer)).await
    }

    /// Publishes what the guard holds back, and answers with its generation.
    pub async fn accept(&self, reason: &str) -> Result<Generation, SyncFault> {
        self.ask(|answer| Request::Accept(reason.to_owned(), None, answer)).await
    }

    /// The same, if it is still this [`Held::version`].
    pub async fn accept_version(&self, reason: &str, version: u64) -> Result<Generation, SyncFault> {
        self.ask(|answer| Request::Accept(reason.to_owned(), Some(version), answer)).await
    }

    /// Keeps what the guard holds back out until the data change again; answers with the generation that stays.
    pub async fn reject(&self) -> Result<Generation, SyncFault> {
        self.ask(|answer| Request::Reject(None, answer)).await
    }

    /// The same, if it is still this [`Held::version`].
    pub async fn reject_version(&self, version: u64) -> Result<Generation, SyncFault> {
        self.ask(|answer| Request::Reject(Some(version), answer)).await
    }

    /// Tells the guard that a DID's move to an environment is ours, before it is committed.
    pub fn note_own_move(&self, number: Number, environment: Environment) {
        let mut own_moves = lock(&self.own_moves);
        if own_moves.len() >= OWN_MOVES_MAX {
            own_moves.pop_front();
        }
        own_moves.push_back((now_ms(), OwnMove { number, environment }));
    }

    /// Stops the writer. The last directory stays published, and is on disk where snapshots are kept.
    pub async fn stop(&self) {
        self.stopping.notify_one();
        let (stopped, wait) = oneshot::channel();
        // An error on either says that the writer is gone already.
        let _ = self.requests.send(Request::Stop(stopped)).await;
        let _ = wait.await;
    }

    async fn ask(&self, request: impl FnOnce(Answer) -> Request) -> Result<Generation, SyncFault> {
        let stopped = || SyncFault::NotRunning { detail: "it was stopped".to_owned() };
        let (answer, wait) = oneshot::channel();
        self.requests.send(request(answer)).await.map_err(|_| stopped())?;
        wait.await.map_err(|_| stopped())?
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_too_many_moves_of_our_own_the_oldest_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("none.db").display());
        let watcher = start(Settings::new(url, Policy::default())).await.unwrap();
        let first = 918_065_978_000;
        for digits in (first..).take(OWN_MOVES_MAX + 10) {
            watcher.note_own_move(Number::from_digits(digits).unwrap(), Environment::Oss);
        }
        let own_moves = lock(&watcher.own_moves);
        assert_eq!(own_moves.len(), OWN_MOVES_MAX);
        assert_eq!(own_moves.front().unwrap().1.number, Number::from_digits(first + 10).unwrap());
    }
}
