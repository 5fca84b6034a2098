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
    let readings = [Reading::new(&catalogue::GENERATION, 812.0)];
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
