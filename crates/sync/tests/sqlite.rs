//! A real SQLite file, changed by other connections while the writer looks at it.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failure of the bench fails the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use directory::{Directory, Environment, Generation, Policy, PoolStates, PoolStatus, Service};
use sip::{Number, Numbering};
use sync::{Published, Settings, SyncFault, Watcher, schema};
use tokio::sync::watch;
use tokio::time::timeout;

/// How long a change may take to be published: the product's promise for a file.
const PUBLISHED_WITHIN: Duration = Duration::from_millis(500);
/// How long a test waits for what it waits for before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder with a database, and a writer that looks at it.
struct Bench {
    folder: tempfile::TempDir,
    watcher: Watcher,
    bell: watch::Receiver<Generation>,
}

impl Bench {
    /// A writer that looks at a file made by these scripts; with none, there is no file.
    async fn start(scripts: &[&'static str]) -> Bench {
        Bench::start_with(scripts, |_| {}).await
    }

    async fn start_with(scripts: &[&'static str], adjust: impl FnOnce(&mut Settings)) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("directory.db");
        if !scripts.is_empty() {
            schema::run(&path, scripts).await.unwrap();
        }
        let mut settings = Settings::new(format!("sqlite://{}", path.display()), Policy::default());
        // What the guard does has tests of its own.
        settings.guard = None;
        adjust(&mut settings);
        let watcher = sync::start(settings).await.unwrap();
        let bell = watcher.published().subscribe();
        Bench { folder, watcher, bell }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("directory.db")
    }

    fn directory(&self) -> Arc<Directory> {
        self.watcher.published().load()
    }

    /// Changes the file as any other program would.
    async fn write(&self, script: &'static str) {
        schema::run(&self.path(), &[script]).await.unwrap();
    }

    /// Waits for the next generation.
    async fn published(&mut self) -> Arc<Directory> {
        timeout(PATIENCE, self.bell.changed()).await.expect("nothing was published").unwrap();
        self.directory()
    }

    /// Waits until the last look failed, and says why.
    async fn fault(&self) -> SyncFault {
        let wait = async {
            loop {
                match self.watcher.status().fault {
                    Some(fault) => return fault,
                    None => tokio::task::yield_now().await,
                }
            }
        };
        timeout(PATIENCE, wait).await.expect("no look failed")
    }
}

fn number(spelling: &str) -> Number {
    Numbering::default().canonical(spelling.as_bytes()).unwrap()
}

fn environment(directory: &Directory, spelling: &str) -> Option<Environment> {
    directory.did(number(spelling)).map(|did| did.environment)
}

const CLEAN: [&str; 2] = [schema::SQLITE_TABLES, schema::ROWS];
const DIRTY: [&str; 3] = [schema::SQLITE_TABLES, schema::ROWS, schema::SQLITE_DIRTY_ROWS];

#[tokio::test]
async fn the_made_up_rows_have_no_fault_and_keep_to_the_convention_of_the_ranges() {
    let bench = Bench::start(&CLEAN).await;
    let directory = bench.directory();
    assert!(directory.is_loaded());
    assert_eq!(directory.generation(), Generation(1));
    assert_eq!(directory.faults(), []);
    assert_eq!((directory.did_count(), directory.user_count(), directory.organisation_count()), (55, 9, 4));
    for last in 8000..=8029 {
        let expected = match last {
            8000..=8020 => Environment::Prod,
            8021..=8024 => Environment::Staging,
            _ => Environment::Oss,
        };
        assert_eq!(environment(&directory, &format!("+91806597{last}")), Some(expected), "{last}");
    }
    let did = directory.did(number("08065978002")).unwrap();
    assert_eq!((did.call_limit(), did.provider(), did.service), (2, Some("tata"), Service::InService));
    assert_eq!(did.trunk_id(), None);
    let user = directory.user_by_endpoint(b"org_a1b2c3d4_1002").unwrap();
    assert_eq!(user.outbound_did, Some(number("918065978004")));
    assert_eq!(directory.organisation(user.organisation).limits.concurrent_calls, Some(30));
    assert_eq!(directory.trunks().map(|trunk| trunk.port).collect::<Vec<_>>(), [5060, 5080]);
}

/// The promise holds for each commit; a machine that is busy with other tests may break it once, not three times.
#[tokio::test]
async fn a_commit_of_another_connection_is_published_in_time() {
    let mut bench = Bench::start(&CLEAN).await;
    let mut fastest = PATIENCE;
    for (generation, word) in [(2, "staging"), (3, "oss"), (4, "prod")] {
        let mut writer = sqlx_connection(&bench.path()).await;
        let update = "UPDATE did_numbers SET routing_environment = ? WHERE number = '08065978002'";
        sqlx::query(update).bind(word).execute(&mut writer).await.unwrap();
        let committed_at = Instant::now();
        let directory = bench.published().await;
        fastest = fastest.min(committed_at.elapsed());
        assert_eq!(directory.generation(), Generation(generation));
        assert_eq!(environment(&directory, "918065978002"), word.parse().ok());
    }
    assert!(fastest < PUBLISHED_WITHIN, "{fastest:?}");
    // The bell rings before the time of its own generation is noted.
    let times = bench.watcher.take_apply_times();
    assert!(times.len() >= 3 && times.iter().all(|took| !took.is_zero() && *took < PATIENCE), "{times:?}");
}

#[tokio::test]
async fn a_commit_in_wal_mode_is_published() {
    // The main file does not change before the checkpoint: only data_version tells.
    let mut bench = Bench::start(&[schema::SQLITE_TABLES, schema::ROWS]).await;
    // This connection stays open, which keeps the checkpoint away.
    let mut writer = sqlx_connection(&bench.path()).await;
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode = WAL").fetch_one(&mut writer).await.unwrap();
    assert_eq!(mode, "wal");
    bench.watcher.refresh().await.unwrap();
    sqlx::query("DELETE FROM did_numbers WHERE number = '+918065978000'").execute(&mut writer).await.unwrap();
    assert_eq!(environment(&*bench.published().await, "918065978000"), None);
}

async fn sqlx_connection(path: &Path) -> sqlx::SqliteConnection {
    use sqlx::ConnectOptions;
    sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap()
}

/// Row D8: uncommitted changes are never seen, and one commit over several tables is one generation.
#[tokio::test]
async fn d8_a_generation_is_one_commit() {
    use sqlx::Connection;
    let mut bench = Bench::start(&CLEAN).await;
    let mut writer = sqlx_connection(&bench.path()).await;
    let mut transaction = writer.begin().await.unwrap();
    let commands = [
        "DELETE FROM did_numbers",
        "DELETE FROM users",
        "INSERT INTO did_numbers (id, number, pool_status) VALUES ('1', '08065978007', 'reserved')",
    ];
    for command in commands {
        sqlx::query(command).execute(&mut *transaction).await.unwrap();
    }
    let generation = bench.watcher.refresh().await.unwrap();
    assert_eq!((generation, bench.directory().did_count()), (Generation(1), 55));
    transaction.commit().await.unwrap();
    let directory = bench.published().await;
    assert_eq!((directory.generation(), directory.did_count(), directory.user_count()), (Generation(2), 1, 0));
}

#[tokio::test]
async fn a_change_that_changes_nothing_for_us_is_no_generation() {
    let bench = Bench::start(&CLEAN).await;
    bench.write("UPDATE did_numbers SET description = 'front desk', updated_at = '2026-05-09 09:00:00'").await;
    assert_eq!(bench.watcher.refresh().await, Ok(Generation(1)));
}

/// Row D5 on SQLite: every kind of dirt is set aside alone, listed with table, key, column, found and expected.
#[tokio::test]
async fn d5_every_kind_of_dirt_is_set_aside_alone() {
    let bench = Bench::start(&DIRTY).await;
    let directory = bench.directory();
    let listed: Vec<String> = directory.faults().iter().map(ToString::to_string).collect();
    let expected = include_str!("dirty-sqlite.expected");
    assert_eq!(listed.join("\n"), expected.trim_end(), "\n{}", listed.join("\n"));
    assert_eq!(directory.fault_count(), listed.len() as u64);
    // What is clean is in effect.
    assert_eq!(environment(&directory, "08065978002"), Some(Environment::Prod));
    assert_eq!(environment(&directory, "08065978021"), Some(Environment::Staging));
    assert_eq!(environment(&directory, "08065080726"), Some(Environment::Staging));
    assert_eq!(environment(&directory, "08065080725"), None);
}

#[tokio::test]
async fn a_row_that_turns_bad_keeps_its_last_good_value_until_it_is_mended() {
    let mut bench = Bench::start(&CLEAN).await;
    bench.write(schema::SQLITE_DIRTY_ROWS).await;
    let directory = bench.published().await;
    for last in [8003, 8004, 8005, 8006, 8007, 8008, 8009, 8011] {
        let did = directory.did(number(&format!("+91806597{last}"))).unwrap();
        assert!(did.kept_last_good, "{last}");
        assert_eq!((did.environment, did.service), (Environment::Prod, Service::InService), "{last}");
    }
    // It stays so over later generations.
    bench.write("DELETE FROM did_numbers WHERE number = '+918065978000'").await;
    assert!(bench.published().await.did(number("08065978003")).unwrap().kept_last_good);
    bench
        .write("UPDATE did_numbers SET routing_environment = 'oss' WHERE id = '00000d1d-0000-4000-8000-008065978003'")
        .await;
    let did_is = |directory: &Directory| {
        let did = directory.did(number("08065978003")).unwrap();
        (did.environment, did.kept_last_good)
    };
    assert_eq!(did_is(&*bench.published().await), (Environment::Oss, false));
}

/// What a reading of everything says now.
async fn afresh(bench: &Bench) -> Arc<Directory> {
    let url = format!("sqlite://{}", bench.path().display());
    let watcher = sync::start(Settings::new(url, Policy::default())).await.unwrap();
    watcher.published().load()
}

/// Rows D7 and D8: whatever another connection writes, what is found to have changed adds up to a reading of everything.
#[tokio::test]
async fn comparing_finds_whatever_was_written() {
    let without_rowid = "ALTER TABLE did_numbers RENAME TO old; \
        CREATE TABLE did_numbers (id TEXT NOT NULL PRIMARY KEY, org_id, number, status, pool_status, \
        routing_environment, is_default, call_limit, provider, updated_at) WITHOUT ROWID; \
        INSERT INTO did_numbers SELECT id, org_id, number, status, pool_status, routing_environment, is_default, \
        call_limit, provider, updated_at FROM old; DROP TABLE old";
    let unlimited = |settings: &mut Settings| settings.guard = None;
    let bench = Bench::start_with(&CLEAN, unlimited).await;
    for script in [
        "UPDATE did_numbers SET routing_environment = 'oss' WHERE number = '08065978002'",
        // Another case of a letter, NULL for empty text, a number for a text.
        "UPDATE users SET username = upper(username); UPDATE users SET outbound_did = '' WHERE outbound_did IS NULL",
        "UPDATE did_numbers SET call_limit = '7' WHERE number = '08065978002'",
        "UPDATE did_numbers SET routing_environment = CAST('staging' AS BLOB) WHERE number = '+918065978003'",
        "UPDATE did_numbers SET routing_environment = 'lab' || char(0) WHERE number = '+918065978003'",
        // Ids that change hands, and rows that come back under another rowid.
        "UPDATE did_numbers SET id = 'x' WHERE number = '08065978002'; \
         UPDATE did_numbers SET id = '00000d1d-0000-4000-8000-008065978002' WHERE number = '+918065978003'; \
         UPDATE did_numbers SET id = '00000d1d-0000-4000-8000-008065978003' WHERE number = '08065978002'",
        "CREATE TABLE kept AS SELECT * FROM users; DELETE FROM users; INSERT INTO users SELECT * FROM kept ORDER BY id DESC",
        "DELETE FROM did_numbers WHERE number LIKE '%80659780%'",
        "INSERT INTO did_numbers (id, number, pool_status) VALUES ('9', '08065978007', 'reserved'), ('8', NULL, NULL)",
        "DELETE FROM did_numbers WHERE id = '9'; INSERT INTO did_numbers (id, number) VALUES ('10', '08065978007')",
        "ALTER TABLE did_numbers DROP COLUMN provider",
        "ALTER TABLE did_numbers ADD COLUMN provider TEXT DEFAULT 'tata'",
        "UPDATE did_numbers SET provider = 'second' WHERE id = '10'",
        without_rowid,
        "UPDATE did_numbers SET provider = 'third' WHERE id = '10'; DELETE FROM users",
        "UPDATE did_numbers SET status = 'inactive'; DELETE FROM sip_trunks; DELETE FROM organizations",
    ] {
        bench.write(script).await;
        bench.watcher.refresh().await.unwrap();
        let told = |directory: &Directory| -> Vec<String> {
            let trunks = directory.trunks().map(|trunk| format!("{trunk:?}"));
            let users =
                directory.users().map(|user| format!("{} {:?} {}", user.endpoint, user.outbound_did, user.username));
            let row = |number| directory.did_row_id(number);
            let facts = directory.dids().map(|did| {
                format!(
                    "{} {:?} {:?} {} {:?} {:?}",
                    did.number,
                    did.environment,
                    did.service,
                    did.call_limit(),
                    did.provider(),
                    row(did.number)
                )
            });
            let mut told: Vec<String> = facts.chain(users).chain(trunks).collect();
            told.sort();
            told
        };
        let (found, afresh) = (bench.directory(), afresh(&bench).await);
        // A value that was good is kept by one and unknown to the other.
        let kept = found.dids().filter(|did| did.kept_last_good).map(|did| did.number.to_string()).next();
        let without = |told: Vec<String>| -> Vec<String> {
            told.into_iter().filter(|line| kept.as_deref().is_none_or(|kept| !line.starts_with(kept))).collect()
        };
        assert_eq!(without(told(&found)), without(told(&afresh)), "{script}");
    }
}

/// A file whose triggers keep a change log, and a writer whose full readings never come.
async fn logging(scripts: &[&'static str]) -> Bench {
    let bench = Bench::start(scripts).await;
    bench.watcher.stop().await;
    let url = format!("sqlite://{}", bench.path().display());
    let migration = sync::Migration { mapping: sync::Mapping::default(), account: String::new(), has_change_log: true };
    sync::migrate(&url, &migration, |_| {}).await.unwrap();
    let mut settings = Settings::new(url, Policy::default());
    (settings.guard, settings.reconcile_interval) = (None, Duration::from_secs(3_600));
    let watcher = sync::start(settings).await.unwrap();
    assert_eq!(watcher.status().detection, "change_log");
    let bell = watcher.published().subscribe();
    Bench { watcher, bell, ..bench }
}

#[tokio::test]
async fn a_trigger_of_a_file_that_is_gone_or_anothers_is_named() {
    let bench = logging(&CLEAN).await;
    let settings = Settings::new(format!("sqlite://{}", bench.path().display()), Policy::default());
    let seen = sync::examine(&settings, None).await.unwrap();
    let whole = sync::Triggers::Seen { wanted: 21, faults: Vec::new() };
    assert_eq!((seen.clock, seen.triggers), (None, whole), "a file has no clock of its own");
    bench.write("DROP TRIGGER switchyard_users_delete").await;
    bench
        .write(
            "DROP TRIGGER switchyard_did_numbers_update; \
             CREATE TRIGGER switchyard_did_numbers_update AFTER UPDATE ON did_numbers FOR EACH ROW BEGIN SELECT 1; END",
        )
        .await;
    let expected = vec![
        "the trigger switchyard_did_numbers_update on \"did_numbers\" is not what `switchyard db plan` prints"
            .to_owned(),
        "DELETE of \"users\" is not noted: there is no trigger switchyard_users_delete".to_owned(),
    ];
    let found = sync::examine(&settings, None).await.unwrap().triggers;
    assert_eq!(found, sync::Triggers::Seen { wanted: 21, faults: expected });
}

/// What the triggers note is read, and nothing else: what they add up to is what a reading of everything says.
#[tokio::test]
async fn what_the_triggers_note_is_read_and_nothing_else() {
    let mut bench = logging(&CLEAN).await;
    for script in [
        "UPDATE did_numbers SET routing_environment = 'oss' WHERE number = '08065978002'",
        "DELETE FROM did_numbers WHERE number = '+918065978003'; DELETE FROM sip_trunks",
        "UPDATE did_numbers SET id = 'another' WHERE number = '918065978004'",
        "INSERT INTO users (id, org_id, extension, asterisk_endpoint) \
         VALUES ('new', '0000000a-0000-4000-8000-a1b2c3d40000', '1999', 'org_a1b2c3d4_1999')",
        "UPDATE organizations SET name = 'Asha' WHERE id = '0000000a-0000-4000-8000-a1b2c3d40000'",
        "SAVEPOINT taken_back; UPDATE did_numbers SET routing_environment = 'staging'; ROLLBACK TO taken_back; \
         UPDATE did_numbers SET routing_environment = 'staging' WHERE number = '918065978007'",
    ] {
        bench.write(script).await;
        bench.watcher.refresh().await.unwrap();
        assert_eq!(bench.watcher.status().detection, "change_log", "{script}");
        assert!(afresh(&bench).await.says_the_same(&bench.directory()), "{script}");
    }
    // Found by the ordinary look too, in a file without a write-ahead log and in one with.
    for mode in ["DELETE", "WAL"] {
        let mut writer = sqlx_connection(&bench.path()).await;
        let _: String = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("PRAGMA journal_mode = {mode}")))
            .fetch_one(&mut writer)
            .await
            .unwrap();
        bench.watcher.refresh().await.unwrap();
        let word = if mode == "WAL" { "prod" } else { "oss" };
        let seen = *bench.bell.borrow_and_update();
        let update = "UPDATE did_numbers SET routing_environment = ? WHERE number = '08065978008'";
        sqlx::query(update).bind(word).execute(&mut writer).await.unwrap();
        let directory = bench.published().await;
        assert!(directory.generation() > seen);
        assert_eq!(environment(&directory, "918065978008"), word.parse().ok());
    }
    // A change that is not noted is not seen beside one that is: nothing reads the whole table.
    bench
        .write(
            "DROP TRIGGER switchyard_did_numbers_update; \
             UPDATE did_numbers SET routing_environment = 'oss' WHERE number = '08065978005'; \
             DELETE FROM did_numbers WHERE number = '+918065978006'",
        )
        .await;
    bench.watcher.refresh().await.unwrap();
    let directory = bench.directory();
    assert_eq!(environment(&directory, "918065978006"), None);
    assert_eq!(environment(&directory, "918065978005"), Some(Environment::Prod));
}

/// The triggers cut the log themselves; a reader that is behind what is left of it reads everything.
#[tokio::test]
async fn a_log_is_cut_by_its_triggers_and_a_mass_change_is_read_as_a_whole() {
    let bench = logging(&CLEAN).await;
    bench
        .write(
            "WITH RECURSIVE turns (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM turns WHERE n < 2100) \
             INSERT INTO users (id, org_id, extension) SELECT 'made-up-' || n, \
             '0000000a-0000-4000-8000-a1b2c3d40000', 'x' || n FROM turns; \
             UPDATE users SET username = 'a'; UPDATE users SET username = 'b'; UPDATE users SET username = 'c'; \
             UPDATE users SET username = 'd'; UPDATE users SET username = 'e'; UPDATE users SET username = 'f'; \
             UPDATE users SET username = 'g'; UPDATE users SET username = 'h'; UPDATE users SET username = 'i'",
        )
        .await;
    bench.watcher.refresh().await.unwrap();
    assert!(afresh(&bench).await.says_the_same(&bench.directory()));
    let mut reader = sqlx_connection(&bench.path()).await;
    sqlx::query("INSERT INTO switchyard_changes (id, table_name) VALUES (200000, 'users')")
        .execute(&mut reader)
        .await
        .unwrap();
    bench.write("UPDATE users SET username = 'j' WHERE id = 'made-up-1'").await;
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM switchyard_changes").fetch_one(&mut reader).await.unwrap();
    assert_eq!(left, 2);
}

/// A log that is shorter than it was read is another file's, and everything is read.
#[tokio::test]
async fn a_file_with_a_log_that_is_overwritten_in_place_is_read() {
    let bench = logging(&CLEAN).await;
    bench.write("UPDATE did_numbers SET routing_environment = 'oss' WHERE number = '08065978002'").await;
    bench.watcher.refresh().await.unwrap();
    let other = logging(&[schema::SQLITE_TABLES]).await;
    fs::write(bench.path(), fs::read(other.path()).unwrap()).unwrap();
    bench.watcher.refresh().await.unwrap();
    assert_eq!(bench.directory().did_count(), 0);
}

#[tokio::test]
async fn a_missing_file_is_waited_for() {
    let mut bench = Bench::start(&[]).await;
    assert!(!bench.directory().is_loaded());
    let status = bench.watcher.status();
    assert_eq!((status.generation, status.is_loaded, status.age), (Generation(0), false, None));
    assert_eq!(status.fault, Some(SyncFault::FileMissing { path: bench.path() }));
    let made = bench.folder.path().join("made.db");
    schema::run(&made, &CLEAN).await.unwrap();
    fs::rename(&made, bench.path()).unwrap();
    let directory = bench.published().await;
    assert_eq!((directory.is_loaded(), directory.did_count()), (true, 55));
    assert_eq!(bench.watcher.refresh().await, Ok(Generation(1)));
    assert!(bench.watcher.status().fault.is_none());
}

#[tokio::test]
async fn a_file_that_is_deleted_leaves_the_table_and_one_that_takes_its_place_is_read() {
    let mut bench = Bench::start(&CLEAN).await;
    fs::remove_file(bench.path()).unwrap();
    assert_eq!(bench.fault().await, SyncFault::FileMissing { path: bench.path() });
    assert_eq!(bench.directory().did_count(), 55);
    assert!(bench.watcher.status().age.is_some());
    let script = "DELETE FROM did_numbers WHERE routing_environment = 'oss'";
    schema::run(&bench.path(), &[schema::SQLITE_TABLES, schema::ROWS, script]).await.unwrap();
    assert_eq!(bench.published().await.did_count(), 50);
    // The same again in one step, as a restore does it.
    let restored = bench.folder.path().join("restored.db");
    schema::run(&restored, &CLEAN).await.unwrap();
    fs::rename(&restored, bench.path()).unwrap();
    assert_eq!(bench.published().await.did_count(), 55);
}

#[tokio::test]
async fn a_file_that_is_overwritten_in_place_is_read() {
    let mut bench = Bench::start(&CLEAN).await;
    let other = bench.folder.path().join("other.db");
    schema::run(&other, &[schema::SQLITE_TABLES]).await.unwrap();
    fs::write(bench.path(), fs::read(&other).unwrap()).unwrap();
    assert_eq!(bench.published().await.did_count(), 0);
}

/// Row D7: a missing column keeps the last good table and says which column of which table; an optional or an unknown
/// one does nothing.
#[tokio::test]
async fn d7_schema_drift_keeps_the_last_good_table() {
    let mut bench = Bench::start(&CLEAN).await;
    bench.write("ALTER TABLE did_numbers RENAME COLUMN routing_environment TO environment").await;
    let expected = SyncFault::ColumnMissing { table: "did_numbers".into(), column: "routing_environment".into() };
    assert_eq!(bench.fault().await, expected);
    assert_eq!(bench.watcher.refresh().await, Err(expected.clone()));
    let told = "table did_numbers: column routing_environment not found, expected it as in the reference schema";
    assert_eq!(expected.to_string(), told);
    assert_eq!((bench.directory().generation(), bench.directory().did_count()), (Generation(1), 55));
    bench.write("ALTER TABLE did_numbers RENAME COLUMN environment TO routing_environment").await;
    assert_eq!(bench.watcher.refresh().await, Ok(Generation(1)));
    bench.write("ALTER TABLE did_numbers ADD COLUMN colour TEXT; ALTER TABLE did_numbers DROP COLUMN call_limit").await;
    let directory = bench.published().await;
    assert_eq!(directory.did(number("08065978002")).unwrap().call_limit(), 0);
    bench.write("ALTER TABLE users RENAME TO people").await;
    assert_eq!(bench.watcher.refresh().await, Err(SyncFault::TableMissing { table: "users".into() }));
    assert_eq!(bench.directory().user_count(), 9);
}

#[tokio::test]
async fn a_file_that_is_no_database_keeps_the_last_good_table() {
    let bench = Bench::start(&CLEAN).await;
    fs::write(bench.path(), "this is no database, however long one looks at it\n".repeat(100)).unwrap();
    let fault = bench.watcher.refresh().await.unwrap_err();
    assert!(fault.to_string().contains("not a database"), "{fault}");
    assert_eq!(bench.directory().did_count(), 55);
}

/// Row D9: several writers at once, in a file of many pages; what each look found adds up to what is there, and no full
/// reading or comparison helps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d9_a_stream_of_commits_to_a_file_loses_nothing() {
    const MANY: &str = "WITH RECURSIVE turns (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM turns WHERE n < 2999) \
        INSERT INTO did_numbers (id, org_id, number, status, pool_status, routing_environment) \
        SELECT 'made-up-' || n, '0000000a-0000-4000-8000-a1b2c3d40000', 918065100000 + n, 'active', 'assigned', 'prod' \
        FROM turns";
    for mode in ["DELETE", "WAL"] {
        let never = |settings: &mut Settings| settings.reconcile_interval = Duration::from_secs(3_600);
        let bench = Bench::start_with(&[schema::SQLITE_TABLES, schema::ROWS, MANY], never).await;
        let pragma = sqlx::AssertSqlSafe(format!("PRAGMA journal_mode = {mode}"));
        let mut writer = sqlx_connection(&bench.path()).await;
        let _: String = sqlx::query_scalar(pragma).fetch_one(&mut writer).await.unwrap();
        let writers = (0..2_u64).map(|writer| {
            let path = bench.path();
            tokio::spawn(async move {
                let mut connection = sqlx_connection(&path).await;
                for turn in 0..100_u64 {
                    let at = (writer * 7 + turn * 2_654_435_761) % 3_000;
                    let word = ["oss", "staging", "prod"][usize::try_from(turn % 3).unwrap()];
                    let script = format!(
                        "UPDATE did_numbers SET routing_environment = '{word}' WHERE rowid BETWEEN {at} AND {at} + {turn}; \
                         DELETE FROM did_numbers WHERE id = 'made-up-{at}' AND {turn} % 4 = 0; \
                         INSERT INTO did_numbers (id, number) SELECT 'late-{writer}-' || {turn}, 918065200000 + {at} \
                         WHERE NOT EXISTS (SELECT 1 FROM did_numbers WHERE number = 918065200000 + {at})"
                    );
                    let begun = format!("BEGIN IMMEDIATE; {script}; COMMIT");
                    sqlx::raw_sql(sqlx::AssertSqlSafe(begun)).execute(&mut connection).await.unwrap();
                }
            })
        });
        let writers: Vec<_> = writers.collect();
        for writer in writers {
            timeout(PATIENCE, writer).await.expect("the writers never ended").unwrap();
        }
        bench.watcher.refresh().await.unwrap();
        let directory = bench.directory();
        assert!(directory.generation() > Generation(2), "{mode}: {}", directory.generation().0);
        assert_eq!(bench.watcher.status().detection, "compare");
        assert!(afresh(&bench).await.says_the_same(&directory), "{mode}");
    }
}

