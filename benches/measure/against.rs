//! The comparison: rounds in which every subject has its turn.
//!
//! Ratios are made within one round, so that what the machine does meanwhile falls on both sides. Every other round goes
//! the other way round, so that nobody is always the first or the last.

use crate::figures::{Measure, Samples};
use crate::generator::{Told, load, warm_up};
use crate::peer::{Running, kamailio_version};
use crate::subject::{Other, Subject};
use crate::table::{self, Circumstances};
use crate::{Folder, Places, chart};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::time::Instant;

/// What to compare, and how long.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Whom to measure beside ours.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "kamailio,relay")]
    others: Vec<Other>,
    /// Rounds: each is measured once in each.
    #[arg(long)]
    repeats: Option<u64>,
    /// Seconds of each run.
    #[arg(long)]
    seconds: Option<u64>,
    /// Calls a second of the runs at a fixed rate; where the slowest does not carry as many, the highest below that it does.
    #[arg(long, default_value_t = 5_000)]
    rate: u64,
    /// Calls that ring at once while memory is read.
    #[arg(long)]
    ringing: Option<u64>,
    /// Two rounds of two seconds in place of three of five.
    #[arg(long)]
    quick: bool,
    /// Leaves out the highest rates, and what is measured at a part of them.
    #[arg(long)]
    brief: bool,
    /// A page whose part between two markers becomes the table.
    #[arg(long)]
    page: Option<PathBuf>,
}

/// Of the lowest of all highest rates, so many tenths are a rate that all carry at ease.
const EASE_TENTHS: u64 = 6;
/// Calls that linger for 32 s are all there after so many seconds.
const LINGER_SECONDS: u64 = 36;
const LINGER_RATE: f64 = 20_000.0;
const LINGER_EASE: f64 = 0.7;
const NEAR: f64 = 0.9;
/// The 99th percentile is the median of so many seconds, each by itself.
const P99_SECONDS: u64 = 9;
/// Where a search begins, and the seconds of a step at most.
const SEARCH_FROM: u64 = 4_000;
const SEARCH_SECONDS: u64 = 3;

struct Comparison<'o> {
    places: &'o Places,
    options: &'o Options,
    rounds: u64,
    seconds: u64,
    ringing: u64,
    /// Calls a second of the runs at a fixed rate.
    rate: u64,
    folder: Folder,
    samples: Samples,
    /// Messages sent again for each thousand calls of what was carried.
    sent_again: Samples,
    /// What is to be tried once more at the end of the round.
    missed: Vec<Missed>,
    /// What was carried then.
    late: Vec<String>,
    notes: Vec<String>,
    begun: Instant,
}

/// A run that was not carried.
struct Missed {
    subject: Subject,
    rate: u64,
    measure: Measure,
    what: String,
}

/// Runs it, and writes `against.md` and `against.svg` after each round. True when everything in the table was measured.
pub(crate) fn run(places: &Places, options: &Options) -> Result<bool> {
    let mut comparison = Comparison {
        places,
        options,
        rounds: options.repeats.unwrap_or(if options.quick { 2 } else { 3 }).max(1),
        seconds: options.seconds.unwrap_or(if options.quick { 2 } else { 5 }).max(1),
        ringing: options.ringing.unwrap_or(if options.quick { 5_000 } else { 10_000 }).max(1),
        rate: options.rate.max(1),
        folder: Folder::new()?,
        samples: Samples::default(),
        sent_again: Samples::default(),
        missed: Vec::new(),
        late: Vec::new(),
        notes: Vec::new(),
        begun: Instant::now(),
    };
    let mut circumstances =
        Circumstances::now(options.rate, options.others.contains(&Other::Kamailio).then(kamailio_version));
    for round in 1..=comparison.rounds {
        comparison.round(round)?;
        circumstances.rounds = round;
        circumstances.seconds = comparison.seconds;
        circumstances.rate = comparison.rate;
        comparison.write(&circumstances)?;
    }
    println!("{}\n{}", table::rows_of(&comparison.samples), table::sent_again(&comparison.sent_again));
    comparison.late.iter().for_each(|what| println!("carried at the end of the round: {what}"));
    comparison.notes.iter().for_each(|note| println!("{note}"));
    println!("written to {}", places.results.display());
    Ok(comparison.notes.is_empty())
}

