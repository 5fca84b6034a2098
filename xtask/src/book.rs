//! `cargo xtask book`: the docs as a book of pages in `target/book`, with every link of it followed.
//!
//! The lint rules hold links as a forge shows them, Markdown to Markdown. Here the pages are held that a reader of the book
//! opens: every link leads to a file that is there, and to a heading that has this name on the page that mdBook made. A link
//! to a file of the checkout beside docs/ takes the file along.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::test::install;
use crate::tool;

/// Where files of the checkout that pages link to stand in the book.
const BESIDE: &str = "beside";
/// mdBook's answer to an address that is not there: its links begin at the root of a site.
const NOT_FOUND: &str = "404.html";

/// Builds the book and follows its links. True when each leads somewhere.
pub(crate) fn run() -> Result<bool> {
    install::mdbook()?;
    let folder = tool::target_dir().join("book");
    let mut mdbook = tool::program(install::mdbook_program(), &["build", "--dest-dir"]);
    if !tool::succeeds(mdbook.arg(&folder))? {
        return Ok(false);
    }
    let book = Book::read(&folder)?;
    let followed = book.follow(|path| tool::root().join(path).is_file());
    for broken in &followed.broken {
        println!("{broken}");
    }
    for (page, links) in &followed.leaving {
        take_along(&folder, page, links)?;
    }
    let (pages, links) = (book.pages.len(), followed.count);
    println!("book: {pages} pages, {links} links, {} broken; it is in {}", followed.broken.len(), folder.display());
    Ok(followed.broken.is_empty())
}

/// What mdBook wrote. Paths are relative to its folder, with `/` between the parts.
#[derive(Default)]
struct Book {
    files: BTreeSet<String>,
    pages: BTreeMap<String, String>,
}

/// What became of the links.
#[derive(Default)]
struct Followed {
    count: usize,
    broken: Vec<String>,
    /// By page: links to files of the checkout, as they are written, with the file.
    leaving: BTreeMap<String, BTreeMap<String, String>>,
}

impl Book {
    fn read(folder: &Path) -> Result<Book> {
        let mut book = Book::default();
        let mut open = vec![PathBuf::new()];
        while let Some(inner) = open.pop() {
            let here = folder.join(&inner);
            for entry in std::fs::read_dir(&here).with_context(|| format!("cannot list {}", here.display()))? {
                let entry = entry?;
                let path = inner.join(entry.file_name());
                if entry.file_type()?.is_dir() {
                    open.push(path);
                    continue;
                }
                let name = path.to_string_lossy().into_owned();
                if name.ends_with(".html") && name != NOT_FOUND {
                    book.pages.insert(name.clone(), std::fs::read_to_string(entry.path())?);
                }
                book.files.insert(name);
            }
        }
        Ok(book)
    }

    /// `is_beside` says whether a file of the checkout exists.
    fn follow(&self, is_beside: impl Fn(&str) -> bool) -> Followed {
        let anchors: BTreeMap<&str, BTreeSet<&str>> =
            self.pages.iter().map(|(path, html)| (path.as_str(), values(html, &[" id=\""]).collect())).collect();
        let mut followed = Followed::default();
        for (page, html) in &self.pages {
            for link in values(html, &[" href=\"", " src=\"", " srcset=\""]).filter(|link| is_own(link)) {
                followed.count += 1;
                let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
                let place = if file.is_empty() { Some(Place::Book(page.clone())) } else { place(page, file) };
                let why = match place {
                    Some(Place::Book(target)) if !self.files.contains(&target) => Some(format!("no file {target}")),
                    Some(Place::Book(target)) => {
                        let known = anchors.get(target.as_str());
                        let has = anchor.is_empty() || known.is_none_or(|known| known.contains(anchor));
                        (!has).then(|| format!("no heading #{anchor} in {target}"))
                    }
                    Some(Place::Beside(target)) => match source(&target).into_iter().find(|name| is_beside(name)) {
                        Some(name) => {
                            followed.leaving.entry(page.clone()).or_default().insert(link.to_owned(), name);
                            None
                        }
                        None => Some(format!("no file {target} in the checkout")),
                    },
                    None => Some("it leaves the checkout".to_owned()),
                };
                followed.broken.extend(why.map(|why| format!("book: {page}: links to {link}: {why}")));
            }
        }
        followed
    }
}

/// Where a link leads.
#[derive(PartialEq, Eq, Debug)]
enum Place {
    /// Below the book's folder.
    Book(String),
    /// Below the root of the checkout, one above docs/.
    Beside(String),
}

