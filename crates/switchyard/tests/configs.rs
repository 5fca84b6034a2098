//! Every file under fixtures/configs: the valid ones resolve, the invalid ones give exactly the faults that stand
//! beside them.
#![expect(clippy::unwrap_used, reason = "the lint's leave for tests does not reach the functions they share")]

use std::fs;
use std::path::{Path, PathBuf};
use switchyard::config::summary::Summary;
use switchyard::config::{self, Configuration, Faults};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/configs").join(name)
}

fn files(name: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
    files.sort();
    assert!(files.len() > 4, "{} has fixtures", folder(name).display());
    files
}

fn variables(name: &str) -> Option<String> {
    (name == "TEST_PASSWORD").then(|| "hunter2".to_owned())
}

fn read(path: &Path) -> Result<Configuration, Faults> {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    config::read(&name, &fs::read_to_string(path).unwrap(), &variables)
}

/// What `check` prints for a file: its faults, or what it means. With SWITCHYARD_BLESS=1 the expectation is written.
fn holds(path: &Path, printed: &str) {
    let beside = path.with_extension("expected");
    if std::env::var_os("SWITCHYARD_BLESS").is_some() {
        fs::write(&beside, format!("{printed}\n")).unwrap();
    }
    let expected = fs::read_to_string(&beside).unwrap_or_default();
    assert_eq!(format!("{printed}\n"), expected, "{}", path.display());
}

#[test]
fn every_invalid_file_gives_exactly_its_faults() {
    for path in files("invalid") {
        let faults = read(&path).expect_err(&path.display().to_string());
        holds(&path, &faults.to_string());
        assert!(!format!("{faults} {faults:?}").contains("hunter2"), "{}: no secret shows", path.display());
    }
}

#[test]
fn every_valid_file_means_exactly_what_is_said() {
    for path in files("valid") {
        let configuration = read(&path).unwrap_or_else(|faults| panic!("{faults}"));
        let file = path.file_name().unwrap().to_string_lossy();
        holds(&path, &Summary { file: &file, configuration: &configuration }.to_string());
    }
}
