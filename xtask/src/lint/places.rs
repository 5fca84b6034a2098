//! Nothing in the checkout knows the machine it was written on.

use super::Finding;
use crate::tree::{Tree, is_test_path};

/// Where a file's own tests begin; they stand last.
const OWN_TESTS: &str = "\n#[cfg(test)]\nmod ";

/// Folders of one machine, in docs, configuration, scripts and in Rust outside tests.
pub(super) fn machine_paths(tree: &Tree) -> Vec<Finding> {
    let folders = ["home", "root", "tmp", "work"].map(|name| format!("/{name}/"));
    let mut found = Vec::new();
    for (path, text) in tree.texts.iter().filter(|(path, _)| !is_test_path(path)) {
        for (index, line) in outside_tests(text).lines().enumerate() {
            if let Some(folder) = folders.iter().find(|folder| begins_a_path(line, folder)) {
                found.push(Finding::new(path, index + 1, format!("names a folder under {folder}")));
            }
        }
    }
    found
}

fn outside_tests(text: &str) -> &str {
    text.split_once(OWN_TESTS).map_or(text, |(code, _)| code)
}

/// True when `folder` stands in the line as the beginning of a path, not inside one.
fn begins_a_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line.get(..at).and_then(|head| head.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '}' | ')' | '*' | '>'))
    })
}

/// Where packages come from is the machine's affair: no registry's host and no replaced source outside lock files.
pub(super) fn registries(tree: &Tree) -> Vec<Finding> {
    let hosts = ["index", "static"].map(|name| format!("{name}.crates.io"));
    let schemes = ["registry", "sparse"].map(|name| format!("{name}+http"));
    let mut found = Vec::new();
    for (path, text) in &tree.texts {
        for (index, line) in outside_tests(text).lines().enumerate() {
            let table = path.ends_with("config.toml") && (line.starts_with("[source") || line.starts_with("[registr"));
            if table || hosts.iter().chain(&schemes).any(|host| line.contains(host.as_str())) {
                found.push(Finding::new(path, index + 1, "names a package registry"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tree;

    #[test]
    fn a_machine_path_is_found_outside_tests() {
        let count = |path: &str, text: &str| machine_paths(&tree(&[(path, text)])).len();
        assert_eq!(count("docs/a.md", "see /home/someone/notes"), 1);
        assert_eq!(count("docs/a.md", "`/tmp/x`"), 1);
        assert_eq!(count("crates/a/src/lib.rs", "const A: &str = \"/root/x\";"), 1);
        assert_eq!(count("crates/a/tests/x.rs", "const A: &str = \"/tmp/x\";"), 0);
        let own_tests = "fn a() {}\n\n#[cfg(test)]\nmod tests { const A: &str = \"/tmp/x\"; }";
        assert_eq!(count("crates/a/src/lib.rs", own_tests), 0);
        assert_eq!(count("docs/a.md", "crates/root/x and ../work/x and /var/lib/x"), 0);
    }

    #[test]
    fn a_registry_is_found() {
        let count = |path: &str, text: &str| registries(&tree(&[(path, text)])).len();
        assert_eq!(count("docs/a.md", "from static.crates.io"), 1);
        assert_eq!(count(".cargo/config.toml", "[source.crates-io]\nreplace-with = \"x\""), 1);
        assert_eq!(count("deny.toml", "[sources]\nunknown-registry = \"deny\""), 0);
    }
}
