//! What the database, the snapshot and the running process say.

use super::Finding;
use crate::cli::check::foreign_fallbacks;
use crate::cli::pages::page;
use crate::config::Configuration;
use admin::Status;
use admin::api::limits::LimitList;
use std::time::{Duration, SystemTime};
use sync::SNAPSHOT_NAME;
use sync::changes::{WriteFault, Writes};
use sync::{ClockSkew, Examination, Triggers};

/// How long the database is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Clocks that differ by more make leases end at another time than people read.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(1);
/// From here on a limit is near its end, in hundredths of it.
const NEAR_PERCENT: u64 = 80;
/// A snapshot older than this says little of today's numbers.
const SNAPSHOT_AGE_MAX: Duration = Duration::from_secs(86_400);

/// Reads the database once, as a start would, without the guard and the snapshot.
pub(super) async fn database(configuration: &Configuration, admin_url: Option<&str>) -> Vec<Finding> {
    let shown = sync::masked_url(&configuration.database.url);
    let query_timeout = configuration.database.query_timeout.min(PATIENCE);
    let settings = sync::Settings { guard: None, snapshot_dir: None, query_timeout, ..configuration.database.clone() };
    let watcher = match sync::start(settings.clone()).await {
        Ok(watcher) => watcher,
        Err(fault) => return vec![Finding::bad("database", format!("{shown}: {fault}"), "mend database.url")],
    };
    let (status, directory) = (watcher.status(), watcher.published().load());
    if !directory.is_loaded() {
        let why = status
            .fault
            .map_or_else(|| format!("no answer in {} s", query_timeout.as_secs()), |fault| fault.to_string());
        watcher.stop().await;
        let page = page("how-to/connect-production-database.md");
        let todo = format!("{page}; calls are served from the snapshot meanwhile");
        return vec![Finding::bad("database", format!("{shown}: {why}"), todo)];
    }
    let counted = format!(
        "{shown}: {} DIDs, {} users, {} organisations; changes are found by {}",
        status.did_count, status.user_count, status.organisation_count, status.detection
    );
    let mut findings = vec![match status.did_count {
        0 => Finding::bad("database", counted, "there is no number to serve: is this the right database?"),
        _ => Finding::good("database", counted),
    }];
    findings.push(match status.fault_count {
        0 => Finding::good("rows", "every row can be read"),
        count => {
            Finding::warning("rows", format!("{count} faults in the rows"), "switchyard directory faults lists them")
        }
    });
    let own = Writes::new(&settings, watcher.clone()).map_err(WriteFault::from);
    let leases = match own {
        Ok(writes) => writes.leases().await.map(|_| ()),
        Err(fault) => Err(fault),
    };
    findings.push(match leases {
        Ok(()) => Finding::good("own tables", "leases, tester overrides and panic can be used"),
        Err(fault) => Finding::warning(
            "own tables",
            format!("{fault}"),
            "switchyard db plan, then db migrate; without them leases, testers, panic and the audit are missing",
        ),
    });
    findings.extend(match sync::examine(&settings, admin_url).await {
        Ok(found) => examined(&found),
        Err(fault) => {
            vec![Finding::warning("triggers", fault.to_string(), "the database answers otherwise: look again")]
        }
    });
    findings.extend(
        foreign_fallbacks(configuration, &directory)
            .into_iter()
            .map(|fault| Finding::bad("fallback", fault, "choose a number of the operator's own")),
    );
    watcher.stop().await;
    findings
}

