//! Times: milliseconds since 1970 on the wire, UTC for people.

use std::time::{SystemTime, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::problem::{Kind, Problem};

/// When something ends: one of both, or neither for no end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub struct End {
    /// Seconds from now, by the process's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_s: Option<u64>,
    /// Milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at_ms: Option<u64>,
}

impl End {
    /// The end in milliseconds since 1970; `None` for none.
    pub(crate) fn at_ms(self) -> Result<Option<u64>, Problem> {
        match self {
            End { for_s: None, ends_at_ms } => Ok(ends_at_ms),
            End { for_s: Some(for_s), ends_at_ms: None } => {
                Ok(Some(now_ms().saturating_add(for_s.saturating_mul(1_000))))
            }
            End { for_s: Some(_), ends_at_ms: Some(_) } => {
                Err(Problem::new(Kind::Invalid, "found for_s and ends_at_ms, expected one of them"))
            }
        }
    }

    /// The end of what must have one.
    pub(crate) fn needed(self, what: &str) -> Result<u64, Problem> {
        let none = || Problem::new(Kind::Invalid, format!("found no end, expected for_s or ends_at_ms: {what} ends"));
        self.at_ms()?.ok_or_else(none)
    }
}

/// Now, in milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A time for people: `2026-11-22 18:00:00 UTC`.
pub fn shown(at_ms: u64) -> String {
    let moment = i64::try_from(at_ms / 1_000).ok().and_then(|at_s| OffsetDateTime::from_unix_timestamp(at_s).ok());
    let Some(moment) = moment else { return "never".to_owned() };
    let (date, (hour, minute, second)) = (moment.date(), moment.to_hms());
    format!("{date} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Reads a time that people write: RFC 3339, its seconds left out or not, or `2026-11-22 18:00` and `2026-11-22 18:00:00` for
/// UTC. Milliseconds since 1970.
pub fn parsed(text: &str) -> Option<u64> {
    let text = text.trim().trim_end_matches("UTC").trim_end();
    // Up to the minute, and what is behind it: a zone alone leaves the seconds out.
    let parts = text.split_at_checked("2026-11-22 18:00".len());
    let spelled = match (text.len(), parts) {
        (19, _) => format!("{text}Z"),
        (_, Some((minute, ""))) => format!("{minute}:00Z"),
        (_, Some((minute, zone))) if !zone.starts_with(':') => format!("{minute}:00{zone}"),
        _ => text.to_owned(),
    };
    let moment = OffsetDateTime::parse(&spelled.replacen(' ', "T", 1), &Rfc3339).ok()?;
    u64::try_from(moment.unix_timestamp_nanos() / 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_it_is_shown() {
        for (text, at_ms) in [
            ("2026-11-22T18:00:00Z", 1_795_370_400_000),
            ("2026-11-22 18:00", 1_795_370_400_000),
            ("2026-11-22 18:00:00", 1_795_370_400_000),
            ("2026-11-22 18:00:00 UTC", 1_795_370_400_000),
            ("2026-11-22T23:30:00+05:30", 1_795_370_400_000),
            ("2026-11-22T23:30+05:30", 1_795_370_400_000),
            ("2026-11-22 18:00Z", 1_795_370_400_000),
            ("1970-01-01T00:00:00.5Z", 500),
        ] {
            assert_eq!(parsed(text), Some(at_ms), "{text}");
        }
        assert_eq!(shown(1_795_370_400_999), "2026-11-22 18:00:00 UTC");
        assert_eq!(shown(u64::MAX), "never");
        for text in [
            "",
            "tomorrow",
            "18:00",
            "2026-13-01 18:00",
            "1969-01-01T00:00:00Z",
            "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }
}
