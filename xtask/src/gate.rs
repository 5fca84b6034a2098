//! The gate on speed: instructions that pieces and whole calls take, counted by valgrind, held to a committed baseline.
//!
//! A count is the same on a busy machine as on an idle one. Each is the difference of two runs that differ by their
//! repeats alone, so that nothing else is in it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use crate::tool;

const BASELINE: &str = "benches/baseline.toml";
/// A count may be so much above or below its baseline, in parts of a hundred.
const WITHIN_PERCENT: u64 = 5;
/// The engine alone: what its example does around it is not counted.
const IN_ENGINE: &str = "--toggle-collect=proxy::engine::Engine::receive*";

/// One program that does one thing a number of times.
struct Counted {
    name: &'static str,
    what: &'static str,
    program: &'static str,
    /// How often in the first of the two runs; twice as often in the second.
    repeats: u64,
    /// How many things one repeat does.
    each: u64,
}

const fn piece(name: &'static str, what: &'static str) -> Counted {
    Counted { name, what, program: "pieces", repeats: 10_000, each: 1 }
}

const fn engine(name: &'static str, what: &'static str) -> Counted {
    Counted { name, what, program: "examples/engine_cost", repeats: 1, each: 2_000 }
}

const ALL: [Counted; 13] = [
    piece("parse", "an INVITE read"),
    piece("edit", "an INVITE written with five changes"),
    piece("number", "a dialled number in its one spelling"),
    piece("lookup", "a DID found among 10,000"),
    piece("decide", "where an inbound call goes"),
    piece("present", "what the carrier is shown of an outbound call"),
    engine("inbound", "a whole inbound call, six messages"),
    engine("pass", "a whole outbound call, the caller ID left alone"),
    engine("rewrite", "a whole outbound call, the caller ID rewritten"),
    engine("over-rate", "an INVITE above its source's rate"),
    engine("behind", "an INVITE while the worker is behind"),
    engine("stranger", "an INVITE of a stranger whom no filter kept out"),
    engine("again", "an INVITE that is repeated"),
];

type Counts = BTreeMap<String, u64>;

/// Counts, and compares or writes. True when every count is within the gate.
pub(crate) fn run(accepts: bool) -> Result<bool> {
    let build = ["build", "--release", "--workspace", "--bin", "pieces", "--example", "engine_cost"];
    if !tool::succeeds(&mut tool::cargo(&build))? {
        return Ok(false);
    }
    let path = tool::root().join(BASELINE);
    let baseline = if accepts { Counts::new() } else { read(&std::fs::read_to_string(&path).unwrap_or_default())? };
    let mut counts = Counts::new();
    let mut holds = true;
    for counted in &ALL {
        let count = counted.count()?;
        let verdict = verdict(count, baseline.get(counted.name).copied());
        holds &= verdict.holds || accepts;
        let word = if accepts { "accepted" } else { &verdict.word };
        println!("{:<10} {count:>8} instructions, {word} ({})", counted.name, counted.what);
        counts.insert(counted.name.to_owned(), count);
    }
    if accepts {
        std::fs::write(&path, written(&counts)).with_context(|| format!("{BASELINE} cannot be written"))?;
    } else if !holds {
        println!("a change that is meant goes into {BASELINE} by: cargo xtask bench --gate --accept");
    }
    Ok(holds)
}

impl Counted {
    /// Instructions of one.
    fn count(&self) -> Result<u64> {
        let once = self.run(self.repeats)?;
        let twice = self.run(self.repeats * 2)?;
        let count = twice.saturating_sub(once) / (self.repeats * self.each);
        if count == 0 {
            bail!("{} takes no instruction, or fewer the second time: {once}, then {twice}", self.name);
        }
        Ok(count)
    }

