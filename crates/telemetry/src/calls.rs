//! What is kept of calls: a record of each attempt, and the journal of the last ones.
//!
//! A worker has a [`Tap`]: it copies the messages and the facts of its turns into one buffer and hands it over, without
//! waiting. One thread takes the buffers of all workers, puts records together, keeps the journal, and leaves each record
//! that is whole to the sinks, every one of which has a thread and a queue of its own.

mod assembler;
mod batch;
mod detail;
mod files;
mod filter;
mod journal;
pub mod json;
mod ladder;
pub mod pcap;
mod queue;
mod record;
mod rules;
mod tap;
mod webhook;

pub use detail::{CallDetail, MessageSummary};
pub use files::{CURRENT, FileSettings, Files};
pub use filter::CallFilter;
pub use journal::{BuildAsItIs, CallNumber, Journal, JournalBounds, KeptCall, KeptMessage, ToldRule};
pub use ladder::{Ladder, Step};
pub use queue::{Held, Queue, Sink, SinkCounts};
pub use record::{AttemptRecord, CallRecord, StrayMedia, Word};
pub use rules::Rules;
pub use tap::{Lane, Tap, lane};
pub use webhook::{Url, UrlFault, Webhook, WebhookSettings};

use crate::limits::FOLLOWERS;
use arc_swap::ArcSwap;
use assembler::Assembler;
use proxy::{CallKey, Settings, Time};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the workers' buffers are looked for. A worker never wakes anybody.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What the records are made from.
pub struct RecorderParts {
    /// What parties are called.
    pub settings: Arc<ArcSwap<Settings>>,
    /// The zero of the workers' clock, in microseconds since 1970.
    pub zero_us: u64,
    /// The time now, by the workers' clock.
    pub now: Box<dyn Fn() -> Time + Send>,
    /// The other ends of the workers' taps; without any, no thread is started and nothing is kept.
    pub lanes: Vec<Lane>,
    /// What the journal may hold.
    pub journal: JournalBounds,
    /// Where records go.
    pub sinks: Vec<Box<dyn Sink>>,
    /// Facts that found no way here.
    pub lost: Arc<AtomicU64>,
    /// Calls of the process before this one.
    pub restored: Vec<RestoredRecord>,
    /// Who is told of each call that has been up for a second, for the process after this one.
    pub standing: Option<Standing>,
}

/// Takes what is known of a call that has been answered. It must not wait.
pub type Standing = Box<dyn Fn(CallKey, &Arc<CallRecord>) + Send>;

/// A call that was in progress when the process before this one ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RestoredRecord {
    /// What its end is found by.
    pub key: CallKey,
    /// What is known of it.
    pub record: CallRecord,
    /// When one that has not been answered is given up, in milliseconds since 1970: nobody tells of that.
    pub given_up_at_ms: u64,
}

/// The thread that keeps the records, and those of the sinks.
#[derive(Debug)]
pub struct Recorder {
    calls: Calls,
    is_ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    working: Vec<queue::Working>,
}

/// What others may ask. Clones lead to the same.
#[derive(Clone, Debug)]
pub struct Calls {
    journal: Arc<Mutex<Journal>>,
    sinks: Vec<Arc<Queue>>,
    lost: Arc<AtomicU64>,
    /// Batches of each worker that wait.
    batches: Vec<Arc<AtomicUsize>>,
    followers: Arc<AtomicUsize>,
}

/// One who is told of each call that is over; its place is free again when it goes.
#[derive(Debug)]
pub struct Follower {
    calls: Calls,
    /// Calls that were over when it looked last.
    seen: u64,
}

