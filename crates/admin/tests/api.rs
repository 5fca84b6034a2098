//! Each resource of the API: what it says, what it changes, and how it refuses.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the lint's leave for tests does not reach the functions they share"
)]

mod stage;

use admin::api::audit::{Audit, AuditQuestion};
use admin::api::dids::{Did, Dids, DidsQuestion, EnvironmentChange};
use admin::api::drain::{DrainState, NewDrain};
use admin::api::explain::Question;
use admin::api::faults::{Faults, FaultsQuestion};
use admin::api::generations::{Diff, DiffQuestion, Generations};
use admin::api::guard::{GuardState, Judgement};
use admin::api::health::{Health, Verdict};
use admin::api::leases::Leases;
use admin::api::limits::{LimitKind, LimitList, LimitsQuestion};
use admin::api::panic::{NewPanic, PanicState};
use admin::api::peers::{Decided, NewAdmin};
use admin::api::sheet::{ImportQuestion, Imported, Outcome};
use admin::api::testers::{NewTester, Testers};
use admin::api::times::{End, now_ms};
use admin::api::{Live, PAGE_MAX};
use admin::{AskFault, Client, Kind, Problem, Role};
use hyper::Method;
use serde_json::{Value, json};
use stage::Stage;

const DID: &str = "dids/+918065978002";
const ENVIRONMENT: &str = "dids/+918065978002/environment";

fn problem<T: std::fmt::Debug>(answer: Result<T, AskFault>) -> Problem {
    match answer.unwrap_err() {
        AskFault::Refused(problem) => *problem,
        fault => panic!("{fault}"),
    }
}

fn change(environment: &str, end: End) -> EnvironmentChange {
    EnvironmentChange { environment: environment.into(), end, reason: "a test".into() }
}

fn for_s(for_s: u64) -> End {
    End { for_s: Some(for_s), ends_at_ms: None }
}

async fn did(client: &Client) -> Did {
    client.fetch(DID).await.unwrap()
}

async fn set(client: &Client, change: &EnvironmentChange) -> Result<Live, AskFault> {
    let version = did(client).await.version;
    client.write(Method::PUT, ENVIRONMENT, Some(&version), change).await
}

#[tokio::test]
async fn dids_are_found_by_any_spelling_and_filter_page_by_page() {
    let mut stage = Stage::new(&[]).await;
    let client = stage.client("viewer", Role::Viewer);
    let search = async |text: &str| -> Vec<String> {
        let question = DidsQuestion { search: Some(text.into()), ..DidsQuestion::default() };
        let found: Dids = client.find("dids", &question).await.unwrap();
        assert_eq!(found.total, u64::try_from(found.dids.len()).unwrap());
        found.dids.into_iter().map(|did| did.number).collect()
    };
    for spelling in ["+918065978002", "918065978002", "08065978002", "+91 80-6597 8002", "0091 8065978002"] {
        assert_eq!(search(spelling).await, ["+918065978002"], "{spelling}");
        let shown: Did = client.fetch(&format!("dids/{}", spelling.replace(' ', "%20"))).await.unwrap();
        assert_eq!(shown.number, "+918065978002");
    }
    assert_eq!(search("97802").await.len(), 10);
    assert_eq!(search("no such organisation").await, [""; 0]);
    let all: Dids = client.find("dids", &DidsQuestion::default()).await.unwrap();
    assert_eq!((all.total, all.next), (55, None));
    let mut paged = Vec::new();
    let mut question = DidsQuestion { limit: Some(20), environment: Some("prod".into()), ..DidsQuestion::default() };
    loop {
        let page: Dids = client.find("dids", &question).await.unwrap();
        assert!(page.dids.len() <= 20 && page.dids.iter().all(|did| did.environment == "prod"));
        paged.extend(page.dids.into_iter().map(|did| did.number));
        match page.next {
            Some(next) => question.after = Some(next),
            None => break,
        }
    }
    let prod = all.dids.iter().filter(|did| did.environment == "prod").map(|did| did.number.clone());
    assert_eq!(paged, prod.collect::<Vec<_>>());
    let own = all.dids[0].organisation.clone().unwrap();
    let of = DidsQuestion { organisation: Some(own.name.to_uppercase()), ..DidsQuestion::default() };
    let found: Dids = client.find("dids", &of).await.unwrap();
    assert!(found.total > 0 && found.dids.iter().all(|did| did.organisation.as_ref() == Some(&own)));
    let of = DidsQuestion { service: Some("not_assigned".into()), ..DidsQuestion::default() };
    let found: Dids = client.find("dids", &of).await.unwrap();
    assert!(found.total > 0 && found.dids.iter().all(|did| did.service == "not_assigned" && did.state.is_some()));
}

#[tokio::test]
async fn a_change_for_good_is_live_when_it_is_answered() {
    let mut stage = Stage::migrated().await;
    let client = stage.client("meera", Role::Operator);
    let before = did(&client).await;
    assert_eq!((before.environment.as_str(), before.by.as_str(), before.version.as_str()), ("prod", "row", "row=prod"));
    let live = set(&client, &change("staging", End::default())).await.unwrap();
    assert_eq!(
        (live.generation, live.pending, live.overruled_by),
        (Some(stage.watcher.status().generation.0), None, None)
    );
    let after = did(&client).await;
    assert_eq!((after.row_environment.as_str(), after.by.as_str()), ("staging", "row"));
    let audit: Audit = client.find("audit", &AuditQuestion::default()).await.unwrap();
    let entry = &audit.changes[0];
    assert_eq!((entry.made.made_by.as_str(), entry.made.reason.as_str()), ("meera", "a test"));
    assert_eq!((entry.before.as_deref(), entry.after.as_deref()), (Some("prod"), Some("staging")));
}

