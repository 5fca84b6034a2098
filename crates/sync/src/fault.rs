//! Why the directory could not be read.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

/// Why a look or a reading failed. None of them changes the directory that is published.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SyncFault {
    /// The URL is of no engine that we know, or malformed. It is shown without its secrets.
    #[error(
        "database.url: found {found:?}, expected mysql://USER:PASSWORD@HOST/DATABASE, postgres://USER:PASSWORD@HOST/DATABASE or sqlite:///PATH ({detail})"
    )]
    Url {
        /// The URL without its secrets.
        found: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The database file is not there.
    #[error("found no file {}, expected an SQLite database", path.display())]
    FileMissing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The database could not be opened.
    #[error("the database does not open: {detail}")]
    Connect {
        /// What the engine says.
        detail: String,
    },
    /// The text of a database file is not encoded as we read it.
    #[error(
        "{}: found text encoded as {found}, expected UTF-8: make the file anew with `PRAGMA encoding = 'UTF-8'` and load what `.dump` says of the old one", path.display()
    )]
    Encoding {
        /// The file.
        path: PathBuf,
        /// What it says of itself.
        found: String,
    },
    /// A table is not there.
    #[error("table {table}: not found, expected a table with the columns of the reference schema")]
    TableMissing {
        /// The table.
        table: String,
    },
    /// A column without which a table cannot be read is not there.
    #[error("table {table}: column {column} not found, expected it as in the reference schema")]
    ColumnMissing {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// A query failed.
    #[error("{what}: {detail}")]
    Query {
        /// The table, or what was asked.
        what: String,
        /// What the engine says.
        detail: String,
    },
    /// The database did not answer in time.
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// There was something to accept or reject, and is not any more.
    #[error("nothing is held back")]
    NothingHeld,
    /// What is held back is not what was looked at.
    #[error("what is held back has changed meanwhile: look at it again")]
    HeldChanged,
    /// There is more of something than we take.
    #[error("{detail}")]
    TooMany {
        /// What, how many, and how many there may be.
        detail: String,
    },
    /// The writer could not be started, or has stopped.
    #[error("the writer is not running: {detail}")]
    NotRunning {
        /// Why.
        detail: String,
    },
}
