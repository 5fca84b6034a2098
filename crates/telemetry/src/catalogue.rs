//! Everything that is measured: name, help, label and the label's values. docs/reference/metrics.md says the same.

mod calls;
mod media;
mod readings;

pub use calls::{
    CALLS_ENDED, CALLS_IN_PROGRESS, CHANNELS_ALLOWED, CHANNELS_USED, DAILY_CALLS_ALLOWED, DAILY_CALLS_USED,
    JOURNAL_LOST, REFUSED,
};
pub use media::STRAY_MEDIA;
pub use readings::*;

/// One thing that is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Family {
    /// The exported name.
    pub name: &'static str,
    /// What it counts, in one sentence.
    pub help: &'static str,
    /// Whether it only grows.
    pub kind: Kind,
    /// Whether each party of the configuration has values of its own, under the label [`PARTY`].
    pub by_party: bool,
    /// Whether each peer of a party has values of its own, under the label [`PEER`].
    pub by_peer: bool,
    /// The label's name; empty when there is none.
    pub label: &'static str,
    /// The label's values; a word that is not here is counted as `other`. Empty when there is no label.
    pub values: &'static [&'static str],
    /// A second label, where the first is not enough.
    pub second: Label,
}

/// A label with every word that it can have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label {
    /// Its name; empty when there is none.
    pub name: &'static str,
    /// Its values; a word that is not here is counted as `other`.
    pub values: &'static [&'static str],
}

impl Label {
    /// No label.
    pub const NONE: Label = Label { name: "", values: &[] };
}

/// How a value moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only grows, from 0 at the process's start.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts what it is told in buckets of seconds: [`BUCKETS_S`].
    Histogram,
}

/// The label whose values are the names of trunks and environments in the configuration.
pub const PARTY: &str = "party";

/// The label whose values are peers, as the configuration writes them.
pub const PEER: &str = "peer";

/// Upper bounds of a histogram's buckets, in seconds: a call is set up in milliseconds, and people wait for a minute.
pub const BUCKETS_S: [f64; 15] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0];

/// The label value of a word that the catalogue does not list.
pub const OTHER: &str = "other";

const METHODS: &[&str] = &[
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "REGISTER",
    "OPTIONS",
    "SUBSCRIBE",
    "NOTIFY",
    "PUBLISH",
    "MESSAGE",
    "INFO",
    "REFER",
    "UPDATE",
    "PRACK",
];

const DIRECTIONS: &[&str] = &["inbound", "outbound"];

/// How the setup of a call ends.
const OUTCOMES: &[&str] = &["answered", "refused", "busy", "cancelled", "not_found", "unavailable", "failed"];

const CLASSES: &[&str] = &["1xx", "2xx", "3xx", "4xx", "5xx", "6xx"];

const fn counter(
    name: &'static str,
    label: &'static str,
    values: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family { name, help, kind: Kind::Counter, by_party: false, by_peer: false, label, values, second: Label::NONE }
}

const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family { kind: Kind::Gauge, ..counter(name, "", &[], help) }
}

const fn histogram(name: &'static str, help: &'static str) -> Family {
    Family { kind: Kind::Histogram, label: "direction", values: DIRECTIONS, ..gauge(name, help) }
}

/// Requests of configured peers.
pub static REQUESTS: Family = Family {
    by_party: true,
    ..counter("switchyard_requests_total", "method", METHODS, "Requests that arrived from configured peers and parsed.")
};
/// Responses of configured peers.
pub static RESPONSES: Family = Family {
    by_party: true,
    ..counter(
        "switchyard_responses_total",
        "class",
        CLASSES,
        "Responses that arrived from configured peers and parsed.",
    )
};
/// Calls by direction.
pub static CALLS: Family = counter(
    "switchyard_calls_total",
    "direction",
    DIRECTIONS,
    "INVITEs out of a dialog that were dispatched, refused ones included.",
);
/// Decisions by the rule that made them.
pub static DECISIONS: Family = counter(
    "switchyard_decisions_total",
    "rule",
    &[
        "no_table",
        "not_served",
        "not_a_number",
        "no_row",
        "out_of_service",
        "unknown_to",
        "stays_here",
        "trunk",
        "target",
        "emergency_forbidden",
        "no_target",
        "none_usable",
        "falls_back",
        "refused_down",
        "no_fallback",
        "destination_forbidden",
        "limit",
    ],
    "Requests out of a dialog that were dispatched, by the rule that decided.",
);
/// Calls by how their setup ended.
pub static SETUPS: Family = Family {
    by_party: true,
    second: Label { name: "outcome", values: OUTCOMES },
    ..counter(
        "switchyard_setups_total",
        "direction",
        DIRECTIONS,
        "Calls by how their setup ended, under the environment that they came from or went to; a call that went nowhere is \
         under its sender. Refused says that the status was our own.",
    )
};
/// Seconds to an answer.
pub static SETUP_SECONDS: Family =
    histogram("switchyard_setup_seconds", "Seconds from the INVITE of a call to its 2xx.");
