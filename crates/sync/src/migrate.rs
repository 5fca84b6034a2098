//! What `switchyard db plan` prints and `switchyard db migrate` runs: our own tables, the rights to them, and the
//! triggers that keep the change log. Every statement may be run again.
//!
//! A trigger must not break the owner's writes. In MariaDB each has a handler that goes on after any error of its own
//! statement (a log that is missing, full or not writable). In PostgreSQL an exception block does the same, a lock is
//! waited for no longer than 200 ms, and nobody is notified while the server's queue is half full. What is not noted in
//! the log is found by the next reading of everything. A trigger of SQLite cannot go on after an error: whoever drops the
//! log before its triggers breaks the owner's writes, which is why an SQLite file gets them only by an option of its own.

use std::future::Future;
use std::time::Duration;

use directory::Table;

use crate::fault::SyncFault;
use crate::mapping::{Mapping, TABLES, TableNames, quoted};
use crate::own_tables::{CHANGES, OVERLAYS, OwnTable};
use crate::settings::Settings;
use crate::source::{Dialect, Engine};

/// What a migration is to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// What the PBX's tables are called.
    pub mapping: Mapping,
    /// The account with which the proxy reads: `switchyard` in PostgreSQL, `switchyard@127.0.0.1` in MariaDB.
    pub account: String,
    /// Whether triggers are to keep a change log. An SQLite file's commits show without; a large one needs it all the
    /// same, so that a change does not read everything.
    pub has_change_log: bool,
}

/// One statement of a migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// What it is for, in one line.
    pub purpose: String,
    /// The statement, without a `;` behind it.
    pub sql: String,
}

/// The account that owns MariaDB's triggers. Nobody can log in with it, and it may do no more than they do; were it a
/// person's account, every write would fail when that person leaves.
pub(crate) const DEFINER: &str = "'switchyard_trigger'@'localhost'";
/// Entries that SQLite's log keeps: many more than [`crate::source::LOG_ENTRIES_READ_MAX`].
const SQLITE_ENTRIES_KEPT: u32 = 100_000;
/// The longest list of changed rows that one statement leaves in PostgreSQL's log; more are noted as "everything".
const ROWS_NOTED_MAX: u32 = 10_000;

/// The statements that a database needs, in order. Nothing is connected to.
pub fn plan(url: &str, migration: &Migration) -> Result<Vec<Statement>, SyncFault> {
    let dialect = Dialect::of_url(url)?;
    let mut statements = Vec::new();
    let has_change_log = migration.has_change_log;
    let own = || OwnTable::ALL.into_iter().filter(|own| has_change_log || *own != OwnTable::Changes);
    for own in own() {
        push(&mut statements, format!("our own table {}", own.name()), own.create(dialect));
        if let Some(extend) = own.extend(dialect) {
            push(&mut statements, format!("the later columns of {}", own.name()), extend);
        }
    }
    match dialect {
        Dialect::MariaDb => {
            let account = mariadb_account(&migration.account)?;
            for own in own() {
                let grant = format!("GRANT {} ON {} TO {account}", own.rights(), own.name());
                push(&mut statements, format!("the proxy's rights to {}", own.name()), grant);
            }
            push(&mut statements, MOVES.to_owned(), moves(migration, dialect, &account));
            if has_change_log {
                mariadb_triggers(url, migration, &mut statements)?;
            }
        }
        Dialect::Postgres => {
            let account = quoted(&migration.account, dialect.quote());
            for own in own() {
                let grant = format!("GRANT {} ON {} TO {account}", own.rights(), own.name());
                push(&mut statements, format!("the proxy's rights to {}", own.name()), grant);
            }
            push(&mut statements, MOVES.to_owned(), moves(migration, dialect, &account));
            if has_change_log {
                postgres_triggers(migration, &mut statements);
            }
        }
        Dialect::Sqlite => {
            if has_change_log {
                sqlite_triggers(migration, &mut statements);
            }
        }
    }
    Ok(statements)
}

