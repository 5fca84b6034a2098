use super::*;
use crate::Fact;
use proxy::{Event, PartyId};

#[test]
fn a_scrape_shows_counters_gauges_readings_and_histograms() {
    let exporter = Exporter::new().unwrap();
    let counters = exporter.counters();
    counters.note(Fact::Received { datagrams: 3, bytes: 900 });
    counters.note(Fact::OpenTransactions(7));
    let (call_id, key) = (sip::Span::default(), proxy::CallKey::default());
    let (from, toward) = (PartyId(0), PartyId(1));
    for after_us in [20_000, 700_000] {
        counters.record(&Event::Final { call_id, key, from, toward, in_dialog: false, status: 200, after_us });
    }
    exporter.note_applied(Duration::from_millis(150));
    let of_peer = |family, value| Reading {
        party: Some("tata".to_owned()),
        peer: Some("udp:10.10.10.2:5060".to_owned()),
        ..Reading::new(family, value)
    };
    let readings = [
        Reading::new(&catalogue::GENERATION, 812.0),
        of_peer(&catalogue::PROBE_SECONDS, 0.003),
        of_peer(&catalogue::PEER_UP, f64::NAN),
    ];
    let text = exporter.render(&counters.samples(), &readings);
    for line in [
        "switchyard_udp_received_total 3",
        "switchyard_udp_received_bytes_total 900",
        "switchyard_open_transactions 7",
        "switchyard_directory_generation 812",
        "# TYPE switchyard_setup_seconds histogram",
        "switchyard_setup_seconds_bucket{direction=\"inbound\",le=\"0.025\"} 1",
        "switchyard_setup_seconds_bucket{direction=\"inbound\",le=\"1\"} 2",
        "switchyard_setup_seconds_sum{direction=\"inbound\"} 0.72",
        "switchyard_setup_seconds_count{direction=\"inbound\"} 2",
        "switchyard_dropped_total{reason=\"stranger\"} 0",
        "switchyard_directory_apply_seconds_bucket{le=\"0.25\"} 1",
        "switchyard_directory_apply_seconds_count 1",
        "switchyard_probe_seconds{party=\"tata\",peer=\"udp:10.10.10.2:5060\"} 0.003",
        "switchyard_peer_up{party=\"tata\",peer=\"udp:10.10.10.2:5060\"} NaN",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
    counters.note(Fact::Received { datagrams: 1, bytes: 100 });
    counters.note(Fact::OpenTransactions(5));
    let text = exporter.render(&counters.samples(), &readings);
    assert!(text.contains("switchyard_udp_received_total 4\n") && text.contains("switchyard_open_transactions 5\n"));
}

#[test]
fn every_family_has_its_help_and_type() {
    let exporter = Exporter::new().unwrap();
    let readings: Vec<Reading> = catalogue::READINGS.iter().map(|family| Reading::new(family, 1.0)).collect();
    let text = exporter.render(&exporter.counters().samples(), &readings);
    for family in catalogue::READINGS.iter().chain(&catalogue::FAMILIES).filter(|family| !family.by_party) {
        assert!(text.contains(&format!("# HELP {} {}\n", family.name, family.help)), "{}", family.name);
    }
    assert!(!text.lines().any(|line| line.split_whitespace().count() > 2 && !line.starts_with('#')), "{text}");
}

/// Peers of each party, in the scrape of everything.
const PEERS_EACH: usize = 8;

/// Every reading of a family that a configuration with these parties can have.
fn readings_of(family: &'static Family, names: &[String]) -> Vec<Reading> {
    let parties: Vec<Option<&String>> = if family.by_party { names.iter().map(Some).collect() } else { vec![None] };
    let peers: Vec<Option<String>> = match family.by_peer {
        true => (0..PEERS_EACH).map(|at| Some(format!("udp:10.10.{at}.1:5060"))).collect(),
        false => vec![None],
    };
    let values = if family.values.is_empty() { &[""] } else { family.values };
    let mut readings = Vec::new();
    for party in parties {
        for peer in &peers {
            readings.extend(values.iter().map(|value| Reading {
                party: party.cloned(),
                peer: peer.clone(),
                label_value: value,
                ..Reading::new(family, 1.0)
            }));
        }
    }
    readings
}

/// Every party that a configuration can have, with every label of every family; histograms that are full.
#[test]
fn a_scrape_of_everything_takes_less_than_50_ms() {
    let exporter = Exporter::new().unwrap();
    let counters = exporter.counters();
    let names: Vec<String> = (0..19).map(|at| format!("party-{at}")).collect();
    let parties: Vec<_> = names.iter().map(|name| crate::counters::tests::party(name, proxy::Role::Trunk)).collect();
    counters.set_parties(&parties);
    let (call_id, key, from, toward) = (sip::Span::default(), proxy::CallKey::default(), PartyId(0), PartyId(1));
    for after_us in 0..50_000 {
        counters.record(&Event::Final { call_id, key, from, toward, in_dialog: false, status: 200, after_us });
    }
    (0..1_000).for_each(|ms| exporter.note_applied(Duration::from_millis(ms)));
    exporter.upkeep();
    let readings: Vec<Reading> = catalogue::READINGS.iter().flat_map(|family| readings_of(family, &names)).collect();
    // The best of some: a neighbour that takes the processor says nothing about us.
    let best = (0..20).map(|_| {
        let begun = std::time::Instant::now();
        let text = exporter.render(&counters.samples(), &readings);
        assert!(text.lines().count() > 2_000);
        begun.elapsed()
    });
    let best = best.min().unwrap();
    assert!(best < Duration::from_millis(50), "{best:?}");
}
