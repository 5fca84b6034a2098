//! What happens in a turn of the long run.

use crate::Places;
use crate::gauges::{METRICS, gauge};
use crate::peer::{COMES_AND_GOES, Running};
use crate::subject::{Profile, Program};
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use std::fmt;
use std::io::{ErrorKind, Write};
use std::net::{TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// One kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trouble {
    /// None: what the others are held against.
    None,
    /// SIGHUP: the configuration is read again.
    Reload,
    /// Another program changes a thousand rows of the directory, ten times.
    TableChanges,
    /// A server comes up by its probes, answers no call, and is gone.
    PeerDown,
    /// The database's file is not there, and is there again.
    DatabaseAway,
    /// Datagrams of a stranger.
    Strangers,
    /// Readers of `/metrics` who take nothing, and who do not end what they ask.
    SlowConsumers,
    /// The process stands still for a second: what arrives meanwhile waits or is sent again.
    Standstill,
    /// The process is killed and started again.
    Kill,
}

/// By turns. The kill comes early: what grows is judged of the process that is there at the end.
const ALL: [Trouble; 9] = [
    Trouble::None,
    Trouble::Kill,
    Trouble::Reload,
    Trouble::TableChanges,
    Trouble::PeerDown,
    Trouble::DatabaseAway,
    Trouble::Strangers,
    Trouble::SlowConsumers,
    Trouble::Standstill,
];

const SLOW_CONSUMERS: usize = 50;
const TABLE_CHANGES: usize = 10;
const STRANGER: &[u8] = b"INVITE sip:+918065978000@127.0.202.1 SIP/2.0\r\n\r\n";
/// A server that is up again and again is believed after eight probes, a second apart.
const BELIEVED_WITHIN: Duration = Duration::from_secs(20);

/// The program under test, and what stands around it.
pub(crate) struct Scene<'s> {
    pub(crate) places: &'s Places,
    pub(crate) folder: &'s Path,
    pub(crate) running: Running,
}

