//! What lies over the rows for a while: panic, tester overrides, leases.
//!
//! Overlays are folded into the directory, so that a lookup has one answer and a call sees rows and overlays of one
//! generation. The order of force is panic, tester override, lease, row. The value has no clock: whoever publishes
//! directories publishes one without the overlay when [`Overlays::next_end`] has come.

use std::fmt;
use std::sync::Arc;

use sip::Number;

use crate::did::Did;
use crate::did_table::{DidFields, Row};
use crate::directory::{Directory, Generation};
use crate::limits::{LEASES_MAX, TESTERS_MAX};
use crate::row_key::RowKey;
use crate::words::Environment;

/// All overlays of one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Overlays {
    /// Everything goes to prod.
    pub panic: Option<Panic>,
    /// Calls of testers go elsewhere.
    pub testers: Vec<Tester>,
    /// DIDs that go elsewhere until an end.
    pub leases: Vec<Lease>,
}

/// Everything goes to prod; leases and testers are suspended meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Panic {
    /// When it ends by itself, in milliseconds since 1970; `None`: when it is released.
    pub ends_at_ms: Option<u64>,
}

/// A DID's environment until an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lease {
    /// The DID.
    pub number: Number,
    /// Where its calls land.
    pub environment: Environment,
    /// When it ends, in milliseconds since 1970.
    pub ends_at_ms: u64,
}

/// The environment of one caller's calls until an end. A caller number can be forged: this is a convenience, no wall.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tester {
    /// The number that calls.
    pub caller: Number,
    /// The DIDs that it is about.
    pub subject: Subject,
    /// Where the calls land.
    pub environment: Environment,
    /// When it ends, in milliseconds since 1970.
    pub ends_at_ms: u64,
}

/// The DIDs that a tester override is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Subject {
    /// One DID.
    Did(Number),
    /// Every DID of the organisation whose row has this `id`.
    Organisation(String),
}

/// More overlays than a directory takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooManyOverlays {
    /// `leases` or `testers`.
    pub what: &'static str,
    /// How many there are.
    pub found: usize,
    /// How many there may be.
    pub most: usize,
}

impl fmt::Display for TooManyOverlays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "found {} {}, expected at most {}", self.found, self.what, self.most)
    }
}

impl std::error::Error for TooManyOverlays {}

/// Where a call to a DID goes, by all that the directory knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Routed<'d> {
    /// What the DID's row says.
    pub did: Did<'d>,
    /// Where the call lands.
    pub environment: Environment,
    /// What decided.
    pub by: RoutedBy,
}

/// What decided where a call lands, in order of force.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RoutedBy {
    /// Everything goes to prod.
    Panic,
    /// The caller is a tester of the DID, or of its organisation.
    Tester,
    /// The DID has a lease.
    Lease,
    /// The DID's row.
    Row,
}

impl RoutedBy {
    /// One word for `explain`, metrics and records.
    pub const fn name(self) -> &'static str {
        match self {
            RoutedBy::Panic => "panic",
            RoutedBy::Tester => "tester",
            RoutedBy::Lease => "lease",
            RoutedBy::Row => "row",
        }
    }
}

impl fmt::Display for RoutedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Overlays {
    /// When the first of them ends, in milliseconds since 1970.
    pub fn next_end(&self) -> Option<u64> {
        let panic = self.panic.and_then(|panic| panic.ends_at_ms);
        let testers = self.testers.iter().map(|tester| tester.ends_at_ms);
        panic.into_iter().chain(testers).chain(self.leases.iter().map(|lease| lease.ends_at_ms)).min()
    }

    /// Those that have not ended at this time: an overlay is over when its end has come.
    pub fn without_ended(&self, now_ms: u64) -> Overlays {
        Overlays {
            panic: self.panic.filter(|panic| panic.ends_at_ms.is_none_or(|end| end > now_ms)),
            testers: self.testers.iter().filter(|tester| tester.ends_at_ms > now_ms).cloned().collect(),
            leases: self.leases.iter().filter(|lease| lease.ends_at_ms > now_ms).copied().collect(),
        }
    }

    /// Whether there are as many as a directory takes.
    pub fn check(&self) -> Result<(), TooManyOverlays> {
        let counted = [("leases", self.leases.len(), LEASES_MAX), ("testers", self.testers.len(), TESTERS_MAX)];
        match counted.into_iter().find(|(_, found, most)| found > most) {
            Some((what, found, most)) => Err(TooManyOverlays { what, found, most }),
            None => Ok(()),
        }
    }
}

