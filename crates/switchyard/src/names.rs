//! The addresses of peers and sources that are given by a host name: looked up beside the calls, again when their time is
//! over, and kept when nobody answers (row W9), over a restart too. An answer that the configuration cannot have is refused,
//! and the old one stays.
//!
//! It asks for A records alone. SRV and AAAA records have their place in [`dns::Resolvers`]: what is known of a name is a value.

mod dns;
mod kept;

use crate::config::limits::ADDRESSES;
use crate::config::{Answer, Answers, Configuration, Dns, Named};
use crate::service::InForce;
use arc_swap::ArcSwap;
use dns::{Found, Resolvers};
use kept::{AllKnown, Kept, Known};
use proxy::KeyRing;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinSet;

/// How soon a name is asked for again that had no answer.
const RETRY: Duration = Duration::from_secs(5);
/// An answer counts for no less and for no more, whatever its time to live.
const TTL_MIN: Duration = Duration::from_secs(1);
const TTL_MAX: Duration = Duration::from_secs(3_600);

/// The names of the configuration in force, and what is known of them.
#[derive(Debug)]
pub(crate) struct Names {
    state: Mutex<State>,
    in_force: InForce,
    /// The peers that have names, for those who show and measure them.
    published: Arc<ArcSwap<Vec<Named>>>,
    failing: AtomicU64,
    changed: Notify,
}

/// What the process before this one knew, in a configuration.
pub(crate) struct Remembered {
    /// The configuration, with what was known of its names.
    pub(crate) configuration: Configuration,
    known: AllKnown,
    kept: Kept,
}

#[derive(Debug)]
struct State {
    configuration: Configuration,
    keys: Arc<KeyRing>,
    known: AllKnown,
    kept: Kept,
    /// When each name is asked for next; one that is not there: now.
    due: BTreeMap<String, Instant>,
    /// Names without a good answer, and why.
    failing: BTreeMap<String, String>,
}

/// What an answer changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum News {
    /// Nothing that anybody goes by.
    None,
    /// Addresses that nobody speaks from or is called at.
    ToKeep,
    /// The configuration.
    InForce,
}

/// Puts what was known before the start in force: a start while DNS is away serves by it.
pub(crate) fn remember(configuration: Configuration) -> Remembered {
    if hosts(&configuration).is_empty() {
        let (kept, known) = (Kept::of(&configuration.state_dir), AllKnown::new());
        return Remembered { configuration, known, kept };
    }
    let (kept, known) = Kept::read(&configuration.state_dir);
    let (configuration, known) = settle(&configuration, &known);
    for (host, known) in &known {
        let (address, age) = (known.answer.address, in_words(known.age()));
        tracing::info!(host, %address, "a name has the address of before the start, confirmed {age} ago");
    }
    Remembered { configuration, known, kept }
}

impl Names {
    /// Of a configuration that is in force already, with what is known of its names.
    pub(crate) fn new(remembered: Remembered, keys: Arc<KeyRing>, in_force: InForce) -> Arc<Names> {
        let Remembered { configuration, known, kept } = remembered;
        let state = State { configuration, keys, known, kept, due: BTreeMap::new(), failing: BTreeMap::new() };
        let published = Arc::new(ArcSwap::from_pointee(state.named()));
        let (state, failing) = (Mutex::new(state), AtomicU64::new(0));
        Arc::new(Names { state, in_force, published, failing, changed: Notify::new() })
    }

    /// The peers that have names.
    pub(crate) fn published(&self) -> &Arc<ArcSwap<Vec<Named>>> {
        &self.published
    }

    /// Names whose last look-up failed.
    pub(crate) fn failing(&self) -> u64 {
        self.failing.load(Ordering::Relaxed)
    }

    /// Puts another configuration in force, with what is known of its names, and asks for all of them anew.
    pub(crate) async fn apply(&self, configuration: Configuration, keys: Arc<KeyRing>) {
        let mut state = self.state.lock().await;
        let (settled, known) = settle(&configuration, &state.known);
        let wanted = hosts(&configuration);
        state.failing.retain(|host, _| wanted.contains(host));
        state.due.clear();
        (state.configuration, state.keys, state.known) = (settled, keys, known);
        self.put_in_force(&state).await;
        self.changed.notify_one();
    }

    /// Looks names up for as long as the process lives.
    pub(crate) async fn follow(self: Arc<Names>) {
        loop {
            let (dns, hosts, next) = self.due().await;
            if hosts.is_empty() {
                tokio::select! {
                    () = tokio::time::sleep_until(next.into()) => {}
                    () = self.changed.notified() => {}
                }
                continue;
            }
            let resolvers = Arc::new(Resolvers::now(&dns));
            let mut asked = JoinSet::new();
            for host in hosts {
                let resolvers = Arc::clone(&resolvers);
                asked.spawn(async move {
                    let found = resolvers.look_up(&host).await;
                    (host, found)
                });
            }
            while let Some(answered) = asked.join_next().await {
                if let Ok((host, found)) = answered {
                    self.take(host, found).await;
                }
            }
        }
    }

