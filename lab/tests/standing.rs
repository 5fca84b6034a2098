//! That a lab stands when it is asked to, and that nothing of it stays behind, however it ends.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "the lint's leave for tests does not reach the functions they share"
)]

use lab::process::{PATIENCE, until};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// Everything of a run that could be left: namespaces, processes in them, its folder.
fn left(run: &str) -> Vec<String> {
    let listed = Command::new("ip").args(["netns", "list"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let namespaces = listed.lines().filter(|line| line.starts_with(run)).map(str::to_owned);
    let folder = std::env::temp_dir().join(run);
    namespaces.chain(folder.exists().then(|| folder.display().to_string())).collect()
}

/// The ids of processes that name the run on their command line: in its namespaces, or its guardian.
fn processes(run: &str) -> Vec<String> {
    let names = |entry: &std::fs::DirEntry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(run)
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter(names).map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// A program that holds a lab up and prints its name: this test's own, told to by the environment.
fn holder() -> (std::process::Child, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["holds_a_lab_up_when_told_to", "--exact", "--nocapture"]).env("LAB_HOLD", "1");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let run = lines.map_while(Result::ok).find_map(|line| Some(line.split_once("folder: ")?.1.to_owned()));
    let run = run.expect("the lab came up");
    (child, Path::new(&run).file_name().unwrap().to_str().unwrap().to_owned())
}

/// The other half of [`holder`]; by itself it sees that a lab which was dropped is gone at once.
#[test]
fn holds_a_lab_up_when_told_to() {
    let lab = lab::Lab::up_beside_others(1).unwrap();
    let run = lab.folder().file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(left(&run).len(), 6, "five namespaces and a folder");
    if std::env::var_os("LAB_HOLD").is_some() {
        println!("folder: {}", lab.folder().display());
        let _held = std::io::stdin().read_line(&mut String::new());
    }
    drop(lab);
    assert_eq!(left(&run), [""; 0]);
}

#[test]
fn nothing_stays_behind_when_its_process_is_killed() {
    let (mut child, run) = holder();
    assert!(!processes(&run).is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    until(|| format!("{:?} to go", left(&run)), PATIENCE, || left(&run).is_empty());
    until(|| format!("processes {:?} to go", processes(&run)), PATIENCE, || processes(&run).is_empty());
}

#[test]
fn nothing_stays_behind_after_an_interrupt() {
    let (mut child, run) = holder();
    let id = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGINT).unwrap();
    child.wait().unwrap();
    until(|| format!("{:?} to go", left(&run)), PATIENCE, || left(&run).is_empty());
}

/// The next run takes away what one has left whose guardian was killed with it.
#[test]
fn what_a_guardian_could_not_take_away_the_next_run_does() {
    let (mut child, run) = holder();
    for id in processes(&run) {
        let guards = std::fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|name| name.trim() == "sh");
        if guards {
            let id = nix::unistd::Pid::from_raw(id.parse().unwrap());
            nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGKILL).unwrap();
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // Another test's lab may have come first.
    lab::sweep().unwrap();
    assert_eq!(left(&run), [""; 0]);
}

/// The program that a standing lab runs: beside this test, if it has been built, else built now.
fn switchyard() -> std::path::PathBuf {
    let own = std::env::current_exe().unwrap();
    let binary = own.ancestors().nth(2).unwrap().join("switchyard");
    if !binary.exists() {
        let built = Command::new(env!("CARGO")).args(["build", "--quiet", "--package", "switchyard"]).status().unwrap();
        assert!(built.success() && binary.exists(), "{} was not built", binary.display());
    }
    binary
}

/// Runs the lab's own program to the end of all it prints; so it must leave no pipe open. It knows of labs in `home` alone, not
/// of one that somebody looks at.
fn told(home: &Path, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_lab")).args(arguments).env("TMPDIR", home).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

/// What `cargo xtask lab --shell` starts: it stands, is entered as it says, and goes when it is told to.
#[test]
fn a_lab_to_look_at_stands_is_entered_and_goes() {
    let home = tempfile::tempdir().unwrap();
    let told = |arguments: &[&str]| told(home.path(), arguments);
    let shown = told(&["up", "--seed", "7", "--binary", switchyard().to_str().unwrap()]);
    let enter = shown.lines().find_map(|line| line.split_once("10.10.10.1  ")?.1.strip_suffix(" prod")).unwrap();
    let folder = Path::new(enter).parent().unwrap();
    let run = folder.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(left(&run).len() == 5 && !processes(&run).is_empty(), "five namespaces: {:?}", left(&run));

    let entered = |words: &[&str]| {
        let output = Command::new(enter).args(words).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    let (_, shown) = entered(&["prod", "wg", "show"]);
    assert!(shown.starts_with("interface: wg0") && shown.matches("latest handshake:").count() == 3, "{shown}");
    assert!(!entered(&["elsewhere", "true"]).0);

    told(&["impair", "staging", "cut"]);
    assert!(told(&["counts"]).contains(" cut: 0,"));
    assert!(entered(&["staging", "bash", "-c", "echo lost > /dev/udp/10.10.10.1/9"]).0);
    until(|| "a datagram to be cut".to_owned(), PATIENCE, || !told(&["counts"]).contains(" cut: 0,"));
    assert!(told(&["impair", "clean"]).contains("down=0ms"));

    told(&["down"]);
    assert!(left(&run).is_empty() && !folder.exists(), "{:?}", left(&run));
    until(|| format!("processes {:?} to go", processes(&run)), PATIENCE, || processes(&run).is_empty());
}