/// Runs the plan with the rights of `url`, and tells each statement when it is done. Returns how many were run; a fault
/// says what the statement was for. What was run before stays: every statement may be run again.
pub async fn migrate(url: &str, migration: &Migration, mut told: impl FnMut(&Statement)) -> Result<usize, SyncFault> {
    let statements = plan(url, migration)?;
    let settings = Settings { query_timeout: STATEMENT_TIME_MAX, ..Settings::new(url, directory::Policy::default()) };
    let mut engine = Engine::for_writes(&settings)?;
    within(engine.connect()).await?;
    let mut count = 0;
    for statement in statements {
        run(&mut engine, &statement).await?;
        told(&statement);
        count += 1;
    }
    // SQLite knows no column that is added only where it is missing: the file is asked.
    for statement in later_columns(&mut engine).await? {
        run(&mut engine, &statement).await?;
        told(&statement);
        count += 1;
    }
    Ok(count)
}

async fn run(engine: &mut Engine, statement: &Statement) -> Result<(), SyncFault> {
    let done = within(engine.execute(&statement.sql)).await;
    done.map(|_| ()).map_err(|fault| match fault {
        SyncFault::Query { detail, .. } => SyncFault::Query { what: statement.purpose.clone(), detail },
        other => other,
    })
}

/// The columns that our own tables of an earlier version lack in an SQLite file.
async fn later_columns(engine: &mut Engine) -> Result<Vec<Statement>, SyncFault> {
    let mut statements = Vec::new();
    if engine.dialect() != Dialect::Sqlite {
        return Ok(statements);
    }
    for own in OwnTable::ALL {
        let mut columns = Vec::new();
        let statement = engine.dialect().columns_of_table(None, own.name());
        let reading = engine.rows(own.name(), statement, |record| {
            columns.extend(record.cell(0).map(|name| String::from_utf8_lossy(name).into_owned()));
        });
        within(reading).await?;
        if columns.is_empty() {
            continue;
        }
        for sql in own.missing(&columns) {
            push(&mut statements, format!("the later columns of {}", own.name()), sql);
        }
    }
    Ok(statements)
}

/// A trigger is made with a lock on its table: whoever holds it up is waited for no longer than this, as everyone else
/// waits behind.
const STATEMENT_TIME_MAX: Duration = Duration::from_secs(10);

async fn within<T>(work: impl Future<Output = Result<T, SyncFault>>) -> Result<T, SyncFault> {
    // The server gives up first, and says so.
    let limit = STATEMENT_TIME_MAX + Duration::from_secs(5);
    tokio::time::timeout(limit, work).await.unwrap_or(Err(SyncFault::TimedOut(limit)))
}

/// The account that a URL logs in with, as grants name it: `switchyard` in PostgreSQL, `switchyard@127.0.0.1` in MariaDB.
/// `None` where it cannot be known: a MariaDB server elsewhere sees an address of ours that the URL does not say, and an
/// SQLite file has no accounts.
pub fn account_of(url: &str) -> Result<Option<String>, SyncFault> {
    Ok(match Dialect::of_url(url)? {
        Dialect::MariaDb => {
            let options = crate::source::mariadb_options(url)?;
            let is_here = matches!(options.get_host(), "localhost" | "127.0.0.1");
            is_here.then(|| format!("{}@127.0.0.1", options.get_username()))
        }
        Dialect::Postgres => Some(crate::source::postgres_options(url)?.get_username().to_owned()),
        Dialect::Sqlite => None,
    })
}

/// A plan as a script for the engine's own client.
pub fn script(url: &str, statements: &[Statement]) -> Result<String, SyncFault> {
    let is_mariadb = Dialect::of_url(url)? == Dialect::MariaDb;
    let mut script = String::new();
    for Statement { purpose, sql } in statements {
        // MariaDB's client cuts at every semicolon, unless it is told another end.
        let text = match is_mariadb && sql.contains(';') {
            true => format!("DELIMITER //\n{sql} //\nDELIMITER ;\n"),
            false => format!("{sql};\n"),
        };
        script.push_str(&format!("-- {purpose}\n{text}\n"));
    }
    Ok(script)
}

const MOVES: &str = "the right to move a DID to another environment for good";

fn moves(migration: &Migration, dialect: Dialect, account: &str) -> String {
    let names = migration.mapping.of(Table::Dids);
    let column = quoted(names.column("routing_environment"), dialect.quote());
    format!("GRANT UPDATE ({column}) ON {} TO {account}", names.quoted(dialect.quote()))
}

