//! The one writer: look, read, build, weigh, publish.

mod moves;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use directory::{Directory, Generation, Guard, Overlays, OwnMove, Verdict};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::backoff::Backoff;
use crate::clock::now_ms;
use crate::fault::SyncFault;
use crate::generations::{Cause, GenerationNote};
use crate::limits::READ_TIME_MAX;
use crate::published::Publisher;
use crate::reading::{Read, read};
use crate::saver::Saver;
use crate::settings::Settings;
use crate::snapshot_files::SnapshotFiles;
use crate::source::{Depth, Source};
use crate::status::{Held, Looks};
use crate::watch::{Answer, OwnMoves, Request, lock};

/// The shortest time between the ends of two looks: under a stream of changes each look finds several.
const LOOKS_APART: Duration = Duration::from_millis(4);

pub(crate) struct Writer {
    settings: Settings,
    /// Rings when a look is worth while before its time.
    bell: Arc<Notify>,
    /// Rings when a look need not be finished.
    stopping: Arc<Notify>,
    publisher: Publisher,
    looks: Arc<Mutex<Looks>>,
    own_moves: OwnMoves,
    backoff: Backoff,
    guard: Option<Guard>,
    saver: Option<Saver>,
    /// What the database says of rows, whether or not the guard lets it in.
    truth: Arc<Directory>,
    /// What the database says of overlays, ended ones included.
    overlays: Overlays,
    /// Whether rows have to be read anew by other rules.
    is_policy_new: bool,
    /// Whether the next look has to read everything.
    is_reading_due: bool,
    /// Directories that were published and may still be in someone's hands; they are dropped here.
    retired: Vec<Arc<Directory>>,
    /// Moves of all nodes by the audit, with their times, as they were last asked for.
    node_moves: Vec<(u64, OwnMove)>,
    next_look: Instant,
    /// When the look that is under way began, or whatever else leads to the next generation.
    begun: Instant,
}

/// What a request asks for, once the look that it shares is over.
enum Asked {
    Generation(Answer),
    Accept(String, Option<u64>, Answer),
    Reject(Option<u64>, Answer),
}

impl Writer {
    /// A writer that has taken over the last snapshot, if there is one.
    pub(crate) fn new(
        settings: Settings,
        (bell, stopping): (Arc<Notify>, Arc<Notify>),
        publisher: Publisher,
        (looks, own_moves): (Arc<Mutex<Looks>>, OwnMoves),
    ) -> Writer {
        let mut writer = Writer {
            backoff: Backoff::new(settings.poll_interval, settings.retry_interval_max),
            guard: settings.guard.map(Guard::new),
            saver: None,
            truth: publisher.load(),
            overlays: Overlays::default(),
            is_policy_new: false,
            is_reading_due: false,
            retired: Vec::new(),
            node_moves: Vec::new(),
            next_look: Instant::now(),
            begun: Instant::now(),
            settings,
            bell,
            stopping,
            publisher,
            looks,
            own_moves,
        };
        writer.load_snapshot();
        writer
    }

    pub(crate) async fn run(
        mut self,
        mut source: Source,
        mut requests: mpsc::Receiver<Request>,
        looked: oneshot::Sender<()>,
    ) {
        self.look(&mut source, Depth::Glance).await.ok();
        let _ = looked.send(());
        loop {
            self.keep_up().await;
            let wake_at = self.wake_at();
            let request = tokio::select! {
                request = requests.recv() => match request {
                    Some(request) => Some(request),
                    None => return self.stop().await,
                },
                () = self.bell.notified() => {
                    self.next_look = Instant::now();
                    None
                }
                () = tokio::time::sleep_until(wake_at.into()) => None,
            };
            let is_asked = request.is_some();
            let mut asked = Vec::new();
            // Whoever asked before the reading begins is answered by it.
            let mut request = request;
            while let Some(one) = request {
                match one {
                    Request::Refresh(answer) => asked.push(Asked::Generation(answer)),
                    Request::Policy(policy, answer) => {
                        self.settings.policy = policy;
                        self.is_policy_new = true;
                        asked.push(Asked::Generation(answer));
                    }
                    Request::Settings(settings, answer) => {
                        self.adopt(&mut source, *settings);
                        asked.push(Asked::Generation(answer));
                    }
                    Request::Accept(reason, version, answer) => asked.push(Asked::Accept(reason, version, answer)),
                    Request::Reject(version, answer) => asked.push(Asked::Reject(version, answer)),
                    Request::Stop(stopped) => {
                        self.stop().await;
                        let _ = stopped.send(());
                        return;
                    }
                }
                request = requests.try_recv().ok();
            }
            if is_asked {
                let outcome = self.look(&mut source, Depth::Sure).await;
                self.answer(asked, &outcome);
            } else if Instant::now() >= self.next_look {
                self.look(&mut source, Depth::Glance).await.ok();
            }
        }
    }

