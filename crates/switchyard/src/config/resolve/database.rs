//! Where the directory comes from, and how it is kept.

use super::Resolver;
use crate::config::fault::{Fault, Key, Place};
use crate::config::settings::{DatabaseSettings, GuardSettings, Settings};
use directory::{GuardPolicy, Policy};
use std::time::Duration;
use sync::{Detection, Mapping, MappingFault, SyncFault};

/// What a URL looks like.
const URL: &str = "mysql://USER:PASSWORD@HOST/DATABASE, postgres://USER:PASSWORD@HOST/DATABASE or sqlite:///PATH";

impl Resolver<'_, '_> {
    pub(super) fn database(&mut self, settings: &Settings, policy: Policy) -> sync::Settings {
        let database = &settings.database;
        let table = Key::of("database");
        let (ms, second) = (Duration::from_millis, Duration::from_secs(1));
        let minute = 60 * second;
        let resolved = sync::Settings {
            mapping: self.mapping(database),
            detection: self.detection(&database.detection),
            poll_interval: self.duration(&table.name("poll_interval"), &database.poll_interval, ms(10)..=minute),
            log_poll_interval: self.duration(
                &table.name("log_poll_interval"),
                &database.log_poll_interval,
                ms(5)..=minute,
            ),
            reconcile_interval: self.duration(
                &table.name("reconcile_interval"),
                &database.reconcile_interval,
                second..=1_440 * minute,
            ),
            query_timeout: self.duration(&table.name("query_timeout"), &database.query_timeout, second..=10 * minute),
            retry_interval_max: self.duration(
                &table.name("retry_interval_max"),
                &database.retry_interval_max,
                ms(100)..=5 * minute,
            ),
            guard: self.guard(&database.guard),
            snapshot_dir: Some(database.snapshot_dir.clone().unwrap_or_else(|| settings.state_dir.clone())),
            ..sync::Settings::new(database.url.expose(), policy)
        };
        if let Some(path) = database.snapshot_dir.as_ref().filter(|path| !path.is_absolute()) {
            self.refuse(&table.name("snapshot_dir"), &path.display().to_string(), "a path that begins with /");
        }
        self.check_url(&resolved);
        resolved
    }

    /// The engine's own reader of URLs has the last word.
    fn check_url(&mut self, settings: &sync::Settings) {
        let key = Key::of("database").name("url");
        // A name beside the working folder would be another file for every command.
        let is_relative = |rest: &str| !rest.trim_start_matches("//").starts_with('/');
        if settings.url.strip_prefix("sqlite:").is_some_and(is_relative) {
            return self.refuse_since(&key, "", URL, "the path of a file begins with /");
        }
        if !settings.url.starts_with("sqlite:") && !settings.url.contains("://") {
            return self.refuse(&key, "", URL);
        }
        match settings.check() {
            Ok(()) => {}
            Err(SyncFault::Url { detail, .. }) => self.refuse_since(&key, "", URL, detail),
            Err(fault) => self.refuse_since(&key, "", URL, fault.to_string()),
        }
    }

    fn detection(&mut self, text: &str) -> Detection {
        match text {
            "auto" => Detection::Auto,
            "compare" => Detection::Compare,
            "change_log" => Detection::ChangeLog,
            _ => {
                self.refuse(&Key::of("database").name("detection"), text, "auto, compare or change_log");
                Detection::default()
            }
        }
    }

    fn mapping(&mut self, settings: &DatabaseSettings) -> Mapping {
        let mut mapping = Mapping::default();
        let tables = Key::of("database").name("tables");
        for (table, name) in &settings.tables {
            if let Err(fault) = mapping.rename_table(table, name) {
                self.refuse_name(&tables.name(table), name, &fault);
            }
        }
        let columns = Key::of("database").name("columns");
        for (table, names) in &settings.columns {
            for (column, name) in names {
                if let Err(fault) = mapping.rename_column(table, column, name) {
                    self.refuse_name(&columns.name(table).name(column), name, &fault);
                }
            }
        }
        mapping
    }

    /// A fault of the value is told like any other; one of the key, whose name the file's writer chose, names that.
    fn refuse_name(&mut self, key: &Key, name: &str, fault: &MappingFault) {
        let (found, expected) = match fault {
            MappingFault::BadName(_) => {
                return self.refuse(key, name, "1 to 64 bytes without control characters");
            }
            MappingFault::UnknownTable(table) => {
                (format!("table {table}"), "did_numbers, users, organizations or sip_trunks".to_owned())
            }
            MappingFault::UnknownColumn { column, expected, .. } => {
                (format!("column {column}"), format!("one of {expected}"))
            }
        };
        let place: Place = self.document.place(key);
        self.faults.push(Fault { place, key: key.clone(), found, expected, why: None });
    }

    fn guard(&mut self, settings: &GuardSettings) -> Option<GuardPolicy> {
        let table = Key::of("database").name("guard");
        let minute = Duration::from_secs(60);
        let window = self.duration(&table.name("window"), &settings.window, minute..=1_440 * minute);
        for (name, percent) in [("lost_percent", settings.lost_percent), ("moved_percent", settings.moved_percent)] {
            if percent > 100 {
                self.refuse(&table.name(name), &percent.to_string(), "a number from 0 to 100");
            }
        }
        settings.enabled.then(|| GuardPolicy {
            window_ms: u64::try_from(window.as_millis()).unwrap_or(u64::MAX),
            lost_rows: settings.lost_rows,
            lost_percent: settings.lost_percent,
            moved_dids: settings.moved_dids,
            moved_percent: settings.moved_percent,
        })
    }
}
