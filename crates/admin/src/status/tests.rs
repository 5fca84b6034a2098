use super::*;

fn status() -> Status {
    Status {
        version: "0.1.0".into(),
        environment: "prod".into(),
        uptime_s: 3_725,
        draining: false,
        drain: None,
        open_transactions: 2,
        directory: DirectoryStatus {
            loaded: true,
            generation: 4,
            dids: 60,
            faults: 1,
            table_age_s: Some(0.25),
            trouble: None,
            degraded: false,
            from_snapshot: false,
            source: "mysql://switchyard:***@127.0.0.1/pbx_api_db".into(),
            detection: "change_log".into(),
            held: vec![],
            snapshot_trouble: None,
        },
        listeners: vec![ListenerStatus { transport: "udp".into(), address: "10.10.10.1:5060".into() }],
        parties: vec![
            PartyStatus {
                name: "tata".into(),
                role: "trunk".into(),
                peers: vec!["udp:10.10.10.2:5060".into()],
                sources: vec!["10.10.10.2".into()],
            },
            PartyStatus { name: "oss".into(), role: "environment".into(), peers: vec![], sources: vec![] },
        ],
        peers: vec![PeerStatus {
            party: "tata".into(),
            peer: "udp:10.10.10.2:5060".into(),
            admin: "drain".into(),
            health: "down".into(),
            standing: "closed".into(),
            reason: "new cable".into(),
            set_by: "asha".into(),
            evidence: "3 probes missed in a row".into(),
            since_s: 65,
            address: "10.10.10.2:5060".into(),
        }],
        counters: vec![
            Count {
                name: "switchyard_calls_total".into(),
                labels: vec![("direction".into(), "inbound".into())],
                value: 12,
            },
            Count { name: "switchyard_panics_total".into(), labels: Vec::new(), value: 0 },
        ],
    }
}

#[test]
fn the_table_shows_what_an_operator_asks_for_and_leaves_zeros_out() {
    let expected = "\
switchyard 0.1.0  prod  serving
  up                 1 h 2 min
  open transactions  2
  directory          generation 4, 60 DIDs, 1 faulty value
  database           mysql://switchyard:***@127.0.0.1/pbx_api_db, by change_log
  database read      0.2 s ago

listeners
  udp:10.10.10.1:5060

parties
  tata  trunk        calls go to udp:10.10.10.2:5060; speaks from 10.10.10.2
  oss   environment  calls go to nowhere; speaks from 

peers
  tata         udp:10.10.10.2:5060          drain    down     for 1 min 5 s; seen: 3 probes missed in a row; set because: new cable (by asha)

counted since the start
  calls: inbound  12
";
    assert_eq!(status().to_string(), expected);
}

#[test]
fn a_process_without_a_table_says_what_that_means() {
    let mut status = status();
    status.draining = true;
    let drain = DrainStatus { who: "asha".into(), reason: "upgrade".into(), since_s: 5, ends_in_s: Some(600) };
    status.drain = Some(drain);
    status.directory.loaded = false;
    status.directory.trouble = Some("directory.db: no such file".into());
    let shown = status.to_string();
    assert!(shown.starts_with("switchyard 0.1.0  prod  draining: new calls are refused\n"), "{shown}");
    let drained = "drained            for 5 s by asha: upgrade; new calls are taken again in 10 min 0 s\n";
    assert!(shown.contains(drained), "{shown}");
    assert!(shown.contains("none yet: calls are refused with 503\n"), "{shown}");
    assert!(shown.contains("database trouble   directory.db: no such file\n"), "{shown}");
}

#[test]
fn json_is_read_back_as_it_was_written() {
    let text = serde_json::to_string(&status()).unwrap();
    assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status());
}

#[test]
fn durations_have_two_units() {
    let shown: Vec<String> = [59, 61, 3_600, 90_061].into_iter().map(duration).collect();
    assert_eq!(shown, ["59 s", "1 min 1 s", "1 h 0 min", "1 d 1 h"]);
}

#[test]
fn a_degraded_directory_says_why_and_how_old_it_is() {
    let directory = DirectoryStatus {
        table_age_s: Some(86_400.0),
        trouble: Some("the database does not open: refused".into()),
        degraded: true,
        from_snapshot: true,
        detection: String::new(),
        held: vec!["table users is empty".into()],
        snapshot_trouble: Some("no space".into()),
        ..status().directory
    };
    let expected = "  directory          generation 4, 60 DIDs, 1 faulty value; degraded
  database           mysql://switchyard:***@127.0.0.1/pbx_api_db
  database read      86400.0 s ago; the table is that of the snapshot
  database trouble   the database does not open: refused
  held back          table users is empty
  snapshot trouble   no space
";
    assert_eq!(directory.to_string(), expected);
}
