//! Several workers for one gateway: calls are shared, and nobody outside notices.

use crate::{Bench, PATIENCE, Program, header, heard, reply, until};
use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// With so many calls, and a hash that nobody can know, two workers have two each but once in ten million runs.
const CALLS: usize = 28;
const OF_EACH: u64 = 2;

fn bench(net: u8, workers: u16, more: &str) -> Bench {
    let mut bench = Bench::new(net, &format!("adopt_for = \"0s\"\nworkers = {workers}"));
    if !more.is_empty() {
        rewritten(&mut bench, |text| text + more);
    }
    bench
}

/// The same with another configuration, after kill -9.
fn rewritten(bench: &mut Bench, change: impl FnOnce(String) -> String) {
    let text = std::fs::read_to_string(&bench.config).unwrap();
    std::fs::write(&bench.config, change(text)).unwrap();
    bench.kill_and_start_again();
}

fn names(of: &str) -> impl Iterator<Item = String> {
    (0..CALLS).map(move |at| format!("{of}{at}"))
}

impl Bench {
    /// How often each worker has woken up, by its thread's name.
    fn wakes(&self) -> Vec<(String, u64)> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.program.child.id())).unwrap();
        let mut wakes: Vec<(String, u64)> = tasks
            .filter_map(|task| {
                let text = std::fs::read_to_string(task.ok()?.path().join("status")).ok()?;
                let of = |name: &str| text.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
                let name = of("Name:").filter(|name| name.starts_with("worker"))?;
                Some((name, of("voluntary_ctxt_switches:")?.parse().ok()?))
            })
            .collect();
        wakes.sort();
        wakes
    }

    /// The final answer to an INVITE by these words, and how long it took.
    fn finally(&self, call: &str) -> (String, Duration) {
        let begun = Instant::now();
        loop {
            let answer = heard(&self.gateway, "SIP/2.0 ", call);
            if !answer.starts_with("SIP/2.0 1") {
                return (answer, begun.elapsed());
            }
        }
    }
}

/// One gateway's calls arrive at both workers, at each its own: nothing is handed over, and each call is whole, with its
/// repetitions, its CANCEL and a BYE from either side.
#[test]
fn calls_of_one_gateway_are_shared_and_whole() {
    let bench = bench(161, 2, "");
    let before = bench.wakes();
    assert_eq!(before.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["worker", "worker-2"]);
    for (at, call) in names("up").enumerate() {
        let (success, invite) = bench.establish(&call);
        match at % 2 {
            0 => bench.caller_ends(&call, &success),
            _ => bench.callee_ends(&call, &invite),
        }
    }
    let after = bench.wakes();
    for ((name, before), (_, after)) in before.iter().zip(&after) {
        // INVITE, answer, ACK, BYE and its answer wake it one by one.
        assert!(after - before >= OF_EACH * 5, "{name} slept: {before} to {after}");
    }
    for call in names("cancelled") {
        let invite = bench.ring(&call);
        bench.answer(&invite, "180 Ringing");
        heard(&bench.gateway, "SIP/2.0 180", &call);
        bench.gateway.send_to(bench.invite(&call).as_bytes(), bench.proxy).unwrap();
        bench.gateway.send_to(bench.invite(&call).replace("INVITE", "CANCEL").as_bytes(), bench.proxy).unwrap();
        let cancel = heard(&bench.pbx, "CANCEL ", &call);
        assert_eq!(header(&cancel, "Via")[0], header(&invite, "Via")[0], "on the branch of its INVITE");
        bench.answer(&cancel, "200 OK");
        bench.answer(&invite, "487 Request Terminated");
        heard(&bench.gateway, "SIP/2.0 487", &call);
        heard(&bench.pbx, "ACK ", &call);
        let ack = bench.invite(&call).replace("INVITE", "ACK");
        bench.gateway.send_to(ack.as_bytes(), bench.proxy).unwrap();
    }
    assert!(bench.counted("switchyard_absorbed_total") >= CALLS as u64, "every INVITE was repeated");
    assert_eq!(bench.counted("switchyard_udp_handed_over_total"), 0, "the kernel knows every owner");
    assert_eq!(bench.counted("switchyard_calls_total"), 2 * CALLS as u64);
    until("all calls are over", || bench.counted("switchyard_calls_in_progress") == 0);
}

