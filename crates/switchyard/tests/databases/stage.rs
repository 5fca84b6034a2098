//! The program between a gateway that a test plays and three PBXs that are busy: each says in its 486 who it is.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs::{self, File};
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
/// How long an answer is waited for before a request is sent again.
const AGAIN: Duration = Duration::from_secs(2);

pub(crate) struct Stage {
    network: u8,
    folder: tempfile::TempDir,
    child: Option<Child>,
    gateway: UdpSocket,
    calls: u32,
    /// Up to where the log was read.
    heard: usize,
    is_over: Arc<AtomicBool>,
}

impl Stage {
    /// Starts it in 127.7.`network`.0/24, with `more` behind the URL in `[database]`.
    pub(crate) fn start(network: u8, url: &str, more: &str) -> Stage {
        let is_over = Arc::new(AtomicBool::new(false));
        for (host, name) in [(3, "prod"), (4, "staging"), (5, "oss")] {
            let socket = UdpSocket::bind(format!("127.7.{network}.{host}:5060")).unwrap();
            let is_over = Arc::clone(&is_over);
            std::thread::spawn(move || be_busy(&socket, name, &is_over));
        }
        let gateway = UdpSocket::bind(format!("127.7.{network}.2:5060")).unwrap();
        gateway.set_read_timeout(Some(AGAIN)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut stage = Stage { network, folder, child: None, gateway, calls: 0, heard: 0, is_over };
        stage.configure(url, more);
        stage.start_again();
        stage
    }

    pub(crate) fn configure(&self, url: &str, more: &str) {
        let (network, state) = (self.network, self.folder.path().display());
        let text = format!(
            "state_dir = \"{state}\"\n[sip]\nlisten = [\"udp:127.7.{network}.1:5060\"]\n\
             [[trunk]]\nname = \"tata\"\ncaller_id = \"pass\"\ngateways = [\"udp:127.7.{network}.2:5060\"]\n\
             [probe]\ninterval = \"0s\"\n[environments.prod]\ntargets = [\"udp:127.7.{network}.3:5060\"]\n\
             [environments.staging]\ntargets = [\"udp:127.7.{network}.4:5060\"]\n\
             [environments.oss]\ntargets = [\"udp:127.7.{network}.5:5060\"]\n\
             [limits]\ndrain_limit = \"1s\"\n[database]\nurl = \"{url}\"\n{more}"
        );
        fs::write(self.path("switchyard.toml"), text).unwrap();
    }

    /// Starts the program, and says how long it took to serve.
    pub(crate) fn start_again(&mut self) -> Duration {
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let begun = Instant::now();
        self.child = Some(self.program("run").stdin(Stdio::null()).stderr(log).spawn().unwrap());
        self.said("switchyard serves");
        begun.elapsed()
    }

    pub(crate) fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let ended = self.child.take().unwrap().wait().unwrap();
        assert!(ended.success(), "{ended}\n{}", self.log());
        self.heard = self.log().len();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().unwrap().id();
        kill(Pid::from_raw(i32::try_from(id).unwrap()), signal).unwrap();
    }

