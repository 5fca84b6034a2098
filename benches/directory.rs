//! The directory: bytes of a DID, lookup, one row changed, build, snapshot.
//!
//! `cargo bench -p benches --bench directory -- [--dids N] [--repeats N]`
//!
//! A lookup is measured in two ways, as README.md says: where the next does not need its answer, so that the processor may
//! wait for the memory of both at once, and where it does. One repeat is the median of all batches of a pass through the
//! numbers in random order.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::alloc::System;
use std::hint::black_box;
use std::time::Instant;

use benches::{Chance, Figure};
use directory::rows::text;
use directory::{
    Builder, Change, Changes, DidRow, Directory, Environment, Generation, OrganisationRow, Policy, snapshot,
};
use sip::Number;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Organisations of the made-up table.
const ORGANISATIONS: u64 = 10_000;
/// Consecutive numbers in a block.
const BLOCK_NUMBERS: u64 = 1_000;
/// Lookups between two looks at the clock.
const BATCH_LOOKUPS: usize = 64;
/// Single rows changed in one repeat.
const CHANGES: usize = 300;

/// How the numbers of the table lie.
#[derive(Clone, Copy)]
enum Spread {
    /// Anywhere among the ten thousand million of a country code, each row of any organisation.
    Random,
    /// In blocks of [`BLOCK_NUMBERS`] that begin anywhere, 50 neighbours of one organisation.
    Blocks,
}

fn main() {
    let option = |name: &str, default: u64| {
        let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
        arguments.next().and_then(|value| value.parse().ok()).unwrap_or(default)
    };
    let (dids, repeats) = (option("--dids", 1_000_000), option("--repeats", 5));
    for (name, spread) in [("random numbers", Spread::Random), ("consecutive blocks", Spread::Blocks)] {
        println!("{dids} DIDs, {name}; figures are median (min to max) of {repeats} repeats");
        run(spread, dids, repeats);
    }
}

fn run(spread: Spread, dids: u64, repeats: u64) {
    let numbers = numbers(spread, dids);
    let region = Region::new(ALLOCATOR);
    let rss_before = resident_bytes();
    let started = Instant::now();
    let directory = built(spread, &numbers);
    println!("  build from rows, ms                    {:.0}", milliseconds(started));
    let change = region.change();
    let held = change.bytes_allocated.saturating_sub(change.bytes_deallocated);
    println!("  bytes per DID, all that was allocated  {:.1}", share(held as u64, dids));
    println!("  bytes per DID, resident                {:.1}", share(resident_bytes() - rss_before, dids));
    let memory = directory.did_memory();
    println!("  bytes per DID, lookup                  {:.1}", share(memory.lookup as u64, dids));
    println!("  bytes per DID, which row it is         {:.1}", share(memory.identity as u64, dids));
    println!("  bytes per DID, index of rows           {:.1}", share(memory.index as u64, dids));

    for (what, bytes) in
        [("lookups read", memory.lookup), ("everything", memory.lookup + memory.identity + memory.index)]
    {
        let lines = Lines::new(bytes);
        let floor = Figure::of((0..repeats).map(|_| lines.walk()));
        println!("  one random cache line of what {what}, ns  {floor}  ({:.1} MB)", bytes as f64 / 1e6);
    }
    let order = shuffled(&numbers);
    let times = |run: &dyn Fn() -> f64| Figure::of((0..repeats).map(|_| run()));
    println!("  did(), ns, no lookup waits for another {}", times(&|| lookups(&directory, &order)));
    println!("  did(), ns, each waits for the last     {}", times(&|| waiting_lookups(&directory, &order)));
    println!("  route(), ns, the same                  {}", times(&|| routes(&directory, &order)));
    println!("  did() of no DID, ns                    {}", times(&|| absent_lookups(&directory, &order)));

    let changes: Vec<[f64; 4]> = (0..repeats).map(|repeat| single_changes(&directory, &numbers, repeat)).collect();
    let column = |at: usize| Figure::of(changes.iter().filter_map(|times| times.get(at).copied()));
    println!("  one row changed, us, median            {}", column(0));
    println!("  one row changed, us, 99th of 100       {}", column(1));
    println!("  one row changed, us, worst             {}", column(2));
    println!("  the old one dropped, us, worst         {}", column(3));

    let bytes = snapshot::encode(&directory);
    let encoding = times(&|| timed(|| drop(black_box(snapshot::encode(&directory)))));
    let decoding = times(&|| timed(|| drop(black_box(snapshot::decode(&bytes, &Policy::default())))));
    println!("  snapshot, bytes per DID                {:.1}", share(bytes.len() as u64, dids));
    println!("  snapshot written, ms                   {encoding}");
    println!("  snapshot read, ms                      {decoding}");
}

