//! From where something came lately.

use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Datagrams to somebody leave together only where something came from there within this time. Where datagrams arrive so
/// often that it is worth it, whoever lives speaks within a millisecond or two.
pub(super) const LATELY: Duration = Duration::from_millis(100);
/// So many senders are remembered; to one more each datagram leaves by itself.
pub(super) const SENDERS: usize = 64;

/// Who has spoken lately. ICMP names one datagram of a message that leaves whole, so what goes to a destination that may be
/// dead leaves one by one: then each call is told at once, and goes elsewhere.
#[derive(Debug, Default)]
pub(super) struct Heard {
    known: Vec<(IpAddr, Instant)>,
}

impl Heard {
    /// Notes that something came.
    pub(super) fn note(&mut self, from: IpAddr, now: Instant) {
        if let Some((_, at)) = self.known.iter_mut().find(|(known, _)| *known == from) {
            *at = now;
            return;
        }
        if self.known.len() >= SENDERS {
            self.known.retain(|(_, at)| is_lately(*at, now));
        }
        if self.known.len() < SENDERS {
            self.known.push((from, now));
        }
    }

    /// True where something came within [`LATELY`].
    pub(super) fn is_lately(&self, from: IpAddr, now: Instant) -> bool {
        self.known.iter().any(|(known, at)| *known == from && is_lately(*at, now))
    }

    /// True where something came at some time and is not forgotten.
    #[cfg(test)]
    pub(super) fn knows(&self, from: IpAddr) -> bool {
        self.known.iter().any(|(known, _)| *known == from)
    }
}

fn is_lately(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < LATELY
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Limits LATELY and SENDERS.
    #[test]
    fn who_speaks_is_heard_for_a_while_and_not_everybody_is_remembered() {
        let now = Instant::now();
        let at = |number: u8| IpAddr::from([10, 10, 10, number]);
        let mut heard = Heard::default();
        assert!(!heard.is_lately(at(1), now));
        heard.note(at(1), now);
        assert!(heard.is_lately(at(1), now + LATELY / 2) && !heard.is_lately(at(2), now));
        assert!(!heard.is_lately(at(1), now + LATELY));
        heard.note(at(1), now + LATELY);
        assert!(heard.is_lately(at(1), now + LATELY + LATELY / 2));

        let later = now + 4 * LATELY;
        let all: Vec<IpAddr> = (2..=u8::try_from(SENDERS).unwrap() + 2).map(at).collect();
        all.iter().for_each(|from| heard.note(*from, later));
        assert_eq!(heard.known.len(), SENDERS);
        assert!(!heard.knows(at(1)), "whoever is silent makes room");
        assert!(heard.is_lately(all[SENDERS - 1], later) && !heard.is_lately(all[SENDERS], later));
    }
}
