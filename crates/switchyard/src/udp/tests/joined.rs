//! Datagrams that leave together: what arrives is what was sent, whatever the kernel says.

use super::*;
use crate::udp::send::WORTH;
use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use proptest::prelude::*;
use std::collections::HashMap;
use std::io::IoSliceMut;
use std::net::{IpAddr, UdpSocket as Plain};
use std::os::fd::AsRawFd;

/// A datagram of a call: which one it is can be told from its bytes.
fn message(call: u8, number: usize, bytes: usize) -> Vec<u8> {
    let mut message =
        format!("BYE sip:x SIP/2.0\r\nCall-ID: call{call}@gw\r\nCSeq: {number:04} BYE\r\n\r\n").into_bytes();
    message.resize(bytes.max(message.len()), b'x');
    message
}

/// The call and the number of such a datagram.
fn told(message: &[u8]) -> (u8, usize) {
    let text = std::str::from_utf8(message).unwrap();
    let between = |from: &str, to: char| text.split_once(from).unwrap().1.split_once(to).unwrap().0.to_owned();
    (between("call", '@').parse().unwrap(), between("CSeq: ", ' ').parse().unwrap())
}

/// Some datagrams: a destination, a call and a length of each. Few of each, so that many are equal.
fn drawn(most: usize) -> impl Strategy<Value = Vec<(u8, u8, usize)>> {
    let bytes = prop_oneof![Just(100_usize), Just(300), Just(301), Just(700), Just(1_500), 80_usize..2_000];
    proptest::collection::vec((0_u8..3, 0_u8..12, bytes), 1..=most)
}

/// Something came from everybody there, and counts as lately until the test is over.
fn hear(outgoing: &mut Outgoing, from: impl IntoIterator<Item = IpAddr>) {
    from.into_iter().for_each(|from| outgoing.heard.note(from, Instant::now() + Duration::from_secs(3_600)));
}

