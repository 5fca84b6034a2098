//! A stream: however it is chopped, the frames are the same, and every message is one that the scanner takes whole.
//!
//! Input: a byte that picks limits, a byte that seeds the chopping, then the stream.

use sip::{CloseReason, Fault, Frame, Framer, FramingLimits, Index, Name, Parsed};

use crate::datagram::visit;

/// What a frame was, owned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    /// A message.
    Message(Vec<u8>),
    /// A ping.
    Ping,
    /// A refusal and the head it is for.
    Refuse(Vec<u8>, Fault),
    /// The end.
    Close(CloseReason),
}

/// Chops the stream in `data` in three ways.
pub fn run(data: &[u8]) {
    let [choice, seed, stream @ ..] = data else { return };
    let limits = match choice % 2 {
        0 => FramingLimits::default(),
        _ => FramingLimits { head_bytes: 300 + usize::from(*choice), message_bytes: 600 + usize::from(*choice) },
    };
    let whole = frames(limits, [stream].into_iter());
    for seen in &whole {
        visit_frame(seen);
    }
    assert_eq!(whole, frames(limits, stream.chunks(1)));
    let mut state = u32::from(*seed) | 0x100;
    let mut rest = stream;
    let chopped = std::iter::from_fn(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let len = (state >> 24) as usize % rest.len().max(1) + 1;
        let (chunk, after) = rest.split_at_checked(len).filter(|_| !rest.is_empty())?;
        rest = after;
        Some(chunk)
    });
    assert_eq!(whole, frames(limits, chopped));
}

/// All frames of the chunks, taken after each.
pub fn frames<'c>(limits: FramingLimits, chunks: impl Iterator<Item = &'c [u8]>) -> Vec<Seen> {
    let mut framer = Framer::new(limits);
    let mut seen = Vec::new();
    for chunk in chunks {
        framer.push(chunk);
        while let Some(frame) = framer.next() {
            seen.push(match frame {
                Frame::Message(bytes) => Seen::Message(bytes.to_vec()),
                Frame::Ping => Seen::Ping,
                Frame::Refuse { head, fault } => Seen::Refuse(head.to_vec(), fault),
                Frame::Close(reason) => Seen::Close(reason),
            });
        }
        assert!(framer.pending() <= limits.message_bytes, "an unfinished message stays within its limit");
    }
    let ends = |seen: &Seen| matches!(seen, Seen::Refuse(..) | Seen::Close(_));
    assert_eq!(framer.is_closed(), seen.last().is_some_and(ends));
    assert!(seen.iter().rev().skip(1).all(|seen| !ends(seen)), "nothing comes after the end");
    seen
}

fn visit_frame(seen: &Seen) {
    let mut index = Index::new();
    match seen {
        Seen::Message(bytes) => {
            let parsed = sip::parse_framed(bytes, &mut index);
            visit(&parsed);
            match &parsed {
                Parsed::Request(request) => assert_eq!(request.bytes(), bytes, "framing and scanner agree"),
                Parsed::Response(response) => assert_eq!(response.bytes(), bytes, "framing and scanner agree"),
                Parsed::Answerable(answerable) => assert!(!is_about_framing(answerable.fault), "{parsed:?}"),
                Parsed::Hopeless(_) => {}
            }
        }
        Seen::Refuse(head, fault) => {
            assert!(matches!(fault, Fault::LineEnd | Fault::TooLarge) || is_about_framing(*fault));
            let parsed = sip::parse_framed(head, &mut index);
            visit(&parsed);
            let is_sound = matches!(parsed, Parsed::Request(_) | Parsed::Response(_));
            assert!(!is_sound, "what framing refuses the scanner does not take: {parsed:?}");
        }
        Seen::Close(reason) => assert!(!reason.to_string().is_empty() && !reason.name().is_empty()),
        Seen::Ping => {}
    }
}

fn is_about_framing(fault: Fault) -> bool {
    use Fault::{Malformed, Missing, Repeated, ShortBody};
    matches!(fault, Missing(Name::ContentLength) | Repeated(Name::ContentLength) | Malformed(Name::ContentLength))
        || fault == ShortBody
}
