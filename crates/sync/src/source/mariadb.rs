//! A MariaDB server: one connection that is kept, and the text protocol, so that every value comes as text.

use std::str::FromStr;
use std::time::Duration;

use futures_util::TryStreamExt;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Row};

use super::record::Record;
use crate::fault::SyncFault;
use crate::settings::{Settings, masked_url};

/// A MariaDB server.
pub(crate) struct MariaDb {
    options: MySqlConnectOptions,
    query_timeout: Duration,
    connection: Option<MySqlConnection>,
}

/// The way to the database of a URL.
pub(crate) fn options(url: &str) -> Result<MySqlConnectOptions, SyncFault> {
    let fault = |detail: String| SyncFault::Url { found: masked_url(url), detail };
    let options = MySqlConnectOptions::from_str(url).map_err(|error| fault(error.to_string()))?;
    if options.get_database().is_none_or(str::is_empty) {
        return Err(fault("the name of a database is missing after the host".to_owned()));
    }
    Ok(options.disable_statement_logging())
}

impl MariaDb {
    pub(crate) fn new(settings: &Settings) -> Result<MariaDb, SyncFault> {
        let options = options(&settings.url)?;
        Ok(MariaDb { options, query_timeout: settings.query_timeout, connection: None })
    }

    /// Connects if there is no connection; true when it is a new one.
    pub(crate) async fn connect(&mut self) -> Result<bool, sqlx::Error> {
        if self.connection.is_some() {
            return Ok(false);
        }
        let connection = self.options.connect().await?;
        self.connection = Some(connection);
        // The server itself gives up what nobody waits for any more. Locks of what is deleted are held for that alone.
        let timeout_s = self.query_timeout.as_secs_f64();
        let session =
            format!("SET SESSION max_statement_time = {timeout_s:.3}, SESSION tx_isolation = 'REPEATABLE-READ'");
        self.execute(session).await?;
        Ok(true)
    }

    pub(crate) fn disconnect(&mut self) {
        self.connection = None;
    }

    pub(crate) async fn rows(
        &mut self,
        statement: String,
        mut take: impl FnMut(&mut Record),
    ) -> Result<(), sqlx::Error> {
        let mut record = Record::default();
        let connection = self.connection.as_mut().ok_or(sqlx::Error::PoolClosed)?;
        let mut found = sqlx::raw_sql(AssertSqlSafe(statement)).fetch(connection);
        while let Some(row) = found.try_next().await? {
            for place in 0..row.len() {
                record.set(place, row.try_get_unchecked(place)?);
            }
            take(&mut record);
        }
        Ok(())
    }

    pub(crate) async fn execute(&mut self, statement: String) -> Result<u64, sqlx::Error> {
        let connection = self.connection.as_mut().ok_or(sqlx::Error::PoolClosed)?;
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.map(|done| done.rows_affected())
    }
}
