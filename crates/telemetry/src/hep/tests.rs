use super::*;
use nix::sys::socket::{setsockopt, sockopt};
use proxy::Time;
use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::time::{Duration, Instant, SystemTime};

const PATIENCE: Duration = Duration::from_secs(10);
const MESSAGE: &[u8] =
    b"BYE sip:+918065978021@10.10.10.3 SIP/2.0\r\nVia: SIP/2.0/UDP 10.10.10.2\r\ni : call-7@nuc\r\nl: 0\r\n\r\n";

fn collector(transport: Transport, address: SocketAddr) -> Collector {
    Collector { transport, address, node: 2_001, key: AuthKey::new("open sesame") }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// One turn of a worker with one message.
fn take(tap: &Tap, bytes: &[u8]) {
    let mut feed = tap.feed();
    feed.take(Way::In, Transport::Udp, address("10.10.10.1:5060"), address("10.10.10.2:5060"), bytes);
    feed.hand_over();
}

/// Reads the chunks of one packet by their lengths.
fn chunks(packet: &[u8]) -> Vec<(u16, &[u8])> {
    let number = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    assert_eq!((&packet[..4], usize::from(number(4))), (&b"HEP3"[..], packet.len()));
    let (mut at, mut found) = (6, Vec::new());
    while at < packet.len() {
        assert_eq!(number(at), 0, "the generic vendor");
        let length = usize::from(number(at + 4));
        found.push((number(at + 2), &packet[at + 6..at + length]));
        at += length;
    }
    assert_eq!(at, packet.len());
    found
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_message_travels_with_its_addresses_time_node_key_and_call() {
    let packet = Packet {
        at: SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_370_400_000_042),
        transport: Transport::Tcp,
        from: address("10.10.10.1:5060"),
        to: address("10.10.10.3:5080"),
        bytes: MESSAGE,
    };
    let mut out = b"before".to_vec();
    encode(&packet, &collector(Transport::Udp, packet.to), &mut out).unwrap();
    let found = chunks(&out[6..]);
    for (kind, value) in [
        (1, &[2][..]),
        (2, &[6]),
        (3, &[10, 10, 10, 1]),
        (4, &[10, 10, 10, 3]),
        (7, &5060_u16.to_be_bytes()),
        (8, &5080_u16.to_be_bytes()),
        (9, &1_795_370_400_u32.to_be_bytes()),
        (10, &42_u32.to_be_bytes()),
        (11, &[1]),
        (12, &2_001_u32.to_be_bytes()),
        (14, b"open sesame"),
        (15, MESSAGE),
        (17, b"call-7@nuc"),
    ] {
        assert!(found.contains(&(kind, value)), "chunk {kind} in {found:?}");
    }
    let large = [b'x'; 65_500];
    let large = Packet { bytes: &large, ..packet };
    let before = out.len();
    assert_eq!(encode(&large, &collector(Transport::Udp, large.to), &mut out), None);
    assert_eq!(out.len(), before);
    let v6 = Packet { from: address("[fd00::1]:5060"), bytes: MESSAGE, ..large };
    out.clear();
    encode(&v6, &collector(Transport::Udp, v6.to), &mut out).unwrap();
    let found = chunks(&out);
    assert!(
        found.contains(&(1, &[10]))
            && found.iter().any(|(kind, value)| *kind == 6 && value.ends_with(&[10, 10, 10, 3]))
    );
}

#[test]
fn the_key_is_never_shown() {
    assert!(!format!("{:?}", collector(Transport::Udp, address("127.0.0.1:9"))).contains("sesame"));
}

#[test]
fn what_passes_the_filter_is_sent_while_it_is_on() {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    let tap = Tap::start(Some(collector(Transport::Udp, receiver.local_addr().unwrap()))).unwrap();
    take(&tap, b"off");
    assert_eq!(tap.counts(), Counts::default());
    let mut buffer = [0; 2_048];
    let mut arrives = || {
        let length = receiver.recv(&mut buffer).unwrap();
        let payload = chunks(&buffer[..length]).into_iter().find(|(kind, _)| *kind == 15).unwrap().1;
        String::from_utf8_lossy(payload).into_owned()
    };
    tap.switch(Some(Filter::new(Some("08065978021"), None)));
    take(&tap, b"another number: 918065978022");
    take(&tap, MESSAGE);
    assert_eq!(arrives().as_bytes(), MESSAGE);
    tap.switch(Some(Filter::new(None, Some(vec!["10.10.10.9".parse().unwrap()]))));
    take(&tap, b"another peer");
    tap.switch(Some(Filter::new(None, Some(vec!["10.10.10.2".parse().unwrap()]))));
    take(&tap, b"this peer");
    assert_eq!(arrives(), "this peer");
    tap.switch(None);
    take(&tap, b"off again");
    until("both to be counted", || tap.counts() == Counts { sent: 2, lost: 0, queued: 0 });
}

#[test]
fn a_stream_is_opened_again_when_its_collector_comes_back() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let tap = Tap::start(Some(collector(Transport::Tcp, at))).unwrap();
    tap.switch(Some(Filter::default()));
    take(&tap, MESSAGE);
    let (mut first, _) = listener.accept().unwrap();
    first.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head = [0; 6];
    first.read_exact(&mut head).unwrap();
    let mut packet = vec![0; usize::from(u16::from_be_bytes([head[4], head[5]]))];
    packet[..6].copy_from_slice(&head);
    first.read_exact(&mut packet[6..]).unwrap();
    assert!(chunks(&packet).contains(&(15, MESSAGE)));
    drop(first);
    listener.set_nonblocking(true).unwrap();
    until("a second connection", || {
        take(&tap, MESSAGE);
        listener.accept().is_ok()
    });
    assert!(tap.counts().lost > 0);
}