/// What the database says of its clock and its triggers.
fn examined(found: &Examination) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(ClockSkew { ahead_ms, round_trip }) = found.clock {
        let told = format!("{} ms from ours, seen within {} ms", ahead_ms.unsigned_abs(), round_trip.as_millis());
        let exact_to = round_trip / 2;
        findings.push(match Duration::from_millis(ahead_ms.unsigned_abs()) > CLOCK_SKEW_MAX + exact_to {
            true => Finding::warning(
                "clock",
                format!("the database's is {} {told}", if ahead_ms > 0 { "ahead," } else { "behind," }),
                "timedatectl on both machines: leases, testers and the audit have the time of the machine that wrote them",
            ),
            false => Finding::good("clock", format!("the database's is {told}")),
        });
    }
    match &found.triggers {
        Triggers::NoLog => {
            let told = "there is no change log and there need be none: changes are found by comparison";
            findings.push(Finding::good("triggers", told));
        }
        Triggers::Hidden => findings.push(Finding::warning(
            "triggers",
            "there is a change log, and this account is not shown who writes to it",
            "once as an administrator: SWITCHYARD_ADMIN_URL='mysql://root:...@HOST/DATABASE' switchyard doctor",
        )),
        Triggers::Seen { wanted, faults } if faults.is_empty() => {
            findings.push(Finding::good("triggers", format!("all {wanted} are there, and as they should be")));
        }
        Triggers::Seen { faults, .. } => findings.extend(faults.iter().map(|fault| {
            let todo = "switchyard db migrate makes them anew; until then such a change waits for \
                        database.reconcile_interval";
            Finding::warning("triggers", fault, todo)
        })),
    }
    findings
}

/// The limits of the running process that are near their end.
pub(super) async fn limits(configuration: &Configuration) -> Vec<Finding> {
    match admin::Client::new(&configuration.state_dir).fetch::<LimitList>("limits").await {
        Ok(list) => near_their_end(&list),
        Err(fault) => vec![Finding::warning("limits", fault.to_string(), "switchyard limits")],
    }
}

fn near_their_end(list: &LimitList) -> Vec<Finding> {
    let todo = format!("switchyard limits lists what is used; {} says what each is for", page("reference/limits.md"));
    let mut findings: Vec<Finding> = Vec::new();
    for limit in &list.limits {
        let (Some(used), Some(allowed)) = (limit.used, limit.allowed) else { continue };
        // The words of the API.
        let kind = serde_json::to_value(limit.kind).unwrap_or_default();
        let kind = kind.as_str().unwrap_or_default().replace('_', " ");
        let of = limit.organisation.as_ref().map(|own| own.name.as_str()).or(limit.subject.as_deref());
        let told = format!("{kind}{}: {used} of {allowed}", of.map(|of| format!(" of {of}")).unwrap_or_default());
        if used >= allowed {
            findings.push(Finding::bad("limits", format!("{told}: the next is refused"), &*todo));
        } else if used.saturating_mul(100) >= allowed.saturating_mul(NEAR_PERCENT) {
            findings.push(Finding::warning("limits", told, &*todo));
        }
    }
    if findings.is_empty() {
        let told = format!("{} looked at, none is used to {NEAR_PERCENT} %", list.limits.len());
        findings.push(Finding::good("limits", told));
    }
    findings
}

/// The snapshot that a start without the database would serve from.
pub(super) fn snapshot(configuration: &Configuration) -> Vec<Finding> {
    let Some(folder) = &configuration.database.snapshot_dir else {
        let todo = "set database.snapshot_dir";
        return vec![Finding::warning("snapshot", "none is kept: no start without the database", todo)];
    };
    let path = folder.join(SNAPSHOT_NAME);
    let age = std::fs::metadata(&path).and_then(|metadata| metadata.modified());
    let age = age.map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
    vec![match age {
        Ok(age) if age > SNAPSHOT_AGE_MAX => Finding::warning(
            "snapshot",
            format!("{} is {} h old", path.display(), age.as_secs() / 3_600),
            "switchyard status says whether it can be written; a running proxy writes it after changes",
        ),
        Ok(age) => Finding::good("snapshot", format!("{} is {} min old", path.display(), age.as_secs() / 60)),
        Err(error) => Finding::warning(
            "snapshot",
            format!("{}: {error}", path.display()),
            "the first start with the database makes it; before that no start without the database",
        ),
    }]
}

