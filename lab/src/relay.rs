//! The outer path: a relay of UDP datagrams between each spoke and the hub, that does to them what it is told.
//!
//! To the hub every spoke appears at an address of the relay, as behind the NAT of its provider; a spoke sends to the
//! relay as if it were the hub. So the hub learns where a spoke is from what comes, and a spoke can roam.

mod line;

pub use line::{Counts, ON_THE_WAY, REORDER_HOLD};

use crate::namespace::inside;
use crate::wireguard::PORT;
use crate::{Impairment, Node};
use anyhow::{Context, Result};
use line::Line;
use std::io;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a direction's thread waits at most before it looks whether anything has changed.
const LOOK: Duration = Duration::from_millis(20);
/// Any UDP datagram fits.
const SLOT_BYTES: usize = 65_536;

/// Which way a datagram goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From a spoke to prod.
    ToHub,
    /// From prod to a spoke.
    ToSpoke,
}

/// A running relay. It ends when it is dropped.
#[derive(Debug)]
pub struct Relay {
    paths: Vec<Arc<Path>>,
    threads: Vec<JoinHandle<()>>,
    ends: Arc<AtomicBool>,
    namespace: String,
}

/// The path between one spoke and the hub.
struct Path {
    spoke: Node,
    to_hub: Mutex<Line>,
    to_spoke: Mutex<Line>,
    /// What the spoke talks to.
    spoke_side: UdpSocket,
    /// What the hub talks to; another one after roaming.
    hub_side: Mutex<Arc<UdpSocket>>,
    /// Where the spoke was last heard.
    spoke_address: Mutex<Option<SocketAddr>>,
}

impl std::fmt::Debug for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Path").field("spoke", &self.spoke).finish_non_exhaustive()
    }
}

impl Relay {
    /// Where `spoke` finds the hub.
    pub(crate) fn endpoint(spoke: Node) -> SocketAddrV4 {
        SocketAddrV4::new(spoke.wan_address(), PORT)
    }

    /// Starts with clean paths in the namespace that the outer interfaces lead to.
    pub(crate) fn start(namespace: &str, seed: u64) -> Result<Relay> {
        let ends = Arc::new(AtomicBool::new(false));
        let (mut paths, mut threads) = (Vec::new(), Vec::new());
        for (spoke, seed) in Node::SPOKES.into_iter().zip((seed..).step_by(2)) {
            let endpoint = Relay::endpoint(spoke);
            let spoke_side = inside(namespace, move || UdpSocket::bind(endpoint))?.context("the relay's socket")?;
            spoke_side.set_nonblocking(false)?;
            let now = Instant::now();
            let path = Arc::new(Path {
                spoke,
                to_hub: Mutex::new(Line::new(seed, now)),
                to_spoke: Mutex::new(Line::new(seed + 1, now)),
                spoke_side,
                hub_side: Mutex::new(Arc::new(hub_side(namespace)?)),
                spoke_address: Mutex::new(None),
            });
            for run in [to_hub, to_spoke] {
                let (path, ends) = (Arc::clone(&path), Arc::clone(&ends));
                threads.push(std::thread::spawn(move || run(&path, &ends)));
            }
            paths.push(path);
        }
        Ok(Relay { paths, threads, ends, namespace: namespace.to_owned() })
    }

    /// Impairs both directions of every path from now on.
    pub fn impair(&self, impairment: Impairment) {
        Node::SPOKES.into_iter().for_each(|spoke| self.impair_path(spoke, impairment));
    }

    /// Impairs both directions of the path of `spoke`. The hub has no path of its own: nothing happens.
    pub fn impair_path(&self, spoke: Node, impairment: Impairment) {
        self.impair_one_way(spoke, Direction::ToHub, impairment);
        self.impair_one_way(spoke, Direction::ToSpoke, impairment);
    }

