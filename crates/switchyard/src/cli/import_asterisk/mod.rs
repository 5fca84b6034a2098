//! `switchyard import-asterisk`: the dialplan that carried DIDs before, held against the table that carries them now.
//! Nothing is written.

mod compare;
mod dialplan;

use super::explain::directory_of;
use super::{ConfigOption, Output, print};
use crate::config;
use clap::Args;
use compare::{Comparison, Endpoints};
use dialplan::Dialplan;
use directory::Environment;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

pub(super) const HELP: &str = "\
Run it before the switch-over and after. A literal number with Goto is a DID of the PBX that has the file, one with Dial
is a DID of the PBX behind the endpoint, which --endpoint names. Patterns are listed and not compared. The database is
read once; nothing is written, and the running proxy is not asked.

Exit code: 0 every number goes where it went, 2 something differs or was not understood, 1 there is no answer.

Examples:
  switchyard import-asterisk ext_tata_gateway.conf --endpoint cloud-endpoint-stage=staging
  switchyard import-asterisk ext_tata_gateway.conf --endpoint cloud-endpoint-stage=staging -o json";

/// The longest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What is asked.
#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(flatten)]
    config: ConfigOption,
    /// The dialplan, in the form of extensions.conf.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The environment of the PBX that has the file.
    #[arg(long, value_name = "ENVIRONMENT", default_value = "prod", value_parser = environment)]
    local: Environment,
    /// Where an endpoint of the file leads; may be repeated.
    #[arg(long = "endpoint", value_name = "NAME=ENVIRONMENT", value_parser = endpoint)]
    endpoints: Vec<(String, Environment)>,
    /// How the answer is printed.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Prints how they differ to `out`: 0 not at all, 2 somehow, 1 no answer, with the reason to `faults`.
pub(super) fn import(options: &Options, out: &mut impl Write, faults: &mut impl Write) -> ExitCode {
    let comparison = match compared(options) {
        Ok(comparison) => comparison,
        Err(fault) => {
            print(faults, &fault);
            return ExitCode::FAILURE;
        }
    };
    let text = match options.output {
        Output::Text => comparison.to_string(),
        Output::Json => serde_json::to_string_pretty(&comparison).unwrap_or_default(),
    };
    print(out, &text);
    if comparison.is_same() { ExitCode::SUCCESS } else { ExitCode::from(2) }
}

fn compared(options: &Options) -> Result<Comparison, String> {
    let file = options.file.display();
    let read = || {
        let found = std::fs::metadata(&options.file)?.len();
        if found > FILE_BYTES_MAX {
            let detail = format!("found {found} bytes, expected at most {FILE_BYTES_MAX}");
            return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, detail));
        }
        std::fs::read(&options.file)
    };
    let bytes = read().map_err(|error| format!("{file}: {error}"))?;
    let plan = Dialplan::read(&String::from_utf8_lossy(&bytes));
    if plan.extensions.is_empty() {
        return Err(format!("{file}: found no number, expected lines such as exten => 918065978002,1,Goto(..)"));
    }
    let configuration = config::load(&options.config.config).map_err(|faults| faults.to_string())?;
    let directory = directory_of(&configuration, Duration::MAX)?;
    let endpoints = Endpoints { local: options.local, named: options.endpoints.clone() };
    Ok(Comparison::of(plan, &endpoints, &directory))
}

fn environment(text: &str) -> Result<Environment, String> {
    text.parse().map_err(|_| format!("found {text:?}, expected prod, staging or oss"))
}

fn endpoint(text: &str) -> Result<(String, Environment), String> {
    let (name, word) = text.split_once('=').ok_or_else(|| format!("found {text:?}, expected NAME=ENVIRONMENT"))?;
    Ok((name.to_owned(), environment(word)?))
}
