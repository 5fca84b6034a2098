//! What is read, and what is not, on every engine.

use directory::{Directory, Environment, Generation, Service};
use sqlx::{Connection, Executor};
use sync::SyncFault;

use crate::bench::{Bench, environment, mariadb, number, postgres};
use crate::server::Engine;

/// The same test on each engine.
macro_rules! on_each_engine {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        mod mariadb_server {
            $($(#[$doc])* #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(super::Engine::MariaDb).await })+
        }
        mod postgres_server {
            $($(#[$doc])* #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(super::Engine::Postgres).await })+
        }
    };
}
pub(crate) use on_each_engine;

on_each_engine! {
    the_made_up_rows_are_read_alike,
    a_commit_of_another_connection_is_published,
    /// Row D8.
    d8_a_generation_is_one_commit,
    /// Row D7.
    d7_schema_drift_keeps_the_last_good_table,
    names_can_be_mapped,
    d5_every_kind_of_dirt_is_set_aside_alone,
}

async fn the_made_up_rows_are_read_alike(engine: Engine) {
    let mut bench = Bench::start(engine).await;
    assert_eq!(bench.watcher.status().fault, None);
    let directory = bench.directory();
    assert_eq!(directory.faults(), []);
    assert_eq!((directory.did_count(), directory.user_count(), directory.organisation_count()), (55, 9, 4));
    let did = directory.did(number("08065978002")).unwrap();
    assert_eq!((did.call_limit(), did.provider(), did.service), (2, Some("tata"), Service::InService));
    let asha = directory.organisation_by_context_prefix(b"org_a1b2c3d4_").unwrap();
    assert_eq!(asha.uuid, "0000000a-0000-4000-8000-a1b2c3d40000");
    assert_eq!((asha.default_did, asha.limits.concurrent_calls), (Some(number("918065978001")), Some(30)));
    assert_eq!(directory.user_by_endpoint(b"org_a1b2c3d4_1002").unwrap().outbound_did, Some(number("918065978004")));
    assert_eq!(directory.trunks().map(|trunk| trunk.port).collect::<Vec<_>>(), [5060, 5080]);
    let change =
        "UPDATE did_numbers SET trunk_id = '00000721-0000-4000-8000-000000000001' WHERE number = '08065978002'";
    bench.write(change).await;
    let of = |directory: &Directory| {
        let did = directory.did(number("08065978002")).unwrap();
        (did.provider().map(str::to_owned), did.trunk_id().map(str::to_owned))
    };
    let expected = (Some("tata".to_owned()), Some("00000721-0000-4000-8000-000000000001".to_owned()));
    bench.until(|directory| of(directory) == expected).await;
}

async fn a_commit_of_another_connection_is_published(engine: Engine) {
    let mut bench = Bench::start(engine).await;
    for (word, expected) in [("staging", Environment::Staging), ("oss", Environment::Oss), ("prod", Environment::Prod)]
    {
        bench
            .write(&format!("UPDATE did_numbers SET routing_environment = '{word}' WHERE number = '08065978002'"))
            .await;
        bench.until(|directory| environment(directory, "918065978002") == Some(expected)).await;
    }
    assert_eq!(bench.directory().generation(), Generation(4));
    // What is not read makes no generation.
    bench.write("UPDATE did_numbers SET description = 'front desk' WHERE number = '08065978002'").await;
    assert_eq!(bench.watcher.refresh().await, Ok(Generation(4)));
}

async fn d8_a_generation_is_one_commit(engine: Engine) {
    let mut bench = Bench::start(engine).await;
    let script = "DELETE FROM did_numbers; DELETE FROM users; \
                  INSERT INTO did_numbers (id, number, pool_status) VALUES ('1', '08065978007', 'reserved')";
    // Nothing of an open transaction is seen, and all of it is seen at once.
    match engine {
        Engine::MariaDb => {
            let mut writer = mariadb(&bench.root_url()).await.unwrap();
            let mut transaction = writer.begin().await.unwrap();
            transaction.execute(sqlx::raw_sql(script)).await.unwrap();
            assert_eq!(bench.watcher.refresh().await, Ok(Generation(1)));
            transaction.commit().await.unwrap();
        }
        Engine::Postgres => {
            let mut writer = postgres(&bench.root_url()).await.unwrap();
            let mut transaction = writer.begin().await.unwrap();
            transaction.execute(sqlx::raw_sql(script)).await.unwrap();
            assert_eq!(bench.watcher.refresh().await, Ok(Generation(1)));
            transaction.commit().await.unwrap();
        }
    }
    let directory = bench.until(|directory| directory.generation() > Generation(1)).await;
    assert_eq!((directory.generation(), directory.did_count(), directory.user_count()), (Generation(2), 1, 0));
}

async fn d7_schema_drift_keeps_the_last_good_table(engine: Engine) {
    let mut bench = Bench::start(engine).await;
    bench.write("ALTER TABLE did_numbers RENAME COLUMN routing_environment TO environment").await;
    let missing = SyncFault::ColumnMissing { table: "did_numbers".into(), column: "routing_environment".into() };
    assert_eq!(bench.fault().await, missing);
    assert_eq!((bench.directory().generation(), bench.directory().did_count()), (Generation(1), 55));
    bench.write("ALTER TABLE did_numbers RENAME COLUMN environment TO routing_environment").await;
    bench.recovered().await;
    assert_eq!(bench.watcher.refresh().await, Ok(Generation(1)));
    bench
        .write(
            "ALTER TABLE did_numbers ADD COLUMN colour VARCHAR(8); ALTER TABLE did_numbers DROP COLUMN call_limit; \
             ALTER TABLE did_numbers DROP COLUMN is_default; ALTER TABLE did_numbers DROP COLUMN provider; ALTER TABLE did_numbers DROP COLUMN trunk_id; \
             ALTER TABLE users DROP COLUMN outbound_did",
        )
        .await;
    let directory = bench
        .until(|directory| {
            let did = directory.did(number("08065978002")).unwrap();
            let user = directory.user_by_endpoint(b"org_a1b2c3d4_1002").unwrap();
            did.call_limit() == 0 && did.provider().is_none() && user.outbound_did.is_none()
        })
        .await;
    assert_eq!(directory.did_count(), 55);
    bench.write("ALTER TABLE users RENAME TO people").await;
    assert_eq!(bench.fault().await, SyncFault::TableMissing { table: "users".into() });
    assert_eq!(bench.directory().user_count(), 9);
    bench.write("ALTER TABLE people RENAME TO users").await;
    bench.recovered().await;
    // Another type is another way to write the same values.
    bench.write("ALTER TABLE did_numbers ALTER COLUMN routing_environment DROP DEFAULT").await;
    let retype = match engine {
        Engine::MariaDb => {
            "ALTER TABLE did_numbers MODIFY routing_environment VARBINARY(300), MODIFY updated_at TIMESTAMP"
        }
        Engine::Postgres => {
            "ALTER TABLE did_numbers ALTER COLUMN routing_environment TYPE text, \
             ALTER COLUMN updated_at TYPE timestamptz, ALTER COLUMN id TYPE uuid USING id::uuid"
        }
    };
    bench.write(retype).await;
    bench.watcher.refresh().await.unwrap();
    assert_eq!(bench.directory().faults(), []);
    assert_eq!(environment(&bench.directory(), "08065978021"), Some(Environment::Staging));
}

async fn names_can_be_mapped(engine: Engine) {
    let schema = match engine {
        Engine::MariaDb => "",
        Engine::Postgres => {
            "CREATE SCHEMA pbx; GRANT USAGE ON SCHEMA pbx TO switchyard; ALTER TABLE users SET SCHEMA pbx; "
        }
    };
    let script = "ALTER TABLE did_numbers RENAME TO numbers; ALTER TABLE numbers RENAME COLUMN routing_environment TO env; \
                  GRANT SELECT ON numbers TO switchyard;";
    let script = match engine {
        Engine::MariaDb => script.replace("TO switchyard", "TO switchyard@'127.0.0.1'"),
        Engine::Postgres => script.to_owned(),
    };
    let mut bench = Bench::start_with(engine, &format!("{schema}{script}"), |settings| {
        settings.mapping.rename_table("did_numbers", "numbers").unwrap();
        settings.mapping.rename_column("did_numbers", "routing_environment", "env").unwrap();
        if engine == Engine::Postgres {
            settings.mapping.rename_table("users", "pbx.users").unwrap();
        }
    })
    .await;
    assert_eq!(bench.watcher.status().fault, None);
    let directory = bench.directory();
    assert_eq!((directory.did_count(), directory.user_count(), directory.fault_count()), (55, 9, 0));
    bench.write("UPDATE numbers SET env = 'oss' WHERE number = '08065978002'").await;
    bench.until(|directory| environment(directory, "08065978002") == Some(Environment::Oss)).await;
    bench.write("ALTER TABLE numbers RENAME COLUMN env TO environment").await;
    let missing = SyncFault::ColumnMissing { table: "numbers".into(), column: "env".into() };
    assert_eq!(bench.fault().await, missing);
}

/// Row D5: every kind of dirt that the engine lets in is set aside alone; a row that was good keeps its last good value.
async fn d5_every_kind_of_dirt_is_set_aside_alone(engine: Engine) {
    let mut bench = Bench::start(engine).await;
    let (dirt, expected) = match engine {
        Engine::MariaDb => (sync::schema::MARIADB_DIRTY_ROWS, include_str!("../dirty-mariadb.expected")),
        Engine::Postgres => (sync::schema::POSTGRES_DIRTY_ROWS, include_str!("../dirty-postgres.expected")),
    };
    bench.write(dirt).await;
    bench.watcher.refresh().await.unwrap();
    let directory = bench.directory();
    let listed: Vec<String> = directory.faults().iter().map(ToString::to_string).collect();
    assert_eq!(listed.join("\n"), expected.trim_end(), "\n{}", listed.join("\n"));
    kept_and_clean(&directory);
    // Mended, it is as any other row.
    bench
        .write("UPDATE did_numbers SET routing_environment = 'oss' WHERE id = '00000d1d-0000-4000-8000-008065978003'")
        .await;
    let directory = bench.until(|directory| environment(directory, "08065978003") == Some(Environment::Oss)).await;
    assert!(!directory.did(number("08065978003")).unwrap().kept_last_good);
}

/// Row D5 on PostgreSQL: a database without an encoding can hold broken UTF-8; its row alone is set aside.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d5_broken_utf8_in_a_database_without_an_encoding() {
    let mut bench = Bench::start_with(Engine::Postgres, "", |_| {}).await;
    let database = format!("{}_bytes", bench.database);
    bench.write(&format!("CREATE DATABASE {database} ENCODING 'SQL_ASCII' TEMPLATE template0")).await;
    bench.watcher.stop().await;
    bench.database = database;
    for script in [sync::schema::POSTGRES_TABLES, sync::schema::ROWS] {
        bench.write(script).await;
    }
    bench
        .write(
            "ALTER TABLE did_numbers DROP CONSTRAINT did_numbers_routing_environment; \
             UPDATE did_numbers SET routing_environment = E'prod\\xff' WHERE number = '+918065978006'",
        )
        .await;
    let settings = sync::Settings::new(bench.root_url(), directory::Policy::default());
    let watcher = sync::start(settings).await.unwrap();
    assert_eq!(watcher.status().fault, None);
    let directory = watcher.published().load();
    let listed: Vec<String> = directory.faults().iter().map(ToString::to_string).collect();
    assert_eq!(
        listed,
        ["did_numbers 00000d1d-0000-4000-8000-008065978006: routing_environment: found \"prod\\xff\", expected UTF-8 \
          text (not_utf8; row set aside)"]
    );
    assert_eq!(directory.did_count(), 54);
}

fn kept_and_clean(directory: &Directory) {
    for last in [8003, 8004, 8005, 8007, 8008, 8009, 8011] {
        let did = directory.did(number(&format!("+91806597{last}"))).unwrap();
        assert!(did.kept_last_good, "{last}");
        assert_eq!((did.environment, did.service), (Environment::Prod, Service::InService), "{last}");
    }
    assert_eq!(environment(directory, "08065978002"), Some(Environment::Prod));
    assert_eq!(environment(directory, "08065978021"), Some(Environment::Staging));
    assert_eq!(environment(directory, "08065080726"), Some(Environment::Staging));
    assert_eq!(environment(directory, "08065080725"), None);
}
