//! One direction of a path, without a socket or a clock: datagrams go in, and come out when they are due.

use crate::Impairment;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::AddAssign;
use std::time::{Duration, Instant};

/// How long a datagram is held back that others are to overtake.
pub const REORDER_HOLD: Duration = Duration::from_millis(30);
/// Datagrams that are on their way at most; what comes on top is lost, as in any router.
pub const ON_THE_WAY: usize = 8_192;
/// IPv4 and UDP header.
const HEADER_BYTES: usize = 28;

/// What became of the datagrams of one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Datagrams that came in.
    pub taken: u64,
    /// Of these: lost by chance.
    pub lost: u64,
    /// Of these: lost while the path was down.
    pub cut: u64,
    /// Of these: larger than the path's largest packet.
    pub too_large: u64,
    /// Of these: lost because too many were on their way.
    pub overflowed: u64,
    /// Datagrams that were sent a second time.
    pub doubled: u64,
    /// Datagrams that were held back.
    pub held_back: u64,
    /// Datagrams that went out, second ones counted in.
    pub given: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.taken += other.taken;
        self.lost += other.lost;
        self.cut += other.cut;
        self.too_large += other.too_large;
        self.overflowed += other.overflowed;
        self.doubled += other.doubled;
        self.held_back += other.held_back;
        self.given += other.given;
    }
}

/// One direction. The same seed and the same datagrams at the same times have the same fate.
pub(crate) struct Line {
    random: Random,
    impairment: Impairment,
    /// When the impairment was set: flapping counts from here.
    since: Instant,
    /// When the path can take the next byte, by its rate.
    free_at: Instant,
    waiting: BinaryHeap<Waiting>,
    serial: u64,
    counts: Counts,
}

struct Waiting {
    due: Instant,
    serial: u64,
    bytes: Vec<u8>,
}

impl Line {
    pub(crate) fn new(seed: u64, now: Instant) -> Line {
        Line {
            random: Random(seed),
            impairment: Impairment::CLEAN,
            since: now,
            free_at: now,
            waiting: BinaryHeap::new(),
            serial: 0,
            counts: Counts::default(),
        }
    }

    /// From now on. What is on its way is not affected.
    pub(crate) fn impair(&mut self, now: Instant, impairment: Impairment) {
        (self.impairment, self.since) = (impairment, now);
    }

    /// What became of everything so far.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// A datagram comes in.
    pub(crate) fn take(&mut self, now: Instant, bytes: &[u8]) {
        let Impairment { loss_percent, duplicate_percent, mtu_bytes, .. } = self.impairment;
        self.counts.taken += 1;
        if self.is_down(now) {
            self.counts.cut += 1;
        } else if mtu_bytes != 0 && bytes.len() + HEADER_BYTES > mtu_bytes {
            self.counts.too_large += 1;
        } else if self.random.happens(loss_percent) {
            self.counts.lost += 1;
        } else {
            self.send(now, bytes);
            if self.random.happens(duplicate_percent) {
                self.counts.doubled += 1;
                self.send(now, bytes);
            }
        }
    }

    /// The next datagram that is due, if any is.
    pub(crate) fn give(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.waiting.peek().filter(|waiting| waiting.due <= now)?;
        self.counts.given += 1;
        Some(self.waiting.pop()?.bytes)
    }

    /// When the next one is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.waiting.peek().map(|waiting| waiting.due)
    }

    fn is_down(&self, now: Instant) -> bool {
        let Impairment { up, down, outage, .. } = self.impairment;
        let at = now.saturating_duration_since(self.since);
        let Some(after_outage) = at.checked_sub(outage) else { return true };
        let (at_ns, period_ns) = (after_outage.as_nanos(), (up + down).as_nanos());
        !down.is_zero() && at_ns.checked_rem(period_ns).is_some_and(|at_ns| at_ns >= up.as_nanos())
    }

    fn send(&mut self, now: Instant, bytes: &[u8]) {
        if self.waiting.len() >= ON_THE_WAY {
            self.counts.overflowed += 1;
            return;
        }
        let Impairment { reorder_percent, delay, jitter, rate_bytes_per_s, .. } = self.impairment;
        let mut due = now + delay + jitter.mul_f64(self.random.share());
        if self.random.happens(reorder_percent) {
            self.counts.held_back += 1;
            due += REORDER_HOLD;
        }
        let size = u64::try_from(bytes.len() + HEADER_BYTES).unwrap_or(u64::MAX);
        if let Some(takes_ns) = size.saturating_mul(1_000_000_000).checked_div(rate_bytes_per_s) {
            self.free_at = self.free_at.max(now) + Duration::from_nanos(takes_ns);
            due += self.free_at - now;
        }
        self.serial += 1;
        self.waiting.push(Waiting { due, serial: self.serial, bytes: bytes.to_vec() });
    }
}

