//! One row comes or goes, and what depends on it follows.

use std::collections::BTreeMap;
use std::sync::Arc;

use sip::Number;

use crate::contender::{Contender, is_in_use};
use crate::did_table::{DidFields, DidRecord};
use crate::directory::Directory;
use crate::organisation::{Facts, OrganisationRecord};
use crate::row_key::RowKey;
use crate::user::UserRecord;

/// How many organisations are looked up one by one; for more, one walk through the table finds them all.
const SEARCHES_MAX: usize = 4;

/// What is settled when all rows have changed.
#[derive(Default)]
pub(super) struct Dirty {
    /// Organisations that lost their first assigned DID, each with a number that none of its DIDs in use is below,
    /// unless that one came meanwhile.
    first_assigned: BTreeMap<u32, u64>,
    /// Organisations of which a DID that is or was marked as the default has changed.
    defaults: Vec<u32>,
}

impl Directory {
    /// Takes in a row of `did_numbers`; there is none of its key. Its organisation is named already.
    pub(super) fn insert_did(&mut self, number: Number, record: DidRecord, odd: Option<Arc<str>>, dirty: &mut Dirty) {
        if let Some(odd) = odd {
            self.odd_ids.insert((record.key, odd), |other| other.0.cmp(&record.key));
        }
        self.keys.insert(record.key, number);
        let newcomer = self.contender(number, record);
        let Some(winner) = self.dids.record(number) else {
            self.set_did(number, None, Some(record), dirty);
            return;
        };
        let winner = self.contender(number, winner);
        if newcomer.order(&winner).is_lt() {
            self.set_did(number, Some(winner.record), Some(record), dirty);
            self.insert_loser(winner);
        } else {
            self.insert_loser(newcomer);
        }
    }

    /// Takes a row of `did_numbers` out.
    pub(super) fn remove_did(&mut self, key: RowKey, dirty: &mut Dirty) {
        let Some((number, record)) = self.row(key) else { return };
        self.keys.remove(key, number);
        if self.dids.record(number) == Some(record) {
            let heir = self.losers.find(|loser| loser.number.cmp(&number)).cloned();
            if let Some(heir) = &heir {
                self.remove_loser(heir);
            }
            self.set_did(number, Some(record), heir.map(|heir| heir.record), dirty);
        } else {
            let loser = self.contender(number, record);
            self.remove_loser(&loser);
        }
        self.odd_ids.remove(|other| other.0.cmp(&key));
        self.unname(record.fields.place());
    }

    fn contender(&self, number: Number, record: DidRecord) -> Contender {
        Contender::new(number, record, &self.policy, &self.odd_ids)
    }

    fn insert_loser(&mut self, loser: Contender) {
        self.counts.losers_kept += usize::from(loser.record.fields.marks.is_kept());
        let loser = Arc::new(loser);
        self.losers.insert(Arc::clone(&loser), |other| other.order(&loser));
    }

    fn remove_loser(&mut self, loser: &Contender) {
        if self.losers.remove(|other| other.order(loser)).is_some() {
            self.counts.losers_kept -= usize::from(loser.record.fields.marks.is_kept());
        }
    }

    /// Puts another row in effect for a number.
    fn set_did(&mut self, number: Number, old: Option<DidRecord>, new: Option<DidRecord>, dirty: &mut Dirty) {
        self.dids.set(number, new);
        let (old, new) = (old.map(|old| old.fields), new.map(|new| new.fields));
        if let Some(old) = old {
            self.count_did_out(number, &old, dirty);
        }
        if let Some(new) = new {
            self.count_did_in(number, &new, dirty);
        }
        if old.map(|old| old.organisation) != new.map(|new| new.organisation) {
            for user in self.users.with_outbound_did(number) {
                self.counts.add_outbound(user.outbound_fault(old), -1);
                self.counts.add_outbound(user.outbound_fault(new), 1);
            }
        }
    }

    fn count_did_out(&mut self, number: Number, did: &DidFields, dirty: &mut Dirty) {
        let in_use = is_in_use(did, &self.policy);
        let Some(place) = did.place() else {
            self.counts.no_organisation -= u32::from(in_use);
            return;
        };
        let is_default = did.marks.is_default();
        if is_default {
            self.defaults.remove(|other| other.cmp(&(place, number)));
            dirty.defaults.push(place);
        }
        self.edit_organisation(place, |record| {
            record.dids -= 1;
            record.dids_in_use -= u32::from(in_use);
            record.defaults -= u32::from(is_default);
            if record.first_assigned_did == Some(number) {
                record.first_assigned_did = None;
                let from = dirty.first_assigned.entry(place).or_insert(number.digits());
                *from = number.digits().min(*from);
            }
        });
    }

    fn count_did_in(&mut self, number: Number, did: &DidFields, dirty: &mut Dirty) {
        let in_use = is_in_use(did, &self.policy);
        let Some(place) = did.place() else {
            self.counts.no_organisation += u32::from(in_use);
            return;
        };
        let is_default = did.marks.is_default();
        if is_default {
            self.defaults.insert((place, number), |other| other.cmp(&(place, number)));
            dirty.defaults.push(place);
        }
        self.edit_organisation(place, |record| {
            record.dids += 1;
            record.dids_in_use += u32::from(in_use);
            record.defaults += u32::from(is_default);
            if in_use && record.first_assigned_did.is_none_or(|first| number < first) {
                record.first_assigned_did = Some(number);
            }
        });
    }

