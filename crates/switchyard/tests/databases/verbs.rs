//! The verbs that write, on real servers, with the account of deploy/sql and what `db migrate` gives it.

use serde_json::Value;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::bench::{Bench, execute};
use crate::server::{Engine, Server, server};
use crate::stage::Stage;
use crate::{MOVE, STAGING, bench, on_each_engine, url};

/// A number of Asha Textiles, and two more of it.
const DID: &str = "+918065978002";
const LEASED: &str = "+918065978003";
const TESTED: &str = "+918065978000";
const ASHA: &str = "0000000a-0000-4000-8000-a1b2c3d40000";
const TESTER: &str = "+447700900001";
/// How much later than to the millisecond an end may be seen on a busy machine.
const LATE: Duration = Duration::from_secs(4);
/// A reason that SQL, a terminal and JSON could trip over.
const HOSTILE: &str = "it's \"new\"; \\'); DROP TABLE switchyard_audit; -- \u{1f4de}";

on_each_engine! {
    each_verb_does_what_it_says_with_the_least_rights: 111, 112;
    two_nodes_see_what_either_does: 113, 115;
    /// Rows D3 and D4: what ends by itself does so with the server frozen and with the server dead.
    d3_d4_a_lease_ends_without_the_database: 117, 118;
    /// Row D6.
    d6_a_write_while_the_guard_holds_and_the_judgement: 119, 120;
    an_account_that_may_only_read_is_told_so: 121, 122;
}

