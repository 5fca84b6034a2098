use super::*;
use directory::{Builder, Generation, Policy};
use proxy::Key;
use proxy::settings::TimerSettings;
use std::net::{SocketAddr, UdpSocket};
use std::thread::JoinHandle;
use telemetry::catalogue;

const PATIENCE: Duration = Duration::from_secs(5);

/// A worker on a thread, between a gateway and a PBX that a test plays by hand.
struct Bench {
    proxy: SocketAddr,
    gateway: UdpSocket,
    pbx: UdpSocket,
    commands: mpsc::Sender<Command>,
    counters: Arc<Counters>,
    settings: Arc<Settings>,
    keys: Arc<KeyRing>,
    thread: JoinHandle<io::Result<()>>,
}

impl Bench {
    fn new(unknown_did: &str) -> Bench {
        let bound = |ip: &str| {
            let socket = UdpSocket::bind((ip, 0)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket
        };
        let (gateway, pbx) = (bound("127.0.0.21"), bound("127.0.0.22"));
        let (socket, _) = crate::udp::open("127.0.0.23:0".parse().unwrap()).unwrap();
        let proxy = socket.local_addr().unwrap();
        let settings = Arc::new(settings(proxy, &gateway, &pbx, unknown_did));
        let keys = Arc::new(KeyRing::new(&Key { id: 1, secret: [7; 32] }, &[]));
        let counters = Arc::new(Counters::new());
        let (commands, orders) = mpsc::channel(4);
        let parts = Parts { keys: Arc::clone(&keys), ..parts(Arc::clone(&settings), socket, &counters) };
        let thread = std::thread::spawn(move || run(parts, orders));
        Bench { proxy, gateway, pbx, commands, counters, settings, keys, thread }
    }

    fn send(&self, from: &UdpSocket, text: &str) {
        from.send_to(text.as_bytes(), self.proxy).unwrap();
    }

    fn invite(&self, branch: &str) -> String {
        request(&self.gateway, self.proxy, "INVITE", branch)
    }
}

/// A worker's parts with nothing beside its socket.
fn parts(settings: Arc<Settings>, socket: UdpSocket, counters: &Arc<Counters>) -> Parts {
    Parts {
        states: Arc::default(),
        settings,
        keys: Arc::new(KeyRing::new(&Key { id: 1, secret: [7; 32] }, &[])),
        directory: Published::fixed(Builder::new(&Policy::default(), None).finish(Generation(1))),
        interfaces: Arc::new(ArcSwap::from_pointee(Interfaces::default())),
        sockets: vec![(ListenerId(0), socket)],
        streams: None,
        arriving: None,
        outgoing: None,
        fellows: None,
        clock: Clock::start(),
        counters: Arc::clone(counters),
        calls: InProgress::default(),
        watch: None,
        heard: None,
        wire: None,
        tap: None,
    }
}

fn settings(proxy: SocketAddr, gateway: &UdpSocket, pbx: &UdpSocket, unknown_did: &str) -> Settings {
    settings_to(proxy, gateway, &pbx.local_addr().unwrap().to_string(), unknown_did)
}

fn settings_to(proxy: SocketAddr, gateway: &UdpSocket, targets: &str, unknown_did: &str) -> Settings {
    let gateway = gateway.local_addr().unwrap();
    let text = format!(
        "[sip]\nlisten = [\"udp:{proxy}\"]\nadopt_for = \"0s\"\nstrangers = \"log\"\n[dispatch]\nunknown_did = \"{unknown_did}\"\n\
         [[trunk]]\nname = \"tata\"\ngateways = [\"udp:{gateway}\"]\n\
         [environments.prod]\ntargets = [\"udp:{targets}\"]\n"
    );
    crate::config::read("test", &text, &|_| None).unwrap().core
}

fn request(from: &UdpSocket, to: SocketAddr, method: &str, branch: &str) -> String {
    let local = from.local_addr().unwrap();
    format!(
        "{method} sip:+918065978000@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{branch}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:+447700900123@{local}>;tag=1\r\nTo: <sip:+918065978000@{to}>\r\n\
         Call-ID: {branch}@test\r\nCSeq: 1 {method}\r\nContact: <sip:{local}>\r\nContent-Length: 0\r\n\r\n"
    )
}

fn heard(socket: &UdpSocket) -> String {
    let mut slot = [0; 4_096];
    let (len, _) = socket.recv_from(&mut slot).expect("nothing arrived");
    String::from_utf8_lossy(&slot[..len]).into_owned()
}

/// The answer to `request` as its receiver would give it: its Vias, From, To, Call-ID and CSeq.
fn reply(request: &str, status: &str) -> String {
    let kept = ["Via:", "From:", "To:", "Call-ID:", "CSeq:", "Record-Route:"];
    let lines = request.lines().filter(|line| kept.iter().any(|name| line.starts_with(name)));
    let lines: String = lines
        .map(|line| {
            if line.starts_with("To:") && !line.contains("tag=") {
                format!("{line};tag=2\r\n")
            } else {
                format!("{line}\r\n")
            }
        })
        .collect();
    format!("SIP/2.0 {status}\r\n{lines}Contact: <sip:127.0.0.22>\r\nContent-Length: 0\r\n\r\n")
}

#[test]
fn a_call_passes_and_garbage_from_anybody_ends_nothing() {
    let bench = Bench::new("prod");
    let stranger = UdpSocket::bind("127.0.0.24:0").unwrap();
    let garbage: [&[u8]; 7] = [
        b"",
        b"\r\n\r\n",
        b"\0\0\0\0",
        &[0xff; 1_400],
        b"INVITE",
        b"INVITE sip:x SIP/2.0\r\nVia: ,;=\"\r\n\r\n",
        b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.23;branch=z9hG4bK\r\n\r\n",
    ];
    for round in 0..20 {
        for bytes in garbage {
            bench.gateway.send_to(bytes, bench.proxy).unwrap();
            stranger.send_to(bytes, bench.proxy).unwrap();
        }
        stranger.send_to(&vec![round; 65_507], bench.proxy).unwrap();
    }
    bench.send(&bench.gateway, &bench.invite("call"));
    let forwarded = heard(&bench.pbx);
    assert!(forwarded.starts_with("INVITE sip:+918065978000@"), "{forwarded}");
    assert!(forwarded.contains(&format!("Via: SIP/2.0/UDP {};branch=z9hG4bK", bench.proxy)), "{forwarded}");
    bench.send(&bench.pbx, &reply(&forwarded, "200 OK"));
    let answer = std::iter::repeat_with(|| heard(&bench.gateway))
        .find(|text| text.contains("call@test\r\n") && !text.contains(" 100 "));
    assert!(answer.unwrap().starts_with("SIP/2.0 200 OK\r\n"));

    bench.commands.blocking_send(Command::Stop).unwrap();
    bench.thread.join().unwrap().unwrap();
    assert_eq!(bench.counters.value(&catalogue::RECEIVED, ""), 20 * 15 + 2);
    assert_eq!(bench.counters.value(&catalogue::PANICS, ""), 0);
    assert_eq!(bench.counters.value(&catalogue::DROPPED, "stranger"), 20 * 8);
    assert_eq!(bench.counters.value(&catalogue::CALLS, "inbound"), 1);
}

/// Row SX1: strangers do not reach the worker, and no peer is shut out: not a new one, and not one that has left the
/// configuration and still has a call to answer.
#[test]
fn sx1_the_filter_follows_the_settings_and_keeps_former_peers() {
    let bench = Bench::new("prod");
    let in_kernel = |settings: &Settings| {
        let mut settings = Settings::clone(settings);
        settings.limits.strangers = proxy::settings::Strangers::Kernel;
        Arc::new(settings)
    };
    let apply = |settings: Arc<Settings>| {
        bench.commands.blocking_send(Command::Apply(settings, Arc::clone(&bench.keys))).unwrap();
        let (asker, mut answer) = mpsc::channel(1);
        bench.commands.blocking_send(Command::Answer(asker)).unwrap();
        answer.blocking_recv().unwrap();
    };
    apply(in_kernel(&bench.settings));
    let stranger = UdpSocket::bind("127.0.0.24:0").unwrap();
    for _ in 0..500 {
        stranger.send_to(bench.invite("stranger").as_bytes(), bench.proxy).unwrap();
    }
    bench.send(&bench.gateway, &bench.invite("call"));
    let forwarded = heard(&bench.pbx);

    // The PBX moves, and the old one answers.
    let moved = UdpSocket::bind("127.0.0.25:0").unwrap();
    moved.set_read_timeout(Some(PATIENCE)).unwrap();
    apply(in_kernel(&settings(bench.proxy, &bench.gateway, &moved, "prod")));
    bench.send(&bench.pbx, &reply(&forwarded, "486 Busy Here"));
    let answer = std::iter::repeat_with(|| heard(&bench.gateway)).find(|text| text.contains(" 486 "));
    assert!(answer.unwrap().contains("call@test"));
    bench.send(&bench.gateway, &bench.invite("second"));
    let forwarded = heard(&moved);
    bench.send(&moved, &reply(&forwarded, "603 Decline"));
    assert!(std::iter::repeat_with(|| heard(&bench.gateway)).any(|text| text.contains(" 603 ")));

    bench.commands.blocking_send(Command::Stop).unwrap();
    bench.thread.join().unwrap().unwrap();
    assert_eq!(bench.counters.value(&catalogue::DROPPED, "stranger"), 0);
    assert_eq!(bench.counters.value(&catalogue::FILTERED, ""), 500);
    assert_eq!(bench.counters.value(&catalogue::OVERFLOWED, ""), 0);
}

/// Rows P12 and W2: a PBX whose port is closed costs the caller no waiting.
#[test]
fn p12_icmp_ends_an_attempt_at_once() {
    let bench = Bench::new("prod");
    let Bench { proxy, gateway, pbx, commands, counters, thread, .. } = bench;
    drop(pbx);
    let asked = Instant::now();
    gateway.send_to(request(&gateway, proxy, "INVITE", "dead").as_bytes(), proxy).unwrap();
    let answer = std::iter::repeat_with(|| heard(&gateway)).find(|text| !text.contains(" 100 ")).unwrap();
    let after = asked.elapsed();
    assert!(answer.starts_with("SIP/2.0 5") || answer.starts_with("SIP/2.0 4"), "{answer}");
    // A timer would take 32 s here: Timer B of the only target. That the error alone ends it, the next test proves.
    assert!(after < Duration::from_secs(4), "{after:?}");
    commands.blocking_send(Command::Stop).unwrap();
    thread.join().unwrap().unwrap();
    assert_eq!(counters.value(&catalogue::ICMP, ""), 1);
}

/// Rows P12 and W2: the INVITE to the next target leaves in the very turn that reads the ICMP error of the first one, and no
/// timer has a say in it. That is what bounds it to the 100 ms of the row, whatever the machine.
#[test]
fn p12_the_next_target_is_tried_in_the_turn_that_reads_the_icmp_error() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let gateway = UdpSocket::bind("127.0.0.21:0").unwrap();
        let dead = UdpSocket::bind("127.0.0.22:0").unwrap();
        let next = UdpSocket::bind("127.0.0.25:0").unwrap();
        next.set_nonblocking(true).unwrap();
        let (socket, _) = crate::udp::open("127.0.0.23:0".parse().unwrap()).unwrap();
        let proxy = socket.local_addr().unwrap();
        let targets = format!("{}\", \"udp:{}", dead.local_addr().unwrap(), next.local_addr().unwrap());
        let settings = Arc::new(settings_to(proxy, &gateway, &targets, "prod"));
        drop(dead);
        let counters = Arc::new(Counters::new());
        let (mut worker, _) = Worker::new(parts(settings, socket, &counters)).unwrap();
        let waiting = worker.transports.waiting();
        gateway.send_to(request(&gateway, proxy, "INVITE", "dead").as_bytes(), proxy).unwrap();
        assert!(tokio::time::timeout(PATIENCE, waiting[0].readable()).await.unwrap().unwrap().ready().is_readable());
        worker.serve_batch(0, News::Told);
        assert_eq!(counters.value(&catalogue::SENT, ""), 2, "100, and the INVITE to the first target");

