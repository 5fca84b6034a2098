//! What is refused, and from when on, and how many share the work: `[limits]`, `sip.strangers` and `sip.workers`.

use super::super::fault::Key;
use super::super::limits;
use super::super::settings::{Settings, SipSettings};
use super::Resolver;
use proxy::settings::{LimitSettings, Strangers};
use std::ops::RangeInclusive;
use std::time::Duration;

/// The longest Retry-After.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

impl Resolver<'_, '_> {
    pub(super) fn limits(&mut self, settings: &Settings) -> LimitSettings {
        let written = &settings.limits;
        let key = Key::of("limits").name("retry_after");
        let retry_after = self.duration(&key, &written.retry_after, Duration::from_secs(1)..=RETRY_AFTER_MAX);
        if retry_after.subsec_millis() != 0 {
            self.refuse(&key, &written.retry_after, "whole seconds");
        }
        let transactions = limits::TRANSACTIONS_MIN..=limits::TRANSACTIONS_MAX;
        let bytes = limits::TRANSACTION_BYTES_MIN..=limits::TRANSACTION_BYTES_MAX;
        let per_second = 0..=limits::REQUESTS_PER_SECOND_MAX;
        LimitSettings {
            transactions: self.number("transactions", written.transactions, &transactions),
            retry_after_secs: u32::try_from(retry_after.as_secs()).unwrap_or(u32::MAX),
            transaction_bytes: self.number("transaction_bytes", written.transaction_bytes, &bytes),
            requests_per_second: self.number("requests_per_second", written.requests_per_second.into(), &per_second),
            strangers: self.strangers(&settings.sip.strangers),
            ..self.call_limits(written)
        }
    }

    pub(super) fn workers(&mut self, sip: &SipSettings) -> u16 {
        self.number_at(&Key::of("sip").name("workers"), sip.workers, &limits::WORKERS)
    }

    /// A number of `[limits]`; the least where it has a fault.
    fn number<N>(&mut self, name: &'static str, written: u64, range: &RangeInclusive<N>) -> N
    where
        N: TryFrom<u64> + PartialOrd + Copy + std::fmt::Display,
    {
        self.number_at(&Key::of("limits").name(name), written, range)
    }

    fn number_at<N>(&mut self, key: &Key, written: u64, range: &RangeInclusive<N>) -> N
    where
        N: TryFrom<u64> + PartialOrd + Copy + std::fmt::Display,
    {
        if let Some(number) = N::try_from(written).ok().filter(|number| range.contains(number)) {
            return number;
        }
        let expected = format!("a number from {} to {}", range.start(), range.end());
        self.refuse(key, &written.to_string(), expected);
        *range.start()
    }

    fn strangers(&mut self, written: &str) -> Strangers {
        match written {
            "kernel" => Strangers::Kernel,
            "log" => Strangers::Log,
            _ => {
                self.refuse(&Key::of("sip").name("strangers"), written, "kernel or log");
                Strangers::Kernel
            }
        }
    }
}
