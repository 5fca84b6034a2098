//! Rows become a directory. First every row is read alone; then what needs all rows is settled.

mod settle;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use sip::Number;

use crate::Policy;
use crate::cell::named;
use crate::did_table::{DidRecord, Marks};
use crate::directory::{Directory, Generation};
use crate::fault::{CellFault, Effect, Faults, Reason, Table, shown_id};
use crate::organisation::{Facts, Limits, Organisations};
use crate::row_key::RowKey;
use crate::rows::{Cell, DidRow, OrganisationRow, Rows, TrunkRow, UserRow};
use crate::trunk::TrunkRecord;
use crate::user::UserRecord;
use crate::words::UserStatus;

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
pub struct Builder<'p> {
    policy: Policy,
    previous: Option<&'p Directory>,
    faults: Faults,
    /// The ids that are no UUIDs, for reports.
    odd_ids: HashMap<RowKey, Box<str>>,
    organisations: Organisations,
    dids: Vec<(Number, DidRecord)>,
    providers: Vec<Box<str>>,
    provider_places: HashMap<Box<str>, u16>,
    users: Vec<UserRecord>,
    trunks: Vec<TrunkRecord>,
    bad_organisations: BadRows,
    bad_dids: BadRows,
    bad_users: BadRows,
}

/// The rows that could not be read, each with the place of its fault in the list.
type BadRows = HashMap<RowKey, Option<usize>>;

