//! A call's messages as a capture file that Wireshark reads. The IP, UDP and TCP headers are made up around the bytes
//! that were on the wire: addresses and ports are the true ones, sequence numbers count the call's own bytes.

use super::journal::KeptCall;
use proxy::Transport;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

/// Packets are whole IP packets, with nothing around them.
const LINKTYPE_RAW: u32 = 101;
const SNAP_BYTES: u32 = 262_144;
/// A stream's message is cut into segments of this size.
const SEGMENT_BYTES: usize = 32_768;
const UDP: u8 = 17;
const TCP: u8 = 6;

/// The capture file of a call.
pub fn of_call(call: KeptCall<'_>) -> Vec<u8> {
    let mut file = Vec::new();
    file.extend_from_slice(&0xa1b2_c3d4_u32.to_le_bytes());
    file.extend_from_slice(&2_u16.to_le_bytes());
    file.extend_from_slice(&4_u16.to_le_bytes());
    file.extend_from_slice(&[0; 8]);
    file.extend_from_slice(&SNAP_BYTES.to_le_bytes());
    file.extend_from_slice(&LINKTYPE_RAW.to_le_bytes());
    let mut sent: HashMap<(SocketAddr, SocketAddr), u32> = HashMap::new();
    for (message, bytes) in call.messages() {
        let (remote, local) = (message.remote, message.local.address);
        let (from, to) = if message.is_sent { (local, remote) } else { (remote, local) };
        if message.local.transport == Transport::Udp {
            packet(&mut file, message.at_us, (from.ip(), to.ip()), UDP, &datagram(from, to, &bytes));
            continue;
        }
        for part in bytes.chunks(SEGMENT_BYTES) {
            let acknowledged = sent.get(&(to, from)).copied().unwrap_or(1);
            let sequence = sent.entry((from, to)).or_insert(1);
            let segment = segment(from, to, (*sequence, acknowledged), part);
            *sequence = sequence.wrapping_add(u32::try_from(part.len()).unwrap_or_default());
            packet(&mut file, message.at_us, (from.ip(), to.ip()), TCP, &segment);
        }
    }
    file
}

fn packet(file: &mut Vec<u8>, at_us: u64, (from, to): (IpAddr, IpAddr), protocol: u8, payload: &[u8]) {
    let mut ip = Vec::with_capacity(payload.len() + 40);
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let length = u16::try_from(payload.len() + 20).unwrap_or(u16::MAX);
            ip.extend_from_slice(&[0x45, 0]);
            ip.extend_from_slice(&length.to_be_bytes());
            ip.extend_from_slice(&[0, 0, 0x40, 0, 64, protocol, 0, 0]);
            ip.extend_from_slice(&from.octets());
            ip.extend_from_slice(&to.octets());
            let sum = checksum(&[&ip]);
            ip.splice(10..12, sum.to_be_bytes());
        }
        _ => {
            let six = |ip: IpAddr| match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            ip.extend_from_slice(&[0x60, 0, 0, 0]);
            ip.extend_from_slice(&u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes());
            ip.extend_from_slice(&[protocol, 64]);
            ip.extend_from_slice(&six(from).octets());
            ip.extend_from_slice(&six(to).octets());
        }
    }
    ip.extend_from_slice(payload);
    let length = u32::try_from(ip.len()).unwrap_or(u32::MAX);
    let seconds = u32::try_from(at_us / 1_000_000).unwrap_or(u32::MAX);
    let micros = u32::try_from(at_us % 1_000_000).unwrap_or_default();
    for field in [seconds, micros, length, length] {
        file.extend_from_slice(&field.to_le_bytes());
    }
    file.extend_from_slice(&ip);
}

fn datagram(from: SocketAddr, to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut udp = Vec::with_capacity(bytes.len() + 8);
    udp.extend_from_slice(&from.port().to_be_bytes());
    udp.extend_from_slice(&to.port().to_be_bytes());
    udp.extend_from_slice(&u16::try_from(bytes.len() + 8).unwrap_or(u16::MAX).to_be_bytes());
    udp.extend_from_slice(&[0, 0]);
    udp.extend_from_slice(bytes);
    let sum = checksum(&[&pseudo_header(from, to, UDP, udp.len()), &udp]);
    // RFC 768: a sum of 0 is sent as all ones, as 0 says that there is none.
    let sum = if sum == 0 { u16::MAX } else { sum };
    udp.splice(6..8, sum.to_be_bytes());
    udp
}

