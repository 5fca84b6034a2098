//! `switchyard drain`: no new calls here, for a while; what has begun goes on.

use super::ask::{EXIT_CODES, Told, Way, ask, duration_s};
use admin::api::drain::{DrainState, NewDrain};
use clap::Args;
use hyper::Method;
use std::io::Write;
use std::process::ExitCode;

pub(super) const HELP: &str = EXIT_CODES;

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    way: Way,
    /// After this time new calls are taken again: 90s, 10m, 1h. Without it, when --off says so or after a restart.
    #[arg(long, value_name = "TIME", value_parser = duration_s, conflicts_with = "off")]
    limit: Option<u64>,
    /// Take new calls again.
    #[arg(long)]
    off: bool,
    /// Why: it is recorded.
    #[arg(long)]
    reason: String,
}

pub(super) fn drain(options: Options, out: &mut impl Write, faults: &mut impl Write) -> ExitCode {
    let Options { way, limit, off, reason } = options;
    ask(&way, out, faults, async |client| {
        let state: DrainState = if off {
            client.end("drain", &reason).await?
        } else {
            client.write(Method::PUT, "drain", None, &NewDrain { limit_s: limit, reason }).await?
        };
        Ok(Told::new(told(&state), &state))
    })
}

fn told(state: &DrainState) -> String {
    let open = state.open_transactions;
    let mut text = match &state.drain {
        Some(drain) => format!("draining: new calls get 503; {open} transactions are open\n{drain}"),
        None if state.draining => format!("the process is ending; {open} transactions are open"),
        None => "new calls are taken".to_owned(),
    };
    if let Some(why) = &state.not_recorded {
        text += &format!("\nnot in the audit table, the log alone has it: {why}");
    }
    text
}
