//! The signals that the program answers to.

use std::io;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// What somebody outside wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// SIGTERM or SIGINT: end, once the open transactions are over; the second one ends at once.
    End,
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGUSR1: tell more in the log, or as little as the file says again.
    Louder,
}

/// The streams of those signals. From its making on, none of them ends the process by itself.
#[derive(Debug)]
pub struct Signals {
    terminate: Stream,
    interrupt: Stream,
    hangup: Stream,
    user: Stream,
}

impl Signals {
    /// Listens, within a runtime.
    pub fn new() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
        })
    }

    /// The next signal.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::End,
            _ = self.interrupt.recv() => Signal::End,
            _ = self.hangup.recv() => Signal::Reload,
            _ = self.user.recv() => Signal::Louder,
        }
    }
}
