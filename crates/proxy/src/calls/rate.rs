//! Rates and budgets as values: what was used, packed into 64 bits, and what one more call makes of it.

use crate::flow::Time;

/// A token bucket: so many calls in a second, and as many at one go. It is the time at which it would be full again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Bucket(pub(crate) u64);

/// Calls in one window of 24 hours on the caller's clock: which window, and how many.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Budget(pub(crate) u64);

const DAY_US: u64 = 86_400_000_000;

impl Bucket {
    /// One call more at `now`; `None` when the bucket is empty.
    pub(crate) fn take(self, now: Time, per_second: u32) -> Option<Bucket> {
        let step_us = 1_000_000 / u64::from(per_second.max(1));
        let full_at = self.0.max(now.0);
        let room_us = step_us * u64::from(per_second.max(1) - 1);
        (full_at - now.0 <= room_us).then(|| Bucket(full_at + step_us))
    }
}

impl Budget {
    /// One call more at `now`; `None` when the window's calls are used.
    pub(crate) fn take(self, now: Time, calls: u32) -> Option<Budget> {
        let window = (now.0 / DAY_US) & u64::from(u32::MAX);
        let used = if self.0 >> 32 == window { self.0 & u64::from(u32::MAX) } else { 0 };
        (used < u64::from(calls)).then_some(Budget((window << 32) | (used + 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_budget_begins_anew_after_24_hours() {
        let mut budget = Budget::default();
        for _ in 0..3 {
            budget = budget.take(Time(5), 3).unwrap();
        }
        assert_eq!(budget.take(Time(DAY_US - 1), 3), None);
        assert!(budget.take(Time(DAY_US), 3).is_some());
    }

    proptest! {
        /// Whatever the times: never more than a bucket full and what runs in, and never less when it is asked for.
        #[test]
        fn a_bucket_gives_its_rate(per_second in 1_u32..200, pauses_us in proptest::collection::vec(0_u64..50_000, 1..400)) {
            let (mut bucket, mut now, mut taken) = (Bucket::default(), 10_000_000, 0_u64);
            let began = now;
            for pause_us in pauses_us {
                now += pause_us;
                if let Some(next) = bucket.take(Time(now), per_second) {
                    bucket = next;
                    taken += 1;
                }
            }
            let step_us = 1_000_000 / u64::from(per_second);
            prop_assert!(taken <= u64::from(per_second) + (now - began) / step_us);
            let mut at_once = 0;
            while let Some(next) = bucket.take(Time(now + 1_000_000), per_second) {
                bucket = next;
                at_once += 1;
            }
            prop_assert_eq!(at_once, per_second, "a second later it is full");
        }
    }
}
