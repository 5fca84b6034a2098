//! The guard: a table that lost too much, or in which others moved too much, is not published unseen.
//!
//! Losses and moves are counted over a window, so that many small ones count like one large one, and by distinct row,
//! so that a row that came back to where it was counts for nothing. The guard is a value without a clock: [`Guard::judge`]
//! looks, [`Guard::admit`] remembers what was published.

use std::collections::HashMap;
use std::fmt;

use sip::Number;

use crate::did_table::DidRecord;
use crate::difference::{Difference, compare_organisations};
use crate::directory::Directory;
use crate::fault::Table;
use crate::row_key::RowKey;
use crate::words::Environment;

/// How much may be lost or moved within the window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GuardPolicy {
    /// The window, in milliseconds.
    pub window_ms: u64,
    /// Rows of a table that may always be lost.
    pub lost_rows: u32,
    /// Percent of a table's rows that may be lost, where that is more.
    pub lost_percent: u32,
    /// DIDs that may always be moved between environments by others than us.
    pub moved_dids: u32,
    /// Percent of the DIDs that may be moved so, where that is more.
    pub moved_percent: u32,
}

impl Default for GuardPolicy {
    /// Ten minutes; 50 rows or 20 percent lost; 50 DIDs or 10 percent moved.
    fn default() -> Self {
        GuardPolicy { window_ms: 600_000, lost_rows: 50, lost_percent: 20, moved_dids: 50, moved_percent: 10 }
    }
}

/// An environment that we wrote ourselves within the window: a DID that stands there was not moved by others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OwnMove {
    /// The DID.
    pub number: Number,
    /// The environment that we wrote.
    pub environment: Environment,
}

/// What the guard says of a directory that is to be published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It may be published.
    Pass {
        /// What an operator should know all the same.
        warnings: Vec<Warning>,
    },
    /// It is held back: the old one stays until an operator accepts it, or the data change again.
    Hold(Hold),
}

/// Why a directory is held back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hold {
    /// Every limit that is exceeded.
    pub reasons: Vec<HoldReason>,
    /// What lies between the directory that stands and the one that is held back.
    pub difference: Difference,
}

/// A limit that is exceeded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HoldReason {
    /// A table that had rows has none.
    TableEmpty(Table),
    /// Too many rows of a table are gone.
    RowsLost {
        /// The table.
        table: Table,
        /// How many are gone within the window.
        lost: u32,
        /// How many may be.
        allowed: u32,
    },
    /// Too many DIDs were moved between environments by others than us.
    DidsMoved {
        /// How many were moved within the window.
        moved: u32,
        /// How many may be.
        allowed: u32,
    },
}

impl fmt::Display for HoldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HoldReason::TableEmpty(table) => write!(f, "{table} has become empty"),
            HoldReason::RowsLost { table, lost, allowed } => {
                write!(f, "{table} lost {lost} rows, at most {allowed} may go unseen")
            }
            HoldReason::DidsMoved { moved, allowed } => {
                write!(f, "others moved {moved} DIDs between environments, at most {allowed} may be moved unseen")
            }
        }
    }
}

/// Something that does not hold a directory back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Warning {
    /// An organisation had a default DID and has none any more.
    LostOnlyDefault {
        /// The `id` of its row.
        organisation: String,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Warning::LostOnlyDefault { organisation } = self;
        write!(f, "organisation {organisation} has lost its only default DID")
    }
}

/// What was lost and moved within the window.
///
/// It remembers at most what may be lost and moved unseen, and what one accepted directory lost and moved.
#[derive(Clone, Debug)]
pub struct Guard {
    policy: GuardPolicy,
    /// The DIDs that were removed or moved, each with the environment before the window touched it.
    dids: HashMap<Number, Touch<Environment>>,
    users: HashMap<RowKey, Touch<()>>,
    organisations: HashMap<RowKey, Touch<()>>,
}

/// A row that the window saw change.
#[derive(Clone, Copy, Debug)]
struct Touch<B> {
    /// What stood before it was first touched.
    before: B,
    /// When it was last touched.
    at_ms: u64,
}

impl Guard {
    /// A guard that has seen nothing yet.
    pub fn new(policy: GuardPolicy) -> Guard {
        Guard { policy, dids: HashMap::new(), users: HashMap::new(), organisations: HashMap::new() }
    }

