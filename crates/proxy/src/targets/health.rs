//! The health of one peer: a machine of four states. One lost probe or one failed call is no outage, and a peer that
//! comes and goes has to stay longer each time before it is believed (rows W1 and W4).

use super::Health;
use crate::flow::Time;
use std::time::Duration;

/// How much it takes to change the state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HealthRules {
    /// Probes without an answer, in a row, until a peer is down.
    pub down_after: u32,
    /// Answered probes, in a row, until a peer that was down or degraded is up.
    pub up_after: u32,
    /// Calls failed in a row, with no answer of the peer's between them, until it is degraded.
    pub calls_failed: u32,
    /// A peer that goes down again within this time of coming up has to answer twice as often as the last time.
    pub settle_time: Duration,
}

impl Default for HealthRules {
    fn default() -> Self {
        HealthRules { down_after: 3, up_after: 2, calls_failed: 3, settle_time: Duration::from_secs(120) }
    }
}

/// The most that [`HealthRules::up_after`] is multiplied with for a peer that comes and goes.
const PATIENCE_MAX: u32 = 4;

/// What is seen of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// It answered a probe with a status that counts as up.
    Answered(u16),
    /// It answered a probe with a status that does not: 503 is a peer that wants no calls.
    Unwilling(u16),
    /// A probe was not answered in time.
    Missed,
    /// A probe could not be delivered: ICMP, or a refused or broken connection.
    Refused,
    /// A call failed at it, as the so-many-th in a row with nothing heard of it in between.
    CallFailed {
        /// Failures in a row, this one included.
        in_row: u32,
    },
}

/// The machine of one peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Monitor {
    health: Health,
    /// Probes in a row that did not arrive, or were not answered.
    missed: u32,
    /// Probes in a row that were answered as they should be.
    answered: u32,
    /// When it came up last; `None` where it was never down.
    up_since: Option<Time>,
    /// What [`HealthRules::up_after`] is multiplied with; 0 stands for 1.
    patience: u32,
}

/// A change of state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transition {
    /// What it was.
    pub from: Health,
    /// What it is now.
    pub to: Health,
    /// What was seen.
    pub evidence: Evidence,
}

/// Why a state changed: the last signal, and how many like it came in a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Evidence {
    /// The signal that changed the state.
    pub signal: Signal,
    /// How many in a row.
    pub in_row: u32,
}

impl Monitor {
    /// What is known.
    pub const fn health(&self) -> Health {
        self.health
    }

    /// Takes what was seen at `now`; tells the transition, if it makes one.
    pub fn on(&mut self, now: Time, signal: Signal, rules: &HealthRules) -> Option<Transition> {
        let from = self.health;
        let to = match signal {
            Signal::Answered(_) => self.on_answer(rules),
            Signal::Unwilling(_) => self.on_unwilling(),
            Signal::Missed | Signal::Refused => self.on_miss(rules),
            Signal::CallFailed { in_row } => self.on_failed_call(in_row, rules),
        };
        let in_row = match signal {
            Signal::Answered(_) => self.answered,
            Signal::Unwilling(_) => 1,
            Signal::Missed | Signal::Refused => self.missed,
            Signal::CallFailed { in_row } => in_row,
        };
        if to == from {
            return None;
        }
        self.enter(to, now, rules);
        Some(Transition { from, to, evidence: Evidence { signal, in_row } })
    }

    /// An answer: enough of them in a row end an outage; the first one ends not knowing.
    fn on_answer(&mut self, rules: &HealthRules) -> Health {
        self.missed = 0;
        self.answered = self.answered.saturating_add(1);
        match self.health {
            Health::Unknown | Health::Up => Health::Up,
            Health::Degraded if self.answered >= rules.up_after => Health::Up,
            Health::Down if self.answered >= self.answers_needed(rules) => Health::Up,
            stays => stays,
        }
    }

    /// It is alive and wants no calls.
    fn on_unwilling(&mut self) -> Health {
        self.missed = 0;
        self.answered = 0;
        Health::Degraded
    }

    fn on_miss(&mut self, rules: &HealthRules) -> Health {
        self.answered = 0;
        self.missed = self.missed.saturating_add(1);
        if self.missed >= rules.down_after { Health::Down } else { self.health }
    }

    /// Calls alone never take a peer down: it may fail one number and serve all others.
    fn on_failed_call(&mut self, in_row: u32, rules: &HealthRules) -> Health {
        self.answered = 0;
        match self.health {
            Health::Unknown | Health::Up if in_row >= rules.calls_failed => Health::Degraded,
            stays => stays,
        }
    }

    fn enter(&mut self, to: Health, now: Time, rules: &HealthRules) {
        match to {
            Health::Down => {
                let soon = self.up_since.is_some_and(|since| now.since(since) < rules.settle_time);
                self.patience = if soon { (self.patience.max(1) * 2).min(PATIENCE_MAX) } else { 1 };
            }
            Health::Up if self.health == Health::Down => self.up_since = Some(now),
            _ => {}
        }
        self.health = to;
        self.answered = 0;
    }

    fn answers_needed(&self, rules: &HealthRules) -> u32 {
        rules.up_after.saturating_mul(self.patience.max(1))
    }
}

