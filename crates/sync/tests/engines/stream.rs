//! A stream of changes by several clients at once, of which none is lost and none is undone.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use directory::Environment;
use sqlx::AssertSqlSafe;

use crate::bench::{Bench, environment, mariadb, number, postgres};
use crate::detection::{install, logging};
use crate::reading::on_each_engine;
use crate::server::Engine;

/// Clients that write side by side, each to DIDs of its own.
const CLIENTS: u32 = 4;
/// DIDs of each client.
const DIDS_EACH: u32 = 5;

on_each_engine! {
    d9_a_stream_of_changes_loses_nothing,
    d12_a_reader_that_is_cut_loses_nothing,
    d6_an_emptied_table_is_held,
}

/// Row D9 in small.
async fn d9_a_stream_of_changes_loses_nothing(engine: Engine) {
    let mut bench = logging(engine).await;
    stream(&mut bench, 300, 5).await;
}

/// Row D9: a thousand changes a second for a minute, in a table of a million.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "full set: takes minutes, and a build with optimisation"]
async fn d9_a_thousand_changes_a_second_among_a_million_mariadb() {
    among_a_million(Engine::MariaDb).await;
}

/// Row D9: the same in PostgreSQL.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "full set: takes minutes, and a build with optimisation"]
async fn d9_a_thousand_changes_a_second_among_a_million_postgres() {
    among_a_million(Engine::Postgres).await;
}

async fn among_a_million(engine: Engine) {
    let series = match engine {
        Engine::MariaDb => "(SELECT seq AS n FROM seq_0_to_999944) AS numbers",
        Engine::Postgres => "generate_series(0::bigint, 999944) AS numbers (n)",
    };
    let million = format!(
        "INSERT INTO did_numbers (id, number, status, pool_status, routing_environment) \
         SELECT CONCAT('mass-', n), CONCAT('+', 916000000000 + n * 2654435761 % 1000000000), 'active', 'reserved', \
         'prod' FROM {series}"
    );
    // What the reading of a million takes without optimisation is none of this test's.
    let patient = |settings: &mut sync::Settings| settings.query_timeout = Duration::from_secs(600);
    let bench = Bench::start_with(engine, &million, patient).await;
    install(&bench, sync::Mapping::default()).await;
    bench.watcher.stop().await;
    let mut bench = bench
        .again(|settings| {
            patient(settings);
            settings.reconcile_interval = Duration::from_secs(3_600);
        })
        .await;
    assert_eq!(bench.directory().did_count(), 1_000_000);
    stream(&mut bench, 1_000, 60).await;
}

/// Writes so many changes a second for so many seconds, and waits until the last of each DID is published. No look-up
/// ever goes back to an older value.
async fn stream(bench: &mut Bench, rate: u32, seconds: u32) {
    let engine = bench.server.engine;
    let (turns, pause) = (rate * seconds / CLIENTS, Duration::from_secs(1) * CLIENTS / rate);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let url = bench.root_url();
            tokio::spawn(async move { write(engine, &url, client, turns, pause).await })
        })
        .collect();
    let mut last: HashMap<u32, u32> = HashMap::new();
    let is_done = |last: &HashMap<u32, u32>| {
        (0..CLIENTS * DIDS_EACH).all(|did| last.get(&did) == Some(&(turns - DIDS_EACH + did % DIDS_EACH + 1)))
    };
    while !is_done(&last) {
        // Every generation that this sees at all is looked at.
        let directory = bench.until(|_| true).await;
        for did in 0..CLIENTS * DIDS_EACH {
            let now = directory.did(number(&format!("+91806597{}", 8000 + did))).unwrap().call_limit();
            let before = last.insert(did, now).unwrap_or_default();
            assert!(now >= before, "DID {did} went back from {before} to {now}");
        }
        if !is_done(&last) {
            let changed = tokio::time::timeout(crate::bench::PATIENCE, bench.bell.changed()).await;
            changed.unwrap_or_else(|_| panic!("lost: {last:?} of {turns}")).unwrap();
        }
    }
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(bench.watcher.status().fault, None);
}

