//! `cargo xtask fuzz TARGET --minutes N`: one fuzz target, bounded in time.
//!
//! The inputs kept in `fixtures/corpus/TARGET` are the start; what the run finds beyond them goes to the build folder,
//! so that a run never changes the checkout. An input worth keeping is copied to `fixtures/corpus/TARGET` by hand.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::cargo_tool::CargoTool;
use crate::tool;

const CARGO_FUZZ: CargoTool = CargoTool { name: "cargo-fuzz", version: "0.13.2" };

/// Longest input that the fuzzer makes: the largest datagram.
const INPUT_BYTES: u32 = 65_535;

#[derive(Args)]
pub(crate) struct Options {
    /// Name of the fuzz target; without it the targets are listed.
    target: Option<String>,
    /// How long the run lasts, in minutes.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=600))]
    minutes: u32,
}

/// Runs the target. True when the time passed without a finding.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let targets = targets(&tool::root().join("crates"))?;
    let Some(wanted) = &options.target else {
        for target in &targets {
            println!("{}", target.name);
        }
        return Ok(true);
    };
    let Some(target) = targets.iter().find(|target| target.name == *wanted) else {
        let names: Vec<_> = targets.iter().map(|target| target.name.as_str()).collect();
        bail!("no fuzz target is called {wanted}; there are: {}", names.join(", "));
    };
    CARGO_FUZZ.install()?;
    let found = tool::target_dir().join("fuzz-found").join(&target.name);
    let kept = tool::root().join("fixtures/corpus").join(&target.name);
    for folder in [&found, &kept] {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let seconds = u64::from(options.minutes) * 60;
    // The fuzzed crates forbid unsafe code, so the address sanitizer would only halve the pace.
    let mut command = CARGO_FUZZ.program(&["fuzz", "run", "--sanitizer", "none", "--fuzz-dir"])?;
    command.arg(&target.package).arg("--target-dir").arg(tool::target_dir().join("fuzz"));
    command.arg(&target.name).arg(&found).arg(&kept).arg("--");
    command.arg(format!("-max_total_time={seconds}")).arg(format!("-max_len={INPUT_BYTES}")).arg("-timeout=5");
    // cargo-fuzz passes compiler flags that a stable compiler takes only with this.
    tool::succeeds(command.env("RUSTC_BOOTSTRAP", "1"))
}

struct Target {
    name: String,
    package: PathBuf,
}

/// Every `crates/*/fuzz/fuzz_targets/NAME.rs`, by name.
fn targets(crates: &Path) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    for krate in folder(crates)? {
        let package = krate.join("fuzz");
        let sources = package.join("fuzz_targets");
        if !sources.is_dir() {
            continue;
        }
        for source in folder(&sources)? {
            if let (Some(stem), Some("rs")) = (source.file_stem(), source.extension().and_then(|e| e.to_str())) {
                targets.push(Target { name: stem.to_string_lossy().into_owned(), package: package.clone() });
            }
        }
    }
    targets.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(targets)
}

fn folder(path: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_found_in_every_crate_by_name() {
        let root = std::env::temp_dir().join(format!("xtask-fuzz-{}", std::process::id()));
        for file in ["b/fuzz/fuzz_targets/uri.rs", "a/fuzz/fuzz_targets/datagram.rs", "a/src/lib.rs"] {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found = targets(&root).unwrap();
        std::fs::remove_dir_all(&root).unwrap();
        let names: Vec<_> = found.iter().map(|target| target.name.as_str()).collect();
        assert_eq!(names, ["datagram", "uri"]);
    }
}
