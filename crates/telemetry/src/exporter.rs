//! Everything that is measured, as Prometheus reads it.
//!
//! Workers count in their own [`Counters`]; nothing of theirs is locked or formatted when somebody scrapes. A scrape
//! copies the sums into the exporter's own registry, whose handles are made once for each series, and renders that.
//! Histograms are the exception: workers record into the exporter's lock-free buckets, which [`Exporter::upkeep`] empties.

use crate::catalogue::{self, BUCKETS_S, Family, Kind};
use crate::counters::{Counters, Sample};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, SharedString};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What the exporter's own measures are filed under.
const METADATA: Metadata<'static> = Metadata::new("switchyard", Level::INFO, None);

/// The registry that is rendered.
pub struct Exporter {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    series: Mutex<HashMap<Key, Series>>,
    apply_seconds: Histogram,
}

/// A value that is read when somebody asks.
#[derive(Clone, PartialEq, Debug)]
pub struct Reading {
    /// What it measures: a gauge, or a counter that somebody else keeps.
    pub family: &'static Family,
    /// The party that it is measured for, where the family goes by party.
    pub party: Option<String>,
    /// The peer that it is measured for, where the family goes by peer.
    pub peer: Option<String>,
    /// The label's value; empty when the family has no label.
    pub label_value: &'static str,
    /// The value, in the unit that the name says.
    pub value: f64,
}

impl Reading {
    /// A reading without labels.
    pub const fn new(family: &'static Family, value: f64) -> Reading {
        Reading { family, party: None, peer: None, label_value: "", value }
    }
}

/// A series' handle.
enum Series {
    Counter(Counter),
    Gauge(Gauge),
}

impl Exporter {
    /// An empty registry that knows every family's help and the histograms' buckets.
    pub fn new() -> Result<Exporter, BuildError> {
        let recorder = PrometheusBuilder::new().set_buckets(&BUCKETS_S)?.build_recorder();
        for family in catalogue::FAMILIES.iter().chain(&catalogue::READINGS).chain(&catalogue::HISTOGRAMS) {
            let name = KeyName::from_const_str(family.name);
            let help = SharedString::const_str(family.help);
            match family.kind {
                Kind::Counter => recorder.describe_counter(name, None, help),
                Kind::Gauge => recorder.describe_gauge(name, None, help),
                Kind::Histogram => recorder.describe_histogram(name, None, help),
            }
        }
        let handle = recorder.handle();
        let applied = Key::from_name(catalogue::APPLY_SECONDS.name);
        let apply_seconds = recorder.register_histogram(&applied, &METADATA);
        Ok(Exporter { recorder, handle, series: Mutex::default(), apply_seconds })
    }

    /// One worker's counters; their histograms are this registry's.
    pub fn counters(&self) -> Counters {
        let by_direction =
            |family: &'static Family| ["inbound", "outbound"].map(|direction| self.histogram(family, direction));
        Counters::new()
            .with_histograms(by_direction(&catalogue::SETUP_SECONDS), by_direction(&catalogue::POST_DIAL_DELAY_SECONDS))
    }

    fn histogram(&self, family: &'static Family, label_value: &'static str) -> Histogram {
        let labels = vec![Label::from_static_parts(family.label, label_value)];
        self.recorder.register_histogram(&Key::from_parts(family.name, labels), &METADATA)
    }

    /// A change of the directory took this long until calls were decided by it.
    pub fn note_applied(&self, took: Duration) {
        self.apply_seconds.record(took);
    }

    /// Takes what the workers have recorded into the histograms out of their lock-free buckets. To be called every few
    /// seconds, also when nobody scrapes: memory stays flat by it.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// The text of a scrape (Prometheus exposition format 0.0.4), with no timestamps.
    pub fn render(&self, samples: &[Sample], readings: &[Reading]) -> String {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        for sample in samples {
            let labels: Vec<Label> = sample.labels().map(|(name, value)| Label::new(name, value.to_owned())).collect();
            #[expect(clippy::cast_precision_loss, reason = "a gauge of ours counts connections and transactions")]
            let gauge = sample.value as f64;
            self.put(&mut series, sample.family, labels, (sample.value, gauge));
        }
        for reading in readings {
            let names = [(catalogue::PARTY, &reading.party), (catalogue::PEER, &reading.peer)];
            let names = names.into_iter().filter_map(|(label, name)| Some(Label::new(label, name.clone()?)));
            let word = (!reading.family.label.is_empty())
                .then(|| Label::from_static_parts(reading.family.label, reading.label_value));
            self.put(&mut series, reading.family, names.chain(word).collect(), (whole(reading.value), reading.value));
        }
        drop(series);
        self.handle.render()
    }

    fn put(
        &self,
        series: &mut HashMap<Key, Series>,
        family: &'static Family,
        labels: Vec<Label>,
        (count, gauge): (u64, f64),
    ) {
        let key = Key::from_parts(family.name, labels);
        let fresh = |key: &Key| match family.kind {
            Kind::Counter => Series::Counter(self.recorder.register_counter(key, &METADATA)),
            Kind::Gauge | Kind::Histogram => Series::Gauge(self.recorder.register_gauge(key, &METADATA)),
        };
        match series.entry(key.clone()).or_insert_with(|| fresh(&key)) {
            Series::Counter(counter) => counter.absolute(count),
            Series::Gauge(handle) => handle.set(gauge),
        }
    }
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exporter")
    }
}

/// A counter that somebody else keeps, in whole units.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "negative and NaN become 0 before")]
fn whole(value: f64) -> u64 {
    value.max(0.0) as u64
}

#[cfg(test)]
mod tests;
