//! docs/reference/conformance.md holds every row of the checklist, and each row names tests that exist.

use std::collections::BTreeSet;

use super::Finding;
use super::held_by::{Known, tests_in};
use crate::tree::Tree;

const PAGE: &str = "docs/reference/conformance.md";

/// The families of rows and their last number.
const FAMILIES: [(&str, u32); 9] =
    [("V", 11), ("RT", 6), ("F", 10), ("P", 13), ("A", 6), ("X", 4), ("NI", 3), ("TP", 9), ("O", 8)];

/// What a row says instead of a test, followed by the reason.
const NO_TEST: &str = "no test:";

/// A row is a table line whose first cell is an id; its tests stand in code spans, as `fn` names or fixture paths.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(page) = tree.text(PAGE) else {
        return vec![Finding::new(PAGE, 0, "is missing")];
    };
    let known = Known::of(tree);
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, line) in page.lines().enumerate() {
        let Some(id) = row_id(line) else { continue };
        let (line_number, path) = (index + 1, PAGE);
        seen.insert(id.to_owned());
        let mut tests = 0;
        for span in tests_in(line) {
            tests += 1;
            if !known.has(span) {
                found.push(Finding::new(path, line_number, format!("row {id} names {span}, which does not exist")));
            }
        }
        if tests == 0 && !line.to_lowercase().contains(NO_TEST) {
            found.push(Finding::new(
                path,
                line_number,
                format!("row {id} names no test and gives no \"{NO_TEST}\" reason"),
            ));
        }
    }
    for (family, last) in FAMILIES {
        let missing = (1..=last).map(|number| format!("{family}{number}")).filter(|id| !seen.contains(id));
        found.extend(missing.map(|id| Finding::new(PAGE, 0, format!("row {id} is missing"))));
    }
    found
}

fn row_id(line: &str) -> Option<&str> {
    let id = line.strip_prefix('|')?.split('|').next()?.trim().trim_matches('*').trim_matches('`');
    let letters = id.trim_end_matches(|c: char| c.is_ascii_digit());
    let is_id = FAMILIES.iter().any(|(family, _)| *family == letters) && letters.len() < id.len();
    is_id.then_some(id)
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
        let findings = check(&tree(&[CODE, CALL, (PAGE, page)]));
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
    fn a_missing_row_and_a_missing_page_are_found() {
        assert_eq!(found("| V1 | M | `v1_is_held` |"), ["row V2 is missing"]);
        assert_eq!(check(&tree(&[CODE])).len(), 1);
    }
}