/// A peer that writes the compact form, which the kernel does not look for: what arrives at the wrong worker is handed over.
#[test]
fn what_arrives_at_the_wrong_worker_is_handed_over() {
    let bench = bench(162, 2, "");
    for call in names("compact") {
        let (success, _) = bench.establish(&call);
        let bye = bench.callers("BYE", 2, &success).replace("Call-ID:", "i:");
        bench.gateway.send_to(bye.as_bytes(), bench.proxy).unwrap();
        let (mut slot, mut arrived) = ([0; 8_192], String::new());
        while !(arrived.starts_with("BYE ") && header(&arrived, "i") == [call.as_str()]) {
            let (len, _) = bench.pbx.recv_from(&mut slot).expect("a BYE was lost");
            arrived = String::from_utf8_lossy(&slot[..len]).into_owned();
        }
        bench.answer(&arrived.replace("\r\ni:", "\r\nCall-ID:"), "200 OK");
        let answered = heard(&bench.gateway, "SIP/2.0 200", &call);
        assert!(header(&answered, "CSeq")[0].ends_with("BYE"));
    }
    let handed = bench.counted("switchyard_udp_handed_over_total");
    assert!((OF_EACH..CALLS as u64).contains(&handed), "{handed} of {CALLS}");
}

/// Rows H1 and I9 with workers: a limit is one for all of them, also after kill -9 with another number of workers.
#[test]
fn h1_i9_a_limit_holds_over_workers_and_over_kill_9() {
    let mut bench = bench(163, 2, &format!("[trunk.quota]\nmax_channels = {CALLS}\n"));
    let up: Vec<_> = names("up").map(|call| (bench.establish(&call).0, call)).collect();
    let is_full = |bench: &Bench, call: &str| {
        let refused = bench.refused(call);
        assert!(refused.starts_with("SIP/2.0 486 Trunk Has All Its Calls"), "{refused}");
    };
    names("late").for_each(|call| is_full(&bench, &call));
    for workers in [3, 1, 2] {
        rewritten(&mut bench, |text| {
            let line = text.lines().find(|line| line.starts_with("workers = ")).unwrap().to_owned();
            text.replace(&line, &format!("workers = {workers}"))
        });
        is_full(&bench, &format!("late-by-{workers}"));
    }
    for (success, call) in up {
        bench.caller_ends(&call, &success);
    }
    bench.establish("room");
}

/// A drain is one of all workers: new calls are refused whoever would have them, and a worker without transactions serves the
/// calls that are up until the last transaction of the other is over.
#[test]
fn h2_workers_drain_together() {
    // Transactions that are over linger for 64 times T1.
    let mut bench = bench(164, 2, "[timers]\nt1 = \"50ms\"\nhop_timeout = \"3s\"\n");
    let up: Vec<_> = names("up").map(|call| (bench.establish(&call).0, call)).collect();
    let ringing = bench.ring("ringing");
    bench.answer(&ringing, "180 Ringing");
    heard(&bench.gateway, "SIP/2.0 180", "ringing");
    bench.program.signal(Signal::SIGTERM);
    bench.program.said("draining: new calls get 503; a second signal ends at once");
    for call in names("late") {
        let refused = bench.refused(&call);
        assert!(refused.starts_with("SIP/2.0 503 "), "{refused}");
    }
    for (success, call) in up {
        bench.caller_ends(&call, &success);
    }
    assert!(bench.program.child.try_wait().unwrap().is_none(), "it has ended with a call in setup");
    bench.answer(&ringing, "486 Busy Here");
    heard(&bench.gateway, "SIP/2.0 486", "ringing");
    bench.gateway.send_to(bench.invite("ringing").replace("INVITE", "ACK").as_bytes(), bench.proxy).unwrap();
    bench.program.said("ended, nothing was cut off");
    assert!(bench.program.child.wait().unwrap().success());
}

