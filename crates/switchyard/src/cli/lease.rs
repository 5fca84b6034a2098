//! `switchyard lease`: environments of DIDs that end by themselves. One is made by `switchyard did set --for`.

use super::ask::{EXIT_CODES, Told, Way, ask, segment, table};
use admin::api::Live;
use admin::api::dids::Did;
use admin::api::leases::Leases;
use admin::api::times;
use admin::{AskFault, Client, Kind, Problem};
use clap::{Args, Subcommand};
use std::io::Write;
use std::process::ExitCode;

#[derive(Args)]
pub(super) struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List the leases in effect.
    #[command(after_help = EXIT_CODES)]
    List(Way),
    /// End a lease before its time: the DID's calls land where its row says.
    #[command(after_help = EXIT_CODES)]
    End {
        #[command(flatten)]
        way: Way,
        /// The DID, in any spelling.
        number: String,
        /// Why: it is recorded.
        #[arg(long)]
        reason: String,
    },
}

pub(super) fn lease(options: Options, out: &mut impl Write, faults: &mut impl Write) -> ExitCode {
    match options.verb {
        Verb::List(way) => ask(&way, out, faults, async |client| {
            let leases: Leases = client.fetch("leases").await?;
            Ok(Told::new(listed(&leases), &leases))
        }),
        Verb::End { way, number, reason } => {
            ask(&way, out, faults, async |client| end(&client, &number, &reason).await)
        }
    }
}

async fn end(client: &Client, number: &str, reason: &str) -> Result<Told, AskFault> {
    let did: Did = client.fetch(&format!("dids/{}", segment(number))).await?;
    let leases: Leases = client.fetch("leases").await?;
    let lease = leases.leases.into_iter().find(|lease| lease.number == did.number).ok_or_else(|| {
        let detail = format!("found no lease of {}, expected one to end", did.number);
        AskFault::Refused(Box::new(Problem::new(Kind::NotFound, detail)))
    })?;
    let live: Live = client.end(&format!("leases/{}", segment(&lease.made.id)), reason).await?;
    Ok(Told::live(&format!("{}: {} -> {}", did.number, lease.environment, did.row_environment), &live))
}

fn listed(leases: &Leases) -> String {
    if leases.leases.is_empty() {
        return "no lease is in effect".to_owned();
    }
    let rows: Vec<[String; 5]> = leases
        .leases
        .iter()
        .map(|lease| {
            let made = &lease.made;
            let end = times::shown(lease.ends_at_ms);
            [lease.number.clone(), lease.environment.clone(), end, made.made_by.clone(), made.reason.clone()]
        })
        .collect();
    table(["NUMBER", "ENVIRONMENT", "UNTIL", "BY", "REASON"], &rows)
}
