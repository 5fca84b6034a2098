//! Who delivers a DID: few different texts, each kept once.

use std::collections::HashMap;
use std::sync::Arc;

#[derive(Clone, Default, Debug)]
pub(crate) struct Providers {
    names: Arc<Vec<Box<str>>>,
    places: Arc<HashMap<Box<str>, u16>>,
}

impl Providers {
    /// A provider's place plus one; 0 for no provider, `None` when there are too many.
    pub(crate) fn place(&mut self, name: &str) -> Option<u16> {
        if name.is_empty() {
            return Some(0);
        }
        if let Some(&place) = self.places.get(name) {
            return Some(place);
        }
        let place = u16::try_from(self.names.len() + 1).ok()?;
        Arc::make_mut(&mut self.names).push(name.into());
        Arc::make_mut(&mut self.places).insert(name.into(), place);
        Some(place)
    }

    /// The provider at a place plus one.
    pub(crate) fn at(&self, place: u16) -> Option<&str> {
        self.names.get(usize::from(place.checked_sub(1)?)).map(|name| &**name)
    }

    /// All of them, by place.
    pub(crate) fn names(&self) -> &[Box<str>] {
        &self.names
    }

    /// For every place plus one of ours, that of the same provider in `other`; `u16::MAX` when it has none.
    pub(crate) fn places_in(&self, other: &Providers) -> Vec<u16> {
        let place = |name: &str| other.places.get(name).copied().unwrap_or(u16::MAX);
        std::iter::once(0).chain(self.names.iter().map(|name| place(name))).collect()
    }
}
