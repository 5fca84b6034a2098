//! What is wrong with a long run; nothing is good.

use super::readings::Reading;
use super::trouble::Trouble;
use crate::table::short;
use std::fmt::{self, Write};

/// One run of the load generator, and what happened in it.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    pub(crate) trouble: Trouble,
    /// What came of the fault.
    pub(crate) made: String,
    pub(crate) begun_s: f64,
    pub(crate) ended_s: f64,
    pub(crate) begun: f64,
    pub(crate) completed: f64,
    pub(crate) refused: f64,
    pub(crate) refused_503: f64,
    pub(crate) faults: f64,
    pub(crate) sent_again: f64,
    pub(crate) p99_us: f64,
}

/// What is still open when no call has come for longer than transactions linger.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Leftover {
    pub(crate) transactions: f64,
    pub(crate) calls: f64,
    pub(crate) directory_trouble: f64,
}

/// The verdict.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) wrong: Vec<String>,
    pub(crate) notes: Vec<String>,
}

/// Until so many seconds have passed, the table of transactions and the allocator take their size.
const WARM_S: f64 = 60.0;
/// Growth is seen in readings of so many seconds behind that.
const JUDGED_S: f64 = 30.0;
/// A process that had load for so long and cannot be judged is no proof of anything.
const LONG_S: f64 = 180.0;
/// The journal of calls is full when it has so much of the most that it ever has: from then on memory is judged.
const FULL: f64 = 0.95;
/// How much the memory of the last third may lie above that of the first.
const GROWTH: f64 = 0.1;
/// What an allocator's arenas come and go by.
const GROWTH_BYTES: f64 = 4_194_304.0;
const FILES_MORE: f64 = 8.0;

impl Verdict {
    pub(crate) fn word(&self) -> &'static str {
        if self.wrong.is_empty() { "good" } else { "BAD" }
    }
}

/// Judges turns, readings, and what was left.
pub(crate) fn of(turns: &[Turn], readings: &[Reading], leftover: Leftover) -> Verdict {
    let mut verdict = Verdict::default();
    for (at, turn) in turns.iter().enumerate() {
        let (place, Turn { trouble, begun, completed, refused, refused_503, faults, .. }) = (at + 1, turn);
        if *begun == 0.0 || *completed < begun * trouble.must_complete() {
            verdict.wrong.push(format!(
                "turn {place} ({trouble}): only {completed} of {begun} calls completed, {refused} were refused, {refused_503} of them by 503"
            ));
        }
        if *faults > 0.0 {
            verdict.wrong.push(format!("turn {place} ({trouble}): {faults} messages were wrong"));
        }
    }
    growth(turns, readings, &mut verdict);
    if leftover != Leftover::default() {
        let Leftover { transactions, calls, directory_trouble } = leftover;
        verdict.wrong.push(format!(
            "{transactions} transactions and {calls} calls are left over; trouble with the directory: {directory_trouble}"
        ));
    }
    verdict
}

/// The first third of the readings under load against the last. A process that was killed begins anew: what is read of
/// the last process alone counts.
fn growth(turns: &[Turn], readings: &[Reading], verdict: &mut Verdict) {
    let from = turns.iter().filter(|turn| turn.trouble == Trouble::Kill).map(|turn| turn.ended_s).fold(0.0, f64::max);
    let to = turns.last().map_or(0.0, |turn| turn.ended_s);
    let warm_s = full_s(readings, from, to).max(from + WARM_S);
    let warm: Vec<&Reading> = readings.iter().filter(|r| r.at_s >= warm_s && r.at_s < to).collect();
    let judged = warm.last().zip(warm.first()).map_or(0.0, |(last, first)| last.at_s - first.at_s);
    if judged < JUDGED_S {
        let told = format!(
            "growth was not judged: there are readings of {judged:.0} s, {JUDGED_S} s are needed behind the {warm_s:.0} s in which it fills"
        );
        let is_long = to - from >= LONG_S;
        if is_long { &mut verdict.wrong } else { &mut verdict.notes }.push(told);
        return;
    }
    let third = (warm.len() / 3).max(1);
    let (first, last) = (warm.get(..third).unwrap_or_default(), warm.get(warm.len() - third..).unwrap_or_default());
    let (before, after) = (median(first, |r| r.memory_bytes), median(last, |r| r.memory_bytes));
    if after > before * (1.0 + GROWTH) + GROWTH_BYTES {
        verdict.wrong.push(format!("memory grew from {before} to {after} bytes"));
    } else {
        verdict.notes.push(format!("memory: {} bytes in the first third, {} in the last", short(before), short(after)));
    }
    // Some faults open files for a while: what leaks is there when all is calm.
    let least = |some: &[&Reading]| some.iter().map(|r| r.files).fold(f64::INFINITY, f64::min);
    let (before, after) = (least(first), least(last));
    if after > before + FILES_MORE {
        verdict.wrong.push(format!("open files grew from {before} to {after}"));
    }
}

