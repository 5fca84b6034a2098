//! Every key of the configuration is in docs/reference/config.md and in a fixture under fixtures/configs/valid.
//!
//! The keys are read from the settings themselves: the structs under crates/switchyard/src/config that serde fills.

use std::collections::BTreeMap;
use std::fmt;

use syn::{Fields, GenericArgument, Item, ItemStruct, PathArguments, Type};
use toml::Value;

use super::Finding;
use crate::tree::Tree;

const PAGE: &str = "docs/reference/config.md";
const VALID: &str = "fixtures/configs/valid/";
const SETTINGS: &str = "crates/switchyard/src/config/";
const ROOT: &str = "Settings";

/// Compares keys, page and fixtures. Without settings there is nothing to hold them to.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let structs = structs(tree);
    if structs.is_empty() {
        return Vec::new();
    }
    let Some(root) = structs.get(ROOT) else {
        return vec![Finding::new(SETTINGS, 0, format!("no struct {ROOT} with derive(Deserialize)"))];
    };
    let mut keys = Vec::new();
    collect(&structs, root, &[], &mut keys);
    let page = documented(tree.text(PAGE).unwrap_or_default());
    let fixtures: Vec<Value> = fixtures(tree);
    let mut found = Vec::new();
    for key in &keys {
        if !page.iter().any(|written| key.is(written)) {
            found.push(Finding::new(PAGE, 0, format!("key {key} is not described")));
        }
        if !fixtures.iter().any(|fixture| holds(fixture, &key.0)) {
            found.push(Finding::new(VALID, 0, format!("no file sets key {key}")));
        }
    }
    for (line, row) in rows(tree.text(PAGE).unwrap_or_default()) {
        if !keys.iter().any(|key| key.is(&row)) {
            found.push(Finding::new(PAGE, line, format!("describes {row}, which is no key")));
        }
    }
    found
}

#[derive(Clone, PartialEq, Debug)]
enum Step {
    Name(String),
    /// Any name: the keys of a table that the operator chooses.
    Any,
    /// Any element of an array.
    Each,
}

struct Key(Vec<Step>);

impl Key {
    /// True when `written`, from [`documented`], means this key. A page may write one chosen name for all.
    fn is(&self, written: &str) -> bool {
        let plain = self.plain();
        let parts = plain.split('.').zip(written.split('.'));
        plain.split('.').count() == written.split('.').count() && parts.into_iter().all(|(a, b)| a == "*" || a == b)
    }

    /// As [`documented`] writes keys: arrays unmarked, chosen names as `*`.
    fn plain(&self) -> String {
        let parts = self.0.iter().filter_map(|step| match step {
            Step::Name(name) => Some(name.as_str()),
            Step::Any => Some("*"),
            Step::Each => None,
        });
        parts.collect::<Vec<_>>().join(".")
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.plain())
    }
}

fn structs(tree: &Tree) -> BTreeMap<String, &ItemStruct> {
    let mut found = BTreeMap::new();
    for file in tree.rust.iter().filter(|file| file.path.starts_with(SETTINGS) && !file.is_test()) {
        for item in &file.syntax.items {
            if let Item::Struct(item) = item
                && derives_deserialize(item)
            {
                found.insert(item.ident.to_string(), item);
            }
        }
    }
    found
}

fn derives_deserialize(item: &ItemStruct) -> bool {
    item.attrs.iter().filter(|attribute| attribute.path().is_ident("derive")).any(|attribute| {
        let list = attribute.meta.require_list().map(|list| list.tokens.to_string()).unwrap_or_default();
        list.contains("Deserialize")
    })
}

