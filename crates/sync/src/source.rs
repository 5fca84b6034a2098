//! Where rows come from: one engine, one file; each has queries and change detection, nothing else.

mod sqlite;

use directory::Builder;
use directory::rows::Column;

use crate::fault::SyncFault;
use crate::settings::{Settings, masked_url};

/// A database of one engine.
pub(crate) enum Source {
    /// An SQLite file.
    Sqlite(sqlite::Sqlite),
}

impl Source {
    /// The source that a URL names. Nothing is opened yet.
    pub(crate) fn new(settings: &Settings) -> Result<Source, SyncFault> {
        match settings.url.split_once(':') {
            Some(("sqlite", _)) => sqlite::Sqlite::new(&settings.url).map(Source::Sqlite),
            _ => Err(SyncFault::Url { found: masked_url(&settings.url), detail: "no such engine".to_owned() }),
        }
    }

    /// Whether rows may have changed since the last [`Source::read`] that succeeded; `true` as well when there was none.
    pub(crate) async fn has_changed(&mut self) -> Result<bool, SyncFault> {
        match self {
            Source::Sqlite(sqlite) => sqlite.has_changed().await,
        }
    }

    /// Reads all four tables as they stood at one moment.
    pub(crate) async fn read(&mut self, builder: &mut Builder<'_>) -> Result<(), SyncFault> {
        match self {
            Source::Sqlite(sqlite) => sqlite.read(builder).await,
        }
    }

    /// Lets go of the connection: the next look begins with a new one.
    pub(crate) fn disconnect(&mut self) {
        match self {
            Source::Sqlite(sqlite) => sqlite.disconnect(),
        }
    }
}

/// The columns to select from a table that has `present`: a required one that is missing is a fault, an optional one is
/// read as NULL.
fn selected(
    table: &'static str,
    columns: &'static [Column],
    present: &[String],
) -> Result<Vec<Option<&'static str>>, SyncFault> {
    if present.is_empty() {
        return Err(SyncFault::TableMissing { table });
    }
    let select = |column: &Column| match present.iter().any(|name| name.eq_ignore_ascii_case(column.name)) {
        true => Ok(Some(column.name)),
        false if column.required => Err(SyncFault::ColumnMissing { table, column: column.name }),
        false => Ok(None),
    };
    columns.iter().map(select).collect()
}
