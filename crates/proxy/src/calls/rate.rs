//! Rates and budgets as values: what was used, packed into 64 bits, and what one more call makes of it.

use crate::flow::Time;

/// A token bucket: so many calls in a second, and as many at one go. It is the time at which it would be full again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Bucket(pub(crate) u64);

/// Calls of one day: a [`Spent`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Budget(pub(crate) u64);

/// What was used of a budget for a day.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Spent {
    /// The day, by its number since 1970-01-01 (UTC).
    pub day: u32,
    /// Its calls.
    pub calls: u32,
}

const DAY_US: u64 = 86_400_000_000;

/// The number of the day that this many microseconds since 1970 are in.
pub(crate) fn day_of(unix_us: u64) -> u32 {
    u32::try_from(unix_us / DAY_US).unwrap_or(u32::MAX)
}

impl Bucket {
    /// Calls that it has not got over yet at `now`, of so many in a second.
    pub(crate) fn used(self, now: Time, per_second: u32) -> u32 {
        let step_us = 1_000_000 / u64::from(per_second.max(1));
        u32::try_from(self.0.saturating_sub(now.0).div_ceil(step_us.max(1))).unwrap_or(u32::MAX)
    }

    /// One call more at `now`; `None` when the bucket is empty.
    pub(crate) fn take(self, now: Time, per_second: u32) -> Option<Bucket> {
        let step_us = 1_000_000 / u64::from(per_second.max(1));
        let full_at = self.0.max(now.0);
        let room_us = step_us * u64::from(per_second.max(1) - 1);
        (full_at - now.0 <= room_us).then(|| Bucket(full_at + step_us))
    }
}

impl Budget {
    /// One call more on this day; `None` when the day's calls are used.
    ///
    /// A later day begins anew. A clock that is set back over midnight gives nothing twice: the day that had begun goes on,
    /// until it is over by the clock too. One that is set back by more than a day was wrong before: it goes on by the day
    /// that it shows now, with what was used.
    pub(crate) fn take(self, today: u32, most: u32) -> Option<Budget> {
        let Spent { day, calls } = self.spent();
        let (day, calls) = match day.checked_sub(today) {
            None => (today, 0),
            Some(0 | 1) => (day, calls),
            Some(_) => (today, calls),
        };
        (calls < most).then(|| Budget::of(Spent { day, calls: calls + 1 }))
    }

    pub(crate) fn of(spent: Spent) -> Budget {
        Budget(u64::from(spent.day) << 32 | u64::from(spent.calls))
    }

    pub(crate) fn spent(self) -> Spent {
        let low = |value: u64| u32::try_from(value & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        Spent { day: low(self.0 >> 32), calls: low(self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As many calls as there are on this day, up to 10.
    fn rest(mut budget: Budget, today: u32, most: u32) -> (Budget, u32) {
        let mut count = 0;
        while let Some(next) = budget.take(today, most).filter(|_| count < 10) {
            (budget, count) = (next, count + 1);
        }
        (budget, count)
    }

    #[test]
    fn a_budget_begins_anew_with_the_day() {
        let (budget, count) = rest(Budget::default(), 20_000, 3);
        assert_eq!((count, budget.spent()), (3, Spent { day: 20_000, calls: 3 }));
        assert_eq!(rest(budget, 20_001, 3).1, 3);
        assert_eq!(Budget::of(budget.spent()), budget);
        assert_eq!(day_of(20_000 * DAY_US - 1), 19_999);
        assert_eq!(day_of(20_000 * DAY_US), 20_000);
    }

    /// Row H6: a clock that jumps over midnight and back gives one day's calls more, not two.
    #[test]
    fn h6_a_clock_that_is_set_back_gives_no_budget_twice() {
        let (spent, _) = rest(Budget::default(), 20_000, 3);
        let (begun, count) = rest(spent, 20_001, 2);
        assert_eq!(count, 2, "set forward over midnight, the next day has begun");
        assert_eq!(rest(begun, 20_000, 2).1, 0, "and set back it goes on");
        assert_eq!(rest(begun, 20_001, 3).1, 1, "so it does when its midnight comes");
        let (wrong, _) = rest(Budget::default(), 30_000, 2);
        let (mended, count) = rest(wrong, 20_000, 3);
        assert_eq!((count, mended.spent()), (1, Spent { day: 20_000, calls: 3 }), "years off: what was used counts");
        assert_eq!(rest(mended, 20_001, 3).1, 3, "and days go on from there");
    }

    proptest! {
        /// However often the clock goes over midnight and back, it gives two days' calls.
        #[test]
        fn h6_no_walk_of_the_clock_gives_more_than_a_budget_for_each_day(
            days in proptest::collection::vec(20_000_u32..20_002, 1..60),
            most in 1_u32..4,
        ) {
            let (mut budget, mut taken) = (Budget::default(), 0);
            for day in days {
                if let Some(next) = budget.take(day, most) {
                    (budget, taken) = (next, taken + 1);
                }
            }
            prop_assert!(taken <= 2 * most, "{taken}");
        }

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
