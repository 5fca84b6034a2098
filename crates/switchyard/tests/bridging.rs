//! A gateway on UDP and a PBX on TCP, with the whole service between them.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "the lint's leave for tests does not reach the functions they share"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;
use switchyard::service::Service;
use switchyard::{config, keys_file};

const PATIENCE: Duration = Duration::from_secs(5);

struct Bench {
    runtime: tokio::runtime::Runtime,
    service: Service,
    proxy: SocketAddr,
    gateway: UdpSocket,
    pbx: TcpListener,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        Bench::over("tcp")
    }

    /// The PBX is a peer of this transport.
    fn over(transport: &str) -> Bench {
        Bench::with_second(transport, "")
    }

    /// The same, with these targets behind the PBX: each with a comma before it.
    fn with_second(transport: &str, others: &str) -> Bench {
        let gateway = UdpSocket::bind("127.0.0.51:0").unwrap();
        gateway.set_read_timeout(Some(PATIENCE)).unwrap();
        let pbx = TcpListener::bind(free_on_both("127.0.0.52")).unwrap();
        let proxy = free_on_both("127.0.0.53");
        let folder = tempfile::tempdir().unwrap();
        let (state, from, to) = (folder.path().display(), gateway.local_addr().unwrap(), pbx.local_addr().unwrap());
        let text = format!(
            "state_dir = \"{state}\"\n[sip]\nlisten = [\"udp:{proxy}\", \"tcp:{proxy}\"]\n\
             [[trunk]]\nname = \"tata\"\ngateways = [\"udp:{from}\"]\n\
             [probe]\ninterval = \"0s\"\n[environments.prod]\ntargets = [\"{transport}:{to}\"{others}]\n\
             [database]\nurl = \"sqlite://{state}/directory.db\"\n"
        );
        let configuration = config::read("test", &text, &|_| None).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let service = runtime.block_on(async {
            let scripts = [sync::schema::SQLITE_TABLES, sync::schema::ROWS];
            sync::schema::run(&folder.path().join("directory.db"), &scripts).await.unwrap();
            let keys = keys_file::open(folder.path()).unwrap();
            Service::start(configuration, keys, None).await.unwrap()
        });
        Bench { runtime, service, proxy, gateway, pbx, _folder: folder }
    }

    fn end(self) {
        self.runtime.block_on(self.service.stop());
    }

    fn invite(&self, call_id: &str) -> String {
        let (local, proxy) = (self.gateway.local_addr().unwrap(), self.proxy);
        format!(
            "INVITE sip:+918065978000@{proxy} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{call_id};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:+447700900123@{local}>;tag=1\r\nTo: <sip:+918065978000@{proxy}>\r\n\
             Call-ID: {call_id}\r\nCSeq: 1 INVITE\r\nContact: <sip:{local}>\r\nContent-Length: 0\r\n\r\n"
        )
    }

    /// What the gateway hears next, beside 100.
    fn heard(&self) -> String {
        let mut slot = [0; 8_192];
        loop {
            let (len, _) = self.gateway.recv_from(&mut slot).expect("nothing arrived");
            let text = String::from_utf8_lossy(&slot[..len]).into_owned();
            if !text.starts_with("SIP/2.0 100 ") {
                return text;
            }
        }
    }
}

/// An address whose port is free on UDP and on TCP.
fn free_on_both(ip: &str) -> SocketAddr {
    let mut found = (0..100).filter_map(|_| {
        let address = TcpListener::bind((ip, 0)).ok()?.local_addr().ok()?;
        UdpSocket::bind(address).ok()?;
        Some(address)
    });
    found.next().expect("no port is free")
}

/// One message without a body.
fn read(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

fn header<'t>(message: &'t str, name: &str) -> Vec<&'t str> {
    message.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).collect()
}

/// The answer of the PBX: its To tag and its Contact on TCP.
fn accept(invite: &str, pbx: SocketAddr) -> String {
    let kept: String = ["Via", "Record-Route", "From", "Call-ID", "CSeq"]
        .iter()
        .flat_map(|name| header(invite, name).into_iter().map(move |value| format!("{name}: {value}\r\n")))
        .collect();
    let to = header(invite, "To")[0];
    format!("SIP/2.0 200 OK\r\n{kept}To: {to};tag=2\r\nContact: <sip:{pbx};transport=tcp>\r\nContent-Length: 0\r\n\r\n")
}

