//! `switchyard completions` and `switchyard man`: made from the command line itself, so that they say what it takes.

use super::{Arguments, print};
use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const NAME: &str = "switchyard";

#[derive(Args)]
pub(super) struct CompletionsOptions {
    /// The shell: bash, zsh or fish.
    #[arg(value_parser = shell)]
    shell: Shell,
}

#[derive(Args)]
pub(super) struct ManOptions {
    /// The folder, which must exist.
    folder: PathBuf,
}

/// Prints what a shell reads to complete our command lines.
pub(super) fn completions(options: &CompletionsOptions, out: &mut impl Write) -> ExitCode {
    let mut text = Vec::new();
    clap_complete::generate(options.shell, &mut Arguments::command(), NAME, &mut text);
    print(out, String::from_utf8_lossy(&text).trim_end());
    ExitCode::SUCCESS
}

/// Writes a page for the program and for every command of it: `switchyard-did-set.1`. 1 where the folder cannot be written.
pub(super) fn man(options: &ManOptions, out: &mut impl Write, faults: &mut impl Write) -> ExitCode {
    let mut program = Arguments::command();
    program.build();
    match written(&program, NAME, &options.folder) {
        Ok(count) => {
            print(out, &format!("{count} pages in {}", options.folder.display()));
            ExitCode::SUCCESS
        }
        Err(fault) => {
            print(faults, &format!("{}: {fault}", options.folder.display()));
            ExitCode::FAILURE
        }
    }
}

/// The page of a command and those of the commands below it. How many there are.
fn written(command: &Command, name: &str, folder: &Path) -> io::Result<usize> {
    let mut page = Vec::new();
    let titled = command.clone().display_name(name.to_owned());
    clap_mangen::Man::new(titled).render(&mut page)?;
    fs::write(folder.join(format!("{name}.1")), page)?;
    let mut count = 1;
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        count += written(below, &format!("{name}-{}", below.get_name()), folder)?;
    }
    Ok(count)
}

fn shell(word: &str) -> Result<Shell, String> {
    match word {
        "bash" => Ok(Shell::Bash),
        "zsh" => Ok(Shell::Zsh),
        "fish" => Ok(Shell::Fish),
        _ => Err("expected bash, zsh or fish".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those that answer no question: they run, ask at a terminal, or write a script for another program.
    const WITHOUT_JSON: [&str; 9] = [
        "switchyard run",
        "switchyard check",
        "switchyard init",
        "switchyard demo",
        "switchyard completions",
        "switchyard man",
        "switchyard db plan",
        "switchyard db migrate",
        "switchyard did export",
    ];

    fn leaves(command: &Command, name: &str, found: &mut Vec<(String, bool)>) {
        let below: Vec<&Command> = command.get_subcommands().filter(|below| below.get_name() != "help").collect();
        if below.is_empty() {
            found.push((name.to_owned(), command.get_arguments().any(|argument| argument.get_id() == "output")));
        }
        for below in below {
            leaves(below, &format!("{name} {}", below.get_name()), found);
        }
    }

    #[test]
    fn every_verb_prints_json_for_scripts() {
        let mut found = Vec::new();
        leaves(&Arguments::command(), NAME, &mut found);
        assert!(found.len() > 40, "{found:?}");
        for (name, has_output) in found {
            assert!(has_output || WITHOUT_JSON.contains(&name.as_str()), "{name} has no --output json");
        }
    }
}
