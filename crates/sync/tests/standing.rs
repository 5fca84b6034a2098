//! What stands whatever the database says: the guard, the snapshot, the log of generations. On an SQLite file, as it
//! needs no server; none of it depends on the engine.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failure of the bench fails the test")]

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use directory::{Directory, Environment, Generation, HoldReason, Policy, Table};
use sip::{Number, Numbering};
use sync::{Cause, PREVIOUS_SNAPSHOT_NAME, SNAPSHOT_NAME, Settings, SyncFault, Watcher, schema};

struct Bench {
    folder: tempfile::TempDir,
    watcher: Watcher,
}

impl Bench {
    async fn start(adjust: impl FnOnce(&mut Settings)) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("directory.db");
        schema::run(&path, &[schema::SQLITE_TABLES, schema::ROWS]).await.unwrap();
        let watcher = watch(&path, adjust).await;
        Bench { folder, watcher }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("directory.db")
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn directory(&self) -> Arc<Directory> {
        self.watcher.published().load()
    }

    /// Changes the file, and answers with the generation in which it shows.
    async fn write(&self, script: &'static str) -> Generation {
        schema::run(&self.path(), &[script]).await.unwrap();
        self.watcher.refresh().await.unwrap()
    }

    /// The same database with another writer, which keeps snapshots.
    async fn again(&mut self) {
        self.watcher.stop().await;
        fs::create_dir_all(self.state()).unwrap();
        let state = self.state();
        self.watcher = watch(&self.path(), |settings| settings.snapshot_dir = Some(state)).await;
    }
}

async fn watch(path: &std::path::Path, adjust: impl FnOnce(&mut Settings)) -> Watcher {
    let mut settings = Settings::new(format!("sqlite://{}", path.display()), Policy::default());
    adjust(&mut settings);
    sync::start(settings).await.unwrap()
}

fn number(spelling: &str) -> Number {
    Numbering::default().canonical(spelling.as_bytes()).unwrap()
}

/// Row D6: what became empty is held, and let in by an operator alone.
#[tokio::test]
async fn d6_an_empty_table_is_held_until_it_is_accepted() {
    let bench = Bench::start(|_| {}).await;
    assert_eq!(bench.watcher.accept("none").await, Err(SyncFault::NothingHeld));
    assert_eq!(bench.write("DELETE FROM users").await, Generation(1));
    let held = bench.watcher.held().unwrap();
    assert_eq!(held.reasons, [HoldReason::TableEmpty(Table::Users)]);
    assert_eq!((held.difference.users.removed, held.is_rejected), (9, false));
    assert_eq!(bench.directory().user_count(), 9);
    assert!(bench.watcher.status().is_degraded());
    assert_eq!(bench.watcher.accept("the users have moved out").await, Ok(Generation(2)));
    assert_eq!((bench.directory().user_count(), bench.watcher.held()), (0, None));
    let cause = bench.watcher.generations().pop().unwrap().cause;
    assert_eq!(cause, Cause::Accepted { reason: "the users have moved out".to_owned() });
}

/// Row D6: a mass deletion is held; rejected, it stays out, also beside other changes, until it is mended.
#[tokio::test]
async fn d6_a_mass_deletion_is_held_and_mended() {
    let bench = Bench::start(|_| {}).await;
    let kept = "CREATE TABLE kept AS SELECT * FROM did_numbers; DELETE FROM did_numbers WHERE number <> '08065978002'";
    assert_eq!(bench.write(kept).await, Generation(1));
    let held = bench.watcher.held().unwrap();
    assert_eq!(held.reasons, [HoldReason::RowsLost { table: Table::Dids, lost: 54, allowed: 50 }]);
    assert_eq!(bench.watcher.reject().await, Ok(Generation(1)));
    assert!(bench.watcher.held().unwrap().is_rejected);
    assert_eq!(bench.watcher.refresh().await, Ok(Generation(1)));
    assert!(bench.watcher.held().unwrap().is_rejected);
    // Other data: it is weighed anew, and still too little.
    bench.write("UPDATE did_numbers SET routing_environment = 'oss'").await;
    assert!(!bench.watcher.held().unwrap().is_rejected);
    assert_eq!(bench.directory().did(number("08065978002")).unwrap().environment, Environment::Prod);
    // Mended, it is let in with what has changed beside.
    let mend = "INSERT INTO did_numbers SELECT * FROM kept WHERE number <> '08065978002'";
    assert_eq!(bench.write(mend).await, Generation(2));
    assert_eq!(bench.watcher.held(), None);
    assert_eq!(bench.directory().did_count(), 55);
    assert_eq!(bench.directory().did(number("08065978002")).unwrap().environment, Environment::Oss);
}

