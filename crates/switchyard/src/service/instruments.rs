//! What people turn while the program runs: the log and the captures.

use super::Told;
use crate::config::Capture;
use crate::logging::{self, Level, Logging, Watch, watches};
use admin::Instruments;
use admin::api::capture::{CaptureChange, CaptureState};
use admin::api::log::{LogChange, LogState, NewWatch, WatchInEffect};
use arc_swap::ArcSwap;
use proxy::Party;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use telemetry::PeerAddress;
use telemetry::hep::{Filter, Tap};

/// The tap, and what it takes in words.
#[derive(Debug)]
pub(super) struct Captures {
    pub(super) tap: Tap,
    what: ArcSwap<CaptureChange>,
}

impl Captures {
    pub(super) fn start(capture: Capture) -> io::Result<Captures> {
        let tap = Tap::start(capture.collector)?;
        tap.switch(capture.is_on.then(Filter::default));
        Ok(Captures { tap, what: ArcSwap::default() })
    }
}

/// The log is the process's, the tap is the service's.
pub(super) struct Turned {
    pub(super) told: Arc<Told>,
}

const NO_LOG: &str = "found a log that is another program's, expected that of switchyard run";

impl Instruments for Turned {
    fn log(&self) -> LogState {
        logging::present().map(state_of).unwrap_or_default()
    }

    fn change_log(&self, change: &LogChange) -> Result<(), String> {
        let log = logging::present().ok_or(NO_LOG)?;
        if let Some(written) = &change.level {
            let level = Level::of(written);
            log.set_level(level.ok_or_else(|| format!("found level {written:?}, expected {}", Level::EXPECTED))?);
        }
        if let Some(redacts) = change.redact {
            log.set_redacts(redacts);
        }
        Ok(())
    }

    fn watch(&self, watch: &NewWatch) -> Result<(), String> {
        let log = logging::present().ok_or(NO_LOG)?;
        let numbering = self.told.settings.load().numbering;
        let number = watch.number.as_deref().map(|digits| numbering.canonical(format!("+{digits}").as_bytes()));
        let number = number.transpose().map_err(|fault| fault.to_string())?;
        let ends = Instant::now() + Duration::from_secs(watch.for_s);
        let is_in = log.watches.add(Watch { number, organisation: watch.organisation.clone(), ends });
        is_in.then_some(()).ok_or_else(|| format!("found {} watches, expected fewer: end them", watches::WATCHES))
    }

    fn end_watches(&self) {
        if let Some(log) = logging::present() {
            log.watches.end();
        }
    }

    fn capture(&self) -> CaptureState {
        let counts = self.told.captures.tap.counts();
        let collector = self.told.captures.tap.collector();
        CaptureState {
            what: CaptureChange { is_on: self.told.captures.tap.is_on(), ..(**self.told.captures.what.load()).clone() },
            hep: collector.map(|collector| format!("{}:{}", collector.transport, collector.address)),
            sent: counts.sent,
            lost: counts.lost,
            queued: counts.queued,
        }
    }

    fn change_capture(&self, change: &CaptureChange) -> Result<(), String> {
        if !change.is_on {
            self.told.captures.tap.switch(None);
            self.told.captures.what.store(Arc::default());
            return Ok(());
        }
        if self.told.captures.tap.collector().is_none() {
            return Err("found no capture server, expected one in capture.hep of the configuration".to_owned());
        }
        let addresses = change.peer.as_deref().map(|name| self.addresses_of(name)).transpose()?;
        self.told.captures.tap.switch(Some(Filter::new(change.number.as_deref(), addresses)));
        self.told.captures.what.store(Arc::new(change.clone()));
        Ok(())
    }
}

impl Turned {
    /// Every address of a trunk or environment, or one of theirs.
    fn addresses_of(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        let settings = self.told.settings.load();
        if let Some(PeerAddress { ip, .. }) = PeerAddress::read(name) {
            let mut all = settings.parties.iter().flat_map(addresses);
            let is_known = all.any(|address| address == ip);
            return is_known
                .then(|| vec![ip])
                .ok_or_else(|| format!("found peer {name:?}, expected one that is configured"));
        }
        let Some(party) = settings.parties.iter().find(|party| &*party.name == name) else {
            let known: Vec<&str> = settings.parties.iter().map(|party| &*party.name).collect();
            return Err(format!("found peer {name:?}, expected a trunk or an environment: {}", known.join(", ")));
        };
        Ok(addresses(party).collect())
    }
}

fn addresses(party: &Party) -> impl Iterator<Item = IpAddr> {
    party.peers.iter().map(|peer| peer.address.ip()).chain(party.sources.iter().map(|source| source.ip))
}

fn state_of(log: &Logging) -> LogState {
    let now = Instant::now();
    let watches = log.watches.any().map(|list| {
        let in_effect = list.iter().filter(|watch| watch.ends > now).map(|watch| WatchInEffect {
            number: watch.number.map(|number| format!("+{number}")),
            organisation: watch.organisation.clone(),
            ends_in_s: watch.ends.duration_since(now).as_secs(),
        });
        in_effect.collect()
    });
    LogState {
        level: log.level().name().to_owned(),
        redact: log.redacts(),
        lost_lines: log.lost_lines(),
        watches: watches.unwrap_or_default(),
    }
}
