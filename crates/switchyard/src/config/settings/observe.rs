//! How it is seen from outside.

use super::Secret;
use serde::Deserialize;

/// `[log]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// `text` or `json`.
    pub format: String,
    /// The least that is told: `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// Whether the last two digits of numbers are hidden.
    pub redact: bool,
}

/// `[capture]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CaptureSettings {
    /// The HEP capture server: `udp:IP:PORT` or `tcp:IP:PORT`.
    pub hep: Option<String>,
    /// Who we are among those that capture.
    pub node: u32,
    /// What the capture server wants to be told.
    pub key: Secret,
    /// Whether everything is captured from the start on.
    pub enabled: bool,
}

impl Default for LogSettings {
    fn default() -> Self {
        LogSettings { format: "text".into(), level: "info".into(), redact: false }
    }
}

impl Default for CaptureSettings {
    fn default() -> Self {
        CaptureSettings { hep: None, node: 1, key: Secret::new(""), enabled: false }
    }
}
