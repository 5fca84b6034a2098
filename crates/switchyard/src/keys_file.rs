//! The ring of keys on disk: `token.keys` in the state folder, one key a line, mode 0600.
//!
//! ```text
//! 1 6b1f..(64 hexadecimal digits).. retired
//! 2 09ac..(64 hexadecimal digits).. active
//! ```
//!
//! The ring is made at the very first start alone. A ring that was there and is gone is an alarm: a new one would
//! silently cut every call that is up, because its token no longer verifies. The empty file `token.keys.made` remembers
//! that there was one.

use crate::config::limits::KEYS;
use proxy::{Key, KeyRing};
use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The ring's name in the state folder.
pub const FILE_NAME: &str = "token.keys";
/// The marker's name: it says that a ring was made here.
pub const MARKER_NAME: &str = "token.keys.made";

/// A ring file is far below this.
const FILE_BYTES_MAX: u64 = 4_096;

/// The ring of `state_dir`; made when this is the very first start there.
pub fn open(state_dir: &Path) -> Result<KeyRing, KeysFault> {
    let path = state_dir.join(FILE_NAME);
    let marker = state_dir.join(MARKER_NAME);
    if !state_dir.is_dir() {
        return Err(KeysFault::NoFolder(state_dir.to_owned()));
    }
    let ring = match read(&path) {
        Err(KeysFault::Lost(_)) if !marker.exists() => make(&path)?,
        ring => ring?,
    };
    if !marker.exists() {
        write_new(&marker, b"").or_else(unless_exists).map_err(|error| KeysFault::io(&marker, error))?;
        sync_folder(state_dir)?;
    }
    Ok(ring.keys())
}

/// Every key of a ring file: one of them signs, the others verify.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ring {
    active: Key,
    retired: Vec<Key>,
}

impl Ring {
    /// A ring of one key, which signs.
    pub fn new(active: Key) -> Ring {
        Ring { active, retired: Vec::new() }
    }

    /// The same keys for the core.
    pub fn keys(&self) -> KeyRing {
        KeyRing::new(&self.active, &self.retired)
    }

    /// Reads the text of a ring file, strictly: what is not exactly a ring is refused.
    pub fn parse(text: &str) -> Result<Ring, RingFault> {
        let mut active = None;
        let mut retired: Vec<Key> = Vec::new();
        for (line, words) in text.split_inclusive('\n').enumerate() {
            let fault = |expected| RingFault { line: line + 1, expected };
            let (key, is_active) = key_line(words).map_err(fault)?;
            if active.iter().chain(&retired).any(|other| other.id == key.id) {
                return Err(fault("an id that no other key has"));
            }
            if retired.len() + usize::from(active.is_some()) >= KEYS {
                return Err(fault("fewer keys"));
            }
            if !is_active {
                retired.push(key);
            } else if active.replace(key).is_some() {
                return Err(fault("one active key only"));
            }
        }
        let active =
            active.ok_or(RingFault { line: text.lines().count().max(1), expected: "a line with an active key" })?;
        Ok(Ring { active, retired })
    }

    /// The text of the ring file.
    pub fn text(&self) -> String {
        let retired = self.retired.iter().map(|key| (key, "retired"));
        let lines = retired.chain([(&self.active, "active")]).map(|(key, state)| {
            let secret: String = key.secret.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{} {secret} {state}\n", key.id)
        });
        lines.collect()
    }
}

/// One line with its end: `ID SECRET active|retired`. The error is what was expected.
fn key_line(line: &str) -> Result<(Key, bool), &'static str> {
    let line = line.strip_suffix('\n').ok_or("a line that ends")?;
    let words: Vec<&str> = line.split(' ').collect();
    let [id, secret, state] = words.as_slice() else { return Err("an id, a secret and active or retired") };
    let parsed_id: u8 = id.parse().map_err(|_| "an id from 0 to 255")?;
    if parsed_id.to_string() != *id {
        return Err("an id without sign or leading zero");
    }
    let secret = secret_of(secret).ok_or("a secret of 64 hexadecimal digits in lower case")?;
    let is_active = match *state {
        "active" => true,
        "retired" => false,
        _ => return Err("active or retired"),
    };
    Ok((Key { id: parsed_id, secret }, is_active))
}

fn secret_of(hex: &str) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = hex.as_bytes().try_into().ok()?;
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut secret = [0; 32];
    let (pairs, _) = digits.as_chunks::<2>();
    for (byte, [high, low]) in secret.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(secret)
}

