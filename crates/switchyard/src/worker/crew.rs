//! Several workers: who gives them orders, and what each knows of the others.

use super::Command;
use crate::tcp::{Arrived, Ways};
use bytes::Bytes;
use proxy::{Flow, Settings};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use telemetry::{Counters, Fact};
use tokio::sync::mpsc::{self, error::TrySendError};

/// How soon a worker that has drained looks whether the others have.
pub(super) const LOOKS_AGAIN: Duration = Duration::from_millis(20);
/// How soon a worker that has its calls looks whether the others have theirs.
const RESTORING_LOOK: Duration = Duration::from_micros(200);
/// What stands for the open transactions of a worker that does not drain.
const IN_SERVICE: usize = usize::MAX;

/// All workers, for those who give them orders.
#[derive(Clone, Debug)]
pub struct Crew {
    commands: Arc<[mpsc::Sender<Command>]>,
}

impl Crew {
    /// The workers that take orders here.
    pub fn of(commands: Vec<mpsc::Sender<Command>>) -> Crew {
        Crew { commands: commands.into() }
    }

    /// Tells every worker. False when one of them has ended: the others know.
    pub async fn tell(&self, command: &Command) -> bool {
        let mut is_whole = true;
        for worker in &*self.commands {
            is_whole &= worker.send(command.clone()).await.is_ok();
        }
        is_whole
    }

    /// Tells one worker, for what is done once. False when it has ended.
    pub async fn tell_one(&self, command: Command) -> bool {
        match self.commands.first() {
            Some(worker) => worker.send(command).await.is_ok(),
            None => false,
        }
    }

    /// Asks every worker for a sign of life, and waits for all of them without end. False when one has ended.
    pub async fn answers(&self) -> bool {
        let (answer, mut answered) = mpsc::channel(self.commands.len().max(1));
        if !self.tell(&Command::Answer(answer)).await {
            return false;
        }
        // With the last answer, or the last worker that could give one, the channel is closed.
        let mut count = 0;
        while answered.recv().await.is_some() {
            count += 1;
        }
        count == self.commands.len()
    }

    /// How many there are.
    pub fn workers(&self) -> usize {
        self.commands.len()
    }

    /// How many commands wait for all workers, and how many may.
    pub fn waiting(&self) -> (usize, usize) {
        let room: usize = self.commands.iter().map(mpsc::Sender::max_capacity).sum();
        let free: usize = self.commands.iter().map(mpsc::Sender::capacity).sum();
        (room.saturating_sub(free), room)
    }
}

/// Held by each worker until it has the calls of the process before. Nobody serves while another's are not counted yet: a
/// limit would let in more than it should (row I9).
#[derive(Clone, Debug, Default)]
pub struct Restoring(Arc<()>);

impl Restoring {
    /// Says that this worker has its calls, and waits for the others. One that has failed is waited for no longer.
    pub(super) fn end(self) {
        let held = Arc::downgrade(&self.0);
        drop(self);
        while held.strong_count() > 0 {
            std::thread::sleep(RESTORING_LOOK);
        }
    }
}

/// What one of several workers knows of the others.
#[derive(Clone, Debug)]
pub struct Fellows {
    own: u16,
    ways: Ways,
    drained: Arc<Drained>,
}

/// How far the workers have come that drain. They end together: as long as one has an open transaction, all serve the
/// calls that are up.
#[derive(Debug)]
struct Drained {
    open: Vec<AtomicUsize>,
    all: AtomicBool,
}

impl Fellows {
    /// What each worker knows, in their order.
    pub fn of(ways: &Ways) -> Vec<Fellows> {
        let open = (0..ways.workers()).map(|_| AtomicUsize::new(IN_SERVICE)).collect();
        let drained = Arc::new(Drained { open, all: AtomicBool::new(false) });
        let fellow = |own| Fellows { own, ways: ways.clone(), drained: Arc::clone(&drained) };
        (0..ways.workers()).map(fellow).collect()
    }

    /// What each worker takes of a limit that the core holds for itself: together no more than the configuration says,
    /// but for what rounding up gives.
    pub(super) fn share_of(&self, settings: &Arc<Settings>) -> Arc<Settings> {
        let workers = self.ways.workers();
        let mut own = Settings::clone(settings);
        let limits = &mut own.limits;
        limits.transactions = limits.transactions.div_ceil(workers.into());
        limits.transaction_bytes = limits.transaction_bytes.div_ceil(workers.into());
        limits.requests_per_second = limits.requests_per_second.div_ceil(workers.into());
        // Call-IDs do not take turns: a worker lets pass at once what all of them may in a second.
        limits.requests_burst_secs = workers.into();
        Arc::new(own)
    }

    /// Hands a datagram to the worker that has its call. False where it is ours, or says not whose it is.
    ///
    /// With no room there it is lost as one that finds a full buffer is, and counted as such.
    /// Only of those who may speak: the others' ends here, whoever's it would be.
    pub(super) fn take(&self, flow: &Flow, bytes: &[u8], counters: &Counters, may_speak: impl Fn() -> bool) -> bool {
        let Some(owner) = self.ways.owner_in(bytes).filter(|owner| *owner != self.own) else { return false };
        if !may_speak() {
            return false;
        }
        match self.ways.to(owner).try_send(Arrived::Datagram(*flow, Bytes::copy_from_slice(bytes))) {
            Ok(()) => counters.note(Fact::HandedOver),
            Err(TrySendError::Full(_)) => counters.note(Fact::Overflowed(1)),
            // It has ended, and with it the calls that it had.
            Err(TrySendError::Closed(_)) => return false,
        }
        true
    }

    /// Tells a message of ours that did not arrive to the worker that sent it: the kernel tells any of them. Where too
    /// little of it came back, all are told. True where it is another's alone.
    pub(super) fn take_failure(&self, flow: &Flow, returned: &[u8]) -> bool {
        let owner = self.ways.owner_in(returned);
        let others = (0..self.ways.workers()).filter(|worker| *worker != self.own);
        for worker in others.filter(|worker| owner.is_none_or(|owner| owner == *worker)) {
            // A worker that is this far behind finds out by its timers.
            let _told = self.ways.to(worker).try_send(Arrived::Undelivered(*flow, Bytes::copy_from_slice(returned)));
        }
        owner.is_some_and(|owner| owner != self.own)
    }

    /// Whether a worker that drains may end, with so many transactions open.
    pub(super) fn are_drained(&self, open: usize) -> bool {
        if let Some(own) = self.drained.open.get(usize::from(self.own)) {
            own.store(open, Ordering::SeqCst);
        }
        if self.drained.open.iter().all(|open| open.load(Ordering::SeqCst) == 0) {
            self.drained.all.store(true, Ordering::SeqCst);
        }
        self.drained.all.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests;
