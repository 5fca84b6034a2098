//! docs/reference/conformance.md holds every row of the checklist, and each row names tests that exist.

use std::collections::BTreeSet;

use syn::visit::{self, Visit};

use super::Finding;
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
    let functions = functions(tree);
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, line) in page.lines().enumerate() {
        let Some(id) = row_id(line) else { continue };
        let (line_number, path) = (index + 1, PAGE);
        seen.insert(id.to_owned());
        let mut tests = 0;
        for span in line.split('`').skip(1).step_by(2).filter(|span| looks_like_test(span)) {
            tests += 1;
            if !exists(tree, &functions, span) {
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

/// A call fixture's path, or a function's name of at least two words, alone or at the end of a path of modules.
fn looks_like_test(span: &str) -> bool {
    let name = span.rsplit("::").next().unwrap_or(span);
    let words = name.contains('_') && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    span.contains(".call") || span.starts_with("fixtures/") || words
}

fn exists(tree: &Tree, functions: &BTreeSet<String>, span: &str) -> bool {
    if span.contains(".call") || span.starts_with("fixtures/") {
        let file = if span.contains('/') { span.to_owned() } else { format!("fixtures/calls/{span}") };
        return tree.has(&file) || tree.has(&format!("fixtures/{span}"));
    }
    functions.contains(span.rsplit("::").next().unwrap_or(span))
}

/// The names of all functions in the checkout.
fn functions(tree: &Tree) -> BTreeSet<String> {
    let mut functions = Functions { names: BTreeSet::new() };
    for file in &tree.rust {
        functions.visit_file(&file.syntax);
    }
    functions.names
}

struct Functions {
    names: BTreeSet<String>,
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.names.insert(item.sig.ident.to_string());
        visit::visit_item_fn(self, item);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        // Tests written inside a macro, `proptest!` for one: the word after `fn`.
        let text = call.tokens.to_string();
        let mut words = text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
        while let Some(word) = words.next() {
            if word == "fn" {
                self.names.extend(words.next().map(str::to_owned));
            }
        }
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
