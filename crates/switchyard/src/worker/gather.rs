//! How long datagrams gather before the next batch is taken. At a low rate the worker sleeps until it is told of one; at a
//! high rate to be told of each costs more than to serve it, so it looks by the clock and takes what has come.

use proxy::Time;
use std::time::Duration;

/// The longest that datagrams gather: what this adds to a call's setup, twice, no caller hears.
pub(super) const GATHERED_FOR: Duration = Duration::from_micros(500);
/// So many are to gather, within that time: more would make a turn cheaper by next to nothing.
pub(super) const GATHERED: u64 = 16;
/// Where fewer are to be expected within that time, nothing gathers.
const WORTH: u64 = 4;
/// What is slept less than this is not slept: the kernel's timers are late by as much.
const SHORTEST: Duration = Duration::from_micros(50);
/// The rate is that of a stretch so long or longer; where nothing came for so long it is forgotten.
const STRETCH: Duration = Duration::from_millis(10);

/// The rate of what arrives, and what follows from it.
#[derive(Debug, Default)]
pub(super) struct Gather {
    stretch_began: Time,
    /// Datagrams of this stretch.
    taken: u64,
    /// From one batch to the next; `None` while the worker is to be told.
    period: Option<Duration>,
    /// When the last batch was taken.
    last: Time,
    /// It left something.
    is_full: bool,
}

impl Gather {
    /// Notes a batch of so many datagrams, and whether its socket may have more.
    pub(super) fn took(&mut self, now: Time, datagrams: usize, is_full: bool) {
        self.last = now;
        self.is_full |= is_full;
        self.taken += u64::try_from(datagrams).unwrap_or(u64::MAX);
        let stretch = now - self.stretch_began;
        if stretch >= STRETCH {
            self.period = period(self.taken, stretch);
            (self.stretch_began, self.taken) = (now, 0);
        }
    }

    /// How long the worker sleeps before it takes the next batch untold; `None` when it is to be told. The time that the last
    /// batch took counts, and a batch that left something is followed at once: a worker with no time left never sleeps.
    pub(super) fn pause(&mut self, now: Time) -> Option<Duration> {
        let is_full = std::mem::take(&mut self.is_full);
        let since = now - self.last;
        let left = self.period.filter(|_| since < STRETCH)?.saturating_sub(since);
        Some(if is_full || left < SHORTEST { Duration::ZERO } else { left })
    }
}

/// The time in which [`GATHERED`] datagrams come at the rate of this stretch.
fn period(taken: u64, stretch: Duration) -> Option<Duration> {
    let stretch_us = u64::try_from(stretch.as_micros()).unwrap_or(u64::MAX);
    let wanted = |count: u64| count.saturating_mul(stretch_us).checked_div(taken).map(Duration::from_micros);
    wanted(WORTH).filter(|time| *time <= GATHERED_FOR)?;
    wanted(GATHERED).map(|time| time.min(GATHERED_FOR))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is slept after each of some batches, each of so many datagrams, that come in even distances.
    fn pauses(gather: &mut Gather, from_us: u64, every_us: u64, datagrams: usize) -> Vec<Option<Duration>> {
        let times = (0..60_000 / every_us).map(|at| Time(from_us + at * every_us));
        times
            .map(|now| {
                gather.took(now, datagrams, false);
                gather.pause(now)
            })
            .collect()
    }

    /// Limits GATHERED_FOR and GATHERED: off at a low rate, then the longest time, then as long as so many take to come.
    #[test]
    fn the_higher_the_rate_the_shorter_the_time() {
        let mut gather = Gather::default();
        let last = |pauses: Vec<Option<Duration>>| *pauses.last().unwrap();
        assert!(pauses(&mut gather, 0, 200, 1).iter().all(Option::is_none), "5,000 in a second: each is told of");
        assert_eq!(last(pauses(&mut gather, 100_000, 100, 1)), Some(GATHERED_FOR), "10,000 in a second");
        assert_eq!(last(pauses(&mut gather, 200_000, 500, 16)), Some(GATHERED_FOR), "32,000 in a second");
        assert_eq!(last(pauses(&mut gather, 300_000, 250, 16)), Some(Duration::from_micros(250)), "64,000 in a second");
        assert_eq!(last(pauses(&mut gather, 400_000, 1_000, 2)), None, "2,000 in a second: over");
        assert_eq!(last(pauses(&mut gather, 10_000_000, 500, 16)), Some(GATHERED_FOR));
        gather.took(Time(20_000_000), 64, true);
        assert_eq!(gather.pause(Time(20_000_000)), None, "a batch after a silence is no rate");
    }

    #[test]
    fn a_worker_with_no_time_left_never_sleeps() {
        let mut gather = Gather::default();
        pauses(&mut gather, 0, 500, 16);
        let last = gather.last;
        let mut after = |us| gather.pause(last + Duration::from_micros(us));
        assert_eq!(after(100), Some(Duration::from_micros(400)));
        assert_eq!(after(460), Some(Duration::ZERO));
        assert_eq!(after(5_000), Some(Duration::ZERO));
        assert_eq!(after(10_000), None, "nothing came for long");
        gather.took(last + Duration::from_millis(6), 64, true);
        let mut after = |us| gather.pause(last + Duration::from_micros(us));
        assert_eq!(after(6_100), Some(Duration::ZERO), "there is more");
        assert_eq!(after(6_100), Some(Duration::from_micros(400)), "there was");
    }
}
