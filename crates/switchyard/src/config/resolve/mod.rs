//! What the file means: strings become addresses, durations, numbers and policy, and every rule is held.

mod admin;
mod availability;
mod database;
mod identity;
mod load;
mod media;
mod names;
mod observe;
mod parties;
mod quota;
mod records;

pub use availability::Probe;
pub use names::{Answer, Answers, Dns, Named, NamedSource, Written};
pub use observe::Capture;
pub use records::Records;

use super::ENVIRONMENT_VARIABLE;
use super::document::{Document, Variables};
use super::fault::{Fault, Key, Place};
use super::settings::{DispatchSettings, MetricsSettings, NumberingSettings, Settings, SipSettings, TimersSettings};
use super::{limits, value};
use crate::logging::Log;
use directory::{Environment, Policy, PoolStates, PoolStatus};
use proxy::settings::{TimerSettings, UnknownDid};
use proxy::{Listener, PartyId, Time};
use sip::{Number, Numbering};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// The longest time for which dialogs older than the proxy are adopted.
const ADOPT_FOR_MAX: Duration = Duration::from_secs(7 * 86_400);
/// The longest time for which the end of the process waits.
const DRAIN_LIMIT_MAX: Duration = Duration::from_secs(3_600);

/// What one instance is told.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// What the core is told. Its `adopt_until` counts from the caller's zero, which is the start of the process.
    pub core: proxy::Settings,
    /// Threads that share the calls.
    pub workers: u16,
    /// The folder of keys, snapshot and journals.
    pub state_dir: PathBuf,
    /// Where the directory comes from, and how it is kept. The URL may hold a password: show [`sync::masked_url`] of it.
    pub database: sync::Settings,
    /// How peers are measured.
    pub probe: Probe,
    /// What is kept of calls.
    pub records: Records,
    /// How long open transactions may take to finish once the process is told to end.
    pub drain_limit: Duration,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub metrics_listen: Option<SocketAddr>,
    /// Where the API and the page are served, and to whom.
    pub admin: Option<::admin::AuthSettings>,
    /// What is told in the log, and how.
    pub log: Log,
    /// Where the wire is told to.
    pub capture: Capture,
    /// The caller ID of last resort of each trunk that has one.
    pub fallback_dids: Vec<(PartyId, Number)>,
    /// The organisation, by name or id, that a trunk's fallback DID may belong to.
    pub fallback_owners: Vec<(PartyId, String)>,
    /// Peers that are given by a host name. Those without an address are not among the core's.
    pub named: Vec<Named>,
    /// Sources that are given by a host name. What the name stands for is among the core's.
    pub named_sources: Vec<NamedSource>,
    /// Who is asked for the addresses of host names.
    pub dns: Dns,
    /// The file that this comes from.
    pub written: Written,
}

/// Resolves `settings`. With a new fault among `faults` the result is not to be used.
pub(crate) fn resolve(
    document: &Document<'_>,
    settings: &Settings,
    variables: Variables<'_>,
    answers: &Answers,
    faults: &mut Vec<Fault>,
) -> Configuration {
    let mut resolver = Resolver::new(document, faults, answers);
    let environment = resolver.environment(settings, variables);
    let listeners = resolver.listeners(&settings.sip);
    let numbering = resolver.numbering(&settings.numbering);
    let sides = resolver.sides(settings, environment, &listeners, numbering);
    let adopt_for =
        resolver.duration(&Key::of("sip").name("adopt_for"), &settings.sip.adopt_for, Duration::ZERO..=ADOPT_FOR_MAX);
    let core = proxy::Settings {
        environment,
        listeners: listeners.into_iter().flatten().collect(),
        own_names: resolver.own_names(&settings.sip),
        interfaces: sides.interfaces,
        parties: sides.parties,
        numbering,
        dispatch: resolver.dispatch(&settings.dispatch, settings),
        caller_id: resolver.caller_id(&settings.caller_id),
        availability: resolver.when_down_of(settings, numbering),
        adopt_until: (!adopt_for.is_zero()).then(|| Time::default() + adopt_for),
        timers: resolver.timers(&settings.timers),
        limits: resolver.limits(settings),
    };
    resolver.refuse_ambiguities(&core, &sides.keys);
    let policy = Policy { numbering, pool_states: resolver.pool_states(&settings.dispatch) };
    Configuration {
        core,
        workers: resolver.workers(&settings.sip),
        probe: Probe { tunnels: resolver.tunnels(settings), ..resolver.probe(&settings.probe) },
        records: resolver.records(settings, variables),
        state_dir: resolver.state_dir(settings),
        database: resolver.database(settings, policy),
        drain_limit: resolver.duration(
            &Key::of("limits").name("drain_limit"),
            &settings.limits.drain_limit,
            Duration::ZERO..=DRAIN_LIMIT_MAX,
        ),
        metrics_listen: resolver.metrics_listen(&settings.metrics),
        admin: resolver.admin(&settings.admin),
        log: resolver.log(&settings.log),
        capture: resolver.capture(&settings.capture),
        fallback_dids: sides.fallback_dids,
        fallback_owners: sides.fallback_owners,
        dns: resolver.dns(&settings.dns),
        named: resolver.named,
        named_sources: resolver.named_sources,
        written: Written::default(),
    }
}