    fn run(&self, repeats: u64) -> Result<u64> {
        let out = tool::target_dir().join("callgrind.out");
        let mut command = tool::program("valgrind", &["--tool=callgrind"]);
        if self.program != "pieces" {
            command.arg(IN_ENGINE);
        }
        command.arg(format!("--callgrind-out-file={}", out.display()));
        command.arg(tool::target_dir().join("release").join(self.program)).args([self.name, &repeats.to_string()]);
        let output = command.output().context("cannot start valgrind")?;
        let told = String::from_utf8_lossy(&output.stderr);
        match collected(&told) {
            Some(count) if output.status.success() => Ok(count),
            _ => bail!("valgrind counted nothing for {}:\n{told}", self.name),
        }
    }
}

/// What callgrind says that it has collected; `None` for nothing.
fn collected(told: &str) -> Option<u64> {
    let count = told.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    count.filter(|count| *count > 0)
}

struct Verdict {
    holds: bool,
    word: String,
}

fn verdict(count: u64, known: Option<u64>) -> Verdict {
    let Some(known) = known.filter(|known| *known > 0) else {
        return Verdict { holds: false, word: format!("NOT IN {BASELINE}") };
    };
    let holds = count.abs_diff(known) * 100 <= known * WITHIN_PERCENT;
    let moved = (count as f64 / known as f64 - 1.0) * 100.0;
    let word = if holds { "within" } else { "OUTSIDE" };
    Verdict { holds, word: format!("{moved:+.1} % of {known}: {word} {WITHIN_PERCENT} %") }
}

fn read(text: &str) -> Result<Counts> {
    let table: toml::Table = text.parse().with_context(|| format!("{BASELINE} cannot be read"))?;
    let count = |(name, value): (String, toml::Value)| {
        let count = value.as_integer().and_then(|count| u64::try_from(count).ok());
        let count = count.with_context(|| format!("{BASELINE}: {name} is no count of instructions: {value}"))?;
        Ok((name, count))
    };
    table.into_iter().map(count).collect()
}

/// The baseline in the order of the programs, each count with what it is of.
fn written(counts: &Counts) -> String {
    let mut out = String::from("# Instructions of one of each. Written by `cargo xtask bench --gate --accept`.\n");
    for Counted { name, what, .. } in &ALL {
        if let Some(count) = counts.get(*name) {
            out.push_str(&format!("{name} = {count} # {what}\n"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_what_callgrind_says() {
        assert_eq!(collected("==1== Events    : Ir\n==1== Collected : 270744579\n"), Some(270_744_579));
        assert_eq!(collected("==1== Collected : 0\n"), None);
        assert_eq!(collected("valgrind: no such program\n"), None);
    }

    #[test]
    fn a_count_that_moved_says_how_far() {
        assert!(verdict(105, Some(100)).holds && verdict(95, Some(100)).holds);
        for (count, word) in [(106, "+6.0 % of 100: OUTSIDE 5 %"), (94, "-6.0 % of 100: OUTSIDE 5 %")] {
            let verdict = verdict(count, Some(100));
            assert!(!verdict.holds);
            assert_eq!(verdict.word, word);
        }
        assert!(!verdict(100, None).holds && !verdict(100, Some(0)).holds);
    }

    #[test]
    fn the_baseline_is_read_as_it_is_written() {
        let counts: Counts = ALL.iter().zip(1_000..).map(|(counted, count)| (counted.name.to_owned(), count)).collect();
        assert_eq!(read(&written(&counts)).unwrap(), counts);
        assert!(read("parse = \"many\"").is_err() && read("parse = -1").is_err() && read("parse").is_err());
    }

    /// A count that nobody compares is no gate: the committed file has them all, and no other.
    #[test]
    fn the_committed_baseline_has_every_count() {
        let text = std::fs::read_to_string(tool::root().join(BASELINE)).unwrap();
        let names: Vec<String> = read(&text).unwrap().into_keys().collect();
        let mut known: Vec<&str> = ALL.iter().map(|counted| counted.name).collect();
        known.sort_unstable();
        assert_eq!(names, known);
    }
}