    /// Whether `next` may follow `previous` at this time. A first directory always may.
    ///
    /// Looks at what differs and at what the window remembers; the same arguments always give the same answer.
    pub fn judge(&self, now_ms: u64, previous: &Directory, next: &Directory, own: &[OwnMove]) -> Verdict {
        if !previous.is_loaded() {
            return Verdict::Pass { warnings: Vec::new() };
        }
        let counts =
            |directory: &Directory| [directory.did_count(), directory.user_count(), directory.organisation_count()];
        // Rows that the window saw go were there when it began.
        let [dids, users, organisations] = counts(previous);
        let [dids_gone, users_gone, organisations_gone] = self.within(now_ms).lost(previous);
        let sizes = [dids + dids_gone, users + users_gone, organisations + organisations_gone];
        let mut seen = self.clone();
        seen.admit(now_ms, previous, next);
        let tables = [Table::Dids, Table::Users, Table::Organisations];
        let lost = seen.lost(next);
        let mut reasons = Vec::new();
        for (table, (was, is)) in tables.into_iter().zip(counts(previous).into_iter().zip(counts(next))) {
            if was > 0 && is == 0 {
                reasons.push(HoldReason::TableEmpty(table));
            }
        }
        for ((table, lost), size) in tables.into_iter().zip(lost).zip(sizes) {
            let (lost, allowed) = (bounded(lost), allowed(self.policy.lost_rows, self.policy.lost_percent, size));
            if lost > allowed {
                reasons.push(HoldReason::RowsLost { table, lost, allowed });
            }
        }
        let moved = bounded(seen.moved_by_others(next, own));
        let allowed = allowed(self.policy.moved_dids, self.policy.moved_percent, dids + dids_gone);
        if moved > allowed {
            reasons.push(HoldReason::DidsMoved { moved, allowed });
        }
        match reasons.is_empty() {
            true => Verdict::Pass { warnings: warnings(previous, next) },
            false => Verdict::Hold(Hold { reasons, difference: previous.difference(next) }),
        }
    }

    /// Remembers that `next` was published after `previous` at this time.
    pub fn admit(&mut self, now_ms: u64, previous: &Directory, next: &Directory) {
        *self = self.within(now_ms);
        if !previous.is_loaded() {
            return;
        }
        previous.compare_dids(next, |number, ours, theirs| {
            let environment = |record: DidRecord| record.fields.marks.environment();
            let (before, after) = (ours.map(environment), theirs.map(environment));
            if before == after {
                return;
            }
            if let Some(touch) = self.dids.get_mut(&number) {
                touch.at_ms = now_ms;
                if after == Some(touch.before) {
                    self.dids.remove(&number);
                }
            } else if let Some(before) = before {
                self.dids.insert(number, Touch { before, at_ms: now_ms });
            }
        });
        previous.compare_users(next, |key, was, is| note(&mut self.users, key, was, is, now_ms));
        compare_organisations(&previous.organisations, &next.organisations, |key, was, is| {
            note(&mut self.organisations, key, was, is, now_ms);
        });
    }

    /// Begins the window anew: for after an operator has accepted what was held back.
    pub fn reset(&mut self) {
        *self = Guard::new(self.policy);
    }

    /// The policy.
    pub fn policy(&self) -> &GuardPolicy {
        &self.policy
    }

    /// What of this is within the window at this time.
    fn within(&self, now_ms: u64) -> Guard {
        let window_ms = self.policy.window_ms;
        let is_within = move |at_ms: u64| now_ms.saturating_sub(at_ms) < window_ms;
        let mut within = self.clone();
        within.dids.retain(|_, touch| is_within(touch.at_ms));
        within.users.retain(|_, touch| is_within(touch.at_ms));
        within.organisations.retain(|_, touch| is_within(touch.at_ms));
        within
    }

    /// How many rows of each table went and are not in this directory.
    fn lost(&self, directory: &Directory) -> [usize; 3] {
        let dids = self.dids.keys().filter(|number| directory.dids.find(**number).is_none()).count();
        [dids, self.users.len(), self.organisations.len()]
    }

    fn moved_by_others(&self, next: &Directory, own: &[OwnMove]) -> usize {
        let own: std::collections::HashSet<(Number, Environment)> =
            own.iter().map(|own| (own.number, own.environment)).collect();
        let is_moved = |(number, touch): &(&Number, &Touch<Environment>)| {
            let environment = next.dids.find(**number).map(|did| did.marks.environment());
            environment.is_some_and(|now| now != touch.before && !own.contains(&(**number, now)))
        };
        self.dids.iter().filter(is_moved).count()
    }
}

/// Remembers a row that is gone, and forgets one that came back.
fn note(rows: &mut HashMap<RowKey, Touch<()>>, key: RowKey, was: bool, is: bool, now_ms: u64) {
    if is {
        rows.remove(&key);
    } else if was {
        rows.insert(key, Touch { before: (), at_ms: now_ms });
    }
}

fn bounded(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The greater of a number of rows and a share of a table.
fn allowed(rows: u32, percent: u32, size: usize) -> u32 {
    let share =
        bounded(size).checked_mul(percent).map_or_else(|| bounded(size / 100).saturating_mul(percent), |all| all / 100);
    rows.max(share)
}

fn warnings(previous: &Directory, next: &Directory) -> Vec<Warning> {
    if previous.organisations.is_same(&next.organisations) {
        return Vec::new();
    }
    let lost = |place: u32| {
        let before = previous.organisations.at(place).filter(|record| record.default_did.is_some())?;
        let now = next.organisations.at(next.organisations.find(before.key)?)?;
        now.default_did.is_none().then(|| Warning::LostOnlyDefault { organisation: before.id() })
    };
    previous.organisations.known().filter_map(lost).collect()
}

#[cfg(test)]
mod tests;
