//! The rules of a decision, by their names. Nearly all calls of an installation have one of a few lists, and share them.

use super::record::Word;
use serde::{Deserialize, Serialize, Serializer};
use std::ops::Deref;
use std::sync::Arc;

/// So many lists are known; with one more all are forgotten.
const KNOWN: usize = 64;

/// Every rule that was tried, in order. Clones share the list.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(from = "Vec<Word>")]
pub struct Rules(Option<Arc<Vec<Word>>>);

/// The lists that calls had.
#[derive(Debug, Default)]
pub(super) struct RuleLists {
    known: Vec<Rules>,
}

impl Rules {
    /// Appends one, to a list of its own.
    pub fn push(&mut self, rule: Word) {
        Arc::make_mut(self.0.get_or_insert_default()).push(rule);
    }
}

impl Deref for Rules {
    type Target = [Word];

    fn deref(&self) -> &[Word] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }
}

impl From<Vec<Word>> for Rules {
    fn from(rules: Vec<Word>) -> Rules {
        Rules((!rules.is_empty()).then(|| Arc::new(rules)))
    }
}

impl PartialEq<Rules> for Vec<Word> {
    fn eq(&self, rules: &Rules) -> bool {
        **self == **rules
    }
}

impl Serialize for Rules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl RuleLists {
    /// The list of these rules.
    pub(super) fn of(&mut self, names: impl Iterator<Item = &'static str> + Clone) -> Rules {
        if let Some(rules) = self.known.iter().find(|rules| rules.iter().map(Word::as_str).eq(names.clone())) {
            return rules.clone();
        }
        if self.known.len() == KNOWN {
            self.known.clear();
        }
        let rules = Rules::from(names.map(Word::new_static).collect::<Vec<_>>());
        self.known.push(rules.clone());
        rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_written_and_read_as_a_list_of_its_words() {
        let none = Rules::default();
        let mut some = none.clone();
        some.push("row".into());
        some.push("target".into());
        for (rules, json) in [(&none, "[]"), (&some, r#"["row","target"]"#)] {
            assert_eq!(serde_json::to_string(rules).unwrap(), json);
            assert_eq!(&serde_json::from_str::<Rules>(json).unwrap(), rules);
        }
        assert!(none.is_empty() && vec![Word::from("row"), Word::from("target")] == some);
    }

    /// One list for all decisions that are alike, and each its own however many there are.
    #[test]
    fn decisions_that_are_alike_share_a_list() {
        let mut lists = RuleLists::default();
        for _ in 0..2 {
            for count in 0..2 * KNOWN {
                let names = || ["sender", "called"].into_iter().cycle().take(count);
                let rules = lists.of(names());
                assert!(rules.iter().map(Word::as_str).eq(names()));
                assert!(count == 0 || Arc::ptr_eq(&rules.0.unwrap(), &lists.of(names()).0.unwrap()), "{count}");
            }
        }
        assert!(lists.known.len() <= KNOWN);
    }
}
