//! Captures of the real program, decoded by sngrep: an implementation of HEP that is not ours.
#![expect(clippy::indexing_slicing, reason = "what is too short fails the test")]

use crate::stage::Stage;
use lab::process::{PATIENCE, Process, text_of, until};
use lab::sipp::{Calls, Party};
use nix::sys::signal::Signal;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread::JoinHandle;

const KEY: &str = "sesame";
const COLLECTOR_PORT: u16 = 9_060;

/// A stage whose captures go to `hep`.
fn stage(network: u8, hep: &str, more: &str) -> Stage {
    let lines = format!("caller_id = \"pass\"\n[capture]\nhep = \"{hep}\"\nnode = 2001\nkey = \"{KEY}\"\n{more}");
    Stage::start_with(network, "udp", &lines)
}

/// sngrep, which takes HEP with our key at this address and writes what it understood into a pcap file.
struct Sngrep {
    process: Process,
    pcap: PathBuf,
}

impl Sngrep {
    fn listening(stage: &Stage, address: SocketAddrV4) -> Sngrep {
        let [settings, pcap, log] = ["sngreprc", "hep.pcap", "sngrep.log"].map(|name| stage.as_ref().path(name));
        std::fs::write(&settings, format!("set eep.listen.pass {KEY}\n")).unwrap();
        let mut command = Command::new("sngrep");
        command.args(["-N", "-q", "-F", "-f"]).arg(&settings).arg("-L").arg(format!("udp:{address}"));
        let process = Process::start(command.arg("-O").arg(&pcap), &log, "sngrep");
        let entry = format!("{:08X}:{:04X}", u32::from_le_bytes(address.ip().octets()), address.port());
        let is_bound = || std::fs::read_to_string("/proc/net/udp").is_ok_and(|table| table.contains(&entry));
        until(|| format!("sngrep to listen\n{}", text_of(&log)), PATIENCE, is_bound);
        Sngrep { process, pcap }
    }

    /// Every message that it understood: from where, to where, and its bytes.
    fn understood(mut self) -> Vec<(Ipv4Addr, Ipv4Addr, String)> {
        self.process.signal(Signal::SIGINT);
        self.process.ended();
        messages(&std::fs::read(&self.pcap).unwrap())
    }

    fn has(&self, text: &str) -> bool {
        let bytes = std::fs::read(&self.pcap).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    }
}

/// The UDP payloads of a pcap file, by the lengths in its records; the link layer may be any with IPv4 at its end.
fn messages(pcap: &[u8]) -> Vec<(Ipv4Addr, Ipv4Addr, String)> {
    let mut found = Vec::new();
    let mut rest = &pcap[24..];
    while rest.len() >= 16 {
        let length = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        let frame = &rest[16..16 + length];
        let ip = frame.windows(10).position(|head| head[0] == 0x45 && head[9] == 17).unwrap();
        let address = |at: usize| Ipv4Addr::from(<[u8; 4]>::try_from(&frame[ip + at..ip + at + 4]).unwrap());
        found.push((address(12), address(16), String::from_utf8_lossy(&frame[ip + 28..]).into_owned()));
        rest = &rest[16 + length..];
    }
    found
}

fn verb(stage: &Stage, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
    command.args(["capture", "hep"]).args(words).arg("--state-dir").arg(stage.as_ref().path(""));
    command.output().unwrap()
}