#[test]
fn a_call_passes_from_udp_to_tcp_and_both_sides_can_end_it() {
    let bench = Bench::new();
    let pbx = bench.pbx.local_addr().unwrap();
    bench.gateway.send_to(bench.invite("bridged").as_bytes(), bench.proxy).unwrap();
    let (mut stream, _) = bench.pbx.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let invite = read(&mut stream);
    assert!(header(&invite, "Via")[0].starts_with(&format!("SIP/2.0/TCP {}", bench.proxy)), "{invite}");
    // Each side gets a route on its own transport (RFC 5658).
    let routes = header(&invite, "Record-Route").join(",");
    assert_eq!(routes.matches("transport=tcp").count(), 1, "{invite}");
    assert_eq!(routes.matches("<sip:").count(), 2, "{invite}");

    stream.write_all(accept(&invite, pbx).as_bytes()).unwrap();
    let accepted = bench.heard();
    assert!(accepted.starts_with("SIP/2.0 200 OK\r\n"), "{accepted}");
    assert_eq!(header(&accepted, "Via").len(), 1, "{accepted}");

    // ACK by the recorded route, from UDP to TCP.
    let routes: Vec<&str> =
        header(&accepted, "Record-Route").iter().flat_map(|line| line.split(',')).map(str::trim).collect();
    let reversed: String = routes.iter().rev().map(|route| format!("Route: {route}\r\n")).collect();
    let local = bench.gateway.local_addr().unwrap();
    let ack = format!(
        "ACK sip:{pbx};transport=tcp SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKack;rport\r\n{reversed}\
         Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: bridged\r\nCSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n",
        header(&accepted, "From")[0],
        header(&accepted, "To")[0]
    );
    bench.gateway.send_to(ack.as_bytes(), bench.proxy).unwrap();
    let ack = read(&mut stream);
    assert!(ack.starts_with(&format!("ACK sip:{pbx};transport=tcp SIP/2.0\r\n")), "{ack}");
    assert_eq!(header(&ack, "Route").len(), 0, "{ack}");

    // BYE from the PBX, on the connection that the proxy opened, from TCP to UDP.
    let routes: String = header(&invite, "Record-Route").iter().map(|route| format!("Route: {route}\r\n")).collect();
    let bye = format!(
        "BYE sip:{local} SIP/2.0\r\nVia: SIP/2.0/TCP {pbx};branch=z9hG4bKbye\r\n{routes}Max-Forwards: 70\r\n\
         From: {};tag=2\r\nTo: {}\r\nCall-ID: bridged\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n",
        header(&invite, "To")[0],
        header(&invite, "From")[0]
    );
    stream.write_all(bye.as_bytes()).unwrap();
    let bye = bench.heard();
    assert!(bye.starts_with(&format!("BYE sip:{local} SIP/2.0\r\n")), "{bye}");
    assert!(header(&bye, "Via")[0].starts_with(&format!("SIP/2.0/UDP {}", bench.proxy)), "{bye}");
    bench.end();
}

/// Row W3: a PBX that does not listen costs the caller one refused connect, not a time-out.
#[test]
fn w3_a_refused_connection_ends_the_call_at_once() {
    let Bench { runtime, service, proxy, gateway, pbx, _folder } = Bench::new();
    drop(pbx);
    let closed = TcpListener::bind("127.0.0.52:0").unwrap();
    let bench = Bench { runtime, service, proxy, gateway, pbx: closed, _folder };
    let asked = std::time::Instant::now();
    bench.gateway.send_to(bench.invite("refused").as_bytes(), bench.proxy).unwrap();
    let answer = bench.heard();
    assert!(answer.starts_with("SIP/2.0 5") || answer.starts_with("SIP/2.0 4"), "{answer}");
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    bench.end();
}