        let readiness = tokio::time::timeout(PATIENCE, waiting[0].ready(tokio::io::Interest::ERROR)).await;
        assert!(readiness.unwrap().unwrap().ready().is_error());
        assert_eq!(counters.value(&catalogue::ICMP, ""), 0);
        let mut slot = [0; 4_096];
        assert!(next.recv(&mut slot).is_err(), "nothing before the error is read");
        worker.serve_errors(0, News::Told);
        assert_eq!(counters.value(&catalogue::ICMP, ""), 1);
        let len = next.recv(&mut slot).expect("the INVITE has left in this turn");
        assert!(slot[..len].starts_with(b"INVITE sip:+918065978000@"), "{}", slot[..len].escape_ascii());
        assert_eq!(counters.value(&catalogue::SENT, ""), 3);
    });
}

/// At a high rate batches are taken untold until nothing comes; a command that waits has its turn, and at a low rate, or
/// while the worker drains, nothing gathers.
#[test]
fn at_a_high_rate_batches_are_taken_untold() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let [gateway, pbx] = ["127.0.0.21:0", "127.0.0.22:0"].map(|at| UdpSocket::bind(at).unwrap());
        let (socket, _) = crate::udp::open("127.0.0.23:0".parse().unwrap()).unwrap();
        let proxy = socket.local_addr().unwrap();
        let settings = Arc::new(settings(proxy, &gateway, &pbx, "prod"));
        let counters = Arc::new(Counters::new());
        let (mut worker, _) = Worker::new(parts(settings, socket, &counters)).unwrap();
        let (orders, commands) = mpsc::channel(4);
        let mut calls = 0;
        let mut invite = || {
            calls += 1;
            gateway.send_to(request(&gateway, proxy, "INVITE", &format!("call{calls}")).as_bytes(), proxy).unwrap();
        };
        let received = || counters.value(&catalogue::RECEIVED, "");

        invite();
        worker.serve_gathered(&commands, &mut None).await;
        assert_eq!(received(), 0, "at a low rate the runtime tells");

        let hurry = |worker: &mut Worker| {
            // So many in so short a time, whatever the machine does beside.
            let then = worker.clock.now() + Duration::from_secs(60);
            worker.gather.took(then, 10_000_000, false);
        };
        hurry(&mut worker);
        (0..40).for_each(|_| invite());
        worker.serve_gathered(&commands, &mut None).await;
        assert_eq!(received(), 41, "one after the other, until nothing came");
        assert_eq!(counters.value(&catalogue::CALLS, "inbound"), 41);

        hurry(&mut worker);
        invite();
        orders.send(Command::Refuse(false)).await.unwrap();
        worker.serve_gathered(&commands, &mut None).await;
        assert_eq!(received(), 41, "the command comes first");
        drop(commands);

        let (_orders, commands) = mpsc::channel(4);
        worker.obey(Command::Drain);
        worker.serve_gathered(&commands, &mut None).await;
        assert_eq!(received(), 41, "who drains looks whether the end has come");
    });
}

