//! The journal of calls in progress: what a new process is told of the calls that outlived the old one.
//!
//! A file of lines in the state folder, each with its checksum: a call began, was answered, is known by this record, was
//! refreshed, ended, or took one of its environment's calls for the day. The worker and the thread of the records hand their
//! entries over and never wait; a thread of its own writes them. When most lines are of calls that have ended, the file is
//! written anew. A line that is torn or damaged is left out, and costs one call's count or one record's details at most.
//! Nothing is synced to the platter: what the kernel has taken outlives the process, and a machine that lost its power has
//! lost the calls too.

mod entry;
mod live;
mod record;
mod standing;

pub(crate) use entry::checksum;
pub use entry::{Answered, Began, Entry, FORM};
pub use live::LiveCalls;
use live::Moved;
pub use standing::{Day, Line, Standing, Up};

use proxy::calls::RestoredCall;
use proxy::{PartyId, Role, Settings};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};
use telemetry::calls::Word;
use telemetry::{Counters, Fact, Paced};

/// The file's name in the state folder.
const FILE: &str = "calls.journal";
/// Entries that wait for the disk; one more is lost, and counted.
pub const ENTRIES_WAITING: usize = 16_384;
/// Bytes of a journal that are read at a start.
pub const FILE_BYTES: u64 = 268_435_456;
/// Lines of ended calls that may stand in the file beside as many as there are calls in progress.
pub const SPENT_LINES: usize = 20_000;
/// How often entries are looked for while they come: what is younger than that is lost with kill -9, and a worker that has
/// calls wakes nobody.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Bytes of lines that are handed to the kernel at once.
const WRITE_BYTES: usize = 65_536;
/// A file that cannot be written is tried again so often: with time, and not with each call.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long the end of the process waits for the last lines.
const CLOSES_WITHIN: Duration = Duration::from_secs(2);

/// The worker's end: it hands over, and never waits.
#[derive(Clone, Debug)]
pub struct Pen {
    /// It takes room as entries wait, and gives it back: `waiting` bounds it.
    entries: Sender<Entry>,
    waiting: Arc<AtomicUsize>,
    counters: Arc<Counters>,
}

/// The journal of one process, and the thread that writes it.
#[derive(Debug)]
pub struct CallJournal {
    thread: JoinHandle<()>,
    live: LiveCalls,
    waiting: Arc<AtomicUsize>,
}

/// What a journal said at the start.
#[derive(Debug, Default)]
pub struct Found {
    /// The calls that were in progress, and what was used of each day's calls.
    pub standing: Standing,
    /// Lines that could not be read.
    pub damaged: usize,
    /// The form in which it was written.
    pub form: u32,
}

impl Pen {
    /// Hands one entry over; with no room it is lost, and counted.
    pub fn write(&self, entry: Entry) {
        let has_room = self.waiting.fetch_add(1, Ordering::Relaxed) < ENTRIES_WAITING;
        if !has_room || self.entries.send(entry).is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.counters.note(Fact::JournalLost);
        }
    }
}

impl CallJournal {
    /// Reads what the process before this one left in `state_dir`, and goes on writing there. A file that cannot be read
    /// is told and begun anew: calls are served either way.
    pub fn open(state_dir: &Path, counters: &Arc<Counters>) -> io::Result<(CallJournal, Pen, Found)> {
        let path = state_dir.join(FILE);
        let found = read(&path).unwrap_or_else(|error| {
            tracing::error!(path = %path.display(), %error, "the journal of calls cannot be read: calls from before are not counted");
            Found::default()
        });
        if found.form > FORM {
            tracing::warn!(path = %path.display(), form = found.form, known = FORM, "the journal of calls is of a later version: what is new in it is left out");
        }
        if found.damaged > 0 {
            tracing::warn!(path = %path.display(), lines = found.damaged, "damaged lines of the journal of calls are left out");
        }
        let (entries, arriving) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let live = LiveCalls::of_lines(found.standing.calls.values());
        let writer = Writer {
            path,
            file: None,
            text: Vec::new(),
            standing: found.standing.clone(),
            shown: live.clone(),
            waiting: Arc::clone(&waiting),
            lines: 0,
            is_failing: false,
            retry_at: Instant::now(),
        };
        let thread =
            std::thread::Builder::new().name("call-journal".to_owned()).spawn(move || writer.run(&arriving))?;
        let pen = Pen { entries, waiting: Arc::clone(&waiting), counters: Arc::clone(counters) };
        Ok((CallJournal { thread, live, waiting }, pen, found))
    }

