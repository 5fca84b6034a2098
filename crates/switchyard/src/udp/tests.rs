use super::*;
use proxy::{Flow, InterfaceId};
use std::net::SocketAddr;
use std::time::Duration;

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
        socket2::SockRef::from(&*right.waiting()).set_recv_buffer_size(4_096).unwrap();
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
    let to: SocketAddr = "127.0.0.3:9".parse().unwrap();
    assert!((0..BACKLOG).all(|_| outgoing.wait(to, b"x").is_ok()));
    assert_eq!(outgoing.wait(to, b"x"), Err(SendFault::NoRoom));
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
