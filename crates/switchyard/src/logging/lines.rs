//! A line of text: with the time, or as the journal wants it.

use std::fmt;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// What systemd sets where stderr leads to the journal: the device and the inode of that stream. Whoever sends stderr
/// elsewhere leaves the variable standing, so that it is compared (systemd.exec(5)).
const JOURNAL_VARIABLE: &str = "JOURNAL_STREAM";

/// How lines are written.
pub(super) enum Lines {
    /// With the time.
    Timed(Format<Full>),
    /// With the priority in front, as sd-daemon(3) has it, and without the time: the journal has its own.
    Journal(Format<Full, ()>),
}

impl Lines {
    pub(super) fn of_this_process() -> Lines {
        match std::env::var(JOURNAL_VARIABLE) {
            Ok(stream) if stderr().is_some_and(|stderr| stderr == stream) => {
                Lines::Journal(Format::default().without_time())
            }
            _ => Lines::Timed(Format::default()),
        }
    }
}

/// Stderr, as the variable names streams.
fn stderr() -> Option<String> {
    let found = File::from(std::io::stderr().as_fd().try_clone_to_owned().ok()?).metadata().ok()?;
    Some(format!("{}:{}", found.dev(), found.ino()))
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        match self {
            Lines::Timed(format) => format.format_event(context, writer, event),
            Lines::Journal(format) => {
                let priority = match *event.metadata().level() {
                    Level::ERROR => 3,
                    Level::WARN => 4,
                    Level::INFO => 6,
                    _ => 7,
                };
                write!(writer, "<{priority}>")?;
                format.format_event(context, writer, event)
            }
        }
    }
}
