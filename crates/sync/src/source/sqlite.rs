//! An SQLite file: a read-only connection that is kept, `PRAGMA data_version` on it, and the identity of the file.
//!
//! `data_version` sees every commit of another connection. It cannot see that the file was deleted, replaced or
//! overwritten, so the file itself is looked at too; if that changed, the connection is made anew.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use directory::Builder;
use futures_util::TryStreamExt;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};

use super::record::Record;
use super::selected;
use crate::fault::SyncFault;
use crate::mapping::{Mapping, TABLES, TableNames, quoted};
use crate::settings::{Settings, masked_url};

/// SQLite's quote around an identifier.
const QUOTE: char = '"';

/// How long a query waits for another connection's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// An SQLite file.
pub(crate) struct Sqlite {
    options: SqliteConnectOptions,
    path: PathBuf,
    mapping: Mapping,
    open: Option<Open>,
}

/// A connection, and the file that it was made to.
struct Open {
    connection: SqliteConnection,
    file: FileIdentity,
    /// What `PRAGMA data_version` said before the last reading that succeeded.
    read_version: Option<i64>,
}

/// What tells one state of a file from another, from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct FileIdentity {
    device: u64,
    inode: u64,
    len: u64,
    modified_s: i64,
    modified_ns: i64,
}

impl Sqlite {
    pub(crate) fn new(settings: &Settings) -> Result<Sqlite, SyncFault> {
        let url = settings.url.as_str();
        let fault = |detail: String| SyncFault::Url { found: masked_url(url), detail };
        let options = SqliteConnectOptions::from_str(url).map_err(|error| fault(error.to_string()))?;
        let path = options.get_filename().to_path_buf();
        if path.as_os_str().is_empty() || url.contains(":memory:") || url.contains("mode=memory") {
            return Err(fault("a file is needed, as others write it".to_owned()));
        }
        let options = options.read_only(true).create_if_missing(false).busy_timeout(BUSY_TIMEOUT);
        Ok(Sqlite { options: options.disable_statement_logging(), path, mapping: settings.mapping.clone(), open: None })
    }

    pub(crate) async fn has_changed(&mut self) -> Result<bool, SyncFault> {
        let file = self.file()?;
        if self.open.as_ref().is_none_or(|open| open.file != file) {
            self.open = None;
            let connection =
                self.options.connect().await.map_err(|error| SyncFault::Connect { detail: detail(&error) })?;
            self.open = Some(Open { connection, file, read_version: None });
        }
        let Some(open) = &mut self.open else { return Ok(true) };
        let version = data_version(&mut open.connection).await?;
        Ok(open.read_version != Some(version))
    }

    pub(crate) async fn read(&mut self, builder: &mut Builder<'_>) -> Result<(), SyncFault> {
        let Some(open) = &mut self.open else { return Err(SyncFault::FileMissing { path: self.path.clone() }) };
        open.read_version = None;
        // Taken before the rows: a commit in between makes the next look find another version, and read again.
        let version = data_version(&mut open.connection).await?;
        // One read transaction: all four tables as of one commit.
        let mut transaction = open.connection.begin().await.map_err(|error| query("begin", &error))?;
        let mut record = Record::default();
        for table in TABLES {
            read_table(&mut transaction, self.mapping.of(table), |row| {
                fill(&mut record, row)?;
                record.build(table, builder);
                Ok(())
            })
            .await?;
        }
        transaction.rollback().await.map_err(|error| query("rollback", &error))?;
        open.read_version = Some(version);
        Ok(())
    }

    pub(crate) fn disconnect(&mut self) {
        self.open = None;
    }

    fn file(&mut self) -> Result<FileIdentity, SyncFault> {
        match std::fs::metadata(&self.path) {
            Ok(metadata) => Ok(FileIdentity {
                device: metadata.dev(),
                inode: metadata.ino(),
                len: metadata.len(),
                modified_s: metadata.mtime(),
                modified_ns: metadata.mtime_nsec(),
            }),
            Err(_) => {
                self.open = None;
                Err(SyncFault::FileMissing { path: self.path.clone() })
            }
        }
    }
}

async fn data_version(connection: &mut SqliteConnection) -> Result<i64, SyncFault> {
    let version = sqlx::query_scalar("PRAGMA data_version").fetch_one(connection).await;
    version.map_err(|error| query("PRAGMA data_version", &error))
}

/// Hands every row of a table to `take`, its columns in the order of the reference schema's.
async fn read_table(
    connection: &mut SqliteConnection,
    names: &TableNames,
    mut take: impl FnMut(&SqliteRow) -> Result<(), sqlx::Error>,
) -> Result<(), SyncFault> {
    let fault = |error: sqlx::Error| query(names.table.name(), &error);
    let present = sqlx::query_scalar("SELECT name FROM pragma_table_info(?, ?)");
    let present = present.bind(&names.name).bind(names.schema.as_deref().unwrap_or("main"));
    let present: Vec<String> = present.fetch_all(&mut *connection).await.map_err(fault)?;
    // A cast to BLOB gives every value's text as bytes, whatever its type, and leaves broken UTF-8 as it is.
    let cast = |column: &Option<&str>| match column {
        Some(column) => format!("CAST({} AS BLOB)", quoted(column, QUOTE)),
        None => "NULL".to_owned(),
    };
    let list: Vec<String> = selected(names, &present)?.iter().map(cast).collect();
    // Names come from the operator's configuration, each in quotes that nothing in it can end.
    let statement = AssertSqlSafe(format!("SELECT {} FROM {}", list.join(", "), names.quoted(QUOTE)));
    let mut found = sqlx::query(statement).fetch(connection);
    while let Some(row) = found.try_next().await.map_err(fault)? {
        take(&row).map_err(fault)?;
    }
    Ok(())
}

fn fill(record: &mut Record, row: &SqliteRow) -> Result<(), sqlx::Error> {
    for place in 0..row.len() {
        record.set(place, row.try_get(place)?);
    }
    Ok(())
}

fn query(what: &str, error: &sqlx::Error) -> SyncFault {
    SyncFault::Query { what: what.to_owned(), detail: detail(error) }
}

/// What the engine says. It knows neither the URL nor a password: an SQLite file has none.
fn detail(error: &sqlx::Error) -> String {
    error.as_database_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}
