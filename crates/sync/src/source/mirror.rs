//! What every row of an SQLite file said when it was last read, kept by SQLite itself: it tells which rows are others
//! now, and only these come to us.
//!
//! The mirror is a table in memory for each table of the file, in the same connection. A row of it has the file's row
//! number, by which SQLite walks through both side by side, and the bytes of each cell as they are read. So a row counts
//! as the same only if all that a reading takes of it is the same.
//!
//! Where the file is not much more than these tables, a copy of its pages is kept as well: it tells which rows need not be
//! compared ([`super::pages`]).

use std::collections::HashSet;
use std::mem::discriminant;

use directory::{Changes, Table};
use thiserror::Error;

use super::dialect::Dialect;
use super::engine::Engine;
use super::images::{CHANGES_APPLIED_MAX, ROWS_COMPARED_MAX, append};
use super::pages::Pages;
use super::record::Record;
use super::sqlite::ATTACHED;
use super::tables::{present_columns, selected};
use crate::fault::SyncFault;
use crate::mapping::{Mapping, TABLES, TableNames, columns, quoted};

/// Rows named by their numbers in one statement.
const ROWS_NAMED_MAX: usize = 500;

/// The largest file whose pages are copied: so much for each row, which is less work than comparing the row, and always
/// so much.
const FILE_BYTES_PER_ROW: u64 = 1_024;
const FILE_BYTES: u64 = 1_048_576;

/// Names of SQLite for the number of a row; one that is the name of a column means the column.
const ROW_NUMBERS: [&str; 3] = ["rowid", "_rowid_", "oid"];

/// A mirror of all four tables. It holds for one connection, and for what that has read.
#[derive(Debug)]
pub(crate) struct Mirror {
    /// The file's pages as they were then, where they are copied.
    pages: Option<Pages>,
    /// How large a file may be for that.
    file_bytes_max: u64,
}

/// Why SQLite cannot compare by itself.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(crate) enum Unfit {
    /// There are more rows than are compared.
    #[error("found {0} rows, expected {ROWS_COMPARED_MAX} at most: each change is a reading of everything")]
    TooManyRows(u64),
    /// The rows of this table have no numbers.
    #[error("table {}: its rows have no numbers, as those of a view: each change is a comparison of every row by us", .0.name())]
    RowsWithoutNumbers(Table),
    /// Some rows of this table have no id, or that of another.
    #[error(
        "table {}: found {apart} of {rows} rows with an id of their own, expected all: each change is a reading of everything until they have one", table.name()
    )]
    IdsNotUnique {
        /// The table.
        table: Table,
        /// How many rows it has.
        rows: u64,
        /// How many of them an id tells apart.
        apart: u64,
    },
}

/// Which rows are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Compare {
    /// Those that may be others, as far as the file's pages tell.
    Suspected,
    /// Every row.
    All,
}

