//! What a developer runs: `cargo xtask test`, `cargo xtask lint`, `cargo xtask fuzz`, `cargo xtask lab`,
//! `cargo xtask package`.
//!
//! One file per command. `tool` starts programs, `cargo_tool` installs cargo's
//! extensions, `tree` holds the files of the checkout for the lint rules.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool speaks to the terminal")]

mod bench;
mod book;
mod cargo_tool;
mod dashboard;
mod fuzz;
mod gate;
mod lab;
mod lint;
mod package;
mod sim;
mod test;
mod tool;
mod tree;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tests, checks and fuzzes the workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what the tests need, then run every check and every test; the last line counts the tests.
    Test(test::Options),
    /// Check the rules of the house: lengths, names, docs equal to the code, direction of dependencies.
    Lint,
    /// Build the docs as a book in target/book, and follow every link in it.
    Book,
    /// Write Grafana's dashboard anew from its list of panels.
    Dashboard,
    /// Run the tests in the network lab, or leave it standing to look at.
    Lab(lab::Options),
    /// Run one fuzz target for a bounded time, from the corpus in fixtures/corpus.
    Fuzz(fuzz::Options),
    /// Make the Debian package and the tarballs, in target/package.
    Package(package::Options),
    /// Measure: beside other proxies, or instructions against the baseline.
    Bench(bench::Options),
    /// Run for minutes at half of the highest rate, with a fault in each; the verdict is the exit code.
    Soak(bench::SoakOptions),
    /// Run the simulation: many seeds, or one again with its trace.
    Sim(sim::Options),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Test(options) => test::run(&options),
        Command::Lint => lint::run(),
        Command::Book => book::run(),
        Command::Dashboard => dashboard::run(),
        Command::Lab(options) => lab::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Package(options) => package::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Soak(options) => bench::soak(&options),
        Command::Sim(options) => sim::run(&options),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            eprintln!("xtask: {fault:#}");
            ExitCode::FAILURE
        }
    }
}