fn numbers(spread: Spread, count: u64) -> Vec<u64> {
    let mut chance = Chance::new(1);
    let mut numbers: Vec<u64> = Vec::new();
    while (numbers.len() as u64) < count {
        match spread {
            Spread::Random => numbers.extend((0..count).map(|_| 910_000_000_000 + chance.below(10_000_000_000))),
            Spread::Blocks => {
                let block = 910_000_000_000 + chance.below(10_000_000_000 / BLOCK_NUMBERS) * BLOCK_NUMBERS;
                numbers.extend(block..block + BLOCK_NUMBERS);
            }
        }
        if numbers.len() as u64 >= count {
            numbers.sort_unstable();
            numbers.dedup();
        }
    }
    // What is too much goes evenly, so that no end of the range is cut off.
    let excess = numbers.len() as u64 - count;
    let step = (numbers.len() as u64).checked_div(excess).unwrap_or(u64::MAX);
    let mut left = excess;
    let mut place = 0;
    numbers.retain(|_| {
        place += 1;
        let goes = left > 0 && place % step == 0;
        left -= u64::from(goes);
        !goes
    });
    numbers
}

fn organisation_id(at: u64) -> String {
    uuid(&mut Chance::new(at << 8 | 0x5a))
}

fn uuid(chance: &mut Chance) -> String {
    let mut text = format!("{:016x}{:016x}", chance.next(), chance.next());
    for at in [8, 13, 18, 23] {
        text.insert(at, '-');
    }
    text
}

/// The row of the DID at a place of the table.
fn row(spread: Spread, at: u64, number: u64) -> DidRow {
    let mut chance = Chance::new(at << 1);
    let organisation = match spread {
        Spread::Random => chance.below(ORGANISATIONS),
        Spread::Blocks => Chance::new(number / 50).below(ORGANISATIONS),
    };
    let environment = match chance.below(20) {
        0 => Environment::Oss,
        1..=3 => Environment::Staging,
        _ => Environment::Prod,
    };
    DidRow {
        updated_at: text(&(1_700_000_000 + chance.below(60_000_000)).to_string()),
        provider: text(if chance.below(4) == 0 { "second" } else { "first" }),
        ..DidRow::assigned(&uuid(&mut chance), &organisation_id(organisation), &number.to_string(), environment)
    }
}

fn built(spread: Spread, numbers: &[u64]) -> Directory {
    let policy = Policy::default();
    let mut builder = Builder::new(&policy, None);
    for at in 0..ORGANISATIONS {
        builder.organisation(&OrganisationRow::active(&organisation_id(at), "made up", &format!("org_{at}_")));
    }
    for (number, at) in numbers.iter().zip(0..) {
        builder.did(&row(spread, at, *number));
    }
    let directory = builder.finish(Generation(1));
    assert_eq!((directory.did_count(), directory.fault_count()), (numbers.len(), 0));
    directory
}

fn shuffled(numbers: &[u64]) -> Vec<Number> {
    let mut chance = Chance::new(7);
    let mut order: Vec<Number> = numbers.iter().filter_map(|&digits| Number::from_digits(digits)).collect();
    for at in (1..order.len()).rev() {
        let other = usize::try_from(chance.below(at as u64 + 1)).unwrap_or(0);
        order.swap(at, other);
    }
    order.truncate(2_000_000);
    order
}

fn lookups(directory: &Directory, order: &[Number]) -> f64 {
    batches(order, |number| {
        black_box(&directory.did(black_box(number)));
    })
}

fn routes(directory: &Directory, order: &[Number]) -> f64 {
    batches(order, |number| {
        black_box(&directory.route(black_box(number), None));
    })
}

fn absent_lookups(directory: &Directory, order: &[Number]) -> f64 {
    batches(order, |number| {
        let other = Number::from_digits(number.digits() - 10_000_000_000);
        black_box(other.and_then(|other| directory.did(black_box(other))));
    })
}