/// SQLite itself cannot read such a file beside our own memory, and says so in words that name nothing.
#[tokio::test]
async fn a_file_in_another_encoding_is_named_with_what_was_found_and_expected() {
    let bench = Bench::start(&[]).await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(bench.path()).create_if_missing(true);
    let mut other = sqlx::ConnectOptions::connect(&options.pragma("encoding", "'UTF-16le'")).await.unwrap();
    sqlx::raw_sql(schema::SQLITE_TABLES).execute(&mut other).await.unwrap();
    let missing = SyncFault::FileMissing { path: bench.path() };
    let wait = async {
        while bench.fault().await == missing {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, wait).await.expect("the file was not looked at");
    let fault = bench.fault().await;
    assert_eq!(fault, SyncFault::Encoding { path: bench.path(), found: "UTF-16le".to_owned() });
    let text = fault.to_string();
    assert!(text.contains("directory.db: found text encoded as UTF-16le, expected UTF-8"), "{text}");
}

/// Row D4 on SQLite: a lock that is held for long costs nothing but age, and everyone who asked gets an answer.
#[tokio::test]
async fn d4_a_locked_database_changes_nothing() {
    let bench = Bench::start_with(&CLEAN, |settings| settings.query_timeout = Duration::from_millis(200)).await;
    let mut writer = sqlx_connection(&bench.path()).await;
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut writer).await.unwrap();
    let asked_at = Instant::now();
    assert_eq!(bench.watcher.refresh().await, Err(SyncFault::TimedOut(Duration::from_millis(200))));
    assert!(asked_at.elapsed() < PATIENCE);
    assert_eq!(bench.directory().did_count(), 55);
    sqlx::query("ROLLBACK").execute(&mut writer).await.unwrap();
    let wait = async { while bench.watcher.refresh().await.is_err() {} };
    timeout(PATIENCE, wait).await.expect("it never recovered");
    assert!(bench.watcher.status().fault.is_none());
}

