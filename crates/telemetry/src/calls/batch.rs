//! What the turns of a worker leave for the records: their messages and the facts about calls, in order, in one buffer.

use crate::limits::BATCH_BYTES;
use proxy::dispatch::Direction;
use proxy::outbox::FailoverReason;
use proxy::{CallKey, Decision, EndedBy, Flow, ListenerId, PartyId, Peer, Refusal, Rule, Time};
use sip::{Number, Span};
use std::net::{IpAddr, SocketAddr};

/// A message that shares less is kept whole: saying so would take as much.
const SHARED_BYTES: usize = 32;

/// Messages and facts. Its room is used again.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) entries: Vec<(Time, Entry)>,
    /// Of the INVITEs that were dispatched, in order.
    pub(super) decisions: Vec<Decision>,
}

/// One message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// The other end.
    pub(super) remote: SocketAddr,
    /// Which socket of ours.
    pub(super) listener: ListenerId,
    /// Where it stands in the batch's bytes, or what it has between the bytes that it shares; empty when it found no room.
    pub(super) span: Span,
    /// So many bytes at its beginning and at its end are those of the message that made the core send it.
    pub(super) shared: (u32, u32),
    /// Its length, also when it found no room.
    pub(super) length: usize,
    /// Where the core found the Call-ID of one that arrived; empty where it found none.
    pub(super) call_id: Span,
    /// It is an INVITE that was dispatched.
    pub(super) opens: bool,
}

/// One thing that happened. Texts are spans of the batch's bytes. It is small: what is large stands beside.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entry {
    /// A message arrived.
    Arrived(Frame),
    /// A message left. It is of the same call as the one that arrived at this place among the entries, where it is of one
    /// that arrived: what the core sends for a message has the Call-ID of that.
    Left(Frame, Option<usize>),
    /// A turn is over: what follows is of another one.
    TurnOver,
    /// The message that arrived last is an INVITE that was dispatched: `decision` is a place among the batch's.
    Opened { key: CallKey, call_id: Span, called: Span, from: PartyId, decision: usize },
    /// The organisation of the call that was opened last.
    Owned(Span),
    /// A message of this call named a media address outside the networks of its sender.
    StrayMedia { key: CallKey, call_id: Span, from: PartyId, address: IpAddr },
    /// The caller ID of the call that was opened last, and the DID that it is.
    Shown(Rule, Number),
    /// The call that was opened last claimed another organisation's number.
    Foreign,
    /// The message that arrived last was refused.
    Refused(PartyId, Refusal),
    /// The attempt before the next one failed.
    Failover(FailoverReason),
    /// The INVITE went to a peer.
    Attempt { key: CallKey, toward: PartyId, peer: Peer },
    /// It rings.
    Ringing { call_id: Span },
    /// It was answered, or is over.
    Final { key: CallKey, call_id: Span, status: u16 },
    /// An answered call is over.
    Ended { key: CallKey, call_id: Span, by: EndedBy, after_us: u64, talked_us: u64 },
    /// A BYE of a call that is not in progress: the caller's side first.
    EndedUnseen {
        key: CallKey,
        call_id: Span,
        direction: Direction,
        parties: [PartyId; 2],
        users: [Span; 2],
        by: EndedBy,
    },
}

impl Batch {
    /// True when there is nothing to hand over.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.decisions.clear();
    }

    /// How much there is: bytes, entries and decisions.
    pub(super) fn mark(&self) -> [usize; 3] {
        [self.bytes.len(), self.entries.len(), self.decisions.len()]
    }

    /// Drops what came after a mark.
    pub(super) fn cut(&mut self, [bytes, entries, decisions]: [usize; 3]) {
        self.bytes.truncate(bytes);
        self.entries.truncate(entries);
        self.decisions.truncate(decisions);
    }

    pub(super) fn keep(&mut self, text: &[u8]) -> Span {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(text);
        Span::new(start, self.bytes.len())
    }

    pub(super) fn frame(&mut self, flow: &Flow, bytes: &[u8]) -> Frame {
        let fits = self.bytes.len() + bytes.len() <= BATCH_BYTES;
        let span = self.keep(if fits { bytes } else { b"" });
        let (shared, length) = ((0, 0), bytes.len());
        let (call_id, opens) = (Span::default(), false);
        Frame { remote: flow.remote, listener: flow.listener, span, shared, length, call_id, opens }
    }

    /// The same of a message that is sent for the one at this place among the entries: what both have is not copied again.
    /// As a rule these are so many bytes at the end.
    pub(super) fn frame_like(&mut self, at: usize, flow: &Flow, bytes: &[u8], tail: usize) -> Frame {
        let arrived = self.arrived(at).map_or(&[][..], |arrived| arrived.span.of(&self.bytes));
        let (before, after) =
            if 2 * tail >= bytes.len() && have_tail(arrived, bytes, tail) { (0, tail) } else { shared(arrived, bytes) };
        if before + after < SHARED_BYTES {
            return self.frame(flow, bytes);
        }
        let own = bytes.get(before..bytes.len() - after).unwrap_or_default();
        let frame = self.frame(flow, own);
        if frame.span.is_empty() && !own.is_empty() {
            // There was no room for it: what both have is no message without it.
            return Frame { length: bytes.len(), ..frame };
        }
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Frame { shared: (count(before), count(after)), length: bytes.len(), ..frame }
    }

    /// What the core says of the message that arrived, at this place among the entries.
    pub(super) fn read(&mut self, at: usize, call_id: Span) {
        if let Some((_, Entry::Arrived(frame))) = self.entries.get_mut(at) {
            frame.call_id = call_id;
        }
    }

    /// The message that arrived, at this place among the entries, is a dispatched INVITE.
    pub(super) fn opens(&mut self, at: usize) {
        if let Some((_, Entry::Arrived(frame))) = self.entries.get_mut(at) {
            frame.opens = true;
        }
    }

    /// The message that arrived, at this place among the entries.
    pub(super) fn arrived(&self, at: usize) -> Option<&Frame> {
        match self.entries.get(at) {
            Some((_, Entry::Arrived(frame))) => Some(frame),
            _ => None,
        }
    }
}

