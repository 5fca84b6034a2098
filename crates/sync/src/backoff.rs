//! How long to wait after failures.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Waits that double from failure to failure, each shortened by chance by up to a half, so that many clients of one
/// database that comes back do not come back together.
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
    /// A source of chance: every hash of it is another number.
    chance: RandomState,
}

impl Backoff {
    pub(crate) fn new(first: Duration, most: Duration) -> Backoff {
        Backoff { first, most: most.max(first), failures: 0, chance: RandomState::new() }
    }

    /// Counts a failure and says how long to wait: between half and the whole of the doubled wait.
    pub(crate) fn after_failure(&mut self) -> Duration {
        let whole =
            self.first.saturating_mul(1_u32.checked_shl(self.failures.min(31)).unwrap_or(u32::MAX)).min(self.most);
        self.failures = self.failures.saturating_add(1);
        let mut hasher = self.chance.build_hasher();
        hasher.write_u32(self.failures);
        let chance_percent = u32::try_from(hasher.finish() % 51).unwrap_or_default();
        whole.mul_f64(1.0 - f64::from(chance_percent) / 100.0)
    }

    /// Forgets the failures.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most_and_start_again_after_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for _ in 0..2 {
            for whole_ms in [100, 200, 400, 800, 1_000, 1_000] {
                let whole = Duration::from_millis(whole_ms);
                let wait = backoff.after_failure();
                assert!(wait >= whole / 2 && wait <= whole, "{wait:?} of {whole:?}");
            }
            backoff.reset();
        }
        for _ in 0..100 {
            assert!(backoff.after_failure() <= Duration::from_secs(1));
        }
    }

    /// Row D3: clients that failed together do not come back together.
    #[test]
    fn d3_waits_of_many_clients_lie_apart() {
        let second = Duration::from_secs(1);
        let waits: Vec<Duration> = (0..200).map(|_| Backoff::new(second, second).after_failure()).collect();
        for quarter in 0..4 {
            let from = second / 2 + second / 8 * quarter;
            let there = waits.iter().filter(|wait| (from..=from + second / 8).contains(wait)).count();
            assert!(there > 10, "{there} of 200 between {from:?} and {:?}", from + second / 8);
        }
    }
}
