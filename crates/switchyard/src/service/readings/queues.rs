//! What waits between threads, and in the kernel.

use crate::call_journal::{self, CallJournal};
use crate::logging::{self, LINES};
use crate::worker::Crew;
use proxy::{Listener, Transport};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use telemetry::calls::Calls;
use telemetry::{Reading, catalogue, limits};

/// The queues that somebody else's numbers do not tell of.
#[derive(Debug)]
pub(in crate::service) struct Queues {
    commands: Crew,
    call_journal: Arc<AtomicUsize>,
}

impl Queues {
    pub(in crate::service) fn new(commands: &Crew, journal: &CallJournal) -> Queues {
        Queues { commands: commands.clone(), call_journal: journal.waiting() }
    }

    pub(super) fn readings(&self, calls: &Calls, listeners: &[Listener]) -> Vec<Reading> {
        let log = logging::present().map_or(0, logging::Logging::waiting_lines);
        let (commands, room) = self.commands.waiting();
        let queues = [
            ("commands", commands, room),
            ("records", calls.waiting_batches(), limits::BATCHES * self.commands.workers()),
            ("call_journal", self.call_journal.load(Ordering::Relaxed), call_journal::ENTRIES_WAITING),
            ("log", log, LINES),
        ];
        let mut readings = Vec::new();
        for (name, depth, room) in queues {
            let of_queue = |family, value| Reading { label_value: name, ..Reading::new(family, size(value)) };
            readings.extend([of_queue(&catalogue::QUEUED, depth), of_queue(&catalogue::QUEUE_ROOM, room)]);
        }
        readings.extend(receive_queue(listeners));
        readings
    }
}

/// The bytes in the receive buffers of our UDP sockets, as the kernel lists them; nothing where it cannot be read.
fn receive_queue(listeners: &[Listener]) -> Option<Reading> {
    let udp = listeners.iter().filter(|listener| listener.transport == Transport::Udp);
    let ours: Vec<String> = udp.map(|listener| listed(listener.address)).collect();
    let tables = ["/proc/self/net/udp", "/proc/self/net/udp6"].map(fs::read_to_string);
    if tables.iter().all(Result::is_err) {
        return None;
    }
    let bytes: usize = tables.iter().flatten().map(|table| waiting_bytes(table, &ours)).sum();
    Some(Reading::new(&catalogue::RECEIVE_QUEUE_BYTES, size(bytes)))
}

/// An address as these tables have it: words of 32 bits in the machine's order, then the port.
fn listed(address: SocketAddr) -> String {
    let word = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
    let ip = match address.ip() {
        IpAddr::V4(ip) => word(ip.octets()),
        IpAddr::V6(ip) => {
            let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = ip.octets();
            [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]].map(word).concat()
        }
    };
    format!("{ip}:{:04X}", address.port())
}

/// `sl local_address rem_address st tx_queue:rx_queue ...`, the queues in hexadecimal bytes.
fn waiting_bytes(table: &str, ours: &[String]) -> usize {
    let of_line = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next()?;
        let (_, waiting) = fields.nth(2).filter(|_| ours.iter().any(|address| address == local))?.split_once(':')?;
        usize::from_str_radix(waiting, 16).ok()
    };
    table.lines().filter_map(of_line).sum()
}

#[expect(clippy::cast_precision_loss, reason = "what waits is below 2^53")]
fn size(value: usize) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    /// What nobody has received waits, in the kernel's own words and in ours.
    #[test]
    fn datagrams_that_wait_in_our_sockets_are_seen() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let socket = UdpSocket::bind(any).unwrap();
            let address = socket.local_addr().unwrap();
            let waiting = || receive_queue(&[Listener { transport: Transport::Udp, address }]).unwrap().value;
            assert!(waiting() < 1.0, "{any}");
            socket.send_to(&[b'x'; 1_000], address).unwrap();
            assert!(waiting() >= 1_000.0, "{any}");
            socket.recv(&mut [0; 2_000]).unwrap();
            assert!(waiting() < 1.0, "{any}");
        }
    }
}
