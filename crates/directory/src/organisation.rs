//! Organisations, by place, by id and by context prefix.

use std::sync::Arc;

use sip::Number;

use crate::cell::named;
use crate::fault::{CellFault, Reason, shown_id};
use crate::ordered::Ordered;
use crate::place_list::PlaceList;
use crate::row_key::RowKey;
use crate::rows::Cell;
use crate::words::OrganisationStatus;

/// What an organisation may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// Calls at one time; `None` for no limit.
    pub concurrent_calls: Option<u32>,
}

impl Limits {
    /// Reads a JSON object; NULL, `null` and what it does not name are no limit.
    pub(crate) fn read(cell: &Cell) -> Result<Limits, CellFault> {
        let cell = named("limits", cell);
        let Some(text) = cell.json()? else { return Ok(Limits::default()) };
        let object: Option<serde_json::Map<String, serde_json::Value>> =
            serde_json::from_str(text).map_err(|_| cell.fault(Reason::BadLimits, "a JSON object"))?;
        let concurrent_calls = match object.as_ref().and_then(|object| object.get("concurrent_calls")) {
            None | Some(serde_json::Value::Null) => None,
            Some(value) => {
                let limit = value.as_u64().and_then(|value| u32::try_from(value).ok());
                let expected = "concurrent_calls as a whole number from 0 to 4294967295";
                Some(limit.ok_or_else(|| cell.fault(Reason::BadLimits, expected))?)
            }
        };
        Ok(Limits { concurrent_calls })
    }
}

/// An organisation that a row of its own or a row of another table names.
#[derive(Clone, Debug)]
pub(crate) struct OrganisationRecord {
    pub(crate) key: RowKey,
    /// Its id, when that is no UUID.
    pub(crate) odd_id: Option<Arc<str>>,
    /// What its row says; `None` when other rows name an organisation that has no good row.
    pub(crate) facts: Option<Arc<Facts>>,
    pub(crate) default_did: Option<Number>,
    pub(crate) first_assigned_did: Option<Number>,
    /// Rows of other tables that name it, in effect or not.
    pub(crate) named: u32,
    /// The DIDs in effect that name it.
    pub(crate) dids: u32,
    /// Of these, the active and assigned ones.
    pub(crate) dids_in_use: u32,
    /// Of these, the ones marked as its default.
    pub(crate) defaults: u32,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Facts {
    pub(crate) id: Box<str>,
    pub(crate) name: Box<str>,
    pub(crate) context_prefix: Arc<str>,
    pub(crate) status: OrganisationStatus,
    /// The limits, or the last good ones; `None` when they never were good.
    pub(crate) limits: Option<Limits>,
    pub(crate) kept_last_good: bool,
}

/// What a lookup of a DID needs of its organisation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// No good row.
    Unknown,
    Active,
    NotActive,
}

/// All organisations that any row names. A place belongs to one organisation for as long as any row names it, from one
/// directory to the next.
#[derive(Clone, Default, Debug)]
pub(crate) struct Organisations {
    records: PlaceList<OrganisationRecord>,
    /// The standing at each place plus one, apart from the rest so that a lookup of a DID touches one byte. The first
    /// is that of no organisation.
    standings: Arc<Vec<Standing>>,
    places: Ordered<(RowKey, u32)>,
    /// Those with a good row and a context prefix, by prefix.
    by_prefix: Ordered<(Arc<str>, u32)>,
    free: Arc<Vec<u32>>,
    known: usize,
}

impl OrganisationRecord {
    fn new(key: RowKey, odd_id: Option<Arc<str>>) -> OrganisationRecord {
        OrganisationRecord {
            key,
            odd_id,
            facts: None,
            default_did: None,
            first_assigned_did: None,
            named: 0,
            dids: 0,
            dids_in_use: 0,
            defaults: 0,
        }
    }

    /// Its id for a report.
    pub(crate) fn id_text(&self) -> String {
        self.odd_id.as_ref().map_or_else(|| self.key.as_uuid(), |id| shown_id(Some(id.as_bytes())))
    }

