//! The messages of all calls, in blocks of memory that the calls share. A message is put behind the one before it, whoever's
//! that was: no call has a buffer of its own, so none has room that it does not use, and the allocator is never asked. Each
//! message knows where the one before it of its call stands.
//!
//! The oldest block is used again once no call that began in it is kept. Where a few long calls hold up old blocks, their
//! messages are moved to the newest one.
//!
//! Most calls of the journal are never looked at: keeping a message is one copy, and reading them back may take longer.

use super::KeptMessage;
use crate::limits::{BLOCK_BYTES, ROOM_BYTES};
use memmap2::{Advice, MmapMut};
use proxy::{Listener, Transport};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Blocks, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Messages {
    blocks: VecDeque<Block>,
    /// Blocks that were given up before these: the number of the oldest one here.
    first: u32,
    /// One that is empty.
    spare: Option<Block>,
    /// Bytes of the kept calls' messages, with their heads.
    live_bytes: usize,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Block {
    bytes: MmapMut,
    used: usize,
    /// The slots of the calls whose first message is here, also of those that are forgotten.
    slots: Vec<u32>,
    /// How many of these calls are kept.
    kept: u32,
}

/// Where a message stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Spot {
    block: u32,
    at: u32,
}

/// The messages of one call, in the order in which they were kept.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chain {
    count: u32,
    /// Bytes of their texts, as far as they are kept.
    text_bytes: u32,
    /// The same with their heads.
    bytes: u32,
    /// The block of the first one.
    first: u32,
    last: Spot,
}

/// The text of a message: all of it, or what it has between what it shares with a message before it.
#[derive(Clone, Copy, Debug)]
pub(in crate::calls) struct Text<'t> {
    pub(in crate::calls) own: &'t [u8],
    pub(in crate::calls) shared: Option<Shared>,
}

/// What a message shares with an earlier one of its call, which has its text whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::calls) struct Shared {
    /// How many messages of the call were kept before that one.
    pub(in crate::calls) with: u32,
    /// So many bytes at its beginning.
    pub(in crate::calls) before: u32,
    /// And so many at its end.
    pub(in crate::calls) after: u32,
}

/// Bits of a head's first byte.
const SENT: u8 = 1;
const STREAM: u8 = 1 << 1;
const REMOTE_V6: u8 = 1 << 2;
const LOCAL_V6: u8 = 1 << 3;
const SHARES: u8 = 1 << 4;
/// A head up to the addresses: flags, the place of the message before, and the time.
const BEFORE_AT: usize = 1;
const HEAD_BYTES: usize = 1 + 8 + 8 + 4;
const SHARED_BYTES: usize = 12;

impl Chain {
    /// Messages.
    pub(super) fn count(&self) -> usize {
        count_of(self.count)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of their texts that are kept.
    pub(super) fn text_bytes(&self) -> usize {
        count_of(self.text_bytes)
    }
}

impl Messages {
    /// Keeps one more message of the call in this slot; false when the kernel gives no memory for it. Whoever calls this has
    /// given [`Messages::is_full`] a thought.
    pub(super) fn push(&mut self, chain: &mut Chain, slot: u32, message: &KeptMessage, text: &Text<'_>) -> bool {
        let (remote, local) = (message.remote, message.local.address);
        let shared = if text.shared.is_some() { SHARED_BYTES } else { 0 };
        let bytes = HEAD_BYTES + address_bytes(remote) + address_bytes(local) + shared + text.own.len();
        if !self.has_block_for(bytes) {
            return false;
        }
        let spot = self.end();
        let Some(mut out) = self.blocks.back_mut().and_then(|block| block.extend(bytes)) else { return false };
        let flag = |applies: bool, bit: u8| if applies { bit } else { 0 };
        let is_stream = message.local.transport == Transport::Tcp;
        let addresses = flag(remote.is_ipv6(), REMOTE_V6) | flag(local.is_ipv6(), LOCAL_V6);
        let shares = flag(text.shared.is_some(), SHARES);
        let mut head = [0; HEAD_BYTES];
        head[0] = flag(message.is_sent, SENT) | flag(is_stream, STREAM) | addresses | shares;
        head[BEFORE_AT..9].copy_from_slice(&chain.last.to_bytes());
        head[9..17].copy_from_slice(&message.at_us.to_le_bytes());
        head[17..].copy_from_slice(&number_of(text.own.len()).to_le_bytes());
        put(&mut out, &head);
        put_addresses(&mut out, remote, local);
        if let Some(Shared { with, before, after }) = text.shared {
            let mut shared = [0; SHARED_BYTES];
            shared[..4].copy_from_slice(&with.to_le_bytes());
            shared[4..8].copy_from_slice(&before.to_le_bytes());
            shared[8..].copy_from_slice(&after.to_le_bytes());
            put(&mut out, &shared);
        }
        put(&mut out, text.own);
        if chain.is_empty() {
            self.begins_at(chain, slot, spot);
        }
        chain.last = spot;
        chain.count += 1;
        chain.text_bytes += number_of(text.own.len());
        chain.bytes += number_of(bytes);
        self.live_bytes += bytes;
        true
    }

