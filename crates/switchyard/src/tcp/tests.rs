use super::*;
use proxy::InterfaceId;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use telemetry::catalogue;

const PATIENCE: Duration = Duration::from_secs(5);
const OPTIONS: &str = "OPTIONS sip:a@127.0.0.43 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.41;branch=z9hG4bKa\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: a@test\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 4\r\n\r\nbody";

/// The TCP side on a listener of its own; the test plays worker and peers.
struct Bench {
    local: SocketAddr,
    streams: Streams,
    counters: Arc<Counters>,
}

/// A worker's end: what arrives, and where what leaves is put.
struct Streams {
    arrived: mpsc::Receiver<Arrived>,
    outgoing: mpsc::Sender<(Flow, Bytes)>,
}

fn streams(parts: Parts) -> Streams {
    let (arriving, arrived) = mpsc::channel(MESSAGES);
    Streams { arrived, outgoing: start(parts, Ways::to_one(arriving)).unwrap() }
}

impl Bench {
    fn new() -> Bench {
        let (parts, local) = parts();
        let counters = Arc::clone(&parts.counters);
        Bench { local, streams: streams(parts), counters }
    }

    /// A peer's connection; 127.0.0.41 and 127.0.0.42 are configured.
    fn connected(&self, from: &str) -> TcpStream {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(from.parse().unwrap(), 0).into()).unwrap();
        socket.connect(&self.local.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn arrived(&mut self) -> Arrived {
        self.streams.arrived.blocking_recv().expect("the TCP side has ended")
    }

    fn message(&mut self) -> (Flow, Bytes) {
        match self.arrived() {
            Arrived::Message(flow, bytes) => (flow, bytes),
            other => panic!("{other:?}"),
        }
    }

    fn send(&self, flow: Flow, text: &str) {
        self.streams.outgoing.blocking_send((flow, Bytes::copy_from_slice(text.as_bytes()))).unwrap();
    }

    fn closed(&self, reason: &str) -> u64 {
        self.counters.value(&catalogue::STREAMS_CLOSED, reason)
    }
}

fn parts() -> (Parts, SocketAddr) {
    let listener = open("127.0.0.43:0".parse().unwrap()).unwrap();
    let local = listener.local_addr().unwrap();
    let parts = Parts {
        listeners: vec![(ListenerId(0), listener)],
        settings: Arc::new(ArcSwap::from_pointee(settings(local, ""))),
        interfaces: Arc::new(ArcSwap::from_pointee(Interfaces::default())),
        connections_max: CONNECTIONS,
        counters: Arc::new(Counters::new()),
    };
    (parts, local)
}

fn settings(local: SocketAddr, trunk: &str) -> Settings {
    let text = format!(
        "[sip]\nlisten = [\"tcp:{local}\"]\nadopt_for = \"0s\"\n\
         [[trunk]]\nname = \"tata\"\ngateways = [\"tcp:127.0.0.41:5060\", \"tcp:127.0.0.42:5060\"]\n{trunk}\
         [environments.prod]\ntargets = [\"tcp:127.0.0.45:5060\"]\n"
    );
    crate::config::read("test", &text, &|_| None).unwrap().core
}

fn read(stream: &mut TcpStream, len: usize) -> String {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Everything until the other side closes.
fn read_to_end(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    match stream.read_to_string(&mut text) {
        Err(error) if error.kind() != io::ErrorKind::ConnectionReset => panic!("not closed: {error}"),
        _ => text,
    }
}

/// Row W11: pieces of one byte, and many messages in one piece, give the same messages.
#[test]
fn w11_messages_are_cut_whatever_the_pieces() {
    let mut bench = Bench::new();
    let mut stream = bench.connected("127.0.0.41");
    stream.set_nodelay(true).unwrap();
    for byte in OPTIONS.as_bytes() {
        stream.write_all(&[*byte]).unwrap();
    }
    stream.write_all(OPTIONS.repeat(100).as_bytes()).unwrap();
    let (first, _) = bench.message();
    assert_eq!(first.remote, stream.local_addr().unwrap());
    assert_eq!((first.listener, first.interface), (ListenerId(0), InterfaceId::OTHER));
    for _ in 0..100 {
        let (flow, bytes) = bench.message();
        assert_eq!((flow, &bytes[..]), (first, OPTIONS.as_bytes()));
    }
}

#[test]
fn a_reply_goes_over_the_connection_that_its_request_came_by() {
    let mut bench = Bench::new();
    let mut streams = [bench.connected("127.0.0.41"), bench.connected("127.0.0.41")];
    for at in [1, 0, 1] {
        streams[at].write_all(OPTIONS.as_bytes()).unwrap();
        let (flow, _) = bench.message();
        bench.send(flow, "SIP/2.0 200 OK\r\n\r\n");
        assert_eq!(read(&mut streams[at], 18), "SIP/2.0 200 OK\r\n\r\n");
    }
    assert_eq!(bench.counters.value(&catalogue::STREAMS_OPENED, "accepted"), 2);
}

/// Row TP6.
#[test]
fn tp6_two_crlfs_are_answered_with_one_and_are_no_message() {
    let mut bench = Bench::new();
    let mut stream = bench.connected("127.0.0.41");
    stream.write_all(b"\r\n\r\n").unwrap();
    assert_eq!(read(&mut stream, 2), "\r\n");
    stream.write_all(OPTIONS.as_bytes()).unwrap();
    assert_eq!(&bench.message().1[..], OPTIONS.as_bytes());
}

/// Rows SX1, SX9 and SX16: who is no peer is closed at once, gets no byte, and holds no place.
#[test]
fn sx9_a_stranger_is_closed_without_a_byte() {
    let mut bench = Bench::new();
    for _ in 0..50 {
        let mut stranger = bench.connected("127.0.0.44");
        // The close may come before the write.
        let _written = stranger.write_all(OPTIONS.as_bytes());
        assert_eq!(read_to_end(&mut stranger), "");
    }
    let mut stream = bench.connected("127.0.0.41");
    stream.write_all(OPTIONS.as_bytes()).unwrap();
    assert_eq!(bench.message().0.remote, stream.local_addr().unwrap());
    assert_eq!(bench.closed("stranger"), 50);
    assert_eq!(bench.counters.value(&catalogue::OPEN_STREAMS, ""), 1);
}

/// Row TP8: one connection to an address and port, opened from the listener's own address, carries every request there.
#[test]
fn tp8_requests_to_one_address_share_one_connection() {
    let mut bench = Bench::new();
    let peer = TcpListener::bind("127.0.0.42:0").unwrap();
    let flow = Flow::to(ListenerId(0), peer.local_addr().unwrap());
    bench.send(flow, "first ");
    bench.send(flow, "second");
    let (mut stream, from) = peer.accept().unwrap();
    assert_eq!(from.ip(), bench.local.ip());
    assert_eq!(read(&mut stream, 12), "first second");
    stream.write_all(OPTIONS.as_bytes()).unwrap();
    let (back, _) = bench.message();
    assert_eq!(back.remote, flow.remote);
    bench.send(flow, "third");
    assert_eq!(read(&mut stream, 5), "third");
    assert_eq!(bench.counters.value(&catalogue::STREAMS_OPENED, "dialled"), 1);

    // Once it is closed, the next request opens another.
    drop(stream);
    while bench.closed("ended_by_peer") + bench.closed("broken") == 0 {
        std::thread::yield_now();
    }
    bench.send(flow, "fourth");
    assert_eq!(read(&mut peer.accept().unwrap().0, 6), "fourth");
}

/// Row W3: a refused connection is told at once, with every message that waited for it.
#[test]
fn w3_a_refused_connection_gives_its_messages_back() {
    let mut bench = Bench::new();
    let closed = TcpListener::bind("127.0.0.42:0").unwrap().local_addr().unwrap();
    let flow = Flow::to(ListenerId(0), closed);
    bench.send(flow, "lost");
    let Arrived::Undelivered(back, bytes) = bench.arrived() else { panic!("delivered to nobody") };
    assert_eq!((back.remote, &bytes[..]), (closed, b"lost".as_slice()));
    assert_eq!(bench.closed("connect_refused"), 1);
    assert_eq!(bench.counters.value(&catalogue::SEND_FAILED, "no_stream"), 1);
}

/// Row W3: a peer that never reads fills its own queue, and nobody else waits for it.
#[test]
fn w3_a_peer_that_never_reads_hurts_nobody() {
    let mut bench = Bench::new();
    let mut deaf = bench.connected("127.0.0.41");
    deaf.write_all(OPTIONS.as_bytes()).unwrap();
    let (to_deaf, _) = bench.message();
    let large = "x".repeat(65_000);
    // Far more than the kernel's buffers and the queue hold.
    for _ in 0..QUEUE * 2 {
        bench.send(to_deaf, &large);
    }
    let mut other = bench.connected("127.0.0.42");
    other.write_all(OPTIONS.as_bytes()).unwrap();
    let mut undelivered = 0;
    let to_other = loop {
        match bench.arrived() {
            Arrived::Message(flow, _) => break flow,
            Arrived::Undelivered(flow, _) => {
                assert_eq!(flow.connection, to_deaf.connection);
                undelivered += 1;
            }
            other @ Arrived::Datagram(..) => panic!("{other:?}"),
        }
    };
    bench.send(to_other, "served");
    assert_eq!(read(&mut other, 6), "served");
    while let Ok(Arrived::Undelivered(..)) = bench.streams.arrived.try_recv() {
        undelivered += 1;
    }
    assert!(undelivered > 0);
    assert_eq!(bench.counters.value(&catalogue::SEND_FAILED, "no_room"), undelivered);
}

/// Row TP4: when the connection of a request is gone, its response goes to the source address at the port in the Via.
#[test]
fn tp4_a_response_without_its_connection_opens_one_to_the_via_port() {
    let mut bench = Bench::new();
    let mut stream = bench.connected("127.0.0.41");
    stream.write_all(OPTIONS.as_bytes()).unwrap();
    let (flow, _) = bench.message();
    drop(stream);
    while bench.closed("ended_by_peer") == 0 {
        std::thread::yield_now();
    }
    let listening = TcpListener::bind("127.0.0.41:0").unwrap();
    let port = listening.local_addr().unwrap().port();
    let response = format!(
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP pbx.example.org:{port};branch=z9hG4bKa;received=127.0.0.41\r\n\
         From: <sip:a@b>;tag=1\r\nTo: <sip:a@b>;tag=2\r\nCall-ID: a@test\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    );
    bench.send(flow, &response);
    assert_eq!(read(&mut listening.accept().unwrap().0, response.len()), response);
}

/// Row TP5: a length that cannot be believed is answered, and nothing behind it is read.
#[test]
fn tp5_a_bad_length_is_refused_and_closes_the_stream() {
    let mut bench = Bench::new();
    let mut stream = bench.connected("127.0.0.41");
    let bad = OPTIONS.replace("Content-Length: 4", "Content-Length: 4\r\nContent-Length: 5");
    stream.write_all((bad + OPTIONS).as_bytes()).unwrap();
    let answer = read_to_end(&mut stream);
    assert!(answer.starts_with("SIP/2.0 400 "), "{answer}");
    assert_eq!(answer.matches("\r\n\r\n").count(), 1, "{answer}");
    assert_eq!(bench.closed("refused"), 1);
    bench.connected("127.0.0.41").write_all(OPTIONS.as_bytes()).unwrap();
    assert_eq!(&bench.message().1[..], OPTIONS.as_bytes());
}

#[test]
fn what_is_no_sip_is_closed_without_an_answer() {
    let bench = Bench::new();
    let mut stream = bench.connected("127.0.0.41");
    stream.write_all(&[0x16, 3, 1, 0, 200]).unwrap();
    assert_eq!(read_to_end(&mut stream), "");
    assert_eq!(bench.closed("not_sip"), 1);
}

#[test]
fn one_source_has_so_many_connections_and_others_still_connect() {
    let mut bench = Bench::new();
    let mut held: Vec<TcpStream> = (0..CONNECTIONS_PER_SOURCE).map(|_| bench.connected("127.0.0.41")).collect();
    // The last one is served: so all before it are, too.
    held.last_mut().unwrap().write_all(OPTIONS.as_bytes()).unwrap();
    bench.message();
    let mut one_more = bench.connected("127.0.0.41");
    assert_eq!(read_to_end(&mut one_more), "");
    assert_eq!(bench.closed("too_many_of_source"), 1);
    let mut other = bench.connected("127.0.0.42");
    other.write_all(OPTIONS.as_bytes()).unwrap();
    assert_eq!(bench.message().0.remote, other.local_addr().unwrap());
}

/// A peer may be tied to an interface: the socket that is bound to it says where a connection arrived.
#[test]
fn the_arrival_interface_is_known_by_the_socket_that_accepts() {
    let (parts, local) = parts();
    parts.settings.store(Arc::new(settings(local, "interface = \"lo\"\n")));
    parts.interfaces.store(Arc::new(Interfaces::resolve(&["lo".into()])));
    let counters = Arc::clone(&parts.counters);
    let mut bench = Bench { local, streams: streams(parts), counters };
    // The socket of the interface is opened a moment after the general one.
    let found = (0..200).any(|_| {
        let mut stream = bench.connected("127.0.0.41");
        stream.write_all(OPTIONS.as_bytes()).unwrap();
        bench.message().0.interface == InterfaceId(1)
    });
    assert!(found);
}

/// Row SX9: the clock of a message runs from its first byte, and bytes that trickle do not wind it back.
#[tokio::test(start_paused = true)]
async fn sx9_a_message_that_does_not_end_closes_its_stream() {
    let (parts, local) = parts();
    let counters = Arc::clone(&parts.counters);
    let (arriving, _arrived) = mpsc::channel(MESSAGES);
    let (_outgoing, orders) = mpsc::channel(MESSAGES);
    let tasks = tokio::task::LocalSet::new();
    tasks.spawn_local(hub::serve(parts, Ways::to_one(arriving), orders));
    tasks
        .run_until(async {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.41:0".parse().unwrap()).unwrap();
            let mut stream = socket.connect(local).await.unwrap();
            let begun = tokio::time::Instant::now();
            let mut trickle = OPTIONS.bytes();
            let closed = loop {
                let Some(byte) = trickle.next() else { panic!("never closed") };
                if stream.write_all(&[byte]).await.is_err() {
                    break begun.elapsed();
                }
                let mut slot = [0];
                match tokio::time::timeout(Duration::from_secs(1), stream.read(&mut slot)).await {
                    Ok(_) => break begun.elapsed(),
                    Err(_) => continue,
                }
            };
            assert!(closed >= MESSAGE_WITHIN && closed < MESSAGE_WITHIN * 2, "{closed:?}");
            assert_eq!(counters.value(&catalogue::STREAMS_CLOSED, "message_timeout"), 1);

            // A silent connection between messages is let be for much longer, and not for ever.
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.41:0".parse().unwrap()).unwrap();
            let mut stream = socket.connect(local).await.unwrap();
            stream.write_all(OPTIONS.as_bytes()).await.unwrap();
            let begun = tokio::time::Instant::now();
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
            assert!(begun.elapsed() >= IDLE && begun.elapsed() < IDLE * 2, "{:?}", begun.elapsed());
            assert_eq!(counters.value(&catalogue::STREAMS_CLOSED, "idle"), 1);
        })
        .await;
}

/// Row SX9: a peer that reads nothing for long loses its connection, and what waited for it is given back.
#[tokio::test(start_paused = true)]
async fn sx9_a_peer_that_does_not_read_is_closed_in_the_end() {
    let (parts, local) = parts();
    let counters = Arc::clone(&parts.counters);
    let (arriving, mut arrived) = mpsc::channel(MESSAGES);
    let (outgoing, orders) = mpsc::channel(MESSAGES);
    let tasks = tokio::task::LocalSet::new();
    tasks.spawn_local(hub::serve(parts, Ways::to_one(arriving), orders));
    tasks
        .run_until(async {
            use tokio::io::AsyncWriteExt;
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.41:0".parse().unwrap()).unwrap();
            let mut deaf = socket.connect(local).await.unwrap();
            deaf.write_all(OPTIONS.as_bytes()).await.unwrap();
            let Some(Arrived::Message(flow, _)) = arrived.recv().await else { panic!("no message") };
            let begun = tokio::time::Instant::now();
            for _ in 0..QUEUE {
                outgoing.send((flow, Bytes::from(vec![b'x'; 65_000]))).await.unwrap();
            }
            let Some(Arrived::Undelivered(back, _)) = arrived.recv().await else { panic!("all delivered") };
            assert_eq!(back.connection, flow.connection);
            assert!(begun.elapsed() >= WRITE_WITHIN, "{:?}", begun.elapsed());
            assert_eq!(counters.value(&catalogue::STREAMS_CLOSED, "write_timeout"), 1);
            assert_eq!(counters.value(&catalogue::OPEN_STREAMS, ""), 0);
        })
        .await;
}

#[test]
fn above_all_connections_peers_are_closed_and_what_we_open_finds_a_place() {
    let (mut parts, local) = parts();
    parts.connections_max = 3;
    let counters = Arc::clone(&parts.counters);
    let mut bench = Bench { local, streams: streams(parts), counters };
    let mut held: Vec<TcpStream> = (0..3).map(|_| bench.connected("127.0.0.41")).collect();
    held[2].write_all(OPTIONS.as_bytes()).unwrap();
    bench.message();
    assert_eq!(read_to_end(&mut bench.connected("127.0.0.42")), "");
    assert_eq!(bench.closed("too_many"), 1);
    let peer = TcpListener::bind("127.0.0.42:0").unwrap();
    bench.send(Flow::to(ListenerId(0), peer.local_addr().unwrap()), "ours");
    assert_eq!(read(&mut peer.accept().unwrap().0, 4), "ours");
}

#[test]
fn a_worker_that_is_behind_makes_peers_wait_and_loses_nothing() {
    let mut bench = Bench::new();
    let mut stream = bench.connected("127.0.0.41");
    let many = MESSAGES + 1_000;
    let writing = std::thread::spawn(move || {
        for _ in 0..many {
            stream.write_all(OPTIONS.as_bytes()).unwrap();
        }
        stream
    });
    while bench.streams.arrived.len() < MESSAGES {
        std::thread::yield_now();
    }
    for _ in 0..many {
        assert_eq!(&bench.message().1[..], OPTIONS.as_bytes());
    }
    writing.join().unwrap();
}

/// A peer whose kernel answers no SYN: the connect is given up, and what waited for it is given back.
#[tokio::test(start_paused = true)]
async fn a_connect_that_takes_too_long_is_given_up() {
    let (parts, _) = parts();
    let (counters, shared) = (Arc::clone(&parts.counters), Arc::clone(&parts.settings));
    let (arriving, mut arrived) = mpsc::channel(MESSAGES);
    let (outgoing, orders) = mpsc::channel(MESSAGES);
    let tasks = tokio::task::LocalSet::new();
    tasks.spawn_local(hub::serve(parts, Ways::to_one(arriving), orders));
    tasks
        .run_until(async {
            // A listener that accepts nobody: one connection fills its backlog, further SYNs are dropped.
            let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            full.bind(&"127.0.0.42:0".parse::<SocketAddr>().unwrap().into()).unwrap();
            full.listen(0).unwrap();
            let remote = full.local_addr().unwrap().as_socket().unwrap();
            let _filling = TcpStream::connect(remote).unwrap();
            let begun = tokio::time::Instant::now();
            outgoing.send((Flow::to(ListenerId(0), remote), Bytes::from_static(b"lost"))).await.unwrap();
            let Some(Arrived::Undelivered(back, bytes)) = arrived.recv().await else { panic!("delivered") };
            assert_eq!((back.remote, &bytes[..]), (remote, b"lost".as_slice()));
            assert!(begun.elapsed() >= CONNECT_WITHIN, "{:?}", begun.elapsed());
            assert_eq!(counters.value(&catalogue::STREAMS_CLOSED, "connect_timeout"), 1);
            // Row TP1: a peer of transport auto gets it by datagram instead, and so does not wait as long.
            let mut core = settings(shared.load().listeners[0].address, "");
            let (listener, datagram_bytes_max) = (ListenerId(0), 1_300);
            let by_size = proxy::settings::BySize { datagram: listener, stream: listener, datagram_bytes_max };
            let place =
                proxy::Peer { transport: proxy::Transport::Udp, address: remote, listener, by_size: Some(by_size) };
            core.parties[0].peers.push(place);
            shared.store(Arc::new(core));
            let begun = tokio::time::Instant::now();
            outgoing.send((Flow::to(ListenerId(0), remote), Bytes::from_static(b"lost"))).await.unwrap();
            let Some(Arrived::Undelivered(..)) = arrived.recv().await else { panic!("delivered") };
            let waited = begun.elapsed();
            assert!((CONNECT_OR_DATAGRAM_WITHIN..CONNECT_WITHIN).contains(&waited), "{waited:?}");
        })
        .await;
}

/// Rows W3 and TP1: what the kernel took and the peer never read is told when the peer resets the connection.
#[test]
fn w3_tp1_a_reset_gives_back_the_requests_that_nobody_read() {
    let mut bench = Bench::new();
    let pbx = TcpListener::bind("127.0.0.45:0").unwrap();
    let flow = Flow::to(ListenerId(0), pbx.local_addr().unwrap());
    let ack = OPTIONS.replace("OPTIONS", "ACK");
    for text in [OPTIONS, ack.as_str()] {
        bench.send(flow, text);
    }
    let (mut stream, _) = pbx.accept().unwrap();
    let _read = read(&mut stream, OPTIONS.len() + 8);
    // Closed with bytes that nobody read: the kernel sends a reset.
    drop(stream);
    let Arrived::Undelivered(back, bytes) = bench.arrived() else { panic!("a message") };
    assert_eq!((back.remote, &bytes[..]), (flow.remote, OPTIONS.as_bytes()), "an ACK has no transaction to tell");
    assert_eq!(bench.closed("broken"), 1);
}

/// Rows W3 and TP1: whatever a queue holds may leave in one turn, and is told when the peer resets the connection then.
#[test]
fn w3_tp1_a_reset_gives_back_a_whole_queue() {
    let mut bench = Bench::new();
    let pbx = TcpListener::bind("127.0.0.45:0").unwrap();
    let flow = Flow::to(ListenerId(0), pbx.local_addr().unwrap());
    let text = |number: usize| OPTIONS.replace("a@test", &format!("{number}@test"));
    (0..QUEUE).for_each(|number| bench.send(flow, &text(number)));
    let (mut stream, _) = pbx.accept().unwrap();
    let _read = read(&mut stream, (0..QUEUE).map(|number| text(number).len()).sum());
    Socket::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
    let Arrived::Undelivered(_, first) = bench.arrived() else { panic!("a message") };
    assert_eq!(&first[..], text(0).as_bytes(), "the oldest is among them");
    (1..QUEUE).for_each(|_| assert!(matches!(bench.arrived(), Arrived::Undelivered(..))));
}

/// Limit ACKNOWLEDGE_WITHIN: the kernel is told of it for each connection, whoever opens it.
#[test]
fn w3_the_kernel_gives_up_a_peer_that_acknowledges_nothing() {
    on_this_thread(|here| async move {
        let peer = here.connected().await;
        let line = line::Line::new(Flow::to(ListenerId(0), here.local));
        let given = |stream: &tokio::net::TcpStream| socket2::SockRef::from(stream).tcp_user_timeout().unwrap();
        assert_eq!(given(&peer), None);
        assert_eq!(given(line.open(peer)), Some(ACKNOWLEDGE_WITHIN));
    });
}

/// Limit WRITTEN.
#[test]
fn only_the_last_requests_are_given_back() {
    let mut bench = Bench::new();
    let pbx = TcpListener::bind("127.0.0.45:0").unwrap();
    let flow = Flow::to(ListenerId(0), pbx.local_addr().unwrap());
    let text = |number: usize| OPTIONS.replace("a@test", &format!("{number}@test"));
    // Until the connection is open there is room for a queue of them and no more.
    bench.send(flow, &text(0));
    let (mut stream, _) = pbx.accept().unwrap();
    let _first = read(&mut stream, text(0).len());
    let bytes: usize = (1..=WRITTEN).map(|number| text(number).len()).sum();
    (1..=WRITTEN).for_each(|number| bench.send(flow, &text(number)));
    let _read = read(&mut stream, bytes);
    Socket::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
    for number in 1..=WRITTEN {
        let Arrived::Undelivered(_, bytes) = bench.arrived() else { panic!("a message") };
        assert_eq!(&bytes[..], text(number).as_bytes());
    }
}

/// Rows TP5 and SX6: the answer to a message with no clear end arrives, though the peer goes on sending.
#[test]
fn tp5_a_refused_peer_that_still_sends_gets_its_answer() {
    let bench = Bench::new();
    for _ in 0..20 {
        let mut stream = bench.connected("127.0.0.41");
        let unclear = OPTIONS.replace("Content-Length: 4", "Content-Length: -4");
        stream.write_all(unclear.as_bytes()).unwrap();
        // Far more than one read takes in: without draining the kernel would answer it with a reset.
        stream.write_all(&vec![b'x'; 200_000]).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer.escape_ascii().to_string(), "SIP/2.0 400 ");
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        read_to_end(&mut stream);
    }
}

/// What the kernel does not take at once follows, in order and whole.
#[test]
fn what_a_slow_peer_makes_wait_arrives_in_order() {
    let mut bench = Bench::new();
    let mut stream = bench.connected("127.0.0.41");
    stream.write_all(OPTIONS.as_bytes()).unwrap();
    let (flow, _) = bench.message();
    // More than the kernel's buffers hold, less than the queue.
    let messages: Vec<String> = (0..QUEUE).map(|number| format!("{number};").repeat(10_000)).collect();
    messages.iter().for_each(|message| bench.send(flow, message));
    let text = read(&mut stream, messages.iter().map(String::len).sum());
    assert!(text == messages.concat(), "not the same bytes");
    assert_eq!(bench.counters.value(&catalogue::SEND_FAILED, "no_room"), 0);
}

/// The TCP side on the test's own thread, as the only worker has it.
struct Here {
    hub: Rc<Hub>,
    arrived: mpsc::Receiver<Arrived>,
    local: SocketAddr,
    counters: Arc<Counters>,
}

impl Here {
    async fn connected(&self) -> tokio::net::TcpStream {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.41:0".parse().unwrap()).unwrap();
        socket.connect(self.local).await.unwrap()
    }

