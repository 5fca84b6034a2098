//! The program itself, as a process: its start, its signals and its end.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the lint's leave for tests does not reach the functions they share"
)]

use lab::hung::Hung;
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);

/// A running `switchyard`, between a gateway and a PBX that a test plays by hand.
struct Running {
    child: Child,
    /// Its lines, from a thread that reads them: whoever waits for one gives up in time.
    log: Receiver<String>,
    proxy: SocketAddr,
    gateway: UdpSocket,
    pbx: UdpSocket,
    config: PathBuf,
    folder: tempfile::TempDir,
}

impl Running {
    fn start(drain_limit: &str) -> Running {
        Running::start_under(drain_limit, &[])
    }

    /// Starts it with these variables, as a supervisor does.
    fn start_under(drain_limit: &str, variables: &[(&str, &str)]) -> Running {
        let bound = |ip: &str| {
            let socket = UdpSocket::bind((ip, 0)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket
        };
        let (gateway, pbx) = (bound("127.0.0.31"), bound("127.0.0.32"));
        let proxy = bound("127.0.0.33").local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("switchyard.toml");
        let text = config_text(&folder, proxy, &gateway, &pbx, drain_limit);
        std::fs::write(&config, text).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let scripts = [sync::schema::SQLITE_TABLES, sync::schema::ROWS];
        runtime.block_on(sync::schema::run(&folder.path().join("directory.db"), &scripts)).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_switchyard"))
            .args(["run", "--config"])
            .arg(&config)
            .env_remove("RUST_LOG")
            .env_remove("ASTRADIAL_ENV")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (told, log) = channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| told.send(line)));
        let mut running = Running { child, log, proxy, gateway, pbx, config, folder };
        running.began();
        running
    }

    /// Reads the log until it serves, with a directory: the first look at the database may end after the start.
    fn began(&mut self) {
        let mut awaited = vec!["switchyard serves", "directory published"];
        while !awaited.is_empty() {
            let line = self.said("");
            awaited.retain(|text| !line.contains(text));
        }
    }

    /// Reads the log until a line has `text`, and returns that line.
    fn said(&mut self, text: &str) -> String {
        let begun = Instant::now();
        loop {
            let line = self.log.recv_timeout(PATIENCE.saturating_sub(begun.elapsed()));
            let line = line.unwrap_or_else(|fault| panic!("waited in vain for {text:?} in the log: {fault}"));
            if line.contains(text) {
                return line;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    fn ended(&mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) => rest += &(line + "\n"),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("waited in vain for its end\n{rest}"),
            }
        }
        (self.child.wait().unwrap(), rest)
    }

    fn call(&self, branch: &str) {
        let (local, proxy) = (self.gateway.local_addr().unwrap(), self.proxy);
        let invite = format!(
            "INVITE sip:+918065978000@{proxy} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{branch}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:+447700900123@{local}>;tag=1\r\nTo: <sip:+918065978000@{proxy}>\r\n\
             Call-ID: {branch}@test\r\nCSeq: 1 INVITE\r\nContact: <sip:{local}>\r\nContent-Length: 0\r\n\r\n"
        );
        self.gateway.send_to(invite.as_bytes(), proxy).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A test that failed leaves its process behind.
        let _killed = self.child.kill();
        let _waited = self.child.wait();
    }
}

fn config_text(
    folder: &tempfile::TempDir,
    proxy: SocketAddr,
    gateway: &UdpSocket,
    pbx: &UdpSocket,
    drain_limit: &str,
) -> String {
    let (state, gateway, pbx) = (folder.path().display(), gateway.local_addr().unwrap(), pbx.local_addr().unwrap());
    format!(
        "state_dir = \"{state}\"\n[sip]\nlisten = [\"udp:{proxy}\"]\n\
         [[trunk]]\nname = \"tata\"\ngateways = [\"udp:{gateway}\"]\n\
         [probe]\ninterval = \"0s\"\n[environments.prod]\ntargets = [\"udp:{pbx}\"]\n\
         [database]\nurl = \"sqlite://{state}/directory.db\"\n\
         [limits]\ndrain_limit = \"{drain_limit}\"\n"
    )
}

fn heard(socket: &UdpSocket) -> String {
    let mut slot = [0; 4_096];
    let (len, _) = socket.recv_from(&mut slot).expect("nothing arrived");
    String::from_utf8_lossy(&slot[..len]).into_owned()
}

