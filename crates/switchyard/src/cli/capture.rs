//! `switchyard capture`: what passes on the wire, to a capture server.

use super::ask::{EXIT_CODES, Told, Way, WhyOption, ask};
use admin::api::capture::{CaptureChange, CaptureState};
use clap::{Args, Subcommand};
use hyper::Method;
use std::io::Write;
use std::process::ExitCode;

#[derive(Args)]
pub(super) struct Options {
    #[command(subcommand)]
    protocol: Protocol,
}

#[derive(Subcommand)]
enum Protocol {
    /// In HEPv3, to the server that the configuration names (Homer, sngrep).
    #[command(subcommand)]
    Hep(Verb),
}

#[derive(Subcommand)]
enum Verb {
    /// Capture from now on, everything or some of it.
    #[command(after_help = EXIT_CODES)]
    On {
        #[command(flatten)]
        way: Way,
        /// Only messages that name this number, in any spelling.
        #[arg(long)]
        number: Option<String>,
        /// Only messages of this trunk or environment, or of one of their addresses (10.10.10.2).
        #[arg(long)]
        peer: Option<String>,
        #[command(flatten)]
        why: WhyOption,
    },
    /// Capture nothing.
    #[command(after_help = EXIT_CODES)]
    Off {
        #[command(flatten)]
        way: Way,
        #[command(flatten)]
        why: WhyOption,
    },
    /// Say what is captured, and how that fares.
    #[command(after_help = EXIT_CODES)]
    Status(Way),
}

pub(super) fn capture(options: Options, out: &mut impl Write, faults: &mut impl Write) -> ExitCode {
    let Protocol::Hep(verb) = options.protocol;
    match verb {
        Verb::On { way, number, peer, why } => {
            change(&way, &why, &CaptureChange { is_on: true, number, peer }, out, faults)
        }
        Verb::Off { way, why } => change(&way, &why, &CaptureChange::default(), out, faults),
        Verb::Status(way) => ask(&way, out, faults, async |client| {
            let state: CaptureState = client.fetch("capture").await?;
            Ok(Told::new(told(&state), &state))
        }),
    }
}

fn change(
    way: &Way,
    why: &WhyOption,
    change: &CaptureChange,
    out: &mut impl Write,
    faults: &mut impl Write,
) -> ExitCode {
    ask(way, out, faults, async |client| {
        let state: CaptureState = client.write(Method::PUT, &why.at("capture"), None, change).await?;
        Ok(Told::new(told(&state), &state))
    })
}

fn told(state: &CaptureState) -> String {
    let CaptureState { what, hep, sent, lost, queued } = state;
    let to = hep.as_deref().unwrap_or("no server is configured");
    let only = [("number", &what.number), ("peer", &what.peer)];
    let only: String =
        only.iter().filter_map(|(word, value)| Some(format!(", only {word} {}", value.as_ref()?))).collect();
    let is = if what.is_on { "on" } else { "off" };
    format!("{is}{only}\n  to {to}: {sent} sent, {lost} lost, {queued} waiting")
}
