//! The directory: one numbered version of the table, and its lookups.

use std::fmt;

use sip::{Number, Numbering};

use crate::Policy;
use crate::did_table::{DidRecord, DidTable};
use crate::fault::{Fault, Faults, Reason};
use crate::organisation::{Limits, Organisations};
use crate::row_key::RowKey;
use crate::trunk::TrunkRecord;
use crate::user::{UserRecord, Users};
use crate::words::{Environment, OrganisationStatus, PoolStatus, Status, Transport, UserStatus};

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
pub struct Directory {
    pub(crate) generation: Generation,
    pub(crate) is_loaded: bool,
    pub(crate) policy: Policy,
    pub(crate) dids: DidTable,
    pub(crate) providers: Vec<Box<str>>,
    pub(crate) organisations: Organisations,
    pub(crate) users: Users,
    pub(crate) trunks: Vec<TrunkRecord>,
    pub(crate) faults: Faults,
}

/// What one DID's row says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Did<'d> {
    /// The number.
    pub number: Number,
    /// Where its calls land, by its row.
    pub environment: Environment,
    /// Whether it takes calls, and if not, why.
    pub service: Service,
    /// The organisation that has it; `None` also when its row names one that is unknown.
    pub organisation: Option<OrganisationId>,
    /// Whether it is marked as its organisation's default caller ID.
    pub is_default: bool,
    /// Calls at one time; 0 for no limit.
    pub call_limit: u32,
    /// Whether the row turned bad and this is its last good value.
    pub kept_last_good: bool,
    /// Who delivers it.
    pub provider: Option<&'d str>,
}

/// Whether a DID takes calls. The first reason that holds stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Service {
    /// It does.
    InService,
    /// Its status is not active.
    NotActive(Status),
    /// Its pool state takes no part.
    NotAssigned(PoolStatus),
    /// Its organisation is suspended or deleted.
    OrganisationNotActive,
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
            dids: DidTable::default(),
            providers: Vec::new(),
            organisations: Organisations::default(),
            users: Users::default(),
            trunks: Vec::new(),
            faults: Faults::default(),
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

    /// The DID of this number.
    pub fn did(&self, number: Number) -> Option<Did<'_>> {
        self.dids.find(number).map(|record| self.did_of(number, record))
    }

    /// Every DID, by number ascending.
    pub fn dids(&self) -> impl Iterator<Item = Did<'_>> {
        self.dids.iter().map(|(number, record)| self.did_of(number, record))
    }

    /// How many DIDs there are.
    pub fn did_count(&self) -> usize {
        self.dids.len()
    }

    /// The organisation at a place of this directory. A place of another directory that is not in this one reads as a
    /// deleted organisation without a name.
    pub fn organisation(&self, id: OrganisationId) -> Organisation<'_> {
        let record = self.organisations.at(id.0);
        let facts = record.and_then(|record| record.facts.as_ref());
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
        self.organisations.known().count()
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
        self.users.records().iter().map(user_of)
    }

    /// How many users there are.
    pub fn user_count(&self) -> usize {
        self.users.records().len()
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
            organisation: trunk.organisation.map(OrganisationId),
            name: &trunk.name,
            host: &trunk.host,
            port: trunk.port,
            transport: trunk.transport,
            status: trunk.status,
        })
    }

    /// What is wrong with the rows, by table, key and column: at most [`crate::limits::FAULTS_LISTED_MAX`].
    pub fn faults(&self) -> &[Fault] {
        self.faults.listed()
    }

    /// How many faults there are, listed or not.
    pub fn fault_count(&self) -> u64 {
        Reason::ALL.iter().map(|&reason| u64::from(self.faults_of(reason))).sum()
    }

    /// How many faults of one kind there are, listed or not.
    pub fn faults_of(&self, reason: Reason) -> u32 {
        self.faults.count(reason)
    }

    /// Whether both directories answer every lookup alike and list the same faults, whatever their generations.
    ///
    /// Places of organisations count as part of an answer: rows that come in another order may make a difference.
    pub fn says_the_same(&self, other: &Directory) -> bool {
        let same_dids = || {
            self.dids.len() == other.dids.len()
                && self.dids.iter().zip(other.dids.iter()).all(|(a, b)| a.0 == b.0 && a.1.says_the_same(b.1))
        };
        let same_users = || {
            let (ours, theirs) = (self.users.records(), other.users.records());
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| a.says_the_same(b))
        };
        self.is_loaded == other.is_loaded
            && self.policy == other.policy
            && self.providers == other.providers
            && self.organisations == other.organisations
            && self.trunks == other.trunks
            && self.faults == other.faults
            && same_users()
            && same_dids()
    }

    fn did_of(&self, number: Number, record: &DidRecord) -> Did<'_> {
        let marks = record.marks;
        let place = record.organisation.checked_sub(1);
        let facts = place.and_then(|place| self.organisations.facts(place));
        let service = if marks.status() != Status::Active {
            Service::NotActive(marks.status())
        } else if !self.policy.pool_states.contains(marks.pool_status()) {
            Service::NotAssigned(marks.pool_status())
        } else if facts.is_some_and(|facts| facts.status != OrganisationStatus::Active) {
            Service::OrganisationNotActive
        } else {
            Service::InService
        };
        let provider = record.provider.checked_sub(1).and_then(|place| self.providers.get(usize::from(place)));
        Did {
            number,
            environment: marks.environment(),
            service,
            organisation: place.filter(|_| facts.is_some()).map(OrganisationId),
            is_default: marks.is_default(),
            call_limit: record.call_limit,
            kept_last_good: marks.is_kept(),
            provider: provider.map(|provider| &**provider),
        }
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
