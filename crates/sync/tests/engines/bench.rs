//! A database on a shared server, and a writer that looks at it.

use std::sync::Arc;
use std::time::Duration;

use directory::{Directory, Environment, Generation, Policy};
use sip::{Number, Numbering};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, MySqlConnection, PgConnection};
use sync::{Settings, SyncFault, Watcher, schema};
use tokio::sync::{RwLockReadGuard, watch};
use tokio::time::timeout;

use crate::server::{Engine, Server, server};

/// How long a test waits for what it waits for before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Bench {
    pub(crate) server: &'static Server,
    pub(crate) database: String,
    pub(crate) watcher: Watcher,
    pub(crate) bell: watch::Receiver<Generation>,
    _turn: Option<RwLockReadGuard<'static, ()>>,
}

impl Bench {
    /// A writer that looks at the reference tables with the made-up rows, with the least rights there are.
    pub(crate) async fn start(engine: Engine) -> Bench {
        Bench::start_with(engine, "", |_| {}).await
    }

    /// The same after another script, with other settings.
    pub(crate) async fn start_with(engine: Engine, script: &str, adjust: impl FnOnce(&mut Settings)) -> Bench {
        let server = server(engine);
        let turn = server.turn().await;
        Bench::make(server, Some(turn), script, adjust).await
    }

    /// The same without a turn: the caller has the server alone.
    pub(crate) async fn make(
        server: &'static Server,
        turn: Option<RwLockReadGuard<'static, ()>>,
        script: &str,
        adjust: impl FnOnce(&mut Settings),
    ) -> Bench {
        let database = server.database_name();
        fill(server, &database, script).await;
        let (watcher, bell) = watch(server, &database, adjust).await;
        Bench { server, database, watcher, bell, _turn: turn }
    }

    /// Puts a fresh database in the place of this one: what the address leads to when another server takes over.
    pub(crate) async fn replace(&self, script: &str) {
        let force = if self.server.engine == Engine::Postgres { " WITH (FORCE)" } else { "" };
        let drop = format!("DROP DATABASE {}{force}", self.database);
        execute(self.server, &self.server.root_url(), &drop).await.unwrap();
        fill(self.server, &self.database, script).await;
    }

    /// The same database with another writer.
    pub(crate) async fn again(self, adjust: impl FnOnce(&mut Settings)) -> Bench {
        let (watcher, bell) = watch(self.server, &self.database, adjust).await;
        Bench { watcher, bell, ..self }
    }

    /// The URL for the account that may do everything.
    pub(crate) fn root_url(&self) -> String {
        self.server.url("root", self.server.port, &self.database)
    }

    pub(crate) fn directory(&self) -> Arc<Directory> {
        self.watcher.published().load()
    }

    /// Changes the database as any other program would.
    pub(crate) async fn write(&self, script: &str) {
        execute(self.server, &self.root_url(), script).await.unwrap();
    }

    /// Waits until the directory is as wanted.
    pub(crate) async fn until(&mut self, is_wanted: impl Fn(&Directory) -> bool) -> Arc<Directory> {
        let wait = async {
            loop {
                let directory = self.watcher.published().load();
                if is_wanted(&directory) {
                    return directory;
                }
                self.bell.changed().await.unwrap();
            }
        };
        let waited = timeout(PATIENCE, wait).await;
        waited.unwrap_or_else(|_| panic!("it was never published; status {:?}", self.watcher.status()))
    }

    /// Waits until the last look failed, and says why.
    pub(crate) async fn fault(&self) -> SyncFault {
        self.status(|status| status.fault.clone()).await
    }

    /// Waits until the last look was good.
    pub(crate) async fn recovered(&self) {
        self.status(|status| status.fault.is_none().then_some(())).await;
    }

    /// Waits until the status is as wanted.
    pub(crate) async fn status<T>(&self, wanted: impl Fn(&sync::Status) -> Option<T>) -> T {
        let wait = async {
            loop {
                match wanted(&self.watcher.status()) {
                    Some(found) => return found,
                    None => tokio::task::yield_now().await,
                }
            }
        };
        let waited = timeout(PATIENCE, wait).await;
        waited.unwrap_or_else(|_| panic!("the status is {:?}", self.watcher.status()))
    }
}

/// Makes a database of the reference tables, the made-up rows, the account and what a script adds.
async fn fill(server: &Server, database: &str, script: &str) {
    execute(server, &server.root_url(), &format!("CREATE DATABASE {database}")).await.unwrap();
    let root = server.url("root", server.port, database);
    let (tables, role) = match server.engine {
        Engine::MariaDb => (schema::MARIADB_TABLES, schema::MARIADB_ROLE),
        Engine::Postgres => (schema::POSTGRES_TABLES, schema::POSTGRES_ROLE),
    };
    let role = role.replace("pbx_api_db", database).replace("'CHANGE-ME'", "'s3cret'");
    // An account is the server's, not the database's.
    let _turn = server.accounts.lock().await;
    for script in [tables, schema::ROWS, &role, script] {
        execute(server, &root, script).await.unwrap();
    }
}

/// A writer that looks at a database with the proxy's own account.
async fn watch(
    server: &Server,
    database: &str,
    adjust: impl FnOnce(&mut Settings),
) -> (Watcher, watch::Receiver<Generation>) {
    let mut settings = Settings::new(server.url("switchyard:s3cret", server.port, database), Policy::default());
    // What the guard does has tests of its own.
    settings.guard = None;
    adjust(&mut settings);
    let watcher = sync::start(settings).await.unwrap();
    let bell = watcher.published().subscribe();
    (watcher, bell)
}

/// Runs statements, separated by `;`, in one connection.
pub(crate) async fn execute(server: &Server, url: &str, script: &str) -> Result<(), sqlx::Error> {
    if script.is_empty() {
        return Ok(());
    }
    let statement = AssertSqlSafe(script.to_owned());
    match server.engine {
        Engine::MariaDb => {
            let mut connection = mariadb(url).await?;
            sqlx::raw_sql(statement).execute(&mut connection).await?;
            connection.close().await
        }
        Engine::Postgres => {
            let mut connection = postgres(url).await?;
            sqlx::raw_sql(statement).execute(&mut connection).await?;
            connection.close().await
        }
    }
}

pub(crate) async fn mariadb(url: &str) -> Result<MySqlConnection, sqlx::Error> {
    url.parse::<sqlx::mysql::MySqlConnectOptions>()?.disable_statement_logging().connect().await
}

pub(crate) async fn postgres(url: &str) -> Result<PgConnection, sqlx::Error> {
    url.parse::<sqlx::postgres::PgConnectOptions>()?.disable_statement_logging().connect().await
}

pub(crate) fn number(spelling: &str) -> Number {
    Numbering::default().canonical(spelling.as_bytes()).unwrap()
}

pub(crate) fn environment(directory: &Directory, spelling: &str) -> Option<Environment> {
    directory.did(number(spelling)).map(|did| did.environment)
}
