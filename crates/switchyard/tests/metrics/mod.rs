//! What Prometheus sees of the real program: its own promtool and server say whether it is right.
mod scrapes;

use crate::stage::Stage;
use lab::process::{PATIENCE, Process, text_of, until};
use lab::sipp::{Calls, Party};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use telemetry::{Kind, catalogue};

/// The status line and the body of an answer.
fn fetch(address: SocketAddrV4, path: &str) -> Option<(String, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // With 1.0 the body is not chunked.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some((head.lines().next()?.to_owned(), body.to_owned()))
}

fn metrics_of(stage: &Stage) -> SocketAddrV4 {
    SocketAddrV4::new(*stage.proxy().ip(), 9160)
}

fn scraped(stage: &Stage) -> String {
    let (status, body) = fetch(metrics_of(stage), "/metrics").unwrap();
    assert_eq!(status, "HTTP/1.0 200 OK");
    body
}

/// Calls to a DID of prod and to one of nobody.
fn place_calls(stage: &Stage) {
    let callee = Party::callee(stage, "call", stage.pbx("prod"), 3);
    for _ in 0..3 {
        Party::caller(stage, "call", stage.gateway(), stage.proxy(), Calls::one("+918065978000")).succeeded();
    }
    callee.succeeded();
}

fn promtool(arguments: &[&str], input: Option<&str>) -> Output {
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|fault| {
        panic!("promtool does not start: {fault}; `cargo xtask test` installs Debian's prometheus")
    });
    child.stdin.take().unwrap().write_all(input.unwrap_or_default().as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(name)
}

#[test]
fn promtool_finds_no_fault_in_a_scrape_after_calls() {
    let stage = Stage::start(90);
    place_calls(&stage);
    let begun = Instant::now();
    let text = scraped(&stage);
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(2), "a scrape took {took:?}");
    let checked = promtool(&["check", "metrics"], Some(&text));
    let said = String::from_utf8_lossy(&checked.stderr).into_owned() + &String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success() && said.is_empty(), "{said}\n{text}");
    for line in [
        "switchyard_ready 1",
        "switchyard_peers{party=\"prod\",standing=\"usable\"} 1",
        "switchyard_peers{party=\"prod\",standing=\"down\"} 0",
        "switchyard_overlays{kind=\"lease\"} 0",
        "switchyard_log_lost_lines_total 0",
        "switchyard_hep_on 0",
        "switchyard_hep_messages_total{outcome=\"lost\"} 0",
        "switchyard_stray_media_total{party=\"prod\"} 0",
        "switchyard_calls_total{direction=\"inbound\"} 3",
        "switchyard_setups_total{party=\"prod\",direction=\"inbound\",outcome=\"answered\"} 3",
        "switchyard_requests_total{party=\"tata\",method=\"INVITE\"} 3",
        "switchyard_requests_total{party=\"tata\",method=\"BYE\"} 3",
        "switchyard_setup_seconds_count{direction=\"inbound\"} 3",
        "switchyard_post_dial_delay_seconds_count{direction=\"inbound\"} 3",
        "switchyard_setup_seconds_count{direction=\"outbound\"} 0",
        "switchyard_queue_depth{queue=\"call_journal\"} 0",
        "switchyard_queue_room{queue=\"records\"} 1024",
        "switchyard_queue_room{queue=\"log\"} 4096",
        "switchyard_udp_receive_queue_bytes 0",
        "switchyard_directory_apply_seconds_count 1",
        "switchyard_refused_total{party=\"tata\",reason=\"unknown_did\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
    // Numbers, callers and Call-IDs are never a label.
    assert!(!text.contains("918065978"), "{text}");
}

#[test]
fn health_and_readiness_say_what_a_supervisor_asks() {
    let stage = Stage::start(91);
    assert_eq!(fetch(metrics_of(&stage), "/healthz").unwrap(), ("HTTP/1.0 200 OK".into(), "alive\n".into()));
    assert_eq!(fetch(metrics_of(&stage), "/readyz").unwrap(), ("HTTP/1.0 200 OK".into(), "ready\n".into()));
    let (status, _) = fetch(metrics_of(&stage), "/api/v1/status").unwrap();
    assert_eq!(status, "HTTP/1.0 404 Not Found");
}

/// A real Prometheus that scrapes one program, with our rules.
struct Prometheus {
    web: SocketAddrV4,
    log: PathBuf,
    _process: Process,
}

impl Prometheus {
    /// One with its files in this folder and its own pages at this address.
    fn start(folder: &Path, web: SocketAddrV4, scraped: SocketAddrV4) -> Prometheus {
        let config = std::fs::read_to_string(deploy("prometheus/scrape.yml")).unwrap();
        let config = config.replace("127.0.0.1:9160", &scraped.to_string()).replace(" 5s", " 1s");
        std::fs::write(folder.join("scrape.yml"), config).unwrap();
        std::fs::copy(deploy("prometheus/alerts.yml"), folder.join("alerts.yml")).unwrap();
        let log = folder.join("prometheus.log");
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", folder.join("scrape.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()));
        command.arg(format!("--web.listen-address={web}"));
        let process = Process::start(&mut command, &log, "prometheus");
        Prometheus { web, log, _process: process }
    }

    fn asked(&self, path: &str) -> Option<Value> {
        serde_json::from_str(&fetch(self.web, path)?.1).ok()
    }

    fn value(&self, query: &str) -> Option<f64> {
        let answer = self.asked(&format!("/api/v1/query?query={query}"))?;
        answer.pointer("/data/result/0/value/1")?.as_str()?.parse().ok()
    }

    /// Waits until its rules have been looked at; what became of them.
    fn rules(&self) -> String {
        let rules = || self.asked("/api/v1/rules").map(|rules| rules.to_string()).unwrap_or_default();
        until(|| "the rules to be evaluated".to_owned(), 2 * PATIENCE, || rules().contains("\"health\":\"ok\""));
        rules()
    }
}

