//! Every number that bounds what the admin listener takes on. docs/reference/limits.md lists them.

use std::time::Duration;

/// Connections at one time.
pub const CONNECTIONS_MAX: usize = 2_048;
/// Bytes of a request's line and headers.
pub const HEAD_BYTES_MAX: usize = 32_768;
/// The longest time until a request's headers are there.
pub const HEADER_TIME_MAX: Duration = Duration::from_secs(10);
/// The longest time until a request, its body included, is answered.
pub const REQUEST_TIME_MAX: Duration = Duration::from_secs(60);
/// The longest time for which somebody may not take what is sent to him.
pub const STALL_TIME_MAX: Duration = Duration::from_secs(30);
/// Streams of events at one time.
pub const EVENT_STREAMS_MAX: usize = 1_024;
/// Browser sessions at one time.
pub const SESSIONS_MAX: usize = 1_024;
/// Tokens in the file.
pub const TOKENS_MAX: usize = 256;
/// Bytes of the file of tokens.
pub const TOKENS_BYTES_MAX: u64 = 131_072;
/// Requests of one client in a second, in the long run.
pub const REQUESTS_PER_SECOND: u32 = 100;
/// Requests of one client at once.
pub const REQUESTS_AT_ONCE: u32 = 500;
/// Failed logins of one client in a minute.
pub const FAILED_LOGINS_MAX: u32 = 10;
/// Clients whose requests and failed logins are remembered.
pub const CLIENTS_MAX: usize = 4_096;
/// Bytes of a table of DIDs that is taken.
pub const SHEET_BYTES_MAX: usize = 4_194_304;
/// Rows of a table of DIDs that is taken.
pub const SHEET_ROWS_MAX: usize = 10_000;
/// DIDs that one table moves.
pub const SHEET_MOVES_MAX: usize = 1_000;
/// DIDs and organisations whose calls are listed beside their limit.
pub const LIMITS_LISTED_MAX: usize = 200;
/// Bytes of an assertion of Cloudflare Access.
pub const ASSERTION_BYTES_MAX: usize = 8_192;
/// Bytes of a team's keys.
pub const TEAM_KEYS_BYTES_MAX: usize = 262_144;
/// Keys of a team.
pub const TEAM_KEYS_MAX: usize = 32;
/// The longest time for which keys are good that cannot be fetched again.
pub const TEAM_KEYS_AGE_MAX: Duration = Duration::from_secs(86_400);
/// Questions for readiness that are under way at one time.
pub const READINESS_AT_ONCE: usize = 8;
/// Questions for readiness that begin in a second.
pub const READINESS_PER_SECOND: usize = 5;
/// The longest time for which a target's answers are waited for.
pub const READINESS_TIME_MAX: Duration = Duration::from_secs(2);
