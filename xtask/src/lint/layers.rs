//! Dependencies point one way, and every version stands in one table.

use toml::Table;

use super::Finding;
use crate::tree::Tree;

/// What a crate may depend on. Tests (`dev-dependencies`) are free in what they take from outside the workspace.
struct Layer {
    name: &'static str,
    /// Crates of the workspace.
    below: &'static [&'static str],
    /// Crates from outside; `None` when all may be used.
    outside: Option<&'static [&'static str]>,
}

/// Lowest first. The three core crates name what they may use, so that no clock, socket or runtime comes in unseen.
const LAYERS: [Layer; 7] = [
    Layer { name: "sip", below: &[], outside: Some(&["memchr", "safe_arch", "thiserror"]) },
    Layer { name: "directory", below: &["sip"], outside: Some(&["memchr", "serde", "serde_json", "thiserror"]) },
    Layer {
        name: "proxy",
        below: &["sip", "directory"],
        outside: Some(&["blake3", "bytes", "memchr", "serde", "thiserror"]),
    },
    Layer { name: "telemetry", below: &["sip", "directory", "proxy"], outside: None },
    Layer { name: "sync", below: &["sip", "directory"], outside: None },
    Layer { name: "admin", below: &["sip", "directory", "proxy", "telemetry", "sync"], outside: None },
    Layer { name: "switchyard", below: &["sip", "directory", "proxy", "telemetry", "sync", "admin"], outside: None },
];

/// Holds every manifest under `crates/` to its layer.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for (path, manifest) in manifests(tree) {
        let Some(folder) = path.strip_prefix("crates/").and_then(|rest| rest.strip_suffix("/Cargo.toml")) else {
            continue;
        };
        if folder.contains('/') {
            continue;
        }
        let Some(layer) = LAYERS.iter().find(|layer| layer.name == folder) else {
            found.push(Finding::new(path, 0, format!("crate {folder} has no layer in xtask/src/lint/layers.rs")));
            continue;
        };
        for (section, name) in dependencies(&manifest) {
            if let Some(what) = breach(layer, section, &name) {
                found.push(Finding::new(path, 0, what));
            }
        }
    }
    found
}

fn breach(layer: &Layer, section: &str, name: &str) -> Option<String> {
    if LAYERS.iter().any(|other| other.name == name) {
        return (!layer.below.contains(&name)).then(|| {
            format!("{} may not depend on {name}: below it are only [{}]", layer.name, layer.below.join(", "))
        });
    }
    let outside = layer.outside.filter(|_| section != "dev-dependencies")?;
    (!outside.contains(&name))
        .then(|| format!("{} may not use {name}: it may use only [{}]", layer.name, outside.join(", ")))
}

/// Every crate takes versions from the workspace's table and lints from the workspace's table.
pub(super) fn one_table(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for (path, manifest) in manifests(tree) {
        // The root is the table itself; a fuzz package stands outside the workspace.
        if manifest.contains_key("workspace") || is_fuzz(&manifest) {
            continue;
        }
        for (section, name) in dependencies(&manifest) {
            let entry = manifest.get(section).and_then(|table| table.get(&name));
            if !is_true(entry.and_then(|entry| entry.get("workspace"))) {
                found.push(Finding::new(
                    path,
                    0,
                    format!("{name} needs `workspace = true`: versions stand in one table"),
                ));
            }
        }
        if !is_true(manifest.get("lints").and_then(|lints| lints.get("workspace"))) {
            found.push(Finding::new(path, 0, "needs `[lints] workspace = true`"));
        }
    }
    found
}

fn is_fuzz(manifest: &Table) -> bool {
    let metadata = manifest.get("package").and_then(|package| package.get("metadata"));
    is_true(metadata.and_then(|metadata| metadata.get("cargo-fuzz")))
}

fn is_true(value: Option<&toml::Value>) -> bool {
    value.and_then(toml::Value::as_bool) == Some(true)
}

fn manifests(tree: &Tree) -> impl Iterator<Item = (&str, Table)> {
    let files = tree.texts_ending("Cargo.toml");
    files.filter_map(|(path, text)| text.parse::<Table>().ok().map(|manifest| (path, manifest)))
}

/// Section and name of every dependency.
fn dependencies(manifest: &Table) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        if let Some(table) = manifest.get(section).and_then(toml::Value::as_table) {
            found.extend(table.keys().map(|name| (section, name.clone())));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tree;

    fn found(path: &str, manifest: &str) -> Vec<String> {
        check(&tree(&[(path, manifest)])).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_dependency_upwards_is_found() {
        assert_eq!(
            found("crates/sip/Cargo.toml", "[dependencies]\ndirectory.workspace = true"),
            ["sip may not depend on directory: below it are only []"]
        );
        assert_eq!(found("crates/sync/Cargo.toml", "[dev-dependencies]\nproxy.workspace = true").len(), 1);
        assert!(found("crates/proxy/Cargo.toml", "[dependencies]\nsip.workspace = true").is_empty());
    }

    #[test]
    fn the_core_uses_only_what_it_names() {
        assert_eq!(found("crates/proxy/Cargo.toml", "[dependencies]\ntokio.workspace = true").len(), 1);
        assert!(found("crates/proxy/Cargo.toml", "[dev-dependencies]\nproptest.workspace = true").is_empty());
        assert!(found("crates/switchyard/Cargo.toml", "[dependencies]\ntokio.workspace = true").is_empty());
    }

    #[test]
    fn a_crate_without_a_layer_is_found() {
        assert_eq!(found("crates/extra/Cargo.toml", "").len(), 1);
    }

    #[test]
    fn a_version_or_lints_of_its_own_are_found() {
        let count = |text: &str| one_table(&tree(&[("crates/sip/Cargo.toml", text)])).len();
        assert_eq!(count("[dependencies]\nmemchr = \"2\"\n[lints]\nworkspace = true"), 1);
        assert_eq!(count("[dependencies]\nmemchr = { workspace = true, features = [] }"), 1);
        assert_eq!(count("[dependencies]\nmemchr.workspace = true\n[lints]\nworkspace = true"), 0);
        assert_eq!(count("[package.metadata]\ncargo-fuzz = true\n[dependencies]\nlibfuzzer-sys = \"0.4\""), 0);
        assert_eq!(count("[workspace]\n[dependencies]\nlibfuzzer-sys = \"0.4\""), 0);
    }
}
