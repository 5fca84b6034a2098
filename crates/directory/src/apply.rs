//! A few rows change: a new directory that shares all the rest with the old one.
//!
//! The result says what a build from all rows says. What a row of one table means to rows of another is kept in counts
//! and indexes that change with it, so the work depends on the rows changed, not on the size of the table.

mod edit;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use crate::build::odd_id;
use crate::did_table::{DidFields, DidRecord};
use crate::directory::{Directory, Generation};
use crate::fault::Table;
use crate::key_index::KeyIndex;
use crate::organisation::Facts;
use crate::read::{self, Reader, Reading};
use crate::row_key::RowKey;
use crate::rows::{Cell, DidRow, OrganisationRow, TrunkRow, UserRow};
use crate::user::UserRecord;
use edit::Dirty;

/// What became of one row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change<R> {
    /// The row is new, or says something else; this is what it says now.
    Upsert(R),
    /// The row with this `id` is gone.
    Delete(Cell),
}

/// What became of rows since a directory was made. Of several changes of one row the last counts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Changes {
    /// `did_numbers`
    pub dids: Vec<Change<DidRow>>,
    /// `users`
    pub users: Vec<Change<UserRow>>,
    /// `organizations`
    pub organisations: Vec<Change<OrganisationRow>>,
    /// `sip_trunks`
    pub trunks: Vec<Change<TrunkRow>>,
}

impl Changes {
    /// How many changes there are.
    pub fn len(&self) -> usize {
        self.dids.len() + self.users.len() + self.organisations.len() + self.trunks.len()
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Directory {
    /// The directory that holds these changes, and says what a build from all rows with this one as `previous` says.
    ///
    /// Each changed row costs some microseconds. Beyond a tenth of the table a build is cheaper.
    pub fn apply(&self, generation: Generation, changes: &Changes) -> Directory {
        let mut next = Directory { is_loaded: true, ..self.renumbered(generation) };
        let mut dirty = Dirty::default();
        for (key, change) in last_of_each(&changes.organisations, |row| &row.id) {
            next.change_organisation(key, change);
        }
        for (key, change) in last_of_each(&changes.dids, |row| &row.id) {
            next.change_did(key, change, &mut dirty);
        }
        for (key, change) in last_of_each(&changes.users, |row| &row.id) {
            next.change_user(key, change);
        }
        for (key, change) in last_of_each(&changes.trunks, |row| &row.id) {
            next.change_trunk(key, change);
        }
        next.settle(dirty);
        if next.keys.is_crowded() {
            let in_effect = next.dids.rows().map(|(number, record)| (record.key, number));
            let losers = next.losers.iter().map(|loser| (loser.record.key, loser.number));
            next.keys = KeyIndex::new(in_effect.chain(losers), next.keys.len());
        }
        next
    }

    fn change_organisation(&mut self, key: RowKey, change: &Change<OrganisationRow>) {
        self.row_faults.remove_row(Table::Organisations, key);
        let last_good = self.organisations.facts_of(key);
        let facts = match change {
            Change::Delete(_) => None,
            Change::Upsert(row) => {
                let kept = last_good.map(|facts| Facts { kept_last_good: true, ..facts.clone() });
                let reading = read::organisation(row, last_good);
                self.told(Table::Organisations, (key, &row.id), reading).or(kept)
            }
        };
        let place = match &facts {
            Some(facts) => self.organisations.place(&facts.id),
            None => match self.organisations.place_of(key) {
                Some(place) => place,
                None => return,
            },
        };
        self.set_facts(place, facts);
    }

    fn change_did(&mut self, key: RowKey, change: &Change<DidRow>, dirty: &mut Dirty) {
        self.row_faults.remove_row(Table::Dids, key);
        let Change::Upsert(row) = change else {
            self.remove_did(key, dirty);
            return;
        };
        let reading = self.reader().did(row);
        match self.told(Table::Dids, (key, &row.id), reading) {
            Some((number, record)) => {
                // Named before the old row lets go, so that no organisation loses its place in between.
                self.name(record.fields.place());
                self.remove_did(key, dirty);
                self.insert_did(number, record, odd_id(&row.id), dirty);
            }
            None => {
                if let Some((number, record)) = self.row(key) {
                    let odd_id = self.odd_id(key);
                    let fields = DidFields { marks: record.fields.marks.kept(), ..record.fields };
                    self.name(fields.place());
                    self.remove_did(key, dirty);
                    self.insert_did(number, DidRecord { fields, ..record }, odd_id, dirty);
                }
            }
        }
    }

    fn change_user(&mut self, key: RowKey, change: &Change<UserRow>) {
        self.row_faults.remove_row(Table::Users, key);
        let user = match change {
            Change::Delete(_) => None,
            Change::Upsert(row) => {
                let reading = self.reader().user(row);
                let read = self.told(Table::Users, (key, &row.id), reading);
                let last_good = self.users.row(key);
                read.or_else(|| Some(UserRecord { kept_last_good: true, ..(**last_good?).clone() }))
            }
        };
        self.name(user.as_ref().map(|user| user.organisation));
        self.remove_user(key);
        if let Some(user) = user {
            self.insert_user(&Arc::new(user));
        }
    }

    fn change_trunk(&mut self, key: RowKey, change: &Change<TrunkRow>) {
        self.row_faults.remove_row(Table::Trunks, key);
        let trunk = match change {
            Change::Delete(_) => None,
            Change::Upsert(row) => {
                let reading = self.reader().trunk(row);
                self.told(Table::Trunks, (key, &row.id), reading)
            }
        };
        self.name(trunk.as_ref().and_then(|trunk| trunk.organisation));
        // The list is in order of the ids; a UUID may come back in another case, so the key decides.
        let old = self.trunks.iter().find(|trunk| trunk.key == key).map(Arc::clone);
        if let Some(old) = old {
            self.trunks.remove(|other| other.id.cmp(&old.id));
            self.unname(old.organisation);
        }
        if let Some(trunk) = trunk {
            let trunk = Arc::new(trunk);
            self.trunks.insert(Arc::clone(&trunk), |other| other.id.cmp(&trunk.id));
        }
    }

    fn reader(&mut self) -> Reader<'_> {
        Reader { policy: &self.policy, organisations: &mut self.organisations, providers: &mut self.providers }
    }

    /// Lists the faults of a reading, and returns what the row says if it could be read.
    fn told<T>(&mut self, table: Table, row: (RowKey, &Cell), reading: Reading<T>) -> Option<T> {
        for (fault, effect) in reading.notes {
            self.row_faults.push(table, row, fault, Some(effect));
        }
        reading.value.map_err(|fault| self.row_faults.push(table, row, fault, None)).ok()
    }
}

/// The last change of every row, with the row's key: one that was overtaken was never in effect.
fn last_of_each<'c, R>(
    changes: &'c [Change<R>],
    id: impl Fn(&'c R) -> &'c Cell,
) -> impl Iterator<Item = (RowKey, &'c Change<R>)> {
    let keys: Vec<RowKey> = changes.iter().map(|change| RowKey::of_cell(change.id(&id))).collect();
    let last: HashMap<RowKey, usize> = keys.iter().copied().zip(0..).collect();
    let changes = keys.into_iter().zip(changes).enumerate();
    changes.filter(move |(at, (key, _))| last.get(key) == Some(at)).map(|(_, change)| change)
}

impl<R> Change<R> {
    fn id<'c>(&'c self, id: impl Fn(&'c R) -> &'c Cell) -> &'c Cell {
        match self {
            Change::Upsert(row) => id(row),
            Change::Delete(cell) => cell,
        }
    }
}
