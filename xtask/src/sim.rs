//! `cargo xtask sim`: calls by chance against the core, many seeds in an optimised build with every assertion.

use anyhow::Result;
use clap::Args;

use crate::tool;

#[derive(Args)]
pub(crate) struct Options {
    /// How many seeds.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Threads.
    #[arg(long, default_value_t = 1)]
    jobs: u64,
    /// Goes on after a failing seed, and lists them all.
    #[arg(long)]
    keep_going: bool,
    /// This seed alone.
    #[arg(long)]
    seed: Option<u64>,
    /// With --seed: every message, in order.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// With --trace: every byte of every message.
    #[arg(long, requires = "trace")]
    bytes: bool,
}

/// Builds the simulator and runs it. True when every invariant held.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let mut command = tool::cargo(&["run", "--quiet", "--profile", "sim", "--package", "simulation", "--"]);
    match options.seed {
        Some(seed) => command.args(["--seed", &seed.to_string()]),
        None => command.args(["--seeds", &options.seeds.to_string(), "--from", &options.from.to_string()]),
    };
    command.args(["--jobs", &options.jobs.to_string()]);
    let flags = [(options.keep_going, "--keep-going"), (options.trace, "--trace"), (options.bytes, "--bytes")];
    command.args(flags.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag));
    tool::succeeds(&mut command)
}
