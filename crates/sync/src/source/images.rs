//! What every row said when it was last read, as a digest, so that a reading tells which rows changed.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use directory::rows::Cell;
use directory::{Changes, Table};

use super::record::Record;

/// Rows whose digests are kept to find changes; in a larger database every reading becomes a build.
pub(super) const ROWS_COMPARED_MAX: usize = 250_000;
/// Changed rows that are applied one by one; more become a build.
pub(super) const CHANGES_APPLIED_MAX: usize = 20_000;

/// The digests of all rows of the last reading.
///
/// A digest has 128 bits, keyed by chance at the start of the process: that two different rows have one is beyond all
/// expectation, and nobody can aim at it.
#[derive(Default)]
pub(crate) struct Images {
    keys: [RandomState; 2],
    /// A row's cells in one piece, while it is digested.
    flat: Vec<u8>,
    dids: Rows,
    users: Rows,
    organisations: Rows,
    trunks: Rows,
    /// Rows of all tables.
    len: usize,
    /// Which sweep is under way; a row that was not seen in it is gone.
    sweep: u32,
    /// Whether every row of the last sweep is held.
    are_whole: bool,
}

/// The rows of one table, by their ids.
type Rows = HashMap<Box<[u8]>, Image>;

struct Image {
    digest: u128,
    sweep: u32,
}

/// One reading of all rows, compared with the last.
pub(crate) struct Sweep<'i> {
    images: &'i mut Images,
    changes: Changes,
    /// Whether rows cannot be told apart, or too many changed: then only a build from all rows will do.
    is_beyond: bool,
}

impl Images {
    /// Whether a reading can be compared with the last.
    pub(crate) fn are_whole(&self) -> bool {
        self.are_whole
    }

    /// Forgets everything: what was read did not come into effect, or may not have.
    pub(crate) fn clear(&mut self) {
        for table in Table::ALL {
            self.rows_mut(*table).clear();
        }
        self.len = 0;
        self.are_whole = false;
    }

    /// Begins a reading. Until it is finished the images are not whole, so that one that is given up leaves no trace.
    pub(crate) fn sweep(&mut self) -> Sweep<'_> {
        self.are_whole = false;
        self.sweep = self.sweep.wrapping_add(1);
        Sweep { images: self, changes: Changes::default(), is_beyond: false }
    }

    fn digest(&mut self, cells: &[Cell]) -> u128 {
        self.flat.clear();
        for cell in cells {
            // No cell is as long as what stands for NULL.
            let len = cell.as_ref().map_or(u64::MAX, |bytes| bytes.len() as u64);
            self.flat.extend_from_slice(&len.to_le_bytes());
            self.flat.extend_from_slice(cell.as_deref().unwrap_or_default());
        }
        let flat = self.flat.as_slice();
        let [low, high] = self.keys.each_ref().map(|key| u128::from(key.hash_one(flat)));
        high << 64 | low
    }

    fn rows_mut(&mut self, table: Table) -> &mut Rows {
        match table {
            Table::Dids => &mut self.dids,
            Table::Users => &mut self.users,
            Table::Organisations => &mut self.organisations,
            Table::Trunks => &mut self.trunks,
        }
    }

    /// Puts a row's image in place and answers with the last one; `None` with a new row, which is not kept beyond
    /// [`ROWS_COMPARED_MAX`].
    fn put(&mut self, table: Table, id: &[u8], image: Image) -> Option<Image> {
        let is_full = self.len >= ROWS_COMPARED_MAX;
        let rows = self.rows_mut(table);
        if let Some(last) = rows.get_mut(id) {
            return Some(std::mem::replace(last, image));
        }
        if !is_full {
            rows.insert(Box::from(id), image);
            self.len += 1;
        }
        None
    }

    /// Forgets every row that this sweep did not see, and tells of it.
    fn forget_unseen(&mut self, mut gone: impl FnMut(Table, &[u8])) {
        let sweep = self.sweep;
        for &table in Table::ALL {
            self.rows_mut(table).retain(|id, image| {
                let is_there = image.sweep == sweep;
                if !is_there {
                    gone(table, id);
                }
                is_there
            });
        }
        self.len = Table::ALL.iter().map(|table| self.rows_mut(*table).len()).sum();
    }
}

impl Sweep<'_> {
    /// Takes the next row of the first reading, which is given to a builder as well.
    pub(crate) fn first(&mut self, table: Table, record: &Record) {
        self.put(table, record);
    }

    /// Takes the next row.
    pub(crate) fn row(&mut self, table: Table, record: &mut Record) {
        if self.put(table, record) {
            self.changed(table, record);
        }
    }

    /// Whether this row is another than it was.
    fn put(&mut self, table: Table, record: &Record) -> bool {
        let Some(id) = record.id(table) else {
            self.is_beyond = true;
            return false;
        };
        let digest = self.images.digest(record.cells());
        let sweep = self.images.sweep;
        let is_full = self.images.len >= ROWS_COMPARED_MAX;
        match self.images.put(table, id, Image { digest, sweep }) {
            Some(last) => {
                // Two rows of one id: no key tells them apart.
                self.is_beyond |= last.sweep == sweep;
                last.digest != digest
            }
            None => {
                self.is_beyond |= is_full;
                !is_full
            }
        }
    }

    /// Whether every row so far has an id of its own.
    pub(crate) fn tells_apart(&self) -> bool {
        !self.is_beyond
    }

    /// Ends a reading that saw every row. `None` when only a build from all rows will do.
    pub(crate) fn finish(self) -> Option<Changes> {
        let mut changes = Changes::default();
        self.images.forget_unseen(|table, id| Record::gone(table, id, &mut changes));
        // Deletions come first: an id in another case is one key to the directory, and its last change counts.
        append(&mut changes, self.changes);
        self.images.are_whole = !self.is_beyond;
        (!self.is_beyond && changes.len() <= CHANGES_APPLIED_MAX).then_some(changes)
    }

    /// Ends the first reading, whose rows were all given to a builder.
    pub(crate) fn finish_first(self) {
        self.images.forget_unseen(|_, _| ());
        self.images.are_whole = !self.is_beyond;
    }

    fn changed(&mut self, table: Table, record: &mut Record) {
        // One more than may be applied is enough to know.
        if self.changes.len() <= CHANGES_APPLIED_MAX {
            record.change(table, &mut self.changes);
        }
    }
}