    /// Its id as a row may give it.
    pub(crate) fn id(&self) -> String {
        self.odd_id.as_ref().map_or_else(|| self.key.as_uuid(), |id| (**id).to_owned())
    }
}

impl Organisations {
    /// The same places for the same organisations, and nothing known of any.
    pub(crate) fn places_only(&self) -> Organisations {
        let bare = |record: &OrganisationRecord| OrganisationRecord::new(record.key, record.odd_id.clone());
        let mut fresh =
            Organisations { places: self.places.clone(), free: Arc::clone(&self.free), ..Organisations::default() };
        fresh.records = self.records.iter().map(bare).collect();
        fresh.standings = Arc::new(vec![Standing::Unknown; self.records.len() + 1]);
        fresh
    }

    /// The place of the organisation with this id, whether its row has been seen or not.
    pub(crate) fn place(&mut self, id: &str) -> u32 {
        let key = RowKey::new(id);
        if let Some(place) = self.place_of(key) {
            return place;
        }
        let odd_id = (!RowKey::is_uuid(id)).then(|| id.into());
        let record = OrganisationRecord::new(key, odd_id);
        let place = match Arc::make_mut(&mut self.free).pop() {
            Some(place) => {
                if let Some(slot) = self.at_mut(place) {
                    *slot = record;
                }
                place
            }
            None => {
                let place = u32::try_from(self.records.len()).unwrap_or(u32::MAX);
                self.records.push(record);
                Arc::make_mut(&mut self.standings).resize(self.records.len() + 1, Standing::Unknown);
                place
            }
        };
        self.places.insert((key, place), |other| other.0.cmp(&key));
        place
    }

    /// The place of the organisation with this key, when any row names it.
    pub(crate) fn place_of(&self, key: RowKey) -> Option<u32> {
        self.places.find(|other| other.0.cmp(&key)).map(|found| found.1)
    }

    /// Sets what an organisation's row says; `None` when it has no good one.
    pub(crate) fn set_facts(&mut self, place: u32, facts: Option<Facts>) {
        let facts = facts.map(Arc::new);
        let standing = match facts.as_ref().map(|facts| facts.status) {
            None => Standing::Unknown,
            Some(OrganisationStatus::Active) => Standing::Active,
            Some(_) => Standing::NotActive,
        };
        let prefix = facts.as_ref().map(|facts| Arc::clone(&facts.context_prefix));
        self.known += usize::from(facts.is_some());
        let organisation = place.saturating_add(1);
        if self.standing(organisation) != standing
            && let Ok(organisation) = usize::try_from(organisation)
            && let Some(slot) = Arc::make_mut(&mut self.standings).get_mut(organisation)
        {
            *slot = standing;
        }
        let Some(record) = self.at_mut(place) else { return };
        if let Some(old) = std::mem::replace(&mut record.facts, facts) {
            self.known -= 1;
            self.by_prefix.remove(|other| (&*other.0, other.1).cmp(&(&old.context_prefix, place)));
        }
        if let Some(prefix) = prefix.filter(|prefix| !prefix.is_empty()) {
            let entry = (Arc::clone(&prefix), place);
            self.by_prefix.insert(entry, |other| (&*other.0, other.1).cmp(&(&prefix, place)));
        }
    }

    /// Gives the place free if no row names the organisation any more.
    pub(crate) fn release(&mut self, place: u32) {
        let Some(record) = self.at(place).filter(|record| record.named == 0 && record.facts.is_none()) else { return };
        let key = record.key;
        if self.places.remove(|other| other.0.cmp(&key)).is_some() {
            Arc::make_mut(&mut self.free).push(place);
        }
    }

    /// Gives every place free that no row names.
    pub(crate) fn release_all_unnamed(&mut self) {
        let is_unnamed = |record: &OrganisationRecord| record.named == 0 && record.facts.is_none();
        let unnamed: Vec<u32> =
            (0..).zip(self.records.iter()).filter(|(_, record)| is_unnamed(record)).map(|(place, _)| place).collect();
        for place in unnamed {
            if self.at(place).is_some_and(|record| self.place_of(record.key) == Some(place)) {
                self.release(place);
            }
        }
    }

