//! One look at the process for all open pages, however many there are: what they show has changed, these calls have, and so
//! many calls come in a second. It looks twice a second, renders once what every page gets, and ends with the router.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use askama::Template;
use sip::Number;
use telemetry::calls::{CallNumber, CallRecord};
use tokio::sync::{broadcast, watch};

use super::calls::CallRow;
use super::dids::CallCells;
use crate::access::Numbers;
use crate::api::Api;
use crate::api::dids::calls::calls_of;
use crate::status::Status;

/// How soon a page hears of a change, at the latest.
const LOOKS_EVERY: Duration = Duration::from_millis(500);
/// Calls that one look tells of; with more, pages are told to ask for themselves.
const CALLS_AT_ONCE: usize = 50;
/// Looks that wait for a page that is slow; one further behind is told to ask for itself.
const LOOKS_WAITING: usize = 8;
/// The time over which calls a second are counted.
const RATE_OVER: Duration = Duration::from_secs(10);

/// What a page shows changes with one of these.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Seen {
    pub(super) generation: u64,
    held: Option<(u64, bool)>,
    is_troubled: bool,
    is_draining: bool,
    /// Of what people decided about peers and what was measured of them.
    peers: u64,
}

/// Something that pages with calls on them are told.
#[derive(Debug)]
pub(super) enum News {
    /// A call began or changed.
    Call(Box<ChangedCall>),
    /// So many changed that each page had better ask for itself.
    Many,
}

/// One call, as it is now.
#[derive(Debug)]
pub(super) struct ChangedCall {
    pub(super) id: u64,
    pub(super) record: CallRecord,
    row: Rendered,
    /// The DID whose call it is, with the cells of its row; not for those who see numbers in part.
    pub(super) did: Option<(String, String)>,
}

/// A text for those who see whole numbers, and for those who see them in part.
#[derive(Debug)]
struct Rendered {
    whole: String,
    part: String,
}

impl ChangedCall {
    /// Its row of the table of calls.
    pub(super) fn row(&self, numbers: Numbers) -> &str {
        match numbers {
            Numbers::Whole => &self.row.whole,
            Numbers::Part => &self.row.part,
        }
    }
}

/// Where pages listen.
#[derive(Clone, Debug)]
pub(super) struct Pulse {
    pub(super) seen: watch::Receiver<Seen>,
    calls: broadcast::Sender<Arc<Vec<News>>>,
    /// Calls that began within [`RATE_OVER`], and that time as far as it was looked at.
    rate: watch::Receiver<(u64, Duration)>,
}

impl Pulse {
    /// Begins to look, for as long as the API is there.
    pub(super) fn start(api: &Arc<Api>) -> Pulse {
        let (seeing, seen) = watch::channel(seen(api, &(api.status)()));
        let (rating, rate) = watch::channel((0, Duration::ZERO));
        let (calls, _) = broadcast::channel(LOOKS_WAITING);
        let looker = Looker { seeing, rating, calls: calls.clone(), counts: VecDeque::new() };
        tokio::spawn(looker.run(Arc::downgrade(api)));
        Pulse { seen, calls, rate }
    }

    /// One that never looks: nothing is seen but what is sent.
    #[cfg(test)]
    pub(super) fn still() -> (watch::Sender<Seen>, Pulse) {
        let (seeing, seen) = watch::channel(Seen::default());
        let (_, rate) = watch::channel((0, Duration::ZERO));
        (seeing, Pulse { seen, calls: broadcast::channel(LOOKS_WAITING).0, rate })
    }

    /// The calls that change from now on.
    pub(super) fn calls(&self) -> broadcast::Receiver<Arc<Vec<News>>> {
        self.calls.subscribe()
    }

    /// Calls a second in words; none until a second has been looked at.
    pub(super) fn calls_per_second(&self) -> Option<String> {
        let (count, over) = *self.rate.borrow();
        let tenths = u128::from(count) * 10_000 / over.as_millis().max(1);
        (over >= Duration::from_secs(1)).then(|| format!("{}.{}", tenths / 10, tenths % 10))
    }
}