    /// Takes over what can change while it runs.
    fn adopt(&mut self, source: &mut Source, new: Settings) {
        let Settings { url, mapping, snapshot_dir, .. } = self.settings.clone();
        let old = std::mem::replace(&mut self.settings, Settings { url, mapping, snapshot_dir, ..new });
        let new = &self.settings;
        self.backoff = Backoff::new(new.poll_interval, new.retry_interval_max);
        let is_guard_new = old.guard != new.guard;
        if is_guard_new {
            self.guard = new.guard.map(Guard::new);
            lock(&self.looks).held = None;
        }
        let is_read_otherwise = old.detection != new.detection
            || old.query_timeout != new.query_timeout
            || old.reconcile_interval != new.reconcile_interval;
        if is_read_otherwise && let Ok(new) = Source::new(new, Arc::clone(&self.bell)) {
            *source = new;
        }
        self.is_policy_new |= old.policy != new.policy;
        self.is_reading_due |= is_guard_new || self.is_policy_new;
    }

    /// One look at the database, with all that follows from it.
    async fn look(&mut self, source: &mut Source, depth: Depth) -> Result<(), SyncFault> {
        let begun = Instant::now();
        self.begun = begun;
        let depth = if self.is_policy_new || self.is_reading_due { Depth::Whole } else { depth };
        let outcome = self.read_in_time(source, depth).await;
        if let Ok(Some(Read { rows: Some(rows), .. })) = &outcome {
            self.learn_moves(source, rows).await;
        }
        let outcome = outcome.map(|read| self.take(read));
        if outcome.is_err() {
            source.disconnect();
        }
        self.note(source, &outcome);
        self.plan(source, begun, &outcome);
        outcome
    }

    /// Reads, within the time for it. Overlays end meanwhile as they say, however long the database takes.
    async fn read_in_time(&mut self, source: &mut Source, depth: Depth) -> Result<Option<Read>, SyncFault> {
        let (stopping, policy) = (Arc::clone(&self.stopping), self.settings.policy.clone());
        let (truth, generation) = (Arc::clone(&self.truth), self.publisher.load().generation());
        let reading = tokio::time::timeout(READ_TIME_MAX, read(source, depth, &policy, &truth, generation));
        tokio::pin!(reading);
        loop {
            let end = self.next_end().unwrap_or_else(|| Instant::now() + READ_TIME_MAX);
            tokio::select! {
                outcome = &mut reading => return outcome.unwrap_or(Err(SyncFault::TimedOut(READ_TIME_MAX))),
                () = stopping.notified() => {
                    // Whatever look comes before the request to stop ends as well.
                    stopping.notify_one();
                    return Err(SyncFault::NotRunning { detail: "it was stopped".to_owned() });
                }
                () = tokio::time::sleep_until(end.into()) => self.end_overlays(),
            }
        }
    }

    /// Takes over what was read.
    fn take(&mut self, read: Option<Read>) {
        let Some(Read { rows, overlays }) = read else { return };
        let cause = if self.is_policy_new { Cause::Policy } else { Cause::Rows };
        (self.is_policy_new, self.is_reading_due) = (false, false);
        lock(&self.looks).is_read = true;
        if let Some(overlays) = overlays {
            self.overlays = overlays;
        }
        let changed = rows.filter(|rows| {
            // Overlays are settled apart from the rows.
            let rows = rows.with_overlays(rows.generation(), self.truth.overlays().clone());
            !rows.says_the_same(&self.truth)
        });
        let is_changed = changed.is_some();
        if let Some(rows) = changed {
            let last = std::mem::replace(&mut self.truth, Arc::new(rows));
            self.retired.push(last);
        }
        self.settle(&cause, is_changed);
    }

    /// Brings what is published in step with what the database says, as far as the guard lets it in.
    fn settle(&mut self, cause: &Cause, is_changed: bool) {
        let (published, now_ms) = (self.publisher.load(), now_ms());
        let rows =
            if self.lets_in(&published, now_ms, is_changed) { Arc::clone(&self.truth) } else { Arc::clone(&published) };
        let overlays = self.overlays.without_ended(now_ms);
        let next = rows.with_overlays(next_generation(&published), overlays);
        if !next.says_the_same(&published) {
            let difference = published.difference(&next);
            let cause = if difference.is_empty() && *next.overlays() != *published.overlays() {
                &Cause::Overlays
            } else {
                cause
            };
            self.publish(&published, next, difference, cause.clone(), now_ms);
        }
    }

