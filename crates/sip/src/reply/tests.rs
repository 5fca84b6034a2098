use super::*;
use crate::{Index, Parsed, parse};

const SOURCE: (IpAddr, u16) = (IpAddr::V4(std::net::Ipv4Addr::new(10, 10, 10, 2)), 5062);

/// The answer to `request`, whatever the scanner thinks of it.
fn answer(reply: &Reply<'_>, request: &[u8]) -> String {
    let mut index = Index::new();
    let mut out = b"kept".to_vec();
    match parse(request, &mut index) {
        Parsed::Request(request) => reply.write(&request, &mut out),
        Parsed::Answerable(request) => reply.write(&request.message, &mut out),
        other => panic!("{other:?}"),
    }
    String::from_utf8(out).unwrap().strip_prefix("kept").unwrap().to_owned()
}

fn request(vias: &str, to: &str) -> Vec<u8> {
    format!(
        "INVITE sip:+918065978002@example.com SIP/2.0\r\n{vias}\r\nf: <sip:a@example.com>;tag=1\r\nMax-Forwards: 70\r\n\
         Timestamp: 54.21\r\nt:{to}\r\nTimestamp: 55\r\ni: abc@10.10.10.2\r\nCSeq:  7\r\n INVITE\r\nl: 4\r\n\r\nbody"
    )
    .into_bytes()
}

const VIA: &str = "v: SIP/2.0/UDP 10.10.10.2:5062;branch=z9hG4bKa";

fn reply(status: u16) -> Reply<'static> {
    Reply { status, reason: reason_phrase(status), to_tag: Some(b"77"), source: None, extra: &[] }
}

/// RFC 3261 section 8.2.6.2: Vias in order, From, To with a tag, Call-ID and CSeq as they came.
#[test]
fn an_answer_is_made_of_the_request() {
    let vias =
        "v: SIP/2.0/UDP 10.10.10.2:5062;branch=z9hG4bKa , SIP/2.0/TCP b\r\nX: y\r\nVIA :SIP/2.0/UDP c;x=\"\\\",\"";
    let answer = answer(
        &Reply { extra: &[("Retry-After", b"5"), ("Server", b"x")], ..reply(503) },
        &request(vias, "\"B\" <sip:b@example.com>"),
    );
    assert_eq!(
        answer,
        "SIP/2.0 503 Service Unavailable\r\n\
         Via: SIP/2.0/UDP 10.10.10.2:5062;branch=z9hG4bKa , SIP/2.0/TCP b\r\n\
         Via: SIP/2.0/UDP c;x=\"\\\",\"\r\n\
         From: <sip:a@example.com>;tag=1\r\n\
         To: \"B\" <sip:b@example.com>;tag=77\r\n\
         Call-ID: abc@10.10.10.2\r\n\
         CSeq: 7\r\n INVITE\r\n\
         Retry-After: 5\r\nServer: x\r\nContent-Length: 0\r\n\r\n"
    );
}

/// Row X1, RFC 3261 section 8.2.6.1: a 100 has Timestamp and no To tag of ours.
#[test]
fn x1_a_100_copies_timestamp_and_adds_no_tag() {
    let trying = answer(&reply(100), &request(VIA, "<sip:b@example.com>"));
    assert!(trying.contains("\r\nTo: <sip:b@example.com>\r\n"), "{trying}");
    assert!(trying.contains("\r\nTimestamp: 54.21\r\n"), "{trying}");
    let ringing = answer(&reply(180), &request(VIA, "<sip:b@example.com>"));
    assert!(ringing.contains(";tag=77\r\n") && !ringing.contains("Timestamp"), "{ringing}");
}

#[test]
fn a_tag_that_is_there_stays_alone() {
    let answer = answer(&reply(481), &request(VIA, "sip:b@example.com;TAG=9"));
    assert!(answer.contains("\r\nTo: sip:b@example.com;TAG=9\r\n"), "{answer}");
}

