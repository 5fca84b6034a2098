//! Row SX19, on the real program: whoever crowds the admin listener, or is slow there, holds up no call.

use lab::sipp::{Calls, Party};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::page::House;

const NETWORK: u8 = 142;
/// A number without a limit on its calls.
const NUMBER: &str = "+918065080700";
const STREAMS: usize = 1_000;
const SLOW: usize = 100;
const PATIENCE: Duration = Duration::from_secs(120);

/// Descriptors for both ends of this many connections: the program inherits it.
fn room_for(connections: usize) {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let wanted = u64::try_from(connections * 2 + 512).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, wanted.max(soft), wanted.max(hard)).unwrap();
}

/// A connection from one of fifty clients: each has rates of its own.
async fn connect(at: usize) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("127.7.{NETWORK}.{}:0", 100 + at % 50).parse().unwrap()).unwrap();
    socket.connect(format!("127.7.{NETWORK}.1:8080").parse().unwrap()).await.unwrap()
}

struct Crowd {
    host: String,
    bearer: String,
}

impl Crowd {
    fn head(&self, method: &str, path: &str, more: &str) -> String {
        let Crowd { host, bearer } = self;
        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {bearer}\r\n{more}\r\n")
    }

    /// A stream of events that has begun.
    async fn listener(&self, at: usize) -> TcpStream {
        let path = ["/admin/events", "/admin/calls/events", "/admin/dids/events"][at % 3];
        let mut stream = connect(at).await;
        stream.write_all(self.head("GET", path, "").as_bytes()).await.unwrap();
        let mut head = [0; 12];
        timeout(PATIENCE, stream.read_exact(&mut head)).await.unwrap().unwrap();
        assert_eq!(&head, b"HTTP/1.1 200", "stream {at}");
        stream
    }

    /// One who is slow in some way, and what he has sent so far.
    async fn slow(&self, at: usize) -> TcpStream {
        let mut stream = connect(at).await;
        let change = "/api/v1/dids/+918065978002/environment";
        let json = "If-Match: *\r\nContent-Type: application/json\r\n";
        let sent = match at % 4 {
            // His headers do not end.
            0 => "GET /api/v1/status HTTP/1.1\r\nX-Slow: ".to_owned(),
            // His body does not come.
            1 => self.head("PUT", change, &format!("{json}Content-Length: 60000\r\n")) + "{",
            // He reads nothing of many large answers.
            2 => self.head("GET", "/admin/dids", "").repeat(8),
            // His body is far too large.
            _ => self.head("PUT", change, &format!("{json}Content-Length: 50000000\r\n")) + &"x".repeat(100_000),
        };
        // Who is refused early may be closed while he writes.
        let _written = timeout(Duration::from_millis(200), stream.write_all(sent.as_bytes())).await;
        stream
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sx19_a_thousand_streams_and_slow_clients_hold_up_no_call() {
    room_for(STREAMS + SLOW);
    let house = House::open(NETWORK).await;
    let made = house.stage.json(&["token", "add", "crowd", "--role", "operator", "--reason", "a test of the crowd"]);
    let bearer = made["token"].as_str().unwrap().to_owned();
    let crowd = Crowd { host: format!("127.7.{NETWORK}.1:8080"), bearer };
    let mut streams = Vec::new();
    for at in 0..STREAMS {
        streams.push(crowd.listener(at).await);
    }
    let mut slow = Vec::new();
    for at in 0..SLOW {
        slow.push(crowd.slow(at).await);
    }

    let address = |host: u8, port: u16| format!("127.7.{NETWORK}.{host}:{port}").parse().unwrap();
    let calls = Calls { number: NUMBER, count: 300, per_second: 50, more: &[] };
    Party::caller(&house.place, "busy", address(2, 5_071), address(1, 5_060), calls).succeeded();

    // All are still there, and each hears of what somebody changes.
    house.stage.done(&["did", "set", NUMBER, "staging", "--reason", "they shall hear it"]);
    for (at, stream) in streams.iter_mut().enumerate() {
        let heard = async {
            let (mut text, mut slot) = (String::new(), [0; 4_096]);
            while !text.contains("event: changed") {
                let length = stream.read(&mut slot).await.unwrap();
                assert_ne!(length, 0, "stream {at} has ended: {text}");
                text.push_str(&String::from_utf8_lossy(&slot[..length]));
            }
        };
        timeout(PATIENCE, heard).await.unwrap_or_else(|_| panic!("stream {at} hears nothing"));
    }
    // Whoever is not slow is answered all the while.
    assert_eq!(house.stage.json(&["did", "show", NUMBER])["environment"], "staging");
    drop(slow);
}