/// Resolves one table after the other and notes what is wrong; a faulty value becomes any good one.
struct Resolver<'d, 't> {
    document: &'d Document<'t>,
    faults: &'d mut Vec<Fault>,
    /// What is known of host names.
    answers: &'d Answers,
    /// The peers that have one, as far as they have been read.
    named: Vec<Named>,
    /// The sources that have one.
    named_sources: Vec<NamedSource>,
    /// Where each source of a party is written, whose sources are.
    source_keys: Vec<(Box<str>, IpAddr, Key)>,
}

impl<'d, 't> Resolver<'d, 't> {
    fn new(document: &'d Document<'t>, faults: &'d mut Vec<Fault>, answers: &'d Answers) -> Resolver<'d, 't> {
        let (named, named_sources, source_keys) = (Vec::new(), Vec::new(), Vec::new());
        Resolver { document, faults, answers, named, named_sources, source_keys }
    }
}

impl Resolver<'_, '_> {
    /// Notes a fault of the value at `key`; `value` is what it is by default.
    fn refuse(&mut self, key: &Key, value: &str, expected: impl Into<String>) {
        self.faults.push(self.document.fault(key, value, expected));
    }

    /// The same with the reason of the rule.
    fn refuse_since(&mut self, key: &Key, value: &str, expected: impl Into<String>, why: impl Into<String>) {
        let fault = self.document.fault(key, value, expected);
        self.faults.push(Fault { why: Some(why.into()), ..fault });
    }

    fn environment(&mut self, settings: &Settings, variables: Variables<'_>) -> Environment {
        const EXPECTED: &str = "prod, staging or oss";
        let written = environment_named(&settings.environment);
        if written.is_none() {
            self.refuse(&Key::of("environment"), &settings.environment, EXPECTED);
        }
        let overriding = variables(ENVIRONMENT_VARIABLE).filter(|value| !value.is_empty());
        let overridden = overriding.and_then(|value| {
            let named = environment_named(&value);
            if named.is_none() {
                let key = Key::of(ENVIRONMENT_VARIABLE);
                let (found, expected) = (format!("{value:?}"), EXPECTED.to_owned());
                self.faults.push(Fault { place: Place::Variable, key, found, expected, why: None });
            }
            named
        });
        overridden.or(written).unwrap_or(Environment::Prod)
    }

    fn metrics_listen(&mut self, metrics: &MetricsSettings) -> Option<SocketAddr> {
        let written = metrics.listen.as_deref()?;
        let address = written.parse().ok();
        if address.is_none() {
            let key = Key::of("metrics").name("listen");
            self.refuse(&key, written, "an address with its port, such as 127.0.0.1:9160 or [::1]:9160");
        }
        address
    }

    /// Our sockets; `None` where one of them has a fault, so that nothing is said of what would lean on it.
    fn listeners(&mut self, sip: &SipSettings) -> Option<Vec<Listener>> {
        let list = Key::of("sip").name("listen");
        let faults_before = self.faults.len();
        if self.faults.iter().any(|fault| fault.key.of_table() == list) {
            return None;
        }
        if !(1..=limits::LISTENERS).contains(&sip.listen.len()) {
            self.refuse(&list, "", format!("1 to {} addresses: {}", limits::LISTENERS, value::ENDPOINT));
        }
        let mut listeners: Vec<Listener> = Vec::new();
        for (index, text) in sip.listen.iter().enumerate() {
            let key = list.index(index);
            match value::endpoint(text) {
                None => self.refuse(&key, text, value::ENDPOINT),
                Some((_, address)) if address.ip().is_unspecified() => {
                    let why = "the address stands in Via and Record-Route, where 0.0.0.0 leads nowhere";
                    self.refuse_since(&key, text, "an address of this machine", why);
                }
                Some((_, address)) if value::not_a_host(address.ip()).is_some() => {
                    self.refuse(&key, text, "an address of this machine");
                }
                Some((transport, address)) => {
                    let listener = Listener { transport, address };
                    if listeners.contains(&listener) {
                        self.refuse(&key, text, "each address once");
                    }
                    listeners.push(listener);
                }
            }
        }
        (self.faults.len() == faults_before).then_some(listeners)
    }

    fn own_names(&mut self, sip: &SipSettings) -> Vec<Box<str>> {
        let list = Key::of("sip").name("names");
        let mut names = Vec::new();
        for (index, text) in sip.names.iter().enumerate() {
            let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
            if is_host_name(&name) {
                names.push(name.into());
            } else {
                self.refuse(&list.index(index), text, "a host name without port");
            }
        }
        names
    }

