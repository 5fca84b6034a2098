//! From text to [`Settings`]: TOML, `${NAME}`, serde, and for each of them every fault with its line.
//!
//! Serde stops at its first fault. So the faulty key is noted and taken out, and the rest is read again: every key has a
//! default, what remains is a whole file.

use super::fault::{Fault, Faults, Key, Part, Place};
use super::limits;
use super::settings::Settings;
use serde::Deserialize;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer, Error};

/// The text with the place of every key in it.
pub(crate) struct Document<'t> {
    text: &'t str,
    root: Spanned<DeValue<'t>>,
}

/// Reads a variable of the process's environment; `None` when it is not set.
pub type Variables<'v> = &'v dyn Fn(&str) -> Option<String>;

impl<'t> Document<'t> {
    /// Reads `text`. The faults are those of the text; `None` where it is no TOML.
    pub(crate) fn read(text: &'t str, variables: Variables<'_>) -> (Option<(Document<'t>, Settings)>, Vec<Fault>) {
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            return (None, errors.iter().map(|error| syntax_fault(text, error)).collect());
        }
        let root = Spanned::new(table.span(), DeValue::Table(table.into_inner()));
        let document = Document { text, root };
        let mut faults = Vec::new();
        let mut meant = document.root.clone();
        document.expand(&mut meant, &Key::default(), variables, &mut faults);
        let settings = document.deserialize(meant, &mut faults);
        (Some((document, settings)), faults)
    }

    /// A fault of the value at `key`: found is what the file says there, or `default` where it says nothing.
    pub(crate) fn fault(&self, key: &Key, default: &str, expected: impl Into<String>) -> Fault {
        let node = self.node(key);
        let found = match node {
            Some(node) => self.excerpt(key, node),
            None if default.is_empty() => "nothing".to_owned(),
            None => format!("{default:?} (the default)"),
        };
        Fault { place: self.place(key), key: key.clone(), found, expected: expected.into(), why: None }
    }

    /// The line of `key`, or of the nearest table around it that the file has.
    pub(crate) fn place(&self, key: &Key) -> Place {
        let mut span = None;
        let mut node = Some(&self.root);
        for part in key.parts() {
            let Some(inside) = node else { break };
            node = child(inside, part);
            // The line of a key is where its name stands: a table's value has no line of its own.
            let place = match (inside.get_ref(), part) {
                (DeValue::Table(table), Part::Name(name)) => {
                    table.get_key_value(name.as_str()).filter(|_| node.is_some_and(is_table)).map(|(key, _)| key.span())
                }
                _ => None,
            };
            span = place.or_else(|| node.map(Spanned::span)).or(span);
        }
        span.map_or(Place::File, |span| self.line(span.start))
    }

