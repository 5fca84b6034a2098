//! The program between a gateway that a test plays and three PBXs that are busy, unless a test says otherwise: each says who
//! it is.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs::{self, File};
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
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
    /// Of prod, staging and oss.
    pbxs: [Arc<Manner>; 3],
}

/// How a PBX behaves.
#[derive(Debug, Default)]
pub(crate) struct Manner {
    options: AtomicU8,
    calls: AtomicU8,
}

/// What a PBX says to OPTIONS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Options {
    /// Nothing.
    Silence,
    /// 200 for a number, 404 for one that nobody can have.
    Knows,
    /// 200 to everything.
    SaysYes,
    /// 404 to everything.
    KnowsNothing,
}

/// What a PBX does with a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Takes {
    /// 486.
    Busy,
    /// 180, and 200 once it answers.
    Rings,
    /// 180 and 200.
    Answers,
}

/// A call that is up, at its caller.
#[derive(Debug)]
pub(crate) struct Held {
    id: String,
    did: String,
    /// What its BYE says in place of the request-URI, To and the route.
    contact: String,
    to: String,
    routes: String,
}

impl Stage {
    /// Starts it in 127.7.`network`.0/24, with `more` behind the URL in `[database]`.
    pub(crate) fn start(network: u8, url: &str, more: &str) -> Stage {
        let is_over = Arc::new(AtomicBool::new(false));
        let pbxs: [Arc<Manner>; 3] = Default::default();
        for ((host, name), manner) in [(3, "prod"), (4, "staging"), (5, "oss")].into_iter().zip(&pbxs) {
            let socket = UdpSocket::bind(format!("127.7.{network}.{host}:5060")).unwrap();
            let (is_over, manner) = (Arc::clone(&is_over), Arc::clone(manner));
            std::thread::spawn(move || be_pbx(&socket, name, &manner, &is_over));
        }
        let gateway = UdpSocket::bind(format!("127.7.{network}.2:5060")).unwrap();
        gateway.set_read_timeout(Some(AGAIN)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut stage = Stage { network, folder, child: None, gateway, calls: 0, heard: 0, is_over, pbxs };
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

    /// Says how a PBX behaves from now on.
    pub(crate) fn set(&self, environment: &str, options: Options, calls: Takes) {
        let at = ["prod", "staging", "oss"].iter().position(|name| *name == environment).unwrap();
        self.pbxs[at].options.store(options as u8, Ordering::Relaxed);
        self.pbxs[at].calls.store(calls as u8, Ordering::Relaxed);
    }

    /// Sends an INVITE and does not wait for what comes of it: [`Stage::answered`] does.
    pub(crate) fn invite(&mut self, did: &str) -> String {
        self.calls += 1;
        let id = format!("{}-{}", self.calls, std::process::id());
        let target = format!("{did}@127.7.{}.1", self.network);
        self.send(&request("INVITE", self.network, "+447700900123", &target, &id, ""));
        id
    }

    /// Waits until a call is answered, and acknowledges it.
    pub(crate) fn answered(&mut self, id: &str, did: &str) -> Held {
        let begun = Instant::now();
        let mut slot = [0; 4_096];
        loop {
            assert!(begun.elapsed() < PATIENCE, "the call is not answered\n{}", self.log());
            let Ok((len, _)) = self.gateway.recv_from(&mut slot) else { continue };
            let head = String::from_utf8_lossy(&slot[..len]).into_owned();
            if value_of(&head, "Call-ID") != Some(id) || head.starts_with("SIP/2.0 1") {
                continue;
            }
            assert!(head.starts_with("SIP/2.0 200 "), "{head}");
            let contact = value_of(&head, "Contact").unwrap().trim_matches(['<', '>']).to_owned();
            let mut routes: Vec<&str> = head
                .lines()
                .filter_map(|line| line.strip_prefix("Record-Route: "))
                .flat_map(|all| all.split(", "))
                .collect();
            routes.reverse();
            let routes = routes.iter().map(|route| format!("Route: {route}\r\n")).collect();
            let to = value_of(&head, "To").unwrap().to_owned();
            let held = Held { id: id.to_owned(), did: did.to_owned(), contact, to, routes };
            self.send(&held.request("ACK", 1, self.network));
            return held;
        }
    }

    /// Ends a call at its caller.
    pub(crate) fn hang_up(&mut self, held: &Held) {
        self.send(&held.request("BYE", 2, self.network));
        let begun = Instant::now();
        let mut slot = [0; 4_096];
        loop {
            assert!(begun.elapsed() < PATIENCE, "the BYE is not answered\n{}", self.log());
            let Ok((len, _)) = self.gateway.recv_from(&mut slot) else { continue };
            let head = String::from_utf8_lossy(&slot[..len]).into_owned();
            if value_of(&head, "Call-ID") == Some(&held.id) && value_of(&head, "CSeq") == Some("2 BYE") {
                assert!(head.starts_with("SIP/2.0 200 "), "{head}");
                return;
            }
        }
    }

    fn send(&self, message: &str) {
        self.gateway.send_to(message.as_bytes(), format!("127.7.{}.1:5060", self.network)).unwrap();
    }

    /// Asks whether the proxy is ready.
    pub(crate) fn options(&mut self) -> String {
        self.ask("OPTIONS", "+447700900123", &format!("127.7.{}.1", self.network))
    }

    fn ask(&mut self, method: &str, caller: &str, target: &str) -> String {
        self.calls += 1;
        let (network, id) = (self.network, format!("{}-{}", self.calls, std::process::id()));
        let proxy = format!("127.7.{network}.1:5060");
        let request = |method: &str, to_tag: &str| request(method, network, caller, target, &id, to_tag);
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

fn request(method: &str, network: u8, caller: &str, target: &str, id: &str, to_tag: &str) -> String {
    format!(
        "{method} sip:{target} SIP/2.0\r\nVia: SIP/2.0/UDP 127.7.{network}.2:5060;branch=z9hG4bK{id}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{caller}@127.7.{network}.2>;tag=1\r\n\
         To: <sip:{target}>{to_tag}\r\nCall-ID: {id}\r\nCSeq: 1 {method}\r\n\
         Contact: <sip:127.7.{network}.2>\r\nContent-Length: 0\r\n\r\n"
    )
}

impl Held {
    fn request(&self, method: &str, number: u8, network: u8) -> String {
        let Held { id, contact, to, routes, .. } = self;
        format!(
            "{method} {contact} SIP/2.0\r\nVia: SIP/2.0/UDP 127.7.{network}.2:5060;branch=z9hG4bK{id}-{method}\r\n{routes}\
             Max-Forwards: 70\r\nFrom: <sip:+447700900123@127.7.{network}.2>;tag=1\r\n\
             To: {to}\r\nCall-ID: {id}\r\nCSeq: {number} {method}\r\nContent-Length: 0\r\n\r\n"
        )
    }

    /// The number that was called.
    pub(crate) fn did(&self) -> &str {
        &self.did
    }
}

/// A PBX with these manners, until it is over.
fn be_pbx(socket: &UdpSocket, name: &str, manner: &Manner, is_over: &AtomicBool) {
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let own = socket.local_addr().unwrap();
    let mut slot = [0; 4_096];
    let mut ringing: Vec<(String, std::net::SocketAddr)> = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let takes = manner.calls.load(Ordering::Relaxed);
        if takes != Takes::Rings as u8 {
            for (request, from) in ringing.drain(..) {
                let _ = socket.send_to(reply(&request, "200 OK", name, own).as_bytes(), from);
            }
        }
        let Ok((len, from)) = socket.recv_from(&mut slot) else { continue };
        // The manners may have changed while it waited.
        let takes = manner.calls.load(Ordering::Relaxed);
        let request = String::from_utf8_lossy(&slot[..len]).into_owned();
        let is_possible = !request.starts_with("OPTIONS sip:+910000000000@");
        let status = match (request.split(' ').next().unwrap_or_default(), manner.options.load(Ordering::Relaxed)) {
            ("INVITE", _) if takes == Takes::Busy as u8 => "486 Busy Here",
            ("INVITE", _) => "180 Ringing",
            ("BYE", _) => "200 OK",
            ("OPTIONS", options) if options == Options::SaysYes as u8 => "200 OK",
            ("OPTIONS", options) if options == Options::Knows as u8 && is_possible => "200 OK",
            ("OPTIONS", options) if options != Options::Silence as u8 => "404 Not Found",
            _ => continue,
        };
        let _ = socket.send_to(reply(&request, status, name, own).as_bytes(), from);
        if status.starts_with("180") {
            ringing.push((request, from));
        }
    }
}

fn reply(request: &str, status: &str, name: &str, own: std::net::SocketAddr) -> String {
    let is_kept = |line: &&str| {
        ["Via:", "Record-Route:", "From:", "To:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name))
    };
    let with_tag = |line: &str| {
        let has_none = line.starts_with("To:") && !line.contains(";tag=");
        if has_none { format!("{line};tag=pbx") } else { line.to_owned() }
    };
    let kept: Vec<String> = request.lines().filter(is_kept).map(with_tag).collect();
    format!(
        "SIP/2.0 {status}\r\n{}\r\nContact: <sip:{own}>\r\nX-Who: {name}\r\nContent-Length: 0\r\n\r\n",
        kept.join("\r\n")
    )
}

fn value_of<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}
