//! What waits for a sink, and the thread that serves it. A sink that fails is tried again; one that stands still fills
//! its own queue, and what finds no room there is counted.

use super::record::CallRecord;
use crate::limits::{SINK_BATCH, SINK_QUEUE};
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often an idle sink looks for records.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The first pause after a failure; it doubles up to the longest.
const RETRY_AFTER: Duration = Duration::from_millis(250);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
/// How long a sink may still work when the process ends.
const LAST_WORK: Duration = Duration::from_secs(3);

/// Where records go.
pub trait Sink: Send {
    /// The label of its metrics: `file`, `database` or `webhook`.
    fn name(&self) -> &'static str;
    /// Takes all of these, or none; the same are offered again after an error. May wait.
    fn write(&mut self, records: &[Arc<CallRecord>]) -> Result<(), String>;
    /// Called now and then, also when nothing is to be written; true when there is more to do at once.
    fn tend(&mut self) -> bool {
        false
    }
    /// What it keeps count of itself.
    fn held(&self) -> Held {
        Held::default()
    }
}

/// What a sink counts behind its queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Held {
    /// Records that it took and has not delivered.
    pub waiting: u64,
    /// Records that it took and had to give up.
    pub given_up: u64,
    /// Deliveries that failed.
    pub failures: u64,
}

/// What waits for one sink.
#[derive(Debug)]
pub struct Queue {
    name: &'static str,
    room: usize,
    waiting: Mutex<VecDeque<Arc<CallRecord>>>,
    written: AtomicU64,
    lost: AtomicU64,
    held: AtomicU64,
    given_up: AtomicU64,
    failures: AtomicU64,
    failed_behind: AtomicU64,
    is_ending: AtomicBool,
}

/// A sink's numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SinkCounts {
    /// Its label.
    pub name: &'static str,
    /// Records that it took.
    pub written: u64,
    /// Records that found no room, or were given up.
    pub lost: u64,
    /// Records that wait.
    pub waiting: u64,
    /// Attempts that failed.
    pub failures: u64,
}

impl Queue {
    pub(super) fn new(name: &'static str, room: usize) -> Queue {
        Queue {
            name,
            room,
            waiting: Mutex::default(),
            written: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            held: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            failed_behind: AtomicU64::new(0),
            is_ending: AtomicBool::new(false),
        }
    }

