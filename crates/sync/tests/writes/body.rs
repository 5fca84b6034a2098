//! What holds for writes on every engine. The caller brings a writer, two ways to write, and the database as it is
//! made by the reference schema with our own tables.

use std::sync::Arc;
use std::time::Duration;

use directory::{Environment, Lease, RoutedBy, Subject, Tester};
use sip::{Number, Numbering};
use sync::changes::{AuditPlace, By, Move, WriteFault, Writes};
use sync::{Settings, Watcher};

const PATIENCE: Duration = Duration::from_secs(60);
const ASHA: &str = "0000000a-0000-4000-8000-a1b2c3d40000";

fn number(spelling: &str) -> Number {
    Numbering::default().canonical(spelling.as_bytes()).unwrap()
}

fn by(who: &str) -> By {
    let reason = format!("it's {who}'s \"test\"; \\ DROP TABLE users --");
    By { role: "operator".to_owned(), origin: format!("token a1 of {who} from 192.0.2.7"), ..By::new(who, reason) }
}

fn in_ms(ahead_ms: u64) -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap() + ahead_ms
}

fn route(watcher: &Watcher, did: &str, caller: Option<&str>) -> (Environment, RoutedBy) {
    let directory = watcher.published().load();
    let routed = directory.route(number(did), caller.map(number)).unwrap();
    (routed.environment, routed.by)
}