impl Signal {
    /// The word of logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Signal::Answered(_) => "answered",
            Signal::Unwilling(_) => "unwilling",
            Signal::Missed => "missed",
            Signal::Refused => "refused",
            Signal::CallFailed { .. } => "call_failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: HealthRules =
        HealthRules { down_after: 3, up_after: 2, calls_failed: 3, settle_time: Duration::from_secs(120) };

    /// Drives a machine with one signal each 5 s, and gives the states.
    fn drive(monitor: &mut Monitor, now: &mut u64, signals: &[Signal]) -> Vec<Health> {
        let mut seen = Vec::new();
        for signal in signals {
            *now += 5_000;
            let before = monitor.health();
            let transition = monitor.on(Time::from_millis(*now), *signal, &RULES);
            assert_eq!(transition.is_some(), before != monitor.health(), "a transition is told, and only a transition");
            seen.push(monitor.health());
        }
        seen
    }

    fn after(signals: &[Signal]) -> Health {
        let mut monitor = Monitor::default();
        drive(&mut monitor, &mut 0, signals);
        monitor.health()
    }

    const OK: Signal = Signal::Answered(200);
    const MISS: Signal = Signal::Missed;
    const BUSY: Signal = Signal::Unwilling(503);

    fn failed(in_row: u32) -> Signal {
        Signal::CallFailed { in_row }
    }

    #[test]
    fn unknown_to_up_with_the_first_answer() {
        assert_eq!(after(&[]), Health::Unknown);
        assert_eq!(after(&[OK]), Health::Up);
        assert_eq!(after(&[Signal::Answered(404)]), Health::Up);
    }

    /// Row W1: down after as many misses as configured, from every state; one fewer is nothing.
    #[test]
    fn any_state_to_down_after_misses_in_a_row() {
        assert_eq!(after(&[MISS, MISS]), Health::Unknown);
        assert_eq!(after(&[MISS, MISS, MISS]), Health::Down);
        assert_eq!(after(&[OK, MISS, MISS]), Health::Up);
        assert_eq!(after(&[OK, MISS, MISS, OK, MISS, MISS]), Health::Up);
        assert_eq!(after(&[OK, MISS, Signal::Refused, MISS]), Health::Down);
        assert_eq!(after(&[BUSY, MISS, MISS, MISS]), Health::Down);
    }

    #[test]
    fn any_state_to_degraded_when_it_wants_no_calls() {
        assert_eq!(after(&[BUSY]), Health::Degraded);
        assert_eq!(after(&[OK, BUSY]), Health::Degraded);
        assert_eq!(after(&[MISS, MISS, MISS, BUSY]), Health::Degraded);
    }

    #[test]
    fn up_to_degraded_after_failed_calls_in_a_row_and_never_to_down() {
        assert_eq!(after(&[OK, failed(1), failed(2)]), Health::Up);
        assert_eq!(after(&[OK, failed(1), failed(2), failed(3)]), Health::Degraded);
        assert_eq!(after(&[failed(3)]), Health::Degraded);
        assert_eq!(after(&[OK, failed(3), failed(4), failed(50)]), Health::Degraded);
    }

    #[test]
    fn degraded_to_up_after_answers_in_a_row_with_no_failed_call_between() {
        assert_eq!(after(&[BUSY, OK]), Health::Degraded);
        assert_eq!(after(&[BUSY, OK, OK]), Health::Up);
        assert_eq!(after(&[BUSY, OK, failed(4), OK]), Health::Degraded);
    }

    #[test]
    fn down_to_up_after_answers_in_a_row_and_calls_change_nothing() {
        let down = [MISS, MISS, MISS];
        assert_eq!(after(&[&down[..], &[OK]].concat()), Health::Down);
        assert_eq!(after(&[&down[..], &[OK, MISS, OK]].concat()), Health::Down);
        assert_eq!(after(&[&down[..], &[OK, OK]].concat()), Health::Up);
        assert_eq!(after(&[&down[..], &[failed(9)]].concat()), Health::Down);
    }

    /// Row W4: a tunnel that comes and goes is believed later each time, and as at first once it has stayed.
    #[test]
    fn a_peer_that_comes_and_goes_has_to_answer_longer() {
        let (mut monitor, mut now) = (Monitor::default(), 0);
        let mut needed = Vec::new();
        for _ in 0..4 {
            drive(&mut monitor, &mut now, &[MISS, MISS, MISS]);
            assert_eq!(monitor.health(), Health::Down);
            let mut answers = 0;
            while monitor.health() == Health::Down {
                drive(&mut monitor, &mut now, &[OK]);
                answers += 1;
            }
            needed.push(answers);
        }
        assert_eq!(needed, [2, 4, 8, 8]);
        now += 120_000;
        drive(&mut monitor, &mut now, &[MISS, MISS, MISS, OK, OK]);
        assert_eq!(monitor.health(), Health::Up);
    }

    #[test]
    fn the_evidence_is_the_last_signal_and_its_count() {
        let mut monitor = Monitor::default();
        let told: Vec<Transition> =
            [OK, MISS, MISS, MISS].into_iter().filter_map(|signal| monitor.on(Time(0), signal, &RULES)).collect();
        let down = Evidence { signal: MISS, in_row: 3 };
        assert_eq!(told.last(), Some(&Transition { from: Health::Up, to: Health::Down, evidence: down }));
    }
}
