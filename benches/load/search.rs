//! Looking for the highest rate that is carried: which one is tried next.

/// It ends when its bounds are so close, in parts of a hundred.
const CLOSE_PERCENT: u64 = 4;
/// No proxy on one core comes here: where it ends upward.
const RATE_MOST: u64 = 200_000;
const RATE_LEAST: u64 = 100;
/// A rate that is not carried is tried so often in a row.
const TRIES: u32 = 2;
/// The rate where it would end is tried again so often: it may have failed while the machine stood still.
const REVISITS: u32 = 2;

/// Doubles the rate until it is not carried, then halves the distance. What failed twice in a row bounds it; and before it
/// ends, that bound must fail once more.
#[derive(Debug)]
pub(crate) struct Search {
    carried: u64,
    missed: Option<u64>,
    rate: u64,
    failed: u32,
    revisits: u32,
    is_revisiting: bool,
    is_over: bool,
}

impl Search {
    pub(crate) fn new(from: u64) -> Search {
        Search {
            carried: 0,
            missed: None,
            rate: from.max(1),
            failed: 0,
            revisits: 0,
            is_revisiting: false,
            is_over: false,
        }
    }

    /// The rate to try; `None` at the end.
    pub(crate) fn next(&self) -> Option<u64> {
        (!self.is_over).then_some(self.rate)
    }

    /// The highest that was carried; 0 without any.
    pub(crate) fn highest(&self) -> u64 {
        self.carried
    }

    /// What became of the rate that was tried.
    pub(crate) fn tried(&mut self, is_carried: bool) {
        if !is_carried && !self.is_revisiting {
            self.failed += 1;
            if self.failed < TRIES {
                return;
            }
        }
        self.failed = 0;
        match (is_carried, self.is_revisiting) {
            (true, true) => {
                self.carried = self.rate;
                self.missed = None;
            }
            (true, false) => self.carried = self.rate,
            (false, true) => {
                self.is_over = true;
                return;
            }
            (false, false) => self.missed = Some(self.rate),
        }
        let was_revisited = std::mem::take(&mut self.is_revisiting);
        self.go_on(was_revisited);
    }

    fn go_on(&mut self, was_revisited: bool) {
        let is_close = self.missed.is_some_and(|missed| (missed - self.carried) * 100 <= missed * CLOSE_PERCENT);
        self.rate = match self.missed {
            Some(missed) if is_close && self.carried > 0 && self.revisits < REVISITS => {
                self.revisits += 1;
                self.is_revisiting = true;
                missed
            }
            Some(missed) => (self.carried + missed) / 2,
            // Near the bound that fell: the next one is not far.
            None if was_revisited => self.carried + self.carried / 8,
            None => self.carried * 2,
        };
        self.is_over = (is_close && !self.is_revisiting) || !(RATE_LEAST..=RATE_MOST).contains(&self.rate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rate found, and how many tries it took.
    fn found(from: u64, mut carries: impl FnMut(u64, usize) -> bool) -> (u64, usize) {
        let (mut search, mut tries) = (Search::new(from), 0);
        while let Some(rate) = search.next() {
            tries += 1;
            assert!(tries < 100, "{search:?}");
            search.tried(carries(rate, tries));
        }
        (search.highest(), tries)
    }

    #[test]
    fn the_highest_rate_is_found_from_below_and_from_above() {
        for (from, highest) in [(1_000, 8_800), (4_000, 8_800), (30_000, 8_800), (100, 100_000), (4_000, 4_000)] {
            let (rate, _) = found(from, |rate, _| rate <= highest);
            assert!(rate <= highest && rate * 100 >= highest * 95, "{rate} for {highest} from {from}");
        }
        assert_eq!(found(1_000, |_, _| false).0, 0);
        assert!(found(1_000, |_, _| true).0 > RATE_MOST / 2);
    }

    /// A machine that stands still for three tries costs time, and lowers nothing.
    #[test]
    fn one_bad_moment_does_not_end_it() {
        let (quiet, usual) = found(4_000, |rate, _| rate <= 8_800);
        for begins in 1..=usual {
            let (rate, _) = found(4_000, |rate, tries| rate <= 8_800 && !(begins..begins + 3).contains(&tries));
            assert!(rate * 100 >= quiet * 93, "standing still from try {begins} on: {rate} for {quiet}");
        }
    }
}
