//! Which calls: `did=918065978000,outcome=failed`.

use super::record::{CallRecord, OUTCOMES};
use crate::peer::PeerAddress;
use directory::Environment;
use std::fmt;
use std::str::FromStr;

/// The fewest digits that a number is looked for by.
const DIGITS_MIN: usize = 3;

/// Conditions that all must hold. An empty filter lets every call pass.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CallFilter {
    conditions: Vec<(Key, String)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Key {
    Did,
    Number,
    Peer,
    Outcome,
    Direction,
    Environment,
    Status,
    Rule,
    CallId,
}

const KEYS: [(&str, Key); 9] = [
    ("did", Key::Did),
    ("number", Key::Number),
    ("peer", Key::Peer),
    ("outcome", Key::Outcome),
    ("direction", Key::Direction),
    ("environment", Key::Environment),
    ("status", Key::Status),
    ("rule", Key::Rule),
    ("call_id", Key::CallId),
];

impl CallFilter {
    /// True when every condition holds.
    pub fn matches(&self, record: &CallRecord) -> bool {
        self.conditions.iter().all(|(key, wanted)| holds(*key, wanted, record))
    }
}

fn holds(key: Key, wanted: &str, record: &CallRecord) -> bool {
    let is = |value: Option<&str>| value == Some(wanted);
    match key {
        // The DID is what is called inbound, and what is shown outbound.
        Key::Did if record.direction == "outbound" => {
            is_number(wanted, record.caller_did.as_deref().or(record.caller_sent.as_deref()))
        }
        Key::Did => is_number(wanted, record.called.as_deref().or(Some(&record.called_received))),
        Key::Number => {
            let numbers = [
                record.called.as_deref(),
                Some(&*record.called_received),
                Some(&*record.caller_received),
                record.caller_sent.as_deref(),
                record.caller_did.as_deref(),
            ];
            numbers.into_iter().any(|number| is_number(wanted, number))
        }
        Key::Peer => {
            let attempts = &record.attempts;
            match PeerAddress::read(wanted) {
                Some(peer) => peer.is(&record.source) || attempts.iter().any(|attempt| peer.is(&attempt.target)),
                None => {
                    let is_tried = attempts.iter().any(|attempt| attempt.to == wanted);
                    record.from == wanted || is(record.to.as_deref()) || is_tried
                }
            }
        }
        // Whatever was not answered and is not in progress has failed, for one who asks so.
        Key::Outcome if wanted == "failed" => !matches!(&*record.outcome, "answered" | "in_progress"),
        Key::Outcome => record.outcome == wanted,
        Key::Direction => record.direction == wanted,
        Key::Environment => is(record.environment.as_deref()),
        Key::Status => wanted.parse().is_ok_and(|wanted| record.status == Some(wanted)),
        Key::Rule => is(record.rule.as_deref()),
        Key::CallId => record.call_id == wanted,
    }
}

/// What a value of this key may be, in words, when this is none: a filter that no call can pass is a slip.
fn unfit(key: Key, value: &str) -> Option<String> {
    let is_one_of = |words: &[&str]| (!words.contains(&value)).then(|| format!("one of {}", words.join(", ")));
    match key {
        Key::Did | Key::Number => (value.chars().filter(char::is_ascii_digit).count() < DIGITS_MIN)
            .then(|| format!("{DIGITS_MIN} digits or more")),
        Key::Outcome => is_one_of(&OUTCOMES),
        Key::Direction => is_one_of(&["inbound", "outbound"]),
        Key::Environment => {
            is_one_of(&Environment::ALL.iter().map(|environment| environment.as_str()).collect::<Vec<_>>())
        }
        Key::Status => {
            (!value.parse().is_ok_and(|status| (100..700_u16).contains(&status))).then(|| "100 to 699".to_owned())
        }
        Key::Peer if PeerAddress::is_meant(value) => PeerAddress::read(value)
            .is_none()
            .then(|| "a party, or an address as 10.10.10.2 or udp:10.10.10.2:5060".into()),
        Key::Peer | Key::Rule | Key::CallId => value.is_empty().then(|| "a word".to_owned()),
    }
}

/// One number in any two spellings: they end alike, and what differs is a prefix.
fn is_number(wanted: &str, found: Option<&str>) -> bool {
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    let national = |text: String| text.trim_start_matches('0').to_owned();
    let (wanted, found) = (national(digits(wanted)), national(digits(found.unwrap_or_default())));
    wanted.len() >= DIGITS_MIN && found.len() >= DIGITS_MIN && (found.ends_with(&wanted) || wanted.ends_with(&found))
}

