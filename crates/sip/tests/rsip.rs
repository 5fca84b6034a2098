//! The scanner against an independent reference: rsip 0.4, where it is right, and the list of where it is not.
//!
//! rsip is a good reference for plain messages: one Via a line, no folds, known methods, names and hosts in ASCII. Where
//! RFC 3261 goes further, it refuses or misreads; each case stands in a test of its own below, so that a new version of
//! rsip that mends one shows it.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "the lint's leave for tests does not reach the functions they share"
)]

use proptest::prelude::{
    Just, ProptestConfig as Config, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use rsip::headers::{ToTypedHeader, UntypedHeader};
use rsip::message::HeadersExt;
use sip::{Index, Message, Name, NameAddr, Parsed, Request, Uri, parse};

/// Runs `check` on a request that must be sound.
fn with_request(bytes: &[u8], check: impl FnOnce(&Request<'_>)) {
    let mut index = Index::new();
    match parse(bytes, &mut index) {
        Parsed::Request(request) => check(&request),
        other => panic!("expected a request, found {other:?} in {}", bytes.escape_ascii()),
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

// What rsip reads right.

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|ip| std::net::Ipv4Addr::from(ip).to_string()),
        "[a-z][a-z0-9-]{0,8}[a-z0-9](\\.[a-z]{2,6}){1,2}",
    ]
}

fn port() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), (1..=u16::MAX).prop_map(|port| format!(":{port}"))]
}

/// A user without `.`, which rsip does not see.
fn user() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z0-9+_-]{1,12}(:[a-z0-9]{1,6})?@"]
}

fn params() -> impl Strategy<Value = String> {
    let param = prop_oneof![
        Just(";lr".to_owned()),
        Just(";user=phone".to_owned()),
        Just(";transport=tcp".to_owned()),
        "x[a-z]{1,6}(=[a-z0-9.-]{1,8})?".prop_map(|param| format!(";{param}")),
    ];
    proptest::collection::vec(param, 0..4).prop_map(|params| params.concat())
}

fn uri() -> impl Strategy<Value = String> {
    ("sips?", user(), host(), port(), params())
        .prop_map(|(scheme, user, host, port, params)| format!("{scheme}:{user}{host}{port}{params}"))
}

fn address() -> impl Strategy<Value = String> {
    ("(\"[A-Za-z0-9 .]{1,12}\" )?", uri(), "(;tag=[a-zA-Z0-9.]{1,12})?")
        .prop_map(|(display, uri, tag)| format!("{display}<{uri}>{tag}"))
}

fn via() -> impl Strategy<Value = String> {
    let parameters = "(;rport)?(;received=10\\.10\\.10\\.[1-9])?;branch=z9hG4bK[a-zA-Z0-9.]{1,16}(;x)?";
    ("(UDP|TCP|TLS)", host(), port(), parameters)
        .prop_map(|(transport, host, port, parameters)| format!("SIP/2.0/{transport} {host}{port}{parameters}"))
}

const METHODS: [&str; 8] = ["INVITE", "BYE", "CANCEL", "OPTIONS", "REGISTER", "UPDATE", "INFO", "PRACK"];

/// A plain request, and what stands in it.
#[derive(Clone, Debug)]
struct Plain {
    method: &'static str,
    uri: String,
    vias: Vec<String>,
    from: String,
    to: String,
    number: u32,
    others: Vec<String>,
    body: Vec<u8>,
}

impl Plain {
    fn message(&self, start_line: &str) -> Vec<u8> {
        let mut text = format!("{start_line}\r\n");
        for via in &self.vias {
            text += &format!("Via: {via}\r\n");
        }
        text += &format!("Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: abc@example.com\r\n", self.from, self.to);
        text += &format!("CSeq: {} {}\r\n", self.number, self.method);
        for other in &self.others {
            text += &format!("{other}\r\n");
        }
        text += &format!("Content-Length: {}\r\n\r\n", self.body.len());
        [text.as_bytes(), &self.body].concat()
    }

    fn request(&self) -> Vec<u8> {
        self.message(&format!("{} {} SIP/2.0", self.method, self.uri))
    }
}

