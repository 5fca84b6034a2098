//! The book's table of contents has every page of the docs, once.

use super::Finding;
use super::docs::{relative_links, resolve};
use crate::tree::Tree;

/// The table of contents, as mdBook reads it.
pub(super) const SUMMARY: &str = "docs/SUMMARY.md";

/// Pages under docs/ that the summary leaves out or names twice, and entries that are no page of the docs.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(summary) = tree.text(SUMMARY) else {
        return vec![Finding::new(SUMMARY, 0, "is not there: the book has no table of contents")];
    };
    let entries: Vec<(usize, String)> =
        relative_links(summary).into_iter().map(|(line, link)| (line, resolve(SUMMARY, &link))).collect();
    let mut found = Vec::new();
    for (at, (line, entry)) in entries.iter().enumerate() {
        if entries.iter().take(at).any(|(_, before)| before == entry) {
            found.push(Finding::new(SUMMARY, *line, format!("names {entry} a second time")));
        }
        if !is_page(entry) {
            found.push(Finding::new(SUMMARY, *line, format!("names {entry}, which is no page under docs/")));
        }
    }
    let pages = tree.texts_ending(".md").map(|(path, _)| path).filter(|path| is_page(path));
    let missing = pages.filter(|path| entries.iter().all(|(_, entry)| entry != path));
    found.extend(missing.map(|path| Finding::new(path, 0, format!("{SUMMARY} does not name it: it is in no book"))));
    found
}

fn is_page(path: &str) -> bool {
    path.starts_with("docs/") && path.ends_with(".md") && path != SUMMARY
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tree;

    fn found(summary: &str) -> Vec<String> {
        let files = [(SUMMARY, summary), ("docs/a.md", "# A"), ("docs/how-to/b.md", "# B"), ("README.md", "")];
        check(&tree(&files)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_page_that_is_missing_or_named_twice_is_found() {
        assert!(found("[A](a.md)\n\n- [B](how-to/b.md)\n").is_empty());
        assert_eq!(found("[A](a.md)\n"), ["docs/how-to/b.md: docs/SUMMARY.md does not name it: it is in no book"]);
        let twice = found("[A](a.md)\n\n- [B](how-to/b.md)\n- [B](./how-to/b.md)\n");
        assert_eq!(twice, ["docs/SUMMARY.md:4: names docs/how-to/b.md a second time"]);
    }

    #[test]
    fn an_entry_that_is_no_page_is_found() {
        let outside = found("[A](a.md)\n\n- [B](how-to/b.md)\n- [R](../README.md)\n");
        assert_eq!(outside, ["docs/SUMMARY.md:4: names README.md, which is no page under docs/"]);
        assert_eq!(check(&tree(&[("docs/a.md", "# A")])).len(), 1);
    }
}
