//! The limits that a call would meet: admission's own list, looked at and not taken.

use directory::Directory;
use proxy::engine::{Looked, Standing, room_of};
use proxy::{Counts, Limit, Refusal, Settings, Time};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One limit on a call's way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Limited {
    /// Its name, as in `switchyard_refused_total`.
    pub limit: String,
    /// Whose it is: a number, an organisation, a trunk, an environment, a gateway, a source address.
    pub of: String,
    /// Calls in progress, begun in this second, or begun today; not there: only the running process knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u32>,
    /// How many there may be; not there: as many as there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<u32>,
    /// True where there is no room for this call.
    pub is_full: bool,
}

/// What calls there are now, and when that is.
pub(super) type Counted<'c> = Option<(&'c Counts, Time)>;

/// The limits of a call, and the refusal of the first that has no room for it. Without the running process's counts they
/// are what the configuration and the directory say, and nothing is said of those that nobody has set.
pub(super) fn of(
    settings: &Settings,
    directory: &Directory,
    counted: Counted<'_>,
    looked: &Looked<'_, '_>,
) -> (Vec<Limited>, Option<Refusal>) {
    let nobody = Counts::sized(1);
    let (counts, now) = counted.unwrap_or((&nobody, Time(0)));
    let Some(room) = room_of(settings, directory, counts, now, looked) else { return (Vec::new(), None) };
    // A reserve that nobody keeps is no limit of anybody's.
    let is_told =
        |standing: &&Standing| standing.most.is_some() || counted.is_some() && standing.limit != Limit::Reserve;
    let standings = room.standings.iter().filter(is_told);
    let source = (settings.limits.requests_per_second, room.is_free);
    let source = (source.0 > 0 && !source.1).then(|| Limited {
        limit: Refusal::OverRate.name().to_owned(),
        of: looked.remote.ip().to_string(),
        used: None,
        allowed: Some(settings.limits.requests_per_second),
        is_full: false,
    });
    let limits = source.into_iter().chain(standings.map(|standing| limited(directory, counted.is_some(), standing)));
    (limits.collect(), room.refusal)
}

fn limited(directory: &Directory, is_counted: bool, standing: &Standing) -> Limited {
    let organisation = (standing.limit == Limit::Organisation || standing.limit == Limit::OrganisationRate)
        .then(|| directory.organisation_by_uuid(&standing.of))
        .flatten();
    Limited {
        limit: standing.limit.name().to_owned(),
        of: organisation.map_or_else(|| standing.of.clone(), |organisation| organisation.name.to_owned()),
        used: is_counted.then_some(standing.used),
        allowed: standing.most,
        is_full: standing.is_full,
    }
}

/// One line for each.
pub(super) fn write(f: &mut fmt::Formatter<'_>, limits: &[Limited]) -> fmt::Result {
    let width = limits.iter().map(|limited| limited.of.chars().count()).max().unwrap_or(0);
    for limited in limits {
        let (full, width) = (if limited.is_full { ": no room" } else { "" }, width);
        writeln!(f, "   limit {:<18} {:<width$}  {}{full}", limited.limit, limited.of, told(limited))?;
    }
    Ok(())
}

fn told(limited: &Limited) -> String {
    let what = match &*limited.limit {
        "over_rate" => "requests in a second",
        "daily_calls" => "calls today",
        limit if limit.ends_with("_rate") => "calls in this second",
        _ => "calls",
    };
    match (limited.used, limited.allowed) {
        (Some(used), Some(allowed)) => format!("{used} of {allowed} {what}"),
        (Some(used), None) => format!("{used} {what}, no limit"),
        (None, Some(allowed)) => format!("at most {allowed} {what}"),
        (None, None) => format!("{what}, no limit"),
    }
}
