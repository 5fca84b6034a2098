//! Bytes become a directory, or a fault.

use std::collections::HashMap;
use std::sync::Arc;

use sip::Number;

use super::checksum::crc64;
use super::{HEAD_BYTES, MAGIC, SnapshotFault, VERSION};
use crate::Policy;
use crate::assemble::Parts;
use crate::did_table::{DidFields, DidRecord, Marks};
use crate::directory::{Directory, Generation};
use crate::fault::{Effect, FaultText, Reason, RowFault, RowFaults, Table};
use crate::limits::{LEASES_MAX, SNAPSHOT_BYTES_MAX, TESTERS_MAX};
use crate::organisation::{Facts, Limits, Organisations};
use crate::overlays::{Folded, Lease, Overlays, Panic, Subject, Tester};
use crate::provider::Providers;
use crate::row_key::RowKey;
use crate::rows::{Column, DidRow, OrganisationRow, TrunkRow, UserRow};
use crate::trunk::TrunkRecord;
use crate::user::UserRecord;
use crate::words::{Environment, OrganisationStatus, Transport, UserStatus, Words};

/// The directory of these bytes. `policy` says in which pool states a DID takes calls; numbers stay as they were read.
pub fn decode(bytes: &[u8], policy: &Policy) -> Result<Directory, SnapshotFault> {
    let mut body = Bytes { rest: body(bytes)? };
    let generation = Generation(body.integer()?);
    let mut providers = Providers::default();
    for place in 1..=body.count()? {
        let found = providers.place(body.string()?);
        if found.map(usize::from) != Some(place) {
            return Err(malformed("provider"));
        }
    }
    let (organisations, places) = body.organisations()?;
    let (dids, odd_ids) = body.dids(&places, providers.names().len())?;
    let users = body.users(&places)?;
    let trunks = body.trunks(&places)?;
    let faults = body.faults()?;
    let overlays = Arc::new(Folded::new(body.overlays()?));
    if !body.rest.is_empty() {
        return Err(malformed("end"));
    }
    let policy = policy.clone();
    let parts = Parts { policy, organisations, providers, dids, odd_ids, users, trunks, faults, overlays };
    Ok(parts.assemble(generation))
}

/// What follows the head, if it is what was written.
fn body(bytes: &[u8]) -> Result<&[u8], SnapshotFault> {
    if bytes.len() > SNAPSHOT_BYTES_MAX {
        return Err(SnapshotFault::TooLong { found: bytes.len(), most: SNAPSHOT_BYTES_MAX });
    }
    let Some((head, body)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
        return Err(SnapshotFault::TooShort { found: bytes.len(), expected: HEAD_BYTES });
    };
    let part = |at: usize| head.get(at..).unwrap_or_default();
    if !head.starts_with(&MAGIC) {
        return Err(SnapshotFault::NotASnapshot);
    }
    let version = part(8).first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    if version != VERSION {
        return Err(SnapshotFault::Version { found: version });
    }
    let number = |at: usize| part(at).first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let expected = usize::try_from(number(12)).unwrap_or(usize::MAX).saturating_add(HEAD_BYTES);
    match bytes.len().cmp(&expected) {
        std::cmp::Ordering::Less => Err(SnapshotFault::TooShort { found: bytes.len(), expected }),
        std::cmp::Ordering::Greater => Err(SnapshotFault::TooLong { found: bytes.len(), most: expected }),
        std::cmp::Ordering::Equal if crc64(body) != number(20) => Err(SnapshotFault::Checksum),
        std::cmp::Ordering::Equal => Ok(body),
    }
}

fn malformed(what: &'static str) -> SnapshotFault {
    SnapshotFault::Malformed { what }
}

/// The bytes not yet read.
struct Bytes<'b> {
    rest: &'b [u8],
}

type DidRows = (Vec<(Number, DidRecord)>, Vec<(RowKey, Arc<str>)>);

impl<'b> Bytes<'b> {
    fn byte(&mut self) -> Result<u8, SnapshotFault> {
        let (&byte, rest) = self.rest.split_first().ok_or(malformed("length"))?;
        self.rest = rest;
        Ok(byte)
    }

