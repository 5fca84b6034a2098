//! How much memory this process may have: what its control groups and its resource limits say.

use proxy::settings::LimitSettings;
use std::fs;
use std::path::Path;
use telemetry::calls::JournalBounds;

/// Open transactions may hold one part in so many of what the process may have: the rest is for the directory, for
/// buffers, and for what the allocator keeps.
const SHARE: u64 = 3;
/// And the journal of calls one in so many.
const JOURNAL_SHARE: u64 = 16;

/// Lowers `limits.transaction_bytes` and `records.journal_bytes` to what the machine lets this process have: it sheds
/// calls before the kernel ends it (row H4).
pub(crate) fn fit(limits: &mut LimitSettings, journal: &mut JournalBounds) {
    let Some(bound_bytes) = bound_bytes() else { return };
    let of_journal = usize::try_from(bound_bytes / JOURNAL_SHARE).unwrap_or(usize::MAX);
    if journal.bytes > of_journal {
        tracing::warn!(
            bound_bytes,
            written = journal.bytes,
            in_force = of_journal,
            "this process may not have the memory for records.journal_bytes: a part of what it may have is in force"
        );
        journal.bytes = of_journal;
    }
    let share = usize::try_from(bound_bytes / SHARE).unwrap_or(usize::MAX);
    if limits.transaction_bytes > share {
        tracing::warn!(
            bound_bytes,
            written = limits.transaction_bytes,
            in_force = share,
            "this process may not have the memory for limits.transaction_bytes: a third of what it may have is in force"
        );
        limits.transaction_bytes = share;
    }
}

/// The least of all bounds; `None` where there is none.
fn bound_bytes() -> Option<u64> {
    let of_groups = fs::read_to_string("/proc/self/cgroup").map(|text| of_groups(&text, Path::new("/sys/fs/cgroup")));
    let of_resources = fs::read_to_string("/proc/self/limits").map(|text| of_resources(&text));
    [of_groups.ok().flatten(), of_resources.ok().flatten()].into_iter().flatten().min()
}

/// The bounds of this process's control group and of all above it, in the hierarchy of version 2 and, where memory has
/// one of its own, of version 1. `listing` is /proc/self/cgroup.
fn of_groups(listing: &str, root: &Path) -> Option<u64> {
    let bounds = listing.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let (folder, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => (root.join("memory"), "memory.limit_in_bytes"),
            _ => return None,
        };
        let group = folder.join(path.trim_start_matches('/'));
        let groups = group.ancestors().take_while(|group| group.starts_with(&folder));
        groups.filter_map(|group| fs::read_to_string(group.join(file)).ok()?.trim().parse().ok()).min()
    });
    bounds.min()
}

/// The soft limit of the address space; `listing` is /proc/self/limits.
fn of_resources(listing: &str) -> Option<u64> {
    let line = listing.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h4_the_least_bound_of_the_groups_above_counts() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("system.slice/memory.max", "536870912\n");
        write("system.slice/switchyard.service/memory.max", "max\n");
        assert_eq!(of_groups("0::/system.slice/switchyard.service\n", folder.path()), Some(536_870_912));
        assert_eq!(of_groups("0::/user.slice\n", folder.path()), None);
        write("memory/docker/memory.limit_in_bytes", "268435456\n");
        let both = "5:cpu,cpuacct:/docker\n4:memory:/docker\n0::/system.slice\n";
        assert_eq!(of_groups(both, folder.path()), Some(268_435_456));
    }

    #[test]
    fn h4_the_address_space_is_a_bound() {
        let line =
            |value: &str| format!("Limit   Soft Limit\nMax address space         {value}    unlimited   bytes\n");
        assert_eq!(of_resources(&line("1073741824")), Some(1_073_741_824));
        assert_eq!(of_resources(&line("unlimited")), None);
    }
}
