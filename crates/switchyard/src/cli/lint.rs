//! `switchyard caller-id lint`: which users and organisations would not be shown by a number of their own choice. Each
//! is asked for with [`proxy::present`], the function that decides live traffic; nothing is sent.

use super::explain::directory_of;
use super::{ConfigOption, Output, print};
use crate::config;
use clap::Args;
use directory::{Directory, Organisation, Service, User};
use proxy::caller_id::{By, IdentityStep, Presented, Shown, serves};
use proxy::{Claims, PartyId, Role, Rule, Settings, present};
use serde::Serialize;
use std::fmt;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

pub(super) const HELP: &str = "\
The configuration is read, the directory is opened once, and every active user and every organisation calls out by the
same function as live traffic. Nothing is sent, and the running proxy is not asked.

Exit code: 0 nothing was found, 2 something was, 1 there is no answer.

Examples:
  switchyard caller-id lint
  switchyard caller-id lint -o json | jq '.findings[] | select(.kind == \"fallback\")'";

/// What is asked.
#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    config: ConfigOption,
    /// How the answer is printed.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Prints what was found to `out`: 0 nothing, 2 something, 1 no answer, with the reason to `faults`.
pub(super) fn lint(options: &Options, out: &mut impl Write, faults: &mut impl Write) -> ExitCode {
    let read = config::load(&options.config.config).map_err(|faults| faults.to_string()).and_then(|configuration| {
        let directory = directory_of(&configuration, Duration::MAX)?;
        report(&configuration.core, &directory)
    });
    let report = match read {
        Ok(report) => report,
        Err(fault) => {
            print(faults, &fault);
            return ExitCode::FAILURE;
        }
    };
    let text = match options.output {
        Output::Text => report.to_string(),
        Output::Json => serde_json::to_string_pretty(&report).unwrap_or_default(),
    };
    print(out, &text);
    if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) }
}

/// What was looked at and found. Field names are stable.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The version of the directory; 1 for one that was just opened.
    pub generation: u64,
    /// Organisations looked at.
    pub organisations: usize,
    /// Active users looked at.
    pub users: usize,
    /// What was found: by organisation, each organisation before its users.
    pub findings: Vec<Finding>,
}

/// One caller that is not shown as it should be.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The organisation's name.
    pub organisation: String,
    /// The `id` of its row.
    pub organisation_id: String,
    /// The user's endpoint, else user name, else extension; not there: the organisation with no user known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What is wrong.
    pub kind: Kind,
    /// The number that the carrier would see, in E.164 with `+`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// The trunk that would take the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trunk: Option<String>,
    /// Why, in words.
    pub reasons: Vec<String>,
}

/// What is wrong with a caller.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Rule 4: no number was chosen, and the organisation's first one is shown.
    First,
    /// Rule 5: the trunk's own number is shown.
    Fallback,
    /// No rule yields a number: the call is refused.
    Refused,
    /// No environment may call for the organisation: as rule 5, and counted as a breach.
    NotAllowed,
    /// A number that was chosen for the caller cannot be shown; a later rule takes its place.
    Unusable,
    /// The trunk that takes the call does not deliver the number that is shown, or the number is out of service.
    CarrierMayRefuse,
    /// The caller is taken for somebody else.
    SomebodyElse,
}

/// One caller that is looked at.
struct Caller<'d> {
    organisation: Organisation<'d>,
    user: Option<User<'d>>,
}

fn report(settings: &Settings, directory: &Directory) -> Result<Report, String> {
    let trunk = settings.first_trunk().ok_or("the configuration has no trunk")?;
    let mut users: Vec<User<'_>> = directory.users().filter(|user| user.is_active).collect();
    users.sort_by_key(|user| (user.organisation, user.extension));
    let mut report = Report {
        generation: directory.generation().0,
        organisations: directory.organisation_count(),
        users: users.len(),
        findings: Vec::new(),
    };
    for organisation in directory.organisations() {
        let of_it = users.iter().filter(|user| user.organisation == organisation.id);
        let callers = std::iter::once(None).chain(of_it.map(|user| Some(*user)));
        for caller in callers.map(|user| Caller { organisation, user }) {
            caller.look_at(settings, directory, trunk, &mut report.findings);
        }
    }
    Ok(report)
}