/// With our own tables, made as an operator makes them; the program runs.
async fn migrated(bench: &Bench, network: u8, more: &str) -> Stage {
    let stage = Stage::start(network, &url(bench), more);
    // An account is the server's, not the database's.
    let _turn = bench.server.accounts.lock().await;
    let (code, told) = stage.db("migrate", &bench.root_url());
    assert_eq!(code, 0, "{told}");
    stage
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Waits until calls to a DID land by `by` on this node; answers with the time of day.
fn until_by(stage: &Stage, did: &str, by: &str) -> u64 {
    let begun = Instant::now();
    loop {
        let shown = stage.json(&["did", "show", did]);
        if shown["by"] == by {
            return now_ms();
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "never by {by}: {shown}");
    }
}

async fn each_verb_does_what_it_says_with_the_least_rights(engine: Engine, network: u8) {
    let bench = bench(engine, "").await;
    let mut stage = migrated(&bench, network, "").await;
    moves(&mut stage);
    overlays(&mut stage);
    tells(&stage);
    tables(&mut stage);
    // The account may do this, and no more.
    let own = bench.server.url("switchyard:s3cret", bench.server.port, &bench.database);
    for statement in [
        "UPDATE did_numbers SET status = 'inactive'",
        "UPDATE did_numbers SET routing_environment = 'oss', number = '1'",
        "INSERT INTO did_numbers (id, number) VALUES ('1', '1')",
        "DELETE FROM did_numbers",
        "UPDATE users SET outbound_did = NULL",
        "UPDATE organizations SET status = 'deleted'",
        "UPDATE sip_trunks SET host = 'x'",
        "DELETE FROM switchyard_leases",
        "DELETE FROM switchyard_audit",
        "UPDATE switchyard_audit SET reason = ''",
        "DROP TABLE switchyard_panic",
        "CREATE TABLE mine (id INT)",
        "ALTER TABLE did_numbers ADD COLUMN mine INT",
    ] {
        assert!(execute(bench.server, &own, statement).await.is_err(), "{statement}");
    }
    execute(bench.server, &own, "UPDATE did_numbers SET routing_environment = 'oss' WHERE number = ''").await.unwrap();
}

/// For good: in each spelling, and refused where it cannot be.
fn moves(stage: &mut Stage) {
    assert_eq!(stage.call(DID), "486 prod");
    for (spelling, environment, before) in
        [(DID, "staging", "prod"), ("918065978002", "oss", "staging"), ("0 80659-78002", "staging", "oss")]
    {
        let told = stage.done(&["did", "set", spelling, environment, "--reason", HOSTILE]);
        assert!(told.starts_with(&format!("{DID}: {before} -> {environment}\nlive in generation ")), "{told}");
        assert!(told.trim_end().ends_with(" ms"), "{told}");
        assert_eq!(stage.call(DID), format!("486 {environment}"));
    }
    // To where it is already: no fault, and no other generation.
    let again = stage.json(&["did", "set", DID, "staging", "--reason", "again"]);
    assert_eq!(again["generation"], stage.json(&["did", "list", DID])["generation"]);
    for (arguments, exit, told) in [
        (&["+447700900009", "oss", "--reason", "x"][..], 3, "found no DID +447700900009 in the directory"),
        (&[DID, "mars", "--reason", "x"], 2, "found environment \"mars\", expected prod, staging or oss"),
        (&[DID, "oss", "--expect", "prod", "--reason", "x"], 4, "nothing was changed"),
        (&[DID, "oss", "--reason", &"x".repeat(1_025)], 2, "reason: expected 1 to 1024 bytes of text"),
        (&[DID, "oss", "--reason", &"x".repeat(100_000)], 2, "length limit exceeded"),
    ] {
        let (code, said) = stage.verb(&[&["did", "set"], arguments].concat());
        assert_eq!(code, exit, "{said}");
        assert!(said.contains(told), "{told}: {said}");
    }
    assert_eq!(stage.call(DID), "486 staging");
}

/// For a while, for a tester, and for everyone.
fn overlays(stage: &mut Stage) {
    stage.done(&["did", "set", LEASED, "staging", "--for", "2h", "--reason", HOSTILE]);
    assert_eq!(stage.call(LEASED), "486 staging");
    let shown = stage.json(&["did", "show", LEASED]);
    assert_eq!((&shown["by"], &shown["row_environment"]), (&Value::from("lease"), &Value::from("prod")));
    // Another takes its place.
    stage.done(&["did", "set", LEASED, "oss", "--for", "1h", "--reason", "longer"]);
    assert_eq!(stage.call(LEASED), "486 oss");
    assert_eq!(stage.json(&["lease", "list"])["leases"].as_array().unwrap().len(), 1);
    let add = ["tester", "add", TESTER, "oss", "--organisation", ASHA, "--for", "1h", "--reason", "regression"];
    stage.done(&add);
    assert_eq!((stage.call_from(TESTER, TESTED), stage.call(TESTED)), ("486 oss".into(), "486 prod".into()));
    stage.done(&["panic", "on", "--for", "1h", "--reason", "staging is down"]);
    for did in [DID, LEASED, STAGING, TESTED] {
        assert_eq!(stage.call_from(TESTER, did), "486 prod", "{did}");
    }
    let (code, told) = stage.verb(&["panic", "on", "--reason", "again"]);
    assert!(code == 4 && told.contains("there is one already") && !told.contains("--replace"), "{code} {told}");
    // A lease that is made meanwhile waits for the end of the panic, and says so.
    let waiting = stage.json(&["did", "set", "+918065978004", "oss", "--for", "1h", "--reason", "x"]);
    assert_eq!(waiting["overruled_by"], "panic");
    assert_eq!(stage.call("+918065978004"), "486 prod");
    stage.done(&["panic", "off", "--reason", "it is up"]);
    let landed = [DID, LEASED, STAGING, "+918065978004"].map(|did| stage.call(did));
    assert_eq!(landed, ["486 staging", "486 oss", "486 staging", "486 oss"]);
    assert_eq!(stage.call_from(TESTER, TESTED), "486 oss");
    let (code, told) = stage.verb(&["lease", "end", LEASED, "--reason", &"x".repeat(100_000)]);
    assert!(code == 2 && told.contains("expected"), "{code} {told}");
    stage.done(&["tester", "remove", TESTER, "--reason", "done"]);
    stage.done(&["lease", "end", LEASED, "--reason", "done"]);
    assert_eq!((stage.call_from(TESTER, TESTED), stage.call(LEASED)), ("486 prod".into(), "486 prod".into()));
    // The last line of a call says what lay over its row.
    let log = stage.log();
    let ended: Vec<&str> = log.lines().filter(|line| line.contains("call ended")).collect();
    for overlay in ["lease", "tester", "panic"] {
        assert!(ended.iter().any(|line| line.contains(&format!("overlay=\"{overlay}\""))), "{overlay}: {ended:#?}");
    }
    assert!(ended.iter().any(|line| !line.contains("overlay=")), "{ended:#?}");
}

/// What the verbs that look say of it, in both forms.
fn tells(stage: &Stage) {
    let audit = stage.json(&["audit", "list", "--limit", "1000"]);
    let changes = audit["changes"].as_array().unwrap();
    let who = nix::unistd::User::from_uid(nix::unistd::Uid::effective()).unwrap().unwrap().name;
    for change in changes {
        assert_eq!(change["made_by"], who.as_str(), "{change}");
        let at_ms = change["made_at_ms"].as_u64().unwrap();
        assert!(at_ms <= now_ms() && at_ms + 600_000 > now_ms(), "{change}");
        assert!(!change["reason"].as_str().unwrap().is_empty() && change["after"].is_string(), "{change}");
    }
    let of = |action: &str| changes.iter().filter(|change| change["action"] == action).collect::<Vec<_>>();
    let counts = ["set_environment", "lease", "end_lease", "set_tester", "end_tester", "panic", "release_panic"];
    assert_eq!(counts.map(|action| of(action).len()), [4, 3, 1, 1, 1, 1, 1], "{audit}");
    let first = of("set_environment").pop().unwrap();
    let said = ["subject", "before", "after", "reason"].map(|key| first[key].as_str().unwrap());
    assert_eq!(said, [DID, "prod", "staging", HOSTILE]);
    // What a lease took the place of is told as it was.
    let replaced = of("lease").into_iter().find(|change| change["reason"] == "longer").unwrap();
    assert!(replaced["before"].as_str().unwrap().starts_with("staging until "), "{replaced}");
    for verb in [
        &["did", "list"][..],
        &["did", "show", DID],
        &["lease", "list"],
        &["tester", "list"],
        &["panic", "status"],
        &["audit", "list"],
        &["directory", "faults"],
        &["directory", "log"],
        &["directory", "diff", "1", "2"],
        &["directory", "held"],
        &["health"],
        &["limits"],
        &["status"],
    ] {
        assert!(!stage.done(verb).is_empty());
        assert!(stage.json(verb).is_object(), "{verb:?}");
    }
    let diff = stage.json(&["directory", "diff", "1", "2"]);
    assert_eq!(diff["dids"]["moved"], 1, "{diff}");
}

/// A table out, changed, looked at, and back; the audit out.
fn tables(stage: &mut Stage) {
    let exported = stage.done(&["did", "export", "--environment", "prod"]);
    assert!(exported.starts_with("number,row_environment,environment,"), "{exported}");
    let numbers = ["+918065978005", "+918065978006"];
    let lines: Vec<String> = exported
        .lines()
        .filter(|line| line.starts_with("number,") || numbers.iter().any(|number| line.starts_with(number)))
        .map(|line| line.replacen(",prod,", ",oss,", 1))
        .collect();
    assert_eq!(lines.len(), 3, "{exported}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dids.csv");
    std::fs::write(&file, lines.join("\r\n")).unwrap();
    let file = file.to_str().unwrap();
    let dry = stage.json(&["did", "import", file, "--dry-run"]);
    assert_eq!((&dry["changed"], &dry["refused"], &dry["dry_run"]), (&2.into(), &0.into(), &true.into()), "{dry}");
    assert_eq!(stage.call(numbers[0]), "486 prod");
    let told = stage.done(&["did", "import", file, "--reason", HOSTILE]);
    assert!(told.contains("2 changed, 0 unchanged, 0 refused, 0 not tried\nlive in generation "), "{told}");
    for number in numbers {
        assert_eq!(stage.call(number), "486 oss");
    }
    // The same table again: its rows have changed since it was exported, by itself.
    let (code, told) = stage.verb(&["did", "import", file, "--reason", "again"]);
    assert_eq!(code, 8, "{told}");
    assert!(told.contains("found the version row=prod, and it is row=oss now"), "{told}");
    let (code, told) = stage.verb(&["did", "import", "/nowhere/dids.csv", "--dry-run"]);
    assert_eq!(code, 1, "{told}");
    let audit = stage.done(&["audit", "export"]);
    assert!(audit.starts_with("id,at,who,role,origin,action,subject,before,after,reason"), "{audit}");
    let of_table = audit.lines().filter(|line| line.contains(",admin,unix socket,set_environment,+91806597800"));
    assert!(of_table.count() >= 2, "{audit}");
}

async fn two_nodes_see_what_either_does(engine: Engine, network: u8) {
    let bench = bench(engine, "").await;
    let mut one = migrated(&bench, network, "").await;
    let mut other = Stage::start(network + 1, &url(&bench), "");
    one.done(&["did", "set", LEASED, "staging", "--for", "10s", "--reason", "two nodes"]);
    assert_eq!(one.call(LEASED), "486 staging");
    until_by(&other, LEASED, "lease");
    assert_eq!(other.call(LEASED), "486 staging");
    let leases = other.json(&["lease", "list"]);
    let ends_at_ms = leases["leases"][0]["ends_at_ms"].as_u64().unwrap();
    // The second to change it learns of the first, wherever they sit.
    let (code, told) = other.verb(&["tester", "add", TESTER, "oss", "--did", DID, "--for", "1h", "--reason", "x"]);
    assert_eq!(code, 0, "{told}");
    let (code, told) = one.verb(&["tester", "add", TESTER, "staging", "--did", DID, "--for", "1h", "--reason", "x"]);
    assert!(code == 4 && told.contains("--replace "), "{code} {told}");
    for node in [&one, &other] {
        let ended_at_ms = until_by(node, LEASED, "row");
        assert!(ended_at_ms >= ends_at_ms, "{} ms early", ends_at_ms - ended_at_ms);
        assert!(ended_at_ms - ends_at_ms < 2 * u64::try_from(LATE.as_millis()).unwrap(), "{ended_at_ms} {ends_at_ms}");
    }
    // A panic that the other declares, with an end of its own, and one that this one releases.
    other.done(&["panic", "on", "--for", "4s", "--reason", "two nodes"]);
    let panic = one_panic(&one);
    assert_eq!(one.call(STAGING), "486 prod");
    for node in [&one, &other] {
        assert!(until_by(node, STAGING, "row") >= panic["ends_at_ms"].as_u64().unwrap());
    }
    other.done(&["panic", "on", "--reason", "again"]);
    one_panic(&one);
    one.done(&["panic", "off", "--reason", "it is up"]);
    until_by(&other, STAGING, "row");
    assert_eq!((one.call(STAGING), other.call(STAGING)), ("486 staging".into(), "486 staging".into()));
}

/// Waits for a panic to be in effect.
fn one_panic(stage: &Stage) -> Value {
    until_by(stage, STAGING, "panic");
    stage.json(&["panic", "status"])["panic"].clone()
}

/// A server that goes on when this is dropped, so that a test that fails holds nobody up.
struct Frozen(&'static Server);

impl Frozen {
    fn new(server: &'static Server) -> Frozen {
        server.freeze();
        Frozen(server)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.0.thaw();
    }
}

async fn d3_d4_a_lease_ends_without_the_database(engine: Engine, network: u8) {
    let server = server(engine);
    let _alone = server.alone().await;
    let bench = Bench::make(server, None, "", |_| {}).await;
    bench.watcher.stop().await;
    let mut stage = migrated(&bench, network, "query_timeout = \"60s\"\n").await;
    let ends = |stage: &Stage| stage.json(&["did", "show", LEASED])["lease"]["ends_at_ms"].as_u64().unwrap();
    let is_in_time = |ended_at_ms: u64, ends_at_ms: u64| {
        let late_ms = u64::try_from(LATE.as_millis()).unwrap();
        assert!(ended_at_ms >= ends_at_ms && ended_at_ms - ends_at_ms < late_ms, "{ended_at_ms}, not {ends_at_ms}");
    };
    stage.done(&["did", "set", LEASED, "staging", "--for", "5s", "--reason", "frozen"]);
    let ends_at_ms = ends(&stage);
    let frozen = Frozen::new(server);
    assert_eq!(stage.call(LEASED), "486 staging");
    is_in_time(until_by(&stage, LEASED, "row"), ends_at_ms);
    assert_eq!(stage.call(LEASED), "486 prod");
    drop(frozen);
    // Dead, and the program is started again: the lease is in the snapshot, and ends as it says.
    stage.done(&["did", "set", LEASED, "staging", "--for", "12s", "--reason", "dead"]);
    let ends_at_ms = ends(&stage);
    stage.stop();
    server.kill();
    stage.start_again();
    if now_ms() < ends_at_ms - 2_000 {
        assert_eq!(stage.call(LEASED), "486 staging");
    }
    // Nothing can be written meanwhile, and who tries is told why.
    let (code, told) = stage.verb(&["did", "set", DID, "oss", "--reason", "x"]);
    assert_eq!(code, 6, "{told}");
    assert!(!told.contains("s3cret"), "{told}");
    is_in_time(until_by(&stage, LEASED, "row"), ends_at_ms);
    assert_eq!((stage.call(LEASED), stage.call(DID)), ("486 prod".into(), "486 prod".into()));
    server.start();
}

async fn d6_a_write_while_the_guard_holds_and_the_judgement(engine: Engine, network: u8) {
    let more = "[database.guard]\nlost_rows = 5\nlost_percent = 5\n";
    let bench = bench(engine, "").await;
    let mut stage = migrated(&bench, network, more).await;
    bench.write("DELETE FROM did_numbers WHERE number LIKE '%80659780%'").await;
    stage.said("held back");
    let held = stage.json(&["directory", "held"]);
    assert!(held["held"]["diff"]["dids"]["removed"].as_u64().unwrap() > 5, "{held}");
    assert_eq!(stage.call(DID), "486 prod");
    // A lease lies over the old table; a move is committed and waits with the rest.
    stage.done(&["did", "set", LEASED, "oss", "--for", "1h", "--reason", "held"]);
    assert_eq!(stage.call(LEASED), "486 oss");
    let (code, told) = stage.verb(&["did", "set", "+918065080700", "oss", "--reason", "held"]);
    assert!(code == 7 && told.contains("kept out with all that the guard holds back"), "{code} {told}");
    let (code, told) = stage.verb(&["did", "set", DID, "oss", "--reason", "its row is gone"]);
    assert!(code == 3 || code == 4, "{code} {told}");
    let (code, told) = stage.verb(&["directory", "accept", "--version", "0", "--reason", "x"]);
    assert_eq!(code, 4, "{told}");
    stage.done(&["directory", "reject", "--reason", "who did that?"]);
    assert_eq!(stage.json(&["directory", "held"])["held"]["is_rejected"], true);
    assert_eq!(stage.call(DID), "486 prod");
    stage.done(&["directory", "accept", "--reason", "the range was sold"]);
    assert_eq!(stage.call(DID), "404 nobody");
    assert_eq!(stage.call("+918065080700"), "486 oss");
    let audit = stage.json(&["audit", "list"]);
    let actions: Vec<&str> =
        audit["changes"].as_array().unwrap().iter().filter_map(|change| change["action"].as_str()).collect();
    assert_eq!(actions, ["accept", "reject", "set_environment", "lease"], "{audit}");
}

async fn an_account_that_may_only_read_is_told_so(engine: Engine, network: u8) {
    let bench = bench(engine, "").await;
    let mut stage = migrated(&bench, network, "").await;
    stage.done(&["did", "set", LEASED, "oss", "--for", "1h", "--reason", "as yet"]);
    let grantee = match engine {
        Engine::MariaDb => "switchyard@'127.0.0.1'",
        Engine::Postgres => "switchyard",
    };
    let take_away = format!(
        "REVOKE INSERT, UPDATE ON switchyard_leases FROM {grantee}; \
         REVOKE INSERT, UPDATE ON switchyard_panic FROM {grantee}; \
         REVOKE UPDATE (routing_environment) ON did_numbers FROM {grantee}"
    );
    {
        let _turn = bench.server.accounts.lock().await;
        bench.write(&take_away).await;
    }
    for arguments in [
        &["did", "set", DID, "oss", "--reason", "x"][..],
        &["did", "set", DID, "oss", "--for", "1h", "--reason", "x"],
        &["lease", "end", LEASED, "--reason", "x"],
        &["panic", "on", "--reason", "x"],
    ] {
        let (code, told) = stage.verb(arguments);
        assert_eq!(code, 6, "{arguments:?}: {told}");
        assert!(told.contains("denied") && !told.contains("s3cret"), "{arguments:?}: {told}");
    }
    assert_eq!((stage.call(DID), stage.call(LEASED)), ("486 prod".into(), "486 oss".into()));
    // It reads on, and what another changes is in effect.
    bench.write(MOVE).await;
    stage.said("1 moved");
    assert_eq!(stage.call(STAGING), "486 oss");
    let audit = stage.json(&["audit", "list"]);
    assert_eq!(audit["changes"].as_array().unwrap().len(), 1, "{audit}");
}
