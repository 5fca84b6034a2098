//! One run of SIPp with a scenario of `fixtures/sipp`.

use crate::process::{Place, Process, text_of};
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

/// Calls up to this many keep their messages, for tests to read.
const MESSAGES_OF_CALLS: u32 = 1_000;

/// A SIPp process: one side of some calls.
#[derive(Debug)]
pub struct Party {
    process: Process,
    name: String,
    calls: u32,
    folder: PathBuf,
}

/// What a caller does, besides its scenario.
#[derive(Clone, Copy, Debug)]
pub struct Calls<'a> {
    /// The number that is called.
    pub number: &'a str,
    /// Calls in all.
    pub count: u32,
    /// Calls that begin per second.
    pub per_second: u32,
    /// What SIPp is told besides.
    pub more: &'a [&'a str],
}

/// Values of a scenario's keywords: what stands for `[from]` in it, say.
pub type Keys<'a> = [(&'a str, &'a str); 4];

impl<'a> Calls<'a> {
    /// One call.
    pub fn one(number: &'a str) -> Calls<'a> {
        Calls { number, count: 1, per_second: 10, more: &[] }
    }
}

impl Party {
    /// Waits for `calls` calls at `address`; returns when it is ready for the first.
    pub fn callee(place: &impl AsRef<Place>, scenario: &str, address: SocketAddrV4, calls: u32) -> Party {
        Party::callee_with(place, scenario, address, calls, &[])
    }

    /// The same, and SIPp is told `more`.
    pub fn callee_with(
        place: &impl AsRef<Place>,
        scenario: &str,
        address: SocketAddrV4,
        calls: u32,
        more: &[&str],
    ) -> Party {
        let name = format!("{scenario}.callee");
        let mut party = Party::start(place.as_ref(), &name, address, calls, more);
        party.process.bound(address);
        party
    }

    /// One call at `address`, over UDP or TCP.
    pub fn callee_over(place: &impl AsRef<Place>, transport: &str, scenario: &str, address: SocketAddrV4) -> Party {
        let mode = if transport == "tcp" { "t1" } else { "u1" };
        let mut party = Party::start(place.as_ref(), &format!("{scenario}.callee"), address, 1, &["-t", mode]);
        party.process.bound_over(transport, address);
        party
    }

    /// One call over UDP or TCP from the first address by way of the second, with the values of a scenario's keywords.
    pub fn pbx_over(
        place: &impl AsRef<Place>,
        transport: &str,
        scenario: &str,
        (address, next): (SocketAddrV4, SocketAddrV4),
        number: &str,
        keys: &Keys<'_>,
    ) -> Party {
        let (next, mode) = (next.to_string(), if transport == "tcp" { "t1" } else { "u1" });
        let mut more = vec![next.as_str(), "-s", number, "-t", mode];
        keys.iter().for_each(|(key, value)| more.extend(["-key", key, value]));
        Party::start(place.as_ref(), &format!("{scenario}.caller"), address, 1, &more)
    }

    /// Calls from `address` to a number by way of `next`.
    pub fn caller(
        place: &impl AsRef<Place>,
        scenario: &str,
        address: SocketAddrV4,
        next: SocketAddrV4,
        calls: Calls<'_>,
    ) -> Party {
        let (next, rate) = (next.to_string(), calls.per_second.to_string());
        let mut more = vec![next.as_str(), "-s", calls.number, "-r", &rate, "-l", "2000"];
        more.extend(calls.more);
        Party::start(place.as_ref(), &format!("{scenario}.caller"), address, calls.count, &more)
    }

    fn start(place: &Place, name: &str, address: SocketAddrV4, calls: u32, more: &[&str]) -> Party {
        let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../fixtures/sipp/{name}.xml"));
        let folder = place.path(&format!("{name}-{}", address.ip()));
        let _may_be_there = std::fs::create_dir(&folder);
        let mut command = place.command("sipp");
        command.args(more).arg("-sf").arg(scenario).args(["-i", &address.ip().to_string()]);
        command.args(["-p", &address.port().to_string(), "-mi", &address.ip().to_string()]);
        command.args(["-m", &calls.to_string(), "-timeout", "100s", "-timeout_error", "-recv_timeout", "40000"]);
        // As long as Timer B and Timer F let it.
        command.args(["-max_invite_retrans", "7", "-max_non_invite_retrans", "11"]);
        command.args(["-nostdin", "-trace_err", "-error_file"]).arg(folder.join("errors"));
        command.args(["-trace_stat", "-fd", "3600", "-stf"]).arg(folder.join("counts"));
        if calls < MESSAGES_OF_CALLS {
            command.args(["-trace_msg", "-message_file"]).arg(folder.join("messages"));
        }
        let process = Process::start(command.current_dir(&folder), &folder.join("screen"), "sip-tester");
        Party { process, name: format!("{name} at {address}"), calls, folder }
    }

    /// What it sent and received so far, if it has few calls.
    pub fn messages(&self) -> String {
        text_of(&self.folder.join("messages"))
    }

    /// Waits for its end: every call must have gone by the scenario, and there must have been as many as were meant.
    /// Returns what it sent and received, if it had few calls.
    pub fn succeeded(mut self) -> String {
        let status = self.process.ended();
        let messages = self.messages();
        let counts = text_of(&self.folder.join("counts"));
        let count = |column| last_of(&counts, column);
        let found = (status.code(), count("TotalCallCreated"), count("SuccessfulCall(C)"), count("FailedCall(C)"));
        let expected = (Some(0), Some(self.calls), Some(self.calls), Some(0));
        let shown = if self.calls < 10 { messages.as_str() } else { "" };
        assert!(
            found == expected,
            "{}: (exit code, calls, of these succeeded, failed) is {found:?}, expected {expected:?}\n{}\n{shown}\n{}",
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
