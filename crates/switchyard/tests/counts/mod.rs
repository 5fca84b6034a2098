//! What is counted outlives the process: calls at one time, session timers, and the calls of a day.

use crate::{Bench, PATIENCE, Program, header, heard};
use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

/// Who has as many calls as it may have: rows, configuration, and the phrase of the refusal.
struct Limited {
    net: u8,
    rows: &'static str,
    config: &'static str,
    phrase: &'static str,
}

/// Each has two calls at one time and no more.
const LIMITED: [Limited; 5] = [
    Limited {
        net: 77,
        rows: "UPDATE did_numbers SET call_limit = 2;",
        config: "",
        phrase: "486 Number Has All Its Calls",
    },
    Limited {
        net: 78,
        rows: "UPDATE organizations SET limits = '{\"concurrent_calls\": 2}';",
        config: "",
        phrase: "486 Organisation Has All Its Calls",
    },
    Limited {
        net: 79,
        rows: "",
        config: "[environments.prod.quota]\nmax_channels = 2\n",
        phrase: "486 Environment Has All Its Calls",
    },
    Limited { net: 80, rows: "", config: "[trunk.quota]\nmax_channels = 2\n", phrase: "486 Trunk Has All Its Calls" },
    Limited {
        net: 81,
        rows: "",
        config: "[trunk.quota]\ngateway_channels = [2]\n",
        phrase: "486 Gateways Have All Their Calls",
    },
];

/// A bench with these rows and these tables of configuration.
fn limited(net: u8, rows: &'static str, config: &str) -> Bench {
    let mut bench = Bench::new(net, "adopt_for = \"0s\"");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if !rows.is_empty() {
        runtime.block_on(sync::schema::run(&bench.folder.path().join("directory.db"), &[rows])).unwrap();
    }
    let text = std::fs::read_to_string(&bench.config).unwrap();
    std::fs::write(&bench.config, text + config).unwrap();
    bench.kill_and_start_again();
    bench
}

impl Bench {
    /// One call more is refused with this status and phrase.
    fn is_full(&self, call: &str, phrase: &str) {
        let refused = self.refused(call);
        assert!(refused.starts_with(&format!("SIP/2.0 {phrase}")), "{call}: {refused}");
        self.gateway.send_to(ack_of(&self.invite(call), &refused).as_bytes(), self.proxy).unwrap();
    }

