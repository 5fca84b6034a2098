//! What the file says of limits: numbers on tables, calls at one time, and how fast they may come.

use serde::Deserialize;

/// `[limits]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsSettings {
    /// Open transactions; above it new calls get 503.
    pub transactions: u64,
    /// Bytes that they may hold; above it new calls get 503.
    pub transaction_bytes: u64,
    /// Requests out of a dialog that one source address may send in a second; above it they get 480. 0: any number.
    pub requests_per_second: u32,
    /// Retry-After of our 503s.
    pub retry_after: String,
    /// Longest time that open transactions get to finish after SIGTERM.
    pub drain_limit: String,
    /// How long a call is counted that nobody ends.
    pub call_age: String,
    /// What a call gets that is one too many: `486` or `480`.
    pub busy_status: String,
    /// What a call gets that came too fast: `480` or `486`.
    pub rate_status: String,
    /// New calls of one DID in a second.
    pub did_calls_per_second: Option<u32>,
    /// New calls of one organisation in a second.
    pub organisation_calls_per_second: Option<u32>,
}

/// `[trunk.quota]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrunkQuotaSettings {
    /// Calls at one time, in both directions.
    pub max_channels: Option<u32>,
    /// How many of them are for prod alone.
    pub prod_reserve: u32,
    /// Calls at one time for each gateway.
    pub gateway_channels: Vec<u32>,
    /// New calls in a second, in both directions.
    pub calls_per_second: Option<u32>,
}

/// `[environments.NAME.quota]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EnvironmentQuotaSettings {
    /// Calls at one time, in both directions.
    pub max_channels: Option<u32>,
    /// New calls in a second, in both directions.
    pub calls_per_second: Option<u32>,
    /// The first digits of the numbers that it may call; all unless given.
    pub destinations: Option<Vec<String>>,
    /// Outbound calls of one day, UTC.
    pub daily_calls: Option<u32>,
}

impl Default for LimitsSettings {
    fn default() -> Self {
        LimitsSettings {
            transactions: 2_000_000,
            transaction_bytes: 1_073_741_824,
            requests_per_second: 0,
            retry_after: "5s".into(),
            drain_limit: "60s".into(),
            call_age: "4h".into(),
            busy_status: "486".into(),
            rate_status: "480".into(),
            did_calls_per_second: None,
            organisation_calls_per_second: None,
        }
    }
}
