//! What is measured of calls in progress, and of those that we refuse.

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

/// Refusals.
pub static REFUSED: Family = Family {
    by_party: true,
    ..counter(
        "switchyard_refused_total",
        "reason",
        &[
            "malformed",
            "secure_scheme",
            "unknown_scheme",
            "too_many_hops",
            "loop",
            "bad_extension",
            "foreign_target",
            "foreign_route",
            "no_token",
            "not_here",
            "not_a_number",
            "unknown_did",
            "not_in_service",
            "no_target",
            "none_usable",
            "when_down",
            "no_transaction",
            "no_table",
            "full",
            "over_rate",
            "draining",
            "foreign_caller_id",
            "no_caller_id",
            "emergency_forbidden",
            "destination_forbidden",
            "did_calls",
            "organisation_calls",
            "environment_calls",
            "prod_reserve",
            "trunk_calls",
            "gateway_calls",
            "did_rate",
            "organisation_rate",
            "environment_rate",
            "trunk_rate",
            "daily_calls",
            "too_large",
        ],
        "Requests that were answered with a status of our own, under the party that sent them.",
    )
};
/// Entries of the journal of calls that were lost.
pub static JOURNAL_LOST: Family = counter(
    "switchyard_call_journal_lost_total",
    "",
    &[],
    "Entries that the journal of calls in progress had no room for: after a restart these calls are not counted, or are \
     counted until they age.",
);
/// Calls at one time, by party.
pub static CHANNELS_USED: Family = Family {
    by_party: true,
    ..gauge("switchyard_channels_used", "Calls that a trunk or an environment has now, those in setup included.")
};
/// Calls that may be at one time, by party.
pub static CHANNELS_ALLOWED: Family = Family {
    by_party: true,
    ..gauge(
        "switchyard_channels_allowed",
        "Calls at one time that a trunk or an environment may have; absent without a limit.",
    )
};
/// Outbound calls of the day, by party.
pub static DAILY_CALLS_USED: Family = Family {
    by_party: true,
    ..gauge(
        "switchyard_daily_calls_used",
        "Outbound calls that an environment has begun since midnight, UTC; absent without daily_calls.",
    )
};
/// Outbound calls that may be on one day, by party.
pub static DAILY_CALLS_ALLOWED: Family = Family {
    by_party: true,
    ..gauge(
        "switchyard_daily_calls_allowed",
        "Outbound calls that an environment may begin on one day; absent without daily_calls.",
    )
};
