//! Records as JSON Lines: one file that grows, set aside by size and by time, the last so many kept.

use super::queue::Sink;
use super::record::CallRecord;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;

/// The file that grows.
pub const CURRENT: &str = "calls.jsonl";

/// How the files are kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileSettings {
    /// The folder; it is made.
    pub folder: PathBuf,
    /// A file of this size is set aside.
    pub bytes_max: u64,
    /// A file of this age is set aside.
    pub age_max: Duration,
    /// Files that are kept beside the one that grows.
    pub kept: usize,
}

/// The sink.
#[derive(Debug)]
pub struct Files {
    settings: FileSettings,
    open: Option<Growing>,
    line: Vec<u8>,
}

#[derive(Debug)]
struct Growing {
    file: File,
    bytes: u64,
    began: SystemTime,
}

impl Files {
    /// Nothing is opened before the first record.
    pub fn new(settings: FileSettings) -> Files {
        Files { settings, open: None, line: Vec::new() }
    }

    fn append(&mut self, records: &[Arc<CallRecord>]) -> io::Result<()> {
        self.line.clear();
        for record in records {
            record.write_json(&mut self.line);
            self.line.push(b'\n');
        }
        let is_full = |open: &Growing| {
            let age = open.began.elapsed().unwrap_or_default();
            open.bytes > 0 && (open.bytes >= self.settings.bytes_max || age >= self.settings.age_max)
        };
        if self.open.as_ref().is_some_and(is_full) {
            self.open = None;
            self.set_aside()?;
        }
        let open = match &mut self.open {
            Some(open) => open,
            closed => closed.insert(Growing::open(&self.settings.folder)?),
        };
        if let Err(error) = open.file.write_all(&self.line) {
            // No half a line stays before what is written next.
            let _cut = open.file.set_len(open.bytes);
            self.open = None;
            return Err(error);
        }
        open.bytes += u64::try_from(self.line.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// Gives the file a name of its own and forgets the oldest.
    fn set_aside(&self) -> io::Result<()> {
        let now = OffsetDateTime::now_utc();
        let (date, (hour, minute, second)) = (now.date(), now.to_hms());
        let stamp = format!("calls-{date}T{hour:02}{minute:02}{second:02}Z");
        // The number only grows: a name that became free again would make the newest file the oldest.
        let number = |path: &PathBuf| path.file_stem()?.to_str()?.strip_prefix(&stamp)?.strip_prefix('-')?.parse().ok();
        let last: Option<u32> = set_aside_files(&self.settings.folder)?.iter().filter_map(number).max();
        let next = last.map_or(0, |last| last.saturating_add(1));
        let path = self.settings.folder.join(format!("{stamp}-{next:06}.jsonl"));
        fs::rename(self.settings.folder.join(CURRENT), path)?;
        let mut old = set_aside_files(&self.settings.folder)?;
        let surplus = old.len().saturating_sub(self.settings.kept);
        old.drain(..surplus).try_for_each(fs::remove_file)
    }
}

/// The files that were set aside, oldest first.
fn set_aside_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("calls-") && name.ends_with(".jsonl") {
            found.push(path.clone());
        }
    }
    found.sort();
    Ok(found)
}

impl Growing {
    fn open(folder: &Path) -> io::Result<Growing> {
        fs::create_dir_all(folder)?;
        let path = folder.join(CURRENT);
        let file = OpenOptions::new().create(true).append(true).mode(0o640).open(&path)?;
        let kept = file.metadata()?;
        // A file of a process before goes on; it counts as old as it is.
        let began = kept.created().or_else(|_| kept.modified()).unwrap_or_else(|_| SystemTime::now());
        Ok(Growing { bytes: kept.len(), file, began })
    }
}

impl Sink for Files {
    fn name(&self) -> &'static str {
        "file"
    }

    fn write(&mut self, records: &[Arc<CallRecord>]) -> Result<(), String> {
        let folder = self.settings.folder.display().to_string();
        self.append(records).map_err(|error| format!("{folder}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(folder: &Path) -> FileSettings {
        FileSettings { folder: folder.join("calls"), bytes_max: 2_000, age_max: Duration::from_secs(3_600), kept: 3 }
    }

    fn record(id: u64) -> Arc<CallRecord> {
        Arc::new(CallRecord { id: id.to_string().into(), call_id: "a\"b".into(), ..CallRecord::default() })
    }

    fn ids(path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str::<CallRecord>(line).unwrap().id.to_string()).collect()
    }

    #[test]
    fn files_are_set_aside_by_size_and_only_the_last_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Files::new(settings(folder.path()));
        for id in 0..200 {
            files.write(&[record(id)]).unwrap();
        }
        let old = set_aside_files(&folder.path().join("calls")).unwrap();
        assert_eq!(old.len(), 3);
        let mut kept: Vec<String> = old.iter().flat_map(|path| ids(path)).collect();
        kept.extend(ids(&folder.path().join("calls").join(CURRENT)));
        let first: u64 = kept[0].parse().unwrap();
        assert_eq!(
            kept,
            (first..200).map(|id| id.to_string()).collect::<Vec<_>>(),
            "in order, none twice, none missing"
        );
        assert!(old.iter().all(|path| fs::metadata(path).unwrap().len() < 2_600));
    }

    #[test]
    fn an_old_file_is_set_aside_and_one_of_a_process_before_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        Files::new(settings(folder.path())).write(&[record(1)]).unwrap();
        let mut files = Files::new(settings(folder.path()));
        files.write(&[record(2)]).unwrap();
        assert_eq!(ids(&folder.path().join("calls").join(CURRENT)), ["1", "2"]);
        files.settings.age_max = Duration::ZERO;
        files.write(&[record(3)]).unwrap();
        assert_eq!(ids(&folder.path().join("calls").join(CURRENT)), ["3"]);
        assert_eq!(set_aside_files(&folder.path().join("calls")).unwrap().len(), 1);
    }

    #[test]
    fn a_disk_that_takes_nothing_is_an_error_and_the_next_attempt_writes() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Files::new(settings(folder.path()));
        fs::write(folder.path().join("calls"), "a file where the folder belongs").unwrap();
        assert!(files.write(&[record(1)]).is_err());
        fs::remove_file(folder.path().join("calls")).unwrap();
        files.write(&[record(1)]).unwrap();
        assert_eq!(ids(&folder.path().join("calls").join(CURRENT)), ["1"]);
    }
}