impl Caller<'_> {
    fn look_at(&self, settings: &Settings, directory: &Directory, trunk: PartyId, findings: &mut Vec<Finding>) {
        let endpoint = self.endpoint();
        let claims = Claims { endpoint: Some(endpoint.as_bytes()), ..Claims::default() };
        let environments = (0..=u16::MAX).map(PartyId).zip(&settings.parties);
        let environments = environments.filter(|(_, party)| party.role != Role::Trunk).map(|(id, _)| id);
        let asked = environments.map(|from| present(settings, directory, from, trunk, &claims));
        // What an environment may not say, another one may.
        let Some(presented) = asked.min_by_key(|presented| presented.breach) else { return };
        for kind in self.kinds(settings, directory, &presented) {
            findings.push(self.finding(settings, directory, kind, &presented));
        }
    }

    /// What the PBX writes of this caller.
    fn endpoint(&self) -> String {
        let prefix = self.organisation.context_prefix;
        match self.user {
            None => prefix.to_owned(),
            Some(user) if !user.endpoint.is_empty() => user.endpoint.to_owned(),
            Some(user) if !user.username.is_empty() => user.username.to_owned(),
            Some(user) => format!("{prefix}{}", user.extension),
        }
    }

    fn kinds(&self, settings: &Settings, directory: &Directory, presented: &Presented<'_>) -> Vec<Kind> {
        let mut kinds = Vec::new();
        if presented.shown == Shown::Pass {
            return kinds;
        }
        let is_meant =
            |step| matches!(step, IdentityStep::Caller(_, By::Header, has_user) if has_user == self.user.is_some());
        if presented.claimed != Some(self.organisation.id) || !presented.trace.steps().any(is_meant) {
            kinds.push(Kind::SomebodyElse);
        }
        let lost = |step| matches!(step, IdentityStep::Lost(..));
        match presented.shown {
            _ if presented.breach => kinds.push(Kind::NotAllowed),
            Shown::Did(_, Rule::Fallback) => kinds.push(Kind::Fallback),
            Shown::Did(_, Rule::First) => kinds.push(Kind::First),
            Shown::Did(..) | Shown::Forwarded { .. } if presented.trace.steps().any(lost) => kinds.push(Kind::Unusable),
            Shown::Refuse(_) | Shown::Nobody => kinds.push(Kind::Refused),
            Shown::Did(..) | Shown::Forwarded { .. } | Shown::Pass => {}
        }
        if carrier_refuses(settings, directory, presented).is_some() {
            kinds.push(Kind::CarrierMayRefuse);
        }
        kinds
    }

    fn finding(&self, settings: &Settings, directory: &Directory, kind: Kind, presented: &Presented<'_>) -> Finding {
        let number = match presented.shown {
            Shown::Did(number, _) => Some(format!("+{number}")),
            _ => None,
        };
        let trunk = presented.trunk.and_then(|id| settings.party(id)).map(|party| party.name.to_string());
        let told = |step: IdentityStep| step.told(directory).to_string();
        let reasons = match kind {
            Kind::CarrierMayRefuse => carrier_refuses(settings, directory, presented).into_iter().collect(),
            Kind::SomebodyElse => presented.trace.steps().filter(|step| !step_is_of_chain(step)).map(told).collect(),
            _ => presented.trace.steps().filter(is_reason).map(told).collect(),
        };
        Finding {
            organisation: self.organisation.name.to_owned(),
            organisation_id: self.organisation.uuid.to_owned(),
            user: self.user.map(|_| self.endpoint()),
            kind,
            number,
            trunk,
            reasons,
        }
    }
}

/// What led away from the number that was meant. The call has no number of its own, and need not be told so.
fn is_reason(step: &IdentityStep) -> bool {
    !matches!(step, IdentityStep::Empty(Rule::PerCall) | IdentityStep::Won(..) | IdentityStep::Caller(..))
}

fn step_is_of_chain(step: &IdentityStep) -> bool {
    matches!(step, IdentityStep::Empty(_) | IdentityStep::Won(..) | IdentityStep::Lost(..))
}

/// Why the carrier would refuse the number that is shown: its row says that it does not come by this trunk, which names
/// those that do, or that it is out of service. A fallback that has no row is the operator's own word.
fn carrier_refuses(settings: &Settings, directory: &Directory, presented: &Presented<'_>) -> Option<String> {
    let Shown::Did(number, _) = presented.shown else { return None };
    let party = settings.party(presented.trunk?)?;
    let did = directory.did(number)?;
    if did.service != Service::InService {
        return Some(format!("+{number} is out of service by its row: {:?}", did.service));
    }
    let names_any = !party.identity.providers.is_empty() || !party.identity.trunk_ids.is_empty();
    let provider = did.provider().map_or("no provider".to_owned(), |name| format!("provider {name:?}"));
    let id = did.trunk_id().map_or("no trunk_id".to_owned(), |id| format!("trunk_id {id:?}"));
    let told = || format!("+{number} has {provider} and {id}, which no trunk names; {} names others", party.name);
    (names_any && !serves(party, &did)).then(told)
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::First => "rule 4, the organisation's first number",
            Kind::Fallback => "rule 5, the trunk's fallback",
            Kind::Refused => "refused, no rule yields a number",
            Kind::NotAllowed => "no environment may call for this organisation",
            Kind::Unusable => "the number chosen is not shown",
            Kind::CarrierMayRefuse => "the carrier may refuse the number",
            Kind::SomebodyElse => "the name does not lead to this caller",
        })
    }
}

/// The answer for people: a line for each finding, its reasons below.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            match &finding.user {
                Some(user) => write!(f, "{user} of {}: {}", finding.organisation, finding.kind)?,
                None => write!(f, "{}: {}", finding.organisation, finding.kind)?,
            }
            match &finding.number {
                Some(number) => writeln!(f, ": {number}")?,
                None => writeln!(f)?,
            }
            for reason in &finding.reasons {
                writeln!(f, "   {reason}")?;
            }
        }
        let Report { organisations, users, findings, .. } = self;
        write!(f, "{} findings; {organisations} organisations and {users} active users looked at", findings.len())
    }
}
