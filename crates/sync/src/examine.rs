//! What a database says of its clock and of the triggers that keep our change log: `switchyard doctor` asks. It reads, and
//! changes nothing.

use std::time::{Duration, Instant};

use crate::clock::now_ms;
use crate::fault::SyncFault;
use crate::mapping::quoted;
use crate::migrate::{DEFINER, Migration, plan};
use crate::own_tables::CHANGES;
use crate::settings::Settings;
use crate::source::{Dialect, Engine};

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Examination {
    /// The server's clock; `None` for a file, which has none.
    pub clock: Option<ClockSkew>,
    /// Who writes to the change log.
    pub triggers: Triggers,
}

/// How a server's clock stands to ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClockSkew {
    /// Milliseconds by which the server is ahead; below 0 when it is behind.
    pub ahead_ms: i64,
    /// The time that the answer took: the figure above is exact to half of it.
    pub round_trip: Duration,
}

/// The triggers that `switchyard db migrate` makes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Triggers {
    /// There is no change log, and so there need not be any.
    NoLog,
    /// There is a log, and the server shows this account no triggers: MariaDB wants the right TRIGGER for it.
    Hidden,
    /// What was looked at.
    Seen {
        /// How many there should be.
        wanted: usize,
        /// What is wrong with them, one line for each that is missing, switched off or another's.
        faults: Vec<String>,
    },
}

/// One trigger as the plan makes it.
#[derive(PartialEq, Eq, Debug)]
struct Wanted<'s> {
    name: String,
    /// As the statement names it.
    table: &'s str,
    event: &'s str,
    /// What it does: the end of its definition.
    body: &'s str,
}

/// One trigger as the database has it.
struct Present {
    name: String,
    /// The ways in which a statement may name its table.
    tables: Vec<String>,
    definition: String,
    is_on: bool,
    /// MariaDB: with whose rights it runs.
    definer: Option<String>,
}

/// Asks the database of `settings`; triggers by `admin_url`, where one is given.
pub async fn examine(settings: &Settings, admin_url: Option<&str>) -> Result<Examination, SyncFault> {
    let mut engine = Engine::new(settings)?;
    engine.connect().await?;
    let clock = clock(&mut engine).await?;
    let mut columns = 0;
    let statement = engine.dialect().columns_of_table(None, CHANGES);
    engine.rows(CHANGES, statement, |_| columns += 1).await?;
    if columns == 0 {
        return Ok(Examination { clock, triggers: Triggers::NoLog });
    }
    if let Some(url) = admin_url {
        engine = Engine::new(&Settings { url: url.to_owned(), ..settings.clone() })?;
        engine.connect().await?;
    }
    Ok(Examination { clock, triggers: triggers(&mut engine, settings).await? })
}

async fn clock(engine: &mut Engine) -> Result<Option<ClockSkew>, SyncFault> {
    let statement = match engine.dialect() {
        Dialect::MariaDb => {
            // Else the hour that comes twice in autumn has two meanings.
            engine.execute("SET SESSION time_zone = '+00:00'").await?;
            "SELECT CAST(UNIX_TIMESTAMP(CURRENT_TIMESTAMP(3)) * 1000 AS SIGNED)"
        }
        Dialect::Postgres => "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint::text",
        Dialect::Sqlite => return Ok(None),
    };
    let (begun, before_ms) = (Instant::now(), now_ms());
    let mut answer = String::new();
    engine.rows("the clock", statement.to_owned(), |record| answer = record.text(0)).await?;
    let round_trip = begun.elapsed();
    let theirs: i64 = answer.parse().map_err(|_| SyncFault::Query {
        what: "the clock".to_owned(),
        detail: format!("found {answer:?}, expected milliseconds"),
    })?;
    let half_ms = i64::try_from(round_trip.as_millis() / 2).unwrap_or(i64::MAX);
    let ours = i64::try_from(before_ms).unwrap_or(i64::MAX).saturating_add(half_ms);
    Ok(Some(ClockSkew { ahead_ms: theirs.saturating_sub(ours), round_trip }))
}

async fn triggers(engine: &mut Engine, settings: &Settings) -> Result<Triggers, SyncFault> {
    let dialect = engine.dialect();
    // The account of a plan is in its grants alone, and those are not looked at.
    let migration =
        Migration { mapping: settings.mapping.clone(), account: "switchyard".to_owned(), has_change_log: true };
    let statements = plan(&settings.url, &migration)?;
    let wanted: Vec<Wanted<'_>> = statements.iter().filter_map(|statement| wanted(dialect, &statement.sql)).collect();
    if dialect == Dialect::MariaDb && !may_see_triggers(engine).await? {
        return Ok(Triggers::Hidden);
    }
    let present = present(engine).await?;
    let mut faults: Vec<String> = wanted.iter().filter_map(|wanted| fault(wanted, &present)).collect();
    if dialect == Dialect::Postgres && faults.len() < wanted.len() {
        let function = statements.iter().find_map(|statement| function_body(&statement.sql));
        faults.extend(function_fault(engine, function.unwrap_or_default()).await?);
    }
    Ok(Triggers::Seen { wanted: wanted.len(), faults })
}

