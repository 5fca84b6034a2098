//! An SQLite file: a read-only connection that is kept, `PRAGMA data_version` on it, and the identity of the file.
//!
//! `data_version` sees every commit of another connection. It cannot see that the file was deleted, replaced or
//! overwritten, so the file itself is looked at too; if that changed, the connection is made anew.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use directory::Builder;
use directory::rows::{Cell, Column, DidRow, OrganisationRow, TrunkRow, UserRow};
use futures_util::TryStreamExt;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};

use super::selected;
use crate::fault::SyncFault;
use crate::settings::masked_url;

/// How long a query waits for another connection's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// An SQLite file.
pub(crate) struct Sqlite {
    options: SqliteConnectOptions,
    path: PathBuf,
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
    pub(crate) fn new(url: &str) -> Result<Sqlite, SyncFault> {
        let fault = |detail: String| SyncFault::Url { found: masked_url(url), detail };
        let options = SqliteConnectOptions::from_str(url).map_err(|error| fault(error.to_string()))?;
        let path = options.get_filename().to_path_buf();
        if path.as_os_str().is_empty() || url.contains(":memory:") || url.contains("mode=memory") {
            return Err(fault("a file is needed, as others write it".to_owned()));
        }
        let options = options.read_only(true).create_if_missing(false).busy_timeout(BUSY_TIMEOUT);
        Ok(Sqlite { options: options.disable_statement_logging(), path, open: None })
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
        read_organisations(&mut transaction, builder).await?;
        read_dids(&mut transaction, builder).await?;
        read_users(&mut transaction, builder).await?;
        read_trunks(&mut transaction, builder).await?;
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

async fn read_organisations(connection: &mut SqliteConnection, builder: &mut Builder<'_>) -> Result<(), SyncFault> {
    let mut row = OrganisationRow::default();
    read_table(connection, OrganisationRow::TABLE, OrganisationRow::COLUMNS, |found| {
        fill(found, row.cells_mut())?;
        builder.organisation(&row);
        Ok(())
    })
    .await
}

async fn read_dids(connection: &mut SqliteConnection, builder: &mut Builder<'_>) -> Result<(), SyncFault> {
    let mut row = DidRow::default();
    read_table(connection, DidRow::TABLE, DidRow::COLUMNS, |found| {
        fill(found, row.cells_mut())?;
        builder.did(&row);
        Ok(())
    })
    .await
}

async fn read_users(connection: &mut SqliteConnection, builder: &mut Builder<'_>) -> Result<(), SyncFault> {
    let mut row = UserRow::default();
    read_table(connection, UserRow::TABLE, UserRow::COLUMNS, |found| {
        fill(found, row.cells_mut())?;
        builder.user(&row);
        Ok(())
    })
    .await
}

async fn read_trunks(connection: &mut SqliteConnection, builder: &mut Builder<'_>) -> Result<(), SyncFault> {
    let mut row = TrunkRow::default();
    read_table(connection, TrunkRow::TABLE, TrunkRow::COLUMNS, |found| {
        fill(found, row.cells_mut())?;
        builder.trunk(&row);
        Ok(())
    })
    .await
}

/// Hands every row of a table to `take`, its columns in the order of `columns`.
async fn read_table(
    connection: &mut SqliteConnection,
    table: &'static str,
    columns: &'static [Column],
    mut take: impl FnMut(&SqliteRow) -> Result<(), sqlx::Error>,
) -> Result<(), SyncFault> {
    let present = sqlx::query_scalar("SELECT name FROM pragma_table_info(?)").bind(table);
    let present: Vec<String> = present.fetch_all(&mut *connection).await.map_err(|error| query(table, &error))?;
    // A cast to BLOB gives every value's text as bytes, whatever its type, and leaves broken UTF-8 as it is.
    let cast = |column: Option<&str>| column.map_or("NULL".to_owned(), |column| format!("CAST(\"{column}\" AS BLOB)"));
    let list: Vec<String> = selected(table, columns, &present)?.into_iter().map(cast).collect();
    // Table and column names are constants of this program, so no text from outside enters the statement.
    let statement = AssertSqlSafe(format!("SELECT {} FROM \"{table}\"", list.join(", ")));
    let mut found = sqlx::query(statement).fetch(connection);
    while let Some(row) = found.try_next().await.map_err(|error| query(table, &error))? {
        take(&row).map_err(|error| query(table, &error))?;
    }
    Ok(())
}

/// Puts a row's columns into cells, by position.
fn fill<'c>(row: &SqliteRow, cells: impl IntoIterator<Item = &'c mut Cell>) -> Result<(), sqlx::Error> {
    for (place, cell) in cells.into_iter().enumerate() {
        match row.try_get::<Option<&[u8]>, _>(place)? {
            Some(bytes) => {
                let kept = cell.get_or_insert_default();
                kept.clear();
                kept.extend_from_slice(bytes);
            }
            None => *cell = None,
        }
    }
    Ok(())
}

fn query(what: &'static str, error: &sqlx::Error) -> SyncFault {
    SyncFault::Query { what, detail: detail(error) }
}

/// What the engine says. It knows neither the URL nor a password: an SQLite file has none.
fn detail(error: &sqlx::Error) -> String {
    error.as_database_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}