    /// What a connection's task is told of.
    async fn told(&mut self) -> Flow {
        let Some(Arrived::Message(flow, bytes)) = self.arrived.recv().await else { panic!("no message") };
        assert_eq!(&bytes[..], OPTIONS.as_bytes());
        flow
    }

    /// Messages that are found untold; the runtime has no look at the sockets meanwhile.
    fn untold(&mut self, count: usize) -> Vec<Flow> {
        let begun = std::time::Instant::now();
        let mut flows = Vec::new();
        while flows.len() < count && begun.elapsed() < PATIENCE {
            self.hub.gather();
            while let Ok(Arrived::Message(flow, _)) = self.arrived.try_recv() {
                flows.push(flow);
            }
        }
        assert_eq!(flows.len(), count);
        flows
    }

    /// Lets the runtime look often enough for everything that is told.
    async fn looks(&self) {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }
}

fn on_this_thread<F: Future<Output = ()>>(test: impl FnOnce(Here) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let (parts, local) = parts();
        let counters = Arc::clone(&parts.counters);
        let (hub, arrived) = serve_here(parts);
        tokio::time::timeout(PATIENCE * 2, test(Here { hub, arrived, local, counters })).await.expect("in time");
    });
}

#[test]
fn a_connection_is_read_by_the_clock_until_it_is_released() {
    use tokio::io::AsyncWriteExt;
    on_this_thread(|mut here| async move {
        let mut peer = here.connected().await;
        peer.write_all(OPTIONS.as_bytes()).await.unwrap();
        let flow = here.told().await;
        peer.write_all(OPTIONS.as_bytes()).await.unwrap();
        assert_eq!(here.told().await, flow, "nothing gathers before somebody gathers");

        here.hub.gather();
        peer.write_all(OPTIONS.as_bytes()).await.unwrap();
        here.told().await;
        let cut = OPTIONS.len() / 2;
        peer.write_all(OPTIONS.repeat(3).as_bytes()).await.unwrap();
        peer.write_all(&OPTIONS.as_bytes()[..cut]).await.unwrap();
        assert_eq!(here.untold(3), [flow; 3], "many messages in one read");
        peer.write_all(&OPTIONS.as_bytes()[cut..]).await.unwrap();
        here.looks().await;
        assert!(here.arrived.is_empty(), "its task is told of nothing");
        assert_eq!(here.untold(1), [flow], "one message over two reads");

        peer.write_all(OPTIONS.as_bytes()).await.unwrap();
        here.hub.release();
        assert_eq!(here.told().await, flow, "what came before the release, too");

        // The end of a connection that is read by the clock.
        here.hub.gather();
        peer.write_all(OPTIONS.as_bytes()).await.unwrap();
        here.told().await;
        drop(peer);
        while here.counters.value(&catalogue::STREAMS_CLOSED, "ended_by_peer") == 0 {
            here.hub.gather();
            tokio::task::yield_now().await;
        }
        assert_eq!(here.counters.value(&catalogue::OPEN_STREAMS, ""), 0);
    });
}