    /// Whether the guard lets in what the database says.
    fn lets_in(&mut self, published: &Arc<Directory>, now_ms: u64, is_changed: bool) -> bool {
        let Some(guard) = &self.guard else { return true };
        let held = lock(&self.looks).held.clone();
        if held.is_some() && !is_changed {
            return false;
        }
        match guard.judge(now_ms, published, &self.truth, &self.own_moves(now_ms)) {
            Verdict::Pass { warnings } => {
                for warning in warnings {
                    tracing::warn!(%warning, "the data may not be what someone wanted");
                }
                if held.is_some() {
                    tracing::info!("what was held back has been mended");
                    lock(&self.looks).held = None;
                }
                true
            }
            Verdict::Hold(hold) => {
                let reasons: Vec<String> = hold.reasons.iter().map(ToString::to_string).collect();
                tracing::error!(
                    reasons = reasons.join("; "),
                    difference = %hold.difference,
                    "a directory is held back: the old one stays until an operator accepts or the data change"
                );
                let since_ms = held.map_or(now_ms, |held| held.since_ms);
                let mut looks = lock(&self.looks);
                looks.held_count = looks.held_count.saturating_add(1);
                let (version, difference) = (looks.held_count, hold.difference);
                looks.held = Some(Held { version, since_ms, reasons: hold.reasons, difference, is_rejected: false });
                false
            }
        }
    }

    fn publish(
        &mut self,
        published: &Arc<Directory>,
        next: Directory,
        difference: directory::Difference,
        cause: Cause,
        now_ms: u64,
    ) {
        if let Some(guard) = &mut self.guard {
            guard.admit(now_ms, published, &next);
        }
        let generation = next.generation();
        let (dids, users, organisations) = (next.did_count(), next.user_count(), next.organisation_count());
        let (faults, difference, told_cause) = (next.fault_count(), Arc::new(difference), cause.to_string());
        let note = GenerationNote { generation, published_at_ms: now_ms, cause, difference: Arc::clone(&difference) };
        lock(&self.looks).generations.push(note);
        self.retired.push(Arc::clone(published));
        self.publisher.publish(next);
        lock(&self.looks).applied.push(self.begun.elapsed());
        // Told when it is true: who reads it may count on the next call.
        tracing::info!(
            generation = generation.0,
            cause = %told_cause,
            %difference,
            dids,
            users,
            organisations,
            faults,
            "directory published"
        );
    }

    /// What we, and other nodes through the tables that we share, wrote within the guard's window.
    fn own_moves(&self, now_ms: u64) -> Vec<OwnMove> {
        let window_ms = self.guard.as_ref().map_or(0, |guard| guard.policy().window_ms);
        let is_within = |at_ms: u64| at_ms.saturating_add(window_ms) > now_ms;
        let node_moves = self.node_moves.iter().filter(|(at_ms, _)| is_within(*at_ms)).map(|(_, own)| *own);
        let mut own_moves = lock(&self.own_moves);
        while own_moves.front().is_some_and(|(at_ms, _)| !is_within(*at_ms)) {
            own_moves.pop_front();
        }
        own_moves.iter().map(|(_, own)| *own).chain(node_moves).collect()
    }

    fn answer(&mut self, asked: Vec<Asked>, outcome: &Result<(), SyncFault>) {
        for one in asked {
            let (answer, answered) = match one {
                Asked::Generation(answer) => (answer, outcome.clone()),
                Asked::Accept(reason, version, answer) => (answer, self.accept(reason, version)),
                Asked::Reject(version, answer) => (answer, self.reject(version)),
            };
            // Who asked may have gone.
            let _ = answer.send(answered.map(|()| self.publisher.load().generation()));
        }
    }

    fn accept(&mut self, reason: String, version: Option<u64>) -> Result<(), SyncFault> {
        checked(lock(&self.looks).held.as_ref(), version)?;
        lock(&self.looks).held = None;
        if let Some(guard) = &mut self.guard {
            guard.reset();
        }
        let (published, now_ms) = (self.publisher.load(), now_ms());
        let next = self.truth.with_overlays(next_generation(&published), self.overlays.without_ended(now_ms));
        let difference = published.difference(&next);
        self.publish(&published, next, difference, Cause::Accepted { reason }, now_ms);
        if let Some(guard) = &mut self.guard {
            guard.reset();
        }
        Ok(())
    }

    fn reject(&self, version: Option<u64>) -> Result<(), SyncFault> {
        let mut looks = lock(&self.looks);
        checked(looks.held.as_ref(), version)?;
        let held = looks.held.as_mut().ok_or(SyncFault::NothingHeld)?;
        held.is_rejected = true;
        Ok(())
    }

    /// What has to be done whether or not the database says anything: overlays end, snapshots are written, old
    /// directories are dropped.
    async fn keep_up(&mut self) {
        self.end_overlays();
        let published = self.publisher.load();
        if let Some(saver) = &mut self.saver {
            let is_confirmed = lock(&self.looks).fault.is_none();
            let ended = saver.turn(&published, is_confirmed).await;
            self.note_snapshot(ended);
        }
        // A directory that is in nobody's hands but ours is dropped here, and never on a packet's way.
        self.retired.retain(|directory| Arc::strong_count(directory) > 1);
    }

