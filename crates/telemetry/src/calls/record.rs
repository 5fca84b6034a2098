//! One call attempt, as it is written down. docs/reference/call-records.md describes every field, and a test compares.

use super::json::{self, Object, member};
use super::rules::Rules;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A text of a record. Up to 23 bytes, as names, numbers and addresses have, stand in place and cost no room of their own;
/// a longer one is shared by those who have it.
pub type Word = smol_str::SmolStr;

/// One call attempt: answered, failed or refused. Field names are stable; a field without a value is left out.
#[derive(Clone, PartialEq, Eq, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(default)]
pub struct CallRecord {
    /// Names this record: the same when a sink gets it twice.
    pub id: Word,
    /// The Call-ID, as it arrived.
    pub call_id: Word,
    /// When the INVITE arrived. Times are milliseconds since 1970.
    pub began_at_ms: u64,
    /// When it first rang.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ringing_at_ms: Option<u64>,
    /// When it was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_at_ms: Option<u64>,
    /// When it was over; not there while it is in progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at_ms: Option<u64>,
    /// From the INVITE to its final response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setup_ms: Option<u64>,
    /// From the answer to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub talked_ms: Option<u64>,
    /// `inbound` or `outbound`; empty where it was refused before anybody asked.
    pub direction: Word,
    /// The party that sent it.
    pub from: Word,
    /// The address that it came from.
    pub source: Word,
    /// The party that took it, or was tried last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Word>,
    /// The peer that it went to last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Word>,
    /// The environment that dispatch chose: by the row, or what lies over it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment_chosen: Option<Word>,
    /// The environment that the call came from or went to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<Word>,
    /// The trunk that the call came from or went to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trunk: Option<Word>,
    /// The id of the organisation whose call it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organisation: Option<Word>,
    /// The called user part, as received.
    pub called_received: Word,
    /// The called number in E.164 with `+`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub called: Option<Word>,
    /// The called user part, as it was sent on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub called_sent: Option<Word>,
    /// The user part of From, as received.
    pub caller_received: Word,
    /// The same in E.164 with `+`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<Word>,
    /// The user part of the first P-Asserted-Identity of an outbound call, as received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller_asserted: Option<Word>,
    /// The user part of From, as it was sent on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller_sent: Option<Word>,
    /// The number of ours that was chosen as the caller ID of an outbound call, whichever header carries it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller_did: Option<Word>,
    /// Which rule chose the caller ID of an outbound call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller_rule: Option<Word>,
    /// The call claimed a number of another organisation.
    #[serde(skip_serializing_if = "is_false")]
    pub caller_foreign: bool,
    /// The rule that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Word>,
    /// Every rule tried, in order.
    #[serde(skip_serializing_if = "<[Word]>::is_empty")]
    #[schemars(with = "Vec<Word>")]
    pub rules: Rules,
    /// What lay over the row: `panic`, `tester` or `lease`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlay: Option<Word>,
    /// The version of the directory that was asked.
    pub generation: u64,
    /// Where it was tried, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<AttemptRecord>,
    /// How often the next peer was tried.
    pub failovers: u32,
    /// `answered`, `refused`, `busy`, `cancelled`, `not_found`, `unavailable`, `failed`; `in_progress` until then.
    pub outcome: Word,
    /// The final status that the caller got.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why we refused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Word>,
    /// Who or what ended it: `caller`, `callee`, `expired`, `aged`; `proxy` where we refused it, `cancel` where the
    /// caller gave up, `final` where the callee did not take it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<Word>,
    /// Media addresses in its SDP outside the networks of who sent them: calls with one-way audio begin so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stray_media: Vec<StrayMedia>,
    /// Messages that arrived and left.
    pub messages: u32,
    /// Bytes that arrived.
    pub bytes_in: u64,
    /// Bytes that left.
    pub bytes_out: u64,
    /// It began before this process did, which was told of it by the one before.
    #[serde(skip_serializing_if = "is_false")]
    pub restarted: bool,
}

impl CallRecord {
    /// Writes it behind what `out` has, byte for byte as serde would: every call is written down, and this is a fraction of
    /// the work.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let mut object = Object::begin(out);
        object
            .text(member!("id"), &self.id)
            .text(member!("call_id"), &self.call_id)
            .number(member!("began_at_ms"), self.began_at_ms);
        object
            .number(member!("ringing_at_ms"), self.ringing_at_ms)
            .number(member!("answered_at_ms"), self.answered_at_ms);
        object
            .number(member!("ended_at_ms"), self.ended_at_ms)
            .number(member!("setup_ms"), self.setup_ms)
            .number(member!("talked_ms"), self.talked_ms);
        object
            .text(member!("direction"), &self.direction)
            .text(member!("from"), &self.from)
            .text(member!("source"), &self.source);
        object.word(member!("to"), self.to.as_deref()).word(member!("target"), self.target.as_deref());
        object
            .word(member!("environment_chosen"), self.environment_chosen.as_deref())
            .word(member!("environment"), self.environment.as_deref());
        object
            .word(member!("trunk"), self.trunk.as_deref())
            .word(member!("organisation"), self.organisation.as_deref());
        object.text(member!("called_received"), &self.called_received).word(member!("called"), self.called.as_deref());
        object
            .word(member!("called_sent"), self.called_sent.as_deref())
            .text(member!("caller_received"), &self.caller_received);
        object
            .word(member!("caller"), self.caller.as_deref())
            .word(member!("caller_asserted"), self.caller_asserted.as_deref());
        object
            .word(member!("caller_sent"), self.caller_sent.as_deref())
            .word(member!("caller_did"), self.caller_did.as_deref());
        object
            .word(member!("caller_rule"), self.caller_rule.as_deref())
            .truth(member!("caller_foreign"), self.caller_foreign);
        object.word(member!("rule"), self.rule.as_deref());
        object.list(member!("rules"), &self.rules, |out, rule| json::text(out, rule));
        object.word(member!("overlay"), self.overlay.as_deref()).number(member!("generation"), self.generation);
        object.list(member!("attempts"), &self.attempts, |out, attempt| attempt.write_json(out));
        object.number(member!("failovers"), u64::from(self.failovers)).text(member!("outcome"), &self.outcome);
        object.number(member!("status"), self.status.map(u64::from)).word(member!("reason"), self.reason.as_deref());
        object.word(member!("ended_by"), self.ended_by.as_deref());
        object.list(member!("stray_media"), &self.stray_media, |out, stray| stray.write_json(out));
        object
            .number(member!("messages"), u64::from(self.messages))
            .number(member!("bytes_in"), self.bytes_in)
            .number(member!("bytes_out"), self.bytes_out);
        object.truth(member!("restarted"), self.restarted);
        object.end();
    }
}

