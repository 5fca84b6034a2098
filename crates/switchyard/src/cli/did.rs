//! `switchyard did`: DIDs, and where their calls land.

use super::ask::{EXIT_CODES, EndOption, READY_CODES, Told, Way, ask, segment, table};
use super::did_table;
use admin::api::Live;
use admin::api::dids::readiness::{Outcome, Readiness};
use admin::api::dids::{Did, Dids, DidsQuestion, EnvironmentChange};
use admin::api::times;
use admin::{AskFault, Client, Kind, Problem};
use clap::{Args, Subcommand};
use hyper::Method;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args)]
pub(super) struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List DIDs.
    #[command(after_help = EXIT_CODES)]
    List(List),
    /// Show one DID.
    #[command(after_help = EXIT_CODES)]
    Show {
        #[command(flatten)]
        way: Way,
        /// In any spelling.
        number: String,
    },
    /// Send a DID's calls to an environment: for good, or with --for or --until as a lease that ends by itself.
    #[command(after_help = EXIT_CODES)]
    Set(Set),
    /// Ask an environment's PBX whether it would take a DID's calls: OPTIONS for the number, and for one that nobody can have.
    #[command(after_help = READY_CODES)]
    Ready {
        #[command(flatten)]
        way: Way,
        /// The DID, in any spelling.
        number: String,
        /// prod, staging or oss.
        environment: String,
    },
    /// Print DIDs as a table for spreadsheets: all that fit, whatever their number.
    #[command(after_help = EXIT_CODES)]
    Export(Export),
    /// Move the DIDs whose row_environment was changed in a table that was exported.
    #[command(after_help = EXIT_CODES)]
    Import(Import),
}

#[derive(Args)]
struct List {
    #[command(flatten)]
    way: Way,
    #[command(flatten)]
    wanted: Wanted,
    /// Those behind this number.
    #[arg(long, value_name = "NUMBER")]
    after: Option<String>,
    /// How many, at most 1000.
    #[arg(long)]
    limit: Option<u32>,
}

#[derive(Args)]
pub(super) struct Export {
    #[command(flatten)]
    pub(super) way: Way,
    #[command(flatten)]
    pub(super) wanted: Wanted,
}

#[derive(Args)]
pub(super) struct Import {
    #[command(flatten)]
    pub(super) way: Way,
    /// The table, or - for standard input.
    pub(super) file: PathBuf,
    /// Change nothing, and say what would be changed.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Why: it is recorded with every DID.
    #[arg(long, required_unless_present = "dry_run")]
    pub(super) reason: Option<String>,
}

/// Which DIDs.
#[derive(Args)]
pub(super) struct Wanted {
    /// A number in any spelling, some of its digits, or a part of an organisation's name.
    search: Option<String>,
    /// Those whose calls land here: prod, staging or oss.
    #[arg(long)]
    environment: Option<String>,
    /// Those of the organisation of this id or name.
    #[arg(long)]
    organisation: Option<String>,
    /// Those whose service is this: in_service, not_active, not_assigned or organisation_not_active.
    #[arg(long)]
    service: Option<String>,
    /// Those that have a lease.
    #[arg(long)]
    leased: bool,
}

#[derive(Args)]
struct Set {
    #[command(flatten)]
    way: Way,
    /// The DID, in any spelling.
    number: String,
    /// prod, staging or oss.
    environment: String,
    #[command(flatten)]
    end: EndOption,
    /// Why: it is recorded.
    #[arg(long)]
    reason: String,
    /// Only if its calls land here now.
    #[arg(long, value_name = "ENVIRONMENT")]
    expect: Option<String>,
}

pub(super) fn did(options: Options, out: &mut impl Write, faults: &mut impl Write) -> ExitCode {
    match options.verb {
        Verb::List(list) => ask(&list.way, out, faults, async |client| {
            let question = DidsQuestion { after: list.after.clone(), limit: list.limit, ..list.wanted.question() };
            let found: Dids = client.find("dids", &question).await?;
            Ok(Told::new(listed(&found), &found))
        }),
        Verb::Show { way, number } => ask(&way, out, faults, async |client| {
            let did: Did = client.fetch(&format!("dids/{}", segment(&number))).await?;
            Ok(Told::new(shown(&did), &did))
        }),
        Verb::Set(set) => ask(&set.way, out, faults, async |client| change(&client, &set).await),
        Verb::Ready { way, number, environment } => ask(&way, out, faults, async |client| {
            let resource = format!("dids/{}/readiness?environment={}", segment(&number), segment(&environment));
            let found: Readiness = client.write(Method::POST, &resource, None, &()).await?;
            Ok(Told::yes_or_no(readiness(&found), &found, found.outcome == Outcome::Ready))
        }),
        Verb::Export(wanted) => did_table::export(&wanted, out, faults),
        Verb::Import(table) => did_table::import(&table, out, faults),
    }
}

impl Wanted {
    pub(super) fn question(&self) -> DidsQuestion {
        let Wanted { search, environment, organisation, service, leased } = self;
        DidsQuestion {
            search: search.clone(),
            environment: environment.clone(),
            organisation: organisation.clone(),
            service: service.clone(),
            leased: leased.then_some(true),
            ..DidsQuestion::default()
        }
    }
}