    /// The names that are to be asked for now, and when the next one is.
    async fn due(&self) -> (Dns, BTreeSet<String>, Instant) {
        let state = self.state.lock().await;
        let now = Instant::now();
        let hosts = hosts(&state.configuration);
        let at = |host: &String| state.due.get(host).copied().unwrap_or(now);
        let next = hosts.iter().map(at).min().unwrap_or(now + TTL_MAX);
        let due = hosts.into_iter().filter(|host| at(host) <= now).collect();
        (state.configuration.dns.clone(), due, next)
    }

    async fn take(&self, host: String, found: Found) {
        let mut state = self.state.lock().await;
        let state = &mut *state;
        let learned = found.and_then(|(addresses, ttl)| Ok((state.learn(&host, addresses)?, ttl)));
        let (news, pause) = match learned {
            Ok((news, ttl)) => {
                if state.failing.remove(&host).is_some() {
                    tracing::info!(host, "a name is answered again");
                }
                (news, ttl.clamp(TTL_MIN, TTL_MAX))
            }
            Err(why) => {
                state.miss(&host, &why);
                (News::None, RETRY)
            }
        };
        state.due.insert(host, Instant::now() + pause);
        self.failing.store(u64::try_from(state.failing.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
        match news {
            News::InForce => self.put_in_force(state).await,
            News::None | News::ToKeep => self.publish(state),
        }
        state.kept.write(&state.known, news != News::None).await;
    }

    fn publish(&self, state: &State) {
        self.published.store(Arc::new(state.named()));
    }

    async fn put_in_force(&self, state: &State) {
        self.publish(state);
        self.in_force.put(state.configuration.core.clone(), Arc::clone(&state.keys)).await;
    }
}

impl State {
    /// Takes what a name stands for. The present address stays while it is among the answers, so that a name with several
    /// does not go round.
    fn learn(&mut self, host: &str, mut addresses: Vec<IpAddr>) -> Result<News, String> {
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.len() > ADDRESSES {
            return Err(format!("found {} addresses, expected at most {ADDRESSES}", addresses.len()));
        }
        let known = self.known.get(host).map(|known| &known.answer);
        let present = known.map(|known| known.address).filter(|address| addresses.contains(address));
        let address = present.or(addresses.first().copied()).ok_or("no address in the answer")?;
        let all = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let answer = Answer { address, addresses };
        let is_source = self.configuration.named_sources.iter().any(|named| named.host == host);
        let news = match known {
            Some(known) if *known == answer => News::None,
            Some(known) if known.address == address && !is_source => News::ToKeep,
            _ => News::InForce,
        };
        let mut with = self.known.clone();
        with.insert(host.to_owned(), Known { answer, confirmed_at: SystemTime::now(), is_fresh: true });
        if news == News::InForce {
            let settled = self.configuration.written.with(&answers(&with));
            self.configuration = settled.map_err(|faults| format!("{address} is refused\n{faults}"))?;
            tracing::info!(host, %address, all, "a name has an address");
        }
        self.known = with;
        Ok(news)
    }

    /// Notes that a name has no good answer: what is known of it counts on. Each reason is told once.
    fn miss(&mut self, host: &str, why: &str) {
        let known = self.known.get_mut(host);
        let kept = known.map_or("nothing".to_owned(), |known| {
            known.is_fresh = false;
            format!("{}, confirmed {} ago", known.answer.address, in_words(known.age()))
        });
        if self.failing.insert(host.to_owned(), why.to_owned()).is_none_or(|before| before != why) {
            tracing::warn!(host, kept, "a name has no good answer: {why}");
        }
    }

    /// The peers that have names, with what is known of their addresses.
    fn named(&self) -> Vec<Named> {
        let stale_since =
            |host: &str| self.known.get(host).filter(|known| !known.is_fresh).map(|known| known.confirmed_at);
        let named = self.configuration.named.iter().cloned();
        named.map(|named| Named { stale_since: stale_since(&named.host), ..named }).collect()
    }
}

/// A time in the unit that people would say it in.
pub(crate) fn in_words(time: Duration) -> String {
    match time.as_secs() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// The names of a configuration.
fn hosts(configuration: &Configuration) -> BTreeSet<String> {
    let peers = configuration.named.iter().map(|named| &named.host);
    peers.chain(configuration.named_sources.iter().map(|named| &named.host)).cloned().collect()
}

fn answers(known: &AllKnown) -> Answers {
    known.iter().map(|(host, known)| (host.clone(), known.answer.clone())).collect()
}

/// The configuration with as much of what is known as it can have, and what that is.
fn settle(configuration: &Configuration, known: &AllKnown) -> (Configuration, AllKnown) {
    let (mut settled, mut taken) = (configuration.clone(), AllKnown::new());
    for host in hosts(configuration) {
        let Some(one) = known.get(&host) else { continue };
        let mut with = taken.clone();
        with.insert(host.clone(), one.clone());
        match configuration.written.with(&answers(&with)) {
            Ok(good) => (settled, taken) = (good, with),
            Err(faults) => tracing::error!(host, "its address is refused\n{faults}"),
        }
    }
    (settled, taken)
}

#[cfg(test)]
mod tests;
