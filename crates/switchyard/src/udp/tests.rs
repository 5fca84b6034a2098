mod joined;

use super::filter::Network;
use super::*;
use nix::errno::Errno;
use proxy::{Flow, InterfaceId};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};
use telemetry::join::Leaving;

const PATIENCE: Duration = Duration::from_secs(5);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn opened(address: &str) -> UdpSocket {
    let (socket, _) = open(address.parse().unwrap()).unwrap();
    UdpSocket::new(ListenerId(3), socket).unwrap()
}

async fn ready(socket: &UdpSocket) -> Ready {
    tokio::time::timeout(PATIENCE, super::ready(socket.waiting())).await.expect("nothing arrived").unwrap()
}

/// Everything that arrives until `count` datagrams are there.
async fn received(socket: &mut UdpSocket, interfaces: &Interfaces, count: usize) -> Vec<(Flow, Vec<u8>)> {
    let mut batch = Batch::new();
    let mut all = Vec::new();
    while all.len() < count {
        ready(socket).await;
        socket.receive(&mut batch, interfaces).unwrap();
        all.extend(batch.datagrams().map(|(flow, bytes)| (flow, bytes.to_vec())));
    }
    all
}

fn send(socket: &mut UdpSocket, datagrams: &[(SocketAddr, &[u8])]) -> Sent {
    let mut sent = Sent::default();
    socket.send(datagrams.iter().copied(), &mut sent);
    sent
}

#[test]
fn datagrams_cross_in_order_with_their_source_and_their_arrival_interface() {
    runtime().block_on(async {
        let (mut left, mut right) = (opened("127.0.0.2:0"), opened("127.0.0.3:0"));
        let to = right.local_addr().unwrap();
        let texts: Vec<String> = (0..100).map(|n| format!("datagram {n}")).collect();
        let datagrams: Vec<(SocketAddr, &[u8])> = texts.iter().map(|text| (to, text.as_bytes())).collect();
        let sent = send(&mut left, &datagrams);
        assert_eq!((sent.datagrams, sent.waiting, sent.failed.len()), (100, 0, 0));
        assert_eq!(sent.bytes, texts.iter().map(|text| text.len() as u64).sum::<u64>());

        let interfaces = Interfaces::resolve(&["nosuch0".into(), "lo".into()]);
        assert_eq!(interfaces.len(), 1);
        let all = received(&mut right, &interfaces, 100).await;
        let seen: Vec<&[u8]> = all.iter().map(|(_, bytes)| bytes.as_slice()).collect();
        assert_eq!(seen, texts.iter().map(String::as_bytes).collect::<Vec<_>>());
        let flow = Flow {
            listener: ListenerId(3),
            remote: left.local_addr().unwrap(),
            connection: 0,
            interface: InterfaceId(2),
        };
        assert!(all.iter().all(|(seen, _)| *seen == flow));
    });
}

/// Limit BATCH: the more came, the more is asked for, and what came is never left because little was asked for.
#[test]
fn batches_grow_with_what_arrives_and_shrink_again() {
    runtime().block_on(async {
        let (mut left, mut right) = (opened("127.0.0.2:0"), opened("127.0.0.3:0"));
        let to = right.local_addr().unwrap();
        let texts: Vec<String> = (0..150).map(|n| format!("datagram {n}")).collect();
        let datagrams: Vec<(SocketAddr, &[u8])> = texts.iter().map(|text| (to, text.as_bytes())).collect();
        assert_eq!(send(&mut left, &datagrams).datagrams, 150);
        let (mut batch, mut all, mut sizes) = (Batch::new(), Vec::new(), Vec::new());
        ready(&right).await;
        while sizes.is_empty() || batch.is_full() {
            right.receive(&mut batch, &Interfaces::default()).unwrap();
            sizes.push(batch.len());
            all.extend(batch.datagrams().map(|(_, bytes)| bytes.to_vec()));
        }
        assert_eq!(sizes, [16, 32, BATCH, 38]);
        assert_eq!(all, texts.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>());
        // Nothing, and it asks for few again.
        right.receive_untold(&mut batch, &Interfaces::default()).unwrap();
        assert_eq!((batch.len(), right.asks), (0, receive::ASKS_LEAST));
    });
}

