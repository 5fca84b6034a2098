use super::*;
use telemetry::calls::CallRecord;

fn began(call_id: &str) -> Began {
    Began {
        call_id: call_id.to_owned(),
        outbound: false,
        from: "tata".into(),
        toward: "prod".into(),
        environment: Some("prod".to_owned()),
        called: "08065978001".to_owned(),
        caller: "+447700900123".to_owned(),
        did: Some(918_065_978_001),
        organisation: "aurora".to_owned(),
        gateway: Some("10.10.10.2:5060".parse().unwrap()),
    }
}

fn entry(number: u128) -> Entry {
    Entry::Began(CallKey(number), Box::new(began(&format!("call-{number}@example.net"))))
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
        [
            entry(1),
            entry(2),
            entry(3),
            Entry::Answered(CallKey(1), "prod".into()),
            Entry::Ended(CallKey(2)),
            Entry::Answered(CallKey(9), "prod".into()),
        ],
    );
    assert!(first.calls.is_empty());
    let second = session(folder.path(), [Entry::Answered(CallKey(3), "staging".into()), Entry::Ended(CallKey(1))]);
    assert_eq!((second.calls.len(), second.damaged), (2, 0));
    let line = &second.calls[&CallKey(1)];
    assert_eq!(line.began, began("call-1@example.net"));
    assert!(line.times.began_ms >= before && line.times.answered_ms.unwrap() <= unix_ms());
    assert_eq!(second.calls[&CallKey(3)].times.answered_ms, None);
    let third = session(folder.path(), []);
    assert_eq!(third.calls.len(), 1);
    assert_eq!(third.calls[&CallKey(3)].times.toward.as_deref(), Some("staging"));
    assert_eq!(session(folder.path(), []).calls, third.calls, "a file written anew says the same");
}

fn known(call_id: &str) -> Box<CallRecord> {
    Box::new(CallRecord {
        id: "1-5".to_owned(),
        call_id: call_id.to_owned(),
        caller_sent: Some("+447700900123".to_owned()),
        outcome: "answered".into(),
        ..CallRecord::default()
    })
}

/// What the records tell of a call that is up comes back with it; of one that is over already, nothing is written.
#[test]
fn a_call_that_is_up_comes_back_with_its_record() {
    let folder = tempfile::tempdir().unwrap();
    let answered = [entry(1), Entry::Answered(CallKey(1), "prod".into()), entry(2), Entry::Ended(CallKey(2))];
    let told =
        [Entry::Known(CallKey(1), known("call-1@example.net")), Entry::Known(CallKey(2), known("gone@example.net"))];
    session(folder.path(), answered.into_iter().chain(told));
    assert!(!fs::read_to_string(folder.path().join(FILE)).unwrap().contains("gone@example.net"));
    for _ in 0..2 {
        let found = session(folder.path(), []);
        assert_eq!((found.damaged, found.calls.len()), (0, 1));
        assert_eq!(found.calls[&CallKey(1)].known, Some(known("call-1@example.net")));
        let configuration = crate::config::read("test.toml", "", &|_| None).unwrap();
        let [record] = <[_; 1]>::try_from(found.records(&configuration.core)).unwrap();
        assert_eq!(record.record, CallRecord { restarted: true, ..*known("call-1@example.net") });
    }
}

/// Without what the records told, the journal's own words make a record.
#[test]
fn a_call_without_its_record_comes_back_with_what_the_journal_says() {
    let configuration = crate::config::read("test.toml", "", &|_| None).unwrap();
    let mut found = Found::default();
    entry(1).book(5_000, &mut found.calls);
    let [ringing] = <[_; 1]>::try_from(found.records(&configuration.core)).unwrap();
    assert_eq!((&*ringing.record.outcome, ringing.record.answered_at_ms), ("in_progress", None));
    // Timer C and Timer B.
    assert_eq!((ringing.key, ringing.given_up_at_ms), (CallKey(1), 5_000 + 181_000 + 32_000));
    Entry::Answered(CallKey(1), "prod".into()).book(7_500, &mut found.calls);
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
        assert_eq!((found.calls.len(), found.damaged), if cut == 1 { (3, 0) } else { (2, 1) }, "{cut} bytes cut");
    }
    for at in 0..whole.len() {
        let mut turned = whole.clone();
        turned[at] ^= 4;
        fs::write(&path, &turned).unwrap();
        let found = read(&path).unwrap();
        assert!(!found.calls.is_empty() && found.damaged >= 1, "byte {at}: {found:?}");
        assert!(found.calls.values().all(|line| line.began.called == "08065978001"), "byte {at}");
    }
}

