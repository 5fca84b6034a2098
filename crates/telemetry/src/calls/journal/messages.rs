//! The messages of one call, packed into one buffer. What we send is nearly always what has just arrived with a few lines
//! changed: of such a message only what differs is kept.
//!
//! Most calls of the journal are never looked at: packing them takes two comparisons, and reading them back may take longer.

use super::KeptMessage;
use proxy::{Listener, Transport};
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Messages, each a head and its text: all of it, or what it has between the beginning and the end that it shares with the
/// message that arrived last.
#[derive(Debug, Default)]
pub(super) struct Packed {
    bytes: Vec<u8>,
    count: usize,
    /// Bytes of their texts, as far as they are kept.
    text_bytes: usize,
    /// Where the text of the message that arrived last begins and ends; one that arrived is kept whole.
    arrived: (usize, usize),
}

/// Bits of a head's first byte.
const SENT: u8 = 1;
const STREAM: u8 = 1 << 1;
const REMOTE_V6: u8 = 1 << 2;
const LOCAL_V6: u8 = 1 << 3;
const SHARES: u8 = 1 << 4;
/// A message that shares less is kept whole: its head would be as long.
const SHARED_BYTES: usize = 32;

impl Packed {
    /// Messages.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of their texts that are kept.
    pub(super) fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// Bytes that there is room for.
    #[cfg(test)]
    pub(super) fn room_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Nothing, in the same room, unless that has more than so many bytes.
    pub(super) fn clear(&mut self, kept_bytes: usize) {
        self.bytes.clear();
        if self.bytes.capacity() > kept_bytes {
            self.bytes = Vec::new();
        }
        (self.count, self.text_bytes, self.arrived) = (0, 0, (0, 0));
    }

    /// Appends a message.
    pub(super) fn push(&mut self, message: &KeptMessage, text: &[u8]) {
        let (before, after) = if message.is_sent { self.shared_with(text) } else { (0, 0) };
        let shares = before + after >= SHARED_BYTES;
        let own = if shares { text.get(before..text.len() - after).unwrap_or_default() } else { text };
        let flag = |applies: bool, bit: u8| if applies { bit } else { 0 };
        let is_stream = message.local.transport == Transport::Tcp;
        let (remote, local) = (message.remote, message.local.address);
        let addresses = flag(remote.is_ipv6(), REMOTE_V6) | flag(local.is_ipv6(), LOCAL_V6);
        let heads =
            HEAD_BYTES + if shares { 8 } else { 0 } + [remote, local].map(address_bytes).into_iter().sum::<usize>();
        // As much as it needs: a call that rings keeps its buffer for as long as it rings.
        self.bytes.reserve_exact(heads + own.len());
        self.bytes.push(flag(message.is_sent, SENT) | flag(is_stream, STREAM) | addresses | flag(shares, SHARES));
        self.bytes.extend_from_slice(&message.at_us.to_le_bytes());
        self.put_address(remote);
        self.put_address(local);
        self.put_number(own.len());
        if shares {
            self.put_number(before);
            self.put_number(after);
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(own);
        if !message.is_sent {
            self.arrived = (start, self.bytes.len());
        }
        self.count += 1;
        self.text_bytes += own.len();
    }

    /// The messages, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (KeptMessage, Cow<'_, [u8]>)> {
        let mut unpacking = Unpacking { rest: &self.bytes, arrived: &[] };
        std::iter::from_fn(move || unpacking.next_message())
    }

    /// How many bytes a text has in common with what arrived last, at its beginning and at its end.
    fn shared_with(&self, text: &[u8]) -> (usize, usize) {
        let (start, end) = self.arrived;
        let arrived = self.bytes.get(start..end).unwrap_or_default();
        let before = same_before(arrived, text);
        let [arrived, text] = [arrived, text].map(|whole| whole.get(before..).unwrap_or_default());
        (before, same_after(arrived, text))
    }

    fn put_address(&mut self, address: SocketAddr) {
        match address.ip() {
            IpAddr::V4(ip) => self.bytes.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => self.bytes.extend_from_slice(&ip.octets()),
        }
        self.bytes.extend_from_slice(&address.port().to_le_bytes());
    }

    fn put_number(&mut self, number: usize) {
        self.bytes.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
    }
}

/// A head without its addresses: flags, time, and the length of the text; one that shares has two lengths more.
const HEAD_BYTES: usize = 1 + 8 + 4;

fn address_bytes(address: SocketAddr) -> usize {
    if address.is_ipv6() { 16 + 2 } else { 4 + 2 }
}

/// How many bytes are the same from the first on: eight at a time, and then one by one.
fn same_before(one: &[u8], other: &[u8]) -> usize {
    let pairs = one.as_chunks::<8>().0.iter().zip(other.as_chunks::<8>().0);
    let whole = pairs.take_while(|(one, other)| one == other).count() * 8;
    let [one, other] = [one, other].map(|bytes| bytes.get(whole..).unwrap_or_default());
    whole + one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

/// The same from the last on.
fn same_after(one: &[u8], other: &[u8]) -> usize {
    let pairs = one.as_rchunks::<8>().1.iter().rev().zip(other.as_rchunks::<8>().1.iter().rev());
    let whole = pairs.take_while(|(one, other)| one == other).count() * 8;
    let [one, other] = [one, other].map(|bytes| bytes.get(..bytes.len() - whole).unwrap_or_default());
    whole + one.iter().rev().zip(other.iter().rev()).take_while(|(one, other)| one == other).count()
}

struct Unpacking<'p> {
    rest: &'p [u8],
    arrived: &'p [u8],
}

