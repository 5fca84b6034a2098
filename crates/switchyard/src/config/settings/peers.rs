//! How peers are measured, and who is asked for their names.

use serde::Deserialize;

/// `[probe]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProbeSettings {
    /// How often each peer gets an OPTIONS; `0s` for never.
    pub interval: String,
    /// How long it may take to answer.
    pub timeout: String,
    /// Missed answers in a row until a peer is down.
    pub down_after: u32,
    /// Answers in a row until it is up again.
    pub up_after: u32,
    /// Calls failed in a row until it is degraded.
    pub calls_failed: u32,
    /// Answers that say: alive, and no calls please.
    pub unwilling: Vec<String>,
}

/// `[dns]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DnsSettings {
    /// The servers that are asked for host names: `IP:PORT`; those of the system unless given.
    pub servers: Vec<String>,
    /// How long a server may take to answer.
    pub timeout: String,
}

impl Default for ProbeSettings {
    fn default() -> Self {
        ProbeSettings {
            interval: "5s".into(),
            timeout: "2s".into(),
            down_after: 3,
            up_after: 2,
            calls_failed: 3,
            unwilling: vec!["503".into()],
        }
    }
}

impl Default for DnsSettings {
    fn default() -> Self {
        DnsSettings { servers: Vec::new(), timeout: "2s".into() }
    }
}
