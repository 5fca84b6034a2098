//! What is due: what is sent again, and what a call does next, each at its time.

use std::collections::VecDeque;

const MS: u64 = 1_000_000;
/// RFC 3261: T1.
pub(crate) const T1_NS: u64 = 500 * MS;
/// T2, as the power of two that T1 is multiplied with.
const T2_POWER: usize = 3;

/// What is due, in one queue for each length of time: so each is in order by itself.
#[derive(Default)]
pub(crate) struct Queues {
    again: [VecDeque<Due>; 7],
    pub(crate) ring: VecDeque<Due>,
    pub(crate) talk: VecDeque<Due>,
}

#[derive(Clone, Copy)]
pub(crate) struct Due {
    pub(crate) at_ns: u64,
    pub(crate) slot: usize,
    pub(crate) generation: u32,
    pub(crate) what: What,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Invite,
    Bye,
    Answer,
    Ring,
    Talk,
}

impl What {
    /// The power of T1 with which this is sent again after one with `power`.
    pub(crate) fn next(self, power: usize) -> usize {
        if self == What::Invite { power + 1 } else { (power + 1).min(T2_POWER) }
    }
}

impl Queues {
    pub(crate) fn again(&mut self, now_ns: u64, slot: usize, generation: u32, what: What, power: usize) {
        if let Some(queue) = self.again.get_mut(power) {
            queue.push_back(Due { at_ns: now_ns + (T1_NS << power), slot, generation, what });
        }
    }

    /// Something that is due, and the power of its time.
    pub(crate) fn pop(&mut self, now_ns: u64) -> Option<(Due, usize)> {
        let others = [&mut self.ring, &mut self.talk].into_iter().map(|queue| (queue, 0));
        let all = self.again.iter_mut().enumerate().map(|(power, queue)| (queue, power)).chain(others);
        for (queue, power) in all {
            if queue.front().is_some_and(|due| due.at_ns <= now_ns) {
                return queue.pop_front().map(|due| (due, power));
            }
        }
        None
    }

    pub(crate) fn next_ns(&self) -> u64 {
        let all = self.again.iter().chain([&self.ring, &self.talk]);
        all.filter_map(|queue| queue.front()).map(|due| due.at_ns).min().unwrap_or(u64::MAX)
    }
}
