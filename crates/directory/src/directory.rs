//! The directory: one numbered version of the table, and its lookups.

mod faults;

use std::fmt;
use std::sync::{Arc, OnceLock};

use sip::{Number, Numbering};

use crate::Policy;
use crate::contender::{Contender, OddIds, odd_id};
use crate::did::Did;
use crate::did_table::{DidFields, DidRecord, DidTable, Row};
use crate::fault::{Fault, RowFaults};
use crate::key_index::KeyIndex;
use crate::ordered::Ordered;
use crate::organisation::{Limits, Organisations};
use crate::overlays::Folded;
use crate::provider::Providers;
use crate::row_key::RowKey;
use crate::service::Services;
use crate::trunk::TrunkRecord;
use crate::user::{UserRecord, Users};
use crate::words::{OrganisationStatus, Transport, UserStatus};

pub(crate) use faults::Counts;

/// The number of one version of the directory. It grows by one with every change that is published.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// An organisation's place within one directory. It means nothing in another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OrganisationId(pub u32);

/// DIDs, users and organisations, immutable.
///
/// Its parts are shared with the directories that it was made from: to make one with a few rows changed costs
/// microseconds, whatever its size, and so does dropping it while one that shares with it is kept.
pub struct Directory {
    pub(crate) generation: Generation,
    pub(crate) is_loaded: bool,
    pub(crate) policy: Policy,
    pub(crate) services: Services,
    /// The rows in effect.
    pub(crate) dids: DidTable,
    /// All rows of DIDs, in effect or not.
    pub(crate) keys: KeyIndex,
    /// The rows whose number another row has.
    pub(crate) losers: Ordered<Arc<Contender>>,
    pub(crate) odd_ids: OddIds,
    pub(crate) providers: Providers,
    pub(crate) organisations: Organisations,
    /// The DIDs in effect that are marked as their organisation's default, by its place.
    pub(crate) defaults: Ordered<(u32, Number)>,
    pub(crate) users: Users,
    /// By id.
    pub(crate) trunks: Ordered<Arc<TrunkRecord>>,
    pub(crate) row_faults: RowFaults,
    pub(crate) counts: Counts,
    pub(crate) overlays: Arc<Folded>,
    /// The faults for people, once someone has asked.
    pub(crate) listed: OnceLock<Vec<Fault>>,
}

/// What the DIDs of a directory take in memory, in bytes, shared parts counted in full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DidMemory {
    /// What a lookup reads.
    pub lookup: usize,
    /// Which row each DID is, and when that was changed last.
    pub identity: usize,
    /// Which DID each row is.
    pub index: usize,
}

/// What one organisation's row says, and which DIDs it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Organisation<'d> {
    /// Its place.
    pub id: OrganisationId,
    /// The `id` of its row.
    pub uuid: &'d str,
    /// Its name.
    pub name: &'d str,
    /// What the PBX puts before every name of this organisation, for example `org_a1b2c3d4_`; may be empty.
    pub context_prefix: &'d str,
    /// Its status.
    pub status: OrganisationStatus,
    /// What it may use.
    pub limits: Limits,
    /// Its default caller ID: the lowest of the DIDs marked so that are active and assigned, else the lowest marked.
    pub default_did: Option<Number>,
    /// The lowest of its DIDs that are active and assigned.
    pub first_assigned_did: Option<Number>,
    /// Whether the row turned bad and this is its last good value.
    pub kept_last_good: bool,
}

/// What one user's row says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct User<'d> {
    /// The user's organisation.
    pub organisation: OrganisationId,
    /// The login name; may be empty.
    pub username: &'d str,
    /// The extension; may be empty.
    pub extension: &'d str,
    /// The PBX's name for the user's phone; may be empty.
    pub endpoint: &'d str,
    /// The DID that the user's row asks for. Whether the organisation has it is for the caller to look up.
    pub outbound_did: Option<Number>,
    /// Whether the user is active.
    pub is_active: bool,
    /// Whether the row turned bad and this is its last good value.
    pub kept_last_good: bool,
}

