//! The steps of `cargo xtask test`, in order of cost.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::counts::{Counts, Reader};
use super::install;
use super::{Options, Outcome};
use crate::{book, gate, lint, package, tool};

pub(crate) struct Step {
    pub(crate) name: &'static str,
    /// How it ended, and the tests it ran.
    pub(crate) run: fn(&Options) -> Result<(Outcome, Counts)>,
}

pub(crate) const STEPS: [Step; 11] = [
    Step { name: "format", run: |_| plain(&mut tool::cargo(&["fmt", "--all", "--check"])) },
    Step { name: "lint", run: |_| Ok((Outcome::of(lint::run()?), Counts::default())) },
    Step { name: "book", run: |_| Ok((Outcome::of(book::run()?), Counts::default())) },
    Step { name: "licences", run: |_| licences() },
    Step { name: "advisories", run: |_| advisories() },
    Step { name: "clippy", run: |_| clippy() },
    Step { name: "docs", run: |_| docs() },
    Step { name: "release", run: release },
    Step { name: "tests", run: tests },
    Step { name: "gate", run: instructions },
    Step { name: "demo", run: |_| plain(&mut tool::cargo(&["run", "--release", "--", "demo", "--once"])) },
];

fn plain(command: &mut Command) -> Result<(Outcome, Counts)> {
    Ok((Outcome::of(tool::succeeds(command)?), Counts::default()))
}

fn clippy() -> Result<(Outcome, Counts)> {
    plain(&mut tool::cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn docs() -> Result<(Outcome, Counts)> {
    plain(tool::cargo(&["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
}

/// Instructions against the baseline: valgrind takes minutes for it, so it belongs to the full set.
fn instructions(options: &Options) -> Result<(Outcome, Counts)> {
    if !options.full {
        println!("instructions are counted with --full, or by: cargo xtask bench --gate");
        return Ok((Outcome::NotChecked, Counts::default()));
    }
    Ok((Outcome::of(gate::run(false)?), Counts::default()))
}

/// Licences, sources and doubled versions of all dependencies, by deny.toml.
fn licences() -> Result<(Outcome, Counts)> {
    plain(&mut install::CARGO_DENY.program(&["check", "licenses", "sources", "bans"])?)
}

/// Known faults of the dependencies. Their database is on another site: not reaching it is said, and is no failure.
fn advisories() -> Result<(Outcome, Counts)> {
    let fetched =
        install::CARGO_DENY.program(&["fetch", "db"])?.output().context("cannot start cargo-deny")?.status.success();
    if !fetched {
        println!("WARNING: the database of advisories cannot be reached from here: ADVISORIES WERE NOT CHECKED.");
        return Ok((Outcome::NotChecked, Counts::default()));
    }
    plain(&mut install::CARGO_DENY.program(&["check", "--disable-fetch", "advisories"])?)
}

/// The program with optimisation: the one that is packaged, installed and demonstrated. The full set has the static one too.
fn release(options: &Options) -> Result<(Outcome, Counts)> {
    let mut is_built = tool::succeeds(&mut tool::cargo(&["build", "--release", "--bin", "switchyard"]))?;
    if options.full {
        is_built &= package::built_static()?.is_some();
    }
    Ok((Outcome::of(is_built), Counts::default()))
}

/// Unit, integration and doc tests; the call fixtures, the corpus, SIPp and the other elements are among them.
fn tests(options: &Options) -> Result<(Outcome, Counts)> {
    let mut command = tool::cargo(&["test", "--workspace", "--no-fail-fast", "--", "--show-output"]);
    for variable in ["SWITCHYARD_FULL", "SWITCHYARD_RELEASE", "SWITCHYARD_STATIC"] {
        command.env_remove(variable);
    }
    let program = tool::target_dir().join("release/switchyard");
    command.env("SWITCHYARD_PACKAGED", &program);
    if options.full {
        // What is promised at a rate is shown at that rate: not every machine carries it without optimisation.
        command.arg("--include-ignored").env("SWITCHYARD_FULL", "1").env("SWITCHYARD_RELEASE", program);
        command.env("SWITCHYARD_STATIC", package::static_program());
    }
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo test")?;
    let mut reader = Reader::default();
    let mut output = BufReader::new(child.stdout.take().context("cargo test has no output")?);
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\n', '\r']);
        if reader.line(text) {
            println!("{text}");
        }
        line.clear();
    }
    let passed = child.wait()?.success();
    Ok((Outcome::of(passed), reader.counts()))
}