/// How long a batch has waited is told by the kernel, by the time of day.
#[test]
fn a_batch_knows_how_long_it_has_waited() {
    let unix_us = || u64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros()).unwrap();
    runtime().block_on(async {
        let (mut left, mut right) = (opened("127.0.0.2:0"), opened("127.0.0.3:0"));
        let to = right.local_addr().unwrap();
        let mut batch = Batch::new();
        right.receive_untold(&mut batch, &Interfaces::default()).unwrap();
        assert_eq!(batch.waited(unix_us()), Duration::ZERO, "nothing came");
        // The kernel begins to note arrivals a moment after the first socket asks for it; until then it tells the time of
        // reading.
        let begun = Instant::now();
        loop {
            send(&mut left, &[(to, b"noted")]);
            let sent = unix_us();
            while unix_us() <= sent {}
            right.receive_untold(&mut batch, &Interfaces::default()).unwrap();
            if batch.waited(sent + 1_000_000) >= Duration::from_secs(1) {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "the kernel does not note when datagrams arrive");
        }
        let before = unix_us();
        send(&mut left, &[(to, b"first")]);
        let between = unix_us();
        send(&mut left, &[(to, b"second")]);
        right.receive_untold(&mut batch, &Interfaces::default()).unwrap();
        assert_eq!(batch.len(), 2);
        let second = Duration::from_secs(1);
        let waited = batch.waited(between + 1_000_000);
        assert!(second <= waited && waited <= second + Duration::from_micros(between - before), "{waited:?}");
        assert_eq!(batch.waited(before - 1_000_000), Duration::ZERO, "somebody has set the time back");
    });
}

/// What is taken untold leaves nothing untold: whatever comes afterwards, the runtime tells of it.
#[test]
fn what_comes_after_an_untold_batch_is_told() {
    runtime().block_on(async {
        let (mut left, mut right) = (opened("127.0.0.2:0"), opened("127.0.0.3:0"));
        let to = right.local_addr().unwrap();
        let mut batch = Batch::new();
        for round in 0..3 {
            send(&mut left, &[(to, b"told")]);
            assert_eq!(received(&mut right, &Interfaces::default(), 1).await.len(), 1, "round {round}");
            for _ in 0..2 {
                send(&mut left, &[(to, b"untold"), (to, b"untold")]);
                right.receive_untold(&mut batch, &Interfaces::default()).unwrap();
                assert_eq!(batch.len(), 2);
            }
            // The runtime may tell of what has been taken, and the batch is empty then; it does not go on telling.
            while tokio::time::timeout(Duration::from_millis(20), super::ready(right.waiting())).await.is_ok() {
                right.receive(&mut batch, &Interfaces::default()).unwrap();
                assert!(batch.is_empty());
            }
        }
    });
}

#[test]
fn an_interface_that_no_peer_names_is_other() {
    runtime().block_on(async {
        let (mut left, mut right) = (opened("127.0.0.2:0"), opened("127.0.0.3:0"));
        send(&mut left, &[(right.local_addr().unwrap(), b"x")]);
        let all = received(&mut right, &Interfaces::default(), 1).await;
        assert_eq!(all[0].0.interface, InterfaceId::OTHER);
    });
}

