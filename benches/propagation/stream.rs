//! A stream of changes by several clients, with calls beside it; whole, or with cut connections and a killed server.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use benches::Figure;
use sync::{Detection, Published};

use crate::client::Client;
use crate::place::{Kind, Place};
use crate::worker::{self, Calls};
use crate::{Options, cpu};

/// Clients that write side by side.
const CLIENTS: u64 = 16;
/// Changes that the one client of a file commits together: who writes a file syncs it to the disk for each commit, and
/// keeps others out meanwhile.
const COMMITTED_TOGETHER: u64 = 20;
/// DIDs that each client writes to, one after the other.
const DIDS_EACH: u64 = 1_000;
/// How long calls are measured without a stream, to compare with.
const QUIET: Duration = Duration::from_secs(10);
/// How long the last changes are waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// One committed change that was not seen yet.
struct Commit {
    at: u64,
    call_limit: u64,
    committed: Instant,
}

/// Commits of each client, in the order in which they were made.
type Commits = Arc<[Mutex<VecDeque<Commit>>]>;

/// How many clients write to an engine, and how many changes each commits together.
const fn clients(kind: Kind) -> (u64, u64) {
    match kind {
        Kind::MariaDb | Kind::Postgres => (CLIENTS, 1),
        Kind::Sqlite => (1, COMMITTED_TOGETHER),
    }
}

/// A stream of changes without any trouble, found as the engine is found by default.
pub(crate) async fn run(name: &str, kind: Kind, options: &Options) {
    // A file has triggers only where they are asked for.
    let detection = if kind == Kind::Sqlite { Detection::Compare } else { Detection::Auto };
    let place = Place::make(kind, options.rows, detection).await;
    let watcher = place.watch(place.settings(detection)).await;
    println!("{name}: {} rows, found by {}", options.rows, watcher.status().detection);
    let calls = Calls::start(watcher.published(), options.rows);
    tokio::time::sleep(QUIET).await;
    print_calls("quiet", calls);
    let calls = Calls::start(watcher.published(), options.rows);
    let used = || (cpu::of_server(&place.processes()), cpu::of_thread("sync") + cpu::of_thread("sqlx-sqlite"));
    let before = used();
    let took = stream(&place, watcher.published(), options.rate, options.seconds, || {}).await;
    let after = used();
    print_calls("in the stream", calls);
    let share =
        |before: Duration, after: Duration| 100.0 * after.saturating_sub(before).as_secs_f64() / took.as_secs_f64();
    println!("  percent of a core, server              {:.1}", share(before.0, after.0));
    println!("  percent of a core, us                  {:.1}", share(before.1, after.1));
    watcher.stop().await;
}

/// A stream, in which our connections are cut every two seconds and the server is killed once.
pub(crate) async fn run_broken(name: &str, kind: Kind, options: &Options) {
    let place = Place::make(kind, options.rows, Detection::Auto).await;
    let watcher = place.watch(place.settings(Detection::Auto)).await;
    let (rate, seconds) = (options.rate.min(200), options.seconds.min(20));
    println!("{name}: {} rows, found by {}", options.rows, watcher.status().detection);
    let begun = Instant::now();
    let (mut cuts, mut is_killed) = (1, false);
    let server = place.server.expect("a server");
    let trouble = || {
        if !is_killed && begun.elapsed() > Duration::from_secs(seconds / 2) {
            is_killed = true;
            server.kill();
            server.start();
        } else if begun.elapsed() > Duration::from_secs(2 * cuts) {
            cuts += 1;
            cut(&place);
        }
    };
    stream(&place, watcher.published(), rate, seconds, trouble).await;
    println!("  our connections cut, times             {}", cuts - 1);
    println!("  server killed and started again        {is_killed}");
    watcher.stop().await;
}

/// Cuts the writer's connections.
fn cut(place: &Place) {
    let (url, kind) = (place.root_url.clone(), place.kind);
    tokio::spawn(async move {
        let mut client = Client::open(&url).await?;
        match kind {
            Kind::Postgres => {
                let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                           WHERE application_name = 'switchyard' AND datname = current_database()";
                client.run(cut).await
            }
            _ => client.run("KILL CONNECTION USER switchyard@'127.0.0.1'").await,
        }
    });
}