/// Row D6: many small deletions count like one.
#[tokio::test]
async fn d6_losses_add_up() {
    let bench = Bench::start(|_| {}).await;
    for script in [
        "DELETE FROM did_numbers WHERE number LIKE '%80659780%'",
        "DELETE FROM did_numbers WHERE number LIKE '%806508070%'",
        "DELETE FROM did_numbers WHERE number LIKE '%806508071%'",
    ] {
        bench.write(script).await;
    }
    assert_eq!(bench.directory().did_count(), 5);
    assert_eq!(bench.watcher.held(), None);
    bench.write("DELETE FROM did_numbers WHERE number LIKE '%8065080720'").await;
    let reasons = bench.watcher.held().unwrap().reasons;
    assert_eq!(reasons, [HoldReason::RowsLost { table: Table::Dids, lost: 51, allowed: 50 }]);
}

/// What others move is held beyond the limit; what we moved ourselves is not counted.
#[tokio::test]
async fn our_own_moves_are_not_held() {
    let few = |settings: &mut Settings| {
        let guard = settings.guard.as_mut().unwrap();
        (guard.moved_dids, guard.moved_percent) = (3, 1);
    };
    let bench = Bench::start(few).await;
    let moves = "UPDATE did_numbers SET routing_environment = 'oss' WHERE number IN \
                 ('+918065978000', '918065978001', '08065978002', '+918065978003')";
    for last in 8000..8004 {
        bench.watcher.note_own_move(number(&format!("+91806597{last}")), Environment::Oss);
    }
    assert_eq!(bench.write(moves).await, Generation(2));
    bench.write("UPDATE did_numbers SET routing_environment = 'staging' WHERE number LIKE '%80650807%'").await;
    let reasons = bench.watcher.held().unwrap().reasons;
    assert!(matches!(reasons.as_slice(), [HoldReason::DidsMoved { allowed: 3, .. }]), "{reasons:?}");
}

/// Rows D1 and D10: the last good directory outlives the database and the process, faults and all; a spoiled snapshot
/// gives way to the one before.
#[tokio::test]
async fn d1_the_snapshot_serves_without_the_database() {
    let mut bench = Bench::start(|_| {}).await;
    bench.again().await;
    bench.write("UPDATE did_numbers SET routing_environment = 'lab' WHERE number = '08065978002'").await;
    bench.watcher.stop().await;
    fs::rename(bench.path(), bench.folder.path().join("away")).unwrap();
    bench.again().await;
    let status = bench.watcher.status();
    assert!(status.is_from_snapshot && status.is_degraded(), "{status:?}");
    assert_eq!((status.generation, status.fault_count), (Generation(2), 1));
    assert!(status.age.is_some());
    assert!(bench.directory().did(number("08065978002")).unwrap().kept_last_good);
    assert_eq!(bench.watcher.generations()[0].cause, Cause::Snapshot);
    // The row's last good value is remembered over the restart, and the database takes over again.
    fs::rename(bench.folder.path().join("away"), bench.path()).unwrap();
    assert_eq!(bench.watcher.refresh().await, Ok(Generation(2)));
    assert!(bench.directory().did(number("08065978002")).unwrap().kept_last_good);
    assert!(!bench.watcher.status().is_from_snapshot);
    bench.write("UPDATE did_numbers SET routing_environment = 'oss' WHERE number = '08065978002'").await;
    bench.watcher.stop().await;
    // Row D10: the newest is spoiled.
    fs::remove_file(bench.path()).unwrap();
    fs::write(bench.state().join(SNAPSHOT_NAME), b"spoiled").unwrap();
    bench.again().await;
    assert_eq!(bench.watcher.status().generation, Generation(2));
    assert!(bench.watcher.status().snapshot_fault.unwrap().contains(SNAPSHOT_NAME));
    // Both are: as if there were none. Row D2.
    bench.watcher.stop().await;
    fs::write(bench.state().join(SNAPSHOT_NAME), b"spoiled").unwrap();
    fs::write(bench.state().join(PREVIOUS_SNAPSHOT_NAME), b"spoiled").unwrap();
    bench.again().await;
    assert!(!bench.watcher.status().is_loaded);
}