/// A receiver with room for all that a test sends.
fn receiver(address: &str) -> Plain {
    let socket = Plain::bind(address).unwrap();
    SockRef::from(&socket).set_recv_buffer_size(BUFFER_BYTES).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// The next datagrams of a receiver, so many.
fn arrived(receiver: &Plain, count: usize) -> Vec<Vec<u8>> {
    let mut slot = vec![0; SLOT_BYTES];
    let next = |_| receiver.recv(&mut slot).map(|len| slot[..len].to_vec()).unwrap();
    (0..count).map(next).collect()
}

/// Nothing more has arrived, nor will: on this machine a datagram has arrived when it is sent.
fn is_empty(receiver: &Plain) -> bool {
    receiver.set_nonblocking(true).unwrap();
    let is_empty = receiver.recv(&mut [0; 1]).is_err();
    receiver.set_nonblocking(false).unwrap();
    is_empty
}

/// As they came in, by receiver and call.
fn by_call(datagrams: impl Iterator<Item = (u8, Vec<u8>)>) -> HashMap<(u8, u8), Vec<Vec<u8>>> {
    let mut sorted: HashMap<(u8, u8), Vec<Vec<u8>>> = HashMap::new();
    for (to, bytes) in datagrams {
        sorted.entry((to, told(&bytes).0)).or_default().push(bytes);
    }
    sorted
}

/// Sends datagrams to receivers, and compares what arrives.
fn crosses(from: &str, to: [&str; 3], datagrams: &[(u8, u8, usize)]) -> Sent {
    let owned: Vec<(u8, Vec<u8>)> =
        datagrams.iter().enumerate().map(|(n, (to, call, bytes))| (*to, message(*call, n, *bytes))).collect();
    runtime().block_on(async {
        let (mut left, receivers) = (opened(from), to.map(receiver));
        let at = |to: u8| receivers[usize::from(to)].local_addr().unwrap();
        hear(&mut left.outgoing, (0..3).map(|to| at(to).ip()));
        let lent: Vec<(SocketAddr, &[u8])> = owned.iter().map(|(to, bytes)| (at(*to), bytes.as_slice())).collect();
        let sent = send(&mut left, &lent);
        let all = (0..).zip(&receivers).flat_map(|(to, receiver)| {
            let count = owned.iter().filter(|(other, _)| *other == to).count();
            arrived(receiver, count).into_iter().map(move |bytes| (to, bytes))
        });
        assert_eq!(by_call(all), by_call(owned.iter().cloned()));
        assert!(receivers.iter().all(is_empty));
        assert_eq!((sent.datagrams, sent.waiting, sent.failed.len()), (lent.len() as u64, 0, 0));
        assert_eq!(sent.bytes, owned.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>());
        sent
    })
}

const RECEIVERS: [&str; 3] = ["127.0.0.3:0", "127.0.0.4:0", "127.0.0.5:0"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Through the real kernel.
    #[test]
    fn what_leaves_together_arrives_whole_and_in_the_order_of_each_call(datagrams in drawn(200)) {
        crosses("127.0.0.2:0", RECEIVERS, &datagrams);
    }

    /// Whatever the kernel says, each datagram leaves once or has failed once, those of a call in order.
    #[test]
    fn whatever_is_refused_nothing_is_lost_and_nothing_leaves_twice(
        drains in proptest::collection::vec(drawn(100), 1..4),
        answers in proptest::collection::vec(0_u8..16, 1..64),
    ) {
        let mut outgoing = Outgoing::new(true);
        // It takes something now and then.
        let mut answers = answers.into_iter().chain([15]).cycle();
        let (mut taken, mut sent) = (Vec::new(), Sent::default());
        let mut kernel = |leaving: Leaving<'_, '_>, is_kind: bool| {
            let answer = if is_kind { 0 } else { answers.next().unwrap() };
            let is_joined = leaving.first() > 1;
            match answer {
                1 => return Err(Errno::EINTR),
                2 => return Err(Errno::EAGAIN),
                3 => return Err(Errno::ENOBUFS),
                4 => return Err(Errno::ECONNREFUSED),
                5 => return Err(Errno::EPERM),
                6 | 7 if is_joined => return Err(Errno::EINVAL),
                8 if is_joined => return Err(Errno::EIO),
                _ => {}
            }
            // Part of what leaves singly, or one message as a whole.
            let count = if is_joined { leaving.first() } else { leaving.singles().min(1 + usize::from(answer)) };
            taken.extend(leaving.until(count).datagrams.iter().map(|(to, bytes)| (*to, bytes.to_vec())));
            Ok(count)
        };
        let at = |to: u8| SocketAddr::from(([10, 10, 10, to], 5060));
        hear(&mut outgoing, (0..3).map(|to| at(to).ip()));
        let mut number = 0..;
        let mut next = |(to, call, bytes): (u8, u8, usize)| (at(to), message(call, number.next().unwrap(), bytes));
        let owned: Vec<Vec<(SocketAddr, Vec<u8>)>> =
            drains.iter().map(|drain| drain.iter().map(|datagram| next(*datagram)).collect()).collect();
        for drain in &owned {
            let lent = drain.iter().map(|(to, bytes)| (*to, bytes.as_slice()));
            outgoing.send(lent, &mut sent, |leaving| kernel(leaving, false));
        }
        sent.waiting = 0;
        outgoing.send(std::iter::empty(), &mut sent, |leaving| kernel(leaving, true));
        prop_assert_eq!(sent.waiting, 0);
        prop_assert_eq!(sent.datagrams, taken.len() as u64);
        prop_assert_eq!(sent.bytes, taken.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>());
        let mut last = HashMap::new();
        for (to, bytes) in &taken {
            let (call, number) = told(bytes);
            prop_assert!(last.insert((*to, call), number).is_none_or(|before| before < number));
        }
        let failed = sent.failed.into_iter().map(|failed| (failed.to, failed.bytes));
        let mut all: Vec<_> = taken.into_iter().chain(failed).collect();
        all.sort_by_key(|(_, bytes)| told(bytes).1);
        prop_assert_eq!(all, owned.concat());
    }
}

/// Answers to 30 calls: a 180 and a 200 each, to two gateways.
fn answers() -> Vec<(u8, u8, usize)> {
    (0..30).flat_map(|call| [(call % 2, call, 500), (call % 2, call, 900)]).collect()
}

/// Limit GROUP: more than one message's worth leaves in several.
#[test]
fn ipv4_and_ipv6_leave_together() {
    let sent = crosses("127.0.0.2:0", RECEIVERS, &answers());
    assert_eq!(sent.joined, 60);
    let many: Vec<(u8, u8, usize)> = (0..150).map(|call| (0, call, 400)).collect();
    assert_eq!(crosses("127.0.0.2:0", RECEIVERS, &many).joined, 150);
    assert_eq!(crosses("[::1]:0", ["[::1]:0"; 3], &answers()).joined, 60);
}

/// The kernel's own words: a receiver that asks for it is told the length of the datagrams that crossed as one message.
fn joined(receiver: &Plain) -> (Vec<u8>, Option<i32>) {
    let (mut slot, mut space) = (vec![0; SLOT_BYTES], cmsg_space!(i32));
    let mut slices = [IoSliceMut::new(&mut slot)];
    let flags = MsgFlags::empty();
    let told = recvmsg::<SockaddrStorage>(receiver.as_raw_fd(), &mut slices, Some(&mut space), flags).unwrap();
    let segment_bytes = told.cmsgs().unwrap().find_map(|control| match control {
        ControlMessageOwned::UdpGroSegments(bytes) => Some(bytes),
        _ => None,
    });
    let len = told.bytes;
    (slot[..len].to_vec(), segment_bytes)
}

/// Limit WORTH.
#[test]
fn they_cross_the_kernel_as_one_message() {
    runtime().block_on(async {
        let (mut left, right) = (opened("127.0.0.2:0"), receiver("127.0.0.3:0"));
        setsockopt(&right, sockopt::UdpGroSegment, &true).unwrap();
        let to = right.local_addr().unwrap();
        hear(&mut left.outgoing, [to.ip()]);
        let owned: Vec<Vec<u8>> =
            (0..WORTH).map(|n| message(u8::try_from(n).unwrap(), n, if n == 2 { 100 } else { 300 })).collect();
        let lent: Vec<(SocketAddr, &[u8])> = owned.iter().map(|bytes| (to, bytes.as_slice())).collect();
        assert_eq!(send(&mut left, &lent).joined, WORTH as u64);
        let (bytes, segment_bytes) = joined(&right);
        let (short, long): (Vec<_>, Vec<_>) = owned.iter().cloned().partition(|bytes| bytes.len() == 100);
        assert_eq!((bytes, segment_bytes), ([long.concat(), short.concat()].concat(), Some(300)));

        // Fewer are not worth it, and a kernel that does not know of it is never asked.
        assert_eq!(send(&mut left, &lent[1..]).joined, 0);
        assert_eq!(joined(&right), (owned[1].clone(), None));
        (2..WORTH).for_each(|_| assert_eq!(joined(&right).1, None));
        left.outgoing.joins = false;
        assert_eq!((send(&mut left, &lent).joined, joined(&right).1), (0, None));
    });
}

/// A kernel that refuses what is too long for a device, together, and takes it singly.
fn narrow(mtu: usize, asked: &mut usize, leaving: Leaving<'_, '_>) -> Result<usize, Errno> {
    let is_joined = leaving.first() > 1;
    if is_joined && leaving.datagrams[0].1.len() > mtu {
        *asked += 1;
        return Err(Errno::EINVAL);
    }
    Ok(if is_joined { leaving.first() } else { leaving.singles() })
}

/// Limit PERIOD: it is asked once, for each length that is shorter than one that was refused.
#[test]
fn a_device_that_refuses_is_not_asked_again_at_once() {
    let mut outgoing = Outgoing::new(true);
    let to = SocketAddr::from(([10, 10, 10, 3], 5060));
    hear(&mut outgoing, [to.ip()]);
    let owned: Vec<Vec<u8>> = (0..40).map(|n| message(n, 0, if n % 2 == 0 { 1_500 } else { 300 })).collect();
    let (mut asked, mut sent) = (0, Sent::default());
    for drain in 1..=3 {
        let lent = owned.iter().map(|bytes| (to, bytes.as_slice()));
        outgoing.send(lent, &mut sent, |leaving| narrow(1_392, &mut asked, leaving));
        assert_eq!((asked, sent.datagrams, sent.joined, sent.failed.len()), (1, 40 * drain, 20 * drain, 0));
    }
}

/// Row TP7: where a message of several is refused on its way, ICMP tells of its first datagram alone; the next ones leave singly.
#[test]
fn tp7_a_destination_that_icmp_names_gets_each_datagram_by_itself() {
    runtime().block_on(async {
        let (mut left, live) = (opened("127.0.0.2:0"), receiver("127.0.0.3:0"));
        let dead = Plain::bind("127.0.0.4:0").unwrap().local_addr().unwrap();
        hear(&mut left.outgoing, [dead.ip(), live.local_addr().unwrap().ip()]);
        let owned: Vec<Vec<u8>> = (0..20).map(|n| message(n, n.into(), 300)).collect();
        let lent: Vec<(SocketAddr, &[u8])> = owned.iter().map(|bytes| (dead, bytes.as_slice())).collect();
        assert_eq!(send(&mut left, &lent).joined, 20);
        let mut found = Vec::new();
        while found.is_empty() {
            assert!(ready(&left).await.is_error());
            left.unreachable(&mut found).unwrap();
        }
        assert_eq!((found.len(), found[0].remote, told(&found[0].returned)), (1, dead, (0, 0)));

        found.clear();
        let sent = send(&mut left, &lent);
        assert_eq!((sent.datagrams, sent.joined, sent.failed.len()), (20, 0, 0));
        left.unreachable_untold(&mut found).unwrap();
        assert!(!found.is_empty(), "though nobody has told the worker");
        while found.len() < 20 {
            assert!(ready(&left).await.is_error());
            left.unreachable(&mut found).unwrap();
        }
        let calls: Vec<u8> = found.iter().map(|found| told(&found.returned).0).collect();
        assert_eq!(calls, (0..20).collect::<Vec<u8>>(), "each of them");

        let to_both = lent.iter().flat_map(|(dead, bytes)| [(*dead, *bytes), (live.local_addr().unwrap(), *bytes)]);
        assert_eq!(
            send(&mut left, &to_both.collect::<Vec<_>>()).joined,
            20,
            "the other destination has not lost anything"
        );
        assert_eq!(arrived(&live, 20), owned);
    });
}

/// Row W2: a destination that has said nothing lately may be dead. Each datagram to it leaves by itself, so ICMP tells of each
/// call at once; one that speaks gets them together from then on.
#[test]
fn w2_only_who_has_spoken_gets_datagrams_together() {
    runtime().block_on(async {
        let (mut left, right) = (opened("127.0.0.2:0"), receiver("127.0.0.3:0"));
        let (own, to) = (left.socket.get_ref().local_addr().unwrap(), right.local_addr().unwrap());
        let owned: Vec<Vec<u8>> = (0..20).map(|n| message(n, n.into(), 300)).collect();
        let lent: Vec<(SocketAddr, &[u8])> = owned.iter().map(|bytes| (to, bytes.as_slice())).collect();
        assert_eq!(send(&mut left, &lent).joined, 0, "nobody has spoken");
        assert_eq!(arrived(&right, 20), owned);

        right.send_to(b"\r\n\r\n", own).unwrap();
        let mut batch = Batch::new();
        while batch.is_empty() {
            assert!(ready(&left).await.is_readable());
            left.receive(&mut batch, &Interfaces::default()).unwrap();
        }
        assert!(left.outgoing.heard.knows(to.ip()));
        hear(&mut left.outgoing, [to.ip()]);
        assert_eq!(send(&mut left, &lent).joined, 20);
    });
}

/// Bits of epoll's events.
const EPOLLIN: u32 = 1;
const EPOLLOUT: u32 = 4;

/// The kernel's own words: what it tells the runtime of. Room to send comes with each datagram that has left.
#[test]
fn the_runtime_is_told_of_arrivals_and_not_of_room_to_send() {
    runtime().block_on(async {
        let socket = opened("127.0.0.2:0");
        let own = format!("tfd: {:>8} events: ", socket.socket.as_raw_fd());
        let inode = std::fs::read_link(format!("/proc/self/fd/{}", socket.socket.as_raw_fd())).unwrap();
        let inode = inode.to_str().unwrap().trim_start_matches("socket:[").trim_end_matches(']').to_owned();
        let inode = format!("ino:{:x} ", inode.parse::<u64>().unwrap());
        let mut events = Vec::new();
        for entry in std::fs::read_dir("/proc/self/fdinfo").unwrap() {
            let lines = std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
            let line = lines.lines().find_map(|line| line.strip_prefix(&own).filter(|rest| rest.contains(&inode)));
            events.extend(line.map(|rest| u32::from_str_radix(rest.split_whitespace().next().unwrap(), 16).unwrap()));
        }
        assert!(!events.is_empty(), "{own}");
        assert!(events.iter().all(|events| events & EPOLLIN != 0 && events & EPOLLOUT == 0), "{events:x?}");
    });
}
