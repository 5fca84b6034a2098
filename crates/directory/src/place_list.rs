//! A list by place whose parts are shared between the directories that hold it: a change copies one part.

use std::sync::Arc;

/// Items in a part.
const PART_ITEMS: usize = 256;

#[derive(Clone, Debug)]
pub(crate) struct PlaceList<T> {
    /// All parts are full but the last.
    parts: Arc<Vec<Arc<Vec<T>>>>,
}

impl<T> Default for PlaceList<T> {
    fn default() -> Self {
        PlaceList { parts: Arc::default() }
    }
}

impl<T: Clone> PlaceList<T> {
    pub(crate) fn len(&self) -> usize {
        self.parts.last().map_or(0, |last| (self.parts.len() - 1) * PART_ITEMS + last.len())
    }

    /// Whether both are one list in memory.
    pub(crate) fn is_same(&self, other: &PlaceList<T>) -> bool {
        Arc::ptr_eq(&self.parts, &other.parts)
    }

    pub(crate) fn at(&self, place: usize) -> Option<&T> {
        self.parts.get(place / PART_ITEMS)?.get(place % PART_ITEMS)
    }

    pub(crate) fn at_mut(&mut self, place: usize) -> Option<&mut T> {
        self.at(place)?;
        let part = Arc::make_mut(&mut self.parts).get_mut(place / PART_ITEMS)?;
        Arc::make_mut(part).get_mut(place % PART_ITEMS)
    }

    pub(crate) fn push(&mut self, item: T) {
        let parts = Arc::make_mut(&mut self.parts);
        match parts.last_mut() {
            Some(last) if last.len() < PART_ITEMS => Arc::make_mut(last).push(item),
            _ => parts.push(Arc::new(vec![item])),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.parts.iter().flat_map(|part| part.iter())
    }
}

impl<T: Clone> FromIterator<T> for PlaceList<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut list = PlaceList::default();
        for item in items {
            list.push(item);
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_leaves_older_copies_as_they_were() {
        let mut list: PlaceList<usize> = (0..1_000).collect();
        let before = list.clone();
        *list.at_mut(700).unwrap() = 7;
        list.push(1_000);
        assert_eq!((list.len(), before.len()), (1_001, 1_000));
        assert_eq!((list.at(700), before.at(700)), (Some(&7), Some(&700)));
        assert_eq!((list.at(1_000), before.at(1_000)), (Some(&1_000), None));
        assert_eq!(list.at_mut(1_001), None);
        assert!(before.iter().copied().eq(0..1_000));
    }
}
