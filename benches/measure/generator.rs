//! Running the load generator, and reading what it says.

use crate::subject::Subject;
use crate::{LOAD_CORE, Places};
use anyhow::{Context, Result, bail};
use std::process::Command;

/// Tries of a second each until a program that was started carries calls.
const WARM_UPS: usize = 60;

/// What the generator said.
#[derive(Debug)]
pub(crate) struct Told {
    text: String,
    faults: String,
}

impl Told {
    /// The value of one of its `name value` lines.
    pub(crate) fn figure(&self, name: &str) -> Result<f64> {
        figure(&self.text, name).with_context(|| format!("the load generator said:\n{}{}", self.text, self.faults))
    }

    /// True with at least 99.9 % completed, no message that was wrong, and few that were sent again: as the generator's own
    /// search has it.
    pub(crate) fn is_carried(&self) -> Result<bool> {
        let is_whole = self.figure("completed")? >= self.figure("begun")? * 0.999 && self.figure("faults")? == 0.0;
        Ok(is_whole && self.sent_again_per_thousand()? <= 10.0)
    }

    /// Messages that the generator sent again, for each thousand calls.
    pub(crate) fn sent_again_per_thousand(&self) -> Result<f64> {
        Ok(self.figure("sent_again")? * 1_000.0 / self.figure("begun")?.max(1.0))
    }

    /// In one line: what became of the calls.
    pub(crate) fn in_short(&self) -> String {
        let of = |name| self.figure(name).map_or_else(|_| "?".to_owned(), |value| format!("{value}"));
        format!(
            "{} of {} completed, {} refused, {} failed, {} sent again, {} faults, {} us late at most",
            of("completed"),
            of("begun"),
            of("refused"),
            of("failed"),
            of("sent_again"),
            of("faults"),
            of("lag_us")
        )
    }
}

/// Runs the generator to its end, with the calls of this subject. Calls that failed are no error here.
pub(crate) fn load(places: &Places, subject: Subject, more: &[&str]) -> Result<Told> {
    let program = places.programs.join("load");
    let mut command = Command::new(&program);
    command.args(["--core", &LOAD_CORE.to_string()]).args(subject.words()).args(more);
    let output = command.output().with_context(|| format!("{} cannot be started", program.display()))?;
    let [text, faults] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if text.is_empty() {
        bail!("the load generator said nothing: {faults}");
    }
    Ok(Told { text, faults })
}

/// Calls until they come through: a program that has just begun, or that has seen its neighbours gone, takes a moment.
pub(crate) fn warm_up(places: &Places, subject: Subject) -> Result<()> {
    let mut last = String::new();
    for _ in 0..WARM_UPS {
        match load(places, subject, &["--rate", "300", "--seconds", "1", "--settle-seconds", "1"]) {
            Ok(told) if told.figure("completed")? == told.figure("begun")? && told.is_carried()? => return Ok(()),
            Ok(told) => last = told.in_short(),
            Err(fault) => last = format!("{fault:#}"),
        }
    }
    bail!("no calls come through {}: {last}", subject.title())
}

/// The value behind a name at the beginning of a line, in the generator's lines or those of `/metrics`.
pub(crate) fn figure(text: &str, name: &str) -> Result<f64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = value.with_context(|| format!("nothing is said of {name}"))?;
    value.trim().parse().with_context(|| format!("{name} is no number: {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_by_their_whole_name() {
        let text = "rate_most 9\nrate 5000\nfaults 0\ncompleted 9990\nbegun 10000\nsent_again 100\n";
        assert_eq!(figure(text, "rate").unwrap(), 5_000.0);
        assert!(figure(text, "highest").unwrap_err().to_string().contains("nothing is said of highest"));
        assert!(figure("rate fast\n", "rate").is_err());
        let told = |text: &str| Told { text: text.to_owned(), faults: String::new() };
        assert!(told(text).is_carried().unwrap());
        assert!(!told(&text.replace("9990", "9989")).is_carried().unwrap());
        assert!(!told(&text.replace("sent_again 100", "sent_again 101")).is_carried().unwrap());
        assert!(!told(&text.replace("faults 0", "faults 1")).is_carried().unwrap());
    }
}
