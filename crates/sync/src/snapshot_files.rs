//! The last good directory on disk, two generations of it, for a start without the database.
//!
//! A file is written under another name, synced, and renamed, so that a crash at any moment leaves at least one that is
//! whole. Nothing is followed or trusted: a symbolic link, a device or a file that is too long is refused, and the
//! bytes have a checksum.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use directory::limits::SNAPSHOT_BYTES_MAX;
use directory::{Directory, Policy, snapshot};

/// The newest snapshot.
pub const SNAPSHOT_NAME: &str = "directory.snapshot";
/// The one before.
pub const PREVIOUS_SNAPSHOT_NAME: &str = "directory.snapshot.previous";
/// One that is being written.
const PARTIAL_NAME: &str = "directory.snapshot.partial";

/// Where snapshots are kept.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotFiles {
    folder: PathBuf,
}

/// A snapshot that was read.
pub(crate) struct Loaded {
    pub(crate) directory: Directory,
    /// When the database last confirmed it.
    pub(crate) confirmed_at: SystemTime,
}

impl SnapshotFiles {
    pub(crate) fn new(folder: &Path) -> SnapshotFiles {
        SnapshotFiles { folder: folder.to_path_buf() }
    }

    /// The newest snapshot that is whole, and why others are not.
    pub(crate) fn load(&self, policy: &Policy) -> (Option<Loaded>, Vec<String>) {
        let mut faults = Vec::new();
        for name in [SNAPSHOT_NAME, PREVIOUS_SNAPSHOT_NAME] {
            let path = self.folder.join(name);
            match load(&path, policy) {
                Ok(loaded) => return (Some(loaded), faults),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => faults.push(format!("{}: {error}", path.display())),
            }
        }
        (None, faults)
    }

