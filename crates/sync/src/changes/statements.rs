//! The statements of a write. Every value is a literal that nothing in it can end.

use directory::{Environment, Lease, Subject, Tester};
use sip::{Number, Numbering};

use super::{AuditNote, AuditPlace, By, LeaseNote, Made, PanicNote, TesterNote, WriteFault, new_id};
use crate::clock::now_ms;
use crate::limits::WHO_BYTES_MAX;
use crate::mapping::{TableNames, quoted};
use crate::own_tables::OwnTable;
use crate::source::{Dialect, Engine};

/// Rows whose environment may have to be mended that one statement asks for.
const ROWS_TO_MEND_ASKED: usize = 200;

/// One transaction that writes.
pub(super) struct Transaction<'e> {
    engine: &'e mut Engine,
    now_ms: u64,
}

/// What may be there once: a caller with a subject.
pub(super) fn tester_key(tester: &Tester) -> String {
    match &tester.subject {
        Subject::Did(number) => format!("{} to {}", written(tester.caller), written(*number)),
        Subject::Organisation(id) => format!("{} to {id}", written(tester.caller)),
    }
}

impl<'e> Transaction<'e> {
    pub(super) async fn begin(engine: &'e mut Engine) -> Result<Transaction<'e>, WriteFault> {
        engine.connect().await?;
        if engine.dialect() == Dialect::MariaDb {
            // Without gap locks, so that two writers of different things do not wait for each other.
            engine.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
        }
        let begin = match engine.dialect() {
            Dialect::MariaDb | Dialect::Postgres => "BEGIN",
            // The lock is taken now, not in the middle.
            Dialect::Sqlite => "BEGIN IMMEDIATE",
        };
        engine.execute(begin).await?;
        Ok(Transaction { engine, now_ms: now_ms() })
    }

    pub(super) async fn commit(self) -> Result<(), WriteFault> {
        self.engine.execute("COMMIT").await?;
        Ok(())
    }

    /// Moves a DID where its row still says `before`, `None` for NULL; false where it does not.
    pub(super) async fn move_did(
        &mut self,
        dids: &TableNames,
        id: &str,
        before: Option<&str>,
        environment: Environment,
    ) -> Result<bool, WriteFault> {
        let dialect = self.engine.dialect();
        let (table, key, column) = places(dids, dialect);
        let as_text = if dialect == Dialect::Postgres { format!("{column}::text") } else { column.clone() };
        let (ids, after) = (both_cases(id, dialect), dialect.literal(environment.as_str().as_bytes()));
        let still = before.map_or("IS NULL".to_owned(), |before| format!("= {}", dialect.literal(before.as_bytes())));
        let statement = format!("UPDATE {table} SET {column} = {after} WHERE {key} IN ({ids}) AND {as_text} {still}");
        Ok(self.engine.execute(&statement).await? > 0)
    }

    /// What a DID's row says; `None` when it is gone, `NULL` when it says nothing.
    pub(super) async fn environment_of(&mut self, dids: &TableNames, id: &str) -> Result<Option<String>, WriteFault> {
        let dialect = self.engine.dialect();
        let (table, key, column) = places(dids, dialect);
        let statement = format!("SELECT {column} FROM {table} WHERE {key} IN ({})", both_cases(id, dialect));
        let found = self.texts(dids.table.name(), statement).await?;
        Ok(found.into_iter().next().map(|row| row.into_iter().next().flatten().unwrap_or_else(|| "NULL".to_owned())))
    }

    /// The row of this number among those with these ids: its id and its environment. `None` when there is none, or it
    /// says an environment that can be read.
    pub(super) async fn row_to_mend(
        &mut self,
        dids: &TableNames,
        ids: &[String],
        number: Number,
        numbering: &Numbering,
    ) -> Result<Option<(String, Option<String>)>, WriteFault> {
        let dialect = self.engine.dialect();
        let (table, key, column) = places(dids, dialect);
        let spelled = quoted(dids.column("number"), dialect.quote());
        for asked in ids.chunks(ROWS_TO_MEND_ASKED) {
            let literals: Vec<String> = asked.iter().map(|id| both_cases(id, dialect)).collect();
            let statement =
                format!("SELECT {key}, {spelled}, {column} FROM {table} WHERE {key} IN ({})", literals.join(", "));
            let found = self.texts(dids.table.name(), statement).await?.into_iter().find_map(|row| {
                let [id, spelled, environment]: [Option<String>; 3] = row.try_into().ok()?;
                let is_ours = numbering.canonical(spelled?.as_bytes()).is_ok_and(|found| found == number);
                let is_bad = environment.as_deref().is_none_or(|word| word.parse::<Environment>().is_err());
                (is_ours && is_bad).then_some((id?, environment))
            });
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Makes room for a new one: what has ended by itself gives up its key, what is replaced ends now. Answers with what
    /// that said. A fault when another is in effect, or when what is to be replaced is about something else.
    pub(super) async fn free(
        &mut self,
        table: OwnTable,
        key: &str,
        replaces: Option<&str>,
    ) -> Result<Option<String>, WriteFault> {
        self.check_is_there(table).await?;
        let replaced = match replaces {
            Some(id) => match self.present(table, id).await? {
                Some((of, _)) if of != key => {
                    return Err(WriteFault::Invalid {
                        what: "replaces",
                        expected: format!("one of {key}, found one of {of}"),
                    });
                }
                Some((_, before)) => Some(before),
                None => return Err(WriteFault::Ended { id: id.to_owned() }),
            },
            None => None,
        };
        let (name, now_ms, key) = (table.name(), self.now_ms, self.engine.dialect().literal(key.as_bytes()));
        let over = format!("UPDATE {name} SET active_key = NULL WHERE active_key = {key} AND ends_at_ms <= {now_ms}");
        self.engine.execute(&over).await?;
        if let Some(id) = replaces
            && !self.end(table, id).await?
        {
            return Err(WriteFault::Ended { id: id.to_owned() });
        }
        let statement = format!("SELECT id, made_by, reason FROM {name} WHERE active_key = {key}");
        match self.texts(name, statement).await?.into_iter().next() {
            Some(row) => {
                let [id, by, reason] = texts(row);
                Err(WriteFault::Exists { id, found: format!("by {by}: {reason}") })
            }
            None => Ok(replaced),
        }
    }

    /// What one is about and what it says; `None` when it was ended or never was.
    pub(super) async fn present(&mut self, table: OwnTable, id: &str) -> Result<Option<(String, String)>, WriteFault> {
        self.check_is_there(table).await?;
        let (name, id) = (table.name(), self.engine.dialect().literal(id.as_bytes()));
        let environment = if table == OwnTable::Panic { "'prod'" } else { "environment" };
        let statement = format!("SELECT active_key, {environment}, ends_at_ms FROM {name} WHERE id = {id}");
        let found = self.texts(name, statement).await?.into_iter().next();
        Ok(found.map(texts::<3>).filter(|[key, ..]| !key.is_empty()).map(|[key, environment, ends_at_ms]| {
            let end = if ends_at_ms.is_empty() { "released".to_owned() } else { ends_at_ms };
            (key, format!("{environment} until {end}"))
        }))
    }

    /// Ends one before its time; false when it is not in effect.
    pub(super) async fn end(&mut self, table: OwnTable, id: &str) -> Result<bool, WriteFault> {
        self.check_is_there(table).await?;
        let (name, now_ms, id) = (table.name(), self.now_ms, self.engine.dialect().literal(id.as_bytes()));
        let statement = format!(
            "UPDATE {name} SET ended_at_ms = {now_ms}, active_key = NULL \
             WHERE id = {id} AND ended_at_ms IS NULL AND (ends_at_ms IS NULL OR ends_at_ms > {now_ms})"
        );
        Ok(self.engine.execute(&statement).await? > 0)
    }

    pub(super) async fn insert_lease(&mut self, id: &str, lease: &Lease, by: &By) -> Result<(), WriteFault> {
        let number = written(lease.number);
        let columns = [
            ("number", Some(number.as_str())),
            ("environment", Some(lease.environment.as_str())),
            ("active_key", Some(&number)),
        ];
        self.insert(OwnTable::Leases, id, &columns, Some(lease.ends_at_ms), by).await
    }

    pub(super) async fn insert_tester(&mut self, id: &str, tester: &Tester, by: &By) -> Result<(), WriteFault> {
        let (caller, key) = (written(tester.caller), tester_key(tester));
        let (number, organisation) = match &tester.subject {
            Subject::Did(number) => (Some(written(*number)), None),
            Subject::Organisation(id) => (None, Some(id.as_str())),
        };
        let columns = [
            ("caller", Some(caller.as_str())),
            ("number", number.as_deref()),
            ("org_id", organisation),
            ("environment", Some(tester.environment.as_str())),
            ("active_key", Some(&key)),
        ];
        self.insert(OwnTable::Testers, id, &columns, Some(tester.ends_at_ms), by).await
    }

    pub(super) async fn insert_panic(
        &mut self,
        id: &str,
        key: &str,
        ends_at_ms: Option<u64>,
        by: &By,
    ) -> Result<(), WriteFault> {
        self.insert(OwnTable::Panic, id, &[("active_key", Some(key))], ends_at_ms, by).await
    }

    /// Records what was done.
    pub(super) async fn audit(
        &mut self,
        action: &str,
        subject: &str,
        before: Option<&str>,
        after: Option<&str>,
        by: &By,
    ) -> Result<(), WriteFault> {
        let has_origin = self.columns_of(OwnTable::Audit).await?.iter().any(|column| column == "made_from");
        let id = new_id()?;
        let (role, origin) = (some(&by.role), some(shortened(&by.origin)));
        let mut columns = vec![
            ("action", Some(action)),
            ("subject", Some(subject)),
            ("value_before", before),
            ("value_after", after),
        ];
        if has_origin {
            columns.extend([("made_as", role), ("made_from", origin)]);
        }
        self.insert_row(OwnTable::Audit, &id, &columns, "", by).await
    }

    pub(super) async fn leases(&mut self) -> Result<Vec<LeaseNote>, WriteFault> {
        let rows = self.in_effect(OwnTable::Leases, "number, environment, ends_at_ms", "number").await?;
        Ok(rows
            .into_iter()
            .filter_map(|(made, row)| {
                let [number, environment, ends_at_ms] = texts(row);
                let (number, environment) = (number_of(&number)?, environment.parse().ok()?);
                Some(LeaseNote { made, number, environment, ends_at_ms: ends_at_ms.parse().ok()? })
            })
            .collect())
    }

    pub(super) async fn testers(&mut self) -> Result<Vec<TesterNote>, WriteFault> {
        let columns = "caller, number, org_id, environment, ends_at_ms";
        let rows = self.in_effect(OwnTable::Testers, columns, "caller").await?;
        Ok(rows
            .into_iter()
            .filter_map(|(made, row)| {
                let [caller, number, organisation, environment, ends_at_ms] = texts(row);
                let subject = match number.is_empty() {
                    true => Subject::Organisation(organisation),
                    false => Subject::Did(number_of(&number)?),
                };
                let (caller, environment) = (number_of(&caller)?, environment.parse().ok()?);
                Some(TesterNote { made, caller, subject, environment, ends_at_ms: ends_at_ms.parse().ok()? })
            })
            .collect())
    }

    pub(super) async fn present_panic(&mut self) -> Result<Option<PanicNote>, WriteFault> {
        let rows = self.in_effect(OwnTable::Panic, "ends_at_ms", "made_at_ms").await?;
        Ok(rows.into_iter().next().map(|(made, row)| {
            let [ends_at_ms] = texts(row);
            PanicNote { made, ends_at_ms: ends_at_ms.parse().ok() }
        }))
    }

    pub(super) async fn audit_notes(
        &mut self,
        place: Option<&AuditPlace>,
        limit: u32,
    ) -> Result<Vec<AuditNote>, WriteFault> {
        let has_origin = self.columns_of(OwnTable::Audit).await?.iter().any(|column| column == "made_from");
        let name = OwnTable::Audit.name();
        let origin = if has_origin { "made_as, made_from" } else { "NULL, NULL" };
        let before = place.map_or(String::new(), |AuditPlace { at_ms, id }| {
            let id = self.engine.dialect().literal(id.as_bytes());
            format!("WHERE made_at_ms < {at_ms} OR (made_at_ms = {at_ms} AND id > {id})")
        });
        let statement = format!(
            "SELECT id, made_by, made_at_ms, reason, action, subject, value_before, value_after, {origin} FROM {name} \
             {before} ORDER BY made_at_ms DESC, id LIMIT {limit}"
        );
        let rows = self.texts(name, statement).await?;
        Ok(rows
            .into_iter()
            .map(|mut row| {
                let mut rest = row.split_off(4.min(row.len())).into_iter();
                let mut next = || rest.next().flatten();
                let (action, subject) = (next().unwrap_or_default(), next().unwrap_or_default());
                let (before, after, role, origin) = (next(), next(), next(), next());
                AuditNote { made: made(row), action, subject, before, after, role, origin }
            })
            .collect())
    }

    /// The rows of a table that are in effect, each with who made it.
    async fn in_effect(
        &mut self,
        table: OwnTable,
        columns: &str,
        order: &str,
    ) -> Result<Vec<(Made, Vec<Option<String>>)>, WriteFault> {
        self.check_is_there(table).await?;
        let (name, now_ms) = (table.name(), self.now_ms);
        let statement = format!(
            "SELECT id, made_by, made_at_ms, reason, {columns} FROM {name} \
             WHERE ended_at_ms IS NULL AND (ends_at_ms IS NULL OR ends_at_ms > {now_ms}) ORDER BY {order}, id"
        );
        let rows = self.texts(name, statement).await?;
        Ok(rows
            .into_iter()
            .map(|mut row| {
                let rest = row.split_off(4.min(row.len()));
                (made(row), rest)
            })
            .collect())
    }

    async fn insert(
        &mut self,
        table: OwnTable,
        id: &str,
        columns: &[(&str, Option<&str>)],
        ends_at_ms: Option<u64>,
        by: &By,
    ) -> Result<(), WriteFault> {
        let ends_at_ms = ends_at_ms.map_or("NULL".to_owned(), |ends_at_ms| ends_at_ms.to_string());
        self.insert_row(table, id, columns, &ends_at_ms, by).await
    }

    /// Inserts a row; `ends_at_ms` is empty for a table that has no end.
    async fn insert_row(
        &mut self,
        table: OwnTable,
        id: &str,
        columns: &[(&str, Option<&str>)],
        ends_at_ms: &str,
        by: &By,
    ) -> Result<(), WriteFault> {
        let dialect = self.engine.dialect();
        let literal = |value: Option<&str>| value.map_or("NULL".to_owned(), |value| dialect.literal(value.as_bytes()));
        let mut names = vec!["id", "made_by", "reason", "made_at_ms"];
        let mut values = vec![literal(Some(id)), literal(Some(&by.who)), literal(Some(&by.reason))];
        values.push(self.now_ms.to_string());
        for (name, value) in columns {
            names.push(name);
            values.push(literal(*value));
        }
        if !ends_at_ms.is_empty() {
            names.push("ends_at_ms");
            values.push(ends_at_ms.to_owned());
        }
        let statement = format!("INSERT INTO {} ({}) VALUES ({})", table.name(), names.join(", "), values.join(", "));
        self.engine.execute(&statement).await?;
        Ok(())
    }

    async fn check_is_there(&mut self, table: OwnTable) -> Result<(), WriteFault> {
        self.columns_of(table).await.map(|_| ())
    }

    /// Its columns; a fault where it is not there.
    async fn columns_of(&mut self, table: OwnTable) -> Result<Vec<String>, WriteFault> {
        let statement = self.engine.dialect().columns_of_table(None, table.name());
        let rows = self.texts(table.name(), statement).await?;
        let columns: Vec<String> = rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect();
        if columns.is_empty() { Err(WriteFault::NotMigrated { table: table.name() }) } else { Ok(columns) }
    }

    async fn texts(&mut self, what: &str, statement: String) -> Result<Vec<Vec<Option<String>>>, WriteFault> {
        let mut rows = Vec::new();
        self.engine
            .rows(what, statement, |record| {
                let text =
                    |cell: &Option<Vec<u8>>| cell.as_deref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
                rows.push(record.cells().iter().map(text).collect());
            })
            .await?;
        Ok(rows)
    }
}

/// What is recorded of a text that may be empty.
fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// Its first bytes, as far as a column has room.
fn shortened(text: &str) -> &str {
    let end = (0..=text.len().min(WHO_BYTES_MAX)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

/// Where a DID's environment stands: the table, its key, the column.
fn places(dids: &TableNames, dialect: Dialect) -> (String, String, String) {
    let quote = dialect.quote();
    let column = |reference: &str| quoted(dids.column(reference), quote);
    (dids.quoted(quote), column("id"), column("routing_environment"))
}

/// A row's id, which may be a UUID that its table has in capitals.
fn both_cases(id: &str, dialect: Dialect) -> String {
    let upper = id.to_uppercase();
    format!("{}, {}", dialect.literal(id.as_bytes()), dialect.literal(upper.as_bytes()))
}

fn made(row: Vec<Option<String>>) -> Made {
    let [id, by, at_ms, reason] = texts(row);
    Made { id, by, at_ms: at_ms.parse().unwrap_or_default(), reason }
}

/// The first cells as text; NULL and what is missing are empty.
fn texts<const N: usize>(row: Vec<Option<String>>) -> [String; N] {
    let mut cells = row.into_iter();
    std::array::from_fn(|_| cells.next().flatten().unwrap_or_default())
}

/// A number as we write it: with `+`, so that it means the same by every numbering.
pub(super) fn written(number: Number) -> String {
    format!("+{number}")
}

fn number_of(text: &str) -> Option<Number> {
    Numbering::default().canonical(text.as_bytes()).ok()
}
