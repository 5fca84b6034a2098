//! Whether a DID takes calls.

use crate::Policy;
use crate::did_table::Marks;
use crate::words::{PoolStatus, Status};

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

/// What every combination of words means, for one policy: a lookup reads it instead of deciding it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Services([Service; 2 * Marks::SERVICES]);

impl Services {
    pub(crate) fn new(policy: &Policy) -> Services {
        let mut services = [Service::InService; 2 * Marks::SERVICES];
        for &status in Status::ALL {
            for &pool_status in PoolStatus::ALL {
                for is_barred in [false, true] {
                    let marks = Marks::new(crate::Environment::Prod, status, pool_status, false);
                    let service = if status != Status::Active {
                        Service::NotActive(status)
                    } else if !policy.pool_states.contains(pool_status) {
                        Service::NotAssigned(pool_status)
                    } else if is_barred {
                        Service::OrganisationNotActive
                    } else {
                        Service::InService
                    };
                    if let Some(slot) = services.get_mut(place_of(marks, is_barred)) {
                        *slot = service;
                    }
                }
            }
        }
        Services(services)
    }

    /// Whether a DID with these marks takes calls; it is barred when its organisation is known and not active.
    #[inline(always)]
    pub(crate) fn of(&self, marks: Marks, is_barred: bool) -> Service {
        self.0.get(place_of(marks, is_barred)).copied().unwrap_or(Service::InService)
    }
}

#[inline(always)]
fn place_of(marks: Marks, is_barred: bool) -> usize {
    usize::from(marks.service_bits()) | if is_barred { Marks::SERVICES } else { 0 }
}
