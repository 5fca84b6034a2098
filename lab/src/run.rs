//! A run's name and folder, and that nothing of it stays behind.
//!
//! Everything that a run makes is found by its name. A guardian takes it away: a process of its own, that waits until
//! the one which made the lab lets go of a pipe. That happens when the lab is dropped, and also when its process is
//! interrupted or killed.

use anyhow::{Context, Result, bail};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// What the names of all runs begin with.
const PREFIX: &str = "switchyard-lab";
const SWEEP: &str = include_str!("sweep.sh");

/// One run: what it makes goes when this value does.
#[derive(Debug)]
pub(crate) struct Run {
    name: String,
    folder: PathBuf,
    guardian: Child,
    /// The guardian sweeps when this end of its standard input is closed.
    hold: Option<ChildStdin>,
}

impl Run {
    /// Takes away what dead runs have left, and begins a new one.
    pub(crate) fn begin() -> Result<Run> {
        sweep_dead()?;
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let name = format!("{PREFIX}-{}-{}", std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed));
        let folder = folder_of(&name);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut guardian = Command::new("sh");
        guardian.arg("-c").arg(format!("trap '' INT HUP TERM\ncat >/dev/null\n{SWEEP}")).args(["sh", &name]);
        // In a group of its own: an interrupt at the terminal does not reach it.
        guardian.arg(&folder).current_dir("/").process_group(0);
        guardian.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut guardian = guardian.spawn().context("cannot start the guardian")?;
        let hold = guardian.stdin.take();
        Ok(Run { name, folder, guardian, hold })
    }

    /// The name of one of its namespaces.
    pub(crate) fn namespace(&self, of: &str) -> String {
        format!("{}-{of}", self.name)
    }

    /// The folder of everything that it writes.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.hold = None;
        let _swept = self.guardian.wait();
    }
}

/// Takes away what runs have made whose process is no more; returns their names.
pub(crate) fn sweep_dead() -> Result<Vec<String>> {
    let mut swept = Vec::new();
    for name in runs()? {
        let pid = name.rsplit('-').nth(1).unwrap_or_default();
        if Path::new("/proc").join(pid).exists() {
            continue;
        }
        let status =
            Command::new("sh").args(["-c", SWEEP, "sh", &name]).arg(folder_of(&name)).stderr(Stdio::null()).status();
        if !status.context("cannot start sh")?.success() {
            bail!("{name} could not be taken away");
        }
        swept.push(name);
    }
    Ok(swept)
}

/// The runs of which anything is there.
pub fn runs() -> Result<Vec<String>> {
    let listed = Command::new("ip").args(["netns", "list"]).output();
    let listed = listed.context("cannot start ip; it comes with the package iproute2")?.stdout;
    let listed = String::from_utf8_lossy(&listed).into_owned();
    let of_namespaces = listed.lines().filter_map(|line| Some(line.split(' ').next()?.rsplit_once('-')?.0.to_owned()));
    let folders =
        std::fs::read_dir(std::env::temp_dir())?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut runs: Vec<_> = of_namespaces.chain(folders).filter(|name| is_run(name)).collect();
    runs.sort();
    runs.dedup();
    Ok(runs)
}

/// A run's name: the prefix, the id of its process, its number in that process.
fn is_run(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('-')) else { return false };
    rest.split_once('-').is_some_and(|(pid, number)| pid.parse::<u32>().is_ok() && number.parse::<u32>().is_ok())
}

fn folder_of(name: &str) -> PathBuf {
    std::env::temp_dir().join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_runs_are_taken_for_runs() {
        assert!(is_run("switchyard-lab-4711-0"));
        for other in
            ["switchyard-lab-4711", "switchyard-lab", "switchyard-lab-4711-0-nuc", "lab-4711-0", "switchyard-lab-x-0"]
        {
            assert!(!is_run(other), "{other}");
        }
    }
}
