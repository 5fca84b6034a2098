//! What the database, the snapshot and the running process say.

use super::Finding;
use crate::cli::check::foreign_fallbacks;
use crate::config::Configuration;
use admin::Status;
use std::time::{Duration, SystemTime};
use sync::SNAPSHOT_NAME;
use sync::changes::{WriteFault, Writes};

/// How long the database is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// A snapshot older than this says little of today's numbers.
const SNAPSHOT_AGE_MAX: Duration = Duration::from_secs(86_400);

/// Reads the database once, as a start would, without the guard and the snapshot.
pub(super) async fn database(configuration: &Configuration) -> Vec<Finding> {
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
        let todo = "docs/how-to/connect-production-database.md; calls are served from the snapshot meanwhile";
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
    findings.extend(
        foreign_fallbacks(configuration, &directory)
            .into_iter()
            .map(|fault| Finding::bad("fallback", fault, "choose a number of the operator's own")),
    );
    watcher.stop().await;
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
            Finding::warning("table", format!("{table}, degraded: {trouble}"), "docs/how-to/alerts.md")
        }
        (true, false) => Finding::good("table", table),
    });
    findings.extend(status.peers.iter().map(|peer| {
        let found = format!("{} {}: {}, {}", peer.party, peer.peer, peer.health, peer.standing);
        match (peer.health.as_str(), peer.standing.as_str()) {
            ("up", "usable") => Finding::good("peer", found),
            ("down", _) => Finding::bad("peer", found, format!("it was last seen so: {}", peer.evidence)),
            _ => Finding::warning("peer", found, "docs/reference/peer-states.md says what follows"),
        }
    }));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Verdict;

    #[test]
    fn a_process_that_does_not_answer_is_worth_a_look() {
        let findings = process(Err("nobody"));
        assert_eq!((findings.len(), findings[0].verdict, findings[0].found.as_str()), (1, Verdict::Warning, "nobody"));
    }
}
