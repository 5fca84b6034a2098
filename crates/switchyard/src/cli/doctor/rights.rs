//! What the database's account may do, too little and too much, and the columns that the directory does without.

use super::Finding;
use crate::cli::pages::{example, page};
use crate::config::Configuration;
use nix::unistd::{Gid, Uid, getgrouplist, getgroups};
use std::ffi::CString;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use sync::{MissingColumn, Rights, SyncFault, User};

/// Rights that are named in one line; further ones are counted.
const NAMED_MAX: usize = 6;

/// Asks the database. Nothing is said of one that does not answer: whoever asked it first has.
pub(super) async fn rights(configuration: &Configuration) -> Vec<Finding> {
    let query_timeout = configuration.database.query_timeout.min(super::data::PATIENCE);
    let settings = sync::Settings { query_timeout, ..configuration.database.clone() };
    let user = service_user(&configuration.state_dir);
    match sync::rights(&settings, configuration.records.database, &user).await {
        Ok(found) => {
            let mut findings = account(&found, &settings.url);
            findings.extend(columns(&found.missing_columns, configuration));
            findings
        }
        Err(SyncFault::Query { what, detail }) => {
            let told = format!("{what}: {detail}");
            vec![Finding::warning("rights", told, "the database answers otherwise than expected: look again")]
        }
        Err(_) => Vec::new(),
    }
}

/// Who runs the proxy: we, or where root asks, the owner of the state folder.
fn service_user(state_dir: &Path) -> User {
    let own = |id: Uid| User {
        uid: id.as_raw(),
        groups: getgroups().unwrap_or_default().into_iter().chain([nix::unistd::getegid()]).map(Gid::as_raw).collect(),
    };
    let euid = Uid::effective();
    let folder = std::fs::metadata(state_dir);
    match folder {
        Ok(folder) if euid.is_root() => User { uid: folder.uid(), groups: groups_of(folder.uid(), folder.gid()) },
        _ => own(euid),
    }
}

/// The groups of a user; of one without a name, the group that the folder has.
fn groups_of(uid: u32, gid: u32) -> Vec<u32> {
    let user = nix::unistd::User::from_uid(Uid::from_raw(uid)).ok().flatten();
    let listed = user.and_then(|user| getgrouplist(&CString::new(user.name).ok()?, user.gid).ok());
    listed.map_or_else(|| vec![gid], |groups| groups.into_iter().map(Gid::as_raw).collect())
}

fn account(found: &Rights, url: &str) -> Vec<Finding> {
    let who = &found.account;
    let scheme = url.split(':').next().unwrap_or_default();
    let (script, gives, takes) = match scheme {
        "sqlite" => (example("sql/sqlite.sql"), "chgrp and chmod as in", "chmod o-w; the modes are in"),
        "postgres" | "postgresql" => {
            (example("sql/postgres.sql"), "run as an administrator:", "REVOKE it, or use the account of")
        }
        _ => (example("sql/mariadb.sql"), "run as an administrator:", "REVOKE it, or use the account of"),
    };
    let mut findings = Vec::new();
    if !found.unread.is_empty() {
        let told = format!("{who} lacks what the reading needs: {}", named(&found.unread));
        findings.push(Finding::bad("rights", told, format!("{gives} {script}")));
    }
    if !found.unwritten.is_empty() {
        let told = format!("{who} lacks: {}", named(&found.unwritten));
        let todo = match scheme {
            "sqlite" => format!("{gives} {script}"),
            _ => format!("switchyard db migrate gives it: {}", page("how-to/install-triggers.md")),
        };
        findings.push(Finding::warning("rights", told, todo));
    }
    if !found.excess.is_empty() {
        let told = format!("{who} may do more than it needs: {}", named(&found.excess));
        findings.push(Finding::warning("rights", told, format!("{takes} {script}")));
    }
    if findings.is_empty() {
        let told = if found.writes { ", write what is ours, and no more" } else { ", and no more" };
        findings.push(Finding::good("rights", format!("{who} may read the four tables{told}")));
    }
    findings
}

fn named(all: &[String]) -> String {
    let mut told = all.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join("; ");
    if let Some(more) = all.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
        told.push_str(&format!("; and {more} more"));
    }
    told
}