/// A row with an environment that nobody knows is mended by a move for good, whether it was good before or never.
#[tokio::test]
async fn a_move_mends_a_row_that_nobody_can_read() {
    let mut stage = Stage::migrated().await;
    let client = stage.client("meera", Role::Operator);
    stage
        .write(
            "UPDATE did_numbers SET routing_environment = 'lab' WHERE number = '+918065978009'; \
             INSERT INTO did_numbers (id, number, pool_status, routing_environment) \
             VALUES ('never-good', '08065080729', 'assigned', 'QA')",
        )
        .await;
    let kept: Did = client.fetch("dids/08065978009").await.unwrap();
    assert!(kept.kept_last_good);
    for (number, version) in [("08065978009", Some(kept.version.as_str())), ("08065080729", None)] {
        let resource = format!("dids/{number}/environment");
        let change = change("oss", End::default());
        let live: Live = client.write(Method::PUT, &resource, version, &change).await.unwrap();
        assert_eq!((live.generation, live.pending), (Some(stage.watcher.status().generation.0), None));
        let mended: Did = client.fetch(&format!("dids/{number}")).await.unwrap();
        assert_eq!((mended.row_environment.as_str(), mended.kept_last_good), ("oss", false));
    }
    // Where there is no row there is nothing to mend, and a lease takes a row in effect.
    for (number, end) in [("08065080799", End::default()), ("08065080799", for_s(60))] {
        let resource = format!("dids/{number}/environment");
        let none: Result<Live, _> = client.write(Method::PUT, &resource, None, &change("oss", end)).await;
        assert_eq!(problem(none).kind, Kind::NotFound);
    }
}

#[tokio::test]
async fn of_two_who_saw_the_same_the_second_learns_that_it_has_changed() {
    let mut stage = Stage::migrated().await;
    let (meera, ravi) = (stage.client("meera", Role::Operator), stage.client("ravi", Role::Operator));
    let seen = did(&ravi).await.version;
    set(&meera, &change("staging", End::default())).await.unwrap();
    let second: Result<Live, _> = ravi.write(Method::PUT, ENVIRONMENT, Some(&seen), &change("oss", for_s(60))).await;
    let refused = problem(second);
    assert_eq!((refused.kind, refused.status), (Kind::Changed, 409));
    assert_eq!(refused.version.as_deref(), Some("row=staging"));
    // Where the row was changed by someone else's SQL, and the directory has not seen it, the row tells.
    set(&meera, &change("prod", End::default())).await.unwrap();
    let none: Result<Live, _> = ravi.write(Method::PUT, ENVIRONMENT, None, &change("oss", for_s(60))).await;
    assert_eq!(problem(none).status, 428);
    let any: Result<Live, _> = ravi.write(Method::PUT, ENVIRONMENT, Some("*"), &change("oss", for_s(60))).await;
    assert!(any.unwrap().generation.is_some());
    // A lease is part of the version.
    let seen = did(&meera).await.version;
    set(&ravi, &change("staging", for_s(120))).await.unwrap();
    let second: Result<Live, _> = meera.write(Method::PUT, ENVIRONMENT, Some(&seen), &change("prod", for_s(60))).await;
    assert_eq!(problem(second).kind, Kind::Changed);
}

#[tokio::test]
async fn a_lease_lies_over_the_row_is_replaced_and_ended() {
    let mut stage = Stage::migrated().await;
    let client = stage.client("meera", Role::Operator);
    let first = set(&client, &change("staging", for_s(600))).await.unwrap();
    let shown = did(&client).await;
    assert_eq!(
        (shown.environment.as_str(), shown.by.as_str(), shown.row_environment.as_str()),
        ("staging", "lease", "prod")
    );
    let left_ms = shown.lease.unwrap().ends_at_ms - now_ms();
    assert!((300_000..=600_000).contains(&left_ms), "{left_ms}");
    let second = set(&client, &change("oss", End { for_s: None, ends_at_ms: Some(now_ms() + 60_000) })).await.unwrap();
    assert_ne!(second.id, first.id);
    let leases: Leases = client.fetch("leases").await.unwrap();
    assert_eq!(leases.leases.len(), 1);
    assert_eq!((leases.leases[0].number.as_str(), leases.leases[0].environment.as_str()), ("+918065978002", "oss"));
    let leased: Dids =
        client.find("dids", &DidsQuestion { leased: Some(true), ..DidsQuestion::default() }).await.unwrap();
    assert_eq!((leased.total, leased.dids[0].number.as_str()), (1, "+918065978002"));
    // Who moves the row meanwhile is told what overrules it.
    let row = set(&client, &change("staging", End::default())).await.unwrap();
    assert_eq!(row.overruled_by.as_deref(), Some("lease"));
    let ended: Live = client.end(&format!("leases/{}", second.id), "done").await.unwrap();
    assert!(ended.generation.is_some());
    let again: Result<Live, _> = client.end(&format!("leases/{}", second.id), "done").await;
    assert_eq!(problem(again).kind, Kind::Changed);
    assert_eq!((did(&client).await.environment.as_str(), did(&client).await.by.as_str()), ("staging", "row"));
}

fn tester(did: Option<&str>, organisation: Option<&str>, end: End) -> NewTester {
    NewTester {
        caller: "+447700900001".into(),
        did: did.map(str::to_owned),
        organisation: organisation.map(str::to_owned),
        environment: "staging".into(),
        end,
        replaces: None,
        reason: "a test".into(),
    }
}

