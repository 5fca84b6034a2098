//! One message in HEP version 3: chunks of vendor, type, length and value, in network order.

use super::Collector;
use crate::header;
use proxy::Transport;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

/// A message that was seen on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<'b> {
    /// When.
    pub at: SystemTime,
    /// By what.
    pub transport: Transport,
    /// Who sent it. On a TCP connection that we opened, our listener stands for its port.
    pub from: SocketAddr,
    /// Who was to get it.
    pub to: SocketAddr,
    /// It, as it was on the wire.
    pub bytes: &'b [u8],
}

/// The chunks' types, as HEP's generic vendor numbers them.
mod chunk {
    pub(super) const FAMILY: u16 = 0x01;
    pub(super) const PROTOCOL: u16 = 0x02;
    pub(super) const FROM_V4: u16 = 0x03;
    pub(super) const TO_V4: u16 = 0x04;
    pub(super) const FROM_V6: u16 = 0x05;
    pub(super) const TO_V6: u16 = 0x06;
    pub(super) const FROM_PORT: u16 = 0x07;
    pub(super) const TO_PORT: u16 = 0x08;
    pub(super) const SECONDS: u16 = 0x09;
    pub(super) const MICROSECONDS: u16 = 0x0a;
    pub(super) const KIND: u16 = 0x0b;
    pub(super) const NODE: u16 = 0x0c;
    pub(super) const KEY: u16 = 0x0e;
    pub(super) const PAYLOAD: u16 = 0x0f;
    pub(super) const CORRELATION: u16 = 0x11;
}

const FAMILY_V4: u8 = 2;
const FAMILY_V6: u8 = 10;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
const KIND_SIP: u8 = 1;
/// Bytes of a packet before its chunks: the mark and its length.
const PACKET_HEAD: usize = 6;
/// Bytes of a chunk before its value.
const CHUNK_HEAD: usize = 6;
/// Bytes of all that stands before a message but for the key, with a Call-ID of the usual length.
const HEAD_ROOM: usize = 192;

/// Writes the packet behind what `out` has. `None`, with `out` as it was: it is longer than HEP can say, 65,535 bytes.
pub fn encode(packet: &Packet<'_>, collector: &Collector, out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    let written = write(packet, collector, out).and_then(|()| {
        let length = u16::try_from(out.len() - start).ok()?.to_be_bytes();
        out.get_mut(start + 4..start + 6)?.copy_from_slice(&length);
        Some(())
    });
    if written.is_none() {
        out.truncate(start);
    }
    written
}

fn write(packet: &Packet<'_>, collector: &Collector, out: &mut Vec<u8>) -> Option<()> {
    out.reserve(HEAD_ROOM + collector.key.0.len() + packet.bytes.len());
    out.extend_from_slice(b"HEP3\0\0");
    let (from, to) = (packet.from.ip().to_canonical(), packet.to.ip().to_canonical());
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            put_byte(out, chunk::FAMILY, FAMILY_V4);
            put_four(out, chunk::FROM_V4, from.octets());
            put_four(out, chunk::TO_V4, to.octets());
        }
        (from, to) => {
            put_byte(out, chunk::FAMILY, FAMILY_V6);
            put(out, chunk::FROM_V6, &as_v6(from))?;
            put(out, chunk::TO_V6, &as_v6(to))?;
        }
    }
    let protocol = match packet.transport {
        Transport::Udp => PROTOCOL_UDP,
        Transport::Tcp => PROTOCOL_TCP,
    };
    put_byte(out, chunk::PROTOCOL, protocol);
    put_two(out, chunk::FROM_PORT, packet.from.port().to_be_bytes());
    put_two(out, chunk::TO_PORT, packet.to.port().to_be_bytes());
    let since = packet.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    put_four(out, chunk::SECONDS, u32::try_from(since.as_secs()).unwrap_or(u32::MAX).to_be_bytes());
    put_four(out, chunk::MICROSECONDS, since.subsec_micros().to_be_bytes());
    put_byte(out, chunk::KIND, KIND_SIP);
    put_four(out, chunk::NODE, collector.node.to_be_bytes());
    if !collector.key.0.is_empty() {
        put(out, chunk::KEY, collector.key.0.as_bytes())?;
    }
    // Also of a message that is not well-formed otherwise.
    if let Some(call_id) = header::value(packet.bytes, b"call-id", b'i') {
        put(out, chunk::CORRELATION, call_id)?;
    }
    put(out, chunk::PAYLOAD, packet.bytes)
}

/// The Call-ID of the message in a packet; nothing where it has none.
pub(super) fn call_of(packet: &[u8]) -> &[u8] {
    let mut rest = packet.get(PACKET_HEAD..).unwrap_or_default();
    while let Some(([_, _, high, low, long, short], _)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([*long, *short]));
        let Some((chunk, behind)) = rest.split_at_checked(length.max(CHUNK_HEAD)) else { break };
        if u16::from_be_bytes([*high, *low]) == chunk::CORRELATION {
            return chunk.get(CHUNK_HEAD..).unwrap_or_default();
        }
        rest = behind;
    }
    &[]
}

fn put(out: &mut Vec<u8>, kind: u16, value: &[u8]) -> Option<()> {
    let [long, short] = u16::try_from(CHUNK_HEAD + value.len()).ok()?.to_be_bytes();
    let [high, low] = kind.to_be_bytes();
    out.extend_from_slice(&[0, 0, high, low, long, short]);
    out.extend_from_slice(value);
    Some(())
}

// Values of a known length are written with their heads: every message has ten of them.

fn put_byte(out: &mut Vec<u8>, kind: u16, value: u8) {
    let [high, low] = kind.to_be_bytes();
    out.extend_from_slice(&[0, 0, high, low, 0, 7, value]);
}

fn put_two(out: &mut Vec<u8>, kind: u16, [first, second]: [u8; 2]) {
    let [high, low] = kind.to_be_bytes();
    out.extend_from_slice(&[0, 0, high, low, 0, 8, first, second]);
}

fn put_four(out: &mut Vec<u8>, kind: u16, [first, second, third, fourth]: [u8; 4]) {
    let [high, low] = kind.to_be_bytes();
    out.extend_from_slice(&[0, 0, high, low, 0, 10, first, second, third, fourth]);
}

fn as_v6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}
