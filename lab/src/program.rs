//! The program under test: `switchyard` with a configuration and the made-up directory.
#![expect(clippy::unwrap_used, reason = "it serves tests alone: a fault here is the test's failure")]

use crate::process::{PATIENCE, Place, Process, text_of, until};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The configuration of the lab's proxy; `${FOLDER}` is where it keeps its state.
pub const CONFIGURATION: &str = include_str!("../switchyard.toml");

/// A running `switchyard`.
#[derive(Debug)]
pub struct Program {
    place: Place,
    binary: PathBuf,
    process: Process,
    /// How often it has been started.
    starts: u32,
}

/// The reference rows limit calls at one time; who tests networks and load wants to see every call.
const UNLIMITED: &str = "UPDATE organizations SET limits = NULL; UPDATE did_numbers SET call_limit = 0;";

impl Program {
    /// Writes the configuration (`${FOLDER}` in it is the place's folder) and the directory, starts `binary`, and waits
    /// until it serves.
    pub fn start(place: &Place, binary: &Path, configuration: &str) -> Program {
        Program::prepare(place, configuration);
        Program::start_prepared(place, binary)
    }

    /// Writes the configuration and the directory, and starts nothing.
    pub fn prepare(place: &Place, configuration: &str) {
        let folder = place.path("");
        let folder = folder.to_str().unwrap().trim_end_matches('/');
        std::fs::write(place.path(CONFIG), configuration.replace("${FOLDER}", folder)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let scripts = [sync::schema::SQLITE_TABLES, sync::schema::ROWS, UNLIMITED];
        runtime.block_on(sync::schema::run(&place.path("directory.db"), &scripts)).unwrap();
    }

    /// Starts `binary` with what was prepared, and waits until it serves.
    pub fn start_prepared(place: &Place, binary: &Path) -> Program {
        let process = started(place, binary, 1);
        Program { place: place.clone(), binary: binary.to_owned(), process, starts: 1 }
    }

    /// Ends it with SIGKILL and starts it again; returns when it serves.
    pub fn kill_and_restart(&mut self) {
        self.process.signal(Signal::SIGKILL);
        self.process.ended();
        self.starts += 1;
        self.process = started(&self.place, &self.binary, self.starts);
    }

    /// Its process id.
    pub fn id(&self) -> Pid {
        self.process.id()
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        // A child that has ended is there until it is waited for, as a zombie.
        let state = text_of(&PathBuf::from(format!("/proc/{}/stat", self.process.id())));
        state.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with('Z'))
    }

    /// What it has logged since its last start.
    pub fn log(&self) -> String {
        text_of(&log_of(&self.place, self.starts))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// The value of one counter, by the words that `switchyard status` shows it under: `in dialog: BYE`.
    pub fn count(&self, words: &str) -> u64 {
        let mut command = Command::new(&self.binary);
        let output = command.args(["status", "--config"]).arg(self.place.path(CONFIG)).output().unwrap();
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "status failed: {}", String::from_utf8_lossy(&output.stderr));
        let value = |line: &str| line.trim().strip_prefix(words)?.strip_prefix(' ')?.trim().parse().ok();
        // What is zero is not shown.
        shown.lines().find_map(value).unwrap_or(0)
    }
}

const CONFIG: &str = "switchyard.toml";

fn log_of(place: &Place, start: u32) -> PathBuf {
    place.path(&format!("switchyard-{start}.log"))
}

fn started(place: &Place, binary: &Path, start: u32) -> Process {
    let log = log_of(place, start);
    let mut command = place.command(binary.to_str().unwrap());
    command.args(["run", "--config"]).arg(place.path(CONFIG)).env_remove("RUST_LOG").env_remove("ASTRADIAL_ENV");
    let process = Process::start(&mut command, &log, "switchyard");
    until(
        || format!("switchyard to serve\n{}", text_of(&log)),
        PATIENCE,
        || {
            // The first look at the database may end after the start.
            let text = text_of(&log);
            text.contains("switchyard serves") && text.contains("directory published")
        },
    );
    process
}