/// A worker's parts with a TCP listener on its own thread and nothing beside.
fn parts_of_streams(counters: &Arc<Counters>) -> (Parts, SocketAddr) {
    let listener = tcp::open("127.0.0.23:0".parse().unwrap()).unwrap();
    let proxy = listener.local_addr().unwrap();
    let text = format!(
        "[sip]\nlisten = [\"tcp:{proxy}\"]\nadopt_for = \"0s\"\n\
         [[trunk]]\nname = \"tata\"\ngateways = [\"tcp:127.0.0.21:5060\"]\n\
         [environments.prod]\ntargets = [\"tcp:127.0.0.22:5060\"]\n"
    );
    let settings = Arc::new(crate::config::read("test", &text, &|_| None).unwrap().core);
    let streams = tcp::Parts {
        listeners: vec![(ListenerId(0), listener)],
        settings: Arc::new(ArcSwap::new(Arc::clone(&settings))),
        interfaces: Arc::default(),
        connections_max: tcp::CONNECTIONS,
        counters: Arc::clone(counters),
    };
    let unused = UdpSocket::bind("127.0.0.23:0").unwrap();
    (Parts { sockets: Vec::new(), streams: Some(streams), ..parts(settings, unused, counters) }, proxy)
}

fn options(numbers: std::ops::RangeInclusive<u32>) -> String {
    let one = |number| {
        format!(
            "OPTIONS sip:127.0.0.23 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.21;branch=z9hG4bK{number}\r\nMax-Forwards: 70\r\n\
             From: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: {number}@test\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        )
    };
    numbers.map(one).collect()
}

/// The status and the number of each answer, until there are so many.
async fn answers(stream: &mut tokio::net::TcpStream, count: usize) -> Vec<(String, u32)> {
    use tokio::io::AsyncReadExt;
    let mut text = String::new();
    while text.matches("\r\n\r\n").count() < count {
        let mut slot = vec![0; 65_536];
        let len = tokio::time::timeout(PATIENCE, stream.read(&mut slot)).await.expect("no answer").unwrap();
        assert_ne!(len, 0, "closed after {text}");
        text.push_str(std::str::from_utf8(&slot[..len]).unwrap());
    }
    let number = |message: &str| {
        let rest = message.split("Call-ID: ").nth(1).unwrap();
        rest.split('@').next().unwrap().parse().unwrap()
    };
    text.split_terminator("\r\n\r\n").map(|message| (message[8..11].to_owned(), number(message))).collect()
}

/// Messages of streams are told of at a low rate, and gather at a high one as datagrams do; each connection keeps its order,
/// and what came before a message with no clear end is answered.
#[test]
fn messages_of_streams_gather_at_a_high_rate() {
    use tokio::io::AsyncWriteExt;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let counters = Arc::new(Counters::new());
        let (parts, proxy) = parts_of_streams(&counters);
        let (mut worker, mut arriving) = Worker::new(parts).unwrap();
        let (_orders, commands) = mpsc::channel(4);
        let received = || counters.value(&catalogue::REQUESTS, "OPTIONS");
        let mut streams = Vec::new();
        for _ in 0..2 {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.21:0".parse().unwrap()).unwrap();
            streams.push(socket.connect(proxy).await.unwrap());
        }
        let [gateway, other] = &mut streams[..] else { panic!("two") };
        let numbers = |answers: Vec<(String, u32)>| answers.into_iter().map(|(_, number)| number).collect::<Vec<_>>();

        gateway.write_all(options(0..=0).as_bytes()).await.unwrap();
        worker.serve_gathered(&commands, &mut arriving).await;
        assert_eq!(received(), 0, "at a low rate the runtime tells");
        let told = tokio::time::timeout(PATIENCE, next_of(&mut arriving, &mut worker.arrived)).await.unwrap();
        assert_eq!((told, worker.serve_arrived(false)), (1, 1));
        assert_eq!(numbers(answers(gateway, 1).await), [0], "without a moment's wait");

        gateway.write_all(options(1..=40).as_bytes()).await.unwrap();
        other.write_all(options(41..=50).as_bytes()).await.unwrap();
        serve_until(&mut worker, &commands, &mut arriving, || received() == 51).await;
        assert_eq!(numbers(answers(gateway, 40).await), (1..=40).collect::<Vec<_>>());
        assert_eq!(numbers(answers(other, 10).await), (41..=50).collect::<Vec<_>>());

        let unclear = options(53..=53).replace("Content-Length: 0", "Content-Length: -1");
        let batch = options(51..=52) + &unclear + &options(54..=54);
        gateway.write_all(batch.as_bytes()).await.unwrap();
        serve_until(&mut worker, &commands, &mut arriving, || received() == 53).await;
        let mut answered = answers(gateway, 3).await;
        answered.sort_by_key(|(_, number)| *number);
        assert_eq!(answered[2], ("400".to_owned(), 53));
        assert_eq!(numbers(answered), [51, 52, 53]);
        gateway.shutdown().await.unwrap();
        serve_until(&mut worker, &commands, &mut arriving, || {
            counters.value(&catalogue::STREAMS_CLOSED, "refused") == 1
        })
        .await;
        assert_eq!(received(), 53, "nothing behind it is read");
    });
}