    /// The messages of a call, in order.
    pub(super) fn of(&self, chain: &Chain) -> impl Iterator<Item = (KeptMessage, Cow<'_, [u8]>)> {
        let mut found = Vec::with_capacity(chain.count());
        let mut spot = chain.last;
        while found.len() < chain.count()
            && let Some(kept) = self.read(spot)
        {
            spot = kept.before;
            found.push(kept);
        }
        found.reverse();
        let texts: Vec<&[u8]> = found.iter().map(|kept| kept.text.own).collect();
        found.into_iter().map(move |kept| (kept.message, whole(&kept.text, &texts)))
    }

    /// A call has no messages any more.
    pub(super) fn release(&mut self, chain: &mut Chain) {
        if !chain.is_empty() {
            self.live_bytes = self.live_bytes.saturating_sub(count_of(chain.bytes));
            self.leaves(chain.first);
            *chain = Chain::default();
        }
    }

    /// Whether a message of so many bytes needs another block: [`Messages::tidy`] and [`Messages::move_up`] come first.
    pub(super) fn is_full(&self, text_bytes: usize) -> bool {
        let largest = HEAD_BYTES + 2 * 18 + SHARED_BYTES + text_bytes;
        self.blocks.back().is_none_or(|block| block.used + largest > BLOCK_BYTES)
    }

    /// Gives up the oldest blocks of which no call is kept. The slots of the next one, when blocks have too much room beside
    /// what is kept: its calls are to be moved up.
    pub(super) fn tidy(&mut self) -> Option<(u32, Vec<u32>)> {
        while self.blocks.front().is_some_and(|block| block.kept == 0)
            && let Some(mut block) = self.blocks.pop_front()
        {
            self.first += 1;
            block.used = 0;
            block.slots.clear();
            // One more than that goes back to the system.
            self.spare.get_or_insert(block);
        }
        if self.room_bytes() <= self.live_bytes / 2 * 3 + ROOM_BYTES {
            return None;
        }
        self.blocks.front().map(|block| (self.first, block.slots.clone()))
    }

