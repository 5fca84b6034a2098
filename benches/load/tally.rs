//! What a run counts, and how it is told: one `name value` per line.

use crate::check::{FAULTS, Fault};
use benches::Figure;
use std::fmt;

/// The counts of one run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) begun: u64,
    pub(crate) completed: u64,
    pub(crate) refused: u64,
    pub(crate) refused_503: u64,
    pub(crate) failed: u64,
    /// Messages that we sent again because no answer came in time.
    pub(crate) sent_again: u64,
    /// Messages that came again.
    pub(crate) came_again: u64,
    /// Messages of calls that are over.
    pub(crate) late: u64,
    pub(crate) probes: u64,
    /// Ringings that reached their callers.
    pub(crate) rang: u64,
    pub(crate) messages: u64,
    pub(crate) unsent: u64,
    /// Datagrams that our own sockets had no room for.
    pub(crate) overflowed: u64,
    pub(crate) faults: [u64; FAULTS.len()],
    /// The most that a call began behind its time.
    pub(crate) lag_us: u64,
    pub(crate) elapsed_us: u64,
    pub(crate) answered: Times,
    /// The same, of the calls of each second by itself.
    windows: Vec<Times>,
}

/// Times in buckets that are at most 1/64 wide.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times {
    counts: Vec<u64>,
    total: u64,
    most_ns: u64,
}

const FINE: u32 = 6;
const WINDOW_NS: u64 = 1_000_000_000;

impl Times {
    pub(crate) fn add(&mut self, ns: u64) {
        let place = bucket(ns);
        if self.counts.len() <= place {
            self.counts.resize(place + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(place) {
            *count += 1;
        }
        self.total += 1;
        self.most_ns = self.most_ns.max(ns);
    }

    /// The time in microseconds that this part of a thousand does not exceed.
    pub(crate) fn per_mille_us(&self, per_mille: u64) -> f64 {
        let wanted = (self.total * per_mille).div_ceil(1_000);
        let mut seen = 0;
        let place = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        place.map_or(0.0, |place| (top(place).min(self.most_ns)) as f64 / 1_000.0)
    }
}

fn bucket(ns: u64) -> usize {
    let bits = 63 - (ns | 1).leading_zeros();
    let shift = bits.saturating_sub(FINE);
    ((u64::from(shift) << FINE) + (ns >> shift)) as usize
}

fn top(place: usize) -> u64 {
    let (shift, fine) = (place as u64 >> FINE, place as u64 & ((1 << FINE) - 1));
    if shift < 2 {
        return place as u64;
    }
    let shift = shift - 1;
    (((1 << FINE) + fine) << shift) + (1 << shift) - 1
}

impl Tally {
    /// Counts an answer that took so long, to a call that was due so long after the run began.
    pub(crate) fn answered(&mut self, due_ns: u64, time_ns: u64) {
        self.answered.add(time_ns);
        let window = (due_ns / WINDOW_NS) as usize;
        if self.windows.len() <= window {
            self.windows.resize(window + 1, Times::default());
        }
        if let Some(times) = self.windows.get_mut(window) {
            times.add(time_ns);
        }
    }

    /// The median of what this part of a thousand does not exceed in each second: a second in which the machine stands still
    /// is one of many.
    pub(crate) fn median_per_mille_us(&self, per_mille: u64) -> f64 {
        Figure::of(self.windows.iter().map(|times| times.per_mille_us(per_mille))).median()
    }

    pub(crate) fn fault(&mut self, fault: Fault) {
        let place = FAULTS.iter().position(|(known, _)| *known == fault);
        if let Some(count) = place.and_then(|place| self.faults.get_mut(place)) {
            *count += 1;
        }
    }

    pub(crate) fn faults_total(&self) -> u64 {
        self.faults.iter().sum()
    }

    /// True with at least 99.9 % completed, no fault, and few messages sent again: the rate was carried.
    pub(crate) fn is_carried(&self) -> bool {
        self.completed * 1_000 >= self.begun * 999 && self.faults_total() == 0 && self.sent_again * 100 <= self.begun
    }

    /// True when the generator itself began calls in time, and took everything that was sent to it.
    pub(crate) fn kept_up(&self) -> bool {
        self.lag_us < 200_000 && self.unsent == 0 && self.overflowed == 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.begun as f64 * 1e6 / self.elapsed_us.max(1) as f64;
        for (name, value) in [
            ("begun", self.begun),
            ("completed", self.completed),
            ("refused", self.refused),
            ("refused_503", self.refused_503),
            ("failed", self.failed),
            ("sent_again", self.sent_again),
            ("came_again", self.came_again),
            ("late", self.late),
            ("probes", self.probes),
            ("messages", self.messages),
            ("unsent", self.unsent),
            ("overflowed", self.overflowed),
            ("lag_us", self.lag_us),
        ] {
            writeln!(f, "{name} {value}")?;
        }
        writeln!(f, "rate {rate:.0}")?;
        for (name, per_mille) in [("p50", 500), ("p90", 900), ("p99", 990), ("p999", 999), ("most", 1_000)] {
            writeln!(f, "answered_{name}_us {:.0}", self.answered.per_mille_us(per_mille))?;
        }
        writeln!(f, "answered_p99_median_us {:.0}", self.median_per_mille_us(990))?;
        writeln!(f, "faults {}", self.faults_total())?;
        for ((_, name), count) in FAULTS.iter().zip(self.faults).filter(|(_, count)| *count > 0) {
            writeln!(f, "fault_{name} {count}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_exact_to_a_sixty_fourth() {
        let mut times = Times::default();
        (1..=100_000).for_each(|us| times.add(us * 1_000));
        for (per_mille, exact) in [(1, 100.0), (500, 50_000.0), (990, 99_000.0), (1_000, 100_000.0)] {
            let told = times.per_mille_us(per_mille);
            assert!(told >= exact && told <= exact * (1.0 + 1.0 / 60.0), "{per_mille}: {told} for {exact}");
        }
    }

    #[test]
    fn one_bad_second_is_one_of_many() {
        let mut tally = Tally::default();
        for second in 0..5 {
            let slowest_us = if second == 2 { 900_000 } else { 1_000 + second };
            for call in 0..100 {
                let time_us = if call < 98 { 100 } else { slowest_us };
                tally.answered(second * WINDOW_NS + call, time_us * 1_000);
            }
        }
        let told = tally.median_per_mille_us(990);
        assert!((1_003.0..1_025.0).contains(&told), "{told}");
        let all = tally.answered.per_mille_us(999);
        assert!(all >= 900_000.0, "{all}");
    }
}