#[tokio::test]
async fn requests_to_refresh_share_one_reading_and_all_are_answered() {
    let bench = Bench::start(&CLEAN).await;
    bench.write("DELETE FROM did_numbers WHERE routing_environment = 'oss'").await;
    let refresh = || {
        let watcher = bench.watcher.clone();
        tokio::spawn(async move { watcher.refresh().await })
    };
    let asked: Vec<_> = (0..200).map(|_| refresh()).collect();
    for answer in asked {
        assert_eq!(answer.await.unwrap(), Ok(Generation(2)));
    }
    assert_eq!(bench.directory().did_count(), 50);
}

#[tokio::test]
async fn another_policy_is_another_generation() {
    let bench = Bench::start(&CLEAN).await;
    let reserved = |directory: &Directory| directory.did(number("08065978029")).unwrap().service;
    assert_eq!(reserved(&bench.directory()), Service::NotAssigned(PoolStatus::Reserved));
    let pool_states = PoolStates::new(&[PoolStatus::Assigned, PoolStatus::Reserved]);
    let policy = Policy { pool_states, ..Policy::default() };
    assert_eq!(bench.watcher.set_policy(policy).await, Ok(Generation(2)));
    assert_eq!(reserved(&bench.directory()), Service::InService);
}

#[tokio::test]
async fn after_a_stop_the_last_directory_stays() {
    let bench = Bench::start(&CLEAN).await;
    bench.watcher.stop().await;
    assert!(matches!(bench.watcher.refresh().await, Err(SyncFault::NotRunning { .. })));
    assert_eq!(bench.directory().did_count(), 55);
    bench.watcher.stop().await;
}

#[tokio::test]
async fn settings_that_can_never_work_are_refused_without_showing_a_secret() {
    for url in
        ["mongodb://user:s3cret@db/x", "", "sqlite::memory:", "sqlite://", "sqlite:///x.db?mode=memory", "s3cret"]
    {
        let fault = sync::start(Settings::new(url, Policy::default())).await.err().unwrap();
        assert!(matches!(fault, SyncFault::Url { .. }), "{url}: {fault}");
        assert!(!fault.to_string().contains("user:s3cret"), "{fault}");
    }
}

#[tokio::test]
async fn a_worker_sees_what_is_published_and_keeps_what_it_holds() {
    let publisher = sync::Publisher::new(Directory::empty());
    let published: Published = publisher.published();
    let mut reader = published.reader();
    let held = Arc::clone(reader.latest());
    assert!(!held.is_loaded());
    let next = directory::build(Generation(1), directory::Rows::default(), &Policy::default(), None);
    publisher.publish(next);
    assert!(!held.is_loaded());
    assert!(reader.latest().is_loaded());
    assert_eq!(*published.subscribe().borrow(), Generation(1));
}
