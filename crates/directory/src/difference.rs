//! What lies between two directories.

use std::fmt;

use sip::Number;

use crate::did_table::DidRecord;
use crate::directory::Directory;
use crate::limits::CHANGES_LISTED_MAX;
use crate::organisation::Organisations;
use crate::row_key::RowKey;
use crate::words::{Environment, PoolStatus, Status};

/// What lies between the rows of an older directory and those of a newer one: all counted, the first DIDs listed.
///
/// What a row of one table means to another is not counted: an organisation that was suspended is one change, whatever
/// the number of its DIDs. Overlays are not counted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Difference {
    /// DIDs, by number.
    pub dids: Tally,
    /// Users, by the `id` of their rows.
    pub users: Tally,
    /// Organisations, by the `id` of their rows.
    pub organisations: Tally,
    /// The changed DIDs by number, at most [`CHANGES_LISTED_MAX`].
    pub listed: Vec<DidChange>,
}

/// How many rows of a table came, went and changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// In the newer only.
    pub added: u32,
    /// In the older only.
    pub removed: u32,
    /// With another environment; only of DIDs.
    pub moved: u32,
    /// Otherwise changed.
    pub changed: u32,
}

/// A DID before and after.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DidChange {
    /// The number.
    pub number: Number,
    /// What was said of it; `None` when it was not there.
    pub before: Option<DidFacts>,
    /// What is said of it now; `None` when it is gone.
    pub after: Option<DidFacts>,
}

/// What a DID's row says, in terms that mean the same in every directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DidFacts {
    /// Where its row says that its calls land.
    pub environment: Environment,
    /// The carrier's side of it.
    pub status: Status,
    /// Whether it has been handed out.
    pub pool_status: PoolStatus,
    /// The `id` of the organisation that its row names.
    pub organisation: Option<String>,
    /// Whether it is marked as its organisation's default.
    pub is_default: bool,
    /// Calls at one time; 0 for no limit.
    pub call_limit: u32,
    /// Whether the row turned bad and this is its last good value.
    pub kept_last_good: bool,
    /// Who delivers it.
    pub provider: Option<String>,
    /// The trunk that it comes by, as the database calls it.
    pub trunk_id: Option<String>,
}

impl Tally {
    /// How many rows are not the same.
    pub fn total(&self) -> u32 {
        [self.added, self.removed, self.moved, self.changed].into_iter().fold(0, u32::saturating_add)
    }
}

impl Difference {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        [self.dids, self.users, self.organisations].iter().all(|tally| tally.total() == 0)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted =
            [(self.added, "added"), (self.removed, "removed"), (self.moved, "moved"), (self.changed, "changed")];
        let mut separator = "";
        for (count, what) in counted.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, "{separator}{count} {what}")?;
            separator = ", ";
        }
        Ok(())
    }
}

impl fmt::Display for Difference {
    /// One line, for example `DIDs: 3 added, 2 moved; users: 1 removed`, or `no difference`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("no difference");
        }
        let tables = [("DIDs", self.dids), ("users", self.users), ("organisations", self.organisations)];
        let mut separator = "";
        for (table, tally) in tables.into_iter().filter(|(_, tally)| tally.total() > 0) {
            write!(f, "{separator}{table}: {tally}")?;
            separator = "; ";
        }
        Ok(())
    }
}

impl Directory {
    /// What lies between this directory and a newer one. What both share is not looked at.
    pub fn difference(&self, next: &Directory) -> Difference {
        let mut difference = Difference::default();
        self.compare_dids(next, |number, ours, theirs| {
            let tally = &mut difference.dids;
            let environment = |record: DidRecord| record.fields.marks.environment();
            let count = match (ours, theirs) {
                (None, _) => &mut tally.added,
                (_, None) => &mut tally.removed,
                (Some(ours), Some(theirs)) if environment(ours) != environment(theirs) => &mut tally.moved,
                _ => &mut tally.changed,
            };
            *count = count.saturating_add(1);
            if difference.listed.len() < CHANGES_LISTED_MAX {
                let before = ours.map(|ours| self.facts_of(ours));
                let after = theirs.map(|theirs| next.facts_of(theirs));
                difference.listed.push(DidChange { number, before, after });
            }
        });
        self.compare_users(next, |_, ours, theirs| difference.users.count(ours, theirs));
        compare_organisations(&self.organisations, &next.organisations, |_, ours, theirs| {
            difference.organisations.count(ours, theirs);
        });
        difference
    }

