use super::*;

/// What a frame was, owned.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Seen {
    Message(Vec<u8>),
    Ping,
    Refuse(Vec<u8>, Fault),
    Close(CloseReason),
}

fn drain(framer: &mut Framer, seen: &mut Vec<Seen>) {
    while let Some(frame) = framer.next() {
        seen.push(match frame {
            Frame::Message(bytes) => Seen::Message(bytes.to_vec()),
            Frame::Ping => Seen::Ping,
            Frame::Refuse { head, fault } => Seen::Refuse(head.to_vec(), fault),
            Frame::Close(reason) => Seen::Close(reason),
        });
    }
}

const LIMITS: FramingLimits = FramingLimits { head_bytes: 400, message_bytes: 600 };

/// The frames of `stream` in one piece, which must be those of every single byte alone.
fn frames(stream: &[u8]) -> Vec<Seen> {
    let mut whole = Vec::new();
    let mut framer = Framer::new(LIMITS);
    framer.push(stream);
    drain(&mut framer, &mut whole);
    let mut single = Vec::new();
    let mut framer = Framer::new(LIMITS);
    for byte in stream {
        framer.push(std::slice::from_ref(byte));
        drain(&mut framer, &mut single);
    }
    assert_eq!(whole, single, "{}", stream.escape_ascii());
    whole
}

fn message(headers: &str, body: &str) -> Vec<u8> {
    format!("MESSAGE sip:a@example.com SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bKa\r\n{headers}\r\n\r\n{body}")
        .into_bytes()
}

/// Row TP5: Content-Length, in every spelling it may have, cuts the stream.
#[test]
fn tp5_content_length_cuts_the_stream() {
    for header in [
        "Content-Length: 5",
        "l:5",
        "CONTENT-LENGTH \t : \t5 ",
        "Content-Length:\r\n 5",
        "X: Content-Length: 9\r\nl: 005",
        "X: folded\r\n l: 9\r\nl: 5\r\n ",
    ] {
        let first = message(header, "hello");
        let second = message("l: 0", "");
        let expected = [Seen::Message(first.clone()), Seen::Message(second.clone())];
        assert_eq!(frames(&[first, second].concat()), expected, "{header}");
    }
}

/// Rows TP5 and SX6: a stream that does not say where its message ends, or says it twice, is refused and closed.
#[test]
fn tp5_sx6_unclear_framing_is_refused_and_closed() {
    let length = Name::ContentLength;
    for (header, fault) in [
        ("X: 1", Fault::Missing(length)),
        ("Content-Length: ", Fault::Malformed(length)),
        ("Content-Length: -1", Fault::Malformed(length)),
        ("Content-Length: +1", Fault::Malformed(length)),
        ("Content-Length: 1 1", Fault::Malformed(length)),
        ("Content-Length: 1, 1", Fault::Malformed(length)),
        ("Content-Length: 0x1", Fault::Malformed(length)),
        ("Content-Length: 1\x0c", Fault::Malformed(length)),
        ("Content-Length: 1;x", Fault::Malformed(length)),
        ("Content-Length: 1\r\nl: 1", Fault::Repeated(length)),
        ("l: 1\r\nl: 2", Fault::Repeated(length)),
        ("X: a\nContent-Length: 3\r\nContent-Length: 1", Fault::LineEnd),
        ("Content-Length: 1\rX: y", Fault::LineEnd),
        ("Content-Length\0: 1", Fault::Missing(length)),
        ("X: y\r\n Content-Length: 1", Fault::Missing(length)),
        ("Content-Length\r\n : 1", Fault::Missing(length)),
    ] {
        let head = message(header, "");
        let mut stream = head.clone();
        stream.extend_from_slice(&message("l: 0", ""));
        assert_eq!(frames(&stream), [Seen::Refuse(head, fault)], "{header:?}");
    }
}

