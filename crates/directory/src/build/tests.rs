use proptest::prelude::*;

use super::*;
use crate::made_up::{ORG_A, ORG_B, any_rows, did, id, number, spelled, with_own_ids};
use crate::{Environment, OrganisationStatus, PoolStates, PoolStatus, Service, Status};

fn two_organisations() -> Rows {
    let organisations = vec![
        OrganisationRow::active(ORG_A, "Asha Clinics", "org_a1b2c3d4_"),
        OrganisationRow::active(ORG_B, "Brindavan Foods", "org_b2c3d4e5_"),
    ];
    Rows { organisations, ..Rows::default() }
}

fn built(rows: Rows) -> Directory {
    build(Generation(1), rows, &Policy::default(), None)
}

fn rebuilt(rows: Rows, previous: &Directory) -> Directory {
    build(Generation(2), rows, &Policy::default(), Some(previous))
}

fn reasons(directory: &Directory) -> Vec<(Reason, Effect)> {
    directory.faults().iter().map(|fault| (fault.reason, fault.effect)).collect()
}

#[test]
fn an_empty_directory_is_not_a_loaded_one_without_rows() {
    assert!(!Directory::empty().is_loaded());
    let loaded = built(Rows::default());
    assert!(loaded.is_loaded());
    assert_eq!((loaded.generation(), loaded.did_count(), loaded.fault_count()), (Generation(1), 0, 0));
    assert!(!loaded.says_the_same(&Directory::empty()));
}

#[test]
fn a_did_is_found_by_its_number_however_its_row_spells_it() {
    let spellings =
        ["+918065978002", "918065978003", "08065978004", "8065978005", "+91 80-6597 8006", "00918065978007"];
    let mut rows = two_organisations();
    rows.dids = (0..).zip(spellings).map(|(last, spelling)| did(last, spelling, Environment::Staging)).collect();
    let directory = built(rows);
    assert_eq!(directory.faults(), []);
    for last in 8002..=8007 {
        let found = directory.did(number(&format!("+91806597{last}"))).unwrap();
        assert_eq!((found.environment, found.service), (Environment::Staging, Service::InService));
        assert_eq!(directory.organisation(found.organisation().unwrap()).name, "Asha Clinics");
    }
    assert_eq!(directory.did(number("+918065978008")), None);
    let numbers: Vec<u64> = directory.dids().map(|did| did.number.digits()).collect();
    assert_eq!(numbers, (918_065_978_002..=918_065_978_007).collect::<Vec<_>>());
}

#[test]
fn service_names_the_first_reason_that_keeps_a_did_from_calls() {
    let service = |status: &str, pool: &str, organisation: &str, pool_states: PoolStates| {
        let mut rows = two_organisations();
        rows.organisations[0].status = text(organisation);
        let row = did(1, "08065978002", Environment::Prod);
        rows.dids = vec![DidRow { status: text(status), pool_status: text(pool), ..row }];
        let policy = Policy { pool_states, ..Policy::default() };
        build(Generation(1), rows, &policy, None).did(number("08065978002")).unwrap().service
    };
    let assigned = PoolStates::default();
    assert_eq!(service("active", "assigned", "active", assigned), Service::InService);
    assert_eq!(service("ported", "available", "deleted", assigned), Service::NotActive(Status::Ported));
    assert_eq!(service("active", "pending", "deleted", assigned), Service::NotAssigned(PoolStatus::Pending));
    assert_eq!(service("active", "assigned", "suspended", assigned), Service::OrganisationNotActive);
    assert_eq!(service("active", "assigned", "deleted", assigned), Service::OrganisationNotActive);
    let both = PoolStates::new(&[PoolStatus::Assigned, PoolStatus::Reserved]);
    assert_eq!(service("active", "reserved", "active", both), Service::InService);
}

