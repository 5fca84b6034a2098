//! A PostgreSQL server: one connection that is kept, the simple query protocol, one snapshot for each reading.
//!
//! Before a reading the server is asked which transactions are visible. While the answer is the same, nothing can have
//! been committed, and nothing is read. That holds for a primary only: the snapshot of a standby does not list the
//! transactions in progress, so a standby is always read.

use std::str::FromStr;
use std::time::Duration;

use directory::{Builder, Table};
use futures_util::TryStreamExt;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Row, ValueRef};

use super::record::Record;
use super::{select, selected};
use crate::fault::SyncFault;
use crate::mapping::{Mapping, TABLES, TableNames};
use crate::settings::{Settings, masked_url};

/// PostgreSQL's quote around an identifier.
const QUOTE: char = '"';
/// Makes text of a value of any type.
const CAST: &str = "::text";
/// Which transactions are visible: `xmin:xmax:those in progress`. NULL on a standby.
const VISIBLE: &str = "SELECT CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_current_snapshot()::text END";
/// Stops the check of a database that has no encoding against ours.
const TAKE_BYTES_AS_THEY_ARE: &str = "SELECT set_config('client_encoding', 'SQL_ASCII', false) \
                                      WHERE current_setting('server_encoding') = 'SQL_ASCII'";

/// A PostgreSQL server.
pub(crate) struct Postgres {
    options: PgConnectOptions,
    mapping: Mapping,
    query_timeout: Duration,
    connection: Option<PgConnection>,
    /// What was visible to the last reading that succeeded.
    read_visible: Option<String>,
}

impl Postgres {
    pub(crate) fn new(settings: &Settings) -> Result<Postgres, SyncFault> {
        let fault = |detail: String| SyncFault::Url { found: masked_url(&settings.url), detail };
        let options = PgConnectOptions::from_str(&settings.url).map_err(|error| fault(error.to_string()))?;
        if options.get_database().is_none_or(str::is_empty) {
            return Err(fault("the name of a database is missing after the host".to_owned()));
        }
        Ok(Postgres {
            options: options.application_name("switchyard").disable_statement_logging(),
            mapping: settings.mapping.clone(),
            query_timeout: settings.query_timeout,
            connection: None,
            read_visible: None,
        })
    }

    pub(crate) async fn has_changed(&mut self) -> Result<bool, SyncFault> {
        let connection = self.connected().await?;
        let visible = visible(connection).await?;
        Ok(visible.is_none() || visible != self.read_visible)
    }

    pub(crate) async fn read(&mut self, builder: &mut Builder<'_>) -> Result<(), SyncFault> {
        let mapping = self.mapping.clone();
        self.read_visible = None;
        let connection = self.connected().await?;
        execute(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        // The first statement takes the snapshot that all others see: all four tables as of one commit.
        let visible = visible(connection).await?;
        let mut record = Record::default();
        for table in TABLES {
            read_table(connection, mapping.of(table), |row| {
                fill(&mut record, row)?;
                record.build(table, builder);
                Ok(())
            })
            .await?;
        }
        execute(connection, "COMMIT").await?;
        self.read_visible = visible;
        Ok(())
    }

    pub(crate) fn disconnect(&mut self) {
        self.connection = None;
        self.read_visible = None;
    }

    async fn connected(&mut self) -> Result<&mut PgConnection, SyncFault> {
        if self.connection.is_none() {
            self.read_visible = None;
            let connect = self.options.connect().await;
            let mut connection = connect.map_err(|error| SyncFault::Connect { detail: detail(&error) })?;
            // The server itself gives up what nobody waits for any more. Values are printed in one way everywhere.
            let timeout_ms = self.query_timeout.as_millis();
            let session = format!(
                "SET statement_timeout = {timeout_ms}; SET idle_in_transaction_session_timeout = {timeout_ms}; \
                 SET datestyle = 'ISO'; SET timezone = 'UTC'; SET standard_conforming_strings = on; \
                 SET bytea_output = 'hex'"
            );
            execute(&mut connection, &session).await?;
            // A database without an encoding may hold anything: its bytes are taken as they are, or one bad row would
            // fail the reading of all.
            execute(&mut connection, TAKE_BYTES_AS_THEY_ARE).await?;
            self.connection = Some(connection);
        }
        self.connection.as_mut().ok_or_else(|| SyncFault::Connect { detail: "no connection".to_owned() })
    }
}

async fn visible(connection: &mut PgConnection) -> Result<Option<String>, SyncFault> {
    let visible = sqlx::query_scalar(VISIBLE).fetch_one(connection).await;
    visible.map_err(|error| SyncFault::Query { what: VISIBLE.to_owned(), detail: detail(&error) })
}

/// Hands every row of a table to `take`, its columns in the order of the reference schema's.
async fn read_table(
    connection: &mut PgConnection,
    names: &TableNames,
    mut take: impl FnMut(&PgRow) -> Result<(), sqlx::Error>,
) -> Result<(), SyncFault> {
    let fault = |error: sqlx::Error| query(names.table, &error);
    let present = sqlx::query_scalar(
        "SELECT attname::text FROM pg_catalog.pg_attribute \
         WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped",
    );
    let present = present.bind(names.quoted(QUOTE));
    let present: Vec<String> = present.fetch_all(&mut *connection).await.map_err(fault)?;
    let statement = select(names, &selected(names, &present)?, QUOTE, CAST);
    // Names come from the operator's configuration, each in quotes that nothing in it can end.
    let mut found = sqlx::raw_sql(AssertSqlSafe(statement)).fetch(connection);
    while let Some(row) = found.try_next().await.map_err(fault)? {
        take(&row).map_err(fault)?;
    }
    Ok(())
}

/// Every value was made text by the server.
fn fill(record: &mut Record, row: &PgRow) -> Result<(), sqlx::Error> {
    for place in 0..row.len() {
        let value = row.try_get_raw(place)?;
        let bytes = if value.is_null() { None } else { Some(value.as_bytes().map_err(sqlx::Error::Decode)?) };
        record.set(place, bytes);
    }
    Ok(())
}

async fn execute(connection: &mut PgConnection, statement: &str) -> Result<(), SyncFault> {
    let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(connection).await;
    done.map(|_| ()).map_err(|error| SyncFault::Query { what: statement.to_owned(), detail: detail(&error) })
}

fn query(table: Table, error: &sqlx::Error) -> SyncFault {
    SyncFault::Query { what: table.name().to_owned(), detail: detail(error) }
}

fn detail(error: &sqlx::Error) -> String {
    error.as_database_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}
