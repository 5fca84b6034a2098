//! One change at a time, each waited for: how long from the commit until the next call goes elsewhere.

use std::time::{Duration, Instant};

use benches::{Chance, Figure};
use directory::Environment;
use sync::Detection;

use crate::client::Client;
use crate::place::{Kind, Place};
use crate::{Options, cpu, worker};

/// How long the polling alone is measured.
const IDLE: Duration = Duration::from_secs(10);

/// The longest that changes are made, and the most that may be lost: a run ends by itself, whatever happens.
const TIME_MAX: Duration = Duration::from_secs(900);
const LOST_MAX: u32 = 3;

/// Runs it and prints its figures.
pub(crate) async fn run(name: &str, kind: Kind, detection: Detection, options: &Options) {
    let place = Place::make(kind, options.rows, detection).await;
    let watcher = place.watch(place.settings(detection)).await;
    println!("{name}: {} rows, found by {}", options.rows, watcher.status().detection);
    idle(&place).await;
    let mut client = Client::open(&place.root_url).await.unwrap();
    let mut reader = watcher.published().reader();
    let mut chance = Chance::new(11);
    let (mut commits, mut lags, mut lost) = (Vec::new(), Vec::new(), 0_u32);
    let (used, began) = (cpu::of_thread("sync") + cpu::of_thread("sqlx-sqlite"), Instant::now());
    // Up to two polls long, so that changes fall anywhere between two looks.
    let rest_us = match (watcher.status().detection, kind) {
        ("compare", Kind::MariaDb | Kind::Postgres) => 500_000,
        _ => 50_000,
    };
    for turn in 0..options.changes {
        if began.elapsed() > TIME_MAX || lost >= LOST_MAX {
            println!("  ended after {turn} of {} changes", options.changes);
            break;
        }
        tokio::time::sleep(Duration::from_micros(chance.below(rest_us))).await;
        // Each DID goes there and back: no more of them move than the guard lets through.
        let at = turn / 2 % 1_000;
        let (word, wanted) = [("oss", Environment::Oss), ("prod", Environment::Prod)][usize::from(turn % 2 == 1)];
        let begun = Instant::now();
        client.run(Place::moves(at, word)).await.unwrap();
        let committed = Instant::now();
        commits.push((committed - begun).as_secs_f64() * 1e3);
        match worker::until(&mut reader, at, |did| did.environment == wanted) {
            Some(seen) => lags.push((seen - committed).as_secs_f64() * 1e3),
            None => lost += 1,
        }
    }
    let made = commits.len();
    let (commits, lags) = (Figure::of(commits), Figure::of(lags));
    let used = (cpu::of_thread("sync") + cpu::of_thread("sqlx-sqlite")).saturating_sub(used);
    println!("  the client's statement and commit, ms  {commits}");
    println!(
        "  percent of a core, us, with changes    {:.1}",
        100.0 * used.as_secs_f64() / began.elapsed().as_secs_f64()
    );
    println!("  processor for a change, ms, us         {:.1}", used.as_secs_f64() * 1e3 / made as f64);
    println!(
        "  commit to the next call, ms            min {:.2}  median {:.2}  p99 {:.2}  max {:.2}  ({} changes, {lost} lost)",
        lags.percentile(0),
        lags.median(),
        lags.percentile(99),
        lags.percentile(100),
        made
    );
    watcher.stop().await;
}

/// What looking for changes costs while there are none.
async fn idle(place: &Place) {
    let used = || (cpu::of_server(&place.processes()), cpu::of_thread("sync") + cpu::of_thread("sqlx-sqlite"));
    let (before, begun) = (used(), Instant::now());
    tokio::time::sleep(IDLE).await;
    let (after, took) = (used(), begun.elapsed());
    let share =
        |before: Duration, after: Duration| 100.0 * after.saturating_sub(before).as_secs_f64() / took.as_secs_f64();
    println!("  looking, percent of a core, server     {:.1}", share(before.0, after.0));
    println!("  looking, percent of a core, us         {:.1}", share(before.1, after.1));
}
