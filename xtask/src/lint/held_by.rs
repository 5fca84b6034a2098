//! The tests that pages name: that each exists.

use std::collections::BTreeSet;

use syn::visit::{self, Visit};

use crate::tree::Tree;

/// The code spans of a text that name a test: a file, or a function's name of at least two words, alone or at the end
/// of a path of modules.
pub(super) fn tests_in(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2).filter(|span| {
        let name = span.rsplit("::").next().unwrap_or(span);
        let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        is_file(span) || (name.contains('_') && name.chars().all(lower))
    })
}

/// The tests that exist.
pub(super) struct Known<'a> {
    tree: &'a Tree,
    functions: Functions,
}

impl<'a> Known<'a> {
    /// Everything that a page of this checkout may name.
    pub(super) fn of(tree: &'a Tree) -> Known<'a> {
        let mut functions = Functions { names: BTreeSet::new() };
        for file in &tree.rust {
            functions.visit_file(&file.syntax);
        }
        Known { tree, functions }
    }

    /// True when what a span of [`tests_in`] names is there.
    pub(super) fn has(&self, span: &str) -> bool {
        if is_file(span) {
            let places = [span.to_owned(), format!("fixtures/{span}"), format!("fixtures/calls/{span}")];
            return places.iter().any(|place| self.tree.has(place));
        }
        self.functions.names.contains(span.rsplit("::").next().unwrap_or(span))
    }
}

fn is_file(span: &str) -> bool {
    span.ends_with(".call") || span.starts_with("fixtures/") || span.ends_with(".rs")
}

/// The names of functions.
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
