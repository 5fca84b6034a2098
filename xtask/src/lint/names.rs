//! Names that say nothing: `manager`, `handler`, `util` and their like, and functions called `get_` or `process_`.

use proc_macro2::Ident;
use syn::visit::{self, Visit};

use super::Finding;
use crate::tree::{RustFile, Tree};

const WORDS: [&str; 10] =
    ["manager", "managers", "handler", "handlers", "util", "utils", "helper", "helpers", "common", "misc"];
const PREFIXES: [&str; 2] = ["get_", "process_"];

/// Files, modules, functions, types and constants.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in &tree.rust {
        for part in file.path.split('/') {
            if let Some(word) = forbidden_word(part.trim_end_matches(".rs")) {
                found.push(Finding::new(&file.path, 0, format!("the path says \"{word}\"")));
            }
        }
        let mut names = Names { file, found: &mut found };
        names.visit_file(&file.syntax);
    }
    found
}

struct Names<'a> {
    file: &'a RustFile,
    found: &'a mut Vec<Finding>,
}

impl Names<'_> {
    fn word(&mut self, ident: &Ident) {
        let name = ident.to_string();
        if let Some(word) = forbidden_word(&name) {
            self.push(ident, format!("{name} says \"{word}\""));
        }
    }

    fn function(&mut self, ident: &Ident) {
        let name = ident.to_string();
        if let Some(prefix) = PREFIXES.iter().find(|prefix| name.starts_with(**prefix)) {
            self.push(ident, format!("fn {name} begins with \"{prefix}\""));
        }
        self.word(ident);
    }

    fn push(&mut self, ident: &Ident, what: String) {
        self.found.push(Finding::new(&self.file.path, ident.span().start().line, what));
    }
}

impl<'ast> Visit<'ast> for Names<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig.ident);
        visit::visit_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        // The names in `impl Trait for Type` are the trait's choice.
        if item.trait_.is_none() {
            visit::visit_item_impl(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig.ident);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.function(&item.sig.ident);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.word(&item.ident);
        visit::visit_item_mod(self, item);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.word(&item.ident);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.word(&item.ident);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.word(&item.ident);
        visit::visit_item_trait(self, item);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.word(&item.ident);
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.word(&item.ident);
    }
}

/// The forbidden word among the parts of a `snake_case` or `CamelCase` name.
fn forbidden_word(name: &str) -> Option<&'static str> {
    let mut parts = vec![String::new()];
    let mut after_lower = false;
    for letter in name.chars() {
        let breaks = matches!(letter, '_' | '-' | '.') || (letter.is_uppercase() && after_lower);
        after_lower = letter.is_lowercase();
        if breaks {
            parts.push(String::new());
        }
        if let Some(part) = parts.last_mut().filter(|_| letter.is_alphanumeric()) {
            part.extend(letter.to_lowercase());
        }
    }
    WORDS.into_iter().find(|word| parts.iter().any(|part| part == word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tree;

    fn count(path: &str, text: &str) -> usize {
        check(&tree(&[(path, text)])).len()
    }

    #[test]
    fn each_kind_of_name_is_found() {
        for text in [
            "fn get_peer() {}",
            "fn process_message() {}",
            "mod helpers { }",
            "struct CallManager;",
            "enum EventHandler {}",
            "trait Util {}",
            "type CommonError = u8;",
            "const MISC_LIMIT: u8 = 1;",
            "impl A { fn get_b(&self) {} }",
            "mod tests { fn request_helper() {} }",
        ] {
            assert_eq!(count("crates/a/src/lib.rs", text), 1, "{text}");
        }
        assert_eq!(count("crates/a/tests/common/mod.rs", ""), 1);
        assert_eq!(count("crates/a/src/call_handler.rs", ""), 1);
    }

    #[test]
    fn other_names_pass() {
        for text in [
            "fn handle_datagram() {}",
            "fn target_of() {}",
            "fn processed_count() {}",
            "fn utility_rate() {}",
            "impl Get for A { fn get_it(&self) {} }",
            "struct Commonwealth;",
        ] {
            assert_eq!(count("crates/a/src/lib.rs", text), 0, "{text}");
        }
    }
}
