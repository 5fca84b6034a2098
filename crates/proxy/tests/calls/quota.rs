//! How many calls a text's parties may have: `quota: staging = max_channels 2, calls_per_second 1`.

use proxy::settings::{LimitSettings, NumberPrefix, Quota};

/// Applies a list of words, each with its values, to one party.
pub(crate) fn quota(quota: &mut Quota, value: &str) -> Result<(), String> {
    for part in value.split(',') {
        let words: Vec<&str> = part.split_whitespace().collect();
        match words.as_slice() {
            ["max_channels", most] => quota.max_channels = Some(number(most)?),
            ["calls_per_second", most] => quota.calls_per_second = Some(number(most)?),
            ["prod_reserve", kept] => quota.prod_reserve = number(kept)?,
            ["gateway_channels", most @ ..] => {
                quota.gateway_channels = most.iter().map(|most| number(most)).collect::<Result<_, _>>()?;
            }
            ["destinations", prefixes @ ..] => {
                let read = |text: &&str| NumberPrefix::parse(text).ok_or_else(|| format!("{text} is no prefix"));
                quota.destinations = Some(prefixes.iter().map(read).collect::<Result<_, _>>()?);
            }
            ["daily_calls", most] => quota.daily_calls = Some(number(most)?),
            _ => return Err(format!("found {part:?}, expected a word of fixtures/calls/README.md and its numbers")),
        }
    }
    Ok(())
}

/// `limits: busy_status = 480`: what holds for every call.
pub(crate) fn limits(limits: &mut LimitSettings, name: &str, value: &str) -> Result<(), String> {
    match name {
        "busy_status" => limits.busy_status = number(value)?,
        "rate_status" => limits.rate_status = number(value)?,
        "did_calls_per_second" => limits.did_calls_per_second = Some(number(value)?),
        "organisation_calls_per_second" => limits.organisation_calls_per_second = Some(number(value)?),
        _ => return Err(format!("found {name:?}, expected a key of fixtures/calls/README.md")),
    }
    Ok(())
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("found {text:?}, expected a number"))
}