async fn until(watcher: &Watcher, is_wanted: impl Fn(&Watcher) -> bool) {
    let mut bell = watcher.published().subscribe();
    let wait = async {
        while !is_wanted(watcher) {
            bell.changed().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("it was never published");
}

/// Without our own tables: dispatch goes on, and each verb says what is missing.
pub(crate) async fn without_our_tables_each_verb_says_so(settings: &Settings, watcher: &Watcher) {
    let writes = Writes::new(settings, watcher.clone()).unwrap();
    let did = number("+918065978021");
    let lease = Lease { number: did, environment: Environment::Oss, ends_at_ms: in_ms(60_000) };
    let missing = |table: &'static str| Some(WriteFault::NotMigrated { table });
    assert_eq!(writes.lease(lease, None, &by("Meera")).await.err(), missing("switchyard_leases"));
    assert_eq!(writes.panic(None, &by("Meera")).await.err(), missing("switchyard_panic"));
    assert_eq!(writes.testers().await.err(), missing("switchyard_testers"));
    // No move without a record of it.
    let moved = writes.set_environment(did, Environment::Oss, None, &by("Meera")).await;
    assert!(moved.is_err());
    let one = |number| Move { number, environment: Environment::Oss, before: None };
    let many = writes.set_environments(&[one(did), one(number("+918065978022"))], &by("Meera")).await.unwrap();
    assert!(many.moves[0].is_err(), "{many:?}");
    assert_eq!(many.moves[1], Err(WriteFault::NotTried), "what failed for one fails for all");
    watcher.refresh().await.unwrap();
    assert_eq!(route(watcher, "+918065978021", None), (Environment::Staging, RoutedBy::Row));
}

pub(crate) async fn a_move_is_live_when_it_is_answered(writes: &Writes, other: &Writes, watcher: &Watcher) {
    let did = number("08065978002");
    let written = writes.set_environment(did, Environment::Staging, None, &by("Meera")).await.unwrap();
    assert_eq!(written.live, Ok(watcher.published().load().generation()));
    assert_eq!(route(watcher, "08065978002", None), (Environment::Staging, RoutedBy::Row));
    // The second of two who saw "prod" learns that it has changed.
    let second = other.set_environment(did, Environment::Oss, Some("prod"), &by("Ravi")).await;
    assert_eq!(second.err(), Some(WriteFault::Changed { found: "staging".to_owned() }));
    let unknown = number("+447700900001");
    let fault = writes.set_environment(unknown, Environment::Oss, None, &by("Meera")).await.err();
    assert_eq!(fault, Some(WriteFault::NoSuchDid { number: unknown }));
    for (who, reason, what) in [(" ", "x", "who"), (&"x".repeat(256), "x", "who"), ("x", &"x".repeat(1_025), "reason")]
    {
        let nobody = By::new(who, reason);
        let fault = writes.set_environment(did, Environment::Oss, None, &nobody).await.err().unwrap();
        assert!(matches!(fault, WriteFault::Invalid { what: found, .. } if found == what), "{fault}");
    }
    let notes = writes.audit(10).await.unwrap();
    assert_eq!(notes.len(), 1);
    let note = notes.first().unwrap();
    assert_eq!((note.made.by.as_str(), note.made.reason.as_str()), ("Meera", by("Meera").reason.as_str()));
    assert_eq!((note.action.as_str(), note.subject.as_str()), ("set_environment", "+918065978002"));
    assert_eq!((note.before.as_deref(), note.after.as_deref()), (Some("prod"), Some("staging")));
    let origin = "token a1 of Meera from 192.0.2.7";
    assert_eq!((note.role.as_deref(), note.origin.as_deref()), (Some("operator"), Some(origin)));
}

/// A row whose environment nobody knows is mended by a move: one that was good before, and one that never was. `write`
/// runs SQL as the owner does; the column must take any text.
pub(crate) async fn a_move_mends_a_row_with_an_unknown_environment(
    writes: &Writes,
    watcher: &Watcher,
    write: impl AsyncFn(&'static str),
) {
    write(
        "UPDATE did_numbers SET routing_environment = 'lab' WHERE number = '+918065978009'; \
         UPDATE did_numbers SET routing_environment = NULL WHERE number = '+918065978012'; \
         INSERT INTO did_numbers (id, number, pool_status, routing_environment) \
         VALUES ('never-good', '0 80650 80729', 'assigned', 'QA'), ('never-good-2', '08065080728', 'assigned', 'qa')",
    )
    .await;
    watcher.refresh().await.unwrap();
    let directory = watcher.published().load();
    assert!(directory.did(number("08065978009")).unwrap().kept_last_good);
    assert!(directory.did(number("08065978012")).unwrap().kept_last_good);
    let never_good = number("08065080729");
    assert_eq!(directory.did(never_good), None);
    for (did, said) in [("08065978009", Some("lab")), ("08065978012", None), ("08065080729", Some("QA"))] {
        let written = writes.set_environment(number(did), Environment::Oss, None, &by("Meera")).await.unwrap();
        assert_eq!(written.live, Ok(watcher.published().load().generation()));
        let directory = watcher.published().load();
        let found = directory.did(number(did)).unwrap();
        assert_eq!((found.environment, found.kept_last_good), (Environment::Oss, false), "{did}");
        let notes = writes.audit(50).await.unwrap();
        let note = notes.iter().find(|note| note.subject == format!("+{}", number(did))).unwrap();
        assert_eq!((note.before.as_deref(), note.after.as_deref()), (said, Some("oss")));
    }
    // The one beside it is as bad as it was, and a number without a row is none still.
    assert_eq!(watcher.published().load().did(number("08065080728")), None);
    let unknown = number("08065080799");
    let fault = writes.set_environment(unknown, Environment::Oss, None, &by("Meera")).await.err();
    assert_eq!(fault, Some(WriteFault::NoSuchDid { number: unknown }));
}

/// Two nodes share the database alone. What one moves counts as nobody else's in the guard of the other; what someone
/// moves by hand does. Both guards let one move of others pass.
pub(crate) async fn d6_moves_of_another_node_are_not_others(
    writes: &Writes,
    other: &Watcher,
    write: impl AsyncFn(&'static str),
) {
    let dids = ["08065978013", "08065978014", "08065978015", "08065978016"];
    for did in dids {
        writes.set_environment(number(did), Environment::Oss, None, &by("Meera")).await.unwrap();
    }
    other.refresh().await.unwrap();
    assert_eq!(other.held(), None);
    for did in dids {
        assert_eq!(route(other, did, None), (Environment::Oss, RoutedBy::Row), "{did}");
    }
    write("UPDATE did_numbers SET routing_environment = 'staging' WHERE number LIKE '%806597801%'").await;
    other.refresh().await.unwrap();
    assert!(other.held().is_some());
    assert_eq!(route(other, "08065978013", None), (Environment::Oss, RoutedBy::Row));
}

pub(crate) async fn a_lease_lies_over_the_row_and_ends_by_itself(writes: &Writes, other: &Writes, watcher: &Watcher) {
    let did = number("+918065978003");
    let lease = |environment, ahead_ms| Lease { number: did, environment, ends_at_ms: in_ms(ahead_ms) };
    let first = writes.lease(lease(Environment::Staging, 60_000), None, &by("Meera")).await.unwrap();
    assert_eq!(first.live, Ok(watcher.published().load().generation()));
    assert_eq!(route(watcher, "+918065978003", None), (Environment::Staging, RoutedBy::Lease));
    // The row is as it was.
    assert_eq!(watcher.published().load().did(did).unwrap().environment, Environment::Prod);
    let second = other.lease(lease(Environment::Oss, 60_000), None, &by("Ravi")).await.err();
    assert!(matches!(&second, Some(WriteFault::Exists { id, .. }) if *id == first.id), "{second:?}");
    let listed = other.leases().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].number, listed[0].environment, &listed[0].made.id), (did, Environment::Staging, &first.id));
    let replaced = other.lease(lease(Environment::Oss, 60_000), Some(&first.id), &by("Ravi")).await.unwrap();
    assert_eq!(route(watcher, "+918065978003", None), (Environment::Oss, RoutedBy::Lease));
    assert_eq!(writes.end_lease(&first.id, &by("Meera")).await.err(), Some(WriteFault::Ended { id: first.id.clone() }));
    writes.end_lease(&replaced.id, &by("Meera")).await.unwrap();
    let notes = writes.audit(1).await.unwrap();
    assert_eq!((notes[0].action.as_str(), notes[0].subject.as_str()), ("end_lease", "+918065978003"));
    assert!(notes[0].before.as_deref().unwrap().starts_with("oss until "), "{notes:?}");
    assert_eq!(notes[0].after.as_deref(), Some("ended"));
    assert_eq!(route(watcher, "+918065978003", None), (Environment::Prod, RoutedBy::Row));
    // It ends by itself, and makes room for the next.
    writes.lease(lease(Environment::Staging, 1_000), None, &by("Meera")).await.unwrap();
    until(watcher, |watcher| route(watcher, "+918065978003", None) == (Environment::Prod, RoutedBy::Row)).await;
    writes.lease(lease(Environment::Staging, 60_000), None, &by("Meera")).await.unwrap();
    for ends_at_ms in [in_ms(0) - 1, in_ms(400 * 86_400_000)] {
        let fault =
            writes.lease(Lease { number: did, environment: Environment::Oss, ends_at_ms }, None, &by("x")).await;
        assert!(matches!(fault, Err(WriteFault::Invalid { what: "end", .. })), "{fault:?}");
    }
}

pub(crate) async fn of_many_at_once_one_wins(writes: Writes, other: Writes, watcher: &Watcher) {
    let did = number("+918065978006");
    let (writes, other) = (Arc::new(writes), Arc::new(other));
    let mut asked = tokio::task::JoinSet::new();
    for turn in 0..8_u64 {
        let writes = Arc::clone(if turn % 2 == 0 { &writes } else { &other });
        let environment = if turn % 2 == 0 { Environment::Staging } else { Environment::Oss };
        let lease = Lease { number: did, environment, ends_at_ms: in_ms(60_000 + turn) };
        asked.spawn(async move { writes.lease(lease, None, &by("many")).await });
    }
    let mut won = Vec::new();
    while let Some(answer) = asked.join_next().await {
        match answer.unwrap() {
            Ok(written) => won.push(written),
            Err(WriteFault::Exists { .. } | WriteFault::Changed { .. }) => {}
            Err(fault) => panic!("{fault}"),
        }
    }
    assert_eq!(won.len(), 1);
    assert_eq!(writes.leases().await.unwrap().iter().filter(|lease| lease.number == did).count(), 1);
    assert_eq!(route(watcher, "+918065978006", None).1, RoutedBy::Lease);
}

pub(crate) async fn testers_and_panic_have_their_order(writes: &Writes, watcher: &Watcher) {
    let (did, caller) = (number("+918065978000"), "+447700900001");
    let override_of =
        |subject, environment| Tester { caller: number(caller), subject, environment, ends_at_ms: in_ms(60_000) };
    let everyone = override_of(Subject::Organisation(ASHA.to_owned()), Environment::Oss);
    let made = writes.set_tester(everyone.clone(), None, &by("Meera")).await.unwrap();
    assert!(matches!(writes.set_tester(everyone, None, &by("Ravi")).await, Err(WriteFault::Exists { .. })));
    writes.set_tester(override_of(Subject::Did(did), Environment::Staging), None, &by("Meera")).await.unwrap();
    assert_eq!(route(watcher, "+918065978000", Some(caller)), (Environment::Staging, RoutedBy::Tester));
    assert_eq!(route(watcher, "+918065978001", Some(caller)), (Environment::Oss, RoutedBy::Tester));
    assert_eq!(route(watcher, "+918065978000", Some("+447700900002")), (Environment::Prod, RoutedBy::Row));
    // What is about someone else is not ended by the way.
    let other = override_of(Subject::Did(number("+918065978001")), Environment::Staging);
    let astray = writes.set_tester(other, Some(&made.id), &by("Ravi")).await;
    assert!(matches!(astray, Err(WriteFault::Invalid { what: "replaces", .. })), "{astray:?}");
    assert_eq!(route(watcher, "+918065978001", Some(caller)), (Environment::Oss, RoutedBy::Tester));
    let unknown =
        writes.set_tester(override_of(Subject::Organisation("x".into()), Environment::Oss), None, &by("x")).await;
    assert_eq!(unknown.err(), Some(WriteFault::NoSuchOrganisation { id: "x".to_owned() }));
    assert_eq!(writes.testers().await.unwrap().len(), 2);
    let panic = writes.panic(None, &by("Meera")).await.unwrap();
    assert_eq!(route(watcher, "+918065978000", Some(caller)), (Environment::Prod, RoutedBy::Panic));
    assert_eq!(route(watcher, "+918065978021", None), (Environment::Prod, RoutedBy::Panic));
    assert!(matches!(writes.panic(Some(in_ms(5_000)), &by("Ravi")).await, Err(WriteFault::Exists { .. })));
    assert_eq!(writes.present_panic().await.unwrap().unwrap().made.id, panic.id);
    writes.release_panic(&panic.id, &by("Meera")).await.unwrap();
    assert_eq!(writes.present_panic().await.unwrap(), None);
    assert_eq!(route(watcher, "+918065978001", Some(caller)), (Environment::Oss, RoutedBy::Tester));
    writes.end_tester(&made.id, &by("Meera")).await.unwrap();
    assert_eq!(route(watcher, "+918065978001", Some(caller)), (Environment::Prod, RoutedBy::Row));
    writes.panic(Some(in_ms(1_000)), &by("Meera")).await.unwrap();
    until(watcher, |watcher| route(watcher, "+918065978021", None) == (Environment::Staging, RoutedBy::Row)).await;
}

/// Each of many moves is committed or refused by itself, all that were committed are live in one generation, and each has
/// its row of the audit.
pub(crate) async fn of_many_moves_each_has_an_outcome_of_its_own(writes: &Writes, watcher: &Watcher) {
    let (first, second, unknown) = (number("+918065978005"), number("+918065978007"), number("+447700900999"));
    let one = |number, environment, before: &str| Move { number, environment, before: Some(before.to_owned()) };
    let moves = [
        one(first, Environment::Staging, "prod"),
        one(unknown, Environment::Oss, "prod"),
        one(second, Environment::Oss, "staging"),
        Move { number: second, environment: Environment::Oss, before: None },
    ];
    let written = writes.set_environments(&moves, &by("Ravi")).await.unwrap();
    assert_eq!(written.live, Ok(watcher.published().load().generation()));
    assert!(written.moves[0].is_ok() && written.moves[3].is_ok(), "{written:?}");
    assert_eq!(written.moves[1], Err(WriteFault::NoSuchDid { number: unknown }));
    assert_eq!(written.moves[2], Err(WriteFault::Changed { found: "prod".to_owned() }));
    assert_eq!(route(watcher, "+918065978005", None), (Environment::Staging, RoutedBy::Row));
    assert_eq!(route(watcher, "+918065978007", None), (Environment::Oss, RoutedBy::Row));
    let notes = writes.audit(2).await.unwrap();
    let mut subjects: Vec<&str> = notes.iter().map(|note| note.subject.as_str()).collect();
    subjects.sort_unstable();
    assert_eq!(subjects, ["+918065978005", "+918065978007"]);
    let nobody = writes.set_environments(&moves, &By::new("Ravi", "")).await;
    assert!(matches!(nobody, Err(WriteFault::Invalid { what: "reason", .. })), "{nobody:?}");
}

/// Who goes away in the middle of a write, wherever that is, leaves no transaction open: whoever comes next on the same
/// connection writes what is his.
pub(crate) async fn who_goes_away_leaves_no_transaction_open(writes: &Writes) {
    let did = number("+918065978025");
    let leaves_after = async |patience: Duration| {
        let ravi = by("Ravi");
        let change = writes.set_environment(did, Environment::Oss, None, &ravi);
        tokio::time::timeout(patience, change).await.is_err()
    };
    let mut went_away = 0;
    for step in 0..60_u32 {
        went_away += u32::from(leaves_after(Duration::from_micros(100) * step).await);
        writes.record("test", &step.to_string(), "", &by("Meera")).await.unwrap();
    }
    assert!(went_away > 3, "{went_away}");
    let noted = writes.audit(1_000).await.unwrap();
    assert_eq!(noted.iter().filter(|note| note.action == "test").count(), 60);
}

/// Every change is on one page, and on one alone.
pub(crate) async fn the_audit_is_read_page_by_page(writes: &Writes) {
    let whole = writes.audit(1_000).await.unwrap();
    assert!(whole.len() > 5, "{whole:?}");
    let mut paged = Vec::new();
    loop {
        let place = paged
            .last()
            .map(|note: &sync::changes::AuditNote| AuditPlace { at_ms: note.made.at_ms, id: note.made.id.clone() });
        let page = writes.audit_before(place.as_ref(), 2).await.unwrap();
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, whole);
}

/// Makes our audit what an earlier version made it.
pub(crate) const AUDIT_OF_AN_EARLIER_VERSION: &str =
    "ALTER TABLE switchyard_audit DROP COLUMN made_as; ALTER TABLE switchyard_audit DROP COLUMN made_from";

/// Without the later columns a change is made and recorded all the same.
pub(crate) async fn an_audit_of_an_earlier_version_is_written_without_origins(writes: &Writes) {
    writes.record("accept", "directory", "before the columns", &by("Meera")).await.unwrap();
    let note = writes.audit(1).await.unwrap().remove(0);
    assert_eq!((note.after.as_deref(), note.role, note.origin), (Some("before the columns"), None, None));
}

/// What is recorded once they are there has them; what was recorded before stays without.
pub(crate) async fn an_extended_audit_has_origins(writes: &Writes) {
    writes.record("accept", "directory", "with the columns", &by("Meera")).await.unwrap();
    let notes = writes.audit(1_000).await.unwrap();
    let of = |after: &str| notes.iter().find(|note| note.after.as_deref() == Some(after)).unwrap();
    assert_eq!(of("with the columns").role.as_deref(), Some("operator"));
    assert_eq!(of("with the columns").origin.as_deref(), Some("token a1 of Meera from 192.0.2.7"));
    assert_eq!(of("before the columns").role, None);
}
