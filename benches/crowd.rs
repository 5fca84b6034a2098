//! A crowd at the admin listener, on connections of fifty clients: streams of events, clients that are slow to write or never
//! read, bodies far too large, and pages that are read. `crowd --help` lists what it is told.
//!
//! It prints `crowded` once every stream is open, and figures as `name value` pairs when its time is over.

#![expect(clippy::print_stdout, reason = "a measuring program speaks to the terminal")]

use anyhow::{Context, Result, ensure};
use clap::Parser;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Clients, each with rates of its own.
const CLIENTS: usize = 50;
/// How often everybody does something.
const TICK: Duration = Duration::from_millis(100);
/// Bytes of a body that is far too large.
const HUGE: usize = 50_000_000;
const STREAMS: [&str; 3] = ["/admin/events", "/admin/calls/events", "/admin/dids/events"];
const PAGES: [&str; 3] = ["/admin/dids", "/admin/calls", "/admin"];

/// Crowds an admin listener for a while.
#[derive(Parser)]
#[command(name = "crowd")]
struct Plan {
    /// The listener; clients are .100 to .149 of its network.
    listener: SocketAddrV4,
    /// A file with an operator's token.
    token: PathBuf,
    /// Seconds from when every stream is open.
    seconds: u64,
    /// Streams of events.
    #[arg(long, default_value_t = 1_000)]
    streams: usize,
    /// Clients that are slow, in four ways.
    #[arg(long, default_value_t = 200)]
    slow: usize,
    /// Pages a second.
    #[arg(long, default_value_t = 20)]
    pages: usize,
}

struct Crowd {
    plan: Plan,
    token: String,
    streams: Vec<TcpStream>,
    slow: Vec<TcpStream>,
    pages: Vec<TcpStream>,
    /// Connections that were made.
    made: usize,
    events_bytes: u64,
    pages_bytes: u64,
    pages_read: u64,
    slow_closed: u64,
    streams_closed: u64,
}

fn main() -> Result<()> {
    let plan = Plan::parse();
    let token = std::fs::read_to_string(&plan.token).with_context(|| format!("{}", plan.token.display()))?;
    let mut crowd = Crowd {
        plan,
        token: token.trim().to_owned(),
        streams: Vec::new(),
        slow: Vec::new(),
        pages: Vec::new(),
        made: 0,
        events_bytes: 0,
        pages_bytes: 0,
        pages_read: 0,
        slow_closed: 0,
        streams_closed: 0,
    };
    for at in 0..crowd.plan.streams {
        let stream = crowd.stream(STREAMS.get(at % STREAMS.len()).copied().unwrap_or_default())?;
        crowd.streams.push(stream);
    }
    println!("crowded");
    let until = Instant::now() + Duration::from_secs(crowd.plan.seconds);
    while Instant::now() < until {
        crowd.tick()?;
    }
    let Crowd { streams, slow_closed, streams_closed, events_bytes, pages_read, pages_bytes, .. } = &crowd;
    println!("streams_open {}\nstreams_closed {streams_closed}\nevents_bytes {events_bytes}", streams.len());
    println!("pages_read {pages_read}\npages_bytes {pages_bytes}\nslow_closed {slow_closed}");
    ensure!(*streams_closed == 0, "{streams_closed} streams of events were closed");
    ensure!(*pages_read > 0, "no page was read");
    Ok(())
}

impl Crowd {
    /// Reads what came on streams, writes a byte for each slow client, asks for pages, and makes up for who was closed.
    fn tick(&mut self) -> Result<()> {
        let begun = Instant::now();
        let mut slot = vec![0; 65_536];
        let before = self.streams.len();
        let bytes = &mut self.events_bytes;
        self.streams.retain_mut(|stream| is_open(stream, &mut slot, bytes));
        self.streams_closed += count(before - self.streams.len());
        let before = self.slow.len();
        self.slow
            .retain_mut(|stream| !matches!(stream.write(b"x"), Err(error) if error.kind() != ErrorKind::WouldBlock));
        self.slow_closed += count(before - self.slow.len());
        // A few at a time: each sends a lot.
        for _ in 0..(self.plan.slow - self.slow.len()).min(10) {
            let slow = self.slow()?;
            self.slow.push(slow);
        }
        let ticks_per_second = 1_000 / TICK.as_millis().max(1);
        for at in 0..self.plan.pages.div_ceil(usize::try_from(ticks_per_second)?) {
            let path = PAGES.get((self.made + at) % PAGES.len()).copied().unwrap_or_default();
            let mut page = self.connect()?;
            page.write_all(self.head("GET", path, "Connection: close\r\n").as_bytes())?;
            page.set_nonblocking(true)?;
            self.pages.push(page);
        }
        let (before, bytes) = (self.pages.len(), &mut self.pages_bytes);
        self.pages.retain_mut(|page| is_open(page, &mut slot, bytes));
        self.pages_read += count(before - self.pages.len());
        std::thread::sleep(TICK.saturating_sub(begun.elapsed()));
        Ok(())
    }

    fn connect(&mut self) -> Result<TcpStream> {
        let to = self.plan.listener;
        let [a, b, c, _] = to.ip().octets();
        let client = u8::try_from(100 + self.made % CLIENTS)?;
        self.made += 1;
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SockAddr::from(SocketAddrV4::new(Ipv4Addr::new(a, b, c, client), 0)))?;
        socket.connect(&SockAddr::from(to)).with_context(|| format!("connection {} to {to}", self.made))?;
        Ok(socket.into())
    }

    fn head(&self, method: &str, path: &str, more: &str) -> String {
        let (host, token) = (self.plan.listener, &self.token);
        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n{more}\r\n")
    }

    /// A stream of events that has begun.
    fn stream(&mut self, path: &str) -> Result<TcpStream> {
        let mut stream = self.connect()?;
        stream.write_all(self.head("GET", path, "").as_bytes())?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        ensure!(head == *b"HTTP/1.1 200", "stream {}: {}", self.made, String::from_utf8_lossy(&head));
        stream.set_nonblocking(true)?;
        Ok(stream)
    }

    /// One who is slow: with his headers, with his body, with reading; or whose body is far too large.
    fn slow(&mut self) -> Result<TcpStream> {
        let kind = self.made % 4;
        let mut stream = self.connect()?;
        stream.set_nonblocking(true)?;
        let change = "/api/v1/dids/+918065900000/environment";
        let json = "If-Match: *\r\nContent-Type: application/json\r\n";
        let sent = match kind {
            0 => "GET /api/v1/status HTTP/1.1\r\nX-Slow: ".to_owned(),
            1 => self.head("PUT", change, &format!("{json}Content-Length: 60000\r\n")) + "{",
            2 => self.head("GET", "/api/v1/dids?limit=1000", "").repeat(4),
            _ => self.head("PUT", change, &format!("{json}Content-Length: {HUGE}\r\n")) + &"x".repeat(1 << 20),
        };
        // What the kernel has no room for, or the listener refuses, is not sent.
        let _written = stream.write(sent.as_bytes());
        Ok(stream)
    }
}

/// Reads what is there; false when the other end has closed.
fn is_open(stream: &mut TcpStream, slot: &mut [u8], bytes: &mut u64) -> bool {
    let mut ready = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
    if !matches!(poll(&mut ready, PollTimeout::ZERO), Ok(1..)) {
        return true;
    }
    match stream.read(slot) {
        Ok(0) => false,
        Ok(length) => {
            *bytes += count(length);
            true
        }
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

fn count(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}
