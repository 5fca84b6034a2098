//! A stranger who sends INVITEs at an even pace: `flood FROM TO PER_SECOND SECONDS`, addresses as `127.0.0.66:5060`.
//!
//! Prints `sent N`, and `unsent N` for what its own kernel had no room for.

#![expect(clippy::print_stdout, reason = "a measuring program speaks to the terminal")]

use anyhow::{Context, Result};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Datagrams between two looks at the clock.
const AT_ONCE: u64 = 32;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [from, to, per_second, seconds] = words.as_slice() else {
        anyhow::bail!("expected FROM TO PER_SECOND SECONDS, found {words:?}");
    };
    let to: SocketAddr = to.parse().with_context(|| format!("{to} is no address"))?;
    let (per_second, seconds): (u64, u64) = (per_second.parse()?, seconds.parse()?);
    let socket = UdpSocket::bind(from).with_context(|| format!("{from} cannot be bound"))?;
    let (mut sent, mut unsent) = (0, 0);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(seconds) {
        let due = u64::try_from(begun.elapsed().as_micros())? * per_second / 1_000_000;
        if sent + unsent >= due {
            std::thread::sleep(Duration::from_micros(50));
            continue;
        }
        for _ in 0..AT_ONCE.min(due - sent - unsent) {
            match socket.send_to(invite(from, &to, sent + unsent).as_bytes(), to) {
                Ok(_) => sent += 1,
                Err(_) => unsent += 1,
            }
        }
    }
    println!("sent {sent}\nunsent {unsent}\nper_second {}", sent / seconds.max(1));
    Ok(())
}

fn invite(from: &str, to: &SocketAddr, number: u64) -> String {
    format!(
        "INVITE sip:+918065978000@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {from};rport;branch=z9hG4bKflood{number}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:100@{from}>;tag={number}\r\nTo: <sip:+918065978000@{to}>\r\n\
         Call-ID: {number}@flood\r\nCSeq: 1 INVITE\r\nContact: <sip:100@{from}>\r\nUser-Agent: friendly-scanner\r\n\
         Content-Length: 0\r\n\r\n"
    )
}