/// Where threads share a core, those that serve calls go first: records, journals and the directory's writer stand back, and
/// so does what they start.
#[test]
fn threads_that_serve_no_calls_stand_back() {
    let running = Running::start("1s");
    // Name and nice value: the second, and the 19th field of proc(5).
    let niceness = |id: &str| {
        let stat = match std::fs::read_to_string(format!("/proc/{id}/stat")) {
            // A thread that has ended since it was listed: its file is gone, or open and of nobody.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => return None,
            read => read.unwrap(),
        };
        let (name, fields) = stat.split_once('(').unwrap().1.rsplit_once(')').unwrap();
        Some((name.to_owned(), fields.split_whitespace().nth(16).unwrap().parse::<i32>().unwrap()))
    };
    assert_eq!(niceness("self/task/0"), None);
    let (_, own) = niceness("thread-self").unwrap();
    let tasks = std::fs::read_dir(format!("/proc/{}/task", running.child.id())).unwrap();
    let threads: Vec<(String, i32)> = tasks
        .filter_map(|task| niceness(&format!("{}/task/{0}", task.unwrap().file_name().to_str().unwrap())))
        .collect();
    let names: Vec<&str> = threads.iter().map(|(name, _)| name.as_str()).collect();
    for name in ["worker", "switchyard", "records", "call-journal", "sync", "log"] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    for (name, nice) in &threads {
        let wanted = if name == "worker" { own } else { (own + 5).min(19) };
        assert!(*nice == wanted, "{name} has {nice}, expected {wanted}");
    }
}

/// sd_notify(3), as the unit in deploy/systemd asks for it.
#[test]
fn a_supervisor_hears_of_start_life_reload_and_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let ear = UnixDatagram::bind(&path).unwrap();
    ear.set_read_timeout(Some(PATIENCE)).unwrap();
    let hears = |wanted: &str| loop {
        let mut slot = [0; 512];
        let len = ear.recv(&mut slot).unwrap_or_else(|fault| panic!("waited in vain for {wanted}: {fault}"));
        if String::from_utf8_lossy(&slot[..len]).lines().any(|line| line == wanted) {
            break;
        }
    };
    let path = path.display().to_string();
    let mut running = Running::start_under("1s", &[("NOTIFY_SOCKET", &path), ("WATCHDOG_USEC", "300000")]);
    hears("READY=1");
    hears("WATCHDOG=1");
    hears("WATCHDOG=1");
    running.signal(Signal::SIGHUP);
    hears("RELOADING=1");
    hears("READY=1");
    running.signal(Signal::SIGTERM);
    hears("STOPPING=1");
    let (status, rest) = running.ended();
    assert_eq!(status.code(), Some(0), "{rest}");
}

/// A worker that hangs, in a process that is well otherwise: the supervisor hears no more of it, and ends it in its time.
#[test]
fn a_supervisor_does_not_hear_of_a_process_whose_worker_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let ear = UnixDatagram::bind(&path).unwrap();
    ear.set_read_timeout(Some(PATIENCE)).unwrap();
    let hears = || {
        let mut slot = [0; 512];
        ear.recv(&mut slot).map(|len| String::from_utf8_lossy(&slot[..len]).into_owned())
    };
    let path = path.display().to_string();
    let mut running = Running::start_under("1s", &[("NOTIFY_SOCKET", &path), ("WATCHDOG_USEC", "300000")]);
    while hears().unwrap() != "WATCHDOG=1\n" {}
    let hung = Hung::thread(Pid::from_raw(i32::try_from(running.child.id()).unwrap()), "worker");
    running.said("the worker does not answer: the supervisor is not told that we are alive");
    // What was said before it hung is heard; then there is silence, several times longer than the supervisor waits.
    ear.set_nonblocking(true).unwrap();
    while hears().is_ok() {}
    running.said("the worker does not answer");
    assert_eq!(hears().map_err(|fault| fault.kind()), Err(std::io::ErrorKind::WouldBlock));
    // It hangs no more: the process is well, and says so.
    drop(hung);
    ear.set_nonblocking(false).unwrap();
    assert_eq!(hears().unwrap(), "WATCHDOG=1\n");
    running.signal(Signal::SIGTERM);
    let (status, rest) = running.ended();
    assert_eq!(status.code(), Some(0), "{rest}");
}

/// The unit says what systemd understands, and gives the process little to break.
#[test]
fn systemd_understands_the_unit_and_rates_it_at_most_2_0() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/systemd/switchyard.service");
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().join("switchyard.service");
    // The program is not installed where the unit says; a manual page is none of systemd's business.
    let text = std::fs::read_to_string(&unit).unwrap();
    let text = text.replace("/usr/bin/switchyard", env!("CARGO_BIN_EXE_switchyard")).replace("Documentation=", "#");
    std::fs::write(&here, text).unwrap();
    let analyze = |arguments: &[&str]| {
        let run = Command::new("systemd-analyze").args(arguments).arg(&here).output();
        let run = run.expect("systemd-analyze is missing; `cargo xtask test` installs Debian's systemd");
        (run.status, String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr))
    };
    let (status, said) = analyze(&["verify"]);
    assert!(status.success() && !said.contains("switchyard.service:"), "{said}");
    let (_, said) = analyze(&["security", "--offline=true"]);
    let verdict = said.lines().find(|line| line.contains("Overall exposure level")).expect(&said).to_owned();
    let level: f64 = verdict.split(": ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap();
    assert!(level <= 2.0, "{said}");
}

