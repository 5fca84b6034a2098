//! What the tables of an SQLite file held when they were last read, kept in memory beside the connection, so that the
//! engine itself tells which rows have changed: it compares many times faster than it hands rows out.
//!
//! A row is known by its rowid, which never leaves the engine's side. Where a table has none, or two rows of one id,
//! there is no mirror, and rows are compared on our side.

use std::collections::HashMap;

use directory::{Changes, Table};

use super::engine::Engine;
use super::images::{CHANGES_APPLIED_MAX, ROWS_COMPARED_MAX, append};
use super::record::Record;
use crate::fault::SyncFault;
use crate::mapping::{TABLES, TableNames, columns, quoted};

/// The mirror of all tables of one connection.
#[derive(Default)]
pub(crate) struct Mirror {
    /// The columns that are mirrored; a table that is not here is not mirrored.
    columns: HashMap<Table, Vec<Option<String>>>,
}

/// A table and what of it is mirrored.
struct Mirrored<'n> {
    names: &'n TableNames,
    columns: &'n [Option<String>],
}

impl Mirror {
    /// Whether every table is mirrored.
    pub(crate) fn is_whole(&self) -> bool {
        self.columns.len() == TABLES.len()
    }

    /// Forgets everything; the engine forgets with its connection, or with the next filling.
    pub(crate) fn clear(&mut self) {
        self.columns.clear();
    }

    /// Mirrors a table as it stands in the present transaction. Leaves it out where it cannot be mirrored.
    pub(crate) async fn fill(
        &mut self,
        engine: &mut Engine,
        names: &TableNames,
        selected: &[Option<&str>],
    ) -> Result<(), SyncFault> {
        let selected: Vec<Option<String>> = selected.iter().map(|name| name.map(str::to_owned)).collect();
        let mirrored = Mirrored { names, columns: &selected };
        self.columns.remove(&names.table);
        engine.execute(&format!("DROP TABLE IF EXISTS {}", mirrored.place())).await?;
        engine.execute(&mirrored.create()).await?;
        let most = ROWS_COMPARED_MAX as u64;
        // One more than may be is enough to know.
        let copied = engine.execute(&mirrored.copy(&format!("TRUE LIMIT {}", most + 1))).await;
        if copied.is_ok_and(|rows| rows <= most) {
            self.columns.insert(names.table, selected);
        } else {
            engine.execute(&format!("DROP TABLE {}", mirrored.place())).await?;
        }
        Ok(())
    }

    /// The changes of a table since it was mirrored, put behind `changes`; the mirror holds them then. `None` when only
    /// a reading of everything will do.
    pub(crate) async fn compare(
        &mut self,
        engine: &mut Engine,
        names: &TableNames,
        selected: &[Option<&str>],
        changes: &mut Changes,
    ) -> Result<Option<()>, SyncFault> {
        let Some(known) = self.columns.remove(&names.table) else { return Ok(None) };
        if !known.iter().map(Option::as_deref).eq(selected.iter().copied()) {
            return Ok(None);
        }
        let mirrored = Mirrored { names, columns: &known };
        let (table, what) = (names.table, names.table.name());
        let (mut upserted, mut rowids, mut gone) = (Changes::default(), Vec::new(), Vec::new());
        let (behind, mut is_new) = (known.len(), 0_u64);
        engine
            .rows(what, mirrored.changed(), |record| {
                let text = |place| record.cell(place).map(|cell| String::from_utf8_lossy(cell).into_owned());
                rowids.extend(text(behind));
                is_new += u64::from(record.cell(behind + 1).is_none());
                let last_id = record.cell(behind + 1).filter(|&last| record.id(table) != Some(last));
                gone.extend(last_id.map(<[u8]>::to_vec));
                if rowids.len() <= CHANGES_APPLIED_MAX {
                    record.change(table, &mut upserted);
                }
            })
            .await?;
        if rowids.len() > CHANGES_APPLIED_MAX {
            return Ok(None);
        }
        let mut counts = Vec::new();
        engine
            .rows(what, mirrored.counts(), |record| {
                let count =
                    |place| record.cell(place).and_then(|cell| std::str::from_utf8(cell).ok()?.parse::<u64>().ok());
                counts.extend([count(0), count(1)].into_iter().flatten());
            })
            .await?;
        if counts.first().copied() != counts.get(1).map(|mirrored: &u64| mirrored + is_new) {
            engine.rows(what, mirrored.missing(), |record| gone.extend(record.cell(0).map(<[u8]>::to_vec))).await?;
            engine.execute(&mirrored.forget_missing()).await?;
        }
        for rowids in rowids.chunks(1_000) {
            let rowids = rowids.join(", ");
            engine.execute(&format!("DELETE FROM {} WHERE r IN ({rowids})", mirrored.place())).await?;
            if engine.execute(&mirrored.copy(&format!("rowid IN ({rowids})"))).await.is_err() {
                // Two rows have one id now, or a row has none.
                return Ok(None);
            }
        }
        for id in gone {
            Record::gone(table, &id, changes);
        }
        append(changes, upserted);
        self.columns.insert(table, known);
        Ok(Some(()))
    }
}