/// The limit `SPENT_LINES`: however many calls come and go, the file stays small.
#[test]
fn the_file_is_written_anew_when_most_of_it_is_of_ended_calls() {
    let mut writer = Writer {
        path: tempfile::tempdir().unwrap().keep().join(FILE),
        file: None,
        live: HashMap::new(),
        shown: LiveCalls::default(),
        waiting: Arc::new(AtomicUsize::new(usize::MAX / 2)),
        lines: 0,
        is_failing: false,
    };
    let path = writer.path.clone();
    let (entries, arriving) = sync_channel(3 * SPENT_LINES);
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
    assert_eq!(read(&path).unwrap().calls.len(), 1);
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

/// The limit `ENTRIES_WAITING`: with a disk that stands still, entries are lost and counted, and nobody waits.
#[test]
fn h9_with_no_room_an_entry_is_lost_and_counted() {
    let counters = Arc::new(Counters::new());
    let (entries, _arriving) = sync_channel(2);
    let waiting = Arc::default();
    let pen = Pen { entries, waiting: Arc::clone(&waiting), counters: Arc::clone(&counters) };
    (0..5).for_each(|number| pen.write(entry(number)));
    assert_eq!(waiting.load(Ordering::Relaxed), 2);
    assert_eq!(counters.value(&telemetry::catalogue::JOURNAL_LOST, ""), 3);
}

/// A folder that is gone is told, and the file is written as soon as it is back, with every call in progress.
#[test]
fn h8_what_could_not_be_written_is_written_when_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let (path, waiting) = (state.join(FILE), Arc::new(AtomicUsize::new(1)));
    let (live, shown) = (HashMap::new(), LiveCalls::default());
    let mut writer = Writer { path, file: None, live, shown, waiting, lines: 0, is_failing: false };
    let failed = writer.write_anew();
    writer.tell(&failed);
    assert!(writer.is_failing);
    writer.take(entry(1)).unwrap();
    fs::create_dir(&state).unwrap();
    let written = writer.write_anew();
    writer.tell(&written);
    assert!(!writer.is_failing);
    assert_eq!(read(&state.join(FILE)).unwrap().calls.len(), 1);
}

#[test]
fn a_call_whose_party_is_gone_is_left_out() {
    let configuration = crate::config::read("test.toml", "", &|_| None).unwrap();
    let mut found = Found::default();
    entry(1).book(5, &mut found.calls);
    let gone = Began { from: "another".into(), ..began("gone") };
    Entry::Began(CallKey(2), Box::new(gone)).book(5, &mut found.calls);
    let restored = found.restored(&configuration.core);
    let [call] = restored.as_slice() else { panic!("{restored:?}") };
    assert_eq!((call.key, call.from, &*call.called), (CallKey(1), PartyId(0), &b"08065978001"[..]));
    assert!(call.began_ago > Duration::from_secs(1_000_000));
}

/// The calls that are shown of a number are those in progress: of this process and of the one before.
#[test]
fn live_calls_of_a_number_are_told_by_environment() {
    let folder = tempfile::tempdir().unwrap();
    let number = sip::Number::from_digits(918_065_978_001).unwrap();
    let told = |live: &LiveCalls| live.of(number).into_iter().collect::<Vec<_>>();
    let prod = |count| vec![("prod".to_owned(), count)];
    session(folder.path(), [entry(1), entry(2), Entry::Answered(CallKey(1), "prod".into()), Entry::Ended(CallKey(2))]);
    let (journal, pen, _) = CallJournal::open(folder.path(), &Arc::new(Counters::new())).unwrap();
    let live = journal.live().clone();
    assert_eq!(told(&live), prod(1), "one outlived the process before");
    let outbound = Began { outbound: true, from: "oss".into(), toward: "tata".into(), ..began("out@example.net") };
    for entry in [entry(3), entry(3), Entry::Began(CallKey(4), Box::new(outbound)), entry(5)] {
        pen.write(entry);
    }
    pen.write(Entry::Answered(CallKey(5), "staging".into()));
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
    assert!(live.0.lock().unwrap().is_empty());
}
