//! What the writer is told.

use std::fmt;
use std::time::Duration;

use directory::Policy;

/// Which database, how often to look, how to read it.
#[derive(Clone)]
pub struct Settings {
    /// For example `sqlite:///var/lib/switchyard/directory.db`. It may hold a password: show [`masked_url`] of it.
    pub url: String,
    /// How rows are read.
    pub policy: Policy,
    /// Time between two looks for a change. Default 250 ms.
    pub poll_interval: Duration,
    /// Time after which a look or a reading is given up. Default 10 s.
    pub query_timeout: Duration,
    /// The longest time between two tries while the database fails. Default 2 s for a file.
    pub retry_interval_max: Duration,
}

impl Settings {
    /// Settings with every default.
    pub fn new(url: impl Into<String>, policy: Policy) -> Settings {
        Settings {
            url: url.into(),
            policy,
            poll_interval: Duration::from_millis(250),
            query_timeout: Duration::from_secs(10),
            retry_interval_max: Duration::from_secs(2),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("url", &masked_url(&self.url))
            .field("policy", &self.policy)
            .field("poll_interval", &self.poll_interval)
            .field("query_timeout", &self.query_timeout)
            .field("retry_interval_max", &self.retry_interval_max)
            .finish()
    }
}

/// A database URL as it may be shown: its password and its parameters are replaced by `***`.
pub fn masked_url(url: &str) -> String {
    let (rest, parameters) = match url.split_once('?') {
        Some((rest, _)) => (rest, "?***"),
        None => (url, ""),
    };
    let Some((scheme, rest)) = rest.split_once("://") else { return format!("{rest}{parameters}") };
    // A password may hold `/` or `@` that should have been escaped: everything up to the last `@` is taken for secret.
    let masked = match rest.rsplit_once('@') {
        Some((secret, place)) => match secret.split_once(':') {
            Some((user, _)) => format!("{user}:***@{place}"),
            None => format!("{secret}@{place}"),
        },
        None => rest.to_owned(),
    };
    format!("{scheme}://{masked}{parameters}")
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
            ("mysql:s3cret?s3cret", "mysql:s3cret?***"),
            ("", ""),
        ];
        for (url, shown) in cases {
            assert_eq!(masked_url(url), shown);
        }
        let settings = Settings::new("mysql://u:s3cret@db/x", Policy::default());
        assert!(!format!("{settings:?}").contains("s3cret"));
    }
}
