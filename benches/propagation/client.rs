//! Another client of a database: the one whose commits are to take effect.

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions};

/// A connection.
pub(crate) enum Client {
    MariaDb(MySqlConnection),
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

impl Client {
    /// Connects to the database of a URL.
    pub(crate) async fn open(url: &str) -> Result<Client, sqlx::Error> {
        if url.starts_with("mysql") {
            let options: MySqlConnectOptions = url.parse()?;
            return Ok(Client::MariaDb(options.disable_statement_logging().connect().await?));
        }
        if url.starts_with("postgres") {
            let options: PgConnectOptions = url.parse()?;
            return Ok(Client::Postgres(options.disable_statement_logging().connect().await?));
        }
        let options: SqliteConnectOptions = url.parse()?;
        let options = options.create_if_missing(true).busy_timeout(std::time::Duration::from_secs(30));
        Ok(Client::Sqlite(options.disable_statement_logging().connect().await?))
    }

    /// Runs statements, separated by `;`. Without a transaction around it, one is committed when this returns.
    pub(crate) async fn run(&mut self, script: impl Into<String>) -> Result<(), sqlx::Error> {
        let script = sqlx::raw_sql(AssertSqlSafe(script.into()));
        match self {
            Client::MariaDb(connection) => script.execute(connection).await.map(drop),
            Client::Postgres(connection) => script.execute(connection).await.map(drop),
            Client::Sqlite(connection) => script.execute(connection).await.map(drop),
        }
    }
}