/// Limit CONNECTIONS_GATHERED.
#[test]
fn so_many_connections_are_read_by_the_clock_and_the_others_are_told() {
    use tokio::io::AsyncWriteExt;
    on_this_thread(|mut here| async move {
        here.hub.gather();
        let mut peers = Vec::new();
        for _ in 0..=CONNECTIONS_GATHERED {
            let mut peer = here.connected().await;
            peer.write_all(OPTIONS.as_bytes()).await.unwrap();
            here.told().await;
            peers.push(peer);
        }
        for peer in &mut peers {
            peer.write_all(OPTIONS.as_bytes()).await.unwrap();
        }
        let last = peers.last().unwrap().local_addr().unwrap();
        assert_eq!(here.told().await.remote, last);
        here.looks().await;
        assert!(here.arrived.is_empty());
        let mut found: Vec<_> = here.untold(CONNECTIONS_GATHERED).into_iter().map(|flow| flow.connection).collect();
        found.dedup();
        assert_eq!(found.len(), CONNECTIONS_GATHERED, "each once");
    });
}

/// What a turn sends on one connection is queued, and leaves in order when the turn ends.
#[test]
fn the_messages_of_a_turn_leave_together() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    on_this_thread(|mut here| async move {
        let mut peers = [here.connected().await, here.connected().await];
        let mut flows = Vec::new();
        for peer in &mut peers {
            peer.write_all(OPTIONS.as_bytes()).await.unwrap();
            flows.push(here.told().await);
        }
        let text = |number: usize, flow: &Flow| format!("{number} on {};", flow.connection);
        for number in 0..100 {
            flows.iter().for_each(|flow| here.hub.send(*flow, text(number, flow).into()));
        }
        here.looks().await;
        assert_eq!(here.counters.value(&catalogue::STREAM_SENT_BYTES, ""), 0, "the turn has not ended");
        here.hub.flush();
        for (peer, flow) in peers.iter_mut().zip(&flows) {
            let sent: String = (0..100).map(|number| text(number, flow)).collect();
            let mut bytes = vec![0; sent.len()];
            peer.read_exact(&mut bytes).await.unwrap();
            assert_eq!(String::from_utf8(bytes).unwrap(), sent);
        }
    });
}