impl Mirrored<'_> {
    fn place(&self) -> String {
        format!("temp.switchyard_mirror_{}", self.names.table.name())
    }

    /// The columns that there are, by their places.
    fn present(&self) -> impl Iterator<Item = (usize, String)> + '_ {
        let places = self.columns.iter().enumerate();
        places.filter_map(|(place, name)| Some((place, quoted(name.as_deref()?, '"'))))
    }

    fn id(&self) -> (usize, String) {
        let place = columns(self.names.table).iter().position(|column| column.name == "id").unwrap_or_default();
        (place, quoted(self.names.column("id"), '"'))
    }

    fn create(&self) -> String {
        let (id, _) = self.id();
        let columns: Vec<String> = self
            .present()
            .map(|(place, _)| format!("c{place}{}", if place == id { " NOT NULL UNIQUE" } else { "" }))
            .collect();
        format!("CREATE TABLE {} (r INTEGER PRIMARY KEY, {})", self.place(), columns.join(", "))
    }

    fn copy(&self, condition: &str) -> String {
        let names: Vec<String> = self.present().map(|(_, name)| name).collect();
        let table = self.names.quoted('"');
        format!("INSERT INTO {} SELECT rowid, {} FROM {table} WHERE {condition}", self.place(), names.join(", "))
    }

    /// The rows that are not as in the mirror; behind their columns the rowid, and the id that the mirror has.
    fn changed(&self) -> String {
        let cells: Vec<String> = self
            .columns
            .iter()
            .map(|name| {
                name.as_deref().map_or_else(|| "NULL".to_owned(), |name| cell(&format!("a.{}", quoted(name, '"'))))
            })
            .collect();
        // Byte by byte, whatever the column's own way of comparing is.
        let ours: Vec<String> = self.present().map(|(_, name)| format!("+a.{name} COLLATE BINARY")).collect();
        let kept: Vec<String> = self.present().map(|(place, _)| format!("+b.c{place}")).collect();
        format!(
            "SELECT {}, {}, {} FROM {} AS a LEFT JOIN {} AS b ON b.r = a.rowid WHERE b.r IS NULL OR ({}) IS NOT ({})",
            cells.join(", "),
            cell("a.rowid"),
            cell(&format!("b.c{}", self.id().0)),
            self.names.quoted('"'),
            self.place(),
            ours.join(", "),
            kept.join(", ")
        )
    }

    /// How many rows there are, and how many the mirror has.
    fn counts(&self) -> String {
        let (table, place) = (self.names.quoted('"'), self.place());
        let count = |table: &str| cell(&format!("(SELECT COUNT(*) FROM {table})"));
        format!("SELECT {}, {}", count(&table), count(&place))
    }

    /// The ids of the rows that only the mirror has.
    fn missing(&self) -> String {
        let (table, place) = (self.names.quoted('"'), self.place());
        format!(
            "SELECT {} FROM {place} AS b WHERE r NOT IN (SELECT rowid FROM {table})",
            cell(&format!("b.c{}", self.id().0))
        )
    }

    fn forget_missing(&self) -> String {
        format!("DELETE FROM {} WHERE r NOT IN (SELECT rowid FROM {})", self.place(), self.names.quoted('"'))
    }
}

/// A value's text as bytes.
fn cell(expression: &str) -> String {
    format!("CAST({expression} AS BLOB)")
}
