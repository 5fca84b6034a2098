//! A stage for whole calls: the real `switchyard run` on loopback addresses of its own, and the programs around it.
//!
//! Every stage has a network 127.0.N.0/24, laid out as the real one is: the proxy at .1, the trunk's gateway at .2, the
//! PBXs of prod, staging and oss at .3, .4 and .5.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the lint's leave for tests does not reach the functions they share"
)]

pub(crate) mod caller;
pub(crate) mod sipp;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take that is not bounded by itself.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A child process that does not outlive the test, nor do the processes it starts.
pub(crate) struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts `command` with what it prints in `log`. Fails the test with the name of the package when it is missing.
    pub(crate) fn start(command: &mut Command, log: &Path, package: &str) -> Process {
        let name = command.get_program().to_string_lossy().into_owned();
        let out = File::create(log).unwrap();
        command.stdin(Stdio::null()).stderr(out.try_clone().unwrap()).stdout(out).process_group(0);
        let child = command.spawn().unwrap_or_else(|fault| {
            panic!(
                "{name} does not start: {fault}; it comes with the package {package}, `cargo xtask test` installs it"
            )
        });
        Process { child, name }
    }

    pub(crate) fn id(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// Waits for its own end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let name = self.name.clone();
        let mut status = None;
        until(
            || format!("the end of {name}"),
            2 * PATIENCE,
            || {
                status = self.child.try_wait().unwrap();
                status.is_some()
            },
        );
        status.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _killed = killpg(self.id(), Signal::SIGKILL);
        let _waited = self.child.wait();
    }
}

/// Asks `holds` again and again, and fails the test when it never does.
pub(crate) fn until(what: impl Fn() -> String, limit: Duration, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < limit, "waited {limit:?} in vain for {}", what());
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Waits until somebody has bound this UDP address.
pub(crate) fn bound(address: SocketAddrV4) {
    bound_in("/proc/net/udp", address);
}

/// Waits until somebody has this address in a table of the kernel's: /proc/net/udp or /proc/net/tcp.
pub(crate) fn bound_in(table: &str, address: SocketAddrV4) {
    let [a, b, c, d] = address.ip().octets();
    let entry = format!("{:08X}:{:04X}", u32::from_le_bytes([a, b, c, d]), address.port());
    until(|| format!("{address} to be bound"), PATIENCE, || std::fs::read_to_string(table).unwrap().contains(&entry));
}

/// Text of a log, or nothing while it is not there.
pub(crate) fn text_of(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// A running `switchyard` with its configuration and its directory.
pub(crate) struct Stage {
    network: u8,
    folder: tempfile::TempDir,
    /// Last: it ends before the folder goes.
    _switchyard: Process,
}

impl Stage {
    /// Starts it in 127.0.`network`.0/24; no other test may use that one. The trunk leaves identity alone: these runs are
    /// about what passes untouched.
    pub(crate) fn start(network: u8) -> Stage {
        Stage::start_with(network, "udp", "caller_id = \"pass\"\n")
    }

    /// The same over `transport`, with these lines in the trunk's table.
    pub(crate) fn start_with(network: u8, transport: &str, trunk: &str) -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("switchyard.toml");
        std::fs::write(&config, config_text(network, transport, trunk, folder.path())).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let scripts = [sync::schema::SQLITE_TABLES, sync::schema::ROWS];
        runtime.block_on(sync::schema::run(&folder.path().join("directory.db"), &scripts)).unwrap();
        let log = folder.path().join("switchyard.log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
        command.args(["run", "--config"]).arg(&config).env_remove("RUST_LOG").env_remove("ASTRADIAL_ENV");
        let switchyard = Process::start(&mut command, &log, "switchyard");
        until(
            || format!("switchyard to serve\n{}", text_of(&log)),
            PATIENCE,
            || text_of(&log).contains("switchyard serves"),
        );
        Stage { network, folder, _switchyard: switchyard }
    }

    /// An address of this stage's network; from 6 on nobody has it yet.
    pub(crate) fn at(&self, host: u8) -> SocketAddrV4 {
        address(self.network, host)
    }

    pub(crate) fn proxy(&self) -> SocketAddrV4 {
        self.at(1)
    }

    pub(crate) fn gateway(&self) -> SocketAddrV4 {
        self.at(2)
    }

    /// The PBX of `environment`.
    pub(crate) fn pbx(&self, environment: &str) -> SocketAddrV4 {
        match environment {
            "prod" => self.at(3),
            "staging" => self.at(4),
            "oss" => self.at(5),
            other => panic!("no environment is called {other}"),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn address(network: u8, host: u8) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(127, 0, network, host), 5060)
}

fn config_text(network: u8, transport: &str, trunk: &str, folder: &Path) -> String {
    let [proxy, gateway, prod, staging, oss] = [1, 2, 3, 4, 5].map(|host| address(network, host));
    let state = folder.display();
    format!(
        "state_dir = \"{state}\"\n[caller_id]\nendpoint_header = \"X-Astradial-Endpoint\"\n\
         [sip]\nlisten = [\"{transport}:{proxy}\"]\n\
         [[trunk]]\nname = \"tata\"\ngateways = [\"{transport}:{gateway}\"]\n{trunk}\
         [environments.prod]\ntargets = [\"{transport}:{prod}\"]\n\
         [environments.staging]\ntargets = [\"{transport}:{staging}\"]\n\
         [environments.oss]\ntargets = [\"{transport}:{oss}\"]\n\
         [metrics]\nlisten = \"127.0.{network}.1:9160\"\n\
         [database]\nurl = \"sqlite://{state}/directory.db\"\n"
    )
}