/// When the journal was full, in a process that began at `from`.
fn full_s(readings: &[Reading], from: f64, to: f64) -> f64 {
    let lives: Vec<&Reading> = readings.iter().filter(|r| r.at_s >= from && r.at_s < to).collect();
    // Calls in progress stand in it beside its own number: after a standstill there are many, for a moment.
    let last = lives.get(lives.len() - lives.len() / 3..).unwrap_or_default();
    let full = if last.is_empty() { 0.0 } else { median(last, |r| r.journal_bytes) };
    lives.iter().find(|r| r.journal_bytes >= full * FULL).map_or(from, |r| r.at_s)
}

fn median(some: &[&Reading], of: fn(&Reading) -> f64) -> f64 {
    benches::Figure::of(some.iter().map(|reading| of(reading))).median()
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Turn { trouble, made, begun, completed, refused, refused_503, faults, sent_again, p99_us, .. } = self;
        let comma = if made.is_empty() { "" } else { ", " };
        write!(
            f,
            "{trouble}{comma}{made}: {completed} of {begun} calls, {refused} refused ({refused_503} by 503), {faults} faults, \
             {sent_again} sent again, p99 {p99_us} us"
        )
    }
}

/// The page of results.
pub(crate) fn page(rate: u64, turns: &[Turn], readings: &[Reading], verdict: &Verdict) -> String {
    let seconds = turns.last().map_or(0.0, |turn| turn.ended_s);
    let most = |of: fn(&Reading) -> f64| short(readings.iter().map(of).fold(0.0, f64::max));
    let mut out = format!(
        "# The long run\n\nWritten by `cargo xtask soak`: {rate} calls/s for {:.0} minutes. Verdict: {}.\n\nAt most: {} bytes of memory, \
         {} open files, {} transactions, {} calls in progress. All readings are in\n[soak.csv](soak.csv).\n\n",
        seconds / 60.0,
        verdict.word(),
        most(|r| r.memory_bytes),
        most(|r| r.files),
        most(|r| r.transactions),
        most(|r| r.calls),
    );
    for what in verdict.wrong.iter().chain(&verdict.notes) {
        let _ = writeln!(out, "- {what}");
    }
    out.push_str(
        "\n| turn | fault | what came of it | calls | completed | refused | wrong messages | sent again | p99, us |\n",
    );
    out.push_str("| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
    for (at, turn) in turns.iter().enumerate() {
        let Turn { trouble, made, begun, completed, refused, faults, sent_again, p99_us, .. } = turn;
        let _ = writeln!(
            out,
            "| {} | {trouble} | {made} | {} | {} | {refused} | {faults} | {sent_again} | {} |",
            at + 1,
            short(*begun),
            short(*completed),
            short(*p99_us)
        );
    }
    out.push_str("\n![Gauges over time](soak.svg)\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN_S: f64 = 30.0;

    fn turns(count: usize) -> Vec<Turn> {
        let turn = |at: usize| Turn {
            trouble: Trouble::None,
            made: String::new(),
            begun_s: at as f64 * TURN_S,
            ended_s: (at + 1) as f64 * TURN_S,
            begun: 1_000.0,
            completed: 1_000.0,
            refused: 0.0,
            refused_503: 0.0,
            faults: 0.0,
            sent_again: 0.0,
            p99_us: 300.0,
        };
        (0..count).map(turn).collect()
    }

    fn readings(seconds: usize, memory: impl Fn(f64) -> f64, files: impl Fn(f64) -> f64) -> Vec<Reading> {
        let reading = |at: usize| {
            let at_s = at as f64;
            Reading { at_s, memory_bytes: memory(at_s), files: files(at_s), ..Reading::default() }
        };
        (0..seconds).map(reading).collect()
    }

    fn wrong(turns: &[Turn], readings: &[Reading], leftover: Leftover) -> Vec<String> {
        of(turns, readings, leftover).wrong
    }

    #[test]
    fn calls_that_fail_and_what_is_left_over_are_bad() {
        let steady = readings(300, |_| 1e8, |_| 20.0);
        let mut all = turns(10);
        assert_eq!(wrong(&all, &steady, Leftover::default()), Vec::<String>::new());
        (all[4].completed, all[4].refused, all[4].refused_503) = (998.0, 2.0, 1.0);
        all[5].faults = 1.0;
        all[6].trouble = Trouble::Standstill;
        all[6].completed = 991.0;
        all[7].begun = 0.0;
        all[7].completed = 0.0;
        let left = Leftover { calls: 1.0, ..Leftover::default() };
        let told = wrong(&all, &steady, left);
        assert_eq!(told.len(), 4, "{told:?}");
        assert_eq!(told[0], "turn 5 (nothing): only 998 of 1000 calls completed, 2 were refused, 1 of them by 503");
        assert!(told[3].contains("1 calls are left over"), "{told:?}");
    }

    #[test]
    fn what_grows_is_bad_and_what_comes_and_goes_is_not() {
        let all = turns(10);
        let told = wrong(&all, &readings(300, |at| 1e8 + at * 1e6, |_| 20.0), Leftover::default());
        assert_eq!(told.len(), 1, "{told:?}");
        let told = wrong(&all, &readings(300, |_| 1e8, |at| 20.0 + (at / 10.0).floor()), Leftover::default());
        assert!(told[0].starts_with("open files grew"), "{told:?}");
        // Fifty connections for ten seconds, memory that fills in the first minute.
        let files = |at: f64| if (200.0..210.0).contains(&at) { 70.0 } else { 20.0 };
        assert!(wrong(&all, &readings(300, |at| 1e8 + at.min(60.0) * 1e6, files), Leftover::default()).is_empty());
    }

    /// A journal that fills is no leak, however long it takes; memory that grows behind it is one.
    #[test]
    fn what_the_journal_takes_while_it_fills_is_no_growth() {
        let all = turns(10);
        let filling = |full_s: f64, leaks: f64| -> Vec<Reading> {
            let memory = |at: f64| 3e7 + at.min(full_s) * 1e6 + at * leaks;
            let filled = |reading: Reading| Reading { journal_bytes: reading.at_s.min(full_s) * 9e5, ..reading };
            readings(300, memory, |_| 20.0).into_iter().map(filled).collect()
        };
        assert!(wrong(&all, &filling(150.0, 0.0), Leftover::default()).is_empty());
        assert_eq!(wrong(&all, &filling(150.0, 5e5), Leftover::default()).len(), 1);
        assert_eq!(wrong(&all, &filling(300.0, 0.0), Leftover::default()).len(), 1, "it never fills");
        // Calls that gather for a moment are not what fills it.
        let mut peaks = filling(90.0, 5e5);
        for (at, times) in [(180, 1.2), (240, 1.35), (290, 1.5)] {
            peaks[at].journal_bytes *= times;
        }
        let told = wrong(&all, &peaks, Leftover::default());
        assert!(told.len() == 1 && told[0].starts_with("memory grew"), "{told:?}");
        let late = of(&all, &readings(70, |_| 1e8, |_| 20.0), Leftover::default());
        assert!(late.wrong[0].starts_with("growth was not judged"), "{late:?}");
    }

    /// Too short a run is no proof, and says so. After a kill the new process is judged, not the difference of the two.
    #[test]
    fn growth_is_judged_of_one_process_that_is_warm() {
        let short = of(&turns(2), &readings(60, |_| 1e8, |_| 20.0), Leftover::default());
        assert!(short.wrong.is_empty() && short.notes[0].starts_with("growth was not judged"), "{short:?}");
        let mut all = turns(10);
        all[1].trouble = Trouble::Kill;
        let memory = |at: f64| if at < 60.0 { 1e7 } else { 1e8 };
        assert!(wrong(&all, &readings(300, memory, |_| 20.0), Leftover::default()).is_empty());
        let leaks = readings(300, |at| 1e8 + at * 1e6, |_| 20.0);
        assert_eq!(wrong(&all, &leaks, Leftover::default()).len(), 1);
    }

    #[test]
    fn the_page_and_its_picture_name_every_turn() {
        let (mut all, steady) = (turns(2), readings(60, |_| 1e8, |_| 20.0));
        all[1].trouble = Trouble::Reload;
        let text = page(500, &all, &steady, &of(&all, &steady, Leftover::default()));
        assert!(
            text.contains("500 calls/s for 1 minutes. Verdict: good.") && text.contains("| 2 | reload |"),
            "{text}"
        );
        assert!(super::super::readings::chart(&steady, &all).contains(">reload</text>"));
        let csv = super::super::readings::csv(&steady, &all);
        assert!(csv.contains("\n29.0,nothing,100000000,20,") && csv.contains("\n30.0,reload,"), "{csv}");
    }
}
