//! What measuring found of each peer.

use crate::probe::Measured;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use telemetry::{Family, Reading, catalogue};

/// The series that were shown so far, by their family, party and peer: one that has no value any more says so. Their number
/// is bounded by what the operator writes.
#[derive(Debug, Default)]
pub(super) struct Shown(Mutex<BTreeSet<(&'static str, String, String)>>);

impl Shown {
    /// Whether each peer is there, and how long its last probe took.
    pub(super) fn readings(&self, measured: &[Measured]) -> Vec<Reading> {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let up = |peer: &Measured| peer.is_up.map(|is_up| if is_up { 1.0 } else { 0.0 });
        let mut readings = of_family(&catalogue::PEER_UP, measured, &mut shown, up);
        let took = |peer: &Measured| peer.round_trip.map(|took| took.as_secs_f64());
        readings.extend(of_family(&catalogue::PROBE_SECONDS, measured, &mut shown, took));
        readings
    }
}

fn of_family(
    family: &'static Family,
    measured: &[Measured],
    shown: &mut BTreeSet<(&'static str, String, String)>,
    value: impl Fn(&Measured) -> Option<f64>,
) -> Vec<Reading> {
    let reading = |party: &str, peer: &str, value| Reading {
        party: Some(party.to_owned()),
        peer: Some(peer.to_owned()),
        ..Reading::new(family, value)
    };
    let mut silent: BTreeSet<_> = shown.iter().filter(|(name, ..)| *name == family.name).cloned().collect();
    let mut readings = Vec::new();
    for peer in measured {
        let Some(value) = value(peer) else { continue };
        let series = (family.name, peer.party.to_string(), peer.peer.clone());
        silent.remove(&series);
        shown.insert(series);
        readings.push(reading(&peer.party, &peer.peer, value));
    }
    readings.extend(silent.iter().map(|(_, party, peer)| reading(party, peer, f64::NAN)));
    readings
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_peer_that_does_not_answer_or_is_gone_has_no_number() {
        let peer =
            |name: &str, is_up, round_trip| Measured { party: "tata".into(), peer: name.to_owned(), is_up, round_trip };
        let shown = Shown::default();
        let told = |measured: &[Measured]| -> Vec<String> {
            let readings = shown.readings(measured);
            let told = |reading: &Reading| {
                format!("{} {} {}", reading.family.name, reading.peer.as_deref().unwrap(), reading.value)
            };
            readings.iter().map(told).collect()
        };
        assert!(told(&[peer("a", None, None)]).is_empty(), "nothing was measured yet");
        let took = Some(Duration::from_millis(3));
        assert_eq!(
            told(&[peer("a", Some(true), took), peer("b", Some(true), took)]),
            [
                "switchyard_peer_up a 1",
                "switchyard_peer_up b 1",
                "switchyard_probe_seconds a 0.003",
                "switchyard_probe_seconds b 0.003"
            ]
        );
        assert_eq!(
            told(&[peer("a", Some(false), None)]),
            [
                "switchyard_peer_up a 0",
                "switchyard_peer_up b NaN",
                "switchyard_probe_seconds a NaN",
                "switchyard_probe_seconds b NaN"
            ]
        );
    }
}
