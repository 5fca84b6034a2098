//! Every number that bounds what the writer takes on.

use std::time::Duration;

/// Requests that may wait for the writer; who comes after them waits to be let in.
pub const REQUESTS_WAITING_MAX: usize = 64;
/// The longest name of a table or a column, in bytes: what the engines allow.
pub const NAME_BYTES_MAX: usize = 64;
/// The longest reading of everything, however steadily its rows come.
pub const READ_TIME_MAX: Duration = Duration::from_secs(1_800);
/// Stretches of the change log that may still become visible and are asked for.
pub const GAPS_MAX: usize = 256;
/// Moves of our own and of other nodes that the guard is told of.
pub const OWN_MOVES_MAX: usize = 100_000;
/// Generations whose time, cause and difference are kept.
pub const GENERATIONS_KEPT: usize = 50;
/// Times that generations took and nobody has asked for.
pub const APPLY_TIMES_WAITING: usize = 4_096;
/// The longest name of who writes, in bytes.
pub const WHO_BYTES_MAX: usize = 255;
/// The longest reason, in bytes.
pub const REASON_BYTES_MAX: usize = 1_024;
/// The longest time after which no further one of many moves is begun.
pub const MOVES_TIME_MAX: Duration = Duration::from_secs(20);
/// How far ahead a lease, a tester override or a panic may end.
pub const OVERLAY_LIFE_MAX: Duration = Duration::from_secs(366 * 86_400);
/// The longest text in a column of `switchyard_calls` beside the whole record, in bytes; what is beyond is cut off.
pub const CALL_TEXT_BYTES: usize = 255;
/// Bytes of the rows of one statement that writes records of calls; a larger row has a statement of its own.
pub const CALL_ROWS_BYTES: usize = 1_048_576;