/// Writes for so many seconds, waits until everything is seen, and prints what came of it.
async fn stream(place: &Place, published: &Published, rate: u64, seconds: u64, mut trouble: impl FnMut()) -> Duration {
    let (clients, together) = clients(place.kind);
    let commits: Commits = (0..clients).map(|_| Mutex::default()).collect();
    let is_over = Arc::new(AtomicBool::new(false));
    let seen = see(published, Arc::clone(&commits), Arc::clone(&is_over));
    let begun = Instant::now();
    let writers: Vec<_> = (0..clients)
        .map(|client| {
            let (url, commits) = (place.root_url.clone(), Arc::clone(&commits));
            tokio::spawn(write(url, client, together, (rate / clients, seconds), commits))
        })
        .collect();
    while !writers.iter().all(tokio::task::JoinHandle::is_finished) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        tokio::task::block_in_place(&mut trouble);
    }
    let mut written = 0;
    for writer in writers {
        written += writer.await.unwrap();
    }
    let took = begun.elapsed();
    is_over.store(true, Ordering::Relaxed);
    let lags = Figure::of(tokio::task::spawn_blocking(|| seen.join().unwrap()).await.unwrap());
    let lost: usize = commits.iter().map(|commits| commits.lock().unwrap().len()).sum();
    println!("  changes committed in a second          {:.0} ({written} in all)", written as f64 / took.as_secs_f64());
    println!(
        "  commit to the next call, ms            min {:.2}  median {:.2}  p99 {:.2}  max {:.2}  ({lost} lost)",
        lags.percentile(0),
        lags.median(),
        lags.percentile(99),
        lags.percentile(100)
    );
    took
}

/// One client: each of its DIDs in turn gets the number of the change as its limit of calls, so many in one commit. What
/// fails is done again.
async fn write(url: String, client: u64, together: u64, (rate, seconds): (u64, u64), commits: Commits) -> u64 {
    let begun = Instant::now();
    let mut connection = Client::open(&url).await.ok();
    let mut turn = 0;
    while turn < rate * seconds {
        let due = begun + Duration::from_secs_f64(turn as f64 / rate as f64);
        tokio::time::sleep_until(due.into()).await;
        let changes: Vec<(u64, u64)> =
            (turn..turn + together).map(|turn| (client * DIDS_EACH + turn % DIDS_EACH, turn + 1)).collect();
        let statements: Vec<String> = changes.iter().map(|(at, limit)| Place::limits(*at, *limit)).collect();
        let script = match together {
            1 => statements.concat(),
            _ => format!("BEGIN IMMEDIATE; {}; COMMIT", statements.join("; ")),
        };
        let done = match &mut connection {
            Some(connection) => connection.run(script).await.is_ok(),
            None => false,
        };
        if done {
            let committed = Instant::now();
            let made = changes.into_iter().map(|(at, call_limit)| Commit { at, call_limit, committed });
            commits[usize::try_from(client).unwrap()].lock().unwrap().extend(made);
            turn += together;
        } else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            connection = Client::open(&url).await.ok();
        }
    }
    turn
}

/// A thread that takes every commit off its list when the next call meets it. Returns how long each took, in
/// milliseconds; what is still on a list then is lost.
fn see(published: &Published, commits: Commits, is_over: Arc<AtomicBool>) -> JoinHandle<Vec<f64>> {
    let mut reader = published.reader();
    std::thread::spawn(move || {
        let (mut lags, mut over_since) = (Vec::new(), None);
        loop {
            let directory = Arc::clone(reader.latest());
            let now = Instant::now();
            let mut waiting = 0;
            for commits in &*commits {
                let mut commits = commits.lock().unwrap();
                while let Some(commit) = commits.front() {
                    let did = directory.did(worker::number(commit.at));
                    if did.is_none_or(|did| u64::from(did.call_limit()) < commit.call_limit) {
                        break;
                    }
                    lags.push(now.saturating_duration_since(commit.committed).as_secs_f64() * 1e3);
                    commits.pop_front();
                }
                waiting += commits.len();
            }
            if is_over.load(Ordering::Relaxed) {
                let since = *over_since.get_or_insert(now);
                if waiting == 0 || now - since > PATIENCE {
                    return lags;
                }
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    })
}

/// Prints how long calls took, by the clock and by the processor's time.
pub(crate) fn print_calls(when: &str, calls: Calls) {
    let [by_clock, by_processor] = calls.finish();
    let print = |what: &str, figure: &Figure| {
        println!(
            "  a batch of 8 calls {when}, us, {what}: median {:.1}  p99 {:.1}  max {:.0}",
            figure.median(),
            figure.percentile(99),
            figure.percentile(100)
        );
    };
    print("by the clock", &by_clock);
    print("processor", &by_processor);
}
