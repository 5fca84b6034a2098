//! What every verb has that asks the running process: the way there, how the answer is printed, the exit code.

use super::{ConfigOption, Output, print};
use crate::config::{self, Configuration, value};
use admin::api::Live;
use admin::api::times::{self, End};
use admin::{AskFault, Client, Kind};
use clap::Args;
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

/// The exit codes of the verbs that ask the running process.
pub(super) const EXIT_CODES: &str = "\
Exit code: 0 done, 1 no answer, 2 the request cannot be, 3 not found, 4 changed meanwhile or there already, 5 not allowed,
6 the database does not do it, 7 committed and not live yet, 8 answered and not all is well.";

/// Those of `did ready`.
pub(super) const READY_CODES: &str = "\
Exit code: 0 every target knows the number, 8 answered, and it is not so; else as the other verbs: 1 no answer, 2 the request
cannot be, 3 not found, 5 not allowed.";

/// Committed, and no generation has it.
const NOT_LIVE: u8 = 7;

/// Answered, and something of what was asked about is not as it should be.
const NOT_WELL: u8 = 8;

/// The way to the running process.
#[derive(Args, Debug)]
pub(super) struct Way {
    #[command(flatten)]
    config: ConfigOption,
    /// The running process's state folder; then no configuration is read.
    #[arg(long, value_name = "DIR", env = "SWITCHYARD_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// How the answer is printed.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// When something ends that may.
#[derive(Args, Debug)]
pub(super) struct EndOption {
    /// It ends after this time: 30m, 2h, 1d.
    #[arg(long = "for", value_name = "TIME", value_parser = duration_s, conflicts_with = "ends_at_ms")]
    for_s: Option<u64>,
    /// It ends then: "2026-11-22 18:00" is UTC, "2026-11-22T23:30+05:30" says its zone.
    #[arg(long = "until", value_name = "TIME", value_parser = moment)]
    ends_at_ms: Option<u64>,
}

/// The answer to a verb.
pub(super) struct Told {
    text: String,
    json: serde_json::Value,
    code: u8,
}

impl Told {
    /// An answer for people, and the same for programs.
    pub(super) fn new(text: impl Into<String>, answer: &impl Serialize) -> Told {
        Told { text: text.into(), json: serde_json::to_value(answer).unwrap_or_default(), code: 0 }
    }

    /// An answer that is a yes or a no.
    pub(super) fn yes_or_no(text: impl Into<String>, answer: &impl Serialize, is_yes: bool) -> Told {
        Told { code: if is_yes { 0 } else { NOT_WELL }, ..Told::new(text, answer) }
    }

    /// A table for spreadsheets, whatever way an answer is printed.
    pub(super) fn table(text: impl Into<String>) -> Told {
        let text: String = text.into();
        Told { json: serde_json::Value::Null, text: text.trim_end().to_owned(), code: 0 }
    }

    /// An answer that says that not all is well.
    pub(super) fn not_well(self) -> Told {
        Told { code: NOT_WELL, ..self }
    }

    /// An answer that says that what was committed is not live yet.
    pub(super) fn not_live(self) -> Told {
        Told { code: NOT_LIVE, ..self }
    }

    /// The same with another exit code.
    pub(super) fn with_code(self, code: u8) -> Told {
        Told { code, ..self }
    }

    /// What was written; `what` is the line before.
    pub(super) fn live(what: &str, live: &Live) -> Told {
        let code = if live.generation.is_some() { 0 } else { NOT_LIVE };
        Told { code, ..Told::new(format!("{what}\n{live}"), live) }
    }
}

/// Why, where that may be left out.
#[derive(Args, Debug)]
pub(super) struct WhyOption {
    /// Why: it is recorded.
    #[arg(long)]
    reason: Option<String>,
}

impl WhyOption {
    /// A resource, with the reason behind it.
    pub(super) fn at(&self, resource: &str) -> String {
        match &self.reason {
            Some(reason) => format!("{resource}?reason={}", segment(reason).replace('+', "%2B")),
            None => resource.to_owned(),
        }
    }
}

impl Way {
    /// How the answer is printed.
    pub(super) fn output(&self) -> Output {
        self.output
    }

    /// The configuration that it names.
    pub(super) fn configuration(&self) -> Result<Configuration, String> {
        config::load(&self.config.config).map_err(|faults| faults.to_string())
    }
}

impl EndOption {
    /// As the API has it.
    pub(super) fn end(&self) -> End {
        End { for_s: self.for_s, ends_at_ms: self.ends_at_ms }
    }

    /// Seconds from now; `None` when no end is given.
    pub(super) fn left_s(&self) -> Option<u64> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let until = self.ends_at_ms.map(|ends| (ends / 1_000).saturating_sub(now.as_secs()));
        self.for_s.or(until)
    }

