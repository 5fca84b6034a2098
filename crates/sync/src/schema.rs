//! The reference tables and made-up rows for each engine, for demonstrations and tests.

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::fault::SyncFault;

/// The statements that make the four tables in SQLite.
pub const SQLITE_TABLES: &str = include_str!("../../../fixtures/directory/sqlite.sql");
/// The statements that make the four tables in MariaDB.
pub const MARIADB_TABLES: &str = include_str!("../../../fixtures/directory/mariadb.sql");
/// The statements that make the four tables in PostgreSQL.
pub const POSTGRES_TABLES: &str = include_str!("../../../fixtures/directory/postgres.sql");
/// Made-up rows without a fault: four organisations, their users, 55 DIDs.
pub const ROWS: &str = include_str!("../../../fixtures/directory/rows.sql");
/// Every kind of dirt, on top of [`ROWS`], for SQLite.
pub const SQLITE_DIRTY_ROWS: &str = include_str!("../../../fixtures/directory/dirty-sqlite.sql");
/// Every kind of dirt that MariaDB lets in, on top of [`ROWS`].
pub const MARIADB_DIRTY_ROWS: &str = include_str!("../../../fixtures/directory/dirty-mariadb.sql");
/// Every kind of dirt that PostgreSQL lets in, on top of [`ROWS`].
pub const POSTGRES_DIRTY_ROWS: &str = include_str!("../../../fixtures/directory/dirty-postgres.sql");
/// The account with the rights to read, for MariaDB. It names the database `pbx_api_db` and the password `CHANGE-ME`.
pub const MARIADB_ROLE: &str = include_str!("../../../deploy/sql/mariadb.sql");
/// The account with the rights to read, for PostgreSQL. It names the password `CHANGE-ME`.
pub const POSTGRES_ROLE: &str = include_str!("../../../deploy/sql/postgres.sql");

/// Makes an SQLite file, or takes the one that is there, and runs `scripts` in it, all in one transaction.
///
/// ```no_run
/// # async fn demo(path: &std::path::Path) -> Result<(), sync::SyncFault> {
/// sync::schema::run(path, &[sync::schema::SQLITE_TABLES, sync::schema::ROWS]).await
/// # }
/// ```
pub async fn run(path: &Path, scripts: &[&'static str]) -> Result<(), SyncFault> {
    let query = |error: sqlx::Error| SyncFault::Query { what: "script".to_owned(), detail: error.to_string() };
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true).disable_statement_logging();
    let mut connection = options.connect().await.map_err(|error| SyncFault::Connect { detail: error.to_string() })?;
    let mut transaction = connection.begin().await.map_err(query)?;
    for &script in scripts {
        sqlx::raw_sql(script).execute(&mut *transaction).await.map_err(query)?;
    }
    transaction.commit().await.map_err(query)?;
    connection.close().await.map_err(query)
}
