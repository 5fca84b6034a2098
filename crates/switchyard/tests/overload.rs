//! More than the program wants: strangers, scanners and too many calls, against the real program.
#![expect(clippy::unwrap_used, reason = "the lint's leave for tests does not reach the functions they share")]

use lab::process::{PATIENCE, Place, until};
use lab::program::Program;
use lab::sipp::{Calls, Party};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The program on 127.0.N.1, its gateway on .2, the PBX of prod on .3.
struct Stage {
    network: u8,
    place: Place,
    program: Program,
    /// Last: the program ends before its folder goes.
    _folder: tempfile::TempDir,
}

impl Stage {
    /// `sip` are lines of the table `[sip]`, `limits` of `[limits]`.
    fn start(network: u8, sip: &str, limits: &str) -> Stage {
        Stage::start_by(network, sip, limits, |_| env!("CARGO_BIN_EXE_switchyard").into())
    }

    fn start_by(network: u8, sip: &str, limits: &str, binary: impl FnOnce(&Path) -> PathBuf) -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::here(folder.path());
        let [proxy, gateway, pbx] = [1, 2, 3].map(|host| address(network, host));
        let configuration = format!(
            "state_dir = \"${{FOLDER}}\"\n[sip]\nlisten = [\"udp:{proxy}\"]\n{sip}\n\
             [[trunk]]\nname = \"tata\"\ngateways = [\"udp:{gateway}\"]\ncaller_id = \"pass\"\n\
             [environments.prod]\ntargets = [\"udp:{pbx}\"]\n[probe]\ninterval = \"0s\"\n[limits]\n{limits}\n\
             [database]\nurl = \"sqlite://${{FOLDER}}/directory.db\"\n"
        );
        let program = Program::start(&place, &binary(folder.path()), &configuration);
        Stage { network, place, program, _folder: folder }
    }

    fn at(&self, host: u8) -> SocketAddrV4 {
        address(self.network, host)
    }
}

impl AsRef<Place> for Stage {
    fn as_ref(&self) -> &Place {
        &self.place
    }
}

fn address(network: u8, host: u8) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(127, 0, network, host), 5060)
}

