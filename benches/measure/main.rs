//! Side by side, and the long run: `cargo xtask bench --against kamailio,relay` and `cargo xtask soak` build everything
//! and start this.
//!
//! The program under test has core 0 to itself; this program, the load generator and whoever scrapes have core 1.

#![expect(
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a measuring program speaks to the terminal, and its numbers are far below the bounds of their types"
)]

mod against;
mod chart;
mod figures;
mod gauges;
mod generator;
mod peer;
mod soak;
mod subject;
mod table;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The core of the program under test.
const PEER_CORE: usize = 0;
/// The core of everything else.
const LOAD_CORE: usize = 1;

/// Measures our proxy beside others on the same machine, in the same minutes; or for many minutes, with faults.
#[derive(Parser)]
#[command(name = "measure")]
struct Arguments {
    #[command(flatten)]
    places: Places,
    #[command(subcommand)]
    what: What,
}

/// Where programs and results are.
#[derive(clap::Args)]
struct Places {
    /// The folder with `load` and `relay`, and with `switchyard` unless that is told apart.
    #[arg(long, default_value = "target/release")]
    programs: PathBuf,
    /// Our program.
    #[arg(long)]
    switchyard: Option<PathBuf>,
    /// Where tables, charts and readings are written.
    #[arg(long, default_value = "benches/results")]
    results: PathBuf,
}

#[derive(Subcommand)]
enum What {
    /// Takes turns between ours and others.
    Against(against::Options),
    /// Runs ours for many minutes, with a fault in each.
    Soak(soak::Options),
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    take_core(LOAD_CORE)?;
    let is_good = match &arguments.what {
        What::Against(options) => against::run(&arguments.places, options)?,
        What::Soak(options) => soak::run(&arguments.places, options)?,
    };
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Ties this process, and what it starts from now on, to one core.
fn take_core(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    sched_setaffinity(Pid::this(), &cores).with_context(|| format!("core {core} cannot be taken: two cores are needed"))
}

impl Places {
    fn switchyard(&self) -> PathBuf {
        self.switchyard.clone().unwrap_or_else(|| self.programs.join("switchyard"))
    }

    /// Writes one file of the results.
    fn write(&self, name: &str, text: &str) -> Result<()> {
        std::fs::create_dir_all(&self.results).with_context(|| format!("{} cannot be made", self.results.display()))?;
        let path = self.results.join(name);
        std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))
    }
}

/// A folder for one program's files, new and empty. Dropping it removes it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Folder> {
        let folder = std::env::temp_dir().join(format!("switchyard-measure-{}", std::process::id()));
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        Ok(Folder(folder))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}
