//! The program on a real MariaDB and a real PostgreSQL, which other programs change, stop and spoil while calls come in.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure of the stage fails the test"
)]

#[path = "../../../sync/tests/engines/bench.rs"]
#[allow(dead_code, reason = "shared with the tests of sync, which use all of it")]
mod bench;
mod crowd;
mod openapi;
mod page;
#[path = "../../../sync/tests/engines/server.rs"]
#[allow(dead_code, reason = "shared with the tests of sync, which use all of it")]
mod server;
mod stage;
mod verbs;

use bench::Bench;
use nix::sys::signal::Signal;
use server::{Engine, server};
use stage::Stage;
use std::time::Duration;

/// The product's promise is 1 s; a busy machine gets more.
const SERVES_WITHIN: Duration = Duration::from_secs(5);
const STAGING: &str = "+918065978021";
const MOVE: &str = "UPDATE did_numbers SET routing_environment = 'oss' WHERE number LIKE '%8065978021'";

macro_rules! on_each_engine {
    ($($(#[$doc:meta])* $name:ident: $mariadb_network:literal, $postgres_network:literal;)+) => {
        mod mariadb_server {
            $($(#[$doc])* #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(crate::Engine::MariaDb, $mariadb_network).await })+
        }
        mod postgres_server {
            $($(#[$doc])* #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(crate::Engine::Postgres, $postgres_network).await })+
        }
    };
}
use on_each_engine;

on_each_engine! {
    a_committed_row_sends_the_next_call_elsewhere: 101, 102;
    /// Row D7.
    d7_names_are_mapped_and_a_missing_column_is_named: 103, 104;
    /// Rows D1, D2 and D3.
    d1_d2_d3_the_server_dies_comes_back_and_is_not_there_at_the_start: 105, 106;
    a_change_log_is_made_by_migrate_alone: 107, 108;
}

async fn bench(engine: Engine, script: &str) -> Bench {
    let bench = Bench::start_with(engine, script, |_| {}).await;
    // The program is the one who looks.
    bench.watcher.stop().await;
    bench
}

fn url(bench: &Bench) -> String {
    bench.server.url("switchyard:${DATABASE_PASSWORD}", bench.server.port, &bench.database)
}

async fn a_committed_row_sends_the_next_call_elsewhere(engine: Engine, network: u8) {
    let bench = bench(engine, "").await;
    let mut stage = Stage::start(network, &url(&bench), "poll_interval = \"50ms\"\n");
    assert_eq!(stage.call(STAGING), "486 staging");
    bench.write(MOVE).await;
    stage.said("cause=rows difference=");
    assert_eq!(stage.call(STAGING), "486 oss");
    let status = stage.status();
    assert_eq!(status["directory"]["detection"], "compare");
    assert_eq!(status["directory"]["degraded"], false);
    let shown = status["directory"]["source"].as_str().unwrap();
    assert!(shown.contains("://switchyard:***@127.0.0.1:"), "{shown}");
    assert!(!stage.log().contains("s3cret") && !status.to_string().contains("s3cret"));
    // A reload puts in force what can change, and says what cannot.
    stage.configure(&url(&bench), "poll_interval = \"100ms\"\nsnapshot_dir = \"/nowhere\"\n");
    stage.signal(Signal::SIGHUP);
    stage.said("database.snapshot_dir has changed: it takes a restart");
    stage.said("the configuration was read again and is in force");
    bench.write(&MOVE.replace("oss", "prod")).await;
    stage.said("generation=3");
    assert_eq!(stage.call(STAGING), "486 prod");
}

async fn d7_names_are_mapped_and_a_missing_column_is_named(engine: Engine, network: u8) {
    let grantee = match engine {
        Engine::MariaDb => "switchyard@'127.0.0.1'",
        Engine::Postgres => "switchyard",
    };
    let script = format!(
        "ALTER TABLE did_numbers RENAME TO numbers; ALTER TABLE numbers RENAME COLUMN routing_environment TO env; \
         ALTER TABLE numbers DROP COLUMN is_default; GRANT SELECT ON numbers TO {grantee}"
    );
    let bench = bench(engine, &script).await;
    let more = "[database.tables]\ndid_numbers = \"numbers\"\n\
                [database.columns.did_numbers]\nrouting_environment = \"env\"\n";
    let mut stage = Stage::start(network, &url(&bench), more);
    assert_eq!(stage.call(STAGING), "486 staging");
    bench.write("ALTER TABLE numbers RENAME COLUMN env TO environment").await;
    stage.said("table numbers: column env not found");
    assert_eq!(stage.call(STAGING), "486 staging");
    let directory = &stage.status()["directory"];
    assert!(directory["trouble"].as_str().unwrap().starts_with("table numbers: column env not found"), "{directory}");
    assert_eq!(directory["degraded"], true);
    bench.write("ALTER TABLE numbers RENAME COLUMN environment TO env").await;
    stage.said("the directory can be read again");
}

async fn d1_d2_d3_the_server_dies_comes_back_and_is_not_there_at_the_start(engine: Engine, network: u8) {
    let server = server(engine);
    let _alone = server.alone().await;
    let bench = Bench::make(server, None, "", |_| {}).await;
    bench.watcher.stop().await;
    let mut stage = Stage::start(network, &url(&bench), "");
    for round in 0..40 {
        if round == 10 {
            server.kill();
        }
        assert_eq!(stage.call(STAGING), "486 staging", "call {round}");
    }
    stage.said("the directory could not be read");
    let directory = &stage.status()["directory"];
    assert!(directory["degraded"] == true && directory["from_snapshot"] == false, "{directory}");
    assert!(directory["table_age_s"].as_f64().is_some(), "{directory}");
    server.start();
    bench.write(MOVE).await;
    stage.said("1 moved");
    assert_eq!(stage.call(STAGING), "486 oss");
    // Row D1.
    stage.stop();
    server.kill();
    let took = stage.start_again();
    assert_eq!(stage.call(STAGING), "486 oss");
    assert!(took < SERVES_WITHIN, "{took:?}");
    let directory = &stage.status()["directory"];
    assert!(directory["degraded"] == true && directory["from_snapshot"] == true, "{directory}");
    assert!(directory["table_age_s"].as_f64().is_some(), "{directory}");
    // Row D2.
    stage.stop();
    stage.forget_snapshots();
    stage.start_again();
    let refused = stage.call(STAGING);
    assert_eq!(refused, "503 retry");
    assert!(stage.options().starts_with("SIP/2.0 503 "));
    server.start();
    stage.said("directory published");
    assert!(stage.options().starts_with("SIP/2.0 200 "));
    assert_eq!(stage.call(STAGING), "486 oss");
}

async fn a_change_log_is_made_by_migrate_alone(engine: Engine, network: u8) {
    let bench = bench(engine, "").await;
    let mut stage = Stage::start(network, &url(&bench), "reconcile_interval = \"1s\"\n");
    let own = bench.server.url("switchyard:s3cret", bench.server.port, &bench.database);
    let (code, told) = stage.db("migrate", &own);
    assert_eq!(code, 1, "the account that reads may not: {told}");
    assert!(told.contains("our own table switchyard_leases: ") && !told.contains("s3cret"), "{told}");
    let (code, script) = stage.db("plan", &bench.root_url());
    assert!(code == 0 && script.contains("switchyard_note_change") == (engine == Engine::Postgres), "{script}");
    assert_eq!(stage.status()["directory"]["detection"], "compare");
    {
        // An account is the server's, not the database's.
        let _turn = bench.server.accounts.lock().await;
        for _ in 0..2 {
            let (code, told) = stage.db("migrate", &bench.root_url());
            assert_eq!(code, 0, "{told}");
        }
    }
    let way = match engine {
        Engine::MariaDb => "change_log",
        Engine::Postgres => "notify",
    };
    stage.until_status(|status| status["directory"]["detection"] == way);
    bench.write(MOVE).await;
    stage.said("1 moved");
    assert_eq!(stage.call(STAGING), "486 oss");
}
