//! How peers stand in for each other, and how they are measured.

use super::parties::{Side, Sides, of_environment};
use super::{Resolver, environment_named};
use crate::config::fault::Key;
use crate::config::settings::{EnvironmentSettings, ProbeSettings, Settings};
use crate::config::{limits, value};
use directory::Environment;
use proxy::settings::{Availability, AvailabilitySettings, WhenDown};
use proxy::targets::HealthRules;
use proxy::{Listener, PartyId, Role};
use sip::Numbering;
use std::time::Duration;

/// How peers are measured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probe {
    /// How often each peer gets an OPTIONS; `None` for never.
    pub interval: Option<Duration>,
    /// How long it may take to answer; shorter than the interval.
    pub timeout: Duration,
    /// How much it takes to change a peer's health.
    pub rules: HealthRules,
    /// Answers that say: alive, and no calls please. Any other answer counts as up.
    pub unwilling: Vec<u16>,
    /// The WireGuard interface that a party's peers are behind, by the party's name.
    pub tunnels: Vec<(Box<str>, String)>,
}

const WHEN_DOWN: &str = "reject, a status, another environment that has a table";
const PROBE_INTERVAL_MAX: Duration = Duration::from_secs(3_600);
const IN_ROW_MAX: u32 = 100;

impl Resolver<'_, '_> {
    /// The weights and the statuses that lead on.
    pub(super) fn spread(&mut self, side: &Side<'_>, weights: &[u16], failover: &[String]) -> Availability {
        if !weights.is_empty() && weights.len() != side.peers.len() {
            let expected = format!("as many numbers as {}", side.peers_name);
            self.refuse(&side.key.name("weights"), "", expected);
        }
        let list = side.key.name("failover");
        let mut failover_statuses = Vec::new();
        for (index, text) in failover.iter().enumerate() {
            let key = list.index(index);
            match self.status(&key, text, "") {
                600.. => self.refuse_since(&key, text, "a status below 600", "6xx says that nobody will take the call"),
                status => failover_statuses.push(status),
            }
        }
        // A peer without an address is not among the party's: its weight is not among the weights.
        let is_there = |(at, weight): (usize, &u16)| {
            side.peers.get(at).is_none_or(|text| self.has_address(text)).then_some(*weight)
        };
        let weights = weights.iter().enumerate().filter_map(is_there).collect();
        Availability { weights, failover_statuses, when_down: WhenDown::Reject }
    }

    /// What each environment's calls get while no target is usable. A server of announcements becomes a party of its own.
    pub(super) fn when_down(&mut self, settings: &Settings, listeners: Option<&[Listener]>, sides: &mut Sides) {
        for environment in Environment::ALL {
            let Some(table) = of_environment(settings, *environment) else { continue };
            let key = Key::of("environments").name(environment.as_str());
            let announcement = self.announcement(*environment, table, listeners, sides);
            let Some(text) = table.when_down.as_deref() else { continue };
            let when_down = match (text, announcement) {
                ("announcement", Some(party)) => WhenDown::Announcement(party),
                ("announcement", None) => {
                    self.refuse(&key.name("announcement"), "", value::ENDPOINT);
                    WhenDown::Reject
                }
                _ => self.when_down_of_text(settings, &key.name("when_down"), text, Some(*environment)),
            };
            let role = Role::Environment(*environment);
            if let Some(party) = sides.parties.iter_mut().find(|party| party.role == role) {
                party.availability.when_down = when_down;
            }
        }
    }

    /// The DIDs that have a rule of their own.
    pub(super) fn when_down_of(&mut self, settings: &Settings, numbering: Numbering) -> AvailabilitySettings {
        let table = Key::of("dispatch").name("when_down");
        let mut when_down_of = Vec::new();
        for (did, text) in &settings.dispatch.when_down {
            let key = table.name(did);
            let when_down = self.when_down_of_text(settings, &key, text, None);
            match numbering.canonical(did.as_bytes()) {
                Ok(number) if when_down_of.iter().any(|(known, _)| *known == number) => {
                    self.refuse(&key, did, "each number once");
                }
                Ok(number) => when_down_of.push((number, when_down)),
                Err(fault) => self.refuse(&key, did, super::expected_of(&fault.to_string())),
            }
        }
        when_down_of.sort_by_key(|(number, _)| *number);
        AvailabilitySettings { when_down_of }
    }