    fn node(&self, key: &Key) -> Option<&Spanned<DeValue<'t>>> {
        key.parts().iter().try_fold(&self.root, child)
    }

    fn line(&self, offset: usize) -> Place {
        line_of(self.text, offset)
    }

    /// What the file says at a node, in one short line; secrets are masked.
    fn excerpt(&self, key: &Key, node: &Spanned<DeValue<'t>>) -> String {
        match node.get_ref() {
            DeValue::String(_) if is_secret(key) && key.parts().first() == Some(&Part::Name("database".into())) => {
                self.masked(node)
            }
            _ if is_secret(key) => "a value that is not shown".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
            DeValue::Array(list) if list.is_empty() => "an empty list".to_owned(),
            DeValue::Array(_) => "a list".to_owned(),
            _ => shortened(self.text.get(node.span()).unwrap_or_default()),
        }
    }

    /// A URL as it is written, without its password.
    fn masked(&self, node: &Spanned<DeValue<'t>>) -> String {
        let written = self.text.get(node.span()).unwrap_or_default();
        shortened(&sync::masked_url(written.trim_matches(['"', '\''])))
    }

    /// Replaces `${NAME}` in every string below `node`.
    fn expand(&self, node: &mut Spanned<DeValue<'t>>, key: &Key, variables: Variables<'_>, faults: &mut Vec<Fault>) {
        match node.get_mut() {
            DeValue::String(text) => match expanded(text, variables) {
                Ok(None) => {}
                Ok(Some(replaced)) => *text = replaced.into(),
                Err((found, expected)) => {
                    let place = self.place(key);
                    faults.push(Fault { place, key: key.clone(), found, expected, why: None });
                }
            },
            DeValue::Array(list) => {
                for (index, element) in list.iter_mut().enumerate() {
                    self.expand(element, &key.index(index), variables, faults);
                }
            }
            DeValue::Table(table) => {
                for (name, value) in table.iter_mut() {
                    self.expand(value, &key.name(name.get_ref()), variables, faults);
                }
            }
            _ => {}
        }
    }

    /// Serde, once for each fault. A value with a fault gives way to its default.
    fn deserialize(&self, mut meant: Spanned<DeValue<'t>>, faults: &mut Vec<Fault>) -> Settings {
        for _ in 0..limits::FAULTS {
            let DeValue::Table(table) = meant.get_ref().clone() else { break };
            let error = match Settings::deserialize(Deserializer::from(Spanned::new(meant.span(), table))) {
                Ok(settings) => return settings,
                Err(error) => error,
            };
            let is_unknown = error.message().starts_with("unknown field");
            let key = error.span().and_then(|span| find(&self.root, &span, is_unknown, &Key::default()));
            let Some(key) = key else {
                faults.push(self.fault(&Key::default(), "", error.message()));
                break;
            };
            faults.push(if is_unknown { self.unknown(&key, &error) } else { self.mistyped(&key, &error) });
            remove(&mut meant, key.of_table().parts());
        }
        Settings::default()
    }

    fn unknown(&self, key: &Key, error: &Error) -> Fault {
        let (_, known) = error.message().split_once("expected").unwrap_or_default();
        let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
        let name = match key.parts().last() {
            Some(Part::Name(name)) => name.as_str(),
            _ => "",
        };
        let meant = known.iter().map(|known| (strsim::osa_distance(name, known), known)).min();
        let meant = meant.filter(|(distance, known)| *distance <= (known.len() / 3).max(1));
        let mut fault = self.fault(key, "", "");
        let span = self.key_span(key).unwrap_or_default();
        fault.place = self.line(span.start);
        fault.found = "an unknown key".to_owned();
        fault.expected = format!("one of {}", known.join(", "));
        fault.why = meant.map(|(_, known)| format!("did you mean {known}?"));
        fault
    }

    fn key_span(&self, key: &Key) -> Option<Range<usize>> {
        let (last, above) = key.parts().split_last()?;
        let table = above.iter().try_fold(&self.root, child)?;
        let (DeValue::Table(table), Part::Name(name)) = (table.get_ref(), last) else { return None };
        table.get_key_value(name.as_str()).map(|(key, _)| key.span())
    }

    fn mistyped(&self, key: &Key, error: &Error) -> Fault {
        let expected = error.message().rsplit_once("expected ").map_or(error.message(), |(_, expected)| expected);
        let expected = match expected {
            "a string" | "path string" => "a string in quotes",
            "a sequence" => "a list",
            "u8" => "a whole number from 0 to 255",
            "u64" => "a whole number",
            _ if expected.starts_with("struct ") => "a table",
            other => other,
        };
        self.fault(key, "", expected)
    }
}

impl Faults {
    /// The faults of one file, in the order of its lines, one for each key.
    pub(crate) fn new(file: &str, mut list: Vec<Fault>) -> Faults {
        // What follows from a fault of the same key is no news: the first one found stands.
        let mut kept: Vec<Fault> = Vec::with_capacity(list.len());
        for fault in list.drain(..) {
            if fault.key.parts().is_empty() || kept.iter().all(|earlier| earlier.key != fault.key) {
                kept.push(fault);
            }
        }
        kept.sort_by(|a, b| (a.place, &a.key).cmp(&(b.place, &b.key)));
        kept.truncate(limits::FAULTS);
        Faults { file: file.to_owned(), list: kept }
    }
}