    /// The calls in progress by number.
    pub fn live(&self) -> &LiveCalls {
        &self.live
    }

    /// How many entries wait for the disk.
    pub fn waiting(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.waiting)
    }

    /// Waits until the last entry is written, for a while. All pens must be gone.
    pub fn close(self) {
        let until = Instant::now() + CLOSES_WITHIN;
        while !self.thread.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Found {
    /// The calls as the core takes them back. One whose trunk or environment is not configured any more is left out.
    pub fn restored(&self, settings: &Settings) -> Vec<RestoredCall> {
        let now_ms = unix_ms();
        let party = |name: &str| {
            let at = settings.parties.iter().position(|party| &*party.name == name)?;
            u16::try_from(at).ok().map(PartyId)
        };
        let ago = |then_ms: u64| Duration::from_millis(now_ms.saturating_sub(then_ms));
        let calls = self.standing.calls.iter().filter_map(|(key, line)| {
            let up = line.up.as_deref();
            Some(RestoredCall {
                key: *key,
                direction: line.began.direction(),
                from: party(&line.began.from)?,
                toward: party(line.toward())?,
                did: line.began.did.and_then(sip::Number::from_digits),
                call_id: line.began.call_id.as_bytes().into(),
                called: line.began.called.as_bytes().into(),
                caller: line.began.caller.as_bytes().into(),
                organisation: line.began.organisation.as_bytes().into(),
                gateway: line.began.gateway,
                began_ago: ago(line.began_ms),
                answered_ago: up.map(|up| ago(up.answered_ms)),
                expires_in: up
                    .and_then(|up| up.expires_ms)
                    .map(|then_ms| Duration::from_millis(then_ms.saturating_sub(now_ms))),
                dialog: up.and_then(|up| up.dialog),
            })
        });
        calls.collect()
    }
}

/// The thread's side.
struct Writer {
    path: PathBuf,
    file: Option<File>,
    /// Lines that the kernel has not been given.
    text: Vec<u8>,
    /// What the entries come to.
    standing: Standing,
    /// What others are shown of the calls in progress.
    shown: LiveCalls,
    /// Entries that wait.
    waiting: Arc<AtomicUsize>,
    /// Lines in the file.
    lines: usize,
    /// The last write failed, and that has been told.
    is_failing: bool,
    /// Without a file, when the next is begun.
    retry_at: Instant,
}

impl Writer {
    fn run(mut self, arriving: &Receiver<Entry>) {
        let mut paced = Paced::new(arriving, LOOK_EVERY);
        self.begin();
        loop {
            let until_retry = self.retry_at.saturating_duration_since(Instant::now());
            let first = match self.file {
                Some(_) => paced.take().ok_or(RecvTimeoutError::Disconnected),
                None => arriving.recv_timeout(until_retry),
            };
            match first {
                Ok(first) => self.append(first, arriving),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let is_due = self.file.is_none() && Instant::now() >= self.retry_at;
            let is_spent = self.file.is_some() && self.lines > 4 * self.standing.size() + SPENT_LINES;
            if is_due || is_spent {
                self.begin();
            }
        }
        if self.file.is_none() {
            self.begin();
        }
    }

    /// Takes an entry, and all that wait behind it: what is taken at once has one time.
    fn append(&mut self, first: Entry, arriving: &Receiver<Entry>) {
        let mut at_ms = unix_ms();
        self.take(first, at_ms);
        let (mut written, mut taken) = (Ok(()), 1);
        while let Ok(next) = arriving.try_recv() {
            if self.text.len() >= WRITE_BYTES {
                written = written.and(self.write());
                at_ms = unix_ms();
                self.waiting.fetch_sub(std::mem::take(&mut taken), Ordering::Relaxed);
            }
            self.take(next, at_ms);
            taken += 1;
        }
        self.waiting.fetch_sub(taken, Ordering::Relaxed);
        let written = written.and(self.write());
        // Without a file there is nothing to tell: the failure has been told, and the next try says how it is then.
        if self.file.is_some() {
            self.tell(&written);
        }
    }

    /// Gives the kernel the lines, if there is a file for them: one that is begun later has what they say.
    fn write(&mut self) -> io::Result<()> {
        let written = match &mut self.file {
            Some(file) => file.write_all(&self.text),
            None => Ok(()),
        };
        self.text.clear();
        written
    }

    /// Begins a file, and tells what became of that.
    fn begin(&mut self) {
        self.retry_at = Instant::now() + RETRY_AFTER;
        let anew = self.write_anew();
        self.tell(&anew);
    }

    /// Books an entry, and appends its line.
    fn take(&mut self, entry: Entry, at_ms: u64) {
        if matches!(&entry, Entry::Known(key, _) if !self.standing.calls.contains_key(key)) {
            // It was over before its record was told.
            return;
        }
        entry.write(at_ms, &mut self.text);
        self.lines += 1;
        let Moved { before, after } = entry.book(at_ms, &mut self.standing);
        self.shown.book(before, after);
    }

    /// Writes a file with nothing but what stands, beside the old one, and puts it in its place.
    fn write_anew(&mut self) -> io::Result<()> {
        self.file = None;
        let draft = self.path.with_extension("journal.new");
        let options = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).to_owned();
        let mut file = options.open(&draft)?;
        self.text.clear();
        entry::write_form(&mut self.text);
        self.lines = 1;
        for (entry, at_ms) in self.standing.entries(unix_ms()) {
            entry.write(at_ms, &mut self.text);
            self.lines += 1;
            if self.text.len() >= WRITE_BYTES {
                file.write_all(&self.text)?;
                self.text.clear();
            }
        }
        file.write_all(&self.text)?;
        self.text.clear();
        fs::rename(&draft, &self.path)?;
        self.file = Some(file);
        Ok(())
    }

    /// Tells a failure once, and that it is over. After a failure the file is written anew.
    fn tell(&mut self, written: &io::Result<()>) {
        let path = self.path.display();
        match written {
            Err(error) if !self.is_failing => {
                tracing::error!(%path, %error, "the journal of calls cannot be written: a restart now would not count the calls in progress");
            }
            Ok(()) if self.is_failing => tracing::info!(%path, "the journal of calls is written again"),
            _ => {}
        }
        self.is_failing = written.is_err();
        if self.is_failing {
            self.file = None;
        }
    }
}

/// What stands by a journal's lines. No file is an empty journal.
fn read(path: &Path) -> io::Result<Found> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(FILE_BYTES).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    let mut found = Found { form: 1, ..Found::default() };
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match (Entry::read(line), entry::form_of(line)) {
            (Some((entry, at_ms)), _) => {
                entry.book(at_ms, &mut found.standing);
            }
            (None, Some(form)) => found.form = form,
            (None, None) => found.damaged += 1,
        }
    }
    Ok(found)
}

/// The wall clock, in milliseconds since 1970: the only clock that two processes share.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The name of a party, as it stands in the journal.
pub(crate) fn party_name(settings: &Settings, id: PartyId) -> Word {
    settings.party(id).map(|party| Word::new(&party.name)).unwrap_or_default()
}

/// The environment of a call, by its PBX's side.
pub(crate) fn environment_of(settings: &Settings, parties: [PartyId; 2]) -> Option<&'static str> {
    parties.into_iter().find_map(|id| match settings.party(id)?.role {
        Role::Environment(environment) => Some(environment.as_str()),
        Role::Trunk => None,
    })
}

#[cfg(test)]
mod tests;
