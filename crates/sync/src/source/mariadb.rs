//! A MariaDB server: one connection that is kept, and the text protocol, so that every value comes as text.

use std::str::FromStr;

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Row};

use super::progress::{Patience, Stopped};
use super::record::Record;
use crate::fault::SyncFault;
use crate::settings::{Settings, masked_url};

/// A MariaDB server.
pub(crate) struct MariaDb {
    options: MySqlConnectOptions,
    patience: Patience,
    connection: Option<MySqlConnection>,
    /// Which connection of the server the last one is: its id, and where the server sees it come from.
    last: Option<(String, String)>,
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
    pub(crate) fn new(settings: &Settings, patience: Patience) -> Result<MariaDb, SyncFault> {
        let options = options(&settings.url)?;
        Ok(MariaDb { options, patience, connection: None, last: None })
    }

    /// Connects if there is no connection; true when it is a new one.
    pub(crate) async fn connect(&mut self) -> Result<bool, Stopped> {
        if self.connection.is_some() {
            return Ok(false);
        }
        let connection = self.patience.answer(self.options.connect()).await?;
        self.connection = Some(connection);
        let statement_s = self.patience.statement.as_secs_f64();
        let lock = self.patience.lock().map_or(String::new(), |lock| {
            // Whole seconds are what the server takes.
            format!(", SESSION lock_wait_timeout = {}", lock.as_millis().div_ceil(1_000).max(1))
        });
        let session = format!(
            "SET SESSION max_statement_time = {statement_s:.3}, SESSION tx_isolation = 'REPEATABLE-READ'{lock}"
        );
        self.execute(session).await?;
        self.end_last().await?;
        Ok(true)
    }

    /// Ends what the last connection may have left running, as the server does not see that nobody waits for it.
    async fn end_last(&mut self) -> Result<(), Stopped> {
        let present = self.connections("CONNECTION_ID()").await?;
        if let Some(last) = std::mem::replace(&mut self.last, present)
            && self.connections(&last.0).await?.as_ref() == Some(&last)
            && let Err(Stopped::TimedOut(limit)) = self.execute(format!("KILL {}", last.0)).await
        {
            // Any other fault says that it has ended meanwhile.
            return Err(Stopped::TimedOut(limit));
        }
        Ok(())
    }

    /// The connection of this id: its id, and where it comes from.
    async fn connections(&mut self, id: &str) -> Result<Option<(String, String)>, Stopped> {
        let statement = format!("SELECT id, host FROM information_schema.processlist WHERE id = {id}");
        let mut found = None;
        self.rows(statement, |record| found = Some((record.text(0), record.text(1)))).await?;
        Ok(found)
    }

    pub(crate) fn disconnect(&mut self) {
        self.connection = None;
    }

    pub(crate) async fn rows(&mut self, statement: String, mut take: impl FnMut(&mut Record)) -> Result<(), Stopped> {
        let mut record = Record::default();
        let connection = self.connection.as_mut().ok_or(sqlx::Error::PoolClosed)?;
        let mut found = sqlx::raw_sql(AssertSqlSafe(statement)).fetch(connection);
        while let Some(row) = self.patience.next(&mut found).await? {
            for place in 0..row.len() {
                record.set(place, row.try_get_unchecked(place)?);
            }
            take(&mut record);
        }
        Ok(())
    }

    pub(crate) async fn execute(&mut self, statement: String) -> Result<u64, Stopped> {
        let connection = self.connection.as_mut().ok_or(sqlx::Error::PoolClosed)?;
        let done = self.patience.answer(sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection)).await?;
        Ok(done.rows_affected())
    }
}