    /// Moves the messages of a call to the newest block, if the first one is in this block; false when there is no memory.
    pub(super) fn move_up(&mut self, chain: &mut Chain, slot: u32, block: u32) -> bool {
        if chain.is_empty() || chain.first != block {
            return true;
        }
        if !self.has_block_for(count_of(chain.bytes)) {
            return false;
        }
        let mut spots = Vec::with_capacity(chain.count());
        let mut spot = chain.last;
        while spots.len() < chain.count()
            && let Some(kept) = self.read(spot)
        {
            spots.push((spot, kept.bytes));
            spot = kept.before;
        }
        self.leaves(chain.first);
        self.begins_at(chain, slot, self.end());
        let mut before = Spot::default();
        for (from, bytes) in spots.into_iter().rev() {
            let mut scratch = std::mem::take(&mut self.scratch);
            scratch.clear();
            scratch.extend_from_slice(self.at(from).and_then(|rest| rest.get(..bytes)).unwrap_or_default());
            let to = self.end();
            if let Some(out) = self.blocks.back_mut().and_then(|block| block.extend(bytes)) {
                out.copy_from_slice(&scratch);
                if let Some(mut out) = out.get_mut(BEFORE_AT..) {
                    put(&mut out, &before.to_bytes());
                }
            }
            before = to;
            self.scratch = scratch;
        }
        chain.last = before;
        true
    }

    /// Bytes of all blocks.
    pub(super) fn room_bytes(&self) -> usize {
        (self.blocks.len() + usize::from(self.spare.is_some())) * BLOCK_BYTES
    }

    /// Where the next message will stand.
    fn end(&self) -> Spot {
        let newest = number_of(self.blocks.len().saturating_sub(1));
        Spot { block: self.first + newest, at: self.blocks.back().map_or(0, |block| number_of(block.used)) }
    }

    /// Has room for so many bytes in the newest block, which may be a new one; false when there is none.
    fn has_block_for(&mut self, bytes: usize) -> bool {
        if self.blocks.back().is_some_and(|block| block.used + bytes <= BLOCK_BYTES) {
            return true;
        }
        let Some(block) = self.spare.take().or_else(Block::new) else { return false };
        self.blocks.push_back(block);
        bytes <= BLOCK_BYTES
    }

    fn begins_at(&mut self, chain: &mut Chain, slot: u32, spot: Spot) {
        chain.first = spot.block;
        if let Some(block) = self.blocks.get_mut(count_of(spot.block - self.first)) {
            block.slots.push(slot);
            block.kept += 1;
        }
    }

    /// One call less is kept of those that began in a block.
    fn leaves(&mut self, block: u32) {
        let at = block.checked_sub(self.first).map(count_of);
        if let Some(block) = at.and_then(|at| self.blocks.get_mut(at)) {
            block.kept = block.kept.saturating_sub(1);
        }
    }

    fn at(&self, spot: Spot) -> Option<&[u8]> {
        let block = self.blocks.get(count_of(spot.block.checked_sub(self.first)?))?;
        block.bytes.get(count_of(spot.at)..block.used)
    }

    fn read(&self, spot: Spot) -> Option<Kept<'_>> {
        let rest = self.at(spot)?;
        let mut reading = Reading(rest);
        let [flags] = reading.take()?;
        let is = |bit: u8| flags & bit != 0;
        let before = Spot { block: reading.number()?, at: reading.number()? };
        let at_us = u64::from_le_bytes(reading.take()?);
        let own = reading.number()?;
        let remote = reading.address(is(REMOTE_V6))?;
        let address = reading.address(is(LOCAL_V6))?;
        let shared = if is(SHARES) {
            Some(Shared { with: reading.number()?, before: reading.number()?, after: reading.number()? })
        } else {
            None
        };
        let own = reading.0.get(..count_of(own))?;
        let bytes = rest.len() - reading.0.len() + own.len();
        let transport = if is(STREAM) { Transport::Tcp } else { Transport::Udp };
        let message = KeptMessage::new(at_us, is(SENT), remote, Listener { transport, address });
        Some(Kept { message, text: Text { own, shared }, before, bytes })
    }
}

/// A message as it stands in a block.
struct Kept<'k> {
    message: KeptMessage,
    text: Text<'k>,
    before: Spot,
    /// With its head.
    bytes: usize,
}