/// Nanoseconds of a lookup when the key of each depends on the answer of the last.
fn waiting_lookups(directory: &Directory, order: &[Number]) -> f64 {
    let nothing: usize = black_box(0);
    let mut answers = 0;
    let samples = order.chunks_exact(BATCH_LOOKUPS).map(|batch| {
        let started = Instant::now();
        for at in 0..BATCH_LOOKUPS {
            let number = batch.get(at + (answers & nothing));
            let found = number.and_then(|number| directory.did(*number));
            answers += found.map_or(0, |did| did.environment as usize + 1);
        }
        started.elapsed().as_nanos() as f64 / BATCH_LOOKUPS as f64
    });
    Figure::of(samples).median()
}

fn batches(order: &[Number], lookup: impl Fn(Number)) -> f64 {
    let samples = order.chunks_exact(BATCH_LOOKUPS).map(|batch| {
        let started = Instant::now();
        for &number in batch {
            lookup(number);
        }
        started.elapsed().as_nanos() as f64 / BATCH_LOOKUPS as f64
    });
    Figure::of(samples).median()
}

/// Microseconds of one changed row: median, 99th percentile, worst; and the worst drop of the directory before.
fn single_changes(directory: &Directory, numbers: &[u64], seed: u64) -> [f64; 4] {
    let mut chance = Chance::new(seed);
    let mut current = directory.with_overlays(Generation(1), directory.overlays().clone());
    let (mut changed, mut dropped) = (Vec::new(), Vec::new());
    for generation in 0..CHANGES as u64 {
        let at = chance.below(numbers.len() as u64);
        let number = usize::try_from(at).ok().and_then(|at| numbers.get(at)).copied().unwrap_or_default();
        let moved = DidRow { routing_environment: text("oss"), ..row(Spread::Random, at, number) };
        let changes = Changes { dids: vec![Change::Upsert(moved)], ..Changes::default() };
        let started = Instant::now();
        let next = current.apply(Generation(generation), &changes);
        changed.push(milliseconds(started) * 1_000.0);
        let old = std::mem::replace(&mut current, next);
        let started = Instant::now();
        drop(old);
        dropped.push(milliseconds(started) * 1_000.0);
    }
    assert!(current.did_count() == directory.did_count());
    let (changed, dropped) = (Figure::of(changed), Figure::of(dropped));
    [changed.median(), changed.percentile(99), changed.percentile(100), dropped.percentile(100)]
}

fn timed(run: impl FnOnce()) -> f64 {
    let started = Instant::now();
    run();
    milliseconds(started)
}

/// Cache lines in one round: each holds the place of the next, so that a walk waits for one line after the other. What a
/// walk takes is the least that a lookup of one line can take on this machine.
struct Lines(Vec<Line>);

#[repr(align(64))]
struct Line {
    next: usize,
}

impl Lines {
    fn new(bytes: usize) -> Lines {
        let count = (bytes / size_of::<Line>()).max(1);
        let mut lines: Vec<Line> = (0..count).map(|next| Line { next }).collect();
        let mut chance = Chance::new(11);
        // Sattolo's shuffle leaves one round and no shorter ones.
        for at in (1..count).rev() {
            let other = usize::try_from(chance.below(at as u64)).unwrap_or(0);
            let next = lines.get(other).map_or(0, |line| line.next);
            let Some(line) = lines.get_mut(at) else { continue };
            let taken = std::mem::replace(&mut line.next, next);
            if let Some(line) = lines.get_mut(other) {
                line.next = taken;
            }
        }
        Lines(lines)
    }

    /// Nanoseconds of one step.
    fn walk(&self) -> f64 {
        let mut at = 0;
        let samples: Vec<f64> = (0..20_000)
            .map(|_| {
                let started = Instant::now();
                for _ in 0..BATCH_LOOKUPS {
                    at = self.0.get(at).map_or(0, |line| line.next);
                }
                started.elapsed().as_nanos() as f64 / BATCH_LOOKUPS as f64
            })
            .collect();
        black_box(at);
        Figure::of(samples).median()
    }
}

fn milliseconds(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1_000.0
}

fn share(bytes: u64, dids: u64) -> f64 {
    bytes as f64 / dids as f64
}

/// What the process holds in memory, in bytes; 0 where that is not told.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap_or_default();
    kilobytes * 1_024
}