/// Keys whose values may hold a password.
fn is_secret(key: &Key) -> bool {
    let [Part::Name(table), Part::Name(name), ..] = key.parts() else { return false };
    matches!((&**table, &**name), ("database", "url") | ("records", "webhook_url"))
}

fn is_table(node: &Spanned<DeValue<'_>>) -> bool {
    matches!(node.get_ref(), DeValue::Table(_))
}

fn child<'n, 't>(node: &'n Spanned<DeValue<'t>>, part: &Part) -> Option<&'n Spanned<DeValue<'t>>> {
    match (node.get_ref(), part) {
        (DeValue::Table(table), Part::Name(name)) => table.get(name.as_str()),
        (DeValue::Array(list), Part::Index(index)) => list.get(*index),
        _ => None,
    }
}

/// The key whose value, or with `is_name` whose name, stands at `span`.
fn find(node: &Spanned<DeValue<'_>>, span: &Range<usize>, is_name: bool, key: &Key) -> Option<Key> {
    match node.get_ref() {
        DeValue::Table(table) => table.iter().find_map(|(name, value)| {
            let below = key.name(name.get_ref());
            let here = if is_name { name.span() } else { value.span() };
            if here == *span { Some(below) } else { find(value, span, is_name, &below) }
        }),
        DeValue::Array(list) => list.iter().enumerate().find_map(|(index, value)| {
            let below = key.index(index);
            if !is_name && value.span() == *span { Some(below) } else { find(value, span, is_name, &below) }
        }),
        _ => None,
    }
}

fn remove(node: &mut Spanned<DeValue<'_>>, parts: &[Part]) {
    match (node.get_mut(), parts) {
        (DeValue::Table(table), [Part::Name(name)]) => {
            table.remove(name.as_str());
        }
        (DeValue::Table(table), [Part::Name(name), below @ ..]) => {
            if let Some(value) = table.get_mut(name.as_str()) {
                remove(value, below);
            }
        }
        (DeValue::Array(list), [Part::Index(index), below @ ..]) => {
            if let Some(value) = list.get_mut(*index) {
                remove(value, below);
            }
        }
        _ => {}
    }
}

/// `text` with every `${NAME}` replaced and `$$` as `$`; `None` when there is nothing to replace. The error is what was
/// found and what was expected.
fn expanded(text: &str, variables: Variables<'_>) -> Result<Option<String>, (String, String)> {
    if !text.contains('$') {
        return Ok(None);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let name =
            after.strip_prefix('{').and_then(|after| after.split_once('}')).filter(|(name, _)| is_variable(name));
        let Some((name, after)) = name else {
            return Err(("a $ that begins no variable".into(), "${NAME}, or $$ for a plain $".into()));
        };
        let value = variables(name).ok_or_else(|| {
            (
                format!("${{{name}}}"),
                format!("the variable {name} to be set, or in the file environment beside this one"),
            )
        })?;
        out.push_str(&value);
        rest = after;
    }
    out.push_str(rest);
    Ok(Some(out))
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn syntax_fault(text: &str, error: &Error) -> Fault {
    let span = error.span().unwrap_or_default();
    let found = text.get(span.clone()).unwrap_or_default();
    let found = if found.trim().is_empty() { "the end of the line".to_owned() } else { shortened(found) };
    let expected = format!("TOML: {}", error.message().replace('`', ""));
    Fault { place: line_of(text, span.start), key: Key::default(), found, expected, why: None }
}

fn line_of(text: &str, offset: usize) -> Place {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    Place::Line(before.iter().filter(|byte| **byte == b'\n').count() + 1)
}

/// The first line of `text`, at most 60 characters of it.
fn shortened(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut short: String = line.chars().filter(|c| !c.is_control()).take(60).collect();
    if line.len() < text.trim_end().len() || line.chars().count() > 60 {
        short.push_str("...");
    }
    short
}
