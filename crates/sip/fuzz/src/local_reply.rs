//! Answers: what is written for a request is an answer to that request, and to a malformed one at least whole headers.
//!
//! Input: a byte that picks status and tag, a byte that picks the source, then the request.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sip::{Hopeless, Index, Message, Name, Parsed, Reply, Request, Response, Rport, reason_phrase};

const STATUSES: [u16; 8] = [100, 180, 200, 302, 400, 486, 503, 699];

/// Answers the request in `data`, if there is one.
pub fn run(data: &[u8]) {
    let [choice, place, datagram @ ..] = data else { return };
    let address = match place % 3 {
        0 => IpAddr::V4(Ipv4Addr::new(10, 10, 10, *place)),
        1 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(*place))),
        _ => IpAddr::V6(Ipv4Addr::new(10, 10, 10, *place).to_ipv6_mapped()),
    };
    let status = STATUSES[usize::from(choice % 8)];
    let reply = Reply {
        status,
        reason: reason_phrase(status),
        to_tag: (choice & 8 != 0).then_some(b"swit"),
        source: (choice & 16 != 0).then_some((address, 5060 + u16::from(*place))),
        extra: if choice & 32 != 0 { &[("Retry-After", b"5")] } else { &[] },
    };
    let mut index = Index::new();
    let mut out = Vec::new();
    match sip::parse(datagram, &mut index) {
        Parsed::Request(request) => {
            reply.write(&request, &mut out);
            answers(&reply, &request, &out);
        }
        Parsed::Answerable(answerable) => reply.write(&answerable.message, &mut out),
        Parsed::Response(_) | Parsed::Hopeless(_) => return,
    }
    has_whole_lines(&out);
}

fn answers(reply: &Reply<'_>, request: &Request<'_>, out: &[u8]) {
    let mut index = Index::new();
    let response = match sip::parse_framed(out, &mut index) {
        Parsed::Response(response) => response,
        // `Via:` is longer than `v:`, and `received` comes on top.
        Parsed::Hopeless(Hopeless::TooLarge) => return,
        other => panic!("an answer is a response: {other:?} {}", out.escape_ascii()),
    };
    assert_eq!(response.status(), reply.status);
    assert_eq!(response.bytes(), out);
    assert!(response.body().is_empty());
    assert_eq!(response.call_id(), request.call_id());
    assert_eq!(response.cseq(), request.cseq());
    assert_eq!(response.from().of(out), request.from().of(request.bytes()));
    assert!(response.to().of(out).starts_with(request.to().of(request.bytes())));
    let added = reply.to_tag.filter(|_| reply.status != 100);
    assert_eq!(response.to_tag(), request.to_tag().or(added));
    assert_eq!(vias(&response)[1..], vias(request)[1..]);
    top_via(reply, request, &response);
    let is_timed = reply.status == 100 && request.first(Name::Timestamp).is_some();
    assert_eq!(response.first(Name::Timestamp).is_some(), is_timed);
    assert_eq!(response.first(Name::RetryAfter).is_some(), !reply.extra.is_empty());
}

fn vias(message: &Message<'_>) -> Vec<Vec<u8>> {
    message.list(Name::Via).map(|item| item.span.of(message.bytes()).to_vec()).collect()
}

/// RFC 3581 section 4.
fn top_via(reply: &Reply<'_>, request: &Request<'_>, response: &Response<'_>) {
    let (asked, got) = (request.via(), response.via());
    assert_eq!((asked.host, asked.port, asked.branch), (got.host, got.port, got.branch));
    let Some((ip, port)) = reply.source else {
        assert_eq!(asked.span.of(request.bytes()), got.span.of(response.bytes()));
        return;
    };
    let ip = ip.to_canonical();
    match (asked.rport, got.rport) {
        (Rport::Absent, Rport::Absent) => {}
        (Rport::Requested(_) | Rport::Filled { .. }, Rport::Filled { port: filled, .. }) => {
            assert_eq!((filled, got.received_ip), (port, Some(ip)));
        }
        other => panic!("rport is filled where it stands: {other:?}"),
    }
    let is_elsewhere = sip::host_ip(asked.host).map(|host| host.to_canonical()) != Some(ip);
    assert_eq!(
        got.received_ip,
        (is_elsewhere || asked.received.is_some() || asked.rport != Rport::Absent).then_some(ip)
    );
}

/// Whatever was answered, every line is a header of ours, or goes on with one.
fn has_whole_lines(out: &[u8]) {
    let text = out.strip_suffix(b"\r\n\r\n").expect("an answer ends with an empty line");
    let mut lines = 0;
    for line in text.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(!line.contains(&b'\r'));
        let names: [&[u8]; 9] = [
            b"SIP/2.0 ",
            b"Via: ",
            b"From: ",
            b"To: ",
            b"Call-ID: ",
            b"CSeq: ",
            b"Timestamp: ",
            b"Retry-After: ",
            b"Content-Length: ",
        ];
        let is_ours =
            names.iter().any(|name| line.starts_with(name)) || line.starts_with(b" ") || line.starts_with(b"\t");
        assert!(is_ours, "{}", out.escape_ascii());
        lines += 1;
    }
    assert_eq!(text.windows(2).filter(|pair| pair == b"\r\n").count() + 1, lines);
}