/// Row H3.
#[test]
fn h3_a_bad_configuration_is_refused_on_sighup_and_the_old_one_stays() {
    let mut running = Running::start("1s");
    let good = std::fs::read_to_string(&running.config).unwrap();
    std::fs::write(&running.config, good.replace("udp:", "carrier-pigeon:")).unwrap();
    running.signal(Signal::SIGHUP);
    running.said("the new configuration is refused, the old one stays");
    running.call("kept");
    assert!(heard(&running.pbx).starts_with("INVITE sip:+918065978000@"));

    // A good one is taken: from now on the environment has another address.
    let moved = UdpSocket::bind("127.0.0.34:0").unwrap();
    moved.set_read_timeout(Some(PATIENCE)).unwrap();
    let old = running.pbx.local_addr().unwrap().to_string();
    std::fs::write(&running.config, good.replace(&old, &moved.local_addr().unwrap().to_string())).unwrap();
    running.signal(Signal::SIGHUP);
    running.said("the configuration was read again and is in force");
    running.call("moved");
    assert!(heard(&moved).starts_with("INVITE sip:+918065978000@"));
}

#[test]
fn listeners_that_changed_are_said_to_need_a_restart() {
    let mut running = Running::start("1s");
    let good = std::fs::read_to_string(&running.config).unwrap();
    std::fs::write(&running.config, good.replace(&running.proxy.to_string(), "127.0.0.35:5999")).unwrap();
    running.signal(Signal::SIGHUP);
    running.said("listeners change with a restart only");
    running.said("the configuration was read again and is in force");
    running.call("old-socket");
    assert!(heard(&running.pbx).starts_with("INVITE "));
}

#[test]
fn sigterm_refuses_new_calls_and_ends_with_0_at_its_limit() {
    let mut running = Running::start("1500ms");
    running.call("open");
    assert!(heard(&running.pbx).starts_with("INVITE "));
    let asked = Instant::now();
    running.signal(Signal::SIGTERM);
    running.said("draining: new calls get 503");
    let mut refused = (0..100).map(|at| {
        running.call(&format!("late{at}"));
        heard(&running.gateway)
    });
    assert!(refused.any(|text| text.starts_with("SIP/2.0 503 ")));
    let (status, rest) = running.ended();
    assert_eq!(status.code(), Some(0), "{rest}");
    assert!(rest.contains("ended with transactions still open"), "{rest}");
    assert!(asked.elapsed() >= Duration::from_millis(1_500));
    assert!(!running.folder.path().join("switchyard.sock").exists());
}

#[test]
fn sigterm_with_nothing_open_ends_at_once() {
    let mut running = Running::start("60s");
    let asked = Instant::now();
    running.signal(Signal::SIGTERM);
    let (status, rest) = running.ended();
    assert_eq!(status.code(), Some(0), "{rest}");
    assert!(rest.contains("ended, nothing was cut off"), "{rest}");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

#[test]
fn a_second_sigterm_ends_at_once() {
    let mut running = Running::start("60s");
    running.call("open");
    assert!(heard(&running.pbx).starts_with("INVITE "));
    running.signal(Signal::SIGTERM);
    running.said("draining: new calls get 503");
    running.signal(Signal::SIGTERM);
    let (status, rest) = running.ended();
    assert_eq!(status.code(), Some(0), "{rest}");
    assert!(rest.contains("ended with transactions still open"), "{rest}");
}

#[test]
fn status_tells_what_the_running_process_says() {
    let mut running = Running::start("1s");
    let status = |more: &[&str]| {
        let asked = Command::new(env!("CARGO_BIN_EXE_switchyard"))
            .args(["status", "--config"])
            .arg(&running.config)
            .args(more)
            .output()
            .unwrap();
        (asked.status.code(), String::from_utf8(asked.stdout).unwrap(), String::from_utf8(asked.stderr).unwrap())
    };
    let (code, table, _) = status(&[]);
    assert_eq!(code, Some(0));
    assert!(table.contains("directory          generation 1, 55 DIDs, 0 faulty values"), "{table}");
    let (_, json, _) = status(&["-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["listeners"][0]["address"], running.proxy.to_string());
    assert_eq!(json["directory"]["dids"], 55);

    running.signal(Signal::SIGTERM);
    running.said("ended");
    running.child.wait().unwrap();
    let asked = Command::new(env!("CARGO_BIN_EXE_switchyard"))
        .args(["status", "--config"])
        .arg(&running.config)
        .output()
        .unwrap();
    assert_eq!(asked.status.code(), Some(1));
    assert!(String::from_utf8(asked.stderr).unwrap().contains("no switchyard answers here"));
}

/// The unit kills what drains too long, and it must not kill what drains as long as it may.
#[test]
fn the_unit_leaves_time_to_drain() {
    let unit = include_str!("../../../deploy/systemd/switchyard.service");
    let seconds = |key: &str| {
        let value = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).expect(key);
        Duration::from_secs(value.parse().expect(key))
    };
    let configuration = switchyard::config::read("default", "", &|_| None).unwrap();
    assert!(seconds("TimeoutStopSec") >= configuration.drain_limit + Duration::from_secs(10));
    assert!(unit.contains("\nType=notify\n") && seconds("WatchdogSec") >= Duration::from_secs(10));
}