/// A call's route depends on the row of its DID alone: no other row, and no missing one, takes it out of service.
#[test]
fn an_assigned_did_without_a_known_organisation_is_routed_and_listed() {
    let mut rows = two_organisations();
    rows.dids = vec![
        DidRow { org_id: None, ..did(1, "08065978002", Environment::Oss) },
        DidRow { org_id: text("0000000e-0000-4000-8000-000000000000"), ..did(2, "08065978003", Environment::Oss) },
        DidRow { org_id: None, pool_status: text("available"), ..did(3, "08065978004", Environment::Oss) },
    ];
    let directory = built(rows);
    for spelling in ["08065978002", "08065978003"] {
        let found = directory.did(number(spelling)).unwrap();
        assert_eq!(
            (found.service, found.environment, found.organisation()),
            (Service::InService, Environment::Oss, None)
        );
    }
    let expected = [(Reason::NoOrganisation, Effect::Noted), (Reason::UnknownOrganisation, Effect::Noted)];
    assert_eq!(reasons(&directory), expected);
    assert_eq!(directory.faults()[1].found, "0000000e-0000-4000-8000-000000000000");
}

#[test]
fn of_two_rows_of_one_number_the_written_rule_decides() {
    let decide = |a: DidRow, b: DidRow| {
        let mut rows = two_organisations();
        rows.dids = vec![a, b];
        let forward = built(rows.clone());
        rows.dids.reverse();
        let backward = built(rows);
        assert!(forward.says_the_same(&backward), "the order of rows decided");
        assert_eq!(reasons(&forward), [(Reason::Duplicate, Effect::OtherRowInEffect)]);
        assert_eq!(forward.did_count(), 1);
        forward.did(number("08065978002")).unwrap().environment
    };
    let at = |time: &str, row: DidRow| DidRow { updated_at: text(time), ..row };
    let prod = || did(2, "08065978002", Environment::Prod);
    let staging = || did(1, "+918065978002", Environment::Staging);
    // Assigned and active before newer.
    let free = DidRow { pool_status: text("available"), ..staging() };
    assert_eq!(decide(at("2026-05-01 09:00:00", prod()), at("2026-05-02 09:00:00", free)), Environment::Prod);
    let ported = DidRow { status: text("ported"), ..staging() };
    assert_eq!(decide(at("2026-05-01 09:00:00", prod()), at("2026-05-02 09:00:00", ported)), Environment::Prod);
    // Newer before the lower id.
    assert_eq!(decide(at("2026-05-02 09:00:00", prod()), at("2026-05-01 09:00:00", staging())), Environment::Prod);
    assert_eq!(decide(at("2026-05-01 09:00:00", prod()), staging()), Environment::Prod);
    // The lower id at last.
    assert_eq!(decide(prod(), staging()), Environment::Staging);
    assert_eq!(decide(DidRow { id: text("9"), ..prod() }, DidRow { id: text("8"), ..staging() }), Environment::Staging);
}

#[test]
fn a_conflict_names_both_rows() {
    let mut rows = two_organisations();
    rows.dids = vec![did(1, "08065978002", Environment::Prod), did(2, "918065978002", Environment::Oss)];
    let directory = built(rows);
    let expected = format!(
        "did_numbers {}: number: found 918065978002, expected a number of its own: row {} has it (duplicate; another row \
         in effect)",
        id(2),
        id(1)
    );
    assert_eq!(directory.faults()[0].to_string(), expected);
}

