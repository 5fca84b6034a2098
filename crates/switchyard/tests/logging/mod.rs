//! The log of the real program: one line for each call, levels that change while it runs, and a sink that stands still.
mod forms;

use crate::stage::Stage;
use lab::process::{PATIENCE, until};
use lab::sipp::{Calls, Party};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::Read;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

fn verb(stage: &Stage, words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
    let output = command.arg("log").args(words).arg("--state-dir").arg(stage.as_ref().path("")).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn call(stage: &Stage, number: &str) {
    let callee = Party::callee(stage, "call", stage.pbx("prod"), 1);
    Party::caller(stage, "call", stage.gateway(), stage.proxy(), Calls::one(number)).succeeded();
    callee.succeeded();
}

fn lines_of<'l>(log: &'l str, text: &str) -> Vec<&'l str> {
    log.lines().filter(|line| line.contains(text)).collect()
}

#[test]
fn a_call_has_one_line_and_its_numbers_can_be_hidden() {
    let stage = Stage::start_with(97, "udp", "caller_id = \"pass\"\n[log]\nredact = true\n");
    call(&stage, "+918065978000");
    until(|| stage.log(), PATIENCE, || lines_of(&stage.log(), "call ended").len() == 1);
    let log = stage.log();
    let line = lines_of(&log, "call ended")[0];
    for field in [
        "INFO",
        "direction=inbound",
        "called=\"+9180659780**\"",
        "to=\"prod\"",
        "rule=\"target\"",
        "status=200",
        "by=\"caller\"",
        "talked_ms=",
    ] {
        assert!(line.contains(field), "{field} in {line}");
    }
    assert!(!log.contains("918065978000"), "{log}");
    verb(&stage, &["redact", "off"]);
    call(&stage, "+918065978001");
    until(|| stage.log(), PATIENCE, || lines_of(&stage.log(), "called=\"+918065978001\"").len() == 1);
}

#[test]
fn levels_change_by_the_command_line_and_by_a_signal() {
    let stage = Stage::start(98);
    call(&stage, "+918065978000");
    assert_eq!(lines_of(&stage.log(), "dispatched").len(), 0);
    assert!(verb(&stage, &["level", "debug"]).starts_with("level debug, "));
    call(&stage, "+918065978000");
    until(|| stage.log(), PATIENCE, || lines_of(&stage.log(), "dispatched").len() == 1);
    verb(&stage, &["level", "info"]);
    for level in ["debug", "trace", "info", "debug"] {
        stage.signal(Signal::SIGUSR1);
        until(
            || format!("level {level}"),
            PATIENCE,
            || verb(&stage, &["status"]).starts_with(&format!("level {level},")),
        );
    }
    assert_eq!(lines_of(&stage.log(), "changed by SIGUSR1").len(), 4);
}

#[test]
fn a_watched_number_is_told_in_detail_and_no_other() {
    let stage = Stage::start(99);
    assert!(verb(&stage, &["watch", "--did", "08065978001", "--for", "2m"]).contains("watched: +918065978001, 1"));
    call(&stage, "+918065978000");
    call(&stage, "+918065978001");
    until(|| stage.log(), PATIENCE, || lines_of(&stage.log(), "call ended").len() == 2);
    let log = stage.log();
    let told = lines_of(&log, "watched: decided");
    assert!(told.len() == 1 && told[0].contains("918065978001") && told[0].contains("rules="), "{log}");
    assert!(!verb(&stage, &["unwatch"]).contains("watched:"));
    call(&stage, "+918065978001");
    until(|| stage.log(), PATIENCE, || lines_of(&stage.log(), "call ended").len() == 3);
    assert_eq!(lines_of(&stage.log(), "watched: decided").len(), 1);
}

/// A process whose log is a pipe that nobody reads.
struct Blocked(Child);

impl Drop for Blocked {
    fn drop(&mut self) {
        let _killed = self.0.kill();
        let _waited = self.0.wait();
    }
}

