//! The one writer: look, read, build, publish.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use directory::{Builder, Directory, Generation, Policy};
use tokio::sync::{mpsc, oneshot};

use crate::backoff::Backoff;
use crate::fault::SyncFault;
use crate::limits::REQUESTS_WAITING_MAX;
use crate::published::{Published, Publisher};
use crate::settings::{Settings, masked_url};
use crate::source::Source;
use crate::status::{Looks, Status};

/// Starts the writer on a thread of its own and waits for its first look, which may well fail: a database that is not
/// there, or cannot be read, is looked for again and again, and meanwhile the directory is empty and not loaded.
///
/// Fails only on settings that can never work.
pub async fn start(settings: Settings) -> Result<Watcher, SyncFault> {
    let source = Source::new(&settings)?;
    let not_running = |detail: String| SyncFault::NotRunning { detail };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| not_running(error.to_string()))?;
    let publisher = Publisher::new(Directory::empty());
    let published = publisher.published();
    let looks = Arc::new(Mutex::new(Looks::default()));
    let (requests, waiting) = mpsc::channel(REQUESTS_WAITING_MAX);
    let (looked, first_look) = oneshot::channel();
    let shown_url = masked_url(&settings.url);
    let writer = Writer {
        source,
        publisher,
        looks: Arc::clone(&looks),
        backoff: Backoff::new(settings.poll_interval, settings.retry_interval_max),
        policy: settings.policy,
        poll_interval: settings.poll_interval,
        query_timeout: settings.query_timeout,
    };
    let run = move || runtime.block_on(writer.run(waiting, looked));
    let thread = std::thread::Builder::new().name("sync".to_owned()).spawn(run);
    thread.map_err(|error| not_running(error.to_string()))?;
    // A writer that is gone before its first look shows as such with the first request.
    let _ = first_look.await;
    Ok(Watcher { published, looks, requests, source: shown_url.into() })
}

/// The writer's other end. Clones lead to the same writer; when the last is dropped, it stops.
#[derive(Clone)]
pub struct Watcher {
    published: Published,
    looks: Arc<Mutex<Looks>>,
    requests: mpsc::Sender<Request>,
    source: Arc<str>,
}

/// What the writer can be asked for.
enum Request {
    /// Read now, whether or not anything seems to have changed.
    Refresh(Answer),
    /// Read rows by other rules from now on.
    Policy(Policy, Answer),
    /// Stop.
    Stop(oneshot::Sender<()>),
}

/// Where the generation that holds the outcome goes, or why there is none.
type Answer = oneshot::Sender<Result<Generation, SyncFault>>;

impl Watcher {
    /// Where the directory is taken from.
    pub fn published(&self) -> &Published {
        &self.published
    }

    /// How the writer fares.
    pub fn status(&self) -> Status {
        let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        looks.status(&self.source, &self.published.load())
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

    /// Stops the writer. The last directory stays published.
    pub async fn stop(&self) {
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

struct Writer {
    source: Source,
    publisher: Publisher,
    looks: Arc<Mutex<Looks>>,
    backoff: Backoff,
    policy: Policy,
    poll_interval: Duration,
    query_timeout: Duration,
}

impl Writer {
    async fn run(mut self, mut requests: mpsc::Receiver<Request>, looked: oneshot::Sender<()>) {
        let outcome = self.look(false).await;
        let mut wait = self.wait_after(&outcome);
        let _ = looked.send(());
        loop {
            let mut answers = Vec::new();
            let first = tokio::time::timeout(wait, requests.recv()).await;
            let mut request = match first {
                Ok(None) => return,
                Ok(Some(request)) => Some(request),
                Err(_elapsed) => None,
            };
            // Whoever asked before the reading begins is answered by it.
            while let Some(asked) = request {
                match asked {
                    Request::Refresh(answer) => answers.push(answer),
                    Request::Policy(policy, answer) => {
                        self.policy = policy;
                        answers.push(answer);
                    }
                    Request::Stop(stopped) => {
                        drop(self);
                        let _ = stopped.send(());
                        return;
                    }
                }
                request = requests.try_recv().ok();
            }
            let outcome = self.look(!answers.is_empty()).await;
            wait = self.wait_after(&outcome);
            let outcome = outcome.map(|()| self.publisher.load().generation());
            for answer in answers {
                // Who asked may have gone.
                let _ = answer.send(outcome.clone());
            }
        }
    }

    /// One look at the database, and one reading if something changed or `is_forced`.
    async fn look(&mut self, is_forced: bool) -> Result<(), SyncFault> {
        let looked = tokio::time::timeout(self.query_timeout, self.read(is_forced)).await;
        let outcome = looked.unwrap_or(Err(SyncFault::TimedOut(self.query_timeout)));
        if outcome.is_err() {
            self.source.disconnect();
        }
        self.note(&outcome);
        outcome
    }

    async fn read(&mut self, is_forced: bool) -> Result<(), SyncFault> {
        if !self.source.has_changed().await? && !is_forced {
            return Ok(());
        }
        let previous = self.publisher.load();
        let mut builder = Builder::new(&self.policy, Some(&previous));
        self.source.read(&mut builder).await?;
        let next = builder.finish(Generation(previous.generation().0.saturating_add(1)));
        if !next.says_the_same(&previous) {
            tracing::info!(
                generation = next.generation().0,
                dids = next.did_count(),
                users = next.user_count(),
                organisations = next.organisation_count(),
                faults = next.fault_count(),
                "directory published"
            );
            self.publisher.publish(next);
        }
        Ok(())
    }

    /// Keeps the outcome for the status, and tells the log when it is another than before.
    fn note(&self, outcome: &Result<(), SyncFault>) {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = outcome.as_ref().err();
        match fault {
            Some(fault) if looks.fault.as_ref() != Some(fault) => {
                tracing::warn!(%fault, "the directory could not be read; the last good one stays");
            }
            None if looks.fault.is_some() => tracing::info!("the directory can be read again"),
            _ => {}
        }
        looks.fault = fault.cloned();
        if fault.is_none() {
            looks.confirmed_at = Some(Instant::now());
        }
    }

    /// How long to wait for the next look. A missing file costs nothing to look for; anything else backs off.
    fn wait_after(&mut self, outcome: &Result<(), SyncFault>) -> Duration {
        match outcome {
            Ok(()) | Err(SyncFault::FileMissing { .. }) => {
                self.backoff.reset();
                self.poll_interval
            }
            Err(_) => self.backoff.after_failure(),
        }
    }
}
