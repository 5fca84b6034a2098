//! Messages in, one of three answers out.

mod limits;
mod smuggling;

use super::*;

/// Header lines of an INVITE that is whole; `without` and `with` change them.
const BASICS: [&str; 6] = [
    "Via: SIP/2.0/UDP 10.10.10.2:5060;branch=z9hG4bKa",
    "Max-Forwards: 70",
    "From: <sip:+447700900123@10.10.10.2>;tag=f",
    "To: <sip:+918065978002@10.10.10.1>",
    "Call-ID: c@10.10.10.2",
    "CSeq: 1 INVITE",
];
const REQUEST_LINE: &str = "INVITE sip:+918065978002@10.10.10.1 SIP/2.0";
const STATUS_LINE: &str = "SIP/2.0 200 OK";

/// A message of these lines and no body.
fn message(start: &str, lines: &[&str]) -> String {
    let mut text = format!("{start}\r\n");
    for line in lines {
        text.push_str(line);
        text.push_str("\r\n");
    }
    text + "\r\n"
}

/// The basics, with one line added.
fn with(line: &str) -> Vec<&str> {
    BASICS.into_iter().chain([line]).collect()
}

/// The basics, with the line that begins as `line` does up to its colon taken out, and `line` put in its place.
fn with_other(line: &str) -> Vec<&str> {
    let name = line.split(':').next().unwrap();
    let replace = |basic: &'static str| if basic.starts_with(name) { line } else { basic };
    assert!(BASICS.iter().any(|basic| basic.starts_with(name)), "{line}");
    BASICS.map(replace).to_vec()
}

fn outcome(bytes: &[u8]) -> String {
    outcome_of(bytes, parse)
}

/// `request`, `response`, the fault's status and reason, or the name of what is hopeless.
fn outcome_of(bytes: &[u8], parse: impl for<'a> Fn(&'a [u8], &'a mut Index) -> Parsed<'a>) -> String {
    match parse(bytes, &mut Index::new()) {
        Parsed::Request(_) => "request".to_owned(),
        Parsed::Response(_) => "response".to_owned(),
        Parsed::Answerable(answerable) => format!("{} {}", answerable.fault.status(), answerable.fault.reason()),
        Parsed::Hopeless(hopeless) => hopeless.name().to_owned(),
    }
}

fn request_outcome(lines: &[&str]) -> String {
    outcome(message(REQUEST_LINE, lines).as_bytes())
}

fn response_outcome(lines: &[&str]) -> String {
    outcome(message(STATUS_LINE, lines).as_bytes())
}