/// The PBX's UDP socket, at the address of its TCP listener.
fn datagrams(bench: &Bench) -> UdpSocket {
    let socket = UdpSocket::bind(bench.pbx.local_addr().unwrap()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn heard_by(socket: &UdpSocket) -> String {
    let mut slot = [0; 8_192];
    let (len, _) = socket.recv_from(&mut slot).expect("no datagram arrived");
    String::from_utf8_lossy(&slot[..len]).into_owned()
}

/// An INVITE that is longer than 1,300 bytes once it is forwarded.
fn large(invite: &str) -> String {
    invite.replace("Max-Forwards", &format!("X-Large: {}\r\nMax-Forwards", "x".repeat(1_000)))
}

/// Row TP1: the large INVITE goes by TCP, its answer comes back by the connection; the small one goes by UDP.
#[test]
fn tp1_a_large_invite_goes_by_tcp_and_a_small_one_by_udp() {
    let bench = Bench::over("auto");
    let pbx = datagrams(&bench);
    bench.gateway.send_to(large(&bench.invite("large")).as_bytes(), bench.proxy).unwrap();
    let (mut stream, _) = bench.pbx.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let invite = read(&mut stream);
    assert!(header(&invite, "Via")[0].starts_with(&format!("SIP/2.0/TCP {}", bench.proxy)), "{invite}");
    assert_eq!(header(&invite, "Record-Route").len(), 1, "{invite}");
    assert!(!invite.contains("transport=tcp"), "{invite}");
    stream.write_all(accept(&invite, bench.pbx.local_addr().unwrap()).as_bytes()).unwrap();
    assert!(bench.heard().starts_with("SIP/2.0 200 OK\r\n"));
    bench.gateway.send_to(bench.invite("small").as_bytes(), bench.proxy).unwrap();
    let invite = heard_by(&pbx);
    assert!(header(&invite, "Via")[0].starts_with(&format!("SIP/2.0/UDP {}", bench.proxy)), "{invite}");
    bench.end();
}

/// Row TP1: a PBX that refuses TCP gets the same INVITE by UDP, at once and on the same branch; the next one goes by UDP
/// from the start, though TCP would be taken now.
#[test]
fn tp1_refused_tcp_is_udp_and_that_is_remembered() {
    let mut bench = Bench::over("auto");
    let pbx = datagrams(&bench);
    let address = bench.pbx.local_addr().unwrap();
    // Another listener takes the place of the one that is closed here, so that its port stays refused.
    drop(std::mem::replace(&mut bench.pbx, TcpListener::bind("127.0.0.52:0").unwrap()));
    let asked = std::time::Instant::now();
    bench.gateway.send_to(large(&bench.invite("refused")).as_bytes(), bench.proxy).unwrap();
    let invite = heard_by(&pbx);
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert!(header(&invite, "Via")[0].starts_with(&format!("SIP/2.0/UDP {}", bench.proxy)), "{invite}");
    pbx.send_to(accept(&invite, address).as_bytes(), bench.proxy).unwrap();
    assert!(bench.heard().starts_with("SIP/2.0 200 OK\r\n"));

    let taken = TcpListener::bind(address).unwrap();
    taken.set_nonblocking(true).unwrap();
    bench.gateway.send_to(large(&bench.invite("remembered")).as_bytes(), bench.proxy).unwrap();
    let invite = heard_by(&pbx);
    assert_eq!(header(&invite, "Call-ID"), ["remembered"], "{invite}");
    assert!(taken.accept().is_err(), "no connection was tried");
    bench.end();
}

/// Rows TP1 and W3: a PBX that takes the connection, and resets it before it answers, gets the INVITE by UDP as what it is:
/// the same one once more.
#[test]
fn tp1_w3_a_reset_is_udp_on_the_same_branch() {
    let bench = Bench::over("auto");
    let pbx = datagrams(&bench);
    bench.gateway.send_to(large(&bench.invite("reset")).as_bytes(), bench.proxy).unwrap();
    let (mut stream, _) = bench.pbx.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let first = read(&mut stream);
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
    let again = heard_by(&pbx);
    assert_eq!(again, first.replacen("SIP/2.0/TCP", "SIP/2.0/UDP", 1));
    bench.end();
}

/// The PBX behind the first one, on UDP, and a bench that fails over to it.
fn with_next(transport: &str) -> (Bench, UdpSocket) {
    let next = UdpSocket::bind("127.0.0.54:0").unwrap();
    next.set_read_timeout(Some(PATIENCE)).unwrap();
    let bench = Bench::with_second(transport, &format!(", \"udp:{}\"", next.local_addr().unwrap()));
    (bench, next)
}

/// How a PBX that has taken the INVITE leaves before it answers, with the name of its call.
type Departure = (&'static str, fn(&mut TcpStream));
const DEPARTURES: [Departure; 4] = [
    ("fin", |_| {}),
    ("fin-mid-message", |stream| stream.write_all(b"SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP 127.0").unwrap()),
    ("fin-mid-body", |stream| {
        stream.write_all(b"SIP/2.0 183 Session Progress\r\nContent-Length: 400\r\n\r\nv=0\r\n").unwrap();
    }),
    ("reset", |stream| socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO)).unwrap()),
];

/// Row W3: a connection that ends before its request is answered, by FIN (also in the middle of a message) or by reset, is
/// a failure of the attempt (as a 503 would be): the next target rings, and the half message is nobody's answer.
#[test]
fn w3_a_peer_that_leaves_before_it_answers_is_failed_over() {
    let (bench, next) = with_next("tcp");
    for (call, leave) in DEPARTURES {
        bench.gateway.send_to(bench.invite(call).as_bytes(), bench.proxy).unwrap();
        let (mut stream, _) = bench.pbx.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        read(&mut stream);
        leave(&mut stream);
        let left = std::time::Instant::now();
        drop(stream);
        let invite = heard_by(&next);
        // The hop time-out is 4 s, and would be a second too late here.
        assert!(left.elapsed() < Duration::from_secs(3), "{call}: {:?}", left.elapsed());
        assert_eq!(header(&invite, "Call-ID"), [call], "{invite}");
        next.send_to(accept(&invite, next.local_addr().unwrap()).as_bytes(), bench.proxy).unwrap();
        let answer = bench.heard();
        assert!(answer.starts_with("SIP/2.0 200 OK\r\n") && answer.contains(call), "{answer}");
    }
    bench.end();
}

/// Rows W3 and TP1: to a peer of transport `auto` the request goes by UDP instead, the same one once more.
#[test]
fn w3_tp1_a_peer_of_transport_auto_that_leaves_gets_the_request_by_udp() {
    for (call, leave) in DEPARTURES {
        let bench = Bench::over("auto");
        let pbx = datagrams(&bench);
        bench.gateway.send_to(large(&bench.invite(call)).as_bytes(), bench.proxy).unwrap();
        let (mut stream, _) = bench.pbx.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let first = read(&mut stream);
        leave(&mut stream);
        drop(stream);
        assert_eq!(heard_by(&pbx), first.replacen("SIP/2.0/TCP", "SIP/2.0/UDP", 1), "{call}");
        bench.end();
    }
}

/// Row W3: refused, the next target is tried at once.
#[test]
fn w3_a_refused_connection_is_failed_over_at_once() {
    let (mut bench, next) = with_next("tcp");
    // Another listener takes the place of the one that is closed here, so that its port stays refused.
    drop(std::mem::replace(&mut bench.pbx, TcpListener::bind("127.0.0.52:0").unwrap()));
    let asked = std::time::Instant::now();
    bench.gateway.send_to(bench.invite("refused").as_bytes(), bench.proxy).unwrap();
    let invite = heard_by(&next);
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    assert_eq!(header(&invite, "Call-ID"), ["refused"], "{invite}");
    bench.end();
}

/// Row W3: a PBX that takes the connection and never reads delays its own calls by the hop time-out, and then the next
/// target rings. Calls to others are put through meanwhile.
#[test]
fn w3_a_peer_that_accepts_and_never_reads_is_failed_over_by_the_hop_timeout() {
    let (bench, next) = with_next("tcp");
    let asked = std::time::Instant::now();
    bench.gateway.send_to(bench.invite("unread").as_bytes(), bench.proxy).unwrap();
    let (_deaf, _) = bench.pbx.accept().unwrap();
    next.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let invite = heard_by(&next);
    assert_eq!(header(&invite, "Call-ID"), ["unread"], "{invite}");
    assert!(asked.elapsed() >= Duration::from_secs(3), "by the timer: {:?}", asked.elapsed());
    next.send_to(accept(&invite, next.local_addr().unwrap()).as_bytes(), bench.proxy).unwrap();
    assert!(bench.heard().starts_with("SIP/2.0 200 OK\r\n"));
    bench.end();
}

/// Row W3: a connection that ends after all its requests have been answered is no failure of anything: no call is sent
/// again, and the next one goes by TCP.
#[test]
fn w3_a_peer_that_leaves_after_it_answered_has_failed_nothing() {
    let bench = Bench::over("auto");
    let pbx = datagrams(&bench);
    pbx.set_nonblocking(true).unwrap();
    let address = bench.pbx.local_addr().unwrap();
    for call in ["answered", "next"] {
        bench.gateway.send_to(large(&bench.invite(call)).as_bytes(), bench.proxy).unwrap();
        let (mut stream, _) = bench.pbx.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let invite = read(&mut stream);
        assert_eq!(header(&invite, "Call-ID"), [call], "{invite}");
        stream.write_all(accept(&invite, address).as_bytes()).unwrap();
        assert!(bench.heard().starts_with("SIP/2.0 200 OK\r\n"));
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        // Its own end is closed too: so the proxy has seen that this one left.
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty());
    }
    let mut slot = [0; 2_048];
    assert!(pbx.recv(&mut slot).is_err(), "nothing went by UDP");
    bench.end();
}
