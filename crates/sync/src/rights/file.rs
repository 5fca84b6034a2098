//! SQLite's side: a file has no accounts, so its mode and its folder's say what may be done with it.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Rights, missing_columns};
use crate::fault::SyncFault;
use crate::mapping::TABLES;
use crate::own_tables::OwnTable;
use crate::settings::Settings;
use crate::source::{Engine, sqlite_options};

const READ: u32 = 4;
const WRITE: u32 = 2;
const PASS: u32 = 1;

/// Who runs the proxy, by numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// The user.
    pub uid: u32,
    /// Every group of the user.
    pub groups: Vec<u32>,
}

pub(super) async fn rights(
    engine: &mut Engine,
    settings: &Settings,
    call_records: bool,
    user: &User,
) -> Result<Rights, SyncFault> {
    let path = sqlite_options(&settings.url)?.get_filename().to_path_buf();
    let mut found = modes(&path, user);
    let mut columns = Vec::new();
    if let Err(fault) = columns_of(engine, settings, &mut columns, &mut found).await {
        // Who cannot open it has said so already.
        return if found.unread.is_empty() { Err(fault) } else { Ok(Rights { unwritten: Vec::new(), ..found }) };
    }
    if !found.writes && !call_records {
        found.unwritten.clear();
    }
    Ok(found)
}

async fn columns_of(
    engine: &mut Engine,
    settings: &Settings,
    columns: &mut Vec<String>,
    found: &mut Rights,
) -> Result<(), SyncFault> {
    engine.connect().await?;
    let mapping = settings.mapping.clone().without_schema("main");
    for table in TABLES {
        let names = mapping.of(table);
        columns.clear();
        engine.rows(&names.shown(), engine.dialect().columns_of(names), |record| columns.push(record.text(0))).await?;
        found.missing_columns.extend(missing_columns(names, columns));
    }
    for own in OwnTable::ALL {
        let statement = engine.dialect().columns_of_table(None, own.name());
        engine.rows(own.name(), statement, |_| found.writes = true).await?;
    }
    Ok(())
}

/// What the modes of the file and of the folders above it say. What writing lacks is told whether anything writes or not.
fn modes(path: &Path, user: &User) -> Rights {
    let mut found = Rights { account: format!("user {}", user.uid), ..Rights::default() };
    for folder in path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
        if fs::metadata(folder).is_ok_and(|metadata| !allows(&metadata, user, PASS)) {
            found.unread.push(format!("a way through {}", shown(folder)));
        }
    }
    let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let places: [(PathBuf, &str); 2] = [(path.to_path_buf(), "to write"), (folder, "to write beside the database in")];
    for (place, way) in places {
        let Ok(metadata) = fs::metadata(&place) else { continue };
        if place == path && !allows(&metadata, user, READ) {
            found.unread.push(format!("to read {}", shown(&place)));
        }
        if !allows(&metadata, user, WRITE) {
            found.unwritten.push(format!("{way} {}: no DID can be moved, no lease made", shown(&place)));
        }
        if metadata.mode() & 0o002 != 0 {
            found.excess.push(format!("everybody on this machine may write {}", shown(&place)));
        }
    }
    found
}

/// A path with its mode and owner.
fn shown(path: &Path) -> String {
    let Ok(metadata) = fs::metadata(path) else { return path.display().to_string() };
    let (mode, uid, gid) = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
    format!("{} (mode {mode:04o}, user {uid}, group {gid})", path.display())
}

fn allows(metadata: &Metadata, user: &User, bit: u32) -> bool {
    let shift = match () {
        () if user.uid == 0 => return true,
        () if metadata.uid() == user.uid => 6,
        () if user.groups.contains(&metadata.gid()) => 3,
        () => 0,
    };
    metadata.mode() >> shift & bit != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[tokio::test]
    async fn a_file_is_judged_for_who_runs_the_proxy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("directory.db");
        schema::run(&path, &[schema::SQLITE_TABLES]).await.unwrap();
        let settings = Settings::new(format!("sqlite://{}", path.display()), directory::Policy::default());
        let group = fs::metadata(&path).unwrap().gid();
        // Whoever owns the file, this is somebody else, who shares its group.
        let service = User { uid: fs::metadata(&path).unwrap().uid() + 4_711, groups: vec![group] };
        let asked = || async { super::super::rights(&settings, false, &service).await.unwrap() };

        mode(folder.path(), 0o750);
        mode(&path, 0o640);
        let reads = asked().await;
        assert_eq!((reads.unread.len(), reads.unwritten.len(), reads.excess.len(), reads.writes), (0, 0, 0, false));

        mode(&path, 0o600);
        let shut = asked().await;
        assert!(shut.unread[0].starts_with(&format!("to read {} (mode 0600, ", path.display())), "{shut:?}");
        mode(folder.path(), 0o700);
        assert!(asked().await.unread[0].starts_with("a way through "), "{shut:?}");

        // With tables of our own it writes: the file, and its journal beside it.
        let migration =
            crate::Migration { mapping: crate::Mapping::default(), account: String::new(), has_change_log: false };
        crate::migrate(&settings.url, &migration, |_| {}).await.unwrap();
        mode(folder.path(), 0o750);
        mode(&path, 0o640);
        let told = asked().await.unwritten;
        assert!(
            told.len() == 2 && told[0].starts_with("to write /") && told[1].starts_with("to write beside "),
            "{told:?}"
        );
        mode(folder.path(), 0o770);
        mode(&path, 0o660);
        let writes = asked().await;
        assert!(writes.writes && writes.unwritten.is_empty() && writes.excess.is_empty(), "{writes:?}");
        mode(&path, 0o666);
        assert!(asked().await.excess[0].starts_with("everybody on this machine may write "));
    }
}