/// What the running process says of itself.
pub(super) fn process(status: Result<&Status, &str>) -> Vec<Finding> {
    let status = match status {
        Ok(status) => status,
        Err(fault) => return vec![Finding::warning("process", fault, "systemctl start switchyard")],
    };
    let mut findings = vec![match status.draining {
        true => Finding::warning("process", "it is draining: new calls get 503", "it ends by itself"),
        false => Finding::good("process", format!("serving for {} min", status.uptime_s / 60)),
    }];
    let directory = &status.directory;
    let table = format!("generation {}, {} DIDs", directory.generation, directory.dids);
    findings.push(match (directory.loaded, directory.degraded) {
        (false, _) => Finding::bad("table", "none: every call gets 503", "mend the database, or put a snapshot back"),
        (true, true) => {
            let trouble = directory.trouble.clone().unwrap_or_else(|| directory.held.join("; "));
            Finding::warning("table", format!("{table}, degraded: {trouble}"), page("how-to/alerts.md"))
        }
        (true, false) => Finding::good("table", table),
    });
    findings.extend(status.peers.iter().map(|peer| {
        let found = format!("{} {}: {}, {}", peer.party, peer.peer, peer.health, peer.standing);
        match (peer.health.as_str(), peer.standing.as_str()) {
            ("up", "usable") => Finding::good("peer", found),
            ("down", _) => Finding::bad("peer", found, format!("it was last seen so: {}", peer.evidence)),
            _ => {
                let todo = format!("{} says what follows", page("reference/peer-states.md"));
                Finding::warning("peer", found, todo)
            }
        }
    }));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Verdict;
    use admin::api::limits::{LimitInUse, LimitKind};

    #[test]
    fn a_process_that_does_not_answer_is_worth_a_look() {
        let findings = process(Err("nobody"));
        assert_eq!((findings.len(), findings[0].verdict, findings[0].found.as_str()), (1, Verdict::Warning, "nobody"));
    }

    #[test]
    fn a_process_is_judged_by_its_table_and_its_peers() {
        let peer = |health: &str, standing: &str| admin::PeerStatus {
            party: "prod".to_owned(),
            peer: "udp:10.10.10.1:5070".to_owned(),
            health: health.to_owned(),
            standing: standing.to_owned(),
            evidence: "no answer within 2 s".to_owned(),
            ..Default::default()
        };
        let status = |loaded, degraded: bool, draining, peers| Status {
            version: String::new(),
            environment: "prod".to_owned(),
            uptime_s: 120,
            draining,
            drain: None,
            open_transactions: 0,
            directory: admin::DirectoryStatus {
                loaded,
                generation: 7,
                dids: 55,
                faults: 0,
                table_age_s: None,
                trouble: degraded.then(|| "the database does not open".to_owned()),
                degraded,
                from_snapshot: false,
                source: String::new(),
                detection: String::new(),
                held: Vec::new(),
                snapshot_trouble: None,
            },
            listeners: Vec::new(),
            parties: Vec::new(),
            peers,
            counters: Vec::new(),
        };
        let judged = |status: &Status| {
            process(Ok(status)).into_iter().map(|finding| (finding.what, finding.verdict)).collect::<Vec<_>>()
        };
        let good = judged(&status(true, false, false, vec![peer("up", "usable")]));
        assert_eq!(good, [("process", Verdict::Good), ("table", Verdict::Good), ("peer", Verdict::Good)]);
        let odd = judged(&status(true, true, true, vec![peer("degraded", "last_resort"), peer("unknown", "usable")]));
        assert!(odd.iter().all(|(_, verdict)| *verdict == Verdict::Warning), "{odd:?}");
        let bad = process(Ok(&status(false, false, false, vec![peer("down", "down")])));
        assert_eq!([bad[1].verdict, bad[2].verdict], [Verdict::Bad; 2]);
        assert_eq!(bad[2].found, "prod udp:10.10.10.1:5070: down, down");
        assert_eq!(bad[2].todo.as_deref(), Some("it was last seen so: no answer within 2 s"));
    }

    #[test]
    fn a_snapshot_is_judged_by_its_age() {
        let folder = tempfile::tempdir().unwrap();
        let configuration = crate::cli::doctor::configured(&format!("state_dir = \"{}\"\n", folder.path().display()));
        let judged = || snapshot(&configuration).remove(0);
        assert_eq!(judged().verdict, Verdict::Warning, "there is none");
        let file = std::fs::File::create(folder.path().join(SNAPSHOT_NAME)).unwrap();
        let good = judged();
        assert!(good.verdict == Verdict::Good && good.found.ends_with(" is 0 min old"), "{good:?}");
        file.set_modified(SystemTime::now() - Duration::from_secs(49 * 3_600)).unwrap();
        let old = judged();
        assert!(old.verdict == Verdict::Warning && old.found.ends_with(" is 49 h old"), "{old:?}");
        let mut without = configuration.clone();
        without.database.snapshot_dir = None;
        assert_eq!(snapshot(&without)[0].verdict, Verdict::Warning);
    }

    #[test]
    fn a_limit_near_its_end_is_named_and_a_full_one_is_bad() {
        let list = |all: &[(u64, Option<u64>)]| LimitList {
            limits: all
                .iter()
                .map(|(used, allowed)| LimitInUse {
                    kind: LimitKind::TrunkChannels,
                    subject: Some("tata".to_owned()),
                    organisation: None,
                    used: Some(*used),
                    allowed: *allowed,
                })
                .collect(),
            left_out: 0,
        };
        let judged = |all: &[(u64, Option<u64>)]| {
            near_their_end(&list(all)).into_iter().map(|finding| (finding.verdict, finding.found)).collect::<Vec<_>>()
        };
        let good = "2 looked at, none is used to 80 %".to_owned();
        assert_eq!(judged(&[(23, Some(30)), (900, None)]), [(Verdict::Good, good)]);
        let near = (Verdict::Warning, "trunk channels of tata: 24 of 30".to_owned());
        let full = (Verdict::Bad, "trunk channels of tata: 30 of 30: the next is refused".to_owned());
        assert_eq!(judged(&[(24, Some(30)), (30, Some(30)), (1, Some(30))]), [near, full]);
    }

    #[test]
    fn a_clock_that_is_off_and_triggers_that_are_gone_are_named() {
        let clock = |ahead_ms, round_trip_ms| {
            let clock = ClockSkew { ahead_ms, round_trip: Duration::from_millis(round_trip_ms) };
            examined(&Examination { clock: Some(clock), triggers: Triggers::NoLog })[0].clone()
        };
        assert_eq!(clock(-900, 2).verdict, Verdict::Good);
        assert_eq!(clock(-1_900, 2_000).verdict, Verdict::Good, "the way there may have taken as long");
        let behind = clock(-61_000, 2);
        assert_eq!(behind.verdict, Verdict::Warning);
        assert_eq!(behind.found, "the database's is behind, 61000 ms from ours, seen within 2 ms");
        let triggers = |triggers| {
            let found = examined(&Examination { clock: None, triggers });
            found.into_iter().map(|finding| (finding.verdict, finding.found)).collect::<Vec<_>>()
        };
        assert_eq!(triggers(Triggers::NoLog)[0].0, Verdict::Good);
        assert_eq!(triggers(Triggers::Hidden)[0].0, Verdict::Warning);
        let whole = (Verdict::Good, "all 21 are there, and as they should be".to_owned());
        assert_eq!(triggers(Triggers::Seen { wanted: 21, faults: Vec::new() }), [whole]);
        let faults = vec!["one".to_owned(), "two".to_owned()];
        let named = [(Verdict::Warning, "one".to_owned()), (Verdict::Warning, "two".to_owned())];
        assert_eq!(triggers(Triggers::Seen { wanted: 21, faults }), named);
    }
}
