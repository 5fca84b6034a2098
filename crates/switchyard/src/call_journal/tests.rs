use super::*;
use proxy::CallKey;
use proxy::calls::{Counts as CallCounts, Spent, Subject};
use telemetry::calls::CallRecord;

fn began(call_id: &str) -> Began {
    Began {
        call_id: call_id.into(),
        outbound: false,
        from: "tata".into(),
        toward: "prod".into(),
        environment: Some("prod".into()),
        called: "08065978001".into(),
        caller: "+447700900123".into(),
        did: Some(918_065_978_001),
        organisation: "aurora".into(),
        gateway: Some("10.10.10.2:5060".parse().unwrap()),
    }
}

fn entry(number: u128) -> Entry {
    Entry::Began(CallKey(number), Box::new(began(&format!("call-{number}@example.net"))))
}

fn answered(number: u128, by: &str) -> Entry {
    Entry::Answered(CallKey(number), Answered { by: by.into(), ..Answered::default() })
}

fn writer(path: PathBuf) -> Writer {
    Writer {
        path,
        file: None,
        text: Vec::new(),
        standing: Standing::default(),
        shown: LiveCalls::default(),
        waiting: Arc::new(AtomicUsize::new(usize::MAX / 2)),
        lines: 0,
        is_failing: false,
        retry_at: Instant::now(),
    }
}

/// Opens the journal, writes these entries, and closes it.
fn session(folder: &Path, entries: impl IntoIterator<Item = Entry>) -> Found {
    let counters = Arc::new(Counters::new());
    let (journal, pen, found) = CallJournal::open(folder, &counters).unwrap();
    entries.into_iter().for_each(|entry| pen.write(entry));
    drop(pen);
    journal.close();
    found
}

#[test]
fn calls_that_are_up_come_back_and_ended_ones_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let before = unix_ms();
    let first = session(
        folder.path(),
        [entry(1), entry(2), entry(3), answered(1, "prod"), Entry::Ended(CallKey(2)), answered(9, "prod")],
    );
    assert!(first.standing.calls.is_empty());
    let second = session(folder.path(), [answered(3, "staging"), Entry::Ended(CallKey(1))]);
    assert_eq!((second.standing.calls.len(), second.damaged), (2, 0));
    let line = &second.standing.calls[&CallKey(1)];
    assert_eq!(*line.began, began("call-1@example.net"));
    assert!(line.began_ms >= before && line.up.as_ref().unwrap().answered_ms <= unix_ms());
    assert_eq!(second.standing.calls[&CallKey(3)].up, None);
    let third = session(folder.path(), []);
    assert_eq!(third.standing.calls.len(), 1);
    assert_eq!(third.standing.calls[&CallKey(3)].toward(), "staging");
    assert_eq!(session(folder.path(), []).standing, third.standing, "a file written anew says the same");
}

fn known(call_id: &str) -> Arc<CallRecord> {
    Arc::new(CallRecord {
        id: "1-5".into(),
        call_id: call_id.into(),
        caller_sent: Some("+447700900123".into()),
        outcome: "answered".into(),
        ..CallRecord::default()
    })
}

/// What the records tell of a call that is up comes back with it; of one that is over already, nothing is written.
#[test]
fn a_call_that_is_up_comes_back_with_its_record() {
    let folder = tempfile::tempdir().unwrap();
    let first = [entry(1), answered(1, "prod"), entry(2), Entry::Ended(CallKey(2))];
    let told =
        [Entry::Known(CallKey(1), known("call-1@example.net")), Entry::Known(CallKey(2), known("gone@example.net"))];
    session(folder.path(), first.into_iter().chain(told));
    assert!(!fs::read_to_string(folder.path().join(FILE)).unwrap().contains("gone@example.net"));
    for _ in 0..2 {
        let found = session(folder.path(), []);
        assert_eq!((found.damaged, found.standing.calls.len()), (0, 1));
        assert_eq!(found.standing.calls[&CallKey(1)].known, Some(known("call-1@example.net")));
        let configuration = crate::config::read("test.toml", "", &|_| None).unwrap();
        let [record] = <[_; 1]>::try_from(found.records(&configuration.core)).unwrap();
        assert_eq!(record.record, CallRecord { restarted: true, ..CallRecord::clone(&known("call-1@example.net")) });
    }
}