/// Rows TP2 and W11: the largest datagram arrives whole; one byte more is refused alone, its neighbours leave.
#[test]
fn tp2_the_largest_datagram_arrives_whole_and_a_larger_one_is_refused_alone() {
    runtime().block_on(async {
        let (mut left, mut right) = (opened("127.0.0.2:0"), opened("127.0.0.3:0"));
        let to = right.local_addr().unwrap();
        let (largest, too_large) = (vec![b'a'; 65_507], vec![b'b'; 65_508]);
        let sent = send(&mut left, &[(to, b"before"), (to, &too_large), (to, &largest)]);
        assert_eq!(sent.datagrams, 2);
        assert_eq!(sent.failed, [Failed { to, fault: SendFault::TooLarge, bytes: too_large }]);
        let all = received(&mut right, &Interfaces::default(), 2).await;
        assert_eq!(all[0].1, b"before");
        assert_eq!(all[1].1, largest);
    });
}

/// Two ICMP errors, one after the other, are no empty socket, though nobody is told of them; the next batch is another.
#[test]
fn a_batch_that_an_error_ended_says_nothing_of_what_waits() {
    let mut batch = Batch::new();
    for (error, has_failed) in [(Errno::ECONNREFUSED, true), (Errno::EAGAIN, false), (Errno::EHOSTUNREACH, true)] {
        assert!(batch.ended(Err(error.into())).is_err());
        assert_eq!(batch.has_failed(), has_failed, "{error}");
    }
    runtime().block_on(async {
        opened("127.0.0.2:0").receive_untold(&mut batch, &Interfaces::default()).unwrap();
        assert!(!batch.has_failed());
    });
}

/// Rows TP7, P12, W2: ICMP port unreachable names the destination that failed, and costs no other datagram.
#[test]
fn tp7_icmp_names_its_destination_and_costs_no_other_datagram() {
    runtime().block_on(async {
        let (mut left, mut right) = (opened("127.0.0.2:0"), opened("127.0.0.3:0"));
        let dead: SocketAddr = {
            let closed = std::net::UdpSocket::bind("127.0.0.4:0").unwrap();
            closed.local_addr().unwrap()
        };
        let live = right.local_addr().unwrap();
        for _ in 0..3 {
            // The refusal of the first is pending on the socket when the next is sent.
            let sent = send(&mut left, &[(dead, b"nobody"), (live, b"somebody")]);
            assert_eq!(sent.failed, []);
            let sent = send(&mut left, &[(live, b"somebody")]);
            assert_eq!((sent.datagrams, sent.failed.len()), (1, 0));
        }
        assert_eq!(received(&mut right, &Interfaces::default(), 6).await.len(), 6);

        let mut found = Vec::new();
        while found.is_empty() {
            assert!(ready(&left).await.is_error());
            left.unreachable(&mut found).unwrap();
        }
        let expected = Unreachable { remote: dead, returned: b"nobody".to_vec() };
        assert!(found.iter().all(|unreachable| *unreachable == expected), "{found:?}");
        // The pending error is neither an arrival nor a failure of the socket.
        let mut batch = Batch::new();
        left.receive(&mut batch, &Interfaces::default()).unwrap();
        assert!(batch.is_empty());
    });
}

#[test]
fn an_address_that_is_not_there_yet_can_be_listened_on() {
    let (socket, _) = open("192.0.2.77:0".parse().unwrap()).unwrap();
    assert_eq!(socket.local_addr().unwrap().ip().to_string(), "192.0.2.77");
}

#[test]
fn w8_sending_from_an_address_that_is_gone_is_a_failure_of_the_transport() {
    runtime().block_on(async {
        let mut socket = opened("192.0.2.77:0");
        let to: SocketAddr = "127.0.0.3:9".parse().unwrap();
        let sent = send(&mut socket, &[(to, b"x")]);
        assert_eq!(sent.failed, [Failed { to, fault: SendFault::NoWay, bytes: b"x".to_vec() }]);
        assert!(SendFault::NoWay.is_unreachable());
    });
}

#[test]
fn a_port_in_use_is_told_with_its_address() {
    let taken = std::net::UdpSocket::bind("127.0.0.5:0").unwrap();
    let address = taken.local_addr().unwrap();
    let fault = open(address).unwrap_err();
    assert!(fault.to_string().starts_with(&format!("udp:{address} cannot be opened (bind)")), "{fault}");
}