fn plain() -> impl Strategy<Value = Plain> {
    let others = proptest::collection::vec("X-[A-Za-z]{1,8}: [a-zA-Z0-9;=\"<>:/.]{1,24}", 0..4);
    let body = proptest::collection::vec(any::<u8>(), 0..64);
    let vias = proptest::collection::vec(via(), 1..5);
    let head = (proptest::sample::select(&METHODS[..]), uri(), vias, address(), address());
    (head, 0..1_u32 << 31, others, body).prop_map(|((method, uri, vias, from, to), number, others, body)| Plain {
        method,
        uri,
        vias,
        from,
        to,
        number,
        others,
        body,
    })
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    #[test]
    fn uris_have_the_same_parts(text in uri()) {
        let ours = Uri::parse(text.as_bytes()).unwrap();
        let theirs = rsip::Uri::try_from(text.as_str()).unwrap();
        prop_assert_eq!(ours.scheme == sip::Scheme::Sips, theirs.is_sips().unwrap());
        prop_assert_eq!(ours.user_bytes(), theirs.user().map(str::as_bytes));
        let password = theirs.auth.as_ref().and_then(|auth| auth.password.as_deref());
        prop_assert_eq!(ours.password.map(|span| span.of(ours.bytes)), password.map(str::as_bytes));
        let theirs_host = theirs.host().to_string();
        prop_assert_eq!(ours.host_bytes(), theirs_host.as_bytes());
        prop_assert_eq!(ours.port, theirs.port().map(|port| *port.value()));
        let theirs_params: String = theirs.params.iter().map(ToString::to_string).collect();
        let ours_params = String::from_utf8(ours.params.of(ours.bytes).to_vec()).unwrap();
        prop_assert_eq!(ours_params.replace(";transport=tcp", ";transport=TCP"), theirs_params);
        prop_assert_eq!(ours.param("lr").is_some(), theirs.params.contains(&rsip::common::uri::Param::Lr));
    }

    #[test]
    fn requests_have_the_same_parts(plain in plain()) {
        let bytes = plain.request();
        let theirs = rsip::Request::try_from(bytes.as_slice()).unwrap();
        let mut index = Index::new();
        let Parsed::Request(ours) = parse(&bytes, &mut index) else { panic!("{}", bytes.escape_ascii()) };
        prop_assert_eq!(text(ours.method_bytes()), theirs.method.to_string());
        let ours_uri = text(ours.uri().of(&bytes)).replace("=tcp", "=TCP");
        prop_assert_eq!(ours_uri, theirs.uri.to_string());
        prop_assert_eq!(ours.body().of(&bytes), theirs.body.as_slice());
        same_headers(&ours, &theirs)?;
        let cseq = theirs.cseq_header().unwrap().typed().unwrap();
        prop_assert_eq!((ours.cseq().number, text(ours.cseq().method_bytes)), (cseq.seq, plain.method));
        prop_assert_eq!(ours.max_forwards(), Some(70));
        prop_assert_eq!(ours.via().span.of(&bytes), plain.vias.first().unwrap().as_bytes());
    }

    #[test]
    fn responses_have_the_same_parts(plain in plain(), status in 100_u16..700) {
        let bytes = plain.message(&format!("SIP/2.0 {status} Some Words"));
        let theirs = rsip::Response::try_from(bytes.as_slice()).unwrap();
        let mut index = Index::new();
        let Parsed::Response(ours) = parse(&bytes, &mut index) else { panic!("{}", bytes.escape_ascii()) };
        prop_assert_eq!(ours.status(), theirs.status_code.code());
        prop_assert_eq!(ours.reason().of(&bytes), b"Some Words");
        prop_assert_eq!(ours.body().of(&bytes), theirs.body.as_slice());
        same_headers(&ours, &theirs)?;
    }

    /// An answer of ours is one to rsip too, with a Via as RFC 3581 section 4 wants it (row TP3).
    #[test]
    fn tp3_answers_are_read_by_rsip(plain in plain(), status in 101_u16..700, port in 1..=u16::MAX) {
        let bytes = plain.request();
        let mut index = Index::new();
        let Parsed::Request(request) = parse(&bytes, &mut index) else { panic!("{}", bytes.escape_ascii()) };
        let source = ([192, 0, 2, 1].into(), port);
        let reply = sip::Reply {
            status,
            reason: sip::reason_phrase(status),
            to_tag: Some(b"swit"),
            source: Some(source),
            extra: &[],
        };
        let mut out = Vec::new();
        reply.write(&request, &mut out);
        let theirs = rsip::Response::try_from(out.as_slice()).unwrap();
        prop_assert_eq!(theirs.status_code.code(), status);
        let via = theirs.via_header().unwrap().typed().unwrap();
        prop_assert_eq!(via.branch().map(ToString::to_string), request.via().branch.map(|branch| text(branch).to_owned()));
        prop_assert_eq!(via.received().unwrap(), Some(source.0));
        let filled = format!(";rport={port}");
        prop_assert_eq!(via.to_string().contains(&filled), request.via().rport != sip::Rport::Absent);
        let tag = theirs.to_header().unwrap().typed().unwrap().tag().map(ToString::to_string);
        prop_assert_eq!(tag.as_deref(), Some(request.to_tag().map_or("swit", text)));
    }
}