fn text_of(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_request_yields_its_parts() {
    let text = message(REQUEST_LINE, &with("l: 3")) + "v=0";
    let mut index = Index::new();
    let Parsed::Request(request) = parse(text.as_bytes(), &mut index) else { panic!("{text}") };
    assert_eq!((request.method(), request.method_bytes()), (Method::Invite, &b"INVITE"[..]));
    assert_eq!(text_of(request.uri().of(request.bytes())), "sip:+918065978002@10.10.10.1");
    assert_eq!(request.max_forwards(), Some(70));
    assert_eq!(request.headers().len(), 7);
    assert_eq!(text_of(&request.bytes()[request.headers_start() as usize..][..4]), "Via:");
    assert_eq!((text_of(request.via().host), request.via().port), ("10.10.10.2", Some(5060)));
    assert_eq!(text_of(request.call_id()), "c@10.10.10.2");
    assert_eq!(request.from_tag().map(text_of), Some("f"));
    assert_eq!(request.to_tag(), None);
    assert_eq!(text_of(request.from().of(request.bytes())), "<sip:+447700900123@10.10.10.2>;tag=f");
    assert_eq!(text_of(request.to().of(request.bytes())), "<sip:+918065978002@10.10.10.1>");
    assert_eq!((request.cseq().number, request.cseq().method), (1, Method::Invite));
    assert_eq!(text_of(request.body().of(request.bytes())), "v=0");
    let length = request.first(Name::ContentLength).unwrap();
    assert_eq!((text_of(request.value(length)), text_of(length.name_span.of(request.bytes()))), ("3", "l"));
    assert_eq!(text_of(length.line.of(request.bytes())), "l: 3\r\n");
    assert!(request.first(Name::Contact).is_none() && request.all(Name::Via).count() == 1);
}

#[test]
fn a_response_yields_its_parts() {
    let second = "Via: SIP/2.0/UDP 10.10.10.3;branch=z9hG4bKb , SIP/2.0/TCP [::1]:5070";
    let text = message("SIP/2.0 180 Ringing here", &with(second));
    let mut index = Index::new();
    let Parsed::Response(response) = parse(text.as_bytes(), &mut index) else { panic!("{text}") };
    assert_eq!(response.status(), 180);
    assert_eq!(text_of(response.status_span().of(response.bytes())), "180");
    assert_eq!(text_of(response.reason().of(response.bytes())), "Ringing here");
    assert_eq!(response.second_via().unwrap().map(|via| text_of(via.host)), Some("10.10.10.3"));
    let vias: Vec<_> = response.list(Name::Via).map(|item| text_of(item.span.of(response.bytes()))).collect();
    assert_eq!(vias.len(), 3);
    assert_eq!(vias[2], "SIP/2.0/TCP [::1]:5070");
    let first = response.list(Name::Via).next().unwrap();
    assert_eq!(text_of(response.removal(&first).of(response.bytes())), format!("{}\r\n", BASICS[0]));
}

#[test]
fn a_second_via_that_cannot_be_read_is_told_when_it_is_asked_for() {
    for (line, second) in [("X: a", Ok(None)), ("Via: SIP/2.0/UDP h;;", Err(Fault::Malformed(Name::Via)))] {
        let text = message(STATUS_LINE, &with(line));
        let mut index = Index::new();
        let Parsed::Response(response) = parse(text.as_bytes(), &mut index) else { panic!("{text}") };
        assert_eq!(response.second_via(), second);
    }
}

/// The way back is that of the first Via, also where nobody can say how many entries it has.
#[test]
fn a_via_behind_one_that_cannot_be_counted_is_not_the_first() {
    let open = "Via: SIP/2.0/UDP 10.10.10.2:5060;branch=z9hG4bKa;x=\"";
    let other = "Via: SIP/2.0/UDP 192.0.2.9:9999;branch=z9hG4bKb";
    let lines = [&[open, other], &BASICS[1..]].concat();
    let bytes = message(REQUEST_LINE, &lines).into_bytes();
    match parse(&bytes, &mut Index::new()) {
        Parsed::Answerable(found) => assert_eq!(found.message.via().port, Some(5060)),
        Parsed::Hopeless(_) => {}
        Parsed::Request(_) | Parsed::Response(_) => panic!("a quote without an end"),
    }
}

#[test]
fn one_index_serves_one_message_after_another() {
    let mut index = Index::new();
    let whole = message(REQUEST_LINE, &with("Route: <sip:a>"));
    assert!(matches!(parse(whole.as_bytes(), &mut index), Parsed::Request(_)));
    let capacity = index.headers.capacity();
    let other = message(REQUEST_LINE, &BASICS);
    let Parsed::Request(request) = parse(other.as_bytes(), &mut index) else { panic!("{other}") };
    assert_eq!((request.headers().len(), request.list(Name::Route).count()), (6, 0));
    let bomb = message(REQUEST_LINE, &vec!["X: y"; 10_000]);
    assert!(matches!(parse(bomb.as_bytes(), &mut index), Parsed::Hopeless(Hopeless::NoVia)));
    assert_eq!(index.headers.capacity(), capacity);
}

#[test]
fn unknown_methods_headers_and_schemes_pass() {
    let lines = with_other("CSeq: 1 NEW-METHOD%~");
    let text =
        message("NEW-METHOD%~ nobodyKnowsThisScheme:opaque SIP/2.0", &[&lines[..], &["X-%~!: \u{1f4de}"]].concat());
    let mut index = Index::new();
    let Parsed::Request(request) = parse(text.as_bytes(), &mut index) else { panic!("{text}") };
    assert_eq!((request.method(), request.method_bytes()), (Method::Other, &b"NEW-METHOD%~"[..]));
}

/// Row V2: what a proxy does not need may be as malformed as it likes.
#[test]
fn v2_other_headers_are_never_looked_into() {
    for line in [
        "Date: Fri, 01 Jan 2010 16:00:00 EST",
        "Contact: \"unterminated <sip:",
        "Contact: sip:user@example.com?Route=%3C>,,;;",
        "Expires: 1000000000000000000000000000000",
        "Content-Type: ",
        "Record-Route: not an address",
        "Route: ;;;",
        "Warning:",
        "Allow: ,,,",
        "P-Asserted-Identity: <",
        "Date: x",
        "Supported: \\",
    ] {
        assert_eq!(request_outcome(&with(line)), "request", "{line}");
        assert_eq!(response_outcome(&with(line)), "response", "{line}");
    }
}

/// Row V9: a request that lacks what every request has is told so; without a Via nobody can be told.
#[test]
fn v9_missing_headers() {
    for (name, expected) in [
        ("Via", "no_via"),
        ("From", "400 Missing From"),
        ("To", "400 Missing To"),
        ("Call-ID", "400 Missing Call-ID"),
        ("CSeq", "400 Missing CSeq"),
        ("Max-Forwards", "request"),
    ] {
        let lines: Vec<_> = BASICS.into_iter().filter(|line| !line.starts_with(&format!("{name}:"))).collect();
        assert_eq!(request_outcome(&lines), expected, "{name}");
    }
    assert_eq!(request_outcome(&BASICS[..1]), "400 Missing To", "the first one that is missing");
}

/// Row V9: an answer can be made of what there is.
#[test]
fn v9_an_answerable_request_holds_what_was_found() {
    let text = message(REQUEST_LINE, &[BASICS[0], BASICS[5]]);
    let mut index = Index::new();
    let Parsed::Answerable(answerable) = parse(text.as_bytes(), &mut index) else { panic!("{text}") };
    let message = answerable.message;
    assert_eq!(answerable.method, Method::Invite);
    assert_eq!((message.headers().len(), text_of(message.via().host)), (2, "10.10.10.2"));
    assert!(message.call_id().is_empty() && message.from().is_empty() && message.to_tag().is_none());
    assert_eq!(message.cseq().number, 1);
}

/// Row V9: headers of which there is one.
#[test]
fn v9_repeated_headers() {
    for line in &BASICS[1..] {
        let name = line.split(':').next().unwrap();
        assert_eq!(request_outcome(&with(line)), format!("400 Repeated {name}"));
        assert_eq!(response_outcome(&with(line)), "malformed_response", "{name}");
    }
    for lengths in ["Content-Length: 0\r\nContent-Length: 5", "l: 0\r\nContent-Length: 0"] {
        assert_eq!(request_outcome(&with(lengths)), "400 Repeated Content-Length", "{lengths}");
        assert_eq!(response_outcome(&with(lengths)), "malformed_response", "{lengths}");
    }
}

/// Row V9: values that routing needs.
#[test]
fn v9_malformed_values() {
    for (line, expected) in [
        ("CSeq: 2147483647 INVITE", "request"),
        ("CSeq: 2147483648 INVITE", "400 CSeq Number Too Large"),
        ("CSeq: 1 BYE", "400 CSeq Method Differs"),
        ("CSeq: 1 invite", "400 CSeq Method Differs"),
        ("CSeq: \"1 INVITE", "400 Bad CSeq"),
        ("CSeq:", "400 Bad CSeq"),
        ("Max-Forwards: 0", "request"),
        ("Max-Forwards: 255", "request"),
        ("Max-Forwards: 0068", "request"),
        ("Max-Forwards: 256", "400 Bad Max-Forwards"),
        ("Max-Forwards: -1", "400 Bad Max-Forwards"),
        ("Max-Forwards: 0x46", "400 Bad Max-Forwards"),
        ("Max-Forwards:", "400 Bad Max-Forwards"),
        ("Call-ID:", "400 Bad Call-ID"),
        ("Call-ID: a b", "400 Bad Call-ID"),
        ("To: \"Joe <sip:j@example.com>", "400 Bad To"),
        ("To: Watson, T <sip:t@example.org>", "400 Bad To"),
        ("To:", "400 Bad To"),
        ("From: <sip:a@example.com;tag=1", "400 Bad From"),
        ("From: sip:a@example.com", "request"),
        ("Via: SIP/2.0/UDP h;x=\"", "400 Bad Via"),
        ("Via: SIP/2.0/UDP h;;,;,,", "400 Bad Via"),
        ("Via: SIP/2.0/UDP", "no_via"),
        ("Via:", "no_via"),
    ] {
        assert_eq!(request_outcome(&with_other(line)), expected, "{line}");
    }
    for (line, expected) in [
        ("Route: <sip:a", "400 Bad Route"),
        ("Route: \"a <sip:b>", "400 Bad Route"),
        ("Record-Route: <sip:a", "400 Bad Record-Route"),
        ("Via: SIP/2.0/UDP h;x=\"", "400 Bad Via"),
    ] {
        assert_eq!(request_outcome(&with(line)), expected, "{line}");
    }
}

/// Row V9: the version, in any case, is 2.0.
#[test]
fn v9_versions() {
    for (version, expected) in [
        ("SIP/2.0", "request"),
        ("sip/2.0", "request"),
        ("SIP/7.0", "505 Version Not Supported"),
        ("HTTP/1.1", "not_sip"),
    ] {
        let line = format!("INVITE sip:a@10.10.10.1 {version}");
        assert_eq!(outcome(message(&line, &BASICS).as_bytes()), expected, "{version}");
    }
    assert_eq!(outcome(message("SIP/3.0 200 OK", &BASICS).as_bytes()), "malformed_response");
}

/// Row V1: an ACK is never answered, whatever is wrong with it.
#[test]
fn v1_a_malformed_ack_is_dropped() {
    let ack = |lines: &[&str]| outcome(message("ACK sip:a@10.10.10.1 SIP/2.0", lines).as_bytes());
    assert_eq!(ack(&with_other("CSeq: 1 ACK")), "request");
    assert_eq!(ack(&BASICS), "malformed_ack");
    assert_eq!(ack(&BASICS[1..]), "no_via");
    assert_eq!(outcome(message("ACK sip:a@10.10.10.1 SIP/9.9", &BASICS).as_bytes()), "malformed_ack");
    let long = format!("X: {}", "y".repeat(crate::limits::LINE_BYTES));
    assert_eq!(ack(&[&with_other("CSeq: 1 ACK")[..], &[&long]].concat()), "too_large");
}

/// Row V10: malformed responses are dropped.
#[test]
fn v10_malformed_responses() {
    assert_eq!(response_outcome(&BASICS), "response");
    for line in BASICS {
        let lines: Vec<_> = BASICS.into_iter().filter(|other| *other != line).collect();
        let expected = match line.split(':').next() {
            Some("Via") => "no_via",
            Some("Max-Forwards") => "response",
            _ => "malformed_response",
        };
        assert_eq!(response_outcome(&lines), expected, "{line}");
    }
    for line in ["CSeq: 2147483648 INVITE", "CSeq: x", "To: \"", "Via: SIP/2.0/UDP h;;", "Call-ID: a b"] {
        assert_eq!(response_outcome(&with_other(line)), "malformed_response", "{line}");
    }
    assert_eq!(response_outcome(&with_other("Via: ;")), "no_via");
    for start in ["SIP/2.0 700 x", "SIP/2.0 99 x", "SIP/2.0 4294967301 x", "SIP/2.0", "SIP/2.0 OK"] {
        assert_eq!(outcome(message(start, &BASICS).as_bytes()), "malformed_response", "{start}");
    }
}

/// Row TP5: over UDP, the body is as long as Content-Length says.
#[test]
fn tp5_bodies_of_datagrams() {
    for (length, request, response) in [
        ("Content-Length: 3", "abc", "abc"),
        ("Content-Length: 0", "", ""),
        ("Content-Length: 0005", "abcde", "abcde"),
        ("X: no length", "abcde", "abcde"),
        ("Content-Length: 6", "400 Body Shorter Than Content-Length", "malformed_response"),
        ("Content-Length: 4294967295", "400 Body Shorter Than Content-Length", "malformed_response"),
        ("Content-Length: 99999999999999999999", "400 Bad Content-Length", "malformed_response"),
        ("Content-Length: -999", "400 Bad Content-Length", "malformed_response"),
        ("Content-Length: +3", "400 Bad Content-Length", "malformed_response"),
        ("Content-Length: 3, 3", "400 Bad Content-Length", "malformed_response"),
        ("Content-Length: 0x3", "400 Bad Content-Length", "malformed_response"),
        ("Content-Length:", "400 Bad Content-Length", "malformed_response"),
    ] {
        let mut index = Index::new();
        for (start, expected) in [(REQUEST_LINE, request), (STATUS_LINE, response)] {
            let text = message(start, &with(length)) + "abcde";
            let found = match parse(text.as_bytes(), &mut index) {
                Parsed::Request(Request { message, .. }) | Parsed::Response(Response { message, .. }) => {
                    assert_eq!(message.bytes().len(), message.body().range().end, "{length}");
                    text_of(message.body().of(message.bytes())).to_owned()
                }
                _ => outcome(text.as_bytes()),
            };
            assert_eq!(found, expected, "{length}");
        }
    }
}

/// Row TP5: in a stream, Content-Length must be there.
#[test]
fn tp5_a_framed_message_has_a_length() {
    let text = message(REQUEST_LINE, &BASICS);
    assert_eq!(outcome_of(text.as_bytes(), parse_framed), "400 Missing Content-Length");
    assert_eq!(outcome_of(message(STATUS_LINE, &BASICS).as_bytes(), parse_framed), "malformed_response");
    let text = message(REQUEST_LINE, &with("l: 2")) + "ab";
    assert_eq!(outcome_of(text.as_bytes(), parse_framed), "request");
}

/// Row TP6: CRLFs before a message are passed over; on their own they keep a mapping alive.
#[test]
fn tp6_leading_line_ends() {
    let text = format!("\r\n\r\n\r\n{}", message(REQUEST_LINE, &BASICS));
    let mut index = Index::new();
    let Parsed::Request(request) = parse(text.as_bytes(), &mut index) else { panic!("{text}") };
    assert!(request.bytes().starts_with(b"INVITE ") && text_of(request.value(&request.headers()[4])) == "c@10.10.10.2");
    for keepalive in [&b""[..], b"\r\n", b"\r\n\r\n", b"\0\0\0\0", b"\r\n\0", b" ", b"\n"] {
        assert_eq!(outcome(keepalive), "empty", "{keepalive:?}");
    }
    assert_eq!(outcome(b"\r\nhello"), "not_sip");
    assert_eq!(outcome(b"\nINVITE sip:a SIP/2.0\r\n\r\n"), "not_sip");
}

/// RFC 3261 7.3.1: folds, white space and compact forms all lead to the same values.
#[test]
fn every_spelling_of_a_header() {
    let lines = [
        "v :SIP / 2.0\r\n /\tUDP\r\n  10.10.10.2;branch=z9hG4bKa",
        "MAX-FORWARDS\t: \r\n 0068 ",
        "f:\r\n\tcaller\r\n <sip:+447700900123@10.10.10.2>\r\n ; tag\r\n = f",
        "TO :  sip:+918065978002@10.10.10.1;tag=t ",
        "i:c",
        "cseq: 0001\r\n\r\n INVITE".split("\r\n\r\n").next().unwrap(),
    ];
    let text = message(REQUEST_LINE, &lines).replace("cseq: 0001", "cseq: 0001\r\n \t INVITE\r\n ");
    let mut index = Index::new();
    let Parsed::Request(request) = parse(text.as_bytes(), &mut index) else {
        panic!("{text} {}", outcome(text.as_bytes()))
    };
    let names: Vec<_> = request.headers().iter().map(|header| header.name).collect();
    assert_eq!(names, [Name::Via, Name::MaxForwards, Name::From, Name::To, Name::CallId, Name::CSeq]);
    assert_eq!((request.max_forwards(), request.cseq().number), (Some(68), 1));
    assert_eq!((request.from_tag(), request.to_tag()), (Some(&b"f"[..]), Some(&b"t"[..])));
    assert_eq!(text_of(request.via().host), "10.10.10.2");
}
