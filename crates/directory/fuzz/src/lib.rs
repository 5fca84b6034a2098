//! What each fuzz target does with its input. The crate's tests replay `fixtures/corpus` through the same functions.
//!
//! A target asks a directory everything that it can be asked, and asserts what must hold for any input whatever.

pub mod rows;
pub mod snapshot;

use directory::Directory;

/// Asks a directory of unknown origin whatever it can be asked.
pub fn visit(directory: &Directory) {
    assert_eq!(directory.did_count(), directory.dids().count());
    for did in directory.dids() {
        let routed = directory.route(did.number, Some(did.number)).expect("a listed DID is found");
        assert_eq!(routed.did, did);
        assert!(directory.did_row_id(did.number).is_some());
    }
    assert_eq!(directory.organisation_count(), directory.organisations().count());
    for organisation in directory.organisations() {
        assert!(directory.organisation_by_uuid(organisation.uuid).is_some());
    }
    assert_eq!(directory.user_count(), directory.users().count());
    for user in directory.users() {
        assert!(user.endpoint.is_empty() || directory.user_by_endpoint(user.endpoint.as_bytes()).is_some());
    }
    let listed: String = directory.faults().iter().map(ToString::to_string).collect();
    assert!(!listed.chars().any(char::is_control));
    assert!(directory.fault_count() >= directory.faults().len() as u64);
    assert!(directory.difference(directory).is_empty());
}
