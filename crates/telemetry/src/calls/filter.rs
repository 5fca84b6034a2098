//! Which calls: `did=918065978000,outcome=failed`.

use super::record::CallRecord;
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
        Key::Did if record.direction == "outbound" => is_number(wanted, record.caller_sent.as_deref()),
        Key::Did => is_number(wanted, record.called.as_deref().or(Some(&record.called_received))),
        Key::Number => {
            let numbers = [
                record.called.as_deref(),
                Some(&*record.called_received),
                Some(&*record.caller_received),
                record.caller_sent.as_deref(),
            ];
            numbers.into_iter().any(|number| is_number(wanted, number))
        }
        Key::Peer => {
            let mut attempts = record.attempts.iter().flat_map(|attempt| [&*attempt.to, &*attempt.target]);
            record.from == wanted
                || is(record.to.as_deref())
                || record.source.starts_with(wanted)
                || attempts.any(|peer| peer == wanted || peer.contains(wanted))
        }
        // Whatever was not answered and is not in progress has failed, for one who asks so.
        Key::Outcome if wanted == "failed" => !matches!(&*record.outcome, "answered" | "in_progress"),
        Key::Outcome => record.outcome == wanted,
        Key::Direction => record.direction == wanted,
        Key::Environment => is(record.environment.as_deref()),
        Key::Status => record.status.is_some_and(|status| status.to_string() == wanted),
        Key::Rule => is(record.rule.as_deref()),
        Key::CallId => record.call_id == wanted,
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
            let is_number = matches!(key, Key::Did | Key::Number);
            if is_number && value.chars().filter(char::is_ascii_digit).count() < DIGITS_MIN {
                return Err(format!("{name}: found {value:?}, expected {DIGITS_MIN} digits or more"));
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
        assert!("did".parse::<CallFilter>().is_err() && "did=12".parse::<CallFilter>().is_err());
        assert_eq!(
            "did=918065978000,outcome=failed".parse::<CallFilter>().unwrap().to_string(),
            "did=918065978000,outcome=failed"
        );
    }
}
