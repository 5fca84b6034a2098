//! The tarball: the program with its pages, completions, unit and examples, for machines without Debian's packages.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::notices;
use crate::tool;

/// Files and folders of the checkout that go in, each under the name beside it.
const FILES: [(&str, &str); 7] = [
    ("README.md", "README.md"),
    ("CHANGELOG.md", "CHANGELOG.md"),
    ("LICENSE-APACHE", "LICENSE-APACHE"),
    ("LICENSE-MIT", "LICENSE-MIT"),
    ("deploy", "deploy"),
    ("docs", "docs"),
    ("fixtures/directory", "fixtures/directory"),
];

/// Packs it, and returns where it is: `switchyard-VERSION-TARGET.tar.gz`, with one folder of that name in it.
pub(super) fn made(binary: &Path, target: &str, version: &str, staged: &Path, folder: &Path) -> Result<PathBuf> {
    let name = format!("switchyard-{version}-{target}");
    let root = staged.join("tarball").join(&name);
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
    for (from, to) in FILES {
        copied(&tool::root().join(from), &root.join(to))?;
    }
    for made in ["man", "completions"] {
        copied(&staged.join(made), &root.join(made))?;
    }
    // What is linked in goes by the target.
    notices::write(target, &root)?;
    let program = root.join("switchyard");
    fs::copy(binary, &program).with_context(|| format!("cannot copy {}", binary.display()))?;
    if !tool::succeeds(tool::program("strip", &["--strip-debug"]).arg(&program))? {
        bail!("strip could not take the debug information out of {}", program.display());
    }
    let tarball = folder.join(format!("{name}.tar.gz"));
    let mut pack = tool::program("tar", &["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--create"]);
    pack.arg("--gzip").arg("--file").arg(&tarball).arg("--directory").arg(staged.join("tarball")).arg(&name);
    if !tool::succeeds(&mut pack)? {
        bail!("tar could not write {}", tarball.display());
    }
    Ok(tarball)
}

/// Copies a file, or a folder with what is in it.
fn copied(from: &Path, to: &Path) -> Result<()> {
    if from.is_file() {
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
        return Ok(());
    }
    let entries = fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))?;
    for entry in entries {
        let entry = entry?;
        copied(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_copied_with_what_is_in_it() {
        let root = std::env::temp_dir().join(format!("xtask-tarball-{}", std::process::id()));
        fs::create_dir_all(root.join("from/below")).unwrap();
        fs::write(root.join("from/below/file"), "text").unwrap();
        copied(&root.join("from"), &root.join("to/deep")).unwrap();
        let text = fs::read_to_string(root.join("to/deep/below/file"));
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(text.unwrap(), "text");
    }
}