#[tokio::test]
async fn testers_are_made_listed_replaced_and_ended() {
    let mut stage = Stage::migrated().await;
    let client = stage.client("meera", Role::Operator);
    let add =
        async |new: &NewTester| -> Result<Live, AskFault> { client.write(Method::POST, "testers", None, new).await };
    let made = add(&tester(Some("08065978002"), None, for_s(60))).await.unwrap();
    let exists = problem(add(&tester(Some("+918065978002"), None, for_s(60))).await);
    assert_eq!((exists.kind, exists.id.as_deref()), (Kind::Exists, Some(made.id.as_str())));
    let replaced = NewTester { replaces: Some(made.id), ..tester(Some("+918065978002"), None, for_s(90)) };
    let replaced = add(&replaced).await.unwrap();
    let own = did(&client).await.organisation.unwrap();
    add(&tester(None, Some(&own.name), for_s(60))).await.unwrap();
    let listed: Testers = client.fetch("testers").await.unwrap();
    assert_eq!(listed.testers.len(), 2);
    assert!(listed.testers.iter().any(|tester| tester.organisation.as_ref() == Some(&own)));
    let ended: Live = client.end(&format!("testers/{}", replaced.id), "done").await.unwrap();
    assert!(ended.generation.is_some());
    for (new, kind) in [
        (tester(Some("+918065978002"), None, End::default()), Kind::Invalid),
        (tester(None, None, for_s(60)), Kind::Invalid),
        (tester(Some("+918065978002"), Some("x"), for_s(60)), Kind::Invalid),
        (tester(Some("+447700900009"), None, for_s(60)), Kind::NotFound),
        (tester(None, Some("nobody"), for_s(60)), Kind::NotFound),
        (NewTester { caller: "alice".into(), ..tester(Some("+918065978002"), None, for_s(60)) }, Kind::Invalid),
    ] {
        assert_eq!(problem(add(&new).await).kind, kind, "{new:?}");
    }
}

#[tokio::test]
async fn panic_overrules_and_is_released() {
    let mut stage = Stage::migrated().await;
    let client = stage.client("root", Role::Admin);
    set(&client, &change("staging", for_s(600))).await.unwrap();
    let state: PanicState = client.fetch("panic").await.unwrap();
    assert_eq!(state, PanicState { is_on: false, panic: None });
    let panic = NewPanic { end: End::default(), reason: "staging is down".into() };
    let live: Live = client.write(Method::PUT, "panic", None, &panic).await.unwrap();
    assert!(live.generation.is_some());
    let shown = did(&client).await;
    assert_eq!((shown.environment.as_str(), shown.by.as_str()), ("prod", "panic"));
    assert!(shown.lease.is_some(), "it is suspended, not ended");
    let again: Result<Live, _> = client.write(Method::PUT, "panic", None, &panic).await;
    assert_eq!(problem(again).kind, Kind::Exists);
    let state: PanicState = client.fetch("panic").await.unwrap();
    assert_eq!(state.panic.unwrap().made.reason, "staging is down");
    let overruled = set(&client, &change("oss", for_s(600))).await.unwrap();
    assert_eq!(overruled.overruled_by.as_deref(), Some("panic"));
    let _released: Live = client.end("panic", "it is up").await.unwrap();
    assert_eq!(did(&client).await.environment, "oss");
    let none: Result<Live, _> = client.end("panic", "it is up").await;
    assert_eq!(problem(none).kind, Kind::NotFound);
}

#[tokio::test]
async fn each_role_may_what_is_its_own() {
    let mut stage = Stage::migrated().await;
    let (viewer, operator) = (stage.client("asha", Role::Viewer), stage.client("ravi", Role::Operator));
    let refused = problem(set(&viewer, &change("oss", for_s(60))).await);
    assert_eq!((refused.kind, refused.status), (Kind::Forbidden, 403));
    assert_eq!(refused.detail, "found asha, a viewer; expected an operator");
    let ended: Result<Live, _> = viewer.end("leases/x", "no").await;
    assert_eq!(problem(ended).kind, Kind::Forbidden);
    let added: Result<Live, _> =
        viewer.write(Method::POST, "testers", None, &tester(Some("+918065978002"), None, for_s(60))).await;
    assert_eq!(problem(added).kind, Kind::Forbidden);
    let panic = NewPanic { end: End::default(), reason: "x".into() };
    let declared: Result<Live, _> = operator.write(Method::PUT, "panic", None, &panic).await;
    assert_eq!(problem(declared).detail, "found ravi, an operator; expected an admin");
    let released: Result<Live, _> = operator.end("panic", "x").await;
    assert_eq!(problem(released).kind, Kind::Forbidden);
    let judgement = Judgement { reason: "x".into() };
    for judged in ["guard/accept", "guard/reject"] {
        let answer: Result<Live, _> = operator.write(Method::POST, judged, Some("*"), &judgement).await;
        assert_eq!(problem(answer).kind, Kind::Forbidden);
    }
    // A viewer sees everything.
    for resource in
        ["status", "dids", "leases", "testers", "panic", "generations", "guard", "audit", "directory/faults"]
    {
        let _seen: Value = viewer.fetch(resource).await.unwrap_or_else(|fault| panic!("{resource}: {fault}"));
    }
    assert_eq!(did(&viewer).await.environment, "prod");
}

/// Row D6: what the guard holds back is seen, accepted once it was looked at, or rejected.
#[tokio::test]
async fn d6_what_is_held_back_is_looked_at_then_judged() {
    let mut stage = Stage::migrated().await;
    let client = stage.client("root", Role::Admin);
    let state: GuardState = client.fetch("guard").await.unwrap();
    assert_eq!(state.held, None);
    let judgement = Judgement { reason: "the range was sold".into() };
    let nothing: Result<Live, _> = client.write(Method::POST, "guard/accept", Some("*"), &judgement).await;
    assert_eq!(problem(nothing).kind, Kind::NotFound);
    stage.write("DELETE FROM did_numbers").await;
    let held = async || -> GuardState { client.fetch("guard").await.unwrap() };
    let first = held().await.held.unwrap();
    assert_eq!(first.diff.counted.dids.removed, 55);
    assert!(first.reasons[0].contains("has become empty"), "{:?}", first.reasons);
    let _rejected: Live = client.write(Method::POST, "guard/reject", Some(&first.version), &judgement).await.unwrap();
    assert!(held().await.held.unwrap().is_rejected);
    stage.write("INSERT INTO did_numbers (id, number, status, pool_status) VALUES ('1', '+918065978007', 'active', 'assigned')").await;
    let second = held().await.held.unwrap();
    assert!(!second.is_rejected && second.version != first.version);
    let stale: Result<Live, _> = client.write(Method::POST, "guard/accept", Some(&first.version), &judgement).await;
    assert_eq!(problem(stale).kind, Kind::Changed);
    // A lease is live although rows are held back; a move for good is not, and says so.
    let leased = set(&client, &change("oss", for_s(60))).await.unwrap();
    assert!(leased.generation.is_some());
    let accepted: Live = client.write(Method::POST, "guard/accept", Some(&second.version), &judgement).await.unwrap();
    assert_eq!(accepted.generation, Some(stage.watcher.status().generation.0));
    let audit: Audit =
        client.find("audit", &AuditQuestion { limit: Some(3), ..AuditQuestion::default() }).await.unwrap();
    let actions: Vec<&str> = audit.changes.iter().map(|change| change.action.as_str()).collect();
    assert_eq!(actions, ["accept", "lease", "reject"]);
    assert_eq!(audit.changes[0].made.reason, "the range was sold");
}

