//! Draining at an operator's word: new calls are refused, and taken again when he says so or when the limit is over. The
//! process stays.

use super::Told;
use crate::worker::{Command, Crew};
use admin::api::drain::DrainOrder;
use admin::{DrainStatus, Kind, Problem};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use sync::changes::By;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;

/// A drain in effect.
#[derive(Debug)]
pub(super) struct Ordered {
    by: By,
    begun: Duration,
    ends: Option<Duration>,
}

/// Who begins and ends drains: one order after the other.
#[derive(Debug)]
pub(super) struct Drain {
    told: Arc<Told>,
    commands: Crew,
    /// What ends the present one at its limit.
    limit: Mutex<Option<AbortHandle>>,
}

impl Ordered {
    pub(super) fn status(&self, now: Duration) -> DrainStatus {
        DrainStatus {
            who: self.by.who.clone(),
            reason: self.by.reason.clone(),
            since_s: now.saturating_sub(self.begun).as_secs(),
            ends_in_s: self.ends.map(|ends| ends.saturating_sub(now).as_secs()),
        }
    }
}

impl Drain {
    pub(super) fn new(told: Arc<Told>, commands: Crew) -> Arc<Drain> {
        Arc::new(Drain { told, commands, limit: Mutex::default() })
    }

    /// Carries an order out: the worker has it when this resolves.
    pub(super) async fn obey(self: Arc<Drain>, order: DrainOrder) -> Result<(), Problem> {
        let mut limit_of_now = self.limit.lock().await;
        if self.told.ending.load(Ordering::Relaxed) {
            let detail = "found a process that is ending, expected one that can take new calls again";
            return Err(Problem::new(Kind::Changed, detail));
        }
        if let Some(limit) = limit_of_now.take() {
            limit.abort();
        }
        match order {
            DrainOrder::On { limit, by } => {
                let limit_s = limit.map(|limit| limit.as_secs());
                tracing::warn!(who = by.who, reason = by.reason, limit_s, "draining: new calls get 503");
                let begun = self.told.uptime();
                let ends = limit.map(|limit| begun + limit);
                self.told.drain.store(Some(Arc::new(Ordered { by, begun, ends })));
                *limit_of_now = limit.map(|limit| tokio::spawn(Arc::clone(&self).end_after(limit)).abort_handle());
                self.refuse(true).await
            }
            DrainOrder::Off { by } => {
                tracing::warn!(who = by.who, reason = by.reason, "new calls are taken again");
                self.told.drain.store(None);
                self.refuse(false).await
            }
        }
    }

    async fn end_after(self: Arc<Drain>, limit: Duration) {
        tokio::time::sleep(limit).await;
        let mut limit_of_now = self.limit.lock().await;
        // Whoever gave an order while this waited for its turn has aborted it: it is the present one.
        *limit_of_now = None;
        if !self.told.ending.load(Ordering::Relaxed) {
            tracing::warn!("the limit of the drain is over: new calls are taken again");
            self.told.drain.store(None);
            // A worker that has ended takes no calls.
            drop(self.refuse(false).await);
        }
    }

    async fn refuse(&self, is_on: bool) -> Result<(), Problem> {
        self.told.draining.store(is_on, Ordering::Relaxed);
        match self.commands.tell(&Command::Refuse(is_on)).await {
            true => Ok(()),
            false => Err(Problem::new(Kind::Internal, "a worker has ended")),
        }
    }
}
