//! `switchyard did export` and `switchyard did import`: DIDs as a table for spreadsheets.

use super::ask::{Told, ask, table};
use super::did::{Export, Import};
use super::print;
use admin::api::PAGE_MAX;
use admin::api::csv;
use admin::api::dids::{Dids, DidsQuestion};
use admin::api::sheet::{COLUMNS, ImportQuestion, Imported, ImportedRow, Outcome, cells};
use admin::{AskFault, Client};
use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

/// Prints every DID that fits.
pub(super) fn export(wanted: &Export, out: &mut impl Write, faults: &mut impl Write) -> ExitCode {
    ask(&wanted.way, out, faults, async |client| Ok(Told::table(pages(&client, wanted.wanted.question()).await?)))
}

/// Every page, one behind the other.
async fn pages(client: &Client, question: DidsQuestion) -> Result<String, AskFault> {
    let mut question = DidsQuestion { limit: Some(PAGE_MAX), ..question };
    let mut text = csv::line(COLUMNS.into_iter());
    loop {
        let page: Dids = client.find("dids", &question).await?;
        for did in &page.dids {
            text.push_str(&csv::line(cells(did).iter().map(String::as_str)));
        }
        match page.next {
            Some(next) => question.after = Some(next),
            None => return Ok(text),
        }
    }
}

/// Moves what was changed in a table. 8 where a row of it was not.
pub(super) fn import(import: &Import, out: &mut impl Write, faults: &mut impl Write) -> ExitCode {
    let sheet = match read(&import.file) {
        Ok(sheet) => sheet,
        Err(fault) => {
            print(faults, &format!("{}: {fault}", import.file.display()));
            return ExitCode::FAILURE;
        }
    };
    ask(&import.way, out, faults, async |client| {
        let question = ImportQuestion { dry_run: import.dry_run, reason: import.reason.clone() };
        let imported: Imported = client.send_table("dids/csv", &question, sheet).await?;
        let told = Told::new(shown(&imported), &imported);
        Ok(match (imported.refused + imported.not_tried, imported.generation) {
            (1.., _) => told.not_well(),
            (0, Some(_)) => told,
            (0, None) => told.not_live(),
        })
    })
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    if file != Path::new("-") {
        return fs::read(file);
    }
    let mut bytes = Vec::new();
    // One byte more than is taken tells that it is too long.
    let most = u64::try_from(admin::limits::SHEET_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    io::stdin().lock().take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn shown(imported: &Imported) -> String {
    let Imported { dry_run, generation, took_ms, pending, changed, unchanged, refused, not_tried, rows } = imported;
    let mut lines = Vec::new();
    if !rows.is_empty() {
        let rows: Vec<[String; 6]> = rows.iter().map(line).collect();
        lines.push(table(["LINE", "NUMBER", "BEFORE", "AFTER", "OUTCOME", "WHY"], &rows));
    }
    let (verb, left) = if *dry_run { ("would change", "nothing was changed; held to") } else { ("changed", "live in") };
    lines.push(format!("{changed} {verb}, {unchanged} unchanged, {refused} refused, {not_tried} not tried"));
    lines.push(match (generation, pending) {
        (Some(generation), _) => format!("{left} generation {generation}, {took_ms} ms"),
        (None, pending) => format!("NOT live: {}", pending.as_deref().unwrap_or("no generation has it")),
    });
    lines.join("\n")
}

fn line(row: &ImportedRow) -> [String; 6] {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_default();
    let overruled = row.overruled_by.as_ref().map(|by| format!("overruled at present by a {by}"));
    [
        row.line.to_string(),
        row.number.clone(),
        or_none(&row.before),
        or_none(&row.after),
        match row.outcome {
            Outcome::WouldChange => "would change",
            Outcome::Changed => "changed",
            Outcome::Pending => "pending",
            Outcome::Refused => "refused",
            Outcome::NotTried => "not tried",
        }
        .to_owned(),
        row.why.clone().or(overruled).unwrap_or_default(),
    ]
}
