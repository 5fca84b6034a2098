//! docs/reference/conformance.md and faults.md hold every row of their checklists, and each row names tests that exist.

use std::collections::BTreeSet;

use super::Finding;
use super::held_by::{Known, tests_in};
use crate::tree::Tree;

/// A page of rows.
struct Page {
    path: &'static str,
    /// The families of rows and their last number.
    families: &'static [(&'static str, u32)],
    /// Rows that the checklist does not have.
    holes: &'static [&'static str],
    /// What a row says instead of a test.
    excuse: &'static str,
}

const CONFORMANCE: Page = Page {
    path: "docs/reference/conformance.md",
    families: &[("V", 11), ("RT", 6), ("F", 10), ("P", 13), ("A", 6), ("X", 4), ("NI", 3), ("TP", 9), ("O", 8)],
    holes: &[],
    excuse: "no test:",
};

const FAULTS: Page = Page {
    path: "docs/reference/faults.md",
    families: &[("D", 12), ("W", 12), ("SX", 19), ("RC", 13), ("H", 12)],
    holes: &["H11"],
    excuse: "not yet:",
};

/// A row is a table line whose first cell is an id; its tests stand in code spans, as `fn` names or fixture paths.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    CONFORMANCE.check(tree)
}

/// The same of the faults that are survived.
pub(super) fn faults(tree: &Tree) -> Vec<Finding> {
    FAULTS.check(tree)
}

impl Page {
    fn check(&self, tree: &Tree) -> Vec<Finding> {
        let Some(page) = tree.text(self.path) else {
            return vec![Finding::new(self.path, 0, "is missing")];
        };
        let known = Known::of(tree);
        let mut found = Vec::new();
        let mut seen = BTreeSet::new();
        for (index, line) in page.lines().enumerate() {
            let Some(id) = self.row_id(line) else { continue };
            let (line_number, path) = (index + 1, self.path);
            seen.insert(id.to_owned());
            let mut tests = 0;
            for span in tests_in(line) {
                tests += 1;
                if !known.has(span) {
                    found.push(Finding::new(path, line_number, format!("row {id} names {span}, which does not exist")));
                }
            }
            if tests == 0 && !line.to_lowercase().contains(self.excuse) {
                found.push(Finding::new(
                    path,
                    line_number,
                    format!("row {id} names no test and gives no \"{}\" reason", self.excuse),
                ));
            }
        }
        for (family, last) in self.families {
            let rows = (1..=*last).map(|number| format!("{family}{number}"));
            let missing = rows.filter(|id| !seen.contains(id) && !self.holes.contains(&id.as_str()));
            found.extend(missing.map(|id| Finding::new(self.path, 0, format!("row {id} is missing"))));
        }
        found
    }

    fn row_id<'l>(&self, line: &'l str) -> Option<&'l str> {
        let id = line.strip_prefix('|')?.split('|').next()?.trim().trim_matches('*').trim_matches('`');
        let letters = id.trim_end_matches(|c: char| c.is_ascii_digit());
        let is_id = self.families.iter().any(|(family, _)| *family == letters) && letters.len() < id.len();
        is_id.then_some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tree;

    const CODE: (&str, &str) =
        ("crates/proxy/tests/x.rs", "#[test] fn v1_is_held() {} proptest! { fn v2_random(a in b) {} }");
    const CALL: (&str, &str) = ("fixtures/calls/busy.call", "");

    /// The findings about V1 and V2 on a page with these rows.
    fn found(page: &str) -> Vec<String> {
        let findings = check(&tree(&[CODE, CALL, (CONFORMANCE.path, page)]));
        let ours = |what: &String| what.contains("V1 ") || what.contains("V2 ");
        findings.into_iter().map(|finding| finding.what).filter(ours).collect()
    }

    #[test]
    fn rows_with_tests_that_exist_pass() {
        assert!(found("| V1 | M | `v1_is_held`, `busy.call` |\n| V2 | M | `tests::v2_random` |").is_empty());
        assert!(found("| V1 | M | no test: not in this release |\n| V2 | S | `fixtures/calls/busy.call` |").is_empty());
    }

    #[test]
    fn a_row_whose_test_is_gone_is_found() {
        assert_eq!(
            found("| V1 | M | `v1_is_gone` |\n| V2 | M | `v2_random` |"),
            ["row V1 names v1_is_gone, which does not exist"]
        );
        assert_eq!(found("| V1 | M | `gone.call` |\n| V2 | M | `v2_random` |").len(), 1);
    }

    #[test]
    fn a_row_without_test_or_reason_is_found() {
        assert_eq!(found("| V1 | M | held |\n| V2 | M | `v2_random` |").len(), 1);
    }

    #[test]
    fn the_page_of_faults_is_held_in_the_same_way() {
        let page = "| D1 | `v1_is_gone` |\n| D2 | not yet: the lab |\n| D3 | held |\n| H12 | `busy.call` |";
        let findings = faults(&tree(&[CODE, CALL, (FAULTS.path, page)]));
        let ours: Vec<String> = findings.into_iter().map(|finding| finding.what).collect();
        let about = |id: &str| ours.iter().filter(|what| what.contains(id)).count();
        assert_eq!(
            [about("row D1 "), about("row D2 "), about("row D3 "), about("row H11 "), about("row H12 ")],
            [1, 0, 1, 0, 0]
        );
        assert_eq!(ours.len(), 2 + 9 + 12 + 19 + 13 + 10, "{ours:?}");
    }

    #[test]
    fn a_missing_row_and_a_missing_page_are_found() {
        assert_eq!(found("| V1 | M | `v1_is_held` |"), ["row V2 is missing"]);
        assert_eq!(check(&tree(&[CODE])).len(), 1);
    }
}
