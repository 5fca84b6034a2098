//! What is kept of calls, by the real program: a call over real sockets, the verbs that show it, the stream of those that
//! end, and the file of records.
#![expect(clippy::unwrap_used, reason = "the lint's leave for tests does not reach the functions they share")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

/// A running `switchyard`, between a gateway and a PBX that the test plays by hand.
struct Running {
    child: Child,
    proxy: SocketAddr,
    gateway: UdpSocket,
    pbx: UdpSocket,
    folder: tempfile::TempDir,
}

impl Running {
    fn start() -> Running {
        Running::with("", None)
    }

    /// With more in its configuration, and a webhook.
    fn with(more: &str, webhook: Option<&str>) -> Running {
        let bound = |ip: &str| {
            let socket = UdpSocket::bind((ip, 0)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket
        };
        let (gateway, pbx) = (bound("127.0.0.71"), bound("127.0.0.72"));
        let proxy = bound("127.0.0.73").local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().display();
        let (from, to) = (gateway.local_addr().unwrap(), pbx.local_addr().unwrap());
        let config = format!(
            "state_dir = \"{state}\"\n[sip]\nlisten = [\"udp:{proxy}\"]\n[[trunk]]\nname = \"tata\"\n\
             gateways = [\"udp:{from}\"]\n[probe]\ninterval = \"0s\"\n\
             [environments.prod]\ntargets = [\"udp:{to}\"]\n[database]\nurl = \"sqlite://{state}/directory.db\"\n{more}\n"
        );
        std::fs::write(folder.path().join("switchyard.toml"), config).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let scripts = [sync::schema::SQLITE_TABLES, sync::schema::ROWS];
        runtime.block_on(sync::schema::run(&folder.path().join("directory.db"), &scripts)).unwrap();
        let mut child = program();
        child.envs(webhook.map(|url| ("CALL_LOG_WEBHOOK_URL", url)));
        child.args(["run", "--config"]).arg(folder.path().join("switchyard.toml"));
        let child = child.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let running = Running { child, proxy, gateway, pbx, folder };
        let is_loaded =
            || String::from_utf8_lossy(&running.ask(&["status", "-o", "json"]).stdout).contains("\"loaded\": true");
        running.wait_for("it serves with a directory", is_loaded);
        running
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn ask(&self, words: &[&str]) -> Output {
        program().args(words).arg("--config").arg(self.file("switchyard.toml")).output().unwrap()
    }

    fn told(&self, words: &[&str]) -> String {
        let output = self.ask(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn wait_for(&self, what: &str, is_so: impl Fn() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < until, "{what}: it did not come about");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// One call from the gateway that the PBX refuses as busy.
    fn busy_call(&self, call_id: &str) {
        let from = self.gateway.local_addr().unwrap();
        let invite = format!(
            "INVITE sip:08065978000@{} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{call_id}\r\nMax-Forwards: 70\r\n\
             From: <sip:+447700900123@{from}>;tag={call_id}\r\nTo: <sip:08065978000@{}>\r\nCall-ID: {call_id}\r\n\
             CSeq: 1 INVITE\r\nContact: <sip:{from}>\r\nContent-Length: 0\r\n\r\n",
            self.proxy, self.proxy
        );
        self.gateway.send_to(invite.as_bytes(), self.proxy).unwrap();
        let arrived = next(&self.pbx, "INVITE");
        let mut busy = "SIP/2.0 486 Busy Here\r\n".to_owned();
        for line in arrived.split("\r\n").skip(1).take_while(|line| !line.is_empty()) {
            match line.split(':').next().unwrap_or_default() {
                "To" => busy.push_str(&format!("{line};tag=pbx\r\n")),
                "Via" | "From" | "Call-ID" | "CSeq" => busy.push_str(&format!("{line}\r\n")),
                _ => {}
            }
        }
        busy.push_str("Content-Length: 0\r\n\r\n");
        self.pbx.send_to(busy.as_bytes(), self.proxy).unwrap();
        next(&self.gateway, "SIP/2.0 486");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _waited = self.child.wait();
    }
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
    command.env_remove("RUST_LOG").env_remove("ASTRADIAL_ENV").env_remove("CALL_LOG_WEBHOOK_URL");
    command
}

/// The next message that begins so.
fn next(socket: &UdpSocket, start: &str) -> String {
    let mut buffer = vec![0; 65_536];
    loop {
        let length = socket.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(buffer.get(..length).unwrap()).into_owned();
        if text.starts_with(start) {
            return text;
        }
    }
}

#[test]
fn a_call_is_found_followed_drawn_captured_and_written_down() {
    let running = Running::start();
    let mut stream = UnixStream::connect(running.file("switchyard.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /api/v1/calls/follow?filter=outcome%3Dfailed HTTP/1.1\r\nHost: switchyard\r\n\r\n").unwrap();
    let mut events = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(events.read_line(&mut head).unwrap() > 0);
    }
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"), "{head}");
    running.busy_call("first");
    let mut event = String::new();
    while !event.contains("data: ") {
        event.clear();
        assert!(events.read_line(&mut event).unwrap() > 0);
    }
    assert!(event.contains("\"call_id\":\"first\"") && event.contains("\"outcome\":\"busy\""), "{event}");

    let (svg, pcap) = (running.file("call.svg"), running.file("call.pcap"));
    let told = running.told(&["call", "first", "--svg", svg.to_str().unwrap(), "--pcap", pcap.to_str().unwrap()]);
    for part in
        ["08065978000 from tata", "1. sender", "=> prod at udp:", "busy with 486", "ended by final", "- INVITE --"]
    {
        assert!(told.contains(part), "{part} is missing in\n{told}");
    }
    assert!(std::fs::read_to_string(svg).unwrap().starts_with("<svg "));
    let read = Command::new("tcpdump").args(["-nn", "-r"]).arg(pcap).output().unwrap();
    let packets = String::from_utf8_lossy(&read.stdout).into_owned();
    assert!(packets.lines().filter(|line| line.contains(&running.proxy.port().to_string())).count() >= 5, "{packets}");
    assert!(running.told(&["call", "--number", "+447700900123"]).starts_with("first\n"));
    assert_eq!(running.ask(&["call", "nobody's"]).status.code(), Some(3));

    let found = running.told(&["calls", "--filter", "did=918065978000,outcome=failed"]);
    assert!(found.contains("486") && found.contains("first"), "{found}");
    assert!(running.told(&["calls", "--filter", "outcome=answered"]).contains("no such call"));
    let wrong = running.ask(&["calls", "--filter", "colour=red"]);
    assert!(!wrong.status.success() && String::from_utf8_lossy(&wrong.stderr).contains("expected one of did"));

    let written = running.file("calls/calls.jsonl");
    running.wait_for("the record is written", || {
        std::fs::read_to_string(&written).is_ok_and(|text| text.contains("first"))
    });
}

#[test]
fn following_ends_by_itself_after_so_many_calls_or_so_much_time() {
    let running = Running::start();
    let mut follow = program();
    follow.args(["calls", "--follow", "--count", "2", "--for", "60s", "-o", "json", "--config"]);
    let mut follow = follow.arg(running.file("switchyard.toml")).stdout(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    let mut calls = 0;
    while follow.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < PATIENCE, "it follows without end");
        running.busy_call(&format!("call{calls}"));
        calls += 1;
        std::thread::sleep(Duration::from_millis(300));
    }
    let mut lines = String::new();
    follow.stdout.take().unwrap().read_to_string(&mut lines).unwrap();
    assert_eq!(lines.lines().count(), 2, "{lines}");
    assert!(lines.lines().all(|line| line.contains("\"outcome\":\"busy\"")), "{lines}");
    let began = Instant::now();
    running.told(&["calls", "--follow", "--for", "1s"]);
    assert!(began.elapsed() >= Duration::from_secs(1) && began.elapsed() < PATIENCE);
}

/// To a real server over HTTP, and to a real file that has no table at first: what waits is written when it has one.
#[test]
fn records_reach_the_webhook_and_the_database() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/calls", listener.local_addr().unwrap());
    let (posted, posts) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let (mut line, mut length) = (String::new(), 0);
            while reader.read_line(&mut line).unwrap() > 2 {
                length = line.strip_prefix("Content-Length: ").map_or(length, |value| value.trim().parse().unwrap());
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
            if posted.send(String::from_utf8(body).unwrap()).is_err() {
                return;
            }
        }
    });
    let running = Running::with("[records]\ndatabase = true", Some(&url));
    running.busy_call("first");
    let body = posts.recv_timeout(PATIENCE).unwrap();
    assert!(body.starts_with("[{") && body.ends_with("}]") && body.contains("\"call_id\":\"first\""), "{body}");
    assert!(body.contains("\"organisation\":\""), "{body}");
    let database = format!("sqlite://{}", running.file("directory.db").display());
    running.told(&["db", "migrate", "--url", &database]);
    running.busy_call("second");
    let asked = "SELECT call_id, called, outcome, status, json_extract(record_json, '$.outcome') FROM switchyard_calls";
    let rows = || {
        let read = Command::new("sqlite3").arg(running.file("directory.db")).arg(asked).output().unwrap();
        String::from_utf8(read.stdout).unwrap()
    };
    running.wait_for("both are written", || rows().lines().count() == 2);
    assert_eq!(rows(), "first|+918065978000|busy|486|busy\nsecond|+918065978000|busy|486|busy\n");
}