/// How a table of the file is read.
struct Original<'n> {
    table: Table,
    /// Its name, with `AS m` behind it.
    name: String,
    /// Where its tree begins in the file.
    root: u32,
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
    /// Takes up all rows, within the transaction that reads them; `None` where SQLite cannot compare. The reason is told
    /// when it is another than the `last`.
    pub(crate) async fn fill(
        engine: &mut Engine,
        mapping: &Mapping,
        last: &mut Option<Unfit>,
    ) -> Result<Option<Mirror>, SyncFault> {
        let filled = Mirror::take_up(engine, mapping).await?;
        let unfit = filled.as_ref().err().cloned();
        if unfit.as_ref().map(discriminant) != last.as_ref().map(discriminant) {
            match &unfit {
                Some(unfit) => tracing::warn!(%unfit, "SQLite cannot compare the file by itself"),
                None => tracing::info!("SQLite compares the file by itself again"),
            }
        }
        *last = unfit;
        Ok(filled.ok())
    }

    async fn take_up(engine: &mut Engine, mapping: &Mapping) -> Result<Result<Mirror, Unfit>, SyncFault> {
        drop_all(engine).await?;
        let (mut originals, mut count) = (Vec::new(), 0);
        for table in TABLES {
            let Some(original) = Original::find(engine, mapping.of(table)).await? else {
                return Ok(Err(Unfit::RowsWithoutNumbers(table)));
            };
            let rows = original.count(engine).await?;
            count += rows;
            originals.push((original, rows));
        }
        if count > ROWS_COMPARED_MAX as u64 {
            return Ok(Err(Unfit::TooManyRows(count)));
        }
        for (original, rows) in &originals {
            let place_of_id = id_place(original.table);
            let cells: Vec<String> = (0..original.cells.len())
                .map(|place| format!("c{place}{}", if place == place_of_id { " NOT NULL UNIQUE" } else { "" }))
                .collect();
            let (seen, cells) = (seen(original.table), cells.join(", "));
            engine.execute(&format!("CREATE TABLE {seen} (row INTEGER PRIMARY KEY, {cells})")).await?;
            let apart = engine.execute(&original.take_up("")).await?;
            if apart != *rows {
                drop_all(engine).await?;
                return Ok(Err(Unfit::IdsNotUnique { table: original.table, rows: *rows, apart }));
            }
        }
        let roots: Vec<u32> = originals.iter().map(|(original, _)| original.root).collect();
        let file_bytes_max = FILE_BYTES.max(count * FILE_BYTES_PER_ROW);
        Ok(Ok(Mirror { pages: pages(engine, &roots, file_bytes_max).await?, file_bytes_max }))
    }

    /// The rows that are others than when they were taken up, within a transaction; they are taken up anew. `None` when
    /// only a build from all rows will do, and a new mirror.
    pub(crate) async fn changes(
        &mut self,
        engine: &mut Engine,
        mapping: &Mapping,
        compare: Compare,
    ) -> Result<Option<Changes>, SyncFault> {
        let mut originals = Vec::new();
        for table in TABLES {
            let Some(original) = Original::find(engine, mapping.of(table)).await? else { return Ok(None) };
            originals.push(original);
        }
        let roots: Vec<u32> = originals.iter().map(|original| original.root).collect();
        let pages = pages(engine, &roots, self.file_bytes_max).await?;
        let suspected = match (compare, &pages, &self.pages) {
            (Compare::Suspected, Some(now), Some(then)) => now.suspected_since(then),
            _ => None,
        };
        let mut changes = Changes::default();
        for (place, original) in originals.iter().enumerate() {
            let among = suspected.as_ref().and_then(|rows| rows.get(place));
            let differing = original.differing(engine, among.map(Vec::as_slice)).await?;
            let Some(differing) = differing else { return Ok(None) };
            if !original.take_up_anew(engine, &differing).await? {
                return Ok(None);
            }
            append(&mut changes, differing.finish(original.table));
            if changes.len() > CHANGES_APPLIED_MAX {
                return Ok(None);
            }
        }
        self.pages = pages;
        Ok(Some(changes))
    }
}

