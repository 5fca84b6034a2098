//! What needs all rows: last good values, conflicts, defaults, references.

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use sip::Number;

use super::Builder;
use crate::did_table::{DidRecord, DidTable};
use crate::directory::{Directory, Generation};
use crate::fault::{CellFault, Effect, Reason, Table};
use crate::organisation::Facts;
use crate::row_key::RowKey;
use crate::user::{UserRecord, Users};
use crate::words::Status;

impl Builder<'_> {
    /// Settles what needs all rows, and makes the directory.
    pub fn finish(mut self, generation: Generation) -> Directory {
        self.keep_last_good();
        self.set_unknown_users_aside();
        self.settle_numbers();
        self.sort_places();
        let dids = std::mem::take(&mut self.dids);
        self.settle_organisations(&dids);
        let dids = DidTable::from_ascending(dids.into_iter());
        self.settle_users(&dids);
        self.organisations.index();
        self.trunks.sort_by(|a, b| a.id.cmp(&b.id));
        self.faults.sort();
        Directory {
            generation,
            is_loaded: true,
            policy: self.policy,
            dids,
            providers: self.providers,
            organisations: self.organisations,
            users: Users::new(self.users),
            trunks: self.trunks,
            faults: self.faults,
        }
    }

    /// Takes the last good value of every row that cannot be read now.
    fn keep_last_good(&mut self) {
        let Some(previous) = self.previous else { return };
        for (key, place) in std::mem::take(&mut self.bad_organisations) {
            let last_good = previous.organisations.find(key).and_then(|place| previous.organisations.facts(place));
            if let Some(facts) = last_good {
                self.organisations.set_facts(key, Facts { kept_last_good: true, ..facts.clone() });
                self.faults.set_effect(place, Effect::LastGoodKept);
            }
        }
        if !self.bad_dids.is_empty() {
            for (number, record) in previous.dids.iter() {
                if let Some(&place) = self.bad_dids.get(&record.key) {
                    let record = self.carry_did(previous, record);
                    self.dids.push((number, record));
                    self.faults.set_effect(place, Effect::LastGoodKept);
                }
            }
        }
        for user in previous.users.records() {
            let Some(&place) = self.bad_users.get(&user.key) else { continue };
            let Some(organisation) = previous.organisations.at(user.organisation) else { continue };
            let organisation = self.organisations.place(organisation.key);
            self.users.push(UserRecord { organisation, kept_last_good: true, ..user.clone() });
            self.faults.set_effect(place, Effect::LastGoodKept);
        }
    }

    /// A record of `previous` with its references in terms of this build.
    fn carry_did(&mut self, previous: &Directory, record: &DidRecord) -> DidRecord {
        let organisation = record.organisation.checked_sub(1).and_then(|place| previous.organisations.at(place));
        let provider = record.provider.checked_sub(1).and_then(|place| previous.providers.get(usize::from(place)));
        DidRecord {
            organisation: organisation.map_or(0, |record| self.organisations.place(record.key).saturating_add(1)),
            provider: provider.and_then(|provider| self.provider_place(provider)).unwrap_or(0),
            marks: record.marks.kept(),
            ..*record
        }
    }

    /// A user of an unknown organisation can use nothing.
    fn set_unknown_users_aside(&mut self) {
        for user in std::mem::take(&mut self.users) {
            if self.organisations.facts(user.organisation).is_some() {
                self.users.push(user);
            } else if user.kept_last_good {
                // Its row is listed already, and what it said last is now forgotten.
                let place = self.bad_users.get(&user.key).copied().flatten();
                self.faults.set_effect(place, Effect::RowAbsent);
            } else {
                let organisation = self.organisations.at(user.organisation).map(|record| record.key);
                let fault = self.unknown_organisation(organisation);
                self.faults.push(Table::Users, &self.id_text(user.key), fault, Effect::RowAbsent);
            }
        }
    }

    /// Numbers organisations and providers by their own order, not by that of the rows.
    fn sort_places(&mut self) {
        let of_dids = self.dids.iter().filter_map(|(_, did)| did.organisation.checked_sub(1));
        let of_users = self.users.iter().map(|user| user.organisation);
        let of_trunks = self.trunks.iter().filter_map(|trunk| trunk.organisation);
        let moved = self.organisations.sort(of_dids.chain(of_users).chain(of_trunks));
        let place = |old: u32| usize::try_from(old).ok().and_then(|old| moved.get(old)).copied().unwrap_or(u32::MAX);
        let provider_moved = self.sort_providers();
        for (_, record) in &mut self.dids {
            record.organisation = record.organisation.checked_sub(1).map_or(0, |old| place(old).saturating_add(1));
            record.provider = provider_moved.get(usize::from(record.provider)).copied().unwrap_or(0);
        }
        for user in &mut self.users {
            user.organisation = place(user.organisation);
        }
        for trunk in &mut self.trunks {
            trunk.organisation = trunk.organisation.map(&place);
        }
    }

    /// Sorts the providers and forgets those that no DID names. Returns the new place plus one of each old place plus one.
    fn sort_providers(&mut self) -> Vec<u16> {
        let mut moved = vec![0_u16; self.providers.len() + 1];
        for (_, record) in &self.dids {
            if let Some(slot) = moved.get_mut(usize::from(record.provider)) {
                *slot = 1;
            }
        }
        let is_named = |old: u16| moved.get(usize::from(old)) == Some(&1);
        let places = std::mem::take(&mut self.provider_places).into_iter();
        let mut providers: Vec<(Box<str>, u16)> = places.filter(|(_, old)| is_named(*old)).collect();
        providers.sort();
        for ((_, old), new) in providers.iter().zip(1..) {
            if let Some(slot) = moved.get_mut(usize::from(*old)) {
                *slot = new;
            }
        }
        self.providers = providers.into_iter().map(|(provider, _)| provider).collect();
        moved.first_mut().into_iter().for_each(|none| *none = 0);
        moved
    }

    /// Puts the DIDs in order of their numbers, one row each.
    fn settle_numbers(&mut self) {
        let mut dids = std::mem::take(&mut self.dids);
        dids.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| self.did_order(&a.1, &b.1)));
        let mut lost: Vec<(Number, DidRecord, RowKey)> = Vec::new();
        dids.dedup_by(|later, first| {
            let is_lost = later.0 == first.0;
            if is_lost {
                lost.push((later.0, later.1, first.1.key));
            }
            is_lost
        });
        for (number, loser, winner) in lost {
            if loser.marks.is_kept() {
                // Its row is listed already, and what it said last is now forgotten.
                let place = self.bad_dids.get(&loser.key).copied().flatten();
                self.faults.set_effect(place, Effect::RowAbsent);
                continue;
            }
            let expected = format!("a number of its own: row {} has it", self.id_text(winner));
            let fault = CellFault { column: "number", found: number.to_string(), expected, reason: Reason::Duplicate };
            self.faults.push(Table::Dids, &self.id_text(loser.key), fault, Effect::OtherRowInEffect);
        }
        self.dids = dids;
    }

    /// Of two rows of one number, the lesser is in effect.
    fn did_order(&self, a: &DidRecord, b: &DidRecord) -> Ordering {
        let rank = |did: &DidRecord| Reverse((self.is_in_use(did), did.updated_at_s));
        rank(a).cmp(&rank(b)).then_with(|| self.id_text(a.key).cmp(&self.id_text(b.key)))
    }

    /// Whether a DID is active and assigned.
    fn is_in_use(&self, did: &DidRecord) -> bool {
        did.marks.status() == Status::Active && self.policy.pool_states.contains(did.marks.pool_status())
    }

    /// Checks every DID's organisation, and finds each organisation's default and first assigned DID.
    fn settle_organisations(&mut self, dids: &[(Number, DidRecord)]) {
        let mut defaults: HashMap<u32, Vec<(Number, &DidRecord)>> = HashMap::new();
        for (number, did) in dids {
            let is_in_use = self.is_in_use(did);
            let Some(place) = did.organisation.checked_sub(1) else {
                if is_in_use {
                    let found = "NULL".to_owned();
                    let expected = "the id of an organisation, as the DID is assigned".to_owned();
                    let fault = CellFault { column: "org_id", found, expected, reason: Reason::NoOrganisation };
                    self.faults.push(Table::Dids, &self.id_text(did.key), fault, Effect::Noted);
                }
                continue;
            };
            if self.organisations.facts(place).is_none() {
                let fault = self.unknown_organisation(self.organisations.at(place).map(|record| record.key));
                self.faults.push(Table::Dids, &self.id_text(did.key), fault, Effect::Noted);
                continue;
            }
            if did.marks.is_default() {
                defaults.entry(place).or_default().push((*number, did));
            }
            if let Some(organisation) = self.organisations.at_mut(place).filter(|_| is_in_use) {
                organisation.first_assigned_did.get_or_insert(*number);
            }
        }
        for (place, marked) in defaults {
            self.settle_default(place, &marked);
        }
    }

    /// Chooses among the DIDs that are marked as one organisation's default; they come by number.
    fn settle_default(&mut self, place: u32, marked: &[(Number, &DidRecord)]) {
        let usable = marked.iter().find(|(_, did)| self.is_in_use(did)).or(marked.first());
        let Some(&(chosen, _)) = usable else { return };
        for (number, did) in marked.iter().filter(|(number, _)| *number != chosen) {
            let expected = format!("one default in an organisation: {chosen} is in effect");
            let found = format!("a default at {number}");
            let fault = CellFault { column: "is_default", found, expected, reason: Reason::TwoDefaults };
            self.faults.push(Table::Dids, &self.id_text(did.key), fault, Effect::ValueIgnored);
        }
        if let Some(organisation) = self.organisations.at_mut(place) {
            organisation.default_did = Some(chosen);
        }
    }

    /// Orders the users so that of several with one key the first is in effect, and checks their `outbound_did`.
    fn settle_users(&mut self, dids: &DidTable) {
        let mut users = std::mem::take(&mut self.users);
        let rank = |user: &UserRecord| Reverse((user.is_active, user.updated_at_s));
        users.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| self.id_text(a.key).cmp(&self.id_text(b.key))));
        let mut endpoints: HashMap<&str, RowKey> = HashMap::new();
        let mut extensions: HashMap<(u32, &str), RowKey> = HashMap::new();
        for user in &users {
            if !user.endpoint.is_empty() {
                self.check_alone("asterisk_endpoint", &user.endpoint, user.key, endpoints.entry(&user.endpoint));
            }
            if !user.extension.is_empty() {
                let entry = extensions.entry((user.organisation, &user.extension));
                self.check_alone("extension", &user.extension, user.key, entry);
            }
            if let Some(number) = user.outbound_did {
                self.check_outbound_did(user, number, dids.find(number));
            }
        }
        self.users = users;
    }

    fn check_alone<K>(&mut self, column: &'static str, found: &str, key: RowKey, entry: Entry<'_, K, RowKey>) {
        match entry {
            Entry::Vacant(entry) => {
                entry.insert(key);
            }
            Entry::Occupied(entry) => {
                let found = crate::fault::shown(Some(found.as_bytes()));
                let expected = format!("a value of its own: row {} has it", self.id_text(*entry.get()));
                let fault = CellFault { column, found, expected, reason: Reason::Duplicate };
                self.faults.push(Table::Users, &self.id_text(key), fault, Effect::OtherRowInEffect);
            }
        }
    }

    fn check_outbound_did(&mut self, user: &UserRecord, number: Number, did: Option<&DidRecord>) {
        let reason = match did {
            Some(did) if did.organisation.checked_sub(1) == Some(user.organisation) => return,
            Some(_) => Reason::ForeignDid,
            None => Reason::UnknownDid,
        };
        let expected = "a DID of the user's organisation".to_owned();
        let fault = CellFault { column: "outbound_did", found: number.to_string(), expected, reason };
        self.faults.push(Table::Users, &self.id_text(user.key), fault, Effect::Noted);
    }

    fn unknown_organisation(&self, key: Option<RowKey>) -> CellFault {
        CellFault {
            column: "org_id",
            found: key.map_or_else(String::new, |key| self.id_text(key)),
            expected: "the id of an organisation that has a good row".to_owned(),
            reason: Reason::UnknownOrganisation,
        }
    }
}
