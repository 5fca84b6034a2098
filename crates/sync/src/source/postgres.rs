//! A PostgreSQL server: one connection that is kept, the simple query protocol, and a second connection that listens.

use std::str::FromStr;
use std::sync::Arc;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Row, ValueRef};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::progress::{Patience, Stopped};
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

/// The server's process of this connection, and when it began.
const WHO_WE_ARE: &str = "SELECT pid::text, backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()";

/// A PostgreSQL server.
pub(crate) struct Postgres {
    options: PgConnectOptions,
    patience: Patience,
    connection: Option<PgConnection>,
    /// Which process of the server the last connection is: its number, and when it began.
    last: Option<(String, String)>,
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
    pub(crate) fn new(settings: &Settings, patience: Patience) -> Result<Postgres, SyncFault> {
        let options = options(&settings.url)?;
        Ok(Postgres { options, patience, connection: None, last: None, listening: None })
    }

    /// Connects if there is no connection; true when it is a new one.
    pub(crate) async fn connect(&mut self) -> Result<bool, Stopped> {
        if self.connection.is_some() {
            return Ok(false);
        }
        let connection = self.patience.answer(self.options.connect()).await?;
        self.connection = Some(connection);
        // Values are printed in one way everywhere.
        // To the server a transaction is idle while a slow way still carries the rows of its last statement.
        let statement_ms = self.patience.statement.as_millis();
        let lock_ms = self.patience.lock().map_or(0, |lock| lock.as_millis());
        let session = format!(
            "SET statement_timeout = {statement_ms}; SET lock_timeout = {lock_ms}; \
             SET idle_in_transaction_session_timeout = {statement_ms}; \
             SET datestyle = 'ISO'; SET timezone = 'UTC'; SET standard_conforming_strings = on; SET bytea_output = 'hex'"
        );
        self.execute(session).await?;
        self.execute(TAKE_BYTES_AS_THEY_ARE.to_owned()).await?;
        self.end_last().await?;
        Ok(true)
    }

    /// Ends what the last connection may have left running, as the server does not see that nobody waits for it.
    async fn end_last(&mut self) -> Result<(), Stopped> {
        let mut present = None;
        self.rows(WHO_WE_ARE.to_owned(), |record| present = Some((record.text(0), record.text(1)))).await?;
        if let Some((process, began)) = std::mem::replace(&mut self.last, present) {
            self.execute(format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE pid = {process} AND backend_start = '{began}'"
            ))
            .await?;
        }
        Ok(())
    }

    pub(crate) fn disconnect(&mut self) {
        self.connection = None;
        self.stop_listening();
    }

    /// Listens on a connection of its own, unless it does already: `bell` rings after every commit that a trigger tells
    /// of, and whenever something may have been missed.
    pub(crate) async fn listen(&mut self, bell: &Arc<Notify>) -> Result<(), Stopped> {
        if self.listening.as_ref().is_some_and(|task| !task.is_finished()) {
            return Ok(());
        }
        let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(self.options.clone());
        let mut listener = self.patience.answer(PgListener::connect_with(&pool)).await?;
        self.patience.answer(listener.listen(CHANNEL)).await?;
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

    pub(crate) async fn rows(&mut self, statement: String, mut take: impl FnMut(&mut Record)) -> Result<(), Stopped> {
        let mut record = Record::default();
        let connection = self.connection.as_mut().ok_or(sqlx::Error::PoolClosed)?;
        let mut found = sqlx::raw_sql(AssertSqlSafe(statement)).fetch(connection);
        while let Some(row) = self.patience.next(&mut found).await? {
            for place in 0..row.len() {
                let value = row.try_get_raw(place)?;
                let bytes = if value.is_null() { None } else { Some(value.as_bytes().map_err(sqlx::Error::Decode)?) };
                record.set(place, bytes);
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

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop_listening();
    }
}
