//! What is read when somebody asks, and counted by nobody.

use super::{CHANNELS_ALLOWED, CHANNELS_USED, DAILY_CALLS_ALLOWED, DAILY_CALLS_USED, Family, Kind, counter, gauge};

/// The process and what it is made of.
pub static BUILD: Family = Family {
    label: "version",
    values: &[env!("CARGO_PKG_VERSION")],
    ..gauge("switchyard_build_info", "1, under the version that runs.")
};
/// Seconds since the start.
pub static UPTIME_SECONDS: Family = gauge("switchyard_uptime_seconds", "Seconds since the process began to serve.");
/// Whether we drain.
pub static DRAINING: Family =
    gauge("switchyard_draining", "1 while new calls are refused: somebody drains, or the process is to end.");
/// Whether there is a table.
pub static READY: Family = gauge("switchyard_ready", "1 when calls are served: a table is there, and nothing drains.");
/// The table's generation.
pub static GENERATION: Family =
    gauge("switchyard_directory_generation", "The version of the directory that calls are decided by.");
/// DIDs.
pub static DIDS: Family = gauge("switchyard_directory_dids", "DIDs in the directory.");
/// Faulty values.
pub static FAULTS: Family =
    gauge("switchyard_directory_faults", "Values of rows that are wrong; `switchyard directory faults` lists them.");
/// The table's age.
pub static AGE_SECONDS: Family = gauge(
    "switchyard_directory_age_seconds",
    "Seconds since the database was last read without a fault; absent before the first time.",
);
/// Whether the last reading failed.
pub static DATABASE_DOWN: Family =
    gauge("switchyard_directory_trouble", "1 while the last attempt to read the database has failed.");
/// Whether the guard holds a table back.
pub static GUARD_HOLDS: Family =
    gauge("switchyard_guard_holding", "1 while the guard holds a table back that lost or moved too much.");
/// Whether the table comes from the disk.
pub static FROM_SNAPSHOT: Family =
    gauge("switchyard_directory_from_snapshot", "1 while calls are served from the copy on disk.");
/// Snapshots that failed.
pub static SNAPSHOTS_FAILED: Family = Family {
    kind: Kind::Counter,
    ..gauge("switchyard_snapshots_failed_total", "Copies of the directory that could not be written to disk.")
};
/// Where call records go.
const SINKS: &[&str] = &["file", "database", "webhook"];
/// Records that a sink took.
pub static RECORDS_WRITTEN: Family =
    counter("switchyard_call_records_written_total", "sink", SINKS, "Call records that this sink took.");
/// Records that a sink lost.
pub static RECORDS_LOST: Family = counter(
    "switchyard_call_records_lost_total",
    "sink",
    SINKS,
    "Call records that found no room to wait for this sink, or were given up.",
);
/// Attempts that failed.
pub static RECORDS_FAILED: Family =
    counter("switchyard_call_records_failures_total", "sink", SINKS, "Attempts of this sink that failed.");
/// Records that wait.
pub static RECORDS_WAITING: Family = Family {
    kind: Kind::Gauge,
    ..counter("switchyard_call_records_waiting", "sink", SINKS, "Call records that wait for this sink now.")
};
/// Facts that were lost.
pub static RECORD_FACTS_LOST: Family = Family {
    kind: Kind::Counter,
    ..gauge(
        "switchyard_call_record_facts_lost_total",
        "Messages and facts of calls that found the way from the worker to the records full.",
    )
};
/// The journal's calls.
pub static JOURNAL_CALLS: Family = gauge("switchyard_journal_calls", "Calls that the journal holds.");
/// The journal's bytes.
pub static JOURNAL_BYTES: Family = gauge("switchyard_journal_bytes", "Bytes that the journal takes.");
/// Host names without a good answer.
pub static NAMES_FAILING: Family = gauge(
    "switchyard_names_failing",
    "Host names of peers whose last look-up failed or was refused; the addresses known before stay in force.",
);
/// Tunnels that are down.
pub static TUNNELS_DOWN: Family = gauge(
    "switchyard_tunnels_down",
    "Peers that are down because of the WireGuard tunnel to them; `switchyard peer list` says which.",
);
/// Resident memory.
pub static RESIDENT_BYTES: Family =
    gauge("switchyard_resident_memory_bytes", "Memory of the process that is resident.");
/// Open files.
pub static OPEN_FILES: Family = gauge("switchyard_open_files", "File descriptors that the process holds.");
/// CPU time.
pub static CPU_SECONDS: Family = Family {
    kind: Kind::Counter,
    ..gauge("switchyard_cpu_seconds_total", "CPU time of the process, user and system, in whole seconds.")
};