impl Comparison<'_> {
    fn round(&mut self, round: u64) -> Result<()> {
        let mut peers = [Subject::Ours, Subject::Kamailio, Subject::Relay];
        let mut at_rate =
            [Subject::OursKeepingNothing, Subject::OursByTcp, Subject::OursRewriting, Subject::KamailioRewriting];
        if round.is_multiple_of(2) {
            peers.reverse();
            at_rate.reverse();
        }
        let peers = peers.into_iter().filter(|subject| subject.is_among(&self.options.others));
        let peers: Vec<Subject> = peers.collect();
        if !self.options.brief {
            for subject in &peers {
                self.search(round, *subject)?;
            }
            if round == 1 {
                self.choose_rate(&peers)?;
            }
        }
        for subject in &peers {
            self.load(round, *subject)?;
        }
        for subject in at_rate.into_iter().filter(|subject| subject.is_among(&self.options.others)) {
            let running = self.started(subject)?;
            self.at(round, subject, &running, self.rate, Measure::CpuAtRate)?;
        }
        for subject in peers.iter().copied().filter(|subject| *subject != Subject::Relay) {
            self.ring(round, subject)?;
        }
        self.try_again(round)?;
        // It takes most of a minute: where time is short, once.
        if round == 1 || !self.options.quick {
            self.linger(round)?;
        }
        Ok(())
    }

    fn tell(&self, what: &str) {
        println!("[{:>4} s] {what}", self.begun.elapsed().as_secs());
    }

    fn note(&mut self, what: String) {
        self.tell(&what);
        self.notes.push(what);
    }

    fn sample(&mut self, round: u64, subject: Subject, measure: Measure, value: f64) {
        self.tell(&format!("round {round} of {}, {}: {measure:?} {value}", self.rounds, subject.title()));
        self.samples.add(round, subject, measure, value);
    }

    fn started(&self, subject: Subject) -> Result<Running> {
        let mut running = Running::start(self.places, subject.program(), self.folder.path())?;
        let warm = warm_up(self.places, subject).and_then(|()| running.is_alive());
        let log = self.folder.path().join("log");
        warm.with_context(|| format!("the log has:\n{}", std::fs::read_to_string(log).unwrap_or_default()))?;
        Ok(running)
    }

    fn search(&mut self, round: u64, subject: Subject) -> Result<()> {
        let _running = self.started(subject)?;
        // What was found in the round before is near: the search begins below it.
        let before = self.samples.of_round(round - 1, subject, Measure::HighestRate);
        let from = before.map_or(SEARCH_FROM, |before| (before * 0.8) as u64).max(100).to_string();
        let seconds = self.seconds.min(SEARCH_SECONDS).to_string();
        let words = ["--find-highest", "--rate", &from, "--seconds", &seconds, "--settle-seconds", "3"];
        let told = load(self.places, subject, &words)?;
        let highest = told.figure("highest_rate")?;
        if highest <= 0.0 {
            bail!("no rate was found that {} carries: {told:?}", subject.title());
        }
        if told.figure("highest_rate_is_the_generators")? > 0.0 {
            self.tell(&format!("{}: the generator itself ended the search", subject.title()));
        }
        let sent_again = told.figure("highest_rate_sent_again_per_thousand")?;
        self.sent_again.add(round, subject, Measure::HighestRate, sent_again);
        self.sample(round, subject, Measure::HighestRate, highest);
        Ok(())
    }

    /// All are measured at the same rate: the highest, up to the one that is wanted, that the slowest carries twice in a row.
    fn choose_rate(&mut self, peers: &[Subject]) -> Result<()> {
        let highest = |subject: &Subject| Some((self.samples.of_round(1, *subject, Measure::HighestRate)?, *subject));
        let Some((lowest, slowest)) = peers.iter().filter_map(highest).min_by(|one, other| one.0.total_cmp(&other.0))
        else {
            return Ok(());
        };
        let rates = rates_to_try(self.rate, lowest as u64);
        // The last is at ease.
        for rate in rates.iter().copied().take(rates.len().saturating_sub(1)) {
            let running = self.started(slowest)?;
            let carries = || self.calls(slowest, &running, rate, self.seconds)?.is_carried();
            if carries()? && carries()? {
                self.rate = rate;
                break;
            }
            self.tell(&format!("{} does not carry {rate} calls/s twice in a row", slowest.title()));
            self.rate = rates.last().copied().unwrap_or(rate);
        }
        let wanted = self.options.rate;
        self.tell(&format!("the fixed rate is {} calls/s of {wanted}, by the slowest: {}", self.rate, slowest.title()));
        Ok(())
    }

    /// One of the three, at the fixed rate and at two parts of its own highest.
    fn load(&mut self, round: u64, subject: Subject) -> Result<()> {
        let running = self.started(subject)?;
        self.at(round, subject, &running, self.rate, Measure::CpuAtRate)?;
        if let Some(highest) = self.samples.of_round(round, subject, Measure::HighestRate) {
            self.at(round, subject, &running, (highest / 2.0) as u64, Measure::P99AtHalf)?;
            self.at(round, subject, &running, (highest * NEAR) as u64, Measure::CpuNearHighest)?;
        }
        Ok(())
    }

    fn calls(&self, subject: Subject, running: &Running, rate: u64, seconds: u64) -> Result<Told> {
        let [pid, rate, seconds] = [u64::from(running.pid()), rate, seconds].map(|number| number.to_string());
        load(self.places, subject, &["--rate", &rate, "--seconds", &seconds, "--pid", &pid])
    }

    /// One run at one rate. What is not carried is tried again at the end of the round, in a new process.
    fn at(&mut self, round: u64, subject: Subject, running: &Running, rate: u64, measure: Measure) -> Result<()> {
        let seconds = if measure == Measure::P99AtHalf { self.seconds.max(P99_SECONDS) } else { self.seconds };
        let told = self.calls(subject, running, rate, seconds)?;
        if told.is_carried()? {
            return self.take(round, subject, measure, &told);
        }
        let what = format!("{}, round {round}: {measure:?} at {rate} calls/s is not carried", subject.title());
        let what = format!("{what}: {}", told.in_short());
        self.tell(&what);
        self.missed.push(Missed { subject, rate, measure, what });
        Ok(())
    }

    fn take(&mut self, round: u64, subject: Subject, measure: Measure, told: &Told) -> Result<()> {
        let name = if measure == Measure::P99AtHalf { "answered_p99_median_us" } else { "cpu_us_per_call" };
        self.sample(round, subject, measure, told.figure(name)?);
        self.sent_again.add(round, subject, measure, told.sent_again_per_thousand()?);
        Ok(())
    }

    /// What was not carried, when the moment has passed. What is not carried then either is noted.
    fn try_again(&mut self, round: u64) -> Result<()> {
        for first in std::mem::take(&mut self.missed) {
            let Missed { subject, rate, measure, what } = first;
            let running = self.started(subject)?;
            self.at(round, subject, &running, rate, measure)?;
            match self.missed.pop() {
                None => self.late.push(what),
                Some(second) => self.note(second.what),
            }
        }
        Ok(())
    }

    /// The memory of calls that ring at once, in a process that has carried nothing else.
    fn ring(&mut self, round: u64, subject: Subject) -> Result<()> {
        let running = self.started(subject)?;
        let [ringing, pid] = [self.ringing, u64::from(running.pid())].map(|number| number.to_string());
        let rate = self.rate.min(2_000).to_string();
        let told = load(self.places, subject, &["--hold", &ringing, "--rate", &rate, "--pid", &pid])?;
        if told.figure("ringing")? < self.ringing as f64 {
            self.note(format!("{}, round {round}: not all calls rang: {}", subject.title(), told.in_short()));
            return Ok(());
        }
        self.sample(round, subject, Measure::MemoryRinging, told.figure("memory_per_ringing_call_bytes")?);
        Ok(())
    }

    /// The memory of calls that have ended, and whose transactions stay for 32 s.
    fn linger(&mut self, round: u64) -> Result<()> {
        let subject = Subject::Ours;
        let highest = self.samples.of_round(round, subject, Measure::HighestRate);
        let rate = highest.map_or(self.rate, |highest| (highest * LINGER_EASE).min(LINGER_RATE) as u64);
        let running = self.started(subject)?;
        self.tell(&format!("{} carries {rate} calls/s for {LINGER_SECONDS} s", subject.title()));
        let told = self.calls(subject, &running, rate, LINGER_SECONDS)?;
        if !told.is_carried()? {
            self.note(format!("{}, round {round}: lingering at {rate}: {}", subject.title(), told.in_short()));
            return Ok(());
        }
        let grown = told.figure("memory_after_bytes")? - told.figure("memory_before_bytes")?;
        self.sample(round, subject, Measure::MemoryLingering, grown.max(0.0) / rate as f64);
        Ok(())
    }

    fn write(&self, circumstances: &Circumstances) -> Result<()> {
        let part = table::part(&self.samples, &self.sent_again, circumstances, [&self.late, &self.notes]);
        let picture = "![Medians as bars](against.svg)\n";
        self.places.write("against.md", &format!("# Side by side\n\n{part}\n{picture}"))?;
        self.places.write("against.svg", &chart::bars(&self.samples))?;
        let Some(page) = &self.options.page else { return Ok(()) };
        let text = std::fs::read_to_string(page).with_context(|| format!("{} cannot be read", page.display()))?;
        let text = table::into_page(&text, &part).with_context(|| format!("in {}", page.display()))?;
        std::fs::write(page, text).with_context(|| format!("{} cannot be written", page.display()))
    }
}

