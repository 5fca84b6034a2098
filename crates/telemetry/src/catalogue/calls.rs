//! What is measured of calls in progress.

use super::{Family, counter, gauge};

/// Ended calls.
pub static CALLS_ENDED: Family = counter(
    "switchyard_calls_ended_total",
    "by",
    &["caller", "callee", "expired", "aged"],
    "Answered calls that are over, by who or what ended them.",
);
/// Calls in progress.
pub static CALLS_IN_PROGRESS: Family = gauge("switchyard_calls_in_progress", "Calls that are up or in setup now.");
