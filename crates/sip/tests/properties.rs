//! What holds whatever arrives in whatever pieces: framing does not depend on the chunks, and a splice touches nothing
//! but what it was told to.

#![expect(clippy::unwrap_used, reason = "the lint's leave for tests does not reach the functions they share")]

use proptest::prelude::{
    Just, ProptestConfig as Config, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use proptest::sample::Index as Pick;
use sip::{CloseReason, Disordered, Fault, Frame, Framer, FramingLimits, Index, Name, Parsed, Span, Splice};

/// What a frame was, owned.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Seen {
    Message(Vec<u8>),
    Ping,
    Refuse(Vec<u8>, Fault),
    Close(CloseReason),
}

const LIMITS: FramingLimits = FramingLimits { head_bytes: 300, message_bytes: 500 };

/// Pushes the stream in chunks of these lengths, the last one over and over, and takes all frames after each.
fn frames(stream: &[u8], lengths: &[usize]) -> Vec<Seen> {
    let mut framer = Framer::new(LIMITS);
    let mut seen = Vec::new();
    let mut rest = stream;
    let mut lengths = lengths.iter().chain(std::iter::repeat(lengths.last().unwrap()));
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at((*lengths.next().unwrap()).clamp(1, rest.len()));
        rest = after;
        framer.push(chunk);
        while let Some(frame) = framer.next() {
            seen.push(match frame {
                Frame::Message(bytes) => Seen::Message(bytes.to_vec()),
                Frame::Ping => Seen::Ping,
                Frame::Refuse { head, fault } => Seen::Refuse(head.to_vec(), fault),
                Frame::Close(reason) => Seen::Close(reason),
            });
        }
    }
    seen
}

/// A message with that body and that spelling of Content-Length.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let spelling = prop_oneof![Just("Content-Length: "), Just("l:"), Just("CONTENT-LENGTH \t:\r\n "), Just("L: 00")];
    (spelling, proptest::collection::vec(any::<u8>(), 0..100), "(X: [a-z]{0,30}(\r\n [a-z]{1,9})?\r\n){0,3}").prop_map(
        |(spelling, body, others)| {
            let head = format!(
                "MESSAGE sip:b@example.com SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bKa\r\n{others}From: <sip:a@b>;tag=1\r\n\
                 To: <sip:b@example.com>\r\nCall-ID: c\r\nCSeq: 1 MESSAGE\r\n{spelling}{}\r\n\r\n",
                body.len()
            );
            [head.as_bytes(), &body].concat()
        },
    )
}

/// A piece of a stream, and the frames it must yield.
fn piece() -> impl Strategy<Value = (Vec<u8>, Vec<Seen>)> {
    prop_oneof![
        4 => message().prop_map(|bytes| (bytes.clone(), vec![Seen::Message(bytes)])),
        1 => message().prop_map(|bytes| ([b"\r\n", &bytes[..]].concat(), vec![Seen::Message(bytes)])),
        1 => (1..4_usize).prop_map(|pings| (b"\r\n\r\n".repeat(pings), vec![Seen::Ping; pings])),
    ]
}

/// What ends a stream, and what it must yield.
fn end() -> impl Strategy<Value = (Vec<u8>, Vec<Seen>)> {
    let refused = |header: &'static str, fault| {
        let head = format!("BYE sip:b@example.com SIP/2.0\r\nVia: SIP/2.0/TCP h\r\n{header}\r\n\r\n").into_bytes();
        (head.clone(), vec![Seen::Refuse(head, fault)])
    };
    prop_oneof![
        Just((Vec::new(), Vec::new())),
        Just((b"\r\nBYE sip:".to_vec(), Vec::new())),
        Just((vec![b'x'; 301], vec![Seen::Close(CloseReason::HeadTooLong)])),
        Just((b"\x16\x03\x01".to_vec(), vec![Seen::Close(CloseReason::NotSip)])),
        Just(refused("X: 1", Fault::Missing(Name::ContentLength))),
        Just(refused("l: -1", Fault::Malformed(Name::ContentLength))),
        Just(refused("l: 1\r\nContent-Length: 1", Fault::Repeated(Name::ContentLength))),
        Just(refused("l: 500", Fault::TooLarge)),
        Just(refused("l: 1\nl: 2", Fault::LineEnd)),
    ]
}

