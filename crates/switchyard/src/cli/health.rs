//! `switchyard health` and `switchyard limits`: how the running process fares, and how much it has in use.

use super::ask::{Told, Way, ask, table};
use admin::api::health::{Health, PartyHealth, Verdict};
use admin::api::limits::{LimitInUse, LimitList};
use clap::Args;
use std::io::Write;
use std::process::ExitCode;

#[derive(Args)]
pub(super) struct HealthOptions {
    #[command(flatten)]
    way: Way,
}

#[derive(Args)]
pub(super) struct LimitsOptions {
    #[command(flatten)]
    way: Way,
}

/// Says whether calls are served as they should be. 8 where they are not.
pub(super) fn health(options: &HealthOptions, out: &mut impl Write, faults: &mut impl Write) -> ExitCode {
    ask(&options.way, out, faults, async |client| {
        let health: Health = client.fetch("health").await?;
        let told = Told::new(shown(&health), &health);
        Ok(if health.verdict == Verdict::Bad { told.not_well() } else { told })
    })
}

fn shown(health: &Health) -> String {
    let mut lines = vec![health.verdict.as_str().to_owned()];
    lines.extend(health.reasons.iter().map(|why| format!("  {why}")));
    let age = health.table_age_s.map_or("never".to_owned(), |age| format!("{age:.1} s ago"));
    let Health { generation, leases, testers, .. } = health;
    lines.push(format!("generation {generation}, database read {age}, {leases} leases, {testers} testers"));
    let rows: Vec<[String; 6]> = health.parties.iter().map(row).collect();
    lines.push(table(["PARTY", "ROLE", "STANDING", "USABLE", "DOWN", "SET ASIDE"], &rows));
    lines.join("\n")
}

fn row(party: &PartyHealth) -> [String; 6] {
    let PartyHealth { name, role, standing, peers, usable, down, set_aside, .. } = party;
    let usable = format!("{usable} of {peers}");
    [name.clone(), role.clone(), standing.clone(), usable, down.to_string(), set_aside.to_string()]
}

/// Lists limits, and what is used of them.
pub(super) fn limits(options: &LimitsOptions, out: &mut impl Write, faults: &mut impl Write) -> ExitCode {
    ask(&options.way, out, faults, async |client| {
        let list: LimitList = client.fetch("limits").await?;
        let rows: Vec<[String; 4]> = list.limits.iter().map(limit).collect();
        let mut text = table(["LIMIT", "OF", "USED", "ALLOWED"], &rows);
        if list.left_out > 0 {
            text.push_str(&format!("\n{} more with calls", list.left_out));
        }
        Ok(Told::new(text, &list))
    })
}

fn limit(limit: &LimitInUse) -> [String; 4] {
    // The words of the API.
    let kind = serde_json::to_value(limit.kind).unwrap_or_default();
    let number = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
    let named = limit.organisation.as_ref().map(|own| own.name.clone());
    [
        kind.as_str().unwrap_or_default().to_owned(),
        named.or_else(|| limit.subject.clone()).unwrap_or_default(),
        number(limit.used),
        number(limit.allowed),
    ]
}
