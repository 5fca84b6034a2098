//! Numbers on tables; how many calls a trunk or environment may have, how fast, and where to.

use super::Strangers;
use sip::Number;

/// What one party may use. What is `None` or 0 is not limited.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Quota {
    /// Calls at one time, in both directions.
    pub max_channels: Option<u32>,
    /// New calls in a second, in both directions.
    pub calls_per_second: Option<u32>,
    /// A trunk: so many of its channels are for calls of prod alone.
    pub prod_reserve: u32,
    /// A trunk: calls at one time for each gateway, in their order; empty for none, 0 for no limit.
    pub gateway_channels: Vec<u32>,
    /// An environment: where its outbound calls may go; `None` for anywhere.
    pub destinations: Option<Vec<NumberPrefix>>,
    /// An environment: its outbound calls of one day, from midnight to midnight UTC.
    pub daily_calls: Option<u32>,
}

/// Numbers on tables. See docs/reference/limits.md.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LimitSettings {
    /// Open transactions; above it new INVITEs get 503 and other requests out of a dialog as well.
    pub transactions: usize,
    /// Retry-After of the 503s that we send, in seconds.
    pub retry_after_secs: u32,
    /// How long a call is counted that nobody ends, in seconds.
    pub call_age_secs: u32,
    /// Bytes that open transactions hold; above it new requests out of a dialog get 503.
    pub transaction_bytes: usize,
    /// Requests out of a dialog that one source address may send in a second; above it they get 480. 0 is no limit.
    pub requests_per_second: u32,
    /// Seconds of that rate which may come at once.
    pub requests_burst_secs: u32,
    /// What becomes of those who are no peers.
    pub strangers: Strangers,
    /// The status of a call that is one too many.
    pub busy_status: u16,
    /// The status of a call that came too fast.
    pub rate_status: u16,
    /// New calls of one DID in a second.
    pub did_calls_per_second: Option<u32>,
    /// New calls of one organisation in a second.
    pub organisation_calls_per_second: Option<u32>,
}

impl Default for LimitSettings {
    fn default() -> Self {
        let (transactions, call_age_secs) = (crate::limits::TRANSACTIONS, crate::limits::CALL_AGE_SECS);
        LimitSettings {
            transactions,
            retry_after_secs: 5,
            call_age_secs,
            transaction_bytes: crate::limits::TRANSACTION_BYTES,
            requests_per_second: 0,
            requests_burst_secs: 1,
            strangers: Strangers::Kernel,
            busy_status: 486,
            rate_status: 480,
            did_calls_per_second: None,
            organisation_calls_per_second: None,
        }
    }
}

/// The first digits of a number, in its international form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NumberPrefix(u64);

impl NumberPrefix {
    /// 1 to 15 digits, with or without `+`, and no zero in front.
    pub fn parse(text: &str) -> Option<NumberPrefix> {
        let digits = text.strip_prefix('+').unwrap_or(text);
        let is_plain = (1..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        let value = digits.parse().ok().filter(|_| is_plain && !digits.starts_with('0'))?;
        Some(NumberPrefix(value))
    }

    /// True for a number that begins with these digits.
    pub fn covers(self, number: Number) -> bool {
        let mut left = number.digits();
        while left > self.0 {
            left /= 10;
        }
        left == self.0
    }
}

impl std::fmt::Display for NumberPrefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "+{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_covers_what_begins_with_it() {
        let number = Number::from_digits(447_700_900_123).unwrap();
        for (prefix, covers) in
            [("+4477009", true), ("44", true), ("4", true), ("447700900123", true), ("45", false), ("77", false)]
        {
            assert_eq!(NumberPrefix::parse(prefix).unwrap().covers(number), covers, "{prefix}");
        }
        assert!(!NumberPrefix::parse("4477009001234").unwrap().covers(number), "a prefix longer than the number");
        for wrong in ["", "+", "044", "44 77", "44x", "1234567890123456"] {
            assert_eq!(NumberPrefix::parse(wrong), None, "{wrong}");
        }
    }
}
