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

/// One decision.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Decided {
    /// The word, as the file has it; one that nobody knows counts as enabled.
    pub(crate) admin: String,
    pub(crate) reason: String,
    /// Who decided.
    #[serde(default)]
    pub(crate) by: String,
}

impl Decided {
    pub(crate) fn new(admin: Admin, by: &str, reason: &str) -> Decided {
        Decided { admin: admin.as_str().to_owned(), reason: reason.to_owned(), by: by.to_owned() }
    }

    pub(crate) fn admin(&self) -> Admin {
        Admin::from_word(&self.admin).unwrap_or_default()
    }
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

    /// What was decided about a peer.
    pub(super) fn of(&self, peer: &str) -> Decided {
        self.all.get(peer).cloned().unwrap_or_default()
    }

    /// Decides about these peers, and keeps it: a new file takes the old one's place once it is whole on the disk.
    pub(super) fn set(&mut self, peers: &[String], decided: &Decided) -> io::Result<()> {
        for peer in peers {
            if decided.admin() == Admin::Enabled {
                self.all.remove(peer);
            } else {
                self.all.insert(peer.clone(), decided.clone());
            }
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
        let [first, second] = ["udp:127.0.0.3:5070", "udp:127.0.0.4:5070"].map(String::from);
        let drained = Decided::new(Admin::Drain, "asha", "new kernel");
        let mut admins = Admins::read(folder.path());
        assert_eq!(admins.of(&first), Decided::default());
        admins.set(&[first.clone(), second.clone()], &drained).unwrap();
        admins.set(std::slice::from_ref(&second), &Decided::new(Admin::Enabled, "asha", "back")).unwrap();
        let admins = Admins::read(folder.path());
        assert_eq!(admins.of(&first), drained);
        assert_eq!(admins.of(&second).admin(), Admin::Enabled);
        // A file of a version that did not write who decided.
        let path = folder.path().join(FILE_NAME);
        fs::write(&path, format!("{{\"{first}\": {{\"admin\": \"drain\", \"reason\": \"cable\"}}}}")).unwrap();
        assert_eq!(Admins::read(folder.path()).of(&first).admin(), Admin::Drain);
        fs::write(&path, "{").unwrap();
        assert_eq!(Admins::read(folder.path()).of(&first).admin(), Admin::Enabled);
    }
}