/// A panic in a connection's task, here because what it needs is lent to somebody else, ends the connection.
#[test]
#[expect(clippy::await_holding_refcell_ref, reason = "to make the task panic")]
fn a_connection_whose_task_panics_leads_nowhere() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    on_this_thread(|mut here| async move {
        let mut peer = here.connected().await;
        peer.write_all(OPTIONS.as_bytes()).await.unwrap();
        here.told().await;
        assert_eq!(here.counters.value(&catalogue::OPEN_STREAMS, ""), 1);
        let hub = Rc::clone(&here.hub);
        let lent = hub.buffer();
        peer.write_all(OPTIONS.as_bytes()).await.unwrap();
        while here.counters.value(&catalogue::STREAMS_CLOSED, "broken") == 0 {
            tokio::task::yield_now().await;
        }
        drop(lent);
        assert_eq!(here.counters.value(&catalogue::OPEN_STREAMS, ""), 0);
        // With bytes that nobody read it is reset, else ended.
        let end = peer.read(&mut [0; 1]).await;
        assert!(end.is_err() || end.is_ok_and(|bytes| bytes == 0));
    });
}

/// What a crowd of slow connections got.
struct Crowd {
    /// Connections of one peer that say nothing more after their first bytes.
    slow: Vec<TcpStream>,
    /// Connections of strangers.
    strangers: Vec<TcpStream>,
}