fn push(statements: &mut Vec<Statement>, purpose: String, sql: String) {
    statements.push(Statement { purpose, sql });
}

/// `user@host` with both parts in quotes.
fn mariadb_account(account: &str) -> Result<String, SyncFault> {
    let (user, host) = account.rsplit_once('@').unwrap_or((account, "%"));
    let is_good = |part: &str| !part.is_empty() && !part.contains(['\'', '\\']) && !part.chars().any(char::is_control);
    if !is_good(user) || !is_good(host) {
        let detail = format!("found account {account:?}, expected USER@HOST");
        return Err(SyncFault::Query { what: "account".to_owned(), detail });
    }
    Ok(format!("'{user}'@'{host}'"))
}

fn mariadb_triggers(url: &str, migration: &Migration, statements: &mut Vec<Statement>) -> Result<(), SyncFault> {
    let options = crate::source::mariadb_options(url)?;
    let database = options.get_database().unwrap_or_default().to_owned();
    // A trigger looks for names in its own table's schema: the log's is said.
    let log = format!("{}.{CHANGES}", quoted(&database, '`'));
    push(
        statements,
        "the account that owns the triggers; nobody can log in with it".to_owned(),
        format!("CREATE USER IF NOT EXISTS {DEFINER} ACCOUNT LOCK"),
    );
    push(statements, "its right to the change log".to_owned(), format!("GRANT INSERT ON {log} TO {DEFINER}"));
    let own = OVERLAYS.map(|own| (own.name(), own.name().to_owned(), None));
    let tables = TABLES.map(|table| {
        let names = migration.mapping.of(table);
        (table.name(), names.quoted('`'), Some(names.column("id").to_owned()))
    });
    for (reference, table, key) in tables.into_iter().chain(own) {
        push(
            statements,
            format!("the triggers' rights to {reference}"),
            format!("GRANT SELECT, TRIGGER ON {table} TO {DEFINER}"),
        );
        for (event, rows) in [("INSERT", ["NEW"].as_slice()), ("UPDATE", &["NEW", "OLD"]), ("DELETE", &["OLD"])] {
            let name = trigger_name(&table, reference, event);
            let note = mariadb_note(&log, reference, key.as_deref(), rows);
            push(
                statements,
                format!("every {event} of {reference} is noted"),
                format!(
                    "CREATE OR REPLACE DEFINER = {DEFINER} TRIGGER {name} AFTER {event} ON {table} FOR EACH ROW\n\
                     BEGIN\n    DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;\n    {note};\nEND"
                ),
            );
        }
    }
    Ok(())
}

/// A trigger stands in its table's schema.
fn trigger_name(table: &str, reference: &str, event: &str) -> String {
    let plain = format!("`switchyard_{reference}_{}`", event.to_lowercase());
    match table.split_once("`.`") {
        Some((schema, _)) => format!("{schema}`.{plain}"),
        None => plain,
    }
}

/// An update that gives a row another id is a change of both ids.
fn mariadb_note(log: &str, reference: &str, key: Option<&str>, rows: &[&str]) -> String {
    let Some(key) = key else {
        return format!("INSERT INTO {log} (table_name, row_id) VALUES ('{reference}', NULL)");
    };
    let key = quoted(key, '`');
    match rows {
        [row] => format!("INSERT INTO {log} (table_name, row_id) VALUES ('{reference}', {row}.{key})"),
        _ => format!(
            "INSERT INTO {log} (table_name, row_id) VALUES ('{reference}', NEW.{key});\n    \
             IF NOT (BINARY NEW.{key} <=> BINARY OLD.{key}) THEN\n        \
             INSERT INTO {log} (table_name, row_id) VALUES ('{reference}', OLD.{key});\n    END IF"
        ),
    }
}

