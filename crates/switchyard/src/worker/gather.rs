//! How long datagrams gather before the next batch is taken. At a low rate the worker sleeps until it is told of one; at a
//! high rate to be told of each costs more than to serve it, so it looks by the clock and takes what has come.

use proxy::Time;
use std::time::Duration;

/// The longest that datagrams gather: what this adds to a call's setup, twice, no caller hears.
pub(super) const GATHERED_FOR: Duration = Duration::from_micros(500);
/// The same where several workers share what comes: as many gather for each of them, and together they wake no more often.
pub(super) const GATHERED_FOR_SHARED: Duration = Duration::from_millis(1);
/// So many are to gather, within that time: more would make a turn cheaper by next to nothing.
pub(super) const GATHERED: u64 = 16;
/// Where fewer are to be expected within that time, nothing gathers.
const WORTH: u64 = 4;
/// What is slept less than this is not slept: the kernel's timers are late by as much.
const SHORTEST: Duration = Duration::from_micros(50);
/// The rate is that of a stretch so long or longer; where nothing came for so long it is forgotten.
const STRETCH: Duration = Duration::from_millis(10);

/// The rate of what arrives, and what follows from it.
#[derive(Debug)]
pub(super) struct Gather {
    longest: Duration,
    /// Several workers look at the same instants of the clock: a core that they share wakes once for all of them.
    is_shared: bool,
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
    /// For the only worker, or for one of several.
    pub(super) fn new(is_shared: bool) -> Gather {
        let longest = if is_shared { GATHERED_FOR_SHARED } else { GATHERED_FOR };
        Gather { longest, is_shared, stretch_began: Time(0), taken: 0, period: None, last: Time(0), is_full: false }
    }

    /// Notes a batch of so many datagrams, and whether its socket may have more.
    pub(super) fn took(&mut self, now: Time, datagrams: usize, is_full: bool) {
        self.last = now;
        self.is_full |= is_full;
        self.taken += u64::try_from(datagrams).unwrap_or(u64::MAX);
        let stretch = now - self.stretch_began;
        if stretch >= STRETCH {
            let period = period(self.taken, stretch, self.longest);
            self.period = if self.is_shared { period.and_then(|period| part(self.longest, period)) } else { period };
            (self.stretch_began, self.taken) = (now, 0);
        }
    }

    /// How long the worker sleeps before it takes the next batch untold; `None` when it is to be told. The time that the last
    /// batch took counts, and a batch that left something is followed at once: a worker with no time left never sleeps.
    pub(super) fn pause(&mut self, now: Time) -> Option<Duration> {
        let is_full = std::mem::take(&mut self.is_full);
        let since = now - self.last;
        let period = self.period.filter(|_| since < STRETCH)?;
        let wait = if self.is_shared { to_next(self.last, period) } else { period };
        let left = wait.saturating_sub(since);
        Some(if is_full || left < SHORTEST { Duration::ZERO } else { left })
    }
}

/// The time in which [`GATHERED`] datagrams come at the rate of this stretch, or the longest.
fn period(taken: u64, stretch: Duration, longest: Duration) -> Option<Duration> {
    let wanted = |count: u64| count.saturating_mul(micros(stretch)).checked_div(taken).map(Duration::from_micros);
    wanted(WORTH).filter(|time| *time <= longest)?;
    wanted(GATHERED).map(|time| time.min(longest))
}

/// The half, quarter, ... of the longest that is not above this period: the instants of all workers are then those of the
/// one that looks most often.
fn part(longest: Duration, period: Duration) -> Option<Duration> {
    let parts = micros(longest).div_ceil(micros(period).max(1)).next_power_of_two();
    longest.checked_div(u32::try_from(parts).ok()?)
}

/// From a time to the next instant of the clock at which a period ends.
fn to_next(time: Time, period: Duration) -> Duration {
    let period_us = micros(period).max(1);
    Duration::from_micros(period_us - time.0 % period_us)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
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
        let mut gather = Gather::new(false);
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
        let mut gather = Gather::new(false);
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

    /// Limit GATHERED_FOR_SHARED: each of two workers has half of the rate, waits twice as long, and looks when the other does.
    #[test]
    fn of_several_workers_each_waits_longer_and_all_look_at_once() {
        let us = |us| Some(Duration::from_micros(us));
        let (mut one, mut other) = (Gather::new(true), Gather::new(true));
        let last = |gather: &mut Gather, from_us, every_us| *pauses(gather, from_us, every_us, 1).last().unwrap();
        assert_eq!(last(&mut one, 0, 400), None, "2,500 in a second: each is told of");
        assert!(last(&mut one, 100_000, 133).is_some(), "7,500 in a second: half of what one worker would gather");
        let period = |gather: &mut Gather, from_us, datagrams| {
            pauses(gather, from_us, 1_000, datagrams);
            gather.period
        };
        assert_eq!((period(&mut one, 200_000, 6), period(&mut other, 200_000, 8)), (us(1_000), us(1_000)));
        (one.last, other.last) = (Time(300_120), Time(300_440));
        assert_eq!((one.pause(Time(300_300)), other.pause(Time(300_600))), (us(700), us(400)), "both at 301,000 us");
        assert_eq!(other.pause(Time(301_200)), us(0), "its time is over");
        assert_eq!((period(&mut one, 400_000, 20), period(&mut other, 400_000, 50)), (us(500), us(250)));
        assert_eq!(period(&mut one, 500_000, 16), us(1_000));
    }
}