impl<'p> Unpacking<'p> {
    fn next_message(&mut self) -> Option<(KeptMessage, Cow<'p, [u8]>)> {
        let [flags] = self.take()?;
        let is = |bit: u8| flags & bit != 0;
        let at_us = u64::from_le_bytes(self.take()?);
        let remote = self.take_address(is(REMOTE_V6))?;
        let address = self.take_address(is(LOCAL_V6))?;
        let own = self.take_number()?;
        let shared = if is(SHARES) { Some((self.take_number()?, self.take_number()?)) } else { None };
        let (own, rest) = self.rest.split_at_checked(own)?;
        self.rest = rest;
        let text = match shared {
            Some((before, after)) => {
                let after = self.arrived.len().checked_sub(after)?;
                Cow::Owned([self.arrived.get(..before)?, own, self.arrived.get(after..)?].concat())
            }
            None => Cow::Borrowed(own),
        };
        if !is(SENT) {
            self.arrived = own;
        }
        let transport = if is(STREAM) { Transport::Tcp } else { Transport::Udp };
        Some((KeptMessage::new(at_us, is(SENT), remote, Listener { transport, address }), text))
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*taken)
    }

    fn take_number(&mut self) -> Option<usize> {
        usize::try_from(u32::from_le_bytes(self.take()?)).ok()
    }

    fn take_address(&mut self, is_v6: bool) -> Option<SocketAddr> {
        let ip = if is_v6 {
            IpAddr::V6(Ipv6Addr::from(self.take::<16>()?))
        } else {
            IpAddr::V4(Ipv4Addr::from(self.take::<4>()?))
        };
        Some(SocketAddr::new(ip, u16::from_le_bytes(self.take()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(at_us: u64, is_sent: bool, remote: &str, local: &str, transport: Transport) -> KeptMessage {
        let local = Listener { transport, address: local.parse().unwrap() };
        KeptMessage::new(at_us, is_sent, remote.parse().unwrap(), local)
    }

    /// Whatever is packed comes back, in order and byte for byte: what shares nothing, all, or a part with what arrived last.
    #[test]
    fn messages_come_back_as_they_were() {
        let long = "Subject: ".to_owned() + &"x".repeat(100);
        let udp = |is_sent| message(7, is_sent, "10.10.10.2:5060", "10.10.10.1:5060", Transport::Udp);
        let six = message(u64::MAX, true, "[fd00:10::2]:40001", "[fd00:10::1]:5060", Transport::Tcp);
        let mixed = message(0, false, "10.10.10.3:65535", "[fd00:10::1]:5060", Transport::Tcp);
        let texts = [
            (udp(true), "before anything arrived".to_owned()),
            (udp(false), format!("INVITE sip:a SIP/2.0\r\n{long}\r\nv=0")),
            (udp(true), "SIP/2.0 100 Trying\r\n\r\n".to_owned()),
            (six, format!("INVITE sip:another SIP/2.0\r\nVia: x\r\n{long}\r\nv=0")),
            (udp(true), format!("INVITE sip:a SIP/2.0\r\n{long}\r\nv=0")),
            (udp(true), format!("INVITE sip:a SIP/2.0\r\n{long}\r\nv=0v=0")),
            (mixed, format!("{long}{long}")),
            (udp(true), format!("{long}{long}{long}")),
            (udp(true), long),
            (udp(false), "x".repeat(70_000)),
            (udp(true), "x".repeat(69_999)),
        ];
        let mut packed = Packed::default();
        for round in 0..2 {
            for (message, text) in &texts {
                packed.push(message, text.as_bytes());
            }
            let back: Vec<_> = packed.iter().collect();
            assert_eq!(back.len(), texts.len());
            for ((message, text), (kept, bytes)) in texts.iter().zip(back) {
                assert!(*message == kept && text.as_bytes() == &*bytes, "{text}, {round}");
            }
            packed.clear(1 << 20);
            assert!(packed.is_empty() && packed.iter().next().is_none());
        }
    }

    /// What is sent on costs what was changed in it.
    #[test]
    fn what_is_sent_on_takes_the_room_of_what_was_changed() {
        let mut packed = Packed::default();
        let tail = "\r\nCall-ID: a1@gw\r\n".repeat(20);
        let flow = |is_sent| message(7, is_sent, "10.10.10.2:5060", "10.10.10.1:5060", Transport::Udp);
        packed.push(&flow(false), format!("SIP/2.0 180 Ringing\r\nVia: ours\r\nVia: theirs{tail}").as_bytes());
        let arrived = packed.text_bytes();
        packed.push(&flow(true), format!("SIP/2.0 180 Ringing\r\nVia: theirs{tail}").as_bytes());
        assert_eq!(packed.text_bytes(), arrived, "one Via is taken off, and nothing put there");
        assert!(packed.room_bytes() < arrived + 2 * 40, "{}", packed.room_bytes());
        packed.push(&flow(true), format!("SIP/2.0 180 Ringing\r\nVia: another{tail}").as_bytes());
        assert!(packed.text_bytes() - arrived < 20);
    }
}
