//! A database of one engine: a connection that is kept, statements in, rows out.

use std::sync::Arc;

use sqlx::sqlite::SqliteOwnedBuf;
use tokio::sync::Notify;

use super::dialect::Dialect;
use super::progress::{Patience, Stopped};
use super::record::Record;
use super::{detail, mariadb, postgres, sqlite};
use crate::fault::SyncFault;
use crate::settings::{Settings, masked_url};

/// A database of one engine.
pub(crate) enum Engine {
    /// A MariaDB or MySQL server.
    MariaDb(Box<mariadb::MariaDb>),
    /// A PostgreSQL server.
    Postgres(Box<postgres::Postgres>),
    /// An SQLite file.
    Sqlite(Box<sqlite::Sqlite>),
}

/// How a connection stands to the last one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Connected {
    /// It is the same.
    Still,
    /// It is another one to the same database: its marks mean something else.
    Again,
    /// Nothing of the last one holds.
    Anew,
}

impl Dialect {
    /// The engine of a URL, by its scheme.
    pub(crate) fn of_url(url: &str) -> Result<Dialect, SyncFault> {
        match url.split_once(':') {
            Some(("mysql" | "mariadb", _)) => Ok(Dialect::MariaDb),
            Some(("postgres" | "postgresql", _)) => Ok(Dialect::Postgres),
            Some(("sqlite", _)) => Ok(Dialect::Sqlite),
            _ => Err(SyncFault::Url { found: masked_url(url), detail: "no such engine".to_owned() }),
        }
    }
}

impl Engine {
    /// The engine that a URL names. Nothing is opened yet.
    pub(crate) fn new(settings: &Settings) -> Result<Engine, SyncFault> {
        Engine::patient(settings, Patience::with_readings(settings.query_timeout))
    }

    /// The same with a file that may be written. Servers decide by the account.
    pub(crate) fn for_writes(settings: &Settings) -> Result<Engine, SyncFault> {
        match Engine::patient(settings, Patience::with_writes(settings.query_timeout))? {
            Engine::Sqlite(sqlite) => Ok(Engine::Sqlite(Box::new(sqlite.writable()))),
            engine => Ok(engine),
        }
    }

    fn patient(settings: &Settings, patience: Patience) -> Result<Engine, SyncFault> {
        Ok(match Dialect::of_url(&settings.url)? {
            Dialect::MariaDb => Engine::MariaDb(Box::new(mariadb::MariaDb::new(settings, patience)?)),
            Dialect::Postgres => Engine::Postgres(Box::new(postgres::Postgres::new(settings, patience)?)),
            Dialect::Sqlite => Engine::Sqlite(Box::new(sqlite::Sqlite::new(settings, patience)?)),
        })
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Engine::MariaDb(_) => Dialect::MariaDb,
            Engine::Postgres(_) => Dialect::Postgres,
            Engine::Sqlite(_) => Dialect::Sqlite,
        }
    }

    /// Connects if there is no connection.
    pub(crate) async fn connect(&mut self) -> Result<Connected, SyncFault> {
        let connected = match self {
            Engine::MariaDb(mariadb) => mariadb.connect().await,
            Engine::Postgres(postgres) => postgres.connect().await,
            Engine::Sqlite(sqlite) => return sqlite.connect().await,
        };
        let is_new = connected.map_err(|stopped| fault(stopped, |detail| SyncFault::Connect { detail }))?;
        Ok(if is_new { Connected::Anew } else { Connected::Still })
    }

    /// Lets go of the connection: the next look begins with a new one.
    pub(crate) fn disconnect(&mut self) {
        match self {
            Engine::MariaDb(mariadb) => mariadb.disconnect(),
            Engine::Postgres(postgres) => postgres.disconnect(),
            Engine::Sqlite(sqlite) => sqlite.disconnect(),
        }
    }

    /// What is another after every commit, and never the same by chance; `None` when the engine has nothing such.
    pub(crate) async fn mark(&mut self) -> Result<Option<Vec<u8>>, SyncFault> {
        let statement = match self {
            Engine::MariaDb(_) => return Ok(None),
            Engine::Postgres(_) => postgres::VISIBLE,
            Engine::Sqlite(_) => sqlite::DATA_VERSION,
        };
        let mut mark = None;
        self.rows(statement, statement.to_owned(), |record| mark = record.cell(0).map(<[u8]>::to_vec)).await?;
        Ok(mark)
    }

    /// All that a file has, as of the transaction that is under way, unless it is larger than so many bytes; `None` of a
    /// server.
    pub(super) async fn copy(&mut self, bytes_max: u64) -> Result<Option<SqliteOwnedBuf>, SyncFault> {
        let Engine::Sqlite(sqlite) = self else { return Ok(None) };
        let mut bytes = 1_u64;
        for number in [sqlite::PAGES, sqlite::PAGE_BYTES] {
            let rows = sqlite.rows(number.to_owned(), |record| {
                bytes = record.text(0).parse().unwrap_or(u64::MAX).saturating_mul(bytes);
            });
            rows.await.map_err(|stopped| query_fault(number, stopped))?;
        }
        if bytes > bytes_max {
            return Ok(None);
        }
        sqlite.copy().await.map(Some).map_err(|stopped| query_fault("a copy of the file", stopped))
    }

    /// Makes `bell` ring after commits, where the engine can tell of them.
    pub(crate) async fn listen(&mut self, bell: &Arc<Notify>) -> Result<(), SyncFault> {
        match self {
            Engine::Postgres(postgres) => {
                let listening = postgres.listen(bell).await;
                listening.map_err(|stopped| {
                    fault(stopped, |detail| SyncFault::Connect { detail: format!("LISTEN: {detail}") })
                })
            }
            Engine::MariaDb(_) | Engine::Sqlite(_) => Ok(()),
        }
    }

    /// Runs a statement and hands every row to `take`. `what` names it in a fault.
    pub(crate) async fn rows(
        &mut self,
        what: &str,
        statement: String,
        take: impl FnMut(&mut Record),
    ) -> Result<(), SyncFault> {
        let done = match self {
            Engine::MariaDb(mariadb) => mariadb.rows(statement, take).await,
            Engine::Postgres(postgres) => postgres.rows(statement, take).await,
            Engine::Sqlite(sqlite) => sqlite.rows(statement, take).await,
        };
        done.map_err(|stopped| query_fault(what, stopped))
    }

    /// Runs a statement that has no rows; returns how many it touched.
    pub(crate) async fn execute(&mut self, statement: &str) -> Result<u64, SyncFault> {
        let done = match self {
            Engine::MariaDb(mariadb) => mariadb.execute(statement.to_owned()).await,
            Engine::Postgres(postgres) => postgres.execute(statement.to_owned()).await,
            Engine::Sqlite(sqlite) => sqlite.execute(statement.to_owned()).await,
        };
        done.map_err(|stopped| query_fault(statement, stopped))
    }
}

/// The fault of an engine that stopped at a query.
fn query_fault(what: &str, stopped: Stopped) -> SyncFault {
    fault(stopped, |detail| SyncFault::Query { what: what.to_owned(), detail })
}

/// The fault of an engine that stopped; `said` makes it of what the engine says.
pub(super) fn fault(stopped: Stopped, said: impl FnOnce(String) -> SyncFault) -> SyncFault {
    match stopped {
        Stopped::Engine(error) => said(detail(&error)),
        Stopped::TimedOut(limit) => SyncFault::TimedOut(limit),
    }
}
