//! The ring of keys on disk: `token.keys` in the state folder, one key a line, mode 0600.
//!
//! ```text
//! 1 6b1f..(64 hexadecimal digits).. retired
//! 2 09ac..(64 hexadecimal digits).. active 1781234567
//! ```
//!
//! The last word is when the key was made, in seconds since 1970; a line may be without it.
//!
//! The ring is made at the very first start alone. A ring that was there and is gone is an alarm: a new one would
//! silently cut every call that is up, because its token no longer verifies. The empty file `token.keys.made` remembers
//! that there was one.

use crate::config::limits::KEYS;
use proxy::{Key, KeyRing};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

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
    /// When keys were made, by id, in seconds since 1970.
    made_s: BTreeMap<u8, u64>,
}

/// What may be told of a key: never its secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyState {
    /// Its id, as it stands in every branch and token that it made.
    pub id: u8,
    /// It signs; the others verify.
    pub signs: bool,
    /// When it was made, in seconds since 1970, where the ring says so.
    pub made_s: Option<u64>,
}

/// Adds a key to the ring of `state_dir`: it signs from now on, the others verify. A ring that is not there is a fault.
pub fn rotate(state_dir: &Path) -> Result<Vec<KeyState>, KeysFault> {
    let path = state_dir.join(FILE_NAME);
    change(&path, |ring| {
        if ring.retired.len() + 1 >= KEYS {
            return Err(KeysFault::Full(path.clone()));
        }
        let used = |id: &u8| ring.states().iter().any(|state| state.id == *id);
        let free = (1..=u8::MAX).map(|step| ring.active.id.wrapping_add(step)).find(|id| !used(id));
        let id = free.ok_or_else(|| KeysFault::Full(path.clone()))?;
        let active = Key { id, secret: secret().map_err(|error| KeysFault::io(&path, error))? };
        let mut retired = ring.retired.clone();
        retired.push(ring.active.clone());
        let mut made_s = ring.made_s.clone();
        made_s.insert(id, now_s());
        Ok(Ring { active, retired, made_s })
    })
}

/// Takes a key out of the ring of `state_dir`: what it signed no longer verifies. The key that signs stays.
pub fn forget(state_dir: &Path, id: u8) -> Result<Vec<KeyState>, KeysFault> {
    let path = state_dir.join(FILE_NAME);
    change(&path, |ring| {
        let mut rest = ring.clone();
        rest.retired.retain(|key| key.id != id);
        rest.made_s.remove(&id);
        if rest.retired.len() == ring.retired.len() {
            let signs = ring.active.id == id;
            return Err(KeysFault::Unforgettable { path: path.clone(), id, signs });
        }
        Ok(rest)
    })
}

/// The keys of the ring of `state_dir`, the oldest first.
pub fn list(state_dir: &Path) -> Result<Vec<KeyState>, KeysFault> {
    read(&state_dir.join(FILE_NAME)).map(|ring| ring.states())
}

/// Writes a changed ring in the place of the old one, whole or not at all. One change at a time.
fn change(path: &Path, changed: impl FnOnce(&Ring) -> Result<Ring, KeysFault>) -> Result<Vec<KeyState>, KeysFault> {
    let aside = path.with_extension("keys.next");
    let lock = match write_new(&aside, b"") {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(KeysFault::Busy(aside)),
        lock => lock.map_err(|error| KeysFault::io(&aside, error)),
    };
    let written = lock.and_then(|()| read(path)).and_then(|ring| changed(&ring)).and_then(|ring| {
        let place = File::options().write(true).open(&aside);
        let written = place.and_then(|mut file| {
            file.write_all(ring.text().as_bytes())?;
            owned_as(path, &file)?;
            file.sync_all()
        });
        written.and_then(|()| fs::rename(&aside, path)).map_err(|error| KeysFault::io(path, error))?;
        Ok(ring.states())
    });
    if written.is_err() {
        let _gone = fs::remove_file(&aside);
    }
    path.parent().map_or(Ok(()), sync_folder)?;
    written
}

