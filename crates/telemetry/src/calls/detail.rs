//! One call as it is shown: its record, why it went where it went, and its messages. Page, API and command line show
//! the same object.

use super::journal::{CallNumber, KeptCall, KeptMessage, ToldRule};
use super::ladder::{Ladder, Step};
use super::record::{AttemptRecord, CallRecord};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sip::{Index, Method, Parsed};

/// One call with all that is known of it.
#[derive(Clone, PartialEq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct CallDetail {
    /// Its number in the journal.
    pub number: u64,
    /// What is written down of it.
    pub record: CallRecord,
    /// Every rule of its decision, with what it found.
    pub told: Vec<ToldRule>,
    /// Its messages, in order.
    pub messages: Vec<MessageSummary>,
    /// Messages that found no room in the journal.
    pub left_out: u32,
}

/// One message in a few words.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct MessageSummary {
    /// When, in microseconds since 1970.
    pub at_us: u64,
    /// It left; else it arrived.
    pub sent: bool,
    /// The party at the other end, with its address where several of its were tried; or the address alone.
    pub peer: String,
    /// The other end.
    pub remote: String,
    /// Our end.
    pub local: String,
    /// `udp` or `tcp`.
    pub transport: String,
    /// The start line.
    pub start_line: String,
    /// CSeq.
    pub cseq: String,
    /// In a few words: `INVITE`, `180 Ringing`, `200 OK (BYE)`.
    pub summary: String,
    /// Its length.
    pub bytes: usize,
}

impl CallDetail {
    /// All of a call in the journal.
    pub fn of(number: CallNumber, call: KeptCall<'_>) -> CallDetail {
        let mut index = Index::new();
        let messages = call.messages().map(|(message, bytes)| summary_of(call.record, &message, &bytes, &mut index));
        CallDetail {
            number: number.0,
            messages: messages.collect(),
            record: CallRecord::clone(call.record),
            told: call.told(),
            left_out: call.left_out,
        }
    }

    /// Its ladder.
    pub fn ladder(&self) -> Ladder {
        let mut lanes = vec![self.record.from.to_string(), "switchyard".to_owned()];
        let mut steps = Vec::new();
        let began_us = self.messages.first().map_or(0, |message| message.at_us);
        for message in &self.messages {
            let known = lanes.iter().position(|lane| *lane == message.peer);
            let lane = known.unwrap_or_else(|| {
                lanes.push(message.peer.clone());
                lanes.len() - 1
            });
            let (from, to) = if message.sent { (1, lane) } else { (lane, 1) };
            steps.push(Step {
                after_us: message.at_us.saturating_sub(began_us),
                from,
                to,
                text: message.summary.clone(),
            });
        }
        Ladder { lanes, steps }
    }
}

fn summary_of(record: &CallRecord, message: &KeptMessage, bytes: &[u8], index: &mut Index) -> MessageSummary {
    let remote = message.remote.to_string();
    let (start_line, cseq, summary) = read(bytes, index);
    let attempt = record.attempts.iter().find(|attempt| attempt.target.ends_with(&format!(":{remote}")));
    let same_host =
        |address: &str| address.rsplit_once(':').map(|(ip, _)| ip) == remote.rsplit_once(':').map(|(ip, _)| ip);
    let peer = match attempt {
        // Where several of one party were tried, each is another end.
        Some(attempt) if is_one_of_several(record, attempt) => format!("{} {remote}", attempt.to),
        Some(attempt) => attempt.to.to_string(),
        None if record.source == remote || same_host(&record.source) => record.from.to_string(),
        None => remote.clone(),
    };
    MessageSummary {
        at_us: message.at_us,
        sent: message.is_sent,
        peer,
        remote,
        local: message.local.address.to_string(),
        transport: message.local.transport.as_str().to_owned(),
        start_line,
        cseq,
        summary,
        bytes: bytes.len(),
    }
}

fn is_one_of_several(record: &CallRecord, attempt: &AttemptRecord) -> bool {
    record.attempts.iter().any(|other| other.to == attempt.to && other.target != attempt.target)
}

fn read(bytes: &[u8], index: &mut Index) -> (String, String, String) {
    // Line ends may stand before the message.
    let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).find(|line| !line.is_empty()).unwrap_or_default();
    let start_line = text(line);
    let cseq = |cseq: sip::CSeq<'_>| format!("{} {}", cseq.number, text(cseq.method_bytes));
    match sip::parse(bytes, index) {
        Parsed::Request(request) => (start_line, cseq(request.cseq()), text(request.method_bytes())),
        Parsed::Response(response) => {
            let reason = text(response.reason().of(response.message().bytes()));
            let method = response.cseq().method;
            let of = if method == Method::Invite {
                String::new()
            } else {
                format!(" ({})", text(response.cseq().method_bytes))
            };
            (start_line, cseq(response.cseq()), format!("{} {reason}{of}", response.status()))
        }
        _ => (start_line.clone(), String::new(), start_line),
    }
}

fn text(bytes: &[u8]) -> String {
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    String::from_utf8_lossy(bytes).chars().map(shown).collect()
}