/// Without what the records told, the journal's own words make a record.
#[test]
fn a_call_without_its_record_comes_back_with_what_the_journal_says() {
    let configuration = crate::config::read("test.toml", "", &|_| None).unwrap();
    let mut found = Found::default();
    entry(1).book(5_000, &mut found.standing);
    let [ringing] = <[_; 1]>::try_from(found.records(&configuration.core)).unwrap();
    assert_eq!((&*ringing.record.outcome, ringing.record.answered_at_ms), ("in_progress", None));
    // Timer C and Timer B.
    assert_eq!((ringing.key, ringing.given_up_at_ms), (CallKey(1), 5_000 + 181_000 + 32_000));
    answered(1, "prod").book(7_500, &mut found.standing);
    let [up] = <[_; 1]>::try_from(found.records(&configuration.core)).unwrap();
    let record = up.record;
    assert_eq!((&*record.direction, &*record.from, record.to.as_deref()), ("inbound", "tata", Some("prod")));
    assert_eq!((record.trunk.as_deref(), record.environment.as_deref()), (Some("tata"), Some("prod")));
    assert_eq!((&*record.called_received, record.called.as_deref()), ("08065978001", Some("+918065978001")));
    assert_eq!((&*record.caller_received, record.caller.as_deref()), ("+447700900123", Some("+447700900123")));
    assert_eq!(record.organisation.as_deref(), Some("aurora"));
    assert_eq!((record.setup_ms, record.status, record.restarted), (Some(2_500), Some(200), true));
}

/// A torn tail and turned bits cost the lines that they hit, and no other.
#[test]
fn h8_torn_and_damaged_lines_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    session(folder.path(), [entry(1), entry(2), entry(3)]);
    let path = folder.path().join(FILE);
    let whole = fs::read(&path).unwrap();
    for cut in 1..200 {
        fs::write(&path, &whole[..whole.len() - cut]).unwrap();
        let found = read(&path).unwrap();
        assert_eq!(
            (found.standing.calls.len(), found.damaged),
            if cut == 1 { (3, 0) } else { (2, 1) },
            "{cut} bytes cut"
        );
    }
    for at in 0..whole.len() {
        let mut turned = whole.clone();
        turned[at] ^= 4;
        fs::write(&path, &turned).unwrap();
        let found = read(&path).unwrap();
        assert!(!found.standing.calls.is_empty() && found.damaged >= 1, "byte {at}: {found:?}");
        assert!(found.standing.calls.values().all(|line| line.began.called == "08065978001"), "byte {at}");
    }
}

/// The limit `SPENT_LINES`: however many calls come and go, the file stays small.
#[test]
fn the_file_is_written_anew_when_most_of_it_is_of_ended_calls() {
    let mut writer = writer(tempfile::tempdir().unwrap().keep().join(FILE));
    let path = writer.path.clone();
    let (entries, arriving) = channel();
    for number in 0..u128::try_from(SPENT_LINES).unwrap() {
        entries.send(entry(number)).unwrap();
        entries.send(Entry::Ended(CallKey(number))).unwrap();
    }
    entries.send(entry(u128::MAX)).unwrap();
    drop(entries);
    writer.lines = 0;
    writer.run(&arriving);
    let bytes = fs::metadata(&path).unwrap().len();
    assert!(bytes < 1_000, "{bytes} bytes");
    assert_eq!(read(&path).unwrap().standing.calls.len(), 1);
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

/// The limit `ENTRIES_WAITING`: with a disk that stands still, entries are lost and counted, and nobody waits.
#[test]
fn h9_with_no_room_an_entry_is_lost_and_counted() {
    let counters = Arc::new(Counters::new());
    let (entries, arriving) = channel();
    let waiting = Arc::new(AtomicUsize::new(ENTRIES_WAITING - 2));
    let pen = Pen { entries, waiting: Arc::clone(&waiting), counters: Arc::clone(&counters) };
    (0..5).for_each(|number| pen.write(entry(number)));
    assert_eq!(counters.value(&telemetry::catalogue::JOURNAL_LOST, ""), 3);
    assert_eq!((waiting.load(Ordering::Relaxed), arriving.try_iter().count()), (ENTRIES_WAITING, 2));
    waiting.store(0, Ordering::Relaxed);
    pen.write(entry(6));
    assert_eq!((waiting.load(Ordering::Relaxed), arriving.try_iter().count()), (1, 1), "there is room again");
    drop(arriving);
    pen.write(entry(7));
    assert_eq!(counters.value(&telemetry::catalogue::JOURNAL_LOST, ""), 4, "nobody takes them any more");
}

/// A folder that is gone is told, and the file is written as soon as it is back, with every call in progress.
#[test]
fn h8_what_could_not_be_written_is_written_when_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let mut writer = writer(state.join(FILE));
    let failed = writer.write_anew();
    writer.tell(&failed);
    assert!(writer.is_failing);
    writer.take(entry(1), unix_ms());
    fs::create_dir(&state).unwrap();
    let written = writer.write_anew();
    writer.tell(&written);
    assert!(!writer.is_failing);
    assert_eq!(read(&state.join(FILE)).unwrap().standing.calls.len(), 1);
}