/// The keys of a struct's fields, those of nested structs in their place.
///
/// Sibling fields of one nested struct (an environment each, say) are one key with a chosen name.
fn collect(structs: &BTreeMap<String, &ItemStruct>, item: &ItemStruct, above: &[Step], keys: &mut Vec<Key>) {
    let Fields::Named(fields) = &item.fields else { return };
    let mut siblings: BTreeMap<String, usize> = BTreeMap::new();
    for field in &fields.named {
        *siblings.entry(inner_type(&field.ty, &mut Vec::new()).unwrap_or_default()).or_default() += 1;
    }
    let mut done = Vec::new();
    for field in &fields.named {
        let Some(ident) = &field.ident else { continue };
        let serde = Serde::of(&field.attrs);
        if serde.skipped {
            continue;
        }
        let name = serde.renamed.unwrap_or_else(|| ident.to_string().trim_start_matches("r#").to_owned());
        let mut inner_steps = Vec::new();
        let inner = inner_type(&field.ty, &mut inner_steps).unwrap_or_default();
        let nested = structs.get(&inner).filter(|nested| matches!(nested.fields, Fields::Named(_)));
        let alike = nested.is_some() && siblings.get(&inner).is_some_and(|count| *count > 1);
        if alike && done.contains(&inner) {
            continue;
        }
        done.push(inner);
        let mut path = above.to_vec();
        if !serde.flattened {
            path.push(if alike { Step::Any } else { Step::Name(name) });
        }
        path.extend(inner_steps);
        match nested {
            Some(nested) => collect(structs, nested, &path, keys),
            None => keys.push(Key(path)),
        }
    }
}

#[derive(Default)]
struct Serde {
    renamed: Option<String>,
    skipped: bool,
    flattened: bool,
}

impl Serde {
    fn of(attributes: &[syn::Attribute]) -> Serde {
        let mut serde = Serde::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
            let text = attribute.meta.require_list().map(|list| list.tokens.to_string()).unwrap_or_default();
            for part in text.split(',').map(str::trim) {
                match part.split_once('=').map(|(name, value)| (name.trim(), value.trim().trim_matches('"'))) {
                    Some(("rename", value)) => serde.renamed = Some(value.to_owned()),
                    Some(_) => {}
                    None => {
                        serde.skipped |= part == "skip" || part == "skip_deserializing";
                        serde.flattened |= part == "flatten";
                    }
                }
            }
        }
        serde
    }
}

/// The name of the type inside options, boxes, arrays and maps; arrays and maps add their step to the path.
fn inner_type(written: &Type, path: &mut Vec<Step>) -> Option<String> {
    let Type::Path(written) = written else { return None };
    let segment = written.path.segments.last()?;
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else {
        return Some(segment.ident.to_string());
    };
    match segment.ident.to_string().as_str() {
        "Vec" | "BTreeSet" | "HashSet" => path.push(Step::Each),
        "BTreeMap" | "HashMap" | "IndexMap" => path.push(Step::Any),
        _ => {}
    }
    let types = arguments.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(inner) => Some(inner),
        _ => None,
    });
    inner_type(types.last()?, path)
}

fn fixtures(tree: &Tree) -> Vec<Value> {
    let files = tree.texts_ending(".toml").filter(|(path, _)| path.starts_with(VALID));
    files.filter_map(|(_, text)| text.parse::<toml::Table>().ok().map(Value::Table)).collect()
}

fn holds(value: &Value, steps: &[Step]) -> bool {
    let Some((step, rest)) = steps.split_first() else { return true };
    match (step, value) {
        (Step::Name(name), Value::Table(table)) => table.get(name).is_some_and(|inner| holds(inner, rest)),
        (Step::Any, Value::Table(table)) => table.values().any(|inner| holds(inner, rest)),
        // A list of one may be written without its brackets.
        (Step::Each, Value::Array(list)) => list.is_empty() || list.iter().any(|inner| holds(inner, rest)),
        (Step::Each, inner) => holds(inner, rest),
        _ => false,
    }
}

/// The keys that the page describes: code spans such as `sip.listen`, and `listen` under a heading with `[sip]`.
fn documented(page: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut table = String::new();
    for line in page.lines() {
        let spans: Vec<_> = line.split('`').skip(1).step_by(2).map(plain).collect();
        if line.starts_with('#') {
            table = spans.first().cloned().unwrap_or_default();
        } else {
            keys.extend(spans.iter().filter(|_| !table.is_empty()).map(|span| format!("{table}.{span}")));
        }
        keys.extend(spans);
    }
    keys
}

/// The keys that the page's tables describe, each with its line: the first cells under the heading of a `[table]`, and
/// under the one that speaks of the root.
fn rows(page: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut table = None;
    for (index, line) in page.lines().enumerate() {
        if line.starts_with('#') {
            let span = line.split('`').nth(1).filter(|span| span.starts_with('['));
            table = span.map(|span| format!("{}.", plain(span))).or(line.contains(" root").then(String::new));
        }
        let key = line.strip_prefix("| `").and_then(|rest| rest.split('`').next());
        if let (Some(table), Some(key)) = (&table, key) {
            found.push((index + 1, format!("{table}{}", plain(key))));
        }
    }
    found
}

