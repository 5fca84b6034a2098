//! A datagram, or a message cut out of a stream: read, and everything in it visited.

use std::hint::black_box;

use sip::{Answerable, CSeq, Index, Message, Name, NameAddr, Parsed, Request, Response, Rport, Span, Uri, Via};

/// The names whose lists are walked.
const LISTS: [Name; 12] = [
    Name::Via,
    Name::Route,
    Name::RecordRoute,
    Name::Contact,
    Name::ProxyRequire,
    Name::Supported,
    Name::Unsupported,
    Name::PAssertedIdentity,
    Name::Diversion,
    Name::HistoryInfo,
    Name::From,
    Name::Other,
];

/// Reads `data` both ways; what a message says must be said again by the message alone.
pub fn run(data: &[u8]) {
    let (mut index, mut again) = (Index::new(), Index::new());
    let parsed = sip::parse_framed(data, &mut index);
    visit(&parsed);
    let parsed = sip::parse(data, &mut index);
    visit(&parsed);
    if let Some(message) = sound(&parsed) {
        let second = sip::parse(message.bytes(), &mut again);
        let second = sound(&second).expect("a message that was read can be read again");
        assert_eq!(message.headers(), second.headers());
        assert_eq!(message.body(), second.body());
        assert_eq!(message.bytes(), second.bytes());
    }
}

/// The message of a request or response without a fault.
pub fn sound<'p, 'a>(parsed: &'p Parsed<'a>) -> Option<&'p Message<'a>> {
    match parsed {
        Parsed::Request(request) => Some(request.message()),
        Parsed::Response(response) => Some(response.message()),
        Parsed::Answerable(_) | Parsed::Hopeless(_) => None,
    }
}

/// Visits all that was found.
pub fn visit(parsed: &Parsed<'_>) {
    match parsed {
        Parsed::Request(request) => visit_request(request),
        Parsed::Response(response) => visit_response(response),
        Parsed::Answerable(answerable) => visit_answerable(answerable),
        Parsed::Hopeless(hopeless) => {
            black_box((hopeless.name(), hopeless.to_string()));
        }
    }
}

fn visit_request(request: &Request<'_>) {
    let bytes = request.bytes();
    visit_sound(request);
    assert!(!request.method_bytes().is_empty());
    assert_eq!(request.method_bytes(), request.cseq().method_bytes);
    assert_eq!(sip::Method::from_bytes(request.method_bytes()), request.method());
    let uri = Uri::parse(request.uri().of(bytes)).expect("the request-URI of a request can be read");
    visit_uri(&uri);
    assert!(request.max_forwards().is_none_or(|hops| hops <= sip::limits::MAX_FORWARDS));
}

fn visit_response(response: &Response<'_>) {
    visit_sound(response);
    let status = format!("{:03}", response.status());
    assert_eq!(response.status_span().of(response.bytes()), status.as_bytes());
    black_box(sum(response.reason().of(response.bytes())));
}

fn visit_answerable(answerable: &Answerable<'_>) {
    visit_message(&answerable.message);
    assert_ne!(answerable.method, sip::Method::Ack, "no ACK is ever answered");
    assert!((400..=599).contains(&answerable.fault.status()));
    assert!(answerable.fault.reason().bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    black_box((answerable.fault.to_string(), answerable.fault.is_size()));
}

/// What holds for every message without a fault.
fn visit_sound(message: &Message<'_>) {
    visit_message(message);
    let bytes = message.bytes();
    for header in message.headers() {
        assert_eq!(Name::from_bytes(header.name_span.of(bytes)), header.name);
    }
    assert!(!message.call_id().is_empty());
    for (value, tag) in [(message.from(), message.from_tag()), (message.to(), message.to_tag())] {
        let address = NameAddr::parse(value.of(bytes)).expect("From and To of a sound message can be read");
        assert_eq!(address.tag_bytes(), tag);
        visit_address(&address);
    }
    let top = message.list(Name::Via).next().expect("a sound message has a Via");
    assert_eq!(Via::parse(bytes, top.span), Ok(*message.via()));
    assert_eq!(message.body().range().end, bytes.len());
    assert_eq!(bytes.len() - message.body().len(), head_len(bytes), "the body begins behind the first empty line");
}

fn head_len(bytes: &[u8]) -> usize {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4)
}

