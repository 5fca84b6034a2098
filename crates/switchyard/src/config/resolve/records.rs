//! What is kept of calls, and where.

use super::Resolver;
use crate::config::fault::{Fault, Key, Place};
use crate::config::limits;
use crate::config::settings::{RecordsSettings, Settings};
use crate::config::{Variables, WEBHOOK_VARIABLE};
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;
use telemetry::calls::{FileSettings, JournalBounds, Url, WebhookSettings};

/// What is kept of calls.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Records {
    /// JSON Lines, where they are written.
    pub files: Option<FileSettings>,
    /// Whether they are written to the directory's database.
    pub database: bool,
    /// Where they are posted.
    pub webhook: Option<WebhookSettings>,
    /// What the journal may hold.
    pub journal: JournalBounds,
}

impl Resolver<'_, '_> {
    pub(super) fn records(&mut self, settings: &Settings, variables: Variables<'_>) -> Records {
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
            calls: match records.journal_calls {
                0 => 0,
                calls => self.within(&table.name("journal_calls"), calls, limits::JOURNAL_CALLS),
            },
            bytes: self.within(&table.name("journal_bytes"), records.journal_bytes, limits::JOURNAL_BYTES),
        };
        let webhook = self.webhook(records, &settings.state_dir, variables);
        Records { files: records.files.then_some(files), database: records.database, webhook, journal }
    }

    /// A variable that is not empty counts before the key.
    fn webhook(
        &mut self,
        records: &RecordsSettings,
        state_dir: &Path,
        variables: Variables<'_>,
    ) -> Option<WebhookSettings> {
        let table = Key::of("records");
        let spool_bytes_max = self.within(
            &table.name("webhook_spool_bytes_max"),
            records.webhook_spool_bytes_max,
            limits::WEBHOOK_SPOOL_BYTES,
        );
        let overriding = variables(WEBHOOK_VARIABLE).filter(|url| !url.is_empty());
        let place = overriding.as_ref().map(|_| Place::Variable);
        let written = overriding.unwrap_or_else(|| records.webhook_url.expose().to_owned());
        if written.is_empty() {
            return None;
        }
        match Url::parse(&written) {
            Ok(url) => Some(WebhookSettings { url, spool: state_dir.join("webhook"), spool_bytes_max }),
            Err(fault) => {
                let (key, expected) = (table.name("webhook_url"), "https://HOST/PATH or http://HOST:PORT/PATH");
                match place {
                    None => self.refuse_since(&key, "", expected, fault.to_string()),
                    Some(place) => self.faults.push(Fault {
                        place,
                        key: Key::of(WEBHOOK_VARIABLE),
                        found: "a value that is not shown".to_owned(),
                        expected: expected.to_owned(),
                        why: Some(fault.to_string()),
                    }),
                }
                None
            }
        }
    }

    fn within<T: PartialOrd + Copy + std::fmt::Display>(&mut self, key: &Key, value: T, range: RangeInclusive<T>) -> T {
        if !range.contains(&value) {
            self.refuse(key, &value.to_string(), format!("a number from {} to {}", range.start(), range.end()));
        }
        value
    }
}