#[tokio::test]
async fn a_move_that_is_held_back_with_the_rest_says_that_it_is_not_live() {
    let mut stage = Stage::migrated().await;
    let client = stage.client("meera", Role::Operator);
    stage.write("DELETE FROM did_numbers WHERE number <> '08065978002'").await;
    let live = set(&client, &change("staging", End::default())).await.unwrap();
    assert_eq!(live.generation, None);
    assert!(live.pending.as_deref().unwrap().contains("the guard holds back"), "{live:?}");
}

#[tokio::test]
async fn generations_and_what_lies_between_them_are_told() {
    let mut stage = Stage::migrated().await;
    let client = stage.client("asha", Role::Viewer);
    stage.write("UPDATE did_numbers SET routing_environment = 'oss' WHERE number = '08065978002'").await;
    stage.write("DELETE FROM did_numbers WHERE number = '+918065978000'").await;
    let log: Generations = client.fetch("generations").await.unwrap();
    let last = log.generations[0].clone();
    assert_eq!((last.cause.as_str(), last.counted.dids.removed), ("rows", 1));
    let question = DiffQuestion { from: last.generation - 2, to: last.generation };
    let diff: Diff = client.find("generations/diff", &question).await.unwrap();
    assert_eq!(diff.told, "DIDs: 1 removed, 1 moved");
    let moved = diff.listed.iter().find(|change| change.number == "+918065978002").unwrap();
    assert_eq!(moved.before.as_ref().unwrap().environment, "prod");
    assert_eq!(moved.after.as_ref().unwrap().environment, "oss");
    let unknown: Result<Diff, _> = client.find("generations/diff", &DiffQuestion { from: 7, to: 99 }).await;
    assert_eq!(problem(unknown).kind, Kind::NotFound);
    let backwards: Result<Diff, _> = client.find("generations/diff", &DiffQuestion { from: 2, to: 1 }).await;
    assert_eq!(problem(backwards).kind, Kind::Invalid);
}

#[tokio::test]
async fn faults_are_listed_by_reason() {
    let mut stage = Stage::new(&[sync::schema::SQLITE_DIRTY_ROWS]).await;
    let client = stage.client("asha", Role::Viewer);
    let all: Faults = client.find("directory/faults", &FaultsQuestion::default()).await.unwrap();
    assert_eq!(all.total, u64::try_from(all.faults.len()).unwrap());
    assert_eq!(all.by_reason.iter().map(|count| u64::from(count.count)).sum::<u64>(), all.total);
    let question = FaultsQuestion { reason: Some("unknown_word".into()), skip: None, limit: Some(PAGE_MAX) };
    let some: Faults = client.find("directory/faults", &question).await.unwrap();
    assert!(!some.faults.is_empty() && some.faults.iter().all(|fault| fault.reason == "unknown_word"));
    let question = FaultsQuestion { reason: Some("ugly".into()), ..FaultsQuestion::default() };
    let wrong: Result<Faults, _> = client.find("directory/faults", &question).await;
    assert_eq!(problem(wrong).kind, Kind::Invalid);
}

#[tokio::test]
async fn wrong_requests_are_told_what_is_wrong_with_them() {
    let mut stage = Stage::migrated().await;
    let client = stage.client("root", Role::Admin);
    let puts = [
        (json!({ "environment": "mars", "reason": "x" }), Kind::Invalid, "expected prod, staging or oss"),
        (json!({ "environment": "oss", "reason": " " }), Kind::Invalid, "reason: expected 1 to 1024 bytes of text"),
        (json!({ "environment": "oss", "reason": "x".repeat(1_025) }), Kind::Invalid, "reason: expected"),
        (json!({ "environment": "oss" }), Kind::Invalid, "missing field `reason`"),
        (
            json!({ "environment": "oss", "reason": "x", "for_s": 1, "ends_at_ms": 1 }),
            Kind::Invalid,
            "expected one of them",
        ),
        (
            json!({ "environment": "oss", "reason": "x", "ends_at_ms": 1 }),
            Kind::Invalid,
            "end: expected a time from now",
        ),
        (
            json!({ "environment": "oss", "reason": "x", "for_s": u64::MAX }),
            Kind::Invalid,
            "end: expected a time from now",
        ),
        (json!({ "environment": "oss", "reason": "x", "for_s": -1 }), Kind::Invalid, "invalid value"),
        // A lease that is misspelled must not become a move for good.
        (json!({ "environment": "oss", "reason": "x", "for": "2h" }), Kind::Invalid, "unknown field `for`"),
        (json!([]), Kind::Invalid, "invalid"),
        (json!({ "environment": "oss", "reason": "x".repeat(70_000) }), Kind::Invalid, "length limit exceeded"),
    ];
    for (body, kind, told) in puts {
        let answer: Result<Live, _> = client.write(Method::PUT, ENVIRONMENT, Some("*"), &body).await;
        let refused = problem(answer);
        assert_eq!(refused.kind, kind, "{refused:?}");
        assert!(refused.detail.contains(told), "{told}: {refused:?}");
    }
    let gets = [
        ("dids/alice", Kind::Invalid),
        ("dids/+447700900001", Kind::NotFound),
        ("dids?environment=mars", Kind::Invalid),
        ("dids?colour=red", Kind::Invalid),
        ("dids?after=alice", Kind::Invalid),
        ("dids?limit=-1", Kind::Invalid),
        ("dids?service=good", Kind::Invalid),
        ("audit?limit=many", Kind::Invalid),
        ("generations/diff?from=1", Kind::Invalid),
        ("nothing", Kind::NotFound),
        ("guard/accept", Kind::Method),
        ("explain", Kind::Invalid),
        ("explain?from=10.10.10.2&called=nonsense", Kind::Invalid),
        ("dids/%ff", Kind::Invalid),
    ];
    for (resource, kind) in gets {
        let answer: Result<Value, _> = client.fetch(resource).await;
        assert_eq!(problem(answer).kind, kind, "{resource}");
    }
    let question = Question {
        from: "10.10.10.2".into(),
        called: "+918065978002".into(),
        caller: None,
        method: None,
        transport: None,
        interface: None,
    };
    let answer: Value = client.find("explain", &question).await.unwrap();
    assert_eq!(answer["called"], "+918065978002");
}

