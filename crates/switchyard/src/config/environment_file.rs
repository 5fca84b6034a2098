//! The file `environment` beside the configuration, which systemd reads for the service (`EnvironmentFile=`). Commands
//! read it too where they may, so that `check` and `doctor` mean the configuration that the service means.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Its name.
const FILE_NAME: &str = "environment";
/// Its size, at most.
const FILE_BYTES: u64 = 65_536;

/// The variables of this process; for those that are not set, the file beside the configuration at `path`. A file that
/// cannot be read, or that has another owner than the configuration, says nothing.
pub(crate) fn variables(path: &Path) -> impl Fn(&str) -> Option<String> + use<> {
    let kept = beside(path).unwrap_or_default();
    move |name| std::env::var(name).ok().or_else(|| kept.get(name).cloned())
}

fn beside(path: &Path) -> Option<HashMap<String, String>> {
    let file = File::open(path.with_file_name(FILE_NAME)).ok()?;
    // A configuration that is not there yet, as for `init`, has the owner of its folder.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let owner = fs::metadata(path).or_else(|_| fs::metadata(folder)).ok()?.uid();
    if file.metadata().ok()?.uid() != owner {
        return None;
    }
    let mut text = String::new();
    file.take(FILE_BYTES).read_to_string(&mut text).ok()?;
    Some(text.lines().filter_map(assignment).collect())
}

/// Name and value of a line as systemd.exec(5) reads it; a value goes no further than its line.
fn assignment(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    if line.starts_with(['#', ';']) {
        return None;
    }
    let (name, value) = line.split_once('=')?;
    Some((name.trim_end().to_owned(), unquoted(value.trim_start())))
}

/// Quotes go, and backslashes where they shield: before anything outside quotes, before `"`, `\`, `$` and a backtick
/// in double quotes, nowhere in single quotes.
fn unquoted(text: &str) -> String {
    let mut out = String::new();
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            (None, '\\') => out.extend(letters.next()),
            (Some('"'), '\\') => match letters.next() {
                Some(shielded @ ('"' | '\\' | '$' | '`')) => out.push(shielded),
                other => out.extend(std::iter::once('\\').chain(other)),
            },
            _ => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_systemd_reads_them() {
        for (line, value) in [
            ("A=plain", "plain"),
            ("  A = spaced out ", "spaced out"),
            ("A=", ""),
            ("A=p%40ss=word#1", "p%40ss=word#1"),
            ("A='sin\\gle \"$x\"'", "sin\\gle \"$x\""),
            ("A=\"dou\\\"ble \\$x \\n\"", "dou\"ble $x \\n"),
            ("A=back\\\\slash", "back\\slash"),
        ] {
            assert_eq!(assignment(line), Some(("A".to_owned(), value.to_owned())), "{line}");
        }
        for line in ["# A=1", "; A=1", "", "A"] {
            assert_eq!(assignment(line), None, "{line}");
        }
    }

    #[test]
    fn the_file_says_what_the_process_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("switchyard.toml");
        let kept = "SWITCHYARD_TEST_KEPT=s3cret\nPATH=/elsewhere\n";
        fs::write(folder.path().join(FILE_NAME), kept).unwrap();
        // Before the configuration is there, and then.
        for _ in 0..2 {
            let variable = variables(&path);
            assert_eq!(variable("SWITCHYARD_TEST_KEPT").as_deref(), Some("s3cret"));
            assert_ne!(variable("PATH").as_deref(), Some("/elsewhere"));
            assert_eq!(variable("SWITCHYARD_TEST_NOWHERE"), None);
            fs::write(&path, "").unwrap();
        }
        assert_eq!(variables(Path::new("/nowhere/switchyard.toml"))("SWITCHYARD_TEST_KEPT"), None);
    }

    #[test]
    fn a_stranger_s_file_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("switchyard.toml");
        let strange = folder.path().join(FILE_NAME);
        fs::write(&strange, "SWITCHYARD_TEST_KEPT=planted\n").unwrap();
        if nix::unistd::geteuid().is_root() {
            fs::write(&path, "").unwrap();
            std::os::unix::fs::chown(&strange, Some(65_534), None).unwrap();
        } else {
            // A configuration of root's beside a file of ours.
            std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        }
        assert_eq!(variables(&path)("SWITCHYARD_TEST_KEPT"), None);
    }
}
