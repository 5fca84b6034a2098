//! Records of calls in `switchyard_calls`: rows go in, and are never read, changed or removed. So the account needs no
//! right but to insert, and a row that is there already is left as it is.

use crate::fault::SyncFault;
use crate::limits::{CALL_ROWS_BYTES, CALL_TEXT_BYTES};
use crate::own_tables::OwnTable;
use crate::settings::Settings;
use crate::source::{Dialect, Engine};

/// One call, as its row says it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CallRow {
    /// Names the record: one row for each.
    pub id: String,
    /// The Call-ID.
    pub call_id: String,
    /// When the INVITE arrived, in milliseconds since 1970.
    pub began_at_ms: u64,
    /// When it was over.
    pub ended_at_ms: Option<u64>,
    /// `inbound` or `outbound`.
    pub direction: String,
    /// The called number.
    pub called: String,
    /// The caller, as it was shown.
    pub caller: String,
    /// The id of the organisation whose call it is.
    pub organisation: Option<String>,
    /// How it ended.
    pub outcome: String,
    /// The final status.
    pub status: Option<u16>,
    /// The whole record as JSON.
    pub record: String,
}

/// The way into the table, on a connection of its own.
pub struct CallTable {
    engine: Engine,
}

const COLUMNS: &str = "id, call_id, began_at_ms, ended_at_ms, direction, called, caller, org_id, outcome, status, \
                       record_json";

impl CallTable {
    /// The table in the database of these settings. Nothing is connected to yet.
    pub fn new(settings: &Settings) -> Result<CallTable, SyncFault> {
        Ok(CallTable { engine: Engine::for_writes(settings)? })
    }

    /// Inserts rows. After a fault some of them may be there: the same may be inserted again.
    pub async fn insert(&mut self, rows: &[CallRow]) -> Result<(), SyncFault> {
        let done = self.try_insert(rows).await;
        if done.is_err() {
            // Whatever state the connection is in, the next try begins with another.
            self.engine.disconnect();
        }
        done
    }

    async fn try_insert(&mut self, rows: &[CallRow]) -> Result<(), SyncFault> {
        if rows.is_empty() {
            return Ok(());
        }
        self.engine.connect().await?;
        let dialect = self.engine.dialect();
        let mut values = String::new();
        for row in rows {
            let next = values_of(row, dialect);
            if !values.is_empty() && values.len() + next.len() > CALL_ROWS_BYTES {
                self.run(&values, dialect).await?;
                values.clear();
            }
            if !values.is_empty() {
                values.push_str(", ");
            }
            values.push_str(&next);
        }
        self.run(&values, dialect).await
    }

    async fn run(&mut self, values: &str, dialect: Dialect) -> Result<(), SyncFault> {
        let table = OwnTable::Calls.name();
        // A conflict's column is not named in PostgreSQL: that would take the right to read it.
        let (insert, conflict) = match dialect {
            Dialect::MariaDb => ("INSERT IGNORE", ""),
            Dialect::Postgres => ("INSERT", " ON CONFLICT DO NOTHING"),
            Dialect::Sqlite => ("INSERT OR IGNORE", ""),
        };
        let statement = format!("{insert} INTO {table} ({COLUMNS}) VALUES {values}{conflict}");
        // The statement holds numbers, and is no name for what failed.
        let named = |fault| match fault {
            SyncFault::Query { detail, .. } => SyncFault::Query { what: table.to_owned(), detail },
            other => other,
        };
        self.engine.execute(&statement).await.map(|_| ()).map_err(named)
    }
}

fn values_of(row: &CallRow, dialect: Dialect) -> String {
    let text = |text: &str, bytes: usize| {
        dialect.literal(text.get(..text.floor_char_boundary(bytes)).unwrap_or_default().as_bytes())
    };
    let short = |value: &str| text(value, CALL_TEXT_BYTES);
    let null = || "NULL".to_owned();
    let columns = [
        short(&row.id),
        short(&row.call_id),
        row.began_at_ms.to_string(),
        row.ended_at_ms.map_or_else(null, |at| at.to_string()),
        text(&row.direction, 16),
        short(&row.called),
        short(&row.caller),
        row.organisation.as_deref().map_or_else(null, |id| text(id, 64)),
        text(&row.outcome, 32),
        row.status.map_or_else(null, |status| status.to_string()),
        dialect.literal(row.record.as_bytes()),
    ];
    format!("({})", columns.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Limits CALL_TEXT_BYTES and CALL_ROWS_BYTES, on a real file.
    #[tokio::test]
    async fn long_texts_are_cut_and_many_rows_take_more_statements_than_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("directory.db");
        crate::schema::run(&path, &[crate::schema::SQLITE_TABLES]).await.unwrap();
        let url = format!("sqlite://{}", path.display());
        let mapping = crate::Mapping::default();
        let migration = crate::Migration { mapping, account: String::new(), has_change_log: false };
        crate::migrate(&url, &migration, |_| {}).await.unwrap();
        let mut table = CallTable::new(&Settings::new(&url, directory::Policy::default())).unwrap();
        let long = "é".repeat(CALL_TEXT_BYTES);
        let record = "x".repeat(CALL_ROWS_BYTES / 4);
        let rows: Vec<CallRow> = (0..10)
            .map(|at| CallRow { id: format!("{at}{long}"), record: record.clone(), ..CallRow::default() })
            .collect();
        table.insert(&rows).await.unwrap();
        let mut lengths = Vec::new();
        let asked = "SELECT length(CAST(id AS BLOB)), length(record_json) FROM switchyard_calls";
        table
            .engine
            .rows("test", asked.to_owned(), |row| {
                let text = |at| String::from_utf8_lossy(row.cell(at).unwrap_or_default()).into_owned();
                lengths.push((text(0), text(1)));
            })
            .await
            .unwrap();
        assert_eq!(lengths, vec![("255".to_owned(), record.len().to_string()); 10]);
    }
}