/// Serves by the clock until something is so.
async fn serve_until(
    worker: &mut Worker,
    commands: &mpsc::Receiver<Command>,
    arriving: &mut Arriving,
    is_so: impl Fn() -> bool,
) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "not in time");
        // So many in so short a time, whatever the machine does beside.
        let then = worker.clock.now() + Duration::from_secs(60);
        worker.gather.took(then, 10_000_000, false);
        worker.serve_gathered(commands, arriving).await;
    }
}

/// A UDP socket that is never emptied is ready at once each time: after a full batch the streams' tasks have their turn, after
/// another they have it anyway.
#[test]
fn streams_have_their_turn_after_a_full_batch() {
    use std::cell::Cell;
    use std::rc::Rc;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let counters = Arc::new(Counters::new());
        let (parts, _) = parts_of_streams(&counters);
        let (socket, _) = crate::udp::open("127.0.0.23:0".parse().unwrap()).unwrap();
        let proxy = socket.local_addr().unwrap();
        let (mut worker, _arriving) = Worker::new(Parts { sockets: vec![(ListenerId(0), socket)], ..parts }).unwrap();
        let gateway = UdpSocket::bind("127.0.0.21:0").unwrap();
        let had_turn = Rc::new(Cell::new(false));
        for datagrams in [BATCH, 0] {
            (0..datagrams).for_each(|_| assert_eq!(gateway.send_to(b"noise", proxy).unwrap(), 5));
            assert_eq!(worker.serve_batch(0, News::Untold) > 0, datagrams > 0);
            let is_full = worker.batch.is_full();
            had_turn.set(false);
            let task = Rc::clone(&had_turn);
            tokio::task::spawn_local(async move {
                task.set(true);
            });
            worker.give_way().await;
            assert_eq!((is_full, had_turn.get()), (datagrams > 0, datagrams > 0));
            // What the socket still has is none of the next round's.
            while worker.serve_batch(0, News::Untold) > 0 {}
        }
    });
}