    pub(crate) fn at(&self, place: u32) -> Option<&OrganisationRecord> {
        self.records.at(usize::try_from(place).ok()?)
    }

    pub(crate) fn at_mut(&mut self, place: u32) -> Option<&mut OrganisationRecord> {
        self.records.at_mut(usize::try_from(place).ok()?)
    }

    /// What a lookup of a DID needs of the organisation at a place; `organisation` is the place plus one, or 0 for none.
    #[inline]
    pub(crate) fn standing(&self, organisation: u32) -> Standing {
        let standing = usize::try_from(organisation).ok().and_then(|organisation| self.standings.get(organisation));
        standing.copied().unwrap_or(Standing::Unknown)
    }

    /// What the row of the organisation at this place says.
    pub(crate) fn facts(&self, place: u32) -> Option<&Facts> {
        self.at(place)?.facts.as_deref()
    }

    /// What the row of the organisation with this key says.
    pub(crate) fn facts_of(&self, key: RowKey) -> Option<&Facts> {
        self.facts(self.place_of(key)?)
    }

    /// The place of a known organisation.
    pub(crate) fn find(&self, key: RowKey) -> Option<u32> {
        self.place_of(key).filter(|&place| self.facts(place).is_some())
    }

    /// The place of the known organisation whose context prefix is this one; of two, neither.
    pub(crate) fn find_prefix(&self, prefix: &[u8]) -> Option<u32> {
        let mut found = self.by_prefix.equal(|other| other.0.as_bytes().cmp(prefix));
        let first = found.next()?.1;
        found.next().is_none().then_some(first)
    }

    /// The places of the known organisations, by key.
    pub(crate) fn known(&self) -> impl Iterator<Item = u32> {
        self.places.iter().map(|entry| entry.1).filter(|&place| self.facts(place).is_some())
    }

    /// The places of all organisations that any row names, by key.
    pub(crate) fn all(&self) -> impl Iterator<Item = u32> {
        self.places.iter().map(|entry| entry.1)
    }

    pub(crate) fn known_count(&self) -> usize {
        self.known
    }

    /// Whether both are the same in memory.
    pub(crate) fn is_same(&self, other: &Organisations) -> bool {
        self.records.is_same(&other.records)
    }

    /// Whether every place means the same organisation in both.
    pub(crate) fn has_places_of(&self, other: &Organisations) -> bool {
        self.places.is_same(&other.places) || self.places.iter().eq(other.places.iter())
    }

    /// Whether both say the same of the same organisations, whatever their places.
    pub(crate) fn says_the_same(&self, other: &Organisations) -> bool {
        let told = |organisations: &Organisations, place: u32| {
            let record = organisations.at(place)?;
            Some((record.key, record.facts.clone()?, record.default_did, record.first_assigned_did))
        };
        self.known == other.known
            && self.known().zip(other.known()).all(|(ours, theirs)| told(self, ours) == told(other, theirs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_or_refused() {
        let read = |json: &str| Limits::read(&Some(json.into())).map_err(|fault| (fault.reason, fault.expected));
        for (json, limit) in [
            (r#"{"concurrent_calls": 30, "recording": true}"#, Some(30)),
            ("{}", None),
            ("null", None),
            ("{\"a\":1}", None),
        ] {
            assert_eq!(read(json), Ok(Limits { concurrent_calls: limit }), "{json}");
        }
        assert_eq!(Limits::read(&None).map_err(|fault| fault.reason), Ok(Limits::default()));
        for json in ["", "[]", "30", "{", r#"{"concurrent_calls": -1}"#, r#"{"concurrent_calls": "30"}"#] {
            assert!(matches!(read(json), Err((Reason::BadLimits, _))), "{json}");
        }
        let deep = "[".repeat(60_000);
        assert!(matches!(read(&deep), Err((Reason::BadLimits, _))));
    }
}
