//! Writers in between: what is published is one commit, over all four tables, however it was found.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use directory::Directory;
use sqlx::AssertSqlSafe;
use sync::Detection;

use crate::bench::{Bench, PATIENCE, mariadb, number, postgres};
use crate::detection::install;
use crate::reading::on_each_engine;
use crate::server::Engine;

/// States that are to be seen between the first and the last.
const STATES_SEEN: usize = 30;

on_each_engine! {
    d8_no_reading_is_torn_by_comparison,
    d8_no_reading_is_torn_by_the_change_log,
}

/// Row D8: four tables are read by four statements, with commits in between.
async fn d8_no_reading_is_torn_by_comparison(engine: Engine) {
    torn(engine, Detection::Compare).await;
}

/// Row D8: the log and the rows that it names are of one commit too.
async fn d8_no_reading_is_torn_by_the_change_log(engine: Engine) {
    torn(engine, Detection::ChangeLog).await;
}

async fn torn(engine: Engine, detection: Detection) {
    let bench = Bench::start_with(engine, &stamps(0), |_| {}).await;
    install(&bench, sync::Mapping::default()).await;
    bench.watcher.stop().await;
    let bench = bench
        .again(|settings| {
            settings.detection = detection;
            settings.poll_interval = Duration::from_millis(1);
            settings.log_poll_interval = Duration::from_millis(1);
            settings.reconcile_interval = Duration::from_millis(100);
        })
        .await;
    let first = bench.directory();
    let (url, published) = (bench.root_url(), bench.watcher.published().clone());
    let is_enough = Arc::new(AtomicBool::new(false));
    let enough = Arc::clone(&is_enough);
    let seen = tokio::task::spawn_blocking(move || {
        let (mut reader, mut seen, begun) = (published.reader(), BTreeSet::new(), Instant::now());
        while seen.len() < STATES_SEEN && begun.elapsed() < PATIENCE {
            seen.insert(stamp(reader.latest()));
            std::thread::yield_now();
        }
        enough.store(true, Ordering::SeqCst);
        seen
    });
    let last = write(engine, &url, &is_enough).await;
    let seen = seen.await.unwrap();
    assert!(seen.len() == STATES_SEEN, "only {seen:?} of {last} were seen");
    let mut bench = bench;
    bench.until(|directory| stamp(directory) == last).await;
    // A call that began with the first directory keeps it.
    assert_eq!(stamp(&first), 0);
}

/// Statements that put one number into all four tables.
fn stamps(stamp: u32) -> String {
    let mut statements = [
        format!("UPDATE organizations SET name = '{stamp}' WHERE context_prefix = 'org_a1b2c3d4_'"),
        format!("UPDATE users SET username = '{stamp}' WHERE asterisk_endpoint = 'org_a1b2c3d4_1002'"),
        format!("UPDATE did_numbers SET call_limit = {stamp} WHERE number = '08065978002'"),
        format!("UPDATE sip_trunks SET name = '{stamp}'"),
    ];
    // Now in the order in which they are read, now against it.
    if stamp % 2 == 1 {
        statements.reverse();
    }
    statements.join("; ")
}

/// The number that all four tables have.
fn stamp(directory: &Directory) -> u32 {
    let stamp = directory.did(number("08065978002")).unwrap().call_limit();
    let text = stamp.to_string();
    let told = [
        directory.organisation_by_context_prefix(b"org_a1b2c3d4_").unwrap().name,
        directory.user_by_endpoint(b"org_a1b2c3d4_1002").unwrap().username,
    ];
    let trunks: Vec<&str> = directory.trunks().map(|trunk| trunk.name).collect();
    assert_eq!(told, [&text, &text], "generation {} is torn", directory.generation());
    assert!(trunks.len() == 2 && trunks.iter().all(|name| **name == text), "{stamp}: {trunks:?}");
    stamp
}

/// Commits one number after the other until it is enough; returns the last.
async fn write(engine: Engine, url: &str, is_enough: &AtomicBool) -> u32 {
    let mut scripts = (1..).map(|turn| (turn, AssertSqlSafe(format!("BEGIN; {}; COMMIT", stamps(turn)))));
    let mut last = 0;
    match engine {
        Engine::MariaDb => {
            let mut connection = mariadb(url).await.unwrap();
            while !is_enough.load(Ordering::SeqCst) {
                let (turn, script) = scripts.next().unwrap();
                sqlx::raw_sql(script).execute(&mut connection).await.unwrap();
                last = turn;
            }
        }
        Engine::Postgres => {
            let mut connection = postgres(url).await.unwrap();
            while !is_enough.load(Ordering::SeqCst) {
                let (turn, script) = scripts.next().unwrap();
                sqlx::raw_sql(script).execute(&mut connection).await.unwrap();
                last = turn;
            }
        }
    }
    last
}
