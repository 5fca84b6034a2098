//! `switchyard directory`: what is wrong with the data, its generations, and what the guard holds back.

use super::ask::{EXIT_CODES, Told, Way, ask, table};
use admin::api::Live;
use admin::api::faults::{Faults, FaultsQuestion};
use admin::api::generations::{DidRow, Diff, DiffQuestion, Generations};
use admin::api::guard::{GuardState, Judgement};
use admin::api::times;
use admin::{AskFault, Client, Kind, Problem};
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
    /// List what is wrong with rows.
    #[command(after_help = EXIT_CODES)]
    Faults {
        #[command(flatten)]
        way: Way,
        /// Of this kind alone: unknown_word, duplicate, ...
        #[arg(long)]
        reason: Option<String>,
        /// How many to leave out before the first.
        #[arg(long)]
        skip: Option<u32>,
        /// How many, at most 1000.
        #[arg(long)]
        limit: Option<u32>,
    },
    /// List the last generations, newest first.
    #[command(after_help = EXIT_CODES)]
    Log(Way),
    /// Show what lies between two generations.
    #[command(after_help = EXIT_CODES)]
    Diff {
        #[command(flatten)]
        way: Way,
        /// The older.
        from: u64,
        /// The newer.
        to: u64,
    },
    /// Show what the guard holds back.
    #[command(after_help = EXIT_CODES)]
    Held(Way),
    /// Let in what the guard holds back.
    #[command(after_help = EXIT_CODES)]
    Accept(Judge),
    /// Keep what the guard holds back out until the data change again.
    #[command(after_help = EXIT_CODES)]
    Reject(Judge),
}

#[derive(Args)]
struct Judge {
    #[command(flatten)]
    way: Way,
    /// Why: it is recorded.
    #[arg(long)]
    reason: String,
    /// Only if it is still what `directory held` showed.
    #[arg(long)]
    version: Option<String>,
}

pub(super) fn directory(options: Options, out: &mut impl Write, faults: &mut impl Write) -> ExitCode {
    match options.verb {
        Verb::Faults { way, reason, skip, limit } => ask(&way, out, faults, async |client| {
            let found: Faults = client.find("directory/faults", &FaultsQuestion { reason, skip, limit }).await?;
            Ok(Told::new(listed(&found), &found))
        }),
        Verb::Log(way) => ask(&way, out, faults, async |client| {
            let generations: Generations = client.fetch("generations").await?;
            Ok(Told::new(log(&generations), &generations))
        }),
        Verb::Diff { way, from, to } => ask(&way, out, faults, async |client| {
            let diff: Diff = client.find("generations/diff", &DiffQuestion { from, to }).await?;
            Ok(Told::new(changes(&diff), &diff))
        }),
        Verb::Held(way) => ask(&way, out, faults, async |client| {
            let state: GuardState = client.fetch("guard").await?;
            Ok(Told::new(held(&state), &state))
        }),
        Verb::Accept(judge) => ask(&judge.way, out, faults, async |client| {
            let live = judged(&client, "guard/accept", &judge).await?;
            Ok(Told::live("accepted", &live))
        }),
        Verb::Reject(judge) => ask(&judge.way, out, faults, async |client| {
            let live = judged(&client, "guard/reject", &judge).await?;
            let stays = live.generation.unwrap_or_default();
            Ok(Told::new(format!("rejected: generation {stays} stays until the data change again"), &live))
        }),
    }
}

async fn judged(client: &Client, resource: &str, judge: &Judge) -> Result<Live, AskFault> {
    let version = match &judge.version {
        Some(version) => version.clone(),
        None => {
            let state: GuardState = client.fetch("guard").await?;
            let none = || Problem::new(Kind::NotFound, "found nothing held back, expected a directory to judge");
            state.held.ok_or_else(|| AskFault::Refused(Box::new(none())))?.version
        }
    };
    let judgement = Judgement { reason: judge.reason.clone() };
    client.write(Method::POST, resource, Some(&version), &judgement).await
}

fn listed(found: &Faults) -> String {
    if found.total == 0 {
        return format!("no fault; generation {}", found.generation);
    }
    let rows: Vec<[String; 7]> = found
        .faults
        .iter()
        .map(|fault| {
            let fault = fault.clone();
            [fault.table, fault.key, fault.column, fault.found, fault.expected, fault.reason, fault.effect]
        })
        .collect();
    let table = table(["TABLE", "KEY", "COLUMN", "FOUND", "EXPECTED", "REASON", "EFFECT"], &rows);
    let counts: Vec<String> = found.by_reason.iter().map(|count| format!("{} {}", count.count, count.reason)).collect();
    format!("{table}\n{} of {}, generation {}: {}", rows.len(), found.total, found.generation, counts.join(", "))
}

fn log(generations: &Generations) -> String {
    let rows: Vec<[String; 4]> = generations
        .generations
        .iter()
        .map(|entry| {
            let at = times::shown(entry.published_at_ms);
            [entry.generation.to_string(), at, entry.cause.clone(), entry.told.clone()]
        })
        .collect();
    table(["GENERATION", "AT", "CAUSE", "ROWS"], &rows)
}

fn changes(diff: &Diff) -> String {
    let said = |row: Option<&DidRow>| {
        row.map_or("-".to_owned(), |row| {
            let mut words = vec![row.environment.clone(), row.status.clone(), row.pool_status.clone()];
            words.extend(row.organisation.clone());
            words.extend(row.is_default.then(|| "default".to_owned()));
            words.extend((row.call_limit > 0).then(|| format!("limit {}", row.call_limit)));
            words.extend(row.provider.clone());
            words.extend(row.kept_last_good.then(|| "last good value".to_owned()));
            words.join(" ")
        })
    };
    if diff.listed.is_empty() {
        return diff.told.clone();
    }
    let rows: Vec<[String; 3]> = diff
        .listed
        .iter()
        .map(|change| [change.number.clone(), said(change.before.as_ref()), said(change.after.as_ref())])
        .collect();
    format!("{}\n{}", diff.told, table(["NUMBER", "BEFORE", "AFTER"], &rows))
}

fn held(state: &GuardState) -> String {
    let Some(held) = &state.held else {
        return format!("nothing is held back; generation {}", state.generation);
    };
    let rejected = if held.is_rejected { ", rejected" } else { "" };
    let since = times::shown(held.since_ms);
    let mut lines = vec![format!("held back since {since}{rejected}; generation {} stays", state.generation)];
    lines.extend(held.reasons.iter().map(|reason| format!("  {reason}")));
    lines.push(changes(&held.diff));
    lines.push(format!("version {}", held.version));
    lines.join("\n")
}
