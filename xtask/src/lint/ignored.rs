//! A test runs, or says that it belongs to the full set: `#[ignore = "full set: why"]`. Nothing else switches one off.

use syn::visit::{self, Visit};
use syn::{Expr, ExprLit, Lit, Meta};

use super::Finding;
use crate::tree::Tree;

/// `#[ignore]` without the full set's reason.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in &tree.rust {
        let mut ignored = Ignored { lines: Vec::new() };
        ignored.visit_file(&file.syntax);
        for (line, name) in ignored.lines {
            let what = format!("test {name} is switched off: it needs #[ignore = \"full set: why\"]");
            found.push(Finding::new(&file.path, line, what));
        }
    }
    found
}

struct Ignored {
    lines: Vec<(usize, String)>,
}

impl<'ast> Visit<'ast> for Ignored {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        for attribute in item.attrs.iter().filter(|attribute| attribute.path().is_ident("ignore")) {
            if !names_full_set(&attribute.meta) {
                self.lines.push((item.sig.ident.span().start().line, item.sig.ident.to_string()));
            }
        }
        visit::visit_item_fn(self, item);
    }
}

fn names_full_set(meta: &Meta) -> bool {
    match meta {
        Meta::NameValue(pair) => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(reason), .. }) => reason.value().starts_with("full set: "),
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tree;

    #[test]
    fn only_the_full_set_may_be_left_out() {
        let count = |text: &str| check(&tree(&[("crates/a/tests/x.rs", text)])).len();
        assert_eq!(count("#[test] #[ignore] fn a() {}"), 1);
        assert_eq!(count("mod m { #[test] #[ignore = \"flaky\"] fn a() {} }"), 1);
        assert_eq!(count("#[test] #[ignore = \"full set: takes ten minutes\"] fn a() {}"), 0);
        assert_eq!(count("#[test] fn a() {}"), 0);
    }
}
