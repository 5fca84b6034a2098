//! The programs that are measured: how each is configured for the same work, started on its core, and ended.

use crate::gauges::{METRICS, Scraper};
use crate::subject::{Profile, Program};
use crate::{LOAD_CORE, PEER_CORE, Places, take_core};
use anyhow::{Context, Result, bail};
use benches::dids;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The numbers in the directory, each in one of three spellings when it is called.
pub(crate) const DIDS: u64 = 10_000;
const ORGANISATION: &str = "0000000a-0000-4000-8000-a1b2c3d40000";
const ENDS_WITHIN: Duration = Duration::from_secs(20);
const KAMAILIO: &str = include_str!("kamailio.cfg");
const SCHEMA: &str = include_str!("../../fixtures/directory/sqlite.sql");

/// A running program. Dropping it ends it.
pub(crate) struct Running {
    child: Child,
    /// How it is asked to end.
    ends_by: Signal,
    _scraper: Option<Scraper>,
}

impl Running {
    /// Starts a program on its core, with its files in `folder`.
    pub(crate) fn start(places: &Places, program: Program, folder: &Path) -> Result<Running> {
        let mut command = match program {
            Program::Switchyard(profile) => switchyard(places, profile, folder)?,
            Program::Kamailio => kamailio(folder)?,
            Program::Relay => Command::new(places.programs.join("relay")),
        };
        let log = File::options().create(true).append(true).open(folder.join("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // A child has the cores of the one that starts it.
        take_core(PEER_CORE)?;
        let child = command.spawn();
        take_core(LOAD_CORE)?;
        let child = child.with_context(|| format!("{} cannot be started", command.get_program().to_string_lossy()))?;
        let is_scraped = matches!(program, Program::Switchyard(Profile::Production | Profile::Tcp));
        // Kamailio ends its children itself. Ours would wait for transactions that linger.
        let ends_by = if program == Program::Kamailio { Signal::SIGTERM } else { Signal::SIGKILL };
        Ok(Running { child, ends_by, _scraper: is_scraped.then(Scraper::start) })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(i32::try_from(self.child.id())?), signal)?)
    }

