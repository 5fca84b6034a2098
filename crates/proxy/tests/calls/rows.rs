//! Rows of a directory in the texts' own notation, built by the directory crate like a database's.

use directory::rows::text;
use directory::{
    DidRow, Directory, Environment, Generation, Lease, OrganisationRow, Overlays, Panic, Policy, Subject, Tester,
    UserRow,
};
use sip::Number;
use std::path::Path;

/// The rows of one file, in the order in which they stand there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    rows: directory::Rows,
    overlays: Overlays,
}

impl Rows {
    pub(crate) fn read(file: &Path) -> Result<Rows, String> {
        let text = std::fs::read_to_string(file).map_err(|fault| format!("{}: {fault}", file.display()))?;
        let mut rows = Rows::default();
        for (at, line) in text.lines().enumerate() {
            rows.line(line).map_err(|fault| format!("{}: line {}: {fault}", file.display(), at + 1))?;
        }
        Ok(rows)
    }

    /// `organisation NAME [status]`, `organisation NAME concurrent_calls=n`, `user ENDPOINT ORGANISATION [did=x] [name=x] [status=x]`, `did NUMBER ENVIRONMENT
    /// ORGANISATION [status=x] [pool=x] [provider=x] [trunk_id=x] [call_limit=n] [default]`, `remove NUMBER`. A `did`
    /// whose number is there in the same spelling replaces it.
    pub(crate) fn line(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            ["organisation", name] => self.organisation(name, "active"),
            ["organisation", name, more] => match more.strip_prefix("concurrent_calls=") {
                Some(calls) => self.limited_organisation(name, calls),
                None => self.organisation(name, more),
            },
            ["user", endpoint, organisation, more @ ..] => self.user(endpoint, organisation, more)?,
            ["did", number, environment, organisation, more @ ..] => {
                self.did(number, environment, organisation, more)?;
            }
            ["remove", number] => self.rows.dids.retain(|row| row.number != text(number)),
            other => return Err(format!("found {other:?}, expected `organisation`, `user`, `did` or `remove`")),
        }
        Ok(())
    }

    fn organisation(&mut self, name: &str, status: &str) {
        let prefix = format!("org_{name}_");
        let row = OrganisationRow { status: text(status), ..OrganisationRow::active(name, name, &prefix) };
        self.rows.organisations.retain(|old| old.id != row.id);
        self.rows.organisations.push(row);
    }

    fn limited_organisation(&mut self, name: &str, calls: &str) {
        self.organisation(name, "active");
        if let Some(row) = self.rows.organisations.last_mut() {
            row.limits = text(&format!("{{\"concurrent_calls\": {calls}}}"));
        }
    }

    fn user(&mut self, endpoint: &str, organisation: &str, more: &[&str]) -> Result<(), String> {
        let extension = endpoint.rsplit('_').next().unwrap_or_default();
        let mut row = UserRow::active(&format!("user-{endpoint}"), organisation, extension, endpoint);
        for word in more {
            match word.split_once('=') {
                Some(("did", number)) => row.outbound_did = text(number),
                Some(("name", name)) => row.username = text(name),
                Some(("status", status)) => row.status = text(status),
                _ => return Err(format!("found {word:?}, expected did=, name= or status=")),
            }
        }
        self.rows.users.retain(|old| old.id != row.id);
        self.rows.users.push(row);
        Ok(())
    }

    fn did(&mut self, number: &str, environment: &str, organisation: &str, more: &[&str]) -> Result<(), String> {
        let mut row = DidRow {
            id: text(&format!("did-{number}")),
            org_id: (organisation != "-").then(|| organisation.as_bytes().to_vec()),
            number: text(number),
            status: text("active"),
            pool_status: text("assigned"),
            routing_environment: text(environment),
            ..DidRow::default()
        };
        for word in more {
            match word.split_once('=') {
                Some(("status", status)) => row.status = text(status),
                Some(("pool", pool)) => row.pool_status = text(pool),
                Some(("provider", provider)) => row.provider = text(provider),
                Some(("call_limit", limit)) => row.call_limit = text(limit),
                Some(("trunk_id", trunk_id)) => row.trunk_id = text(trunk_id),
                None if *word == "default" => row.is_default = text("1"),
                _ => {
                    return Err(format!(
                        "found {word:?}, expected status=, pool=, provider=, trunk_id=, call_limit= or default"
                    ));
                }
            }
        }
        self.rows.dids.retain(|old| old.number != row.number);
        self.rows.dids.push(row);
        Ok(())
    }

    /// What lies over the rows: `lease NUMBER ENVIRONMENT`, `tester CALLER NUMBER ENVIRONMENT`, `tester CALLER
    /// organisation NAME ENVIRONMENT`, `panic`; each with `end` before it takes it away. The text's clock ends nothing.
    pub(crate) fn overlay(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
        let (ends, words) = match words.as_slice() {
            ["end", words @ ..] => (true, words),
            words => (false, words),
        };
        let Overlays { panic, testers, leases } = &mut self.overlays;
        match words {
            ["panic"] => *panic = (!ends).then_some(Panic { ends_at_ms: None }),
            ["lease", called, more @ ..] => {
                let called = number(called)?;
                leases.retain(|lease| lease.number != called);
                if !ends {
                    leases.push(Lease { number: called, environment: environment(more)?, ends_at_ms: u64::MAX });
                }
            }
            ["tester", caller, more @ ..] => {
                let caller = number(caller)?;
                let (subject, more) = match more {
                    ["organisation", name, more @ ..] => (Subject::Organisation((*name).into()), more),
                    [called, more @ ..] => (Subject::Did(number(called)?), more),
                    [] => return Err("found no number, expected `tester CALLER NUMBER ENVIRONMENT`".into()),
                };
                testers.retain(|tester| (tester.caller, &tester.subject) != (caller, &subject));
                if !ends {
                    testers.push(Tester { caller, subject, environment: environment(more)?, ends_at_ms: u64::MAX });
                }
            }
            other => return Err(format!("found {other:?}, expected `lease`, `tester` or `panic`")),
        }
        Ok(())
    }

    /// The directory after `before`: bad rows keep their last good values, and the generation counts on.
    pub(crate) fn build(&self, before: Option<&Directory>) -> Directory {
        let generation = before.map_or(0, |directory| directory.generation().0) + 1;
        let rows = directory::build(Generation(generation), self.rows.clone(), &Policy::default(), before);
        rows.with_overlays(Generation(generation), self.overlays.clone())
    }
}

fn number(text: &str) -> Result<Number, String> {
    let number = sip::Numbering::default().canonical(text.as_bytes());
    number.map_err(|fault| format!("found {text:?}, expected a number ({fault})"))
}

fn environment(words: &[&str]) -> Result<Environment, String> {
    match words {
        [word] => word.parse().map_err(|_| format!("found {word:?}, expected prod, staging or oss")),
        _ => Err(format!("found {words:?}, expected one environment")),
    }
}
