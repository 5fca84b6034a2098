//! The bare relay: every datagram of one peer goes to the other, nothing is read. What is left is the kernel's own cost.

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const BATCH: usize = 16;
const SLOT_BYTES: usize = 4_096;
/// How often a relay with nothing to do looks whether it should end.
const LOOKS_EVERY: Duration = Duration::from_millis(100);

/// Relays on `socket` between two peers until `end` is set. What others send is dropped.
pub fn relay(socket: &UdpSocket, peers: [SocketAddrV4; 2], end: &AtomicBool) -> io::Result<()> {
    socket.set_read_timeout(Some(LOOKS_EVERY))?;
    let fd = socket.as_raw_fd();
    let [one, other] = peers.map(SockaddrIn::from);
    let mut slots = Box::new([[0; SLOT_BYTES]; BATCH]);
    let mut arriving = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut leaving = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut arrived: Vec<(SockaddrIn, usize)> = Vec::with_capacity(BATCH);
    while !end.load(Ordering::Relaxed) {
        arrived.clear();
        let of = |from: Option<SockaddrIn>| match from {
            Some(from) if from == one => Some(other),
            Some(from) if from == other => Some(one),
            _ => None,
        };
        let mut slices = slots.each_mut().map(|slot| [IoSliceMut::new(slot)]);
        match recvmmsg(fd, &mut arriving, slices.iter_mut(), MsgFlags::MSG_WAITFORONE, None) {
            Ok(received) => arrived.extend(received.map(|message| match of(message.address) {
                Some(to) => (to, message.bytes),
                None => (one, 0),
            })),
            Err(nix::Error::EAGAIN | nix::Error::EINTR | nix::Error::ECONNREFUSED) => continue,
            Err(error) => return Err(error.into()),
        }
        let known = slots.iter().zip(&arrived).filter(|(_, (_, len))| *len > 0);
        let (bytes, to): (Vec<_>, Vec<_>) =
            known.map(|(slot, (to, len))| ([IoSlice::new(slot.get(..*len).unwrap_or_default())], Some(*to))).unzip();
        if !bytes.is_empty() {
            // What the kernel does not take is lost, as on any wire; its sender sends it again.
            let _sent = sendmmsg(fd, &mut leaving, bytes.iter(), &to, [], MsgFlags::empty());
        }
    }
    Ok(())
}
