//! What a scrape costs, and whom; and what it says of peers that are measured.
use super::{fetch, metrics_of, place_calls, scraped};
use crate::stage::Stage;
use lab::process::{PATIENCE, until};
use nix::sys::signal::Signal;
use std::fmt::Write as _;
use std::net::{SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The promise for a scrape.
const SCRAPED_WITHIN: Duration = Duration::from_millis(50);
/// Trunks of the full state, and gateways of each.
const TRUNKS: u8 = 16;
const GATEWAYS: u8 = 8;

/// CPU time of the process's threads, in ticks: of the worker, which is the one that speaks SIP, and of all others.
fn ticks(stage: &Stage) -> (u64, u64) {
    let (mut worker, mut others) = (0, 0);
    for task in std::fs::read_dir(format!("/proc/{}/task", stage.pid())).unwrap() {
        let path = task.unwrap().path();
        // A thread may end between the two looks.
        let (Ok(name), Ok(stat)) =
            (std::fs::read_to_string(path.join("comm")), std::fs::read_to_string(path.join("stat")))
        else {
            continue;
        };
        let fields = stat.rsplit_once(')').unwrap().1;
        let spent: u64 = fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        *(if name.trim() == "worker" { &mut worker } else { &mut others }) += spent;
    }
    (worker, others)
}

/// However often somebody scrapes, the thread that speaks SIP spends nothing on it.
#[test]
fn a_scrape_runs_on_no_sip_thread() {
    let stage = Stage::start(154);
    place_calls(&stage);
    let before = ticks(&stage);
    let begun = Instant::now();
    // A second of CPU time: a hundred ticks.
    while ticks(&stage).1 < before.1 + 100 {
        assert!(begun.elapsed() < 6 * PATIENCE, "scrapes cost nothing at all");
        (0..20).for_each(|_| assert!(scraped(&stage).contains("switchyard_ready 1")));
    }
    let after = ticks(&stage);
    let (worker, others) = (after.0 - before.0, after.1 - before.1);
    assert!(worker * 20 <= others, "the worker spent {worker} ticks, all others {others}");
}

/// A configuration with as many trunks as there can be, each with gateways of its own.
fn full_configuration(network: u8) -> String {
    let mut text = format!(
        "state_dir = \"${{FOLDER}}\"\n[sip]\nlisten = [\"udp:127.0.{network}.1:5060\"]\n[probe]\ninterval = \"1s\"\n\
         timeout = \"500ms\"\n[metrics]\nlisten = \"127.0.{network}.1:9160\"\n[database]\n\
         url = \"sqlite://${{FOLDER}}/directory.db\"\n"
    );
    for (at, environment) in (3..).zip(["prod", "staging", "oss"]) {
        let targets: Vec<String> =
            (0..GATEWAYS).map(|n| format!("\"udp:127.0.{network}.{at}:{}\"", 5_060 + u32::from(n))).collect();
        write!(text, "[environments.{environment}]\ntargets = [{}]\n", targets.join(", ")).unwrap();
    }
    for trunk in 0..TRUNKS {
        let gateways: Vec<String> = (0..GATEWAYS)
            .map(|n| format!("\"udp:127.0.{network}.{}:{}\"", 100 + trunk, 5_060 + u32::from(n)))
            .collect();
        let name = if trunk == 0 { "tata".to_owned() } else { format!("trunk-{trunk}") };
        write!(text, "[[trunk]]\nname = \"{name}\"\ncaller_id = \"pass\"\ngateways = [{}]\n", gateways.join(", "))
            .unwrap();
    }
    text
}

/// Every trunk that a configuration can have, each with gateways, all of them measured and each with calls that were
/// refused for many reasons: the whole program over HTTP.
#[test]
fn a_scrape_of_full_state_takes_at_most_50_ms() {
    let stage = Stage::start_as(155, &full_configuration(155));
    let proxy = stage.proxy();
    for trunk in 0..TRUNKS {
        let gateway = UdpSocket::bind(format!("127.0.155.{}:5060", 100 + trunk)).unwrap();
        for (at, user) in ["+918065978029", "+918065978017", "+447700900001", "a", "+918065978020"].iter().enumerate() {
            let own = gateway.local_addr().unwrap();
            let call = format!("{trunk}-{at}");
            let invite = format!(
                "INVITE sip:{user}@{proxy} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{call}\r\nMax-Forwards: 70\r\n\
                 From: <sip:+447700900123@{own}>;tag=1\r\nTo: <sip:{user}@{proxy}>\r\nCall-ID: {call}\r\nCSeq: 1 INVITE\r\n\
                 Content-Length: 0\r\n\r\n"
            );
            gateway.send_to(invite.as_bytes(), proxy).unwrap();
        }
    }
    let is_down = |text: &str| {
        text.lines().filter(|line| line.starts_with("switchyard_peer_up{")).filter(|line| line.ends_with(" 0")).count()
    };
    let peers = usize::from(TRUNKS + 3) * usize::from(GATEWAYS);
    until(|| format!("{peers} peers to be down"), 3 * PATIENCE, || is_down(&scraped(&stage)) == peers);
    let text = scraped(&stage);
    let refused =
        text.lines().filter(|line| line.starts_with("switchyard_refused_total{") && !line.ends_with(" 0")).count();
    assert!(refused >= usize::from(TRUNKS) * 2, "{refused} reasons\n{text}");
    assert!(text.lines().filter(|line| !line.starts_with('#')).count() > 1_900, "{}", text.lines().count());
    // The best of some: a neighbour that takes the processor says nothing about us.
    let best = (0..40).map(|_| {
        let begun = Instant::now();
        let text = scraped(&stage);
        (begun.elapsed(), text.len())
    });
    let (best, bytes) = best.min().unwrap();
    assert!(best <= SCRAPED_WITHIN, "{best:?} for {bytes} bytes");
}

/// Answers every OPTIONS that comes here, until it is told to end.
fn answering(address: SocketAddrV4, ends: &Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let ends = Arc::clone(ends);
    std::thread::spawn(move || {
        let mut slot = [0; 4_096];
        while !ends.load(Ordering::Relaxed) {
            let Ok((length, from)) = socket.recv_from(&mut slot) else { continue };
            let asked = String::from_utf8_lossy(slot.get(..length).unwrap()).into_owned();
            let kept: String = asked
                .split("\r\n")
                .filter(|line| ["Via:", "From:", "To:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name)))
                .flat_map(|line| [line, "\r\n"])
                .collect();
            let answer = format!("SIP/2.0 200 OK\r\n{kept}Content-Length: 0\r\n\r\n");
            let _sent = socket.send_to(answer.as_bytes(), from);
        }
    })
}

#[test]
fn a_peer_that_answers_has_its_time_and_one_that_is_gone_has_none() {
    let stage = Stage::start(156);
    let (gateway, prod) = (stage.gateway(), stage.pbx("prod"));
    let ends = Arc::new(AtomicBool::new(false));
    let answers = answering(gateway, &ends);
    let config = stage.as_ref().path("switchyard.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("interval = \"0s\"", "interval = \"300ms\"\ntimeout = \"200ms\"")).unwrap();
    stage.signal(Signal::SIGHUP);
    let of = |name: &str, party: &str, peer: SocketAddrV4| -> Option<f64> {
        let start = format!("switchyard_{name}{{party=\"{party}\",peer=\"udp:{peer}\"}} ");
        let (_, body) = fetch(metrics_of(&stage), "/metrics")?;
        body.lines().find_map(|line| line.strip_prefix(&start)?.parse().ok())
    };
    let shown = || format!("up {:?}, took {:?}", of("peer_up", "tata", gateway), of("probe_seconds", "tata", gateway));
    until(shown, PATIENCE, || of("peer_up", "tata", gateway) == Some(1.0) && of("peer_up", "prod", prod) == Some(0.0));
    let took = of("probe_seconds", "tata", gateway).unwrap();
    assert!(took > 0.0 && took < 0.2, "{took}");
    assert_eq!(of("probe_seconds", "prod", prod), None, "it never answered");
    ends.store(true, Ordering::Relaxed);
    answers.join().unwrap();
    until(shown, PATIENCE, || {
        of("peer_up", "tata", gateway) == Some(0.0) && of("probe_seconds", "tata", gateway).is_some_and(f64::is_nan)
    });
}
