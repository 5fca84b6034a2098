//! Bearer tokens, one per person: the file `admin.tokens` in the state folder, mode 0600, one token a line.
//!
//! ```text
//! 9f2c41aa (64 hexadecimal digits: BLAKE3 of the token) operator 1781234567 1812770567 meera
//! ```
//!
//! After the role stand when it was made and when it ends, in seconds since 1970; `-` for no end. The token itself is
//! shown once and kept nowhere: 256 random bits, so that a plain hash of it is as good as a slow one. The file is read
//! again whenever it has changed: a token that is revoked is refused from the next request on.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use blake3::Hash;
use sync::limits::WHO_BYTES_MAX;

use crate::access::Role;
use crate::limits::{TOKENS_BYTES_MAX, TOKENS_MAX};

/// The file's name in the state folder.
pub const TOKENS_NAME: &str = "admin.tokens";
/// What every token begins with, so that one that leaked is recognised.
const PREFIX: &str = "swy_";

/// What may be told of a token: never the token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// Its id, by which it is revoked.
    pub id: String,
    /// Whose it is: the name that is recorded with every change.
    pub who: String,
    /// What it lets them do.
    pub role: Role,
    /// When it was made, in seconds since 1970.
    pub made_s: u64,
    /// When it ends, in seconds since 1970; `None` for never.
    pub ends_s: Option<u64>,
    hash: Hash,
}

/// A token to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewToken {
    /// Whose it is.
    pub who: String,
    /// What it lets them do.
    pub role: Role,
    /// When it ends, in seconds since 1970; `None` for never.
    pub ends_s: Option<u64>,
}

/// Why tokens cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum TokensFault {
    /// The file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line of it.
    #[error("{}:{line}: expected ID HASH ROLE MADE END NAME", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line's number.
        line: usize,
    },
    /// It has as many as it may.
    #[error("{}: found {TOKENS_MAX} tokens, expected fewer: revoke one first", .0.display())]
    Full(PathBuf),
    /// Whose it is cannot be.
    #[error("found the name {0:?}, expected 1 to {WHO_BYTES_MAX} bytes without control characters")]
    Name(String),
    /// There is none of this id.
    #[error("found no token {id}, expected one of: {known}")]
    Unknown {
        /// The id that was named.
        id: String,
        /// Those that there are.
        known: String,
    },
    /// Another change is under way, or was cut off.
    #[error("{}: another change is under way; if none is, remove this file", .0.display())]
    Busy(PathBuf),
}

/// The tokens of one state folder.
#[derive(Debug)]
pub struct Tokens {
    path: PathBuf,
    read: Mutex<AsRead>,
}

/// What the file said when it was read last, and what told it from other versions of it.
#[derive(Debug, Default)]
struct AsRead {
    stamp: Option<(u64, i64, i64, u64)>,
    tokens: Arc<Vec<Token>>,
}

impl Tokens {
    /// Those of this state folder. Nothing is read yet.
    pub fn new(state_dir: &Path) -> Tokens {
        Tokens { path: state_dir.join(TOKENS_NAME), read: Mutex::default() }
    }

