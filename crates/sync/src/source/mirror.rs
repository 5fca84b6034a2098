//! What every row of an SQLite file said when it was last read, kept by SQLite itself: it tells which rows are others
//! now, and only these come to us.
//!
//! The mirror is a table in memory for each table of the file, in the same connection. A row of it has the file's row
//! number, by which SQLite walks through both side by side, and the bytes of each cell as they are read. So a row counts
//! as the same only if all that a reading takes of it is the same.

use std::collections::HashSet;

use directory::{Changes, Table};

use super::dialect::Dialect;
use super::engine::Engine;
use super::images::{CHANGES_APPLIED_MAX, ROWS_COMPARED_MAX, append};
use super::record::Record;
use super::sqlite::ATTACHED;
use super::tables::{present_columns, selected};
use crate::fault::SyncFault;
use crate::mapping::{Mapping, TABLES, TableNames, columns, quoted};

/// Rows named by their numbers in one statement.
const ROWS_NAMED_MAX: usize = 500;

/// Names of SQLite for the number of a row; one that is the name of a column means the column.
const ROW_NUMBERS: [&str; 3] = ["rowid", "_rowid_", "oid"];

/// A mirror of all four tables. It holds for one connection, and for what that has read.
#[derive(Debug)]
pub(crate) struct Mirror;

/// How a table of the file is read.
struct Original<'n> {
    table: Table,
    /// Its name, with `AS m` behind it.
    name: String,
    /// The number of a row.
    row: &'static str,
    /// The bytes of each cell of a row.
    cells: Vec<String>,
    names: &'n TableNames,
}

/// Rows that are others than they were.
#[derive(Default)]
struct Differing {
    changes: Changes,
    /// The numbers of those that are there, and of those that are gone.
    rows: Vec<i64>,
    gone_rows: Vec<i64>,
    /// How many were not there before.
    new: u64,
    /// The ids that rows have now, and those that they had.
    ids: HashSet<Vec<u8>>,
    old_ids: HashSet<Vec<u8>>,
}

impl Mirror {
    /// Takes up all rows, within the transaction that reads them. `None` where there are too many, where a table's rows
    /// have no numbers, as those of a view, or where two rows have one id or one has none.
    pub(crate) async fn fill(engine: &mut Engine, mapping: &Mapping) -> Result<Option<Mirror>, SyncFault> {
        for table in TABLES {
            engine.execute(&format!("DROP TABLE IF EXISTS {}", seen(table))).await?;
        }
        let (mut originals, mut count) = (Vec::new(), 0);
        for table in TABLES {
            let Some(original) = Original::find(engine, mapping.of(table)).await? else { return Ok(None) };
            let rows = original.count(engine).await?;
            count += rows;
            originals.push((original, rows));
        }
        if count > ROWS_COMPARED_MAX as u64 {
            return Ok(None);
        }
        for (original, rows) in originals {
            let place_of_id = id_place(original.table);
            let cells: Vec<String> = (0..original.cells.len())
                .map(|place| format!("c{place}{}", if place == place_of_id { " NOT NULL UNIQUE" } else { "" }))
                .collect();
            let (seen, cells) = (seen(original.table), cells.join(", "));
            engine.execute(&format!("CREATE TABLE {seen} (row INTEGER PRIMARY KEY, {cells})")).await?;
            if engine.execute(&original.take_up("")).await? != rows {
                return Ok(None);
            }
        }
        Ok(Some(Mirror))
    }

    /// The rows that are others than when they were taken up, within a transaction; they are taken up anew. `None` when
    /// only a build from all rows will do, and a new mirror.
    pub(crate) async fn changes(&self, engine: &mut Engine, mapping: &Mapping) -> Result<Option<Changes>, SyncFault> {
        let mut changes = Changes::default();
        for table in TABLES {
            let Some(original) = Original::find(engine, mapping.of(table)).await? else { return Ok(None) };
            let Some(differing) = original.differing(engine).await? else { return Ok(None) };
            if !original.take_up_anew(engine, &differing).await? {
                return Ok(None);
            }
            append(&mut changes, differing.finish(table));
            if changes.len() > CHANGES_APPLIED_MAX {
                return Ok(None);
            }
        }
        Ok(Some(changes))
    }
}

