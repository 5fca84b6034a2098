use super::*;
use std::collections::VecDeque;
use std::ops::Range;

/// Datagrams of one batch, as the program takes them.
const BATCH: usize = crate::udp::BATCH;
/// What such a socket holds where the kernel gives the buffer that is asked for.
const ROOM: usize = 3_600;
/// A worker that carries 50,000 datagrams in a second, and one that carries 5,000.
const FAST_US: u64 = 20;
const SLOW_US: u64 = 200;

/// A socket with its buffer and what arrives there, and a worker that takes from it, by the microsecond.
struct Queue {
    backlog: Backlog,
    room: usize,
    /// When each came that waits, and how many had been lost by then.
    waiting: VecDeque<(u64, u64)>,
    lost: u64,
    lost_seen: u64,
    now_us: u64,
    /// From one arrival to the next, in nanoseconds.
    every_ns: u64,
    next_ns: u64,
}

/// What a run showed.
#[derive(Debug, Default)]
struct Seen {
    /// When the worker first said that it was behind.
    first_behind_us: Option<u64>,
    batches_behind: usize,
    /// The longest that anything had waited when it was taken.
    longest_wait: Duration,
    lost: u64,
}

impl Queue {
    fn new(room: usize, per_second: u64) -> Queue {
        Queue {
            backlog: Backlog::default(),
            room,
            waiting: VecDeque::new(),
            lost: 0,
            lost_seen: 0,
            now_us: 1_000_000,
            every_ns: 1_000_000_000 / per_second,
            next_ns: 1_000_000_000,
        }
    }

    fn set_rate(&mut self, per_second: u64) {
        self.every_ns = 1_000_000_000 / per_second;
    }

    /// What came until now found room or was lost.
    fn arrive(&mut self) {
        while self.next_ns <= self.now_us * 1_000 {
            match self.waiting.len() < self.room {
                true => self.waiting.push_back((self.next_ns / 1_000, self.lost)),
                false => self.lost += 1,
            }
            self.next_ns += self.every_ns;
        }
    }

    /// The worker serves for so long, each datagram in `each_us`, but has no processor in the stretches that `pauses`
    /// gives: from which microsecond of each period on, and how long the period is. A call that is refused costs a fifth of
    /// one that is carried, and five of its six datagrams never come.
    fn serve(&mut self, us: u64, each_us: u64, pauses: Option<(u64, u64)>) -> Seen {
        let mut seen = Seen::default();
        let (began_us, lost_before) = (self.now_us, self.lost);
        while self.now_us < began_us + us {
            if let Some((from_us, period_us)) = pauses
                && (self.now_us - began_us) % period_us >= from_us
            {
                self.now_us = began_us + ((self.now_us - began_us) / period_us + 1) * period_us;
            }
            self.arrive();
            let taken: Vec<_> = self.waiting.drain(..self.waiting.len().min(BATCH)).collect();
            let waited = taken.first().map_or(0, |(came_us, _)| self.now_us - came_us);
            let lost = taken.last().map_or(self.lost_seen, |(_, lost)| *lost);
            let noted = Taken {
                now: Time(self.now_us),
                waited: Duration::from_micros(waited),
                has_lost: lost > self.lost_seen,
                is_full: taken.len() == BATCH,
                has_failed: false,
            };
            self.lost_seen = lost;
            let is_behind = self.backlog.is_behind(0, &noted);
            if is_behind {
                seen.first_behind_us = seen.first_behind_us.or(Some(self.now_us - began_us));
                seen.batches_behind += 1;
            }
            seen.longest_wait = seen.longest_wait.max(noted.waited);
            let cost = if is_behind { each_us.div_ceil(5) } else { each_us };
            self.now_us += (cost * taken.len() as u64).max(250);
        }
        seen.lost = self.lost - lost_before;
        seen
    }

    fn stand_still(&mut self, us: u64) {
        self.now_us += us;
        self.arrive();
    }
}

/// Limits OLD and BEHIND_AFTER: a worker that had no processor for a moment refuses nothing, though its buffer ran full and
/// what waits is old, however much of its time it needs for what comes.
#[test]
fn a_worker_that_catches_up_refuses_nothing() {
    for (each_us, loads) in [(FAST_US, [5_000, 15_000, 45_000]), (SLOW_US, [500, 1_500, 4_500])] {
        for per_second in loads {
            for still_ms in [50, 150, 300, 1_000, 5_000] {
                let mut queue = Queue::new(ROOM, per_second);
                let before = queue.serve(300_000, each_us, None);
                assert_eq!(before.first_behind_us, None);
                queue.stand_still(still_ms * 1_000);
                let seen = queue.serve(10_000_000, each_us, None);
                assert_eq!(seen.batches_behind, 0, "{per_second} a second after {still_ms} ms: {seen:?}");
                assert!(queue.waiting.len() < BATCH, "it has caught up");
            }
        }
    }
}

/// One moment after the other, of a machine that others use too.
#[test]
fn nor_one_that_stands_still_again_while_it_catches_up() {
    let rates = [(15_000, FAST_US), (35_000, FAST_US), (3_000, SLOW_US)];
    let cases = rates.into_iter().flat_map(|rate| [20, 60, 100, 120, 140, 160, 300].map(|still_ms| (rate, still_ms)));
    for ((per_second, each_us), still_ms) in cases {
        for serves_ms in [10, 30, 75, 90, 120] {
            let mut queue = Queue::new(ROOM, per_second);
            queue.stand_still(300_000);
            let mut seen = queue.serve(serves_ms * 1_000, each_us, None).batches_behind;
            queue.stand_still(still_ms * 1_000);
            seen += queue.serve(5_000_000, each_us, None).batches_behind;
            assert_eq!(seen, 0, "{per_second} a second, {still_ms} ms after {serves_ms} ms");
        }
    }
    let mut queue = Queue::new(ROOM, 15_000);
    for round in 0..50 {
        queue.stand_still(60_000);
        assert_eq!(queue.serve(60_000, FAST_US, None).batches_behind, 0, "half of the time, round {round}");
    }
}