/// The last answers of a worker that is told to stop leave before it ends.
#[test]
fn a_worker_with_streams_serves_them_and_ends_when_it_is_told() {
    use std::io::{Read, Write};
    let counters = Arc::new(Counters::new());
    let (parts, proxy) = parts_of_streams(&counters);
    let (commands, orders) = mpsc::channel(4);
    let thread = std::thread::spawn(move || run(parts, orders));
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.21:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.connect(&proxy.into()).unwrap();
    let mut gateway = std::net::TcpStream::from(socket);
    gateway.set_read_timeout(Some(PATIENCE)).unwrap();
    gateway.write_all(options(1..=200).as_bytes()).unwrap();
    let mut text = String::new();
    let mut slot = [0; 65_536];
    while text.matches("\r\n\r\n").count() < 200 {
        let len = gateway.read(&mut slot).expect("an answer");
        text.push_str(std::str::from_utf8(&slot[..len]).unwrap());
    }
    commands.blocking_send(Command::Stop).unwrap();
    thread.join().unwrap().unwrap();
    assert_eq!(counters.value(&catalogue::REQUESTS, "OPTIONS"), 200);
    assert_eq!(gateway.read(&mut slot).unwrap(), 0, "closed");
}

/// A real socket that loses what finds no room, while its worker takes batch after batch: new calls are refused, and taken
/// again once a batch has emptied it.
#[test]
fn a_socket_that_goes_on_losing_refuses_new_calls_until_it_is_emptied() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let [gateway, pbx] = ["127.0.0.21:0", "127.0.0.22:0"].map(|at| UdpSocket::bind(at).unwrap());
        let (socket, _) = crate::udp::open("127.0.0.23:0".parse().unwrap()).unwrap();
        // Room for more than a batch, and for much less than what comes.
        socket2::SockRef::from(&socket).set_recv_buffer_size(128 << 10).unwrap();
        let proxy = socket.local_addr().unwrap();
        let settings = Arc::new(settings(proxy, &gateway, &pbx, "prod"));
        let counters = Arc::new(Counters::new());
        let (mut worker, _) = Worker::new(parts(settings, socket, &counters)).unwrap();
        let refused = || counters.value(&catalogue::LIMITS, "backlog");
        let calls = || counters.value(&catalogue::CALLS, "inbound");
        let mut count = 0;
        let mut invite = || {
            count += 1;
            gateway.send_to(request(&gateway, proxy, "INVITE", &format!("call{count}")).as_bytes(), proxy).unwrap();
        };

        let until = Instant::now() + 4 * PATIENCE;
        while refused() == 0 {
            assert!(Instant::now() < until, "never behind: {} lost", counters.value(&catalogue::OVERFLOWED, ""));
            // The first finds the room that the last batch made; then there is none.
            invite();
            for _ in 0..500 {
                gateway.send_to(b"\r\n\r\n", proxy).unwrap();
            }
            worker.serve_batch(0, News::Untold);
        }
        assert!(counters.value(&catalogue::OVERFLOWED, "") > 0);
        while worker.serve_batch(0, News::Untold) > 0 {}
        let (before, carried) = (refused(), calls());
        invite();
        worker.serve_batch(0, News::Untold);
        assert_eq!((refused(), calls()), (before, carried + 1));
    });
}

