use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::made_up::{ORG_A, ORG_B, any_rows, did, id, number, with_own_ids};
use crate::rows::text;
use crate::{Environment, Policy, Reason, Rows, build};

/// The rows of one table by their keys, as the database has them.
type Stored<R> = BTreeMap<RowKey, R>;

#[derive(Clone, Default)]
struct Database {
    dids: Stored<DidRow>,
    users: Stored<UserRow>,
    organisations: Stored<OrganisationRow>,
    trunks: Stored<TrunkRow>,
}

impl Database {
    fn rows(&self) -> Rows {
        Rows {
            dids: self.dids.values().cloned().collect(),
            users: self.users.values().cloned().collect(),
            organisations: self.organisations.values().cloned().collect(),
            trunks: self.trunks.values().cloned().collect(),
        }
    }

    fn take(&mut self, changes: &Changes) {
        store(&mut self.dids, &changes.dids, |row| &row.id);
        store(&mut self.users, &changes.users, |row| &row.id);
        store(&mut self.organisations, &changes.organisations, |row| &row.id);
        store(&mut self.trunks, &changes.trunks, |row| &row.id);
    }
}

fn store<R: Clone>(stored: &mut Stored<R>, changes: &[Change<R>], id: impl Fn(&R) -> &Cell) {
    for change in changes {
        let key = RowKey::of_cell(change.id(&id));
        match change {
            Change::Upsert(row) => drop(stored.insert(key, row.clone())),
            Change::Delete(_) => drop(stored.remove(&key)),
        }
    }
}

/// Rows as changes; those whose turn `is_deleted` says are deleted.
fn changes(rows: Rows, mut is_deleted: impl FnMut() -> bool) -> Changes {
    fn turn<R>(rows: Vec<R>, id: impl Fn(&R) -> &Cell, is_deleted: &mut impl FnMut() -> bool) -> Vec<Change<R>> {
        let change = |row: R| if is_deleted() { Change::Delete(id(&row).clone()) } else { Change::Upsert(row) };
        rows.into_iter().map(change).collect()
    }
    Changes {
        dids: turn(rows.dids, |row| &row.id, &mut is_deleted),
        users: turn(rows.users, |row| &row.id, &mut is_deleted),
        organisations: turn(rows.organisations, |row| &row.id, &mut is_deleted),
        trunks: turn(rows.trunks, |row| &row.id, &mut is_deleted),
    }
}

fn told(directory: &Directory) -> String {
    let dids: Vec<_> = directory.dids().collect();
    let users: Vec<_> = directory.users().collect();
    let organisations: Vec<_> = directory.organisations().collect();
    format!("{dids:#?}\n{users:#?}\n{organisations:#?}\n{:#?}", directory.faults())
}