async fn change(client: &Client, set: &Set) -> Result<Told, AskFault> {
    let found: Result<Did, AskFault> = client.fetch(&format!("dids/{}", segment(&set.number))).await;
    let did = match found {
        Ok(did) => did,
        // A row that never was good is in no directory, and a move for good may mend it.
        Err(AskFault::Refused(problem)) if problem.kind == Kind::NotFound && set.can_mend() => {
            return mend(client, set).await;
        }
        Err(fault) => return Err(fault),
    };
    if let Some(expected) = set.expect.as_deref().filter(|expected| *expected != did.environment) {
        let detail = format!("found {} in {}, expected {expected}: nothing was changed", did.number, did.environment);
        return Err(AskFault::Refused(Box::new(Problem::new(Kind::Changed, detail))));
    }
    let change =
        EnvironmentChange { environment: set.environment.clone(), end: set.end.end(), reason: set.reason.clone() };
    let resource = format!("dids/{}/environment", segment(&did.number));
    let live: Live = client.write(Method::PUT, &resource, Some(&did.version), &change).await?;
    let what = format!("{}: {} -> {}{}", did.number, did.environment, set.environment, set.end.told());
    Ok(Told::live(&what, &live))
}

async fn mend(client: &Client, set: &Set) -> Result<Told, AskFault> {
    let change =
        EnvironmentChange { environment: set.environment.clone(), end: set.end.end(), reason: set.reason.clone() };
    let resource = format!("dids/{}/environment", segment(&set.number));
    let live: Live = client.write(Method::PUT, &resource, None, &change).await?;
    Ok(Told::live(&format!("{}: its row is mended -> {}", set.number, set.environment), &live))
}

impl Set {
    /// Whether nothing is said that takes a row in effect.
    fn can_mend(&self) -> bool {
        self.expect.is_none() && self.end.told().is_empty()
    }
}

fn listed(found: &Dids) -> String {
    if found.dids.is_empty() {
        return format!("no DID fits; generation {}", found.generation);
    }
    let rows: Vec<[String; 6]> = found
        .dids
        .iter()
        .map(|did| {
            let until = did
                .lease
                .as_ref()
                .map(|lease| format!("{} until {}", lease.environment, times::shown(lease.ends_at_ms)));
            [
                did.number.clone(),
                did.environment.clone(),
                did.by.clone(),
                until.unwrap_or_default(),
                service(did),
                did.organisation.as_ref().map(|own| own.name.clone()).unwrap_or_default(),
            ]
        })
        .collect();
    let table = table(["NUMBER", "ENVIRONMENT", "BY", "LEASE", "SERVICE", "ORGANISATION"], &rows);
    let more = found.next.as_ref().map(|next| format!("; more with --after {next}")).unwrap_or_default();
    format!("{table}\n{} of {} DIDs, generation {}{more}", found.dids.len(), found.total, found.generation)
}

fn readiness(found: &Readiness) -> String {
    let status = |status: Option<u16>| status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
    let row = |target: &admin::api::dids::readiness::TargetReadiness| {
        let (number, impossible) = (status(target.status), status(target.impossible_status));
        [target.peer.clone(), target.outcome.to_string(), number, impossible]
    };
    let rows: Vec<[String; 4]> = found.targets.iter().map(row).collect();
    let mut lines = vec![format!("{}: {} ({} ms)", found.number, found.told, found.took_ms)];
    if !rows.is_empty() {
        lines.push(table(["TARGET", "OUTCOME", &found.number, &found.impossible], &rows));
    }
    lines.extend(live_calls(&found.live_calls).map(|calls| format!("calls now: {calls}")));
    lines.join("\n")
}

/// How many where: `2 in prod, 1 in oss`; none without any.
fn live_calls(live: &BTreeMap<String, u32>) -> Option<String> {
    let words: Vec<String> = live.iter().map(|(environment, count)| format!("{count} in {environment}")).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

fn service(did: &Did) -> String {
    match &did.state {
        Some(state) => format!("{} ({state})", did.service),
        None => did.service.clone(),
    }
}

fn shown(did: &Did) -> String {
    let mut lines = vec![
        did.number.clone(),
        format!("  calls land in  {}, by {}", did.environment, did.by),
        format!("  its row says   {}", did.row_environment),
    ];
    if let Some(lease) = &did.lease {
        lines.push(format!("  its lease      {} until {}", lease.environment, times::shown(lease.ends_at_ms)));
    }
    lines.push(format!("  service        {}", service(did)));
    if let Some(own) = &did.organisation {
        lines.push(format!("  organisation   {} ({})", own.name, own.id));
    }
    if did.is_default {
        lines.push("  default        its organisation's caller ID".to_owned());
    }
    if did.call_limit > 0 {
        lines.push(format!("  call limit     {}", did.call_limit));
    }
    if let Some(provider) = &did.provider {
        lines.push(format!("  provider       {provider}"));
    }
    if did.kept_last_good {
        lines.push("  its row has turned bad: this is its last good value".to_owned());
    }
    if let Some(calls) = live_calls(&did.live_calls) {
        lines.push(format!("  calls now      {calls}"));
    }
    if let Some(last) = &did.last_call {
        let began = times::shown(last.began_at_ms);
        lines.push(format!("  last call      {began}, {} (switchyard call {})", last.verdict(), last.call));
    }
    lines.push(format!("  version        {}", did.version));
    lines.join("\n")
}
