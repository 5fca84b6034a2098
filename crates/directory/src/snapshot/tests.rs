use proptest::prelude::*;

use super::checksum::crc64;
use super::*;
use crate::made_up::{ORG_A, ORG_B, any_rows, did, id, number, with_own_ids};
use crate::rows::text;
use crate::{
    Changes, DidRow, Directory, Environment, Generation, Lease, OrganisationRow, Overlays, Panic, Policy, Rows,
    Subject, Tester, UserRow, build,
};

fn overlays() -> Overlays {
    let caller = number("+447700900001");
    let tester = |subject| Tester { caller, subject, environment: Environment::Staging, ends_at_ms: 1_800_000_000_000 };
    Overlays {
        panic: Some(Panic { ends_at_ms: Some(1_790_000_000_000) }),
        testers: vec![tester(Subject::Did(number("08065978001"))), tester(Subject::Organisation(ORG_B.to_owned()))],
        leases: vec![Lease { number: number("08065978002"), environment: Environment::Oss, ends_at_ms: 7 }],
    }
}

/// A directory with something of everything: conflicts, kept values, faults, ids that are no UUIDs, overlays.
fn standing() -> Directory {
    let organisations = vec![
        OrganisationRow {
            limits: text(r#"{"concurrent_calls":3}"#),
            ..OrganisationRow::active(ORG_A, "Asha", "org_a_")
        },
        OrganisationRow::active("brindavan", "Brindavan Foods", "org_b_"),
    ];
    let mut dids: Vec<DidRow> = (1..=5).map(|last| did(last, &format!("0806597800{last}"), Environment::Oss)).collect();
    dids.push(DidRow { id: text("row 6"), provider: text("tata"), ..did(6, "08065978001", Environment::Prod) });
    dids.push(DidRow {
        org_id: text("brindavan"),
        call_limit: text("9"),
        ..did(7, "08065978007", Environment::Staging)
    });
    let users =
        vec![UserRow::active("asha.rao", ORG_A, "1001", "org_a_1001"), UserRow::active(&id(2), ORG_B, "7", "x")];
    let mut rows = Rows { organisations, dids, users, ..Rows::default() };
    let first = build(Generation(1), rows.clone(), &Policy::default(), None);
    rows.dids[2].status = text("lost");
    rows.users[0].status = None;
    let second = build(Generation(811), rows, &Policy::default(), Some(&first));
    second.with_overlays(Generation(812), overlays())
}

fn sealed(body: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&crc64(body).to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

fn fault(bytes: &[u8]) -> SnapshotFault {
    decode(bytes, &Policy::default()).expect_err("these bytes are no snapshot")
}

#[test]
fn a_directory_is_read_back_as_it_was_and_goes_on_where_it_stood() {
    let directory = standing();
    let bytes = encode(&directory);
    let again = decode(&bytes, &Policy::default()).unwrap();
    assert!(again.says_the_same(&directory), "{:?}\n{:?}", again.faults(), directory.faults());
    assert_eq!((again.generation(), again.overlays()), (Generation(812), &overlays()));
    assert!(directory.fault_count() > 3 && again.did(number("08065978003")).unwrap().kept_last_good);
    assert_eq!(encode(&again), bytes);
    assert_eq!(again.did_row_id(number("08065978001")), directory.did_row_id(number("08065978001")));
    let gone = Changes { dids: vec![crate::Change::Delete(text(&id(1)))], ..Changes::default() };
    let (a, b) = (again.apply(Generation(813), &gone), directory.apply(Generation(813), &gone));
    assert!(a.says_the_same(&b));
    assert_eq!(a.did_row_id(number("08065978001")).as_deref(), Some("row 6"));
}

#[test]
fn an_empty_directory_is_read_back() {
    let empty = build(Generation(3), Rows::default(), &Policy::default(), None);
    assert!(decode(&encode(&empty), &Policy::default()).unwrap().says_the_same(&empty));
}

/// Row D10: truncated, flipped, of another version, too long.
#[test]
fn d10_damaged_bytes_say_what_is_wrong_with_them() {
    let bytes = encode(&standing());
    for len in 0..bytes.len() {
        let expected = if len < HEAD_BYTES { HEAD_BYTES } else { bytes.len() };
        assert_eq!(fault(&bytes[..len]), SnapshotFault::TooShort { found: len, expected });
    }
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let found = fault(&flipped);
        let expected = match bit / 8 {
            0..8 => matches!(found, SnapshotFault::NotASnapshot),
            8..12 => matches!(found, SnapshotFault::Version { .. }),
            12..20 => matches!(found, SnapshotFault::TooShort { .. } | SnapshotFault::TooLong { .. }),
            _ => found == SnapshotFault::Checksum,
        };
        assert!(expected, "bit {bit}: {found}");
    }
    let longer = [bytes.as_slice(), b"x"].concat();
    assert_eq!(fault(&longer), SnapshotFault::TooLong { found: longer.len(), most: bytes.len() });
    assert_eq!(fault(&sealed(b"")), SnapshotFault::Malformed { what: "length" });
    let after = [&bytes[HEAD_BYTES..], b"\0"].concat();
    assert_eq!(fault(&sealed(&after)), SnapshotFault::Malformed { what: "end" });
}

/// Touches whatever a directory of unknown origin can be asked.
fn visit(directory: &Directory) {
    assert_eq!(directory.did_count(), directory.dids().count());
    for did in directory.dids() {
        assert!(directory.route(did.number, Some(did.number)).is_some());
        assert!(directory.did_row_id(did.number).is_some());
    }
    for organisation in directory.organisations() {
        assert!(directory.organisation_by_uuid(organisation.uuid).is_some());
    }
    let users = directory.users().filter(|user| !user.endpoint.is_empty());
    assert!(users.into_iter().all(|user| directory.user_by_endpoint(user.endpoint.as_bytes()).is_some()));
    assert_eq!(directory.trunks().count(), directory.trunks.len());
    assert!(directory.fault_count() >= directory.faults().len() as u64);
    let again = decode(&encode(directory), directory.policy()).expect("what was read can be written and read again");
    assert!(again.says_the_same(directory));
    let every = directory.dids().map(|did| crate::Change::Delete(directory.did_row_id(did.number).map(Into::into)));
    let emptied = directory.apply(Generation(1), &Changes { dids: every.collect(), ..Changes::default() });
    assert!(emptied.did_count() <= directory.losers.len());
}

/// Row D10: bytes that match their checksum and are wrong all the same, 40,000 of them from one seed.
#[test]
fn d10_mutations_under_a_right_checksum_break_nothing() {
    let body = encode(&standing())[HEAD_BYTES..].to_vec();
    let mut state = 0x5377_6974_6368_7964_u64;
    let mut below = |end: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap() % end.max(1)
    };
    let mut read = 0;
    for round in 0..40_000 {
        let mut bytes = body.clone();
        for _ in 0..=below(2) {
            let at = below(bytes.len());
            match below(6) {
                0 => bytes.truncate(at),
                1 => drop(bytes.drain(at..(at + below(20)).min(body.len()).min(bytes.len()).max(at))),
                2 => bytes.insert(at, u8::try_from(below(256)).unwrap()),
                3 => bytes.splice(at..at, [0xff; 9]).for_each(drop),
                _ => bytes[at] ^= 1 << below(8),
            }
            if bytes.is_empty() {
                break;
            }
        }
        if let Ok(directory) = decode(&sealed(&bytes), &Policy::default()) {
            read += 1;
            if round % 8 == 0 {
                visit(&directory);
            }
        }
    }
    assert!(read > 1_000, "{read} of 40,000 were sound: the mutations do not reach deep enough");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 128, ..ProptestConfig::default() })]

    /// Whatever rows a directory is of, it is read back as it was.
    #[test]
    fn any_directory_is_read_back(before in any_rows(), after in any_rows()) {
        let first = build(Generation(1), with_own_ids(before), &Policy::default(), None);
        let directory = build(Generation(2), with_own_ids(after), &Policy::default(), Some(&first));
        let again = decode(&encode(&directory), &Policy::default()).unwrap();
        prop_assert!(again.says_the_same(&directory), "{:?}\n{:?}", again.faults(), directory.faults());
        prop_assert_eq!(encode(&again), encode(&directory));
    }

    /// Bytes by chance are no snapshot.
    #[test]
    fn noise_is_no_snapshot(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(decode(&bytes, &Policy::default()).is_err());
        let _ = decode(&sealed(&bytes), &Policy::default());
    }
}
