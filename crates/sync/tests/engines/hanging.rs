//! A way to the server that hangs: connections that stay and carry nothing, and the pace at which it is tried again.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use directory::{Directory, Environment};
use sync::{Mapping, SyncFault};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::bench::{Bench, PATIENCE, environment};
use crate::detection::{NEVER, install, logging};
use crate::reading::on_each_engine;
use crate::server::Engine;

on_each_engine! {
    d3_another_server_that_takes_over_is_read_whole,
    d4_a_half_open_connection_is_given_up_and_tried_again_ever_later,
    d4_a_way_that_is_cut_loses_nothing,
    d4_a_slow_way_is_waited_for_as_long_as_rows_come,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    /// Everything is carried.
    Pass,
    /// Everything is carried, [`TRICKLE_BYTES`] at a time with a pause behind each.
    Trickle,
    /// Connections are taken and stay, and nothing is carried: what a host that is gone looks like.
    Swallow,
    /// Connections are closed as soon as they are made, and those that stand as well.
    Cut,
}

const TRICKLE_BYTES: usize = 128;
const TRICKLE_PAUSE: Duration = Duration::from_millis(25);

/// A way to the server that can be spoiled.
struct Relay {
    port: u16,
    mode: watch::Sender<Mode>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    accepted: AtomicUsize,
    open: AtomicUsize,
    most_open: AtomicUsize,
}