impl<'n> Original<'n> {
    /// A table as it is now; `None` where its rows have no numbers.
    async fn find(engine: &mut Engine, names: &'n TableNames) -> Result<Option<Original<'n>>, SyncFault> {
        let present = present_columns(engine, names).await?;
        let is_free = |row: &&str| !present.iter().any(|column| column.eq_ignore_ascii_case(row));
        let mut root = None;
        let statement = format!(
            "SELECT rootpage FROM {ATTACHED}.sqlite_schema AS s, pragma_table_list AS l \
             WHERE s.type = 'table' AND s.name = {} COLLATE NOCASE \
             AND l.schema = '{ATTACHED}' AND l.name = s.name AND l.type = 'table' AND l.wr = 0",
            Dialect::Sqlite.literal(names.name.as_bytes())
        );
        engine.rows(names.table.name(), statement, |record| root = record.text(0).parse().ok()).await?;
        let row = ROW_NUMBERS.into_iter().find(is_free);
        let cell = |name: Option<&str>| {
            name.map_or_else(|| "NULL".to_owned(), |name| format!("CAST(m.{} AS BLOB)", quoted(name, '"')))
        };
        let cells = selected(names, &present)?.into_iter().map(cell).collect();
        let name = format!("{} AS m", names.quoted('"'));
        Ok(row.zip(root).map(|(row, root)| Original { table: names.table, name, root, row, cells, names }))
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

    /// The rows that are others than they were, of all or of those of these numbers; `None` when they are too many.
    async fn differing(&self, engine: &mut Engine, among: Option<&[i64]>) -> Result<Option<Differing>, SyncFault> {
        let mut differing = Differing::default();
        let Some(among) = among else {
            let is_within =
                self.compare(engine, "", &mut differing).await? && self.miss(engine, &mut differing).await?;
            return Ok(is_within.then_some(differing));
        };
        for rows in among.chunks(ROWS_NAMED_MAX) {
            let named = format!("IN ({}) AND", list(rows));
            if !self.compare(engine, &format!("m.{} {named}", self.row), &mut differing).await? {
                return Ok(None);
            }
            self.find_gone(engine, &format!("s.row {named}"), &mut differing).await?;
        }
        Ok(Some(differing))
    }

    /// Finds the rows that are new or others than they were, of those that meet a condition; whether they can be told
    /// apart, and are not too many.
    async fn compare(
        &self,
        engine: &mut Engine,
        condition: &str,
        differing: &mut Differing,
    ) -> Result<bool, SyncFault> {
        let (seen, row, id) = (seen(self.table), self.row, id_place(self.table));
        let conditions: Vec<String> =
            self.cells.iter().enumerate().map(|(place, cell)| format!("{cell} IS NOT s.c{place}")).collect();
        let statement = format!(
            "SELECT {}, m.{row}, s.c{id} FROM {} LEFT JOIN {seen} AS s ON s.row = m.{row} \
             WHERE {condition} (s.row IS NULL OR {})",
            self.cells.join(", "),
            self.name,
            conditions.join(" OR ")
        );
        let mut is_beyond = false;
        engine
            .rows(self.what(), statement, |record| {
                is_beyond |= differing.rows.len() >= CHANGES_APPLIED_MAX;
                if !is_beyond {
                    is_beyond |= !differing.take(self.table, record, self.cells.len());
                }
            })
            .await?;
        Ok(!is_beyond)
    }

    /// Finds the rows that are gone, if the numbers of rows say that any are; whether they are not too many.
    async fn miss(&self, engine: &mut Engine, differing: &mut Differing) -> Result<bool, SyncFault> {
        let were = self.number(engine, format!("SELECT count(*) FROM {}", seen(self.table))).await?;
        let still = self.count(engine).await?.saturating_sub(differing.new);
        let is_within = were.saturating_sub(still) <= CHANGES_APPLIED_MAX as u64;
        if were > still && is_within {
            self.find_gone(engine, "", differing).await?;
        }
        Ok(is_within)
    }

    /// Finds the rows that are gone, of those that meet a condition.
    async fn find_gone(
        &self,
        engine: &mut Engine,
        condition: &str,
        differing: &mut Differing,
    ) -> Result<(), SyncFault> {
        let (seen, row, id) = (seen(self.table), self.row, id_place(self.table));
        let statement = format!(
            "SELECT s.row, s.c{id} FROM {seen} AS s \
             WHERE {condition} NOT EXISTS (SELECT 1 FROM {} WHERE m.{row} = s.row)",
            self.name
        );
        engine
            .rows(self.what(), statement, |record| {
                differing.gone_rows.extend(record.text(0).parse::<i64>());
                differing.old_ids.extend(record.cell(1).map(<[u8]>::to_vec));
            })
            .await
    }

    /// Takes rows up as they are now. Whether every one of them has an id of its own.
    async fn take_up_anew(&self, engine: &mut Engine, differing: &Differing) -> Result<bool, SyncFault> {
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

/// A copy of the file's pages, unless it is larger than so much. A copy that SQLite does not make only spares nothing: all
/// rows are compared.
async fn pages(engine: &mut Engine, roots: &[u32], file_bytes_max: u64) -> Result<Option<Pages>, SyncFault> {
    match engine.copy(file_bytes_max).await {
        Ok(copy) => Ok(copy.and_then(|file| Pages::of(file, roots))),
        Err(fault @ SyncFault::Query { .. }) => {
            tracing::debug!(%fault, "no copy of the file: all rows are compared");
            Ok(None)
        }
        Err(fault) => Err(fault),
    }
}

/// Lets go of every row that is kept.
async fn drop_all(engine: &mut Engine) -> Result<(), SyncFault> {
    for table in TABLES {
        engine.execute(&format!("DROP TABLE IF EXISTS {}", seen(table))).await?;
    }
    Ok(())
}

fn list(rows: &[i64]) -> String {
    rows.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
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
