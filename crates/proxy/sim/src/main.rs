//! `simulation --seeds N --from S --jobs J`, or `--seed S --trace`: what `cargo xtask sim` runs.
#![expect(clippy::print_stdout, reason = "a command line tool speaks to the terminal")]
#![expect(clippy::disallowed_methods, reason = "how fast the seeds run is no part of any seed")]

use clap::Parser;
use simulation::{Depth, Failure, Told, World, run};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Runs calls by chance against the core, and checks its invariants after every step.
#[derive(Parser)]
#[command(name = "cargo xtask sim")]
struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Threads.
    #[arg(long, default_value_t = 1)]
    jobs: u64,
    /// This seed alone.
    #[arg(long)]
    seed: Option<u64>,
    /// With --seed: every message, in order.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// With --trace: every byte of every message.
    #[arg(long, requires = "trace")]
    bytes: bool,
    /// Goes on after a failing seed, and lists them all.
    #[arg(long)]
    keep_going: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let failures = match arguments.seed {
        Some(seed) => replay(seed, arguments.depth()),
        None => run_all(&arguments),
    };
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Arguments {
    fn depth(&self) -> Depth {
        match (self.trace, self.bytes) {
            (false, _) => Depth::Nothing,
            (true, false) => Depth::Lines,
            (true, true) => Depth::Bytes,
        }
    }
}

fn tell(failure: &Failure) {
    println!("seed {} broke at {} ms: {}", failure.seed, failure.at_ms, failure.what);
    println!("  replay: cargo xtask sim --seed {} --trace", failure.seed);
}

fn replay(seed: u64, depth: Depth) -> Vec<Failure> {
    let mut world = World::new(seed, None, depth);
    println!("seed {seed}\n{}", world.weather());
    let ran = world.run();
    for line in world.trace() {
        println!("{line}");
    }
    match ran {
        Ok(told) => {
            println!("{told:?}");
            Vec::new()
        }
        Err(failure) => {
            tell(&failure);
            vec![failure]
        }
    }
}

/// What all threads share.
struct Shared {
    next: AtomicU64,
    end: u64,
    stop: AtomicBool,
    found: Mutex<(Told, Vec<Failure>)>,
}

fn run_all(arguments: &Arguments) -> Vec<Failure> {
    let end = arguments.from.saturating_add(arguments.seeds);
    let shared =
        Shared { next: AtomicU64::new(arguments.from), end, stop: AtomicBool::new(false), found: Mutex::default() };
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            scope.spawn(|| work(&shared, arguments, begun));
        }
    });
    let found = shared.found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (told, failures) = found;
    let (count, secs) = (arguments.seeds, begun.elapsed().as_secs_f64());
    println!("{count} seeds from {} in {secs:.1} s, {} failures\n{told:?}", arguments.from, failures.len());
    failures
}

fn work(shared: &Shared, arguments: &Arguments, begun: Instant) {
    while !shared.stop.load(Ordering::Relaxed) {
        let seed = shared.next.fetch_add(1, Ordering::Relaxed);
        if seed >= shared.end {
            return;
        }
        let ran = run(seed, None);
        let mut found = shared.found.lock().unwrap_or_else(PoisonError::into_inner);
        match ran {
            Ok(told) => found.0.add(&told),
            Err(failure) => {
                tell(&failure);
                found.1.push(failure);
                shared.stop.fetch_or(!arguments.keep_going, Ordering::Relaxed);
            }
        }
        let done = seed - arguments.from + 1;
        if done.is_multiple_of(5_000) {
            let rate = seeds_per_second(done, begun);
            println!("{done} seeds, {rate:.0} per second, {} failures", found.1.len());
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for a person to read")]
fn seeds_per_second(done: u64, begun: Instant) -> f64 {
    done as f64 / begun.elapsed().as_secs_f64().max(0.001)
}
