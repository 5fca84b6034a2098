//! The last generations: when each was published, why, and what it changed.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use directory::{DidChange, Difference, Generation, Tally};

use crate::limits::GENERATIONS_KEPT;

/// Why a generation was published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cause {
    /// It was read from the snapshot at the start.
    Snapshot,
    /// Rows have changed.
    Rows,
    /// A lease, a tester override or a panic began or ended.
    Overlays,
    /// Rows are read by other rules.
    Policy,
    /// An operator accepted what the guard had held back.
    Accepted {
        /// Why.
        reason: String,
    },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Snapshot => f.write_str("snapshot"),
            Cause::Rows => f.write_str("rows"),
            Cause::Overlays => f.write_str("overlays"),
            Cause::Policy => f.write_str("policy"),
            Cause::Accepted { reason } => write!(f, "accepted: {reason}"),
        }
    }
}

/// One generation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GenerationNote {
    /// Its number.
    pub generation: Generation,
    /// When it was published, in milliseconds since 1970.
    pub published_at_ms: u64,
    /// Why.
    pub cause: Cause,
    /// What it changed in the rows.
    pub difference: Arc<Difference>,
}

/// The last [`GENERATIONS_KEPT`] generations, oldest first.
#[derive(Default)]
pub(crate) struct Generations {
    notes: VecDeque<GenerationNote>,
}

impl Generations {
    pub(crate) fn push(&mut self, note: GenerationNote) {
        if self.notes.len() >= GENERATIONS_KEPT {
            self.notes.pop_front();
        }
        self.notes.push_back(note);
    }

    pub(crate) fn notes(&self) -> Vec<GenerationNote> {
        self.notes.iter().cloned().collect()
    }

    /// What lies between two generations, from those that are kept; `None` when one after `from` is not. DIDs that came
    /// back to what they were are left out; the counts of users and organisations are sums.
    pub(crate) fn difference(&self, from: Generation, to: Generation) -> Option<Difference> {
        let steps: Vec<&GenerationNote> =
            self.notes.iter().filter(|note| note.generation > from && note.generation <= to).collect();
        let is_whole = u64::try_from(steps.len()).ok()? == to.0.checked_sub(from.0)?;
        is_whole.then(|| sum(&steps))
    }
}

fn sum(steps: &[&GenerationNote]) -> Difference {
    let mut difference = Difference::default();
    let mut listed: BTreeMap<_, DidChange> = BTreeMap::new();
    let mut dids = Tally::default();
    let mut listed_whole = true;
    for step in steps {
        let Difference { dids: step_dids, users, organisations, listed: step_listed } = &*step.difference;
        dids = added(dids, *step_dids);
        difference.users = added(difference.users, *users);
        difference.organisations = added(difference.organisations, *organisations);
        listed_whole &= u32::try_from(step_listed.len()).ok() == Some(step_dids.total());
        for change in step_listed {
            let first = listed.entry(change.number).or_insert_with(|| change.clone());
            first.after.clone_from(&change.after);
        }
    }
    listed.retain(|_, change| change.before != change.after);
    difference.dids = if listed_whole { tally(listed.values()) } else { dids };
    difference.listed = listed.into_values().collect();
    difference
}

fn tally<'c>(changes: impl Iterator<Item = &'c DidChange>) -> Tally {
    let mut tally = Tally::default();
    for change in changes {
        let count = match (&change.before, &change.after) {
            (None, _) => &mut tally.added,
            (_, None) => &mut tally.removed,
            (Some(before), Some(after)) if before.environment != after.environment => &mut tally.moved,
            _ => &mut tally.changed,
        };
        *count = count.saturating_add(1);
    }
    tally
}

fn added(a: Tally, b: Tally) -> Tally {
    Tally {
        added: a.added.saturating_add(b.added),
        removed: a.removed.saturating_add(b.removed),
        moved: a.moved.saturating_add(b.moved),
        changed: a.changed.saturating_add(b.changed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use directory::{DidRow, Directory, Environment, Policy, Rows};

    fn directory(generation: u64, dids: &[(u64, Environment)]) -> Directory {
        let row = |&(number, environment): &(u64, Environment)| {
            DidRow::assigned(&number.to_string(), "a", &number.to_string(), environment)
        };
        let rows = Rows { dids: dids.iter().map(row).collect(), ..Rows::default() };
        directory::build(Generation(generation), rows, &Policy::default(), None)
    }

    #[test]
    fn steps_add_up_and_what_came_back_is_left_out() {
        use Environment::{Oss, Prod};
        let states = [
            vec![(918_065_978_001, Prod), (918_065_978_002, Prod)],
            vec![(918_065_978_001, Oss), (918_065_978_002, Oss)],
            vec![(918_065_978_001, Prod), (918_065_978_002, Oss), (918_065_978_003, Prod)],
        ];
        let mut generations = Generations::default();
        let mut last = directory(0, &[]);
        for (generation, state) in (1..).zip(&states) {
            let next = directory(generation, state);
            generations.push(GenerationNote {
                generation: Generation(generation),
                published_at_ms: 0,
                cause: Cause::Rows,
                difference: Arc::new(last.difference(&next)),
            });
            last = next;
        }
        let between = |from: u64, to: u64| generations.difference(Generation(from), Generation(to));
        assert_eq!(between(1, 2).unwrap().dids, Tally { moved: 2, ..Tally::default() });
        let both = between(1, 3).unwrap();
        assert_eq!(both.dids, Tally { added: 1, moved: 1, ..Tally::default() });
        assert_eq!(both.listed, directory(1, &states[0]).difference(&directory(3, &states[2])).listed);
        assert!(between(3, 3).unwrap().is_empty());
        assert_eq!((between(2, 4), between(3, 1)), (None, None));
    }

    #[test]
    fn only_the_last_are_kept() {
        let mut generations = Generations::default();
        for generation in 1..=60 {
            generations.push(GenerationNote {
                generation: Generation(generation),
                published_at_ms: 0,
                cause: Cause::Rows,
                difference: Arc::default(),
            });
        }
        let notes = generations.notes();
        assert_eq!((notes.len(), notes.first().map(|note| note.generation.0)), (GENERATIONS_KEPT, Some(11)));
    }
}