fn postgres_triggers(migration: &Migration, statements: &mut Vec<Statement>) {
    push(statements, "what a trigger does".to_owned(), postgres_function());
    push(
        statements,
        "nobody else may use it".to_owned(),
        "REVOKE ALL ON FUNCTION switchyard_note_change() FROM PUBLIC".to_owned(),
    );
    let own = OVERLAYS.map(|own| (own.name(), own.name().to_owned(), String::new()));
    let tables = TABLES.map(|table| {
        let names: &TableNames = migration.mapping.of(table);
        (table.name(), names.quoted('"'), names.column("id").to_owned())
    });
    for (reference, table, key) in tables.into_iter().chain(own) {
        let key = key.replace('\'', "''");
        let events = [
            ("INSERT", "REFERENCING NEW TABLE AS new_rows "),
            ("UPDATE", "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows "),
            ("DELETE", "REFERENCING OLD TABLE AS old_rows "),
            ("TRUNCATE", ""),
        ];
        for (event, rows) in events {
            push(
                statements,
                format!("every {event} of {reference} is noted"),
                format!(
                    "CREATE OR REPLACE TRIGGER switchyard_{} AFTER {event} ON {table} {rows}\
                     FOR EACH STATEMENT EXECUTE FUNCTION switchyard_note_change('{reference}', '{key}')",
                    event.to_lowercase()
                ),
            );
        }
    }
}

/// SQLite has one writer at a time, so that ids show in their order. Each trigger cuts the log itself, as the proxy reads
/// the file and does not write it: a reader that is further behind than [`SQLITE_ENTRIES_KEPT`] finds more entries than
/// are read at one time, and reads everything.
fn sqlite_triggers(migration: &Migration, statements: &mut Vec<Statement>) {
    let own = OVERLAYS.map(|own| (own.name(), quoted(own.name(), '"'), None));
    let tables = TABLES.map(|table| {
        let names = migration.mapping.of(table);
        (table.name(), names.quoted('"'), Some(quoted(names.column("id"), '"')))
    });
    for (reference, table, key) in tables.into_iter().chain(own) {
        let note = |id: &str| format!("INSERT INTO {CHANGES} (table_name, row_id) VALUES ('{reference}', {id});");
        let row = |row: &str| key.as_deref().map_or_else(|| "NULL".to_owned(), |key| format!("{row}.{key}"));
        // An update that gives a row another id is a change of both ids.
        let moved = key.as_deref().map_or_else(String::new, |key| {
            format!(
                "\n    INSERT INTO {CHANGES} (table_name, row_id) \
                 SELECT '{reference}', OLD.{key} WHERE OLD.{key} IS NOT NEW.{key};"
            )
        });
        for (event, noted) in
            [("INSERT", note(&row("NEW"))), ("UPDATE", note(&row("NEW")) + &moved), ("DELETE", note(&row("OLD")))]
        {
            let name = format!("switchyard_{reference}_{}", event.to_lowercase());
            push(
                statements,
                format!("every {event} of {reference} is noted"),
                format!(
                    "CREATE TRIGGER IF NOT EXISTS {name} AFTER {event} ON {table} FOR EACH ROW BEGIN\n    {noted}\n    \
                     DELETE FROM {CHANGES} WHERE id <= last_insert_rowid() - {SQLITE_ENTRIES_KEPT};\nEND"
                ),
            );
        }
    }
}