/// `[[trunk]]` is `trunk`, `environments.NAME.targets` and `environments.<name>.targets` are `environments.*.targets`.
fn plain(span: &str) -> String {
    let bare: String = span.chars().filter(|c| !matches!(c, '[' | ']')).collect();
    let parts = bare.split('.').map(|part| {
        let chosen = part.starts_with('<') || (!part.is_empty() && part.chars().all(|c| c.is_ascii_uppercase()));
        if chosen { "*" } else { part }
    });
    parts.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tree;

    const CODE: (&str, &str) = (
        "crates/switchyard/src/config/settings.rs",
        "#[derive(Deserialize)] struct Settings { environment: Option<String>, sip: Sip, #[serde(rename = \"trunk\")] \
         trunks: Vec<Trunk>, environments: BTreeMap<String, Environment>, #[serde(skip)] origin: String }
         #[derive(Deserialize)] struct Sip { listen: Vec<Spanned<String>> }
         #[derive(Deserialize)] struct Trunk { name: String }
         #[derive(Deserialize)] struct Environment { targets: Vec<String> }",
    );
    const FIXTURE: (&str, &str) = (
        "fixtures/configs/valid/all.toml",
        "environment = \"prod\"\nsip.listen = \"a\"\n[[trunk]]\nname = \"x\"\n[environments.prod]\ntargets = [\"a\"]",
    );
    const PAGE_TEXT: &str = "| `environment` |\n## `[sip]`\n| `listen` |\n## `[[trunk]]`\n| `name` |\n## `[environments.NAME]`\n| `targets` |";

    fn found(page: &str, fixture: &str) -> Vec<String> {
        let findings = check(&tree(&[CODE, (PAGE, page), (FIXTURE.0, fixture)]));
        findings.into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn keys_that_are_described_and_used_pass() {
        assert_eq!(found(PAGE_TEXT, FIXTURE.1), Vec::<String>::new());
        let dotted = "`environment` `sip.listen` `trunk.name` `environments.<name>.targets`";
        assert_eq!(found(dotted, FIXTURE.1), Vec::<String>::new());
    }

    #[test]
    fn a_key_that_is_not_described_is_found() {
        let page = PAGE_TEXT.replace("`name`", "name");
        assert_eq!(found(&page, FIXTURE.1), ["key trunk.name is not described"]);
        let page = PAGE_TEXT.replace("## `[sip]`\n", "");
        assert_eq!(found(&page, FIXTURE.1), ["key sip.listen is not described"]);
    }

    #[test]
    fn a_row_about_no_key_is_found() {
        let page = PAGE_TEXT.replace("| `listen` |", "| `listen` |\n| `lisen` | a typo |");
        assert_eq!(found(&page, FIXTURE.1), ["describes sip.lisen, which is no key"]);
        let page = format!("## The file's root\n| `enviroment` |\n{PAGE_TEXT}");
        assert_eq!(found(&page, FIXTURE.1), ["describes enviroment, which is no key"]);
    }

    #[test]
    fn a_key_that_no_fixture_sets_is_found() {
        let fixture = FIXTURE.1.replace("targets", "sources");
        assert_eq!(found(PAGE_TEXT, &fixture), ["no file sets key environments.*.targets"]);
    }

    #[test]
    fn sibling_tables_are_one_key() {
        let code = CODE.1.replace("BTreeMap<String, Environment>", "Environments")
            + "#[derive(Deserialize)] struct Environments { prod: Option<Environment>, oss: Option<Environment> }";
        let findings = |page: &str| check(&tree(&[(CODE.0, &code), (PAGE, page), FIXTURE])).len();
        assert_eq!(findings(PAGE_TEXT), 0);
        assert_eq!(findings(&PAGE_TEXT.replace("NAME", "prod")), 0);
        assert_eq!(findings(&PAGE_TEXT.replace("`targets`", "")), 1);
    }

    #[test]
    fn settings_without_a_root_are_found() {
        let code = (CODE.0, "#[derive(Deserialize)] struct Sip { listen: String }");
        assert_eq!(check(&tree(&[code])).len(), 1);
    }
}
