//! One question to DNS servers: the A records of a full name, by UDP (RFC 1035). Of an answer only what was asked for counts;
//! one that is truncated is none.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;

/// How often one look-up tries each server.
const TRIES: usize = 2;
/// Servers of the system that are asked.
const SYSTEM_SERVERS: usize = 3;
const SYSTEM_FILE: &str = "/etc/resolv.conf";
/// Bytes of an answer (RFC 1035 4.2.1).
const ANSWER_BYTES: usize = 512;
const HEAD_BYTES: usize = 12;
const TYPE_A: u16 = 1;
const CLASS_IN: u16 = 1;

/// What a look-up found: addresses, and how long they count.
pub(super) type Found = Result<(Vec<IpAddr>, Duration), String>;

/// Asks the servers one after the other; the first that knows an address has the word. The error is what the last one said.
pub(super) async fn look_up(servers: &[SocketAddr], host: &str, timeout: Duration) -> Found {
    let mut last = Err("no DNS server is known".to_owned());
    for server in (0..TRIES).flat_map(|_| servers) {
        let found = match tokio::time::timeout(timeout, ask(*server, host)).await {
            Ok(found) => found,
            Err(_) => Err(format!("{server} did not answer in time")),
        };
        if found.is_ok() {
            return found;
        }
        last = found;
    }
    last
}

/// The servers that the system asks.
pub(super) fn system_servers() -> Vec<SocketAddr> {
    let text = fs::read_to_string(SYSTEM_FILE).unwrap_or_default();
    let ips = text.lines().filter_map(|line| line.strip_prefix("nameserver")?.trim().parse::<IpAddr>().ok());
    ips.take(SYSTEM_SERVERS).map(|ip| SocketAddr::new(ip, 53)).collect()
}

/// From a port that the kernel chooses, with an id by chance: nobody else can answer.
async fn ask(server: SocketAddr, host: &str) -> Found {
    let failed = |error: io::Error| format!("{server}: {error}");
    let mut chance = [0; 2];
    getrandom::fill(&mut chance).map_err(|error| error.to_string())?;
    let question = question(chance, host).ok_or("a name that cannot be asked for")?;
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await.map_err(failed)?;
    socket.connect(server).await.map_err(failed)?;
    socket.send(&question).await.map_err(failed)?;
    let mut slot = [0; ANSWER_BYTES];
    loop {
        let size = socket.recv(&mut slot).await.map_err(failed)?;
        // What answers another question is passed over, until the time is up.
        if let Some(found) = read(&question, slot.get(..size).unwrap_or_default()) {
            return found.map_err(|why| format!("{server}: {why}"));
        }
    }
}

/// A question for the A records of a name, with recursion.
fn question(id: [u8; 2], host: &str) -> Option<Vec<u8>> {
    let mut bytes = id.to_vec();
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in host.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        bytes.push(length);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(TYPE_A.to_be_bytes());
    bytes.extend(CLASS_IN.to_be_bytes());
    Some(bytes)
}

/// The answer to a question; `None` where the bytes are none to it. The addresses may stand behind any aliases.
fn read(question: &[u8], answer: &[u8]) -> Option<Found> {
    let asked = question.get(HEAD_BYTES..)?;
    let (head, rest) = answer.split_at_checked(HEAD_BYTES)?;
    let [id_high, id_low, flags, more_flags, _, _, count_high, count_low, ..] = *head else { return None };
    let is_ours = question.starts_with(&[id_high, id_low]) && flags & 0x80 != 0;
    let (echoed, mut rest) = rest.split_at_checked(asked.len())?;
    if !is_ours || !echoed.eq_ignore_ascii_case(asked) {
        return None;
    }
    if flags & 0x02 != 0 {
        return Some(Err("the answer is truncated".to_owned()));
    }
    match more_flags & 0x0f {
        0 => {}
        2 => return Some(Err("the server has failed (SERVFAIL)".to_owned())),
        3 => return Some(Err("there is no such name (NXDOMAIN)".to_owned())),
        code => return Some(Err(format!("the server refuses (code {code})"))),
    }
    let (mut addresses, mut ttl_s) = (Vec::new(), u32::MAX);
    for _ in 0..u16::from_be_bytes([count_high, count_low]) {
        let Some((record, behind)) = record(rest) else { return Some(Err("the answer is not whole".to_owned())) };
        if let Some(address) = record.address {
            addresses.push(address.into());
        }
        ttl_s = ttl_s.min(record.ttl_s);
        rest = behind;
    }
    if addresses.is_empty() {
        return Some(Err("no address in the answer".to_owned()));
    }
    Some(Ok((addresses, Duration::from_secs(ttl_s.into()))))
}

