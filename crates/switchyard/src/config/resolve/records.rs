//! What is kept of calls, and where.

use super::Resolver;
use crate::config::fault::Key;
use crate::config::limits;
use crate::config::settings::Settings;
use std::ops::RangeInclusive;
use std::time::Duration;
use telemetry::calls::{FileSettings, JournalBounds};

/// What is kept of calls.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Records {
    /// JSON Lines, where they are written.
    pub files: Option<FileSettings>,
    /// What the journal may hold.
    pub journal: JournalBounds,
}

impl Resolver<'_, '_> {
    pub(super) fn records(&mut self, settings: &Settings) -> Records {
        let (records, table) = (&settings.records, Key::of("records"));
        let folder = records.folder.clone().unwrap_or_else(|| settings.state_dir.join("calls"));
        if let Some(path) = records.folder.as_ref().filter(|path| !path.is_absolute()) {
            self.refuse(&table.name("folder"), &path.display().to_string(), "a path that begins with /");
        }
        let day = Duration::from_secs(86_400);
        let files = FileSettings {
            folder,
            bytes_max: self.within(&table.name("file_bytes_max"), records.file_bytes_max, limits::RECORD_FILE_BYTES),
            age_max: self.duration(
                &table.name("file_age_max"),
                &records.file_age_max,
                Duration::from_secs(60)..=366 * day,
            ),
            kept: self.within(&table.name("files_kept"), records.files_kept, limits::RECORD_FILES),
        };
        let journal = JournalBounds {
            calls: self.within(&table.name("journal_calls"), records.journal_calls, limits::JOURNAL_CALLS),
            bytes: self.within(&table.name("journal_bytes"), records.journal_bytes, limits::JOURNAL_BYTES),
        };
        Records { files: records.files.then_some(files), journal }
    }

    fn within<T: PartialOrd + Copy + std::fmt::Display>(&mut self, key: &Key, value: T, range: RangeInclusive<T>) -> T {
        if !range.contains(&value) {
            self.refuse(key, &value.to_string(), format!("a number from {} to {}", range.start(), range.end()));
        }
        value
    }
}
