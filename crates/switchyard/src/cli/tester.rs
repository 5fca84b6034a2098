//! `switchyard tester`: callers whose calls go elsewhere for a while. A caller number can be forged: an override is a
//! convenience, no wall.

use super::ask::{EXIT_CODES, EndOption, Told, Way, ask, segment, table};
use admin::api::Live;
use admin::api::testers::{NewTester, TesterInEffect, Testers};
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
    /// List the overrides in effect.
    #[command(after_help = EXIT_CODES)]
    List(Way),
    /// Send one caller's calls to an environment, and nobody else's.
    #[command(after_help = EXIT_CODES)]
    Add(Add),
    /// End an override before its time.
    #[command(after_help = EXIT_CODES)]
    Remove {
        #[command(flatten)]
        way: Way,
        /// The caller, where there is one override of his, or the override's id.
        tester: String,
        /// Why: it is recorded.
        #[arg(long)]
        reason: String,
    },
}

#[derive(Args)]
struct Add {
    #[command(flatten)]
    way: Way,
    /// The number that calls, in any spelling. It can be forged: this is a convenience, no wall.
    caller: String,
    /// prod, staging or oss.
    environment: String,
    /// Calls to this DID.
    #[arg(long, value_name = "NUMBER", required_unless_present = "organisation", conflicts_with = "organisation")]
    did: Option<String>,
    /// Calls to any DID of the organisation of this id or name.
    #[arg(long)]
    organisation: Option<String>,
    #[command(flatten)]
    end: EndOption,
    /// The id of the override that it takes the place of.
    #[arg(long, value_name = "ID")]
    replace: Option<String>,
    /// Why: it is recorded.
    #[arg(long)]
    reason: String,
}

pub(super) fn tester(options: Options, out: &mut impl Write, faults: &mut impl Write) -> ExitCode {
    match options.verb {
        Verb::List(way) => ask(&way, out, faults, async |client| {
            let testers: Testers = client.fetch("testers").await?;
            Ok(Told::new(listed(&testers), &testers))
        }),
        Verb::Add(add) => ask(&add.way, out, faults, async |client| {
            let new = NewTester {
                caller: add.caller.clone(),
                did: add.did.clone(),
                organisation: add.organisation.clone(),
                environment: add.environment.clone(),
                end: add.end.end(),
                replaces: add.replace.clone(),
                reason: add.reason.clone(),
            };
            let live: Live = client.write(Method::POST, "testers", None, &new).await.map_err(replaceable)?;
            let whom = add.did.as_ref().or(add.organisation.as_ref()).map_or("", String::as_str);
            let what = format!("{} to {whom}: -> {}{} ({})", add.caller, add.environment, add.end.told(), live.id);
            Ok(Told::live(&what, &live))
        }),
        Verb::Remove { way, tester, reason } => {
            ask(&way, out, faults, async |client| remove(&client, &tester, &reason).await)
        }
    }
}

/// A refusal because there is one already, with what to do about it.
fn replaceable(fault: AskFault) -> AskFault {
    match fault {
        AskFault::Refused(mut problem) => {
            if let (Kind::Exists, Some(id)) = (problem.kind, &problem.id) {
                problem.detail.push_str(&format!(" (--replace {id} takes its place)"));
            }
            AskFault::Refused(problem)
        }
        fault => fault,
    }
}

async fn remove(client: &Client, named: &str, reason: &str) -> Result<Told, AskFault> {
    let testers: Testers = client.fetch("testers").await?;
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    let is_named = |tester: &&TesterInEffect| {
        let is_caller = !named.contains(|c: char| c.is_ascii_alphabetic()) && digits(&tester.caller) == digits(named);
        tester.made.id == named || is_caller
    };
    let found: Vec<&TesterInEffect> = testers.testers.iter().filter(is_named).collect();
    let [tester] = found.as_slice() else {
        let (kind, found) = match found.len() {
            0 => (Kind::NotFound, "no override".to_owned()),
            count => (Kind::Invalid, format!("{count} overrides")),
        };
        let detail = format!("found {found} of {named:?}, expected a caller with one, or an id of `tester list`");
        return Err(AskFault::Refused(Box::new(Problem::new(kind, detail))));
    };
    let live: Live = client.end(&format!("testers/{}", segment(&tester.made.id)), reason).await?;
    Ok(Told::live(&format!("{} to {}: ended", tester.caller, subject(tester)), &live))
}

fn subject(tester: &TesterInEffect) -> String {
    match (&tester.did, &tester.organisation) {
        (Some(did), _) => did.clone(),
        (None, Some(own)) => format!("any DID of {}", own.name),
        (None, None) => String::new(),
    }
}

fn listed(testers: &Testers) -> String {
    if testers.testers.is_empty() {
        return "no tester override is in effect".to_owned();
    }
    let rows: Vec<[String; 7]> = testers
        .testers
        .iter()
        .map(|tester| {
            let made = &tester.made;
            [
                tester.caller.clone(),
                subject(tester),
                tester.environment.clone(),
                times::shown(tester.ends_at_ms),
                made.made_by.clone(),
                made.reason.clone(),
                made.id.clone(),
            ]
        })
        .collect();
    table(["CALLER", "CALLS TO", "GO TO", "UNTIL", "BY", "REASON", "ID"], &rows)
}
