//! What people decided about peers, in a file: it holds over restarts.

use proxy::targets::Admin;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The file's name in the state folder.
const FILE_NAME: &str = "peers.json";

/// The decisions, by the peer as the configuration writes it.
#[derive(Debug)]
pub(super) struct Admins {
    path: PathBuf,
    all: BTreeMap<String, Decided>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Decided {
    admin: String,
    reason: String,
}

impl Admins {
    /// Reads the file. One that is not there says nothing; one that cannot be read is told, and left as it is until
    /// somebody decides anew.
    pub(super) fn read(state_dir: &Path) -> Admins {
        let path = state_dir.join(FILE_NAME);
        let all = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::error!(path = %path.display(), %error, "what was decided about peers cannot be read: all count as enabled");
                BTreeMap::new()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "what was decided about peers cannot be read: all count as enabled");
                BTreeMap::new()
            }
        };
        Admins { path, all }
    }

    /// What was decided about a peer, and why.
    pub(super) fn of(&self, peer: &str) -> (Admin, String) {
        let decided = self.all.get(peer);
        let admin = decided.and_then(|decided| Admin::from_word(&decided.admin)).unwrap_or_default();
        (admin, decided.map(|decided| decided.reason.clone()).unwrap_or_default())
    }

    /// Decides, and keeps it: a new file takes the old one's place once it is whole on the disk.
    pub(super) fn set(&mut self, peer: &str, admin: Admin, reason: &str) -> io::Result<()> {
        if admin == Admin::Enabled {
            self.all.remove(peer);
        } else {
            let decided = Decided { admin: admin.as_str().to_owned(), reason: reason.to_owned() };
            self.all.insert(peer.to_owned(), decided);
        }
        let bytes = serde_json::to_vec_pretty(&self.all)?;
        let draft = self.path.with_extension("json.new");
        let mut file = File::create(&draft)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&draft, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_hold_over_a_restart_and_a_broken_file_decides_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut admins = Admins::read(folder.path());
        assert_eq!(admins.of("udp:127.0.0.3:5070"), (Admin::Enabled, String::new()));
        admins.set("udp:127.0.0.3:5070", Admin::Drain, "new kernel").unwrap();
        admins.set("udp:127.0.0.4:5070", Admin::Disabled, "gone").unwrap();
        admins.set("udp:127.0.0.4:5070", Admin::Enabled, "back").unwrap();
        let admins = Admins::read(folder.path());
        assert_eq!(admins.of("udp:127.0.0.3:5070"), (Admin::Drain, "new kernel".to_owned()));
        assert_eq!(admins.of("udp:127.0.0.4:5070").0, Admin::Enabled);
        fs::write(folder.path().join(FILE_NAME), "{").unwrap();
        assert_eq!(Admins::read(folder.path()).of("udp:127.0.0.3:5070").0, Admin::Enabled);
    }
}
