//! How long a server is waited for: for each answer and each row, not for all of them together. A table may take as long
//! to read as it has rows, while a server that hangs is given up soon.

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use futures_util::{Stream, StreamExt, TryStreamExt};

use crate::limits::READ_TIME_MAX;

/// How much later one side gives up than the other, so that it is always the same one that says why.
const APART: Duration = Duration::from_secs(5);

/// How long to wait for a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Patience {
    /// For the next answer, or the next row of one.
    pub(crate) answer: Duration,
    /// How long the server itself lets one statement run.
    pub(crate) statement: Duration,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The engine says so.
    Engine(sqlx::Error),
    /// Nothing came for so long.
    TimedOut(Duration),
}

impl From<sqlx::Error> for Stopped {
    fn from(error: sqlx::Error) -> Stopped {
        Stopped::Engine(error)
    }
}

impl Patience {
    /// With a reading, which takes as long as rows come.
    pub(crate) fn with_readings(query_timeout: Duration) -> Patience {
        Patience { answer: query_timeout, statement: READ_TIME_MAX.max(query_timeout) }
    }

    /// With a write: each statement is short, and the server gives it up first.
    pub(crate) fn with_writes(query_timeout: Duration) -> Patience {
        Patience { answer: query_timeout + APART, statement: query_timeout }
    }

    /// How long the server lets a statement wait for a lock, where that is less than it lets it run: longer than we
    /// wait, and what is left of it then is ended by the next connection.
    pub(crate) fn lock(self) -> Option<Duration> {
        let limit = self.answer + APART;
        (limit < self.statement).then_some(limit)
    }

    /// Waits for one answer.
    pub(crate) async fn answer<T, E: Into<Stopped>>(
        self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Stopped> {
        match tokio::time::timeout(self.answer, work).await {
            Ok(done) => done.map_err(Into::into),
            Err(_) => Err(Stopped::TimedOut(self.answer)),
        }
    }

    /// Waits for the next row; `None` behind the last.
    pub(crate) async fn next<R>(
        self,
        rows: &mut (impl Stream<Item = Result<R, sqlx::Error>> + Unpin),
    ) -> Result<Option<R>, Stopped> {
        // A row that is there already costs no look at the clock.
        match poll_fn(|context| Poll::Ready(rows.poll_next_unpin(context))).await {
            Poll::Ready(row) => row.transpose().map_err(Stopped::Engine),
            Poll::Pending => self.answer(rows.try_next()).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_gives_up_a_write_before_we_do_and_a_reading_after() {
        let limit = Duration::from_secs(10);
        let (reading, write) = (Patience::with_readings(limit), Patience::with_writes(limit));
        assert!(reading.statement > reading.answer && write.statement < write.answer);
        assert_eq!((reading.answer, reading.lock(), write.lock()), (limit, Some(limit + APART), None));
    }
}