    pub(super) fn probe(&mut self, settings: &ProbeSettings) -> Probe {
        let table = Key::of("probe");
        let ms = Duration::from_millis;
        let interval = self.duration(&table.name("interval"), &settings.interval, Duration::ZERO..=PROBE_INTERVAL_MAX);
        let interval = (!interval.is_zero()).then_some(interval.max(ms(100)));
        let longest = interval.unwrap_or(PROBE_INTERVAL_MAX);
        let timeout = self.duration(&table.name("timeout"), &settings.timeout, ms(50)..=longest);
        for (name, count) in [
            ("down_after", settings.down_after),
            ("up_after", settings.up_after),
            ("calls_failed", settings.calls_failed),
        ] {
            if !(1..=IN_ROW_MAX).contains(&count) {
                self.refuse(&table.name(name), &count.to_string(), format!("a number from 1 to {IN_ROW_MAX}"));
            }
        }
        let list = table.name("unwilling");
        let mut unwilling = Vec::new();
        for (index, text) in settings.unwilling.iter().enumerate() {
            match text.parse::<u16>().ok().filter(|status| (300..700).contains(status)) {
                Some(status) => unwilling.push(status),
                None => self.refuse(&list.index(index), text, "a status from 300 to 699, as \"503\""),
            }
        }
        let ProbeSettings { down_after, up_after, calls_failed, .. } = *settings;
        Probe {
            interval,
            timeout,
            rules: HealthRules { down_after, up_after, calls_failed, ..HealthRules::default() },
            unwilling,
            tunnels: Vec::new(),
        }
    }

    /// The WireGuard interfaces, of the parties that have one.
    pub(super) fn tunnels(&mut self, settings: &Settings) -> Vec<(Box<str>, String)> {
        let mut tunnels = Vec::new();
        for (index, trunk) in settings.trunk.iter().enumerate() {
            let key = Key::of("trunk").index(index).name("wireguard");
            self.tunnel(&key, (&trunk.name, trunk.wireguard.as_deref()), &mut tunnels);
        }
        for environment in Environment::ALL {
            let Some(table) = of_environment(settings, *environment) else { continue };
            let key = Key::of("environments").name(environment.as_str()).name("wireguard");
            self.tunnel(&key, (environment.as_str(), table.wireguard.as_deref()), &mut tunnels);
        }
        tunnels
    }

    fn tunnel(&mut self, key: &Key, (party, interface): (&str, Option<&str>), tunnels: &mut Vec<(Box<str>, String)>) {
        let Some(interface) = interface else { return };
        let is_name = interface.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        if !is_name || interface.starts_with('-') || !(1..=limits::INTERFACE_BYTES).contains(&interface.len()) {
            self.refuse(key, interface, format!("an interface's name of 1 to {} characters", limits::INTERFACE_BYTES));
        }
        tunnels.push((party.into(), interface.to_owned()));
    }

    fn when_down_of_text(&mut self, settings: &Settings, key: &Key, text: &str, of: Option<Environment>) -> WhenDown {
        match environment_named(text) {
            _ if text == "reject" => WhenDown::Reject,
            Some(other) if of != Some(other) && of_environment(settings, other).is_some() => {
                WhenDown::Environment(other)
            }
            Some(_) => {
                self.refuse(key, text, WHEN_DOWN);
                WhenDown::Reject
            }
            None => WhenDown::Refuse(self.status(key, text, ", reject, or another environment")),
        }
    }

    /// The party that plays announcements for an environment. It speaks for itself unless its address is a party's
    /// already.
    fn announcement(
        &mut self,
        environment: Environment,
        table: &EnvironmentSettings,
        listeners: Option<&[Listener]>,
        sides: &mut Sides,
    ) -> Option<PartyId> {
        let text = table.announcement.as_ref()?;
        let ip = value::peer(text).map(|(_, address, _)| address.ip());
        let is_known = sides.parties.iter().flat_map(|party| &party.sources).any(|source| Some(source.ip) == ip);
        let name = format!("{environment}-announcement");
        let side = Side {
            key: Key::of("environments").name(environment.as_str()),
            name: &name,
            role: Role::Environment(environment),
            peers_name: "announcement",
            peers: std::slice::from_ref(text),
            sources: is_known.then_some(&[]),
            interface: table.interface.as_deref(),
            listener: table.listener.as_deref(),
            datagram_bytes_max: table.datagram_bytes_max,
            called_number: table.called_number.as_deref(),
            media: &[],
        };
        self.add(&side, listeners, sides);
        u16::try_from(sides.parties.len() - 1).ok().map(PartyId)
    }
}
