//! Which datagrams of a drain leave together. The kernel takes several to one destination as one message, all of one
//! length but the last, which may be shorter, and makes datagrams of it at the end of its own way (`UDP_SEGMENT`): what it
//! costs to get there is paid once.
//!
//! Datagrams of one call to one destination keep their order. Others may change places. What is here only sorts: the
//! worker's sockets and the sender of captures send by it.

mod refused;

pub use refused::{DESTINATIONS, PERIOD, Refused, refuses_joined};

use nix::sys::socket::{getsockopt, sockopt};
use std::net::SocketAddr;
use std::os::fd::AsFd;

/// Datagrams that are looked at together, and the most that one message has: older kernels take no more.
pub const GROUP: usize = 64;
/// Bytes of one message: an IP packet until the kernel cuts it.
pub const MESSAGE_BYTES: usize = 65_507;
/// Mixes the words of a key: an odd number with as many ones as zeros.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Datagrams in the order in which they leave.
#[derive(Clone, Copy, Debug)]
pub struct Leaving<'g, 'o> {
    /// Where each goes, and its bytes.
    pub datagrams: &'g [(SocketAddr, &'o [u8])],
    /// Bit n: the n-th is in one message with the one before it.
    joined: u64,
}

/// The order in which datagrams leave, and which of them leave together.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Places in the drain.
    order: [u8; GROUP],
    count: usize,
    joined: u64,
}

/// Datagrams to one destination, all of `segment_bytes` but the last.
#[derive(Clone, Copy, Default)]
struct Message {
    destination: u8,
    datagrams: u8,
    bytes: usize,
    /// 0 where nothing may follow.
    segment_bytes: usize,
}

/// What is known of one datagram.
#[derive(Clone, Copy, Default)]
struct Known {
    destination: u8,
    message: u8,
    bytes: usize,
    /// The places of those before and after it, of the same call to the same destination.
    before: Option<u8>,
    after: Option<u8>,
    /// It ends its message, whatever was put into it before or after.
    is_tail: bool,
}

/// The destinations of a drain, each with the longest datagram that may leave together with others.
struct Destinations {
    known: [Option<(SocketAddr, usize)>; GROUP],
}

/// A drain while it is looked at.
struct Sorting {
    /// Equal for datagrams of one call to one destination; in doubt equal.
    keys: [u64; GROUP],
    datagrams: [Known; GROUP],
    count: usize,
    messages: [Message; GROUP],
    begun: usize,
}

impl<'g, 'o> Leaving<'g, 'o> {
    /// Each by itself.
    pub fn singly(datagrams: &'g [(SocketAddr, &'o [u8])]) -> Leaving<'g, 'o> {
        Leaving { datagrams, joined: 0 }
    }

    /// Datagrams of the first message.
    pub fn first(&self) -> usize {
        let follow = usize::try_from((self.joined >> 1).trailing_ones()).unwrap_or(0);
        (1 + follow).min(self.datagrams.len())
    }

    /// How many at the beginning leave by themselves.
    pub fn singles(&self) -> usize {
        match self.joined.trailing_zeros() {
            u64::BITS => self.datagrams.len(),
            joins => usize::try_from(joins).unwrap_or(0).saturating_sub(1),
        }
    }

    /// How many are in messages with others.
    pub fn joined(&self) -> usize {
        usize::try_from((self.joined | self.joined >> 1).count_ones()).unwrap_or(0)
    }

    /// The first of them, so many.
    pub fn until(&self, count: usize) -> Leaving<'g, 'o> {
        let datagrams = self.datagrams.get(..count).unwrap_or(self.datagrams);
        let kept = u32::try_from(count).ok().and_then(|count| 1_u64.checked_shl(count));
        Leaving { datagrams, joined: self.joined & kept.map_or(u64::MAX, |above| above - 1) }
    }

    /// Those behind the first so many, which are whole messages.
    pub fn after(&self, count: usize) -> Leaving<'g, 'o> {
        let datagrams = self.datagrams.get(count..).unwrap_or_default();
        let joined = u32::try_from(count).ok().and_then(|count| self.joined.checked_shr(count)).unwrap_or(0);
        Leaving { datagrams, joined }
    }

    /// The same, with the datagrams of the first message each by itself.
    pub fn parted(&self) -> Leaving<'g, 'o> {
        let first = self.until(self.first()).joined;
        Leaving { joined: self.joined & !first, ..*self }
    }
}

