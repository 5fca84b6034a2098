use proptest::prelude::*;

use super::*;
use crate::made_up::{ORG_A, did, id, number};
use crate::rows::text;
use crate::{Change, Changes, DidChange, DidRow, Generation, OrganisationRow, Policy, Rows, UserRow, build};

fn spelled(last: u32) -> String {
    format!("0806597{last:04}")
}

fn standing(dids: u32) -> Directory {
    let organisations = vec![OrganisationRow::active(ORG_A, "Asha", "a_")];
    let dids = (0..dids).map(|last| did(last, &spelled(last), Environment::Prod)).collect();
    let users = vec![UserRow::active(&id(1), ORG_A, "1001", "a_1001")];
    build(Generation(1), Rows { organisations, dids, users, ..Rows::default() }, &Policy::default(), None)
}

fn without(directory: &Directory, dids: std::ops::Range<u32>) -> Directory {
    let dids = dids.map(|last| Change::Delete(text(&id(last)))).collect();
    directory.apply(Generation(2), &Changes { dids, ..Changes::default() })
}

fn with(directory: &Directory, dids: std::ops::Range<u32>, environment: Environment) -> Directory {
    let dids = dids.map(|last| Change::Upsert(did(last, &spelled(last), environment))).collect();
    directory.apply(Generation(2), &Changes { dids, ..Changes::default() })
}

fn reasons(verdict: &Verdict) -> Vec<HoldReason> {
    match verdict {
        Verdict::Pass { .. } => Vec::new(),
        Verdict::Hold(hold) => hold.reasons.clone(),
    }
}

/// Row D6: a mass deletion and an empty result are held.
#[test]
fn d6_a_table_that_lost_too_much_is_held() {
    let before = standing(1_000);
    let guard = Guard::new(GuardPolicy::default());
    let judge = |after: &Directory| reasons(&guard.judge(0, &before, after, &[]));
    assert_eq!(judge(&without(&before, 0..200)), []);
    let lost = |lost| HoldReason::RowsLost { table: Table::Dids, lost, allowed: 200 };
    assert_eq!(judge(&without(&before, 0..201)), [lost(201)]);
    assert_eq!(judge(&without(&before, 0..1_000)), [HoldReason::TableEmpty(Table::Dids), lost(1_000)]);
    assert_eq!(lost(201).to_string(), "did_numbers lost 201 rows, at most 200 may go unseen");
    match guard.judge(0, &before, &without(&before, 0..201), &[]) {
        Verdict::Hold(hold) => assert_eq!(hold.difference.dids.removed, 201),
        Verdict::Pass { .. } => panic!("201 of 1,000 rows lost"),
    }
    // A small table may lose 50 rows, but not all.
    let small = standing(40);
    assert_eq!(reasons(&guard.judge(0, &small, &without(&small, 0..39), &[])), []);
    let empty = [HoldReason::TableEmpty(Table::Dids)];
    assert_eq!(reasons(&guard.judge(0, &small, &without(&small, 0..40), &[])), empty);
    let no_users = Changes { users: vec![Change::Delete(text(&id(1)))], ..Changes::default() };
    let no_users = small.apply(Generation(2), &no_users);
    assert_eq!(reasons(&guard.judge(0, &small, &no_users, &[])), [HoldReason::TableEmpty(Table::Users)]);
}

#[test]
fn many_small_losses_count_like_a_large_one_until_the_window_has_passed() {
    let mut guard = Guard::new(GuardPolicy::default());
    let lost = [0, 100, 200, 280];
    let tables = lost.map(|lost| without(&standing(1_000), 0..lost));
    for (step, at_ms) in [(0, 0), (1, 200_000)] {
        let (before, after) = (&tables[step], &tables[step + 1]);
        assert_eq!(reasons(&guard.judge(at_ms, before, after, &[])), []);
        guard.admit(at_ms, before, after);
    }
    let third = |guard: &Guard, at_ms| reasons(&guard.judge(at_ms, &tables[2], &tables[3], &[]));
    let held = [HoldReason::RowsLost { table: Table::Dids, lost: 280, allowed: 200 }];
    assert_eq!(third(&guard, 400_000), held);
    assert_eq!(third(&guard, 599_999), held);
    assert_eq!(third(&guard, 600_000), [], "the first loss is ten minutes old");
    guard.reset();
    assert_eq!(third(&guard, 400_000), [], "an operator has accepted");
}

