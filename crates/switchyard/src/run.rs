//! `switchyard run`: the service between its signals.

use crate::config::{self, Configuration, Faults};
use crate::keys_file;
use crate::logging;
use crate::memory;
use crate::priority;
use crate::service::{Ended, Service};
use crate::signals::{Signal, Signals};
use crate::supervisor::Supervisor;
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// A turn of the worker takes far less.
const WORKER_ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// Runs the proxy of the configuration at `path` until SIGTERM or SIGINT. 0 is a good end, also when transactions were
/// cut off at the limit of draining; 1 says that it did not start, or that its worker failed.
pub fn run(path: &Path) -> ExitCode {
    let loaded = config::load(path);
    let _log = logging::start(loaded.as_ref().map(|configuration| configuration.log).unwrap_or_default());
    log_panics();
    let configuration = match loaded.map(fitted) {
        Ok(configuration) => configuration,
        Err(faults) => {
            tracing::error!("the configuration is refused\n{faults}");
            return ExitCode::FAILURE;
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "the runtime cannot be started");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(serve(path, configuration))
}

/// The configuration, fitted to the machine.
fn load(path: &Path) -> Result<Configuration, Faults> {
    config::load(path).map(fitted)
}

/// The limits, fitted to the memory that there is.
fn fitted(mut configuration: Configuration) -> Configuration {
    memory::fit(&mut configuration.core.limits, &mut configuration.records.journal);
    configuration
}

async fn serve(path: &Path, configuration: Configuration) -> ExitCode {
    let drain_limit = configuration.drain_limit;
    let running = Running::of(&configuration);
    let started = async {
        let signals = Signals::new()?;
        let keys = keys_file::open(&configuration.state_dir)?;
        Ok::<_, anyhow::Error>((signals, Service::start(configuration, keys, None).await?))
    };
    let (mut signals, mut service) = match started.await {
        Ok(started) => started,
        Err(fault) => {
            tracing::error!("cannot start: {fault}");
            return ExitCode::FAILURE;
        }
    };
    priority::stand_back();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "switchyard serves");
    let supervisor = Supervisor::of_this_process();
    supervisor.ready();
    let mut asks = tokio::time::interval(supervisor.asks_every().unwrap_or(Duration::MAX));
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::Reload => {
                    supervisor.reloading();
                    reload(path, &running, &service).await;
                    supervisor.ready();
                }
                Signal::Louder => cycle_level(),
                Signal::End => break,
            },
            _asked = asks.tick(), if supervisor.asks_every().is_some() => vouch(&supervisor, &service).await,
            ended = service.ended() => {
                tracing::error!(?ended, "a worker has ended by itself");
                // What the others hold of records and of the journal of calls is written; they may hang as well.
                let _stopped = tokio::time::timeout(WORKER_ANSWERS_WITHIN, service.stop()).await;
                return ExitCode::FAILURE;
            }
        }
    }
    supervisor.stopping();
    drain(path, &running, service, &mut signals, drain_limit).await
}

/// Tells the supervisor that we are alive, if the worker answers: a process whose worker hangs is better restarted.
async fn vouch(supervisor: &Supervisor, service: &Service) {
    match is_answered(service.is_alive()).await {
        true => supervisor.alive(),
        false => tracing::error!("the worker does not answer: the supervisor is not told that we are alive"),
    }
}

/// Whether a sign of life comes in time.
async fn is_answered(sign: impl Future<Output = bool>) -> bool {
    tokio::time::timeout(WORKER_ANSWERS_WITHIN, sign).await.unwrap_or(false)
}

/// No new calls; the open transactions finish, within a limit and until a second signal.
async fn drain(
    path: &Path,
    running: &Running,
    mut service: Service,
    signals: &mut Signals,
    limit: Duration,
) -> ExitCode {
    let open = service.open_transactions();
    service.drain().await;
    tracing::info!(open, limit_s = limit.as_secs(), "draining: new calls get 503; a second signal ends at once");
    let deadline = tokio::time::sleep(limit);
    tokio::pin!(deadline);
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::Reload => reload(path, running, &service).await,
                Signal::Louder => cycle_level(),
                Signal::End => break,
            },
            _ended = service.ended() => break,
            () = &mut deadline => break,
        }
    }
    match service.stop().await {
        Ended::Drained => tracing::info!("ended, nothing was cut off"),
        Ended::CutOff(open) => tracing::warn!(open, "ended with transactions still open"),
    }
    ExitCode::SUCCESS
}

