//! Values with their labels, for the process and for each party.

use crate::catalogue::{self, Family, OTHER};
use arc_swap::ArcSwap;
use proxy::PartyId;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// One value of one family.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sample {
    /// What is measured.
    pub family: &'static Family,
    /// The party that it is measured for, where the family goes by party.
    pub party: Option<Arc<str>>,
    /// The label's value; empty when the family has no label.
    pub label_value: &'static str,
    /// The second label's value; empty when the family has none.
    pub second_value: &'static str,
    /// The value.
    pub value: u64,
}

impl Sample {
    /// The labels, each with its name; those that the family has.
    pub fn labels(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let party = self.party.as_deref().map(|party| (catalogue::PARTY, party));
        let words = [(self.family.label, self.label_value), (self.family.second.name, self.second_value)];
        party.into_iter().chain(words.into_iter().filter(|(name, _)| !name.is_empty()))
    }
}

/// One family's values: one for each label value and one for `other`, and as many of them for each second value.
#[derive(Debug)]
pub(super) struct Cells {
    family: &'static Family,
    values: Vec<AtomicU64>,
}

impl Cells {
    pub(super) fn new(family: &'static Family) -> Cells {
        let count = (family.values.len() + 1) * (family.second.values.len() + 1);
        Cells { family, values: (0..count).map(|_| AtomicU64::new(0)).collect() }
    }

    pub(super) fn is_of(&self, family: &Family) -> bool {
        self.family.name == family.name
    }

    pub(super) fn add(&self, label_value: &str, count: u64) {
        self.add_pair(label_value, "", count);
    }

    pub(super) fn add_pair(&self, label_value: &str, second_value: &str, count: u64) {
        let second = self.family.second.values;
        let place = position(self.family.values, label_value) * (second.len() + 1) + position(second, second_value);
        if let Some(cell) = self.values.get(place) {
            cell.fetch_add(count, Ordering::Relaxed);
        }
    }

    pub(super) fn set(&self, value: u64) {
        if let Some(cell) = self.values.first() {
            cell.store(value, Ordering::Relaxed);
        }
    }

    pub(super) fn samples(&self, party: Option<&Arc<str>>) -> Vec<Sample> {
        let family = self.family;
        let pairs = words(family.label, family.values)
            .flat_map(|first| words(family.second.name, family.second.values).map(move |second| (first, second)));
        let read = pairs.zip(&self.values).filter_map(|((label_value, second_value), value)| {
            let value = value.load(Ordering::Relaxed);
            let is_other = [label_value, second_value].contains(&OTHER);
            let party = party.cloned();
            (!is_other || value > 0).then_some(Sample { family, party, label_value, second_value, value })
        });
        read.collect()
    }
}

/// A label's words, and one place for those that it does not list. A family without the label has that place alone.
fn words(name: &str, values: &'static [&'static str]) -> impl Iterator<Item = &'static str> {
    values.iter().copied().chain([if name.is_empty() { "" } else { OTHER }])
}

/// A word that the catalogue does not list has the last place.
fn position(values: &[&str], word: &str) -> usize {
    values.iter().position(|value| *value == word).unwrap_or(values.len())
}

/// What is counted for one trunk or environment.
#[derive(Debug)]
pub(super) struct PartyCells {
    name: Arc<str>,
    is_environment: bool,
    pub(super) requests: Cells,
    pub(super) responses: Cells,
    pub(super) setups: Cells,
    pub(super) refused: Cells,
    pub(super) stray_media: Cells,
}

impl PartyCells {
    pub(super) fn samples(&self, family: &Family) -> Vec<Sample> {
        let all = [&self.requests, &self.responses, &self.setups, &self.refused, &self.stray_media];
        let cells = all.into_iter().find(|cells| cells.is_of(family));
        cells.map(|cells| cells.samples(Some(&self.name))).unwrap_or_default()
    }
}

/// The parties: by their place for who counts, and every one that ever was for who reads. Names come from the
/// configuration alone, so their number is bounded by what the operator writes.
#[derive(Debug, Default)]
pub(super) struct Parties {
    by_place: ArcSwap<Vec<Arc<PartyCells>>>,
    ever: Mutex<Vec<Arc<PartyCells>>>,
}

impl Parties {
    pub(super) fn set<'n>(&self, parties: impl Iterator<Item = (&'n str, bool)>) {
        let mut ever = self.ever.lock().unwrap_or_else(PoisonError::into_inner);
        let places = parties.map(|(name, is_environment)| {
            let same = |party: &&Arc<PartyCells>| *party.name == *name && party.is_environment == is_environment;
            if let Some(known) = ever.iter().find(same) {
                return Arc::clone(known);
            }
            let fresh = Arc::new(PartyCells {
                name: name.into(),
                is_environment,
                requests: Cells::new(&catalogue::REQUESTS),
                responses: Cells::new(&catalogue::RESPONSES),
                setups: Cells::new(&catalogue::SETUPS),
                refused: Cells::new(&catalogue::REFUSED),
                stray_media: Cells::new(&catalogue::STRAY_MEDIA),
            });
            ever.push(Arc::clone(&fresh));
            fresh
        });
        self.by_place.store(Arc::new(places.collect()));
    }

    pub(super) fn with(&self, party: PartyId, count: impl FnOnce(&PartyCells)) {
        if let Some(cells) = self.by_place.load().get(usize::from(party.0)) {
            count(cells);
        }
    }

    pub(super) fn is_environment(&self, party: PartyId) -> bool {
        self.by_place.load().get(usize::from(party.0)).is_some_and(|cells| cells.is_environment)
    }

    pub(super) fn all(&self) -> Vec<Arc<PartyCells>> {
        self.ever.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Adds up the samples of several workers.
pub fn total(all: impl IntoIterator<Item = Vec<Sample>>) -> Vec<Sample> {
    let mut sum: Vec<Sample> = Vec::new();
    for sample in all.into_iter().flatten() {
        let same = |seen: &&mut Sample| Sample { value: seen.value, ..sample.clone() } == **seen;
        match sum.iter_mut().find(same) {
            Some(seen) => seen.value += sample.value,
            None => sum.push(sample),
        }
    }
    sum
}
