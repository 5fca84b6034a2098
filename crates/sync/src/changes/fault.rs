//! Why something could not be written.

use sip::Number;
use thiserror::Error;

use crate::fault::SyncFault;

/// Why something was not written. Nothing of it is in effect.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WriteFault {
    /// One of our own tables is not there.
    #[error("table {table}: not found; `switchyard db migrate` makes it")]
    NotMigrated {
        /// The table.
        table: &'static str,
    },
    /// There is no such DID.
    #[error("found no DID +{number} in the directory")]
    NoSuchDid {
        /// The number.
        number: Number,
    },
    /// There is no such organisation.
    #[error("found no organisation {id:?} in the directory")]
    NoSuchOrganisation {
        /// The `id` of its row.
        id: String,
    },
    /// Someone else has changed it since it was looked at.
    #[error("it has changed meanwhile: found {found}")]
    Changed {
        /// What is there now.
        found: String,
    },
    /// There is one already, and the request did not name it as what it replaces.
    #[error("there is one already: {id}, {found}")]
    Exists {
        /// Its id.
        id: String,
        /// What it says.
        found: String,
    },
    /// It has ended, or never was.
    #[error("found no {id} in effect")]
    Ended {
        /// The id.
        id: String,
    },
    /// The request cannot be.
    #[error("{what}: expected {expected}")]
    Invalid {
        /// The part.
        what: &'static str,
        /// What would do.
        expected: String,
    },
    /// It is one of many, and a fault of one before it, or the time, ended them.
    #[error("not tried: the database failed before, or there was no more time")]
    NotTried,
    /// The database.
    #[error(transparent)]
    Database(SyncFault),
}

impl WriteFault {
    /// Whether the engine ended a transaction so that another could go on.
    pub(super) fn is_deadlock(&self) -> bool {
        self.says(&["Deadlock found", "deadlock detected", "database is locked"])
    }

    /// A unique key that was hit in the very moment is told like one that was found.
    pub(super) fn not_alone(self) -> WriteFault {
        match self.says(&["Duplicate entry", "duplicate key value", "UNIQUE constraint failed"]) {
            true => WriteFault::Changed { found: "another of its kind, made at the same moment".to_owned() },
            false => self,
        }
    }

    /// Whether the engine said one of these: MariaDB's words, PostgreSQL's, SQLite's.
    fn says(&self, words: &[&str]) -> bool {
        matches!(self, WriteFault::Database(SyncFault::Query { detail, .. }) if words.iter().any(|word| detail.contains(word)))
    }
}

impl From<SyncFault> for WriteFault {
    fn from(fault: SyncFault) -> Self {
        WriteFault::Database(fault)
    }
}
