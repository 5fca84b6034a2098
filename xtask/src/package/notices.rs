//! THIRD-PARTY-NOTICES: whose work is linked into the program, under which licences, with their texts as the crates bring
//! them. Most of those licences ask for that wherever the program is given to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::tool;

/// Its name, in the Debian package's folder of documents and at the top of a tarball.
const FILE: &str = "THIRD-PARTY-NOTICES";

/// How names of files begin that say under which terms a work is given.
const NAMES: [&str; 6] = ["license", "licence", "copying", "copyright", "notice", "unlicense"];
/// Endings of such files that are programs or pages of a browser.
const NO_TEXTS: [&str; 5] = ["c", "h", "html", "rs", "toml"];
/// Where a static program's C library has its terms, once Debian's musl-tools are there.
const MUSL: &str = "/usr/share/doc/musl/copyright";

/// A crate in the program.
#[derive(Debug)]
struct Linked {
    name: String,
    licence: String,
    authors: Vec<String>,
    folder: PathBuf,
}

/// Writes the notices of the program for `target` into a folder.
pub(super) fn write(target: &str, folder: &Path) -> Result<()> {
    let path = folder.join(FILE);
    fs::write(&path, notices(target)?).with_context(|| format!("cannot write {}", path.display()))
}

fn notices(target: &str) -> Result<String> {
    let linked = linked(target)?;
    let mut text = format!(
        "Switchyard is given under the MIT licence or the Apache licence 2.0. The program holds work of others, under \
         terms of theirs:\nthe Rust standard library and {} crates for {target}. Their texts follow the list; each text \
         stands once.\n\n",
        linked.len()
    );
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let apache = fs::read_to_string(tool::root().join("LICENSE-APACHE")).context("cannot read LICENSE-APACHE")?;
    for Linked { name, licence, authors, folder } in &linked {
        let authors = if authors.is_empty() { String::new() } else { format!("; {}", authors.join(", ")) };
        text.push_str(&format!("{name}: {licence}{authors}\n"));
        let mut files = Vec::new();
        found(folder, &mut files)?;
        for file in &files {
            let terms = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            let shown = file.strip_prefix(folder).unwrap_or(file).display();
            let terms = String::from_utf8_lossy(&terms).replace("\r\n", "\n").trim_end().to_owned();
            texts.entry(terms).or_default().insert(format!("{name} ({shown})"));
        }
        if files.is_empty() {
            // Its authors let us choose, and this one asks for nothing but its own text.
            if !licence.contains("Apache-2.0") {
                bail!("{name} is under {licence} and brings no text of it: write down by hand what it asks for");
            }
            texts
                .entry(apache.trim_end().to_owned())
                .or_default()
                .insert(format!("{name} (by its choice of licences)"));
        }
    }
    let standard = "the Rust standard library (by its choice of licences); Copyright The Rust Project Contributors";
    texts.entry(apache.trim_end().to_owned()).or_default().insert(standard.to_owned());
    if target.ends_with("musl") {
        let terms = fs::read_to_string(MUSL).with_context(|| format!("cannot read {MUSL}, of Debian's musl"))?;
        texts.entry(terms.trim_end().to_owned()).or_default().insert("musl, the C library".to_owned());
    }
    for (terms, whose) in &texts {
        let whose: Vec<&str> = whose.iter().map(String::as_str).collect();
        text.push_str(&format!("\n{}\n{}\n\n{terms}\n", "=".repeat(80), whose.join("\n")));
    }
    Ok(text)
}

