//! Reading what `tcpdump -w` has written: IPv4 packets with UDP in them.

use anyhow::{Context, Result, bail};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

const FILE_HEADER_BYTES: usize = 24;
const RECORD_HEADER_BYTES: usize = 16;
const MAGIC_LE: [u8; 4] = [0xD4, 0xC3, 0xB2, 0xA1];

/// The UDP datagrams of a capture file, in order. Fragments after the first are counted apart.
#[derive(Clone, Debug, Default)]
pub struct Capture {
    /// Datagrams, and first fragments of datagrams.
    pub packets: Vec<Packet>,
    /// Packets that are the rest of a datagram.
    pub fragments: usize,
}

/// One datagram, or its first fragment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Who sent it.
    pub from: SocketAddrV4,
    /// Who is to have it.
    pub to: SocketAddrV4,
    /// What is in it, as far as this packet holds it.
    pub payload: Vec<u8>,
}

impl Capture {
    /// Reads a file. One that is still being written is read as far as it goes.
    ///
    /// Fails for a file of another byte order or link type than tcpdump writes here: raw IP, cooked, Ethernet.
    pub fn read(path: &Path) -> Result<Capture> {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Capture::of(&bytes).with_context(|| format!("{} is no capture to be read", path.display()))
    }

    fn of(bytes: &[u8]) -> Result<Capture> {
        let (head, mut rest) = bytes.split_at_checked(FILE_HEADER_BYTES).context("the file is too short")?;
        if !head.starts_with(&MAGIC_LE) {
            bail!("found {:02X?}, expected {MAGIC_LE:02X?}", head.get(..4));
        }
        let link = match u32_le(head, 20) {
            Some(101) => 0,
            Some(113) => 16,
            Some(1) => 14,
            other => bail!("link type {other:?}, expected 101, 113 or 1"),
        };
        let mut capture = Capture::default();
        while let Some((record, after)) = rest.split_at_checked(RECORD_HEADER_BYTES) {
            let size = u32_le(record, 8).and_then(|size| usize::try_from(size).ok()).unwrap_or(usize::MAX);
            let Some((packet, after)) = after.split_at_checked(size) else { break };
            capture.add(packet.get(link..).unwrap_or_default());
            rest = after;
        }
        Ok(capture)
    }

    /// Takes an IPv4 packet; anything else is passed over.
    fn add(&mut self, ip: &[u8]) {
        let Some(first) = ip.first().filter(|first| **first >> 4 == 4) else { return };
        if ip.get(9) != Some(&17) {
            return;
        }
        if u16_be(ip, 6).is_some_and(|fragment| fragment & 0x1FFF != 0) {
            self.fragments += 1;
            return;
        }
        let header_bytes = usize::from(first & 0xF) * 4;
        let end = u16_be(ip, 2).map_or(ip.len(), usize::from).min(ip.len());
        let Some(udp) = ip.get(header_bytes..end) else { return };
        let address = |at: usize| ip.get(at..at + 4).and_then(|b| <[u8; 4]>::try_from(b).ok()).map(Ipv4Addr::from);
        let (Some(source), Some(target)) = (address(12), address(16)) else { return };
        let (Some(from_port), Some(to_port)) = (u16_be(udp, 0), u16_be(udp, 2)) else { return };
        self.packets.push(Packet {
            from: SocketAddrV4::new(source, from_port),
            to: SocketAddrV4::new(target, to_port),
            payload: udp.get(8..).unwrap_or_default().to_vec(),
        });
    }
}

fn u32_le(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes)
}

fn u16_be(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A capture of raw IP with this packet in it.
    fn file(packet: &[u8]) -> Vec<u8> {
        let mut file = MAGIC_LE.to_vec();
        file.extend([0; 16]);
        file.extend(101_u32.to_le_bytes());
        file.extend([0; 8]);
        let size = u32::try_from(packet.len()).unwrap();
        file.extend(size.to_le_bytes());
        file.extend(size.to_le_bytes());
        file.extend(packet);
        file
    }

    fn datagram(fragment: u16) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 33, 0, 1];
        packet.extend(fragment.to_be_bytes());
        packet.extend([64, 17, 0, 0, 10, 10, 10, 2, 10, 10, 10, 1]);
        packet.extend([0x13, 0xC4, 0x13, 0xC5, 0, 13, 0, 0]);
        packet.extend(b"hello and what follows the datagram");
        packet
    }

    #[test]
    fn a_datagram_is_read() {
        let capture = Capture::of(&file(&datagram(0x2000))).unwrap();
        let (from, to) = ("10.10.10.2:5060".parse().unwrap(), "10.10.10.1:5061".parse().unwrap());
        assert_eq!(capture.packets, [Packet { from, to, payload: b"hello".to_vec() }]);
    }

    #[test]
    fn rests_of_datagrams_are_counted_apart() {
        let capture = Capture::of(&file(&datagram(175))).unwrap();
        assert_eq!((capture.packets.len(), capture.fragments), (0, 1));
    }

    #[test]
    fn any_cut_of_a_file_is_read_as_far_as_it_goes() {
        let whole = file(&datagram(0));
        for size in 0..whole.len() {
            let capture = Capture::of(&whole[..size]);
            assert_eq!(capture.is_ok(), size >= FILE_HEADER_BYTES, "{size}");
            assert!(capture.is_err() || capture.unwrap().packets.is_empty(), "{size}");
        }
    }
}
