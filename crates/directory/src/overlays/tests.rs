use super::*;
use crate::made_up::{ORG_A, ORG_B, did, number};
use crate::rows::text;
use crate::{DidRow, OrganisationRow, Policy, Rows, build};

const CALLER: &str = "+447700900001";

fn standing() -> Directory {
    let organisations =
        vec![OrganisationRow::active(ORG_A, "Asha", ""), OrganisationRow::active(ORG_B, "Brindavan", "")];
    let mut dids: Vec<DidRow> = (1..=4).map(|last| did(last, &format!("0806597800{last}"), Environment::Oss)).collect();
    dids[3].org_id = text(ORG_B);
    build(Generation(1), Rows { organisations, dids, ..Rows::default() }, &Policy::default(), None)
}

fn tester(subject: Subject, environment: Environment) -> Tester {
    Tester { caller: number(CALLER), subject, environment, ends_at_ms: 1_000 }
}

fn lease(spelling: &str, environment: Environment, ends_at_ms: u64) -> Lease {
    Lease { number: number(spelling), environment, ends_at_ms }
}

fn route(directory: &Directory, spelling: &str, caller: Option<&str>) -> (Environment, RoutedBy) {
    let routed = directory.route(number(spelling), caller.map(number)).unwrap();
    assert_eq!(Some(routed.did), directory.did(number(spelling)));
    (routed.environment, routed.by)
}

#[test]
fn the_order_of_force_is_panic_tester_lease_row() {
    let rows = standing();
    let mut overlays = Overlays::default();
    let under = |overlays: &Overlays| rows.with_overlays(Generation(2), overlays.clone());
    let asked = |directory: &Directory| route(directory, "08065978001", Some(CALLER));
    assert_eq!(asked(&under(&overlays)), (Environment::Oss, RoutedBy::Row));
    overlays.leases.push(lease("08065978001", Environment::Prod, 500));
    assert_eq!(asked(&under(&overlays)), (Environment::Prod, RoutedBy::Lease));
    overlays.testers.push(tester(Subject::Organisation(ORG_A.to_uppercase()), Environment::Oss));
    assert_eq!(asked(&under(&overlays)), (Environment::Oss, RoutedBy::Tester));
    overlays.testers.push(tester(Subject::Did(number("08065978001")), Environment::Staging));
    let directory = under(&overlays);
    assert_eq!(asked(&directory), (Environment::Staging, RoutedBy::Tester), "a DID before its organisation");
    assert_eq!(route(&directory, "08065978001", None), (Environment::Prod, RoutedBy::Lease));
    assert_eq!(route(&directory, "08065978001", Some("+447700900002")), (Environment::Prod, RoutedBy::Lease));
    assert_eq!(route(&directory, "08065978002", Some(CALLER)), (Environment::Oss, RoutedBy::Tester));
    assert_eq!(route(&directory, "08065978004", Some(CALLER)), (Environment::Oss, RoutedBy::Row), "another's DID");
    overlays.panic = Some(Panic { ends_at_ms: None });
    assert_eq!(asked(&under(&overlays)), (Environment::Prod, RoutedBy::Panic));
    assert_eq!(rows.overlays(), &Overlays::default());
}

#[test]
fn no_overlay_makes_a_did() {
    let leases = vec![lease("08065978009", Environment::Prod, 500)];
    let directory = standing().with_overlays(Generation(2), Overlays { leases, ..Overlays::default() });
    assert_eq!(directory.route(number("08065978009"), None), None);
    assert_eq!(directory.generation(), Generation(2));
}

#[test]
fn of_two_leases_the_one_that_ends_last_counts() {
    let leases = [lease("08065978001", Environment::Prod, 500), lease("08065978001", Environment::Staging, 900)];
    for leases in [vec![leases[0], leases[1]], vec![leases[1], leases[0]]] {
        let directory = standing().with_overlays(Generation(2), Overlays { leases, ..Overlays::default() });
        assert_eq!(route(&directory, "08065978001", None), (Environment::Staging, RoutedBy::Lease));
    }
}

/// Rows change and organisations come under overlays that stand: an organisation that was not there is one all the same.
#[test]
fn overlays_stay_when_rows_change() {
    let subject = "0000000c-0000-4000-8000-c3d4e5f60000";
    let testers = vec![tester(Subject::Organisation(subject.to_owned()), Environment::Staging)];
    let overlays = Overlays { testers, ..Overlays::default() };
    let directory = standing().with_overlays(Generation(2), overlays.clone());
    let row = DidRow { org_id: text(subject), ..did(9, "08065978009", Environment::Prod) };
    let changes = crate::Changes { dids: vec![crate::Change::Upsert(row.clone())], ..crate::Changes::default() };
    let applied = directory.apply(Generation(3), &changes);
    assert_eq!(route(&applied, "08065978009", Some(CALLER)), (Environment::Staging, RoutedBy::Tester));
    let rows = Rows { dids: vec![row], ..Rows::default() };
    let rebuilt = build(Generation(4), rows, &Policy::default(), Some(&applied));
    assert_eq!((rebuilt.overlays(), applied.overlays()), (&overlays, &overlays));
    assert_eq!(route(&rebuilt, "08065978009", Some(CALLER)), (Environment::Staging, RoutedBy::Tester));
}

#[test]
fn an_overlay_is_over_when_its_end_has_come() {
    let overlays = Overlays {
        panic: Some(Panic { ends_at_ms: Some(2_000) }),
        testers: vec![tester(Subject::Did(number("08065978001")), Environment::Prod)],
        leases: vec![lease("08065978001", Environment::Prod, 500), lease("08065978002", Environment::Prod, 1_500)],
    };
    let mut ends = Vec::new();
    let mut left = overlays;
    while let Some(end) = left.next_end() {
        assert_eq!(left.without_ended(end - 1), left);
        left = left.without_ended(end);
        ends.push(end);
    }
    assert_eq!((ends, left), (vec![500, 1_000, 1_500, 2_000], Overlays::default()));
    let until_released = Overlays { panic: Some(Panic { ends_at_ms: None }), ..Overlays::default() };
    assert_eq!((until_released.next_end(), &until_released.without_ended(u64::MAX)), (None, &until_released));
}

#[test]
fn more_overlays_than_a_directory_takes_are_named() {
    let leases = |count: usize| Overlays {
        leases: vec![lease("08065978001", Environment::Prod, 500); count],
        ..Overlays::default()
    };
    assert_eq!(leases(LEASES_MAX).check(), Ok(()));
    let fault = leases(LEASES_MAX + 1).check().unwrap_err();
    assert_eq!(fault.to_string(), "found 100001 leases, expected at most 100000");
    let testers = vec![tester(Subject::Did(number("08065978001")), Environment::Prod); TESTERS_MAX + 1];
    let fault = Overlays { testers, ..Overlays::default() }.check().unwrap_err();
    assert_eq!((fault.what, fault.most), ("testers", TESTERS_MAX));
}