impl Trouble {
    pub(crate) fn all(kill: bool) -> impl Iterator<Item = Trouble> + Clone {
        ALL.into_iter().filter(move |trouble| kill || *trouble != Trouble::Kill)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Trouble::None => "nothing",
            Trouble::Reload => "reload",
            Trouble::TableChanges => "table changes",
            Trouble::PeerDown => "peer down",
            Trouble::DatabaseAway => "database away",
            Trouble::Strangers => "strangers",
            Trouble::SlowConsumers => "slow consumers",
            Trouble::Standstill => "standstill",
            Trouble::Kill => "kill -9",
        }
    }

    /// The part of a turn's calls that must complete. What a standstill or a kill loses in full buffers is sent again, and
    /// comes late: few calls may miss their time.
    pub(crate) fn must_complete(self) -> f64 {
        if matches!(self, Trouble::Standstill | Trouble::Kill) { 0.99 } else { 0.999 }
    }

    /// Makes it, and undoes it after `most` at the latest. Says what came of it; a fault that was not felt is an error.
    pub(crate) fn make(self, scene: &mut Scene<'_>, most: Duration) -> Result<String> {
        match self {
            Trouble::None => Ok(String::new()),
            Trouble::Reload => scene.running.signal(Signal::SIGHUP).map(|()| "SIGHUP".to_owned()),
            Trouble::TableChanges => table_changes(scene.folder, most),
            Trouble::PeerDown => peer_down(most),
            Trouble::DatabaseAway => database_away(scene.folder, most),
            Trouble::Strangers => strangers(most.min(Duration::from_secs(5))),
            Trouble::SlowConsumers => slow_consumers(most.min(Duration::from_secs(10))),
            Trouble::Standstill => {
                scene.running.signal(Signal::SIGSTOP)?;
                thread::sleep(Duration::from_secs(1));
                scene.running.signal(Signal::SIGCONT)?;
                Ok("SIGSTOP for 1 s".to_owned())
            }
            Trouble::Kill => {
                scene.running.kill()?;
                scene.running = Running::start(scene.places, Program::Switchyard(Profile::Soak), scene.folder)?;
                Ok("killed and started".to_owned())
            }
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Waits for a condition of the program under test; an error after `most`.
fn wait(most: Duration, what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let begun = Instant::now();
    while !is_so() {
        ensure!(begun.elapsed() < most, "{what}: not within {most:?}");
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn sqlite(folder: &Path, sql: &str) -> Result<()> {
    let status = Command::new("sqlite3").arg(folder.join("directory.db")).arg(sql).status()?;
    ensure!(status.success(), "sqlite3 could not do this: {sql}");
    Ok(())
}

fn table_changes(folder: &Path, most: Duration) -> Result<String> {
    let version = gauge("switchyard_directory_generation")?;
    for nth in 0..TABLE_CHANGES {
        let sql = format!(
            ".timeout 5000\nUPDATE did_numbers SET call_limit = CASE call_limit WHEN 0 THEN 100000 ELSE 0 END, \
             updated_at = datetime('now') WHERE rowid % 10 = {nth};"
        );
        let (timeout, update) = sql.split_once('\n').unwrap_or(("", &sql));
        let mut command = Command::new("sqlite3");
        command.args(["-cmd", timeout]).arg(folder.join("directory.db")).arg(update);
        ensure!(command.status()?.success(), "sqlite3 could not do this: {update}");
        thread::sleep(most / (2 * TABLE_CHANGES as u32));
    }
    wait(most, "the changes are in force", || gauge("switchyard_directory_generation").is_ok_and(|now| now > version))?;
    Ok(format!("{TABLE_CHANGES} times a thousand rows"))
}

/// The file is renamed, so that no process sees a half one, until that is felt; and back, until that is felt.
fn database_away(folder: &Path, most: Duration) -> Result<String> {
    let (here, away) = (folder.join("directory.db"), folder.join("directory.away"));
    std::fs::rename(&here, &away)?;
    let felt =
        wait(most, "the database is missed", || gauge("switchyard_directory_trouble").is_ok_and(|now| now > 0.0));
    thread::sleep(most / 4);
    std::fs::rename(&away, &here)?;
    felt?;
    wait(most, "the database is read again", || gauge("switchyard_directory_trouble").is_ok_and(|now| now == 0.0))?;
    sqlite(folder, "UPDATE did_numbers SET description = 'back', updated_at = datetime('now') WHERE rowid = 1;")?;
    Ok(format!("away for {:.0} s", (most / 4).as_secs_f64()))
}

/// Answers probes until the first call comes, keeps silent for a second, and goes.
fn peer_down(most: Duration) -> Result<String> {
    let socket = UdpSocket::bind(COMES_AND_GOES).with_context(|| format!("{COMES_AND_GOES} cannot be taken"))?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let begun = Instant::now();
    let (mut probes, mut calls, mut silent_since) = (0_u64, 0_u64, None::<Instant>);
    let mut bytes = [0; 8_192];
    while silent_since.is_none_or(|since| since.elapsed() < Duration::from_secs(1)) {
        ensure!(begun.elapsed() < most.max(BELIEVED_WITHIN), "{probes} probes were answered, and no call came");
        let (len, from) = match socket.recv_from(&mut bytes) {
            Ok(received) => received,
            Err(fault) if matches!(fault.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(fault) => bail!("{COMES_AND_GOES}: {fault}"),
        };
        let text = String::from_utf8_lossy(bytes.get(..len).unwrap_or_default());
        if text.starts_with("OPTIONS ") && silent_since.is_none() {
            probes += 1;
            socket.send_to(answer(&text).as_bytes(), from)?;
        } else if text.starts_with("INVITE ") {
            calls += 1;
            silent_since = silent_since.or_else(|| Some(Instant::now()));
        }
    }
    Ok(format!("up by {probes} probes, {calls} INVITEs met silence"))
}

/// 200 to a request: what RFC 3261 section 8.2.6.2 has copied, and a tag.
fn answer(request: &str) -> String {
    let mut out = String::from("SIP/2.0 200 OK\r\n");
    let head = request.split("\r\n\r\n").next().unwrap_or_default();
    for line in head.lines().skip(1) {
        let name = line.split(':').next().unwrap_or_default().trim().to_ascii_lowercase();
        if ["via", "from", "to", "call-id", "cseq"].contains(&name.as_str()) {
            out.push_str(line);
            if name == "to" && !line.contains(";tag=") {
                out.push_str(";tag=comes-and-goes");
            }
            out.push_str("\r\n");
        }
    }
    out + "Content-Length: 0\r\n\r\n"
}

fn strangers(time: Duration) -> Result<String> {
    let stranger = UdpSocket::bind("127.0.202.99:0")?;
    let begun = Instant::now();
    let mut sent = 0_u64;
    while begun.elapsed() < time {
        // What the kernel has no room for is lost, as a stranger's would be.
        sent += u64::from(stranger.send_to(STRANGER, "127.0.202.1:5060").is_ok());
        thread::sleep(Duration::from_micros(200));
    }
    ensure!(sent > 0, "no datagram could be sent");
    Ok(format!("{sent} datagrams"))
}

/// Half of them ask for the page again and again and read none of it; the others never end their question.
fn slow_consumers(time: Duration) -> Result<String> {
    let mut all = Vec::new();
    for nth in 0..SLOW_CONSUMERS {
        let mut stream = TcpStream::connect(METRICS).context("a slow consumer cannot connect")?;
        stream.set_nonblocking(true)?;
        let words: &[u8] = if nth % 2 == 0 {
            b"GET /metrics HTTP/1.1\r\nHost: switchyard\r\n\r\nGET /metrics HTTP/1.1\r\nHost: switchyard\r\n\r\n"
        } else {
            b"GET /metrics HTTP/1.1\r\nHost: swi"
        };
        stream.write_all(words)?;
        all.push(stream);
    }
    thread::sleep(time);
    Ok(format!("{} connections", all.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_answered_as_rfc_3261_has_it() {
        let request = "OPTIONS sip:a@127.0.202.6 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.202.1;branch=z9hG4bKa\r\nMax-Forwards: 70\r\n\
                       From: <sip:p@127.0.202.1>;tag=f\r\nTo: <sip:a@127.0.202.6>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n\r\n";
        let wanted = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.202.1;branch=z9hG4bKa\r\nFrom: <sip:p@127.0.202.1>;tag=f\r\n\
                      To: <sip:a@127.0.202.6>;tag=comes-and-goes\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(answer(request), wanted);
    }

    #[test]
    fn a_process_is_killed_only_where_that_was_asked_for() {
        assert!(Trouble::all(true).any(|trouble| trouble == Trouble::Kill));
        assert_eq!(Trouble::all(false).count() + 1, Trouble::all(true).count());
        assert!(!Trouble::all(false).any(|trouble| trouble == Trouble::Kill));
    }

    #[test]
    fn a_condition_that_never_comes_is_an_error() {
        let fault = wait(Duration::from_millis(1), "the sun is green", || false).unwrap_err();
        assert!(fault.to_string().contains("the sun is green: not within"), "{fault}");
    }
}
