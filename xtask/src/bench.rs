//! `cargo xtask bench`: the side-by-side runs, and the gate on instruction counts. `cargo xtask soak`: the long run.
//!
//! The measuring is done by programs of the package `benches`; this builds them, with everything that they measure.

use anyhow::Result;
use clap::Args;

use crate::test::install;
use crate::{gate, tool};

/// The page whose table the comparison writes.
const PAGE: &str = "docs/explanation/performance.md";
const PROGRAMS: [&str; 4] = ["switchyard", "load", "relay", "measure"];

/// One of the two must be asked for.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct What {
    /// Measure our proxy beside these, on two cores that should do nothing else: `kamailio,relay`.
    #[arg(long, value_name = "PEERS")]
    against: Option<String>,
    /// Hold the instruction counts of each piece and of whole calls to benches/baseline.toml.
    #[arg(long)]
    gate: bool,
}

/// What to measure, and how long.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    what: What,
    /// Write the counts into benches/baseline.toml in place of holding them to it.
    #[arg(long, requires = "gate", conflicts_with = "against")]
    accept: bool,
    /// Rounds of the side-by-side runs (3, or 2 with --quick).
    #[arg(long, requires = "against", conflicts_with = "gate")]
    repeats: Option<u64>,
    /// Seconds of each of their runs (5, or 2 with --quick).
    #[arg(long, requires = "against", conflicts_with = "gate")]
    seconds: Option<u64>,
    /// Calls a second of their runs at a fixed rate (5,000).
    #[arg(long, requires = "against", conflicts_with = "gate")]
    rate: Option<u64>,
    /// About five minutes in place of fifteen.
    #[arg(long, requires = "against", conflicts_with = "gate")]
    quick: bool,
    /// Leave their highest rates out, and what is measured at a part of them.
    #[arg(long, requires = "against", conflicts_with = "gate")]
    brief: bool,
    /// Write the table into this folder alone, and not into docs/explanation/performance.md.
    #[arg(long, requires = "against", conflicts_with = "gate", value_name = "FOLDER")]
    results: Option<String>,
}

/// How long.
#[derive(Args)]
pub(crate) struct SoakOptions {
    /// Minutes of load.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Seconds of a turn, which has one fault.
    #[arg(long, default_value_t = 60)]
    turn_seconds: u64,
    /// Calls a second, in place of half of the highest rate.
    #[arg(long)]
    rate: Option<u64>,
    /// The process is killed too, in a turn of its own.
    #[arg(long)]
    kill: bool,
    /// Where the readings go, in place of benches/results.
    #[arg(long, value_name = "FOLDER")]
    results: Option<String>,
}

/// True when everything was measured, or is within the gate.
pub(crate) fn run(options: &Options) -> Result<bool> {
    install::packages()?;
    match &options.what.against {
        Some(peers) => measured(options.results.as_deref(), &words_of_against(peers, options)),
        None => gate::run(options.accept),
    }
}

/// True when the verdict is good.
pub(crate) fn soak(options: &SoakOptions) -> Result<bool> {
    install::packages()?;
    measured(options.results.as_deref(), &words_of_soak(options))
}

fn words_of_against(peers: &str, options: &Options) -> Vec<String> {
    let mut words = vec!["against".to_owned(), "--others".to_owned(), peers.to_owned()];
    let numbers = [("--repeats", options.repeats), ("--seconds", options.seconds), ("--rate", options.rate)];
    words.extend(with_values(&numbers));
    words.extend([("--quick", options.quick), ("--brief", options.brief)].into_iter().filter_map(flag));
    if options.results.is_none() {
        words.extend(["--page".to_owned(), PAGE.to_owned()]);
    }
    words
}

fn words_of_soak(options: &SoakOptions) -> Vec<String> {
    let mut words = vec!["soak".to_owned()];
    let numbers = [
        ("--minutes", Some(options.minutes)),
        ("--turn-seconds", Some(options.turn_seconds)),
        ("--rate", options.rate),
    ];
    words.extend(with_values(&numbers));
    words.extend(flag(("--kill", options.kill)));
    words
}

fn with_values(numbers: &[(&str, Option<u64>)]) -> Vec<String> {
    let pair = |(name, value): &(&str, Option<u64>)| Some([(*name).to_owned(), (*value)?.to_string()]);
    numbers.iter().filter_map(pair).flatten().collect()
}

fn flag((name, is_set): (&str, bool)) -> Option<String> {
    is_set.then(|| name.to_owned())
}

/// Builds everything that is measured, and runs the program that measures it.
fn measured(results: Option<&str>, words: &[String]) -> Result<bool> {
    let mut build = tool::cargo(&["build", "--release", "--workspace"]);
    PROGRAMS.into_iter().for_each(|program| {
        build.args(["--bin", program]);
    });
    if !tool::succeeds(&mut build)? {
        return Ok(false);
    }
    let programs = tool::target_dir().join("release");
    let mut measure = tool::program(programs.join("measure"), &[]);
    measure.arg("--programs").arg(&programs).args(["--results", results.unwrap_or("benches/results")]);
    tool::succeeds(measure.args(words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Bench {
        #[command(flatten)]
        options: Options,
    }

    fn parse(words: &str) -> Result<Options, clap::Error> {
        Bench::try_parse_from(words.split(' ')).map(|bench| bench.options)
    }

    #[test]
    fn what_was_asked_for_is_handed_on() {
        let options = parse("bench --against kamailio,relay --rate 200 --repeats 1 --quick").unwrap();
        let words = words_of_against("kamailio,relay", &options).join(" ");
        assert_eq!(words, format!("against --others kamailio,relay --repeats 1 --rate 200 --quick --page {PAGE}"));
        let options = parse("bench --against relay --results elsewhere").unwrap();
        assert_eq!(words_of_against("relay", &options).join(" "), "against --others relay");
        let soak = SoakOptions { minutes: 2, turn_seconds: 15, rate: Some(200), kill: true, results: None };
        assert_eq!(words_of_soak(&soak).join(" "), "soak --minutes 2 --turn-seconds 15 --rate 200 --kill");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for words in ["bench", "bench --gate --against relay", "bench --against relay --accept", "bench --gate --quick"]
        {
            assert!(parse(words).is_err(), "{words}");
        }
        assert!(parse("bench --gate --accept").is_ok_and(|options| options.accept && options.what.gate));
    }
}
