//! Whether calls are served as they should be, in one answer: `GET /health`.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Api;
use super::routes::Routes;
use crate::access::{Caller, Role};
use crate::problem::Problem;
use crate::status::{PartyStatus, PeerStatus, Status};

/// Whether calls are served as they should be.
#[derive(Clone, PartialEq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Health {
    /// All in one word.
    pub verdict: Verdict,
    /// Why it is not `good`, the worst first.
    pub reasons: Vec<String>,
    /// Whether new calls are taken.
    pub ready: bool,
    /// Whether new calls are refused because somebody said so, or the process is to end.
    pub draining: bool,
    /// Whether everything goes to prod.
    pub panic: bool,
    /// The version that calls are decided by.
    pub generation: u64,
    /// Seconds since the database was last read without a fault; absent before the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_age_s: Option<f64>,
    /// Whether the last read of the database was good.
    pub database: bool,
    /// Whether the guard holds a newer table back.
    pub guard_holds: bool,
    /// Leases in effect.
    pub leases: u64,
    /// Tester overrides in effect.
    pub testers: u64,
    /// Trunks, then environments.
    pub parties: Vec<PartyHealth>,
}

/// All in one word.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing wants a look.
    Good,
    /// Calls are served, and something wants a look.
    Degraded,
    /// Calls fail.
    Bad,
}

/// How a trunk or an environment fares.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct PartyHealth {
    /// The configuration's name.
    pub name: String,
    /// `trunk` or `environment`.
    pub role: String,
    /// The best standing of its peers: `usable`, `last_resort`, `down`, `closed`, `no_address`; `nowhere` without peers.
    pub standing: String,
    /// Its gateways or targets.
    pub peers: u64,
    /// Those that take new calls.
    pub usable: u64,
    /// Those that were measured to be down.
    pub down: u64,
    /// Those that people drain or have disabled.
    pub set_aside: u64,
    /// Those that the tunnel does not lead to.
    pub tunnels_down: u64,
}

/// The standings of a peer, the best first.
const STANDINGS: [&str; 5] = ["usable", "last_resort", "down", "closed", "no_address"];

pub(super) fn router() -> Routes {
    Routes::new().route("/health", get(show))
}

async fn show(State(api): State<Arc<Api>>, Extension(caller): Extension<Caller>) -> Result<Json<Health>, Problem> {
    caller.may(Role::Viewer)?;
    let status = (api.status)();
    let directory = api.directory();
    let overlays = directory.overlays();
    let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    let (panic, leases, testers) =
        (overlays.panic.is_some(), count(overlays.leases.len()), count(overlays.testers.len()));
    Ok(Json(Health { leases, testers, ..of(&status, panic) }))
}

fn of(status: &Status, panic: bool) -> Health {
    let directory = &status.directory;
    let parties: Vec<PartyHealth> = status.parties.iter().map(|party| party_of(party, &status.peers)).collect();
    let mut found: Vec<(Verdict, String)> = Vec::new();
    if !directory.loaded {
        found.push((Verdict::Bad, "no table has been read: calls are refused".to_owned()));
    }
    if status.draining {
        found.push((Verdict::Bad, "draining: new calls are refused".to_owned()));
    }
    let mut trunks = parties.iter().filter(|party| party.role == "trunk").peekable();
    if trunks.peek().is_some() && trunks.all(|party| party.standing == "nowhere") {
        found.push((Verdict::Bad, "no trunk has a peer: calls out are refused".to_owned()));
    }
    for party in &parties {
        let PartyHealth { name, role, standing, down, tunnels_down, .. } = party;
        match standing.as_str() {
            // Everything without a place of its own goes to prod. A trunk may stand for a source alone.
            "nowhere" if name == "prod" => found.push((Verdict::Bad, format!("{role} {name}: it has no peer"))),
            "nowhere" | "usable" => {}
            // Somebody has said so, and knows of it.
            "closed" if role == "environment" && name != "prod" => {
                found.push((Verdict::Degraded, format!("{role} {name}: no peer takes calls (closed)")));
            }
            "last_resort" => found.push((Verdict::Degraded, format!("{role} {name}: only a last resort is left"))),
            standing => found.push((Verdict::Bad, format!("{role} {name}: no peer takes calls ({standing})"))),
        }
        if *tunnels_down > 0 {
            found.push((Verdict::Degraded, format!("{role} {name}: the tunnel is down")));
        } else if *down > 0 && standing == "usable" {
            found.push((Verdict::Degraded, format!("{role} {name}: {down} of its peers down")));
        }
    }
    if panic {
        found.push((Verdict::Degraded, "panic: everything goes to prod".to_owned()));
    }
    found.extend(directory.held.iter().map(|why| (Verdict::Degraded, format!("the guard holds a table back: {why}"))));
    found.extend(directory.trouble.iter().map(|why| (Verdict::Degraded, format!("database: {why}"))));
    found.extend(directory.snapshot_trouble.iter().map(|why| (Verdict::Degraded, format!("snapshot: {why}"))));
    found.sort_by_key(|(verdict, _)| std::cmp::Reverse(*verdict));
    Health {
        verdict: found.first().map_or(Verdict::Good, |(verdict, _)| *verdict),
        reasons: found.into_iter().map(|(_, why)| why).collect(),
        ready: directory.loaded && !status.draining,
        draining: status.draining,
        panic,
        generation: directory.generation,
        table_age_s: directory.table_age_s,
        database: directory.loaded && directory.trouble.is_none() && !directory.from_snapshot,
        guard_holds: !directory.held.is_empty(),
        leases: 0,
        testers: 0,
        parties,
    }
}

