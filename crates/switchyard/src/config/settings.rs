//! What the file says: one struct for each table of the TOML, every key with its default.
//!
//! Strings stay strings here; `resolve` says what they mean. docs/reference/config.md lists every key.

mod admin;
mod observe;
mod peers;
mod records;

pub use admin::{AccessSettings, AdminSettings};
pub use observe::{CaptureSettings, LogSettings};
pub use peers::{DnsSettings, ProbeSettings};
pub use records::RecordsSettings;

use super::quota::{EnvironmentQuotaSettings, LimitsSettings, TrunkQuotaSettings};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What this instance is: `prod`, `staging` or `oss`.
    pub environment: String,
    /// The folder of keys, snapshot and journals.
    pub state_dir: PathBuf,
    /// Our own sockets and names.
    pub sip: SipSettings,
    /// How numbers are read.
    pub numbering: NumberingSettings,
    /// What a number without a good row gets.
    pub dispatch: DispatchSettings,
    /// What holds for every caller ID.
    pub caller_id: CallerIdSettings,
    /// The carrier sides.
    pub trunk: Vec<TrunkSettings>,
    /// The PBX sides.
    pub environments: EnvironmentsSettings,
    /// Where the directory comes from.
    pub database: DatabaseSettings,
    /// What machines ask.
    pub metrics: MetricsSettings,
    /// What people ask.
    pub admin: AdminSettings,
    /// What is told in the log, and how.
    pub log: LogSettings,
    /// Where the wire is told to.
    pub capture: CaptureSettings,
    /// How peers are measured.
    pub probe: ProbeSettings,
    /// What is kept of calls.
    pub records: RecordsSettings,
    /// Who is asked for host names.
    pub dns: DnsSettings,
    /// RFC 3261's timers, and ours.
    pub timers: TimersSettings,
    /// Numbers on tables.
    pub limits: LimitsSettings,
}

/// `[sip]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SipSettings {
    /// Addresses that we listen on and send from: `udp:IP:PORT` or `tcp:IP:PORT`.
    pub listen: Vec<String>,
    /// Host names that mean us beside the listeners' addresses.
    pub names: Vec<String>,
    /// How long dialogs older than the proxy find their way to the local PBX.
    pub adopt_for: String,
    /// What becomes of datagrams from those who are no peers: `kernel` or `log`.
    pub strangers: String,
    /// Threads that share the calls.
    pub workers: u64,
}

/// `[numbering]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NumberingSettings {
    /// The country's code, without `+`.
    pub country_code: String,
    /// What stands before a national number.
    pub trunk_prefix: String,
    /// Digits of a national number, the trunk prefix not counted.
    pub national_length: u8,
}

/// `[dispatch]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DispatchSettings {
    /// A number that no row has: a status, or the name of an environment.
    pub unknown_did: String,
    /// A number that has a row and is not in service: a status.
    pub not_in_service: String,
    /// The pool states in which a number is in service: `available`, `pending`, `assigned`, `reserved`.
    pub pool_states: Vec<String>,
    /// DIDs with a `when_down` of their own.
    pub when_down: BTreeMap<String, String>,
}

/// `[caller_id]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallerIdSettings {
    /// The header in which a PBX names the calling endpoint.
    pub endpoint_header: Option<String>,
    /// What a claim to another organisation's number gets: `replace` or `reject`.
    pub on_foreign_caller_id: String,
    /// Emergency and short numbers.
    pub emergency: Vec<String>,
}

/// `[[trunk]]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrunkSettings {
    /// The trunk's name in logs, counters and traces.
    pub name: String,
    /// Where outbound calls go, in the order in which they are tried.
    pub gateways: Vec<String>,
    /// Addresses that speak as this trunk; the gateways' addresses unless given.
    pub sources: Option<Vec<String>>,
    /// The interface that the sources must arrive on.
    pub interface: Option<String>,
    /// The WireGuard interface that its gateways are behind.
    pub wireguard: Option<String>,
    /// Which of our listeners messages to this trunk leave from.
    pub listener: Option<String>,
    /// The largest request that goes to a gateway of transport `auto` by datagram, in bytes.
    pub datagram_bytes_max: Option<u64>,
    /// How the called number is written toward this trunk.
    pub called_number: Option<String>,
    /// Networks that its media may be in; unless given, nothing is looked at.
    pub media: Vec<String>,
    /// The caller ID of a call for which no other is valid.
    pub fallback_did: Option<String>,
    /// The organisation that the fallback DID belongs to, where it is one's.
    pub fallback_owner: Option<String>,
    /// `rewrite` or `pass`.
    pub caller_id: Option<String>,
    /// How calls are spread over the gateways, a number for each.
    pub weights: Vec<u16>,
    /// Statuses of a gateway after which the next one is tried, beside 503.
    pub failover: Vec<String>,
    /// The `provider` values of rows whose DIDs come by this trunk.
    pub providers: Vec<String>,
    /// The `trunk_id` values of such rows.
    pub trunk_ids: Vec<String>,
    /// Whether the trunk's word on identity counts, and whether it is told withheld numbers.
    pub trusted: Option<bool>,
    /// How callers are shown.
    pub identity: IdentitySettings,
    /// How many calls it takes.
    pub quota: TrunkQuotaSettings,
}