#[tokio::test]
async fn without_our_tables_each_verb_says_so_and_the_directory_is_shown() {
    let mut stage = Stage::new(&[]).await;
    let client = stage.client("root", Role::Admin);
    let said = problem(set(&client, &change("oss", for_s(60))).await);
    assert_eq!((said.kind, said.status), (Kind::NotMigrated, 503));
    assert_eq!(said.detail, "table switchyard_leases: not found; `switchyard db migrate` makes it");
    let leases: Result<Leases, _> = client.fetch("leases").await;
    assert_eq!(problem(leases).kind, Kind::NotMigrated);
    let panic: Result<Live, _> =
        client.write(Method::PUT, "panic", None, &NewPanic { end: End::default(), reason: "x".into() }).await;
    assert_eq!(problem(panic).kind, Kind::NotMigrated);
    assert_eq!(did(&client).await.environment, "prod");
}

const PEER: &str = "peers/udp:10.10.10.3:5080";

#[tokio::test]
async fn a_peer_is_set_by_an_operator_and_recorded_where_there_is_a_table() {
    let new = NewAdmin { admin: "drain".into(), reason: "new kernel".into() };
    let set = async |client: &Client, peer: &str, new: &NewAdmin| -> Result<Decided, AskFault> {
        client.write(Method::PUT, peer, None, new).await
    };
    let mut stage = Stage::migrated().await;
    let operator = stage.client("asha", Role::Operator);
    let decided = set(&operator, PEER, &new).await.unwrap();
    let peer = &decided.peers[0];
    assert_eq!((&*peer.admin, &*peer.reason, &*peer.set_by), ("drain", "new kernel", "asha"));
    assert_eq!(decided.not_recorded, None);
    let audit: Audit =
        operator.find("audit", &AuditQuestion { limit: Some(1), ..AuditQuestion::default() }).await.unwrap();
    let entry = &audit.changes[0];
    let told = (&*entry.action, &*entry.subject, entry.after.as_deref(), &*entry.made.made_by);
    assert_eq!(told, ("set_peer", "udp:10.10.10.3:5080", Some("drain"), "asha"));

    assert_eq!(problem(set(&operator, "peers/udp:10.10.10.9:5080", &new).await).kind, Kind::NotFound);
    let unsaid = NewAdmin { reason: " ".into(), ..new.clone() };
    assert_eq!(problem(set(&operator, PEER, &unsaid).await).kind, Kind::Invalid);
    let viewer = stage.client("viewer", Role::Viewer);
    assert_eq!(problem(set(&viewer, PEER, &new).await).kind, Kind::Forbidden);
}

/// Calls come first: without the database a peer is drained all the same, and the answer says what is missing.
#[tokio::test]
async fn a_peer_is_set_without_an_audit_table_and_the_answer_says_so() {
    let mut stage = Stage::new(&[]).await;
    let operator = stage.client("asha", Role::Operator);
    let new = NewAdmin { admin: "disabled".into(), reason: "on fire".into() };
    let decided: Decided = operator.write(Method::PUT, PEER, None, &new).await.unwrap();
    assert_eq!(decided.peers[0].admin, "disabled");
    assert!(decided.not_recorded.is_some_and(|why| why.contains("switchyard_audit")));
}

#[tokio::test]
async fn an_admin_drains_and_a_limit_has_its_bounds() {
    let mut stage = Stage::migrated().await;
    let drain = async |client: &Client, limit_s: Option<u64>| -> Result<DrainState, AskFault> {
        client.write(Method::PUT, "drain", None, &NewDrain { limit_s, reason: "upgrade".into() }).await
    };
    let admin = stage.client("root", Role::Admin);
    let state = drain(&admin, Some(600)).await.unwrap();
    assert!(state.draining && state.not_recorded.is_none());
    let ended: DrainState = admin.end("drain", "done").await.unwrap();
    assert_eq!(ended.not_recorded, None);
    let audit: Audit =
        admin.find("audit", &AuditQuestion { limit: Some(2), ..AuditQuestion::default() }).await.unwrap();
    let afters: Vec<_> = audit.changes.iter().map(|entry| entry.after.as_deref()).collect();
    assert_eq!(afters, [Some("off"), Some("on for 600 s")]);
    for limit_s in [0, 86_401] {
        assert_eq!(problem(drain(&admin, Some(limit_s)).await).kind, Kind::Invalid);
    }
    let operator = stage.client("asha", Role::Operator);
    assert_eq!(problem(drain(&operator, None).await).kind, Kind::Forbidden);
}