#[test]
fn h8_what_the_kernel_drops_for_want_of_room_is_counted() {
    runtime().block_on(async {
        let (mut left, mut right) = (opened("127.0.0.2:0"), opened("127.0.0.3:0"));
        SockRef::from(&*right.waiting()).set_recv_buffer_size(4_096).unwrap();
        let to = right.local_addr().unwrap();
        let datagrams: Vec<(SocketAddr, &[u8])> = (0..50).map(|_| (to, [b'x'; 1_000].as_slice())).collect();
        assert_eq!(send(&mut left, &datagrams).datagrams, 50);

        // The kernel tells the count with the first datagram that it takes after the loss.
        let mut batch = Batch::new();
        let mut taken = 0;
        ready(&right).await;
        right.receive(&mut batch, &Interfaces::default()).unwrap();
        taken += batch.len();
        send(&mut left, &[(to, b"after")]);
        ready(&right).await;
        right.receive(&mut batch, &Interfaces::default()).unwrap();
        assert!(taken < 50);
        assert_eq!(batch.overflowed as usize, 50 - taken);

        // Counted once: the next batch has lost nothing.
        send(&mut left, &[(to, b"after")]);
        ready(&right).await;
        right.receive(&mut batch, &Interfaces::default()).unwrap();
        assert_eq!((batch.len(), batch.overflowed), (1, 0));
    });
}

fn hosts(addresses: &[&str]) -> Vec<Network> {
    addresses.iter().map(|address| Network::host(address.parse().unwrap())).collect()
}

/// Row SX1: what the filter drops takes no room, and is counted apart from what a full buffer loses (row H8).
#[test]
fn sx1_the_kernel_drops_strangers_and_they_are_counted() {
    runtime().block_on(async {
        let (mut peer, mut stranger, mut right) = (opened("127.0.0.2:0"), opened("127.0.0.4:0"), opened("127.0.0.3:0"));
        let to = right.local_addr().unwrap();
        right.admit(&hosts(&["127.0.0.2", "10.10.10.2"])).unwrap();
        let flood: Vec<(SocketAddr, &[u8])> = (0..300).map(|_| (to, [b'x'; 1_000].as_slice())).collect();
        assert_eq!(send(&mut stranger, &flood).datagrams, 300);
        send(&mut peer, &[(to, b"call")]);
        let mut batch = Batch::new();
        ready(&right).await;
        right.receive(&mut batch, &Interfaces::default()).unwrap();
        let texts: Vec<&[u8]> = batch.datagrams().map(|(_, bytes)| bytes).collect();
        assert_eq!(texts, [b"call"]);
        assert_eq!((batch.filtered, batch.overflowed), (300, 0));

        // Another peer, and then nobody in particular: both are let in from that moment.
        right.admit(&hosts(&["127.0.0.4"])).unwrap();
        send(&mut stranger, &[(to, b"now a peer")]);
        assert_eq!(received(&mut right, &Interfaces::default(), 1).await[0].1, b"now a peer");
        right.admit_all().unwrap();
        right.admit_all().unwrap();
        send(&mut peer, &[(to, b"no filter")]);
        assert_eq!(received(&mut right, &Interfaces::default(), 1).await[0].1, b"no filter");
    });
}

/// Row H8: with a filter, a batch that leaves open whether the buffer was full counts as lost.
#[test]
fn h8_in_doubt_a_drop_is_a_loss() {
    runtime().block_on(async {
        let (mut left, mut right) = (opened("127.0.0.2:0"), opened("127.0.0.3:0"));
        SockRef::from(&*right.waiting()).set_recv_buffer_size(16_384).unwrap();
        right.admit(&hosts(&["127.0.0.2"])).unwrap();
        let to = right.local_addr().unwrap();
        let datagrams: Vec<(SocketAddr, &[u8])> = (0..200).map(|_| (to, [b'x'; 1_000].as_slice())).collect();
        send(&mut left, &datagrams);
        let mut batch = Batch::new();
        let (mut sent, mut taken, mut lost) = (200, 0, 0);
        while taken + lost < 200 {
            // The kernel tells the count with the first datagram that it takes after the loss.
            sent += usize::try_from(send(&mut left, &[(to, b"after")]).datagrams).unwrap();
            ready(&right).await;
            right.receive(&mut batch, &Interfaces::default()).unwrap();
            taken += batch.len();
            lost += batch.overflowed as usize;
            assert_eq!(batch.filtered, 0);
        }
        assert!(lost > 0 && taken + lost <= sent, "{taken} taken and {lost} lost of {sent}");
    });
}

