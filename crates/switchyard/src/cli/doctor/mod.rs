//! `switchyard doctor`: whether this machine, the database and the running process are as they should be, in plain
//! words, with what to do. It looks, and changes nothing.

mod data;
mod machine;
mod rights;
mod tunnel;

use super::{ConfigOption, Output, print};
use crate::config;
use clap::Args;
use serde::Serialize;
use std::fmt;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

pub(super) const HELP: &str = "\
Looks at the configuration, the state folder, keys, listeners, socket buffers, interfaces, routes, handshakes of tunnels, the
largest datagram that reaches each peer (by an OPTIONS of 1,392 bytes that may not be cut), the database, what its account may
do, its columns, clock and triggers, the snapshot, the running process and its limits. It changes nothing, and takes a few
seconds where a peer or the database does not answer. Run it as the user that runs the proxy, or as root: only root is shown
tunnels.
Exit code: 0 nothing is bad (there may be warnings), 2 something is, 1 the configuration cannot be read.

Examples:
  sudo -u switchyard switchyard doctor
  switchyard doctor -o json | jq '.findings[] | select(.verdict != \"good\")'";

/// What is asked.
#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(flatten)]
    config: ConfigOption,
    /// The database for an account that may see triggers, where the proxy's may not: MariaDB shows them only to one that may
    /// make them. Nothing is written.
    #[arg(long, value_name = "URL", env = "SWITCHYARD_ADMIN_URL", hide_env_values = true)]
    url: Option<String>,
    /// How the answer is printed.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// What was found. Field names are stable.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Report {
    /// The worst verdict of all.
    verdict: Verdict,
    /// In the order in which things were looked at.
    findings: Vec<Finding>,
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Finding {
    /// What was looked at.
    what: &'static str,
    /// How it is.
    verdict: Verdict,
    /// What was found.
    found: String,
    /// What to do; not there where nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    todo: Option<String>,
}

/// How something is; the worst comes last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// As it should be.
    Good,
    /// Calls are served, and it wants a look.
    Warning,
    /// Calls fail, or will.
    Bad,
}

/// Prints what was found to `out`: 0 nothing bad, 2 something, 1 no configuration, with its faults.
pub(super) fn doctor(options: &Options, out: &mut impl Write, faults: &mut impl Write) -> ExitCode {
    let configuration = match config::load(&options.config.config) {
        Ok(configuration) => configuration,
        Err(found) => {
            print(faults, &found.to_string());
            return ExitCode::FAILURE;
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            print(faults, &format!("no runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let status = runtime.block_on(admin::fetch_status(&configuration.state_dir)).map_err(|fault| fault.to_string());
    let file = options.config.config.display();
    let mut findings = vec![Finding::good("configuration", format!("{file} is as it should be"))];
    findings.extend(machine::state(&configuration));
    findings.extend(machine::listeners(&configuration, status.is_ok()));
    findings.extend(machine::kernel(&configuration, Path::new("/")));
    findings.extend(machine::routes(&configuration));
    findings.extend(tunnel::handshakes(&configuration));
    findings.extend(tunnel::sizes(&configuration));
    findings.extend(runtime.block_on(data::database(&configuration, options.url.as_deref())));
    findings.extend(runtime.block_on(rights::rights(&configuration)));
    findings.extend(data::snapshot(&configuration));
    findings.extend(data::process(status.as_ref().map_err(String::as_str)));
    if status.is_ok() {
        findings.extend(runtime.block_on(data::limits(&configuration)));
    }
    let verdict = findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Good);
    let report = Report { verdict, findings };
    let text = match options.output {
        Output::Text => report.to_string(),
        Output::Json => serde_json::to_string_pretty(&report).unwrap_or_default(),
    };
    print(out, &text);
    if report.verdict == Verdict::Bad { ExitCode::from(2) } else { ExitCode::SUCCESS }
}

impl Finding {
    fn good(what: &'static str, found: impl Into<String>) -> Finding {
        Finding { what, verdict: Verdict::Good, found: found.into(), todo: None }
    }

    fn warning(what: &'static str, found: impl Into<String>, todo: impl Into<String>) -> Finding {
        Finding { what, verdict: Verdict::Warning, found: found.into(), todo: Some(todo.into()) }
    }

    fn bad(what: &'static str, found: impl Into<String>, todo: impl Into<String>) -> Finding {
        Finding { what, verdict: Verdict::Bad, found: found.into(), todo: Some(todo.into()) }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { what, verdict, found, todo } in &self.findings {
            let mark = match verdict {
                Verdict::Good => "good",
                Verdict::Warning => "LOOK",
                Verdict::Bad => "BAD ",
            };
            writeln!(f, "{mark}  {what:<14} {found}")?;
            if let Some(todo) = todo {
                writeln!(f, "                     -> {todo}")?;
            }
        }
        let count = |wanted: Verdict| self.findings.iter().filter(|finding| finding.verdict == wanted).count();
        write!(f, "{} good, {} to look at, {} bad", count(Verdict::Good), count(Verdict::Warning), count(Verdict::Bad))
    }
}

/// A configuration for tests, with what no file can do without.
#[cfg(test)]
fn configured(text: &str) -> config::Configuration {
    config::read("made", text, &|_| None).unwrap_or_else(|faults| panic!("{faults}"))
}
