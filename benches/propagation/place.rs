//! A database on a real engine, with a table of made-up DIDs and a writer that keeps a directory in step with it.

use std::path::PathBuf;

use directory::Policy;
use sync::{Detection, Mapping, Migration, Settings, Watcher, schema};

use crate::client::Client;
use crate::server::{Engine, Server, server};

/// Which engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    MariaDb,
    Postgres,
    Sqlite,
}

/// A database.
pub(crate) struct Place {
    pub(crate) kind: Kind,
    pub(crate) server: Option<&'static Server>,
    /// For the account that may do everything.
    pub(crate) root_url: String,
    /// For the proxy's own account.
    pub(crate) own_url: String,
    folder: tempfile::TempDir,
}

/// The digits of the DID at a place of the table: anywhere among four thousand million, each once.
pub(crate) fn digits(at: u64) -> u64 {
    916_000_000_000 + at * 2_654_435_761 % 4_000_000_000
}

impl Place {
    /// Makes a database with so many DIDs, and a change log where one is asked for.
    pub(crate) async fn make(kind: Kind, rows: u64, detection: Detection) -> Place {
        let folder = tempfile::tempdir().unwrap();
        let place = match kind {
            Kind::Sqlite => {
                let url = format!("sqlite://{}/directory.db", folder.path().display());
                Place { kind, server: None, root_url: url.clone(), own_url: url, folder }
            }
            Kind::MariaDb => Place::on(server(Engine::MariaDb), kind, folder).await,
            Kind::Postgres => Place::on(server(Engine::Postgres), kind, folder).await,
        };
        let mut client = Client::open(&place.root_url).await.unwrap();
        let (tables, role) = match kind {
            Kind::MariaDb => (schema::MARIADB_TABLES, schema::MARIADB_ROLE),
            Kind::Postgres => (schema::POSTGRES_TABLES, schema::POSTGRES_ROLE),
            Kind::Sqlite => (schema::SQLITE_TABLES, ""),
        };
        let database = place.root_url.rsplit('/').next().unwrap_or_default().split('?').next().unwrap_or_default();
        let role = role.replace("pbx_api_db", database).replace("'CHANGE-ME'", "'s3cret'");
        for script in [tables, schema::ROWS, &role, &dids(kind, rows)] {
            client.run(script).await.unwrap();
        }
        if detection != Detection::Compare {
            let account = match kind {
                Kind::MariaDb => "switchyard@127.0.0.1",
                Kind::Postgres => "switchyard",
                Kind::Sqlite => "",
            };
            let migration =
                Migration { mapping: Mapping::default(), account: account.to_owned(), has_change_log: true };
            sync::migrate(&place.root_url, &migration, |_| {}).await.unwrap();
        }
        place
    }

    async fn on(server: &'static Server, kind: Kind, folder: tempfile::TempDir) -> Place {
        let database = server.database_name();
        let mut root = Client::open(&server.root_url()).await.unwrap();
        root.run(format!("CREATE DATABASE {database}")).await.unwrap();
        let root_url = server.url("root", server.port, &database);
        let own_url = server.url("switchyard:s3cret", server.port, &database);
        let place = Place { kind, server: Some(server), root_url, own_url, folder };
        place.make_durable().await;
        place
    }

    /// Has the server sync every commit to the disk, which it is to be told after each start.
    pub(crate) async fn make_durable(&self) {
        if self.kind == Kind::MariaDb {
            let mut root = Client::open(&self.root_url).await.unwrap();
            let settings = "SET GLOBAL innodb_flush_log_at_trx_commit = 1, GLOBAL innodb_buffer_pool_size = 536870912";
            root.run(settings).await.unwrap();
        }
    }

    /// A folder for snapshots.
    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().to_path_buf()
    }

    /// What the writer is told; all is as it is by default.
    pub(crate) fn settings(&self, detection: Detection) -> Settings {
        Settings { detection, ..Settings::new(self.own_url.clone(), Policy::default()) }
    }

    /// A writer that has read everything.
    pub(crate) async fn watch(&self, settings: Settings) -> Watcher {
        let watcher = sync::start(settings).await.unwrap();
        let status = watcher.status();
        assert!(status.is_loaded && status.fault.is_none(), "{status:?}");
        watcher
    }

    /// The processes of the server; the first is the parent of the others.
    pub(crate) fn processes(&self) -> Vec<u32> {
        self.server.map_or_else(Vec::new, Server::processes)
    }

    /// The statement that moves the DID at a place of the table.
    pub(crate) fn moves(at: u64, environment: &str) -> String {
        format!("UPDATE did_numbers SET routing_environment = '{environment}' WHERE number = '+{}'", digits(at))
    }

    /// The statement that gives the DID at a place of the table a limit of calls.
    pub(crate) fn limits(at: u64, call_limit: u64) -> String {
        format!("UPDATE did_numbers SET call_limit = {call_limit} WHERE number = '+{}'", digits(at))
    }
}

/// The statement that makes so many DIDs of one organisation.
fn dids(kind: Kind, rows: u64) -> String {
    let last = rows.saturating_sub(1);
    let (id, number, series) = match kind {
        Kind::MariaDb => (
            "UUID()",
            "CONCAT('+', 916000000000 + n * 2654435761 % 4000000000)",
            format!("(SELECT seq AS n FROM seq_0_to_{last}) AS numbers"),
        ),
        Kind::Postgres => (
            "gen_random_uuid()",
            "'+' || (916000000000 + n * 2654435761 % 4000000000)",
            format!("generate_series(0::bigint, {last}) AS numbers (n)"),
        ),
        Kind::Sqlite => (
            "lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-' || hex(randomblob(2)) || '-' || \
             hex(randomblob(2)) || '-' || hex(randomblob(6)))",
            "'+' || (916000000000 + n * 2654435761 % 4000000000)",
            format!(
                "(WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < {last}) \
                 SELECT n FROM numbers)"
            ),
        ),
    };
    format!(
        "INSERT INTO did_numbers (id, org_id, number, status, pool_status, routing_environment) \
         SELECT {id}, '0000000a-0000-4000-8000-a1b2c3d40000', {number}, 'active', 'assigned', 'prod' FROM {series}"
    )
}