#[test]
fn rows_that_come_back_are_not_lost() {
    let before = standing(1_000);
    let mut guard = Guard::new(GuardPolicy::default());
    let gone = without(&before, 0..150);
    guard.admit(0, &before, &gone);
    assert_ne!(reasons(&guard.judge(1, &gone, &without(&gone, 150..300), &[])), []);
    let back = with(&gone, 0..150, Environment::Prod);
    assert_eq!(reasons(&guard.judge(1, &gone, &back, &[])), []);
    guard.admit(1, &gone, &back);
    assert_eq!(reasons(&guard.judge(2, &back, &without(&back, 150..300), &[])), []);
}

#[test]
fn moves_by_others_are_held_and_our_own_are_not() {
    let before = standing(1_000);
    let guard = Guard::new(GuardPolicy::default());
    let moved = with(&before, 0..101, Environment::Staging);
    let held = HoldReason::DidsMoved { moved: 101, allowed: 100 };
    assert_eq!(reasons(&guard.judge(0, &before, &moved, &[])), [held]);
    assert_eq!(held.to_string(), "others moved 101 DIDs between environments, at most 100 may be moved unseen");
    let own = |environment| OwnMove { number: number(&spelled(0)), environment };
    assert_eq!(reasons(&guard.judge(0, &before, &moved, &[own(Environment::Staging)])), []);
    assert_eq!(reasons(&guard.judge(0, &before, &moved, &[own(Environment::Oss)])), [held]);
    assert_eq!(reasons(&guard.judge(0, &before, &with(&before, 0..100, Environment::Oss), &[])), []);
}

#[test]
fn the_first_directory_is_never_held() {
    let guard = Guard::new(GuardPolicy::default());
    assert_eq!(reasons(&guard.judge(0, &Directory::empty(), &standing(0), &[])), []);
}

#[test]
fn the_loss_of_an_only_default_is_a_warning() {
    let default = DidRow { is_default: text("1"), ..did(0, &spelled(0), Environment::Prod) };
    let dids = vec![Change::Upsert(default)];
    let before = standing(10).apply(Generation(2), &Changes { dids, ..Changes::default() });
    let after = with(&before, 0..1, Environment::Prod);
    let warning = Warning::LostOnlyDefault { organisation: ORG_A.to_owned() };
    assert_eq!(warning.to_string(), format!("organisation {ORG_A} has lost its only default DID"));
    let guard = Guard::new(GuardPolicy::default());
    assert_eq!(guard.judge(0, &before, &after, &[]), Verdict::Pass { warnings: vec![warning] });
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 48, ..ProptestConfig::default() })]

    /// Whatever comes in whatever steps and at whatever times: what passes never adds up to more than is allowed within
    /// a window, judging changes nothing, and what was held would have been too much.
    #[test]
    fn what_passes_stays_within_the_limits(
        steps in proptest::collection::vec((0_u64..300_000, 0_u32..400, 1_u32..80, 0_usize..4), 1..12),
    ) {
        let policy = GuardPolicy::default();
        let mut guard = Guard::new(policy);
        let mut history = vec![(0_u64, standing(400))];
        let mut now_ms = 0;
        for (later_ms, first, count, what) in steps {
            now_ms += later_ms;
            let current = &history.last().unwrap().1;
            let range = first..(first + count).min(400);
            let next = match Environment::ALL.get(what) {
                Some(&environment) => with(current, range, environment),
                None => without(current, range),
            };
            let verdict = guard.judge(now_ms, current, &next, &[]);
            prop_assert_eq!(&guard.judge(now_ms, current, &next, &[]), &verdict);
            let window = history.iter().rev().take_while(|(at_ms, _)| now_ms - at_ms < policy.window_ms);
            for (_, past) in window.chain(history.last()) {
                let difference = past.difference(&next);
                // A DID that came back to where it once was may count for nothing; one that is where it never was counts.
                let is_new = |change: &&DidChange| {
                    let now = change.after.as_ref().map(|facts| facts.environment);
                    let was = |past: &Directory| past.did(change.number).map(|did| did.environment);
                    now.is_some() && change.before.is_some() && history.iter().all(|(_, past)| was(past) != now)
                };
                let moved = difference.listed.iter().filter(is_new).count();
                if difference.dids.removed > 80 || moved > 50 {
                    prop_assert!(matches!(verdict, Verdict::Hold(_)), "at {}: {:?}", now_ms, verdict);
                }
            }
            if let Verdict::Pass { .. } = verdict {
                guard.admit(now_ms, current, &next);
                history.push((now_ms, next));
            }
        }
    }
}