struct Looker {
    seeing: watch::Sender<Seen>,
    rating: watch::Sender<(u64, Duration)>,
    calls: broadcast::Sender<Arc<Vec<News>>>,
    /// How many calls had come at the last looks.
    counts: VecDeque<(Instant, u64)>,
}

impl Looker {
    async fn run(mut self, api: Weak<Api>) {
        let mut changes = None;
        let mut again = Vec::new();
        let mut every = tokio::time::interval(LOOKS_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            let Some(api) = api.upgrade() else { return };
            let status = (api.status)();
            let now = seen(&api, &status);
            self.seeing.send_if_modified(|before| std::mem::replace(before, now.clone()) != now);
            self.count(calls_total(&status));
            changes = Some(self.tell_calls(&api, changes, &mut again));
        }
    }

    fn count(&mut self, total: u64) {
        let now = Instant::now();
        self.counts.push_back((now, total));
        while self.counts.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= RATE_OVER) {
            self.counts.pop_front();
        }
        if let Some((began, first)) = self.counts.front() {
            self.rating.send_replace((total.saturating_sub(*first), now.duration_since(*began)));
        }
    }

    /// Tells of the calls that changed after so many changes, and those of the look before once more: the count of live
    /// calls is kept by another thread, which may have been a moment later.
    fn tell_calls(&self, api: &Api, before: Option<u64>, again: &mut Vec<CallNumber>) -> u64 {
        let (change_count, changed) = api.calls.journal(|journal| {
            let count = journal.change_count();
            let before = before.unwrap_or(count);
            (count, if count == before { Some(Vec::new()) } else { journal.changed_after(before) })
        });
        let fresh = changed.filter(|changed| changed.len() <= CALLS_AT_ONCE);
        let told = fresh.clone().unwrap_or_default();
        let repeated = std::mem::replace(again, told);
        if self.calls.receiver_count() == 0 {
            return change_count;
        }
        let mut news = Vec::new();
        match fresh {
            None => news.push(News::Many),
            Some(fresh) => {
                let mut all: Vec<CallNumber> = repeated.into_iter().filter(|call| !fresh.contains(call)).collect();
                all.extend(fresh);
                news.extend(changed_calls(api, &all).into_iter().map(|call| News::Call(Box::new(call))));
            }
        }
        if !news.is_empty() {
            // Whoever listened may be gone.
            let _told = self.calls.send(Arc::new(news));
        }
        change_count
    }
}

fn changed_calls(api: &Api, numbers: &[CallNumber]) -> Vec<ChangedCall> {
    let found: Vec<(u64, CallRecord, Option<Number>)> = api.calls.journal(|journal| {
        let call = |number: &CallNumber| {
            let call = journal.call(*number)?;
            Some((number.0, CallRecord::clone(call.record), call.did()))
        };
        numbers.iter().filter_map(call).collect()
    });
    let dids: Vec<Number> = found.iter().filter_map(|(_, _, did)| *did).collect();
    let mut cells = calls_of(api, &dids).into_iter();
    let changed = found.into_iter().map(|(id, record, did)| {
        let did = did.and_then(|did| {
            let (live, last) = cells.next()?;
            Some((format!("+{did}"), CallCells::of(&live, last.as_ref()).render().unwrap_or_default()))
        });
        let row = |numbers| CallRow { row: &super::calls::row(numbers, id, &record) }.render().unwrap_or_default();
        ChangedCall { id, row: Rendered { whole: row(Numbers::Whole), part: row(Numbers::Part) }, record, did }
    });
    changed.collect()
}

fn seen(api: &Api, status: &Status) -> Seen {
    let mut peers = DefaultHasher::new();
    for peer in &status.peers {
        (&peer.peer, &peer.admin, &peer.health, &peer.standing, &peer.reason, &peer.evidence).hash(&mut peers);
    }
    Seen {
        generation: api.directory().generation().0,
        held: api.watcher.held().map(|held| (held.version, held.is_rejected)),
        is_troubled: status.directory.trouble.is_some(),
        is_draining: status.draining,
        peers: peers.finish(),
    }
}

fn calls_total(status: &Status) -> u64 {
    let counts = status.counters.iter().filter(|count| count.name == telemetry::catalogue::CALLS.name);
    counts.map(|count| count.value).sum()
}