    /// Waits until so many lines with this text stand in the journal: what is still on its way to the disk dies with kill -9.
    fn until_noted(&self, text: &str, count: usize) {
        let (path, until) = (self.folder.path().join("calls.journal"), Instant::now() + PATIENCE);
        loop {
            let journal = std::fs::read_to_string(&path).unwrap_or_default();
            if journal.matches(text).count() >= count {
                return;
            }
            assert!(Instant::now() < until, "{count} of {text} are not in the journal: {journal}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGTERM, the end of the drain, and a new process.
    fn drain_and_start_again(&mut self) {
        self.program.signal(Signal::SIGTERM);
        assert!(self.program.child.wait().unwrap().success());
        self.program = Program::start(&self.config);
        self.until_ready();
    }

    /// Two calls are up and one more is refused; after `restart` that is still so, and the BYE of an old call, of either
    /// side, makes room for one.
    fn counts_come_back(mut self, phrase: &str, restart: impl FnOnce(&mut Bench)) {
        let first = self.establish("first");
        let second = self.establish("second");
        self.is_full("before", phrase);
        self.until_noted("\"entry\":\"answered\"", 2);
        restart(&mut self);
        self.is_full("after", phrase);
        self.caller_ends("first", &first.0);
        let third = self.establish("third");
        self.is_full("with-the-third", phrase);
        self.callee_ends("second", &second.1);
        self.establish("fourth");
        self.is_full("with-the-fourth", phrase);
        self.caller_ends("third", &third.0);
        self.establish("fifth");
    }

    /// An outbound call that the carrier refuses as busy. What the PBX got: `100` was let in.
    fn calls_out(&self, call: &str) -> String {
        let (pbx, gateway) = (self.pbx.local_addr().unwrap(), self.gateway.local_addr().unwrap());
        let invite = self.invite(call).replace(&gateway.to_string(), &pbx.to_string());
        let invite = invite.replace("+447700900123", "+918065978001").replace("+918065978000", "+447700900456");
        self.pbx.send_to(invite.as_bytes(), self.proxy).unwrap();
        let answer = heard(&self.pbx, "SIP/2.0 ", call);
        if !answer.starts_with("SIP/2.0 100 ") {
            self.pbx.send_to(ack_of(&invite, &answer).as_bytes(), self.proxy).unwrap();
            return answer;
        }
        let arrived = heard(&self.gateway, "INVITE ", call);
        let busy = crate::reply(&arrived, "486 Busy Here", gateway);
        self.gateway.send_to(busy.as_bytes(), self.proxy).unwrap();
        let refused = heard(&self.pbx, "SIP/2.0 486 ", call);
        self.pbx.send_to(ack_of(&invite, &refused).as_bytes(), self.proxy).unwrap();
        answer
    }
}

/// The ACK to a failure, on the INVITE's branch.
fn ack_of(invite: &str, failure: &str) -> String {
    let (own, theirs) = (header(invite, "To")[0], header(failure, "To")[0]);
    let ack = invite.replace("INVITE sip:", "ACK sip:").replace("1 INVITE", "1 ACK");
    ack.replace(&format!("To: {own}"), &format!("To: {theirs}"))
}

/// Rows H1 and I9: killed with calls up at a limit, of each kind. The counts are back with the new process, and end with
/// the calls of before.
#[test]
fn h1_counts_outlive_kill_9() {
    for Limited { net, rows, config, phrase } in LIMITED {
        limited(net, rows, config).counts_come_back(phrase, |bench| {
            bench.kill_and_start_again();
        });
    }
}

/// Rows H2 and I9: the same when the process is drained and replaced.
#[test]
fn h2_counts_outlive_a_restart_for_an_upgrade() {
    for Limited { net, rows, config, phrase } in LIMITED.into_iter().take(3) {
        let config = format!("{config}[limits]\ndrain_limit = \"1s\"\n");
        limited(net + 10, rows, &config).counts_come_back(phrase, Bench::drain_and_start_again);
    }
}

/// Rows H1 and I9: a call whose ends are gone holds its place until its session timer runs out (RFC 4028), over a restart
/// too, and no longer.
#[test]
fn h1_session_timers_outlive_kill_9() {
    let config = "[trunk.quota]\nmax_channels = 1\n[timers]\nt1 = \"50ms\"\nhop_timeout = \"3s\"\n";
    let mut bench = limited(92, "", config);
    let invite = bench.ring("timed");
    let answer = crate::reply(&invite, "200 OK", bench.pbx.local_addr().unwrap());
    let answer = answer.replace("Content-Length", "Session-Expires: 2;refresher=uac\r\nContent-Length");
    bench.pbx.send_to(answer.as_bytes(), bench.proxy).unwrap();
    let success = heard(&bench.gateway, "SIP/2.0 200", "timed");
    bench.confirm("timed", &success);
    bench.until_noted("\"lasts_ms\":", 1);
    bench.kill_and_start_again();
    bench.is_full("while-it-lasts", "486 Trunk Has All Its Calls");
    bench.until_taken(&bench.pbx, "next");
}

/// A time of day for the program, and the file that tells it.
struct TimeOfDay {
    file: PathBuf,
    /// From the real time to 22:30, UTC.
    to_half_past_ten: i64,
}

impl TimeOfDay {
    fn half_past_ten(folder: &Path) -> TimeOfDay {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let second_of_day = i64::try_from(unix % 86_400).unwrap();
        let time = TimeOfDay { file: folder.join("offset"), to_half_past_ten: 81_000 - second_of_day };
        time.set(0);
        time
    }

    /// So many seconds after half past ten.
    fn set(&self, later: i64) {
        let next = self.file.with_extension("next");
        std::fs::write(&next, format!("{:+}\n", self.to_half_past_ten + later)).unwrap();
        std::fs::rename(&next, &self.file).unwrap();
    }
}

/// What `/metrics` says.
fn scraped(address: &str) -> String {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Rows H1 and H6: the calls of a day are counted over kill -9 and a drained restart. They begin anew at midnight, also when
/// the clock is set forward over it, and a clock that is set back gives none twice.
#[test]
fn h6_the_calls_of_a_day_outlive_restarts_and_jumps_of_the_clock() {
    const HOUR: i64 = 3_600;
    let config = "[environments.prod.quota]\ndaily_calls = 3\n[limits]\ndrain_limit = \"1s\"\n\
                  [metrics]\nlisten = \"127.0.93.3:9160\"\n";
    let mut bench = limited(93, "", config);
    let time = TimeOfDay::half_past_ten(bench.folder.path());
    let start_again = |bench: &mut Bench, end: Signal| {
        bench.program.signal(end);
        bench.program.child.wait().unwrap();
        bench.program = Program::at_time_of(&bench.config, &time.file);
        bench.until_ready();
    };
    let (taken, used_up) = ("SIP/2.0 100 ", "SIP/2.0 480 Daily Calls Used Up");
    start_again(&mut bench, Signal::SIGKILL);
    let mut number = 0;
    let mut calls = |bench: &Bench, expected: &str, when: &str| {
        number += 1;
        let answer = bench.calls_out(&format!("out{number}"));
        assert!(answer.starts_with(expected), "call {number}, {when}: {answer}");
    };

    calls(&bench, taken, "at first");
    bench.until_noted("\"calls\":1", 1);
    start_again(&mut bench, Signal::SIGKILL);
    calls(&bench, taken, "after kill -9");
    start_again(&mut bench, Signal::SIGTERM);
    calls(&bench, taken, "after a drained restart");
    calls(&bench, used_up, "the fourth of the day");
    time.set(HOUR);
    calls(&bench, used_up, "an hour later, on the same day");
    bench.until_noted("\"calls\":3", 1);
    start_again(&mut bench, Signal::SIGKILL);
    calls(&bench, used_up, "on the same day, after kill -9");
    let told = scraped("127.0.93.3:9160");
    for line in ["switchyard_daily_calls_used{party=\"prod\"} 3", "switchyard_daily_calls_allowed{party=\"prod\"} 3"] {
        assert!(told.contains(line), "{line} is not in {told}");
    }

    time.set(2 * HOUR);
    calls(&bench, taken, "the clock was set over midnight: a new day");
    time.set(0);
    calls(&bench, taken, "set back: that day goes on");
    calls(&bench, taken, "set back: that day goes on");
    calls(&bench, used_up, "set back: no day's calls come twice");
    time.set(2 * HOUR);
    calls(&bench, used_up, "its own midnight has come");
    time.set(26 * HOUR);
    calls(&bench, taken, "the next midnight");
}

/// A file system of 256 kB, which goes with the test.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(place: PathBuf) -> SmallDisk {
        std::fs::create_dir(&place).unwrap();
        let arguments = ["-t", "tmpfs", "-o", "size=256k,mode=0700", "tmpfs"];
        let mounted = Command::new("mount").args(arguments).arg(&place).status().unwrap();
        assert!(mounted.success(), "mount: only root can");
        SmallDisk(place)
    }

    /// Takes all the room there is.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filler")).unwrap();
        while file.write_all(&[0; 512]).is_ok() {}
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Rows D11 and H1: the disk of the state folder is full, for the journal of calls and for everything else that is kept there.
/// Calls are carried and limits hold; it is told once, and when there is room again the journal has the calls of meanwhile too.
#[test]
fn d11_a_full_state_folder_harms_no_call_and_no_count() {
    let mut bench = limited(94, "", "[trunk.quota]\nmax_channels = 2\n");
    let disk = SmallDisk::mount(bench.folder.path().join("state"));
    let text = std::fs::read_to_string(&bench.config).unwrap();
    let own = |place: &Path| format!("state_dir = \"{}\"", place.display());
    std::fs::write(&bench.config, text.replace(&own(bench.folder.path()), &own(&disk.0))).unwrap();
    bench.kill_and_start_again();
    let first = bench.establish("first");
    disk.fill();
    // The last page of a file has room for some lines.
    for number in 0..40 {
        let call = format!("meanwhile{number}");
        let (success, _) = bench.establish(&call);
        bench.caller_ends(&call, &success);
    }
    bench.program.said("the journal of calls cannot be written");
    let second = bench.establish("second");
    bench.is_full("while-full", "486 Trunk Has All Its Calls");
    disk.empty();
    bench.callee_ends("first", &first.1);
    let line = bench.program.said("the journal of calls");
    assert!(line.contains("is written again"), "a failure that lasts is told once: {line}");
    let third = bench.establish("third");
    let (journal, until) = (disk.0.join("calls.journal"), Instant::now() + PATIENCE);
    let is_noted = |text: &str| text.contains("\"third\"") && text.matches("\"entry\":\"answered\"").count() >= 2;
    while !is_noted(&std::fs::read_to_string(&journal).unwrap()) {
        assert!(Instant::now() < until, "the calls that are up are not in the journal");
        std::thread::sleep(Duration::from_millis(5));
    }
    bench.kill_and_start_again();
    bench.is_full("after", "486 Trunk Has All Its Calls");
    bench.caller_ends("second", &second.0);
    bench.caller_ends("third", &third.0);
    bench.establish("fourth");
}