/// Reads a statement of the plan, which is our own text.
fn wanted(dialect: Dialect, sql: &str) -> Option<Wanted<'_>> {
    let (_, rest) = sql.split_once("TRIGGER ")?;
    let rest = rest.strip_prefix("IF NOT EXISTS ").unwrap_or(rest);
    let (name, rest) = rest.split_once(" AFTER ")?;
    let (event, rest) = rest.split_once(" ON ")?;
    let (table, body) = match dialect {
        Dialect::MariaDb => rest.split_once(" FOR EACH ROW\n")?,
        Dialect::Sqlite => rest.split_once(" FOR EACH ROW ")?,
        Dialect::Postgres => {
            let table = rest.split(" REFERENCING ").next()?.split(" FOR EACH ").next()?;
            (table, rest.split_once(" EXECUTE FUNCTION ")?.1)
        }
    };
    let name = name.rsplit_once('.').map_or(name, |(_, plain)| plain).trim_matches('`').to_owned();
    Some(Wanted { name, table, event, body })
}

/// The triggers whose names begin as ours do.
async fn present(engine: &mut Engine) -> Result<Vec<Present>, SyncFault> {
    let dialect = engine.dialect();
    // Name, schema, table, whether the table is found without its schema, definition, whether it is on, definer.
    let statement = match dialect {
        Dialect::MariaDb => {
            "SELECT trigger_name, event_object_schema, event_object_table, event_object_schema = DATABASE(), \
             action_statement, 1, definer FROM information_schema.triggers WHERE trigger_name LIKE 'switchyard%'"
        }
        Dialect::Postgres => {
            "SELECT t.tgname::text, n.nspname::text, c.relname::text, pg_table_is_visible(c.oid)::int::text, \
             pg_get_triggerdef(t.oid), (t.tgenabled IN ('O', 'A'))::int::text, NULL FROM pg_trigger t \
             JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE NOT t.tgisinternal AND t.tgname LIKE 'switchyard%'"
        }
        Dialect::Sqlite => {
            "SELECT CAST(name AS BLOB), CAST('main' AS BLOB), CAST(tbl_name AS BLOB), CAST('1' AS BLOB), \
             CAST(sql AS BLOB), CAST('1' AS BLOB), NULL \
             FROM file.sqlite_master WHERE type = 'trigger' AND name LIKE 'switchyard%'"
        }
    };
    let (quote, mut found) = (dialect.quote(), Vec::new());
    engine
        .rows("the triggers", statement.to_owned(), |record| {
            let (schema, table) = (record.text(1), record.text(2));
            let own = quoted(&table, quote);
            let mut tables = vec![format!("{}.{own}", quoted(&schema, quote))];
            if record.text(3) == "1" {
                tables.extend([own, table]);
            }
            found.push(Present {
                name: record.text(0),
                tables,
                definition: record.text(4),
                is_on: record.text(5) == "1",
                definer: record.cell(6).map(|_| record.text(6)),
            });
        })
        .await?;
    Ok(found)
}

/// Whether MariaDB shows triggers to this account: it does to one that may make them. Another sees those of the tables that it
/// may write, and not what they do.
async fn may_see_triggers(engine: &mut Engine) -> Result<bool, SyncFault> {
    let held = ["user", "schema", "table"].map(|level| {
        format!("SELECT privilege_type FROM information_schema.{level}_privileges WHERE privilege_type = 'TRIGGER'")
    });
    let mut may = false;
    engine.rows("the account's rights", held.join(" UNION ALL "), |_| may = true).await?;
    Ok(may)
}

/// What is wrong with one trigger.
fn fault(wanted: &Wanted<'_>, present: &[Present]) -> Option<String> {
    let Wanted { name, table, event, body } = wanted;
    let is_it = |present: &&Present| present.name == *name && present.tables.iter().any(|named| named == table);
    let Some(found) = present.iter().find(is_it) else {
        return Some(format!("{event} of {table} is not noted: there is no trigger {name}"));
    };
    if !found.is_on {
        return Some(format!("{event} of {table} is not noted: the trigger {name} is switched off"));
    }
    if !found.definition.trim_end().ends_with(body) {
        return Some(format!("the trigger {name} on {table} is not what `switchyard db plan` prints"));
    }
    let definer = found.definer.as_deref().filter(|definer| *definer != DEFINER.replace('\'', ""));
    definer
        .map(|definer| format!("the trigger {name} on {table} runs with the rights of {definer}, expected {DEFINER}"))
}