#[test]
fn draining_refuses_new_calls_and_ends_with_the_last_transaction() {
    let timers = TimerSettings { t1: Duration::from_millis(1), ..TimerSettings::default() };
    let bench = Bench::new("prod");
    let quick = Settings { timers, ..Settings::clone(&bench.settings) };
    bench.commands.blocking_send(Command::Apply(Arc::new(quick), Arc::clone(&bench.keys))).unwrap();
    bench.send(&bench.gateway, &bench.invite("before"));
    let forwarded = heard(&bench.pbx);
    bench.commands.blocking_send(Command::Drain).unwrap();
    let refused = (0..50).map(|at| {
        bench.send(&bench.gateway, &bench.invite(&format!("after{at}")));
        heard(&bench.gateway)
    });
    // The order may reach the worker a moment after the next call: what counts is that it refuses from then on.
    let mut refused = refused;
    let refused = refused.find(|text| text.starts_with("SIP/2.0 503 ")).expect("no call was refused");
    assert!(refused.contains("Retry-After: "), "{refused}");
    assert!(!bench.thread.is_finished());

    // The call that was being set up is carried to its end, and then the worker ends by itself.
    bench.send(&bench.pbx, &reply(&forwarded, "486 Busy Here"));
    let answer =
        std::iter::repeat_with(|| heard(&bench.gateway)).find(|text| text.starts_with("SIP/2.0 486 ")).unwrap();
    assert!(answer.contains("before@test"), "{answer}");
    bench.thread.join().unwrap().unwrap();
    assert_eq!(bench.counters.value(&catalogue::OPEN_TRANSACTIONS, ""), 0);
}

