//! Who delivers a DID: its row's `provider` and `trunk_id`, few different pairs, each kept once.
//!
//! A pair is one text: the provider alone where the row has no trunk, else both with [`BETWEEN`] between them. So a
//! snapshot of before the second column reads as rows without it.

use std::collections::HashMap;
use std::sync::Arc;

/// Stands between a provider and a trunk's id.
const BETWEEN: char = '\u{1f}';

/// The text of a pair; a [`BETWEEN`] in the provider's own name would shift what is behind it, so it is left out.
pub(crate) fn pair(provider: &str, trunk_id: &str) -> String {
    let provider: String = provider.chars().filter(|c| *c != BETWEEN).collect();
    if trunk_id.is_empty() { provider } else { format!("{provider}{BETWEEN}{trunk_id}") }
}

/// The provider and the trunk's id of a pair; `None` for what the row does not have.
fn parts(pair: &str) -> (Option<&str>, Option<&str>) {
    let (provider, trunk_id) = pair.split_once(BETWEEN).map_or((pair, None), |(name, id)| (name, Some(id)));
    (Some(provider).filter(|provider| !provider.is_empty()), trunk_id)
}

#[derive(Clone, Default, Debug)]
pub(crate) struct Providers {
    names: Arc<Vec<Box<str>>>,
    /// The parts of the pair at each place plus one, so that no lookup has to search for where they meet.
    parts: Arc<Vec<[Option<Box<str>>; 2]>>,
    places: Arc<HashMap<Box<str>, u16>>,
}

impl Providers {
    /// A pair's place plus one; 0 for none, `None` when there are too many.
    pub(crate) fn place(&mut self, name: &str) -> Option<u16> {
        if name.is_empty() {
            return Some(0);
        }
        if let Some(&place) = self.places.get(name) {
            return Some(place);
        }
        let place = u16::try_from(self.names.len() + 1).ok()?;
        let (provider, trunk_id) = parts(name);
        let parts = Arc::make_mut(&mut self.parts);
        parts.resize(usize::from(place), [None, None]);
        parts.push([provider, trunk_id].map(|part| part.map(Box::from)));
        Arc::make_mut(&mut self.names).push(name.into());
        Arc::make_mut(&mut self.places).insert(name.into(), place);
        Some(place)
    }

    /// The pair at a place plus one.
    pub(crate) fn at(&self, place: u16) -> Option<&str> {
        self.names.get(usize::from(place.checked_sub(1)?)).map(|name| &**name)
    }

    /// The provider and the trunk's id of the pair at a place plus one; `None` for what it does not have.
    #[inline]
    pub(crate) fn parts_at(&self, place: u16) -> (Option<&str>, Option<&str>) {
        let pair = self.parts.get(usize::from(place));
        pair.map_or((None, None), |[provider, trunk_id]| (provider.as_deref(), trunk_id.as_deref()))
    }

    /// All of them, by place.
    pub(crate) fn names(&self) -> &[Box<str>] {
        &self.names
    }

    /// For every place plus one of ours, that of the same pair in `other`; `u16::MAX` when it has none.
    pub(crate) fn places_in(&self, other: &Providers) -> Vec<u16> {
        let place = |name: &str| other.places.get(name).copied().unwrap_or(u16::MAX);
        std::iter::once(0).chain(self.names.iter().map(|name| place(name))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_reads_back() {
        for (provider, trunk_id) in [("", ""), ("tata", ""), ("", "t-1"), ("tata", "t-1")] {
            let text = pair(provider, trunk_id);
            let expected = |text| Some(text).filter(|text: &&str| !text.is_empty());
            assert_eq!(parts(&text), (expected(provider), expected(trunk_id)));
            let mut providers = Providers::default();
            let places = ["first", &text].map(|text| providers.place(text).unwrap());
            assert_eq!(places.map(|place| providers.parts_at(place)), [(Some("first"), None), parts(&text)]);
        }
        assert_eq!(parts(&pair("ta\u{1f}ta", "t-1")), (Some("tata"), Some("t-1")));
    }
}
