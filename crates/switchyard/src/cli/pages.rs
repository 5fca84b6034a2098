//! Where this machine has the documents and the examples that an answer names: those of the package, else those of the
//! tarball or the checkout, by their names in it.

use std::path::Path;

/// Where the package puts what it brings to read.
const INSTALLED: &str = "/usr/share/doc/switchyard";

/// A page of the documents, by its name below `docs`.
pub(super) fn page(name: &str) -> String {
    place(Path::new(INSTALLED), "docs", "docs", name)
}

/// A file to be copied or run, by its name below `deploy`.
pub(super) fn example(name: &str) -> String {
    place(Path::new(INSTALLED), "examples", "deploy", name)
}

fn place(installed: &Path, folder: &str, otherwise: &str, name: &str) -> String {
    let path = installed.join(folder).join(name);
    if path.exists() { path.display().to_string() } else { format!("{otherwise}/{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_page_is_named_where_it_is() {
        let installed = tempfile::tempdir().unwrap();
        let named = || place(installed.path(), "examples", "deploy", "sql/mariadb.sql");
        assert_eq!(named(), "deploy/sql/mariadb.sql");
        fs::create_dir_all(installed.path().join("examples/sql")).unwrap();
        fs::write(installed.path().join("examples/sql/mariadb.sql"), "").unwrap();
        assert_eq!(named(), format!("{}/examples/sql/mariadb.sql", installed.path().display()));
    }

    /// Every Rust file below a folder.
    fn texts(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let texts =
            entries.map(|path| if path.is_dir() { texts(&path) } else { vec![fs::read_to_string(path).unwrap()] });
        texts.flatten().collect()
    }

    #[test]
    fn every_page_that_an_answer_names_is_there_and_packaged() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let manifest = fs::read_to_string(root.join("crates/switchyard/Cargo.toml")).unwrap();
        let mut seen = 0;
        for text in texts(&root.join("crates/switchyard/src/cli")) {
            let code = text.split("#[cfg(test)]").next().unwrap();
            for (call, folder) in [("page(\"", "docs"), ("example(\"", "deploy")] {
                for name in code.split(call).skip(1).map(|rest| rest.split('"').next().unwrap()) {
                    let name = name.split('#').next().unwrap();
                    assert!(root.join(folder).join(name).is_file(), "{folder}/{name} is named and not there");
                    let packaged = match folder {
                        "docs" => "../../docs/**/*.md".to_owned(),
                        _ => format!("../../deploy/{}/", name.split('/').next().unwrap()),
                    };
                    assert!(manifest.contains(&packaged), "{folder}/{name} is not in the package");
                    seen += 1;
                }
            }
            // A page that is named otherwise is not found on a machine with the package.
            let bare = code
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .find(|line| line.contains("docs/how-to/") || line.contains("docs/reference/"));
            assert_eq!(bare, None);
        }
        assert!(seen >= 8, "{seen} pages are named");
    }
}
