//! The proxy's own tables, beside those of the PBX. `switchyard db migrate` makes them and nothing else does.

use crate::source::Dialect;

/// One of our own tables.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum OwnTable {
    /// Environments of DIDs that end by themselves.
    Leases,
    /// Callers whose calls go elsewhere.
    Testers,
    /// Whether everything goes to prod.
    Panic,
    /// A record of each call.
    Calls,
    /// Who changed what.
    Audit,
    /// Which rows changed, by triggers.
    Changes,
}

/// The change log.
pub(crate) const CHANGES: &str = OwnTable::Changes.name();
/// What the audit calls a DID's move to another environment for good.
pub(crate) const MOVED: &str = "set_environment";
/// The tables that lie over the rows.
pub(crate) const OVERLAYS: [OwnTable; 3] = [OwnTable::Leases, OwnTable::Testers, OwnTable::Panic];

/// From where somebody changed something, and as what.
const ORIGIN: &str = "made_as VARCHAR(16) NULL, made_from VARCHAR(255) NULL";

impl OwnTable {
    /// Every one of them.
    pub(crate) const ALL: [OwnTable; 6] =
        [OwnTable::Leases, OwnTable::Testers, OwnTable::Panic, OwnTable::Calls, OwnTable::Audit, OwnTable::Changes];

    /// Its name in every engine.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            OwnTable::Leases => "switchyard_leases",
            OwnTable::Testers => "switchyard_testers",
            OwnTable::Panic => "switchyard_panic",
            OwnTable::Calls => "switchyard_calls",
            OwnTable::Audit => "switchyard_audit",
            OwnTable::Changes => "switchyard_changes",
        }
    }

    /// The statement that gives a table of an earlier version the columns that have come since, whether it has them or
    /// not; `None` where there are none, and for SQLite, whose language cannot say so: see [`OwnTable::missing`].
    pub(crate) fn extend(self, dialect: Dialect) -> Option<String> {
        let columns = ORIGIN.split(", ").map(|column| format!("ADD COLUMN IF NOT EXISTS {column}"));
        let is_extended = self == OwnTable::Audit && dialect != Dialect::Sqlite;
        is_extended.then(|| format!("ALTER TABLE {} {}", self.name(), columns.collect::<Vec<_>>().join(", ")))
    }

    /// The statements that give it the columns which have come since, of which it has those of `columns`.
    pub(crate) fn missing(self, columns: &[String]) -> Vec<String> {
        let later = if self == OwnTable::Audit { ORIGIN } else { "" };
        let is_there = |definition: &str| columns.iter().any(|column| definition.split(' ').next() == Some(column));
        let missing = later.split(", ").filter(|definition| !definition.is_empty() && !is_there(definition));
        missing.map(|definition| format!("ALTER TABLE {} ADD COLUMN {definition}", self.name())).collect()
    }

    /// What the account that reads may do with it.
    pub(crate) const fn rights(self) -> &'static str {
        match self {
            OwnTable::Leases | OwnTable::Testers | OwnTable::Panic => "SELECT, INSERT, UPDATE",
            OwnTable::Calls => "INSERT",
            OwnTable::Audit => "SELECT, INSERT",
            OwnTable::Changes => "SELECT, DELETE",
        }
    }

    /// What fails where the account lacks these rights.
    pub(crate) const fn purpose(self) -> &'static str {
        match self {
            OwnTable::Leases => "no lease can be made",
            OwnTable::Testers => "no tester's calls can be sent elsewhere",
            OwnTable::Panic => "panic cannot be declared",
            OwnTable::Calls => "no record of a call reaches the database",
            OwnTable::Audit => "nothing can be changed, as every change is noted there",
            OwnTable::Changes => "the change log is not read, or never cut",
        }
    }

    /// The statement that makes it where it is not there.
    ///
    /// `active_key` is what may be there once at a time, while it is in effect: the unique key makes the second of two
    /// writers fail. Times are milliseconds since 1970, so that no server's time zone has a say.
    pub(crate) fn create(self, dialect: Dialect) -> String {
        let made = "made_at_ms BIGINT NOT NULL, made_by VARCHAR(255) NOT NULL, reason VARCHAR(1024) NOT NULL";
        let ends = format!("ended_at_ms BIGINT NULL, active_key VARCHAR(255) NULL UNIQUE, {made}");
        let columns = match self {
            OwnTable::Leases => format!(
                "id CHAR(36) NOT NULL PRIMARY KEY, number VARCHAR(20) NOT NULL, environment VARCHAR(16) NOT NULL, \
                 ends_at_ms BIGINT NOT NULL, {ends}"
            ),
            OwnTable::Testers => format!(
                "id CHAR(36) NOT NULL PRIMARY KEY, caller VARCHAR(20) NOT NULL, number VARCHAR(20) NULL, \
                 org_id VARCHAR(64) NULL, environment VARCHAR(16) NOT NULL, ends_at_ms BIGINT NOT NULL, {ends}"
            ),
            OwnTable::Panic => format!("id CHAR(36) NOT NULL PRIMARY KEY, ends_at_ms BIGINT NULL, {ends}"),
            OwnTable::Calls => {
                let whole = if dialect == Dialect::MariaDb { "MEDIUMTEXT" } else { "TEXT" };
                format!(
                    "id VARCHAR(255) NOT NULL PRIMARY KEY, call_id VARCHAR(255) NOT NULL, \
                     began_at_ms BIGINT NOT NULL, ended_at_ms BIGINT NULL, direction VARCHAR(16) NOT NULL, \
                     called VARCHAR(255) NOT NULL, caller VARCHAR(255) NOT NULL, org_id VARCHAR(64) NULL, \
                     outcome VARCHAR(32) NOT NULL, status INTEGER NULL, record_json {whole} NOT NULL"
                )
            }
            OwnTable::Audit => format!(
                "id CHAR(36) NOT NULL PRIMARY KEY, action VARCHAR(32) NOT NULL, subject VARCHAR(255) NOT NULL, \
                 value_before VARCHAR(1024) NULL, value_after VARCHAR(1024) NULL, {made}, {ORIGIN}"
            ),
            OwnTable::Changes => match dialect {
                Dialect::MariaDb => "id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, \
                                     table_name VARCHAR(64) NOT NULL, row_id VARCHAR(255) NULL, \
                                     changed_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3)"
                    .to_owned(),
                Dialect::Postgres => "id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
                                      table_name TEXT NOT NULL, row_id TEXT NULL, \
                                      changed_at TIMESTAMPTZ NOT NULL DEFAULT now()"
                    .to_owned(),
                // Without AUTOINCREMENT an id would be given out again when the log was emptied.
                Dialect::Sqlite => {
                    "id INTEGER PRIMARY KEY AUTOINCREMENT, table_name TEXT NOT NULL, row_id TEXT NULL".to_owned()
                }
            },
        };
        let table = self.name();
        let options = match dialect {
            Dialect::MariaDb => " ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin",
            Dialect::Postgres | Dialect::Sqlite => "",
        };
        format!("CREATE TABLE IF NOT EXISTS {table} ({columns}){options}")
    }
}