/// The text of a message, among those of its call.
fn whole<'k>(text: &Text<'k>, texts: &[&'k [u8]]) -> Cow<'k, [u8]> {
    let Some(shared) = text.shared else { return Cow::Borrowed(text.own) };
    let with = texts.get(count_of(shared.with)).copied().unwrap_or_default();
    Cow::Owned(joined(with, shared.before, text.own, shared.after))
}

/// What a text is that has this between the beginning and the end of another one.
pub(in crate::calls) fn joined(with: &[u8], before: u32, own: &[u8], after: u32) -> Vec<u8> {
    let after = with.len().saturating_sub(count_of(after));
    [with.get(..count_of(before)).unwrap_or_default(), own, with.get(after..).unwrap_or_default()].concat()
}

impl Block {
    fn new() -> Option<Block> {
        let bytes = MmapMut::map_anon(BLOCK_BYTES).ok()?;
        // Where the kernel has no large pages, small ones do.
        let _asked = bytes.advise(Advice::HugePage);
        Some(Block { bytes, used: 0, slots: Vec::new(), kept: 0 })
    }

    /// The next so many bytes, to write on.
    fn extend(&mut self, bytes: usize) -> Option<&mut [u8]> {
        let end = self.used + bytes;
        let out = self.bytes.get_mut(self.used..end)?;
        self.used = end;
        Some(out)
    }
}

impl Spot {
    fn to_bytes(self) -> [u8; 8] {
        (u64::from(self.block) | u64::from(self.at) << 32).to_le_bytes()
    }
}

/// Writes to the beginning of what is left of a place.
#[inline]
fn put(rest: &mut &mut [u8], bytes: &[u8]) {
    if let Some((place, behind)) = std::mem::take(rest).split_at_mut_checked(bytes.len()) {
        place.copy_from_slice(bytes);
        *rest = behind;
    }
}

/// Both ends: nearly always two of IPv4, which are written at once.
fn put_addresses(rest: &mut &mut [u8], remote: SocketAddr, local: SocketAddr) {
    if let (SocketAddr::V4(remote), SocketAddr::V4(local)) = (remote, local) {
        let mut both = [0; 12];
        both[..4].copy_from_slice(&remote.ip().octets());
        both[4..6].copy_from_slice(&remote.port().to_le_bytes());
        both[6..10].copy_from_slice(&local.ip().octets());
        both[10..].copy_from_slice(&local.port().to_le_bytes());
        return put(rest, &both);
    }
    for address in [remote, local] {
        match address.ip() {
            IpAddr::V4(ip) => put(rest, &ip.octets()),
            IpAddr::V6(ip) => put(rest, &ip.octets()),
        }
        put(rest, &address.port().to_le_bytes());
    }
}

fn address_bytes(address: SocketAddr) -> usize {
    if address.is_ipv6() { 16 + 2 } else { 4 + 2 }
}

struct Reading<'r>(&'r [u8]);

impl Reading<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn number(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn address(&mut self, is_v6: bool) -> Option<SocketAddr> {
        let ip = if is_v6 {
            IpAddr::V6(Ipv6Addr::from(self.take::<16>()?))
        } else {
            IpAddr::V4(Ipv4Addr::from(self.take::<4>()?))
        };
        Some(SocketAddr::new(ip, u16::from_le_bytes(self.take()?)))
    }
}

