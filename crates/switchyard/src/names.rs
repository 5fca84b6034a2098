//! The addresses of peers that are given by a host name: looked up beside the calls, again when their time is over, and
//! kept when nobody answers (row W9). An answer that the configuration cannot have is refused, and the old one stays.
//!
//! It asks for A records alone. SRV and AAAA records have their place in [`dns::look_up`]: what is known of a name is a value.

mod dns;

use crate::config::{Answers, Configuration, Dns, Named};
use crate::service::InForce;
use arc_swap::ArcSwap;
use dns::Found;
use proxy::KeyRing;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
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

#[derive(Debug)]
struct State {
    configuration: Configuration,
    keys: Arc<KeyRing>,
    answers: Answers,
    /// When each name is asked for next; one that is not there: now.
    due: BTreeMap<String, Instant>,
    failing: BTreeSet<String>,
}

impl Names {
    /// Of a configuration that is in force already, without any address.
    pub(crate) fn new(configuration: Configuration, keys: Arc<KeyRing>, in_force: InForce) -> Arc<Names> {
        let published = Arc::new(ArcSwap::from_pointee(configuration.named.clone()));
        let state =
            State { configuration, keys, answers: Answers::new(), due: BTreeMap::new(), failing: BTreeSet::new() };
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

    /// Puts another configuration in force, with what is known of its names.
    pub(crate) async fn apply(&self, configuration: Configuration, keys: Arc<KeyRing>) {
        let mut state = self.state.lock().await;
        let mut answers = Answers::new();
        let mut settled = configuration.clone();
        for named in &configuration.named {
            let Some(known) = state.answers.get(&named.host) else { continue };
            let mut with = answers.clone();
            with.insert(named.host.clone(), *known);
            match configuration.written.with(&with) {
                Ok(good) => (settled, answers) = (good, with),
                Err(faults) => tracing::error!(host = named.host, "its address is refused\n{faults}"),
            }
        }
        state.due.retain(|host, _| answers.contains_key(host));
        state.failing.retain(|host| configuration.named.iter().any(|named| named.host == *host));
        (state.configuration, state.keys, state.answers) = (settled, keys, answers);
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
            let servers = if dns.servers.is_empty() { dns::system_servers() } else { dns.servers };
            let mut asked = JoinSet::new();
            for host in hosts {
                let (servers, timeout) = (servers.clone(), dns.timeout);
                asked.spawn(async move {
                    let found = dns::look_up(&servers, &host, timeout).await;
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
        let hosts: BTreeSet<&String> = state.configuration.named.iter().map(|named| &named.host).collect();
        let at = |host: &String| state.due.get(host).copied().unwrap_or(now);
        let next = hosts.iter().map(|host| at(host)).min().unwrap_or(now + TTL_MAX);
        let due = hosts.into_iter().filter(|host| at(host) <= now).cloned().collect();
        (state.configuration.dns.clone(), due, next)
    }

    async fn take(&self, host: String, found: Found) {
        let mut state = self.state.lock().await;
        let state = &mut *state;
        let again = match found {
            Ok((addresses, ttl)) => state.learn(&host, &addresses).map(|is_new| (is_new, ttl)),
            Err(why) => Err(why),
        };
        let (is_new, pause) = match again {
            Ok((is_new, ttl)) => {
                state.failing.remove(&host);
                (is_new, ttl.clamp(TTL_MIN, TTL_MAX))
            }
            Err(why) => {
                if state.failing.insert(host.clone()) {
                    let kept = state.answers.get(&host).map_or("nothing".to_owned(), ToString::to_string);
                    tracing::warn!(host, kept, "a name has no good answer: {why}");
                }
                (false, RETRY)
            }
        };
        state.due.insert(host, Instant::now() + pause);
        self.failing.store(u64::try_from(state.failing.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
        if is_new {
            self.put_in_force(state).await;
        }
    }

    async fn put_in_force(&self, state: &State) {
        self.published.store(Arc::new(state.configuration.named.clone()));
        self.in_force.put(state.configuration.core.clone(), Arc::clone(&state.keys)).await;
    }
}

impl State {
    /// Takes what a name stands for; true when that is new. The present address stays while it is among the answers, so
    /// that a name with several does not go round.
    fn learn(&mut self, host: &str, addresses: &[IpAddr]) -> Result<bool, String> {
        let known = self.answers.get(host);
        if known.is_some_and(|known| addresses.contains(known)) {
            return Ok(false);
        }
        let first = addresses.iter().min().ok_or("no address in the answer")?;
        let mut with = self.answers.clone();
        with.insert(host.to_owned(), *first);
        let settled =
            self.configuration.written.with(&with).map_err(|faults| format!("{first} is refused\n{faults}"))?;
        tracing::info!(host, address = %first, "a name has an address");
        (self.configuration, self.answers) = (settled, with);
        Ok(true)
    }
}
