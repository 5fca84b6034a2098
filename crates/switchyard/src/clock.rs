//! The one clock: monotonic, so that nothing expires because somebody set the time (row H6).

use proxy::Time;
use std::time::{Duration, Instant, SystemTime};

/// Microseconds since the process began, as the core counts them.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    zero: Instant,
}

impl Clock {
    /// A clock whose zero is now. One per process: all its readers compare.
    pub fn start() -> Clock {
        Clock { zero: Instant::now() }
    }

    /// The time now.
    pub fn now(&self) -> Time {
        Time(0) + self.zero.elapsed()
    }

    /// What time of day it was at this clock's zero, by the time of day that it is `now`: microseconds since 1970. Somebody
    /// who sets the time changes it.
    pub fn zero_unix_us(&self, now: Time) -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX).saturating_sub(now.0)
    }

    /// The instant of a time of this clock, for a runtime's timers.
    pub fn instant(&self, time: Time) -> Instant {
        let after = time.since(Time(0));
        // A time beyond what an instant can hold is never reached: a day from now serves as well.
        self.zero.checked_add(after).unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h6_the_clock_never_goes_back_and_its_instants_agree_with_it() {
        let clock = Clock::start();
        let first = clock.now();
        let second = clock.now();
        assert!(second >= first);
        let instant = clock.instant(second + Duration::from_millis(250));
        assert_eq!(instant.duration_since(clock.instant(second)), Duration::from_millis(250));
        assert!(clock.instant(Time(u64::MAX)) > Instant::now());
    }
}