/// What was counted while rows came and went is what the list has, and what a count of everything gives.
fn check_counts(directory: &Directory) -> Result<(), TestCaseError> {
    prop_assert_eq!(directory.fault_count(), directory.faults().len() as u64);
    for &reason in Reason::ALL {
        let listed = directory.faults().iter().filter(|fault| fault.reason == reason).count();
        prop_assert_eq!(directory.faults_of(reason) as usize, listed, "{}", reason);
    }
    prop_assert_eq!(directory.did_count(), directory.dids().count());
    prop_assert_eq!(directory.user_count(), directory.users().count());
    prop_assert_eq!(directory.organisation_count(), directory.organisations().count());
    prop_assert_eq!(directory.keys.len(), directory.did_count() + directory.losers.len());
    for user in directory.users().filter(|user| !user.endpoint.is_empty()) {
        prop_assert!(directory.user_by_endpoint(user.endpoint.as_bytes()).is_some());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    /// Whatever changes come after whatever rows, in however many steps, the result is that of a build from all rows.
    #[test]
    fn apply_says_what_a_build_says(
        start in any_rows(),
        steps in proptest::collection::vec((any_rows(), any::<u64>()), 1..5),
    ) {
        let mut database = Database::default();
        database.take(&changes(with_own_ids(start), || false));
        let policy = Policy::default();
        let mut applied = build(Generation(1), database.rows(), &policy, None);
        let mut built = build(Generation(1), database.rows(), &policy, None);
        for (generation, (rows, mut deletions)) in (2..).zip(steps) {
            let generation = Generation(generation);
            let next = || {
                deletions = deletions.rotate_right(1);
                deletions & 0x8000_0000 != 0
            };
            let changes = changes(rows, next);
            database.take(&changes);
            let before = told(&applied);
            let next = applied.apply(generation, &changes);
            prop_assert_eq!(told(&applied), before, "the old directory has changed");
            built = build(generation, database.rows(), &policy, Some(&built));
            prop_assert!(next.says_the_same(&built), "applied {}\nbuilt {}", told(&next), told(&built));
            prop_assert!(built.says_the_same(&next));
            check_counts(&next)?;
            check_counts(&built)?;
            for organisation in applied.organisations() {
                let place = next.organisation_by_uuid(organisation.uuid).map(|organisation| organisation.id);
                prop_assert!(place.is_none_or(|place| place == organisation.id), "an organisation moved");
                let place = built.organisation_by_uuid(organisation.uuid);
                prop_assert!(place.is_none() || place.map(|found| found.uuid) == Some(organisation.uuid));
            }
            prop_assert!(applied.difference(&next).is_empty() || !applied.says_the_same(&next));
            prop_assert_eq!(applied.difference(&next), applied.difference(&built));
            applied = next;
        }
    }
}

fn upsert<R>(row: R) -> Vec<Change<R>> {
    vec![Change::Upsert(row)]
}

fn standing() -> Directory {
    let organisations = vec![
        OrganisationRow::active(ORG_A, "Asha Clinics", "org_a1b2c3d4_"),
        OrganisationRow::active(ORG_B, "Brindavan Foods", "org_b2c3d4e5_"),
    ];
    let dids = (1..=3).map(|last| did(last, &format!("0806597800{last}"), Environment::Prod)).collect();
    let users = vec![UserRow::active(&id(9), ORG_B, "1001", "org_b2c3d4e5_1001")];
    build(Generation(1), Rows { organisations, dids, users, ..Rows::default() }, &Policy::default(), None)
}

#[test]
fn no_change_says_the_same_under_a_new_number() {
    let directory = standing();
    let next = directory.apply(Generation(2), &Changes::default());
    assert!(Changes::default().is_empty() && next.says_the_same(&directory));
    assert_eq!(next.generation(), Generation(2));
}

#[test]
fn the_first_assigned_did_follows_its_organisation() {
    let directory = standing();
    let first = |directory: &Directory| directory.organisation_by_uuid(ORG_A).unwrap().first_assigned_did;
    assert_eq!(first(&directory), Some(number("08065978001")));
    let gone = Changes { dids: vec![Change::Delete(text(&id(1)))], ..Changes::default() };
    let second = directory.apply(Generation(2), &gone);
    assert_eq!(first(&second), Some(number("08065978002")));
    let given = DidRow { org_id: text(ORG_B), ..did(2, "08065978002", Environment::Prod) };
    let third = second.apply(Generation(3), &Changes { dids: upsert(given), ..Changes::default() });
    assert_eq!(first(&third), Some(number("08065978003")));
    let back = did(7, "08065978000", Environment::Prod);
    let fourth = third.apply(Generation(4), &Changes { dids: upsert(back), ..Changes::default() });
    assert_eq!(first(&fourth), Some(number("08065978000")));
    assert_eq!(first(&directory), Some(number("08065978001")));
}

/// More organisations lose their first DID at once than are looked up one by one.
#[test]
fn many_organisations_find_their_first_assigned_dids_in_one_walk() {
    let org = |last: u32| format!("0000000a-0000-4000-8000-{last:012}");
    let organisations = (0..20).map(|last| OrganisationRow::active(&org(last), "name", "")).collect();
    let row = |last: u32, of: u32| DidRow {
        org_id: text(&org(of)),
        ..did(last, &format!("0806597{last:04}"), Environment::Prod)
    };
    let dids = (0..60).map(|last| row(last, last % 20)).collect();
    let rows = Rows { organisations, dids, ..Rows::default() };
    let directory = build(Generation(1), rows, &Policy::default(), None);
    let gone = (0..20).map(|last| Change::Delete(text(&id(last)))).collect();
    let next = directory.apply(Generation(2), &Changes { dids: gone, ..Changes::default() });
    for last in 0..20 {
        let first = next.organisation_by_uuid(&org(last)).unwrap().first_assigned_did;
        assert_eq!(first, Some(number(&format!("0806597{:04}", last + 20))));
    }
}

#[test]
fn users_wait_for_their_organisation_and_come_back_with_it() {
    let directory = standing();
    assert_eq!(directory.user_count(), 1);
    let gone = Changes { organisations: vec![Change::Delete(text(ORG_B))], ..Changes::default() };
    let without = directory.apply(Generation(2), &gone);
    assert_eq!((without.user_count(), without.user_by_endpoint(b"org_b2c3d4e5_1001")), (0, None));
    assert_eq!(without.faults_of(Reason::UnknownOrganisation), 1);
    let back = OrganisationRow::active(ORG_B, "Brindavan Foods", "org_b2c3d4e5_");
    let with = without.apply(Generation(3), &Changes { organisations: upsert(back), ..Changes::default() });
    assert!(with.says_the_same(&directory));
}

/// A row that turned bad is mended, or goes: its last good value stays until then.
#[test]
fn a_bad_row_keeps_its_value_until_it_is_mended() {
    let directory = standing();
    let bad = DidRow { routing_environment: text("lab"), ..did(1, "08065978001", Environment::Prod) };
    let second = directory.apply(Generation(2), &Changes { dids: upsert(bad), ..Changes::default() });
    let kept = second.did(number("08065978001")).unwrap();
    assert!(kept.kept_last_good && kept.environment == Environment::Prod);
    assert_eq!((second.fault_count(), directory.fault_count()), (1, 0));
    let mended = did(1, "08065978001", Environment::Oss);
    let third = second.apply(Generation(3), &Changes { dids: upsert(mended), ..Changes::default() });
    let did = third.did(number("08065978001")).unwrap();
    assert_eq!((did.environment, did.kept_last_good, third.fault_count()), (Environment::Oss, false, 0));
    let gone = Changes { dids: vec![Change::Delete(text(&id(1)))], ..Changes::default() };
    assert_eq!(second.apply(Generation(3), &gone).did(number("08065978001")), None);
}

#[test]
fn the_index_of_rows_grows_with_the_table() {
    let empty = build(Generation(1), Rows::default(), &Policy::default(), None);
    let dids = (0..2_000).map(|last| Change::Upsert(did(last, &format!("0806597{last:04}"), Environment::Prod)));
    let next = empty.apply(Generation(2), &Changes { dids: dids.collect(), ..Changes::default() });
    assert!(!next.keys.is_crowded());
    for last in 0..2_000 {
        assert_eq!(next.did_row_id(number(&format!("0806597{last:04}"))), Some(id(last)));
    }
}
