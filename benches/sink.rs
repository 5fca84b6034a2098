//! A capture server that looks at nothing: takes what comes to one socket, counts its bytes, and prints the count each second.
//!
//! One by datagram takes what has come a thousand times a second, and is not woken: a capture server has a machine of its
//! own, and to wake it is no cost of whoever sends.

#![expect(clippy::print_stdout, reason = "a measuring program speaks to the terminal")]

use anyhow::{Context, Result};
use socket2::SockRef;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

/// The longest datagram.
const SLOT_BYTES: usize = 65_536;
/// How often it says how much came.
const SAYS_EVERY: Duration = Duration::from_secs(1);
/// How long datagrams gather, and the buffer in which they do.
const GATHERED_FOR: Duration = Duration::from_millis(1);
const BUFFER_BYTES: usize = 4 << 20;

/// `sink udp:ADDRESS` or `sink tcp:ADDRESS`: until it is ended.
fn main() -> Result<()> {
    let usage = "sink udp:ADDRESS or sink tcp:ADDRESS";
    let argument = std::env::args().nth(1).context(usage)?;
    let (transport, address) = argument.split_once(':').context(usage)?;
    let address: SocketAddr = address.parse().context(usage)?;
    let bound = || format!("{address} cannot be bound");
    match transport {
        "tcp" => {
            let (mut stream, _) = TcpListener::bind(address).with_context(bound)?.accept()?;
            stream.set_read_timeout(Some(SAYS_EVERY))?;
            take(|slot| stream.read(slot).ok());
        }
        _ => {
            let socket = UdpSocket::bind(address).with_context(bound)?;
            SockRef::from(&socket).set_recv_buffer_size(BUFFER_BYTES)?;
            socket.set_nonblocking(true)?;
            take(|slot| {
                let taken = socket.recv(slot).ok();
                if taken.is_none() {
                    std::thread::sleep(GATHERED_FOR);
                }
                taken
            });
        }
    }
    Ok(())
}

/// Takes until nobody is there any more; nothing in a second is no end.
fn take(mut next: impl FnMut(&mut [u8]) -> Option<usize>) {
    let (mut slot, mut bytes, mut said) = (vec![0; SLOT_BYTES], 0, Instant::now());
    println!("received_bytes 0");
    loop {
        match next(&mut slot) {
            Some(0) => return,
            taken => bytes += taken.unwrap_or(0),
        }
        if said.elapsed() >= SAYS_EVERY {
            said = Instant::now();
            println!("received_bytes {bytes}");
        }
    }
}
