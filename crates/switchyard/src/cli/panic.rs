//! `switchyard panic`: everything to prod, until an end or a release.

use super::ask::{EXIT_CODES, EndOption, Told, Way, ask};
use admin::api::Live;
use admin::api::panic::{NewPanic, PanicState};
use admin::api::times;
use clap::{Args, Subcommand};
use hyper::Method;
use std::io::Write;
use std::process::ExitCode;

#[derive(Args)]
pub(super) struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Send every inbound call to prod; leases and testers are suspended meanwhile.
    #[command(after_help = EXIT_CODES)]
    On {
        #[command(flatten)]
        way: Way,
        #[command(flatten)]
        end: EndOption,
        /// Why: it is recorded.
        #[arg(long)]
        reason: String,
    },
    /// Release it: testers, leases and rows count again.
    #[command(after_help = EXIT_CODES)]
    Off {
        #[command(flatten)]
        way: Way,
        /// Why: it is recorded.
        #[arg(long)]
        reason: String,
    },
    /// Say whether it is on.
    #[command(after_help = EXIT_CODES)]
    Status(Way),
}

pub(super) fn panic(options: Options, out: &mut impl Write, faults: &mut impl Write) -> ExitCode {
    match options.verb {
        Verb::On { way, end, reason } => ask(&way, out, faults, async |client| {
            let live: Live = client.write(Method::PUT, "panic", None, &NewPanic { end: end.end(), reason }).await?;
            let until = if end.told().is_empty() { " until it is released".to_owned() } else { end.told() };
            Ok(Told::live(&format!("panic: everything goes to prod{until}"), &live))
        }),
        Verb::Off { way, reason } => ask(&way, out, faults, async |client| {
            let live: Live = client.end("panic", &reason).await?;
            Ok(Told::live("released: testers, leases and rows count again", &live))
        }),
        Verb::Status(way) => ask(&way, out, faults, async |client| {
            let state: PanicState = client.fetch("panic").await?;
            Ok(Told::new(told(&state), &state))
        }),
    }
}

fn told(state: &PanicState) -> String {
    let Some(panic) = &state.panic else {
        return if state.is_on { "panic: everything goes to prod" } else { "off" }.to_owned();
    };
    let end = panic.ends_at_ms.map_or("released".to_owned(), times::shown);
    let (by, at, reason) = (&panic.made.made_by, times::shown(panic.made.made_at_ms), &panic.made.reason);
    let state = if state.is_on { "panic: everything goes to prod" } else { "panic: written, and not published yet" };
    format!("{state} until {end}\n  by {by} at {at}: {reason}")
}
