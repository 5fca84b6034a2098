//! The bare relay as a program: `relay --listen 127.0.202.1:5060 --peers 127.0.202.2:5060 127.0.202.3:5060`.

use anyhow::{Context, Result};
use clap::Parser;
use socket2::{Domain, Protocol, Socket, Type};
use std::net::SocketAddrV4;
use std::sync::atomic::AtomicBool;

/// Relays datagrams between two peers until it is killed, and reads none.
#[derive(Parser)]
struct Options {
    /// Where it listens.
    #[arg(long, default_value = "127.0.202.1:5060")]
    listen: SocketAddrV4,
    /// The two peers.
    #[arg(long, num_args = 2, default_values = ["127.0.202.2:5060", "127.0.202.3:5060"])]
    peers: Vec<SocketAddrV4>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let &[one, other] = options.peers.as_slice() else { anyhow::bail!("--peers takes two addresses") };
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(4 << 20)?;
    socket.set_send_buffer_size(4 << 20)?;
    socket.bind(&options.listen.into()).with_context(|| format!("cannot listen on {}", options.listen))?;
    benches::bare::relay(&socket.into(), [one, other], &AtomicBool::new(false))?;
    Ok(())
}