/// The crates that the program is linked from, ours apart, by name.
fn linked(target: &str) -> Result<Vec<Linked>> {
    let arguments = ["metadata", "--locked", "--format-version", "1", "--filter-platform", target];
    let said = tool::answer(&mut tool::cargo(&arguments)).context("cargo metadata failed")?;
    let metadata: Value = serde_json::from_str(&said).context("cargo metadata printed no JSON")?;
    let listed = |value: &Value, at: &str| value.pointer(at).and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let packages = listed(&metadata, "/packages");
    let packages: BTreeMap<String, &Value> = packages.iter().map(|package| (text(package, "id"), package)).collect();
    let nodes = listed(&metadata, "/resolve/nodes");
    let nodes: BTreeMap<String, &Value> = nodes.iter().map(|node| (text(node, "id"), node)).collect();
    let program = packages.iter().find(|(_, package)| package["name"] == "switchyard");
    let mut waiting = vec![program.context("cargo metadata does not know switchyard")?.0.clone()];
    let mut seen = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        if seen.contains(&id) {
            continue;
        }
        let node = nodes.get(&id).with_context(|| format!("cargo metadata does not resolve {id}"))?;
        for dependency in listed(node, "/deps") {
            // Without a kind it is neither of tests nor of build scripts alone.
            if listed(&dependency, "/dep_kinds").iter().any(|kind| kind["kind"].is_null()) {
                waiting.push(text(&dependency, "pkg"));
            }
        }
        seen.insert(id);
    }
    let of_others = packages.iter().filter(|(id, package)| seen.contains(*id) && !package["source"].is_null());
    let mut linked: Vec<Linked> = of_others
        .map(|(_, package)| Linked {
            name: format!("{} {}", text(package, "name"), text(package, "version")),
            licence: text(package, "license"),
            authors: listed(package, "/authors").iter().filter_map(|own| Some(own.as_str()?.to_owned())).collect(),
            folder: Path::new(&text(package, "manifest_path")).parent().map(Path::to_path_buf).unwrap_or_default(),
        })
        .collect();
    linked.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(linked)
}

/// The files of terms below a folder, those of what a crate itself has taken in among them.
fn found(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    for path in paths {
        let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        if path.is_dir() {
            found(&path, files)?;
            continue;
        }
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
        if NAMES.iter().any(|begins| name.starts_with(begins)) && !NO_TEXTS.contains(&&*ending) {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The target that these tests are built for, as `switchyard --version` names it.
    fn target() -> String {
        let said = tool::answer(&mut tool::program("rustc", &["--version", "--verbose"])).unwrap();
        said.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
    }

    #[test]
    fn every_crate_of_the_program_is_named_with_its_terms() {
        let target = target();
        let text = notices(&target).unwrap();
        // Another hand of cargo's lists them.
        let arguments = ["tree", "--locked", "--package", "switchyard", "--edges", "normal", "--prefix", "none"];
        let format = ["--format", "{p}|{l}", "--target", &target];
        let listed = tool::answer(tool::cargo(&arguments).args(format)).unwrap();
        let mut count = 0;
        // What it has shown before is marked.
        let lines = listed.lines().map(|line| line.trim_end_matches(" (*)"));
        for (package, licence) in lines.filter_map(|line| line.split_once('|')) {
            // Ours are named with the folder that they stand in.
            if package.contains(" (/") {
                continue;
            }
            let mut words = package.split(' ');
            let name = format!("{} {}", words.next().unwrap(), words.next().unwrap().trim_start_matches('v'));
            assert!(!licence.is_empty(), "{name} says no licence");
            assert!(text.contains(&format!("\n{name}: {licence}")), "{name} under {licence} is not in the list");
            assert!(text.contains(&format!("\n{name} (")), "no text stands for {name}");
            count += 1;
        }
        assert!(count > 100, "{count} crates");
        for whole in ["Permission is hereby granted, free of charge", "TERMS AND CONDITIONS FOR USE, REPRODUCTION"] {
            assert!(text.contains(whole), "{whole}");
        }
        // Not those of tests, nor those of other systems.
        assert!(!text.contains("\nrsip ") && !text.contains("\nwindows-sys "));
    }

    #[test]
    fn files_of_terms_are_found_wherever_they_stand() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("third_party/fiat")).unwrap();
        for name in ["LICENSE-MIT", "COPYING", "third_party/fiat/LICENSE.md", "license.rs", "lib.rs", "NOTICE.txt"] {
            fs::write(folder.path().join(name), "text").unwrap();
        }
        let mut files = Vec::new();
        found(folder.path(), &mut files).unwrap();
        let shown: Vec<String> =
            files.iter().map(|file| file.strip_prefix(folder.path()).unwrap().display().to_string()).collect();
        assert_eq!(shown, ["COPYING", "LICENSE-MIT", "NOTICE.txt", "third_party/fiat/LICENSE.md"]);
    }
}
