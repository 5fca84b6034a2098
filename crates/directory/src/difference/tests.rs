use super::*;
use crate::made_up::{ORG_A, ORG_B, did, id, number};
use crate::rows::text;
use crate::{Change, Changes, DidRow, Generation, OrganisationRow, Policy, Rows, UserRow, build};

fn standing(dids: u32) -> Directory {
    let organisations = vec![OrganisationRow::active(ORG_A, "Asha", "a_"), OrganisationRow::active(ORG_B, "B", "b_")];
    let dids = (0..dids).map(|last| did(last, &format!("0806597{last:04}"), Environment::Prod)).collect();
    let users = vec![UserRow::active(&id(1), ORG_A, "1001", "a_1001")];
    build(Generation(1), Rows { organisations, dids, users, ..Rows::default() }, &Policy::default(), None)
}

#[test]
fn every_kind_of_difference_is_counted_and_listed() {
    let before = standing(10);
    let row = |last: u32| did(last, &format!("0806597{last:04}"), Environment::Prod);
    let dids = vec![
        Change::Upsert(DidRow { routing_environment: text("oss"), ..row(2) }),
        Change::Upsert(DidRow { org_id: text(ORG_B), ..row(3) }),
        Change::Upsert(DidRow { updated_at: text("2026-05-16 10:00:00"), ..row(4) }),
        Change::Upsert(row(11)),
        Change::Delete(text(&id(7))),
    ];
    let suspended = OrganisationRow { status: text("suspended"), ..OrganisationRow::active(ORG_A, "Asha", "a_") };
    let changes = Changes {
        dids,
        users: vec![Change::Delete(text(&id(1)))],
        organisations: vec![Change::Upsert(suspended)],
        ..Changes::default()
    };
    let after = before.apply(Generation(2), &changes);
    let difference = before.difference(&after);
    assert_eq!(difference.dids, Tally { added: 1, removed: 1, moved: 1, changed: 1 });
    let expected = "DIDs: 1 added, 1 removed, 1 moved, 1 changed; users: 1 removed; organisations: 1 changed";
    assert_eq!(difference.to_string(), expected);
    let listed: Vec<Number> = difference.listed.iter().map(|change| change.number).collect();
    assert_eq!(listed, ["08065970002", "08065970003", "08065970007", "08065970011"].map(number));
    let given = &difference.listed[1];
    let organisation = |facts: &Option<DidFacts>| facts.as_ref().unwrap().organisation.clone();
    assert_eq!(organisation(&given.before).as_deref(), Some(ORG_A));
    assert_eq!(organisation(&given.after).as_deref(), Some(ORG_B));
    assert!(difference.listed[2].after.is_none() && difference.listed[3].before.is_none());
    let back = after.difference(&before);
    assert_eq!((back.dids.added, back.dids.removed, back.users.added), (1, 1, 1));
}

#[test]
fn there_is_none_between_equals() {
    let directory = standing(3);
    assert!(directory.difference(&standing(3)).is_empty());
    assert_eq!(directory.difference(&directory).to_string(), "no difference");
}

/// The list is bounded, the count is not.
#[test]
fn beyond_the_limit_differences_are_only_counted() {
    let difference = standing(0).difference(&standing(3_000));
    assert_eq!((difference.dids.added, difference.listed.len()), (3_000, CHANGES_LISTED_MAX));
}