/// `[trunk.identity]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IdentitySettings {
    /// How a number is written.
    pub number: String,
    /// Whether From carries the DID.
    pub from: bool,
    /// Whether P-Asserted-Identity carries the DID.
    pub asserted: bool,
    /// P-Preferred-Identity: `keep`, `rewrite` or `remove`.
    pub preferred: String,
    /// Remote-Party-ID, likewise.
    pub remote_party: String,
    /// Diversion, likewise.
    pub diversion: String,
    /// History-Info, likewise.
    pub history_info: String,
    /// `as_is`, `domain` or `ours`.
    pub host: String,
    /// The domain of `host = "domain"`.
    pub domain: Option<String>,
    /// `keep`, `remove` or `organisation`.
    pub display_name: String,
    /// Whether `;user=phone` is written.
    pub user_phone: bool,
    /// Whether a forwarded call shows its first caller.
    pub pass_forwarded_caller: bool,
}

/// `[environments]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EnvironmentsSettings {
    /// The production PBX.
    pub prod: Option<EnvironmentSettings>,
    /// The staging PBX.
    pub staging: Option<EnvironmentSettings>,
    /// The open-source PBX.
    pub oss: Option<EnvironmentSettings>,
}

/// `[environments.NAME]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EnvironmentSettings {
    /// Where calls to this environment go, in the order in which they are tried.
    pub targets: Vec<String>,
    /// Addresses that place calls as this environment; the targets' addresses unless given.
    pub sources: Option<Vec<String>>,
    /// The interface that the sources must arrive on.
    pub interface: Option<String>,
    /// The WireGuard interface that its targets are behind.
    pub wireguard: Option<String>,
    /// Which of our listeners messages to this environment leave from.
    pub listener: Option<String>,
    /// The largest request that goes to a target of transport `auto` by datagram, in bytes.
    pub datagram_bytes_max: Option<u64>,
    /// How the called number is written toward this environment.
    pub called_number: Option<String>,
    /// Networks that its media may be in; unless given, nothing is looked at.
    pub media: Vec<String>,
    /// How calls are spread over the targets, a number for each.
    pub weights: Vec<u16>,
    /// Statuses of a target after which the next one is tried, beside 503.
    pub failover: Vec<String>,
    /// What its calls get while no target is usable: `reject`, a status, an environment, or `announcement`.
    pub when_down: Option<String>,
    /// The server of `when_down = "announcement"`.
    pub announcement: Option<String>,
    /// Names or ids of the organisations that it may call for; all unless given.
    pub organisations: Option<Vec<String>>,
    /// Emergency and short numbers: `carry` or `refuse`.
    pub emergency: Option<String>,
    /// How many calls it may have, and where to.
    pub quota: EnvironmentQuotaSettings,
}

/// `[database]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseSettings {
    /// Which database holds the directory.
    pub url: Secret,
    /// How changes are found: `auto`, `compare` or `change_log`.
    pub detection: String,
    /// How often it is asked for changes.
    pub poll_interval: String,
    /// The same for a change log that has to be polled.
    pub log_poll_interval: String,
    /// The longest time between two readings of everything.
    pub reconcile_interval: String,
    /// Time after which a look or a reading is given up.
    pub query_timeout: String,
    /// The longest time between two tries while the database fails.
    pub retry_interval_max: String,
    /// Where the last good directory is kept; the state folder unless given.
    pub snapshot_dir: Option<PathBuf>,
    /// What tables are called, by their names in the reference schema.
    pub tables: BTreeMap<String, String>,
    /// What columns are called, by table and column of the reference schema.
    pub columns: BTreeMap<String, BTreeMap<String, String>>,
    /// How much may be lost or moved unseen.
    pub guard: GuardSettings,
}

/// `[database.guard]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GuardSettings {
    /// Whether a directory that lost too much is held back.
    pub enabled: bool,
    /// The time over which losses and moves add up.
    pub window: String,
    /// Rows of a table that may always be lost.
    pub lost_rows: u32,
    /// Percent of a table's rows that may be lost, where that is more.
    pub lost_percent: u32,
    /// DIDs that others may always move between environments.
    pub moved_dids: u32,
    /// Percent of the DIDs that others may move, where that is more.
    pub moved_percent: u32,
}

