//! `switchyard doctor` on the node `prod`: what it says of tunnels that are whole, narrow, and cut.

use crate::site::{Site, sip};
use lab::program::CONFIGURATION;
use lab::{Impairment, Node};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A node's PBX or gateway, as far as a doctor looks: it answers whatever comes.
fn answer(site: &Site, node: Node, is_over: &Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    let socket = site.socket(node, sip(node));
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let is_over = Arc::clone(is_over);
    std::thread::spawn(move || {
        let mut slot = [0; 2_048];
        while !is_over.load(Ordering::Relaxed) {
            if let Ok((_, from)) = socket.recv_from(&mut slot) {
                let _sent = socket.send_to(b"SIP/2.0 404 Not Found\r\nContent-Length: 0\r\n\r\n", from);
            }
        }
    })
}

/// What it says of one thing: verdict and words, one line for each.
fn told(site: &Site, what: &str) -> Vec<String> {
    let place = site.place(Node::Prod);
    let mut command = place.command(env!("CARGO_BIN_EXE_switchyard"));
    command.args(["doctor", "-o", "json", "--config"]).arg(place.path("switchyard.toml")).env_remove("ASTRADIAL_ENV");
    let output = command.output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let of = |finding: &Value, key: &str| finding.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let all = report.get("findings").and_then(Value::as_array).unwrap();
    let about = all.iter().filter(|finding| of(finding, "what") == what);
    about.map(|finding| format!("{}: {}", of(finding, "verdict"), of(finding, "found"))).collect()
}

/// Row W4.
#[test]
fn w4_the_doctor_sees_what_a_tunnel_carries_and_when_it_last_shook_hands() {
    let configuration = CONFIGURATION.replace("interface = \"wg0\"\n", "interface = \"wg0\"\nwireguard = \"wg0\"\n");
    let site = Site::with(48, &configuration);
    let is_over = Arc::new(AtomicBool::new(false));
    let answering = [Node::Nuc, Node::Prod, Node::Staging, Node::Oss].map(|node| answer(&site, node, &is_over));
    let limits = told(&site, "limits");
    assert!(limits.len() == 1 && limits[0].starts_with("good: "), "{limits:?}");
    let whole = told(&site, "datagrams");
    assert_eq!(whole.len(), 4, "{whole:?}");
    for node in [Node::Nuc, Node::Prod, Node::Staging, Node::Oss] {
        let expected = format!("good: 1392 bytes reach {} uncut", sip(node));
        assert!(whole.contains(&expected), "{expected}: {whole:?}");
    }
    // The datagrams have shaken hands on every way.
    let shaken = told(&site, "handshake");
    assert_eq!(shaken.len(), 3, "{shaken:?}");
    assert!(
        shaken.iter().all(|line| line.starts_with("good: wg0: ") && line.contains(" s ago on the way to 10.10.10."))
    );
    // The other end's way back does not matter to what we send; our own does.
    site.lab.ran(Node::Prod, "ip", &["link", "set", "dev", "wg0", "mtu", "1280"]).unwrap();
    let narrow = told(&site, "datagrams");
    let expected = format!("bad: to {} at most 1252 bytes pass uncut: INVITEs are larger", sip(Node::Staging));
    assert!(narrow.contains(&expected), "{narrow:?}");
    site.lab.ran(Node::Prod, "ip", &["link", "set", "dev", "wg0", "mtu", "1420"]).unwrap();
    // A path that loses what is large and says nothing.
    site.lab.relay().impair_path(Node::Staging, Impairment { mtu_bytes: 1_300, ..Impairment::CLEAN });
    let vanishing = told(&site, "datagrams");
    let expected = format!("bad: {} answers small datagrams and none of 1392 bytes", sip(Node::Staging));
    assert!(vanishing.iter().any(|line| line.starts_with(&expected)), "{vanishing:?}");
    // A tunnel that is taken away.
    let key = site.lab.ran(Node::Prod, "wg", &["show", "wg0", "allowed-ips"]).unwrap();
    let oss = key.lines().find(|line| line.contains(&Node::Oss.address().to_string())).unwrap();
    let oss = oss.split('\t').next().unwrap();
    site.lab.ran(Node::Prod, "wg", &["set", "wg0", "peer", oss, "remove"]).unwrap();
    let no_way = "bad: wg0 has no peer whose AllowedIPs hold 10.10.10.4".to_owned();
    assert!(told(&site, "handshake").contains(&no_way));
    is_over.store(true, Ordering::Relaxed);
    for thread in answering {
        thread.join().unwrap();
    }
}
