//! Limits on calls: how many at one time, how fast they may come, and where to.

use super::Resolver;
use super::parties::Side;
use crate::config::fault::Key;
use crate::config::limits;
use crate::config::quota::{EnvironmentQuotaSettings, LimitsSettings, TrunkQuotaSettings};
use proxy::settings::{LimitSettings, NumberPrefix, Quota};
use std::ops::RangeInclusive;
use std::time::Duration;

/// The shortest and the longest time that a call is counted that nobody ends.
const CALL_AGE: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(7 * 86_400);
/// Calls at one time, or in one day, that a key may say.
const CALLS_MAX: u32 = 10_000_000;
/// Calls in one second that a key may say.
const CALLS_PER_SECOND_MAX: u32 = 100_000;

impl Resolver<'_, '_> {
    /// What `[limits]` says of calls; the rest of it is as by default.
    pub(super) fn call_limits(&mut self, written: &LimitsSettings) -> LimitSettings {
        let table = Key::of("limits");
        let call_age = self.duration(&table.name("call_age"), &written.call_age, CALL_AGE);
        let (did, organisation) = ("did_calls_per_second", "organisation_calls_per_second");
        LimitSettings {
            call_age_secs: u32::try_from(call_age.as_secs()).unwrap_or(u32::MAX),
            busy_status: self.busy_or_unavailable(&table.name("busy_status"), &written.busy_status),
            rate_status: self.busy_or_unavailable(&table.name("rate_status"), &written.rate_status),
            did_calls_per_second: self.rate(&table.name(did), written.did_calls_per_second),
            organisation_calls_per_second: self.rate(&table.name(organisation), written.organisation_calls_per_second),
            ..LimitSettings::default()
        }
    }

    pub(super) fn trunk_quota(&mut self, side: &Side<'_>, written: &TrunkQuotaSettings) -> Quota {
        let table = side.key.name("quota");
        let max_channels = self.channels(&table.name("max_channels"), written.max_channels);
        if written.prod_reserve > 0 && max_channels.is_none_or(|most| most < written.prod_reserve) {
            let key = table.name("prod_reserve");
            self.refuse(&key, &written.prod_reserve.to_string(), "a part of the trunk's max_channels");
        }
        let list = table.name("gateway_channels");
        if !written.gateway_channels.is_empty() && written.gateway_channels.len() != side.peers.len() {
            self.refuse(&list, "", format!("as many numbers as {}", side.peers_name));
        }
        for (index, channels) in written.gateway_channels.iter().enumerate() {
            self.channels(&list.index(index), Some(*channels).filter(|channels| *channels > 0));
        }
        Quota {
            max_channels,
            calls_per_second: self.rate(&table.name("calls_per_second"), written.calls_per_second),
            prod_reserve: written.prod_reserve,
            gateway_channels: written.gateway_channels.clone(),
            ..Quota::default()
        }
    }

    pub(super) fn environment_quota(&mut self, side: &Side<'_>, written: &EnvironmentQuotaSettings) -> Quota {
        let table = side.key.name("quota");
        let list = table.name("destinations");
        let count = written.destinations.as_ref().map_or(1, Vec::len);
        if !(1..=limits::DESTINATIONS).contains(&count) {
            self.refuse(&list, "", format!("1 to {} prefixes; without the key, every number", limits::DESTINATIONS));
        }
        let mut prefixes = Vec::new();
        for (index, text) in written.destinations.iter().flatten().enumerate() {
            match NumberPrefix::parse(text).filter(|_| text.starts_with('+')) {
                Some(prefix) => prefixes.push(prefix),
                None => {
                    self.refuse(
                        &list.index(index),
                        text,
                        "the first digits of an E.164 number with +, as \"+4477009\"",
                    );
                }
            }
        }
        Quota {
            max_channels: self.channels(&table.name("max_channels"), written.max_channels),
            calls_per_second: self.rate(&table.name("calls_per_second"), written.calls_per_second),
            destinations: written.destinations.as_ref().map(|_| prefixes),
            daily_calls: self.channels(&table.name("daily_calls"), written.daily_calls),
            ..Quota::default()
        }
    }

    fn channels(&mut self, key: &Key, written: Option<u32>) -> Option<u32> {
        self.number_up_to(key, written, CALLS_MAX)
    }

    fn rate(&mut self, key: &Key, written: Option<u32>) -> Option<u32> {
        self.number_up_to(key, written, CALLS_PER_SECOND_MAX)
    }

    fn number_up_to(&mut self, key: &Key, written: Option<u32>, most: u32) -> Option<u32> {
        let number = written?;
        if !(1..=most).contains(&number) {
            self.refuse(
                key,
                &number.to_string(),
                format!("a number from 1 to {most}; without the key there is no limit"),
            );
        }
        Some(number)
    }

    /// The two statuses that send a call nowhere else: it would only come back by another way.
    fn busy_or_unavailable(&mut self, key: &Key, text: &str) -> u16 {
        match text {
            "486" => 486,
            "480" => 480,
            _ => {
                self.refuse(key, text, "\"486\" or \"480\"");
                480
            }
        }
    }
}