    /// All of them, in the order in which they were made; none where there is no file.
    pub fn list(&self) -> Result<Arc<Vec<Token>>, TokensFault> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = match fs::metadata(&self.path) {
            Ok(found) => Some((found.ino(), found.mtime(), found.mtime_nsec(), found.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(self.fault(source)),
        };
        if read.stamp != stamp || stamp.is_none() {
            let tokens = if stamp.is_some() { Arc::new(self.read_file()?) } else { Arc::default() };
            *read = AsRead { stamp, tokens };
        }
        Ok(Arc::clone(&read.tokens))
    }

    /// The token that this is, unless it has ended by `now_s`. Every one is compared, in constant time.
    pub(crate) fn find(&self, text: &str, now_s: u64) -> Result<Option<Token>, TokensFault> {
        let hash = blake3::hash(text.as_bytes());
        let tokens = self.list()?;
        // `Hash` is compared in constant time.
        let found = tokens.iter().rfind(|token| token.hash == hash);
        Ok(found.filter(|token| token.is_good(now_s)).cloned())
    }

    /// The token of this id, unless it was revoked or has ended by `now_s`.
    pub(crate) fn by_id(&self, id: &str, now_s: u64) -> Option<Token> {
        let tokens = self.list().ok()?;
        tokens.iter().find(|token| token.id == id && token.is_good(now_s)).cloned()
    }

    /// Makes one. What it answers with is the only copy of the token.
    pub fn add(&self, new: NewToken, now_s: u64) -> Result<(Token, String), TokensFault> {
        let NewToken { who, role, ends_s } = new;
        if who.trim().is_empty() || who.len() > WHO_BYTES_MAX || who.chars().any(char::is_control) {
            return Err(TokensFault::Name(who));
        }
        let mut bytes = [0_u8; 36];
        getrandom::fill(&mut bytes).map_err(|error| self.fault(io::Error::other(error)))?;
        let (id, secret) = bytes.split_at(4);
        let text = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(secret));
        let id = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let hash = blake3::hash(text.as_bytes());
        let token = Token { id, who: who.trim().to_owned(), role, made_s: now_s, ends_s, hash };
        self.change(|tokens| {
            if tokens.len() >= TOKENS_MAX {
                return Err(TokensFault::Full(self.path.clone()));
            }
            tokens.push(token.clone());
            Ok(())
        })?;
        Ok((token, text))
    }

    /// Revokes the one of this id, and says whose it was.
    pub fn revoke(&self, id: &str) -> Result<Token, TokensFault> {
        let mut revoked = None;
        self.change(|tokens| {
            let place = tokens.iter().position(|token| token.id == id);
            let known = || tokens.iter().map(|token| token.id.as_str()).collect::<Vec<_>>().join(", ");
            let place = place.ok_or_else(|| TokensFault::Unknown { id: id.to_owned(), known: known() })?;
            revoked = Some(tokens.remove(place));
            Ok(())
        })?;
        revoked.ok_or_else(|| TokensFault::Unknown { id: id.to_owned(), known: String::new() })
    }

    fn read_file(&self) -> Result<Vec<Token>, TokensFault> {
        let mut text = String::new();
        let file = File::open(&self.path).map_err(|source| self.fault(source))?;
        file.take(TOKENS_BYTES_MAX + 1).read_to_string(&mut text).map_err(|source| self.fault(source))?;
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
        lines
            .map(|(line, text)| Token::read(text).ok_or_else(|| TokensFault::Line { path: self.path.clone(), line }))
            .take(TOKENS_MAX + 1)
            .collect()
    }

    /// Writes changed tokens in the place of the old ones, whole or not at all. One change at a time.
    fn change(&self, changed: impl FnOnce(&mut Vec<Token>) -> Result<(), TokensFault>) -> Result<(), TokensFault> {
        let aside = self.path.with_extension("tokens.next");
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside);
        let mut file = file.map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => TokensFault::Busy(aside.clone()),
            _ => TokensFault::Io { path: aside.clone(), source },
        })?;
        let written = self.list().and_then(|tokens| {
            let mut tokens = tokens.to_vec();
            changed(&mut tokens)?;
            let text: String = tokens.iter().map(Token::line).collect();
            let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
            written.and_then(|()| fs::rename(&aside, &self.path)).map_err(|source| self.fault(source))
        });
        if written.is_err() {
            let _gone = fs::remove_file(&aside);
        }
        written
    }

    fn fault(&self, source: io::Error) -> TokensFault {
        TokensFault::Io { path: self.path.clone(), source }
    }
}

impl Token {
    /// Whether it has not ended by `now_s`.
    pub fn is_good(&self, now_s: u64) -> bool {
        self.ends_s.is_none_or(|ends_s| now_s < ends_s)
    }

