//! What one seed is like: how bad the network is, and what is done to the proxy.

use crate::chance::Chance;

/// One seed's conditions. Percentages are of messages, unless said otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    /// Nothing goes wrong: every call must end as its ends planned.
    pub(crate) calm: bool,
    /// Datagrams lost.
    pub(crate) loss: u64,
    /// Datagrams that come twice.
    pub(crate) double: u64,
    /// Datagrams that take up to `slow_ms`, and so overtake each other.
    pub(crate) slow: u64,
    /// See `slow`.
    pub(crate) slow_ms: u64,
    /// Datagrams of which a bit is turned, of 1,000.
    pub corrupt_of_1000: u64,
    /// Messages on a stream that break it instead.
    pub(crate) reset: u64,
    /// Sites that speak TCP.
    pub(crate) tcp: u64,
    /// Callers are shown to the trunk by a profile.
    pub(crate) rewrites: bool,
    /// Calls.
    pub(crate) calls: u64,
    /// When the process is killed and started.
    pub(crate) restarts_ms: Vec<u64>,
    /// When a new key begins to sign.
    pub(crate) rotations_ms: Vec<u64>,
    /// When the table changes.
    pub(crate) changes_ms: Vec<u64>,
    /// When a site goes, for how long, and whether the network says so.
    pub(crate) outages: Vec<Outage>,
    /// Ends that do what they should not, of calls.
    pub(crate) mischief: u64,
    /// Messages that strangers and forgers send.
    pub(crate) forgeries: u64,
    /// The Session-Expires of every 2xx, in seconds.
    pub(crate) session_secs: Option<u64>,
}

/// A site that cannot be reached for a while.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outage {
    /// When it goes.
    pub(crate) at_ms: u64,
    /// When it is back.
    pub(crate) until_ms: u64,
    /// Which: a number to be taken modulo the count of sites.
    pub(crate) site: usize,
    /// ICMP or a refused connection, rather than silence.
    pub(crate) is_told: bool,
}

/// Calls begin within this time.
pub(crate) const CALLS_WITHIN_MS: u64 = 20_000;

impl Weather {
    /// The same, in a third of the seeds with a timer for every session (RFC 4028).
    pub(crate) fn with_sessions(self, seed: u64) -> Weather {
        Weather { session_secs: seed.is_multiple_of(3).then_some(20), ..self }
    }

    /// The weather of a seed.
    pub(crate) fn of(chance: &mut Chance) -> Weather {
        let calm = chance.percent(10);
        let storm = |chance: &mut Chance, of: &[u64]| if calm { 0 } else { chance.pick(of) };
        let moments = |chance: &mut Chance, most: u64| -> Vec<u64> {
            let count = if calm { 0 } else { chance.below(most + 1) };
            (0..count).map(|_| chance.below(CALLS_WITHIN_MS + 15_000)).collect()
        };
        let loss = storm(chance, &[0, 1, 5, 10, 10, 30]);
        let restarts_ms = if chance.percent(50) { moments(chance, 3) } else { Vec::new() };
        let rotations_ms = if chance.percent(30) { moments(chance, 2) } else { Vec::new() };
        let changes_ms = moments(chance, 6);
        let outages = (0..storm(chance, &[0, 0, 1, 2])).map(|_| {
            let at_ms = chance.below(CALLS_WITHIN_MS);
            let until_ms = at_ms + 500 + chance.below(20_000);
            Outage { at_ms, until_ms, site: chance.place(64), is_told: chance.percent(50) }
        });
        Weather {
            calm,
            loss,
            outages: outages.collect(),
            double: storm(chance, &[0, 5, 10, 50, 100]),
            slow: storm(chance, &[0, 5, 30]),
            slow_ms: storm(chance, &[300, 1_500, 4_000]).max(1),
            corrupt_of_1000: storm(chance, &[0, 0, 0, 10]),
            reset: storm(chance, &[0, 0, 1, 5]),
            tcp: chance.pick(&[0, 30, 100]),
            rewrites: chance.percent(70),
            calls: 4 + chance.below(6),
            restarts_ms,
            rotations_ms,
            changes_ms,
            mischief: storm(chance, &[0, 10, 40]),
            forgeries: storm(chance, &[0, 0, 10]),
            session_secs: None,
        }
    }
}