    /// Keeps a directory as the newest snapshot, and what was the newest as the one before.
    pub(crate) fn save(&self, directory: &Directory) -> io::Result<()> {
        let partial = self.folder.join(PARTIAL_NAME);
        let (newest, previous) = (self.folder.join(SNAPSHOT_NAME), self.folder.join(PREVIOUS_SNAPSHOT_NAME));
        // Whatever is left of a crash, a link included, is removed and not written through.
        match fs::remove_file(&partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let written = write_synced(&partial, &snapshot::encode(directory));
        if written.is_err() {
            // Room for the next try.
            let _ = fs::remove_file(&partial);
        }
        written?;
        match fs::rename(&newest, &previous) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::rename(&partial, &newest)?;
        File::open(&self.folder)?.sync_all()
    }

    /// Notes that the database has just confirmed the newest snapshot.
    pub(crate) fn confirm(&self) -> io::Result<()> {
        open(&self.folder.join(SNAPSHOT_NAME), OpenOptions::new().append(true))?.set_modified(SystemTime::now())
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn load(path: &Path, policy: &Policy) -> io::Result<Loaded> {
    let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    let mut file = open(path, OpenOptions::new().read(true))?;
    let metadata = file.metadata()?;
    let most = u64::try_from(SNAPSHOT_BYTES_MAX).unwrap_or(u64::MAX);
    if metadata.len() > most {
        return Err(invalid(format!("found {} bytes, expected at most {most}", metadata.len())));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    Read::by_ref(&mut file).take(most).read_to_end(&mut bytes)?;
    let directory = snapshot::decode(&bytes, policy).map_err(|fault| invalid(fault.to_string()))?;
    Ok(Loaded { directory, confirmed_at: metadata.modified()? })
}

/// Opens a regular file, and nothing that a name may lead to.
fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = options.custom_flags(i32::try_from(flags.bits()).unwrap_or_default()).open(path);
    let file = file.map_err(|error| match error.raw_os_error() {
        Some(code) if code == rustix::io::Errno::LOOP.raw_os_error() => {
            io::Error::new(io::ErrorKind::InvalidInput, "found a symbolic link, expected a file")
        }
        _ => error,
    })?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "found something else, expected a file"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use directory::{DidRow, Environment, Generation, Rows};

    fn directory(generation: u64) -> Directory {
        let row = DidRow::assigned("1", "a", "918065978021", Environment::Staging);
        directory::build(Generation(generation), Rows { dids: vec![row], ..Rows::default() }, &Policy::default(), None)
    }

    fn saved(generations: &[u64]) -> (tempfile::TempDir, SnapshotFiles) {
        let folder = tempfile::tempdir().unwrap();
        let files = SnapshotFiles::new(folder.path());
        for &generation in generations {
            files.save(&directory(generation)).unwrap();
        }
        (folder, files)
    }

    fn loaded(files: &SnapshotFiles) -> (Option<u64>, Vec<String>) {
        let (loaded, faults) = files.load(&Policy::default());
        (loaded.map(|loaded| loaded.directory.generation().0), faults)
    }

    #[test]
    fn the_newest_is_read_and_the_one_before_is_kept() {
        let (folder, files) = saved(&[1, 2, 3]);
        assert_eq!(loaded(&files), (Some(3), vec![]));
        let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [SNAPSHOT_NAME, PREVIOUS_SNAPSHOT_NAME]);
        // A crash between the two renames.
        fs::remove_file(folder.path().join(SNAPSHOT_NAME)).unwrap();
        assert_eq!(loaded(&files), (Some(2), vec![]));
    }

    /// Row D10: truncated, bit-flipped, wrong version, too long, a link: the one before; and neither: none.
    #[test]
    fn d10_a_snapshot_that_is_not_whole_is_refused() {
        type Spoil = fn(&Path);
        let spoil: [(&str, Spoil); 6] = [
            ("bytes, expected", |path| File::options().write(true).open(path).unwrap().set_len(100).unwrap()),
            ("checksum", |path| {
                let mut bytes = fs::read(path).unwrap();
                *bytes.last_mut().unwrap() ^= 1;
                fs::write(path, bytes).unwrap();
            }),
            ("version", |path| {
                let mut bytes = fs::read(path).unwrap();
                bytes[8] = 99;
                fs::write(path, bytes).unwrap();
            }),
            // Sparse: it takes no room.
            ("expected at most", |path| {
                let len = SNAPSHOT_BYTES_MAX as u64 + 1;
                File::options().write(true).open(path).unwrap().set_len(len).unwrap();
            }),
            ("symbolic link", |path| {
                let other = path.with_extension("other");
                fs::rename(path, &other).unwrap();
                std::os::unix::fs::symlink(&other, path).unwrap();
            }),
            ("found something else", |path| {
                fs::remove_file(path).unwrap();
                fs::create_dir(path).unwrap();
            }),
        ];
        for (told, spoil) in spoil {
            let (folder, files) = saved(&[1, 2]);
            spoil(&folder.path().join(SNAPSHOT_NAME));
            let (generation, faults) = loaded(&files);
            assert_eq!(generation, Some(1), "{told}: {faults:?}");
            assert!(faults.len() == 1 && faults[0].contains(told), "{told}: {faults:?}");
            fs::write(folder.path().join(PREVIOUS_SNAPSHOT_NAME), b"").unwrap();
            let (generation, faults) = loaded(&files);
            assert_eq!((generation, faults.len()), (None, 2), "{told}: {faults:?}");
        }
    }

    /// Row D10: what is left of a crash is not written through, be it a link to something else.
    #[test]
    fn d10_a_link_is_never_written_through() {
        let (folder, files) = saved(&[1]);
        let victim = folder.path().join("victim");
        fs::write(&victim, b"precious").unwrap();
        std::os::unix::fs::symlink(&victim, folder.path().join(PARTIAL_NAME)).unwrap();
        files.save(&directory(2)).unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        assert_eq!(loaded(&files), (Some(2), vec![]));
    }

    /// Row D11: a folder that cannot be written is an error, what is there stays, and it goes on when it can.
    #[test]
    fn d11_a_failed_write_leaves_what_is_there() {
        let (folder, files) = saved(&[1]);
        // A folder under the name of the partial file cannot be removed as a file: the write fails for root as well.
        fs::create_dir(folder.path().join(PARTIAL_NAME)).unwrap();
        assert!(files.save(&directory(2)).is_err());
        assert_eq!(loaded(&files), (Some(1), vec![]));
        fs::remove_dir(folder.path().join(PARTIAL_NAME)).unwrap();
        files.save(&directory(2)).unwrap();
        assert_eq!(loaded(&files), (Some(2), vec![]));
    }

    #[test]
    fn a_confirmation_makes_it_younger() {
        let (folder, files) = saved(&[1]);
        let path = folder.path().join(SNAPSHOT_NAME);
        File::options().append(true).open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        files.confirm().unwrap();
        let (loaded, _) = files.load(&Policy::default());
        assert!(loaded.unwrap().confirmed_at.elapsed().unwrap().as_secs() < 60);
    }
}
