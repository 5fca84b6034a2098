//! A thread of another process that hangs: stopped in the middle of what it does (ptrace(2)), as a loop without an end or
//! a lock that nobody lets go would hold it, while the process's other threads go on.
#![expect(clippy::unwrap_used, clippy::panic, reason = "it serves tests alone: a fault here is the test's failure")]

use crate::process::{PATIENCE, text_of, until};
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often it is seen whether the thread is still there.
const LOOKED_AT_EVERY: Duration = Duration::from_millis(20);

/// A thread that hangs until this is dropped, or its process ends.
#[derive(Debug)]
pub struct Hung {
    release: Option<Sender<()>>,
    tracer: Option<JoinHandle<()>>,
}

impl Hung {
    /// Hangs the thread of this name in `process`. It is this process's child, or we are root.
    pub fn thread(process: Pid, name: &str) -> Hung {
        let tasks = PathBuf::from(format!("/proc/{process}/task"));
        let all = std::fs::read_dir(&tasks).unwrap().map(|task| task.unwrap().path());
        let task = all.into_iter().find(|task| text_of(&task.join("comm")).trim() == name);
        let task = task.unwrap_or_else(|| panic!("{process} has no thread {name}"));
        let id = Pid::from_raw(task.file_name().unwrap().to_str().unwrap().parse().unwrap());
        let (release, released) = channel();
        let (told, stopped) = channel();
        // What one thread has stopped, the same thread lets go; at its end the kernel does.
        let tracer = std::thread::spawn(move || {
            told.send(ptrace::seize(id, ptrace::Options::empty()).and_then(|()| ptrace::interrupt(id))).unwrap();
            while released.recv_timeout(LOOKED_AT_EVERY) == Err(RecvTimeoutError::Timeout) {
                // A thread that has ended, with its process, is there for as long as its tracer has not seen that.
                let seen = waitpid(id, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL));
                if matches!(seen, Err(_) | Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..))) {
                    return;
                }
            }
        });
        stopped.recv().unwrap().unwrap();
        let stat = task.join("stat");
        let state = || text_of(&stat).rsplit(") ").next().and_then(|rest| rest.chars().next());
        until(|| format!("{name} to stop, found {:?}", state()), PATIENCE, || state() == Some('t'));
        Hung { release: Some(release), tracer: Some(tracer) }
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        drop(self.release.take());
        if let Some(tracer) = self.tracer.take() {
            let _ended = tracer.join();
        }
    }
}
