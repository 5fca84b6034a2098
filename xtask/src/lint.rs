//! `cargo xtask lint`: the rules of the house that a machine can hold.
//!
//! A rule is a function from the [`Tree`] to what it found. Each has tests that show it can fail.

mod configuration;
mod conformance;
mod dashboard;
mod docs;
mod held_by;
mod ignored;
mod layers;
mod limits;
mod log_events;
mod metrics;
mod names;
mod performance;
mod places;
mod size;

use std::fmt;

use anyhow::Result;

use crate::tool;
use crate::tree::Tree;

/// One breach of one rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    /// 1 for the first line; 0 when the file as a whole is meant.
    line: usize,
    what: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Finding {
        Finding { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

struct Rule {
    name: &'static str,
    check: fn(&Tree) -> Vec<Finding>,
}

const RULES: [Rule; 21] = [
    Rule { name: "parse", check: unparsed },
    Rule { name: "function-length", check: size::functions },
    Rule { name: "file-length", check: size::files },
    Rule { name: "names", check: names::check },
    Rule { name: "layers", check: layers::check },
    Rule { name: "one-table", check: layers::one_table },
    Rule { name: "config", check: configuration::check },
    Rule { name: "limits", check: limits::check },
    Rule { name: "limits-held", check: limits::held },
    Rule { name: "metrics", check: metrics::check },
    Rule { name: "log-events", check: log_events::check },
    Rule { name: "conformance", check: conformance::check },
    Rule { name: "faults", check: conformance::faults },
    Rule { name: "ignored-tests", check: ignored::check },
    Rule { name: "dashboard", check: dashboard::check },
    Rule { name: "links", check: docs::links },
    Rule { name: "named-files", check: docs::named_files },
    Rule { name: "map", check: docs::map },
    Rule { name: "performance", check: performance::check },
    Rule { name: "machine-paths", check: places::machine_paths },
    Rule { name: "registries", check: places::registries },
];

/// Checks the checkout and prints what breaks a rule. True when nothing does.
pub(crate) fn run() -> Result<bool> {
    let tree = Tree::read(tool::root())?;
    let mut count = 0;
    for rule in &RULES {
        let mut findings = (rule.check)(&tree);
        findings.sort();
        for finding in &findings {
            println!("{finding} [{}]", rule.name);
        }
        count += findings.len();
    }
    println!("lint: {} rules, {} files, {count} findings", RULES.len(), tree.paths.len());
    Ok(count == 0)
}

fn unparsed(tree: &Tree) -> Vec<Finding> {
    let faults = tree.unparsed.iter();
    faults.map(|(path, line, fault)| Finding::new(path, *line, format!("does not parse: {fault}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tree;

    #[test]
    fn a_file_that_does_not_parse_is_found() {
        let found = unparsed(&tree(&[("crates/a/src/lib.rs", "fn a() {}\nfn (")]));
        assert_eq!(found.len(), 1);
        assert!(found[0].to_string().starts_with("crates/a/src/lib.rs:2: does not parse"), "{}", found[0]);
    }

    #[test]
    fn rule_names_are_unique() {
        let mut names: Vec<_> = RULES.iter().map(|rule| rule.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), RULES.len());
    }
}
