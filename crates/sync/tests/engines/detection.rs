//! How changes are found: by comparison with the right to read alone, by the change log, by notifications.

use std::time::Duration;

use directory::{Directory, Environment};
use sqlx::{Connection, Executor};
use sync::{Detection, Mapping, Migration, Settings, SyncFault};

use crate::bench::{Bench, environment, execute, mariadb, number, postgres};
use crate::reading::on_each_engine;
use crate::server::Engine;

pub(crate) const NEVER: Duration = Duration::from_secs(3_600);

on_each_engine! {
    with_the_right_to_read_alone_everything_is_compared,
    what_the_triggers_note_is_read_and_nothing_else,
    an_entry_that_becomes_visible_late_is_not_lost,
    a_trigger_that_fails_does_not_break_a_write,
    a_mass_change_is_read_as_a_whole,
    a_plan_can_be_run_again,
    without_a_change_log_a_demand_for_one_is_a_fault,
    names_of_their_own_are_noted_too,
    a_thousand_changes_are_none_too_few,
}

/// A bench with a change log, whose full readings never come.
pub(crate) async fn logging(engine: Engine) -> Bench {
    let bench = Bench::start_with(engine, "", |settings| settings.reconcile_interval = NEVER).await;
    install(&bench, Mapping::default()).await;
    bench.watcher.stop().await;
    bench.again(|settings| settings.reconcile_interval = NEVER).await
}

pub(crate) async fn install(bench: &Bench, mapping: Mapping) {
    let account = match bench.server.engine {
        Engine::MariaDb => "switchyard@127.0.0.1",
        Engine::Postgres => "switchyard",
    };
    let migration = Migration { mapping, account: account.to_owned(), has_change_log: true };
    // An account is the server's, not the database's.
    let _turn = bench.server.accounts.lock().await;
    sync::migrate(&bench.root_url(), &migration, |_| {}).await.unwrap();
}

fn way(engine: Engine) -> &'static str {
    match engine {
        Engine::MariaDb => "change_log",
        Engine::Postgres => "notify",
    }
}

fn goes_to(directory: &Directory, last: u32, wanted: Environment) -> bool {
    environment(directory, &format!("+91806597{last}")) == Some(wanted)
}

fn moves(last: u32, word: &str) -> String {
    format!("UPDATE did_numbers SET routing_environment = '{word}' WHERE id = '00000d1d-0000-4000-8000-00806597{last}'")
}

async fn with_the_right_to_read_alone_everything_is_compared(engine: Engine) {
    let mut bench = Bench::start(engine).await;
    assert_eq!(bench.watcher.status().detection, "compare");
    bench.write(&moves(8002, "oss")).await;
    bench.until(|directory| goes_to(directory, 8002, Environment::Oss)).await;
    bench.write("DELETE FROM did_numbers WHERE number = '08065978002'").await;
    bench.until(|directory| directory.did(number("08065978002")).is_none()).await;
    // The proxy's account can write nothing.
    let own = bench.server.url("switchyard:s3cret", bench.server.port, &bench.database);
    assert!(execute(bench.server, &own, &moves(8003, "oss")).await.is_err());
}

/// Row D12: what passes by the triggers is found by the next reading of everything.
async fn what_the_triggers_note_is_read_and_nothing_else(engine: Engine) {
    let mut bench = logging(engine).await;
    assert_eq!(bench.watcher.status().detection, way(engine));
    bench.write(&moves(8002, "oss")).await;
    bench.until(|directory| goes_to(directory, 8002, Environment::Oss)).await;
    bench
        .write(
            "DELETE FROM did_numbers WHERE number = '+918065978003'; \
             UPDATE did_numbers SET id = 'another' WHERE number = '918065978004'; \
             INSERT INTO users (id, org_id, extension, asterisk_endpoint) \
             VALUES ('new', '0000000a-0000-4000-8000-a1b2c3d40000', '1999', 'org_a1b2c3d4_1999'); \
             UPDATE organizations SET name = 'Asha' WHERE id = '0000000a-0000-4000-8000-a1b2c3d40000'; \
             DELETE FROM sip_trunks",
        )
        .await;
    let directory = bench
        .until(|directory| {
            directory.did(number("08065978003")).is_none()
                && directory.user_by_endpoint(b"org_a1b2c3d4_1999").is_some()
                && directory.organisation_by_context_prefix(b"org_a1b2c3d4_").is_some_and(|found| found.name == "Asha")
                && directory.trunks().count() == 0
        })
        .await;
    // What the changes add up to is what a reading of everything says.
    let settings = Settings::new(bench.root_url(), directory::Policy::default());
    let afresh = sync::start(settings).await.unwrap();
    assert!(afresh.published().load().says_the_same(&directory));
    // A change that is not noted is not seen beside one that is.
    let silently = match engine {
        Engine::MariaDb => "DROP TRIGGER switchyard_did_numbers_update; ",
        Engine::Postgres => "ALTER TABLE did_numbers DISABLE TRIGGER switchyard_update; ",
    };
    bench.write(&format!("{silently}{}", moves(8005, "oss"))).await;
    bench.write("DELETE FROM did_numbers WHERE number = '+918065978006'").await;
    let directory = bench.until(|directory| directory.did(number("08065978006")).is_none()).await;
    assert!(goes_to(&directory, 8005, Environment::Prod));
    // Until everything is read again.
    bench.watcher.stop().await;
    let bench = bench.again(|settings| settings.reconcile_interval = Duration::from_millis(100)).await;
    assert!(goes_to(&bench.directory(), 8005, Environment::Oss));
    bench.write(&moves(8007, "oss")).await;
    let mut bench = bench;
    bench.until(|directory| goes_to(directory, 8007, Environment::Oss)).await;
}