/// Row TP6: CRLFs in front of a message count for nothing, and two of them between messages are a ping.
#[test]
fn tp6_crlfs_between_messages() {
    let one = message("l: 2", "\r\n");
    let seen = |bytes: &[u8]| Seen::Message(bytes.to_vec());
    assert_eq!(frames(b"\r\n\r\n"), [Seen::Ping]);
    assert_eq!(frames(b"\r\n\r\n\r\n"), [Seen::Ping]);
    assert_eq!(frames(&[b"\r\n", &one[..]].concat()), [seen(&one)]);
    assert_eq!(frames(&[b"\r\n\r\n\r\n", &one[..], b"\r\n", &one].concat()), [Seen::Ping, seen(&one), seen(&one)]);
    assert_eq!(frames(&[&one[..], b"\r\n\r\n\r\n\r\n"].concat()), [seen(&one), Seen::Ping, Seen::Ping]);
    for noise in [&b"\r\r"[..], b"\n", b"\r\n\n", b"\r\n\r\r", b"\0", b" INVITE", b"\x16\x03\x01", b"\r\n\xff"] {
        assert_eq!(frames(noise), [Seen::Close(CloseReason::NotSip)], "{}", noise.escape_ascii());
    }
    assert_eq!(frames(b"\r\n\r"), []);
}

/// Row W11: headers and message have a limit each, and what lies on it passes.
#[test]
fn w11_limits_close_the_stream() {
    let padded = |len: usize, rest: &str| {
        let head = message(&format!("X: \r\n{rest}"), "");
        message(&format!("X: {}\r\n{rest}", "x".repeat(len - head.len())), "")
    };
    let longest = padded(LIMITS.head_bytes, "l: 0");
    assert_eq!(frames(&longest), [Seen::Message(longest.clone())]);
    assert_eq!(frames(&padded(LIMITS.head_bytes + 1, "l: 0")), [Seen::Close(CloseReason::HeadTooLong)]);
    assert_eq!(frames(&[b'x'; 399]), []);
    assert_eq!(frames(&[b'x'; 400]), [Seen::Close(CloseReason::HeadTooLong)]);

    let head = padded(300, "l: 300");
    let largest = [&head[..], &[0; 300]].concat();
    assert_eq!(frames(&largest), [Seen::Message(largest.clone())]);
    for length in ["301", "99999999999999999999999999"] {
        let head = padded(300, &format!("l: {length}"));
        assert_eq!(frames(&head), [Seen::Refuse(head.clone(), Fault::TooLarge)], "{length}");
    }
    assert_eq!(Fault::TooLarge.status(), 513);
}

/// Row W11: a hundred messages in one piece are a hundred frames, and nothing is kept behind them.
#[test]
fn w11_pipelined_messages() {
    let one = message("l: 3", "abc");
    let mut framer = Framer::new(FramingLimits::default());
    framer.push(&one.repeat(100));
    let mut seen = Vec::new();
    drain(&mut framer, &mut seen);
    assert_eq!(seen, vec![Seen::Message(one); 100]);
    assert_eq!(framer.pending(), 0);
    framer.push(b"");
    assert!(framer.buffer.is_empty() && framer.buffer.capacity() <= IDLE_BYTES);
}

/// Row W11: a stream of one byte a time costs work in proportion to its bytes.
#[test]
fn w11_single_bytes_are_searched_once() {
    let mut framer = Framer::new(FramingLimits::default());
    let mut searched = 0;
    for _ in 0..30_000 {
        framer.push(b"x");
        let before = framer.searched.saturating_sub(3);
        assert_eq!(framer.next(), None);
        searched += framer.searched - before;
    }
    assert!(searched <= 4 * 30_000, "{searched}");
    assert_eq!(framer.pending(), 30_000);
}

#[test]
fn a_closed_stream_takes_and_yields_nothing() {
    let mut framer = Framer::new(LIMITS);
    framer.push(b"\0");
    assert_eq!(framer.next(), Some(Frame::Close(CloseReason::NotSip)));
    framer.push(&message("l: 0", ""));
    assert!(framer.next().is_none() && framer.is_closed() && framer.pending() == 0);
}
