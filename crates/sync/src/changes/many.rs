//! Moves of many DIDs: each is committed by itself with its row of the audit, and one reading makes all of them live.

use std::time::{Duration, Instant};

use directory::{Directory, Environment, Generation};
use sip::Number;

use super::{By, WriteFault, Writes, check};
use crate::fault::SyncFault;
use crate::limits::MOVES_TIME_MAX;

/// One of many moves for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The DID.
    pub number: Number,
    /// Where its row is to send its calls.
    pub environment: Environment,
    /// What its row is expected to say; `None`: whatever the present directory says.
    pub before: Option<String>,
}

/// What became of many moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovesWritten {
    /// Of each, in their order: the id of the row that was written, or why nothing of it was.
    pub moves: Vec<Result<String, WriteFault>>,
    /// The generation in which those that were written are live; a fault when they could not be read back yet.
    pub live: Result<Generation, SyncFault>,
    /// The time from the request until then.
    pub took: Duration,
}

impl Writes {
    /// Moves DIDs for good, one after the other. One that cannot be moved holds up no other; a database that fails, or
    /// takes longer than [`MOVES_TIME_MAX`] for all, ends it, and what is left is not tried.
    pub async fn set_environments(&self, moves: &[Move], by: &By) -> Result<MovesWritten, WriteFault> {
        let begun = Instant::now();
        check(by)?;
        let directory = self.watcher.published().load();
        let mut written = Vec::with_capacity(moves.len());
        let mut is_over = false;
        for one in moves {
            is_over = is_over || begun.elapsed() > MOVES_TIME_MAX;
            let done = if is_over { Err(WriteFault::NotTried) } else { self.move_one(&directory, one, by).await };
            is_over = is_over || matches!(done, Err(WriteFault::Database(_) | WriteFault::NotMigrated { .. }));
            written.push(done);
        }
        let live = self.watcher.refresh().await;
        Ok(MovesWritten { moves: written, live, took: begun.elapsed() })
    }

    async fn move_one(&self, directory: &Directory, one: &Move, by: &By) -> Result<String, WriteFault> {
        self.move_row(directory, one.number, one.environment, one.before.as_deref(), by).await
    }
}
