//! Batches of records on disk, oldest first, within a bound of bytes. A file is whole as soon as it has its name.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::PathBuf;

/// The folder, and what is in it.
#[derive(Debug)]
pub(super) struct Spool {
    folder: PathBuf,
    bytes_max: u64,
    batches: VecDeque<Waiting>,
    next: u64,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    number: u64,
    bytes: u64,
    records: u64,
}

/// What is posted.
#[derive(Debug)]
pub(super) struct Body {
    /// The same each time this batch is posted.
    pub(super) key: String,
    /// A JSON array of records.
    pub(super) body: Vec<u8>,
}

impl Spool {
    pub(super) fn open(folder: PathBuf, bytes_max: u64) -> io::Result<Spool> {
        fs::create_dir_all(&folder)?;
        let mut batches = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let number = name.strip_suffix(".jsonl").and_then(|stem| stem.parse::<u64>().ok());
            let Some(number) = number else { continue };
            let text = fs::read(entry.path())?;
            let records = memchr::memchr_iter(b'\n', &text).count();
            batches.push(Waiting { number, bytes: count(text.len()), records: count(records) });
        }
        batches.sort_by_key(|batch| batch.number);
        let next = batches.last().map_or(1, |last| last.number + 1);
        Ok(Spool { folder, bytes_max, batches: batches.into(), next })
    }

    /// Records in it.
    pub(super) fn records(&self) -> u64 {
        self.batches.iter().map(|batch| batch.records).sum()
    }

    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let taken: u64 = self.batches.iter().map(|batch| batch.bytes).sum();
        taken.saturating_add(count(bytes)) <= self.bytes_max
    }

    /// Adds a batch, one record a line.
    pub(super) fn add(&mut self, lines: &[u8], records: u64) -> io::Result<()> {
        let number = self.next;
        let unfinished = self.folder.join("unfinished");
        fs::write(&unfinished, lines)?;
        fs::rename(unfinished, self.path(number))?;
        self.next += 1;
        self.batches.push_back(Waiting { number, bytes: count(lines.len()), records });
        Ok(())
    }

    /// The oldest batch.
    pub(super) fn oldest(&self) -> io::Result<Option<Body>> {
        let Some(batch) = self.batches.front() else { return Ok(None) };
        let lines = fs::read(self.path(batch.number))?;
        let mut body = Vec::with_capacity(lines.len() + 2);
        body.push(b'[');
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if body.len() > 1 {
                body.push(b',');
            }
            body.extend_from_slice(line);
        }
        body.push(b']');
        Ok(Some(Body { key: key(&lines, batch.number), body }))
    }

    /// Forgets the oldest batch; how many records it had.
    pub(super) fn remove_oldest(&mut self) -> u64 {
        let Some(batch) = self.batches.pop_front() else { return 0 };
        let removed = fs::remove_file(self.path(batch.number));
        if let Some(error) = removed.err().filter(|error| error.kind() != io::ErrorKind::NotFound) {
            tracing::error!(%error, "a batch of call records cannot be removed and will be posted again after a restart");
        }
        batch.records
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:016}.jsonl"))
    }
}

/// The first record's id names the batch, whatever the spool counts.
fn key(lines: &[u8], number: u64) -> String {
    let first = lines.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let id = serde_json::from_slice::<super::CallRecord>(first).map(|record| record.id).unwrap_or_default();
    let id: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{id}-{number}")
}

fn count(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}
