//! Links inside the docs lead somewhere, and every page can be found from the map.

use std::collections::BTreeSet;

use super::Finding;
use super::book::SUMMARY;
use crate::tree::Tree;

/// Pages from which every other page must be reachable.
const MAP: [&str; 2] = ["README.md", "docs/README.md"];

/// Relative links (and pictures) of every Markdown file: the file exists, and so does the heading after `#`.
pub(super) fn links(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for (path, text) in tree.texts_ending(".md") {
        for (line, link) in relative_links(text) {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { path.to_owned() } else { resolve(path, file) };
            if !tree.has(&target) {
                found.push(Finding::new(path, line, format!("links to {link}, which does not exist")));
                continue;
            }
            let page = tree.text(&target).filter(|_| !anchor.is_empty() && target.ends_with(".md"));
            if page.is_some_and(|page| !anchors(page).contains(anchor)) {
                found.push(Finding::new(path, line, format!("links to {link}: no heading #{anchor}")));
            }
        }
    }
    found
}

/// Folders of the checkout. A path in a page that begins with one names a file or folder that exists.
const FOLDERS: [&str; 7] = ["crates/", "fixtures/", "docs/", "xtask/", "deploy/", "benches/", "lab/"];

/// Files and folders that pages name in code, fenced or not. The changelog tells of the past.
pub(super) fn named_files(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for (path, text) in tree.texts_ending(".md").filter(|(path, _)| *path != "CHANGELOG.md") {
        let mut fenced = false;
        for (index, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
            }
            let code: Vec<&str> = if fenced { vec![line] } else { line.split('`').skip(1).step_by(2).collect() };
            let words = code.iter().flat_map(|span| span.split_whitespace());
            for word in words.filter(|word| FOLDERS.iter().any(|folder| word.starts_with(folder))) {
                // Names that stand for many: `crates/*`, `fixtures/corpus/TARGET`, `fixtures/corpus/<target>`.
                let many = word.contains(['*', '<', '{', '$'])
                    || word.split('/').any(|part| !part.is_empty() && part == part.to_uppercase());
                let name = word.split("::").next().unwrap_or(word).trim_end_matches([',', '.', ';', ':', ')']);
                if !many && !tree.has(name) {
                    found.push(Finding::new(path, index + 1, format!("names {name}, which does not exist")));
                }
            }
        }
    }
    found
}

/// Every page under docs/, ADRs among them, is reachable by links from the README or the map.
pub(super) fn map(tree: &Tree) -> Vec<Finding> {
    let mut reached: BTreeSet<String> = BTreeSet::new();
    let mut open: Vec<String> = MAP.iter().map(|page| (*page).to_owned()).collect();
    while let Some(page) = open.pop() {
        let Some(text) = tree.text(&page) else { continue };
        if !reached.insert(page.clone()) {
            continue;
        }
        for (_, link) in relative_links(text) {
            open.push(resolve(&page, link.split('#').next().unwrap_or_default()));
        }
    }
    // The book's table of contents is the other way to every page, by a rule of its own.
    let pages = tree.texts_ending(".md").filter(|(path, _)| path.starts_with("docs/") && *path != SUMMARY);
    pages
        .filter(|(path, _)| !reached.contains(*path))
        .map(|(path, _)| Finding::new(path, 0, "no page that the map docs/README.md leads to links here"))
        .collect()
}

/// Line and target of every link that is not to another site, code apart.
pub(super) fn relative_links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        for (opening, closing) in [("](", ')'), ("src=\"", '"'), ("srcset=\"", '"'), ("href=\"", '"')] {
            for piece in prose.split(opening).skip(1) {
                let link = piece.split(closing).next().unwrap_or_default();
                let elsewhere = link.contains("://") || link.starts_with("mailto:");
                if !link.is_empty() && !elsewhere {
                    found.push((index + 1, link.to_owned()));
                }
            }
        }
    }
    found
}

/// A link from a page, as a path from the root of the checkout.
pub(super) fn resolve(page: &str, link: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The anchors of a page's headings, as forges make them.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tree;

    #[test]
    fn a_broken_link_is_found() {
        let page = ("docs/how-to/b.md", "# One thing\n");
        let count = |text: &str| links(&tree(&[("docs/a.md", text), page])).len();
        assert_eq!(count("[b](how-to/c.md)"), 1);
        assert_eq!(count("[b](how-to/b.md#another-thing)"), 1);
        assert_eq!(count("<img src=\"b.svg\">"), 1);
        assert_eq!(count("[b](#nowhere)"), 1);
        assert_eq!(count("[b](how-to/b.md#one-thing) [f](how-to/) [w](https://example.org)"), 0);
        assert_eq!(count("`[b](c.md)`\n```\n[b](c.md)\n```"), 0);
    }

    #[test]
    fn a_named_file_that_is_gone_is_found() {
        let count = |text: &str| named_files(&tree(&[("docs/a.md", text), ("crates/a/src/lib.rs", "")])).len();
        assert_eq!(count("see `crates/a/src/gone.rs`"), 1);
        assert_eq!(count("```\n 1  crates/a/src/gone.rs   what it does\n```"), 1);
        assert_eq!(count("`crates/a/src/lib.rs` `crates/a/` `crates/*/x.rs` `fixtures/corpus/TARGET`"), 0);
        assert_eq!(count("crates/a/src/gone.rs in prose"), 0);
    }

    #[test]
    fn links_climb_folders() {
        let files = [("docs/how-to/b.md", "[a](../a.md) [r](../../README.md)"), ("docs/a.md", ""), ("README.md", "")];
        assert!(links(&tree(&files)).is_empty());
    }

    #[test]
    fn a_page_that_nothing_links_is_found() {
        let map_page = ("docs/README.md", "[adr](adr/README.md)");
        let list = ("docs/adr/README.md", "[1](0001-a.md)");
        let pages = [map_page, list, ("docs/adr/0001-a.md", ""), ("docs/adr/0002-b.md", "")];
        let found = map(&tree(&pages));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "docs/adr/0002-b.md");
    }
}