/// Row D6 over a restart: what was deleted while the process was down is held too.
#[tokio::test]
async fn d6_a_deletion_while_we_were_away_is_held() {
    let mut bench = Bench::start(|_| {}).await;
    bench.again().await;
    bench.watcher.stop().await;
    schema::run(&bench.path(), &["DELETE FROM did_numbers"]).await.unwrap();
    bench.again().await;
    bench.watcher.refresh().await.unwrap();
    assert_eq!(bench.directory().did_count(), 55);
    assert!(bench.watcher.held().unwrap().reasons.contains(&HoldReason::TableEmpty(Table::Dids)));
}

/// Row D11: a disk that cannot be written is counted and said, changes go on, and it recovers by itself.
#[tokio::test]
async fn d11_a_disk_that_cannot_be_written_stops_nothing() {
    let mut bench = Bench::start(|_| {}).await;
    bench.again().await;
    let patience = Duration::from_secs(20);
    let (newest, blocked) = (bench.state().join(SNAPSHOT_NAME), bench.state().join("directory.snapshot.partial"));
    let wait = async {
        while !newest.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(patience, wait).await.unwrap();
    fs::create_dir(&blocked).unwrap();
    bench.write("UPDATE did_numbers SET routing_environment = 'oss' WHERE number = '08065978002'").await;
    assert_eq!(bench.directory().did(number("08065978002")).unwrap().environment, Environment::Oss);
    let patience = Duration::from_secs(20);
    let wait = async {
        while bench.watcher.status().snapshots_failed == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(patience, wait).await.unwrap();
    assert!(bench.watcher.status().snapshot_fault.is_some());
    fs::remove_dir(&blocked).unwrap();
    let wait = async {
        while bench.watcher.status().snapshot_fault.is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(patience, wait).await.unwrap();
    assert!(newest.exists());
}

/// A small file system of its own, which goes with the test.
struct SmallDisk {
    place: PathBuf,
}

impl SmallDisk {
    fn mount(place: PathBuf) -> SmallDisk {
        fs::create_dir_all(&place).unwrap();
        let disk = SmallDisk { place };
        disk.run("mount", &["-t", "tmpfs", "-o", "size=64k", "tmpfs"]);
        disk
    }

    fn remount(&self, option: &str) {
        self.run("mount", &["-o", &format!("remount,{option}")]);
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let status = Command::new(program).args(arguments).arg(&self.place).status().unwrap();
        assert!(status.success(), "{program} {arguments:?}: only root can");
    }

    /// Takes all the room there is.
    fn fill(&self) {
        let mut file = fs::File::create(self.place.join("filler")).unwrap();
        while file.write_all(&[0; 512]).is_ok() {}
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.place).status();
    }
}

/// Row D11: a full disk and one that turned read-only: each loss is counted and said, calls and changes go on, and
/// snapshots are kept again by itself.
#[tokio::test]
async fn d11_a_full_and_a_read_only_disk() {
    let mut bench = Bench::start(|_| {}).await;
    let disk = SmallDisk::mount(bench.state());
    bench.again().await;
    let newest = bench.state().join(SNAPSHOT_NAME);
    until("saved", || newest.exists()).await;
    let mut failed = bench.watcher.status().snapshots_failed;
    for (word, told, break_it) in [
        ("oss", "No space left", SmallDisk::fill as fn(&SmallDisk)),
        ("staging", "Read-only file system", |disk| disk.remount("ro")),
    ] {
        break_it(&disk);
        let script = format!("UPDATE did_numbers SET routing_environment = '{word}' WHERE number = '08065978002'");
        schema_run(&bench.path(), &script).await;
        bench.watcher.refresh().await.unwrap();
        let environment = bench.directory().did(number("08065978002")).unwrap().environment;
        assert_eq!(Some(environment), word.parse().ok());
        until("counted", || bench.watcher.status().snapshots_failed > failed).await;
        failed = bench.watcher.status().snapshots_failed;
        let fault = bench.watcher.status().snapshot_fault;
        assert!(fault.as_ref().is_some_and(|fault| fault.contains(told)), "{fault:?}");
        disk.remount("rw");
        let _ = fs::remove_file(bench.state().join("filler"));
        until("saved again", || bench.watcher.status().snapshot_fault.is_none()).await;
        failed = bench.watcher.status().snapshots_failed.max(failed);
    }
    // What was saved last is what is in effect.
    bench.watcher.stop().await;
    fs::remove_file(bench.path()).unwrap();
    bench.again().await;
    assert_eq!(bench.directory().did(number("08065978002")).unwrap().environment, Environment::Staging);
    bench.watcher.stop().await;
}

async fn schema_run(path: &std::path::Path, script: &str) {
    use sqlx::ConnectOptions;
    let mut writer = sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(script.to_owned())).execute(&mut writer).await.unwrap();
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap_or_else(|_| panic!("never {what}"));
}

/// An organisation that lost its only default is a warning: it is published all the same.
#[tokio::test]
async fn the_loss_of_an_only_default_is_let_in() {
    let bench = Bench::start(|_| {}).await;
    assert_eq!(bench.write("UPDATE did_numbers SET is_default = 0").await, Generation(2));
    assert_eq!(bench.watcher.held(), None);
    let asha = bench.directory().organisation_by_context_prefix(b"org_a1b2c3d4_").map(|found| found.default_did);
    assert_eq!(asha, Some(None));
}

/// A worker never drops a directory: the last one is with the writer until nobody else has it.
#[tokio::test]
async fn an_old_directory_is_dropped_by_the_writer() {
    let bench = Bench::start(|_| {}).await;
    let mut reader = bench.watcher.published().reader();
    let held = Arc::clone(reader.latest());
    bench.write("UPDATE did_numbers SET routing_environment = 'oss' WHERE number = '08065978002'").await;
    // The worker has moved on and lets go: the writer still has it.
    assert_eq!(reader.latest().generation(), Generation(2));
    let gone = Arc::downgrade(&held);
    assert!(Arc::strong_count(&held) >= 2, "only the worker has the old directory");
    drop(held);
    // With the writer's next turn it goes.
    bench.watcher.refresh().await.unwrap();
    bench.watcher.refresh().await.unwrap();
    until("dropped", || gone.strong_count() == 0).await;
}

#[tokio::test]
async fn generations_are_told_with_cause_and_difference() {
    let bench = Bench::start(|_| {}).await;
    bench.write("UPDATE did_numbers SET routing_environment = 'oss' WHERE number = '08065978002'").await;
    bench.write("DELETE FROM did_numbers WHERE number = '+918065978003'").await;
    let notes = bench.watcher.generations();
    let told: Vec<String> =
        notes.iter().map(|note| format!("{} {} {}", note.generation, note.cause, note.difference)).collect();
    assert_eq!(
        told,
        [
            "1 rows DIDs: 55 added; users: 9 added; organisations: 4 added",
            "2 rows DIDs: 1 moved",
            "3 rows DIDs: 1 removed"
        ]
    );
    let both = bench.watcher.difference(Generation(1), Generation(3)).unwrap();
    assert_eq!((both.dids.moved, both.dids.removed, both.listed.len()), (1, 1, 2));
    assert_eq!(bench.watcher.difference(Generation(3), Generation(4)), None);
}

/// A reload: other thresholds weigh anew what is held back, and without a guard whatever the database says is in force.
#[tokio::test]
async fn new_settings_are_in_force_without_a_new_writer() {
    let bench = Bench::start(|_| {}).await;
    bench.write("DELETE FROM users").await;
    assert!(bench.watcher.held().is_some());
    let url = format!("sqlite://{}", bench.path().display());
    let settings = Settings { poll_interval: Duration::from_millis(20), ..Settings::new(url, Policy::default()) };
    let strict = directory::GuardPolicy { lost_rows: 5, lost_percent: 5, ..directory::GuardPolicy::default() };
    let with = |guard| Settings { guard, ..settings.clone() };
    assert_eq!(bench.watcher.set_settings(with(Some(strict))).await, Ok(Generation(1)));
    assert!(bench.watcher.held().is_some_and(|held| !held.is_rejected));
    assert_eq!(bench.watcher.set_settings(with(None)).await, Ok(Generation(2)));
    assert_eq!((bench.watcher.held(), bench.directory().user_count()), (None, 0));
    // The mapping stays: it takes a new writer.
    let mut mapping = sync::Mapping::default();
    mapping.rename_table("users", "people").unwrap();
    assert_eq!(bench.watcher.set_settings(Settings { mapping, ..with(None) }).await, Ok(Generation(2)));
}