    /// Calls `visit` for every number of which the directories do not say the same.
    pub(crate) fn compare_dids(
        &self,
        next: &Directory,
        mut visit: impl FnMut(Number, Option<DidRecord>, Option<DidRecord>),
    ) {
        let is_same = self.same_fields(next);
        self.dids.compare(&next.dids, |number, ours, theirs| {
            // The row's id and the time of its last change do not count.
            let same = ours.zip(theirs).is_some_and(|(ours, theirs)| is_same(&ours.fields, &theirs.fields));
            if !same {
                visit(number, ours, theirs);
            }
        });
    }

    /// Calls `visit` for every user of whom the directories do not say the same, with whether each has it in effect.
    pub(crate) fn compare_users(&self, next: &Directory, mut visit: impl FnMut(RowKey, bool, bool)) {
        if self.users.is_same(&next.users) && self.organisations.is_same(&next.organisations) {
            return;
        }
        let organisation = |directory: &Directory, place: u32| {
            let record = directory.organisations.at(place).filter(|record| record.facts.is_some());
            record.map(|record| record.key)
        };
        let in_effect = |directory: &Directory, place: u32| organisation(directory, place).is_some();
        let (mut ours, mut theirs) = (self.users.rows().peekable(), next.users.rows().peekable());
        loop {
            let (a, b) = (ours.peek().map(|user| user.key), theirs.peek().map(|user| user.key));
            let Some(key) = a.into_iter().chain(b).min() else { return };
            let a = ours.next_if(|user| user.key == key);
            let b = theirs.next_if(|user| user.key == key);
            let was = a.is_some_and(|user| in_effect(self, user.organisation));
            let is = b.is_some_and(|user| in_effect(next, user.organisation));
            let is_same = match (a, b) {
                (Some(a), Some(b)) if was && is => {
                    a.says_the_same(b) && organisation(self, a.organisation) == organisation(next, b.organisation)
                }
                _ => was == is,
            };
            if !is_same {
                visit(key, was, is);
            }
        }
    }

    fn facts_of(&self, record: DidRecord) -> DidFacts {
        let fields = record.fields;
        let (provider, trunk_id) = self.providers.parts_at(fields.provider);
        DidFacts {
            environment: fields.marks.environment(),
            status: fields.marks.status(),
            pool_status: fields.marks.pool_status(),
            organisation: fields.place().and_then(|place| Some(self.organisations.at(place)?.id())),
            is_default: fields.marks.is_default(),
            call_limit: fields.call_limit,
            kept_last_good: fields.marks.is_kept(),
            provider: provider.map(str::to_owned),
            trunk_id: trunk_id.map(str::to_owned),
        }
    }
}

/// Calls `visit` for every organisation whose row does not say the same in both, with whether each has a good one.
pub(crate) fn compare_organisations(
    ours: &Organisations,
    theirs: &Organisations,
    mut visit: impl FnMut(RowKey, bool, bool),
) {
    if ours.is_same(theirs) {
        return;
    }
    let known = |organisations: &Organisations, place: u32| {
        let record = organisations.at(place)?;
        Some((record.key, record.facts.clone()?))
    };
    let mut left = ours.known().filter_map(|place| known(ours, place)).peekable();
    let mut right = theirs.known().filter_map(|place| known(theirs, place)).peekable();
    loop {
        let (a, b) = (left.peek().map(|entry| entry.0), right.peek().map(|entry| entry.0));
        let Some(key) = a.into_iter().chain(b).min() else { return };
        let a = left.next_if(|entry| entry.0 == key);
        let b = right.next_if(|entry| entry.0 == key);
        if a != b {
            visit(key, a.is_some(), b.is_some());
        }
    }
}

impl Tally {
    fn count(&mut self, was: bool, is: bool) {
        let count = match (was, is) {
            (false, _) => &mut self.added,
            (_, false) => &mut self.removed,
            _ => &mut self.changed,
        };
        *count = count.saturating_add(1);
    }
}

#[cfg(test)]
mod tests;
