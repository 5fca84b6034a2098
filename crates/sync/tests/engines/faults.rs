//! The server is gone, frozen, slow or restarted.

use std::path::Path;
use std::time::{Duration, Instant};

use directory::{Directory, Environment, Generation};
use sync::{Settings, SyncFault};

use crate::bench::{Bench, environment, execute, number};
use crate::reading::on_each_engine;
use crate::server::{Engine, server};

/// The product's promise for a start without the database.
const SERVES_WITHIN: Duration = Duration::from_secs(1);

on_each_engine! {
    d1_and_d2_a_start_without_the_database,
    d3_a_server_that_dies_and_comes_back,
    d4_a_server_that_hangs,
    d4_a_query_that_waits,
}

fn keeping(folder: &Path) -> impl Fn(&mut Settings) + use<> {
    let folder = folder.to_path_buf();
    move |settings| settings.snapshot_dir = Some(folder.clone())
}

fn is_complete(directory: &Directory) -> bool {
    directory.did_count() == 55 && environment(directory, "08065978021") == Some(Environment::Staging)
}

/// Rows D1 and D2: with a snapshot it serves at once and says so; without one it stays up with nothing.
async fn d1_and_d2_a_start_without_the_database(engine: Engine) {
    let server = server(engine);
    let alone = server.alone().await;
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::make(server, None, "", keeping(folder.path())).await;
    bench.watcher.stop().await;
    server.kill();
    let begun = Instant::now();
    let mut bench = bench.again(keeping(folder.path())).await;
    let took = begun.elapsed();
    let status = bench.watcher.status();
    assert!(status.is_loaded && status.is_from_snapshot && status.is_degraded(), "{status:?}");
    assert!(status.age.is_some() && took < SERVES_WITHIN, "{took:?} {status:?}");
    assert!(is_complete(&bench.directory()));
    assert!(bench.fault().await.to_string().contains("does not open"));
    // Row D2.
    let empty = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let other = sync::start(Settings {
        snapshot_dir: Some(empty.path().to_path_buf()),
        ..Settings::new(bench.root_url(), directory::Policy::default())
    });
    let other = other.await.unwrap();
    assert!(begun.elapsed() < SERVES_WITHIN);
    assert_eq!((other.status().is_loaded, other.status().is_degraded()), (false, false));
    server.start();
    bench.write("UPDATE did_numbers SET routing_environment = 'oss' WHERE number = '08065978002'").await;
    let directory = bench.until(|directory| environment(directory, "08065978002") == Some(Environment::Oss)).await;
    assert_eq!(directory.generation(), Generation(2));
    bench.recovered().await;
    let status = bench.watcher.status();
    assert!(!status.is_from_snapshot && !status.is_degraded(), "{status:?}");
    assert_eq!(other.refresh().await.map(|generation| generation.0 >= 1), Ok(true));
    drop(alone);
}

/// Row D3: the last table stays, its age grows, and on return what was missed is read.
async fn d3_a_server_that_dies_and_comes_back(engine: Engine) {
    let server = server(engine);
    let alone = server.alone().await;
    let mut bench = Bench::make(server, None, "", |_| {}).await;
    server.kill();
    bench.fault().await;
    let (first, second) = (bench.watcher.status().age.unwrap(), bench.watcher.status().age.unwrap());
    assert!(second > first);
    assert!(is_complete(&bench.directory()) && bench.watcher.status().is_degraded());
    server.start();
    bench.write("UPDATE did_numbers SET routing_environment = 'oss' WHERE number = '08065978002'").await;
    bench.until(|directory| environment(directory, "08065978002") == Some(Environment::Oss)).await;
    bench.recovered().await;
    drop(alone);
}

/// Row D4: a server whose connections stay and that answers nothing costs age alone.
async fn d4_a_server_that_hangs(engine: Engine) {
    let server = server(engine);
    let alone = server.alone().await;
    let timeout = Duration::from_millis(300);
    let bench = Bench::make(server, None, "", |settings| settings.query_timeout = timeout).await;
    server.freeze();
    assert_eq!(bench.watcher.refresh().await, Err(SyncFault::TimedOut(timeout)));
    let looked_at = Instant::now();
    assert!(is_complete(&bench.directory()));
    assert!(looked_at.elapsed() < timeout);
    server.thaw();
    bench.recovered().await;
    drop(alone);
}

/// Row D4: a query that waits is given up by both sides, and there is never more than one.
async fn d4_a_query_that_waits(engine: Engine) {
    let server = server(engine);
    let timeout = Duration::from_millis(300);
    let bench = Bench::start_with(engine, "", |settings| settings.query_timeout = timeout).await;
    let lock = match engine {
        Engine::MariaDb => "LOCK TABLES did_numbers WRITE; DO SLEEP(3); UNLOCK TABLES",
        Engine::Postgres => "BEGIN; LOCK TABLE did_numbers IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(3); COMMIT",
    };
    let url = bench.root_url();
    let locked = tokio::spawn(async move { execute(server, &url, lock).await });
    let wait = async { while bench.watcher.refresh().await != Err(SyncFault::TimedOut(timeout)) {} };
    tokio::time::timeout(crate::bench::PATIENCE, wait).await.expect("no query waited");
    assert!(is_complete(&bench.directory()));
    let asked: Vec<_> = (0..20)
        .map(|_| {
            let watcher = bench.watcher.clone();
            tokio::spawn(async move { watcher.refresh().await })
        })
        .collect();
    let waiting = match engine {
        Engine::MariaDb => {
            let mut root = crate::bench::mariadb(&bench.root_url()).await.unwrap();
            let count: i64 = sqlx::query_scalar(
                "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() AND user = 'switchyard' \
                 AND info LIKE 'SELECT%'",
            )
            .fetch_one(&mut root)
            .await
            .unwrap();
            count
        }
        Engine::Postgres => {
            let mut root = crate::bench::postgres(&bench.root_url()).await.unwrap();
            sqlx::query_scalar(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'switchyard' \
                 AND state = 'active' AND query LIKE 'SELECT%' AND now() - query_start < interval '0.3 s'",
            )
            .fetch_one(&mut root)
            .await
            .unwrap()
        }
    };
    // One, and perhaps the one before, which the server is about to give up as well.
    assert!(waiting <= 2, "{waiting} queries at one time");
    locked.await.unwrap().unwrap();
    for one in asked {
        // Each was answered, be it with a time-out.
        let _ = one.await.unwrap();
    }
    bench.recovered().await;
    assert!(bench.directory().did(number("08065978002")).is_some());
}