fn party_of(party: &PartyStatus, peers: &[PeerStatus]) -> PartyHealth {
    let own = || peers.iter().filter(|peer| peer.party == party.name);
    let count = |is_so: &dyn Fn(&PeerStatus) -> bool| {
        u64::try_from(own().filter(|peer| is_so(peer)).count()).unwrap_or(u64::MAX)
    };
    let best = STANDINGS.into_iter().find(|standing| own().any(|peer| peer.standing == *standing));
    PartyHealth {
        name: party.name.clone(),
        role: party.role.clone(),
        standing: best.unwrap_or("nowhere").to_owned(),
        peers: count(&|_| true),
        usable: count(&|peer| peer.standing == "usable"),
        down: count(&|peer| peer.health == "down"),
        set_aside: count(&|peer| peer.admin != "enabled"),
        tunnels_down: count(&|peer| peer.evidence.contains("tunnel down")),
    }
}

impl Verdict {
    /// As it stands in the answer.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verdict::Good => "good",
            Verdict::Degraded => "degraded",
            Verdict::Bad => "bad",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::DirectoryStatus;

    fn peer(party: &str, health: &str, standing: &str, evidence: &str) -> PeerStatus {
        PeerStatus {
            party: party.into(),
            admin: "enabled".into(),
            health: health.into(),
            standing: standing.into(),
            evidence: evidence.into(),
            ..PeerStatus::default()
        }
    }

    fn status(peers: Vec<PeerStatus>) -> Status {
        let party = |name: &str, role: &str| PartyStatus {
            name: name.into(),
            role: role.into(),
            peers: Vec::new(),
            sources: Vec::new(),
        };
        Status {
            version: String::new(),
            environment: "prod".into(),
            uptime_s: 1,
            draining: false,
            drain: None,
            open_transactions: 0,
            directory: DirectoryStatus {
                loaded: true,
                generation: 7,
                dids: 1,
                faults: 0,
                table_age_s: Some(0.5),
                trouble: None,
                degraded: false,
                from_snapshot: false,
                source: String::new(),
                detection: String::new(),
                held: Vec::new(),
                snapshot_trouble: None,
            },
            listeners: Vec::new(),
            parties: vec![party("tata", "trunk"), party("staging", "environment"), party("oss", "environment")],
            peers,
            counters: Vec::new(),
        }
    }

    #[test]
    fn the_worst_is_the_verdict_and_comes_first() {
        let well = vec![peer("tata", "up", "usable", ""), peer("staging", "up", "usable", "")];
        let health = of(&status(well.clone()), false);
        assert_eq!((health.verdict, health.reasons, health.ready), (Verdict::Good, vec![], true));
        assert_eq!(
            health.parties.iter().map(|party| party.standing.as_str()).collect::<Vec<_>>(),
            ["usable", "usable", "nowhere"]
        );
        let mut without = status(well.clone());
        without.parties.push(PartyStatus {
            name: "prod".into(),
            role: "environment".into(),
            ..without.parties[0].clone()
        });
        without.peers.retain(|peer| peer.party != "tata");
        let health = of(&without, false);
        let expected = ["no trunk has a peer: calls out are refused", "environment prod: it has no peer"];
        assert_eq!((health.verdict, &health.reasons[..]), (Verdict::Bad, &expected.map(str::to_owned)[..]));
        let mut sources_alone = status(well.clone());
        sources_alone.parties.push(PartyStatus { name: "smoke".into(), ..sources_alone.parties[0].clone() });
        assert_eq!(of(&sources_alone, false).verdict, Verdict::Good);
        let closed = vec![peer("tata", "up", "usable", ""), peer("staging", "up", "closed", "")];
        let health = of(&status(closed), false);
        let expected = ["environment staging: no peer takes calls (closed)".to_owned()];
        assert_eq!((health.verdict, &health.reasons[..]), (Verdict::Degraded, &expected[..]));
        let mut one_down = well.clone();
        one_down.push(peer("tata", "down", "down", "no answer; PBX down"));
        let health = of(&status(one_down), false);
        assert_eq!(
            (health.verdict, &health.reasons[..]),
            (Verdict::Degraded, &["trunk tata: 1 of its peers down".to_owned()][..])
        );
        let tunnel =
            vec![peer("tata", "up", "usable", ""), peer("staging", "down", "down", "tunnel down: no handshake")];
        let health = of(&status(tunnel), true);
        assert_eq!(health.verdict, Verdict::Bad);
        let expected = [
            "environment staging: no peer takes calls (down)",
            "environment staging: the tunnel is down",
            "panic: everything goes to prod",
        ];
        assert_eq!(health.reasons, expected);
        let mut away = status(well);
        away.directory.trouble = Some("connection refused".into());
        away.directory.held = vec!["40 DIDs moved".into()];
        let health = of(&away, false);
        assert_eq!((health.verdict, health.database, health.guard_holds), (Verdict::Degraded, false, true));
        away.directory.loaded = false;
        away.draining = true;
        let health = of(&away, false);
        assert_eq!((health.verdict, health.ready), (Verdict::Bad, false));
        assert!(health.reasons[0].starts_with("no table has been read"), "{:?}", health.reasons);
    }
}
