//! Writes with the proxy's own account, and what it has of rights.

use directory::{GuardPolicy, Policy};
use sync::changes::Writes;
use sync::{CallRow, CallTable, Detection, Settings};

use crate::bench::{Bench, execute};
use crate::detection::install;
use crate::reading::on_each_engine;
use crate::server::Engine;
use crate::writes_body as body;

on_each_engine! {
    without_our_tables_each_verb_says_so,
    writes_with_a_change_log,
    writes_by_comparison,
    a_lease_of_another_node_is_seen,
    d6_moves_of_another_node_are_not_others,
    records_of_calls_are_inserted_once_with_no_other_right,
}

fn settings(bench: &Bench) -> Settings {
    Settings::new(bench.server.url("switchyard:s3cret", bench.server.port, &bench.database), Policy::default())
}

async fn without_our_tables_each_verb_says_so(engine: Engine) {
    let bench = Bench::start(engine).await;
    body::without_our_tables_each_verb_says_so(&settings(&bench), &bench.watcher).await;
}

async fn writes_with_a_change_log(engine: Engine) {
    writes(engine, Detection::ChangeLog).await;
}

async fn writes_by_comparison(engine: Engine) {
    writes(engine, Detection::Compare).await;
}

async fn writes(engine: Engine, detection: Detection) {
    let bench = Bench::start(engine).await;
    install(&bench, sync::Mapping::default()).await;
    bench.watcher.stop().await;
    let bench = bench.again(|settings| settings.detection = detection).await;
    assert_eq!(bench.watcher.status().fault, None);
    let desk = || Writes::new(&settings(&bench), bench.watcher.clone()).unwrap();
    body::a_move_is_live_when_it_is_answered(&desk(), &desk(), &bench.watcher).await;
    body::a_lease_lies_over_the_row_and_ends_by_itself(&desk(), &desk(), &bench.watcher).await;
    body::of_many_at_once_one_wins(desk(), desk(), &bench.watcher).await;
    body::testers_and_panic_have_their_order(&desk(), &bench.watcher).await;
    body::of_many_moves_each_has_an_outcome_of_its_own(&desk(), &bench.watcher).await;
    body::the_audit_is_read_page_by_page(&desk()).await;
    bench.write(body::AUDIT_OF_AN_EARLIER_VERSION).await;
    body::an_audit_of_an_earlier_version_is_written_without_origins(&desk()).await;
    install(&bench, sync::Mapping::default()).await;
    body::an_extended_audit_has_origins(&desk()).await;
    body::who_goes_away_leaves_no_transaction_open(&desk()).await;
    // The proxy's account may move a DID, and change nothing else of the PBX's.
    let own = bench.server.url("switchyard:s3cret", bench.server.port, &bench.database);
    for statement in [
        "UPDATE did_numbers SET org_id = NULL",
        "DELETE FROM did_numbers",
        "UPDATE users SET outbound_did = NULL",
        "DELETE FROM switchyard_audit",
        "UPDATE switchyard_audit SET made_by = 'nobody'",
    ] {
        assert!(execute(bench.server, &own, statement).await.is_err(), "{statement}");
    }
}

/// Two nodes share the database alone: a lease that one makes is in effect on the other.
async fn a_lease_of_another_node_is_seen(engine: Engine) {
    let bench = Bench::start(engine).await;
    install(&bench, sync::Mapping::default()).await;
    let other = sync::start(settings(&bench)).await.unwrap();
    let mut bench = bench.again(|_| {}).await;
    let desk = Writes::new(&settings(&bench), other).unwrap();
    let did = crate::bench::number("+918065978004");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let ends_at_ms = u64::try_from(now.as_millis()).unwrap() + 60_000;
    let lease = directory::Lease { number: did, environment: directory::Environment::Oss, ends_at_ms };
    let by = sync::changes::By::new("Meera", "two nodes");
    desk.lease(lease, None, &by).await.unwrap();
    bench
        .until(|directory| {
            directory.route(did, None).is_some_and(|routed| routed.environment == directory::Environment::Oss)
        })
        .await;
}

/// Two nodes share the database alone: what one moves counts as nobody else's in the guard of the other.
async fn d6_moves_of_another_node_are_not_others(engine: Engine) {
    let bench = Bench::start(engine).await;
    install(&bench, sync::Mapping::default()).await;
    let guard = Some(GuardPolicy { moved_dids: 1, moved_percent: 0, ..GuardPolicy::default() });
    let settings = Settings { guard, ..settings(&bench) };
    let (node, other) = (sync::start(settings.clone()).await.unwrap(), sync::start(settings.clone()).await.unwrap());
    let desk = Writes::new(&settings, node).unwrap();
    body::d6_moves_of_another_node_are_not_others(&desk, &other, async |script| bench.write(script).await).await;
}

/// The table is not there at first; the same rows come twice; and whoever inserts can neither read, change nor remove.
async fn records_of_calls_are_inserted_once_with_no_other_right(engine: Engine) {
    let bench = Bench::start(engine).await;
    let row = |id: usize| CallRow {
        id: format!("{id}-it's \\ \"one\""),
        called: "+918065978000".to_owned(),
        began_at_ms: 1_800_000_000_000,
        outcome: "busy".to_owned(),
        status: Some(486),
        record: "{\"caller\":\"Mé'era \\u0000 \u{1f4de}\"}".to_owned(),
        ..CallRow::default()
    };
    let rows: Vec<CallRow> = (0..512).map(row).collect();
    let mut table = CallTable::new(&settings(&bench)).unwrap();
    let fault = table.insert(&rows).await.unwrap_err().to_string();
    assert!(fault.contains("switchyard_calls") && !fault.contains("918065978000"), "{fault}");
    install(&bench, sync::Mapping::default()).await;
    table.insert(&rows).await.unwrap();
    table.insert(&rows).await.unwrap();
    table.insert(&[row(0), row(512)]).await.unwrap();
    // A constraint that does not hold is refused.
    let good =
        "SELECT id FROM switchyard_calls WHERE status = 486 AND called = '+918065978000' AND ended_at_ms IS NULL";
    let counted = format!("CREATE TABLE counted AS SELECT COUNT(*) AS rows_found FROM ({good}) AS good_rows");
    execute(bench.server, &bench.root_url(), &counted).await.unwrap();
    let check = "ALTER TABLE counted ADD CONSTRAINT all_of_them CHECK (rows_found = 513)";
    execute(bench.server, &bench.root_url(), check).await.unwrap();
    let own = bench.server.url("switchyard:s3cret", bench.server.port, &bench.database);
    for statement in [
        "SELECT id FROM switchyard_calls",
        "DELETE FROM switchyard_calls",
        "UPDATE switchyard_calls SET outcome = 'answered'",
        "DROP TABLE switchyard_calls",
    ] {
        assert!(execute(bench.server, &own, statement).await.is_err(), "{statement}");
    }
}
