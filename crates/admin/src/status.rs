//! What the process says about itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use telemetry::Sample;

/// The answer of `GET /api/v1/status`.
#[derive(Clone, PartialEq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// What this instance is: `prod`, `staging`, `oss`.
    pub environment: String,
    /// Whole seconds since the start.
    pub uptime_s: u64,
    /// True while new calls are refused: somebody drains, or the process is to end.
    pub draining: bool,
    /// Who drains; none when nobody does, or when the process is to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainStatus>,
    /// Open transactions.
    pub open_transactions: u64,
    /// The table of numbers.
    pub directory: DirectoryStatus,
    /// Our sockets, in the configuration's order.
    pub listeners: Vec<ListenerStatus>,
    /// Trunks, then environments.
    pub parties: Vec<PartyStatus>,
    /// Every gateway and target with its state.
    #[serde(default)]
    pub peers: Vec<PeerStatus>,
    /// Everything that is counted, zeros included, in the catalogue's order.
    pub counters: Vec<Count>,
}

/// A drain that somebody asked for.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct DrainStatus {
    /// Who asked for it.
    pub who: String,
    /// Why.
    pub reason: String,
    /// Seconds since then.
    pub since_s: u64,
    /// Seconds until new calls are taken again; none: when somebody says so, or after a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_in_s: Option<u64>,
}

/// The table of numbers, and how fresh it is.
#[derive(Clone, PartialEq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct DirectoryStatus {
    /// False until a first table has been read.
    pub loaded: bool,
    /// The version that calls are decided by.
    pub generation: u64,
    /// DIDs in it.
    pub dids: u64,
    /// Rows that are wrong.
    pub faults: u64,
    /// Seconds since the database was last read without a fault; none before the first time.
    pub table_age_s: Option<f64>,
    /// Why the last read failed; none when it did not.
    pub trouble: Option<String>,
    /// True while calls are served from a table that may not be what the database says.
    pub degraded: bool,
    /// True until the database has been read once, where the table came from the snapshot on disk.
    pub from_snapshot: bool,
    /// The database, without its password.
    pub source: String,
    /// How changes are found: `compare`, `change_log`, `notify`; empty before the first read.
    pub detection: String,
    /// Why the guard holds a newer table back; empty when it does not.
    pub held: Vec<String>,
    /// Why the last snapshot could not be written or read; none when it could.
    pub snapshot_trouble: Option<String>,
}

/// One socket.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// `udp` or `tcp`.
    pub transport: String,
    /// The local address.
    pub address: String,
}

/// One trunk or environment.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct PartyStatus {
    /// The configuration's name.
    pub name: String,
    /// `trunk` or `environment`.
    pub role: String,
    /// Where calls to it go, in the order in which they are tried.
    pub peers: Vec<String>,
    /// Addresses that may speak as it.
    pub sources: Vec<String>,
}

/// One gateway or target. docs/reference/peer-states.md explains the words.
#[derive(Clone, PartialEq, Eq, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub struct PeerStatus {
    /// The trunk or environment.
    pub party: String,
    /// The peer, as the configuration writes it.
    pub peer: String,
    /// `enabled`, `drain` or `disabled`.
    pub admin: String,
    /// `unknown`, `up`, `degraded` or `down`.
    pub health: String,
    /// What counts for a new call: `usable`, `last_resort`, `down` or `closed`.
    pub standing: String,
    /// Why people set `admin`; empty when nobody did.
    pub reason: String,
    /// Who set it; empty when nobody did.
    #[serde(default)]
    pub set_by: String,
    /// What was seen when `health` changed last; empty when it never did.
    pub evidence: String,
    /// Seconds since then.
    pub since_s: u64,
    /// The address that it is reached at: of a host name the one that it has now, empty when it has none.
    #[serde(default)]
    pub address: String,
}

/// One counted value.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Count {
    /// The metric's name.
    pub name: String,
    /// The labels' names and values; absent when the metric has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: u64,
}

impl From<&Sample> for Count {
    fn from(sample: &Sample) -> Count {
        let labels = sample.labels().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Count { name: sample.family.name.to_owned(), labels, value: sample.value }
    }
}