/// What a process keeps for its whole life: a reload that asks for another value is told that it takes a restart.
struct Running {
    /// The keys of open calls are here; another folder's ring would cut them.
    state_dir: PathBuf,
    /// Calls stay with the workers that have them.
    workers: u16,
    database: sync::Settings,
    log: Cell<logging::Log>,
}

impl Running {
    fn of(configuration: &Configuration) -> Running {
        let log = Cell::new(configuration.log);
        let (state_dir, database) = (configuration.state_dir.clone(), configuration.database.clone());
        Running { state_dir, workers: configuration.workers, database, log }
    }

    fn apply_log(&self, log: logging::Log) {
        let takes_restart = logging::present().is_some_and(|present| present.apply(self.log.replace(log), log));
        if takes_restart {
            tracing::warn!("log.format has changed: it takes a restart");
        }
    }

    fn warn_of_what_stays(&self, configuration: &Configuration) {
        if configuration.state_dir != self.state_dir {
            tracing::warn!("state_dir has changed: it takes a restart, the keys and the socket stay where they are");
        }
        if configuration.workers != self.workers {
            tracing::warn!(
                "sip.workers has changed: it takes a restart, the calls stay with the workers that have them"
            );
        }
        let new = &configuration.database;
        let stays = [
            ("url", new.url != self.database.url),
            ("tables or database.columns", new.mapping != self.database.mapping),
            ("snapshot_dir", new.snapshot_dir != self.database.snapshot_dir),
        ];
        for (key, _) in stays.into_iter().filter(|(_, has_changed)| *has_changed) {
            tracing::warn!("database.{key} has changed: it takes a restart, the old value stays in force");
        }
    }
}

/// Reads the configuration again. A bad one changes nothing (row H3).
async fn reload(path: &Path, running: &Running, service: &Service) {
    let read = load(path).map_err(|faults| faults.to_string()).and_then(|configuration| {
        let keys = keys_file::open(&running.state_dir).map_err(|fault| fault.to_string())?;
        Ok((configuration, keys))
    });
    match read {
        Ok((configuration, keys)) => {
            running.warn_of_what_stays(&configuration);
            running.apply_log(configuration.log);
            service.apply(configuration, keys).await;
            // Who is told that it is in force may place a call at once: the worker has taken it when it answers.
            if tokio::time::timeout(WORKER_ANSWERS_WITHIN, service.is_alive()).await.is_err() {
                tracing::warn!("the worker has not taken the new settings yet");
            }
            tracing::info!("the configuration was read again and is in force");
        }
        Err(faults) => tracing::error!("the new configuration is refused, the old one stays\n{faults}"),
    }
}

/// SIGUSR1: the file's level, DEBUG, TRACE, and the file's again.
fn cycle_level() {
    if let Some(log) = logging::present() {
        let level = log.cycle().name();
        tracing::info!(level, "the log's level is changed by SIGUSR1");
    }
}

fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = std::backtrace::Backtrace::force_capture();
        tracing::error!("{panic}\n{backtrace}");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The clock is the test's: it goes on when nothing else can.
    #[tokio::test(start_paused = true)]
    async fn a_sign_of_life_counts_when_it_comes_in_time() {
        let after = |wait: Duration, sign| async move {
            tokio::time::sleep(wait).await;
            sign
        };
        assert!(is_answered(after(Duration::ZERO, true)).await);
        assert!(is_answered(after(WORKER_ANSWERS_WITHIN - Duration::from_millis(1), true)).await);
        assert!(!is_answered(after(WORKER_ANSWERS_WITHIN + Duration::from_millis(1), true)).await);
        assert!(!is_answered(std::future::pending()).await);
        // A worker that has ended says so.
        assert!(!is_answered(after(Duration::ZERO, false)).await);
    }
}
