//! `/admin`: are we well?

use std::time::Duration;

use askama::Template;
use axum::Extension;
use axum::response::Response;

use super::frame::{Frame, Looker, Moment};
use super::page;
use super::pulse::Pulse;
use super::tables::{DiffLine, diff_lines};
use crate::api::generations::Diff;
use crate::api::{panic, times};
use crate::status::Status;

/// The counters that an operator asks for first.
const COUNTED: [&str; 7] = [
    "switchyard_calls_total",
    "switchyard_setups_total",
    "switchyard_refused_total",
    "switchyard_dropped_total",
    "switchyard_failovers_total",
    "switchyard_warnings_total",
    "switchyard_limits_reached_total",
];
/// Changed DIDs that are listed of what is held back.
const HELD_LISTED: usize = 20;

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    frame: Frame,
    uptime: String,
    calls_in_progress: u64,
    calls_per_second: Option<String>,
    table_age: Option<String>,
    counted: Vec<Counted>,
    held: Option<HeldShown>,
    panic_is_on: bool,
    panic_why: Option<String>,
    panic_ends: Option<Moment>,
    status: Status,
}

struct Counted {
    name: String,
    labels: String,
    value: u64,
}

struct HeldShown {
    version: String,
    since: String,
    reasons: String,
    is_rejected: bool,
    told: String,
    rows: Vec<DiffLine>,
}

pub(super) async fn show(looker: Looker, Extension(pulse): Extension<Pulse>) -> Response {
    let status = (looker.api.status)();
    let frame = looker.frame_of("Overview", &status);
    let asked = panic::show(looker.state(), looker.extension()).await;
    // Without our tables there is no panic, and nobody to ask who made it.
    let asked = asked.map(|answer| answer.0).ok();
    let in_effect = asked.as_ref().and_then(|panic| panic.panic.as_ref());
    let in_progress = status.counters.iter().filter(|count| count.name == telemetry::catalogue::CALLS_IN_PROGRESS.name);
    let page_of = OverviewPage {
        uptime: told(Duration::from_secs(status.uptime_s)),
        calls_in_progress: in_progress.map(|count| count.value).sum(),
        calls_per_second: pulse.calls_per_second(),
        table_age: status.directory.table_age_s.map(|age| told(Duration::from_secs_f64(age.max(0.0)))),
        counted: counted(&status),
        held: held(&looker, &frame),
        panic_is_on: looker.api.directory().overlays().panic.is_some(),
        panic_why: in_effect.map(|panic| format!("{} ({})", panic.made.reason, panic.made.made_by)),
        panic_ends: in_effect.and_then(|panic| panic.ends_at_ms).map(|ms| Moment { ms }),
        frame,
        status,
    };
    page(&page_of)
}

fn counted(status: &Status) -> Vec<Counted> {
    let mut counted = Vec::new();
    for name in COUNTED {
        let counts = status.counters.iter().filter(|count| count.name == name && count.value > 0);
        counted.extend(counts.map(|count| Counted {
            name: count.name.trim_start_matches("switchyard_").trim_end_matches("_total").replace('_', " "),
            labels: count.labels.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(", "),
            value: count.value,
        }));
    }
    counted
}

fn held(looker: &Looker, frame: &Frame) -> Option<HeldShown> {
    let held = looker.api.watcher.held()?;
    let diff = Diff::from(&held.difference);
    Some(HeldShown {
        version: held.version.to_string(),
        since: times::shown(held.since_ms),
        reasons: held.reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        is_rejected: held.is_rejected,
        rows: diff_lines(frame, &diff).take(HELD_LISTED).collect(),
        told: diff.told,
    })
}

/// A time span for people.
pub(super) fn told(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_overview_shows_first_is_counted() {
        let is_counted = |name: &&str| telemetry::catalogue::FAMILIES.iter().any(|family| family.name == *name);
        assert!(COUNTED.iter().all(is_counted));
    }
}