/// Limit WATCH_SECS_MAX.
#[tokio::test]
async fn the_log_and_captures_are_turned_by_operators() {
    use admin::api::capture::{CaptureChange, CaptureState};
    use admin::api::log::{LogChange, LogState, NewWatch, WATCH_SECS_MAX};
    let mut stage = Stage::migrated().await;
    let (operator, viewer) = (stage.client("meera", Role::Operator), stage.client("anna", Role::Viewer));
    let level = |level: &str| LogChange { level: Some(level.to_owned()), redact: None };
    let refused: Result<LogState, _> = viewer.write(Method::PUT, "log", None, &level("debug")).await;
    assert_eq!(problem(refused).kind, Kind::Forbidden);
    let wrong: Result<LogState, _> = operator.write(Method::PUT, "log", None, &level("loud")).await;
    assert_eq!(problem(wrong).kind, Kind::Invalid);
    let state: LogState = operator.write(Method::PUT, "log", None, &level("debug")).await.unwrap();
    assert_eq!(state.level, "debug");
    let watch = |number: Option<&str>, organisation: Option<&str>, for_s| NewWatch {
        number: number.map(str::to_owned),
        organisation: organisation.map(str::to_owned),
        for_s,
    };
    for wrong in [
        watch(None, None, 60),
        watch(Some("+918065978002"), Some("nobody"), 60),
        watch(Some("anna"), None, 60),
        watch(None, Some("nobody"), 60),
        watch(Some("+918065978002"), None, 0),
        watch(Some("+918065978002"), None, WATCH_SECS_MAX + 1),
    ] {
        let refused: Result<LogState, _> = operator.write(Method::POST, "log/watches", None, &wrong).await;
        assert!(matches!(problem(refused).kind, Kind::Invalid | Kind::NotFound), "{wrong:?}");
    }
    let spelled = watch(Some("08065978002"), None, WATCH_SECS_MAX);
    let state: LogState = operator.write(Method::POST, "log/watches", None, &spelled).await.unwrap();
    assert_eq!(state.watches[0].number.as_deref(), Some("918065978002"));
    let state: LogState = operator.write(Method::DELETE, "log/watches", None, &()).await.unwrap();
    assert!(state.watches.is_empty());
    let on = CaptureChange { is_on: true, number: Some("08065978002".to_owned()), peer: None };
    let refused: Result<CaptureState, _> = viewer.write(Method::PUT, "capture", None, &on).await;
    assert_eq!(problem(refused).kind, Kind::Forbidden);
    let state: CaptureState = operator.write(Method::PUT, "capture", None, &on).await.unwrap();
    assert_eq!(state.what, CaptureChange { number: Some("+918065978002".to_owned()), ..on });
    assert_eq!(operator.fetch::<CaptureState>("capture").await.unwrap(), state);
    assert!(viewer.fetch::<CaptureState>("capture").await.is_ok());
}

/// Limits READINESS_AT_ONCE, READINESS_PER_SECOND and READINESS_TIME_MAX are held where the sockets are.
#[tokio::test]
async fn an_environment_is_asked_for_a_number_by_operators() {
    use admin::api::dids::readiness::{Outcome, Readiness};
    let mut stage = Stage::migrated().await;
    let (operator, viewer) = (stage.client("meera", Role::Operator), stage.client("anna", Role::Viewer));
    let ask = async |client: &Client, number: &str, environment: &str| -> Result<Readiness, AskFault> {
        client.write(Method::POST, &format!("dids/{number}/readiness?environment={environment}"), None, &()).await
    };
    let ready = ask(&operator, "08065978002", "staging").await.unwrap();
    assert_eq!((ready.number.as_str(), ready.impossible.as_str()), ("+918065978002", "+910000000000"));
    assert_eq!((ready.outcome, ready.targets[0].outcome), (Outcome::Ready, Outcome::Ready));
    assert_eq!((ready.targets[0].status, ready.targets[0].impossible_status), (Some(200), Some(404)));
    assert_eq!(ready.live_calls.into_iter().collect::<Vec<_>>(), [("oss".to_owned(), 1), ("prod".to_owned(), 2)]);
    let prod = ask(&operator, "+918065978002", "prod").await.unwrap();
    assert_eq!(prod.outcome, Outcome::TellsNothing);
    assert!(prod.told.contains("tells nothing"), "{}", prod.told);
    assert_eq!(ask(&operator, "+918065978002", "oss").await.unwrap().outcome, Outcome::Nobody);
    assert_eq!(problem(ask(&viewer, "+918065978002", "staging").await).kind, Kind::Forbidden);
    assert_eq!(problem(ask(&operator, "+918065978002", "moon").await).kind, Kind::Invalid);
    assert_eq!(problem(ask(&operator, "+918065080799", "prod").await).kind, Kind::NotFound);
}

#[tokio::test]
async fn a_move_says_which_calls_stay_where_they_are() {
    let mut stage = Stage::migrated().await;
    let client = stage.client("meera", Role::Operator);
    let did: Did = client.fetch("dids/+918065978002").await.unwrap();
    assert_eq!((did.live_calls.len(), did.live_calls["prod"]), (2, 2));
    let to = |environment: &str| EnvironmentChange {
        environment: environment.into(),
        end: End { for_s: Some(600), ends_at_ms: None },
        reason: "a test".into(),
    };
    let resource = "dids/+918065978002/environment";
    let live: Live = client.write(Method::PUT, resource, Some("*"), &to("staging")).await.unwrap();
    assert!(live.to_string().ends_with(" ms; 1 call still up in oss, 2 in prod"), "{live}");
    let live: Live = client.write(Method::PUT, resource, Some("*"), &to("oss")).await.unwrap();
    assert!(live.to_string().ends_with(" ms; 2 calls still up in prod"), "{live}");
    let other: Live = client.write(Method::PUT, "dids/+918065978003/environment", Some("*"), &to("oss")).await.unwrap();
    assert!(other.still_up.is_empty() && other.to_string().ends_with(" ms"), "{other}");
}

