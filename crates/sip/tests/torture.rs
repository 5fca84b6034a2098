//! The torture messages of RFC 4475 and RFC 5118 against the scanner: the `parse` field of
//! `fixtures/torture/outcomes.toml`, and facts that the RFCs state of single messages.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the lint's leave for tests does not reach the functions they share"
)]

use serde::Deserialize;
use sip::{Index, Method, Name, NameAddr, Parsed, Request, Uri, parse};
use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Outcomes {
    message: Vec<Message>,
}

/// What this test reads of an entry; the engine's torture test reads the rest.
#[derive(Deserialize)]
struct Message {
    name: String,
    file: String,
    parse: Expected,
    status: Option<u16>,
    mended: Option<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Ok,
    Answerable,
    Hopeless,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/torture")
}

fn messages() -> Vec<Message> {
    let text = fs::read_to_string(folder().join("outcomes.toml")).unwrap();
    toml::from_str::<Outcomes>(&text).unwrap().message
}

fn bytes_of(file: &str) -> Vec<u8> {
    fs::read(folder().join(file)).unwrap()
}

/// Runs `check` on a message that must be a well-formed request.
fn with_request(file: &str, check: impl FnOnce(Request<'_>)) {
    let bytes = bytes_of(file);
    let mut index = Index::new();
    match parse(&bytes, &mut index) {
        Parsed::Request(request) => check(request),
        other => panic!("{file}: {}, expected a request", told(&other)),
    }
}

fn told(parsed: &Parsed<'_>) -> String {
    match parsed {
        Parsed::Request(_) => "a request".to_owned(),
        Parsed::Response(_) => "a response".to_owned(),
        Parsed::Answerable(found) => format!("answerable {} {}", found.fault.status(), found.fault.reason()),
        Parsed::Hopeless(why) => format!("hopeless {}", why.name()),
    }
}

#[test]
fn every_file_has_an_entry_and_every_entry_a_file() {
    let mut found = BTreeSet::new();
    for source in ["rfc4475", "rfc5118"] {
        for entry in fs::read_dir(folder().join(source)).unwrap() {
            found.insert(format!("{source}/{}", entry.unwrap().file_name().into_string().unwrap()));
        }
    }
    let listed: Vec<Message> = messages();
    let names: BTreeSet<String> = listed.iter().map(|m| m.file.clone()).collect();
    assert_eq!(names, found);
    assert_eq!(names.len(), listed.len(), "a file is listed twice");
    let published = |source: &str| listed.iter().filter(|m| m.mended.is_none() && m.file.starts_with(source)).count();
    assert_eq!(published("rfc4475"), 49);
    assert_eq!(published("rfc5118"), 12);
}

#[test]
fn the_scanner_answers_as_the_outcomes_say() {
    let mut wrong = Vec::new();
    let mut index = Index::new();
    for message in messages() {
        let bytes = bytes_of(&message.file);
        let parsed = parse(&bytes, &mut index);
        let right = match (&parsed, message.parse) {
            (Parsed::Request(_), Expected::Ok) => !bytes.starts_with(b"SIP/"),
            (Parsed::Response(_), Expected::Ok) => bytes.starts_with(b"SIP/"),
            (Parsed::Answerable(found), Expected::Answerable) => message.status == Some(found.fault.status()),
            (Parsed::Hopeless(_), Expected::Hopeless) => true,
            _ => false,
        };
        if !right {
            let status = message.status.filter(|_| message.parse == Expected::Answerable);
            wrong.push(format!("{}: {}, expected {:?} {status:?}", message.name, told(&parsed), message.parse));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A datagram cut short anywhere is answered or dropped, and is never taken for the whole message.
#[test]
fn a_message_cut_inside_its_headers_is_never_well_formed() {
    let mut index = Index::new();
    for message in messages() {
        let bytes = bytes_of(&message.file);
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
        for cut in 0..end {
            let parsed = parse(&bytes[..cut], &mut index);
            assert!(
                matches!(parsed, Parsed::Answerable(_) | Parsed::Hopeless(_)),
                "{} cut at {cut}: {}",
                message.name,
                told(&parsed)
            );
        }
    }
}

/// RFC 4475 3.1.1.1: folding, spaces, short names, leading zeros.
#[test]
fn wsinv_is_read_through_its_folds() {
    with_request("rfc4475/wsinv.dat", |request| {
        assert_eq!(request.method(), Method::Invite);
        assert_eq!(request.uri().of(request.bytes()), b"sip:vivekg@chair-dnrc.example.com;unknownparam");
        assert_eq!(request.to_tag(), Some(&b"1918181833n"[..]));
        assert_eq!(request.from_tag(), Some(&b"98asjd8"[..]));
        assert_eq!(request.max_forwards(), Some(68));
        assert_eq!(request.cseq().number, 9);
        assert_eq!(request.cseq().method, Method::Invite);
        assert_eq!(request.body().len(), 150);
        let via = request.via();
        assert_eq!((via.host, via.port, via.branch), (&b"192.0.2.2"[..], None, Some(&b"390skdjuw"[..])));
        assert!(via.transport.eq_ignore_ascii_case(b"UDP"));
        assert!(!via.has_cookie());
        let second = request.second_via().unwrap().unwrap();
        assert_eq!((second.host, second.branch), (&b"spindle.example.com"[..], Some(&b"z9hG4bK9ikj8"[..])));
        assert_eq!(request.list(Name::Via).count(), 3);
        assert_eq!(request.list(Name::Contact).count(), 1);
        assert_eq!(request.list(Name::Route).count(), 1);
        assert_eq!(request.first(Name::Subject).map(|h| request.value(h)), Some(&b""[..]));
    });
}

/// RFC 4475 3.1.1.2: every character that a token, a word and a user part may hold.
#[test]
fn intmeth_is_read_whole() {
    with_request("rfc4475/intmeth.dat", |request| {
        assert_eq!(request.method(), Method::Other);
        assert_eq!(request.method_bytes(), b"!interesting-Method0123456789_*+`.%indeed'~");
        assert_eq!(request.cseq().number, 139_122_385);
        assert_eq!(request.from_tag(), Some(&b"_token~1'+`*%!-."[..]));
        assert_eq!(request.call_id(), br#"intmeth.word%ZK-!.*_+'@word`~)(><:\/"][?}{"#);
        assert_eq!(request.via().branch, Some(&b"z9hG4bK-.!%66*_+`'~"[..]));
        let uri = Uri::parse(request.uri().of(request.bytes())).unwrap();
        assert_eq!(uri.host_bytes(), b"example.com");
        assert_eq!(uri.user_bytes(), Some(&b"1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"[..]));
    });
}

/// RFC 4475 3.1.1.4: a null ends no user part.
#[test]
fn escnull_keeps_what_follows_a_null() {
    with_request("rfc4475/escnull.dat", |request| {
        let to = request.to().of(request.bytes());
        let uri = NameAddr::parse(to).unwrap().uri.of(to);
        assert_eq!(Uri::parse(uri).unwrap().user_bytes(), Some(&b"null-%00-null"[..]));
        assert_eq!(request.list(Name::Contact).count(), 2);
    });
}

/// RFC 4475 3.1.1.5: `%` escapes nothing in a method or a header name.
#[test]
fn esc02_is_no_register_and_has_two_contacts() {
    with_request("rfc4475/esc02.dat", |request| {
        assert_eq!(request.method(), Method::Other);
        assert_eq!(request.list(Name::Contact).count(), 2);
    });
}

/// RFC 4475 3.1.1.7: Via in every spelling, none with a branch but the last.
#[test]
fn longreq_has_34_vias() {
    with_request("rfc4475/longreq.dat", |request| {
        assert_eq!(request.list(Name::Via).count(), 34);
        assert_eq!(request.via().host, b"sip33.example.com");
        assert_eq!(request.via().branch, None);
    });
}

/// RFC 4475 3.1.1.8: what follows the body is not the message.
#[test]
fn dblreq_ends_where_its_body_ends() {
    with_request("rfc4475/dblreq.dat", |request| {
        assert_eq!(request.method(), Method::Register);
        assert!(request.bytes().ends_with(b"Content-Length: 0\r\n\r\n"));
    });
}

/// RFC 4475 3.1.1.9: the semicolon and the escaped `@` belong to the user.
#[test]
fn semiuri_has_the_user_that_the_rfc_says() {
    with_request("rfc4475/semiuri.dat", |request| {
        let uri = Uri::parse(request.uri().of(request.bytes())).unwrap();
        assert_eq!(uri.user_bytes(), Some(&b"user;par=u%40example.net"[..]));
        assert_eq!(uri.host_bytes(), b"example.com");
    });
}

/// RFC 4475 3.1.1.11: NULs in a body end nothing.
#[test]
fn mpart01_is_framed_by_its_length() {
    with_request("rfc4475/mpart01.dat", |request| {
        let body = request.body().of(request.bytes());
        assert_eq!(body.len(), 553);
        assert!(body.contains(&0) && body.ends_with(b"--7a9cbec02ceef655--\r\n"));
    });
}

/// RFC 4475 3.2.1: the cookie alone is no cookie.
#[test]
fn badbranch_is_matched_as_rfc_2543_does() {
    with_request("rfc4475/badbranch.dat", |request| assert!(!request.via().has_cookie()));
}

/// RFC 4475 3.4.1: no branch, no From tag, no Max-Forwards, no Content-Length.
#[test]
fn inv2543_has_the_rest_of_the_datagram_as_body() {
    with_request("rfc4475/inv2543.dat", |request| {
        assert_eq!((request.from_tag(), request.to_tag(), request.max_forwards()), (None, None, None));
        assert_eq!(request.via().branch, None);
        assert_eq!(request.body().len(), 105);
    });
}

/// RFC 5118 4.3, 4.4: the port stands outside the brackets.
#[test]
fn a_port_inside_the_brackets_is_part_of_the_address() {
    let read = |file: &str, address: &str, port: Option<u16>| {
        with_request(file, |request| {
            let uri = Uri::parse(request.uri().of(request.bytes())).unwrap();
            assert_eq!(uri.host_ip(), Some(address.parse::<IpAddr>().unwrap()), "{file}");
            assert_eq!(uri.port, port, "{file}");
        });
    };
    read("rfc5118/port-ambiguous.dat", "2001:db8::10:5070", None);
    read("rfc5118/port-unambiguous.dat", "2001:db8::10", Some(5070));
}

/// RFC 5118 4.5: `received` with and without brackets is one address.
#[test]
fn received_is_read_with_and_without_brackets() {
    for file in ["rfc5118/via-received-param-with-delim.dat", "rfc5118/via-received-param-no-delim.dat"] {
        with_request(file, |request| {
            assert_eq!(request.via().host, b"[2001:db8::9:1]", "{file}");
            assert_eq!(request.via().received_ip, Some("2001:db8::9:255".parse::<IpAddr>().unwrap()), "{file}");
        });
    }
}

/// RFC 5118 4.10: the colon too many that RFC 3261's grammar allows changes no address.
#[test]
fn three_colons_are_read_as_two() {
    for file in ["rfc5118/ipv6-bug-abnf-3-colons-mended.dat", "rfc5118/ipv6-correct-abnf-2-colons-mended.dat"] {
        with_request(file, |request| {
            let uri = Uri::parse(request.uri().of(request.bytes())).unwrap();
            assert_eq!(uri.host_ip(), Some("2001:db8::192.0.2.1".parse::<IpAddr>().unwrap()), "{file}");
        });
    }
}