struct Record {
    /// Of an A record.
    address: Option<Ipv4Addr>,
    ttl_s: u32,
}

/// The first record (RFC 1035 4.1.3), and what is behind it.
fn record(bytes: &[u8]) -> Option<(Record, &[u8])> {
    let ([type_high, type_low, class_high, class_low, t0, t1, t2, t3, size_high, size_low], rest) =
        behind_name(bytes)?.split_first_chunk::<10>()?;
    let (data, rest) = rest.split_at_checked(u16::from_be_bytes([*size_high, *size_low]).into())?;
    let is_a = u16::from_be_bytes([*type_high, *type_low]) == TYPE_A;
    let is_in = u16::from_be_bytes([*class_high, *class_low]) == CLASS_IN;
    let address = <[u8; 4]>::try_from(data).ok().filter(|_| is_a && is_in).map(Ipv4Addr::from);
    Some((Record { address, ttl_s: u32::from_be_bytes([*t0, *t1, *t2, *t3]) }, rest))
}

/// What is behind a name: labels up to an empty one, or up to a pointer to others.
fn behind_name(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        let (length, rest) = bytes.split_first()?;
        match length {
            0 => return Some(rest),
            1..=63 => bytes = rest.get(usize::from(*length)..)?,
            0xc0.. => return rest.get(1..),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer: the question, and this many records of these bytes.
    fn answer(flags: [u8; 2], count: u8, records: &[u8]) -> Vec<u8> {
        let mut bytes = question([7, 9], "pbx.example.net").unwrap();
        bytes[2..4].copy_from_slice(&flags);
        bytes[7] = count;
        bytes.extend(records);
        bytes
    }

    fn read_of(answer: &[u8]) -> Option<Found> {
        read(&question([7, 9], "pbx.example.net").unwrap(), answer)
    }

    const A: [u8; 16] = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 10, 10, 3];
    const ALIAS: [u8; 17] = [0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 30, 0, 5, 2, b'v', b'1', 0xc0, 16];

    #[test]
    fn addresses_behind_an_alias_are_read_with_the_shortest_time() {
        let records = [&ALIAS[..], &A[..]].concat();
        let found = read_of(&answer([0x81, 0x80], 2, &records)).unwrap();
        assert_eq!(found, Ok((vec!["10.10.10.3".parse().unwrap()], Duration::from_secs(30))));
    }

    #[test]
    fn what_is_no_answer_is_told_or_passed_over() {
        let told = |flags, count, records: &[u8]| read_of(&answer(flags, count, records)).unwrap().unwrap_err();
        assert!(told([0x81, 0x82], 0, &[]).contains("SERVFAIL"));
        assert!(told([0x81, 0x83], 0, &[]).contains("NXDOMAIN"));
        assert_eq!(told([0x81, 0x80], 0, &[]), "no address in the answer");
        assert_eq!(told([0x83, 0x80], 1, &A), "the answer is truncated");
        assert_eq!(told([0x81, 0x80], 2, &A), "the answer is not whole");
        assert_eq!(read_of(&answer([0x01, 0x00], 1, &A)), None, "a question");
        let mut other = answer([0x81, 0x80], 1, &A);
        other[1] = 8;
        assert_eq!(read_of(&other), None, "another id");
    }

    #[test]
    fn no_cut_of_an_answer_breaks_it() {
        let whole = answer([0x81, 0x80], 2, &[&ALIAS[..], &A[..]].concat());
        for size in 0..whole.len() {
            assert!(read_of(&whole[..size]).is_none_or(|found| found.is_err()), "{size}");
        }
    }
}