/// Seconds to the first ring.
pub static POST_DIAL_DELAY_SECONDS: Family = histogram(
    "switchyard_post_dial_delay_seconds",
    "Seconds from the INVITE of a call to the first response from 180 to 189 that was passed on.",
);
/// INVITE attempts by how they ended.
pub static FINALS: Family =
    counter("switchyard_finals_total", "class", CLASSES, "INVITE transactions by the class of their final response.");
/// Requests inside dialogs.
pub static IN_DIALOG: Family =
    counter("switchyard_in_dialog_total", "method", METHODS, "Requests that were forwarded inside a dialog.");
/// Caller IDs of outbound calls.
pub static CALLER_IDS: Family = counter(
    "switchyard_caller_ids_total",
    "rule",
    &["per_call", "user", "default", "first", "fallback"],
    "Outbound calls by the rule that chose their caller ID; fallback is an alarm.",
);
/// Breaches of isolation between tenants.
pub static FOREIGN_CALLER_IDS: Family = counter(
    "switchyard_foreign_caller_ids_total",
    "",
    &[],
    "Outbound calls that claimed another organisation's number or an organisation that they may not call for.",
);
/// Drops.
pub static DROPPED: Family = counter(
    "switchyard_dropped_total",
    "reason",
    &[
        "stranger",
        "scanner",
        "empty",
        "not_sip",
        "no_via",
        "malformed_response",
        "malformed_ack",
        "too_large",
        "not_our_via",
        "no_transaction",
        "wrong_source",
        "for_us",
        "bad_via",
        "useless",
        "ack",
        "late",
    ],
    "Messages that went no further and that nobody was answered about.",
);
/// Absorbed retransmissions.
pub static ABSORBED: Family = counter(
    "switchyard_absorbed_total",
    "kind",
    &["request", "response", "ack"],
    "Retransmissions of neighbours that were absorbed.",
);
/// Our retransmissions.
pub static RETRANSMITTED: Family =
    counter("switchyard_retransmitted_total", "method", METHODS, "Requests and responses that we sent again.");
/// Failovers.
pub static FAILOVERS: Family = counter(
    "switchyard_failovers_total",
    "reason",
    &["timeout", "unreachable", "unavailable", "status"],
    "Calls that went on to the next target, by what the one before did.",
);
/// Fallbacks.
pub static FALLBACKS: Family = counter(
    "switchyard_fallbacks_total",
    "",
    &[],
    "Calls that another environment or an announcement took, because no target of theirs did.",
);
/// Probes.
pub static PROBES: Family = counter(
    "switchyard_probes_total",
    "outcome",
    &["answered", "refused"],
    "Probes of peers that were answered, with whatever status, or could not be delivered.",
);
/// Calls that speak against a peer.
pub static PEER_FAILURES: Family = counter(
    "switchyard_peer_failures_total",
    "reason",
    &["timeout", "unreachable", "unavailable"],
    "Calls that a peer did not answer, could not be reached for, or answered with 503.",
);
/// Warnings.
pub static WARNINGS: Family = counter(
    "switchyard_warnings_total",
    "warning",
    &[
        "stays_here",
        "last_good",
        "unknown_to",
        "adopted",
        "untokened",
        "stateless",
        "token_refused",
        "timed_out",
        "streamless",
        "long_name",
    ],
    "Messages that were served with something that the operator should know.",
);
/// Limits.
pub static LIMITS: Family = counter(
    "switchyard_limits_reached_total",
    "limit",
    &[
        "transactions",
        "transaction_bytes",
        "requests_per_second",
        "backlog",
        "paused_peers",
        "strained_peers",
        "streamless_peers",
        "counted_subjects",
    ],
    "Times that a table or list was at its limit.",
);
/// Things that cannot be.
pub static IMPOSSIBLE: Family =
    counter("switchyard_impossible_total", "", &[], "States that cannot be: each one is a fault of this program.");
/// Panics that were survived.
pub static PANICS: Family = counter(
    "switchyard_panics_total",
    "",
    &[],
    "Messages that the core panicked on: each one is a fault of this program.",
);
/// Datagrams in.
pub static RECEIVED: Family = counter("switchyard_udp_received_total", "", &[], "Datagrams that arrived.");
/// Bytes in.
pub static RECEIVED_BYTES: Family =
    counter("switchyard_udp_received_bytes_total", "", &[], "Bytes of the datagrams that arrived.");
