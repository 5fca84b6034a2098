//! Row SX8: every limit at its exact edge, and work that grows with the bytes and not faster.

use super::*;
use crate::bytes::work;
use crate::limits;

/// Outcomes for a request and a response that hold these lines beside the basics.
fn outcomes(lines: &[&str]) -> (String, String) {
    let lines: Vec<_> = BASICS.iter().chain(lines).copied().collect();
    (request_outcome(&lines), response_outcome(&lines))
}

fn pass() -> (String, String) {
    ("request".to_owned(), "response".to_owned())
}

fn refused(reason: &str) -> (String, String) {
    (reason.to_owned(), "too_large".to_owned())
}

#[test]
fn sx8_header_lines() {
    let room = limits::HEADERS - BASICS.len();
    assert_eq!(outcomes(&vec!["X: y"; room]), pass());
    assert_eq!(outcomes(&vec!["X: y"; room + 1]), refused("513 Too Many Headers"));
}

#[test]
fn sx8_line_length() {
    let value_len = limits::LINE_BYTES - "X: \r\n".len();
    assert_eq!(outcomes(&[&format!("X: {}", "y".repeat(value_len))]), pass());
    assert_eq!(outcomes(&[&format!("X: {}", "y".repeat(value_len + 1))]), refused("513 Header Too Long"));
    let folded = format!("X: {}", "y\r\n ".repeat(value_len / 4));
    assert_eq!(outcomes(&[&folded]), pass());
    assert_eq!(outcomes(&[&format!("{folded}y\r\n yyyy")]), refused("513 Header Too Long"));
    let body = message(REQUEST_LINE, &BASICS) + &"b".repeat(3 * limits::LINE_BYTES);
    assert_eq!(outcome(body.as_bytes()), "request", "the body is exempt");
}

#[test]
fn sx8_start_line_length() {
    let rest_len = "INVITE sip: SIP/2.0\r\n".len();
    let line = |uri_len: usize| format!("INVITE sip:{} SIP/2.0", "h".repeat(uri_len - rest_len));
    assert_eq!(outcome(message(&line(limits::LINE_BYTES), &BASICS).as_bytes()), "request");
    assert_eq!(outcome(message(&line(limits::LINE_BYTES + 1), &BASICS).as_bytes()), "414 Request-URI Too Long");
    let status = |len: usize| format!("SIP/2.0 200 {}", "o".repeat(len - "SIP/2.0 200 \r\n".len()));
    assert_eq!(outcome(message(&status(limits::LINE_BYTES), &BASICS).as_bytes()), "response");
    assert_eq!(outcome(message(&status(limits::LINE_BYTES + 1), &BASICS).as_bytes()), "malformed_response");
}

#[test]
fn sx8_via_entries() {
    let line = |entries: usize| format!("Via: {}", vec!["SIP/2.0/UDP h"; entries].join(","));
    assert_eq!(outcomes(&[&line(limits::VIAS - 1)]), pass());
    assert_eq!(outcomes(&[&line(limits::VIAS)]), refused("400 Too Many Via Entries"));
    let over_lines = vec!["v: SIP/2.0/UDP h"; limits::VIAS];
    assert_eq!(outcomes(&over_lines[1..]), pass());
    assert_eq!(outcomes(&over_lines), refused("400 Too Many Via Entries"));
}

#[test]
fn sx8_route_entries() {
    for name in ["Route", "Record-Route"] {
        let line = |entries: usize| format!("{name}: {}", vec!["<sip:h,;lr>;x=\",\""; entries].join(" , "));
        assert_eq!(outcomes(&[&line(limits::ROUTES)]), pass(), "{name}");
        assert_eq!(outcomes(&[&line(limits::ROUTES + 1)]), refused("400 Too Many Route Entries"), "{name}");
        assert_eq!(outcomes(&[&line(limits::ROUTES), &format!("{name}: <sip:h>")]).1, "too_large", "{name}");
    }
    let both = [
        format!("Route: {}", vec!["<sip:h>"; 32].join(",")),
        format!("Record-Route: {}", vec!["<sip:h>"; 32].join(",")),
    ];
    assert_eq!(outcomes(&[&both[0], &both[1]]), pass(), "each of the two has its own");
}