/// Limit QUEUE: a collector that takes nothing costs messages, and whoever takes them no time.
#[test]
fn a_full_queue_loses_and_counts_and_never_waits() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let tap = Tap::start(Some(collector(Transport::Tcp, listener.local_addr().unwrap()))).unwrap();
    tap.switch(Some(Filter::default()));
    let message = [b'x'; 1_400];
    let offered = u64::try_from(QUEUE).unwrap() * 4;
    let mut longest = Duration::ZERO;
    for _ in 0..offered {
        let begun = Instant::now();
        take(&tap, &message);
        longest = longest.max(begun.elapsed());
    }
    until("the sender to give up", || tap.counts().lost > 0);
    // A blocked write would last for the sender's patience of two seconds.
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    assert!(tap.counts().queued <= u64::try_from(QUEUE).unwrap());
    // Without its listener the blocked connection breaks, and what waits is lost at once.
    drop(listener);
    until("every message to be counted", || {
        let Counts { sent, lost, queued } = tap.counts();
        queued == 0 && sent + lost == offered
    });
}

/// Limit QUEUE_BYTES.
#[test]
fn large_messages_fill_the_queue_by_their_bytes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let tap = Tap::start(Some(collector(Transport::Tcp, listener.local_addr().unwrap()))).unwrap();
    tap.switch(Some(Filter::default()));
    let message = vec![b'x'; 60_000];
    for _ in 0..3 * QUEUE_BYTES / message.len() {
        take(&tap, &message);
        assert!(tap.shared.queued_bytes.load(Ordering::Relaxed) <= QUEUE_BYTES);
    }
    until("some to be lost", || tap.counts().lost > 0);
}

/// Turns share a batch while the sender has one, and what waits is due, a few milliseconds later at most.
#[test]
fn turns_share_a_batch_while_the_sender_has_one() {
    let (queue, batches) = sync_channel(QUEUE);
    let tap = Tap { shared: Arc::new(Shared::default()), queue };
    tap.set_collector(Some(collector(Transport::Udp, address("127.0.0.1:9"))));
    tap.switch(Some(Filter::default()));
    let mut feed = tap.feed();
    let turn = |feed: &mut Feed, at_ms| {
        feed.take(Way::Out, Transport::Udp, address("10.10.10.1:5060"), address("10.10.10.2:5060"), MESSAGE);
        feed.end_turn(Time::from_millis(at_ms));
    };
    turn(&mut feed, 1_000);
    assert_eq!((batches.try_recv().unwrap().ends.len(), feed.due()), (1, None), "nothing waited: it goes at once");
    for at_ms in [1_001, 1_002, 1_003] {
        turn(&mut feed, at_ms);
    }
    assert!(batches.try_recv().is_err() && tap.counts().queued == 1);
    let due = feed.due().unwrap();
    assert_eq!(due, Time::from_millis(1_006));
    feed.end_turn(due);
    assert_eq!((batches.try_recv().unwrap().ends.len(), feed.due(), tap.counts().queued), (3, None, 4));
    // One that is large enough does not wait; another collector gets its own; and the end hands over.
    while batches.try_recv().is_err() {
        turn(&mut feed, 1_007);
    }
    turn(&mut feed, 1_007);
    tap.set_collector(Some(collector(Transport::Tcp, address("127.0.0.1:9"))));
    turn(&mut feed, 1_007);
    let of_the_first = batches.try_recv().unwrap();
    assert_eq!((of_the_first.collector.unwrap().transport, of_the_first.ends.len()), (Transport::Udp, 1));
    drop(feed);
    let last = batches.try_recv().unwrap();
    assert_eq!((last.collector.unwrap().transport, last.ends.len()), (Transport::Tcp, 1));
}

