//! A dialplan held against the directory: which numbers would go elsewhere, and which are missing on either side.

use super::dialplan::{Dialplan, Goes, OddLine, Pattern};
use directory::{Directory, Environment, Service};
use serde::Serialize;
use sip::Number;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Which PBX an endpoint of the dialplan leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Endpoints {
    /// The environment of the PBX that has the dialplan.
    pub(super) local: Environment,
    /// Endpoints by name.
    pub(super) named: Vec<(String, Environment)>,
}

/// What was compared. Field names are stable.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Comparison {
    /// The version of the directory; 1 for one that was just opened.
    pub generation: u64,
    /// Numbers that the dialplan spells out, each once.
    pub in_dialplan: usize,
    /// DIDs of the directory that are in service.
    pub in_service: usize,
    /// Numbers that go where they went.
    pub same: usize,
    /// Numbers that differ, ascending.
    pub differences: Vec<Difference>,
    /// Patterns, which are not compared: in the proxy a number goes by its row alone.
    pub patterns: Vec<Pattern>,
    /// Lines that cannot be understood.
    pub odd_lines: Vec<OddLine>,
}

/// One number that differs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Difference {
    /// E.164 with `+`.
    pub number: String,
    /// How.
    pub kind: Kind,
    /// Where the dialplan sends it.
    pub dialplan: String,
    /// Where the directory sends it.
    pub directory: String,
}

/// How a number differs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// Its calls would land in another environment.
    Elsewhere,
    /// Its calls land in the same environment, and its row names another organisation than the dialplan's context.
    OtherOrganisation,
    /// The dialplan has it, and the directory has no such DID, or has it out of service: refused after the switch-over.
    MissingInDirectory,
    /// The directory has it in service, and the dialplan does not spell it out: today its calls fail or fall to a pattern.
    MissingInDialplan,
    /// The dialplan sends one spelling of the number here and another there.
    TwoWays,
    /// The dialplan names an endpoint of which nobody said where it leads, or says nowhere to go.
    Unknown,
}

impl Kind {
    fn title(self) -> &'static str {
        match self {
            Kind::Elsewhere => "would go to another environment",
            Kind::OtherOrganisation => "belong to another organisation in the database",
            Kind::MissingInDirectory => "are in the dialplan, and would be refused",
            Kind::MissingInDialplan => "are in the database alone",
            Kind::TwoWays => "go two ways in the dialplan",
            Kind::Unknown => "go nowhere that is known in the dialplan (--endpoint NAME=ENVIRONMENT tells)",
        }
    }

    const ALL: [Kind; 6] = [
        Kind::Elsewhere,
        Kind::OtherOrganisation,
        Kind::MissingInDirectory,
        Kind::TwoWays,
        Kind::Unknown,
        Kind::MissingInDialplan,
    ];
}

/// Where the dialplan sends a number.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Way {
    Local { context: String },
    Other { environment: Environment },
    Unknown { told: String },
}

impl Comparison {
    /// Compares every number of either side.
    pub(super) fn of(plan: Dialplan, endpoints: &Endpoints, directory: &Directory) -> Comparison {
        let mut odd_lines = plan.odd;
        let mut ways: BTreeMap<Number, BTreeSet<Way>> = BTreeMap::new();
        for found in &plan.extensions {
            match directory.numbering().canonical(found.number.as_bytes()) {
                Ok(number) => {
                    ways.entry(number).or_default().insert(endpoints.way(found.goes.as_ref()));
                }
                Err(fault) => {
                    odd_lines.push(OddLine { line: found.line, detail: format!("{:?}: {fault}", found.number) });
                }
            }
        }
        let (mut same, mut differences) = (0, Vec::new());
        for (&number, ways) in &ways {
            match differs(number, ways, endpoints.local, directory) {
                Some(difference) => differences.push(difference),
                None => same += 1,
            }
        }
        let in_service = || directory.dids().filter(|did| did.service == Service::InService);
        let missing = in_service().filter(|did| !ways.contains_key(&did.number)).map(|did| Difference {
            number: format!("+{}", did.number),
            kind: Kind::MissingInDialplan,
            dialplan: "not spelled out".to_owned(),
            directory: did.environment.to_string(),
        });
        differences.extend(missing);
        differences.sort_by(|a, b| a.number.cmp(&b.number));
        odd_lines.sort_by_key(|odd| odd.line);
        Comparison {
            generation: directory.generation().0,
            in_dialplan: ways.len(),
            in_service: in_service().count(),
            same,
            differences,
            patterns: plan.patterns,
            odd_lines,
        }
    }

