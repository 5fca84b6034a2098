//! The ways to the workers: what belongs to a call goes to the worker that has it.

use super::Arrived;
use crate::udp::spread::Spread;
use std::sync::Arc;
use tokio::sync::mpsc;

/// One way to each worker, in their order. Clones lead to the same.
#[derive(Clone, Debug)]
pub struct Ways {
    to: Arc<[mpsc::Sender<Arrived>]>,
    /// Which call is whose; none where one worker has all.
    spread: Option<Arc<Spread>>,
    first: mpsc::Sender<Arrived>,
}

impl Ways {
    /// The way to a worker that has all calls.
    pub fn to_one(worker: mpsc::Sender<Arrived>) -> Ways {
        Ways { to: Arc::default(), spread: None, first: worker }
    }

    /// The ways to the workers of this hash; `None` without a worker.
    pub fn to_all(workers: Vec<mpsc::Sender<Arrived>>, spread: Arc<Spread>) -> Option<Ways> {
        Some(Ways { first: workers.first()?.clone(), to: workers.into(), spread: Some(spread) })
    }

    /// Which worker a message belongs to; `None` where it says nothing of it.
    pub fn owner_in(&self, message: &[u8]) -> Option<u16> {
        self.spread.as_ref()?.owner_in(message)
    }

    /// The way to a worker by its number.
    pub fn to(&self, worker: u16) -> &mpsc::Sender<Arrived> {
        self.to.get(usize::from(worker)).unwrap_or(&self.first)
    }

    /// The way that a message takes: to its owner, or to the first worker.
    pub fn of(&self, message: &[u8]) -> &mpsc::Sender<Arrived> {
        self.owner_in(message).map_or(&self.first, |owner| self.to(owner))
    }

    /// How many workers there are.
    pub fn workers(&self) -> u16 {
        self.spread.as_ref().map_or(1, |spread| spread.workers())
    }
}
