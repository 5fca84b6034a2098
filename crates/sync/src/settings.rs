//! What the writer is told.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use directory::{GuardPolicy, Policy};

use crate::fault::SyncFault;
use crate::mapping::Mapping;
use crate::source::Engine;

/// How changes are found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Detection {
    /// By the change log where `switchyard db migrate` has made one, else by comparison.
    #[default]
    Auto,
    /// Everything is read and compared: needs nothing but the right to read.
    Compare,
    /// By the change log; without one nothing is read.
    ChangeLog,
}

/// Which database, how often to look, how to read it.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// For example `sqlite:///var/lib/switchyard/directory.db`. It may hold a password: show [`masked_url`] of it.
    pub url: String,
    /// How rows are read.
    pub policy: Policy,
    /// What tables and columns are called. Default: as in the reference schema.
    pub mapping: Mapping,
    /// Time between two looks for a change. Default 250 ms.
    pub poll_interval: Duration,
    /// How changes are found.
    pub detection: Detection,
    /// Time between two looks that cost next to nothing: into a change log that has to be polled, and at the state of
    /// an SQLite file. Default 25 ms.
    pub log_poll_interval: Duration,
    /// The longest time between two readings of everything, or twenty times as long as one takes, where that is more.
    /// Default 60 s.
    pub reconcile_interval: Duration,
    /// Time after which a look or a reading is given up in which no answer and no further row has come. Default 10 s.
    /// A whole reading may take [`crate::limits::READ_TIME_MAX`].
    pub query_timeout: Duration,
    /// How much may be lost or moved unseen; `None` for no guard.
    pub guard: Option<GuardPolicy>,
    /// Where the last good directory is kept for a start without the database; `None` for nowhere.
    pub snapshot_dir: Option<PathBuf>,
    /// The longest time between two tries while the database fails. Default 2 s for a file.
    pub retry_interval_max: Duration,
}

impl Settings {
    /// Settings with every default.
    pub fn new(url: impl Into<String>, policy: Policy) -> Settings {
        Settings {
            url: url.into(),
            policy,
            mapping: Mapping::default(),
            poll_interval: Duration::from_millis(250),
            detection: Detection::default(),
            log_poll_interval: Duration::from_millis(25),
            reconcile_interval: Duration::from_secs(60),
            query_timeout: Duration::from_secs(10),
            guard: Some(GuardPolicy::default()),
            snapshot_dir: None,
            retry_interval_max: Duration::from_secs(2),
        }
    }

    /// Whether the URL is one that can be tried; nothing is opened.
    pub fn check(&self) -> Result<(), SyncFault> {
        Engine::new(self).map(|_| ())
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("url", &masked_url(&self.url))
            .field("policy", &self.policy)
            .field("mapping", &self.mapping)
            .field("poll_interval", &self.poll_interval)
            .field("detection", &self.detection)
            .field("log_poll_interval", &self.log_poll_interval)
            .field("reconcile_interval", &self.reconcile_interval)
            .field("query_timeout", &self.query_timeout)
            .field("guard", &self.guard)
            .field("snapshot_dir", &self.snapshot_dir)
            .field("retry_interval_max", &self.retry_interval_max)
            .finish()
    }
}

/// A database URL as it may be shown: its password and its parameters are replaced by `***`. What is no URL is hidden
/// whole.
pub fn masked_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        let is_file = url.starts_with("sqlite:") && !url.contains('?');
        return if is_file { url.to_owned() } else { "***".to_owned() };
    };
    // A password may hold `/`, `?` or `@` that should have been escaped: between the user's name and the last `@`
    // everything is taken for secret.
    let (user, place) = rest.rsplit_once('@').map_or((None, rest), |(user, place)| (Some(user), place));
    let user = user.map_or(String::new(), |user| {
        let name = user.split([':', '/', '?', '@']).next().unwrap_or_default();
        let password = if name.len() < user.len() { ":***" } else { "" };
        format!("{name}{password}@")
    });
    let (place, parameters) = place.split_once('?').map_or((place, ""), |(place, _)| (place, "?***"));
    format!("{scheme}://{user}{place}{parameters}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown() {
        let cases = [
            ("sqlite:///var/lib/switchyard/directory.db", "sqlite:///var/lib/switchyard/directory.db"),
            (
                "mysql://switchyard:s3cret@10.10.10.1:3306/pbx_api_db",
                "mysql://switchyard:***@10.10.10.1:3306/pbx_api_db",
            ),
            ("mysql://switchyard:a/b@c:d@db/pbx_api_db", "mysql://switchyard:***@db/pbx_api_db"),
            ("postgres://db/pbx?user=a&password=s3cret", "postgres://db/pbx?***"),
            ("postgres://switchyard@db/pbx", "postgres://switchyard@db/pbx"),
            ("mysql://switchyard:a?b@db/x?c=d", "mysql://switchyard:***@db/x?***"),
            ("mysql://switchyard@db/x?password=a@b", "mysql://switchyard:***@b"),
            ("mysql:s3cret?s3cret", "***"),
            ("s3cret", "***"),
            ("sqlite:/var/lib/switchyard/directory.db", "sqlite:/var/lib/switchyard/directory.db"),
        ];
        for (url, shown) in cases {
            assert_eq!(masked_url(url), shown);
        }
        let settings = Settings::new("mysql://u:s3cret@db/x", Policy::default());
        assert!(!format!("{settings:?}").contains("s3cret"));
    }
}