#[tokio::test]
async fn health_and_limits_are_told_to_everyone() {
    let mut stage = Stage::migrated().await;
    let client = stage.client("viewer", Role::Viewer);
    let health: Health = client.fetch("health").await.unwrap();
    assert_eq!((health.verdict, health.ready, health.draining), (Verdict::Bad, false, true), "{health:?}");
    assert_eq!((health.panic, health.leases), (false, 0));
    let operator = stage.client("meera", Role::Operator);
    set(&operator, &change("staging", for_s(600))).await.unwrap();
    let admin = stage.client("asha", Role::Admin);
    let panic = NewPanic { end: End::default(), reason: "a test".into() };
    let _on: Live = admin.write(Method::PUT, "panic", None, &panic).await.unwrap();
    let health: Health = client.fetch("health").await.unwrap();
    assert_eq!((health.panic, health.leases), (true, 1));
    assert!(health.reasons.contains(&"panic: everything goes to prod".to_owned()), "{health:?}");
    let limits: LimitList = client.fetch("limits").await.unwrap();
    assert_eq!((limits.limits.len(), limits.limits[0].used, limits.limits[0].allowed), (1, Some(3), Some(30)));
    let of_dids = LimitsQuestion { kind: Some(LimitKind::DidCalls) };
    let limits: LimitList = client.find("limits", &of_dids).await.unwrap();
    assert_eq!(limits, LimitList::default());
    let unknown: Result<LimitList, _> = client.fetch("limits?kind=moods").await;
    assert_eq!(problem(unknown).kind, Kind::Invalid);
}

/// The DIDs that a question finds, as a table: its lines.
async fn table(client: &Client, question: &str) -> Vec<String> {
    let table = client.fetch_bytes(&format!("dids?format=csv{question}")).await.unwrap();
    let table = String::from_utf8(table.to_vec()).unwrap();
    assert!(table.ends_with("\r\n"), "{table:?}");
    table.split_terminator("\r\n").map(str::to_owned).collect()
}

#[tokio::test]
async fn dids_are_exported_as_a_table_and_no_cell_is_a_formula() {
    let mut stage = Stage::migrated().await;
    stage
        .write("UPDATE organizations SET name = '=HYPERLINK(\"http://evil.example\")' WHERE name = 'Asha Clinics'")
        .await;
    let client = stage.client("viewer", Role::Viewer);
    let all = table(&client, "").await;
    assert_eq!(all.len(), 56, "{all:#?}");
    assert_eq!(
        all[0],
        "number,row_environment,environment,by,lease_environment,lease_ends_at,service,state,organisation_id,\
         organisation,is_default,call_limit,provider,version"
    );
    let asha = all.iter().filter(|line| line.contains("HYPERLINK")).collect::<Vec<_>>();
    assert!(!asha.is_empty() && asha.iter().all(|line| line.contains(",\"'=HYPERLINK(\"\"http")), "{asha:#?}");
    assert!(all[1].starts_with("+9180"), "{}", all[1]);
    assert!(all.windows(2).skip(1).all(|pair| pair[0] < pair[1]), "by number");
    let staging = table(&client, "&environment=staging").await;
    assert!((2..20).contains(&staging.len()) && staging.iter().skip(1).all(|line| line.contains(",staging,")));
    let place = all.iter().position(|line| line.starts_with("+918065978002")).unwrap();
    assert_eq!(table(&client, "&limit=3&after=%2B918065978002").await[1..], all[place + 1..place + 4]);
}

#[tokio::test]
async fn a_table_that_comes_back_moves_what_was_changed_in_it() {
    let mut stage = Stage::migrated().await;
    let client = stage.client("meera", Role::Operator);
    let exported = table(&client, "").await;
    let line_of = |number: &str| exported.iter().position(|line| line.starts_with(number)).unwrap();
    let (first, second) = (line_of("+918065978002"), line_of("+918065978003"));
    let mut lines = exported.clone();
    lines[first] = lines[first].replacen(",prod,", ",staging,", 1);
    lines[second] = lines[second].replacen(",prod,", ",OSS,", 1);
    let sheet = lines.join("\r\n").into_bytes();
    let import = async |dry_run: bool, sheet: &[u8]| -> Result<Imported, AskFault> {
        let reason = (!dry_run).then(|| "a new plan".to_owned());
        client.send_table("dids/csv", &ImportQuestion { dry_run, reason }, sheet.to_vec()).await
    };
    let dry = import(true, &sheet).await.unwrap();
    assert_eq!((dry.changed, dry.unchanged, dry.refused, dry.dry_run), (2, 53, 0, true), "{dry:?}");
    let told = |row: &admin::api::sheet::ImportedRow| {
        (row.line, row.number.clone(), row.before.clone().unwrap(), row.after.clone().unwrap(), row.outcome)
    };
    let lines_of = [first, second].map(|at| u64::try_from(at).unwrap() + 1);
    let expected = |outcome| {
        [
            (lines_of[0], "+918065978002".to_owned(), "prod".to_owned(), "staging".to_owned(), outcome),
            (lines_of[1], "+918065978003".to_owned(), "prod".to_owned(), "oss".to_owned(), outcome),
        ]
    };
    assert_eq!(dry.rows.iter().map(told).collect::<Vec<_>>(), expected(Outcome::WouldChange));
    assert_eq!(did(&client).await.row_environment, "prod", "nothing was changed");
    // Somebody else moves one of them meanwhile: that row is refused, the other is moved.
    set(&client, &change("oss", End::default())).await.unwrap();
    let partly = import(false, &sheet).await.unwrap();
    assert_eq!((partly.changed, partly.refused, partly.not_tried), (1, 1, 0), "{partly:?}");
    assert_eq!(partly.rows[0].outcome, Outcome::Refused);
    assert!(partly.rows[0].why.as_deref().unwrap().contains("it has changed meanwhile"), "{partly:?}");
    assert_eq!(partly.rows[1].outcome, Outcome::Changed);
    assert_eq!(partly.generation, Some(stage.watcher.status().generation.0));
    assert_eq!(did(&client).await.row_environment, "oss", "as the other one left it");
    let audit: Audit = client.find("audit", &AuditQuestion::default()).await.unwrap();
    let last = &audit.changes[0];
    assert_eq!(
        (last.subject.as_str(), last.before.as_deref(), last.after.as_deref()),
        ("+918065978003", Some("prod"), Some("oss"))
    );
    assert_eq!((last.made.reason.as_str(), last.role.as_deref()), ("a new plan", Some("operator")));
    // A row under a lease is moved, and says what overrules it.
    set(&client, &change("staging", for_s(600))).await.unwrap();
    let leased = import(false, b"number,row_environment\n08065978002,prod\n").await.unwrap();
    assert_eq!(leased.rows[0].overruled_by.as_deref(), Some("lease"), "{leased:?}");
}