#[test]
fn sx1_a_filter_of_more_than_it_holds_leaves_the_socket_open() {
    runtime().block_on(async {
        let (mut left, mut right) = (opened("127.0.0.2:0"), opened("127.0.0.3:0"));
        let many: Vec<Network> =
            (0..10_000_u32).map(|at| Network::host(std::net::Ipv4Addr::from_bits(at * 2).into())).collect();
        assert!(right.admit(&many).is_err());
        let to = right.local_addr().unwrap();
        send(&mut left, &[(to, b"a peer beyond the limit")]);
        assert_eq!(received(&mut right, &Interfaces::default(), 1).await.len(), 1);
    });
}

/// The kernel takes a filter of a thousand addresses, and lets the last of them in.
#[test]
fn sx1_a_thousand_peers_have_a_filter() {
    runtime().block_on(async {
        let (mut left, mut right) = (opened("127.0.0.2:0"), opened("127.0.0.3:0"));
        let mut networks: Vec<Network> = (0..999_u32)
            .map(|at| Network::host(std::net::Ipv4Addr::from_bits(0x0A00_0000 + at * 7_919).into()))
            .collect();
        networks.extend(hosts(&["127.0.0.2"]));
        right.admit(&networks).unwrap();
        let to = right.local_addr().unwrap();
        send(&mut opened("127.0.0.4:0"), &[(to, b"stranger")]);
        send(&mut left, &[(to, b"peer")]);
        assert_eq!(received(&mut right, &Interfaces::default(), 1).await[0].1, b"peer");
    });
}

#[test]
fn sx1_ipv6_has_its_filter() {
    runtime().block_on(async {
        let Ok((socket, _)) = open("[::1]:0".parse().unwrap()) else { return };
        let mut right = UdpSocket::new(ListenerId(3), socket).unwrap();
        let mut left = opened("[::1]:0");
        let to = right.local_addr().unwrap();
        right.admit(&hosts(&["2001:db8::1"])).unwrap();
        send(&mut left, &[(to, b"not yet")]);
        right.admit(&hosts(&["2001:db8::1", "::1"])).unwrap();
        send(&mut left, &[(to, b"let in")]);
        assert_eq!(received(&mut right, &Interfaces::default(), 1).await[0].1, b"let in");
    });
}

#[test]
fn what_the_kernel_had_no_room_for_leaves_first_and_in_order() {
    runtime().block_on(async {
        let (mut left, mut right) = (opened("127.0.0.2:0"), opened("127.0.0.3:0"));
        let to = right.local_addr().unwrap();
        let texts: Vec<String> = (0..10).map(|n| format!("waited {n}")).collect();
        for text in &texts {
            left.outgoing.wait(to, text.as_bytes()).unwrap();
        }
        assert!(left.is_waiting());
        let sent = send(&mut left, &[(to, b"last")]);
        assert_eq!((sent.datagrams, sent.waiting), (11, 0));
        assert!(!left.is_waiting());
        let all = received(&mut right, &Interfaces::default(), 11).await;
        assert_eq!(all[9].1, b"waited 9");
        assert_eq!(all[10].1, b"last");
    });
}

