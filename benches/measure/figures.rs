//! What was measured, what it is held against, and whether it holds.

use crate::subject::Subject;
use benches::Figure;
use std::collections::BTreeMap;

/// What is read of a subject.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Measure {
    HighestRate,
    CpuAtRate,
    CpuNearHighest,
    P99AtHalf,
    MemoryRinging,
    MemoryLingering,
}

/// The value of each round.
#[derive(Default)]
pub(crate) struct Samples(BTreeMap<(Subject, Measure), BTreeMap<u64, f64>>);

impl Samples {
    pub(crate) fn add(&mut self, round: u64, subject: Subject, measure: Measure, value: f64) {
        self.0.entry((subject, measure)).or_default().insert(round, value);
    }

    pub(crate) fn of_round(&self, round: u64, subject: Subject, measure: Measure) -> Option<f64> {
        self.0.get(&(subject, measure))?.get(&round).copied()
    }

    /// The values of all rounds; `None` without any.
    pub(crate) fn figure(&self, subject: Subject, measure: Measure) -> Option<Figure> {
        Some(Figure::of(self.0.get(&(subject, measure))?.values().copied()))
    }

    /// One by the other, round by round: what the machine does meanwhile falls on both. `None` where no round has both.
    pub(crate) fn ratio(&self, of: Subject, to: Subject, measure: Measure) -> Option<Figure> {
        let (ours, theirs) = (self.0.get(&(of, measure))?, self.0.get(&(to, measure))?);
        let ratio = |(round, ours): (&u64, &f64)| theirs.get(round).filter(|theirs| **theirs > 0.0).map(|t| ours / t);
        let ratios: Vec<f64> = ours.iter().filter_map(ratio).collect();
        (!ratios.is_empty()).then(|| Figure::of(ratios))
    }
}

/// What a figure must be.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// Told for comparison.
    None,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) title: &'static str,
    pub(crate) subject: Subject,
    pub(crate) measure: Measure,
    /// What the ratio is made to; without it the value itself is held against the goal.
    pub(crate) beside: Option<Subject>,
    pub(crate) goal: Goal,
}

const fn row(title: &'static str, subject: Subject, measure: Measure, beside: Option<Subject>, goal: Goal) -> Row {
    Row { title, subject, measure, beside, goal }
}

const HIGHEST: &str = "highest rate, calls/s";
const AT_RATE: &str = "CPU per call at the fixed rate, us";
const NEAR: &str = "CPU per call at nine tenths of its own highest rate, us";
const REWRITING: &str = "CPU per call with the caller ID rewritten and restored, us";
const P99: &str = "p99 from INVITE to 200 at half of its own highest rate, us";
const RINGING: &str = "memory per ringing call, bytes";
const TCP: &str = "CPU per call over TCP, us";
const KEPT: &str = "CPU per call with metrics, records and journal, us";
const LINGERING: &str = "memory of finished calls that linger for 32 s, bytes for each call/s";

/// The table, in order.
pub(crate) const ROWS: [Row; 13] = [
    row(HIGHEST, Subject::Ours, Measure::HighestRate, Some(Subject::Kamailio), Goal::AtLeast(2.5)),
    row(HIGHEST, Subject::Ours, Measure::HighestRate, Some(Subject::Relay), Goal::None),
    row(AT_RATE, Subject::Ours, Measure::CpuAtRate, Some(Subject::Kamailio), Goal::AtMost(0.75)),
    row(AT_RATE, Subject::Ours, Measure::CpuAtRate, Some(Subject::Relay), Goal::AtMost(1.25)),
    row(NEAR, Subject::Ours, Measure::CpuNearHighest, Some(Subject::Kamailio), Goal::None),
    row(NEAR, Subject::Ours, Measure::CpuNearHighest, Some(Subject::Relay), Goal::AtMost(2.0)),
    row(REWRITING, Subject::OursRewriting, Measure::CpuAtRate, Some(Subject::KamailioRewriting), Goal::AtMost(0.75)),
    row(P99, Subject::Ours, Measure::P99AtHalf, Some(Subject::Kamailio), Goal::AtMost(0.5)),
    row(P99, Subject::Ours, Measure::P99AtHalf, Some(Subject::Relay), Goal::None),
    row(RINGING, Subject::Ours, Measure::MemoryRinging, None, Goal::AtMost(6_144.0)),
    row(RINGING, Subject::Ours, Measure::MemoryRinging, Some(Subject::Kamailio), Goal::None),
    row(TCP, Subject::OursByTcp, Measure::CpuAtRate, Some(Subject::Ours), Goal::AtMost(1.2)),
    row(KEPT, Subject::Ours, Measure::CpuAtRate, Some(Subject::OursKeepingNothing), Goal::AtMost(1.05)),
];

