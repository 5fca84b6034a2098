//! A line of text: with the time, or as the journal wants it.

use std::fmt;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// What systemd sets where stderr leads to the journal.
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
        match std::env::var_os(JOURNAL_VARIABLE) {
            Some(_) => Lines::Journal(Format::default().without_time()),
            None => Lines::Timed(Format::default()),
        }
    }
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