    fn numbering(&mut self, settings: &NumberingSettings) -> Numbering {
        let table = Key::of("numbering");
        let NumberingSettings { country_code, trunk_prefix, national_length } = settings;
        // One value at a time, beside others that are good: so each fault is told of its own key.
        let checks = [
            ("country_code", country_code, Numbering::new(country_code, "0", 4)),
            ("trunk_prefix", trunk_prefix, Numbering::new("91", trunk_prefix, 4)),
        ];
        let mut good = true;
        for (name, text, check) in checks {
            if let Err(fault) = check {
                good = false;
                self.refuse(&table.name(name), text, expected_of(&fault));
            }
        }
        match Numbering::new(country_code, trunk_prefix, *national_length) {
            Ok(numbering) => numbering,
            Err(fault) => {
                if good {
                    let key = table.name("national_length");
                    self.refuse(&key, &national_length.to_string(), expected_of(&fault));
                }
                Numbering::default()
            }
        }
    }

    fn dispatch(&mut self, dispatch: &DispatchSettings, settings: &Settings) -> proxy::settings::DispatchSettings {
        let table = Key::of("dispatch");
        let (key, text) = (table.name("unknown_did"), &dispatch.unknown_did);
        let unknown_did = match environment_named(text) {
            Some(environment) => {
                if parties::of_environment(settings, environment).is_none() {
                    self.refuse(
                        &key,
                        text,
                        format!("a status, or an environment that has a table [environments.{text}]"),
                    );
                }
                UnknownDid::Environment(environment)
            }
            None => UnknownDid::Refuse(self.status(&key, text, ", or the name of an environment")),
        };
        let key = table.name("not_in_service");
        let not_in_service_status = self.status(&key, &dispatch.not_in_service, "");
        proxy::settings::DispatchSettings { unknown_did, not_in_service_status }
    }

    fn status(&mut self, key: &Key, text: &str, alternative: &str) -> u16 {
        let status = text.parse().ok().filter(|_| text.len() == 3).unwrap_or(0);
        let why = match status {
            503 => "a 503 tells the gateway to send nothing here at all",
            401 | 407 => "a challenge that nobody can answer",
            400..=699 => return status,
            300..=399 => "we redirect nobody",
            _ => {
                self.refuse(key, text, format!("a status from 400 to 699, as \"404\"{alternative}"));
                return 404;
            }
        };
        self.refuse_since(key, text, format!("a status from 400 to 699 but 401, 407 and 503{alternative}"), why);
        404
    }

    fn pool_states(&mut self, dispatch: &DispatchSettings) -> PoolStates {
        let list = Key::of("dispatch").name("pool_states");
        if dispatch.pool_states.is_empty() {
            self.refuse(&list, "", "at least one pool state");
        }
        let mut states: Vec<PoolStatus> = Vec::new();
        for (index, text) in dispatch.pool_states.iter().enumerate() {
            match PoolStatus::ALL.iter().find(|state| state.as_str() == text) {
                Some(state) => states.push(*state),
                None => self.refuse(&list.index(index), text, "available, pending, assigned or reserved"),
            }
        }
        PoolStates::new(&states)
    }

    fn timers(&mut self, settings: &TimersSettings) -> TimerSettings {
        let table = Key::of("timers");
        let ms = Duration::from_millis;
        let faults_before = self.faults.len();
        let t1 = self.duration(&table.name("t1"), &settings.t1, ms(10)..=ms(4_000));
        // The others are held to T1; where it has a fault itself, to the widest that it could allow.
        let t1_most = if self.faults.len() == faults_before { t1 } else { ms(4_000) };
        TimerSettings {
            t1,
            t2: self.duration(&table.name("t2"), &settings.t2, t1..=ms(32_000)),
            t4: self.duration(&table.name("t4"), &settings.t4, t1..=ms(60_000)),
            timer_c: self.duration(&table.name("timer_c"), &settings.timer_c, ms(181_000)..=ms(3_600_000)),
            hop_timeout: self.duration(&table.name("hop_timeout"), &settings.hop_timeout, t1..=t1_most * 64),
        }
    }

    fn state_dir(&mut self, settings: &Settings) -> PathBuf {
        let path = &settings.state_dir;
        if !path.is_absolute() {
            self.refuse(&Key::of("state_dir"), &path.display().to_string(), "a path that begins with /");
        }
        path.clone()
    }

    fn duration(&mut self, key: &Key, text: &str, range: RangeInclusive<Duration>) -> Duration {
        let (least, most) = (*range.start(), *range.end());
        match value::duration(text) {
            Some(duration) if range.contains(&duration) => return duration,
            Some(_) => {
                let expected = format!("a duration from {} to {}", value::written(least), value::written(most));
                self.refuse(key, text, expected);
            }
            None => self.refuse(key, text, value::DURATION),
        }
        least
    }
}

/// The environment of this very name.
fn environment_named(text: &str) -> Option<Environment> {
    Environment::ALL.iter().copied().find(|environment| environment.as_str() == text)
}

/// Lower case letters, digits, `-` and `.`, as a host name has them.
pub(super) fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// The second half of a message that says what was found and what was expected.
fn expected_of(message: &str) -> &str {
    message.split_once("expected ").map_or(message, |(_, expected)| expected)
}
