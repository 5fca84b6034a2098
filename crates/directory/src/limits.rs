//! Every number that bounds what a row may do to us.

/// The most faults listed one by one; beyond it they are only counted.
pub const FAULTS_LISTED_MAX: usize = 4_096;
/// The most bytes of a found value that a fault repeats.
pub const FOUND_BYTES_MAX: usize = 64;
/// The longest `id` read. The schema says CHAR(36).
pub const ID_BYTES_MAX: usize = 64;
/// The longest text read from a column that people fill. The schema's longest is VARCHAR(255).
pub const TEXT_BYTES_MAX: usize = 1_024;
/// The longest JSON text read.
pub const JSON_BYTES_MAX: usize = 65_536;
/// The most leases in one directory.
pub const LEASES_MAX: usize = 100_000;
/// The most tester overrides in one directory.
pub const TESTERS_MAX: usize = 10_000;
/// The most changed DIDs that a difference lists one by one; beyond it they are only counted.
pub const CHANGES_LISTED_MAX: usize = 1_000;
/// The longest snapshot read.
pub const SNAPSHOT_BYTES_MAX: usize = 1 << 30;
