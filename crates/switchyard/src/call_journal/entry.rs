//! One line of the journal: `CHECKSUM JSON`.

use super::live::{Moved, Place};
use super::standing::{Day, Line, Standing, Up};
use super::{environment_of, party_name};
use proxy::calls::Spent;
use proxy::dispatch::Direction;
use proxy::{Call, CallKey, Event, Settings};
use serde::Deserialize;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use telemetry::calls::json::{Member, Object, digits, hex, member};
use telemetry::calls::{CallRecord, Word};

/// The form of a journal that this program writes. 1 had no lines of its form, of records, of refreshed sessions and of days,
/// and nothing of session timers: all that is read here as well. A program that knows 1 alone leaves out the lines that are new.
pub const FORM: u32 = 2;

/// Digits of a line's checksum.
const SUM_DIGITS: usize = 16;

/// What happened to a call, or to an environment's budget.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// It was let in.
    Began(CallKey, Box<Began>),
    /// Its 2xx was passed on.
    Answered(CallKey, Answered),
    /// What its record says now that it is up. The thread of the records tells it, a moment after the worker's entry.
    Known(CallKey, Arc<CallRecord>),
    /// Its session was refreshed: so many milliseconds it lasts from then on; `None` where it has no timer any more.
    Refreshed(CallKey, Option<u64>),
    /// It is over.
    Ended(CallKey),
    /// What an environment has used of its calls for a day.
    Day(Word, Day),
}

/// What is known of a call when it is answered.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
pub struct Answered {
    /// Who answered.
    pub by: Word,
    /// The gateway that it goes by: it may be another one than the call began with.
    #[serde(default)]
    pub gateway: Option<SocketAddr>,
    /// How many milliseconds its session lasts without a refresh; `None` where it has no timer.
    #[serde(default)]
    pub lasts_ms: Option<u64>,
    /// The dialog that answered it, as [`Call::dialog`] has it.
    #[serde(default)]
    pub dialog: Option<u64>,
}

/// What is known of a call when it is let in. Texts are as they arrived; bytes that are no UTF-8 are replaced.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Began {
    /// The Call-ID.
    pub call_id: Word,
    /// True for a call from an environment to a trunk.
    pub outbound: bool,
    /// Who sent its INVITE.
    pub from: Word,
    /// Where it went.
    pub toward: Word,
    /// The environment on the PBX's side.
    pub environment: Option<Word>,
    /// The request-URI's user part.
    pub called: Word,
    /// The user part of From.
    pub caller: Word,
    /// Our DID, in E.164 digits.
    pub did: Option<u64>,
    /// The organisation's id; empty when none is known.
    pub organisation: Word,
    /// The gateway that it goes by.
    pub gateway: Option<SocketAddr>,
}

/// The JSON of a line.
#[derive(Deserialize)]
struct Written {
    /// The call's key; empty in a line that is about none.
    #[serde(default)]
    key: String,
    at_ms: u64,
    #[serde(flatten)]
    what: What,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase", tag = "entry")]
enum What {
    Began(Box<Began>),
    Answered(Answered),
    Known { record: Box<CallRecord> },
    Refreshed { lasts_ms: Option<u64> },
    Ended,
    Day { environment: Word, day: u32, calls: u32 },
}

/// The JSON of the first line.
#[derive(Deserialize)]
struct Form {
    form: u32,
}

impl Entry {
    /// What an event of the core is to the journal; `call` is the event's call while it is in progress.
    pub fn of<'c>(event: &Event, settings: &Settings, call: impl FnOnce(CallKey) -> Option<&'c Call>) -> Option<Entry> {
        match event {
            Event::Decided { key, .. } => {
                // It may have been answered in the same batch: its next entry says so.
                let call = call(*key)?;
                Some(Entry::Began(*key, Box::new(Began::of(call, settings))))
            }
            Event::Final { key, toward, in_dialog: false, status: 200..300, .. } => {
                let by = party_name(settings, *toward);
                Some(Entry::Answered(*key, call(*key).map_or_else(Answered::default, Answered::of).by(by)))
            }
            Event::Refreshed { key, lasts } => Some(Entry::Refreshed(*key, lasts.map(millis))),
            Event::Spent { environment, spent: Spent { day, calls } } => {
                Some(Entry::Day(party_name(settings, *environment), Day { day: *day, calls: *calls }))
            }
            Event::Final { key, in_dialog: false, .. } if call(*key).is_none() => Some(Entry::Ended(*key)),
            Event::Ended { key, .. } => Some(Entry::Ended(*key)),
            _ => None,
        }
    }

