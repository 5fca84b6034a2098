//! Moving DIDs with the real program: the command line speaks to a running process, and the next call goes elsewhere.
#![expect(clippy::unwrap_used, reason = "the lint's leave for tests does not reach the functions they share")]

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);
const TESTER: &str = "+447700900001";
const OTHER: &str = "+447700900002";

/// A gateway and two PBXs that a test plays by hand, around a `switchyard` that may be started again.
struct Town {
    folder: TempDir,
    config: PathBuf,
    proxy: SocketAddr,
    gateway: UdpSocket,
    prod: UdpSocket,
    staging: UdpSocket,
    calls: u32,
    running: Option<(Child, BufReader<ChildStderr>)>,
}

impl Town {
    /// `is_migrated`: with the tables of our own.
    fn new(is_migrated: bool) -> Town {
        let bound = |ip: &str| {
            let socket = UdpSocket::bind((ip, 0)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket
        };
        let (gateway, prod, staging) = (bound("127.0.0.61"), bound("127.0.0.62"), bound("127.0.0.63"));
        let proxy = bound("127.0.0.64").local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (state, config) = (folder.path().display(), folder.path().join("switchyard.toml"));
        let at = |socket: &UdpSocket| socket.local_addr().unwrap();
        let text = format!(
            "state_dir = \"{state}\"\n[sip]\nlisten = [\"udp:{proxy}\"]\n\
             [[trunk]]\nname = \"tata\"\ngateways = [\"udp:{}\"]\n\
             [probe]\ninterval = \"0s\"\n[environments.prod]\ntargets = [\"udp:{}\"]\n[environments.staging]\ntargets = [\"udp:{}\"]\n\
             [database]\nurl = \"sqlite://{state}/directory.db\"\n[limits]\ndrain_limit = \"1s\"\n",
            at(&gateway),
            at(&prod),
            at(&staging)
        );
        std::fs::write(&config, text).unwrap();
        let database = folder.path().join("directory.db");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            sync::schema::run(&database, &[sync::schema::SQLITE_TABLES, sync::schema::ROWS]).await.unwrap();
            if is_migrated {
                let migration = sync::Migration {
                    mapping: sync::Mapping::default(),
                    account: String::new(),
                    has_change_log: false,
                };
                sync::migrate(&format!("sqlite://{}", database.display()), &migration, |_| {}).await.unwrap();
            }
        });
        let mut town = Town { folder, config, proxy, gateway, prod, staging, calls: 0, running: None };
        town.start();
        town
    }

    fn start(&mut self) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_switchyard"))
            .args(["run", "--config"])
            .arg(&self.config)
            .env_remove("RUST_LOG")
            .env_remove("ASTRADIAL_ENV")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        // The first look at the database may end after the start.
        let mut text = String::new();
        while !["switchyard serves", "directory published"].iter().all(|awaited| text.contains(awaited)) {
            assert!(log.read_line(&mut text).unwrap() > 0, "it did not start");
        }
        // A full pipe would hold nobody up, and loses lines: nobody reads on.
        self.running = Some((child, log));
    }

    /// As the kernel does it when memory runs out.
    fn kill(&mut self) {
        if let Some((mut child, _log)) = self.running.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn verb(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
        command.args(arguments).arg("--config").arg(&self.config);
        command.env_remove("ASTRADIAL_ENV").env_remove("SWITCHYARD_CONFIG").env_remove("SWITCHYARD_STATE_DIR");
        command
    }

    /// What a verb that must go well says.
    fn done(&self, arguments: &[&str]) -> String {
        let output = self.verb(arguments);
        assert_eq!(code(&output), 0, "{arguments:?}: {}", stderr(&output));
        stdout(&output)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.done(&[arguments, &["-o", "json"]].concat())).unwrap()
    }

    /// Where a call lands: `prod` or `staging`.
    fn lands(&mut self, caller: &str, did: &str) -> &'static str {
        self.calls += 1;
        let branch = format!("call{}x{}", self.calls, self.proxy.port());
        let (local, proxy) = (self.gateway.local_addr().unwrap(), self.proxy);
        let invite = format!(
            "INVITE sip:{did}@{proxy} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{branch}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{caller}@{local}>;tag=1\r\nTo: <sip:{did}@{proxy}>\r\n\
             Call-ID: {branch}@test\r\nCSeq: 1 INVITE\r\nContact: <sip:{local}>\r\nContent-Length: 0\r\n\r\n"
        );
        self.gateway.send_to(invite.as_bytes(), proxy).unwrap();
        let started = Instant::now();
        let brief = Duration::from_millis(10);
        loop {
            for (name, socket) in [("prod", &self.prod), ("staging", &self.staging)] {
                socket.set_read_timeout(Some(brief)).unwrap();
                let mut slot = [0; 4_096];
                // What is still sent again of an earlier call is not this one.
                if let Ok((len, from)) = socket.recv_from(&mut slot) {
                    let text = String::from_utf8_lossy(slot.get(..len).unwrap()).into_owned();
                    if text.starts_with("INVITE ") {
                        decline(socket, from, &text);
                    }
                    if text.starts_with("INVITE ") && text.contains(&branch) {
                        return name;
                    }
                }
            }
            assert!(started.elapsed() < PATIENCE, "the call to {did} landed nowhere");
        }
    }
}

