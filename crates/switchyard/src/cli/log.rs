//! `switchyard log`: what the running process tells, and of whom.

use super::ask::{EXIT_CODES, EndOption, Told, Way, WhyOption, ask};
use admin::api::log::{LogChange, LogState, NewWatch};
use clap::{Args, Subcommand};
use hyper::Method;
use std::io::Write;
use std::process::ExitCode;

/// How long calls are watched unless it is said.
const WATCH_SECS: u64 = 600;

#[derive(Args)]
pub(super) struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Say how the log is written.
    #[command(after_help = EXIT_CODES)]
    Status(Way),
    /// Tell no less than this from now on: error, warn, info, debug, trace.
    #[command(after_help = EXIT_CODES)]
    Level {
        /// The level.
        level: String,
        #[command(flatten)]
        way: Way,
        #[command(flatten)]
        why: WhyOption,
    },
    /// Hide the last two digits of numbers: on or off.
    #[command(after_help = EXIT_CODES)]
    Redact {
        /// Whether they are hidden.
        #[arg(action = clap::ArgAction::Set, value_parser = on_or_off)]
        is_on: bool,
        #[command(flatten)]
        way: Way,
        #[command(flatten)]
        why: WhyOption,
    },
    /// Tell every step of some calls for a while (10 minutes), whatever the level.
    #[command(after_help = EXIT_CODES)]
    Watch {
        #[command(flatten)]
        way: Way,
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        end: EndOption,
        #[command(flatten)]
        why: WhyOption,
    },
    /// End every watch.
    #[command(after_help = EXIT_CODES)]
    Unwatch {
        #[command(flatten)]
        way: Way,
        #[command(flatten)]
        why: WhyOption,
    },
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Whose {
    /// Calls of this DID, in any spelling.
    #[arg(long)]
    did: Option<String>,
    /// Calls of this organisation, by its id or name.
    #[arg(long)]
    organisation: Option<String>,
}

pub(super) fn log(options: Options, out: &mut impl Write, faults: &mut impl Write) -> ExitCode {
    match options.verb {
        Verb::Status(way) => ask(&way, out, faults, async |client| {
            let state: LogState = client.fetch("log").await?;
            Ok(Told::new(told(&state), &state))
        }),
        Verb::Level { level, way, why } => {
            change(&way, &why, &LogChange { level: Some(level), ..LogChange::default() }, out, faults)
        }
        Verb::Redact { is_on, way, why } => {
            change(&way, &why, &LogChange { redact: Some(is_on), ..LogChange::default() }, out, faults)
        }
        Verb::Watch { way, whose, end, why } => ask(&way, out, faults, async |client| {
            let for_s = end.left_s().unwrap_or(WATCH_SECS);
            let watch = NewWatch { number: whose.did, organisation: whose.organisation, for_s };
            let state: LogState = client.write(Method::POST, &why.at("log/watches"), None, &watch).await?;
            Ok(Told::new(told(&state), &state))
        }),
        Verb::Unwatch { way, why } => ask(&way, out, faults, async |client| {
            let state: LogState = client.write(Method::DELETE, &why.at("log/watches"), None, &()).await?;
            Ok(Told::new(told(&state), &state))
        }),
    }
}

fn change(way: &Way, why: &WhyOption, change: &LogChange, out: &mut impl Write, faults: &mut impl Write) -> ExitCode {
    ask(way, out, faults, async |client| {
        let state: LogState = client.write(Method::PUT, &why.at("log"), None, change).await?;
        Ok(Told::new(told(&state), &state))
    })
}

fn on_or_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("expected on or off".to_owned()),
    }
}

fn told(state: &LogState) -> String {
    let LogState { level, redact, lost_lines, watches } = state;
    let numbers = if *redact { "numbers hidden" } else { "numbers in full" };
    let mut text = format!("level {level}, {numbers}, {lost_lines} lines lost");
    for watch in watches {
        let whose = watch.number.as_ref().or(watch.organisation.as_ref()).map_or("-", String::as_str);
        text += &format!("\n  watched: {whose}, {} s more", watch.ends_in_s);
    }
    text
}
