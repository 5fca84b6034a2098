//! `switchyard calls` and `switchyard call`: the last calls, those that are over from now on, and what happened to one.

use super::ask::{EXIT_CODES, Told, Way, ask, duration_s, moment, segment, table};
use super::{Output, print};
use admin::api::calls::{CallEntry, CallList, CallsQuestion, EndedCalls, EndedQuestion};
use admin::api::times;
use admin::{AskFault, Client, Kind, Problem};
use clap::Args;
use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use telemetry::calls::{CallDetail, CallFilter, CallRecord, StrayMedia};

/// How long calls are followed unless it is said otherwise.
const FOLLOW_FOR_S: u64 = 600;
/// How often they are asked for.
const LOOK_EVERY: Duration = Duration::from_millis(300);

#[derive(Args)]
pub(super) struct CallsOptions {
    #[command(flatten)]
    way: Way,
    /// Print each call that ends from now on, one line each.
    #[arg(long)]
    follow: bool,
    /// Which calls: did, number, peer, outcome, direction, environment, status, rule, call_id; all conditions hold.
    #[arg(long, value_name = "KEY=VALUE,...", default_value = "")]
    filter: CallFilter,
    /// Only calls in progress.
    #[arg(long, conflicts_with = "follow")]
    in_progress: bool,
    /// Follow for this time: 30s, 10m.
    #[arg(long = "for", value_name = "TIME", value_parser = duration_s, requires = "follow")]
    for_s: Option<u64>,
    /// End after so many calls.
    #[arg(long, value_name = "N")]
    count: Option<u32>,
}

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct CallOptions {
    #[command(flatten)]
    way: Way,
    /// The Call-ID, or the call's number in the journal.
    #[arg(required_unless_present = "number")]
    call_id: Option<String>,
    /// The last call of this number, called or calling, in any spelling.
    #[arg(long, conflicts_with = "call_id")]
    number: Option<String>,
    /// The last one that began then or before: "2026-11-22 18:00" is UTC.
    #[arg(long, value_name = "TIME", value_parser = moment, requires = "number")]
    at: Option<u64>,
    /// Write its ladder as a picture.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Write its messages as a capture file for Wireshark.
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
}

pub(super) fn calls(options: &CallsOptions, out: &mut impl Write, faults: &mut impl Write) -> ExitCode {
    if options.follow {
        return follow(options, out, faults);
    }
    ask(&options.way, out, faults, async |client| {
        let question = CallsQuestion {
            filter: Some(options.filter.to_string()),
            in_progress: options.in_progress.then_some(true),
            limit: options.count,
            ..CallsQuestion::default()
        };
        let list: CallList = client.find("calls", &question).await?;
        Ok(Told::new(listed(&list), &list))
    })
}

fn listed(list: &CallList) -> String {
    if list.calls.is_empty() {
        return "no such call is in the journal".to_owned();
    }
    let rows: Vec<[String; 8]> = list.calls.iter().map(row).collect();
    table(["BEGAN", "FROM", "CALLER", "CALLED", "TO", "OUTCOME", "STATUS", "CALL-ID"], &rows)
}

fn row(entry: &CallEntry) -> [String; 8] {
    let record = &entry.record;
    [
        times::shown(record.began_at_ms),
        record.from.to_string(),
        record.caller_received.to_string(),
        record.called.as_ref().unwrap_or(&record.called_received).to_string(),
        record.to.as_deref().unwrap_or_default().to_owned(),
        record.outcome.to_string(),
        record.status.map(|status| status.to_string()).unwrap_or_default(),
        record.call_id.to_string(),
    ]
}

/// Prints calls as they end, until the time is over or there were enough.
fn follow(options: &CallsOptions, out: &mut impl Write, faults: &mut impl Write) -> ExitCode {
    let until = Instant::now() + Duration::from_secs(options.for_s.unwrap_or(FOLLOW_FOR_S));
    let mut left = options.count.unwrap_or(u32::MAX);
    let mut print_call = |entry: &CallEntry| {
        let line = match options.way.output() {
            Output::Json => serde_json::to_string(entry).unwrap_or_default(),
            Output::Text => {
                row(entry).map(|cell| cell.chars().filter(|c| !c.is_control()).collect::<String>()).join("  ")
            }
        };
        print(out, &line);
    };
    ask(&options.way, &mut std::io::sink(), faults, async |client| {
        let filter = Some(options.filter.to_string());
        let mut question = EndedQuestion { filter, after: None };
        while left > 0 && Instant::now() < until {
            let ended: EndedCalls = client.find("calls/ended", &question).await?;
            question.after = Some(ended.after);
            for entry in ended.calls.iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
                print_call(entry);
                left -= 1;
            }
            tokio::time::sleep(LOOK_EVERY.min(until.saturating_duration_since(Instant::now()))).await;
        }
        Ok(Told::new("", &()))
    })
}

