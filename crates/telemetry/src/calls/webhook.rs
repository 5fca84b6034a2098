//! Records by HTTP POST: written to a spool on disk first, sent from there, and removed when the server has taken them.
//! So they are delivered at least once, also when server or process were gone for a while.

mod post;
mod spool;
mod url;

pub use url::{Url, UrlFault};

use super::queue::{Held, Sink, jittered};
use super::record::CallRecord;
use post::Poster;
use spool::Spool;
use std::hash::RandomState;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The first pause after a failure; it doubles up to the longest.
const RETRY_AFTER: Duration = Duration::from_millis(500);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// Answers that say that this body will never be taken: it is given up, and what waits behind it goes on.
const NEVER: [u16; 3] = [400, 413, 422];

/// Where records are posted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WebhookSettings {
    /// To whom.
    pub url: Url,
    /// The folder of the spool; it is made.
    pub spool: PathBuf,
    /// Bytes that the spool may take.
    pub spool_bytes_max: u64,
}

/// The sink.
pub struct Webhook {
    spool: Spool,
    poster: Poster,
    pause: Duration,
    due: Instant,
    tries: u64,
    given_up: u64,
    failures: u64,
    jitter: RandomState,
}

impl Webhook {
    /// Takes over what a process before has left in the spool.
    pub fn open(settings: WebhookSettings) -> io::Result<Webhook> {
        Ok(Webhook {
            spool: Spool::open(settings.spool, settings.spool_bytes_max)?,
            poster: Poster::new(settings.url)?,
            pause: RETRY_AFTER,
            due: Instant::now(),
            tries: 0,
            given_up: 0,
            failures: 0,
            jitter: RandomState::new(),
        })
    }

    /// Posts the oldest batch of the spool; true when it is gone from there.
    fn post_oldest(&mut self) -> bool {
        if Instant::now() < self.due {
            return false;
        }
        self.tries += 1;
        let posted = match self.spool.oldest() {
            Ok(None) => return false,
            Ok(Some(batch)) => self.poster.post(&batch.key, &batch.body),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let records = self.spool.remove_oldest();
                self.given_up += records;
                tracing::error!(records, "somebody removed call records from the webhook's spool");
                return true;
            }
            Err(error) => Err(format!("the spool cannot be read: {error}")),
        };
        match posted {
            Ok(200..300) => {
                self.spool.remove_oldest();
                self.pause = RETRY_AFTER;
                return true;
            }
            Ok(status) if NEVER.contains(&status) => {
                let records = self.spool.remove_oldest();
                self.given_up += records;
                tracing::error!(status, records, "the webhook will never take these call records: they are given up");
                return true;
            }
            Ok(status) => tracing::warn!(status, "the webhook does not take call records now"),
            Err(fault) => tracing::warn!(%fault, "the webhook cannot be reached"),
        }
        self.failures += 1;
        self.due = Instant::now() + jittered(&self.jitter, self.tries, self.pause);
        self.pause = (self.pause * 2).min(RETRY_AFTER_MAX);
        false
    }
}

impl Sink for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn write(&mut self, records: &[Arc<CallRecord>]) -> Result<(), String> {
        let mut lines = Vec::new();
        for record in records {
            serde_json::to_writer(&mut lines, &**record).map_err(|error| error.to_string())?;
            lines.push(b'\n');
        }
        let records = u64::try_from(records.len()).unwrap_or(u64::MAX);
        if !self.spool.has_room(lines.len()) && !self.post_oldest() {
            return Err("the spool is full".to_owned());
        }
        self.spool.add(&lines, records).map_err(|error| format!("the spool cannot be written: {error}"))
    }

    fn tend(&mut self) -> bool {
        self.post_oldest() && self.spool.records() > 0
    }

    fn held(&self) -> Held {
        Held { waiting: self.spool.records(), given_up: self.given_up, failures: self.failures }
    }
}

#[cfg(test)]
mod tests;
