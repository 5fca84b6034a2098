//! Whether the worker keeps up with what arrives.
//!
//! That datagrams wait is no harm: they are served in the order of their arrival. What harms is a datagram that finds no
//! room, and one that waits until its sender repeats it. Where either happens, and what waits does not become less, new
//! calls are refused until the socket has been emptied. A worker that catches up refuses nothing, however much there is.

use proxy::Time;
use std::time::Duration;

/// What has waited so long is old: its sender will soon repeat it (RFC 3261's T1 is 500 ms).
pub(super) const OLD: Duration = Duration::from_millis(250);
/// For so long the worker serves what hurts, and what waits does not become less, before new calls are refused.
pub(super) const BEHIND_AFTER: Duration = Duration::from_millis(200);
/// The same of a worker that was behind less than [`REMEMBERED`] ago: overload that lasts is not found out anew each time.
pub(super) const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// So long it is remembered that the worker was behind.
const REMEMBERED: Duration = Duration::from_secs(10);
/// What counts as served of the time between two batches. A batch takes a few milliseconds at most; in the rest of the time
/// the processor was somebody else's.
const SERVED_MOST: Duration = Duration::from_millis(10);
/// A worker that had no processor for so long begins anew: what has become old meanwhile says nothing of what it carries.
/// A quota of processor time is given in stretches that are shorter.
const STOOD_STILL: Duration = Duration::from_millis(150);
/// What waits has become less when the wait is shorter by so much: the waits of what does not become less differ, too.
const SHORTER_BY: Duration = Duration::from_millis(2);

/// A batch, as far as it tells whether the worker keeps up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    /// When it was taken.
    pub(super) now: Time,
    /// How long its first datagram had waited.
    pub(super) waited: Duration,
    /// Datagrams before it found no room.
    pub(super) has_lost: bool,
    /// There is more.
    pub(super) is_full: bool,
    /// The socket gave an error: whether there is more nobody knows.
    pub(super) has_failed: bool,
}

/// Which sockets hurt, by their places.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    strains: Vec<Option<Strain>>,
    /// When the worker was behind last.
    was_behind: Option<Time>,
}

/// A socket that hurts, and that no batch has emptied since.
#[derive(Clone, Copy, Debug)]
struct Strain {
    /// When the last batch was taken.
    last: Time,
    /// The shortest wait so far.
    shortest: Duration,
    /// For how long the worker has served since, and no wait was shorter.
    served: Duration,
    /// Meanwhile something was lost, or old.
    hurts: bool,
    /// For how long the worker has served since anything was.
    calm: Duration,
    is_behind: bool,
}

impl Backlog {
    /// Notes a batch; true while a socket has not been emptied since the worker could not carry what came.
    pub(super) fn is_behind(&mut self, position: usize, taken: &Taken) -> bool {
        if self.strains.len() <= position {
            self.strains.resize(position + 1, None);
        }
        let is_remembered = self.was_behind.is_some_and(|last| taken.now - last < REMEMBERED);
        let patience = if is_remembered { AGAIN_AFTER } else { BEHIND_AFTER };
        if let Some(slot) = self.strains.get_mut(position) {
            *slot = Strain::after(*slot, taken, patience);
        }
        let is_behind = self.strains.iter().flatten().any(|strain| strain.is_behind);
        if is_behind {
            self.was_behind = Some(taken.now);
        }
        is_behind
    }
}

impl Strain {
    fn after(before: Option<Strain>, taken: &Taken, patience: Duration) -> Option<Strain> {
        if taken.has_failed {
            return before;
        }
        if !taken.is_full {
            return None;
        }
        let hurts = taken.has_lost || taken.waited >= OLD;
        let is_behind = before.is_some_and(|before| before.is_behind);
        let fresh = |calm| {
            let (last, shortest, served) = (taken.now, taken.waited, Duration::ZERO);
            Some(Strain { last, shortest, served, hurts: false, calm, is_behind })
        };
        let Some(before) = before else { return if hurts { fresh(Duration::ZERO) } else { None } };
        let passed = taken.now - before.last;
        let step = passed.min(SERVED_MOST);
        let calm = if hurts { Duration::ZERO } else { before.calm + step };
        if calm >= patience && !is_behind {
            return None;
        }
        if passed >= STOOD_STILL || taken.waited + SHORTER_BY < before.shortest {
            return fresh(calm);
        }
        let (served, hurts) = (before.served + step, before.hurts || hurts);
        let is_behind = is_behind || hurts && served >= patience;
        Some(Strain { last: taken.now, served, hurts, calm, is_behind, ..before })
    }
}

#[cfg(test)]
mod tests;
