use super::*;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use directory::{Builder, Change, DidRow, Policy};
use sqlx::ConnectOptions;

use crate::schema;
use crate::settings::Settings;
use crate::source::images::Images;
use crate::source::tables::read_table;
use crate::source::{Depth, Found, Source};

/// A file, and the engine that reads it.
struct Bench {
    folder: tempfile::TempDir,
    engine: Engine,
    mapping: Mapping,
}

impl Bench {
    async fn new(scripts: &[&'static str]) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        // A name that has to be escaped.
        let path = folder.path().join("a b?%41.db");
        schema::run(&path, &[schema::SQLITE_TABLES, schema::ROWS]).await.unwrap();
        schema::run(&path, scripts).await.unwrap();
        let engine = Engine::new(&settings(&path)).unwrap();
        Bench { folder, engine, mapping: Mapping::default() }
    }

    fn settings(&self) -> Settings {
        settings(&self.path())
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("a b?%41.db")
    }

    async fn fill(&mut self) -> Option<Mirror> {
        self.engine.connect().await.unwrap();
        self.engine.execute("BEGIN").await.unwrap();
        let mirror = Mirror::fill(&mut self.engine, &self.mapping, &mut None).await.unwrap();
        self.engine.execute("COMMIT").await.unwrap();
        mirror
    }

    async fn changes(&mut self, mirror: &mut Mirror) -> Option<Changes> {
        self.compare(mirror, Compare::Suspected).await
    }

    async fn compare(&mut self, mirror: &mut Mirror, compare: Compare) -> Option<Changes> {
        self.engine.connect().await.unwrap();
        self.engine.execute("BEGIN").await.unwrap();
        let changes = mirror.changes(&mut self.engine, &self.mapping, compare).await.unwrap();
        self.engine.execute("COMMIT").await.unwrap();
        changes
    }

    /// What comparing every row in our own memory finds.
    async fn swept(&mut self, images: &mut Images) -> Option<Changes> {
        let mut sweep = images.sweep();
        for table in TABLES {
            let names = self.mapping.of(table);
            read_table(&mut self.engine, names, None, |record| sweep.row(table, record)).await.unwrap();
        }
        sweep.finish()
    }
}

fn settings(path: &Path) -> Settings {
    let place = path.display().to_string().replace('%', "%25").replace('?', "%3F");
    Settings::new(format!("sqlite://{place}"), Policy::default())
}

async fn write(path: &Path, script: &'static str) {
    schema::run(path, &[script]).await.unwrap();
}

fn told(changes: &Changes) -> Vec<String> {
    let dids = changes.dids.iter().map(|change| format!("{change:?}"));
    let users = changes.users.iter().map(|change| format!("{change:?}"));
    let organisations = changes.organisations.iter().map(|change| format!("{change:?}"));
    let trunks = changes.trunks.iter().map(|change| format!("{change:?}"));
    let mut told: Vec<String> = dids.chain(users).chain(organisations).chain(trunks).collect();
    told.sort();
    told
}

/// Scripts after each of which both ways find the same, and that something changed.
const SCRIPTS: [&str; 17] = [
    "UPDATE did_numbers SET routing_environment = 'oss' WHERE number = '08065978002'",
    "UPDATE did_numbers SET routing_environment = 'OSS' WHERE number = '08065978002'",
    "UPDATE users SET outbound_did = '' WHERE outbound_did IS NULL; UPDATE organizations SET limits = NULL",
    "ALTER TABLE did_numbers DROP COLUMN provider; ALTER TABLE did_numbers ADD COLUMN provider",
    "UPDATE did_numbers SET provider = 1",
    // The same number, and another text of it.
    "UPDATE did_numbers SET provider = 1.0",
    "UPDATE did_numbers SET provider = '1'",
    "UPDATE did_numbers SET provider = '1' || char(0) || 'x' WHERE number = '08065978002'",
    "UPDATE did_numbers SET provider = '1' || char(0) || 'y' WHERE number = '08065978002'",
    "UPDATE did_numbers SET provider = CAST(X'FF41' AS TEXT) WHERE number = '08065978002'",
    "UPDATE did_numbers SET provider = X'FF42' WHERE number = '08065978002'",
    "UPDATE did_numbers SET provider = hex(zeroblob(150000)) || id WHERE number LIKE '%8002'",
    "UPDATE did_numbers SET id = 'x' WHERE number = '08065978002'; \
     UPDATE did_numbers SET id = '00000d1d-0000-4000-8000-008065978002' WHERE number = '+918065978003'; \
     UPDATE did_numbers SET id = '00000d1d-0000-4000-8000-008065978003' WHERE number = '08065978002'",
    // The number of a row is given out again.
    "INSERT INTO users (id, extension) VALUES ('last', '1999')",
    "DELETE FROM users WHERE id = 'last'; INSERT INTO users (id, extension) VALUES ('after', '1999')",
    "DELETE FROM did_numbers WHERE number LIKE '%80659780%'; INSERT INTO sip_trunks (id, host) VALUES ('t', 'h')",
    "DELETE FROM did_numbers; DELETE FROM users; DELETE FROM organizations; DELETE FROM sip_trunks",
];

#[tokio::test]
async fn sqlite_finds_what_our_own_images_find() {
    for compare in [Compare::All, Compare::Suspected] {
        let mut bench = Bench::new(&[]).await;
        let (path, mut mirror, mut images) = (bench.path(), bench.fill().await.unwrap(), Images::default());
        assert!(mirror.pages.is_some());
        bench.swept(&mut images).await.unwrap();
        for script in SCRIPTS {
            assert!(bench.compare(&mut mirror, compare).await.unwrap().is_empty(), "before {script}");
            write(&path, script).await;
            let found = bench.compare(&mut mirror, compare).await.unwrap();
            let swept = bench.swept(&mut images).await.unwrap();
            assert_eq!(told(&found), told(&swept), "{compare:?}: {script}");
            // What was altered in the schema alone reads as NULL, as it did.
            assert!(!found.is_empty(), "{compare:?}: {script}");
        }
    }
}

/// A write-ahead log keeps what was committed beside the file; a copy of its pages has it.
#[tokio::test]
async fn a_copy_has_what_the_write_ahead_log_has() {
    let mut bench = Bench::new(&[]).await;
    let options =
        crate::source::sqlite::options(&format!("sqlite://{}/wal.db", bench.folder.path().display())).unwrap();
    let mut other = options.create_if_missing(true).connect().await.unwrap();
    let mut run = async |script: &'static str| sqlx::raw_sql(script).execute(&mut other).await.map(drop).unwrap();
    run("PRAGMA journal_mode = WAL").await;
    run(schema::SQLITE_TABLES).await;
    run(schema::ROWS).await;
    let settings = Settings::new(format!("sqlite://{}/wal.db", bench.folder.path().display()), Policy::default());
    bench.engine = Engine::new(&settings).unwrap();
    let (mut mirror, mut images) = (bench.fill().await.unwrap(), Images::default());
    bench.swept(&mut images).await.unwrap();
    for script in SCRIPTS {
        run(script).await;
        let (found, swept) = (bench.changes(&mut mirror).await.unwrap(), bench.swept(&mut images).await.unwrap());
        assert_eq!(told(&found), told(&swept), "{script}");
        assert!(!found.is_empty() && mirror.pages.is_some(), "{script}: the copy is used to the end");
    }
}

/// Most of a large file is something else, which is not worth a copy at each commit.
#[tokio::test]
async fn of_a_file_that_is_large_for_its_rows_no_pages_are_copied() {
    let bytes = FILE_BYTES;
    for (blob, is_copied) in [(bytes - 200_000, true), (bytes, false)] {
        let mut bench = Bench::new(&[]).await;
        let beside = format!("CREATE TABLE beside AS SELECT zeroblob({blob})").leak();
        write(&bench.path(), beside).await;
        let mut mirror = bench.fill().await.unwrap();
        assert_eq!(mirror.pages.is_some(), is_copied, "{blob}");
        write(&bench.path(), SCRIPTS[0]).await;
        assert_eq!(bench.changes(&mut mirror).await.unwrap().len(), 1);
    }
}

/// A mirror outlasts what makes the file be attached again, and compares with another file in its place.
#[tokio::test]
async fn a_mirror_outlasts_the_file() {
    let mut bench = Bench::new(&[]).await;
    let (path, mut mirror) = (bench.path(), bench.fill().await.unwrap());
    let other = bench.folder.path().join("other.db");
    let moved = "UPDATE did_numbers SET routing_environment = 'oss' WHERE number = '08065978002'";
    schema::run(&other, &[schema::SQLITE_TABLES, schema::ROWS, moved]).await.unwrap();
    std::fs::rename(&other, &path).unwrap();
    let found = bench.changes(&mut mirror).await.unwrap();
    let is_moved = |change: &Change<DidRow>| matches!(change, Change::Upsert(DidRow { routing_environment: Some(word), .. }) if word == b"oss");
    assert!(found.len() == 1 && found.dids.iter().all(is_moved), "{found:?}");
}

#[tokio::test]
async fn rows_that_come_back_under_another_number_are_not_gone() {
    let mut bench = Bench::new(&[]).await;
    let (path, mut mirror) = (bench.path(), bench.fill().await.unwrap());
    write(&path, "CREATE TABLE kept AS SELECT * FROM users; DELETE FROM users").await;
    write(&path, "INSERT INTO users SELECT * FROM kept ORDER BY id DESC").await;
    let found = bench.changes(&mut mirror).await.unwrap();
    assert!(found.users.iter().all(|change| matches!(change, Change::Upsert(_))), "{found:?}");
    assert!(bench.changes(&mut mirror).await.unwrap().is_empty());
}

#[tokio::test]
async fn there_is_no_mirror_of_rows_that_cannot_be_told_apart() {
    const KEYLESS: &str = "ALTER TABLE users RENAME TO old; CREATE TABLE users AS SELECT * FROM old";
    let cases: [&[&str]; 5] = [
        &["ALTER TABLE users RENAME TO old; CREATE VIEW users AS SELECT * FROM old"],
        &["DROP TABLE users; CREATE TABLE users (id TEXT PRIMARY KEY, org_id, username, extension, \
           asterisk_endpoint, status, updated_at) WITHOUT ROWID"],
        &[KEYLESS, "INSERT INTO users SELECT * FROM users LIMIT 1"],
        &[KEYLESS, "UPDATE users SET id = NULL WHERE extension = '1001'"],
        &["DROP TABLE users; CREATE TABLE users (id, org_id, username, extension, asterisk_endpoint, status, \
           updated_at, rowid, oid, _rowid_)"],
    ];
    for scripts in cases {
        let mut bench = Bench::new(scripts).await;
        assert!(bench.fill().await.is_none(), "{scripts:?}");
        // The same found later.
        let mut bench = Bench::new(&[]).await;
        let mut mirror = bench.fill().await.unwrap();
        schema::run(&bench.path(), scripts).await.unwrap();
        assert!(bench.changes(&mut mirror).await.is_none(), "{scripts:?}");
    }
}

#[tokio::test]
async fn a_column_of_the_name_of_row_numbers_is_a_column() {
    let mut bench = Bench::new(&["ALTER TABLE users ADD COLUMN rowid DEFAULT 7"]).await;
    let (path, mut mirror) = (bench.path(), bench.fill().await.unwrap());
    write(&path, "UPDATE users SET rowid = 8; UPDATE users SET username = 'asha' WHERE extension = '1001'").await;
    let found = bench.changes(&mut mirror).await.unwrap();
    assert!(!found.users.is_empty() && found.users.len() < 5, "{found:?}");
}

#[tokio::test]
async fn beyond_what_is_applied_one_by_one_only_a_build_will_do() {
    const MANY: &str = "WITH RECURSIVE turns (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM turns WHERE n < 20001) \
        INSERT INTO users (id, extension) SELECT 'made-up-' || n, 'x' || n FROM turns";
    let mut bench = Bench::new(&[]).await;
    let mut mirror = bench.fill().await.unwrap();
    write(&bench.path(), MANY).await;
    assert!(bench.changes(&mut mirror).await.is_none());
    let mut mirror = bench.fill().await.unwrap();
    write(&bench.path(), "DELETE FROM users WHERE id LIKE 'made-up-%'").await;
    assert!(bench.changes(&mut mirror).await.is_none());
}

#[tokio::test]
async fn rows_beyond_one_statement_are_taken_up_by_several() {
    const MANY: &str = "WITH RECURSIVE turns (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM turns WHERE n < 1201) \
        INSERT INTO users (id, extension) SELECT 'made-up-' || n, 'x' || n FROM turns";
    let mut bench = Bench::new(&[MANY]).await;
    let mut mirror = bench.fill().await.unwrap();
    for script in ["UPDATE users SET username = 'asha'", "DELETE FROM users"] {
        write(&bench.path(), script).await;
        assert_eq!(bench.changes(&mut mirror).await.unwrap().users.len(), 1_210, "{script}");
        assert!(bench.changes(&mut mirror).await.unwrap().is_empty(), "{script}");
    }
}

#[tokio::test]
async fn beyond_the_rows_that_are_compared_there_is_no_mirror() {
    const MANY: &str = "WITH RECURSIVE turns (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM turns WHERE n < 250000) \
        INSERT INTO users (id) SELECT 'made-up-' || n FROM turns";
    let mut bench = Bench::new(&[MANY]).await;
    assert!(bench.fill().await.is_none());
}

/// Ids that tell no rows apart are found once, and not looked for again by taking up every row until they are mended.
#[tokio::test]
async fn a_mirror_that_was_filled_in_vain_is_tried_again_when_ids_are_mended() {
    const NO_ID: &str = "INSERT INTO users (extension) VALUES ('1998'), ('1999')";
    let bench = Bench::new(&[
        "DROP TABLE users; CREATE TABLE users (id, org_id, username, extension, asterisk_endpoint, status, updated_at)",
        NO_ID,
    ])
    .await;
    let (policy, settings) = (Policy::default(), bench.settings());
    let mut source = Source::new(&settings, Arc::default()).unwrap();
    let mut read = async |script: &'static str| {
        write(&bench.path(), script).await;
        assert!(matches!(source.look(Depth::Glance, &policy).await.unwrap(), Found::Everything), "{script}");
        source.read(&mut Builder::new(&policy, None), &policy).await.unwrap();
        (source.mirror.is_some(), source.images.are_whole(), source.unfit.clone())
    };
    let unfit = Some(Unfit::IdsNotUnique { table: Table::Users, rows: 2, apart: 0 });
    // Another filling would count the new rows as well.
    for script in ["SELECT 1", NO_ID] {
        assert_eq!(read(script).await, (false, false, unfit.clone()));
    }
    assert_eq!(read("UPDATE users SET id = 'a' || rowid").await, (true, false, None));
    write(&bench.path(), "UPDATE users SET username = 'asha' WHERE extension = '1999'").await;
    match source.look(Depth::Glance, &policy).await.unwrap() {
        Found::Changes(changes, _) => assert_eq!(changes.users.len(), 2),
        found => panic!("{found:?}"),
    }
}