#[test]
fn a_row_that_turned_bad_keeps_its_last_good_value_and_a_new_bad_one_is_absent() {
    let mut rows = two_organisations();
    rows.dids = vec![
        DidRow { call_limit: text("3"), provider: text("tata"), ..did(1, "08065978002", Environment::Oss) },
        did(2, "08065978003", Environment::Prod),
    ];
    let first = built(rows.clone());
    rows.dids[0].routing_environment = text("lab");
    rows.dids.push(did(3, "no number", Environment::Prod));
    // Places and interned texts may move from one directory to the next.
    rows.organisations.insert(0, OrganisationRow::active("00000000-0000-4000-8000-000000000001", "Zero", ""));
    rows.dids.push(DidRow { provider: text("airtel"), ..did(4, "08065978004", Environment::Prod) });
    let second = rebuilt(rows.clone(), &first);
    let kept = second.did(number("08065978002")).unwrap();
    assert!(kept.kept_last_good);
    assert_eq!((kept.environment, kept.call_limit(), kept.provider()), (Environment::Oss, 3, Some("tata")));
    assert_eq!(second.organisation(kept.organisation().unwrap()).name, "Asha Clinics");
    let expected = [(Reason::UnknownWord, Effect::LastGoodKept), (Reason::BadNumber, Effect::RowAbsent)];
    assert_eq!(reasons(&second), expected);
    // Still bad: still kept. Without what went before: absent.
    assert!(rebuilt(rows.clone(), &second).says_the_same(&second));
    assert_eq!(built(rows.clone()).did(number("08065978002")), None);
    // Mended, and gone.
    rows.dids[0].routing_environment = text("staging");
    let mended = rebuilt(rows.clone(), &second);
    let did = mended.did(number("08065978002")).unwrap();
    assert_eq!((did.environment, did.kept_last_good), (Environment::Staging, false));
    rows.dids.remove(0);
    assert_eq!(rebuilt(rows, &second).did(number("08065978002")), None);
}

#[test]
fn a_kept_value_takes_part_in_a_conflict_like_the_row_it_was() {
    let mut rows = two_organisations();
    let free = DidRow { pool_status: text("available"), ..did(2, "08065978002", Environment::Oss) };
    rows.dids = vec![did(1, "+918065978002", Environment::Staging), free];
    let first = built(rows.clone());
    rows.dids[0].routing_environment = None;
    let second = rebuilt(rows.clone(), &first);
    assert_eq!(second.did(number("08065978002")).unwrap().environment, Environment::Staging);
    // The number of the bad row now belongs to a better one.
    rows.dids[1].pool_status = text("assigned");
    rows.dids[1].updated_at = text("2026-05-02 09:00:00");
    let third = rebuilt(rows, &second);
    let did = third.did(number("08065978002")).unwrap();
    assert_eq!((did.environment, did.kept_last_good), (Environment::Oss, false));
}