    /// Whose entry it is; of no call where it is about a day.
    fn key(&self) -> Option<CallKey> {
        match self {
            Entry::Began(key, _) | Entry::Answered(key, _) | Entry::Known(key, _) => Some(*key),
            Entry::Refreshed(key, _) | Entry::Ended(key) => Some(*key),
            Entry::Day(..) => None,
        }
    }

    /// Writes its line behind what `out` has, with its checksum and its end. Every call has three of them: nothing is copied
    /// for it, and the names are not escaped.
    pub(super) fn write(&self, at_ms: u64, out: &mut Vec<u8>) {
        write_line(out, |out| {
            let mut object = Object::begin(out);
            if let Some(CallKey(key)) = self.key() {
                let value = object.member(member!("key"));
                value.push(b'"');
                hex(value, &key.to_be_bytes());
                value.push(b'"');
            }
            object.number(member!("at_ms"), at_ms);
            match self {
                Entry::Began(_, began) => began.write(object.text(member!("entry"), "began")),
                Entry::Answered(_, answered) => answered.write(object.text(member!("entry"), "answered")),
                Entry::Known(_, record) => {
                    record.write_json(object.text(member!("entry"), "known").member(member!("record")));
                }
                Entry::Refreshed(_, lasts_ms) => {
                    object.text(member!("entry"), "refreshed").number(member!("lasts_ms"), *lasts_ms);
                }
                Entry::Ended(_) => {
                    object.text(member!("entry"), "ended");
                }
                Entry::Day(environment, Day { day, calls }) => {
                    object.text(member!("entry"), "day").text(member!("environment"), environment);
                    object.number(member!("day"), u64::from(*day)).number(member!("calls"), u64::from(*calls));
                }
            }
            object.end();
        });
    }

    /// Reads a line without its end, with its time; `None` when it is torn or damaged, or of a form to come.
    pub(super) fn read(line: &[u8]) -> Option<(Entry, u64)> {
        let Written { key, at_ms, what } = serde_json::from_slice(whole(line)?).ok()?;
        let key = || Some(CallKey(u128::from_str_radix(&key, 16).ok()?));
        let entry = match what {
            What::Began(began) => Entry::Began(key()?, began),
            What::Answered(answered) => Entry::Answered(key()?, answered),
            What::Known { record } => Entry::Known(key()?, record.into()),
            What::Refreshed { lasts_ms } => Entry::Refreshed(key()?, lasts_ms),
            What::Ended => Entry::Ended(key()?),
            What::Day { environment, day, calls } => Entry::Day(environment, Day { day, calls }),
        };
        Some((entry, at_ms))
    }

    /// Books the entry among what stands, and says where its call counts for those who are shown it, if that is elsewhere
    /// now. One of a call that nobody began is without effect.
    pub(super) fn book(self, at_ms: u64, standing: &mut Standing) -> Moved {
        let mut moved = Moved::default();
        match self {
            Entry::Began(key, began) => {
                standing.calls.entry(key).or_insert_with(|| {
                    let line = Line { began, began_ms: at_ms, up: None, known: None };
                    moved.after = Place::of(&line);
                    line
                });
            }
            Entry::Answered(key, answered) => {
                let call = standing.calls.get_mut(&key).filter(|line| line.up.is_none());
                if let Some(line) = call {
                    let (before, is_moved) = (Place::of(line), line.began.toward != answered.by);
                    line.began.gateway = answered.gateway.or(line.began.gateway);
                    let expires_ms = answered.lasts_ms.map(|lasts_ms| at_ms.saturating_add(lasts_ms));
                    let (dialog, toward) = (answered.dialog, answered.by);
                    line.up = Some(Box::new(Up { answered_ms: at_ms, expires_ms, dialog, toward }));
                    if is_moved {
                        moved = Moved { before, after: Place::of(line) };
                    }
                }
            }
            Entry::Known(key, record) => {
                if let Some(line) = standing.calls.get_mut(&key) {
                    line.known = Some(record);
                }
            }
            Entry::Refreshed(key, lasts_ms) => {
                if let Some(up) = standing.calls.get_mut(&key).and_then(|line| line.up.as_mut()) {
                    up.expires_ms = lasts_ms.map(|lasts_ms| at_ms.saturating_add(lasts_ms));
                }
            }
            Entry::Ended(key) => moved.before = standing.calls.remove(&key).as_ref().and_then(Place::of),
            Entry::Day(environment, day) => {
                let known = standing.days.entry(environment).or_default();
                // Two workers may have handed theirs over in the other order.
                let calls = if known.day == day.day { known.calls.max(day.calls) } else { day.calls };
                *known = Day { calls, ..day };
            }
        }
        moved
    }
}

