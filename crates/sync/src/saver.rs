//! Keeps the snapshot on disk in step with what is published, without anyone waiting for the disk.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use directory::{Directory, Generation};
use tokio::task::JoinHandle;

use crate::snapshot_files::SnapshotFiles;

/// The shortest time between two snapshots, and the time until a failed one is tried again.
const SAVES_APART: Duration = Duration::from_secs(2);
/// How often a snapshot that is still true is marked so.
const CONFIRMATIONS_APART: Duration = Duration::from_secs(30);

/// Writes snapshots, one at a time.
pub(crate) struct Saver {
    files: SnapshotFiles,
    /// What is on disk.
    saved: Option<Generation>,
    under_way: Option<(Generation, JoinHandle<std::io::Result<()>>)>,
    not_before: Instant,
    confirmed_at: Instant,
}

impl Saver {
    /// A saver of a folder in which the snapshot of a generation is, or none.
    pub(crate) fn new(folder: &Path, saved: Option<Generation>) -> Saver {
        let now = Instant::now();
        Saver { files: SnapshotFiles::new(folder), saved, under_way: None, not_before: now, confirmed_at: now }
    }

    /// Begins a snapshot if there is something to save and it is time. Returns how the last one ended, once.
    pub(crate) async fn turn(&mut self, published: &Arc<Directory>, is_confirmed: bool) -> Option<std::io::Result<()>> {
        let ended = match &self.under_way {
            Some((_, task)) if task.is_finished() => self.join().await,
            _ => None,
        };
        let now = Instant::now();
        if self.under_way.is_some() || !published.is_loaded() {
            return ended;
        }
        if self.saved != Some(published.generation()) {
            if now >= self.not_before {
                self.begin(published);
            }
        } else if is_confirmed && now.saturating_duration_since(self.confirmed_at) >= CONFIRMATIONS_APART {
            self.confirmed_at = now;
            let files = self.files.clone();
            self.under_way = Some((published.generation(), tokio::task::spawn_blocking(move || files.confirm())));
        }
        ended
    }

    /// When the next turn is worth while; `None` when nothing is to be done.
    pub(crate) fn next_turn(&self, published: &Directory) -> Option<Instant> {
        if self.under_way.is_some() {
            return Some(Instant::now() + Duration::from_millis(50));
        }
        (published.is_loaded() && self.saved != Some(published.generation())).then_some(self.not_before)
    }

    /// Saves what is published, now, and waits for it.
    pub(crate) async fn finish(&mut self, published: &Arc<Directory>) -> Option<std::io::Result<()>> {
        let mut ended = self.join().await;
        if published.is_loaded() && self.saved != Some(published.generation()) {
            self.begin(published);
            ended = self.join().await;
        }
        ended
    }

    fn begin(&mut self, published: &Arc<Directory>) {
        self.not_before = Instant::now() + SAVES_APART;
        let (files, directory) = (self.files.clone(), Arc::clone(published));
        let generation = directory.generation();
        self.under_way = Some((generation, tokio::task::spawn_blocking(move || files.save(&directory))));
    }

    async fn join(&mut self) -> Option<std::io::Result<()>> {
        let (generation, task) = self.under_way.take()?;
        let ended = task.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        // After a failure nobody knows what is on disk.
        self.saved = ended.is_ok().then_some(generation);
        Some(ended)
    }
}