    /// Whether the switch-over would change nothing for any number.
    pub(super) fn is_same(&self) -> bool {
        self.differences.is_empty() && self.odd_lines.is_empty()
    }
}

/// How a number of the dialplan differs from the directory; `None` where it does not.
fn differs(number: Number, ways: &BTreeSet<Way>, local: Environment, directory: &Directory) -> Option<Difference> {
    let told: Vec<String> = ways.iter().map(|way| way.told(local)).collect();
    let did = directory.did(number);
    let here = match &did {
        None => "no row".to_owned(),
        Some(did) if did.service != Service::InService => {
            format!("{}, {}", did.environment, out_of_service(did.service))
        }
        Some(did) => did.environment.to_string(),
    };
    let difference = |kind, directory: String| {
        Some(Difference { number: format!("+{number}"), kind, dialplan: told.join(" and "), directory })
    };
    let (Some(way), 1) = (ways.first(), ways.len()) else { return difference(Kind::TwoWays, here) };
    let Some(did) = did.filter(|did| did.service == Service::InService) else {
        return difference(Kind::MissingInDirectory, here);
    };
    let environment = match way {
        Way::Unknown { .. } => return difference(Kind::Unknown, here),
        Way::Local { .. } => local,
        Way::Other { environment } => *environment,
    };
    if environment != did.environment {
        return difference(Kind::Elsewhere, here);
    }
    let Way::Local { context } = way else { return None };
    let organisation = did.organisation().map(|id| directory.organisation(id));
    let prefix = organisation.map_or("", |organisation| organisation.context_prefix);
    if !prefix.is_empty() && context.starts_with(prefix) {
        return None;
    }
    let owner = organisation.map_or_else(|| "no organisation".to_owned(), |found| format!("{} ({prefix})", found.name));
    difference(Kind::OtherOrganisation, format!("{here}, {owner}"))
}

fn out_of_service(service: Service) -> String {
    match service {
        Service::InService => "in service".to_owned(),
        Service::NotActive(status) => status.to_string(),
        Service::NotAssigned(pool_status) => pool_status.to_string(),
        Service::OrganisationNotActive => "its organisation is not active".to_owned(),
    }
}

impl Endpoints {
    fn way(&self, goes: Option<&Goes>) -> Way {
        match goes {
            None => Way::Unknown { told: "neither Goto nor Dial".to_owned() },
            Some(Goes::Context { context, .. }) => Way::Local { context: context.clone() },
            Some(Goes::Endpoint { endpoint, .. }) => match self.named.iter().find(|(name, _)| name == endpoint) {
                Some((_, environment)) => Way::Other { environment: *environment },
                None => Way::Unknown { told: format!("endpoint {endpoint}") },
            },
        }
    }
}

impl Way {
    fn told(&self, local: Environment) -> String {
        match self {
            Way::Local { context } => format!("{local} ({context})"),
            Way::Other { environment } => environment.to_string(),
            Way::Unknown { told } => told.clone(),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Comparison { in_dialplan, in_service, same, .. } = self;
        write!(f, "{in_dialplan} numbers in the dialplan, {in_service} DIDs in service; {same} go where they went")?;
        for kind in Kind::ALL {
            let found: Vec<&Difference> = self.differences.iter().filter(|found| found.kind == kind).collect();
            if found.is_empty() {
                continue;
            }
            write!(f, "\n\n{} {}", found.len(), kind.title())?;
            for Difference { number, dialplan, directory, .. } in found {
                write!(f, "\n  {number}  dialplan: {dialplan}; database: {directory}")?;
            }
        }
        if !self.patterns.is_empty() {
            write!(f, "\n\nnot compared: in the proxy a number goes by its row alone")?;
        }
        for Pattern { context, pattern, line } in &self.patterns {
            write!(f, "\n  line {line}: pattern {pattern} in [{context}]")?;
        }
        if !self.odd_lines.is_empty() {
            write!(f, "\n\nnot understood")?;
        }
        self.odd_lines.iter().try_for_each(|odd| write!(f, "\n  {odd}"))
    }
}
