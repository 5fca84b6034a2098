//! The long run, for three minutes: every fault once, a kill among them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Our program: that of the full set, else the one that was built beside this test.
fn switchyard() -> PathBuf {
    let beside = || Path::new(env!("CARGO_BIN_EXE_load")).with_file_name("switchyard");
    std::env::var_os("SWITCHYARD_RELEASE").map_or_else(beside, PathBuf::from)
}

/// Calls go on through a reload, changes of the table, a server that comes up and is gone, a database that is away,
/// strangers, slow consumers, a standstill and a kill: the verdict is good, and it says so in files.
#[test]
#[ignore = "full set: three minutes on both cores"]
fn h12_a_soak_with_rolling_faults_ends_well() {
    let results = tempfile::tempdir().unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_load")).parent().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_measure"))
        .args(["--programs".as_ref(), programs, "--results".as_ref(), results.path()])
        .arg("--switchyard")
        .arg(switchyard())
        .args(["soak", "--minutes", "3", "--turn-seconds", "20", "--rate", "100", "--kill"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let faults = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}{faults}");
    assert!(told.contains("verdict: good"), "{told}{faults}");
    let read = |name: &str| std::fs::read_to_string(results.path().join(name)).unwrap();
    let page = read("soak.md");
    for fault in ["kill -9", "peer down", "database away", "table changes", "slow consumers", "standstill"] {
        assert!(page.contains(&format!("| {fault} |")), "{page}");
    }
    assert!(read("soak.csv").lines().count() > 60 && read("soak.svg").contains("open files"));
}