    /// Publishes without the overlays whose end has come.
    fn end_overlays(&mut self) {
        let overlays_ended = self.publisher.load().overlays().next_end().is_some_and(|end_ms| end_ms <= now_ms());
        if overlays_ended {
            let look = std::mem::replace(&mut self.begun, Instant::now());
            self.settle(&Cause::Overlays, false);
            self.begun = look;
        }
    }

    /// When to see whether an overlay has ended.
    fn next_end(&self) -> Option<Instant> {
        let end = self.publisher.load().overlays().next_end();
        // A clock that is set while we sleep makes an end late by no more than this look.
        end.map(|end_ms| Instant::now() + Duration::from_millis(end_ms.saturating_sub(now_ms()).min(1_000)))
    }

    fn wake_at(&self) -> Instant {
        let published = self.publisher.load();
        let save = self.saver.as_ref().and_then(|saver| saver.next_turn(&published));
        [self.next_end(), save].into_iter().flatten().fold(self.next_look, Instant::min)
    }

    /// Plans the next look.
    fn plan(&mut self, source: &Source, begun: Instant, outcome: &Result<(), SyncFault>) {
        let now = Instant::now();
        self.next_look = match outcome {
            Ok(()) => {
                self.backoff.reset();
                let interval = match source.is_cheap_to_poll() {
                    true => self.settings.log_poll_interval.min(self.settings.poll_interval),
                    false => self.settings.poll_interval,
                };
                // What follows on a log costs next to nothing, and changes are waiting after a long reading.
                let rest = source.rest_after(now.saturating_duration_since(begun)).max(LOOKS_APART);
                (begun + interval).max(now + rest)
            }
            // A missing file costs nothing to look for; anything else backs off.
            Err(SyncFault::FileMissing { .. }) => {
                self.backoff.reset();
                now + self.settings.poll_interval
            }
            Err(_) => now + self.backoff.after_failure(),
        };
    }

    /// Keeps the outcome for the status, and tells the log when it is another than before.
    fn note(&self, source: &Source, outcome: &Result<(), SyncFault>) {
        let mut looks = lock(&self.looks);
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
            looks.detection = source.way();
            looks.confirmed = Some((Instant::now(), Duration::ZERO));
        }
    }

    fn note_snapshot(&self, ended: Option<std::io::Result<()>>) {
        let Some(ended) = ended else { return };
        let mut looks = lock(&self.looks);
        if let Err(error) = &ended {
            looks.snapshots_failed = looks.snapshots_failed.saturating_add(1);
            tracing::error!(%error, "the snapshot of the directory could not be written");
        }
        looks.snapshot_fault = ended.err().map(|error| error.to_string());
    }

    /// Takes over the last snapshot that is whole.
    fn load_snapshot(&mut self) {
        let Some(folder) = &self.settings.snapshot_dir else { return };
        let (loaded, faults) = SnapshotFiles::new(folder).load(&self.settings.policy);
        for fault in &faults {
            tracing::error!(%fault, "a snapshot of the directory cannot be read");
        }
        lock(&self.looks).snapshot_fault = faults.into_iter().next_back();
        let saved = loaded.as_ref().map(|loaded| loaded.directory.generation());
        self.saver = Some(Saver::new(folder, saved));
        let Some(loaded) = loaded else { return };
        let age = SystemTime::now().duration_since(loaded.confirmed_at).unwrap_or_default();
        lock(&self.looks).confirmed = Some((Instant::now(), age));
        tracing::info!(
            generation = loaded.directory.generation().0,
            age_s = age.as_secs(),
            "serving from the snapshot"
        );
        let now_ms = now_ms();
        let published = self.publisher.load();
        self.overlays = loaded.directory.overlays().clone();
        let next = loaded.directory.with_overlays(loaded.directory.generation(), self.overlays.without_ended(now_ms));
        let difference = published.difference(&next);
        self.publish(&published, next, difference, Cause::Snapshot, now_ms);
        self.truth = self.publisher.load();
    }

    async fn stop(mut self) {
        let published = self.publisher.load();
        if let Some(saver) = &mut self.saver {
            let ended = saver.finish(&published).await;
            self.note_snapshot(ended);
        }
    }
}

/// Whether something is held back, and is what was looked at.
fn checked(held: Option<&Held>, version: Option<u64>) -> Result<(), SyncFault> {
    let held = held.ok_or(SyncFault::NothingHeld)?;
    if version.is_some_and(|version| version != held.version) { Err(SyncFault::HeldChanged) } else { Ok(()) }
}

fn next_generation(published: &Directory) -> Generation {
    Generation(published.generation().0.saturating_add(1))
}
