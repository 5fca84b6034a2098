//! What waits to leave on one connection, in the order in which it leaves.

use super::QUEUE;
use bytes::Bytes;
use std::collections::VecDeque;
use std::io::IoSlice;

/// Messages that one write takes.
pub(super) const WRITE_MESSAGES: usize = 64;
/// The answer to a keepalive (RFC 5626 4.4.1).
const PONG: &[u8] = b"\r\n";

/// The queue of one connection.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    waiting: VecDeque<Waiting>,
    /// How much of the first one has left.
    begun_bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    bytes: Bytes,
    from: From,
}

/// Who has written what waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum From {
    Worker,
    Framing,
}

impl Outbound {
    /// True when nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// True when [`QUEUE`] messages wait.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= QUEUE
    }

    /// Puts a message behind the others. The caller looks whether there is room.
    pub(super) fn push(&mut self, bytes: Bytes) {
        self.waiting.push_back(Waiting { bytes, from: From::Worker });
    }

    /// Answers a keepalive. A peer that sends them and reads no answer gets one when it reads.
    pub(super) fn pong(&mut self) {
        if self.replies().next().is_none() {
            self.reply(Bytes::from_static(PONG));
        }
    }

    /// Puts an answer of the framing before all messages of which nothing has left.
    pub(super) fn reply(&mut self, bytes: Bytes) {
        let ahead = usize::from(self.begun_bytes > 0);
        let place = ahead + self.waiting.iter().skip(ahead).take_while(|one| one.from == From::Framing).count();
        self.waiting.insert(place.min(self.waiting.len()), Waiting { bytes, from: From::Framing });
    }

    fn replies(&self) -> impl Iterator<Item = &Waiting> {
        // They stand before all messages but the one that has begun to leave.
        self.waiting.iter().take(2).filter(|one| one.from == From::Framing)
    }

    /// What one write takes, from the first byte that has not left; and how much of it is filled.
    pub(super) fn slices(&self) -> ([IoSlice<'_>; WRITE_MESSAGES], usize) {
        let mut slices = [IoSlice::new(&[]); WRITE_MESSAGES];
        let mut begun_bytes = self.begun_bytes;
        for (slice, one) in slices.iter_mut().zip(&self.waiting) {
            *slice = IoSlice::new(one.bytes.get(begun_bytes..).unwrap_or_default());
            begun_bytes = 0;
        }
        (slices, self.waiting.len().min(WRITE_MESSAGES))
    }

    /// So many bytes have left: gives each message of the worker that has left whole. True when anything has.
    pub(super) fn left(&mut self, bytes: usize, mut whole: impl FnMut(Bytes)) -> bool {
        let mut gone = self.begun_bytes + bytes;
        let mut is_whole = false;
        while let Some(first) = self.waiting.pop_front() {
            if first.bytes.len() > gone {
                self.waiting.push_front(first);
                break;
            }
            gone -= first.bytes.len();
            is_whole = true;
            if first.from == From::Worker {
                whole(first.bytes);
            }
        }
        self.begun_bytes = if self.waiting.is_empty() { 0 } else { gone };
        is_whole
    }

    /// The messages of the worker that have not left whole. Nothing waits after that.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Bytes> + use<> {
        self.begun_bytes = 0;
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_iter().filter(|one| one.from == From::Worker).map(|one| one.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that a peer reads which takes `sizes` bytes in turn, and the messages that are told as whole.
    fn written(outbound: &mut Outbound, sizes: &[usize]) -> (Vec<u8>, Vec<Bytes>) {
        let (mut read, mut whole) = (Vec::new(), Vec::new());
        for size in sizes.iter().cycle() {
            let (slices, filled) = outbound.slices();
            if filled == 0 {
                break;
            }
            let offered: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
            let taken = offered.len().min(*size);
            read.extend_from_slice(&offered[..taken]);
            outbound.left(taken, |bytes| whole.push(bytes));
        }
        (read, whole)
    }

    #[test]
    fn whatever_the_kernel_takes_at_once_all_leaves_once_and_in_order() {
        let messages: Vec<Bytes> = (0..150).map(|n| format!("message {n};").into()).collect();
        let sizes: [&[usize]; 5] = [&[1], &[7, 1, 30], &[11], &[64, 3], &[100_000]];
        for sizes in sizes {
            let mut outbound = Outbound::default();
            messages.iter().for_each(|message| outbound.push(message.clone()));
            let (read, whole) = written(&mut outbound, sizes);
            assert_eq!(read, messages.concat());
            assert_eq!(whole, messages);
            assert!(outbound.is_empty() && outbound.begun_bytes == 0);
        }
    }

    /// Limit WRITE_MESSAGES.
    #[test]
    fn one_write_takes_so_many_messages() {
        let mut outbound = Outbound::default();
        (0..=WRITE_MESSAGES).for_each(|_| outbound.push("x".into()));
        assert_eq!(outbound.slices().1, WRITE_MESSAGES);
        assert!(outbound.left(WRITE_MESSAGES, drop));
        assert_eq!(outbound.slices().1, 1);
    }

    #[test]
    fn an_answer_of_the_framing_overtakes_what_has_not_begun_and_never_cuts_a_message() {
        let mut outbound = Outbound::default();
        ["first", "second"].into_iter().for_each(|text| outbound.push(text.into()));
        assert!(!outbound.left(2, |_| panic!("not whole")));
        outbound.pong();
        outbound.pong();
        outbound.reply("refusal".into());
        let (read, whole) = written(&mut outbound, &[3]);
        assert_eq!(read, b"rst\r\nrefusalsecond");
        assert_eq!(whole, ["first", "second"]);

        outbound.push("third".into());
        outbound.pong();
        assert_eq!(outbound.take().collect::<Vec<_>>(), ["third"], "a pong is nobody's message");
        assert!(outbound.is_empty());
    }
}