impl<'p> Builder<'p> {
    /// A builder that knows no row yet. `previous` is where last good values come from.
    pub fn new(policy: &Policy, previous: Option<&'p Directory>) -> Builder<'p> {
        Builder {
            policy: policy.clone(),
            previous,
            faults: Faults::default(),
            odd_ids: HashMap::new(),
            organisations: Organisations::default(),
            dids: Vec::new(),
            providers: Vec::new(),
            provider_places: HashMap::new(),
            users: Vec::new(),
            trunks: Vec::new(),
            bad_organisations: BadRows::new(),
            bad_dids: BadRows::new(),
            bad_users: BadRows::new(),
        }
    }

    /// Takes a row of `organizations`.
    pub fn organisation(&mut self, row: &OrganisationRow) {
        let Some(key) = self.row_key(Table::Organisations, &row.id) else { return };
        match self.read_organisation(key, row) {
            Ok(facts) => self.organisations.set_facts(key, facts),
            Err(fault) => {
                let place = self.fault(Table::Organisations, &row.id, fault, Effect::RowAbsent);
                self.bad_organisations.insert(key, place);
            }
        }
    }

    /// Takes a row of `did_numbers`.
    pub fn did(&mut self, row: &DidRow) {
        let Some(key) = self.row_key(Table::Dids, &row.id) else { return };
        match self.read_did(key, row) {
            Ok(did) => self.dids.push(did),
            Err(fault) => {
                let place = self.fault(Table::Dids, &row.id, fault, Effect::RowAbsent);
                self.bad_dids.insert(key, place);
            }
        }
    }

    /// Takes a row of `users`.
    pub fn user(&mut self, row: &UserRow) {
        let Some(key) = self.row_key(Table::Users, &row.id) else { return };
        match self.read_user(key, row) {
            Ok(user) => self.users.push(user),
            Err(fault) => {
                let place = self.fault(Table::Users, &row.id, fault, Effect::RowAbsent);
                self.bad_users.insert(key, place);
            }
        }
    }

    /// Takes a row of `sip_trunks`.
    pub fn trunk(&mut self, row: &TrunkRow) {
        match self.read_trunk(row) {
            Ok(trunk) => self.trunks.push(trunk),
            Err(fault) => {
                self.fault(Table::Trunks, &row.id, fault, Effect::RowAbsent);
            }
        }
    }

    fn read_organisation(&mut self, key: RowKey, row: &OrganisationRow) -> Result<Facts, CellFault> {
        let facts = Facts {
            id: named("id", &row.id).id()?.into(),
            name: named("name", &row.name).text()?.into(),
            context_prefix: named("context_prefix", &row.context_prefix).text()?.into(),
            status: named("status", &row.status).word()?,
            limits: None,
            kept_last_good: false,
        };
        let limits = match Limits::read(&row.limits) {
            Ok(limits) => Some(limits),
            Err(fault) => {
                let last_good = self.previous.and_then(|previous| {
                    let place = previous.organisations.find(key)?;
                    previous.organisations.facts(place)?.limits
                });
                let effect = if last_good.is_some() { Effect::LastGoodKept } else { Effect::ValueIgnored };
                self.fault(Table::Organisations, &row.id, fault, effect);
                last_good
            }
        };
        Ok(Facts { limits, ..facts })
    }

    fn read_did(&mut self, key: RowKey, row: &DidRow) -> Result<(Number, DidRecord), CellFault> {
        let number = named("number", &row.number).number(&self.policy.numbering)?;
        let environment = named("routing_environment", &row.routing_environment).word()?;
        let status = named("status", &row.status).word()?;
        let pool_status = named("pool_status", &row.pool_status).word()?;
        let organisation = named("org_id", &row.org_id).reference()?;
        let is_default = named("is_default", &row.is_default).boolean()?;
        let call_limit = named("call_limit", &row.call_limit).integer(0, u32::MAX)?.unwrap_or(0);
        let provider = named("provider", &row.provider);
        let provider = self
            .provider_place(provider.text()?)
            .ok_or_else(|| provider.fault(Reason::TooMany, format!("at most {} different providers", u16::MAX)))?;
        let updated_at_s = self.updated_at_s(Table::Dids, &row.id, &row.updated_at);
        let organisation = organisation.map_or(0, |id| self.organisation_place(id).saturating_add(1));
        let marks = Marks::new(environment, status, pool_status, is_default);
        Ok((number, DidRecord { key, organisation, call_limit, updated_at_s, provider, marks }))
    }

    fn read_user(&mut self, key: RowKey, row: &UserRow) -> Result<UserRecord, CellFault> {
        let organisation = named("org_id", &row.org_id);
        let expected = "the id of an organisation";
        let organisation =
            organisation.reference()?.ok_or_else(|| organisation.fault(Reason::NoOrganisation, expected))?;
        let status: UserStatus = named("status", &row.status).word()?;
        let username = named("username", &row.username).text()?.into();
        let extension = named("extension", &row.extension).text()?.into();
        let endpoint = named("asterisk_endpoint", &row.asterisk_endpoint).text()?.into();
        let outbound_did = named("outbound_did", &row.outbound_did).optional_number(&self.policy.numbering);
        let outbound_did = outbound_did.unwrap_or_else(|fault| {
            self.fault(Table::Users, &row.id, fault, Effect::ValueIgnored);
            None
        });
        Ok(UserRecord {
            key,
            organisation: self.organisation_place(organisation),
            username,
            extension,
            endpoint,
            outbound_did,
            is_active: status == UserStatus::Active,
            kept_last_good: false,
            updated_at_s: self.updated_at_s(Table::Users, &row.id, &row.updated_at),
        })
    }

    fn read_trunk(&mut self, row: &TrunkRow) -> Result<TrunkRecord, CellFault> {
        let port = named("port", &row.port);
        let port_read = port.integer(1, u32::from(u16::MAX))?.and_then(|port| u16::try_from(port).ok());
        Ok(TrunkRecord {
            id: named("id", &row.id).id()?.into(),
            name: named("name", &row.name).text()?.into(),
            host: named("host", &row.host).text()?.into(),
            port: port_read.ok_or_else(|| port.fault(Reason::Null, "a whole number from 1 to 65535"))?,
            transport: named("transport", &row.transport).word()?,
            status: named("status", &row.status).word()?,
            organisation: {
                let id = named("org_id", &row.org_id).reference()?;
                id.map(|id| self.organisation_place(id))
            },
        })
    }

    /// The key of a row; a row without one is set aside here.
    fn row_key(&mut self, table: Table, id: &Cell) -> Option<RowKey> {
        match named("id", id).id() {
            Ok(text) => Some(self.key_of(text)),
            Err(fault) => {
                self.fault(table, id, fault, Effect::RowAbsent);
                None
            }
        }
    }

    fn organisation_place(&mut self, id: &str) -> u32 {
        let key = self.key_of(id);
        self.organisations.place(key)
    }

    fn key_of(&mut self, id: &str) -> RowKey {
        let key = RowKey::new(id);
        if !RowKey::is_uuid(id) {
            self.odd_ids.entry(key).or_insert_with(|| id.into());
        }
        key
    }

    /// The time of the last change. It only orders rows of one number, so a bad one counts as the oldest.
    fn updated_at_s(&mut self, table: Table, id: &Cell, updated_at: &Cell) -> u32 {
        named("updated_at", updated_at).time_s().unwrap_or_else(|fault| {
            self.fault(table, id, fault, Effect::ValueIgnored);
            0
        })
    }

    /// A provider's place plus one; 0 for no provider, `None` when there are too many.
    fn provider_place(&mut self, provider: &str) -> Option<u16> {
        if provider.is_empty() {
            return Some(0);
        }
        if let Some(&place) = self.provider_places.get(provider) {
            return Some(place);
        }
        let place = u16::try_from(self.providers.len() + 1).ok()?;
        self.providers.push(provider.into());
        self.provider_places.insert(provider.into(), place);
        Some(place)
    }

    fn fault(&mut self, table: Table, id: &Cell, fault: CellFault, effect: Effect) -> Option<usize> {
        self.faults.push(table, &shown_id(id.as_deref()), fault, effect)
    }

    /// A row's id for a report.
    fn id_text(&self, key: RowKey) -> String {
        self.odd_ids.get(&key).map_or_else(|| key.as_uuid(), |id| shown_id(Some(id.as_bytes())))
    }
}
