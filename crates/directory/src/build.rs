//! Rows become a directory. First every row is read alone; then what needs all rows is settled.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use sip::Number;

use crate::Policy;
use crate::assemble::Parts;
use crate::did_table::{DidFields, DidRecord};
use crate::directory::{Directory, Generation};
use crate::fault::{CellFault, Effect, Reason, RowFaults, Table};
use crate::organisation::{Facts, Organisations};
use crate::provider::Providers;
use crate::read::{self, Reader, Reading};
use crate::row_key::RowKey;
use crate::rows::{Cell, DidRow, OrganisationRow, Rows, TrunkRow, UserRow, text};
use crate::trunk::TrunkRecord;
use crate::user::UserRecord;

/// Builds a directory from all rows of one reading. See [`Builder`] for the rules.
pub fn build(generation: Generation, rows: Rows, policy: &Policy, previous: Option<&Directory>) -> Directory {
    let mut builder = Builder::new(policy, previous);
    for row in rows.organisations {
        builder.organisation(&row);
    }
    for row in rows.dids {
        builder.did(&row);
    }
    for row in rows.users {
        builder.user(&row);
    }
    for row in rows.trunks {
        builder.trunk(&row);
    }
    builder.finish(generation)
}

/// Builds a directory from rows that come one by one, tables and rows in any order.
///
/// - A row with a column that cannot be read is set aside alone. If the same row (by `id`) was good in `previous`, its
///   last good value stays in effect and is marked so.
/// - Of several rows with one number, one that is active and assigned wins, then the newest `updated_at`, then the
///   lowest `id`. A kept last good value takes part like any other.
/// - An organisation that is missing does not stop its DIDs from being routed; its users are set aside.
/// - Every departure from clean data is a [`crate::Fault`].
/// - An organisation that `previous` knew keeps its place. The overlays of `previous` stay.
pub struct Builder<'p> {
    policy: Policy,
    previous: Option<&'p Directory>,
    faults: RowFaults,
    odd_ids: Vec<(RowKey, Arc<str>)>,
    organisations: Organisations,
    providers: Providers,
    facts: Vec<(u32, Facts)>,
    dids: Vec<(Number, DidRecord)>,
    users: Vec<UserRecord>,
    trunks: Vec<TrunkRecord>,
    bad_organisations: Vec<RowKey>,
    bad_dids: Vec<RowKey>,
    bad_users: Vec<RowKey>,
}

impl<'p> Builder<'p> {
    /// A builder that knows no row yet. `previous` is where last good values come from.
    pub fn new(policy: &Policy, previous: Option<&'p Directory>) -> Builder<'p> {
        Builder {
            policy: policy.clone(),
            previous,
            faults: RowFaults::default(),
            odd_ids: Vec::new(),
            organisations: previous.map(|previous| previous.organisations.places_only()).unwrap_or_default(),
            providers: Providers::default(),
            facts: Vec::new(),
            dids: Vec::new(),
            users: Vec::new(),
            trunks: Vec::new(),
            bad_organisations: Vec::new(),
            bad_dids: Vec::new(),
            bad_users: Vec::new(),
        }
    }

    /// Takes a row of `organizations`.
    pub fn organisation(&mut self, row: &OrganisationRow) {
        let key = RowKey::of_cell(&row.id);
        let last_good = self.previous.and_then(|previous| previous.organisations.facts_of(key));
        let reading = read::organisation(row, last_good);
        match self.told(Table::Organisations, (key, &row.id), reading) {
            Some(facts) => self.facts.push((self.organisations.place(&facts.id), facts)),
            None => self.bad_organisations.push(key),
        }
    }

    /// Takes a row of `did_numbers`.
    pub fn did(&mut self, row: &DidRow) {
        let key = RowKey::of_cell(&row.id);
        let reading = self.reader().did(row);
        match self.told(Table::Dids, (key, &row.id), reading) {
            Some(did) => {
                if let Some(id) = odd_id(&row.id) {
                    self.odd_ids.push((key, id));
                }
                self.dids.push(did);
            }
            None => self.bad_dids.push(key),
        }
    }

    /// Takes a row of `users`.
    pub fn user(&mut self, row: &UserRow) {
        let key = RowKey::of_cell(&row.id);
        let reading = self.reader().user(row);
        match self.told(Table::Users, (key, &row.id), reading) {
            Some(user) => self.users.push(user),
            None => self.bad_users.push(key),
        }
    }

    /// Takes a row of `sip_trunks`.
    pub fn trunk(&mut self, row: &TrunkRow) {
        let key = RowKey::of_cell(&row.id);
        let reading = self.reader().trunk(row);
        let trunk = self.told(Table::Trunks, (key, &row.id), reading);
        self.trunks.extend(trunk);
    }

    /// Settles what needs all rows, and makes the directory.
    pub fn finish(mut self, generation: Generation) -> Directory {
        self.set_second_rows_aside();
        self.keep_last_good();
        for (place, facts) in std::mem::take(&mut self.facts) {
            self.organisations.set_facts(place, Some(facts));
        }
        let parts = Parts {
            policy: self.policy,
            organisations: self.organisations,
            providers: self.providers,
            dids: self.dids,
            odd_ids: self.odd_ids,
            users: self.users,
            trunks: self.trunks,
            faults: self.faults,
            overlays: self.previous.map(|previous| Arc::clone(&previous.overlays)).unwrap_or_default(),
        };
        parts.assemble(generation)
    }

    fn reader(&mut self) -> Reader<'_> {
        Reader { policy: &self.policy, organisations: &mut self.organisations, providers: &mut self.providers }
    }