/// A table for people. Counters at zero are left out.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.draining { "draining: new calls are refused" } else { "serving" };
        writeln!(f, "switchyard {}  {}  {state}", self.version, self.environment)?;
        writeln!(f, "  up                 {}", duration(self.uptime_s))?;
        if let Some(drain) = &self.drain {
            writeln!(f, "  drained            {drain}")?;
        }
        writeln!(f, "  open transactions  {}", self.open_transactions)?;
        self.directory.fmt(f)?;
        writeln!(f, "\nlisteners")?;
        for ListenerStatus { transport, address } in &self.listeners {
            writeln!(f, "  {transport}:{address}")?;
        }
        writeln!(f, "\nparties")?;
        let width = self.parties.iter().map(|party| party.name.len()).max().unwrap_or_default();
        for PartyStatus { name, role, peers, sources } in &self.parties {
            let peers = if peers.is_empty() { "nowhere".to_owned() } else { peers.join(", ") };
            writeln!(f, "  {name:width$}  {role:11}  calls go to {peers}; speaks from {}", sources.join(", "))?;
        }
        writeln!(f, "\npeers")?;
        for peer in &self.peers {
            writeln!(f, "  {peer}")?;
        }
        writeln!(f, "\ncounted since the start")?;
        let counted: Vec<(String, u64)> = self
            .counters
            .iter()
            .filter(|count| count.value > 0)
            .map(|count| (count.to_string(), count.value))
            .collect();
        let width = counted.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        for (name, value) in &counted {
            writeln!(f, "  {name:width$}  {value}")?;
        }
        if counted.is_empty() {
            writeln!(f, "  nothing yet")?;
        }
        Ok(())
    }
}

impl fmt::Display for DrainStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DrainStatus { who, reason, since_s, ends_in_s } = self;
        write!(f, "for {} by {who}: {reason}", duration(*since_s))?;
        match ends_in_s {
            Some(left) => write!(f, "; new calls are taken again in {}", duration(*left)),
            None => f.write_str("; new calls are taken again when somebody says so"),
        }
    }
}

impl fmt::Display for PeerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PeerStatus { party, peer, admin, health, reason, set_by, evidence, since_s, .. } = self;
        write!(f, "{party:12} {peer:28} {admin:8} {health:8} for {}", duration(*since_s))?;
        for (told, why) in [("seen", evidence), ("set because", reason)] {
            if !why.is_empty() {
                write!(f, "; {told}: {why}")?;
            }
        }
        if !set_by.is_empty() {
            write!(f, " (by {set_by})")?;
        }
        Ok(())
    }
}

impl fmt::Display for DirectoryStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.loaded {
            writeln!(f, "  directory          none yet: calls are refused with 503")?;
        } else {
            let DirectoryStatus { generation, dids, faults, .. } = self;
            let rows = if *faults == 1 { "1 faulty value".to_owned() } else { format!("{faults} faulty values") };
            let degraded = if self.degraded { "; degraded" } else { "" };
            writeln!(f, "  directory          generation {generation}, {dids} DIDs, {rows}{degraded}")?;
        }
        let way = if self.detection.is_empty() { String::new() } else { format!(", by {}", self.detection) };
        writeln!(f, "  database           {}{way}", self.source)?;
        if let Some(age) = self.table_age_s {
            let snapshot = if self.from_snapshot { "; the table is that of the snapshot" } else { "" };
            writeln!(f, "  database read      {age:.1} s ago{snapshot}")?;
        }
        if let Some(trouble) = &self.trouble {
            writeln!(f, "  database trouble   {trouble}")?;
        }
        for reason in &self.held {
            writeln!(f, "  held back          {reason}")?;
        }
        if let Some(trouble) = &self.snapshot_trouble {
            writeln!(f, "  snapshot trouble   {trouble}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.strip_prefix("switchyard_").unwrap_or(&self.name);
        let name = name.strip_suffix("_total").unwrap_or(name).replace('_', " ");
        f.write_str(&name)?;
        for (at, (_, value)) in self.labels.iter().enumerate() {
            write!(f, "{} {value}", if at == 0 { ":" } else { "," })?;
        }
        Ok(())
    }
}

fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests;
