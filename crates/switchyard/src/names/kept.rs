//! What DNS said last, in a file of the state folder: a start while DNS is away serves by it.
//!
//! The first line is the version, and each line behind it one name: `CHECKSUM JSON`. A new file takes the old one's place once
//! it is whole on the disk. What is damaged is left out and told, and what nobody can read is told and passed over: the proxy
//! starts either way.

use crate::call_journal::checksum;
use crate::config::Answer;
use crate::config::limits::ADDRESSES;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// The file's name in the state folder.
const FILE: &str = "names.kept";
const VERSION: &str = "switchyard names 1";
/// Bytes of it that are read.
const FILE_BYTES: u64 = 1_048_576;
/// How old what is on the disk may be while nothing changes: an age that is read from it is true to this.
const WRITTEN_EVERY: Duration = Duration::from_secs(60);

/// What is known of each name.
pub(super) type AllKnown = BTreeMap<String, Known>;

/// What is known of one name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Known {
    pub(super) answer: Answer,
    /// When DNS said so for the last time.
    pub(super) confirmed_at: SystemTime,
    /// True while the last look-up, one of this process, said so.
    pub(super) is_fresh: bool,
}

/// The file.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    /// When it was written last.
    written_at: Option<Instant>,
    /// The last write failed, and that has been told.
    is_failing: bool,
}

/// The JSON of a line.
#[derive(Serialize, Deserialize)]
struct Line {
    host: String,
    address: IpAddr,
    addresses: Vec<IpAddr>,
    confirmed_ms: u64,
}

impl Known {
    /// How long ago DNS said so; nothing where the clock was set back since.
    pub(super) fn age(&self) -> Duration {
        self.confirmed_at.elapsed().unwrap_or_default()
    }
}

impl Kept {
    /// The file in this folder, unread.
    pub(super) fn of(state_dir: &Path) -> Kept {
        Kept { path: state_dir.join(FILE), written_at: None, is_failing: false }
    }

    /// Reads what the process before this one has left.
    pub(super) fn read(state_dir: &Path) -> (Kept, AllKnown) {
        let kept = Kept::of(state_dir);
        let path = &kept.path;
        let known = match read(path) {
            Ok((known, 0)) => known,
            Ok((known, damaged)) => {
                tracing::warn!(path = %path.display(), lines = damaged, "damaged lines of the addresses of names are left out");
                known
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the addresses of names from before the start cannot be read");
                AllKnown::new()
            }
        };
        (kept, known)
    }

    /// Writes what is known: at once when something is new, else once in a while.
    pub(super) async fn write(&mut self, known: &AllKnown, is_new: bool) {
        if !is_new && !self.is_failing && self.written_at.is_some_and(|at| at.elapsed() < WRITTEN_EVERY) {
            return;
        }
        let (path, text) = (self.path.clone(), text_of(known));
        let written = tokio::task::spawn_blocking(move || replace(&path, &text)).await;
        self.written_at = Some(Instant::now());
        match written.map_err(io::Error::other).and_then(|written| written) {
            Err(error) if !self.is_failing => {
                self.is_failing = true;
                tracing::error!(path = %self.path.display(), %error, "the addresses of names cannot be kept: a restart would need DNS");
            }
            Ok(()) if self.is_failing => {
                self.is_failing = false;
                tracing::info!(path = %self.path.display(), "the addresses of names are kept again");
            }
            _ => {}
        }
    }
}

/// What is known by the file, and how many of its lines are damaged. No file is nothing known.
fn read(path: &Path) -> io::Result<(AllKnown, usize)> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(FILE_BYTES).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((AllKnown::new(), 0)),
        Err(error) => return Err(error),
    };
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let version = lines.next().unwrap_or_default();
    if version != VERSION.as_bytes() {
        let found = String::from_utf8_lossy(version.get(..40).unwrap_or(version)).into_owned();
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("found {found:?}, expected {VERSION:?}")));
    }
    let (mut known, mut damaged) = (AllKnown::new(), 0);
    for line in lines.filter(|line| !line.is_empty()) {
        match known_of(line) {
            Some((host, one)) => drop(known.insert(host, one)),
            None => damaged += 1,
        }
    }
    Ok((known, damaged))
}

