//! Which limit refused a call.

use std::fmt;

/// A limit on calls in progress or on new ones, the narrowest first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Limit {
    /// Calls at one time of a DID (`call_limit` of its row).
    Did,
    /// Calls at one time of an organisation (`limits.concurrent_calls` of its row).
    Organisation,
    /// Calls at one time of an environment.
    Environment,
    /// What is left of the trunk's channels is kept for prod.
    Reserve,
    /// Calls at one time on a trunk.
    Trunk,
    /// Calls at one time on every gateway that could take the call.
    Gateway,
    /// New calls in a second of a DID.
    DidRate,
    /// New calls in a second of an organisation.
    OrganisationRate,
    /// New calls in a second of an environment.
    EnvironmentRate,
    /// New calls in a second on a trunk.
    TrunkRate,
    /// An environment's outbound calls of one day.
    DailyCalls,
}

impl Limit {
    /// Every limit.
    pub const ALL: [Limit; 11] = [
        Limit::Did,
        Limit::Organisation,
        Limit::Environment,
        Limit::Reserve,
        Limit::Trunk,
        Limit::Gateway,
        Limit::DidRate,
        Limit::OrganisationRate,
        Limit::EnvironmentRate,
        Limit::TrunkRate,
        Limit::DailyCalls,
    ];

    /// The counter's label.
    pub const fn name(self) -> &'static str {
        match self {
            Limit::Did => "did_calls",
            Limit::Organisation => "organisation_calls",
            Limit::Environment => "environment_calls",
            Limit::Reserve => "prod_reserve",
            Limit::Trunk => "trunk_calls",
            Limit::Gateway => "gateway_calls",
            Limit::DidRate => "did_rate",
            Limit::OrganisationRate => "organisation_rate",
            Limit::EnvironmentRate => "environment_rate",
            Limit::TrunkRate => "trunk_rate",
            Limit::DailyCalls => "daily_calls",
        }
    }

    /// True for the limits on how fast calls begin.
    pub const fn is_rate(self) -> bool {
        matches!(
            self,
            Limit::DidRate | Limit::OrganisationRate | Limit::EnvironmentRate | Limit::TrunkRate | Limit::DailyCalls
        )
    }

    /// The reason phrase of its refusal.
    pub const fn phrase(self) -> &'static str {
        match self {
            Limit::Did => "Number Has All Its Calls",
            Limit::Organisation => "Organisation Has All Its Calls",
            Limit::Environment => "Environment Has All Its Calls",
            Limit::Reserve => "Channels Kept For Prod",
            Limit::Trunk => "Trunk Has All Its Calls",
            Limit::Gateway => "Gateways Have All Their Calls",
            Limit::DidRate => "Too Many New Calls Of This Number",
            Limit::OrganisationRate => "Too Many New Calls Of This Organisation",
            Limit::EnvironmentRate => "Too Many New Calls Of This Environment",
            Limit::TrunkRate => "Too Many New Calls On This Trunk",
            Limit::DailyCalls => "Daily Calls Used Up",
        }
    }

    /// The Reason (RFC 3326) of its refusal: Q.850's 34, no channel, or 42, too much at one time.
    pub const fn reason(self) -> &'static str {
        match self {
            Limit::Did => "Q.850;cause=34;text=\"did_calls: call_limit of the number\"",
            Limit::Organisation => "Q.850;cause=34;text=\"organisation_calls: concurrent_calls of the organisation\"",
            Limit::Environment => "Q.850;cause=34;text=\"environment_calls: max_channels of the environment\"",
            Limit::Reserve => "Q.850;cause=34;text=\"prod_reserve: the trunk's last channels are for prod\"",
            Limit::Trunk => "Q.850;cause=34;text=\"trunk_calls: max_channels of the trunk\"",
            Limit::Gateway => "Q.850;cause=34;text=\"gateway_calls: gateway_channels of the trunk\"",
            Limit::DidRate => "Q.850;cause=42;text=\"did_rate: did_calls_per_second\"",
            Limit::OrganisationRate => "Q.850;cause=42;text=\"organisation_rate: organisation_calls_per_second\"",
            Limit::EnvironmentRate => "Q.850;cause=42;text=\"environment_rate: calls_per_second of the environment\"",
            Limit::TrunkRate => "Q.850;cause=42;text=\"trunk_rate: calls_per_second of the trunk\"",
            Limit::DailyCalls => "Q.850;cause=42;text=\"daily_calls: daily_calls of the environment\"",
        }
    }
}

/// What is at its limit, in words.
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::Did => "the number has as many calls as its row allows",
            Limit::Organisation => "the organisation has as many calls as its row allows",
            Limit::Environment => "the environment has as many calls as its max_channels",
            Limit::Reserve => "the channels that are left on the trunk are kept for prod",
            Limit::Trunk => "the trunk has as many calls as its max_channels",
            Limit::Gateway => "every gateway has as many calls as its gateway_channels",
            Limit::DidRate => "the number began as many calls in a second as did_calls_per_second",
            Limit::OrganisationRate => {
                "the organisation began as many calls in a second as organisation_calls_per_second"
            }
            Limit::EnvironmentRate => "the environment began as many calls in a second as its calls_per_second",
            Limit::TrunkRate => "the trunk began as many calls in a second as its calls_per_second",
            Limit::DailyCalls => "the environment has used its daily_calls",
        })
    }
}