#[test]
fn organisations_and_users_keep_their_last_good_values_too() {
    let mut rows = two_organisations();
    rows.organisations[0].limits = text(r#"{"concurrent_calls": 5}"#);
    rows.users = vec![UserRow::active(&id(1), ORG_A, "1001", "org_a1b2c3d4_1001")];
    rows.dids = vec![did(1, "08065978002", Environment::Prod)];
    let first = built(rows.clone());
    rows.organisations[0].status = text("paused");
    rows.users[0].status = None;
    let second = rebuilt(rows.clone(), &first);
    let user = second.user_by_endpoint(b"org_a1b2c3d4_1001").unwrap();
    assert!(user.kept_last_good && user.is_active);
    let organisation = second.organisation(user.organisation);
    assert_eq!((organisation.status, organisation.kept_last_good), (OrganisationStatus::Active, true));
    assert_eq!(organisation.limits.concurrent_calls, Some(5));
    assert_eq!(organisation.first_assigned_did, Some(number("08065978002")));
    // Limits alone turned bad: only they are kept.
    rows.organisations[0].status = text("suspended");
    rows.organisations[0].limits = text("{");
    let third = rebuilt(rows.clone(), &second);
    let organisation = third.organisation_by_uuid(ORG_A).unwrap();
    assert_eq!((organisation.status, organisation.kept_last_good), (OrganisationStatus::Suspended, false));
    assert_eq!(organisation.limits.concurrent_calls, Some(5));
    assert_eq!(built(rows).organisation_by_uuid(ORG_A).unwrap().limits.concurrent_calls, None);
}

#[test]
fn of_two_defaults_the_lowest_usable_number_wins_and_the_other_is_listed() {
    let default = |row: DidRow| DidRow { is_default: text("1"), ..row };
    let mut rows = two_organisations();
    rows.dids = vec![
        default(did(1, "08065978009", Environment::Prod)),
        default(did(2, "08065978005", Environment::Prod)),
        DidRow { status: text("inactive"), ..default(did(3, "08065978003", Environment::Prod)) },
        did(4, "08065978004", Environment::Prod),
        DidRow { pool_status: text("reserved"), ..did(5, "08065978002", Environment::Prod) },
    ];
    let directory = built(rows.clone());
    let organisation = directory.organisation_by_uuid(&ORG_A.to_uppercase()).unwrap();
    assert_eq!(organisation.default_did, Some(number("08065978005")));
    assert_eq!(organisation.first_assigned_did, Some(number("08065978004")));
    assert_eq!(reasons(&directory), [(Reason::TwoDefaults, Effect::ValueIgnored); 2]);
    assert!(directory.faults()[0].expected.contains("918065978005"));
    // None usable: the lowest marked one, so that whoever asks can say why it is refused.
    rows.dids.drain(..2);
    assert_eq!(built(rows).organisation_by_uuid(ORG_A).unwrap().default_did, Some(number("08065978003")));
    assert_eq!(directory.organisation_by_uuid(ORG_B).unwrap().default_did, None);
}

#[test]
fn an_outbound_did_of_someone_else_is_kept_and_listed() {
    let mut rows = two_organisations();
    let foreign = DidRow { org_id: text(ORG_B), ..did(2, "08065978003", Environment::Prod) };
    rows.dids = vec![did(1, "08065978002", Environment::Prod), foreign];
    let user = |last: u32, outbound: &str| UserRow {
        outbound_did: text(outbound),
        ..UserRow::active(&id(last), ORG_A, &last.to_string(), &format!("org_a1b2c3d4_{last}"))
    };
    rows.users = vec![
        user(1001, "+918065978002"),
        user(1002, "08065978003"),
        user(1003, "+447700900001"),
        user(1004, "front desk"),
        user(1005, " "),
    ];
    let directory = built(rows);
    let outbound = |extension: &str| {
        let organisation = directory.organisation_by_uuid(ORG_A).unwrap().id;
        directory.user_by_extension(organisation, extension.as_bytes()).unwrap().outbound_did
    };
    assert_eq!(outbound("1001"), Some(number("08065978002")));
    assert_eq!(outbound("1002"), Some(number("08065978003")));
    assert_eq!(outbound("1003"), Some(number("+447700900001")));
    assert_eq!((outbound("1004"), outbound("1005")), (None, None));
    let expected = [
        (Reason::ForeignDid, Effect::Noted),
        (Reason::UnknownDid, Effect::Noted),
        (Reason::BadNumber, Effect::ValueIgnored),
    ];
    assert_eq!(reasons(&directory), expected);
}

#[test]
fn users_are_found_by_endpoint_username_and_extension() {
    let named = |last: u32, org: &str, extension: &str, username: &str| UserRow {
        username: text(username),
        ..UserRow::active(&id(last), org, extension, &format!("endpoint_{last}"))
    };
    let mut rows = two_organisations();
    rows.users = vec![
        named(1, ORG_A, "1001", "asha.rao"),
        named(2, ORG_B, "1001", "lucia.dias"),
        named(3, ORG_B, "1002", "asha.rao"),
        named(4, ORG_B, "", ""),
    ];
    let directory = built(rows);
    assert_eq!(directory.faults(), []);
    let (a, b) = (directory.organisation_by_uuid(ORG_A).unwrap().id, directory.organisation_by_uuid(ORG_B).unwrap().id);
    assert_eq!(directory.user_by_extension(a, b"1001").unwrap().endpoint, "endpoint_1");
    assert_eq!(directory.user_by_extension(b, b"1001").unwrap().endpoint, "endpoint_2");
    assert_eq!(directory.user_by_extension(a, b"1002"), None);
    assert_eq!(directory.user_by_username(b"lucia.dias").unwrap().organisation, b);
    assert_eq!(directory.user_by_username(b"asha.rao"), None, "two organisations use it");
    assert_eq!(directory.user_by_endpoint(b"endpoint_4").unwrap().organisation, b);
    for nothing in [b"".as_slice(), b"endpoint_", b"\xff"] {
        assert_eq!(directory.user_by_endpoint(nothing), None);
        assert_eq!(directory.user_by_username(nothing), None);
        assert_eq!(directory.user_by_extension(b, nothing), None);
    }
    let mut with_1001: Vec<_> = directory.organisations_with_extension(b"1001").collect();
    with_1001.sort();
    assert_eq!(with_1001, { [a.min(b), a.max(b)] });
    assert_eq!(directory.organisation_by_context_prefix(b"org_b2c3d4e5_").unwrap().id, b);
    assert_eq!(directory.organisation_by_context_prefix(b"org_b2c3d4e5"), None);
}

#[test]
fn of_two_users_of_one_endpoint_the_active_one_is_in_effect() {
    let mut rows = two_organisations();
    let inactive = UserRow {
        status: text("inactive"),
        updated_at: text("2026-05-09 09:00:00"),
        ..UserRow::active(&id(1), ORG_A, "1001", "org_a1b2c3d4_1001")
    };
    rows.users = vec![inactive, UserRow::active(&id(2), ORG_A, "1001", "org_a1b2c3d4_1001")];
    let directory = built(rows);
    assert!(directory.user_by_endpoint(b"org_a1b2c3d4_1001").unwrap().is_active);
    assert_eq!(reasons(&directory), [(Reason::Duplicate, Effect::OtherRowInEffect); 2]);
    assert!(directory.faults().iter().all(|fault| fault.key == id(1)));
}

#[test]
fn users_without_a_known_organisation_are_set_aside() {
    let mut rows = two_organisations();
    rows.users = vec![
        UserRow { org_id: None, ..UserRow::active(&id(1), "", "1001", "a_1001") },
        UserRow::active(&id(2), "some organisation", "1001", "b_1001"),
    ];
    let directory = built(rows);
    assert_eq!(directory.user_count(), 0);
    let expected = [(Reason::NoOrganisation, Effect::RowAbsent), (Reason::UnknownOrganisation, Effect::RowAbsent)];
    assert_eq!(reasons(&directory), expected);
    assert_eq!(directory.faults()[1].found, "some organisation");
}

#[test]
fn a_prefix_of_two_organisations_leads_to_neither() {
    let mut rows = two_organisations();
    rows.organisations[1].context_prefix = text("org_a1b2c3d4_");
    assert_eq!(built(rows).organisation_by_context_prefix(b"org_a1b2c3d4_"), None);
}

/// Row D5: peerings with ports out of range, no host name, no transport.
#[test]
fn d5_bad_peerings_are_set_aside() {
    let good = TrunkRow {
        id: text("t1"),
        org_id: text(ORG_A),
        name: text("head office"),
        host: text("pbx.asha.example"),
        port: text("5060"),
        transport: text("udp"),
        status: text("active"),
        updated_at: None,
    };
    let mut rows = two_organisations();
    rows.trunks = vec![good.clone()];
    for port in [None, text("0"), text("70000"), text("-1"), text("sip")] {
        rows.trunks.push(TrunkRow { id: text("t2"), port, ..good.clone() });
    }
    rows.trunks.push(TrunkRow { transport: text("sctp"), ..good });
    let directory = built(rows);
    let trunk = directory.trunks().next().unwrap();
    assert_eq!((trunk.name, trunk.host, trunk.port), ("head office", "pbx.asha.example", 5060));
    assert_eq!(directory.organisation(trunk.organisation.unwrap()).name, "Asha Clinics");
    assert_eq!((directory.trunks().count(), directory.fault_count()), (1, 6));
}

#[test]
fn beyond_the_limit_bad_rows_are_counted_and_no_longer_listed() {
    let dids = (0..5_000).map(|last| did(last, "no number", Environment::Prod)).collect();
    let directory = built(Rows { dids, ..Rows::default() });
    assert_eq!(directory.faults().len(), crate::limits::FAULTS_LISTED_MAX);
    assert_eq!((directory.fault_count(), directory.faults_of(Reason::BadNumber)), (5_000, 5_000));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Any rows in, on top of any others: no panic, every accessor touched, every lookup in agreement with the lists.
    #[test]
    fn any_rows_make_a_directory(before in any_rows(), after in any_rows()) {
        let first = built(before);
        let second = rebuilt(after.clone(), &first);
        prop_assert_eq!(second.did_count(), second.dids().count());
        for did in second.dids() {
            prop_assert_eq!(second.did(did.number), Some(did));
            if let Some(id) = did.organisation() {
                prop_assert_eq!(second.organisation(id).id, id);
            }
            let row = |row: &DidRow| second.numbering().canonical(row.number.as_deref()?).ok();
            prop_assert!(did.kept_last_good || after.dids.iter().any(|found| row(found) == Some(did.number)));
        }
        prop_assert!(second.dids().zip(second.dids().skip(1)).all(|(a, b)| a.number < b.number));
        for organisation in second.organisations() {
            for number in [organisation.default_did, organisation.first_assigned_did].into_iter().flatten() {
                prop_assert_eq!(second.did(number).and_then(|did| did.organisation()), Some(organisation.id));
            }
        }
        for user in second.users() {
            prop_assert!(user.endpoint.is_empty() || second.user_by_endpoint(user.endpoint.as_bytes()).is_some());
            let by_extension = second.user_by_extension(user.organisation, user.extension.as_bytes());
            prop_assert!(user.extension.is_empty() || by_extension.is_some());
        }
        for fault in second.faults() {
            prop_assert!(fault.to_string().len() < 1_024, "{}", fault);
            prop_assert!(fault.to_string().chars().all(|letter| !letter.is_control()));
        }
        prop_assert_eq!(second.fault_count(), second.faults().len() as u64);
        let absent = second.faults().iter().filter(|fault| {
            fault.table == Table::Dids && matches!(fault.effect, Effect::RowAbsent | Effect::OtherRowInEffect)
        });
        prop_assert!(second.did_count() + absent.count() >= with_own_ids(after).dids.len(), "a row vanished without a fault");
    }

    /// The order in which rows come decides nothing.
    #[test]
    fn the_order_of_rows_decides_nothing(before in any_rows(), after in any_rows()) {
        let first = built(with_own_ids(before));
        let rows = with_own_ids(after);
        let mut reversed = rows.clone();
        reversed.dids.reverse();
        reversed.users.reverse();
        reversed.organisations.reverse();
        reversed.trunks.reverse();
        let (forward, backward) = (rebuilt(rows, &first), rebuilt(reversed, &first));
        prop_assert!(forward.says_the_same(&backward), "{:?}\n{:?}", forward.faults(), backward.faults());
    }

    /// Building again from the same rows says the same, so a look that finds nothing new publishes nothing.
    #[test]
    fn the_same_rows_again_say_the_same(before in any_rows(), after in any_rows()) {
        let first = built(with_own_ids(before));
        let rows = with_own_ids(after);
        let second = rebuilt(rows.clone(), &first);
        let third = rebuilt(rows, &second);
        prop_assert!(third.says_the_same(&second), "{:?}\n{:?}", second.faults(), third.faults());
    }

    /// Every spelling of one number is one key.
    #[test]
    fn every_spelling_of_one_number_is_one_key(last in 0_u32..10_000, form in 0_usize..5) {
        let last = format!("{last:04}");
        let spelling = spelled(8000, form).replace("8000", &last);
        let dids = vec![did(1, &spelling, Environment::Oss)];
        let directory = built(Rows { dids, ..Rows::default() });
        let key = number(&format!("+91806597{last}"));
        prop_assert_eq!(directory.did(key).map(|did| did.environment), Some(Environment::Oss));
    }
}