impl<'n> Original<'n> {
    /// A table as it is now; `None` where its rows have no numbers.
    async fn find(engine: &mut Engine, names: &'n TableNames) -> Result<Option<Original<'n>>, SyncFault> {
        let present = present_columns(engine, names).await?;
        let is_free = |row: &&str| !present.iter().any(|column| column.eq_ignore_ascii_case(row));
        let mut has_rows = false;
        let statement = format!(
            "SELECT 1 FROM pragma_table_list WHERE schema = '{ATTACHED}' AND name = {} COLLATE NOCASE \
             AND type = 'table' AND wr = 0",
            Dialect::Sqlite.literal(names.name.as_bytes())
        );
        engine.rows(names.table.name(), statement, |_| has_rows = true).await?;
        let row = ROW_NUMBERS.into_iter().find(is_free).filter(|_| has_rows);
        let cell = |name: Option<&str>| {
            name.map_or_else(|| "NULL".to_owned(), |name| format!("CAST(m.{} AS BLOB)", quoted(name, '"')))
        };
        let cells = selected(names, &present)?.into_iter().map(cell).collect();
        let name = format!("{} AS m", names.quoted('"'));
        Ok(row.map(|row| Original { table: names.table, name, row, cells, names }))
    }

    /// How many rows it has.
    async fn count(&self, engine: &mut Engine) -> Result<u64, SyncFault> {
        self.number(engine, format!("SELECT count(*) FROM {}", self.name)).await
    }

    async fn number(&self, engine: &mut Engine, statement: String) -> Result<u64, SyncFault> {
        let mut number = 0;
        engine.rows(self.what(), statement, |record| number = record.text(0).parse().unwrap_or(0)).await?;
        Ok(number)
    }

    fn what(&self) -> &'static str {
        self.names.table.name()
    }

    /// The statement that takes up rows; those are passed over whose id is NULL or that of another row.
    fn take_up(&self, condition: &str) -> String {
        let (seen, row, cells) = (seen(self.table), self.row, self.cells.join(", "));
        format!("INSERT OR IGNORE INTO {seen} SELECT m.{row}, {cells} FROM {} {condition}", self.name)
    }

    /// The rows that are others than they were; `None` when they are too many.
    async fn differing(&self, engine: &mut Engine) -> Result<Option<Differing>, SyncFault> {
        let (seen, row, id) = (seen(self.table), self.row, id_place(self.table));
        let conditions: Vec<String> =
            self.cells.iter().enumerate().map(|(place, cell)| format!("{cell} IS NOT s.c{place}")).collect();
        let statement = format!(
            "SELECT {}, m.{row}, s.c{id} FROM {} LEFT JOIN {seen} AS s ON s.row = m.{row} \
             WHERE s.row IS NULL OR {}",
            self.cells.join(", "),
            self.name,
            conditions.join(" OR ")
        );
        let (mut differing, mut is_beyond) = (Differing::default(), false);
        engine
            .rows(self.what(), statement, |record| {
                is_beyond |= differing.rows.len() >= CHANGES_APPLIED_MAX;
                if !is_beyond {
                    is_beyond |= !differing.take(self.table, record, self.cells.len());
                }
            })
            .await?;
        if is_beyond {
            return Ok(None);
        }
        let were = self.number(engine, format!("SELECT count(*) FROM {seen}")).await?;
        let still = self.count(engine).await?.saturating_sub(differing.new);
        if were.saturating_sub(still) > CHANGES_APPLIED_MAX as u64 {
            return Ok(None);
        }
        if were > still {
            let statement = format!(
                "SELECT s.row, s.c{id} FROM {seen} AS s WHERE NOT EXISTS (SELECT 1 FROM {} WHERE m.{row} = s.row)",
                self.name
            );
            engine
                .rows(self.what(), statement, |record| {
                    differing.gone_rows.extend(record.text(0).parse::<i64>());
                    differing.old_ids.extend(record.cell(1).map(<[u8]>::to_vec));
                })
                .await?;
        }
        Ok(Some(differing))
    }

    /// Takes rows up as they are now. Whether every one of them has an id of its own.
    async fn take_up_anew(&self, engine: &mut Engine, differing: &Differing) -> Result<bool, SyncFault> {
        let list = |rows: &[i64]| rows.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        for rows in [&differing.gone_rows, &differing.rows].into_iter().flat_map(|rows| rows.chunks(ROWS_NAMED_MAX)) {
            engine.execute(&format!("DELETE FROM {} WHERE row IN ({})", seen(self.table), list(rows))).await?;
        }
        for rows in differing.rows.chunks(ROWS_NAMED_MAX) {
            let statement = self.take_up(&format!("WHERE m.{} IN ({})", self.row, list(rows)));
            if engine.execute(&statement).await? != rows.len() as u64 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Differing {
    /// Takes the next row, behind whose cells stand its number and the id that it had. Whether it can be told apart.
    fn take(&mut self, table: Table, record: &mut Record, cells: usize) -> bool {
        let (id, old_id) = (record.id(table).map(<[u8]>::to_vec), record.cell(cells + 1).map(<[u8]>::to_vec));
        let (Some(id), Ok(row)) = (id, record.text(cells).parse()) else { return false };
        self.rows.push(row);
        self.new += u64::from(old_id.is_none());
        self.ids.insert(id);
        self.old_ids.extend(old_id);
        record.change(table, &mut self.changes);
        true
    }

    /// The changes: first that an id is gone, unless another row has it now.
    fn finish(self, table: Table) -> Changes {
        let mut changes = Changes::default();
        for id in self.old_ids.difference(&self.ids) {
            Record::gone(table, id, &mut changes);
        }
        append(&mut changes, self.changes);
        changes
    }
}

/// The mirror of a table.
fn seen(table: Table) -> String {
    format!("main.switchyard_seen_{}", table.name())
}

fn id_place(table: Table) -> usize {
    columns(table).iter().position(|column| column.name == "id").unwrap_or_default()
}

#[cfg(test)]
mod tests;