    /// Finds what organisations lost: their first assigned DID, and their default.
    pub(super) fn settle(&mut self, dirty: Dirty) {
        let mut wanted = dirty.first_assigned;
        wanted.retain(|&place, _| self.organisations.at(place).is_some_and(|record| record.dids_in_use > 0));
        for (place, number) in self.first_assigned(wanted) {
            self.edit_organisation(place, |record| {
                let first = record.first_assigned_did.map_or(number, |first| first.min(number));
                record.first_assigned_did = Some(first);
            });
        }
        let mut places = dirty.defaults;
        places.sort_unstable();
        places.dedup();
        for place in places {
            let marked = || self.defaults.equal(move |other| other.0.cmp(&place)).map(|other| other.1);
            let in_use = |number: &Number| self.dids.find(*number).is_some_and(|did| is_in_use(&did, &self.policy));
            let chosen = marked().find(in_use).or_else(|| marked().next());
            self.edit_organisation(place, |record| record.default_did = chosen);
        }
    }

    /// The lowest DID in use of each of these organisations that is not below a number.
    fn first_assigned(&self, wanted: BTreeMap<u32, u64>) -> Vec<(u32, Number)> {
        let in_use = |did: &DidFields| is_in_use(did, &self.policy);
        if wanted.len() <= SEARCHES_MAX {
            let first = |(place, from): (u32, u64)| {
                let mut dids = self.dids.fields_naming(place.saturating_add(1), from);
                dids.find(|did| in_use(&did.1)).map(|did| (place, did.0))
            };
            return wanted.into_iter().filter_map(first).collect();
        }
        let mut wanted = wanted;
        let mut found = Vec::with_capacity(wanted.len());
        for (number, did) in self.dids.fields() {
            let Some(place) = did.place().filter(|_| in_use(&did)) else { continue };
            if wanted.remove(&place).is_some() {
                found.push((place, number));
                if wanted.is_empty() {
                    break;
                }
            }
        }
        found
    }

    /// Sets what an organisation's row says, and puts its users into effect or out of it.
    pub(super) fn set_facts(&mut self, place: u32, facts: Option<Facts>) {
        let (was_known, is_known) = (self.organisations.facts(place).is_some(), facts.is_some());
        if let Some(record) = self.organisations.at(place) {
            self.counts.take_organisation(record);
        }
        self.organisations.set_facts(place, facts);
        if let Some(record) = self.organisations.at(place) {
            self.counts.add_organisation(record);
        }
        if was_known != is_known {
            let of_organisation = |user: &&Arc<UserRecord>| user.organisation == place;
            let users: Vec<Arc<UserRecord>> = self.users.rows().filter(of_organisation).cloned().collect();
            for user in users {
                self.count_user(&user, was_known, -1);
                match is_known {
                    true => self.users.put_in_effect(&user),
                    false => self.users.put_out_of_effect(&user),
                }
                self.count_user(&user, is_known, 1);
            }
        }
        self.organisations.release(place);
    }

    /// Takes in a user; there is none of its key. Its organisation is named already.
    pub(super) fn insert_user(&mut self, user: &Arc<UserRecord>) {
        let is_known = self.organisations.facts(user.organisation).is_some();
        self.count_user(user, is_known, 1);
        self.users.insert(user, is_known);
    }

    /// Takes a user out.
    pub(super) fn remove_user(&mut self, key: RowKey) {
        let Some(place) = self.users.row(key).map(|user| user.organisation) else { return };
        let is_known = self.organisations.facts(place).is_some();
        if let Some(user) = self.users.remove(key, is_known) {
            self.count_user(&user, is_known, -1);
            self.unname(Some(place));
        }
    }

    /// Counts the faults between a user and rows of other tables, or takes them back.
    fn count_user(&mut self, user: &UserRecord, is_known: bool, by: i32) {
        if is_known {
            let did = user.outbound_did.and_then(|number| self.dids.find(number));
            self.counts.add_outbound(user.outbound_fault(did), by);
        } else if !user.kept_last_good {
            self.counts.users_waiting = self.counts.users_waiting.saturating_add_signed(by);
        }
    }

    /// One more row names an organisation.
    pub(super) fn name(&mut self, place: Option<u32>) {
        if let Some(record) = place.and_then(|place| self.organisations.at_mut(place)) {
            record.named += 1;
        }
    }

    /// One row less names an organisation.
    pub(super) fn unname(&mut self, place: Option<u32>) {
        let Some(place) = place else { return };
        if let Some(record) = self.organisations.at_mut(place) {
            record.named -= 1;
            self.organisations.release(place);
        }
    }

    fn edit_organisation(&mut self, place: u32, edit: impl FnOnce(&mut OrganisationRecord)) {
        let Some(record) = self.organisations.at_mut(place) else { return };
        self.counts.take_organisation(record);
        edit(record);
        self.counts.add_organisation(record);
    }
}