/// `[metrics]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsSettings {
    /// The address of `/metrics`, `/healthz` and `/readyz`; none unless given.
    pub listen: Option<String>,
}

/// `[timers]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimersSettings {
    /// Round-trip estimate (RFC 3261 17.1.1.1).
    pub t1: String,
    /// Longest interval between retransmissions.
    pub t2: String,
    /// Longest time that a message stays in the network.
    pub t4: String,
    /// Longest ringing without a sign of life (RFC 3261 16.6 item 11).
    pub timer_c: String,
    /// Longest silence of a target before the next one is tried.
    pub hop_timeout: String,
}

/// A string that may hold a password: it prints as `(masked)`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes a string into custody.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The string itself, for the one who needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(masked)")
    }
}

impl Default for Settings {
    /// The instance of the reference topology: prod, one trunk, three environments.
    fn default() -> Self {
        Settings {
            environment: "prod".into(),
            state_dir: "/var/lib/switchyard".into(),
            sip: SipSettings::default(),
            numbering: NumberingSettings::default(),
            dispatch: DispatchSettings::default(),
            caller_id: CallerIdSettings::default(),
            trunk: vec![TrunkSettings {
                name: "tata".into(),
                gateways: vec!["udp:10.10.10.2:5060".into()],
                ..TrunkSettings::default()
            }],
            environments: EnvironmentsSettings {
                prod: Some(EnvironmentSettings::at("udp:10.10.10.1:5070")),
                staging: Some(EnvironmentSettings::at("udp:10.10.10.3:5080")),
                oss: Some(EnvironmentSettings::at("udp:10.10.10.4:5080")),
            },
            database: DatabaseSettings::default(),
            probe: ProbeSettings::default(),
            records: RecordsSettings::default(),
            dns: DnsSettings::default(),
            timers: TimersSettings::default(),
            metrics: MetricsSettings::default(),
            admin: AdminSettings::default(),
            log: LogSettings::default(),
            capture: CaptureSettings::default(),
            limits: LimitsSettings::default(),
        }
    }
}

impl EnvironmentSettings {
    fn at(target: &str) -> EnvironmentSettings {
        EnvironmentSettings { targets: vec![target.into()], ..EnvironmentSettings::default() }
    }
}

impl Default for SipSettings {
    fn default() -> Self {
        SipSettings {
            listen: vec!["udp:10.10.10.1:5060".into(), "tcp:10.10.10.1:5060".into()],
            names: Vec::new(),
            adopt_for: "2h".into(),
            strangers: "kernel".into(),
            workers: 1,
        }
    }
}

impl Default for NumberingSettings {
    fn default() -> Self {
        NumberingSettings { country_code: "91".into(), trunk_prefix: "0".into(), national_length: 10 }
    }
}

impl Default for DispatchSettings {
    fn default() -> Self {
        DispatchSettings {
            unknown_did: "404".into(),
            not_in_service: "404".into(),
            pool_states: vec!["assigned".into()],
            when_down: BTreeMap::new(),
        }
    }
}

impl Default for CallerIdSettings {
    fn default() -> Self {
        CallerIdSettings {
            endpoint_header: None,
            on_foreign_caller_id: "replace".into(),
            emergency: ["100", "101", "102", "108", "112"].map(String::from).to_vec(),
        }
    }
}

impl Default for IdentitySettings {
    fn default() -> Self {
        IdentitySettings {
            number: "+e164".into(),
            from: true,
            asserted: true,
            preferred: "remove".into(),
            remote_party: "remove".into(),
            diversion: "rewrite".into(),
            history_info: "rewrite".into(),
            host: "as_is".into(),
            domain: None,
            display_name: "remove".into(),
            user_phone: false,
            pass_forwarded_caller: false,
        }
    }
}

impl Default for DatabaseSettings {
    fn default() -> Self {
        DatabaseSettings {
            url: Secret::new("sqlite:///var/lib/switchyard/directory.db"),
            detection: "auto".into(),
            poll_interval: "250ms".into(),
            log_poll_interval: "25ms".into(),
            reconcile_interval: "60s".into(),
            query_timeout: "10s".into(),
            retry_interval_max: "2s".into(),
            snapshot_dir: None,
            tables: BTreeMap::new(),
            columns: BTreeMap::new(),
            guard: GuardSettings::default(),
        }
    }
}

impl Default for GuardSettings {
    fn default() -> Self {
        GuardSettings {
            enabled: true,
            window: "10m".into(),
            lost_rows: 50,
            lost_percent: 20,
            moved_dids: 50,
            moved_percent: 10,
        }
    }
}

impl Default for TimersSettings {
    fn default() -> Self {
        TimersSettings {
            t1: "500ms".into(),
            t2: "4s".into(),
            t4: "5s".into(),
            timer_c: "181s".into(),
            hop_timeout: "4s".into(),
        }
    }
}