fn invite(from: SocketAddrV4, to: SocketAddrV4, name: &str, agent: &str, body: &str) -> String {
    format!(
        "INVITE sip:+918065978000@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{name}\r\nMax-Forwards: 70\r\n\
         From: <sip:+447700900123@{from}>;tag={name}\r\nTo: <sip:+918065978000@{to}>\r\nCall-ID: {name}@test\r\n\
         CSeq: 1 INVITE\r\nContact: <sip:{from}>\r\nUser-Agent: {agent}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Sends datagrams at an even pace until it is told to end.
fn flood(from: SocketAddrV4, to: SocketAddrV4, per_ms: u64, ended: &Arc<AtomicBool>) -> std::thread::JoinHandle<u64> {
    let ended = Arc::clone(ended);
    std::thread::spawn(move || {
        let socket = UdpSocket::bind(from).unwrap();
        let sent = AtomicU64::new(0);
        while !ended.load(Ordering::Relaxed) {
            for _ in 0..per_ms {
                let number = sent.fetch_add(1, Ordering::Relaxed);
                // What the kernel has no room for is not sent, and not counted on.
                let _full = socket.send_to(invite(from, to, &format!("s{number}"), "Flood", "").as_bytes(), to);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        sent.into_inner()
    })
}

/// Row SX1, at a rate that any machine has: strangers who send a hundred times what the peers send fail no call, and
/// next to none of it reaches the program.
#[test]
fn sx1_a_flood_of_strangers_fails_no_call() {
    let stage = Stage::start(190, "", "");
    let ended = Arc::new(AtomicBool::new(false));
    let flooding = flood(stage.at(66), stage.at(1), 2, &ended);
    let callee = Party::callee(&stage, "call", stage.at(3), 60);
    let calls = Calls { number: "+918065978000", count: 60, per_second: 20, more: &[] };
    Party::caller(&stage, "call", stage.at(2), stage.at(1), calls).succeeded();
    callee.succeeded();
    ended.store(true, Ordering::Relaxed);
    let sent = flooding.join().unwrap();
    assert!(sent > 1_000, "{sent} sent");
    // The filter comes with the worker's first turn; the socket is there a moment before.
    let seen = stage.program.count("dropped: stranger");
    assert!(seen < sent / 100, "{seen} of {sent} reached the program");
    assert!(stage.program.count("udp filtered") > 0, "{}", stage.program.log());
}

/// Row SX2, the real program: above its rate a source is refused, and no call that began is harmed.
#[test]
fn sx2_a_source_above_its_rate_is_refused_at_once() {
    let stage = Stage::start(191, "", "requests_per_second = 5");
    let socket = UdpSocket::bind(stage.at(2)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    for number in 0..20 {
        socket
            .send_to(invite(stage.at(2), stage.at(1), &format!("n{number}"), "Test", "").as_bytes(), stage.at(1))
            .unwrap();
    }
    let mut refused = 0;
    let mut slot = [0; 4_096];
    while refused < 10 {
        let len = socket.recv(&mut slot).unwrap();
        refused += u64::from(slot.starts_with(b"SIP/2.0 480 Too Many Requests")) * u64::from(len > 0);
    }
    assert!(stage.program.count("refused: tata, over_rate") >= 10);
}

/// Row H4: with an address space that the calls offered would not fit, it sheds with 503 and lives on.
#[test]
fn h4_it_sheds_before_the_address_space_is_full() {
    const SPACE_KIB: u64 = 600 * 1_024;
    let limited = |folder: &Path| {
        let script = folder.join("limited");
        let binary = env!("CARGO_BIN_EXE_switchyard");
        // The C library reserves 64 MiB of addresses for each thread's arena, which are no memory.
        let arenas = "export MALLOC_ARENA_MAX=1";
        std::fs::write(&script, format!("#!/bin/sh\n{arenas}\nulimit -v {SPACE_KIB}\nexec {binary} \"$@\"\n")).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        script
    };
    // What is written is more than the space: a third of the space is in force.
    let stage = Stage::start_by(192, "", "transaction_bytes = 4294967296\n[timers]\nt1 = \"4s\"", limited);
    let _silent = UdpSocket::bind(stage.at(3)).unwrap();
    assert!(stage.program.log().contains("a third of what it may have is in force"), "{}", stage.program.log());
    let socket = UdpSocket::bind(stage.at(2)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    // The PBX does not answer: every call holds its 60 kB for as long as Timer B.
    let body = "x".repeat(60_000);
    let mut slot = [0; 65_535];
    let mut shed = 0;
    for number in 0..8_000 {
        assert!(stage.program.is_alive(), "{}", stage.program.log());
        socket
            .send_to(invite(stage.at(2), stage.at(1), &format!("m{number}"), "Test", &body).as_bytes(), stage.at(1))
            .unwrap();
        if let Ok(len) = socket.recv(&mut slot)
            && slot.get(..len).unwrap_or_default().starts_with(b"SIP/2.0 503 Overloaded")
        {
            shed += 1;
        }
        if shed == 20 {
            break;
        }
    }
    assert_eq!(shed, 20, "{}", stage.program.log());
    assert!(stage.program.count("limits reached: transaction_bytes") >= 20);
}

/// Row SX16: where strangers are seen, each has a line in the log that fail2ban finds, in both forms of the log.
#[test]
fn sx16_fail2ban_finds_the_senders_in_the_security_log() {
    // What comes off the wire and stands in another line must not pass for one of these.
    let line = "event=scanner source=192.0.2.77 port=1 transport=udp listener=x";
    let time = "2026-11-27T23:20:06.000001Z";
    let text = format!("{time} DEBUG switchyard::worker: x WARN switchyard::security: {line}\n");
    let json = format!(
        "{{\"timestamp\":\"{time}\",\"level\":\"WARN\",\"message\":\"x\",\"called\":\"\\\",\\\"message\\\":\\\"{line}\",\
         \"target\":\"switchyard::security\"}}\n"
    );
    for (settings, forged) in [("", text), ("[log]\nformat = \"json\"", json)] {
        let stage = Stage::start(193, "strangers = \"log\"", settings);
        let (scanner, stranger, peer) = (stage.at(66), stage.at(67), stage.at(2));
        for (from, bytes) in [
            (scanner, invite(scanner, stage.at(1), "scan", "friendly-scanner", "")),
            (stranger, invite(stranger, stage.at(1), "plain", "Phone", "")),
            (peer, "no message at all\r\n\r\n".to_owned()),
        ] {
            UdpSocket::bind(from).unwrap().send_to(bytes.as_bytes(), stage.at(1)).unwrap();
        }
        until(
            || format!("three lines of the security log:\n{}", stage.program.log()),
            PATIENCE,
            || stage.program.log().lines().filter(|line| line.contains("switchyard::security")).count() == 3,
        );
        let log = stage.place.path("security.log");
        std::fs::write(&log, stage.program.log() + &forged).unwrap();
        let filter = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/fail2ban/filter.d/switchyard.conf");
        let found = |part: &str| {
            let output = Command::new("fail2ban-regex").args(["-o", part]).arg(&log).arg(&filter).output();
            let output = output.unwrap_or_else(|fault| panic!("fail2ban-regex (Debian: fail2ban): {fault}"));
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let mut lines: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
            lines.sort_unstable();
            lines
        };
        let mut expected = [scanner.ip().to_string(), stranger.ip().to_string()];
        expected.sort_unstable();
        assert_eq!(found("ip"), expected, "{settings}\n{}", stage.program.log());
        let line = format!("event=scanner source={} port=5060 transport=udp listener={}", scanner.ip(), stage.at(1));
        assert!(stage.program.log().contains(&line));
        assert_eq!(stage.program.log().contains(&format!("switchyard::security: {line}\n")), settings.is_empty());
    }
}