impl Relay {
    async fn to(port: u16) -> Relay {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (mode, modes) = watch::channel(Mode::Pass);
        let relay = Relay { port: listener.local_addr().unwrap().port(), mode, counts: Arc::default() };
        let counts = Arc::clone(&relay.counts);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                counts.accepted.fetch_add(1, Ordering::SeqCst);
                let open = counts.open.fetch_add(1, Ordering::SeqCst) + 1;
                counts.most_open.fetch_max(open, Ordering::SeqCst);
                let (counts, modes) = (Arc::clone(&counts), modes.clone());
                tokio::spawn(async move {
                    connect(client, port, modes).await;
                    counts.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        relay
    }

    fn is(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    fn accepted(&self) -> usize {
        self.counts.accepted.load(Ordering::SeqCst)
    }
}

/// Carries a connection until the client goes or it is cut.
async fn connect(client: TcpStream, port: u16, mut modes: watch::Receiver<Mode>) {
    let mut is_cut = modes.clone();
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return };
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let answers = modes.clone();
    let back = tokio::spawn(async move { carry(&mut from_server, &mut to_client, &answers).await });
    let there = carry(&mut from_client, &mut to_server, &modes);
    tokio::select! {
        () = there => {}
        _ = is_cut.wait_for(|mode| *mode == Mode::Cut) => {}
    }
    back.abort();
    modes.mark_unchanged();
}

async fn carry(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin), modes: &watch::Receiver<Mode>) {
    let mut bytes = [0; 16_384];
    while let Ok(len @ 1..) = from.read(&mut bytes).await {
        let mode = *modes.borrow();
        let (piece_bytes, pause) = match mode {
            Mode::Pass => (len, Duration::ZERO),
            Mode::Trickle => (TRICKLE_BYTES, TRICKLE_PAUSE),
            Mode::Swallow | Mode::Cut => continue,
        };
        for piece in bytes[..len].chunks(piece_bytes) {
            if to.write_all(piece).await.is_err() {
                return;
            }
            tokio::time::sleep(pause).await;
        }
    }
}

/// A bench whose writer comes by way of a relay.
async fn relayed(engine: Engine, timeout: Duration) -> (Bench, Relay) {
    let bench = Bench::start(engine).await;
    let relay = Relay::to(bench.server.port).await;
    let bench = by_way_of(&relay, bench, timeout).await;
    (bench, relay)
}

/// The bench with another writer, which has read everything by way of the relay.
async fn by_way_of(relay: &Relay, bench: Bench, timeout: Duration) -> Bench {
    bench.watcher.stop().await;
    let url = bench.server.url("switchyard:s3cret", relay.port, &bench.database);
    let mut bench = bench
        .again(|settings| {
            settings.url = url;
            settings.query_timeout = timeout;
            settings.reconcile_interval = NEVER;
            settings.poll_interval = Duration::from_millis(50);
            settings.retry_interval_max = Duration::from_millis(800);
        })
        .await;
    bench.until(Directory::is_loaded).await;
    bench
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never {what}"));
}

/// Row D3: the address leads to another server, whose rows are others and whose change log is younger than what was
/// read of the last one. Nothing of the old one counts, without any full reading that comes by itself.
async fn d3_another_server_that_takes_over_is_read_whole(engine: Engine) {
    let goes =
        |word: &str| format!("UPDATE did_numbers SET routing_environment = '{word}' WHERE number = '08065978002'");
    let bench = logging(engine).await;
    let relay = Relay::to(bench.server.port).await;
    let mut bench = by_way_of(&relay, bench, Duration::from_secs(10)).await;
    for word in ["oss", "staging", "prod", "oss"] {
        bench.write(&goes(word)).await;
        let wanted: Environment = word.parse().unwrap();
        bench.until(|directory| environment(directory, "08065978002") == Some(wanted)).await;
    }
    relay.is(Mode::Cut);
    bench.fault().await;
    bench.replace("DELETE FROM did_numbers WHERE number = '+918065978003'").await;
    install(&bench, Mapping::default()).await;
    assert_eq!((bench.directory().did_count(), bench.watcher.status().is_degraded()), (55, true));
    relay.is(Mode::Pass);
    let directory = bench.until(|directory| directory.did_count() == 54).await;
    assert_eq!(environment(&directory, "08065978002"), Some(Environment::Prod));
    bench.recovered().await;
    // By the log of the new one.
    bench.write(&goes("staging")).await;
    bench.until(|directory| environment(directory, "08065978002") == Some(Environment::Staging)).await;
}

/// Row D4: each look is given up in time, one connection is tried at a time, ever later up to the most, and look-ups
/// cost nothing meanwhile.
async fn d4_a_half_open_connection_is_given_up_and_tried_again_ever_later(engine: Engine) {
    let timeout = Duration::from_millis(500);
    let (mut bench, relay) = relayed(engine, timeout).await;
    let begun = Instant::now();
    relay.is(Mode::Swallow);
    relay.counts.most_open.store(0, Ordering::SeqCst);
    let before = relay.accepted();
    assert_eq!(bench.fault().await, SyncFault::TimedOut(timeout));
    until("five connections", || relay.accepted() >= before + 5).await;
    let took = begun.elapsed();
    // Four looks time out before the fifth; waits of 50, 100, 200 and 400 ms at least, of which half at least is kept.
    let least = timeout * 4 + Duration::from_millis(50 + 100 + 200 + 400) / 2;
    assert!(took >= least, "five connections in {took:?}, expected {least:?} at least");
    // One, and perhaps the one before, whose end has not come through.
    let most = relay.counts.most_open.load(Ordering::SeqCst);
    assert!(most <= 2, "{most} connections at one time");
    let looked_at = Instant::now();
    assert_eq!(bench.directory().did_count(), 55);
    assert!(looked_at.elapsed() < timeout);
    assert!(bench.watcher.status().is_degraded());
    bench.write("UPDATE did_numbers SET routing_environment = 'oss' WHERE number = '08065978002'").await;
    relay.is(Mode::Pass);
    bench.until(|directory| environment(directory, "08065978002") == Some(Environment::Oss)).await;
    bench.recovered().await;
}

/// Row D4: the limit is for the next row. A reading that takes several times as long is finished, and one whose rows
/// stop coming is given up.
async fn d4_a_slow_way_is_waited_for_as_long_as_rows_come(engine: Engine) {
    let timeout = Duration::from_secs(1);
    let (bench, relay) = relayed(engine, timeout).await;
    relay.is(Mode::Trickle);
    let begun = Instant::now();
    let bench = by_way_of(&relay, bench, timeout).await;
    let took = begun.elapsed();
    assert!(took > timeout * 2, "read in {took:?}, expected the way to be slower");
    assert_eq!(bench.directory().did_count(), 55);
    assert_eq!(bench.watcher.status().fault, None);
    relay.is(Mode::Swallow);
    assert_eq!(bench.fault().await, SyncFault::TimedOut(timeout));
    relay.is(Mode::Pass);
    bench.recovered().await;
}

/// Row D4: a way that closes every connection, again and again.
async fn d4_a_way_that_is_cut_loses_nothing(engine: Engine) {
    let (mut bench, relay) = relayed(engine, Duration::from_secs(10)).await;
    for word in ["oss", "staging", "prod", "oss"] {
        relay.is(Mode::Cut);
        bench.fault().await;
        bench
            .write(&format!("UPDATE did_numbers SET routing_environment = '{word}' WHERE number = '08065978002'"))
            .await;
        relay.is(Mode::Pass);
        let wanted: Environment = word.parse().unwrap();
        bench.until(|directory| environment(directory, "08065978002") == Some(wanted)).await;
        bench.recovered().await;
    }
    assert_eq!(bench.directory().did_count(), 55);
}
