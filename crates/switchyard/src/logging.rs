//! The log of the process: text or JSON lines on stderr, written by a thread of its own.
//!
//! Whoever logs puts a line into a bounded queue and never waits: while nobody reads stderr, lines are lost and counted
//! (row H9). Level, redaction and the calls that are watched change while the program runs; all of it is one value of the
//! process, as the log itself is.

mod lines;
mod redact;
mod sink;
pub mod watches;

pub use watches::{Watch, Watches};

use lines::Lines;
use redact::Redacting;
use sink::Flow;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// Lines that wait for stderr.
pub const LINES: usize = 4_096;
/// The target of what is told of watched calls, whatever the level.
pub const WATCHED: &str = "switchyard::watched";

/// The target of security lines: programs read them, so that no level but OFF hides them.
pub const SECURITY: &str = "switchyard::security";

/// How the log is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// For people, and for the journal.
    #[default]
    Text,
    /// One object in each line.
    Json,
}

/// The least that is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Level {
    /// What fails.
    Error,
    /// And what may lead there.
    Warn,
    /// And each call's end.
    #[default]
    Info,
    /// And each decision.
    Debug,
    /// And everything.
    Trace,
}

/// What is told in the log, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Log {
    /// How it is written.
    pub format: Format,
    /// The least that is told.
    pub level: Level,
    /// Whether the last two digits of numbers are hidden.
    pub redacts: bool,
}

/// The log of this process.
pub struct Logging {
    filter: reload::Handle<EnvFilter, Registry>,
    lost: ErrorCounter,
    flow: Flow,
    levels: Mutex<Levels>,
    redacts: Arc<AtomicBool>,
    /// The calls that are watched.
    pub watches: Watches,
}

#[derive(Clone, Copy)]
struct Levels {
    /// What the file says.
    configured: Level,
    present: Level,
}

static LOGGING: OnceLock<Logging> = OnceLock::new();

impl Level {
    /// What [`Level::of`] reads.
    pub const EXPECTED: &str = "error, warn, info, debug or trace";
    const ALL: [Level; 5] = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];

    /// The level of this very name.
    pub fn of(text: &str) -> Option<Level> {
        Level::ALL.into_iter().find(|level| level.name() == text)
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }

    /// The filter of this level: what others write in detail is theirs, so that below INFO only we are louder.
    fn filter(self) -> EnvFilter {
        let text = match self {
            Level::Error | Level::Warn | Level::Info => self.name().to_owned(),
            Level::Debug | Level::Trace => {
                let level = self.name();
                format!("info,switchyard={level},sync={level},admin={level}")
            }
        };
        watching(&text)
    }
}

/// A filter that always lets through what is told of watched calls, and to programs.
fn watching(text: &str) -> EnvFilter {
    EnvFilter::new(format!("{text},{SECURITY}=warn,{WATCHED}=debug"))
}

/// Starts the log. Lines that wait when the guard is dropped get a second to leave.
pub fn start(log: Log) -> WorkerGuard {
    // Its own way to stderr, without the lock that the command line may hold on it.
    let sink: Box<dyn Write + Send> = match std::io::stderr().as_fd().try_clone_to_owned() {
        Ok(errors) => Box::new(File::from(errors)),
        Err(_) => Box::new(std::io::sink()),
    };
    let flow = Flow::default();
    let sink = flow.clone().into_sink(sink);
    let (writer, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(LINES).lossy(true).thread_name("log").finish(sink);
    let lost = writer.error_counter();
    let redacts = Arc::new(AtomicBool::new(log.redacts));
    let writer = Redacting::new(writer, flow.clone(), Arc::clone(&redacts));
    let from_variable = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|text| !text.is_empty());
    let filter = from_variable.map_or_else(|| log.level.filter(), |text| watching(&text));
    let (filter, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(writer).with_ansi(false);
    let started = match log.format {
        Format::Text => registry.with(layer.event_format(Lines::of_this_process())).try_init(),
        Format::Json => registry.with(layer.json().flatten_event(true).with_current_span(false)).try_init(),
    };
    // A subscriber that is there already is that of a test.
    if started.is_ok() {
        let levels = Mutex::new(Levels { configured: log.level, present: log.level });
        let _set = LOGGING.set(Logging { filter: handle, lost, flow, levels, redacts, watches: Watches::default() });
    }
    guard
}

/// The log, where [`start`] has started it.
pub fn present() -> Option<&'static Logging> {
    LOGGING.get()
}

impl Logging {
    /// Lines that were lost because nobody read what was written before them.
    pub fn lost_lines(&self) -> u64 {
        u64::try_from(self.lost.dropped_lines()).unwrap_or(u64::MAX)
    }

    /// Lines that wait for whoever reads.
    pub fn waiting_lines(&self) -> usize {
        self.flow.waiting(self.lost.dropped_lines())
    }

    /// The least that is told now.
    pub fn level(&self) -> Level {
        self.levels().present
    }

    /// Whether numbers are hidden now.
    pub fn redacts(&self) -> bool {
        self.redacts.load(Ordering::Relaxed)
    }

    /// Another level from the next line on.
    pub fn set_level(&self, level: Level) {
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        levels.present = level;
        // It fails only where the subscriber is gone, and then there is no log.
        let _set = self.filter.reload(level.filter());
    }

    /// The next louder level: the file's, DEBUG, TRACE, and the file's again. Returns it.
    pub fn cycle(&self) -> Level {
        let Levels { configured, present } = self.levels();
        let next = match present {
            Level::Debug => Level::Trace,
            Level::Trace => configured,
            _ => Level::Debug,
        };
        self.set_level(next);
        next
    }

    /// Hides numbers from the next line on, or shows them.
    pub fn set_redacts(&self, redacts: bool) {
        self.redacts.store(redacts, Ordering::Relaxed);
    }

    /// What the file says now is in force. True when that takes a restart in part: the format.
    pub fn apply(&self, old: Log, new: Log) -> bool {
        self.set_redacts(new.redacts);
        if old.level != new.level {
            self.levels.lock().unwrap_or_else(PoisonError::into_inner).configured = new.level;
            self.set_level(new.level);
        }
        old.format != new.format
    }

    fn levels(&self) -> Levels {
        *self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Logging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Logging({})", self.level().name())
    }
}
