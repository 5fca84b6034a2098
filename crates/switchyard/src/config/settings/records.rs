//! What is kept of calls.

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
            journal_calls: 10_000,
            journal_bytes: 128 << 20,
        }
    }
}
