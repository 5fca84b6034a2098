//! Several rows of one number: which of them is in effect.

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;

use sip::Number;

use crate::Policy;
use crate::did_table::{DidFields, DidRecord};
use crate::fault::shown_id;
use crate::ordered::Ordered;
use crate::row_key::RowKey;
use crate::words::Status;

/// A row of a number, with what decides between it and another of the same number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Contender {
    pub(crate) number: Number,
    pub(crate) record: DidRecord,
    is_in_use: bool,
    /// The row's id, when that is no UUID.
    odd_id: Option<Arc<str>>,
}

/// The ids of rows that are no UUIDs.
pub(crate) type OddIds = Ordered<(RowKey, Arc<str>)>;

impl Contender {
    pub(crate) fn new(number: Number, record: DidRecord, policy: &Policy, odd_ids: &OddIds) -> Contender {
        Contender { number, record, is_in_use: is_in_use(&record.fields, policy), odd_id: odd_id(odd_ids, record.key) }
    }

    /// By number; of one number the row that is active and assigned comes first, then the newest, then the lowest id.
    /// The first is in effect.
    pub(crate) fn order(&self, other: &Contender) -> Ordering {
        let rank = |row: &Contender| Reverse((row.is_in_use, row.record.updated_at_s));
        let ids = || match (&self.odd_id, &other.odd_id) {
            (None, None) => self.record.key.cmp(&other.record.key),
            _ => self.id_text().cmp(&other.id_text()).then(self.record.key.cmp(&other.record.key)),
        };
        self.number.cmp(&other.number).then_with(|| rank(self).cmp(&rank(other))).then_with(ids)
    }

    /// The row's id for a report.
    pub(crate) fn id_text(&self) -> String {
        id_text(self.odd_id.as_deref(), self.record.key)
    }
}

/// Whether a DID is active and assigned.
pub(crate) fn is_in_use(fields: &DidFields, policy: &Policy) -> bool {
    fields.marks.status() == Status::Active && policy.pool_states.contains(fields.marks.pool_status())
}

/// A row's id, when it is no UUID.
pub(crate) fn odd_id(odd_ids: &OddIds, key: RowKey) -> Option<Arc<str>> {
    odd_ids.find(|other| other.0.cmp(&key)).map(|found| Arc::clone(&found.1))
}

/// A row's id for a report.
pub(crate) fn id_text(odd_id: Option<&str>, key: RowKey) -> String {
    odd_id.map_or_else(|| key.as_uuid(), |id| shown_id(Some(id.as_bytes())))
}
