//! One row on its way from an engine to the builder.

use directory::rows::{Cell, DidRow, OrganisationRow, TrunkRow, UserRow};
use directory::{Builder, Change, Changes, Table};

use crate::mapping::columns;

/// One row's cells, in the order of its table's columns. One record serves for all rows, so that its buffers do.
#[derive(Default)]
pub(crate) struct Record {
    cells: Vec<Cell>,
}

impl Record {
    /// Puts a value, or NULL, into a cell. Places come in ascending order from 0.
    pub(crate) fn set(&mut self, place: usize, value: Option<&[u8]>) {
        if self.cells.len() <= place {
            self.cells.resize_with(place + 1, Cell::default);
        }
        let Some(cell) = self.cells.get_mut(place) else { return };
        match value {
            Some(bytes) => {
                let kept = cell.get_or_insert_default();
                kept.clear();
                kept.extend_from_slice(bytes);
            }
            None => *cell = None,
        }
    }

    /// The row's cells.
    pub(crate) fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// A cell by its place.
    pub(crate) fn cell(&self, place: usize) -> Option<&[u8]> {
        self.cells.get(place).and_then(|cell| cell.as_deref())
    }

    /// A cell as text; empty for NULL.
    pub(crate) fn text(&self, place: usize) -> String {
        String::from_utf8_lossy(self.cell(place).unwrap_or_default()).into_owned()
    }

    /// The row's `id`.
    pub(crate) fn id(&self, table: Table) -> Option<&[u8]> {
        let place = columns(table).iter().position(|column| column.name == "id")?;
        self.cell(place)
    }

    /// Adds the row to changes. It is empty then.
    pub(crate) fn change(&mut self, table: Table, changes: &mut Changes) {
        match table {
            Table::Dids => changes.dids.push(Change::Upsert(self.take(DidRow::cells_mut))),
            Table::Users => changes.users.push(Change::Upsert(self.take(UserRow::cells_mut))),
            Table::Organisations => changes.organisations.push(Change::Upsert(self.take(OrganisationRow::cells_mut))),
            Table::Trunks => changes.trunks.push(Change::Upsert(self.take(TrunkRow::cells_mut))),
        }
    }

    /// Adds to changes that the row of this id is gone.
    pub(crate) fn gone(table: Table, id: &[u8], changes: &mut Changes) {
        let id = Some(id.to_vec());
        match table {
            Table::Dids => changes.dids.push(Change::Delete(id)),
            Table::Users => changes.users.push(Change::Delete(id)),
            Table::Organisations => changes.organisations.push(Change::Delete(id)),
            Table::Trunks => changes.trunks.push(Change::Delete(id)),
        }
    }

    fn take<R: Default, const N: usize>(&mut self, cells_mut: impl for<'r> Fn(&'r mut R) -> [&'r mut Cell; N]) -> R {
        let mut row = R::default();
        swap(cells_mut(&mut row), &mut self.cells);
        row
    }

    /// Gives the row to the builder.
    pub(crate) fn build(&mut self, table: Table, builder: &mut Builder<'_>) {
        match table {
            Table::Dids => {
                let mut row = DidRow::default();
                swap(row.cells_mut(), &mut self.cells);
                builder.did(&row);
                swap(row.cells_mut(), &mut self.cells);
            }
            Table::Users => {
                let mut row = UserRow::default();
                swap(row.cells_mut(), &mut self.cells);
                builder.user(&row);
                swap(row.cells_mut(), &mut self.cells);
            }
            Table::Organisations => {
                let mut row = OrganisationRow::default();
                swap(row.cells_mut(), &mut self.cells);
                builder.organisation(&row);
                swap(row.cells_mut(), &mut self.cells);
            }
            Table::Trunks => {
                let mut row = TrunkRow::default();
                swap(row.cells_mut(), &mut self.cells);
                builder.trunk(&row);
                swap(row.cells_mut(), &mut self.cells);
            }
        }
    }
}

fn swap<'c>(row: impl IntoIterator<Item = &'c mut Cell>, cells: &mut [Cell]) {
    for (cell, kept) in row.into_iter().zip(cells) {
        std::mem::swap(cell, kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::{TABLES, columns};
    use directory::{Generation, Policy};

    #[test]
    fn a_record_becomes_a_row_of_each_table_and_keeps_nothing_of_the_last() {
        let mut record = Record::default();
        let mut builder = Builder::new(&Policy::default(), None);
        for table in TABLES {
            for (place, column) in columns(table).iter().enumerate() {
                let value: Option<&[u8]> = match (table, column.name) {
                    (_, "id") => Some(b"1"),
                    (_, "status") => Some(b"active"),
                    (_, "pool_status") => Some(b"assigned"),
                    (_, "routing_environment") => Some(b"oss"),
                    (_, "number") => Some(b"08065978002"),
                    (_, "port") => Some(b"5060"),
                    (_, "transport") => Some(b"udp"),
                    (_, "extension") => Some(b"1001"),
                    (Table::Users | Table::Dids, "org_id") => Some(b"1"),
                    _ => None,
                };
                record.set(place, value);
            }
            record.build(table, &mut builder);
        }
        let directory = builder.finish(Generation(1));
        assert_eq!(directory.faults(), []);
        assert_eq!((directory.did_count(), directory.user_count(), directory.organisation_count()), (1, 1, 1));
        assert_eq!(directory.trunks().count(), 1);
    }
}
