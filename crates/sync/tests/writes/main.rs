//! Writes to an SQLite file.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure of the bench fails the test"
)]

mod body;

use directory::Policy;
use sync::changes::Writes;
use sync::{Mapping, Migration, Settings, Watcher, schema};

async fn bench(is_migrated: bool) -> (tempfile::TempDir, Settings, Watcher) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("directory.db");
    schema::run(&path, &[schema::SQLITE_TABLES, schema::ROWS]).await.unwrap();
    let url = format!("sqlite://{}", path.display());
    if is_migrated {
        let migration = Migration { mapping: Mapping::default(), account: String::new(), has_change_log: true };
        assert_eq!(sync::migrate(&url, &migration, |_| {}).await, Ok(4));
        assert_eq!(sync::migrate(&url, &migration, |_| {}).await, Ok(4));
    }
    let settings = Settings::new(url, Policy::default());
    let watcher = sync::start(settings.clone()).await.unwrap();
    (folder, settings, watcher)
}

#[tokio::test]
async fn without_our_tables_each_verb_says_so() {
    let (_folder, settings, watcher) = bench(false).await;
    body::without_our_tables_each_verb_says_so(&settings, &watcher).await;
}

#[tokio::test]
async fn writes() {
    let (_folder, settings, watcher) = bench(true).await;
    let desk = || Writes::new(&settings, watcher.clone()).unwrap();
    body::a_move_is_live_when_it_is_answered(&desk(), &desk(), &watcher).await;
    body::a_lease_lies_over_the_row_and_ends_by_itself(&desk(), &desk(), &watcher).await;
    body::of_many_at_once_one_wins(desk(), desk(), &watcher).await;
    body::testers_and_panic_have_their_order(&desk(), &watcher).await;
}
