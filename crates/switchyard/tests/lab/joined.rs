//! Datagrams that leave together, through a real tunnel with its own limit on what it carries uncut.

use crate::site::{PROXY, sip};
use lab::process::PATIENCE;
use lab::{Lab, Node};
use proxy::ListenerId;
use socket2::SockRef;
use std::net::{SocketAddr, UdpSocket as Plain};
use std::time::Instant;
use switchyard::udp::{BUFFER_BYTES, Batch, Interfaces, Sent, UdpSocket, open};

const CALLS: usize = 40;
const SHORT_BYTES: usize = 300;
/// More than WireGuard's 1,420 with its headers.
const LONG_BYTES: usize = 1_500;

/// Two datagrams of each call, a short one and then a long one.
fn datagrams() -> Vec<Vec<u8>> {
    let of_call = |call: usize| {
        [SHORT_BYTES, LONG_BYTES].map(|bytes| {
            let mut datagram = format!("BYE sip:x SIP/2.0\r\nCall-ID: {call:02}@prod\r\n\r\n{bytes:04}").into_bytes();
            datagram.resize(bytes, b'x');
            datagram
        })
    };
    (0..CALLS).flat_map(of_call).collect()
}

/// Those of the call, in the order in which they are given.
fn of_call(datagrams: &[Vec<u8>], call: usize) -> Vec<&Vec<u8>> {
    let line = format!("Call-ID: {call:02}@");
    datagrams.iter().filter(|datagram| String::from_utf8_lossy(datagram).contains(&line)).collect()
}

/// Rows W4 and W11: what is too long for the tunnel leaves in fragments, and keeps nobody else back.
#[test]
fn w4_datagrams_too_long_for_the_tunnel_leave_singly_and_all_arrive() {
    let lab = Lab::up(63).unwrap();
    let receiver = lab.inside(Some(Node::Staging), || Plain::bind(sip(Node::Staging))).unwrap().unwrap();
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    // A round comes whole before it is read: with what the kernel counts beside the bytes, about as much as a socket holds
    // that asks for nothing.
    SockRef::from(&receiver).set_recv_buffer_size(BUFFER_BYTES).unwrap();
    let (socket, _) = lab.inside(Some(Node::Prod), || open(PROXY.into())).unwrap().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let mut sender = UdpSocket::new(ListenerId(0), socket).unwrap();

    let (to, all) = (SocketAddr::from(sip(Node::Staging)), datagrams());
    // The second time it is known what the tunnel refuses.
    for round in 1..=2 {
        // Only who has spoken lately gets datagrams together.
        receiver.send_to(b"\r\n\r\n", PROXY).unwrap();
        let (mut batch, until) = (Batch::new(), Instant::now() + PATIENCE);
        while batch.is_empty() {
            assert!(Instant::now() < until, "round {round}: nothing came");
            sender.receive_untold(&mut batch, &Interfaces::default()).unwrap();
        }
        let mut sent = Sent::default();
        sender.send(all.iter().map(|datagram| (to, datagram.as_slice())), &mut sent);
        assert_eq!((sent.datagrams, sent.waiting, sent.failed.len()), (2 * CALLS as u64, 0, 0), "round {round}");
        // The short ones together, where the kernel does that on a device that computes no checksums.
        assert!([0, CALLS as u64].contains(&sent.joined), "round {round}: {} together", sent.joined);
        let mut slot = vec![0; 2 * LONG_BYTES];
        let next = |_| receiver.recv(&mut slot).map(|len| slot[..len].to_vec()).unwrap();
        let arrived: Vec<Vec<u8>> = (0..2 * CALLS).map(next).collect();
        for call in 0..CALLS {
            assert_eq!(of_call(&arrived, call), of_call(&all, call), "round {round}, call {call}");
        }
    }
}