fn count_of(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn number_of(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(at_us: u64, is_sent: bool, remote: &str, local: &str, transport: Transport) -> KeptMessage {
        let local = Listener { transport, address: local.parse().unwrap() };
        KeptMessage::new(at_us, is_sent, remote.parse().unwrap(), local)
    }

    fn udp(at_us: u64) -> KeptMessage {
        message(at_us, false, "10.10.10.2:5060", "10.10.10.1:5060", Transport::Udp)
    }

    fn text(own: &[u8]) -> Text<'_> {
        Text { own, shared: None }
    }

    /// Whatever is kept comes back, in order and byte for byte, also beside another call's and after it was moved.
    #[test]
    fn messages_come_back_as_they_were() {
        let six = message(u64::MAX, true, "[fd00:10::2]:40001", "[fd00:10::1]:5060", Transport::Tcp);
        let mixed = message(0, false, "10.10.10.3:65535", "[fd00:10::1]:5060", Transport::Tcp);
        let large = "x".repeat(70_000);
        let shared = |with, before, after| Some(Shared { with, before, after });
        let invite = "INVITE sip:a SIP/2.0\r\n\r\nv=0".to_owned();
        let kept = [
            (udp(7), text(invite.as_bytes()), invite.clone()),
            (six, Text { own: b"another", shared: shared(0, 11, 3) }, "INVITE sip:anotherv=0".to_owned()),
            (mixed, text(large.as_bytes()), large.clone()),
            (udp(8), Text { own: b"", shared: shared(0, 27, 0) }, invite.clone()),
            (six, Text { own: b"y", shared: shared(2, 0, 69_999) }, format!("y{}", &large[1..])),
        ];
        let (mut messages, mut own, mut other) = (Messages::default(), Chain::default(), Chain::default());
        for (message, part, _) in &kept {
            assert!(messages.push(&mut own, 1, message, part) && messages.push(&mut other, 2, &udp(0), &text(b"BYE")));
        }
        for round in 0..3 {
            let back: Vec<_> = messages.of(&own).collect();
            assert_eq!(back.len(), kept.len());
            for ((message, _, whole), (found, bytes)) in kept.iter().zip(back) {
                assert!(*message == found && whole.as_bytes() == &*bytes, "{whole}, {round}");
            }
            assert_eq!(messages.of(&other).count(), kept.len());
            let block = own.first;
            assert!(messages.move_up(&mut own, 1, block) && messages.move_up(&mut own, 1, block + 1));
        }
        messages.release(&mut own);
        assert!(own.is_empty() && messages.of(&own).next().is_none());
        assert_eq!(messages.live_bytes, count_of(other.bytes));
    }

    /// Limits BLOCK_BYTES and ROOM_BYTES: calls that come and go use the same few blocks; one that stays is moved, and comes
    /// back whole; calls that stay take what they need.
    #[test]
    fn blocks_are_used_again_and_who_stays_is_moved() {
        let (mut messages, mut stays) = (Messages::default(), Chain::default());
        messages.push(&mut stays, 0, &udp(1), &text(b"it stays"));
        let mut kept: VecDeque<Chain> = VecDeque::new();
        let own = [b'x'; 10_000];
        let mut moved = 0;
        for at in 0..10_000_u64 {
            if messages.is_full(own.len())
                && let Some((block, slots)) = messages.tidy()
            {
                moved += u32::from(slots.contains(&0));
                assert!(messages.move_up(&mut stays, 0, block));
                kept.iter_mut().for_each(|chain| assert!(messages.move_up(chain, 1, block)));
                assert!(messages.tidy().is_none(), "{at}");
            }
            let mut chain = Chain::default();
            assert!(messages.push(&mut chain, 1, &udp(at), &text(&own)));
            kept.push_back(chain);
            if kept.len() > 100 {
                messages.release(&mut kept.pop_front().unwrap());
            }
            let needs = messages.live_bytes / 2 * 3 + ROOM_BYTES + BLOCK_BYTES;
            assert!(messages.room_bytes() <= needs, "{at}: {}", messages.room_bytes());
        }
        assert!((5..=30).contains(&moved), "{moved}");
        assert_eq!(messages.of(&stays).map(|(_, text)| text.into_owned()).collect::<Vec<_>>(), [b"it stays"]);
        assert!(kept.iter().all(|chain| messages.of(chain).all(|(_, text)| *text == own)));
        let room_bytes = messages.room_bytes();
        for _ in 0..1_000 {
            messages.push(&mut Chain::default(), 2, &udp(0), &text(&own));
        }
        assert!(messages.room_bytes() >= room_bytes + 1_000 * own.len() - ROOM_BYTES);
    }
}
