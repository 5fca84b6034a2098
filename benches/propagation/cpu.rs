//! What a server and our writer use of the processor.

use std::fs;
use std::time::Duration;

/// The processor's time of a server with its children, living and gone.
pub(crate) fn of_server(processes: &[u32]) -> Duration {
    let parent = processes.first().map(|parent| format!("/proc/{parent}/stat"));
    let gone = parent.map_or(0, |path| ticks(&path, 13..15));
    ticks_of(gone + processes.iter().map(|process| ticks(&format!("/proc/{process}/stat"), 11..13)).sum::<u64>())
}

/// The processor's time of this process's threads whose names begin so.
pub(crate) fn of_thread(name: &str) -> Duration {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let named =
        tasks.filter(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.starts_with(name)));
    ticks_of(named.map(|task| ticks(&task.path().join("stat").display().to_string(), 11..13)).sum())
}

/// Fields of a `stat` file behind the name, added.
fn ticks(path: &str, fields: std::ops::Range<usize>) -> u64 {
    let stat = fs::read_to_string(path).unwrap_or_default();
    let behind = stat.rsplit_once(") ").map_or("", |(_, behind)| behind);
    let fields = behind.split_whitespace().skip(fields.start).take(fields.len());
    fields.filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// The kernel tells this in hundredths of a second.
const fn ticks_of(hundredths: u64) -> Duration {
    Duration::from_millis(hundredths * 10)
}
