//! The forms of the log: JSON for programs, and text with priorities for the journal.
use super::{call, lines_of, verb};
use crate::stage::Stage;
use lab::process::{PATIENCE, until};
use serde_json::Value;

#[test]
fn json_is_one_object_in_each_line_with_the_fields_of_a_call() {
    let more = "caller_id = \"pass\"\n[log]\nformat = \"json\"\nredact = true\n";
    let stage = Stage::start_with(150, "udp", more);
    call(&stage, "+918065978000");
    until(|| stage.log(), PATIENCE, || lines_of(&stage.log(), "call ended").len() == 1);
    let log = stage.log();
    let read = |line: &str| -> Value { serde_json::from_str(line).unwrap_or_else(|fault| panic!("{fault}: {line}")) };
    let lines: Vec<Value> = log.lines().map(read).collect();
    let is_whole =
        |line: &Value| ["timestamp", "level", "target", "message"].iter().all(|field| line[field].is_string());
    assert!(lines.iter().all(is_whole), "{log}");
    let ended = lines.iter().find(|line| line["message"] == "call ended").unwrap();
    let words = [
        ("level", "INFO"),
        ("direction", "inbound"),
        ("called", "+9180659780**"),
        ("to", "prod"),
        ("rule", "target"),
        ("by", "caller"),
    ];
    for (field, value) in words {
        assert_eq!(ended[field], value, "{field} in {ended}");
    }
    assert_eq!(ended["status"], 200, "{ended}");
    for field in ["generation", "after_ms", "talked_ms"] {
        assert!(ended[field].is_u64(), "{field} in {ended}");
    }
    assert!(!log.contains("918065978000"), "{log}");
}

/// systemd names the stream that it connected; the text has a priority then, and no time: the journal has its own.
#[test]
fn text_for_the_journal_has_its_priority_and_no_time() {
    let stage = Stage::start_under(151, "JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2)");
    call(&stage, "+918065978000");
    until(|| stage.log(), PATIENCE, || lines_of(&stage.log(), "call ended").len() == 1);
    // A stranger, who has a line of the security log.
    let stranger = std::net::UdpSocket::bind("127.0.151.66:0").unwrap();
    stranger.send_to(b"OPTIONS sip:a@b SIP/2.0\r\n\r\n", stage.proxy()).unwrap();
    stage.signal(nix::sys::signal::Signal::SIGHUP);
    until(|| stage.log(), PATIENCE, || lines_of(&stage.log(), "the configuration was read again").len() == 1);
    let log = stage.log();
    let is_prefixed = |line: &&str| {
        [("<3>", "ERROR"), ("<4>", " WARN"), ("<6>", " INFO"), ("<7>", "DEBUG")]
            .iter()
            .any(|(priority, level)| line.strip_prefix(priority).is_some_and(|rest| rest.starts_with(level)))
    };
    let others: Vec<&str> = log.lines().filter(|line| !is_prefixed(line)).collect();
    assert!(others.is_empty(), "{others:?} in {log}");
    assert!(lines_of(&log, "call ended")[0].starts_with("<6> INFO switchyard::"), "{log}");
}

/// Where stderr leads elsewhere, the variable says nothing: lines have their time, and no priority.
#[test]
fn a_journal_that_stderr_does_not_lead_to_changes_nothing() {
    let stage = Stage::start_under(152, "JOURNAL_STREAM=8:15");
    let log = stage.log();
    assert!(log.lines().count() > 2);
    assert!(log.lines().all(|line| line.starts_with("20") && line.contains('Z')), "{log}");
}

#[test]
fn an_organisation_is_watched_by_its_name_and_no_other() {
    let stage = Stage::start(153);
    verb(&stage, &["watch", "--organisation", "Asha Clinics", "--for", "2m"]);
    call(&stage, "+918065978010");
    call(&stage, "+918065978001");
    until(|| stage.log(), PATIENCE, || lines_of(&stage.log(), "call ended").len() == 2);
    let log = stage.log();
    let told = lines_of(&log, "watched: decided");
    assert!(told.len() == 1 && told[0].contains("918065978001"), "{log}");
}