/// Reads the ring file at `path`; others than its owner must have no access to it.
fn read(path: &Path) -> Result<Ring, KeysFault> {
    let io = |error| KeysFault::io(path, error);
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(KeysFault::Lost(path.to_owned())),
        file => file.map_err(io)?,
    };
    let mode = file.metadata().map_err(io)?.permissions().mode() & 0o7777;
    if mode & 0o177 != 0 {
        return Err(KeysFault::Exposed { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(io)?;
    Ring::parse(&text).map_err(|fault| KeysFault::Malformed { path: path.to_owned(), fault })
}

/// Makes a ring of one key. Where another process was faster, its ring is the one.
fn make(path: &Path) -> Result<Ring, KeysFault> {
    let io = |error| KeysFault::io(path, error);
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| io(io::Error::other(error)))?;
    let ring = Ring::new(Key { id: 1, secret });
    // Written aside and linked into place whole: a crash leaves no half a ring, and a ring is never overwritten.
    let aside = path.with_extension(format!("keys.{}", std::process::id()));
    let _ = fs::remove_file(&aside);
    let linked = write_new(&aside, ring.text().as_bytes()).and_then(|()| fs::hard_link(&aside, path));
    let _ = fs::remove_file(&aside);
    linked.or_else(unless_exists).map_err(io)?;
    path.parent().map_or(Ok(()), sync_folder)?;
    read(path)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    // The umask may have taken more away than others' access.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn unless_exists(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) }
}

fn sync_folder(folder: &Path) -> Result<(), KeysFault> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| KeysFault::io(folder, error))
}

/// What is wrong with the text of a ring file. No part of a secret is in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RingFault {
    /// The line, from 1.
    pub line: usize,
    /// What was expected there.
    pub expected: &'static str,
}

impl fmt::Display for RingFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: expected {}", self.line, self.expected)
    }
}

/// Why there is no ring to start with.
#[derive(Debug)]
pub enum KeysFault {
    /// The state folder is not there.
    NoFolder(PathBuf),
    /// A ring was made here, and it is gone.
    Lost(PathBuf),
    /// Others than the owner may read or write the ring.
    Exposed {
        /// The ring file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The ring's text is no ring.
    Malformed {
        /// The ring file.
        path: PathBuf,
        /// What is wrong in it.
        fault: RingFault,
    },
    /// The file system says no.
    Io {
        /// What was to be read or written.
        path: PathBuf,
        /// Its answer.
        error: io::Error,
    },
}

impl KeysFault {
    fn io(path: &Path, error: io::Error) -> KeysFault {
        KeysFault::Io { path: path.to_owned(), error }
    }
}

impl fmt::Display for KeysFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeysFault::NoFolder(path) => write!(
                f,
                "{}: found no folder, expected the state folder: make it, owned by the user that runs switchyard, mode 0700",
                path.display()
            ),
            KeysFault::Lost(path) => write!(
                f,
                "{}: found no file, expected the ring of keys that was made here: without it every call that is up is cut off \
                 from its BYE. Put it back from a backup or from another node that shares it. To start with new keys all \
                 the same, remove {} as well",
                path.display(),
                path.with_file_name(MARKER_NAME).display()
            ),
            KeysFault::Exposed { path, mode } => write!(
                f,
                "{}: found mode {mode:04o}, expected 0600: who reads these keys can forge dialogs. If nobody has, chmod 600 it",
                path.display()
            ),
            KeysFault::Malformed { path, fault } => write!(f, "{}: {fault}", path.display()),
            KeysFault::Io { path, error } => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for KeysFault {}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";

