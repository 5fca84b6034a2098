//! `cargo xtask test`: what CI runs and what a developer runs, the same.
//!
//! Installs what is missing, then takes the steps in order, goes on after a failure, and closes with a table of the
//! steps and one line that counts the tests.

mod counts;
pub(crate) mod install;
mod steps;

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;

use counts::Counts;

#[derive(Args)]
pub(crate) struct Options {
    /// Run the slow tests too: those marked `#[ignore = "full set: .."]`, and SWITCHYARD_FULL=1 for the others.
    #[arg(long)]
    full: bool,
}

/// How a step can end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Passed,
    Failed,
    /// It could not be looked into from this machine; that is said, and is no failure.
    NotChecked,
}

impl Outcome {
    fn of(passed: bool) -> Outcome {
        if passed { Outcome::Passed } else { Outcome::Failed }
    }

    fn word(self) -> &'static str {
        match self {
            Outcome::Passed => "ok",
            Outcome::Failed => "FAILED",
            Outcome::NotChecked => "NOT CHECKED",
        }
    }
}

/// One step that has ended.
struct Ended {
    name: &'static str,
    outcome: Outcome,
    counts: Counts,
    took: Duration,
}

/// Runs everything. True when no step failed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let begun = Instant::now();
    install::packages()?;
    install::components()?;
    install::axe()?;
    install::actionlint()?;
    install::schemathesis()?;
    install::mdbook()?;
    install::CARGO_DENY.install()?;
    install::packaging()?;
    install::CARGO_DEB.install()?;
    let installing =
        Ended { name: "install", outcome: Outcome::Passed, counts: Counts::default(), took: begun.elapsed() };
    let mut all = vec![installing];
    for step in steps::STEPS {
        println!("\n== {}", step.name);
        let begun = Instant::now();
        let (outcome, counts) = (step.run)(options)?;
        all.push(Ended { name: step.name, outcome, counts, took: begun.elapsed() });
    }
    Ok(summary(&all))
}

/// Prints the table and, last of all, the counts.
fn summary(all: &[Ended]) -> bool {
    println!("\n== summary");
    for ended in all {
        println!("{:<12} {:<12} {:>7.1} s", ended.name, ended.outcome.word(), ended.took.as_secs_f64());
    }
    let total: Duration = all.iter().map(|ended| ended.took).sum();
    println!("{:<12} {:<12} {:>7.1} s\n", "all", "", total.as_secs_f64());
    println!("{}", total_of(all));
    all.iter().all(|ended| ended.outcome != Outcome::Failed)
}

/// The tests of all steps. A step that failed without a failed test (a warning, say) counts as one failure.
fn total_of(all: &[Ended]) -> Counts {
    let mut total = Counts::default();
    for ended in all {
        total.add(ended.counts);
        if ended.outcome == Outcome::Failed && ended.counts.failed == 0 {
            total.failed += 1;
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(passed: bool, counts: Counts) -> Ended {
        Ended { name: "step", outcome: Outcome::of(passed), counts, took: Duration::ZERO }
    }

    #[test]
    fn a_failed_step_is_never_counted_as_nothing() {
        let tests = Counts { passed: 7, failed: 0, skipped: 1 };
        let all = [ended(false, Counts::default()), ended(true, tests)];
        assert_eq!(total_of(&all).to_string(), "7 passed, 1 failed, 1 skipped");
        assert!(!summary(&all));
    }

    #[test]
    fn what_could_not_be_checked_is_no_failure() {
        let all = [Ended { outcome: Outcome::NotChecked, ..ended(true, Counts::default()) }];
        assert!(summary(&all));
    }

    #[test]
    fn failed_tests_are_counted_once() {
        let all = [ended(false, Counts { passed: 7, failed: 2, skipped: 0 })];
        assert_eq!(total_of(&all).to_string(), "7 passed, 2 failed");
    }
}