/// Sets the limit of calls of each DID of a client in turn to the number of the turn plus one.
async fn write(engine: Engine, url: &str, client: u32, turns: u32, pause: Duration) {
    let begun = Instant::now();
    let script = |turn: u32| {
        let last = 8000 + client * DIDS_EACH + turn % DIDS_EACH;
        let (id, limit) = (format!("00000d1d-0000-4000-8000-00806597{last}"), turn + 1);
        AssertSqlSafe(format!("UPDATE did_numbers SET call_limit = {limit} WHERE id = '{id}'"))
    };
    match engine {
        Engine::MariaDb => {
            let mut connection = mariadb(url).await.unwrap();
            for turn in 0..turns {
                tokio::time::sleep_until((begun + pause * turn).into()).await;
                sqlx::raw_sql(script(turn)).execute(&mut connection).await.unwrap();
            }
        }
        Engine::Postgres => {
            let mut connection = postgres(url).await.unwrap();
            for turn in 0..turns {
                tokio::time::sleep_until((begun + pause * turn).into()).await;
                sqlx::raw_sql(script(turn)).execute(&mut connection).await.unwrap();
            }
        }
    }
}

/// Row D12: a reader of the change log that is cut again and again, each time beside a change.
async fn d12_a_reader_that_is_cut_loses_nothing(engine: Engine) {
    let mut bench = logging(engine).await;
    for last in 8000..8020 {
        cut(&bench).await;
        let id = format!("00000d1d-0000-4000-8000-00806597{last}");
        bench.write(&format!("UPDATE did_numbers SET routing_environment = 'oss' WHERE id = '{id}'")).await;
        let spelling = format!("+91806597{last}");
        bench.until(|directory| environment(directory, &spelling) == Some(Environment::Oss)).await;
    }
    bench.recovered().await;
    bench.status(|status| (status.detection != "compare").then_some(())).await;
}

/// Cuts every connection of the writer to its database.
async fn cut(bench: &Bench) {
    match bench.server.engine {
        Engine::MariaDb => {
            let mut root = mariadb(&bench.root_url()).await.unwrap();
            let ids: Vec<i64> = sqlx::query_scalar(
                "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND user = 'switchyard'",
            )
            .fetch_all(&mut root)
            .await
            .unwrap();
            for id in ids {
                // It may have gone by itself.
                let _ = sqlx::raw_sql(AssertSqlSafe(format!("KILL CONNECTION {id}"))).execute(&mut root).await;
            }
        }
        Engine::Postgres => {
            bench
                .write(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                     WHERE application_name = 'switchyard' AND datname = current_database()",
                )
                .await;
        }
    }
}

/// Row D6: a table that is emptied, be it in a way that no trigger sees, is held, and its rows stay in effect.
async fn d6_an_emptied_table_is_held(engine: Engine) {
    let bench = Bench::start(engine).await;
    install(&bench, sync::Mapping::default()).await;
    bench.watcher.stop().await;
    let mut bench = bench
        .again(|settings| {
            settings.guard = Some(directory::GuardPolicy::default());
            settings.reconcile_interval = Duration::from_millis(200);
        })
        .await;
    bench.write("CREATE TABLE kept AS SELECT * FROM users; TRUNCATE users").await;
    let held = bench.status(|status| status.held.clone()).await;
    assert_eq!(held.reasons, [directory::HoldReason::TableEmpty(directory::Table::Users)]);
    assert_eq!(bench.directory().user_count(), 9);
    // Rejected, it stays out for as long as the data stay as they are.
    bench.watcher.reject().await.unwrap();
    bench.watcher.refresh().await.unwrap();
    assert!(bench.watcher.held().unwrap().is_rejected);
    assert_eq!(bench.directory().user_count(), 9);
    // Mended, nobody has to accept anything.
    bench.write("INSERT INTO users SELECT * FROM kept").await;
    bench.status(|status| status.held.is_none().then_some(())).await;
    bench.write("DELETE FROM users").await;
    bench.status(|status| status.held.clone()).await;
    bench.watcher.accept("the users have moved out").await.unwrap();
    bench.until(|directory| directory.user_count() == 0).await;
    assert_eq!(bench.watcher.held(), None);
}