#[test]
fn what_waits_for_the_kernel_has_a_limit() {
    let mut outgoing = Outgoing::default();
    let to = |port: u16| SocketAddr::from(([127, 0, 0, 3], port));
    assert!((0..BACKLOG_PER_DESTINATION).all(|_| outgoing.wait(to(9), b"x").is_ok()));
    assert_eq!(outgoing.wait(to(9), b"x"), Err(SendFault::NoRoom));
    // One destination takes no more than its share.
    let others = (BACKLOG - BACKLOG_PER_DESTINATION) / BACKLOG_PER_DESTINATION;
    for port in (10..).take(others) {
        assert!((0..BACKLOG_PER_DESTINATION).all(|_| outgoing.wait(to(port), b"x").is_ok()));
    }
    assert_eq!(outgoing.wait(to(8), b"x"), Err(SendFault::NoRoom));
}

/// A kernel that says so of each datagram: what `answers` gives, or that it was taken.
fn offered(
    outgoing: &mut Outgoing,
    datagrams: &[(SocketAddr, &[u8])],
    answers: impl Fn(SocketAddr) -> Option<Errno>,
) -> (Vec<(SocketAddr, Vec<u8>)>, Sent) {
    let (mut taken, mut sent) = (Vec::new(), Sent::default());
    outgoing.send(datagrams.iter().copied(), &mut sent, |leaving| {
        let group = leaving.datagrams;
        // As sendmmsg does: an error is told of the first datagram alone, behind others it cuts the group short.
        let passing = group.iter().take_while(|(to, _)| answers(*to).is_none());
        let passing: Vec<_> = passing.map(|(to, bytes)| (*to, bytes.to_vec())).collect();
        match (passing.len(), answers(group[0].0)) {
            (0, Some(errno)) => Err(errno),
            (count, _) => {
                taken.extend(passing);
                Ok(count)
            }
        }
    });
    (taken, sent)
}

/// Row W4: a device whose queue is full holds up what goes by it, and nobody else; each destination keeps its order.
#[test]
fn w4_a_destination_without_room_delays_no_other() {
    let (full, free) = (SocketAddr::from(([10, 10, 10, 3], 5060)), SocketAddr::from(([10, 10, 10, 4], 5060)));
    for errno in [Errno::ENOBUFS, Errno::ENOMEM] {
        let mut outgoing = Outgoing::default();
        let datagrams: Vec<(SocketAddr, Vec<u8>)> =
            (0..200).map(|n: u8| (if n.is_multiple_of(2) { full } else { free }, vec![n])).collect();
        let lent: Vec<(SocketAddr, &[u8])> = datagrams.iter().map(|(to, bytes)| (*to, bytes.as_slice())).collect();
        let (taken, sent) = offered(&mut outgoing, &lent, |to| (to == full).then_some(errno));
        let of = |destination: SocketAddr| datagrams.iter().filter(move |(to, _)| *to == destination).cloned();
        assert_eq!(taken, of(free).collect::<Vec<_>>(), "all of the free one, in order, in the same drain");
        assert_eq!((sent.datagrams, sent.waiting, sent.failed.len()), (100, 100, 0));

        // What comes later for the full one goes behind what waits, and for the free one at once.
        let (taken, sent) =
            offered(&mut outgoing, &[(full, b"later"), (free, b"now")], |to| (to == full).then_some(errno));
        assert_eq!((taken, sent.waiting), (vec![(free, b"now".to_vec())], 101));
        let (taken, sent) = offered(&mut outgoing, &[(full, b"last")], |_| None);
        let expected: Vec<_> = of(full).chain([(full, b"later".to_vec()), (full, b"last".to_vec())]).collect();
        assert_eq!((taken, sent.waiting), (expected, 0));
    }
}

