//! Writes to an SQLite file.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure of the bench fails the test"
)]

mod body;

use directory::{GuardPolicy, Policy};
use sync::changes::Writes;
use sync::{Mapping, Migration, Settings, Watcher, schema};

async fn bench(is_migrated: bool, has_change_log: bool) -> (tempfile::TempDir, Settings, Watcher) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("directory.db");
    schema::run(&path, &[schema::SQLITE_TABLES, schema::ROWS]).await.unwrap();
    let url = format!("sqlite://{}", path.display());
    if is_migrated {
        let migration = Migration { mapping: Mapping::default(), account: String::new(), has_change_log };
        // Five tables; with a change log a sixth, and three triggers on each of seven.
        let count = if has_change_log { 27 } else { 5 };
        assert_eq!(sync::migrate(&url, &migration, |_| {}).await, Ok(count));
        assert_eq!(sync::migrate(&url, &migration, |_| {}).await, Ok(count));
    }
    let mut settings = Settings::new(url, Policy::default());
    settings.guard = Some(GuardPolicy { moved_dids: 1, moved_percent: 0, ..GuardPolicy::default() });
    let watcher = sync::start(settings.clone()).await.unwrap();
    (folder, settings, watcher)
}

#[tokio::test]
async fn without_our_tables_each_verb_says_so() {
    let (_folder, settings, watcher) = bench(false, false).await;
    body::without_our_tables_each_verb_says_so(&settings, &watcher).await;
}

#[tokio::test]
async fn writes_by_comparison() {
    writes(false).await;
}

#[tokio::test]
async fn writes_with_a_change_log() {
    writes(true).await;
}

async fn writes(has_change_log: bool) {
    let (folder, settings, watcher) = bench(true, has_change_log).await;
    assert_eq!(watcher.status().detection, if has_change_log { "change_log" } else { "compare" });
    let path = folder.path().join("directory.db");
    let write = async |script: &'static str| schema::run(&path, &[script]).await.unwrap();
    let desk = || Writes::new(&settings, watcher.clone()).unwrap();
    body::a_move_is_live_when_it_is_answered(&desk(), &desk(), &watcher).await;
    body::a_lease_lies_over_the_row_and_ends_by_itself(&desk(), &desk(), &watcher).await;
    body::of_many_at_once_one_wins(desk(), desk(), &watcher).await;
    body::testers_and_panic_have_their_order(&desk(), &watcher).await;
    body::a_move_mends_a_row_with_an_unknown_environment(&desk(), &watcher, write).await;
    body::of_many_moves_each_has_an_outcome_of_its_own(&desk(), &watcher).await;
    body::the_audit_is_read_page_by_page(&desk()).await;
    write(body::AUDIT_OF_AN_EARLIER_VERSION).await;
    body::an_audit_of_an_earlier_version_is_written_without_origins(&desk()).await;
    let migration = Migration { mapping: Mapping::default(), account: String::new(), has_change_log };
    let mut extended = Vec::new();
    for _ in 0..2 {
        sync::migrate(&settings.url, &migration, |statement| extended.push(statement.sql.clone())).await.unwrap();
    }
    extended.retain(|statement| statement.starts_with("ALTER TABLE"));
    assert_eq!(extended.len(), 2, "each column once: {extended:?}");
    body::an_extended_audit_has_origins(&desk()).await;
    body::who_goes_away_leaves_no_transaction_open(&desk()).await;
    let other = sync::start(settings.clone()).await.unwrap();
    body::d6_moves_of_another_node_are_not_others(&desk(), &other, write).await;
}