/// Overlays in order of what is looked for.
#[derive(Debug)]
pub(crate) struct Folded {
    pub(crate) overlays: Overlays,
    /// Whether there are none.
    is_empty: bool,
    /// By caller and subject, each subject once.
    testers: Vec<((Number, SubjectKey), Environment)>,
    /// By number, each once.
    leases: Vec<(Number, Environment)>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum SubjectKey {
    Did(Number),
    Organisation(RowKey),
}

impl Default for Folded {
    fn default() -> Self {
        Folded::new(Overlays::default())
    }
}

impl Folded {
    pub(crate) fn new(overlays: Overlays) -> Folded {
        let mut leases: Vec<&Lease> = overlays.leases.iter().collect();
        // Of several for one subject the one that ends last counts, and comes first.
        leases.sort_by_key(|lease| (lease.number, std::cmp::Reverse(lease.ends_at_ms)));
        leases.dedup_by_key(|lease| lease.number);
        let key = |tester: &Tester| {
            let subject = match &tester.subject {
                Subject::Did(number) => SubjectKey::Did(*number),
                Subject::Organisation(id) => SubjectKey::Organisation(RowKey::new(id)),
            };
            (tester.caller, subject)
        };
        let mut testers: Vec<&Tester> = overlays.testers.iter().collect();
        testers.sort_by_key(|tester| (key(tester), std::cmp::Reverse(tester.ends_at_ms)));
        testers.dedup_by_key(|tester| key(tester));
        let leases = leases.into_iter().map(|lease| (lease.number, lease.environment)).collect();
        let testers = testers.into_iter().map(|tester| (key(tester), tester.environment)).collect();
        let is_empty = overlays == Overlays::default();
        Folded { testers, leases, is_empty, overlays }
    }

    fn tester(&self, caller: Number, subject: SubjectKey) -> Option<Environment> {
        let place = self.testers.binary_search_by_key(&(caller, subject), |tester| tester.0).ok()?;
        self.testers.get(place).map(|tester| tester.1)
    }

    fn lease(&self, number: Number) -> Option<Environment> {
        let place = self.leases.binary_search_by_key(&number, |lease| lease.0).ok()?;
        self.leases.get(place).map(|lease| lease.1)
    }
}

impl Directory {
    /// The overlays that are folded in.
    pub fn overlays(&self) -> &Overlays {
        &self.overlays.overlays
    }

    /// The same rows under these overlays.
    pub fn with_overlays(&self, generation: Generation, overlays: Overlays) -> Directory {
        Directory { overlays: Arc::new(Folded::new(overlays)), ..self.renumbered(generation) }
    }

    /// Where a call from `caller` to this number goes, and by what; `None` when no row has the number. Whether the DID
    /// is in service is for the caller to look at: no overlay puts it into service.
    pub fn route(&self, number: Number, caller: Option<Number>) -> Option<Routed<'_>> {
        if !self.overlays.is_empty {
            return self.route_after_all(number, caller);
        }
        match self.dids.row_soon(number) {
            Some(row) => Some(self.routed_by_row(number, row)),
            // Nothing is about a caller; so none is kept at hand for it.
            None => self.route_after_all(number, None),
        }
    }

    #[inline(never)]
    fn route_after_all(&self, number: Number, caller: Option<Number>) -> Option<Routed<'_>> {
        let row = self.dids.row(number)?;
        let routed = self.routed_by_row(number, row);
        Some(match self.overlaid(number, caller, row.fields()) {
            Some((environment, by)) => Routed { environment, by, ..routed },
            None => routed,
        })
    }

    #[inline(always)]
    fn routed_by_row<'d>(&'d self, number: Number, row: Row<'d>) -> Routed<'d> {
        let environment = row.fields().marks.environment();
        Routed { did: self.did_of(number, row), environment, by: RoutedBy::Row }
    }

    /// Where an overlay sends a call from `caller` to this number; `None` when none is about it.
    fn overlaid(&self, number: Number, caller: Option<Number>, fields: DidFields) -> Option<(Environment, RoutedBy)> {
        let folded = &*self.overlays;
        if folded.overlays.panic.is_some() {
            return Some((Environment::Prod, RoutedBy::Panic));
        }
        let tester = |caller: Number| {
            let of_did = folded.tester(caller, SubjectKey::Did(number));
            of_did.or_else(|| folded.tester(caller, SubjectKey::Organisation(self.organisation_key(&fields)?)))
        };
        let by_tester = caller.filter(|_| !folded.testers.is_empty()).and_then(tester);
        let by_tester = by_tester.map(|environment| (environment, RoutedBy::Tester));
        by_tester.or_else(|| Some((folded.lease(number)?, RoutedBy::Lease)))
    }
}

#[cfg(test)]
mod tests;
