//! A clean Debian machine: debootstrap's smallest root file system with systemd, booted in namespaces.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lab::process::{PATIENCE, Place, Process, until};
use lab::{Lab, Node};
use nix::unistd::Pid;

/// What the smallest system lacks to be a machine.
const PACKAGES: &str = "dbus,systemd-sysv";

/// By which way this machine comes to Debian's mirror.
const PROXIES: [&str; 6] = ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];

/// What a machine is made of.
pub(crate) struct System<'a> {
    /// Of Debian.
    pub(crate) release: &'a str,
    /// What is installed on it, beside the smallest system; their names separated by spaces.
    pub(crate) packages: &'a str,
}

/// What a machine is connected to.
enum Network<'a> {
    /// Nothing; these are addresses of its loopback.
    Own(&'a [&'a str]),
    /// What this namespace of a lab is.
    Of(&'a str),
}

/// A running machine. It goes, with all it wrote, when this is dropped.
pub(crate) struct Machine {
    init: Pid,
    /// Before the folder, so that its processes end first.
    _process: Process,
    folder: tempfile::TempDir,
    name: String,
}

impl Machine {
    /// Boots one of this machine's own release; these are addresses of its loopback.
    pub(crate) fn boot(name: &str, addresses: &[&str]) -> Machine {
        let system = System { release: &codename(), packages: "" };
        Machine::booted(&system, name, &Network::Own(addresses))
    }

    /// Boots one as a node of a lab, whose network it has: it has to go before the lab does.
    pub(crate) fn boot_on(system: &System<'_>, lab: &Lab, node: Node) -> Machine {
        Machine::booted(system, node.name(), &Network::Of(&lab.namespace(node)))
    }

    fn booted(system: &System<'_>, name: &str, network: &Network<'_>) -> Machine {
        let folder = tempfile::tempdir().unwrap();
        let name = format!("{name}-{}", std::process::id());
        let place = folder.path().join("machine");
        fs::create_dir(&place).unwrap();
        let (mut command, addresses) = match *network {
            Network::Own(addresses) => (Command::new("unshare"), addresses),
            Network::Of(namespace) => {
                let mut command = Command::new("nsenter");
                command.args([&format!("--net=/run/netns/{namespace}"), "unshare"]);
                (command, [].as_slice())
            }
        };
        command.args(["--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child"]);
        if matches!(network, Network::Own(_)) {
            command.arg("--net");
        }
        command.arg("sh").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/package/boot.sh"));
        command.arg(base(system)).arg(&place).arg(&name).args(addresses);
        let process = Process::start(&mut command, &folder.path().join("console"), "util-linux");
        let init = first_child(process.id());
        let machine = Machine { init, _process: process, folder, name };
        let state = || text(&machine.entered("systemctl is-system-running", true).output().unwrap().stdout);
        until(
            || {
                let console = lab::process::text_of(&machine.folder.path().join("console"));
                format!("the machine to boot; it is {}\n{console}", state())
            },
            6 * PATIENCE,
            || matches!(state().trim(), "running" | "degraded"),
        );
        machine
    }

    /// Runs a line of shell on it, as root.
    pub(crate) fn run(&self, line: &str) -> Output {
        self.entered(line, true).output().unwrap()
    }

    /// The same, with what it prints. Fails the test when the line fails.
    pub(crate) fn says(&self, line: &str) -> String {
        said(line, &self.run(line))
    }

    /// The same with the network of this machine in place of its own, to fetch what Debian's mirror has.
    pub(crate) fn online(&self, line: &str) -> String {
        said(line, &self.run_online(line))
    }

    /// The same, whatever becomes of it.
    pub(crate) fn run_online(&self, line: &str) -> Output {
        self.entered(line, false).output().unwrap()
    }

    /// One of its files.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.init))
    }

    /// One of its processes, as this machine numbers it.
    pub(crate) fn process(&self, inner: &str) -> Pid {
        let space = |id: &str| fs::read_link(format!("/proc/{id}/ns/pid")).ok();
        let own = space(&self.init.to_string());
        let numbers = |id: &str| {
            let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
            status.lines().find_map(|line| Some(line.strip_prefix("NSpid:")?.split_whitespace().last()?.to_owned()))
        };
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let mut all = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let found = all.find(|id| space(id) == own && numbers(id).as_deref() == Some(inner));
        Pid::from_raw(found.and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("there is no process {inner}")))
    }

    /// Its network, for parties of calls.
    pub(crate) fn network(&self) -> Place {
        Place::in_network_of(self.folder.path(), self.init)
    }

    fn entered(&self, line: &str, is_in_its_network: bool) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.to_string(), "--mount", "--uts", "--ipc", "--pid", "--root"]);
        if is_in_its_network {
            command.arg("--net");
        }
        command.args(["--", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"]);
        if !is_in_its_network {
            // From its own network no proxy can be reached, and what it asks itself for would be looked for there.
            let set = PROXIES.iter().filter_map(|name| Some(format!("{name}={}", std::env::var(name).ok()?)));
            command.args(set);
        }
        command.args(["DEBIAN_FRONTEND=noninteractive", "sh", "-c", &format!("cd / && {line}")]);
        command.stdin(Stdio::null());
        command
    }
}

