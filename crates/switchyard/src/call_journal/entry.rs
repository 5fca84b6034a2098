//! One line of the journal: `CHECKSUM JSON`.

use super::{environment_of, party_name};
use proxy::dispatch::Direction;
use proxy::{Call, CallKey, Event, Settings};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::SocketAddr;
use telemetry::calls::CallRecord;

/// What happened to a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// It was let in.
    Began(CallKey, Box<Began>),
    /// Its 2xx was passed on; by this party.
    Answered(CallKey, Box<str>),
    /// What its record says now that it is up. The thread of the records tells it, a moment after the worker's entry.
    Known(CallKey, Box<CallRecord>),
    /// It is over.
    Ended(CallKey),
}

/// What is known of a call when it is let in. Texts are as they arrived; bytes that are no UTF-8 are replaced.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Began {
    /// The Call-ID.
    pub call_id: String,
    /// True for a call from an environment to a trunk.
    pub outbound: bool,
    /// Who sent its INVITE.
    pub from: Box<str>,
    /// Where it went.
    pub toward: Box<str>,
    /// The environment on the PBX's side.
    pub environment: Option<String>,
    /// The request-URI's user part.
    pub called: String,
    /// The user part of From.
    pub caller: String,
    /// Our DID, in E.164 digits.
    pub did: Option<u64>,
    /// The organisation's id; empty when none is known.
    pub organisation: String,
    /// The gateway that it goes by.
    pub gateway: Option<SocketAddr>,
}

/// When, in milliseconds since 1970.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallTimes {
    /// When its INVITE arrived.
    pub began_ms: u64,
    /// When its 2xx was passed on.
    pub answered_ms: Option<u64>,
    /// Who answered.
    pub toward: Option<Box<str>>,
}

/// A call in progress.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// What was known when it began.
    pub began: Began,
    /// What came later.
    pub times: CallTimes,
    /// Its record, once it is up.
    pub known: Option<Box<CallRecord>>,
}

/// The JSON of a line.
#[derive(Serialize, Deserialize)]
struct Written {
    key: String,
    at_ms: u64,
    #[serde(flatten)]
    what: What,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "entry")]
enum What {
    Began(Box<Began>),
    Answered { by: Box<str> },
    Known { record: Box<CallRecord> },
    Ended,
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
                Some(Entry::Answered(*key, party_name(settings, *toward)))
            }
            Event::Final { key, in_dialog: false, .. } if call(*key).is_none() => Some(Entry::Ended(*key)),
            Event::Ended { key, .. } => Some(Entry::Ended(*key)),
            _ => None,
        }
    }

    /// Whose entry it is.
    pub(super) fn key(&self) -> CallKey {
        match self {
            Entry::Began(key, _) | Entry::Answered(key, _) | Entry::Known(key, _) | Entry::Ended(key) => *key,
        }
    }

    /// The line, with its checksum and its end.
    pub(super) fn line(&self, at_ms: u64) -> String {
        let (key, what) = match self {
            Entry::Began(key, began) => (key, What::Began(began.clone())),
            Entry::Answered(key, by) => (key, What::Answered { by: by.clone() }),
            Entry::Known(key, record) => (key, What::Known { record: record.clone() }),
            Entry::Ended(key) => (key, What::Ended),
        };
        let written = Written { key: key.to_string(), at_ms, what };
        // Plain structs of texts and numbers always have a JSON form.
        let json = serde_json::to_string(&written).unwrap_or_default();
        format!("{:016x} {json}\n", checksum(json.as_bytes()))
    }

    /// Reads a line without its end, with its time; `None` when it is torn or damaged.
    pub(super) fn read(line: &[u8]) -> Option<(Entry, u64)> {
        let (sum, json) = line.split_at_checked(17)?;
        let sum = std::str::from_utf8(sum).ok()?.strip_suffix(' ')?;
        if u64::from_str_radix(sum, 16).ok()? != checksum(json) {
            return None;
        }
        let Written { key, at_ms, what } = serde_json::from_slice(json).ok()?;
        let key = CallKey(u128::from_str_radix(&key, 16).ok()?);
        let entry = match what {
            What::Began(began) => Entry::Began(key, began),
            What::Answered { by } => Entry::Answered(key, by),
            What::Known { record } => Entry::Known(key, record),
            What::Ended => Entry::Ended(key),
        };
        Some((entry, at_ms))
    }

    /// Books the entry among the calls in progress. One of a call that nobody began is without effect.
    pub(super) fn book(self, at_ms: u64, calls: &mut HashMap<CallKey, Line>) {
        match self {
            Entry::Began(key, began) => {
                let times = CallTimes { began_ms: at_ms, answered_ms: None, toward: None };
                calls.entry(key).or_insert(Line { began: *began, times, known: None });
            }
            Entry::Answered(key, by) => {
                if let Some(line) = calls.get_mut(&key).filter(|line| line.times.answered_ms.is_none()) {
                    line.times.answered_ms = Some(at_ms);
                    line.times.toward = Some(by);
                }
            }
            Entry::Known(key, record) => {
                if let Some(line) = calls.get_mut(&key) {
                    line.known = Some(record);
                }
            }
            Entry::Ended(key) => {
                calls.remove(&key);
            }
        }
    }
}

impl Began {
    fn of(call: &Call, settings: &Settings) -> Began {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Began {
            call_id: text(call.call_id()),
            outbound: call.direction() == Direction::Outbound,
            from: party_name(settings, call.from()),
            toward: party_name(settings, call.toward()),
            environment: environment_of(settings, [call.from(), call.toward()]).map(str::to_owned),
            called: text(call.called()),
            caller: text(call.caller()),
            did: call.did().map(sip::Number::digits),
            organisation: text(call.organisation()),
            gateway: call.gateway(),
        }
    }

    /// Which way the call was set up.
    pub fn direction(&self) -> Direction {
        if self.outbound { Direction::Outbound } else { Direction::Inbound }
    }
}

impl Line {
    /// The lines that say the same.
    pub(super) fn lines(&self, key: CallKey) -> impl Iterator<Item = String> {
        let began = Entry::Began(key, Box::new(self.began.clone())).line(self.times.began_ms);
        let answered = self.times.answered_ms.map(|at_ms| {
            let by = self.times.toward.clone().unwrap_or_else(|| self.began.toward.clone());
            Entry::Answered(key, by).line(at_ms)
        });
        let known = self.known.clone().map(|record| Entry::Known(key, record).line(self.times.began_ms));
        std::iter::once(began).chain(answered).chain(known)
    }
}

/// FNV-1a: it tells a torn or turned line, and guards against nobody.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