fn visit_message(message: &Message<'_>) {
    let bytes = message.bytes();
    assert!(bytes.len() <= sip::limits::MESSAGE_BYTES);
    assert!(message.headers().len() <= sip::limits::HEADERS);
    let mut end = message.headers_start();
    for header in message.headers() {
        let Span { start, end: line_end } = header.line;
        assert!(start >= end && line_end <= message.body().start, "headers are in order and in front of the body");
        end = line_end;
        assert!(header.name_span.start == start && header.name_span.end < line_end);
        assert!(header.value.start > header.name_span.end && header.value.end <= line_end);
        let value = message.value(header);
        assert!(!value.first().is_some_and(is_blank) && !value.last().is_some_and(is_blank));
        black_box((sum(value), header.name.as_str()));
        assert!(message.first(header.name).is_some_and(|first| first.line.start <= start));
    }
    for name in LISTS {
        visit_list(message, name);
    }
    visit_via(message.via(), bytes);
    let second = message.second_via();
    assert_eq!(message.second_received(), second.map(|via| via.map(|via| via.received_ip)), "both say the same");
    if let Ok(Some(via)) = second {
        visit_via(&via, bytes);
    }
    let CSeq { number, method_bytes, .. } = message.cseq();
    assert!(number < sip::limits::CSEQ_NUMBER);
    black_box((sum(method_bytes), sum(message.call_id()), message.from_tag().map(sum), message.to_tag().map(sum)));
    black_box((sum(message.from().of(bytes)), sum(message.to().of(bytes)), sum(message.body().of(bytes))));
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn visit_list(message: &Message<'_>, name: Name) {
    let bytes = message.bytes();
    for item in message.list(name) {
        assert_eq!(item.header.name, name);
        assert!(!item.span.is_empty());
        assert!(item.header.value.start <= item.span.start && item.span.end <= item.header.value.end);
        let removal = message.removal(&item);
        assert!(removal.start <= item.span.start && item.span.end <= removal.end);
        assert!(item.header.line.start <= removal.start && removal.end <= item.header.line.end);
        assert!(removal != item.header.line || (item.first_in_line && item.last_in_line));
        if name == Name::Via {
            if let Ok(via) = Via::parse(bytes, item.span) {
                visit_via(&via, bytes);
            }
        } else if let Ok(address) = NameAddr::parse(item.span.of(bytes)) {
            visit_address(&address);
        }
    }
}

/// Visits a Via entry of the message `bytes`.
pub fn visit_via(via: &Via<'_>, bytes: &[u8]) {
    let entry = via.span.of(bytes);
    assert!(!entry.is_empty() && !via.host.is_empty() && !via.transport.is_empty());
    assert!(via.span.start < via.sent_by.start && via.sent_by.end <= via.span.end);
    assert!(via.sent_by.of(bytes).starts_with(via.host));
    assert_eq!(via.branch, via.branch_span.map(|span| span.of(bytes)));
    let is_inside = |span: Span| via.sent_by.end < span.start && span.end <= via.span.end && !span.is_empty();
    assert!(via.received.is_none_or(is_inside) && via.branch_span.is_none_or(is_inside));
    match via.rport {
        Rport::Absent => {}
        Rport::Requested(word) => assert!(is_inside(word) && word.of(bytes).eq_ignore_ascii_case(b"rport")),
        Rport::Filled { port, value } => assert!(is_inside(value) && port > 0),
    }
    black_box((via.has_cookie(), via.port, via.received_ip, via.maddr.map(sum), via.ttl));
}

/// Visits an address and, when it is one, its URI.
pub fn visit_address(address: &NameAddr<'_>) {
    let bytes = address.bytes;
    assert!(address.addr.start <= address.uri.start && address.uri.end <= address.addr.end);
    assert!(address.addr.end <= address.params.start && address.params.range().end == bytes.len());
    assert!(address.display.is_none_or(|display| display.start == address.addr.start));
    black_box(address.display_text().map(|text| sum(&text)));
    let mut end = address.params.start;
    for param in address.params() {
        assert!(param.span.start >= end && param.span.of(bytes).starts_with(b";"));
        assert!(param.name.start > param.span.start && param.value.unwrap_or(param.name).end <= param.span.end);
        end = param.span.end;
    }
    assert_eq!(address.param("tag").flatten(), address.tag_bytes());
    if let Ok(uri) = Uri::parse(address.uri_bytes()) {
        visit_uri(&uri);
    }
}

/// Visits a URI; its parts must make the whole again.
pub fn visit_uri(uri: &Uri<'_>) {
    let mut whole = Vec::new();
    let scheme_len = uri.bytes.iter().position(|&byte| byte == b':').expect("a URI has a scheme") + 1;
    whole.extend_from_slice(&uri.bytes[..scheme_len]);
    whole.extend_from_slice(uri.user_bytes().unwrap_or_default());
    if let Some(password) = uri.password {
        whole.push(b':');
        whole.extend_from_slice(password.of(uri.bytes));
    }
    if uri.user.is_some() && !uri.host.is_empty() {
        whole.push(b'@');
    }
    whole.extend_from_slice(uri.hostport.of(uri.bytes));
    whole.extend_from_slice(uri.params.of(uri.bytes));
    if let Some(headers) = uri.headers {
        whole.push(b'?');
        whole.extend_from_slice(headers.of(uri.bytes));
    }
    if uri.scheme != sip::Scheme::Other {
        assert_eq!(whole.escape_ascii().to_string(), uri.bytes.escape_ascii().to_string());
    }
    assert!(uri.hostport.of(uri.bytes).starts_with(uri.host_bytes()));
    assert_eq!(uri.port.is_some(), uri.port_span.is_some());
    for param in uri.params() {
        assert!(param.span.of(uri.bytes).starts_with(b";"));
        black_box((sum(param.name), param.value.map(sum), param.is("lr")));
    }
    black_box((uri.host_ip(), uri.param("lr"), uri.param("transport")));
    let mut decoded = [0; 64];
    black_box(uri.user_bytes().and_then(|user| sip::decode_user(user, &mut decoded)));
}

/// Looks at every byte.
fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().map(|&byte| u64::from(byte)).sum()
}
