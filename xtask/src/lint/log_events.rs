//! What the worker logs of calls is in docs/reference/log-events.md.

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::Visit;

use super::Finding;
use crate::tree::Tree;

const PAGE: &str = "docs/reference/log-events.md";
const WORKER: &str = "crates/switchyard/src/worker";
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// The messages are the last string literals of `tracing`'s macros; a message with arguments counts up to the first.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let page = tree.text(PAGE).unwrap_or_default();
    let mut found = Vec::new();
    for file in tree.rust.iter().filter(|file| file.path.starts_with(WORKER) && !file.is_test()) {
        let mut messages = Messages { found: Vec::new() };
        messages.visit_file(&file.syntax);
        for (line, message) in messages.found {
            let fixed = message.split('{').next().unwrap_or_default().trim();
            if !page.contains(&format!("`{fixed}`")) && !fixed.is_empty() {
                found.push(Finding::new(&file.path, line, format!("the message {fixed:?} is not in {PAGE}")));
            }
        }
    }
    found
}

struct Messages {
    found: Vec<(usize, String)>,
}

impl<'ast> Visit<'ast> for Messages {
    fn visit_macro(&mut self, found: &'ast syn::Macro) {
        let names: Vec<String> = found.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let is_log = matches!(names.as_slice(), [root, level] if root == "tracing" && LEVELS.contains(&level.as_str()));
        if is_log {
            self.found.extend(last_literal(found.tokens.clone()));
        }
    }
}

fn last_literal(tokens: TokenStream) -> Option<(usize, String)> {
    let literals = tokens.into_iter().filter_map(|token| match token {
        TokenTree::Literal(literal) => Some((literal.span().start().line, literal.to_string())),
        _ => None,
    });
    let texts =
        literals.filter_map(|(line, written)| Some((line, syn::parse_str::<syn::LitStr>(&written).ok()?.value())));
    texts.last()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tree;

    #[test]
    fn a_message_without_a_row_is_found() {
        let code = (
            "crates/switchyard/src/worker/log.rs",
            "fn a() { tracing::warn!(target: \"x\", status, word = \"y\", \"served: {}\", 1); tracing::info!(\"{}\", 2); }",
        );
        assert_eq!(check(&tree(&[code])).len(), 1);
        assert_eq!(check(&tree(&[code, (PAGE, "| `y` |")])).len(), 1);
        assert_eq!(check(&tree(&[code, (PAGE, "| WARN | `served:` |")])), []);
        let elsewhere = ("crates/sync/src/lib.rs", code.1);
        assert_eq!(check(&tree(&[elsewhere])), []);
    }
}
