//! A MariaDB server: one connection that is kept, the text protocol, one snapshot for each reading.

use std::str::FromStr;
use std::time::Duration;

use directory::{Builder, Table};
use futures_util::TryStreamExt;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Row};

use super::record::Record;
use super::{select, selected};
use crate::fault::SyncFault;
use crate::mapping::{Mapping, TABLES, TableNames};
use crate::settings::{Settings, masked_url};

/// MariaDB's quote around an identifier.
const QUOTE: char = '`';

/// A MariaDB server.
pub(crate) struct MariaDb {
    options: MySqlConnectOptions,
    mapping: Mapping,
    query_timeout: Duration,
    connection: Option<MySqlConnection>,
}

impl MariaDb {
    pub(crate) fn new(settings: &Settings) -> Result<MariaDb, SyncFault> {
        let fault = |detail: String| SyncFault::Url { found: masked_url(&settings.url), detail };
        let options = MySqlConnectOptions::from_str(&settings.url).map_err(|error| fault(error.to_string()))?;
        if options.get_database().is_none_or(str::is_empty) {
            return Err(fault("the name of a database is missing after the host".to_owned()));
        }
        Ok(MariaDb {
            options: options.disable_statement_logging(),
            mapping: settings.mapping.clone(),
            query_timeout: settings.query_timeout,
            connection: None,
        })
    }

    pub(crate) async fn has_changed(&mut self) -> Result<bool, SyncFault> {
        self.connected().await?;
        Ok(true)
    }

    pub(crate) async fn read(&mut self, builder: &mut Builder<'_>) -> Result<(), SyncFault> {
        let mapping = self.mapping.clone();
        let connection = self.connected().await?;
        // The snapshot is taken here, not with the first row: all four tables as of one commit.
        execute(connection, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY").await?;
        let mut record = Record::default();
        for table in TABLES {
            read_table(connection, mapping.of(table), |row| {
                fill(&mut record, row)?;
                record.build(table, builder);
                Ok(())
            })
            .await?;
        }
        execute(connection, "COMMIT").await
    }

    pub(crate) fn disconnect(&mut self) {
        self.connection = None;
    }

    async fn connected(&mut self) -> Result<&mut MySqlConnection, SyncFault> {
        if self.connection.is_none() {
            let connect = self.options.connect().await;
            let mut connection = connect.map_err(|error| SyncFault::Connect { detail: detail(&error) })?;
            // The server itself gives up what nobody waits for any more.
            let timeout_s = self.query_timeout.as_secs_f64();
            let session = format!(
                "SET SESSION max_statement_time = {timeout_s:.3}, SESSION tx_isolation = 'REPEATABLE-READ', \
                 SESSION sql_select_limit = DEFAULT"
            );
            execute(&mut connection, &session).await?;
            self.connection = Some(connection);
        }
        self.connection.as_mut().ok_or_else(|| SyncFault::Connect { detail: "no connection".to_owned() })
    }
}

/// Hands every row of a table to `take`, its columns in the order of the reference schema's.
async fn read_table(
    connection: &mut MySqlConnection,
    names: &TableNames,
    mut take: impl FnMut(&MySqlRow) -> Result<(), sqlx::Error>,
) -> Result<(), SyncFault> {
    let present = sqlx::query_scalar(
        "SELECT CAST(column_name AS CHAR) FROM information_schema.columns \
         WHERE table_schema = COALESCE(?, DATABASE()) AND table_name = ?",
    );
    let present = present.bind(names.schema.as_deref()).bind(&names.name);
    let fault = |error: sqlx::Error| query(names.table, &error);
    let present: Vec<String> = present.fetch_all(&mut *connection).await.map_err(fault)?;
    let statement = select(names, &selected(names, &present)?, QUOTE, "");
    // Names come from the operator's configuration, each in quotes that nothing in it can end.
    let mut found = sqlx::raw_sql(AssertSqlSafe(statement)).fetch(connection);
    while let Some(row) = found.try_next().await.map_err(fault)? {
        take(&row).map_err(fault)?;
    }
    Ok(())
}

/// The text protocol gives every value as text, whatever its type.
fn fill(record: &mut Record, row: &MySqlRow) -> Result<(), sqlx::Error> {
    for place in 0..row.len() {
        record.set(place, row.try_get_unchecked(place)?);
    }
    Ok(())
}

async fn execute(connection: &mut MySqlConnection, statement: &str) -> Result<(), SyncFault> {
    let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(connection).await;
    done.map(|_| ()).map_err(|error| SyncFault::Query { what: statement.to_owned(), detail: detail(&error) })
}

fn query(table: Table, error: &sqlx::Error) -> SyncFault {
    SyncFault::Query { what: table.name().to_owned(), detail: detail(error) }
}

fn detail(error: &sqlx::Error) -> String {
    error.as_database_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}