impl Plan {
    /// Looks at no more than [`GROUP`] datagrams. `longest` says of each destination, once, up to how many bytes a datagram
    /// may leave together with others; `call_of` of each datagram what all of its call have in common, in doubt nothing.
    pub fn of<'o>(
        datagrams: &[(SocketAddr, &'o [u8])],
        mut longest: impl FnMut(SocketAddr) -> usize,
        call_of: impl Fn(&'o [u8]) -> &'o [u8],
    ) -> Plan {
        let mut destinations = Destinations { known: [None; GROUP] };
        let mut sorting = Sorting::new();
        for &(to, bytes) in datagrams.iter().take(GROUP) {
            let (destination, longest) = destinations.of(to, &mut longest);
            sorting.put(key_of(destination, call_of(bytes)), destination, bytes.len(), longest);
        }
        sorting.end_messages();
        sorting.plan()
    }

    /// Puts the datagrams that were looked at into `ordered`.
    pub fn leaving<'g, 'o>(
        &self,
        datagrams: &[(SocketAddr, &'o [u8])],
        ordered: &'g mut Vec<(SocketAddr, &'o [u8])>,
    ) -> Leaving<'g, 'o> {
        ordered.clear();
        ordered.reserve(self.count);
        let places = self.order.iter().take(self.count);
        ordered.extend(places.filter_map(|place| datagrams.get(usize::from(*place))));
        Leaving { datagrams: ordered, joined: self.joined }
    }
}

/// Whether the kernel takes several datagrams as one message. One that does not know of it would send them as one datagram.
pub fn takes_joined(socket: &impl AsFd) -> bool {
    getsockopt(socket, sockopt::UdpGsoSegment).is_ok()
}

impl Destinations {
    /// The destination's number, and what is known of it.
    fn of(&mut self, to: SocketAddr, longest: &mut impl FnMut(SocketAddr) -> usize) -> (u8, usize) {
        for (number, slot) in (0..).zip(&mut self.known) {
            match slot {
                Some((known, longest)) if *known == to => return (number, *longest),
                Some(_) => {}
                None => {
                    let longest = longest(to);
                    *slot = Some((to, longest));
                    return (number, longest);
                }
            }
        }
        // There are no more destinations than datagrams.
        (u8::MAX, 0)
    }
}

impl Sorting {
    fn new() -> Sorting {
        Sorting {
            keys: [0; GROUP],
            datagrams: [Known::default(); GROUP],
            count: 0,
            messages: [Message::default(); GROUP],
            begun: 0,
        }
    }

    /// Puts the next datagram into a message of its length, not before the last one of its call, or begins one.
    fn put(&mut self, key: u64, destination: u8, bytes: usize, longest: usize) {
        let so_far = self.keys.get(..self.count).unwrap_or_default();
        let before = so_far.iter().rposition(|other| *other == key);
        let first = before.map_or(0, |before| self.message_of(before));
        let may_join = bytes > 0 && bytes <= longest;
        let takes = |message: &Message| {
            message.segment_bytes == bytes
                && message.destination == destination
                && message.bytes + bytes <= MESSAGE_BYTES
        };
        let messages = self.messages.get(..self.begun).unwrap_or_default();
        let found = messages.iter().skip(first).position(takes).filter(|_| may_join).map(|after| first + after);
        let at = found.unwrap_or(self.begun);
        if let Some(message) = self.messages.get_mut(at) {
            if found.is_none() {
                let segment_bytes = if may_join { bytes } else { 0 };
                *message = Message { destination, datagrams: 0, bytes: 0, segment_bytes };
                self.begun += 1;
            }
            message.datagrams += 1;
            message.bytes += bytes;
        }
        self.note(key, before, Known { destination, message: number(at), bytes, ..Known::default() });
    }

    /// Keeps what is known of the next datagram, behind the one before it in its call.
    fn note(&mut self, key: u64, before: Option<usize>, datagram: Known) {
        let place = self.count;
        if let Some(before) = before.and_then(|before| self.datagrams.get_mut(before)) {
            before.after = Some(number(place));
        }
        if let (Some(own_key), Some(own)) = (self.keys.get_mut(place), self.datagrams.get_mut(place)) {
            *own_key = key;
            *own = Known { before: before.map(number), ..datagram };
            self.count += 1;
        }
    }

    fn message_of(&self, place: usize) -> usize {
        self.datagrams.get(place).map_or(0, |datagram| usize::from(datagram.message))
    }

    /// A datagram that is alone ends a message of longer ones, where its call's order leaves it there.
    fn end_messages(&mut self) {
        for place in 0..self.count {
            let Some(datagram) = self.datagrams.get(place).copied() else { return };
            let own = self.messages.get(usize::from(datagram.message)).copied().unwrap_or_default();
            if own.datagrams != 1 || own.segment_bytes == 0 {
                continue;
            }
            // From the message of the one before it in its call to that of the next, which it would stand behind there.
            let first = datagram.before.map_or(0, |before| self.message_of(before.into()));
            let end = datagram.after.map_or(self.begun, |after| self.message_of(after.into()));
            let takes = |message: &Message| {
                message.segment_bytes > datagram.bytes
                    && message.destination == datagram.destination
                    && message.bytes + datagram.bytes <= MESSAGE_BYTES
            };
            let messages = self.messages.get(..end).unwrap_or_default();
            let Some(at) = messages.iter().skip(first).position(takes).map(|after| first + after) else { continue };
            if let Some(message) = self.messages.get_mut(at) {
                message.datagrams += 1;
                message.bytes += datagram.bytes;
                message.segment_bytes = 0;
            }
            if let Some(left) = self.messages.get_mut(usize::from(datagram.message)) {
                *left = Message::default();
            }
            if let Some(datagram) = self.datagrams.get_mut(place) {
                (datagram.message, datagram.is_tail) = (number(at), true);
            }
        }
    }

    /// Message by message; in each as they came, its tail at the end.
    fn plan(&self) -> Plan {
        let mut plan = Plan { order: [0; GROUP], count: self.count, joined: 0 };
        let mut places = [0_usize; GROUP];
        let mut begins = 0;
        for (place, message) in places.iter_mut().zip(self.messages.iter().take(self.begun)) {
            *place = begins;
            let datagrams = usize::from(message.datagrams);
            for follows in 1..datagrams {
                plan.joined |= 1 << (begins + follows);
            }
            begins += datagrams;
        }
        let of_kind = |is_tail: bool| {
            let datagrams = (0..).zip(self.datagrams.iter().take(self.count));
            datagrams.filter(move |(_, datagram)| datagram.is_tail == is_tail)
        };
        for (number, datagram) in of_kind(false).chain(of_kind(true)) {
            if let Some(place) = places.get_mut(usize::from(datagram.message)) {
                if let Some(slot) = plan.order.get_mut(*place) {
                    *slot = number;
                }
                *place += 1;
            }
        }
        plan
    }
}

/// A place: there are at most [`GROUP`].
fn number(place: usize) -> u8 {
    u8::try_from(place).unwrap_or(u8::MAX)
}

/// Equal for equal destinations and calls. Where two calls have the same by chance, they only keep their order too.
fn key_of(destination: u8, call: &[u8]) -> u64 {
    let (words, rest) = call.as_chunks();
    let mut last = [0; size_of::<u64>()];
    last.iter_mut().zip(rest).for_each(|(to, byte)| *to = *byte);
    let words = words.iter().chain([&last]).map(|word| u64::from_le_bytes(*word));
    words.fold(u64::from(destination), |sum, word| (sum ^ word).wrapping_mul(FACTOR).rotate_right(29))
}

#[cfg(test)]
mod tests;