impl Answered {
    /// What the core knows of a call that is up.
    fn of(call: &Call) -> Answered {
        let lasts_us = call.expires().zip(call.answered_us()).map(|(expires, answered_us)| {
            let answered_us = u64::try_from(answered_us).unwrap_or(0);
            expires.0.saturating_sub(answered_us)
        });
        Answered {
            by: Word::default(),
            gateway: call.gateway(),
            lasts_ms: lasts_us.map(|lasts_us| lasts_us / 1_000),
            dialog: call.dialog(),
        }
    }

    fn write(&self, object: &mut Object<'_>) {
        object.text(member!("by"), &self.by);
        write_address(object, member!("gateway"), self.gateway);
        object.number(member!("lasts_ms"), self.lasts_ms).number(member!("dialog"), self.dialog);
    }

    /// The same, by this party.
    fn by(self, by: Word) -> Answered {
        Answered { by, ..self }
    }
}

impl Began {
    fn of(call: &Call, settings: &Settings) -> Began {
        // Nearly all is ASCII, and told to be so much faster than it is searched for what to replace.
        let text =
            |bytes: &[u8]| str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes).into(), Word::new);
        Began {
            call_id: text(call.call_id()),
            outbound: call.direction() == Direction::Outbound,
            from: party_name(settings, call.from()),
            toward: party_name(settings, call.toward()),
            environment: environment_of(settings, [call.from(), call.toward()]).map(Word::new_static),
            called: text(call.called()),
            caller: text(call.caller()),
            did: call.did().map(sip::Number::digits),
            organisation: text(call.organisation()),
            gateway: call.gateway(),
        }
    }

    fn write(&self, object: &mut Object<'_>) {
        let outbound: &[u8] = if self.outbound { b"true" } else { b"false" };
        object.text(member!("call_id"), &self.call_id).member(member!("outbound")).extend_from_slice(outbound);
        object
            .text(member!("from"), &self.from)
            .text(member!("toward"), &self.toward)
            .word(member!("environment"), self.environment.as_deref());
        object
            .text(member!("called"), &self.called)
            .text(member!("caller"), &self.caller)
            .number(member!("did"), self.did);
        object.text(member!("organisation"), &self.organisation);
        write_address(object, member!("gateway"), self.gateway);
    }

    /// Which way the call was set up.
    pub fn direction(&self) -> Direction {
        if self.outbound { Direction::Outbound } else { Direction::Inbound }
    }
}

/// Writes the first line of a journal: its form.
pub(super) fn write_form(out: &mut Vec<u8>) {
    write_line(out, |out| {
        let mut object = Object::begin(out);
        object.number(member!("form"), u64::from(FORM));
        object.end();
    });
}

/// The form that a line names, if it is a first line.
pub(super) fn form_of(line: &[u8]) -> Option<u32> {
    serde_json::from_slice(whole(line)?).ok().map(|Form { form }| form)
}

/// A line around its JSON: the checksum before it, and the end.
fn write_line(out: &mut Vec<u8>, write_json: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[b' '; SUM_DIGITS + 1]);
    write_json(out);
    let sum = checksum(out.get(start + SUM_DIGITS + 1..).unwrap_or_default());
    out.push(b'\n');
    // Written behind the line, and moved before it.
    let end = out.len();
    hex(out, &sum.to_be_bytes());
    out.copy_within(end.., start);
    out.truncate(end);
}

fn write_address(object: &mut Object<'_>, name: Member, address: Option<SocketAddr>) {
    let Some(address) = address else { return };
    let out = object.member(name);
    out.push(b'"');
    match address.ip() {
        IpAddr::V4(ip) => {
            // Nearly every call has one of these in two of its lines.
            let mut mark = None;
            for octet in ip.octets() {
                out.extend(mark.replace(b'.'));
                digits(out, octet.into());
            }
            out.push(b':');
            digits(out, address.port().into());
        }
        IpAddr::V6(_) => {
            // Memory takes what is written.
            let _written = write!(out, "{address}");
        }
    }
    out.push(b'"');
}

/// The JSON of a line, when it is as it was written.
fn whole(line: &[u8]) -> Option<&[u8]> {
    let (sum, json) = line.split_at_checked(SUM_DIGITS + 1)?;
    let sum = std::str::from_utf8(sum).ok()?.strip_suffix(' ')?;
    (u64::from_str_radix(sum, 16).ok()? == checksum(json)).then_some(json)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// FNV-1a: it tells a torn or turned line, and guards against nobody.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