pub(super) fn call(options: &CallOptions, out: &mut impl Write, faults: &mut impl Write) -> ExitCode {
    ask(&options.way, out, faults, async |client| {
        let id = match (&options.call_id, &options.number) {
            (Some(call_id), _) => call_id.clone(),
            (None, number) => last_of(&client, number.as_deref().unwrap_or_default(), options.at).await?,
        };
        let resource = format!("calls/{}", segment(&id));
        let detail: CallDetail = client.fetch(&resource).await?;
        for (file, kind) in [(&options.svg, "ladder.svg"), (&options.pcap, "pcap")] {
            if let Some(file) = file {
                let bytes = client.fetch_bytes(&format!("calls/{}/{kind}", detail.number)).await?;
                std::fs::write(file, bytes).map_err(|error| invalid(format!("{}: {error}", file.display())))?;
            }
        }
        Ok(Told::new(told(&detail), &detail))
    })
}

async fn last_of(client: &Client, number: &str, until_ms: Option<u64>) -> Result<String, AskFault> {
    let filter = Some(format!("number={number}"));
    // A time without seconds means the whole minute.
    let until_ms = until_ms.map(|at| at.saturating_add(59_999));
    let question = CallsQuestion { filter, until_ms, limit: Some(1), ..CallsQuestion::default() };
    let list: CallList = client.find("calls", &question).await?;
    let found = list.calls.first().map(|entry| entry.number.to_string());
    let none = || AskFault::Refused(Box::new(Problem::new(Kind::NotFound, format!("found no call of {number}"))));
    found.ok_or_else(none)
}

fn invalid(detail: String) -> AskFault {
    AskFault::Refused(Box::new(Problem::new(Kind::Invalid, detail)))
}

/// One call for people: who, why, where, how it ended, and its ladder.
fn told(detail: &CallDetail) -> String {
    let CallDetail { record, told, left_out, .. } = detail;
    let mut text = headline(record);
    for (at, rule) in told.iter().enumerate() {
        let _infallible = writeln!(text, "  {:>2}. {:<15} {}", at + 1, rule.rule, rule.told);
    }
    if record.restarted {
        let rules = record.rules.join(", ");
        let by = if rules.is_empty() { String::new() } else { format!(", and was decided there: {rules}") };
        let _infallible = writeln!(text, "   it began before this process did{by}");
    }
    for attempt in &record.attempts {
        let after_ms = attempt.at_ms.saturating_sub(record.began_at_ms);
        let failure = attempt.failure.as_ref().map(|failure| format!(": {failure}")).unwrap_or_default();
        let _infallible = writeln!(text, "=> {} at {} after {after_ms} ms{failure}", attempt.to, attempt.target);
    }
    let _infallible = writeln!(text, "{}", caller(record));
    for StrayMedia { from, address } in &record.stray_media {
        let _infallible = writeln!(text, "   {from} named the media address {address}, outside its networks");
    }
    let _infallible = writeln!(text, "{}\n", ending(record));
    let _infallible = write!(text, "{}", detail.ladder());
    if *left_out > 0 {
        let _infallible = writeln!(text, "{left_out} messages found no room in the journal");
    }
    let shown = |c: char| c == '\n' || !c.is_control();
    text.trim_end().chars().filter(|c| shown(*c)).collect()
}

fn headline(record: &CallRecord) -> String {
    let CallRecord { call_id, from, source, called_received, .. } = record;
    let began = times::shown(record.began_at_ms);
    // One that was refused before dispatch asked no directory.
    let asked = match record.generation {
        0 => String::new(),
        generation => format!(", directory of generation {generation}"),
    };
    format!("{call_id}\n{began}: {called_received} from {from} ({source}){asked}\n")
}

