//! One run of SIPp with a scenario of `fixtures/sipp`.

use super::{Process, Stage, bound, bound_in, text_of};
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A SIPp process: one side of some calls.
pub(crate) struct Party {
    process: Process,
    name: String,
    calls: u32,
    folder: PathBuf,
}

/// What a caller does, besides its scenario.
#[derive(Clone, Copy)]
pub(crate) struct Calls<'a> {
    pub(crate) number: &'a str,
    pub(crate) count: u32,
    pub(crate) per_second: u32,
}

/// What stands for `[from]`, `[identity]`, `[privacy]` and `[diversion]` in the scenarios `out-*`.
pub(crate) type Keys<'a> = [(&'a str, &'a str); 4];

impl<'a> Calls<'a> {
    pub(crate) fn one(number: &'a str) -> Calls<'a> {
        Calls { number, count: 1, per_second: 10 }
    }
}

impl Party {
    /// Waits for `calls` calls at `address`; returns when it is ready for the first.
    pub(crate) fn callee(stage: &Stage, scenario: &str, address: SocketAddrV4, calls: u32) -> Party {
        let name = format!("{scenario}.callee");
        let party = Party::start(stage, &name, address, calls, &[]);
        bound(address);
        party
    }

    /// One call at `address`, over UDP or TCP.
    pub(crate) fn callee_over(stage: &Stage, transport: &str, scenario: &str, address: SocketAddrV4) -> Party {
        let mode = if transport == "tcp" { "t1" } else { "u1" };
        let party = Party::start(stage, &format!("{scenario}.callee"), address, 1, &["-t", mode]);
        bound_in(&format!("/proc/net/{transport}"), address);
        party
    }

    /// One call over UDP or TCP from the first address by way of the second, with the values of a scenario's keywords.
    pub(crate) fn pbx_over(
        stage: &Stage,
        transport: &str,
        scenario: &str,
        (address, next): (SocketAddrV4, SocketAddrV4),
        number: &str,
        keys: &Keys<'_>,
    ) -> Party {
        let (next, mode) = (next.to_string(), if transport == "tcp" { "t1" } else { "u1" });
        let mut more = vec![next.as_str(), "-s", number, "-t", mode];
        keys.iter().for_each(|(key, value)| more.extend(["-key", key, value]));
        Party::start(stage, &format!("{scenario}.caller"), address, 1, &more)
    }

    /// Calls from `address` to a number by way of `next`.
    pub(crate) fn caller(
        stage: &Stage,
        scenario: &str,
        address: SocketAddrV4,
        next: SocketAddrV4,
        calls: Calls<'_>,
    ) -> Party {
        let (next, rate) = (next.to_string(), calls.per_second.to_string());
        let more = [next.as_str(), "-s", calls.number, "-r", &rate, "-l", "2000"];
        Party::start(stage, &format!("{scenario}.caller"), address, calls.count, &more)
    }

    fn start(stage: &Stage, name: &str, address: SocketAddrV4, calls: u32, more: &[&str]) -> Party {
        let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../fixtures/sipp/{name}.xml"));
        let folder = stage.path(&format!("{name}-{}", address.ip()));
        let _may_be_there = std::fs::create_dir(&folder);
        let mut command = Command::new("sipp");
        command.args(more).arg("-sf").arg(scenario).args(["-i", &address.ip().to_string()]);
        command.args(["-p", &address.port().to_string(), "-mi", &address.ip().to_string()]);
        command.args(["-m", &calls.to_string(), "-timeout", "30s", "-timeout_error", "-recv_timeout", "15000"]);
        command.args(["-nostdin", "-trace_err", "-error_file"]).arg(folder.join("errors"));
        command.args(["-trace_stat", "-fd", "3600", "-stf"]).arg(folder.join("counts"));
        if calls < 10 {
            command.args(["-trace_msg", "-message_file"]).arg(folder.join("messages"));
        }
        let process = Process::start(command.current_dir(&folder), &folder.join("screen"), "sip-tester");
        Party { process, name: format!("{name} at {address}"), calls, folder }
    }

    /// Waits for its end: every call must have gone by the scenario, and there must have been as many as were meant.
    /// Returns what it sent and received, if it had few calls.
    pub(crate) fn succeeded(mut self) -> String {
        let status = self.process.ended();
        let messages = text_of(&self.folder.join("messages"));
        let counts = text_of(&self.folder.join("counts"));
        let count = |column| last_of(&counts, column);
        let found = (status.code(), count("TotalCallCreated"), count("SuccessfulCall(C)"), count("FailedCall(C)"));
        let expected = (Some(0), Some(self.calls), Some(self.calls), Some(0));
        assert!(
            found == expected,
            "{}: (exit code, calls, of these succeeded, failed) is {found:?}, expected {expected:?}\n{}\n{messages}\n{}",
            self.name,
            text_of(&self.folder.join("errors")),
            text_of(&self.folder.join("screen")),
        );
        messages
    }
}

/// The last value of a column of SIPp's statistics: `;` between values, the first line has the names.
fn last_of(counts: &str, column: &str) -> Option<u32> {
    let mut lines = counts.lines();
    let at = lines.next()?.split(';').position(|name| name == column)?;
    lines.next_back()?.split(';').nth(at)?.parse().ok()
}
