//! `cargo xtask dashboard`: writes deploy/grafana/switchyard.json from the list of panels below. `cargo xtask lint` says when
//! the file is another, and a test of the program that every query names a metric of the catalogue.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};

use crate::tool;

/// The file.
pub(crate) const PATH: &str = "deploy/grafana/switchyard.json";

/// Panels beside each other, each so wide and so high on Grafana's grid.
const COLUMNS: usize = 2;
const WIDTH: usize = 12;
const HEIGHT: usize = 8;

/// One panel: a curve for each series of its queries.
struct Panel {
    title: &'static str,
    /// Grafana's name of the unit.
    unit: &'static str,
    /// Each with its legend; without one, Grafana shows the labels.
    queries: &'static [(&'static str, &'static str)],
}

const PANELS: [Panel; 33] = [
    Panel {
        title: "Calls per second by direction",
        unit: "cps",
        queries: &[("sum by (direction) (rate(switchyard_calls_total[1m]))", "")],
    },
    Panel {
        title: "Setups by outcome",
        unit: "cps",
        queries: &[("sum by (outcome) (rate(switchyard_setups_total[1m]))", "")],
    },
    Panel {
        title: "Setups of staging by outcome",
        unit: "cps",
        queries: &[("sum by (outcome) (rate(switchyard_setups_total{party=\"staging\"}[1m]))", "")],
    },
    Panel {
        title: "Setup time p50, p95, p99",
        unit: "s",
        queries: &[
            ("histogram_quantile(0.5, sum by (le) (rate(switchyard_setup_seconds_bucket[5m])))", ""),
            ("histogram_quantile(0.95, sum by (le) (rate(switchyard_setup_seconds_bucket[5m])))", ""),
            ("histogram_quantile(0.99, sum by (le) (rate(switchyard_setup_seconds_bucket[5m])))", ""),
        ],
    },
    Panel {
        title: "Post-dial delay p95 by direction",
        unit: "s",
        queries: &[(
            "histogram_quantile(0.95, sum by (le, direction) (rate(switchyard_post_dial_delay_seconds_bucket[5m])))",
            "",
        )],
    },
    Panel {
        title: "Refusals by reason",
        unit: "cps",
        queries: &[("sum by (reason) (rate(switchyard_refused_total[1m]))", "")],
    },
    Panel {
        title: "Refusals by party",
        unit: "cps",
        queries: &[("sum by (party) (rate(switchyard_refused_total[1m]))", "{{party}}")],
    },
    Panel {
        title: "Decisions by rule",
        unit: "cps",
        queries: &[("sum by (rule) (rate(switchyard_decisions_total[1m]))", "")],
    },
    Panel {
        title: "Caller ID by rule",
        unit: "cps",
        queries: &[("sum by (rule) (rate(switchyard_caller_ids_total[1m]))", "")],
    },
    Panel {
        title: "Requests by party",
        unit: "reqps",
        queries: &[("sum by (party) (rate(switchyard_requests_total[1m]))", "")],
    },
    Panel {
        title: "Responses by party and class",
        unit: "reqps",
        queries: &[("sum by (party, class) (rate(switchyard_responses_total[1m]))", "")],
    },
    Panel { title: "Peers that are up", unit: "none", queries: &[("switchyard_peer_up", "{{party}} {{peer}}")] },
    Panel {
        title: "Time of the last probe",
        unit: "s",
        queries: &[("switchyard_probe_seconds", "{{party}} {{peer}}")],
    },
    Panel {
        title: "Channels used, and allowed",
        unit: "none",
        queries: &[("switchyard_channels_used", "{{party}}"), ("switchyard_channels_allowed", "{{party}} allowed")],
    },
    Panel { title: "Calls in progress", unit: "none", queries: &[("switchyard_calls_in_progress", "")] },
    Panel { title: "Directory generation", unit: "none", queries: &[("switchyard_directory_generation", "")] },
    Panel {
        title: "Seconds since the database was read",
        unit: "s",
        queries: &[("switchyard_directory_age_seconds", "")],
    },
    Panel {
        title: "Time to apply a change p50, p99",
        unit: "s",
        queries: &[
            ("histogram_quantile(0.5, sum by (le) (rate(switchyard_directory_apply_seconds_bucket[10m])))", "p50"),
            ("histogram_quantile(0.99, sum by (le) (rate(switchyard_directory_apply_seconds_bucket[10m])))", "p99"),
        ],
    },
    Panel {
        title: "Faulty values; guard holds; from snapshot",
        unit: "none",
        queries: &[
            ("switchyard_directory_faults", ""),
            ("switchyard_guard_holding", ""),
            ("switchyard_directory_from_snapshot", ""),
        ],
    },
    Panel { title: "Open transactions", unit: "none", queries: &[("switchyard_open_transactions", "")] },
    Panel {
        title: "Retransmissions out and absorbed",
        unit: "cps",
        queries: &[
            ("sum(rate(switchyard_retransmitted_total[1m]))", ""),
            ("sum(rate(switchyard_absorbed_total[1m]))", ""),
        ],
    },
    Panel {
        title: "Drops by reason",
        unit: "cps",
        queries: &[("sum by (reason) (rate(switchyard_dropped_total[1m]))", "")],
    },
    Panel {
        title: "Failovers by reason",
        unit: "cps",
        queries: &[("sum by (reason) (rate(switchyard_failovers_total[1m]))", "")],
    },
    Panel {
        title: "Warnings",
        unit: "cps",
        queries: &[("sum by (warning) (rate(switchyard_warnings_total[1m]))", "")],
    },
    Panel { title: "TCP connections", unit: "none", queries: &[("switchyard_tcp_connections", "")] },
    Panel { title: "Receive overflows", unit: "cps", queries: &[("rate(switchyard_udp_overflowed_total[1m])", "")] },
    Panel {
        title: "Queues: part of their room that is taken",
        unit: "percentunit",
        queries: &[("switchyard_queue_depth / switchyard_queue_room", "{{queue}}")],
    },
    Panel {
        title: "Bytes that wait in the receive buffers",
        unit: "bytes",
        queries: &[("switchyard_udp_receive_queue_bytes", "")],
    },
    Panel { title: "Resident memory", unit: "bytes", queries: &[("switchyard_resident_memory_bytes", "")] },
    Panel { title: "CPU", unit: "percentunit", queries: &[("rate(switchyard_cpu_seconds_total[5m])", "")] },
    Panel {
        title: "Media addresses outside the networks",
        unit: "cps",
        queries: &[("sum by (party) (rate(switchyard_stray_media_total[5m]))", "{{party}}")],
    },
    Panel {
        title: "Lost: log lines and captures",
        unit: "cps",
        queries: &[
            ("rate(switchyard_log_lost_lines_total[5m])", "log lines"),
            ("rate(switchyard_hep_messages_total{outcome=\"lost\"}[5m])", "captures"),
        ],
    },
    Panel {
        title: "Call records: written, waiting, lost",
        unit: "cps",
        queries: &[
            ("rate(switchyard_call_records_written_total[5m])", "{{sink}} written"),
            ("rate(switchyard_call_records_lost_total[5m])", "{{sink}} lost"),
            ("rate(switchyard_call_record_facts_lost_total[5m])", "facts lost"),
        ],
    },
];

