//! Where rows come from: one engine, one file; each has queries and change detection, nothing else.

mod mariadb;
mod postgres;
mod record;
mod sqlite;

use directory::Builder;

use crate::fault::SyncFault;
use crate::mapping::{TableNames, columns};
use crate::settings::{Settings, masked_url};

/// A database of one engine.
pub(crate) enum Source {
    /// A MariaDB or MySQL server.
    MariaDb(Box<mariadb::MariaDb>),
    /// A PostgreSQL server.
    Postgres(Box<postgres::Postgres>),
    /// An SQLite file.
    Sqlite(Box<sqlite::Sqlite>),
}

impl Source {
    /// The source that a URL names. Nothing is opened yet.
    pub(crate) fn new(settings: &Settings) -> Result<Source, SyncFault> {
        match settings.url.split_once(':') {
            Some(("mysql" | "mariadb", _)) => {
                mariadb::MariaDb::new(settings).map(|source| Source::MariaDb(Box::new(source)))
            }
            Some(("postgres" | "postgresql", _)) => {
                postgres::Postgres::new(settings).map(|source| Source::Postgres(Box::new(source)))
            }
            Some(("sqlite", _)) => sqlite::Sqlite::new(settings).map(|source| Source::Sqlite(Box::new(source))),
            _ => Err(SyncFault::Url { found: masked_url(&settings.url), detail: "no such engine".to_owned() }),
        }
    }

    /// Whether rows may have changed since the last [`Source::read`] that succeeded; `true` as well when there was none.
    pub(crate) async fn has_changed(&mut self) -> Result<bool, SyncFault> {
        match self {
            Source::MariaDb(mariadb) => mariadb.has_changed().await,
            Source::Postgres(postgres) => postgres.has_changed().await,
            Source::Sqlite(sqlite) => sqlite.has_changed().await,
        }
    }

    /// Reads all four tables as they stood at one moment.
    pub(crate) async fn read(&mut self, builder: &mut Builder<'_>) -> Result<(), SyncFault> {
        match self {
            Source::MariaDb(mariadb) => mariadb.read(builder).await,
            Source::Postgres(postgres) => postgres.read(builder).await,
            Source::Sqlite(sqlite) => sqlite.read(builder).await,
        }
    }

    /// Lets go of the connection: the next look begins with a new one.
    pub(crate) fn disconnect(&mut self) {
        match self {
            Source::MariaDb(mariadb) => mariadb.disconnect(),
            Source::Postgres(postgres) => postgres.disconnect(),
            Source::Sqlite(sqlite) => sqlite.disconnect(),
        }
    }
}

/// The columns to select from a table that has `present`, in the order of [`columns`]: a required one that is missing
/// is a fault, an optional one is read as NULL.
fn selected<'n>(names: &'n TableNames, present: &[String]) -> Result<Vec<Option<&'n str>>, SyncFault> {
    if present.is_empty() {
        return Err(SyncFault::TableMissing { table: names.shown() });
    }
    let select = |(column, name): (&directory::rows::Column, &'n String)| match present
        .iter()
        .any(|present| present.eq_ignore_ascii_case(name))
    {
        true => Ok(Some(name.as_str())),
        false if column.required => Err(SyncFault::ColumnMissing { table: names.shown(), column: name.clone() }),
        false => Ok(None),
    };
    columns(names.table).iter().zip(&names.columns).map(select).collect()
}

/// A statement that selects these columns of a table; a column that is not there reads as NULL. `cast` is what the
/// engine puts after a column to make text of it.
fn select(names: &TableNames, selected: &[Option<&str>], quote: char, cast: &str) -> String {
    let column = |column: &Option<&str>| match column {
        Some(column) => format!("{}{cast}", crate::mapping::quoted(column, quote)),
        None => "NULL".to_owned(),
    };
    let list: Vec<String> = selected.iter().map(column).collect();
    format!("SELECT {} FROM {}", list.join(", "), names.quoted(quote))
}