    /// Impairs one direction of the path of `spoke`.
    pub fn impair_one_way(&self, spoke: Node, direction: Direction, impairment: Impairment) {
        for path in self.paths.iter().filter(|path| path.spoke == spoke) {
            locked(path.line(direction)).impair(Instant::now(), impairment);
        }
    }

    /// What became of the datagrams of one direction.
    pub fn counts(&self, spoke: Node, direction: Direction) -> Counts {
        let path = self.paths.iter().find(|path| path.spoke == spoke);
        path.map_or_else(Counts::default, |path| locked(path.line(direction)).counts())
    }

    /// What became of all datagrams.
    pub fn all_counts(&self) -> Counts {
        let mut all = Counts::default();
        for path in &self.paths {
            all += locked(&path.to_hub).counts();
            all += locked(&path.to_spoke).counts();
        }
        all
    }

    /// From now on `spoke` appears to the hub at another port, as after a change of its provider's NAT.
    pub fn roam(&self, spoke: Node) -> Result<()> {
        for path in self.paths.iter().filter(|path| path.spoke == spoke) {
            *locked(&path.hub_side) = Arc::new(hub_side(&self.namespace)?);
        }
        Ok(())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ended = thread.join();
        }
    }
}

impl Path {
    fn line(&self, direction: Direction) -> &Mutex<Line> {
        match direction {
            Direction::ToHub => &self.to_hub,
            Direction::ToSpoke => &self.to_spoke,
        }
    }
}

fn hub_side(namespace: &str) -> Result<UdpSocket> {
    let own = SocketAddrV4::new(Node::Prod.wan_address(), 0);
    let socket = inside(namespace, move || -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind(own)?;
        socket.connect(SocketAddrV4::new(Node::Prod.outer_address(), PORT))?;
        Ok(socket)
    });
    socket?.context("the relay's socket to the hub")
}

fn to_hub(path: &Path, ends: &AtomicBool) {
    let mut slot = vec![0; SLOT_BYTES];
    while !ends.load(Ordering::Relaxed) {
        let hub = Arc::clone(&locked(&path.hub_side));
        // A datagram that the hub is not there for is lost, as any other.
        flush(&path.to_hub, |bytes| drop(hub.send(bytes)));
        if let Some((size, from)) = wait(&path.spoke_side, &path.to_hub, &mut slot) {
            *locked(&path.spoke_address) = Some(from);
            locked(&path.to_hub).take(Instant::now(), slot.get(..size).unwrap_or_default());
        }
    }
}

fn to_spoke(path: &Path, ends: &AtomicBool) {
    let mut slot = vec![0; SLOT_BYTES];
    while !ends.load(Ordering::Relaxed) {
        let spoke = *locked(&path.spoke_address);
        flush(&path.to_spoke, |bytes| {
            if let Some(spoke) = spoke {
                drop(path.spoke_side.send_to(bytes, spoke));
            }
        });
        let hub = Arc::clone(&locked(&path.hub_side));
        if let Some((size, _)) = wait(&hub, &path.to_spoke, &mut slot) {
            locked(&path.to_spoke).take(Instant::now(), slot.get(..size).unwrap_or_default());
        }
    }
}

/// Sends all that is due.
fn flush(line: &Mutex<Line>, send: impl Fn(&[u8])) {
    let mut line = locked(line);
    while let Some(bytes) = line.give(Instant::now()) {
        send(&bytes);
    }
}

/// Waits for a datagram until the next one of the line is due.
fn wait(socket: &UdpSocket, line: &Mutex<Line>, slot: &mut [u8]) -> Option<(usize, SocketAddr)> {
    let next_due = locked(line).next_due();
    let until_due = next_due.map_or(LOOK, |due| due.saturating_duration_since(Instant::now()));
    let limit = until_due.clamp(Duration::from_micros(100), LOOK);
    socket.set_read_timeout(Some(limit)).ok()?;
    socket.recv_from(slot).ok()
}

/// A thread that panicked leaves nothing half done here.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