/// A reload reaches every worker, and does not change how many there are.
#[test]
fn a_reload_reaches_every_worker() {
    let mut bench = bench(165, 2, "");
    let up: Vec<_> = names("up").map(|call| (bench.establish(&call).0, call)).collect();
    let text = std::fs::read_to_string(&bench.config).unwrap();
    let text = text.replace("workers = 2", "workers = 3") + "[trunk.quota]\nmax_channels = 1\n";
    std::fs::write(&bench.config, text).unwrap();
    bench.program.signal(Signal::SIGHUP);
    bench.program.said("sip.workers has changed: it takes a restart");
    bench.program.said("the configuration was read again and is in force");
    for call in names("late") {
        let refused = bench.refused(&call);
        assert!(refused.starts_with("SIP/2.0 486 Trunk Has All Its Calls"), "{refused}");
    }
    assert_eq!(bench.wakes().len(), 2);
    up.iter().for_each(|(success, call)| bench.caller_ends(call, success));
}

/// Rows W2 and TP7 with workers: the kernel tells any worker that the PBX is gone; whoever has the call hears of it at once.
#[test]
fn w2_tp7_an_unreachable_pbx_is_told_to_the_worker_that_has_the_call() {
    let mut bench = bench(166, 2, "");
    let gone = std::mem::replace(&mut bench.pbx, std::net::UdpSocket::bind("127.0.166.9:0").unwrap());
    drop(gone);
    for call in names("nowhere") {
        bench.gateway.send_to(bench.invite(&call).as_bytes(), bench.proxy).unwrap();
        let (answer, took) = bench.finally(&call);
        assert!(answer.starts_with("SIP/2.0 500 "), "{answer}");
        assert!(took < Duration::from_secs(3), "{call}: only its timers told it, after {took:?}");
    }
    assert!(bench.counted("switchyard_icmp_unreachable_total") > 0);
}

/// What comes by TCP goes to the owner of its call, and the answer back by the connection.
#[test]
fn calls_by_tcp_have_their_owners_too() {
    let mut bench = bench(167, 2, "");
    let udp = format!("\"udp:{}\"", bench.proxy);
    let both = format!("{udp}, \"tcp:{}\"", bench.proxy);
    rewritten(&mut bench, |text| text.replace(&udp, &both));
    let mut stream = bench.connect().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let before = bench.wakes();
    for call in names("stream") {
        stream.write_all(bench.invite(&call).replace("SIP/2.0/UDP", "SIP/2.0/TCP").as_bytes()).unwrap();
        let invite = heard(&bench.pbx, "INVITE ", &call);
        let from: SocketAddr = bench.pbx.local_addr().unwrap();
        bench.pbx.send_to(reply(&invite, "486 Busy Here", from).as_bytes(), bench.proxy).unwrap();
        let (mut text, mut chunk) = (String::new(), [0; 4_096]);
        while !text.contains("SIP/2.0 486 ") {
            let len = stream.read(&mut chunk).unwrap();
            assert!(len > 0, "the connection was closed");
            text.push_str(&String::from_utf8_lossy(&chunk[..len]));
        }
        assert!(text.contains(&call), "{text}");
        stream.write_all(bench.invite(&call).replace("UDP", "TCP").replace("INVITE", "ACK").as_bytes()).unwrap();
    }
    for ((name, before), (_, after)) in before.iter().zip(&bench.wakes()) {
        assert!(after - before >= OF_EACH * 2, "{name} slept: {before} to {after}");
    }
}

/// Two processes of one address: the second finds it taken, although the workers of the first share it.
#[test]
fn the_address_is_still_one_processes_own() {
    let bench = bench(168, 2, "");
    let other = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(&bench.config).unwrap();
    let state = bench.folder.path().display().to_string();
    let text = text.replacen(&state, &other.path().display().to_string(), 1);
    let config = other.path().join("switchyard.toml");
    std::fs::write(&config, text).unwrap();
    let mut command = std::process::Command::new(crate::program());
    let mut second = Program::saying("cannot start", command.args(["run", "--config"]).arg(&config));
    assert!(!second.child.wait().unwrap().success());
    bench.establish("still");
}