/// Who the caller said to be, and who was shown.
fn caller(record: &CallRecord) -> String {
    let asserted = record.caller_asserted.as_ref().map(|user| format!(" (asserted {user})")).unwrap_or_default();
    let sent = match &record.caller_sent {
        Some(sent) => format!("was sent as {sent}"),
        None if record.restarted || record.to.is_some() => "was sent on".to_owned(),
        None => "was not sent on".to_owned(),
    };
    let is_sent = |did: &str| {
        let digits = record.caller_sent.as_deref().unwrap_or_default().trim_start_matches(['+', '0']);
        !digits.is_empty() && did.ends_with(digits)
    };
    // A call that was refused after its caller ID was chosen has shown nobody anything.
    let hidden = record.caller_did.as_ref().filter(|did| record.caller_sent.is_some() && !is_sent(did));
    let did = hidden.map(|did| format!(", shown as {did}")).unwrap_or_default();
    let rule = match &record.caller_rule {
        Some(rule) if record.caller_sent.is_some() => format!(" by {rule}"),
        Some(rule) => format!("; {rule} had been chosen"),
        None => String::new(),
    };
    let foreign = if record.caller_foreign { "; it claimed a number of another organisation" } else { "" };
    format!("   caller {}{asserted} {sent}{did}{rule}{foreign}", record.caller_received)
}

fn ending(record: &CallRecord) -> String {
    let status = record.status.map(|status| format!(" with {status}")).unwrap_or_default();
    let reason = record.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let setup = record.setup_ms.map(|ms| format!(" after {ms} ms")).unwrap_or_default();
    let talked = record.talked_ms.map(|ms| format!(", talked {ms} ms")).unwrap_or_default();
    let by = record.ended_by.as_ref().map(|by| format!(", ended by {by}")).unwrap_or_default();
    format!("   {}{status}{reason}{setup}{talked}{by}", record.outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbound(sent: Option<&str>, did: Option<&str>) -> CallRecord {
        CallRecord {
            caller_received: "anonymous".into(),
            caller_asserted: Some("org_aurora_1001".into()),
            caller_sent: sent.map(Into::into),
            caller_did: did.map(Into::into),
            caller_rule: did.map(|_| "user".into()),
            ..CallRecord::default()
        }
    }

    /// The DID is named where From does not spell it, and only of a call that was sent on.
    #[test]
    fn it_says_who_was_shown_and_never_more() {
        const DID: Option<&str> = Some("+918065978003");
        let told = |sent, did| caller(&outbound(sent, did));
        let begins = "   caller anonymous (asserted org_aurora_1001) was";
        assert_eq!(told(Some("anonymous"), DID), format!("{begins} sent as anonymous, shown as +918065978003 by user"));
        for spelled in ["+918065978003", "918065978003", "08065978003"] {
            assert_eq!(told(Some(spelled), DID), format!("{begins} sent as {spelled} by user"));
        }
        assert_eq!(told(None, DID), format!("{begins} not sent on; user had been chosen"));
        assert_eq!(told(None, None), format!("{begins} not sent on"));
        let restored = CallRecord { restarted: true, ..outbound(None, None) };
        assert_eq!(caller(&restored), format!("{begins} sent on"));
        let foreign = CallRecord { caller_foreign: true, ..outbound(Some("+918065978003"), DID) };
        assert!(caller(&foreign).ends_with(" by user; it claimed a number of another organisation"));
    }

    #[test]
    fn a_call_of_the_process_before_says_so_and_one_that_nobody_was_asked_of_names_no_directory() {
        let detail =
            |record: CallRecord| CallDetail { number: 1, record, told: Vec::new(), messages: Vec::new(), left_out: 0 };
        let rules = vec!["called".into(), "row".into()].into();
        let restored = told(&detail(CallRecord { restarted: true, rules, generation: 7, ..CallRecord::default() }));
        assert!(
            restored.contains("\n   it began before this process did, and was decided there: called, row\n"),
            "{restored}"
        );
        assert!(restored.contains("directory of generation 7"), "{restored}");
        let refused = told(&detail(CallRecord { outcome: "refused".into(), ..CallRecord::default() }));
        assert!(!refused.contains("directory") && !refused.contains("before this process"), "{refused}");
    }
}
