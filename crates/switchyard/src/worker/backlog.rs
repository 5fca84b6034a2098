//! Whether the worker keeps up with what arrives.

use proxy::Time;
use std::time::Duration;

/// How long a socket may have more than a batch can take before new calls are refused: a burst passes, and what waits is
/// answered long before its senders repeat it (RFC 3261's T1 is 500 ms).
pub(super) const BEHIND_AFTER: Duration = Duration::from_millis(200);

/// Since when each socket has had more to give than one batch, by its place.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    since: Vec<Option<Time>>,
}

impl Backlog {
    /// Notes a batch; true while a socket has not been emptied for [`BEHIND_AFTER`].
    pub(super) fn is_behind(&mut self, position: usize, now: Time, is_full: bool) -> bool {
        if self.since.len() <= position {
            self.since.resize(position + 1, None);
        }
        if let Some(since) = self.since.get_mut(position) {
            *since = is_full.then(|| since.unwrap_or(now));
        }
        self.since.iter().flatten().any(|since| now - *since >= BEHIND_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_no_backlog_and_an_emptied_socket_ends_one() {
        let mut backlog = Backlog::default();
        let mut at = |position, at_ms, is_full| backlog.is_behind(position, Time::from_millis(at_ms), is_full);
        assert!(!at(0, 1_000, true));
        assert!(!at(0, 1_199, true));
        assert!(at(0, 1_200, true));
        assert!(at(1, 1_201, false), "the other socket is still behind");
        assert!(!at(0, 1_202, false));
        assert!(!at(0, 1_300, true));
        assert!(!at(1, 1_490, true));
        assert!(at(0, 1_500, true));
    }
}
