//! Programs that a test starts, and waiting for what they do.
#![expect(clippy::unwrap_used, clippy::panic, reason = "it serves tests alone: a fault here is the test's failure")]

use crate::namespace;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::fs::File;
use std::net::SocketAddrV4;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take that is not bounded by itself.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Where programs of a test run: on this machine's loopback, or on a node of a [`crate::Lab`].
#[derive(Clone, Debug)]
pub struct Place {
    folder: PathBuf,
    entry: Vec<String>,
}

impl Place {
    /// On this machine, with its files in `folder`.
    pub fn here(folder: &Path) -> Place {
        Place { folder: folder.to_owned(), entry: Vec::new() }
    }

    /// In the network of the process `id`, whatever namespaces it has, with files of this machine in `folder`.
    pub fn in_network_of(folder: &Path, id: Pid) -> Place {
        Place::entered(folder, vec!["nsenter".to_owned(), format!("--net=/proc/{id}/ns/net")])
    }

    /// Where these words before a program bring it.
    pub(crate) fn entered(folder: &Path, entry: Vec<String>) -> Place {
        Place { folder: folder.to_owned(), entry }
    }

    /// A command that runs `program` there.
    pub fn command(&self, program: &str) -> Command {
        namespace::command(&self.entry, program)
    }

    /// A file or folder of this place.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl AsRef<Place> for Place {
    fn as_ref(&self) -> &Place {
        self
    }
}

/// A child process that does not outlive the test, nor do the processes it starts.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts `command` with what it prints in `log`. Fails the test with the name of the package when it is missing.
    pub fn start(command: &mut Command, log: &Path, package: &str) -> Process {
        let name = command.get_program().to_string_lossy().into_owned();
        let out = File::create(log).unwrap();
        command.stdin(Stdio::null()).stderr(out.try_clone().unwrap()).stdout(out).process_group(0);
        let child = command.spawn().unwrap_or_else(|fault| {
            panic!(
                "{name} does not start: {fault}; it comes with the package {package}, `cargo xtask test` installs it"
            )
        });
        Process { child, name: format!("{name} ({package})") }
    }

    /// Its process id.
    pub fn id(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.id(), signal).unwrap();
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its own end.
    pub fn ended(&mut self) -> ExitStatus {
        let name = self.name.clone();
        let mut status = None;
        until(
            || format!("the end of {name}"),
            6 * PATIENCE,
            || {
                status = self.child.try_wait().unwrap();
                status.is_some()
            },
        );
        status.unwrap()
    }

    /// Waits until it has bound this UDP address. Fails the test when it ends before.
    pub fn bound(&mut self, address: SocketAddrV4) {
        self.bound_over("udp", address);
    }

    /// The same for `udp` or `tcp`.
    pub fn bound_over(&mut self, transport: &str, address: SocketAddrV4) {
        let [a, b, c, d] = address.ip().octets();
        let entry = format!("{:08X}:{:04X}", u32::from_le_bytes([a, b, c, d]), address.port());
        let sockets = PathBuf::from(format!("/proc/{}/net/{transport}", self.id()));
        until(
            || format!("{} to bind {address}", self.name),
            PATIENCE,
            || {
                let status = self.child.try_wait().unwrap();
                assert!(status.is_none(), "{} ended with {status:?} before it bound {address}", self.name);
                text_of(&sockets).contains(&entry)
            },
        );
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _killed = killpg(self.id(), Signal::SIGKILL);
        let _waited = self.child.wait();
    }
}

/// Asks `holds` again and again, and fails the test when it never does.
pub fn until(what: impl Fn() -> String, limit: Duration, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < limit, "waited {limit:?} in vain for {}", what());
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Text of a log, or nothing while it is not there.
pub fn text_of(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