/// All of its time is needed, and no more: what waits is served soon, and nothing is lost.
#[test]
fn no_time_left_is_no_backlog() {
    let mut queue = Queue::new(ROOM, 50_000);
    queue.stand_still(20_000);
    let seen = queue.serve(5_000_000, FAST_US, None);
    assert_eq!((seen.batches_behind, seen.lost), (0, 0), "{seen:?}");
    assert!(queue.waiting.len() >= BATCH, "no batch has emptied it");
    queue.set_rate(49_000);
    for round in 0..3 {
        queue.stand_still(70_000);
        let seen = queue.serve(500_000, FAST_US, None);
        assert_eq!(seen.batches_behind, 0, "lost once, and no more: {round}, {seen:?}");
        assert!(queue.waiting.len() >= BATCH);
    }
    assert!(queue.lost > 0);
}

/// A burst of three times what the buffer holds is lost in part, and over soon.
#[test]
fn a_burst_is_no_backlog() {
    let mut queue = Queue::new(ROOM, 1_000_000);
    assert_eq!(queue.serve(10_000, FAST_US, None).batches_behind, 0);
    queue.set_rate(10_000);
    let seen = queue.serve(2_000_000, FAST_US, None);
    assert_eq!(seen.batches_behind, 0, "{seen:?}");
    assert!(queue.lost > 5_000);
}

/// More than can be carried, for long: new calls are refused before what is taken has waited until its sender repeats it
/// (T1, 500 ms), also where the worker gets half of the processor's time by a quota.
#[test]
fn lasting_overload_refuses_in_time() {
    let within = |seen: &Seen, ms: Range<u64>, what: &str| {
        let first = seen.first_behind_us.unwrap_or_else(|| panic!("{what}: never behind: {seen:?}"));
        assert!(ms.contains(&(first / 1_000)), "{what}: {seen:?}");
        assert!(seen.longest_wait < Duration::from_millis(500), "{what}: {seen:?}");
    };
    let seen = Queue::new(ROOM, 100_000).serve(5_000_000, FAST_US, None);
    within(&seen, 200..400, "twice what is carried");
    let seen = Queue::new(ROOM, 60_000).serve(5_000_000, FAST_US, None);
    within(&seen, 400..700, "a fifth more than is carried, until the buffer is full");
    let seen = Queue::new(ROOM, 10_000).serve(5_000_000, SLOW_US, None);
    within(&seen, 500..800, "a slow one, twice");
    let seen = Queue::new(20 * ROOM, 100_000).serve(5_000_000, FAST_US, None);
    within(&seen, 500..800, "a buffer that holds more than a second");
    let seen = Queue::new(ROOM, 50_000).serve(5_000_000, FAST_US, Some((50_000, 100_000)));
    within(&seen, 200..1_200, "half of the time by a quota");
    let mut queue = Queue::new(ROOM, 100_000);
    queue.stand_still(300_000);
    within(&queue.serve(5_000_000, FAST_US, None), 100..700, "after a moment without a processor");
}

/// Limit AGAIN_AFTER: overload that lasts is soon found again, for as long as it is remembered.
#[test]
fn what_was_behind_is_soon_behind_again() {
    let mut queue = Queue::new(ROOM, 100_000);
    let first = queue.serve(600_000, FAST_US, None).first_behind_us.unwrap();
    let mut again = |rest_us| {
        queue.set_rate(10_000);
        assert!(queue.serve(rest_us, FAST_US, None).longest_wait < OLD);
        assert!(queue.waiting.len() < BATCH, "it has been emptied");
        queue.set_rate(100_000);
        queue.serve(600_000, FAST_US, None).first_behind_us.unwrap()
    };
    let (soon, later) = (again(5_000_000), again(11_000_000));
    assert!(soon + 140_000 <= first && later + 1_000 >= first, "{first}, {soon}, {later}");
}

/// It takes calls again as soon as a batch has emptied the socket, and is behind for one socket as for several.
#[test]
fn an_emptied_socket_ends_it() {
    let mut backlog = Backlog::default();
    let mut at = |position, ms, is_full| {
        let waited = Duration::from_millis(300);
        let now = Time::from_millis(ms);
        backlog.is_behind(position, &Taken { now, waited, has_lost: false, is_full, has_failed: false })
    };
    assert!((0..=39).all(|step| !at(0, 1_000 + step * 5, true)), "old for less than 200 ms");
    assert!(at(0, 1_200, true));
    assert!(at(1, 1_201, false), "the other socket is still behind");
    assert!(at(0, 1_500, true), "a worker that stood still is not behind the less");
    assert!(!at(0, 1_501, false));
    assert!(!at(0, 1_502, true));
}

/// A dead target's ICMP errors come in place of what has arrived.
#[test]
fn a_socket_that_gives_an_error_has_not_been_emptied() {
    let mut backlog = Backlog::default();
    let mut at = |ms, is_full, has_failed| {
        let (now, waited) = (Time::from_millis(ms), if is_full { Duration::from_millis(300) } else { Duration::ZERO });
        backlog.is_behind(0, &Taken { now, waited, has_lost: false, is_full, has_failed })
    };
    assert!((0..=39).all(|step| !at(1_000 + step * 5, true, false)));
    assert!(at(1_200, true, false));
    assert!(at(1_201, false, true), "nobody knows what is behind the error");
    assert!(at(1_202, true, false));
    assert!(!at(1_203, false, false), "emptied");
}