/// A destination that never has room fills its own share alone, and a refusal beside it is still told.
#[test]
fn a_destination_that_never_has_room_fills_its_own_share() {
    let (full, free, dead) = (
        SocketAddr::from(([10, 10, 10, 3], 1)),
        SocketAddr::from(([10, 10, 10, 4], 2)),
        SocketAddr::from(([10, 10, 10, 5], 3)),
    );
    let answers = |to: SocketAddr| match to {
        to if to == full => Some(Errno::ENOBUFS),
        to if to == dead => Some(Errno::ENETUNREACH),
        _ => None,
    };
    let mut outgoing = Outgoing::default();
    let (mut lost, mut refused) = (0, 0);
    for _ in 0..BACKLOG {
        let (taken, sent) = offered(&mut outgoing, &[(full, b"x"), (dead, b"y"), (free, b"z")], answers);
        assert_eq!(taken, [(free, b"z".to_vec())]);
        lost += sent.failed.iter().filter(|failed| failed.fault == SendFault::NoRoom && failed.to == full).count();
        refused += sent.failed.iter().filter(|failed| failed.fault == SendFault::NoWay && failed.to == dead).count();
    }
    assert_eq!((lost, refused), (BACKLOG - BACKLOG_PER_DESTINATION, BACKLOG));
}

/// A full socket has room for nobody: all waits, in order, and is offered once for each drain.
#[test]
fn a_full_socket_is_not_asked_for_each_datagram() {
    let (one, other) = (SocketAddr::from(([10, 10, 10, 3], 1)), SocketAddr::from(([10, 10, 10, 4], 2)));
    let mut outgoing = Outgoing::default();
    let mut asked = 0;
    let datagrams: Vec<(SocketAddr, &[u8])> =
        (0..100).map(|n| (if n % 2 == 0 { one } else { other }, &b"x"[..])).collect();
    let mut sent = Sent::default();
    outgoing.send(datagrams.iter().copied(), &mut sent, |_| {
        asked += 1;
        Err(Errno::EAGAIN)
    });
    assert_eq!((asked, sent.waiting), (1, 100));
    let (taken, sent) = offered(&mut outgoing, &[], |_| None);
    let taken: Vec<SocketAddr> = taken.into_iter().map(|(to, _)| to).collect();
    assert_eq!((taken, sent.waiting), (datagrams.iter().map(|(to, _)| *to).collect(), 0));
}

#[test]
fn a_buffer_that_the_kernel_caps_is_told() {
    let notice = Notice { buffer: "receive", asked_bytes: 10, given_bytes: 5, sysctl: "net.core.rmem_max" };
    assert_eq!(
        notice.to_string(),
        "the receive buffer holds 5 bytes, 10 were asked for: bursts will be lost sooner; raise net.core.rmem_max"
    );
}

#[test]
fn ipv6_sockets_carry_datagrams_and_their_interface_too() {
    runtime().block_on(async {
        let Ok((socket, _)) = open("[::1]:0".parse().unwrap()) else { return };
        let mut right = UdpSocket::new(ListenerId(0), socket).unwrap();
        let mut left = opened("[::1]:0");
        send(&mut left, &[(right.local_addr().unwrap(), b"six")]);
        let all = received(&mut right, &Interfaces::resolve(&["lo".into()]), 1).await;
        assert_eq!((all[0].0.interface, all[0].1.as_slice()), (InterfaceId(1), b"six".as_slice()));
        assert_eq!(all[0].0.remote, left.local_addr().unwrap());
    });
}

#[test]
fn what_this_machine_sends_to_itself_has_come_by_the_loopback_interface() {
    let there = Interfaces::resolve(&["lo".into()]);
    let [own, other, loopback]: [std::net::IpAddr; 3] =
        [[10, 10, 10, 1], [10, 10, 10, 2], [127, 0, 0, 2]].map(std::net::IpAddr::from);
    assert_eq!(there.of_arrival(7, own, own), InterfaceId(1));
    assert_eq!(there.of_arrival(7, loopback, own), InterfaceId(1));
    assert_eq!(there.of_arrival(7, other, own), InterfaceId::OTHER);
    let own: std::net::IpAddr = "2001:db8::1".parse().unwrap();
    assert_eq!(there.of_arrival(7, own, own), InterfaceId::OTHER, "a neighbour can write it as the source");
}