/// A takes an id of the log, B takes the next and commits, the reader passes, A commits: nothing is lost.
async fn an_entry_that_becomes_visible_late_is_not_lost(engine: Engine) {
    let mut bench = logging(engine).await;
    match engine {
        Engine::MariaDb => {
            let mut a = mariadb(&bench.root_url()).await.unwrap();
            let mut open = a.begin().await.unwrap();
            open.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(moves(8002, "oss")))).await.unwrap();
            bench.write(&moves(8003, "oss")).await;
            let directory = bench.until(|directory| goes_to(directory, 8003, Environment::Oss)).await;
            assert!(goes_to(&directory, 8002, Environment::Prod));
            open.commit().await.unwrap();
        }
        Engine::Postgres => {
            let mut a = postgres(&bench.root_url()).await.unwrap();
            let mut open = a.begin().await.unwrap();
            open.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(moves(8002, "oss")))).await.unwrap();
            bench.write(&moves(8003, "oss")).await;
            let directory = bench.until(|directory| goes_to(directory, 8003, Environment::Oss)).await;
            assert!(goes_to(&directory, 8002, Environment::Prod));
            open.commit().await.unwrap();
        }
    }
    bench.until(|directory| goes_to(directory, 8002, Environment::Oss)).await;
}

/// The owner of the tables has no right to the log, and the log may be gone: his writes go through.
async fn a_trigger_that_fails_does_not_break_a_write(engine: Engine) {
    let mut bench = logging(engine).await;
    let owner = match engine {
        Engine::MariaDb => {
            "CREATE USER IF NOT EXISTS 'pbx'@'127.0.0.1' IDENTIFIED BY 'pbx'; \
             GRANT SELECT, INSERT, UPDATE, DELETE ON did_numbers TO 'pbx'@'127.0.0.1'"
        }
        Engine::Postgres => {
            "DO $$ BEGIN CREATE ROLE pbx LOGIN PASSWORD 'pbx'; EXCEPTION WHEN duplicate_object THEN NULL; END $$; \
             GRANT SELECT, INSERT, UPDATE, DELETE ON did_numbers TO pbx"
        }
    };
    {
        let _turn = bench.server.accounts.lock().await;
        bench.write(owner).await;
    }
    let owner = bench.server.url("pbx:pbx", bench.server.port, &bench.database);
    execute(bench.server, &owner, &moves(8002, "oss")).await.unwrap();
    bench.until(|directory| goes_to(directory, 8002, Environment::Oss)).await;
    let spoil = match engine {
        Engine::MariaDb => [
            "ALTER TABLE switchyard_changes ADD COLUMN needed INT NOT NULL CHECK (needed > 0)",
            "DROP TABLE switchyard_changes",
        ],
        Engine::Postgres => [
            "ALTER TABLE switchyard_changes ADD CONSTRAINT never CHECK (id < 0) NOT VALID",
            "DROP TABLE switchyard_changes",
        ],
    };
    for (spoil, last) in spoil.into_iter().zip([8003, 8004]) {
        bench.write(spoil).await;
        execute(bench.server, &owner, &moves(last, "oss")).await.unwrap();
    }
    // The log is gone: everything is read and compared again.
    bench.until(|directory| [8003, 8004].iter().all(|&last| goes_to(directory, last, Environment::Oss))).await;
    bench.recovered().await;
    bench.status(|status| (status.detection == "compare").then_some(())).await;
}