impl Calls {
    /// Looks into the journal. The records wait meanwhile, calls do not.
    pub fn journal<T>(&self, look: impl FnOnce(&Journal) -> T) -> T {
        look(&self.journal.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The sinks' numbers.
    pub fn sinks(&self) -> Vec<SinkCounts> {
        self.sinks.iter().map(|sink| sink.counts()).collect()
    }

    /// Facts that found the way to the records full, and calls above the limit of open records.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Batches of the workers that wait to be looked at: each has one turn or several.
    pub fn waiting_batches(&self) -> usize {
        self.batches.iter().map(|batches| batches.load(Ordering::Relaxed)).sum()
    }

    /// A journal that nobody writes, for those who need one to ask.
    pub fn empty(bounds: JournalBounds) -> Calls {
        Calls {
            journal: Arc::new(Mutex::new(Journal::new(bounds))),
            sinks: Vec::new(),
            lost: Arc::default(),
            batches: Vec::new(),
            followers: Arc::default(),
        }
    }

    /// A place to follow the calls that are over from now on; none when all are taken.
    pub fn follow(&self) -> Option<Follower> {
        let taken = self.followers.fetch_add(1, Ordering::Relaxed);
        // Made before the places are counted: what does not become a follower gives its place back.
        let follower = Follower { calls: self.clone(), seen: self.journal(Journal::ended_count) };
        (taken < FOLLOWERS).then_some(follower)
    }
}

impl Follower {
    /// The calls that were over since it looked last, and let the filter pass.
    pub fn look(&mut self, filter: &CallFilter) -> Vec<(CallNumber, CallRecord)> {
        let (mut seen, mut found) = (self.seen, Vec::new());
        self.calls.journal(|journal| {
            for (count, number, call) in journal.ended_after(seen) {
                seen = seen.max(count);
                if filter.matches(call.record) {
                    found.push((number, CallRecord::clone(call.record)));
                }
            }
        });
        self.seen = seen;
        found
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.calls.followers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Recorder {
    /// Starts the threads.
    pub fn start(parts: RecorderParts) -> io::Result<Recorder> {
        let RecorderParts { settings, zero_us, now, lanes, journal, sinks, lost, restored, standing } = parts;
        let working = sinks.into_iter().map(queue::start).collect::<io::Result<Vec<_>>>()?;
        let sinks: Vec<Arc<Queue>> = working.iter().map(|sink| Arc::clone(&sink.queue)).collect();
        let journal = Arc::new(Mutex::new(Journal::new(journal)));
        let (sinks_too, lost_too) = (sinks.clone(), Arc::clone(&lost));
        let (followers, batches) = (Arc::default(), lanes.iter().map(Lane::waiting_batches).collect());
        let calls = Calls { journal: Arc::clone(&journal), sinks: sinks_too, lost: lost_too, batches, followers };
        let mut assembler = Assembler::new(settings, zero_us, journal, sinks, lost);
        assembler.tell(standing);
        assembler.restore(restored);
        let is_ending = Arc::new(AtomicBool::new(false));
        let ending = Arc::clone(&is_ending);
        if lanes.is_empty() {
            return Ok(Recorder { calls, is_ending, thread: None, working });
        }
        let thread = std::thread::Builder::new().name("records".to_owned()).spawn(move || {
            loop {
                // Asked before the last look: what was handed over until then is taken.
                let is_last = ending.load(Ordering::Relaxed);
                for lane in &lanes {
                    while let Some(batch) = lane.next() {
                        assembler.take(&batch);
                        lane.give_back(batch);
                    }
                }
                assembler.hand_on(now(), is_last);
                if is_last {
                    return;
                }
                std::thread::sleep(LOOK_EVERY);
            }
        })?;
        Ok(Recorder { calls, is_ending, thread: Some(thread), working })
    }

    /// For those who ask.
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    /// Takes what the workers left, hands it on, and lets the sinks finish within their time. It waits for that.
    pub fn end(mut self) {
        self.is_ending.store(true, Ordering::Relaxed);
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the thread of the call records had panicked");
        }
        self.working.iter_mut().for_each(queue::Working::end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_follow_and_a_place_is_free_again() {
        let calls = Calls::empty(JournalBounds { calls: 1, bytes: 1 });
        let mut followers: Vec<Follower> = (0..FOLLOWERS).map(|_| calls.follow().unwrap()).collect();
        assert!(calls.follow().is_none() && calls.follow().is_none());
        followers.pop();
        assert!(calls.follow().is_some());
    }
}
