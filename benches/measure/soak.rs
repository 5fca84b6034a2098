//! The long run: half of the highest rate for many minutes, with a fault in each, and a verdict at the end.
//!
//! A turn is one run of the load generator with one fault in its middle. Gauges are read every second, all the time.

mod readings;
mod trouble;
mod verdict;

use crate::gauges::gauge;
use crate::generator::{load, warm_up};
use crate::peer::Running;
use crate::subject::{Profile, Program, Subject};
use crate::{Folder, Places};
use anyhow::{Context, Result, bail};
use readings::{Reader, Reading};
use std::time::{Duration, Instant};
use std::{fs, thread};
use trouble::{Scene, Trouble};
use verdict::{Leftover, Turn};

/// How long, and how fast.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Minutes of load.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// Seconds of a turn, which has one fault.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(15..))]
    turn_seconds: u64,
    /// Calls a second, in place of half of the highest rate.
    #[arg(long)]
    rate: Option<u64>,
    /// The process is killed too, in a turn of its own. What grows over days is seen without it.
    #[arg(long)]
    kill: bool,
}

/// Of a turn, these are left for calls to end and the next run to begin.
const TAIL_SECONDS: u64 = 5;
/// Longer than any transaction of a finished call lingers.
const QUIET: Duration = Duration::from_secs(60);
const RINGS: &str = "200";
const TALKS: &str = "1000";

/// Runs it, and writes `soak.md`, `soak.csv` and `soak.svg`. True when the verdict is good.
pub(crate) fn run(places: &Places, options: &Options) -> Result<bool> {
    let folder = Folder::new()?;
    let subject = Subject::Ours;
    let running = Running::start(places, Program::Switchyard(Profile::Soak), folder.path())?;
    warm_up(places, subject)?;
    let rate = match options.rate {
        Some(rate) => rate.max(1),
        None => {
            let words = ["--find-highest", "--rate", "1000", "--seconds", "3", "--settle-seconds", "3"];
            (load(places, subject, &words)?.figure("highest_rate")? / 2.0) as u64
        }
    };
    if rate == 0 {
        bail!("no rate is carried");
    }
    let turns = (options.minutes * 60).div_ceil(options.turn_seconds).max(1) as usize;
    println!("soak: {rate} calls/s for {} minutes, {turns} turns of {} s", options.minutes, options.turn_seconds);
    warm_up(places, subject)?;
    let reader = Reader::start();
    let mut scene = Scene { places, folder: folder.path(), running };
    let mut all = Vec::new();
    for trouble in Trouble::all(options.kill).cycle().take(turns) {
        let turn = one_turn(&mut scene, &reader, trouble, rate, options.turn_seconds)
            .with_context(|| format!("turn {} ({trouble}); the log has:\n{}", all.len() + 1, log_of(&folder)))?;
        println!("turn {} of {turns}, {}", all.len() + 1, turn);
        all.push(turn);
    }
    let leftover = leftover()?;
    let readings = reader.end();
    let verdict = verdict::of(&all, &readings, leftover);
    write(places, rate, &all, &readings, &verdict)?;
    verdict.wrong.iter().chain(&verdict.notes).for_each(|what| println!("soak: {what}"));
    println!("verdict: {}", verdict.word());
    Ok(verdict.wrong.is_empty())
}

fn log_of(folder: &Folder) -> String {
    fs::read_to_string(folder.path().join("log")).unwrap_or_default()
}

fn one_turn(scene: &mut Scene<'_>, reader: &Reader, trouble: Trouble, rate: u64, seconds: u64) -> Result<Turn> {
    let places = scene.places;
    let begun = reader.now_s();
    let load_seconds = seconds.saturating_sub(TAIL_SECONDS).max(10);
    let after = Duration::from_secs(load_seconds / 4);
    let (told, made) = thread::scope(|scope| {
        let making = scope.spawn(|| {
            thread::sleep(after);
            // What is undone is undone within the turn.
            trouble.make(scene, Duration::from_secs(load_seconds / 2))
        });
        let (rate, seconds) = (rate.to_string(), load_seconds.to_string());
        let words = ["--rate", &rate, "--seconds", &seconds, "--ring-ms", RINGS, "--talk-ms", TALKS];
        let told = load(places, Subject::Ours, &words);
        let made = making.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the fault could not be made")));
        (told, made)
    });
    let (told, made) = (told?, made.with_context(|| format!("{trouble} could not be made"))?);
    scene.running.is_alive()?;
    Ok(Turn {
        trouble,
        made,
        begun_s: begun,
        ended_s: reader.now_s(),
        begun: told.figure("begun")?,
        completed: told.figure("completed")?,
        refused: told.figure("refused")?,
        refused_503: told.figure("refused_503")?,
        faults: told.figure("faults")?,
        sent_again: told.figure("sent_again")?,
        p99_us: told.figure("answered_p99_us")?,
    })
}

/// Waits until nothing is open any more, or for [`QUIET`]; what is open then.
fn leftover() -> Result<Leftover> {
    let begun = Instant::now();
    loop {
        let left = Leftover {
            transactions: gauge("switchyard_open_transactions")?,
            calls: gauge("switchyard_calls_in_progress")?,
            directory_trouble: gauge("switchyard_directory_trouble")?,
        };
        if left == Leftover::default() || begun.elapsed() > QUIET {
            return Ok(left);
        }
        thread::sleep(Duration::from_millis(200));
    }
}

fn write(places: &Places, rate: u64, all: &[Turn], readings: &[Reading], verdict: &verdict::Verdict) -> Result<()> {
    places.write("soak.csv", &readings::csv(readings, all))?;
    places.write("soak.svg", &readings::chart(readings, all))?;
    places.write("soak.md", &verdict::page(rate, all, readings, verdict))
}