#[test]
fn a_real_prometheus_scrapes_it_and_its_rules_are_quiet() {
    let stage = Stage::start(197);
    let web = SocketAddrV4::new(*stage.proxy().ip(), 9161);
    let prometheus = Prometheus::start(&stage.as_ref().path(""), web, metrics_of(&stage));
    place_calls(&stage);
    until(
        || format!("three calls in Prometheus\n{}", text_of(&prometheus.log)),
        2 * PATIENCE,
        || prometheus.value("sum(switchyard_setups_total)") == Some(3.0) && prometheus.value("up") == Some(1.0),
    );
    let rules = prometheus.rules();
    assert!(!rules.contains("\"health\":\"err\"") && !rules.contains("\"state\":\"firing\""), "{rules}");
}

/// What README's first command starts is scraped as it stands: its calls arrive in Prometheus while they flow.
#[test]
fn a_real_prometheus_scrapes_the_demo() {
    const BEFORE: &str = "what it counts: http://";
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("demo.log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
    command.arg("demo").env("TMPDIR", folder.path()).env_remove("ASTRADIAL_ENV");
    let _demo = Process::start(&mut command, &log, "switchyard");
    let metrics = || -> Option<SocketAddrV4> {
        let text = text_of(&log);
        text.lines().find_map(|line| line.split_once(BEFORE)?.1.strip_suffix("/metrics")?.parse().ok())
    };
    until(|| format!("the demo's metrics\n{}", text_of(&log)), 2 * PATIENCE, || metrics().is_some());
    let web = SocketAddrV4::new("127.0.229.1".parse().unwrap(), 9161);
    let prometheus = Prometheus::start(folder.path(), web, metrics().unwrap());
    let calls = || prometheus.value("sum(switchyard_setups_total)").unwrap_or_default();
    until(
        || format!("the demo's calls in Prometheus\n{}{}", text_of(&prometheus.log), text_of(&log)),
        4 * PATIENCE,
        || calls() >= 10.0 && prometheus.value("up") == Some(1.0),
    );
    let seen = calls();
    until(|| "the flow of calls".to_owned(), 4 * PATIENCE, || calls() > seen);
    assert!(!prometheus.rules().contains("\"health\":\"err\""));
}

#[test]
fn every_alert_fires_on_what_it_is_for_and_has_its_runbook() {
    let tested = promtool(&["test", "rules", &deploy("prometheus/alerts.test.yml").display().to_string()], None);
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stderr));
    let rules = std::fs::read_to_string(deploy("prometheus/alerts.yml")).unwrap();
    let tests = std::fs::read_to_string(deploy("prometheus/alerts.test.yml")).unwrap();
    let page = std::fs::read_to_string(deploy("../docs/how-to/alerts.md")).unwrap();
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10);
    for alert in alerts {
        assert!(tests.contains(&format!("name: {alert} fires")), "{alert} has no test");
        assert!(page.contains(&format!("\n## {alert}\n")), "{alert} has no runbook");
        assert!(rules.contains(&format!("docs/how-to/alerts.md#{}\n", alert.to_lowercase())), "{alert} has no link");
    }
}

/// A query that names what nobody measures is a panel that stays empty on the night when it is needed.
#[test]
fn every_query_of_the_dashboard_and_the_rules_names_a_metric_that_exists() {
    let known: BTreeSet<String> = catalogue::FAMILIES
        .iter()
        .chain(&catalogue::READINGS)
        .map(|family| family.name.to_owned())
        .chain(catalogue::HISTOGRAMS.iter().flat_map(|family| {
            assert_eq!(family.kind, Kind::Histogram);
            ["bucket", "sum", "count"].map(|part| format!("{}_{part}", family.name))
        }))
        .collect();
    let dashboard: Value =
        serde_json::from_str(&std::fs::read_to_string(deploy("grafana/switchyard.json")).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries: Vec<&str> = targets.map(|target| target["expr"].as_str().unwrap()).collect();
    assert!(queries.len() > 20);
    let rules = std::fs::read_to_string(deploy("prometheus/alerts.yml")).unwrap();
    let mut named = BTreeSet::new();
    let expressions = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    for query in queries.into_iter().chain(expressions) {
        let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let found: Vec<&str> = words.filter(|word| word.starts_with("switchyard_")).collect();
        assert!(!found.is_empty() || query.contains("up{"), "{query}");
        named.extend(found.into_iter().map(str::to_owned));
    }
    let unknown: Vec<&String> = named.difference(&known).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
