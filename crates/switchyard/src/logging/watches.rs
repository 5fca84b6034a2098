//! Whose calls are told in detail for a while, whatever the level.

use arc_swap::{ArcSwap, Guard};
use sip::Number;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Watches at one time.
pub const WATCHES: usize = 16;

/// Whose calls, and until when.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Watch {
    /// Calls to or as this DID.
    pub number: Option<Number>,
    /// Calls of the organisation with this id.
    pub organisation: Option<String>,
    /// When it ends by itself.
    pub ends: Instant,
}

impl Watch {
    /// Whether a call of this DID and this organisation is one of them.
    pub fn sees(&self, now: Instant, number: Option<Number>, organisation: &[u8]) -> bool {
        let is_number = self.number.is_some() && self.number == number;
        let is_organisation = self.organisation.as_ref().is_some_and(|id| id.as_bytes() == organisation);
        now < self.ends && (is_number || is_organisation)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Watches {
    is_any: AtomicBool,
    list: ArcSwap<Vec<Watch>>,
}

impl Watches {
    /// Those in effect; `None`, for one load, when there is none.
    pub fn any(&self) -> Option<Guard<Arc<Vec<Watch>>>> {
        self.is_any.load(Ordering::Relaxed).then(|| self.list.load())
    }

    /// One more; one of the same calls takes its place. False when there are too many.
    pub fn add(&self, watch: Watch) -> bool {
        let now = Instant::now();
        let same = |known: &Watch| known.number == watch.number && known.organisation == watch.organisation;
        let mut list: Vec<Watch> =
            self.list.load().iter().filter(|known| known.ends > now && !same(known)).cloned().collect();
        if list.len() >= WATCHES {
            return false;
        }
        list.push(watch);
        self.set(list);
        true
    }

    /// Ends all of them.
    pub fn end(&self) {
        self.set(Vec::new());
    }

    fn set(&self, list: Vec<Watch>) {
        self.is_any.store(!list.is_empty(), Ordering::Relaxed);
        self.list.store(Arc::new(list));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn watch(organisation: &str) -> Watch {
        Watch {
            number: None,
            organisation: Some(organisation.to_owned()),
            ends: Instant::now() + Duration::from_secs(60),
        }
    }

    /// Limit WATCHES.
    #[test]
    fn so_many_calls_are_watched_until_their_end() {
        let watches = Watches::default();
        assert!(watches.any().is_none());
        for at in 0..WATCHES {
            assert!(watches.add(watch(&format!("org-{at}"))));
        }
        assert!(!watches.add(watch("one too many")));
        assert!(watches.add(watch("org-3")), "the same again takes its own place");
        let now = Instant::now();
        let list = watches.any().unwrap();
        assert!(list.iter().any(|watch| watch.sees(now, None, b"org-3")));
        assert!(!list.iter().any(|watch| watch.sees(now, None, b"org-99")));
        assert!(!list.iter().any(|watch| watch.sees(now + Duration::from_secs(61), None, b"org-3")));
        assert!(!watch("").sees(now, None, b"org-1"));
        watches.end();
        assert!(watches.any().is_none());
    }
}