fn secret() -> io::Result<[u8; 32]> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(io::Error::other)?;
    Ok(secret)
}

/// By the clock on the wall: it is told to people, and decides nothing.
fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Ring {
    /// A ring of one key, which signs.
    pub fn new(active: Key) -> Ring {
        Ring { active, retired: Vec::new(), made_s: BTreeMap::new() }
    }

    /// The same keys for the core.
    pub fn keys(&self) -> KeyRing {
        KeyRing::new(&self.active, &self.retired)
    }

    /// What may be told of its keys, the one that signs last.
    pub fn states(&self) -> Vec<KeyState> {
        let made_s = |key: &Key| self.made_s.get(&key.id).copied();
        let retired = self.retired.iter().map(|key| KeyState { id: key.id, signs: false, made_s: made_s(key) });
        retired.chain([KeyState { id: self.active.id, signs: true, made_s: made_s(&self.active) }]).collect()
    }

    /// Reads the text of a ring file, strictly: what is not exactly a ring is refused.
    pub fn parse(text: &str) -> Result<Ring, RingFault> {
        let mut active = None;
        let mut retired: Vec<Key> = Vec::new();
        let mut made_s = BTreeMap::new();
        for (line, words) in text.split_inclusive('\n').enumerate() {
            let fault = |expected| RingFault { line: line + 1, expected };
            let (key, is_active, key_made_s) = key_line(words).map_err(fault)?;
            made_s.extend(key_made_s.map(|made_s| (key.id, made_s)));
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
        Ok(Ring { active, retired, made_s })
    }

    /// The text of the ring file.
    pub fn text(&self) -> String {
        let retired = self.retired.iter().map(|key| (key, "retired"));
        let lines = retired.chain([(&self.active, "active")]).map(|(key, state)| {
            let secret: String = key.secret.iter().map(|byte| format!("{byte:02x}")).collect();
            let made_s = self.made_s.get(&key.id).map(|made_s| format!(" {made_s}")).unwrap_or_default();
            format!("{} {secret} {state}{made_s}\n", key.id)
        });
        lines.collect()
    }
}

/// One line with its end: `ID SECRET active|retired [MADE]`. The error is what was expected.
fn key_line(line: &str) -> Result<(Key, bool, Option<u64>), &'static str> {
    let line = line.strip_suffix('\n').ok_or("a line that ends")?;
    let words: Vec<&str> = line.split(' ').collect();
    let (id, secret, state, made) = match words.as_slice() {
        [id, secret, state] => (id, secret, state, None),
        [id, secret, state, made] if !secret.is_empty() => (id, secret, state, Some(made)),
        _ => return Err("an id, a secret and active or retired"),
    };
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
    let made_s = made.map(|made| made.parse().map_err(|_| "seconds since 1970, or nothing")).transpose()?;
    Ok((Key { id: parsed_id, secret }, is_active, made_s))
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
    let mut ring = Ring::new(Key { id: 1, secret: secret().map_err(io)? });
    ring.made_s.insert(1, now_s());
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

/// Gives `file` the owner of the one that it is to replace: root changes a ring that the service's own user has to read.
fn owned_as(path: &Path, file: &File) -> io::Result<()> {
    let (old, new) = (fs::metadata(path)?, file.metadata()?);
    if old.uid() == new.uid() { Ok(()) } else { fchown(file, Some(old.uid()), Some(old.gid())) }
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
    /// The ring has as many keys as a ring may have.
    Full(PathBuf),
    /// Another change is under way, or was cut off: what it was writing is there.
    Busy(PathBuf),
    /// The key is not there to be forgotten, or it is the one that signs.
    Unforgettable {
        /// The ring file.
        path: PathBuf,
        /// The key's id.
        id: u8,
        /// It signs.
        signs: bool,
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
            KeysFault::Full(path) => write!(
                f,
                "{}: found {KEYS} keys, expected fewer: forget one that no call needs any more (switchyard keys forget ID)",
                path.display()
            ),
            KeysFault::Busy(path) => write!(
                f,
                "{}: found a change of the ring that is under way, expected none: if it was cut off, remove this file",
                path.display()
            ),
            KeysFault::Unforgettable { path, id, signs: true } => {
                write!(f, "{}: key {id} signs, expected one that only verifies: rotate first", path.display())
            }
            KeysFault::Unforgettable { path, id, signs: false } => {
                write!(f, "{}: found no key {id}, expected an id of switchyard keys list", path.display())
            }
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

    /// Root rotates by `sudo switchyard keys rotate`, and the service starts again as its own user.
    #[test]
    fn a_changed_ring_belongs_to_whom_it_belonged() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path()).unwrap();
        let path = folder.path().join(FILE_NAME);
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(65_534), Some(65_534)).unwrap();
        }
        let owner = || fs::metadata(&path).map(|of| (of.uid(), of.gid(), of.mode() & 0o7777)).unwrap();
        let before = owner();
        rotate(folder.path()).unwrap();
        assert_eq!(owner(), before);
        forget(folder.path(), 1).unwrap();
        assert_eq!(owner(), before);
    }

    /// Limit KEYS.
    #[test]
    fn a_ring_has_at_most_so_many_keys() {
        let retired = |count: usize| (1..=count).map(|id| format!("{id} {SECRET} retired\n")).collect::<String>();
        assert!(Ring::parse(&format!("{}0 {SECRET} active\n", retired(KEYS - 1))).is_ok());
        assert_eq!(expected(&format!("{}0 {SECRET} active\n", retired(KEYS))), "line 17: expected fewer keys");

        let folder = tempfile::tempdir().unwrap();
        open(folder.path()).unwrap();
        for _ in 1..KEYS {
            rotate(folder.path()).unwrap();
        }
        let fault = rotate(folder.path()).unwrap_err();
        assert!(matches!(fault, KeysFault::Full(_)), "{fault}");
        assert!(open(folder.path()).is_ok(), "the ring is as it was");
        forget(folder.path(), 3).unwrap();
        let states = rotate(folder.path()).unwrap();
        let ids: Vec<u8> = states.iter().map(|state| state.id).collect();
        assert_eq!((ids.len(), ids.contains(&3), ids.last()), (KEYS, false, Some(&17)));
    }

    #[test]
    fn rotation_adds_a_key_that_signs_and_keeps_the_old_ones() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path()).unwrap();
        let path = folder.path().join(FILE_NAME);
        let before = Ring::parse(&fs::read_to_string(&path).unwrap()).unwrap();
        let states = rotate(folder.path()).unwrap();
        let after = Ring::parse(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(after.retired, std::slice::from_ref(&before.active));
        assert_ne!(after.active.secret, before.active.secret);
        assert_eq!(states.iter().map(|state| (state.id, state.signs)).collect::<Vec<_>>(), [(1, false), (2, true)]);
        assert!(states.iter().all(|state| state.made_s.is_some_and(|made_s| made_s > 1_700_000_000)));
        assert_eq!(list(folder.path()).unwrap(), states);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left beside the ring and its marker");

        let fault = forget(folder.path(), 2).unwrap_err();
        assert!(matches!(fault, KeysFault::Unforgettable { id: 2, signs: true, .. }), "{fault}");
        let fault = forget(folder.path(), 9).unwrap_err();
        assert!(matches!(fault, KeysFault::Unforgettable { id: 9, signs: false, .. }), "{fault}");
        assert_eq!(forget(folder.path(), 1).unwrap().len(), 1);
    }

    #[test]
    fn a_ring_that_is_gone_is_not_rotated_into_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let fault = rotate(folder.path()).unwrap_err();
            assert!(matches!(fault, KeysFault::Lost(_)), "{fault}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        }
        open(folder.path()).unwrap();
        let aside = folder.path().join("token.keys.next");
        write_new(&aside, b"").unwrap();
        let fault = rotate(folder.path()).unwrap_err();
        assert!(matches!(fault, KeysFault::Busy(_)), "{fault}");
        assert!(aside.exists(), "another one's change is left alone");
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