fn said(stage: &Stage, words: &[&str]) -> String {
    let output = verb(stage, words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn call(stage: &Stage, number: &str) {
    let callee = Party::callee(stage, "call", stage.pbx("prod"), 1);
    Party::caller(stage, "call", stage.gateway(), stage.proxy(), Calls::one(number)).succeeded();
    callee.succeeded();
}

#[test]
fn sngrep_understands_what_passes_in_both_directions() {
    let collector = SocketAddrV4::new(Ipv4Addr::new(127, 0, 93, 9), COLLECTOR_PORT);
    let stage = stage(93, &format!("udp:{collector}"), "");
    let sngrep = Sngrep::listening(&stage, collector);
    call(&stage, "+918065978000");
    assert!(said(&stage, &["status"]).starts_with("off\n"));
    assert!(said(&stage, &["on"]).starts_with("on\n"));
    call(&stage, "+918065978001");
    until(|| "the BYE's answer at sngrep".into(), PATIENCE, || said(&stage, &["status"]).contains(" 0 waiting"));
    assert!(said(&stage, &["off"]).starts_with("off\n"));
    call(&stage, "+918065978002");
    until(|| "the INVITE at sngrep".into(), PATIENCE, || sngrep.has("INVITE sip:+918065978001"));
    let state = said(&stage, &["status", "-o", "json"]);
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    assert_eq!((&state["lost"], &state["is_on"]), (&0.into(), &false.into()), "{state}");
    let understood = sngrep.understood();
    assert_eq!(state["sent"], understood.len(), "{state}\n{understood:#?}");
    let [proxy, gateway, pbx] = [stage.proxy(), stage.gateway(), stage.pbx("prod")].map(|at| *at.ip());
    for (from, to, start) in [
        (gateway, proxy, "INVITE "),
        (proxy, gateway, "SIP/2.0 100"),
        (proxy, pbx, "INVITE "),
        (pbx, proxy, "SIP/2.0 200"),
        (proxy, gateway, "SIP/2.0 200"),
        (gateway, proxy, "BYE "),
        (proxy, pbx, "BYE "),
    ] {
        let is_it = |seen: &&(Ipv4Addr, Ipv4Addr, String)| (seen.0, seen.1) == (from, to) && seen.2.starts_with(start);
        assert!(understood.iter().any(|seen| is_it(&seen)), "{start}{from} {to} in {understood:#?}");
    }
    // Each message as it was on the wire, and only while it was on.
    assert!(
        understood.iter().all(|(.., text)| text.contains("\r\n\r\n") && text.to_lowercase().contains("\r\ncall-id:"))
    );
    assert!(!understood.iter().any(|(.., text)| text.contains("918065978000") || text.contains("918065978002")));
}

#[test]
fn filters_choose_a_number_or_a_peer_and_a_wrong_one_is_refused() {
    let collector = SocketAddrV4::new(Ipv4Addr::new(127, 0, 94, 9), COLLECTOR_PORT);
    let stage = stage(94, &format!("udp:{collector}"), "enabled = true\n");
    let sngrep = Sngrep::listening(&stage, collector);
    assert!(said(&stage, &["status"]).starts_with("on\n"));
    // The number is that of one call, in another spelling.
    assert!(said(&stage, &["on", "--number", "08065978001"]).starts_with("on, only number +918065978001\n"));
    call(&stage, "+918065978000");
    call(&stage, "+918065978001");
    until(|| "the BYE at sngrep".into(), PATIENCE, || sngrep.has("BYE sip"));
    assert!(said(&stage, &["on", "--peer", "oss"]).starts_with("on, only peer oss\n"));
    call(&stage, "+918065978002");
    // One of its addresses alone, with its transport and port or without.
    for one in ["udp:127.0.94.5:5060", "127.0.94.5"] {
        assert!(said(&stage, &["on", "--peer", one]).starts_with(&format!("on, only peer {one}\n")));
        call(&stage, "+918065978003");
    }
    for (words, found) in [
        (["on", "--peer", "nobody"], "found peer"),
        (["on", "--peer", "127.0.94.77"], "found peer \"127.0.94.77\", expected one that is configured"),
        (["on", "--number", "anna"], "found \"anna\""),
    ] {
        let refused = verb(&stage, &words);
        assert_eq!(refused.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&refused.stderr).contains(found), "{refused:?}");
    }
    let understood = sngrep.understood();
    assert!(!understood.is_empty());
    assert!(understood.iter().all(|(.., text)| text.contains("8065978001")), "{understood:#?}");
}

/// Cuts a stream of HEP by the lengths in it, and hands each packet to sngrep.
fn relay(listener: TcpListener, to: SocketAddrV4) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut head = [0; 6];
        while stream.read_exact(&mut head).is_ok() {
            assert_eq!(&head[..4], b"HEP3");
            let mut packet = vec![0; usize::from(u16::from_be_bytes([head[4], head[5]]))];
            packet[..6].copy_from_slice(&head);
            stream.read_exact(&mut packet[6..]).unwrap();
            socket.send_to(&packet, to).unwrap();
        }
    })
}

#[test]
fn a_stream_of_captures_is_understood_as_well() {
    let listener = TcpListener::bind("127.0.95.8:0").unwrap();
    let stage = stage(95, &format!("tcp:{}", listener.local_addr().unwrap()), "enabled = true\n");
    let collector = SocketAddrV4::new(Ipv4Addr::new(127, 0, 95, 9), COLLECTOR_PORT);
    let sngrep = Sngrep::listening(&stage, collector);
    let relayed = relay(listener, collector);
    call(&stage, "+918065978000");
    until(|| "the BYE at sngrep".into(), PATIENCE, || sngrep.has("BYE sip"));
    assert!(sngrep.understood().len() >= 10);
    drop(stage);
    relayed.join().unwrap();
}

/// A capture server that takes nothing costs captures, and no call.
#[test]
fn calls_go_on_while_the_capture_server_is_away() {
    let stage = stage(96, "tcp:127.0.96.9:9", "enabled = true\n");
    call(&stage, "+918065978000");
    until(|| "losses".into(), PATIENCE, || !said(&stage, &["status"]).contains(" 0 lost"));
    call(&stage, "+918065978001");
}