    /// In words, with a space before: ` for 2h`.
    pub(super) fn told(&self) -> String {
        match (self.for_s, self.ends_at_ms) {
            (Some(for_s), _) => format!(" for {}", value::written(std::time::Duration::from_secs(for_s))),
            (None, Some(at_ms)) => format!(" until {}", times::shown(at_ms)),
            (None, None) => String::new(),
        }
    }
}

/// A time of a second or more, in seconds.
pub(super) fn duration_s(text: &str) -> Result<u64, String> {
    let duration = value::duration(text).filter(|duration| duration.as_secs() > 0);
    duration.map(|duration| duration.as_secs()).ok_or_else(|| "expected 1s or more: 90s, 30m, 2h, 1d".to_owned())
}

pub(super) fn moment(text: &str) -> Result<u64, String> {
    let expected = "expected a time: 2026-11-22 18:00 for UTC, or 2026-11-22T18:00:00+05:30";
    times::parsed(text).ok_or_else(|| expected.to_owned())
}

/// Does `work` with the running process, prints what it tells, and says by the exit code how it went.
pub(super) fn ask(
    way: &Way,
    out: &mut impl Write,
    faults: &mut impl Write,
    work: impl AsyncFnOnce(Client) -> Result<Told, AskFault>,
) -> ExitCode {
    let told = client(way).and_then(|client| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| (format!("no runtime: {error}"), 1))?;
        runtime.block_on(work(client)).map_err(|fault| (fault.to_string(), code_of(&fault)))
    });
    match told {
        Ok(Told { text, json, code }) => {
            let shown = || serde_json::to_string_pretty(&json).unwrap_or_default();
            print(out, &if way.output == Output::Json && !json.is_null() { shown() } else { text });
            ExitCode::from(code)
        }
        Err((fault, code)) => {
            print(faults, &fault);
            ExitCode::from(code)
        }
    }
}

fn client(way: &Way) -> Result<Client, (String, u8)> {
    if let Some(state_dir) = &way.state_dir {
        return Ok(Client::new(state_dir));
    }
    let configuration = way.configuration().map_err(|fault| (fault, 1))?;
    Ok(Client::new(&configuration.state_dir))
}

fn code_of(fault: &AskFault) -> u8 {
    match fault {
        AskFault::NotAllowed(_) => 5,
        AskFault::Refused(problem) => match problem.kind {
            Kind::Invalid | Kind::Method => 2,
            Kind::NotFound => 3,
            Kind::Changed | Kind::Exists | Kind::VersionNeeded => 4,
            Kind::Forbidden | Kind::Unauthenticated | Kind::Host => 5,
            Kind::NotMigrated | Kind::Database => 6,
            Kind::Internal | Kind::TooMany | Kind::Slow => 1,
        },
        AskFault::NotRunning { .. } | AskFault::Silent(_) | AskFault::Unexpected { .. } => 1,
    }
}

/// A path's segment, escaped.
pub(super) fn segment(text: &str) -> String {
    let escaped = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'+' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(escaped).collect()
}

/// The longest cell of a table: what a row of the database says may be a megabyte.
const CELL_CHARS: usize = 2_000;

/// Columns under their heads, two spaces apart. Control characters of what others wrote do not reach the terminal, nor does what
/// is longer than anybody reads.
pub(super) fn table<const N: usize>(heads: [&str; N], rows: &[[String; N]]) -> String {
    let shown = |cell: &str| {
        let mut chars = cell.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
        let mut text: String = chars.by_ref().take(CELL_CHARS).collect();
        if chars.next().is_some() {
            text.push('\u{2026}');
        }
        text
    };
    let rows = rows.iter().map(|row| row.each_ref().map(|cell| shown(cell)));
    let lines: Vec<[String; N]> = std::iter::once(heads.map(str::to_owned)).chain(rows).collect();
    let mut widths = [0; N];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let lines = lines.iter().map(|line| {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<String>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<String>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a row of the database said is shown as far as anybody reads, however long it is.
    #[test]
    fn a_cell_that_nobody_could_read_is_cut() {
        for length in [CELL_CHARS, CELL_CHARS + 1, 70_000, 1_000_000] {
            let shown = table(["BEFORE", "AFTER"], &[["x".repeat(length), "oss".to_owned()]]);
            let row = shown.lines().nth(1).unwrap();
            assert!(row.starts_with(&"x".repeat(CELL_CHARS)) && row.ends_with("  oss"), "{length}");
            assert_eq!(row.contains('\u{2026}'), length > CELL_CHARS);
            assert!(row.chars().count() <= CELL_CHARS + 6, "{length}");
        }
    }
}
