//! Reading what the test programs print: the `test result:` lines, and the tests that left themselves to the full set.

use std::fmt;

/// Tests by outcome.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Those of the full set, when only the ordinary set runs.
    pub(crate) skipped: u64,
}

impl Counts {
    /// Adds another run's counts.
    pub(crate) fn add(&mut self, other: Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        match self.skipped {
            0 => Ok(()),
            skipped => write!(f, ", {skipped} skipped"),
        }
    }
}

/// What a test prints when it returns early because the full set was not asked for.
const LEFT_OUT: &str = "full set:";

/// Follows the output of `cargo test -- --show-output`, line by line.
///
/// The output of tests that passed is held back, so that the terminal shows only what matters; it is read for
/// [`LEFT_OUT`], since such a test has not passed, it was skipped.
#[derive(Default)]
pub(crate) struct Reader {
    counts: Counts,
    in_successes: bool,
    /// Tests of the present program that left themselves out.
    left_out: u64,
    counted_this_test: bool,
}

impl Reader {
    /// Takes one line. True when it should be shown.
    pub(crate) fn line(&mut self, line: &str) -> bool {
        if let Some(result) = line.strip_prefix("test result: ") {
            self.result(result);
            return true;
        }
        match line {
            "successes:" => self.in_successes = true,
            "failures:" => self.in_successes = false,
            _ if !self.in_successes => {}
            _ if line.starts_with("---- ") => self.counted_this_test = false,
            _ if line.contains(LEFT_OUT) && !self.counted_this_test => {
                self.counted_this_test = true;
                self.left_out += 1;
                return true;
            }
            _ => {}
        }
        !self.in_successes
    }

    /// What was counted so far.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// `ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s`
    fn result(&mut self, result: &str) {
        let count = |word: &str| {
            let part = result.split([';', '.']).map(str::trim).find_map(|part| part.strip_suffix(word));
            part.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or(0)
        };
        self.counts.add(Counts {
            passed: count("passed").saturating_sub(self.left_out),
            failed: count("failed"),
            skipped: count("ignored") + self.left_out,
        });
        self.in_successes = false;
        self.left_out = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Counts, Vec<&str>) {
        let mut reader = Reader::default();
        let shown = text.lines().filter(|line| reader.line(line)).collect();
        (reader.counts(), shown)
    }

    #[test]
    fn results_of_all_programs_are_summed() {
        let (counts, _) = read(
            "test a ... ok\ntest result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
             test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s\n",
        );
        assert_eq!(counts, Counts { passed: 13, failed: 2, skipped: 1 });
    }

    #[test]
    fn a_test_left_to_the_full_set_is_skipped_not_passed() {
        let (counts, shown) = read(
            "test slow ... ok\ntest quick ... ok\n\nsuccesses:\n\n---- slow stdout ----\nfull set: ten minutes of load\n\
             full set: again\n---- quick stdout ----\nhello\n\nsuccesses:\n    slow\n    quick\n\n\
             test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n",
        );
        assert_eq!(counts, Counts { passed: 1, failed: 0, skipped: 1 });
        assert!(shown.contains(&"full set: ten minutes of load"));
        assert!(!shown.contains(&"hello"));
    }

    #[test]
    fn output_of_failed_tests_is_shown() {
        let (counts, shown) = read(
            "successes:\n\n---- b stdout ----\nquiet\n\nfailures:\n\n---- a stdout ----\nloud\n\nfailures:\n    a\n\n\
             test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n",
        );
        assert_eq!(counts, Counts { passed: 1, failed: 1, skipped: 0 });
        assert!(shown.contains(&"loud"));
        assert!(!shown.contains(&"quiet"));
    }
}
