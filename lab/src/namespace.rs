//! Working inside a network namespace.

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};
use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::process::Command;

/// Runs `work` on a thread that has entered `namespace`. Sockets that it opens stay there, wherever they are used.
pub(crate) fn inside<T: Send + 'static>(namespace: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let path = Path::new("/run/netns").join(namespace);
    let namespace = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    let thread = std::thread::spawn(move || -> Result<T> {
        setns(namespace, CloneFlags::CLONE_NEWNET).context("cannot enter the namespace")?;
        Ok(work())
    });
    thread.join().map_err(|_panic| anyhow!("the work inside the namespace panicked"))?
}

/// The words before a program and its arguments that start it in `namespace`, with a `/run` of its own: there
/// wireguard-go keeps its control socket, which is called as its interface, and that is `wg0` on every node.
pub(crate) fn entry(namespace: &str, run: &Path) -> Vec<String> {
    let script = "mount --bind \"$0\" /run && exec \"$@\"";
    let run = run.display().to_string();
    ["ip", "netns", "exec", namespace, "sh", "-c", script, &run].map(str::to_owned).to_vec()
}

/// A command of these words, `program` after them.
pub(crate) fn command(entry: &[String], program: impl AsRef<OsStr>) -> Command {
    let Some((first, rest)) = entry.split_first() else { return Command::new(program) };
    let mut command = Command::new(first);
    command.args(rest).arg(program);
    command
}
