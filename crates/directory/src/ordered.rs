//! A sorted list whose pages are shared between the directories that hold it: a change copies one page and the list of
//! pages.
//!
//! The order is the caller's: every call brings a function that compares an item with what is looked for, and all calls
//! on one list have to agree.

use std::cmp::Ordering;
use std::sync::Arc;

/// The most items in a page.
const PAGE_ITEMS: usize = 256;

#[derive(Clone, Debug)]
pub(crate) struct Ordered<T> {
    /// No page is empty.
    pages: Arc<Vec<Arc<Vec<T>>>>,
    len: usize,
}

impl<T> Default for Ordered<T> {
    fn default() -> Self {
        Ordered { pages: Arc::default(), len: 0 }
    }
}

impl<T: Clone> Ordered<T> {
    /// The list of these items, which come in order.
    pub(crate) fn from_sorted(items: impl IntoIterator<Item = T>) -> Ordered<T> {
        let mut items = items.into_iter();
        let (mut pages, mut len) = (Vec::new(), 0);
        loop {
            let mut page: Vec<T> = items.by_ref().take(PAGE_ITEMS).collect();
            if page.is_empty() {
                return Ordered { pages: Arc::new(pages), len };
            }
            page.shrink_to_fit();
            len += page.len();
            pages.push(Arc::new(page));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether both are one list in memory.
    pub(crate) fn is_same(&self, other: &Ordered<T>) -> bool {
        Arc::ptr_eq(&self.pages, &other.pages)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flat_map(|page| page.iter())
    }

    /// The items that are equal to what is looked for, or greater.
    pub(crate) fn from(&self, order: impl Fn(&T) -> Ordering) -> impl Iterator<Item = &T> {
        // The page of the last item that is less has the first one that is not, or ends just before it.
        let is_less = |item: &T| order(item).is_lt();
        let at = self.pages.partition_point(|page| page.first().is_some_and(is_less)).saturating_sub(1);
        let page = self.pages.get(at).map(|page| page.as_slice()).unwrap_or_default();
        let head = page.get(page.partition_point(is_less)..).unwrap_or_default();
        head.iter().chain(self.pages.iter().skip(at + 1).flat_map(|page| page.iter()))
    }

    /// The items that are equal to what is looked for.
    pub(crate) fn equal(&self, order: impl Fn(&T) -> Ordering + Clone) -> impl Iterator<Item = &T> {
        self.from(order.clone()).take_while(move |item| order(item).is_eq())
    }

    /// The first item that is equal to what is looked for.
    pub(crate) fn find(&self, order: impl Fn(&T) -> Ordering) -> Option<&T> {
        let item = self.from(&order).next()?;
        order(item).is_eq().then_some(item)
    }

    /// Puts an item at its place: before the first that is not less. `order` compares an item of the list with it.
    pub(crate) fn insert(&mut self, item: T, order: impl Fn(&T) -> Ordering) {
        self.len += 1;
        let pages = Arc::make_mut(&mut self.pages);
        let at = pages.partition_point(|page| page.first().is_some_and(|first| order(first).is_lt())).saturating_sub(1);
        let Some(page) = pages.get_mut(at).map(Arc::make_mut) else {
            pages.push(Arc::new(vec![item]));
            return;
        };
        page.insert(page.partition_point(|other| order(other).is_lt()), item);
        if page.len() > PAGE_ITEMS {
            let upper = page.split_off(page.len() / 2);
            pages.insert(at + 1, Arc::new(upper));
        }
    }

    /// Takes away the first item that is equal to what is looked for.
    pub(crate) fn remove(&mut self, order: impl Fn(&T) -> Ordering) -> Option<T> {
        self.find(&order)?;
        let pages = Arc::make_mut(&mut self.pages);
        let is_less = |item: &T| order(item).is_lt();
        let mut at = pages.partition_point(|page| page.first().is_some_and(is_less)).saturating_sub(1);
        let mut place = pages.get(at)?.partition_point(is_less);
        if place == pages.get(at)?.len() {
            (at, place) = (at + 1, 0);
        }
        let page = Arc::make_mut(pages.get_mut(at)?);
        let item = page.remove(place);
        if page.is_empty() {
            pages.remove(at);
        }
        self.len -= 1;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever is put in and taken out, the list says what a plain sorted list says, and older copies stay.
        #[test]
        fn a_list_is_a_sorted_list(start in 0_u32..900, edits in proptest::collection::vec((any::<bool>(), 0_u32..1_000), 0..400)) {
            let mut plain: Vec<u32> = (0..start).collect();
            let mut list = Ordered::from_sorted(plain.clone());
            let before = list.clone();
            for (is_insert, value) in edits {
                let order = |item: &u32| item.cmp(&value);
                let found = plain.binary_search(&value);
                prop_assert_eq!(list.find(order).copied(), found.ok().map(|_| value));
                match (is_insert, found) {
                    (true, Ok(place) | Err(place)) => {
                        plain.insert(place, value);
                        list.insert(value, order);
                    }
                    (false, found) => {
                        prop_assert_eq!(list.remove(order), found.ok().map(|place| plain.remove(place)));
                    }
                }
                let from = plain.partition_point(|item| *item < value);
                prop_assert_eq!(list.from(order).next(), plain.get(from));
                prop_assert_eq!(list.equal(order).count(), plain.iter().filter(|item| **item == value).count());
            }
            prop_assert_eq!(list.len(), plain.len());
            prop_assert!(list.iter().copied().eq(plain));
            prop_assert!(before.iter().copied().eq(0..start));
        }
    }
}
