//! A stranger who sends INVITEs at an even pace: `flood FROM TO PER_SECOND SECONDS`, addresses as `127.0.0.66:5060`.
//!
//! Prints `sent N`, `unsent N` for what its own kernel had no room for, `per_second N`, and `cpu_ns_each N`: what the processor
//! took for each, which is next to nothing but the kernel's part. It shares a core with whoever
//! is measured, so it costs as little as it can: the texts are made before, and many leave with one call of the kernel.

#![expect(clippy::print_stdout, reason = "a measuring program speaks to the terminal")]

use anyhow::{Context, Result};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};
use std::io::IoSlice;
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Datagrams between two looks at the clock.
const AT_ONCE: usize = 32;
/// Different datagrams: a multiple of [`AT_ONCE`], sent in turn.
const TEXTS: usize = 1_024;
/// How long it sleeps when nothing is due.
const PAUSE: Duration = Duration::from_micros(200);

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [from, to, per_second, seconds] = words.as_slice() else {
        anyhow::bail!("expected FROM TO PER_SECOND SECONDS, found {words:?}");
    };
    let to: SocketAddrV4 = to.parse().with_context(|| format!("{to} is no address"))?;
    let (per_second, seconds): (u64, u64) = (per_second.parse()?, seconds.parse()?);
    let socket = UdpSocket::bind(from).with_context(|| format!("{from} cannot be bound"))?;
    let texts: Vec<Vec<u8>> = (0..TEXTS).map(|number| invite(from, &to, number)).collect();
    let mut batches = texts.chunks(AT_ONCE).cycle();
    let mut headers = MultiHeaders::preallocate(AT_ONCE, None);
    let (mut sent, mut unsent) = (0, 0);
    let (begun, spent_ns) = (Instant::now(), cpu_ns()?);
    while begun.elapsed() < Duration::from_secs(seconds) {
        let due = u64::try_from(begun.elapsed().as_micros())? * per_second / 1_000_000;
        let count = usize::try_from(due.saturating_sub(sent + unsent))?.min(AT_ONCE);
        let Some(batch) = batches.next().and_then(|batch| batch.get(..count)).filter(|batch| !batch.is_empty()) else {
            std::thread::sleep(PAUSE);
            continue;
        };
        let slices: Vec<_> = batch.iter().map(|text| [IoSlice::new(text)]).collect();
        let addresses = [Some(SockaddrIn::from(to)); AT_ONCE];
        let taken = sendmmsg(socket.as_raw_fd(), &mut headers, slices.iter(), addresses, [], MsgFlags::empty());
        match taken {
            Ok(taken) => sent += u64::try_from(taken.count())?,
            Err(_) => unsent += u64::try_from(count)?,
        }
    }
    println!("sent {sent}\nunsent {unsent}\nper_second {}", sent / seconds.max(1));
    println!("cpu_ns_each {}", (cpu_ns()? - spent_ns) / (sent + unsent).max(1));
    Ok(())
}

/// The processor's time of this thread.
fn cpu_ns() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    text.split(' ').next().and_then(|first| first.parse().ok()).context("schedstat has no number")
}

fn invite(from: &str, to: &SocketAddrV4, number: usize) -> Vec<u8> {
    format!(
        "INVITE sip:+918065978000@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {from};rport;branch=z9hG4bKflood{number}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:100@{from}>;tag={number}\r\nTo: <sip:+918065978000@{to}>\r\n\
         Call-ID: {number}@flood\r\nCSeq: 1 INVITE\r\nContact: <sip:100@{from}>\r\nUser-Agent: friendly-scanner\r\n\
         Content-Length: 0\r\n\r\n"
    )
    .into_bytes()
}