async fn a_mass_change_is_read_as_a_whole(engine: Engine) {
    let mut bench = logging(engine).await;
    let series = match engine {
        Engine::MariaDb => "(SELECT seq AS n FROM seq_0_to_24999) AS numbers",
        Engine::Postgres => "generate_series(0, 24999) AS numbers (n)",
    };
    let insert = format!(
        "INSERT INTO did_numbers (id, number, status, pool_status, routing_environment) \
         SELECT CONCAT('mass-', n), CONCAT('+9180659', 10000 + n), 'active', 'reserved', 'prod' FROM {series}"
    );
    bench.write(&insert).await;
    let directory = bench.until(|directory| directory.did_count() == 25_055).await;
    assert_eq!(directory.fault_count(), 0);
    bench.write(&moves(8002, "oss")).await;
    bench.until(|directory| goes_to(directory, 8002, Environment::Oss)).await;
    // More than one statement asks for, fewer than everything.
    bench.write("DELETE FROM did_numbers WHERE id LIKE 'mass-1%'").await;
    bench.until(|directory| directory.did_count() == 25_055 - 11_111).await;
    bench.write("UPDATE did_numbers SET routing_environment = 'oss' WHERE id LIKE 'mass-20%'").await;
    bench.until(|directory| directory.dids().filter(|did| did.environment == Environment::Oss).count() >= 1_111).await;
    bench.write("DELETE FROM did_numbers WHERE id LIKE 'mass-%'").await;
    bench.until(|directory| directory.did_count() == 55).await;
}

async fn a_plan_can_be_run_again(engine: Engine) {
    let mut bench = logging(engine).await;
    install(&bench, Mapping::default()).await;
    install(&bench, Mapping::default()).await;
    bench.write(&moves(8002, "oss")).await;
    bench.until(|directory| goes_to(directory, 8002, Environment::Oss)).await;
    assert_eq!(bench.watcher.status().detection, way(engine));
}

async fn without_a_change_log_a_demand_for_one_is_a_fault(engine: Engine) {
    let bench =
        Bench::start_with(engine, "", |settings: &mut Settings| settings.detection = Detection::ChangeLog).await;
    assert_eq!(bench.watcher.status().fault, Some(SyncFault::TableMissing { table: "switchyard_changes".into() }));
    assert!(!bench.directory().is_loaded());
}

async fn names_of_their_own_are_noted_too(engine: Engine) {
    let mut mapping = Mapping::default();
    mapping.rename_table("did_numbers", "numbers").unwrap();
    mapping.rename_column("did_numbers", "id", "key'`\"").unwrap();
    let (rename, account) = match engine {
        Engine::MariaDb => ("ALTER TABLE numbers RENAME COLUMN id TO `key'``\"`", "switchyard@'127.0.0.1'"),
        Engine::Postgres => ("ALTER TABLE numbers RENAME COLUMN id TO \"key'`\"\"\"", "switchyard"),
    };
    let script = format!("ALTER TABLE did_numbers RENAME TO numbers; {rename}; GRANT SELECT ON numbers TO {account}");
    let adjust = |settings: &mut Settings| {
        settings.reconcile_interval = NEVER;
        settings.mapping = mapping.clone();
    };
    let bench = Bench::start_with(engine, &script, adjust).await;
    install(&bench, mapping.clone()).await;
    bench.watcher.stop().await;
    let mut bench = bench.again(adjust).await;
    assert_eq!(bench.watcher.status().detection, way(engine));
    bench.write("UPDATE numbers SET routing_environment = 'oss' WHERE number = '08065978002'").await;
    bench.until(|directory| goes_to(directory, 8002, Environment::Oss)).await;
    bench.write("DELETE FROM numbers WHERE number = '08065978002'").await;
    bench.until(|directory| directory.did(number("08065978002")).is_none()).await;
}

/// Row D9 in small: a stream of changes, of which none is lost.
async fn a_thousand_changes_are_none_too_few(engine: Engine) {
    let mut bench = logging(engine).await;
    let script: Vec<String> =
        (0..1_000).map(|turn| moves(8000 + turn % 20, if turn / 20 % 2 == 0 { "staging" } else { "oss" })).collect();
    bench.write(&script.join("; ")).await;
    // Turn 999 is of round 49, which is of "oss".
    bench.until(|directory| (8000..8020).all(|last| goes_to(directory, last, Environment::Oss))).await;
}

/// Row D12: a listener whose connection is cut is made anew, and what came meanwhile is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d12_a_lost_listener_loses_nothing() {
    let mut bench = logging(Engine::Postgres).await;
    for (last, round) in (8000..8020).zip(0..) {
        let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                   WHERE application_name = 'switchyard' AND datname = current_database()";
        // Every second time both connections are cut, else the listener alone.
        let cut = if round % 2 == 0 { cut.to_owned() } else { format!("{cut} AND query LIKE 'LISTEN%'") };
        bench.write(&format!("{cut}; {}", moves(last, "oss"))).await;
        bench.until(|directory| goes_to(directory, last, Environment::Oss)).await;
    }
    bench.status(|status| (status.detection == "notify").then_some(())).await;
}
