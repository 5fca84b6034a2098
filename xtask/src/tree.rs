//! The files of the checkout as the lint rules see them: a value, so that a rule is tested on a few made-up files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};

/// Folders that hold nothing written by hand.
const SKIPPED: [&str; 4] = ["target", "lab-output", ".git", "node_modules"];

/// Files whose text the rules read; of all others only the name is kept.
const TEXT: [&str; 10] = ["rs", "md", "toml", "svg", "sh", "yml", "yaml", "html", "run", "json"];

/// The checkout. Paths are relative to its root, with `/` between the parts.
#[derive(Default)]
pub(crate) struct Tree {
    /// Every file.
    pub(crate) paths: BTreeSet<String>,
    /// Path and text of the files that the rules read.
    pub(crate) texts: BTreeMap<String, String>,
    /// The Rust files, parsed.
    pub(crate) rust: Vec<RustFile>,
    /// Rust files that do not parse: path, line, message.
    pub(crate) unparsed: Vec<(String, usize, String)>,
}

/// One parsed Rust file.
pub(crate) struct RustFile {
    pub(crate) path: String,
    pub(crate) line_count: usize,
    pub(crate) syntax: syn::File,
}

impl RustFile {
    /// True for files that hold tests alone: under a `tests` folder, or called `tests.rs`.
    pub(crate) fn is_test(&self) -> bool {
        is_test_path(&self.path)
    }
}

/// See [`RustFile::is_test`].
pub(crate) fn is_test_path(path: &str) -> bool {
    path.split('/').any(|part| part == "tests" || part == "tests.rs")
}

impl Tree {
    /// Reads the checkout.
    pub(crate) fn read(root: &Path) -> Result<Tree> {
        let mut files = Vec::new();
        walk(root, "", &mut files)?;
        Ok(Tree::of(files))
    }

    /// A tree from paths and texts.
    pub(crate) fn of(files: impl IntoIterator<Item = (String, Option<String>)>) -> Tree {
        let mut tree = Tree::default();
        for (path, text) in files {
            if let Some(text) = text {
                if path.ends_with(".rs") {
                    tree.parse(&path, &text);
                }
                tree.texts.insert(path.clone(), text);
            }
            tree.paths.insert(path);
        }
        tree
    }

    fn parse(&mut self, path: &str, text: &str) {
        match syn::parse_file(text) {
            Ok(syntax) => {
                self.rust.push(RustFile { path: path.to_owned(), line_count: text.lines().count(), syntax });
            }
            Err(fault) => self.unparsed.push((path.to_owned(), fault.span().start().line, fault.to_string())),
        }
    }

    /// The text of one file.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }

    /// Path and text of the files with this ending.
    pub(crate) fn texts_ending<'a>(&'a self, ending: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.texts.iter().filter(move |(path, _)| path.ends_with(ending)).map(|(path, text)| (path.as_str(), &text[..]))
    }

    /// True for a file, or for a folder that holds one.
    pub(crate) fn has(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        self.paths.contains(path) || self.paths.range(folder.clone()..).next().is_some_and(|p| p.starts_with(&folder))
    }
}

fn walk(folder: &Path, prefix: &str, files: &mut Vec<(String, Option<String>)>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        if entry.file_type()?.is_dir() {
            if !SKIPPED.contains(&name.as_str()) {
                walk(&entry.path(), &format!("{path}/"), files)?;
            }
            continue;
        }
        let ending = name.rsplit('.').next().unwrap_or_default();
        // Files that are not UTF-8 (messages of a corpus, say) are known by their name only.
        let text = TEXT.contains(&ending).then(|| std::fs::read(entry.path())).transpose();
        let text = text.with_context(|| format!("cannot read {path}"))?;
        files.push((path, text.and_then(|bytes| String::from_utf8(bytes).ok())));
    }
    Ok(())
}

/// A tree from literals, for the rules' tests.
#[cfg(test)]
pub(crate) fn tree(files: &[(&str, &str)]) -> Tree {
    Tree::of(files.iter().map(|(path, text)| ((*path).to_owned(), Some((*text).to_owned()))))
}