#[test]
fn sx8_message_length() {
    for (start, largest, larger) in
        [(REQUEST_LINE, "request", "513 Message Too Large"), (STATUS_LINE, "response", "too_large")]
    {
        let head = message(start, &BASICS);
        let of = |len: usize| head.clone() + &"b".repeat(len - head.len());
        assert_eq!(outcome(of(limits::MESSAGE_BYTES).as_bytes()), largest);
        assert_eq!(outcome(of(limits::MESSAGE_BYTES + 1).as_bytes()), larger);
        assert_eq!(outcome(of(8 * limits::MESSAGE_BYTES).as_bytes()), larger);
    }
}

/// What an attacker would repeat: a piece that begins, one that repeats, one that ends.
const BOMBS: &[(&str, &str, &str)] = &[
    ("", "X: y\r\n", ""),
    ("", "v: SIP/2.0/UDP h\r\n", ""),
    ("", "Route: <sip:h;lr>\r\n", ""),
    ("Route: ", "<sip:h>,", "\r\n"),
    ("Route: ", ",", "\r\n"),
    ("Route: ", "\"\\\"\",", "\r\n"),
    ("Route: ", "\"", "\r\n"),
    ("Route: ", "<", "\r\n"),
    ("Route: ", "<\"", "\r\n"),
    ("Route: \"", "\\\"", "\r\n"),
    ("Via: SIP/2.0/UDP h", ";a=b", "\r\n"),
    ("Via: SIP/2.0/UDP h", ",SIP/2.0/UDP h", "\r\n"),
    ("X: ", "\r\n ", "\r\n"),
    ("X: ", "\\\0", "\r\n"),
    ("X: ", "\\", "\0\r\n"),
    ("X: ", "\r", "\r\n"),
    ("X: ", "\n", "\r\n"),
    ("X: ", "\t", "\r\n"),
    ("X", " ", ": y\r\n"),
    ("", "x", "\r\n"),
    ("", ":", "\r\n"),
    ("To: <sip:h>", ";a", "\r\n"),
    ("To: <sip:h>", ";", "\r\n"),
    ("To: <sip:h>", ";tag=\"\\\"\"", "\r\n"),
    ("To: \"", "\\\\", "\" <sip:h>\r\n"),
    ("To: ", "a ", "<sip:h>\r\n"),
    ("To: <", "h", ">\r\n"),
    ("Call-ID: ", "c", "\r\n"),
    ("CSeq: ", "1", " INVITE\r\n"),
    ("Max-Forwards: ", "0", "\r\n"),
    ("Content-Length: ", "0", "\r\n"),
];

fn outcome_is_seen(parsed: Parsed<'_>) {
    core::hint::black_box(parsed);
}

/// Row SX8: twice the bytes are at most twice the work, and a byte is visited a few times only. Work is counted in bytes
/// visited, so that no clock decides.
#[test]
fn sx8_work_is_linear_in_the_bytes() {
    const VISITS_PER_BYTE: u64 = 9;
    let mut index = Index::new();
    for &(before, piece, after) in BOMBS {
        for basics in [&BASICS[..], &[]] {
            let mut work_of = |len: usize| {
                let bomb = format!("{before}{}{after}", piece.repeat(len / piece.len()));
                let mut text = message(REQUEST_LINE, basics);
                text.insert_str(REQUEST_LINE.len() + 2, &bomb);
                let visited = work::of(|| outcome_is_seen(parse(text.as_bytes(), &mut index)));
                assert!(visited <= VISITS_PER_BYTE * text.len() as u64, "{before}{piece}: {visited} of {}", text.len());
                visited
            };
            for len in [1_000, 4_000, 16_000, 32_000] {
                let (once, twice) = (work_of(len), work_of(2 * len));
                assert!(twice <= 2 * once + 500, "{before}{piece}: {once}, then {twice} at {len}");
            }
        }
    }
}

/// Row SX8: leading line ends cost no more than any other byte.
#[test]
fn sx8_keepalives_without_end() {
    let mut index = Index::new();
    for text in ["\r\n".repeat(30_000), "\0".repeat(60_000), format!("{}x", "\r\n".repeat(30_000))] {
        let visited = work::of(|| outcome_is_seen(parse(text.as_bytes(), &mut index)));
        assert!(visited <= 3 * text.len() as u64, "{visited}");
    }
}
