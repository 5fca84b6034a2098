//! What is read when somebody scrapes: the state of the service, and of the process as the kernel sees it.

mod peers;
mod queues;

pub(super) use queues::Queues;

use super::Told;
use crate::logging::{self, Logging};
use crate::names::Names;
use crate::probe::Peers;
use admin::Readiness;
use proxy::calls::Subject;
use proxy::{Party, Role};
use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use sync::Watcher;
use telemetry::calls::Calls;
use telemetry::{Exporter, Reading, catalogue};

/// Bytes of a page and ticks of a second, as /proc counts them on Linux for x86-64 and aarch64.
const PAGE_BYTES: f64 = 4_096.0;
const TICKS_PER_SECOND: f64 = 100.0;

/// Where the answers of `/metrics` and `/readyz` come from.
pub(super) struct Observed {
    told: Arc<Told>,
    watcher: Watcher,
    exporter: Arc<Exporter>,
    peers: Peers,
    /// Parties that had peers: one that is gone has none, which its gauges must say.
    parties: Mutex<BTreeSet<String>>,
    shown: peers::Shown,
    calls: Calls,
    names: Arc<Names>,
    queues: Queues,
}

impl admin::Observed for Observed {
    fn metrics(&self) -> String {
        let mut readings = self.service_readings();
        readings.extend(readings_of_records(&self.calls));
        readings.extend(readings_of_process());
        readings.extend(self.instrument_readings());
        readings.extend(self.peer_readings());
        readings.extend(self.shown.readings(&self.peers.measured()));
        readings.extend(self.queues.readings(&self.calls, &self.told.listeners));
        readings.extend(self.directory_readings());
        note_applied(&self.watcher, &self.exporter);
        self.exporter.render(&self.told.tally.samples(), &readings)
    }

    fn readiness(&self) -> Readiness {
        if self.told.draining.load(Ordering::Relaxed) {
            Readiness::NotReady("draining")
        } else if !self.watcher.status().is_loaded {
            Readiness::NotReady("no table has been read yet")
        } else {
            Readiness::Ready
        }
    }
}

impl Observed {
    pub(super) fn new(
        told: &Arc<Told>,
        watcher: &Watcher,
        exporter: &Arc<Exporter>,
        peers: &Peers,
        (calls, names, queues): (&Calls, &Arc<Names>, Queues),
    ) -> Observed {
        let (told, exporter) = (Arc::clone(told), Arc::clone(exporter));
        Observed {
            told,
            watcher: watcher.clone(),
            exporter,
            peers: peers.clone(),
            parties: Mutex::default(),
            shown: peers::Shown::default(),
            calls: calls.clone(),
            names: Arc::clone(names),
            queues,
        }
    }

    /// How many peers of each party are in each standing.
    fn peer_readings(&self) -> Vec<Reading> {
        let peers = self.peers.list();
        let mut parties = self.parties.lock().unwrap_or_else(PoisonError::into_inner);
        parties.extend(peers.iter().map(|peer| peer.party.clone()));
        let pairs =
            parties.iter().flat_map(|party| catalogue::PEERS.values.iter().map(move |standing| (party, standing)));
        let readings = pairs.map(|(party, standing)| {
            let count = peers.iter().filter(|peer| peer.party == *party && peer.standing == *standing).count();
            let reading = Reading::new(&catalogue::PEERS, float(count as u64));
            Reading { party: Some(party.clone()), label_value: standing, ..reading }
        });
        readings.collect()
    }

    /// What the directory holds beside its DIDs.
    fn directory_readings(&self) -> Vec<Reading> {
        let sync = self.watcher.status();
        let directory = self.watcher.published().load();
        let overlays = directory.overlays();
        let read =
            |family, label_value, count: usize| Reading { label_value, ..Reading::new(family, float(count as u64)) };
        vec![
            read(&catalogue::ROWS, "users", sync.user_count),
            read(&catalogue::ROWS, "organisations", sync.organisation_count),
            read(&catalogue::OVERLAYS, "lease", overlays.leases.len()),
            read(&catalogue::OVERLAYS, "tester", overlays.testers.len()),
            read(&catalogue::OVERLAYS, "panic", usize::from(overlays.panic.is_some())),
        ]
    }

    fn service_readings(&self) -> Vec<Reading> {
        let sync = self.watcher.status();
        let is_draining = self.told.draining.load(Ordering::Relaxed);
        let flag = |family, is_so: bool| Reading::new(family, if is_so { 1.0 } else { 0.0 });
        let mut readings = vec![
            Reading { label_value: env!("CARGO_PKG_VERSION"), ..Reading::new(&catalogue::BUILD, 1.0) },
            Reading::new(&catalogue::UPTIME_SECONDS, seconds(self.told.clock.now().as_millis())),
            flag(&catalogue::READY, sync.is_loaded && !is_draining),
            flag(&catalogue::DRAINING, is_draining),
            Reading::new(&catalogue::GENERATION, float(sync.generation.0)),
            Reading::new(&catalogue::DIDS, float(u64::try_from(sync.did_count).unwrap_or(u64::MAX))),
            Reading::new(&catalogue::FAULTS, float(sync.fault_count)),
            flag(&catalogue::DATABASE_DOWN, sync.fault.is_some()),
            flag(&catalogue::GUARD_HOLDS, sync.held.is_some()),
            flag(&catalogue::FROM_SNAPSHOT, sync.is_from_snapshot),
            Reading::new(&catalogue::TUNNELS_DOWN, float(self.peers.tunnels_down())),
            Reading::new(&catalogue::NAMES_FAILING, float(self.names.failing())),
            Reading::new(&catalogue::SNAPSHOTS_FAILED, float(sync.snapshots_failed)),
        ];
        readings.extend(self.channels());
        readings.extend(sync.age.map(|age| Reading::new(&catalogue::AGE_SECONDS, age.as_secs_f64())));
        readings
    }
}