/// Optional columns that are not there. Those that choose a trunk are missed where a trunk asks for them.
fn columns(missing: &[MissingColumn], configuration: &Configuration) -> Vec<Finding> {
    let parties = &configuration.core.parties;
    let is_missed = |column: &str| match column {
        "provider" => parties.iter().any(|party| !party.identity.providers.is_empty()),
        "trunk_id" => parties.iter().any(|party| !party.identity.trunk_ids.is_empty()),
        _ => true,
    };
    let missed = missing.iter().filter(|missing| is_missed(missing.column)).map(|missing| {
        let told = format!("{}.{} is not there: {}", missing.table, missing.column, missing.without);
        let todo = format!("add it, or map its name in database.columns: {}", page("reference/schema.md"));
        Finding::warning("columns", told, todo)
    });
    let findings: Vec<Finding> = missed.collect();
    if findings.is_empty() {
        return vec![Finding::good("columns", "every optional column is there that something here asks for")];
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Verdict;

    fn told(found: &Rights, url: &str) -> Vec<(Verdict, String, String)> {
        let all = account(found, url).into_iter();
        all.map(|finding| (finding.verdict, finding.found, finding.todo.unwrap_or_default())).collect()
    }

    #[test]
    fn an_account_is_judged_by_what_it_lacks_and_what_it_has_beside() {
        let reader = Rights { account: "switchyard@127.0.0.1".to_owned(), ..Rights::default() };
        let url = "mysql://switchyard@127.0.0.1/pbx";
        let [(verdict, found, _)] = told(&reader, url).try_into().unwrap();
        assert_eq!((verdict, &*found), (Verdict::Good, "switchyard@127.0.0.1 may read the four tables, and no more"));
        let writer = Rights { writes: true, ..reader };
        assert!(told(&writer, url)[0].1.ends_with("may read the four tables, write what is ours, and no more"));
        let list = |text: &str| vec![text.to_owned()];
        let poor = Rights { unread: list("SELECT on users"), unwritten: list("INSERT on x: no y"), ..writer.clone() };
        let told_of_poor = told(&poor, url);
        assert_eq!(told_of_poor.iter().map(|told| told.0).collect::<Vec<_>>(), [Verdict::Bad, Verdict::Warning]);
        assert_eq!(told_of_poor[0].1, "switchyard@127.0.0.1 lacks what the reading needs: SELECT on users");
        assert!(told_of_poor[0].2.ends_with("sql/mariadb.sql") && told_of_poor[1].2.contains("switchyard db migrate"));
        let many = Rights { excess: (1..=8).map(|number| format!("right {number}")).collect(), ..writer };
        let [(verdict, found, todo)] = told(&many, "postgres://switchyard@127.0.0.1/pbx").try_into().unwrap();
        assert!(verdict == Verdict::Warning && found.ends_with("right 6; and 2 more"), "{found}");
        assert!(todo.starts_with("REVOKE it") && todo.ends_with("sql/postgres.sql"), "{todo}");
    }

    #[test]
    fn a_column_that_chooses_a_trunk_is_missed_where_a_trunk_asks_for_it() {
        let missing = |column| MissingColumn { table: "did_numbers".to_owned(), column, without: "it is so" };
        let judged = |trunk: &str, column| {
            let configuration = crate::cli::doctor::configured(&format!(
                "[[trunk]]\nname = \"tata\"\ngateways = [\"udp:10.10.10.2:5060\"]\n{trunk}"
            ));
            columns(&[missing(column)], &configuration).remove(0)
        };
        assert_eq!(judged("", "provider").verdict, Verdict::Good);
        assert_eq!(judged("providers = [\"tata\"]\n", "provider").verdict, Verdict::Warning);
        assert_eq!(judged("providers = [\"tata\"]\n", "trunk_id").verdict, Verdict::Good);
        assert_eq!(judged("trunk_ids = [\"1\"]\n", "trunk_id").verdict, Verdict::Warning);
        assert_eq!(judged("", "is_default").found, "did_numbers.is_default is not there: it is so");
    }

    #[test]
    fn root_asks_for_who_runs_the_proxy() {
        let folder = tempfile::tempdir().unwrap();
        let user = service_user(folder.path());
        let metadata = std::fs::metadata(folder.path()).unwrap();
        assert_eq!(user.uid, metadata.uid());
        assert!(user.groups.contains(&metadata.gid()));
        // A user without a name has the folder's group alone.
        assert_eq!(groups_of(4_000_111, 4_000_112), [4_000_112]);
    }
}
