//! Every number that bounds what the writer takes on.

/// Requests that may wait for the writer; who comes after them waits to be let in.
pub const REQUESTS_WAITING_MAX: usize = 64;
/// The longest name of a table or a column, in bytes: what the engines allow.
pub const NAME_BYTES_MAX: usize = 64;
/// Rows whose digests are kept to find changes; in a larger database every reading becomes a build.
pub const ROWS_COMPARED_MAX: usize = 250_000;
/// Changed rows that are applied one by one; more become a build.
pub const CHANGES_APPLIED_MAX: usize = 20_000;
/// Entries of the change log that are read at one time; more become a reading of everything.
pub const LOG_ENTRIES_READ_MAX: usize = 20_000;
/// Stretches of the change log that may still become visible and are asked for.
pub const GAPS_MAX: usize = 256;
/// Rows asked for by their ids in one statement.
pub const IDS_ASKED_MAX: usize = 500;
/// Generations whose time, cause and difference are kept.
pub const GENERATIONS_KEPT: usize = 50;
/// Moves of our own that the guard is told of.
pub const OWN_MOVES_MAX: usize = 100_000;