/// Writes the file.
pub(crate) fn run() -> Result<bool> {
    let path = tool::root().join(PATH);
    fs::write(&path, text()).with_context(|| format!("{PATH} cannot be written"))?;
    println!("{PATH}: {} panels", PANELS.len());
    Ok(true)
}

/// What the file says.
pub(crate) fn text() -> String {
    let panels: Vec<String> = PANELS.iter().enumerate().map(|(at, panel)| panel_text(at, panel)).collect();
    format!("{HEAD}{}\n  ]\n}}\n", panels.join(",\n"))
}

const HEAD: &str = r#"{
  "title": "Switchyard",
  "uid": "switchyard",
  "schemaVersion": 39,
  "version": 1,
  "editable": true,
  "refresh": "5s",
  "time": { "from": "now-1h", "to": "now" },
  "tags": ["sip"],
  "templating": {
    "list": [
      { "name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source" }
    ]
  },
  "panels": [
"#;

fn panel_text(at: usize, panel: &Panel) -> String {
    let (x, y) = (at % COLUMNS * WIDTH, at / COLUMNS * HEIGHT);
    let mut targets = String::new();
    for (letter, (query, legend)) in ('A'..='Z').zip(panel.queries) {
        let separator = if targets.is_empty() { "" } else { ",\n" };
        let legend = if legend.is_empty() { String::new() } else { format!(", \"legendFormat\": {}", quoted(legend)) };
        let _infallible =
            write!(targets, "{separator}        {{ \"refId\": \"{letter}\", \"expr\": {}{legend} }}", quoted(query));
    }
    let (id, title, unit) = (at + 1, quoted(panel.title), quoted(panel.unit));
    format!(
        r#"    {{
      "id": {id},
      "type": "timeseries",
      "title": {title},
      "datasource": {{ "type": "prometheus", "uid": "${{datasource}}" }},
      "gridPos": {{ "x": {x}, "y": {y}, "w": {WIDTH}, "h": {HEIGHT} }},
      "fieldConfig": {{ "defaults": {{ "unit": {unit}, "min": 0 }}, "overrides": [] }},
      "targets": [
{targets}
      ]
    }}"#
    )
}

/// A text of JSON; ours have no control characters.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_escaped_and_panels_stand_side_by_side() {
        assert_eq!(quoted("a{b=\"c\"}"), r#""a{b=\"c\"}""#);
        let panel = |at| panel_text(at, &PANELS[0]);
        assert!(panel(0).contains(r#""x": 0, "y": 0,"#) && panel(3).contains(r#""x": 12, "y": 8,"#));
        assert_eq!(text().matches("\"title\"").count(), PANELS.len() + 1);
    }
}
