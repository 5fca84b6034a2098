//! Organisations, by place, by id and by context prefix.

use std::collections::HashMap;

use sip::Number;

use crate::cell::named;
use crate::fault::{CellFault, Reason};
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

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct OrganisationRecord {
    pub(crate) key: RowKey,
    /// What its row says; `None` when other rows name an organisation that has no good row.
    pub(crate) facts: Option<Facts>,
    pub(crate) default_did: Option<Number>,
    pub(crate) first_assigned_did: Option<Number>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Facts {
    pub(crate) id: Box<str>,
    pub(crate) name: Box<str>,
    pub(crate) context_prefix: Box<str>,
    pub(crate) status: OrganisationStatus,
    /// The limits, or the last good ones; `None` when they never were good.
    pub(crate) limits: Option<Limits>,
    pub(crate) kept_last_good: bool,
}

/// All organisations that any row names.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Organisations {
    records: Vec<OrganisationRecord>,
    places: HashMap<RowKey, u32>,
    /// Places of those with a context prefix, by prefix.
    by_prefix: Vec<u32>,
}

impl Organisations {
    /// The place of the organisation with this id, whether its row has been seen or not.
    pub(crate) fn place(&mut self, key: RowKey) -> u32 {
        let next = u32::try_from(self.records.len()).unwrap_or(u32::MAX);
        let place = *self.places.entry(key).or_insert(next);
        if place == next {
            self.records.push(OrganisationRecord { key, facts: None, default_did: None, first_assigned_did: None });
        }
        place
    }

    pub(crate) fn set_facts(&mut self, key: RowKey, facts: Facts) {
        let place = self.place(key);
        if let Some(record) = self.at_mut(place) {
            record.facts = Some(facts);
        }
    }

    pub(crate) fn at(&self, place: u32) -> Option<&OrganisationRecord> {
        self.records.get(usize::try_from(place).ok()?)
    }

    pub(crate) fn at_mut(&mut self, place: u32) -> Option<&mut OrganisationRecord> {
        self.records.get_mut(usize::try_from(place).ok()?)
    }

    /// What the row of the organisation at this place says.
    pub(crate) fn facts(&self, place: u32) -> Option<&Facts> {
        self.at(place)?.facts.as_ref()
    }

    /// The place of a known organisation.
    pub(crate) fn find(&self, key: RowKey) -> Option<u32> {
        self.places.get(&key).copied().filter(|&place| self.facts(place).is_some())
    }

    /// The place of the known organisation whose context prefix is this one.
    pub(crate) fn find_prefix(&self, prefix: &[u8]) -> Option<u32> {
        let found = self.by_prefix.binary_search_by(|&place| self.prefix(place).as_bytes().cmp(prefix));
        self.by_prefix.get(found.ok()?).copied()
    }

    /// The places of the known organisations.
    pub(crate) fn known(&self) -> impl Iterator<Item = u32> {
        (0..).zip(&self.records).filter(|(_, record)| record.facts.is_some()).map(|(place, _)| place)
    }

    /// Puts the organisations in order of their keys, so that the same rows in another order give the same places, and
    /// forgets those without a good row that none of `named` is the place of. Returns the new place of each old one.
    pub(crate) fn sort(&mut self, named: impl Iterator<Item = u32>) -> Vec<u32> {
        let mut is_named = vec![false; self.records.len()];
        for place in named {
            if let Some(slot) = usize::try_from(place).ok().and_then(|place| is_named.get_mut(place)) {
                *slot = true;
            }
        }
        let mut old_places: Vec<(u32, OrganisationRecord)> = (0..)
            .zip(std::mem::take(&mut self.records))
            .zip(is_named)
            .filter_map(|((old, record), is_named)| (is_named || record.facts.is_some()).then_some((old, record)))
            .collect();
        old_places.sort_by_key(|(_, record)| record.key);
        let mut moved = vec![u32::MAX; self.places.len()];
        self.places.clear();
        for ((old, record), new) in old_places.into_iter().zip(0..) {
            if let Some(slot) = usize::try_from(old).ok().and_then(|old| moved.get_mut(old)) {
                *slot = new;
            }
            self.places.insert(record.key, new);
            self.records.push(record);
        }
        moved
    }

    /// Makes the index of prefixes; a prefix that two organisations have leads to neither.
    pub(crate) fn index(&mut self) {
        let mut places: Vec<u32> = self.known().filter(|&place| !self.prefix(place).is_empty()).collect();
        places.sort_by_key(|&place| self.prefix(place));
        self.by_prefix = places
            .chunk_by(|&a, &b| self.prefix(a) == self.prefix(b))
            .filter_map(|places| match places {
                [only] => Some(*only),
                _ => None,
            })
            .collect();
    }

    fn prefix(&self, place: u32) -> &str {
        self.facts(place).map_or("", |facts| &facts.context_prefix)
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