/// A file so long that SQLite does not copy it into memory: most of it is a hole.
#[tokio::test]
async fn a_copy_that_fails_leaves_all_rows_to_be_compared() {
    const PAGES: u32 = 600_000;
    const PAGE_BYTES: u64 = 4_096;
    let mut bench = Bench::new(&[]).await;
    let mut mirror = bench.fill().await.unwrap();
    assert!(mirror.pages.is_some());
    let mut file = std::fs::OpenOptions::new().write(true).open(bench.path()).unwrap();
    file.set_len(u64::from(PAGES) * PAGE_BYTES).unwrap();
    // How many pages there are, by the header.
    file.seek(SeekFrom::Start(28)).unwrap();
    file.write_all(&PAGES.to_be_bytes()).unwrap();
    drop(file);
    write(&bench.path(), "UPDATE did_numbers SET routing_environment = 'oss' WHERE number = '08065978002'").await;
    mirror.file_bytes_max = u64::MAX;
    assert!(matches!(bench.engine.copy(u64::MAX).await, Err(SyncFault::Query { .. })));
    let changes = bench.changes(&mut mirror).await.unwrap();
    assert!(mirror.pages.is_none());
    assert!(matches!(&changes.dids[..], [Change::Upsert(_)]) && changes.len() == 1, "{changes:?}");
    // A new mirror does without as well.
    let mut mirror = bench.fill().await.unwrap();
    write(&bench.path(), "UPDATE did_numbers SET routing_environment = 'prod' WHERE number = '08065978002'").await;
    assert_eq!(bench.changes(&mut mirror).await.map(|changes| changes.len()), Some(1));
}