    pub(crate) fn forget_snapshots(&self) {
        for name in [sync::SNAPSHOT_NAME, sync::PREVIOUS_SNAPSHOT_NAME] {
            let _ = fs::remove_file(self.path(name));
        }
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("log")).unwrap_or_default()).into_owned()
    }

    /// Waits until the log says `text`, behind what it said the last time.
    pub(crate) fn said(&mut self, text: &str) {
        let begun = Instant::now();
        loop {
            let log = self.log();
            if let Some(at) = log[self.heard..].find(text) {
                self.heard += at + text.len();
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "waited in vain for {text:?} in\n{log}");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Places a call, and says how it ended: the status, and which PBX gave it, or `retry` where it had a Retry-After.
    pub(crate) fn call(&mut self, did: &str) -> String {
        self.call_from("+447700900123", did)
    }

    /// The same for another caller.
    pub(crate) fn call_from(&mut self, caller: &str, did: &str) -> String {
        let head = self.ask("INVITE", caller, &format!("{did}@127.7.{}.1", self.network));
        let status = head.split(' ').nth(1).unwrap_or_default();
        let who = value_of(&head, "X-Who").unwrap_or("nobody");
        let who = if value_of(&head, "Retry-After").is_some() { "retry" } else { who };
        format!("{status} {who}")
    }

    /// Asks whether the proxy is ready.
    pub(crate) fn options(&mut self) -> String {
        self.ask("OPTIONS", "+447700900123", &format!("127.7.{}.1", self.network))
    }

    fn ask(&mut self, method: &str, caller: &str, target: &str) -> String {
        self.calls += 1;
        let (network, id) = (self.network, format!("{}-{}", self.calls, std::process::id()));
        let proxy = format!("127.7.{network}.1:5060");
        let request = |method: &str, to_tag: &str| {
            format!(
                "{method} sip:{target} SIP/2.0\r\nVia: SIP/2.0/UDP 127.7.{network}.2:5060;branch=z9hG4bK{id}\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:{caller}@127.7.{network}.2>;tag=1\r\n\
                 To: <sip:{target}>{to_tag}\r\nCall-ID: {id}\r\nCSeq: 1 {method}\r\n\
                 Contact: <sip:127.7.{network}.2>\r\nContent-Length: 0\r\n\r\n"
            )
        };
        let begun = Instant::now();
        let mut slot = [0; 4_096];
        let mut is_sent = false;
        loop {
            assert!(begun.elapsed() < PATIENCE, "no final answer\n{}", self.log());
            if !is_sent {
                self.gateway.send_to(request(method, "").as_bytes(), &proxy).unwrap();
                is_sent = true;
            }
            let Ok((len, _)) = self.gateway.recv_from(&mut slot) else {
                is_sent = false;
                continue;
            };
            let head = String::from_utf8_lossy(&slot[..len]).into_owned();
            let is_ours = value_of(&head, "Call-ID") == Some(id.as_str());
            if !is_ours || head.starts_with("SIP/2.0 1") {
                continue;
            }
            if method == "INVITE" {
                let to = value_of(&head, "To").unwrap_or_default();
                let tag = to.find(";tag=").map_or("", |at| &to[at..]);
                self.gateway.send_to(request("ACK", tag).as_bytes(), &proxy).unwrap();
            }
            return head;
        }
    }

    pub(crate) fn status(&self) -> Value {
        let output = self.program("status").args(["-o", "json"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub(crate) fn until_status(&self, is_wanted: impl Fn(&Value) -> bool) {
        let begun = Instant::now();
        loop {
            let status = self.status();
            if is_wanted(&status) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{status}");
        }
    }

    /// Runs a verb that asks the running process; answers with its exit code and all that it printed.
    pub(crate) fn verb(&self, arguments: &[&str]) -> (i32, String) {
        let (verb, rest) = arguments.split_first().unwrap();
        let output = self.program(verb).args(rest).output().unwrap();
        let printed = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(printed).unwrap())
    }

    /// What a verb that must go well prints.
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let (code, told) = self.verb(arguments);
        assert_eq!(code, 0, "{arguments:?}: {told}\n{}", self.log());
        told
    }

    /// The same for programs.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let told = self.done(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&told).unwrap_or_else(|fault| panic!("{arguments:?}: {fault}\n{told}"))
    }

    /// Runs `switchyard db VERB`; answers with its exit code and all that it printed.
    pub(crate) fn db(&self, verb: &str, url: &str) -> (i32, String) {
        let output = self.program("db").arg(verb).args(["--url", url]).output().unwrap();
        let printed = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(printed).unwrap())
    }

    fn program(&self, verb: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
        command.arg(verb).env("SWITCHYARD_CONFIG", self.path("switchyard.toml")).env("DATABASE_PASSWORD", "s3cret");
        command.env_remove("RUST_LOG").env_remove("ASTRADIAL_ENV").env_remove("SWITCHYARD_ADMIN_URL");
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A PBX that answers every INVITE with 486.
fn be_busy(socket: &UdpSocket, name: &str, is_over: &AtomicBool) {
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut slot = [0; 4_096];
    while !is_over.load(Ordering::Relaxed) {
        let Ok((len, from)) = socket.recv_from(&mut slot) else { continue };
        let request = String::from_utf8_lossy(&slot[..len]).into_owned();
        if !request.starts_with("INVITE ") {
            continue;
        }
        let kept = request
            .lines()
            .filter(|line| ["Via:", "From:", "To:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name)));
        let kept: Vec<String> = kept
            .map(|line| if line.starts_with("To:") { format!("{line};tag=busy") } else { line.to_owned() })
            .collect();
        let reply =
            format!("SIP/2.0 486 Busy Here\r\n{}\r\nX-Who: {name}\r\nContent-Length: 0\r\n\r\n", kept.join("\r\n"));
        let _ = socket.send_to(reply.as_bytes(), from);
    }
}

fn value_of<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}
