//! Rows that have been read become a directory: conflicts are decided, indexes made, references checked, all at once.
//!
//! [`crate::apply`] does the same for a few rows of a directory that stands; both must come to one result, and a
//! property test holds them to it.

use std::sync::Arc;

use sip::Number;

use crate::Policy;
use crate::contender::{Contender, OddIds, is_in_use};
use crate::did_table::{DidRecord, DidTable};
use crate::directory::{Counts, Directory, Generation};
use crate::fault::RowFaults;
use crate::key_index::KeyIndex;
use crate::ordered::Ordered;
use crate::organisation::Organisations;
use crate::overlays::Folded;
use crate::provider::Providers;
use crate::row_key::RowKey;
use crate::service::Services;
use crate::trunk::TrunkRecord;
use crate::user::{UserRecord, Users};

/// What a directory is made of. No two rows of a table have one key.
pub(crate) struct Parts {
    pub(crate) policy: Policy,
    /// With what their rows say; nothing in them counts what other rows say.
    pub(crate) organisations: Organisations,
    pub(crate) providers: Providers,
    pub(crate) dids: Vec<(Number, DidRecord)>,
    /// By key.
    pub(crate) odd_ids: Vec<(RowKey, Arc<str>)>,
    pub(crate) users: Vec<UserRecord>,
    pub(crate) trunks: Vec<TrunkRecord>,
    pub(crate) faults: RowFaults,
    pub(crate) overlays: Arc<Folded>,
}

impl Parts {
    pub(crate) fn assemble(mut self, generation: Generation) -> Directory {
        let odd_ids = Ordered::from_sorted(std::mem::take(&mut self.odd_ids));
        let losers = self.decide_conflicts(&odd_ids);
        self.count_names(&losers);
        let (mut counts, defaults) = self.count_dids();
        self.organisations.release_all_unnamed();
        self.choose_defaults(&defaults);
        let keys = self.dids.iter().map(|did| (did.1.key, did.0));
        let keys = keys.chain(losers.iter().map(|loser| (loser.record.key, loser.number)));
        let keys = KeyIndex::new(keys, self.dids.len() + losers.len());
        let dids = DidTable::from_ascending(&self.dids);
        let organisations = &self.organisations;
        let is_known = |place: u32| organisations.facts(place).is_some();
        let users = Users::new(self.users, is_known);
        for user in users.rows().filter(|user| !is_known(user.organisation)) {
            counts.users_waiting += u32::from(!user.kept_last_good);
        }
        for user in users.with_any_outbound_did() {
            let did = user.outbound_did.and_then(|number| dids.find(number));
            counts.add_outbound(user.outbound_fault(did), 1);
        }
        counts.losers_kept = losers.iter().filter(|loser| loser.record.fields.marks.is_kept()).count();
        let mut trunks: Vec<Arc<TrunkRecord>> = self.trunks.into_iter().map(Arc::new).collect();
        trunks.sort_by(|a, b| a.id.cmp(&b.id));
        Directory {
            generation,
            is_loaded: true,
            services: Services::new(&self.policy),
            policy: self.policy,
            dids,
            keys,
            losers,
            odd_ids,
            providers: self.providers,
            organisations: self.organisations,
            defaults,
            users,
            trunks: Ordered::from_sorted(trunks),
            row_faults: self.faults,
            counts,
            overlays: self.overlays,
            listed: std::sync::OnceLock::new(),
        }
    }

    /// Leaves one row of each number, by number, and returns the others.
    fn decide_conflicts(&mut self, odd_ids: &OddIds) -> Ordered<Arc<Contender>> {
        self.dids.sort_by_key(|did| did.0);
        let mut losers = Vec::new();
        if self.dids.is_sorted_by(|a, b| a.0 < b.0) {
            return Ordered::default();
        }
        let mut winners = Vec::with_capacity(self.dids.len());
        for rows in self.dids.chunk_by(|a, b| a.0 == b.0) {
            if let [only] = rows {
                winners.push(*only);
                continue;
            }
            let contend = |row: &(Number, DidRecord)| Contender::new(row.0, row.1, &self.policy, odd_ids);
            let mut contenders: Vec<Contender> = rows.iter().map(contend).collect();
            contenders.sort_by(Contender::order);
            let mut contenders = contenders.into_iter();
            winners.extend(contenders.next().map(|winner| (winner.number, winner.record)));
            losers.extend(contenders.map(Arc::new));
        }
        self.dids = winners;
        Ordered::from_sorted(losers)
    }

    /// Counts how many rows name each organisation.
    fn count_names(&mut self, losers: &Ordered<Arc<Contender>>) {
        let of_dids = self.dids.iter().filter_map(|did| did.1.fields.place());
        let of_losers = losers.iter().filter_map(|loser| loser.record.fields.place());
        let of_users = self.users.iter().map(|user| user.organisation);
        let of_trunks = self.trunks.iter().filter_map(|trunk| trunk.organisation);
        for place in of_dids.chain(of_losers).chain(of_users).chain(of_trunks) {
            if let Some(record) = self.organisations.at_mut(place) {
                record.named += 1;
            }
        }
    }

    /// Counts the DIDs of each organisation and finds the first assigned one. Returns the DIDs marked as defaults too.
    fn count_dids(&mut self) -> (Counts, Ordered<(u32, Number)>) {
        let mut counts = Counts::default();
        let mut defaults = Vec::new();
        for (number, did) in &self.dids {
            let in_use = is_in_use(&did.fields, &self.policy);
            let Some(place) = did.fields.place() else {
                counts.no_organisation += u32::from(in_use);
                continue;
            };
            let Some(record) = self.organisations.at_mut(place) else { continue };
            record.dids += 1;
            record.dids_in_use += u32::from(in_use);
            if in_use {
                record.first_assigned_did.get_or_insert(*number);
            }
            if did.fields.marks.is_default() {
                record.defaults += 1;
                defaults.push((place, *number));
            }
        }
        for place in self.organisations.all() {
            if let Some(record) = self.organisations.at(place) {
                counts.add_organisation(record);
            }
        }
        defaults.sort();
        (counts, Ordered::from_sorted(defaults))
    }

    /// Chooses each organisation's default: the lowest marked DID that is in use, else the lowest marked one.
    fn choose_defaults(&mut self, defaults: &Ordered<(u32, Number)>) {
        let mut chosen: Vec<(u32, Number, bool)> = Vec::new();
        for &(place, number) in defaults.iter() {
            let did = self.dids.binary_search_by_key(&number, |did| did.0).ok().and_then(|at| self.dids.get(at));
            let in_use = did.is_some_and(|did| is_in_use(&did.1.fields, &self.policy));
            match chosen.last_mut() {
                Some(last) if last.0 == place => {
                    if in_use && !last.2 {
                        *last = (place, number, true);
                    }
                }
                _ => chosen.push((place, number, in_use)),
            }
        }
        for (place, number, _) in chosen {
            if let Some(record) = self.organisations.at_mut(place) {
                record.default_did = Some(number);
            }
        }
    }
}
