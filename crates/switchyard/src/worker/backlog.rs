//! Whether the worker keeps up with what arrives.

use proxy::Time;
use std::time::Duration;

/// How long a socket may have more than a batch can take before new calls are refused: a burst passes, and what waits is
/// answered long before its senders repeat it (RFC 3261's T1 is 500 ms).
pub(super) const BEHIND_AFTER: Duration = Duration::from_millis(200);

/// Datagrams that a socket must have given meanwhile. A worker that had no processor for a while finds as much time
/// passed between two batches, and takes what has gathered in a few milliseconds: it refuses nothing.
pub(super) const BEHIND_DATAGRAMS: usize = 4_096;

/// Since when each socket has had more to give than one batch, by its place.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    unemptied: Vec<Option<Unemptied>>,
}

/// A socket that every batch has left with more.
#[derive(Clone, Copy, Debug)]
struct Unemptied {
    since: Time,
    datagrams: usize,
}

impl Backlog {
    /// Notes a batch of so many datagrams; true while a socket has not been emptied for [`BEHIND_AFTER`], nor by
    /// [`BEHIND_DATAGRAMS`].
    pub(super) fn is_behind(&mut self, position: usize, now: Time, datagrams: usize, is_full: bool) -> bool {
        if self.unemptied.len() <= position {
            self.unemptied.resize(position + 1, None);
        }
        if let Some(slot) = self.unemptied.get_mut(position) {
            *slot = is_full.then(|| {
                let so_far = slot.unwrap_or(Unemptied { since: now, datagrams: 0 });
                Unemptied { datagrams: so_far.datagrams.saturating_add(datagrams), ..so_far }
            });
        }
        let mut unemptied = self.unemptied.iter().flatten();
        unemptied.any(|socket| now - socket.since >= BEHIND_AFTER && socket.datagrams >= BEHIND_DATAGRAMS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_no_backlog_and_an_emptied_socket_ends_one() {
        let mut backlog = Backlog::default();
        let mut at = |position, at_ms, datagrams, is_full| {
            backlog.is_behind(position, Time::from_millis(at_ms), datagrams, is_full)
        };
        assert!(!at(0, 1_000, 2_000, true));
        assert!(!at(0, 1_199, 2_096, true));
        assert!(at(0, 1_200, 16, true));
        assert!(at(1, 1_201, 3, false), "the other socket is still behind");
        assert!(!at(0, 1_202, 3, false));
        assert!(!at(0, 1_300, 4_000, true));
        assert!(!at(1, 1_490, 4_000, true));
        assert!(at(0, 1_500, 96, true));
    }

    #[test]
    fn a_worker_that_had_no_processor_is_not_behind() {
        let mut backlog = Backlog::default();
        let batch = 16;
        assert!(!backlog.is_behind(0, Time::from_millis(1_000), batch, true));
        let batches_waiting = (0..200).map(|at| Time::from_millis(2_000 + at / 10));
        for now in batches_waiting {
            assert!(!backlog.is_behind(0, now, batch, true), "{now:?}");
        }
    }
}