impl Drop for Town {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Says 486, so that the call is over.
fn decline(socket: &UdpSocket, to: SocketAddr, invite: &str) {
    let kept = |line: &&str| ["Via:", "From:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name));
    let mut text = "SIP/2.0 486 Busy Here\r\n".to_owned();
    for line in invite.split("\r\n").filter(kept) {
        text.push_str(line);
        text.push_str("\r\n");
    }
    let called = invite.split("\r\n").find(|line| line.starts_with("To:")).unwrap();
    text.push_str(&format!("{called};tag=9\r\nContent-Length: 0\r\n\r\n"));
    socket.send_to(text.as_bytes(), to).unwrap();
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_did_is_set_and_the_next_call_goes_elsewhere() {
    let mut town = Town::new(true);
    assert_eq!(town.lands(OTHER, "+918065978002"), "prod");
    let told = town.done(&["did", "set", "08065978002", "staging", "--reason", "new IVR"]);
    assert!(told.starts_with("+918065978002: prod -> staging\nlive in generation "), "{told}");
    assert_eq!(town.lands(OTHER, "+918065978002"), "staging");
    let shown = town.json(&["did", "show", "+918065978002"]);
    assert_eq!((shown["environment"].as_str(), shown["by"].as_str()), (Some("staging"), Some("row")));
    let listed = town.done(&["did", "list", "--environment", "staging"]);
    assert!(listed.contains("+918065978002  staging      row"), "{listed}");
    let audit = town.json(&["audit", "list"]);
    assert_eq!(audit["changes"][0]["action"], "set_environment");
    assert_eq!(audit["changes"][0]["reason"], "new IVR");
    let log = town.done(&["directory", "log"]);
    assert!(log.contains("DIDs: 1 moved"), "{log}");
    let diff = town.done(&["directory", "diff", "1", "2"]);
    assert!(diff.contains("+918065978002  prod active assigned"), "{diff}");
}

#[test]
fn a_lease_survives_a_kill_and_ends_by_itself() {
    let mut town = Town::new(true);
    let did = "+918065978003";
    // Long enough for a start on a busy machine.
    let told = town.done(&["did", "set", did, "staging", "--for", "15s", "--reason", "a try"]);
    let made = Instant::now();
    assert!(told.starts_with("+918065978003: prod -> staging for 15s\nlive in generation "), "{told}");
    assert_eq!(town.lands(OTHER, did), "staging");
    town.kill();
    town.start();
    if made.elapsed() < Duration::from_secs(10) {
        assert_eq!(town.lands(OTHER, did), "staging");
        let leases = town.json(&["lease", "list"]);
        assert_eq!(leases["leases"][0]["number"], did);
    }
    let row = town.json(&["did", "show", did]);
    assert_eq!(row["row_environment"], "prod", "the row never changes");
    while town.lands(OTHER, did) == "staging" {
        assert!(made.elapsed() < Duration::from_secs(15) + PATIENCE, "it never ended");
    }
    assert!(made.elapsed() >= Duration::from_secs(14), "it ended {:?} after it was made", made.elapsed());
    assert_eq!(town.done(&["lease", "list"]), "no lease is in effect\n");
    // Ended by hand.
    town.done(&["did", "set", did, "staging", "--for", "2h", "--reason", "again"]);
    assert_eq!(town.lands(OTHER, did), "staging");
    town.done(&["lease", "end", "08065978003", "--reason", "done"]);
    assert_eq!(town.lands(OTHER, did), "prod");
    let none = town.verb(&["lease", "end", did, "--reason", "done"]);
    assert_eq!((code(&none), stderr(&none).as_str()), (3, "found no lease of +918065978003, expected one to end\n"));
}

#[test]
fn only_the_testers_calls_go_to_staging() {
    let mut town = Town::new(true);
    let did = "+918065978001";
    town.done(&["tester", "add", "00447700900001", "staging", "--did", did, "--for", "1h", "--reason", "regression"]);
    assert_eq!(town.lands(TESTER, did), "staging");
    assert_eq!(town.lands(OTHER, did), "prod");
    assert_eq!(town.lands(TESTER, "+918065978002"), "prod");
    let again = town.verb(&["tester", "add", TESTER, "oss", "--did", did, "--for", "1h", "--reason", "x"]);
    assert_eq!(code(&again), 4);
    assert!(stderr(&again).contains("--replace "), "{}", stderr(&again));
    let listed = town.done(&["tester", "list"]);
    assert!(listed.contains("+447700900001  +918065978001  staging"), "{listed}");
    town.done(&["tester", "remove", TESTER, "--reason", "done"]);
    assert_eq!(town.lands(TESTER, did), "prod");
    let none = town.verb(&["tester", "remove", TESTER, "--reason", "done"]);
    assert_eq!(code(&none), 3);
}

#[test]
fn panic_sends_everything_to_prod_until_it_is_released() {
    let mut town = Town::new(true);
    let (leased, of_staging) = ("+918065978003", "+918065978021");
    town.done(&["did", "set", leased, "staging", "--for", "1h", "--reason", "x"]);
    assert_eq!(town.lands(OTHER, of_staging), "staging");
    town.done(&["panic", "on", "--reason", "staging is down"]);
    assert_eq!((town.lands(OTHER, leased), town.lands(OTHER, of_staging)), ("prod", "prod"));
    assert_eq!(town.json(&["panic", "status"])["panic"]["reason"], "staging is down");
    // It survives a kill too.
    town.kill();
    town.start();
    assert_eq!(town.lands(OTHER, of_staging), "prod");
    town.done(&["panic", "off", "--reason", "it is up"]);
    assert_eq!((town.lands(OTHER, leased), town.lands(OTHER, of_staging)), ("staging", "staging"));
    let none = town.verb(&["panic", "off", "--reason", "it is up"]);
    assert_eq!((code(&none), stderr(&none).as_str()), (3, "found no panic, expected one to release\n"));
}

#[test]
fn what_cannot_be_is_told_with_an_exit_code_of_its_own() {
    let town = Town::new(true);
    let set = |arguments: &[&str]| town.verb(&[&["did", "set"], arguments].concat());
    for (arguments, exit, told) in [
        (
            &["+918065978002", "mars", "--reason", "x"][..],
            2,
            "found environment \"mars\", expected prod, staging or oss",
        ),
        (&["+918065978002", "oss", "--reason", ""], 2, "reason: expected 1 to 1024 bytes of text"),
        (&["+447700900001", "oss", "--reason", "x"], 3, "found no DID +447700900001 in the directory"),
        (&["alice", "oss", "--reason", "x"], 2, "found \"alice\", expected a number"),
        (&["+918065978002", "oss", "--expect", "staging", "--reason", "x"], 4, "nothing was changed"),
        (&["+918065978002", "oss", "--for", "soon", "--reason", "x"], 1, "expected 1s or more"),
        (&["+918065978002", "oss", "--until", "2020-01-01 00:00", "--reason", "x"], 2, "end: expected a time from now"),
        (&["+918065978002", "oss"], 1, "--reason"),
    ] {
        let output = set(arguments);
        assert_eq!((code(&output), stdout(&output).as_str()), (exit, ""), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(told), "{told}: {}", stderr(&output));
    }
    let nothing = town.verb(&["directory", "accept", "--reason", "x"]);
    assert_eq!(code(&nothing), 3, "{}", stderr(&nothing));
    let nobody = Command::new(env!("CARGO_BIN_EXE_switchyard"))
        .args(["lease", "list", "--state-dir", "/nowhere"])
        .output()
        .unwrap();
    assert_eq!(code(&nobody), 1);
    assert!(stderr(&nobody).contains("no switchyard answers here"), "{}", stderr(&nobody));
}

#[test]
fn without_our_tables_the_verbs_say_so_and_calls_go_on() {
    let mut town = Town::new(false);
    let output = town.verb(&["did", "set", "+918065978002", "staging", "--for", "1h", "--reason", "x"]);
    assert_eq!(code(&output), 6);
    assert_eq!(stderr(&output), "table switchyard_leases: not found; `switchyard db migrate` makes it\n");
    assert_eq!(town.lands(OTHER, "+918065978002"), "prod");
    assert_eq!(town.lands(OTHER, "+918065978021"), "staging");
}

/// Row D6: what the guard holds back is judged on the command line.
#[test]
fn d6_a_table_that_became_empty_waits_for_a_person() {
    let mut town = Town::new(true);
    let database = town.folder.path().join("directory.db");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(sync::schema::run(&database, &["DELETE FROM did_numbers"])).unwrap();
    let asked = Instant::now();
    let held = loop {
        let held = town.json(&["directory", "held"]);
        if held.get("held").is_some() {
            break held;
        }
        assert!(asked.elapsed() < PATIENCE, "nothing is held back");
    };
    assert_eq!(held["held"]["dids"]["removed"], Value::Null, "the difference stands below diff");
    assert_eq!(held["held"]["diff"]["dids"]["removed"], 55);
    assert_eq!(town.lands(OTHER, "+918065978002"), "prod");
    town.done(&["directory", "reject", "--reason", "a mistake"]);
    assert!(town.done(&["directory", "held"]).contains("rejected"));
    town.done(&["directory", "accept", "--reason", "the range was sold"]);
    let gone = town.verb(&["did", "show", "+918065978002"]);
    assert_eq!(code(&gone), 3);
}

/// Who is neither root, our user nor in the group may look where the socket lets him, and change nothing. It takes root
/// to become someone else.
#[test]
fn a_stranger_on_this_machine_changes_nothing() {
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    const NOBODY: u32 = 65_534;
    let town = Town::new(true);
    let open = |path: &Path, mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(town.folder.path(), 0o755);
    // The program itself may lie where only root can read it.
    let program = town.folder.path().join("switchyard");
    std::fs::copy(env!("CARGO_BIN_EXE_switchyard"), &program).unwrap();
    let as_nobody = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(arguments).arg("--state-dir").arg(town.folder.path()).uid(NOBODY).gid(NOBODY);
        command.current_dir("/").output().unwrap()
    };
    let closed = as_nobody(&["did", "show", "+918065978002"]);
    assert_eq!(code(&closed), 5, "{}", stderr(&closed));
    open(&town.folder.path().join("switchyard.sock"), 0o666);
    let shown = as_nobody(&["did", "show", "+918065978002"]);
    assert_eq!(code(&shown), 0, "{}", stderr(&shown));
    for verb in [
        &["did", "set", "+918065978002", "staging", "--reason", "x"][..],
        &["tester", "add", TESTER, "staging", "--did", "+918065978002", "--for", "1h", "--reason", "x"],
        &["panic", "on", "--reason", "x"],
        &["panic", "off", "--reason", "x"],
    ] {
        let refused = as_nobody(verb);
        assert_eq!(code(&refused), 5, "{verb:?}: {}", stderr(&refused));
        assert!(stderr(&refused).contains("a viewer; expected an "), "{}", stderr(&refused));
    }
    assert_eq!(town.json(&["audit", "list"])["changes"], Value::Array(Vec::new()));
}
