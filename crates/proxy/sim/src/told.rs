//! What happened in a seed, or in many.

/// What happened, so that a simulation in which nothing happens does not pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Calls of the engine.
    pub steps: u64,
    /// Calls begun.
    pub calls: u64,
    /// Calls that were answered.
    pub answered: u64,
    /// Calls that were refused, by anybody.
    pub refused: u64,
    /// Calls that their callers gave up.
    pub cancelled: u64,
    /// Dialogs that one end ended, and whose other end heard it.
    pub ended: u64,
    /// Kills.
    pub restarts: u64,
    /// Next targets tried.
    pub failovers: u64,
    /// Responses and requests that passed without a transaction.
    pub stateless: u64,
    /// Connections that broke.
    pub resets: u64,
    /// 2xx beyond the first of a call.
    pub forks: u64,
    /// Answers of calls by the first status digit that the caller saw last.
    pub outbound: u64,
    /// Calls that a limit refused.
    pub limited: u64,
    /// Calls whose session timer ran out.
    pub expired: u64,
}

impl Told {
    /// Adds what another seed told.
    pub fn add(&mut self, other: &Told) {
        self.steps += other.steps;
        self.calls += other.calls;
        self.answered += other.answered;
        self.refused += other.refused;
        self.cancelled += other.cancelled;
        self.ended += other.ended;
        self.restarts += other.restarts;
        self.failovers += other.failovers;
        self.stateless += other.stateless;
        self.resets += other.resets;
        self.forks += other.forks;
        self.outbound += other.outbound;
        self.limited += other.limited;
        self.expired += other.expired;
    }
}
