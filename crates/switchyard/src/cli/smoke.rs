//! `switchyard smoke`: one call through the running proxy, judged by what the caller saw and by what was recorded.

use super::ask::{Told, Way, ask, duration_s};
use super::print;
use crate::demo::smoke::{self, Smoke, Smoked};
use admin::{AskFault, Client, Kind};
use clap::Args;
use proxy::Transport;
use serde::Serialize;
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use telemetry::calls::{CallDetail, CallRecord};

pub(super) const HELP: &str = "\
The caller speaks from --from, which has to be a source of a trunk in the configuration: the documents'
page how-to/pipeline.md has one (/usr/share/doc/switchyard/docs with the package).

Exit code: 0 the call went as it should, 8 it did not, 1 no call could be placed or nothing recorded be asked for.

Example:
  switchyard smoke 918065978020 --from 127.0.0.2:5099 --environment prod";

/// How long the record may take after the caller saw the end.
const RECORDED_WITHIN: Duration = Duration::from_secs(5);
/// How often it is asked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    way: Way,
    /// The number to call: one that its PBX takes at once.
    number: String,
    /// Where the call comes from.
    #[arg(long, value_name = "IP:PORT")]
    from: SocketAddr,
    /// Where the proxy listens; the first UDP listener of the configuration unless given.
    #[arg(long, value_name = "IP:PORT")]
    proxy: Option<SocketAddr>,
    /// Who calls.
    #[arg(long, value_name = "USER", default_value = "smoke")]
    caller: String,
    /// The status that the call has to get.
    #[arg(long, value_name = "STATUS", default_value_t = 200)]
    expect: u16,
    /// The environment that it has to reach.
    #[arg(long, value_name = "ENVIRONMENT")]
    environment: Option<String>,
    /// The time for a final response.
    #[arg(long = "within", value_name = "TIME", default_value = "10s", value_parser = duration_s)]
    within_s: u64,
}

/// The answer for programs.
#[derive(Debug, Serialize)]
struct Verdict {
    /// Nothing was wrong.
    good: bool,
    call_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    after_ms: u64,
    /// What was not as it should be.
    wrong: Vec<String>,
    /// What the caller sent and received.
    messages: Vec<String>,
    /// What the proxy wrote down of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<CallRecord>,
}

pub(super) fn smoke(options: &Options, out: &mut impl Write, faults: &mut impl Write) -> ExitCode {
    let smoked = proxy_of(options).and_then(|proxy| placed(options, proxy));
    let smoked = match smoked {
        Ok(smoked) => smoked,
        Err(fault) => {
            print(faults, &fault);
            return ExitCode::FAILURE;
        }
    };
    ask(&options.way, out, faults, async |client| {
        let record = recorded(&client, &smoked.call_id).await?;
        let verdict = judged(options, smoked, record);
        Ok(Told::yes_or_no(told(options, &verdict), &verdict, verdict.good))
    })
}

fn proxy_of(options: &Options) -> Result<SocketAddr, String> {
    if let Some(proxy) = options.proxy {
        return Ok(proxy);
    }
    let configuration = options.way.configuration()?;
    let mut listeners = configuration.core.listeners.iter();
    let udp = listeners.find(|listener| listener.transport == Transport::Udp);
    udp.map(|listener| listener.address).ok_or_else(|| "sip.listen: found no UDP, expected --proxy".to_owned())
}

fn placed(options: &Options, proxy: SocketAddr) -> Result<Smoked, String> {
    let Options { from, caller, number, within_s, .. } = options;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    let call = Smoke { from: *from, proxy, caller, called: number, within: Duration::from_secs(*within_s) };
    runtime.block_on(smoke::place(call)).map_err(|error| format!("no call can come from {from}: {error}"))
}

/// The record of the call once it is over; `None` when it is not by then, or the proxy knows of no such call.
async fn recorded(client: &Client, call_id: &str) -> Result<Option<CallRecord>, AskFault> {
    let resource = format!("calls/{}", super::ask::segment(call_id));
    let until = Instant::now() + RECORDED_WITHIN;
    let mut record = None;
    while Instant::now() < until {
        match client.fetch::<CallDetail>(&resource).await {
            Ok(detail) if detail.record.ended_at_ms.is_some() => return Ok(Some(detail.record)),
            Ok(detail) => record = Some(detail.record),
            Err(AskFault::Refused(problem)) if problem.kind == Kind::NotFound => {}
            Err(fault) => return Err(fault),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(record)
}

fn judged(options: &Options, smoked: Smoked, record: Option<CallRecord>) -> Verdict {
    let Smoked { call_id, status, after, is_closed, messages } = smoked;
    let mut wrong = Vec::new();
    let shown = |status: Option<u16>| status.map_or("no final response".to_owned(), |status| status.to_string());
    if status != Some(options.expect) {
        wrong.push(format!("found {}, expected {}", shown(status), options.expect));
    }
    if status.is_some() && !is_closed {
        wrong.push("its end was not answered".to_owned());
    }
    match &record {
        None => wrong.push("the proxy has no record of it".to_owned()),
        Some(record) if record.ended_at_ms.is_none() => wrong.push("its record has no end".to_owned()),
        Some(record) => {
            if record.status != status {
                wrong.push(format!("its record says {}", shown(record.status)));
            }
            let reached = record.to.as_deref().unwrap_or("nobody");
            if options.environment.as_deref().is_some_and(|expected| expected != reached) {
                wrong.push(format!("it reached {reached}, expected {}", options.environment.as_deref().unwrap_or("")));
            }
        }
    }
    let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
    Verdict { good: wrong.is_empty(), call_id, status, after_ms, wrong, messages, record }
}

fn told(options: &Options, verdict: &Verdict) -> String {
    let Verdict { good, call_id, status, after_ms, wrong, messages, record } = verdict;
    let status = status.map_or("no final response".to_owned(), |status| status.to_string());
    let to = record.as_ref().and_then(|record| record.to.as_deref()).unwrap_or("nobody");
    let mut lines = vec![format!(
        "{}: {} from {} got {status} after {after_ms} ms, to {to}",
        if *good { "good" } else { "BAD" },
        options.number,
        options.from
    )];
    lines.extend(wrong.iter().map(|wrong| format!("  {wrong}")));
    lines.extend(messages.iter().map(|message| format!("    {message}")));
    lines.push(format!("  switchyard call {call_id}"));
    lines.join("\n")
}