    /// Ends it without a word, as the kernel does for want of memory.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// An error when it has ended by itself.
    pub(crate) fn is_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the program under test has ended by itself: {status}"),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let _gone = self.signal(self.ends_by);
        let begun = Instant::now();
        while begun.elapsed() < ENDS_WITHIN {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// Ours. The directory is made where there is none yet.
fn switchyard(places: &Places, profile: Profile, folder: &Path) -> Result<Command> {
    let database = folder.join("directory.db");
    if !database.exists() {
        let rows = folder.join("rows.sql");
        fs::write(&rows, rows_of_ours())?;
        let mut sqlite = Command::new("sqlite3");
        sqlite.arg(&database).stdin(File::open(&rows)?);
        if !sqlite.status().context("sqlite3 is missing")?.success() {
            bail!("sqlite3 refuses the rows in {}", rows.display());
        }
    }
    let state = folder.join("state");
    // What is measured begins with nothing; in a soak a process begins with what the one before left.
    if profile != Profile::Soak && state.exists() {
        fs::remove_dir_all(&state)?;
    }
    fs::create_dir_all(&state)?;
    let configuration = folder.join("switchyard.toml");
    fs::write(&configuration, configuration_of_ours(profile, folder))?;
    let mut command = Command::new(places.switchyard());
    command.args(["run", "--config"]).arg(configuration).env_remove("ASTRADIAL_ENV").env("RUST_LOG", "error");
    Ok(command)
}

/// One worker, as each program has one core. What is kept and told is what production keeps and tells, unless nothing is.
fn configuration_of_ours(profile: Profile, folder: &Path) -> String {
    let folder = folder.display();
    let transport = if profile == Profile::Tcp { "tcp" } else { "udp" };
    let kept = match profile {
        Profile::KeepingNothing => "[records]\nfiles = false\njournal_calls = 0\n".to_owned(),
        Profile::Production | Profile::Tcp => format!("[metrics]\nlisten = \"{METRICS}\"\n"),
        // The journal is full before growth is judged: until then it takes more memory with every call.
        Profile::Soak => format!("[records]\njournal_calls = 2000\n[metrics]\nlisten = \"{METRICS}\"\n"),
    };
    // The soak has a server that comes and goes before the one that answers.
    let (before, probe) = match profile {
        Profile::Soak => (format!("\"udp:{COMES_AND_GOES}\", "), "[probe]\ninterval = \"1s\"\ntimeout = \"500ms\"\n"),
        _ => (String::new(), ""),
    };
    format!(
        "state_dir = \"{folder}/state\"\n\
         [sip]\nlisten = [\"{transport}:127.0.202.1:5060\"]\n\
         [[trunk]]\nname = \"tata\"\ngateways = [\"{transport}:127.0.202.2:5060\"]\nfallback_did = \"+918065080729\"\n\
         [environments]\n\
         prod = {{ targets = [\"{transport}:127.0.202.3:5060\"] }}\n\
         staging = {{ targets = [\"{transport}:127.0.202.4:5060\"] }}\n\
         oss = {{ targets = [{before}\"{transport}:127.0.202.5:5060\"] }}\n\
         [limits]\ntransactions = 8000000\ntransaction_bytes = 8589934592\n\
         [database]\nurl = \"sqlite://{folder}/directory.db\"\n{probe}{kept}"
    )
}

/// The first target of oss in a soak.
pub(crate) const COMES_AND_GOES: &str = "127.0.202.6:5060";

/// The schema, one organisation, and for each number a user whose caller ID it is.
fn rows_of_ours() -> String {
    let mut sql = String::from(SCHEMA);
    let prefix = dids::ENDPOINT_PREFIX;
    let _ = writeln!(
        sql,
        "BEGIN;\nINSERT INTO organizations (id, name, context_prefix) VALUES ('{ORGANISATION}', 'Asha Clinics', '{prefix}');"
    );
    for place in 0..DIDS {
        let number = dids::national(place);
        let environment = usize::try_from(dids::environment(place)).ok().and_then(|at| dids::ENVIRONMENTS.get(at));
        let environment = environment.copied().unwrap_or("prod");
        let endpoint = dids::endpoint(place);
        let _ = writeln!(
            sql,
            "INSERT INTO did_numbers (id, org_id, number, pool_status, routing_environment, provider) VALUES \
             ('00000d1d-0000-4000-8000-{place:012}', '{ORGANISATION}', '+91{number}', 'assigned', '{environment}', 'tata');\n\
             INSERT INTO users (id, org_id, username, extension, asterisk_endpoint, outbound_did) VALUES \
             ('0000000e-0000-4000-8000-{place:012}', '{ORGANISATION}', 'u{place}', '{place}', '{endpoint}', '+91{number}');"
        );
    }
    sql.push_str("COMMIT;\n");
    sql
}

/// Kamailio from Debian: one child for UDP, the memory allocators that its makers name the fastest, tables in memory.
fn kamailio(folder: &Path) -> Result<Command> {
    let tables = folder.join("tables");
    fs::create_dir_all(&tables)?;
    let head = "id(int,auto) key_name(string) key_type(int) value_type(int) key_value(string) expires(int)\n";
    let (mut numbers, mut users) = (String::from(head), String::from(head));
    for place in 0..DIDS {
        let host = 3 + dids::environment(place);
        let (number, id) = (dids::national(place), place + 1);
        let _ = writeln!(numbers, "{id}:91{number}:0:0:127.0.202.{host}:0");
        let _ = writeln!(users, "{id}:{}:0:0:+91{number}:0", dids::endpoint(place));
    }
    fs::write(tables.join("did"), numbers)?;
    fs::write(tables.join("user"), users)?;
    fs::write(tables.join("version"), "table_name(string) table_version(int)\ndid:2\nuser:2\n")?;
    let configuration = folder.join("kamailio.cfg");
    fs::write(&configuration, KAMAILIO.replace("FOLDER", &folder.to_string_lossy()))?;
    let mut command = Command::new("kamailio");
    command.arg("-f").arg(configuration);
    command.args(["-DD", "-E", "-m", "4096", "-M", "64", "-x", "tlsf", "-X", "tlsf", "-Y"]).arg(folder);
    Ok(command)
}

/// What `kamailio -v` says of itself, in its first line.
pub(crate) fn kamailio_version() -> String {
    let output = Command::new("kamailio").arg("-v").output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output)
        .lines()
        .next()
        .unwrap_or("unknown")
        .trim_start_matches("version: ")
        .trim()
        .to_owned()
}