/// The earliest is the greatest: a heap gives the greatest first.
impl Ord for Waiting {
    fn cmp(&self, other: &Waiting) -> Ordering {
        (other.due, other.serial).cmp(&(self.due, self.serial))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Waiting) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Waiting) -> bool {
        self.serial == other.serial
    }
}

impl Eq for Waiting {}

/// `SplitMix64`: small, even enough, and the same everywhere.
struct Random(u64);

impl Random {
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let top = u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or(u32::MAX);
        f64::from(top) / (f64::from(u32::MAX) + 1.0)
    }

    fn happens(&mut self, percent: f64) -> bool {
        self.share() * 100.0 < percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out of a line of these words, of `count` datagrams that go in one millisecond after the other.
    fn run(seed: u64, words: &str, count: u32) -> (Vec<(u128, u32)>, Counts) {
        let begun = Instant::now();
        let mut line = Line::new(seed, begun);
        line.impair(begun, words.parse().unwrap());
        let mut out = Vec::new();
        for ms in 0..count + 10_000 {
            let now = begun + Duration::from_millis(u64::from(ms));
            if ms < count {
                line.take(now, &ms.to_be_bytes());
            }
            while let Some(bytes) = line.give(now) {
                out.push((now.duration_since(begun).as_millis(), u32::from_be_bytes(bytes.try_into().unwrap())));
            }
        }
        assert_eq!(line.next_due(), None);
        (out, line.counts())
    }

    fn numbers(out: &[(u128, u32)]) -> Vec<u32> {
        out.iter().map(|(_, number)| *number).collect()
    }

    #[test]
    fn a_clean_path_keeps_everything_in_order() {
        let (out, counts) = run(1, "clean", 1_000);
        assert_eq!(numbers(&out), (0..1_000).collect::<Vec<_>>());
        assert_eq!(counts, Counts { taken: 1_000, given: 1_000, ..Counts::default() });
    }

    #[test]
    fn the_same_seed_gives_the_same_fate_and_another_another() {
        let words = "loss=10 duplicate=5 reorder=3 jitter=20ms";
        assert_eq!(run(7, words, 2_000), run(7, words, 2_000));
        assert_ne!(run(7, words, 2_000).0, run(8, words, 2_000).0);
    }

    #[test]
    fn shares_are_what_was_asked_for() {
        let (_, counts) = run(3, "loss=10 duplicate=5 reorder=20", 10_000);
        assert!((900..1_100).contains(&counts.lost), "{counts:?}");
        assert!((400..500).contains(&counts.doubled), "{counts:?}");
        assert!((1_700..2_050).contains(&counts.held_back), "{counts:?}");
        assert_eq!(counts.given, counts.taken - counts.lost + counts.doubled);
    }

    #[test]
    fn held_back_ones_are_overtaken() {
        let (out, _) = run(5, "reorder=10", 500);
        let mut sorted = numbers(&out);
        assert!(!sorted.is_sorted());
        sorted.sort_unstable();
        assert_eq!(sorted, (0..500).collect::<Vec<_>>());
    }

    #[test]
    fn delay_and_jitter_are_kept_to() {
        let (out, _) = run(5, "delay=50ms jitter=10ms", 500);
        assert!(out.iter().all(|(at, number)| (50..=61).contains(&(at - u128::from(*number)))));
    }

    #[test]
    fn a_rate_makes_a_queue() {
        // 32 bytes each, 16 a second: one every two seconds.
        let (out, _) = run(5, "rate=16", 3);
        assert_eq!(out, [(2_000, 0), (4_000, 1), (6_000, 2)]);
    }

    #[test]
    fn large_ones_vanish() {
        assert_eq!(run(5, "mtu=31", 10).1.too_large, 10);
        assert_eq!(run(5, "mtu=32", 10).1.given, 10);
    }

    #[test]
    fn a_flapping_path_is_up_first() {
        let (out, counts) = run(5, "up=100ms down=50ms", 300);
        assert_eq!(numbers(&out), (0..100).chain(150..250).collect::<Vec<_>>());
        assert_eq!(counts.cut, 100);
        assert_eq!(run(5, "cut", 2_500).1.cut, 2_500);
        assert_eq!(numbers(&run(5, "outage=100ms", 300).0), (100..300).collect::<Vec<_>>());
    }

    #[test]
    fn a_full_path_loses_what_comes_on_top() {
        let now = Instant::now();
        let mut line = Line::new(1, now);
        line.impair(now, "delay=1s".parse().unwrap());
        (0..ON_THE_WAY + 7).for_each(|_| line.take(now, b"x"));
        assert_eq!(line.counts().overflowed, 7);
    }
}
