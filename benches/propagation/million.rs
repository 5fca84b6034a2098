//! A large table: loaded from the engine, started from the snapshot without it, changed row by row.

use std::time::{Duration, Instant};

use benches::Figure;
use directory::Environment;
use sync::{Detection, SNAPSHOT_NAME, Settings};

use crate::Options;
use crate::client::Client;
use crate::place::{Kind, Place};
use crate::stream::print_calls;
use crate::worker::{self, Calls};

/// How often everything is loaded.
const LOADS: usize = 3;
/// Rows changed one by one.
const CHANGES: u64 = 200;

/// Runs it and prints its figures.
pub(crate) async fn run(name: &str, kind: Kind, options: &Options) {
    let place = Place::make(kind, options.dids, Detection::Auto).await;
    println!("{name}: {} rows", options.dids);
    let (mut loads, resident_before) = (Vec::new(), resident_mb("VmRSS:"));
    let settings = || Settings { reconcile_interval: Duration::from_secs(3_600), ..place.settings(Detection::Auto) };
    let with_snapshot = || Settings { snapshot_dir: Some(place.folder()), ..settings() };
    for _ in 1..LOADS {
        let begun = Instant::now();
        let watcher = place.watch(settings()).await;
        loads.push(begun.elapsed().as_secs_f64());
        watcher.stop().await;
    }
    let begun = Instant::now();
    let watcher = sync::start(with_snapshot()).await.unwrap();
    while !watcher.status().is_loaded {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    loads.push(begun.elapsed().as_secs_f64());
    println!("  loaded from the engine, s              {}", Figure::of(loads));
    println!("  resident, MB                           {:.0} ({:.0} before)", resident_mb("VmRSS:"), resident_before);
    println!("  resident at most, MB                   {:.0}", resident_mb("VmHWM:"));
    println!("  changes are found by                   {}", watcher.status().detection);
    let calls = Calls::start(watcher.published(), options.dids);
    let mut client = Client::open(&place.root_url).await.unwrap();
    let mut reader = watcher.published().reader();
    let (mut lags, mut lost) = (Vec::new(), 0);
    for turn in 0..CHANGES {
        let at = turn * 4_999 % options.dids;
        client.run(Place::moves(at, "oss")).await.unwrap();
        let committed = Instant::now();
        match worker::until(&mut reader, at, |did| did.environment == Environment::Oss) {
            Some(seen) => lags.push((seen - committed).as_secs_f64() * 1e3),
            None => lost += 1,
        }
    }
    let lags = Figure::of(lags);
    println!(
        "  commit to the next call, ms            min {:.2}  median {:.2}  p99 {:.2}  max {:.2}  ({CHANGES} changes, {lost} lost)",
        lags.percentile(0),
        lags.median(),
        lags.percentile(99),
        lags.percentile(100)
    );
    print_calls("beside it", calls);
    watcher.stop().await;
    drop(watcher);
    let snapshot = std::fs::metadata(place.folder().join(SNAPSHOT_NAME)).unwrap().len();
    println!("  snapshot, MB                           {:.1}", snapshot as f64 / 1e6);
    from_snapshot(&place, with_snapshot()).await;
}

/// Starts without the database.
async fn from_snapshot(place: &Place, settings: Settings) {
    // A port and a file where nothing is.
    let url = match place.kind {
        Kind::MariaDb => "mysql://switchyard@127.0.0.1:9/none".to_owned(),
        Kind::Postgres => "postgres://switchyard@127.0.0.1:9/none".to_owned(),
        Kind::Sqlite => format!("sqlite://{}/none.db", place.folder().display()),
    };
    let mut starts = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        let watcher = sync::start(Settings { url: url.clone(), ..settings.clone() }).await.unwrap();
        starts.push(begun.elapsed().as_secs_f64());
        assert!(watcher.status().is_from_snapshot);
        watcher.stop().await;
    }
    println!("  started from the snapshot, s           {}", Figure::of(starts));
}

/// What the kernel says of this process's memory.
fn resident_mb(line: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|found| found.strip_prefix(line)).unwrap_or_default();
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse().unwrap_or_default();
    kilobytes / 1_024.0
}