fn connected(from: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A trusted peer connects and is served: a keepalive is answered.
fn is_served(from: &str, to: SocketAddr) {
    let mut stream = connected(from.parse().unwrap(), to);
    stream.write_all(b"\r\n\r\n").unwrap();
    assert_eq!(read(&mut stream, 2), "\r\n", "{from} is served");
}

/// Opens `count` connections, half from strangers of 16 addresses and half from one peer, each with the beginning of a
/// message; on the way the other peer connects again and again.
fn crowd(count: usize, to: SocketAddr) -> Crowd {
    let mut crowd = Crowd { slow: Vec::new(), strangers: Vec::new() };
    for number in 0..count {
        let stranger = IpAddr::from([127, 0, 44, u8::try_from(number / 2 % 16).unwrap()]);
        let (from, held) = match number % 2 {
            0 => (stranger, &mut crowd.strangers),
            _ => (IpAddr::from([127, 0, 0, 41]), &mut crowd.slow),
        };
        let mut stream = connected(from, to);
        // A connection that is over the limit may be closed before the write.
        let _written = stream.write_all(b"INVITE sip:a@b SIP/2.0\r\nVia");
        held.push(stream);
        if number % (count / 20) == 0 {
            is_served("127.0.0.42", to);
        }
    }
    crowd
}

/// Row SX9: strangers and one bad peer, all of them slow. A trusted peer is served at any time; the bad peer holds its own
/// places and no more; the strangers hold none; and what does not end its message in time is closed.
async fn slow_crowd(count: usize) {
    let (parts, local) = parts();
    let counters = Arc::clone(&parts.counters);
    let (arriving, _arrived) = mpsc::channel(MESSAGES);
    let (_outgoing, orders) = mpsc::channel(MESSAGES);
    let tasks = tokio::task::LocalSet::new();
    tasks.spawn_local(hub::serve(parts, Ways::to_one(arriving), orders));
    tasks
        .run_until(async {
            let closed = |reason: &'static str| counters.value(&catalogue::STREAMS_CLOSED, reason);
            // The paused clock stands still while a blocking task runs.
            let crowd = tokio::task::spawn_blocking(move || crowd(count, local)).await.unwrap();
            let beyond = u64::try_from(count / 2 - CONNECTIONS_PER_SOURCE).unwrap();
            while closed("stranger") < u64::try_from(count / 2).unwrap() || closed("too_many_of_source") < beyond {
                tokio::task::spawn_blocking(std::thread::yield_now).await.unwrap();
            }
            assert_eq!(closed("stranger"), u64::try_from(count / 2).unwrap());
            assert_eq!(closed("too_many_of_source"), beyond);
            assert_eq!(closed("message_timeout"), 0);
            assert_eq!(closed("too_many"), 0);

            tokio::time::sleep(MESSAGE_WITHIN + Duration::from_secs(1)).await;
            assert_eq!(closed("message_timeout"), u64::try_from(CONNECTIONS_PER_SOURCE).unwrap());
            let all = crowd.slow.into_iter().chain(crowd.strangers);
            let ended = move || {
                all.for_each(|mut stream| assert_eq!(read_to_end(&mut stream), "", "closed without a byte"));
                is_served("127.0.0.41", local);
                is_served("127.0.0.42", local);
            };
            tokio::task::spawn_blocking(ended).await.unwrap();
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn sx9_a_thousand_slow_connections_keep_nobody_out() {
    // Both ends of each are in this process.
    descriptors(2_000);
    slow_crowd(1_000).await;
}

#[tokio::test(start_paused = true)]
#[ignore = "full set: ten thousand connections, and as many descriptors"]
async fn sx9_ten_thousand_slow_connections_keep_nobody_out() {
    descriptors(15_000);
    slow_crowd(10_000).await;
}

/// Raises the soft limit of open files as far as `least`.
fn descriptors(least: u64) {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(hard >= least, "RLIMIT_NOFILE is {hard}, {least} are needed");
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(least), hard).unwrap();
}
