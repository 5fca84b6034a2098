//! Where nothing may arrive.
#![expect(clippy::unwrap_used, clippy::panic, reason = "it serves tests alone: a fault here is the test's failure")]

use std::net::UdpSocket;

/// A place where nothing may arrive.
#[derive(Debug)]
pub struct Silence(UdpSocket);

impl Silence {
    /// At this socket.
    pub fn at(socket: UdpSocket) -> Silence {
        socket.set_nonblocking(true).unwrap();
        Silence(socket)
    }

    /// Fails the test if anything came until now.
    pub fn held(&self) {
        let mut slot = [0; 65_536];
        if let Ok((size, from)) = self.0.recv_from(&mut slot) {
            let text = String::from_utf8_lossy(slot.get(..size).unwrap()).into_owned();
            panic!("{:?} got from {from}, where nothing was expected:\n{text}", self.0.local_addr());
        }
    }
}