/// Row V1: what a malformed request lacks is lacking in its answer.
#[test]
fn v1_a_request_without_to_is_answered_without_it() {
    let bytes = format!("OPTIONS sip:a@example.com SIP/2.0\r\n{VIA}\r\nCall-ID: x\r\n\r\n");
    let answer = answer(&Reply { source: Some(SOURCE), ..reply(400) }, bytes.as_bytes());
    let via = "SIP/2.0/UDP 10.10.10.2:5062;branch=z9hG4bKa";
    assert_eq!(answer, format!("SIP/2.0 400 Bad Request\r\nVia: {via}\r\nCall-ID: x\r\nContent-Length: 0\r\n\r\n"));
}

/// Row SX6: a bare line end in a malformed request ends no header of its answer, in the top Via neither.
#[test]
fn sx6_bare_line_ends_do_not_pass_into_an_answer() {
    let vias = "Via: SIP/2.0/UDP h;x=\"\nA: 1\";rport\r\nVia: SIP/2.0/UDP i\nB: 2\r\n\tz";
    let reply = Reply { source: Some(SOURCE), ..reply(400) };
    let answer = answer(&reply, &request(vias, "<sip:b@example.com>\n\rC: 3"));
    assert!(answer.contains("\r\nVia: SIP/2.0/UDP h;x=\" A: 1\";rport=5062;received=10.10.10.2\r\n"), "{answer}");
    assert!(answer.contains("\r\nVia: SIP/2.0/UDP i B: 2\r\n\tz\r\n"), "{answer}");
    assert!(answer.contains("\r\nTo: <sip:b@example.com>  C: 3;tag=77\r\n"), "{answer}");
}

/// Row TP3: RFC 3261 section 18.2.1 and RFC 3581 section 4.
#[test]
fn tp3_the_top_via_says_where_the_request_came_from() {
    let v6: IpAddr = "2001:db8::9".parse().unwrap();
    let mapped: IpAddr = "::ffff:10.10.10.2".parse().unwrap();
    let ip = SOURCE.0;
    for (via, source, expected) in [
        ("10.10.10.2:5062;branch=z", ip, "10.10.10.2:5062;branch=z"),
        ("10.10.10.2:5060;branch=z", ip, "10.10.10.2:5060;branch=z"),
        ("10.10.10.2;branch=z", mapped, "10.10.10.2;branch=z"),
        ("10.10.10.3;branch=z", ip, "10.10.10.3;branch=z;received=10.10.10.2"),
        ("pbx.example.com;branch=z", ip, "pbx.example.com;branch=z;received=10.10.10.2"),
        ("10.10.10.2;rport;branch=z", ip, "10.10.10.2;rport=5062;branch=z;received=10.10.10.2"),
        ("10.10.10.2;branch=z;RPORT", ip, "10.10.10.2;branch=z;rport=5062;received=10.10.10.2"),
        ("10.10.10.2;rport = 1;branch=z", ip, "10.10.10.2;rport = 5062;branch=z;received=10.10.10.2"),
        ("10.10.10.2;received=6.6.6.6;branch=z", ip, "10.10.10.2;received=10.10.10.2;branch=z"),
        ("h;received=6.6.6.6;a;rport=9;b", ip, "h;received=10.10.10.2;a;rport=5062;b"),
        ("h;rport;a;received=6.6.6.6;b", ip, "h;rport=5062;a;received=10.10.10.2;b"),
        ("[2001:DB8:0::9]:5060;branch=z", v6, "[2001:DB8:0::9]:5060;branch=z"),
        ("[2001:db8::8];rport", v6, "[2001:db8::8];rport=5062;received=2001:db8::9"),
    ] {
        let vias = format!("Via: SIP/2.0/UDP {via} , SIP/2.0/UDP far;rport");
        let reply = Reply { source: Some((source, SOURCE.1)), ..reply(404) };
        let answer = answer(&reply, &request(&vias, "<sip:b@example.com>"));
        assert!(answer.contains(&format!("\r\nVia: SIP/2.0/UDP {expected} , SIP/2.0/UDP far;rport\r\n")), "{answer}");
    }
}

#[test]
fn every_status_has_a_phrase_without_line_ends() {
    for status in 100..700 {
        let phrase = reason_phrase(status);
        assert!(!phrase.is_empty() && phrase.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{status}");
    }
    assert_eq!(reason_phrase(487), "Request Terminated");
    assert_eq!((reason_phrase(499), reason_phrase(699)), ("Bad Request", "Global Failure"));
}