    /// Lists the faults of a reading, and returns what the row says if it could be read.
    fn told<T>(&mut self, table: Table, row: (RowKey, &Cell), reading: Reading<T>) -> Option<T> {
        for (fault, effect) in reading.notes {
            self.faults.push(table, row, fault, Some(effect));
        }
        reading.value.map_err(|fault| self.faults.push(table, row, fault, None)).ok()
    }

    /// A primary key is of one row. Should it be of two all the same, the first one read counts.
    fn set_second_rows_aside(&mut self) {
        self.dids.sort_by_key(|did| did.1.key);
        self.users.sort_by_key(|user| user.key);
        self.trunks.sort_by_key(|trunk| trunk.key);
        self.facts.sort_by_key(|facts| facts.0);
        self.odd_ids.sort_by_key(|odd| odd.0);
        self.odd_ids.dedup_by_key(|odd| odd.0);
        let mut seconds = Vec::new();
        dedup(&mut self.dids, |did| did.1.key, |did| seconds.push((Table::Dids, did.1.key)));
        dedup(&mut self.users, |user| user.key, |user| seconds.push((Table::Users, user.key)));
        dedup(&mut self.trunks, |trunk| trunk.key, |trunk| seconds.push((Table::Trunks, trunk.key)));
        dedup(
            &mut self.facts,
            |facts| facts.0,
            |facts| {
                seconds.push((Table::Organisations, RowKey::new(&facts.1.id)));
            },
        );
        for (table, key) in seconds {
            let odd = self.odd_ids.binary_search_by_key(&key, |odd| odd.0).ok().and_then(|at| self.odd_ids.get(at));
            let id = odd.map_or_else(|| key.as_uuid(), |odd| (*odd.1).to_owned());
            let expected = "an id of its own: another row has it".to_owned();
            let fault = CellFault { column: "id", found: id.clone(), expected, reason: Reason::Duplicate };
            self.faults.push(table, (key, &text(&id)), fault, Some(Effect::RowAbsent));
        }
    }

    /// Takes the last good value of every row that cannot be read now.
    fn keep_last_good(&mut self) {
        let Some(previous) = self.previous else { return };
        let good = self.facts.len();
        for key in distinct(std::mem::take(&mut self.bad_organisations)) {
            let Some(facts) = previous.organisations.facts_of(key) else { continue };
            let place = self.organisations.place(&facts.id);
            if self.facts.get(..good).is_some_and(|known| known.binary_search_by_key(&place, |other| other.0).is_err())
            {
                self.facts.push((place, Facts { kept_last_good: true, ..facts.clone() }));
            }
        }
        let good = self.dids.len();
        for key in distinct(std::mem::take(&mut self.bad_dids)) {
            let Some((number, record)) = previous.row(key) else { continue };
            if self.dids.get(..good).is_some_and(|dids| dids.binary_search_by_key(&key, |did| did.1.key).is_err()) {
                let kept = self.carry_did(previous, record);
                self.dids.push((number, kept));
                self.odd_ids.extend(previous.odd_id(key).map(|id| (key, id)));
            }
        }
        self.odd_ids.sort_by_key(|odd| odd.0);
        self.odd_ids.dedup_by_key(|odd| odd.0);
        let good = self.users.len();
        for key in distinct(std::mem::take(&mut self.bad_users)) {
            let Some(user) = previous.users.row(key) else { continue };
            let Some(organisation) = previous.organisations.at(user.organisation) else { continue };
            if self.users.get(..good).is_some_and(|users| users.binary_search_by_key(&key, |user| user.key).is_err()) {
                let organisation = self.organisations.place(&organisation.id());
                self.users.push(UserRecord { organisation, kept_last_good: true, ..(**user).clone() });
            }
        }
    }

    /// A record of `previous` with its references in terms of this build.
    fn carry_did(&mut self, previous: &Directory, record: DidRecord) -> DidRecord {
        let organisation = record.fields.place().and_then(|place| previous.organisations.at(place));
        let organisation = organisation.map_or(0, |record| self.organisations.place(&record.id()).saturating_add(1));
        let provider = previous.providers.at(record.fields.provider);
        let provider = provider.and_then(|provider| self.providers.place(provider)).unwrap_or(0);
        let marks = record.fields.marks.kept();
        DidRecord { fields: DidFields { organisation, provider, marks, ..record.fields }, ..record }
    }
}

/// The text of an id that is no UUID.
pub(crate) fn odd_id(id: &Cell) -> Option<Arc<str>> {
    let id = std::str::from_utf8(id.as_deref()?).ok()?;
    (!RowKey::is_uuid(id)).then(|| id.into())
}

fn distinct(mut keys: Vec<RowKey>) -> Vec<RowKey> {
    keys.sort();
    keys.dedup();
    keys
}

/// Takes away all but the first of the neighbours with one key, and tells of each.
fn dedup<T, K: PartialEq>(items: &mut Vec<T>, key: impl Fn(&T) -> K, mut tell: impl FnMut(&T)) {
    items.dedup_by(|later, first| {
        let is_second = key(later) == key(first);
        if is_second {
            tell(later);
        }
        is_second
    });
}
