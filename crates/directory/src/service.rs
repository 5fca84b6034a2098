//! Whether a DID takes calls, and what else its row's words say.

use std::sync::Arc;

use crate::Policy;
use crate::did_table::Marks;
use crate::words::{Environment, PoolStatus, Status};

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

/// What the words and the flags of a DID's row say, and its organisation's status with them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DidWords {
    /// Where its calls land, by its row.
    pub environment: Environment,
    /// Whether it takes calls, and if not, why.
    pub service: Service,
    /// Whether it is marked as its organisation's default caller ID.
    pub is_default: bool,
    /// Whether the row turned bad and this is its last good value.
    pub kept_last_good: bool,
}

/// What every combination of words means, for one policy: whoever asks reads it instead of deciding it.
#[derive(Clone, Debug)]
pub(crate) struct Services(Arc<[DidWords; 2 * Marks::COMBINATIONS]>);

impl Services {
    pub(crate) fn new(policy: &Policy) -> Services {
        Services(Arc::new(std::array::from_fn(|place| {
            let [bits, is_barred, ..] = place.to_le_bytes();
            let marks = Marks(bits);
            let service = if marks.status() != Status::Active {
                Service::NotActive(marks.status())
            } else if !policy.pool_states.contains(marks.pool_status()) {
                Service::NotAssigned(marks.pool_status())
            } else if is_barred != 0 {
                Service::OrganisationNotActive
            } else {
                Service::InService
            };
            let (is_default, kept_last_good) = (marks.is_default(), marks.is_kept());
            DidWords { environment: marks.environment(), service, is_default, kept_last_good }
        })))
    }

    /// What these marks mean; a DID is barred when its organisation is known and not active.
    #[inline]
    pub(crate) fn of(&self, marks: Marks, is_barred: bool) -> &DidWords {
        let [.., last] = &*self.0;
        self.0.get(usize::from(marks.0) | if is_barred { Marks::COMBINATIONS } else { 0 }).unwrap_or(last)
    }
}
