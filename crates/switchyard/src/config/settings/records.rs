//! What is kept of calls.

use super::Secret;
use serde::Deserialize;
use std::path::PathBuf;

/// `[records]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecordsSettings {
    /// Whether records are written as JSON Lines.
    pub files: bool,
    /// The folder of these files; `calls` in the state folder unless given.
    pub folder: Option<PathBuf>,
    /// The size at which a file is set aside.
    pub file_bytes_max: u64,
    /// The age at which a file is set aside.
    pub file_age_max: String,
    /// Files that are kept beside the one that grows.
    pub files_kept: usize,
    /// Whether records are written to the database's table `switchyard_calls`.
    pub database: bool,
    /// Where records are posted; empty for nowhere.
    pub webhook_url: Secret,
    /// Bytes on disk that records may take which wait for the webhook.
    pub webhook_spool_bytes_max: u64,
    /// Calls that the journal holds.
    pub journal_calls: usize,
    /// Bytes that the journal takes.
    pub journal_bytes: usize,
}

impl Default for RecordsSettings {
    fn default() -> Self {
        RecordsSettings {
            files: true,
            folder: None,
            file_bytes_max: 64 << 20,
            file_age_max: "1d".into(),
            files_kept: 30,
            database: false,
            webhook_url: Secret::new(""),
            webhook_spool_bytes_max: 64 << 20,
            journal_calls: 10_000,
            journal_bytes: 128 << 20,
        }
    }
}