/// What one row of an organisation's peerings says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trunk<'d> {
    /// The `id` of its row.
    pub uuid: &'d str,
    /// The organisation; `None` also when its row names one that is unknown.
    pub organisation: Option<OrganisationId>,
    /// Its name.
    pub name: &'d str,
    /// A host name or address, as written.
    pub host: &'d str,
    /// 1 to 65535.
    pub port: u16,
    /// The transport.
    pub transport: Transport,
    /// Its status.
    pub status: UserStatus,
}

impl Default for Directory {
    fn default() -> Self {
        Directory::empty()
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory")
            .field("generation", &self.generation.0)
            .field("is_loaded", &self.is_loaded)
            .field("dids", &self.did_count())
            .field("users", &self.user_count())
            .field("organisations", &self.organisation_count())
            .field("faults", &self.fault_count())
            .finish()
    }
}

impl Directory {
    /// The directory before any has been read: generation 0, not loaded, nothing in it.
    pub fn empty() -> Directory {
        Directory {
            generation: Generation(0),
            is_loaded: false,
            policy: Policy::default(),
            services: Services::new(&Policy::default()),
            dids: DidTable::default(),
            keys: KeyIndex::default(),
            losers: Ordered::default(),
            odd_ids: Ordered::default(),
            providers: Providers::default(),
            organisations: Organisations::default(),
            defaults: Ordered::default(),
            users: Users::default(),
            trunks: Ordered::default(),
            row_faults: RowFaults::default(),
            counts: Counts::default(),
            overlays: Arc::default(),
            listed: OnceLock::new(),
        }
    }

    /// The same under another number, sharing all it can.
    pub(crate) fn renumbered(&self, generation: Generation) -> Directory {
        Directory {
            generation,
            is_loaded: self.is_loaded,
            policy: self.policy.clone(),
            services: self.services.clone(),
            dids: self.dids.clone(),
            keys: self.keys.clone(),
            losers: self.losers.clone(),
            odd_ids: self.odd_ids.clone(),
            providers: self.providers.clone(),
            organisations: self.organisations.clone(),
            defaults: self.defaults.clone(),
            users: self.users.clone(),
            trunks: self.trunks.clone(),
            row_faults: self.row_faults.clone(),
            counts: self.counts,
            overlays: Arc::clone(&self.overlays),
            listed: OnceLock::new(),
        }
    }

    /// Whether this was built from rows, be they none.
    pub fn is_loaded(&self) -> bool {
        self.is_loaded
    }

    /// The number of this version.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// What a number without `+` means; it was in force when the rows were read.
    pub fn numbering(&self) -> &Numbering {
        &self.policy.numbering
    }