impl Drop for Machine {
    /// Its processes end with its first one; its control groups, all empty then, are taken away.
    fn drop(&mut self) {
        let _killed = nix::sys::signal::kill(self.init, nix::sys::signal::Signal::SIGKILL);
        let script = "mount --make-rprivate / && mount -t cgroup2 none \"$0\" && cd \"$0\" && \
                      for round in 1 2 3 4 5 6 7 8 9 10; do \
                      find \"$1\" -depth -type d -exec rmdir {} + 2>/dev/null && break; sleep 0.2; done";
        let groups = self.folder.path().join("groups");
        let _made = fs::create_dir(&groups);
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script]).arg(&groups).arg(&self.name);
        let _cleaned = command.stdin(Stdio::null()).stderr(Stdio::null()).status();
    }
}

fn said(line: &str, output: &Output) -> String {
    let (out, fault) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{line}: {}\n{out}\n{fault}", output.status);
    out
}

/// Bytes of a program as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The process that another has started.
pub(crate) fn first_child(parent: Pid) -> Pid {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let mut child = None;
    until(
        || format!("a child of {parent}; root's rights are needed for namespaces"),
        PATIENCE,
        || {
            let children = fs::read_to_string(&path).unwrap_or_default();
            child = children.split_whitespace().next().and_then(|id| id.parse().ok());
            child.is_some()
        },
    );
    Pid::from_raw(child.unwrap())
}

/// The root file system, made once for all runs of this checkout: `target/tools/debian-RELEASE`. What cannot be had is tried
/// once: every other test that needs it fails at once, with the same words.
fn base(system: &System<'_>) -> PathBuf {
    static MADE: Mutex<BTreeMap<String, Result<PathBuf, String>>> = Mutex::new(BTreeMap::new());
    let name = [system.release]
        .into_iter()
        .chain(system.packages.split_whitespace())
        .fold("debian".to_owned(), |all, part| all + "-" + part);
    let mut all = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let made = all.entry(name).or_insert_with_key(|name| made(system, name)).clone();
    drop(all);
    made.unwrap_or_else(|fault| panic!("{fault}"))
}

/// The same, unless it is there from another run; or why it could not be made.
fn made(system: &System<'_>, name: &str) -> Result<PathBuf, String> {
    let System { release, packages } = system;
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools");
    let base = tools.join(name);
    if !base.exists() {
        let draft = tools.join(format!("{name}.{}", std::process::id()));
        fs::create_dir_all(&tools).unwrap();
        let mirror = mirror()?;
        // What is installed starts with the machine: there is no systemd to ask as yet. An unstable release is dated, and its
        // mirror may be late.
        let script = "debootstrap --variant=minbase --include=\"$1\" \"$2\" \"$0\" \"$3\" && { [ -z \"$4\" ] || \
                      { chroot \"$0\" apt-get --quiet --option Acquire::Check-Valid-Until=false update && \
                      DEBIAN_FRONTEND=noninteractive chroot \"$0\" apt-get --quiet install --yes --no-install-recommends $4 && \
                      chroot \"$0\" apt-get clean; }; }";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(&draft).args([PACKAGES, release, &mirror, packages]);
        let log = tools.join("debootstrap.log");
        let mut process = Process::start(&mut command, &log, "debootstrap");
        // As long as the mirror takes.
        let (begun, limit) = (Instant::now(), 30 * PATIENCE);
        while !process.has_ended() {
            if begun.elapsed() >= limit {
                let log = lab::process::text_of(&log);
                return Err(format!("waited {limit:?} in vain for Debian {release} from {mirror}\n{log}"));
            }
            std::thread::park_timeout(Duration::from_millis(100));
        }
        let status = process.ended();
        if !status.success() {
            let _removed = fs::remove_dir_all(&draft);
            let log = lab::process::text_of(&log);
            return Err(format!("Debian {release} could not be had from {mirror}: {status}\n{log}"));
        }
        fs::rename(&draft, &base).unwrap();
    }
    Ok(base.canonicalize().unwrap())
}

/// The release of Debian that this machine has, and for which the program was built.
pub(crate) fn codename() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap();
    let line = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    line.expect("/etc/os-release names no release").trim_matches('"').to_owned()
}

/// Where this machine has Debian's packages from: every release is there.
fn mirror() -> Result<String, String> {
    let codename = codename();
    let mut command = Command::new("apt-get");
    command.args(["indextargets", "--format", "$(ORIGIN) $(CODENAME) $(REPO_URI)", "Created-By: Packages"]);
    let listed = text(&command.output().unwrap().stdout);
    let wanted = format!("Debian {codename} ");
    let uri = listed.lines().find_map(|line| line.strip_prefix(&wanted));
    uri.map(str::to_owned).ok_or_else(|| format!("apt knows no mirror of Debian {codename}: {listed}"))
}

/// Waits for what a line of shell on the machine prints.
pub(crate) fn until_it_says(machine: &Machine, line: &str, wanted: &str) {
    let answer = || text(&machine.run(line).stdout);
    until(
        || format!("{wanted:?} from {line}; the last answer was {}", answer()),
        Duration::from_secs(90),
        || answer().contains(wanted),
    );
}
