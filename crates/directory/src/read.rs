//! One row is read: its cells become values, or the row is set aside with the fault of its first bad column.

use sip::Number;

use crate::Policy;
use crate::cell::named;
use crate::did_table::{DidFields, DidRecord, Marks};
use crate::fault::{CellFault, Effect, Reason};
use crate::organisation::{Facts, Limits, Organisations};
use crate::provider::{Providers, pair};
use crate::row_key::RowKey;
use crate::rows::{Cell, DidRow, OrganisationRow, TrunkRow, UserRow};
use crate::trunk::TrunkRecord;
use crate::user::UserRecord;
use crate::words::UserStatus;

/// What a row says, with the faults that did not keep it from being read.
pub(crate) struct Reading<T> {
    pub(crate) value: Result<T, CellFault>,
    pub(crate) notes: Vec<(CellFault, Effect)>,
}

/// Reads rows by a policy. Places are given to organisations and providers only by rows that can be read.
pub(crate) struct Reader<'r> {
    pub(crate) policy: &'r Policy,
    pub(crate) organisations: &'r mut Organisations,
    pub(crate) providers: &'r mut Providers,
}

impl<T> Reading<T> {
    fn of(read: impl FnOnce(&mut Vec<(CellFault, Effect)>) -> Result<T, CellFault>) -> Reading<T> {
        let mut notes = Vec::new();
        let value = read(&mut notes);
        Reading { value, notes }
    }
}

/// Reads a row of `organizations`; `last_good` is what it said before.
pub(crate) fn organisation(row: &OrganisationRow, last_good: Option<&Facts>) -> Reading<Facts> {
    Reading::of(|notes| {
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
                let last_good = last_good.and_then(|facts| facts.limits);
                notes.push((fault, if last_good.is_some() { Effect::LastGoodKept } else { Effect::ValueIgnored }));
                last_good
            }
        };
        Ok(Facts { limits, ..facts })
    })
}

impl Reader<'_> {
    /// Reads a row of `did_numbers`.
    pub(crate) fn did(&mut self, row: &DidRow) -> Reading<(Number, DidRecord)> {
        Reading::of(|notes| {
            let key = RowKey::new(named("id", &row.id).id()?);
            let number = named("number", &row.number).number(&self.policy.numbering)?;
            let environment = named("routing_environment", &row.routing_environment).word()?;
            let status = named("status", &row.status).word()?;
            let pool_status = named("pool_status", &row.pool_status).word()?;
            let organisation = named("org_id", &row.org_id).reference()?;
            let is_default = named("is_default", &row.is_default).boolean()?;
            let call_limit = named("call_limit", &row.call_limit).integer(0, u32::MAX)?.unwrap_or(0);
            let provider = named("provider", &row.provider);
            let too_many = || provider.fault(Reason::TooMany, format!("at most {} different providers", u16::MAX));
            let alone = provider.text()?;
            let trunk = named("trunk_id", &row.trunk_id);
            let trunk_id = trunk.reference().unwrap_or_else(|fault| {
                notes.push((fault, Effect::ValueIgnored));
                None
            });
            let provider = match self.providers.place(&pair(alone, trunk_id.unwrap_or_default())) {
                Some(place) => place,
                None => {
                    let place = self.providers.place(&pair(alone, "")).ok_or_else(too_many)?;
                    let fault = trunk.fault(Reason::TooMany, format!("at most {} different trunks", u16::MAX));
                    notes.push((fault, Effect::ValueIgnored));
                    place
                }
            };
            let updated_at_s = updated_at_s(&row.updated_at, notes);
            let organisation = organisation.map_or(0, |id| self.organisations.place(id).saturating_add(1));
            let marks = Marks::new(environment, status, pool_status, is_default);
            let fields = DidFields { organisation, call_limit, provider, marks };
            Ok((number, DidRecord { key, updated_at_s, fields }))
        })
    }

    /// Reads a row of `users`.
    pub(crate) fn user(&mut self, row: &UserRow) -> Reading<UserRecord> {
        Reading::of(|notes| {
            let id = named("id", &row.id).id()?;
            let organisation = named("org_id", &row.org_id);
            let none = || organisation.fault(Reason::NoOrganisation, "the id of an organisation");
            let organisation = organisation.reference()?.ok_or_else(none)?;
            let status: UserStatus = named("status", &row.status).word()?;
            let username = named("username", &row.username).text()?.into();
            let extension = named("extension", &row.extension).text()?.into();
            let endpoint = named("asterisk_endpoint", &row.asterisk_endpoint).text()?.into();
            let outbound_did = named("outbound_did", &row.outbound_did).optional_number(&self.policy.numbering);
            let outbound_did = outbound_did.unwrap_or_else(|fault| {
                notes.push((fault, Effect::ValueIgnored));
                None
            });
            Ok(UserRecord {
                key: RowKey::new(id),
                odd_id: (!RowKey::is_uuid(id)).then(|| id.into()),
                organisation: self.organisations.place(organisation),
                username,
                extension,
                endpoint,
                outbound_did,
                is_active: status == UserStatus::Active,
                kept_last_good: false,
                updated_at_s: updated_at_s(&row.updated_at, notes),
            })
        })
    }

    /// Reads a row of `sip_trunks`.
    pub(crate) fn trunk(&mut self, row: &TrunkRow) -> Reading<TrunkRecord> {
        Reading::of(|_| {
            let id = named("id", &row.id).id()?;
            let port = named("port", &row.port);
            let port_read = port.integer(1, u32::from(u16::MAX))?.and_then(|port| u16::try_from(port).ok());
            Ok(TrunkRecord {
                key: RowKey::new(id),
                id: id.into(),
                name: named("name", &row.name).text()?.into(),
                host: named("host", &row.host).text()?.into(),
                port: port_read.ok_or_else(|| port.fault(Reason::Null, "a whole number from 1 to 65535"))?,
                transport: named("transport", &row.transport).word()?,
                status: named("status", &row.status).word()?,
                organisation: {
                    let id = named("org_id", &row.org_id).reference()?;
                    id.map(|id| self.organisations.place(id))
                },
            })
        })
    }
}

/// The time of the last change. It only orders rows of one number, so a bad one counts as the oldest.
fn updated_at_s(updated_at: &Cell, notes: &mut Vec<(CellFault, Effect)>) -> u32 {
    named("updated_at", updated_at).time_s().unwrap_or_else(|fault| {
        notes.push((fault, Effect::ValueIgnored));
        0
    })
}