/// Row H7: a panic costs the message that it happened on, and what was written before it leaves.
#[test]
fn h7_a_panic_costs_one_message() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let receiver = UdpSocket::bind("127.0.0.21:0").unwrap();
        let pbx = UdpSocket::bind("127.0.0.22:0").unwrap();
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        let (socket, _) = crate::udp::open("127.0.0.23:0".parse().unwrap()).unwrap();
        let proxy = socket.local_addr().unwrap();
        let settings = Arc::new(settings(proxy, &receiver, &pbx, "404"));
        let keys = Arc::new(KeyRing::new(&Key { id: 1, secret: [7; 32] }, &[]));
        let counters = Arc::new(Counters::new());
        let mut transports = Transports::new(vec![(ListenerId(0), socket)], None, Arc::clone(&counters)).unwrap();
        let engine = Engine::new(Arc::clone(&settings), keys);
        let mut turns = Turns::new(engine, settings, Arc::clone(&counters), None);
        let directory = Builder::new(&Policy::default(), None).finish(Generation(1));
        let now = proxy::Time::from_millis(1);
        let flow = Flow::to(ListenerId(0), receiver.local_addr().unwrap());
        let options = |branch: &str| request(&receiver, proxy, "OPTIONS", branch);

        turns.take(now, &mut transports, |engine, outbox| {
            engine.handle_datagram(now, flow, options("first").as_bytes(), &directory, outbox);
        });
        turns.take(now, &mut transports, |engine, outbox| {
            engine.handle_datagram(now, flow, options("lost").as_bytes(), &directory, outbox);
            panic!("injected by the test");
        });
        turns.take(now, &mut transports, |engine, outbox| {
            engine.handle_datagram(now, flow, options("third").as_bytes(), &directory, outbox);
        });
        turns.flush(now, &directory, &mut transports);
        let answers = [heard(&receiver), heard(&receiver)];
        assert!(answers[0].contains("first@test") && answers[1].contains("third@test"), "{answers:?}");
        assert_eq!(counters.value(&catalogue::PANICS, ""), 1);
        assert_eq!(counters.value(&catalogue::REQUESTS, "OPTIONS"), 2);
    });
}
