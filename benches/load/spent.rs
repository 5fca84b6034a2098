//! What the process under test has spent: CPU time and memory, from `/proc`, with all its descendants.

use anyhow::{Context, Result};
use std::fs;

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

fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

/// Fields 14 and 15 of `stat`, in ticks of 10 ms.
fn cpu_us(pid: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the name, in parentheses: it may hold anything.
    let (_, fields) = stat.rsplit_once(") ").context("no name in stat")?;
    let ticks = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>());
    Ok(ticks.sum::<Result<u64, _>>()? * 10_000)
}

fn memory_bytes(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

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
