//! Who goes first where threads share a core: those that serve calls. Records, journals, the directory's writer, scrapes and
//! the log are done in what these leave, and have a share of the core all the same.

use rustix::io::Errno;
use rustix::process::{Pid, getpriority_process, setpriority_process};
use std::io;
use std::path::Path;

/// How far the others stand back, as a nice value above the process's own: a thread of them that works has a third of what
/// one that serves calls has. More would lose records of a proxy that is used to its limit.
const STANDS_BACK: i32 = 5;
/// The most that the kernel knows.
const NICE_MOST: i32 = 19;
/// Looks at the threads: who had not stood back yet may have started another one meanwhile.
const LOOKS: usize = 8;
/// The threads of this process, as the kernel lists them.
const THREADS: &str = "/proc/self/task";

/// Lets all threads stand back but those that serve calls. What they start later does as well. A thread that stands back
/// farther stays there.
pub(crate) fn stand_back() {
    if let Err(error) = others_stand_back() {
        tracing::debug!(%error, "not all threads stand back from calls");
    }
}

fn others_stand_back() -> io::Result<()> {
    let nice = getpriority_process(None)?.saturating_add(STANDS_BACK).min(NICE_MOST);
    for _ in 0..LOOKS {
        if !is_changed(nice)? {
            break;
        }
    }
    Ok(())
}

/// Sets the nice value of those that had a lower one; false where nobody had.
fn is_changed(nice: i32) -> io::Result<bool> {
    let mut is_changed = false;
    for thread in std::fs::read_dir(THREADS)? {
        let thread = thread?;
        let id = thread.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        let Some(id) = id else { continue };
        match stands_back(id, &thread.path(), nice) {
            // It has ended.
            Err(error) if is_gone(&error) => {}
            done => is_changed |= done?,
        }
    }
    Ok(is_changed)
}

fn stands_back(id: Pid, folder: &Path, nice: i32) -> io::Result<bool> {
    let name = std::fs::read_to_string(folder.join("comm"))?;
    if serves_calls(name.trim_end()) || getpriority_process(Some(id))? >= nice {
        return Ok(false);
    }
    setpriority_process(Some(id), nice)?;
    Ok(true)
}

/// The names that `service/workers.rs` and `tcp.rs` give to their threads.
fn serves_calls(name: &str) -> bool {
    name == "worker" || name.starts_with("worker-") || name == "streams"
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}

#[cfg(test)]
mod tests {
    /// The unit's filter leaves out what changes priorities, and lets this one in again.
    #[test]
    fn the_unit_lets_threads_stand_back() {
        let unit = include_str!("../../../deploy/systemd/switchyard.service");
        let filters: Vec<&str> = unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")).collect();
        assert_eq!(filters.last(), Some(&"setpriority"), "{filters:?}");
    }
}