/// The wanted rate where it is at ease, and else those to try from above, in hundreds: parts of the lowest of all highest
/// rates. The last leaves the slowest at ease.
fn rates_to_try(wanted: u64, lowest: u64) -> Vec<u64> {
    let parts = (EASE_TENTHS..=10).rev().map(|tenths| lowest * tenths / 10);
    let mut rates: Vec<u64> = parts.map(|rate| (rate / 100 * 100).max(rate.min(100)).min(wanted)).collect();
    rates.dedup();
    if rates.last() == Some(&wanted) { vec![wanted] } else { rates }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::rows;
    use crate::subject::Program;

    #[test]
    fn the_slowest_bounds_the_fixed_rate() {
        assert_eq!(rates_to_try(5_000, 16_000), [5_000]);
        assert_eq!(rates_to_try(5_000, 8_000), [5_000, 4_800]);
        assert_eq!(rates_to_try(5_000, 4_783), [4_700, 4_300, 3_800, 3_300, 2_800]);
        assert_eq!(rates_to_try(5_000, 50), [50, 45, 40, 35, 30]);
    }

    /// A line whose subject no round measures would stand empty for ever.
    #[test]
    fn every_line_of_the_table_has_subjects_that_are_measured() {
        for row in rows() {
            assert!(
                matches!(row.subject.program(), Program::Switchyard(_)),
                "{}: ours is held against others",
                row.title
            );
            let measured = |subject: Subject| match row.measure {
                Measure::CpuAtRate => true,
                Measure::MemoryLingering => subject == Subject::Ours,
                Measure::MemoryRinging => matches!(subject, Subject::Ours | Subject::Kamailio),
                _ => matches!(subject, Subject::Ours | Subject::Kamailio | Subject::Relay),
            };
            assert!(measured(row.subject) && row.beside.is_none_or(measured), "{}", row.title);
        }
    }
}