/// Whether a peer is there.
pub static PEER_UP: Family = Family {
    by_party: true,
    by_peer: true,
    ..gauge(
        "switchyard_peer_up",
        "1 while this gateway or target answers, 0 while it is down; not a number where it is not measured or not \
         configured any more.",
    )
};
/// How long the last probe took.
pub static PROBE_SECONDS: Family = Family {
    by_party: true,
    by_peer: true,
    ..gauge(
        "switchyard_probe_seconds",
        "Seconds from the last OPTIONS that this gateway or target answered to its answer; not a number while it does \
         not answer.",
    )
};
/// Peers by what counts for a new call.
pub static PEERS: Family = Family {
    by_party: true,
    label: "standing",
    values: &["usable", "last_resort", "down", "closed"],
    ..gauge("switchyard_peers", "Gateways or targets of a trunk or environment, by whether they take new calls.")
};
/// Rows beside the DIDs.
pub static ROWS: Family = Family {
    label: "table",
    values: &["users", "organisations"],
    ..gauge("switchyard_directory_rows", "Users and organisations in the directory.")
};
/// What people decided for a while.
pub static OVERLAYS: Family = Family {
    label: "kind",
    values: &["lease", "tester", "panic"],
    ..gauge("switchyard_overlays", "Leases, tester overrides and the panic that are in effect.")
};
/// Lines that the log lost.
pub static LOG_LOST_LINES: Family = Family {
    kind: Kind::Counter,
    ..gauge(
        "switchyard_log_lost_lines_total",
        "Lines of the log that were lost, because nobody read those before them.",
    )
};
/// Whether the wire is captured.
pub static HEP_ON: Family = gauge("switchyard_hep_on", "1 while messages are captured for a HEP server.");
/// What waits for the capture server.
pub static HEP_QUEUED: Family = gauge("switchyard_hep_queued", "Captured messages that wait to be sent.");
/// Captured messages.
pub static HEP_MESSAGES: Family = Family {
    kind: Kind::Counter,
    label: "outcome",
    values: &["sent", "lost"],
    ..gauge(
        "switchyard_hep_messages_total",
        "Captured messages that were sent to the HEP server, or lost: no room, no way, or too large.",
    )
};

/// The queues between threads that have no measure of their own.
const QUEUES: &[&str] = &["commands", "records", "call_journal", "log"];
/// What waits.
pub static QUEUED: Family = Family {
    kind: Kind::Gauge,
    ..counter(
        "switchyard_queue_depth",
        "queue",
        QUEUES,
        "What waits now: commands for the worker, batches of the worker's turns for the records, entries for the journal of calls in \
         progress, lines for the log.",
    )
};
/// What may wait.
pub static QUEUE_ROOM: Family = Family {
    kind: Kind::Gauge,
    ..counter(
        "switchyard_queue_room",
        "queue",
        QUEUES,
        "How much may wait in this queue. Beyond it commands are waited for, and all else is lost and counted.",
    )
};
/// What waits in the kernel for the worker.
pub static RECEIVE_QUEUE_BYTES: Family = gauge(
    "switchyard_udp_receive_queue_bytes",
    "Bytes of the kernel's receive buffers that datagrams take which wait for the worker.",
);

/// What is read when somebody asks, and counted by nobody.
pub static READINGS: [&Family; 40] = [
    &BUILD,
    &UPTIME_SECONDS,
    &READY,
    &DRAINING,
    &GENERATION,
    &DIDS,
    &FAULTS,
    &AGE_SECONDS,
    &DATABASE_DOWN,
    &GUARD_HOLDS,
    &FROM_SNAPSHOT,
    &SNAPSHOTS_FAILED,
    &RECORDS_WRITTEN,
    &RECORDS_LOST,
    &RECORDS_FAILED,
    &RECORDS_WAITING,
    &RECORD_FACTS_LOST,
    &JOURNAL_CALLS,
    &JOURNAL_BYTES,
    &NAMES_FAILING,
    &TUNNELS_DOWN,
    &RESIDENT_BYTES,
    &OPEN_FILES,
    &CPU_SECONDS,
    &PEER_UP,
    &PROBE_SECONDS,
    &PEERS,
    &ROWS,
    &OVERLAYS,
    &LOG_LOST_LINES,
    &HEP_ON,
    &HEP_QUEUED,
    &HEP_MESSAGES,
    &QUEUED,
    &QUEUE_ROOM,
    &RECEIVE_QUEUE_BYTES,
    &CHANNELS_USED,
    &CHANNELS_ALLOWED,
    &DAILY_CALLS_USED,
    &DAILY_CALLS_ALLOWED,
];