    fn read(line: &str) -> Option<Token> {
        let mut words = line.splitn(6, ' ');
        let id = words.next()?.to_owned();
        let hash = Hash::from_hex(words.next()?).ok()?;
        let role = words.next()?.parse().ok()?;
        let made_s = words.next()?.parse().ok()?;
        let ends_s = match words.next()? {
            "-" => None,
            ends_s => Some(ends_s.parse().ok()?),
        };
        let who = words.next()?.trim().to_owned();
        (!who.is_empty()).then_some(Token { id, who, role, made_s, ends_s, hash })
    }

    fn line(&self) -> String {
        let Token { id, who, role, made_s, ends_s, hash } = self;
        let ends_s = ends_s.map_or("-".to_owned(), |ends_s| ends_s.to_string());
        format!("{id} {} {role} {made_s} {ends_s} {who}\n", hash.to_hex())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn new(who: &str, role: Role, ends_s: Option<u64>) -> NewToken {
        NewToken { who: who.into(), role, ends_s }
    }

    #[test]
    fn a_token_is_found_until_it_ends_or_is_revoked_and_the_file_has_its_hash_alone() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::new(folder.path());
        assert!(tokens.list().unwrap().is_empty());
        let (meera, text) = tokens.add(new("Meera Nair", Role::Operator, None), 100).unwrap();
        let (ravi, short) = tokens.add(new("ravi", Role::Viewer, Some(200)), 100).unwrap();
        assert_eq!(tokens.find(&text, 1_000).unwrap(), Some(meera.clone()));
        assert_eq!(tokens.find(&short, 199).unwrap(), Some(ravi.clone()));
        assert_eq!(tokens.find(&short, 200).unwrap(), None, "it has ended");
        for wrong in ["", "swy_", &text[..text.len() - 1], &text.to_lowercase(), &format!("{text} ")] {
            assert_eq!(tokens.find(wrong, 1_000).unwrap(), None, "{wrong}");
        }
        let path = folder.path().join(TOKENS_NAME);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let file = fs::read_to_string(&path).unwrap();
        assert!(!file.contains(&text[PREFIX.len()..]) && !file.contains(&short[PREFIX.len()..]), "{file}");
        // Another process changes the file; this one has read it before.
        let other = Tokens::new(folder.path());
        assert_eq!(other.revoke(&meera.id).unwrap(), meera);
        assert_eq!(tokens.find(&text, 1_000).unwrap(), None, "it was revoked");
        assert_eq!(*tokens.list().unwrap(), vec![ravi.clone()]);
        let unknown = tokens.revoke("00000000").unwrap_err().to_string();
        assert_eq!(unknown, format!("found no token 00000000, expected one of: {}", ravi.id));
    }

    #[test]
    fn there_are_at_most_so_many_tokens_and_names_are_text() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::new(folder.path());
        for at in 0..TOKENS_MAX {
            tokens.add(new(&format!("person {at}"), Role::Viewer, None), 1).unwrap();
        }
        assert!(fs::metadata(folder.path().join(TOKENS_NAME)).unwrap().len() < TOKENS_BYTES_MAX);
        assert!(matches!(tokens.add(new("one more", Role::Viewer, None), 1), Err(TokensFault::Full(_))));
        for name in ["", "  ", "a\nb", &"x".repeat(WHO_BYTES_MAX + 1)] {
            assert!(matches!(tokens.add(new(name, Role::Viewer, None), 1), Err(TokensFault::Name(_))), "{name}");
        }
        assert_eq!(tokens.list().unwrap().len(), TOKENS_MAX);
    }

    #[test]
    fn a_file_that_cannot_be_read_lets_nobody_in() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::new(folder.path());
        let (_, text) = tokens.add(new("meera", Role::Admin, None), 1).unwrap();
        let path = folder.path().join(TOKENS_NAME);
        let good = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{good}nonsense\n")).unwrap();
        let fault = tokens.find(&text, 2).unwrap_err().to_string();
        assert!(fault.ends_with("admin.tokens:2: expected ID HASH ROLE MADE END NAME"), "{fault}");
        fs::write(folder.path().join("admin.tokens.next"), "").unwrap();
        fs::write(&path, good).unwrap();
        assert!(matches!(tokens.revoke("x"), Err(TokensFault::Busy(_))));
    }
}