const BODY: &str = "$body$";

/// What the function of PostgreSQL's triggers does, by the statement that makes it.
fn function_body(sql: &str) -> Option<&str> {
    sql.split_once(BODY)?.1.split(BODY).next()
}

async fn function_fault(engine: &mut Engine, wanted: &str) -> Result<Option<String>, SyncFault> {
    let statement = "SELECT prosrc FROM pg_proc WHERE oid = to_regproc('switchyard_note_change')";
    let mut found = None;
    engine.rows("the function of the triggers", statement.to_owned(), |record| found = Some(record.text(0))).await?;
    let is_as_planned = found.is_some_and(|found| found.trim() == wanted.trim());
    Ok((!is_as_planned).then(|| "switchyard_note_change() is not what `switchyard db plan` prints".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::Mapping;

    fn planned(url: &str, mapping: &Mapping) -> Vec<String> {
        let migration = Migration { mapping: mapping.clone(), account: "a@b".to_owned(), has_change_log: true };
        plan(url, &migration).unwrap().into_iter().map(|statement| statement.sql).collect()
    }

    /// Rows and our own tables to be looked at are 7: an event each of INSERT, UPDATE, DELETE, and in PostgreSQL of TRUNCATE.
    #[test]
    fn each_statement_that_makes_a_trigger_is_understood() {
        let mut mapping = Mapping::default();
        mapping.rename_table("users", "pbx.people").unwrap();
        for (url, dialect, count) in [
            ("mysql://root@127.0.0.1/pbx_api_db", Dialect::MariaDb, 21),
            ("postgres://root@127.0.0.1/pbx", Dialect::Postgres, 28),
            ("sqlite:///pbx.db", Dialect::Sqlite, 21),
        ] {
            let sql = planned(url, &mapping);
            let all: Vec<Wanted<'_>> = sql.iter().filter_map(|sql| wanted(dialect, sql)).collect();
            assert_eq!(all.len(), count, "{url}");
            let quote = dialect.quote();
            let people = format!("{quote}pbx{quote}.{quote}people{quote}");
            let of_users = all.iter().find(|wanted| wanted.table == people && wanted.event == "UPDATE");
            let name = if dialect == Dialect::Postgres { "switchyard_update" } else { "switchyard_users_update" };
            let found = of_users.unwrap_or_else(|| panic!("{url}: {all:?}"));
            assert!(found.name == name && !found.body.contains("FOR EACH"), "{found:?}");
            assert!(found.body.contains("'users'") && found.body.len() > 30, "{found:?}");
        }
        let sql = planned("postgres://root@127.0.0.1/pbx", &mapping);
        assert!(sql.iter().find_map(|sql| function_body(sql)).unwrap().contains("pg_notify"));
    }

    #[test]
    fn a_trigger_that_is_missing_off_or_anothers_is_named() {
        let wanted = Wanted { name: "switchyard_users_insert".into(), table: "`users`", event: "INSERT", body: "END" };
        let present = |name: &str, definition: &str, is_on, definer: Option<&str>| {
            vec![Present {
                name: name.to_owned(),
                tables: vec!["`pbx`.`users`".to_owned(), "`users`".to_owned()],
                definition: definition.to_owned(),
                is_on,
                definer: definer.map(str::to_owned),
            }]
        };
        let ours = Some("switchyard_trigger@localhost");
        let told = |present: &[Present]| fault(&wanted, present).unwrap_or_default();
        assert_eq!(told(&present("switchyard_users_insert", "BEGIN END", true, ours)), "");
        let missing = "INSERT of `users` is not noted: there is no trigger switchyard_users_insert";
        assert_eq!(told(&[]), missing);
        assert_eq!(told(&present("switchyard_users_delete", "BEGIN END", true, ours)), missing);
        assert!(told(&present("switchyard_users_insert", "BEGIN END", false, ours)).ends_with("is switched off"));
        let other = told(&present("switchyard_users_insert", "BEGIN mine", true, ours));
        assert!(other.ends_with("is not what `switchyard db plan` prints"), "{other}");
        let whose = told(&present("switchyard_users_insert", "BEGIN END", true, Some("meera@%")));
        assert!(whose.contains("with the rights of meera@%"), "{whose}");
    }
}