    /// Leaves records for the sink, and counts those as lost for which it has no room.
    pub(super) fn put(&self, records: &[Arc<CallRecord>]) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (fits, lost) = records.split_at(self.room.saturating_sub(waiting.len()).min(records.len()));
        waiting.extend(fits.iter().map(Arc::clone));
        self.lost.fetch_add(u64::try_from(lost.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Its numbers now.
    pub fn counts(&self) -> SinkCounts {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len();
        let read = |value: &AtomicU64| value.load(Ordering::Relaxed);
        SinkCounts {
            name: self.name,
            written: read(&self.written),
            lost: read(&self.lost) + read(&self.given_up),
            waiting: u64::try_from(waiting).unwrap_or(u64::MAX) + read(&self.held),
            failures: read(&self.failures) + read(&self.failed_behind),
        }
    }

    fn note(&self, held: Held) {
        self.held.store(held.waiting, Ordering::Relaxed);
        self.given_up.store(held.given_up, Ordering::Relaxed);
        self.failed_behind.store(held.failures, Ordering::Relaxed);
    }

    fn first(&self) -> Vec<Arc<CallRecord>> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.iter().take(SINK_BATCH).map(Arc::clone).collect()
    }

    fn took(&self, count: usize) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let present = count.min(waiting.len());
        waiting.drain(..present);
        self.written.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// A sink at work on its thread.
#[derive(Debug)]
pub(super) struct Working {
    pub(super) queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

/// Starts a sink's thread.
pub(super) fn start(sink: Box<dyn Sink>) -> io::Result<Working> {
    let queue = Arc::new(Queue::new(sink.name(), SINK_QUEUE));
    let own = Arc::clone(&queue);
    let name = format!("records-{}", sink.name());
    let thread = std::thread::Builder::new().name(name).spawn(move || serve(&own, sink))?;
    Ok(Working { queue, thread: Some(thread) })
}

impl Working {
    /// Lets it finish what waits, within its time, and counts what is left as lost.
    pub(super) fn end(&mut self) {
        self.queue.is_ending.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + LAST_WORK + LOOK_EVERY;
        let Some(thread) = self.thread.take() else { return };
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let left = self.queue.waiting.lock().unwrap_or_else(PoisonError::into_inner).len();
        if left > 0 {
            self.queue.lost.fetch_add(u64::try_from(left).unwrap_or(u64::MAX), Ordering::Relaxed);
            tracing::error!(
                sink = self.queue.name,
                records = left,
                "call records are lost with the end of the process"
            );
        }
    }
}

fn serve(queue: &Queue, mut sink: Box<dyn Sink>) {
    let mut pause = RETRY_AFTER;
    let mut ends_by: Option<Instant> = None;
    let jitter = RandomState::new();
    loop {
        if queue.is_ending.load(Ordering::Relaxed) {
            let ends_by = *ends_by.get_or_insert_with(|| Instant::now() + LAST_WORK);
            if queue.first().is_empty() || Instant::now() > ends_by {
                return;
            }
        }
        let records = queue.first();
        let has_more = if records.is_empty() {
            sink.tend()
        } else {
            match sink.write(&records) {
                Ok(()) => {
                    queue.took(records.len());
                    pause = RETRY_AFTER;
                    sink.tend() || records.len() == SINK_BATCH
                }
                Err(fault) => {
                    let failures = queue.failures.fetch_add(1, Ordering::Relaxed);
                    if failures == 0 || pause == RETRY_AFTER_MAX || pause == RETRY_AFTER {
                        tracing::error!(sink = queue.name, %fault, "call records are not taken, and are kept for later");
                    }
                    wait(queue, jittered(&jitter, failures, pause));
                    pause = (pause * 2).min(RETRY_AFTER_MAX);
                    queue.note(sink.held());
                    continue;
                }
            }
        };
        queue.note(sink.held());
        if !has_more {
            wait(queue, LOOK_EVERY);
        }
    }
}

/// Waits, or until the process ends.
fn wait(queue: &Queue, pause: Duration) {
    let until = Instant::now() + pause;
    let was_ending = queue.is_ending.load(Ordering::Relaxed);
    while Instant::now() < until && queue.is_ending.load(Ordering::Relaxed) == was_ending {
        std::thread::sleep(LOOK_EVERY.min(until.saturating_duration_since(Instant::now())));
    }
}

/// From half of the pause to the whole of it: many proxies do not come back to a server at the same moment.
pub(super) fn jittered(random: &RandomState, nonce: u64, pause: Duration) -> Duration {
    let part = u32::try_from(random.hash_one(nonce) % 512).unwrap_or_default();
    pause / 2 + pause / 1_024 * part
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};

    struct Flaky {
        fails: u32,
        seen: Sender<Vec<String>>,
    }

    impl Sink for Flaky {
        fn name(&self) -> &'static str {
            "file"
        }

        fn write(&mut self, records: &[Arc<CallRecord>]) -> Result<(), String> {
            if self.fails > 0 {
                self.fails -= 1;
                return Err("no room on the disk".to_owned());
            }
            self.seen
                .send(records.iter().map(|record| record.id.to_string()).collect())
                .map_err(|error| error.to_string())
        }
    }

    fn record(id: usize) -> Arc<CallRecord> {
        Arc::new(CallRecord { id: id.to_string().into(), ..CallRecord::default() })
    }

    #[test]
    fn a_sink_that_fails_gets_the_same_records_again_in_order() {
        let (seen, sees) = channel();
        let mut working = start(Box::new(Flaky { fails: 2, seen })).unwrap();
        for id in 0..700 {
            working.queue.put(&[record(id)]);
        }
        let mut got = Vec::new();
        while got.len() < 700 {
            got.extend(sees.recv_timeout(Duration::from_secs(20)).unwrap());
        }
        assert_eq!(got, (0..700).map(|id| id.to_string()).collect::<Vec<_>>());
        working.end();
        let counts = working.queue.counts();
        assert_eq!((counts.written, counts.lost, counts.waiting, counts.failures), (700, 0, 0, 2));
    }

    #[test]
    fn what_finds_no_room_is_counted_and_what_waits_stays() {
        let queue = Queue::new("file", 3);
        (0..5).for_each(|id| queue.put(&[record(id)]));
        queue.put(&[record(5), record(6)]);
        assert_eq!((queue.counts().lost, queue.counts().waiting), (4, 3));
        assert_eq!(queue.first().iter().map(|record| &*record.id).collect::<Vec<_>>(), ["0", "1", "2"]);
    }

    #[test]
    fn pauses_vary_between_half_and_whole() {
        let random = RandomState::new();
        let pauses: Vec<Duration> = (0..100).map(|nonce| jittered(&random, nonce, Duration::from_secs(1))).collect();
        assert!(pauses.iter().all(|pause| (500..=1_000).contains(&pause.as_millis())));
        assert!(pauses.iter().collect::<std::collections::HashSet<_>>().len() > 10);
    }
}