/// Datagrams that the kernel dropped.
pub static OVERFLOWED: Family = counter(
    "switchyard_udp_overflowed_total",
    "",
    &[],
    "Datagrams that the kernel dropped because a receive buffer was full.",
);
/// Datagrams that the filter dropped.
pub static FILTERED: Family = counter(
    "switchyard_udp_filtered_total",
    "",
    &[],
    "Strangers' datagrams that the sockets' filters dropped in the kernel.",
);
/// Datagrams that went from one worker to another.
pub static HANDED_OVER: Family = counter(
    "switchyard_udp_handed_over_total",
    "",
    &[],
    "Datagrams that arrived at one worker and belong to a call of another, with sip.workers above 1.",
);
/// Datagrams out.
pub static SENT: Family = counter("switchyard_udp_sent_total", "", &[], "Datagrams that left.");
/// Bytes out.
pub static SENT_BYTES: Family =
    counter("switchyard_udp_sent_bytes_total", "", &[], "Bytes of the datagrams that left.");
/// Datagrams out, together.
pub static JOINED: Family = counter(
    "switchyard_udp_joined_total",
    "",
    &[],
    "Datagrams that left together with others, as one message to the kernel; each counts in switchyard_udp_sent_total too.",
);
/// Datagrams that did not leave.
pub static SEND_FAILED: Family = counter(
    "switchyard_send_failed_total",
    "reason",
    &["no_way", "forbidden", "too_large", "no_room", "no_stream", "broken"],
    "Messages that did not leave, or left on a stream that the peer reset.",
);
/// ICMP errors.
pub static ICMP: Family =
    counter("switchyard_icmp_unreachable_total", "", &[], "ICMP errors that say that a destination cannot be reached.");
/// Open transactions.
pub static OPEN_TRANSACTIONS: Family = gauge("switchyard_open_transactions", "Transactions that the core holds now.");

/// TCP connections by how they began.
pub static STREAMS_OPENED: Family = counter(
    "switchyard_tcp_opened_total",
    "by",
    &["accepted", "dialled"],
    "TCP connections that peers opened to us, and those that we began to open.",
);
/// TCP connections by how they ended.
pub static STREAMS_CLOSED: Family = counter(
    "switchyard_tcp_closed_total",
    "reason",
    &[
        "stranger",
        "too_many_of_source",
        "too_many",
        "no_descriptor",
        "connect_refused",
        "connect_timeout",
        "ended_by_peer",
        "broken",
        "idle",
        "message_timeout",
        "write_timeout",
        "refused",
        "not_sip",
        "head_too_long",
        "ended",
    ],
    "TCP connections that ended or never came about, by the reason.",
);
/// Open TCP connections.
pub static OPEN_STREAMS: Family =
    gauge("switchyard_tcp_connections", "TCP connections that are open or being opened now.");
/// Stream bytes in.
pub static STREAM_RECEIVED_BYTES: Family =
    counter("switchyard_tcp_received_bytes_total", "", &[], "Bytes that arrived on TCP connections.");
/// Stream bytes out.
pub static STREAM_SENT_BYTES: Family =
    counter("switchyard_tcp_sent_bytes_total", "", &[], "Bytes that left on TCP connections.");

/// Seconds that a change of the directory takes.
pub static APPLY_SECONDS: Family = Family {
    kind: Kind::Histogram,
    ..gauge(
        "switchyard_directory_apply_seconds",
        "Seconds from the beginning of the look that found a change to the directory that calls are decided by.",
    )
};

/// The histograms.
pub static HISTOGRAMS: [&Family; 3] = [&SETUP_SECONDS, &POST_DIAL_DELAY_SECONDS, &APPLY_SECONDS];

/// How many counted families there are.
pub const FAMILY_COUNT: usize = 41;

/// Every counted family, in the order in which they are shown.
pub static FAMILIES: [&Family; FAMILY_COUNT] = [
    &CALLS,
    &DECISIONS,
    &SETUPS,
    &FINALS,
    &REFUSED,
    &CALLER_IDS,
    &FOREIGN_CALLER_IDS,
    &FAILOVERS,
    &FALLBACKS,
    &PROBES,
    &PEER_FAILURES,
    &WARNINGS,
    &STRAY_MEDIA,
    &REQUESTS,
    &RESPONSES,
    &IN_DIALOG,
    &ABSORBED,
    &RETRANSMITTED,
    &DROPPED,
    &CALLS_ENDED,
    &CALLS_IN_PROGRESS,
    &JOURNAL_LOST,
    &OPEN_TRANSACTIONS,
    &LIMITS,
    &RECEIVED,
    &RECEIVED_BYTES,
    &OVERFLOWED,
    &FILTERED,
    &HANDED_OVER,
    &SENT,
    &SENT_BYTES,
    &JOINED,
    &SEND_FAILED,
    &ICMP,
    &OPEN_STREAMS,
    &STREAMS_OPENED,
    &STREAMS_CLOSED,
    &STREAM_RECEIVED_BYTES,
    &STREAM_SENT_BYTES,
    &PANICS,
    &IMPOSSIBLE,
];
