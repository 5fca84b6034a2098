//! The policy's words: what `explain`, the lint and the log print of it.

use super::{By, IdentityStep, Rule, Unusable};
use directory::{Directory, OrganisationId};
use std::fmt;

impl Rule {
    /// The label for metrics and records.
    pub const fn name(self) -> &'static str {
        match self {
            Rule::PerCall => "per_call",
            Rule::User => "user",
            Rule::Default => "default",
            Rule::First => "first",
            Rule::Fallback => "fallback",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::PerCall => "rule 1 (the number sent with the call)",
            Rule::User => "rule 2 (the user's outbound DID)",
            Rule::Default => "rule 3 (the organisation's default DID)",
            Rule::First => "rule 4 (the organisation's first assigned DID)",
            Rule::Fallback => "rule 5 (the trunk's fallback DID)",
        })
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            By::Header => "the PBX's header",
            By::Asserted => "P-Asserted-Identity",
            By::From => "From",
            By::AssertedDid => "the owner of the number in P-Asserted-Identity",
            By::FromDid => "the owner of the number in From",
        })
    }
}

impl IdentityStep {
    /// The step in words, with the directory's names.
    pub fn told<'s>(&'s self, directory: &'s Directory) -> impl fmt::Display + 's {
        Told { step: self, directory }
    }
}

struct Told<'s> {
    step: &'s IdentityStep,
    directory: &'s Directory,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |id: OrganisationId| self.directory.organisation(id).name;
        match *self.step {
            IdentityStep::Pass => f.write_str("the trunk leaves identity alone (caller_id = \"pass\")"),
            IdentityStep::Caller(id, by, true) => write!(f, "a user of {} calls, by {by}", name(id)),
            IdentityStep::Caller(id, by, false) => write!(f, "{} calls, by {by}; no user is known", name(id)),
            IdentityStep::Nobody(by) => write!(f, "{by} leads to nobody"),
            IdentityStep::Ambiguous(by) => write!(f, "{by} is an extension of several organisations: it means none"),
            IdentityStep::NotAllowed(id) => write!(f, "this environment may not call for {}", name(id)),
            IdentityStep::NotActive(id) => write!(f, "{} is not active", name(id)),
            IdentityStep::Foreign(number) => write!(f, "+{number} belongs to another organisation: never sent"),
            IdentityStep::Lost(rule, number, why) => write!(f, "{rule}: +{number} lost, {why}"),
            IdentityStep::Empty(rule) => write!(f, "{rule}: there is none"),
            IdentityStep::Won(rule, number) => write!(f, "{rule}: +{number} won"),
            IdentityStep::Forwarded(number) => write!(f, "a forwarded call: the first caller +{number} is shown"),
            IdentityStep::NoFallback => {
                f.write_str("the trunk has no fallback DID: only an emergency call goes out, without a number")
            }
        }
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unusable::NotOurs => "it is in no row",
            Unusable::Foreign => "it is another organisation's",
            Unusable::NotInService => "it is not active and assigned",
        })
    }
}