/// Names and values of all headers, and what is read from those that both take apart.
fn same_headers(ours: &Message<'_>, theirs: &impl HeadersExt) -> Result<(), proptest::test_runner::TestCaseError> {
    let bytes = ours.bytes();
    let lines = ours
        .headers()
        .iter()
        .map(|header| format!("{}: {}", text(header.name_span.of(bytes)), text(ours.value(header))));
    prop_assert_eq!(lines.collect::<Vec<_>>(), theirs.headers().iter().map(ToString::to_string).collect::<Vec<_>>());
    prop_assert_eq!(text(ours.call_id()), theirs.call_id_header().unwrap().value());
    let via = theirs.via_header().unwrap().typed().unwrap();
    let top = ours.via();
    prop_assert_eq!(text(top.transport), via.transport.to_string());
    prop_assert_eq!(text(top.host), via.uri.host().to_string());
    prop_assert_eq!(top.port, via.uri.port().map(|port| *port.value()));
    prop_assert_eq!(top.branch.map(text), via.branch().map(|branch| branch.value()));
    prop_assert_eq!(top.received_ip, via.received().unwrap());
    let from = theirs.from_header().unwrap().typed().unwrap();
    let to = theirs.to_header().unwrap().typed().unwrap();
    prop_assert_eq!(ours.from_tag().map(text), from.tag().map(|tag| tag.value()));
    prop_assert_eq!(ours.to_tag().map(text), to.tag().map(|tag| tag.value()));
    let address = NameAddr::parse(ours.from().of(bytes)).unwrap();
    let display = address.display.map(|display| text(display.of(address.bytes)));
    prop_assert_eq!(display, from.display_name.as_deref());
    let uri = Uri::parse(address.uri_bytes()).unwrap();
    prop_assert_eq!(uri.user_bytes().map(text), from.uri.user());
    prop_assert!(ours.list(Name::Via).count() >= 1);
    Ok(())
}

// What rsip reads wrong or not at all, and the scanner reads.

