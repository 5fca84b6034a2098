//! No function longer than 70 lines, no file longer than 500, tests apart.

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Block, Signature};

use super::Finding;
use crate::tree::Tree;

const FUNCTION_LINES: usize = 70;
const FILE_LINES: usize = 500;

/// Functions outside tests, from the line of `fn` to the closing brace.
pub(super) fn functions(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in tree.rust.iter().filter(|file| !file.is_test()) {
        let mut lengths = Lengths::default();
        lengths.visit_file(&file.syntax);
        for function in lengths.functions.iter().filter(|function| function.lines > FUNCTION_LINES) {
            let Function { name, line, lines } = function;
            found.push(Finding::new(
                &file.path,
                *line,
                format!("fn {name} has {lines} lines, at most {FUNCTION_LINES}"),
            ));
        }
    }
    found
}

/// Files outside tests, without the lines of their `#[cfg(test)]` items.
pub(super) fn files(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in tree.rust.iter().filter(|file| !file.is_test()) {
        let mut lengths = Lengths::default();
        lengths.visit_file(&file.syntax);
        let lines = file.line_count - lengths.test_lines;
        if lines > FILE_LINES {
            found.push(Finding::new(&file.path, 0, format!("has {lines} lines outside tests, at most {FILE_LINES}")));
        }
    }
    found
}

struct Function {
    name: String,
    line: usize,
    lines: usize,
}

#[derive(Default)]
struct Lengths {
    functions: Vec<Function>,
    test_lines: usize,
}

impl Lengths {
    fn measure(&mut self, signature: &Signature, block: &Block) {
        let line = signature.span().start().line;
        let lines = block.brace_token.span.close().end().line + 1 - line;
        self.functions.push(Function { name: signature.ident.to_string(), line, lines });
    }
}

impl<'ast> Visit<'ast> for Lengths {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if is_test(attributes(item)) {
            self.test_lines += lines(item.span());
        } else {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.measure(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if is_test(&item.attrs) {
            self.test_lines += lines(item.span());
            return;
        }
        self.measure(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.measure(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

fn lines(span: Span) -> usize {
    span.end().line + 1 - span.start().line
}

/// True for `#[test]` and for `#[cfg(test)]`, `#[cfg(all(test, ..))]`.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        if path.is_ident("cfg") {
            let condition = attribute.meta.require_list().map(|list| list.tokens.to_string()).unwrap_or_default();
            return condition == "test" || condition.starts_with("all (test") || condition.starts_with("all(test");
        }
        path.segments.last().is_some_and(|segment| segment.ident == "test")
    })
}

fn attributes(item: &syn::Item) -> &[Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tree;

    /// A function of exactly `lines` lines, or an `impl` around it.
    fn function(lines: usize) -> String {
        format!("/// Docs do not count.\nfn long() {{\n{}}}\n", "    step();\n".repeat(lines - 2))
    }

    fn found_in(path: &str, text: &str) -> (usize, usize) {
        let tree = tree(&[(path, text)]);
        (functions(&tree).len(), files(&tree).len())
    }

    #[test]
    fn a_function_of_71_lines_is_found_and_of_70_is_not() {
        assert_eq!(found_in("crates/a/src/x.rs", &function(70)), (0, 0));
        assert_eq!(found_in("crates/a/src/x.rs", &function(71)), (1, 0));
    }

    #[test]
    fn methods_and_default_methods_count() {
        let text = format!("impl A {{\n{}}}\ntrait B {{\n{}}}\n", function(71), function(71));
        assert_eq!(found_in("crates/a/src/x.rs", &text), (2, 0));
    }

    #[test]
    fn tests_are_apart() {
        assert_eq!(found_in("crates/a/tests/x.rs", &function(600)), (0, 0));
        assert_eq!(found_in("crates/a/src/x/tests.rs", &function(600)), (0, 0));
        let inline = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", function(600));
        assert_eq!(found_in("crates/a/src/x.rs", &inline), (0, 0));
    }

    #[test]
    fn a_file_of_501_lines_is_found_and_of_500_is_not() {
        assert_eq!(found_in("crates/a/src/x.rs", &"const A: u8 = 1;\n".repeat(500)), (0, 0));
        assert_eq!(found_in("crates/a/src/x.rs", &"const A: u8 = 1;\n".repeat(501)), (0, 1));
    }

    #[test]
    fn cfg_other_than_test_counts() {
        let text = format!("#[cfg(unix)]\n{}", function(71));
        assert_eq!(found_in("crates/a/src/x.rs", &text), (1, 0));
    }
}