#[test]
fn a_call_whose_party_is_gone_is_left_out() {
    let configuration = crate::config::read("test.toml", "", &|_| None).unwrap();
    let mut found = Found::default();
    entry(1).book(5, &mut found.standing);
    let gone = Began { from: "another".into(), ..began("gone") };
    Entry::Began(CallKey(2), Box::new(gone)).book(5, &mut found.standing);
    let restored = found.restored(&configuration.core);
    let [call] = restored.as_slice() else { panic!("{restored:?}") };
    assert_eq!((call.key, call.from, &*call.called), (CallKey(1), PartyId(0), &b"08065978001"[..]));
    assert!(call.began_ago > Duration::from_secs(1_000_000));
}

/// What an answer said of the session comes back, as the last refresh left it, and through a file that is written anew.
#[test]
fn session_timers_and_dialogs_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let timed = |number, lasts_ms| {
        let gateway = (number == 2).then(|| "10.10.10.12:5060".parse().unwrap());
        let answer = Answered { by: "prod".into(), gateway, lasts_ms, dialog: Some(u64::MAX - 7) };
        Entry::Answered(CallKey(number), answer)
    };
    let began = unix_ms();
    session(
        folder.path(),
        [
            entry(1),
            entry(2),
            entry(3),
            timed(1, Some(120_000)),
            timed(2, Some(120_000)),
            timed(3, Some(0)),
            Entry::Refreshed(CallKey(1), Some(900_000)),
            Entry::Refreshed(CallKey(2), None),
            Entry::Refreshed(CallKey(9), Some(5)),
        ],
    );
    let configuration = crate::config::read("test.toml", "", &|_| None).unwrap();
    for round in 0..2 {
        let found = session(folder.path(), []);
        assert_eq!((found.form, found.damaged, found.standing.calls.len()), (FORM, 0, 3), "{round}");
        let times = |number| found.standing.calls[&CallKey(number)].up.as_deref().unwrap();
        assert!((began + 900_000..unix_ms() + 900_001).contains(&times(1).expires_ms.unwrap()), "{round}");
        assert_eq!((times(2).expires_ms, times(2).dialog), (None, Some(u64::MAX - 7)), "{round}");
        let restored = found.restored(&configuration.core);
        let of = |number| restored.iter().find(|call| call.key == CallKey(number)).unwrap();
        let left = of(1).expires_in.unwrap();
        assert!(left > Duration::from_secs(800) && left <= Duration::from_secs(900), "{left:?}");
        assert_eq!((of(2).expires_in, of(3).expires_in), (None, Some(Duration::ZERO)), "{round}");
        let gateways = [1, 2].map(|number| of(number).gateway.unwrap().to_string());
        assert_eq!(gateways, ["10.10.10.2:5060", "10.10.10.12:5060"], "the one that it was answered by");
        assert_eq!(of(1).dialog, Some(u64::MAX - 7));
    }
}