    /// What rows were read by.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The DID of this number.
    pub fn did(&self, number: Number) -> Option<Did<'_>> {
        match self.dids.row_soon(number) {
            Some(row) => Some(self.did_of(number, row)),
            None => self.did_after_all(number),
        }
    }

    #[cold]
    #[inline(never)]
    fn did_after_all(&self, number: Number) -> Option<Did<'_>> {
        self.dids.row(number).map(|row| self.did_of(number, row))
    }

    /// Every DID, by number ascending.
    pub fn dids(&self) -> impl Iterator<Item = Did<'_>> {
        self.dids.fields().map(|(number, fields)| self.did_of(number, Row::Plain(fields)))
    }

    /// The `id` of the row that is in effect for a number.
    pub fn did_row_id(&self, number: Number) -> Option<String> {
        let key = self.dids.record(number)?.key;
        Some(self.odd_id(key).map_or_else(|| key.as_uuid(), |id| (*id).to_owned()))
    }

    /// How many DIDs there are.
    pub fn did_count(&self) -> usize {
        self.dids.len()
    }

    /// What the DIDs take in memory.
    pub fn did_memory(&self) -> DidMemory {
        let (lookup, identity) = self.dids.bytes();
        DidMemory { lookup, identity, index: self.keys.bytes() }
    }

    /// The organisation at a place of this directory. A place of another directory that is not in this one reads as a
    /// deleted organisation without a name.
    pub fn organisation(&self, id: OrganisationId) -> Organisation<'_> {
        let record = self.organisations.at(id.0);
        let facts = record.and_then(|record| record.facts.as_deref());
        debug_assert!(facts.is_some(), "an organisation of another directory was asked for");
        Organisation {
            id,
            uuid: facts.map_or("", |facts| &facts.id),
            name: facts.map_or("", |facts| &facts.name),
            context_prefix: facts.map_or("", |facts| &facts.context_prefix),
            status: facts.map_or(OrganisationStatus::Deleted, |facts| facts.status),
            limits: facts.and_then(|facts| facts.limits).unwrap_or_default(),
            default_did: record.and_then(|record| record.default_did),
            first_assigned_did: record.and_then(|record| record.first_assigned_did),
            kept_last_good: facts.is_some_and(|facts| facts.kept_last_good),
        }
    }

    /// Every organisation that has a good row, in no order that means anything.
    pub fn organisations(&self) -> impl Iterator<Item = Organisation<'_>> {
        self.organisations.known().map(|place| self.organisation(OrganisationId(place)))
    }

    /// How many organisations have a good row.
    pub fn organisation_count(&self) -> usize {
        self.organisations.known_count()
    }

    /// The organisation whose row has this id; a UUID may be in either case.
    pub fn organisation_by_uuid(&self, uuid: &str) -> Option<Organisation<'_>> {
        let place = self.organisations.find(RowKey::new(uuid))?;
        Some(self.organisation(OrganisationId(place)))
    }

    /// The organisation whose context prefix is exactly this one. A prefix of two organisations leads to neither.
    pub fn organisation_by_context_prefix(&self, prefix: &[u8]) -> Option<Organisation<'_>> {
        let place = self.organisations.find_prefix(prefix)?;
        Some(self.organisation(OrganisationId(place)))
    }

    /// Every user whose row is good, in no order that means anything.
    pub fn users(&self) -> impl Iterator<Item = User<'_>> {
        let in_effect = self.users.rows().filter(|user| self.organisations.facts(user.organisation).is_some());
        in_effect.map(|user| user_of(user))
    }

    /// How many users there are.
    pub fn user_count(&self) -> usize {
        self.users.in_effect()
    }

    /// The user whose phone the PBX calls so, for example `org_a1b2c3d4_1001`.
    pub fn user_by_endpoint(&self, endpoint: &[u8]) -> Option<User<'_>> {
        self.users.by_endpoint(endpoint).map(user_of)
    }

    /// The user of this login name. A name that two organisations use leads to nobody.
    pub fn user_by_username(&self, username: &[u8]) -> Option<User<'_>> {
        self.users.by_username(username).map(user_of)
    }

    /// The user who has this extension in this organisation.
    pub fn user_by_extension(&self, organisation: OrganisationId, extension: &[u8]) -> Option<User<'_>> {
        self.users.by_extension(organisation.0, extension).map(user_of)
    }

    /// The organisations in which someone has this extension, by place.
    pub fn organisations_with_extension(&self, extension: &[u8]) -> impl Iterator<Item = OrganisationId> {
        self.users.with_extension(extension).map(|user| OrganisationId(user.organisation))
    }

    /// Every peering whose row is good, by id.
    pub fn trunks(&self) -> impl Iterator<Item = Trunk<'_>> {
        self.trunks.iter().map(|trunk| Trunk {
            uuid: &trunk.id,
            organisation: trunk
                .organisation
                .filter(|&place| self.organisations.facts(place).is_some())
                .map(OrganisationId),
            name: &trunk.name,
            host: &trunk.host,
            port: trunk.port,
            transport: trunk.transport,
            status: trunk.status,
        })
    }

    /// Whether both directories answer every lookup alike and list the same faults, whatever their generations and the
    /// places of their organisations.
    pub fn says_the_same(&self, other: &Directory) -> bool {
        self.is_loaded == other.is_loaded
            && self.policy == other.policy
            && self.overlays.overlays == other.overlays.overlays
            && self.dids.len() == other.dids.len()
            && self.users.in_effect() == other.users.in_effect()
            && self.organisations.says_the_same(&other.organisations)
            && self.has_trunks_of(other)
            && self.has_users_of(other)
            && self.has_dids_of(other)
            && self.faults() == other.faults()
    }

    fn has_dids_of(&self, other: &Directory) -> bool {
        let is_same = self.same_fields(other);
        let mut are_same = true;
        self.dids.compare(&other.dids, |_, ours, theirs| {
            are_same &= match (ours, theirs) {
                (Some(ours), Some(theirs)) => ours.key == theirs.key && is_same(&ours.fields, &theirs.fields),
                _ => false,
            };
        });
        are_same
    }

    /// Whether fields of this directory say what fields of the other one say: places stand for something in their own
    /// directory only.
    pub(crate) fn same_fields<'d>(&'d self, other: &'d Directory) -> impl Fn(&DidFields, &DidFields) -> bool + 'd {
        let same_places = self.organisations.has_places_of(&other.organisations);
        let providers = self.providers.places_in(&other.providers);
        move |ours, theirs| {
            let provider = providers.get(usize::from(ours.provider)).copied().unwrap_or_default();
            let is_one_organisation = match same_places {
                true => ours.organisation == theirs.organisation,
                false => self.organisation_key(ours) == other.organisation_key(theirs),
            };
            let organisation = if is_one_organisation { theirs.organisation } else { return false };
            DidFields { provider, organisation, ..*ours } == *theirs
        }
    }

    fn has_users_of(&self, other: &Directory) -> bool {
        let key = |directory: &Directory, place: u32| directory.organisations.at(place).map(|record| record.key);
        let same = |ours: &UserRecord, theirs: &UserRecord| {
            ours.says_the_same(theirs) && key(self, ours.organisation) == key(other, theirs.organisation)
        };
        (self.users.is_same(&other.users) && self.organisations.is_same(&other.organisations))
            || (self.users.row_count() == other.users.row_count()
                && self.users.rows().zip(other.users.rows()).all(|(ours, theirs)| same(ours, theirs)))
    }

    fn has_trunks_of(&self, other: &Directory) -> bool {
        let uuid = |directory: &Directory, trunk: &Trunk<'_>| {
            trunk.organisation.and_then(|id| Some(directory.organisations.at(id.0)?.key))
        };
        let same = |ours: Trunk<'_>, theirs: Trunk<'_>| {
            uuid(self, &ours) == uuid(other, &theirs) && Trunk { organisation: theirs.organisation, ..ours } == theirs
        };
        self.trunks.len() == other.trunks.len()
            && self.trunks().zip(other.trunks()).all(|(ours, theirs)| same(ours, theirs))
    }

    pub(crate) fn organisation_key(&self, fields: &DidFields) -> Option<RowKey> {
        Some(self.organisations.at(fields.place()?)?.key)
    }

    /// The number and the record of a row of `did_numbers`, be it in effect or not.
    pub(crate) fn row(&self, key: RowKey) -> Option<(Number, DidRecord)> {
        self.keys.candidates(key).find_map(|number| {
            let winner = self.dids.record(number).filter(|record| record.key == key);
            let record = winner.or_else(|| {
                let mut losers = self.losers.equal(move |loser| loser.number.cmp(&number));
                losers.find(|loser| loser.record.key == key).map(|loser| loser.record)
            });
            Some((number, record?))
        })
    }

    /// The id of a row of `did_numbers`, when that is no UUID.
    pub(crate) fn odd_id(&self, key: RowKey) -> Option<Arc<str>> {
        odd_id(&self.odd_ids, key)
    }
}

fn user_of(record: &UserRecord) -> User<'_> {
    User {
        organisation: OrganisationId(record.organisation),
        username: &record.username,
        extension: &record.extension,
        endpoint: &record.endpoint,
        outbound_did: record.outbound_did,
        is_active: record.is_active,
        kept_last_good: record.kept_last_good,
    }
}
