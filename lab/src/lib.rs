//! The network of production on one machine, for tests and to look at.
//!
//! [`Lab::up`] makes a network namespace for each [`Node`] of the topology and joins them by real WireGuard, with the
//! files of `deploy/wireguard` and keys of its own. The datagrams of the tunnels go through a [`Relay`], which loses,
//! doubles, reorders, delays and cuts as an [`Impairment`] says, from a seed, and can be told otherwise at any time.
//!
//! Programs are started on a node with [`Lab::command`], sockets opened there with [`Lab::inside`]. [`Capture`] reads
//! what `tcpdump` has written.
//!
//! Two labs never meet: names hold the process and its run. Nothing stays behind, however the process ends. One lab
//! stands at a time on a machine, others wait: the tests measure time.

pub mod browser;
mod capture;
pub mod documents;
pub mod hung;
mod impairment;
mod namespace;
mod network;
mod node;
pub mod phone;
pub mod phones;
pub mod process;
pub mod program;
mod relay;
mod run;
pub mod silence;
pub mod sipp;
pub mod supervisor;
pub mod tap;
mod wireguard;

pub use capture::{Capture, Packet};
pub use impairment::Impairment;
pub use node::Node;
pub use relay::{Counts, Direction, ON_THE_WAY, REORDER_HOLD, Relay};
pub use run::runs;

use anyhow::{Context, Result, bail};
use process::Place;
use run::Run;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A standing lab. It is gone when this value is.
#[derive(Debug)]
pub struct Lab {
    /// In the order in which they go: the relay's threads work in a namespace of the run.
    relay: Relay,
    run: Run,
    /// Held as long as the lab stands, where its timing counts.
    _one_at_a_time: Option<File>,
}

impl Lab {
    /// Puts it up, with clean paths, when no other lab of tests stands on this machine. `seed` decides the chances of
    /// every impairment.
    ///
    /// Fails without root's rights, which namespaces need.
    pub fn up(seed: u64) -> Result<Lab> {
        Lab::put_up(seed, Some(lock()?))
    }

    /// The same to look at: it neither waits for other labs, nor do they wait for it.
    pub fn up_beside_others(seed: u64) -> Result<Lab> {
        Lab::put_up(seed, None)
    }

    fn put_up(seed: u64, one_at_a_time: Option<File>) -> Result<Lab> {
        if !nix::unistd::geteuid().is_root() {
            bail!("the lab makes network namespaces: it needs to run as root");
        }
        let run = Run::begin()?;
        network::cable(&run)?;
        let relay = Relay::start(&run.namespace("wan"), seed)?;
        network::tunnel(&run)?;
        Ok(Lab { relay, run, _one_at_a_time: one_at_a_time })
    }

    /// The outer path.
    pub fn relay(&self) -> &Relay {
        &self.relay
    }

    /// A file or folder of this lab, under its own folder: gone with the lab.
    pub fn path(&self, name: &str) -> PathBuf {
        self.run.folder().join(name)
    }

    /// The folder of this lab.
    pub fn folder(&self) -> &Path {
        self.run.folder()
    }

    /// The namespace of `node`, as `ip netns` names it.
    pub fn namespace(&self, node: Node) -> String {
        self.run.namespace(node.name())
    }

    /// The namespace that all outer interfaces lead to: where strangers send from.
    pub fn wan(&self) -> String {
        self.run.namespace("wan")
    }

    /// The words before a program and its arguments that start it on `node`.
    pub fn entry(&self, node: Node) -> Result<Vec<String>> {
        network::entry_of(&self.run, node)
    }

    /// A command that runs `program` on `node`.
    pub fn command(&self, node: Node, program: impl AsRef<OsStr>) -> Result<Command> {
        Ok(namespace::command(&self.entry(node)?, program))
    }

    /// `node` as a place for programs of tests.
    pub fn place(&self, node: Node) -> Result<Place> {
        Ok(Place::entered(self.folder(), self.entry(node)?))
    }

    /// Runs a program on `node` to its end; what it printed. Fails when it does.
    pub fn ran(&self, node: Node, program: &str, arguments: &[&str]) -> Result<String> {
        network::succeeds(self.command(node, program)?.args(arguments))
    }

    /// Does `work` on `node`, or in [`Lab::wan`] with `None`; sockets that it opens stay there.
    pub fn inside<T: Send + 'static>(
        &self,
        node: Option<Node>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        namespace::inside(&node.map_or_else(|| self.wan(), |node| self.namespace(node)), work)
    }
}

/// Takes away what labs have left whose process was killed, guardian and all; returns their names.
pub fn sweep() -> Result<Vec<String>> {
    run::sweep_dead()
}

/// Waits until no other lab stands. The lock goes with the process, however it ends; it is on a folder that is there
/// anyway, so that nothing stays behind.
fn lock() -> Result<File> {
    let path = std::env::temp_dir();
    let folder = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    folder.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(folder)
}
