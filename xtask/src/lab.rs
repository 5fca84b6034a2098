//! `cargo xtask lab`: whole calls through real WireGuard in network namespaces; the tests of it, or the lab to look at.

use anyhow::Result;
use clap::Args;

use crate::test::install;
use crate::tool;

/// Without any option: the tests in the lab.
#[derive(Args)]
pub(crate) struct Options {
    /// Leave the lab standing, and say how to enter it.
    #[arg(long)]
    shell: bool,
    /// Decides the chances of a standing lab's impairments.
    #[arg(long, default_value_t = 1, requires = "shell")]
    seed: u64,
    /// Change the paths of a standing lab: "loss=10 duplicate=5", "staging cut", "clean".
    #[arg(long, value_name = "WORDS", conflicts_with = "shell")]
    impair: Option<String>,
    /// Show what became of a standing lab's datagrams.
    #[arg(long, conflicts_with_all = ["shell", "impair"])]
    counts: bool,
    /// Take standing labs away, and what dead ones have left.
    #[arg(long, conflicts_with_all = ["shell", "impair", "counts"])]
    down: bool,
    /// With the slow tests.
    #[arg(long, conflicts_with_all = ["shell", "impair", "counts", "down"])]
    full: bool,
}

/// True when it did what was asked.
pub(crate) fn run(options: &Options) -> Result<bool> {
    install::packages()?;
    if options.shell {
        let built = tool::succeeds(&mut tool::cargo(&["build", "--package", "switchyard", "--package", "lab"]))?;
        let binary = tool::target_dir().join("debug").join("switchyard");
        return Ok(built && lab(&["up", "--seed", &options.seed.to_string(), "--binary", &binary.to_string_lossy()])?);
    }
    match (&options.impair, options.counts, options.down) {
        (Some(words), _, _) => lab(&["impair", words]),
        (_, true, _) => lab(&["counts"]),
        (_, _, true) => lab(&["down"]),
        _ => tests(options.full),
    }
}

fn tests(full: bool) -> Result<bool> {
    let own = tool::succeeds(&mut tool::cargo(&["test", "--package", "lab"]))?;
    let mut calls = tool::cargo(&["test", "--package", "switchyard", "--test", "lab", "--"]);
    if full {
        calls.arg("--include-ignored");
    }
    Ok(tool::succeeds(&mut calls)? && own)
}

/// Runs the lab's program, built if need be.
fn lab(arguments: &[&str]) -> Result<bool> {
    tool::succeeds(tool::cargo(&["run", "--quiet", "--package", "lab", "--"]).args(arguments))
}