/// Whether two texts end with the same so many bytes.
fn have_tail(one: &[u8], other: &[u8], tail: usize) -> bool {
    let end = |text: &[u8]| text.len().checked_sub(tail);
    match (end(one), end(other)) {
        (Some(from), Some(other_from)) => one.get(from..) == other.get(other_from..),
        _ => false,
    }
}

/// How many bytes two texts have in common at their beginning, and at the end of what is behind.
fn shared(one: &[u8], other: &[u8]) -> (usize, usize) {
    let before = same_before(one, other);
    let [one, other] = [one, other].map(|whole| whole.get(before..).unwrap_or_default());
    (before, same_after(one, other))
}

/// How many bytes are the same from the first on: many at a time while they are, then the first word that differs tells.
fn same_before(one: &[u8], other: &[u8]) -> usize {
    let mut same = 0;
    for stride in STRIDES {
        while let (Some(one), Some(other)) = (one.get(same..same + stride), other.get(same..same + stride))
            && one == other
        {
            same += stride;
        }
    }
    loop {
        let [one, other] = [one, other].map(|whole| whole.get(same..).unwrap_or_default());
        let (Some(word), Some(other_word)) = (one.first_chunk(), other.first_chunk()) else {
            return same + one.iter().zip(other).take_while(|(one, other)| one == other).count();
        };
        let differs = u128::from_le_bytes(*word) ^ u128::from_le_bytes(*other_word);
        if differs != 0 {
            return same + bytes_of(differs.trailing_zeros());
        }
        same += size_of::<u128>();
    }
}

/// The same from the last on.
fn same_after(one: &[u8], other: &[u8]) -> usize {
    let before = |whole: &[u8], same: usize| whole.len() - same;
    let mut same = 0;
    for stride in STRIDES {
        while let (Some(one), Some(other)) = (
            one.get(..before(one, same)).and_then(|rest| rest.get(rest.len().checked_sub(stride)?..)),
            other.get(..before(other, same)).and_then(|rest| rest.get(rest.len().checked_sub(stride)?..)),
        ) && one == other
        {
            same += stride;
        }
    }
    loop {
        let [one, other] = [one, other].map(|whole| whole.get(..before(whole, same)).unwrap_or_default());
        let (Some(word), Some(other_word)) = (one.last_chunk(), other.last_chunk()) else {
            return same + one.iter().rev().zip(other.iter().rev()).take_while(|(one, other)| one == other).count();
        };
        let differs = u128::from_le_bytes(*word) ^ u128::from_le_bytes(*other_word);
        if differs != 0 {
            return same + bytes_of(differs.leading_zeros());
        }
        same += size_of::<u128>();
    }
}

/// Bytes that are compared at once: a comparison of 256 costs little more than one of 16.
const STRIDES: [usize; 2] = [256, 64];

fn bytes_of(bits: u32) -> usize {
    usize::try_from(bits / 8).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Limit BATCH_BYTES: a message is kept whole or not at all.
    #[test]
    fn what_has_no_room_is_left_out_with_what_it_shares() {
        let flow = Flow::to(ListenerId(0), SocketAddr::from(([10, 10, 10, 2], 5060)));
        let (arrived, left) = ([b'a'; 200], [&[b'a'; 100][..], &[b'b'; 64], &[b'a'; 100]].concat());
        for (room, is_kept) in [(64, true), (63, false)] {
            let mut batch = Batch::default();
            let frame = batch.frame(&flow, &arrived);
            batch.entries.push((Time(0), Entry::Arrived(frame)));
            batch.bytes.resize(BATCH_BYTES - room, b'x');
            let frame = batch.frame_like(0, &flow, &left, 0);
            assert_eq!((frame.shared != (0, 0), !frame.span.is_empty()), (is_kept, is_kept), "room for {room}");
            assert_eq!(frame.length, left.len());
        }
    }

    /// Whatever two texts have in common is found, and no byte of either is counted twice.
    #[test]
    fn what_is_shared_is_found_and_no_byte_twice() {
        let text: Vec<u8> = (0..=255).chain(0..44).collect();
        for length in [0, 1, 15, 16, 17, 33, 64, 100, 255, 256, 300] {
            let one = &text[..length];
            assert_eq!(shared(one, one), (length, 0));
            for (from, to) in [(0, 0), (0, 7), (3, 3), (3, 20), (16, 16), (16, 50), (length, length)] {
                if to > length || from > to {
                    continue;
                }
                for put in [&b""[..], b"\xffput in its place\xff", b"\xff"] {
                    let other = [&one[..from], put, &one[to..]].concat();
                    let (before, after) = shared(one, &other);
                    assert!(before >= from && before + after <= length.min(other.len()), "{length} {from} {to}");
                    let own = &other[before..other.len() - after];
                    assert!(own.len() <= put.len());
                    assert_eq!([&one[..before], own, &one[length - after..]].concat(), other);
                }
            }
        }
    }
}