fn lengths() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        Just(vec![1]),
        proptest::collection::vec(1..60_usize, 1..30),
        proptest::collection::vec(1..900_usize, 1..9)
    ]
}

/// Edits that fit into a source of that length, in order and disjoint.
fn edits(len: usize) -> impl Strategy<Value = Vec<(usize, usize, Vec<u8>)>> {
    let edit = (any::<Pick>(), any::<Pick>(), proptest::collection::vec(any::<u8>(), 0..8));
    proptest::collection::vec(edit, 0..6).prop_map(move |picks| {
        let mut edits: Vec<(usize, usize, Vec<u8>)> = Vec::new();
        for (start, end, text) in picks {
            let from = edits.last().map_or(0, |(_, end, _)| *end);
            let start = from + start.index(len + 1 - from);
            let end = start + end.index(len + 1 - start);
            edits.push((start, end, text));
        }
        edits
    })
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    /// Rows TP5, TP6 and W11.
    #[test]
    fn tp5_tp6_w11_any_chunks_yield_the_same_frames(
        pieces in proptest::collection::vec(piece(), 0..8),
        end in end(),
        lengths in lengths(),
    ) {
        let stream: Vec<u8> = pieces.iter().chain([&end]).flat_map(|(bytes, _)| bytes.clone()).collect();
        let expected: Vec<Seen> = pieces.iter().chain([&end]).flat_map(|(_, seen)| seen.clone()).collect();
        prop_assert_eq!(&frames(&stream, &lengths), &expected);
        prop_assert_eq!(&frames(&stream, &[1]), &expected);
        let mut index = Index::new();
        for seen in expected {
            if let Seen::Message(bytes) = seen {
                let parsed = sip::parse_framed(&bytes, &mut index);
                prop_assert!(matches!(parsed, Parsed::Request(request) if request.bytes() == bytes));
            }
        }
    }

    /// Bytes that mean nothing are framed alike however they come.
    #[test]
    fn w11_noise_in_any_chunks_yields_the_same_frames(
        noise in "([A-Z]{1,4}|\r\n|\r|\n|l: ?[0-9]{0,2}\r\n|Content-Length|:| |\r\n\r\n|x){0,40}",
        lengths in lengths(),
    ) {
        prop_assert_eq!(frames(noise.as_bytes(), &lengths), frames(noise.as_bytes(), &[usize::MAX]));
    }

    /// Every byte that is not edited leaves as it came (row F1).
    #[test]
    fn f1_a_splice_changes_what_it_was_told_to(
        (source, edits) in proptest::collection::vec(any::<u8>(), 0..80).prop_flat_map(|source| {
            let edits = edits(source.len());
            (Just(source), edits)
        }),
    ) {
        let mut out = b"kept".to_vec();
        let mut splice = Splice::new(&source, &mut out);
        for (start, end, text) in &edits {
            splice.replace(Span::new(*start, *end), text);
        }
        prop_assert_eq!(splice.finish(), Ok(()));
        let mut expected = source;
        for (start, end, text) in edits.iter().rev() {
            expected.splice(start..end, text.iter().copied());
        }
        prop_assert_eq!(out, [b"kept", &expected[..]].concat());
    }

    /// Two edits out of order spoil the copy whole, unless they touch nothing in common.
    #[test]
    fn a_disordered_splice_leaves_the_buffer_alone(source in "[a-z]{4,20}", at in any::<Pick>()) {
        let at = u32::try_from(at.index(source.len() - 1)).unwrap() + 1;
        let mut out = b"kept".to_vec();
        let mut splice = Splice::new(source.as_bytes(), &mut out);
        splice.delete(Span { start: 0, end: at });
        splice.insert(at - 1, b"x");
        splice.insert(at, b"y");
        prop_assert_eq!(splice.finish(), Err(Disordered));
        prop_assert_eq!(out, b"kept");
    }
}