impl Observed {
    /// What the log and the captures lost.
    fn instrument_readings(&self) -> Vec<Reading> {
        let counts = self.told.captures.tap.counts();
        let hep = |label_value, count| Reading { label_value, ..Reading::new(&catalogue::HEP_MESSAGES, float(count)) };
        let lost_lines = logging::present().map_or(0, Logging::lost_lines);
        vec![
            Reading::new(&catalogue::LOG_LOST_LINES, float(lost_lines)),
            Reading::new(&catalogue::HEP_ON, if self.told.captures.tap.is_on() { 1.0 } else { 0.0 }),
            Reading::new(&catalogue::HEP_QUEUED, float(counts.queued)),
            hep("sent", counts.sent),
            hep("lost", counts.lost),
        ]
    }
}

/// Takes over how long the generations since the last time took.
pub(super) fn note_applied(watcher: &Watcher, exporter: &Exporter) {
    watcher.take_apply_times().into_iter().for_each(|took| exporter.note_applied(took));
}

/// What is kept of calls, and what waits for the sinks.
fn readings_of_records(calls: &Calls) -> Vec<Reading> {
    let (kept, bytes) = calls.journal(telemetry::calls::Journal::size);
    let size = |value: usize| float(u64::try_from(value).unwrap_or(u64::MAX));
    let mut readings = vec![
        Reading::new(&catalogue::RECORD_FACTS_LOST, float(calls.lost())),
        Reading::new(&catalogue::JOURNAL_CALLS, size(kept)),
        Reading::new(&catalogue::JOURNAL_BYTES, size(bytes)),
    ];
    for sink in calls.sinks() {
        let of_sink = |family, value| Reading { label_value: sink.name, ..Reading::new(family, float(value)) };
        readings.extend([
            of_sink(&catalogue::RECORDS_WRITTEN, sink.written),
            of_sink(&catalogue::RECORDS_LOST, sink.lost),
            of_sink(&catalogue::RECORDS_FAILED, sink.failures),
            of_sink(&catalogue::RECORDS_WAITING, sink.waiting),
        ]);
    }
    readings
}

impl Observed {
    /// How many calls each trunk and environment has, and may have.
    fn channels(&self) -> Vec<Reading> {
        let settings = self.told.settings.load();
        let of_party = |party: &Party| {
            let subject = match party.role {
                Role::Trunk => Subject::Trunk(&party.name),
                Role::Environment(_) => Subject::Environment(&party.name),
            };
            let daily = party.quota.daily_calls;
            let today = daily.map(|_| self.told.counts.used_today(subject, self.told.clock.now()));
            let pairs = [
                (&catalogue::CHANNELS_USED, Some(self.told.counts.used(subject))),
                (&catalogue::CHANNELS_ALLOWED, party.quota.max_channels),
                (&catalogue::DAILY_CALLS_USED, today),
                (&catalogue::DAILY_CALLS_ALLOWED, daily),
            ];
            pairs.map(|(family, value)| {
                let reading = Reading::new(family, f64::from(value?));
                Some(Reading { party: Some(party.name.to_string()), ..reading })
            })
        };
        settings.parties.iter().flat_map(of_party).flatten().collect()
    }
}

/// What /proc says of this process; nothing where it cannot be read.
fn readings_of_process() -> Vec<Reading> {
    let resident = fs::read_to_string("/proc/self/statm").ok().and_then(|text| nth_number(&text, 1));
    // The program's name may hold spaces and is in brackets: numbers are counted from behind it.
    let stat = fs::read_to_string("/proc/self/stat").ok();
    let behind_name = stat.as_deref().and_then(|text| text.rsplit_once(')')).map(|(_, rest)| rest);
    let ticks = behind_name.and_then(|text| Some(nth_number(text, 11)? + nth_number(text, 12)?));
    let files = fs::read_dir("/proc/self/fd").ok().map(|entries| float(entries.count() as u64));
    let readings = [
        (&catalogue::RESIDENT_BYTES, resident.map(|pages| pages * PAGE_BYTES)),
        (&catalogue::OPEN_FILES, files),
        (&catalogue::CPU_SECONDS, ticks.map(|ticks| ticks / TICKS_PER_SECOND)),
    ];
    readings.into_iter().filter_map(|(family, value)| Some(Reading::new(family, value?))).collect()
}

fn nth_number(text: &str, place: usize) -> Option<f64> {
    text.split_whitespace().nth(place)?.parse().ok()
}

fn seconds(milliseconds: u64) -> f64 {
    float(milliseconds) / 1_000.0
}

#[expect(clippy::cast_precision_loss, reason = "whole numbers below 2^53 are exact")]
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_reads_itself() {
        let readings = readings_of_process();
        let value = |name: &str| readings.iter().find(|reading| reading.family.name == name).map(|found| found.value);
        assert!(value("switchyard_resident_memory_bytes").unwrap() > 100_000.0, "{readings:?}");
        assert!(value("switchyard_open_files").unwrap() >= 3.0, "{readings:?}");
        assert!(value("switchyard_cpu_seconds_total").is_some(), "{readings:?}");
    }
}
