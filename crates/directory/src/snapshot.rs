//! The last good directory as bytes: what is kept on disk for a start without a database.
//!
//! ```text
//! 0   8  "SWYDIR\r\n"
//! 8   4  version, little endian
//! 12  8  length of what follows the head, little endian
//! 20  8  CRC-64/XZ of what follows the head, little endian
//! 28     the directory: generation, providers, organisations, DIDs, users, peerings, faults, overlays
//! ```
//!
//! Rows are kept, not indexes: conflicts are decided again and references checked again when it is read. Rows out of
//! effect, last good values and faults are kept too, so that a directory that was read back goes on where it stood.
//! Nothing in the bytes is trusted: a length is believed only as far as there are bytes.

mod checksum;
mod decode;
mod encode;
#[cfg(test)]
mod tests;

use std::fmt;

pub use decode::decode;
pub use encode::encode;

const MAGIC: [u8; 8] = *b"SWYDIR\r\n";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 28;

/// Why bytes are no snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SnapshotFault {
    /// They end before the directory does.
    TooShort {
        /// How many there are.
        found: usize,
        /// How many the head promises; the size of the head when there is not even that.
        expected: usize,
    },
    /// They are more than a snapshot may have, or more than the head promises.
    TooLong {
        /// How many there are.
        found: usize,
        /// How many there may be.
        most: usize,
    },
    /// They begin with something else.
    NotASnapshot,
    /// They are of a version that this program does not read.
    Version {
        /// The version.
        found: u32,
    },
    /// They are not those that were written.
    Checksum,
    /// They are those that were written, and make no directory.
    Malformed {
        /// What could not be read.
        what: &'static str,
    },
}

impl fmt::Display for SnapshotFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SnapshotFault::TooShort { found, expected } => write!(f, "found {found} bytes, expected {expected}"),
            SnapshotFault::TooLong { found, most } => write!(f, "found {found} bytes, expected at most {most}"),
            SnapshotFault::NotASnapshot => f.write_str("found something else, expected a snapshot of a directory"),
            SnapshotFault::Version { found } => write!(f, "found version {found}, expected {VERSION}"),
            SnapshotFault::Checksum => f.write_str("found bytes that do not match their checksum"),
            SnapshotFault::Malformed { what } => write!(f, "found no sound {what} in bytes that match their checksum"),
        }
    }
}

impl std::error::Error for SnapshotFault {}