/// Runs once for a statement, whatever the number of its rows. Its arguments: the table's reference name, and its key,
/// empty for a table whose rows are not told apart.
fn postgres_function() -> String {
    let channel = crate::source::CHANNEL;
    format!(
        r"CREATE OR REPLACE FUNCTION switchyard_note_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '200ms' AS $body$
DECLARE
    ids text;
    noted bigint := 1;
BEGIN
    IF TG_OP = 'TRUNCATE' OR TG_ARGV[1] = '' THEN
        INSERT INTO {CHANGES} (table_name, row_id) VALUES (TG_ARGV[0], NULL);
    ELSE
        ids := CASE TG_OP
            WHEN 'INSERT' THEN 'SELECT %1$I::text AS id FROM new_rows'
            WHEN 'DELETE' THEN 'SELECT %1$I::text AS id FROM old_rows'
            ELSE 'SELECT %1$I::text AS id FROM new_rows UNION SELECT %1$I::text FROM old_rows'
        END;
        EXECUTE format('INSERT INTO {CHANGES} (table_name, row_id) SELECT $1, id FROM (' || ids ||
            ') AS changed LIMIT {ROWS_NOTED_MAX}', TG_ARGV[1]) USING TG_ARGV[0];
        GET DIAGNOSTICS noted = ROW_COUNT;
        IF noted = {ROWS_NOTED_MAX} THEN
            INSERT INTO {CHANGES} (table_name, row_id) VALUES (TG_ARGV[0], NULL);
        END IF;
    END IF;
    IF noted > 0 AND pg_notification_queue_usage() < 0.5 THEN
        PERFORM pg_notify('{channel}', '');
    END IF;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'switchyard: a change of % was not noted: %', TG_ARGV[0], SQLERRM;
    RETURN NULL;
END
$body$"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn migration(account: &str) -> Migration {
        let mut mapping = Mapping::default();
        mapping.rename_table("users", "pbx.people").unwrap();
        mapping.rename_column("users", "id", "key").unwrap();
        Migration { mapping, account: account.to_owned(), has_change_log: true }
    }

    #[test]
    fn a_plan_names_tables_as_they_are_mapped() {
        let statements = plan("mysql://root@127.0.0.1/pbx_api_db", &migration("switchyard@10.10.10.1")).unwrap();
        let sql: Vec<&str> = statements.iter().map(|statement| statement.sql.as_str()).collect();
        assert!(sql.contains(&"GRANT UPDATE (`routing_environment`) ON `did_numbers` TO 'switchyard'@'10.10.10.1'"));
        let trigger = sql.iter().find(|sql| sql.contains("TRIGGER `pbx`.`switchyard_users_insert`")).unwrap();
        assert!(trigger.contains("AFTER INSERT ON `pbx`.`people`"), "{trigger}");
        assert!(
            trigger.contains(
                "INSERT INTO `pbx_api_db`.switchyard_changes (table_name, row_id) VALUES ('users', NEW.`key`)"
            )
        );
        assert!(trigger.contains("CONTINUE HANDLER FOR SQLEXCEPTION"));
        let statements = plan("postgres://root@127.0.0.1/pbx", &migration("switchyard")).unwrap();
        let users = r#"ON "pbx"."people" REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT"#;
        assert!(statements.iter().any(|statement| statement.sql.contains(users)));
        let statements = plan("sqlite:///tmp/x.db", &Migration { account: String::new(), ..migration("") }).unwrap();
        let users = "switchyard_users_insert AFTER INSERT ON \"pbx\".\"people\" FOR EACH ROW";
        assert!(statements.iter().any(|statement| statement.sql.contains(users)));
    }

    #[test]
    fn without_a_change_log_there_are_no_triggers() {
        let migration = Migration { has_change_log: false, ..migration("switchyard") };
        for url in ["mysql://root@127.0.0.1/pbx", "postgres://root@127.0.0.1/pbx", "sqlite:///tmp/x.db"] {
            let statements = plan(url, &migration).unwrap();
            assert!(statements.iter().all(|statement| !statement.sql.contains("TRIGGER")), "{url}");
            assert!(statements.iter().all(|statement| !statement.sql.contains(CHANGES)), "{url}");
        }
    }

    #[test]
    fn an_account_is_told_from_the_url_where_it_can_be() {
        for (url, account) in [
            ("mysql://proxy:p@127.0.0.1/pbx", Some("proxy@127.0.0.1")),
            ("mariadb://proxy:p@localhost:3307/pbx", Some("proxy@127.0.0.1")),
            ("mysql://proxy:p@10.10.10.9/pbx", None),
            ("postgres://proxy:p@10.10.10.9/pbx", Some("proxy")),
            ("sqlite:///var/lib/switchyard/directory.db", None),
        ] {
            assert_eq!(account_of(url), Ok(account.map(str::to_owned)), "{url}");
        }
    }

    #[test]
    fn a_script_for_mariadbs_client_ends_each_trigger_otherwise() {
        let url = "mysql://root@127.0.0.1/pbx";
        let script = script(url, &plan(url, &migration("switchyard@127.0.0.1")).unwrap()).unwrap();
        assert!(script.contains("\nEND //\nDELIMITER ;\n"), "{script}");
        assert!(script.contains("-- our own table switchyard_leases\nCREATE TABLE IF NOT EXISTS switchyard_leases"));
    }

    #[test]
    fn an_account_that_is_none_is_refused() {
        for account in ["", "@", "a'b@c", "a@"] {
            assert!(plan("mysql://root@127.0.0.1/pbx", &migration(account)).is_err(), "{account}");
        }
    }
}
