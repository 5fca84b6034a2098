//! What was spent, from `/proc`: CPU time and memory of the process under test, with all its descendants, and datagrams that
//! our own sockets had no room for.

use anyhow::{Context, Result};
use std::fs;
use std::net::SocketAddrV4;

/// One reading.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    /// User and system time.
    pub(crate) cpu_us: u64,
    /// Proportional resident memory: a page that processes share counts once.
    pub(crate) memory_bytes: u64,
}

/// The process and its descendants, now.
pub(crate) fn read(pid: u32) -> Result<Spent> {
    let mut all = vec![pid];
    let mut at = 0;
    while let Some(parent) = all.get(at).copied() {
        all.extend(children(parent));
        at += 1;
    }
    let mut spent = Spent::default();
    for pid in all {
        spent.cpu_us += cpu_us(pid).with_context(|| format!("process {pid} cannot be read"))?;
        spent.memory_bytes += memory_bytes(pid).unwrap_or(0);
    }
    Ok(spent)
}

/// Datagrams for us that the kernel has dropped since our sockets were opened, for want of room.
pub(crate) fn overflowed(ends: &[SocketAddrV4]) -> u64 {
    overflowed_in(&fs::read_to_string("/proc/net/udp").unwrap_or_default(), ends)
}

/// The last column of the lines whose second is one of these addresses: the bytes of the address as one number of this
/// machine, and the port.
fn overflowed_in(table: &str, ends: &[SocketAddrV4]) -> u64 {
    let names: Vec<String> =
        ends.iter().map(|end| format!("{:08X}:{:04X}", u32::from_ne_bytes(end.ip().octets()), end.port())).collect();
    let lost = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let is_ours = columns.get(1).is_some_and(|local| names.iter().any(|name| name == local));
        columns.last().filter(|_| is_ours).and_then(|lost| lost.parse::<u64>().ok())
    };
    table.lines().filter_map(lost).sum()
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

/// User and system time of this process.
pub(crate) fn own_us() -> Result<[u64; 2]> {
    times_us(std::process::id())
}

fn cpu_us(pid: u32) -> Result<u64> {
    Ok(times_us(pid)?.into_iter().sum())
}

/// Fields 14 and 15 of `stat`, in ticks of 10 ms: user and system time.
fn times_us(pid: u32) -> Result<[u64; 2]> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the name, in parentheses: it may hold anything.
    let (_, fields) = stat.rsplit_once(") ").context("no name in stat")?;
    let mut ticks = fields.split(' ').skip(11);
    let mut next_us =
        || -> Result<u64> { Ok(ticks.next().context("too few fields in stat")?.parse::<u64>()? * 10_000) };
    Ok([next_us()?, next_us()?])
}

fn memory_bytes(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{SocketAddr, UdpSocket};

    /// A socket that nobody reads loses what it has no room for, and that is told, of it alone.
    #[test]
    fn what_our_own_sockets_lose_is_told() {
        let [full, other, sender] = [(); 3].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let at = |socket: &UdpSocket| match socket.local_addr().unwrap() {
            SocketAddr::V4(at) => at,
            SocketAddr::V6(at) => panic!("{at} is not IPv4"),
        };
        for _ in 0..3_000 {
            sender.send_to(&[0; 1_000], at(&full)).unwrap();
        }
        assert!(overflowed(&[at(&other), at(&full)]) > 1_000);
        assert_eq!(overflowed(&[at(&other)]), 0);
        assert_eq!(overflowed_in("", &[at(&full)]), 0);
    }

    #[test]
    fn this_process_spends_time_and_memory() {
        let begun = std::time::Instant::now();
        let pid = std::process::id();
        let before = read(pid).unwrap();
        while read(pid).unwrap().cpu_us == before.cpu_us {
            assert!(begun.elapsed().as_secs() < 30, "no tick of CPU time in 30 s");
        }
        assert!(before.memory_bytes > 100_000);
    }
}