/// Many datagrams leave whole and in order.
#[test]
fn datagrams_leave_whole_and_in_order() {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    let tap = Tap::start(Some(collector(Transport::Udp, receiver.local_addr().unwrap()))).unwrap();
    tap.switch(Some(Filter::default()));
    let mut feed = tap.feed();
    let mut buffer = [0; 2_048];
    for round in 0..3 {
        let texts: Vec<String> = (0..150).map(|number| format!("{round}-{number}")).collect();
        for text in &texts {
            feed.take(Way::In, Transport::Udp, address("10.10.10.1:5060"), address("10.10.10.2:5060"), text.as_bytes());
        }
        feed.hand_over();
        for text in &texts {
            let length = receiver.recv(&mut buffer).unwrap();
            assert!(chunks(&buffer[..length]).contains(&(15, text.as_bytes())), "{text}");
        }
    }
    until("all to be counted", || tap.counts() == Counts { sent: 450, lost: 0, queued: 0 });
}

/// Messages of many calls: those of one length cross the kernel together, and each call's arrive in order.
#[test]
fn datagrams_of_one_length_leave_together_and_a_call_keeps_its_order() {
    const CALLS: usize = 30;
    let message = |call: usize, kind: &str| format!("{kind} sip:x SIP/2.0\r\nCall-ID: {call:02}@gw\r\n\r\n");
    let kinds = ["INVITE", "ACK", "BYE", "INFO"];
    let sent = |joined: bool| {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        setsockopt(&receiver, sockopt::UdpGroSegment, &joined).unwrap();
        let tap = Tap::start(Some(collector(Transport::Udp, receiver.local_addr().unwrap()))).unwrap();
        tap.switch(Some(Filter::default()));
        let mut feed = tap.feed();
        for (call, kind) in (0..CALLS).flat_map(|call| kinds.map(|kind| (call, kind))) {
            let (from, to) = (address("10.10.10.1:5060"), address("10.10.10.2:5060"));
            feed.take(Way::In, Transport::Udp, from, to, message(call, kind).as_bytes());
        }
        feed.hand_over();
        // A receiver has room for all of them, which wait there.
        until("all to be counted", || tap.counts() == Counts { sent: 120, lost: 0, queued: 0 });
        receiver
    };
    let mut buffer = vec![0; 65_536];
    let receiver = sent(false);
    let arrived: Vec<String> = (0..CALLS * kinds.len())
        .map(|_| {
            let length = receiver.recv(&mut buffer).unwrap();
            let payload = chunks(&buffer[..length]).into_iter().find(|(kind, _)| *kind == 15).unwrap().1;
            String::from_utf8_lossy(payload).into_owned()
        })
        .collect();
    for call in 0..CALLS {
        let own: Vec<&String> = arrived.iter().filter(|text| text.contains(&format!(" {call:02}@"))).collect();
        assert_eq!(own, kinds.map(|kind| message(call, kind)).iter().collect::<Vec<_>>());
    }
    // A receiver that asks for it has what crossed as one message at once.
    let receiver = sent(true);
    let (mut bytes, mut messages) = (0, 0);
    while bytes < arrived.iter().map(|text| packet_bytes(text)).sum::<usize>() {
        bytes += receiver.recv(&mut buffer).unwrap();
        messages += 1;
    }
    assert!(messages <= 2 * kinds.len(), "{messages} messages for {} datagrams", arrived.len());
}

/// The length of a packet with this message.
fn packet_bytes(text: &str) -> usize {
    let to = address("10.10.10.2:5060");
    let packet = Packet { at: SystemTime::now(), transport: Transport::Udp, from: to, to, bytes: text.as_bytes() };
    let mut out = Vec::new();
    encode(&packet, &collector(Transport::Udp, to), &mut out).unwrap();
    out.len()
}
