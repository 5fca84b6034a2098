//! Rows SX6 and SX11: nobody behind us sees headers that we do not see, and bytes stay bytes.

use super::*;

/// Row SX6: nothing but CRLF ends a line, and nothing but an escape lets a NUL pass.
#[test]
fn sx6_bare_cr_lf_and_nul_before_the_body() {
    for line in [
        "X: a\rVia: SIP/2.0/UDP evil",
        "X: a\nVia: SIP/2.0/UDP evil",
        "X: a\n\nbody",
        "X: a\r\rRoute: <sip:evil>",
        "X: a\r",
        "X: a\n",
        "\nX: a",
        "X: \0",
        "X: \"\\\\\0\"",
        "X\0: a",
        "X: a\n folded",
        "X: a\r folded",
    ] {
        let outcome = request_outcome(&with(line));
        assert!(
            matches!(&*outcome, "400 Bare CR, LF Or NUL In Headers" | "400 Bad Header Name"),
            "{line:?}: {outcome}"
        );
        assert_eq!(response_outcome(&with(line)), "malformed_response", "{line:?}");
    }
    for start in ["INVITE sip:a@10.10.10.1\nX: a SIP/2.0", "INVITE sip:a@10.10.10.1 SIP/2.0\rX"] {
        assert_eq!(outcome(message(start, &BASICS).as_bytes()), "400 Bare CR, LF Or NUL In Headers", "{start:?}");
    }
    assert_eq!(outcome(message("SIP/2.0 200 O\nK", &BASICS).as_bytes()), "malformed_response");
    assert_eq!(request_outcome(&with("X: \"\\\0 \\\\\\\0\"")), "request", "quoted-pair takes a NUL");
}

/// Row SX6: a whole message with other line ends is no message.
#[test]
fn sx6_other_line_ends() {
    let text = message(REQUEST_LINE, &BASICS);
    assert_eq!(outcome(text.replace("\r\n", "\n").as_bytes()), "not_sip");
    assert_eq!(outcome(text.replace("\r\n", "\r").as_bytes()), "not_sip");
    let mixed = text.replacen("\r\n\r\n", "\n\n", 1);
    assert_eq!(outcome(mixed.as_bytes()), "400 Bare CR, LF Or NUL In Headers");
}

/// Row SX6: names that another element might read as something else.
#[test]
fn sx6_names_that_cannot_be_read() {
    for line in [
        "Vi\r\n a: SIP/2.0/UDP evil",
        "V ia: a",
        "Via\u{a0}: a",
        ": a",
        " : a",
        "no colon",
        "X\u{e9}: a",
        "\"X\": a",
        "X;y: a",
        "X\x0b: a",
    ] {
        let outcome = request_outcome(&with(line));
        // A line that begins with white space belongs to the header before it.
        let expected = if line.starts_with(' ') { "400 Bad CSeq" } else { "400 Bad Header Name" };
        assert_eq!(outcome, expected, "{line:?}");
    }
    let indented = message(REQUEST_LINE, &[]).replace("\r\n\r\n", "\r\n Via: SIP/2.0/UDP evil\r\n\r\n");
    assert_eq!(outcome(indented.as_bytes()), "no_via");
    let text = message(REQUEST_LINE, &[&[" X: a"], &BASICS[..]].concat());
    assert_eq!(outcome(text.as_bytes()), "400 Bad Header Name");
}

/// Row SX6: a body that looks like headers is a body.
#[test]
fn sx6_a_body_that_poses_as_headers() {
    let text = message(REQUEST_LINE, &with("l: 28")) + "Via: SIP/2.0/UDP evil\r\nl: 0\r\n\r\nX";
    let mut index = Index::new();
    let Parsed::Request(request) = parse(text.as_bytes(), &mut index) else { panic!("{text}") };
    assert_eq!((request.all(Name::Via).count(), request.body().len()), (1, 28));
}

/// Headers without an end are no headers; what was cut off is not read.
#[test]
fn headers_that_do_not_end() {
    let text = message(REQUEST_LINE, &BASICS);
    for cut in text.find("Max-Forwards").unwrap()..text.len() {
        let outcome = outcome(&text.as_bytes()[..cut]);
        assert_eq!(outcome, "400 No End Of Headers", "{cut}");
    }
    let text = message(STATUS_LINE, &BASICS);
    assert_eq!(outcome(&text.as_bytes()[..text.len() - 2]), "malformed_response");
}

/// Row SX11: bytes that are no UTF-8, or no text, pass where nothing is read in them.
#[test]
fn sx11_bytes_are_opaque() {
    for garbage in
        [&b"\xff\xfe\x80"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"%00%00", b"\x1b[2J\x07\x7f", b"'; DROP TABLE dids; --"]
    {
        let mut bytes = message(REQUEST_LINE, &BASICS).into_bytes();
        bytes.truncate(bytes.len() - 2);
        for part in [&b"X-Garbage: "[..], garbage, b"\r\nSubject: \"", garbage, b"\"\r\n\r\n", garbage, b"\0\r\n"] {
            bytes.extend_from_slice(part);
        }
        let mut index = Index::new();
        let Parsed::Request(request) = parse(&bytes, &mut index) else { panic!("{garbage:?}") };
        assert_eq!(request.value(&request.headers()[6]), garbage);
        assert!(request.body().of(request.bytes()).ends_with(b"\0\r\n"));
    }
}

/// Every message cut anywhere, and every byte of it changed to any other, leads to one of the three answers.
#[test]
fn no_byte_and_no_cut_panics() {
    let text =
        message(REQUEST_LINE, &with("Route: \"a\\\"\" <sip:b;lr>;x=\"y\" , <sip:c>\r\nContent-Length: 2")) + "ab";
    let mut index = Index::new();
    let mut bytes = text.clone().into_bytes();
    for at in 0..bytes.len() {
        parse(&text.as_bytes()[..at], &mut index);
        for byte in 0..=u8::MAX {
            bytes[at] = byte;
            match parse(&bytes, &mut index) {
                Parsed::Request(Request { message, .. }) | Parsed::Answerable(Answerable { message, .. }) => {
                    assert_eq!(message.body().range().end, message.bytes().len());
                    let removals = message.list(Name::Route).map(|item| message.removal(&item).len()).sum::<usize>();
                    assert!(removals <= message.bytes().len() && message.second_via() != Ok(Some(*message.via())));
                }
                Parsed::Response(_) | Parsed::Hopeless(_) => {}
            }
        }
        bytes[at] = text.as_bytes()[at];
    }
}