    fn boolean(&mut self) -> Result<bool, SnapshotFault> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(malformed("yes or no")),
        }
    }

    fn integer(&mut self) -> Result<u64, SnapshotFault> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or_default();
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(malformed("number"))
    }

    fn small<N: TryFrom<u64>>(&mut self) -> Result<N, SnapshotFault> {
        N::try_from(self.integer()?).map_err(|_| malformed("number"))
    }

    /// How many items follow: never more than there are bytes, as each has at least one.
    fn count(&mut self) -> Result<usize, SnapshotFault> {
        let count: usize = self.small()?;
        if count > self.rest.len() { Err(malformed("count")) } else { Ok(count) }
    }

    fn string(&mut self) -> Result<&'b str, SnapshotFault> {
        let len = self.count()?;
        let (text, rest) = self.rest.split_at_checked(len).ok_or(malformed("text"))?;
        self.rest = rest;
        std::str::from_utf8(text).map_err(|_| malformed("text"))
    }

    fn key(&mut self) -> Result<RowKey, SnapshotFault> {
        let (key, rest) = self.rest.split_first_chunk().ok_or(malformed("key"))?;
        self.rest = rest;
        Ok(RowKey::from_bits(u128::from_le_bytes(*key)))
    }

    fn word<W: Words>(&mut self) -> Result<W, SnapshotFault> {
        W::from_bits(self.byte()?).ok_or(malformed("word"))
    }

    fn number(&mut self) -> Result<Number, SnapshotFault> {
        Number::from_digits(self.integer()?).ok_or(malformed("telephone number"))
    }

    /// The place of an organisation; `None` for none.
    fn place(&mut self, places: &[u32]) -> Result<Option<u32>, SnapshotFault> {
        let number: usize = self.small()?;
        let Some(at) = number.checked_sub(1) else { return Ok(None) };
        places.get(at).copied().map(Some).ok_or(malformed("organisation"))
    }

    fn organisations(&mut self) -> Result<(Organisations, Vec<u32>), SnapshotFault> {
        let count = self.count()?;
        let mut organisations = Organisations::default();
        let mut places = Vec::new();
        for expected in 0..count {
            let place = organisations.place(self.string()?);
            if usize::try_from(place) != Ok(expected) {
                return Err(malformed("organisation"));
            }
            places.push(place);
            if self.boolean()? {
                let facts = self.facts()?;
                if organisations.place_of(RowKey::new(&facts.id)) != Some(place) {
                    return Err(malformed("organisation"));
                }
                organisations.set_facts(place, Some(facts));
            }
        }
        Ok((organisations, places))
    }

    fn facts(&mut self) -> Result<Facts, SnapshotFault> {
        Ok(Facts {
            id: self.string()?.into(),
            name: self.string()?.into(),
            context_prefix: self.string()?.into(),
            status: self.word::<OrganisationStatus>()?,
            kept_last_good: self.boolean()?,
            limits: match self.boolean()? {
                false => None,
                true => {
                    let is_limited = self.boolean()?;
                    Some(Limits { concurrent_calls: if is_limited { Some(self.small()?) } else { None } })
                }
            },
        })
    }

    fn dids(&mut self, places: &[u32], providers: usize) -> Result<DidRows, SnapshotFault> {
        let count = self.count()?;
        let mut odd_ids: Vec<(RowKey, Arc<str>)> = Vec::new();
        // A text's key is made anew, as another version of this program may make another one of it.
        let mut keys: HashMap<RowKey, RowKey> = HashMap::new();
        for _ in 0..count {
            let (written, id) = (self.key()?, self.string()?);
            keys.insert(written, RowKey::new(id));
            odd_ids.push((RowKey::new(id), id.into()));
        }
        odd_ids.sort_by_key(|odd| odd.0);
        odd_ids.dedup_by_key(|odd| odd.0);
        let count = self.count()?;
        // A DID has at least 22 bytes, so this is bounded by the bytes there are, and not by a claim.
        let mut dids: Vec<(Number, DidRecord)> = Vec::with_capacity(count.min(self.rest.len() / 22 + 1));
        let mut last = 0_u64;
        for _ in 0..count {
            let distance = self.integer()?;
            let number = if distance == 0 {
                self.number()?
            } else {
                last = last.checked_add(distance).ok_or(malformed("telephone number"))?;
                Number::from_digits(last).ok_or(malformed("telephone number"))?
            };
            let record = self.did(places, providers)?;
            let key = keys.get(&record.key).copied().unwrap_or(record.key);
            dids.push((number, DidRecord { key, ..record }));
        }
        is_unique(dids.iter().map(|did| did.1.key), "DID")?;
        Ok((dids, odd_ids))
    }

    fn did(&mut self, places: &[u32], providers: usize) -> Result<DidRecord, SnapshotFault> {
        let key = self.key()?;
        let marks = Marks(self.byte()?);
        if Environment::from_bits(marks.0 & 3).is_none() {
            return Err(malformed("environment"));
        }
        let organisation = self.place(places)?.map_or(0, |place| place.saturating_add(1));
        let provider: u16 = self.small()?;
        if usize::from(provider) > providers {
            return Err(malformed("provider"));
        }
        let fields = DidFields { organisation, call_limit: self.small()?, provider, marks };
        Ok(DidRecord { key, updated_at_s: self.small()?, fields })
    }

    fn users(&mut self, places: &[u32]) -> Result<Vec<UserRecord>, SnapshotFault> {
        let count = self.count()?;
        let mut users = Vec::with_capacity(count.min(self.rest.len() / 8 + 1));
        for _ in 0..count {
            let id = self.string()?;
            let organisation = self.place(places)?.ok_or(malformed("organisation"))?;
            let (username, extension) = (self.string()?.into(), self.string()?.into());
            let endpoint = self.string()?.into();
            let outbound_did = match self.integer()? {
                0 => None,
                digits => Some(Number::from_digits(digits).ok_or(malformed("telephone number"))?),
            };
            let flags = self.byte()?;
            if flags > 3 {
                return Err(malformed("user"));
            }
            users.push(UserRecord {
                key: RowKey::new(id),
                odd_id: (!RowKey::is_uuid(id)).then(|| id.into()),
                organisation,
                username,
                extension,
                endpoint,
                outbound_did,
                is_active: flags & 1 != 0,
                kept_last_good: flags & 2 != 0,
                updated_at_s: self.small()?,
            });
        }
        is_unique(users.iter().map(|user| user.key), "user")?;
        Ok(users)
    }

    fn trunks(&mut self, places: &[u32]) -> Result<Vec<TrunkRecord>, SnapshotFault> {
        let count = self.count()?;
        let mut trunks = Vec::with_capacity(count.min(self.rest.len() / 7 + 1));
        for _ in 0..count {
            let id = self.string()?;
            trunks.push(TrunkRecord {
                key: RowKey::new(id),
                id: id.into(),
                organisation: self.place(places)?,
                name: self.string()?.into(),
                host: self.string()?.into(),
                port: self.small()?,
                transport: self.word::<Transport>()?,
                status: self.word::<UserStatus>()?,
            });
        }
        is_unique(trunks.iter().map(|trunk| trunk.key), "peering")?;
        Ok(trunks)
    }

    /// A text that is shown as it stands. What we write has been escaped.
    fn shown(&mut self) -> Result<&'b str, SnapshotFault> {
        let text = self.string()?;
        if text.chars().any(char::is_control) { Err(malformed("fault")) } else { Ok(text) }
    }

    fn faults(&mut self) -> Result<RowFaults, SnapshotFault> {
        let mut faults = RowFaults::default();
        for _ in 0..self.count()? {
            let table = *Table::ALL.get(usize::from(self.byte()?)).ok_or(malformed("fault"))?;
            let key = self.key()?;
            let column = column(table, self.string()?).ok_or(malformed("fault"))?;
            let reason = *Reason::ALL.get(usize::from(self.byte()?)).ok_or(malformed("fault"))?;
            let effect = match self.boolean()? {
                true => Some(*Effect::ALL.get(self.small::<usize>()?).ok_or(malformed("fault"))?),
                false => None,
            };
            let text = match self.boolean()? {
                true => {
                    let (id, found) = (self.shown()?.into(), self.shown()?.into());
                    Some(FaultText { id, found, expected: self.shown()?.into() })
                }
                false => None,
            };
            faults.insert(RowFault { table, key, column, reason, effect, text });
        }
        Ok(faults)
    }

    fn overlays(&mut self) -> Result<Overlays, SnapshotFault> {
        let mut overlays = Overlays::default();
        if self.boolean()? {
            let ends_at_ms = if self.boolean()? { Some(self.integer()?) } else { None };
            overlays.panic = Some(Panic { ends_at_ms });
        }
        let testers = self.count()?;
        if testers > TESTERS_MAX {
            return Err(malformed("testers"));
        }
        for _ in 0..testers {
            let caller = self.number()?;
            let subject = match self.boolean()? {
                false => Subject::Did(self.number()?),
                true => Subject::Organisation(self.string()?.to_owned()),
            };
            let (environment, ends_at_ms) = (self.word()?, self.integer()?);
            overlays.testers.push(Tester { caller, subject, environment, ends_at_ms });
        }
        let leases = self.count()?;
        if leases > LEASES_MAX {
            return Err(malformed("leases"));
        }
        for _ in 0..leases {
            let number = self.number()?;
            let (environment, ends_at_ms) = (self.word()?, self.integer()?);
            overlays.leases.push(Lease { number, environment, ends_at_ms });
        }
        Ok(overlays)
    }
}

fn is_unique(keys: impl Iterator<Item = RowKey>, what: &'static str) -> Result<(), SnapshotFault> {
    let mut keys: Vec<RowKey> = keys.collect();
    keys.sort_unstable();
    if keys.is_sorted_by(|a, b| a < b) { Ok(()) } else { Err(malformed(what)) }
}

/// The column of this name, as the program knows it.
fn column(table: Table, name: &str) -> Option<&'static str> {
    let columns: &'static [Column] = match table {
        Table::Dids => DidRow::COLUMNS,
        Table::Users => UserRow::COLUMNS,
        Table::Organisations => OrganisationRow::COLUMNS,
        Table::Trunks => TrunkRow::COLUMNS,
    };
    columns.iter().map(|column| column.name).find(|column| *column == name)
}
