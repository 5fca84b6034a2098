//! `switchyard audit`: who changed what.

use super::ask::{EXIT_CODES, Told, Way, ask, table};
use admin::api::audit::{Audit, AuditQuestion, COLUMNS, cells};
use admin::api::{PAGE_MAX, csv, times};
use admin::{AskFault, Client};
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
    /// List the last changes, newest first.
    #[command(after_help = EXIT_CODES)]
    List {
        #[command(flatten)]
        way: Way,
        /// How many, at most 1000.
        #[arg(long)]
        limit: Option<u32>,
    },
    /// Print every change, newest first, as a table for spreadsheets.
    #[command(after_help = EXIT_CODES)]
    Export {
        #[command(flatten)]
        way: Way,
    },
}

pub(super) fn audit(options: Options, out: &mut impl Write, faults: &mut impl Write) -> ExitCode {
    match options.verb {
        Verb::List { way, limit } => ask(&way, out, faults, async |client| {
            let audit: Audit = client.find("audit", &AuditQuestion { limit, ..AuditQuestion::default() }).await?;
            Ok(Told::new(listed(&audit), &audit))
        }),
        Verb::Export { way } => ask(&way, out, faults, async |client| Ok(Told::table(export(&client).await?))),
    }
}

/// Every page, one behind the other.
async fn export(client: &Client) -> Result<String, AskFault> {
    let mut table = csv::line(COLUMNS.into_iter());
    let mut question = AuditQuestion { limit: Some(PAGE_MAX), ..AuditQuestion::default() };
    loop {
        let page: Audit = client.find("audit", &question).await?;
        for change in &page.changes {
            table.push_str(&csv::line(cells(change).iter().map(String::as_str)));
        }
        match page.next {
            Some(next) => question.before = Some(next),
            None => return Ok(table),
        }
    }
}

fn listed(audit: &Audit) -> String {
    if audit.changes.is_empty() {
        return "nothing was changed yet".to_owned();
    }
    let rows: Vec<[String; 9]> = audit
        .changes
        .iter()
        .map(|change| {
            let (made, or_none) = (&change.made, |text: &Option<String>| text.clone().unwrap_or_default());
            [
                times::shown(made.made_at_ms),
                made.made_by.clone(),
                or_none(&change.role),
                or_none(&change.origin),
                change.action.clone(),
                change.subject.clone(),
                or_none(&change.before),
                or_none(&change.after),
                made.reason.clone(),
            ]
        })
        .collect();
    table(["AT", "WHO", "ROLE", "FROM", "ACTION", "SUBJECT", "BEFORE", "AFTER", "REASON"], &rows)
}