fn segment(from: SocketAddr, to: SocketAddr, (sequence, acknowledged): (u32, u32), bytes: &[u8]) -> Vec<u8> {
    let mut tcp = Vec::with_capacity(bytes.len() + 20);
    tcp.extend_from_slice(&from.port().to_be_bytes());
    tcp.extend_from_slice(&to.port().to_be_bytes());
    tcp.extend_from_slice(&sequence.to_be_bytes());
    tcp.extend_from_slice(&acknowledged.to_be_bytes());
    // A header of 20 bytes; PSH and ACK; a window of 65,535.
    tcp.extend_from_slice(&[0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
    tcp.extend_from_slice(bytes);
    let sum = checksum(&[&pseudo_header(from, to, TCP, tcp.len()), &tcp]);
    tcp.splice(16..18, sum.to_be_bytes());
    tcp
}

fn pseudo_header(from: SocketAddr, to: SocketAddr, protocol: u8, length: usize) -> Vec<u8> {
    let mut header = Vec::new();
    for ip in [from.ip(), to.ip()] {
        match ip {
            IpAddr::V4(ip) => header.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => header.extend_from_slice(&ip.octets()),
        }
    }
    header.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    header.extend_from_slice(&[0, 0, 0, protocol]);
    header
}

/// RFC 1071, over parts of which all but the last have an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u32 = 0;
    for pair in parts.iter().flat_map(|part| part.chunks(2)) {
        let word = match pair {
            [high, low] => u16::from_be_bytes([*high, *low]),
            [high] => u16::from_be_bytes([*high, 0]),
            _ => 0,
        };
        sum += u32::from(word);
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::journal::{Journal, JournalBounds, KeptMessage};
    use super::super::record::CallRecord;
    use super::*;
    use proxy::Listener;
    use std::process::Command;

    /// tcpdump reads it, finds every checksum good, and shows the SIP inside.
    #[test]
    fn tcpdump_reads_datagrams_and_segments_of_both_families() {
        let mut journal = Journal::new(JournalBounds { calls: 2, bytes: 1 << 20 });
        let call = journal.open_call(None, CallRecord::default());
        let ends = [
            ("10.10.10.2:5060", "10.10.10.1:5060", Transport::Udp),
            ("10.10.10.2:40001", "10.10.10.1:5060", Transport::Tcp),
            ("[fd00:10::2]:5060", "[fd00:10::1]:5060", Transport::Udp),
        ];
        for (at, (remote, local, transport)) in ends.into_iter().enumerate() {
            let local = Listener { transport, address: local.parse().unwrap() };
            for (is_sent, text) in
                [(false, "INVITE sip:918065978000@10.10.10.1 SIP/2.0\r\n\r\n"), (true, "SIP/2.0 100 Trying\r\n\r\n")]
            {
                let at_us = 1_800_000_000_000_000 + u64::try_from(at).unwrap() * 1_000;
                let message = KeptMessage::new(at_us, is_sent, remote.parse().unwrap(), local);
                journal.keep(call, text.as_bytes(), message, |_| {});
            }
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), of_call(journal.kept(call).unwrap())).unwrap();
        let read = Command::new("tcpdump").args(["-nn", "-vv", "-r"]).arg(file.path()).output().unwrap();
        let text = String::from_utf8_lossy(&read.stdout).into_owned();
        assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
        // It shows the text of datagrams, and of segments their checksums and numbers.
        assert_eq!(text.matches("INVITE sip:918065978000@10.10.10.1 SIP/2.0").count(), 2, "{text}");
        assert_eq!(text.matches("SIP/2.0 100 Trying").count(), 2, "{text}");
        assert_eq!(
            (text.matches("[udp sum ok] SIP").count(), text.matches("(correct), seq").count()),
            (4, 2),
            "{text}"
        );
        assert!(!text.contains("bad") && !text.contains("incorrect"), "{text}");
        assert!(text.contains("10.10.10.1.5060 > 10.10.10.2.40001"), "{text}");
    }
}