fn known_of(line: &[u8]) -> Option<(String, Known)> {
    let (sum, json) = line.split_at_checked(17)?;
    let sum = std::str::from_utf8(sum).ok()?.strip_suffix(' ')?;
    if u64::from_str_radix(sum, 16).ok()? != checksum(json) {
        return None;
    }
    let Line { host, address, addresses, confirmed_ms } = serde_json::from_slice(json).ok()?;
    let is_whole = addresses.contains(&address) && addresses.len() <= ADDRESSES;
    let confirmed_at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(confirmed_ms))?;
    is_whole.then_some((host, Known { answer: Answer { address, addresses }, confirmed_at, is_fresh: false }))
}

fn text_of(known: &AllKnown) -> String {
    let mut text = format!("{VERSION}\n");
    for (host, known) in known {
        let since = known.confirmed_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let Answer { address, addresses } = known.answer.clone();
        let confirmed_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        // A plain struct of texts and numbers always has a JSON form.
        let json =
            serde_json::to_string(&Line { host: host.clone(), address, addresses, confirmed_ms }).unwrap_or_default();
        let _infallible = writeln!(text, "{:016x} {json}", checksum(json.as_bytes()));
    }
    text
}

/// Whatever is left of a crash, a link included, is removed and not written through.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension("kept.new");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(addresses: &[&str]) -> Known {
        let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let confirmed_at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_780_000_000_123);
        Known { answer: Answer { address: addresses[0], addresses }, confirmed_at, is_fresh: false }
    }

    async fn kept(folder: &Path) -> AllKnown {
        let all = AllKnown::from([
            ("pbx.example.net".to_owned(), Known { is_fresh: true, ..known(&["10.10.10.3", "10.10.10.4"]) }),
            ("gateway.example.net".to_owned(), known(&["10.10.10.2"])),
        ]);
        Kept::read(folder).0.write(&all, true).await;
        all
    }

    #[tokio::test]
    async fn what_is_kept_is_read_again_and_is_not_fresh() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Kept::read(folder.path()).1.is_empty(), "no file is nothing known");
        let mut all = kept(folder.path()).await;
        all.get_mut("pbx.example.net").unwrap().is_fresh = false;
        let (mut file, read) = Kept::read(folder.path());
        assert_eq!(read, all);
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [FILE], "the draft is gone");
        // Nothing new: once in a while is enough.
        file.write(&all, true).await;
        fs::remove_file(folder.path().join(FILE)).unwrap();
        file.write(&all, false).await;
        assert!(!folder.path().join(FILE).exists());
        file.write(&all, true).await;
        assert_eq!(Kept::read(folder.path()).1, all);
    }

    #[tokio::test]
    async fn every_damage_costs_its_line_or_the_file_and_never_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let all = kept(folder.path()).await;
        let path = folder.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            for spoilt in [whole[..at].to_vec(), [&whole[..at], &[whole[at] ^ 1], &whole[at + 1..]].concat()] {
                fs::write(&path, &spoilt).unwrap();
                for (host, one) in Kept::read(folder.path()).1 {
                    assert_eq!(one.answer, all[&host].answer, "{at}: what is read is what was written");
                }
            }
        }
        for garbage in ["", "\0\0\0\0", "{}", "switchyard names 2\n", "switchyard names 1\n0123456789abcdef {}\n"] {
            fs::write(&path, garbage).unwrap();
            assert!(Kept::read(folder.path()).1.is_empty(), "{garbage:?}");
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(Kept::read(folder.path()).1.is_empty(), "a folder in its place");
    }

    /// Limit FILE_BYTES.
    #[tokio::test]
    async fn so_many_bytes_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let all = kept(folder.path()).await;
        let path = folder.path().join(FILE);
        let mut text = fs::read_to_string(&path).unwrap();
        let room = usize::try_from(FILE_BYTES).unwrap() - text.len();
        text.insert_str(VERSION.len() + 1, &"\n".repeat(room));
        fs::write(&path, &text).unwrap();
        assert_eq!(Kept::read(folder.path()).1.len(), all.len());
        text.insert(VERSION.len() + 1, '\n');
        text.insert(VERSION.len() + 1, '\n');
        fs::write(&path, &text).unwrap();
        assert_eq!(Kept::read(folder.path()).1.len(), all.len() - 1, "the last line is cut");
    }
}