#[tokio::test]
async fn each_row_that_cannot_be_is_refused_by_itself_and_says_why() {
    let mut stage = Stage::migrated().await;
    let client = stage.client("meera", Role::Operator);
    let sheet = "number,row_environment,call_limit,environment,version\n\
                 nonsense,oss,,,\n9.18066E+11,oss,,,\n+447700900009,oss,,,\n08065978002,mars,,,\n\
                 08065978003,oss,99,,\n08065978004,prod,,staging,\n08065978005,oss,,,row=staging\n\
                 08065978006,oss,,,row=prod\n+91 80-6597 8006,staging,,,\n";
    let question = ImportQuestion { dry_run: false, reason: Some("a test".into()) };
    let imported: Imported = client.send_table("dids/csv", &question, sheet.into()).await.unwrap();
    assert_eq!((imported.changed, imported.refused, imported.unchanged), (1, 8, 0), "{imported:#?}");
    let why = |at: usize| imported.rows[at].why.clone().unwrap_or_default();
    for (at, expected) in [
        (0, "found \"nonsense\", expected a number"),
        (1, "a spreadsheet has rounded it"),
        (2, "found no such DID"),
        (3, "expected prod, staging or oss"),
        (4, "call_limit: found \"99\", and it is"),
        (5, "environment: found \"staging\", and it is \"prod\": a table changes row_environment alone"),
        (6, "found the version row=staging, and it is row=prod now"),
        (8, "line 9 has the same number"),
    ] {
        assert!(why(at).contains(expected), "{at}: {} in {imported:#?}", why(at));
        assert_eq!(imported.rows[at].outcome, Outcome::Refused);
    }
    assert_eq!((imported.rows[7].outcome, imported.rows[7].line), (Outcome::Changed, 9));
}

#[tokio::test]
async fn a_table_is_for_operators_has_a_reason_and_its_bounds() {
    let mut stage = Stage::migrated().await;
    let (viewer, client) = (stage.client("viewer", Role::Viewer), stage.client("meera", Role::Operator));
    let dry = ImportQuestion { dry_run: true, reason: None };
    let sheet = b"number,row_environment\n08065978002,oss\n".to_vec();
    let refused: Result<Imported, _> = viewer.send_table("dids/csv", &dry, sheet.clone()).await;
    assert_eq!(problem(refused).kind, Kind::Forbidden);
    let no_reason = ImportQuestion { dry_run: false, reason: None };
    let refused: Result<Imported, _> = client.send_table("dids/csv", &no_reason, sheet.clone()).await;
    assert!(problem(refused).detail.starts_with("reason: expected 1 to 1024 bytes"));
    let refused: Result<Imported, _> = client.write(Method::POST, "dids/csv?dry_run=true", None, &json!({})).await;
    assert!(problem(refused).detail.contains("expected text/csv"));
    let long = [&sheet[..], &b" ".repeat(admin::limits::SHEET_BYTES_MAX)].concat();
    let refused: Result<Imported, _> = client.send_table("dids/csv", &dry, long).await;
    assert!(problem(refused).detail.contains("length limit exceeded"));
    // More DIDs than one table moves: nothing is.
    assert_eq!(admin::limits::SHEET_MOVES_MAX, 1_000, "as many as there are numbers for fiction, and one DID");
    let many: String = (0..1_000).map(|at| format!("('{at:036}', '+447700900{at:03}', 'assigned'), ")).collect();
    let many = format!("INSERT INTO did_numbers (id, number, pool_status) VALUES {}", many.trim_end_matches(", "));
    stage.write(Box::leak(many.into_boxed_str())).await;
    let rows: String = (0..1_000).map(|at| format!("+447700900{at:03},oss\n")).collect();
    let table = format!("number,row_environment\n{rows}08065978002,oss\n").into_bytes();
    let refused: Result<Imported, _> = client.send_table("dids/csv", &dry, table.clone()).await;
    assert!(problem(refused).detail.contains("found 1001 DIDs to move, expected at most 1000"));
    let most = table.strip_suffix(b"08065978002,oss\n").unwrap().to_vec();
    let most: Imported = client.send_table("dids/csv", &dry, most).await.unwrap();
    assert_eq!(most.changed, 1_000);
}

#[tokio::test]
async fn the_audit_is_paged_and_exported() {
    let mut stage = Stage::migrated().await;
    let client = stage.client("meera", Role::Operator);
    for environment in ["staging", "oss", "prod"] {
        set(&client, &change(environment, End::default())).await.unwrap();
    }
    let first = AuditQuestion { limit: Some(2), ..AuditQuestion::default() };
    let page: Audit = client.find("audit", &first).await.unwrap();
    assert_eq!(page.changes.len(), 2);
    let second = AuditQuestion { before: page.next.clone(), ..first };
    let rest: Audit = client.find("audit", &second).await.unwrap();
    assert_eq!((rest.changes.len(), rest.next), (1, None));
    assert_eq!(rest.changes[0].after.as_deref(), Some("staging"), "the oldest");
    let table = client.fetch_bytes("audit?format=csv").await.unwrap();
    let table = String::from_utf8(table.to_vec()).unwrap();
    let lines: Vec<&str> = table.split_terminator("\r\n").collect();
    assert_eq!((lines.len(), lines[0]), (4, "id,at,who,role,origin,action,subject,before,after,reason"));
    assert!(lines[1].contains(",meera,operator,,set_environment,+918065978002,oss,prod,a test"), "{}", lines[1]);
    for wrong in ["", "~", "x~y", "99999999999999999999~a", "1~'%20OR%20'"] {
        let refused: Result<Audit, _> = client.fetch(&format!("audit?before={wrong}")).await;
        assert_eq!(problem(refused).kind, Kind::Invalid, "{wrong}");
    }
}