/// A request with this Via, these further headers and this body.
fn request(uri: &str, via: &str, others: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "OPTIONS {uri} SIP/2.0\r\n{via}\r\nFrom: <sip:a@example.com>;tag=1\r\nTo: <sip:b@example.com>\r\n\
         Call-ID: abc\r\nCSeq: 1 OPTIONS\r\n{others}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

const URI: &str = "sip:b@example.com";
const VIA: &str = "Via: SIP/2.0/UDP 10.10.10.2;branch=z9hG4bKa";

fn is_refused_by_rsip(bytes: &[u8]) -> bool {
    rsip::Request::try_from(bytes).is_err()
}

/// RFC 3261 section 7.3.1: a line may be folded.
#[test]
fn rsip_refuses_folded_lines() {
    let bytes = request(URI, VIA, "Subject: one\r\n two\r\n", b"");
    assert!(is_refused_by_rsip(&bytes));
    with_request(&bytes, |request| {
        let subject = request.first(Name::Subject).unwrap();
        assert_eq!(request.value(subject), b"one\r\n two");
    });
}

/// RFC 3261 section 7.3.1: white space may stand in front of the colon.
#[test]
fn rsip_refuses_a_space_before_the_colon() {
    let bytes = request(URI, VIA, "Subject : one\r\n", b"");
    assert!(is_refused_by_rsip(&bytes));
    with_request(&bytes, |request| assert!(request.first(Name::Subject).is_some()));
}

/// RFC 3261 section 19.1.1 and RFC 3966: IPv6 references and tel in the request-URI.
#[test]
fn rsip_refuses_ipv6_and_tel_uris() {
    for uri in ["sip:b@[2001:db8::1]:5060", "tel:+918065978002"] {
        let bytes = request(uri, VIA, "", b"");
        assert!(is_refused_by_rsip(&bytes), "{uri}");
        with_request(&bytes, |request| assert_eq!(request.uri().of(&bytes), uri.as_bytes()));
    }
}

/// RFC 3261 section 16.3: a method that is not known is as good as any.
#[test]
fn rsip_refuses_unknown_methods() {
    let bytes = text(&request(URI, VIA, "", b"")).replace("OPTIONS", "FETCH").into_bytes();
    assert!(is_refused_by_rsip(&bytes));
    with_request(&bytes, |request| assert_eq!(request.method_bytes(), b"FETCH"));
}

/// Header values are bytes (row SX11): Latin-1 is no UTF-8.
#[test]
fn sx11_rsip_refuses_latin_1() {
    let mut bytes = request(URI, VIA, "Subject: J?rgen\r\n", b"");
    let at = bytes.windows(8).position(|window| window == b"J?rgen\r\n").unwrap();
    bytes.splice(at + 1..at + 2, [0xfc]);
    assert!(is_refused_by_rsip(&bytes));
    with_request(&bytes, |request| assert_eq!(request.value(request.first(Name::Subject).unwrap()), b"J\xfcrgen"));
}

/// RFC 3261 section 25.1: a dot is a mark like any other, and `john.doe` a user.
#[test]
fn rsip_misses_users_with_a_dot() {
    let uri = "sip:john.doe@example.com";
    assert_eq!(rsip::Uri::try_from(uri).unwrap().user(), None);
    assert_eq!(Uri::parse(uri.as_bytes()).unwrap().user_bytes(), Some(&b"john.doe"[..]));
}

/// RFC 3261 section 19.1.1: what stands behind `?` is no part of the host.
#[test]
fn rsip_takes_the_headers_of_a_uri_for_its_host() {
    let uri = "sip:b@example.com?Subject=x";
    assert_eq!(rsip::Uri::try_from(uri).unwrap().host().to_string(), "example.com?Subject=x");
    let ours = Uri::parse(uri.as_bytes()).unwrap();
    assert_eq!(ours.host_bytes(), b"example.com");
    assert_eq!(ours.headers.map(|headers| headers.of(ours.bytes)), Some(&b"Subject=x"[..]));
}

/// RFC 3261 section 7.3.3: compact names.
#[test]
fn rsip_misses_compact_headers() {
    let bytes = text(&request(URI, VIA, "", b"")).replace("Via:", "v:").replace("From:", "f:").into_bytes();
    let theirs = rsip::Request::try_from(bytes.as_slice()).unwrap();
    assert!(theirs.via_header().is_err() || theirs.from_header().is_err());
    with_request(&bytes, |request| {
        assert_eq!(request.via().host, b"10.10.10.2");
        assert_eq!(request.from_tag(), Some(&b"1"[..]));
    });
}

/// RFC 3261 section 7.3.1: several Vias may stand in one line.
#[test]
fn rsip_misses_all_vias_of_a_line_but_the_first() {
    let via = "Via: SIP/2.0/UDP 10.10.10.2;branch=z9hG4bKa, SIP/2.0/TCP far.example.com;branch=z9hG4bKb";
    let bytes = request(URI, via, "", b"");
    let theirs = rsip::Request::try_from(bytes.as_slice()).unwrap();
    let read = theirs.via_header().unwrap().typed().map(|via| via.to_string());
    assert!(!read.unwrap_or_default().contains("far.example.com"));
    with_request(&bytes, |request| {
        assert_eq!(request.list(Name::Via).count(), 2);
        assert_eq!(request.second_via().unwrap().unwrap().host, b"far.example.com");
    });
}

/// RFC 3261 section 7.4: a body is bytes, and leaves as it came.
#[test]
fn rsip_alters_binary_bodies() {
    let bytes = request(URI, VIA, "", b"\x00\xff\xfe\r\n\r\n");
    let theirs = Vec::from(rsip::Request::try_from(bytes.as_slice()).unwrap());
    assert_ne!(theirs, bytes);
    with_request(&bytes, |request| {
        let mut out = Vec::new();
        sip::Splice::new(request.bytes(), &mut out).finish().expect("no edit is in order");
        assert_eq!(out, bytes);
    });
}

/// RFC 3261 section 7.2: a reason phrase is free text, and leaves as it came.
#[test]
fn rsip_alters_reason_phrases() {
    let bytes = text(&request(URI, VIA, "", b"")).replacen("OPTIONS sip:b@example.com SIP/2.0", "SIP/2.0 200 Fine", 1);
    let theirs = rsip::Response::try_from(bytes.as_str()).unwrap().to_string();
    assert!(theirs.starts_with("SIP/2.0 200 OK\r\n"), "{theirs}");
    let mut index = Index::new();
    let Parsed::Response(ours) = parse(bytes.as_bytes(), &mut index) else { panic!("{bytes}") };
    assert_eq!(ours.reason().of(ours.bytes()), b"Fine");
}

/// RFC 3261 section 18.3: a datagram whose body is shorter than Content-Length says is a 400 (row TP5).
#[test]
fn tp5_rsip_accepts_truncated_messages() {
    let mut bytes = request(URI, VIA, "", b"0123456789");
    bytes.truncate(bytes.len() - 4);
    assert!(!is_refused_by_rsip(&bytes));
    let mut index = Index::new();
    let Parsed::Answerable(ours) = parse(&bytes, &mut index) else { panic!("{}", bytes.escape_ascii()) };
    assert_eq!((ours.fault, ours.fault.status()), (sip::Fault::ShortBody, 400));
}

/// RFC 3261 section 18.3: bytes behind Content-Length are no part of the message (row TP5).
#[test]
fn tp5_rsip_keeps_what_follows_the_body() {
    let bytes = [&request(URI, VIA, "", b"body")[..], b"junk"].concat();
    assert_eq!(rsip::Request::try_from(bytes.as_slice()).unwrap().body, b"bodyjunk");
    with_request(&bytes, |request| assert_eq!(request.body().of(&bytes), b"body"));
}