/// Puts changes behind others.
pub(crate) fn append(changes: &mut Changes, later: Changes) {
    changes.dids.extend(later.dids);
    changes.users.extend(later.users);
    changes.organisations.extend(later.organisations);
    changes.trunks.extend(later.trunks);
}

#[cfg(test)]
mod tests {
    use super::*;
    use directory::Change;

    fn record(id: Option<&[u8]>, number: &[u8]) -> Record {
        let mut record = Record::default();
        for (place, column) in crate::mapping::columns(Table::Dids).iter().enumerate() {
            let value = match column.name {
                "id" => id,
                "number" => Some(number),
                _ => None,
            };
            record.set(place, value);
        }
        record
    }

    fn read(images: &mut Images, rows: &[(&[u8], &[u8])]) -> Option<Changes> {
        let mut sweep = images.sweep();
        for (id, number) in rows {
            sweep.row(Table::Dids, &mut record(Some(id), number));
        }
        sweep.finish()
    }

    #[test]
    fn only_what_changed_comes_out() {
        let mut images = Images::default();
        let mut first = images.sweep();
        first.first(Table::Dids, &record(Some(b"1"), b"918065978001"));
        first.first(Table::Dids, &record(Some(b"2"), b"918065978002"));
        first.first(Table::Users, &record(Some(b"2"), b""));
        first.finish_first();
        assert!(images.are_whole());
        let changes = read(&mut images, &[(b"2", b"918065978003"), (b"3", b"918065978001")]).unwrap();
        let upserted: Vec<_> = changes
            .dids
            .iter()
            .filter_map(|change| match change {
                Change::Upsert(row) => row.id.clone(),
                Change::Delete(_) => None,
            })
            .collect();
        assert_eq!(upserted, [b"2".to_vec(), b"3".to_vec()]);
        assert!(changes.dids.contains(&Change::Delete(Some(b"1".to_vec()))));
        assert_eq!(changes.users, [Change::Delete(Some(b"2".to_vec()))]);
        assert!(read(&mut images, &[(b"3", b"918065978001"), (b"2", b"918065978003")]).unwrap().is_empty());
    }

    #[test]
    fn rows_that_no_key_tells_apart_ask_for_a_build() {
        let mut images = Images::default();
        assert!(read(&mut images, &[(b"1", b"918065978001"), (b"1", b"918065978002")]).is_none());
        assert!(!images.are_whole());
        let mut sweep = images.sweep();
        sweep.row(Table::Dids, &mut record(None, b"918065978001"));
        assert!(sweep.finish().is_none());
    }

    #[test]
    fn a_reading_that_is_given_up_leaves_no_trace() {
        let mut images = Images::default();
        read(&mut images, &[(b"1", b"918065978001")]).unwrap();
        let mut sweep = images.sweep();
        sweep.row(Table::Dids, &mut record(Some(b"1"), b"918065978002"));
        drop(sweep);
        assert!(!images.are_whole());
    }

    #[test]
    fn null_and_empty_text_are_two_things() {
        let mut images = Images::default();
        let mut digest = |cells: &[Cell]| images.digest(cells);
        assert_ne!(digest(&[None]), digest(&[Some(Vec::new())]));
        assert_ne!(
            digest(&[Some(b"ab".to_vec()), Some(b"c".to_vec())]),
            digest(&[Some(b"a".to_vec()), Some(b"bc".to_vec())])
        );
    }

    /// Ids as text, one after the other.
    fn ids(count: usize) -> Vec<String> {
        (0..count).map(|id| id.to_string()).collect()
    }

    #[test]
    fn beyond_the_rows_that_are_compared_every_reading_is_a_build() {
        let ids = ids(ROWS_COMPARED_MAX + 1);
        let mut record = Record::default();
        for (rows, is_compared) in [(ROWS_COMPARED_MAX, true), (ROWS_COMPARED_MAX + 1, false)] {
            let mut images = Images::default();
            let mut sweep = images.sweep();
            for id in &ids[..rows] {
                record.set(0, Some(id.as_bytes()));
                sweep.first(Table::Dids, &record);
            }
            sweep.finish_first();
            assert_eq!(images.are_whole(), is_compared, "{rows} rows");
            assert_eq!(images.len, ROWS_COMPARED_MAX);
        }
    }

    #[test]
    fn beyond_the_changes_that_are_applied_it_is_a_build() {
        let ids = ids(CHANGES_APPLIED_MAX + 1);
        let rows = |number: &'static [u8]| ids.iter().map(|id| (id.as_bytes(), number)).collect::<Vec<_>>();
        let mut images = Images::default();
        assert!(read(&mut images, &rows(b"918065978001")).is_none());
        let mut changed = rows(b"918065978001");
        for row in changed.iter_mut().skip(1) {
            row.1 = b"918065978002";
        }
        assert_eq!(read(&mut images, &changed).unwrap().len(), CHANGES_APPLIED_MAX);
        assert!(read(&mut images, &rows(b"918065978003")).is_none());
        // Nothing is forgotten by it.
        assert!(read(&mut images, &rows(b"918065978003")).unwrap().is_empty());
    }
}
