//! What the supervisor is told (sd_notify(3)): ready, reloading, stopping, and that the worker answers. Without a
//! supervisor that listens, all of it is nothing.

use sd_notify::NotifyState;
use std::time::Duration;

/// The supervisor's ear, if it has one.
#[derive(Clone, Copy, Debug)]
pub struct Supervisor {
    /// It wants to hear from us within this time, else it ends us.
    patience: Option<Duration>,
}

impl Supervisor {
    /// The one that started this process.
    pub fn of_this_process() -> Supervisor {
        Supervisor { patience: sd_notify::watchdog_enabled() }
    }

    /// Calls are served.
    pub fn ready(&self) {
        tell(&[NotifyState::Ready, NotifyState::Status("serving")]);
    }

    /// The configuration is being read again; [`Supervisor::ready`] ends this.
    pub fn reloading(&self) {
        let now = NotifyState::monotonic_usec_now();
        match now {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!(%error, "the supervisor cannot be told of the reload"),
        }
    }

    /// New calls are refused, open ones finish.
    pub fn stopping(&self) {
        tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
    }

    /// How often it has to hear that we are alive: twice within its patience. `None` when it does not ask.
    pub fn asks_every(&self) -> Option<Duration> {
        self.patience.map(|patience| patience / 3)
    }

    /// We are alive.
    pub fn alive(&self) {
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the supervisor cannot be told");
    }
}
