//! A PostgreSQL server: one connection that is kept, the simple query protocol, and a second connection that listens.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Row, ValueRef};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::record::Record;
use crate::fault::SyncFault;
use crate::settings::{Settings, masked_url};

/// The channel on which triggers tell of a commit.
pub(crate) const CHANNEL: &str = "switchyard";
/// Which transactions are visible: `xmin:xmax:those in progress`. While that is the same, nothing can have been
/// committed. It holds for a primary only: the snapshot of a standby does not list the transactions in progress.
pub(crate) const VISIBLE: &str = "SELECT CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_current_snapshot()::text END";
/// Stops the check of a database that has no encoding against ours: it may hold anything, and one bad row would fail the
/// reading of all.
const TAKE_BYTES_AS_THEY_ARE: &str = "SELECT set_config('client_encoding', 'SQL_ASCII', false) \
                                      WHERE current_setting('server_encoding') = 'SQL_ASCII'";

/// A PostgreSQL server.
pub(crate) struct Postgres {
    options: PgConnectOptions,
    query_timeout: Duration,
    connection: Option<PgConnection>,
    listening: Option<JoinHandle<()>>,
}

/// The way to the database of a URL.
pub(crate) fn options(url: &str) -> Result<PgConnectOptions, SyncFault> {
    let fault = |detail: String| SyncFault::Url { found: masked_url(url), detail };
    let options = PgConnectOptions::from_str(url).map_err(|error| fault(error.to_string()))?;
    if options.get_database().is_none_or(str::is_empty) {
        return Err(fault("the name of a database is missing after the host".to_owned()));
    }
    Ok(options.application_name("switchyard").disable_statement_logging())
}

impl Postgres {
    pub(crate) fn new(settings: &Settings) -> Result<Postgres, SyncFault> {
        let options = options(&settings.url)?;
        Ok(Postgres { options, query_timeout: settings.query_timeout, connection: None, listening: None })
    }

    /// Connects if there is no connection; true when it is a new one.
    pub(crate) async fn connect(&mut self) -> Result<bool, sqlx::Error> {
        if self.connection.is_some() {
            return Ok(false);
        }
        let connection = self.options.connect().await?;
        self.connection = Some(connection);
        // The server itself gives up what nobody waits for any more. Values are printed in one way everywhere.
        let timeout_ms = self.query_timeout.as_millis();
        let session = format!(
            "SET statement_timeout = {timeout_ms}; SET idle_in_transaction_session_timeout = {timeout_ms}; \
             SET datestyle = 'ISO'; SET timezone = 'UTC'; SET standard_conforming_strings = on; SET bytea_output = 'hex'"
        );
        self.execute(session).await?;
        self.execute(TAKE_BYTES_AS_THEY_ARE.to_owned()).await?;
        Ok(true)
    }

    pub(crate) fn disconnect(&mut self) {
        self.connection = None;
        self.stop_listening();
    }

    /// Listens on a connection of its own, unless it does already: `bell` rings after every commit that a trigger tells
    /// of, and whenever something may have been missed.
    pub(crate) async fn listen(&mut self, bell: &Arc<Notify>) -> Result<(), sqlx::Error> {
        if self.listening.as_ref().is_some_and(|task| !task.is_finished()) {
            return Ok(());
        }
        let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(self.options.clone());
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.listen(CHANNEL).await?;
        let bell = Arc::clone(bell);
        self.listening = Some(tokio::spawn(async move {
            // A lost connection ends the task: the next look makes another, and reads what was missed.
            while let Ok(Some(_)) = listener.try_recv().await {
                bell.notify_one();
            }
            bell.notify_one();
        }));
        Ok(())
    }

    pub(crate) fn stop_listening(&mut self) {
        if let Some(task) = self.listening.take() {
            task.abort();
        }
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
                let value = row.try_get_raw(place)?;
                let bytes = if value.is_null() { None } else { Some(value.as_bytes().map_err(sqlx::Error::Decode)?) };
                record.set(place, bytes);
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

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop_listening();
    }
}
