//! From a commit of another client to the next look-up that goes elsewhere, on real engines.
//!
//! `cargo bench -p benches --bench propagation -- [--only NAME] [--changes N] [--rows N] [--seconds N] [--rate N] [--dids N]`

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench prints its figures, and ends where it cannot go on"
)]

mod client;
mod cpu;
mod million;
mod place;
#[allow(dead_code, unreachable_pub, reason = "the tests of sync use more of it")]
#[path = "../../crates/sync/tests/engines/server.rs"]
mod server;
mod single;
mod stream;
mod worker;

use sync::Detection;

use place::Kind;

/// What can be asked for by `--only`, and what is run without it.
const PARTS: [(&str, Part); 14] = [
    ("notify", Part::Single(Kind::Postgres, Detection::Auto)),
    ("change-log", Part::Single(Kind::MariaDb, Detection::Auto)),
    ("sqlite", Part::Single(Kind::Sqlite, Detection::Compare)),
    ("log-sqlite", Part::Single(Kind::Sqlite, Detection::Auto)),
    ("select-postgres", Part::Single(Kind::Postgres, Detection::Compare)),
    ("select-mariadb", Part::Single(Kind::MariaDb, Detection::Compare)),
    ("stream-postgres", Part::Stream(Kind::Postgres)),
    ("stream-mariadb", Part::Stream(Kind::MariaDb)),
    ("stream-sqlite", Part::Stream(Kind::Sqlite)),
    ("broken-postgres", Part::Broken(Kind::Postgres)),
    ("broken-mariadb", Part::Broken(Kind::MariaDb)),
    ("million-postgres", Part::Million(Kind::Postgres)),
    ("million-mariadb", Part::Million(Kind::MariaDb)),
    ("million-sqlite", Part::Million(Kind::Sqlite)),
];

#[derive(Clone, Copy)]
enum Part {
    /// One change at a time, each waited for.
    Single(Kind, Detection),
    /// A stream of changes, with calls beside it.
    Stream(Kind),
    /// A stream of changes while connections are cut and the server is killed.
    Broken(Kind),
    /// A million rows: loaded, started from the snapshot, one row changed.
    Million(Kind),
}

/// How much is measured.
pub(crate) struct Options {
    /// Changes, one at a time.
    pub(crate) changes: u64,
    /// Rows in the table.
    pub(crate) rows: u64,
    /// How long a stream lasts.
    pub(crate) seconds: u64,
    /// Changes of a stream in one second.
    pub(crate) rate: u64,
    /// Rows of the large table.
    pub(crate) dids: u64,
}

fn main() {
    let written = |name: &str| std::env::args().skip_while(|argument| argument != name).nth(1);
    let number = |name: &str, default: u64| written(name).and_then(|value| value.parse().ok()).unwrap_or(default);
    let options = Options {
        changes: number("--changes", 1_000),
        rows: number("--rows", 50_000),
        seconds: number("--seconds", 60),
        rate: number("--rate", 1_000),
        dids: number("--dids", 1_000_000),
    };
    let only = written("--only");
    let is_wanted = |name: &str| only.as_deref().is_none_or(|only| name.starts_with(only));
    if std::env::args().any(|argument| argument == "--help") || !PARTS.iter().any(|(name, _)| is_wanted(name)) {
        println!("[--only NAME] [--changes N] [--rows N] [--seconds N] [--rate N] [--dids N]");
        println!("NAME is what the name of a part begins with: {}", PARTS.map(|(name, _)| name).join(", "));
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for (name, part) in PARTS {
        if !is_wanted(name) {
            continue;
        }
        runtime.block_on(async {
            match part {
                Part::Single(kind, detection) => single::run(name, kind, detection, &options).await,
                Part::Stream(kind) => stream::run(name, kind, &options).await,
                Part::Broken(kind) => stream::run_broken(name, kind, &options).await,
                Part::Million(kind) => million::run(name, kind, &options).await,
            }
        });
    }
}