/// Row H9: a pipe that is full and that nobody reads costs lines, which are counted, and no call waits for it. Limit LINES.
#[test]
fn h9_a_log_that_nobody_reads_loses_lines_and_delays_no_call() {
    let stage = Stage::start(100);
    let config = std::fs::read_to_string(stage.as_ref().path("switchyard.toml")).unwrap();
    let proxy: SocketAddr = "127.0.101.1:5060".parse().unwrap();
    let state = tempfile::tempdir().unwrap();
    let config = config.replace("127.0.100.", "127.0.101.");
    let config = config.replace("state_dir = \"", &format!("state_dir = \"{}\" # ", state.path().display()));
    let path = state.path().join("blocked.toml");
    std::fs::write(&path, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
    command.args(["run", "--config"]).arg(&path).env("RUST_LOG", "info").stdin(Stdio::null()).stderr(Stdio::piped());
    let mut blocked = Blocked(command.spawn().unwrap());
    let mut pipe = blocked.0.stderr.take().unwrap();
    fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(4_096)).unwrap();
    let gateway = UdpSocket::bind("127.0.101.2:5060").unwrap();
    gateway.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let answers = |number: usize, status: &str| {
        let call = format!(
            "INVITE sip:+44770090{number:04}@{proxy} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.101.2:5060;branch=z9hG4bK{number}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:+447700900123@127.0.101.2>;tag={number}\r\nTo: <sip:x@{proxy}>\r\n\
             Call-ID: {number}@test\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
        );
        gateway.send_to(call.as_bytes(), proxy).unwrap();
        let mut buffer = [0; 2_048];
        let wanted = format!("Call-ID: {number}@test");
        while let Ok(length) = gateway.recv(&mut buffer) {
            let answer = String::from_utf8_lossy(&buffer[..length]);
            if answer.contains(&wanted) && answer.starts_with(status) {
                let to = answer.lines().find(|line| line.starts_with("To:")).unwrap();
                let ack = call.replace("INVITE sip", "ACK sip").replace("1 INVITE", "1 ACK");
                gateway.send_to(ack.replace(&format!("To: <sip:x@{proxy}>"), to).as_bytes(), proxy).unwrap();
                return true;
            }
        }
        false
    };
    // A transaction that was refused for want of a table stays refused: each try is a call of its own.
    let tries = std::cell::Cell::new(8_000);
    let next = || tries.replace(tries.get() + 1);
    until(|| "the proxy to answer with its table".into(), PATIENCE, || answers(next(), "SIP/2.0 404"));
    let lost = || {
        let output = Command::new(env!("CARGO_BIN_EXE_switchyard"))
            .args(["log", "status", "-o", "json", "--state-dir"])
            .arg(state.path())
            .output()
            .unwrap();
        let state: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        state["lost_lines"].as_u64().unwrap()
    };
    // Each call has its line: more of them than the pipe and the queue hold.
    for number in 1..=switchyard::logging::LINES + 500 {
        // UDP: a request that the kernel dropped is sent again.
        assert!((0..10).any(|_| answers(number, "SIP/2.0 404")), "call {number} waits for the log");
    }
    until(|| "lines to be lost and counted".into(), PATIENCE, || lost() > 0);
    // Somebody reads again: lines come again, and the process ends as it should.
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        pipe.read_to_end(&mut text).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    });
    assert!((0..10).any(|_| answers(9_999, "SIP/2.0 404")));
    kill(Pid::from_raw(i32::try_from(blocked.0.id()).unwrap()), Signal::SIGTERM).unwrap();
    kill(Pid::from_raw(i32::try_from(blocked.0.id()).unwrap()), Signal::SIGTERM).unwrap();
    let text = reader.join().unwrap();
    assert!(text.contains("switchyard serves") && text.matches("call ended").count() > 1_000);
}
