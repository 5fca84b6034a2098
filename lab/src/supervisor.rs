//! systemd's part for one unit, on a machine of the lab: no systemd runs in a network namespace.
//!
//! It starts what the unit's files say and waits for `READY=1` (`Type=notify`), and stops by SIGTERM within
//! `TimeoutStopSec`. A script called `systemctl` in its folder of programs asks it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "it serves tests alone: a fault here is the test's failure")]

use crate::process::{PATIENCE, Place, Process, text_of, until};
use nix::sys::signal::Signal;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What ends the thread.
const END: &str = "end";

/// The keys of a unit, as its drop-ins leave them.
#[derive(Clone, Debug, Default)]
pub struct Unit {
    keys: Vec<(String, String)>,
}

/// A supervisor of one unit, and what it runs.
#[derive(Debug)]
pub struct Supervisor {
    folder: PathBuf,
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    unit: Unit,
    place: Place,
    running: Option<Process>,
    starts: u32,
}

impl Unit {
    /// Reads the unit and its drop-ins, in order. An empty value takes back those before it, as systemd has it.
    pub fn read(files: &[&str]) -> Unit {
        let mut unit = Unit::default();
        for (key, value) in files.iter().flat_map(|text| text.lines()).filter_map(|line| line.split_once('=')) {
            if value.is_empty() {
                unit.keys.retain(|(own, _)| own != key);
            } else if !key.starts_with('#') {
                unit.keys.push((key.to_owned(), value.to_owned()));
            }
        }
        unit
    }

    fn all<'u>(&'u self, key: &str) -> impl Iterator<Item = &'u str> {
        self.keys.iter().filter(move |(own, _)| own == key).map(|(_, value)| value.as_str())
    }

    /// The words of a command.
    fn command(&self, key: &str) -> Vec<String> {
        let line = self.all(key).last().unwrap_or_else(|| panic!("the unit has no {key}"));
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn seconds(&self, key: &str) -> Duration {
        let value = self.all(key).last().and_then(|value| value.parse().ok());
        Duration::from_secs(value.unwrap_or_else(|| panic!("the unit has no {key} in seconds")))
    }
}

impl Supervisor {
    /// Supervises `unit` at `place`; nothing runs before it is asked to start. `systemctl` is in [`Supervisor::programs`].
    pub fn of(place: &Place, unit: Unit) -> Supervisor {
        assert_eq!(unit.all("Type").last(), Some("notify"), "another type is started in another way");
        let folder = place.path("supervisor");
        std::fs::create_dir(&folder).unwrap();
        let script = folder.join("systemctl");
        std::fs::write(&script, include_str!("systemctl.sh")).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let made = Command::new("mkfifo").args(["asked", "answered"]).current_dir(&folder).status().unwrap();
        assert!(made.success(), "mkfifo, of coreutils");
        let state = State { unit, place: place.clone(), running: None, starts: 0 };
        let state = Arc::new(Mutex::new(state));
        let (own, asked) = (Arc::clone(&state), folder.clone());
        let thread = std::thread::spawn(move || answer(&asked, &own));
        Supervisor { folder, state, thread: Some(thread) }
    }

    /// The folder with `systemctl`, for a PATH.
    pub fn programs(&self) -> &Path {
        &self.folder
    }

    /// Starts the unit; false when it does not serve.
    pub fn start(&self) -> bool {
        locked(&self.state).start()
    }

    /// The process that runs, if one does.
    pub fn id(&self) -> Option<i32> {
        locked(&self.state).running.as_ref().map(|running| running.id().as_raw())
    }

    /// How often it has started something.
    pub fn starts(&self) -> u32 {
        locked(&self.state).starts
    }

    /// What the process of this start has logged.
    pub fn log(&self, start: u32) -> String {
        text_of(&log_of(&locked(&self.state).place, start))
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // A test that failed while a script was answered leaves the thread: it goes with the process.
        if !std::thread::panicking() {
            std::fs::write(self.folder.join("asked"), format!("{END}\n")).unwrap();
            self.thread.take().unwrap().join().unwrap();
        }
        locked(&self.state).running = None;
    }
}

/// Takes one question after the other until it is told to end.
fn answer(folder: &Path, state: &Mutex<State>) {
    loop {
        let asked = std::fs::read_to_string(folder.join("asked")).unwrap();
        let is_good = match asked.trim() {
            END => return,
            "reset-failed switchyard.service" => true,
            "restart switchyard.service" => {
                let mut state = locked(state);
                state.stop();
                state.start()
            }
            other => panic!("systemctl {other}: the supervisor knows no such thing"),
        };
        std::fs::write(folder.join("answered"), if is_good { "0\n" } else { "1\n" }).unwrap();
    }
}

impl State {
    /// ExecStartPre, ExecStart, and `READY=1` within TimeoutStartSec.
    fn start(&mut self) -> bool {
        let before = self.unit.command("ExecStartPre");
        if !self.command(&before).status().unwrap().success() {
            return false;
        }
        self.starts += 1;
        let path = self.place.path(&format!("notify-{}", self.starts));
        let ear = UnixDatagram::bind(&path).unwrap();
        ear.set_nonblocking(true).unwrap();
        let words = self.unit.command("ExecStart");
        let mut command = self.command(&words);
        command.env("NOTIFY_SOCKET", &path).env_remove("RUST_LOG").env_remove("ASTRADIAL_ENV");
        let mut process = Process::start(&mut command, &log_of(&self.place, self.starts), "switchyard");
        let (limit, begun) = (self.unit.seconds("TimeoutStartSec"), Instant::now());
        while begun.elapsed() < limit {
            if process.has_ended() {
                return false;
            }
            let mut slot = [0; 512];
            let said = ear.recv(&mut slot).map(|len| String::from_utf8_lossy(slot.get(..len).unwrap()).into_owned());
            if said.is_ok_and(|said| said.lines().any(|line| line == "READY=1")) {
                self.running = Some(process);
                return true;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        false
    }

    /// SIGTERM, and SIGKILL after TimeoutStopSec.
    fn stop(&mut self) {
        let Some(mut running) = self.running.take() else { return };
        running.signal(Signal::SIGTERM);
        let limit = self.unit.seconds("TimeoutStopSec");
        let begun = Instant::now();
        let id = running.id();
        until(|| format!("the end of {id}"), limit + PATIENCE, || running.has_ended() || begun.elapsed() > limit);
    }

    fn command(&self, words: &[String]) -> Command {
        let (program, arguments) = words.split_first().unwrap();
        let mut command = self.place.command(program);
        command.args(arguments);
        command
    }
}

fn log_of(place: &Place, start: u32) -> PathBuf {
    place.path(&format!("supervised-{start}.log"))
}

fn locked(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