/// A journal of before, as the version before this one wrote it, is read whole; and one of a later version as far as this
/// one knows it.
#[test]
fn journals_of_other_versions_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let (state, path) = (folder.path(), folder.path().join(FILE));
    let lines = |texts: &[&str]| -> String {
        let sum = |text: &str| {
            text.bytes()
                .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
        };
        texts.iter().map(|text| format!("{:016x} {text}\n", sum(text))).collect()
    };
    let (one, two) = ("0000000000000000000000000000000a", "0000000000000000000000000000000b");
    let began = r#""call_id":"a@b","outbound":false,"from":"tata","toward":"prod","environment":"prod","called":"1","caller":"2","did":918065978001,"organisation":"","gateway":"10.10.10.2:5060""#;
    let of = |key: &str, rest: &str| format!("{{\"key\":\"{key}\",\"at_ms\":1000,{rest}}}");
    let begins = format!("\"entry\":\"began\",{began}");
    let answers = "\"entry\":\"answered\",\"by\":\"oss\"";
    let old = [of(one, &begins), of(two, &begins), of(one, answers), of(two, "\"entry\":\"ended\"")];
    fs::write(&path, lines(&old.each_ref().map(String::as_str))).unwrap();
    let found = read(&path).unwrap();
    assert_eq!((found.form, found.damaged, found.standing.calls.len()), (1, 0, 1));
    let up = found.standing.calls[&CallKey(10)].up.as_ref().unwrap();
    assert_eq!((up.answered_ms, &*up.toward, up.expires_ms), (1_000, "oss", None));

    let (begins, unknown) = (of(one, &begins), of(one, "\"entry\":\"transferred\",\"to\":\"oss\""));
    fs::write(&path, lines(&[r#"{"form":9}"#, &begins, &unknown])).unwrap();
    let found = read(&path).unwrap();
    assert_eq!((found.form, found.damaged, found.standing.calls.len()), (9, 1, 1));
    session(state, []);
    assert_eq!(read(&path).unwrap().form, FORM, "it is written anew in this version's form");
}

/// Addresses of both families come back as they were.
#[test]
fn gateways_of_both_families_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let addresses =
        ["10.10.10.2:5060", "0.0.0.0:0", "255.255.255.255:65535", "[fd00:10::2]:5060", "[::ffff:10.1.2.3]:7"];
    let entries = addresses.iter().zip(1..).map(|(address, number)| {
        let gateway = Some(address.parse().unwrap());
        Entry::Began(CallKey(number), Box::new(Began { gateway, ..began(address) }))
    });
    session(folder.path(), entries);
    let found = session(folder.path(), []);
    assert_eq!((found.damaged, found.standing.calls.len()), (0, addresses.len()));
    for line in found.standing.calls.values() {
        assert_eq!(line.began.gateway.unwrap().to_string(), &*line.began.call_id);
    }
}

/// What was used of a day's calls is kept by environment, through a file that is written anew, and is counted on.
#[test]
fn the_calls_of_a_day_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let used = |environment: &str, day, calls| Entry::Day(environment.into(), Day { day, calls });
    // The second to last came late: another worker had taken more.
    let entries =
        [used("staging", 20_000, 9), used("staging", 20_001, 2), used("staging", 20_001, 1), used("oss", 20_001, 7)];
    session(folder.path(), entries);
    for round in 0..2 {
        let found = session(folder.path(), []);
        let counts = CallCounts::default();
        found.standing.resume(&counts);
        for (environment, calls) in [("staging", 2), ("oss", 7)] {
            let spent = counts.spent(Subject::Environment(environment));
            assert_eq!(spent, Spent { day: 20_001, calls }, "{environment} {round}");
        }
        assert!(counts.is_zero());
    }
}

/// The calls that are shown of a number are those in progress: of this process and of the one before.
#[test]
fn live_calls_of_a_number_are_told_by_environment() {
    let folder = tempfile::tempdir().unwrap();
    let number = sip::Number::from_digits(918_065_978_001).unwrap();
    let told = |live: &LiveCalls| live.of(number).into_iter().collect::<Vec<_>>();
    let prod = |count| vec![("prod".to_owned(), count)];
    session(folder.path(), [entry(1), entry(2), answered(1, "prod"), Entry::Ended(CallKey(2))]);
    let (journal, pen, _) = CallJournal::open(folder.path(), &Arc::new(Counters::new())).unwrap();
    let live = journal.live().clone();
    assert_eq!(told(&live), prod(1), "one outlived the process before");
    let outbound = Began { outbound: true, from: "oss".into(), toward: "tata".into(), ..began("out@example.net") };
    for entry in [entry(3), entry(3), Entry::Began(CallKey(4), Box::new(outbound)), entry(5)] {
        pen.write(entry);
    }
    pen.write(answered(5, "staging"));
    pen.write(Entry::Ended(CallKey(1)));
    pen.write(Entry::Ended(CallKey(77)));
    drop(pen);
    journal.close();
    assert_eq!(told(&live), [("oss".to_owned(), 1), ("prod".to_owned(), 1), ("staging".to_owned(), 1)]);
    let (journal, pen, _) = CallJournal::open(folder.path(), &Arc::new(Counters::new())).unwrap();
    let live = journal.live().clone();
    (3..=5).for_each(|key| pen.write(Entry::Ended(CallKey(key))));
    drop(pen);
    journal.close();
    assert_eq!(told(&live), []);
    assert!(live.0.lock().unwrap().iter().all(|of| of.by_number.is_empty()));
}