/// One media address outside its sender's networks.
#[derive(Clone, PartialEq, Eq, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(default)]
pub struct StrayMedia {
    /// The party whose SDP named it.
    pub from: Word,
    /// The address.
    pub address: Word,
}

/// One peer that was tried.
#[derive(Clone, PartialEq, Eq, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(default)]
pub struct AttemptRecord {
    /// Its party.
    pub to: Word,
    /// Its address.
    pub target: Word,
    /// When.
    pub at_ms: u64,
    /// Why the next one was tried: `timeout`, `unreachable`, `unavailable`, `status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Word>,
}

impl StrayMedia {
    fn write_json(&self, out: &mut Vec<u8>) {
        let mut object = Object::begin(out);
        object.text(member!("from"), &self.from).text(member!("address"), &self.address);
        object.end();
    }
}

impl AttemptRecord {
    fn write_json(&self, out: &mut Vec<u8>) {
        let mut object = Object::begin(out);
        object.text(member!("to"), &self.to).text(member!("target"), &self.target).number(member!("at_ms"), self.at_ms);
        object.word(member!("failure"), self.failure.as_deref());
        object.end();
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// All words of `outcome`.
pub(crate) const OUTCOMES: [&str; 8] =
    ["answered", "refused", "busy", "cancelled", "not_found", "unavailable", "failed", "in_progress"];

/// How the setup of a call ended, by the status that the caller got (RFC 3261 21).
pub(crate) fn outcome(status: u16) -> &'static str {
    match status {
        ..300 => "answered",
        486 | 600 | 603 => "busy",
        487 => "cancelled",
        404 | 410 | 484 | 604 => "not_found",
        408 | 480 | 503 | 504 => "unavailable",
        _ => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Field by field: empty, plain, and with all that JSON escapes.
    #[test]
    fn a_record_is_written_as_serde_writes_it() {
        let plain = Word::from("plain");
        let odd = Word::from("\"quoted\" \\ \u{1}\n\t\u{7f} \u{e9}\u{1f4de} /");
        let written = |record: &CallRecord| {
            let mut out = b"before".to_vec();
            record.write_json(&mut out);
            String::from_utf8(out).unwrap()
        };
        let is_same = |record: &CallRecord| {
            assert_eq!(written(record), format!("before{}", serde_json::to_string(record).unwrap()));
        };
        is_same(&CallRecord::default());
        let long = Word::from("longer than stands in place, \"quoted\" at the end\"");
        for word in [plain, odd, long] {
            let full = full(&word);
            is_same(&full);
            // What serde knows of it is all there: with one member less the lengths would differ.
            let members = serde_json::to_value(&full).unwrap();
            for (name, value) in members.as_object().unwrap() {
                let less: CallRecord =
                    serde_json::from_value([(name.clone(), value.clone())].into_iter().collect()).unwrap();
                is_same(&less);
            }
        }
    }

    fn full(word: &Word) -> CallRecord {
        let (text, number) = (word.clone(), Some(1_800_000_000_123));
        let some = || Some(text.clone());
        let attempt = |failure| AttemptRecord { to: text.clone(), target: text.clone(), at_ms: u64::MAX, failure };
        CallRecord {
            id: text.clone(),
            call_id: text.clone(),
            began_at_ms: 7,
            ringing_at_ms: number,
            answered_at_ms: number,
            ended_at_ms: number,
            setup_ms: Some(0),
            talked_ms: number,
            direction: word.clone(),
            from: text.clone(),
            source: text.clone(),
            to: some(),
            target: some(),
            environment_chosen: Some(word.clone()),
            environment: some(),
            trunk: some(),
            organisation: some(),
            called_received: text.clone(),
            called: some(),
            called_sent: some(),
            caller_received: text.clone(),
            caller: some(),
            caller_asserted: some(),
            caller_sent: some(),
            caller_did: some(),
            caller_rule: Some(word.clone()),
            caller_foreign: true,
            rule: Some(word.clone()),
            rules: vec![word.clone(), Word::from(""), word.clone()].into(),
            overlay: Some(word.clone()),
            generation: 42,
            attempts: vec![attempt(None), attempt(Some(word.clone()))],
            failovers: u32::MAX,
            outcome: word.clone(),
            status: Some(200),
            reason: Some(word.clone()),
            ended_by: Some(word.clone()),
            stray_media: vec![StrayMedia { from: text.clone(), address: text.clone() }],
            messages: 13,
            bytes_in: 5_000,
            bytes_out: 6_000,
            restarted: true,
        }
    }
}