impl FromStr for CallFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<CallFilter, String> {
        let mut conditions = Vec::new();
        for condition in text.split(',').map(str::trim).filter(|condition| !condition.is_empty()) {
            let known = || KEYS.map(|(name, _)| name).join(", ");
            let (name, value) =
                condition.split_once('=').ok_or_else(|| format!("found {condition:?}, expected KEY=VALUE"))?;
            let key = KEYS.iter().find(|(known, _)| *known == name.trim()).map(|(_, key)| *key);
            let key = key.ok_or_else(|| format!("found {name:?}, expected one of {}", known()))?;
            let value = value.trim();
            if let Some(expected) = unfit(key, value) {
                return Err(format!("{name}: found {value:?}, expected {expected}"));
            }
            conditions.push((key, value.to_owned()));
        }
        Ok(CallFilter { conditions })
    }
}

impl fmt::Display for CallFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |key: Key| KEYS.iter().find(|(_, known)| *known == key).map_or("", |(name, _)| name);
        let conditions: Vec<String> =
            self.conditions.iter().map(|(key, value)| format!("{}={value}", named(*key))).collect();
        f.write_str(&conditions.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::AttemptRecord;

    #[test]
    fn numbers_are_found_in_any_spelling_and_conditions_all_hold() {
        let record = CallRecord {
            direction: "inbound".into(),
            called: Some("+918065978000".into()),
            called_received: "08065978000".into(),
            caller_received: "447700900001".into(),
            outcome: "busy".into(),
            status: Some(486),
            ..CallRecord::default()
        };
        let matches = |text: &str| text.parse::<CallFilter>().unwrap().matches(&record);
        for text in ["", "did=8065978000", "did=08065978000, outcome=failed", "did=+91 80659 78000", "status=486"] {
            assert!(matches(text), "{text}");
        }
        assert!(matches("number=+447700900001,direction=inbound"));
        for text in ["did=918065978001", "outcome=answered", "did=8065978000,status=404", "did=447700900001"] {
            assert!(!matches(text), "{text}");
        }
        assert_eq!("colour=red".parse::<CallFilter>().unwrap_err().split(',').next(), Some("found \"colour\""));
        for (text, expected) in [
            ("did", "KEY=VALUE"),
            ("did=12", "3 digits or more"),
            ("outcome=bogus", "answered, refused"),
            ("direction=sideways", "inbound, outbound"),
            ("environment=mars", "prod, staging, oss"),
            ("status=abc", "100 to 699"),
            ("status=42", "100 to 699"),
            ("peer=", "a word"),
            ("peer=10.10.10.0/24", "a party, or an address"),
            ("peer=10.10.10.", "a party, or an address"),
        ] {
            let fault = text.parse::<CallFilter>().unwrap_err();
            assert!(fault.contains(expected), "{fault}");
        }
        assert_eq!(
            "did=918065978000,outcome=failed".parse::<CallFilter>().unwrap().to_string(),
            "did=918065978000,outcome=failed"
        );
    }

    /// A peer is a party or an address, never a part of one.
    #[test]
    fn a_peer_is_found_by_its_whole_address() {
        let attempt =
            |target: &str| AttemptRecord { to: "prod".into(), target: target.into(), ..AttemptRecord::default() };
        let record = CallRecord {
            from: "tata".into(),
            source: "10.10.10.2:5060".into(),
            to: Some("prod".into()),
            attempts: vec![attempt("udp:10.10.10.11:5070"), attempt("tcp:[2001:db8::1]:5060")],
            ..CallRecord::default()
        };
        let matches = |peer: &str| format!("peer={peer}").parse::<CallFilter>().unwrap().matches(&record);
        for peer in [
            "tata",
            "prod",
            "10.10.10.2",
            "10.10.10.2:5060",
            "10.10.10.11",
            "10.10.10.11:5070",
            "udp:10.10.10.11:5070",
            "2001:db8::1",
            "[2001:db8::1]:5060",
            "[2001:db8::1]",
            "udp:10.10.10.11",
            "udp:10.10.10.2:5060",
        ] {
            assert!(matches(peer), "{peer}");
        }
        for peer in ["10.10.10.1", "10.10.10.2:506", "ta", "udp", "2001:db8::", "tcp:10.10.10.11:5070"] {
            assert!(!matches(peer), "{peer}");
        }
    }

    /// The DID of an outbound call is the one that was chosen, though From has none.
    #[test]
    fn an_outbound_call_is_found_by_the_did_that_it_shows() {
        let record = CallRecord {
            direction: "outbound".into(),
            caller_received: "anonymous".into(),
            caller_asserted: Some("org_a1b2c3d4_1001".into()),
            caller_sent: Some("anonymous".into()),
            caller_did: Some("+918065978003".into()),
            ..CallRecord::default()
        };
        let matches = |text: &str| text.parse::<CallFilter>().unwrap().matches(&record);
        assert!(matches("did=08065978003") && matches("number=8065978003") && !matches("did=8065978004"));
        let passed = CallRecord { caller_did: None, caller_sent: Some("+918065978003".into()), ..record };
        assert!("did=8065978003".parse::<CallFilter>().unwrap().matches(&passed));
    }
}