    fn expected(text: &str) -> String {
        Ring::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_ring_is_read_and_written() {
        let text = format!("1 {SECRET} retired\n7 {SECRET} retired\n255 {} active\n", "f0".repeat(32));
        let ring = Ring::parse(&text).unwrap();
        assert_eq!(ring.text(), text);
        assert_eq!(ring.keys().active_id(), 255);
        assert_eq!((ring.active.secret, ring.retired.len()), ([0xf0; 32], 2));
    }

    #[test]
    fn what_is_no_ring_is_refused_with_line_and_reason() {
        let good = format!("1 {SECRET} active\n");
        let cases = [
            (String::new(), "line 1: expected a line with an active key"),
            (format!("1 {SECRET} retired\n"), "line 1: expected a line with an active key"),
            (good.trim_end().to_owned(), "line 1: expected a line that ends"),
            (format!("{good}\n"), "line 2: expected an id, a secret and active or retired"),
            (good.replace('\n', "\r\n"), "line 1: expected active or retired"),
            (format!("{good}1 {SECRET} retired\n"), "line 2: expected an id that no other key has"),
            (format!("{good}2 {SECRET} active\n"), "line 2: expected one active key only"),
            (format!("256 {SECRET} active\n"), "line 1: expected an id from 0 to 255"),
            (format!("+1 {SECRET} active\n"), "line 1: expected an id without sign or leading zero"),
            (format!("1 {SECRET}0 active\n"), "line 1: expected a secret of 64 hexadecimal digits in lower case"),
            (good.to_uppercase(), "line 1: expected a secret of 64 hexadecimal digits in lower case"),
            (format!("1  {SECRET} active\n"), "line 1: expected an id, a secret and active or retired"),
        ];
        for (text, fault) in cases {
            assert_eq!(expected(&text), fault, "{text:?}");
        }
    }

    /// Limit KEYS.
    #[test]
    fn a_ring_has_at_most_so_many_keys() {
        let retired = |count: usize| (1..=count).map(|id| format!("{id} {SECRET} retired\n")).collect::<String>();
        assert!(Ring::parse(&format!("{}0 {SECRET} active\n", retired(KEYS - 1))).is_ok());
        assert_eq!(expected(&format!("{}0 {SECRET} active\n", retired(KEYS))), "line 17: expected fewer keys");
    }

    #[test]
    fn the_first_start_makes_a_ring_and_the_next_one_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let made = open(folder.path()).unwrap();
        assert_eq!(made.active_id(), 1);
        let path = folder.path().join(FILE_NAME);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert!(open(folder.path()).is_ok());
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "never made anew");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "the ring and its marker, nothing else");
        let other = tempfile::tempdir().unwrap();
        open(other.path()).unwrap();
        assert_ne!(fs::read_to_string(other.path().join(FILE_NAME)).unwrap(), text, "secrets are random");
    }

    #[test]
    fn a_ring_that_is_gone_is_an_alarm_and_never_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path()).unwrap();
        let path = folder.path().join(FILE_NAME);
        fs::remove_file(&path).unwrap();
        let fault = open(folder.path()).unwrap_err();
        assert!(matches!(fault, KeysFault::Lost(_)), "{fault}");
        assert!(fault.to_string().contains(MARKER_NAME), "says what to do: {fault}");
        assert!(!path.exists());
        fs::remove_file(folder.path().join(MARKER_NAME)).unwrap();
        assert!(open(folder.path()).is_ok(), "the operator asked for new keys");
    }

    #[test]
    fn a_ring_brought_from_another_node_gets_its_marker() {
        let folder = tempfile::tempdir().unwrap();
        write_new(&folder.path().join(FILE_NAME), format!("9 {SECRET} active\n").as_bytes()).unwrap();
        assert_eq!(open(folder.path()).unwrap().active_id(), 9);
        assert!(folder.path().join(MARKER_NAME).exists());
    }

    #[test]
    fn a_ring_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path()).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o700] {
            fs::set_permissions(folder.path().join(FILE_NAME), Permissions::from_mode(mode)).unwrap();
            let fault = open(folder.path()).unwrap_err();
            assert!(matches!(fault, KeysFault::Exposed { mode: found, .. } if found == mode), "{fault}");
        }
        fs::set_permissions(folder.path().join(FILE_NAME), Permissions::from_mode(0o400)).unwrap();
        assert!(open(folder.path()).is_ok(), "less than 0600 is no harm");
    }

    #[test]
    fn no_fault_shows_a_secret() {
        let folder = tempfile::tempdir().unwrap();
        write_new(&folder.path().join(FILE_NAME), format!("9 {SECRET} activ\n").as_bytes()).unwrap();
        let fault = open(folder.path()).unwrap_err();
        assert!(!format!("{fault} {fault:?}").contains(&SECRET[..8]), "{fault}");
        let ring = Ring::parse(&format!("1 {SECRET} active\n")).unwrap();
        assert!(!format!("{ring:?}").contains("1, 2, 3"));
    }

    #[test]
    fn a_state_folder_that_is_not_there_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        assert!(matches!(open(&missing), Err(KeysFault::NoFolder(_))));
        assert!(!missing.exists());
    }
}