/// The last line, apart: it takes most of a minute.
pub(crate) const LAST_ROW: Row = row(LINGERING, Subject::Ours, Measure::MemoryLingering, None, Goal::AtMost(65_536.0));

/// All lines.
pub(crate) fn rows() -> impl Iterator<Item = Row> {
    ROWS.into_iter().chain([LAST_ROW])
}

impl Row {
    /// What is held against the goal.
    pub(crate) fn judged(&self, samples: &Samples) -> Option<Figure> {
        match self.beside {
            Some(other) => samples.ratio(self.subject, other, self.measure),
            None => samples.figure(self.subject, self.measure),
        }
    }

    /// Whether the median reaches the goal; `None` where nothing was measured, or there is no goal.
    pub(crate) fn holds(&self, samples: &Samples) -> Option<bool> {
        let median = self.judged(samples)?.median();
        match self.goal {
            Goal::AtLeast(bound) => Some(median >= bound),
            Goal::AtMost(bound) => Some(median <= bound),
            Goal::None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds are paired by their number: one that is missing on one side gives no ratio.
    #[test]
    fn ratios_are_made_within_a_round() {
        let mut samples = Samples::default();
        for (round, ours, theirs) in [(1, 40.0, 10.0), (2, 60.0, 30.0), (3, 90.0, 30.0)] {
            samples.add(round, Subject::Ours, Measure::HighestRate, ours);
            if round != 2 {
                samples.add(round, Subject::Kamailio, Measure::HighestRate, theirs);
            }
        }
        let ratio = samples.ratio(Subject::Ours, Subject::Kamailio, Measure::HighestRate).unwrap();
        assert_eq!(ratio.to_string(), "4.00 (3.00 to 4.00)");
        assert_eq!(samples.of_round(2, Subject::Kamailio, Measure::HighestRate), None);
        assert!(samples.ratio(Subject::Ours, Subject::Relay, Measure::HighestRate).is_none());
    }

    #[test]
    fn a_goal_is_missed_held_or_not_judged() {
        let mut samples = Samples::default();
        let [highest, beside_relay, ..] = ROWS;
        assert_eq!(highest.holds(&samples), None);
        samples.add(1, Subject::Ours, Measure::HighestRate, 24.9);
        samples.add(1, Subject::Kamailio, Measure::HighestRate, 10.0);
        samples.add(1, Subject::Relay, Measure::HighestRate, 50.0);
        assert_eq!((highest.holds(&samples), beside_relay.holds(&samples)), (Some(false), None));
        samples.add(2, Subject::Ours, Measure::HighestRate, 25.1);
        samples.add(2, Subject::Kamailio, Measure::HighestRate, 10.0);
        assert_eq!(highest.holds(&samples), Some(true));
        samples.add(1, Subject::Ours, Measure::MemoryLingering, 65_537.0);
        assert_eq!(LAST_ROW.holds(&samples), Some(false));
    }

    /// A figure that nobody measures would stand empty for ever: each goal of the table is there once.
    #[test]
    fn every_comparison_stands_once() {
        let all: Vec<_> = rows().map(|row| (row.title, row.beside)).collect();
        let mut once = all.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), all.len());
    }
}
