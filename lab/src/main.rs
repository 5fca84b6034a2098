//! The standing lab: `cargo xtask lab --shell` and its siblings.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool speaks to the terminal")]

mod standing;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Puts the lab up, changes its paths, and takes it away.
#[derive(Parser)]
#[command(name = "lab", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Put the lab up and leave it standing.
    Up {
        /// The `switchyard` that runs on prod.
        #[arg(long)]
        binary: PathBuf,
        /// Decides the chances of all impairments.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Hold a lab up until it is told to go: what `up` leaves behind.
    #[command(hide = true)]
    Hold {
        #[arg(long)]
        binary: PathBuf,
        #[arg(long)]
        seed: u64,
    },
    /// Impair the paths: "loss=10 jitter=50ms", "cut", "clean"; with a spoke's name before them, that one's alone.
    Impair {
        /// The words.
        words: Vec<String>,
    },
    /// Show what became of the datagrams so far.
    Counts,
    /// Take every standing lab away, and what dead ones have left.
    Down,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Up { binary, seed } => standing::up(&binary, seed).map(|text| print!("{text}")),
        Command::Hold { binary, seed } => standing::hold(&binary, seed),
        Command::Impair { words } => {
            standing::ask(&format!("impair {}", words.join(" "))).map(|text| println!("{text}"))
        }
        Command::Counts => standing::ask("counts").map(|text| println!("{text}")),
        Command::Down => standing::down().map(|text| println!("{text}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("lab: {fault:#}");
            ExitCode::FAILURE
        }
    }
}
