//! How the program is seen from outside: its log, and captures.

use super::Resolver;
use crate::config::fault::Key;
use crate::config::settings::{CaptureSettings, LogSettings};
use crate::config::value;
use crate::logging::{Format, Level, Log};
use telemetry::hep::{AuthKey, Collector};

/// Where the wire is told to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Capture {
    /// The capture server, if there is one.
    pub collector: Option<Collector>,
    /// Whether everything is captured from the start on.
    pub is_on: bool,
}

impl Resolver<'_, '_> {
    pub(super) fn log(&mut self, log: &LogSettings) -> Log {
        let table = Key::of("log");
        let format = match log.format.as_str() {
            "text" => Format::Text,
            "json" => Format::Json,
            other => {
                self.refuse(&table.name("format"), other, "text or json");
                Format::Text
            }
        };
        let level = Level::of(&log.level);
        if level.is_none() {
            self.refuse(&table.name("level"), &log.level, Level::EXPECTED);
        }
        Log { format, level: level.unwrap_or_default(), redacts: log.redact }
    }

    pub(super) fn capture(&mut self, capture: &CaptureSettings) -> Capture {
        let table = Key::of("capture");
        let endpoint = capture.hep.as_deref().and_then(|text| {
            let endpoint = value::endpoint(text);
            if endpoint.is_none() {
                self.refuse(&table.name("hep"), text, value::ENDPOINT);
            }
            endpoint
        });
        if capture.enabled && capture.hep.is_none() {
            self.refuse(&table.name("enabled"), "true", "capture.hep with the address of a capture server");
        }
        let key = AuthKey::new(capture.key.expose());
        let collector = endpoint.map(|(transport, address)| Collector { transport, address, node: capture.node, key });
        Capture { collector, is_on: capture.enabled }
    }
}
