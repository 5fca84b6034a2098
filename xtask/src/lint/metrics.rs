//! Every metric that telemetry names is in docs/reference/metrics.md.

use syn::visit::Visit;

use super::Finding;
use crate::tree::Tree;

const PAGE: &str = "docs/reference/metrics.md";
const PREFIX: &str = "switchyard_";

/// The metrics are the string literals of crates/telemetry that begin with `switchyard_`.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let page = tree.text(PAGE).unwrap_or_default();
    let mut found = Vec::new();
    for file in tree.rust.iter().filter(|file| file.path.starts_with("crates/telemetry/src/") && !file.is_test()) {
        let mut metrics = Metrics { names: Vec::new() };
        metrics.visit_file(&file.syntax);
        for (line, name) in metrics.names {
            if !page.contains(&format!("`{name}`")) {
                found.push(Finding::new(&file.path, line, format!("metric {name} is not in {PAGE}")));
            }
        }
    }
    found
}

struct Metrics {
    names: Vec<(usize, String)>,
}

impl<'ast> Visit<'ast> for Metrics {
    fn visit_lit_str(&mut self, literal: &'ast syn::LitStr) {
        let value = literal.value();
        let is_name = |rest: &str| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        if value.strip_prefix(PREFIX).is_some_and(is_name) {
            self.names.push((literal.span().start().line, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tree;

    #[test]
    fn a_metric_without_a_row_is_found() {
        let code = ("crates/telemetry/src/metrics.rs", "const A: &str = \"switchyard_calls_total\";");
        assert_eq!(check(&tree(&[code])).len(), 1);
        assert_eq!(check(&tree(&[code, (PAGE, "| `switchyard_calls` |")])).len(), 1);
        assert_eq!(check(&tree(&[code, (PAGE, "| `switchyard_calls_total` |")])).len(), 0);
    }
}
