//! What a client may ask for: so many requests, and so many failed logins. Nobody is locked out by another's failures:
//! whoever shows what is right is let in, whatever came from his address before.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::limits::{CLIENTS_MAX, FAILED_LOGINS_MAX, REQUESTS_AT_ONCE, REQUESTS_PER_SECOND};

/// The time over which failed logins are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// The clients that are remembered.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    known: Mutex<HashMap<IpAddr, Known>>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    seen_at: Instant,
    /// Requests that are left, in thousandths.
    left_milli: u64,
    failed: u32,
    failed_since: Instant,
}

impl Clients {
    /// Takes one request of what this client has left; false when there is none.
    pub(crate) fn may_ask(&self, client: IpAddr, now: Instant) -> bool {
        self.with(client, now, |known| {
            let full = u64::from(REQUESTS_AT_ONCE) * 1_000;
            let since = now.saturating_duration_since(known.seen_at).as_millis();
            let more = u64::try_from(since).unwrap_or(u64::MAX).saturating_mul(u64::from(REQUESTS_PER_SECOND));
            known.left_milli = known.left_milli.saturating_add(more).min(full);
            known.seen_at = now;
            let has_one = known.left_milli >= 1_000;
            known.left_milli -= if has_one { 1_000 } else { 0 };
            has_one
        })
    }

    /// Counts a failed login; false when this client has failed too often of late.
    pub(crate) fn may_fail(&self, client: IpAddr, now: Instant) -> bool {
        self.with(client, now, |known| {
            if now.saturating_duration_since(known.failed_since) >= WINDOW {
                (known.failed, known.failed_since) = (0, now);
            }
            known.failed = known.failed.saturating_add(1);
            known.failed <= FAILED_LOGINS_MAX
        })
    }

    fn with<T>(&self, client: IpAddr, now: Instant, what: impl FnOnce(&mut Known) -> T) -> T {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CLIENTS_MAX && !known.contains_key(&client) {
            // Whoever was silent for as long as a window has everything again.
            known.retain(|_, client| now.saturating_duration_since(client.seen_at) < WINDOW);
            if known.len() >= CLIENTS_MAX {
                tracing::warn!(limit = CLIENTS_MAX, "limit clients: all are forgotten");
                known.clear();
            }
        }
        let new = Known { seen_at: now, left_milli: u64::from(REQUESTS_AT_ONCE) * 1_000, failed: 0, failed_since: now };
        what(known.entry(client).or_insert(new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn so_many_requests_at_once_and_then_so_many_a_second() {
        let (clients, begun) = (Clients::default(), Instant::now());
        assert!((0..REQUESTS_AT_ONCE).all(|_| clients.may_ask(CLIENT, begun)));
        assert!(!clients.may_ask(CLIENT, begun));
        assert!(clients.may_ask("::1".parse().unwrap(), begun), "another client has its own");
        let second = begun + Duration::from_secs(1);
        assert!((0..REQUESTS_PER_SECOND).all(|_| clients.may_ask(CLIENT, second)));
        assert!(!clients.may_ask(CLIENT, second));
    }

    #[test]
    fn so_many_failed_logins_in_a_minute() {
        let (clients, begun) = (Clients::default(), Instant::now());
        assert!((0..FAILED_LOGINS_MAX).all(|_| clients.may_fail(CLIENT, begun)));
        assert!(!clients.may_fail(CLIENT, begun + WINDOW / 2));
        assert!(clients.may_fail(CLIENT, begun + WINDOW));
    }

    #[test]
    fn so_many_clients_are_remembered() {
        let (clients, begun) = (Clients::default(), Instant::now());
        for client in 0..=u32::try_from(CLIENTS_MAX).unwrap() {
            assert!(clients.may_ask(IpAddr::V4(client.into()), begun));
        }
        assert!(clients.known.lock().unwrap().len() <= CLIENTS_MAX);
    }
}