/// `None` for what is not even in the checkout.
fn place(page: &str, file: &str) -> Option<Place> {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    let mut above = 0;
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.pop().is_none() => above += 1,
            ".." => {}
            part => parts.push(part),
        }
    }
    let path = if file.ends_with('/') { [&parts[..], &["index.html"]].concat().join("/") } else { parts.join("/") };
    match above {
        0 => Some(Place::Book(path)),
        1 => Some(Place::Beside(path)),
        _ => None,
    }
}

/// The names that a file of the checkout may have: mdBook takes each link to `.md` for one to a page.
fn source(target: &str) -> Vec<String> {
    let page = target.strip_suffix(".html").map(|stem| format!("{stem}.md"));
    page.into_iter().chain([target.to_owned()]).collect()
}

/// Whether a link leads to a file of ours, not to another site or into the page's own bytes.
fn is_own(link: &str) -> bool {
    !link.is_empty() && !link.contains("://") && !link.starts_with("mailto:") && !link.starts_with("data:")
}

/// The values of these attributes, each named with what stands around it up to the opening quote.
fn values<'h>(html: &'h str, names: &'static [&'static str]) -> impl Iterator<Item = &'h str> {
    names.iter().flat_map(move |name| html.split(name).skip(1).filter_map(|rest| rest.split('"').next()))
}

/// Copies the files of the checkout that a page links to into the book, as text that a browser shows, and has the page link there.
fn take_along(folder: &Path, page: &str, links: &BTreeMap<String, String>) -> Result<()> {
    let path = folder.join(page);
    let mut html = std::fs::read_to_string(&path)?;
    for (link, source) in links {
        let name = beside(source);
        let copy = folder.join(&name);
        std::fs::create_dir_all(copy.parent().unwrap_or(folder))?;
        std::fs::copy(tool::root().join(source), &copy).with_context(|| format!("cannot copy {source}"))?;
        let up = "../".repeat(page.matches('/').count());
        html = html.replace(&format!("\"{link}\""), &format!("\"{up}{name}\""));
    }
    std::fs::write(&path, html).with_context(|| format!("cannot write {}", path.display()))
}

/// A browser shows Markdown and settings as text when their name says so.
fn beside(source: &str) -> String {
    let is_shown = [".svg", ".png", ".html", ".txt"].iter().any(|ending| source.ends_with(ending));
    format!("{BESIDE}/{source}{}", if is_shown { "" } else { ".txt" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(pages: &[(&str, &str)]) -> Book {
        let pages: BTreeMap<String, String> =
            pages.iter().map(|(path, html)| ((*path).to_owned(), (*html).to_owned())).collect();
        let mut files: BTreeSet<String> = pages.keys().cloned().collect();
        files.insert("topology.svg".to_owned());
        Book { files, pages }
    }

    fn broken(link: &str) -> Vec<String> {
        let page = format!("<h1 id=\"top\">A</h1><a href=\"{link}\">x</a>");
        let pages = [("how-to/a.html", page.as_str()), ("reference/b.html", "<h2 id=\"one-thing\">B</h2>")];
        book(&pages).follow(|path| path == "CHANGELOG.md" || path == "deploy/prod.nft").broken
    }

    #[test]
    fn a_link_to_nothing_is_found() {
        for link in ["../reference/c.html", "../reference/b.html#another", "#nowhere", "../../GONE.html", "../../../x"]
        {
            assert_eq!(broken(link).len(), 1, "{link}");
        }
    }

    #[test]
    fn a_link_that_leads_somewhere_is_left_alone() {
        let links = [
            "../reference/b.html#one-thing",
            "#top",
            "../topology.svg",
            "../../CHANGELOG.html",
            "../../deploy/prod.nft",
        ];
        for link in links.into_iter().chain(["https://example.org", "mailto:a@example.org"]) {
            assert!(broken(link).is_empty(), "{link}");
        }
    }

    #[test]
    fn a_picture_that_is_gone_is_found() {
        let found = book(&[("a.html", "<img src=\"gone.svg\" alt=\"\"><img src=\"topology.svg\">")]).follow(|_| false);
        assert_eq!((found.count, found.broken.len()), (2, 1), "{:?}", found.broken);
    }

    #[test]
    fn a_file_beside_the_docs_is_taken_along_as_text() {
        assert_eq!(place("how-to/a.html", "../../CHANGELOG.html"), Some(Place::Beside("CHANGELOG.html".to_owned())));
        assert_eq!(source("CHANGELOG.html"), ["CHANGELOG.md", "CHANGELOG.html"]);
        assert_eq!(beside("CHANGELOG.md"), "beside/CHANGELOG.md.txt");
        assert_eq!(beside("lab/a.svg"), "beside/lab/a.svg");
    }
}
